//! Keys that are left where nobody is sent for them.
//!
//! Which slots are on their way is known to the two masters alone: not to their replicas, and not after either has been told
//! otherwise. If a successor takes over from a master to which a slot was coming, or a move is given up half way, keys stay on a
//! node that does not own their slot. While a node says that the slot is open, `redis-cli --cluster fix` finds them. Once none
//! does, they are lost, as in Redis.

use atoll_kernel::Context;

use super::instance::{InstanceId, Run};
use super::replication::Cause;
use crate::core::Cluster;

impl Cluster {
    /// An instance may have keys in a slot that it does not own.
    pub(crate) fn note_import(&mut self, id: InstanceId, slot: u16) {
        self.bus.imports.entry(slot).or_default().insert(id);
    }

    /// An instance has taken over from another, with all its keys.
    pub(super) fn inherit_imports(&mut self, id: InstanceId, from: InstanceId) {
        for holders in self.bus.imports.values_mut().filter(|holders| holders.contains(&from)) {
            holders.insert(id);
        }
    }

    /// Names the keys that were left behind where a slot was closed. At a tick of the bus, so that the commands of one
    /// repair are judged together.
    pub(super) fn name_stranded(&mut self, ctx: &Context<'_>) {
        for (id, instance) in self.instances.iter().enumerate() {
            for slot in instance.view.importing.keys() {
                self.bus.imports.entry(*slot).or_default().insert(id);
            }
        }
        let closed: Vec<u16> = self.bus.imports.keys().copied().filter(|slot| !self.is_open(*slot)).collect();
        for slot in closed {
            let is_owner = |id: &InstanceId| self.instances[*id].view.owner(slot) == Some(*id);
            let owners: Vec<InstanceId> = (0..self.instances.len()).filter(is_owner).collect();
            if owners.is_empty() {
                continue;
            }
            let holders = self.bus.imports.remove(&slot).unwrap_or_default();
            // Those that are dead are asked when they are back, or have a successor.
            let (dead, living): (Vec<_>, Vec<_>) =
                holders.into_iter().partition(|id| self.instances[*id].run == Run::Down);
            dead.into_iter().for_each(|id| self.note_import(id, slot));
            for id in living.into_iter().filter(|id| !owners.contains(id)) {
                self.name_stranded_at(ctx, id, slot, &owners);
            }
        }
    }

    /// True if an instance that runs says that a slot is on its way.
    fn is_open(&self, slot: u16) -> bool {
        let living = self.instances.iter().filter(|instance| instance.run != Run::Down);
        living
            .map(|instance| &instance.view)
            .any(|view| view.importing.contains_key(&slot) || view.migrating.contains_key(&slot))
    }

    fn name_stranded_at(&mut self, ctx: &Context<'_>, id: InstanceId, slot: u16, owners: &[InstanceId]) {
        if !self.is_master(id) {
            return;
        }
        let mut lost = Vec::new();
        for key in self.keys_in_slot(ctx, id, slot) {
            // A key that came back after it had been moved is a copy of what its owner has, or had.
            let is_copy = self.is_revived(id, &key) || owners.iter().any(|owner| self.has_same(ctx, id, *owner, &key));
            if !is_copy {
                lost.push((key, 1));
            }
        }
        self.record_lost(ctx, lost, &Cause::Stranded { at: id, slot });
    }
}
