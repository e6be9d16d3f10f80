//! Kafka's own ways of writing strings, bytes, arrays and tagged fields, in the old and the flexible encoding.
//!
//! The old encoding has a length of two (strings) or four bytes (all else), −1 for null. The flexible one has the length
//! plus one as an unsigned varint, 0 for null, and ends every structure with a section of tagged fields (KIP-482).

use atoll_wire::{Reader, WireError, WireErrorKind, Writer};
use bytes::Bytes;

fn short_length(reader: &mut Reader, flexible: bool) -> Result<Option<usize>, WireError> {
    if flexible {
        return Ok((reader.uvarint()? as usize).checked_sub(1));
    }
    match reader.i16()? {
        -1 => Ok(None),
        length => non_negative(reader, i64::from(length)).map(Some),
    }
}

fn long_length(reader: &mut Reader, flexible: bool) -> Result<Option<usize>, WireError> {
    if flexible {
        return Ok((reader.uvarint()? as usize).checked_sub(1));
    }
    match reader.i32()? {
        -1 => Ok(None),
        length => non_negative(reader, i64::from(length)).map(Some),
    }
}

fn non_negative(reader: &Reader, length: i64) -> Result<usize, WireError> {
    usize::try_from(length).map_err(|_| reader.error(WireErrorKind::NegativeLength(length)))
}

fn required<T>(reader: &Reader, value: Option<T>) -> Result<T, WireError> {
    value.ok_or_else(|| reader.error(WireErrorKind::UnexpectedNull))
}

/// A string that may be null.
pub fn nullable_string(reader: &mut Reader, flexible: bool) -> Result<Option<String>, WireError> {
    short_length(reader, flexible)?.map(|length| reader.text(length)).transpose()
}

/// A string.
pub fn string(reader: &mut Reader, flexible: bool) -> Result<String, WireError> {
    let value = nullable_string(reader, flexible)?;
    required(reader, value)
}

/// Bytes, or record batches, that may be null.
pub fn nullable_bytes(reader: &mut Reader, flexible: bool) -> Result<Option<Bytes>, WireError> {
    long_length(reader, flexible)?.map(|length| reader.bytes(length)).transpose()
}

/// Bytes, or record batches.
pub fn bytes(reader: &mut Reader, flexible: bool) -> Result<Bytes, WireError> {
    let value = nullable_bytes(reader, flexible)?;
    required(reader, value)
}

/// An array that may be null, of elements that take at least `element_size_min` bytes each.
pub fn nullable_array<T>(
    reader: &mut Reader,
    flexible: bool,
    element_size_min: usize,
    mut read: impl FnMut(&mut Reader) -> Result<T, WireError>,
) -> Result<Option<Vec<T>>, WireError> {
    let Some(count) = long_length(reader, flexible)? else { return Ok(None) };
    let count = reader.claim_elements(count, element_size_min)?;
    // Grown by what is really read: an element in memory is much larger than the fewest bytes it can have been sent in.
    let mut elements = Vec::with_capacity(count.min(64));
    for _ in 0..count {
        elements.push(read(reader)?);
    }
    Ok(Some(elements))
}

/// An array.
pub fn array<T>(
    reader: &mut Reader,
    flexible: bool,
    element_size_min: usize,
    read: impl FnMut(&mut Reader) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let value = nullable_array(reader, flexible, element_size_min, read)?;
    required(reader, value)
}

/// A structure that may be null: one byte says whether it is there.
pub fn nullable_struct<T>(
    reader: &mut Reader,
    read: impl FnOnce(&mut Reader) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if reader.i8()? < 0 { Ok(None) } else { read(reader).map(Some) }
}

/// The tagged section: `read` takes the tags that it knows and says false for others, which are passed over.
pub fn tagged_fields(
    reader: &mut Reader,
    mut read: impl FnMut(u32, &mut Reader) -> Result<bool, WireError>,
) -> Result<(), WireError> {
    let count = reader.uvarint()? as usize;
    for _ in 0..reader.claim_elements(count, 2)? {
        let tag = reader.uvarint()?;
        let size = reader.uvarint()? as usize;
        let start = reader.position();
        if !read(tag, reader)? {
            reader.skip(size)?;
        }
        if reader.position() - start != size {
            return Err(reader.error(WireErrorKind::Invalid { what: "the size of a tagged field", value: size as i64 }));
        }
    }
    Ok(())
}

