//! What a coordinator writes down, in the format of Kafka's own `__consumer_offsets`, so that tools can read it.
//!
//! Keys have a version that tells their kind: 1 an offset, 2 a group. Values have versions of their own; 3 is written, and 1 of an
//! offset whose client said when it expires, since no other version has a place for that.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use atoll_kernel::Moment;
use atoll_wire::{Reader, WireError, Writer};
use bytes::Bytes;

use super::consumer_records::ConsumerRecord;
use super::{Committed, Group, Member, Phase};
use crate::wire::primitive;
use crate::wire::record::Record;

/// The version of an offset's value that says when it expires, and no leader's epoch.
const EXPIRING: i16 = 1;

/// One record of the offsets topic.
#[derive(Debug, Clone)]
pub(crate) enum GroupRecord {
    /// A committed offset with the time of its commit; None removes it.
    Offset { group: String, topic: String, partition: i32, committed: Option<(Committed, i64)> },
    /// A group with its members; None removes it.
    Group { group: String, metadata: Option<Metadata> },
    /// Something about a group of KIP-848.
    Consumer { group: String, record: Box<ConsumerRecord> },
}

/// What is stored of a group.
#[derive(Debug, Clone)]
pub(crate) struct Metadata {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub timestamp: i64,
    /// Members by their ids, each with its subscription.
    pub members: Vec<(String, Member, Bytes)>,
}

impl fmt::Display for GroupRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GroupRecord::Offset { group, topic, partition, committed } => {
                write!(f, "group={group} {topic}-{partition}")?;
                committed.as_ref().map_or(Ok(()), |(committed, _)| write!(f, " committed={}", committed.offset))
            }
            GroupRecord::Group { group, .. } | GroupRecord::Consumer { group, .. } => write!(f, "group={group}"),
        }
    }
}

impl GroupRecord {
    /// A record of a group of KIP-848.
    pub fn of_consumers(group: &str, record: ConsumerRecord) -> GroupRecord {
        GroupRecord::Consumer { group: group.to_owned(), record: Box::new(record) }
    }

    /// Key and value.
    pub fn write(&self) -> (Bytes, Option<Bytes>) {
        let mut key = Writer::new();
        match self {
            GroupRecord::Offset { group, topic, partition, committed } => {
                key.i16(1);
                primitive::put_string(&mut key, false, group);
                primitive::put_string(&mut key, false, topic);
                key.i32(*partition);
                (key.into_bytes(), committed.as_ref().map(|(committed, timestamp)| write_offset(committed, *timestamp)))
            }
            GroupRecord::Group { group, metadata } => {
                key.i16(2);
                primitive::put_string(&mut key, false, group);
                (key.into_bytes(), metadata.as_ref().map(write_group))
            }
            GroupRecord::Consumer { group, record } => record.write(group),
        }
    }

    /// Reads a record; None if it is of a kind that is not known.
    pub fn read(record: &Record) -> Result<Option<GroupRecord>, WireError> {
        let mut key = Reader::new(record.key.clone().unwrap_or_default());
        match key.i16()? {
            0 | 1 => {
                let group = primitive::string(&mut key, false)?;
                let topic = primitive::string(&mut key, false)?;
                let partition = key.i32()?;
                let committed = record.value.clone().map(read_offset).transpose()?;
                Ok(Some(GroupRecord::Offset { group, topic, partition, committed }))
            }
            2 => {
                let group = primitive::string(&mut key, false)?;
                let metadata = record.value.clone().map(read_group).transpose()?;
                Ok(Some(GroupRecord::Group { group, metadata }))
            }
            version @ 3..=8 => {
                let (group, record) = ConsumerRecord::read(version, &mut key, record.value.clone())?;
                Ok(Some(GroupRecord::Consumer { group, record: Box::new(record) }))
            }
            _ => Ok(None),
        }
    }

    /// Keeps an offset until its producer's transaction is over.
    pub fn hold(self, groups: &mut BTreeMap<String, Group>, producer_id: i64) {
        if let GroupRecord::Offset { group, topic, partition, committed: Some((committed, _)) } = self {
            let group = groups.entry(group).or_insert_with(Group::new);
            group.open_transactions.entry(producer_id).or_default().insert((topic, partition), committed);
        }
    }

