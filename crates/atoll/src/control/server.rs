//! The side of the stack: accepts connections of the owner, reads one request each, writes frames.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use super::client::with_short_path;
use super::{FRAME_BYTES_MAX, Frame, Request};
use crate::error::{Code, Failure, Result};

/// How many connections are served at a time; more wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// The listening socket. Its file is removed with it.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

/// What answers requests.
pub trait Service: 'static {
    /// Answers one request. What it returns is the last frame; `replies` takes those before it.
    fn answer(self: Rc<Self>, request: Request, replies: Replies) -> impl Future<Output = Result<serde_json::Value>>;
}

/// Where frames on the way go. Sending waits while the client is slow, and fails once it is gone.
#[derive(Debug)]
pub struct Replies {
    sender: tokio::sync::mpsc::Sender<Frame>,
}

impl Replies {
    /// Sends one of a sequence of data.
    pub async fn item(&self, value: serde_json::Value) -> Result<()> {
        self.send(Frame::Item(value)).await
    }

    async fn send(&self, frame: Frame) -> Result<()> {
        self.sender.send(frame).await.map_err(|_| Failure::new(Code::ControlFailed, "the client is gone"))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl ControlSocket {
    /// Listens. Whoever calls holds the home's lock, so a socket file that is there is a dead process's.
    pub fn bind(path: PathBuf) -> io::Result<ControlSocket> {
        let _ = std::fs::remove_file(&path);
        let listener = with_short_path(&path, |short| UnixListener::bind(short))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        Ok(ControlSocket { listener, path })
    }

    /// Serves until dropped. Must run in a `LocalSet`.
    pub async fn serve(self, service: Rc<impl Service>) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) if is_owner(&stream) => {
                    let service = Rc::clone(&service);
                    tokio::task::spawn_local(async move {
                        connection(stream, service).await;
                        drop(permit);
                    });
                }
                Ok(_) => {}
                // Out of descriptors, most likely: the next accept would fail at once as well.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

/// The file's mode keeps others out already; this holds even where a file system ignores modes.
fn is_owner(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

async fn connection(stream: UnixStream, service: Rc<impl Service>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let request = match tokio::time::timeout(PATIENCE, read_request(&mut reader)).await {
        Ok(Ok(request)) => request,
        Ok(Err(failure)) => return write(&mut writer, &Frame::error(&failure)).await.unwrap_or(()),
        Err(_) => return,
    };
    let (sender, mut frames) = tokio::sync::mpsc::channel(64);
    let answer = service.answer(request, Replies { sender });
    tokio::pin!(answer);
    let last = loop {
        tokio::select! {
            biased;
            Some(frame) = frames.recv() => {
                if write(&mut writer, &frame).await.is_err() {
                    return;
                }
            }
            result = &mut answer => break result,
            // A client that hangs up does not want the rest.
            _ = reader.read_u8() => return,
        }
    };
    while let Ok(frame) = frames.try_recv() {
        if write(&mut writer, &frame).await.is_err() {
            return;
        }
    }
    let frame = match last {
        Ok(value) => Frame::Result(value),
        Err(failure) => Frame::error(&failure),
    };
    let _ = write(&mut writer, &frame).await;
}

async fn read_request(reader: &mut (impl AsyncBufReadExt + Unpin)) -> Result<Request> {
    let mut line = Vec::new();
    let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX);
    let refused = |message: String| {
        Failure::new(Code::ControlFailed, message).hint("command and stack may be of different versions of Atoll")
    };
    reader.take(limit).read_until(b'\n', &mut line).await.map_err(|error| refused(error.to_string()))?;
    serde_json::from_slice(&line).map_err(|error| refused(format!("the request is not understood: {error}")))
}

async fn write(writer: &mut OwnedWriteHalf, frame: &Frame) -> io::Result<()> {
    let mut line = serde_json::to_vec(frame)?;
    line.push(b'\n');
    writer.write_all(&line).await
}
