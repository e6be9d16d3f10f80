//! Consumer groups: who coordinates them, their members, and the offsets that they have committed.
//!
//! A group belongs to a partition of [`OFFSETS_TOPIC`], and the broker that leads the partition coordinates it. All that must
//! outlive the coordinator is in records of that partition, in Kafka's own format, and is read when a broker begins to lead.
//!
//! - `membership.rs`: joining, syncing, heartbeats, leaving: the classic protocol;
//! - `consumer.rs`, `heartbeat.rs`, `assignors.rs`, `consumer_records.rs`: groups of KIP-848, which the coordinator assigns;
//! - `classic_members.rs`, `migration.rs`: members of the classic protocol in such groups, and groups that go over and back;
//! - `deletion.rs`, `expiry.rs`: groups and offsets that go;
//! - `protocol.rs`: what consumers tell each other of what they read;
//! - `transactional.rs`: offsets that are committed in transactions;
//! - `records.rs`: the records.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/Kafka+Client-side+Assignment+Proposal>

mod assignors;
mod classic_members;
mod consumer;
mod consumer_records;
mod deletion;
mod expiry;
mod heartbeat;
mod membership;
mod migration;
mod protocol;
mod records;
mod transactional;

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_kernel::{Context, Moment, NodeId};
use bytes::Bytes;

use self::consumer::MemberState;
use crate::cluster::{ANONYMOUS, Caller, Cluster, Need, Side, Then, Ticket, Waiting, milliseconds};
use crate::error::ErrorCode;
use crate::state::image::{OFFSETS_TOPIC, PartitionKey};
use crate::state::tree::{Batch, Kind};
use crate::wire::batch::{BatchHeader, validate};
use crate::wire::record;

pub(crate) use assignors::Assignment;
pub(crate) use consumer::{ConsumerGroup, ConsumerMember, EPOCHS_SINCE};
pub(crate) use membership::{lacks_protocol, storing_error};
pub(crate) use protocol::CONSUMER;
pub(crate) use records::GroupRecord;

/// Tickets of requests that brokers make of themselves.
const OWN_TICKETS: Ticket = 1 << 63;

/// All groups by the broker that coordinates them.
#[derive(Debug, Default)]
pub(crate) struct Coordinators {
    loaded: BTreeMap<(NodeId, i32), Loaded>,
    own_tickets: u64,
}

/// The groups of one partition on the broker that leads it.
#[derive(Debug)]
struct Loaded {
    epoch: i32,
    groups: BTreeMap<String, Group>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
    /// When it was committed, by the coordinator's clock in milliseconds since the Unix epoch.
    pub committed_ms: i64,
    /// When it expires, if its client said so: OffsetCommit does until version 4.
    pub expires_ms: Option<i64>,
}

/// An offset that is being committed.
#[derive(Debug, Clone)]
pub(crate) struct NewOffset {
    pub topic: String,
    pub partition: i32,
    pub committed: Committed,
}

/// The phases of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No members; there may be offsets.
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// The leader is to send the assignment.
    CompletingRebalance,
    /// All have their assignment.
    Stable,
}

impl Phase {
    /// As Kafka calls it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Empty => "Empty",
            Phase::PreparingRebalance => "PreparingRebalance",
            Phase::CompletingRebalance => "CompletingRebalance",
            Phase::Stable => "Stable",
        }
    }
}

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub phase: Phase,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Member ids by `group.instance.id`.
    pub instances: BTreeMap<String, String>,
    /// Members that were told their id and are to join with it, and until when.
    pub pending: BTreeMap<String, Moment>,
    pub offsets: BTreeMap<(String, i32), Committed>,
    /// Offsets in transactions that are not over, by producer.
    pub open_transactions: BTreeMap<i64, BTreeMap<(String, i32), Committed>>,
    /// When it came to its phase, by the coordinator's clock; None if that is not known.
    pub changed_ms: Option<i64>,
    /// When a rebalance goes on without those who have not joined, or not synced.
    pub rebalance_ends: Option<Moment>,
    /// When a new group's first rebalance may end at the latest: until then newcomers prolong it.
    pub first_rebalance_until: Option<Moment>,
    /// What there is of it if it is a group of KIP-848; then all of the classic protocol is empty.
    pub consumer: Option<ConsumerGroup>,
    /// The earliest timer that is set.
    armed_for: Option<Moment>,
}

/// One member of a group.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    /// When its session ends, unless it is heard of.
    pub session_ends: Moment,
    /// A join that waits for the others: ticket and version.
    pub joining: Option<(Ticket, i16)>,
    /// A sync that waits for the leader.
    pub syncing: Option<Ticket>,
}

impl Group {
    fn new() -> Group {
        Group {
            phase: Phase::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            offsets: BTreeMap::new(),
            open_transactions: BTreeMap::new(),
            changed_ms: None,
            rebalance_ends: None,
            first_rebalance_until: None,
            consumer: None,
            armed_for: None,
        }
    }

