//! Tests by what they are about; the model of the log is in `model.rs`.

mod data_directory;
mod disk;
#[cfg(feature = "kv")]
mod kv;
mod log;
mod model;
mod sync;
mod torn_tail;

use std::sync::Arc;

use atoll_kernel::disk::{Disk, MemoryDisk};

use crate::log::{Log, LogConfig, LogError};

/// Segments so small that a handful of records fills one.
fn small() -> LogConfig {
    LogConfig { segment_bytes: 200, record_bytes_max: 4096, buffer_bytes: 120 }
}

fn open(disk: &MemoryDisk, config: LogConfig) -> Log {
    try_open(disk, config).expect("opens")
}

fn try_open(disk: &MemoryDisk, config: LogConfig) -> Result<Log, LogError> {
    Log::open(Arc::new(disk.clone()) as Arc<dyn Disk>, "log", config)
}

fn payloads(log: &Log) -> Vec<Vec<u8>> {
    log.records(log.start()).map(|record| record.expect("readable").payload.to_vec()).collect()
}

fn append(log: &mut Log, payload: &[u8]) -> u64 {
    log.append(0, &[payload]).expect("appends")
}
