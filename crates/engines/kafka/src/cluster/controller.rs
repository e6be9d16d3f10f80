//! What the controller decides: topics, fencing, elections and in-sync sets. Each decision is committed or not made.

use std::collections::BTreeMap;

use atoll_kernel::{Context, NodeId};

use super::Cluster;
use crate::config::TopicConfig;
use crate::error::ErrorCode;
use crate::state::image::{MetadataRecord, OFFSETS_TOPIC, PartitionKey, PartitionState, TRANSACTIONS_TOPIC};

/// Partitions that one topic may have here: each has a log of its own.
const PARTITIONS_MAX: i32 = 10_000;

/// A topic that is asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct NewTopic {
    pub name: String,
    /// −1 is the broker's default.
    pub partitions: i32,
    /// −1 is the broker's default.
    pub replication_factor: i16,
    /// Replicas by partition, instead of both numbers.
    pub assignment: BTreeMap<i32, Vec<u16>>,
    pub options: BTreeMap<String, String>,
}

/// Why the controller refuses, with a sentence for people.
pub(crate) type Refusal = (ErrorCode, String);

impl Cluster {
    /// Makes a topic, or only says whether it could be made.
    pub(crate) fn create_topic(&mut self, ctx: &Context<'_>, topic: &NewTopic, dry: bool) -> Result<(), Refusal> {
        check_topic_name(&topic.name)?;
        if self.authority.topics.contains_key(&topic.name) {
            return Err((ErrorCode::TopicAlreadyExists, format!("Topic '{}' already exists.", topic.name)));
        }
        if let Some(other) = self.authority.topics.keys().find(|other| collide(other, &topic.name)) {
            let reason = format!("Topic '{}' collides with existing topic: {other}", topic.name);
            return Err((ErrorCode::InvalidTopic, reason));
        }
        TopicConfig::resolve(&self.config, &topic.options).map_err(|reason| (ErrorCode::InvalidConfig, reason))?;
        let assignment = self.assign_replicas(ctx, topic)?;
        if dry {
            return Ok(());
        }
        let id = self.random_id(ctx, "kafka.topic-id");
        let (name, options) = (topic.name.clone(), topic.options.clone());
        let mut records = vec![MetadataRecord::Topic { name, id, options }];
        for (partition, replicas) in assignment.into_iter().enumerate() {
            records.push(self.new_partition(id, partition as i32, replicas));
        }
        self.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    fn new_partition(&self, topic: uuid::Uuid, partition: i32, replicas: Vec<u16>) -> MetadataRecord {
        let isr: Vec<u16> = replicas.iter().copied().filter(|node| self.authority.is_active(NodeId(*node))).collect();
        let leader = isr.first().copied();
        let state = PartitionState {
            replicas,
            isr,
            leader,
            leader_epoch: 0,
            partition_epoch: 0,
            adding: Vec::new(),
            removing: Vec::new(),
        };
        MetadataRecord::Partition { topic, partition, state }
    }

    fn assign_replicas(&self, ctx: &Context<'_>, topic: &NewTopic) -> Result<Vec<Vec<u16>>, Refusal> {
        if !topic.assignment.is_empty() {
            return self.check_assignment(&topic.assignment);
        }
        let partitions = if topic.partitions == -1 { self.config.num_partitions } else { topic.partitions };
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            let reason = format!("Number of partitions was set to an invalid value: {partitions}");
            return Err((ErrorCode::InvalidPartitions, reason));
        }
        let factor = match topic.replication_factor {
            -1 => self.config.default_replication_factor,
            factor => factor,
        };
        let mut start = ctx.random("kafka.replica-placement", self.authority.topics.len() as u64);
        self.place_replicas(partitions, factor, start.next_u64() as usize)
    }

    fn place_replicas(&self, partitions: i32, factor: i16, start: usize) -> Result<Vec<Vec<u16>>, Refusal> {
        let invalid = |reason: String| (ErrorCode::InvalidReplicationFactor, reason);
        let factor = usize::try_from(factor).ok().filter(|factor| *factor > 0);
        let Some(factor) = factor else { return Err(invalid("Replication factor must be larger than 0.".to_owned())) };
        let active: Vec<u16> = self.authority.active_brokers().map(|node| node.0).collect();
        if factor > active.len() {
            return Err(invalid(format!(
                "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot be \
                 reached because only {} broker(s) are registered.",
                active.len()
            )));
        }
        let place = |at: usize| active[(start % active.len() + at) % active.len()];
        Ok((0..partitions as usize).map(|first| (first..first + factor).map(place).collect()).collect())
    }

    fn check_assignment(&self, assignment: &BTreeMap<i32, Vec<u16>>) -> Result<Vec<Vec<u16>>, Refusal> {
        let invalid = |reason: &str| (ErrorCode::InvalidReplicaAssignment, reason.to_owned());
        let mut placed = Vec::new();
        for (expected, (partition, replicas)) in assignment.iter().enumerate() {
            if *partition != expected as i32 {
                return Err(invalid("partitions should be a consecutive 0-based integer sequence"));
            }
            let known = |node: &u16| self.authority.brokers.contains_key(&NodeId(*node));
            let mut distinct = replicas.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if replicas.is_empty() || distinct.len() != replicas.len() || !replicas.iter().all(known) {
                return Err(invalid("The manual partition assignment includes an unknown or duplicate broker."));
            }
            placed.push(replicas.clone());
        }
        Ok(placed)
    }

