//! Writing: create, update, the four kinds of patch, delete.

use std::sync::Arc;

use serde_json::{Value, json};

use super::body::{check_fields, check_object, decode};
use super::read::{Filter, form};
use super::{Reply, Request, Target};
use crate::apply;
use crate::cluster::Cluster;
use crate::error::{Cause, Reason, Status};
use crate::object::{drop_nulls, is_terminating, name, remove, text, uid};
use crate::patch;
use crate::registry::{DeleteOptions, Deleted, Propagation, WriteOptions, has_status};
use crate::schema::schema;
use crate::state::{Key, list_object};

/// The kinds of patch, by their media types.
const PATCH_TYPES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];

/// How a request wants to write.
pub(super) fn options(request: &Request) -> Result<WriteOptions, Status> {
    let dry_run = dry_run(request)?;
    let agent = request.user_agent.split('/').next().unwrap_or("").to_owned();
    let manager = match request.query("fieldManager") {
        "" if agent.is_empty() => "unknown".to_owned(),
        "" => agent,
        given => given.to_owned(),
    };
    if manager.len() > 128 {
        let cause = Cause::invalid("fieldManager", &json!(manager), "may not be more than 128 bytes");
        return Err(Status::invalid("meta.k8s.io", "CreateOptions", "", vec![cause]));
    }
    Ok(WriteOptions { manager, dry_run, ..WriteOptions::default() })
}

fn dry_run(request: &Request) -> Result<bool, Status> {
    match request.query("dryRun") {
        "" => Ok(false),
        "All" => Ok(true),
        other => {
            let cause = Cause::not_supported("dryRun", &json!(other), &["All"]);
            Err(Status::invalid("meta.k8s.io", "CreateOptions", "", vec![cause]))
        }
    }
}

impl Cluster {
    pub(super) fn create_one(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        if target.row.namespaced && target.namespace.is_empty() {
            return Err(Status::method_not_allowed());
        }
        let mut object = decode(request)?;
        drop_nulls(&mut object);
        let api_version = target.row.api_version();
        let warnings = check_object(request, target, (&api_version, target.row.kind), &mut object)?;
        let created = self.create(target.row.id, object, &options(request)?)?;
        self.written(request, target, 201, &created, warnings)
    }

    pub(super) fn written(
        &self,
        request: &Request,
        target: &Target,
        code: u16,
        object: &Value,
        warnings: Vec<String>,
    ) -> Result<Reply, Status> {
        let body = self.render_one(target.row.id, object, form(request)?);
        Ok(Reply::Json { code, body, warnings })
    }

    pub(super) fn replace_one(
        &mut self,
        request: &Request,
        target: &Target,
        subresource: &str,
    ) -> Result<Reply, Status> {
        let mut object = decode(request)?;
        drop_nulls(&mut object);
        let api_version = target.row.api_version();
        let warnings = check_object(request, target, (&api_version, target.row.kind), &mut object)?;
        let updated = self.update(target.row.id, subresource, object, &options(request)?)?;
        self.written(request, target, 200, &updated, warnings)
    }

    pub(super) fn patch_one(&mut self, request: &Request, target: &Target, subresource: &str) -> Result<Reply, Status> {
        let media = request.content_type.split(';').next().unwrap_or("").trim().to_owned();
        if media == "application/apply-patch+yaml" {
            return self.apply_one(request, target, subresource);
        }
        let live = self.find(target)?.clone();
        let mut new = patched(&media, request, target.row.kind, &live)?;
        drop_nulls(&mut new);
        let warnings = check_fields(request, target.row.kind, &target.row.api_version(), &new)?;
        if (name(&new), crate::object::namespace(&new)) != (name(&live), crate::object::namespace(&live)) {
            let cause = Cause::invalid("metadata.name", &json!(name(&new)), "field is immutable");
            return Err(Status::invalid(target.row.group, target.row.kind, name(&live), vec![cause]));
        }
        let updated = self.update(target.row.id, subresource, new, &options(request)?)?;
        self.written(request, target, 200, &updated, warnings)
    }

