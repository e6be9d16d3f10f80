//! YAML as a tree whose keys and values know their places, and whose scalars keep the text that was written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::{Place, Problem};

/// Deeper than this nothing in a stack file goes.
const DEPTH_MAX: usize = 32;
/// More keys and values than this no stack file has.
const NODES_MAX: usize = 50_000;

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value.
#[derive(Debug)]
pub(super) enum Value {
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) place: Place,
}

/// A scalar: what YAML takes it for, and the text as written (without quotes).
#[derive(Debug)]
pub(super) struct Scalar {
    pub(super) kind: ScalarKind,
    pub(super) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ScalarKind {
    Bool(bool),
    Integer(i128),
    Float,
    Text,
}

impl Value {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::List(_) => "a list",
            Value::Mapping(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.kind {
                ScalarKind::Bool(_) => "a boolean",
                ScalarKind::Integer(_) => "a whole number",
                ScalarKind::Float => "a number",
                ScalarKind::Text => "text",
            },
        }
    }
}

/// Parses one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let mut options = serde_saphyr::Options::default();
    let budget = options.budget.get_or_insert_with(Default::default);
    budget.max_depth = DEPTH_MAX;
    budget.max_nodes = NODES_MAX;
    options.with_snippet = false;
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, text)),
        Err(error) => Err(syntax_problem(&error)),
    }
}

/// The library puts the place into its message as well; it is cut off, since places are shown in one way everywhere.
fn syntax_problem(error: &serde_saphyr::Error) -> Problem {
    let location = error.location();
    let place = location.map_or(Place::START, |location| place(&location));
    let whole = error.without_snippet().to_string();
    let suffix = location.map(|location| format!(" at line {}, column {}", location.line(), location.column()));
    let message = suffix.as_deref().and_then(|suffix| whole.strip_suffix(suffix)).unwrap_or(&whole);
    let message = match message.split_once(", set DuplicateKeyPolicy") {
        Some((duplicate, _)) => duplicate,
        None if message.starts_with("multiple YAML documents") => "a stack file is one YAML document, this has several",
        None => message,
    };
    Problem { message: message.lines().collect::<Vec<_>>().join(" "), hint: None, place }
}

/// The shape that the library fills in; places are still the library's.
enum Raw {
    Null,
    Bool(bool),
    Integer(i128),
    Float,
    Text(String),
    List(Vec<Spanned<Raw>>),
    Mapping(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let place = place(&raw.referenced);
    let written = || {
        // An alias stands for what its anchor defines, so the text is taken there.
        let defined = self::place(&raw.defined);
        text.get(defined.offset..defined.offset + defined.length).unwrap_or_default().trim().to_owned()
    };
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Bool(value) => Value::Scalar(Scalar { kind: ScalarKind::Bool(value), text: written() }),
        Raw::Integer(value) => Value::Scalar(Scalar { kind: ScalarKind::Integer(value), text: written() }),
        Raw::Float => Value::Scalar(Scalar { kind: ScalarKind::Float, text: written() }),
        Raw::Text(text) => Value::Scalar(Scalar { kind: ScalarKind::Text, text }),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Mapping(entries) => Value::Mapping(
            entries
                .into_iter()
                .map(|(key, value)| (Key { place: self::place(&key.referenced), name: key.value }, node(value, text)))
                .collect(),
        ),
    };
    Node { place, value }
}

fn place(location: &Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let span = location.span();
    Place {
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        offset: span.byte_offset().map_or(0, number),
        length: span.byte_len().map_or(0, number),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Float)
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Mapping(entries))
    }
}
