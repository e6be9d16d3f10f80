//! Discovery: which groups, versions and resources there are, in the old form and in the aggregated one.

use serde_json::{Value, json};

use crate::bootstrap::VERSION;
use crate::resources::{RESOURCES, Resource, Subresource, group_versions};

/// `/version`.
pub fn version() -> Value {
    let mut numbers = VERSION.trim_start_matches('v').split('.');
    json!({
        "major": numbers.next().unwrap_or(""),
        "minor": numbers.next().unwrap_or(""),
        "gitVersion": format!("{VERSION}+atoll"),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// `/api`.
pub fn core_versions(server: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    })
}

fn groups() -> Vec<(&'static str, &'static str)> {
    group_versions().into_iter().filter(|(group, _)| !group.is_empty()).collect()
}

/// One group of `/apis`.
pub fn group(name: &str) -> Option<Value> {
    let (group, version) = groups().into_iter().find(|(group, _)| *group == name)?;
    let served = json!({"groupVersion": format!("{group}/{version}"), "version": version});
    Some(
        json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [served], "preferredVersion": served}),
    )
}

/// `/apis`.
pub fn group_list() -> Value {
    let list: Vec<Value> = groups()
        .into_iter()
        .filter_map(|(name, _)| {
            let mut group = group(name)?;
            crate::object::remove(&mut group, &["kind"]);
            crate::object::remove(&mut group, &["apiVersion"]);
            Some(group)
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list})
}

/// `/api/v1` or `/apis/group/version`.
pub fn resource_list(group: &str, version: &str) -> Option<Value> {
    let rows: Vec<&Resource> = RESOURCES.iter().filter(|row| row.group == group && row.version == version).collect();
    let api_version = rows.first()?.api_version();
    let mut list = Vec::new();
    for row in rows {
        let mut entry = json!({
            "name": row.plural,
            "singularName": row.singular,
            "namespaced": row.namespaced,
            "kind": row.kind,
            "verbs": row.verbs,
        });
        for (field, words) in [("shortNames", row.short), ("categories", row.categories)] {
            if !words.is_empty() {
                entry[field] = json!(words);
            }
        }
        list.push(entry);
        for subresource in row.subresources {
            let mut entry = json!({
                "name": format!("{}/{}", row.plural, subresource.name),
                "singularName": "",
                "namespaced": row.namespaced,
                "kind": subresource.kind.map_or(row.kind, |kind| kind.2),
                "verbs": subresource.verbs,
            });
            if let Some((group, version, _)) = subresource.kind {
                entry["group"] = json!(group);
                entry["version"] = json!(version);
            }
            list.push(entry);
        }
    }
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": list}))
}

/// `/api` (with `core`) or `/apis` in the aggregated form of `apidiscovery.k8s.io/v2`.
pub fn aggregated(core: bool, format_version: &str) -> Value {
    let wanted = group_versions().into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = wanted
        .map(|(group, version)| {
            let rows = RESOURCES.iter().filter(|row| row.group == group && row.version == version);
            let resources: Vec<Value> = rows.map(aggregated_resource).collect();
            let metadata = if group.is_empty() { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": [{"version": version, "resources": resources, "freshness": "Current"}]})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{format_version}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregated_resource(row: &Resource) -> Value {
    let mut resource = json!({
        "resource": row.plural,
        "responseKind": {"group": row.group, "version": row.version, "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    for (field, words) in [("shortNames", row.short), ("categories", row.categories)] {
        if !words.is_empty() {
            resource[field] = json!(words);
        }
    }
    if !row.subresources.is_empty() {
        let subresources: Vec<Value> =
            row.subresources.iter().map(|subresource| aggregated_subresource(row, subresource)).collect();
        resource["subresources"] = Value::Array(subresources);
    }
    resource
}

fn aggregated_subresource(row: &Resource, subresource: &Subresource) -> Value {
    let (group, version, kind) = subresource.kind.unwrap_or((row.group, row.version, row.kind));
    json!({
        "subresource": subresource.name,
        "responseKind": {"group": group, "version": version, "kind": kind},
        "verbs": subresource.verbs,
    })
}
