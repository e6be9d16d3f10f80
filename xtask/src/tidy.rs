//! What the compiler does not check: sizes, doors, dependency direction, forgotten files, shape of crates, text hygiene.
//!
//! Start at [`check`]: every rule is a plain function from the [`Repository`] to findings, so that a test can plant a
//! fault in a made-up repository and see it found.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

mod dependencies;
mod layout;
mod source;
mod text;

#[cfg(test)]
mod tests;

/// One broken rule at one place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// What the rules look at: every file that is, or could be, committed, and the packages that Cargo sees.
#[derive(Default)]
pub struct Repository {
    /// Path from the root, with `/`, to the text. Files that are not UTF-8 stand here with an empty text.
    files: BTreeMap<String, String>,
    packages: Vec<Package>,
}

/// The part of `cargo metadata` that the rules need.
pub struct Package {
    name: String,
    /// The package's folder from the root.
    folder: String,
    /// Root files of its targets (`src/lib.rs`, `tests/it/main.rs` …) from the repository's root.
    targets: Vec<String>,
    /// Names of packages that it depends on, of any kind.
    dependencies: BTreeSet<String>,
}

/// Loads the repository, applies every rule and prints what is broken.
pub fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the repository")?;
    let findings = check(&Repository::load(root)?);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("{count} broken rules"),
    }
}

/// Every rule, in the order of CONTRIBUTING.md.
pub fn check(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(source::sizes(repository));
    findings.extend(source::doors(repository));
    findings.extend(source::unfinished(repository));
    findings.extend(source::forgotten(repository));
    findings.extend(dependencies::direction(repository));
    findings.extend(layout::root(repository));
    findings.extend(layout::shape(repository));
    findings.extend(layout::map(repository));
    findings.extend(layout::banned_calls(repository));
    findings.extend(text::hygiene(repository));
    findings.extend(text::machine_paths(repository));
    findings.extend(text::links(repository));
    findings.sort();
    findings
}

impl Repository {
    fn load(root: &Path) -> Result<Self> {
        // Untracked files count as well, unless ignored: a file that somebody forgot to add is what one rule is about.
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("git ls-files")?;
        if !listing.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr).trim());
        }
        let mut files = BTreeMap::new();
        for name in String::from_utf8(listing.stdout)?.split('\0').filter(|name| !name.is_empty()) {
            // A file that was deleted but not yet committed is still listed.
            if let Ok(bytes) = std::fs::read(root.join(name)) {
                files.insert(name.to_owned(), String::from_utf8(bytes).unwrap_or_default());
            }
        }
        let mut packages = packages(root, &root.join("Cargo.toml"))?;
        // Fuzz targets and clients that are built for conformance are workspaces of their own.
        let is_workspace = |text: &str| text.lines().any(|line| line == "[workspace]");
        for (path, _) in files.iter().filter(|(path, text)| path.ends_with("/Cargo.toml") && is_workspace(text)) {
            packages.extend(self::packages(root, &root.join(path))?);
        }
        Ok(Repository { files, packages })
    }

    /// Rust files that people wrote, path and text.
    fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .filter(|(path, text)| path.ends_with(".rs") && !is_generated(text))
    }
}

/// Generated files say so in their first lines, as other tools expect it too.
fn is_generated(text: &str) -> bool {
    text.lines().take(3).any(|line| line.contains("@generated"))
}

/// Tests are exempt from the size limits: a file in a `tests` folder, or a `tests.rs` beside what it tests.
fn is_test(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "benches") || path.ends_with("tests.rs")
}

/// Resolves `.` and `..` in a path that uses `/`.
fn normalize(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn packages(root: &Path, manifest: &Path) -> Result<Vec<Package>> {
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(manifest).no_deps().exec()?;
    let from_root = |path: &cargo_metadata::camino::Utf8Path| -> Result<String> {
        Ok(path.as_std_path().strip_prefix(root)?.to_string_lossy().into_owned())
    };
    let mut packages = Vec::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest stands in a folder")?;
        let mut targets = Vec::new();
        for target in &package.targets {
            targets.push(from_root(&target.src_path)?);
        }
        packages.push(Package {
            name: package.name.to_string(),
            folder: from_root(folder)?,
            targets,
            dependencies: package.dependencies.iter().map(|dependency| dependency.name.clone()).collect(),
        });
    }
    Ok(packages)
}
