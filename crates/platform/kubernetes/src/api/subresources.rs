//! Subresources: status, scale, binding, eviction, log, token and finalize.

use std::time::Duration;

use serde_json::{Value, json};

use super::body::decode;
use super::write::{delete_options, options, patched};
use super::{Reply, Request, Target};
use crate::cluster::Cluster;
use crate::error::{Cause, Reason, Status};
use crate::kubelet::Contact;
use crate::object::{int, items, name, namespace, set, text, uid};
use crate::resources::ResourceId;
use crate::runtime::{ContainerId, LogQuery, PodId};
use crate::selector::LabelSelector;
use crate::state::Key;
use crate::time::rfc3339;

impl Cluster {
    pub(super) fn subresource(
        &mut self,
        request: &Request,
        target: &Target,
        subresource: &str,
        verb: &str,
    ) -> Result<Reply, Status> {
        match (subresource, verb) {
            ("status", "get") => self.read_one(request, target),
            ("status", "update") => self.replace_one(request, target, "status"),
            ("status", "patch") => self.patch_one(request, target, "status"),
            ("finalize", _) => self.replace_one(request, target, "finalize"),
            ("scale", "get") => Ok(Reply::ok(scale_of(self.find(target)?))),
            ("scale", _) => self.write_scale(request, target, verb),
            ("binding", _) => self.bind(request, target),
            ("eviction", _) => self.evict(request, target),
            ("log", _) => self.log(request, target),
            ("token", _) => self.token(request, target),
            _ => Err(Status::method_not_allowed()),
        }
    }

    fn write_scale(&mut self, request: &Request, target: &Target, verb: &str) -> Result<Reply, Status> {
        let live = self.find(target)?.clone();
        let media = request.content_type.split(';').next().unwrap_or("").trim();
        let scale = match verb {
            "update" => decode(request)?,
            _ if media == "application/apply-patch+yaml" => {
                crate::patch::merge_patch(&scale_of(&live), &decode(request)?)
            }
            _ => patched(media, request, "Scale", &scale_of(&live))?,
        };
        let replicas = int(&scale, "/spec/replicas").unwrap_or(0);
        if replicas < 0 {
            let cause = Cause::invalid("spec.replicas", &json!(replicas), "must be greater than or equal to 0");
            return Err(Status::invalid("autoscaling", "Scale", &target.name, vec![cause]));
        }
        let mut new = live.as_ref().clone();
        set(&mut new, &["spec", "replicas"], replicas);
        set(&mut new, &["metadata", "resourceVersion"], text(&scale, "/metadata/resourceVersion"));
        let updated = self.update(target.row.id, "", new, &options(request)?)?;
        Ok(Reply::ok(scale_of(&updated)))
    }

    fn bind(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let binding = decode(request)?;
        let node = text(&binding, "/target/name").to_owned();
        let pod = self.find(target)?.clone();
        let bound = text(&pod, "/spec/nodeName");
        if !bound.is_empty() {
            let why = format!("pod {} is already assigned to node \"{bound}\"", name(&pod));
            return Err(Status::conflict("", "pods/binding", name(&pod), &why));
        }
        if node.is_empty() {
            return Err(Status::invalid("", "Binding", name(&pod), vec![Cause::required("target.name", "")]));
        }
        let mut new = pod.as_ref().clone();
        set(&mut new, &["spec", "nodeName"], node);
        let options = options(request)?;
        let stored = self.update(ResourceId::Pods, "binding", new, &options)?;
        let mut scheduled = stored.as_ref().clone();
        let now = rfc3339(self.wall());
        crate::object::set_condition(&mut scheduled, json!({"type": "PodScheduled", "status": "True"}), &now);
        crate::object::remove(&mut scheduled, &["metadata", "resourceVersion"]);
        self.update(ResourceId::Pods, "status", scheduled, &options)?;
        Ok(Reply::Json { code: 201, body: success(), warnings: Vec::new() })
    }

    fn evict(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let eviction = decode(request)?;
        self.find(target)?;
        let wrapped = eviction.get("deleteOptions").cloned().unwrap_or(json!({}));
        let inner = Request {
            body: wrapped.to_string().into(),
            content_type: "application/json".to_owned(),
            ..request.clone()
        };
        self.delete(&Key::new(ResourceId::Pods, &target.namespace, &target.name), &delete_options(&inner)?)?;
        Ok(Reply::Json { code: 201, body: success(), warnings: Vec::new() })
    }

