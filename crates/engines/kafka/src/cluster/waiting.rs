//! Requests whose answers come later: until replicas have a batch, until there is something to fetch, until the controller
//! can be reached, or until a starting broker serves.

use std::collections::{BTreeMap, BTreeSet};

use atoll_kernel::{Context, NodeId};

use super::{ACKNOWLEDGED, Caller, Cluster, Outcome, Ticket, Turn, milliseconds};
use crate::error::ErrorCode;
use crate::ops;
use crate::state::image::PartitionKey;
use crate::state::tree::Acknowledged;
use crate::transactions::{Marked, Step};
use crate::wire::generated::{OffsetCommitResponse, ProduceResponse, TxnOffsetCommitResponse};
use crate::wire::{Request, Response};

/// What a request waits for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// The broker has not yet started.
    Serving(Request),
    /// The controller cannot be reached.
    Controller(Request),
    /// Records are not yet on all in-sync replicas.
    Replicated(Vec<Need>, Then),
    /// There is not yet enough to fetch.
    Fetch(Box<ops::fetch::Fetching>),
    /// Replicas do not yet begin where they are asked to.
    Deleted(ops::delete_records::Deleting),
    /// Partitions are not yet part of a transaction.
    Transaction(Request),
}

/// Records that must be committed before an answer is given.
#[derive(Debug, Clone)]
pub(crate) struct Need {
    pub key: PartitionKey,
    /// The leader's epoch when it was asked for them.
    pub epoch: i32,
    /// The epoch in which they were appended: an earlier one, if a producer repeats itself.
    pub appended_in: i32,
    pub base_offset: i64,
    /// The offset after the last of them.
    pub end: i64,
    /// Where the answer speaks of them: topic and partition.
    pub place: (usize, usize),
    /// What came of it.
    pub result: Option<ErrorCode>,
    /// What the answer promises of them, if anything.
    pub promised: Option<Acknowledged>,
}

impl Need {
    /// Records that a leader has just appended, from `base_offset` up to `end`.
    pub fn appended(key: PartitionKey, epoch: i32, base_offset: i64, end: i64) -> Need {
        Need { key, epoch, appended_in: epoch, base_offset, end, place: (0, 0), result: None, promised: None }
    }
}

/// What is then answered.
#[derive(Debug)]
pub(crate) enum Then {
    Produce(ProduceResponse),
    /// Offsets of a group were committed; these values become visible with the answer.
    Commit(OffsetCommitResponse, String, Vec<crate::groups::NewOffset>),
    /// A group's assignment was stored: its members may be told.
    Synced(String, i32),
    /// Offsets of a group were written into a transaction.
    CommitInTransaction(TxnOffsetCommitResponse),
    /// A step of a transaction was stored.
    Transaction(Box<Step>),
    /// A partition was told of a transaction's end.
    Marked(Marked),
    /// Somebody had the ends of transactions written.
    MarkersWritten(ops::write_txn_markers::Writing),
    /// This, or what is made of the error.
    Respond(Box<Response>, fn(ErrorCode) -> Response),
    /// Nobody waits for the answer.
    Nothing,
}

#[derive(Debug)]
struct Waiter {
    caller: Caller,
    waiting: Waiting,
    keys: Vec<PartitionKey>,
    deadline: Option<Turn>,
}

/// All requests that wait.
#[derive(Debug, Default)]
pub(super) struct Waits {
    next: u64,
    waiters: BTreeMap<u64, Waiter>,
    by_ticket: BTreeMap<Ticket, u64>,
    by_partition: BTreeMap<PartitionKey, BTreeSet<u64>>,
    /// Whose time is up when. Of those that are answered before, which is nearly all, nothing stays behind.
    deadlines: BTreeMap<Turn, u64>,
}

impl Waits {
    fn add(&mut self, caller: &Caller, waiting: Waiting, keys: &[PartitionKey], deadline: Option<Turn>) {
        let id = self.next;
        self.next += 1;
        self.by_ticket.insert(caller.ticket, id);
        self.waiters.insert(id, Waiter { caller: caller.clone(), waiting, keys: keys.to_vec(), deadline });
        for key in keys {
            self.by_partition.entry(*key).or_default().insert(id);
        }
        self.deadlines.extend(deadline.map(|turn| (turn, id)));
    }

    /// When the first request's time is up.
    pub fn first_deadline(&self) -> Option<Turn> {
        self.deadlines.first_key_value().map(|(turn, _)| *turn)
    }

    /// The request whose turn it is to expire.
    pub fn take_expired(&mut self, turn: Turn) -> Option<u64> {
        self.deadlines.remove(&turn)
    }

    fn remove(&mut self, id: u64) -> Option<Waiter> {
        let waiter = self.waiters.remove(&id)?;
        self.unlist(id, &waiter);
        Some(waiter)
    }

