use super::*;
use serde_json::json;

#[test]
fn json_patches_do_what_the_rfc_says() {
    let object = json!({"a": [1, 2], "b": {"c/d": 1}});
    let patch = json!([
        {"op": "test", "path": "/b/c~1d", "value": 1},
        {"op": "add", "path": "/a/1", "value": 9},
        {"op": "add", "path": "/a/-", "value": 3},
        {"op": "move", "from": "/b", "path": "/e"},
        {"op": "copy", "from": "/a/0", "path": "/f"},
        {"op": "remove", "path": "/a/0"},
        {"op": "replace", "path": "/f", "value": "x"},
    ]);
    assert_eq!(json_patch(&object, &patch).expect("fits"), json!({"a": [9, 2, 3], "e": {"c/d": 1}, "f": "x"}));
    for (bad, code) in [
        (json!([{"op": "test", "path": "/a", "value": 1}]), 422),
        (json!([{"op": "remove", "path": "/none"}]), 422),
        (json!([{"op": "add", "path": "/a/7", "value": 1}]), 422),
        (json!([{"op": "dance", "path": "/a"}]), 400),
        (json!({"op": "add"}), 400),
        (json!([{"op": "remove", "path": ""}]), 422),
    ] {
        assert_eq!(json_patch(&object, &bad).expect_err("refused").reason.code(), code, "{bad}");
    }
}

#[test]
fn merge_patch_removes_with_null() {
    assert_eq!(
        merge_patch(&json!({"a": {"b": 1, "c": 2}, "l": [1]}), &json!({"a": {"b": null, "d": 3}, "l": [2]})),
        json!({"a": {"c": 2, "d": 3}, "l": [2]})
    );
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn strategic_merge_follows_the_keys_of_the_schema() {
    let shape = schema().kind("Pod");
    let object =
        pod(json!([{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "2"}]));
    let merge = |patch: Value| strategic_merge(&shape, &object, &patch).expect("merges");
    assert_eq!(
        merge(pod(json!([{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]))),
        pod(
            json!([{"name": "a", "image": "1", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "3"}, {"name": "c", "image": "4"}])
        )
    );
    assert_eq!(merge(pod(json!([{"name": "a", "$patch": "delete"}]))), pod(json!([{"name": "b", "image": "2"}])));
    assert_eq!(merge(pod(json!([{"$patch": "replace"}, {"name": "z"}]))), pod(json!([{"name": "z"}])));
    let ordered = merge(
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "ports": null}]}}),
    );
    assert_eq!(ordered, pod(json!([{"name": "b", "image": "2"}, {"name": "a", "image": "1"}])));
    assert_eq!(strategic_merge(&shape, &object, &pod(json!([{"image": "x"}]))).expect_err("no key").reason.code(), 400);
}

#[test]
fn strategic_merge_knows_scalar_lists_and_retained_keys() {
    let shape = schema().kind("Deployment");
    let object = json!({"metadata": {"finalizers": ["a", "b"]}, "spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({
        "metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c"]},
        "spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
    });
    assert_eq!(
        strategic_merge(&shape, &object, &patch).expect("merges"),
        json!({"metadata": {"finalizers": ["b", "c"]}, "spec": {"strategy": {"type": "Recreate"}}})
    );
}
