//! `struct`: values ↔ bytes of C structures: <http://www.inf.puc-rio.br/~roberto/struct/>.

use mlua::{Lua, MultiValue, Table, Value};

use super::sandbox::{Outcome, bytes, failure, number_of, results};

/// The largest size of an integer and of an alignment.
const SIZE_MAX: usize = 32;
/// The widest integer that has a value.
const INTEGER_MAX: usize = 8;
/// What one call may make.
const OUTPUT_MAX: usize = 512 << 20;

pub(super) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.set("pack", lua.create_function(|lua, values: MultiValue| finish(lua, pack(lua, &values)?))?)?;
    library.set("unpack", lua.create_function(|lua, values: MultiValue| finish(lua, unpack(lua, &values)?))?)?;
    library.set("size", lua.create_function(|lua, format: Value| finish(lua, size(&format)))?)?;
    Ok(library)
}

type Values = Result<Vec<Value>, String>;

fn finish(lua: &Lua, values: Values) -> Outcome {
    match values {
        Ok(values) => results(values),
        Err(complaint) => failure(lua, complaint),
    }
}

fn bad(position: usize, name: &str, what: &str) -> String {
    format!("bad argument #{position} to '{name}' ({what})")
}

/// A format as it is walked through.
struct Format<'a> {
    /// Whose argument it is.
    function: &'static str,
    rest: &'a [u8],
    is_little: bool,
    align: usize,
}

/// One option that stands for bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Integer {
        size: usize,
        is_signed: bool,
    },
    Float,
    Double,
    Padding,
    /// So many characters; 0: as many as there are, or as the last integer said.
    Characters(usize),
    /// Characters and a zero.
    Terminated,
}

impl Item {
    fn size(self) -> usize {
        match self {
            Item::Integer { size, .. } | Item::Characters(size) => size,
            Item::Float => 4,
            Item::Double => 8,
            Item::Padding => 1,
            Item::Terminated => 0,
        }
    }

    fn is_aligned(self) -> bool {
        matches!(self, Item::Integer { .. } | Item::Float | Item::Double)
    }
}

impl<'a> Format<'a> {
    fn new(function: &'static str, text: &'a [u8]) -> Format<'a> {
        Format { function, rest: text, is_little: cfg!(target_endian = "little"), align: 1 }
    }

    fn number(&mut self, default: usize) -> Result<usize, String> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Ok(default);
        }
        let number = std::str::from_utf8(&self.rest[..digits]).ok().and_then(|text| text.parse::<i32>().ok());
        self.rest = &self.rest[digits..];
        number.and_then(|number| usize::try_from(number).ok()).ok_or_else(|| "integral size overflow".to_owned())
    }

    /// A size of an integer.
    fn integer_size(&mut self, default: usize) -> Result<usize, String> {
        let size = self.number(default)?;
        if size > SIZE_MAX {
            return Err(format!("integral size {size} is larger than limit of {SIZE_MAX}"));
        }
        Ok(size)
    }

    /// The next option; None at the end.
    fn next(&mut self) -> Result<Option<Item>, String> {
        while let Some((&option, rest)) = self.rest.split_first() {
            self.rest = rest;
            let integer = |size: usize| Item::Integer { size, is_signed: option.is_ascii_lowercase() };
            let item = match option {
                b'b' | b'B' => integer(1),
                b'h' | b'H' => integer(2),
                b'l' | b'L' | b'T' => integer(8),
                b'i' | b'I' => integer(self.integer_size(4)?),
                b'x' => Item::Padding,
                b's' => Item::Terminated,
                b'f' => Item::Float,
                b'd' => Item::Double,
                b'c' => Item::Characters(self.number(1)?),
                b' ' => continue,
                b'<' | b'>' => {
                    self.is_little = option == b'<';
                    continue;
                }
                b'!' => {
                    let align = self.integer_size(8)?;
                    if align == 0 || !align.is_power_of_two() {
                        return Err(format!("alignment {align} is not a power of 2"));
                    }
                    self.align = align;
                    continue;
                }
                other => {
                    return Err(bad(1, self.function, &format!("invalid format option '{}'", char::from(other))));
                }
            };
            return Ok(Some(item));
        }
        Ok(None)
    }

    /// How many bytes stand before an item at this position.
    fn padding(&self, item: Item, position: usize) -> usize {
        let align = item.size().min(self.align);
        if !item.is_aligned() || align <= 1 || !align.is_power_of_two() {
            return 0;
        }
        (align - (position & (align - 1))) & (align - 1)
    }
}

fn format_of(value: Option<&Value>, name: &str) -> Result<Vec<u8>, String> {
    value.and_then(bytes).ok_or_else(|| bad(1, name, "string expected"))
}

fn pack(lua: &Lua, values: &MultiValue) -> mlua::Result<Values> {
    Ok(match pack_bytes(values) {
        Ok(out) => Ok(vec![Value::String(lua.create_string(out)?)]),
        Err(complaint) => Err(complaint),
    })
}

