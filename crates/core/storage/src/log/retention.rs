//! Removing the front of a log: by size, by age, or up to a position.

use atoll_kernel::disk::{Disk, DiskError, read_file, replace_file};

use super::{Log, LogError};

/// How much of a log is kept. The segment that is being written is always kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Whole segments go as long as at least this many bytes remain (Kafka's `retention.bytes`). None: no limit.
    pub bytes: Option<u64>,
    /// A segment goes when its newest record is older than this, in milliseconds (Kafka's `retention.ms`). None: no limit.
    pub age_ms: Option<i64>,
}

impl Log {
    /// Removes whole segments from the front as `retention` says, but none that reaches beyond `limit`. `now_ms` is the wall
    /// clock of whoever decides. Returns the log's new start.
    pub fn retain(&mut self, retention: Retention, now_ms: i64, limit: u64) -> u64 {
        let mut size = self.end() - self.segments.front().map_or(self.end(), |first| first.base);
        let mut new_start = self.start;
        let sealed = self.segments.len().saturating_sub(1);
        for segment in self.segments.iter().take(sealed) {
            let bytes = segment.end - segment.base;
            let too_large = retention.bytes.is_some_and(|kept| size - bytes >= kept);
            let too_old = retention.age_ms.is_some_and(|age| segment.newest_time < now_ms.saturating_sub(age));
            if !(too_large || too_old) || segment.end > limit {
                break;
            }
            size -= bytes;
            new_start = segment.end;
        }
        if new_start > self.start {
            self.begin_at(new_start);
        }
        self.start
    }

    /// Makes `position`, the beginning of a record or the end, the log's start: what is before it can no longer be read. The
    /// next sync makes that durable and then removes the files that nothing is left of.
    pub fn remove_before(&mut self, position: u64) -> Result<(), LogError> {
        if position > self.start {
            self.check_range(position)?;
            self.begin_at(position);
        }
        Ok(())
    }

    /// Removes the log with all its files.
    pub fn delete(self) -> Result<(), LogError> {
        Ok(self.disk.remove_directory(&self.directory)?)
    }

    fn begin_at(&mut self, position: u64) {
        self.start = position;
        while self.segments.len() > 1 && self.segments.front().is_some_and(|first| first.end <= position) {
            if let Some(first) = self.segments.pop_front() {
                self.durability.remove_later(first.path(&self.directory));
            }
        }
        let mut reading = self.reading.lock();
        if reading.as_ref().is_some_and(|(base, _)| self.segments.front().is_none_or(|first| *base < first.base)) {
            *reading = None;
        }
    }
}

const START: &str = "start";

/// The start of a log from whose front something was removed: the position and its crc32c. 0 without such a file.
pub(super) fn read_start(disk: &dyn Disk, directory: &str) -> Result<u64, LogError> {
    let path = atoll_kernel::disk::join(directory, START);
    let Some(bytes) = read_file(disk, &path, 12)? else { return Ok(0) };
    let damaged = || LogError::Corrupt { path: path.clone(), position: 0 };
    let (position, checksum) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
    if checksum != crc32c::crc32c(position).to_le_bytes() {
        return Err(damaged());
    }
    Ok(u64::from_le_bytes(*position))
}

pub(super) fn write_start(disk: &dyn Disk, directory: &str, start: u64) -> Result<(), DiskError> {
    let position = start.to_le_bytes();
    let mut bytes = position.to_vec();
    bytes.extend_from_slice(&crc32c::crc32c(&position).to_le_bytes());
    replace_file(disk, directory, START, &bytes)
}
