//! Slots on the move: which are open, where a request on one goes, and how keys get from one instance to another.

use std::borrow::Cow;

use atoll_kernel::{Context, Link, NodeState, Verdict};
use atoll_net::Peer as Side;

use super::instance::{InstanceId, Run};
use super::replication::Cause;
use super::route::Route;
use super::slots::{SLOTS, slot_of};
use crate::clients::BlockedOn;
use crate::core::Cluster;
use crate::ops::Flags;
use crate::state::{Blob, Entry, Fingerprint, NEVER};
use crate::wire::OwnedRequest;

/// What is asked of a request's keys.
pub(crate) struct Question<'r> {
    pub(crate) keys: Vec<&'r [u8]>,
    pub(crate) flags: Flags,
    pub(crate) is_migrate: bool,
    pub(crate) is_asking: bool,
    pub(crate) reads_replica: bool,
}

/// Why a key could not be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MoveError {
    /// The target cannot be reached.
    Unreachable,
    /// The target answered with this error.
    Refused(Cow<'static, str>),
}

/// How MIGRATE writes at its target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MoveOptions {
    pub(crate) database: usize,
    pub(crate) replaces: bool,
    pub(crate) copies: bool,
}

impl Cluster {
    /// True if slots come or go at this instance, so that its keys decide where a request belongs.
    #[inline]
    pub(crate) fn has_open_slots(&self, id: InstanceId) -> bool {
        let view = &self.instances[id].view;
        !view.migrating.is_empty() || !view.importing.is_empty()
    }

    /// Where a request belongs while slots are open.
    pub(crate) fn decide_open(&mut self, ctx: &Context<'_>, id: InstanceId, question: &Question<'_>) -> Route {
        let Some(first) = question.keys.first() else { return Route::Here };
        let slot = slot_of(first);
        let Some(owner) = self.instances[id].view.owner(slot) else { return Route::Unserved };
        if question.keys.iter().any(|key| slot_of(key) != slot) {
            return Route::CrossSlot;
        }
        let view = &self.instances[id].view;
        let migrating_to = view.migrating.get(&slot).copied().filter(|_| owner == id);
        let is_importing = migrating_to.is_none() && view.importing.contains_key(&slot);
        if let Some(refusal) = self.refused_when_down(id, question.flags) {
            return refusal;
        }
        let is_channel = question.flags.has(Flags::SHARDED_PUBSUB);
        let is_open = migrating_to.is_some() || is_importing;
        if is_open && question.is_migrate {
            return Route::Here;
        }
        let present = if is_open && !is_channel { self.count_present(ctx, id, &question.keys) } else { 0 };
        let missing = if is_open && !is_channel { question.keys.len() - present } else { 0 };
        if let Some(to) = migrating_to.filter(|_| missing > 0) {
            return if present > 0 { Route::TryAgain } else { Route::Ask { slot, to } };
        }
        if is_importing && question.is_asking {
            let are_many = question.keys.iter().any(|key| key != first);
            return if are_many && missing > 0 { Route::TryAgain } else { Route::Here };
        }
        let is_my_master = self.instances[id].view.peers[id].master == Some(owner);
        let can_read = question.reads_replica || is_channel;
        if owner == id || is_my_master && can_read && !question.flags.has(Flags::WRITE) {
            return Route::Here;
        }
        Route::Moved { slot, to: owner }
    }

    fn refused_when_down(&self, id: InstanceId, flags: Flags) -> Option<Route> {
        let settings = &self.config.settings;
        if self.instances[id].view.is_ok {
            return None;
        }
        if flags.has(Flags::SHARDED_PUBSUB) {
            return (!settings.pubsubshard_when_down).then_some(Route::Down);
        }
        match (settings.reads_when_down, flags.has(Flags::WRITE)) {
            (false, _) => Some(Route::Down),
            (true, true) => Some(Route::DownReadOnly),
            (true, false) => None,
        }
    }

    fn count_present(&mut self, ctx: &Context<'_>, id: InstanceId, keys: &[&[u8]]) -> usize {
        let Some((db, _)) = self.db(ctx, id, None) else { return 0 };
        keys.iter().filter(|key| db.peek(key).is_some()).count()
    }

    /// How many keys of a slot an instance has.
    pub(crate) fn keys_in_slot(&mut self, ctx: &Context<'_>, id: InstanceId, slot: u16) -> Vec<Blob> {
        let Some((db, _)) = self.db(ctx, id, None) else { return Vec::new() };
        db.keys().filter(|key| slot_of(key) == slot).cloned().collect()
    }

