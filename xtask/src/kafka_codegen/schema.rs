//! Kafka's message definitions as they stand in their files.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// One request or response.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub name: String,
    pub api_key: i16,
    #[serde(rename = "type")]
    pub kind: String,
    pub valid_versions: Versions,
    pub flexible_versions: Versions,
    #[serde(default)]
    latest_version_unstable: bool,
    pub fields: Vec<Field>,
    #[serde(default)]
    common_structs: Vec<CommonStruct>,
}

#[derive(Debug, Clone, Deserialize)]
struct CommonStruct {
    name: String,
    fields: Vec<Field>,
}

/// One field of a message or of a structure in it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    pub name: String,
    #[serde(rename = "type")]
    type_name: String,
    pub versions: Versions,
    #[serde(default)]
    pub nullable_versions: Versions,
    #[serde(default)]
    pub tagged_versions: Versions,
    pub tag: Option<u32>,
    pub default: Option<serde_json::Value>,
    #[serde(default)]
    pub fields: Vec<Field>,
    #[serde(skip)]
    pub kind: Kind,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Kind {
    #[default]
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    /// Record batches, which are passed on undecoded.
    Records,
    Struct(String),
    Array(Box<Kind>),
}

/// A range of versions; empty if `first > last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Default for Versions {
    fn default() -> Self {
        Self { first: 1, last: 0 }
    }
}

impl TryFrom<String> for Versions {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        if text == "none" {
            return Ok(Self::default());
        }
        if let Some(first) = text.strip_suffix('+') {
            return Ok(Self { first: first.parse()?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((&text, &text));
        Ok(Self { first: first.parse()?, last: last.parse()? })
    }
}

impl Versions {
    pub fn contains(self, version: i16) -> bool {
        self.first <= version && version <= self.last
    }

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }
}

impl Message {
    /// Resolves types and narrows the versions to those that are served.
    pub fn prepare(&mut self, version_min: i16) -> Result<()> {
        ensure!(self.kind == "request" || self.kind == "response", "type {}", self.kind);
        self.valid_versions.first = self.valid_versions.first.max(version_min);
        if self.latest_version_unstable {
            self.valid_versions.last -= 1;
        }
        let common = std::mem::take(&mut self.common_structs);
        for field in &mut self.fields {
            field.prepare(&common)?;
        }
        Ok(())
    }

    /// The served versions.
    pub fn versions(&self) -> std::ops::RangeInclusive<i16> {
        self.valid_versions.first..=self.valid_versions.last
    }
}

impl Field {
    fn prepare(&mut self, common: &[CommonStruct]) -> Result<()> {
        self.kind = Kind::parse(&self.type_name).with_context(|| format!("field {}", self.name))?;
        let inner = match &self.kind {
            Kind::Array(inner) => (**inner).clone(),
            other => other.clone(),
        };
        if let (Kind::Struct(name), true) = (inner, self.fields.is_empty()) {
            let found = common.iter().find(|common| common.name == name);
            self.fields = found.with_context(|| format!("structure {name} is not defined"))?.fields.clone();
        }
        for field in &mut self.fields {
            field.prepare(common)?;
        }
        Ok(())
    }

    /// The name of the structure that this field holds, by itself or in an array.
    pub fn struct_name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Struct(name) => Some(name),
            Kind::Array(inner) => match &**inner {
                Kind::Struct(name) => Some(name),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn nullable(&self) -> bool {
        !self.nullable_versions.is_empty()
    }

    /// Whether the field is written in the body, outside the tagged section.
    pub fn plain_in(&self, version: i16) -> bool {
        self.versions.contains(version) && !self.tagged_versions.contains(version)
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self> {
        if let Some(inner) = text.strip_prefix("[]") {
            return Ok(Self::Array(Box::new(Self::parse(inner)?)));
        }
        Ok(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            name if name.starts_with(char::is_uppercase) => Self::Struct(name.to_owned()),
            other => bail!("unknown type {other}"),
        })
    }
}

/// Removes `//` comments outside of strings: the definitions are JSON apart from these.
pub fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut end = line.len();
        let bytes = line.as_bytes();
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' if index == 0 || bytes[index - 1] != b'\\' => in_string = !in_string,
                b'/' if !in_string && bytes.get(index + 1) == Some(&b'/') => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}
