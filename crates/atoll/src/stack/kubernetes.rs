//! Kubernetes, pods and mesh: who signs for whom, what runs the pods, what the mesh is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use atoll_kubernetes::{
    Client, Config, Ephemeral, KeyValue, Kubeconfig, Kubernetes, NodeSettings, Outcome, Persistence, Settings,
};
use atoll_net::Host;
use atoll_pki::{Authority, Clients};
use atoll_runtime::{Images, LocalCommand, RuntimeConfig};
use atoll_storage::kv::Kv;
use serde_json::{Value, json};

use super::{API_PORT, Embedded, pod_logs, start_failure};
use crate::config::Engine;
use crate::environment::Environment;
use crate::error::{Code, Failure, Result};
use crate::files;
use crate::logs::Logs;
use crate::plan::Plan;
use crate::pods::kubelet::PodHost;

/// The name of the ConfigMap through which pods find the engines, in every namespace.
const ENGINES: &str = "atoll-engines";
const KEY_BYTES: usize = 32;

/// The orchestrator of a stack.
pub struct Orchestrator {
    kubernetes: Kubernetes,
    pods: Arc<PodHost>,
}

impl Orchestrator {
    /// Starts the pods' machine, then the API with its controllers, and writes the kubeconfig.
    pub fn start(
        host: &Host,
        plan: &Plan,
        authority: Arc<Authority>,
        for_pods: Environment,
        logs: &Logs,
    ) -> Result<Orchestrator> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(Code::EngineFailed, format!("kubernetes did not start: {error}")).hint("see `atoll doctor`")
        };
        let pods = PodHost::start(host, Arc::clone(&authority), runtime_config(plan))
            .map_err(|error| start_failure(Engine::Kubernetes, &error))?;
        let certificate = authority
            .server(&server_names(host).iter().map(String::as_str).collect::<Vec<_>>())
            .map_err(|error| failed(&error))?;
        let tls = authority.server_config(&certificate, Clients::MayPresent).map_err(|error| failed(&error))?;
        let config = Config {
            settings: settings(host, plan, &authority, for_pods)?,
            tls,
            port: API_PORT,
            persistence: persistence(host).map_err(|error| failed(&error))?,
            runtime: Arc::<PodHost>::clone(&pods),
        };
        let kubernetes = Kubernetes::start(config, host).map_err(|error| {
            pods.shut_down();
            start_failure(Engine::Kubernetes, &error)
        })?;
        let orchestrator = Orchestrator { kubernetes, pods };
        orchestrator.pods.follow(orchestrator.kubernetes.client());
        let follow = pod_logs::follow(orchestrator.kubernetes.client(), host.kernel.clone(), logs.clone());
        orchestrator.pods.machine().handle.spawn(follow);
        orchestrator.write_kubeconfig(&authority, plan)?;
        Ok(orchestrator)
    }

    /// Applies manifests, each with the name to report it by.
    pub fn apply(&self, documents: &[(String, String)]) -> Result<Value> {
        let client: Client = self.kubernetes.client();
        let mut applied = Vec::new();
        for (name, text) in documents {
            let outcomes = client.apply(text).map_err(|error| {
                Failure::new(Code::ManifestInvalid, format!("{name}: {error}"))
                    .hint("what stands before it has been applied; `kubectl explain` knows the fields")
            })?;
            applied.extend(outcomes.iter().map(|one| {
                let outcome = match one.outcome {
                    Outcome::Created => "created",
                    Outcome::Configured => "configured",
                    Outcome::Unchanged => "unchanged",
                };
                format!("{} {outcome}", one.object)
            }));
        }
        Ok(json!({ "applied": applied }))
    }

    fn write_kubeconfig(&self, authority: &Authority, plan: &Plan) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(Code::EngineFailed, format!("kubeconfig: {error}"));
        let user = authority.kubernetes_user("admin", "system:masters").map_err(|error| failed(&error))?;
        let kubeconfig = Kubeconfig {
            name: &plan.name,
            server: &format!("https://{}", self.kubernetes.address()),
            certificate_authority_pem: authority.certificate_pem(),
            client_certificate_pem: &user.certificate_pem,
            client_key_pem: &user.key_pem,
        };
        files::write_owner_only(&plan.home.kubeconfig(), kubeconfig.to_yaml().as_bytes())
            .map_err(|error| failed(&error))
    }
}

