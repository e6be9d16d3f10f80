//! The reader of `cjson`.

use mlua::{Lua, Value};

use super::cjson::Settings;

/// A value, or what is wrong with the text.
pub(super) type Decoded = mlua::Result<Result<Value, String>>;

/// Reads one value, which has to be all there is.
pub(super) fn decode(lua: &Lua, settings: &Settings, text: &[u8]) -> Decoded {
    // The first two bytes of JSON are ASCII: a zero among them is another encoding.
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Ok(Err("JSON parser does not support UTF-16 or UTF-32".to_owned()));
    }
    let mut reader = Reader { lua, settings, text, at: 0, depth: 0 };
    let first = reader.next();
    let value = match reader.value(first)? {
        Ok(value) => value,
        Err(complaint) => return Ok(Err(complaint)),
    };
    let after = reader.next();
    Ok(match after.kind {
        Kind::End => Ok(value),
        _ => Err(after.complaint("the end")),
    })
}

struct Reader<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    at: usize,
    depth: usize,
}

/// A token and where it begins.
struct Token {
    kind: Kind,
    start: usize,
}

#[derive(Debug)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Wrong(&'static str),
}

impl Token {
    fn complaint(&self, expected: &str) -> String {
        let found = match &self.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::Text(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Wrong(what) => what,
        };
        format!("Expected {expected} but found {found} at character {}", self.start + 1)
    }
}

impl Reader<'_> {
    fn next(&mut self) -> Token {
        while self.text.get(self.at).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let start = self.at;
        let rest = &self.text[start..];
        let (kind, length) = match rest.first() {
            None => (Kind::End, 0),
            Some(b'{') => (Kind::ObjectBegin, 1),
            Some(b'}') => (Kind::ObjectEnd, 1),
            Some(b'[') => (Kind::ArrayBegin, 1),
            Some(b']') => (Kind::ArrayEnd, 1),
            Some(b':') => (Kind::Colon, 1),
            Some(b',') => (Kind::Comma, 1),
            Some(b'"') => match string(rest) {
                Ok((text, length)) => (Kind::Text(text), length),
                Err((what, at)) => return Token { kind: Kind::Wrong(what), start: start + at },
            },
            Some(b'-' | b'0'..=b'9') => self.number(rest),
            _ if rest.starts_with(b"true") => (Kind::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Kind::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Kind::Null, 4),
            Some(b'i' | b'I' | b'n' | b'N' | b'+') if self.settings.decodes_invalid => match c_number(rest) {
                Some((number, length)) => (Kind::Number(number), length),
                None => (Kind::Wrong("invalid token"), 0),
            },
            _ => (Kind::Wrong("invalid token"), 0),
        };
        self.at += length;
        Token { kind, start }
    }

    fn number(&self, rest: &[u8]) -> (Kind, usize) {
        if !self.settings.decodes_invalid && is_invalid_number(rest) {
            return (Kind::Wrong("invalid number"), 0);
        }
        match c_number(rest) {
            Some((number, length)) => (Kind::Number(number), length),
            None => (Kind::Wrong("invalid number"), 0),
        }
    }

    fn value(&mut self, token: Token) -> Decoded {
        Ok(Ok(match token.kind {
            Kind::Text(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(flag) => Value::Boolean(flag),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => return self.nested(Reader::object),
            Kind::ArrayBegin => return self.nested(Reader::array),
            _ => return Ok(Err(token.complaint("value"))),
        }))
    }

    fn nested(&mut self, read: fn(&mut Self) -> Decoded) -> Decoded {
        self.depth += 1;
        if self.depth > self.settings.decode_depth_max {
            let (depth, at) = (self.depth, self.at);
            return Ok(Err(format!("Found too many nested data structures ({depth}) at character {at}")));
        }
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn object(&mut self) -> Decoded {
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ObjectEnd) {
            return Ok(Ok(Value::Table(table)));
        }
        loop {
            let Kind::Text(key) = token.kind else { return Ok(Err(token.complaint("object key string"))) };
            let colon = self.next();
            if !matches!(colon.kind, Kind::Colon) {
                return Ok(Err(colon.complaint("colon")));
            }
            let first = self.next();
            match self.value(first)? {
                Ok(value) => table.raw_set(self.lua.create_string(key)?, value)?,
                Err(complaint) => return Ok(Err(complaint)),
            }
            let after = self.next();
            match after.kind {
                Kind::ObjectEnd => return Ok(Ok(Value::Table(table))),
                Kind::Comma => token = self.next(),
                _ => return Ok(Err(after.complaint("comma or object end"))),
            }
        }
    }

    fn array(&mut self) -> Decoded {
        let table = self.lua.create_table()?;
        let mut token = self.next();
        if matches!(token.kind, Kind::ArrayEnd) {
            return Ok(Ok(Value::Table(table)));
        }
        for index in 1.. {
            match self.value(token)? {
                Ok(value) => table.raw_set(index, value)?,
                Err(complaint) => return Ok(Err(complaint)),
            }
            let after = self.next();
            match after.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.next(),
                _ => return Ok(Err(after.complaint("comma or array end"))),
            }
        }
        Ok(Ok(Value::Table(table)))
    }
}

