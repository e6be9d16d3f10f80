//! Reading: get, list in pages, watch, in the form that the client accepts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{Reply, Request, Target};
use crate::cluster::Cluster;
use crate::error::{Cause, Reason, Status};
use crate::object::{labels, name, namespace, text};
use crate::resources::{Resource, ResourceId};
use crate::selector::{FieldSelector, LabelSelector};
use crate::state::{Event, EventKind, list_object};
use crate::table::{self, Include};

/// How objects are written to the client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    Object,
    Table(Include, &'static str),
    Partial,
}

/// Reads `Accept`; the first form that can be produced wins.
pub(super) fn form(request: &Request) -> Result<Form, Status> {
    let accept = &request.accept;
    for entry in accept.split(',').map(str::trim) {
        let mut parts = entry.split(';').map(str::trim);
        let media = parts.next().unwrap_or("");
        if !matches!(media, "application/json" | "*/*" | "application/*" | "") {
            continue;
        }
        let parts: Vec<&str> = parts.collect();
        let version = if parts.contains(&"v=v1beta1") { "v1beta1" } else { "v1" };
        let wanted = parts.iter().find_map(|part| part.strip_prefix("as="));
        match wanted {
            None => return Ok(Form::Object),
            Some("Table") => {
                let include = match request.query("includeObject") {
                    "Object" => Include::Object,
                    "None" => Include::Nothing,
                    _ => Include::Metadata,
                };
                return Ok(Form::Table(include, version));
            }
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Ok(Form::Partial),
            Some(_) => {}
        }
    }
    require_json(accept).map(|()| Form::Object)
}

/// Refuses clients that do not take JSON.
pub(super) fn require_json(accept: &str) -> Result<(), Status> {
    let json = |entry: &str| {
        matches!(entry.split(';').next().unwrap_or("").trim(), "application/json" | "*/*" | "application/*" | "")
    };
    if accept.split(',').any(json) {
        return Ok(());
    }
    let message = "only the following media types are accepted: application/json, application/json;stream=watch";
    Err(Status::new(Reason::NotAcceptable, message))
}

/// Which objects a list or watch is about.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    pub namespace: String,
    pub labels: LabelSelector,
    pub fields: FieldSelector,
}

impl Filter {
    pub fn of(request: &Request, target: &Target) -> Result<Filter, Status> {
        let mut fields = request.query("fieldSelector").to_owned();
        if !target.name.is_empty() {
            fields = format!("metadata.name={}", target.name);
        }
        Ok(Filter {
            namespace: target.namespace.clone(),
            labels: LabelSelector::parse(request.query("labelSelector"))?,
            fields: FieldSelector::parse(&fields, target.row.selectable)?,
        })
    }

    pub fn matches(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || namespace(object) == self.namespace)
            && self.labels.matches(labels(object))
            && self.fields.matches(object)
    }
}

impl Cluster {
    pub(super) fn read_one(&self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let form = form(request)?;
        let object = self.find(target)?;
        Ok(Reply::ok(self.render_one(target.row.id, object, form)))
    }

    /// The object that a path names.
    pub(super) fn find(&self, target: &Target) -> Result<&Arc<Value>, Status> {
        let found = self.store.get(target.row.id, &target.namespace, &target.name);
        found.ok_or_else(|| Status::not_found(target.row.group, target.row.plural, &target.name))
    }

