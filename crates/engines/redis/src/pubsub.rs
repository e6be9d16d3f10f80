//! Who is subscribed to what, on one instance.

use std::collections::BTreeMap;

use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::ops::glob_matches;
use crate::state::Blob;
use crate::wire::Reply;

/// The subscriptions of one instance's clients, in order of names so that listings are.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) channels: BTreeMap<Blob, Vec<usize>>,
    pub(crate) patterns: BTreeMap<Blob, Vec<usize>>,
    pub(crate) shard_channels: BTreeMap<Blob, Vec<usize>>,
}

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubscriptionKind {
    Channel,
    Pattern,
    ShardChannel,
}

impl Subscriptions {
    pub(crate) fn of(&mut self, kind: SubscriptionKind) -> &mut BTreeMap<Blob, Vec<usize>> {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::ShardChannel => &mut self.shard_channels,
        }
    }
}

impl Cluster {
    /// Subscribes a client. False if it was subscribed.
    pub(crate) fn subscribe(&mut self, place: usize, kind: SubscriptionKind, name: &[u8]) -> bool {
        let client = &mut self.clients.list[place];
        let clients = self.instances[client.instance].subscriptions.of(kind).entry(Blob::from_slice(name)).or_default();
        if clients.contains(&place) {
            return false;
        }
        clients.push(place);
        self.subscriptions += 1;
        *client.subscription_count(kind) += 1;
        true
    }

    /// Ends a subscription. False if there was none.
    pub(crate) fn unsubscribe(&mut self, place: usize, kind: SubscriptionKind, name: &[u8]) -> bool {
        let client = &mut self.clients.list[place];
        let map = self.instances[client.instance].subscriptions.of(kind);
        let Some(clients) = map.get_mut(name) else { return false };
        let Some(index) = clients.iter().position(|other| *other == place) else { return false };
        clients.remove(index);
        if clients.is_empty() {
            map.remove(name);
        }
        self.subscriptions -= 1;
        *client.subscription_count(kind) -= 1;
        true
    }

    /// What a client is subscribed to, in order.
    pub(crate) fn subscribed(&mut self, place: usize, kind: SubscriptionKind) -> Vec<Blob> {
        let id = self.clients.list[place].instance;
        let map = self.instances[id].subscriptions.of(kind);
        map.iter().filter(|(_, clients)| clients.contains(&place)).map(|(name, _)| name.clone()).collect()
    }

    /// Ends all subscriptions of a client.
    pub(crate) fn unsubscribe_all(&mut self, place: usize) {
        if self.clients.list[place].subscriptions() == 0 {
            return;
        }
        for kind in [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::ShardChannel] {
            for name in self.subscribed(place, kind) {
                self.unsubscribe(place, kind, &name);
            }
        }
    }

    /// Hands a message to the subscribers of one instance. Returns how many there were.
    pub(crate) fn deliver(&mut self, id: InstanceId, channel: &[u8], payload: &[u8], is_sharded: bool) -> usize {
        if self.subscriptions == 0 {
            return 0;
        }
        let subscriptions = &self.instances[id].subscriptions;
        let direct = if is_sharded { &subscriptions.shard_channels } else { &subscriptions.channels };
        let mut receivers: Vec<(usize, Option<Blob>)> =
            direct.get(channel).into_iter().flatten().map(|place| (*place, None)).collect();
        if !is_sharded {
            for (pattern, clients) in &subscriptions.patterns {
                if glob_matches(pattern, channel) {
                    receivers.extend(clients.iter().map(|place| (*place, Some(pattern.clone()))));
                }
            }
        }
        let kind: &[u8] = if is_sharded { b"smessage" } else { b"message" };
        for (place, pattern) in &receivers {
            let mut bytes = Vec::new();
            let mut reply = Reply::new(&mut bytes, self.clients.list[*place].is_resp3);
            match pattern {
                Some(pattern) => {
                    reply.push(4);
                    reply.bulk(b"pmessage");
                    reply.bulk(pattern);
                }
                None => {
                    reply.push(3);
                    reply.bulk(kind);
                }
            }
            reply.bulk(channel);
            reply.bulk(payload);
            self.deliver_to(*place, bytes, false, false);
        }
        receivers.len()
    }
}

impl crate::clients::Client {
    fn subscription_count(&mut self, kind: SubscriptionKind) -> &mut usize {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::ShardChannel => &mut self.shard_channels,
        }
    }
}
