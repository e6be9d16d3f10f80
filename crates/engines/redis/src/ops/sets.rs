//! Sets: <https://redis.io/docs/latest/commands/?group=set>.

use super::hashes::{random_count, random_positions};
use super::lists::positive_count;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Set, Value};

fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c Set>, Refusal> {
    match call.db.read(key) {
        None => Ok(None),
        Some(Value::Set(set)) => Ok(Some(set)),
        Some(_) => Err(Refusal::WrongType),
    }
}

fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<&'c mut Set, Refusal> {
    match call.db.write_or_insert(key, || Value::Set(Box::default())) {
        Some(Value::Set(set)) => Ok(set),
        _ => Err(Refusal::WrongType),
    }
}

pub(super) fn sadd(call: &mut Call<'_>) -> Answer {
    let (key, request, thresholds) = (call.arg(1), call.request, call.db.thresholds);
    let set = write(call, key)?;
    let added = request.tail(2).filter(|member| set.add(member, thresholds)).count();
    if added > 0 {
        call.db.changed(key);
    }
    call.out.count(added);
    Ok(Then::Done)
}

/// Removes a member of a set that may not exist; the set goes with its last member.
fn remove(call: &mut Call<'_>, key: &[u8], members: &mut dyn Iterator<Item = &[u8]>) -> Result<usize, Refusal> {
    if read(call, key)?.is_none() {
        return Ok(0);
    }
    let set = write(call, key)?;
    let removed = members.filter(|member| set.remove(member)).count();
    if removed > 0 {
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    Ok(removed)
}

pub(super) fn srem(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let removed = remove(call, request.arg(1), &mut request.tail(2))?;
    call.out.count(removed);
    Ok(Then::Done)
}

pub(super) fn scard(call: &mut Call<'_>) -> Answer {
    let length = read(call, call.arg(1))?.map_or(0, Set::len);
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn sismember(call: &mut Call<'_>) -> Answer {
    let member = call.arg(2);
    let is_member = read(call, call.arg(1))?.is_some_and(|set| set.contains(member));
    call.out.flag(is_member);
    Ok(Then::Done)
}

pub(super) fn smismember(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let set = match call.db.read(request.arg(1)) {
        None => None,
        Some(Value::Set(set)) => Some(set),
        Some(_) => return Err(Refusal::WrongType),
    };
    call.out.array(request.len() - 2);
    for member in request.tail(2) {
        call.out.flag(set.is_some_and(|set| set.contains(member)));
    }
    Ok(Then::Done)
}

pub(super) fn smove(call: &mut Call<'_>) -> Answer {
    let (source, target, member) = (call.arg(1), call.arg(2), call.arg(3));
    let Some(set) = read(call, source)? else {
        call.out.integer(0);
        return Ok(Then::Done);
    };
    let is_there = set.contains(member);
    read(call, target)?;
    if !is_there || source == target {
        call.out.flag(is_there);
        return Ok(Then::Done);
    }
    remove(call, source, &mut std::iter::once(member))?;
    let thresholds = call.db.thresholds;
    if write(call, target)?.add(member, thresholds) {
        call.db.changed(target);
    }
    call.out.flag(true);
    Ok(Then::Done)
}

fn reply_set(call: &mut Call<'_>, members: &[Blob]) {
    call.out.set(members.len());
    for member in members {
        call.out.bulk(member);
    }
}

fn members(call: &mut Call<'_>, key: &[u8]) -> Result<Vec<Blob>, Refusal> {
    Ok(read(call, key)?.map(|set| set.iter().collect()).unwrap_or_default())
}

pub(super) fn smembers(call: &mut Call<'_>) -> Answer {
    let all = members(call, call.arg(1))?;
    reply_set(call, &all);
    Ok(Then::Done)
}

pub(super) fn srandmember(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    let length = read(call, key)?.map_or(0, Set::len);
    if call.request.len() == 2 {
        let position = call.random.below(length as u64) as usize;
        let member = read(call, key)?.and_then(|set| set.at(position));
        call.out.bulk_or_null(member.as_deref());
        return Ok(Then::Done);
    }
    if call.request.len() > 3 {
        return Err(Refusal::Syntax);
    }
    let count = random_count(call)?;
    let positions = random_positions(call, count, length);
    call.out.array(positions.len());
    for position in positions {
        let member = read(call, key)?.and_then(|set| set.at(position));
        call.out.bulk(&member.unwrap_or_default());
    }
    Ok(Then::Done)
}

pub(super) fn spop(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    if call.request.len() > 3 {
        return Err(Refusal::Syntax);
    }
    let count = match call.request.get(2) {
        None => None,
        Some(_) => Some(positive_count(call)?),
    };
    let length = read(call, key)?.map_or(0, Set::len);
    let wanted = count.unwrap_or(1).min(length);
    let positions = random_positions(call, i64::try_from(wanted).unwrap_or(i64::MAX), length);
    let mut popped = Vec::with_capacity(positions.len());
    for position in positions {
        popped.extend(read(call, key)?.and_then(|set| set.at(position)));
    }
    remove(call, key, &mut popped.iter().map(Blob::as_slice))?;
    if !popped.is_empty() {
        let arguments = [b"SREM".as_slice(), key].into_iter().chain(popped.iter().map(Blob::as_slice));
        call.instead(arguments);
    }
    match count {
        None => call.out.bulk_or_null(popped.first().map(Blob::as_slice)),
        Some(_) => reply_set(call, &popped),
    }
    Ok(Then::Done)
}

/// The three operations on several sets.
#[derive(Clone, Copy, PartialEq)]
enum Algebra {
    Intersection,
    Union,
    Difference,
}

fn combine(call: &mut Call<'_>, keys: &[&[u8]], operation: Algebra) -> Result<Vec<Blob>, Refusal> {
    // Types are checked first, for all keys.
    for key in keys {
        read(call, key)?;
    }
    let Some((first, rest)) = keys.split_first() else { return Ok(Vec::new()) };
    if operation == Algebra::Union {
        let mut all = indexmap::IndexSet::new();
        for key in keys {
            all.extend(members(call, key)?);
        }
        return Ok(all.into_iter().collect());
    }
    let mut kept = members(call, first)?;
    for key in rest {
        let other = read(call, key)?;
        let keeps = operation == Algebra::Intersection;
        kept.retain(|member| other.is_some_and(|set| set.contains(member)) == keeps);
    }
    Ok(kept)
}

fn algebra(call: &mut Call<'_>, operation: Algebra) -> Answer {
    let keys: Vec<&[u8]> = call.request.tail(1).collect();
    let result = combine(call, &keys, operation)?;
    reply_set(call, &result);
    Ok(Then::Done)
}

fn algebra_store(call: &mut Call<'_>, operation: Algebra) -> Answer {
    let keys: Vec<&[u8]> = call.request.tail(2).collect();
    let result = combine(call, &keys, operation)?;
    let (target, thresholds) = (call.arg(1), call.db.thresholds);
    if result.is_empty() {
        call.db.delete(target);
    } else {
        let mut set = Set::default();
        for member in &result {
            set.add(member, thresholds);
        }
        call.db.set(target, Value::Set(Box::new(set)));
    }
    call.out.count(result.len());
    Ok(Then::Done)
}

pub(super) fn sinter(call: &mut Call<'_>) -> Answer {
    algebra(call, Algebra::Intersection)
}

pub(super) fn sunion(call: &mut Call<'_>) -> Answer {
    algebra(call, Algebra::Union)
}

pub(super) fn sdiff(call: &mut Call<'_>) -> Answer {
    algebra(call, Algebra::Difference)
}

pub(super) fn sinterstore(call: &mut Call<'_>) -> Answer {
    algebra_store(call, Algebra::Intersection)
}

pub(super) fn sunionstore(call: &mut Call<'_>) -> Answer {
    algebra_store(call, Algebra::Union)
}

pub(super) fn sdiffstore(call: &mut Call<'_>) -> Answer {
    algebra_store(call, Algebra::Difference)
}

/// The keys after a `numkeys` argument, and the index of what follows them.
pub(super) fn counted_keys<'r>(call: &Call<'r>, index: usize) -> Result<(Vec<&'r [u8]>, usize), Refusal> {
    let count = call.integer(index).ok().filter(|count| *count > 0).ok_or(Refusal::BadKeyCount)?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > call.request.len() - index - 1 {
        return Err(Refusal::text("ERR Number of keys can't be greater than number of args"));
    }
    Ok((call.request.tail(index + 1).take(count).collect(), index + 1 + count))
}

pub(super) fn sintercard(call: &mut Call<'_>) -> Answer {
    let (keys, next) = counted_keys(call, 1)?;
    let limit = match call.request.get(next) {
        None => 0,
        Some(word) if is(word, "LIMIT") && call.request.len() == next + 2 => {
            let limit = call.integer(next + 1).ok().and_then(|limit| usize::try_from(limit).ok());
            limit.ok_or(Refusal::text("ERR LIMIT can't be negative"))?
        }
        Some(_) => return Err(Refusal::Syntax),
    };
    let count = combine(call, &keys, Algebra::Intersection)?.len();
    call.out.count(if limit == 0 { count } else { count.min(limit) });
    Ok(Then::Done)
}
