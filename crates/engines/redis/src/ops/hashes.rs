//! Hashes: <https://redis.io/docs/latest/commands/?group=hash>.

use super::strings::add_floats;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Hash, Value, parse_integer};

fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c Hash>, Refusal> {
    match call.db.read(key) {
        None => Ok(None),
        Some(Value::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(Refusal::WrongType),
    }
}

/// The hash at a key, to be changed; made if there is none.
fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<&'c mut Hash, Refusal> {
    match call.db.write_or_insert(key, || Value::Hash(Box::default())) {
        Some(Value::Hash(hash)) => Ok(hash),
        _ => Err(Refusal::WrongType),
    }
}

fn set_pairs(call: &mut Call<'_>) -> Result<usize, Refusal> {
    let (key, thresholds, request) = (call.arg(1), call.db.thresholds, call.request);
    let hash = write(call, key)?;
    let mut added = 0;
    for index in (2..request.len()).step_by(2) {
        added += usize::from(hash.set(request.arg(index), request.arg(index + 1), thresholds));
    }
    call.db.changed(key);
    Ok(added)
}

pub(super) fn hset(call: &mut Call<'_>) -> Answer {
    if !call.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity("hset".to_owned()));
    }
    let added = set_pairs(call)?;
    call.out.count(added);
    Ok(Then::Done)
}

pub(super) fn hmset(call: &mut Call<'_>) -> Answer {
    if !call.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity("hmset".to_owned()));
    }
    set_pairs(call)?;
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn hsetnx(call: &mut Call<'_>) -> Answer {
    let field = call.arg(2);
    let is_new = read(call, call.arg(1))?.is_none_or(|hash| hash.get(field).is_none());
    if is_new {
        set_pairs(call)?;
    }
    call.out.flag(is_new);
    Ok(Then::Done)
}

pub(super) fn hget(call: &mut Call<'_>) -> Answer {
    let field = call.arg(2);
    match call.db.read(call.arg(1)) {
        None => call.out.null(),
        Some(Value::Hash(hash)) => call.out.bulk_or_null(hash.get(field).map(Blob::as_slice)),
        Some(_) => return Err(Refusal::WrongType),
    }
    Ok(Then::Done)
}

pub(super) fn hmget(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let hash = match call.db.read(request.arg(1)) {
        None => None,
        Some(Value::Hash(hash)) => Some(hash),
        Some(_) => return Err(Refusal::WrongType),
    };
    call.out.array(request.len() - 2);
    for field in request.tail(2) {
        call.out.bulk_or_null(hash.and_then(|hash| hash.get(field)).map(Blob::as_slice));
    }
    Ok(Then::Done)
}

