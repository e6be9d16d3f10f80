//! Connections as the core knows them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use atoll_kernel::Moment;
use atoll_net::Peer;
use slab::Slab;

use crate::acl::User;
use crate::cluster::InstanceId;
use crate::ops::Command;
use crate::replication::{Replica, Stage};
use crate::state::Blob;
use crate::tracking::Tracking;
use crate::wire::OwnedRequest;

/// Names a connection: its place, and its number, which no other connection ever has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    pub(crate) place: usize,
    pub(crate) number: u64,
}

/// From where an instance is asked for its own address or another's, and over what: the answer is one to be reached there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) peer: Peer,
    /// Over TLS: ports are those for TLS.
    pub(crate) is_tls: bool,
}

/// Which replies a client wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replies {
    On,
    Off,
    /// Not the reply to the next command.
    SkipNext,
    /// Not the reply to this command.
    Skip,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) number: u64,
    pub(crate) instance: InstanceId,
    pub(crate) peer: Peer,
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// It came over TLS.
    pub(crate) is_tls: bool,
    pub(crate) name: Vec<u8>,
    pub(crate) library: Vec<u8>,
    pub(crate) library_version: Vec<u8>,
    pub(crate) is_resp3: bool,
    pub(crate) user: Rc<User>,
    /// There is nothing that its user may not do: nothing has to be looked up.
    pub(crate) is_unrestricted: bool,
    pub(crate) is_authenticated: bool,
    pub(crate) database: usize,
    pub(crate) reads_replica: bool,
    pub(crate) is_asking: bool,
    pub(crate) no_evict: bool,
    pub(crate) no_touch: bool,
    pub(crate) replies: Replies,
    pub(crate) transaction: Option<Box<Transaction>>,
    pub(crate) watched: Vec<(usize, Blob)>,
    /// What the instance's clock showed, in milliseconds, when it began to.
    pub(crate) watched_since_ms: i64,
    /// A watched key has changed.
    pub(crate) is_dirty: bool,
    pub(crate) blocked: Option<Box<Blocked>>,
    pub(crate) channels: usize,
    pub(crate) patterns: usize,
    pub(crate) shard_channels: usize,
    pub(crate) connected_at: Moment,
    pub(crate) used_at: Moment,
    /// The command that was executed last for it.
    pub(crate) last: Option<&'static Command>,
    /// What it asked for with CLIENT TRACKING.
    pub(crate) tracking: Option<Box<Tracking>>,
    /// How many bytes wait for it to read them: CLIENT LIST and `maxmemory-clients` speak of the same.
    pub(crate) output: usize,
    /// The position after its last write, for WAIT.
    pub(crate) write_position: u64,
    pub(crate) is_closing: bool,
    /// It sees every command: MONITOR.
    pub(crate) is_monitor: bool,
    /// A script of its is executing a command.
    pub(crate) in_script: bool,
    /// How long its command has been executed that waits now.
    pub(crate) spent_ns: u64,
    /// It is the connection to the real master that its instance follows.
    pub(crate) is_master: bool,
    /// What it has said of itself as a replica, and how far it is as one.
    pub(crate) replica: Option<Box<Replica>>,
    /// The sizes of its buffers: for what its connection has read, and for what it is to write.
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes: usize,
    /// What it was last counted as.
    pub(crate) counted_bytes: u64,
}

/// Commands that MULTI has queued.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    pub(crate) queue: Vec<OwnedRequest>,
    pub(crate) size: usize,
    /// A command was refused, so EXEC will be.
    pub(crate) is_refused: bool,
}

/// What a client waits for.
#[derive(Debug)]
pub(crate) struct Blocked {
    pub(crate) on: BlockedOn,
    pub(crate) deadline: Option<Moment>,
}

/// What WAITAOF waits for: everything up to a position on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SyncWish {
    /// On its own instance's.
    pub(crate) is_local: bool,
    /// On those of so many replicas.
    pub(crate) replicas: usize,
    pub(crate) position: u64,
}

impl SyncWish {
    pub(crate) fn is_met_by(&self, (is_local, replicas): (bool, usize)) -> bool {
        is_local >= self.is_local && replicas >= self.replicas
    }
}

#[derive(Debug)]
pub(crate) enum BlockedOn {
    /// One of these keys; then the request is executed again.
    Keys { keys: Vec<(usize, Blob)>, request: OwnedRequest },
    /// The end of a manual failover or of CLIENT PAUSE; then the request is executed.
    Postponed { request: OwnedRequest },
    /// So many replicas at this position.
    Replicas { wanted: usize, position: u64 },
    /// The append-only files.
    Syncs(SyncWish),
    /// The end of DEBUG SLEEP.
    Sleep,
    /// Its own script, which is slow.
    Script,
    /// The snapshot of this shard.
    Save { shard: usize },
    /// The file of users.
    UserFile,
    /// The answers of MIGRATE's target.
    Target,
}

