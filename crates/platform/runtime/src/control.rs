//! The control channel between Atoll and a pod's first process: JSON messages with descriptors over a Unix
//! `SOCK_SEQPACKET` socket pair, so that message boundaries are the kernel's business. Both ends are our own binary, so
//! the format is internal and has no versions.

use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, recvmsg, sendmsg,
    socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

/// A message's size limit. Only [`ContainerSetup`] can be long, and it travels in a memory file instead.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Descriptors per message: the kernel allows 253.
pub(crate) const DESCRIPTORS_MAX: usize = 32;

/// From Atoll to the pod.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message: how to make the pod.
    Setup(PodSetup),
    /// The identity maps have been written from outside.
    Mapped,
    /// Start a container. Descriptors: its [`ContainerSetup`] in a memory file, stdout, stderr, then one `cgroup.procs` of
    /// each control group to join.
    Start { id: u32 },
    /// Run a command in the running container `of`. Descriptors: output (stdout and stderr), then control groups.
    Exec { id: u32, of: u32, argv: Vec<String> },
    /// Send a signal to the first process of a container, or of a command.
    Signal { id: u32, signal: i32 },
    /// Make sockets inside the pod's network namespace and send them.
    Sockets { count: usize },
    /// Stop every process of the pod except its first (SIGSTOP).
    Pause,
    /// Let them continue (SIGCONT).
    Resume,
}

/// From the pod to Atoll.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The namespaces are made; the identity maps are to be written from outside.
    Unshared,
    /// The pod is ready. Descriptors: capture listener, DNS datagram socket, DNS listener, and the init itself (a process
    /// descriptor, readable when it and all of its children are dead).
    Ready,
    /// The pod could not be made.
    Failed { step: String, message: String },
    /// The container or command runs. `pid` is as seen in the pod.
    Started { id: u32, pid: i32 },
    /// It could not be started. `reason` is a word of the kubelet (`RunContainerError`).
    Refused { id: u32, reason: String, message: String },
    /// It has ended: with a code, or by a signal.
    Exited { id: u32, code: Option<i32>, signal: Option<i32> },
    /// The sockets that were asked for, as descriptors.
    Sockets,
}

/// What the pod as a whole needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PodSetup {
    pub hostname: String,
    pub ip: Ipv4Addr,
    /// Atoll has the right to map all identities (it is root), and does so when told [`Report::Unshared`].
    pub mapped_from_outside: bool,
}

/// What one container needs. All paths are absolute.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ContainerSetup {
    pub argv: Vec<String>,
    pub env: Vec<(String, String)>,
    pub working_dir: PathBuf,
    /// User and group, if not those of the pod.
    pub user: Option<(u32, u32)>,
    /// An empty directory on which the container's root is assembled.
    pub root: PathBuf,
    /// The private `/tmp`.
    pub tmp: PathBuf,
    /// Host directories that stay visible although they are below `/tmp`.
    pub visible: Vec<PathBuf>,
    /// In the order in which they are attached.
    pub mounts: Vec<BindMount>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct BindMount {
    pub source: PathBuf,
    pub target: PathBuf,
    pub read_only: bool,
}

/// A connected pair, closed on exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

/// Sends one message. On a non-blocking socket it may say `WouldBlock`, then nothing was sent.
pub(crate) fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, with: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MESSAGE_BYTES_MAX || with.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "control message too long"));
    }
    let raw: Vec<RawFd> = with.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    sendmsg::<UnixAddr>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives one message; `None` when the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MESSAGE_BYTES_MAX];
    let mut space = nix::cmsg_space!([RawFd; DESCRIPTORS_MAX]);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us, and nobody else knows their numbers.
            descriptors.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let length = message.bytes;
    if length == 0 {
        return Ok(None);
    }
    let bytes = buffer.get(..length).unwrap_or_default();
    Ok(Some((serde_json::from_slice(bytes)?, descriptors)))
}
