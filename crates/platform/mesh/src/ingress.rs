//! Services on the nodes' host addresses: type LoadBalancer at the service's port, NodePort at the node port.
//!
//! A program on this machine connects to any node; the connection is under the rules of the link client → node there,
//! and under those of the link between nodes when the endpoint is on another. Pods see it come from the node, as with
//! kube-proxy's default `externalTrafficPolicy: Cluster`.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;

use atoll_kernel::NodeId;
use atoll_net::{Connection, Limits, Listener, Permits};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};

use crate::PART;
use crate::mesh::{IngressProblem, Shared};
use crate::outbound::serve_targets;
use crate::table::{ServiceKind, ServiceTable};

/// A node's address and port, and the service port behind it: namespace, name, port.
type Wanted = BTreeMap<(NodeId, u16), (String, String, u16)>;

/// Ends the task when it goes out of use.
struct Serving {
    task: JoinHandle<()>,
    service: (String, String, u16),
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Keeps listeners as the table wants them until the task is ended.
pub(crate) async fn serve(shared: Arc<Shared>, mut table: watch::Receiver<Arc<ServiceTable>>) {
    let mut serving: BTreeMap<(NodeId, u16), Serving> = BTreeMap::new();
    loop {
        let now = table.borrow_and_update().clone();
        let wanted = wanted(&shared, &now);
        serving.retain(|place, one| wanted.get(place) == Some(&one.service));
        let mut problems = Vec::new();
        for (place, service) in wanted {
            if serving.contains_key(&place) {
                continue;
            }
            let (node, port) = place;
            let permits = Permits::new(Limits::default());
            match Listener::bind(&shared.host, PART, node, port, permits) {
                Ok(listener) => {
                    let task = tokio::spawn(listen(shared.clone(), listener, service.clone()));
                    serving.insert(place, Serving { task, service });
                }
                Err(error) => problems.extend(shared.host.address(node, port).map(|address| IngressProblem {
                    service: format!("{}/{}", service.0, service.1),
                    address,
                    reason: error.to_string(),
                })),
            }
        }
        *shared.problems.lock() = problems;
        if table.changed().await.is_err() {
            return;
        }
    }
}

/// The first service, by namespace and name, that wants a port has it.
fn wanted(shared: &Shared, table: &ServiceTable) -> Wanted {
    let mut wanted = Wanted::new();
    for service in table.iter() {
        for port in &service.ports {
            let own = (service.kind == ServiceKind::LoadBalancer).then_some(port.port);
            let node_port = port.node_port.filter(|_| service.kind != ServiceKind::ClusterIp);
            for listened in own.into_iter().chain(node_port) {
                for node in shared.nodes.keys() {
                    let behind = (service.namespace.clone(), service.name.clone(), port.port);
                    wanted.entry((*node, listened)).or_insert(behind);
                }
            }
        }
    }
    wanted
}

async fn listen(shared: Arc<Shared>, mut listener: Listener, service: (String, String, u16)) {
    let mut open = Connections::default();
    loop {
        let connection = listener.accept(&shared.host).await;
        if connection.is_over_limit() {
            connection.reset_on_close();
            continue;
        }
        let (shared, service) = (shared.clone(), service.clone());
        open.add(tokio::spawn(async move { serve_one(&shared, connection, &service).await }));
    }
}

/// A service that is deleted takes its connections along.
#[derive(Default)]
struct Connections(Vec<AbortHandle>);

impl Connections {
    fn add(&mut self, task: JoinHandle<()>) {
        // Swept when the list would grow, so that it stays within twice the living.
        if self.0.len() == self.0.capacity() {
            self.0.retain(|task| !task.is_finished());
        }
        self.0.push(task.abort_handle());
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

async fn serve_one(shared: &Shared, mut connection: Connection, (namespace, name, port): &(String, String, u16)) {
    let Some(caller) = shared.ingress_of(connection.node()) else { return connection.reset_on_close() };
    let table = shared.table();
    let service = table.by_name(namespace, name);
    let targets = service.and_then(|service| {
        let port = service.ports.iter().find(|candidate| candidate.port == *port)?;
        Some(service.targets(port).into_iter().map(|(ip, port)| SocketAddrV4::new(ip, port)).collect::<Vec<_>>())
    });
    let counters = shared.metrics.of(&format!("{namespace}/{name}"));
    serve_targets(shared, &caller, &mut connection, &targets.unwrap_or_default(), &counters).await;
}
