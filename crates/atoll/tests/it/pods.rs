//! Pods on a network: real processes that reach each other through services, names and nodes, under faults.
//!
//! Where this machine cannot make pods, the tests say so and pass. Containers are Bash and Perl scripts.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use atoll::pods::kubelet::PodHost;
use atoll::pods::services::table;
use atoll::pods::{Machine, Pods};
use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Pattern, Rule, Seed, Verdict};
use atoll_kubernetes::{
    Client, Command, Config, ContainerId, ContainerSpec, Ephemeral, Kubernetes, NodeSettings, PodId, PodRuntime,
    PodSpec, ResourceId, RuntimeEvent, Settings,
};
use atoll_net::{Host, Limits, Listener, Peer, Permits};
use atoll_pki::{Authority, Clients, Identity, node_dns_name};
use atoll_runtime::{ContainerConfig, Event, LocalCommand, LogOptions, PodConfig, RuntimeConfig};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(60);

/// What pods are made with.
struct Parts {
    host: Host,
    authority: Arc<Authority>,
    config: RuntimeConfig,
    directory: tempfile::TempDir,
}

impl Parts {
    fn new() -> Parts {
        let instance = free_instance();
        let nodes = (1..=3).map(|number| NodeConfig::numbered(instance, number)).collect();
        let host = Host::new(Kernel::live(nodes, Seed(1)), Arc::new(MemoryDisk::ephemeral()), None);
        let directory = tempfile::tempdir().expect("temporary directory");
        let mut config = RuntimeConfig::new(format!("it-{instance}-{}", std::process::id()), directory.path());
        config.executable = env!("CARGO_BIN_EXE_atoll").into();
        for (image, program) in [("sh", vec!["bash", "-c"]), ("perl", vec!["perl", "-MIO::Socket::INET", "-we"])] {
            let argv = program.into_iter().map(str::to_owned).collect();
            config.images.insert(image, LocalCommand { argv, working_dir: "/".into(), env: BTreeMap::new() });
        }
        Parts { host, authority: Arc::new(Authority::in_memory().expect("authority")), config, directory }
    }
}

/// A block of addresses whose mesh port is free: tests run at the same time, and not only those of this run.
fn free_instance() -> u8 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(8).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let instance = 100 + u8::try_from(number % 150).expect("below 150");
        if std::net::TcpListener::bind((Ipv4Addr::new(127, instance, 0, 1), 15008)).is_ok() {
            return instance;
        }
    }
}

/// A stack of three nodes with nothing but pods.
struct Cluster {
    host: Host,
    authority: Arc<Authority>,
    pods: Pods,
    ended: mpsc::UnboundedReceiver<Event>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Option<Cluster> {
        let Parts { host, authority, config, directory } = Parts::new();
        let (sender, ended) = mpsc::unbounded_channel();
        let events = Box::new(move |event| drop(sender.send(event)));
        let started = {
            let (host, authority) = (host.clone(), authority.clone());
            tokio::task::spawn_blocking(move || Pods::start(&host, authority, config, events)).await.expect("a thread")
        };
        let pods = started.expect("the pods' thread");
        if let Err(reason) = pods.machine().runtime.capabilities().await.pods {
            assert!(std::env::var_os("ATOLL_TEST_PODS_REQUIRED").is_none(), "pods are required here: {reason}");
            eprintln!("SKIPPED: this machine cannot make pods: {reason}");
            return None;
        }
        Some(Cluster { host, authority, pods, ended, _directory: directory })
    }

    fn machine(&self) -> &Machine {
        self.pods.machine()
    }

    /// A pod of node `node` with the address 10.244.NODE.NUMBER.
    async fn pod(&self, name: &str, node: u16, number: u8) -> Ipv4Addr {
        let ip = Ipv4Addr::new(10, 244, u8::try_from(node).expect("a small number"), number);
        let config = PodConfig {
            uid: name.into(),
            name: name.into(),
            namespace: "shop".into(),
            node,
            ip,
            hostname: name.into(),
            resolv_conf: "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                          options ndots:5\n"
                .into(),
            hosts: Vec::new(),
            volumes: BTreeMap::new(),
        };
        self.machine().start_pod(config, "default").await.expect("the pod starts");
        ip
    }

