use super::*;
use crate::defaults::apply_defaults;

fn causes_of(resource: ResourceId, mut object: Value) -> Vec<String> {
    apply_defaults(resource, &mut object);
    validate(resource.row(), &object).into_iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
}

#[test]
fn a_deployment_must_select_its_own_pods() {
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "other"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    assert_eq!(
        causes_of(ResourceId::Deployments, deployment),
        [
            "spec.template.metadata.labels: Invalid value: {\"app\":\"other\"}: `selector` does not match template `labels`"
        ]
    );
}

#[test]
fn required_fields_are_named() {
    assert_eq!(
        causes_of(ResourceId::Pods, json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "A b"}]}}))
            .len(),
        2,
        "the name and the image"
    );
    assert_eq!(
        causes_of(ResourceId::Pods, json!({"metadata": {"name": "a"}, "spec": {}})),
        ["spec.containers: Required value"]
    );
    assert_eq!(causes_of(ResourceId::Services, json!({"metadata": {"name": "a"}})), ["spec.ports: Required value"]);
}

#[test]
fn names_keep_the_rules_of_dns() {
    for (name, fine) in
        [("web", true), ("a.b-c.d", true), ("Web", false), ("-a", false), ("a..b", false), ("", false), ("é", false)]
    {
        let causes = causes_of(ResourceId::ConfigMaps, json!({"metadata": {"name": name}}));
        assert_eq!(causes.is_empty(), fine, "{name}");
    }
}

#[test]
fn a_request_is_not_above_its_limit() {
    let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "i",
        "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}}]}});
    assert_eq!(
        causes_of(ResourceId::Pods, pod),
        [
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1500m"
        ]
    );
}

#[test]
fn selectors_and_cluster_addresses_are_immutable() {
    let old = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "clusterIP": "10.96.0.7"}});
    let new = json!({"spec": {"selector": {"matchLabels": {"a": "c"}}, "clusterIP": "10.96.0.8"}});
    assert_eq!(validate_update(ResourceId::Deployments.row(), &old, &new)[0].field, "spec.selector");
    assert_eq!(validate_update(ResourceId::Services.row(), &old, &new)[0].field, "spec.clusterIP");
}