    pub(super) fn render_one(&self, resource: ResourceId, object: &Value, form: Form) -> Value {
        match form {
            Form::Object => object.clone(),
            Form::Partial => table::partial(object),
            Form::Table(include, version) => {
                let mut rendered = table::table(resource, &[object], include, self.wall(), true);
                rendered["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
                rendered["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
                rendered
            }
        }
    }

    pub(super) fn read_list(&self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let form = form(request)?;
        let filter = Filter::of(request, target)?;
        let page = Page::of(request, self.store.version())?;
        let objects = self.store.list_at(target.row.id, page.version).ok_or_else(|| expired_page(request))?;
        let mut matching = objects.iter().filter(|object| {
            let place = (namespace(object), name(object));
            page.after.as_ref().is_none_or(|after| place > (after.0.as_str(), after.1.as_str()))
                && filter.matches(object)
        });
        let mut shown: Vec<&Value> = Vec::new();
        for object in matching.by_ref() {
            shown.push(object);
            if page.limit.is_some_and(|limit| shown.len() >= limit) {
                break;
            }
        }
        let left = matching.count();
        let mut list = match form {
            Form::Object => {
                list_object(target.row.id, page.version, shown.iter().map(|object| strip_kind(object)).collect())
            }
            Form::Partial => {
                let items: Vec<Value> = shown.iter().map(|object| table::partial(object)).collect();
                json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "items": items})
            }
            Form::Table(include, version) => {
                let mut rendered = table::table(target.row.id, &shown, include, self.wall(), true);
                rendered["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
                rendered
            }
        };
        list["metadata"]["resourceVersion"] = json!(page.version.to_string());
        if let (true, Some(last)) = (left > 0, shown.last()) {
            list["metadata"]["continue"] = json!(page.token(namespace(last), name(last)));
            if request.query("labelSelector").is_empty() && request.query("fieldSelector").is_empty() {
                list["metadata"]["remainingItemCount"] = json!(left);
            }
        }
        Ok(Reply::ok(list))
    }

    pub(super) fn start_watch(&self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let form = form(request)?;
        let filter = Filter::of(request, target)?;
        let asked = request.query("resourceVersion");
        let initial = match (request.query("sendInitialEvents"), asked) {
            ("true", _) => true,
            ("false", _) => false,
            (_, asked) => matches!(asked, "" | "0"),
        };
        let from = match asked {
            "" | "0" => self.store.version(),
            text => text.parse().map_err(|_| bad_version(target.row, text))?,
        };
        if from > self.store.version() {
            let message = format!("Too large resource version: {from}, current: {}", self.store.version());
            return Err(Status::new(Reason::ServiceUnavailable, message));
        }
        let mut watch = Watch {
            row: target.row,
            filter,
            form,
            cursor: from,
            ready: VecDeque::new(),
            bookmarks: request.is_set("allowWatchBookmarks"),
            headers: true,
            timeout: timeout(request),
        };
        if initial {
            watch.cursor = self.store.version();
            let present = self.store.list(target.row.id, None).filter(|object| watch.filter.matches(object));
            watch.ready.extend(present.map(|object| ("ADDED", object.clone())));
            if request.query("sendInitialEvents") == "true" {
                watch.ready.push_back(("INITIAL", Arc::new(Value::Null)));
            }
        } else if self.store.events_after(from).is_none() {
            watch.ready.push_back(("ERROR", Arc::new(too_old(from, self.store.version()).to_value())));
        }
        Ok(Reply::Watch(Box::new(watch)))
    }
}

/// The items of a list carry no kind of their own, as the real server writes them.
fn strip_kind(object: &Value) -> Value {
    let mut item = object.clone();
    crate::object::remove(&mut item, &["kind"]);
    crate::object::remove(&mut item, &["apiVersion"]);
    item
}

fn timeout(request: &Request) -> Duration {
    // Between half an hour and an hour on the real server, chosen so that clients do not all return at once.
    let asked = request.query("timeoutSeconds").parse().unwrap_or(0);
    Duration::from_secs(if asked == 0 { 1800 } else { asked })
}

fn bad_version(row: &Resource, given: &str) -> Status {
    let cause = Cause::invalid("resourceVersion", &json!(given), "strconv.ParseUint: invalid syntax");
    Status::invalid(row.group, row.kind, "", vec![cause])
}

fn too_old(from: u64, oldest: u64) -> Status {
    Status::expired(format!("too old resource version: {from} ({oldest})"))
}

fn expired_page(request: &Request) -> Status {
    if request.query("continue").is_empty() {
        return Status::expired(format!(
            "The resourceVersion for the provided list is too old: {}",
            request.query("resourceVersion")
        ));
    }
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter.",
    )
}

/// One page of a list.
struct Page {
    version: u64,
    limit: Option<usize>,
    after: Option<(String, String)>,
}

impl Page {
    fn of(request: &Request, present: u64) -> Result<Page, Status> {
        let limit = match request.query("limit") {
            "" | "0" => None,
            text => Some(text.parse().map_err(|_| Status::bad_request(format!("invalid limit: {text}")))?),
        };
        let token = request.query("continue");
        if token.is_empty() {
            let exact = request.query("resourceVersionMatch") == "Exact";
            let version = request.query("resourceVersion").parse().ok().filter(|_| exact);
            return Ok(Page { version: version.unwrap_or(present), limit, after: None });
        }
        let bad = || Status::bad_request("continue key is not valid: illegal base64 data");
        let decoded = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let read: Value = serde_json::from_slice(&decoded).map_err(|_| bad())?;
        let after = (text(&read, "/namespace").to_owned(), text(&read, "/name").to_owned());
        let version = read.get("rv").and_then(Value::as_u64).ok_or_else(bad)?;
        Ok(Page { version: version.min(present), limit, after: Some(after) })
    }

