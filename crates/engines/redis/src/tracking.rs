//! Client-side caching: which client may hold a copy of which key, and who is told that it has changed.
//! <https://redis.io/docs/latest/develop/reference/client-side-caching/>
//!
//! A client in the default mode is remembered for the keys that it reads, until one of them changes. A client in BCAST
//! mode is told of every change under its prefixes, once all that came together has been executed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use indexmap::IndexMap;

use crate::clients::ConnId;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::ops::Command;
use crate::state::{Blob, Hasher};
use crate::wire::{Reply, Request};

/// Where clients of RESP2 are told, if they subscribe to it.
const CHANNEL: &[u8] = b"__redis__:invalidate";
/// How many keys beyond `tracking-table-max-keys` are let go of before a command.
const EVICTED_AT_ONCE: usize = 100;
/// A replica that lags behind by more changed keys than these tells its clients to forget everything.
const PENDING_MAX: usize = 100_000;

/// What one client asked for with CLIENT TRACKING.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tracking {
    /// Who is told in its stead.
    pub(crate) redirect: Option<ConnId>,
    pub(crate) broadcasts: bool,
    pub(crate) opt_in: bool,
    pub(crate) opt_out: bool,
    pub(crate) no_loop: bool,
    /// CLIENT CACHING was called for the next command.
    pub(crate) caching: bool,
    /// The one who is to be told is gone.
    pub(crate) is_broken: bool,
    pub(crate) prefixes: BTreeSet<Vec<u8>>,
}

/// What the clients of one instance may hold copies of.
#[derive(Debug, Default)]
pub(crate) struct TrackingTable {
    /// How many clients track.
    pub(crate) clients: usize,
    keys: IndexMap<Blob, BTreeSet<ConnId>, Hasher>,
    /// How many pairs of a key and a client there are.
    pub(crate) items: usize,
    prefixes: BTreeMap<Vec<u8>, Prefix>,
    /// Of a replica: what its master has changed and it has not yet, by the position in the stream.
    pending: VecDeque<(u64, Modified)>,
    pending_keys: usize,
}

/// Changed keys, each with who changed it last.
type Changed = BTreeMap<Blob, Option<ConnId>>;

/// A prefix that clients in BCAST mode asked for.
#[derive(Debug, Default)]
struct Prefix {
    clients: BTreeSet<ConnId>,
    /// What has changed since they were last told.
    changed: Changed,
}

/// What one command, or time, has changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Modified {
    pub(crate) keys: Vec<Blob>,
    /// A whole database was emptied.
    pub(crate) is_flushed: bool,
}

impl Modified {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.is_flushed
    }
}

/// What clients are told to forget.
enum Forgotten<'k> {
    Keys(&'k [&'k [u8]]),
    Everything,
}

impl TrackingTable {
    pub(crate) fn keys_count(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn prefixes_count(&self) -> usize {
        self.prefixes.len()
    }

    fn remember(&mut self, key: &[u8], conn: ConnId) {
        let clients = self.keys.entry(Blob::from_slice(key)).or_default();
        self.items += usize::from(clients.insert(conn));
    }

    fn forget(&mut self, key: &[u8]) -> BTreeSet<ConnId> {
        let clients = self.keys.swap_remove(key).unwrap_or_default();
        self.items -= clients.len();
        clients
    }

    fn forget_all(&mut self) {
        self.keys.clear();
        self.items = 0;
    }

    /// Notes that a key has changed for those who asked for a prefix of it. True if anybody did.
    fn note(&mut self, key: &Blob, by: Option<ConnId>) -> bool {
        let mut is_noted = false;
        for (_, state) in self.prefixes.iter_mut().filter(|(prefix, _)| key.starts_with(prefix)) {
            state.changed.insert(key.clone(), by);
            is_noted = true;
        }
        is_noted
    }

    fn is_idle(&self) -> bool {
        self.clients == 0 && self.keys.is_empty()
    }
}

impl Cluster {
    /// A client is told from now on what it has to forget.
    pub(crate) fn track(&mut self, place: usize, mut wanted: Tracking, prefixes: Vec<Vec<u8>>) {
        let client = &mut self.clients.list[place];
        let conn = ConnId { place, number: client.number };
        let table = &mut self.instances[client.instance].tracking;
        if let Some(earlier) = client.tracking.take() {
            wanted.prefixes = earlier.prefixes;
            wanted.caching = earlier.caching;
        } else {
            table.clients += 1;
            self.tracking_clients += 1;
        }
        for prefix in prefixes {
            table.prefixes.entry(prefix.clone()).or_default().clients.insert(conn);
            wanted.prefixes.insert(prefix);
        }
        client.tracking = Some(Box::new(wanted));
        self.follow_tracking();
    }

