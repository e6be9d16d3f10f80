//! Elements of Redis's listpacks: integers in as few bytes as they need, strings with their length, and behind each
//! element its size, by which it can be walked over backwards.

use super::number::parse_integer;

/// One element as it stands in a listpack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element<'l> {
    Integer(i64),
    Bytes(&'l [u8]),
}

impl<'l> Element<'l> {
    /// Its bytes; an integer is printed into `buffer`.
    pub(crate) fn bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'l: 'b,
    {
        match self {
            Element::Integer(number) => buffer.format(number).as_bytes(),
            Element::Bytes(bytes) => bytes,
        }
    }

    pub(crate) fn integer(self) -> Option<i64> {
        match self {
            Element::Integer(number) => Some(number),
            Element::Bytes(_) => None,
        }
    }
}

/// Appends an integer.
pub(crate) fn push_integer(listpack: &mut Vec<u8>, number: i64) {
    let start = listpack.len();
    match number {
        0..=127 => listpack.push(number as u8),
        -4096..=4095 => listpack.extend_from_slice(&[0xc0 | (number >> 8) as u8 & 0x1f, number as u8]),
        -0x8000..=0x7fff => tagged(listpack, 0xf1, number, 2),
        -0x80_0000..=0x7f_ffff => tagged(listpack, 0xf2, number, 3),
        -0x8000_0000..=0x7fff_ffff => tagged(listpack, 0xf3, number, 4),
        _ => tagged(listpack, 0xf4, number, 8),
    }
    push_size(listpack, start);
}

fn tagged(listpack: &mut Vec<u8>, tag: u8, number: i64, bytes: usize) {
    listpack.push(tag);
    listpack.extend_from_slice(&number.to_le_bytes()[..bytes]);
}

/// Appends a string, as an integer if it is one.
pub(crate) fn push_bytes(listpack: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= 20
        && let Some(number) = parse_integer(bytes)
    {
        return push_integer(listpack, number);
    }
    let (start, length) = (listpack.len(), bytes.len());
    match length {
        0..=63 => listpack.push(0x80 | length as u8),
        64..=4095 => listpack.extend_from_slice(&[0xe0 | (length >> 8) as u8, length as u8]),
        _ => {
            listpack.push(0xf0);
            listpack.extend_from_slice(&(length as u32).to_le_bytes());
        }
    }
    listpack.extend_from_slice(bytes);
    push_size(listpack, start);
}

/// Appends the size of the element that began at `start`.
fn push_size(listpack: &mut Vec<u8>, start: usize) {
    let size = listpack.len() - start;
    let bytes = size_length(size);
    for place in (0..bytes).rev() {
        let more = if place + 1 == bytes { 0 } else { 0x80 };
        listpack.push((size >> (7 * place)) as u8 & 0x7f | more);
    }
}

/// How many bytes the size of an element takes.
fn size_length(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    }
}

/// The first element and how many bytes it takes; None if there is none, or if it is cut off.
#[inline]
pub(crate) fn first(listpack: &[u8]) -> Option<(Element<'_>, usize)> {
    let (tag, rest) = listpack.split_first()?;
    let (element, size) = match tag {
        0..=0x7f => (Element::Integer(i64::from(*tag)), 1),
        0x80..=0xbf => {
            let length = usize::from(tag & 0x3f);
            (Element::Bytes(rest.get(..length)?), 1 + length)
        }
        0xc0..=0xdf => {
            let number = i64::from(tag & 0x1f) << 8 | i64::from(*rest.first()?);
            (Element::Integer(number << 51 >> 51), 2)
        }
        0xe0..=0xef => {
            let length = usize::from(tag & 0x0f) << 8 | usize::from(*rest.first()?);
            (Element::Bytes(rest.get(1..1 + length)?), 2 + length)
        }
        0xf0 => {
            let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
            (Element::Bytes(rest.get(4..4usize.checked_add(length)?)?), 5 + length)
        }
        0xf1..=0xf4 => {
            let bytes = [2, 3, 4, 8][usize::from(tag - 0xf1)];
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(rest.get(..bytes)?);
            let unused = 64 - 8 * bytes as u32;
            (Element::Integer(i64::from_le_bytes(number) << unused >> unused), 1 + bytes)
        }
        _ => return None,
    };
    Some((element, size + size_length(size)))
}

/// A walk over elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Elements<'l> {
    pub(crate) rest: &'l [u8],
}

impl<'l> Iterator for Elements<'l> {
    type Item = Element<'l>;

    #[inline]
    fn next(&mut self) -> Option<Element<'l>> {
        let (element, size) = first(self.rest)?;
        self.rest = self.rest.get(size..).unwrap_or_default();
        Some(element)
    }
}
