//! Whether a request is served here, redirected or refused: the order of decisions is Redis's own.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use super::instance::InstanceId;
use super::slots::slot_of;
use crate::config::Settings;
use crate::ops::{Command, Flags};
use crate::wire::Request;

/// Where a request belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Here.
    Here,
    /// Its keys are in several slots.
    CrossSlot,
    /// Nobody serves the slot.
    Unserved,
    /// The cluster is down, as this instance sees it.
    Down,
    /// The cluster is down, and only reads are allowed meanwhile.
    DownReadOnly,
    /// The slot is on its way to another, which may have the key.
    Ask { slot: u16, to: InstanceId },
    /// Some of the keys are here and some are not.
    TryAgain,
    /// The slot is another's.
    Moved { slot: u16, to: InstanceId },
}

impl Route {
    /// The error line for a client that sees instance `to` at this address; None: served here.
    pub(crate) fn refusal(&self, address: impl FnOnce(InstanceId) -> (Ipv4Addr, u16)) -> Option<Cow<'static, str>> {
        Some(match self {
            Route::Here => return None,
            Route::CrossSlot => "CROSSSLOT Keys in request don't hash to the same slot".into(),
            Route::Unserved => "CLUSTERDOWN Hash slot not served".into(),
            Route::Down => "CLUSTERDOWN The cluster is down".into(),
            Route::DownReadOnly => "CLUSTERDOWN The cluster is down and only accepts read commands".into(),
            Route::TryAgain => "TRYAGAIN Multiple keys request during rehashing of slot".into(),
            Route::Ask { slot, to } => {
                let (ip, port) = address(*to);
                format!("ASK {slot} {ip}:{port}").into()
            }
            Route::Moved { slot, to } => {
                let (ip, port) = address(*to);
                format!("MOVED {slot} {ip}:{port}").into()
            }
        })
    }
}

/// Decides for one request with keys. `reads_replica`: the client said READONLY.
#[inline]
pub(crate) fn decide(
    view: &super::View,
    id: InstanceId,
    settings: &Settings,
    command: &Command,
    request: Request<'_>,
    reads_replica: bool,
) -> Route {
    let mut slot = None;
    for position in command.key_positions(request) {
        let next = slot_of(request.arg(position));
        match slot {
            None if view.owner(next).is_none() => return Route::Unserved,
            None => slot = Some(next),
            Some(first) if first != next => return Route::CrossSlot,
            Some(_) => {}
        }
    }
    let Some(slot) = slot else { return Route::Here };
    if !view.is_ok {
        if command.flags.has(Flags::SHARDED_PUBSUB) {
            if !settings.pubsubshard_when_down {
                return Route::Down;
            }
        } else if !settings.reads_when_down {
            return Route::Down;
        } else if command.flags.has(Flags::WRITE) {
            return Route::DownReadOnly;
        }
    }
    let Some(owner) = view.owner(slot) else { return Route::Unserved };
    if owner == id {
        return Route::Here;
    }
    let is_my_master = view.peers[id].master == Some(owner);
    let can_read = command.flags.has(Flags::READONLY) && !command.flags.has(Flags::WRITE);
    if is_my_master && reads_replica && can_read {
        return Route::Here;
    }
    Route::Moved { slot, to: owner }
}
