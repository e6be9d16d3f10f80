//! Nodes that die, freeze, are cut off, and come back.

use super::*;
use crate::object::{condition, is_terminating};

fn readiness(world: &World, node: &str) -> String {
    let node = world.cluster.get(ResourceId::Nodes, "", node).expect("a node");
    text(condition(node, "Ready").expect("Ready"), "/status").to_owned()
}

fn web(world: &mut World, replicas: i64) {
    world.must("POST", SERVICES, &service("web"));
    world.must("POST", DEPLOYMENTS, &deployment("web", replicas, "web:1"));
}

#[test]
fn a_killed_node_is_not_ready_after_the_grace_period_and_evicted_after_the_toleration() {
    let mut world = World::new();
    web(&mut world, 3);
    world.node(2, Power::Off, true);
    assert_eq!(world.running.len(), 2, "its processes die at once");
    world.seconds(49);
    assert_eq!((readiness(&world, "node-2").as_str(), world.addresses("web", "/addresses")), ("True", 3));
    world.seconds(2);
    assert_eq!((readiness(&world, "node-2").as_str(), world.addresses("web", "/addresses")), ("Unknown", 2));
    assert_eq!(world.addresses("web", "/notReadyAddresses"), 1);
    world.seconds(298);
    assert_eq!(world.pods().len(), 3, "tolerated for 300 s");
    world.seconds(3);
    let (leaving, staying): (Vec<Value>, Vec<Value>) = world.pods().into_iter().partition(is_terminating);
    assert_eq!((leaving.len(), staying.len()), (1, 3), "nobody confirms the end, and a replacement runs");
    assert_eq!(text(&leaving[0], "/spec/nodeName"), "node-2");
    assert_eq!(world.ready_nodes().len(), 3);
    assert!(world.ready_nodes().iter().all(|node| node != "node-2"));
    assert!(world.told_about(name(&leaving[0])).iter().any(|(reason, _)| reason == "TaintManagerEviction"));
    world.node(2, Power::Running, true);
    assert_eq!(readiness(&world, "node-2"), "True");
    assert_eq!(world.pods().len(), 3, "its kubelet confirms the end");
    let node = world.cluster.get(ResourceId::Nodes, "", "node-2").expect("a node");
    assert!(items(node, "/spec/taints").is_empty());
}

#[test]
fn a_node_that_comes_back_in_time_restarts_its_pods() {
    let mut world = World::new();
    web(&mut world, 3);
    world.node(2, Power::Off, true);
    world.seconds(100);
    world.node(2, Power::Running, true);
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    let back = world.pods().into_iter().find(|pod| text(pod, "/spec/nodeName") == "node-2").expect("its pod");
    assert_eq!(int(&back, "/status/containerStatuses/0/restartCount"), Some(1));
    assert_eq!(int(&back, "/status/containerStatuses/0/lastState/terminated/exitCode"), Some(255));
    assert_eq!(world.addresses("web", "/addresses"), 3);
}

#[test]
fn a_node_that_is_cut_off_runs_on_and_obeys_when_it_is_back() {
    let mut world = World::new();
    web(&mut world, 3);
    world.node(3, Power::Running, false);
    world.seconds(400);
    assert_eq!(world.ready_nodes().len(), 3);
    assert_eq!(world.running.len(), 4, "the evicted pod still runs behind the cut");
    world.node(3, Power::Running, true);
    assert_eq!(world.running.len(), 3);
    assert_eq!(world.pods().len(), 3);
    assert_eq!(readiness(&world, "node-3"), "True");
}

#[test]
fn a_container_that_dies_behind_a_cut_is_restarted_there_and_told_later() {
    let mut world = World::new();
    web(&mut world, 3);
    world.node(3, Power::Running, false);
    let id = world.running.iter().find(|id| id.pod.node == "node-3").cloned().expect("it runs");
    let before = world.cluster.store().version();
    for event in world.exit(id.clone(), 137) {
        world.cluster.on_runtime_event(event);
    }
    world.run();
    assert_eq!(world.cluster.store().version(), before, "nothing is heard");
    assert!(world.running.contains(&ContainerId { attempt: 1, ..id }));
    world.node(3, Power::Running, true);
    let pod = world.pods().into_iter().find(|pod| text(pod, "/spec/nodeName") == "node-3").expect("its pod");
    assert_eq!(int(&pod, "/status/containerStatuses/0/restartCount"), Some(1));
}