/// A string with its quotes, and its length; or what is wrong with it, and where.
fn string(text: &[u8]) -> Result<(Vec<u8>, usize), (&'static str, usize)> {
    let mut out = Vec::new();
    let mut at = 1;
    loop {
        match text.get(at) {
            None => return Err(("unexpected end of string", at)),
            Some(b'"') => return Ok((out, at + 1)),
            Some(b'\\') => {
                let plain = match text.get(at + 1) {
                    Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
                    Some(b'b') => 8,
                    Some(b'f') => 12,
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    Some(b'u') => {
                        let (point, length) = code_point(&text[at..]).ok_or(("invalid unicode escape code", at))?;
                        push_point(&mut out, point);
                        at += length;
                        continue;
                    }
                    _ => return Err(("invalid escape code", at)),
                };
                out.push(plain);
                at += 2;
            }
            Some(byte) => {
                out.push(*byte);
                at += 1;
            }
        }
    }
}

/// A code point written as `\uXXXX`, or as two of them, and how many bytes that takes.
fn code_point(text: &[u8]) -> Option<(u32, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6).filter(|escape| escape.starts_with(b"\\u"))?;
        let digits = std::str::from_utf8(&digits[2..]).ok().filter(|digits| !digits.contains(['+', '-']))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(0)?;
    match first {
        0xd800..0xdc00 => {
            let second = unit(6).filter(|second| (0xdc00..0xe000).contains(second))?;
            Some((0x10000 + ((first & 0x3ff) << 10 | second & 0x3ff), 12))
        }
        0xdc00..0xe000 => None,
        _ => Some((first, 6)),
    }
}

fn push_point(out: &mut Vec<u8>, point: u32) {
    let mut buffer = [0; 4];
    let text = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut buffer);
    out.extend_from_slice(text.as_bytes());
}

/// True for what C reads as a number and JSON does not: infinities, hexadecimal, leading zeros.
fn is_invalid_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0', b'x' | b'X', ..] | [b'0', b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => true,
    }
}

/// The number that C's `strtod` reads at the beginning of a text, and its length.
fn c_number(text: &[u8]) -> Option<(f64, usize)> {
    let sign = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let negative = text.first() == Some(&b'-');
    let signed = |number: f64| if negative { -number } else { number };
    let body = &text[sign..];
    let word = |word: &str| body.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
    if word("infinity") {
        return Some((signed(f64::INFINITY), sign + 8));
    }
    if word("inf") {
        return Some((signed(f64::INFINITY), sign + 3));
    }
    if word("nan") {
        return Some((f64::NAN, sign + 3));
    }
    if word("0x") {
        let digits = body[2..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 0 {
            let value = body[2..2 + digits]
                .iter()
                .fold(0.0, |value, byte| value * 16.0 + f64::from(char::from(*byte).to_digit(16).unwrap_or(0)));
            return Some((signed(value), sign + 2 + digits));
        }
    }
    let count = |from: usize| body.get(from..).map_or(0, |rest| rest.iter().take_while(|b| b.is_ascii_digit()).count());
    let whole = count(0);
    let mut length = whole;
    if body.get(length) == Some(&b'.') {
        let fraction = count(length + 1);
        if whole + fraction == 0 {
            return None;
        }
        length += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(body.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(body.get(length + 1), Some(b'-' | b'+')));
        let digits = count(length + 1 + sign);
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    let number = std::str::from_utf8(&body[..length]).ok()?.parse::<f64>().ok()?;
    Some((signed(number), sign + length))
}
