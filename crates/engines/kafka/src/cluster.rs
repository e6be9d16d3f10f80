//! The core: brokers, controller, partitions and groups as plain data, driven by requests, faults and time.
//!
//! The caller's contract: [`Cluster::apply`] is given each request in the order in which its connection sent it, and says
//! whether the answer is there, comes later, or never comes. Answers that come later are fetched with
//! [`Cluster::take_answers`] after every call of any method. What has become of an answer is said with
//! [`Cluster::delivered`] or [`Cluster::undelivered`], as soon as it is known: the ledger goes by what clients were told.
//! Nothing here blocks, except where a file is read.
//!
//! - `brokers.rs`: registration, heartbeats, sessions, views;
//! - `controller.rs`: what the controller commits: topics, fencing, elections, in-sync sets;
//! - `elections.rs`, `reassignment.rs`: elections and movements of replicas that somebody asks for;
//! - `replication.rs`: followers, high watermarks, truncation, the ledger;
//! - `retention.rs`: what is old goes; `compaction.rs`: of each key the last record stays; `segments.rs`: what both go by;
//! - `disks.rs`: brokers whose disks are bad halt;
//! - `waiting.rs`: requests whose answers come later;
//! - `promises.rs`: answers that promise something, until they have left.

mod brokers;
mod compaction;
mod controller;
mod disks;
mod elections;
mod promises;
mod reassignment;
mod replication;
mod retention;
mod segments;
mod waiting;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::Disk;
use atoll_kernel::{Context, ControlPlane, Core, FaultEvent, Moment, NodeId, NodeState, Part, QuorumTiming};
use atoll_storage::LogError;
use bytes::Bytes;
use uuid::Uuid;

use crate::config::Config;
use crate::groups::Coordinators;
use crate::quotas::Accounts;
use crate::security::Authorizer;
use crate::state::image::{Changed, Image, MetadataRecord, PartitionKey};
use crate::state::partition::Partition;
use crate::store::{self, Store};
use crate::transactions::TransactionCoordinators;
use crate::wire::{Request, Response};
use crate::{error::ErrorCode, ops};

pub(crate) use brokers::BrokerNode;
pub(crate) use controller::{NewTopic, check_topic_name};
pub(crate) use elections::Election;
pub(crate) use waiting::{Need, Then, Waiting};

/// How rules and the ledger name this engine.
pub const PART: Part = "kafka";
/// Reached when a leader has appended a batch, before anything else happens to it.
pub const APPENDED: &str = "kafka.produce.appended";
/// Reached when a produce request is about to be acknowledged; with `acks=1` that is before the replication.
pub const ACKNOWLEDGED: &str = "kafka.produce.acknowledged";

/// Names a request whose answer comes later.
pub type Ticket = u64;

/// From which side a client sees the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// A program on this machine: brokers are at 127.k.0.n.
    Host,
    /// A pod: brokers are at 10.240.0.n.
    Pod,
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The broker that was asked.
    pub node: NodeId,
    /// From where.
    pub side: Side,
    /// The client's address, as groups show it.
    pub host: String,
    /// How the client calls itself.
    pub client_id: String,
    /// The version of the request.
    pub version: i16,
    /// Chosen by the caller, unique among the requests that wait.
    pub ticket: Ticket,
    /// Who it is, as it has proven: `User:ANONYMOUS` where nothing was asked for.
    pub principal: String,
    /// The port that it came in by, which is that of the same listener on every broker.
    pub port: u16,
    /// Whether the connection is one over which delegation tokens could be asked for: it was authenticated.
    pub may_hold_tokens: bool,
}

/// Who a client is that nobody asked.
pub const ANONYMOUS: &str = "User:ANONYMOUS";

/// What becomes of a request.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The answer.
    Reply(Box<Response>),
    /// The answer comes later, under the caller's ticket.
    Parked,
    /// There is no answer (`acks=0`).
    Silent,
    /// The connection ends, as Kafka ends it when it cannot answer.
    Close,
    /// The client could not be authenticated: after `connection.failed.authentication.delay.ms` this is answered, if
    /// anything is, and the connection ends.
    Refuse(Option<Box<Response>>),
    /// The answer is a bare token of an authentication.
    Token(Bytes),
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Outcome {
        Outcome::Reply(Box::new(response))
    }
}

