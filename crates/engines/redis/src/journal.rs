//! The append-only files of all shards: written before replies go out, synced as `appendfsync` says.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use atoll_kernel::disk::Disk;
use atoll_kernel::{Context, Moment};
use atoll_net::Host;
use atoll_storage::log::{SyncJob, SyncOutcome};
use atoll_storage::{Log, LogConfig, LogError, SyncPolicy, SyncSchedule, Syncer};
use tokio::sync::{Notify, mpsc};

use crate::config::AppendFsync;
use crate::core::Cluster;
use crate::state::LogMark;

/// `auto-aof-rewrite-min-size` and `auto-aof-rewrite-percentage 100`: a file is rewritten when it is larger than this and
/// twice as large as after the last time.
const REWRITE_SIZE_MIN: u64 = 64 << 20;
/// The size of the records that a rewritten file consists of.
const REWRITE_RECORD: usize = 1 << 20;

/// The append-only files. Empty with `appendonly no`.
pub(crate) struct Journal {
    shards: BTreeMap<usize, Shard>,
    syncer: Option<Syncer>,
    disk: Arc<dyn Disk>,
    outcomes: mpsc::UnboundedSender<(usize, SyncOutcome)>,
    policy: AppendFsync,
    changed: Arc<Notify>,
}

struct Shard {
    log: Log,
    schedule: SyncSchedule,
    size_after_rewrite: u64,
    /// How far it holds the shard's history.
    appended: LogMark,
    /// How far it did when the sync began that is under way.
    syncing: LogMark,
}

/// Positions that have to be durable before replies go out; nothing unless `appendfsync always`.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    positions: Vec<(usize, u64)>,
}

impl Stored {
    pub(crate) fn is_pending(&self) -> bool {
        !self.positions.is_empty()
    }
}

fn directory(shard: usize) -> String {
    format!("redis/appendonly-{shard}")
}

fn open(disk: &Arc<dyn Disk>, directory: &str) -> Result<Log, LogError> {
    // A record is one turn of the loop: as large as the largest pipeline of the largest values.
    let config = LogConfig { record_bytes_max: u32::MAX >> 1, ..LogConfig::default() };
    Log::open(Arc::clone(disk), directory, config)
}

fn policy(setting: AppendFsync) -> SyncPolicy {
    match setting {
        AppendFsync::Always => SyncPolicy::ALWAYS,
        AppendFsync::EverySecond => SyncPolicy::EVERY_SECOND,
        AppendFsync::No => SyncPolicy::NEVER,
    }
}

impl Journal {
    /// Opens the files and executes what they hold. Outcomes of syncs are sent to `outcomes`.
    pub(crate) fn open(
        host: &Host,
        cluster: &mut Cluster,
        outcomes: mpsc::UnboundedSender<(usize, SyncOutcome)>,
    ) -> io::Result<Journal> {
        let setting = cluster.config.settings.append_fsync;
        let mut journal = Journal {
            shards: BTreeMap::new(),
            syncer: None,
            disk: Arc::clone(&host.disk),
            outcomes,
            policy: setting,
            changed: Arc::new(Notify::new()),
        };
        if !cluster.config.settings.has_log {
            return Ok(journal);
        }
        let ctx = Context::new(&host.kernel);
        let shards: Vec<usize> = cluster.datasets.iter().map(|(shard, _)| shard).collect();
        for shard in shards {
            let directory = directory(shard);
            let log = open(&host.disk, &directory).map_err(io::Error::other)?;
            for record in log.records(log.start()) {
                let record = record.map_err(io::Error::other)?;
                if !cluster.restore(&ctx, shard, &record.payload) {
                    return Err(io::Error::other(format!(
                        "{directory}: the record at position {} is not of this program's making",
                        record.position
                    )));
                }
            }
            let schedule = SyncSchedule::new(policy(setting));
            let size_after_rewrite = log.end() - log.start();
            let (appended, syncing) = (cluster.log_mark(shard), LogMark::default());
            journal.shards.insert(shard, Shard { log, schedule, size_after_rewrite, appended, syncing });
            // What was read is there.
            cluster.note_log_synced(&ctx, shard, appended);
        }
        // What restoring would log again is there already.
        cluster.log_bytes().for_each(|(_, bytes)| bytes.clear());
        cluster.take_new_shards();
        journal.syncer = Some(Syncer::start("redis-sync")?);
        Ok(journal)
    }

    /// Appends what was executed since the last call and hands it to the operating system.
    pub(crate) fn store(&mut self, cluster: &mut Cluster, ctx: &Context<'_>) -> Stored {
        self.follow_policy(cluster.config.settings.append_fsync);
        let wall_ms = ctx.kernel().wall().as_millis();
        let mut stored = Stored::default();
        let mut failure = self.begin_shards(cluster, ctx).err();
        for (shard, bytes) in cluster.log_bytes() {
            let Some(Shard { log, schedule, .. }) = self.shards.get_mut(&shard) else { continue };
            if let Err(error) = log.append(wall_ms, &[bytes.as_slice()]) {
                failure = Some(error);
                continue;
            }
            bytes.clear();
            if let Err(error) = log.flush() {
                failure = Some(error);
            }
            schedule.appended(ctx.now(), 1);
            if self.policy == AppendFsync::Always {
                stored.positions.push((shard, log.end()));
            }
        }
        if failure.is_none() {
            self.shards.iter_mut().for_each(|(index, shard)| shard.appended = cluster.log_mark(*index));
        }
        cluster.set_log_failure(failure.map(|error| reason(&error)));
        let wants_rewrite = cluster.take_rewrite_wanted();
        for (shard, mark) in self.rewrite_large(cluster, wall_ms, wants_rewrite) {
            cluster.note_log_synced(ctx, shard, mark);
        }
        self.sync_due(ctx.now());
        self.changed.notify_one();
        stored
    }

