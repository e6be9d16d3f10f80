//! Commands on keys of any type: <https://redis.io/docs/latest/commands/?group=generic>.

use super::{Answer, Call, Then, glob_matches, is};
use crate::error::Refusal;
use crate::state::{Blob, NEVER, parse_integer};

pub(super) fn del(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let deleted = request.tail(1).filter(|key| call.db.delete(key)).count();
    call.out.count(deleted);
    Ok(Then::Done)
}

/// How much there must be to free for UNLINK to leave it to another thread.
const LAZY_FREE_FROM: usize = 64;

/// DEL, which in Redis frees large values in the background; here it only counts them.
pub(super) fn unlink(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let mut deleted = 0;
    for key in request.tail(1) {
        let parts = call.db.peek(key).map_or(0, |entry| entry.value.parts_count(call.db.thresholds));
        if call.db.delete(key) {
            deleted += 1;
            call.db.lazily_freed += u64::from(parts > LAZY_FREE_FROM);
        }
    }
    call.out.count(deleted);
    Ok(Then::Done)
}

/// EXISTS counts as a look-up and not as a use.
pub(super) fn exists(call: &mut Call<'_>) -> Answer {
    call.db.touches = false;
    touch(call)
}

pub(super) fn touch(call: &mut Call<'_>) -> Answer {
    let request = call.request;
    let count = request.tail(1).filter(|key| call.db.read_entry(key).is_some()).count();
    call.out.count(count);
    Ok(Then::Done)
}

pub(super) fn type_(call: &mut Call<'_>) -> Answer {
    let name = if call.db.exists(call.arg(1)) {
        call.db.peek(call.arg(1)).map_or("none", |entry| entry.value.type_name())
    } else {
        "none"
    };
    call.out.simple(name);
    Ok(Then::Done)
}

/// The conditions of EXPIRE.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

