//! HyperLogLogs: <https://redis.io/docs/latest/commands/?group=hyperloglog>. Their format is in `state/hyperloglog.rs`.

use super::strings::bytes_mut;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Value, hyperloglog as hll};

fn corrupted(_: hll::Corrupted) -> Refusal {
    Refusal::text("INVALIDOBJ Corrupted HLL object detected")
}

/// The bytes of a value that has to be a HyperLogLog.
fn check(value: &Value) -> Result<&[u8], Refusal> {
    match value {
        Value::Str { bytes, .. } if hll::is_valid(bytes) => Ok(bytes),
        Value::Str { .. } | Value::Int(_) => {
            Err(Refusal::text("WRONGTYPE Key is not a valid HyperLogLog string value."))
        }
        _ => Err(Refusal::WrongType),
    }
}

/// The HyperLogLog at a key, to be changed; made if there is none. True if it was.
fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<(&'c mut Blob, bool), Refusal> {
    let is_new = match call.db.read(key) {
        Some(value) => check(value).map(|_| false)?,
        None => true,
    };
    let bytes = bytes_mut(call, key)?.ok_or(Refusal::WrongType)?;
    if is_new {
        *bytes = hll::empty();
    }
    Ok((bytes, is_new))
}

/// PFADD key [element]..., since 2.8.9.
pub(super) fn pfadd(call: &mut Call<'_>) -> Answer {
    let (key, request, sparse_max) = (call.arg(1), call.request, call.db.thresholds.hll_sparse_bytes_max);
    let (bytes, mut is_changed) = write(call, key)?;
    for element in request.tail(2) {
        is_changed |= hll::add(bytes, element, sparse_max).map_err(corrupted)?;
    }
    if is_changed {
        hll::invalidate(bytes);
        call.db.changed(key);
    }
    call.out.flag(is_changed);
    Ok(Then::Done)
}

/// The highest of each register over some keys, and whether any of them is dense.
fn union(call: &mut Call<'_>) -> Result<(hll::Registers, bool), Refusal> {
    let (mut registers, mut is_dense) = (hll::no_registers(), false);
    for key in call.request.tail(1) {
        let Some(value) = call.db.read(key) else { continue };
        let bytes = check(value)?;
        is_dense |= !hll::is_sparse(bytes);
        hll::merge_into(&mut registers, bytes).map_err(corrupted)?;
    }
    Ok((registers, is_dense))
}

/// PFCOUNT key..., since 2.8.9.
pub(super) fn pfcount(call: &mut Call<'_>) -> Answer {
    if call.request.len() > 2 {
        let (registers, _) = union(call)?;
        let count = hll::estimate(&registers);
        call.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
        return Ok(Then::Done);
    }
    let key = call.arg(1);
    let (count, is_cached) = match call.db.read(key) {
        None => (0, true),
        Some(value) => {
            let bytes = check(value)?;
            match hll::cached(bytes) {
                Some(count) => (count, true),
                None => (hll::count(bytes).map_err(corrupted)?, false),
            }
        }
    };
    // A replica computes it anew each time: its data is not its own to change.
    if !is_cached
        && call.db.deletes_expired
        && call.db.follower.is_none()
        && let Some(entry) = call.db.write(key)
        && let Value::Str { bytes, .. } = &mut entry.value
    {
        hll::set_cached(bytes, count);
    }
    call.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(Then::Done)
}

/// PFMERGE destination [source]..., since 2.8.9.
pub(super) fn pfmerge(call: &mut Call<'_>) -> Answer {
    let (registers, is_dense) = union(call)?;
    let (key, sparse_max) = (call.arg(1), call.db.thresholds.hll_sparse_bytes_max);
    let (bytes, _) = write(call, key)?;
    if is_dense {
        hll::make_dense(bytes).map_err(corrupted)?;
    }
    for (index, value) in registers.into_iter().enumerate().filter(|(_, value)| *value > 0) {
        hll::raise(bytes, index, value, sparse_max).map_err(corrupted)?;
    }
    hll::invalidate(bytes);
    call.db.changed(key);
    call.out.ok();
    Ok(Then::Done)
}

