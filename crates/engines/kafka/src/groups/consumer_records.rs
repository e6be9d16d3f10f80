//! What a coordinator writes down of a group of KIP-848, in Kafka's own format: key versions 3 to 8, values of version 0.

use std::collections::BTreeMap;

use atoll_kernel::Moment;
use atoll_wire::{Reader, WireError, Writer};
use bytes::Bytes;
use uuid::Uuid;

use super::assignors::Assignment;
use super::consumer::{ClassicMember, ConsumerGroup, ConsumerMember, MemberState};
use crate::wire::primitive;

/// The tag of what is particular to members of the classic protocol.
const CLASSIC_TAG: u32 = 0;

/// One record; a value of None removes what it is about.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ConsumerRecord {
    /// The group's epoch (3).
    Epoch(Option<i32>),
    /// The topics that are read (4).
    Topics(Option<BTreeMap<String, (Uuid, i32)>>),
    /// A member and what it reads (5).
    Member(String, Option<ConsumerMember>),
    /// The epoch of the target (6).
    TargetEpoch(Option<i32>),
    /// A member's target (7).
    Target(String, Option<Assignment>),
    /// What a member has (8).
    Current(String, Option<ConsumerMember>),
}

impl ConsumerRecord {
    /// Key and value.
    pub fn write(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let (version, member) = match self {
            ConsumerRecord::Epoch(_) => (3, None),
            ConsumerRecord::Topics(_) => (4, None),
            ConsumerRecord::Member(id, _) => (5, Some(id)),
            ConsumerRecord::TargetEpoch(_) => (6, None),
            ConsumerRecord::Target(id, _) => (7, Some(id)),
            ConsumerRecord::Current(id, _) => (8, Some(id)),
        };
        let mut key = Writer::new();
        key.i16(version);
        primitive::put_string(&mut key, false, group);
        member.into_iter().for_each(|id| primitive::put_string(&mut key, false, id));
        (key.into_bytes(), self.write_value())
    }

    fn write_value(&self) -> Option<Bytes> {
        let mut value = Writer::new();
        value.i16(0);
        match self {
            ConsumerRecord::Epoch(epoch) | ConsumerRecord::TargetEpoch(epoch) => value.i32((*epoch)?),
            ConsumerRecord::Topics(topics) => {
                let topics: Vec<(&String, &(Uuid, i32))> = topics.as_ref()?.iter().collect();
                primitive::put_array(&mut value, true, &topics, |value, (name, (id, count))| {
                    value.uuid(*id);
                    primitive::put_string(value, true, name);
                    value.i32(*count);
                    // Racks of replicas, which no assignor here looks at.
                    value.uvarint(1);
                    value.uvarint(0);
                });
            }
            ConsumerRecord::Member(_, member) => {
                write_member(&mut value, member.as_ref()?);
                return Some(value.into_bytes());
            }
            ConsumerRecord::Target(_, target) => write_assignment(&mut value, target.as_ref()?),
            ConsumerRecord::Current(_, member) => {
                let member = member.as_ref()?;
                value.i32(member.epoch);
                value.i32(member.previous_epoch);
                value.i8(member.state as i8);
                write_assignment(&mut value, &member.assigned);
                write_assignment(&mut value, &member.revoking);
            }
        }
        value.uvarint(0);
        Some(value.into_bytes())
    }

    /// Reads what follows the key's version, and the value. The group's name comes first.
    pub fn read(version: i16, key: &mut Reader, value: Option<Bytes>) -> Result<(String, Self), WireError> {
        let group = primitive::string(key, false)?;
        let member = match version {
            5 | 7 | 8 => primitive::string(key, false)?,
            _ => String::new(),
        };
        let mut value = value.map(Reader::new);
        if let Some(value) = &mut value {
            // Values of later versions begin alike.
            value.i16()?;
        }
        let record = match (version, value.as_mut()) {
            (3, value) => ConsumerRecord::Epoch(value.map(Reader::i32).transpose()?),
            (4, value) => ConsumerRecord::Topics(value.map(read_topics).transpose()?),
            (5, value) => ConsumerRecord::Member(member, value.map(read_member).transpose()?),
            (6, value) => ConsumerRecord::TargetEpoch(value.map(Reader::i32).transpose()?),
            (7, value) => ConsumerRecord::Target(member, value.map(read_assignment).transpose()?),
            (_, value) => ConsumerRecord::Current(member, value.map(read_current).transpose()?),
        };
        Ok((group, record))
    }

