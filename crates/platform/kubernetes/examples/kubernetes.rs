//! Serves the API with pods that only pretend to run: for trying `kubectl`, and for the conformance script.
//!
//! `cargo run -p atoll-kubernetes --example kubernetes -- KUBECONFIG [INSTANCE] [NODE_MONITOR_GRACE_SECONDS]` writes the kubeconfig there, and serves
//! until its standard input ends. Lines on standard input are faults: `kill N`, `start N`, `pause N`, `resume N`.
//!
//! What a container does follows from its image: `crash` exits with 1 at once, `done` with 0, `absent` cannot be pulled,
//! everything else runs until it is stopped.

#![allow(clippy::disallowed_methods, reason = "a tool for developers that writes one file")]

use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::Arc;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Seed};
use atoll_kubernetes::{
    Command, Config, ContainerId, EventSink, KeyValue, Kubeconfig, Kubernetes, LogQuery, NodeSettings, PodRuntime,
    RuntimeEvent, Settings, StartFailure,
};
use atoll_net::Host;
use atoll_pki::{Authority, Clients};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let kubeconfig = arguments.next().ok_or("give the path of the kubeconfig to write")?;
    let instance: u8 = arguments.next().map_or(Ok(0), |instance| instance.parse())?;
    let nodes: Vec<NodeConfig> = (1..=3).map(|number| NodeConfig::numbered(instance, number)).collect();
    let kernel = Kernel::live(nodes, Seed(7));
    let host = Host::new(kernel.clone(), Arc::new(MemoryDisk::ephemeral()), None);
    let authority = Authority::in_memory()?;
    let address = format!("127.{instance}.0.1");
    let certificate = authority.server(&["kubernetes.default.svc", "localhost", &address, "10.96.0.1"])?;
    let mut settings = Settings::new((1..=3).map(|number| NodeSettings::numbered(number, 4000, 8 << 30)).collect());
    settings.certificate_authority_pem = authority.certificate_pem().to_owned();
    settings.service_account_key = b"a key for trying things out".to_vec();
    settings.load_balancer_addresses = vec![address];
    if let Some(seconds) = arguments.next() {
        settings.node_monitor_grace_period = std::time::Duration::from_secs(seconds.parse()?);
    }
    let config = Config {
        settings,
        tls: authority.server_config(&certificate, Clients::MayPresent)?,
        port: 6443,
        persistence: Box::new(KeyValue::open(&atoll_storage::kv::Kv::memory())?),
        runtime: Arc::new(Pretender::default()),
    };
    let kubernetes = Kubernetes::start(config, &host)?;
    let user = authority.kubernetes_user("kubernetes-admin", "system:masters")?;
    let rendered = Kubeconfig {
        name: "atoll",
        server: &format!("https://{}", kubernetes.address()),
        certificate_authority_pem: authority.certificate_pem(),
        client_certificate_pem: &user.certificate_pem,
        client_key_pem: &user.key_pem,
    };
    std::fs::write(&kubeconfig, rendered.to_yaml())?;
    println!("export KUBECONFIG={kubeconfig}");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let Some((verb, number)) = line.split_once(' ') else { continue };
        let node = NodeId(number.trim().parse()?);
        kernel.inject(&match verb {
            "kill" => Fault::Kill(node),
            "start" => Fault::Start(node),
            "pause" => Fault::Pause(node),
            _ => Fault::Resume(node),
        });
    }
    kubernetes.shut_down();
    Ok(())
}

/// A runtime without processes.
#[derive(Default)]
struct Pretender {
    sink: Mutex<Option<EventSink>>,
    running: Arc<Mutex<BTreeMap<ContainerId, Vec<mpsc::Sender<Bytes>>>>>,
}

impl Pretender {
    fn tell(&self, event: RuntimeEvent) {
        if let Some(sink) = self.sink.lock().as_ref() {
            sink(event);
        }
    }

    fn exit(&self, id: ContainerId, code: i32, signal: i32) {
        self.running.lock().remove(&id);
        self.tell(RuntimeEvent::ContainerExited { id, code, signal, out_of_memory: false });
    }
}

impl PodRuntime for Pretender {
    fn connect(&self, sink: EventSink) {
        *self.sink.lock() = Some(sink);
    }

    fn perform(&self, command: Command) {
        match command {
            Command::StartPod(spec) => self.tell(RuntimeEvent::PodStarted { pod: spec.id.clone() }),
            Command::StartContainer(spec) => {
                let id = spec.id.clone();
                if spec.image.starts_with("absent") {
                    let message = format!("{} is not there", spec.image);
                    return self.tell(RuntimeEvent::ContainerFailed { id, failure: StartFailure::Image, message });
                }
                self.running.lock().insert(id.clone(), Vec::new());
                let runtime_id = format!("pretend://{}-{}", spec.id.pod.uid, spec.id.attempt);
                self.tell(RuntimeEvent::ContainerStarted { id: id.clone(), runtime_id, image_id: spec.image.clone() });
                match spec.image.as_str() {
                    "crash" => self.exit(id, 1, 0),
                    "done" => self.exit(id, 0, 0),
                    _ => {}
                }
            }
            Command::StopContainer { id, .. } => self.exit(id, 143, 15),
            Command::RemovePod { pod } => {
                self.running.lock().retain(|id, _| id.pod != pod);
                self.tell(RuntimeEvent::PodRemoved { pod });
            }
            Command::Probe { id, ticket, .. } => {
                self.tell(RuntimeEvent::ProbeDone { id, ticket, success: true, output: String::new() });
            }
            Command::UpdateVolumes { .. } => {}
            Command::NodeOff { node } => self.running.lock().retain(|id, _| id.pod.node != node),
        }
    }

    fn logs(&self, query: LogQuery) -> Result<mpsc::Receiver<Bytes>, String> {
        let (sender, receiver) = mpsc::channel(8);
        let lines: Vec<String> =
            (1..=5).map(|line| format!("{} run {} line {line}\n", query.id.container, query.id.attempt)).collect();
        let skipped =
            query.tail_lines.map_or(0, |tail| lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX)));
        let text: String = lines.into_iter().skip(skipped).collect();
        sender.try_send(Bytes::from(text)).map_err(|error| error.to_string())?;
        if let (true, Some(followers)) = (query.follow, self.running.lock().get_mut(&query.id)) {
            followers.push(sender);
        }
        Ok(receiver)
    }
}
