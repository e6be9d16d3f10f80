//! Followers fetch, high watermarks rise, in-sync sets change, and what is truncated goes into the ledger.
//!
//! While links are healthy a follower has a batch in the same moment as its leader. Over a slow link one fetch is under way
//! at a time, as in Kafka; over a cut link none is.

use std::time::Duration;

use atoll_kernel::{Context, Entry, Kind, Link, Moment, NodeId, Verdict};
use bytes::Bytes;

use super::{APPENDED, Cluster, PART, Timer, runs};
use crate::config::TimestampType;
use crate::error::ErrorCode;
use crate::groups::GroupRecord;
use crate::state::image::{OFFSETS_TOPIC, PartitionKey, TRANSACTIONS_TOPIC};
use crate::state::partition::{Follower, Leadership};
use crate::state::tree::{Acknowledged, Batch};
use crate::store::describe;
use crate::wire::batch::{self, BatchHeader};
use crate::wire::record::{self, Record};

/// As many lost records of one batch are named one by one; a compressed batch can claim two billion.
const RECORDS_NAMED_MAX: i64 = 100_000;

/// Members of an in-sync set; of new ones, which start of the broker it was that caught up.
pub(super) type Members = Vec<(NodeId, Option<u64>)>;

/// A follower's fetch that is under way over a slow link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fetch {
    key: PartitionKey,
    follower: NodeId,
    leader: NodeId,
    epoch: i32,
    /// The leader's log end and high watermark when it answered.
    upto: i64,
    high_watermark: i64,
    answered_at: Moment,
}

impl Cluster {
    /// A broker's role in a partition may have changed in its own view: it begins to lead, goes on, or stops.
    pub(super) fn take_role(&mut self, ctx: &Context<'_>, key: PartitionKey, node: NodeId) {
        let Some(broker) = self.brokers.get(&node).filter(|broker| broker.serving) else { return };
        let Some((topic, _, state)) = broker.image.partition_by_key(key) else { return };
        let (is_offsets, is_transactions) = (topic == OFFSETS_TOPIC, topic == TRANSACTIONS_TOPIC);
        if !state.replicas.contains(&node.0) {
            return self.give_up_replica(ctx, key, node);
        }
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let Some(replica) = partition.replicas.get_mut(&node) else { return };
        let (led_before, leads) = (replica.leadership.as_ref().map(|led| led.epoch), state.is_led_by(node));
        match &mut replica.leadership {
            Some(leadership) if leads && leadership.epoch == state.leader_epoch => leadership.set_in_sync(&state.isr),
            slot if leads => {
                let end = partition.tree.end(node);
                *slot = Some(Leadership::begin(state.leader_epoch, end, &state.isr));
                // If others have gone further on the same branch, this epoch forks off where this log ends.
                partition.tree.branch_for_append(node);
                ctx.trace(|| format!("{node} leads {key:?} epoch {} from {end}", state.leader_epoch));
            }
            slot => *slot = None,
        }
        let epoch = leads.then_some(state.leader_epoch);
        self.keep_changes(key);
        if is_offsets && led_before != epoch {
            self.coordinate(ctx, key.1, node, epoch);
        }
        if is_transactions && led_before != epoch {
            self.coordinate_transactions(ctx, key.1, node, epoch);
        }
        self.behind.insert(key);
        self.woken.insert(key);
    }

    /// A broker has seen that it holds a partition no longer: it forgets what it had of it.
    fn give_up_replica(&mut self, ctx: &Context<'_>, key: PartitionKey, node: NodeId) {
        // Every broker hears of every partition, and most never held it.
        let Some(partition) = self.partitions.get_mut(&key).filter(|held| held.replicas.contains_key(&node)) else {
            return;
        };
        let (is_offsets, is_transactions) = (partition.topic == OFFSETS_TOPIC, partition.topic == TRANSACTIONS_TOPIC);
        let dead = partition.remove_replica(node);
        ctx.trace(|| format!("{node} gives {key:?} up"));
        self.keep_changes(key);
        if !dead.is_empty() {
            self.bury(ctx, key, node, &dead, &format!("node {node} gave its replica up, and nobody else had these"));
        }
        if is_offsets {
            self.coordinate(ctx, key.1, node, None);
        }
        if is_transactions {
            self.coordinate_transactions(ctx, key.1, node, None);
        }
        self.behind.insert(key);
        self.woken.insert(key);
    }

