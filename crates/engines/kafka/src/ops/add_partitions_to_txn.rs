//! AddPartitionsToTxn (24), versions 0–5: partitions become part of a transaction, before its producer writes to them. Since
//! version 4 for several transactions at once, as brokers ask it, who may also only ask whether they are (`verify_only`).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AddPartitionsToTxn>

use std::collections::BTreeSet;

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::transactions::{BUMPING, Joined, Speaker};
use crate::wire::Response;
use crate::wire::generated::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use crate::wire::generated::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use crate::wire::generated::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AddPartitionsToTxnRequest,
) -> Outcome {
    if caller.version < 4 {
        let asked = AddPartitionsToTxnTransaction {
            transactional_id: request.v3and_below_transactional_id,
            producer_id: request.v3and_below_producer_id,
            producer_epoch: request.v3and_below_producer_epoch,
            verify_only: false,
            topics: request.v3and_below_topics,
        };
        let mut response = AddPartitionsToTxnResponse {
            results_by_topic_v3and_below: results(&asked.topics, |_, _| ErrorCode::None),
            ..AddPartitionsToTxnResponse::default()
        };
        return match join(cluster, ctx, caller, &asked, &response) {
            Ok(true) => Outcome::Parked,
            Ok(false) => Response::AddPartitionsToTxn(response).into(),
            Err(refusal) => {
                response.results_by_topic_v3and_below = refusal;
                Response::AddPartitionsToTxn(response).into()
            }
        };
    }
    let mut response = AddPartitionsToTxnResponse::default();
    let only = request.transactions.len() == 1;
    for asked in &request.transactions {
        let id = asked.transactional_id.clone();
        let whole = AddPartitionsToTxnResponse {
            results_by_transaction: vec![AddPartitionsToTxnResult {
                transactional_id: id.clone(),
                topic_results: results(&asked.topics, |_, _| ErrorCode::None),
            }],
            ..AddPartitionsToTxnResponse::default()
        };
        let topic_results = match asked.verify_only {
            true => verify(cluster, caller, asked),
            false => match join(cluster, ctx, caller, asked, &whole) {
                Ok(true) if only => return Outcome::Parked,
                // Of several that have to be stored each is asked for again.
                Ok(true) => results(&asked.topics, |_, _| ErrorCode::ConcurrentTransactions),
                Ok(false) => results(&asked.topics, |_, _| ErrorCode::None),
                Err(refusal) => refusal,
            },
        };
        response.results_by_transaction.push(AddPartitionsToTxnResult { transactional_id: id, topic_results });
    }
    Response::AddPartitionsToTxn(response).into()
}

fn results(
    topics: &[AddPartitionsToTxnTopic],
    error: impl Fn(&str, i32) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let of_topic = |topic: &AddPartitionsToTxnTopic| AddPartitionsToTxnTopicResult {
        name: topic.name.clone(),
        results_by_partition: topic
            .partitions
            .iter()
            .map(|partition| AddPartitionsToTxnPartitionResult {
                partition_index: *partition,
                partition_error_code: error(&topic.name, *partition).code(),
            })
            .collect(),
    };
    topics.iter().map(of_topic).collect()
}

/// The answer before version 4 where nothing was done.
pub(super) fn refused(topics: &[AddPartitionsToTxnTopic], error: ErrorCode) -> AddPartitionsToTxnResponse {
    AddPartitionsToTxnResponse {
        results_by_topic_v3and_below: results(topics, |_, _| error),
        ..AddPartitionsToTxnResponse::default()
    }
}

/// Whether the answer, which is then given later, waits for the partitions to be stored.
fn join(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    asked: &AddPartitionsToTxnTransaction,
    answer: &AddPartitionsToTxnResponse,
) -> Result<bool, Vec<AddPartitionsToTxnTopicResult>> {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let known = |topic: &str, index: i32| image.is_some_and(|image| image.partition(topic, index).is_some());
    // Since version 4 brokers ask for each other.
    let may_write = |topic: &str| caller.version >= 4 || cluster.may_topic(caller, Operation::Write, topic);
    let named = asked.topics.iter().flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.clone(), *index)));
    let partitions: BTreeSet<(String, i32)> = named.collect();
    if !partitions.iter().all(|(topic, index)| may_write(topic) && known(topic, *index)) {
        let error = |topic: &str, index: i32| match known(topic, index) {
            _ if !may_write(topic) => ErrorCode::TopicAuthorizationFailed,
            true => ErrorCode::OperationNotAttempted,
            false => ErrorCode::UnknownTopicOrPartition,
        };
        return Err(results(&asked.topics, error));
    }
    if asked.transactional_id.is_empty() {
        return Err(results(&asked.topics, |_, _| ErrorCode::InvalidRequest));
    }
    let speaker = speaker(asked);
    let client_version = if caller.version >= 5 { BUMPING } else { 0 };
    let answer = Some(Response::AddPartitionsToTxn(answer.clone()));
    let waits = (caller.node, caller.ticket);
    match cluster.join_transaction(ctx, waits, &speaker, partitions, (client_version, answer)) {
        Ok(Joined::Already) => Ok(false),
        Ok(Joined::Soon) => Ok(true),
        Err(error) => {
            let error = told(error, caller.version);
            Err(results(&asked.topics, |_, _| error))
        }
    }
}

fn verify(
    cluster: &Cluster,
    caller: &Caller,
    asked: &AddPartitionsToTxnTransaction,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let speaker = speaker(asked);
    results(&asked.topics, |topic, index| {
        match cluster.verify_joined(caller.node, &speaker, &(topic.to_owned(), index)) {
            Ok(()) => ErrorCode::None,
            Err(ErrorCode::TransactionAbortable) if caller.version < 5 => ErrorCode::InvalidTxnState,
            Err(error) => error,
        }
    })
}

fn speaker(asked: &AddPartitionsToTxnTransaction) -> Speaker<'_> {
    Speaker { id: &asked.transactional_id, producer_id: asked.producer_id, epoch: asked.producer_epoch }
}

/// Clients before version 2 do not know of PRODUCER_FENCED.
pub(super) fn told(error: ErrorCode, version: i16) -> ErrorCode {
    if error == ErrorCode::ProducerFenced && version < 2 { ErrorCode::InvalidProducerEpoch } else { error }
}
