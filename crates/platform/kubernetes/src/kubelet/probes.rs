//! Startup, readiness and liveness probes of a running container: when each is due, and what its answers come to.

use std::time::Duration;

use serde_json::Value;

use super::container::Run;
use super::{Outcome, Worker};
use crate::cluster::View;
use crate::controllers::Note;
use crate::object::{int, items, map, text};
use crate::runtime::{Command, ContainerId, ProbeAction};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Startup,
    Readiness,
    Liveness,
}

#[derive(Clone, Debug)]
struct Probe {
    kind: Kind,
    spec: Value,
    due: Duration,
    ticket: Option<u64>,
    successes: i64,
    failures: i64,
}

/// The probes of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    list: Vec<Probe>,
    /// The startup probe has succeeded, or there is none.
    pub started: bool,
    /// The readiness probe says so, or there is none.
    pub ready: bool,
    killing: bool,
}

impl Probes {
    /// The probes of a container that has just started.
    pub fn start(container: &Value, now: Duration) -> Probes {
        let mut list = Vec::new();
        for (kind, field) in
            [(Kind::Startup, "startupProbe"), (Kind::Readiness, "readinessProbe"), (Kind::Liveness, "livenessProbe")]
        {
            let Some(spec) = container.get(field).filter(|spec| spec.is_object()) else { continue };
            let due = now + seconds(spec, "initialDelaySeconds", 0);
            list.push(Probe { kind, spec: spec.clone(), due, ticket: None, successes: 0, failures: 0 });
        }
        let has = |kind: Kind| list.iter().any(|probe| probe.kind == kind);
        let started = !has(Kind::Startup);
        Probes { started, ready: started && !has(Kind::Readiness), list, killing: false }
    }

    fn is_due(&self, probe: &Probe) -> bool {
        probe.ticket.is_none() && !self.killing && ((probe.kind == Kind::Startup) != self.started)
    }

    /// When the next probe is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.list.iter().filter(|probe| self.is_due(probe)).map(|probe| probe.due).min()
    }
}

fn seconds(spec: &Value, field: &str, default: i64) -> Duration {
    Duration::from_secs(int(spec, &format!("/{field}")).unwrap_or(default).max(0).unsigned_abs())
}

impl Worker {
    /// Sends the probes that are due.
    pub(super) fn probe(&mut self, tickets: &mut u64, view: &View<'_>, outcome: &mut Outcome) {
        let names: Vec<String> = self.containers.keys().cloned().collect();
        for name in names {
            let (Some(id), true) = (self.container_id(&name), self.is_running(&name)) else { continue };
            let spec = self.spec_of(&name);
            let Some(container) = self.containers.get_mut(&name) else { continue };
            let due: Vec<usize> = (0..container.probes.list.len())
                .filter(|at| {
                    container.probes.is_due(&container.probes.list[*at]) && container.probes.list[*at].due <= view.now
                })
                .collect();
            for at in due {
                let probe = &mut container.probes.list[at];
                *tickets += 1;
                probe.ticket = Some(*tickets);
                probe.due = view.now + seconds(&probe.spec, "periodSeconds", 10).max(Duration::from_secs(1));
                let timeout = seconds(&probe.spec, "timeoutSeconds", 1).max(Duration::from_secs(1));
                let action = action(&probe.spec, &spec);
                outcome.commands.push(Command::Probe { id: id.clone(), ticket: *tickets, action, timeout });
            }
        }
    }

    /// A probe was answered.
    pub(super) fn on_probe(
        &mut self,
        id: &ContainerId,
        ticket: u64,
        answer: (bool, &str),
        view: &View<'_>,
        outcome: &mut Outcome,
        events: &mut Vec<Note>,
    ) {
        let grace = int(&self.pod, "/spec/terminationGracePeriodSeconds").unwrap_or(30);
        let Some(container) =
            self.containers.get_mut(&id.container).filter(|container| container.attempt == Some(id.attempt))
        else {
            return;
        };
        if !matches!(container.run, Run::Running { .. }) {
            return;
        }
        let probes = &mut container.probes;
        let Some(probe) = probes.list.iter_mut().find(|probe| probe.ticket == Some(ticket)) else { return };
        probe.ticket = None;
        let (success, output) = answer;
        (probe.successes, probe.failures) = if success { (probe.successes + 1, 0) } else { (0, probe.failures + 1) };
        let passed = probe.successes >= int(&probe.spec, "/successThreshold").unwrap_or(1);
        let failed = probe.failures >= int(&probe.spec, "/failureThreshold").unwrap_or(3);
        let kind = probe.kind;
        let own_grace = int(&probe.spec, "/terminationGracePeriodSeconds").unwrap_or(grace);
        match kind {
            Kind::Startup if passed => {
                probes.started = true;
                probes.ready = !probes.list.iter().any(|probe| probe.kind == Kind::Readiness);
                let now = view.now;
                probes.list.iter_mut().for_each(|probe| probe.due = probe.due.max(now));
            }
            Kind::Readiness if passed => probes.ready = true,
            Kind::Readiness if failed => probes.ready = false,
            _ => {}
        }
        let word = match kind {
            Kind::Startup => "Startup",
            Kind::Readiness => "Readiness",
            Kind::Liveness => "Liveness",
        };
        let fatal = failed && kind != Kind::Readiness;
        if fatal {
            probes.killing = true;
        }
        if !success {
            events.push(self.warning("Unhealthy", format!("{word} probe failed: {output}"), &id.container));
        }
        if fatal {
            let message = format!("Container {} failed {} probe, will be restarted", id.container, word.to_lowercase());
            events.push(self.note("Killing", message, &id.container));
            let grace = Duration::from_secs(own_grace.max(0).unsigned_abs());
            outcome.commands.push(Command::StopContainer { id: id.clone(), grace });
        }
    }
}

fn action(probe: &Value, container: &Value) -> ProbeAction {
    if let Some(get) = probe.get("httpGet").filter(|get| get.is_object()) {
        let headers = items(get, "/httpHeaders");
        return ProbeAction::HttpGet {
            host: text(get, "/host").to_owned(),
            port: port(get.get("port"), container),
            path: text(get, "/path").to_owned(),
            tls: text(get, "/scheme") == "HTTPS",
            headers: headers
                .iter()
                .map(|header| (text(header, "/name").to_owned(), text(header, "/value").to_owned()))
                .collect(),
        };
    }
    if let Some(socket) = probe.get("tcpSocket").filter(|socket| socket.is_object()) {
        return ProbeAction::TcpSocket {
            host: text(socket, "/host").to_owned(),
            port: port(socket.get("port"), container),
        };
    }
    if map(probe, "/grpc").is_some() {
        return ProbeAction::Grpc {
            port: port(probe.pointer("/grpc/port"), container),
            service: text(probe, "/grpc/service").to_owned(),
        };
    }
    let command = items(probe, "/exec/command");
    ProbeAction::Exec(command.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// A port by number, or by the name that the container gives it; 0 when it has no such port, which nothing listens on.
fn port(port: Option<&Value>, container: &Value) -> u16 {
    let number = match port {
        Some(Value::String(name)) => items(container, "/ports")
            .iter()
            .find(|candidate| text(candidate, "/name") == name)
            .and_then(|found| int(found, "/containerPort"))
            .or_else(|| name.parse().ok()),
        Some(number) => number.as_i64(),
        None => None,
    };
    number.and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
}
