//! Unions, intersections and differences of sorted sets; a plain set takes part with a score of 1 for each member.
//!
//! ZUNION, ZINTER, ZDIFF and their STORE forms: <https://redis.io/docs/latest/commands/zunionstore/>.

use indexmap::IndexMap;

use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Score, Set, SortedSet, Value, parse_float};

/// The three operations.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// How the scores of one member become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: Score, other: Score) -> Score {
        match self {
            // Infinities of both signs cancel each other out.
            Aggregate::Sum => number_or_zero(one + other),
            Aggregate::Min => one.min(other),
            Aggregate::Max => one.max(other),
        }
    }
}

fn number_or_zero(score: Score) -> Score {
    if score.is_nan() { 0.0 } else { score }
}

/// One key that takes part.
#[derive(Clone, Copy)]
enum Source<'c> {
    Absent,
    Plain(&'c Set),
    Sorted(&'c SortedSet),
}

impl Source<'_> {
    fn len(self) -> usize {
        match self {
            Source::Absent => 0,
            Source::Plain(set) => set.len(),
            Source::Sorted(set) => set.len(),
        }
    }

    fn score(self, member: &[u8]) -> Option<Score> {
        match self {
            Source::Absent => None,
            Source::Plain(set) => set.contains(member).then_some(1.0),
            Source::Sorted(set) => set.score(member),
        }
    }

    fn for_each(self, mut visit: impl FnMut(&[u8], Score) -> bool) {
        match self {
            Source::Absent => {}
            Source::Plain(set) => drop(set.iter().all(|member| visit(&member, 1.0))),
            Source::Sorted(set) => drop(set.range(0, set.len()).all(|(member, score)| visit(member, score))),
        }
    }
}

/// What one of these commands asks for.
struct Combination<'r> {
    operation: Operation,
    keys: Vec<&'r [u8]>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Stop counting there; 0: never.
    limit: usize,
}

/// What the options may be.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Reply,
    Store,
    Count,
}

