//! `atoll.yaml`: what a stack consists of.
//!
//! Start at [`parse_stack`]. The text becomes a tree in which every key and value knows its place (`tree.rs`); `schema.rs`
//! reads the tree into a [`StackFile`] and collects every [`Problem`] instead of stopping at the first; `report.rs` shows
//! problems with the lines they are in. Input is bounded in size and depth, and nothing here panics on any text.
//!
//! This file is a `mod.rs`, so that the fuzz target can take the module by its path.

use std::collections::BTreeMap;

mod report;
mod schema;
#[cfg(test)]
mod tests;
mod tree;

pub use report::failure;

/// The longest stack file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// The most nodes that a stack has: `127.k.0.n` and `10.240.0.n` leave room for more, a machine hardly does.
pub const NODES_MAX: usize = 64;
/// The version of the stack file that is understood.
pub const API_VERSION: &str = "atoll.dev/v1alpha1";

/// Reads a stack file. `text` may be anything.
///
/// # Errors
/// Every problem found, in the order of their places, at most [`Problem::MANY`].
pub fn parse_stack(text: &str) -> Result<StackFile, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        return Err(vec![Problem { message, hint: None, place: Place::START }]);
    }
    let root = tree::parse(text).map_err(|problem| vec![problem])?;
    schema::read(&root)
}

/// What a stack file says.
#[derive(Clone, Debug, PartialEq)]
pub struct StackFile {
    /// `metadata.name`.
    pub name: Option<String>,
    /// The virtual nodes, first to last. Never empty.
    pub nodes: Vec<NodeEntry>,
    /// The seed of every random decision.
    pub seed: Option<u64>,
    /// True if nothing is kept on disk.
    pub ephemeral: bool,
    /// Every engine, named in the file or not.
    pub engines: BTreeMap<Engine, EngineEntry>,
    /// Images that resolve to a command on this machine, by name.
    pub images: BTreeMap<String, ImageEntry>,
    /// Files or folders of manifests to apply at start, relative to the stack file.
    pub manifests: Vec<String>,
}

impl Default for StackFile {
    /// Three nodes and every engine: what `atoll up` starts without a file.
    fn default() -> Self {
        StackFile {
            name: None,
            nodes: vec![NodeEntry::default(); 3],
            seed: None,
            ephemeral: false,
            engines: Engine::ALL.iter().map(|engine| (*engine, EngineEntry::embedded())).collect(),
            images: BTreeMap::new(),
            manifests: Vec::new(),
        }
    }
}

/// One virtual node. What is None is chosen by the kernel: region `local`, a zone of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeEntry {
    /// `topology.kubernetes.io/region`.
    pub region: Option<String>,
    /// `topology.kubernetes.io/zone`; Kafka's rack.
    pub zone: Option<String>,
}

/// A part of the stack that can be configured, replaced by an external one, or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// The Redis Cluster.
    Redis,
    /// The Kafka cluster.
    Kafka,
    /// The Kubernetes API, its nodes' pods, and the mesh.
    Kubernetes,
}

impl Engine {
    /// Every engine, in the order in which they start.
    pub const ALL: &'static [Engine] = &[Engine::Redis, Engine::Kafka, Engine::Kubernetes];

    /// The name in stack files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Redis => "redis",
            Engine::Kafka => "kafka",
            Engine::Kubernetes => "kubernetes",
        }
    }
}

/// How one engine is had.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineEntry {
    /// Inside this process, with options under their real names.
    Embedded {
        /// In the order of the file.
        config: Vec<OptionEntry>,
    },
    /// Somebody else's: nothing is embedded, programs are given this address.
    External {
        /// `host:port`, or several with commas between them; for Kubernetes a kubeconfig file.
        address: String,
    },
    /// Not part of this stack.
    Disabled,
}

impl EngineEntry {
    /// Embedded with the real system's defaults.
    pub fn embedded() -> Self {
        EngineEntry::Embedded { config: Vec::new() }
    }
}

/// One option of an engine.
#[derive(Clone, Debug, PartialEq)]
pub struct OptionEntry {
    /// The real system's name: `min.insync.replicas`, `appendfsync`.
    pub name: String,
    /// The value as written.
    pub value: String,
    /// Where the name stands.
    pub name_place: Place,
    /// Where the value stands.
    pub value_place: Place,
}

/// What an image name stands for on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Program and arguments.
    pub command: Vec<String>,
    /// The working directory, relative to the stack file.
    pub workdir: Option<String>,
    /// Variables that every container of this image has.
    pub env: BTreeMap<String, String>,
}

/// A place in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// How long it is, in bytes.
    pub length: usize,
}

impl Place {
    const START: Place = Place { line: 1, column: 1, offset: 0, length: 0 };
}

/// What is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What, in a sentence without a full stop.
    pub message: String,
    /// What it should be.
    pub hint: Option<String>,
    /// Where.
    pub place: Place,
}

impl Problem {
    /// How many problems are collected before reading stops: past that they help nobody.
    pub const MANY: usize = 20;
}
