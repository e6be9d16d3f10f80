//! Opening a log: which segments belong to it, and where its tail is torn.
//!
//! After `kill -9` a prefix of what was appended is there, whole. After a power failure, of what was not synced anything can
//! be there or not, in any order: segments without the one before them, names without bytes, records with holes. So recovery
//! verifies everything from the last position that is known to have been durable, cuts at the first record that is not whole,
//! and removes what comes after it. Whatever fails *before* that position is damage, not a torn tail, and refused.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll_kernel::disk::{Disk, DiskError, DiskFile, Open, join};
use parking_lot::Mutex;

use super::retention;
use super::segment::{RECORD_OVERHEAD, RecordHeader, SEGMENT_HEADER, Segment, SegmentHeader, base_of, file_name};
use super::synchronize::Durability;
use super::{Log, LogConfig, LogError};

/// What opening a log found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes that were verified, record by record.
    pub verified_bytes: u64,
    /// Bytes that were cut off, in all segments, because they were not whole records that follow the ones before.
    pub cut_bytes: u64,
}

pub(super) fn open(disk: Arc<dyn Disk>, directory: &str, config: LogConfig) -> Result<Log, LogError> {
    disk.create_directory(directory)?;
    let start = retention::read_start(&*disk, directory)?;
    let found = find(&*disk, directory)?;
    let mut opening = Opening {
        disk: &*disk,
        directory,
        config: &config,
        durable: found.iter().filter_map(|file| Some(file.header?.durable)).fold(start, u64::max),
        end: start,
        kept: VecDeque::new(),
        removed: Vec::new(),
        recovery: Recovery::default(),
    };
    opening.walk(start, &found)?;
    opening.cut()?;
    let Opening { durable, end, kept, recovery, .. } = opening;
    Ok(Log {
        segments: kept,
        start,
        written: end,
        buffer: Vec::new(),
        buffer_newest_time: i64::MIN,
        ragged: false,
        cut_unfinished: false,
        synced: durable,
        durability: Durability::new(start, durable),
        reading: Mutex::new(None),
        recovery,
        disk: Arc::clone(&disk),
        directory: directory.to_owned(),
        config,
    })
}

/// A file that bears a segment's name.
struct Found {
    base: u64,
    /// Bytes behind the header.
    length: u64,
    /// None if it was never written.
    header: Option<SegmentHeader>,
}

fn find(disk: &dyn Disk, directory: &str) -> Result<Vec<Found>, LogError> {
    let mut found = Vec::new();
    for name in disk.list(directory)? {
        let Some(base) = base_of(&name) else { continue };
        let path = join(directory, &name);
        let file = disk.open(&path, Open::Existing)?;
        let mut bytes = [0; SEGMENT_HEADER as usize];
        let read = file.read_at(0, &mut bytes)?;
        let header = SegmentHeader::decode(&bytes).filter(|header| header.base == base);
        // A header is less than a sector: a power failure leaves all of it, or zeros, or a shorter file.
        let never_written = read < bytes.len() || bytes.iter().all(|byte| *byte == 0);
        if header.is_none() && !never_written {
            return Err(LogError::Corrupt { path, position: base });
        }
        found.push(Found { base, length: file.length()?.saturating_sub(SEGMENT_HEADER), header });
    }
    Ok(found)
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    directory: &'a str,
    config: &'a LogConfig,
    /// The greatest position that is known to have been durable.
    durable: u64,
    /// The position up to which the log is whole.
    end: u64,
    kept: VecDeque<Segment>,
    removed: Vec<String>,
    recovery: Recovery,
}

