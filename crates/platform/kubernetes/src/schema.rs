//! The shape of every kind: what fields there are, how lists are keyed and how patches merge.
//!
//! One text, `schema/types.txt`, is the source of OpenAPI, strict field validation, strategic merge patch and
//! server-side apply, so that these four cannot disagree.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::resources::RESOURCES;

/// What a value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// A string.
    Text,
    /// A boolean.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// A resource quantity: text or number.
    Quantity,
    /// A number or a text.
    IntOrString,
    /// RFC 3339.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Base64.
    Bytes,
    /// Any JSON.
    Anything,
    /// A type, by its position in the schema.
    Type(usize),
    /// A list.
    List(Box<Shape>),
    /// A map from text.
    Map(Box<Shape>),
}

/// How the items of a list are told apart by server-side apply.
#[derive(Clone, Debug, PartialEq)]
pub enum ListKind {
    /// Replaced as a whole.
    Atomic,
    /// A set of scalars.
    Set,
    /// Items with these key fields.
    Keyed(Vec<String>),
}

/// One field of a type.
#[derive(Clone, Debug)]
pub struct Field {
    /// Name in JSON.
    pub name: String,
    /// What it holds.
    pub shape: Shape,
    /// Whether OpenAPI calls it required.
    pub required: bool,
    /// For lists, how items are told apart.
    pub list: ListKind,
    /// Strategic merge: `Some("")` for lists of scalars that merge, `Some(key)` for lists that merge by a key.
    pub merge: Option<String>,
    /// Strategic merge: keys that the patch does not retain are cleared.
    pub replace_keys: bool,
    /// Whether server-side apply treats the value as one.
    pub atomic: bool,
    /// The default, as OpenAPI shows it.
    pub default: Option<Value>,
    /// The number in protobuf; with two numbers the field is the second of the message that is the first.
    pub number: Option<(u64, Option<u64>)>,
    /// What `kubectl explain` says.
    pub description: String,
}

/// Types that stand by themselves on the wire without being resources.
const LONE_KINDS: &[&str] = &["Scale", "TokenRequest", "Eviction", "Binding"];

/// A type with its fields.
#[derive(Clone, Debug)]
pub struct Type {
    /// Short name, unique in the schema.
    pub name: String,
    /// OpenAPI package.
    pub package: String,
    /// What `kubectl explain` says.
    pub description: String,
    /// Whether server-side apply treats a value of this type as one.
    pub atomic: bool,
    /// Whether any field is allowed.
    pub free: bool,
    /// Fields, in order of the text.
    pub fields: Vec<Field>,
}

impl Type {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The name in OpenAPI.
    pub fn full_name(&self) -> String {
        let name = self.name.strip_prefix("Core").filter(|_| self.name == "CoreEndpointPort").unwrap_or(&self.name);
        format!("{}.{name}", self.package)
    }
}

/// All types.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Type>,
    positions: BTreeMap<String, usize>,
}

/// The one schema of this server.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::read(include_str!("schema/types.txt")))
}

impl Schema {
    /// All types, in order of the text.
    pub fn types(&self) -> &[Type] {
        &self.types
    }

    /// The type at a position that a [`Shape::Type`] holds.
    pub fn at(&self, position: usize) -> &Type {
        &self.types[position]
    }

    /// The shape of a kind. Kinds without a type (reviews) may hold anything.
    pub fn kind(&self, kind: &str) -> Shape {
        self.positions.get(kind).map_or(Shape::Anything, |position| Shape::Type(*position))
    }

    /// Reads the text. The text is part of the program, and a test reads it, so what is wrong in it panics.
    fn read(source: &str) -> Schema {
        let is_type = |line: &&str| !line.starts_with(['#', ' ']) && line.contains(" : ");
        let type_name = |line: &str| line.split([' ']).next().unwrap_or("").to_owned();
        let positions: BTreeMap<String, usize> =
            source.lines().filter(is_type).enumerate().map(|(at, line)| (type_name(line), at)).collect();
        let mut types: Vec<Type> = Vec::new();
        let mut package = String::new();
        for line in source.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix("package ") {
                package = name.to_owned();
            } else if let Some(field) = line.strip_prefix("  ") {
                let owner = types.last_mut().expect("a field follows its type");
                if field.starts_with("* ") {
                    owner.free = true;
                } else {
                    owner.fields.push(read_field(field, &positions));
                }
            } else {
                types.push(read_type(line, &package, &positions));
            }
        }
        Schema { types, positions }
    }
}

