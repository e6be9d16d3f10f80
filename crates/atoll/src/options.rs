//! The options of embedded engines in the stack file: each engine knows its own names and values, and what it refuses is
//! reported at its place in the file.

use serde_json::Value;

use crate::config::{Engine, EngineEntry, OptionEntry, Problem, StackFile};
use crate::text::nearest;

/// Everything that engines refuse.
pub fn check(stack: &StackFile) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (engine, entry) in &stack.engines {
        if let EngineEntry::Embedded { config } = entry {
            problems.extend(match engine {
                Engine::Redis => redis(config).err().unwrap_or_default(),
                Engine::Kafka => kafka(config).err().unwrap_or_default(),
                Engine::Kubernetes => config.iter().map(|option| unknown(option, &[])).collect(),
            });
        }
    }
    problems
}

/// The configuration of the embedded Redis Cluster.
pub fn redis(options: &[OptionEntry]) -> Result<atoll_redis::Config, Vec<Problem>> {
    let mut config = atoll_redis::Config::default();
    let mut problems = Vec::new();
    for option in options {
        match config.set(&option.name, &option.value) {
            Ok(()) => {}
            Err(atoll_redis::ConfigError::Unknown(_)) => {
                let known: Vec<&str> = atoll_redis::every_option().map(|option| option.name).collect();
                problems.push(unknown(option, &known));
            }
            Err(error) => problems.push(refused(option, error.to_string())),
        }
    }
    if let Some(reason) = config.trouble().filter(|_| problems.is_empty()) {
        let culprit = options.iter().find(|option| option.name == "tls-port").or(options.first());
        problems.extend(culprit.map(|option| refused(option, reason)));
    }
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// The ports of the primary and the replica on each node, plain and for TLS.
pub fn redis_ports(options: &[OptionEntry]) -> Vec<u16> {
    let config = redis(options).unwrap_or_default();
    let is_cluster = config.get("cluster-enabled") == Some("yes");
    let port = |name| config.get(name).and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    let of_node = |port: u16| std::iter::once(port).chain(is_cluster.then(|| port.saturating_add(2)));
    ["port", "tls-port"].into_iter().filter_map(port).flat_map(of_node).collect()
}

/// The configuration of the embedded Kafka cluster.
pub fn kafka(options: &[OptionEntry]) -> Result<atoll_kafka::Config, Vec<Problem>> {
    let defaults = serde_json::to_value(atoll_kafka::Config::default()).unwrap_or_default();
    let known: Vec<&str> = defaults.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut values = defaults.clone();
    let mut problems = Vec::new();
    for option in options {
        if let Some(name) = option.name.strip_prefix("listener.name.") {
            values["listener.name"][name] = Value::from(option.value.as_str());
            continue;
        }
        let Some(default) = defaults.get(&option.name) else {
            problems.push(unknown(option, &known));
            continue;
        };
        let before = values[&option.name].take();
        match typed(&option.value, default) {
            Ok(value) => values[&option.name] = value,
            Err(reason) => problems.push(refused(option, reason)),
        }
        // Types say less than the engine does: a negative size, an unknown word.
        if let Err(error) = serde_json::from_value::<atoll_kafka::Config>(values.clone()) {
            problems.push(refused(option, format!("`{}` is refused: {error}", option.value)));
            values[&option.name] = before;
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    // Every step above has been accepted by this same conversion.
    let config: atoll_kafka::Config = serde_json::from_value(values).unwrap_or_default();
    match config.listeners() {
        Ok(_) => Ok(config),
        Err(reason) => {
            let culprit = options.iter().find(|option| option.name == "listeners").or(options.first());
            Err(culprit.map(|option| refused(option, reason)).into_iter().collect())
        }
    }
}

/// The ports that every broker listens on.
pub fn kafka_ports(options: &[OptionEntry]) -> Vec<u16> {
    let listeners = kafka(options).ok().and_then(|config| config.listeners().ok()).unwrap_or_default();
    listeners.iter().map(|listener| listener.port).collect()
}

/// A value as it was written, in the type of the option's default.
fn typed(text: &str, default: &Value) -> Result<Value, String> {
    match default {
        Value::Bool(_) => match text {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(format!("`{text}` is not true or false")),
        },
        Value::Number(_) => text.parse::<i64>().map(Value::from).map_err(|_| format!("`{text}` is not a whole number")),
        _ => Ok(Value::from(text)),
    }
}

fn unknown(option: &OptionEntry, known: &[&str]) -> Problem {
    let hint = match nearest(&option.name, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "options have the real system's own names; what is there stands in the engine's COVERAGE.md".to_owned(),
    };
    Problem { message: format!("unknown option `{}`", option.name), hint: Some(hint), place: option.name_place }
}

fn refused(option: &OptionEntry, reason: String) -> Problem {
    Problem { message: reason, hint: None, place: option.value_place }
}