impl Opening<'_> {
    /// Follows the segments from the one that holds `start` for as long as each begins where the one before ends.
    fn walk(&mut self, start: u64, found: &[Found]) -> Result<(), LogError> {
        // Of segments that lie before the start, the removal was not durable.
        let first = found.iter().rposition(|file| file.base <= start && file.header.is_some()).unwrap_or(0);
        let (before, rest) = found.split_at(first);
        self.removed.extend(before.iter().map(|file| file_name(file.base)));
        let mut files = rest.iter().peekable();
        if files.peek().is_some_and(|file| file.base <= start && file.header.is_some()) {
            self.end = rest[0].base;
        }
        while let Some(file) = files.next_if(|file| file.base == self.end && file.header.is_some()) {
            let next = files.peek().filter(|next| next.header.is_some());
            let end = self.verify(file, next.map(|next| next.base))?;
            // Only the segment after it knows the newest time of one that is not read.
            if let (Some(next), Some(segment)) = (next.and_then(|next| next.header), self.kept.back_mut()) {
                segment.newest_time = next.previous_newest_time;
            }
            self.end = end;
        }
        for file in files {
            self.removed.push(file_name(file.base));
            self.recovery.cut_bytes += file.length;
        }
        // If nothing at the start survived, the log begins anew there.
        self.end = self.end.max(if self.kept.is_empty() { start } else { 0 });
        for segment in &mut self.kept {
            segment.name_synced = segment.base < self.durable;
        }
        if self.end < self.durable.max(start) {
            let path = self.kept.back().map_or_else(|| self.directory.to_owned(), |last| last.path(self.directory));
            return Err(LogError::Corrupt { path, position: self.end });
        }
        Ok(())
    }

    /// Keeps a segment and says where it ends: at the next segment's beginning, or at the first record that is not whole.
    fn verify(&mut self, file: &Found, next_base: Option<u64>) -> Result<u64, LogError> {
        let path = join(self.directory, &file_name(file.base));
        let file_end = file.base.checked_add(file.length);
        let Some(file_end) = file_end else { return Err(LogError::Corrupt { path, position: file.base }) };
        let limit = next_base.map_or(file_end, |next| next.min(file_end));
        if next_base.is_some_and(|next| next <= self.durable && next == limit) {
            self.kept.push_back(Segment::existing(file.base, limit, i64::MIN));
            return Ok(limit);
        }
        let opened = self.disk.open(&path, Open::Existing)?;
        let mut scan = Scan::new(&*opened, file.base);
        while scan.step(limit, self.config.record_bytes_max)? {}
        self.recovery.verified_bytes += scan.position - file.base;
        self.kept.push_back(Segment::existing(file.base, scan.position, scan.newest_time));
        // Behind a segment's end there can be the rest of a write that failed and was given up.
        self.recovery.cut_bytes += file_end - scan.position;
        Ok(scan.position)
    }

    /// Makes the files agree with what was kept, durably: what is cut now must not come back behind later records.
    fn cut(&mut self) -> Result<(), LogError> {
        for name in self.removed.iter().rev() {
            match self.disk.remove(&join(self.directory, name)) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if !self.removed.is_empty() {
            self.disk.sync_directory(self.directory)?;
        }
        if let Some(last) = self.kept.back() {
            let file = self.disk.open(&last.path(self.directory), Open::Existing)?;
            let length = last.offset(last.end);
            if file.length()? > length {
                file.truncate(length)?;
                file.sync()?;
            }
        }
        Ok(())
    }
}

/// A walk over the records of a file that keeps none of them.
struct Scan<'a> {
    file: &'a dyn DiskFile,
    base: u64,
    position: u64,
    newest_time: i64,
    /// The bytes of the file from `window_offset` on, as far as they were read ahead.
    window: Vec<u8>,
    window_offset: u64,
}

/// How much is read at once.
const WINDOW: usize = 64 << 10;

impl<'a> Scan<'a> {
    fn new(file: &'a dyn DiskFile, base: u64) -> Scan<'a> {
        Scan { file, base, position: base, newest_time: i64::MIN, window: Vec::new(), window_offset: 0 }
    }

    /// Verifies the next record and steps behind it; false if there is no whole record before `limit`.
    fn step(&mut self, limit: u64, record_bytes_max: u32) -> Result<bool, LogError> {
        if limit.saturating_sub(self.position) < RECORD_OVERHEAD {
            return Ok(false);
        }
        let mut offset = self.position - self.base + SEGMENT_HEADER;
        let Some(framing) = self.bytes(offset, RECORD_OVERHEAD as usize)?.first_chunk() else { return Ok(false) };
        let (header, claimed) = RecordHeader::decode(framing);
        let record_bytes = RECORD_OVERHEAD + u64::from(header.length);
        if header.length > record_bytes_max || record_bytes > limit - self.position {
            return Ok(false);
        }
        let mut checksum = header.begin_checksum(self.position);
        offset += RECORD_OVERHEAD;
        let mut rest = header.length as usize;
        while rest > 0 {
            let payload = self.bytes(offset, 1)?;
            let payload = &payload[..payload.len().min(rest)];
            if payload.is_empty() {
                return Ok(false);
            }
            checksum = crc32c::crc32c_append(checksum, payload);
            rest -= payload.len();
            offset += payload.len() as u64;
        }
        if checksum != claimed {
            return Ok(false);
        }
        self.position += record_bytes;
        self.newest_time = self.newest_time.max(header.time_ms);
        Ok(true)
    }

    /// What was read ahead from `offset` on, at least `wanted` bytes unless the file ends before.
    fn bytes(&mut self, offset: u64, wanted: usize) -> Result<&[u8], LogError> {
        let window_end = self.window_offset + self.window.len() as u64;
        if offset < self.window_offset || offset + wanted as u64 > window_end {
            self.window.resize(WINDOW, 0);
            let read = self.file.read_at(offset, &mut self.window)?;
            self.window.truncate(read);
            self.window_offset = offset;
        }
        Ok(&self.window[(offset - self.window_offset) as usize..])
    }
}
