//! Values of Lua → RESP: <https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion>.

use mlua::{Table, Value};

use super::number;
use super::sandbox::numeric;
use crate::wire::Reply;

/// How deep a table may be nested in a reply. Each level takes one of the 8000 places that Lua has for references.
const DEPTH_MAX: usize = 7900;

/// Writes a value as the reply to a script. `is_script_resp3`: the script asked for RESP3 with `redis.setresp`.
pub(super) fn write(out: &mut Reply<'_>, value: &Value, is_script_resp3: bool) {
    write_value(out, value, is_script_resp3, 0);
}

fn write_value(out: &mut Reply<'_>, value: &Value, is_script_resp3: bool, depth: usize) {
    match value {
        Value::String(text) => out.bulk(&text.as_bytes()),
        Value::Integer(number) => out.integer(*number),
        Value::Number(number) => out.integer(*number as i64),
        Value::Boolean(flag) if is_script_resp3 => match (out.is_resp3(), flag) {
            (true, true) => out.raw(b"#t\r\n"),
            (true, false) => out.raw(b"#f\r\n"),
            (false, flag) => out.flag(*flag),
        },
        Value::Boolean(true) => out.integer(1),
        Value::Table(table) => write_table(out, table, is_script_resp3, depth),
        _ => out.null(),
    }
}

fn write_table(out: &mut Reply<'_>, table: &Table, is_script_resp3: bool, depth: usize) {
    if depth >= DEPTH_MAX {
        out.error("ERR reached lua stack limit");
        return;
    }
    let field = |name| table.raw_get::<Value>(name).unwrap_or(Value::Nil);
    if let Value::String(text) = field("err") {
        out.error(&String::from_utf8_lossy(&text.as_bytes()));
        return;
    }
    if let Value::String(text) = field("ok") {
        let text = String::from_utf8_lossy(&text.as_bytes()).replace(['\r', '\n'], " ");
        out.simple(&text);
        return;
    }
    if let Some(number) = numeric(&field("double")) {
        out.double(number);
        return;
    }
    if let Value::Table(map) = field("map") {
        return write_map(out, &map, is_script_resp3, depth);
    }
    if let Value::Table(set) = field("set") {
        out.set(pairs_of(&set).count());
        for (member, _) in pairs_of(&set) {
            write_value(out, &member, is_script_resp3, depth + 1);
        }
        return;
    }
    if let Value::String(number) = field("big_number") {
        let number: Vec<u8> =
            number.as_bytes().iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }).collect();
        if out.is_resp3() {
            out.raw(b"(");
            out.raw(&number);
            out.raw(b"\r\n");
        } else {
            out.bulk(&number);
        }
        return;
    }
    if let Value::Table(verbatim) = field("verbatim_string")
        && write_verbatim(out, &verbatim)
    {
        return;
    }
    write_array(out, table, is_script_resp3, depth)
}

/// They are looked at one by one, and twice: Lua has no room for references to all of them.
fn pairs_of(table: &Table) -> impl Iterator<Item = (Value, Value)> {
    table.pairs::<Value, Value>().filter_map(|pair| pair.ok())
}

fn write_map(out: &mut Reply<'_>, map: &Table, is_script_resp3: bool, depth: usize) {
    out.map(pairs_of(map).count());
    for (key, value) in pairs_of(map) {
        write_value(out, &key, is_script_resp3, depth + 1);
        write_value(out, &value, is_script_resp3, depth + 1);
    }
}

fn write_verbatim(out: &mut Reply<'_>, verbatim: &Table) -> bool {
    let field = |name| verbatim.raw_get::<Value>(name).unwrap_or(Value::Nil);
    let (Value::String(format), Value::String(text)) = (field("format"), field("string")) else { return false };
    let text = text.as_bytes();
    if !out.is_resp3() {
        out.bulk(&text);
        return true;
    }
    let mut format = format.as_bytes().to_vec();
    format.resize(3, b' ');
    out.raw(format!("={}\r\n", text.len() + 4).as_bytes());
    out.raw(&format);
    out.raw(b":");
    out.raw(&text);
    out.raw(b"\r\n");
    true
}

/// All elements up to the first that is nil.
fn write_array(out: &mut Reply<'_>, table: &Table, is_script_resp3: bool, depth: usize) {
    let element = |index: usize| table.raw_get::<Value>(index).ok().filter(|value| !value.is_nil());
    let mut length = 0;
    while element(length + 1).is_some() {
        length += 1;
    }
    out.array(length);
    for index in 1..=length {
        write_value(out, &element(index).unwrap_or(Value::Nil), is_script_resp3, depth + 1);
    }
}

/// An argument of a command: a string, or a number in as few digits as read back the same.
pub(super) fn argument(value: &Value, push: impl FnOnce(&[u8])) -> bool {
    match value {
        Value::String(text) => push(&text.as_bytes()),
        Value::Integer(number) => number::spell(*number as f64, push),
        Value::Number(number) => number::spell(*number, push),
        _ => return false,
    }
    true
}
