//! The assembly: every part of a stack, in the order in which it starts; it stops in the opposite order.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use atoll_kafka::Kafka;
use atoll_kernel::Kernel;
use atoll_net::Host;
use atoll_pki::Authority;
use atoll_redis::Redis;
use serde_json::{Value, json};

use crate::cli::query;
use crate::config::{Engine, EngineEntry, OptionEntry, Problem, StackFile};
use crate::environment::{self, Environment};
use crate::error::{Code, Failure, Result};
use crate::faults;
use crate::home::Held;
use crate::logs::Logs;
use crate::options;
use crate::plan::Plan;
use crate::serve::Reporter;

use kubernetes::Orchestrator;

mod certificates;
mod kubernetes;
mod pod_logs;

/// The address under which pods reach programs of this machine that are no part of the stack.
const MACHINE_FOR_PODS: &str = "10.240.255.254";

/// The Kubernetes API, on node 1.
const API_PORT: u16 = 6443;
/// Mutual TLS between nodes.
const MESH_PORT: u16 = 15008;

/// A running stack.
pub struct Stack {
    host: Host,
    parts: Vec<Part>,
    kubeconfig: String,
    /// Made when the first part needs it.
    authority: OnceLock<Arc<Authority>>,
    /// Files that clients of TLS listeners need, by the names of variables: whom to trust, their own certificates.
    client_files: Environment,
}

/// One engine of the stack: embedded, somebody else's, or left out.
struct Part {
    engine: Engine,
    presence: Presence,
}

enum Presence {
    Embedded(Box<dyn Embedded>),
    Orchestrator(Box<Orchestrator>),
    External(String),
    Disabled,
}

/// What the stack asks of an engine that runs inside this process.
trait Embedded {
    /// Where programs on this machine reach it, first node first.
    fn addresses(&self) -> Vec<SocketAddr>;
    /// Where it is reached in other ways, by name.
    fn other_listeners(&self) -> Vec<(String, Vec<SocketAddr>)> {
        Vec::new()
    }
    /// What it says about itself, for `atoll status`.
    fn status(&self) -> Value;
    /// Ends it in order. Returns when its threads have ended.
    fn shut_down(&self);
}

/// The ports that the embedded engines of a stack need, each with the node's number.
pub fn ports(stack: &StackFile) -> Vec<(u8, u16)> {
    let mut everywhere = Vec::new();
    let mut on_the_first = Vec::new();
    for (engine, entry) in &stack.engines {
        let EngineEntry::Embedded { config } = entry else { continue };
        match engine {
            Engine::Redis => everywhere.extend(options::redis_ports(config)),
            Engine::Kafka => everywhere.extend(options::kafka_ports(config)),
            Engine::Kubernetes => {
                everywhere.push(MESH_PORT);
                on_the_first.push(API_PORT);
            }
        }
    }
    let nodes = (1..=u8::MAX).take(stack.nodes.len());
    let on_every_node = nodes.flat_map(|node| everywhere.iter().map(move |port| (node, *port)));
    on_every_node.chain(on_the_first.iter().map(|port| (1, *port))).collect()
}

impl Stack {
    /// Starts every part on a block of addresses. When it returns, every listener is ready and the manifests are applied.
    pub fn start(plan: &Plan, held: &Held, instance: u8, logs: &Logs, reporter: &mut dyn Reporter) -> Result<Stack> {
        let kernel = Kernel::live(plan.nodes(instance), plan.seed);
        let host = Host::new(kernel, held.disk(), held.data_directory());
        let kubeconfig = plan.home.kubeconfig().display().to_string();
        let mut stack =
            Stack { host, parts: Vec::new(), kubeconfig, authority: OnceLock::new(), client_files: Environment::new() };
        reporter.step(&format!("{} nodes", plan.stack.nodes.len()));
        if let Err(failure) = stack.start_parts(plan, logs).and_then(|()| stack.apply_manifests(plan)) {
            stack.shut_down();
            return Err(failure);
        }
        let embedded: Vec<&str> =
            stack.parts.iter().filter(|part| part.embedded().is_some()).map(|part| part.engine.name()).collect();
        if !embedded.is_empty() {
            reporter.step(&format!("{} in {} ms", embedded.join(" "), stack.kernel().now().as_millis()));
        }
        Ok(stack)
    }

    fn start_parts(&mut self, plan: &Plan, logs: &Logs) -> Result<()> {
        for (engine, entry) in &plan.stack.engines {
            let presence = match entry {
                EngineEntry::Disabled => Presence::Disabled,
                EngineEntry::External { address } => Presence::External(address.clone()),
                EngineEntry::Embedded { config } => self.embed(*engine, config, plan, logs)?,
            };
            self.parts.push(Part { engine: *engine, presence });
        }
        Ok(())
    }

