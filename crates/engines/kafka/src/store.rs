//! Where the cluster's metadata and the partitions' batches are kept: one log for the first, one for each partition.
//!
//! A partition's log holds each batch once, whatever number of replicas has it, and between the batches the changes of its
//! fork tree. Every appended entry is handed to the operating system before anything is acknowledged, so it survives the
//! death of the process; it is synced only as `flush.messages` says, which by Kafka's default is never.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, mpsc};

use atoll_kernel::NodeId;
use atoll_kernel::disk::Disk;
use atoll_storage::log::{SyncJob, SyncOutcome};
use atoll_storage::{Log, LogConfig, LogError, Syncer};
use atoll_wire::{Reader, WireError, Writer};
use bytes::{Bytes, BytesMut};

use crate::state::image::{MetadataRecord, PartitionKey};
use crate::state::tree::{Batch, BranchId, Change, Cleaned, ForkTree, Kind};
use crate::wire::batch::BatchHeader;
use crate::wire::{control, record};

/// Recent batches that are served without reading a file.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// The largest entry: the largest request, and some.
const ENTRY_BYTES_MAX: u32 = 112 << 20;
/// Less is not worth a summary.
const RECLAIMED_MIN: u64 = 64 << 10;
/// The tag of what producers had written of what is gone.
const FORGOTTEN: u8 = 5;
/// The tag of a round of the log cleaner that begins: what an earlier one has left behind counts for nothing.
const CLEANING: u8 = 6;
/// The tag of a batch that it leaves.
const CLEANED_BATCH: u8 = 7;
/// The tag of its end, which makes these batches the log up to an offset.
const CLEANED: u8 = 8;
/// Tag and branch in front of a batch.
const BATCH_PREFIX: usize = 5;

/// All logs of the engine.
#[derive(Debug)]
pub struct Store {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    metadata: Log,
    partitions: BTreeMap<PartitionKey, Log>,
    cache: Cache,
    syncing: Syncing,
}

/// Who runs sync jobs: another thread when live, the caller in a simulation.
#[derive(Debug)]
enum Syncing {
    InPlace,
    Thread {
        syncer: Syncer,
        report: mpsc::Sender<(PartitionKey, SyncOutcome)>,
        done: mpsc::Receiver<(PartitionKey, SyncOutcome)>,
    },
}

impl Store {
    /// Opens the metadata log and reads it. Blocks.
    pub fn open(disk: Arc<dyn Disk>, segment_bytes: u64) -> Result<(Store, Vec<MetadataRecord>), LogError> {
        let metadata = Log::open(Arc::clone(&disk), "kafka/metadata", LogConfig::default())?;
        let mut records = Vec::new();
        for entry in metadata.records(metadata.start()) {
            let entry = entry?;
            let record = serde_json::from_slice(&entry.payload)
                .map_err(|_| LogError::Corrupt { path: "kafka/metadata".to_owned(), position: entry.position })?;
            records.push(record);
        }
        let (partitions, cache) = (BTreeMap::new(), Cache::default());
        Ok((Store { disk, segment_bytes, metadata, partitions, cache, syncing: Syncing::InPlace }, records))
    }

    /// Lets another thread sync, as a live server needs it.
    pub fn sync_on_a_thread(&mut self) -> std::io::Result<()> {
        let (report, done) = mpsc::channel();
        self.syncing = Syncing::Thread { syncer: Syncer::start("kafka-sync")?, report, done };
        Ok(())
    }

    /// Keeps metadata records, which survive the process when this returns.
    pub fn append_metadata(&mut self, time_ms: i64, records: &[MetadataRecord]) -> Result<(), LogError> {
        for record in records {
            let bytes = serde_json::to_vec(record).unwrap_or_default();
            self.metadata.append(time_ms, &[&bytes])?;
        }
        self.metadata.flush()
    }

    fn log(&mut self, key: PartitionKey) -> Result<&mut Log, LogError> {
        if !self.partitions.contains_key(&key) {
            let config = LogConfig {
                segment_bytes: self.segment_bytes,
                record_bytes_max: ENTRY_BYTES_MAX,
                ..LogConfig::default()
            };
            self.partitions.insert(key, Log::open(Arc::clone(&self.disk), &directory(key), config)?);
        }
        match self.partitions.get_mut(&key) {
            Some(log) => Ok(log),
            None => Err(LogError::Corrupt { path: directory(key), position: 0 }),
        }
    }

    /// Keeps the changes of a partition's tree.
    pub fn append_changes(&mut self, key: PartitionKey, changes: &[Change]) -> Result<(), LogError> {
        if changes.is_empty() {
            return Ok(());
        }
        let log = self.log(key)?;
        for change in changes {
            log.append(0, &[&write_change(change)])?;
        }
        log.flush()
    }

