//! The dispatch table: a line per command, and what every command is called with.
//!
//! `ops/<family>.rs` has the commands themselves. A command that works on keys sees one [`Db`] and nothing else; a
//! command of the server sees the whole [`Cluster`].

mod acl;
mod bitmaps;
mod blocking;
mod client;
mod client_tracking;
mod cluster;
mod cluster_admin;
mod command;
mod config;
mod connection;
mod debug;
mod debug_values;
mod docs;
mod docs_table;
mod dump;
mod function_payload;
mod functions;
mod geo;
mod glob;
mod hashes;
mod hyperloglog;
mod info;
mod info_stats;
mod introspection;
mod key_uses;
mod keys;
mod latency;
mod lcs;
mod lists;
mod memory;
mod migrate;
mod monitor;
mod pubsub;
mod replication;
mod saving;
mod scan;
mod scripting;
mod server;
mod sets;
mod slowlog;
mod sort;
mod sorted_sets;
mod stream_claim;
mod stream_groups;
mod stream_info;
mod stream_read;
mod streams;
mod strings;
mod table;
#[cfg(test)]
mod tests;
mod transactions;
mod zrange;
mod zset_algebra;

use std::collections::HashMap;
use std::sync::OnceLock;

use atoll_kernel::{Context, Stream};

pub(crate) use client::describe as describe_client;
pub(crate) use command::{Command, Flags, Group, KeySpec, Run};
pub(crate) use debug::Switches;
pub(crate) use functions::restore_libraries;
pub(crate) use glob::glob_matches;
pub(crate) use key_uses::{KeyUse, key_uses};
pub(crate) use table::COMMANDS;

use crate::clients::SyncWish;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::error::Refusal;
use crate::state::{Db, parse_float, parse_integer};
use crate::wire::{OwnedRequest, Reply, Request};

/// What a command came to.
pub(crate) type Answer = Result<Then, Refusal>;

/// What follows a command that was not refused.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing: its reply is written.
    Done,
    /// It waits for keys. Boxed: an answer is handed on from one function to the next, and hardly any waits.
    Block(Box<Block>),
    /// It waits for replicas.
    Wait { replicas: usize, position: u64, timeout_ms: u64 },
    /// It waits for append-only files: its instance's own, and those of replicas.
    WaitForSync { wanted: SyncWish, timeout_ms: u64 },
    /// It waits until writes are let through again.
    Postpone,
    /// A script that it began goes on.
    Script,
    /// It waits until its instance wakes up again.
    Sleep { time: std::time::Duration },
    /// It waits for the snapshot of a shard.
    Save { shard: usize },
    /// It waits until the file of users is read or written.
    UserFile { writes: bool },
    /// It waits for what MIGRATE's target answers.
    Target,
    /// The connection is to be closed once the reply is out.
    Close,
}

/// What a command waits for.
#[derive(Debug)]
pub(crate) struct Block {
    /// One of these keys.
    pub(crate) keys: Vec<Vec<u8>>,
    /// Until a deadline given in milliseconds from now; 0: for ever.
    pub(crate) timeout_ms: u64,
    /// What it executes then, if that is not the request as it was sent.
    pub(crate) again: Option<OwnedRequest>,
}

/// What a write command passes on to replicas and to the append-only file.
#[derive(Debug, Default)]
pub(crate) enum Effect {
    /// The command as it was sent.
    #[default]
    AsSent,
    /// Other commands, whose outcome does not depend on chance or time.
    Instead(Vec<OwnedRequest>),
}

/// A command on keys.
pub(crate) struct Call<'a> {
    pub(crate) request: Request<'a>,
    pub(crate) db: &'a mut Db<'a>,
    pub(crate) out: Reply<'a>,
    pub(crate) random: &'a mut Stream,
    /// False inside MULTI, where a command that would wait gives up at once.
    pub(crate) may_block: bool,
    /// A script has called it.
    pub(crate) in_script: bool,
    /// The client may read keys that the request does not name.
    pub(crate) may_read_all_keys: bool,
    pub(crate) effect: Effect,
    /// Somebody takes what is passed on: replicas, or an append-only file.
    pub(crate) is_followed: bool,
}

impl<'a> Call<'a> {
    /// Argument `index`.
    #[inline]
    pub(crate) fn arg(&self, index: usize) -> &'a [u8] {
        self.request.arg(index)
    }

    /// Argument `index` as an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Refusal> {
        parse_integer(self.arg(index)).ok_or(Refusal::NotInteger)
    }

    /// Argument `index` as a floating-point number.
    pub(crate) fn float(&self, index: usize) -> Result<f64, Refusal> {
        parse_float(self.arg(index)).ok_or(Refusal::NotFloat)
    }

    /// Passes this on instead of the command itself.
    #[inline]
    pub(crate) fn instead<'b>(&mut self, arguments: impl IntoIterator<Item = &'b [u8]>) {
        if self.is_followed {
            self.pass_on(arguments);
        }
    }

    fn pass_on<'b>(&mut self, arguments: impl IntoIterator<Item = &'b [u8]>) {
        let request = OwnedRequest::new(arguments);
        match &mut self.effect {
            Effect::AsSent => self.effect = Effect::Instead(vec![request]),
            Effect::Instead(requests) => requests.push(request),
        }
    }
}