    /// A client is told nothing any more. What it was remembered for is forgotten when that changes.
    pub(crate) fn untrack(&mut self, place: usize) {
        let client = &mut self.clients.list[place];
        let conn = ConnId { place, number: client.number };
        let Some(tracking) = client.tracking.take() else { return };
        let table = &mut self.instances[client.instance].tracking;
        for prefix in &tracking.prefixes {
            if let Some(state) = table.prefixes.get_mut(prefix) {
                state.clients.remove(&conn);
                if state.clients.is_empty() {
                    table.prefixes.remove(prefix);
                }
            }
        }
        table.clients -= 1;
        self.tracking_clients -= 1;
        self.follow_tracking();
    }

    /// Changed keys are noted while anybody wants to know; replicas' clients want to know of their masters' as well.
    fn follow_tracking(&mut self) {
        let is_tracked = self.instances.iter().any(|instance| !instance.tracking.is_idle());
        for instance in &mut self.instances {
            instance.interest.is_tracked = is_tracked;
        }
    }

    /// An instance's process is gone, and with it what it knew.
    pub(crate) fn forget_tracking(&mut self, id: InstanceId) {
        self.instances[id].tracking = TrackingTable::default();
        self.follow_tracking();
    }

    /// A client in the default mode has read these keys.
    pub(crate) fn remember_keys(&mut self, place: usize, command: &Command, request: Request<'_>) {
        let client = &self.clients.list[place];
        let Some(tracking) = &client.tracking else { return };
        let is_left_out = (tracking.opt_in && !tracking.caching) || (tracking.opt_out && tracking.caching);
        if tracking.broadcasts || is_left_out {
            return;
        }
        let conn = ConnId { place, number: client.number };
        let table = &mut self.instances[client.instance].tracking;
        for position in command.key_positions(request) {
            table.remember(request.arg(position), conn);
        }
    }

    /// CLIENT CACHING holds for one command, or for one transaction.
    pub(crate) fn end_caching(&mut self, place: usize, request: Request<'_>) {
        let Some(client) = self.clients.list.get_mut(place) else { return };
        if client.transaction.is_some() || request.arg(0).eq_ignore_ascii_case(b"client") {
            return;
        }
        if let Some(tracking) = &mut client.tracking {
            tracking.caching = false;
        }
    }

    /// Lets go of keys beyond `tracking-table-max-keys`: clients are told as if they had changed.
    pub(crate) fn limit_tracked_keys(&mut self, id: InstanceId) {
        let limit = self.config.settings.tracked_keys_max;
        for _ in 0..EVICTED_AT_ONCE {
            let count = self.instances[id].tracking.keys.len();
            if limit == 0 || count <= limit {
                return;
            }
            let index = self.random.below(count as u64) as usize;
            let Some((key, _)) = self.instances[id].tracking.keys.get_index(index) else { return };
            let key = key.clone();
            self.invalidate(id, None, &key);
        }
    }

