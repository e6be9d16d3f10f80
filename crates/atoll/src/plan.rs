//! What is to be started: the stack file, or what holds without one, with the command line's wishes over it.

use std::path::{Path, PathBuf};

use atoll_kernel::{NodeConfig, Seed};

use crate::config::{self, FILE_BYTES_MAX, StackFile};
use crate::error::{Code, Failure, Result};
use crate::files;
use crate::home::Home;
use crate::options;
use crate::registry::Registry;
use crate::text::{is_dns_label, to_dns_label};

/// The stack file's usual name.
pub const FILE_NAME: &str = "atoll.yaml";

/// What the command line wishes.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// `-f`: the stack file, or the directory that it is in.
    pub file: Option<PathBuf>,
    /// `--name`.
    pub name: Option<String>,
    /// `--nodes`.
    pub nodes: Option<u8>,
    /// `--seed`.
    pub seed: Option<u64>,
    /// `--ephemeral`.
    pub ephemeral: bool,
    /// True for `atoll run`.
    pub private: bool,
}

/// A stack that can be started.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name.
    pub name: String,
    /// The directory that relative paths of the stack file start from.
    pub directory: PathBuf,
    /// What the stack file says.
    pub stack: StackFile,
    /// Where it keeps what it keeps.
    pub home: Home,
    /// The seed of every random decision.
    pub seed: Seed,
    /// True if nothing is kept on disk.
    pub ephemeral: bool,
    /// True for `atoll run`.
    pub private: bool,
}

impl Plan {
    /// Finds and reads the stack file, and applies the wishes.
    pub fn new(wishes: &Wishes, registry: &Registry, color: bool) -> Result<Plan> {
        let place = StackPlace::find(wishes.file.as_deref())?;
        let mut stack = match &place.file {
            Some(file) => read(file, color)?,
            None => StackFile::default(),
        };
        if let Some(count) = wishes.nodes {
            stack.nodes = vec![config::NodeEntry::default(); usize::from(count)];
        }
        let ephemeral = wishes.ephemeral || wishes.private || stack.ephemeral;
        let name = name(wishes, &stack, &place.directory)?;
        let home = match ephemeral {
            true => Home::ephemeral(registry.directory(), &name),
            false => Home::beside(&place.directory),
        };
        let seed = Seed(wishes.seed.or(stack.seed).unwrap_or_else(random_seed));
        Ok(Plan { name, directory: place.directory, stack, home, seed, ephemeral, private: wishes.private })
    }

    /// The nodes as the kernel takes them, on a block of addresses.
    pub fn nodes(&self, instance: u8) -> Vec<NodeConfig> {
        let numbered = (1..).zip(&self.stack.nodes);
        numbered
            .map(|(number, entry)| {
                let mut node = NodeConfig::numbered(instance, number);
                node.region = entry.region.clone().unwrap_or(node.region);
                node.zone = entry.zone.clone().unwrap_or(node.zone);
                node
            })
            .collect()
    }
}

/// Where a stack file is, or would be.
#[derive(Clone, Debug)]
pub struct StackPlace {
    /// The file; None if there is none.
    pub file: Option<PathBuf>,
    /// The directory that it is in, or the working directory.
    pub directory: PathBuf,
}

impl StackPlace {
    /// `-f FILE`, or else the nearest `atoll.yaml` in the working directory and those above it.
    pub fn find(wished: Option<&Path>) -> Result<StackPlace> {
        if let Some(wished) = wished {
            let file = if wished.is_dir() { wished.join(FILE_NAME) } else { wished.to_owned() };
            let absolute = file.canonicalize().map_err(|error| unreadable(&file, &error))?;
            let directory = absolute.parent().unwrap_or(Path::new("/")).to_owned();
            return Ok(StackPlace { file: Some(file), directory });
        }
        let working = std::env::current_dir()
            .and_then(|directory| directory.canonicalize())
            .map_err(|error| Failure::new(Code::DataDirectoryUnusable, format!("the working directory: {error}")))?;
        for directory in working.ancestors() {
            let file = directory.join(FILE_NAME);
            if file.is_file() {
                return Ok(StackPlace { file: Some(file), directory: directory.to_owned() });
            }
        }
        Ok(StackPlace { file: None, directory: working })
    }
}

fn read(file: &Path, color: bool) -> Result<StackFile> {
    let text = files::read_text(file, FILE_BYTES_MAX).map_err(|error| unreadable(file, &error))?;
    let refused = |problems: Vec<config::Problem>| config::failure(&shown(file), &text, &problems, color);
    let stack = config::parse_stack(&text).map_err(refused)?;
    match options::check(&stack) {
        problems if problems.is_empty() => Ok(stack),
        problems => Err(refused(problems)),
    }
}

/// A path as people want to read it: from the working directory, where it lies below it.
fn shown(file: &Path) -> String {
    let working = std::env::current_dir().unwrap_or_default();
    file.strip_prefix(&working).unwrap_or(file).display().to_string()
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::StackFileUnreadable, format!("{}: {error}", file.display()))
        .hint("give the stack file with `-f FILE`, or leave it out to start three nodes with every engine")
}

fn name(wishes: &Wishes, stack: &StackFile, directory: &Path) -> Result<String> {
    if let Some(name) = &wishes.name {
        if !is_dns_label(name) {
            let hint =
                "use lower-case letters, digits and `-`, at most 63, beginning and ending with a letter or digit";
            return Err(Failure::new(Code::Usage, format!("`{name}` cannot name a stack")).hint(hint));
        }
        return Ok(name.clone());
    }
    if wishes.private {
        return Ok(format!("run-{}", std::process::id()));
    }
    let from_directory = directory.file_name().and_then(|name| to_dns_label(&name.to_string_lossy()));
    Ok(stack.name.clone().or(from_directory).unwrap_or_else(|| "atoll".to_owned()))
}

/// A seed nobody asked for. It is printed by `status`, so that a run can be repeated.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // The standard library keys its hash tables from the operating system's randomness; short seeds are easier to copy.
    RandomState::new().hash_one(std::process::id()) % 1_000_000_000
}
