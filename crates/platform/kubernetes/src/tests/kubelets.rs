//! What becomes of containers: restarts, back-off, probes, ends, environment and volumes.

use super::*;
use crate::runtime::{ContainerSpec, ProbeAction, VolumeSource};

fn waiting(world: &World, pod: &str) -> String {
    text(&world.pod(pod), "/status/containerStatuses/0/state/waiting/reason").to_owned()
}

fn restarts(world: &World, pod: &str) -> i64 {
    int(&world.pod(pod), "/status/containerStatuses/0/restartCount").unwrap_or(-1)
}

fn starts(world: &World) -> Vec<ContainerSpec> {
    let started = world.commands.iter().filter_map(|command| match command {
        Command::StartContainer(spec) => Some(spec.as_ref().clone()),
        _ => None,
    });
    started.collect()
}

#[test]
fn a_crashing_container_is_restarted_after_0_10_20_40_seconds_up_to_five_minutes() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "crash", "Always"));
    assert_eq!((restarts(&world, "a"), waiting(&world, "a").as_str()), (1, "CrashLoopBackOff"));
    let mut expected = 1;
    for wait in [10, 20, 40, 80, 160, 300, 300] {
        let message = text(&world.pod("a"), "/status/containerStatuses/0/state/waiting/message").to_owned();
        let shown = if wait < 60 { format!("{wait}s") } else { format!("{}m{}s", wait / 60, wait % 60) };
        assert!(
            message.starts_with(&format!("back-off {shown} restarting failed container=app pod=a_default(")),
            "{message}"
        );
        world.seconds(wait - 1);
        assert_eq!(restarts(&world, "a"), expected, "{wait}");
        world.seconds(1);
        expected += 1;
        assert_eq!(restarts(&world, "a"), expected, "{wait}");
    }
    assert!(world.told_about("a").iter().any(|(reason, count)| reason == "BackOff" && *count > 3));
    assert_eq!(text(&world.pod("a"), "/status/phase"), "Running");
}

#[test]
fn pods_that_run_to_their_end_stay_as_succeeded_or_failed() {
    let mut world = World::new();
    for (pod_name, image, policy, phase) in [
        ("a", "done", "Never", "Succeeded"),
        ("b", "crash", "Never", "Failed"),
        ("c", "done", "OnFailure", "Succeeded"),
    ] {
        world.must("POST", PODS, &pod(pod_name, image, policy));
        assert_eq!(text(&world.pod(pod_name), "/status/phase"), phase, "{pod_name}");
    }
    world.seconds(1000);
    assert_eq!(starts(&world).len(), 3, "none is started again");
    world.must("DELETE", &format!("{PODS}/a"), &Value::Null);
    assert_eq!(world.pods().len(), 2);
}

#[test]
fn an_image_that_is_not_there_backs_off_and_is_tried_again() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "absent", "Always"));
    let seen = waiting(&world, "a");
    assert!(seen == "ErrImagePull" || seen == "ImagePullBackOff", "{seen}");
    world.seconds(9);
    assert_eq!(starts(&world).len(), 1);
    world.seconds(2);
    assert_eq!((starts(&world).len(), waiting(&world, "a").as_str()), (2, "ImagePullBackOff"));
    assert_eq!(restarts(&world, "a"), 0);
    let reasons = world.told_about("a");
    assert!(
        reasons.iter().any(|(reason, _)| reason == "Failed") && reasons.iter().any(|(reason, _)| reason == "BackOff")
    );
}

