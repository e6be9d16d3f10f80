//! The whole process ends and starts again from its disk.

use super::*;

fn reopened(world: &World, later: Duration) -> World {
    let objects: Vec<(String, Value)> = world.disk.iter().map(|(path, value)| (path.clone(), value.clone())).collect();
    let saved = Saved { version: world.cluster.store().version(), objects };
    World::of(settings(), saved, later)
}

#[test]
fn everything_is_back_and_pods_are_started_again() {
    let mut world = World::new();
    world.must("POST", SERVICES, &service("web"));
    world.must("POST", DEPLOYMENTS, &deployment("web", 3, "web:1"));
    let names: Vec<String> = world.pods().iter().map(|pod| name(pod).to_owned()).collect();
    let version = world.cluster.store().version();
    let mut world = reopened(&world, Duration::from_secs(5));
    assert_eq!(world.pods().iter().map(|pod| name(pod).to_owned()).collect::<Vec<_>>(), names);
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    assert_eq!(world.addresses("web", "/addresses"), 3);
    assert_eq!(int(&world.pods()[0], "/status/containerStatuses/0/restartCount"), Some(1));
    assert!(world.cluster.store().version() > version, "versions go on");
    let stale = world.call("GET", &format!("{PODS}?watch=1&resourceVersion={version}"), &Value::Null);
    assert!(stale.is_ok(), "a watch that resumes is told inside the stream that it is too old");
    assert!(world.cluster.events_after(version - 1).is_none());
}

#[test]
fn a_restart_in_the_middle_of_a_rollout_or_a_deletion_finishes_it() {
    let mut world = World::new();
    world.must("POST", DEPLOYMENTS, &deployment("web", 3, "web:1"));
    world.must("POST", PODS, &pod("a", "web:1", "Always"));
    world.stubborn.insert("app".to_owned());
    world.must("DELETE", &format!("{PODS}/a"), &Value::Null);
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:2"}]}}}});
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &patch);
    let world = reopened(&world, Duration::from_secs(1));
    assert_eq!(world.pods().len(), 3);
    assert!(world.pods().iter().all(|pod| text(pod, "/spec/containers/0/image") == "web:2"));
    assert_eq!(world.ready_nodes().len(), 3);
}

#[test]
fn names_and_uids_are_never_given_twice() {
    let mut seen = BTreeSet::new();
    let mut world = World::new();
    for round in 0..5 {
        world.must("POST", DEPLOYMENTS, &deployment(&format!("web-{round}"), 2, "web:1"));
        for object in world.list(ResourceId::Pods).iter().chain(&world.list(ResourceId::ReplicaSets)) {
            seen.insert(crate::object::uid(object).to_owned());
        }
        world = reopened(&world, Duration::from_secs(round));
    }
    assert_eq!(seen.len(), 15);
}
