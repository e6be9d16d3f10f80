//! Reading a log: ranges for serving, and one record after the other.

use std::collections::VecDeque;
use std::sync::Arc;

use atoll_kernel::disk::{DiskFile, Open};
use bytes::Bytes;

use super::segment::{RECORD_OVERHEAD, RecordHeader, Segment};
use super::{Log, LogError, Record};

/// What [`Records`] reads at once.
const READ_AHEAD: usize = 256 << 10;

impl Log {
    /// The records from `from`, which is the beginning of a record or the end, for as long as they take no more than `bytes_max`
    /// on disk; but always one, if there is one (Kafka's rule, so that a reader with a small limit is not stuck). Records that
    /// are still in the buffer are read as well. Each checksum is verified.
    pub fn read_range(&self, from: u64, bytes_max: usize) -> Result<Vec<Record>, LogError> {
        self.check_range(from)?;
        let mut records = Vec::new();
        let mut position = from;
        let mut left = bytes_max;
        while position < self.end() && (records.is_empty() || left as u64 > RECORD_OVERHEAD) {
            let before = records.len();
            if position >= self.written {
                let tail = &self.buffer[(position - self.written) as usize..];
                let needed = if records.is_empty() { self.first_record_bytes(tail) } else { 0 };
                let taken = tail.len().min(left.max(needed));
                self.parse(position, Bytes::copy_from_slice(&tail[..taken]), &mut records)?;
            } else {
                let segment = self.segment_of(position)?;
                let bytes = self.read_segment(segment, position, left, records.is_empty())?;
                self.parse(position, bytes, &mut records)?;
            }
            let Some(last) = records.last().filter(|_| records.len() > before) else { break };
            left = left.saturating_sub((last.next - position) as usize);
            position = last.next;
        }
        Ok(records)
    }

    /// The record that begins at `position`; [`LogError::OutOfRange`] at the end.
    pub fn read(&self, position: u64) -> Result<Record, LogError> {
        let out_of_range = LogError::OutOfRange { position, start: self.start, end: self.end() };
        self.read_range(position, 0)?.into_iter().next().ok_or(out_of_range)
    }

    /// All records from `from` to the present end, in order. After an error there are no more.
    pub fn records(&self, from: u64) -> Records<'_> {
        Records { log: self, next: Some(from), ready: VecDeque::new() }
    }

    fn segment_of(&self, position: u64) -> Result<&Segment, LogError> {
        let after = self.segments.partition_point(|segment| segment.base <= position);
        let segment = after.checked_sub(1).and_then(|index| self.segments.get(index));
        segment.ok_or_else(|| self.corrupt(position))
    }

    fn corrupt(&self, position: u64) -> LogError {
        let segment = self.segments.iter().rev().find(|segment| segment.base <= position);
        let path = segment.map_or_else(|| self.directory.clone(), |segment| segment.path(&self.directory));
        LogError::Corrupt { path, position }
    }

    /// Reads up to `bytes_max` bytes of a segment; if `at_least_one`, as many more as the first record needs.
    fn read_segment(
        &self,
        segment: &Segment,
        position: u64,
        bytes_max: usize,
        at_least_one: bool,
    ) -> Result<Bytes, LogError> {
        let file = self.file_of(segment)?;
        let there = usize::try_from(segment.end - position).unwrap_or(usize::MAX);
        let overhead = RECORD_OVERHEAD as usize;
        let mut bytes = vec![0; there.min(bytes_max.max(overhead))];
        let read = file.read_at(segment.offset(position), &mut bytes)?;
        bytes.truncate(read);
        let needed = self.first_record_bytes(&bytes).min(there);
        if at_least_one && needed > bytes.len() {
            let had = bytes.len();
            bytes.resize(needed, 0);
            let read = file.read_at(segment.offset(position) + had as u64, &mut bytes[had..])?;
            bytes.truncate(had + read);
        }
        Ok(Bytes::from(bytes))
    }

    /// How many bytes the record at the beginning of `bytes` claims to take.
    fn first_record_bytes(&self, bytes: &[u8]) -> usize {
        bytes.first_chunk().map_or(RECORD_OVERHEAD as usize, |framing| {
            let (header, _) = RecordHeader::decode(framing);
            RECORD_OVERHEAD as usize + header.length.min(self.config.record_bytes_max) as usize
        })
    }

    fn file_of(&self, segment: &Segment) -> Result<Arc<dyn DiskFile>, LogError> {
        if self.segments.back().is_some_and(|active| active.base == segment.base) {
            return Ok(segment.open(&*self.disk, &self.directory)?);
        }
        let mut reading = self.reading.lock();
        if let Some((base, file)) = &*reading
            && *base == segment.base
        {
            return Ok(Arc::clone(file));
        }
        let file = self.disk.open(&segment.path(&self.directory), Open::Existing)?;
        *reading = Some((segment.base, Arc::clone(&file)));
        Ok(file)
    }

    /// Adds the whole records in `bytes`. A record that is cut short at the end is left for the next read; if it is the first,
    /// or if one is not what was written, the log is damaged.
    fn parse(&self, mut position: u64, bytes: Bytes, records: &mut Vec<Record>) -> Result<(), LogError> {
        let mut rest = bytes;
        let first = records.is_empty();
        let mut parsed = 0;
        while let Some((framing, after)) = rest.split_first_chunk() {
            let (header, claimed) = RecordHeader::decode(framing);
            let Some(payload) = after.get(..header.length as usize) else {
                if header.length > self.config.record_bytes_max {
                    return Err(self.corrupt(position));
                }
                break;
            };
            if crc32c::crc32c_append(header.begin_checksum(position), payload) != claimed {
                return Err(self.corrupt(position));
            }
            let taken = RECORD_OVERHEAD as usize + payload.len();
            let next = position + taken as u64;
            let payload = rest.slice(RECORD_OVERHEAD as usize..taken);
            records.push(Record { position, next, time_ms: header.time_ms, payload });
            rest = rest.slice(taken..);
            position = next;
            parsed += 1;
        }
        if parsed == 0 && first { Err(self.corrupt(position)) } else { Ok(()) }
    }
}

/// An iterator over the records of a log; see [`Log::records`].
#[derive(Debug)]
pub struct Records<'a> {
    log: &'a Log,
    next: Option<u64>,
    ready: VecDeque<Record>,
}

impl Iterator for Records<'_> {
    type Item = Result<Record, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty() {
            match self.log.read_range(self.next.take()?, READ_AHEAD) {
                Ok(records) => self.ready = records.into(),
                Err(error) => return Some(Err(error)),
            }
            self.next = self.ready.back().map(|last| last.next);
        }
        self.ready.pop_front().map(Ok)
    }
}