impl Embedded for Orchestrator {
    fn addresses(&self) -> Vec<SocketAddr> {
        vec![self.kubernetes.address()]
    }

    fn status(&self) -> Value {
        let client = self.kubernetes.client();
        let pods = client.list(atoll_kubernetes::ResourceId::Pods);
        let is_ready = |pod: &&Arc<Value>| {
            let conditions = pod["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        };
        let is_finished = |pod: &&Arc<Value>| pod["status"]["phase"] == "Succeeded";
        let ready = pods.iter().filter(is_ready).count();
        let finished = pods.iter().filter(is_finished).count();
        json!({
            "healthy": ready + finished == pods.len(),
            "pods": pods.len(),
            "podsReady": ready,
            "podsSucceeded": finished,
        })
    }

    fn shut_down(&self) {
        self.kubernetes.shut_down();
        self.pods.shut_down();
    }
}

/// Every name and address under which somebody reaches the API: programs of this machine, and pods.
fn server_names(host: &Host) -> Vec<String> {
    let service =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let mut names: Vec<String> = service.into_iter().chain(["localhost", "10.96.0.1"]).map(str::to_owned).collect();
    if let Some(node) = host.kernel.nodes().first() {
        names.extend([node.config.address.to_string(), node.config.pod_side_address.to_string()]);
    }
    names
}

fn settings(host: &Host, plan: &Plan, authority: &Authority, for_pods: Environment) -> Result<Settings> {
    let (cpu_millicores, memory_bytes) = machine_size();
    let nodes = host.kernel.nodes();
    let settings = Settings::new(
        nodes
            .iter()
            .map(|node| NodeSettings {
                region: node.config.region.clone(),
                zone: node.config.zone.clone(),
                ..NodeSettings::numbered(node.config.id.0, cpu_millicores, memory_bytes)
            })
            .collect(),
    );
    Ok(Settings {
        seed: plan.seed.0,
        load_balancer_addresses: nodes.iter().map(|node| node.config.address.to_string()).collect(),
        certificate_authority_pem: authority.certificate_pem().to_owned(),
        service_account_key: service_account_key(host)?,
        namespace_config_maps: BTreeMap::from([(ENGINES.to_owned(), for_pods)]),
        ..settings
    })
}

/// Kept beside the authority's key, so that tokens of pods outlive a restart.
fn service_account_key(host: &Host) -> Result<Vec<u8>> {
    let path = host.data_directory.as_ref().map(|directory| directory.join("pki/service-accounts.key"));
    files::secret(path.as_deref(), KEY_BYTES)
        .map_err(|error| Failure::new(Code::DataDirectoryUnusable, format!("the key of service accounts: {error}")))
}

fn persistence(host: &Host) -> std::io::Result<Box<dyn Persistence>> {
    Ok(match &host.data_directory {
        Some(directory) => {
            let store = Kv::open(&directory.join("kv")).map_err(std::io::Error::other)?;
            Box::new(KeyValue::open(&store)?)
        }
        None => Box::new(Ephemeral),
    })
}

fn runtime_config(plan: &Plan) -> RuntimeConfig {
    let mut config = RuntimeConfig::new(plan.name.clone(), plan.home.directory().join("runtime"));
    let mut images = Images::default();
    for (name, image) in &plan.stack.images {
        let working_dir = image.workdir.as_ref().map_or_else(PathBuf::new, PathBuf::from);
        images.insert(
            name.clone(),
            LocalCommand {
                argv: image.command.clone(),
                working_dir: plan.directory.join(working_dir),
                env: image.env.clone(),
            },
        );
    }
    config.images = images;
    config
}

/// Every node is as large as the machine: what runs on one may use what others leave.
fn machine_size() -> (i64, i64) {
    let cores = std::thread::available_parallelism().map_or(1, |cores| i64::try_from(cores.get()).unwrap_or(1));
    let information = files::read_text(std::path::Path::new("/proc/meminfo"), 64 * 1024).unwrap_or_default();
    let total_kib = information
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
    (cores * 1000, total_kib.unwrap_or(4 << 20) * 1024)
}
