//! Sorted sets: <https://redis.io/docs/latest/commands/?group=sorted-set>. Ranges are in `zrange.rs`.

use smallvec::SmallVec;

use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Score, SortedSet, Value, parse_float};

pub(super) fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c SortedSet>, Refusal> {
    match call.db.read(key) {
        None => Ok(None),
        Some(Value::SortedSet(set)) => Ok(Some(set)),
        Some(_) => Err(Refusal::WrongType),
    }
}

pub(super) fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<&'c mut SortedSet, Refusal> {
    match call.db.write_or_insert(key, || Value::SortedSet(Box::default())) {
        Some(Value::SortedSet(set)) => Ok(set),
        _ => Err(Refusal::WrongType),
    }
}

/// Removes members; the set goes with its last one.
pub(super) fn remove(call: &mut Call<'_>, key: &[u8], members: &[Blob]) -> Result<usize, Refusal> {
    if read(call, key)?.is_none() {
        return Ok(0);
    }
    let set = write(call, key)?;
    let removed = members.iter().filter(|member| set.remove(member).is_some()).count();
    if removed > 0 {
        call.db.changed(key);
        call.db.remove_if_empty(key);
    }
    Ok(removed)
}

/// The options of ZADD.
#[derive(Default)]
pub(super) struct AddOptions {
    pub(super) nx: bool,
    pub(super) xx: bool,
    gt: bool,
    lt: bool,
    pub(super) ch: bool,
    incr: bool,
}

