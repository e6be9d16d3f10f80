//! `redis/nodes.json`: the configuration of the cluster on disk, replaced as a whole whenever it has changed.

use std::sync::Arc;

use atoll_kernel::Context;
use atoll_kernel::disk::{Disk, DiskError, Open};

use crate::core::Cluster;

const DIRECTORY: &str = "redis";
const PATH: &str = "redis/nodes.json";
const NEW_PATH: &str = "redis/nodes.json.new";
/// A larger file is not one of ours.
const SIZE_MAX: u64 = 16 << 20;

/// The file, and what it was last given.
pub(crate) struct NodesFile {
    disk: Arc<dyn Disk>,
    saved: Vec<u8>,
}

impl NodesFile {
    /// Reads the file into the cluster. Without one, or with one of another stack, the cluster is as it begins.
    pub(crate) fn open(disk: Arc<dyn Disk>, cluster: &mut Cluster, ctx: &Context<'_>) -> NodesFile {
        let saved = read(&disk).unwrap_or_default();
        let is_ours = !saved.is_empty() && cluster.restore_configuration(ctx, &saved);
        NodesFile { disk, saved: if is_ours { saved } else { Vec::new() } }
    }

    /// Writes the configuration if it has changed. What fails is tried again with the next change.
    pub(crate) fn save(&mut self, cluster: &mut Cluster) {
        if !std::mem::take(&mut cluster.wants_saving) {
            return;
        }
        let Some(present) = cluster.configuration().filter(|present| *present != self.saved) else { return };
        match write(&self.disk, &present) {
            Ok(()) => self.saved = present,
            Err(_) => cluster.wants_saving = true,
        }
    }
}

fn read(disk: &Arc<dyn Disk>) -> Result<Vec<u8>, DiskError> {
    let file = disk.open(PATH, Open::Existing)?;
    let length = file.length()?.min(SIZE_MAX);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn write(disk: &Arc<dyn Disk>, bytes: &[u8]) -> Result<(), DiskError> {
    disk.create_directory(DIRECTORY)?;
    let file = disk.open(NEW_PATH, Open::Create)?;
    file.truncate(0)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.rename(NEW_PATH, PATH)?;
    disk.sync_directory(DIRECTORY)
}
