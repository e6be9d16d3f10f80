//! Deployments, replica sets, services, namespaces and owners.

use super::*;
use crate::object::{condition, has_condition};
use crate::state::EventKind;

#[test]
fn a_deployment_comes_up_spread_over_the_nodes_behind_its_service() {
    let mut world = World::new();
    world.must("POST", SERVICES, &service("web"));
    world.must("POST", DEPLOYMENTS, &deployment("web", 3, "web:1"));
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    assert_eq!(world.addresses("web", "/addresses"), 3);
    let live = world.object(ResourceId::Deployments, "web");
    assert_eq!(int(&live, "/status/availableReplicas"), Some(3));
    assert_eq!(text(condition(&live, "Progressing").expect("progress"), "/reason"), "NewReplicaSetAvailable");
    assert_eq!(live["status"]["observedGeneration"], live["metadata"]["generation"]);
    let slices = world.list(ResourceId::EndpointSlices);
    let own = slices.iter().find(|slice| crate::object::label(slice, "kubernetes.io/service-name") == Some("web"));
    assert_eq!(items(own.expect("a slice"), "/endpoints").len(), 3);
    for reason in ["Scheduled", "Pulled", "Created", "Started"] {
        let pod = name(&world.pods()[0]).to_owned();
        assert!(world.told_about(&pod).iter().any(|(told, _)| told == reason), "{reason}");
    }
}

/// Watches every state on the way: never more than replicas + maxSurge, never fewer than replicas − maxUnavailable.
#[test]
fn a_rolling_update_keeps_its_limits_in_every_state() {
    let mut world = World::new();
    let mut wanted = deployment("web", 4, "web:1");
    wanted["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}});
    world.must("POST", DEPLOYMENTS, &wanted);
    let before = world.cluster.store().version();
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:2"}]}}}});
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &patch);
    let mut pods: BTreeMap<String, Value> = BTreeMap::new();
    let events: Vec<_> = world.cluster.events_after(before).expect("history").cloned().collect();
    let mut seen_new = false;
    for pod in world.cluster.store().list_at(ResourceId::Pods, before).expect("history") {
        pods.insert(name(&pod).to_owned(), pod.as_ref().clone());
    }
    for event in events.iter().filter(|event| event.resource == ResourceId::Pods) {
        match event.kind {
            EventKind::Deleted => pods.remove(name(&event.object)),
            _ => pods.insert(name(&event.object).to_owned(), event.object.as_ref().clone()),
        };
        let active = pods.values().filter(|pod| !crate::object::is_terminating(pod));
        let (count, ready) =
            active.fold((0, 0), |(count, ready), pod| (count + 1, ready + i32::from(has_condition(pod, "Ready"))));
        assert!(count <= 5, "{count} pods");
        assert!(ready >= 3, "{ready} ready pods");
        seen_new |= text(&event.object, "/spec/containers/0/image") == "web:2";
    }
    assert!(seen_new);
    assert!(pods.values().all(|pod| text(pod, "/spec/containers/0/image") == "web:2"));
    assert_eq!(world.ready_nodes().len(), 4);
    assert_eq!(world.list(ResourceId::ReplicaSets).len(), 2, "the old set stays for undoing");
}

#[test]
fn a_rollout_to_an_image_that_is_not_there_stops_and_times_out() {
    let mut world = World::new();
    world.must("POST", DEPLOYMENTS, &deployment("web", 3, "web:1"));
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "absent"}]}}}});
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &patch);
    world.seconds(60);
    assert_eq!(world.ready_nodes().len(), 3, "the old pods serve");
    let reason = |world: &World| {
        let live = world.object(ResourceId::Deployments, "web");
        text(condition(&live, "Progressing").expect("progress"), "/reason").to_owned()
    };
    assert_eq!(reason(&world), "ReplicaSetUpdated");
    world.seconds(600);
    assert_eq!(reason(&world), "ProgressDeadlineExceeded");
}

