//! Broker and topic options by their real names, with Kafka's defaults.
//!
//! <https://kafka.apache.org/documentation/#configuration>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

mod cleaner;
mod group;
mod security;
mod shown;
mod topic;
mod transaction;

pub use cleaner::CleanerConfig;
pub use group::{GROUP_OPTIONS, GroupBounds, GroupTimes, MigrationPolicy};
pub use security::SecurityConfig;
pub use shown::{SHOWN_OPTIONS, Shown};
pub(crate) use topic::{DEFAULTS_ELSEWHERE, topic_default_objection};
pub use topic::{OptionKind, TOPIC_OPTIONS, TopicConfig, TopicOption, topic_option};
pub use transaction::TransactionConfig;

/// The options of all brokers. What is not named here is not there, and refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where every broker listens, on its own node's address. 0 is any free port.
    pub port: u16,
    /// Partitions of a topic that does not say.
    #[serde(rename = "num.partitions")]
    pub num_partitions: i32,
    /// Replicas of a topic that does not say.
    #[serde(rename = "default.replication.factor")]
    pub default_replication_factor: i16,
    /// How many replicas must be in sync for `acks=all`.
    #[serde(rename = "min.insync.replicas")]
    pub min_insync_replicas: i32,
    /// Whether a replica that is not in sync may lead, at the price of what it lacks.
    #[serde(rename = "unclean.leader.election.enable")]
    pub unclean_leader_election_enable: bool,
    /// Whether asking for a topic makes it.
    #[serde(rename = "auto.create.topics.enable")]
    pub auto_create_topics_enable: bool,
    /// Whether topics can be deleted.
    #[serde(rename = "delete.topic.enable")]
    pub delete_topic_enable: bool,
    /// How often a broker tells the controller that it lives.
    #[serde(rename = "broker.heartbeat.interval.ms")]
    pub broker_heartbeat_interval_ms: u64,
    /// How long the controller waits for that before it fences the broker.
    #[serde(rename = "broker.session.timeout.ms")]
    pub broker_session_timeout_ms: u64,
    /// How long a follower may lag before it leaves the in-sync set; checked every half of that.
    #[serde(rename = "replica.lag.time.max.ms")]
    pub replica_lag_time_max_ms: u64,
    /// How long voters wait for a silent controller.
    #[serde(rename = "controller.quorum.fetch.timeout.ms")]
    pub controller_quorum_fetch_timeout_ms: u64,
    /// The longest an election of the controller takes on top of that.
    #[serde(rename = "controller.quorum.election.timeout.ms")]
    pub controller_quorum_election_timeout_ms: u64,
    /// Whether leadership goes back to the first replica of each partition.
    #[serde(rename = "auto.leader.rebalance.enable")]
    pub auto_leader_rebalance_enable: bool,
    /// How often that is looked at.
    #[serde(rename = "leader.imbalance.check.interval.seconds")]
    pub leader_imbalance_check_interval_seconds: u64,
    /// The largest batch that is taken.
    #[serde(rename = "message.max.bytes")]
    pub message_max_bytes: i32,
    /// The largest request that is read.
    #[serde(rename = "socket.request.max.bytes")]
    pub socket_request_max_bytes: i32,
    /// The largest answer to a fetch.
    #[serde(rename = "fetch.max.bytes")]
    pub fetch_max_bytes: i32,
    /// How many fetch sessions a broker remembers.
    #[serde(rename = "max.incremental.fetch.session.cache.slots")]
    pub max_incremental_fetch_session_cache_slots: usize,
    /// Who says which replica a reader reads: empty (the leader), or Kafka's `RackAwareReplicaSelector`.
    #[serde(rename = "replica.selector.class")]
    pub replica_selector_class: String,
    /// How many connections one broker serves.
    #[serde(rename = "max.connections")]
    pub max_connections: usize,
    /// After how long an idle connection is closed.
    #[serde(rename = "connections.max.idle.ms")]
    pub connections_max_idle_ms: u64,
    /// Listeners, TLS, SASL and access.
    #[serde(flatten)]
    pub security: SecurityConfig,
    /// `CreateTime` or `LogAppendTime`.
    #[serde(rename = "log.message.timestamp.type")]
    pub log_message_timestamp_type: TimestampType,
    /// How far ahead of the broker's clock a record's time may be.
    #[serde(rename = "log.message.timestamp.after.max.ms")]
    pub log_message_timestamp_after_max_ms: i64,
    /// After how many bytes a log begins a new file.
    #[serde(rename = "log.segment.bytes")]
    pub log_segment_bytes: u64,
    /// How much older than the broker's clock a record's time may be.
    #[serde(rename = "log.message.timestamp.before.max.ms")]
    pub log_message_timestamp_before_max_ms: i64,
    /// After how long a log begins a new file.
    #[serde(rename = "log.roll.ms")]
    pub log_roll_ms: i64,
    /// For how long records are kept; −1 is for ever.
    #[serde(rename = "log.retention.ms")]
    pub log_retention_ms: i64,
    /// How many bytes are kept of a partition; −1 is all.
    #[serde(rename = "log.retention.bytes")]
    pub log_retention_bytes: i64,
    /// How often logs are looked at for what is to go.
    #[serde(rename = "log.retention.check.interval.ms")]
    pub log_retention_check_interval_ms: u64,
    /// `delete`, `compact`, or both.
    #[serde(rename = "log.cleanup.policy")]
    pub log_cleanup_policy: String,
    /// How logs are compacted.
    #[serde(flatten)]
    pub cleaner: CleanerConfig,
    /// How batches are kept: as the producer sent them, or compressed anew.
    #[serde(rename = "compression.type")]
    pub compression_type: String,
    /// After how many records a log is synced to disk. The default never does: replicas are the durability.
    #[serde(rename = "log.flush.interval.messages")]
    pub log_flush_interval_messages: i64,
    /// Partitions of the topic that committed offsets are kept in.
    #[serde(rename = "offsets.topic.num.partitions")]
    pub offsets_topic_num_partitions: i32,
    /// Replicas of it, or as many as there are brokers.
    #[serde(rename = "offsets.topic.replication.factor")]
    pub offsets_topic_replication_factor: i16,
    /// How long a commit of offsets waits for replicas.
    #[serde(rename = "offsets.commit.timeout.ms")]
    pub offsets_commit_timeout_ms: u64,
    /// The longest metadata string of a committed offset.
    #[serde(rename = "offset.metadata.max.bytes")]
    pub offset_metadata_max_bytes: usize,
    /// For how long offsets are kept of groups without members.
    #[serde(rename = "offsets.retention.minutes")]
    pub offsets_retention_minutes: i32,
    /// How often coordinators look for offsets that have expired.
    #[serde(rename = "offsets.retention.check.interval.ms")]
    pub offsets_retention_check_interval_ms: u64,
    /// For how long partitions know an idempotent producer that is silent.
    #[serde(rename = "producer.id.expiration.ms")]
    pub producer_id_expiration_ms: i64,
    /// Transactions, and where they are kept.
    #[serde(flatten)]
    pub transactions: TransactionConfig,
    /// How long a new group waits for more members before its first assignment.
    #[serde(rename = "group.initial.rebalance.delay.ms")]
    pub group_initial_rebalance_delay_ms: u64,
    /// The shortest session of a group member.
    #[serde(rename = "group.min.session.timeout.ms")]
    pub group_min_session_timeout_ms: i32,
    /// The longest session of a group member.
    #[serde(rename = "group.max.session.timeout.ms")]
    pub group_max_session_timeout_ms: i32,
    /// How many members a group may have.
    #[serde(rename = "group.max.size")]
    pub group_max_size: usize,
    /// How often members of a KIP-848 group are told to say that they live.
    #[serde(rename = "group.consumer.heartbeat.interval.ms")]
    pub group_consumer_heartbeat_interval_ms: i32,
    /// How long such a member may be silent.
    #[serde(rename = "group.consumer.session.timeout.ms")]
    pub group_consumer_session_timeout_ms: i32,
    /// What groups may ask for.
    #[serde(flatten)]
    pub group_bounds: GroupBounds,
    /// How many members such a group may have.
    #[serde(rename = "group.consumer.max.size")]
    pub group_consumer_max_size: usize,
    /// Whether a group with members may go over to the other protocol.
    #[serde(rename = "group.consumer.migration.policy")]
    pub group_consumer_migration_policy: MigrationPolicy,
}

