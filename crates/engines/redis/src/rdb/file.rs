//! A whole data set: a header, facts about the writer, the keys of each database, and a checksum.

use super::input::{Input, write_number, write_string};
use super::{Damage, crc64, value};
use crate::state::{Entry, NEVER, Thresholds};

const SIGNATURE: &[u8; 5] = b"REDIS";
/// The newest version whose files are read: Redis 7.4 writes it, and what is new in it are types that are refused by name.
const READ_VERSION_MAX: u32 = 12;
/// Files have a checksum from this version on.
const CHECKSUM_SINCE: u32 = 5;

/// What can stand where a value's type would.
pub(super) mod opcode {
    pub(super) const SLOT_INFO: u8 = 244;
    pub(in crate::rdb) const FUNCTION: u8 = 245;
    pub(in crate::rdb) const FUNCTION_OF_PREVIEW: u8 = 246;
    pub(super) const MODULE: u8 = 247;
    pub(super) const IDLE: u8 = 248;
    pub(super) const FREQUENCY: u8 = 249;
    pub(super) const AUXILIARY: u8 = 250;
    pub(super) const RESIZE: u8 = 251;
    pub(super) const EXPIRE_MS: u8 = 252;
    pub(super) const EXPIRE: u8 = 253;
    pub(super) const DATABASE: u8 = 254;
    pub(super) const END: u8 = 255;
}

/// How a data set is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// `rdbcompression`.
    pub(crate) compresses: bool,
    /// `rdbchecksum`.
    pub(crate) has_checksum: bool,
    /// The version of the format.
    pub(crate) version: u16,
}

/// Writes a data set, piece by piece.
#[derive(Debug)]
pub(crate) struct Writer {
    options: Options,
    out: Vec<u8>,
    /// Over what was taken so far.
    checksum: u64,
}

impl Writer {
    /// Begins a file. `facts` are names and values that a reader may know.
    pub(crate) fn new(options: Options, facts: &[(&str, String)]) -> Writer {
        let out = format!("REDIS{:04}", options.version).into_bytes();
        let mut writer = Writer { options, out, checksum: 0 };
        facts.iter().for_each(|(name, fact)| writer.fact(name.as_bytes(), fact.as_bytes()));
        writer
    }

    /// Adds a fact about the writer.
    pub(crate) fn fact(&mut self, name: &[u8], fact: &[u8]) {
        self.out.push(opcode::AUXILIARY);
        write_string(&mut self.out, name, false);
        write_string(&mut self.out, fact, false);
    }

    /// Adds the source of a library of functions.
    pub(crate) fn function(&mut self, code: &[u8]) {
        self.out.push(opcode::FUNCTION);
        write_string(&mut self.out, code, self.options.compresses);
    }

    /// The keys that follow are of this database, which has about so many of them, and so many with a deadline.
    pub(crate) fn database(&mut self, index: u64, keys: usize, expiring: usize) {
        self.out.push(opcode::DATABASE);
        write_number(&mut self.out, index);
        self.out.push(opcode::RESIZE);
        write_number(&mut self.out, keys as u64);
        write_number(&mut self.out, expiring as u64);
    }

    /// Adds a key.
    pub(crate) fn key(&mut self, key: &[u8], entry: &Entry, usage: Usage) {
        if entry.expire_at_ms != NEVER {
            self.out.push(opcode::EXPIRE_MS);
            self.out.extend_from_slice(&entry.expire_at_ms.to_le_bytes());
        }
        match usage {
            Usage::Unknown => {}
            Usage::Idle(seconds) => {
                self.out.push(opcode::IDLE);
                write_number(&mut self.out, seconds);
            }
            Usage::Frequency(frequency) => self.out.extend_from_slice(&[opcode::FREQUENCY, frequency]),
        }
        // The type stands before the key, and the key before the value.
        let start = self.out.len();
        value::write(&mut self.out, &entry.value, self.options.compresses, self.options.version);
        let end = self.out.len();
        write_string(&mut self.out, key, self.options.compresses);
        let name = self.out.len() - end;
        if let Some(both) = self.out.get_mut(start + 1..) {
            both.rotate_right(name);
        }
    }

    /// How many bytes are to be taken.
    pub(crate) fn pending(&self) -> usize {
        self.out.len()
    }

    /// Takes what was written since the last time.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.checksum = crc64::update(self.checksum, &self.out);
        std::mem::take(&mut self.out)
    }

    /// Ends the file. Returns what was written since the last time.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.out.push(opcode::END);
        let mut bytes = self.take();
        let checksum = if self.options.has_checksum { self.checksum } else { 0 };
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// How much a key was used, which a file says if eviction is by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usage {
    Unknown,
    /// Not for so many seconds.
    Idle(u64),
    /// The counter of the LFU policies.
    Frequency(u8),
}