/// All brokers of one Kafka cluster.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) cluster_id: String,
    /// Who decides what callers may do; None is nobody.
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) plane: ControlPlane<MetadataRecord>,
    /// The nodes whose controllers vote.
    pub(crate) voters: Vec<NodeId>,
    /// The metadata with all that is committed: the controller's image.
    pub(crate) authority: Image,
    pub(crate) brokers: BTreeMap<NodeId, BrokerNode>,
    pub(crate) partitions: BTreeMap<PartitionKey, Partition>,
    pub(crate) groups: Coordinators,
    pub(crate) transactions: TransactionCoordinators,
    pub(crate) store: Store,
    pub(crate) accounts: Accounts,
    cleaner: compaction::Cleaner,
    waits: waiting::Waits,
    promises: promises::Promises,
    timers: BinaryHeap<Reverse<Due>>,
    turns: u64,
    /// Partitions whose followers may have something to fetch.
    behind: BTreeSet<PartitionKey>,
    /// Partitions that somebody may have waited for.
    woken: BTreeSet<PartitionKey>,
    /// Who leads or follows what may have changed in these brokers' views.
    roles: BTreeSet<(PartitionKey, NodeId)>,
    /// Links or the controller changed: what waits for either is tried again.
    retry: bool,
    answers: Vec<(Ticket, Outcome)>,
    newly_halted: Vec<NodeId>,
    coins: u64,
}

/// Something that happens by itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// A broker's next heartbeat.
    Beat(NodeId),
    /// A broker's session may have ended.
    Session(NodeId),
    /// Leaders look for followers that lag.
    Lag,
    /// The controller looks for leaders that are not preferred.
    Rebalance,
    /// Fetched data reaches a follower.
    Fetched(replication::Fetch),
    /// A follower's next fetch, which tells what it has, reaches the leader.
    FetchedUpTo(replication::Fetch, i64),
    /// A group has something to do.
    Group(NodeId, String),
    /// A transaction's markers are tried again.
    Markers(NodeId, String),
    /// Leaders look for what is too old or too much.
    Retention,
    /// A broker that could not write ends itself.
    Halt(NodeId),
    /// A thread of the log cleaner goes on, or looks for something to clean.
    Clean(usize),
    /// Coordinators look for transactions that have lasted too long.
    AbortScan,
    /// What is old is forgotten.
    Expiry(Expiring),
}

/// What is forgotten in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Expiring {
    /// Committed offsets, and groups that nothing is left of.
    Offsets,
    /// Transactional ids.
    TransactionalIds,
    /// What partitions know of producers.
    Producers,
}

/// Kafka's `producer.id.expiration.check.interval.ms`, which is none of its public options.
const PRODUCERS_CHECKED_MS: u64 = 600_000;

/// When something is due, and what comes first of things that are due at once.
type Turn = (Moment, u64);

type Due = (Turn, Timer);

impl Cluster {
    /// The cluster as it was left on `disk`, or a new one, with a broker on every node. Blocks while it reads.
    pub fn open(ctx: &Context<'_>, config: Config, disk: Arc<dyn Disk>) -> Result<Cluster, LogError> {
        let nodes: Vec<NodeId> = ctx.kernel().nodes().iter().map(|node| node.config.id).collect();
        let (mut store, records) = Store::open(disk, config.log_segment_bytes)?;
        let mut authority = Image::default();
        for record in &records {
            authority.apply(record, &config);
        }
        let partitions = recover(&mut store, &authority)?;
        // An even number of voters forgives no more failures than the odd number below it.
        let voters: Vec<NodeId> = nodes.iter().copied().take(if nodes.len() >= 3 { 3 } else { 1 }).collect();
        let timing = QuorumTiming {
            fetch_timeout: Duration::from_millis(config.controller_quorum_fetch_timeout_ms),
            election_timeout: Duration::from_millis(config.controller_quorum_election_timeout_ms),
        };
        let applied = records.len() as u64;
        let plane = ControlPlane::new(PART, &nodes, voters.clone(), timing, records);
        let brokers = nodes.iter().map(|node| (*node, BrokerNode::starting(authority.clone(), applied))).collect();
        let mut id = ctx.random("kafka.cluster-id", 0);
        let mut cluster = Cluster {
            // Options that make no sense were refused when the listeners were bound.
            authorizer: Authorizer::of(&config).unwrap_or_default(),
            cluster_id: base64_url(Uuid::from_u64_pair(id.next_u64(), id.next_u64())),
            config,
            plane,
            voters,
            authority,
            brokers,
            partitions,
            groups: Coordinators::default(),
            transactions: TransactionCoordinators::default(),
            store,
            accounts: Accounts::default(),
            cleaner: compaction::Cleaner::default(),
            waits: waiting::Waits::default(),
            promises: promises::Promises::default(),
            timers: BinaryHeap::new(),
            turns: 0,
            behind: BTreeSet::new(),
            woken: BTreeSet::new(),
            roles: BTreeSet::new(),
            retry: false,
            answers: Vec::new(),
            newly_halted: Vec::new(),
            coins: 0,
        };
        cluster.boot(ctx, &nodes);
        Ok(cluster)
    }

