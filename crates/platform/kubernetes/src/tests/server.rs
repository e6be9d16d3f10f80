//! The front door: real sockets on loopback, TLS, users by certificate and token, and limits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Seed};
use atoll_net::Host;
use atoll_pki::{Authority, Certificate, Clients};
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use super::*;
use crate::runtime::{EventSink, LogQuery, PodRuntime};
use crate::{Config, Ephemeral, Kubeconfig, Kubernetes, Outcome};

/// Starts everything and keeps it running.
#[derive(Default)]
struct Willing(Mutex<Option<EventSink>>);

impl PodRuntime for Willing {
    fn connect(&self, sink: EventSink) {
        *self.0.lock() = Some(sink);
    }

    fn perform(&self, command: Command) {
        let event = match command {
            Command::StartPod(spec) => RuntimeEvent::PodStarted { pod: spec.id.clone() },
            Command::StartContainer(spec) => RuntimeEvent::ContainerStarted {
                id: spec.id.clone(),
                runtime_id: "willing://".to_owned(),
                image_id: spec.image.clone(),
            },
            Command::StopContainer { id, .. } => {
                RuntimeEvent::ContainerExited { id, code: 0, signal: 0, out_of_memory: false }
            }
            Command::RemovePod { pod } => RuntimeEvent::PodRemoved { pod },
            _ => return,
        };
        if let Some(sink) = self.0.lock().as_ref() {
            sink(event);
        }
    }

    fn logs(&self, query: LogQuery) -> Result<tokio::sync::mpsc::Receiver<Bytes>, String> {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender
            .try_send(Bytes::from(format!("{} says hello\n", query.id.container)))
            .map_err(|error| error.to_string())?;
        Ok(receiver)
    }
}

struct Stack {
    authority: Authority,
    kernel: Kernel,
    kubernetes: Kubernetes,
}

impl Stack {
    fn new() -> Stack {
        let nodes = (1..=3).map(|number| NodeConfig::numbered(0, number)).collect();
        let kernel = Kernel::live(nodes, Seed(1));
        let host = Host::new(kernel.clone(), Arc::new(MemoryDisk::ephemeral()), None);
        let authority = Authority::in_memory().expect("an authority");
        let certificate = authority.server(&["127.0.0.1"]).expect("a certificate");
        let tls = authority.server_config(&certificate, Clients::MayPresent).expect("TLS");
        let config = Config {
            settings: settings(),
            tls,
            port: 0,
            persistence: Box::new(Ephemeral),
            runtime: Arc::new(Willing::default()),
        };
        let kubernetes = Kubernetes::start(config, &host).expect("started");
        Stack { authority, kernel, kubernetes }
    }

    fn connect(&self, user: Option<&Certificate>) -> StreamOwned<ClientConnection, TcpStream> {
        let config = Arc::new(self.authority.client_config(user).expect("TLS"));
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let connection = ClientConnection::new(config, name).expect("TLS");
        #[allow(clippy::disallowed_methods, reason = "the test is a client from outside")]
        let stream = TcpStream::connect(self.kubernetes.address()).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        StreamOwned::new(connection, stream)
    }

    fn admin(&self) -> Certificate {
        self.authority.kubernetes_user("kubernetes-admin", "system:masters").expect("a certificate")
    }

