//! `cmsgpack`: MessagePack, as the library in Redis reads and writes it: <https://github.com/antirez/lua-cmsgpack>.

use mlua::{Lua, MultiValue, Table, Value};

use super::sandbox::{Outcome, bytes, failure, number_of, numeric, results};

/// Tables that are nested deeper than this are written as nil.
const PACK_DEPTH_MAX: usize = 16;
/// What is nested deeper than this is not read.
const UNPACK_DEPTH_MAX: usize = 1000;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.set("_NAME", "cmsgpack")?;
    library.set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    library.set("pack", lua.create_function(pack)?)?;
    library.set("unpack", lua.create_function(|lua, input: Value| unpack(lua, &input, 0, 0, "unpack"))?)?;
    let unpack_one = |lua: &Lua, (input, offset): (Value, Value)| {
        let offset = number_of(&offset).unwrap_or(0.0) as i64;
        unpack(lua, &input, 1, offset, "unpack_one")
    };
    library.set("unpack_one", lua.create_function(unpack_one)?)?;
    let unpack_limit = |lua: &Lua, (input, limit, offset): (Value, Value, Value)| {
        let Some(limit) = number_of(&limit) else {
            let kind = limit.type_name();
            return failure(lua, format!("bad argument #2 to 'unpack_limit' (number expected, got {kind})"));
        };
        unpack(lua, &input, limit as i64, number_of(&offset).unwrap_or(0.0) as i64, "unpack_limit")
    };
    library.set("unpack_limit", lua.create_function(unpack_limit)?)?;
    Ok(library)
}