    /// Keeps a batch, given in pieces, and returns its position and the batch in memory of its own, so that it does not hold on
    /// to the request that it came in.
    pub fn append_batch(
        &mut self,
        key: PartitionKey,
        branch: BranchId,
        [header, records]: &[Bytes; 2],
        time_ms: i64,
    ) -> Result<(u64, Bytes), LogError> {
        let mut prefix = [0; BATCH_PREFIX];
        prefix[1..].copy_from_slice(&branch.to_be_bytes());
        let log = self.log(key)?;
        let (position, payload) = match log.append_through(time_ms, &[&prefix, header, records]) {
            Ok(appended) => appended,
            Err(error) => {
                // What was not written was not appended: the producer is told so, and the log ends where it ended.
                log.truncate(log.end())?;
                return Err(error);
            }
        };
        let wants_sync = log.wants_sync();
        let batch = payload.slice(BATCH_PREFIX..);
        self.cache.insert(key, position, batch.clone());
        if wants_sync {
            self.begin_sync(key)?;
        }
        Ok((position, batch))
    }

    /// A round of the log cleaner begins.
    pub fn begin_cleaning(&mut self, key: PartitionKey) -> Result<(), LogError> {
        let log = self.log(key)?;
        log.append(0, &[&[CLEANING]])?;
        log.flush()
    }

    /// Keeps batches that the log cleaner leaves, and returns their positions. They do not count before the round has ended.
    pub fn append_cleaned(
        &mut self,
        key: PartitionKey,
        branch: BranchId,
        batches: &[Bytes],
        time_ms: i64,
    ) -> Result<Vec<u64>, LogError> {
        let mut prefix = [CLEANED_BATCH, 0, 0, 0, 0];
        prefix[1..].copy_from_slice(&branch.to_be_bytes());
        let log = self.log(key)?;
        let end = log.end();
        let mut write = || {
            let written: Result<Vec<u64>, LogError> =
                batches.iter().map(|batch| log.append(time_ms, &[&prefix, batch])).collect();
            written.and_then(|positions| log.flush().map(|()| positions))
        };
        let written = write();
        if written.is_err() {
            log.truncate(end)?;
        }
        written
    }

    /// A round of the log cleaner ends: what it has left counts.
    pub fn end_cleaning(&mut self, key: PartitionKey, cleaned: &Cleaned) -> Result<(), LogError> {
        let summary = serde_json::to_vec(cleaned).unwrap_or_default();
        let log = self.log(key)?;
        let end = log.append(0, &[&[CLEANED], &summary])?;
        if let Err(error) = log.flush() {
            log.truncate(end)?;
            return Err(error);
        }
        self.begin_sync(key)
    }

    /// Gives back the space before `live`, the first batch that is still needed. What else was remembered there is repeated
    /// behind it first: the changes that say how the replicas stand, and what producers had written.
    pub fn reclaim(
        &mut self,
        key: PartitionKey,
        live: Option<u64>,
        changes: &[Change],
        forgotten: &[u8],
    ) -> Result<(), LogError> {
        let log = self.log(key)?;
        let live = live.unwrap_or(log.end());
        // Half of the log is dead, and more than its summary takes.
        if live.saturating_sub(log.start()) < RECLAIMED_MIN.max(log.end().saturating_sub(live)) {
            return Ok(());
        }
        for change in changes {
            log.append(0, &[&write_change(change)])?;
        }
        log.append(0, &[&[FORGOTTEN], forgotten])?;
        log.flush()?;
        log.remove_before(live)?;
        self.begin_sync(key)
    }

    /// The first position that is kept of a partition.
    #[cfg(test)]
    pub fn begins_at(&self, key: PartitionKey) -> u64 {
        self.partitions.get(&key).map_or(0, Log::start)
    }

    /// Makes a partition durable, as `flush.messages` asks. Blocks.
    pub fn sync(&mut self, key: PartitionKey) -> Result<(), LogError> {
        self.log(key)?.sync().map(|_| ())
    }

    fn begin_sync(&mut self, key: PartitionKey) -> Result<(), LogError> {
        let job: Option<SyncJob> = self.log(key)?.begin_sync()?;
        let Some(job) = job else { return Ok(()) };
        match &self.syncing {
            Syncing::InPlace => {
                let outcome = job.run();
                self.log(key)?.finish_sync(outcome).map(|_| ())
            }
            Syncing::Thread { syncer, report, .. } => {
                let report = report.clone();
                syncer.submit(job, move |outcome| drop(report.send((key, outcome))));
                Ok(())
            }
        }
    }

