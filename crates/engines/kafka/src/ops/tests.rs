//! The gap ledger against the dispatch table.

use crate::wire::ApiKey;

/// The APIs that COVERAGE.md says are served: the names in the first column of its first table.
fn covered() -> Vec<String> {
    let text = include_str!("../../COVERAGE.md");
    let table =
        text.lines().skip_while(|line| !line.starts_with("| API")).skip(2).take_while(|line| line.starts_with('|'));
    table.filter_map(|line| line.split('|').nth(1)).map(|name| name.trim().to_owned()).collect()
}

#[test]
fn coverage_names_exactly_the_served_apis_with_their_versions() {
    let text = include_str!("../../COVERAGE.md");
    let mut served: Vec<String> = ApiKey::ALL.iter().map(|api| format!("{api:?}")).collect();
    served.sort();
    assert_eq!(covered(), served);
    for api in ApiKey::ALL {
        let versions = api.versions();
        let row = format!("| {api:?} | {} | {}–{} |", *api as i16, versions.start(), versions.end());
        assert!(text.contains(&row), "COVERAGE.md lacks: {row}");
    }
}

#[test]
fn every_operation_is_headed_by_its_api_and_versions() {
    let files = [
        (ApiKey::AddOffsetsToTxn, include_str!("add_offsets_to_txn.rs")),
        (ApiKey::AddPartitionsToTxn, include_str!("add_partitions_to_txn.rs")),
        (ApiKey::DescribeProducers, include_str!("describe_producers.rs")),
        (ApiKey::DescribeTransactions, include_str!("describe_transactions.rs")),
        (ApiKey::EndTxn, include_str!("end_txn.rs")),
        (ApiKey::ListTransactions, include_str!("list_transactions.rs")),
        (ApiKey::TxnOffsetCommit, include_str!("txn_offset_commit.rs")),
        (ApiKey::WriteTxnMarkers, include_str!("write_txn_markers.rs")),
        (ApiKey::ConsumerGroupDescribe, include_str!("consumer_group_describe.rs")),
        (ApiKey::ConsumerGroupHeartbeat, include_str!("consumer_group_heartbeat.rs")),
        (ApiKey::AlterUserScramCredentials, include_str!("alter_user_scram_credentials.rs")),
        (ApiKey::DescribeUserScramCredentials, include_str!("describe_user_scram_credentials.rs")),
        (ApiKey::SaslAuthenticate, include_str!("sasl_authenticate.rs")),
        (ApiKey::SaslHandshake, include_str!("sasl_handshake.rs")),
        (ApiKey::CreateAcls, include_str!("create_acls.rs")),
        (ApiKey::DeleteAcls, include_str!("delete_acls.rs")),
        (ApiKey::DescribeAcls, include_str!("describe_acls.rs")),
        (ApiKey::AlterClientQuotas, include_str!("alter_client_quotas.rs")),
        (ApiKey::DescribeClientQuotas, include_str!("describe_client_quotas.rs")),
        (ApiKey::AlterConfigs, include_str!("alter_configs_old.rs")),
        (ApiKey::AlterPartitionReassignments, include_str!("alter_partition_reassignments.rs")),
        (ApiKey::AlterReplicaLogDirs, include_str!("alter_replica_log_dirs.rs")),
        (ApiKey::DescribeLogDirs, include_str!("describe_log_dirs.rs")),
        (ApiKey::DescribeQuorum, include_str!("describe_quorum.rs")),
        (ApiKey::ElectLeaders, include_str!("elect_leaders.rs")),
        (ApiKey::ListPartitionReassignments, include_str!("list_partition_reassignments.rs")),
        (ApiKey::OffsetDelete, include_str!("offset_delete.rs")),
        (ApiKey::UpdateFeatures, include_str!("update_features.rs")),
        (ApiKey::ApiVersions, include_str!("api_versions.rs")),
        (ApiKey::CreatePartitions, include_str!("create_partitions.rs")),
        (ApiKey::CreateTopics, include_str!("create_topics.rs")),
        (ApiKey::DeleteGroups, include_str!("delete_groups.rs")),
        (ApiKey::DeleteRecords, include_str!("delete_records.rs")),
        (ApiKey::DeleteTopics, include_str!("delete_topics.rs")),
        (ApiKey::DescribeCluster, include_str!("describe_cluster.rs")),
        (ApiKey::DescribeConfigs, include_str!("describe_configs.rs")),
        (ApiKey::DescribeGroups, include_str!("describe_groups.rs")),
        (ApiKey::DescribeTopicPartitions, include_str!("describe_topic_partitions.rs")),
        (ApiKey::Fetch, include_str!("fetch.rs")),
        (ApiKey::FindCoordinator, include_str!("find_coordinator.rs")),
        (ApiKey::IncrementalAlterConfigs, include_str!("alter_configs.rs")),
        (ApiKey::InitProducerId, include_str!("init_producer_id.rs")),
        (ApiKey::LeaveGroup, include_str!("leave_group.rs")),
        (ApiKey::ListGroups, include_str!("list_groups.rs")),
        (ApiKey::ListOffsets, include_str!("list_offsets.rs")),
        (ApiKey::Metadata, include_str!("metadata.rs")),
        (ApiKey::OffsetCommit, include_str!("offset_commit.rs")),
        (ApiKey::OffsetFetch, include_str!("offset_fetch.rs")),
        (ApiKey::OffsetForLeaderEpoch, include_str!("offset_for_leader_epoch.rs")),
        (ApiKey::Produce, include_str!("produce.rs")),
    ];
    for (api, text) in files {
        let versions = api.versions();
        let plural = if versions.start() == versions.end() {
            String::new()
        } else {
            format!("s {}–{}", versions.start(), versions.end())
        };
        let head = format!("//! {api:?} ({}), version{plural}", api as i16);
        assert!(text.starts_with(&head), "{api:?} should be headed: {head}");
    }
}