#[test]
fn going_back_to_an_old_template_reuses_its_replica_set() {
    let mut world = World::new();
    world.must("POST", DEPLOYMENTS, &deployment("web", 2, "web:1"));
    let image =
        |image: &str| json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}});
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &image("web:2"));
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &image("web:1"));
    assert_eq!(world.list(ResourceId::ReplicaSets).len(), 2);
    let live = world.object(ResourceId::Deployments, "web");
    assert_eq!(crate::object::annotation(&live, "deployment.kubernetes.io/revision"), Some("3"));
}

#[test]
fn recreate_ends_every_old_pod_before_a_new_one_starts() {
    let mut world = World::new();
    let mut wanted = deployment("web", 2, "web:1");
    wanted["spec"]["strategy"] = json!({"type": "Recreate"});
    world.must("POST", DEPLOYMENTS, &wanted);
    world.stubborn.insert("app".to_owned());
    let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "web:2"}]}}}});
    world.must("PATCH", &format!("{DEPLOYMENTS}/web"), &patch);
    assert!(world.pods().iter().all(|pod| text(pod, "/spec/containers/0/image") == "web:1"), "the old ones still end");
    let stopping: Vec<ContainerId> = world.running.iter().cloned().collect();
    for id in stopping {
        for event in world.exit(id, 137) {
            world.cluster.on_runtime_event(event);
        }
    }
    world.run();
    assert!(world.pods().iter().all(|pod| text(pod, "/spec/containers/0/image") == "web:2"));
    assert_eq!(world.ready_nodes().len(), 2);
}

#[test]
fn scaling_goes_through_the_scale_subresource() {
    let mut world = World::new();
    world.must("POST", DEPLOYMENTS, &deployment("web", 1, "web:1"));
    let scale = world.must("GET", &format!("{DEPLOYMENTS}/web/scale"), &Value::Null);
    assert_eq!((text(&scale, "/kind"), int(&scale, "/spec/replicas")), ("Scale", Some(1)));
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = json!(5);
    let put = world.must("PUT", &format!("{DEPLOYMENTS}/web/scale"), &wanted);
    assert_eq!(text(&put, "/status/selector"), "app=web");
    assert_eq!(world.ready_nodes().len(), 5);
    assert_eq!(world.call("PUT", &format!("{DEPLOYMENTS}/web/scale"), &wanted).expect_err("stale").reason.code(), 409);
    world.must("PATCH", &format!("{DEPLOYMENTS}/web/scale"), &json!({"spec": {"replicas": 2}}));
    assert_eq!(world.ready_nodes().len(), 2);
}

