//! Where files may stand: the root's list, the inner shape of protocol crates, the map in ARCHITECTURE.md.

use super::{Finding, Repository};

/// Everything that may stand at the root. A new entry belongs into ARCHITECTURE.md as well.
const ROOT: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "bench",
    "clippy.toml",
    "conformance",
    "crates",
    "demo",
    "docs",
    "examples",
    "fuzz",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scripts",
    "test",
    "xtask",
];

pub fn root(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in repository.files.keys() {
        let top = path.split('/').next().unwrap_or(path);
        if !ROOT.contains(&top) {
            findings.push(Finding::new(path, 1, format!("`{top}` has no place at the root")));
        }
    }
    findings
}

/// The files that every protocol crate has, by the same names, so that a newcomer finds a behaviour in two looks.
/// A name without extension may be a file or a folder.
const SHAPE: &[&str] = &["lib", "wire", "ops", "state", "cluster", "server", "error"];

pub fn shape(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &repository.packages {
        let folder = &package.folder;
        if folder.starts_with("crates/engines/") {
            for name in SHAPE {
                let file = format!("{folder}/src/{name}.rs");
                let inside = format!("{folder}/src/{name}/mod.rs");
                if !repository.files.contains_key(&file) && !repository.files.contains_key(&inside) {
                    findings.push(Finding::new(&file, 1, "missing: every protocol crate has this file"));
                }
            }
        }
        // Whoever is spoken to in somebody else's protocol has operations, and with them gaps.
        if folder.starts_with("crates/engines/") || folder == "crates/platform/kubernetes" {
            findings.extend(coverage(repository, folder));
        }
    }
    findings
}

/// An honest list of what is there and what is not, which a test of the crate itself compares with its dispatch table.
fn coverage(repository: &Repository, folder: &str) -> Option<Finding> {
    let path = format!("{folder}/COVERAGE.md");
    let Some(text) = repository.files.get(&path) else {
        return Some(Finding::new(&path, 1, "missing: say what is implemented and what is not"));
    };
    if text.trim().is_empty() {
        return Some(Finding::new(&path, 1, "is empty"));
    }
    let prefix = format!("{folder}/");
    let is_checked = repository
        .files
        .iter()
        .any(|(file, text)| file.starts_with(&prefix) && file.ends_with(".rs") && text.contains("COVERAGE.md\")"));
    (!is_checked).then(|| Finding::new(&path, 1, "no test of the crate reads it (`include_str!(\"../COVERAGE.md\")`)"))
}

pub fn map(repository: &Repository) -> Vec<Finding> {
    let Some(map) = repository.files.get("ARCHITECTURE.md") else {
        return vec![Finding::new("ARCHITECTURE.md", 1, "missing")];
    };
    repository
        .packages
        .iter()
        .filter_map(|package| {
            // The map names the suites as a whole.
            let known = map.contains(&package.folder)
                || package.folder.starts_with("conformance/")
                || package.folder.strip_prefix("crates/").is_some_and(|short| map.contains(&format!("{short} ")));
            (!known).then(|| Finding::new("ARCHITECTURE.md", 1, format!("the map does not name {}", package.folder)))
        })
        .collect()
}

/// Calls that clippy must refuse. The list stands here a second time so that loosening clippy.toml needs two edits.
const BANNED: &[&str] = &[
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::thread::sleep",
    "std::fs::write",
    "std::fs::read",
    "std::fs::File::open",
    "std::fs::File::create",
    "tokio::net::TcpListener::bind",
    "tokio::net::TcpStream::connect",
];

pub fn banned_calls(repository: &Repository) -> Vec<Finding> {
    let text = repository.files.get("clippy.toml").map(String::as_str).unwrap_or_default();
    BANNED
        .iter()
        .filter(|call| !text.contains(&format!("\"{call}\"")))
        .map(|call| Finding::new("clippy.toml", 1, format!("no longer bans {call}")))
        .collect()
}
