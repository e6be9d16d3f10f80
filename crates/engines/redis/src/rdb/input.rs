//! Lengths, numbers and strings: the format's smallest parts, read and written.

use std::borrow::Cow;

use super::{Damage, lzf};
use crate::state::parse_integer;

/// Strings up to this length are not worth compressing.
const COMPRESSED_FROM: usize = 21;

/// Bytes that are being read.
#[derive(Clone, Debug)]
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
}

/// What stands where a length is expected.
enum Length {
    Plain(u64),
    /// The string that follows has this special encoding.
    Special(u8),
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let end = self.position.checked_add(length).ok_or(Damage::Truncated)?;
        let taken = self.bytes.get(self.position..end).ok_or(Damage::Truncated)?;
        self.position = end;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let taken =
            self.bytes.get(self.position..).and_then(|rest| rest.first_chunk::<N>()).ok_or(Damage::Truncated)?;
        self.position += N;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Damage> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn any_length(&mut self) -> Result<Length, Damage> {
        let first = self.byte()?;
        Ok(match first >> 6 {
            0 => Length::Plain(u64::from(first)),
            1 => Length::Plain(u64::from(first & 0x3f) << 8 | u64::from(self.byte()?)),
            2 if first == 0x80 => Length::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            2 if first == 0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            2 => return Err(Damage::Malformed("a length")),
            _ => Length::Special(first & 0x3f),
        })
    }

    /// A number that is never negative.
    pub(super) fn number(&mut self) -> Result<u64, Damage> {
        match self.any_length()? {
            Length::Plain(number) => Ok(number),
            Length::Special(_) => Err(Damage::Malformed("a length")),
        }
    }

    /// A number of things that follow, each of which takes a byte at least.
    pub(super) fn count(&mut self) -> Result<usize, Damage> {
        usize::try_from(self.number()?).map_err(|_| Damage::Truncated)
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, [u8]>, Damage> {
        let integer = |number: i64| Ok(Cow::Owned(number.to_string().into_bytes()));
        match self.any_length()? {
            Length::Plain(length) => {
                let length = usize::try_from(length).map_err(|_| Damage::Truncated)?;
                self.take(length).map(Cow::Borrowed)
            }
            Length::Special(0) => integer(i64::from(i8::from_le_bytes(self.array()?))),
            Length::Special(1) => integer(i64::from(i16::from_le_bytes(self.array()?))),
            Length::Special(2) => integer(i64::from(i32::from_le_bytes(self.array()?))),
            Length::Special(3) => {
                let (compressed, length) = (self.count()?, self.count()?);
                lzf::decompress(self.take(compressed)?, length).map(Cow::Owned)
            }
            Length::Special(_) => Err(Damage::Malformed("a string's encoding")),
        }
    }

    /// A score as text, of files before version 8.
    pub(super) fn old_double(&mut self) -> Result<f64, Damage> {
        match self.byte()? {
            253 => Ok(f64::NAN),
            254 => Ok(f64::INFINITY),
            255 => Ok(f64::NEG_INFINITY),
            length => {
                let text = self.take(usize::from(length))?;
                let number = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
                number.ok_or(Damage::Malformed("a score"))
            }
        }
    }
}

pub(super) fn write_number(out: &mut Vec<u8>, number: u64) {
    if number < 1 << 6 {
        out.push(number as u8);
    } else if number < 1 << 14 {
        out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes());
    } else if let Ok(number) = u32::try_from(number) {
        out.push(0x80);
        out.extend_from_slice(&number.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&number.to_be_bytes());
    }
}

/// A string in the shortest of its encodings that Redis would choose.
pub(super) fn write_string(out: &mut Vec<u8>, bytes: &[u8], compresses: bool) {
    if bytes.len() <= 11
        && let Some(number) = parse_integer(bytes)
        && write_small_integer(out, number)
    {
        return;
    }
    if compresses
        && bytes.len() >= COMPRESSED_FROM
        && let Some(compressed) = lzf::compress(bytes)
    {
        out.push(0xc3);
        write_number(out, compressed.len() as u64);
        write_number(out, bytes.len() as u64);
        out.extend_from_slice(&compressed);
        return;
    }
    write_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A string that is a number.
pub(super) fn write_integer(out: &mut Vec<u8>, number: i64) {
    if !write_small_integer(out, number) {
        let text = number.to_string();
        write_number(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_small_integer(out: &mut Vec<u8>, number: i64) -> bool {
    if let Ok(number) = i8::try_from(number) {
        out.extend_from_slice(&[0xc0, number as u8]);
    } else if let Ok(number) = i16::try_from(number) {
        out.push(0xc1);
        out.extend_from_slice(&number.to_le_bytes());
    } else if let Ok(number) = i32::try_from(number) {
        out.push(0xc2);
        out.extend_from_slice(&number.to_le_bytes());
    } else {
        return false;
    }
    true
}
