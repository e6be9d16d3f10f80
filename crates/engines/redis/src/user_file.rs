//! `aclfile`: the users of each instance on disk, read at the start and with ACL LOAD, written with ACL SAVE.

use std::io;

use atoll_kernel::disk::{Disk, DiskError, join, read_file, replace_file};
use atoll_kernel::{Context, DiskHealth};
use atoll_net::Host;

use crate::core::{Cluster, UserFileWish};

const DIRECTORY: &str = "redis";
/// A larger file is not read.
const SIZE_MAX: usize = 64 << 20;

/// A single server has its file where `dump.rdb` is; the instances of a cluster have a directory each.
fn directory(cluster: &Cluster, instance: usize) -> String {
    if cluster.config.settings.is_cluster { format!("{DIRECTORY}/instance-{instance}") } else { DIRECTORY.to_owned() }
}

/// The file of one instance. One that has none of its own reads the one in the directory above.
fn read(cluster: &Cluster, disk: &dyn Disk, instance: usize) -> Result<Vec<u8>, String> {
    let name = &cluster.config.settings.acl.file;
    for directory in [directory(cluster, instance).as_str(), DIRECTORY] {
        match read_file(disk, &join(directory, name), SIZE_MAX) {
            Ok(Some(text)) => return Ok(text),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Err("No such file or directory".to_owned())
}

fn write(cluster: &Cluster, ctx: &Context<'_>, disk: &dyn Disk, wish: &UserFileWish) -> Result<(), DiskError> {
    match ctx.disk(cluster.instances[wish.instance].node) {
        DiskHealth::Full => return Err(DiskError::Full),
        DiskHealth::Failing => return Err(DiskError::Failing(atoll_kernel::disk::Operation::Write)),
        DiskHealth::Ok | DiskHealth::Slow(_) => {}
    }
    let directory = directory(cluster, wish.instance);
    disk.create_directory(&directory)?;
    replace_file(disk, &directory, &cluster.config.settings.acl.file, wish.text.as_deref().unwrap_or_default())
}

/// Does what the core wishes. True if it had wishes.
pub(crate) fn serve(cluster: &mut Cluster, ctx: &Context<'_>, disk: &dyn Disk) -> bool {
    let wishes = cluster.take_user_file_wishes();
    let had_any = !wishes.is_empty();
    for wish in wishes {
        let outcome = match &wish.text {
            Some(_) => write(cluster, ctx, disk, &wish).map(|()| Vec::new()).map_err(|error| error.to_string()),
            None => read(cluster, disk, wish.instance),
        };
        cluster.user_file_done(wish, outcome);
    }
    had_any
}

/// Checks the users of the configuration, and reads those of files. What is wrong with them keeps the engine from starting,
/// as it does in Redis.
pub(crate) fn load(host: &Host, cluster: &mut Cluster) -> io::Result<()> {
    cluster.config.check_users().map_err(io::Error::other)?;
    if cluster.config.settings.acl.file.is_empty() {
        return Ok(());
    }
    for instance in 0..cluster.instances.len() {
        let name = cluster.config.settings.acl.file.clone();
        let text = read(cluster, &*host.disk, instance)
            .map_err(|reason| format!("Error loading ACLs, opening file '{name}': {reason}"));
        text.and_then(|text| cluster.begin_with_users(instance, text))
            .map_err(|errors| io::Error::other(format!("Aborting Redis startup because of ACL errors: {errors}")))?;
    }
    Ok(())
}
