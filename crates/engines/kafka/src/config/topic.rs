//! The options of topics, by Kafka's names, with Kafka's defaults, checks and sentences.
//!
//! <https://kafka.apache.org/documentation/#topicconfigs>

use std::collections::BTreeMap;

use super::{Config, TimestampType};
use crate::wire::compression::Codec;

/// One option of topics.
#[derive(Debug, Clone, Copy)]
pub struct TopicOption {
    /// Its name.
    pub name: &'static str,
    /// The broker's option that is its default. Where that cannot be set here, it has the default below.
    pub broker_name: Option<&'static str>,
    /// Its default otherwise.
    pub default: &'static str,
    /// What it may be.
    pub kind: OptionKind,
}

/// What an option may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// 32 bits, no less than this.
    Int(i32),
    /// 64 bits, no less than this.
    Long(i64),
    /// Between 0 and 1.
    Fraction,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Any number of these, parted by commas; of anything if there are none.
    List(&'static [&'static str]),
}

impl OptionKind {
    /// The type as DescribeConfigs numbers it.
    pub fn number(self) -> i8 {
        match self {
            OptionKind::Bool => 1,
            OptionKind::Choice(_) => 2,
            OptionKind::Int(_) => 3,
            OptionKind::Long(_) => 5,
            OptionKind::Fraction => 6,
            OptionKind::List(_) => 7,
        }
    }

    /// Why a value is not allowed, in Kafka's words.
    pub(super) fn objection(self, value: &str) -> Option<String> {
        let at_least = |least: i64| format!("Value must be at least {least}");
        match self {
            OptionKind::Bool => match value.trim().to_ascii_lowercase().as_str() {
                "true" | "false" => None,
                _ => Some("Expected value to be either true or false".to_owned()),
            },
            OptionKind::Int(least) => match value.trim().parse::<i32>() {
                Err(_) => Some("Not a number of type INT".to_owned()),
                Ok(number) => (number < least).then(|| at_least(least.into())),
            },
            OptionKind::Long(least) => match value.trim().parse::<i64>() {
                Err(_) => Some("Not a number of type LONG".to_owned()),
                Ok(number) => (number < least).then(|| at_least(least)),
            },
            OptionKind::Fraction => match value.trim().parse::<f64>() {
                Err(_) => Some("Not a number of type DOUBLE".to_owned()),
                Ok(number) if number < 0.0 => Some(at_least(0)),
                Ok(number) => (number > 1.0).then(|| "Value must be no more than 1".to_owned()),
            },
            OptionKind::Choice(allowed) => (!allowed.contains(&value)).then(|| one_of(allowed)),
            OptionKind::List(allowed) => {
                let known = |entry: &str| allowed.is_empty() || allowed.contains(&entry.trim());
                let all = value.is_empty() || value.split(',').all(known);
                (!all).then(|| one_of(allowed))
            }
        }
    }
}

fn one_of(allowed: &[&str]) -> String {
    format!("String must be one of: {}", allowed.join(", "))
}

const fn option(
    name: &'static str,
    broker_name: Option<&'static str>,
    default: &'static str,
    kind: OptionKind,
) -> TopicOption {
    TopicOption { name, broker_name, default, kind }
}

const FOREVER: &str = "9223372036854775807";
const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];

