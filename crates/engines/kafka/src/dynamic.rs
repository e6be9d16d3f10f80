//! Options of brokers that can be changed while they run (KIP-226): which they are, and what they come to.
//!
//! A value is set for one broker or for all; one broker's own counts before that for all, and both before the stack file.

use std::collections::BTreeMap;

use crate::config::{Config, topic_default_objection};

/// What values an option takes; the number is Kafka's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub(crate) enum OptionType {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

/// The options that can be changed. Those that are no field of [`Config`] are kept and shown, and there is nothing here that
/// they act upon: movements of replicas cost no bandwidth, and nobody logs in with Kerberos.
const DYNAMIC: &[(&str, OptionType)] = &[
    ("compression.type", OptionType::Text),
    ("follower.replication.throttled.rate", OptionType::Long),
    ("leader.replication.throttled.rate", OptionType::Long),
    ("log.cleaner.delete.retention.ms", OptionType::Long),
    ("log.cleaner.max.compaction.lag.ms", OptionType::Long),
    ("log.cleaner.min.cleanable.ratio", OptionType::Double),
    ("log.cleaner.min.compaction.lag.ms", OptionType::Long),
    ("log.cleanup.policy", OptionType::List),
    ("log.flush.interval.messages", OptionType::Long),
    ("log.message.timestamp.after.max.ms", OptionType::Long),
    ("log.message.timestamp.before.max.ms", OptionType::Long),
    ("log.message.timestamp.type", OptionType::Text),
    ("log.retention.bytes", OptionType::Long),
    ("log.retention.ms", OptionType::Long),
    ("log.roll.ms", OptionType::Long),
    ("log.segment.bytes", OptionType::Int),
    ("message.max.bytes", OptionType::Int),
    ("min.insync.replicas", OptionType::Int),
    ("replica.alter.log.dirs.io.max.bytes.per.second", OptionType::Long),
    ("sasl.kerberos.min.time.before.relogin", OptionType::Long),
    ("unclean.leader.election.enable", OptionType::Boolean),
];

/// Those of them that nothing acts upon, with Kafka's defaults.
pub(crate) fn without_effect() -> impl Iterator<Item = (&'static str, &'static str)> {
    let throttles = [
        "follower.replication.throttled.rate",
        "leader.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    ];
    let unlimited = throttles.into_iter().map(|name| (name, "9223372036854775807"));
    unlimited.chain([("sasl.kerberos.min.time.before.relogin", "60000")])
}

/// Whether an option can be changed while brokers run.
pub(crate) fn is_dynamic(name: &str) -> bool {
    DYNAMIC.iter().any(|(dynamic, _)| *dynamic == name)
}

/// Checks a whole set of options for one broker or all; the error is a sentence for people.
pub(crate) fn check(config: &Config, options: &BTreeMap<String, String>) -> Result<(), String> {
    let fixed: Vec<&str> = options.keys().filter(|name| !is_dynamic(name)).map(String::as_str).collect();
    if !fixed.is_empty() {
        return Err(format!("Cannot update these configs dynamically: {}", fixed.join(", ")));
    }
    for (name, value) in options {
        let kind = DYNAMIC.iter().find(|(dynamic, _)| dynamic == name).map(|(_, kind)| *kind);
        let valid = match kind {
            Some(OptionType::Boolean) => value.parse::<bool>().is_ok(),
            Some(OptionType::Int) => value.parse::<i32>().is_ok(),
            Some(OptionType::Long) => value.parse::<i64>().is_ok(),
            Some(OptionType::Double) => value.parse::<f64>().is_ok(),
            Some(OptionType::Text | OptionType::List) | None => true,
        };
        // What is the default of a topic's option takes what that takes.
        if let Some(objection) = topic_default_objection(name, value) {
            return Err(format!("Invalid value {value} for configuration {name}: {objection}"));
        }
        if !valid {
            return Err(format!("Invalid value {value} for configuration {name}: Not a number or not in range"));
        }
    }
    overlay(config, options).map(|_| ())
}

/// The configuration with these options over it.
pub(crate) fn overlay(config: &Config, options: &BTreeMap<String, String>) -> Result<Config, String> {
    let mut fields = serde_json::to_value(config).map_err(|error| error.to_string())?;
    for (name, value) in options {
        let Some(slot) = fields.get_mut(name) else { continue };
        *slot = match slot {
            serde_json::Value::String(_) => value.clone().into(),
            _ => serde_json::from_str(value).map_err(|_| format!("Invalid value {value} for configuration {name}"))?,
        };
    }
    let overlaid: Config = serde_json::from_value(fields).map_err(|error| error.to_string())?;
    match overlaid.min_insync_replicas {
        1.. => Ok(overlaid),
        value => Err(format!("Invalid value {value} for configuration min.insync.replicas: Value must be at least 1")),
    }
}

/// The type of an option's value, as it is shown.
pub(crate) fn type_of(name: &str, value: &str) -> OptionType {
    let known = DYNAMIC.iter().find(|(dynamic, _)| *dynamic == name).map(|(_, kind)| *kind);
    known.unwrap_or_else(|| match value {
        "true" | "false" => OptionType::Boolean,
        number if number.parse::<i32>().is_ok() && !name.ends_with(".ms") => OptionType::Int,
        number if number.parse::<i64>().is_ok() => OptionType::Long,
        _ => OptionType::Text,
    })
}
