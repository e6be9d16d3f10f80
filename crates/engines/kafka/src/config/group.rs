//! The options of groups of KIP-848, by Kafka's names, within the bounds that the brokers' options set.
//!
//! <https://kafka.apache.org/documentation/#groupconfigs>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Config, OptionKind};

const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const SESSION: &str = "consumer.session.timeout.ms";

/// The options that groups have, in order of their names.
pub const GROUP_OPTIONS: [&str; 2] = [HEARTBEAT, SESSION];

/// How often a group's members say that they live, and how long they may be silent, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupTimes {
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_ms: i32,
    /// `consumer.session.timeout.ms`
    pub session_ms: i32,
}

/// The bounds within which a group's options lie, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GroupBounds {
    /// How often a group may at most ask its members to say that they live.
    #[serde(rename = "group.consumer.min.heartbeat.interval.ms")]
    pub min_heartbeat_ms: i32,
    /// How seldom it may.
    #[serde(rename = "group.consumer.max.heartbeat.interval.ms")]
    pub max_heartbeat_ms: i32,
    /// The shortest session that a group may have for its members.
    #[serde(rename = "group.consumer.min.session.timeout.ms")]
    pub min_session_ms: i32,
    /// The longest.
    #[serde(rename = "group.consumer.max.session.timeout.ms")]
    pub max_session_ms: i32,
}

/// Whether groups with members go over from the classic protocol to that of KIP-848 (upgrade) and back (downgrade) while they
/// live. Groups without members always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MigrationPolicy {
    /// Both.
    Bidirectional,
    /// Upgrades only.
    Upgrade,
    /// Downgrades only.
    Downgrade,
    /// Neither.
    Disabled,
}

impl MigrationPolicy {
    const NAMED: [(&str, MigrationPolicy); 4] = [
        ("bidirectional", MigrationPolicy::Bidirectional),
        ("upgrade", MigrationPolicy::Upgrade),
        ("downgrade", MigrationPolicy::Downgrade),
        ("disabled", MigrationPolicy::Disabled),
    ];

    /// Whether a classic group goes over when a member of the other protocol joins it.
    pub fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    /// Whether a group of KIP-848 goes back when its last member of that protocol leaves it.
    pub fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

impl TryFrom<String> for MigrationPolicy {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Self::NAMED.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name));
        found.map(|(_, policy)| *policy).ok_or_else(|| {
            format!(
                "String must be one of (case insensitive): DISABLED, DOWNGRADE, UPGRADE, BIDIRECTIONAL, and not {name}"
            )
        })
    }
}

impl From<MigrationPolicy> for String {
    fn from(policy: MigrationPolicy) -> String {
        let named = MigrationPolicy::NAMED.iter().find(|(_, known)| *known == policy);
        named.map_or(String::new(), |(name, _)| (*name).to_owned())
    }
}

impl Default for GroupBounds {
    fn default() -> Self {
        Self { min_heartbeat_ms: 5_000, max_heartbeat_ms: 15_000, min_session_ms: 45_000, max_session_ms: 60_000 }
    }
}

impl Config {
    /// What a group's own options come to, whatever their values.
    pub fn group_times(&self, options: Option<&BTreeMap<String, String>>) -> GroupTimes {
        let own = |name: &str| options?.get(name)?.trim().parse::<i32>().ok();
        GroupTimes {
            heartbeat_ms: own(HEARTBEAT).unwrap_or(self.group_consumer_heartbeat_interval_ms),
            session_ms: own(SESSION).unwrap_or(self.group_consumer_session_timeout_ms),
        }
    }

    /// What a group's own options make of one of them, or the broker's default.
    pub fn group_value(&self, options: &BTreeMap<String, String>, name: &str) -> String {
        let times = self.group_times(None);
        let default = if name == HEARTBEAT { times.heartbeat_ms } else { times.session_ms };
        options.get(name).cloned().unwrap_or_else(|| default.to_string())
    }

    /// Checks a group's options. The error is Kafka's sentence.
    pub fn check_group_options(&self, options: &BTreeMap<String, String>) -> Result<(), String> {
        for (name, value) in options {
            if !GROUP_OPTIONS.contains(&name.as_str()) {
                return Err(format!("Unknown group config name: {name}"));
            }
            if let Some(objection) = OptionKind::Int(1).objection(value) {
                return Err(format!("Invalid value {value} for configuration {name}: {objection}"));
            }
        }
        let GroupTimes { heartbeat_ms, session_ms } = self.group_times(Some(options));
        let limits = &self.group_bounds;
        let bounds = [
            (
                (HEARTBEAT, heartbeat_ms),
                ("group.consumer.min.heartbeat.interval.ms", limits.min_heartbeat_ms),
                ("group.consumer.max.heartbeat.interval.ms", limits.max_heartbeat_ms),
            ),
            (
                (SESSION, session_ms),
                ("group.consumer.min.session.timeout.ms", limits.min_session_ms),
                ("group.consumer.max.session.timeout.ms", limits.max_session_ms),
            ),
        ];
        for ((name, value), (min_name, min), (max_name, max)) in bounds {
            if value < min {
                return Err(format!("{name} must be greater than or equal to {min_name}"));
            }
            if value > max {
                return Err(format!("{name} must be less than or equal to {max_name}"));
            }
        }
        match session_ms > heartbeat_ms {
            true => Ok(()),
            false => Err(format!("{SESSION} must be greater than {HEARTBEAT}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_groups_are_checked_in_kafkas_words() {
        let check = |options: &[(&str, &str)]| {
            let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Config::default().check_group_options(&options).err().unwrap_or_default()
        };
        assert_eq!(check(&[(HEARTBEAT, "10000"), (SESSION, "50000")]), "");
        assert_eq!(check(&[("retention.ms", "1")]), "Unknown group config name: retention.ms");
        assert_eq!(
            check(&[(SESSION, "soon")]),
            "Invalid value soon for configuration consumer.session.timeout.ms: Not a number of type INT"
        );
        assert_eq!(
            check(&[(HEARTBEAT, "1")]),
            "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms"
        );
        assert_eq!(
            check(&[(SESSION, "100000")]),
            "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms"
        );
    }
}