/// The tagged section of a structure that has none we know.
pub fn skip_tagged_fields(reader: &mut Reader) -> Result<(), WireError> {
    tagged_fields(reader, |_, _| Ok(false))
}

fn put_short_length(writer: &mut Writer, flexible: bool, length: Option<usize>) {
    match (flexible, length) {
        (true, length) => writer.uvarint(length.map_or(0, |length| length as u32 + 1)),
        (false, None) => writer.i16(-1),
        (false, Some(length)) => writer.i16(length as i16),
    }
}

fn put_long_length(writer: &mut Writer, flexible: bool, length: Option<usize>) {
    match (flexible, length) {
        (true, length) => writer.uvarint(length.map_or(0, |length| length as u32 + 1)),
        (false, None) => writer.i32(-1),
        (false, Some(length)) => writer.i32(length as i32),
    }
}

/// Writes a string. What the old encoding cannot hold (over 32,767 bytes) is cut at a character.
pub fn put_string(writer: &mut Writer, flexible: bool, value: &str) {
    let mut value = value;
    if !flexible && value.len() > i16::MAX as usize {
        value = &value[..value.floor_char_boundary(i16::MAX as usize)];
    }
    put_short_length(writer, flexible, Some(value.len()));
    writer.slice(value.as_bytes());
}

/// Writes a string or null; where null is not allowed, the empty string.
pub fn put_nullable_string(writer: &mut Writer, flexible: bool, null_allowed: bool, value: Option<&str>) {
    match value {
        None if null_allowed => put_short_length(writer, flexible, None),
        value => put_string(writer, flexible, value.unwrap_or_default()),
    }
}

/// Writes bytes or record batches, without copying large ones.
pub fn put_bytes(writer: &mut Writer, flexible: bool, value: &Bytes) {
    put_long_length(writer, flexible, Some(value.len()));
    writer.shared(value);
}

/// Writes bytes or null; where null is not allowed, no bytes.
pub fn put_nullable_bytes(writer: &mut Writer, flexible: bool, null_allowed: bool, value: Option<&Bytes>) {
    match value {
        Some(value) => put_bytes(writer, flexible, value),
        None => put_long_length(writer, flexible, if null_allowed { None } else { Some(0) }),
    }
}

/// Writes an array.
pub fn put_array<T>(writer: &mut Writer, flexible: bool, value: &[T], mut write: impl FnMut(&mut Writer, &T)) {
    put_long_length(writer, flexible, Some(value.len()));
    for element in value {
        write(writer, element);
    }
}

/// Writes an array or null; where null is not allowed, an empty array.
pub fn put_nullable_array<T>(
    writer: &mut Writer,
    flexible: bool,
    null_allowed: bool,
    value: Option<&[T]>,
    write: impl FnMut(&mut Writer, &T),
) {
    match value {
        None if null_allowed => put_long_length(writer, flexible, None),
        value => put_array(writer, flexible, value.unwrap_or_default(), write),
    }
}

/// Writes a structure or null.
pub fn put_nullable_struct<T>(writer: &mut Writer, value: Option<&T>, write: impl FnOnce(&mut Writer, &T)) {
    match value {
        None => writer.i8(-1),
        Some(value) => {
            writer.i8(1);
            write(writer, value);
        }
    }
}

/// The tagged fields of one structure, collected because their number stands in front.
#[derive(Default)]
pub struct TaggedFields {
    fields: Vec<(u32, Bytes)>,
}

impl TaggedFields {
    /// Adds a field; tags must come in rising order.
    pub fn add(&mut self, tag: u32, write: impl FnOnce(&mut Writer)) {
        let mut value = Writer::new();
        write(&mut value);
        self.fields.push((tag, value.into_bytes()));
    }

    /// Writes the section.
    pub fn write(self, writer: &mut Writer) {
        writer.uvarint(self.fields.len() as u32);
        for (tag, value) in self.fields {
            writer.uvarint(tag);
            writer.uvarint(value.len() as u32);
            writer.shared(&value);
        }
    }
}
