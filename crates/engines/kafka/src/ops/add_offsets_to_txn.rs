//! AddOffsetsToTxn (25), versions 0–4: the partition that keeps a group's offsets becomes part of a transaction.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_AddOffsetsToTxn>

use std::collections::BTreeSet;

use atoll_kernel::Context;

use super::add_partitions_to_txn::told;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::transactions::{Joined, Speaker};
use crate::wire::Response;
use crate::wire::generated::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: AddOffsetsToTxnRequest,
) -> Outcome {
    let answer = Response::AddOffsetsToTxn(AddOffsetsToTxnResponse::default());
    match join(cluster, ctx, caller, &request, answer.clone()) {
        Ok(Joined::Already) => answer.into(),
        Ok(Joined::Soon) => Outcome::Parked,
        Err(error) => {
            let error_code = told(error, caller.version).code();
            Response::AddOffsetsToTxn(AddOffsetsToTxnResponse { error_code, ..Default::default() }).into()
        }
    }
}

fn join(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: &AddOffsetsToTxnRequest,
    answer: Response,
) -> Result<Joined, ErrorCode> {
    if request.transactional_id.is_empty() {
        return Err(ErrorCode::InvalidRequest);
    }
    let partition = cluster.offsets_partition(caller.node, &request.group_id)?;
    let (producer_id, epoch) = (request.producer_id, request.producer_epoch);
    let speaker = Speaker { id: &request.transactional_id, producer_id, epoch };
    let waits = (caller.node, caller.ticket);
    cluster.join_transaction(ctx, waits, &speaker, BTreeSet::from([partition]), (0, Some(answer)))
}
