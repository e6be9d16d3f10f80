//! Clients that wait: for a key, or for replicas.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::Cluster;
use crate::clients::{BlockedOn, SyncWish};
use crate::cluster::InstanceId;
use crate::ops::{Group, Then};
use crate::state::{Blob, Value};
use crate::wire::{OwnedRequest, Reply};

pub(super) const SENT_AWAY: &str =
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";

fn deadline(ctx: &Context<'_>, timeout_ms: u64) -> Option<Moment> {
    (timeout_ms > 0).then(|| ctx.now() + Duration::from_millis(timeout_ms))
}

impl Cluster {
    pub(super) fn park_on_keys(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        request: OwnedRequest,
        keys: &[Vec<u8>],
        timeout_ms: u64,
    ) {
        let client = &self.clients.list[place];
        let (id, database) = (client.instance, client.database);
        let mut names: Vec<(usize, Blob)> = Vec::new();
        for key in keys {
            let name = (database, Blob::from_slice(key));
            if !names.contains(&name) {
                self.instances[id].interest.awaited.entry(name.clone()).or_default().push(place);
                names.push(name);
            }
        }
        let on = BlockedOn::Keys { keys: names, request };
        self.clients.block(place, on, deadline(ctx, timeout_ms));
    }

    pub(super) fn park_on_replicas(
        &mut self,
        ctx: &Context<'_>,
        place: usize,
        wanted: usize,
        position: u64,
        timeout_ms: u64,
    ) {
        self.clients.block(place, BlockedOn::Replicas { wanted, position }, deadline(ctx, timeout_ms));
        let id = self.clients.list[place].instance;
        self.request_acknowledgements(ctx, id);
    }

    pub(super) fn park_on_syncs(&mut self, ctx: &Context<'_>, place: usize, wanted: SyncWish, timeout_ms: u64) {
        self.clients.block(place, BlockedOn::Syncs(wanted), deadline(ctx, timeout_ms));
        let id = self.clients.list[place].instance;
        self.request_acknowledgements(ctx, id);
    }

    /// Takes a client off the keys that it waits for, and ends its wait. The request, if it waited for keys.
    pub(crate) fn leave_keys(&mut self, place: usize) -> Option<BlockedOn> {
        let on = self.clients.unblock(place)?;
        if let BlockedOn::Keys { keys, .. } = &on {
            let id = self.clients.list[place].instance;
            let awaited = &mut self.instances[id].interest.awaited;
            for key in keys {
                if let Some(waiters) = awaited.get_mut(key) {
                    waiters.retain(|waiter| *waiter != place);
                    if waiters.is_empty() {
                        awaited.remove(key);
                    }
                }
            }
        }
        Some(on)
    }

    /// Keys have changed for which clients wait: the one that waits longest tries first.
    pub(crate) fn serve_ready(&mut self, ctx: &Context<'_>, id: InstanceId) {
        while !self.instances[id].interest.ready.is_empty() {
            let name = self.instances[id].interest.ready.remove(0);
            let waiters = self.instances[id].interest.awaited.get(&name).cloned().unwrap_or_default();
            for place in waiters {
                if self.may_be_served(ctx, place, &name) {
                    self.try_again(ctx, place);
                }
            }
        }
    }

    /// True if a key has become what a waiting client can take from. XREADGROUP is served in any case: it is an error to
    /// wait for a group that is gone.
    fn may_be_served(&mut self, ctx: &Context<'_>, place: usize, (database, key): &(usize, Blob)) -> bool {
        let Some(client) = self.clients.list.get(place) else { return false };
        let Some(BlockedOn::Keys { request, .. }) = client.blocked.as_ref().map(|blocked| &blocked.on) else {
            return false;
        };
        let Ok(command) = super::admit::find(request.as_request()) else { return true };
        let id = client.instance;
        let Some((mut db, _)) = self.db(ctx, id, None) else { return false };
        db.index = *database;
        let group = db.peek(key).and_then(|entry| match entry.value {
            Value::List(_) => Some(Group::List),
            Value::SortedSet(_) => Some(Group::SortedSet),
            Value::Stream(_) => Some(Group::Stream),
            _ => None,
        });
        group == Some(command.group) || command.name == "xreadgroup"
    }

