//! Transactions: who coordinates them, what they are at, and how they end.
//!
//! A transactional id belongs to a partition of [`TRANSACTIONS_TOPIC`], and the broker that leads the partition coordinates it.
//! Every step is a record of that partition, in Kafka's own format, and counts once that is committed; a broker that begins to
//! lead reads them and goes on where the last one was.
//!
//! - `records.rs`: the records;
//! - `expiry.rs`: who has not been heard of for long is forgotten;
//! - `markers.rs`: how an ended transaction is told to the partitions that took part.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-98+-+Exactly+Once+Delivery+and+Transactional+Messaging>,
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-890%3A+Transactions+Server-Side+Defense>

mod expiry;
mod markers;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Cluster, Need, PART, Then, Ticket, Timer, Waiting, runs};
use crate::error::ErrorCode;
use crate::groups::partition_of;
use crate::state::image::{PartitionKey, TRANSACTIONS_TOPIC};
use crate::wire::batch::BatchHeader;
use crate::wire::generated::{EndTxnResponse, InitProducerIdResponse};
use crate::wire::{Response, record};

pub(crate) use markers::Marked;

/// The last epoch that a client is given; the one after it is for fencing.
const EPOCH_EXHAUSTED: i16 = i16::MAX - 1;
/// Clients that bump their epoch with every transaction (`transaction.version` 2).
pub(crate) const BUMPING: i16 = 2;

/// All transactions by the broker that coordinates them.
#[derive(Debug, Default)]
pub(crate) struct TransactionCoordinators {
    loaded: BTreeMap<(NodeId, i32), Loaded>,
    scan_planned: bool,
}

/// The transactions of one partition on the broker that leads it.
#[derive(Debug)]
struct Loaded {
    epoch: i32,
    by_id: BTreeMap<String, Transaction>,
}

/// What a transaction is at, with the numbers that are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    Dead = 6,
    PrepareEpochFence = 7,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Empty,
        State::Ongoing,
        State::PrepareCommit,
        State::PrepareAbort,
        State::CompleteCommit,
        State::CompleteAbort,
        State::Dead,
        State::PrepareEpochFence,
    ];

    fn from_number(number: i8) -> Option<State> {
        State::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// As Kafka calls it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Ongoing => "Ongoing",
            State::PrepareCommit => "PrepareCommit",
            State::PrepareAbort => "PrepareAbort",
            State::CompleteCommit => "CompleteCommit",
            State::CompleteAbort => "CompleteAbort",
            State::Dead => "Dead",
            State::PrepareEpochFence => "PrepareEpochFence",
        }
    }

    fn is_ending(self) -> bool {
        matches!(self, State::PrepareCommit | State::PrepareAbort)
    }
}

/// One transactional id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub state: State,
    pub producer_id: i64,
    pub previous_producer_id: i64,
    /// The id that its producer has after this transaction, where the epochs of the present one are used up.
    pub next_producer_id: i64,
    pub epoch: i16,
    pub last_epoch: i16,
    pub timeout_ms: i32,
    pub partitions: BTreeSet<(String, i32)>,
    pub started_ms: i64,
    pub updated_ms: i64,
    pub client_version: i16,
    /// The next step is being stored.
    pending: bool,
    /// Partitions whose marker is on its way, with the leader that writes it.
    marking: BTreeMap<(String, i32), NodeId>,
    /// Its markers will be looked at again.
    retry_planned: bool,
}

/// A step that is being stored, and what follows it.
#[derive(Debug)]
pub(crate) struct Step {
    id: String,
    next: Transaction,
    after: After,
}

#[derive(Debug)]
enum After {
    /// Somebody is told.
    Answer(Ticket, Response),
    /// A request goes on.
    Resume(Ticket),
    /// Nobody waits.
    Nothing,
}

/// Who speaks of which transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker<'s> {
    pub id: &'s str,
    pub producer_id: i64,
    pub epoch: i16,
}

/// Whether partitions are part of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// They are.
    Already,
    /// They will be when that is stored; then the waiting request goes on.
    Soon,
}

impl Transaction {
    fn new(producer_id: i64, timeout_ms: i32) -> Transaction {
        Transaction {
            state: State::Empty,
            producer_id,
            previous_producer_id: -1,
            next_producer_id: -1,
            epoch: -1,
            last_epoch: -1,
            timeout_ms,
            partitions: BTreeSet::new(),
            started_ms: -1,
            updated_ms: -1,
            client_version: 0,
            pending: false,
            marking: BTreeMap::new(),
            retry_planned: false,
        }
    }