    fn apply_one(&mut self, request: &Request, target: &Target, subresource: &str) -> Result<Reply, Status> {
        let row = target.row;
        if request.query("fieldManager").is_empty() {
            let cause = Cause::required("fieldManager", "is required for apply patch");
            return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
        }
        let mut config = decode(request)?;
        drop_nulls(&mut config);
        let warnings = check_object(request, target, (&row.api_version(), row.kind), &mut config)?;
        if !crate::object::items(&config, "/metadata/managedFields").is_empty() {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        if has_status(row) && subresource.is_empty() {
            remove(&mut config, &["status"]);
        }
        let live = self.store.get(row.id, &target.namespace, &target.name).cloned();
        check_version(&config, live.as_deref(), row.group, row.plural)?;
        remove(&mut config, &["metadata", "resourceVersion"]);
        let mut options = options(request)?;
        let manager = self.manager(row, subresource, &options.manager);
        let shape = schema().kind(row.kind);
        let state = live.as_deref().unwrap_or(&Value::Null);
        let new = apply::apply(&shape, state, &config, &manager, request.is_set("force"))?;
        options.tracked = true;
        let (code, object) = match live {
            None if !subresource.is_empty() => return Err(Status::not_found(row.group, row.plural, &target.name)),
            None => (201, self.create(row.id, new, &options)?),
            Some(_) => (200, self.update(row.id, subresource, new, &options)?),
        };
        self.written(request, target, code, &object, warnings)
    }

    pub(super) fn delete_one(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let options = delete_options(request)?;
        let key = Key::new(target.row.id, &target.namespace, &target.name);
        match self.delete(&key, &options)? {
            Deleted::Gone(object) => Ok(Reply::ok(json!({
                "kind": "Status",
                "apiVersion": "v1",
                "metadata": {},
                "status": "Success",
                "details": {"name": name(&object), "group": target.row.group, "kind": target.row.plural, "uid": uid(&object)},
            }))),
            Deleted::Pending(object) => Ok(Reply::ok(object.as_ref().clone())),
        }
    }

    pub(super) fn delete_many(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let options = delete_options(request)?;
        let filter = Filter::of(request, target)?;
        let chosen: Vec<Arc<Value>> =
            self.store.list(target.row.id, None).filter(|object| filter.matches(object)).cloned().collect();
        let mut deleted = Vec::new();
        for object in chosen {
            if is_terminating(&object) && options.grace_seconds.is_none() {
                deleted.push(object.as_ref().clone());
                continue;
            }
            match self.delete(&Key::of(target.row.id, &object), &options) {
                Ok(Deleted::Gone(last) | Deleted::Pending(last)) => deleted.push(last.as_ref().clone()),
                Err(status) if status.reason == Reason::NotFound => {}
                Err(status) => return Err(status),
            }
        }
        Ok(Reply::ok(list_object(target.row.id, self.store.version(), deleted)))
    }
}

/// The object after a patch of one of the three older kinds.
pub(super) fn patched(media: &str, request: &Request, kind: &str, live: &Value) -> Result<Value, Status> {
    let change: Value = serde_json::from_slice(&request.body)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    match media {
        "application/json-patch+json" => patch::json_patch(live, &change),
        "application/merge-patch+json" if change.is_object() => Ok(patch::merge_patch(live, &change)),
        "application/merge-patch+json" => Err(Status::bad_request("error decoding patch: a merge patch is an object")),
        "application/strategic-merge-patch+json" => patch::strategic_merge(&schema().kind(kind), live, &change),
        other => {
            let message = format!(
                "the body of the request was in an unknown format - accepted media types include: {} (got {other})",
                PATCH_TYPES.join(", ")
            );
            Err(Status::new(Reason::UnsupportedMediaType, message))
        }
    }
}

fn check_version(config: &Value, live: Option<&Value>, group: &str, plural: &str) -> Result<(), Status> {
    let wanted = text(config, "/metadata/resourceVersion");
    match live {
        _ if wanted.is_empty() => Ok(()),
        Some(live) if text(live, "/metadata/resourceVersion") == wanted => Ok(()),
        _ => Err(Status::modified(group, plural, name(config))),
    }
}

/// `DeleteOptions`, from the body or from the query.
pub(super) fn delete_options(request: &Request) -> Result<DeleteOptions, Status> {
    let body = if request.body.is_empty() { Value::Null } else { decode(request)? };
    let part = |field: &str| match body.get(field) {
        Some(Value::Null) | None => request.query(field).to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let orphans = part("orphanDependents");
    let propagation = match (part("propagationPolicy").as_str(), orphans.as_str()) {
        ("Foreground", _) => Propagation::Foreground,
        ("Orphan", _) | ("", "true") => Propagation::Orphan,
        ("Background" | "", _) => Propagation::Background,
        (other, _) => {
            let cause =
                Cause::not_supported("propagationPolicy", &json!(other), &["Foreground", "Background", "Orphan"]);
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
        }
    };
    let grace = part("gracePeriodSeconds");
    let grace_seconds = match grace.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| Status::bad_request(format!("invalid gracePeriodSeconds: {text}")))?),
    };
    let precondition = |field: &str| {
        let value = text(&body, &format!("/preconditions/{field}"));
        (!value.is_empty()).then(|| value.to_owned())
    };
    let in_body = crate::object::items(&body, "/dryRun").iter().any(|word| word == "All");
    Ok(DeleteOptions {
        grace_seconds,
        propagation,
        uid: precondition("uid"),
        resource_version: precondition("resourceVersion"),
        dry_run: in_body || dry_run(request)?,
    })
}
