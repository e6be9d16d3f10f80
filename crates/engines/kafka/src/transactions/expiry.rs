//! Transactional ids that nobody has used for `transactional.id.expiration.ms` are forgotten; whoever comes back with one
//! begins anew. What partitions know of producers goes after `producer.id.expiration.ms`.

use atoll_kernel::Context;

use super::{After, State};
use crate::cluster::Cluster;

impl Cluster {
    /// Coordinators look for transactional ids that have expired.
    pub(crate) fn expire_transactional_ids(&mut self, ctx: &Context<'_>) {
        let expiration_ms = self.config.transactions.transactional_id_expiration_ms;
        let mut expired = Vec::new();
        for ((node, _), loaded) in &self.transactions.loaded {
            if !self.is_up(ctx, *node) {
                continue;
            }
            let now_ms = ctx.wall(*node).as_millis();
            for (id, transaction) in &loaded.by_id {
                let rests = matches!(transaction.state, State::Empty | State::CompleteCommit | State::CompleteAbort);
                let is_old = transaction.updated_ms <= now_ms.saturating_sub(expiration_ms);
                if rests && is_old && !transaction.pending {
                    expired.push((*node, id.clone(), transaction.step(State::Dead, now_ms)));
                }
            }
        }
        for (node, id, dead) in expired {
            // Where that cannot be stored now the next look tries again.
            let _ = self.take_step(ctx, node, &id, dead, After::Nothing);
        }
    }

    /// Partitions forget producers that have been silent for long and have no transaction open.
    pub(crate) fn expire_producers(&mut self, ctx: &Context<'_>) {
        let expiration_ms = self.config.producer_id_expiration_ms;
        for partition in self.partitions.values_mut() {
            // By the clock of whoever leads; where nobody does, nobody asks.
            if let Some(leader) = partition.leaders().first() {
                partition.tree.expire_producers(ctx.wall(*leader).as_millis().saturating_sub(expiration_ms));
            }
        }
    }
}
