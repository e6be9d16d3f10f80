//! From a pod's object to what the runtime is asked for: environment, volumes, limits.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base64::Engine as _;
use serde_json::Value;

use crate::cluster::View;
use crate::object::{annotation, flag, int, items, label, labels, map, name, namespace, text, uid};
use crate::quantity;
use crate::resources::ResourceId;
use crate::runtime::{ContainerId, ContainerSpec, Mount, PodId, PodSpec, ProjectedFile, Volume, VolumeSource};
use crate::settings::NodeSettings;

/// The sandbox of a pod.
pub(super) fn pod_spec(pod: &Value, id: &PodId, node: &NodeSettings, ip: Ipv4Addr, volumes: Vec<Volume>) -> PodSpec {
    let texts = |list: &[Value]| list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>();
    PodSpec {
        id: id.clone(),
        namespace: namespace(pod).to_owned(),
        name: name(pod).to_owned(),
        node_number: node.number,
        ip,
        hostname: hostname(pod),
        labels: labels(pod)
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or("").to_owned()))
            .collect(),
        service_account: text(pod, "/spec/serviceAccountName").to_owned(),
        dns_policy: text(pod, "/spec/dnsPolicy").to_owned(),
        host_aliases: items(pod, "/spec/hostAliases")
            .iter()
            .map(|alias| (text(alias, "/ip").to_owned(), texts(items(alias, "/hostnames"))))
            .collect(),
        volumes,
    }
}

fn hostname(pod: &Value) -> String {
    let given = text(pod, "/spec/hostname");
    if given.is_empty() { name(pod).chars().take(63).collect() } else { given.to_owned() }
}

/// One run of a container; the caller sets which.
///
/// # Errors
/// A sentence when a ConfigMap, Secret or key is missing.
pub(super) fn container_spec(
    view: &View<'_>,
    pod: &Value,
    container: &Value,
    node: &NodeSettings,
    ip: Ipv4Addr,
) -> Result<ContainerSpec, String> {
    let env = environment(view, pod, container, node, ip)?;
    let expanded = |list: &str| -> Vec<String> {
        items(container, list).iter().filter_map(Value::as_str).map(|word| expand(word, &env)).collect()
    };
    let amount = |pointer: &str| {
        let value = container.pointer(pointer)?;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
    let identity = |field: &str| {
        let own = int(container, &format!("/securityContext/{field}"))
            .or_else(|| int(pod, &format!("/spec/securityContext/{field}")));
        own.and_then(|id| u32::try_from(id).ok())
    };
    Ok(ContainerSpec {
        id: ContainerId {
            pod: PodId { node: String::new(), uid: String::new() },
            container: String::new(),
            attempt: 0,
        },
        image: text(container, "/image").to_owned(),
        image_pull_policy: text(container, "/imagePullPolicy").to_owned(),
        command: expanded("/command"),
        args: expanded("/args"),
        working_dir: text(container, "/workingDir").to_owned(),
        mounts: items(container, "/volumeMounts")
            .iter()
            .map(|mount| Mount {
                volume: text(mount, "/name").to_owned(),
                path: text(mount, "/mountPath").to_owned(),
                sub_path: match text(mount, "/subPathExpr") {
                    "" => text(mount, "/subPath").to_owned(),
                    expression => expand(expression, &env),
                },
                read_only: flag(mount, "/readOnly"),
            })
            .collect(),
        hostname: hostname(pod),
        cpu_limit_millicores: amount("/resources/limits/cpu").map(|text| unsigned(quantity::milli(&text))),
        cpu_request_millicores: amount("/resources/requests/cpu").map(|text| unsigned(quantity::milli(&text))),
        memory_limit_bytes: amount("/resources/limits/memory").map(|text| unsigned(quantity::whole(&text))),
        run_as_user: identity("runAsUser"),
        run_as_group: identity("runAsGroup"),
        read_only_root: flag(container, "/securityContext/readOnlyRootFilesystem"),
        tty: flag(container, "/tty"),
        env,
    })
}

fn environment(
    view: &View<'_>,
    pod: &Value,
    container: &Value,
    node: &NodeSettings,
    ip: Ipv4Addr,
) -> Result<Vec<(String, String)>, String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let put =
        |env: &mut Vec<(String, String)>, key: String, value: String| match env.iter_mut().find(|(old, _)| *old == key)
        {
            Some(old) => old.1 = value,
            None => env.push((key, value)),
        };
    for (key, value) in service_links(view, pod) {
        put(&mut env, key, value);
    }
    for source in items(container, "/envFrom") {
        let prefix = text(source, "/prefix");
        for (reference, resource) in [("configMapRef", ResourceId::ConfigMaps), ("secretRef", ResourceId::Secrets)] {
            let Some(reference) = source.get(reference).filter(|reference| reference.is_object()) else { continue };
            let Some(object) = lookup(view, resource, pod, reference)? else { continue };
            for key in map(object, "/data").into_iter().flat_map(serde_json::Map::keys) {
                if let Some(value) = datum(resource, object, key) {
                    put(&mut env, format!("{prefix}{key}"), String::from_utf8_lossy(&value).into_owned());
                }
            }
        }
    }
    for variable in items(container, "/env") {
        let value = match variable.get("valueFrom").filter(|source| source.is_object()) {
            None => Some(expand(text(variable, "/value"), &env)),
            Some(source) => from_source(view, pod, container, source, node, ip)?,
        };
        if let Some(value) = value {
            put(&mut env, text(variable, "/name").to_owned(), value);
        }
    }
    Ok(env)
}

