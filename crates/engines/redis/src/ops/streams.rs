//! Streams: <https://redis.io/docs/latest/commands/?group=stream>. Reading is in `stream_read.rs`, groups of consumers are in
//! `stream_groups.rs` and `stream_claim.rs`, XINFO is in `stream_info.rs`.

use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Stream, StreamEntry, StreamId, Trim, Value};
use crate::wire::Reply;

const BAD_ID: &str = "ERR Invalid stream ID specified as stream command argument";

pub(super) fn read<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c Stream>, Refusal> {
    match call.db.read(key) {
        None => Ok(None),
        Some(Value::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(Refusal::WrongType),
    }
}

/// The stream at a key, to be changed; None if there is none.
pub(super) fn write<'c>(call: &'c mut Call<'_>, key: &[u8]) -> Result<Option<&'c mut Stream>, Refusal> {
    match call.db.write(key).map(|entry| &mut entry.value) {
        None => Ok(None),
        Some(Value::Stream(stream)) => Ok(Some(stream)),
        Some(_) => Err(Refusal::WrongType),
    }
}

/// A number of an identifier, as `strtoull` reads it.
fn id_number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() || digits.len() > 64 {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// `ms-seq`, or `ms` alone with a number that it is to have then.
pub(super) fn id(text: &[u8], missing_seq: u64) -> Result<StreamId, Refusal> {
    let invalid = || Refusal::text(BAD_ID);
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(dash) => (&text[..dash], Some(&text[dash + 1..])),
        None => (text, None),
    };
    let ms = id_number(ms).ok_or_else(invalid)?;
    let seq = seq.map_or(Some(missing_seq), id_number).ok_or_else(invalid)?;
    Ok(StreamId { ms, seq })
}

/// The same, but `-` and `+` stand for the lowest and the highest.
pub(super) fn id_or_end(text: &[u8], missing_seq: u64) -> Result<StreamId, Refusal> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => id(text, missing_seq),
    }
}

/// The beginning of a range; `(` leaves the identifier itself out.
pub(super) fn range_start(text: &[u8]) -> Result<StreamId, Refusal> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            id(rest, 0)?.next().ok_or(Refusal::text("ERR invalid start ID for the interval"))
        }
        _ => id_or_end(text, 0),
    }
}

/// The end of a range.
pub(super) fn range_end(text: &[u8]) -> Result<StreamId, Refusal> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => {
            id(rest, u64::MAX)?.previous().ok_or(Refusal::text("ERR invalid end ID for the interval"))
        }
        _ => id_or_end(text, u64::MAX),
    }
}

/// An entry: its identifier, and fields and values in turn.
pub(super) fn reply_entry(out: &mut Reply<'_>, entry: &StreamEntry<'_>) {
    out.array(2);
    out.bulk(&entry.id.text());
    out.array(entry.fields * 2);
    let mut buffer = itoa::Buffer::new();
    for (field, value) in entry.pairs() {
        out.bulk(field.bytes(&mut buffer));
        out.bulk(value.bytes(&mut buffer));
    }
}

/// How XADD and XTRIM trim.
#[derive(Clone, Copy)]
struct Trimming {
    trim: Trim,
    is_approximate: bool,
    limit: u64,
}

/// The options of XADD and XTRIM.
#[derive(Default)]
struct Options {
    trimming: Option<Trimming>,
    makes_no_stream: bool,
    /// What XADD's identifier is, and whether its number was given.
    id: Option<(StreamId, bool)>,
    /// The argument at which the options end: XADD's identifier.
    end: usize,
}

/// Reads MAXLEN or MINID with what follows. Returns the index of the last argument of it.
fn trim_option(call: &Call<'_>, index: usize, options: &mut Options) -> Result<usize, Refusal> {
    if options.trimming.is_some() {
        return Err(Refusal::text("ERR syntax error, MAXLEN and MINID options at the same time are not compatible"));
    }
    let sign = call.arg(index + 1);
    let has_sign = call.request.get(index + 2).is_some() && matches!(sign, b"~" | b"=");
    let last = if has_sign { index + 2 } else { index + 1 };
    let trim = if is(call.arg(index), "MAXLEN") {
        let length = u64::try_from(call.integer(last)?);
        Trim::Length(length.map_err(|_| Refusal::text("ERR The MAXLEN argument must be >= 0."))?)
    } else {
        Trim::From(id(call.arg(last), 0)?)
    };
    options.trimming = Some(Trimming { trim, is_approximate: has_sign && sign == b"~", limit: 0 });
    Ok(last)
}

/// `ms-*` leaves the number to the server.
fn new_id(text: &[u8]) -> Result<(StreamId, bool), Refusal> {
    match text.strip_suffix(b"-*") {
        Some(ms) if !ms.contains(&b'-') => Ok((id(ms, 0)?, false)),
        _ => Ok((id(text, 0)?, true)),
    }
}