fn add_options(call: &Call<'_>) -> Result<(AddOptions, usize), Refusal> {
    let mut options = AddOptions::default();
    let mut index = 2;
    while let Some(word) = call.request.get(index) {
        match word {
            _ if is(word, "NX") => options.nx = true,
            _ if is(word, "XX") => options.xx = true,
            _ if is(word, "GT") => options.gt = true,
            _ if is(word, "LT") => options.lt = true,
            _ if is(word, "CH") => options.ch = true,
            _ if is(word, "INCR") => options.incr = true,
            _ => break,
        }
        index += 1;
    }
    let pairs = call.request.len().saturating_sub(index);
    if pairs == 0 || !pairs.is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    if options.nx && options.xx {
        return Err(Refusal::text("ERR XX and NX options at the same time are not compatible"));
    }
    if [options.gt, options.lt, options.nx].into_iter().filter(|is_set| *is_set).count() > 1 {
        return Err(Refusal::text("ERR GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.incr && pairs > 2 {
        return Err(Refusal::text("ERR INCR option supports a single increment-element pair"));
    }
    Ok((options, index))
}

pub(super) fn zadd(call: &mut Call<'_>) -> Answer {
    let (options, first) = add_options(call)?;
    let request = call.request;
    let mut scores: SmallVec<[Score; 8]> = SmallVec::new();
    for index in (first..request.len()).step_by(2) {
        scores.push(parse_float(request.arg(index)).ok_or(Refusal::NotFloat)?);
    }
    add(call, &options, (first + 1, 2), &scores)
}

/// Adds members with their scores. The first member is argument `first`, each further one `step` later.
pub(super) fn add(
    call: &mut Call<'_>,
    options: &AddOptions,
    (first, step): (usize, usize),
    scores: &[Score],
) -> Answer {
    let (key, request, thresholds) = (call.arg(1), call.request, call.db.thresholds);
    if options.xx && read(call, key)?.is_none() {
        if options.incr {
            call.out.null()
        } else {
            call.out.integer(0)
        }
        return Ok(Then::Done);
    }
    let set = write(call, key)?;
    let (mut added, mut updated, mut result) = (0, 0, None);
    let mut refusal = None;
    for (number, score) in scores.iter().enumerate() {
        let member = request.arg(first + number * step);
        let before = set.score(member);
        // A new member has the increment itself: -0 stays what it is.
        let score = before.filter(|_| options.incr).map_or(*score, |before| before + score);
        if score.is_nan() {
            refusal = Some(Refusal::text("ERR resulting score is not a number (NaN)"));
            break;
        }
        let is_refused = match before {
            None => options.xx,
            Some(before) => options.nx || options.gt && score <= before || options.lt && score >= before,
        };
        if is_refused {
            continue;
        }
        result = Some(score);
        match before {
            None => added += 1,
            Some(before) => updated += usize::from(before != score),
        }
        set.insert(member, score, thresholds);
    }
    let is_empty = set.len() == 0;
    if added + updated > 0 {
        call.db.changed(key);
    }
    if is_empty {
        call.db.remove_if_empty(key);
    }
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    match (options.incr, result) {
        (true, Some(score)) => call.out.double(score),
        (true, None) => call.out.null(),
        (false, _) => call.out.count(added + if options.ch { updated } else { 0 }),
    }
    Ok(Then::Done)
}

pub(super) fn zincrby(call: &mut Call<'_>) -> Answer {
    let by = call.float(2)?;
    let options = AddOptions { incr: true, ..AddOptions::default() };
    add(call, &options, (3, 2), &[by])
}

pub(super) fn zrem(call: &mut Call<'_>) -> Answer {
    let members: Vec<Blob> = call.request.tail(2).map(Blob::from_slice).collect();
    let removed = remove(call, call.arg(1), &members)?;
    call.out.count(removed);
    Ok(Then::Done)
}

pub(super) fn zcard(call: &mut Call<'_>) -> Answer {
    let length = read(call, call.arg(1))?.map_or(0, SortedSet::len);
    call.out.count(length);
    Ok(Then::Done)
}

pub(super) fn zscore(call: &mut Call<'_>) -> Answer {
    let member = call.arg(2);
    match read(call, call.arg(1))?.and_then(|set| set.score(member)) {
        Some(score) => call.out.double(score),
        None => call.out.null(),
    }
    Ok(Then::Done)
}

pub(super) fn zmscore(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let scores: Vec<Option<Score>> = match read(call, request.arg(1))? {
        None => vec![None; request.len() - 2],
        Some(set) => request.tail(2).map(|member| set.score(member)).collect(),
    };
    call.out.array(scores.len());
    for score in scores {
        match score {
            Some(score) => call.out.double(score),
            None => call.out.null(),
        }
    }
    Ok(Then::Done)
}

fn rank(call: &mut Call<'_>, from_highest: bool) -> Answer {
    let member = call.arg(2);
    let with_score = match call.request.get(3) {
        None => false,
        Some(word) if is(word, "WITHSCORE") && call.request.len() == 4 => true,
        Some(_) => return Err(Refusal::Syntax),
    };
    let found = read(call, call.arg(1))?.and_then(|set| {
        let score = set.score(member)?;
        let rank = set.rank_of(score, member);
        Some((if from_highest { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            call.out.array(2);
            call.out.count(rank);
            call.out.double(score);
        }
        Some((rank, _)) => call.out.count(rank),
        None if with_score => call.out.null_array(),
        None => call.out.null(),
    }
    Ok(Then::Done)
}

pub(super) fn zrank(call: &mut Call<'_>) -> Answer {
    rank(call, false)
}

pub(super) fn zrevrank(call: &mut Call<'_>) -> Answer {
    rank(call, true)
}

/// Takes up to `count` members off the lowest or highest end.
pub(super) fn take(call: &mut Call<'_>, key: &[u8], lowest: bool, count: usize) -> Result<Vec<(Blob, Score)>, Refusal> {
    let Some(set) = read(call, key)? else { return Ok(Vec::new()) };
    let count = count.min(set.len());
    let owned = |(member, score): (&Blob, Score)| (member.clone(), score);
    let taken: Vec<(Blob, Score)> = if lowest {
        set.range(0, count).map(owned).collect()
    } else {
        set.range(set.len() - count, set.len()).rev().map(owned).collect()
    };
    let members: Vec<Blob> = taken.iter().map(|(member, _)| member.clone()).collect();
    remove(call, key, &members)?;
    Ok(taken)
}

fn pop(call: &mut Call<'_>, lowest: bool) -> Answer {
    if call.request.len() > 3 {
        return Err(Refusal::Syntax);
    }
    let count = match call.request.get(2) {
        None => 1,
        Some(_) => super::lists::positive_count(call)?,
    };
    let is_nested = call.out.is_resp3() && call.request.len() == 3;
    let taken = take(call, call.arg(1), lowest, count)?;
    call.out.array(if is_nested { taken.len() } else { taken.len() * 2 });
    for (member, score) in &taken {
        if is_nested {
            call.out.array(2);
        }
        call.out.bulk(member);
        call.out.double(*score);
    }
    Ok(Then::Done)
}

pub(super) fn zpopmin(call: &mut Call<'_>) -> Answer {
    pop(call, true)
}

pub(super) fn zpopmax(call: &mut Call<'_>) -> Answer {
    pop(call, false)
}

/// The arguments of ZMPOP and BZMPOP from `numkeys` on: keys, end, count.
pub(super) fn mpop_arguments<'r>(call: &Call<'r>, index: usize) -> Result<(Vec<&'r [u8]>, bool, usize), Refusal> {
    let (keys, next) = super::lists::mpop_keys(call, index)?;
    let lowest = match call.request.get(next) {
        Some(word) if is(word, "MIN") => true,
        Some(word) if is(word, "MAX") => false,
        _ => return Err(Refusal::Syntax),
    };
    Ok((keys, lowest, super::lists::mpop_count(call, next + 1)?))
}

/// Pops from the first sorted set that is there, and replies. False if there is none.
pub(super) fn mpop(call: &mut Call<'_>, keys: &[&[u8]], lowest: bool, count: usize) -> Result<bool, Refusal> {
    for key in keys {
        let taken = take(call, key, lowest, count)?;
        if taken.is_empty() {
            continue;
        }
        let name: &[u8] = if lowest { b"ZPOPMIN" } else { b"ZPOPMAX" };
        call.instead([name, key, taken.len().to_string().as_bytes()]);
        call.out.array(2);
        call.out.bulk(key);
        call.out.array(taken.len());
        for (member, score) in &taken {
            call.out.array(2);
            call.out.bulk(member);
            call.out.double(*score);
        }
        return Ok(true);
    }
    Ok(false)
}

/// ZMPOP numkeys key... MIN|MAX [COUNT count], since 7.0.
pub(super) fn zmpop(call: &mut Call<'_>) -> Answer {
    let (keys, lowest, count) = mpop_arguments(call, 1)?;
    if !mpop(call, &keys, lowest, count)? {
        call.out.null_array();
    }
    Ok(Then::Done)
}

/// ZRANDMEMBER key [count [WITHSCORES]], since 6.2.
pub(super) fn zrandmember(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    if call.request.len() == 2 {
        let length = read(call, key)?.map_or(0, SortedSet::len);
        let position = call.random.below(length as u64) as usize;
        let member = read(call, key)?.and_then(|set| set.at(position)).map(|(member, _)| member.clone());
        call.out.bulk_or_null(member.as_deref());
        return Ok(Then::Done);
    }
    let count = super::hashes::random_count(call)?;
    let with_scores = match call.request.get(3) {
        None => false,
        Some(word) if is(word, "WITHSCORES") && call.request.len() == 4 => true,
        Some(_) => return Err(Refusal::Syntax),
    };
    if with_scores && !(..=i64::MAX / 2).contains(&count) {
        return Err(Refusal::text("ERR value is out of range"));
    }
    let length = read(call, key)?.map_or(0, SortedSet::len);
    let positions = super::hashes::random_positions(call, count, length);
    let found: Vec<(Blob, Score)> = match read(call, key)? {
        None => Vec::new(),
        Some(set) => {
            let member = |position: usize| set.at(position).map(|(member, score)| (member.clone(), score));
            positions.into_iter().filter_map(member).collect()
        }
    };
    super::zrange::reply(call, &found, with_scores);
    Ok(Then::Done)
}
