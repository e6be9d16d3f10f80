//! SORT and SORT_RO: <https://redis.io/docs/latest/commands/sort/>.

use std::cmp::Ordering;

use super::strings::text;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, List, Value, parse_float};

/// What SORT is asked for.
struct Request<'r> {
    is_descending: bool,
    is_alphabetic: bool,
    offset: i64,
    count: i64,
    by: Option<&'r [u8]>,
    get: Vec<&'r [u8]>,
    store: Option<&'r [u8]>,
}

fn request<'r>(call: &Call<'r>, may_store: bool) -> Result<Request<'r>, Refusal> {
    let is_cluster = call.db.is_cluster;
    let denied =
        |option| Refusal::text(format!("ERR {option} option of SORT denied due to insufficient ACL permissions."));
    let mut it = Request {
        is_descending: false,
        is_alphabetic: false,
        offset: 0,
        count: -1,
        by: None,
        get: Vec::new(),
        store: None,
    };
    let mut index = 2;
    while let Some(word) = call.request.get(index) {
        let next = call.request.get(index + 1);
        match (word, next) {
            _ if is(word, "ASC") => it.is_descending = false,
            _ if is(word, "DESC") => it.is_descending = true,
            _ if is(word, "ALPHA") => it.is_alphabetic = true,
            (_, Some(_)) if is(word, "LIMIT") && call.request.get(index + 2).is_some() => {
                (it.offset, it.count) = (call.integer(index + 1)?, call.integer(index + 2)?);
                index += 2;
            }
            (_, Some(key)) if may_store && is(word, "STORE") => {
                it.store = Some(key);
                index += 1;
            }
            (_, Some(pattern)) if is(word, "BY") => {
                it.by = Some(pattern);
                if is_cluster && pattern.contains(&b'*') {
                    return Err(Refusal::text("ERR BY option of SORT denied in Cluster mode."));
                }
                if !call.may_read_all_keys && pattern.contains(&b'*') {
                    return Err(denied("BY"));
                }
                index += 1;
            }
            (_, Some(pattern)) if is(word, "GET") => {
                if is_cluster {
                    return Err(Refusal::text("ERR GET option of SORT denied in Cluster mode."));
                }
                if !call.may_read_all_keys {
                    return Err(denied("GET"));
                }
                it.get.push(pattern);
                index += 1;
            }
            _ => return Err(Refusal::Syntax),
        }
        index += 1;
    }
    Ok(it)
}

/// The elements of the list, set or sorted set, in its own order; and whether it is a plain set.
fn elements(call: &mut Call<'_>, key: &[u8]) -> Result<(Vec<Blob>, bool), Refusal> {
    match call.db.read(key) {
        None => Ok((Vec::new(), false)),
        Some(Value::List(list)) => Ok((list.iter().cloned().collect(), false)),
        Some(Value::Set(set)) => Ok((set.iter().collect(), true)),
        Some(Value::SortedSet(set)) => Ok((set.range(0, set.len()).map(|(member, _)| member.clone()).collect(), false)),
        Some(_) => Err(Refusal::WrongType),
    }
}

/// What a pattern names for an element: the element itself (`#`), a string, or a field of a hash (`key->field`).
fn look_up(call: &mut Call<'_>, pattern: &[u8], element: &Blob) -> Option<Blob> {
    if pattern == b"#" {
        return Some(element.clone());
    }
    let star = pattern.iter().position(|byte| *byte == b'*')?;
    let arrow = memchr::memmem::find(&pattern[star + 1..], b"->").map(|place| place + star + 1);
    let arrow = arrow.filter(|place| place + 2 < pattern.len());
    let end = arrow.unwrap_or(pattern.len());
    let key = [&pattern[..star], element, &pattern[star + 1..end]].concat();
    match (call.db.read(&key)?, arrow) {
        (Value::Hash(hash), Some(arrow)) => hash.get(&pattern[arrow + 2..]).map(|value| Blob::from_slice(value)),
        (value, None) => text(value).ok(),
        _ => None,
    }
}