    /// Appends a producer's batch, which has been validated, to the log of a leader.
    pub(crate) fn append(
        &mut self,
        ctx: &Context<'_>,
        key: PartitionKey,
        leader: NodeId,
        header: &BatchHeader,
        bytes: &Bytes,
    ) -> Result<Batch, ErrorCode> {
        if !self.can_write(ctx, leader) {
            return Err(ErrorCode::KafkaStorageError);
        }
        let wall_ms = ctx.wall(leader).as_millis();
        let config = self
            .brokers
            .get(&leader)
            .and_then(|broker| broker.image.partition_by_key(key))
            .map(|found| &found.1.config);
        let (stamp, flush_messages) = config
            .map_or((TimestampType::CreateTime, i64::MAX), |config| (config.timestamp_type, config.flush_messages));
        let partition = self.partitions.get_mut(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        let epoch = partition.leadership(leader).map(|led| led.epoch).ok_or(ErrorCode::NotLeaderOrFollower)?;
        let base_offset = partition.tree.end(leader);
        let branch = partition.tree.branch_for_append(leader);
        let placed = match stamp {
            TimestampType::CreateTime => batch::place(bytes, base_offset, epoch),
            TimestampType::LogAppendTime => batch::place_with_append_time(bytes, base_offset, epoch, wall_ms),
        };
        let max_timestamp = if stamp == TimestampType::CreateTime { header.max_timestamp } else { wall_ms };
        self.keep_changes(key);
        let (position, stored) =
            self.store.append_batch(key, branch, &placed, wall_ms).map_err(|_| ErrorCode::KafkaStorageError)?;
        let header = BatchHeader { base_offset, leader_epoch: epoch, max_timestamp, ..*header };
        let described = describe(&header, &stored, position);
        let partition = self.partitions.get_mut(&key).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        partition.tree.append(leader, described.clone());
        grown(ctx, partition, leader, base_offset);
        self.flush_if_due(key, leader, flush_messages)?;
        self.note_kept_up(ctx, key, leader, base_offset);
        ctx.reached(APPENDED, leader);
        self.behind.insert(key);
        Ok(described)
    }

    /// A leader's log begins later: nobody reads what was before.
    pub(crate) fn raise_log_start(&mut self, key: PartitionKey, leader: NodeId, offset: i64) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        if partition.tree.raise_start(leader, offset) {
            self.keep_changes(key);
            self.behind.insert(key);
            self.woken.insert(key);
        }
    }

    fn flush_if_due(&mut self, key: PartitionKey, node: NodeId, flush_messages: i64) -> Result<(), ErrorCode> {
        let Some(partition) = self.partitions.get_mut(&key) else { return Ok(()) };
        let end = partition.tree.end(node);
        let Some(replica) = partition.replicas.get_mut(&node) else { return Ok(()) };
        if replica.durable.unsynced(end) >= flush_messages {
            replica.durable.synced(end);
            self.store.sync(key).map_err(|_| ErrorCode::KafkaStorageError)?;
        }
        Ok(())
    }

    /// Followers that had everything until this append were caught up until now, however long nothing was appended.
    fn note_kept_up(&mut self, ctx: &Context<'_>, key: PartitionKey, leader: NodeId, end_before: i64) {
        if ctx.is_healthy() {
            return;
        }
        let Some(leadership) = self
            .partitions
            .get_mut(&key)
            .and_then(|partition| partition.replicas.get_mut(&leader))
            .and_then(|replica| replica.leadership.as_mut())
        else {
            return;
        };
        for (node, follower) in &mut leadership.followers {
            if follower.end >= end_before && runs(ctx, *node) && ctx.connected(PART, leader, *node) {
                follower.caught_up_at = ctx.now();
            }
        }
    }

    /// Before a fault takes effect, whoever has everything is caught up.
    pub(super) fn remember_who_kept_up(&mut self, ctx: &Context<'_>) {
        for partition in self.partitions.values_mut() {
            for leader in partition.leaders() {
                let end = partition.tree.end(leader);
                let replica = partition.replicas.get_mut(&leader);
                let Some(leadership) = replica.and_then(|replica| replica.leadership.as_mut()) else { continue };
                for follower in leadership.followers.values_mut().filter(|follower| follower.end >= end) {
                    follower.caught_up_at = ctx.now();
                }
            }
        }
    }

