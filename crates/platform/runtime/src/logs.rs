//! Container logs: what the containers print, in the CRI log format (`TIME stdout|stderr F|P TEXT`), in bounded and
//! rotated files, and readers that can follow.
//!
//! Files are `logs/POD/CONTAINER/RESTART.log`, older parts `.log.1` (the youngest) to `.log.N`.
#![allow(clippy::disallowed_methods)] // A door: these files are the containers' output, not the engines' data.

use crate::config::RuntimeError;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::sync::{mpsc, watch};

/// Longer lines are stored in parts, marked `P`; containerd's limit.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// How much a follower reads at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// Chunks under way to a reader that does not read.
const CHUNKS_WAITING_MAX: usize = 16;

/// Which part of a log is wanted, in the words of the Kubernetes API.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Only the last lines (`tailLines`).
    pub tail: Option<usize>,
    /// Only lines since then (`sinceTime`, `sinceSeconds`).
    pub since: Option<SystemTime>,
    /// Go on until the container ends (`follow`).
    pub follow: bool,
    /// The log of the start before the last (`previous`).
    pub previous: bool,
    /// The log of this very start, whatever `previous` says.
    pub restart: Option<u32>,
    /// Put the time before each line (`timestamps`).
    pub timestamps: bool,
    /// Not more than this (`limitBytes`).
    pub limit_bytes: Option<usize>,
}

/// All logs of a stack.
#[derive(Clone)]
pub(crate) struct Logs {
    directory: PathBuf,
    bytes_max: u64,
    files_max: u32,
    /// Logs that are being written.
    open: Arc<Mutex<BTreeMap<PathBuf, Arc<Log>>>>,
}

/// One start's log, while it is written.
pub(crate) struct Log {
    path: PathBuf,
    bytes_max: u64,
    files_max: u32,
    current: Mutex<Current>,
    progress: watch::Sender<Progress>,
}

struct Current {
    file: File,
    length: u64,
    /// How often it was rotated.
    generation: u64,
}

/// What followers wait for.
#[derive(Clone, Copy, Default)]
struct Progress {
    written: u64,
    ended: bool,
}

impl Logs {
    pub(crate) fn new(directory: PathBuf, bytes_max: u64, files_max: u32) -> Self {
        Self { directory, bytes_max, files_max: files_max.max(2), open: Arc::default() }
    }

    fn directory_of(&self, uid: &str, container: &str) -> PathBuf {
        self.directory.join(uid).join(container)
    }

    /// Begins the log of one start.
    pub(crate) fn create(&self, uid: &str, container: &str, restart: u32) -> io::Result<Arc<Log>> {
        let directory = self.directory_of(uid, container);
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{restart}.log"));
        let file = OpenOptions::new().append(true).read(true).create(true).open(&path)?;
        let length = file.metadata()?.len();
        let log = Arc::new(Log {
            path: path.clone(),
            bytes_max: self.bytes_max,
            files_max: self.files_max,
            current: Mutex::new(Current { file, length, generation: 0 }),
            progress: watch::Sender::default(),
        });
        self.open.lock().insert(path, log.clone());
        // Only the last two starts can be asked for.
        for old in starts(&directory).into_iter().filter(|start| start.saturating_add(1) < restart) {
            for part in parts(&directory.join(format!("{old}.log")), self.files_max) {
                let _ = fs::remove_file(part);
            }
        }
        Ok(log)
    }

    /// Ends a log: its followers see the end.
    pub(crate) fn end(&self, log: &Log) {
        self.open.lock().remove(&log.path);
        log.progress.send_modify(|progress| progress.ended = true);
    }

    pub(crate) fn remove(&self, uid: &str) {
        let _ = fs::remove_dir_all(self.directory.join(uid));
    }

    /// Starts reading; lines come in chunks until the log (or, following, the container) ends.
    pub(crate) fn read(
        &self,
        uid: &str,
        container: &str,
        options: LogOptions,
    ) -> Result<mpsc::Receiver<Bytes>, RuntimeError> {
        let directory = self.directory_of(uid, container);
        let starts = starts(&directory);
        let wanted = match options.restart {
            Some(restart) => starts.iter().find(|start| **start == restart),
            None => starts.iter().rev().nth(usize::from(options.previous)),
        };
        let Some(start) = wanted else {
            let which = if options.previous { "previous terminated container" } else { "log of container" };
            return Err(RuntimeError::NotFound(format!("{which} \"{container}\"")));
        };
        let path = directory.join(format!("{start}.log"));
        let log = self.open.lock().get(&path).cloned();
        let snapshot =
            Snapshot::take(&path, log.as_deref(), self.files_max).map_err(RuntimeError::system("read the log"))?;
        let (sender, receiver) = mpsc::channel(CHUNKS_WAITING_MAX);
        let reader = Reader { rest: options.limit_bytes.unwrap_or(usize::MAX), options, sender };
        tokio::spawn(reader.run(snapshot, log));
        Ok(receiver)
    }
}

