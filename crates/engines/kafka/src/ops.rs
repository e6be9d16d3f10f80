//! The dispatch table: one line per API, one file per operation.
//!
//! An operation gets a request that has been decoded and answers from the asked broker's own view. What only the
//! controller can do waits for the controller, for as long as the request says.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_client_quotas;
pub(crate) mod alter_configs;
mod alter_configs_old;
mod alter_partition_reassignments;
mod alter_replica_log_dirs;
mod alter_user_scram_credentials;
mod api_versions;
mod authorization;
mod broker_configs;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod create_acls;
mod create_partitions;
mod create_topics;
mod delegation_tokens;
mod delete_acls;
mod delete_groups;
pub(crate) mod delete_records;
mod delete_topics;
mod describe_acls;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_transactions;
mod describe_user_scram_credentials;
mod elect_leaders;
mod end_txn;
pub(crate) mod fetch;
mod find_coordinator;
mod init_producer_id;
mod leave_group;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod list_transactions;
mod metadata;
pub(crate) mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
pub(crate) mod produce;
mod sasl_authenticate;
mod sasl_handshake;
pub(crate) mod txn_offset_commit;
mod update_features;
pub(crate) mod write_txn_markers;

use atoll_kernel::{Context, NodeId};

use crate::cluster::{Caller, Cluster, Outcome, Side};
use crate::error::ErrorCode;
use crate::wire::generated::{HeartbeatRequest, HeartbeatResponse};
use crate::wire::{Request, Response};

pub use api_versions::unsupported as unsupported_api_versions;

/// Does what a request asks, if its caller may ask for it.
pub(crate) fn dispatch(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: Request) -> Outcome {
    if cluster.authorizer.is_some()
        && let Some(refusal) = authorization::refuse(cluster, caller, &request)
    {
        return refusal.into();
    }
    perform(cluster, ctx, caller, request)
}

fn perform(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: Request) -> Outcome {
    use Request::*;
    match request {
        AddOffsetsToTxn(request) => add_offsets_to_txn::apply(cluster, ctx, caller, request),
        AddPartitionsToTxn(request) => add_partitions_to_txn::apply(cluster, ctx, caller, request),
        AlterClientQuotas(request) => alter_client_quotas::apply(cluster, ctx, caller, request),
        AlterConfigs(request) => alter_configs_old::apply(cluster, ctx, caller, request),
        AlterPartitionReassignments(request) => alter_partition_reassignments::apply(cluster, ctx, caller, request),
        AlterReplicaLogDirs(request) => alter_replica_log_dirs::apply(cluster, caller, request),
        AlterUserScramCredentials(request) => alter_user_scram_credentials::apply(cluster, ctx, caller, request),
        ApiVersions(request) => api_versions::apply(cluster, caller, &request),
        ConsumerGroupDescribe(request) => consumer_group_describe::apply(cluster, caller, request),
        ConsumerGroupHeartbeat(request) => consumer_group_heartbeat::apply(cluster, ctx, caller, request),
        CreateAcls(request) => create_acls::apply(cluster, ctx, caller, request),
        CreateDelegationToken(_) => delegation_tokens::create(caller),
        CreatePartitions(request) => create_partitions::apply(cluster, ctx, caller, request),
        CreateTopics(request) => create_topics::apply(cluster, ctx, caller, request),
        DeleteAcls(request) => delete_acls::apply(cluster, ctx, caller, request),
        DeleteGroups(request) => delete_groups::apply(cluster, ctx, caller, request),
        DeleteRecords(request) => delete_records::apply(cluster, ctx, caller, request),
        DeleteTopics(request) => delete_topics::apply(cluster, ctx, caller, request),
        DescribeAcls(request) => describe_acls::apply(cluster, caller, request),
        DescribeClientQuotas(request) => describe_client_quotas::apply(cluster, caller, request),
        DescribeCluster(request) => describe_cluster::apply(cluster, ctx, caller, &request),
        DescribeConfigs(request) => describe_configs::apply(cluster, caller, request),
        DescribeDelegationToken(_) => delegation_tokens::describe(caller),
        DescribeGroups(request) => describe_groups::apply(cluster, caller, request),
        DescribeProducers(request) => describe_producers::apply(cluster, caller, request),
        DescribeTopicPartitions(request) => describe_topic_partitions::apply(cluster, caller, request),
        DescribeTransactions(request) => describe_transactions::apply(cluster, caller, request),
        DescribeUserScramCredentials(request) => describe_user_scram_credentials::apply(cluster, caller, request),
        EndTxn(request) => end_txn::apply(cluster, ctx, caller, request),
        DescribeLogDirs(request) => describe_log_dirs::apply(cluster, caller, request),
        DescribeQuorum(request) => describe_quorum::apply(cluster, ctx, caller, request),
        ElectLeaders(request) => elect_leaders::apply(cluster, ctx, caller, request),
        ExpireDelegationToken(_) => delegation_tokens::expire(caller),
        Fetch(request) => fetch::apply(cluster, ctx, caller, request),
        FindCoordinator(request) => find_coordinator::apply(cluster, ctx, caller, request),
        Heartbeat(request) => heartbeat(cluster, ctx, caller, &request),
        IncrementalAlterConfigs(request) => alter_configs::apply(cluster, ctx, caller, request),
        InitProducerId(request) => init_producer_id::apply(cluster, ctx, caller, request),
        JoinGroup(request) => cluster.join_group(ctx, caller, request),
        LeaveGroup(request) => leave_group::apply(cluster, ctx, caller, request),
        ListGroups(request) => list_groups::apply(cluster, caller, &request),
        ListOffsets(request) => list_offsets::apply(cluster, caller, request),
        ListTransactions(request) => list_transactions::apply(cluster, ctx, caller, &request),
        ListPartitionReassignments(request) => list_partition_reassignments::apply(cluster, ctx, caller, request),
        Metadata(request) => metadata::apply(cluster, ctx, caller, request),
        OffsetCommit(request) => offset_commit::apply(cluster, ctx, caller, request),
        OffsetDelete(request) => offset_delete::apply(cluster, ctx, caller, request),
        OffsetFetch(request) => offset_fetch::apply(cluster, caller, request),
        OffsetForLeaderEpoch(request) => offset_for_leader_epoch::apply(cluster, caller, request),
        Produce(request) => produce::apply(cluster, ctx, caller, request),
        RenewDelegationToken(_) => delegation_tokens::renew(caller),
        SaslAuthenticate(_) => sasl_authenticate::apply(),
        SaslHandshake(_) => sasl_handshake::apply(),
        SyncGroup(request) => cluster.sync_group(ctx, caller, request),
        TxnOffsetCommit(request) => txn_offset_commit::apply(cluster, ctx, caller, request),
        WriteTxnMarkers(request) => write_txn_markers::apply(cluster, ctx, caller, request),
        UpdateFeatures(request) => update_features::apply(cluster, ctx, caller, request),
    }
}

