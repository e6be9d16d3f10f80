use super::*;
use crate::object::{items, text};
use crate::schema::schema;
use serde_json::json;

fn manager(name: &str) -> Manager {
    Manager {
        name: name.into(),
        api_version: "apps/v1".into(),
        subresource: String::new(),
        time: "2026-01-01T00:00:00Z".into(),
    }
}

fn deployment(spec: Value) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
}

fn shape() -> Shape {
    schema().kind("Deployment")
}

#[test]
fn an_applier_owns_exactly_its_configuration() {
    let config =
        deployment(json!({"replicas": 2, "template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}}));
    let live = apply(&shape(), &Value::Null, &config, &manager("ci"), false).expect("a first apply");
    let entry = &items(&live, "/metadata/managedFields")[0];
    assert_eq!(text(entry, "/operation"), "Apply");
    assert_eq!(
        entry["fieldsV1"],
        json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:image": {}, "f:name": {}}}}}}})
    );
}

#[test]
fn another_value_for_an_owned_field_conflicts_unless_forced() {
    let live =
        apply(&shape(), &Value::Null, &deployment(json!({"replicas": 2})), &manager("ci"), false).expect("applied");
    let other = deployment(json!({"replicas": 5}));
    let refusal = apply(&shape(), &live, &other, &manager("ops"), false).expect_err("a conflict");
    assert_eq!(refusal.message, "Apply failed with 1 conflict: conflict with \"ci\": .spec.replicas");
    assert_eq!(refusal.reason.code(), 409);
    let forced = apply(&shape(), &live, &other, &manager("ops"), true).expect("forced");
    assert_eq!(forced["spec"]["replicas"], 5);
    let names: Vec<&str> =
        items(&forced, "/metadata/managedFields").iter().map(|entry| text(entry, "/manager")).collect();
    assert!(names.contains(&"ops"));
    // The same value is no conflict: both own the field.
    apply(&shape(), &live, &deployment(json!({"replicas": 2})), &manager("ops"), false).expect("shared ownership");
}

#[test]
fn a_field_that_is_no_longer_applied_is_removed_unless_somebody_else_owns_it() {
    let first = deployment(json!({"replicas": 2, "template": {"spec": {"containers": [
        {"name": "a", "image": "i:1"}, {"name": "b", "image": "i:2"}]}}}));
    let live = apply(&shape(), &Value::Null, &first, &manager("ci"), false).expect("applied");
    let scaler = deployment(json!({"replicas": 2}));
    let live = apply(&shape(), &live, &scaler, &manager("hpa"), false).expect("shared");
    let second = deployment(json!({"template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}}));
    let live = apply(&shape(), &live, &second, &manager("ci"), false).expect("applied again");
    assert_eq!(live["spec"]["replicas"], 2, "hpa still owns the replicas");
    assert_eq!(items(&live, "/spec/template/spec/containers").len(), 1);
    let live = apply(&shape(), &live, &deployment(json!({})), &manager("hpa"), false).expect("given up");
    assert!(live.pointer("/spec/replicas").is_none());
}

#[test]
fn an_item_keeps_what_others_added_to_it() {
    let first = deployment(json!({"template": {"spec": {"containers": [{"name": "a", "image": "i:1"}]}}}));
    let live = apply(&shape(), &Value::Null, &first, &manager("ci"), false).expect("applied");
    let sidecar = deployment(
        json!({"template": {"spec": {"containers": [{"name": "a", "tty": true}, {"name": "s", "image": "s"}]}}}),
    );
    let live = apply(&shape(), &live, &sidecar, &manager("injector"), false).expect("merged");
    let live = apply(&shape(), &live, &deployment(json!({"paused": true})), &manager("ci"), false).expect("dropped");
    assert_eq!(
        live["spec"]["template"]["spec"]["containers"],
        json!([{"name": "a", "tty": true}, {"name": "s", "image": "s"}])
    );
}

#[test]
fn an_update_takes_the_fields_it_changes() {
    let live =
        apply(&shape(), &Value::Null, &deployment(json!({"replicas": 2, "paused": true})), &manager("ci"), false)
            .expect("applied");
    let mut new = live.clone();
    new["spec"]["replicas"] = json!(7);
    new["status"] = json!({"replicas": 1});
    track(&shape(), &live, &mut new, &manager("kubectl-scale"));
    let list = items(&new, "/metadata/managedFields");
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["fieldsV1"], json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(list[1]["fieldsV1"], json!({"f:spec": {"f:replicas": {}}}), "status is another subresource's");
    let refusal = apply(&shape(), &new, &deployment(json!({"replicas": 2, "paused": true})), &manager("ci"), false)
        .expect_err("a conflict");
    assert!(refusal.message.contains("conflict with \"kubectl-scale\" using apps/v1: .spec.replicas"), "{refusal}");
}

#[test]
fn items_without_their_key_are_refused() {
    let bad = deployment(json!({"template": {"spec": {"containers": [{"image": "i"}]}}}));
    assert_eq!(apply(&shape(), &Value::Null, &bad, &manager("ci"), false).expect_err("no name").reason.code(), 400);
    let twice = deployment(json!({"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}));
    assert_eq!(apply(&shape(), &Value::Null, &twice, &manager("ci"), false).expect_err("duplicate").reason.code(), 400);
}

#[test]
fn ports_are_keyed_with_their_default_protocol() {
    let port =
        |extra: Value| deployment(json!({"template": {"spec": {"containers": [{"name": "a", "ports": [extra]}]}}}));
    let live =
        apply(&shape(), &Value::Null, &port(json!({"containerPort": 80})), &manager("ci"), false).expect("applied");
    let live = apply(
        &shape(),
        &live,
        &port(json!({"containerPort": 80, "protocol": "TCP", "name": "http"})),
        &manager("ci"),
        false,
    )
    .expect("same port");
    assert_eq!(items(&live, "/spec/template/spec/containers/0/ports").len(), 1);
}