/// Reads the number of keys, the keys and the options. Types are checked between keys and options, as Redis does.
fn combination<'r>(
    call: &mut Call<'r>,
    numkeys: usize,
    operation: Operation,
    form: Form,
    name: &str,
) -> Result<Combination<'r>, Refusal> {
    let count = call.integer(numkeys)?;
    if count < 1 {
        return Err(Refusal::text(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > call.request.len() - numkeys - 1 {
        return Err(Refusal::Syntax);
    }
    let keys: Vec<&[u8]> = call.request.tail(numkeys + 1).take(count).collect();
    for key in &keys {
        if !matches!(call.db.read(key), None | Some(Value::SortedSet(_) | Value::Set(_))) {
            return Err(Refusal::WrongType);
        }
    }
    let weights = vec![1.0; keys.len()];
    let mut it = Combination { operation, keys, weights, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
    let has_weights = operation != Operation::Difference && form != Form::Count;
    let mut index = numkeys + 1 + count;
    while let Some(word) = call.request.get(index) {
        let remaining = call.request.len() - index;
        if has_weights && remaining > count && is(word, "WEIGHTS") {
            for (weight, text) in it.weights.iter_mut().zip(call.request.tail(index + 1)) {
                *weight = parse_float(text).ok_or(Refusal::text("ERR weight value is not a float"))?;
            }
            index += 1 + count;
        } else if has_weights && remaining >= 2 && is(word, "AGGREGATE") {
            it.aggregate = aggregate(call.arg(index + 1))?;
            index += 2;
        } else if form == Form::Reply && is(word, "WITHSCORES") {
            it.with_scores = true;
            index += 1;
        } else if form == Form::Count && remaining >= 2 && is(word, "LIMIT") {
            let limit = call.integer(index + 1).ok().and_then(|limit| usize::try_from(limit).ok());
            it.limit = limit.ok_or(Refusal::text("ERR LIMIT can't be negative"))?;
            index += 2;
        } else {
            return Err(Refusal::Syntax);
        }
    }
    Ok(it)
}

fn aggregate(word: &[u8]) -> Result<Aggregate, Refusal> {
    match word {
        _ if is(word, "SUM") => Ok(Aggregate::Sum),
        _ if is(word, "MIN") => Ok(Aggregate::Min),
        _ if is(word, "MAX") => Ok(Aggregate::Max),
        _ => Err(Refusal::Syntax),
    }
}

impl Combination<'_> {
    /// The sources with their weights: the smallest first where the order does not matter.
    fn sources<'c>(&self, call: &'c Call<'_>) -> Vec<(Source<'c>, f64)> {
        let source = |key: &&[u8]| match call.db.peek(key).map(|entry| &entry.value) {
            Some(Value::SortedSet(set)) => Source::Sorted(set),
            Some(Value::Set(set)) => Source::Plain(set),
            _ => Source::Absent,
        };
        let mut sources: Vec<_> = self.keys.iter().map(source).zip(self.weights.iter().copied()).collect();
        if self.operation != Operation::Difference {
            sources.sort_by_key(|(source, _)| source.len());
        }
        sources
    }

    fn compute(&self, call: &Call<'_>) -> Vec<(Blob, Score)> {
        let sources = self.sources(call);
        match self.operation {
            Operation::Union => self.union(&sources),
            Operation::Intersection => {
                let mut found = Vec::new();
                self.intersect(&sources, |member, score| {
                    found.push((Blob::from_slice(member), score));
                    true
                });
                found
            }
            Operation::Difference => difference(&sources),
        }
    }

    fn union(&self, sources: &[(Source<'_>, f64)]) -> Vec<(Blob, Score)> {
        let mut all: IndexMap<Blob, Score, crate::state::Hasher> = IndexMap::default();
        for (source, weight) in sources {
            source.for_each(|member, score| {
                let score = number_or_zero(weight * score);
                match all.get_mut(member) {
                    Some(before) => *before = self.aggregate.of(*before, score),
                    None => drop(all.insert(Blob::from_slice(member), score)),
                }
                true
            });
        }
        all.into_iter().collect()
    }

    /// Visits what all sources have, until `visit` says no.
    fn intersect(&self, sources: &[(Source<'_>, f64)], mut visit: impl FnMut(&[u8], Score) -> bool) {
        let Some(((first, weight), rest)) = sources.split_first() else { return };
        first.for_each(|member, score| {
            let mut all = number_or_zero(weight * score);
            for (source, weight) in rest {
                let Some(score) = source.score(member) else { return true };
                all = self.aggregate.of(all, weight * score);
            }
            visit(member, all)
        });
    }
}

fn difference(sources: &[(Source<'_>, f64)]) -> Vec<(Blob, Score)> {
    let Some(((first, _), rest)) = sources.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    first.for_each(|member, score| {
        if rest.iter().all(|(source, _)| source.score(member).is_none()) {
            found.push((Blob::from_slice(member), score));
        }
        true
    });
    found
}

/// Stores members with their scores at a key, or deletes it if there are none.
pub(super) fn store(call: &mut Call<'_>, target: &[u8], members: &[(Blob, Score)]) {
    if members.is_empty() {
        call.db.delete(target);
        return;
    }
    let thresholds = call.db.thresholds;
    let mut set = SortedSet::default();
    for (member, score) in members {
        set.insert(member, *score, thresholds);
    }
    call.db.set(target, Value::SortedSet(Box::new(set)));
}

fn reply(call: &mut Call<'_>, operation: Operation, name: &str) -> Answer {
    let it = combination(call, 1, operation, Form::Reply, name)?;
    let mut found = it.compute(call);
    found.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
    super::zrange::reply(call, &found, it.with_scores);
    Ok(Then::Done)
}

fn reply_stored(call: &mut Call<'_>, operation: Operation, name: &str) -> Answer {
    let it = combination(call, 2, operation, Form::Store, name)?;
    let found = it.compute(call);
    store(call, call.request.arg(1), &found);
    call.out.count(found.len());
    Ok(Then::Done)
}

/// ZUNION numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES], since 6.2.
pub(super) fn zunion(call: &mut Call<'_>) -> Answer {
    reply(call, Operation::Union, "zunion")
}

/// ZINTER numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX] [WITHSCORES], since 6.2.
pub(super) fn zinter(call: &mut Call<'_>) -> Answer {
    reply(call, Operation::Intersection, "zinter")
}

/// ZDIFF numkeys key... [WITHSCORES], since 6.2.
pub(super) fn zdiff(call: &mut Call<'_>) -> Answer {
    reply(call, Operation::Difference, "zdiff")
}

/// ZUNIONSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX], since 2.0.
pub(super) fn zunionstore(call: &mut Call<'_>) -> Answer {
    reply_stored(call, Operation::Union, "zunionstore")
}

/// ZINTERSTORE destination numkeys key... [WEIGHTS weight...] [AGGREGATE SUM|MIN|MAX], since 2.0.
pub(super) fn zinterstore(call: &mut Call<'_>) -> Answer {
    reply_stored(call, Operation::Intersection, "zinterstore")
}

/// ZDIFFSTORE destination numkeys key..., since 6.2.
pub(super) fn zdiffstore(call: &mut Call<'_>) -> Answer {
    reply_stored(call, Operation::Difference, "zdiffstore")
}

/// ZINTERCARD numkeys key... [LIMIT limit], since 7.0.
pub(super) fn zintercard(call: &mut Call<'_>) -> Answer {
    let it = combination(call, 1, Operation::Intersection, Form::Count, "zintercard")?;
    let mut count = 0;
    it.intersect(&it.sources(call), |_, _| {
        count += 1;
        count != it.limit
    });
    call.out.count(count);
    Ok(Then::Done)
}
