//! The thread that starts pods' first processes.
//!
//! They ask for SIGKILL when their parent dies, and the kernel takes the *thread* that started a process for its parent.
//! Threads of tokio's pools come and go, so a thread of our own does it, which lives as long as the runtime.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tokio::sync::oneshot;

struct Order {
    title: String,
    control: OwnedFd,
    answer: oneshot::Sender<io::Result<Child>>,
}

/// Dropping it ends the thread, and thereby every pod.
#[derive(Debug)]
pub(crate) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    pub(crate) fn new(executable: PathBuf) -> io::Result<Self> {
        let (orders, incoming) = mpsc::channel::<Order>();
        std::thread::Builder::new().name("pod-spawner".into()).spawn(move || {
            for Order { title, control, answer } in incoming {
                let child = Command::new(&executable)
                    .arg0("atoll")
                    .arg("pod-init")
                    .arg(title)
                    .stdin(control)
                    .stdout(Stdio::null())
                    .env_clear()
                    .current_dir("/")
                    .spawn();
                if let Err(Ok(mut unwanted)) = answer.send(child) {
                    let _ = unwanted.kill();
                    let _ = unwanted.wait();
                }
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts `PROGRAM pod-init TITLE` with the control channel as its standard input.
    pub(crate) async fn spawn(&self, title: String, control: OwnedFd) -> io::Result<Child> {
        let (answer, answered) = oneshot::channel();
        let gone = |_| io::Error::other("the thread that starts pods is gone");
        self.orders.send(Order { title, control, answer }).map_err(|_| gone(()))?;
        answered.await.map_err(|_| gone(()))?
    }
}