    /// A lower limit holds at once, though nobody may send a command.
    pub(crate) fn follow_tracking_limit(&mut self) {
        let limit = self.config.settings.tracked_keys_max;
        for id in 0..self.instances.len() {
            while limit > 0 && self.instances[id].tracking.keys.len() > limit {
                self.limit_tracked_keys(id);
            }
        }
    }

    /// Keys have changed on an instance, by a client or by themselves.
    #[inline]
    pub(crate) fn tell_trackers(&mut self, id: InstanceId, by: Option<usize>) {
        if !self.instances[id].interest.modified.is_empty() {
            self.tell_all_trackers(id, by);
        }
    }

    #[cold]
    fn tell_all_trackers(&mut self, id: InstanceId, by: Option<usize>) {
        let modified = std::mem::take(&mut self.instances[id].interest.modified);
        self.tell_replicas_trackers(id, &modified);
        self.tell_trackers_of(id, by, &modified);
    }

    fn tell_trackers_of(&mut self, id: InstanceId, by: Option<usize>, modified: &Modified) {
        if self.instances[id].tracking.is_idle() {
            return;
        }
        let conn = by.map(|place| ConnId { place, number: self.clients.list[place].number });
        for key in &modified.keys {
            self.has_broadcasts |= self.instances[id].tracking.note(key, conn);
            self.invalidate(id, conn, key);
        }
        if modified.is_flushed {
            self.invalidate_all(id, conn);
        }
    }

