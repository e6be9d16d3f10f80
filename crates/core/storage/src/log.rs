//! An append-only log: segments of checksummed records, one sync for many appends, and a tail that is cut where it is torn.
//!
//! A *position* is the address of a record: the bytes of all records before it, counted from the first that the log ever
//! had. Positions grow, are never used twice except after [`Log::truncate`], and tell the segment and the place in it without
//! an index. Payloads are opaque: what was appended is read back, byte for byte.
//!
//! # The caller's contract
//!
//! [`Log::append`] puts a record into a buffer. [`Log::flush`] hands the buffer to the operating system: from then on the
//! record survives `kill -9`. A *sync* makes it durable, and the watermark [`Log::synced`] says up to where. So an event loop
//! appends for each request, flushes once per round, before it acknowledges, and syncs as its [`SyncPolicy`] says:
//!
//! - on another thread: [`Log::begin_sync`] gives a [`SyncJob`] to [`Syncer::submit`]; its [`SyncOutcome`] comes back to the
//!   loop, which gives it to [`Log::finish_sync`]. At most one job of a log is under way.
//! - or in place: [`Log::sync`].
//!
//! Rolling to a new segment and removing old ones does not wait for a disk either: both are completed by the next sync job, so
//! a loop whose policy is to never sync still starts one when [`Log::wants_sync`] says so. [`Log::open`], [`Log::truncate`] and
//! [`Log::sync`] are the calls that block.
//!
//! # On disk
//!
//! A log is a directory of segments, named by the position that they begin at (`00000000000000000000.log`), and, once
//! something was removed from its front, a file `start`. The formats are in `segment.rs`, recovery is in `recovery.rs`.
//!
//! [`SyncPolicy`]: crate::SyncPolicy
//! [`Syncer::submit`]: crate::Syncer::submit

mod read;
mod recovery;
mod retention;
mod segment;
mod synchronize;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use atoll_kernel::disk::{Disk, DiskError, DiskFile};
use bytes::Bytes;
use parking_lot::Mutex;

pub use read::Records;
pub use recovery::Recovery;
pub use retention::Retention;
pub use segment::{RECORD_OVERHEAD, SEGMENT_HEADER};
pub use synchronize::{SyncJob, SyncOutcome};

use segment::{RecordHeader, Segment};

/// An open log. One owner writes; everything is done in place, nothing waits, except where it says so.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    directory: String,
    config: LogConfig,
    /// Oldest first, without gaps; the last is written to. Empty until the first record.
    segments: VecDeque<Segment>,
    start: u64,
    /// The position up to which records are in files; those after it are in `buffer`.
    written: u64,
    buffer: Vec<u8>,
    buffer_newest_time: i64,
    /// A write failed midway: behind `written`, the file may hold bytes that are not part of the log.
    ragged: bool,
    /// A truncation failed midway: nothing is written before it has been completed.
    cut_unfinished: bool,
    synced: u64,
    durability: synchronize::Durability,
    /// The sealed segment that was read last, to spare readers who catch up from opening it for each batch.
    reading: Mutex<Option<(u64, Arc<dyn DiskFile>)>>,
    recovery: Recovery,
}

/// Sizes of a log. The defaults suit a Kafka partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A segment is sealed before it would grow beyond this many bytes (Kafka's `segment.bytes`).
    pub segment_bytes: u64,
    /// The longest payload that is accepted, and believed when it is read.
    pub record_bytes_max: u32,
    /// Appended records are written at the latest when this many bytes are waiting.
    pub buffer_bytes: usize,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { segment_bytes: 64 << 20, record_bytes_max: 64 << 20, buffer_bytes: 256 << 10 }
    }
}

/// A record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it begins.
    pub position: u64,
    /// Where the next record begins.
    pub next: u64,
    /// The time that was given when it was appended, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// The bytes that were appended.
    pub payload: Bytes,
}

