//! `cjson`: JSON as the library in Redis reads and writes it: <https://kyne.com.au/~mark/software/lua-cjson-manual.html>.
//!
//! Here are its settings and the writer; the reader is in `cjson_decode.rs`.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use super::number::format_general;
use super::sandbox::{Outcome, bytes, failure, number_of, numeric, results};

/// What its functions with `_` in their names set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    sparse_converts: bool,
    sparse_ratio: usize,
    sparse_safe: usize,
    encode_depth_max: usize,
    pub(super) decode_depth_max: usize,
    precision: usize,
    keeps_buffer: bool,
    encode_invalid: Invalid,
    pub(super) decodes_invalid: bool,
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_converts: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            precision: 14,
            keeps_buffer: true,
            encode_invalid: Invalid::Refused,
            decodes_invalid: true,
        }
    }
}

/// The greatest depth that may be asked for: Lua's stack and ours are finite.
const DEPTH_MAX: f64 = 10_000.0;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = build(lua)?;
    library.set("new", lua.create_function(|lua, ()| build(lua))?)?;
    Ok(library)
}

fn build(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let settings = Rc::new(RefCell::new(Settings::default()));
    library.set("_NAME", "cjson")?;
    library.set("_VERSION", "2.1.0")?;
    library.set("null", Value::NULL)?;
    let shared = Rc::clone(&settings);
    library
        .set("encode", lua.create_function(move |lua, values: MultiValue| encode(lua, &shared.borrow(), &values))?)?;
    let shared = Rc::clone(&settings);
    let decode = move |lua: &Lua, values: MultiValue| match (values.len(), values.front().and_then(bytes)) {
        (1, Some(text)) => match super::cjson_decode::decode(lua, &shared.borrow(), &text)? {
            Ok(value) => results([value]),
            Err(complaint) => failure(lua, complaint),
        },
        (1, None) => {
            let kind = values.front().map_or("no value", Value::type_name);
            failure(lua, format!("bad argument #1 to 'decode' (string expected, got {kind})"))
        }
        _ => failure(lua, "bad argument #1 to 'decode' (expected 1 argument)"),
    };
    library.set("decode", lua.create_function(decode)?)?;
    for name in [
        "encode_sparse_array",
        "encode_max_depth",
        "decode_max_depth",
        "encode_number_precision",
        "encode_keep_buffer",
        "encode_invalid_numbers",
        "decode_invalid_numbers",
    ] {
        let shared = Rc::clone(&settings);
        let function = move |lua: &Lua, values: MultiValue| match set(&mut shared.borrow_mut(), name, &values) {
            Ok(values) => results(values),
            Err(complaint) => failure(lua, complaint),
        };
        library.set(name, lua.create_function(function)?)?;
    }
    Ok(library)
}

/// Changes a setting if there are arguments, and answers what is set.
fn set(settings: &mut Settings, name: &str, values: &MultiValue) -> Result<Vec<Value>, String> {
    let whole = |index: usize, low: f64, high: f64, present: usize| -> Result<usize, String> {
        match values.get(index) {
            None | Some(Value::Nil) => Ok(present),
            Some(value) => match number_of(value) {
                Some(number) if (low..=high).contains(&number) => Ok(number as usize),
                Some(_) => {
                    Err(format!("bad argument #{} to '{name}' (expected integer between {low} and {high})", index + 1))
                }
                None => Err(format!("bad argument #{} to '{name}' (number expected)", index + 1)),
            },
        }
    };
    let flag = |index: usize, present: bool| match values.get(index) {
        None | Some(Value::Nil) => Ok(present),
        Some(Value::Boolean(flag)) => Ok(*flag),
        Some(Value::String(text)) if text == "on" => Ok(true),
        Some(Value::String(text)) if text == "off" => Ok(false),
        Some(_) => Err(format!("bad argument #{} to '{name}' (invalid option)", index + 1)),
    };
    let count = |number: usize| Value::Number(number as f64);
    match name {
        "encode_sparse_array" => {
            settings.sparse_converts = flag(0, settings.sparse_converts)?;
            settings.sparse_ratio = whole(1, 0.0, f64::from(i32::MAX), settings.sparse_ratio)?;
            settings.sparse_safe = whole(2, 0.0, f64::from(i32::MAX), settings.sparse_safe)?;
            let converts = Value::Boolean(settings.sparse_converts);
            Ok(vec![converts, count(settings.sparse_ratio), count(settings.sparse_safe)])
        }
        "encode_max_depth" => {
            settings.encode_depth_max = whole(0, 1.0, DEPTH_MAX, settings.encode_depth_max)?;
            Ok(vec![count(settings.encode_depth_max)])
        }
        "decode_max_depth" => {
            settings.decode_depth_max = whole(0, 1.0, DEPTH_MAX, settings.decode_depth_max)?;
            Ok(vec![count(settings.decode_depth_max)])
        }
        "encode_number_precision" => {
            settings.precision = whole(0, 1.0, 14.0, settings.precision)?;
            Ok(vec![count(settings.precision)])
        }
        "encode_keep_buffer" => {
            settings.keeps_buffer = flag(0, settings.keeps_buffer)?;
            Ok(vec![Value::Boolean(settings.keeps_buffer)])
        }
        "decode_invalid_numbers" => {
            settings.decodes_invalid = flag(0, settings.decodes_invalid)?;
            Ok(vec![Value::Boolean(settings.decodes_invalid)])
        }
        _ => {
            settings.encode_invalid = match values.front() {
                Some(Value::String(text)) if text == "null" => Invalid::Null,
                _ if flag(0, settings.encode_invalid == Invalid::Written)? => Invalid::Written,
                None if settings.encode_invalid == Invalid::Null => Invalid::Null,
                _ => Invalid::Refused,
            };
            Ok(vec![Value::Boolean(settings.encode_invalid == Invalid::Written)])
        }
    }
}

