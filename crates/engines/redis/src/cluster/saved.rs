//! What instances write down of the cluster, as Redis does in `nodes.conf`: a stack that starts again finds its roles, slots
//! and epochs as they were.

use std::collections::BTreeMap;

use atoll_kernel::Context;
use serde::{Deserialize, Serialize};

use super::instance::{InstanceId, Peer, View};
use super::replication::{Attached, MasterLink};
use crate::core::Cluster;
use crate::state::Dataset;

/// The length of a name.
const NAME_DIGITS: usize = 40;
/// No cluster lives long enough for a greater epoch, and from this one it can count on.
const EPOCH_MAX: u64 = u64::MAX / 2;

#[derive(Serialize, Deserialize)]
struct Saved {
    instances: Vec<SavedInstance>,
    /// The owner of each dataset, by the dataset's number.
    owners: BTreeMap<usize, InstanceId>,
}

#[derive(Serialize, Deserialize)]
struct SavedInstance {
    name: String,
    shard: String,
    dataset: Option<usize>,
    current_epoch: u64,
    last_vote_epoch: u64,
    /// Those that it knows, itself included.
    peers: BTreeMap<InstanceId, SavedPeer>,
    migrating: BTreeMap<u16, InstanceId>,
    importing: BTreeMap<u16, InstanceId>,
}

#[derive(Serialize, Deserialize)]
struct SavedPeer {
    master: Option<InstanceId>,
    config_epoch: u64,
    slots: Vec<(u16, u16)>,
}

impl Cluster {
    /// The configuration of the cluster as every instance has it, to be kept; None of a single server.
    pub fn configuration(&self) -> Option<Vec<u8>> {
        if !self.config.settings.is_cluster {
            return None;
        }
        let peers = |view: &View| {
            let saved = |id: InstanceId| {
                let Peer { master, config_epoch, .. } = view.peers[id];
                (id, SavedPeer { master, config_epoch, slots: view.ranges(id).to_vec() })
            };
            view.known().map(saved).collect()
        };
        let instance = |instance: &super::Instance| SavedInstance {
            name: instance.name.clone(),
            shard: instance.shard.clone(),
            dataset: instance.dataset,
            current_epoch: instance.view.current_epoch,
            last_vote_epoch: instance.view.last_vote_epoch,
            peers: peers(&instance.view),
            migrating: instance.view.migrating.clone(),
            importing: instance.view.importing.clone(),
        };
        let owners = self.datasets.iter().map(|(index, dataset)| (index, dataset.owner)).collect();
        serde_json::to_vec(&Saved { instances: self.instances.iter().map(instance).collect(), owners }).ok()
    }

    /// Takes a configuration over, before any client comes. False if it is none, or of a cluster of another size.
    pub fn restore_configuration(&mut self, ctx: &Context<'_>, bytes: &[u8]) -> bool {
        let Ok(saved) = serde_json::from_slice::<Saved>(bytes) else { return false };
        let count = self.instances.len();
        if !saved.is_sound(count) || !self.config.settings.is_cluster {
            return false;
        }
        self.restore_datasets(&saved);
        for (id, from) in saved.instances.into_iter().enumerate() {
            let instance = &mut self.instances[id];
            (instance.name, instance.shard) = (from.name, from.shard);
            let mut view = View::new(vec![Peer::default(); count]);
            (view.current_epoch, view.last_vote_epoch) = (from.current_epoch, from.last_vote_epoch);
            (view.migrating, view.importing) = (from.migrating, from.importing);
            for (other, peer) in from.peers {
                let SavedPeer { master, config_epoch, slots } = peer;
                view.peers[other] = Peer { is_known: true, master, config_epoch, ..Peer::default() };
                view.assign(&slots, other);
            }
            view.size = view.peers.iter().filter(|peer| peer.slots > 0).count();
            view.is_ok = false;
            instance.attached.clear();
            instance.link = MasterLink::none();
            instance.view = view;
        }
        for id in 0..count {
            self.restore_link(ctx, id);
        }
        self.follow_sync_policy();
        self.wake_bus(ctx);
        for id in 0..count {
            self.update_state(ctx, id);
        }
        true
    }

