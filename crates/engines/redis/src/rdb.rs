//! Redis's own binary format for values and data sets: what DUMP answers, what `dump.rdb` holds, and what a replica is sent.
//!
//! - `dump_payload` and `restore_payload`: one value with the footer that DUMP and RESTORE use.
//! - `file.rs`: a whole data set, `Writer` and `Reader`; `functions.rs`: libraries of functions alone.
//! - `value.rs`: one value; `packed.rs`: listpacks, ziplists, zipmaps and intsets inside of strings.
//! - `input.rs`: lengths and strings; `lzf.rs` and `crc64.rs` are what their names say.
//!
//! Version 11, of Redis 7.2, is written, and version 10 for replicas. Every version up to it is read, whatever encodings it used. The reader never
//! believes a length: what it allocates is in proportion to the bytes that are there.

mod crc64;
mod file;
mod functions;
mod input;
mod lzf;
mod packed;
mod stream;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

pub(crate) use file::{Item, Options, Reader, Usage, Writer};
pub use functions::rewrite_functions;
pub(crate) use functions::{dump_functions, read_functions};

use crate::state::{Thresholds, Value};
use input::Input;

/// The version of the format that is written, and the newest that DUMP payloads may have.
pub const VERSION: u16 = 11;
/// The version that replicas and targets of MIGRATE are sent: Redis 7.0 reads it as well, and all that it lacks is when a
/// consumer of a stream last got something.
pub(crate) const REPLICA_VERSION: u16 = 10;

/// Why bytes are not what they are said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The version is newer than this program, or the checksum is another.
    VersionOrChecksum,
    /// The file does not begin as it should.
    Signature,
    /// The file's version is newer than this program.
    FutureVersion(u32),
    /// It ends too early.
    Truncated,
    /// Something in it contradicts itself.
    Malformed(&'static str),
    /// A collection without elements, which cannot be; Redis leaves such a key out.
    Empty,
    /// It is data of a module.
    Module,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::VersionOrChecksum => f.write_str("version or checksum are wrong"),
            Damage::Signature => f.write_str("Wrong signature trying to load DB from file"),
            Damage::FutureVersion(version) => write!(f, "Can't handle RDB format version {version}"),
            Damage::Truncated => f.write_str("Unexpected EOF reading RDB file"),
            Damage::Malformed(what) => write!(f, "corrupt: {what}"),
            Damage::Empty => f.write_str("a collection without elements"),
            Damage::Module => f.write_str("contains module data that cannot be loaded"),
        }
    }
}

impl std::error::Error for Damage {}

/// The bytes behind a payload: the version, and a checksum over all that is before it.
const FOOTER: usize = 10;

/// A value as DUMP answers it.
pub(crate) fn dump_payload(value: &Value, compresses: bool) -> Vec<u8> {
    dump_payload_as(VERSION, value, compresses)
}

/// The same in this version of the format.
pub(crate) fn dump_payload_as(version: u16, value: &Value, compresses: bool) -> Vec<u8> {
    let mut payload = Vec::new();
    value::write(&mut payload, value, compresses, version);
    sign(payload, version)
}

/// Adds the footer.
fn sign(mut payload: Vec<u8>, version: u16) -> Vec<u8> {
    payload.extend_from_slice(&version.to_le_bytes());
    payload.extend_from_slice(&crc64::checksum(&payload).to_le_bytes());
    payload
}

/// How many bytes of a file a value takes, its type left out.
pub(crate) fn value_length(value: &Value, compresses: bool) -> usize {
    let mut bytes = Vec::new();
    value::write(&mut bytes, value, compresses, VERSION);
    bytes.len() - 1
}

/// The value of a payload of DUMP whose checksum is not looked at.
pub(crate) fn restore_unchecked(payload: &[u8], thresholds: &Thresholds) -> Result<Value, Damage> {
    value_of(body(payload, false)?, thresholds)
}

/// The value that a payload of DUMP holds.
pub(crate) fn restore_payload(payload: &[u8], thresholds: &Thresholds) -> Result<Value, Damage> {
    value_of(body(payload, true)?, thresholds)
}

fn value_of(body: &[u8], thresholds: &Thresholds) -> Result<Value, Damage> {
    let mut input = Input::new(body);
    let kind = input.byte()?;
    let value = value::read(&mut input, kind, thresholds)?;
    if !input.is_at_end() {
        return Err(Damage::Malformed("bytes are left after the value"));
    }
    Ok(value)
}

/// A payload without its footer, which is checked: its checksum only if that is asked for.
fn body(payload: &[u8], is_checked: bool) -> Result<&[u8], Damage> {
    let Some((front, checksum)) = payload.split_last_chunk::<8>().filter(|_| payload.len() >= FOOTER) else {
        return Err(Damage::VersionOrChecksum);
    };
    let Some((body, version)) = front.split_last_chunk::<2>() else { return Err(Damage::VersionOrChecksum) };
    let is_right = !is_checked || u64::from_le_bytes(*checksum) == crc64::checksum(front);
    if u16::from_le_bytes(*version) > VERSION || !is_right {
        return Err(Damage::VersionOrChecksum);
    }
    Ok(body)
}

/// Reads a value, its type first, and writes it again, as this program would: two encodings of one value become the same.
pub fn canonical(bytes: &[u8]) -> Result<Vec<u8>, Damage> {
    let mut input = Input::new(bytes);
    let kind = input.byte()?;
    let value = value::read(&mut input, kind, &Thresholds::default())?;
    let mut out = Vec::new();
    value::write(&mut out, &value, true, VERSION);
    Ok(out)
}

/// Reads a file and writes it again, as this program would: two encodings of one data set become the same.
pub fn rewrite(file: &[u8]) -> Result<Vec<u8>, Damage> {
    let mut reader = Reader::new(file, Thresholds::default())?;
    let mut writer = Writer::new(Options { compresses: true, has_checksum: true, version: VERSION }, &[]);
    let mut out = Vec::new();
    while let Some(item) = reader.next_item()? {
        match item {
            Item::Fact(name, fact) => writer.fact(&name, &fact),
            Item::Function(code) => writer.function(&code),
            Item::Database(index) => writer.database(index, 0, 0),
            Item::Key(record) => writer.key(&record.key, &record.entry, record.usage),
        }
        out.append(&mut writer.take());
    }
    out.append(&mut writer.finish());
    Ok(out)
}