fn from_source(
    view: &View<'_>,
    pod: &Value,
    container: &Value,
    source: &Value,
    node: &NodeSettings,
    ip: Ipv4Addr,
) -> Result<Option<String>, String> {
    for (kind, resource) in [("configMapKeyRef", ResourceId::ConfigMaps), ("secretKeyRef", ResourceId::Secrets)] {
        let Some(reference) = source.get(kind).filter(|reference| reference.is_object()) else { continue };
        let Some(object) = lookup(view, resource, pod, reference)? else { return Ok(None) };
        let key = text(reference, "/key");
        return match datum(resource, object, key) {
            Some(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            None if flag(reference, "/optional") => Ok(None),
            None => {
                Err(format!("couldn't find key {key} in {} {}/{}", resource.row().kind, namespace(pod), name(object)))
            }
        };
    }
    if let Some(field) = source.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
        return pod_field(pod, field, node, ip).map(Some);
    }
    if let Some(resource) = source.get("resourceFieldRef") {
        return Ok(Some(resource_field(container, resource, node)));
    }
    Ok(None)
}

fn pod_field(pod: &Value, field: &str, node: &NodeSettings, ip: Ipv4Addr) -> Result<String, String> {
    let subscript = |prefix: &str| field.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']");
    if let Some(key) = subscript("metadata.labels") {
        return Ok(label(pod, key).unwrap_or("").to_owned());
    }
    if let Some(key) = subscript("metadata.annotations") {
        return Ok(annotation(pod, key).unwrap_or("").to_owned());
    }
    let pairs = |pointer: &str| {
        let lines = map(pod, pointer)
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={:?}", value.as_str().unwrap_or("")));
        lines.collect::<Vec<_>>().join("\n")
    };
    Ok(match field {
        "metadata.name" => name(pod).to_owned(),
        "metadata.namespace" => namespace(pod).to_owned(),
        "metadata.uid" => uid(pod).to_owned(),
        "metadata.labels" => pairs("/metadata/labels"),
        "metadata.annotations" => pairs("/metadata/annotations"),
        "spec.nodeName" => node.name.clone(),
        "spec.serviceAccountName" => text(pod, "/spec/serviceAccountName").to_owned(),
        "status.hostIP" | "status.hostIPs" => node.internal_ip.clone(),
        "status.podIP" | "status.podIPs" => ip.to_string(),
        other => return Err(format!("unsupported fieldPath: {other}")),
    })
}

fn resource_field(container: &Value, reference: &Value, node: &NodeSettings) -> String {
    let resource = text(reference, "/resource");
    let amount = text(container, &format!("/resources/{}", resource.replace('.', "/"))).to_owned();
    let capacity = node.capacity();
    let short = resource.rsplit('.').next().unwrap_or("");
    let amount = if amount.is_empty() { text(&capacity, &format!("/{short}")).to_owned() } else { amount };
    let divisor = match text(reference, "/divisor") {
        "" | "0" => "1",
        divisor => divisor,
    };
    let (value, divisor) = (quantity::milli(&amount), quantity::milli(divisor).max(1));
    (value / divisor + i64::from(value % divisor != 0)).to_string()
}

