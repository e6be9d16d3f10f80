//! Bodies in protobuf, as the typed clients of newer `kubectl` send them: read into the same JSON that they stand for.
//!
//! The envelope is `k8s\0` and `runtime.Unknown`; the numbers of fields stand in `schema/types.txt`. Go's clients write members
//! that are empty but not pointers; these are left out where JSON leaves them out.

use serde_json::{Map, Value, json};

use crate::schema::{Field, Shape, Type, schema};

const DEPTH_MAX: usize = 64;

/// Numbers whose zero is not the same as their absence.
const MEANINGFUL_ZEROS: &[&str] = &[
    "activeDeadlineSeconds",
    "defaultMode",
    "deletionGracePeriodSeconds",
    "expirationSeconds",
    "fsGroup",
    "gracePeriodSeconds",
    "mode",
    "priority",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "runAsGroup",
    "runAsUser",
    "terminationGracePeriodSeconds",
    "tolerationSeconds",
];

/// Switches that are on when they are absent.
const MEANINGFUL_FALSE: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "allowPrivilegeEscalation",
    "automountServiceAccountToken",
    "enableServiceLinks",
    "hostUsers",
    "ready",
    "serving",
];

/// Reads a body with its envelope.
///
/// # Errors
/// A sentence for bytes that are no such message, and for kinds and fields that this server cannot read in protobuf.
pub(super) fn decode(body: &[u8]) -> Result<Value, String> {
    let message = body.strip_prefix(b"k8s\0").ok_or("the protobuf body does not begin with its prefix")?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(message) {
        match field? {
            (1, Wire::Bytes(meta)) => {
                for part in Fields(meta) {
                    match part? {
                        (1, Wire::Bytes(bytes)) => api_version = text(bytes)?,
                        (2, Wire::Bytes(bytes)) => kind = text(bytes)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let Shape::Type(position) = schema().kind(&kind) else {
        return Err(format!("{kind} cannot be read in protobuf here; send JSON"));
    };
    let mut object = decode_type(schema().at(position), raw, DEPTH_MAX)?;
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    Ok(object)
}

fn decode_type(kind: &Type, bytes: &[u8], depth: usize) -> Result<Value, String> {
    if depth == 0 {
        return Err("the body is nested too deeply".to_owned());
    }
    if kind.name == "FieldsV1" {
        return decode_raw_json(bytes);
    }
    let mut members = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        if let Some(field) = kind.fields.iter().find(|field| field.number == Some((number, None))) {
            put(&mut members, field, wire, depth)?;
            continue;
        }
        let inline: Vec<&Field> = kind
            .fields
            .iter()
            .filter(|field| matches!(field.number, Some((outer, Some(_))) if outer == number))
            .collect();
        let (false, Wire::Bytes(bytes)) = (inline.is_empty(), wire) else {
            return Err(format!("field {number} of {} cannot be read in protobuf here; send JSON", kind.name));
        };
        for part in Fields(bytes) {
            let (inner, wire) = part?;
            let field = inline.iter().find(|field| field.number == Some((number, Some(inner))));
            let field = field.ok_or_else(|| {
                format!("field {number}.{inner} of {} cannot be read in protobuf here; send JSON", kind.name)
            })?;
            put(&mut members, field, wire, depth)?;
        }
    }
    Ok(Value::Object(members))
}

fn decode_raw_json(bytes: &[u8]) -> Result<Value, String> {
    for field in Fields(bytes) {
        if let (1, Wire::Bytes(raw)) = field? {
            return serde_json::from_slice(raw).map_err(|error| error.to_string());
        }
    }
    Ok(json!({}))
}

/// Adds one occurrence of a field to its owner.
fn put(members: &mut Map<String, Value>, field: &Field, wire: Wire<'_>, depth: usize) -> Result<(), String> {
    match (&field.shape, wire) {
        (Shape::List(inner), wire) => {
            let item = scalar(inner, wire, depth)?.unwrap_or(Value::Null);
            let place = members.entry(field.name.clone()).or_insert_with(|| json!([]));
            if let Some(list) = place.as_array_mut() {
                list.push(item);
            }
        }
        (Shape::Map(inner), Wire::Bytes(entry)) => {
            let (mut key, mut value) = (String::new(), None);
            for part in Fields(entry) {
                match part? {
                    (1, Wire::Bytes(bytes)) => key = text(bytes)?,
                    (2, wire) => value = scalar(inner, wire, depth)?,
                    _ => {}
                }
            }
            let place = members.entry(field.name.clone()).or_insert_with(|| json!({}));
            place[key] = value.unwrap_or(json!(""));
        }
        (shape, wire) => {
            let Some(value) = scalar(shape, wire, depth)? else { return Ok(()) };
            let empty = match &value {
                Value::String(text) => text.is_empty(),
                Value::Number(number) => number.as_i64() == Some(0) && !MEANINGFUL_ZEROS.contains(&field.name.as_str()),
                Value::Bool(on) => !on && !MEANINGFUL_FALSE.contains(&field.name.as_str()),
                _ => false,
            };
            if !empty {
                members.insert(field.name.clone(), value);
            }
        }
    }
    Ok(())
}

/// One value; `None` for the zero time, which JSON writes as null.
fn scalar(shape: &Shape, wire: Wire<'_>, depth: usize) -> Result<Option<Value>, String> {
    use base64::Engine as _;
    Ok(Some(match (shape, wire) {
        (Shape::Text, Wire::Bytes(bytes)) => json!(text(bytes)?),
        (Shape::Bool, Wire::Number(number)) => json!(number != 0),
        // Negative numbers are written as 64 bits in two's complement.
        (Shape::Int32 | Shape::Int64, Wire::Number(number)) => json!(number as i64),
        (Shape::Bytes, Wire::Bytes(bytes)) => json!(base64::engine::general_purpose::STANDARD.encode(bytes)),
        (Shape::Quantity, Wire::Bytes(bytes)) => json!(first_text(bytes)?),
        (Shape::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
        (Shape::Time | Shape::MicroTime, Wire::Bytes(bytes)) => return time(bytes, *shape == Shape::MicroTime),
        (Shape::Type(position), Wire::Bytes(bytes)) => decode_type(schema().at(*position), bytes, depth - 1)?,
        _ => return Err("the protobuf body holds a field that cannot be read here; send JSON".to_owned()),
    }))
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "the protobuf body holds text that is not UTF-8".to_owned())
}

fn first_text(message: &[u8]) -> Result<String, String> {
    for field in Fields(message) {
        if let (1, Wire::Bytes(bytes)) = field? {
            return text(bytes);
        }
    }
    Ok("0".to_owned())
}

fn int_or_string(message: &[u8]) -> Result<Value, String> {
    let (mut is_text, mut number, mut word) = (false, 0, String::new());
    for field in Fields(message) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value as i64,
            (3, Wire::Bytes(bytes)) => word = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { json!(word) } else { json!(number) })
}

fn time(message: &[u8], micro: bool) -> Result<Option<Value>, String> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in Fields(message) {
        match field? {
            (1, Wire::Number(value)) => seconds = value as i64,
            (2, Wire::Number(value)) => nanos = value as i64,
            _ => {}
        }
    }
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(seconds), u32::try_from(nanos)) else { return Ok(None) };
    if seconds == 0 || seconds > 253_402_300_799 {
        return Ok(None);
    }
    let at = std::time::Duration::from_secs(seconds) + std::time::Duration::from_nanos(u64::from(nanos));
    Ok(Some(json!(if micro { crate::time::rfc3339_micro(at) } else { crate::time::rfc3339(at) })))
}

/// A field's value as it stands on the wire.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, in order. After an error it ends.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| "the protobuf body is cut off or malformed".to_owned()))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.number()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.number()?),
            1 => Wire::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.number()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.take(4)?.try_into().ok()?))),
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ConfigMap `{name: "a", namespace: "b", data: {"k": "v", "e": ""}}` in its envelope, written by hand.
    fn config_map() -> Vec<u8> {
        let metadata = [b"\x0a\x01a\x1a\x01b".as_slice(), b"\x42\x00"].concat();
        let entry = b"\x0a\x01k\x12\x01v";
        let empty = b"\x0a\x01e\x12\x00";
        let mut raw = vec![0x0a, metadata.len() as u8];
        raw.extend(&metadata);
        for entry in [entry.as_slice(), empty] {
            raw.extend([0x12, entry.len() as u8]);
            raw.extend(entry);
        }
        let meta = b"\x0a\x02v1\x12\x09ConfigMap";
        let mut body = b"k8s\0\x0a".to_vec();
        body.push(meta.len() as u8);
        body.extend(meta);
        body.extend([0x12, raw.len() as u8]);
        body.extend(raw);
        body
    }

    #[test]
    fn a_config_map_is_read() {
        assert_eq!(
            decode(&config_map()).expect("a ConfigMap"),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}, "data": {"k": "v", "e": ""}})
        );
    }

    #[test]
    fn no_cut_and_no_changed_byte_does_harm() {
        let whole = config_map();
        for at in 0..whole.len() {
            let _ = decode(&whole[..at]);
            for byte in [0, 0x7f, 0x80, 0xff] {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = decode(&changed);
            }
        }
        assert!(decode(b"k8s\0\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").is_err());
    }

    #[test]
    fn every_field_that_can_be_read_has_a_number_of_its_own() {
        for kind in schema().types() {
            let mut seen = std::collections::BTreeSet::new();
            for number in kind.fields.iter().filter_map(|field| field.number) {
                assert!(seen.insert(number), "{} has {number:?} twice", kind.name);
            }
        }
    }
}