    /// Lets followers fetch from whoever they believe to lead.
    pub(super) fn replicate(&mut self, ctx: &Context<'_>, key: PartitionKey) {
        let Some(partition) = self.partitions.get(&key) else { return };
        let followers: Vec<NodeId> = partition.replicas.keys().copied().collect();
        for leader in partition.leaders() {
            if !runs(ctx, leader) {
                continue;
            }
            for follower in followers.iter().copied().filter(|follower| *follower != leader) {
                let Some(epoch) = self.follows(ctx, key, follower, leader) else { continue };
                match round_trip(ctx, leader, follower) {
                    Some((Duration::ZERO, Duration::ZERO)) => self.fetch_now(ctx, key, follower, leader),
                    Some((to_follower, _)) => self.fetch_later(ctx, key, follower, leader, epoch, to_follower),
                    None => {}
                }
            }
            self.raise_high_watermark(ctx, key, leader);
            self.grow_in_sync_set(ctx, key, leader);
        }
    }

    /// The epoch in which a follower fetches from a leader, if both believe in it.
    fn follows(&self, ctx: &Context<'_>, key: PartitionKey, follower: NodeId, leader: NodeId) -> Option<i32> {
        let leadership = self.partitions.get(&key)?.leadership(leader)?;
        let broker = self.brokers.get(&follower).filter(|broker| broker.serving && runs(ctx, follower))?;
        let (_, _, state) = broker.image.partition_by_key(key)?;
        (state.is_led_by(leader) && state.leader_epoch == leadership.epoch).then_some(leadership.epoch)
    }

    fn fetch_now(&mut self, ctx: &Context<'_>, key: PartitionKey, follower: NodeId, leader: NodeId) {
        let Some(partition) = self.partitions.get(&key) else { return };
        let (upto, high_watermark) = (partition.tree.end(leader), partition.high_watermark(leader));
        if partition.tree.end(follower) != upto && !self.can_write(ctx, follower) {
            return;
        }
        self.take_over(ctx, key, follower, leader, upto, high_watermark);
        self.leader_learns(key, follower, leader, upto, ctx.now());
    }

