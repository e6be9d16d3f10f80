//! A round of the cleaner through one log, step by step: first it notes keys, then it writes what stays.

use std::collections::{BTreeMap, HashMap};

use atoll_kernel::{Context, NodeId};
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::filter::{Standing, filter};
use super::transactions::Passing;
use crate::cluster::Cluster;
use crate::state::image::PartitionKey;
use crate::state::producers::Producers;
use crate::state::tree::{Batch, BranchId, Kind};
use crate::store::describe;
use crate::wire::batch::BatchHeader;
use crate::wire::record::{self, Record};

/// A key's digest, which takes as much room for a long key as for a short one.
type KeyDigest = [u8; 16];

fn digest(key: &[u8]) -> KeyDigest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(key)[..16]);
    digest
}

/// A round.
#[derive(Debug)]
pub(super) struct Round {
    pub key: PartitionKey,
    /// The leader when it began, whose clock counts.
    node: NodeId,
    branch: BranchId,
    /// The first offset of what is dirty.
    from: i64,
    upto: i64,
    now_ms: i64,
    delete_retention_ms: i64,
    keys_max: usize,
    /// The last offset of each key in what is dirty.
    last: HashMap<KeyDigest, i64>,
    transactions: Passing,
    /// The last batch of each producer: where it begins, if its present epoch has written any, and that epoch.
    producers: BTreeMap<i64, (Option<i64>, i16)>,
    is_writing: bool,
    /// The next offset to be looked at.
    next: i64,
    /// What stays.
    left: Vec<Batch>,
}

/// What becomes of a round.
pub(super) enum Step {
    Next(Box<Round>),
    Done,
    /// The log has changed, or the disk does not take what is written: another round will begin anew.
    GivenUp,
    Unreadable,
}

impl Round {
    pub fn new(
        (key, node, branch): (PartitionKey, NodeId, BranchId),
        (from, upto): (i64, i64),
        (now_ms, delete_retention_ms): (i64, i64),
        keys_max: usize,
        producers: &Producers,
    ) -> Round {
        let last_of = producers.iter().map(|(id, state)| (id, (state.last_data_offset(), state.epoch)));
        Round {
            key,
            node,
            branch,
            from,
            upto,
            now_ms,
            delete_retention_ms,
            keys_max,
            last: HashMap::new(),
            transactions: Passing::new(producers.aborted(from, upto)),
            producers: last_of.collect(),
            is_writing: false,
            next: from,
            left: Vec::new(),
        }
    }

    /// Notes the keys of a batch; false if there is no room for them.
    fn note(&mut self, batch: &Batch, records: &[Record]) -> bool {
        let is_aborted = self.transactions.pass(batch);
        if batch.kind != Kind::Plain && (is_aborted || batch.kind != Kind::Transactional) {
            return true;
        }
        for record in records {
            let Some(key) = &record.key else { continue };
            let digest = digest(key);
            if self.last.len() >= self.keys_max && !self.last.contains_key(&digest) {
                return false;
            }
            self.last.insert(digest, record.offset);
        }
        true
    }

    fn standing(&mut self, batch: &Batch) -> Standing {
        let may_go = self.transactions.pass(batch);
        let is_control = matches!(batch.kind, Kind::Marker { .. } | Kind::Emptied);
        let last_of = batch.producer.and_then(|(id, epoch, ..)| Some((self.producers.get(&id)?, epoch)));
        let is_last_of_producer = last_of.is_some_and(|((last, known_epoch), epoch)| match last {
            Some(offset) => *offset == batch.base_offset,
            None => is_control && *known_epoch == epoch,
        });
        Standing {
            may_go,
            // Without the last batch of the round the log would not say how far it goes.
            stays_empty: is_last_of_producer || batch.next_offset == self.upto,
            now_ms: self.now_ms,
            delete_retention_ms: self.delete_retention_ms,
        }
    }

    fn is_last_of_its_key(&self, record: &Record) -> bool {
        let known = record.key.as_ref().and_then(|key| self.last.get(&digest(key)));
        known.is_none_or(|last| record.offset >= *last)
    }
}

