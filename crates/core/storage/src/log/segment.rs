//! The format of segments and records, and what is known of a segment in memory.
//!
//! All numbers are little-endian.
//!
//! ```text
//! segment:  magic "ATOLLOG" and the version 1 | base u64 | durable u64 | previous newest time i64 | crc32c of these u32 | records…
//! record:   crc32c u32 | length of the payload u32 | time i64 | payload
//! ```
//!
//! `base` is the position of the first record. `durable` is the position up to which the log was synced when the segment was
//! begun: recovery need not look before it, and whatever is damaged before it was damaged after it had been durable.
//! A record's checksum covers its position, length, time and payload, so bytes that were once a record elsewhere are not one here.

use std::sync::{Arc, OnceLock};

use atoll_kernel::disk::{Disk, DiskError, DiskFile, Open, join};

/// Bytes at the beginning of each segment.
pub const SEGMENT_HEADER: u64 = 36;

/// Bytes that each record takes beyond its payload.
pub const RECORD_OVERHEAD: u64 = 16;

const MAGIC: &[u8; 8] = b"ATOLLOG\x01";

/// A segment of an open log.
#[derive(Debug)]
pub(super) struct Segment {
    pub base: u64,
    /// The position after its last record in the file.
    pub end: u64,
    /// The greatest time of its records, `i64::MIN` if there is none. After a truncation it may be too great.
    pub newest_time: i64,
    /// Whether its name and header are durable.
    pub name_synced: bool,
    /// Opened when first needed: an idle log holds no descriptor.
    file: OnceLock<Arc<dyn DiskFile>>,
}

impl Segment {
    pub fn existing(base: u64, end: u64, newest_time: i64) -> Segment {
        Segment { base, end, newest_time, name_synced: false, file: OnceLock::new() }
    }

    pub fn create(
        disk: &dyn Disk,
        directory: &str,
        base: u64,
        durable: u64,
        previous_newest_time: i64,
    ) -> Result<Segment, DiskError> {
        let segment = Segment::existing(base, base, i64::MIN);
        let file = disk.open(&segment.path(directory), Open::Create)?;
        // A file of that name can be there if an earlier attempt failed midway.
        file.truncate(0)?;
        file.write_at(0, &SegmentHeader { base, durable, previous_newest_time }.encode())?;
        let _ = segment.file.set(file);
        Ok(segment)
    }

    pub fn open(&self, disk: &dyn Disk, directory: &str) -> Result<Arc<dyn DiskFile>, DiskError> {
        if let Some(file) = self.file.get() {
            return Ok(Arc::clone(file));
        }
        let file = disk.open(&self.path(directory), Open::Existing)?;
        let _ = self.file.set(Arc::clone(&file));
        Ok(file)
    }

    /// Lets the descriptor go: nothing is written to a sealed segment.
    pub fn seal(&mut self) {
        self.file = OnceLock::new();
    }

    pub fn path(&self, directory: &str) -> String {
        join(directory, &file_name(self.base))
    }

    /// Where in the file the record at `position` is.
    pub fn offset(&self, position: u64) -> u64 {
        position - self.base + SEGMENT_HEADER
    }
}

pub(super) fn file_name(base: u64) -> String {
    format!("{base:020}.log")
}

pub(super) fn base_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".log")?;
    let canonical = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if canonical { digits.parse().ok() } else { None }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub base: u64,
    pub durable: u64,
    pub previous_newest_time: i64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT_HEADER as usize] {
        let mut bytes = [0; SEGMENT_HEADER as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.base.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.durable.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_newest_time.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..32]);
        bytes[32..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8; SEGMENT_HEADER as usize]) -> Option<SegmentHeader> {
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
        let checksum = u32::from_le_bytes(std::array::from_fn(|n| bytes[32 + n]));
        if &bytes[..8] != MAGIC || checksum != crc32c::crc32c(&bytes[..32]) {
            return None;
        }
        Some(SegmentHeader { base: word(8), durable: word(16), previous_newest_time: word(24) as i64 })
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub length: u32,
    pub time_ms: i64,
}

impl RecordHeader {
    pub fn encode(&self, position: u64, parts: &[&[u8]]) -> [u8; RECORD_OVERHEAD as usize] {
        let mut checksum = self.begin_checksum(position);
        for part in parts {
            checksum = crc32c::crc32c_append(checksum, part);
        }
        let mut bytes = [0; RECORD_OVERHEAD as usize];
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time_ms.to_le_bytes());
        bytes
    }

    /// Adds the whole record to what is to be written.
    pub fn write(&self, position: u64, parts: &[&[u8]], to: &mut Vec<u8>) {
        to.extend_from_slice(&self.encode(position, parts));
        for part in parts {
            to.extend_from_slice(part);
        }
    }

    /// The header and the checksum that it claims; nothing is verified yet.
    pub fn decode(bytes: &[u8; RECORD_OVERHEAD as usize]) -> (RecordHeader, u32) {
        let checksum = u32::from_le_bytes(std::array::from_fn(|n| bytes[n]));
        let length = u32::from_le_bytes(std::array::from_fn(|n| bytes[4 + n]));
        let time_ms = i64::from_le_bytes(std::array::from_fn(|n| bytes[8 + n]));
        (RecordHeader { length, time_ms }, checksum)
    }

    /// The checksum of everything but the payload, to be continued over it.
    pub fn begin_checksum(&self, position: u64) -> u32 {
        let mut covered = [0; 20];
        covered[..8].copy_from_slice(&position.to_le_bytes());
        covered[8..12].copy_from_slice(&self.length.to_le_bytes());
        covered[12..].copy_from_slice(&self.time_ms.to_le_bytes());
        crc32c::crc32c(&covered)
    }
}
