//! The API as a synchronous function from [`Request`] to [`Reply`]: paths, verbs, authorization, and the table's operations.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::authorization::{Attributes, User, authorize};
use crate::cluster::Cluster;
use crate::discovery;
use crate::error::{Reason, Status};
use crate::openapi;
use crate::resources::{Resource, Subresource, find};
use crate::runtime::LogQuery;

mod body;
mod protobuf;
mod read;
mod reviews;
mod subresources;
mod write;

pub use body::read_manifests;
pub use read::Watch;

/// A request, freed of HTTP.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method, upper case.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Decoded query.
    pub query: Vec<(String, String)>,
    /// `Accept`.
    pub accept: String,
    /// `Content-Type`.
    pub content_type: String,
    /// `User-Agent`.
    pub user_agent: String,
    /// Body.
    pub body: Bytes,
    /// Who asks.
    pub user: User,
}

impl Request {
    /// A query parameter, "" when absent.
    pub fn query(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// Whether a query parameter is set to true.
    pub fn is_set(&self, name: &str) -> bool {
        matches!(self.query(name), "true" | "1" | "True" | "TRUE")
    }
}

/// What comes of a request.
pub enum Reply {
    /// A JSON body.
    Json {
        /// HTTP status code.
        code: u16,
        /// The body.
        body: Value,
        /// `Warning` headers.
        warnings: Vec<String>,
    },
    /// Another body.
    Raw {
        /// `Content-Type`.
        content_type: &'static str,
        /// The body.
        body: Bytes,
    },
    /// A stream of events.
    Watch(Box<Watch>),
    /// A stream of log bytes.
    Logs(LogQuery),
}

impl Reply {
    fn ok(body: Value) -> Reply {
        Reply::Json { code: 200, body, warnings: Vec::new() }
    }

    fn text(body: &'static str) -> Reply {
        Reply::Raw { content_type: "text/plain; charset=utf-8", body: Bytes::from_static(body.as_bytes()) }
    }
}

/// A path that names a resource.
pub(crate) struct Target {
    pub row: &'static Resource,
    pub namespace: String,
    pub name: String,
    pub subresource: Option<&'static Subresource>,
}

impl Cluster {
    /// Answers a request. Watches and logs are answered by what the caller then reads on.
    ///
    /// # Errors
    /// The `Status` that the real server would send.
    pub fn handle(&mut self, request: &Request) -> Result<Reply, Status> {
        let path = request.path.trim_end_matches('/');
        if let Some(target) = resource_path(path)? {
            let verb = verb(request, &target);
            let subresource = target.subresource.map_or(String::new(), |subresource| format!("/{}", subresource.name));
            let asked = Attributes {
                verb: verb.to_owned(),
                group: target.row.group.to_owned(),
                resource: format!("{}{subresource}", target.row.plural),
                namespace: target.namespace.clone(),
                name: target.name.clone(),
                path: String::new(),
            };
            authorize(&self.store, &request.user, &asked)?;
            return self.dispatch(request, &target, verb);
        }
        let asked =
            Attributes { verb: request.method.to_lowercase(), path: request.path.clone(), ..Attributes::default() };
        authorize(&self.store, &request.user, &asked)?;
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Err(Status::method_not_allowed());
        }
        self.plain_path(request, path)
    }