    /// Starts one engine inside this process.
    fn embed(&mut self, engine: Engine, config: &[OptionEntry], plan: &Plan, logs: &Logs) -> Result<Presence> {
        // The plan was checked before the start; what is refused now was never in a stack file.
        let refused = |problems: Vec<Problem>| {
            let message = problems.first().map(|problem| problem.message.clone()).unwrap_or_default();
            Failure::new(Code::StackFileInvalid, message)
        };
        let failed = |error: io::Error| start_failure(engine, &error);
        Ok(match engine {
            Engine::Redis => {
                let config = options::redis(config).map_err(refused)?;
                let pem = if config.uses_tls() { Some(self.redis_certificates(&config, plan)?) } else { None };
                Presence::Embedded(Box::new(Redis::start(config, self.host.clone(), pem).map_err(failed)?))
            }
            Engine::Kafka => {
                let config = options::kafka(config).map_err(refused)?;
                let own = if config.needs_authority() { Some(self.kafka_certificate(plan)?) } else { None };
                let handle = Kafka::start(config, self.host.clone(), own.as_ref()).map_err(failed)?;
                Presence::Embedded(Box::new(handle))
            }
            // The last to start, so that it can tell pods where the others are.
            Engine::Kubernetes => {
                let for_pods = self.environment_for_pods();
                Presence::Orchestrator(Box::new(Orchestrator::start(
                    &self.host,
                    plan,
                    self.authority(engine)?,
                    for_pods,
                    logs,
                )?))
            }
        })
    }

    /// The stack's certificate authority, kept with its data.
    fn authority(&self, engine: Engine) -> Result<Arc<Authority>> {
        if let Some(authority) = self.authority.get() {
            return Ok(Arc::clone(authority));
        }
        let opened = match &self.host.data_directory {
            Some(directory) => Authority::open(&directory.join("pki")),
            None => Authority::in_memory(),
        };
        let opened = opened.map_err(|error| start_failure(engine, &io::Error::other(error)))?;
        Ok(Arc::clone(self.authority.get_or_init(|| Arc::new(opened))))
    }

    fn apply_manifests(&self, plan: &Plan) -> Result<()> {
        let mut documents = Vec::new();
        for manifest in &plan.stack.manifests {
            documents.extend(query::manifests(&plan.directory.join(manifest))?);
        }
        if documents.is_empty() { Ok(()) } else { self.apply(&documents).map(|_| ()) }
    }

    /// Nodes, links, clocks and the ledger.
    pub fn kernel(&self) -> &Kernel {
        &self.host.kernel
    }

    /// The environment variables that programs are given, for embedded and external engines alike.
    pub fn environment(&self) -> Environment {
        self.environment_with(|address| Some(address.to_string()), str::to_owned)
    }

    /// The same as pods have it: other addresses of the same nodes, and no files of this machine.
    fn environment_for_pods(&self) -> Environment {
        let nodes = self.kernel().nodes();
        let pod_side = |address: &SocketAddr| {
            let node = nodes.iter().find(|node| address.ip() == node.config.address);
            node.map(|node| format!("{}:{}", node.config.pod_side_address, address.port()))
        };
        let mut environment = self.environment_with(pod_side, external_for_pods);
        environment.retain(|name, _| name != "KUBECONFIG" && !self.client_files.contains_key(name));
        environment
    }

    fn environment_with(
        &self,
        reached: impl Fn(&SocketAddr) -> Option<String>,
        external: impl Fn(&str) -> String,
    ) -> Environment {
        let addresses = |part: &Part| match (&part.presence, part.embedded()) {
            (_, Some(embedded)) => embedded.addresses().iter().filter_map(&reached).collect(),
            (Presence::External(address), None) => split(address).map(&external).collect(),
            _ => Vec::new(),
        };
        let mut environment = Environment::new();
        for part in self.parts.iter().filter(|part| !matches!(part.presence, Presence::Disabled)) {
            environment.extend(match (part.engine, &part.presence) {
                (Engine::Redis, _) => environment::redis(&addresses(part)),
                (Engine::Kafka, _) => environment::kafka(&addresses(part)),
                (Engine::Kubernetes, Presence::External(kubeconfig)) => environment::kubernetes(kubeconfig),
                (Engine::Kubernetes, _) => environment::kubernetes(&self.kubeconfig),
            });
            for (name, all) in part.embedded().map(Embedded::other_listeners).unwrap_or_default() {
                let all: Vec<String> = all.iter().filter_map(&reached).collect();
                environment.extend(match part.engine {
                    Engine::Redis => environment::redis_tls(&all, all == addresses(part)),
                    _ => environment::kafka_listener(&name, &all),
                });
            }
        }
        environment.extend(self.client_files.clone());
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

    /// Applies manifests, each with the name to report it by, to the Kubernetes API of this stack.
    pub fn apply(&self, documents: &[(String, String)]) -> Result<Value> {
        let orchestrator = self.parts.iter().find_map(|part| match &part.presence {
            Presence::Orchestrator(orchestrator) => Some(orchestrator),
            _ => None,
        });
        orchestrator
            .ok_or_else(|| {
                Failure::new(Code::EngineNotEmbedded, "this stack has no Kubernetes API of its own")
                    .hint("apply the manifests with `kubectl apply -f`")
            })?
            .apply(documents)
    }

    /// Ends every part in order, the last one first.
    pub fn shut_down(&self) {
        for embedded in self.parts.iter().rev().filter_map(Part::embedded) {
            embedded.shut_down();
        }
    }
}

impl Part {
    fn embedded(&self) -> Option<&dyn Embedded> {
        match &self.presence {
            Presence::Embedded(embedded) => Some(embedded.as_ref()),
            Presence::Orchestrator(orchestrator) => Some(orchestrator.as_ref()),
            Presence::External(_) | Presence::Disabled => None,
        }
    }

