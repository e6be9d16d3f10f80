//! SCAN, HSCAN, SSCAN and ZSCAN: <https://redis.io/docs/latest/commands/scan/>.
//!
//! A cursor is a position in a dense vector, walked from its end to its beginning: what is removed meanwhile is filled
//! from the end, so an element that has not been returned only ever moves to where the walk is still to come.

use super::{Answer, Call, Then, glob_matches, is};
use crate::error::Refusal;
use crate::state::{Value, parse_integer};
use crate::wire::format_double;

/// How many positions one call looks at, at most: COUNT is the client's, but its call must end.
const POSITIONS_MAX: usize = 1 << 20;
const COUNT_DEFAULT: usize = 10;

/// The options of a scan.
struct Scan<'r> {
    cursor: usize,
    pattern: Option<&'r [u8]>,
    count: usize,
    type_name: Option<&'r [u8]>,
    values: bool,
}

fn options<'r>(call: &Call<'r>, cursor_at: usize) -> Result<Scan<'r>, Refusal> {
    let cursor = std::str::from_utf8(call.arg(cursor_at)).ok().and_then(|cursor| cursor.parse::<u64>().ok());
    let cursor = usize::try_from(cursor.ok_or(Refusal::BadCursor)?).unwrap_or(usize::MAX);
    let mut scan = Scan { cursor, pattern: None, count: COUNT_DEFAULT, type_name: None, values: true };
    let mut index = cursor_at + 1;
    while let Some(word) = call.request.get(index) {
        let argument = call.request.get(index + 1);
        match argument {
            Some(argument) if is(word, "COUNT") => {
                let count = parse_integer(argument).ok_or(Refusal::NotInteger)?;
                if count < 1 {
                    return Err(Refusal::Syntax);
                }
                scan.count = usize::try_from(count).unwrap_or(usize::MAX).min(POSITIONS_MAX);
            }
            Some(argument) if is(word, "MATCH") => scan.pattern = Some(argument),
            Some(argument) if is(word, "TYPE") && cursor_at == 1 => scan.type_name = Some(argument),
            _ => return Err(Refusal::Syntax),
        }
        index += 2;
    }
    Ok(scan)
}

impl Scan<'_> {
    fn shows(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob_matches(pattern, name))
    }

    /// The positions to look at among `length`, first one past the last; and the next cursor.
    fn window(&self, length: usize) -> (usize, usize) {
        let end = if self.cursor == 0 { length } else { self.cursor.min(length) };
        (end.saturating_sub(self.count), end)
    }
}

fn reply(call: &mut Call<'_>, cursor: usize, elements: &[Vec<u8>]) {
    call.out.array(2);
    call.out.bulk(cursor.to_string().as_bytes());
    call.out.array(elements.len());
    for element in elements {
        call.out.bulk(element);
    }
}

pub(super) fn scan(call: &mut Call<'_>) -> Answer {
    let scan = options(call, 1)?;
    let (start, end) = scan.window(call.db.positions());
    let mut found = Vec::new();
    let mut expired = Vec::new();
    for position in (start..end).rev() {
        let Some((key, entry)) = call.db.at(position) else {
            expired.extend(call.db.expired_at(position).cloned());
            continue;
        };
        let has_type = scan.type_name.is_none_or(|name| name.eq_ignore_ascii_case(entry.value.type_name().as_bytes()));
        if has_type && scan.shows(key) {
            found.push(key.to_vec());
        }
    }
    expired.iter().for_each(|key| call.db.expire(key));
    reply(call, start, &found);
    Ok(Then::Done)
}

/// Scans the elements of one collection: `at` gives the element of a position, `None` past the end.
fn elements(
    call: &mut Call<'_>,
    length: impl Fn(&Value) -> Result<(usize, bool), Refusal>,
    at: impl Fn(&Value, usize) -> Option<(Vec<u8>, Option<Vec<u8>>)>,
) -> Answer {
    let mut scan = options(call, 2)?;
    let key = call.request.arg(1);
    let Some(value) = call.db.read(key) else {
        reply(call, 0, &[]);
        return Ok(Then::Done);
    };
    let (length, is_compact) = length(value)?;
    if is_compact {
        scan.count = length;
    }
    let (start, end) = scan.window(length);
    let mut found = Vec::new();
    let positions: Box<dyn Iterator<Item = usize>> =
        if is_compact { Box::new(start..end) } else { Box::new((start..end).rev()) };
    for position in positions {
        let Some((name, value)) = at(value, position) else { continue };
        if scan.shows(&name) {
            found.push(name);
            found.extend(value.filter(|_| scan.values));
        }
    }
    reply(call, start, &found);
    Ok(Then::Done)
}

pub(super) fn sscan(call: &mut Call<'_>) -> Answer {
    let length = |value: &Value| match value {
        Value::Set(set) => Ok((set.len(), set.is_compact())),
        _ => Err(Refusal::WrongType),
    };
    elements(call, length, |value, position| match value {
        Value::Set(set) => set.at(position).map(|member| (member.to_vec(), None)),
        _ => None,
    })
}

pub(super) fn hscan(call: &mut Call<'_>) -> Answer {
    let length = |value: &Value| match value {
        Value::Hash(hash) => Ok((hash.len(), hash.is_compact())),
        _ => Err(Refusal::WrongType),
    };
    elements(call, length, |value, position| match value {
        Value::Hash(hash) => hash.at(position).map(|(field, value)| (field.to_vec(), Some(value.to_vec()))),
        _ => None,
    })
}

pub(super) fn zscan(call: &mut Call<'_>) -> Answer {
    let length = |value: &Value| match value {
        Value::SortedSet(set) => Ok((set.len(), set.is_compact())),
        _ => Err(Refusal::WrongType),
    };
    elements(call, length, |value, position| match value {
        Value::SortedSet(set) if set.is_compact() => set
            .range(position, position + 1)
            .next()
            .map(|(member, score)| (member.to_vec(), Some(format_double(score).into_bytes()))),
        Value::SortedSet(set) => {
            set.at(position).map(|(member, score)| (member.to_vec(), Some(format_double(score).into_bytes())))
        }
        _ => None,
    })
}
