//! OpenAPI, made from the schema and the dispatch table: version 3 per group (JSON), version 2 as JSON and as protobuf.
//!
//! `kubectl` explains kinds, validates manifests and finds merge keys by these documents.

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use crate::bootstrap::VERSION;
use crate::resources::{RESOURCES, Resource, group_versions};
use crate::schema::{Field, ListKind, Shape, Type, schema};

mod protobuf;

/// `/openapi/v3`: where each group's document is.
pub fn v3_index() -> Value {
    let mut paths = Map::new();
    for (group, version) in group_versions() {
        let path = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
        let url = format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"));
        paths.insert(path, json!({ "serverRelativeURL": url }));
    }
    json!({ "paths": paths })
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/group/version`.
pub fn v3(group: &str, version: &str) -> Option<Value> {
    let rows: Vec<&Resource> = RESOURCES.iter().filter(|row| row.group == group && row.version == version).collect();
    if rows.is_empty() {
        return None;
    }
    let mut paths = Map::new();
    for row in rows {
        paths.extend(row_paths(row, Edition::Three));
    }
    let schemas: Map<String, Value> =
        schema().types().iter().map(|kind| (kind.full_name(), type_schema(kind, Edition::Three))).collect();
    Some(json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}}))
}

/// `/openapi/v2` as JSON.
pub fn v2() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut paths = Map::new();
        for row in RESOURCES {
            paths.extend(row_paths(row, Edition::Two));
        }
        let definitions: Map<String, Value> =
            schema().types().iter().map(|kind| (kind.full_name(), type_schema(kind, Edition::Two))).collect();
        json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions})
    })
}

/// `/openapi/v2` as `openapi.v2.Document` of gnostic, which older `kubectl` insists on.
pub fn v2_protobuf() -> &'static [u8] {
    static DOCUMENT: OnceLock<Vec<u8>> = OnceLock::new();
    DOCUMENT.get_or_init(|| protobuf::document(v2()))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": VERSION})
}

#[derive(Clone, Copy, PartialEq)]
enum Edition {
    Two,
    Three,
}

/// The paths of a resource with their operations.
fn row_paths(row: &Resource, edition: Edition) -> Vec<(String, Value)> {
    let collection = match row.namespaced {
        true => format!("{}/namespaces/{{namespace}}/{}", row.prefix(), row.plural),
        false => format!("{}/{}", row.prefix(), row.plural),
    };
    let own = (row.group, row.version, row.kind);
    let on_collection = [("post", "create"), ("get", "list"), ("delete", "deletecollection")];
    let on_object = [("get", "get"), ("put", "update"), ("patch", "patch"), ("delete", "delete")];
    let mut paths = vec![(collection.clone(), operations(row, row.verbs, &on_collection, own, "", edition))];
    if row.verbs.contains(&"get") {
        paths.push((format!("{collection}/{{name}}"), operations(row, row.verbs, &on_object, own, "", edition)));
    }
    for subresource in row.subresources {
        let verbs = [("get", "get"), ("put", "update"), ("patch", "patch"), ("post", "create")];
        let kind = subresource.kind.unwrap_or(own);
        let path = format!("{collection}/{{name}}/{}", subresource.name);
        paths.push((path, operations(row, subresource.verbs, &verbs, kind, subresource.name, edition)));
    }
    paths
}

fn operations(
    row: &Resource,
    verbs: &[&str],
    methods: &[(&str, &str)],
    kind: (&str, &str, &str),
    subresource: &str,
    edition: Edition,
) -> Value {
    let mut item = Map::new();
    for (method, verb) in methods.iter().filter(|(_, verb)| verbs.contains(verb)) {
        let mut parameters = Vec::new();
        let mut query = |name: &str| {
            let mut parameter = json!({"name": name, "in": "query"});
            let text = json!({"type": "string"});
            match edition {
                Edition::Two => parameter["type"] = json!("string"),
                Edition::Three => parameter["schema"] = text,
            }
            parameters.push(parameter);
        };
        if matches!(*verb, "create" | "update" | "patch") {
            ["dryRun", "fieldManager", "fieldValidation"].into_iter().for_each(&mut query);
        }
        if *verb == "delete" {
            query("dryRun");
        }
        let action = if *verb == "deletecollection" { "deletecollection" } else { verb };
        item.insert(
            (*method).to_owned(),
            json!({
                "operationId": format!("{verb}{}{}{}{subresource}", row.group.replace('.', ""), row.version, row.kind),
                "parameters": parameters,
                "responses": {"200": {"description": "OK"}},
                "x-kubernetes-action": action,
                "x-kubernetes-group-version-kind": {"group": kind.0, "version": kind.1, "kind": kind.2},
            }),
        );
    }
    Value::Object(item)
}

fn type_schema(kind: &Type, edition: Edition) -> Value {
    let mut own = json!({"description": kind.description, "type": "object"});
    let required: Vec<&str> =
        kind.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    if !required.is_empty() {
        own["required"] = json!(required);
    }
    if !kind.fields.is_empty() {
        let properties: Map<String, Value> =
            kind.fields.iter().map(|field| (field.name.clone(), field_schema(field, edition))).collect();
        own["properties"] = Value::Object(properties);
    }
    if kind.atomic {
        own["x-kubernetes-map-type"] = json!("atomic");
    }
    let kinds: Vec<Value> = RESOURCES
        .iter()
        .filter(|row| row.kind == kind.name)
        .map(|row| json!({"group": row.group, "version": row.version, "kind": row.kind}))
        .collect();
    if kind.name == "Scale" {
        own["x-kubernetes-group-version-kind"] = json!([{"group": "autoscaling", "version": "v1", "kind": "Scale"}]);
    } else if !kinds.is_empty() {
        own["x-kubernetes-group-version-kind"] = Value::Array(kinds);
    }
    own
}

fn field_schema(field: &Field, edition: Edition) -> Value {
    let mut own = shape_schema(&field.shape, edition);
    let reference = own.get("$ref").cloned();
    if let (Some(reference), Edition::Three) = (reference, edition) {
        // In version 3 a reference stands alone, so what is said beside it wraps it.
        own = json!({"allOf": [{"$ref": reference}], "default": {}});
    }
    if !field.description.is_empty() {
        own["description"] = json!(field.description);
    }
    if let Some(default) = &field.default {
        own["default"] = default.clone();
    }
    match &field.list {
        ListKind::Keyed(keys) => {
            own["x-kubernetes-list-type"] = json!("map");
            own["x-kubernetes-list-map-keys"] = json!(keys);
        }
        ListKind::Set => own["x-kubernetes-list-type"] = json!("set"),
        ListKind::Atomic if matches!(field.shape, Shape::List(_)) => own["x-kubernetes-list-type"] = json!("atomic"),
        ListKind::Atomic => {}
    }
    if field.atomic {
        own["x-kubernetes-map-type"] = json!("atomic");
    }
    let strategy = match (&field.merge, field.replace_keys) {
        (Some(_), true) => Some("merge,retainKeys"),
        (Some(_), false) => Some("merge"),
        (None, true) => Some("retainKeys"),
        (None, false) => None,
    };
    if let Some(strategy) = strategy {
        own["x-kubernetes-patch-strategy"] = json!(strategy);
    }
    if let Some(key) = field.merge.as_deref().filter(|key| !key.is_empty()) {
        own["x-kubernetes-patch-merge-key"] = json!(key);
    }
    own
}

fn shape_schema(shape: &Shape, edition: Edition) -> Value {
    match shape {
        Shape::Text => json!({"type": "string"}),
        Shape::Bool => json!({"type": "boolean"}),
        Shape::Int32 => json!({"type": "integer", "format": "int32"}),
        Shape::Int64 => json!({"type": "integer", "format": "int64"}),
        Shape::Quantity if edition == Edition::Two => json!({"type": "string"}),
        Shape::Quantity => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        Shape::IntOrString if edition == Edition::Two => json!({"type": "string", "format": "int-or-string"}),
        Shape::IntOrString => json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"}),
        Shape::Time | Shape::MicroTime => json!({"type": "string", "format": "date-time"}),
        Shape::Bytes => json!({"type": "string", "format": "byte"}),
        Shape::Anything => json!({"type": "object"}),
        Shape::Type(position) => {
            let place = if edition == Edition::Two { "definitions" } else { "components/schemas" };
            json!({"$ref": format!("#/{place}/{}", schema().at(*position).full_name())})
        }
        Shape::List(inner) => json!({"type": "array", "items": shape_schema(inner, edition)}),
        Shape::Map(inner) => json!({"type": "object", "additionalProperties": shape_schema(inner, edition)}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        fn references(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    into.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|member| references(member, into));
                }
                Value::Array(list) => list.iter().for_each(|item| references(item, into)),
                _ => {}
            }
        }
        for document in [v2().clone(), v3("apps", "v1").expect("apps/v1")] {
            let mut all = Vec::new();
            references(&document, &mut all);
            assert!(!all.is_empty());
            for reference in all {
                assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
            }
        }
    }

    #[test]
    fn every_stored_kind_can_be_found_by_its_group_version_and_kind() {
        for row in RESOURCES.iter().filter(|row| row.is_stored()) {
            let found = v2()["definitions"].as_object().expect("definitions").values().any(|definition| {
                definition["x-kubernetes-group-version-kind"]
                    == json!([{"group": row.group, "version": row.version, "kind": row.kind}])
            });
            assert!(found, "{}", row.kind);
        }
    }
}
