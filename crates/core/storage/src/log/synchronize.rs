//! Making a log durable, in place or on another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atoll_kernel::disk::{Disk, DiskError, DiskFile, Operation};
use parking_lot::Mutex;

use super::segment::Segment;
use super::{Log, LogError, retention};

/// What is left to be made durable besides the records.
#[derive(Debug, Default)]
pub(super) struct Durability {
    job_running: bool,
    /// Counts truncations: a job that began before one says nothing about what was appended after it.
    generation: u64,
    /// A sync failed: the operating system may have forgotten what was not durable, so it must be written again. Locked while a
    /// job is at work, so that one in place cannot miss the failure of one elsewhere.
    suspect: Arc<Mutex<bool>>,
    /// The start that is durable, so that of two jobs the later one never restores an earlier start.
    durable_start: Arc<AtomicU64>,
    removals: Vec<String>,
    /// Whether the log's directory itself is durable.
    directory_synced: bool,
}

impl Durability {
    /// Of a log that was durable up to `durable` when it was opened.
    pub fn new(durable_start: u64, durable: u64) -> Durability {
        let durable_start = Arc::new(AtomicU64::new(durable_start));
        Durability { durable_start, directory_synced: durable > 0, ..Durability::default() }
    }

    pub fn invalidate_job(&mut self) {
        self.generation += 1;
    }

    pub fn suspect(&self) {
        *self.suspect.lock() = true;
    }

    pub fn remove_later(&mut self, path: String) {
        self.removals.push(path);
    }
}

/// Work for any thread: the syncs that make a log durable up to where it ended when the job was begun.
#[must_use = "a log starts no other job before this one has been run and its outcome given back"]
#[derive(Debug)]
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    directory: String,
    files: Vec<Arc<dyn DiskFile>>,
    names_changed: bool,
    directory_synced: bool,
    start: u64,
    durable_start: Arc<AtomicU64>,
    removals: Vec<String>,
    upto: u64,
    generation: u64,
    /// Whether the log waits for this job's outcome before it begins another.
    awaited: bool,
    suspect: Arc<Mutex<bool>>,
}

/// What came of a [`SyncJob`], for [`Log::finish_sync`].
#[must_use = "the log does not know that it is durable until `Log::finish_sync` is told"]
#[derive(Debug)]
pub struct SyncOutcome {
    upto: u64,
    generation: u64,
    awaited: bool,
    result: Result<(), DiskError>,
    not_removed: Vec<String>,
}

impl SyncJob {
    /// Does the work. Blocks for as long as the disk takes.
    pub fn run(mut self) -> SyncOutcome {
        let suspect = Arc::clone(&self.suspect);
        let mut suspect = suspect.lock();
        // If a sync failed since this job was begun, what it is to make durable may already be forgotten.
        let result = if *suspect { Err(DiskError::Failing(Operation::Sync)) } else { self.work() };
        *suspect |= result.is_err();
        SyncOutcome {
            upto: self.upto,
            generation: self.generation,
            awaited: self.awaited,
            result,
            not_removed: self.removals,
        }
    }

    fn work(&mut self) -> Result<(), DiskError> {
        for file in &self.files {
            file.sync()?;
        }
        if self.names_changed {
            self.disk.sync_directory(&self.directory)?;
        }
        let mut above = self.directory.as_str();
        while !self.directory_synced && !above.is_empty() {
            above = above.rsplit_once('/').map_or("", |(above, _)| above);
            self.disk.sync_directory(above)?;
        }
        // Before anything is removed it must be known, durably, that it is not missed.
        if self.start > self.durable_start.load(Ordering::Relaxed) {
            retention::write_start(&*self.disk, &self.directory, self.start)?;
            self.durable_start.store(self.start, Ordering::Relaxed);
        }
        while let Some(path) = self.removals.last() {
            match self.disk.remove(path) {
                Ok(()) | Err(DiskError::NotFound { .. }) => self.removals.pop(),
                Err(error) => return Err(error),
            };
        }
        Ok(())
    }
}

impl Log {
    /// Makes everything durable that was appended so far, in place, and returns the watermark. Blocks, also for a job that is
    /// at work on another thread.
    pub fn sync(&mut self) -> Result<u64, LogError> {
        self.flush()?;
        if self.has_work() {
            let outcome = self.job()?.run();
            self.finish_sync(outcome)?;
        }
        Ok(self.synced)
    }

