//! DescribeTransactions (65), version 0: what transactions are at, as their coordinator knows it.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_DescribeTransactions>

use std::collections::BTreeMap;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::security::acl::Operation;
use crate::wire::Response;
use crate::wire::generated::describe_transactions_response::{TopicData, TransactionState};
use crate::wire::generated::{DescribeTransactionsRequest, DescribeTransactionsResponse};

pub(super) fn apply(cluster: &Cluster, caller: &Caller, request: DescribeTransactionsRequest) -> Outcome {
    let mut response = DescribeTransactionsResponse::default();
    for id in request.transactional_ids {
        let described = describe(cluster, caller, &id)
            .unwrap_or_else(|error| TransactionState { error_code: error.code(), ..TransactionState::default() });
        response.transaction_states.push(TransactionState { transactional_id: id, ..described });
    }
    Response::DescribeTransactions(response).into()
}

fn describe(cluster: &Cluster, caller: &Caller, id: &str) -> Result<TransactionState, ErrorCode> {
    if !cluster.may_transact(caller, Operation::Describe, id) {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    if id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let transaction = cluster.transaction(caller.node, id)?.ok_or(ErrorCode::TransactionalIdNotFound)?;
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    let may_know = |topic: &str| cluster.may_topic(caller, Operation::Describe, topic);
    for (topic, partition) in transaction.partitions.iter().filter(|(topic, _)| may_know(topic)) {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let topic = |(topic, partitions): (&str, Vec<i32>)| TopicData { topic: topic.to_owned(), partitions };
    Ok(TransactionState {
        transaction_state: transaction.state.name().to_owned(),
        transaction_timeout_ms: transaction.timeout_ms,
        transaction_start_time_ms: transaction.started_ms,
        producer_id: transaction.producer_id,
        producer_epoch: transaction.epoch,
        topics: by_topic.into_iter().map(topic).collect(),
        ..TransactionState::default()
    })
}