fn probed(kind: &str, more: Value) -> Value {
    let mut wanted = pod("a", "web:1", "Always");
    let mut probe = json!({"httpGet": {"port": "http", "path": "/ok"}, "periodSeconds": 5});
    for (key, value) in more.as_object().expect("fields") {
        probe[key] = value.clone();
    }
    wanted["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080, "name": "http"}]);
    wanted["spec"]["containers"][0][kind] = probe;
    wanted
}

#[test]
fn readiness_decides_whether_a_service_names_the_pod() {
    let mut world = World::new();
    world.must("POST", SERVICES, &service("a"));
    world.probes.insert("app".to_owned(), false);
    world.must("POST", PODS, &probed("readinessProbe", json!({"initialDelaySeconds": 3})));
    world.seconds(60);
    assert_eq!((world.addresses("a", "/addresses"), world.addresses("a", "/notReadyAddresses")), (0, 1));
    assert!(world.told_about("a").iter().any(|(reason, count)| reason == "Unhealthy" && *count > 5));
    let probe = world.commands.iter().find_map(|command| match command {
        Command::Probe { action: ProbeAction::HttpGet { port, path, .. }, .. } => Some((*port, path.clone())),
        _ => None,
    });
    assert_eq!(probe, Some((8080, "/ok".to_owned())));
    world.probes.insert("app".to_owned(), true);
    world.seconds(5);
    assert_eq!(world.addresses("a", "/addresses"), 1);
    world.probes.insert("app".to_owned(), false);
    world.seconds(10);
    assert_eq!(world.addresses("a", "/addresses"), 1, "two failures are not three");
    world.seconds(6);
    assert_eq!(world.addresses("a", "/addresses"), 0);
    assert_eq!(restarts(&world, "a"), 0);
}

#[test]
fn a_failing_liveness_probe_restarts_the_container() {
    let mut world = World::new();
    world.must("POST", PODS, &probed("livenessProbe", json!({"failureThreshold": 2})));
    world.seconds(30);
    assert_eq!(restarts(&world, "a"), 0);
    world.probes.insert("app".to_owned(), false);
    world.seconds(10);
    assert_eq!(restarts(&world, "a"), 1);
    assert!(world.told_about("a").iter().any(|(reason, _)| reason == "Killing"));
}

#[test]
fn nothing_else_is_probed_before_the_startup_probe_succeeds() {
    let mut world = World::new();
    let mut wanted = probed("startupProbe", json!({"failureThreshold": 100}));
    wanted["spec"]["containers"][0]["livenessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    world.probes.insert("app".to_owned(), false);
    world.must("POST", PODS, &wanted);
    world.seconds(60);
    let lively = |world: &World| {
        world.commands.iter().any(|command| matches!(command, Command::Probe { action: ProbeAction::Exec(_), .. }))
    };
    assert!(!lively(&world));
    assert!(!crate::object::has_condition(&world.pod("a"), "Ready"));
    world.probes.insert("app".to_owned(), true);
    world.seconds(7);
    assert!(lively(&world));
    assert!(crate::object::has_condition(&world.pod("a"), "Ready"));
}

#[test]
fn init_containers_run_one_after_another_before_the_rest() {
    let mut world = World::new();
    let mut wanted = pod("a", "web:1", "Always");
    wanted["spec"]["initContainers"] = json!([{"name": "one", "image": "done"}, {"name": "two", "image": "done"}]);
    world.must("POST", PODS, &wanted);
    let order: Vec<String> = starts(&world).into_iter().map(|spec| spec.id.container).collect();
    assert_eq!(order, ["one", "two", "app"]);
    assert!(crate::object::has_condition(&world.pod("a"), "Ready"));
    let mut stuck = pod("b", "web:1", "Always");
    stuck["spec"]["initContainers"] = json!([{"name": "one", "image": "crash"}]);
    world.must("POST", PODS, &stuck);
    assert_eq!(waiting(&world, "b"), "PodInitializing");
    assert_eq!(text(&world.pod("b"), "/status/phase"), "Pending");
}

#[test]
fn a_deleted_pod_gets_its_grace_and_then_goes() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "web:1", "Always"));
    world.stubborn.insert("app".to_owned());
    world.must("DELETE", &format!("{PODS}/a"), &Value::Null);
    let graces = |world: &World| -> Vec<u64> {
        let stops = world.commands.iter().filter_map(|command| match command {
            Command::StopContainer { grace, .. } => Some(grace.as_secs()),
            _ => None,
        });
        stops.collect()
    };
    assert_eq!(graces(&world), [30]);
    world.must("DELETE", &format!("{PODS}/a?gracePeriodSeconds=3"), &Value::Null);
    assert_eq!(graces(&world), [30, 3], "a shorter grace counts");
    assert_eq!(world.pods().len(), 1);
    let id = world.running.iter().next().cloned().expect("it runs");
    for event in world.exit(id, 137) {
        world.cluster.on_runtime_event(event);
    }
    world.run();
    assert!(world.pods().is_empty());
    world.must("POST", PODS, &pod("a", "web:1", "Always"));
    world.must("DELETE", &format!("{PODS}/a?gracePeriodSeconds=0"), &Value::Null);
    assert!(world.pods().is_empty(), "by force the object goes at once");
    assert_eq!(graces(&world).last(), Some(&0));
}