fn read_type(line: &str, package: &str, positions: &BTreeMap<String, usize>) -> Type {
    let (head, description) = line.split_once(" : ").expect("a type has a description");
    let mut words = head.split_whitespace();
    let name = words.next().expect("a type has a name").to_owned();
    let is_kind = LONE_KINDS.contains(&name.as_str()) || RESOURCES.iter().any(|row| row.kind == name);
    let mut fields = Vec::new();
    if is_kind {
        for source in [
            "apiVersion string # The versioned schema of this representation of an object.",
            "kind string # The REST resource that this object represents, in CamelCase.",
            "metadata ObjectMeta @1 # Standard object's metadata.",
        ] {
            fields.push(read_field(source, positions));
        }
    }
    Type {
        name,
        package: package.to_owned(),
        description: description.to_owned(),
        atomic: words.any(|word| word == "atomic"),
        free: false,
        fields,
    }
}

fn read_field(source: &str, positions: &BTreeMap<String, usize>) -> Field {
    let (head, description) = source.split_once(" # ").unwrap_or((source, ""));
    let mut words = head.split_whitespace();
    let name = words.next().expect("a field has a name").to_owned();
    let shape = words.next().expect("a field has a type");
    let mut field = Field {
        name,
        required: shape.ends_with('!'),
        shape: read_shape(shape.trim_end_matches('!'), positions),
        list: ListKind::Atomic,
        merge: None,
        replace_keys: false,
        atomic: false,
        default: None,
        number: None,
        description: description.to_owned(),
    };
    for word in words {
        if let Some(number) = word.strip_prefix('@') {
            let parse = |digits: &str| digits.parse::<u64>().expect("a field's number is a number");
            field.number = Some(match number.split_once('.') {
                Some((outer, inner)) => (parse(outer), Some(parse(inner))),
                None => (parse(number), None),
            });
            continue;
        }
        match word.split_once('=').unwrap_or((word, "")) {
            ("key", keys) => field.list = ListKind::Keyed(keys.split(',').map(str::to_owned).collect()),
            ("merge", key) => field.merge = Some(key.to_owned()),
            ("default", json) => field.default = Some(serde_json::from_str(json).expect("a default is JSON")),
            ("set", _) => field.list = ListKind::Set,
            ("replacekeys", _) => field.replace_keys = true,
            ("atomic", _) => field.atomic = true,
            _ => panic!("unknown flag {word} in {source}"),
        }
    }
    field
}

fn read_shape(word: &str, positions: &BTreeMap<String, usize>) -> Shape {
    if let Some(inner) = word.strip_prefix('[') {
        return Shape::List(Box::new(read_shape(inner.trim_end_matches(']'), positions)));
    }
    if let Some(inner) = word.strip_prefix('{') {
        return Shape::Map(Box::new(read_shape(inner.trim_end_matches('}'), positions)));
    }
    match word {
        "string" => Shape::Text,
        "bool" => Shape::Bool,
        "int32" => Shape::Int32,
        "int64" => Shape::Int64,
        "quantity" => Shape::Quantity,
        "intorstring" => Shape::IntOrString,
        "time" => Shape::Time,
        "microtime" => Shape::MicroTime,
        "bytes" => Shape::Bytes,
        "object" => Shape::Anything,
        name => Shape::Type(*positions.get(name).unwrap_or_else(|| panic!("unknown type {name}"))),
    }
}

/// What is wrong with a value of a shape.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    /// Paths of fields that the type does not have, as `spec.containers[0].imagee`.
    pub unknown: Vec<String>,
    /// The first value of a wrong type, in the words of Go's decoder.
    pub mismatch: Option<String>,
}

/// Compares a value with a shape. At most 100 unknown fields are listed.
pub fn check(shape: &Shape, value: &Value) -> Findings {
    let mut findings = Findings::default();
    check_at(shape, value, &Place { path: String::new(), owner: "" }, &mut findings);
    findings
}

struct Place<'a> {
    path: String,
    owner: &'a str,
}

