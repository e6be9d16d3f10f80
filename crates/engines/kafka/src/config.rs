//! Broker and topic options by their real names, with Kafka's defaults.
//!
//! <https://kafka.apache.org/documentation/#configuration>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// How many connections one broker serves.
    #[serde(rename = "max.connections")]
    pub max_connections: usize,
    /// After how long an idle connection is closed.
    #[serde(rename = "connections.max.idle.ms")]
    pub connections_max_idle_ms: u64,
    /// `CreateTime` or `LogAppendTime`.
    #[serde(rename = "log.message.timestamp.type")]
    pub log_message_timestamp_type: TimestampType,
    /// How far ahead of the broker's clock a record's time may be.
    #[serde(rename = "log.message.timestamp.after.max.ms")]
    pub log_message_timestamp_after_max_ms: i64,
    /// After how many bytes a log begins a new file.
    #[serde(rename = "log.segment.bytes")]
    pub log_segment_bytes: u64,
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
            max_connections: 10_000,
            connections_max_idle_ms: 600_000,
            log_message_timestamp_type: TimestampType::CreateTime,
            log_message_timestamp_after_max_ms: 3_600_000,
            log_segment_bytes: 1 << 30,
            log_flush_interval_messages: i64::MAX,
            offsets_topic_num_partitions: 50,
            offsets_topic_replication_factor: 3,
            offsets_commit_timeout_ms: 5_000,
            offset_metadata_max_bytes: 4_096,
            group_initial_rebalance_delay_ms: 3_000,
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 1_800_000,
            group_max_size: i32::MAX as usize,
        }
    }
}

/// The topic-level options that are there, each with the broker's option that is its default.
pub const TOPIC_OPTIONS: &[(&str, &str)] = &[
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
    ("flush.messages", "log.flush.interval.messages"),
];

/// Topic-level options that are accepted with the value that Atoll acts on, so that tools which always set them work.
pub const TOPIC_CONSTANTS: &[(&str, &[&str])] = &[("cleanup.policy", &["delete"]), ("compression.type", &["producer"])];

impl Config {
    /// The broker options as names and values, in order of their names.
    pub fn entries(&self) -> BTreeMap<String, String> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else { return BTreeMap::new() };
        fields.into_iter().map(|(name, value)| (name, plain(&value))).collect()
    }

    /// What a topic's own options make of one of them, or the broker's default.
    pub fn topic_value(&self, overrides: &BTreeMap<String, String>, name: &str) -> Option<String> {
        if let Some(value) = overrides.get(name) {
            return Some(value.clone());
        }
        if let Some((_, allowed)) = TOPIC_CONSTANTS.iter().find(|(constant, _)| *constant == name) {
            return allowed.first().map(|value| (*value).to_owned());
        }
        let (_, broker_name) = TOPIC_OPTIONS.iter().find(|(option, _)| *option == name)?;
        self.entries().remove(*broker_name)
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// What the options of one topic come to. Kept beside the options, so that no request parses text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// `max.message.bytes`
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election_enable: bool,
    /// `flush.messages`
    pub flush_messages: i64,
}

impl TopicConfig {
    /// The broker's defaults with a topic's own options over them. The error names the option and what is wrong with it.
    pub fn resolve(config: &Config, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut resolved = Self {
            max_message_bytes: usize::try_from(config.message_max_bytes).unwrap_or(0),
            timestamp_type: config.log_message_timestamp_type,
            timestamp_after_max_ms: config.log_message_timestamp_after_max_ms,
            min_insync_replicas: config.min_insync_replicas,
            unclean_leader_election_enable: config.unclean_leader_election_enable,
            flush_messages: config.log_flush_interval_messages,
        };
        for (name, value) in overrides {
            resolved.set(name, value)?;
        }
        Ok(resolved)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let invalid = || format!("Invalid value {value} for configuration {name}");
        match name {
            "max.message.bytes" => self.max_message_bytes = value.parse().map_err(|_| invalid())?,
            "message.timestamp.type" => {
                self.timestamp_type = match value {
                    "CreateTime" => TimestampType::CreateTime,
                    "LogAppendTime" => TimestampType::LogAppendTime,
                    _ => return Err(invalid()),
                }
            }
            "message.timestamp.after.max.ms" => self.timestamp_after_max_ms = value.parse().map_err(|_| invalid())?,
            "min.insync.replicas" => {
                self.min_insync_replicas = value.parse().ok().filter(|count| *count >= 1).ok_or_else(invalid)?;
            }
            "unclean.leader.election.enable" => {
                self.unclean_leader_election_enable = value.parse().map_err(|_| invalid())?;
            }
            "flush.messages" => {
                self.flush_messages = value.parse().ok().filter(|count| *count >= 1).ok_or_else(invalid)?;
            }
            _ => match TOPIC_CONSTANTS.iter().find(|(constant, _)| *constant == name) {
                Some((_, allowed)) if allowed.contains(&value) => {}
                Some(_) => return Err(invalid()),
                None => return Err(format!("Unknown topic config name: {name}")),
            },
        }
        Ok(())
    }
}
