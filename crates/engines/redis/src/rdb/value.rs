//! One value: its type's number, and what follows it.

use super::Damage;
use super::input::{Input, write_integer, write_number, write_string};
use super::packed::{self, ListpackWriter};
use super::stream::{self, Edition};
use crate::state::{Blob, Hash, List, Set, SortedSet, Thresholds, Value, parse_float};
use crate::wire::format_double;

/// The numbers of types. A type has several where its encoding has changed.
mod kind {
    pub(super) const STRING: u8 = 0;
    pub(super) const LIST: u8 = 1;
    pub(super) const SET: u8 = 2;
    pub(super) const ZSET: u8 = 3;
    pub(super) const HASH: u8 = 4;
    pub(super) const ZSET_2: u8 = 5;
    pub(super) const MODULE: u8 = 6;
    pub(super) const MODULE_2: u8 = 7;
    pub(super) const HASH_ZIPMAP: u8 = 9;
    pub(super) const LIST_ZIPLIST: u8 = 10;
    pub(super) const SET_INTSET: u8 = 11;
    pub(super) const ZSET_ZIPLIST: u8 = 12;
    pub(super) const HASH_ZIPLIST: u8 = 13;
    pub(super) const LIST_QUICKLIST: u8 = 14;
    pub(super) const STREAM: u8 = 15;
    pub(super) const HASH_LISTPACK: u8 = 16;
    pub(super) const ZSET_LISTPACK: u8 = 17;
    pub(super) const LIST_QUICKLIST_2: u8 = 18;
    pub(super) const STREAM_2: u8 = 19;
    pub(super) const SET_LISTPACK: u8 = 20;
    pub(super) const STREAM_3: u8 = 21;
}

/// The version that brought sets in listpacks, and the third edition of streams.
const SINCE_7_2: u16 = 11;
/// The nodes of a quicklist: one plain string, or a listpack.
const NODE_PLAIN: u64 = 1;
const NODE_PACKED: u64 = 2;
/// How large a node's listpack grows.
const NODE_SIZE_MAX: usize = 8 << 10;
/// A listpack could not hold a string of this length.
const PLAIN_FROM: usize = 1 << 30;

const DUPLICATE: Damage = Damage::Malformed("an element twice");

/// Reads a value of this type. Collections get the encoding that the thresholds say, whatever they had.
pub(super) fn read(input: &mut Input<'_>, kind: u8, thresholds: &Thresholds) -> Result<Value, Damage> {
    let value = match kind {
        kind::STRING => Value::string(&input.string()?),
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
            Value::List(Box::new(read_list(input, kind, thresholds)?))
        }
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => Value::Set(Box::new(read_set(input, kind, thresholds)?)),
        kind::HASH | kind::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => {
            Value::Hash(Box::new(read_hash(input, kind, thresholds)?))
        }
        kind::ZSET | kind::ZSET_2 | kind::ZSET_ZIPLIST | kind::ZSET_LISTPACK => {
            Value::SortedSet(Box::new(read_sorted_set(input, kind, thresholds)?))
        }
        kind::STREAM => Value::Stream(Box::new(stream::read(input, Edition::First)?)),
        kind::STREAM_2 => Value::Stream(Box::new(stream::read(input, Edition::Second)?)),
        kind::STREAM_3 => Value::Stream(Box::new(stream::read(input, Edition::Third)?)),
        kind::MODULE | kind::MODULE_2 => return Err(Damage::Module),
        _ => return Err(Damage::Malformed("a value's type")),
    };
    if value.is_empty_collection() {
        return Err(Damage::Empty);
    }
    Ok(value)
}

fn listpack(input: &mut Input<'_>) -> Result<Vec<Blob>, Damage> {
    let bytes = input.string()?;
    Ok(packed::listpack(&bytes)?.iter().map(packed::Element::to_blob).collect())
}

