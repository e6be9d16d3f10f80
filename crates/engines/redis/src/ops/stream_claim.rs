//! XACK, XPENDING, XCLAIM and XAUTOCLAIM: what was delivered to consumers and not yet acknowledged.

use super::streams::{id, range_end, range_start, read, reply_entry, write};
use super::{Answer, Call, Effect, Then, is};
use crate::error::Refusal;
use crate::state::{Group, StreamId, Value, parse_integer};

/// How many pending entries XAUTOCLAIM looks at for each one that it may claim.
const ATTEMPTS_PER_CLAIM: usize = 10;

fn no_group(key: &[u8], group: &[u8]) -> Refusal {
    Refusal::text(format!(
        "NOGROUP No such key '{}' or consumer group '{}'",
        String::from_utf8_lossy(key),
        String::from_utf8_lossy(group)
    ))
}

/// An entry that now belongs to a consumer, for the append-only file.
pub(super) struct Claim {
    pub(super) id: StreamId,
    pub(super) delivered_at_ms: i64,
    pub(super) deliveries: u64,
    pub(super) last_id: StreamId,
}

impl Claim {
    /// Passes it on as an XCLAIM that comes to the same whenever it is executed.
    pub(super) fn pass_on(&self, call: &mut Call<'_>, key: &[u8], group: &[u8], consumer: &[u8]) {
        let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
        call.instead([
            b"XCLAIM".as_slice(),
            key,
            group,
            consumer,
            b"0",
            &self.id.text(),
            b"TIME",
            time.format(self.delivered_at_ms).as_bytes(),
            b"RETRYCOUNT",
            count.format(self.deliveries).as_bytes(),
            b"FORCE",
            b"JUSTID",
            b"LASTID",
            &self.last_id.text(),
        ]);
    }
}

/// XACK key group id..., since 5.0.
pub(super) fn xack(call: &mut Call<'_>) -> Answer {
    let (key, name, request) = (call.arg(1), call.arg(2), call.request);
    if read(call, key)?.is_none_or(|stream| stream.group(name).is_none()) {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    let ids = request.tail(3).map(|text| id(text, 0)).collect::<Result<Vec<_>, _>>()?;
    let Some(group) = write(call, key)?.and_then(|stream| stream.group_mut(name)) else { return Ok(Then::Done) };
    let acknowledged = ids.into_iter().filter(|id| group.acknowledge(*id)).count();
    if acknowledged > 0 {
        call.db.changed_unwatched(key);
    }
    call.out.count(acknowledged);
    Ok(Then::Done)
}

/// What XPENDING with a range asks for.
struct PendingRange<'r> {
    start: StreamId,
    end: StreamId,
    count: usize,
    idle_min_ms: i64,
    consumer: Option<&'r [u8]>,
}

fn pending_range<'r>(call: &Call<'r>) -> Result<Option<PendingRange<'r>>, Refusal> {
    let length = call.request.len();
    if length == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&length) {
        return Err(Refusal::Syntax);
    }
    let (mut first, mut idle_min_ms) = (3, 0);
    if is(call.arg(3), "IDLE") {
        idle_min_ms = call.integer(4)?;
        if length < 8 {
            return Err(Refusal::Syntax);
        }
        first = 5;
    }
    let count = usize::try_from(call.integer(first + 2)?).unwrap_or(0);
    let (start, end) = (range_start(call.arg(first))?, range_end(call.arg(first + 1))?);
    Ok(Some(PendingRange { start, end, count, idle_min_ms, consumer: call.request.get(first + 3) }))
}

