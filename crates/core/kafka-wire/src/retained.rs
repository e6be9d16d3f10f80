//! What the log cleaner leaves of a batch, in the form in which Kafka leaves it: offsets, producer and sequence numbers stay
//! those of the whole batch, so that its producer's next batch still fits behind it.
//!
//! <https://kafka.apache.org/documentation/#recordbatch>

use atoll_wire::{Writer, varlong_size};
use bytes::{Bytes, BytesMut};

use super::batch::{self, BatchHeader};
use super::compression::{self, Codec};
use super::record::Record;

/// The base timestamp is the time from which deletions in the batch may go.
const HAS_DELETE_HORIZON: i16 = 0x40;
/// Compression and time come from the attributes of the batch as it was; the rest of them stays as well.
const COMPRESSION: i16 = 0x07;
const APPEND_TIME: i16 = 0x08;

/// From when on the deletions in a batch, or the end of a transaction, may go; None before the cleaner has set it.
pub fn delete_horizon(header: &BatchHeader) -> Option<i64> {
    (header.attributes & HAS_DELETE_HORIZON != 0).then_some(header.base_timestamp)
}

/// The batch with these of its records, of which there is one at least, and a delete horizon or none.
pub fn with_records(header: &BatchHeader, records: &[Record], horizon: Option<i64>) -> std::io::Result<Bytes> {
    let codec = Codec::from_number(header.compression()).ok_or(std::io::ErrorKind::InvalidData)?;
    let first = records.first().map_or(header.base_timestamp, |record| record.timestamp);
    let base_timestamp = horizon.unwrap_or(first);
    let newest = records.iter().map(|record| record.timestamp).max().unwrap_or(header.max_timestamp);
    let max_timestamp = if header.attributes & APPEND_TIME != 0 { header.max_timestamp } else { newest };
    let attributes = match horizon {
        Some(_) => header.attributes | HAS_DELETE_HORIZON,
        None => header.attributes & !HAS_DELETE_HORIZON,
    };
    let mut body = Writer::new();
    for record in records {
        let timestamp_delta = record.timestamp.saturating_sub(base_timestamp);
        write_record(&mut body, record, timestamp_delta, record.offset - header.base_offset);
    }
    let packed = compression::pack(codec, &body.into_bytes())?;
    let head = BatchHeader { attributes, base_timestamp, max_timestamp, ..*header };
    Ok(written(&head, records.len() as i32, &packed))
}

/// The batch without records: what is left of a producer's last one.
pub fn emptied(header: &BatchHeader) -> Bytes {
    let attributes = header.attributes & !HAS_DELETE_HORIZON & !COMPRESSION;
    written(&BatchHeader { attributes, base_timestamp: -1, ..*header }, 0, &[])
}

fn written(header: &BatchHeader, count: i32, records: &[u8]) -> Bytes {
    let mut writer = Writer::new();
    writer.i64(header.base_offset);
    writer.i32(0);
    writer.i32(header.leader_epoch);
    writer.i8(2);
    writer.u32(0);
    writer.i16(header.attributes);
    writer.i32(header.last_offset_delta);
    writer.i64(header.base_timestamp);
    writer.i64(header.max_timestamp);
    writer.i64(header.producer_id);
    writer.i16(header.producer_epoch);
    writer.i32(header.base_sequence);
    writer.i32(count);
    let mut bytes = BytesMut::from(&*writer.into_bytes());
    bytes.extend_from_slice(records);
    batch::seal(&mut bytes);
    bytes.freeze()
}

fn write_record(writer: &mut Writer, record: &Record, timestamp_delta: i64, offset_delta: i64) {
    let field_size = |field: &Option<Bytes>| match field {
        None => varlong_size(-1),
        Some(bytes) => varlong_size(bytes.len() as i64) + bytes.len(),
    };
    let size = 1
        + varlong_size(timestamp_delta)
        + varlong_size(offset_delta)
        + field_size(&record.key)
        + field_size(&record.value)
        + record.headers.len();
    writer.varint(size as i32);
    writer.i8(0);
    writer.varlong(timestamp_delta);
    writer.varint(offset_delta as i32);
    for field in [&record.key, &record.value] {
        match field {
            None => writer.varint(-1),
            Some(bytes) => {
                writer.varint(bytes.len() as i32);
                writer.slice(bytes);
            }
        }
    }
    writer.slice(&record.headers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Fields, Producer, read_records, write_batch};

    #[test]
    fn what_is_left_keeps_its_places_and_times() {
        let producer = Producer { id: 7, epoch: 1, sequence: 40 };
        let three: [Fields<'_>; 3] = [(Some(b"a"), Some(b"1")), (Some(b"b"), None), (Some(b"c"), Some(b"3"))];
        let whole = Bytes::from(batch::place(&write_batch(&three, 5_000, Some(producer)), 100, 3).concat());
        let header = BatchHeader::read(&whole).unwrap();
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let (header, whole) = batch::recompressed(&header, &whole, codec).unwrap();
            let records = read_records(&whole).unwrap().unwrap();
            for horizon in [None, Some(9_000)] {
                let left = with_records(&header, &records[1..], horizon).unwrap();
                let after = BatchHeader::read(&left).unwrap();
                after.check_sum(&left).unwrap();
                assert_eq!(read_records(&left).unwrap().unwrap(), records[1..], "{codec:?} {horizon:?}");
                assert_eq!(delete_horizon(&after), horizon);
                assert_eq!((after.base_offset, after.next_offset(), after.last_sequence()), (100, 103, 42));
                assert_eq!((after.record_count, after.leader_epoch, after.max_timestamp), (2, 3, 5_000));
                // And once more, as the next round does it.
                let again = with_records(&after, &records[2..], delete_horizon(&after)).unwrap();
                assert_eq!(read_records(&again).unwrap().unwrap(), records[2..]);
            }
            let left = emptied(&header);
            let after = BatchHeader::read(&left).unwrap();
            after.check_sum(&left).unwrap();
            assert_eq!((after.base_offset, after.next_offset(), after.last_sequence()), (100, 103, 42));
            assert_eq!((after.record_count, after.size, after.max_timestamp), (0, 61, 5_000));
            assert!(read_records(&left).unwrap().unwrap().is_empty());
        }
    }
}