fn pack_bytes(values: &MultiValue) -> Result<Vec<u8>, String> {
    let text = format_of(values.front(), "pack")?;
    let mut format = Format::new("pack", &text);
    let mut out = Vec::new();
    let mut argument = 1;
    while let Some(item) = format.next()? {
        out.resize(out.len() + format.padding(item, out.len()), 0);
        if item == Item::Padding {
            out.push(0);
            continue;
        }
        let value = values.get(argument);
        argument += 1;
        let kind = value.map_or("nil", Value::type_name);
        let expected = |what: &str| bad(argument, "pack", &format!("{what} expected, got {kind}"));
        let number = || value.and_then(number_of).ok_or_else(|| expected("number"));
        match item {
            Item::Integer { size, .. } => push_integer(&mut out, number()?, size, format.is_little),
            Item::Float => push(&mut out, &(number()? as f32).to_be_bytes(), format.is_little),
            Item::Double => push(&mut out, &number()?.to_be_bytes(), format.is_little),
            Item::Characters(_) | Item::Terminated | Item::Padding => {
                let text = value.and_then(bytes).ok_or_else(|| expected("string"))?;
                let wanted = if item.size() == 0 { text.len() } else { item.size() };
                if text.len() < wanted {
                    return Err(bad(argument + 1, "pack", "string too short"));
                }
                out.extend_from_slice(&text[..wanted]);
                if item == Item::Terminated {
                    out.push(0);
                }
            }
        }
        if out.len() > OUTPUT_MAX {
            return Err("not enough memory".to_owned());
        }
    }
    Ok(out)
}

fn push(out: &mut Vec<u8>, big_endian: &[u8], is_little: bool) {
    if is_little { out.extend(big_endian.iter().rev()) } else { out.extend_from_slice(big_endian) }
}

fn push_integer(out: &mut Vec<u8>, number: f64, size: usize, is_little: bool) {
    // Numbers below zero are signed, all others unsigned: either way these are the bits.
    let bits = if number < 0.0 { number as i64 as u64 } else { number as u64 };
    let mut bytes = vec![0; size.saturating_sub(INTEGER_MAX)];
    bytes.extend_from_slice(&bits.to_be_bytes()[INTEGER_MAX - size.min(INTEGER_MAX)..]);
    push(out, &bytes, is_little);
}

fn read_integer(bytes: &[u8], is_signed: bool, is_little: bool) -> f64 {
    let mut ordered = bytes.to_vec();
    if !is_little {
        ordered.reverse();
    }
    let bits = ordered.iter().take(INTEGER_MAX).rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    if !is_signed {
        return bits as f64;
    }
    let unused = 64 - 8 * bytes.len().clamp(1, INTEGER_MAX) as u32;
    (((bits << unused) as i64) >> unused) as f64
}

/// The values, and the position after them.
fn unpack(lua: &Lua, arguments: &MultiValue) -> mlua::Result<Values> {
    let (text, data) = match (format_of(arguments.front(), "unpack"), arguments.get(1).and_then(bytes)) {
        (Ok(text), Some(data)) => (text, data),
        (Err(complaint), _) => return Ok(Err(complaint)),
        (_, None) => return Ok(Err(bad(2, "unpack", "string expected"))),
    };
    let first = arguments.get(2).and_then(number_of).unwrap_or(1.0);
    if first < 1.0 {
        return Ok(Err(bad(3, "unpack", "offset must be 1 or greater")));
    }
    let mut position = first as usize - 1;
    let mut format = Format::new("unpack", &text);
    let mut values: Vec<Value> = Vec::new();
    loop {
        let item = match format.next() {
            Ok(Some(item)) => item,
            Ok(None) => break,
            Err(complaint) => return Ok(Err(complaint)),
        };
        position = position.saturating_add(format.padding(item, position));
        let Some(rest) = data.get(position..).filter(|rest| rest.len() >= item.size()) else {
            return Ok(Err(bad(2, "unpack", "data string too short")));
        };
        if values.len() >= 7900 {
            return Ok(Err("stack overflow (too many results)".to_owned()));
        }
        match unpack_item(lua, item, rest, format.is_little, &mut values)? {
            Ok(length) => position += length,
            Err(complaint) => return Ok(Err(complaint)),
        }
    }
    values.push(Value::Number((position + 1) as f64));
    Ok(Ok(values))
}

/// Reads one item, which is there in full. How many bytes it took.
fn unpack_item(
    lua: &Lua,
    item: Item,
    rest: &[u8],
    is_little: bool,
    values: &mut Vec<Value>,
) -> mlua::Result<Result<usize, String>> {
    let (value, length) = match item {
        Item::Padding => return Ok(Ok(1)),
        Item::Integer { size, is_signed } => (Value::Number(read_integer(&rest[..size], is_signed, is_little)), size),
        Item::Float => {
            let bits = read_integer(&rest[..4], false, is_little) as u32;
            (Value::Number(f64::from(f32::from_bits(bits))), 4)
        }
        Item::Double => {
            let mut ordered: [u8; 8] = rest[..8].try_into().unwrap_or_default();
            if is_little {
                ordered.reverse();
            }
            (Value::Number(f64::from_be_bytes(ordered)), 8)
        }
        Item::Characters(size) => {
            let mut size = size;
            if size == 0 {
                let Some(count) = values.last().and_then(number_of) else {
                    return Ok(Err("format 'c0' needs a previous size".to_owned()));
                };
                values.pop();
                if count < 0.0 || count > rest.len() as f64 {
                    return Ok(Err(bad(2, "unpack", "data string too short")));
                }
                size = count as usize;
            }
            (Value::String(lua.create_string(&rest[..size])?), size)
        }
        Item::Terminated => match memchr::memchr(0, rest) {
            Some(end) => (Value::String(lua.create_string(&rest[..end])?), end + 1),
            None => return Ok(Err("unfinished string in data".to_owned())),
        },
    };
    values.push(value);
    Ok(Ok(length))
}

fn size(format: &Value) -> Values {
    let text = format_of(Some(format), "size")?;
    let mut format = Format::new("size", &text);
    let mut position = 0usize;
    while let Some(item) = format.next()? {
        position += format.padding(item, position);
        match item {
            Item::Terminated => return Err(bad(1, "size", "option 's' has no fixed size")),
            Item::Characters(0) => return Err(bad(1, "size", "option 'c' has no fixed size")),
            _ => position = position.saturating_add(item.size()),
        }
    }
    Ok(vec![Value::Number(position as f64)])
}