    /// The transaction after a step at a time.
    fn step(&self, state: State, now_ms: i64) -> Transaction {
        Transaction { state, updated_ms: now_ms, pending: false, marking: BTreeMap::new(), ..self.clone() }
    }

    /// It ends because its producer is gone, or another took its place: the epoch goes up, so that the old one is fenced.
    fn fenced(&self, now_ms: i64) -> Transaction {
        let epoch = self.epoch.saturating_add(1);
        Transaction { epoch, last_epoch: -1, client_version: 0, ..self.step(State::PrepareAbort, now_ms) }
    }

    fn check(&self, speaker: &Speaker<'_>) -> Result<(), ErrorCode> {
        match () {
            () if self.producer_id != speaker.producer_id => Err(ErrorCode::InvalidProducerIdMapping),
            () if self.epoch != speaker.epoch => Err(ErrorCode::ProducerFenced),
            () => Ok(()),
        }
    }
}

impl TransactionCoordinators {
    /// A broker died with all that it knew.
    pub fn forget(&mut self, node: NodeId) {
        self.loaded.retain(|(holder, _), _| *holder != node);
        for transaction in self.loaded.values_mut().flat_map(|loaded| loaded.by_id.values_mut()) {
            transaction.marking.retain(|_, leader| *leader != node);
        }
    }

    /// Transactions that have ended and whose partitions may lack their markers.
    fn ending(&self) -> Vec<(NodeId, String)> {
        let all =
            self.loaded.iter().flat_map(|((node, _), loaded)| loaded.by_id.iter().map(move |found| (*node, found)));
        let ending = all.filter(|(_, (_, transaction))| transaction.state.is_ending() && !transaction.pending);
        ending.map(|(node, (id, _))| (node, id.clone())).collect()
    }

    /// The transactions that a broker coordinates.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = (&String, &Transaction)> {
        self.loaded.range((node, i32::MIN)..=(node, i32::MAX)).flat_map(|(_, loaded)| &loaded.by_id)
    }
}

