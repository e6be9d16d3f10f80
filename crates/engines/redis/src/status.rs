//! What `atoll status` and the console show of the cluster.

use atoll_kernel::Context;
use atoll_net::Peer;
use serde_json::{Value, json};

use crate::clients::Access;
use crate::cluster::{InstanceId, Run};
use crate::core::Cluster;

impl Cluster {
    /// What every instance believes and holds, as a JSON array: one object for each instance, primaries first.
    pub fn status(&self, ctx: &Context<'_>) -> Value {
        (0..self.instances.len()).map(|id| self.instance_status(ctx, id)).collect()
    }

    fn instance_status(&self, ctx: &Context<'_>, id: InstanceId) -> Value {
        let instance = &self.instances[id];
        let access = Access { peer: Peer::Host, is_tls: instance.port == 0 };
        let (ip, port) = self.advertised(ctx, id, access);
        let run = match instance.run {
            Run::Up => "running",
            Run::Paused => "paused",
            Run::Down => "down",
        };
        let dataset = instance.dataset.and_then(|dataset| self.datasets.get(dataset));
        let overlay = dataset.and_then(|set| set.follower(id).map(|index| set.followers[index].overlay.len()));
        let slots: Vec<String> = if self.config.settings.is_cluster {
            instance.view.ranges(id).iter().map(|(first, last)| format!("{first}-{last}")).collect()
        } else {
            Vec::new()
        };
        let replica_of = instance.link.master.map(|master| {
            let (ip, port) = self.advertised(ctx, master, access);
            format!("{ip}:{port}")
        });
        json!({
            "id": instance.name,
            "node": instance.node.0,
            "address": format!("{ip}:{port}"),
            "run": run,
            "role": if instance.link.master.is_some() { "replica" } else { "master" },
            "replica_of": replica_of,
            "master_link": instance.link.master.map(|_| if instance.link.is_up { "up" } else { "down" }),
            "slots": slots,
            "state": if instance.view.is_ok { "ok" } else { "fail" },
            "epoch": instance.view.epoch_of(id),
            "keys": dataset.map_or(0, |set| set.databases.iter().map(crate::state::Keyspace::len).sum::<usize>()),
            "keys_diverged": overlay.unwrap_or(0),
            "offset": self.offset_of(id),
            "replicas": instance.attached.len(),
            "clients": self.clients.of(id).len(),
            "commands": instance.stats.commands,
        })
    }
}