/// A key and all that a file says of it.
#[derive(Debug)]
pub(crate) struct KeyRecord {
    pub(crate) key: Vec<u8>,
    pub(crate) entry: Entry,
    pub(crate) usage: Usage,
}

/// What a file consists of.
#[derive(Debug)]
pub(crate) enum Item {
    /// A fact about the writer.
    Fact(Vec<u8>, Vec<u8>),
    /// The source of a library of functions.
    Function(Vec<u8>),
    /// The keys that follow are of this database.
    Database(u64),
    Key(Box<KeyRecord>),
}

/// Reads a data set.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    input: Input<'a>,
    version: u32,
    thresholds: Thresholds,
    is_done: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], thresholds: Thresholds) -> Result<Reader<'a>, Damage> {
        let mut input = Input::new(bytes);
        if &input.array::<5>()? != SIGNATURE {
            return Err(Damage::Signature);
        }
        let digits = input.array::<4>()?;
        let version = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse::<u32>().ok());
        match version.ok_or(Damage::Signature)? {
            version @ 1..=READ_VERSION_MAX => Ok(Reader { bytes, input, version, thresholds, is_done: false }),
            version => Err(Damage::FutureVersion(version)),
        }
    }

    /// What comes next; None at the end, where the checksum is checked.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item>, Damage> {
        let (mut expire_at_ms, mut usage) = (NEVER, Usage::Unknown);
        if self.is_done {
            return Ok(None);
        }
        loop {
            let code = self.input.byte()?;
            match code {
                opcode::SLOT_INFO => {
                    for _ in 0..3 {
                        self.input.number()?;
                    }
                }
                opcode::FUNCTION => return Ok(Some(Item::Function(self.input.string()?.into_owned()))),
                opcode::FUNCTION_OF_PREVIEW => return Err(Damage::Malformed("a function of a release candidate")),
                opcode::MODULE => self.skip_module()?,
                opcode::IDLE => usage = Usage::Idle(self.input.number()?),
                opcode::FREQUENCY => usage = Usage::Frequency(self.input.byte()?),
                opcode::AUXILIARY => {
                    let (name, fact) = (self.input.string()?, self.input.string()?);
                    return Ok(Some(Item::Fact(name.into_owned(), fact.into_owned())));
                }
                opcode::RESIZE => {
                    self.input.number()?;
                    self.input.number()?;
                }
                opcode::EXPIRE_MS => expire_at_ms = i64::from_le_bytes(self.input.array()?),
                opcode::EXPIRE => {
                    expire_at_ms = i64::from(i32::from_le_bytes(self.input.array()?)) * 1000;
                }
                opcode::DATABASE => return Ok(Some(Item::Database(self.input.number()?))),
                opcode::END => return self.end(),
                kind => {
                    let key = self.input.string()?.into_owned();
                    let value = match value::read(&mut self.input, kind, &self.thresholds) {
                        Err(Damage::Empty) => {
                            (expire_at_ms, usage) = (NEVER, Usage::Unknown);
                            continue;
                        }
                        value => value?,
                    };
                    let entry = Entry { expire_at_ms, ..Entry::new(value) };
                    let record = KeyRecord { key, entry, usage };
                    return Ok(Some(Item::Key(Box::new(record))));
                }
            }
        }
    }

    fn end(&mut self) -> Result<Option<Item>, Damage> {
        self.is_done = true;
        if self.version < CHECKSUM_SINCE {
            return Ok(None);
        }
        let end = self.input.position();
        let checksum = u64::from_le_bytes(self.input.array()?);
        let is_right = checksum == 0 || checksum == crc64::checksum(&self.bytes[..end]);
        if is_right { Ok(None) } else { Err(Damage::VersionOrChecksum) }
    }

    /// What a module wrote besides its keys: numbers and strings, each with its kind, up to a kind of 0.
    fn skip_module(&mut self) -> Result<(), Damage> {
        for _ in 0..3 {
            self.input.number()?;
        }
        loop {
            match self.input.number()? {
                0 => return Ok(()),
                1 | 2 => drop(self.input.number()?),
                3 => drop(self.input.array::<4>()?),
                4 => drop(self.input.array::<8>()?),
                5 => drop(self.input.string()?),
                _ => return Err(Damage::Malformed("a module's data")),
            }
        }
    }
}
