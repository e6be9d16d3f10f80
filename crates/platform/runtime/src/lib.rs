//! Pods as isolated process trees, without root or Docker.
//!
//! A pod is a process tree in its own user, mount, PID, UTS, IPC and network namespaces. Its network namespace has only
//! `lo`; nf_tables redirects every outbound connection to a listener that was opened *inside* and whose descriptor is
//! handed out ([`PodNetwork`]), and connections into the pod use sockets made inside ([`Runtime::dial`]). So there is no
//! bridge, no veth and no root; whoever holds the descriptors (the mesh) is the pod's only way out, and knows for
//! certain which pod speaks.
//!
//! Start with [`Runtime`]. What runs on the other side of the fence is [`pod_init_main`]: the hidden subcommand
//! `pod-init`, a process of its own, spoken with over the channel of `control`. Then:
//!
//! | module | what |
//! | --- | --- |
//! | `runtime`, `pod`, `spawner` | Atoll's side: what was asked for, what is running, what ended |
//! | `init`, `init::container`, `init::roots` | the pod's side: namespaces, containers, their root directories |
//! | `netlink` | address, routes and redirects of a fresh network namespace, without `ip` and `nft` |
//! | `cgroups`, `janitor` | CPU and memory limits, version 1 and 2; and who removes the groups after `kill -9` |
//! | `logs`, `volumes`, `images` | files: output, mounts, and which command stands for which image |

mod cgroups;
mod config;
mod control;
mod images;
mod init;
mod janitor;
mod logs;
mod netlink;
mod pod;
mod runtime;
mod spawner;
mod volumes;

#[cfg(test)]
mod tests;

pub use config::{
    ContainerConfig, Event, Exit, Mount, PodConfig, ProjectedFile, Resources, RuntimeConfig, RuntimeError, Started,
    Volume,
};
pub use images::{Images, LocalCommand};
pub use init::pod_init_main;
pub use janitor::pod_janitor_main;
pub use logs::LogOptions;
pub use pod::PodNetwork;
pub use runtime::{Capabilities, ExecOutcome, Runtime};