    async fn run(&self, pod: &str, image: &str, name: &str, script: &str) {
        let config =
            ContainerConfig { name: name.into(), image: image.into(), args: vec![script.into()], ..Default::default() };
        self.machine().runtime.start_container(pod, config).await.expect("the container starts");
    }

    /// A server on port 8080 that answers each connection with a word and with the caller's address, then echoes lines.
    async fn server(&self, pod: &str, node: u16, number: u8) -> Ipv4Addr {
        let ip = self.pod(pod, node, number).await;
        let script = format!(
            "$| = 1; $SIG{{CHLD}} = 'IGNORE';
             my $l = IO::Socket::INET->new(LocalPort => 8080, Listen => 99, ReuseAddr => 1) or die; print \"up\\n\";
             while (my $c = $l->accept) {{
                 next if fork; $c->autoflush(1); print $c '{pod} sees ', $c->peerhost, \"\\n\";
                 while (my $line = <$c>) {{ print $c $line }} exit }}"
        );
        self.run(pod, "perl", "server", &script).await;
        self.printed(pod, "server", "up").await;
        ip
    }

    async fn printed(&self, pod: &str, container: &str, wanted: &str) {
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut log = self.machine().runtime.logs(pod, container, options).expect("a log");
        let mut text = String::new();
        while !text.lines().any(|line| line == wanted) {
            let chunk = tokio::time::timeout(PATIENCE, log.recv()).await.expect("in time");
            text.push_str(&String::from_utf8_lossy(&chunk.unwrap_or_else(|| panic!("ended without {wanted}: {text}"))));
        }
    }

    /// Runs a shell script in a pod to its end; what it printed.
    async fn output(&mut self, pod: &str, name: &str, script: &str) -> String {
        self.run(pod, "sh", name, script).await;
        let ended = async {
            while let Some(event) = self.ended.recv().await {
                if matches!(&event, Event::ContainerExited { container, .. } if container == name) {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the container ends");
        let mut log = self.machine().runtime.logs(pod, name, LogOptions::default()).expect("a log");
        let mut text = String::new();
        while let Some(chunk) = log.recv().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        text
    }

    fn services(&self, endpoints: &[(Ipv4Addr, &str)], kind: &str) {
        let service = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"type": kind, "clusterIP": "10.96.0.20", "ports": [{"name": "http", "port": 8085, "protocol": "TCP"}]},
        });
        let endpoints: Vec<Value> = endpoints
            .iter()
            .map(|(ip, node)| json!({"addresses": [ip], "nodeName": node, "conditions": {"ready": true}}))
            .collect();
        let slice = json!({
            "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": endpoints,
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        });
        let node_of = |name: &str| name.strip_prefix("node-")?.parse().ok().map(NodeId);
        self.machine().mesh.update(table([&service], [&slice], node_of));
    }

    async fn stop(self) {
        tokio::task::spawn_blocking(move || self.pods.shut_down()).await.expect("stopped");
    }
}