    /// Status code and body of a request on a connection of its own.
    fn ask(&self, user: Option<&Certificate>, head: &str, body: &[u8]) -> (u16, Value) {
        let mut stream = self.connect(user);
        let length =
            if head.contains("Content-Length") { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        write!(stream, "{head}\r\nHost: x\r\nConnection: close\r\n{length}\r\n").expect("sent");
        let _ = stream.write_all(body);
        let _ = stream.flush();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

#[test]
fn users_are_known_by_certificate_or_token_and_the_rest_are_anonymous() {
    let stack = Stack::new();
    let admin = stack.admin();
    let (code, list) = stack.ask(Some(&admin), "GET /api/v1/nodes HTTP/1.1", b"");
    assert_eq!((code, items(&list, "/items").len()), (200, 3));
    let (code, status) = stack.ask(None, "GET /api/v1/nodes HTTP/1.1", b"");
    assert_eq!((code, text(&status, "/reason")), (403, "Forbidden"));
    let (code, status) = stack.ask(None, "GET /api/v1/nodes HTTP/1.1\r\nAuthorization: Bearer nonsense", b"");
    assert_eq!((code, text(&status, "/reason")), (401, "Unauthorized"));
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let (code, request) =
        stack.ask(Some(&admin), &format!("POST {path} HTTP/1.1\r\nContent-Type: application/json"), b"{}");
    assert_eq!(code, 201);
    let token = text(&request, "/status/token");
    let (code, status) = stack.ask(None, &format!("GET /api/v1/nodes HTTP/1.1\r\nAuthorization: Bearer {token}"), b"");
    assert_eq!(code, 403);
    assert!(text(&status, "/message").contains("system:serviceaccount:default:default"), "{status}");
    let identity = atoll_pki::Identity::Workload { namespace: "default".into(), service_account: "default".into() };
    let workload = stack.authority.identity(&identity, 1).expect("a certificate");
    assert_eq!(
        stack.ask(Some(&workload), "GET /api/v1/nodes HTTP/1.1", b"").0,
        403,
        "the mesh's certificates name no users"
    );
    let head = "GET /api/v1/nodes HTTP/1.1\r\nImpersonate-User: jane";
    let (code, status) = stack.ask(Some(&admin), head, b"");
    assert_eq!(code, 403);
    assert!(text(&status, "/message").contains("\"jane\""), "{status}");
}

#[test]
fn what_is_too_large_is_refused_and_others_are_served() {
    let stack = Stack::new();
    let admin = stack.admin();
    let head = "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nContent-Type: application/json";
    let (code, status) = stack.ask(Some(&admin), &format!("{head}\r\nContent-Length: 2147483648"), b"{");
    assert_eq!((code, text(&status, "/reason")), (413, "RequestEntityTooLarge"));
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    assert_eq!(stack.ask(Some(&admin), head, &deep).0, 400);
    assert_eq!(stack.ask(Some(&admin), "GET /version HTTP/1.1", b"").0, 200);
}

#[test]
fn a_watch_streams_and_manifests_apply_from_inside() {
    let stack = Stack::new();
    let mut stream = stack.connect(Some(&stack.admin()));
    write!(
        stream,
        "GET /api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3Da HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    .expect("sent");
    let mut lines = BufReader::new(stream);
    let client = stack.kubernetes.client();
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";
    let outcome = |source: &str| client.apply(source).expect("applied")[0].outcome;
    assert_eq!(outcome(manifest), Outcome::Created);
    let mut next = || loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).expect("a line") > 0);
        if let Ok(event @ Value::Object(_)) = serde_json::from_str(&line) {
            return event;
        }
    };
    assert_eq!(text(&next(), "/type"), "ADDED");
    assert_eq!(outcome(manifest), Outcome::Unchanged);
    assert_eq!(outcome(&manifest.replace("k: v", "k: w")), Outcome::Configured);
    let changed = next();
    assert_eq!((text(&changed, "/type"), text(&changed, "/object/data/k")), ("MODIFIED", "w"));
    for (bad, message) in [
        ("a: [", "line"),
        ("apiVersion: v1\nkind: Teapot\nmetadata: {name: a}", "no matches for kind \"Teapot\" in version \"v1\""),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A}", "configmap/A: ConfigMap \"A\" is invalid"),
    ] {
        let refusal = client.apply(bad).expect_err(message).to_string();
        assert!(refusal.contains(message), "{refusal}");
    }
}

#[test]
fn a_fault_of_the_kernel_reaches_the_kubelet() {
    let stack = Stack::new();
    let client = stack.kubernetes.client();
    let (_, mut changes) = client.subscribe(&[ResourceId::Pods]);
    client.apply(&deployment("web", 3, "web:1").to_string()).expect("applied");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut until = |wanted: &dyn Fn(&Value) -> bool| {
        runtime.block_on(async {
            loop {
                if client.list(ResourceId::Pods).iter().filter(|pod| wanted(pod)).count() == 3 {
                    return;
                }
                changes.next().await.expect("the server lives");
            }
        });
    };
    until(&|pod| crate::object::has_condition(pod, "Ready"));
    let name = crate::object::name(&client.list(ResourceId::Pods)[0]).to_owned();
    let mut log = client.logs("default", &name, "", &crate::LogOptions::default()).expect("a log");
    assert_eq!(log.try_recv().as_deref(), Ok(b"app says hello\n".as_slice()));
    stack.kernel.inject(&Fault::Kill(NodeId(2)));
    stack.kernel.inject(&Fault::Start(NodeId(2)));
    until(&|pod| crate::object::has_condition(pod, "Ready"));
    stack.kubernetes.shut_down();
}

#[test]
fn a_kubeconfig_is_yaml_that_names_everything() {
    let rendered = Kubeconfig {
        name: "atoll",
        server: "https://127.0.0.1:6443",
        certificate_authority_pem: "ca",
        client_certificate_pem: "certificate",
        client_key_pem: "key",
    };
    let read: Value = serde_saphyr::from_str(&rendered.to_yaml()).expect("YAML");
    assert_eq!(text(&read, "/clusters/0/cluster/server"), "https://127.0.0.1:6443");
    assert_eq!(text(&read, "/users/0/user/client-key-data"), "a2V5");
    assert_eq!(text(&read, "/current-context"), "atoll");
}