fn options(call: &Call<'_>, adds: bool) -> Result<Options, Refusal> {
    let (mut options, mut limit, mut index) = (Options::default(), None, 2);
    while let Some(word) = call.request.get(index) {
        let has_next = call.request.get(index + 1).is_some();
        if adds && word == b"*" {
            break;
        } else if has_next && (is(word, "MAXLEN") || is(word, "MINID")) {
            index = trim_option(call, index, &mut options)?;
        } else if has_next && is(word, "LIMIT") {
            let number = u64::try_from(call.integer(index + 1)?);
            limit = Some(number.map_err(|_| Refusal::text("ERR The LIMIT argument must be >= 0."))?);
            index += 1;
        } else if adds && is(word, "NOMKSTREAM") {
            options.makes_no_stream = true;
        } else if adds {
            options.id = Some(new_id(word)?);
            break;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    options.end = index;
    if options.trimming.is_none() && limit.is_some_and(|limit| limit > 0) {
        return Err(Refusal::text("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"));
    }
    if options.trimming.is_none() && !adds {
        return Err(Refusal::text("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && options.trimming.is_none_or(|trimming| !trimming.is_approximate) {
        return Err(Refusal::text("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    if let Some(trimming) = &mut options.trimming
        && trimming.is_approximate
    {
        let usual = (100 * call.db.thresholds.stream_node_entries_max as u64).min(1_000_000);
        trimming.limit = limit.unwrap_or(if usual == 0 { 10_000 } else { usual });
    }
    Ok(options)
}

/// What an approximate trimming came to, as exact arguments: so that it comes to the same elsewhere.
fn exact_trim(stream: &Stream, trimming: Trimming) -> [smallvec::SmallVec<[u8; 48]>; 3] {
    let sign = smallvec::SmallVec::from_slice(b"=");
    match trimming.trim {
        Trim::Length(length) => {
            let length = if trimming.is_approximate { stream.len() } else { length };
            let number = smallvec::SmallVec::from_slice(itoa::Buffer::new().format(length).as_bytes());
            [smallvec::SmallVec::from_slice(b"MAXLEN"), sign, number]
        }
        Trim::From(id) => {
            let id = if trimming.is_approximate { stream.first_id() } else { id };
            [smallvec::SmallVec::from_slice(b"MINID"), sign, id.text()]
        }
    }
}

/// The identifier of a new entry.
fn generate(stream: &Stream, wanted: Option<(StreamId, bool)>, now_ms: i64) -> Result<StreamId, Refusal> {
    let too_small =
        || Refusal::text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    let last = stream.last_id;
    let now = StreamId::new(u64::try_from(now_ms).unwrap_or(0), 0);
    let id = match wanted {
        None if now.ms > last.ms => now,
        None => last.next().ok_or_else(too_small)?,
        Some((id, false)) if id.ms == last.ms => StreamId::new(id.ms, last.seq.checked_add(1).ok_or_else(too_small)?),
        Some((id, _)) => id,
    };
    if id > last { Ok(id) } else { Err(too_small()) }
}

/// XADD key [NOMKSTREAM] [MAXLEN|MINID [=|~] threshold [LIMIT count]] *|id field value..., since 5.0.
pub(super) fn xadd(call: &mut Call<'_>) -> Answer {
    let options = options(call, true)?;
    let (key, request) = (call.arg(1), call.request);
    let items = request.tail(options.end + 1);
    if items.len() < 2 || !items.len().is_multiple_of(2) {
        return Err(Refusal::Arity("xadd".to_owned()));
    }
    if options.id == Some((StreamId::MIN, true)) {
        return Err(Refusal::text("ERR The ID specified in XADD must be greater than 0-0"));
    }
    if options.makes_no_stream && write(call, key)?.is_none() {
        call.out.null();
        return Ok(Then::Done);
    }
    let (now_ms, thresholds, is_followed) = (call.db.now_ms, call.db.thresholds, call.is_followed);
    let Some(Value::Stream(stream)) = call.db.write_or_insert(key, || Value::Stream(Box::default())) else {
        return Err(Refusal::WrongType);
    };
    if stream.last_id == StreamId::MAX {
        return Err(Refusal::text("ERR The stream has exhausted the last possible ID, unable to add more items"));
    }
    let id = generate(stream, options.id, now_ms)?;
    stream.append(id, items.clone(), thresholds);
    let mut exact = None;
    if let Some(trimming) = options.trimming {
        stream.trim(trimming.trim, trimming.is_approximate, trimming.limit);
        let differs = is_followed && (trimming.is_approximate || options.id.is_none());
        exact = differs.then(|| exact_trim(stream, trimming));
    }
    let text = id.text();
    if exact.is_some() || options.id.is_none_or(|(_, is_whole)| !is_whole) {
        let trim = exact.iter().flatten().chain(std::iter::once(&text)).map(|argument| argument.as_slice());
        let items = items.map(|item| -> &[u8] { item });
        call.instead([b"XADD".as_slice(), key].into_iter().chain(trim).chain(items));
    }
    call.db.changed(key);
    call.out.bulk(&text);
    Ok(Then::Done)
}

/// XTRIM key MAXLEN|MINID [=|~] threshold [LIMIT count], since 5.0.
pub(super) fn xtrim(call: &mut Call<'_>) -> Answer {
    let Options { trimming: Some(trimming), .. } = options(call, false)? else { return Err(Refusal::Syntax) };
    let key = call.arg(1);
    let Some(stream) = write(call, key)? else {
        call.out.integer(0);
        return Ok(Then::Done);
    };
    let trimmed = stream.trim(trimming.trim, trimming.is_approximate, trimming.limit);
    if trimmed > 0 {
        let exact = exact_trim(stream, trimming);
        if trimming.is_approximate {
            let trim = exact.iter().map(|argument| argument.as_slice());
            call.instead([b"XTRIM".as_slice(), key].into_iter().chain(trim));
        }
        call.db.changed(key);
    }
    call.out.integer(trimmed.cast_signed());
    Ok(Then::Done)
}

/// XLEN key, since 5.0.
pub(super) fn xlen(call: &mut Call<'_>) -> Answer {
    let length = read(call, call.arg(1))?.map_or(0, Stream::len);
    call.out.integer(length.cast_signed());
    Ok(Then::Done)
}

fn range(call: &mut Call<'_>, is_reversed: bool) -> Answer {
    let (start, end) = if is_reversed { (call.arg(3), call.arg(2)) } else { (call.arg(2), call.arg(3)) };
    let (start, end) = (range_start(start)?, range_end(end)?);
    let (mut count, mut index) = (usize::MAX, 4);
    while let Some(word) = call.request.get(index) {
        if !is(word, "COUNT") || call.request.get(index + 1).is_none() {
            return Err(Refusal::Syntax);
        }
        count = usize::try_from(call.integer(index + 1)?).unwrap_or(0);
        index += 2;
    }
    let key = call.arg(1);
    let Call { db, out, .. } = call;
    let stream = match db.read(key) {
        None => {
            out.array(0);
            return Ok(Then::Done);
        }
        Some(Value::Stream(stream)) => stream,
        Some(_) => return Err(Refusal::WrongType),
    };
    if count == 0 {
        out.null_array();
        return Ok(Then::Done);
    }
    let entries: Vec<StreamEntry<'_>> = if is_reversed {
        stream.range_reversed(start, end).take(count).collect()
    } else {
        stream.range(start, end).take(count).collect()
    };
    out.array(entries.len());
    for entry in &entries {
        reply_entry(out, entry);
    }
    Ok(Then::Done)
}

/// XRANGE key start end [COUNT count], since 5.0.
pub(super) fn xrange(call: &mut Call<'_>) -> Answer {
    range(call, false)
}

/// XREVRANGE key end start [COUNT count], since 5.0.
pub(super) fn xrevrange(call: &mut Call<'_>) -> Answer {
    range(call, true)
}

/// XDEL key id..., since 5.0.
pub(super) fn xdel(call: &mut Call<'_>) -> Answer {
    let (key, request) = (call.arg(1), call.request);
    if read(call, key)?.is_none() {
        call.out.integer(0);
        return Ok(Then::Done);
    }
    let ids = request.tail(2).map(|text| id(text, 0)).collect::<Result<Vec<_>, _>>()?;
    let Some(stream) = write(call, key)? else { return Err(Refusal::WrongType) };
    let deleted = ids.into_iter().filter(|id| stream.delete(*id)).count();
    if deleted > 0 {
        call.db.changed(key);
    }
    call.out.count(deleted);
    Ok(Then::Done)
}

/// XSETID key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id], since 5.0.
pub(super) fn xsetid(call: &mut Call<'_>) -> Answer {
    let last = id(call.arg(2), 0)?;
    let (mut entries_added, mut max_deleted, mut index) = (None, StreamId::MIN, 3);
    while let Some(word) = call.request.get(index) {
        let Some(next) = call.request.get(index + 1) else { return Err(Refusal::Syntax) };
        if is(word, "ENTRIESADDED") {
            let number = u64::try_from(call.integer(index + 1)?);
            entries_added = Some(number.map_err(|_| Refusal::text("ERR entries_added must be positive"))?);
        } else if is(word, "MAXDELETEDID") {
            max_deleted = id(next, 0)?;
            if last < max_deleted {
                return Err(Refusal::text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(Refusal::Syntax);
        }
        index += 2;
    }
    let key = call.arg(1);
    let stream = read(call, key)?.ok_or(Refusal::NoSuchKey)?;
    if last < stream.max_deleted_id {
        return Err(Refusal::text("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id"));
    }
    if stream.len() > 0 && last < stream.last_live_id() {
        return Err(Refusal::text("ERR The ID specified in XSETID is smaller than the target stream top item"));
    }
    if stream.len() > 0 && entries_added.is_some_and(|added| stream.len() > added) {
        return Err(Refusal::text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    if let Some(stream) = write(call, key)? {
        stream.last_id = last;
        stream.entries_added = entries_added.unwrap_or(stream.entries_added);
        if max_deleted != StreamId::MIN {
            stream.max_deleted_id = max_deleted;
        }
    }
    call.db.changed_unwatched(key);
    call.out.ok();
    Ok(Then::Done)
}