/// The runs of a sparse HyperLogLog as PFDEBUG DECODE prints them.
fn decoded(bytes: &[u8]) -> String {
    let text = |run: hll::Run| match run {
        hll::Run { value: 0, length, size: 1 } => format!("z:{length}"),
        hll::Run { value: 0, length, .. } => format!("Z:{length}"),
        hll::Run { value, length, .. } => format!("v:{value},{length}"),
    };
    hll::runs(bytes).map(text).collect::<Vec<_>>().join(" ")
}

/// PFDEBUG GETREG|DECODE|ENCODING|TODENSE key, since 2.8.9.
pub(super) fn pfdebug(call: &mut Call<'_>) -> Answer {
    let (what, key) = (call.arg(1), call.arg(2));
    match call.db.read(key) {
        None => return Err(Refusal::text("ERR The specified key does not exist")),
        Some(value) => drop(check(value)?),
    }
    let is_known = ["GETREG", "DECODE", "ENCODING", "TODENSE"].iter().any(|word| is(what, word));
    if is_known && call.request.len() != 3 {
        let what = String::from_utf8_lossy(what);
        return Err(Refusal::text(format!("ERR Wrong number of arguments for the '{what}' subcommand")));
    }
    let (bytes, _) = write(call, key)?;
    let was_sparse = hll::is_sparse(bytes);
    match what {
        _ if is(what, "DECODE") && !was_sparse => return Err(Refusal::text("ERR HLL encoding is not sparse")),
        _ if is(what, "DECODE") => {
            let text = decoded(bytes);
            call.out.bulk(text.as_bytes());
        }
        _ if is(what, "ENCODING") => call.out.simple(if was_sparse { "sparse" } else { "dense" }),
        _ if is(what, "TODENSE") || is(what, "GETREG") => {
            hll::make_dense(bytes).map_err(corrupted)?;
            let mut registers = hll::no_registers();
            hll::merge_into(&mut registers, bytes).map_err(corrupted)?;
            if was_sparse {
                call.db.changed(key);
            }
            if is(what, "TODENSE") {
                call.out.flag(was_sparse);
                return Ok(Then::Done);
            }
            call.out.array(registers.len());
            for register in registers {
                call.out.integer(i64::from(register));
            }
        }
        _ => {
            let what = String::from_utf8_lossy(what);
            return Err(Refusal::text(format!("ERR Unknown PFDEBUG subcommand '{what}'")));
        }
    }
    Ok(Then::Done)
}

/// How many elements PFSELFTEST adds: a hundredth of Redis's number, since nothing else is served meanwhile.
const SELF_TEST_ELEMENTS: u64 = 100_000;

/// PFSELFTEST, since 2.8.9: adds elements to a sparse and to a dense HyperLogLog and compares their estimates with one
/// another and with the truth.
pub(super) fn pfselftest(call: &mut Call<'_>) -> Answer {
    let sparse_max = call.db.thresholds.hll_sparse_bytes_max;
    let (mut sparse, mut dense) = (hll::empty(), hll::empty());
    hll::make_dense(&mut dense).map_err(corrupted)?;
    let seed = call.random.below(u64::MAX);
    let mut checkpoint = 1;
    for number in 1..=SELF_TEST_ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        hll::add(&mut dense, &element, sparse_max).map_err(corrupted)?;
        hll::add(&mut sparse, &element, sparse_max).map_err(corrupted)?;
        if number != checkpoint {
            continue;
        }
        if number < sparse_max as u64 / 2 && !hll::is_sparse(&sparse) {
            return Err(Refusal::text("ERR TESTFAILED sparse encoding not used"));
        }
        let count = hll::count(&dense).map_err(corrupted)?;
        if count != hll::count(&sparse).map_err(corrupted)? {
            return Err(Refusal::text("ERR TESTFAILED dense/sparse disagree"));
        }
        let error_max = if number == 10 { 1 } else { (1.04 / 128.0 * 6.0 * number as f64).ceil() as u64 };
        if count.abs_diff(number) > error_max {
            let error = count.abs_diff(number);
            return Err(Refusal::text(format!("ERR TESTFAILED Too big error. card:{number} abserr:{error}")));
        }
        checkpoint *= 10;
    }
    call.out.ok();
    Ok(Then::Done)
}
