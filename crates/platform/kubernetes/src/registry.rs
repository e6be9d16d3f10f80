//! What a write means: names and uids, defaults and admission, validation, optimistic concurrency, generations,
//! finalizers and graceful deletion. Everything that changes an object comes through here.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admission;
use crate::apply::{self, Manager};
use crate::cluster::Cluster;
use crate::defaults::apply_defaults;
use crate::error::{Cause, Reason, Status};
use crate::object::{self, finalizers, int, is_terminating, items, name, namespace, set, slot, text, uid};
use crate::resources::{Resource, ResourceId};
use crate::schema::schema;
use crate::state::Key;
use crate::time::{parse, rfc3339};
use crate::validation::{validate, validate_update};

/// How an object is written.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Who is noted in `managedFields`.
    pub manager: String,
    /// Do everything but store.
    pub dry_run: bool,
    /// A controller or kubelet writes: the status of a new object is taken as given.
    pub internal: bool,
    /// `managedFields` has been computed already (server-side apply).
    pub tracked: bool,
}

impl WriteOptions {
    /// A write by one of the cluster's own components.
    pub fn internal(manager: &str) -> WriteOptions {
        WriteOptions { manager: manager.to_owned(), internal: true, ..WriteOptions::default() }
    }
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// They are collected after the owner is gone.
    #[default]
    Background,
    /// They go first.
    Foreground,
    /// They stay, without owner.
    Orphan,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// `gracePeriodSeconds`.
    pub grace_seconds: Option<i64>,
    /// `propagationPolicy`.
    pub propagation: Propagation,
    /// `preconditions.uid`.
    pub uid: Option<String>,
    /// `preconditions.resourceVersion`.
    pub resource_version: Option<String>,
    /// Do everything but store.
    pub dry_run: bool,
}

/// What a deletion came to.
#[derive(Debug)]
pub enum Deleted {
    /// The object is gone; its last state.
    Gone(Arc<Value>),
    /// The object waits for its finalizers or its grace period.
    Pending(Arc<Value>),
}