fn read_list(input: &mut Input<'_>, kind: u8, thresholds: &Thresholds) -> Result<List, Damage> {
    let mut list = List::default();
    let mut push = |item: &[u8]| list.push(item, false, thresholds);
    if kind == kind::LIST_ZIPLIST {
        packed::ziplist(&input.string()?)?.iter().for_each(|item| push(item));
        return Ok(list);
    }
    for _ in 0..input.count()? {
        match kind {
            kind::LIST => push(&input.string()?),
            kind::LIST_QUICKLIST => packed::ziplist(&input.string()?)?.iter().for_each(|item| push(item)),
            _ => match input.number()? {
                NODE_PLAIN => push(&input.string()?),
                NODE_PACKED => listpack(input)?.iter().for_each(|item| push(item)),
                _ => return Err(Damage::Malformed("a quicklist's node")),
            },
        }
    }
    Ok(list)
}

fn read_set(input: &mut Input<'_>, kind: u8, thresholds: &Thresholds) -> Result<Set, Damage> {
    let mut set = Set::default();
    let mut add = |member: &[u8]| if set.add(member, thresholds) { Ok(()) } else { Err(DUPLICATE) };
    match kind {
        kind::SET => {
            for _ in 0..input.count()? {
                add(&input.string()?)?;
            }
        }
        kind::SET_INTSET => {
            for number in packed::intset(&input.string()?)? {
                add(itoa::Buffer::new().format(number).as_bytes())?;
            }
        }
        _ => listpack(input)?.iter().try_for_each(|member| add(member))?,
    }
    Ok(set)
}

fn read_hash(input: &mut Input<'_>, kind: u8, thresholds: &Thresholds) -> Result<Hash, Damage> {
    let mut hash = Hash::default();
    let mut set = |field: &[u8], value: &[u8]| if hash.set(field, value, thresholds) { Ok(()) } else { Err(DUPLICATE) };
    let elements = match kind {
        kind::HASH => {
            for _ in 0..input.count()? {
                let (field, value) = (input.string()?, input.string()?);
                set(&field, &value)?;
            }
            return Ok(hash);
        }
        kind::HASH_ZIPMAP => packed::zipmap(&input.string()?)?,
        kind::HASH_ZIPLIST => packed::ziplist(&input.string()?)?,
        _ => listpack(input)?,
    };
    let (pairs, []) = elements.as_chunks::<2>() else { return Err(Damage::Malformed("a field without a value")) };
    pairs.iter().try_for_each(|[field, value]| set(field, value))?;
    Ok(hash)
}

fn read_sorted_set(input: &mut Input<'_>, kind: u8, thresholds: &Thresholds) -> Result<SortedSet, Damage> {
    const BAD_SCORE: Damage = Damage::Malformed("a score");
    let mut set = SortedSet::default();
    let mut insert = |member: &[u8], score: f64| {
        if score.is_nan() {
            return Err(BAD_SCORE);
        }
        if set.insert(member, score, thresholds).is_none() { Ok(()) } else { Err(DUPLICATE) }
    };
    if matches!(kind, kind::ZSET | kind::ZSET_2) {
        for _ in 0..input.count()? {
            let member = input.string()?;
            let score = if kind == kind::ZSET { input.old_double()? } else { f64::from_le_bytes(input.array()?) };
            insert(&member, score)?;
        }
        return Ok(set);
    }
    let elements = if kind == kind::ZSET_ZIPLIST { packed::ziplist(&input.string()?)? } else { listpack(input)? };
    let (pairs, []) = elements.as_chunks::<2>() else { return Err(Damage::Malformed("a member without a score")) };
    for [member, score] in pairs {
        insert(member, parse_float(score).ok_or(BAD_SCORE)?)?;
    }
    Ok(set)
}

