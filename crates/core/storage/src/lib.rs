//! Everything durable: the segmented log and the key-value store, over the kernel's disk.
//!
//! Start here:
//! - [`log`]: an append-only file in segments, with checksums, group commit and torn-tail recovery. Kafka's partitions and the
//!   Redis append-only file are logs.
//! - [`sync`]: when to sync ([`SyncPolicy`]), and a thread that does it, so that an event loop never waits for a disk.
//! - [`kv`]: keys and values in order, with atomic batches. Kubernetes objects and metadata are kept in it.
//! - [`FileDisk`] and [`DataDirectory`]: the door to `std::fs`. In tests and with `--ephemeral`, logs use the kernel's
//!   [`MemoryDisk`](atoll_kernel::disk::MemoryDisk) instead and know no difference.
//!
//! Invariants: a length that was read from a file never sizes an allocation before that many bytes are known to be there. No
//! clock is read here: times come from the caller. Only `file_disk.rs`, `data_directory.rs` and `kv.rs` touch the file system.

mod data_directory;
mod file_disk;
#[cfg(feature = "kv")]
pub mod kv;
pub mod log;
pub mod sync;
#[cfg(test)]
mod tests;

pub use data_directory::{DataDirectory, DataDirectoryError, FORMAT_VERSION};
pub use file_disk::FileDisk;
pub use log::{Log, LogConfig, LogError, Record};
pub use sync::{SyncPolicy, SyncSchedule, Syncer};