/// All topic options of Kafka 4.0, in order of their names.
pub const TOPIC_OPTIONS: &[TopicOption] = &[
    option("cleanup.policy", Some("log.cleanup.policy"), "delete", OptionKind::List(&["compact", "delete"])),
    option("compression.gzip.level", Some("compression.gzip.level"), "-1", OptionKind::Int(-1)),
    option("compression.lz4.level", Some("compression.lz4.level"), "9", OptionKind::Int(1)),
    option("compression.type", Some("compression.type"), "producer", OptionKind::Choice(COMPRESSIONS)),
    option("compression.zstd.level", Some("compression.zstd.level"), "3", OptionKind::Int(-131_072)),
    option("delete.retention.ms", Some("log.cleaner.delete.retention.ms"), "86400000", OptionKind::Long(0)),
    option("file.delete.delay.ms", Some("log.segment.delete.delay.ms"), "60000", OptionKind::Long(0)),
    option("flush.messages", Some("log.flush.interval.messages"), FOREVER, OptionKind::Long(1)),
    option("flush.ms", Some("log.flush.interval.ms"), FOREVER, OptionKind::Long(0)),
    option("follower.replication.throttled.replicas", None, "", OptionKind::List(&[])),
    option("index.interval.bytes", Some("log.index.interval.bytes"), "4096", OptionKind::Int(0)),
    option("leader.replication.throttled.replicas", None, "", OptionKind::List(&[])),
    option("local.retention.bytes", Some("log.local.retention.bytes"), "-2", OptionKind::Long(-2)),
    option("local.retention.ms", Some("log.local.retention.ms"), "-2", OptionKind::Long(-2)),
    option("max.compaction.lag.ms", Some("log.cleaner.max.compaction.lag.ms"), FOREVER, OptionKind::Long(1)),
    option("max.message.bytes", Some("message.max.bytes"), "1048588", OptionKind::Int(0)),
    option(
        "message.timestamp.after.max.ms",
        Some("log.message.timestamp.after.max.ms"),
        "3600000",
        OptionKind::Long(0),
    ),
    option(
        "message.timestamp.before.max.ms",
        Some("log.message.timestamp.before.max.ms"),
        FOREVER,
        OptionKind::Long(0),
    ),
    option(
        "message.timestamp.type",
        Some("log.message.timestamp.type"),
        "CreateTime",
        OptionKind::Choice(&["CreateTime", "LogAppendTime"]),
    ),
    option("min.cleanable.dirty.ratio", Some("log.cleaner.min.cleanable.ratio"), "0.5", OptionKind::Fraction),
    option("min.compaction.lag.ms", Some("log.cleaner.min.compaction.lag.ms"), "0", OptionKind::Long(0)),
    option("min.insync.replicas", Some("min.insync.replicas"), "1", OptionKind::Int(1)),
    option("preallocate", Some("log.preallocate"), "false", OptionKind::Bool),
    option("remote.log.copy.disable", None, "false", OptionKind::Bool),
    option("remote.log.delete.on.disable", None, "false", OptionKind::Bool),
    option("remote.storage.enable", None, "false", OptionKind::Bool),
    option("retention.bytes", Some("log.retention.bytes"), "-1", OptionKind::Long(i64::MIN)),
    option("retention.ms", Some("log.retention.ms"), "604800000", OptionKind::Long(-1)),
    option("segment.bytes", Some("log.segment.bytes"), "1073741824", OptionKind::Int(14)),
    option("segment.index.bytes", Some("log.index.size.max.bytes"), "10485760", OptionKind::Int(4)),
    option("segment.jitter.ms", Some("log.roll.jitter.ms"), "0", OptionKind::Long(0)),
    option("segment.ms", Some("log.roll.ms"), "604800000", OptionKind::Long(1)),
    option("unclean.leader.election.enable", Some("unclean.leader.election.enable"), "false", OptionKind::Bool),
];

/// Brokers' options without a default, and those in other units that have one in their place.
pub(crate) const DEFAULTS_ELSEWHERE: [(&str, &str, &str); 4] = [
    ("log.flush.interval.ms", "log.flush.scheduler.interval.ms", FOREVER),
    ("log.retention.ms", "log.retention.hours", "168"),
    ("log.roll.jitter.ms", "log.roll.jitter.hours", "0"),
    ("log.roll.ms", "log.roll.hours", "168"),
];

/// An option by its name.
pub fn topic_option(name: &str) -> Option<&'static TopicOption> {
    TOPIC_OPTIONS.binary_search_by_key(&name, |option| option.name).ok().map(|place| &TOPIC_OPTIONS[place])
}

/// Why a broker's option that is the default of a topic's cannot have a value; None where it can, or is none.
pub(crate) fn topic_default_objection(broker_name: &str, value: &str) -> Option<String> {
    let option = TOPIC_OPTIONS.iter().find(|option| option.broker_name == Some(broker_name))?;
    option.kind.objection(value)
}

impl Config {
    /// What a topic's own options make of one of them, or the broker's default.
    pub fn topic_value(&self, overrides: &BTreeMap<String, String>, name: &str) -> Option<String> {
        if let Some(value) = overrides.get(name) {
            return Some(value.clone());
        }
        let option = topic_option(name)?;
        let from_broker = option.broker_name.and_then(|name| self.entries().remove(name));
        Some(from_broker.unwrap_or_else(|| option.default.to_owned()))
    }
}

