//! Bodies: JSON and YAML into objects, bounded, with the real server's checks of apiVersion, kind and fields.

use serde_json::Value;

use super::{Request, Target, protobuf};
use crate::error::{Reason, Status};
use crate::object::{name, namespace, set, text};
use crate::registry::namespace_mismatch;
use crate::schema::{check, schema};

/// Deepest nesting of a body.
const DEPTH_MAX: usize = 100;

/// Documents in one stream of manifests.
const MANIFESTS_MAX: usize = 10_000;

/// Reads a body in the given media type as one JSON value.
///
/// # Errors
/// 415 for a type that is not understood, 400 for what cannot be read.
pub(super) fn decode(request: &Request) -> Result<Value, Status> {
    let media = request.content_type.split(';').next().unwrap_or("").trim();
    match media {
        "application/yaml" | "application/apply-patch+yaml" => yaml(&request.body),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(&request.body).map_err(Status::bad_request),
        "application/cbor" => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml (got {media})"
            );
            Err(Status::new(Reason::UnsupportedMediaType, message))
        }
        _ => json(&request.body),
    }
}

fn json(body: &[u8]) -> Result<Value, Status> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Status::bad_request(format!("couldn't get version/kind; json parse error: {error}")))?;
    limit_depth(value)
}

fn yaml(body: &[u8]) -> Result<Value, Status> {
    let text = std::str::from_utf8(body).map_err(|_| Status::bad_request("the body is not UTF-8"))?;
    let value: Value = serde_saphyr::from_str(text)
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
    limit_depth(value)
}

fn limit_depth(value: Value) -> Result<Value, Status> {
    fn depth(value: &Value, left: usize) -> bool {
        left > 0
            && match value {
                Value::Object(members) => members.values().all(|member| depth(member, left - 1)),
                Value::Array(list) => list.iter().all(|item| depth(item, left - 1)),
                _ => true,
            }
    }
    if depth(&value, DEPTH_MAX) { Ok(value) } else { Err(Status::bad_request("the body is nested too deeply")) }
}

/// Reads a stream of YAML documents (or JSON, which is YAML) into objects; `List`s are unfolded, empty documents passed over.
///
/// # Errors
/// A sentence with line and column.
pub fn read_manifests(source: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(source).map_err(|error| error.to_string())?;
    let mut objects = Vec::new();
    for document in documents {
        let document = limit_depth(document).map_err(|status| status.message)?;
        match document {
            Value::Null => {}
            Value::Object(ref members)
                if text(&document, "/kind").ends_with("List") && members.contains_key("items") =>
            {
                objects.extend(crate::object::items(&document, "/items").iter().cloned());
            }
            Value::Object(_) => objects.push(document),
            other => return Err(format!("a manifest is an object, not {other}")),
        }
        if objects.len() > MANIFESTS_MAX {
            return Err(format!("more than {MANIFESTS_MAX} manifests"));
        }
    }
    Ok(objects)
}

/// Checks an object against the kind of its path, and fills in the namespace of the request.
///
/// # Errors
/// 400 in the words of the real decoder. Warnings are for `fieldValidation=Warn`, the default.
pub(super) fn check_object(
    request: &Request,
    target: &Target,
    kind: (&str, &str),
    object: &mut Value,
) -> Result<Vec<String>, Status> {
    if !object.is_object() {
        return Err(Status::bad_request("the object provided is unrecognized (must be of type object)"));
    }
    let (api_version, kind) = kind;
    for (field, expected) in [("apiVersion", api_version), ("kind", kind)] {
        let given = text(object, &format!("/{field}")).to_owned();
        if given.is_empty() {
            set(object, &[field], expected);
        } else if given != expected {
            let what = if field == "kind" { "kind" } else { "API version" };
            return Err(Status::bad_request(format!(
                "the {what} in the data ({given}) does not match the expected {what} ({expected})"
            )));
        }
    }
    let warnings = check_fields(request, kind, api_version, object)?;
    if !object.get("metadata").is_some_and(Value::is_object) {
        set(object, &["metadata"], serde_json::json!({}));
    }
    if target.row.namespaced {
        let given = namespace(object).to_owned();
        if !given.is_empty() && given != target.namespace {
            return Err(namespace_mismatch(&given, &target.namespace));
        }
        set(object, &["metadata", "namespace"], target.namespace.as_str());
    }
    if !target.name.is_empty() {
        let given = name(object).to_owned();
        if given.is_empty() {
            set(object, &["metadata", "name"], target.name.as_str());
        } else if given != target.name {
            return Err(Status::bad_request(format!(
                "the name of the object ({given}) does not match the name on the URL ({})",
                target.name
            )));
        }
    }
    Ok(warnings)
}

/// Checks the fields of an object by the request's `fieldValidation`.
///
/// # Errors
/// 400 for wrong types, and for unknown fields with `Strict`.
pub(super) fn check_fields(
    request: &Request,
    kind: &str,
    api_version: &str,
    object: &Value,
) -> Result<Vec<String>, Status> {
    let findings = check(&schema().kind(kind), object);
    let version = api_version.rsplit('/').next().unwrap_or("");
    let refusal = |why: String| {
        Status::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"))
    };
    if let Some(mismatch) = findings.mismatch {
        return Err(refusal(mismatch));
    }
    let complaints: Vec<String> = findings.unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    match request.query("fieldValidation") {
        "Strict" if !complaints.is_empty() => Err(refusal(format!("strict decoding error: {}", complaints.join(", ")))),
        "Ignore" => Ok(Vec::new()),
        "" | "Warn" | "Strict" => Ok(complaints),
        other => {
            let cause = crate::error::Cause::not_supported(
                "fieldValidation",
                &serde_json::json!(other),
                &["Ignore", "Strict", "Warn"],
            );
            Err(Status::invalid("meta.k8s.io", "CreateOptions", "", vec![cause]))
        }
    }
}