    /// Applies it to a group. False if nothing is left of the group by it.
    pub fn apply(self, group: &mut ConsumerGroup, session_ends: Moment) -> bool {
        match self {
            ConsumerRecord::Epoch(None) => return false,
            ConsumerRecord::Epoch(Some(epoch)) => group.epoch = epoch,
            ConsumerRecord::Topics(topics) => group.topics = topics.unwrap_or_default(),
            ConsumerRecord::TargetEpoch(epoch) => group.assignment_epoch = epoch.unwrap_or(0),
            ConsumerRecord::Target(id, Some(target)) => drop(group.target.insert(id, target)),
            ConsumerRecord::Target(id, None) => drop(group.target.remove(&id)),
            ConsumerRecord::Member(id, Some(told)) => {
                let known = group.members.remove(&id).unwrap_or_default();
                let member = ConsumerMember {
                    epoch: known.epoch,
                    previous_epoch: known.previous_epoch,
                    state: known.state,
                    assigned: known.assigned,
                    revoking: known.revoking,
                    session_ends,
                    ..told
                };
                group.members.insert(id, member);
            }
            ConsumerRecord::Member(id, None) => drop(group.members.remove(&id)),
            ConsumerRecord::Current(id, told) => {
                let told = told.unwrap_or_default();
                if let Some(member) = group.members.get_mut(&id) {
                    (member.epoch, member.previous_epoch, member.state) = (told.epoch, told.previous_epoch, told.state);
                    (member.assigned, member.revoking) = (told.assigned, told.revoking);
                }
            }
        }
        true
    }
}

fn write_member(value: &mut Writer, member: &ConsumerMember) {
    primitive::put_nullable_string(value, true, true, member.instance_id.as_deref());
    primitive::put_nullable_string(value, true, true, member.rack_id.as_deref());
    primitive::put_string(value, true, &member.client_id);
    primitive::put_string(value, true, &member.client_host);
    let names: Vec<&String> = member.topic_names.iter().collect();
    primitive::put_array(value, true, &names, |value, name| primitive::put_string(value, true, name));
    primitive::put_nullable_string(value, true, true, member.topic_regex.as_deref());
    value.i32(member.rebalance_timeout_ms);
    primitive::put_nullable_string(value, true, true, member.assignor.as_deref());
    // Kafka's own reader takes a field that is not there for a classic member without protocols, so that null is written too.
    let mut fields = primitive::TaggedFields::default();
    fields.add(CLASSIC_TAG, |value| match &member.classic {
        None => value.uvarint(0),
        Some(classic) => {
            value.uvarint(1);
            value.i32(classic.session_timeout_ms);
            primitive::put_array(value, true, &classic.protocols, |value, (name, subscription)| {
                primitive::put_string(value, true, name);
                primitive::put_bytes(value, true, subscription);
                value.uvarint(0);
            });
            value.uvarint(0);
        }
    });
    fields.write(value);
}

fn read_member(value: &mut Reader) -> Result<ConsumerMember, WireError> {
    let mut member = ConsumerMember {
        instance_id: primitive::nullable_string(value, true)?,
        rack_id: primitive::nullable_string(value, true)?,
        client_id: primitive::string(value, true)?,
        client_host: primitive::string(value, true)?,
        topic_names: primitive::array(value, true, 1, |value| primitive::string(value, true))?.into_iter().collect(),
        topic_regex: primitive::nullable_string(value, true)?,
        rebalance_timeout_ms: value.i32()?,
        assignor: primitive::nullable_string(value, true)?,
        ..ConsumerMember::default()
    };
    primitive::tagged_fields(value, |tag, value| {
        if tag == CLASSIC_TAG {
            member.classic = read_classic(value)?;
        }
        Ok(tag == CLASSIC_TAG)
    })?;
    Ok(member)
}