const ASK_WEB: &str = "exec 3<>/dev/tcp/web/8085 && head -1 <&3";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_reaches_another_by_its_services_name_from_node_to_node() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let (far, near) = (cluster.server("far", 2, 5).await, cluster.server("near", 1, 5).await);
    cluster.pod("asker", 1, 9).await;
    cluster.services(&[(far, "node-2")], "ClusterIP");
    assert_eq!(cluster.output("asker", "across", ASK_WEB).await, "far sees 10.244.1.9\n");
    cluster.services(&[(near, "node-1")], "ClusterIP");
    assert_eq!(cluster.output("asker", "within", ASK_WEB).await, "near sees 10.244.1.9\n");
    let long = "exec 3<>/dev/tcp/web.shop.svc.cluster.local/8085 && head -1 <&3";
    assert_eq!(cluster.output("asker", "long", long).await, "near sees 10.244.1.9\n");
    let direct = format!("exec 3<>/dev/tcp/{far}/8080 && head -1 <&3");
    assert_eq!(cluster.output("asker", "direct", &direct).await, "far sees 10.244.1.9\n");
    let missing = cluster.output("asker", "missing", "exec 3<>/dev/tcp/nobody/80 || echo failed").await;
    assert!(missing.contains("Name or service not known") && missing.contains("failed"), "{missing}");
    assert_eq!(cluster.output("near", "itself", ASK_WEB).await, "near sees 10.244.1.5\n");
    let metrics = cluster.machine().mesh.metrics();
    let web = metrics.iter().find(|one| one.destination == "shop/web").expect("counted");
    assert_eq!((web.connections, web.failures), (4, 0));
    assert!(web.bytes_received > 40, "{web:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_endpoint_is_passed_over_and_a_cut_connection_is_silent_until_it_heals() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let (two, three) = (cluster.server("on-2", 2, 5).await, cluster.server("on-3", 3, 5).await);
    cluster.pod("asker", 1, 9).await;
    cluster.services(&[(two, "node-2")], "ClusterIP");
    // A conversation that has begun when the cut comes: the answer to the second line comes after the healing.
    let talk = "mkfifo /tmp/go; exec 3<>/dev/tcp/web/8085; read a <&3; echo one >&3; read b <&3; echo $b;
                read go < /tmp/go; echo two >&3; read -t 1 c <&3 || echo silence; read c <&3; echo $c";
    let cut = Rule::new(Pattern::node(NodeId(1)), Pattern::node(NodeId(2)), Verdict::Drop);
    cluster.run("asker", "sh", "talk", talk).await;
    cluster.printed("asker", "talk", "one").await;
    let guard = cluster.host.kernel.rule(cut);
    cluster.output("asker", "go", "echo > /tmp/go").await;
    cluster.printed("asker", "talk", "silence").await;
    cluster.services(&[(two, "node-2"), (three, "node-3")], "ClusterIP");
    for round in 0..3 {
        // The cut endpoint costs one connect timeout at most, and is then left out.
        let text = cluster.output("asker", &format!("round-{round}"), ASK_WEB).await;
        assert_eq!(text, "on-3 sees 10.244.1.9\n");
    }
    drop(guard);
    cluster.printed("asker", "talk", "two").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nodes_connections_are_reset_and_its_pods_are_gone() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let two = cluster.server("on-2", 2, 5).await;
    cluster.pod("asker", 1, 9).await;
    let talk = format!(
        "use Errno; my $s = IO::Socket::INET->new('{two}:8080') or die; $| = 1; my $hello = <$s>; print $hello;
         my $n = sysread $s, my $rest, 1; print defined $n ? \"end\\n\" : \"$!\\n\""
    );
    cluster.run("asker", "perl", "talk", &talk).await;
    cluster.printed("asker", "talk", "on-2 sees 10.244.1.9").await;
    cluster.host.kernel.inject(&Fault::Kill(NodeId(2)));
    cluster.printed("asker", "talk", "Connection reset by peer").await;
    while let Some(event) = cluster.ended.recv().await {
        if matches!(&event, Event::PodEnded { uid, .. } if uid == "on-2") {
            break;
        }
    }
    assert_eq!(cluster.machine().runtime.running(), ["asker"]);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_know_which_pod_calls_and_the_host_is_reached_by_its_address() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let mut engine =
        Listener::bind(&cluster.host, "test", NodeId(2), 9092, Permits::new(Limits::default())).expect("listener");
    let ip = cluster.pod("asker", 1, 9).await;
    cluster.run("asker", "sh", "engine", "exec 3<>/dev/tcp/10.240.0.2/9092; cat <&3").await;
    let mut connection = tokio::time::timeout(PATIENCE, engine.accept(&cluster.host)).await.expect("in time");
    assert_eq!(connection.peer(), Peer::Pod { node: NodeId(1), ip });
    connection.write_all(b"from the engine\n").await.expect("written");
    cluster.printed("asker", "engine", "from the engine").await;
    // Behind a service it is the same; a node that is dead is passed over.
    let mut third =
        Listener::bind(&cluster.host, "test", NodeId(3), 8080, Permits::new(Limits::default())).expect("listener");
    let mut second =
        Listener::bind(&cluster.host, "test", NodeId(2), 8080, Permits::new(Limits::default())).expect("listener");
    let behind = [(Ipv4Addr::new(10, 240, 0, 2), "node-2"), (Ipv4Addr::new(10, 240, 0, 3), "node-3")];
    cluster.services(&behind, "ClusterIP");
    for round in ["service-1", "service-2", "service-3"] {
        if round == "service-3" {
            cluster.host.kernel.inject(&Fault::Kill(NodeId(2)));
        }
        let host = cluster.host.clone();
        let (text, ()) = tokio::join!(cluster.output("asker", round, ASK_WEB), async {
            let mut connection = tokio::select! {
                connection = second.accept(&host) => connection,
                connection = third.accept(&host) => connection,
            };
            assert_eq!(connection.peer(), Peer::Pod { node: NodeId(1), ip });
            let node = connection.node();
            connection.write_all(format!("node {node}\n").as_bytes()).await.expect("written");
            connection.shutdown().await.expect("ended");
        });
        let expected = if round == "service-1" { "node 2\n" } else { "node 3\n" };
        assert_eq!(text, expected, "{round}");
    }
    let nobody = cluster.output("asker", "nobody", "exec 3<>/dev/tcp/10.240.0.3/9999; cat <&3; echo ended").await;
    assert!(nobody.contains("reset by peer"), "{nobody}");
    let program = tokio::net::TcpSocket::new_v4().expect("socket");
    program.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("bound");
    let program = program.listen(5).expect("listening");
    let port = program.local_addr().expect("bound").port();
    let ask = format!("exec 3<>/dev/tcp/10.240.255.254/{port}; echo hello >&3; cat <&3");
    let (text, _) = tokio::join!(cluster.output("asker", "host", &ask), async {
        let (mut stream, _) = program.accept().await.expect("accepted");
        let mut line = [0; 6];
        stream.read_exact(&mut line).await.expect("a line");
        stream.write_all(b"the host heard ").await.expect("written");
        stream.write_all(&line).await.expect("written");
    });
    assert_eq!(text, "the host heard hello\n");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_type_load_balancer_are_on_every_nodes_address() {
    let Some(cluster) = Cluster::start().await else { return };
    let two = cluster.server("on-2", 2, 5).await;
    cluster.services(&[(two, "node-2")], "LoadBalancer");
    for node in 1..=3 {
        let address = cluster.host.address(NodeId(node), 8085).expect("an address");
        let mut stream = connected(address).await;
        let mut text = [0; 64];
        let length = stream.read(&mut text).await.expect("an answer");
        let expected = format!("on-2 sees 10.240.0.{node}\n");
        assert_eq!(String::from_utf8_lossy(&text[..length]), expected);
    }
    cluster.services(&[(two, "node-2")], "ClusterIP");
    let address = cluster.host.address(NodeId(1), 8085).expect("an address");
    let gone = async { while connect(address).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, gone).await.expect("the listener closes");
    cluster.stop().await;
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    tokio::net::TcpSocket::new_v4().expect("socket").connect(address).await
}

/// The mesh opens its ports in its own time.
async fn connected(address: SocketAddr) -> TcpStream {
    let connecting = async {
        loop {
            if let Ok(stream) = connect(address).await {
                return stream;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.expect("the port opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_can_claim_to_be_a_pod_on_the_wire_between_nodes() {
    let Some(cluster) = Cluster::start().await else { return };
    let two = cluster.server("on-2", 2, 5).await;
    let one = cluster.pod("asker", 1, 9).await;
    let address = cluster.host.address(NodeId(2), 15008).expect("an address");
    let mut preface = b"ATM1".to_vec();
    preface.extend_from_slice(&one.octets());
    preface.extend_from_slice(&two.octets());
    preface.extend_from_slice(&[8080u16.to_be_bytes(), [0, 0]].concat());
    let mut plain = connect(address).await.expect("connected");
    plain.write_all(&preface).await.expect("written");
    let mut answer = Vec::new();
    // An alert of TLS, or a reset: in any case nothing of the pod.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("on-2"), "{answer:?}");
    let workload = |account: &str| Identity::Workload { namespace: "shop".into(), service_account: account.into() };
    let stranger = Authority::in_memory().expect("another authority");
    for (authority, identity, node, expected) in [
        (&*cluster.authority, workload("default"), 1, Some(0)),
        (&*cluster.authority, workload("admin"), 1, Some(2)),
        (&*cluster.authority, workload("default"), 3, Some(2)),
        (&*cluster.authority, Identity::Node(1), 1, Some(2)),
        (&stranger, workload("default"), 1, None),
    ] {
        let own = authority.identity(&identity, node).expect("issued");
        let config = Arc::new(cluster.authority.client_config(Some(&own)).expect("configuration"));
        let name = node_dns_name(2).try_into().expect("a name");
        let stream = connect(address).await.expect("connected");
        let asked = async {
            let mut stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await?;
            stream.write_all(&preface).await?;
            stream.read_u8().await
        };
        assert_eq!(asked.await.ok(), expected, "{identity} on node {node}");
    }
    cluster.stop().await;
}

const SHOP: &str = "
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: greeting, namespace: shop}
data: {word: moin, file.txt: from a file}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: perl
        args:
        - |
          my $l = IO::Socket::INET->new(LocalPort => 8080, Listen => 99, ReuseAddr => 1) or die;
          open my $f, '<', '/etc/greeting/file.txt' or die; my $text = <$f>;
          while (my $c = $l->accept) { my $line = <$c>;
            print $c \"HTTP/1.0 200 OK\\r\\nContent-Length: \", length(\"$ENV{WORD} $text\\n\"), \"\\r\\n\\r\\n$ENV{WORD} $text\\n\"; close $c }
        env:
        - {name: WORD, valueFrom: {configMapKeyRef: {name: greeting, key: word}}}
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        volumeMounts: [{name: greeting, mountPath: /etc/greeting}]
        resources: {limits: {cpu: 500m, memory: 64Mi}}
      volumes: [{name: greeting, configMap: {name: greeting}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
";

const ASKER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: asker, namespace: shop}
spec:
  restartPolicy: Never
  containers:
  - name: asker
    image: sh:1
    args: ['exec 3<>/dev/tcp/web/80; echo GET / >&3; tail -1 <&3; ls /var/run/secrets/kubernetes.io/serviceaccount']
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifests_become_pods_that_find_each_other() {
    let parts = Parts::new();
    let (host, authority, config) = (parts.host.clone(), parts.authority.clone(), parts.config.clone());
    let machine = move || {
        let pods = PodHost::start(&host, authority.clone(), config)?;
        let certificate = authority.server(&["localhost"]).map_err(std::io::Error::other)?;
        let tls = authority.server_config(&certificate, Clients::MayPresent).map_err(std::io::Error::other)?;
        let settings = Settings::new((1..=3).map(|number| NodeSettings::numbered(number, 2000, 4 << 30)).collect());
        let config = Config { settings, tls, port: 0, persistence: Box::new(Ephemeral), runtime: pods.clone() };
        let kubernetes = Kubernetes::start(config, &host)?;
        pods.follow(kubernetes.client());
        std::io::Result::Ok((pods, kubernetes))
    };
    let (pods, kubernetes) = tokio::task::spawn_blocking(machine).await.expect("a thread").expect("started");
    if pods.machine().runtime.capabilities().await.pods.is_err() {
        return;
    }
    let client = kubernetes.client();
    client.apply(SHOP).expect("applied");
    let ready = |object: &Value| object["status"]["readyReplicas"] == 2;
    until(&client, ResourceId::Deployments, "web", ready).await;
    client.apply(ASKER).expect("applied");
    let done = |object: &Value| matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    until(&client, ResourceId::Pods, "asker", done).await;
    let mut log = client.logs("shop", "asker", "asker", &Default::default()).expect("a log");
    let mut text = String::new();
    while let Some(chunk) = log.recv().await {
        text.push_str(&String::from_utf8_lossy(&chunk));
    }
    assert_eq!(text, "moin from a file\nca.crt\nnamespace\ntoken\n");
    let stop = move || {
        kubernetes.shut_down();
        pods.shut_down();
    };
    tokio::task::spawn_blocking(stop).await.expect("stopped");
}

/// A pod that was deleted while its container was just being started ran for ever: the stop found nothing to stop, and
/// nobody sent another. The kubelet's commands come without waiting, as they do here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_that_follows_a_start_at_once_stops_what_is_being_started() {
    let parts = Parts::new();
    let (host, authority, config) = (parts.host.clone(), parts.authority.clone(), parts.config.clone());
    let start = move || PodHost::start(&host, authority, config);
    let pods = tokio::task::spawn_blocking(start).await.expect("a thread").expect("started");
    if pods.machine().runtime.capabilities().await.pods.is_err() {
        return;
    }
    let (sender, mut events) = mpsc::unbounded_channel();
    pods.connect(Arc::new(move |event| drop(sender.send(event))));
    let pod = PodId { node: "node-1".into(), uid: "hasty".into() };
    let id = ContainerId { pod: pod.clone(), container: "app".into(), attempt: 0 };
    pods.perform(Command::StartPod(Box::new(pod_spec(&pod))));
    pods.perform(Command::StartContainer(Box::new(container_spec(&id, "sleep infinity & wait"))));
    pods.perform(Command::StopContainer { id, grace: Duration::from_millis(1) });
    let mut seen = Vec::new();
    while !matches!(seen.last(), Some(RuntimeEvent::ContainerExited { .. })) {
        seen.push(tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event"));
    }
    assert!(
        matches!(seen[..], [RuntimeEvent::PodStarted { .. }, RuntimeEvent::ContainerStarted { .. }, _]),
        "{seen:?}"
    );
    pods.perform(Command::StartPod(Box::new(pod_spec(&PodId { uid: "brief".into(), ..pod.clone() }))));
    for uid in ["brief", "hasty"] {
        pods.perform(Command::RemovePod { pod: PodId { uid: uid.into(), ..pod.clone() } });
    }
    let mut removed = 0;
    while removed < 2 {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("in time").expect("an event");
        removed += usize::from(matches!(event, RuntimeEvent::PodRemoved { .. }));
    }
    assert_eq!(pods.machine().runtime.running(), Vec::<String>::new());
    tokio::task::spawn_blocking(move || pods.shut_down()).await.expect("stopped");
}

fn pod_spec(id: &PodId) -> PodSpec {
    PodSpec {
        id: id.clone(),
        namespace: "shop".into(),
        name: id.uid.clone(),
        node_number: 1,
        ip: Ipv4Addr::new(10, 244, 1, if id.uid == "hasty" { 7 } else { 8 }),
        hostname: id.uid.clone(),
        labels: BTreeMap::new(),
        service_account: "default".into(),
        dns_policy: "ClusterFirst".into(),
        host_aliases: Vec::new(),
        volumes: Vec::new(),
    }
}

fn container_spec(id: &ContainerId, script: &str) -> ContainerSpec {
    ContainerSpec {
        id: id.clone(),
        image: "sh".into(),
        image_pull_policy: "IfNotPresent".into(),
        command: Vec::new(),
        args: vec![script.into()],
        env: Vec::new(),
        working_dir: String::new(),
        mounts: Vec::new(),
        hostname: "hasty".into(),
        cpu_limit_millicores: None,
        cpu_request_millicores: None,
        memory_limit_bytes: None,
        run_as_user: None,
        run_as_group: None,
        read_only_root: false,
        tty: false,
    }
}

/// Waits until an object of the namespace `shop` is as wanted.
async fn until(client: &Client, resource: ResourceId, name: &str, wanted: impl Fn(&Value) -> bool) {
    let (_, mut changes) = client.subscribe(&[resource, ResourceId::Pods, ResourceId::Events]);
    let waiting = async {
        while !client.get(resource, "shop", name).is_some_and(|object| wanted(&object)) {
            changes.next().await.expect("the server lives");
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        let events: Vec<String> = client
            .list(ResourceId::Events)
            .iter()
            .map(|event| format!("{} {}", event["reason"], event["message"]))
            .collect();
        panic!("{name} is {:?}\n{}", client.get(resource, "shop", name), events.join("\n"));
    }
}
