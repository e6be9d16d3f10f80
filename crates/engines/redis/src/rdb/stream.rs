//! A stream: its listpacks as they are, its counters, its groups with what is pending, and their consumers.

use std::collections::BTreeMap;

use super::Damage;
use super::input::{Input, write_number, write_string};
use crate::state::{Group, Stream, StreamId};

/// How the format has grown.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
pub(super) enum Edition {
    /// Redis 5.0.
    First,
    /// Redis 7.0: the counters of what was ever added and read.
    Second,
    /// Redis 7.2: when a consumer last got something.
    Third,
}

fn id(input: &mut Input<'_>) -> Result<StreamId, Damage> {
    Ok(StreamId::new(input.number()?, input.number()?))
}

fn raw_id(bytes: [u8; 16]) -> StreamId {
    let number = u128::from_be_bytes(bytes);
    StreamId::new((number >> 64) as u64, number as u64)
}

fn time(input: &mut Input<'_>) -> Result<i64, Damage> {
    Ok(i64::from_le_bytes(input.array()?))
}

/// Reads a stream.
pub(super) fn read(input: &mut Input<'_>, edition: Edition) -> Result<Stream, Damage> {
    let mut stream = Stream::default();
    for _ in 0..input.number()? {
        let key = input.string()?;
        let key = <[u8; 16]>::try_from(key.as_ref()).map_err(|_| Damage::Malformed("a stream's node without key"))?;
        let listpack = input.string()?;
        if !stream.push_node(raw_id(key), &listpack) {
            return Err(Damage::Malformed("a stream's node"));
        }
    }
    if input.number()? != stream.len() {
        return Err(Damage::Malformed("a stream's length"));
    }
    stream.last_id = id(input)?;
    stream.entries_added = stream.len();
    if edition >= Edition::Second {
        // The first identifier follows from the nodes.
        id(input)?;
        stream.max_deleted_id = id(input)?;
        stream.entries_added = input.number()?;
    }
    if stream.last_id < stream.last_live_id() || stream.entries_added < stream.len() {
        return Err(Damage::Malformed("a stream's counters"));
    }
    for _ in 0..input.number()? {
        let name = input.string()?;
        let group = read_group(input, edition, &stream)?;
        if !stream.add_group(&name, group) {
            return Err(Damage::Malformed("a group twice"));
        }
    }
    Ok(stream)
}

fn read_group(input: &mut Input<'_>, edition: Edition, stream: &Stream) -> Result<Group, Damage> {
    let last_id = id(input)?;
    let entries_read = if edition >= Edition::Second {
        Some(input.number()?).filter(|read| *read != u64::MAX)
    } else {
        stream.distance_from_first(last_id)
    };
    let mut group = Group::new(last_id, entries_read);
    let mut pending: BTreeMap<StreamId, (i64, u64)> = BTreeMap::new();
    for _ in 0..input.number()? {
        let id = raw_id(input.array()?);
        if pending.insert(id, (time(input)?, input.number()?)).is_some() {
            return Err(Damage::Malformed("an entry pending twice"));
        }
    }
    for _ in 0..input.number()? {
        let name = input.string()?;
        let seen_at_ms = time(input)?;
        let active_at_ms = if edition >= Edition::Third { time(input)? } else { seen_at_ms };
        if !group.add_consumer(&name, seen_at_ms) {
            return Err(Damage::Malformed("a consumer twice"));
        }
        for _ in 0..input.number()? {
            let id = raw_id(input.array()?);
            let (delivered_at_ms, deliveries) =
                pending.remove(&id).ok_or(Damage::Malformed("an entry pending for a consumer alone"))?;
            group.assign(id, &name, delivered_at_ms, deliveries);
        }
        if let Some(consumer) = group.consumer_mut(&name) {
            consumer.active_at_ms = active_at_ms;
        }
    }
    if pending.is_empty() { Ok(group) } else { Err(Damage::Malformed("an entry pending for nobody")) }
}

fn write_id(out: &mut Vec<u8>, id: StreamId) {
    write_number(out, id.ms);
    write_number(out, id.seq);
}

fn raw(id: StreamId) -> [u8; 16] {
    (u128::from(id.ms) << 64 | u128::from(id.seq)).to_be_bytes()
}

/// Appends a stream, in the second edition or the third.
pub(super) fn write(out: &mut Vec<u8>, stream: &Stream, compresses: bool, edition: Edition) {
    write_number(out, stream.nodes().len() as u64);
    for node in stream.nodes() {
        write_string(out, &raw(node.base), false);
        write_string(out, &node.to_listpack(), compresses);
    }
    write_number(out, stream.len());
    write_id(out, stream.last_id);
    write_id(out, stream.first_id());
    write_id(out, stream.max_deleted_id);
    write_number(out, stream.entries_added);
    write_number(out, stream.groups().len() as u64);
    for (name, group) in stream.groups() {
        write_string(out, name, compresses);
        write_id(out, group.last_id);
        write_number(out, group.entries_read.unwrap_or(u64::MAX));
        write_number(out, group.pending().len() as u64);
        for (id, pending) in group.pending() {
            out.extend_from_slice(&raw(*id));
            out.extend_from_slice(&pending.delivered_at_ms.to_le_bytes());
            write_number(out, pending.deliveries);
        }
        write_number(out, group.consumers().len() as u64);
        for (name, consumer) in group.consumers() {
            write_string(out, name, compresses);
            out.extend_from_slice(&consumer.seen_at_ms.to_le_bytes());
            if edition >= Edition::Third {
                out.extend_from_slice(&consumer.active_at_ms.to_le_bytes());
            }
            write_number(out, consumer.pending.len() as u64);
            consumer.pending.iter().for_each(|id| out.extend_from_slice(&raw(*id)));
        }
    }
}
