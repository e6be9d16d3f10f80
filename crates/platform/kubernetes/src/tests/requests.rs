//! The API's own rules: concurrency, pages, watches, selectors, patches, validation, media types, authorization.

use super::*;
use crate::api::Watch;

fn config(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"v": value}}, "data": {"k": value}})
}

fn watch(world: &mut World, path: &str) -> Box<Watch> {
    let user = User::master();
    match world.request(&request(&user, "GET", path, &Value::Null)) {
        Ok(Reply::Watch(watch)) => watch,
        Ok(_) => panic!("no watch"),
        Err(status) => panic!("{status}"),
    }
}

/// Types and names of what a watch tells.
fn told(world: &World, watch: &mut Watch) -> Vec<(String, String)> {
    let (lines, _) = watch.read(&world.cluster);
    let events = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = events.map(|line| serde_json::from_slice::<Value>(line).expect("JSON"));
    read.map(|event| (text(&event, "/type").to_owned(), name(&event["object"]).to_owned())).collect()
}

fn pair(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

#[test]
fn of_two_writers_with_the_same_version_one_wins() {
    let mut world = World::new();
    let first = world.must("POST", CONFIG_MAPS, &config("a", "1"));
    let mut ours = first.clone();
    ours["data"]["k"] = json!("2");
    let stored = world.must("PUT", &format!("{CONFIG_MAPS}/a"), &ours);
    assert_ne!(stored["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
    let refusal = world.call("PUT", &format!("{CONFIG_MAPS}/a"), &ours).expect_err("stale");
    assert_eq!(
        refusal.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    ours["metadata"]["resourceVersion"] = json!("");
    let same = world.must("PUT", &format!("{CONFIG_MAPS}/a"), &ours);
    assert_eq!(
        same["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"],
        "writing the same changes nothing"
    );
}

#[test]
fn refusals_are_worded_as_clients_expect() {
    let mut world = World::new();
    world.must("POST", CONFIG_MAPS, &config("a", "1"));
    let cases = [
        ("POST", CONFIG_MAPS.to_owned(), config("a", "1"), 409, "configmaps \"a\" already exists"),
        ("GET", format!("{CONFIG_MAPS}/b"), Value::Null, 404, "configmaps \"b\" not found"),
        ("GET", format!("{DEPLOYMENTS}/b"), Value::Null, 404, "deployments.apps \"b\" not found"),
        (
            "GET",
            "/apis/none/v1/things".to_owned(),
            Value::Null,
            404,
            "the server could not find the requested resource",
        ),
        ("POST", CONFIG_MAPS.replace("default", "none"), config("a", "1"), 404, "namespaces \"none\" not found"),
        (
            "POST",
            format!("{PODS}/a/status"),
            json!({}),
            405,
            "the server does not allow this method on the requested resource",
        ),
        (
            "POST",
            CONFIG_MAPS.to_owned(),
            json!({"kind": "Secret", "metadata": {"name": "x"}}),
            400,
            "the kind in the data (Secret) does not match the expected kind (ConfigMap)",
        ),
        ("GET", format!("{PODS}/x/exec"), Value::Null, 501, "pods/exec is not implemented by this server"),
        (
            "DELETE",
            "/api/v1/namespaces/default".to_owned(),
            Value::Null,
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        ),
        (
            "POST",
            PODS.to_owned(),
            json!({"metadata": {"name": "p"}, "spec": {}}),
            422,
            "Pod \"p\" is invalid: spec.containers: Required value",
        ),
    ];
    for (method, path, body, code, message) in cases {
        let refusal = world.call(method, &path, &body).expect_err(message);
        assert_eq!((refusal.reason.code(), refusal.message.as_str()), (code, message), "{method} {path}");
    }
}

#[test]
fn unknown_fields_are_refused_warned_of_or_kept() {
    let mut world = World::new();
    let mut wanted = deployment("web", 1, "web:1");
    wanted["spec"]["colour"] = json!("red");
    let refusal = world.call("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &wanted).expect_err("strict");
    assert_eq!(
        refusal.message,
        "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: unknown field \"spec.colour\""
    );
    let user = User::master();
    let reply = world.request(&request(&user, "POST", DEPLOYMENTS, &wanted)).expect("warned");
    let Reply::Json { code: 201, body, warnings } = reply else { panic!("created") };
    assert_eq!(warnings, ["unknown field \"spec.colour\""]);
    assert_eq!(body["spec"]["colour"], "red", "what nobody interprets survives");
}

#[test]
fn pages_show_one_moment_whatever_happens_meanwhile() {
    let mut world = World::new();
    for number in 0..10 {
        world.must("POST", CONFIG_MAPS, &config(&format!("c{number}"), "1"));
    }
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let page = world.must("GET", &format!("{CONFIG_MAPS}?limit=3&continue={token}"), &Value::Null);
        names.extend(items(&page, "/items").iter().map(|item| name(item).to_owned()));
        world.must("DELETE", &format!("{CONFIG_MAPS}/c9"), &Value::Null);
        world.must("POST", CONFIG_MAPS, &config("c9", "new"));
        world.must("POST", CONFIG_MAPS, &config(&format!("d{}", names.len()), "1"));
        token = text(&page, "/metadata/continue").to_owned();
        if token.is_empty() {
            break;
        }
    }
    let expected: Vec<String> =
        (0..10).map(|number| format!("c{number}")).chain(["kube-root-ca.crt".to_owned()]).collect();
    assert_eq!(names, expected);
}

#[test]
fn a_page_of_a_forgotten_moment_is_gone() {
    let mut world = World::new();
    for number in 0..3 {
        world.must("POST", CONFIG_MAPS, &config(&format!("c{number}"), "1"));
    }
    let page = world.must("GET", &format!("{CONFIG_MAPS}?limit=1"), &Value::Null);
    for round in 0..crate::HISTORY_EVENTS_MAX + 5 {
        world.must("PUT", &format!("{CONFIG_MAPS}/c0"), &config("c0", &round.to_string()));
    }
    let token = text(&page, "/metadata/continue");
    let refusal =
        world.call("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), &Value::Null).expect_err("gone");
    assert_eq!((refusal.reason.code(), refusal.reason.word()), (410, "Expired"));
    let mut old = watch(&mut world, &format!("{CONFIG_MAPS}?watch=1&resourceVersion=3"));
    let (lines, over) = old.read(&world.cluster);
    let event: Value = serde_json::from_slice(&lines).expect("one event");
    assert_eq!((text(&event, "/type"), int(&event, "/object/code"), over), ("ERROR", Some(410), true));
}

#[test]
fn a_watch_tells_what_comes_into_and_goes_out_of_its_selection() {
    let mut world = World::new();
    world.must("POST", CONFIG_MAPS, &config("a", "1"));
    let mut all = watch(&mut world, &format!("{CONFIG_MAPS}?watch=true"));
    let mut ones = watch(&mut world, &format!("{CONFIG_MAPS}?watch=true&labelSelector=v%3D1"));
    let mut named = watch(&mut world, &format!("{CONFIG_MAPS}?watch=true&fieldSelector=metadata.name%3Db"));
    assert_eq!(told(&world, &mut all), [pair("ADDED", "a"), pair("ADDED", "kube-root-ca.crt")]);
    assert_eq!(told(&world, &mut ones), [pair("ADDED", "a")]);
    world.must("POST", CONFIG_MAPS, &config("b", "2"));
    world.must("PUT", &format!("{CONFIG_MAPS}/b"), &config("b", "1"));
    world.must("PUT", &format!("{CONFIG_MAPS}/a"), &config("a", "2"));
    world.must("DELETE", &format!("{CONFIG_MAPS}/a"), &Value::Null);
    world.must("POST", PODS, &pod("p", "web:1", "Always"));
    assert_eq!(
        told(&world, &mut all),
        [pair("ADDED", "b"), pair("MODIFIED", "b"), pair("MODIFIED", "a"), pair("DELETED", "a")]
    );
    assert_eq!(told(&world, &mut ones), [pair("ADDED", "b"), pair("DELETED", "a")]);
    assert_eq!(told(&world, &mut named), [pair("ADDED", "b"), pair("MODIFIED", "b")]);
    assert_eq!(told(&world, &mut all), []);
}

#[test]
fn a_watch_can_begin_with_a_list_that_it_marks_the_end_of() {
    let mut world = World::new();
    let path = format!(
        "{CONFIG_MAPS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut listed = watch(&mut world, &path);
    let (lines, _) = listed.read(&world.cluster);
    let last: Value =
        serde_json::from_slice(lines.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()).expect("lines"))
            .expect("JSON");
    assert_eq!(text(&last, "/type"), "BOOKMARK");
    assert_eq!(crate::object::annotation(&last["object"], "k8s.io/initial-events-end"), Some("true"));
}

#[test]
fn tables_have_the_columns_of_kubectl() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "web:1", "Always"));
    let mut asked = request(&User::master(), "GET", PODS, &Value::Null);
    asked.accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json".to_owned();
    world.seconds(65);
    let Ok(Reply::Json { body, .. }) = world.request(&asked) else { panic!("a table") };
    let columns: Vec<&str> = items(&body, "/columnDefinitions").iter().map(|column| text(column, "/name")).collect();
    assert_eq!(columns[..5], ["Name", "Ready", "Status", "Restarts", "Age"]);
    assert_eq!(
        body["rows"][0]["cells"],
        json!(["a", "1/1", "Running", "0", "65s", "10.244.1.2", "node-1", "<none>", "<none>"])
    );
    assert_eq!(text(&body, "/rows/0/object/kind"), "PartialObjectMetadata");
    asked.accept = "application/vnd.kubernetes.protobuf".to_owned();
    assert_eq!(world.request(&asked).err().map(|status| status.reason.code()), Some(406));
    asked.accept = "application/vnd.kubernetes.protobuf,application/json".to_owned();
    assert!(matches!(world.request(&asked), Ok(Reply::Json { .. })));
}

#[test]
fn server_side_apply_conflicts_and_takes_over() {
    let mut world = World::new();
    let applied = |world: &mut World, manager: &str, replicas: i64, force: bool| {
        let path = format!("{DEPLOYMENTS}/web?fieldManager={manager}&force={force}");
        world.call("PATCH", &path, &deployment("web", replicas, "web:1"))
    };
    applied(&mut world, "one", 2, false).expect("created");
    let again = applied(&mut world, "one", 2, false).expect("the same");
    let same = applied(&mut world, "one", 2, false).expect("the same");
    assert_eq!(again["metadata"]["resourceVersion"], same["metadata"]["resourceVersion"]);
    let refusal = applied(&mut world, "two", 3, false).expect_err("a conflict");
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
    assert_eq!(text(&refusal.details, "/causes/0/reason"), "FieldManagerConflict");
    let forced = applied(&mut world, "two", 3, true).expect("forced");
    assert_eq!(int(&forced, "/spec/replicas"), Some(3));
    assert_eq!(world.ready_nodes().len(), 3);
}

#[test]
fn yaml_is_read_within_bounds() {
    let mut world = World::new();
    let mut asked = request(&User::master(), "POST", CONFIG_MAPS, &Value::Null);
    asked.content_type = "application/yaml".to_owned();
    asked.body = Bytes::from_static(
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lines}\ndata:\n  k: |\n    two\n    lines\n",
    );
    world.request(&asked).map(drop).expect("created");
    assert_eq!(text(&world.object(ResourceId::ConfigMaps, "lines"), "/data/k"), "two\nlines\n");
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..12 {
        let (name, before) = (char::from(b'a' + level), char::from(b'a' + level - 1));
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(",")));
    }
    for bad in [bomb, "[".repeat(100_000), "a: b: c".to_owned()] {
        asked.body = Bytes::from(bad);
        assert_eq!(world.request(&asked).err().map(|status| status.reason.code()), Some(400));
    }
    let documents =
        crate::api::read_manifests("---\na: 1\n---\n---\nkind: List\napiVersion: v1\nitems: [{b: 2}, {c: 3}]\n");
    assert_eq!(documents.expect("read"), [json!({"a": 1}), json!({"b": 2}), json!({"c": 3})]);
}

