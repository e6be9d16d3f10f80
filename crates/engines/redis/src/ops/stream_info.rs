//! XINFO: what a stream, its groups and their consumers are like: <https://redis.io/docs/latest/commands/xinfo-stream/>.

use super::streams::reply_entry;
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Group, Stream, StreamEntry, StreamId, Value};
use crate::wire::Reply;

/// How much XINFO STREAM FULL shows of everything unless it is told.
const COUNT: usize = 10;

/// The stream at argument 2, and where the answer goes.
fn stream<'c, 'a>(call: &'c mut Call<'a>) -> Result<(&'c Stream, &'c mut Reply<'a>, i64), Refusal> {
    let key = call.arg(2);
    let Call { db, out, .. } = call;
    let now_ms = db.now_ms;
    match db.read(key) {
        None => Err(Refusal::NoSuchKey),
        Some(Value::Stream(stream)) => Ok((stream, out, now_ms)),
        Some(_) => Err(Refusal::WrongType),
    }
}

fn named_id(out: &mut Reply<'_>, name: &str, id: StreamId) {
    out.bulk(name.as_bytes());
    out.bulk(&id.text());
}

fn named(out: &mut Reply<'_>, name: &str, number: i64) {
    out.bulk(name.as_bytes());
    out.integer(number);
}

fn named_or_null(out: &mut Reply<'_>, name: &str, number: Option<i64>) {
    out.bulk(name.as_bytes());
    match number {
        Some(number) => out.integer(number),
        None => out.null(),
    }
}

/// How many nodes a radix tree of these keys of 16 bytes has, with runs of single children in one node, as Redis has it.
fn tree_nodes(keys: &[[u8; 16]], depth: usize) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 1 };
    if keys.len() == 1 {
        return 1 + usize::from(depth < first.len());
    }
    let common = (depth..16).find(|at| first[*at] != last[*at]).unwrap_or(16);
    let children = keys.chunk_by(|one, other| one.get(common) == other.get(common));
    usize::from(common > depth) + 1 + children.map(|children| tree_nodes(children, common + 1)).sum::<usize>()
}

fn tree_key(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// XINFO STREAM key [FULL [COUNT count]], since 5.0.
pub(super) fn stream_info(call: &mut Call<'_>) -> Answer {
    let syntax = Refusal::text(format!(
        "ERR unknown subcommand or wrong number of arguments for '{}'. Try XINFO HELP.",
        String::from_utf8_lossy(call.arg(1))
    ));
    let is_full = match call.request.len() {
        3 => false,
        4 | 6 if is(call.arg(3), "FULL") => true,
        _ => return Err(syntax),
    };
    let mut count = COUNT;
    if call.request.len() == 6 {
        if !is(call.arg(4), "COUNT") {
            return Err(syntax);
        }
        count = usize::try_from(call.integer(5)?).unwrap_or(COUNT);
    }
    if count == 0 {
        count = usize::MAX;
    }
    let (stream, out, _) = stream(call)?;
    out.map(if is_full { 9 } else { 10 });
    named(out, "length", stream.len().cast_signed());
    let keys: Vec<[u8; 16]> = stream.nodes().map(|node| tree_key(node.base)).collect();
    named(out, "radix-tree-keys", keys.len() as i64);
    named(out, "radix-tree-nodes", tree_nodes(&keys, 0) as i64);
    named_id(out, "last-generated-id", stream.last_id);
    named_id(out, "max-deleted-entry-id", stream.max_deleted_id);
    named(out, "entries-added", stream.entries_added.cast_signed());
    named_id(out, "recorded-first-entry-id", stream.first_id());
    if is_full {
        reply_full(out, stream, count);
    } else {
        named(out, "groups", stream.groups().len() as i64);
        reply_end(out, "first-entry", stream.range(StreamId::MIN, StreamId::MAX).next());
        reply_end(out, "last-entry", stream.entry(stream.last_live_id()));
    }
    Ok(Then::Done)
}

fn reply_end(out: &mut Reply<'_>, name: &str, entry: Option<StreamEntry<'_>>) {
    out.bulk(name.as_bytes());
    match entry {
        Some(entry) => reply_entry(out, &entry),
        None => out.null(),
    }
}

fn reply_full(out: &mut Reply<'_>, stream: &Stream, count: usize) {
    out.bulk(b"entries");
    let entries: Vec<StreamEntry<'_>> = stream.range(StreamId::MIN, StreamId::MAX).take(count).collect();
    out.array(entries.len());
    for entry in &entries {
        reply_entry(out, entry);
    }
    out.bulk(b"groups");
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(7);
        out.bulk(b"name");
        out.bulk(name);
        named_id(out, "last-delivered-id", group.last_id);
        named_or_null(out, "entries-read", group.entries_read.map(u64::cast_signed));
        named_or_null(out, "lag", stream.lag(group));
        reply_pending(out, group, count);
        reply_consumers(out, group, count);
    }
}

