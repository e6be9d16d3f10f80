//! What members of kind `consumer` tell each other: a subscription when they join, an assignment when they sync. A coordinator
//! of classic groups passes both on unread, except where it must know what is read; in groups of KIP-848 it reads the
//! subscriptions of members that speak the classic protocol, and writes their assignments itself.
//!
//! <https://github.com/apache/kafka/blob/4.0/clients/src/main/resources/common/message/ConsumerProtocolSubscription.json>

use std::collections::BTreeSet;

use atoll_wire::{Reader, WireError, WireErrorKind, Writer};
use bytes::Bytes;

use super::{Assignment, Group};
use crate::state::image::Image;
use crate::wire::primitive;

/// The kind of members that read topics.
pub(crate) const CONSUMER: &str = "consumer";

/// Partitions by the names of their topics.
type Named = Vec<(String, Vec<i32>)>;

/// What a member reads, and what it has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    pub topics: Vec<String>,
    /// Since version 1; by then members give up no more than they must.
    pub owned: Named,
    /// Since version 3.
    pub rack_id: Option<String>,
}

/// The topics of a subscription, as a consumer sends it.
pub(crate) fn topics(subscription: Bytes) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(subscription);
    version(&mut reader)?;
    read_topics(&mut reader)
}

/// The version in which something is written. What follows later ones begins alike.
fn version(reader: &mut Reader) -> Result<i16, WireError> {
    let version = reader.i16()?;
    if version < 0 {
        return Err(reader
            .error(WireErrorKind::Invalid { what: "the version of a consumer's protocol", value: version.into() }));
    }
    Ok(version)
}

fn read_topics(reader: &mut Reader) -> Result<Vec<String>, WireError> {
    // A name takes its length at least.
    primitive::array(reader, false, 2, |reader| primitive::string(reader, false))
}

fn read_partitions(reader: &mut Reader) -> Result<Named, WireError> {
    // A name and a list take their lengths at least.
    primitive::array(reader, false, 6, |reader| {
        Ok((primitive::string(reader, false)?, primitive::array(reader, false, 4, Reader::i32)?))
    })
}

/// Reads a subscription.
pub(crate) fn read_subscription(bytes: Bytes) -> Result<Subscription, WireError> {
    let mut reader = Reader::new(bytes);
    let version = version(&mut reader)?;
    let topics = read_topics(&mut reader)?;
    let _user_data = primitive::nullable_bytes(&mut reader, false)?;
    let owned = if version >= 1 { read_partitions(&mut reader)? } else { Named::new() };
    let _generation = if version >= 2 { reader.i32()? } else { -1 };
    let rack_id = if version >= 3 { primitive::nullable_string(&mut reader, false)? } else { None };
    Ok(Subscription { topics, owned, rack_id: rack_id.filter(|rack| !rack.is_empty()) })
}

/// Reads an assignment; whether an assignor of the members' own put something into it that only it understands.
pub(crate) fn read_assignment(bytes: Bytes) -> Result<(Named, bool), WireError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader)?;
    let assigned = read_partitions(&mut reader)?;
    let user_data = primitive::nullable_bytes(&mut reader, false)?;
    Ok((assigned, user_data.is_some_and(|data| !data.is_empty())))
}

/// Writes an assignment in the version of the subscription that it answers. Topics that are gone are left out.
pub(crate) fn write_assignment(assignment: &Assignment, subscription: &Bytes, image: &Image) -> Bytes {
    let version = Reader::new(subscription.clone()).i16().unwrap_or(0).clamp(0, VERSION_MAX);
    let named = assignment.iter().filter_map(|(topic, partitions)| Some((image.names.get(topic)?, partitions)));
    let named: Vec<(&String, &BTreeSet<i32>)> = named.collect();
    let mut writer = Writer::new();
    writer.i16(version);
    primitive::put_array(&mut writer, false, &named, |writer, (name, partitions)| {
        primitive::put_string(writer, false, name);
        let partitions: Vec<i32> = partitions.iter().copied().collect();
        primitive::put_array(writer, false, &partitions, |writer, partition| writer.i32(*partition));
    });
    primitive::put_nullable_bytes(&mut writer, false, true, None);
    writer.into_bytes()
}

/// The newest version of both.
const VERSION_MAX: i16 = 3;

/// The same partitions by their topics' ids, as far as the topics are there.
pub(crate) fn by_id(named: &Named, image: &Image) -> Assignment {
    let mut assignment = Assignment::new();
    for (name, partitions) in named {
        if let Some(topic) = image.topics.get(name) {
            assignment.entry(topic.id).or_default().extend(partitions);
        }
    }
    assignment
}

impl Group {
    /// What the members read, as far as they say it.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<String> {
        let subscriptions = self.members.values().map(|member| self.subscription(member));
        subscriptions.filter_map(|subscription| topics(subscription).ok()).flatten().collect()
    }
}