impl Cluster {
    /// Goes on with a round for as much as is read at once.
    pub(super) fn clean_step(&mut self, ctx: &Context<'_>, round: Round) -> Step {
        if !self.is_still_cleanable(&round) {
            return Step::GivenUp;
        }
        let threads = self.config.cleaner.threads.max(1) as u64;
        let bytes_max = (self.config.cleaner.io_buffer_size / threads).max(1);
        let Some(partition) = self.partitions.get(&round.key) else { return Step::GivenUp };
        let mut bytes_ahead = 0;
        let ahead = partition.tree.batches(round.node, round.next).take_while(|batch| {
            let is_first = bytes_ahead == 0;
            bytes_ahead += u64::from(batch.size);
            batch.base_offset < round.upto && (is_first || bytes_ahead <= bytes_max)
        });
        let batches: Vec<Batch> = ahead.cloned().collect();
        if batches.is_empty() {
            return self.end_of_phase(ctx, round);
        }
        match round.is_writing {
            false => self.note_keys(round, &batches),
            true => self.write_what_stays(round, &batches),
        }
    }

    /// Everything that the round is to go through is still committed everywhere, and the same everywhere.
    fn is_still_cleanable(&self, round: &Round) -> bool {
        self.partitions.get(&round.key).is_some_and(|partition| {
            let committed = partition.replicas.keys().all(|node| partition.last_stable_offset(*node) >= round.upto);
            committed
                && partition.tree.only_branch() == Some(round.branch)
                && partition.replicas.contains_key(&round.node)
        })
    }

    fn note_keys(&mut self, mut round: Round, batches: &[Batch]) -> Step {
        for batch in batches {
            let place = [(batch.position, batch.size as usize)];
            let bytes = self.store.read(round.key, &place).ok();
            let records = bytes.and_then(|bytes| record::read_records(&bytes)).and_then(Result::ok);
            let Some(records) = records else { return Step::Unreadable };
            let before = round.next;
            if !round.note(batch, &records) {
                // There is no room for more keys: the round ends before this batch.
                round.upto = before;
                return if before == round.from { Step::Unreadable } else { Step::Next(Box::new(round)) };
            }
            round.next = batch.next_offset;
        }
        Step::Next(Box::new(round))
    }

    fn write_what_stays(&mut self, mut round: Round, batches: &[Batch]) -> Step {
        let mut left: Vec<Bytes> = Vec::new();
        for batch in batches {
            let Ok(bytes) = self.store.read(round.key, &[(batch.position, batch.size as usize)]) else {
                return Step::Unreadable;
            };
            let standing = round.standing(batch);
            match filter(&bytes, standing, |record| round.is_last_of_its_key(record)) {
                Ok(stays) => left.extend(stays),
                Err(_) => return Step::Unreadable,
            }
            round.next = batch.next_offset;
        }
        let Ok(positions) = self.store.append_cleaned(round.key, round.branch, &left, round.now_ms) else {
            return Step::GivenUp;
        };
        for (bytes, position) in left.iter().zip(positions) {
            let Ok(header) = BatchHeader::read(bytes) else { return Step::Unreadable };
            round.left.push(describe(&header, bytes, position));
        }
        Step::Next(Box::new(round))
    }

    /// All keys are noted, or all that stays is written.
    fn end_of_phase(&mut self, ctx: &Context<'_>, mut round: Round) -> Step {
        let Some(partition) = self.partitions.get_mut(&round.key) else { return Step::GivenUp };
        if !round.is_writing {
            let Some(producers) = partition.tree.producers(round.node) else { return Step::GivenUp };
            round.transactions = Passing::new(producers.aborted(0, round.upto));
            (round.is_writing, round.next) = (true, 0);
            return Step::Next(Box::new(round));
        }
        let remaining = round.transactions.remaining();
        let Some(cleaned) = partition.tree.summarize(round.branch, round.upto, remaining) else {
            return Step::GivenUp;
        };
        if self.store.end_cleaning(round.key, &cleaned).is_err() {
            return Step::GivenUp;
        }
        let count = round.left.len();
        partition.tree.adopt(&cleaned, std::mem::take(&mut round.left), remaining);
        // Kafka's cleaner syncs what it has written before it takes the place of what was there.
        partition.replicas.values_mut().for_each(|replica| replica.durable.synced_upto(round.upto));
        ctx.trace(|| format!("cleaned {:?} up to {}: {count} batches are left", round.key, round.upto));
        Step::Done
    }
}
