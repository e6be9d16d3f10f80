//! Publish and subscribe, plain and sharded: <https://redis.io/docs/latest/develop/interact/pubsub/>.

use std::rc::Rc;

use super::{Answer, Session, Then, glob_matches};
use crate::cluster::Message;
use crate::pubsub::SubscriptionKind;

impl SubscriptionKind {
    fn words(self) -> (&'static [u8], &'static [u8]) {
        match self {
            SubscriptionKind::Channel => (b"subscribe", b"unsubscribe"),
            SubscriptionKind::Pattern => (b"psubscribe", b"punsubscribe"),
            SubscriptionKind::ShardChannel => (b"ssubscribe", b"sunsubscribe"),
        }
    }
}

/// How many subscriptions a confirmation counts: sharded ones are counted apart.
fn count(session: &Session<'_>, kind: SubscriptionKind) -> usize {
    let client = &session.cluster.clients.list[session.client];
    if kind == SubscriptionKind::ShardChannel { client.shard_channels } else { client.channels + client.patterns }
}

fn add(session: &mut Session<'_>, kind: SubscriptionKind) -> Answer {
    for name in session.request.tail(1) {
        session.cluster.subscribe(session.client, kind, name);
        let count = count(session, kind);
        session.out.push(3);
        session.out.bulk(kind.words().0);
        session.out.bulk(name);
        session.out.count(count);
    }
    Ok(Then::Done)
}

fn remove(session: &mut Session<'_>, kind: SubscriptionKind) -> Answer {
    let mut names: Vec<Vec<u8>> = session.request.tail(1).map(<[u8]>::to_vec).collect();
    if names.is_empty() {
        names = session.cluster.subscribed(session.client, kind).iter().map(|name| name.to_vec()).collect();
    }
    if names.is_empty() {
        let count = count(session, kind);
        session.out.push(3);
        session.out.bulk(kind.words().1);
        session.out.null();
        session.out.count(count);
    }
    for name in names {
        session.cluster.unsubscribe(session.client, kind, &name);
        let count = count(session, kind);
        session.out.push(3);
        session.out.bulk(kind.words().1);
        session.out.bulk(&name);
        session.out.count(count);
    }
    Ok(Then::Done)
}

pub(super) fn subscribe(session: &mut Session<'_>) -> Answer {
    add(session, SubscriptionKind::Channel)
}

pub(super) fn psubscribe(session: &mut Session<'_>) -> Answer {
    add(session, SubscriptionKind::Pattern)
}

pub(super) fn ssubscribe(session: &mut Session<'_>) -> Answer {
    add(session, SubscriptionKind::ShardChannel)
}

pub(super) fn unsubscribe(session: &mut Session<'_>) -> Answer {
    remove(session, SubscriptionKind::Channel)
}

pub(super) fn punsubscribe(session: &mut Session<'_>) -> Answer {
    remove(session, SubscriptionKind::Pattern)
}

pub(super) fn sunsubscribe(session: &mut Session<'_>) -> Answer {
    remove(session, SubscriptionKind::ShardChannel)
}

/// Delivers here, and sends the message to the other instances: all of them, or those of the same shard.
fn send(session: &mut Session<'_>, is_sharded: bool) -> Answer {
    let (channel, payload, id) = (session.arg(1), session.arg(2), session.id);
    let receivers = session.cluster.deliver(id, channel, payload, is_sharded);
    if session.cluster.instances.len() > 1 && session.cluster.subscriptions > 0 {
        let view = &session.cluster.instances[id].view;
        let own_master = view.peers[id].master.unwrap_or(id);
        let is_in_shard = |other: usize| other == own_master || view.peers[other].master == Some(own_master);
        let others: Vec<usize> =
            (0..view.peers.len()).filter(|other| *other != id && (!is_sharded || is_in_shard(*other))).collect();
        let (channel, payload): (Rc<[u8]>, Rc<[u8]>) = (channel.into(), payload.into());
        for other in others {
            let message = Message::Publish { channel: Rc::clone(&channel), payload: Rc::clone(&payload), is_sharded };
            session.cluster.send(session.ctx, id, other, message);
        }
        session.cluster.read_letters(session.ctx);
    }
    if !session.cluster.config.settings.is_cluster {
        let database = session.cluster.clients.list[session.client].database;
        session.cluster.stream_command(id, database, session.request);
    }
    session.out.count(receivers);
    Ok(Then::Done)
}

pub(super) fn publish(session: &mut Session<'_>) -> Answer {
    send(session, false)
}

pub(super) fn spublish(session: &mut Session<'_>) -> Answer {
    send(session, true)
}

fn list(session: &mut Session<'_>, kind: SubscriptionKind) -> Answer {
    let pattern = session.request.get(2);
    let map = session.cluster.instances[session.id].subscriptions.of(kind);
    let names: Vec<&[u8]> = map
        .keys()
        .map(|name| name.as_slice())
        .filter(|name| pattern.is_none_or(|pattern| glob_matches(pattern, name)))
        .collect();
    session.out.array(names.len());
    for name in names {
        session.out.bulk(name);
    }
    Ok(Then::Done)
}

pub(super) fn pubsub_channels(session: &mut Session<'_>) -> Answer {
    list(session, SubscriptionKind::Channel)
}

pub(super) fn pubsub_shardchannels(session: &mut Session<'_>) -> Answer {
    list(session, SubscriptionKind::ShardChannel)
}

fn counts(session: &mut Session<'_>, kind: SubscriptionKind) -> Answer {
    let map = session.cluster.instances[session.id].subscriptions.of(kind);
    session.out.array((session.request.len() - 2) * 2);
    for name in session.request.tail(2) {
        session.out.bulk(name);
        session.out.count(map.get(name).map_or(0, Vec::len));
    }
    Ok(Then::Done)
}

pub(super) fn pubsub_numsub(session: &mut Session<'_>) -> Answer {
    counts(session, SubscriptionKind::Channel)
}

pub(super) fn pubsub_shardnumsub(session: &mut Session<'_>) -> Answer {
    counts(session, SubscriptionKind::ShardChannel)
}

pub(super) fn pubsub_numpat(session: &mut Session<'_>) -> Answer {
    let count = session.cluster.instances[session.id].subscriptions.patterns.len();
    session.out.count(count);
    Ok(Then::Done)
}

pub(super) fn pubsub_help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