    /// Replicas execute what their master has executed, at once or when the stream reaches them.
    fn tell_replicas_trackers(&mut self, id: InstanceId, modified: &Modified) {
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset)) else { return };
        if dataset.owner != id {
            return;
        }
        let (is_lockstep, offset) = (dataset.is_lockstep, dataset.offset);
        let followers: Vec<InstanceId> =
            dataset.followers.iter().filter(|follower| !follower.is_apart).map(|follower| follower.instance).collect();
        for follower in followers {
            let table = &mut self.instances[follower].tracking;
            if table.is_idle() {
                continue;
            }
            if is_lockstep {
                self.tell_trackers_of(follower, None, modified);
                continue;
            }
            table.pending_keys += modified.keys.len();
            if table.pending_keys > PENDING_MAX {
                table.pending.clear();
                table.pending_keys = 0;
                table.pending.push_back((offset, Modified { keys: Vec::new(), is_flushed: true }));
            } else {
                table.pending.push_back((offset, modified.clone()));
            }
        }
    }

    /// The stream has reached a replica up to this position.
    pub(crate) fn tell_trackers_up_to(&mut self, id: InstanceId, position: u64) {
        while self.instances[id].tracking.pending.front().is_some_and(|(at, _)| *at <= position) {
            let table = &mut self.instances[id].tracking;
            let Some((_, modified)) = table.pending.pop_front() else { return };
            table.pending_keys -= modified.keys.len().min(table.pending_keys);
            self.tell_trackers_of(id, None, &modified);
        }
    }

    /// An instance's data are others now: whatever clients hold is worth nothing.
    pub(crate) fn tell_trackers_all(&mut self, id: InstanceId) {
        let table = &mut self.instances[id].tracking;
        table.pending.clear();
        table.pending_keys = 0;
        if !table.is_idle() {
            self.invalidate_all(id, None);
        }
    }

    fn invalidate(&mut self, id: InstanceId, by: Option<ConnId>, key: &[u8]) {
        for conn in self.instances[id].tracking.forget(key) {
            let tracking = self.clients.get(conn).and_then(|client| client.tracking.as_ref());
            let is_told = tracking.is_some_and(|tracking| {
                // What it read before it switched to BCAST mode is told there.
                !(tracking.broadcasts || tracking.no_loop && by == Some(conn))
            });
            if is_told {
                self.send_invalidation(conn, by, &Forgotten::Keys(&[key]));
            }
        }
    }

    fn invalidate_all(&mut self, id: InstanceId, by: Option<ConnId>) {
        for place in self.clients.of(id) {
            let client = &self.clients.list[place];
            if client.tracking.is_some() {
                let conn = ConnId { place, number: client.number };
                self.send_invalidation(conn, by, &Forgotten::Everything);
            }
        }
        self.instances[id].tracking.forget_all();
    }

    /// Tells clients in BCAST mode what has changed since they were last told.
    pub(crate) fn broadcast_invalidations(&mut self) {
        if !std::mem::take(&mut self.has_broadcasts) {
            return;
        }
        for id in 0..self.instances.len() {
            let mut told: Vec<(Vec<ConnId>, Changed)> = Vec::new();
            for state in self.instances[id].tracking.prefixes.values_mut() {
                let changed = std::mem::take(&mut state.changed);
                if !changed.is_empty() {
                    told.push((state.clients.iter().copied().collect(), changed));
                }
            }
            for (conns, changed) in told {
                for conn in conns {
                    let tracking = self.clients.get(conn).and_then(|client| client.tracking.as_ref());
                    let no_loop = tracking.is_some_and(|tracking| tracking.no_loop);
                    let foreign = changed.iter().filter(|(_, by)| !no_loop || **by != Some(conn));
                    let keys: Vec<&[u8]> = foreign.map(|(key, _)| key.as_slice()).collect();
                    if !keys.is_empty() {
                        self.send_invalidation(conn, None, &Forgotten::Keys(&keys));
                    }
                }
            }
        }
    }

    /// Tells a client, or the one to whom it redirects. `by`: whose request runs, whose reply comes first.
    fn send_invalidation(&mut self, conn: ConnId, by: Option<ConnId>, forgotten: &Forgotten<'_>) {
        let is_there = |conn| self.clients.get(conn).filter(|client| !client.is_closing);
        let Some(client) = is_there(conn) else { return };
        let redirect = client.tracking.as_ref().and_then(|tracking| tracking.redirect);
        let receiver = redirect.unwrap_or(conn);
        let mut bytes = Vec::new();
        match is_there(receiver) {
            None => {
                if client.is_resp3 {
                    let mut out = Reply::new(&mut bytes, true);
                    out.push(2);
                    out.bulk(b"tracking-redir-broken");
                    out.integer(i64::try_from(receiver.number).unwrap_or(i64::MAX));
                    self.push_to(conn, by, bytes);
                }
                if let Some(tracking) = &mut self.clients.list[conn.place].tracking {
                    tracking.is_broken = true;
                }
            }
            Some(client) => {
                let mut out = Reply::new(&mut bytes, client.is_resp3);
                if client.is_resp3 {
                    out.push(2);
                    out.bulk(b"invalidate");
                } else if redirect.is_some() && client.subscriptions() > 0 {
                    out.push(3);
                    out.bulk(b"message");
                    out.bulk(CHANNEL);
                } else {
                    // RESP2 has no way to tell a client what it did not ask for.
                    return;
                }
                match forgotten {
                    Forgotten::Keys(keys) => {
                        out.array(keys.len());
                        keys.iter().for_each(|key| out.bulk(key));
                    }
                    Forgotten::Everything => out.null(),
                }
                self.push_to(receiver, by, bytes);
            }
        }
    }

    /// A push for the client whose request runs follows its reply.
    fn push_to(&mut self, conn: ConnId, by: Option<ConnId>, bytes: Vec<u8>) {
        if by == Some(conn) || self.evicting_for == Some(conn.place) {
            self.own_pushes.push((conn.place, bytes));
        } else {
            self.deliver_to(conn.place, bytes, false, false);
        }
    }

    /// Appends what a client is to be told beyond the reply to its request.
    pub(crate) fn append_own_pushes(&mut self, place: usize, out: &mut Vec<u8>) {
        self.own_pushes.retain(|(of, bytes)| {
            if *of == place {
                out.extend_from_slice(bytes);
            }
            *of != place
        });
    }
}