#[test]
fn a_paused_node_is_lost_and_goes_on_where_it_was() {
    let mut world = World::new();
    web(&mut world, 3);
    world.node(2, Power::Paused, true);
    world.seconds(60);
    assert_eq!(readiness(&world, "node-2"), "Unknown");
    world.node(2, Power::Running, true);
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    let pod = world.pods().into_iter().find(|pod| text(pod, "/spec/nodeName") == "node-2").expect("its pod");
    assert_eq!(int(&pod, "/status/containerStatuses/0/restartCount"), Some(0));
}

#[test]
fn without_its_node_the_control_plane_does_nothing_and_catches_up_later() {
    let mut world = World::new();
    web(&mut world, 3);
    for node in 2..=3 {
        world.node(node, Power::Running, false);
    }
    world.node(1, Power::Off, true);
    world.seconds(1000);
    assert_eq!(world.pods().len(), 3, "no controller evicts");
    assert_eq!(world.running.len(), 2);
    world.node(1, Power::Running, true);
    for node in 2..=3 {
        world.node(node, Power::Running, true);
    }
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    assert_eq!(world.running.len(), 3);
}

#[test]
fn a_pod_can_tolerate_for_shorter_or_for_ever() {
    for (seconds, replaced_after) in [(Some(5), true), (None, false)] {
        let mut world = World::new();
        let mut wanted = deployment("web", 1, "web:1");
        let mut toleration =
            json!({"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"});
        if let Some(seconds) = seconds {
            toleration["tolerationSeconds"] = json!(seconds);
        }
        wanted["spec"]["template"]["spec"]["tolerations"] = json!([toleration]);
        world.must("POST", DEPLOYMENTS, &wanted);
        let home = text(&world.pods()[0], "/spec/nodeName").to_owned();
        let number: usize = home.trim_start_matches("node-").parse().expect("a number");
        assert_eq!(number, 1, "the first of equals");
        world.must("PATCH", "/api/v1/nodes/node-1", &json!({"spec": {"unschedulable": true}}));
        world.must("DELETE", &format!("{PODS}/{}", name(&world.pods()[0])), &Value::Null);
        let home = text(&world.pods()[0], "/spec/nodeName").to_owned();
        let number: usize = home.trim_start_matches("node-").parse().expect("a number");
        world.node(number, Power::Off, true);
        world.seconds(60);
        assert_eq!(world.ready_nodes().len() == 1, replaced_after, "{seconds:?}");
        world.seconds(10_000);
        assert_eq!(world.ready_nodes().len() == 1, replaced_after, "{seconds:?}");
    }
}

#[test]
fn a_healthy_cluster_asks_for_no_wake_of_its_own() {
    let mut world = World::new();
    web(&mut world, 3);
    world.seconds(7200);
    assert_eq!(world.cluster.next_wake(), None, "once the events have expired nothing is due");
    assert!(world.list(ResourceId::Events).is_empty());
}

/// Faults at random, many times: whatever happened, once all is healed every wanted pod runs exactly once.
#[test]
fn after_any_faults_a_healed_cluster_converges() {
    for seed in 0..12u64 {
        let mut world = World::of(Settings { seed, ..settings() }, Saved::default(), Duration::ZERO);
        web(&mut world, 6);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut draw = |bound: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % bound
        };
        for _ in 0..12 {
            let node = usize::try_from(draw(3)).unwrap_or(0) + 1;
            let power = [Power::Running, Power::Paused, Power::Off][usize::try_from(draw(3)).unwrap_or(0)];
            let connected = draw(2) == 0 || node == 1;
            world.node(node, power, connected);
            let replicas = draw(9);
            world.must("PATCH", &format!("{DEPLOYMENTS}/web/scale"), &json!({"spec": {"replicas": replicas}}));
            world.seconds(draw(400));
        }
        for node in 1..=3 {
            world.node(node, Power::Running, true);
        }
        world.must("PATCH", &format!("{DEPLOYMENTS}/web/scale"), &json!({"spec": {"replicas": 5}}));
        world.seconds(700);
        assert_eq!(world.ready_nodes().len(), 5, "seed {seed}");
        assert_eq!(world.pods().len(), 5, "seed {seed}");
        assert_eq!(world.running.len(), 5, "seed {seed}");
        assert_eq!(world.addresses("web", "/addresses"), 5, "seed {seed}");
    }
}
