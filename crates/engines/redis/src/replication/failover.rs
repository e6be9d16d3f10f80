//! FAILOVER: a single server hands its place to a replica of its own, so that nothing is lost:
//! <https://redis.io/docs/latest/commands/failover/>.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::replicas::Stage;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::error::Refusal;

/// How often it is looked whether a replica has everything.
const PERIOD: Duration = Duration::from_millis(100);
/// Writes wait for as long as it takes.
const FOR_EVER: Duration = Duration::from_secs(365 * 86_400);

/// A failover that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Failover {
    id: InstanceId,
    target: Option<(String, i64)>,
    deadline: Option<Moment>,
    is_forced: bool,
    /// A replica has been chosen, and is asked to take over.
    pub(crate) is_handing_over: bool,
    due: Moment,
}

/// What FAILOVER asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct FailoverOptions {
    pub(crate) target: Option<(String, i64)>,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) is_forced: bool,
}

impl Cluster {
    /// `master_failover_state`.
    pub(crate) fn failover_state(&self) -> &'static str {
        match &self.replication.failover {
            None => "no-failover",
            Some(failover) if failover.is_handing_over => "failover-in-progress",
            Some(_) => "waiting-for-sync",
        }
    }

    pub(crate) fn fails_over(&self) -> bool {
        self.replication.failover.is_some()
    }

    /// FAILOVER: writes wait until a replica has everything.
    pub(crate) fn begin_failover(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        options: FailoverOptions,
    ) -> Result<(), Refusal> {
        if self.fails_over() {
            return Err(Refusal::text("ERR FAILOVER already in progress."));
        }
        if self.follows(id) {
            return Err(Refusal::text("ERR FAILOVER is not valid when server is a replica."));
        }
        if !self.has_replica_clients(id) {
            return Err(Refusal::text("ERR FAILOVER requires connected replicas."));
        }
        if options.is_forced && (options.timeout_ms.is_none() || options.target.is_none()) {
            return Err(Refusal::text(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        if let Some(target) = &options.target {
            let is_it = |place: usize, port: i64| port == target.1 && self.replica_address(place) == target.0;
            let found = self.replica_clients(id).find(|(place, replica)| is_it(*place, replica.listening_port));
            match found {
                None => return Err(Refusal::text("ERR FAILOVER target HOST and PORT is not a replica.")),
                Some((_, replica)) if replica.stage != Stage::Online => {
                    return Err(Refusal::text("ERR FAILOVER target replica is not online."));
                }
                Some(_) => {}
            }
        }
        let deadline = options.timeout_ms.map(|timeout_ms| ctx.now() + Duration::from_millis(timeout_ms));
        let (target, is_forced) = (options.target, options.is_forced);
        let failover = Failover { id, target, deadline, is_forced, is_handing_over: false, due: ctx.now() };
        self.replication.failover = Some(failover);
        self.pause_clients(id, ctx.now() + FOR_EVER, false);
        Ok(())
    }

    /// FAILOVER ABORT, and the end of one that found no replica in time: everything is as before.
    pub(crate) fn abort_failover(&mut self, ctx: &Context<'_>) -> Result<(), Refusal> {
        let Some(failover) = self.replication.failover.take() else {
            return Err(Refusal::text("ERR No failover in progress."));
        };
        if failover.is_handing_over {
            self.follow_nobody(ctx, failover.id);
        }
        self.unpause_clients(ctx, failover.id);
        Ok(())
    }

    /// The replica has taken over: this server follows it.
    pub(super) fn end_failover(&mut self, ctx: &Context<'_>) {
        if let Some(failover) = self.replication.failover.take() {
            self.unpause_clients(ctx, failover.id);
        }
    }

    /// Looks for a replica that has everything.
    pub(crate) fn tick_failover(&mut self, ctx: &Context<'_>) {
        let Some(mut failover) = self.replication.failover.clone().filter(|failover| failover.due <= ctx.now()) else {
            return;
        };
        failover.due = ctx.now() + PERIOD;
        self.replication.failover = Some(failover.clone());
        if failover.is_handing_over {
            return;
        }
        let id = failover.id;
        let is_late = failover.deadline.is_some_and(|deadline| deadline <= ctx.now());
        if is_late && !failover.is_forced {
            // There is one: it was just looked at.
            let _ = self.abort_failover(ctx);
            return;
        }
        let offset = self.offset_of(id);
        let level = self.replica_clients(id).find_map(|(place, replica)| {
            let address = (self.replica_address(place), replica.listening_port);
            let is_target = failover.target.as_ref().is_none_or(|target| *target == address);
            let is_level = replica.stage == Stage::Online && replica.acknowledged == offset;
            (is_target && is_level).then_some(address)
        });
        let Some((host, port)) = level.or(failover.target.filter(|_| is_late)) else { return };
        if let Some(failover) = &mut self.replication.failover {
            failover.is_handing_over = true;
        }
        self.follow_master(ctx, id, &host, u16::try_from(port).unwrap_or(0));
    }

    pub(crate) fn next_failover_wake(&self) -> Option<Moment> {
        self.replication.failover.as_ref().map(|failover| failover.due)
    }
}