impl Cluster {
    /// Creates an object.
    ///
    /// # Errors
    /// 400, 403, 404 (of the namespace), 409 or 422, as the real server answers.
    pub fn create(
        &mut self,
        resource: ResourceId,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Status> {
        let row = resource.row();
        object::drop_nulls(&mut object);
        self.check_namespace(row, &object)?;
        self.name_object(row, &mut object)?;
        let existing = Key::of(resource, &object);
        if self.store.at(&existing).is_some() {
            return Err(Status::already_exists(row.group, row.plural, &existing.name));
        }
        if !text(&object, "/metadata/resourceVersion").is_empty() {
            return Err(Status::bad_request("resourceVersion should not be set on objects to be created"));
        }
        self.start_metadata(row, &mut object);
        if has_status(row) && !options.internal {
            object::remove(&mut object, &["status"]);
        }
        apply_defaults(resource, &mut object);
        admission::on_create(self, resource, &mut object, options)?;
        refuse(row, &object, validate(row, &object))?;
        if !options.tracked {
            let manager = self.manager(row, "", &options.manager);
            apply::track(&schema().kind(row.kind), &Value::Null, &mut object, &manager);
        }
        if options.dry_run {
            return Ok(Arc::new(object));
        }
        Ok(self.store.insert(resource, object))
    }

    /// Replaces an object, or its status.
    ///
    /// # Errors
    /// 404, 409 (a newer version exists), 422.
    pub fn update(
        &mut self,
        resource: ResourceId,
        subresource: &str,
        mut new: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Value>, Status> {
        let row = resource.row();
        object::drop_nulls(&mut new);
        let key = Key::of(resource, &new);
        let old = self.store.at(&key).cloned().ok_or_else(|| Status::not_found(row.group, row.plural, &key.name))?;
        check_preconditions(row, &old, text(&new, "/metadata/resourceVersion"), text(&new, "/metadata/uid"))?;
        carry_over(row, subresource, &old, &mut new);
        apply_defaults(resource, &mut new);
        admission::on_update(self, resource, &old, &mut new)?;
        if subresource.is_empty() {
            let mut causes = validate(row, &new);
            causes.extend(validate_update(row, &old, &new));
            refuse(row, &new, causes)?;
            if new.get("spec") != old.get("spec") && has_generation(row) {
                set(&mut new, &["metadata", "generation"], int(&old, "/metadata/generation").unwrap_or(0) + 1);
            }
        }
        if !options.tracked {
            let manager = self.manager(row, subresource, &options.manager);
            apply::track(&schema().kind(row.kind), &old, &mut new, &manager);
        }
        if options.dry_run || is_same(&old, &new) {
            return Ok(if options.dry_run { Arc::new(new) } else { old });
        }
        let stored = self.store.replace(resource, new);
        Ok(self.finish_if_released(&key, stored))
    }

    /// Deletes an object, at once or gracefully.
    ///
    /// # Errors
    /// 404, 409 (preconditions), 403 (namespaces that may not go).
    pub fn delete(&mut self, key: &Key, options: &DeleteOptions) -> Result<Deleted, Status> {
        let row = key.resource.row();
        let old = self.store.at(key).cloned().ok_or_else(|| Status::not_found(row.group, row.plural, &key.name))?;
        let wanted = (options.resource_version.as_deref().unwrap_or(""), options.uid.as_deref().unwrap_or(""));
        check_delete_preconditions(row, &old, wanted.0, wanted.1)?;
        if row.id == ResourceId::Namespaces && matches!(key.name.as_str(), "default" | "kube-system" | "kube-public") {
            return Err(Status::forbidden(row.group, row.plural, &key.name, "this namespace may not be deleted"));
        }
        if options.dry_run {
            return Ok(Deleted::Gone(old));
        }
        let mut new = old.as_ref().clone();
        add_propagation(&mut new, options.propagation);
        let grace = self.grace(&old, row, options.grace_seconds);
        let held = grace > 0 || !finalizers(&new).is_empty() || holds_namespace(&new, row);
        if !held {
            return Ok(self.store.remove(key).map_or(Deleted::Gone(old), Deleted::Gone));
        }
        self.begin_deletion(&old, &mut new, grace, row);
        if is_same(&old, &new) {
            return Ok(Deleted::Pending(old));
        }
        Ok(Deleted::Pending(self.store.replace(key.resource, new)))
    }

    fn begin_deletion(&mut self, old: &Value, new: &mut Value, grace: i64, row: &Resource) {
        let shorter = int(old, "/metadata/deletionGracePeriodSeconds").is_none_or(|present| grace < present);
        if !is_terminating(old) || shorter {
            let asked = if is_terminating(old) {
                let present =
                    Duration::from_secs(int(old, "/metadata/deletionGracePeriodSeconds").unwrap_or(0).unsigned_abs());
                parse(text(old, "/metadata/deletionTimestamp")).unwrap_or(self.wall()).saturating_sub(present)
            } else {
                self.wall()
            };
            let at = asked + Duration::from_secs(grace.unsigned_abs());
            set(new, &["metadata", "deletionTimestamp"], rfc3339(at));
            set(new, &["metadata", "deletionGracePeriodSeconds"], grace);
            if has_generation(row) {
                set(new, &["metadata", "generation"], int(old, "/metadata/generation").unwrap_or(0) + 1);
            }
        }
        if row.id == ResourceId::Namespaces {
            set(new, &["status", "phase"], "Terminating");
        }
    }

    /// Pods that are bound and not finished get their grace period; everything else goes at once.
    fn grace(&self, old: &Value, row: &Resource, asked: Option<i64>) -> i64 {
        if row.id != ResourceId::Pods {
            return 0;
        }
        let finished = matches!(text(old, "/status/phase"), "Succeeded" | "Failed");
        if finished || text(old, "/spec/nodeName").is_empty() {
            return 0;
        }
        let own = int(old, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        asked.unwrap_or(own).max(0)
    }

    /// A terminating object whose last finalizer went is removed.
    fn finish_if_released(&mut self, key: &Key, stored: Arc<Value>) -> Arc<Value> {
        let row = key.resource.row();
        let graceful = int(&stored, "/metadata/deletionGracePeriodSeconds").unwrap_or(0) > 0;
        let released =
            is_terminating(&stored) && finalizers(&stored).is_empty() && !graceful && !holds_namespace(&stored, row);
        if released { self.store.remove(key).unwrap_or(stored) } else { stored }
    }

    /// The manager entry of a write.
    pub(crate) fn manager(&self, row: &Resource, subresource: &str, name: &str) -> Manager {
        Manager {
            name: name.to_owned(),
            api_version: row.api_version(),
            subresource: subresource.to_owned(),
            time: rfc3339(self.wall()),
        }
    }

    fn check_namespace(&self, row: &Resource, object: &Value) -> Result<(), Status> {
        if !row.namespaced {
            return Ok(());
        }
        let space = namespace(object);
        let Some(home) = self.store.get(ResourceId::Namespaces, "", space) else {
            return Err(Status::not_found("", "namespaces", space));
        };
        // Events about what goes away are still told.
        if is_terminating(home) && row.id != ResourceId::Events {
            let why = format!("unable to create new content in namespace {space} because it is being terminated");
            let mut status = Status::forbidden(row.group, row.plural, name(object), &why);
            status.details["causes"] = json!([{"reason": "NamespaceTerminating", "message": format!("namespace {space} is being terminated"), "field": "metadata.namespace"}]);
            return Err(status);
        }
        Ok(())
    }

    fn name_object(&mut self, row: &Resource, object: &mut Value) -> Result<(), Status> {
        if !object.get("metadata").is_some_and(Value::is_object) {
            set(object, &["metadata"], json!({}));
        }
        if !row.namespaced && !namespace(object).is_empty() {
            object::remove(object, &["metadata", "namespace"]);
        }
        if !name(object).is_empty() {
            return Ok(());
        }
        let prefix: String = text(object, "/metadata/generateName").chars().take(58).collect();
        if prefix.is_empty() {
            let causes = vec![Cause::required("metadata.name", "name or generateName is required")];
            return Err(Status::invalid(row.group, row.kind, "", causes));
        }
        let suffix = self.name_suffix();
        set(object, &["metadata", "name"], format!("{prefix}{suffix}"));
        Ok(())
    }

    fn start_metadata(&mut self, row: &Resource, object: &mut Value) {
        let uid = self.fresh_uid();
        let now = rfc3339(self.wall());
        set(object, &["kind"], row.kind);
        set(object, &["apiVersion"], row.api_version());
        set(object, &["metadata", "uid"], uid);
        set(object, &["metadata", "creationTimestamp"], now);
        for part in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
            object::remove(object, &["metadata", part]);
        }
        if has_generation(row) {
            set(object, &["metadata", "generation"], 1);
        }
    }
}

/// Whether the kind's status is written through its own subresource.
pub fn has_status(row: &Resource) -> bool {
    row.subresource("status").is_some()
}

fn has_generation(row: &Resource) -> bool {
    matches!(row.id, ResourceId::Deployments | ResourceId::ReplicaSets | ResourceId::Pods | ResourceId::EndpointSlices)
}

fn holds_namespace(object: &Value, row: &Resource) -> bool {
    row.id == ResourceId::Namespaces && !items(object, "/spec/finalizers").is_empty()
}

fn refuse(row: &Resource, object: &Value, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(Status::invalid(row.group, row.kind, name(object), causes)) }
}

fn check_preconditions(row: &Resource, old: &Value, version: &str, wanted_uid: &str) -> Result<(), Status> {
    if !wanted_uid.is_empty() && wanted_uid != uid(old) {
        let why = format!("Precondition failed: UID in precondition: {wanted_uid}, UID in object meta: {}", uid(old));
        return Err(Status::conflict(row.group, row.plural, name(old), &why));
    }
    if !version.is_empty() && version != "0" && version != text(old, "/metadata/resourceVersion") {
        return Err(Status::modified(row.group, row.plural, name(old)));
    }
    Ok(())
}

fn check_delete_preconditions(row: &Resource, old: &Value, version: &str, wanted_uid: &str) -> Result<(), Status> {
    check_preconditions(row, old, "", wanted_uid)?;
    let present = text(old, "/metadata/resourceVersion");
    if !version.is_empty() && version != present {
        let why = format!(
            "Precondition failed: ResourceVersion in precondition: {version}, ResourceVersion in object meta: {present}"
        );
        return Err(Status::conflict(row.group, row.plural, name(old), &why));
    }
    Ok(())
}

/// What a writer cannot change is taken from the old object.
fn carry_over(row: &Resource, subresource: &str, old: &Value, new: &mut Value) {
    if subresource == "status" {
        let status = new.get("status").cloned();
        let managed = new.pointer("/metadata/managedFields").cloned();
        let mut whole = old.clone();
        match status {
            Some(status) => set(&mut whole, &["status"], status),
            None => object::remove(&mut whole, &["status"]),
        }
        if let Some(managed) = managed {
            set(&mut whole, &["metadata", "managedFields"], managed);
        }
        *new = whole;
        return;
    }
    set(new, &["kind"], row.kind);
    set(new, &["apiVersion"], row.api_version());
    for part in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "resourceVersion",
        "generateName",
    ] {
        match old["metadata"].get(part) {
            Some(value) => set(new, &["metadata", part], value.clone()),
            None => object::remove(new, &["metadata", part]),
        }
    }
    if has_status(row) {
        match old.get("status") {
            Some(status) => set(new, &["status"], status.clone()),
            None => object::remove(new, &["status"]),
        }
    }
    if row.id == ResourceId::Namespaces && subresource != "finalize" {
        let held = old.pointer("/spec/finalizers").cloned().unwrap_or(json!([]));
        set(new, &["spec", "finalizers"], held);
    }
    if row.id == ResourceId::Pods {
        // A binding is for good, whoever writes the spec.
        if let Some(node) = old.pointer("/spec/nodeName").filter(|node| node.as_str() != Some("")) {
            object::set_default(new, &["spec", "nodeName"], node.clone());
        }
    }
}