    /// Forgets where a waiter is listed.
    fn unlist(&mut self, id: u64, waiter: &Waiter) {
        if self.by_ticket.get(&waiter.caller.ticket) == Some(&id) {
            self.by_ticket.remove(&waiter.caller.ticket);
        }
        if let Some(turn) = waiter.deadline {
            self.deadlines.remove(&turn);
        }
        for key in &waiter.keys {
            if let Some(ids) = self.by_partition.get_mut(key) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_partition.remove(key);
                }
            }
        }
    }

    pub fn cancel(&mut self, ticket: Ticket) {
        if let Some(id) = self.by_ticket.get(&ticket).copied() {
            self.remove(id);
        }
    }

    /// The clients of a dead broker get no answers.
    pub fn forget(&mut self, node: NodeId) {
        let ids: Vec<u64> =
            self.waiters.iter().filter(|(_, waiter)| waiter.caller.node == node).map(|(id, _)| *id).collect();
        for id in ids {
            self.remove(id);
        }
    }
}

impl Cluster {
    pub(super) fn park_until_serving(&mut self, caller: &Caller, request: Request) -> Outcome {
        self.waits.add(caller, Waiting::Serving(request), &[], None);
        Outcome::Parked
    }

    /// Parks a request until the controller can be reached, or its time is up.
    pub(crate) fn park_for_controller(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        request: Request,
        timeout_ms: i32,
    ) -> Outcome {
        self.park(ctx, caller, Waiting::Controller(request), &[], timeout_ms)
    }

    /// Parks a request until something happens to one of these partitions, or its time is up.
    pub(crate) fn park(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        waiting: Waiting,
        keys: &[PartitionKey],
        timeout_ms: i32,
    ) -> Outcome {
        let deadline = self.next_turn(ctx.now() + milliseconds(timeout_ms));
        self.waits.add(caller, waiting, keys, Some(deadline));
        self.woken.extend(keys);
        Outcome::Parked
    }

    /// Links have changed, the controller is another, or a broker has started: what waited for that is tried again.
    pub(super) fn retry_requests(&mut self, ctx: &Context<'_>) {
        self.retry_all_markers(ctx);
        let can_commit = self.plane.can_commit(ctx);
        let ready = |(id, waiter): (&u64, &Waiter)| {
            let node = waiter.caller.node;
            let ready = match &waiter.waiting {
                Waiting::Serving(_) => self.brokers.get(&node).is_some_and(|broker| broker.serving),
                Waiting::Controller(_) => can_commit && self.controller_near(ctx, node),
                _ => false,
            };
            ready.then_some(*id)
        };
        let ids: Vec<u64> = self.waits.waiters.iter().filter_map(ready).collect();
        for id in ids {
            let Some(Waiter { caller, waiting, .. }) = self.waits.remove(id) else { continue };
            let (Waiting::Serving(request) | Waiting::Controller(request)) = waiting else { continue };
            match ops::dispatch(self, ctx, &caller, request) {
                Outcome::Parked => {}
                outcome => self.answers.push((caller.ticket, outcome)),
            }
        }
    }

    /// Something happened to a partition: who waits for it is looked at.
    pub(super) fn wake(&mut self, ctx: &Context<'_>, key: PartitionKey) {
        let Some(ids) = self.waits.by_partition.get(&key).cloned() else { return };
        for id in ids {
            self.try_complete(ctx, id, false);
        }
    }

    /// A request's time is up.
    pub(super) fn expire(&mut self, ctx: &Context<'_>, id: u64) {
        self.try_complete(ctx, id, true);
    }

    /// Answers a request if it can be answered, or must be.
    fn try_complete(&mut self, ctx: &Context<'_>, id: u64, time_is_up: bool) {
        // It is taken out for as long as it is looked at, and stays listed.
        let Some(mut waiter) = self.waits.waiters.remove(&id) else { return };
        let caller = waiter.caller.clone();
        let (mut answer, mut done) = (None, false);
        match &mut waiter.waiting {
            Waiting::Serving(_) => {}
            Waiting::Transaction(request) => {
                answer = time_is_up.then(|| not_joined(request, ErrorCode::CoordinatorNotAvailable));
            }
            Waiting::Controller(request) => answer = time_is_up.then(|| ops::timed_out(request)),
            Waiting::Fetch(fetching) => {
                answer = ops::fetch::answer(self, ctx, &caller, fetching, time_is_up).map(Response::Fetch);
            }
            Waiting::Deleted(deleting) => {
                answer = ops::delete_records::answer(self, &caller, deleting, time_is_up);
            }
            Waiting::Replicated(needs, then) => {
                done = needs.iter_mut().fold(true, |all, need| self.check_need(caller.node, need, time_is_up) & all);
                if done {
                    let then = std::mem::replace(then, Then::Nothing);
                    let needs = std::mem::take(needs);
                    answer = self.conclude(ctx, &caller, needs, then);
                }
            }
        }
        if answer.is_none() && !done {
            self.waits.waiters.insert(id, waiter);
            return;
        }
        self.waits.unlist(id, &waiter);
        if let Some(response) = answer {
            self.answer(caller.ticket, response);
        }
    }