    fn token(&self, space: &str, name: &str) -> String {
        URL_SAFE_NO_PAD
            .encode(json!({"v": "meta.k8s.io/v1", "rv": self.version, "namespace": space, "name": name}).to_string())
    }
}

/// A watch that is open.
pub struct Watch {
    row: &'static Resource,
    filter: Filter,
    form: Form,
    cursor: u64,
    ready: VecDeque<(&'static str, Arc<Value>)>,
    bookmarks: bool,
    headers: bool,
    timeout: Duration,
}

impl Watch {
    /// When the server ends the watch.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whether the client wants to hear of progress.
    pub fn wants_bookmarks(&self) -> bool {
        self.bookmarks
    }

    /// What has happened since the last call, as lines of JSON; true with them when the watch has ended.
    pub fn read(&mut self, cluster: &Cluster) -> (Vec<u8>, bool) {
        let mut lines = Vec::new();
        while let Some((kind, object)) = self.ready.pop_front() {
            match kind {
                "ERROR" => {
                    write(&mut lines, &json!({"type": "ERROR", "object": object.as_ref()}));
                    return (lines, true);
                }
                "INITIAL" => write(&mut lines, &self.bookmark(true)),
                kind => self.write_event(&mut lines, cluster, kind, &object),
            }
        }
        let Some(events) = cluster.store.events_after(self.cursor) else {
            let status = too_old(self.cursor, cluster.store.version());
            write(&mut lines, &json!({"type": "ERROR", "object": status.to_value()}));
            return (lines, true);
        };
        let mine: Vec<(&'static str, Arc<Value>)> = events.filter_map(|event| self.selects(event)).collect();
        self.cursor = cluster.store.version();
        for (kind, object) in mine {
            self.write_event(&mut lines, cluster, kind, &object);
        }
        (lines, false)
    }

    /// A line that tells how far the watch has come.
    pub fn progress(&self) -> Vec<u8> {
        let mut line = Vec::new();
        write(&mut line, &self.bookmark(false));
        line
    }

    fn bookmark(&self, initial_end: bool) -> Value {
        let mut metadata = json!({"resourceVersion": self.cursor.to_string(), "creationTimestamp": null});
        if initial_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.form {
            Form::Object => json!({"kind": self.row.kind, "apiVersion": self.row.api_version(), "metadata": metadata}),
            Form::Partial => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
            }
            Form::Table(..) => json!({
                "kind": "Table", "apiVersion": "meta.k8s.io/v1", "columnDefinitions": [],
                "metadata": {"resourceVersion": self.cursor.to_string()},
                "rows": [{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}],
            }),
        };
        json!({"type": "BOOKMARK", "object": object})
    }

    /// What an event is for this watch: an object that starts or ceases to match comes or goes.
    fn selects(&self, event: &Event) -> Option<(&'static str, Arc<Value>)> {
        if event.resource != self.row.id {
            return None;
        }
        let now = event.kind != EventKind::Deleted && self.filter.matches(&event.object);
        let before = event.previous.as_ref().is_some_and(|previous| self.filter.matches(previous));
        match (before, now) {
            (false, true) => Some(("ADDED", event.object.clone())),
            (true, true) => Some(("MODIFIED", event.object.clone())),
            (true, false) if event.kind == EventKind::Deleted => Some(("DELETED", event.object.clone())),
            (true, false) => {
                // The client is told the last state that it could see, with the version of the change.
                let mut last = event.previous.as_ref()?.as_ref().clone();
                crate::object::set(&mut last, &["metadata", "resourceVersion"], event.version.to_string());
                Some(("DELETED", Arc::new(last)))
            }
            (false, false) => None,
        }
    }

    fn write_event(&mut self, lines: &mut Vec<u8>, cluster: &Cluster, kind: &str, object: &Value) {
        let rendered = match self.form {
            Form::Table(include, version) => {
                let headers = std::mem::take(&mut self.headers);
                let mut rendered = table::table(self.row.id, &[object], include, cluster.wall(), headers);
                rendered["apiVersion"] = json!(format!("meta.k8s.io/{version}"));
                rendered["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
                rendered
            }
            Form::Partial => table::partial(object),
            Form::Object => {
                lines.extend_from_slice(format!("{{\"type\":\"{kind}\",\"object\":").as_bytes());
                append(lines, object);
                lines.extend_from_slice(b"}\n");
                return;
            }
        };
        write(lines, &json!({"type": kind, "object": rendered}));
    }
}

fn write(lines: &mut Vec<u8>, value: &Value) {
    append(lines, value);
    lines.push(b'\n');
}

fn append(lines: &mut Vec<u8>, value: &Value) {
    // Writing a JSON value into memory cannot fail.
    let _ = serde_json::to_writer(lines, value);
}
