//! Bad disks. A broker has one log directory, and its metadata lies in it as well: when a write there fails, Kafka's broker
//! *halts*, without a word to the controller, since it has no directory left. What supervises it starts it again once its disk
//! is mended.
//!
//! A write that fails is answered with KAFKA_STORAGE_ERROR. Where nothing is produced or replicated, the broker finds out when
//! the next record of the metadata is due, which an idle controller writes every half second.

use std::time::Duration;

use atoll_kernel::{Context, DiskHealth, NodeId};

use super::{Cluster, Timer, runs};

/// Kafka's `metadata.max.idle.interval.ms`.
const METADATA_IDLE: Duration = Duration::from_millis(500);

impl Cluster {
    /// Whether a broker's process runs: its node does, and it has not halted.
    pub(crate) fn is_up(&self, ctx: &Context<'_>, node: NodeId) -> bool {
        runs(ctx, node) && !self.has_halted(node)
    }

    /// Whether a broker's process has ended by itself.
    pub fn has_halted(&self, node: NodeId) -> bool {
        self.brokers.get(&node).is_some_and(|broker| broker.halted)
    }

    /// The brokers that have halted since the last call: their connections end.
    pub fn take_halted(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.newly_halted)
    }

    /// Whether a broker can write. If it cannot, it will halt as soon as this moment's answers are given.
    pub(super) fn can_write(&mut self, ctx: &Context<'_>, node: NodeId) -> bool {
        let can = !is_bad(ctx, node);
        if !can {
            self.set_timer(ctx.now(), Timer::Halt(node));
        }
        can
    }

    pub(super) fn disk_changed(&mut self, ctx: &Context<'_>, node: NodeId) {
        if is_bad(ctx, node) {
            self.set_timer(ctx.now() + METADATA_IDLE, Timer::Halt(node));
        } else if self.has_halted(node) && runs(ctx, node) {
            self.start_broker(ctx, node);
        }
    }

    /// A broker's process starts, if its disk lets it.
    pub(super) fn start_broker(&mut self, ctx: &Context<'_>, node: NodeId) {
        let halted = is_bad(ctx, node);
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.halted = halted;
        }
        if halted {
            self.plane.process_ended(node);
            return ctx.trace(|| format!("{node} does not start: its log directory cannot be written"));
        }
        self.plane.process_started(node);
        self.boot_broker(ctx, node);
    }

    /// A broker ends itself if its disk is still bad.
    pub(super) fn halt(&mut self, ctx: &Context<'_>, node: NodeId) {
        if !is_bad(ctx, node) || !self.is_up(ctx, node) {
            return;
        }
        ctx.trace(|| format!("{node} halts: all of its log directories have failed"));
        self.remember_who_kept_up(ctx);
        if let Some(broker) = self.brokers.get_mut(&node) {
            broker.halted = true;
        }
        self.broker_died(node);
        self.plane.process_ended(node);
        self.newly_halted.push(node);
        self.retry = true;
        self.behind.extend(self.partitions.keys().copied());
    }
}

fn is_bad(ctx: &Context<'_>, node: NodeId) -> bool {
    !ctx.is_healthy() && matches!(ctx.disk(node), DiskHealth::Full | DiskHealth::Failing)
}
