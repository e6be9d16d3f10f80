//! XREAD and XREADGROUP: <https://redis.io/docs/latest/commands/xreadgroup/>.

use super::streams::{id, read, reply_entry, write};
use super::{Answer, Block, Call, Effect, Then, is};
use crate::error::Refusal;
use crate::state::{Stream, StreamEntry, StreamId, Value, parse_integer};
use crate::wire::OwnedRequest;

const GROUP_ONLY: &str = "option is only supported by XREADGROUP. You called XREAD instead.";

/// What is read of each stream.
#[derive(Clone, Copy, PartialEq)]
enum From {
    /// Entries after this one; for a group: what is pending for the consumer after it.
    After(StreamId),
    /// What the group has not delivered to anybody.
    New,
}

/// A request to read.
struct Reading<'r> {
    /// In milliseconds; 0: for ever.
    block: Option<u64>,
    /// 0: all.
    count: usize,
    first_key: usize,
    streams: usize,
    group: Option<(&'r [u8], &'r [u8])>,
    noack: bool,
}

fn timeout(argument: &[u8]) -> Result<u64, Refusal> {
    let number = parse_integer(argument).ok_or(Refusal::text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(number).map_err(|_| Refusal::NegativeTimeout)
}

fn reading<'r>(call: &Call<'r>, for_group: bool) -> Result<Reading<'r>, Refusal> {
    let mut it = Reading { block: None, count: 0, first_key: 0, streams: 0, group: None, noack: false };
    let mut index = 1;
    while let Some(word) = call.request.get(index) {
        let next = call.request.get(index + 1);
        if is(word, "BLOCK")
            && let Some(next) = next
        {
            it.block = Some(timeout(next)?);
            index += 1;
        } else if is(word, "COUNT") && next.is_some() {
            it.count = usize::try_from(call.integer(index + 1)?).unwrap_or(0);
            index += 1;
        } else if is(word, "STREAMS") && next.is_some() {
            it.first_key = index + 1;
            it.streams = (call.request.len() - it.first_key) / 2;
            break;
        } else if is(word, "GROUP") && call.request.get(index + 2).is_some() {
            if !for_group {
                return Err(Refusal::text(format!("ERR The GROUP {GROUP_ONLY}")));
            }
            it.group = Some((call.arg(index + 1), call.arg(index + 2)));
            index += 2;
        } else if is(word, "NOACK") {
            if !for_group {
                return Err(Refusal::text(format!("ERR The NOACK {GROUP_ONLY}")));
            }
            it.noack = true;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    if it.first_key == 0 {
        return Err(Refusal::Syntax);
    }
    if !(call.request.len() - it.first_key).is_multiple_of(2) {
        let (name, symbol) = if for_group { ("xreadgroup", '>') } else { ("xread", '$') };
        return Err(Refusal::text(format!(
            "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
        )));
    }
    if for_group && it.group.is_none() {
        return Err(Refusal::text("ERR Missing GROUP option for XREADGROUP"));
    }
    Ok(it)
}

impl<'r> Reading<'r> {
    /// The key of a stream, and where its identifier stands.
    fn key(&self, call: &Call<'r>, number: usize) -> (&'r [u8], usize) {
        (call.arg(self.first_key + number), self.first_key + self.streams + number)
    }

    /// Checks every key and finds where to read from; `$` becomes the last identifier.
    fn starts(&self, call: &mut Call<'r>) -> Result<Vec<From>, Refusal> {
        let mut starts = Vec::with_capacity(self.streams);
        for number in 0..self.streams {
            let (key, at) = self.key(call, number);
            let argument = call.arg(at);
            let stream = read(call, key)?;
            if let Some((group, _)) = self.group
                && stream.is_none_or(|stream| stream.group(group).is_none())
            {
                return Err(Refusal::text(format!(
                    "NOGROUP No such key '{}' or consumer group '{}' in XREADGROUP with GROUP option",
                    String::from_utf8_lossy(key),
                    String::from_utf8_lossy(group)
                )));
            }
            starts.push(match argument {
                b"$" if self.group.is_some() => {
                    return Err(Refusal::text(
                        "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
                         consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just \
                         return an empty result set.",
                    ));
                }
                b"$" => From::After(stream.map_or(StreamId::MIN, |stream| stream.last_id)),
                b">" if self.group.is_none() => {
                    return Err(Refusal::text(
                        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> \
                         option.",
                    ));
                }
                b">" => From::New,
                text => From::After(id(text, 0)?),
            });
        }
        Ok(starts)
    }

    fn count_max(&self) -> usize {
        if self.count == 0 { usize::MAX } else { self.count }
    }

    /// Waits, if that was asked for; `$` is replaced by what it stood for, since the stream goes on meanwhile.
    fn wait(&self, call: &mut Call<'r>, starts: &[From]) -> Answer {
        let Some(timeout_ms) = self.block.filter(|_| call.may_block) else {
            call.out.null_array();
            return Ok(Then::Done);
        };
        let mut again = OwnedRequest::default();
        for (index, argument) in call.request.tail(0).enumerate() {
            let number = index.checked_sub(self.first_key + self.streams);
            match number.and_then(|number| starts.get(number)) {
                Some(From::After(id)) if argument == b"$" => again.push(&id.text()),
                _ => again.push(argument),
            }
        }
        let keys = (0..self.streams).map(|number| self.key(call, number).0.to_vec()).collect();
        Ok(Then::Block(Box::new(Block { keys, timeout_ms, again: Some(again) })))
    }
}

/// The head of what one stream answers with.
fn reply_key(call: &mut Call<'_>, key: &[u8]) {
    if !call.out.is_resp3() {
        call.out.array(2);
    }
    call.out.bulk(key);
}

fn reply_head(call: &mut Call<'_>, streams: usize) {
    if call.out.is_resp3() {
        call.out.map(streams);
    } else {
        call.out.array(streams);
    }
}

/// XREAD [COUNT count] [BLOCK milliseconds] STREAMS key... id..., since 5.0.
pub(super) fn xread(call: &mut Call<'_>) -> Answer {
    let it = reading(call, false)?;
    let starts = it.starts(call)?;
    let mut ready: Vec<(&[u8], StreamId)> = Vec::new();
    for (number, start) in starts.iter().enumerate() {
        let (key, From::After(start)) = (it.key(call, number).0, *start) else { continue };
        if read(call, key)?.is_some_and(|stream| stream.len() > 0 && stream.last_live_id() > start) {
            ready.extend(start.next().map(|start| (key, start)));
        }
    }
    if ready.is_empty() {
        return it.wait(call, &starts);
    }
    reply_head(call, ready.len());
    for (key, start) in ready {
        reply_key(call, key);
        let Call { db, out, .. } = call;
        let Some(Value::Stream(stream)) = db.read(key) else { continue };
        let entries: Vec<StreamEntry<'_>> = stream.range(start, StreamId::MAX).take(it.count_max()).collect();
        out.array(entries.len());
        for entry in &entries {
            reply_entry(out, entry);
        }
    }
    Ok(Then::Done)
}

/// XREADGROUP GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key... id..., since 5.0.
///
/// It is passed on as what it does: an XCLAIM for each entry that it delivered, and an XGROUP SETID.
pub(super) fn xreadgroup(call: &mut Call<'_>) -> Answer {
    let it = reading(call, true)?;
    call.effect = Effect::Instead(Vec::new());
    let starts = it.starts(call)?;
    let Some((group, consumer)) = it.group else { return Err(Refusal::Syntax) };
    let mut served = Vec::new();
    for (number, start) in starts.iter().enumerate() {
        let key = it.key(call, number).0;
        meet(call, key, group, consumer, it.noack)?;
        let has_new = |stream: &Stream| {
            stream.group(group).is_some_and(|group| stream.len() > 0 && stream.last_live_id() > group.last_id)
        };
        if *start != From::New || read(call, key)?.is_some_and(has_new) {
            served.push((key, *start));
        }
    }
    if served.is_empty() {
        return it.wait(call, &starts);
    }
    reply_head(call, served.len());
    for (key, start) in served {
        reply_key(call, key);
        match start {
            From::New => deliver(call, key, &it)?,
            From::After(id) => deliver_again(call, key, &it, id)?,
        }
    }
    Ok(Then::Done)
}

/// The consumer is seen; it is made when it is seen first.
fn meet(call: &mut Call<'_>, key: &[u8], group: &[u8], consumer: &[u8], noack: bool) -> Result<(), Refusal> {
    let now_ms = call.db.now_ms;
    let Some(known) = write(call, key)?.and_then(|stream| stream.group_mut(group)) else { return Ok(()) };
    let is_new = known.add_consumer(consumer, now_ms);
    if let Some(consumer) = known.consumer_mut(consumer) {
        consumer.seen_at_ms = now_ms;
    }
    if is_new {
        call.db.consumer_created(key);
    }
    if is_new && noack {
        call.instead([b"XGROUP".as_slice(), b"CREATECONSUMER", key, group, consumer]);
    }
    Ok(())
}

/// Entries that nobody in the group has had.
fn deliver(call: &mut Call<'_>, key: &[u8], it: &Reading<'_>) -> Result<(), Refusal> {
    let Some((group_name, consumer)) = it.group else { return Ok(()) };
    let Call { db, out, .. } = call;
    let now_ms = db.now_ms;
    let Some(Value::Stream(stream)) = db.write(key).map(|entry| &mut entry.value) else { return Ok(()) };
    let Some(group) = stream.group(group_name) else { return Ok(()) };
    let (mut last_id, mut entries_read) = (group.last_id, group.entries_read);
    let start = last_id.next().unwrap_or(StreamId::MAX);
    let entries: Vec<StreamEntry<'_>> = stream.range(start, StreamId::MAX).take(it.count_max()).collect();
    out.array(entries.len());
    for entry in &entries {
        entries_read = stream.entries_read_at(entries_read, entry.id);
        last_id = entry.id;
        reply_entry(out, entry);
    }
    let ids: Vec<StreamId> = entries.iter().map(|entry| entry.id).collect();
    if let Some(group) = stream.group_mut(group_name) {
        (group.last_id, group.entries_read) = (last_id, entries_read);
        if !it.noack {
            ids.iter().for_each(|id| group.assign(*id, consumer, now_ms, 1));
            if let Some(consumer) = group.consumer_mut(consumer) {
                consumer.active_at_ms = now_ms;
            }
        }
    }
    call.db.changed_unwatched(key);
    if !it.noack {
        for id in ids {
            let claim = super::stream_claim::Claim { id, delivered_at_ms: now_ms, deliveries: 1, last_id };
            claim.pass_on(call, key, group_name, consumer);
        }
    }
    let entries_read = entries_read.map_or(-1, u64::cast_signed);
    let entries_read = itoa::Buffer::new().format(entries_read).to_owned();
    let last = last_id.text();
    call.instead([b"XGROUP".as_slice(), b"SETID", key, group_name, &last, b"ENTRIESREAD", entries_read.as_bytes()]);
    Ok(())
}

/// What is pending for the consumer. An entry that was deleted meanwhile is shown without fields.
fn deliver_again(call: &mut Call<'_>, key: &[u8], it: &Reading<'_>, after: StreamId) -> Result<(), Refusal> {
    let Some((group_name, consumer)) = it.group else { return Ok(()) };
    let Call { db, out, .. } = call;
    let now_ms = db.now_ms;
    let Some(Value::Stream(stream)) = db.write(key).map(|entry| &mut entry.value) else { return Ok(()) };
    let Some(known) = stream.group(group_name).and_then(|group| group.consumers().get(consumer)) else { return Ok(()) };
    let start = after.next().unwrap_or(StreamId::MAX);
    let ids: Vec<StreamId> = known.pending.range(start..).copied().take(it.count_max()).collect();
    out.array(ids.len());
    let mut shown = Vec::new();
    for id in &ids {
        match stream.entry(*id) {
            Some(entry) => {
                reply_entry(out, &entry);
                shown.push(*id);
            }
            None => {
                out.array(2);
                out.bulk(&id.text());
                out.null_array();
            }
        }
    }
    if let Some(group) = stream.group_mut(group_name) {
        shown.into_iter().for_each(|id| group.deliver_again(id, now_ms));
    }
    call.db.changed_unwatched(key);
    Ok(())
}
