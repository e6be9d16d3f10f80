//! InitProducerId (22), versions 0–5: an id for an idempotent producer. Every broker gives ids from blocks of a thousand that
//! the controller hands out. With a transactional id, whose coordinator is asked, the producer gets an epoch that fences those
//! before it, and a transaction that one of them left open is aborted.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_InitProducerId>

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Caller, Cluster, Outcome};
use crate::error::ErrorCode;
use crate::state::image::MetadataRecord;
use crate::wire::generated::{InitProducerIdRequest, InitProducerIdResponse};
use crate::wire::{Request, Response};

const BLOCK_SIZE: i64 = 1_000;
/// How long the controller is waited for; the request does not say.
const TIMEOUT_MS: i32 = 30_000;

pub(super) fn apply(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    request: InitProducerIdRequest,
) -> Outcome {
    if let Some(id) = &request.transactional_id {
        return with_id(cluster, ctx, caller, id, &request);
    }
    match cluster.next_producer_id(ctx, caller.node) {
        None => cluster.park_for_controller(ctx, caller, Request::InitProducerId(request), TIMEOUT_MS),
        Some(producer_id) => {
            let answer = InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() };
            Response::InitProducerId(answer).into()
        }
    }
}

fn with_id(
    cluster: &mut Cluster,
    ctx: &Context<'_>,
    caller: &Caller,
    id: &str,
    request: &InitProducerIdRequest,
) -> Outcome {
    let expected = match (request.producer_id, request.producer_epoch) {
        (-1, -1) => None,
        (producer_id, epoch) if producer_id >= 0 && epoch >= 0 => Some((producer_id, epoch)),
        _ => return refused(ErrorCode::InvalidRequest).into(),
    };
    if id.is_empty() {
        return refused(ErrorCode::InvalidRequest).into();
    }
    let waits = (caller.node, caller.ticket);
    match cluster.init_transaction(ctx, waits, id, request.transaction_timeout_ms, expected) {
        Ok(()) => Outcome::Parked,
        // Clients before version 4 do not know of PRODUCER_FENCED.
        Err(ErrorCode::ProducerFenced) if caller.version < 4 => refused(ErrorCode::InvalidProducerEpoch).into(),
        Err(error) => refused(error).into(),
    }
}

impl Cluster {
    /// A producer id that was given to nobody; None if the controller has to give a new block and cannot be reached.
    pub(crate) fn next_producer_id(&mut self, ctx: &Context<'_>, node: NodeId) -> Option<i64> {
        let block = self.brokers.get(&node)?.producer_ids;
        if block.0 == block.1 {
            let next = self.authority.next_producer_id + BLOCK_SIZE;
            let near = self.controller_near(ctx, node);
            if !near || self.commit(ctx, vec![MetadataRecord::ProducerIds { next }]).is_err() {
                return None;
            }
        }
        let last = self.authority.next_producer_id;
        let broker = self.brokers.get_mut(&node)?;
        if block.0 == block.1 {
            broker.producer_ids = (last - BLOCK_SIZE, last);
        }
        broker.producer_ids.0 += 1;
        Some(broker.producer_ids.0 - 1)
    }
}

pub(super) fn refused(error: ErrorCode) -> Response {
    Response::InitProducerId(InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..InitProducerIdResponse::default()
    })
}

pub(super) fn timed_out() -> Response {
    refused(ErrorCode::RequestTimedOut)
}
