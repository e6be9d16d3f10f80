//! Namespaces: what each has from the start, and how one ends.

use serde_json::{Value, json};

use super::Action;
use crate::cluster::View;
use crate::object::{is_terminating, set, text};
use crate::resources::{RESOURCES, ResourceId};
use crate::state::Key;

const MANAGER: &str = "kube-controller-manager";

pub(super) fn reconcile(view: &View<'_>, name: &str) -> Vec<Action> {
    let Some(home) = view.store.get(ResourceId::Namespaces, "", name) else { return Vec::new() };
    if is_terminating(home) { end(view, home, name) } else { furnish(view, name) }
}

/// The default service account, the certificate by which pods trust the API, and what the settings add.
fn furnish(view: &View<'_>, name: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut create = |resource: ResourceId, object: Value| {
        actions.push(Action::Create { resource, object: Box::new(object), manager: MANAGER, blame: None });
    };
    if view.store.get(ResourceId::ServiceAccounts, name, "default").is_none() {
        create(ResourceId::ServiceAccounts, json!({"metadata": {"name": "default", "namespace": name}}));
    }
    let certificate = json!({"ca.crt": view.settings.certificate_authority_pem});
    actions.extend(config_map(view, name, "kube-root-ca.crt", Some(CERTIFICATE_DESCRIPTION), certificate));
    for (map, data) in &view.settings.namespace_config_maps {
        actions.extend(config_map(view, name, map, None, json!(data)));
    }
    actions
}

const CERTIFICATE_DESCRIPTION: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters.";

/// Makes a ConfigMap of the namespace, or gives it back its data.
fn config_map(view: &View<'_>, namespace: &str, name: &str, description: Option<&str>, data: Value) -> Option<Action> {
    match view.store.get(ResourceId::ConfigMaps, namespace, name) {
        None => {
            let mut object = json!({"metadata": {"name": name, "namespace": namespace}, "data": data});
            if let Some(description) = description {
                object["metadata"]["annotations"] = json!({"kubernetes.io/description": description});
            }
            let object = Box::new(object);
            Some(Action::Create { resource: ResourceId::ConfigMaps, object, manager: MANAGER, blame: None })
        }
        Some(present) if present.get("data") != Some(&data) => {
            let mut renewed = present.as_ref().clone();
            renewed["data"] = data;
            Some(Action::update(ResourceId::ConfigMaps, renewed, MANAGER))
        }
        Some(_) => None,
    }
}

/// Everything in the namespace is deleted; when nothing is left, the namespace itself is released.
fn end(view: &View<'_>, home: &Value, name: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut left = 0;
    for row in RESOURCES.iter().filter(|row| row.namespaced && row.is_stored()) {
        for object in view.store.list(row.id, Some(name)) {
            left += 1;
            if !is_terminating(object) {
                actions.push(Action::delete(row.id, object));
            }
        }
    }
    if left == 0 && !crate::object::items(home, "/spec/finalizers").is_empty() {
        let mut released = home.clone();
        set(&mut released, &["spec", "finalizers"], json!([]));
        actions.push(Action::Update {
            resource: ResourceId::Namespaces,
            object: Box::new(released),
            subresource: "finalize",
            manager: MANAGER,
        });
    }
    debug_assert!(!text(home, "/metadata/name").is_empty(), "{:?}", Key::of(ResourceId::Namespaces, home));
    actions
}
