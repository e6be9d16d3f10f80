//! Images: which local command stands for which image name.

use crate::config::RuntimeError;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The stack file's `images:` map.
#[derive(Clone, Debug, Default)]
pub struct Images {
    by_name: BTreeMap<String, LocalCommand>,
}

/// A program of this machine that stands for an image, run on the host's root file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCommand {
    /// Program and arguments: the image's entry point.
    pub argv: Vec<String>,
    /// Where it starts. A relative program name with a slash is relative to it.
    pub working_dir: PathBuf,
    /// Environment; the container's wins.
    pub env: BTreeMap<String, String>,
}

impl Images {
    /// Adds an entry; `name` with or without a tag.
    pub fn insert(&mut self, name: impl Into<String>, command: LocalCommand) {
        self.by_name.insert(name.into(), command);
    }

    /// The names, for listings.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// Finds an image: an entry with exactly this name and tag, else one with the name alone. `docker.io/library/x` is
    /// also found as `x`, and no tag means `latest`, as everywhere.
    pub fn resolve(&self, image: &str) -> Result<&LocalCommand, RuntimeError> {
        let (name, tag) = parse(image).ok_or_else(|| RuntimeError::InvalidImageName { image: image.into() })?;
        let short = name.strip_prefix("docker.io/library/").or_else(|| name.strip_prefix("docker.io/")).unwrap_or(name);
        let tag = tag.unwrap_or("latest");
        [name, short]
            .iter()
            .find_map(|name| self.by_name.get(&format!("{name}:{tag}")).or_else(|| self.by_name.get(*name)))
            .ok_or_else(|| RuntimeError::ImageNotFound { image: image.into(), name: short.into() })
    }
}

/// Parts of `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`; `None` if it is not of the form (`distribution/reference`).
fn parse(image: &str) -> Option<(&str, Option<&str>)> {
    if image.is_empty() || image.len() > 512 {
        return None;
    }
    let without_digest = image.split_once('@').map_or(image, |(name, _)| name);
    let last = without_digest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match without_digest.get(last..)?.find(':') {
        Some(colon) => (without_digest.get(..last + colon)?, Some(without_digest.get(last + colon + 1..)?)),
        None => (without_digest, None),
    };
    let tag_is_good = tag.is_none_or(|tag| {
        (1..=128).contains(&tag.len())
            && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
            && !tag.starts_with(['.', '-'])
    });
    let mut components = name.split('/').enumerate();
    let name_is_good = components.all(|(index, component)| {
        let is_host = index == 0 && name.contains('/') && component.contains(['.', ':']);
        let good = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte) || (is_host && byte == b':')
        };
        !component.is_empty()
            && component.bytes().all(good)
            && component.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
            && component.bytes().last().is_some_and(|last| last.is_ascii_alphanumeric())
    });
    (tag_is_good && name_is_good).then_some((name, tag))
}