/// Restart numbers that have a log, ascending.
fn starts(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut starts: Vec<u32> =
        entries.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok()).collect();
    starts.sort_unstable();
    starts
}

/// A log's files, oldest first.
fn parts(path: &Path, files_max: u32) -> Vec<PathBuf> {
    let older = (1..files_max).rev().map(|age| aged(path, age));
    older.chain([path.to_path_buf()]).filter(|part| part.exists()).collect()
}

fn aged(path: &Path, age: u32) -> PathBuf {
    path.with_extension(format!("log.{age}"))
}

/// The CRI's form of a moment: always nine digits, so that text order is time order.
fn stamp(at: SystemTime) -> String {
    let timestamp = jiff::Timestamp::try_from(at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    timestamp.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

impl Log {
    fn write_line(&self, stream: &str, is_whole: bool, text: &[u8]) -> io::Result<()> {
        let tag = if is_whole { "F" } else { "P" };
        let mut line = format!("{} {stream} {tag} ", stamp(SystemTime::now())).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        let mut current = self.current.lock();
        if current.length > 0 && current.length + line.len() as u64 > self.bytes_max {
            self.rotate(&mut current)?;
        }
        current.file.write_all(&line)?;
        current.length += line.len() as u64;
        Ok(())
    }

    fn rotate(&self, current: &mut Current) -> io::Result<()> {
        for age in (1..self.files_max - 1).rev() {
            let _ = fs::rename(aged(&self.path, age), aged(&self.path, age + 1));
        }
        fs::rename(&self.path, aged(&self.path, 1))?;
        current.file = OpenOptions::new().append(true).read(true).create_new(true).open(&self.path)?;
        current.length = 0;
        current.generation += 1;
        Ok(())
    }

    fn wake_followers(&self) {
        self.progress.send_modify(|progress| progress.written += 1);
    }
}

/// Cuts one stream into lines and writes them.
pub(crate) struct LineWriter {
    log: Arc<Log>,
    stream: &'static str,
    pending: Vec<u8>,
}

impl LineWriter {
    pub(crate) fn new(log: Arc<Log>, stream: &'static str) -> Self {
        Self { log, stream, pending: Vec::new() }
    }

    /// Takes what the container wrote. A full disk loses output, as it does on a node.
    pub(crate) fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.pending.len();
            let window = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
            let (taken, is_whole) = match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (window.len(), false),
            };
            let (text, rest) = bytes.split_at(taken);
            self.pending.extend_from_slice(text.strip_suffix(b"\n").unwrap_or(text));
            bytes = rest;
            if is_whole || self.pending.len() == LINE_BYTES_MAX {
                let _ = self.log.write_line(self.stream, is_whole, &self.pending);
                self.pending.clear();
            }
        }
        self.log.wake_followers();
    }

    /// The stream has ended; a last line without an end is a line.
    pub(crate) fn finish(self) {
        if !self.pending.is_empty() {
            let _ = self.log.write_line(self.stream, true, &self.pending);
            self.log.wake_followers();
        }
    }
}

/// A log's files at one moment. Open files stay readable when they are rotated away.
struct Snapshot {
    files: Vec<File>,
    /// Of the last file.
    length: u64,
    generation: u64,
}

impl Snapshot {
    fn take(path: &Path, log: Option<&Log>, files_max: u32) -> io::Result<Self> {
        let current = log.map(|log| log.current.lock());
        let files = parts(path, files_max).iter().map(File::open).collect::<io::Result<Vec<_>>>()?;
        let length = match &current {
            Some(current) => current.length,
            None => files.last().map_or(Ok(0), |file| file.metadata().map(|metadata| metadata.len()))?,
        };
        Ok(Self { files, length, generation: current.map_or(0, |current| current.generation) })
    }
}

struct Reader {
    options: LogOptions,
    sender: mpsc::Sender<Bytes>,
    /// Bytes that may still be sent.
    rest: usize,
}