    /// Takes note of syncs that another thread has finished.
    pub fn finish_syncs(&mut self) {
        let Syncing::Thread { done, .. } = &self.syncing else { return };
        while let Ok((key, outcome)) = done.try_recv() {
            if let Some(log) = self.partitions.get_mut(&key) {
                // A failed sync is repeated by the log with the next one; what it covers was acknowledged without it.
                let _ = log.finish_sync(outcome);
            }
        }
    }

    /// The bytes of these batches, one after the other.
    pub fn read(&mut self, key: PartitionKey, batches: &[(u64, usize)]) -> Result<Bytes, LogError> {
        if let [(position, _)] = batches {
            return self.read_one(key, *position);
        }
        let mut all = BytesMut::with_capacity(batches.iter().map(|(_, size)| size).sum());
        let mut rest = batches;
        while let Some(((position, _), later)) = rest.split_first() {
            if let Some(bytes) = self.cache.get(key, *position) {
                all.extend_from_slice(&bytes);
                rest = later;
                continue;
            }
            // What is not cached lies mostly in a row, with few entries between that are of other branches.
            let bytes_max = rest.iter().map(|(_, size)| size + 64).sum();
            let entries = self.log(key)?.read_range(*position, bytes_max)?;
            let before = rest.len();
            for entry in entries {
                if let Some((position, _)) = rest.first()
                    && *position == entry.position
                {
                    all.extend_from_slice(entry.payload.get(BATCH_PREFIX..).unwrap_or_default());
                    rest = &rest[1..];
                }
            }
            if rest.len() == before {
                return Err(LogError::Corrupt { path: directory(key), position: *position });
            }
        }
        Ok(all.freeze())
    }

    fn read_one(&mut self, key: PartitionKey, position: u64) -> Result<Bytes, LogError> {
        if let Some(bytes) = self.cache.get(key, position) {
            return Ok(bytes);
        }
        let payload = self.log(key)?.read(position)?.payload;
        let corrupt = LogError::Corrupt { path: directory(key), position };
        if payload.len() < BATCH_PREFIX { Err(corrupt) } else { Ok(payload.slice(BATCH_PREFIX..)) }
    }

    /// Rebuilds a partition's tree from what is stored. Blocks.
    pub fn recover(&mut self, key: PartitionKey, nodes: &[NodeId]) -> Result<ForkTree, LogError> {
        let (mut tree, mut cleaned) = (ForkTree::new(nodes), Vec::new());
        let log = self.log(key)?;
        for entry in log.records(log.start()) {
            let entry = entry?;
            let damaged = LogError::Corrupt { path: directory(key), position: entry.position };
            match read_entry(&entry.payload).map_err(|_| damaged.clone())? {
                Entry::Change(change) => tree.replay(change),
                Entry::Forgotten(forgotten) => tree.replay_forgotten(&forgotten),
                Entry::Batch(branch, bytes) => {
                    let header = BatchHeader::read(&bytes).map_err(|_| damaged)?;
                    tree.replay_batch(branch, describe(&header, &bytes, entry.position));
                }
                Entry::Cleaning => cleaned.clear(),
                Entry::CleanedBatch(bytes) => {
                    let header = BatchHeader::read(&bytes).map_err(|_| damaged)?;
                    cleaned.push(describe(&header, &bytes, entry.position));
                }
                Entry::Cleaned(summary) => {
                    let summary: Cleaned = serde_json::from_slice(&summary).map_err(|_| damaged)?;
                    tree.replay_cleaned(summary, std::mem::take(&mut cleaned));
                }
            }
        }
        tree.replayed();
        Ok(tree)
    }