fn reply_pending(out: &mut Reply<'_>, group: &Group, count: usize) {
    named(out, "pel-count", group.pending().len() as i64);
    out.bulk(b"pending");
    out.array(group.pending().len().min(count));
    for (id, pending) in group.pending().iter().take(count) {
        out.array(4);
        out.bulk(&id.text());
        out.bulk(&pending.consumer);
        out.integer(pending.delivered_at_ms);
        out.integer(pending.deliveries.cast_signed());
    }
}

fn reply_consumers(out: &mut Reply<'_>, group: &Group, count: usize) {
    out.bulk(b"consumers");
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(5);
        out.bulk(b"name");
        out.bulk(name);
        named(out, "seen-time", consumer.seen_at_ms);
        named(out, "active-time", consumer.active_at_ms);
        named(out, "pel-count", consumer.pending.len() as i64);
        out.bulk(b"pending");
        out.array(consumer.pending.len().min(count));
        for id in consumer.pending.iter().take(count) {
            let pending = group.pending().get(id);
            out.array(3);
            out.bulk(&id.text());
            out.integer(pending.map_or(0, |pending| pending.delivered_at_ms));
            out.integer(pending.map_or(0, |pending| pending.deliveries.cast_signed()));
        }
    }
}

/// XINFO GROUPS key, since 5.0.
pub(super) fn groups(call: &mut Call<'_>) -> Answer {
    let (stream, out, _) = stream(call)?;
    out.array(stream.groups().len());
    for (name, group) in stream.groups() {
        out.map(6);
        out.bulk(b"name");
        out.bulk(name);
        named(out, "consumers", group.consumers().len() as i64);
        named(out, "pending", group.pending().len() as i64);
        named_id(out, "last-delivered-id", group.last_id);
        named_or_null(out, "entries-read", group.entries_read.map(u64::cast_signed));
        named_or_null(out, "lag", stream.lag(group));
    }
    Ok(Then::Done)
}

/// XINFO CONSUMERS key group, since 5.0.
pub(super) fn consumers(call: &mut Call<'_>) -> Answer {
    let (key, name) = (call.arg(2), call.arg(3));
    let (stream, out, now_ms) = stream(call)?;
    let group = stream.group(name).ok_or_else(|| super::stream_groups::no_group(key, name))?;
    out.array(group.consumers().len());
    for (name, consumer) in group.consumers() {
        out.map(4);
        out.bulk(b"name");
        out.bulk(name);
        named(out, "pending", consumer.pending.len() as i64);
        // Of a consumer that the append-only file brought back it is not known when it was seen.
        let idle = if consumer.seen_at_ms == 0 { 0 } else { (now_ms - consumer.seen_at_ms).max(0) };
        named(out, "idle", idle);
        named(out, "inactive", if consumer.active_at_ms < 0 { -1 } else { now_ms - consumer.active_at_ms });
    }
    Ok(Then::Done)
}

/// XINFO HELP, since 5.0.
pub(super) fn help(call: &mut Call<'_>) -> Answer {
    super::keys::reply_help(
        call,
        &[
            "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
            "HELP",
            "    Print this help.",
        ],
    );
    Ok(Then::Done)
}
