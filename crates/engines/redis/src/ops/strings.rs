//! Strings: <https://redis.io/docs/latest/commands/?group=string>.

use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Entry, NEVER, Value, add_decimals, format_float, parse_float, parse_integer};

/// The longest string: `proto-max-bulk-len` by default, and what offsets may reach.
pub(super) const LENGTH_MAX: usize = 512 * 1024 * 1024;
const TOO_LONG: &str = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

/// A string value as bytes, without copying them: an integer is printed into `buffer`.
pub(super) fn bytes<'v>(value: &'v Value, buffer: &'v mut itoa::Buffer) -> Result<&'v [u8], Refusal> {
    match value {
        Value::Int(number) => Ok(buffer.format(*number).as_bytes()),
        Value::Str { bytes, .. } => Ok(bytes),
        _ => Err(Refusal::WrongType),
    }
}

/// A copy of a string value's bytes.
pub(super) fn text(value: &Value) -> Result<Blob, Refusal> {
    match value {
        Value::Int(number) => Ok(Blob::from_slice(itoa::Buffer::new().format(*number).as_bytes())),
        Value::Str { bytes, .. } => Ok(bytes.clone()),
        _ => Err(Refusal::WrongType),
    }
}

fn reply_with(call: &mut Call<'_>, key: &[u8]) -> Answer {
    match call.db.read(key) {
        None => call.out.null(),
        Some(Value::Str { bytes, .. }) => call.out.bulk(bytes),
        Some(Value::Int(number)) => call.out.bulk_integer(*number),
        Some(_) => return Err(Refusal::WrongType),
    }
    Ok(Then::Done)
}

pub(super) fn get(call: &mut Call<'_>) -> Answer {
    reply_with(call, call.arg(1))
}

/// What SET and GETEX may say about deadlines.
#[derive(Clone, Copy, PartialEq)]
enum Deadline {
    Unsaid,
    Keep,
    Never,
    At(i64),
}

/// The options of SET.
struct SetOptions {
    deadline: Deadline,
    /// Some(true): only if it exists; Some(false): only if it does not.
    if_exists: Option<bool>,
    gets: bool,
}

/// A deadline from an argument in seconds or milliseconds, absolute or from now.
pub(super) fn deadline(
    call: &Call<'_>,
    argument: &[u8],
    is_seconds: bool,
    is_absolute: bool,
    command: &'static str,
) -> Result<i64, Refusal> {
    let number = parse_integer(argument).ok_or(Refusal::NotInteger)?;
    let invalid = || Refusal::BadExpire(command);
    if number <= 0 {
        return Err(invalid());
    }
    let ms = if is_seconds { number.checked_mul(1000).ok_or_else(invalid)? } else { number };
    if is_absolute { Ok(ms) } else { ms.checked_add(call.db.now_ms).ok_or_else(invalid) }
}

/// EX, PX, EXAT or PXAT with its argument, if `word` is one of them.
fn deadline_option(
    call: &Call<'_>,
    word: &[u8],
    argument: Option<&[u8]>,
    command: &'static str,
) -> Result<Option<i64>, Refusal> {
    let (is_seconds, is_absolute) = match word {
        _ if is(word, "EX") => (true, false),
        _ if is(word, "PX") => (false, false),
        _ if is(word, "EXAT") => (true, true),
        _ if is(word, "PXAT") => (false, true),
        _ => return Ok(None),
    };
    let argument = argument.ok_or(Refusal::Syntax)?;
    deadline(call, argument, is_seconds, is_absolute, command).map(Some)
}