    /// Executes a waiting client's request once more. It goes on waiting if there is still nothing for it.
    fn try_again(&mut self, ctx: &Context<'_>, place: usize) {
        let Some(client) = self.clients.list.get_mut(place) else { return };
        let is_resp3 = client.is_resp3;
        let Some(blocked) = client.blocked.as_mut() else { return };
        let BlockedOn::Keys { request, .. } = &mut blocked.on else { return };
        let request = std::mem::take(request);
        let mut out = Vec::new();
        let answer = match super::admit::find(request.as_request()) {
            // It may have lost what it was allowed when it began to wait.
            Ok(command) => self
                .permit_waiting(ctx, place, (command, request.as_request()))
                .and_then(|()| self.execute(ctx, place, command, request.as_request(), &mut out, true)),
            Err(refusal) => Err(refusal),
        };
        let id = self.clients.list[place].instance;
        self.end_unit(id, Some(place));
        match answer {
            Ok(Then::Block(_)) => {
                let blocked = self.clients.list.get_mut(place).and_then(|client| client.blocked.as_mut());
                if let Some(BlockedOn::Keys { request: place, .. }) = blocked.map(|blocked| &mut blocked.on) {
                    *place = request;
                }
                return;
            }
            Ok(_) => {}
            Err(refusal) => {
                out.clear();
                Reply::new(&mut out, is_resp3).error(&refusal.line());
            }
        }
        self.leave_keys(place);
        self.append_own_pushes(place, &mut out);
        self.deliver_to(place, out, true, false);
    }

    /// Replicas have acknowledged more, or more is on disk: those who waited for that are answered.
    pub(crate) fn wake_waiters(&mut self, _ctx: &Context<'_>, id: InstanceId) {
        if self.clients.waiting == 0 {
            return;
        }
        for place in self.clients.of(id) {
            let blocked = self.clients.list[place].blocked.as_ref();
            let mut out = Vec::new();
            match blocked.map(|blocked| &blocked.on) {
                Some(BlockedOn::Replicas { wanted, position }) => {
                    let count = self.replicas_at(id, *position);
                    if count < *wanted {
                        continue;
                    }
                    Reply::new(&mut out, false).count(count);
                }
                Some(BlockedOn::Syncs(wish)) => {
                    let syncs = self.syncs_at(id, wish.position);
                    if !wish.is_met_by(syncs) {
                        continue;
                    }
                    Reply::new(&mut out, false).syncs(syncs);
                }
                _ => continue,
            }
            self.clients.unblock(place);
            self.wait_is_over(place, None);
            self.deliver_to(place, out, true, false);
        }
    }

    /// Those whose patience has ended get nothing, or the number of replicas so far.
    pub(super) fn time_out_waiters(&mut self, ctx: &Context<'_>) {
        while let Some((_, place)) = self.clients.deadlines.first().copied().filter(|(at, _)| *at <= ctx.now()) {
            self.give_up(place);
        }
    }