fn read_classic(value: &mut Reader) -> Result<Option<ClassicMember>, WireError> {
    if value.uvarint()? == 0 {
        return Ok(None);
    }
    let session_timeout_ms = value.i32()?;
    // A name, a subscription and no more fields: three lengths.
    let protocols = primitive::array(value, true, 3, |value| {
        let protocol = (primitive::string(value, true)?, primitive::bytes(value, true)?);
        primitive::skip_tagged_fields(value)?;
        Ok(protocol)
    })?;
    primitive::skip_tagged_fields(value)?;
    Ok(Some(ClassicMember { session_timeout_ms, protocols }))
}

fn read_current(value: &mut Reader) -> Result<ConsumerMember, WireError> {
    Ok(ConsumerMember {
        epoch: value.i32()?,
        previous_epoch: value.i32()?,
        state: match value.i8()? {
            2 => MemberState::UnrevokedPartitions,
            3 => MemberState::UnreleasedPartitions,
            _ => MemberState::Stable,
        },
        assigned: read_assignment(value)?,
        revoking: read_assignment(value)?,
        ..ConsumerMember::default()
    })
}

fn read_topics(value: &mut Reader) -> Result<BTreeMap<String, (Uuid, i32)>, WireError> {
    // An id, a name, a number, an empty list: no topic takes fewer than 23 bytes.
    let topics = primitive::array(value, true, 23, |value| {
        let id = value.uuid()?;
        let name = primitive::string(value, true)?;
        let count = value.i32()?;
        primitive::array(value, true, 6, |value| {
            value.i32()?;
            primitive::array(value, true, 1, |value| primitive::string(value, true))?;
            primitive::skip_tagged_fields(value)
        })?;
        primitive::skip_tagged_fields(value)?;
        Ok((name, (id, count)))
    })?;
    Ok(topics.into_iter().collect())
}

fn write_assignment(value: &mut Writer, assignment: &Assignment) {
    let topics: Vec<_> = assignment.iter().collect();
    primitive::put_array(value, true, &topics, |value, (id, partitions)| {
        value.uuid(**id);
        let partitions: Vec<i32> = partitions.iter().copied().collect();
        primitive::put_array(value, true, &partitions, |value, partition| value.i32(*partition));
        value.uvarint(0);
    });
}

fn read_assignment(value: &mut Reader) -> Result<Assignment, WireError> {
    let topics = primitive::array(value, true, 18, |value| {
        let id = value.uuid()?;
        let partitions = primitive::array(value, true, 4, Reader::i32)?;
        primitive::skip_tagged_fields(value)?;
        Ok((id, partitions.into_iter().collect()))
    })?;
    Ok(topics.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let member = ConsumerMember {
            instance_id: Some("one".to_owned()),
            topic_names: ["orders".to_owned()].into(),
            topic_regex: Some("pay.*".to_owned()),
            ..ConsumerMember::default()
        };
        let protocols = vec![("range".to_owned(), Bytes::from_static(b"\0\x03"))];
        let classic = Some(ClassicMember { session_timeout_ms: 45_000, protocols });
        let classic = ConsumerMember { classic, ..member.clone() };
        let assignment = Assignment::from([(Uuid::from_u128(7), [0, 3].into())]);
        let current = ConsumerMember {
            epoch: 3,
            previous_epoch: 2,
            state: MemberState::UnrevokedPartitions,
            assigned: assignment.clone(),
            revoking: assignment.clone(),
            ..ConsumerMember::default()
        };
        let records = [
            ConsumerRecord::Epoch(Some(4)),
            ConsumerRecord::Topics(Some(BTreeMap::from([("orders".to_owned(), (Uuid::from_u128(7), 4))]))),
            ConsumerRecord::Member("m".to_owned(), Some(member)),
            ConsumerRecord::Member("c".to_owned(), Some(classic)),
            ConsumerRecord::TargetEpoch(Some(4)),
            ConsumerRecord::Target("m".to_owned(), Some(assignment)),
            ConsumerRecord::Current("m".to_owned(), Some(current)),
            ConsumerRecord::Target("m".to_owned(), None),
        ];
        for record in records {
            let (key, value) = record.write("group");
            let mut key = Reader::new(key);
            let version = key.i16().unwrap();
            assert_eq!(ConsumerRecord::read(version, &mut key, value).unwrap(), ("group".to_owned(), record));
        }
    }
}
