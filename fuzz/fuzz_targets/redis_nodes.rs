//! Any bytes as `nodes.json`, the configuration that a cluster left: it is refused, or the cluster goes on with it, and what it
//! saves then is taken again.

#![no_main]

use std::time::Duration;

use atoll_fuzz as _;
use atoll_kernel::{NodeId, Seed, Simulation};
use atoll_redis::{Cluster, Config};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut first = cluster();
    if !first.call(|cluster, ctx| cluster.restore_configuration(ctx, input)) {
        return;
    }
    let saved = first.core.configuration().expect("a cluster has one");
    assert!(cluster().call(|cluster, ctx| cluster.restore_configuration(ctx, &saved)), "what was saved is refused");
    first.run_for(Duration::from_secs(2));
});

fn cluster() -> Simulation<Cluster> {
    let ids: Vec<NodeId> = (1..=3).map(NodeId).collect();
    Simulation::new(3, Seed(1), |ctx| Cluster::new(ctx, Config::default(), &ids))
}