impl Reader {
    /// Sends what there is, then what comes.
    async fn run(mut self, mut snapshot: Snapshot, log: Option<Arc<Log>>) {
        let (generation, mut offset) = (snapshot.generation, snapshot.length);
        let last = snapshot.files.last().and_then(|file| file.try_clone().ok());
        let files = std::mem::take(&mut snapshot.files);
        let past = tokio::task::spawn_blocking(move || {
            let result = self.send_past(files, snapshot.length);
            (self, result)
        });
        let Ok((mut reader, Some(()))) = past.await else { return };
        let (Some(log), Some(mut file), true) = (log, last, reader.options.follow) else { return };
        let mut generation = generation;
        let mut progress = log.progress.subscribe();
        loop {
            // Noted before reading, so that nothing written meanwhile is slept over.
            let ended = progress.borrow_and_update().ended;
            loop {
                let now = log.current.lock().generation;
                if reader.send_from(&file, &mut offset).await.is_none() {
                    return;
                }
                if now == generation {
                    break;
                }
                generation += 1;
                let age = u32::try_from(now - generation).unwrap_or(u32::MAX);
                let next = if age == 0 { log.path.clone() } else { aged(&log.path, age) };
                // Rotated away twice while we read: the follower was too slow, and continues with what there is.
                let Ok(next) = File::open(next) else { continue };
                (file, offset) = (next, 0);
            }
            tokio::select! {
                biased;
                () = reader.sender.closed() => return,
                changed = progress.changed(), if !ended => if changed.is_err() { return },
                () = std::future::ready(()), if ended => return,
            }
        }
    }

    /// What was written before the request, restricted to the last lines and to the time asked for.
    fn send_past(&mut self, files: Vec<File>, length: u64) -> Option<()> {
        let since = self.options.since.map(stamp);
        let mut tail: VecDeque<Vec<u8>> = VecDeque::new();
        let mut chunk = Vec::new();
        let last = files.len().checked_sub(1);
        for (index, file) in files.into_iter().enumerate() {
            let limit = if Some(index) == last { length } else { u64::MAX };
            let mut lines = BufReader::new(file.take(limit));
            let mut line = Vec::new();
            loop {
                line.clear();
                if lines.read_until(b'\n', &mut line).ok()? == 0 {
                    break;
                }
                if since.as_ref().is_some_and(|since| line.as_slice() < since.as_bytes()) {
                    continue;
                }
                match self.options.tail {
                    Some(0) => {}
                    Some(wanted) => {
                        if tail.len() == wanted {
                            tail.pop_front();
                        }
                        let mut shown = Vec::new();
                        self.show(&line, &mut shown);
                        tail.push_back(shown);
                    }
                    None => {
                        self.show(&line, &mut chunk);
                        if chunk.len() >= CHUNK_BYTES {
                            let full = self.limited(std::mem::take(&mut chunk));
                            self.sender.blocking_send(full).ok()?;
                        }
                    }
                }
            }
        }
        tail.iter().for_each(|line| chunk.extend_from_slice(line));
        let chunk = self.limited(chunk);
        if !chunk.is_empty() {
            self.sender.blocking_send(chunk).ok()?;
        }
        (self.rest > 0).then_some(())
    }

    /// What has been written since; `None` if nobody listens any more, or enough was sent.
    async fn send_from(&mut self, file: &File, offset: &mut u64) -> Option<()> {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read_at(&mut buffer, *offset).ok()?;
            let whole = buffer.get(..read)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            if whole == 0 {
                return Some(());
            }
            *offset += whole as u64;
            let mut text = Vec::new();
            for line in buffer.get(..whole)?.split_inclusive(|byte| *byte == b'\n') {
                self.show(line, &mut text);
            }
            let text = self.limited(text);
            self.sender.send(text).await.ok()?;
            if self.rest == 0 {
                return None;
            }
        }
    }

    /// A stored line as the reader sees it: without the fields before the text, or with the time alone, and without a
    /// line end if it was only a part.
    fn show(&self, line: &[u8], out: &mut Vec<u8>) {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let (Some(time), Some(_stream), Some(tag), Some(text)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return out.extend_from_slice(line);
        };
        if self.options.timestamps {
            out.extend_from_slice(time);
            out.push(b' ');
        }
        out.extend_from_slice(if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
    }

    fn limited(&mut self, mut text: Vec<u8>) -> Bytes {
        text.truncate(self.rest);
        self.rest -= text.len();
        text.into()
    }
}
