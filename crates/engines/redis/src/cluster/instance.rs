//! One server process, and what it believes about all of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use atoll_kernel::{Envelope, Moment, NodeId};

use super::bus::Letter;
use super::manual::Manual;
use super::membership::Handshake;
use super::replication::{Attached, MasterLink};
use super::slots::SLOTS;
use crate::acl::Acl;
use crate::pubsub::Subscriptions;
use crate::replication::Upstream;
use crate::state::Interest;
use crate::telemetry::{Sample, Telemetry};
use crate::tracking::TrackingTable;

/// The index of an instance in the cluster.
pub(crate) type InstanceId = usize;

/// Nobody owns the slot.
pub(crate) const NOBODY: u16 = u16::MAX;

/// Ranges of slots, both ends included.
pub(crate) type Ranges = Rc<[(u16, u16)]>;

/// Whether an instance's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Run {
    Up,
    Paused,
    Down,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientPause {
    pub(crate) until: Moment,
    /// Not only those who would write wait.
    pub(crate) is_for_all: bool,
}

/// One server process of the cluster.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) node: NodeId,
    pub(crate) port: u16,
    /// Where it listens for TLS; 0: it does not.
    pub(crate) tls_port: u16,
    /// Forty hexadecimal digits.
    pub(crate) name: String,
    /// The name of its shard, likewise.
    pub(crate) shard: String,
    /// Writes of its clients wait until then: it stands still for a manual failover.
    pub(crate) writes_wait_until: Option<Moment>,
    /// Its clients wait, as one of them asked for.
    pub(crate) paused: Option<ClientPause>,
    /// It sleeps, as DEBUG told it.
    pub(crate) asleep_until: Option<Moment>,
    pub(crate) run: Run,
    /// Which dataset it owns or follows; None while it is dead and left nothing on disk.
    pub(crate) dataset: Option<usize>,
    pub(crate) view: View,
    pub(crate) interest: Interest,
    pub(crate) subscriptions: Subscriptions,
    /// What its clients may hold copies of.
    pub(crate) tracking: TrackingTable,
    pub(crate) acl: Acl,
    /// As a replica: its link to its master.
    pub(crate) link: MasterLink,
    /// The real master that it follows.
    pub(crate) upstream: Option<Box<Upstream>>,
    /// What its clients take: their requests and replies.
    pub(crate) clients_memory: u64,
    /// As a master: the replicas that are attached.
    pub(crate) attached: BTreeMap<InstanceId, Attached>,
    /// Letters wait until then: a process that wakes up serves what its clients sent first.
    pub(crate) busy_until: Option<Moment>,
    pub(crate) inbox: VecDeque<Envelope<Letter>>,
    /// Its data are being loaded until then.
    pub(crate) loading_until: Option<Moment>,
    /// Its append-only file cannot be written: it has accepted one write more, and refuses all others.
    pub(crate) log_refuses: bool,
    /// How far its append-only file was synced when `appendfsync` last changed.
    pub(crate) synced_before: u64,
    /// How far its clock is ahead of true time, as it last noticed.
    pub(crate) clock_ms: i64,
    pub(crate) stats: Stats,
    pub(crate) telemetry: Telemetry,
}

impl Instance {
    /// What is counted, as it stands now.
    pub(crate) fn sample(&self, at: Moment) -> Sample {
        let Stats { commands, input_bytes, output_bytes, .. } = self.stats;
        Sample { at, commands, input_bytes, output_bytes }
    }
}

/// What INFO counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) commands: u64,
    pub(crate) connections: u64,
    pub(crate) rejected: u64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) expired: u64,
    /// Values that Redis would have freed in the background.
    pub(crate) lazily_freed: u64,
    pub(crate) evicted: u64,
    pub(crate) evicted_clients: u64,
    /// The most that it has taken.
    pub(crate) memory_peak: u64,
    pub(crate) full_syncs: u64,
    pub(crate) partial_syncs: u64,
    pub(crate) partial_refused: u64,
    pub(crate) messages_sent: u64,
    pub(crate) messages_received: u64,
    /// Bytes of requests, and of replies and messages.
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
    /// How often something was read from a connection, and how often something was written.
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) started: Moment,
}