    /// Applies it to the groups of its partition. Members get a new session, since their heartbeats went to another broker.
    pub fn apply(self, groups: &mut BTreeMap<String, Group>, now: Moment) {
        match self {
            GroupRecord::Offset { group, topic, partition, committed } => {
                let group = groups.entry(group).or_insert_with(Group::new);
                match committed {
                    Some((committed, _)) => group.offsets.insert((topic, partition), committed),
                    None => group.offsets.remove(&(topic, partition)),
                };
            }
            GroupRecord::Group { group, metadata: None } => {
                // Its offsets stay: they have records of their own, and another kind of group may follow.
                if let Some(group) = groups.get_mut(&group) {
                    let (offsets, consumer) = (std::mem::take(&mut group.offsets), group.consumer.take());
                    *group = Group { offsets, consumer, ..Group::new() };
                }
            }
            GroupRecord::Consumer { group, record } => {
                let group = groups.entry(group).or_insert_with(Group::new);
                let mut consumer = group.consumer.take().unwrap_or_default();
                group.consumer = record.apply(&mut consumer, now).then_some(consumer);
            }
            GroupRecord::Group { group, metadata: Some(metadata) } => {
                let group = groups.entry(group).or_insert_with(Group::new);
                group.protocol_type = metadata.protocol_type;
                group.generation = metadata.generation;
                group.protocol = metadata.protocol;
                group.leader = metadata.leader;
                group.changed_ms = Some(metadata.timestamp).filter(|timestamp| *timestamp >= 0);
                group.phase = if metadata.members.is_empty() { Phase::Empty } else { Phase::Stable };
                group.members.clear();
                group.instances.clear();
                for (id, mut member, subscription) in metadata.members {
                    let protocol = group.protocol.clone().unwrap_or_default();
                    member.protocols = vec![(protocol, subscription)];
                    let session_ms = u64::try_from(member.session_timeout_ms).unwrap_or(0);
                    member.session_ends = now + Duration::from_millis(session_ms);
                    if let Some(instance) = &member.instance_id {
                        group.instances.insert(instance.clone(), id.clone());
                    }
                    group.members.insert(id, member);
                }
            }
        }
    }
}

fn write_offset(committed: &Committed, timestamp: i64) -> Bytes {
    let mut value = Writer::new();
    value.i16(if committed.expires_ms.is_some() { EXPIRING } else { 3 });
    value.i64(committed.offset);
    if committed.expires_ms.is_none() {
        value.i32(committed.leader_epoch);
    }
    primitive::put_string(&mut value, false, &committed.metadata);
    value.i64(timestamp);
    if let Some(expires_ms) = committed.expires_ms {
        value.i64(expires_ms);
    }
    value.into_bytes()
}

fn read_offset(value: Bytes) -> Result<(Committed, i64), WireError> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    let offset = value.i64()?;
    let leader_epoch = if version >= 3 { value.i32()? } else { -1 };
    let metadata = primitive::string(&mut value, false)?;
    let committed_ms = value.i64()?;
    let expires_ms = if version == EXPIRING { Some(value.i64()?).filter(|expires_ms| *expires_ms != -1) } else { None };
    Ok((Committed { offset, leader_epoch, metadata, committed_ms, expires_ms }, committed_ms))
}

fn write_group(metadata: &Metadata) -> Bytes {
    let mut value = Writer::new();
    value.i16(3);
    primitive::put_string(&mut value, false, &metadata.protocol_type);
    value.i32(metadata.generation);
    primitive::put_nullable_string(&mut value, false, true, metadata.protocol.as_deref());
    primitive::put_nullable_string(&mut value, false, true, metadata.leader.as_deref());
    value.i64(metadata.timestamp);
    primitive::put_array(&mut value, false, &metadata.members, |value, (id, member, subscription)| {
        primitive::put_string(value, false, id);
        primitive::put_nullable_string(value, false, true, member.instance_id.as_deref());
        primitive::put_string(value, false, &member.client_id);
        primitive::put_string(value, false, &member.client_host);
        value.i32(member.rebalance_timeout_ms);
        value.i32(member.session_timeout_ms);
        primitive::put_bytes(value, false, subscription);
        primitive::put_bytes(value, false, &member.assignment);
    });
    value.into_bytes()
}

fn read_group(value: Bytes) -> Result<Metadata, WireError> {
    let mut value = Reader::new(value);
    let version = value.i16()?;
    let protocol_type = primitive::string(&mut value, false)?;
    let generation = value.i32()?;
    let protocol = primitive::nullable_string(&mut value, false)?;
    let leader = primitive::nullable_string(&mut value, false)?;
    let timestamp = if version >= 2 { value.i64()? } else { -1 };
    // Two ids, a client and its host, two timeouts, two byte strings: no member takes fewer than 24 bytes.
    let members = primitive::array(&mut value, false, 24, |value| {
        let id = primitive::string(value, false)?;
        let member = Member {
            instance_id: if version >= 3 { primitive::nullable_string(value, false)? } else { None },
            client_id: primitive::string(value, false)?,
            client_host: primitive::string(value, false)?,
            rebalance_timeout_ms: if version >= 1 { value.i32()? } else { 0 },
            session_timeout_ms: value.i32()?,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            session_ends: Moment::ZERO,
            joining: None,
            syncing: None,
        };
        let subscription = primitive::bytes(value, false)?;
        let assignment = primitive::bytes(value, false)?;
        Ok((id, Member { assignment, ..member }, subscription))
    })?;
    Ok(Metadata { protocol_type, generation, protocol, leader, timestamp, members })
}