#[test]
fn a_dry_run_says_what_would_be_and_does_nothing() {
    let mut world = World::new();
    let before = world.cluster.store().version();
    let would = world.must("POST", &format!("{DEPLOYMENTS}?dryRun=All"), &deployment("web", 2, "web:1"));
    assert_eq!(text(&would, "/spec/strategy/type"), "RollingUpdate");
    assert_eq!(world.cluster.store().version(), before);
}

#[test]
fn services_get_addresses_that_nobody_else_has() {
    let mut world = World::new();
    let mut seen = BTreeSet::new();
    for number in 0..20 {
        let made = world.must("POST", SERVICES, &service(&format!("s{number}")));
        assert!(seen.insert(text(&made, "/spec/clusterIP").to_owned()));
    }
    let mut taken = service("t");
    taken["spec"]["clusterIP"] = json!(seen.first().expect("one"));
    assert!(
        world.call("POST", SERVICES, &taken).expect_err("taken").message.contains("provided IP is already allocated")
    );
    taken["spec"]["clusterIP"] = json!("192.168.0.1");
    assert_eq!(world.call("POST", SERVICES, &taken).expect_err("outside").reason.code(), 422);
    taken["spec"]["clusterIP"] = json!("None");
    world.must("POST", SERVICES, &taken);
    let mut balanced = service("lb");
    balanced["spec"]["type"] = json!("LoadBalancer");
    let made = world.must("POST", SERVICES, &balanced);
    assert_eq!(int(&made, "/spec/ports/0/nodePort"), Some(30_000));
    assert_eq!(text(&made, "/spec/clusterIP"), text(&world.object(ResourceId::Services, "lb"), "/spec/clusterIP"));
    let replaced = world.must("PUT", &format!("{SERVICES}/lb"), &balanced);
    assert_eq!(int(&replaced, "/spec/ports/0/nodePort"), Some(30_000), "a replacement keeps what was allocated");
}