    /// Paths that are no resources.
    fn plain_path(&self, request: &Request, path: &str) -> Result<Reply, Status> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let found = match parts.as_slice() {
            [] | [""] => Some(
                json!({"paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]}),
            ),
            ["healthz" | "livez" | "readyz", ..] => return Ok(Reply::text("ok")),
            ["version"] => Some(discovery::version()),
            ["api" | "apis"] => return self.discovery(request, parts[0] == "api"),
            ["api", version] => discovery::resource_list("", version),
            ["apis", group] => discovery::group(group),
            ["apis", group, version] => discovery::resource_list(group, version),
            ["openapi", "v2"] => return openapi_v2(request),
            ["openapi", "v3"] => Some(openapi::v3_index()),
            ["openapi", "v3", "api", version] => openapi::v3("", version),
            ["openapi", "v3", "apis", group, version] => openapi::v3(group, version),
            _ => None,
        };
        let body = found.ok_or_else(Status::unknown_path)?;
        read::require_json(&request.accept)?;
        Ok(Reply::ok(body))
    }

    fn discovery(&self, request: &Request, core: bool) -> Result<Reply, Status> {
        for version in ["v2", "v2beta1"] {
            let wanted = request.accept.split(',').any(|entry| {
                entry.contains("as=APIGroupDiscoveryList")
                    && entry.split(';').any(|part| part.trim() == format!("v={version}"))
            });
            if wanted {
                let body = serde_json::to_vec(&discovery::aggregated(core, version)).unwrap_or_default();
                let content_type = match version {
                    "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
                    _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
                };
                return Ok(Reply::Raw { content_type, body: Bytes::from(body) });
            }
        }
        let (host, port) = &self.settings.api_endpoint;
        Ok(Reply::ok(if core { discovery::core_versions(&format!("{host}:{port}")) } else { discovery::group_list() }))
    }

    fn dispatch(&mut self, request: &Request, target: &Target, verb: &str) -> Result<Reply, Status> {
        if let Some(subresource) = target.subresource {
            if !subresource.verbs.contains(&verb) {
                return Err(Status::method_not_allowed());
            }
            return self.subresource(request, target, subresource.name, verb);
        }
        if !target.row.verbs.contains(&verb) {
            return Err(Status::method_not_allowed());
        }
        match verb {
            "get" => self.read_one(request, target),
            "list" => self.read_list(request, target),
            "watch" => self.start_watch(request, target),
            "create" if !target.row.is_stored() => self.review(request, target),
            "create" => self.create_one(request, target),
            "update" => self.replace_one(request, target, ""),
            "patch" => self.patch_one(request, target, ""),
            "delete" => self.delete_one(request, target),
            "deletecollection" => self.delete_many(request, target),
            _ => Err(Status::method_not_allowed()),
        }
    }
}

fn openapi_v2(request: &Request) -> Result<Reply, Status> {
    if request.accept.contains("proto-openapi.spec.v2@v1.0+protobuf") {
        return Ok(Reply::Raw {
            content_type: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
            body: Bytes::from_static(openapi::v2_protobuf()),
        });
    }
    read::require_json(&request.accept)?;
    Ok(Reply::ok(openapi::v2().clone()))
}

fn verb(request: &Request, target: &Target) -> &'static str {
    match (request.method.as_str(), target.name.is_empty()) {
        ("GET" | "HEAD", true) if request.is_set("watch") => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) if request.is_set("watch") && target.subresource.is_none() => "watch",
        ("GET" | "HEAD", false) => "get",
        ("POST", true) => "create",
        ("POST", false) if target.subresource.is_some() => "create",
        ("PUT", false) => "update",
        ("PATCH", false) => "patch",
        ("DELETE", false) => "delete",
        ("DELETE", true) => "deletecollection",
        _ => "unknown",
    }
}

/// Reads a path below `/api/v1` or `/apis/group/version`; `None` when it names no resource at all.
fn resource_path(path: &str) -> Result<Option<Target>, Status> {
    let decoded: Vec<String> = path.split('/').skip(1).map(percent_decode).collect();
    let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Ok(None),
    };
    let (namespace, rest) = match rest {
        ["namespaces", space, plural, more @ ..] if find(group, version, plural).is_some_and(|row| row.namespaced) => {
            (*space, [&[*plural], more].concat())
        }
        _ => ("", rest.to_vec()),
    };
    let row = find(group, version, rest[0]).ok_or_else(Status::unknown_path)?;
    let name = rest.get(1).copied().unwrap_or("");
    if row.namespaced && namespace.is_empty() && !name.is_empty() {
        return Err(Status::unknown_path());
    }
    let subresource = match rest.get(2) {
        None => None,
        Some(wanted) => Some(row.subresource(wanted).ok_or_else(|| missing_subresource(row, wanted))?),
    };
    if rest.len() > 3 {
        return Err(Status::unknown_path());
    }
    Ok(Some(Target { row, namespace: namespace.to_owned(), name: name.to_owned(), subresource }))
}

/// What the real server has and this one does not says so; everything else is not found.
fn missing_subresource(row: &Resource, wanted: &str) -> Status {
    if row.plural == "pods"
        && matches!(wanted, "exec" | "attach" | "portforward" | "proxy" | "ephemeralcontainers" | "resize")
    {
        return Status::new(Reason::NotImplemented, format!("pods/{wanted} is not implemented by this server"));
    }
    Status::unknown_path()
}

/// Undoes percent-encoding; malformed sequences stay as they are.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match hex.filter(|_| *byte == b'%') {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Reads a query string.
pub(crate) fn read_query(query: &str) -> Vec<(String, String)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).take(100);
    let decode = |text: &str| percent_decode(&text.replace('+', " "));
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect()
}