impl BlockedOn {
    /// What it waits for goes on without it, whatever becomes of its wait: a script, a file, a connection elsewhere.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, BlockedOn::Script | BlockedOn::UserFile | BlockedOn::Target)
    }

    /// It may end when a replica acknowledges or a disk is synced.
    fn is_about_replication(&self) -> bool {
        matches!(self, BlockedOn::Replicas { .. } | BlockedOn::Syncs(_))
    }
}

impl Client {
    pub(crate) fn access(&self) -> Access {
        Access { peer: self.peer, is_tls: self.is_tls }
    }

    /// The name of the command that was executed last, as CLIENT LIST shows it.
    #[inline]
    pub(crate) fn last_command(&self) -> &'static str {
        self.last.map_or("NULL", |command| command.name)
    }

    /// What CLIENT LIST shows after `flags=`.
    pub(crate) fn flags(&self) -> String {
        let subscribed = self.subscriptions() > 0;
        let tracking = self.tracking.as_deref();
        let flags: String = [
            (self.is_monitor, 'O'),
            (self.is_master, 'M'),
            (self.is_replica(), 'S'),
            (subscribed, 'P'),
            (self.transaction.is_some(), 'x'),
            (self.blocked.is_some(), 'b'),
            (tracking.is_some(), 't'),
            (tracking.is_some_and(|tracking| tracking.is_broken), 'R'),
            (tracking.is_some_and(|tracking| tracking.broadcasts), 'B'),
            (self.is_dirty, 'd'),
            (self.is_closing, 'c'),
            (self.reads_replica, 'r'),
            (self.no_evict, 'e'),
            (self.no_touch, 'T'),
        ]
        .into_iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, flag)| flag)
        .collect();
        if flags.is_empty() { "N".to_owned() } else { flags }
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.stage != Stage::Announced)
    }

    /// It is this user from now on.
    pub(crate) fn become_user(&mut self, user: Rc<User>, is_authenticated: bool) {
        self.is_unrestricted = user.is_unrestricted();
        self.is_authenticated = is_authenticated;
        self.user = user;
    }

    pub(crate) fn subscriptions(&self) -> usize {
        self.channels + self.patterns + self.shard_channels
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) list: Slab<Client>,
    pub(crate) last_number: u64,
    /// Blocked clients by their deadlines.
    pub(crate) deadlines: std::collections::BTreeSet<(Moment, usize)>,
    pub(crate) blocked: usize,
    /// How many clients wait for replicas or for append-only files.
    pub(crate) waiting: usize,
}

impl Clients {
    #[inline]
    pub(crate) fn get(&self, conn: ConnId) -> Option<&Client> {
        self.list.get(conn.place).filter(|client| client.number == conn.number)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.list.get_mut(conn.place).filter(|client| client.number == conn.number)
    }

    /// The clients of one instance, by number.
    pub(crate) fn of(&self, instance: InstanceId) -> Vec<usize> {
        let ordered: BTreeMap<u64, usize> = self
            .list
            .iter()
            .filter(|(_, client)| client.instance == instance)
            .map(|(place, client)| (client.number, place))
            .collect();
        ordered.into_values().collect()
    }

    /// The clients of one user of an instance, by number.
    pub(crate) fn of_user(&self, instance: InstanceId, name: &[u8]) -> Vec<usize> {
        self.of(instance).into_iter().filter(|place| self.list[*place].user.name() == name).collect()
    }

    pub(crate) fn block(&mut self, place: usize, on: BlockedOn, deadline: Option<Moment>) {
        self.blocked += 1;
        self.waiting += usize::from(on.is_about_replication());
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, place));
        }
        self.list[place].blocked = Some(Box::new(Blocked { on, deadline }));
    }

    /// Moves the end of a client's wait, if it has one.
    pub(crate) fn shift_deadline(&mut self, place: usize, shift: impl Fn(Moment) -> Moment) {
        let Some(blocked) = self.list.get_mut(place).and_then(|client| client.blocked.as_mut()) else { return };
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, place));
            let moved = shift(deadline);
            blocked.deadline = Some(moved);
            self.deadlines.insert((moved, place));
        }
    }

    /// Ends a wait. The caller takes the client off the keys that it waited for.
    pub(crate) fn unblock(&mut self, place: usize) -> Option<BlockedOn> {
        let blocked = self.list.get_mut(place)?.blocked.take()?;
        self.blocked -= 1;
        self.waiting -= usize::from(blocked.on.is_about_replication());
        if let Some(deadline) = blocked.deadline {
            self.deadlines.remove(&(deadline, place));
        }
        Some(blocked.on)
    }
}