fn conditions(call: &Call<'_>) -> Result<Conditions, Refusal> {
    let mut conditions = Conditions::default();
    for word in call.request.tail(3) {
        match word {
            _ if is(word, "NX") => conditions.nx = true,
            _ if is(word, "XX") => conditions.xx = true,
            _ if is(word, "GT") => conditions.gt = true,
            _ if is(word, "LT") => conditions.lt = true,
            _ => {
                let word = String::from_utf8_lossy(word);
                return Err(Refusal::text(format!("ERR Unsupported option {word}")));
            }
        }
    }
    if conditions.nx && (conditions.xx || conditions.gt || conditions.lt) {
        return Err(Refusal::text("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if conditions.gt && conditions.lt {
        return Err(Refusal::text("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(conditions)
}

fn expire_generic(call: &mut Call<'_>, is_seconds: bool, is_absolute: bool, command: &'static str) -> Answer {
    let conditions = conditions(call)?;
    let invalid = || Refusal::BadExpire(command);
    let number = call.integer(2)?;
    let ms = if is_seconds { number.checked_mul(1000).ok_or_else(invalid)? } else { number };
    let at = if is_absolute { ms } else { ms.checked_add(call.db.now_ms).ok_or_else(invalid)? };
    let key = call.arg(1);
    if !call.db.exists(key) {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    let present = call.db.deadline(key);
    let is_refused = conditions.nx && present.is_some()
        || conditions.xx && present.is_none()
        || conditions.gt && present.is_none_or(|present| at <= present)
        || conditions.lt && present.is_some_and(|present| at >= present);
    if is_refused {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    if at <= call.db.now_ms {
        call.db.delete(key);
        call.instead([b"DEL", key]);
    } else {
        call.db.set_deadline(key, at.min(NEVER - 1));
        call.instead([b"PEXPIREAT", key, at.to_string().as_bytes()]);
    }
    call.out.integer(1);
    Ok(Then::Done)
}

pub(super) fn expire(call: &mut Call<'_>) -> Answer {
    expire_generic(call, true, false, "expire")
}

pub(super) fn pexpire(call: &mut Call<'_>) -> Answer {
    expire_generic(call, false, false, "pexpire")
}

pub(super) fn expireat(call: &mut Call<'_>) -> Answer {
    expire_generic(call, true, true, "expireat")
}

pub(super) fn pexpireat(call: &mut Call<'_>) -> Answer {
    expire_generic(call, false, true, "pexpireat")
}

/// Answers with a time made of the key's deadline: -2 without a key, -1 without a deadline.
fn time_to_live(call: &mut Call<'_>, answer: impl Fn(i64, i64) -> i64) -> Answer {
    let key = call.arg(1);
    let number = match (call.db.exists(key), call.db.deadline(key)) {
        (false, _) => -2,
        (true, None) => -1,
        (true, Some(at)) => answer(at, call.db.now_ms),
    };
    call.out.integer(number);
    Ok(Then::Done)
}

pub(super) fn ttl(call: &mut Call<'_>) -> Answer {
    time_to_live(call, |at, now| (at - now + 500) / 1000)
}

pub(super) fn pttl(call: &mut Call<'_>) -> Answer {
    time_to_live(call, |at, now| at - now)
}

pub(super) fn expiretime(call: &mut Call<'_>) -> Answer {
    time_to_live(call, |at, _| (at + 500) / 1000)
}

pub(super) fn pexpiretime(call: &mut Call<'_>) -> Answer {
    time_to_live(call, |at, _| at)
}

pub(super) fn persist(call: &mut Call<'_>) -> Answer {
    let key = call.arg(1);
    let had_one = call.db.exists(key) && call.db.deadline(key).is_some();
    if had_one {
        call.db.set_deadline(key, NEVER);
    }
    call.out.flag(had_one);
    Ok(Then::Done)
}

fn rename_to(call: &mut Call<'_>, only_if_absent: bool) -> Result<bool, Refusal> {
    let (source, target) = (call.arg(1), call.arg(2));
    if !call.db.exists(source) {
        return Err(Refusal::NoSuchKey);
    }
    let is_taken = call.db.exists(target);
    if only_if_absent && is_taken {
        return Ok(false);
    }
    if source != target
        && let Some(entry) = call.db.remove(source)
    {
        call.db.set_entry(target, entry);
    }
    Ok(true)
}

pub(super) fn rename(call: &mut Call<'_>) -> Answer {
    rename_to(call, false)?;
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn renamenx(call: &mut Call<'_>) -> Answer {
    let is_done = rename_to(call, true)?;
    call.out.flag(is_done);
    Ok(Then::Done)
}

pub(super) fn copy(call: &mut Call<'_>) -> Answer {
    let (source, target, here) = (call.arg(1), call.arg(2), call.db.index);
    let (mut there, mut replaces, mut index) = (here, false, 3);
    while let Some(word) = call.request.get(index) {
        if is(word, "REPLACE") {
            replaces = true;
        } else if is(word, "DB") && call.request.get(index + 1).is_some() {
            let number = call.integer(index + 1)?;
            let databases = call.db.dataset.databases.len();
            let valid = usize::try_from(number).ok().filter(|number| *number < databases);
            there = valid.ok_or(Refusal::text("ERR DB index is out of range"))?;
            index += 1;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    if source == target && there == here {
        return Err(Refusal::text("ERR source and destination objects are the same"));
    }
    let entry = call.db.read_entry(source).cloned();
    call.db.index = there;
    let is_done = match entry {
        Some(entry) if replaces || !call.db.exists(target) => {
            call.db.set_entry(target, entry);
            true
        }
        _ => false,
    };
    call.db.index = here;
    call.out.flag(is_done);
    Ok(Then::Done)
}

pub(super) fn move_(call: &mut Call<'_>) -> Answer {
    let (key, here) = (call.arg(1), call.db.index);
    let databases = call.db.dataset.databases.len();
    let there = parse_integer(call.arg(2)).ok_or(Refusal::NotInteger)?;
    let there = usize::try_from(there).ok().filter(|there| *there < databases);
    let there = there.ok_or(Refusal::text("ERR DB index is out of range"))?;
    if there == here {
        return Err(Refusal::text("ERR source and destination objects are the same"));
    }
    if !call.db.exists(key) {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    call.db.index = there;
    let is_taken = call.db.exists(key);
    call.db.index = here;
    if !is_taken && let Some(entry) = call.db.remove(key) {
        call.db.index = there;
        call.db.set_entry(key, entry);
        call.db.index = here;
    }
    call.out.flag(!is_taken);
    Ok(Then::Done)
}

pub(super) fn keys(call: &mut Call<'_>) -> Answer {
    let pattern = call.arg(1);
    let found: Vec<&Blob> = call.db.keys().filter(|key| glob_matches(pattern, key)).collect();
    call.out.array(found.len());
    for key in found {
        call.out.bulk(key);
    }
    Ok(Then::Done)
}

/// How often RANDOMKEY draws again when it meets a key that has expired.
const DRAWS_MAX: usize = 100;

pub(super) fn randomkey(call: &mut Call<'_>) -> Answer {
    for _ in 0..DRAWS_MAX {
        let position = call.random.below(call.db.positions() as u64) as usize;
        if let Some((key, _)) = call.db.at(position) {
            call.out.bulk(key);
            return Ok(Then::Done);
        }
        if let Some(key) = call.db.expired_at(position).cloned() {
            call.db.expire(&key);
        }
    }
    call.out.null();
    Ok(Then::Done)
}

pub(super) fn dbsize(call: &mut Call<'_>) -> Answer {
    let length = call.db.len();
    call.out.count(length);
    Ok(Then::Done)
}

fn clear(call: &mut Call<'_>) {
    if call.request.get(1).is_some_and(|word| is(word, "ASYNC")) {
        call.db.lazily_freed += call.db.len() as u64;
    }
    call.db.clear();
}

fn flush_option(call: &Call<'_>) -> Result<(), Refusal> {
    match call.request.get(1) {
        None => Ok(()),
        Some(word) if call.request.len() == 2 && (is(word, "SYNC") || is(word, "ASYNC")) => Ok(()),
        Some(_) => Err(Refusal::Syntax),
    }
}

pub(super) fn flushdb(call: &mut Call<'_>) -> Answer {
    flush_option(call)?;
    clear(call);
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn flushall(call: &mut Call<'_>) -> Answer {
    flush_option(call)?;
    let here = call.db.index;
    for index in 0..call.db.dataset.databases.len() {
        call.db.index = index;
        clear(call);
    }
    call.db.index = here;
    call.out.ok();
    Ok(Then::Done)
}

pub(super) fn swapdb(call: &mut Call<'_>) -> Answer {
    let databases = call.db.dataset.databases.len();
    let number = |index: usize, name: &str| {
        let number = call.integer(index).map_err(|_| Refusal::text(format!("ERR invalid {name} DB index")))?;
        usize::try_from(number)
            .ok()
            .filter(|number| *number < databases)
            .ok_or(Refusal::text("ERR DB index is out of range"))
    };
    let (one, other) = (number(1, "first")?, number(2, "second")?);
    call.db.dataset.swap_databases(one, other);
    call.db.databases_swapped(one, other);
    call.db.dirty += 1;
    call.out.ok();
    Ok(Then::Done)
}

const NO_IDLE_TIME: &str = "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching \
                            between policies at runtime LRU and LFU data will take some time to adjust.";
const NO_FREQUENCY: &str = "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
                            when switching between policies at runtime LRU and LFU data will take some time to adjust.";

/// OBJECT's subcommands answer with null if there is no key.
fn object(call: &mut Call<'_>, answer: impl Fn(&mut Call<'_>) -> Answer) -> Answer {
    if !call.db.exists(call.arg(2)) {
        call.out.null();
        return Ok(Then::Done);
    }
    answer(call)
}

pub(super) fn object_encoding(call: &mut Call<'_>) -> Answer {
    object(call, |call| {
        let encoding = call.db.peek(call.arg(2)).map_or("none", |entry| entry.value.encoding());
        call.out.bulk(encoding.as_bytes());
        Ok(Then::Done)
    })
}

pub(super) fn object_refcount(call: &mut Call<'_>) -> Answer {
    object(call, |call| {
        // Redis shares the integers below 10,000 among all keys.
        let is_shared = |entry: &crate::state::Entry| matches!(entry.value, crate::state::Value::Int(number) if (0..10_000).contains(&number));
        let is_shared = call.db.shares_integers && call.db.peek(call.arg(2)).is_some_and(is_shared);
        let count = if is_shared { i64::from(i32::MAX) } else { 1 };
        call.out.integer(count);
        Ok(Then::Done)
    })
}

pub(super) fn object_idletime(call: &mut Call<'_>) -> Answer {
    object(call, |call| {
        if call.db.clock.counts {
            return Err(Refusal::text(NO_IDLE_TIME));
        }
        let idle_s = call.db.peek(call.arg(2)).map_or(0, |entry| entry.last_use.idle_s(&call.db.clock));
        call.out.integer(idle_s);
        Ok(Then::Done)
    })
}

pub(super) fn object_freq(call: &mut Call<'_>) -> Answer {
    object(call, |call| {
        if !call.db.clock.counts {
            return Err(Refusal::text(NO_FREQUENCY));
        }
        let frequency = call.db.peek(call.arg(2)).map_or(0, |entry| entry.last_use.frequency(&call.db.clock));
        call.out.integer(i64::from(frequency));
        Ok(Then::Done)
    })
}

/// The answer to HELP: status lines.
pub(super) fn reply_help(call: &mut Call<'_>, lines: &[&str]) {
    call.out.array(lines.len());
    for line in lines {
        call.out.simple(line);
    }
}

pub(super) fn object_help(call: &mut Call<'_>) -> Answer {
    reply_help(
        call,
        &[
            "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
            "HELP",
            "    Print this help.",
        ],
    );
    Ok(Then::Done)
}
