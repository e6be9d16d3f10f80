//! The records inside a batch: read where a broker must know them, written for the broker's own topics.
//!
//! <https://kafka.apache.org/documentation/#record>

use atoll_wire::{Reader, WireError, WireErrorKind, Writer, varlong_size};
use bytes::{Bytes, BytesMut};

use crate::batch::{self, BatchHeader, HEADER_SIZE};
use crate::compression::{self, Codec, UNPACKED_MAX};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place in the partition.
    pub offset: i64,
    /// Milliseconds since the Unix epoch.
    pub timestamp: i64,
    /// The key.
    pub key: Option<Bytes>,
    /// The value; None deletes the key in a compacted topic.
    pub value: Option<Bytes>,
    /// The headers as they are written, with their number in front.
    pub headers: Bytes,
}

/// Reads the records of one batch; None if it cannot be unpacked.
pub fn read_records(batch: &Bytes) -> Option<Result<Vec<Record>, WireError>> {
    read_records_within(batch, UNPACKED_MAX)
}

/// The same, where it unpacks to no more than `limit` bytes.
pub fn read_records_within(batch: &Bytes, limit: u64) -> Option<Result<Vec<Record>, WireError>> {
    let header = BatchHeader::read(batch).ok()?;
    let packed = batch.slice(HEADER_SIZE..header.size);
    let unpacked = compression::unpack(Codec::from_number(header.compression())?, packed, limit).ok()?;
    Some(read_unpacked(&header, unpacked))
}

fn read_unpacked(header: &BatchHeader, unpacked: Bytes) -> Result<Vec<Record>, WireError> {
    let mut reader = Reader::new(unpacked);
    let count = usize::try_from(header.record_count).unwrap_or(0);
    let count = reader.claim_elements(count, 7)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        records.push(read_record(header, &mut reader)?);
    }
    Ok(records)
}

fn read_record(header: &BatchHeader, reader: &mut Reader) -> Result<Record, WireError> {
    let size = reader.varint()?;
    let size = usize::try_from(size).map_err(|_| reader.error(WireErrorKind::NegativeLength(i64::from(size))))?;
    let mut record = Reader::new(reader.bytes(size)?);
    record.i8()?;
    let timestamp_delta = record.varlong()?;
    let offset_delta = record.varint()?;
    let key = nullable(&mut record)?;
    let value = nullable(&mut record)?;
    let headers = record.bytes(record.remaining())?;
    // Their number, at least, is always there.
    Reader::new(headers.clone()).varint()?;
    let append_time = header.attributes & 0x08 != 0;
    Ok(Record {
        offset: header.base_offset.saturating_add(i64::from(offset_delta)),
        timestamp: if append_time {
            header.max_timestamp
        } else {
            header.base_timestamp.saturating_add(timestamp_delta)
        },
        key,
        value,
        headers,
    })
}

fn nullable(record: &mut Reader) -> Result<Option<Bytes>, WireError> {
    match record.varint()? {
        length if length < 0 => Ok(None),
        length => record.bytes(length as usize).map(Some),
    }
}

/// Who wrote a batch, for deduplication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// The producer's id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence number of the batch's first record.
    pub sequence: i32,
}

/// Key and value of a record that is to be written.
pub type Fields<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

/// Writes an uncompressed batch at offset 0; the log gives it its place.
pub fn write_batch(records: &[Fields<'_>], timestamp: i64, producer: Option<Producer>) -> Bytes {
    let producer = producer.unwrap_or(Producer { id: -1, epoch: -1, sequence: -1 });
    let count = records.len() as i32;
    let mut writer = Writer::new();
    writer.i64(0);
    writer.i32(0);
    writer.i32(-1);
    writer.i8(2);
    writer.u32(0);
    writer.i16(0);
    writer.i32(count - 1);
    writer.i64(timestamp);
    writer.i64(timestamp);
    writer.i64(producer.id);
    writer.i16(producer.epoch);
    writer.i32(producer.sequence);
    writer.i32(count);
    for (delta, (key, value)) in records.iter().enumerate() {
        write_record(&mut writer, delta as i32, *key, *value);
    }
    let mut bytes = BytesMut::from(&*writer.into_bytes());
    batch::seal(&mut bytes);
    bytes.freeze()
}

fn write_record(writer: &mut Writer, offset_delta: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
    let field_size = |field: Option<&[u8]>| match field {
        None => varlong_size(-1),
        Some(bytes) => varlong_size(bytes.len() as i64) + bytes.len(),
    };
    // Attributes, a timestamp delta of 0, the offset delta, key, value, and no headers.
    let size = 1 + 1 + varlong_size(i64::from(offset_delta)) + field_size(key) + field_size(value) + 1;
    writer.varint(size as i32);
    writer.i8(0);
    writer.varlong(0);
    writer.varint(offset_delta);
    for field in [key, value] {
        match field {
            None => writer.varint(-1),
            Some(bytes) => {
                writer.varint(bytes.len() as i32);
                writer.slice(bytes);
            }
        }
    }
    writer.varint(0);
}