/// A share between 0 and 1, in millionths, since options are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "f64", into = "f64")]
pub struct Ratio(pub u32);

impl From<f64> for Ratio {
    fn from(share: f64) -> Ratio {
        Ratio((share.clamp(0.0, 1.0) * 1e6) as u32)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        f64::from(ratio.0) / 1e6
    }
}

/// Whose clock a record's time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 9092,
            num_partitions: 1,
            default_replication_factor: 1,
            min_insync_replicas: 1,
            unclean_leader_election_enable: false,
            auto_create_topics_enable: true,
            delete_topic_enable: true,
            broker_heartbeat_interval_ms: 2_000,
            broker_session_timeout_ms: 9_000,
            replica_lag_time_max_ms: 30_000,
            controller_quorum_fetch_timeout_ms: 2_000,
            controller_quorum_election_timeout_ms: 1_000,
            auto_leader_rebalance_enable: true,
            leader_imbalance_check_interval_seconds: 300,
            message_max_bytes: 1_048_588,
            socket_request_max_bytes: 104_857_600,
            fetch_max_bytes: 57_671_680,
            max_incremental_fetch_session_cache_slots: 1_000,
            replica_selector_class: String::new(),
            max_connections: 10_000,
            connections_max_idle_ms: 600_000,
            security: SecurityConfig::default(),
            log_message_timestamp_type: TimestampType::CreateTime,
            log_message_timestamp_after_max_ms: 3_600_000,
            log_segment_bytes: 1 << 30,
            log_message_timestamp_before_max_ms: i64::MAX,
            log_roll_ms: 604_800_000,
            log_retention_ms: 604_800_000,
            log_retention_bytes: -1,
            log_retention_check_interval_ms: 300_000,
            log_cleanup_policy: "delete".to_owned(),
            cleaner: CleanerConfig::default(),
            compression_type: "producer".to_owned(),
            log_flush_interval_messages: i64::MAX,
            offsets_topic_num_partitions: 50,
            offsets_topic_replication_factor: 3,
            offsets_commit_timeout_ms: 5_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_minutes: 10_080,
            offsets_retention_check_interval_ms: 600_000,
            producer_id_expiration_ms: 86_400_000,
            transactions: TransactionConfig::default(),
            group_initial_rebalance_delay_ms: 3_000,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_max_size: i32::MAX as usize,
            group_consumer_heartbeat_interval_ms: 5_000,
            group_consumer_session_timeout_ms: 45_000,
            group_bounds: GroupBounds::default(),
            group_consumer_max_size: i32::MAX as usize,
            group_consumer_migration_policy: MigrationPolicy::Bidirectional,
        }
    }
}

impl Config {
    /// The broker options as names and values, in order of their names.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let Ok(serde_json::Value::Object(mut fields)) = serde_json::to_value(self) else { return BTreeMap::new() };
        fields.remove("listener.name");
        let own = self.security.listener_options.iter();
        fields.extend(own.map(|(name, value)| (format!("listener.name.{name}"), value.as_str().into())));
        fields.into_iter().map(|(name, value)| (name, plain(&value))).collect()
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
