//! The assembly: every part of a stack, in the order in which it starts; it stops in the opposite order.

use std::sync::Arc;

use atoll_kernel::Kernel;
use atoll_kernel::disk::Disk;
use atoll_net::Host;
use serde_json::{Value, json};

use crate::config::{Engine, EngineEntry, OptionEntry, StackFile};
use crate::environment::{self, Environment};
use crate::error::{Code, Failure, Result};
use crate::faults;
use crate::home::Held;
use crate::logs::Logs;
use crate::plan::Plan;
use crate::serve::Reporter;

/// A running stack.
pub struct Stack {
    host: Host,
    parts: Vec<Part>,
    kubeconfig: String,
}

/// One engine of the stack: embedded, somebody else's, or left out.
struct Part {
    engine: Engine,
    presence: Presence,
}

enum Presence {
    Embedded(Box<dyn Embedded>),
    External(String),
    Disabled,
}

/// What the stack asks of an engine that runs inside this process.
trait Embedded {
    /// Where clients on this machine reach it, first node first.
    fn addresses(&self) -> Vec<String>;
    /// What it says about itself, for `atoll status`.
    fn status(&self) -> Value;
    /// Ends it in order. Returns when its threads have ended.
    fn shut_down(&self);
}

/// The ports that the embedded engines of a stack need, each with the node's number.
pub fn ports(stack: &StackFile) -> Vec<(u8, u16)> {
    let is_embedded = |engine| matches!(stack.engines.get(&engine), Some(EngineEntry::Embedded { .. }));
    let mut ports = Vec::new();
    for node in (1..=u8::MAX).take(stack.nodes.len()) {
        if is_embedded(Engine::Redis) {
            ports.extend([(node, 6379), (node, 6381)]);
        }
        if is_embedded(Engine::Kafka) {
            ports.push((node, 9092));
        }
        if is_embedded(Engine::Kubernetes) {
            ports.push((node, 15008));
        }
    }
    if is_embedded(Engine::Kubernetes) {
        ports.push((1, 6443));
    }
    ports
}

impl Stack {
    /// Starts every part on a block of addresses. When it returns, every listener is ready.
    pub fn start(plan: &Plan, held: &Held, instance: u8, logs: &Logs, reporter: &mut dyn Reporter) -> Result<Stack> {
        let kernel = Kernel::live(plan.nodes(instance), plan.seed);
        let disk: Arc<dyn Disk> = held.disk();
        let host = Host::new(kernel, disk, held.data_directory());
        let mut stack = Stack { host, parts: Vec::new(), kubeconfig: plan.home.kubeconfig().display().to_string() };
        reporter.step(&format!("{} nodes", plan.stack.nodes.len()));
        for (engine, entry) in &plan.stack.engines {
            let presence = match entry {
                EngineEntry::Disabled => Presence::Disabled,
                EngineEntry::External { address } => Presence::External(address.clone()),
                EngineEntry::Embedded { config } => match stack.embed(*engine, config, plan, logs) {
                    Ok(embedded) => Presence::Embedded(embedded),
                    Err(failure) => {
                        stack.shut_down();
                        return Err(failure);
                    }
                },
            };
            stack.parts.push(Part { engine: *engine, presence });
        }
        Ok(stack)
    }

    /// Starts one engine inside this process.
    fn embed(&self, engine: Engine, config: &[OptionEntry], plan: &Plan, logs: &Logs) -> Result<Box<dyn Embedded>> {
        let _ = (config, plan, logs);
        let message = format!("this build has no {} of its own", engine.name());
        Err(Failure::new(Code::EngineFailed, message).hint("give the address of a real one with `external:`"))
    }

    /// Nodes, links, clocks and the ledger.
    pub fn kernel(&self) -> &Kernel {
        &self.host.kernel
    }

    /// The environment variables that programs are given, for embedded and external engines alike.
    pub fn environment(&self) -> Environment {
        let mut environment = Environment::new();
        for part in &self.parts {
            let addresses = match &part.presence {
                Presence::Embedded(embedded) => embedded.addresses(),
                Presence::External(address) => address.split(',').map(|one| one.trim().to_owned()).collect(),
                Presence::Disabled => continue,
            };
            environment.extend(match (part.engine, &part.presence) {
                (Engine::Redis, _) => environment::redis(&addresses),
                (Engine::Kafka, _) => environment::kafka(&addresses),
                (Engine::Kubernetes, Presence::External(kubeconfig)) => environment::kubernetes(kubeconfig),
                (Engine::Kubernetes, _) => environment::kubernetes(&self.kubeconfig),
            });
        }
        environment
    }

    /// The parts of the status that the stack knows: nodes, engines, rules, the ledger's counts.
    pub fn status(&self) -> Vec<(&'static str, Value)> {
        let kernel = self.kernel();
        vec![
            ("nodes", kernel.nodes().iter().map(node_status).collect()),
            ("engines", self.parts.iter().map(|part| (part.engine.name().to_owned(), part.status())).collect()),
            ("rules", json!(faults::rules(kernel))),
            ("ledger", faults::ledger(kernel, None, 0)["counts"].take()),
        ]
    }

    /// Applies manifests to the Kubernetes API of this stack.
    pub fn apply(&self, documents: &[(String, String)]) -> Result<Value> {
        let _ = documents;
        Err(Failure::new(Code::EngineNotEmbedded, "this stack has no Kubernetes API of its own")
            .hint("apply the manifests with `kubectl apply -f`"))
    }

    /// Ends every part in order, the last one first.
    pub fn shut_down(&self) {
        for part in self.parts.iter().rev() {
            if let Presence::Embedded(embedded) = &part.presence {
                embedded.shut_down();
            }
        }
    }
}

impl Part {
    fn status(&self) -> Value {
        match &self.presence {
            Presence::Embedded(embedded) => {
                json!({ "mode": "embedded", "addresses": embedded.addresses(), "status": embedded.status() })
            }
            Presence::External(address) => json!({ "mode": "external", "addresses": [address] }),
            Presence::Disabled => json!({ "mode": "disabled", "addresses": [] }),
        }
    }
}

fn node_status(node: &atoll_kernel::Node) -> Value {
    json!({
        "id": node.config.id,
        "state": node.state,
        "address": node.config.address,
        "podSideAddress": node.config.pod_side_address,
        "region": node.config.region,
        "zone": node.config.zone,
        "clockOffsetMilliseconds": node.skew.offset_ms,
        "disk": node.disk,
    })
}
