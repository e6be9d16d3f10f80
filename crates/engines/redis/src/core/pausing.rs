//! CLIENT PAUSE: clients of an instance wait, all of them or those that would write. DEBUG SLEEP: everybody does.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::{Cluster, admit::find};
use crate::cluster::{ClientPause, Instance, InstanceId};
use crate::ops::{Command, Flags};
use crate::wire::Request;

/// What changes data, or may be passed on to replicas.
const MAY_WRITE: Flags = Flags::WRITE.or(Flags::MAY_REPLICATE);

impl Cluster {
    /// Of two pauses the longer time and the stricter kind hold.
    pub(crate) fn pause_clients(&mut self, id: InstanceId, until: Moment, is_for_all: bool) {
        let earlier = self.instances[id].paused;
        let until = earlier.map_or(until, |pause| pause.until.max(until));
        let is_for_all = is_for_all || earlier.is_some_and(|pause| pause.is_for_all);
        self.instances[id].paused = Some(ClientPause { until, is_for_all });
    }

    /// Whoever waits goes on, in the order in which they came.
    pub(crate) fn unpause_clients(&mut self, ctx: &Context<'_>, id: InstanceId) {
        if self.instances[id].paused.take().is_some() {
            self.release_postponed(ctx, id);
        }
    }

    /// DEBUG SLEEP: an instance does nothing, neither for clients nor on the cluster bus.
    pub(crate) fn fall_asleep(&mut self, ctx: &Context<'_>, id: InstanceId, time: Duration) {
        let until = ctx.now() + time;
        let instance = &mut self.instances[id];
        instance.asleep_until = Some(instance.asleep_until.map_or(until, |earlier| earlier.max(until)));
        instance.busy_until = Some(instance.busy_until.map_or(until, |earlier| earlier.max(until)));
    }

    /// Pauses whose time is over end.
    pub(super) fn end_pauses(&mut self, ctx: &Context<'_>) {
        for id in 0..self.instances.len() {
            if self.instances[id].asleep_until.is_some_and(|until| until <= ctx.now()) {
                self.instances[id].asleep_until = None;
                self.release_postponed(ctx, id);
            }
            if self.instances[id].paused.is_some_and(|pause| pause.until <= ctx.now()) {
                self.unpause_clients(ctx, id);
            }
        }
    }

    pub(super) fn next_pause_end(&self) -> Option<Moment> {
        let ends =
            |instance: &Instance| instance.paused.map(|pause| pause.until).into_iter().chain(instance.asleep_until);
        self.instances.iter().flat_map(ends).min()
    }

    /// True while nothing may change: not even keys whose time has come.
    #[inline]
    pub(crate) fn stands_still(&self, id: InstanceId) -> bool {
        let instance = &self.instances[id];
        instance.paused.is_some() || instance.writes_wait_until.is_some() || instance.asleep_until.is_some()
    }

    /// True for a command that has to wait for the end of a pause, of a manual failover, or of a move of its keys.
    #[inline]
    pub(super) fn must_wait(&self, place: usize, command: &'static Command, request: Request<'_>) -> bool {
        let id = self.clients.list[place].instance;
        self.stands_still(id) && self.waits_while_paused(place, command, request)
            || !self.moving.is_empty() && self.writes_moving_key(place, command, request)
    }

    #[cold]
    fn waits_while_paused(&self, place: usize, command: &'static Command, request: Request<'_>) -> bool {
        let client = &self.clients.list[place];
        let instance = &self.instances[client.instance];
        if instance.asleep_until.is_some() || instance.paused.is_some_and(|pause| pause.is_for_all) {
            return true;
        }
        if command.name == "exec" {
            let queued = client.transaction.iter().flat_map(|transaction| &transaction.queue);
            let may_write = |request: Request<'_>| {
                find(request).is_ok_and(|command| self.may_write(client.instance, command, request))
            };
            return queued.into_iter().any(|queued| may_write(queued.as_request()));
        }
        self.may_write(client.instance, command, request)
    }

    /// A script writes unless its first line says that it does not.
    pub(super) fn may_write(&self, id: InstanceId, command: &'static Command, request: Request<'_>) -> bool {
        if command.flags.has(Flags::SCRIPT) {
            return self.script_command(id, command, request).flags.has(MAY_WRITE);
        }
        command.flags.has(MAY_WRITE)
    }
}
