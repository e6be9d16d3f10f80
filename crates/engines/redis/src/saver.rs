//! Snapshots on their way to files. A thread writes them, so that no client waits for the disk.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::mpsc as blocking;
use std::thread;

use atoll_kernel::Context;
use atoll_kernel::disk::{Disk, DiskError, DiskFile, Open, join, read_file, replace_file};
use atoll_net::Host;
use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::{Cluster, SavePart};

/// With `rdb-save-incremental-fsync`, after how many bytes a snapshot is synced, as in Redis: the disk has a little to do all the time
/// and not everything at the end, when everybody who wants it would wait.
const SYNC_EVERY: u64 = 4 << 20;
/// Where all files of this engine are.
const DIRECTORY: &str = "redis";

/// What the thread has to say.
#[derive(Debug)]
pub(crate) enum News {
    /// These bytes have reached a file, or have been given up. They go back to whoever made them: freed here, they would take a
    /// lock of the allocator, and this thread may have to wait for the processor with it.
    Written(Vec<u8>),
    /// A shard's snapshot is durable, or has failed.
    Ended { shard: usize, is_good: bool },
}

/// The thread that writes snapshots.
pub(crate) struct Saver {
    work: Option<blocking::Sender<Work>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// What is to be written; where to is said with the first part of a file.
struct Work {
    part: SavePart,
    place: Option<Place>,
}

/// The directory and the name of a shard's snapshot, and how it gets there.
struct Place {
    directory: String,
    name: String,
    /// `rdb-save-incremental-fsync`.
    syncs_often: bool,
}

impl Place {
    /// A single server has one file; the shards of a cluster have a directory each, as its servers would.
    fn new(config: &Config, shard: usize) -> Place {
        let name = config.get("dbfilename").unwrap_or_default().to_owned();
        let is_cluster = config.settings.is_cluster;
        let directory = if is_cluster { format!("{DIRECTORY}/shard-{shard}") } else { DIRECTORY.to_owned() };
        Place { directory, name, syncs_often: config.get("rdb-save-incremental-fsync") == Some("yes") }
    }

    fn path(&self) -> String {
        join(&self.directory, &self.name)
    }

    fn temporary(&self) -> String {
        join(&self.directory, &format!("temp-{}", self.name))
    }
}

impl Saver {
    pub(crate) fn start(disk: Arc<dyn Disk>, news: mpsc::UnboundedSender<News>) -> io::Result<Saver> {
        let (work, parts) = blocking::channel();
        let thread =
            thread::Builder::new().name("redis-save".to_owned()).spawn(move || write(&*disk, &parts, &news))?;
        Ok(Saver { work: Some(work), thread: Some(thread) })
    }

    /// Hands on what the core has of snapshots; it does not give more than a limit at a time.
    pub(crate) fn submit(&self, cluster: &mut Cluster) {
        for part in cluster.take_save_parts() {
            let place = part.is_first.then(|| Place::new(&cluster.config, part.shard));
            if let Some(work) = &self.work {
                // The thread is there for as long as this is.
                let _ = work.send(Work { part, place });
            }
        }
    }

    /// Waits for the thread, and with `save` points writes everything once more, as SHUTDOWN does.
    pub(crate) fn close(&mut self, cluster: &Cluster, ctx: &Context<'_>, disk: &dyn Disk) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if !cluster.has_save_points() {
            return;
        }
        for (shard, file) in cluster.snapshots(ctx) {
            let place = Place::new(&cluster.config, shard);
            // There is nobody left to be told; what was saved before is still there.
            let _ = disk.create_directory(&place.directory);
            let _ = replace_file(disk, &place.directory, &place.name, &file);
        }
    }
}

/// A snapshot that is being written.
struct Unfinished {
    place: Place,
    file: Arc<dyn DiskFile>,
    end: u64,
    synced: u64,
}

impl Unfinished {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_at(self.end, bytes)?;
        self.end += bytes.len() as u64;
        if self.place.syncs_often && self.end - self.synced >= SYNC_EVERY {
            self.file.sync()?;
            self.synced = self.end;
        }
        Ok(())
    }
}

