//! Small collections that stand in one string: listpacks, and what came before them.

use super::Damage;
use super::input::Input;
use crate::state::{Blob, parse_integer};

const END: u8 = 0xff;
/// The header of a listpack or ziplist does not count more elements than this.
const COUNTED_MAX: usize = 0xffff;

const BROKEN_LISTPACK: Damage = Damage::Malformed("a listpack");
const BROKEN_ZIPLIST: Damage = Damage::Malformed("a ziplist");

fn text(number: i64) -> Blob {
    Blob::from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// One element of a listpack.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Element<'a> {
    Integer(i64),
    Bytes(&'a [u8]),
}

impl Element<'_> {
    pub(super) fn to_blob(&self) -> Blob {
        match self {
            Element::Integer(number) => text(*number),
            Element::Bytes(bytes) => Blob::from_slice(bytes),
        }
    }
}

/// The elements of a listpack.
pub(super) fn listpack(bytes: &[u8]) -> Result<Vec<Element<'_>>, Damage> {
    let mut input = Input::new(bytes);
    let total = u32::from_le_bytes(input.array()?);
    let counted = usize::from(u16::from_le_bytes(input.array()?));
    if usize::try_from(total).ok() != Some(bytes.len()) {
        return Err(BROKEN_LISTPACK);
    }
    let mut elements = Vec::new();
    loop {
        let start = input.position();
        let first = input.byte()?;
        if first == END {
            break;
        }
        elements.push(listpack_element(&mut input, first)?);
        let length = input.position() - start;
        let mut expected = Vec::with_capacity(5);
        write_back_length(&mut expected, length);
        if input.take(expected.len())? != expected {
            return Err(BROKEN_LISTPACK);
        }
    }
    if !input.is_at_end() || (counted != COUNTED_MAX && counted != elements.len()) {
        return Err(BROKEN_LISTPACK);
    }
    Ok(elements)
}

fn listpack_element<'a>(input: &mut Input<'a>, first: u8) -> Result<Element<'a>, Damage> {
    let low = |bits: u32| usize::from(first & ((1 << bits) - 1));
    Ok(match first {
        0x00..=0x7f => Element::Integer(i64::from(first)),
        0x80..=0xbf => Element::Bytes(input.take(low(6))?),
        0xc0..=0xdf => {
            let number = (low(5) << 8 | usize::from(input.byte()?)) as i64;
            Element::Integer(if number >= 1 << 12 { number - (1 << 13) } else { number })
        }
        0xe0..=0xef => {
            let length = low(4) << 8 | usize::from(input.byte()?);
            Element::Bytes(input.take(length)?)
        }
        0xf0 => {
            let length = u32::from_le_bytes(input.array()?);
            Element::Bytes(input.take(length as usize)?)
        }
        0xf1 => Element::Integer(i64::from(i16::from_le_bytes(input.array()?))),
        0xf2 => Element::Integer(three_bytes(input.array()?)),
        0xf3 => Element::Integer(i64::from(i32::from_le_bytes(input.array()?))),
        0xf4 => Element::Integer(i64::from_le_bytes(input.array()?)),
        _ => return Err(BROKEN_LISTPACK),
    })
}

fn three_bytes([low, middle, high]: [u8; 3]) -> i64 {
    i64::from(i32::from_le_bytes([0, low, middle, high]) >> 8)
}

/// Behind each element stands its length, to be read backwards: seven bits a byte, the highest first.
fn write_back_length(out: &mut Vec<u8>, length: usize) {
    let bytes = match length {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    for place in (0..bytes).rev() {
        let bits = (length >> (7 * place)) as u8 & 127;
        out.push(if place + 1 == bytes { bits } else { bits | 128 });
    }
}

/// A listpack that is being written.
pub(super) struct ListpackWriter {
    bytes: Vec<u8>,
    count: usize,
}

impl ListpackWriter {
    pub(super) fn new() -> ListpackWriter {
        ListpackWriter { bytes: vec![0; 6], count: 0 }
    }

    /// How many bytes it takes so far.
    pub(super) fn size(&self) -> usize {
        self.bytes.len() + 1
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a string, as a number if it is one.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        match if bytes.len() <= 20 { parse_integer(bytes) } else { None } {
            Some(number) => self.push_integer(number),
            None => self.push_bytes(bytes),
        }
    }

    pub(super) fn push_integer(&mut self, number: i64) {
        let start = self.bytes.len();
        let little = number.to_le_bytes();
        match number {
            0..=127 => self.bytes.push(number as u8),
            -4096..=4095 => {
                let bits = (number & 0x1fff) as u16 | 0xc000;
                self.bytes.extend_from_slice(&bits.to_be_bytes());
            }
            -0x8000..=0x7fff => self.encoded(0xf1, &little[..2]),
            -0x80_0000..=0x7f_ffff => self.encoded(0xf2, &little[..3]),
            -0x8000_0000..=0x7fff_ffff => self.encoded(0xf3, &little[..4]),
            _ => self.encoded(0xf4, &little),
        }
        self.pushed(start);
    }

    fn encoded(&mut self, encoding: u8, bytes: &[u8]) {
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(bytes);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let start = self.bytes.len();
        match bytes.len() {
            length @ 0..64 => self.bytes.push(0x80 | length as u8),
            length @ 64..4096 => self.bytes.extend_from_slice(&(0xe000 | length as u16).to_be_bytes()),
            length => self.encoded(0xf0, &(length as u32).to_le_bytes()),
        }
        self.bytes.extend_from_slice(bytes);
        self.pushed(start);
    }

    fn pushed(&mut self, start: usize) {
        self.count += 1;
        let length = self.bytes.len() - start;
        write_back_length(&mut self.bytes, length);
    }

    /// The listpack, whole.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.push(END);
        let total = (self.bytes.len() as u32).to_le_bytes();
        let count = (self.count.min(COUNTED_MAX) as u16).to_le_bytes();
        self.bytes[..4].copy_from_slice(&total);
        self.bytes[4..6].copy_from_slice(&count);
        self.bytes
    }
}