/// XPENDING key group [[IDLE min-idle-time] start end count [consumer]], since 5.0.
pub(super) fn xpending(call: &mut Call<'_>) -> Answer {
    let range = pending_range(call)?;
    let (key, name, now_ms) = (call.arg(1), call.arg(2), call.db.now_ms);
    let Call { db, out, .. } = call;
    let stream = match db.read(key) {
        None => return Err(no_group(key, name)),
        Some(Value::Stream(stream)) => stream,
        Some(_) => return Err(Refusal::WrongType),
    };
    let group = stream.group(name).ok_or_else(|| no_group(key, name))?;
    let Some(range) = range else {
        reply_summary(out, group);
        return Ok(Then::Done);
    };
    let mut ids: Vec<StreamId> = Vec::new();
    if range.start <= range.end {
        let is_idle = |id: &StreamId| {
            let at = group.pending().get(id).map_or(0, |pending| pending.delivered_at_ms);
            range.idle_min_ms == 0 || now_ms - at >= range.idle_min_ms
        };
        let between = range.start..=range.end;
        ids = match range.consumer.map(|name| group.consumers().get(name)) {
            None => group.pending().range(between).map(|(id, _)| *id).filter(is_idle).take(range.count).collect(),
            Some(Some(consumer)) => {
                consumer.pending.range(between).copied().filter(is_idle).take(range.count).collect()
            }
            Some(None) => Vec::new(),
        };
    }
    out.array(ids.len());
    for id in ids {
        let Some(pending) = group.pending().get(&id) else { continue };
        out.array(4);
        out.bulk(&id.text());
        out.bulk(&pending.consumer);
        out.integer((now_ms - pending.delivered_at_ms).max(0));
        out.integer(pending.deliveries.cast_signed());
    }
    Ok(Then::Done)
}

fn reply_summary(out: &mut crate::wire::Reply<'_>, group: &Group) {
    out.array(4);
    out.count(group.pending().len());
    let (Some((first, _)), Some((last, _))) = (group.pending().first_key_value(), group.pending().last_key_value())
    else {
        out.null();
        out.null();
        out.null_array();
        return;
    };
    out.bulk(&first.text());
    out.bulk(&last.text());
    let busy = || group.consumers().iter().filter(|(_, consumer)| !consumer.pending.is_empty());
    out.array(busy().count());
    for (name, consumer) in busy() {
        out.array(2);
        out.bulk(name);
        out.bulk_integer(consumer.pending.len() as i64);
    }
}

/// The options of XCLAIM.
struct ClaimOptions {
    ids: Vec<StreamId>,
    idle_min_ms: i64,
    delivered_at_ms: i64,
    deliveries: Option<u64>,
    forces: bool,
    just_ids: bool,
    last_id: StreamId,
}

fn claim_options(call: &Call<'_>) -> Result<ClaimOptions, Refusal> {
    let number = |index: usize, what: &str| {
        let invalid = || Refusal::text(format!("ERR Invalid {what} for XCLAIM"));
        parse_integer(call.arg(index)).ok_or_else(invalid)
    };
    let idle_min_ms = number(4, "min-idle-time argument")?.max(0);
    let ids: Vec<StreamId> = call.request.tail(5).map_while(|text| id(text, 0).ok()).collect();
    let now_ms = call.db.now_ms;
    let (mut index, mut delivered) = (5 + ids.len(), None);
    let mut it = ClaimOptions {
        ids,
        idle_min_ms,
        delivered_at_ms: now_ms,
        deliveries: None,
        forces: false,
        just_ids: false,
        last_id: StreamId::MIN,
    };
    while let Some(word) = call.request.get(index) {
        let next = call.request.get(index + 1);
        let takes_one = ["IDLE", "TIME", "RETRYCOUNT", "LASTID"].iter().any(|option| is(word, option));
        match (word, next) {
            _ if is(word, "FORCE") => it.forces = true,
            _ if is(word, "JUSTID") => it.just_ids = true,
            (_, Some(_)) if is(word, "IDLE") => {
                delivered = Some(now_ms.wrapping_sub(number(index + 1, "IDLE option argument")?));
            }
            (_, Some(_)) if is(word, "TIME") => delivered = Some(number(index + 1, "TIME option argument")?),
            (_, Some(_)) if is(word, "RETRYCOUNT") => {
                it.deliveries = u64::try_from(number(index + 1, "RETRYCOUNT option argument")?).ok();
            }
            (_, Some(next)) if is(word, "LASTID") => it.last_id = id(next, 0)?,
            _ => {
                let word = String::from_utf8_lossy(word);
                return Err(Refusal::text(format!("ERR Unrecognized XCLAIM option '{word}'")));
            }
        }
        index += if takes_one { 2 } else { 1 };
    }
    // A time to come would make it idle for ever. While the append-only file is read there is no present time.
    let is_sane = |at: &i64| *at >= 0 && (*at <= now_ms || now_ms < 0);
    it.delivered_at_ms = delivered.filter(is_sane).unwrap_or(now_ms);
    Ok(it)
}