fn add_propagation(object: &mut Value, propagation: Propagation) {
    let finalizer = match propagation {
        Propagation::Background => return,
        Propagation::Foreground => "foregroundDeletion",
        Propagation::Orphan => "orphan",
    };
    let list = slot(object, &["metadata", "finalizers"]);
    if !list.is_array() {
        *list = json!([]);
    }
    if let Some(list) = list.as_array_mut().filter(|list| !list.iter().any(|held| held == finalizer)) {
        list.push(json!(finalizer));
    }
}

/// Whether a write changes nothing; the order of map keys does not count, the resource version neither.
fn is_same(old: &Value, new: &Value) -> bool {
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else { return false };
    let metadata_same = || {
        let own = |object: &serde_json::Map<String, Value>| {
            let mut metadata = object.get("metadata").cloned().unwrap_or(Value::Null);
            object::remove(&mut metadata, &["resourceVersion"]);
            metadata
        };
        own(old) == own(new)
    };
    old.len() == new.len()
        && old.iter().all(|(part, value)| part == "metadata" || new.get(part) == Some(value))
        && metadata_same()
}

/// The refusal of a namespaced request whose body names another namespace.
pub fn namespace_mismatch(object_namespace: &str, request_namespace: &str) -> Status {
    Status::new(
        Reason::BadRequest,
        format!(
            "the namespace of the provided object does not match the namespace sent on the request (object: {object_namespace}, request: {request_namespace})"
        ),
    )
}