#[test]
fn the_environment_is_resolved_from_everywhere() {
    let mut world = World::new();
    world.must("POST", SERVICES, &service("my-db"));
    world.must("POST", CONFIG_MAPS, &json!({"metadata": {"name": "cfg"}, "data": {"A": "from map", "B": "b"}}));
    world.must(
        "POST",
        "/api/v1/namespaces/default/secrets",
        &json!({"metadata": {"name": "sec"}, "stringData": {"p": "secret"}}),
    );
    let mut wanted = pod("a", "web:1", "Always");
    let container = &mut wanted["spec"]["containers"][0];
    container["envFrom"] = json!([{"configMapRef": {"name": "cfg"}, "prefix": "X_"}, {"configMapRef": {"name": "none", "optional": true}}]);
    container["env"] = json!([
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "p"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "URL", "value": "http://$(MY_DB_SERVICE_HOST):$(MY_DB_SERVICE_PORT)/$$(P)/$(NONE)"},
        {"name": "X_B", "value": "own"},
    ]);
    container["args"] = json!(["--name=$(NAME)"]);
    world.must("POST", PODS, &wanted);
    let spec = starts(&world).pop().expect("started");
    let env: BTreeMap<&str, &str> = spec.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let ip = text(&world.pod("a"), "/status/podIP").to_owned();
    for (key, value) in [
        ("X_A", "from map"),
        ("X_B", "own"),
        ("P", "secret"),
        ("NAME", "a"),
        ("IP", &ip),
        ("CPU", "4"),
        ("KUBERNETES_SERVICE_HOST", "10.96.0.1"),
    ] {
        assert_eq!(env.get(key), Some(&value), "{key}");
    }
    assert_eq!(env["URL"], format!("http://{}:80/$(P)/$(NONE)", env["MY_DB_SERVICE_HOST"]));
    assert_eq!(spec.args, ["--name=a"]);
}

#[test]
fn a_pod_waits_for_what_it_mounts_and_sees_changes() {
    let mut world = World::new();
    let mut wanted = pod("a", "web:1", "Always");
    wanted["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "cfg"}}]);
    wanted["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/etc/cfg"}]);
    world.must("POST", PODS, &wanted);
    assert_eq!(waiting(&world, "a"), "ContainerCreating");
    assert!(world.told_about("a").iter().any(|(reason, _)| reason == "FailedMount"));
    world.must("POST", CONFIG_MAPS, &json!({"metadata": {"name": "cfg"}, "data": {"k": "1"}}));
    assert!(crate::object::has_condition(&world.pod("a"), "Ready"));
    let files = |command: &Command| {
        let volumes = match command {
            Command::StartPod(spec) => spec.volumes.clone(),
            Command::UpdateVolumes { volumes, .. } => volumes.clone(),
            _ => return None,
        };
        volumes.into_iter().find(|volume| volume.name == "v").map(|volume| match volume.source {
            VolumeSource::Files(files) => files.iter().map(|file| (file.path.clone(), file.contents.clone())).collect(),
            _ => Vec::new(),
        })
    };
    let seen = |world: &World| world.commands.iter().rev().find_map(files).expect("a volume");
    assert_eq!(seen(&world), [("k".to_owned(), b"1".to_vec())]);
    world.must("PATCH", &format!("{CONFIG_MAPS}/cfg"), &json!({"data": {"k": "2"}}));
    assert_eq!(seen(&world), [("k".to_owned(), b"2".to_vec())]);
}

#[test]
fn a_missing_key_is_told_and_mended_by_its_coming() {
    let mut world = World::new();
    world.must("POST", CONFIG_MAPS, &json!({"metadata": {"name": "cfg"}}));
    let mut wanted = pod("a", "web:1", "Always");
    wanted["spec"]["containers"][0]["env"] =
        json!([{"name": "K", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "k"}}}]);
    world.must("POST", PODS, &wanted);
    assert_eq!(waiting(&world, "a"), "CreateContainerConfigError");
    world.must("PATCH", &format!("{CONFIG_MAPS}/cfg"), &json!({"data": {"k": "v"}}));
    assert!(crate::object::has_condition(&world.pod("a"), "Ready"));
}

#[test]
fn a_token_in_a_pod_speaks_for_its_service_account_as_long_as_the_pod_lives() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "web:1", "Always"));
    let token = world.commands.iter().find_map(|command| match command {
        Command::StartPod(spec) => spec.volumes.iter().find_map(|volume| match &volume.source {
            VolumeSource::Files(files) => {
                files.iter().find(|file| file.path == "token").map(|file| file.contents.clone())
            }
            _ => None,
        }),
        _ => None,
    });
    let token = String::from_utf8(token.expect("a token")).expect("ASCII");
    let user = world.cluster.authenticate_token(&token).expect("believed");
    assert_eq!(user.name, "system:serviceaccount:default:default");
    let refusal = world.call_as(&user, "GET", PODS, &Value::Null).expect_err("not allowed");
    assert_eq!(
        refusal.message,
        "pods is forbidden: User \"system:serviceaccount:default:default\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
    );
    let binding = json!({"metadata": {"name": "b"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": "default"}]});
    world.must("POST", "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings", &binding);
    world.call_as(&user, "GET", PODS, &Value::Null).expect("allowed now");
    assert_eq!(
        world.call_as(&user, "DELETE", &format!("{PODS}/a"), &Value::Null).expect_err("view").reason.code(),
        403
    );
    world.must("DELETE", &format!("{PODS}/a"), &Value::Null);
    assert_eq!(world.cluster.authenticate_token(&token).expect_err("the pod is gone").reason.code(), 401);
}
