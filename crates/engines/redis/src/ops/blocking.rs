//! Commands that wait for a key. They are executed again, as they are, when one of their keys changes.

use super::lists::{mpop, mpop_arguments, read, side, take, transfer};
use super::{Answer, Block, Call, Then, sorted_sets};
use crate::error::Refusal;
use crate::state::{parse_float, parse_integer};

/// A timeout in seconds with fractions, in milliseconds; 0 is for ever.
pub(super) fn timeout_ms(argument: &[u8]) -> Result<u64, Refusal> {
    let seconds = match parse_integer(argument) {
        Some(whole) => whole as f64,
        None => parse_float(argument).ok_or(Refusal::BadTimeout)?,
    };
    if seconds < 0.0 {
        return Err(Refusal::NegativeTimeout);
    }
    let ms = (seconds * 1000.0).ceil();
    if ms > i64::MAX as f64 { Err(Refusal::text("ERR timeout is out of range")) } else { Ok(ms as u64) }
}

/// Waits for these keys, or gives up at once where waiting is not allowed.
pub(super) fn wait(call: &mut Call<'_>, keys: &[&[u8]], timeout_ms: u64) -> Answer {
    if !call.may_block {
        call.out.null_array();
        return Ok(Then::Done);
    }
    let keys = keys.iter().map(|key| key.to_vec()).collect();
    Ok(Then::Block(Box::new(Block { keys, timeout_ms, again: None })))
}

fn pop(call: &mut Call<'_>, at_left: bool) -> Answer {
    let last = call.request.len() - 1;
    let timeout = timeout_ms(call.arg(last))?;
    let keys: Vec<&[u8]> = call.request.tail(1).take(last - 1).collect();
    for key in &keys {
        if read(call, key)?.is_none() {
            continue;
        }
        let item = take(call, key, at_left, 1)?.pop().unwrap_or_default();
        call.instead([if at_left { b"LPOP".as_slice() } else { b"RPOP" }, key]);
        call.out.array(2);
        call.out.bulk(key);
        call.out.bulk(&item);
        return Ok(Then::Done);
    }
    wait(call, &keys, timeout)
}

pub(super) fn blpop(call: &mut Call<'_>) -> Answer {
    pop(call, true)
}

pub(super) fn brpop(call: &mut Call<'_>) -> Answer {
    pop(call, false)
}

fn move_or_wait(call: &mut Call<'_>, from_left: bool, to_left: bool, timeout: u64) -> Answer {
    match transfer(call, call.arg(1), call.arg(2), from_left, to_left)? {
        Some(item) => call.out.bulk(&item),
        None if !call.may_block => call.out.null(),
        None => return wait(call, &[call.request.arg(1)], timeout),
    }
    Ok(Then::Done)
}

pub(super) fn blmove(call: &mut Call<'_>) -> Answer {
    let (from_left, to_left) = (side(call.arg(3))?, side(call.arg(4))?);
    let timeout = timeout_ms(call.arg(5))?;
    move_or_wait(call, from_left, to_left, timeout)
}

pub(super) fn brpoplpush(call: &mut Call<'_>) -> Answer {
    let timeout = timeout_ms(call.arg(3))?;
    move_or_wait(call, false, true, timeout)
}

pub(super) fn blmpop(call: &mut Call<'_>) -> Answer {
    let timeout = timeout_ms(call.arg(1))?;
    let (keys, from_left, count) = mpop_arguments(call, 2)?;
    if mpop(call, &keys, from_left, count)? { Ok(Then::Done) } else { wait(call, &keys, timeout) }
}

fn zpop(call: &mut Call<'_>, lowest: bool) -> Answer {
    let last = call.request.len() - 1;
    let timeout = timeout_ms(call.arg(last))?;
    let keys: Vec<&[u8]> = call.request.tail(1).take(last - 1).collect();
    for key in &keys {
        let Some((member, score)) = sorted_sets::take(call, key, lowest, 1)?.pop() else { continue };
        call.instead([if lowest { b"ZPOPMIN".as_slice() } else { b"ZPOPMAX" }, key]);
        call.out.array(3);
        call.out.bulk(key);
        call.out.bulk(&member);
        call.out.double(score);
        return Ok(Then::Done);
    }
    wait(call, &keys, timeout)
}

pub(super) fn bzpopmin(call: &mut Call<'_>) -> Answer {
    zpop(call, true)
}

pub(super) fn bzpopmax(call: &mut Call<'_>) -> Answer {
    zpop(call, false)
}

/// BZMPOP timeout numkeys key... MIN|MAX [COUNT count], since 7.0.
pub(super) fn bzmpop(call: &mut Call<'_>) -> Answer {
    let timeout = timeout_ms(call.arg(1))?;
    let (keys, lowest, count) = sorted_sets::mpop_arguments(call, 2)?;
    if sorted_sets::mpop(call, &keys, lowest, count)? { Ok(Then::Done) } else { wait(call, &keys, timeout) }
}
