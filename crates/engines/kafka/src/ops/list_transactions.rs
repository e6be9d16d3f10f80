//! ListTransactions (66), versions 0–1: the transactions that a broker coordinates, by state, producer and, since version 1, by
//! how long they have lasted.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_ListTransactions>

use atoll_kernel::Context;

use crate::cluster::{Caller, Cluster, Outcome};
use crate::security::acl::Operation;
use crate::transactions::State;
use crate::wire::Response;
use crate::wire::generated::list_transactions_response::TransactionState;
use crate::wire::generated::{ListTransactionsRequest, ListTransactionsResponse};

pub(super) fn apply(
    cluster: &Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: &ListTransactionsRequest,
) -> Outcome {
    let is_state = |name: &&String| State::ALL.iter().any(|state| state.name() == name.as_str());
    let unknown = request.state_filters.iter().filter(|name| !is_state(name)).cloned();
    let mut response =
        ListTransactionsResponse { unknown_state_filters: unknown.collect(), ..ListTransactionsResponse::default() };
    let now_ms = ctx.wall(caller.node).as_millis();
    for (id, transaction) in cluster.transactions.of(caller.node) {
        let state = transaction.state.name();
        let in_state = request.state_filters.is_empty() || request.state_filters.iter().any(|name| name == state);
        let of_producer =
            request.producer_id_filters.is_empty() || request.producer_id_filters.contains(&transaction.producer_id);
        let lasted_ms = now_ms.saturating_sub(transaction.started_ms);
        let long_enough = request.duration_filter < 0 || lasted_ms > request.duration_filter;
        if in_state && of_producer && long_enough && cluster.may_transact(caller, Operation::Describe, id) {
            response.transaction_states.push(TransactionState {
                transactional_id: id.clone(),
                producer_id: transaction.producer_id,
                transaction_state: state.to_owned(),
            });
        }
    }
    Response::ListTransactions(response).into()
}
