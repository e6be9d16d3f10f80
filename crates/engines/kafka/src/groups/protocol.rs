//! Where a coordinator knows what members of kind `consumer` tell each other. That of a classic group passes both subscriptions
//! and assignments on unread, except where it must know what is read; in groups of KIP-848 it reads the subscriptions of
//! members that speak the classic protocol, and writes their assignments itself.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Assignment, Group};
use crate::state::image::Image;
use crate::wire::consumer_protocol::{self, Named};

/// The kind of members that read topics.
pub(crate) const CONSUMER: &str = "consumer";

/// Writes an assignment in the version of the subscription that it answers. Topics that are gone are left out.
pub(crate) fn write_assignment(assignment: &Assignment, subscription: &Bytes, image: &Image) -> Bytes {
    let name = |topic| image.names.get(topic).cloned();
    let named = |(topic, partitions): (_, &BTreeSet<i32>)| Some((name(topic)?, partitions.iter().copied().collect()));
    let named: Named = assignment.iter().filter_map(named).collect();
    consumer_protocol::write_assignment(consumer_protocol::version(subscription).unwrap_or(0), &named)
}

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
        subscriptions.filter_map(|subscription| consumer_protocol::read_topics(subscription).ok()).flatten().collect()
    }
}
