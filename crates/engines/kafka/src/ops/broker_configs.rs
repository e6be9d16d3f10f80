//! The options of a broker as they are described: what counts, where it comes from, and what it hides.

use std::collections::BTreeMap;

use super::describe_configs::{Described, one};
use crate::cluster::{Caller, Cluster};
use crate::config::{Config, SHOWN_OPTIONS, Shown};
use crate::dynamic;
use crate::error::ErrorCode;
use crate::state::image::Image;
use crate::wire::generated::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsSynonym};

const FROM_BROKER: i8 = 2;
const FROM_ALL_BROKERS: i8 = 3;
const FROM_FILE: i8 = 4;
pub(super) const FROM_DEFAULT: i8 = 5;

/// The options of the asked broker, or with an empty name those that were set for all brokers.
pub(super) fn describe(cluster: &Cluster, caller: &Caller, name: &str) -> Described {
    let Some(image) = cluster.brokers.get(&caller.node).map(|broker| &broker.image) else { return Ok(Vec::new()) };
    if name.is_empty() {
        let set = image.broker_options.get("").cloned().unwrap_or_default();
        let shown = |(name, value): (String, String)| {
            let found = vec![(FROM_ALL_BROKERS, value)];
            option(name, found)
        };
        return Ok(set.into_iter().map(shown).collect());
    }
    let expected = caller.node.0.to_string();
    if name.parse::<i32>().is_err() {
        return Err((ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")));
    }
    if name != expected {
        let reason = format!("Unexpected broker id, expected {expected} or empty string, but received {name}");
        return Err((ErrorCode::InvalidRequest, reason));
    }
    let mut sources = sources(cluster, &expected, image);
    for id in ["broker.id", "node.id"] {
        sources.insert(id.to_owned(), vec![(FROM_FILE, expected.clone())]);
    }
    let mut described: Vec<_> = sources.into_iter().map(|(name, found)| option(name, found)).collect();
    described.extend(SHOWN_OPTIONS.iter().map(shown));
    described.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(described)
}

/// The options of a broker that can be set, with all values that each has and where they are from, the one that counts first.
pub(super) fn sources(cluster: &Cluster, broker: &str, image: &Image) -> BTreeMap<String, Vec<(i8, String)>> {
    let mut sources: BTreeMap<String, Vec<(i8, String)>> = BTreeMap::new();
    let set = [(FROM_BROKER, broker), (FROM_ALL_BROKERS, "")];
    for (source, resource) in set {
        for (name, value) in image.broker_options.get(resource).into_iter().flatten() {
            sources.entry(name.clone()).or_default().push((source, value.clone()));
        }
    }
    let mut defaults = Config::default().entries();
    defaults.extend(dynamic::without_effect().map(|(name, value)| (name.to_owned(), value.to_owned())));
    for (name, value) in cluster.config.entries() {
        if defaults.get(&name) != Some(&value) {
            sources.entry(name).or_default().push((FROM_FILE, value));
        }
    }
    for (name, value) in defaults {
        sources.entry(name).or_default().push((FROM_DEFAULT, value));
    }
    sources
}

/// An option that can only be looked at.
fn shown((name, default, config_type): &Shown) -> DescribeConfigsResourceResult {
    let value = default.map(str::to_owned);
    DescribeConfigsResourceResult { config_type: *config_type, ..one(name, value, FROM_DEFAULT, true) }
}

/// One option with its values, the one that counts first.
fn option(name: String, found: Vec<(i8, String)>) -> DescribeConfigsResourceResult {
    let (source, value) = found.first().cloned().unwrap_or((FROM_DEFAULT, String::new()));
    let hidden = is_secret(&name);
    let config_type = dynamic::type_of(&name, &value) as i8;
    let shown = |value: String| (!hidden).then_some(value);
    let synonym =
        |(source, value): (i8, String)| DescribeConfigsSynonym { name: name.clone(), value: shown(value), source };
    let synonyms = found.into_iter().map(synonym).collect();
    DescribeConfigsResourceResult {
        config_type: if hidden { PASSWORD } else { config_type },
        is_sensitive: hidden,
        synonyms,
        ..one(&name, shown(value), source, !dynamic::is_dynamic(&name))
    }
}

/// The type of an option whose value is told to nobody.
const PASSWORD: i8 = 9;

fn is_secret(name: &str) -> bool {
    ["sasl.jaas.config", "password", "ssl.keystore.key"].iter().any(|secret| name.ends_with(secret))
}
