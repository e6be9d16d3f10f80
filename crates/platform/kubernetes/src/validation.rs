//! Validation of the interpreted kinds, with the real server's field paths and sentences.

use serde_json::{Map, Value, json};

use crate::error::Cause;
use crate::object::{int, items, labels, map, text};
use crate::resources::{Resource, ResourceId};
use crate::selector::LabelSelector;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE_NAME: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const CONFIG_KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
const PORT_RANGE: &str = "must be between 1 and 65535, inclusive";
const NOT_NEGATIVE: &str = "must be greater than or equal to 0";

/// What is wrong with an object of this resource; empty when nothing is.
pub fn validate(row: &Resource, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    validate_metadata(row, object, &mut causes);
    match row.id {
        ResourceId::Pods => pod_spec(object.get("spec").unwrap_or(&Value::Null), "spec", false, &mut causes),
        ResourceId::Deployments | ResourceId::ReplicaSets => workload(row, object, &mut causes),
        ResourceId::Services => service(object, &mut causes),
        ResourceId::ConfigMaps => config_keys(object, &["data", "binaryData"], &mut causes),
        ResourceId::Secrets => config_keys(object, &["data"], &mut causes),
        ResourceId::RoleBindings | ResourceId::ClusterRoleBindings => role_binding(object, &mut causes),
        _ => {}
    }
    causes
}

/// What may not differ between two states of an object.
pub fn validate_update(row: &Resource, old: &Value, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut immutable = |path: &str, field: &str| {
        let (before, after) = (old.pointer(path), new.pointer(path));
        if before != after {
            causes.push(Cause::invalid(field, after.unwrap_or(&Value::Null), "field is immutable"));
        }
    };
    match row.id {
        ResourceId::Deployments | ResourceId::ReplicaSets => immutable("/spec/selector", "spec.selector"),
        ResourceId::Secrets => immutable("/type", "type"),
        ResourceId::RoleBindings | ResourceId::ClusterRoleBindings => immutable("/roleRef", "roleRef"),
        ResourceId::Pods => pod_update(old, new, &mut causes),
        ResourceId::Services
            if text(old, "/spec/type") != "ExternalName" && text(new, "/spec/type") != "ExternalName" =>
        {
            immutable("/spec/clusterIP", "spec.clusterIP");
        }
        _ => {}
    }
    if matches!(row.id, ResourceId::ConfigMaps | ResourceId::Secrets) && crate::object::flag(old, "/immutable") {
        for part in ["data", "binaryData", "immutable"] {
            if old.get(part) != new.get(part) {
                causes.push(Cause::forbidden(part, "field is immutable when `immutable` is set"));
            }
        }
    }
    causes
}

fn validate_metadata(row: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    let name = crate::object::name(object);
    let shown = json!(name);
    if name.is_empty() {
        causes.push(Cause::required("metadata.name", "name or generateName is required"));
        return;
    }
    match row.id {
        ResourceId::Namespaces if !is_label(name) => causes.push(Cause::invalid("metadata.name", &shown, LABEL)),
        ResourceId::Services if !is_label(name) || name.starts_with(|first: char| first.is_ascii_digit()) => {
            causes.push(Cause::invalid("metadata.name", &shown, SERVICE_NAME));
        }
        // The names of roles are path segments, so that `system:node` is one.
        _ if row.group.starts_with("rbac") && (name == "." || name == ".." || name.contains(['/', '%'])) => {
            causes.push(Cause::invalid("metadata.name", &shown, "may not contain '/' or '%'"));
        }
        _ if row.group.starts_with("rbac") => {}
        _ if !is_subdomain(name) => causes.push(Cause::invalid("metadata.name", &shown, SUBDOMAIN)),
        _ => {}
    }
    label_map(labels(object), "metadata.labels", causes);
    for key in map(object, "/metadata/annotations").into_iter().flat_map(Map::keys) {
        if !is_qualified(key) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), QUALIFIED));
        }
    }
    for finalizer in items(object, "/metadata/finalizers") {
        if !finalizer.as_str().is_some_and(is_qualified) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, QUALIFIED));
        }
    }
    for (at, owner) in items(object, "/metadata/ownerReferences").iter().enumerate() {
        for part in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &format!("/{part}")).is_empty() {
                causes.push(Cause::invalid(
                    format!("metadata.ownerReferences[{at}].{part}"),
                    &json!(""),
                    &format!("{part} must not be empty"),
                ));
            }
        }
    }
}

