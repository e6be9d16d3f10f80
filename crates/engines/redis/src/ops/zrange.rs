//! Ranges of sorted sets: by rank, by score, by member.

use super::sorted_sets::{read, remove};
use super::strings::range;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Score, SortedSet, parse_float};

/// What a range is measured by.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Rank,
    Score,
    Member,
}

/// A whole range request.
struct Selection<'r> {
    by: By,
    start: &'r [u8],
    end: &'r [u8],
    is_reversed: bool,
    offset: i64,
    limit: i64,
    with_scores: bool,
}

/// A bound of a range by score: a number, and whether it is left out.
fn score_bound(text: &[u8]) -> Result<(Score, bool), Refusal> {
    let (number, is_open) = text.strip_prefix(b"(").map_or((text, false), |number| (number, true));
    let number = parse_float(number).filter(|number| !number.is_nan());
    Ok((number.ok_or(Refusal::text("ERR min or max is not a float"))?, is_open))
}

/// A bound of a range by member.
enum MemberBound<'r> {
    Lowest,
    Highest,
    At(&'r [u8], bool),
}

fn member_bound(text: &[u8]) -> Result<MemberBound<'_>, Refusal> {
    match text {
        b"-" => Ok(MemberBound::Lowest),
        b"+" => Ok(MemberBound::Highest),
        [b'(', member @ ..] => Ok(MemberBound::At(member, true)),
        [b'[', member @ ..] => Ok(MemberBound::At(member, false)),
        _ => Err(Refusal::text("ERR min or max not valid string range item")),
    }
}

/// The ranks `first..last` between two bounds.
fn ranks_by_score(set: &SortedSet, low: (Score, bool), high: (Score, bool)) -> (usize, usize) {
    let first = set.count_before(|(score, _)| if low.1 { *score <= low.0 } else { *score < low.0 });
    let last = set.count_before(|(score, _)| if high.1 { *score < high.0 } else { *score <= high.0 });
    (first, last.max(first))
}

fn ranks_by_member(set: &SortedSet, low: &MemberBound<'_>, high: &MemberBound<'_>) -> (usize, usize) {
    let count = |bound: &MemberBound<'_>, is_high: bool| match bound {
        MemberBound::Lowest => 0,
        MemberBound::Highest => set.len(),
        MemberBound::At(at, is_open) => set.count_before(|(_, member)| {
            // At the high end an open bound leaves equals out; at the low end it skips them.
            if is_high != *is_open { member.as_slice() <= *at } else { member.as_slice() < *at }
        }),
    };
    let first = count(low, false);
    (first, count(high, true).max(first))
}

impl Selection<'_> {
    /// Checks the bounds and finds the ranks; None stands for a set that does not exist.
    fn ranks(&self, set: Option<&SortedSet>) -> Result<(usize, usize), Refusal> {
        let empty = SortedSet::default();
        let set = set.unwrap_or(&empty);
        let (low, high) = if self.is_reversed { (self.end, self.start) } else { (self.start, self.end) };
        match self.by {
            By::Rank => {
                let number = |text: &[u8]| crate::state::parse_integer(text).ok_or(Refusal::NotInteger);
                let (first, last) = range(number(self.start)?, number(self.end)?, set.len()).unwrap_or((0, 0));
                Ok(if self.is_reversed && last > 0 { (set.len() - last, set.len() - first) } else { (first, last) })
            }
            By::Score => {
                let (low, high) = (score_bound(low)?, score_bound(high)?);
                Ok(ranks_by_score(set, low, high))
            }
            By::Member => Ok(ranks_by_member(set, &member_bound(low)?, &member_bound(high)?)),
        }
    }

    fn select(&self, call: &mut Call<'_>, key: &[u8]) -> Result<Vec<(Blob, Score)>, Refusal> {
        self.ranks(None)?;
        let Some(set) = read(call, key)? else { return Ok(Vec::new()) };
        let (first, last) = self.ranks(Some(set))?;
        let owned = |(member, score): (&Blob, Score)| (member.clone(), score);
        let Ok(offset) = usize::try_from(self.offset) else { return Ok(Vec::new()) };
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let chosen = set.range(first, last);
        Ok(if self.is_reversed {
            chosen.rev().skip(offset).take(limit).map(owned).collect()
        } else {
            chosen.skip(offset).take(limit).map(owned).collect()
        })
    }
}