    /// The slots of an instance changed: those who wait for keys that are another's now are sent there.
    pub(crate) fn redirect_waiters(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.clients.blocked == 0 {
            return;
        }
        for place in self.clients.of(id) {
            let client = &self.clients.list[place];
            let Some(BlockedOn::Keys { keys, .. }) = client.blocked.as_ref().map(|blocked| &blocked.on) else {
                continue;
            };
            let Some(slot) = keys.first().map(|(_, key)| slot_of(key)) else { continue };
            let view = &self.instances[id].view;
            let owner = view.owner(slot);
            if owner == Some(id) || view.importing.contains_key(&slot) {
                continue;
            }
            let route = owner.map_or(Route::Unserved, |to| Route::Moved { slot, to });
            let access = client.access();
            if let Some(line) = route.refusal(|to| self.advertised(ctx, to, access)) {
                self.end_wait_with(place, &line, false);
            }
        }
    }

    /// The instance that others of the cluster reach at an address, as seen by hosts or by pods.
    pub(crate) fn instance_at(&self, ctx: &Context<'_>, ip: &[u8], port: i64) -> Option<InstanceId> {
        let ip = std::str::from_utf8(ip).ok()?;
        let ip = if ip.eq_ignore_ascii_case("localhost") { "127.0.0.1" } else { ip };
        let ip: std::net::Ipv4Addr = ip.parse().ok()?;
        (0..self.instances.len()).find(|id| {
            let sides = [Side::Host, Side::Pod { node: self.instances[*id].node, ip: std::net::Ipv4Addr::UNSPECIFIED }];
            sides.into_iter().any(|side| {
                let (address, its_port) = self.advertised_on_bus(ctx, *id, side);
                address == ip && i64::from(its_port) == port
            })
        })
    }

