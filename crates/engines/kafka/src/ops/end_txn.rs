//! EndTxn (26), versions 0–5: a transaction is committed or aborted. The answer says that this is decided; the partitions are
//! told afterwards. Since version 5 the producer gets another epoch with it (KIP-890).
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_EndTxn>

use atoll_kernel::Context;

use super::add_partitions_to_txn::told;
use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::transactions::Speaker;
use crate::wire::Response;
use crate::wire::generated::{EndTxnRequest, EndTxnResponse};

pub(super) fn apply(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: EndTxnRequest) -> Outcome {
    let (producer_id, epoch) = (request.producer_id, request.producer_epoch);
    let speaker = Speaker { id: &request.transactional_id, producer_id, epoch };
    let waits = (caller.node, caller.ticket);
    let ended = match request.transactional_id.is_empty() {
        true => Err(ErrorCode::InvalidRequest),
        false => cluster.end_transaction(ctx, waits, &speaker, request.committed, caller.version >= 5),
    };
    match ended {
        Ok(None) => Outcome::Parked,
        Ok(Some((producer_id, producer_epoch))) => {
            Response::EndTxn(EndTxnResponse { producer_id, producer_epoch, ..EndTxnResponse::default() }).into()
        }
        Err(error) => {
            let error_code = told(error, caller.version).code();
            Response::EndTxn(EndTxnResponse { error_code, ..EndTxnResponse::default() }).into()
        }
    }
}