#[test]
fn the_anonymous_see_only_what_is_public() {
    let mut world = World::new();
    let nobody = User::anonymous();
    world.call_as(&nobody, "GET", "/version", &Value::Null).expect("public");
    world.call_as(&nobody, "GET", "/healthz", &Value::Null).expect("public");
    let refusal = world.call_as(&nobody, "GET", "/api", &Value::Null).expect_err("not public");
    assert_eq!(refusal.message, "forbidden: User \"system:anonymous\" cannot get path \"/api\"");
    let refusal = world.call_as(&nobody, "POST", PODS, &pod("a", "i", "Always")).expect_err("not allowed");
    assert_eq!(refusal.reason.code(), 403);
    let review = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    assert_eq!(world.must("POST", path, &review)["status"]["allowed"], true);
    let user = User::certified("jane", Vec::new());
    assert_eq!(world.call_as(&user, "POST", path, &review).expect("a review")["status"]["allowed"], false);
}

#[test]
fn a_log_is_asked_for_by_run() {
    let mut world = World::new();
    world.must("POST", PODS, &pod("a", "crash", "Always"));
    let mut log = |query: &str| {
        let asked = request(&User::master(), "GET", &format!("{PODS}/a/log?{query}"), &Value::Null);
        match world.request(&asked) {
            Ok(Reply::Logs(query)) => Ok(query),
            Ok(_) => panic!("no log"),
            Err(status) => Err(status.message),
        }
    };
    assert_eq!(
        log("tailLines=3&timestamps=true").map(|query| (query.id.attempt, query.tail_lines, query.timestamps)),
        Ok((1, Some(3), true))
    );
    assert_eq!(log("previous=true").map(|query| query.id.attempt), Ok(0));
    assert_eq!(log("container=b").err().as_deref(), Some("container b is not valid for pod a"));
    world.must("POST", PODS, &pod("w", "absent", "Always"));
    let refusal = world.call("GET", &format!("{PODS}/w/log"), &Value::Null).expect_err("waits");
    assert!(refusal.message.starts_with("container \"app\" in pod \"w\" is waiting to start: "), "{refusal}");
}
