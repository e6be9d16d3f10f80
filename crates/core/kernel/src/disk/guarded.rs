//! Faults for any disk: a switch that says how the disk is, and a disk that asks the switch before each operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::{Disk, DiskError, DiskFile, Open, Operation};
use crate::node::DiskHealth;

/// How a disk is at present. Shared by whoever injects faults and the disk that shows them.
#[derive(Debug, Default)]
pub struct DiskSwitch {
    /// One bit for each failing operation, and one for a full disk.
    faults: AtomicU8,
    latency_ns: AtomicU64,
}

const FULL: u8 = 1;

fn bit(operation: Operation) -> u8 {
    match operation {
        Operation::Read => 2,
        Operation::Write => 4,
        Operation::Sync => 8,
    }
}

impl DiskSwitch {
    /// Puts the disk into one of the kernel's states, replacing whatever it was in.
    pub fn set(&self, health: DiskHealth) {
        let (faults, latency) = match health {
            DiskHealth::Ok => (0, Duration::ZERO),
            DiskHealth::Full => (FULL, Duration::ZERO),
            DiskHealth::Failing => {
                (bit(Operation::Read) | bit(Operation::Write) | bit(Operation::Sync), Duration::ZERO)
            }
            DiskHealth::Slow(latency) => (0, latency),
        };
        self.faults.store(faults, Ordering::Relaxed);
        self.latency_ns.store(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Makes one kind of operation fail, or work again.
    pub fn fail(&self, operation: Operation, failing: bool) {
        if failing {
            self.faults.fetch_or(bit(operation), Ordering::Relaxed);
        } else {
            self.faults.fetch_and(!bit(operation), Ordering::Relaxed);
        }
    }

    /// How much longer an operation takes at present.
    pub fn latency(&self) -> Duration {
        Duration::from_nanos(self.latency_ns.load(Ordering::Relaxed))
    }

    /// The error that an operation meets at present, if any.
    pub fn check(&self, operation: Operation) -> Result<(), DiskError> {
        let faults = self.faults.load(Ordering::Relaxed);
        if faults & bit(operation) != 0 {
            return Err(DiskError::Failing(operation));
        }
        if faults & FULL != 0 && operation == Operation::Write {
            return Err(DiskError::Full);
        }
        Ok(())
    }
}

/// A disk in front of another that fails when its switch says so.
#[derive(Debug)]
pub struct GuardedDisk {
    inner: Arc<dyn Disk>,
    switch: Arc<DiskSwitch>,
}

impl GuardedDisk {
    /// A disk that behaves as `inner`, except where `switch` says otherwise.
    pub fn new(inner: Arc<dyn Disk>, switch: Arc<DiskSwitch>) -> GuardedDisk {
        GuardedDisk { inner, switch }
    }
}

impl Disk for GuardedDisk {
    fn open(&self, path: &str, how: Open) -> Result<Arc<dyn DiskFile>, DiskError> {
        // Opening what is there needs no space; making a file does, but only its first byte is charged for.
        self.switch.check(Operation::Read)?;
        let inner = self.inner.open(path, how)?;
        Ok(Arc::new(GuardedFile { inner, switch: Arc::clone(&self.switch) }))
    }

    fn create_directory(&self, path: &str) -> Result<(), DiskError> {
        self.switch.check(Operation::Write)?;
        self.inner.create_directory(path)
    }

    fn list(&self, directory: &str) -> Result<Vec<String>, DiskError> {
        self.switch.check(Operation::Read)?;
        self.inner.list(directory)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.switch.check(Operation::Write)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        // A full disk must let files be removed, or it would stay full.
        self.switch.check(Operation::Read)?;
        self.inner.remove(path)
    }

    fn remove_directory(&self, path: &str) -> Result<(), DiskError> {
        self.switch.check(Operation::Read)?;
        self.inner.remove_directory(path)
    }

    fn sync_directory(&self, path: &str) -> Result<(), DiskError> {
        self.switch.check(Operation::Sync)?;
        self.inner.sync_directory(path)
    }

    fn latency(&self) -> Duration {
        self.inner.latency().saturating_add(self.switch.latency())
    }
}

#[derive(Debug)]
struct GuardedFile {
    inner: Arc<dyn DiskFile>,
    switch: Arc<DiskSwitch>,
}

impl DiskFile for GuardedFile {
    fn length(&self) -> Result<u64, DiskError> {
        self.switch.check(Operation::Read)?;
        self.inner.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        self.switch.check(Operation::Read)?;
        self.inner.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.switch.check(Operation::Write)?;
        self.inner.write_at(offset, bytes)
    }

    fn truncate(&self, length: u64) -> Result<(), DiskError> {
        // Cutting frees space, so only a failing disk refuses it; an extension that finds no space fails underneath.
        self.switch.check(Operation::Read)?;
        self.inner.truncate(length)
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.switch.check(Operation::Sync)?;
        self.inner.sync()
    }
}