/// Why a log did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogError {
    /// The disk's fault: it is full or failing. The log is as it was, and the call can be repeated.
    Disk(DiskError),
    /// The files' fault: a record that was durable is missing or damaged.
    Corrupt {
        /// The segment, or the directory if a whole segment is missing.
        path: String,
        /// The position of the first record that cannot be read.
        position: u64,
    },
    /// The caller's fault: the position is not between the log's start and its end.
    OutOfRange {
        /// What was asked for.
        position: u64,
        /// The log's first position.
        start: u64,
        /// The position after the last record.
        end: u64,
    },
    /// The caller's fault: a payload above [`LogConfig::record_bytes_max`].
    TooLarge {
        /// Its length.
        bytes: u64,
        /// What is allowed.
        limit: u32,
    },
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Disk(error) => error.fmt(f),
            LogError::Corrupt { path, position } => {
                write!(f, "{path}: the record at position {position} is damaged or missing")
            }
            LogError::OutOfRange { position, start, end } => {
                write!(f, "position {position} is outside of the log, which spans {start} to {end}")
            }
            LogError::TooLarge { bytes, limit } => write!(f, "a record of {bytes} bytes is above the limit of {limit}"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Disk(error) => Some(error),
            _ => None,
        }
    }
}

impl From<DiskError> for LogError {
    fn from(error: DiskError) -> LogError {
        LogError::Disk(error)
    }
}

/// After a flush, a larger buffer is given back: a thousand idle logs should cost little.
const BUFFER_KEPT: usize = 32 << 10;

impl Log {
    /// Opens the log in `directory`, which is made if it is not there, and cuts a torn tail off. Blocks: it reads the last
    /// segment, and those before it back to the last position that is known to be durable.
    pub fn open(disk: Arc<dyn Disk>, directory: &str, config: LogConfig) -> Result<Log, LogError> {
        recovery::open(disk, directory, config)
    }

    /// Adds a record whose payload is the concatenation of `parts`, and returns its position. `time_ms` (milliseconds since the
    /// Unix epoch) is for [`Retention::age_ms`] and given back on reading.
    ///
    /// May write earlier records out; if that fails, this record is not added.
    pub fn append(&mut self, time_ms: i64, parts: &[&[u8]]) -> Result<u64, LogError> {
        let header = self.admit(time_ms, parts)?;
        let framed = RECORD_OVERHEAD + u64::from(header.length);
        if !self.buffer.is_empty() && self.buffer.len() as u64 + framed > self.config.buffer_bytes as u64 {
            self.flush()?;
        }
        let position = self.end();
        header.write(position, parts, &mut self.buffer);
        self.buffer_newest_time = self.buffer_newest_time.max(time_ms);
        Ok(position)
    }

    /// Adds a record like [`Log::append`], and hands it and all before it to the operating system at once: for callers who would
    /// flush after each. The payload comes back in memory of its own. If this fails, the record is not added.
    pub fn append_through(&mut self, time_ms: i64, parts: &[&[u8]]) -> Result<(u64, Bytes), LogError> {
        let header = self.admit(time_ms, parts)?;
        self.flush()?;
        let position = self.written;
        let mut record = Vec::with_capacity(RECORD_OVERHEAD as usize + header.length as usize);
        header.write(position, parts, &mut record);
        self.hand_over(&record, time_ms)?;
        Ok((position, Bytes::from(record).slice(RECORD_OVERHEAD as usize..)))
    }

