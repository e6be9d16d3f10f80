//! The log cleaner: of topics with `cleanup.policy=compact` the last record of each key stays, as in Kafka's `LogCleaner`.
//!
//! A round looks at one log. It notes the last offset of each key in what is *dirty*, which are the segments that no round has
//! been through, and then writes anew all segments up to there without the records that a later one of the same key has
//! replaced. It does so in steps, between which everything else goes on, and what it has written counts when it is done.
//!
//! - `round.rs`: the steps of a round;
//! - `filter.rs`: what stays of one batch;
//! - `transactions.rs`: what a round knows of transactions.
//!
//! Kafka's brokers clean each log on their own. Here replicas share their bytes, so a log is cleaned once, as far as all of them
//! have it as committed and free of transactions that have not ended: no replica can lose what a record was replaced by.
//!
//! <https://kafka.apache.org/documentation/#compaction>

mod filter;
mod round;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_kernel::{Context, NodeId};

use self::round::{Round, Step};
use super::segments::{Segment, segments};
use super::{Cluster, Timer};
use crate::config::TopicConfig;
use crate::state::image::PartitionKey;
use crate::state::partition::Partition;

/// A round's steps follow each other as soon as everything else that is due has been done.
const BETWEEN_STEPS: Duration = Duration::from_millis(1);
/// A key and its offset in Kafka's map of them, which is filled to nine tenths: so many keys has a thread room for.
const BYTES_FOR_KEY: u64 = 24;

/// What the threads of the cleaner are at.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    rounds: BTreeMap<usize, Round>,
    /// Logs that no round can be through, because something in them cannot be read.
    uncleanable: BTreeSet<PartitionKey>,
}

impl Cleaner {
    /// Whether a log is being cleaned.
    pub fn is_at(&self, key: PartitionKey) -> bool {
        self.rounds.values().any(|round| round.key == key)
    }
}

/// A log that could be cleaned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cleanable {
    /// The first offset that no round has been through.
    from: i64,
    /// Where the first segment begins that must stay as it is.
    upto: i64,
    /// How much of what would be read is dirty, in millionths.
    dirty_ppm: u64,
    /// `max.compaction.lag.ms` has passed.
    is_due: bool,
}

impl Cluster {
    /// Sets the cleaner's threads going, if there is to be one.
    pub(super) fn start_cleaner(&mut self, ctx: &Context<'_>) {
        if self.config.cleaner.enable {
            for thread in 0..self.config.cleaner.threads.max(1) {
                self.set_timer(ctx.now() + self.cleaner_backoff(), Timer::Clean(thread));
            }
        }
    }

    fn cleaner_backoff(&self) -> Duration {
        Duration::from_millis(self.config.cleaner.backoff_ms.max(1))
    }

    /// One thread of the cleaner goes on with its round, begins another, or sleeps.
    pub(super) fn clean(&mut self, ctx: &Context<'_>, thread: usize) {
        let round = self.cleaner.rounds.remove(&thread);
        let round = round.or_else(|| self.begin_round(ctx));
        let pause = match round {
            Some(round) => {
                let key = round.key;
                match self.clean_step(ctx, round) {
                    Step::Next(round) => drop(self.cleaner.rounds.insert(thread, *round)),
                    Step::Done => self.reclaim(key),
                    Step::GivenUp => {}
                    Step::Unreadable => drop(self.cleaner.uncleanable.insert(key)),
                }
                BETWEEN_STEPS
            }
            None => self.cleaner_backoff(),
        };
        self.set_timer(ctx.now() + pause, Timer::Clean(thread));
    }

    /// A round through the log with the greatest share of what is dirty, among those with enough of it.
    fn begin_round(&mut self, ctx: &Context<'_>) -> Option<Round> {
        let mut filthiest: Option<(Cleanable, PartitionKey, NodeId)> = None;
        for (key, partition) in &self.partitions {
            if self.cleaner.is_at(*key) || self.cleaner.uncleanable.contains(key) {
                continue;
            }
            let Some(leader) = partition.leaders().into_iter().find(|leader| self.is_up(ctx, *leader)) else {
                continue;
            };
            let image = self.brokers.get(&leader).map(|broker| &broker.image);
            let Some((_, topic, _)) = image.and_then(|image| image.partition_by_key(*key)) else { continue };
            if !topic.config.is_compacted {
                continue;
            }
            let Some(found) = cleanable(partition, leader, &topic.config, ctx.wall(leader).as_millis()) else {
                continue;
            };
            if filthiest.is_none_or(|(filthiest, ..)| found.dirty_ppm > filthiest.dirty_ppm) {
                filthiest = Some((found, *key, leader));
            }
        }
        let (found, key, leader) = filthiest?;
        let image = self.brokers.get(&leader).map(|broker| &broker.image)?;
        let delete_retention_ms = image.partition_by_key(key)?.1.config.delete_retention_ms;
        ctx.trace(|| format!("cleaning {key:?} from {} to {}", found.from, found.upto));
        let tree = &self.partitions.get(&key)?.tree;
        let threads = self.config.cleaner.threads.max(1) as u64;
        let slots = self.config.cleaner.dedupe_buffer_size / threads / BYTES_FOR_KEY;
        let round = Round::new(
            (key, leader, tree.only_branch()?),
            (found.from, found.upto),
            (ctx.wall(leader).as_millis(), delete_retention_ms),
            usize::try_from(slots / 10 * 9).unwrap_or(usize::MAX),
            tree.producers(leader)?,
        );
        self.store.begin_cleaning(key).ok()?;
        Some(round)
    }
}

/// What could be cleaned of a log, if it is enough to begin with.
fn cleanable(partition: &Partition, leader: NodeId, config: &TopicConfig, now_ms: i64) -> Option<Cleanable> {
    let tree = &partition.tree;
    tree.only_branch()?;
    let committed = partition.replicas.keys().map(|node| partition.last_stable_offset(*node)).min()?;
    let from = tree.cleaned().max(tree.start(leader));
    let dirty = segments(tree.batches(leader, from), config, 0);
    let (active, rolled) = dirty.split_last()?;
    let lags = |segment: &&Segment| {
        config.min_compaction_lag_ms > 0
            && segment.newest_timestamp > now_ms.saturating_sub(config.min_compaction_lag_ms)
    };
    let recent = rolled.iter().find(lags).map_or(i64::MAX, |segment| segment.start);
    let limit = committed.min(active.start).min(recent);
    // A segment is cleaned as a whole or not at all.
    let cleaned: Vec<&Segment> = rolled.iter().take_while(|segment| segment.end <= limit).collect();
    let upto = cleaned.last()?.end;
    let dirty_bytes: u64 = cleaned.iter().map(|segment| segment.bytes).sum();
    let clean = tree.batches(leader, 0).take_while(|batch| batch.base_offset < from);
    let clean_bytes: u64 = clean.map(|batch| u64::from(batch.size)).sum();
    let oldest = rolled.iter().map(|segment| segment.first_timestamp).filter(|timestamp| *timestamp > 0).min();
    let is_due = oldest.is_some_and(|oldest| oldest < now_ms.saturating_sub(config.max_compaction_lag_ms));
    let dirty_ppm = dirty_bytes * 1_000_000 / (clean_bytes + dirty_bytes).max(1);
    (is_due || dirty_ppm > config.min_cleanable_dirty_ppm).then_some(Cleanable { from, upto, dirty_ppm, is_due })
}