/// What became of one entry that was to be claimed.
enum Claimed {
    /// It belongs to the consumer now.
    Yes(Claim),
    /// It is no longer in the stream, so that it is not pending any more.
    Gone(Claim, crate::state::ConsumerName),
    No,
}

/// XCLAIM key group consumer min-idle-time id... [IDLE ms] [TIME ms] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID id],
/// since 5.0.
pub(super) fn xclaim(call: &mut Call<'_>) -> Answer {
    let (key, name, consumer, now_ms) = (call.arg(1), call.arg(2), call.arg(3), call.db.now_ms);
    if read(call, key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_group(key, name));
    }
    let it = claim_options(call)?;
    call.effect = Effect::Instead(Vec::new());
    let seen_at_ms = if now_ms < 0 { it.delivered_at_ms } else { now_ms };
    let (mut passes_last_id, mut is_new) = (false, false);
    if let Some(group) = write(call, key)?.and_then(|stream| stream.group_mut(name)) {
        passes_last_id = it.last_id > group.last_id;
        group.last_id = group.last_id.max(it.last_id);
        is_new = greet(group, consumer, seen_at_ms);
    }
    if is_new {
        call.db.consumer_created(key);
    }
    let mut claimed = Vec::new();
    for id in it.ids.iter().copied() {
        let outcome = claim(call, key, &it, id)?;
        passes_last_id &= matches!(outcome, Claimed::No);
        settle(call, key, outcome, &mut claimed, seen_at_ms);
    }
    if passes_last_id {
        pass_on_group(call, key, name);
    }
    reply_claimed(call, key, &claimed, it.just_ids);
    Ok(Then::Done)
}

/// The consumer is seen. True if it is made, because it was never seen before.
fn greet(group: &mut Group, consumer: &[u8], seen_at_ms: i64) -> bool {
    let is_new = group.add_consumer(consumer, seen_at_ms);
    if let Some(consumer) = group.consumer_mut(consumer) {
        consumer.seen_at_ms = seen_at_ms;
    }
    is_new
}

/// Claims one entry for the consumer that argument 3 names.
fn claim(call: &mut Call<'_>, key: &[u8], it: &ClaimOptions, id: StreamId) -> Result<Claimed, Refusal> {
    let (name, consumer, now_ms) = (call.arg(2), call.arg(3), call.db.now_ms);
    let Some(stream) = write(call, key)? else { return Ok(Claimed::No) };
    let exists = stream.entry(id).is_some();
    let Some(group) = stream.group_mut(name) else { return Ok(Claimed::No) };
    let last_id = group.last_id;
    let before = group.pending().get(&id).cloned();
    if !exists {
        let Some(before) = before else { return Ok(Claimed::No) };
        group.acknowledge(id);
        let (delivered_at_ms, deliveries) = (before.delivered_at_ms, before.deliveries);
        return Ok(Claimed::Gone(Claim { id, delivered_at_ms, deliveries, last_id }, before.consumer));
    }
    let deliveries = match &before {
        None if !it.forces => return Ok(Claimed::No),
        Some(before) if it.idle_min_ms > 0 && now_ms - before.delivered_at_ms < it.idle_min_ms => {
            return Ok(Claimed::No);
        }
        Some(before) => before.deliveries,
        // Redis makes it as if it had been delivered once already.
        None => 1,
    };
    let deliveries = it.deliveries.unwrap_or(if it.just_ids { deliveries } else { deliveries.saturating_add(1) });
    group.assign(id, consumer, it.delivered_at_ms, deliveries);
    Ok(Claimed::Yes(Claim { id, delivered_at_ms: it.delivered_at_ms, deliveries, last_id }))
}

/// Passes on what became of an entry.
fn settle(call: &mut Call<'_>, key: &[u8], outcome: Claimed, claimed: &mut Vec<StreamId>, seen_at_ms: i64) {
    let (name, consumer) = (call.arg(2), call.arg(3));
    match outcome {
        Claimed::No => return,
        Claimed::Gone(claim, owner) => claim.pass_on(call, key, name, &owner),
        Claimed::Yes(claim) => {
            claim.pass_on(call, key, name, consumer);
            claimed.push(claim.id);
            if let Ok(Some(stream)) = write(call, key)
                && let Some(consumer) = stream.group_mut(name).and_then(|group| group.consumer_mut(consumer))
            {
                consumer.active_at_ms = seen_at_ms;
            }
        }
    }
    call.db.changed_unwatched(key);
}

