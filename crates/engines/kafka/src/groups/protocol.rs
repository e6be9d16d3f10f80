//! What members of kind `consumer` tell each other: a subscription when they join, an assignment when they sync. A coordinator
//! of classic groups passes both on unread, except where it must know what is read.

use std::collections::BTreeSet;

use atoll_wire::{Reader, WireError};
use bytes::Bytes;

use super::Group;
use crate::wire::primitive;

/// The kind of members that read topics.
pub(crate) const CONSUMER: &str = "consumer";

/// The topics of a subscription, as a consumer sends it.
pub(crate) fn topics(subscription: Bytes) -> Result<Vec<String>, WireError> {
    let mut reader = Reader::new(subscription);
    let _version = reader.i16()?;
    // A name takes its length at least.
    primitive::array(&mut reader, false, 2, |reader| primitive::string(reader, false))
}

impl Group {
    /// What the members read, as far as they say it.
    pub(crate) fn subscribed_topics(&self) -> BTreeSet<String> {
        let subscriptions = self.members.values().map(|member| self.subscription(member));
        subscriptions.filter_map(|subscription| topics(subscription).ok()).flatten().collect()
    }
}
