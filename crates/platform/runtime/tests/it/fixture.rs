//! A runtime in a temporary directory, and words to say what runs in it. Containers are shell and Perl scripts: both are
//! on every Debian.

use atoll_runtime::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// No step of a test takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Stand {
    pub runtime: Runtime,
    pub events: UnboundedReceiver<Event>,
    pub directory: tempfile::TempDir,
}

/// `None`, with the reason printed, if this machine cannot have pods.
pub async fn stand(name: &str) -> Option<Stand> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let config = config(&format!("test-{name}-{}", std::process::id()), directory.path());
    let (runtime, events) = Runtime::new(config).expect("runtime");
    if let Err(reason) = runtime.capabilities().await.pods {
        let may_skip = std::env::var_os("ATOLL_TEST_PODS_REQUIRED").is_none();
        assert!(may_skip, "pods are required here: {reason}");
        eprintln!("SKIPPED: this machine cannot make pods: {reason}");
        return None;
    }
    Some(Stand { runtime, events, directory })
}

pub fn config(name: &str, directory: &std::path::Path) -> RuntimeConfig {
    let mut config = RuntimeConfig::new(name, directory);
    config.executable = env!("CARGO_BIN_EXE_atoll-pod-init").into();
    for (image, program) in [("sh", vec!["bash", "-c"]), ("perl", vec!["perl", "-MIO::Socket::INET", "-we"])] {
        let argv = program.into_iter().map(str::to_owned).collect();
        config.images.insert(image, LocalCommand { argv, working_dir: "/".into(), env: BTreeMap::new() });
    }
    config
}

pub fn pod(uid: &str, number: u8) -> PodConfig {
    PodConfig {
        uid: uid.into(),
        name: uid.into(),
        namespace: "default".into(),
        node: 1,
        ip: Ipv4Addr::new(10, 244, 1, number),
        hostname: uid.into(),
        resolv_conf: "nameserver 10.96.0.10\noptions ndots:5\n".into(),
        hosts: Vec::new(),
        volumes: BTreeMap::new(),
    }
}

pub fn shell(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig { name: name.into(), image: "sh:1".into(), args: vec![script.into()], ..Default::default() }
}

pub fn perl(name: &str, script: &str) -> ContainerConfig {
    ContainerConfig { image: "perl".into(), ..shell(name, script) }
}

/// A server that answers every connection with one line: a word, and where the connection comes from.
pub fn server(port: u16) -> ContainerConfig {
    let script = format!(
        "$| = 1; my $l = IO::Socket::INET->new(LocalAddr => '0.0.0.0', LocalPort => {port}, Listen => 9, ReuseAddr => 1)
             or die; print \"listening\\n\"; while (my $c = $l->accept) {{ print $c 'hello ', $c->peerhost, \"\\n\"; close $c }}"
    );
    perl("server", &script)
}

impl Stand {
    pub async fn start(&self, config: PodConfig) -> PodNetwork {
        self.runtime.start(config).await.expect("the pod starts")
    }

    pub async fn run(&self, uid: &str, config: ContainerConfig) -> Started {
        self.runtime.start_container(uid, config).await.expect("the container starts")
    }

    /// Runs a container to its end; its output and how it ended.
    pub async fn output(&mut self, uid: &str, config: ContainerConfig) -> (String, Exit) {
        let name = config.name.clone();
        self.run(uid, config).await;
        let exit = self.exit(&name).await;
        (self.log(uid, &name, LogOptions::default()).await, exit)
    }

    /// Waits for a container's end.
    pub async fn exit(&mut self, name: &str) -> Exit {
        let next = async {
            loop {
                match self.events.recv().await.expect("the runtime lives") {
                    Event::ContainerExited { container, exit, .. } if container == name => return exit,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("the container ends")
    }

    pub async fn log(&self, uid: &str, name: &str, options: LogOptions) -> String {
        let mut lines = self.runtime.logs(uid, name, options).expect("a log");
        let mut text = Vec::new();
        while let Some(chunk) = tokio::time::timeout(PATIENCE, lines.recv()).await.expect("the log ends") {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("text")
    }

    /// Waits until a container has printed a line.
    pub async fn printed(&self, uid: &str, name: &str, wanted: &str) {
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut lines = self.runtime.logs(uid, name, options).expect("a log");
        let mut text = String::new();
        while !text.lines().any(|line| line == wanted) {
            let chunk = tokio::time::timeout(PATIENCE, lines.recv()).await.expect("in time");
            let chunk = chunk.unwrap_or_else(|| panic!("{name} ended without printing {wanted:?}, but: {text}"));
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
    }
}

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