    /// The follower's log becomes the leader's, up to an offset.
    fn take_over(
        &mut self,
        ctx: &Context<'_>,
        key: PartitionKey,
        follower: NodeId,
        leader: NodeId,
        upto: i64,
        high_watermark: i64,
    ) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let (before, common) = (partition.tree.end(follower), partition.tree.common_end(follower, leader));
        let dead = partition.tree.follow(follower, leader, upto);
        let end = partition.tree.end(follower);
        // What its leader cannot read any more it gives up as well.
        partition.tree.raise_start(follower, partition.tree.start(leader).min(end));
        let Some(replica) = partition.replicas.get_mut(&follower) else { return };
        if common < before {
            replica.durable.truncated(common);
            ctx.trace(|| format!("{follower} truncates {key:?} from {before} to {common}"));
        }
        if end > common {
            replica.durable.growing(ctx.now(), common);
        }
        replica.high_watermark = high_watermark.min(end);
        self.woken.insert(key);
        self.keep_changes(key);
        if !dead.is_empty() {
            let cause = format!("node {follower} truncated its log from {before} to {common} to follow node {leader}");
            self.bury(ctx, key, follower, &dead, &cause);
        }
    }

    fn leader_learns(&mut self, key: PartitionKey, follower: NodeId, leader: NodeId, end: i64, caught_up_at: Moment) {
        let Some(broker_epoch) = self.brokers.get(&follower).and_then(|broker| broker.broker_epoch) else { return };
        let replica = self.partitions.get_mut(&key).and_then(|partition| partition.replicas.get_mut(&leader));
        if let Some(leadership) = replica.and_then(|replica| replica.leadership.as_mut()) {
            leadership.followers.insert(follower, Follower { end, caught_up_at, broker_epoch });
        }
    }

    fn fetch_later(
        &mut self,
        ctx: &Context<'_>,
        key: PartitionKey,
        follower: NodeId,
        leader: NodeId,
        epoch: i32,
        to_follower: Duration,
    ) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let (upto, high_watermark) = (partition.tree.end(leader), partition.high_watermark(leader));
        let has_all = partition.tree.common_end(follower, leader) == upto && partition.tree.end(follower) == upto;
        let known = partition.leadership(leader).and_then(|led| led.followers.get(&follower)).map(|known| known.end);
        let Some(replica) = partition.replicas.get_mut(&follower) else { return };
        let begins = partition.tree.start(follower) >= partition.tree.start(leader);
        let nothing_new = has_all && begins && replica.high_watermark == high_watermark && known == Some(upto);
        if replica.fetching || nothing_new {
            return;
        }
        replica.fetching = true;
        let fetch = Fetch { key, follower, leader, epoch, upto, high_watermark, answered_at: ctx.now() };
        self.set_timer(ctx.now() + to_follower, Timer::Fetched(fetch));
    }

    /// The answer to a fetch arrives, if the link still is there.
    pub(super) fn fetched(&mut self, ctx: &Context<'_>, fetch: Fetch) {
        let Fetch { key, follower, leader, .. } = fetch;
        let valid = self.follows(ctx, key, follower, leader) == Some(fetch.epoch);
        let back = round_trip(ctx, leader, follower).map(|(_, back)| back);
        let grows = self.partitions.get(&key).is_some_and(|partition| partition.tree.end(follower) != fetch.upto);
        let valid = valid && (!grows || self.can_write(ctx, follower));
        let Some(back) = back.filter(|_| valid) else { return self.fetch_ended(key, follower) };
        if let Some(partition) = self.partitions.get(&key)
            && (partition.tree.common_end(follower, leader) < partition.tree.end(follower)
                || partition.tree.end(follower) <= fetch.upto)
        {
            self.take_over(ctx, key, follower, leader, fetch.upto, fetch.high_watermark);
        }
        let end = self.partitions.get(&key).map_or(0, |partition| partition.tree.end(follower));
        self.set_timer(ctx.now() + back, Timer::FetchedUpTo(fetch, end));
    }

    /// The next fetch arrives at the leader and tells it what the follower has.
    pub(super) fn fetched_up_to(&mut self, ctx: &Context<'_>, fetch: &Fetch, end: i64) {
        let Fetch { key, follower, leader, .. } = *fetch;
        self.fetch_ended(key, follower);
        let leads = self.partitions.get(&key).and_then(|partition| partition.leadership(leader));
        let valid = leads.is_some_and(|led| led.epoch == fetch.epoch) && round_trip(ctx, leader, follower).is_some();
        if valid {
            self.leader_learns(key, follower, leader, end, fetch.answered_at);
        }
    }

    fn fetch_ended(&mut self, key: PartitionKey, follower: NodeId) {
        if let Some(replica) = self.partitions.get_mut(&key).and_then(|partition| partition.replicas.get_mut(&follower))
        {
            replica.fetching = false;
        }
        self.behind.insert(key);
    }

    fn raise_high_watermark(&mut self, ctx: &Context<'_>, key: PartitionKey, leader: NodeId) {
        let broker = self.brokers.get(&leader);
        let Some((_, topic, _)) = broker.and_then(|broker| broker.image.partition_by_key(key)) else { return };
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        let Some(committable) = partition.committable(leader, topic.config.min_insync_replicas) else { return };
        let Some(replica) = partition.replicas.get_mut(&leader) else { return };
        if committable <= replica.high_watermark {
            return;
        }
        replica.high_watermark = committable;
        let everywhere = partition.replicas.values().map(|replica| replica.high_watermark).min().unwrap_or(0);
        partition.tree.forget_transactions(leader, everywhere);
        self.woken.insert(key);
        // Followers learn of it by their next fetch, which over a link without latency is now.
        self.behind.insert(key);
        ctx.trace(|| format!("{key:?} committed up to {committable}"));
    }

    /// A leader asks to have followers that caught up in the in-sync set.
    fn grow_in_sync_set(&mut self, ctx: &Context<'_>, key: PartitionKey, leader: NodeId) {
        let Some(image) = self.brokers.get(&leader).map(|broker| &broker.image) else { return };
        let Some(partition) = self.partitions.get(&key) else { return };
        let (Some(leadership), high_watermark) = (partition.leadership(leader), partition.high_watermark(leader))
        else {
            return;
        };
        let returned: Vec<(NodeId, u64)> = leadership
            .followers
            .iter()
            .filter(|(node, follower)| {
                let caught_up = follower.end >= high_watermark && follower.end >= leadership.start_offset;
                let is_replica = image.partition_by_key(key).is_some_and(|found| found.2.replicas.contains(&node.0));
                is_replica && !leadership.isr.contains(*node) && caught_up && image.is_active(**node)
            })
            .map(|(node, follower)| (*node, follower.broker_epoch))
            .collect();
        if returned.is_empty() {
            return;
        }
        let (epoch, mut isr) = (leadership.epoch, in_sync(leadership));
        isr.extend(returned.iter().map(|(node, broker_epoch)| (*node, Some(*broker_epoch))));
        if self.alter_in_sync(ctx, key, leader, epoch, isr) {
            let replica = self.partitions.get_mut(&key).and_then(|partition| partition.replicas.get_mut(&leader));
            if let Some(leadership) = replica.and_then(|replica| replica.leadership.as_mut()) {
                leadership.joining.extend(returned.iter().map(|(node, _)| *node));
            }
        }
    }

    /// Leaders ask to have followers that lag out of the in-sync set.
    pub(super) fn shrink_in_sync_sets(&mut self, ctx: &Context<'_>) {
        if ctx.is_healthy() {
            return;
        }
        let lag_max = Duration::from_millis(self.config.replica_lag_time_max_ms);
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        for key in keys {
            let Some(partition) = self.partitions.get(&key) else { continue };
            for leader in partition.leaders() {
                let Some((epoch, kept)) = partition_keeps(ctx, &self.partitions, key, leader, lag_max) else {
                    continue;
                };
                self.alter_in_sync(ctx, key, leader, epoch, kept);
            }
        }
    }

    /// Power is gone: each log ends where it was last synced or written back.
    pub(super) fn lose_unsynced(&mut self, ctx: &Context<'_>, node: NodeId) {
        let keys: Vec<PartitionKey> = self.partitions.keys().copied().collect();
        for key in keys {
            let Some(partition) = self.partitions.get_mut(&key) else { continue };
            let end = partition.tree.end(node);
            let Some(replica) = partition.replicas.get_mut(&node) else { continue };
            let left = replica.durable.after_power_failure(ctx.now(), end);
            if left >= end {
                continue;
            }
            let dead = partition.tree.truncate(node, left);
            let left = partition.tree.end(node);
            let Some(replica) = partition.replicas.get_mut(&node) else { continue };
            replica.durable.truncated(left);
            replica.high_watermark = replica.high_watermark.min(left);
            ctx.trace(|| format!("{node} lost {key:?} from {left} to {end} with its power"));
            self.keep_changes(key);
            self.bury(
                ctx,
                key,
                node,
                &dead,
                &format!("node {node} lost power before offsets from {left} on were synced"),
            );
        }
    }

    /// Names every acknowledged record of batches that no replica holds any more.
    fn bury(&mut self, ctx: &Context<'_>, key: PartitionKey, node: NodeId, dead: &[Batch], cause: &str) {
        for batch in dead {
            if let Some(how) = batch.acknowledged {
                self.losses(ctx, key, node, (batch, how), cause).into_iter().for_each(|entry| ctx.record(entry));
            } else if let Some(how) = self.promised(key, batch) {
                let entries = self.losses(ctx, key, node, (batch, how), cause);
                self.bury_promised(key, batch, entries);
            }
        }
    }

    /// What the ledger says of a dead batch that was acknowledged.
    fn losses(
        &mut self,
        ctx: &Context<'_>,
        key: PartitionKey,
        node: NodeId,
        (batch, how): (&Batch, Acknowledged),
        cause: &str,
    ) -> Vec<Entry> {
        let Some(partition) = self.partitions.get(&key) else { return Vec::new() };
        let topic = partition.topic.clone();
        let unclean =
            self.authority.partition_by_key(key).is_some_and(|found| found.1.config.unclean_leader_election_enable);
        let keys = self.keys_of(key, batch);
        let allowed_by = match how {
            Acknowledged::Leader => "acks=1".to_owned(),
            Acknowledged::InSync { .. } if unclean => "unclean.leader.election.enable=true".to_owned(),
            Acknowledged::InSync { min_insync_replicas } => format!(
                "min.insync.replicas={min_insync_replicas}, flush.messages={}",
                self.config.log_flush_interval_messages
            ),
        };
        let named_until = batch.next_offset.min(batch.base_offset + RECORDS_NAMED_MAX);
        let name = |subject: String, count: u64| {
            let (cause, allowed_by) = (cause.to_owned(), allowed_by.clone());
            let (at, kind, node) = (ctx.now(), Kind::AckedLost, Some(node));
            Entry { at, kind, part: PART, subject, count, node, cause, allowed_by }
        };
        let one = |offset: i64| {
            let record_key = keys.get((offset - batch.base_offset) as usize).map_or("", String::as_str);
            name(format!("{topic}-{}@{offset}{record_key}", key.1), 1)
        };
        let mut entries: Vec<Entry> = (batch.base_offset..named_until).map(one).collect();
        if named_until < batch.next_offset {
            let rest = batch.next_offset - named_until;
            entries.push(name(format!("{topic}-{}@{named_until}..{}", key.1, batch.next_offset), rest as u64));
        }
        entries
    }

    /// The keys of a batch's records, each as ` key=…`; none if the batch is compressed.
    fn keys_of(&mut self, key: PartitionKey, batch: &Batch) -> Vec<String> {
        let Ok(bytes) = self.store.read(key, &[(batch.position, batch.size as usize)]) else { return Vec::new() };
        let Some(Ok(records)) = record::read_records(&bytes) else { return Vec::new() };
        let is_offsets = self.partitions.get(&key).is_some_and(|partition| partition.topic == OFFSETS_TOPIC);
        let show = |record: Record| match GroupRecord::read(&record) {
            Ok(Some(group_record)) if is_offsets => format!(" {group_record}"),
            _ => record.key.map(|key| format!(" key={}", String::from_utf8_lossy(&key))).unwrap_or_default(),
        };
        records.into_iter().map(show).collect()
    }

    /// Keeps the changes of a partition's tree. Where that fails, a restart finds the replica as it was before the change, and
    /// it truncates again.
    fn keep_changes(&mut self, key: PartitionKey) {
        if let Some(partition) = self.partitions.get_mut(&key) {
            let changes = partition.tree.take_changes();
            let _ = self.store.append_changes(key, &changes);
        }
    }
}