    /// Files of shards that have begun since the last call: whatever they held goes.
    fn begin_shards(&mut self, cluster: &mut Cluster, ctx: &Context<'_>) -> Result<(), LogError> {
        let wall_ms = ctx.kernel().wall().as_millis();
        for index in cluster.take_new_shards() {
            if !self.shards.contains_key(&index) {
                let log = open(&self.disk, &directory(index))?;
                let schedule = SyncSchedule::new(policy(self.policy));
                let (appended, syncing) = Default::default();
                self.shards.insert(index, Shard { log, schedule, size_after_rewrite: 0, appended, syncing });
            }
            if let Some(shard) = self.shards.get_mut(&index) {
                shard.rewrite(cluster, index, wall_ms)?;
                let bytes = cluster.log_bytes().find(|(shard, _)| *shard == index);
                if let Some((_, bytes)) = bytes {
                    bytes.clear();
                }
                cluster.note_log_synced(ctx, index, cluster.log_mark(index));
            }
        }
        Ok(())
    }

    fn follow_policy(&mut self, setting: AppendFsync) {
        if setting != self.policy {
            self.policy = setting;
            for shard in self.shards.values_mut() {
                shard.schedule.set_policy(policy(setting));
            }
        }
    }

    /// Replaces files that have grown by the commands that make what is there now, which are synced. Returns which, and how
    /// far they hold their shards' histories.
    fn rewrite_large(&mut self, cluster: &Cluster, wall_ms: i64, all: bool) -> Vec<(usize, LogMark)> {
        let mut rewritten = Vec::new();
        for (&index, shard) in &mut self.shards {
            let size = shard.log.end() - shard.log.start();
            let is_large = size > REWRITE_SIZE_MIN && size > shard.size_after_rewrite * 2;
            let may = !cluster.scripts.is_any_busy();
            if !may || !(all || is_large) {
                continue;
            }
            match shard.rewrite(cluster, index, wall_ms) {
                Ok(()) => rewritten.push((index, cluster.log_mark(index))),
                // The old records are still there; the next attempt comes when the file has doubled.
                Err(_) => shard.size_after_rewrite = size,
            }
        }
        rewritten
    }

    /// Begins the syncs that are due.
    pub(crate) fn sync_due(&mut self, now: Moment) {
        let Some(syncer) = &self.syncer else { return };
        for (&index, shard) in &mut self.shards {
            if !shard.schedule.is_due(now) {
                continue;
            }
            if let Ok(Some(job)) = shard.log.begin_sync() {
                shard.begun();
                submit(syncer, index, job, &self.outcomes);
            }
        }
    }

    /// A sync has ended. What was appended meanwhile begins the next. Returns how far the file is on disk now, unless it failed.
    pub(crate) fn finished(&mut self, index: usize, outcome: SyncOutcome) -> Option<LogMark> {
        let shard = self.shards.get_mut(&index)?;
        // After a failure nothing counts as durable, and the next job writes it again.
        let synced = shard.log.finish_sync(outcome);
        let reached = synced.as_ref().ok().map(|_| shard.syncing);
        let is_all = synced.is_ok_and(|synced| synced >= shard.log.end());
        if !is_all
            && self.policy == AppendFsync::Always
            && let (Ok(Some(job)), Some(syncer)) = (shard.log.begin_sync(), &self.syncer)
        {
            shard.begun();
            submit(syncer, index, job, &self.outcomes);
        }
        reached
    }

    pub(crate) fn is_durable(&self, stored: &Stored) -> bool {
        stored.positions.iter().all(|(shard, end)| self.shards[shard].log.synced() >= *end)
    }

    /// When the next sync is due by age.
    pub(crate) fn next_wake(&self) -> Option<Moment> {
        self.shards.values().filter_map(|shard| shard.schedule.next_wake()).min()
    }

    /// Tells when something was appended.
    pub(crate) fn changed(&self) -> Arc<Notify> {
        Arc::clone(&self.changed)
    }

    /// Makes everything durable.
    pub(crate) fn close(&mut self) {
        self.syncer = None;
        for shard in self.shards.values_mut() {
            // There is nobody left to be told; the records have reached the operating system.
            let _ = shard.log.sync();
        }
    }
}

fn submit(syncer: &Syncer, shard: usize, job: SyncJob, outcomes: &mpsc::UnboundedSender<(usize, SyncOutcome)>) {
    let outcomes = outcomes.clone();
    syncer.submit(job, move |outcome| drop(outcomes.send((shard, outcome))));
}

/// In the operating system's words, as MISCONF quotes them.
fn reason(error: &LogError) -> String {
    match error {
        LogError::Disk(error) => error.to_string(),
        other => other.to_string(),
    }
}

impl Shard {
    fn begun(&mut self) {
        self.schedule.begun();
        self.syncing = self.appended;
    }

    fn rewrite(&mut self, cluster: &Cluster, index: usize, wall_ms: i64) -> Result<(), LogError> {
        self.log.roll()?;
        let begin = self.log.end();
        for record in cluster.dump(index, REWRITE_RECORD) {
            self.log.append(wall_ms, &[&record])?;
        }
        // A rewritten file begins with nothing, whatever stands before it.
        self.log.sync()?;
        self.log.remove_before(begin)?;
        self.size_after_rewrite = self.log.end() - begin;
        Ok(())
    }
}