/// Appends a value: its type's number, then itself.
pub(super) fn write(out: &mut Vec<u8>, value: &Value, compresses: bool, version: u16) {
    let is_present = version >= SINCE_7_2;
    match value {
        Value::Int(number) => {
            out.push(kind::STRING);
            write_integer(out, *number);
        }
        Value::Str { bytes, .. } => {
            out.push(kind::STRING);
            write_string(out, bytes, compresses);
        }
        Value::List(list) => write_list(out, list, compresses),
        Value::Set(set) => write_set(out, set, compresses, is_present),
        Value::Hash(hash) => write_hash(out, hash, compresses),
        Value::SortedSet(set) => write_sorted_set(out, set, compresses),
        Value::Stream(stream) => {
            out.push(if is_present { kind::STREAM_3 } else { kind::STREAM_2 });
            stream::write(out, stream, compresses, if is_present { Edition::Third } else { Edition::Second });
        }
    }
}

/// A list is a number of nodes, each a listpack of some kilobytes or one string too long for that.
fn write_list(out: &mut Vec<u8>, list: &List, compresses: bool) {
    out.push(kind::LIST_QUICKLIST_2);
    let mut nodes: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut packed = ListpackWriter::new();
    for item in list.iter() {
        let is_plain = item.len() >= PLAIN_FROM;
        if !packed.is_empty() && (is_plain || packed.size() + item.len() > NODE_SIZE_MAX) {
            nodes.push((NODE_PACKED, std::mem::replace(&mut packed, ListpackWriter::new()).finish()));
        }
        if is_plain {
            nodes.push((NODE_PLAIN, item.to_vec()));
        } else {
            packed.push(item);
        }
    }
    if !packed.is_empty() {
        nodes.push((NODE_PACKED, packed.finish()));
    }
    write_number(out, nodes.len() as u64);
    for (container, bytes) in nodes {
        write_number(out, container);
        write_string(out, &bytes, compresses);
    }
}

fn write_set(out: &mut Vec<u8>, set: &Set, compresses: bool, is_present: bool) {
    match set {
        Set::Intset(numbers) => {
            out.push(kind::SET_INTSET);
            write_string(out, &packed::write_intset(numbers), compresses);
        }
        Set::Listpack(members) if !is_present => {
            out.push(kind::SET);
            write_number(out, members.len() as u64);
            members.iter().for_each(|member| write_string(out, member, compresses));
        }
        Set::Listpack(members) => {
            out.push(kind::SET_LISTPACK);
            write_listpack(out, members.iter().map(Blob::as_slice), compresses);
        }
        Set::Table(members) => {
            out.push(kind::SET);
            write_number(out, members.len() as u64);
            members.iter().for_each(|(member, ())| write_string(out, member, compresses));
        }
    }
}

fn write_hash(out: &mut Vec<u8>, hash: &Hash, compresses: bool) {
    let elements = hash.iter().flat_map(|(field, value)| [field.as_slice(), value.as_slice()]);
    if hash.is_compact() {
        out.push(kind::HASH_LISTPACK);
        write_listpack(out, elements, compresses);
    } else {
        out.push(kind::HASH);
        write_number(out, hash.len() as u64);
        elements.for_each(|element| write_string(out, element, compresses));
    }
}

fn write_sorted_set(out: &mut Vec<u8>, set: &SortedSet, compresses: bool) {
    let members = set.range(0, set.len());
    if set.is_compact() {
        out.push(kind::ZSET_LISTPACK);
        let mut packed = ListpackWriter::new();
        for (member, score) in members {
            packed.push(member);
            packed.push(format_double(score).as_bytes());
        }
        write_string(out, &packed.finish(), compresses);
        return;
    }
    out.push(kind::ZSET_2);
    write_number(out, set.len() as u64);
    // The highest first, as Redis does: then each insertion on loading is at the front of the list.
    for (member, score) in members.rev() {
        write_string(out, member, compresses);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

fn write_listpack<'a>(out: &mut Vec<u8>, elements: impl Iterator<Item = &'a [u8]>, compresses: bool) {
    let mut packed = ListpackWriter::new();
    elements.for_each(|element| packed.push(element));
    write_string(out, &packed.finish(), compresses);
}