/// The thread.
fn write(disk: &dyn Disk, work: &blocking::Receiver<Work>, news: &mpsc::UnboundedSender<News>) {
    give_way();
    let mut files: BTreeMap<usize, Unfinished> = BTreeMap::new();
    for Work { part: SavePart { shard, bytes, is_last, .. }, place } in work {
        if let Some(begun) = place.and_then(|place| begin(disk, place).ok()) {
            files.insert(shard, begun);
        }
        let written = files.get_mut(&shard).is_some_and(|begun| begun.append(&bytes).is_ok());
        if !written {
            files.remove(&shard);
        }
        let _ = news.send(News::Written(bytes));
        if is_last {
            let is_good = files.remove(&shard).is_some_and(|begun| finish(disk, &begun).is_ok());
            let _ = news.send(News::Ended { shard, is_good });
        }
    }
}

/// Lets everybody else have the processor first. It still gets a little of one that others always want, so snapshots come to an end.
fn give_way() {
    const LAST: libc::c_int = 19;
    // SAFETY: it changes the priority of the calling thread. If it fails, snapshots are written as before.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, nix::unistd::gettid().as_raw().cast_unsigned(), LAST) };
}

fn begin(disk: &dyn Disk, place: Place) -> Result<Unfinished, DiskError> {
    disk.create_directory(&place.directory)?;
    let file = disk.open(&place.temporary(), Open::Create)?;
    file.truncate(0)?;
    Ok(Unfinished { place, file, end: 0, synced: 0 })
}

fn finish(disk: &dyn Disk, Unfinished { place, file, .. }: &Unfinished) -> Result<(), DiskError> {
    file.sync()?;
    disk.rename(&place.temporary(), &place.path())?;
    disk.sync_directory(&place.directory)
}

/// Reads the snapshots that are there. A cluster without any reads one that a single server has left in the directory
/// above, and gives each shard what belongs to it. Says where all that is: `dir`. With an append-only file nothing is read: it knows better.
pub(crate) fn load(host: &Host, cluster: &mut Cluster, shards: usize) -> io::Result<()> {
    if let Some(root) = &host.data_directory {
        cluster.set_directory(root.join(DIRECTORY).display().to_string());
    }
    if cluster.config.settings.has_log {
        return Ok(());
    }
    let ctx = Context::new(&host.kernel);
    let mut found = 0;
    for shard in 0..shards {
        let path = Place::new(&cluster.config, shard).path();
        found += usize::from(load_file(host, cluster, &ctx, &path, Some(shard))?);
    }
    if found == 0 && cluster.config.settings.is_cluster {
        let name = cluster.config.get("dbfilename").unwrap_or_default().to_owned();
        load_file(host, cluster, &ctx, &join(DIRECTORY, &name), None)?;
    }
    Ok(())
}

fn load_file(
    host: &Host,
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    path: &str,
    shard: Option<usize>,
) -> io::Result<bool> {
    let Some(file) = read_file(&*host.disk, path, usize::MAX).map_err(io::Error::other)? else { return Ok(false) };
    cluster.load_snapshot(ctx, shard, &file).map_err(|error| io::Error::other(format!("{path}: {error}")))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use atoll_kernel::disk::{Keep, MemoryDisk};

    use super::*;

    /// How much of nine megabytes is there after a power failure in the middle of a snapshot.
    fn kept(syncs_often: bool) -> u64 {
        let disk = MemoryDisk::simulated();
        let place = Place { directory: DIRECTORY.to_owned(), name: "dump.rdb".to_owned(), syncs_often };
        let path = place.temporary();
        let mut begun = begin(&disk, place).expect("the disk is well");
        disk.sync_directory("").and_then(|()| disk.sync_directory(DIRECTORY)).expect("the disk is well");
        for _ in 0..9 {
            begun.append(&[b'x'; 1 << 20]).expect("the disk is well");
        }
        disk.power_loss(Keep::Synced);
        disk.open(&path, Open::Existing).and_then(|file| file.length()).expect("its name was synced")
    }

    #[test]
    fn a_snapshot_is_synced_while_it_is_written() {
        assert_eq!(kept(true), 8 << 20);
        assert_eq!(kept(false), 0);
    }
}