    fn restore_datasets(&mut self, saved: &Saved) {
        let settings = self.config.settings.clone();
        let members = |index: usize| {
            let has_it = move |(_, instance): &(InstanceId, &SavedInstance)| instance.dataset == Some(index);
            saved.instances.iter().enumerate().filter(has_it).map(|(id, _)| id)
        };
        self.datasets = saved
            .owners
            .iter()
            .map(|(index, owner)| {
                // Whoever is a master by its own view has the truth; others stood aside.
                let is_master =
                    |id: &InstanceId| saved.instances[*id].peers.get(id).is_some_and(|own| own.master.is_none());
                let owner = members(*index).find(is_master).unwrap_or(*owner);
                let mut dataset = Dataset::new(owner, settings.databases, settings.has_log);
                members(*index).filter(|id| *id != owner).for_each(|id| dataset.join(id));
                (*index, dataset)
            })
            .collect();
        for (id, instance) in saved.instances.iter().enumerate() {
            self.instances[id].dataset = instance.dataset;
        }
        for id in 0..self.instances.len() {
            if self.instances[id].dataset.is_none() {
                self.begin_dataset(id);
            }
        }
        self.name_histories();
    }

    fn restore_link(&mut self, ctx: &Context<'_>, id: InstanceId) {
        let Some(master) = self.instances[id].view.peers[id].master else { return };
        let follows = self.instances[id].dataset.is_some_and(|dataset| self.datasets[dataset].owner == master);
        if follows {
            self.instances[id].link = MasterLink::up(master, ctx.now());
            self.instances[master].attached.insert(id, Attached::new(ctx.now()));
        } else {
            self.instances[id].link = MasterLink::down(master, None, ctx.now());
        }
    }
}

impl Saved {
    /// True if every number in it names something: the file may be another stack's, or somebody's work.
    fn is_sound(&self, count: usize) -> bool {
        let is_instance = |id: &InstanceId| *id < count;
        let slot_max = super::slots::SLOTS as u16;
        let peer_is_sound = |peer: &SavedPeer| {
            peer.master.as_ref().is_none_or(is_instance)
                && peer.slots.iter().all(|(first, last)| first <= last && *last < slot_max)
        };
        let moves_are_sound =
            |moves: &BTreeMap<u16, InstanceId>| moves.iter().all(|(slot, id)| *slot < slot_max && is_instance(id));
        let mut used = std::collections::BTreeSet::new();
        let is_name = |name: &str| name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let names: std::collections::BTreeSet<&str> =
            self.instances.iter().map(|instance| instance.name.as_str()).collect();
        let is_epoch = |epoch: u64| epoch <= EPOCH_MAX;
        let instance_is_sound = |(id, instance): (InstanceId, &SavedInstance)| {
            instance.peers.contains_key(&id)
                && is_name(&instance.name)
                && is_name(&instance.shard)
                && is_epoch(instance.current_epoch)
                && is_epoch(instance.last_vote_epoch)
                && instance.peers.values().all(|peer| is_epoch(peer.config_epoch))
                && instance.peers.iter().all(|(other, peer)| peer.master != Some(*other))
                && instance.peers.iter().all(|(other, peer)| is_instance(other) && peer_is_sound(peer))
                && moves_are_sound(&instance.migrating)
                && moves_are_sound(&instance.importing)
        };
        let datasets: Vec<usize> = self.instances.iter().filter_map(|instance| instance.dataset).collect();
        used.extend(datasets.iter().copied());
        self.instances.len() == count
            && names.len() == count
            && self.instances.iter().enumerate().all(instance_is_sound)
            && self.owners.len() <= count
            && self
                .owners
                .iter()
                .all(|(index, owner)| *index <= 2 * count && is_instance(owner) && used.contains(index))
            && datasets.iter().all(|index| self.owners.contains_key(index))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atoll_kernel::{NodeId, Seed, Simulation};

    use crate::{Cluster, Config};

    fn cluster() -> Simulation<Cluster> {
        let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
        Simulation::new(3, Seed(1), |ctx| Cluster::new(ctx, Config::default(), &ids))
    }

    #[test]
    fn whatever_is_in_the_file_is_refused_or_the_cluster_lives_on_with_it() {
        let whole = cluster().core.configuration().expect("a cluster has one");
        let mut stream = Seed(7).stream("damage", 0);
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let mut bytes = whole.clone();
            for _ in 0..=stream.below(3) {
                let place = stream.below(bytes.len() as u64) as usize;
                match stream.below(3) {
                    0 => bytes[place] = b"0123456789{}[],:\"n"[stream.below(18) as usize],
                    1 => drop(bytes.remove(place)),
                    _ => bytes.insert(place, b"0123456789"[stream.below(10) as usize]),
                }
            }
            let mut sim = cluster();
            if sim.call(|core, ctx| core.restore_configuration(ctx, &bytes)) {
                sim.run_for(Duration::from_secs(2));
                taken += 1;
            } else {
                refused += 1;
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }
}