/// What the options of one topic come to. Kept beside the options, so that no request parses text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicConfig {
    /// `max.message.bytes`
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `min.insync.replicas`
    pub min_insync_replicas: i32,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election_enable: bool,
    /// `flush.messages`
    pub flush_messages: i64,
    /// `cleanup.policy` has `compact`.
    pub is_compacted: bool,
    /// `cleanup.policy` has `delete`.
    pub is_deleted: bool,
    /// `compression.type`; None is `producer`.
    pub compression: Option<Codec>,
    /// `retention.bytes`; negative is no limit.
    pub retention_bytes: i64,
    /// `retention.ms`; negative is no limit.
    pub retention_ms: i64,
    /// `segment.bytes`
    pub segment_bytes: u64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`, in millionths.
    pub min_cleanable_dirty_ppm: u64,
}

impl TopicConfig {
    /// The broker's defaults with a topic's own options over them. The error names the option and what is wrong with it.
    pub fn resolve(config: &Config, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        for (name, value) in overrides {
            let option = topic_option(name).ok_or_else(|| format!("Unknown topic config name: {name}"))?;
            if let Some(objection) = option.kind.objection(value) {
                return Err(format!("Invalid value {value} for configuration {name}: {objection}"));
            }
        }
        let brokers = config.entries();
        let value = |name: &str| {
            let option = topic_option(name);
            let from_broker = option.and_then(|option| brokers.get(option.broker_name?));
            let found = overrides.get(name).or(from_broker).map(String::as_str);
            found.or(option.map(|option| option.default)).unwrap_or_default().trim().to_owned()
        };
        let long = |name: &str| value(name).parse::<i64>().unwrap_or(0);
        let policy = value("cleanup.policy");
        let has = |wanted: &str| policy.split(',').any(|entry| entry.trim() == wanted);
        let resolved = Self {
            max_message_bytes: usize::try_from(long("max.message.bytes")).unwrap_or(0),
            timestamp_type: match value("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            timestamp_before_max_ms: long("message.timestamp.before.max.ms"),
            timestamp_after_max_ms: long("message.timestamp.after.max.ms"),
            min_insync_replicas: i32::try_from(long("min.insync.replicas")).unwrap_or(1),
            unclean_leader_election_enable: value("unclean.leader.election.enable").eq_ignore_ascii_case("true"),
            flush_messages: long("flush.messages"),
            is_compacted: has("compact"),
            is_deleted: has("delete"),
            compression: match value("compression.type").as_str() {
                "uncompressed" => Some(Codec::None),
                "gzip" => Some(Codec::Gzip),
                "snappy" => Some(Codec::Snappy),
                "lz4" => Some(Codec::Lz4),
                "zstd" => Some(Codec::Zstd),
                _ => None,
            },
            retention_bytes: long("retention.bytes"),
            retention_ms: long("retention.ms"),
            segment_bytes: u64::try_from(long("segment.bytes")).unwrap_or(u64::MAX),
            segment_ms: long("segment.ms"),
            delete_retention_ms: long("delete.retention.ms"),
            min_compaction_lag_ms: long("min.compaction.lag.ms"),
            max_compaction_lag_ms: long("max.compaction.lag.ms"),
            min_cleanable_dirty_ppm: (value("min.cleanable.dirty.ratio").parse::<f64>().unwrap_or(0.5) * 1e6) as u64,
        };
        resolved.agree()
    }

    /// Options that contradict each other.
    fn agree(self) -> Result<Self, String> {
        if self.max_compaction_lag_ms < self.min_compaction_lag_ms {
            return Err(format!(
                "conflict topic config setting min.compaction.lag.ms ({}) > max.compaction.lag.ms ({})",
                self.min_compaction_lag_ms, self.max_compaction_lag_ms
            ));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_in_order_and_their_defaults_are_allowed() {
        assert!(TOPIC_OPTIONS.is_sorted_by_key(|option| option.name));
        let brokers = Config::default().entries();
        for option in TOPIC_OPTIONS {
            assert_eq!(option.kind.objection(option.default), None, "{}", option.name);
            let from_broker = option.broker_name.and_then(|name| brokers.get(name));
            assert!(from_broker.is_none_or(|value| value == option.default), "{}", option.name);
        }
    }

    #[test]
    fn wrong_values_are_refused_in_kafkas_words() {
        let refused = |name: &str, value: &str| {
            let options = BTreeMap::from([(name.to_owned(), value.to_owned())]);
            TopicConfig::resolve(&Config::default(), &options).unwrap_err()
        };
        assert_eq!(
            refused("retention.ms", "soon"),
            "Invalid value soon for configuration retention.ms: Not a number of type LONG"
        );
        assert_eq!(
            refused("min.insync.replicas", "0"),
            "Invalid value 0 for configuration min.insync.replicas: Value must be at least 1"
        );
        assert_eq!(
            refused("cleanup.policy", "shred"),
            "Invalid value shred for configuration cleanup.policy: String must be one of: compact, delete"
        );
        assert_eq!(refused("no.such", "1"), "Unknown topic config name: no.such");
    }
}