    /// What the members' protocol was given for a member, as it is shown.
    pub fn subscription(&self, member: &Member) -> Bytes {
        let chosen = member.protocols.iter().find(|(name, _)| Some(name) == self.protocol.as_ref());
        chosen.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Whether it has members, of either protocol.
    pub fn has_members(&self) -> bool {
        !self.members.is_empty() || self.consumer.as_ref().is_some_and(|consumer| !consumer.members.is_empty())
    }

    /// Its state, as Kafka calls it.
    pub fn state_name(&self) -> &'static str {
        self.consumer.as_ref().map_or(self.phase.name(), ConsumerGroup::state_name)
    }

    fn is_forgettable(&self) -> bool {
        self.members.is_empty()
            && self.pending.is_empty()
            && self.offsets.is_empty()
            && self.open_transactions.is_empty()
            && self.consumer.is_none()
    }
}

impl Coordinators {
    /// A broker died with all that it knew.
    pub fn forget(&mut self, node: NodeId) {
        self.loaded.retain(|(holder, _), _| *holder != node);
    }

    /// The groups that a broker coordinates.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = (&String, &Group)> {
        self.loaded.range((node, i32::MIN)..=(node, i32::MAX)).flat_map(|(_, loaded)| &loaded.groups)
    }
}

/// The partition that a group belongs to: Java's hash of the name, as every Kafka reckons it.
pub(crate) fn partition_of(group: &str, count: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash & i32::MAX) % count.max(1)
}