    /// The keys' directories that are there.
    pub fn stored(&self) -> Result<Vec<String>, LogError> {
        match self.disk.list("kafka/partitions") {
            Ok(names) => Ok(names),
            Err(atoll_kernel::disk::DiskError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Forgets a partition and its files.
    pub fn delete(&mut self, key: PartitionKey) {
        self.cache.forget(key);
        if let Some(log) = self.partitions.remove(&key) {
            // What cannot be removed now is removed at the next start, where no topic claims it.
            let _ = log.delete();
        }
    }

    /// Removes a directory that no topic claims.
    pub fn delete_unclaimed(&mut self, name: &str) -> Result<(), LogError> {
        Ok(self.disk.remove_directory(&format!("kafka/partitions/{name}"))?)
    }
}

/// The name of a partition's directory.
pub fn directory_name(key: PartitionKey) -> String {
    format!("{}-{}", key.0.simple(), key.1)
}

fn directory(key: PartitionKey) -> String {
    format!("kafka/partitions/{}", directory_name(key))
}

/// What the tree knows of a batch with this header, whose bytes say what it is if it is a control batch.
pub fn describe(header: &BatchHeader, bytes: &Bytes, position: u64) -> Batch {
    let producer = (header.producer_id, header.producer_epoch, header.base_sequence, header.last_sequence());
    Batch {
        base_offset: header.base_offset,
        next_offset: header.next_offset(),
        leader_epoch: header.leader_epoch,
        max_timestamp: header.max_timestamp,
        size: header.size as u32,
        position,
        producer: (header.producer_id >= 0).then_some(producer),
        kind: match (header.is_control(), header.is_transactional()) {
            (true, _) => marker_of(bytes),
            (false, true) => Kind::Transactional,
            (false, false) => Kind::Plain,
        },
        acknowledged: None,
    }
}

fn marker_of(bytes: &Bytes) -> Kind {
    let records = record::read_records(bytes).and_then(Result::ok);
    if records.as_ref().is_some_and(Vec::is_empty) {
        return Kind::Emptied;
    }
    let record = records.and_then(|mut records| records.pop());
    let marker = record.and_then(|record| control::read(&record));
    marker.map_or(Kind::Plain, |marker| Kind::Marker {
        commit: marker.commit,
        coordinator_epoch: marker.coordinator_epoch,
    })
}

enum Entry {
    Batch(BranchId, Bytes),
    Change(Change),
    Forgotten(Bytes),
    Cleaning,
    CleanedBatch(Bytes),
    Cleaned(Bytes),
}

fn write_change(change: &Change) -> Bytes {
    let mut writer = Writer::new();
    match change {
        Change::Forked { branch, parent, offset } => {
            writer.u8(1);
            writer.u32(*branch);
            writer.u32(*parent);
            writer.i64(*offset);
        }
        Change::Moved { node, branch } => {
            writer.u8(2);
            writer.u16(node.0);
            writer.u32(*branch);
        }
        Change::Cut { branch, offset } => {
            writer.u8(3);
            writer.u32(*branch);
            writer.i64(*offset);
        }
        Change::Started { node, offset } => {
            writer.u8(4);
            writer.u16(node.0);
            writer.i64(*offset);
        }
    }
    writer.into_bytes()
}

fn read_entry(payload: &Bytes) -> Result<Entry, WireError> {
    let mut reader = Reader::new(payload.clone());
    Ok(match reader.u8()? {
        0 => {
            let branch = reader.u32()?;
            Entry::Batch(branch, reader.bytes(reader.remaining())?)
        }
        1 => Entry::Change(Change::Forked { branch: reader.u32()?, parent: reader.u32()?, offset: reader.i64()? }),
        2 => Entry::Change(Change::Moved { node: NodeId(reader.u16()?), branch: reader.u32()? }),
        3 => Entry::Change(Change::Cut { branch: reader.u32()?, offset: reader.i64()? }),
        FORGOTTEN => Entry::Forgotten(reader.bytes(reader.remaining())?),
        CLEANING => Entry::Cleaning,
        CLEANED_BATCH => {
            reader.u32()?;
            Entry::CleanedBatch(reader.bytes(reader.remaining())?)
        }
        CLEANED => Entry::Cleaned(reader.bytes(reader.remaining())?),
        4 => Entry::Change(Change::Started { node: NodeId(reader.u16()?), offset: reader.i64()? }),
        tag => return Err(reader.error(atoll_wire::WireErrorKind::Invalid { what: "an entry", value: i64::from(tag) })),
    })
}

/// The newest batches of all partitions, oldest out first.
#[derive(Debug, Default)]
struct Cache {
    batches: BTreeMap<(PartitionKey, u64), Bytes>,
    order: VecDeque<(PartitionKey, u64)>,
    size: usize,
}

impl Cache {
    fn insert(&mut self, key: PartitionKey, position: u64, batch: Bytes) {
        self.size += batch.len();
        self.order.push_back((key, position));
        if let Some(replaced) = self.batches.insert((key, position), batch) {
            self.size -= replaced.len();
        }
        while self.size > CACHE_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(removed) = self.batches.remove(&oldest) {
                self.size -= removed.len();
            }
        }
    }

    fn get(&self, key: PartitionKey, position: u64) -> Option<Bytes> {
        self.batches.get(&(key, position)).cloned()
    }

    fn forget(&mut self, key: PartitionKey) {
        let (batches, size) = (&mut self.batches, &mut self.size);
        self.order.retain(|place| {
            if place.0 == key
                && let Some(removed) = batches.remove(place)
            {
                *size -= removed.len();
            }
            place.0 != key
        });
    }
}
