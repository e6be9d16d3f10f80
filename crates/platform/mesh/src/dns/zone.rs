//! What the zone `cluster.local` says, from the table of services. Pure.
//!
//! Source: Kubernetes DNS-Based Service Discovery 1.1.0, and CoreDNS's `kubernetes` plugin with `pods insecure`, as
//! kubeadm installs it.

use std::net::Ipv4Addr;

use super::wire::{Answer, Code, Data, Query, kind};
use crate::table::{Endpoint, Service, ServiceTable};

/// Seconds: kubeadm's `Corefile`.
const TTL: u32 = 30;
const ZONE: &str = "cluster.local";
/// Reverse lookups of the cluster's own ranges are answered here, all others outside.
const REVERSE_ZONE: &str = "in-addr.arpa";

/// Answers a question about the cluster; `None` if the name is not of the cluster.
pub(crate) fn answer(table: &ServiceTable, query: &Query, turn: usize) -> Option<Answer> {
    let labels: Vec<&str> = query.labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [name @ .., "cluster", "local"] => Some(finish(lookup(table, name, query.kind), ZONE, query.kind, turn)),
        [octets @ .., "in-addr", "arpa"] => reverse(table, octets, query.kind),
        _ => None,
    }
}

/// Something that exists, with all its records; `None` is NXDOMAIN.
type Found = Option<(Vec<Data>, Vec<(String, Ipv4Addr)>)>;

fn found(records: Vec<Data>) -> Found {
    Some((records, Vec::new()))
}

/// Keeps what was asked for and puts it into an answer.
fn finish(found: Found, zone: &'static str, asked: u16, turn: usize) -> Answer {
    let Some((mut records, additional)) = found else {
        return Answer { ttl: TTL, authority: Some(zone), ..Answer::of_code(Code::NameError) };
    };
    records.retain(|data| {
        let kind = match data {
            Data::Address(_) => kind::A,
            // An alias answers every question about its name.
            Data::Name(kind::CNAME, _) => asked,
            Data::Name(kind, _) => *kind,
            Data::Service { .. } => kind::SRV,
            Data::Text(_) => kind::TXT,
        };
        asked == kind || asked == kind::ANY
    });
    if let Some(first) = turn.checked_rem(records.len()) {
        records.rotate_left(first);
    }
    let additional = if records.is_empty() { Vec::new() } else { additional };
    Answer { code: Code::NoError, records, additional, ttl: TTL, authority: Some(zone) }
}

fn lookup(table: &ServiceTable, name: &[&str], asked: u16) -> Found {
    match name {
        [] | ["svc"] | ["pod"] => found(Vec::new()),
        ["dns-version"] => found(vec![Data::Text("1.1.0".into())]),
        [namespace, "svc"] => table.has_namespace(namespace).then(Default::default),
        [dashed, _namespace, "pod"] => found(vec![Data::Address(undash(dashed)?)]),
        [_namespace, "pod"] => found(Vec::new()),
        [service, namespace, "svc"] => service_records(table.by_name(namespace, service)?),
        [first, service, namespace, "svc"] => {
            let service = table.by_name(namespace, service)?;
            match first.strip_prefix('_') {
                // `_tcp.web…` exists if something is below it.
                Some(protocol) => (protocol == "tcp").then(Default::default),
                None => endpoint_records(service, first),
            }
        }
        [port, protocol, service, namespace, "svc"] => {
            let service = table.by_name(namespace, service)?;
            let port = port.strip_prefix('_').filter(|_| *protocol == "_tcp")?;
            port_records(service, port, asked)
        }
        _ => None,
    }
}

fn host_name(service: &Service) -> String {
    format!("{}.{}.svc.{ZONE}", service.name, service.namespace)
}

fn service_records(service: &Service) -> Found {
    if let Some(external) = &service.external_name {
        return found(vec![Data::Name(kind::CNAME, external.clone())]);
    }
    found(match service.cluster_ip {
        Some(ip) => vec![Data::Address(ip)],
        None => published(service).map(|endpoint| Data::Address(endpoint.ip)).collect(),
    })
}

/// The endpoints that a headless service's name stands for.
fn published(service: &Service) -> impl Iterator<Item = &Endpoint> {
    service.endpoints.iter().filter(|endpoint| endpoint.ready || service.publish_not_ready)
}

fn endpoint_name(endpoint: &Endpoint) -> String {
    endpoint.hostname.clone().unwrap_or_else(|| endpoint.ip.to_string().replace('.', "-"))
}

/// One endpoint of a headless service, by its host name or its dashed address.
fn endpoint_records(service: &Service, name: &str) -> Found {
    if service.cluster_ip.is_some() {
        return None;
    }
    let addresses = published(service).filter(|endpoint| endpoint_name(endpoint) == name);
    let records: Vec<Data> = addresses.map(|endpoint| Data::Address(endpoint.ip)).collect();
    (!records.is_empty()).then_some((records, Vec::new()))
}

fn port_records(service: &Service, port: &str, asked: u16) -> Found {
    let wanted = service.ports.iter().find(|candidate| candidate.name == port)?;
    let mut additional = Vec::new();
    let mut records = Vec::new();
    match service.cluster_ip {
        Some(ip) => {
            records.push(Data::Service { port: wanted.port, target: host_name(service) });
            additional.push((host_name(service), ip));
        }
        None => {
            for endpoint in published(service) {
                let Some(port) = endpoint.ports.get(&wanted.name) else { continue };
                let target = format!("{}.{}", endpoint_name(endpoint), host_name(service));
                additional.push((target.clone(), endpoint.ip));
                records.push(Data::Service { port: *port, target });
            }
        }
    }
    if asked != kind::SRV {
        additional.clear();
    }
    Some((records, additional))
}

/// `10-244-1-5` → 10.244.1.5
fn undash(dashed: &str) -> Option<Ipv4Addr> {
    dashed.replace('-', ".").parse().ok()
}

fn reverse(table: &ServiceTable, octets: &[&str], asked: u16) -> Option<Answer> {
    let text: Vec<&str> = octets.iter().rev().copied().collect();
    let ip: Ipv4Addr = text.join(".").parse().ok()?;
    if !matches!(ip.octets(), [10, 96 | 240 | 244, ..]) {
        return None;
    }
    let names: Vec<Data> = match table.by_ip(ip) {
        Some(service) => vec![host_name(service)],
        None => {
            let headless = table.iter().filter(|service| service.cluster_ip.is_none());
            let named = headless.flat_map(|service| {
                let endpoints = published(service).filter(|endpoint| endpoint.ip == ip);
                endpoints.map(move |endpoint| format!("{}.{}", endpoint_name(endpoint), host_name(service)))
            });
            named.collect()
        }
    }
    .into_iter()
    .map(|name| Data::Name(kind::PTR, name))
    .collect();
    let names = (!names.is_empty()).then_some((names, Vec::new()));
    Some(finish(names, REVERSE_ZONE, asked, 0))
}
