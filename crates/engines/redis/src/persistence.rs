//! What the append-only file holds: commands as RESP, in records that are each the whole of one turn.
//!
//! A record never ends inside a transaction, so after a crash either all of it is there or nothing. [`dump_entry`] writes
//! a value as the commands that make it; a rewritten file is nothing but those.

use atoll_kernel::Context;

use crate::core::{Cluster, find_command};
use crate::ops::{Call, Effect, Run, restore_libraries};
use crate::state::{Entry, NEVER, Stream, StreamId, Value};
use crate::wire::{Limits, Parser, Reply, encode};

/// How many elements one command of a rewritten file carries.
const ELEMENTS_PER_COMMAND: usize = 64;

/// Appends the commands that make this entry.
pub(crate) fn dump_entry(log: &mut Vec<u8>, key: &[u8], entry: &Entry) {
    match &entry.value {
        Value::Int(number) => command(log, &[b"SET", key, itoa::Buffer::new().format(*number).as_bytes()]),
        Value::Str { bytes, .. } => command(log, &[b"SET", key, bytes]),
        Value::List(list) => elements(log, b"RPUSH", key, list.iter().map(|item| item.to_vec())),
        Value::Set(set) => elements(log, b"SADD", key, set.iter().map(|member| member.to_vec())),
        Value::Hash(hash) => {
            elements(log, b"HSET", key, hash.iter().flat_map(|(field, value)| [field.to_vec(), value.to_vec()]));
        }
        Value::SortedSet(set) => {
            let pairs = set.range(0, set.len());
            let text = |score| crate::wire::format_double(score).into_bytes();
            elements(log, b"ZADD", key, pairs.flat_map(|(member, score)| [text(score), member.to_vec()]));
        }
        Value::Stream(stream) => dump_stream(log, key, stream),
    }
    if entry.expire_at_ms != NEVER {
        command(log, &[b"PEXPIREAT", key, entry.expire_at_ms.to_string().as_bytes()]);
    }
}

/// Entries, counters, groups, consumers, and what is pending for them. An entry that is pending but was deleted is not, as
/// in Redis.
fn dump_stream(log: &mut Vec<u8>, key: &[u8], stream: &Stream) {
    let mut number = itoa::Buffer::new();
    for entry in stream.range(StreamId::MIN, StreamId::MAX) {
        let (mut buffer, mut items) = (itoa::Buffer::new(), Vec::with_capacity(entry.fields * 2));
        for (field, value) in entry.pairs() {
            items.push(field.bytes(&mut buffer).to_vec());
            items.push(value.bytes(&mut buffer).to_vec());
        }
        let id = entry.id.text();
        let head = [b"XADD".as_slice(), key, &id].into_iter();
        let arguments: Vec<&[u8]> = head.chain(items.iter().map(Vec::as_slice)).collect();
        command(log, &arguments);
    }
    if stream.len() == 0 {
        command(log, &[b"XADD", key, b"MAXLEN", b"0", b"0-1", b"x", b"y"]);
    }
    let added = number.format(stream.entries_added).as_bytes();
    let (last, deleted) = (stream.last_id.text(), stream.max_deleted_id.text());
    command(log, &[b"XSETID", key, &last, b"ENTRIESADDED", added, b"MAXDELETEDID", &deleted]);
    for (name, group) in stream.groups() {
        let read = group.entries_read.map_or(-1, u64::cast_signed);
        let (last, read) = (group.last_id.text(), number.format(read).as_bytes());
        command(log, &[b"XGROUP", b"CREATE", key, name, &last, b"ENTRIESREAD", read]);
        for consumer in group.consumers().keys() {
            command(log, &[b"XGROUP", b"CREATECONSUMER", key, name, consumer]);
        }
        for (id, pending) in group.pending() {
            let (id, mut time) = (id.text(), itoa::Buffer::new());
            let time = time.format(pending.delivered_at_ms).as_bytes();
            let count = number.format(pending.deliveries).as_bytes();
            let options = [b"TIME".as_slice(), time, b"RETRYCOUNT", count, b"JUSTID", b"FORCE"];
            let head = [b"XCLAIM".as_slice(), key, name, &pending.consumer, b"0", &id];
            command(log, &[head.as_slice(), options.as_slice()].concat());
        }
    }
}

fn command(log: &mut Vec<u8>, arguments: &[&[u8]]) {
    encode(log, arguments.iter().copied());
}

fn elements(log: &mut Vec<u8>, name: &[u8], key: &[u8], all: impl Iterator<Item = Vec<u8>>) {
    let all: Vec<Vec<u8>> = all.collect();
    for part in all.chunks(ELEMENTS_PER_COMMAND) {
        let arguments: Vec<&[u8]> = [name, key].into_iter().chain(part.iter().map(Vec::as_slice)).collect();
        command(log, &arguments);
    }
}

impl Cluster {
    /// Executes one record of a shard's append-only file again. False if it is not what Atoll writes.
    pub fn restore(&mut self, ctx: &Context<'_>, shard: usize, record: &[u8]) -> bool {
        let Some(owner) = self.datasets.get(shard).map(|dataset| dataset.owner) else { return false };
        let mut parser = Parser::default();
        let mut rest = record;
        let mut database = 0;
        while let Ok(Some(length)) = parser.parse(rest, Limits::default()) {
            let request = parser.request(rest);
            if request.arg(0) == b"SELECT" {
                database =
                    crate::state::parse_integer(request.arg(1)).and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            } else if request.arg(0).eq_ignore_ascii_case(b"FUNCTION") {
                if !restore_libraries(self, owner, request) {
                    return false;
                }
            } else if let Ok(Run::Keys(run)) = find_command(request).map(|command| command.run) {
                let Some((mut db, random)) = self.db(ctx, owner, None) else { return false };
                db.index = database.min(db.dataset.databases.len() - 1);
                // A deadline that has passed meanwhile takes effect when the key is next looked at, not in between.
                (db.now_ms, db.expiry_ms) = (i64::MIN / 2, i64::MIN / 2);
                let mut out = Vec::new();
                let out = Reply::new(&mut out, false);
                let mut call = Call {
                    request,
                    db: &mut db,
                    out,
                    random,
                    may_block: false,
                    in_script: false,
                    may_read_all_keys: true,
                    effect: Effect::AsSent,
                    is_followed: false,
                };
                if run(&mut call).is_err() {
                    return false;
                }
            }
            rest = &rest[length..];
        }
        rest.is_empty()
    }

    /// The whole of a shard as commands, for a rewritten append-only file, in records of about `record_size` bytes.
    pub fn dump(&self, shard: usize, record_size: usize) -> Vec<Vec<u8>> {
        let Some(dataset) = self.datasets.get(shard) else { return Vec::new() };
        let mut records = Vec::new();
        let mut record = Vec::new();
        for library in dataset.libraries.list.values() {
            command(&mut record, &[b"FUNCTION", b"LOAD", &library.code]);
        }
        if !record.is_empty() {
            records.push(std::mem::take(&mut record));
        }
        for (index, database) in dataset.databases.iter().enumerate() {
            for (key, entry) in database.iter() {
                if dataset.databases.len() > 1 && record.is_empty() {
                    command(&mut record, &[b"SELECT", index.to_string().as_bytes()]);
                }
                dump_entry(&mut record, key, entry);
                if record.len() >= record_size {
                    records.push(std::mem::take(&mut record));
                }
            }
            if !record.is_empty() {
                records.push(std::mem::take(&mut record));
            }
        }
        records
    }
}