fn check_at(shape: &Shape, value: &Value, place: &Place<'_>, findings: &mut Findings) {
    if value.is_null() || findings.mismatch.is_some() {
        return;
    }
    match (shape, value) {
        (Shape::Type(position), Value::Object(members)) => {
            let kind = schema().at(*position);
            for (name, member) in members {
                let path = if place.path.is_empty() { name.clone() } else { format!("{}.{name}", place.path) };
                match kind.field(name) {
                    Some(field) => check_at(&field.shape, member, &Place { path, owner: &kind.name }, findings),
                    None if !kind.free && findings.unknown.len() < 100 => findings.unknown.push(path),
                    None => {}
                }
            }
        }
        (Shape::List(inner), Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                check_at(inner, item, &Place { path: format!("{}[{at}]", place.path), owner: place.owner }, findings);
            }
        }
        (Shape::Map(inner), Value::Object(members)) => {
            for (name, member) in members {
                check_at(
                    inner,
                    member,
                    &Place { path: format!("{}.{name}", place.path), owner: place.owner },
                    findings,
                );
            }
        }
        _ => {
            if let Some(expected) = mismatch(shape, value) {
                findings.mismatch = Some(complaint(shape, value, place, expected));
            }
        }
    }
}

/// The Go type that was expected, if the value does not fit.
fn mismatch(shape: &Shape, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match shape {
        Shape::Text => (value.is_string(), "string"),
        Shape::Bool => (value.is_boolean(), "bool"),
        Shape::Int32 => (value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()), "int32"),
        Shape::Int64 => (value.as_i64().is_some(), "int64"),
        Shape::Quantity => {
            let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
            (crate::quantity::parse_milli(&text).is_some(), "quantity")
        }
        Shape::IntOrString => (value.is_string() || value.as_i64().is_some(), "int32"),
        Shape::Time | Shape::MicroTime => {
            (value.as_str().is_some_and(|text| crate::time::parse(text).is_some()), "time")
        }
        Shape::Bytes => (value.as_str().is_some_and(is_base64), "bytes"),
        Shape::Anything => (true, ""),
        Shape::Type(position) => return Some(&schema().at(*position).name),
        Shape::List(_) => (false, "[]"),
        Shape::Map(_) => (false, "map[string]string"),
    };
    (!fits).then_some(expected)
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn complaint(shape: &Shape, value: &Value, place: &Place<'_>, expected: &str) -> String {
    match shape {
        Shape::Quantity => {
            return "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
                .to_owned();
        }
        Shape::Bytes if value.is_string() => return "illegal base64 data at input byte 0".to_owned(),
        Shape::Time | Shape::MicroTime if value.is_string() => {
            return format!("parsing time {value} as \"2006-01-02T15:04:05Z07:00\": cannot parse {value}");
        }
        _ => {}
    }
    let found = match value {
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if matches!(shape, Shape::Int32 | Shape::Int64) => format!("number {number}"),
        Value::Number(_) => "number".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(_) => "array".to_owned(),
        _ => "object".to_owned(),
    };
    let package = if matches!(shape, Shape::Type(_)) { "v1." } else { "" };
    format!(
        "json: cannot unmarshal {found} into Go struct field {}.{} of type {package}{expected}",
        place.owner, place.path
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_stored_kind_has_a_type() {
        for row in RESOURCES.iter().filter(|row| row.is_stored()) {
            assert!(matches!(schema().kind(row.kind), Shape::Type(_)), "{} has no type", row.kind);
        }
    }

    #[test]
    fn unknown_fields_and_wrong_types_are_named_by_path() {
        let deployment = schema().kind("Deployment");
        let findings = check(
            &deployment,
            &json!({"metadata": {"nam": "a"}, "spec": {"template": {"spec": {"containers": [{"name": "a", "imagee": "b"}]}}}}),
        );
        assert_eq!(findings.unknown, ["metadata.nam", "spec.template.spec.containers[0].imagee"]);
        assert_eq!(findings.mismatch, None);
        assert_eq!(
            check(&deployment, &json!({"spec": {"replicas": "three"}})).mismatch.as_deref(),
            Some("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32")
        );
    }

    #[test]
    fn list_keys_name_fields_of_their_items() {
        for kind in schema().types() {
            for field in &kind.fields {
                let (ListKind::Keyed(keys), Shape::List(inner)) = (&field.list, &field.shape) else { continue };
                let Shape::Type(position) = inner.as_ref() else { continue };
                for key in keys {
                    assert!(schema().at(*position).field(key).is_some(), "{}.{}: no key {key}", kind.name, field.name);
                }
            }
        }
    }
}
