//! A Kubernetes API server with its controllers, scheduler and kubelets, in one process.
//!
//! Unmodified `kubectl` and client libraries work with it as with Kubernetes 1.33; what is there and what is missing stands
//! in COVERAGE.md. Start here:
//! - [`Kubernetes::start`] in `handle.rs`: what the binary calls; [`Client`] is for other parts of the process.
//! - [`Cluster`] in `cluster.rs`: the synchronous core, with its caller's contract.
//! - `resources.rs`: the dispatch table, one row per resource. `schema/types.txt`: the shape of every kind.
//!
//! | module | what |
//! | --- | --- |
//! | `state` | objects, versions, the history of events |
//! | `registry`, `admission`, `defaults`, `validation` | what a write means |
//! | `apply`, `patch` | server-side apply with its field owners; the three older patches |
//! | `api`, `table`, `discovery`, `openapi` | requests to replies |
//! | `controllers` | pure functions from a view of the state to actions |
//! | `kubelet`, `runtime` | pods on nodes, through the trait [`PodRuntime`] |
//! | `authorization`, `token` | users, service accounts, role-based access control |
//! | `server` | the only async file |
//!
//! Invariants: the core does no I/O and reads no clock. Objects are JSON values, and fields that nobody here interprets
//! survive. No loop polls: every piece of work comes from a change, a fault, the runtime or a timer that somebody asked for.

mod admission;
mod api;
mod apply;
mod authorization;
mod bootstrap;
mod cluster;
mod controllers;
mod defaults;
mod discovery;
mod error;
mod events;
mod handle;
mod kubelet;
mod object;
mod openapi;
mod patch;
mod persistence;
mod quantity;
mod registry;
mod resources;
mod runtime;
mod schema;
mod selector;
mod server;
mod settings;
mod state;
mod table;
mod time;
mod token;
mod validation;

#[cfg(test)]
mod tests;

pub use api::{Reply, Request};
pub use authorization::User;
pub use cluster::{Cluster, NodeState, Power};
pub use error::{Reason, Status};
pub use handle::{
    Applied, ApplyError, Changes, Client, Config, Kubeconfig, Kubernetes, LogOptions, Outcome, Subscription, is_present,
};
pub use persistence::{Change, Ephemeral, KeyValue, Persistence, Saved};
pub use resources::{RESOURCES, Resource, ResourceId, Subresource};
pub use runtime::{
    Command, ContainerId, ContainerSpec, EventSink, LogQuery, Mount, PodId, PodRuntime, PodSpec, ProbeAction,
    ProjectedFile, RuntimeEvent, StartFailure, Volume, VolumeSource,
};
pub use settings::{NodeSettings, Settings};
pub use state::{Event, EventKind, HISTORY_EVENTS_MAX, Key, Store};