    /// Makes the topic of committed offsets if it is not there, and says whether it now is.
    pub(crate) fn ensure_offsets_topic(&mut self, ctx: &Context<'_>) -> bool {
        if self.authority.topics.contains_key(OFFSETS_TOPIC) {
            return true;
        }
        let brokers = self.authority.active_brokers().count();
        // Kafka refuses until there are as many brokers as replicas; a stack of one node would wait for ever.
        let wanted = usize::try_from(self.config.offsets_topic_replication_factor).unwrap_or(1).min(self.brokers.len());
        let topic = NewTopic {
            name: OFFSETS_TOPIC.to_owned(),
            partitions: self.config.offsets_topic_num_partitions,
            replication_factor: i16::try_from(wanted.min(brokers)).unwrap_or(1),
            options: [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..NewTopic::default()
        };
        brokers > 0 && self.create_topic(ctx, &topic, false).is_ok()
    }

    /// Makes the topic of transactions if it is not there, and says whether it now is.
    pub(crate) fn ensure_transactions_topic(&mut self, ctx: &Context<'_>) -> bool {
        if self.authority.topics.contains_key(TRANSACTIONS_TOPIC) {
            return true;
        }
        let brokers = self.authority.active_brokers().count();
        let wanted = self.config.transactions.state_log_replication_factor;
        let replicas = usize::try_from(wanted).unwrap_or(1).min(self.brokers.len()).min(brokers);
        let in_sync = self.config.transactions.state_log_min_isr.min(replicas as i32).max(1);
        let options = [
            ("cleanup.policy", "compact".to_owned()),
            ("compression.type", "uncompressed".to_owned()),
            ("min.insync.replicas", in_sync.to_string()),
            ("segment.bytes", "104857600".to_owned()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ];
        let topic = NewTopic {
            name: TRANSACTIONS_TOPIC.to_owned(),
            partitions: self.config.transactions.state_log_num_partitions,
            replication_factor: i16::try_from(replicas).unwrap_or(1),
            options: options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..NewTopic::default()
        };
        brokers > 0 && self.create_topic(ctx, &topic, false).is_ok()
    }

    /// Adds partitions to a topic.
    pub(crate) fn create_partitions(
        &mut self,
        ctx: &Context<'_>,
        name: &str,
        count: i32,
        assignments: Option<&[Vec<u16>]>,
        dry: bool,
    ) -> Result<(), Refusal> {
        let Some(topic) = self.authority.topics.get(name) else {
            return Err((
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.".to_owned(),
            ));
        };
        let (id, present) = (topic.id, topic.partitions.len());
        let factor = topic.partitions.first().map_or(1, |state| state.replicas.len());
        let added = usize::try_from(count).unwrap_or(0).saturating_sub(present);
        if added == 0 || count > PARTITIONS_MAX {
            let reason =
                format!("The topic {name} currently has {present} partition(s); {count} would not be an increase.");
            return Err((ErrorCode::InvalidPartitions, reason));
        }
        let placed = match assignments {
            Some(given) if given.len() == added => self.check_assignment(
                &given.iter().cloned().enumerate().map(|(index, nodes)| (index as i32, nodes)).collect(),
            )?,
            Some(_) => {
                let reason =
                    format!("Attempted to add {added} additional partition(s), but the assignment has another number.");
                return Err((ErrorCode::InvalidReplicaAssignment, reason));
            }
            None => self.place_replicas(added as i32, factor as i16, present)?,
        };
        if dry {
            return Ok(());
        }
        let numbered = placed.into_iter().enumerate();
        let records =
            numbered.map(|(index, replicas)| self.new_partition(id, (present + index) as i32, replicas)).collect();
        self.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    /// Removes a topic.
    pub(crate) fn delete_topic(&mut self, ctx: &Context<'_>, name: &str) -> Result<(), Refusal> {
        if !self.authority.topics.contains_key(name) {
            return Err((
                ErrorCode::UnknownTopicOrPartition,
                "This server does not host this topic-partition.".to_owned(),
            ));
        }
        let records = vec![MetadataRecord::RemoveTopic { name: name.to_owned() }];
        self.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    /// Takes a broker out of everything: its leaderships go to others of the in-sync sets, or to nobody.
    pub(super) fn fence(&mut self, ctx: &Context<'_>, node: NodeId) -> bool {
        let mut records = vec![MetadataRecord::FenceBroker { broker: node.0 }];
        for (key, topic, state) in self.authority.partitions() {
            let mut changed = state.clone();
            if changed.isr.len() > 1 {
                changed.isr.retain(|member| *member != node.0);
            }
            if state.is_led_by(node) {
                let able = |member: &&u16| **member != node.0 && self.authority.is_active(NodeId(**member));
                changed.leader =
                    changed.replicas.iter().filter(|member| changed.isr.contains(member)).find(able).copied();
                if changed.leader.is_none() && topic.config.unclean_leader_election_enable {
                    changed.leader = changed.replicas.iter().find(able).copied();
                    changed.isr = changed.leader.map_or(changed.isr, |leader| vec![leader]);
                }
                changed.leader_epoch += 1;
            }
            if changed != *state {
                changed.partition_epoch += 1;
                records.push(MetadataRecord::Partition { topic: key.0, partition: key.1, state: changed });
            }
        }
        self.commit(ctx, records).is_ok()
    }

    /// Lets a broker serve, and lead what nobody leads if it may.
    pub(super) fn unfence(&mut self, ctx: &Context<'_>, node: NodeId) {
        let mut records = vec![MetadataRecord::UnfenceBroker { broker: node.0 }];
        for (key, topic, state) in self.authority.partitions() {
            if state.leader.is_some() || !state.replicas.contains(&node.0) {
                continue;
            }
            let in_sync = state.isr.contains(&node.0);
            if !in_sync && !topic.config.unclean_leader_election_enable {
                continue;
            }
            let isr = if in_sync { state.isr.clone() } else { vec![node.0] };
            let changed = PartitionState {
                isr,
                leader: Some(node.0),
                leader_epoch: state.leader_epoch + 1,
                partition_epoch: state.partition_epoch + 1,
                ..state.clone()
            };
            records.push(MetadataRecord::Partition { topic: key.0, partition: key.1, state: changed });
        }
        // Without a majority it stays fenced; its next heartbeat tries again.
        let _ = self.commit(ctx, records);
    }

    /// A leader asks for another in-sync set. Refused if it is not the leader any more, or if a new member has been fenced or
    /// restarted since it was seen to have caught up.
    pub(super) fn alter_in_sync(
        &mut self,
        ctx: &Context<'_>,
        key: PartitionKey,
        leader: NodeId,
        leader_epoch: i32,
        isr: super::replication::Members,
    ) -> bool {
        if !self.controller_near(ctx, leader) {
            return false;
        }
        let Some((_, _, state)) = self.authority.partition_by_key(key) else { return false };
        if !state.is_led_by(leader) || state.leader_epoch != leader_epoch {
            return false;
        }
        let eligible = |(node, epoch): &(NodeId, Option<u64>)| {
            self.authority
                .brokers
                .get(node)
                .is_some_and(|known| !known.fenced && epoch.is_none_or(|epoch| epoch == known.broker_epoch))
        };
        if !isr.iter().all(eligible) {
            return false;
        }
        let mut changed = state.clone();
        changed.isr =
            state.replicas.iter().copied().filter(|node| isr.iter().any(|(member, _)| member.0 == *node)).collect();
        changed.partition_epoch += 1;
        let authority = &self.authority;
        super::reassignment::complete(&mut changed, |node| authority.is_active(NodeId(node)));
        changed.isr != state.isr
            && self
                .commit(ctx, vec![MetadataRecord::Partition { topic: key.0, partition: key.1, state: changed }])
                .is_ok()
    }

    /// Gives leadership back to the first replica of each partition, where it is in sync.
    pub(super) fn elect_preferred_leaders(&mut self, ctx: &Context<'_>) {
        let mut records = Vec::new();
        for (key, _, state) in self.authority.partitions() {
            let Some(preferred) = state.replicas.first().copied() else { continue };
            let able = state.isr.contains(&preferred) && self.authority.is_active(NodeId(preferred));
            if able && state.leader != Some(preferred) {
                let changed = PartitionState {
                    leader: Some(preferred),
                    leader_epoch: state.leader_epoch + 1,
                    partition_epoch: state.partition_epoch + 1,
                    ..state.clone()
                };
                records.push(MetadataRecord::Partition { topic: key.0, partition: key.1, state: changed });
            }
        }
        // Without a majority nothing moves; the next check comes.
        let _ = self.commit(ctx, records);
    }
}

/// Dots and underscores are the same in the names of metrics, so that topics may not differ by them alone.
fn collide(one: &str, other: &str) -> bool {
    let same = |(one, other): (u8, u8)| one == other || (matches!(one, b'.' | b'_') && matches!(other, b'.' | b'_'));
    one.len() == other.len() && one.bytes().zip(other.bytes()).all(same)
}

/// Whether a topic may be called that, or why not in Kafka's words.
pub(crate) fn check_topic_name(name: &str) -> Result<(), Refusal> {
    const LENGTH_MAX: usize = 249;
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    let reason = match name {
        "" => "the empty string is not allowed".to_owned(),
        "." | ".." => format!("'{name}' is not allowed"),
        _ if name.encode_utf16().count() > LENGTH_MAX => {
            format!("the length of '{name}' is longer than the max allowed length {LENGTH_MAX}")
        }
        _ if !name.chars().all(allowed) => {
            format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
        }
        _ => return Ok(()),
    };
    Err((ErrorCode::InvalidTopic, format!("Topic name is invalid: {reason}")))
}
