//! The side of the commands. Blocking: a command does one thing.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{FRAME_BYTES_MAX, Frame, Request};
use crate::error::{Code, Failure, Result};
use crate::registry::{Entry, Registry};

/// How long a command waits for the next frame of an answer that is not a stream.
const PATIENCE: Duration = Duration::from_secs(30);

/// A path longer than this does not fit into a socket address.
const SOCKET_PATH_BYTES_MAX: usize = 100;

/// Ends a stack, and waits until its process is gone.
pub fn stop(entry: &Entry, purge: bool) -> Result<()> {
    Answer::ask(&entry.socket(), &Request::Stop { purge }, false)?.wait_for_the_end()?;
    // Its sockets are closed a moment before that.
    Registry::open()?.wait_until_gone(entry)
}

/// An open question to a running stack.
#[derive(Debug)]
pub struct Answer {
    reader: BufReader<UnixStream>,
}

impl Answer {
    /// Asks. `is_stream` says that the answer may be silent for any time.
    pub fn ask(socket: &Path, request: &Request, is_stream: bool) -> Result<Answer> {
        let mut stream = connect(socket).map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                Failure::new(Code::NotRunning, "the stack has ended").hint("start it with `atoll up`")
            }
            _ => broken(&error),
        })?;
        stream.set_read_timeout((!is_stream).then_some(PATIENCE)).map_err(|error| broken(&error))?;
        let mut line = serde_json::to_vec(request).map_err(|error| broken(&std::io::Error::other(error)))?;
        line.push(b'\n');
        stream.write_all(&line).map_err(|error| broken(&error))?;
        Ok(Answer { reader: BufReader::new(stream) })
    }

    /// Reads frames until the result. `on_item` gets the data on the way, `on_progress` the rest.
    pub fn finish(
        mut self,
        mut on_item: impl FnMut(Value) -> Result<()>,
        mut on_progress: impl FnMut(Value),
    ) -> Result<Value> {
        loop {
            match self.frame()? {
                Some(Frame::Item(value)) => on_item(value)?,
                Some(Frame::Progress(value)) => on_progress(value),
                Some(Frame::Result(value)) => return Ok(value),
                Some(Frame::Error(value)) => return Err(Failure::from_json(&json!({ "error": value }))),
                None => return Err(Failure::new(Code::ControlFailed, "the stack broke off: it has ended")),
            }
        }
    }

    /// The result, where nothing comes on the way.
    pub fn result(self) -> Result<Value> {
        self.finish(|_| Ok(()), |_| ())
    }

    /// Waits until the other side closes the connection, which it does when its process ends.
    pub fn wait_for_the_end(mut self) -> Result<()> {
        loop {
            match self.frame()? {
                None => return Ok(()),
                Some(Frame::Error(value)) => return Err(Failure::from_json(&json!({ "error": value }))),
                Some(_) => {}
            }
        }
    }

    fn frame(&mut self) -> Result<Option<Frame>> {
        let mut line = Vec::new();
        let limit = u64::try_from(FRAME_BYTES_MAX).unwrap_or(u64::MAX);
        match (&mut self.reader).take(limit).read_until(b'\n', &mut line) {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_slice(&line).map(Some).map_err(|error| broken(&std::io::Error::other(error))),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Failure::new(Code::Timeout, format!("no answer within {} s", PATIENCE.as_secs())))
            }
            Err(error) => Err(broken(&error)),
        }
    }
}

fn connect(socket: &Path) -> std::io::Result<UnixStream> {
    with_short_path(socket, |path| UnixStream::connect(path))
}

/// Calls with a path of the socket that fits into an address: through the open directory, if the real one is too long.
pub(super) fn with_short_path<T>(socket: &Path, call: impl FnOnce(&Path) -> std::io::Result<T>) -> std::io::Result<T> {
    if socket.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return call(socket);
    }
    let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else { return call(socket) };
    let flags = nix::fcntl::OFlag::O_PATH | nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_CLOEXEC;
    let open = nix::fcntl::open(directory, flags, nix::sys::stat::Mode::empty())?;
    call(&Path::new("/proc/self/fd").join(open.as_raw_fd().to_string()).join(name))
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::new(Code::ControlFailed, format!("the control socket: {error}"))
}
