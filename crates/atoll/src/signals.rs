//! Signals as a stream, each with whether it came from the terminal: then every process of the foreground group has got
//! it already, and passing it on would deliver it twice.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::signal::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

const HANDLED: &[Signal] = &[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals that end a command, as they are taken over at the very start.
#[derive(Debug)]
pub struct Pending {
    receiver: OwnedFd,
}

/// The signals that end a command.
#[derive(Debug)]
pub struct Signals {
    receiver: pipe::Receiver,
}

/// One signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Which.
    pub signal: Signal,
    /// True if the kernel sent it, as it does for Ctrl-C.
    pub is_from_terminal: bool,
}

impl Pending {
    /// Takes over SIGINT, SIGTERM, SIGHUP and SIGQUIT for the rest of the process's life. They wait until somebody asks.
    pub fn take_over() -> io::Result<Pending> {
        let (receiver, sender) = io::pipe()?;
        let sender = OwnedFd::from(sender);
        nix::fcntl::fcntl(&sender, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
        let sender = std::sync::Arc::new(sender);
        for signal in HANDLED {
            let sender = std::sync::Arc::clone(&sender);
            let number = *signal as u8;
            let notify = move |info: &libc::siginfo_t| {
                let bytes = [number, u8::from(info.si_code == libc::SI_KERNEL)];
                // SAFETY: write(2) is async-signal-safe, and the descriptor lives as long as this closure. If the pipe is
                // full, enough signals wait in it already.
                unsafe { libc::write(sender.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
            };
            // SAFETY: the closure does nothing but the write above: no allocation, no lock, no panic.
            unsafe { signal_hook_registry::register_sigaction(*signal as i32, notify) }?;
        }
        Ok(Pending { receiver: receiver.into() })
    }

    /// The stream. Needs a running runtime.
    pub fn into_stream(self) -> io::Result<Signals> {
        Ok(Signals { receiver: pipe::Receiver::from_owned_fd(self.receiver)? })
    }
}

impl Signals {
    /// Takes the signals over where a runtime is running already. See [`Pending::take_over`].
    pub fn take_over() -> io::Result<Signals> {
        Pending::take_over()?.into_stream()
    }

    /// The next signal.
    pub async fn next(&mut self) -> Received {
        let mut bytes = [0; 2];
        // Two bytes are written at once, and reads never end in between; the sender is never closed.
        match self.receiver.read_exact(&mut bytes).await {
            Ok(_) => Received {
                signal: Signal::try_from(i32::from(bytes[0])).unwrap_or(Signal::SIGTERM),
                is_from_terminal: bytes[1] == 1,
            },
            Err(_) => std::future::pending().await,
        }
    }

    /// The descriptor from which signals can be read, for a thread that waits for the next one.
    pub fn into_descriptor(self) -> io::Result<OwnedFd> {
        self.receiver.into_nonblocking_fd()
    }
}
