//! What is refused as a whole where its caller may not do it: one line per API. APIs whose items are each somebody's own
//! refuse these one by one, in their own files.
//!
//! <https://kafka.apache.org/documentation/#operations_resources_and_protocols>

use crate::cluster::{Caller, Cluster};
use crate::error::ErrorCode::{
    self, ClusterAuthorizationFailed, GroupAuthorizationFailed, TransactionalIdAuthorizationFailed,
};
use crate::groups::lacks_protocol;
use crate::security::acl::Operation as Op;
use crate::wire::generated::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use crate::wire::generated::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use crate::wire::generated::*;
use crate::wire::{Request, Response};

/// Kafka's words for it.
const CLUSTER_REFUSED: &str = "Cluster authorization failed.";

/// The refusal, if there is one.
pub(super) fn refuse(cluster: &Cluster, caller: &Caller, request: &Request) -> Option<Response> {
    let group = |group: &str| cluster.may_group(caller, Op::Read, group);
    let transaction = |id: &str| cluster.may_transact(caller, Op::Write, id);
    let whole = |operation| cluster.may_cluster(caller, operation);
    let allowed = match request {
        Request::JoinGroup(request) => group(&request.group_id),
        // What is no request at all is refused before anybody asks who sent it.
        Request::SyncGroup(request) if lacks_protocol(request, caller.version) => true,
        Request::SyncGroup(request) => group(&request.group_id),
        Request::Heartbeat(request) => group(&request.group_id),
        Request::LeaveGroup(request) => group(&request.group_id),
        Request::ConsumerGroupHeartbeat(request) => group(&request.group_id),
        Request::OffsetDelete(request) => cluster.may_group(caller, Op::Delete, &request.group_id),
        Request::EndTxn(request) => transaction(&request.transactional_id),
        Request::AddOffsetsToTxn(request) if !transaction(&request.transactional_id) => false,
        Request::AddOffsetsToTxn(request) => group(&request.group_id),
        Request::AddPartitionsToTxn(_) if caller.version >= 4 => whole(Op::ClusterAction),
        Request::AddPartitionsToTxn(request) => transaction(&request.v3and_below_transactional_id),
        Request::TxnOffsetCommit(request) if !transaction(&request.transactional_id) => false,
        Request::TxnOffsetCommit(request) => group(&request.group_id),
        Request::InitProducerId(InitProducerIdRequest { transactional_id: Some(id), .. }) => transaction(id),
        Request::InitProducerId(_) => whole(Op::IdempotentWrite) || cluster.may_some_topic(caller, Op::Write),
        Request::WriteTxnMarkers(_) => whole(Op::Alter) || whole(Op::ClusterAction),
        Request::AlterReplicaLogDirs(_)
        | Request::ElectLeaders(_)
        | Request::AlterPartitionReassignments(_)
        | Request::UpdateFeatures(_)
        | Request::AlterUserScramCredentials(_)
        | Request::CreateAcls(_)
        | Request::DeleteAcls(_) => whole(Op::Alter),
        Request::AlterClientQuotas(_) => whole(Op::AlterConfigs),
        Request::DescribeClientQuotas(_) => whole(Op::DescribeConfigs),
        Request::DescribeLogDirs(_)
        | Request::ListPartitionReassignments(_)
        | Request::DescribeQuorum(_)
        | Request::DescribeUserScramCredentials(_)
        | Request::DescribeAcls(_) => whole(Op::Describe),
        _ => true,
    };
    if allowed { None } else { refusal(caller, request, &transaction) }
}