    fn boot(&mut self, ctx: &Context<'_>, nodes: &[NodeId]) {
        for node in nodes {
            self.boot_broker(ctx, *node);
        }
        self.settle(ctx);
        self.set_timer(ctx.now() + self.lag_check_interval(), Timer::Lag);
        self.plan_retention(ctx);
        self.start_cleaner(ctx);
        for expiring in [Expiring::Offsets, Expiring::TransactionalIds, Expiring::Producers] {
            self.plan_expiry(ctx, expiring);
        }
        if self.config.auto_leader_rebalance_enable {
            self.set_timer(ctx.now() + self.rebalance_interval(), Timer::Rebalance);
        }
    }

    fn lag_check_interval(&self) -> Duration {
        Duration::from_millis((self.config.replica_lag_time_max_ms / 2).max(1))
    }

    fn plan_expiry(&mut self, ctx: &Context<'_>, expiring: Expiring) {
        let config = &self.config;
        let interval_ms = match expiring {
            Expiring::Offsets => config.offsets_retention_check_interval_ms,
            Expiring::TransactionalIds => config.transactions.remove_expired_transaction_cleanup_interval_ms,
            Expiring::Producers => PRODUCERS_CHECKED_MS,
        };
        self.set_timer(ctx.now() + Duration::from_millis(interval_ms.max(1)), Timer::Expiry(expiring));
    }

    fn rebalance_interval(&self) -> Duration {
        Duration::from_secs(self.config.leader_imbalance_check_interval_seconds.max(1))
    }

    /// Handles one request.
    pub fn apply(&mut self, ctx: &Context<'_>, caller: &Caller, request: Request) -> Outcome {
        if !self.brokers.get(&caller.node).is_some_and(|broker| broker.serving) {
            return match self.has_halted(caller.node) {
                true => Outcome::Close,
                false => self.park_until_serving(caller, request),
            };
        }
        let outcome = ops::dispatch(self, ctx, caller, request);
        self.settle(ctx);
        // What was parked may have been completed by the settling: then the answer is at hand.
        match outcome {
            Outcome::Parked => match self.answers.iter().position(|(ticket, _)| *ticket == caller.ticket) {
                Some(index) => self.answers.swap_remove(index).1,
                None => Outcome::Parked,
            },
            other => other,
        }
    }

    /// The answers that have become ready, in order.
    pub fn take_answers(&mut self) -> Vec<(Ticket, Outcome)> {
        std::mem::take(&mut self.answers)
    }