/// Notes that a leader's log has grown from `before` on.
fn grown(ctx: &Context<'_>, partition: &mut crate::state::partition::Partition, node: NodeId, before: i64) {
    if let Some(replica) = partition.replicas.get_mut(&node) {
        replica.durable.growing(ctx.now(), before);
    }
}

fn in_sync(leadership: &Leadership) -> Members {
    leadership.isr.iter().map(|node| (*node, None)).collect()
}

/// The in-sync set without those that lag, if anyone does.
fn partition_keeps(
    ctx: &Context<'_>,
    partitions: &std::collections::BTreeMap<PartitionKey, crate::state::partition::Partition>,
    key: PartitionKey,
    leader: NodeId,
    lag_max: Duration,
) -> Option<(i32, Members)> {
    let partition = partitions.get(&key)?;
    let leadership = partition.leadership(leader)?;
    let end = partition.tree.end(leader);
    let keeps_up = |node: &NodeId| {
        *node == leader
            || leadership
                .followers
                .get(node)
                .is_some_and(|follower| follower.end >= end || ctx.now().since(follower.caught_up_at) <= lag_max)
    };
    let kept: Vec<_> = leadership.isr.iter().filter(|node| keeps_up(node)).map(|node| (*node, None)).collect();
    (kept.len() < leadership.isr.len()).then_some((leadership.epoch, kept))
}

/// How long data takes from a leader to a follower, and the follower's next fetch back; None if either direction is cut.
fn round_trip(ctx: &Context<'_>, leader: NodeId, follower: NodeId) -> Option<(Duration, Duration)> {
    if ctx.is_healthy() {
        return Some((Duration::ZERO, Duration::ZERO));
    }
    let time = |link: &Link| match ctx.judge(link) {
        Verdict::Pass => Some(Duration::ZERO),
        Verdict::Delay(delay) => Some(delay),
        Verdict::Drop | Verdict::Reset => None,
    };
    let there = Link::peers(PART, leader, follower);
    Some((time(&there)?, time(&there.reversed())?))
}
