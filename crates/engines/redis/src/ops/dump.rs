//! DUMP and RESTORE, Redis 2.6: <https://redis.io/docs/latest/commands/dump/>. A value travels in `rdb.rs`'s format.

use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::rdb::{self, Damage};
use crate::state::{Entry, NEVER, parse_integer};

pub(super) fn dump(call: &mut Call<'_>) -> Answer {
    let compresses = call.db.compresses;
    match call.db.read(call.arg(1)).map(|value| rdb::dump_payload(value, compresses)) {
        Some(payload) => call.out.bulk(&payload),
        None => call.out.null(),
    }
    Ok(Then::Done)
}

/// The words behind RESTORE's payload.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
    idle_s: Option<i64>,
    frequency: Option<u8>,
}

fn options(call: &Call<'_>) -> Result<Options, Refusal> {
    let (mut options, mut index) = (Options::default(), 4);
    while let Some(word) = call.request.get(index) {
        let has_value = index + 1 < call.request.len();
        if is(word, "REPLACE") {
            options.replaces = true;
        } else if is(word, "ABSTTL") {
            options.is_absolute = true;
        } else if is(word, "IDLETIME") && has_value && options.frequency.is_none() {
            index += 1;
            let idle = call.integer(index)?;
            let refusal = Refusal::text("ERR Invalid IDLETIME value, must be >= 0");
            options.idle_s = Some(if idle >= 0 { idle } else { return Err(refusal) });
        } else if is(word, "FREQ") && has_value && options.idle_s.is_none() {
            index += 1;
            let refusal = Refusal::text("ERR Invalid FREQ value, must be >= 0 and <= 255");
            options.frequency = Some(u8::try_from(call.integer(index)?).map_err(|_| refusal)?);
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

pub(super) fn restore(call: &mut Call<'_>) -> Answer {
    let options = options(call)?;
    let (key, payload) = (call.arg(1), call.arg(3));
    let is_taken = call.db.exists(key);
    if is_taken && !options.replaces {
        return Err(Refusal::text("BUSYKEY Target key name already exists."));
    }
    let ttl = parse_integer(call.arg(2)).ok_or(Refusal::NotInteger)?;
    if ttl < 0 {
        return Err(Refusal::text("ERR Invalid TTL value, must be >= 0"));
    }
    let restored = match call.db.checks_payloads {
        true => rdb::restore_payload(payload, call.db.thresholds),
        false => rdb::restore_unchecked(payload, call.db.thresholds),
    };
    let value = restored.map_err(|damage| match damage {
        Damage::VersionOrChecksum => Refusal::text("ERR DUMP payload version or checksum are wrong"),
        _ => Refusal::text("ERR Bad data format"),
    })?;
    let deadline = match ttl {
        0 => NEVER,
        _ if options.is_absolute => ttl.min(NEVER - 1),
        _ => ttl.saturating_add(call.db.now_ms).min(NEVER - 1),
    };
    if is_taken {
        call.db.delete(key);
    }
    if deadline <= call.db.now_ms {
        // It would be gone at once: nothing is put in place.
        if is_taken {
            call.instead([b"DEL", key]);
        }
        call.out.ok();
        return Ok(Then::Done);
    }
    call.db.set_entry(key, Entry { expire_at_ms: deadline, ..Entry::new(value) });
    call.db.set_usage(key, options.idle_s, options.frequency);
    if ttl > 0 && !options.is_absolute {
        let at = deadline.to_string();
        call.instead([b"RESTORE", key, at.as_bytes(), payload, b"REPLACE", b"ABSTTL"]);
    }
    call.out.ok();
    Ok(Then::Done)
}