/// What one instance believes. It answers from this and from nothing else.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// What it believes of each instance, itself included.
    pub(crate) peers: Vec<Peer>,
    /// The owner of each slot.
    pub(crate) owners: Box<[u16]>,
    /// The slots of each instance, derived from `owners`.
    ranges: Vec<Ranges>,
    pub(crate) current_epoch: u64,
    pub(crate) last_vote_epoch: u64,
    /// `cluster_state:ok`.
    pub(crate) is_ok: bool,
    pub(crate) started_at: Moment,
    /// When it last could not reach a majority.
    pub(crate) in_minority_at: Option<Moment>,
    /// How many masters own slots.
    pub(crate) size: usize,
    pub(crate) candidacy: Candidacy,
    pub(crate) manual: Manual,
    /// Slots that are on their way to another, and those that come from another.
    pub(crate) migrating: BTreeMap<u16, InstanceId>,
    pub(crate) importing: BTreeMap<u16, InstanceId>,
    /// Slots that their owner says it has no more, while nobody else has claimed them yet.
    unclaimed: BTreeSet<u16>,
    /// Handshakes under way.
    pub(crate) handshakes: BTreeMap<InstanceId, Handshake>,
    /// The names that were forgotten, and until when gossip about each is not listened to. An instance that takes a new name
    /// is a new one to the others.
    pub(crate) forgotten: BTreeMap<String, Moment>,
    pub(crate) ticks: u64,
}

/// A replica's attempt to be elected.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidacy {
    /// When votes are asked for; None before the first attempt.
    pub(crate) at: Option<Moment>,
    pub(crate) rank: u64,
    pub(crate) is_sent: bool,
    pub(crate) votes: usize,
    pub(crate) epoch: u64,
    pub(crate) attempts: u64,
}

/// What one instance believes of another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// False of an instance that this one has not met, or has forgotten.
    pub(crate) is_known: bool,
    /// Whose replica it is; None: it is a master.
    pub(crate) master: Option<InstanceId>,
    pub(crate) config_epoch: u64,
    /// How many slots it owns.
    pub(crate) slots: usize,
    /// When the ping was sent that is not yet answered.
    pub(crate) ping_sent: Option<Moment>,
    /// When that ping was last sent again over a new connection.
    pub(crate) ping_repeated: Moment,
    pub(crate) pong_received: Moment,
    pub(crate) data_received: Moment,
    /// Suspected: PFAIL.
    pub(crate) is_suspected: bool,
    /// Agreed to have failed: FAIL, since when.
    pub(crate) failed_at: Option<Moment>,
    /// Which masters say that it does not answer, and when they last did.
    pub(crate) reports: BTreeMap<InstanceId, Moment>,
    /// When a replica of it was last voted for.
    pub(crate) voted_at: Option<Moment>,
    pub(crate) offset: u64,
}

impl Peer {
    pub(crate) fn is_master(&self) -> bool {
        self.master.is_none()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed_at.is_some()
    }

    /// Removes reports that are too old to count: a report is valid for two node timeouts.
    pub(crate) fn forget_old_reports(&mut self, now: Moment, node_timeout: Duration) {
        self.reports.retain(|_, at| now.since(*at) <= node_timeout * 2);
    }
}

impl View {
    pub(crate) fn new(peers: Vec<Peer>) -> View {
        View {
            ranges: vec![Rc::from([]); peers.len()],
            peers,
            owners: vec![NOBODY; SLOTS].into_boxed_slice(),
            current_epoch: 0,
            last_vote_epoch: 0,
            is_ok: true,
            started_at: Moment::ZERO,
            in_minority_at: None,
            size: 0,
            candidacy: Candidacy::default(),
            manual: Manual::default(),
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            unclaimed: BTreeSet::new(),
            handshakes: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            ticks: 0,
        }
    }