    /// Answers a waiting client with nothing, or with the number of replicas so far.
    fn give_up(&mut self, place: usize) {
        let (id, is_resp3) = (self.clients.list[place].instance, self.clients.list[place].is_resp3);
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, is_resp3);
        match self.leave_keys(place) {
            Some(BlockedOn::Replicas { position, .. }) => reply.count(self.replicas_at(id, position)),
            Some(BlockedOn::Syncs(wish)) => reply.syncs(self.syncs_at(id, wish.position)),
            // Writes that are held back have no deadline; CLIENT UNBLOCK leaves them alone.
            Some(on @ BlockedOn::Postponed { .. }) => {
                self.clients.block(place, on, None);
                return;
            }
            Some(BlockedOn::Keys { request, .. }) => {
                let name = request.as_request().arg(0).to_ascii_lowercase();
                if matches!(name.as_slice(), b"blmove" | b"brpoplpush") { reply.null() } else { reply.null_array() }
            }
            Some(BlockedOn::Save { .. }) => reply.error("ERR"),
            Some(BlockedOn::Sleep) => reply.ok(),
            Some(BlockedOn::Script | BlockedOn::UserFile | BlockedOn::Target) | None => return,
        }
        self.wait_is_over(place, out.strip_prefix(b"-"));
        self.deliver_to(place, out, true, false);
    }

    /// CLIENT UNBLOCK: ends a wait as if its time were over, or with an error.
    pub(crate) fn end_wait(&mut self, place: usize, with_error: bool) {
        if self.runs_script(place) {
            return;
        }
        if with_error {
            self.end_wait_with(place, "UNBLOCKED client unblocked via CLIENT UNBLOCK", false);
        } else {
            self.give_up(place);
        }
    }

    /// True for a client whose script has not ended, whose file is being read or written, or whose keys are on their way.
    fn runs_script(&self, place: usize) -> bool {
        let blocked = self.clients.list.get(place).and_then(|client| client.blocked.as_ref());
        blocked.is_some_and(|blocked| blocked.on.is_busy())
    }

    /// A master has become a replica: whoever waits for its keys is sent away.
    pub(crate) fn send_blocked_away(&mut self, id: InstanceId) {
        self.end_key_waits(id, SENT_AWAY, true);
    }

    /// The cluster is down as this instance sees it: those who wait for keys are told.
    pub(crate) fn tell_blocked_of_failure(&mut self, id: InstanceId) {
        self.end_key_waits(id, "CLUSTERDOWN The cluster is down", false);
    }

    fn end_key_waits(&mut self, id: InstanceId, line: &str, closes: bool) {
        if self.clients.blocked == 0 {
            return;
        }
        for place in self.clients.of(id) {
            let blocked = self.clients.list[place].blocked.as_ref().map(|blocked| &blocked.on);
            let is_left = |on: &BlockedOn| on.is_busy() || matches!(on, BlockedOn::Postponed { .. } | BlockedOn::Sleep);
            if !blocked.is_none_or(is_left) {
                self.end_wait_with(place, line, closes);
            }
        }
    }

    /// Ends a client's wait with an error.
    pub(crate) fn end_wait_with(&mut self, place: usize, line: &str, closes: bool) {
        self.leave_keys(place);
        self.wait_is_over(place, Some(line.as_bytes()));
        let mut out = Vec::new();
        Reply::new(&mut out, false).error(line);
        self.deliver_to(place, out, true, closes);
    }

    /// Requests that were held back are executed, in the order of their clients.
    pub(crate) fn release_postponed(&mut self, ctx: &Context<'_>, id: InstanceId) {
        for place in self.clients.of(id) {
            let blocked = self.clients.list.get(place).and_then(|client| client.blocked.as_ref());
            if !matches!(blocked.map(|blocked| &blocked.on), Some(BlockedOn::Postponed { .. })) {
                continue;
            }
            let Some(BlockedOn::Postponed { request }) = self.clients.unblock(place) else { continue };
            let mut out = Vec::new();
            match self.run_request(ctx, place, request.as_request(), &mut out) {
                crate::Outcome::Done => self.deliver_to(place, out, true, false),
                crate::Outcome::Close => self.deliver_to(place, out, true, true),
                crate::Outcome::Parked if out.is_empty() => {}
                crate::Outcome::Parked => self.deliver_to(place, out, false, false),
            }
        }
    }

    /// True if a key that a client WATCHes has expired without anybody having looked at it.
    pub(crate) fn watched_key_expired(&mut self, ctx: &Context<'_>, place: usize) -> bool {
        let id = self.clients.list[place].instance;
        let watched = self.clients.list[place].watched.clone();
        let since_ms = self.clients.list[place].watched_since_ms;
        let Some((db, _)) = self.db(ctx, id, None) else { return false };
        watched.iter().any(|(database, key)| {
            db.dataset.databases[*database].get(key).is_some_and(|entry| {
                // SWAPDB may have put it here when its time had long come.
                entry.is_expired(db.now_ms) && !entry.is_expired(since_ms)
            })
        })
    }

    /// Deletes those of these keys whose time has come.
    pub(crate) fn expire_watched<'k>(&mut self, ctx: &Context<'_>, place: usize, keys: impl Iterator<Item = &'k [u8]>) {
        let id = self.clients.list[place].instance;
        let now_ms = self.db(ctx, id, None).map_or(0, |(db, _)| db.now_ms);
        let client = &mut self.clients.list[place];
        if client.watched.is_empty() {
            client.watched_since_ms = now_ms;
        }
        let Some((mut db, _)) = self.db(ctx, id, Some(place)) else { return };
        if db.follower.is_some() || !db.deletes_expired {
            return;
        }
        for key in keys {
            db.exists(key);
        }
        let (count, notices, is_lockstep) = (db.expired, db.notices.take(), db.dataset.is_lockstep);
        if count == 0 {
            return;
        }
        self.instances[id].stats.expired += count;
        if !is_lockstep {
            self.owed.push(id);
        }
        for touched in std::mem::take(&mut self.instances[id].interest.touched) {
            if let Some(client) = self.clients.list.get_mut(touched) {
                client.is_dirty = true;
            }
        }
        self.announce(id, notices);
        self.tell_trackers(id, None);
    }

    /// Forgets what a client WATCHes.
    pub(crate) fn unwatch(&mut self, place: usize) {
        let client = &mut self.clients.list[place];
        client.is_dirty = false;
        let id = client.instance;
        for name in std::mem::take(&mut client.watched) {
            let watched = &mut self.instances[id].interest.watched;
            if let Some(clients) = watched.get_mut(&name) {
                clients.retain(|other| *other != place);
                if clients.is_empty() {
                    watched.remove(&name);
                }
            }
        }
    }
}