#[test]
fn a_pod_that_does_not_fit_waits_until_there_is_room() {
    let mut world = World::new();
    let mut large = deployment("large", 4, "web:1");
    large["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "3"}});
    world.must("POST", DEPLOYMENTS, &large);
    assert_eq!(world.ready_nodes(), ["node-1", "node-2", "node-3"]);
    let waiting = world.pods().into_iter().find(|pod| text(pod, "/spec/nodeName").is_empty()).expect("one waits");
    let message = text(condition(&waiting, "PodScheduled").expect("told"), "/message").to_owned();
    assert!(message.starts_with("0/3 nodes are available: 3 Insufficient cpu."), "{message}");
    assert_eq!(world.told_about(name(&waiting)), [("FailedScheduling".to_owned(), 1)]);
    world.must("PATCH", &format!("{DEPLOYMENTS}/large/scale"), &json!({"spec": {"replicas": 3}}));
    assert_eq!(world.pods().len(), 3, "the one that waited was given up first");
    let mut small = pod("small", "web:1", "Always");
    small["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}});
    world.must("POST", PODS, &small);
    assert_eq!(text(&world.pod("small"), "/spec/nodeName"), "");
    world.must("DELETE", &format!("{DEPLOYMENTS}/large"), &Value::Null);
    assert_ne!(text(&world.pod("small"), "/spec/nodeName"), "");
}

#[test]
fn cordoned_and_selected_nodes_are_respected() {
    let mut world = World::new();
    world.must("PATCH", "/api/v1/nodes/node-2", &json!({"spec": {"unschedulable": true}}));
    world.must("POST", DEPLOYMENTS, &deployment("web", 4, "web:1"));
    assert_eq!(world.ready_nodes(), ["node-1", "node-1", "node-3", "node-3"]);
    let mut picky = pod("picky", "web:1", "Always");
    picky["spec"]["nodeSelector"] = json!({"kubernetes.io/hostname": "node-2"});
    world.must("POST", PODS, &picky);
    assert_eq!(text(&world.pod("picky"), "/spec/nodeName"), "");
    world.must("PATCH", "/api/v1/nodes/node-2", &json!({"spec": {"unschedulable": false}}));
    assert_eq!(text(&world.pod("picky"), "/spec/nodeName"), "node-2");
}

#[test]
fn owners_take_their_dependents_along_unless_told_otherwise() {
    for (policy, sets, pods) in [("Background", 0, 0), ("Foreground", 0, 0), ("Orphan", 1, 2)] {
        let mut world = World::new();
        world.must("POST", DEPLOYMENTS, &deployment("web", 2, "web:1"));
        world.must("DELETE", &format!("{DEPLOYMENTS}/web?propagationPolicy={policy}"), &Value::Null);
        assert!(world.list(ResourceId::Deployments).is_empty(), "{policy}");
        assert_eq!((world.list(ResourceId::ReplicaSets).len(), world.pods().len()), (sets, pods), "{policy}");
        // Whoever selects orphans adopts them.
        world.must("POST", DEPLOYMENTS, &deployment("web", 2, "web:1"));
        assert_eq!((world.list(ResourceId::ReplicaSets).len(), world.pods().len()), (1, 2), "{policy}");
    }
}

#[test]
fn a_finalizer_holds_an_object_until_it_is_removed() {
    let mut world = World::new();
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    world.must("POST", CONFIG_MAPS, &held);
    let pending = world.must("DELETE", &format!("{CONFIG_MAPS}/held"), &Value::Null);
    assert!(crate::object::is_terminating(&pending));
    let patch = json!([{"op": "remove", "path": "/metadata/finalizers"}]);
    world.must("PATCH", &format!("{CONFIG_MAPS}/held"), &patch);
    assert_eq!(world.call("GET", &format!("{CONFIG_MAPS}/held"), &Value::Null).expect_err("gone").reason.code(), 404);
}

#[test]
fn a_namespace_takes_everything_in_it_along() {
    let mut world = World::new();
    world.must("POST", "/api/v1/namespaces", &json!({"metadata": {"name": "shop"}}));
    world.must("POST", &DEPLOYMENTS.replace("default", "shop"), &deployment("web", 2, "web:1"));
    let accounts = world.must("GET", "/api/v1/namespaces/shop/serviceaccounts", &Value::Null);
    assert_eq!(text(&accounts, "/items/0/metadata/name"), "default");
    world.stubborn.insert("app".to_owned());
    let dying = world.must("DELETE", "/api/v1/namespaces/shop", &Value::Null);
    assert_eq!(text(&dying, "/status/phase"), "Terminating");
    let refusal = world
        .call("POST", "/api/v1/namespaces/shop/configmaps", &json!({"metadata": {"name": "late"}}))
        .expect_err("too late");
    assert_eq!((refusal.reason.code(), text(&refusal.details, "/causes/0/reason")), (403, "NamespaceTerminating"));
    world.must("GET", "/api/v1/namespaces/shop", &Value::Null);
    let stopping: Vec<ContainerId> = world.running.iter().cloned().collect();
    for id in stopping {
        for event in world.exit(id, 137) {
            world.cluster.on_runtime_event(event);
        }
    }
    world.run();
    assert_eq!(world.call("GET", "/api/v1/namespaces/shop", &Value::Null).expect_err("gone").reason.code(), 404);
}

#[test]
fn the_same_seed_gives_the_same_cluster() {
    let run = || {
        let mut world = World::new();
        world.must("POST", DEPLOYMENTS, &deployment("web", 5, "web:1"));
        world.node(2, Power::Off, true);
        world.seconds(400);
        world.disk.iter().map(|(path, value)| format!("{path} {value}\n")).collect::<String>()
    };
    assert_eq!(run(), run());
}
