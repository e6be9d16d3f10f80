//! What is old goes: whole segments from the front of a log, by size and by time, as `retention.bytes` and `retention.ms` say.
//! Only a leader decides; its followers begin where it begins.

use std::time::Duration;

use atoll_kernel::{Context, NodeId};

use super::segments::{Segment, segments};
use super::{Cluster, Timer, runs};
use crate::config::TopicConfig;
use crate::state::image::PartitionKey;

impl Cluster {
    pub(super) fn plan_retention(&mut self, ctx: &Context<'_>) {
        let interval = Duration::from_millis(self.config.log_retention_check_interval_ms.max(1));
        self.set_timer(ctx.now() + interval, Timer::Retention);
    }

    /// Every leader lets go of what is too old or too much.
    pub(super) fn retain(&mut self, ctx: &Context<'_>) {
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        for key in keys.iter().copied() {
            let leaders = self.partitions.get(&key).map(|partition| partition.leaders()).unwrap_or_default();
            for leader in leaders.into_iter().filter(|leader| runs(ctx, *leader)) {
                if let Some(start) = self.retained_from(ctx, key, leader) {
                    ctx.trace(|| format!("{leader} keeps {key:?} from {start}"));
                    self.raise_log_start(key, leader, start);
                }
            }
        }
        // Followers that are reached begin there as well; then nobody needs what was before.
        self.settle(ctx);
        keys.into_iter().for_each(|key| self.reclaim(key));
        self.plan_retention(ctx);
    }

    fn retained_from(&self, ctx: &Context<'_>, key: PartitionKey, leader: NodeId) -> Option<i64> {
        let (_, topic, _) = self.brokers.get(&leader)?.image.partition_by_key(key)?;
        let partition = self.partitions.get(&key)?;
        let start = partition.tree.start(leader);
        let segments = segments(partition.tree.batches(leader, start), &topic.config, partition.tree.cleaned());
        let kept = first_kept(&segments, &topic.config, ctx.wall(leader).as_millis(), partition.high_watermark(leader));
        kept.filter(|kept| *kept > start)
    }

    /// Gives back the files of what no replica can read any more, where all replicas agree on the rest.
    pub(super) fn reclaim(&mut self, key: PartitionKey) {
        // What the cleaner is writing lies behind what the tree knows of.
        if self.cleaner.is_at(key) {
            return;
        }
        let Some(partition) = self.partitions.get(&key) else { return };
        let Some(changes) = partition.tree.summary() else { return };
        let live = partition.tree.first_position();
        // What cannot be given back now is looked at again at the next check.
        let _ = self.store.reclaim(key, live, &changes, &partition.tree.forgotten());
    }
}

/// Where the log begins when what is to go has gone; None if nothing is to go.
fn first_kept(segments: &[Segment], config: &TopicConfig, now_ms: i64, high_watermark: i64) -> Option<i64> {
    if !config.is_deleted {
        return None;
    }
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let (mut start, last) = (None, segments.len().saturating_sub(1));
    for (place, segment) in segments.iter().enumerate() {
        let too_old = config.retention_ms >= 0 && now_ms.saturating_sub(segment.newest_timestamp) > config.retention_ms;
        // The segment that is being written goes by its age alone: another is begun before.
        let kept_bytes = u64::try_from(config.retention_bytes).ok();
        let too_much = place < last && kept_bytes.is_some_and(|kept| bytes - segment.bytes >= kept);
        if !(too_old || too_much) || segment.end > high_watermark {
            break;
        }
        bytes -= segment.bytes;
        start = Some(segment.end);
    }
    start
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;
    use crate::state::tree::Batch;

    fn batch(offset: i64, size: u32, max_timestamp: i64) -> Batch {
        Batch {
            base_offset: offset,
            next_offset: offset + 1,
            leader_epoch: 0,
            max_timestamp,
            size,
            position: 0,
            producer: None,
            kind: crate::state::tree::Kind::Plain,
            acknowledged: None,
        }
    }

    fn kept(options: &[(&str, &str)], batches: &[Batch], now_ms: i64, high_watermark: i64) -> Option<i64> {
        let options: BTreeMap<String, String> =
            options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = TopicConfig::resolve(&Config::default(), &options).unwrap();
        first_kept(&segments(batches.iter(), &config, 0), &config, now_ms, high_watermark)
    }

    #[test]
    fn whole_segments_go_by_age_and_by_size() {
        let batches: Vec<Batch> = (0..6).map(|number| batch(number, 100, number * 1_000)).collect();
        let two = ("segment.bytes", "200");
        assert_eq!(kept(&[two, ("retention.ms", "1500")], &batches, 4_000, 6), Some(2), "3 s is within 1.5 s of 4 s");
        assert_eq!(kept(&[two, ("retention.ms", "1500")], &batches, 60_000, 6), Some(6), "even what is being written");
        assert_eq!(kept(&[two, ("retention.ms", "1500")], &batches, 60_000, 3), Some(2), "nothing uncommitted goes");
        assert_eq!(kept(&[two, ("retention.bytes", "250")], &batches, 0, 6), Some(2));
        assert_eq!(kept(&[two, ("retention.bytes", "0")], &batches, 0, 6), Some(4), "but what is being written");
        assert_eq!(kept(&[two], &batches, 0, 6), None);
        let compacted = ("cleanup.policy", "compact");
        assert_eq!(kept(&[two, compacted, ("retention.ms", "0")], &batches, 60_000, 6), None);
        assert_eq!(kept(&[("segment.ms", "1500"), ("retention.ms", "1500")], &batches, 4_000, 6), Some(2));
    }
}