    /// The owner of a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: u16) -> Option<InstanceId> {
        match self.owners.get(usize::from(slot)) {
            Some(&NOBODY) | None => None,
            Some(owner) => Some(usize::from(*owner)),
        }
    }

    /// The slots of an instance.
    pub(crate) fn ranges(&self, instance: InstanceId) -> &Ranges {
        &self.ranges[instance]
    }

    /// `owner` says which slots it has. What else it is believed to own stays with it, so that clients are still sent somewhere,
    /// until anybody claims it, in whatever epoch.
    pub(crate) fn note_claimed(&mut self, owner: InstanceId, claimed: &[(u16, u16)]) {
        let mut is_claimed = vec![false; SLOTS];
        for (first, last) in claimed {
            is_claimed[usize::from(*first)..=usize::from(*last)].fill(true);
        }
        for slot in self.ranges[owner].iter().flat_map(|(first, last)| *first..=*last) {
            if is_claimed[usize::from(slot)] {
                self.unclaimed.remove(&slot);
            } else {
                self.unclaimed.insert(slot);
            }
        }
    }

    /// True if the owner of a slot does not claim it any more.
    pub(crate) fn is_unclaimed(&self, slot: u16) -> bool {
        self.unclaimed.contains(&slot)
    }

    /// The slots of an instance without those that it does not claim any more.
    pub(crate) fn claimed_ranges(&self, owner: InstanceId) -> Ranges {
        let ranges = &self.ranges[owner];
        if self.unclaimed.is_empty() {
            return Rc::clone(ranges);
        }
        let mut claimed: Vec<(u16, u16)> = Vec::new();
        for slot in ranges.iter().flat_map(|(first, last)| *first..=*last).filter(|slot| !self.is_unclaimed(*slot)) {
            match claimed.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => claimed.push((slot, slot)),
            }
        }
        Rc::from(claimed)
    }

    /// Gives every slot of `ranges` to `owner`.
    pub(crate) fn assign(&mut self, ranges: &[(u16, u16)], owner: InstanceId) {
        self.fill(ranges, owner as u16);
    }

    /// Leaves every slot of `ranges` to nobody.
    pub(crate) fn release(&mut self, ranges: &[(u16, u16)]) {
        self.fill(ranges, NOBODY);
    }

    fn fill(&mut self, ranges: &[(u16, u16)], owner: u16) {
        for (first, last) in ranges {
            self.owners[usize::from(*first)..=usize::from(*last)].fill(owner);
            while let Some(slot) = self.unclaimed.range(*first..=*last).next().copied() {
                self.unclaimed.remove(&slot);
            }
        }
        self.derive();
    }

    /// Takes all slots of an instance away.
    pub(crate) fn unassign(&mut self, owner: InstanceId) {
        let ranges = Rc::clone(&self.ranges[owner]);
        self.release(&ranges);
    }

    /// Computes what follows from `owners`, which was changed.
    fn derive(&mut self) {
        let mut ranges: Vec<Vec<(u16, u16)>> = vec![Vec::new(); self.peers.len()];
        let mut slot = 0;
        while slot < SLOTS {
            let owner = self.owners[slot];
            let length = self.owners[slot..].iter().take_while(|other| **other == owner).count();
            if let Some(list) = ranges.get_mut(usize::from(owner)) {
                list.push((slot as u16, (slot + length - 1) as u16));
            }
            slot += length;
        }
        for (peer, list) in self.peers.iter_mut().zip(&ranges) {
            peer.slots = list.iter().map(|(first, last)| usize::from(last - first) + 1).sum();
        }
        self.ranges = ranges.into_iter().map(Rc::from).collect();
    }

    /// The replicas of a master.
    pub(crate) fn replicas(&self, master: InstanceId) -> impl Iterator<Item = InstanceId> {
        self.peers.iter().enumerate().filter(move |(_, peer)| peer.master == Some(master)).map(|(id, _)| id)
    }

    /// The epoch in which an instance speaks: a replica in its master's.
    pub(crate) fn epoch_of(&self, id: InstanceId) -> u64 {
        self.peers[self.peers[id].master.unwrap_or(id)].config_epoch
    }

    /// The votes that make a majority of the masters that own slots.
    pub(crate) fn quorum(&self) -> usize {
        self.size / 2 + 1
    }
}