    /// Hands all appended records to the operating system, which keeps them if this process dies. On an error (a full disk)
    /// they stay in the buffer: flush again later, or give them up with [`Log::truncate`].
    pub fn flush(&mut self) -> Result<(), LogError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Err(error) = self.hand_over(&buffer, self.buffer_newest_time) {
            self.buffer = buffer;
            return Err(error);
        }
        self.buffer_newest_time = i64::MIN;
        if buffer.capacity() <= BUFFER_KEPT {
            buffer.clear();
            self.buffer = buffer;
        }
        Ok(())
    }

    /// Seals the segment that is being written, if there is a record in it; the next record begins another. For callers who
    /// will remove everything before this point, such as a rewrite that begins with a snapshot.
    pub fn roll(&mut self) -> Result<(), LogError> {
        self.flush()?;
        if self.segments.back().is_some_and(|active| active.end > active.base) {
            self.begin_segment()?;
        }
        Ok(())
    }

    /// Cuts the log so that `position`, the beginning of a record or the end, becomes its end. What was in files is gone
    /// durably when this returns, so it blocks; what was only buffered is dropped at once. After an error the log may end anywhere
    /// between `position` and where it ended before, and nothing is written before the rest of the work succeeds.
    pub fn truncate(&mut self, position: u64) -> Result<(), LogError> {
        self.check_range(position)?;
        if position < self.written {
            self.buffer.clear();
            self.truncate_files(position)
        } else {
            self.buffer.truncate((position - self.written) as usize);
            if self.ragged { self.truncate_files(self.written) } else { Ok(()) }
        }
    }

    /// The first position that can be read.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The position that the next record will have.
    pub fn end(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The position up to which the log survives `kill -9`.
    pub fn flushed(&self) -> u64 {
        self.written
    }

    /// The position up to which the log survives a power failure, as far as is known: after [`Log::open`] this can be less
    /// than what is in fact durable.
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// What [`Log::open`] found and did.
    pub fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// How much longer the disk takes at present; see [`Disk::latency`].
    pub fn latency(&self) -> std::time::Duration {
        self.disk.latency()
    }

    /// The number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    fn check_range(&self, position: u64) -> Result<(), LogError> {
        let (start, end) = (self.start, self.end());
        if (start..=end).contains(&position) { Ok(()) } else { Err(LogError::OutOfRange { position, start, end }) }
    }

    /// The header of a record that can be added, after there is a segment that it fits into.
    fn admit(&mut self, time_ms: i64, parts: &[&[u8]]) -> Result<RecordHeader, LogError> {
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let too_large = LogError::TooLarge { bytes, limit: self.config.record_bytes_max };
        let length =
            u32::try_from(bytes).ok().filter(|length| *length <= self.config.record_bytes_max).ok_or(too_large)?;
        self.roll_before(RECORD_OVERHEAD + bytes)?;
        Ok(RecordHeader { length, time_ms })
    }

    /// Writes whole records behind those that are in files.
    fn hand_over(&mut self, records: &[u8], newest_time: i64) -> Result<(), LogError> {
        if self.cut_unfinished {
            self.truncate_files(self.written)?;
        }
        let file = self.active_file()?;
        let Some(active) = self.segments.back_mut() else { return Ok(()) };
        if let Err(error) = file.write_at(active.offset(self.written), records) {
            self.ragged = true;
            return Err(error.into());
        }
        self.written += records.len() as u64;
        active.end = self.written;
        active.newest_time = active.newest_time.max(newest_time);
        self.ragged = false;
        Ok(())
    }

    /// Makes sure that there is a segment that `framed` more bytes fit into.
    fn roll_before(&mut self, framed: u64) -> Result<(), LogError> {
        let Some(active) = self.segments.back() else { return self.begin_segment() };
        let end = self.end();
        if end > active.base && active.offset(end) + framed > self.config.segment_bytes {
            self.flush()?;
            self.begin_segment()?;
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), LogError> {
        let previous_newest_time = self.segments.back().map_or(i64::MIN, |sealed| sealed.newest_time);
        let segment = Segment::create(&*self.disk, &self.directory, self.written, self.synced, previous_newest_time)?;
        if let Some(sealed) = self.segments.back_mut() {
            sealed.seal();
        }
        self.segments.push_back(segment);
        Ok(())
    }

    fn active_file(&self) -> Result<Arc<dyn DiskFile>, DiskError> {
        match self.segments.back() {
            Some(active) => active.open(&*self.disk, &self.directory),
            None => Err(DiskError::NotFound { path: self.directory.clone() }),
        }
    }

    fn truncate_files(&mut self, position: u64) -> Result<(), LogError> {
        self.durability.invalidate_job();
        self.synced = self.synced.min(position);
        *self.reading.lock() = None;
        let mut names_changed = std::mem::replace(&mut self.cut_unfinished, true);
        // From the end, so that whatever a failure leaves behind is without gaps.
        while self.segments.len() > 1 && self.segments.back().is_some_and(|last| last.base >= position) {
            let Some(last) = self.segments.back() else { break };
            match self.disk.remove(&last.path(&self.directory)) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            self.segments.pop_back();
            names_changed = true;
            self.written = self.segments.back().map_or(position, |last| last.end);
        }
        if names_changed {
            self.disk.sync_directory(&self.directory)?;
        }
        if let Some(active) = self.segments.back_mut() {
            let file = active.open(&*self.disk, &self.directory)?;
            file.truncate(active.offset(position))?;
            active.end = position;
            self.written = position;
            self.ragged = false;
            file.sync().inspect_err(|_| self.durability.suspect())?;
        }
        self.cut_unfinished = false;
        Ok(())
    }
}