fn label_map(labels: Option<&Map<String, Value>>, field: &str, causes: &mut Vec<Cause>) {
    for (key, value) in labels.into_iter().flatten() {
        if !is_qualified(key) {
            causes.push(Cause::invalid(field, &json!(key), QUALIFIED));
        }
        if !value.as_str().is_some_and(is_label_value) {
            causes.push(Cause::invalid(field, value, LABEL_VALUE));
        }
    }
}

fn workload(row: &Resource, object: &Value, causes: &mut Vec<Cause>) {
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        if let Some(count) = int(object, &format!("/spec/{field}")).filter(|count| *count < 0) {
            causes.push(Cause::invalid(format!("spec.{field}"), &json!(count), NOT_NEGATIVE));
        }
    }
    let selector = object.pointer("/spec/selector").unwrap_or(&Value::Null);
    let template_labels = map(object, "/spec/template/metadata/labels");
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if LabelSelector::from_object(selector).is_everything() {
        let what = if row.id == ResourceId::Deployments { "deployment" } else { "replicaset" };
        causes.push(Cause::invalid("spec.selector", selector, &format!("empty selector is invalid for {what}")));
    }
    if !object.pointer("/spec/template").is_some_and(Value::is_object) {
        causes.push(Cause::required("spec.template", ""));
        return;
    }
    if !selector.is_null() && !LabelSelector::from_object(selector).matches(template_labels) {
        let shown = template_labels.map_or(json!({}), |labels| Value::Object(labels.clone()));
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            &shown,
            "`selector` does not match template `labels`",
        ));
    }
    label_map(template_labels, "spec.template.metadata.labels", causes);
    if row.id == ResourceId::Deployments {
        strategy(object, causes);
    }
    pod_spec(object.pointer("/spec/template/spec").unwrap_or(&Value::Null), "spec.template.spec", true, causes);
}

fn strategy(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, "/spec/strategy/type");
    if !matches!(kind, "RollingUpdate" | "Recreate") {
        causes.push(Cause::not_supported("spec.strategy.type", &json!(kind), &["Recreate", "RollingUpdate"]));
    }
    let rolling = object.pointer("/spec/strategy/rollingUpdate");
    if kind == "Recreate" && rolling.is_some() {
        causes.push(Cause::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
    let Some(rolling) = rolling.filter(|_| kind == "RollingUpdate") else { return };
    let (mut zeros, mut shown) = (0, Value::Null);
    for part in ["maxSurge", "maxUnavailable"] {
        let value = rolling.get(part).unwrap_or(&Value::Null);
        let number = match value {
            Value::String(percent) => percent.strip_suffix('%').and_then(|digits| digits.parse::<i64>().ok()),
            other => other.as_i64(),
        };
        match number {
            Some(number) if number >= 0 => zeros += i32::from(number == 0),
            _ => causes.push(Cause::invalid(
                format!("spec.strategy.rollingUpdate.{part}"),
                value,
                "must be an integer or percentage (e.g '5%')",
            )),
        }
        shown = value.clone();
    }
    if zeros == 2 {
        causes.push(Cause::invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            &shown,
            "may not be 0 when `maxSurge` is 0",
        ));
    }
}

fn pod_spec(spec: &Value, path: &str, in_template: bool, causes: &mut Vec<Cause>) {
    let volumes: Vec<&str> = items(spec, "/volumes").iter().map(|volume| text(volume, "/name")).collect();
    for (at, name) in volumes.iter().enumerate() {
        let field = format!("{path}.volumes[{at}].name");
        name_of_item(name, &volumes[..at], field, causes);
    }
    let containers = items(spec, "/containers");
    if containers.is_empty() {
        causes.push(Cause::required(format!("{path}.containers"), ""));
    }
    let mut seen: Vec<&str> = Vec::new();
    for list in ["containers", "initContainers"] {
        for (at, container) in items(spec, &format!("/{list}")).iter().enumerate() {
            let place = format!("{path}.{list}[{at}]");
            name_of_item(text(container, "/name"), &seen, format!("{place}.name"), causes);
            seen.push(text(container, "/name"));
            check_container(container, &place, &volumes, causes);
        }
    }
    let policy = text(spec, "/restartPolicy");
    if in_template && policy != "Always" {
        causes.push(Cause::not_supported(format!("{path}.restartPolicy"), &json!(policy), &["Always"]));
    } else if !matches!(policy, "Always" | "OnFailure" | "Never") {
        causes.push(Cause::not_supported(
            format!("{path}.restartPolicy"),
            &json!(policy),
            &["Always", "OnFailure", "Never"],
        ));
    }
    let dns = text(spec, "/dnsPolicy");
    if !matches!(dns, "ClusterFirst" | "ClusterFirstWithHostNet" | "Default" | "None") {
        let supported = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
        causes.push(Cause::not_supported(format!("{path}.dnsPolicy"), &json!(dns), &supported));
    }
    if let Some(grace) = int(spec, "/terminationGracePeriodSeconds").filter(|grace| *grace < 0) {
        causes.push(Cause::invalid(format!("{path}.terminationGracePeriodSeconds"), &json!(grace), NOT_NEGATIVE));
    }
}