/// Heartbeat (12): a member of a classic group lives.
fn heartbeat(cluster: &mut Cluster, ctx: &Context<'_>, caller: &Caller, request: &HeartbeatRequest) -> Outcome {
    let error_code = code(cluster.group_heartbeat(ctx, caller.node, request));
    Response::Heartbeat(HeartbeatResponse { error_code, ..HeartbeatResponse::default() }).into()
}

/// The answer to a request that has waited for the controller in vain. Whether it will be done is unknown.
pub(crate) fn timed_out(request: &Request) -> Response {
    match request {
        Request::CreateTopics(request) => create_topics::timed_out(request),
        Request::DeleteTopics(request) => delete_topics::timed_out(request),
        Request::CreatePartitions(request) => create_partitions::timed_out(request),
        Request::IncrementalAlterConfigs(request) => alter_configs::timed_out(request),
        Request::AlterConfigs(request) => alter_configs_old::timed_out(request),
        Request::AlterPartitionReassignments(_) => alter_partition_reassignments::timed_out(),
        Request::AlterUserScramCredentials(request) => alter_user_scram_credentials::timed_out(request),
        Request::AlterClientQuotas(request) => alter_client_quotas::timed_out(request),
        Request::CreateAcls(request) => create_acls::timed_out(request),
        Request::DeleteAcls(request) => delete_acls::timed_out(request),
        Request::ElectLeaders(_) => elect_leaders::timed_out(),
        Request::ListPartitionReassignments(_) => list_partition_reassignments::timed_out(),
        Request::UpdateFeatures(request) => update_features::timed_out(request),
        _ => init_producer_id::timed_out(),
    }
}

/// Whether the controller can be asked now, and can answer.
fn controller_ready(cluster: &Cluster, ctx: &Context<'_>, caller: &Caller) -> bool {
    cluster.controller_near(ctx, caller.node) && cluster.plane.can_commit(ctx)
}

/// An outcome as the number on the wire.
fn code(result: Result<(), ErrorCode>) -> i16 {
    result.err().unwrap_or(ErrorCode::None).code()
}

/// Where a caller reaches a broker: over the listener that it came in by.
fn address(ctx: &Context<'_>, caller: &Caller, node: NodeId) -> (String, i32) {
    let host = ctx.kernel().node(node).map(|node| match caller.side {
        Side::Host => node.config.address.to_string(),
        Side::Pod => node.config.pod_side_address.to_string(),
    });
    (host.unwrap_or_default(), i32::from(caller.port))
}

/// A broker's rack: the zone of its node.
fn rack(ctx: &Context<'_>, node: NodeId) -> Option<String> {
    ctx.kernel().node(node).map(|node| node.config.zone)
}

/// What clients are told to be the controller: under KRaft any broker that serves, since it passes requests on.
fn controller_id(cluster: &Cluster, caller: &Caller) -> i32 {
    let image = cluster.brokers.get(&caller.node).map(|broker| &broker.image);
    let known = |node: &NodeId| image.is_some_and(|image| image.is_active(*node));
    let leader = cluster.plane.leader().filter(known);
    leader.or_else(|| image.and_then(|image| image.active_brokers().next())).map_or(-1, |node| i32::from(node.0))
}

/// Brokers' ids as the wire has them.
fn ids(nodes: &[u16]) -> Vec<i32> {
    nodes.iter().map(|node| i32::from(*node)).collect()
}

/// The operations bit field when it was not asked for.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

#[cfg(test)]
mod tests;
