//! `bit`: operations on 32 bits, as the BitOp library has them: <https://bitop.luajit.org/api.html>.

use mlua::{Lua, MultiValue, Table, Value};

use super::sandbox::{Outcome, failure, number_of, results};

/// A number modulo 2³², as a signed one.
fn to_bits(number: f64) -> u32 {
    // Adding this pushes all fractions out of the mantissa, as the original does; what is left are the lowest bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    (number + MAGIC).to_bits() as u32
}

fn from_bits(bits: u32) -> Value {
    Value::Number(f64::from(bits as i32))
}

/// Argument `index` of `name`, or the complaint about it.
fn argument(arguments: &MultiValue, index: usize, name: &str) -> Result<u32, String> {
    let value = arguments.get(index);
    let complaint = || {
        let kind = value.map_or("no value", Value::type_name);
        format!("bad argument #{} to '{name}' (number expected, got {kind})", index + 1)
    };
    value.and_then(number_of).map(to_bits).ok_or_else(complaint)
}

type Unary = fn(u32) -> u32;
type Binary = fn(u32, u32) -> u32;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let unary: [(&'static str, Unary); 3] = [("tobit", |x| x), ("bnot", |x| !x), ("bswap", u32::swap_bytes)];
    for (name, operation) in unary {
        let function =
            move |lua: &Lua, arguments: MultiValue| answer(lua, argument(&arguments, 0, name).map(operation));
        library.set(name, lua.create_function(function)?)?;
    }
    let folds: [(&'static str, Binary); 3] = [("band", |x, y| x & y), ("bor", |x, y| x | y), ("bxor", |x, y| x ^ y)];
    for (name, operation) in folds {
        let function = move |lua: &Lua, arguments: MultiValue| {
            let mut result = argument(&arguments, 0, name);
            for index in 1..arguments.len() {
                result = result.and_then(|left| Ok(operation(left, argument(&arguments, index, name)?)));
            }
            answer(lua, result)
        };
        library.set(name, lua.create_function(function)?)?;
    }
    let shifts: [(&'static str, Binary); 5] = [
        ("lshift", |x, n| x << (n & 31)),
        ("rshift", |x, n| x >> (n & 31)),
        ("arshift", |x, n| (x as i32 >> (n & 31)) as u32),
        ("rol", |x, n| x.rotate_left(n & 31)),
        ("ror", |x, n| x.rotate_right(n & 31)),
    ];
    for (name, operation) in shifts {
        let function = move |lua: &Lua, arguments: MultiValue| {
            let result = argument(&arguments, 0, name).and_then(|x| Ok(operation(x, argument(&arguments, 1, name)?)));
            answer(lua, result)
        };
        library.set(name, lua.create_function(function)?)?;
    }
    library.set("tohex", lua.create_function(tohex)?)?;
    Ok(library)
}

fn answer(lua: &Lua, result: Result<u32, String>) -> Outcome {
    match result {
        Ok(bits) => results([from_bits(bits)]),
        Err(complaint) => failure(lua, complaint),
    }
}

/// So many hexadecimal digits, of the lowest bits; capitals if the number is negative.
fn tohex(lua: &Lua, arguments: MultiValue) -> Outcome {
    let bits = match argument(&arguments, 0, "tohex") {
        Ok(bits) => bits,
        Err(complaint) => return failure(lua, complaint),
    };
    let digits = if arguments.len() < 2 { Ok(8) } else { argument(&arguments, 1, "tohex") };
    let digits = match digits {
        Ok(digits) => digits as i32,
        Err(complaint) => return failure(lua, complaint),
    };
    let text = if digits < 0 { format!("{bits:08X}") } else { format!("{bits:08x}") };
    let count = usize::try_from(digits.unsigned_abs()).unwrap_or(8).min(8);
    results([Value::String(lua.create_string(&text[8 - count..])?)])
}
