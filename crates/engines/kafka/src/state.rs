//! What the cluster is made of, and what always holds of it.
//!
//! - [`image`]: metadata, as the controller has committed it and as each broker has seen it. A broker's image is a prefix of
//!   the controller's log.
//! - [`partition`]: a partition's replicas, and which of them believe to lead. Two can believe it, never in the same epoch.
//! - [`tree`]: the batches of all replicas, each stored once. Two replicas agree on every offset below where their paths part.
//! - [`producers`]: what idempotent producers have written, for each branch.

pub mod image;
pub mod partition;
pub mod producers;
pub mod tree;