fn set_options(call: &Call<'_>) -> Result<SetOptions, Refusal> {
    let mut options = SetOptions { deadline: Deadline::Unsaid, if_exists: None, gets: false };
    let mut index = 3;
    while let Some(word) = call.request.get(index) {
        let is_first = options.deadline == Deadline::Unsaid;
        if is(word, "NX") && options.if_exists != Some(true) {
            options.if_exists = Some(false);
        } else if is(word, "XX") && options.if_exists != Some(false) {
            options.if_exists = Some(true);
        } else if is(word, "GET") {
            options.gets = true;
        } else if is(word, "KEEPTTL") && is_first {
            options.deadline = Deadline::Keep;
        } else if is_first && let Some(at) = deadline_option(call, word, call.request.get(index + 1), "set")? {
            options.deadline = Deadline::At(at);
            index += 1;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

pub(super) fn set(call: &mut Call<'_>) -> Answer {
    if call.request.len() == 3 {
        let value = Value::string(call.arg(2));
        call.db.set(call.arg(1), value);
        call.out.ok();
        return Ok(Then::Done);
    }
    let options = set_options(call)?;
    let key = call.arg(1);
    let exists = call.db.exists(key);
    if options.gets {
        reply_with(call, key)?;
    }
    if options.if_exists.is_some_and(|wanted| wanted != exists) {
        if !options.gets {
            call.out.null();
        }
        return Ok(Then::Done);
    }
    let expire_at_ms = match options.deadline {
        Deadline::At(at) => at,
        Deadline::Keep => call.db.deadline(key).unwrap_or(NEVER),
        Deadline::Unsaid | Deadline::Never => NEVER,
    };
    let value = Value::string(call.arg(2));
    call.db.set_entry(key, Entry { expire_at_ms, ..Entry::new(value) });
    if let Deadline::At(at) = options.deadline {
        let at = at.to_string();
        call.instead([b"SET", key, call.arg(2), b"PXAT", at.as_bytes()]);
    }
    if !options.gets {
        call.out.ok();
    }
    Ok(Then::Done)
}

pub(super) fn setnx(call: &mut Call<'_>) -> Answer {
    let is_new = !call.db.exists(call.arg(1));
    if is_new {
        let value = Value::string(call.arg(2));
        call.db.set(call.arg(1), value);
    }
    call.out.flag(is_new);
    Ok(Then::Done)
}

fn set_expiring(call: &mut Call<'_>, is_seconds: bool, command: &'static str) -> Answer {
    let at = deadline(call, call.arg(2), is_seconds, false, command)?;
    let (key, value) = (call.arg(1), call.arg(3));
    call.db.set_entry(key, Entry { expire_at_ms: at, ..Entry::new(Value::string(value)) });
    call.instead([b"SET", key, value, b"PXAT", at.to_string().as_bytes()]);
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn setex(call: &mut Call<'_>) -> Answer {
    set_expiring(call, true, "setex")
}

pub(super) fn psetex(call: &mut Call<'_>) -> Answer {
    set_expiring(call, false, "psetex")
}

pub(super) fn getset(call: &mut Call<'_>) -> Answer {
    reply_with(call, call.arg(1))?;
    let value = Value::string(call.arg(2));
    call.db.set(call.arg(1), value);
    call.instead([b"SET", call.arg(1), call.arg(2)]);
    Ok(Then::Done)
}

pub(super) fn getdel(call: &mut Call<'_>) -> Answer {
    reply_with(call, call.arg(1))?;
    if call.db.delete(call.arg(1)) {
        call.instead([b"DEL", call.arg(1)]);
    }
    Ok(Then::Done)
}

pub(super) fn getex(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    let change = match call.request.get(2) {
        None => Deadline::Unsaid,
        Some(word) if is(word, "PERSIST") && call.request.len() == 3 => Deadline::Never,
        Some(word) if call.request.len() <= 4 => {
            Deadline::At(deadline_option(call, word, call.request.get(3), "getex")?.ok_or(Refusal::Syntax)?)
        }
        Some(_) => return Err(Refusal::Syntax),
    };
    reply_with(call, key)?;
    match change {
        Deadline::At(at) if at <= call.db.now_ms => {
            let is_deleted = call.db.delete(key);
            if is_deleted {
                call.instead([b"DEL", key]);
            }
        }
        Deadline::At(at) => {
            let is_set = call.db.set_deadline(key, at);
            if is_set {
                call.instead([b"PEXPIREAT", key, at.to_string().as_bytes()]);
            }
        }
        Deadline::Never if call.db.deadline(key).is_some() => {
            call.db.set_deadline(key, NEVER);
            call.instead([b"PERSIST", key]);
        }
        _ => {}
    }
    Ok(Then::Done)
}

pub(super) fn mget(call: &mut Call<'_>) -> Answer {
    call.out.array(call.request.len() - 1);
    for key in call.request.tail(1) {
        match call.db.read(key) {
            Some(Value::Str { bytes, .. }) => call.out.bulk(bytes),
            Some(Value::Int(number)) => call.out.bulk_integer(*number),
            _ => call.out.null(),
        }
    }
    Ok(Then::Done)
}

fn set_pairs(call: &mut Call<'_>) {
    for index in (1..call.request.len()).step_by(2) {
        let value = Value::string(call.arg(index + 1));
        call.db.set(call.arg(index), value);
    }
}

pub(super) fn mset(call: &mut Call<'_>) -> Answer {
    if call.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity("mset".to_owned()));
    }
    set_pairs(call);
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn msetnx(call: &mut Call<'_>) -> Answer {
    if call.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity("msetnx".to_owned()));
    }
    let any_exists = (1..call.request.len()).step_by(2).any(|index| call.db.exists(call.request.arg(index)));
    if !any_exists {
        set_pairs(call);
    }
    call.out.flag(!any_exists);
    Ok(Then::Done)
}

/// Adds to the integer at a key, keeping its deadline.
fn add(call: &mut Call<'_>, by: i64) -> Answer {
    let key = call.arg(1);
    let sum = match call.db.write(key).map(|entry| &mut entry.value) {
        None => {
            call.db.set(key, Value::Int(by));
            by
        }
        Some(value) => {
            let (old, is_integer) = match value {
                Value::Int(number) => (*number, true),
                Value::Str { bytes, .. } => (parse_integer(bytes).ok_or(Refusal::NotInteger)?, false),
                _ => return Err(Refusal::WrongType),
            };
            let sum = old.checked_add(by).ok_or_else(|| Refusal::text(OVERFLOW))?;
            *value = Value::Int(sum);
            if is_integer {
                call.db.changed_alike(key)
            } else {
                call.db.changed(key)
            }
            sum
        }
    };
    call.out.integer(sum);
    Ok(Then::Done)
}

/// Gives a key another string, keeping its deadline.
fn replace(call: &mut Call<'_>, key: &[u8], value: Value) {
    match call.db.write(key) {
        Some(entry) => {
            entry.value = value;
            call.db.changed(key);
        }
        None => call.db.set(key, value),
    }
}

pub(super) fn incr(call: &mut Call<'_>) -> Answer {
    add(call, 1)
}

pub(super) fn decr(call: &mut Call<'_>) -> Answer {
    add(call, -1)
}

pub(super) fn incrby(call: &mut Call<'_>) -> Answer {
    let by = call.integer(2)?;
    add(call, by)
}

pub(super) fn decrby(call: &mut Call<'_>) -> Answer {
    let by = call.integer(2)?.checked_neg().ok_or(Refusal::text("ERR decrement would overflow"))?;
    add(call, by)
}

/// The sum of a number and an increment, as text.
pub(super) fn add_floats(old: &[u8], by: &[u8], not_a_float: Refusal) -> Result<String, Refusal> {
    let (old_number, by_number) = (parse_float(old).ok_or(not_a_float)?, parse_float(by).ok_or(Refusal::NotFloat)?);
    let sum = old_number + by_number;
    if !sum.is_finite() {
        return Err(Refusal::text("ERR increment would produce NaN or Infinity"));
    }
    Ok(add_decimals(old, by).unwrap_or_else(|| format_float(sum)))
}

pub(super) fn incrbyfloat(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    let old = match call.db.read(key) {
        None => Blob::from_slice(b"0"),
        Some(value) => text(value)?,
    };
    let sum = add_floats(&old, call.arg(2), Refusal::NotFloat)?;
    let value = Value::Str { bytes: Blob::from_slice(sum.as_bytes()), is_raw: false };
    replace(call, key, if parse_integer(sum.as_bytes()).is_some() { Value::string(sum.as_bytes()) } else { value });
    call.instead([b"SET", key, sum.as_bytes(), b"KEEPTTL"]);
    call.out.bulk(sum.as_bytes());
    Ok(Then::Done)
}

/// The string at a key, as bytes that can grow in place; made if there is none.
pub(super) fn bytes_mut<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c mut Blob>, Refusal> {
    let Some(value) = call.db.write_or_insert(key, || Value::raw(Blob::new())) else { return Ok(None) };
    if let Value::Int(number) = value {
        *value = Value::raw(Blob::from_slice(itoa::Buffer::new().format(*number).as_bytes()));
    }
    match value {
        Value::Str { bytes, is_raw } => {
            *is_raw = true;
            Ok(Some(bytes))
        }
        _ => Err(Refusal::WrongType),
    }
}

pub(super) fn append(call: &mut Call<'_>) -> Answer {
    let (key, tail) = (call.arg(1), call.arg(2));
    if !call.db.exists(key) {
        call.db.set(key, Value::string(tail));
        call.out.count(tail.len());
        return Ok(Then::Done);
    }
    let mut length = 0;
    if let Some(bytes) = bytes_mut(call, key)? {
        if bytes.len() + tail.len() > LENGTH_MAX {
            return Err(Refusal::text(TOO_LONG));
        }
        bytes.extend_from_slice(tail);
        length = bytes.len();
    }
    call.db.changed(key);
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn strlen(call: &mut Call<'_>) -> Answer {
    let length = match call.db.read(call.arg(1)) {
        None => 0,
        Some(value) => bytes(value, &mut itoa::Buffer::new())?.len(),
    };
    call.out.count(length);
    Ok(Then::Done)
}

/// The range `start..=end` of `length` elements, where negative numbers count from the end; None if it is empty.
pub(super) fn range(start: i64, end: i64, length: usize) -> Option<(usize, usize)> {
    let size = i64::try_from(length).ok()?;
    let from_end = |index: i64| if index < 0 { (size + index).max(0) } else { index };
    let (start_is_past, end_is_before) = (start >= size, end < -size);
    let (first, last) = (from_end(start), from_end(end).min(size - 1));
    if start_is_past || end_is_before || first > last {
        return None;
    }
    Some((usize::try_from(first).ok()?, usize::try_from(last).ok()? + 1))
}

pub(super) fn getrange(call: &mut Call<'_>) -> Answer {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let mut buffer = itoa::Buffer::new();
    let bytes = match call.db.read(call.arg(1)) {
        None => &[],
        Some(value) => bytes(value, &mut buffer)?,
    };
    // Unlike lists, a string read up to a place before its beginning gives its first byte: the end is clamped to 0.
    let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let is_backwards = start < 0 && end < 0 && start > end;
    let end = if end < 0 { (size + end).max(0) } else { end };
    let part = if is_backwards { None } else { range(start, end, bytes.len()) };
    call.out.bulk(part.map_or(&[], |(first, last)| &bytes[first..last]));
    Ok(Then::Done)
}

pub(super) fn setrange(call: &mut Call<'_>) -> Answer {
    let offset = call.integer(2)?;
    let Ok(offset) = usize::try_from(offset) else { return Err(Refusal::text("ERR offset is out of range")) };
    let (key, part) = (call.arg(1), call.arg(3));
    let length = match call.db.read(key) {
        None => 0,
        Some(value) => bytes(value, &mut itoa::Buffer::new())?.len(),
    };
    if part.is_empty() {
        call.out.count(length);
        return Ok(Then::Done);
    }
    let end = offset.saturating_add(part.len());
    if end > LENGTH_MAX {
        return Err(Refusal::text(TOO_LONG));
    }
    let mut length = length;
    if let Some(bytes) = bytes_mut(call, key)? {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(part);
        length = bytes.len();
    }
    call.db.changed(key);
    call.out.count(length);
    Ok(Then::Done)
}