impl Cluster {
    /// Where a transaction's records are, in a broker's view, and who leads there.
    pub(crate) fn transaction_partition(
        &self,
        node: NodeId,
        id: &str,
    ) -> Result<(PartitionKey, Option<u16>), ErrorCode> {
        let image = self.brokers.get(&node).map(|broker| &broker.image).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let topic = image.topics.get(TRANSACTIONS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let partition = partition_of(id, topic.partitions.len() as i32);
        let state = topic.partitions.get(partition as usize).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        Ok(((topic.id, partition), state.leader))
    }

    fn coordinates_transaction(&self, node: NodeId, id: &str) -> Result<PartitionKey, ErrorCode> {
        let (key, _) = self.transaction_partition(node, id).map_err(|_| ErrorCode::NotCoordinator)?;
        let leads = self.partitions.get(&key).and_then(|partition| partition.leadership(node)).map(|led| led.epoch);
        match self.transactions.loaded.get(&(node, key.1)) {
            Some(loaded) if Some(loaded.epoch) == leads => Ok(key),
            _ => Err(ErrorCode::NotCoordinator),
        }
    }

    /// A transaction on the broker that coordinates it; None if there is none of that id.
    pub(crate) fn transaction(&self, node: NodeId, id: &str) -> Result<Option<&Transaction>, ErrorCode> {
        let key = self.coordinates_transaction(node, id)?;
        Ok(self.transactions.loaded.get(&(node, key.1)).and_then(|loaded| loaded.by_id.get(id)))
    }

    fn transaction_mut(&mut self, node: NodeId, id: &str) -> Option<&mut Transaction> {
        let key = self.coordinates_transaction(node, id).ok()?;
        self.transactions.loaded.get_mut(&(node, key.1)).and_then(|loaded| loaded.by_id.get_mut(id))
    }

    /// A broker begins to coordinate a partition's transactions in an epoch, or stops.
    pub(crate) fn coordinate_transactions(
        &mut self,
        ctx: &Context<'_>,
        partition: i32,
        node: NodeId,
        epoch: Option<i32>,
    ) {
        self.transactions.loaded.remove(&(node, partition));
        let Some(epoch) = epoch else { return };
        let by_id = self.load_transactions(partition, node);
        let ending: Vec<String> =
            by_id.iter().filter(|(_, transaction)| transaction.state.is_ending()).map(|(id, _)| id.clone()).collect();
        let ongoing = by_id.values().any(|transaction| transaction.state == State::Ongoing);
        self.transactions.loaded.insert((node, partition), Loaded { epoch, by_id });
        if ongoing {
            self.plan_scan(ctx);
        }
        for id in ending {
            self.send_markers(ctx, node, &id);
        }
    }

    fn load_transactions(&mut self, partition: i32, node: NodeId) -> BTreeMap<String, Transaction> {
        let mut by_id = BTreeMap::new();
        let topic = self.brokers.get(&node).and_then(|broker| broker.image.topics.get(TRANSACTIONS_TOPIC));
        let Some(key) = topic.map(|topic| (topic.id, partition)) else { return by_id };
        let Some(stored) = self.partitions.get(&key) else { return by_id };
        let places: Vec<(u64, usize)> =
            stored.tree.batches(node, 0).map(|batch| (batch.position, batch.size as usize)).collect();
        for place in places {
            // A batch that cannot be read costs its own records; the disk's trouble is seen by whoever writes next.
            let Ok(bytes) = self.store.read(key, &[place]) else { continue };
            let Some(Ok(read)) = record::read_records(&bytes) else { continue };
            for record in read {
                match records::read(&record) {
                    Ok(Some((id, Some(transaction)))) => drop(by_id.insert(id, transaction)),
                    Ok(Some((id, None))) => drop(by_id.remove(&id)),
                    Ok(None) | Err(_) => {}
                }
            }
        }
        by_id
    }

    /// Stores the next step of a transaction; it counts, and `after` happens, when the record is committed.
    fn take_step(
        &mut self,
        ctx: &Context<'_>,
        node: NodeId,
        id: &str,
        next: Transaction,
        after: After,
    ) -> Result<(), ErrorCode> {
        let key = self.coordinates_transaction(node, id)?;
        let (record_key, value) = (records::key(id), (next.state != State::Dead).then(|| records::value(&next)));
        let wall_ms = ctx.wall(node).as_millis();
        let batch = record::write_batch(&[(Some(&record_key), value.as_deref())], wall_ms, None);
        let header = BatchHeader::read(&batch).map_err(|_| ErrorCode::UnknownServerError)?;
        let wanted = usize::try_from(self.min_insync(node, key)).unwrap_or(1);
        let partition = self.partitions.get(&key).ok_or(ErrorCode::NotCoordinator)?;
        let epoch = match partition.leadership(node) {
            Some(led) if led.isr.len() < wanted.min(partition.replicas.len()) => {
                return Err(ErrorCode::CoordinatorNotAvailable);
            }
            Some(led) => led.epoch,
            None => return Err(ErrorCode::NotCoordinator),
        };
        let appended = self.append(ctx, key, node, &header, &batch).map_err(crate::groups::storing_error)?;
        let loaded = self.transactions.loaded.get_mut(&(node, key.1)).ok_or(ErrorCode::NotCoordinator)?;
        let fresh = || Transaction::new(next.producer_id, next.timeout_ms);
        loaded.by_id.entry(id.to_owned()).or_insert_with(fresh).pending = true;
        let (base_offset, end) = (appended.base_offset, appended.next_offset);
        let need = Need::appended(key, epoch, base_offset, end);
        let step = Step { id: id.to_owned(), next, after };
        let own = self.own_caller(node);
        let waiting = Waiting::Replicated(vec![need], Then::Transaction(Box::new(step)));
        self.park(ctx, &own, waiting, &[key], STORING_TIMEOUT_MS);
        Ok(())
    }

    /// A step is stored, or is not.
    pub(crate) fn step_stored(&mut self, ctx: &Context<'_>, node: NodeId, step: Step, failed: Option<ErrorCode>) {
        let Step { id, next, after } = step;
        let failed = failed.map(crate::groups::storing_error);
        let known = self.transaction_mut(node, &id);
        let failed = match (failed, known) {
            (failed, None) => Some(failed.unwrap_or(ErrorCode::NotCoordinator)),
            (Some(error), Some(transaction)) => {
                transaction.pending = false;
                Some(error)
            }
            (None, Some(transaction)) => {
                *transaction = next;
                None
            }
        };
        match (after, failed) {
            (After::Answer(ticket, response), None) => self.answer(ticket, response),
            (After::Answer(ticket, response), Some(error)) => self.answer(ticket, with_error(response, error)),
            (After::Resume(ticket), outcome) => self.resume(ctx, ticket, outcome),
            (After::Nothing, _) => {}
        }
        match self.transaction(node, &id).ok().flatten().map(|transaction| transaction.state) {
            Some(state) if state.is_ending() && failed.is_none() => self.send_markers(ctx, node, &id),
            // What was to end and could not be stored is tried again.
            Some(state) if state.is_ending() => self.plan_markers(ctx, node, &id),
            Some(State::Ongoing) => self.plan_scan(ctx),
            Some(State::Dead) => {
                if let Ok(key) = self.coordinates_transaction(node, &id)
                    && let Some(loaded) = self.transactions.loaded.get_mut(&(node, key.1))
                {
                    loaded.by_id.remove(&id);
                }
            }
            _ => {}
        }
    }

    /// Begins with a transactional id: its producer gets an id and an epoch that fences those before it.
    pub(crate) fn init_transaction(
        &mut self,
        ctx: &Context<'_>,
        (node, ticket): (NodeId, Ticket),
        id: &str,
        timeout_ms: i32,
        expected: Option<(i64, i16)>,
    ) -> Result<(), ErrorCode> {
        let timeout_max = self.config.transactions.max_timeout_ms;
        if timeout_ms <= 0 || timeout_ms > timeout_max {
            return Err(ErrorCode::InvalidTransactionTimeout);
        }
        let now_ms = ctx.wall(node).as_millis();
        let known = self.transaction(node, id)?.cloned();
        let transaction = match known {
            Some(known) => known,
            None => {
                let producer_id = self.next_producer_id(ctx, node).ok_or(ErrorCode::CoordinatorNotAvailable)?;
                Transaction::new(producer_id, timeout_ms)
            }
        };
        if transaction.pending || transaction.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        if let Some((producer_id, epoch)) = expected {
            let retried = producer_id == transaction.previous_producer_id && epoch >= EPOCH_EXHAUSTED;
            if transaction.epoch != -1 && producer_id != transaction.producer_id && !retried {
                return Err(ErrorCode::ProducerFenced);
            }
        }
        if transaction.state == State::Ongoing {
            // The transaction of the producer before is aborted; the new one asks again.
            self.take_step(ctx, node, id, transaction.fenced(now_ms), After::Nothing)?;
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let mut next = transaction.step(State::Empty, now_ms);
        next.partitions.clear();
        (next.timeout_ms, next.started_ms) = (timeout_ms, -1);
        let expected_epoch = expected.map(|(_, epoch)| epoch);
        if transaction.epoch >= EPOCH_EXHAUSTED && expected_epoch.is_none_or(|epoch| epoch == transaction.epoch) {
            next.previous_producer_id = transaction.producer_id;
            next.producer_id = self.next_producer_id(ctx, node).ok_or(ErrorCode::CoordinatorNotAvailable)?;
            (next.epoch, next.last_epoch) = (0, expected_epoch.unwrap_or(-1));
        } else {
            (next.epoch, next.last_epoch) = bumped(&transaction, expected_epoch)?;
        }
        next.next_producer_id = -1;
        let (producer_id, producer_epoch) = (next.producer_id, next.epoch);
        let answer = InitProducerIdResponse { producer_id, producer_epoch, ..InitProducerIdResponse::default() };
        self.take_step(ctx, node, id, next, After::Answer(ticket, Response::InitProducerId(answer)))
    }

    /// Makes partitions part of a transaction, which begins with that if it has not. If that has to be stored first, the
    /// request with the ticket goes on afterwards, or is answered.
    pub(crate) fn join_transaction(
        &mut self,
        ctx: &Context<'_>,
        (node, ticket): (NodeId, Ticket),
        speaker: &Speaker<'_>,
        partitions: BTreeSet<(String, i32)>,
        (client_version, answer): (i16, Option<Response>),
    ) -> Result<Joined, ErrorCode> {
        let now_ms = ctx.wall(node).as_millis();
        let transaction = self.transaction(node, speaker.id)?.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        transaction.check(speaker)?;
        if transaction.pending || transaction.state.is_ending() {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let is_ongoing = transaction.state == State::Ongoing;
        if is_ongoing && partitions.is_subset(&transaction.partitions) {
            return Ok(Joined::Already);
        }
        let mut next = transaction.step(State::Ongoing, now_ms);
        if !is_ongoing {
            next.partitions.clear();
            next.started_ms = now_ms;
        }
        next.partitions.extend(partitions);
        next.client_version = client_version;
        let after = match answer {
            Some(response) => After::Answer(ticket, response),
            None => After::Resume(ticket),
        };
        self.take_step(ctx, node, speaker.id, next, after)?;
        Ok(Joined::Soon)
    }

    /// Whether a partition is part of an ongoing transaction of this producer.
    pub(crate) fn verify_joined(
        &self,
        node: NodeId,
        speaker: &Speaker<'_>,
        partition: &(String, i32),
    ) -> Result<(), ErrorCode> {
        let transaction = self.transaction(node, speaker.id)?.ok_or(ErrorCode::InvalidProducerIdMapping)?;
        transaction.check(speaker)?;
        match transaction.state {
            state if state.is_ending() => Err(ErrorCode::ConcurrentTransactions),
            State::Ongoing if transaction.partitions.contains(partition) => Ok(()),
            _ => Err(ErrorCode::TransactionAbortable),
        }
    }

    /// Ends a transaction as its producer asks. The answer is given when that is decided; the partitions are told afterwards.
    pub(crate) fn end_transaction(
        &mut self,
        ctx: &Context<'_>,
        (node, ticket): (NodeId, Ticket),
        speaker: &Speaker<'_>,
        commit: bool,
        bumps: bool,
    ) -> Result<Option<(i64, i16)>, ErrorCode> {
        let now_ms = ctx.wall(node).as_millis();
        let transaction = self.transaction(node, speaker.id)?.ok_or(ErrorCode::InvalidProducerIdMapping)?.clone();
        let is_retry = bumps && is_retry_of_end(&transaction, speaker);
        if transaction.producer_id != speaker.producer_id && !is_retry {
            return Err(ErrorCode::InvalidProducerIdMapping);
        }
        if transaction.epoch != speaker.epoch && !is_retry {
            return Err(ErrorCode::ProducerFenced);
        }
        if transaction.pending {
            return Err(ErrorCode::ConcurrentTransactions);
        }
        let invalid = Err(ErrorCode::InvalidTxnState);
        match (transaction.state, commit) {
            (State::Ongoing, _) => {}
            (State::CompleteCommit, true) | (State::CompleteAbort, false) if !bumps || is_retry => {
                return Ok(Some((transaction.producer_id, transaction.epoch)));
            }
            // An abort of nothing still gives the producer another epoch, so that what is under way is fenced.
            (State::CompleteCommit | State::CompleteAbort | State::Empty, false) if bumps && !is_retry => {}
            (State::PrepareCommit, true) | (State::PrepareAbort, false) => {
                return Err(ErrorCode::ConcurrentTransactions);
            }
            _ => return invalid,
        }
        let state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        let mut next = transaction.step(state, now_ms);
        if transaction.state != State::Ongoing {
            next.partitions.clear();
            next.started_ms = now_ms;
        }
        let mut told = (next.producer_id, next.epoch);
        if bumps {
            next.client_version = BUMPING;
            next.last_epoch = transaction.epoch;
            next.epoch = transaction.epoch.saturating_add(1);
            told = (next.producer_id, next.epoch);
            if transaction.epoch >= EPOCH_EXHAUSTED {
                let fresh = self.next_producer_id(ctx, node).ok_or(ErrorCode::CoordinatorNotAvailable)?;
                next.next_producer_id = fresh;
                told = (fresh, 0);
            }
        }
        let (producer_id, producer_epoch) = told;
        let answer = EndTxnResponse { producer_id, producer_epoch, ..EndTxnResponse::default() };
        self.take_step(ctx, node, speaker.id, next, After::Answer(ticket, Response::EndTxn(answer)))?;
        Ok(None)
    }

    /// Plans to look for transactions that have lasted too long.
    fn plan_scan(&mut self, ctx: &Context<'_>) {
        if !self.transactions.scan_planned {
            self.transactions.scan_planned = true;
            let interval = self.config.transactions.abort_timed_out_transaction_cleanup_interval_ms.max(1);
            self.set_timer(ctx.now() + Duration::from_millis(interval), Timer::AbortScan);
        }
    }

    /// Coordinators abort transactions that have lasted too long.
    pub(crate) fn abort_timed_out(&mut self, ctx: &Context<'_>) {
        self.transactions.scan_planned = false;
        let (mut late, mut ongoing) = (Vec::new(), false);
        for ((node, _), loaded) in &self.transactions.loaded {
            for (id, transaction) in loaded.by_id.iter().filter(|(_, found)| found.state == State::Ongoing) {
                ongoing = true;
                let lasted_ms = ctx.wall(*node).as_millis().saturating_sub(transaction.started_ms);
                if runs(ctx, *node) && !transaction.pending && lasted_ms > i64::from(transaction.timeout_ms) {
                    late.push((*node, id.clone(), transaction.fenced(ctx.wall(*node).as_millis())));
                }
            }
        }
        for (node, id, next) in late {
            // Where that cannot be stored now the next scan tries again.
            let _ = self.take_step(ctx, node, &id, next, After::Nothing);
        }
        if ongoing {
            self.plan_scan(ctx);
        }
    }

    /// The coordinator of a transaction, if a broker reaches it.
    pub(crate) fn reachable_coordinator(&self, ctx: &Context<'_>, node: NodeId, id: &str) -> Result<NodeId, ErrorCode> {
        let (_, leader) = self.transaction_partition(node, id)?;
        let leader = leader.map(NodeId).ok_or(ErrorCode::CoordinatorNotAvailable)?;
        let reached = leader == node || (self.is_up(ctx, leader) && ctx.connected(PART, node, leader));
        if reached { Ok(leader) } else { Err(ErrorCode::NetworkException) }
    }
}

/// How long a step waits for replicas.
const STORING_TIMEOUT_MS: i32 = 60_000;

/// The epoch after InitProducerId, and the one before it.
fn bumped(transaction: &Transaction, expected: Option<i16>) -> Result<(i16, i16), ErrorCode> {
    let next = transaction.epoch.saturating_add(1);
    match expected {
        None => Ok((next, -1)),
        Some(expected) if transaction.epoch == -1 || expected == transaction.epoch => Ok((next, transaction.epoch)),
        // The answer to this very request was lost.
        Some(expected) if expected == transaction.last_epoch => Ok((transaction.epoch, transaction.last_epoch)),
        Some(_) => Err(ErrorCode::ProducerFenced),
    }
}

/// Whether the end of a transaction is asked for again, by a producer that has not heard of its new epoch.
fn is_retry_of_end(transaction: &Transaction, speaker: &Speaker<'_>) -> bool {
    let over = matches!(
        transaction.state,
        State::PrepareCommit | State::PrepareAbort | State::CompleteCommit | State::CompleteAbort
    );
    let same_id = transaction.producer_id == speaker.producer_id && transaction.epoch == speaker.epoch.wrapping_add(1);
    let other_id = transaction.previous_producer_id == speaker.producer_id
        && speaker.epoch == EPOCH_EXHAUSTED
        && transaction.epoch == 0;
    over && transaction.client_version >= BUMPING && (same_id || other_id)
}

/// An answer that was prepared for success.
fn with_error(response: Response, error: ErrorCode) -> Response {
    let error_code = error.code();
    match response {
        Response::InitProducerId(answer) => Response::InitProducerId(InitProducerIdResponse {
            error_code,
            producer_id: -1,
            producer_epoch: -1,
            ..answer
        }),
        Response::EndTxn(answer) => {
            Response::EndTxn(EndTxnResponse { error_code, producer_id: -1, producer_epoch: -1, ..answer })
        }
        Response::AddOffsetsToTxn(mut answer) => {
            answer.error_code = error_code;
            Response::AddOffsetsToTxn(answer)
        }
        Response::AddPartitionsToTxn(mut answer) => {
            let batched = answer.results_by_transaction.iter_mut().flat_map(|result| &mut result.topic_results);
            for topic in batched.chain(&mut answer.results_by_topic_v3and_below) {
                topic.results_by_partition.iter_mut().for_each(|part| part.partition_error_code = error_code);
            }
            Response::AddPartitionsToTxn(answer)
        }
        other => other,
    }
}
