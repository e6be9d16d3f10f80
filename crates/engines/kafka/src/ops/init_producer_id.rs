//! InitProducerId (22), versions 0–5: an id for an idempotent producer. Every broker gives ids from blocks of a thousand that
//! the controller hands out. Transactional ids are not served.
//!
//! <https://kafka.apache.org/protocol.html#The_Messages_InitProducerId>

use atoll_kernel::Context;

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
    if request.transactional_id.is_some() {
        return refused(ErrorCode::InvalidRequest).into();
    }
    let block = cluster.brokers.get(&caller.node).map_or((0, 0), |broker| broker.producer_ids);
    if block.0 == block.1 {
        let next = cluster.authority.next_producer_id + BLOCK_SIZE;
        let near = cluster.controller_near(ctx, caller.node);
        if !near || cluster.commit(ctx, vec![MetadataRecord::ProducerIds { next }]).is_err() {
            return cluster.park_for_controller(ctx, caller, Request::InitProducerId(request), TIMEOUT_MS);
        }
    }
    let last = cluster.authority.next_producer_id;
    let Some(broker) = cluster.brokers.get_mut(&caller.node) else { return Outcome::Close };
    if block.0 == block.1 {
        broker.producer_ids = (last - BLOCK_SIZE, last);
    }
    let producer_id = broker.producer_ids.0;
    broker.producer_ids.0 += 1;
    Response::InitProducerId(InitProducerIdResponse { producer_id, producer_epoch: 0, ..Default::default() }).into()
}

fn refused(error: ErrorCode) -> Response {
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