pub(super) fn hdel(call: &mut Call<'_>) -> Answer {
    let (key, request) = (call.arg(1), call.request);
    let mut removed = 0;
    if read(call, key)?.is_some() {
        let hash = write(call, key)?;
        removed = request.tail(2).filter(|field| hash.remove(field).is_some()).count();
    }
    if removed > 0 {
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    call.out.count(removed);
    Ok(Then::Done)
}

pub(super) fn hlen(call: &mut Call<'_>) -> Answer {
    let length = read(call, call.arg(1))?.map_or(0, Hash::len);
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn hstrlen(call: &mut Call<'_>) -> Answer {
    let field = call.arg(2);
    let length = read(call, call.arg(1))?.and_then(|hash| hash.get(field)).map_or(0, |value| value.len());
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn hexists(call: &mut Call<'_>) -> Answer {
    let field = call.arg(2);
    let exists = read(call, call.arg(1))?.is_some_and(|hash| hash.get(field).is_some());
    call.out.flag(exists);
    Ok(Then::Done)
}

/// Writes fields, values, or both.
fn all(call: &mut Call<'_>, fields: bool, values: bool) -> Answer {
    let hash = match call.db.read(call.request.arg(1)) {
        None => &Hash::default(),
        Some(Value::Hash(hash)) => hash,
        Some(_) => return Err(Refusal::WrongType),
    };
    if fields && values {
        call.out.map(hash.len());
    } else {
        call.out.array(hash.len());
    }
    for (field, value) in hash.iter() {
        if fields {
            call.out.bulk(field);
        }
        if values {
            call.out.bulk(value);
        }
    }
    Ok(Then::Done)
}

pub(super) fn hgetall(call: &mut Call<'_>) -> Answer {
    all(call, true, true)
}

pub(super) fn hkeys(call: &mut Call<'_>) -> Answer {
    all(call, true, false)
}

pub(super) fn hvals(call: &mut Call<'_>) -> Answer {
    all(call, false, true)
}

pub(super) fn hincrby(call: &mut Call<'_>) -> Answer {
    let (key, field, by) = (call.arg(1), call.arg(2), call.integer(3)?);
    let old = match read(call, key)?.and_then(|hash| hash.get(field)) {
        None => 0,
        Some(text) => parse_integer(text).ok_or(Refusal::text("ERR hash value is not an integer"))?,
    };
    let new = old.checked_add(by).ok_or(Refusal::text("ERR increment or decrement would overflow"))?;
    let thresholds = call.db.thresholds;
    write(call, key)?.set(field, itoa::Buffer::new().format(new).as_bytes(), thresholds);
    call.db.changed(key);
    call.out.integer(new);
    Ok(Then::Done)
}

pub(super) fn hincrbyfloat(call: &mut Call<'_>) -> Answer {
    let (key, field, by) = (call.arg(1), call.arg(2), call.arg(3));
    if !call.float(3)?.is_finite() {
        return Err(Refusal::text("ERR value is NaN or Infinity"));
    }
    let old = read(call, key)?.and_then(|hash| hash.get(field)).cloned().unwrap_or_else(|| Blob::from_slice(b"0"));
    let sum = add_floats(&old, by, Refusal::text("ERR hash value is not a float"))?;
    let thresholds = call.db.thresholds;
    write(call, key)?.set(field, sum.as_bytes(), thresholds);
    call.db.changed(key);
    call.instead([b"HSET", key, field, sum.as_bytes()]);
    call.out.bulk(sum.as_bytes());
    Ok(Then::Done)
}

/// `count` random positions below `length`: different ones if `count` is positive, any if it is negative.
pub(super) fn random_positions(call: &mut Call<'_>, count: i64, length: usize) -> Vec<usize> {
    if length == 0 {
        return Vec::new();
    }
    if count < 0 {
        let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
        return (0..wanted).map(|_| call.random.below(length as u64) as usize).collect();
    }
    let wanted = usize::try_from(count).unwrap_or(usize::MAX).min(length);
    if wanted * 3 < length {
        // A few of many: draw again what was drawn already.
        let mut chosen = indexmap::IndexSet::new();
        while chosen.len() < wanted {
            chosen.insert(call.random.below(length as u64) as usize);
        }
        return chosen.into_iter().collect();
    }
    let mut positions: Vec<usize> = (0..length).collect();
    for index in 0..wanted {
        let other = index + call.random.below((length - index) as u64) as usize;
        positions.swap(index, other);
    }
    positions.truncate(wanted);
    positions
}

/// How many elements a reply may be asked to have; beyond this, memory would be the client's to choose.
const RANDOM_COUNT_MAX: i64 = 1 << 24;

/// The count of SRANDMEMBER, HRANDFIELD and ZRANDMEMBER.
pub(super) fn random_count(call: &Call<'_>) -> Result<i64, Refusal> {
    let count = call.integer(2)?;
    if count == i64::MIN {
        return Err(Refusal::text(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    if !(-RANDOM_COUNT_MAX..=i64::MAX).contains(&count) {
        return Err(Refusal::text("ERR value is out of range"));
    }
    Ok(count)
}

pub(super) fn hrandfield(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    let length = read(call, key)?.map_or(0, Hash::len);
    if call.request.len() == 2 {
        let position = call.random.below(length as u64) as usize;
        let field = read(call, key)?.and_then(|hash| hash.at(position)).map(|(field, _)| field.clone());
        call.out.bulk_or_null(field.as_deref());
        return Ok(Then::Done);
    }
    let count = random_count(call)?;
    let with_values = match call.request.get(3) {
        None => false,
        Some(word) if is(word, "WITHVALUES") && call.request.len() == 4 => true,
        Some(_) => return Err(Refusal::Syntax),
    };
    let positions = random_positions(call, count, length);
    let pairs_are_nested = call.out.is_resp3();
    call.out.array(if with_values && !pairs_are_nested { positions.len() * 2 } else { positions.len() });
    for position in positions {
        let pair =
            read(call, key)?.and_then(|hash| hash.at(position)).map(|(field, value)| (field.clone(), value.clone()));
        let Some((field, value)) = pair else { continue };
        if with_values && pairs_are_nested {
            call.out.array(2);
        }
        call.out.bulk(&field);
        if with_values {
            call.out.bulk(&value);
        }
    }
    Ok(Then::Done)
}