fn selection<'r>(
    call: &Call<'r>,
    first: usize,
    by: By,
    is_reversed: bool,
    is_general: bool,
) -> Result<Selection<'r>, Refusal> {
    let mut selection = Selection {
        by,
        start: call.arg(first),
        end: call.arg(first + 1),
        is_reversed,
        offset: 0,
        limit: -1,
        with_scores: false,
    };
    let mut has_limit = false;
    let mut index = first + 2;
    while let Some(word) = call.request.get(index) {
        if is_general && is(word, "BYSCORE") {
            selection.by = By::Score;
        } else if is_general && is(word, "BYLEX") {
            selection.by = By::Member;
        } else if is_general && is(word, "REV") {
            selection.is_reversed = true;
        } else if is(word, "WITHSCORES") && (is_general || by != By::Member) {
            selection.with_scores = true;
        } else if is(word, "LIMIT") && call.request.len() > index + 2 && (is_general || by != By::Rank) {
            (selection.offset, selection.limit) = (call.integer(index + 1)?, call.integer(index + 2)?);
            has_limit = true;
            index += 2;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    if has_limit && selection.limit != -1 && selection.by == By::Rank {
        return Err(Refusal::text(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    if selection.with_scores && selection.by == By::Member {
        return Err(Refusal::text("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
    }
    Ok(selection)
}

pub(super) fn reply(call: &mut Call<'_>, found: &[(Blob, Score)], with_scores: bool) {
    let is_nested = with_scores && call.out.is_resp3();
    call.out.array(if with_scores && !is_nested { found.len() * 2 } else { found.len() });
    for (member, score) in found {
        if is_nested {
            call.out.array(2);
        }
        call.out.bulk(member);
        if with_scores {
            call.out.double(*score);
        }
    }
}

fn answer(call: &mut Call<'_>, by: By, is_reversed: bool, is_general: bool) -> Answer {
    let selection = selection(call, 2, by, is_reversed, is_general)?;
    let found = selection.select(call, call.arg(1))?;
    reply(call, &found, selection.with_scores);
    Ok(Then::Done)
}

pub(super) fn zrange(call: &mut Call<'_>) -> Answer {
    answer(call, By::Rank, false, true)
}

pub(super) fn zrevrange(call: &mut Call<'_>) -> Answer {
    answer(call, By::Rank, true, false)
}

pub(super) fn zrangebyscore(call: &mut Call<'_>) -> Answer {
    answer(call, By::Score, false, false)
}

pub(super) fn zrevrangebyscore(call: &mut Call<'_>) -> Answer {
    answer(call, By::Score, true, false)
}

pub(super) fn zrangebylex(call: &mut Call<'_>) -> Answer {
    answer(call, By::Member, false, false)
}

pub(super) fn zrevrangebylex(call: &mut Call<'_>) -> Answer {
    answer(call, By::Member, true, false)
}

/// ZRANGESTORE destination source start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count], since 6.2.
pub(super) fn zrangestore(call: &mut Call<'_>) -> Answer {
    let selection = selection(call, 3, By::Rank, false, true)?;
    if selection.with_scores {
        return Err(Refusal::Syntax);
    }
    let found = selection.select(call, call.arg(2))?;
    super::zset_algebra::store(call, call.request.arg(1), &found);
    call.out.count(found.len());
    Ok(Then::Done)
}

fn plain<'r>(call: &Call<'r>, by: By) -> Selection<'r> {
    Selection { by, start: call.arg(2), end: call.arg(3), is_reversed: false, offset: 0, limit: -1, with_scores: false }
}

fn count(call: &mut Call<'_>, by: By) -> Answer {
    let selection = plain(call, by);
    selection.ranks(None)?;
    let set = read(call, call.arg(1))?;
    let (first, last) = selection.ranks(set)?;
    call.out.count(last - first);
    Ok(Then::Done)
}

pub(super) fn zcount(call: &mut Call<'_>) -> Answer {
    count(call, By::Score)
}

pub(super) fn zlexcount(call: &mut Call<'_>) -> Answer {
    count(call, By::Member)
}

fn remove_range(call: &mut Call<'_>, by: By) -> Answer {
    let found = plain(call, by).select(call, call.arg(1))?;
    let members: Vec<Blob> = found.into_iter().map(|(member, _)| member).collect();
    let removed = remove(call, call.arg(1), &members)?;
    call.out.count(removed);
    Ok(Then::Done)
}

pub(super) fn zremrangebyrank(call: &mut Call<'_>) -> Answer {
    remove_range(call, By::Rank)
}

pub(super) fn zremrangebyscore(call: &mut Call<'_>) -> Answer {
    remove_range(call, By::Score)
}

pub(super) fn zremrangebylex(call: &mut Call<'_>) -> Answer {
    remove_range(call, By::Member)
}