fn name_of_item(name: &str, earlier: &[&str], field: String, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        causes.push(Cause::required(field, ""));
    } else if !is_label(name) {
        causes.push(Cause::invalid(field, &json!(name), LABEL));
    } else if earlier.contains(&name) {
        causes.push(Cause::duplicate(field, &json!(name)));
    }
}

fn check_container(container: &Value, place: &str, volumes: &[&str], causes: &mut Vec<Cause>) {
    if text(container, "/image").is_empty() {
        causes.push(Cause::required(format!("{place}.image"), ""));
    }
    let pull = text(container, "/imagePullPolicy");
    if !matches!(pull, "Always" | "Never" | "IfNotPresent") {
        causes.push(Cause::not_supported(
            format!("{place}.imagePullPolicy"),
            &json!(pull),
            &["Always", "IfNotPresent", "Never"],
        ));
    }
    for (at, port) in items(container, "/ports").iter().enumerate() {
        let field = format!("{place}.ports[{at}]");
        match int(port, "/containerPort") {
            None | Some(0) => causes.push(Cause::required(format!("{field}.containerPort"), "")),
            Some(number) => port_number(number, format!("{field}.containerPort"), causes),
        }
        protocol(port, &field, causes);
    }
    for (at, variable) in items(container, "/env").iter().enumerate() {
        let field = format!("{place}.env[{at}]");
        if text(variable, "/name").is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        }
        if !text(variable, "/value").is_empty() && variable.get("valueFrom").is_some() {
            causes.push(Cause::invalid(
                format!("{field}.valueFrom"),
                &json!(""),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    for (at, mount) in items(container, "/volumeMounts").iter().enumerate() {
        let field = format!("{place}.volumeMounts[{at}]");
        let name = text(mount, "/name");
        if !volumes.contains(&name) {
            causes.push(Cause::not_found(format!("{field}.name"), &json!(name)));
        }
        if text(mount, "/mountPath").is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        }
    }
    resources(container, place, causes);
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get(kind).filter(|probe| probe.is_object()) {
            check_probe(probe, &format!("{place}.{kind}"), kind, causes);
        }
    }
}

fn resources(container: &Value, place: &str, causes: &mut Vec<Cause>) {
    let amount = |value: &Value| match value {
        Value::String(text) => crate::quantity::parse_milli(text),
        other => crate::quantity::parse_milli(&other.to_string()),
    };
    for (resource, request) in map(container, "/resources/requests").into_iter().flatten() {
        let field = format!("{place}.resources.requests");
        let limit = map(container, "/resources/limits").and_then(|limits| limits.get(resource));
        let (wanted, most) = (amount(request), limit.and_then(amount));
        if wanted.is_some_and(|wanted| wanted < 0) {
            causes.push(Cause::invalid(format!("{field}[{resource}]"), request, NOT_NEGATIVE));
        } else if let (Some(wanted), Some(most), Some(limit)) = (wanted, most, limit)
            && wanted > most
        {
            let shown = limit.as_str().map_or_else(|| limit.to_string(), str::to_owned);
            let detail = format!("must be less than or equal to {resource} limit of {shown}");
            causes.push(Cause::invalid(field, request, &detail));
        }
    }
}

fn check_probe(probe: &Value, field: &str, kind: &str, causes: &mut Vec<Cause>) {
    let handlers = ["exec", "httpGet", "tcpSocket", "grpc"];
    let given = handlers.iter().filter(|handler| probe.get(**handler).is_some_and(Value::is_object)).count();
    if given == 0 {
        causes.push(Cause::required(field, "must specify a handler type"));
    } else if given > 1 {
        causes.push(Cause::forbidden(field, "may not specify more than 1 handler type"));
    }
    for part in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        if let Some(number) = int(probe, &format!("/{part}")).filter(|number| *number < 0) {
            causes.push(Cause::invalid(format!("{field}.{part}"), &json!(number), NOT_NEGATIVE));
        }
    }
    if kind != "readinessProbe" && int(probe, "/successThreshold").is_some_and(|threshold| threshold != 1) {
        causes.push(Cause::invalid(format!("{field}.successThreshold"), &probe["successThreshold"], "must be 1"));
    }
}

