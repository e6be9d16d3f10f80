//! Pods and their network together: what the runtime makes, the mesh connects.
//!
//! Both live on one thread of their own ([`Pods::start`]). Faults of nodes act on their processes at once, whatever the
//! kubelets know. `pods/kubelet.rs` fills in what the kubelets need of a machine, `pods/services.rs` reads Services and EndpointSlices for the mesh.

pub mod kubelet;
mod order;
mod probe;
pub mod services;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use atoll_kernel::{FaultEvent, Kernel, NodeId};
use atoll_mesh::{Mesh, PodAttachment, PodDoor};
use atoll_net::{EngineThread, Host, engine_thread};
use atoll_pki::Authority;
use atoll_runtime::{Event, PodConfig, Runtime, RuntimeConfig, RuntimeError};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc};

/// What happens to pods without being asked for, handed to whoever drives them.
pub type PodEvents = Box<dyn Fn(Event) + Send>;

/// The pods of a stack.
pub struct Pods {
    machine: Arc<Machine>,
    thread: EngineThread,
}

/// What the thread works with, and others call into.
pub struct Machine {
    /// Starts, stops and watches processes.
    pub runtime: Runtime,
    /// Their network.
    pub mesh: Mesh,
    /// The thread's tokio runtime: work for pods is spawned there.
    pub handle: Handle,
    /// Addresses by uid, for detaching.
    addresses: Mutex<BTreeMap<String, Ipv4Addr>>,
}

/// The way into one pod.
struct Door {
    runtime: Runtime,
    uid: String,
}

impl PodDoor for Door {
    fn connect(&self, port: u16, source: Ipv4Addr) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(self.runtime.dial(&self.uid, port, Some(source)))
    }
}

impl Pods {
    /// Starts the thread, with the mesh's ports open and no pods.
    pub fn start(host: &Host, authority: Arc<Authority>, config: RuntimeConfig, events: PodEvents) -> io::Result<Pods> {
        let (host, slot) = (host.clone(), Arc::new(OnceLock::new()));
        let filled = Arc::clone(&slot);
        let thread = engine_thread("pods", move |ready, shutdown| async move {
            let (machine, incoming) = match Machine::open(&host, authority, config) {
                Ok(opened) => opened,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // The slot is empty: this is the only place that fills it.
            let _ = filled.set(Arc::clone(&machine));
            let _ = ready.send(Ok(()));
            tokio::select! {
                () = machine.follow_faults(&host.kernel) => {}
                () = machine.pass_on(incoming, events) => {}
                () = shutdown.notified() => machine.runtime.shutdown().await,
            }
        })?;
        let machine = slot.get().cloned().ok_or_else(|| io::Error::other("the pods' thread did not start"))?;
        Ok(Pods { machine, thread })
    }

    /// The thread's parts.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Kills all pods and ends the thread. Blocks.
    pub fn shut_down(&self) {
        self.thread.shut_down();
    }
}

impl Machine {
    fn open(
        host: &Host,
        authority: Arc<Authority>,
        config: RuntimeConfig,
    ) -> io::Result<(Arc<Machine>, mpsc::UnboundedReceiver<Event>)> {
        let (runtime, events) = Runtime::new(config).map_err(io::Error::other)?;
        let mesh = Mesh::start(host.clone(), authority).map_err(io::Error::other)?;
        let addresses = Mutex::default();
        Ok((Arc::new(Machine { runtime, mesh, handle: Handle::current(), addresses }), events))
    }

    /// Makes a pod and connects it.
    pub async fn start_pod(&self, config: PodConfig, service_account: &str) -> Result<(), RuntimeError> {
        let (uid, ip, node, namespace) = (config.uid.clone(), config.ip, NodeId(config.node), config.namespace.clone());
        let network = self.runtime.start(config).await?;
        let attachment = PodAttachment {
            ip,
            node,
            namespace,
            service_account: service_account.to_owned(),
            capture: network.capture,
            dns: network.dns,
            dns_stream: network.dns_stream,
            door: Arc::new(Door { runtime: self.runtime.clone(), uid: uid.clone() }),
        };
        self.addresses.lock().insert(uid.clone(), ip);
        if let Err(error) = self.mesh.attach(attachment) {
            self.remove_pod(&uid).await;
            return Err(RuntimeError::Sandbox { step: "connect the pod".into(), message: error.to_string() });
        }
        Ok(())
    }

    /// Takes a pod off the network, kills it and deletes what is left of it.
    pub async fn remove_pod(&self, uid: &str) {
        self.disconnect(uid);
        self.runtime.remove(uid).await;
    }

    fn disconnect(&self, uid: &str) {
        if let Some(ip) = self.addresses.lock().remove(uid) {
            self.mesh.detach(ip);
        }
    }

    /// Lets the faults of nodes act on their pods' processes. Never ends.
    async fn follow_faults(&self, kernel: &Kernel) {
        let changed = Arc::new(Notify::new());
        let notified = Arc::clone(&changed);
        let mut seen = kernel.version();
        kernel.watch(move || notified.notify_one());
        loop {
            for (_, event) in kernel.events_since(seen) {
                seen += 1;
                match event {
                    FaultEvent::Killed(node) | FaultEvent::PowerLost(node) | FaultEvent::Stopped(node) => {
                        self.runtime.kill_node(node.0).await;
                    }
                    FaultEvent::Paused(node) => self.runtime.pause_node(node.0).await,
                    FaultEvent::Resumed(node) => self.runtime.resume_node(node.0).await,
                    _ => {}
                }
            }
            changed.notified().await;
        }
    }

    async fn pass_on(&self, mut incoming: mpsc::UnboundedReceiver<Event>, events: PodEvents) {
        while let Some(event) = incoming.recv().await {
            if let Event::PodEnded { uid, .. } = &event {
                self.disconnect(uid);
            }
            events(event);
        }
    }
}