    fn token(&mut self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let mut asked = decode(request)?;
        self.find(target)?;
        if self.settings.service_account_key.is_empty() {
            return Err(Status::new(Reason::NotImplemented, "this server has no key to sign tokens with"));
        }
        let seconds = int(&asked, "/spec/expirationSeconds").unwrap_or(3600);
        if seconds < 600 {
            let cause = Cause::invalid(
                "spec.expirationSeconds",
                &json!(seconds),
                "may not specify a duration less than 10 minutes",
            );
            return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &target.name, vec![cause]));
        }
        let issued_at = self.wall().as_secs();
        let lifetime = seconds.min(1 << 32).unsigned_abs();
        let claims = crate::token::Claims {
            namespace: target.namespace.clone(),
            account: target.name.clone(),
            pod: None,
            issued_at,
            expires_at: issued_at + lifetime,
        };
        asked["kind"] = json!("TokenRequest");
        asked["apiVersion"] = json!("authentication.k8s.io/v1");
        set(&mut asked, &["spec", "expirationSeconds"], seconds);
        asked["status"] = json!({
            "token": crate::token::sign(&self.settings.service_account_key, &claims),
            "expirationTimestamp": rfc3339(Duration::from_secs(claims.expires_at)),
        });
        Ok(Reply::Json { code: 201, body: asked, warnings: Vec::new() })
    }

    fn log(&self, request: &Request, target: &Target) -> Result<Reply, Status> {
        let pod = self.find(target)?;
        let container = chosen_container(pod, request.query("container"))?;
        let node = text(pod, "/spec/nodeName");
        let quoted = || format!("container \"{container}\" in pod \"{}\"", name(pod));
        let kubelet = self.kubelets.get(node);
        let Some(kubelet) = kubelet else {
            return Err(Status::bad_request(format!("{} is waiting to start: no node", quoted())));
        };
        if kubelet.contact() != Contact::Heard {
            let address = &kubelet.settings().internal_ip;
            let url = format!("https://{address}:10250/containerLogs/{}/{}/{container}", namespace(pod), name(pod));
            return Err(Status::internal(format!(
                "Get \"{url}\": dial tcp {address}:10250: connect: no route to host"
            )));
        }
        let statuses =
            items(pod, "/status/containerStatuses").iter().chain(items(pod, "/status/initContainerStatuses"));
        let status = statuses.into_iter().find(|status| text(status, "/name") == container).unwrap_or(&Value::Null);
        let present = int(status, "/restartCount").unwrap_or(0);
        let waiting = text(status, "/state/waiting/reason");
        let started = kubelet.attempt(uid(pod), &container).is_some() || status.pointer("/state/terminated").is_some();
        let before_first =
            !started || (present == 0 && !waiting.is_empty() && status.pointer("/lastState/terminated").is_none());
        let attempt = kubelet.attempt(uid(pod), &container).map_or(present, i64::from);
        let attempt = match (request.is_set("previous"), attempt) {
            (true, 0) => return Err(Status::bad_request(format!("previous terminated {} not found", quoted()))),
            (true, attempt) => attempt - 1,
            (false, _) if before_first => {
                let reason = if waiting.is_empty() { "ContainerCreating" } else { waiting };
                let message = text(status, "/state/waiting/message");
                let because = if reason.contains("Image") {
                    format!("trying and failing to pull image ({message})")
                } else {
                    reason.to_owned()
                };
                return Err(Status::bad_request(format!("{} is waiting to start: {because}", quoted())));
            }
            (false, attempt) => attempt,
        };
        let pod_id = PodId { node: node.to_owned(), uid: uid(pod).to_owned() };
        let id = ContainerId { pod: pod_id, container, attempt: u32::try_from(attempt).unwrap_or(0) };
        self.log_query(request, id).map(Reply::Logs)
    }

    fn log_query(&self, request: &Request, id: ContainerId) -> Result<LogQuery, Status> {
        let number = |field: &str| match request.query(field) {
            "" => Ok(None),
            text => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => {
                    let cause = Cause::invalid(field, &json!(text), "must be greater than or equal to 0");
                    Err(Status::invalid("", "PodLogOptions", "", vec![cause]))
                }
            },
        };
        let since = match number("sinceSeconds")? {
            Some(seconds) => Some(self.wall().saturating_sub(Duration::from_secs(seconds))),
            None => crate::time::parse(request.query("sinceTime")),
        };
        Ok(LogQuery {
            id,
            follow: request.is_set("follow"),
            tail_lines: number("tailLines")?,
            since,
            timestamps: request.is_set("timestamps"),
            limit_bytes: number("limitBytes")?,
        })
    }
}

fn success() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

fn chosen_container(pod: &Value, asked: &str) -> Result<String, Status> {
    let names =
        |list: &str| items(pod, list).iter().map(|container| text(container, "/name").to_owned()).collect::<Vec<_>>();
    let (containers, inits) = (names("/spec/containers"), names("/spec/initContainers"));
    if asked.is_empty() {
        return match containers.as_slice() {
            [only] if inits.is_empty() => Ok(only.clone()),
            _ => {
                let mut message = format!(
                    "a container name must be specified for pod {}, choose one of: [{}]",
                    name(pod),
                    containers.join(" ")
                );
                if !inits.is_empty() {
                    message.push_str(&format!(" or one of the init containers: [{}]", inits.join(" ")));
                }
                Err(Status::bad_request(message))
            }
        };
    }
    if containers.iter().chain(&inits).any(|container| container == asked) {
        return Ok(asked.to_owned());
    }
    Err(Status::bad_request(format!("container {asked} is not valid for pod {}", name(pod))))
}

/// The `Scale` of a deployment or replica set.
fn scale_of(object: &Value) -> Value {
    let metadata = object.get("metadata").cloned().unwrap_or(Value::Null);
    let mut own = json!({});
    for part in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = metadata.get(part) {
            own[part] = value.clone();
        }
    }
    let selector = LabelSelector::from_object(object.pointer("/spec/selector").unwrap_or(&Value::Null)).to_text();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": own,
        "spec": {"replicas": int(object, "/spec/replicas").unwrap_or(0)},
        "status": {"replicas": int(object, "/status/replicas").unwrap_or(0), "selector": selector},
    })
}
