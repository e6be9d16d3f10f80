//! Which arguments of a request are keys, and what it does with them, as Redis's own rules find them: a request whose
//! key specifications do not work out has no keys but those that its command's grammar names.

use super::command::{Begin, Find, KeySpec, OW, RO, RW, RW_POP, sort_store};
use super::{Command, is};
use crate::state::parse_integer;
use crate::wire::Request;

/// One argument that is a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    pub(crate) position: usize,
    /// As COMMAND GETKEYSANDFLAGS shows it.
    pub(crate) access: &'static [&'static str],
}

impl KeyUse {
    /// True if its value comes to light.
    pub(crate) fn reads(&self) -> bool {
        self.access.contains(&"access")
    }

    /// True if it is changed.
    pub(crate) fn writes(&self) -> bool {
        self.access.iter().any(|word| matches!(*word, "insert" | "delete" | "update"))
    }
}

/// The arguments of a request that are keys.
pub(crate) fn key_uses(command: &Command, request: Request<'_>) -> Vec<KeyUse> {
    if let Some(uses) = by_grammar(command, request) {
        return uses;
    }
    let mut uses = Vec::new();
    for spec in command.keys.iter().filter(|spec| !spec.access.contains(&"not_key")) {
        match positions(spec, request) {
            Some((first, end, step)) => {
                uses.extend((first..end).step_by(step).map(|position| KeyUse { position, access: spec.access }));
            }
            None => return fallback(command, request),
        }
    }
    uses
}

/// The first key, one past the last, and the step. Nothing if what the specification says is not there.
fn positions(spec: &KeySpec, request: Request<'_>) -> Option<(usize, usize, usize)> {
    let length = request.len();
    let begin = match spec.begin {
        Begin::Index(begin) => begin,
        Begin::Keyword { word, from } => {
            let mut places = from..length.saturating_sub(1);
            match places.find(|place| is(request.arg(*place), word)) {
                Some(place) => place + 1,
                None => return Some((0, 0, 1)),
            }
        }
        Begin::SortStore | Begin::Nowhere | Begin::LastKeyword { .. } => return None,
    };
    let (first, end, step) = match spec.find {
        Find::Unknown => return None,
        Find::Half => (begin, begin + length.checked_sub(begin)? / 2, 1),
        Find::Range { last, step } if last < 0 => {
            (begin, (length + 1).checked_sub(usize::try_from(-i64::from(last)).ok()?)?, step)
        }
        Find::Range { last, step } => (begin, begin + usize::try_from(last).ok()? + 1, step),
        Find::Count { count, first, step } => {
            let number = parse_integer(request.get(begin + count)?)?;
            let first = begin + first;
            (first, first.checked_add(usize::try_from(number).ok()?)?, step)
        }
    };
    (first < end && end <= length).then_some((first, end, step))
}

/// Commands whose specifications say too little: what they do with keys, or which of them there are, depends on options.
fn by_grammar(command: &Command, request: Request<'_>) -> Option<Vec<KeyUse>> {
    let first = |access| KeyUse { position: 1, access };
    match command.name {
        "set" => {
            let reads = (3..request.len()).any(|index| is(request.arg(index), "GET"));
            Some(vec![first(if reads { RW } else { OW })])
        }
        "bitfield" => Some(vec![first(if only_gets(request) { RO } else { RW })]),
        "sort_ro" => Some(vec![first(RO)]),
        "sort" => {
            let target = sort_store(request).map(|position| KeyUse { position, access: OW });
            Some(std::iter::once(first(RO)).chain(target).collect())
        }
        "migrate" => Some(migrate(request)),
        _ => None,
    }
}

/// True if BITFIELD only reads. What it does not understand counts as writing.
fn only_gets(request: Request<'_>) -> bool {
    let mut index = 2;
    while let Some(word) = request.get(index) {
        let left = request.len() - index - 1;
        index += match word {
            _ if is(word, "GET") && left >= 2 => 3,
            _ if is(word, "OVERFLOW") && left >= 1 => 2,
            _ => return false,
        };
    }
    true
}

/// MIGRATE's keys stand behind KEYS if there are several.
fn migrate(request: Request<'_>) -> Vec<KeyUse> {
    let key = |position| KeyUse { position, access: RW_POP };
    let mut index = 6;
    while let Some(word) = request.get(index) {
        index += match word {
            _ if is(word, "KEYS") && request.arg(3).is_empty() => {
                return (index + 1..request.len()).map(key).collect();
            }
            _ if is(word, "KEYS") => return Vec::new(),
            _ if is(word, "AUTH") => 2,
            _ if is(word, "AUTH2") => 3,
            _ => 1,
        };
    }
    vec![key(3)]
}

/// The specifications do not work out, so the request will be refused: it has no keys. Only GEORADIUS then has its own.
fn fallback(command: &Command, request: Request<'_>) -> Vec<KeyUse> {
    if !matches!(command.name, "georadius" | "georadiusbymember") {
        return Vec::new();
    }
    let stores = |index: &usize| ["STORE", "STOREDIST"].iter().any(|word| is(request.arg(*index), word));
    let target = (5..request.len().saturating_sub(1)).rfind(stores).map(|index| index + 1);
    std::iter::once(1).chain(target).map(|position| KeyUse { position, access: &[] }).collect()
}
