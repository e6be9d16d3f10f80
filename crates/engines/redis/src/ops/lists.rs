//! Lists: <https://redis.io/docs/latest/commands/?group=list>. Those that wait are in `blocking.rs`.

use super::sets::counted_keys;
use super::strings::range;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, List, Value};

pub(super) fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c List>, Refusal> {
    match call.db.read(key) {
        None => Ok(None),
        Some(Value::List(list)) => Ok(Some(list)),
        Some(_) => Err(Refusal::WrongType),
    }
}

/// The list at a key, to be changed; made if there is none.
fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<&'c mut List, Refusal> {
    match call.db.write_or_insert(key, || Value::List(Box::default())) {
        Some(Value::List(list)) => Ok(list),
        _ => Err(Refusal::WrongType),
    }
}

fn push(call: &mut Call<'_>, at_left: bool, only_if_exists: bool) -> Answer {
    let (key, request, thresholds) = (call.arg(1), call.request, call.db.thresholds);
    if only_if_exists && read(call, key)?.is_none() {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    let list = write(call, key)?;
    for item in request.tail(2) {
        list.push(item, at_left, thresholds);
    }
    let length = list.len();
    call.db.changed(key);
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn lpush(call: &mut Call<'_>) -> Answer {
    push(call, true, false)
}

pub(super) fn rpush(call: &mut Call<'_>) -> Answer {
    push(call, false, false)
}

pub(super) fn lpushx(call: &mut Call<'_>) -> Answer {
    push(call, true, true)
}

pub(super) fn rpushx(call: &mut Call<'_>) -> Answer {
    push(call, false, true)
}

/// Takes up to `count` elements off one end; the list goes with its last one.
pub(super) fn take(call: &mut Call<'_>, key: &[u8], at_left: bool, count: usize) -> Result<Vec<Blob>, Refusal> {
    let thresholds = call.db.thresholds;
    let Some(entry) = call.db.write(key) else { return Ok(Vec::new()) };
    let Value::List(list) = &mut entry.value else { return Err(Refusal::WrongType) };
    let taken: Vec<Blob> = (0..count.min(list.len())).filter_map(|_| list.pop(at_left, thresholds)).collect();
    if !taken.is_empty() {
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    Ok(taken)
}

/// The count of LPOP, SPOP and their like: none below zero.
pub(super) fn positive_count(call: &Call<'_>) -> Result<usize, Refusal> {
    call.integer(2).ok().and_then(|count| usize::try_from(count).ok()).ok_or(Refusal::MustBePositive)
}

fn pop(call: &mut Call<'_>, at_left: bool) -> Answer {
    let key = call.arg(1);
    if call.request.len() > 3 {
        let name = if at_left { "lpop" } else { "rpop" };
        return Err(Refusal::Arity(name.to_owned()));
    }
    if call.request.len() == 2 {
        let item = take(call, key, at_left, 1)?.pop();
        call.out.bulk_or_null(item.as_deref());
        return Ok(Then::Done);
    }
    let count = positive_count(call)?;
    if read(call, key)?.is_none() {
        call.out.null_array();
        return Ok(Then::Done);
    }
    let items = take(call, key, at_left, count)?;
    call.out.array(items.len());
    for item in &items {
        call.out.bulk(item);
    }
    Ok(Then::Done)
}

pub(super) fn lpop(call: &mut Call<'_>) -> Answer {
    pop(call, true)
}

pub(super) fn rpop(call: &mut Call<'_>) -> Answer {
    pop(call, false)
}

pub(super) fn llen(call: &mut Call<'_>) -> Answer {
    let length = read(call, call.arg(1))?.map_or(0, List::len);
    call.out.count(length);
    Ok(Then::Done)
}

/// An index that may count from the end; None if it is outside.
fn index(number: i64, length: usize) -> Option<usize> {
    let size = i64::try_from(length).ok()?;
    let number = if number < 0 { number.checked_add(size)? } else { number };
    usize::try_from(number).ok().filter(|index| *index < length)
}

pub(super) fn lindex(call: &mut Call<'_>) -> Answer {
    let number = call.integer(2)?;
    let item = match call.db.read(call.request.arg(1)) {
        None => None,
        Some(Value::List(list)) => index(number, list.len()).and_then(|index| list.get(index)),
        Some(_) => return Err(Refusal::WrongType),
    };
    call.out.bulk_or_null(item.map(Blob::as_slice));
    Ok(Then::Done)
}

pub(super) fn lset(call: &mut Call<'_>) -> Answer {
    let (key, number, item, thresholds) = (call.arg(1), call.integer(2), call.arg(3), call.db.thresholds);
    let length = read(call, key)?.ok_or(Refusal::NoSuchKey)?.len();
    let place = index(number?, length).ok_or(Refusal::IndexOutOfRange)?;
    write(call, key)?.set(place, item, thresholds);
    call.db.changed(key);
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn lrange(call: &mut Call<'_>) -> Answer {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let list = match call.db.read(call.request.arg(1)) {
        None => &List::default(),
        Some(Value::List(list)) => list,
        Some(_) => return Err(Refusal::WrongType),
    };
    let Some((first, last)) = range(start, end, list.len()) else {
        call.out.array(0);
        return Ok(Then::Done);
    };
    call.out.array(last - first);
    for item in list.range(first, last) {
        call.out.bulk(item);
    }
    Ok(Then::Done)
}

pub(super) fn ltrim(call: &mut Call<'_>) -> Answer {
    let (key, thresholds) = (call.arg(1), call.db.thresholds);
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    if let Some(length) = read(call, key)?.map(List::len) {
        let (first, last) = range(start, end, length).unwrap_or((0, 0));
        write(call, key)?.trim(first, last, thresholds);
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn lrem(call: &mut Call<'_>) -> Answer {
    let (key, count, item, thresholds) = (call.arg(1), call.integer(2)?, call.arg(3), call.db.thresholds);
    let limit = if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let mut removed = 0;
    if read(call, key)?.is_some() {
        removed = write(call, key)?.remove(item, limit, count >= 0, thresholds);
    }
    if removed > 0 {
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    call.out.count(removed);
    Ok(Then::Done)
}

pub(super) fn linsert(call: &mut Call<'_>) -> Answer {
    let (key, pivot, item, thresholds) = (call.arg(1), call.arg(3), call.arg(4), call.db.thresholds);
    let after = match call.arg(2) {
        word if is(word, "AFTER") => 1,
        word if is(word, "BEFORE") => 0,
        _ => return Err(Refusal::Syntax),
    };
    let Some(list) = read(call, key)? else {
        call.out.integer(0);
        return Ok(Then::Done);
    };
    let Some(place) = list.iter().position(|other| other.as_slice() == pivot) else {
        call.out.integer(-1);
        return Ok(Then::Done);
    };
    let list = write(call, key)?;
    list.insert(place + after, item, thresholds);
    let length = list.len();
    call.db.changed(key);
    call.out.count(length);
    Ok(Then::Done)
}

/// The options of LPOS.
struct Search {
    rank: i64,
    count: Option<usize>,
    comparisons_max: usize,
}

fn search_options(call: &Call<'_>) -> Result<Search, Refusal> {
    let mut search = Search { rank: 1, count: None, comparisons_max: usize::MAX };
    let mut index = 3;
    while let Some(word) = call.request.get(index) {
        if call.request.get(index + 1).is_none() {
            return Err(Refusal::Syntax);
        }
        if is(word, "RANK") {
            search.rank = call.integer(index + 1)?;
            if search.rank == i64::MIN {
                return Err(Refusal::text("ERR value is out of range"));
            }
            if search.rank == 0 {
                return Err(Refusal::text(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                     or use negative to start from the end of the list",
                ));
            }
        } else if is(word, "COUNT") {
            let count = call.integer(index + 1).ok().and_then(|count| usize::try_from(count).ok());
            search.count = Some(count.ok_or(Refusal::text("ERR COUNT can't be negative"))?);
        } else if is(word, "MAXLEN") {
            let length = call.integer(index + 1).ok().and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or(Refusal::text("ERR MAXLEN can't be negative"))?;
            search.comparisons_max = if length == 0 { usize::MAX } else { length };
        } else {
            return Err(Refusal::Syntax);
        }
        index += 2;
    }
    Ok(search)
}

pub(super) fn lpos(call: &mut Call<'_>) -> Answer {
    let search = search_options(call)?;
    let item = call.arg(2);
    let wanted = match search.count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let skip = usize::try_from(search.rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
    let found: Vec<usize> = match read(call, call.arg(1))? {
        None => Vec::new(),
        Some(list) => {
            let equal = |(_, other): &(usize, &Blob)| other.as_slice() == item;
            let indexed = list.iter().enumerate();
            let limit = search.comparisons_max;
            if search.rank > 0 {
                indexed.take(limit).filter(equal).map(|(index, _)| index).skip(skip).take(wanted).collect()
            } else {
                indexed.rev().take(limit).filter(equal).map(|(index, _)| index).skip(skip).take(wanted).collect()
            }
        }
    };
    match (search.count, found.first()) {
        (Some(_), _) => {
            call.out.array(found.len());
            for index in found {
                call.out.count(index);
            }
        }
        (None, Some(index)) => call.out.count(*index),
        (None, None) => call.out.null(),
    }
    Ok(Then::Done)
}

/// LEFT or RIGHT.
pub(super) fn side(word: &[u8]) -> Result<bool, Refusal> {
    match word {
        _ if is(word, "LEFT") => Ok(true),
        _ if is(word, "RIGHT") => Ok(false),
        _ => Err(Refusal::Syntax),
    }
}

/// Moves an element from one list to another. None if there is none.
pub(super) fn transfer(
    call: &mut Call<'_>,
    source: &[u8],
    target: &[u8],
    from_left: bool,
    to_left: bool,
) -> Result<Option<Blob>, Refusal> {
    if read(call, source)?.is_none() {
        return Ok(None);
    }
    read(call, target)?;
    let thresholds = call.db.thresholds;
    let item = if source == target {
        // A list that turns is never empty in between: its deadline stays.
        let list = write(call, source)?;
        let Some(item) = list.pop(from_left, thresholds) else { return Ok(None) };
        list.push(&item, to_left, thresholds);
        item
    } else {
        let Some(item) = take(call, source, from_left, 1)?.pop() else { return Ok(None) };
        write(call, target)?.push(&item, to_left, thresholds);
        item
    };
    call.db.changed(target);
    let side = |is_left: bool| if is_left { b"LEFT".as_slice() } else { b"RIGHT" };
    call.instead([b"LMOVE".as_slice(), source, target, side(from_left), side(to_left)]);
    Ok(Some(item))
}

pub(super) fn lmove(call: &mut Call<'_>) -> Answer {
    let (from_left, to_left) = (side(call.arg(3))?, side(call.arg(4))?);
    let item = transfer(call, call.arg(1), call.arg(2), from_left, to_left)?;
    call.out.bulk_or_null(item.as_deref());
    Ok(Then::Done)
}

pub(super) fn rpoplpush(call: &mut Call<'_>) -> Answer {
    let item = transfer(call, call.arg(1), call.arg(2), false, true)?;
    call.out.bulk_or_null(item.as_deref());
    Ok(Then::Done)
}

/// The keys of LMPOP, ZMPOP and their like from `numkeys` on, and the index of what follows them.
pub(super) fn mpop_keys<'r>(call: &Call<'r>, index: usize) -> Result<(Vec<&'r [u8]>, usize), Refusal> {
    counted_keys(call, index).map_err(|refusal| match refusal {
        Refusal::Text(_) => Refusal::Syntax,
        other => other,
    })
}

/// What may follow the side: COUNT and a number, once.
pub(super) fn mpop_count(call: &Call<'_>, index: usize) -> Result<usize, Refusal> {
    let Some(word) = call.request.get(index) else { return Ok(1) };
    if !is(word, "COUNT") || call.request.get(index + 1).is_none() {
        return Err(Refusal::Syntax);
    }
    let count = call.integer(index + 1).ok().filter(|count| *count > 0);
    let count = count.ok_or(Refusal::text("ERR count should be greater than 0"))?;
    if call.request.len() > index + 2 {
        return Err(Refusal::Syntax);
    }
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// The arguments of LMPOP and BLMPOP from `numkeys` on: keys, side, count.
pub(super) fn mpop_arguments<'r>(call: &Call<'r>, index: usize) -> Result<(Vec<&'r [u8]>, bool, usize), Refusal> {
    let (keys, next) = mpop_keys(call, index)?;
    let from_left = side(call.arg(next))?;
    Ok((keys, from_left, mpop_count(call, next + 1)?))
}

/// Pops from the first list that is not empty, and replies. False if all are.
pub(super) fn mpop(call: &mut Call<'_>, keys: &[&[u8]], from_left: bool, count: usize) -> Result<bool, Refusal> {
    for key in keys {
        if read(call, key)?.is_none() {
            continue;
        }
        let items = take(call, key, from_left, count)?;
        let name: &[u8] = if from_left { b"LPOP" } else { b"RPOP" };
        call.instead([name, key, items.len().to_string().as_bytes()]);
        call.out.array(2);
        call.out.bulk(key);
        call.out.array(items.len());
        for item in &items {
            call.out.bulk(item);
        }
        return Ok(true);
    }
    Ok(false)
}

pub(super) fn lmpop(call: &mut Call<'_>) -> Answer {
    let (keys, from_left, count) = mpop_arguments(call, 1)?;
    if !mpop(call, &keys, from_left, count)? {
        call.out.null_array();
    }
    Ok(Then::Done)
}
