//! Which instances there are, and how slots and roles are dealt at the start.

use atoll_kernel::{Context, Moment, NodeId};

use super::instance::{Instance, Peer, Run, Stats, View};
use super::replication::MasterLink;
use super::slots::SLOTS;
use crate::acl::Acl;
use crate::config::Settings;
use crate::state::Dataset;

/// The shards of a cluster; fewer nodes carry the same shards.
const SHARDS: usize = 3;
/// How far the port of a node's replica instance is from that of its primary instance; the one between is for TLS.
const REPLICA_PORT_STEP: u16 = 2;

/// The instances and datasets of a fresh cluster over `nodes`, or of a single server.
///
/// Primary instances first: shard s on node s, then their replicas, shard s's on the node after it. More than three nodes
/// make as many shards.
pub(crate) fn build(ctx: &Context<'_>, settings: &Settings, nodes: &[NodeId]) -> (Vec<Instance>, Vec<Dataset>) {
    let Some(first) = nodes.first().copied() else { return (Vec::new(), Vec::new()) };
    if !settings.is_cluster {
        let mut instance = instance(ctx, settings, first, 0, (0, 1));
        instance.dataset = Some(0);
        return (vec![instance], vec![Dataset::new(0, settings.databases, settings.has_log)]);
    }
    let shards = nodes.len().max(SHARDS);
    let count = shards * 2;
    let mut carried = std::collections::BTreeMap::<NodeId, u16>::new();
    let mut port_step = |node: NodeId, is_replica: bool| {
        let taken = carried.entry(node).or_default();
        *taken += 1;
        let usual = if is_replica { REPLICA_PORT_STEP } else { 0 };
        // A node that carries more than its share puts the others further up.
        if nodes.len() >= SHARDS { usual } else { (*taken - 1) * REPLICA_PORT_STEP }
    };
    let mut instances = Vec::with_capacity(count);
    for index in 0..count {
        let is_replica = index >= shards;
        let node = nodes[(index % shards + usize::from(is_replica)) % nodes.len()];
        let mut instance = instance(ctx, settings, node, port_step(node, is_replica), (index, count));
        instance.dataset = Some(index % shards);
        instance.shard = hex_name(ctx, "redis.name", (index % shards) as u64).chars().rev().collect();
        instances.push(instance);
    }
    let view = first_view(shards, count);
    for (index, instance) in instances.iter_mut().enumerate() {
        instance.view = view.clone();
        if index >= shards {
            instance.link = MasterLink::up(index - shards, ctx.now());
        } else {
            instance.attached.insert(index + shards, super::Attached::new(ctx.now()));
        }
    }
    let datasets = (0..shards)
        .map(|shard| {
            let mut dataset = Dataset::new(shard, settings.databases, settings.has_log);
            dataset.join(shard + shards);
            dataset
        })
        .collect();
    (instances, datasets)
}

fn first_view(shards: usize, count: usize) -> View {
    let peers = (0..count)
        .map(|index| Peer {
            master: index.checked_sub(shards),
            // As `redis-cli --cluster create` numbers them: no two nodes begin in one epoch, though one is the other's replica.
            config_epoch: index as u64 + 1,
            is_known: true,
            ..Peer::default()
        })
        .collect();
    let mut view = View::new(peers);
    for shard in 0..shards {
        // As `redis-cli --cluster create` rounds.
        let bound = |shard: usize| ((SLOTS as f64 / shards as f64) * shard as f64).round() as usize;
        view.assign(&[(bound(shard) as u16, (bound(shard + 1) - 1) as u16)], shard);
    }
    view.current_epoch = count as u64;
    view.size = shards;
    view
}

fn instance(
    ctx: &Context<'_>,
    settings: &Settings,
    node: NodeId,
    port_step: u16,
    (index, count): (usize, usize),
) -> Instance {
    let on = |first: u16| if first == 0 { 0 } else { first.saturating_add(port_step) };
    Instance {
        node,
        port: on(settings.port),
        tls_port: on(settings.tls.port),
        name: hex_name(ctx, "redis.name", index as u64),
        shard: String::new(),
        writes_wait_until: None,
        paused: None,
        asleep_until: None,
        run: Run::Up,
        dataset: None,
        view: View::new(vec![Peer::default(); count]),
        interest: crate::state::Interest::default(),
        subscriptions: crate::pubsub::Subscriptions::default(),
        tracking: crate::tracking::TrackingTable::default(),
        acl: Acl::new(settings, None),
        link: MasterLink::none(),
        upstream: None,
        attached: std::collections::BTreeMap::new(),
        busy_until: None,
        inbox: std::collections::VecDeque::new(),
        loading_until: None,
        log_refuses: false,
        synced_before: 0,
        clock_ms: 0,
        clients_memory: 0,
        telemetry: crate::telemetry::Telemetry::default(),
        stats: Stats { started: Moment::ZERO.max(ctx.now()), ..Stats::default() },
    }
}

/// Forty hexadecimal digits, the same for the same seed: node names and replication ids.
pub(crate) fn hex_name(ctx: &Context<'_>, purpose: &str, ordinal: u64) -> String {
    let mut stream = ctx.random(purpose, ordinal);
    let digits = format!("{:016x}{:016x}{:016x}", stream.next_u64(), stream.next_u64(), stream.next_u64());
    digits[..40].to_owned()
}