/// Why a value cannot be written.
enum Refused {
    Because(String),
    Lua(mlua::Error),
}

impl From<mlua::Error> for Refused {
    fn from(error: mlua::Error) -> Refused {
        Refused::Lua(error)
    }
}

fn cannot(kind: &str, reason: &str) -> Refused {
    Refused::Because(format!("Cannot serialise {kind}: {reason}"))
}

fn encode(lua: &Lua, settings: &Settings, values: &MultiValue) -> Outcome {
    let (1, Some(value)) = (values.len(), values.front()) else {
        return failure(lua, "bad argument #1 to 'encode' (expected 1 argument)");
    };
    let mut out = Vec::new();
    match write(&mut out, settings, value, 0) {
        Ok(()) => results([Value::String(lua.create_string(out)?)]),
        Err(Refused::Because(complaint)) => failure(lua, complaint),
        Err(Refused::Lua(error)) => Err(error),
    }
}

fn write(out: &mut Vec<u8>, settings: &Settings, value: &Value, depth: usize) -> Result<(), Refused> {
    match value {
        Value::String(text) => write_string(out, &text.as_bytes()),
        Value::Integer(number) => write_number(out, settings, *number as f64)?,
        Value::Number(number) => write_number(out, settings, *number)?,
        Value::Boolean(flag) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Table(table) => write_table(out, settings, table, depth + 1)?,
        Value::Nil => out.extend_from_slice(b"null"),
        value if value.is_null() => out.extend_from_slice(b"null"),
        value => return Err(cannot(kind(value), "type not supported")),
    }
    Ok(())
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::LightUserData(_) | Value::UserData(_) | Value::Error(_) => "userdata",
        other => other.type_name(),
    }
}

fn write_number(out: &mut Vec<u8>, settings: &Settings, number: f64) -> Result<(), Refused> {
    if !number.is_finite() {
        match settings.encode_invalid {
            Invalid::Refused => return Err(cannot("number", "must not be NaN or Inf")),
            Invalid::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            Invalid::Written if number.is_nan() => {
                out.extend_from_slice(b"nan");
                return Ok(());
            }
            Invalid::Written => {}
        }
    }
    out.extend_from_slice(format_general(number, settings.precision).as_bytes());
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            8 => out.extend_from_slice(b"\\b"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            0..0x20 | 0x7f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn write_table(out: &mut Vec<u8>, settings: &Settings, table: &Table, depth: usize) -> Result<(), Refused> {
    if depth > settings.encode_depth_max {
        return Err(Refused::Because(format!("Cannot serialise, excessive nesting ({depth})")));
    }
    if let Some(length) = array_length(settings, table)? {
        out.push(b'[');
        for index in 1..=length {
            if index > 1 {
                out.push(b',');
            }
            write(out, settings, &table.raw_get::<Value>(index)?, depth)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    for (index, pair) in table.pairs::<Value, Value>().enumerate() {
        let (key, value) = pair?;
        if index > 0 {
            out.push(b',');
        }
        match &key {
            Value::String(text) => write_string(out, &text.as_bytes()),
            Value::Integer(_) | Value::Number(_) => {
                out.push(b'"');
                write_number(out, settings, numeric(&key).unwrap_or(0.0))?;
                out.push(b'"');
            }
            _ => return Err(cannot("table", "table key must be a number or string")),
        }
        out.push(b':');
        write(out, settings, &value, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// The length of a table that is an array; None if it is an object. Lua has no room for references to all that is in it, so
/// that it is looked at twice.
fn array_length(settings: &Settings, table: &Table) -> Result<Option<usize>, Refused> {
    let (mut highest, mut count) = (0, 0usize);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match numeric(&pair?.0) {
            Some(number) if number >= 1.0 && number.fract() == 0.0 && number < 9e15 => {
                highest = highest.max(number as usize);
            }
            _ => return Ok(None),
        }
    }
    if count == 0 {
        return Ok(None);
    }
    let is_sparse = settings.sparse_ratio > 0
        && highest > count.saturating_mul(settings.sparse_ratio)
        && highest > settings.sparse_safe;
    match (is_sparse, settings.sparse_converts) {
        (false, _) => Ok(Some(highest)),
        (true, true) => Ok(None),
        (true, false) => Err(cannot("table", "excessively sparse array")),
    }
}