fn pack(lua: &Lua, values: MultiValue) -> Outcome {
    if values.is_empty() {
        return failure(lua, "bad argument #0 to 'pack' (MessagePack pack needs input.)");
    }
    let mut out = Vec::new();
    for value in &values {
        write(&mut out, value, 0)?;
    }
    results([Value::String(lua.create_string(out)?)])
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> mlua::Result<()> {
    match value {
        Value::String(text) => write_bytes(out, &text.as_bytes()),
        Value::Boolean(flag) => out.push(if *flag { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => write_number(out, *number as f64),
        Value::Number(number) => write_number(out, *number),
        Value::Table(table) if depth < PACK_DEPTH_MAX => write_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn write_bytes(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        length @ 0..32 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend_from_slice(&[0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

fn write_number(out: &mut Vec<u8>, number: f64) {
    let integer = number as i64;
    if integer as f64 == number && number.abs() < 9.2e18 {
        return write_integer(out, integer);
    }
    if f64::from(number as f32) == number {
        out.push(0xca);
        out.extend_from_slice(&(number as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

fn write_integer(out: &mut Vec<u8>, number: i64) {
    let bytes = number.to_be_bytes();
    let (mark, length) = match number {
        0..=0x7f => return out.push(number as u8),
        -32..0 => return out.push(number as i8 as u8),
        0x80..=0xff => (0xcc, 1),
        0x100..=0xffff => (0xcd, 2),
        0x1_0000..=0xffff_ffff => (0xce, 4),
        0x1_0000_0000.. => (0xcf, 8),
        -128..-32 => (0xd0, 1),
        -32768..-128 => (0xd1, 2),
        -2_147_483_648..-32768 => (0xd2, 4),
        _ => (0xd3, 8),
    };
    out.push(mark);
    out.extend_from_slice(&bytes[8 - length..]);
}

fn write_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> mlua::Result<()> {
    // Lua has no room for references to all of them, so they are looked at one by one, and twice.
    let (mut length, mut highest, mut is_array) = (0, 0.0, true);
    for pair in table.pairs::<Value, Value>() {
        let key = numeric(&pair?.0);
        highest = key.map_or(highest, |key| f64::max(key, highest));
        is_array &= key.is_some_and(|key| key > 0.0 && key.fract() == 0.0);
        length += 1;
    }
    if is_array && highest == length as f64 {
        write_header(out, length, 0x90, 0xdc);
        for index in 1..=length {
            write(out, &table.raw_get::<Value>(index)?, depth + 1)?;
        }
        return Ok(());
    }
    write_header(out, length, 0x80, 0xde);
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(out, &key, depth + 1)?;
        write(out, &value, depth + 1)?;
    }
    Ok(())
}

fn write_header(out: &mut Vec<u8>, length: usize, short: u8, long: u8) {
    match length {
        0..16 => out.push(short | length as u8),
        16..=0xffff => {
            out.push(long);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(long + 1);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
    }
}

/// Reads `limit` values from `offset` on, or all of them with a limit of 0. With a limit, where the next one begins
/// comes first, or -1 after the last.
fn unpack(lua: &Lua, input: &Value, limit: i64, offset: i64, name: &str) -> Outcome {
    let Some(input) = bytes(input) else {
        let kind = input.type_name();
        return failure(lua, format!("bad argument #1 to '{name}' (string expected, got {kind})"));
    };
    if offset < 0 || limit < 0 {
        return failure(lua, format!("Invalid request to unpack with offset of {offset} and limit of {limit}."));
    }
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    if start > input.len() {
        return failure(lua, format!("Start offset {offset} greater than input length {}.", input.len()));
    }
    let is_limited = limit > 0;
    let mut limit = if is_limited { limit } else { i64::MAX };
    let mut rest = &input[start..];
    let mut values = Vec::new();
    while limit > 0 && !rest.is_empty() {
        // A function of Lua returns no more than so many values.
        if values.len() >= 7900 {
            return failure(lua, "stack overflow (too many results to unpack)");
        }
        match read(lua, &mut rest, 0)? {
            Ok(value) => values.push(value),
            Err(Bad::Missing) => return failure(lua, "Missing bytes in input."),
            Err(Bad::Format) => return failure(lua, "Bad data format in input."),
            Err(Bad::Depth) => return failure(lua, "stack overflow (in function mp_decode_to_lua_type)"),
        }
        limit -= 1;
    }
    if is_limited {
        let next = if rest.is_empty() { -1.0 } else { (input.len() - rest.len()) as f64 };
        values.insert(0, Value::Number(next));
    }
    results(values)
}

/// What is wrong with the input.
enum Bad {
    Missing,
    Format,
    Depth,
}

type Read = mlua::Result<Result<Value, Bad>>;

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

/// An unsigned number of `length` bytes.
fn unsigned(rest: &mut &[u8], length: usize) -> Option<u64> {
    take(rest, length).map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn read(lua: &Lua, rest: &mut &[u8], depth: usize) -> Read {
    if depth > UNPACK_DEPTH_MAX {
        return Ok(Err(Bad::Depth));
    }
    let Some(mark) = take(rest, 1).map(|bytes| bytes[0]) else { return Ok(Err(Bad::Missing)) };
    let number = |number: f64| Ok(Ok(Value::Number(number)));
    let (kind, length) = match mark {
        0x00..=0x7f => return number(f64::from(mark)),
        0xe0..=0xff => return number(f64::from(mark as i8)),
        0xc0 => return Ok(Ok(Value::Nil)),
        0xc2 | 0xc3 => return Ok(Ok(Value::Boolean(mark == 0xc3))),
        0xca..=0xd3 => return Ok(read_number(mark, rest).ok_or(Bad::Missing)),
        0xa0..=0xbf => (Kind::Text, Some(u64::from(mark & 31))),
        0x90..=0x9f => (Kind::Array, Some(u64::from(mark & 15))),
        0x80..=0x8f => (Kind::Map, Some(u64::from(mark & 15))),
        0xc4 | 0xd9 => (Kind::Text, unsigned(rest, 1)),
        0xc5 | 0xda => (Kind::Text, unsigned(rest, 2)),
        0xc6 | 0xdb => (Kind::Text, unsigned(rest, 4)),
        0xdc => (Kind::Array, unsigned(rest, 2)),
        0xdd => (Kind::Array, unsigned(rest, 4)),
        0xde => (Kind::Map, unsigned(rest, 2)),
        0xdf => (Kind::Map, unsigned(rest, 4)),
        _ => return Ok(Err(Bad::Format)),
    };
    let Some(length) = length else { return Ok(Err(Bad::Missing)) };
    match kind {
        Kind::Text => match take(rest, usize::try_from(length).unwrap_or(usize::MAX)) {
            Some(text) => Ok(Ok(Value::String(lua.create_string(text)?))),
            None => Ok(Err(Bad::Missing)),
        },
        Kind::Array | Kind::Map => read_table(lua, rest, length, matches!(kind, Kind::Map), depth),
    }
}

enum Kind {
    Text,
    Array,
    Map,
}

fn read_number(mark: u8, rest: &mut &[u8]) -> Option<Value> {
    let number = match mark {
        0xca => f64::from(f32::from_bits(unsigned(rest, 4)? as u32)),
        0xcb => f64::from_bits(unsigned(rest, 8)?),
        0xcc => unsigned(rest, 1)? as f64,
        0xcd => unsigned(rest, 2)? as f64,
        0xce => unsigned(rest, 4)? as f64,
        0xcf => unsigned(rest, 8)? as f64,
        0xd0 => f64::from(unsigned(rest, 1)? as i8),
        0xd1 => f64::from(unsigned(rest, 2)? as i16),
        0xd2 => f64::from(unsigned(rest, 4)? as i32),
        _ => unsigned(rest, 8)? as i64 as f64,
    };
    Some(Value::Number(number))
}

fn read_table(lua: &Lua, rest: &mut &[u8], length: u64, is_map: bool, depth: usize) -> Read {
    let table = lua.create_table()?;
    for index in 1..=length {
        let key = if is_map {
            match read(lua, rest, depth + 1)? {
                Ok(key) => key,
                Err(bad) => return Ok(Err(bad)),
            }
        } else {
            Value::Number(index as f64)
        };
        match read(lua, rest, depth + 1)? {
            // A table of Lua has no nil and no nan for a key.
            Ok(_) if key.is_nil() || numeric(&key).is_some_and(f64::is_nan) => return Ok(Err(Bad::Format)),
            Ok(value) => table.raw_set(key, value)?,
            Err(bad) => return Ok(Err(bad)),
        }
    }
    Ok(Ok(Value::Table(table)))
}