fn port_number(number: i64, field: String, causes: &mut Vec<Cause>) {
    if !(1..=65_535).contains(&number) {
        causes.push(Cause::invalid(field, &json!(number), PORT_RANGE));
    }
}

fn protocol(port: &Value, field: &str, causes: &mut Vec<Cause>) {
    let protocol = text(port, "/protocol");
    if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
        causes.push(Cause::not_supported(format!("{field}.protocol"), &json!(protocol), &["SCTP", "TCP", "UDP"]));
    }
}

fn service(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, "/spec/type");
    let supported = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !supported.contains(&kind) {
        causes.push(Cause::not_supported("spec.type", &json!(kind), &supported));
    }
    let ports = items(object, "/spec/ports");
    let headless = text(object, "/spec/clusterIP") == "None";
    if ports.is_empty() && kind != "ExternalName" && !headless {
        causes.push(Cause::required("spec.ports", ""));
    }
    if kind == "ExternalName" && text(object, "/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        let name = text(port, "/name");
        if ports.len() > 1 && name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !name.is_empty() && !is_label(name) {
            causes.push(Cause::invalid(format!("{field}.name"), &json!(name), LABEL));
        }
        port_number(int(port, "/port").unwrap_or(0), format!("{field}.port"), causes);
        protocol(port, &field, causes);
        let same = |other: &&Value| {
            (!name.is_empty() && text(other, "/name") == name)
                || (other.get("port") == port.get("port") && other.get("protocol") == port.get("protocol"))
        };
        if let Some(other) = ports[..at].iter().find(same) {
            let field = if text(other, "/name") == name && !name.is_empty() { format!("{field}.name") } else { field };
            causes.push(Cause::duplicate(field, &json!({"port": port["port"], "protocol": port["protocol"]})));
        }
    }
    label_map(map(object, "/spec/selector"), "spec.selector", causes);
}

fn config_keys(object: &Value, parts: &[&str], causes: &mut Vec<Cause>) {
    let mut total = 0;
    for part in parts {
        for (key, value) in map(object, &format!("/{part}")).into_iter().flatten() {
            total += key.len() + value.as_str().map_or(0, str::len);
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if key.is_empty() || key.len() > 253 || !key.bytes().all(fine) || key == "." || key == ".." {
                causes.push(Cause::invalid(format!("{part}[{key}]"), &json!(key), CONFIG_KEY));
            }
        }
    }
    if total > 1024 * 1024 {
        causes.push(Cause {
            reason: "FieldValueTooLong",
            message: "Too long: may not be more than 1048576 bytes".to_owned(),
            field: parts[0].to_owned(),
        });
    }
}

fn role_binding(object: &Value, causes: &mut Vec<Cause>) {
    let kind = text(object, "/roleRef/kind");
    if !matches!(kind, "Role" | "ClusterRole") {
        causes.push(Cause::not_supported("roleRef.kind", &json!(kind), &["ClusterRole", "Role"]));
    }
    if text(object, "/roleRef/name").is_empty() {
        causes.push(Cause::required("roleRef.name", ""));
    }
}

/// A pod's spec is fixed but for images, tolerations that are added, the deadline and a binding.
fn pod_update(old: &Value, new: &Value, causes: &mut Vec<Cause>) {
    let fixed = |pod: &Value| {
        let mut spec = pod.get("spec").cloned().unwrap_or(Value::Null);
        for list in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
                crate::object::remove(container, &["image"]);
                crate::object::remove(container, &["resources"]);
            }
        }
        for part in [
            "tolerations",
            "activeDeadlineSeconds",
            "terminationGracePeriodSeconds",
            "schedulingGates",
            "ephemeralContainers",
        ] {
            crate::object::remove(&mut spec, &[part]);
        }
        spec
    };
    if fixed(old) != fixed(new) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
        causes.push(Cause::forbidden("spec", detail));
    }
}

/// An RFC 1123 label.
pub fn is_label(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty() && name.len() <= 63 && name.bytes().all(inner) && !name.starts_with('-') && !name.ends_with('-')
}

/// An RFC 1123 subdomain.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|part| {
            // Between dots the labels have no length of their own here, as in the real check.
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
        })
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name_part(value)
}

fn is_name_part(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let ends = |end: Option<u8>| end.is_some_and(|byte| byte.is_ascii_alphanumeric());
    value.len() <= 63 && value.bytes().all(inner) && ends(value.bytes().next()) && ends(value.bytes().last())
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(&prefix.to_ascii_lowercase()) && is_name_part(name),
        None => is_name_part(key),
    }
}

#[cfg(test)]
mod tests;