/// A number as SORT reads it: nothing at all is zero.
fn weight(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let spaces = text.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    parse_float(&text[spaces..]).filter(|number| !number.is_nan())
}

fn sorted(call: &mut Call<'_>, it: &Request<'_>, elements: Vec<Blob>) -> Result<Vec<Blob>, Refusal> {
    let directed = |order: Ordering| if it.is_descending { order.reverse() } else { order };
    if it.is_alphabetic {
        let mut keyed: Vec<(Option<Blob>, Blob)> = Vec::with_capacity(elements.len());
        for element in elements {
            let key = match it.by {
                Some(pattern) => look_up(call, pattern, &element),
                None => Some(element.clone()),
            };
            keyed.push((key, element));
        }
        keyed.sort_by(|one, other| directed(one.0.cmp(&other.0)));
        return Ok(keyed.into_iter().map(|(_, element)| element).collect());
    }
    let mut keyed: Vec<(f64, Blob)> = Vec::with_capacity(elements.len());
    let mut is_invalid = false;
    for element in elements {
        let number = match it.by {
            Some(pattern) => look_up(call, pattern, &element).map_or(Some(0.0), |text| weight(&text)),
            None => weight(&element),
        };
        is_invalid |= number.is_none();
        keyed.push((number.unwrap_or(0.0), element));
    }
    if is_invalid {
        return Err(Refusal::text("ERR One or more scores can't be converted into double"));
    }
    keyed.sort_by(|one, other| {
        let order = one.0.partial_cmp(&other.0).unwrap_or(Ordering::Equal);
        directed(order.then_with(|| one.1.cmp(&other.1)))
    });
    Ok(keyed.into_iter().map(|(_, element)| element).collect())
}

fn sort_generic(call: &mut Call<'_>, may_store: bool) -> Answer {
    let mut it = request(call, may_store)?;
    let (mut all, is_set) = elements(call, call.request.arg(1))?;
    let mut leaves_order = it.by.is_some_and(|pattern| !pattern.contains(&b'*'));
    if leaves_order && is_set && (it.store.is_some() || call.in_script) {
        // What is stored, or what a script sees, must not depend on the order in which a set happens to be held.
        (leaves_order, it.is_alphabetic, it.by) = (false, true, None);
    }
    if !leaves_order {
        all = sorted(call, &it, all)?;
    } else if it.is_descending && !is_set {
        all.reverse();
    }
    let length = all.len();
    let offset = usize::try_from(it.offset.max(0)).unwrap_or(usize::MAX).min(length);
    let count = usize::try_from(it.count).unwrap_or(length).min(length - offset);
    let chosen = &all[offset..offset + count];
    let mut found: Vec<Option<Blob>> = Vec::new();
    for element in chosen {
        if it.get.is_empty() {
            found.push(Some(element.clone()));
        }
        for pattern in &it.get {
            found.push(look_up(call, pattern, element));
        }
    }
    match it.store {
        Some(target) => store(call, target, &found),
        None => {
            call.out.array(found.len());
            for element in &found {
                call.out.bulk_or_null(element.as_deref());
            }
        }
    }
    Ok(Then::Done)
}

fn store(call: &mut Call<'_>, target: &[u8], found: &[Option<Blob>]) {
    if found.is_empty() {
        call.db.delete(target);
    } else {
        let thresholds = call.db.thresholds;
        let mut list = List::default();
        for element in found {
            list.push(element.as_deref().unwrap_or_default(), false, thresholds);
        }
        call.db.set(target, Value::List(Box::new(list)));
    }
    call.out.count(found.len());
}

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern]... [ASC|DESC] [ALPHA] [STORE destination], since 1.0.
pub(super) fn sort(call: &mut Call<'_>) -> Answer {
    sort_generic(call, true)
}

/// SORT_RO: the same without STORE, since 7.0.
pub(super) fn sort_ro(call: &mut Call<'_>) -> Answer {
    sort_generic(call, false)
}