/// Only offsets are still kept under the empty name; members join no such group.
fn has_name(group: &str) -> Result<(), ErrorCode> {
    if group.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

impl Cluster {
    /// Where a group's records are, in a broker's view.
    pub(crate) fn group_partition(&self, node: NodeId, group: &str) -> Result<(PartitionKey, Option<u16>), ErrorCode> {
        let image = self.brokers.get(&node).map(|broker| &broker.image).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let topic = image.topics.get(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let partition = partition_of(group, topic.partitions.len() as i32);
        let state = topic.partitions.get(partition as usize).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        Ok(((topic.id, partition), state.leader))
    }

    /// Whether a broker coordinates a group, and from which partition.
    fn coordinates(&self, node: NodeId, group: &str) -> Result<PartitionKey, ErrorCode> {
        // Kafka still takes offsets of the group with the empty name, which nobody can join.
        let (key, _) = self.group_partition(node, group)?;
        let leads = self.partitions.get(&key).and_then(|partition| partition.leadership(node)).map(|led| led.epoch);
        match self.groups.loaded.get(&(node, key.1)) {
            Some(loaded) if Some(loaded.epoch) == leads => Ok(key),
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    /// A group on the broker that coordinates it; None if there is none of that name.
    pub(crate) fn group(&self, node: NodeId, group: &str) -> Result<Option<&Group>, ErrorCode> {
        let key = self.coordinates(node, group)?;
        Ok(self.groups.loaded.get(&(node, key.1)).and_then(|loaded| loaded.groups.get(group)))
    }

    fn group_mut(&mut self, node: NodeId, group: &str) -> Result<Option<&mut Group>, ErrorCode> {
        let key = self.coordinates(node, group)?;
        Ok(self.groups.loaded.get_mut(&(node, key.1)).and_then(|loaded| loaded.groups.get_mut(group)))
    }

    fn group_or_new(&mut self, node: NodeId, group: &str) -> Result<&mut Group, ErrorCode> {
        let key = self.coordinates(node, group)?;
        let loaded = self.groups.loaded.get_mut(&(node, key.1)).ok_or(ErrorCode::NotCoordinator)?;
        Ok(loaded.groups.entry(group.to_owned()).or_insert_with(Group::new))
    }

    /// A broker begins to coordinate a partition's groups in an epoch, or stops.
    pub(crate) fn coordinate(&mut self, ctx: &Context<'_>, partition: i32, node: NodeId, epoch: Option<i32>) {
        if let Some(before) = self.groups.loaded.remove(&(node, partition)) {
            for group in before.groups.into_values() {
                self.dismiss(group, ErrorCode::NotCoordinator);
            }
        }
        let Some(epoch) = epoch else { return };
        let groups = self.load_groups(ctx, partition, node);
        let names: Vec<String> = groups.keys().cloned().collect();
        self.groups.loaded.insert((node, partition), Loaded { epoch, groups });
        for name in names {
            self.arm_group(ctx, node, &name);
        }
    }

    /// How long a member of a KIP-848 group may be silent, as a broker knows the group's options.
    fn consumer_session(&self, node: NodeId, name: &str) -> Duration {
        let image = self.brokers.get(&node).map(|broker| &broker.image);
        let times = self.config.group_times(image.and_then(|image| image.group_options.get(name)));
        milliseconds(times.session_ms)
    }

    fn load_groups(&mut self, ctx: &Context<'_>, partition: i32, node: NodeId) -> BTreeMap<String, Group> {
        let mut groups = BTreeMap::new();
        let topic = self.brokers.get(&node).and_then(|broker| broker.image.topics.get(OFFSETS_TOPIC));
        let Some(key) = topic.map(|topic| (topic.id, partition)) else { return groups };
        let Some(stored) = self.partitions.get(&key) else { return groups };
        let place = |batch: &Batch| (batch.position, batch.size as usize);
        let places: Vec<_> =
            stored.tree.batches(node, 0).map(|batch| (place(batch), batch.kind, batch.producer)).collect();
        for (place, kind, producer) in places {
            let producer_id = producer.map_or(-1, |(id, ..)| id);
            if let Kind::Marker { commit, .. } = kind {
                groups.values_mut().for_each(|group: &mut Group| group.end_transaction(producer_id, commit));
                continue;
            }
            // A batch that cannot be read costs its own records; the disk's trouble is seen by whoever writes next.
            let Ok(bytes) = self.store.read(key, &[place]) else { continue };
            let Some(Ok(read)) = record::read_records(&bytes) else { continue };
            for record in read {
                match GroupRecord::read(&record) {
                    Ok(Some(record)) if kind == Kind::Transactional => record.hold(&mut groups, producer_id),
                    Ok(Some(record)) => record.apply(&mut groups, ctx.now()),
                    Ok(None) | Err(_) => {}
                }
            }
        }
        groups.retain(|_, group| !group.is_forgettable());
        for (name, group) in &mut groups {
            let session = self.consumer_session(node, name);
            for member in group.consumer.iter_mut().flat_map(|consumer| consumer.members.values_mut()) {
                member.session_ends = ctx.now() + session;
                // What it is to give up it has the whole time for once more.
                member.revocation_ends = (member.state == MemberState::UnrevokedPartitions)
                    .then(|| ctx.now() + milliseconds(member.rebalance_timeout_ms));
            }
        }
        groups
    }

    /// Appends records to a group's partition, and has `then` done once they are committed.
    fn store_group_records(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        key: PartitionKey,
        records: &[GroupRecord],
        then: Then,
    ) -> Result<(), ErrorCode> {
        let encoded: Vec<_> = records.iter().map(GroupRecord::write).collect();
        let fields: Vec<_> = encoded.iter().map(|(key, value)| (Some(&key[..]), value.as_deref())).collect();
        let batch = record::write_batch(&fields, ctx.wall(caller.node).as_millis(), None);
        let header: BatchHeader = validate(&batch)
            .ok()
            .and_then(|batches| batches.first().map(|found| found.0))
            .ok_or(ErrorCode::UnknownServerError)?;
        let wanted = self.min_insync(caller.node, key);
        let partition = self.partitions.get(&key).ok_or(ErrorCode::NotCoordinator)?;
        let epoch = match partition.leadership(caller.node) {
            Some(led) if led.isr.len() < usize::try_from(wanted).unwrap_or(1).min(partition.replicas.len()) => {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            Some(led) => led.epoch,
            None => return Err(ErrorCode::NotCoordinator),
        };
        let appended = self.append(ctx, key, caller.node, &header, &batch)?;
        let (base_offset, end) = (appended.base_offset, appended.next_offset);
        let need = Need::appended(key, epoch, base_offset, end);
        let timeout_ms = i32::try_from(self.config.offsets_commit_timeout_ms).unwrap_or(i32::MAX);
        self.park(ctx, caller, Waiting::Replicated(vec![need], then), &[key], timeout_ms);
        Ok(())
    }

    /// Commits offsets of a group. The answer follows when they are safe.
    pub(crate) fn commit_offsets(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        group: &str,
        offsets: Vec<NewOffset>,
        response: crate::wire::generated::OffsetCommitResponse,
    ) -> Result<(), ErrorCode> {
        let key = self.coordinates(caller.node, group)?;
        let timestamp = ctx.wall(caller.node).as_millis();
        let records: Vec<GroupRecord> = offsets
            .iter()
            .map(|new| GroupRecord::Offset {
                group: group.to_owned(),
                topic: new.topic.clone(),
                partition: new.partition,
                committed: Some((new.committed.clone(), timestamp)),
            })
            .collect();
        self.store_group_records(ctx, caller, key, &records, Then::Commit(response, group.to_owned(), offsets))
    }

    /// Takes committed offsets over, so that fetches of them see them.
    pub(crate) fn offsets_committed(&mut self, node: NodeId, group: &str, offsets: Vec<NewOffset>) {
        let Ok(group) = self.group_or_new(node, group) else { return };
        for new in offsets {
            group.offsets.insert((new.topic, new.partition), new.committed);
        }
    }

    /// A caller for what a broker does on its own account.
    pub(crate) fn own_caller(&mut self, node: NodeId) -> Caller {
        self.groups.own_tickets += 1;
        Caller {
            node,
            side: Side::Host,
            host: String::new(),
            client_id: String::new(),
            version: 0,
            ticket: OWN_TICKETS | self.groups.own_tickets,
            principal: ANONYMOUS.to_owned(),
            port: 0,
            may_hold_tokens: false,
        }
    }
}