    /// Whether it is known what has become of appended records.
    pub(crate) fn check_need(&self, node: NodeId, need: &mut Need, time_is_up: bool) -> bool {
        if need.result.is_some() {
            return true;
        }
        need.result = match self.partitions.get(&need.key) {
            None => Some(ErrorCode::UnknownTopicOrPartition),
            Some(partition) => match partition.leadership(node) {
                Some(led) if led.epoch == need.epoch => {
                    let committed = partition.high_watermark(node) >= need.end;
                    let wanted =
                        usize::try_from(self.min_insync(node, need.key)).unwrap_or(1).min(partition.replicas.len());
                    match (committed, time_is_up) {
                        (true, _) if led.isr.union(&led.joining).count() < wanted => {
                            Some(ErrorCode::NotEnoughReplicasAfterAppend)
                        }
                        (true, _) => Some(ErrorCode::None),
                        (false, true) => Some(ErrorCode::RequestTimedOut),
                        (false, false) => None,
                    }
                }
                _ => Some(ErrorCode::NotLeaderOrFollower),
            },
        };
        need.result.is_some()
    }

    /// A partition's `min.insync.replicas` in a broker's view.
    pub(crate) fn min_insync(&self, node: NodeId, key: PartitionKey) -> i32 {
        let image = self.brokers.get(&node).map(|broker| &broker.image);
        image.and_then(|image| image.partition_by_key(key)).map_or(1, |(_, topic, _)| topic.config.min_insync_replicas)
    }

    /// Gives the answer to a request whose records have been committed, or not.
    pub(crate) fn conclude(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        mut needs: Vec<Need>,
        then: Then,
    ) -> Option<Response> {
        match then {
            Then::Produce(mut response) => {
                needs.iter().for_each(|need| conclude_produce(need, &mut response));
                self.promise_committed(caller, needs);
                ctx.reached(ACKNOWLEDGED, caller.node);
                Some(Response::Produce(response))
            }
            Then::Commit(response, group, offsets) => {
                let response = ops::offset_commit::conclude(self, caller, response, &group, offsets, &needs);
                self.promise_committed(caller, needs);
                Some(response)
            }
            Then::Synced(group, generation) => {
                self.group_stored(ctx, caller.node, &group, generation, failure(&needs));
                None
            }
            Then::CommitInTransaction(response) => {
                let failed = failure(&needs);
                self.promise_committed(caller, needs);
                Some(ops::txn_offset_commit::conclude(response, failed))
            }
            Then::Transaction(step) => {
                // Whoever is told of it is told by what the coordinator does next.
                needs.iter_mut().for_each(|need| self.settle_promise(caller.node, need));
                needs.iter().for_each(|need| self.keep_promise(ctx.kernel(), need));
                self.step_stored(ctx, caller.node, *step, failure(&needs));
                None
            }
            Then::Marked(marked) => {
                if let Some(need) = needs.first() {
                    self.marked(ctx, caller.node, need, marked);
                }
                None
            }
            Then::MarkersWritten(writing) => Some(ops::write_txn_markers::conclude(self, caller.node, &needs, writing)),
            Then::Respond(stored, failed) => match failure(&needs) {
                Some(error) => Some(failed(error)),
                None => {
                    self.promise_committed(caller, needs);
                    Some(*stored)
                }
            },
            Then::Nothing => None,
        }
    }

    /// A request that waited for a transaction goes on, or is answered with why it cannot.
    pub(crate) fn resume(&mut self, ctx: &Context<'_>, ticket: Ticket, failed: Option<ErrorCode>) {
        let Some(id) = self.waits.by_ticket.get(&ticket).copied() else { return };
        if !matches!(self.waits.waiters.get(&id).map(|waiter| &waiter.waiting), Some(Waiting::Transaction(_))) {
            return;
        }
        let Some(Waiter { caller, waiting: Waiting::Transaction(request), .. }) = self.waits.remove(id) else {
            return;
        };
        let outcome = match failed {
            Some(error) => not_joined(&request, error).into(),
            None => ops::dispatch(self, ctx, &caller, request),
        };
        if outcome != Outcome::Parked {
            self.answers.push((caller.ticket, outcome));
        }
    }
}

/// What the answer to a producer says of records.
fn conclude_produce(need: &Need, response: &mut ProduceResponse) {
    let place =
        response.responses.get_mut(need.place.0).and_then(|topic| topic.partition_responses.get_mut(need.place.1));
    let Some(place) = place else { return };
    if need.result != Some(ErrorCode::None) {
        place.error_code = need.result.unwrap_or(ErrorCode::RequestTimedOut).code();
        place.base_offset = -1;
    }
}

/// Why records are not committed, if they are not.
fn failure(needs: &[Need]) -> Option<ErrorCode> {
    needs.iter().find_map(|need| need.result.filter(|result| *result != ErrorCode::None))
}

/// The answer to a request whose partitions did not become part of a transaction.
fn not_joined(request: &Request, error: ErrorCode) -> Response {
    match request {
        Request::TxnOffsetCommit(request) => ops::txn_offset_commit::failed(request, error),
        Request::Produce(request) => ops::produce::not_joined(request, error),
        _ => ops::timed_out(request),
    }
}