fn refusal(caller: &Caller, request: &Request, transaction: &dyn Fn(&str) -> bool) -> Option<Response> {
    let of_group = GroupAuthorizationFailed.code();
    let of_transaction = TransactionalIdAuthorizationFailed.code();
    // Of the two things that these need, the transaction is looked at first.
    let of_either =
        |id: &str| if transaction(id) { GroupAuthorizationFailed } else { TransactionalIdAuthorizationFailed };
    Some(match request {
        Request::JoinGroup(_) => Response::JoinGroup(JoinGroupResponse {
            error_code: of_group,
            generation_id: -1,
            protocol_name: None,
            ..Default::default()
        }),
        Request::SyncGroup(_) => Response::SyncGroup(SyncGroupResponse { error_code: of_group, ..Default::default() }),
        Request::Heartbeat(_) => Response::Heartbeat(HeartbeatResponse { error_code: of_group, ..Default::default() }),
        Request::LeaveGroup(_) => {
            Response::LeaveGroup(LeaveGroupResponse { error_code: of_group, ..Default::default() })
        }
        Request::ConsumerGroupHeartbeat(_) => Response::ConsumerGroupHeartbeat(ConsumerGroupHeartbeatResponse {
            error_code: of_group,
            error_message: Some("Group authorization failed.".to_owned()),
            ..Default::default()
        }),
        Request::OffsetDelete(_) => {
            Response::OffsetDelete(OffsetDeleteResponse { error_code: of_group, ..Default::default() })
        }
        Request::EndTxn(_) => Response::EndTxn(EndTxnResponse { error_code: of_transaction, ..Default::default() }),
        Request::AddOffsetsToTxn(request) => {
            let error_code = of_either(&request.transactional_id).code();
            Response::AddOffsetsToTxn(AddOffsetsToTxnResponse { error_code, ..Default::default() })
        }
        Request::AddPartitionsToTxn(_) if caller.version >= 4 => {
            let error_code = ClusterAuthorizationFailed.code();
            Response::AddPartitionsToTxn(AddPartitionsToTxnResponse { error_code, ..Default::default() })
        }
        Request::AddPartitionsToTxn(request) => Response::AddPartitionsToTxn(super::add_partitions_to_txn::refused(
            &request.v3and_below_topics,
            TransactionalIdAuthorizationFailed,
        )),
        Request::TxnOffsetCommit(request) => {
            super::txn_offset_commit::failed(request, of_either(&request.transactional_id))
        }
        Request::InitProducerId(request) => super::init_producer_id::refused(match request.transactional_id {
            Some(_) => TransactionalIdAuthorizationFailed,
            None => ClusterAuthorizationFailed,
        }),
        request => return of_cluster(request),
    })
}

/// The refusals of what is done to the cluster.
fn of_cluster(request: &Request) -> Option<Response> {
    let error_code = ClusterAuthorizationFailed.code();
    let error_message = Some(CLUSTER_REFUSED.to_owned());
    Some(match request {
        Request::WriteTxnMarkers(request) => {
            Response::WriteTxnMarkers(markers_refused(request, ClusterAuthorizationFailed))
        }
        Request::AlterReplicaLogDirs(request) => Response::AlterReplicaLogDirs(moves_refused(request, error_code)),
        Request::DescribeLogDirs(_) => {
            Response::DescribeLogDirs(DescribeLogDirsResponse { error_code, ..Default::default() })
        }
        Request::ElectLeaders(request) => {
            super::elect_leaders::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::AlterPartitionReassignments(request) => {
            super::alter_partition_reassignments::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::ListPartitionReassignments(request) => {
            super::list_partition_reassignments::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::UpdateFeatures(_) => {
            Response::UpdateFeatures(UpdateFeaturesResponse { error_code, error_message, ..Default::default() })
        }
        Request::DescribeQuorum(_) => {
            Response::DescribeQuorum(DescribeQuorumResponse { error_code, error_message, ..Default::default() })
        }
        Request::DescribeUserScramCredentials(request) => {
            super::describe_user_scram_credentials::refused(request, ClusterAuthorizationFailed)
        }
        Request::AlterUserScramCredentials(request) => {
            let refusal = (ClusterAuthorizationFailed, CLUSTER_REFUSED);
            super::alter_user_scram_credentials::refused(request, refusal)
        }
        Request::AlterClientQuotas(request) => {
            super::alter_client_quotas::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::DescribeClientQuotas(_) => super::describe_client_quotas::refused(ClusterAuthorizationFailed, None),
        Request::CreateAcls(request) => {
            super::create_acls::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::DeleteAcls(request) => {
            super::delete_acls::refused(request, ClusterAuthorizationFailed, CLUSTER_REFUSED)
        }
        Request::DescribeAcls(_) => {
            Response::DescribeAcls(DescribeAclsResponse { error_code, error_message, ..Default::default() })
        }
        _ => return None,
    })
}

fn markers_refused(request: &WriteTxnMarkersRequest, error: ErrorCode) -> WriteTxnMarkersResponse {
    let partition = |partition_index: &i32| WritableTxnMarkerPartitionResult {
        partition_index: *partition_index,
        error_code: error.code(),
    };
    let markers = request.markers.iter().map(|marker| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker
            .topics
            .iter()
            .map(|topic| WritableTxnMarkerTopicResult {
                name: topic.name.clone(),
                partitions: topic.partition_indexes.iter().map(partition).collect(),
            })
            .collect(),
    });
    WriteTxnMarkersResponse { markers: markers.collect() }
}

fn moves_refused(request: &AlterReplicaLogDirsRequest, error_code: i16) -> AlterReplicaLogDirsResponse {
    let topics = request.dirs.iter().flat_map(|directory| &directory.topics);
    let results = topics.map(|topic| AlterReplicaLogDirTopicResult {
        topic_name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition_index| AlterReplicaLogDirPartitionResult { partition_index: *partition_index, error_code })
            .collect(),
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..Default::default() }
}