    /// Moves, or copies, keys that exist here to another instance. What did not arrive stays. The first error, if any.
    pub(crate) fn move_keys(
        &mut self,
        ctx: &Context<'_>,
        (from, database): (InstanceId, usize),
        to: InstanceId,
        keys: &[Vec<u8>],
        options: MoveOptions,
    ) -> Result<(), MoveError> {
        self.check_reachable(ctx, from, to)?;
        let mut first_error = None;
        let mut moved: Vec<&[u8]> = Vec::new();
        for key in keys {
            let now_ms = ctx.wall(self.instances[from].node).as_millis();
            let entry = self.db_at(ctx, from, database).and_then(|db| db.peek(key).cloned());
            let Some(mut entry) = entry else { continue };
            if entry.expire_at_ms != NEVER {
                // What travels is the time that is left.
                let left_ms = (entry.expire_at_ms - now_ms).max(1);
                entry.expire_at_ms = ctx.wall(self.instances[to].node).as_millis() + left_ms;
            }
            match self.receive_key(ctx, to, key, entry, options) {
                Ok(()) => moved.push(key),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        if !options.copies && !moved.is_empty() {
            self.delete_moved(ctx, from, database, &moved);
        }
        first_error.map_or(Ok(()), Err)
    }

    fn check_reachable(&self, ctx: &Context<'_>, from: InstanceId, to: InstanceId) -> Result<(), MoveError> {
        let (source, target) = (self.instances[from].node, self.instances[to].node);
        let passes = |from, to| {
            from == to || matches!(ctx.judge(&Link::peers("redis", from, to)), Verdict::Pass | Verdict::Delay(_))
        };
        let is_up = self.instances[to].run == Run::Up && ctx.node_state(target) == NodeState::Running;
        if is_up && passes(source, target) && passes(target, source) { Ok(()) } else { Err(MoveError::Unreachable) }
    }

    /// RESTORE-ASKING at the target of a move.
    fn receive_key(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        key: &[u8],
        entry: Entry,
        options: MoveOptions,
    ) -> Result<(), MoveError> {
        let refused = |line: Cow<'static, str>| Err(MoveError::Refused(line));
        if self.config.settings.is_cluster {
            let (keys, flags) = (vec![key], Flags::WRITE);
            let question = Question { keys, flags, is_migrate: false, is_asking: true, reads_replica: false };
            let route = self.decide_open(ctx, id, &question);
            if let Some(line) = route.refusal(|to| self.advertised_on_bus(ctx, to, Side::Host)) {
                return refused(line);
            }
        }
        if let Err(refusal) = self.check_write(ctx, id) {
            return refused(refusal.line());
        }
        let mut commands = Vec::new();
        let Some(mut db) = self.db_at(ctx, id, options.database) else {
            return refused("LOADING Redis is loading the dataset in memory".into());
        };
        let is_there = db.exists(key);
        if is_there && !options.replaces {
            return refused("BUSYKEY Target key name already exists.".into());
        }
        if is_there {
            db.remove(key);
            commands.extend_from_slice(&OwnedRequest::new([b"DEL".as_slice(), key]).encoded());
        }
        crate::persistence::dump_entry(&mut commands, key, &entry);
        db.set_entry(key, entry);
        self.pass_on(ctx, id, options.database, &commands);
        self.serve_ready(ctx, id);
        Ok(())
    }

    pub(crate) fn delete_moved(&mut self, ctx: &Context<'_>, id: InstanceId, database: usize, keys: &[&[u8]]) {
        let Some(mut db) = self.db_at(ctx, id, database) else { return };
        for key in keys {
            db.remove(key);
        }
        self.pass_on_deletion(ctx, id, database, keys.iter().copied());
    }

    /// Keys are gone though no client deleted them.
    fn pass_on_deletion<'k>(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        database: usize,
        keys: impl Iterator<Item = &'k [u8]>,
    ) {
        let command = OwnedRequest::new(std::iter::once(b"DEL".as_slice()).chain(keys));
        self.pass_on(ctx, id, database, &command.encoded());
    }

    /// Slots that an instance owned are another's, by a claim of a newer epoch: keys that are left in them are nobody's, as in
    /// Redis. What the claimant never had is lost with them.
    pub(super) fn delete_keys_in(&mut self, ctx: &Context<'_>, id: InstanceId, claimant: InstanceId, slots: &[u16]) {
        let Some(db) = self.db_at(ctx, id, 0) else { return };
        let keys: Vec<Blob> = db.keys().filter(|key| slots.binary_search(&slot_of(key)).is_ok()).cloned().collect();
        if keys.is_empty() {
            return;
        }
        // A successor has all that was there when the branches parted, and whatever it lacked was named then.
        let is_successor = self.instances[id].dataset.is_some_and(|dataset| self.datasets[dataset].owner == claimant);
        let mut lost = Vec::new();
        for key in &keys {
            let is_kept = is_successor || self.has_same(ctx, id, claimant, key);
            let own_writes = self.db_at(ctx, id, 0).map_or(0, |mut db| db.disown(key));
            let writes = match (is_successor, is_kept) {
                (true, _) => own_writes,
                (false, true) => 0,
                (false, false) => own_writes.max(1),
            };
            if writes > 0 {
                lost.push((key.clone(), writes));
            }
        }
        self.record_lost(ctx, lost, &Cause::Claimed { by: claimant });
        self.pass_on_deletion(ctx, id, 0, keys.iter().map(Blob::as_slice));
    }

    /// True if another instance has the same key from the same source: equal values may also come from equal commands, of
    /// which both were acknowledged.
    pub(super) fn has_same(&mut self, ctx: &Context<'_>, id: InstanceId, other: InstanceId, key: &[u8]) -> bool {
        (self.is_revived(id, key) || self.is_revived(other, key))
            && self.fingerprint(ctx, id, key) == self.fingerprint(ctx, other, key)
    }

    /// True if a key has come back to an instance, after it had been moved or deleted, with a failover or a loss of power.
    pub(super) fn is_revived(&self, id: InstanceId, key: &[u8]) -> bool {
        self.instances[id].dataset.is_some_and(|dataset| self.datasets[dataset].is_revived(key))
    }

    fn fingerprint(&mut self, ctx: &Context<'_>, id: InstanceId, key: &[u8]) -> Option<Fingerprint> {
        self.db_at(ctx, id, 0)?.peek(key).map(|entry| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.append_entry(entry);
            fingerprint
        })
    }

    /// A master has loaded its data. Keys in slots of others mean that these are on their way here; slots of nobody that have
    /// keys are its own.
    pub(crate) fn match_slots_with_data(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if !self.config.settings.is_cluster || !self.is_master(id) {
            return;
        }
        let Some(db) = self.db_at(ctx, id, 0) else { return };
        let mut has_keys = vec![false; SLOTS];
        db.keys().for_each(|key| has_keys[usize::from(slot_of(key))] = true);
        let view = &mut self.instances[id].view;
        let (mut unowned, imported) = (Vec::new(), view.importing.len());
        for slot in (0..SLOTS as u16).filter(|slot| has_keys[usize::from(*slot)]) {
            match view.owner(slot) {
                None => unowned.push((slot, slot)),
                Some(owner) if owner != id => {
                    view.importing.entry(slot).or_insert(owner);
                }
                Some(_) => {}
            }
        }
        if unowned.is_empty() && view.importing.len() == imported {
            return;
        }
        view.assign(&unowned, id);
        self.wants_saving = true;
    }
}
