//! core ← engines, platform, security, observe ← chaos, console ← atoll, and protocol crates never depend on each other.

use super::{Finding, Package, Repository};

/// Where a crate stands. A crate may depend on crates of lower layers only; within [`Layer::Core`] the compiler's own
/// ban on cycles is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    Core,
    /// Certificates have no protocol of their own and serve every crate above.
    Foundation,
    Protocol,
    Observer,
    Assembly,
}

pub fn direction(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &repository.packages {
        let manifest = format!("{}/Cargo.toml", package.folder);
        let Some(layer) = layer(&package.folder) else {
            if package.folder.starts_with("crates/") {
                findings.push(Finding::new(&manifest, 1, "stands in no layer: see the map in ARCHITECTURE.md"));
            }
            continue;
        };
        for needed in internal_dependencies(repository, package) {
            let Some(needed_layer) = self::layer(&needed.folder) else {
                findings.push(Finding::new(&manifest, 1, format!("must not depend on {}", needed.name)));
                continue;
            };
            if needed_layer < layer || (layer == Layer::Core && needed_layer == Layer::Core) {
                continue;
            }
            let message = format!(
                "{} ({layer:?}) must not depend on {} ({needed_layer:?}): own a trait here and wire it in crates/atoll",
                package.name, needed.name
            );
            findings.push(Finding::new(&manifest, 1, message));
        }
    }
    findings
}

fn internal_dependencies<'a>(repository: &'a Repository, package: &'a Package) -> impl Iterator<Item = &'a Package> {
    // A package may name itself as a development dependency to switch a feature on; that is no edge.
    repository.packages.iter().filter(|other| package.dependencies.contains(&other.name) && other.name != package.name)
}

fn layer(folder: &str) -> Option<Layer> {
    Some(match folder {
        "crates/security/pki" => Layer::Foundation,
        "crates/chaos" | "crates/observe/console" => Layer::Observer,
        "crates/atoll" => Layer::Assembly,
        _ if folder.starts_with("crates/core/") => Layer::Core,
        _ if ["crates/engines/", "crates/platform/", "crates/security/", "crates/observe/"]
            .iter()
            .any(|group| folder.starts_with(group)) =>
        {
            Layer::Protocol
        }
        _ => return None,
    })
}