/// `KUBERNETES_SERVICE_HOST` and its like for every service of the namespace that has an address.
fn service_links(view: &View<'_>, pod: &Value) -> Vec<(String, String)> {
    let mut env = Vec::new();
    let own: Vec<&Value> = match pod.pointer("/spec/enableServiceLinks") {
        Some(Value::Bool(false)) => Vec::new(),
        _ => view.store.list(ResourceId::Services, Some(namespace(pod))).map(AsRef::as_ref).collect(),
    };
    let api = view.store.get(ResourceId::Services, "default", "kubernetes").map(AsRef::as_ref);
    let is_api = |service: &&Value| name(service) == "kubernetes" && namespace(service) == "default";
    for service in api.into_iter().chain(own.into_iter().filter(|service| !is_api(service))) {
        let address = text(service, "/spec/clusterIP");
        let Some(first) = items(service, "/spec/ports").first().filter(|_| !matches!(address, "" | "None")) else {
            continue;
        };
        let prefix = name(service).to_uppercase().replace(['-', '.'], "_");
        env.push((format!("{prefix}_SERVICE_HOST"), address.to_owned()));
        env.push((format!("{prefix}_SERVICE_PORT"), int(first, "/port").unwrap_or(0).to_string()));
        for port in items(service, "/spec/ports") {
            let number = int(port, "/port").unwrap_or(0);
            if !text(port, "/name").is_empty() {
                let suffix = text(port, "/name").to_uppercase().replace('-', "_");
                env.push((format!("{prefix}_SERVICE_PORT_{suffix}"), number.to_string()));
            }
        }
    }
    env
}