    /// Flushes, and gives the work that makes everything durable that was appended so far. None if there is nothing to do, or if
    /// the last job's outcome has not come back: whoever waits for it then begins the next.
    pub fn begin_sync(&mut self) -> Result<Option<SyncJob>, LogError> {
        self.flush()?;
        if self.durability.job_running || !self.has_work() {
            return Ok(None);
        }
        self.job().map(Some)
    }

    /// Blocks while a job is at work.
    fn has_work(&self) -> bool {
        self.synced < self.written || self.wants_sync() || *self.durability.suspect.lock()
    }

    fn job(&mut self) -> Result<SyncJob, LogError> {
        let suspect = Arc::clone(&self.durability.suspect);
        let mut suspect = suspect.lock();
        if *suspect {
            self.write_again()?;
            *suspect = false;
        }
        let dirty = |segment: &&Segment| segment.end > self.synced || !segment.name_synced;
        let open = |segment: &Segment| segment.open(&*self.disk, &self.directory);
        let files = self.segments.iter().filter(dirty).map(open).collect::<Result<Vec<_>, _>>()?;
        // Descriptors of sealed segments were opened for the job alone.
        let sealed = self.segments.len().saturating_sub(1);
        self.segments.iter_mut().take(sealed).for_each(Segment::seal);
        let another_runs = std::mem::replace(&mut self.durability.job_running, true);
        Ok(SyncJob {
            disk: Arc::clone(&self.disk),
            directory: self.directory.clone(),
            files,
            names_changed: self.segments.iter().any(|segment| !segment.name_synced),
            directory_synced: self.durability.directory_synced,
            start: self.start,
            durable_start: Arc::clone(&self.durability.durable_start),
            removals: std::mem::take(&mut self.durability.removals),
            upto: self.written,
            generation: self.durability.generation,
            awaited: !another_runs,
            suspect: Arc::clone(&self.durability.suspect),
        })
    }

    /// Takes note of what came of a job, and returns the watermark. After an error nothing is taken to be durable that was not
    /// so before, and the next job writes it again: Linux forgets pages that it failed to write.
    pub fn finish_sync(&mut self, outcome: SyncOutcome) -> Result<u64, LogError> {
        let durability = &mut self.durability;
        durability.job_running &= !outcome.awaited;
        durability.removals.extend(outcome.not_removed);
        outcome.result?;
        durability.directory_synced = true;
        if outcome.generation == durability.generation {
            self.synced = self.synced.max(outcome.upto);
            // One that begins just there may have been made after the job was begun.
            for segment in self.segments.iter_mut().filter(|segment| segment.base < outcome.upto) {
                segment.name_synced = true;
            }
        }
        Ok(self.synced)
    }

    /// Whether a sync is worth its cost even if no policy asks for one: a segment was sealed, or there are files to be removed.
    pub fn wants_sync(&self) -> bool {
        let durability = &self.durability;
        let sealed = self.segments.len().saturating_sub(1);
        let unsynced = |segment: &Segment| segment.end > self.synced || !segment.name_synced;
        self.start > durability.durable_start.load(Ordering::Relaxed)
            || !durability.removals.is_empty()
            || self.segments.iter().take(sealed).any(unsynced)
    }

    /// Reads everything that is not known to be durable, from the operating system's cache, and writes it back in place.
    fn write_again(&self) -> Result<(), LogError> {
        let mut buffer = vec![0; 64 << 10];
        for segment in &self.segments {
            if segment.end <= self.synced && segment.name_synced {
                continue;
            }
            let file = segment.open(&*self.disk, &self.directory)?;
            let end = segment.offset(segment.end);
            let mut offset = if segment.name_synced { segment.offset(self.synced.max(segment.base)) } else { 0 };
            while offset < end {
                let wanted = usize::try_from(end - offset).unwrap_or(usize::MAX).min(buffer.len());
                let read = file.read_at(offset, &mut buffer[..wanted])?;
                if read == 0 {
                    return Err(LogError::Corrupt { path: segment.path(&self.directory), position: self.synced });
                }
                file.write_at(offset, &buffer[..read])?;
                offset += read as u64;
            }
        }
        Ok(())
    }
}