/// The elements of a ziplist, which listpacks have replaced.
pub(super) fn ziplist(bytes: &[u8]) -> Result<Vec<Blob>, Damage> {
    let mut input = Input::new(bytes);
    let total = u32::from_le_bytes(input.array()?);
    let _tail: [u8; 4] = input.array()?;
    let counted = usize::from(u16::from_le_bytes(input.array()?));
    if usize::try_from(total).ok() != Some(bytes.len()) {
        return Err(BROKEN_ZIPLIST);
    }
    let mut elements = Vec::new();
    loop {
        match input.byte()? {
            END => break,
            // The length of the element before this one.
            254 => drop(input.array::<4>()?),
            _ => {}
        }
        elements.push(ziplist_element(&mut input)?);
    }
    if !input.is_at_end() || (counted != COUNTED_MAX && counted != elements.len()) {
        return Err(BROKEN_ZIPLIST);
    }
    Ok(elements)
}

fn ziplist_element(input: &mut Input<'_>) -> Result<Blob, Damage> {
    let first = input.byte()?;
    Ok(match first {
        0x00..=0x3f => Blob::from_slice(input.take(usize::from(first))?),
        0x40..=0x7f => {
            let length = usize::from(first & 0x3f) << 8 | usize::from(input.byte()?);
            Blob::from_slice(input.take(length)?)
        }
        0x80 => {
            let length = u32::from_be_bytes(input.array()?);
            Blob::from_slice(input.take(length as usize)?)
        }
        0xc0 => text(i64::from(i16::from_le_bytes(input.array()?))),
        0xd0 => text(i64::from(i32::from_le_bytes(input.array()?))),
        0xe0 => text(i64::from_le_bytes(input.array()?)),
        0xf0 => text(three_bytes(input.array()?)),
        0xf1..=0xfd => text(i64::from(first & 0x0f) - 1),
        0xfe => text(i64::from(i8::from_le_bytes(input.array()?))),
        _ => return Err(BROKEN_ZIPLIST),
    })
}

/// The keys and values of a zipmap, which was how Redis 2.4 kept small hashes.
pub(super) fn zipmap(bytes: &[u8]) -> Result<Vec<Blob>, Damage> {
    const BROKEN: Damage = Damage::Malformed("a zipmap");
    let mut input = Input::new(bytes);
    let _count = input.byte()?;
    let mut elements = Vec::new();
    loop {
        let length = match input.byte()? {
            END => break,
            254 => u32::from_le_bytes(input.array()?) as usize,
            length => usize::from(length),
        };
        // A value has a number of unused bytes, which stand behind it.
        let unused = if elements.len() % 2 == 1 { usize::from(input.byte()?) } else { 0 };
        elements.push(Blob::from_slice(input.take(length)?));
        input.take(unused)?;
    }
    if !input.is_at_end() || elements.len() % 2 == 1 {
        return Err(BROKEN);
    }
    Ok(elements)
}

/// The numbers of an intset.
pub(super) fn intset(bytes: &[u8]) -> Result<Vec<i64>, Damage> {
    const BROKEN: Damage = Damage::Malformed("an intset");
    let mut input = Input::new(bytes);
    let width = u32::from_le_bytes(input.array()?);
    let count = u32::from_le_bytes(input.array()?);
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(match width {
            2 => i64::from(i16::from_le_bytes(input.array()?)),
            4 => i64::from(i32::from_le_bytes(input.array()?)),
            8 => i64::from_le_bytes(input.array()?),
            _ => return Err(BROKEN),
        });
    }
    if !input.is_at_end() || !numbers.is_sorted_by(|one, other| one < other) {
        return Err(BROKEN);
    }
    Ok(numbers)
}

/// Sorted numbers as an intset: all as wide as the widest.
pub(super) fn write_intset(numbers: &[i64]) -> Vec<u8> {
    let fits = |low: i64, high: i64| numbers.iter().all(|number| (low..=high).contains(number));
    let width = if fits(i16::MIN.into(), i16::MAX.into()) {
        2
    } else if fits(i32::MIN.into(), i32::MAX.into()) {
        4
    } else {
        8
    };
    let mut bytes = Vec::with_capacity(8 + width * numbers.len());
    bytes.extend_from_slice(&(width as u32).to_le_bytes());
    bytes.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes()[..width]);
    }
    bytes
}