/// Replaces `$(NAME)` by the variable's value; `$$` stands for `$`, and what is not known stays as it is.
fn expand(word: &str, env: &[(String, String)]) -> String {
    let mut expanded = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((variable, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match env.iter().find(|(key, _)| key == variable) {
                Some((_, value)) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({variable})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

fn lookup<'a>(
    view: &View<'a>,
    resource: ResourceId,
    pod: &Value,
    reference: &Value,
) -> Result<Option<&'a Value>, String> {
    let wanted = match text(reference, "/name") {
        "" => text(reference, "/secretName"),
        name => name,
    };
    match view.store.get(resource, namespace(pod), wanted) {
        Some(object) => Ok(Some(object)),
        None if flag(reference, "/optional") => Ok(None),
        None => Err(format!("{} \"{wanted}\" not found", resource.row().singular)),
    }
}

fn datum(resource: ResourceId, object: &Value, key: &str) -> Option<Vec<u8>> {
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    let plain = map(object, "/data").and_then(|data| data.get(key)).and_then(Value::as_str);
    if resource == ResourceId::Secrets {
        return decode(plain?);
    }
    match plain {
        Some(plain) => Some(plain.as_bytes().to_vec()),
        None => decode(map(object, "/binaryData")?.get(key)?.as_str()?),
    }
}

/// The volumes of a pod.
///
/// # Errors
/// A sentence when a ConfigMap, Secret or key is missing, or the kind of volume is not supported.
pub(super) fn volumes(view: &View<'_>, pod: &Value, node: &NodeSettings, ip: Ipv4Addr) -> Result<Vec<Volume>, String> {
    items(pod, "/spec/volumes").iter().map(|volume| one_volume(view, pod, volume, node, ip)).collect()
}

/// The same volumes with the present contents of ConfigMaps and Secrets; tokens keep theirs.
///
/// # Errors
/// As for [`volumes`].
pub(super) fn refreshed(view: &View<'_>, pod: &Value, ip: Ipv4Addr, present: &[Volume]) -> Result<Vec<Volume>, String> {
    let node =
        view.settings.nodes.iter().find(|node| node.name == text(pod, "/spec/nodeName")).ok_or("no such node")?;
    let mut fresh = volumes(view, pod, node, ip)?;
    for (new, old) in fresh.iter_mut().zip(present) {
        let (VolumeSource::Files(new), VolumeSource::Files(old)) = (&mut new.source, &old.source) else { continue };
        for file in new.iter_mut().filter(|file| is_token(&file.contents)) {
            if let Some(kept) = old.iter().find(|kept| kept.path == file.path) {
                file.contents.clone_from(&kept.contents);
            }
        }
    }
    Ok(fresh)
}

fn is_token(contents: &[u8]) -> bool {
    contents.starts_with(crate::token::HEADER_START.as_bytes())
}

fn one_volume(
    view: &View<'_>,
    pod: &Value,
    volume: &Value,
    node: &NodeSettings,
    ip: Ipv4Addr,
) -> Result<Volume, String> {
    let given = |kind: &str| volume.get(kind).filter(|source| source.is_object());
    let volume_name = text(volume, "/name").to_owned();
    let source = if let Some(empty) = given("emptyDir") {
        let limit = text(empty, "/sizeLimit");
        VolumeSource::EmptyDir {
            memory: text(empty, "/medium") == "Memory",
            size_limit_bytes: (!limit.is_empty()).then(|| u64::try_from(quantity::whole(limit)).unwrap_or(0)),
        }
    } else if let Some(host) = given("hostPath") {
        VolumeSource::HostPath { path: text(host, "/path").to_owned() }
    } else if let Some(projected) = given("projected") {
        let mode = mode(projected, "defaultMode", 0o644);
        let mut files = Vec::new();
        for source in items(projected, "/sources") {
            files.extend(project(view, pod, source, mode, node, ip)?);
        }
        VolumeSource::Files(files)
    } else if let Some((kind, single)) =
        ["configMap", "secret", "downwardAPI"].iter().find_map(|kind| Some((kind, given(kind)?)))
    {
        let wrapped = Value::Object([((*kind).to_owned(), single.clone())].into_iter().collect());
        VolumeSource::Files(project(view, pod, &wrapped, mode(single, "defaultMode", 0o644), node, ip)?)
    } else {
        return Err(format!(
            "MountVolume.SetUp failed for volume \"{volume_name}\" : this kind of volume is not supported"
        ));
    };
    Ok(Volume { name: volume_name, source })
}

fn mode(source: &Value, field: &str, default: u32) -> u32 {
    int(source, &format!("/{field}")).and_then(|mode| u32::try_from(mode).ok()).unwrap_or(default) & 0o777
}

fn project(
    view: &View<'_>,
    pod: &Value,
    source: &Value,
    default_mode: u32,
    node: &NodeSettings,
    ip: Ipv4Addr,
) -> Result<Vec<ProjectedFile>, String> {
    for (kind, resource) in [("configMap", ResourceId::ConfigMaps), ("secret", ResourceId::Secrets)] {
        let Some(reference) = source.get(kind).filter(|reference| reference.is_object()) else { continue };
        let Some(object) = lookup(view, resource, pod, reference)? else { return Ok(Vec::new()) };
        return keyed_files(resource, object, reference, default_mode);
    }
    if let Some(downward) = source.get("downwardAPI") {
        let mut files = Vec::new();
        for item in items(downward, "/items") {
            let contents = match item.pointer("/fieldRef/fieldPath").and_then(Value::as_str) {
                Some(field) => pod_field(pod, field, node, ip)?,
                None => {
                    let of = text(item, "/resourceFieldRef/containerName");
                    let container =
                        items(pod, "/spec/containers").iter().find(|container| text(container, "/name") == of);
                    resource_field(
                        container.unwrap_or(&Value::Null),
                        item.get("resourceFieldRef").unwrap_or(&Value::Null),
                        node,
                    )
                }
            };
            files.push(ProjectedFile {
                path: text(item, "/path").to_owned(),
                contents: contents.into_bytes(),
                mode: mode(item, "mode", default_mode),
            });
        }
        return Ok(files);
    }
    if let Some(token) = source.get("serviceAccountToken") {
        let seconds = int(token, "/expirationSeconds").unwrap_or(3600).max(600).unsigned_abs();
        let claims = crate::token::Claims {
            namespace: namespace(pod).to_owned(),
            account: text(pod, "/spec/serviceAccountName").to_owned(),
            pod: Some((name(pod).to_owned(), uid(pod).to_owned())),
            issued_at: view.wall.as_secs(),
            // Nothing renews the file while the pod runs, so it is made to last, as legacy tokens did.
            expires_at: view.wall.as_secs() + seconds.max(365 * 24 * 3600),
        };
        let contents = crate::token::sign(&view.settings.service_account_key, &claims).into_bytes();
        return Ok(vec![ProjectedFile { path: text(token, "/path").to_owned(), contents, mode: default_mode }]);
    }
    Err("a projected volume has a source that is not supported".to_owned())
}

fn keyed_files(
    resource: ResourceId,
    object: &Value,
    reference: &Value,
    default_mode: u32,
) -> Result<Vec<ProjectedFile>, String> {
    let chosen = items(reference, "/items");
    let mut wanted: BTreeMap<String, (String, u32)> = BTreeMap::new();
    if chosen.is_empty() {
        for part in ["/data", "/binaryData"] {
            let keys = map(object, part).into_iter().flat_map(serde_json::Map::keys);
            wanted.extend(keys.map(|key| (key.clone(), (key.clone(), default_mode))));
        }
    }
    for item in chosen {
        wanted
            .insert(text(item, "/path").to_owned(), (text(item, "/key").to_owned(), mode(item, "mode", default_mode)));
    }
    let mut files = Vec::new();
    for (path, (key, mode)) in wanted {
        match datum(resource, object, &key) {
            Some(contents) => files.push(ProjectedFile { path, contents, mode }),
            None if flag(reference, "/optional") => {}
            None => return Err(format!("references non-existent {} key: {key}", resource.row().singular)),
        }
    }
    Ok(files)
}