    /// Whether there are any.
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// Forgets a request that waits: its client has gone.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.waits.cancel(ticket);
    }

    /// Lets another thread sync files, as a live server needs it.
    pub fn sync_on_a_thread(&mut self) -> std::io::Result<()> {
        self.store.sync_on_a_thread()
    }

    pub(crate) fn set_timer(&mut self, at: Moment, timer: Timer) {
        let turn = self.next_turn(at);
        self.timers.push(Reverse((turn, timer)));
    }

    /// A turn at some moment, after all that were given for it before.
    fn next_turn(&mut self, at: Moment) -> Turn {
        self.turns += 1;
        (at, self.turns)
    }

    /// Whose turn it is next: that of a timer or of a request whose time is up.
    fn first_turn(&self) -> Option<Turn> {
        let timer = self.timers.peek().map(|Reverse((turn, _))| *turn);
        [timer, self.waits.first_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn answer(&mut self, ticket: Ticket, response: Response) {
        self.answers.push((ticket, response.into()));
    }

    /// A number that nobody else in this cluster was given.
    pub(crate) fn random_id(&mut self, ctx: &Context<'_>, purpose: &str) -> Uuid {
        self.coins += 1;
        let mut stream = ctx.random(purpose, self.coins ^ ctx.now().as_nanos().rotate_left(20));
        uuid::Builder::from_random_bytes(
            (u128::from(stream.next_u64()) << 64 | u128::from(stream.next_u64())).to_be_bytes(),
        )
        .into_uuid()
    }

    /// Does all that has become possible, until nothing is left.
    pub(crate) fn settle(&mut self, ctx: &Context<'_>) {
        loop {
            if self.plane.advance(ctx) {
                self.controller_elected(ctx);
            }
            self.apply_views(ctx);
            if let Some((key, node)) = self.roles.pop_first() {
                self.take_role(ctx, key, node);
            } else if let Some(key) = self.behind.pop_first() {
                self.replicate(ctx, key);
            } else if let Some(key) = self.woken.pop_first() {
                self.wake(ctx, key);
            } else if std::mem::take(&mut self.retry) {
                self.retry_requests(ctx);
            } else {
                break;
            }
        }
    }

    fn handle(&mut self, ctx: &Context<'_>, timer: Timer) {
        match timer {
            Timer::Beat(node) => self.beat(ctx, node),
            Timer::Session(node) => self.check_session(ctx, node),
            Timer::Lag => {
                self.shrink_in_sync_sets(ctx);
                self.set_timer(ctx.now() + self.lag_check_interval(), Timer::Lag);
            }
            Timer::Rebalance => {
                self.elect_preferred_leaders(ctx);
                self.set_timer(ctx.now() + self.rebalance_interval(), Timer::Rebalance);
            }
            Timer::Fetched(fetch) => self.fetched(ctx, fetch),
            Timer::FetchedUpTo(fetch, end) => self.fetched_up_to(ctx, &fetch, end),
            Timer::Group(node, group) => self.group_timer(ctx, node, &group),
            Timer::Markers(node, id) => self.retry_markers(ctx, node, &id),
            Timer::Retention => self.retain(ctx),
            Timer::Halt(node) => self.halt(ctx, node),
            Timer::Clean(thread) => self.clean(ctx, thread),
            Timer::AbortScan => self.abort_timed_out(ctx),
            Timer::Expiry(expiring) => {
                match expiring {
                    Expiring::Offsets => self.expire_offsets(ctx),
                    Expiring::TransactionalIds => self.expire_transactional_ids(ctx),
                    Expiring::Producers => self.expire_producers(ctx),
                }
                self.plan_expiry(ctx, expiring);
            }
        }
    }

    /// Commits metadata, keeps it, and takes it over into the controller's image.
    pub(crate) fn commit(&mut self, ctx: &Context<'_>, records: Vec<MetadataRecord>) -> Result<(), ErrorCode> {
        if records.is_empty() {
            return Ok(());
        }
        if !self.plane.can_commit(ctx) {
            return Err(ErrorCode::NotController);
        }
        let time_ms = ctx.kernel().wall().as_millis();
        self.store.append_metadata(time_ms, &records).map_err(|_| ErrorCode::KafkaStorageError)?;
        for record in &records {
            ctx.trace(|| format!("commit {record:?}"));
            match self.authority.apply(record, &self.config) {
                Changed::Partition(key) => self.make_partition(key),
                Changed::TopicRemoved(id, count) => self.remove_partitions(id, count),
                Changed::Nothing => {}
            }
        }
        self.plane.commit(ctx, records).map_err(|_| ErrorCode::NotController).map(|_| ())
    }

    fn make_partition(&mut self, key: PartitionKey) {
        let Some((topic, _, state)) = self.authority.partition_by_key(key) else { return };
        let nodes: Vec<NodeId> = state.replicas.iter().map(|node| NodeId(*node)).collect();
        self.partitions
            .entry(key)
            .or_insert_with(|| Partition::new(topic, crate::state::tree::ForkTree::new(&nodes), &nodes))
            .add_replicas(&nodes);
    }

    fn remove_partitions(&mut self, topic: Uuid, count: i32) {
        for index in 0..count {
            self.partitions.remove(&(topic, index));
            self.store.delete((topic, index));
            self.woken.insert((topic, index));
        }
    }
}

/// Partitions as they are stored. Directories that no topic claims are of deleted topics, and are removed.
fn recover(store: &mut Store, image: &Image) -> Result<BTreeMap<PartitionKey, Partition>, LogError> {
    let mut unclaimed: BTreeSet<String> = store.stored()?.into_iter().collect();
    let mut partitions = BTreeMap::new();
    for (key, _, state) in image.partitions() {
        let nodes: Vec<NodeId> = state.replicas.iter().map(|node| NodeId(*node)).collect();
        let topic = image.names.get(&key.0).map_or("", String::as_str);
        let tree = match unclaimed.remove(&store::directory_name(key)) {
            true => store.recover(key, &nodes)?,
            false => crate::state::tree::ForkTree::new(&nodes),
        };
        partitions.insert(key, Partition::new(topic, tree, &nodes));
    }
    for name in &unclaimed {
        store.delete_unclaimed(name)?;
    }
    Ok(partitions)
}

impl Core for Cluster {
    fn on_fault(&mut self, ctx: &Context<'_>, event: &FaultEvent) {
        self.plane.on_fault();
        self.retry = true;
        self.remember_who_kept_up(ctx);
        match event {
            FaultEvent::Killed(node) => self.broker_died(*node),
            FaultEvent::PowerLost(node) => {
                self.broker_died(*node);
                self.lose_unsynced(ctx, *node);
            }
            FaultEvent::Stopped(node) => {
                if !self.has_halted(*node) {
                    self.broker_stopped(ctx, *node);
                }
                self.broker_died(*node);
            }
            FaultEvent::Started(node) => self.start_broker(ctx, *node),
            FaultEvent::Resumed(node) => {
                self.plan_beat(*node, ctx.now());
                self.disk_changed(ctx, *node);
            }
            FaultEvent::DiskChanged(node, _) => self.disk_changed(ctx, *node),
            FaultEvent::Paused(_) | FaultEvent::RulesChanged | FaultEvent::ClockChanged(_) => {}
        }
        self.behind.extend(self.partitions.keys().copied());
        self.settle(ctx);
    }

    fn advance(&mut self, ctx: &Context<'_>) {
        self.store.finish_syncs();
        self.settle(ctx);
        while let Some(turn) = self.first_turn().filter(|(due, _)| *due <= ctx.now()) {
            match self.waits.take_expired(turn) {
                Some(id) => self.expire(ctx, id),
                None => {
                    let Some(Reverse((_, timer))) = self.timers.pop() else { break };
                    self.handle(ctx, timer);
                }
            }
            self.settle(ctx);
        }
    }

    fn next_wake(&self) -> Option<Moment> {
        let turn = self.first_turn().map(|(due, _)| due);
        [turn, self.plane.next_wake()].into_iter().flatten().min()
    }
}

/// Whether a node's processes run.
pub(crate) fn runs(ctx: &Context<'_>, node: NodeId) -> bool {
    ctx.is_healthy() || ctx.node_state(node) == NodeState::Running
}

/// A time of a request or of an option; a negative one is none.
pub(crate) fn milliseconds(count: impl TryInto<u64>) -> Duration {
    Duration::from_millis(count.try_into().unwrap_or(0))
}

/// A UUID as Kafka writes it: 22 characters of base64 for URLs.
pub(crate) fn base64_url(id: Uuid) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = id.as_u128();
    (0..22u32)
        .map(|place| {
            let six = if place == 21 { bits << 4 } else { bits >> (122 - 6 * place) };
            char::from(ALPHABET[(six & 63) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests;