/// A command of the server.
pub(crate) struct Session<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) ctx: &'a Context<'a>,
    /// The connection's place among the clients.
    pub(crate) client: usize,
    /// The instance that it is connected to.
    pub(crate) id: InstanceId,
    pub(crate) request: Request<'a>,
    pub(crate) out: Reply<'a>,
    /// False inside MULTI and in scripts, where nothing can be waited for.
    pub(crate) may_block: bool,
}

impl<'a> Session<'a> {
    /// Argument `index`.
    pub(crate) fn arg(&self, index: usize) -> &'a [u8] {
        self.request.arg(index)
    }

    /// Argument `index` as an integer.
    pub(crate) fn integer(&self, index: usize) -> Result<i64, Refusal> {
        parse_integer(self.arg(index)).ok_or(Refusal::NotInteger)
    }

    /// True if an option such as `enable-debug-command` allows this client what it protects.
    pub(crate) fn allows(&self, option: &str) -> bool {
        match self.cluster.config.get(option) {
            Some("yes") => true,
            Some("local") => self.cluster.clients.list[self.client].peer == atoll_net::Peer::Host,
            _ => false,
        }
    }
}

/// The command of this name, in any case.
#[inline]
pub(crate) fn lookup(name: &[u8]) -> Option<&'static Command> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    INDEX.get_or_init(Index::new).get(name)
}

/// The subcommand of a container that a request names.
pub(crate) fn lookup_subcommand(container: &Command, name: &[u8]) -> Option<&'static Command> {
    let prefix = container.name.len() + 1;
    let is_it = |command: &&Command| command.name.as_bytes()[prefix..].eq_ignore_ascii_case(name);
    container.subcommands().iter().find(is_it)
}

/// A command by its name, or a subcommand by `container|subcommand`.
pub(crate) fn by_name(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => lookup(&name[..bar]).and_then(|container| lookup_subcommand(container, &name[bar + 1..])),
    }
}

/// The number of a command: its place in the table; subcommands come after all commands.
#[inline]
pub(crate) fn number_of(command: &'static Command) -> usize {
    let offset = std::ptr::from_ref(command).addr().wrapping_sub(COMMANDS.as_ptr().addr());
    let number = offset / size_of::<Command>();
    if number < COMMANDS.len() { number } else { number_of_subcommand(command) }
}

fn number_of_subcommand(command: &'static Command) -> usize {
    static NUMBERS: OnceLock<HashMap<&'static str, usize>> = OnceLock::new();
    let numbers = NUMBERS.get_or_init(|| {
        let names = COMMANDS.iter().flat_map(|command| command.subcommands()).map(|command| command.name);
        names.zip(COMMANDS.len()..).collect()
    });
    numbers.get(command.name).copied().unwrap_or_default()
}

/// How many numbers there are.
pub(crate) fn commands_count() -> usize {
    COMMANDS.len() + COMMANDS.iter().map(|command| command.subcommands().len()).sum::<usize>()
}

/// True if an argument is this word, in any case.
#[inline]
pub(crate) fn is(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// Commands by the hash of their names: open addressing over a table that is at most a quarter full.
struct Index {
    slots: Vec<u16>,
}

const VACANT: u16 = u16::MAX;

impl Index {
    fn new() -> Index {
        let mut index = Index { slots: vec![VACANT; (COMMANDS.len() * 4).next_power_of_two()] };
        for (number, command) in COMMANDS.iter().enumerate() {
            let mut slot = index.first_slot(command.name.as_bytes());
            while index.slots[slot] != VACANT {
                slot = (slot + 1) & (index.slots.len() - 1);
            }
            index.slots[slot] = number as u16;
        }
        index
    }

    #[inline]
    fn get(&self, name: &[u8]) -> Option<&'static Command> {
        let mut slot = self.first_slot(name);
        loop {
            let command = COMMANDS.get(usize::from(self.slots[slot]))?;
            if command.is_called(name) {
                return Some(command);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    /// By its length and its first and last four letters, in lower case, in which nearly all names differ.
    #[inline]
    fn first_slot(&self, name: &[u8]) -> usize {
        let lower = |letters: &[u8; 4]| u64::from(u32::from_le_bytes(*letters) | 0x2020_2020);
        let ends = match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => lower(first) << 32 | lower(last),
            _ => name.iter().fold(0, |letters, letter| letters << 8 | u64::from(letter | 0x20)),
        };
        // Fibonacci hashing: the upper bits depend on all others.
        let mixed = (ends ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - self.slots.len().trailing_zeros())) as usize
    }
}
