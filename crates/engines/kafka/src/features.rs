//! Feature levels that the cluster has agreed on (KIP-584), as far as Atoll acts on them.

use std::collections::BTreeMap;

/// A feature with the levels that are there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    /// Kafka's name of it.
    pub name: &'static str,
    /// The lowest level.
    pub min: i16,
    /// The highest level, which a new cluster has.
    pub max: i16,
}

/// All of them, in the order of their names. `metadata.version` 25 is that of Kafka 4.0.
pub(crate) const FEATURES: &[Feature] = &[
    Feature { name: GROUP_VERSION, min: 0, max: 1 },
    Feature { name: METADATA_VERSION, min: 7, max: 25 },
    // At level 2, and no other here, producers get another epoch with every transaction.
    Feature { name: "transaction.version", min: 0, max: 2 },
];

/// At level 1 there is the consumer group protocol of KIP-848.
pub(crate) const GROUP_VERSION: &str = "group.version";
/// Which records the controllers write.
pub(crate) const METADATA_VERSION: &str = "metadata.version";

/// The level of a feature: what was agreed on, or that of a new cluster.
pub(crate) fn level(agreed: &BTreeMap<String, i16>, name: &str) -> i16 {
    let default = || FEATURES.iter().find(|feature| feature.name == name).map_or(0, |feature| feature.max);
    agreed.get(name).copied().unwrap_or_else(default)
}

/// Whether a level may be agreed on in place of the present one; the error is a sentence for people.
pub(crate) fn check(agreed: &BTreeMap<String, i16>, name: &str, wanted: i16, upgrade_type: i8) -> Result<(), String> {
    let invalid = |reason: &str| Err(format!("Invalid update version {wanted} for feature {name}. {reason}"));
    let present = level(agreed, name);
    let Some(feature) = FEATURES.iter().find(|feature| feature.name == name) else {
        return invalid(&format!("Local controller does not support feature {name}."));
    };
    match upgrade_type {
        1..=3 if wanted < 0 => invalid("A feature version cannot be less than 0."),
        1..=3 if !(feature.min..=feature.max).contains(&wanted) => {
            let (min, max) = (feature.min, feature.max);
            invalid(&format!("Local controller only supports versions {min}-{max}"))
        }
        1 if wanted < present => invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade.",
        ),
        2 | 3 if wanted > present => invalid("Can't downgrade to a newer version."),
        1..=3 if name == METADATA_VERSION && wanted < present => {
            invalid("Refusing to perform the requested downgrade because it might delete metadata information.")
        }
        1..=3 => Ok(()),
        _ => invalid("The controller does not support the given upgrade type."),
    }
}