    fn status(&self) -> Value {
        match (&self.presence, self.embedded()) {
            (_, Some(embedded)) => {
                json!({ "mode": "embedded", "addresses": embedded.addresses(), "status": embedded.status() })
            }
            (Presence::External(address), None) => {
                json!({ "mode": "external", "addresses": split(address).collect::<Vec<_>>() })
            }
            _ => json!({ "mode": "disabled", "addresses": [] }),
        }
    }
}

impl Embedded for atoll_kafka::Handle {
    fn addresses(&self) -> Vec<SocketAddr> {
        atoll_kafka::Handle::addresses(self).iter().map(|(_, address)| *address).collect()
    }

    fn other_listeners(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let first = Embedded::addresses(self);
        let all = self
            .listeners()
            .iter()
            .map(|(name, addresses)| (name.clone(), addresses.iter().map(|(_, address)| *address).collect::<Vec<_>>()));
        all.filter(|(_, addresses)| *addresses != first).collect()
    }

    fn status(&self) -> Value {
        atoll_kafka::Handle::status(self)
    }

    fn shut_down(&self) {
        atoll_kafka::Handle::shut_down(self);
    }
}

impl Embedded for atoll_redis::Handle {
    fn addresses(&self) -> Vec<SocketAddr> {
        let plain = first_primaries(atoll_redis::Handle::addresses(self));
        if plain.is_empty() { first_primaries(self.tls_addresses()) } else { plain }
    }

    fn other_listeners(&self) -> Vec<(String, Vec<SocketAddr>)> {
        let encrypted = first_primaries(self.tls_addresses());
        if encrypted.is_empty() { Vec::new() } else { vec![("TLS".to_owned(), encrypted)] }
    }

    fn status(&self) -> Value {
        let instances = atoll_redis::Handle::status(self);
        let list = instances.as_array().map(Vec::as_slice).unwrap_or_default();
        let is_healthy = list.iter().all(|instance| instance["state"] == "ok");
        json!({ "healthy": is_healthy, "leaders": primaries(list), "instances": instances })
    }

    fn shut_down(&self) {
        atoll_redis::Handle::shut_down(self);
    }
}

/// The instances that begin as primaries: what a client is given to find the others by.
fn first_primaries(instances: &[(atoll_redis::InstanceAddress, SocketAddr)]) -> Vec<SocketAddr> {
    let port = instances.first().map(|(_, address)| address.port());
    instances.iter().map(|(_, address)| *address).filter(|address| Some(address.port()) == port).collect()
}

/// Who serves which slots: of those that say they do, the running instance with the highest epoch.
fn primaries(instances: &[Value]) -> BTreeMap<String, Value> {
    let mut leaders: BTreeMap<String, (u64, Value)> = BTreeMap::new();
    for instance in instances.iter().filter(|instance| instance["role"] == "master" && instance["run"] != "down") {
        let epoch = instance["epoch"].as_u64().unwrap_or(0);
        for slots in instance["slots"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let leader = leaders.entry(format!("slots {slots}")).or_insert((epoch, Value::Null));
            if epoch >= leader.0 {
                *leader = (epoch, instance["node"].clone());
            }
        }
    }
    leaders.into_iter().map(|(slots, (_, node))| (slots, node)).collect()
}

fn split(addresses: &str) -> impl Iterator<Item = &str> {
    addresses.split(',').map(str::trim)
}

/// An address of somebody else's engine as pods have to write it: this machine's loopback is not theirs.
fn external_for_pods(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, port)) if host == "localhost" || host.starts_with("127.") => format!("{MACHINE_FOR_PODS}:{port}"),
        _ => address.to_owned(),
    }
}

fn start_failure(engine: Engine, error: &io::Error) -> Failure {
    let message = format!("{} did not start: {error}", engine.name());
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            Failure::new(Code::AddressInUse, message).hint("`ss -ltnp` shows who has the address")
        }
        _ => Failure::new(Code::EngineFailed, message).hint("`atoll doctor` checks what engines need of the machine"),
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