/// Passes on how far a group has read.
fn pass_on_group(call: &mut Call<'_>, key: &[u8], name: &[u8]) {
    let Ok(Some(stream)) = read(call, key) else { return };
    let Some(group) = stream.group(name) else { return };
    let (last, read) = (group.last_id.text(), group.entries_read.map_or(-1, u64::cast_signed));
    let read = itoa::Buffer::new().format(read).to_owned();
    call.instead([b"XGROUP".as_slice(), b"SETID", key, name, &last, b"ENTRIESREAD", read.as_bytes()]);
    call.db.changed_unwatched(key);
}

fn reply_claimed(call: &mut Call<'_>, key: &[u8], ids: &[StreamId], just_ids: bool) {
    let Call { db, out, .. } = call;
    out.array(ids.len());
    let stream = match db.peek(key).map(|entry| &entry.value) {
        Some(Value::Stream(stream)) => Some(stream),
        _ => None,
    };
    for id in ids {
        match stream.and_then(|stream| stream.entry(*id)).filter(|_| !just_ids) {
            Some(entry) => reply_entry(out, &entry),
            None => out.bulk(&id.text()),
        }
    }
}

/// XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID], since 6.2.
pub(super) fn xautoclaim(call: &mut Call<'_>) -> Answer {
    let (key, name, consumer, now_ms) = (call.arg(1), call.arg(2), call.arg(3), call.db.now_ms);
    let invalid = Refusal::text("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    let idle_min_ms = parse_integer(call.arg(4)).ok_or(invalid)?.max(0);
    let start = range_start(call.arg(5))?;
    let (mut count, mut just_ids, mut index) = (100, false, 6);
    while let Some(word) = call.request.get(index) {
        if is(word, "COUNT") && call.request.get(index + 1).is_some() {
            let most = usize::MAX >> 5;
            let number = parse_integer(call.arg(index + 1)).and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| (1..=most).contains(number));
            count = number.ok_or(Refusal::text("ERR COUNT must be > 0"))?;
            index += 1;
        } else if is(word, "JUSTID") {
            just_ids = true;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    if read(call, key)?.is_none_or(|stream| stream.group(name).is_none()) {
        return Err(no_group(key, name));
    }
    call.effect = Effect::Instead(Vec::new());
    let (mut candidates, mut is_new): (Vec<StreamId>, bool) = (Vec::new(), false);
    if let Some(group) = write(call, key)?.and_then(|stream| stream.group_mut(name)) {
        is_new = greet(group, consumer, now_ms);
        let attempts = count.saturating_mul(ATTEMPTS_PER_CLAIM).saturating_add(1);
        candidates = group.pending().range(start..).map(|(id, _)| *id).take(attempts).collect();
    }
    if is_new {
        call.db.consumer_created(key);
    }
    let it = ClaimOptions {
        ids: Vec::new(),
        idle_min_ms,
        delivered_at_ms: now_ms,
        deliveries: None,
        forces: false,
        just_ids,
        last_id: StreamId::MIN,
    };
    let (mut claimed, mut gone, mut looked_at) = (Vec::new(), Vec::new(), 0);
    let attempts = count.saturating_mul(ATTEMPTS_PER_CLAIM);
    for id in candidates.iter().copied().take(attempts) {
        if claimed.len() + gone.len() >= count {
            break;
        }
        looked_at += 1;
        let outcome = claim(call, key, &it, id)?;
        if matches!(outcome, Claimed::Gone(..)) {
            gone.push(id);
        }
        settle(call, key, outcome, &mut claimed, now_ms);
    }
    let next = candidates.get(looked_at).copied().unwrap_or(StreamId::MIN);
    call.out.array(3);
    call.out.bulk(&next.text());
    reply_claimed(call, key, &claimed, just_ids);
    call.out.array(gone.len());
    for id in gone {
        call.out.bulk(&id.text());
    }
    Ok(Then::Done)
}
