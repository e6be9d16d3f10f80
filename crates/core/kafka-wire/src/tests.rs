//! The wire against an independent implementation, and against noise.

use atoll_wire::{Reader, Writer};
use bytes::Bytes;
use kafka_protocol::messages as oracle;
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use proptest::prelude::*;
use uuid::Uuid;

use crate::batch::{self, BatchError, HEADER_SIZE};
use crate::generated::samples::for_each_message;
use crate::generated::*;
use crate::record::{self, Producer};
use crate::{ApiKey, DecodeError, decode_request};

/// Draws the values of sample messages.
pub struct Sampler {
    state: u64,
}

impl Sampler {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    pub fn number(&mut self) -> i64 {
        // xorshift64*: short, and good enough to fill fields.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) as i64
    }

    pub fn count(&mut self) -> usize {
        (self.number() & 0xff) as usize % 4
    }

    pub fn is_null(&mut self) -> bool {
        self.number() & 3 == 0
    }

    pub fn uuid(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.number() as u64, self.number() as u64)
    }

    pub fn string(&mut self) -> String {
        (0..self.count() * 50).map(|_| char::from(b'a' + (self.number() & 15) as u8)).collect()
    }

    pub fn bytes(&mut self) -> Bytes {
        (0..self.count() * 70).map(|_| self.number() as u8).collect()
    }
}

/// Encodes a sample here, decodes and encodes it there, and decodes that here: all three must be the same message.
macro_rules! agrees_with_oracle {
    ($message:ident, $first:literal, $last:literal) => {
        let served_there = <oracle::$message as Message>::VERSIONS;
        for version in $first..=$last {
            for seed in 0..40 {
                let sample = $message::sample(&mut Sampler::new(seed), version);
                let mut writer = Writer::new();
                sample.encode(&mut writer, version);
                let ours = writer.into_bytes();
                let mut reader = Reader::new(ours.clone());
                assert_eq!($message::decode(&mut reader, version).unwrap(), sample, "version {version}");
                reader.finish().unwrap();
                if !(served_there.min..=served_there.max).contains(&version) {
                    continue;
                }
                let mut rest = ours.clone();
                let there = oracle::$message::decode(&mut rest, version)
                    .unwrap_or_else(|error| panic!("{} version {version}: {error}", stringify!($message)));
                assert!(rest.is_empty(), "{} version {version}", stringify!($message));
                let mut theirs = bytes::BytesMut::new();
                there.encode(&mut theirs, version).unwrap();
                let mut reader = Reader::new(theirs.freeze());
                assert_eq!($message::decode(&mut reader, version).unwrap(), sample, "version {version}");
            }
        }
    };
}

#[test]
fn every_message_in_every_version_is_what_another_implementation_says() {
    for_each_message!(agrees_with_oracle);
}

/// Cuts and damages samples: the decoder must give an error or a message, and never panic.
macro_rules! survives_damage {
    ($message:ident, $first:literal, $last:literal) => {
        for version in $first..=$last {
            let mut sampler = Sampler::new(version as u64 + 7);
            for _ in 0..20 {
                let mut writer = Writer::new();
                $message::sample(&mut sampler, version).encode(&mut writer, version);
                let mut bytes = writer.into_bytes().to_vec();
                if bytes.is_empty() {
                    continue;
                }
                for _ in 0..8 {
                    let place = sampler.number() as u64 as usize % bytes.len();
                    bytes[place] = if sampler.is_null() { 0xff } else { sampler.number() as u8 };
                    let _ = $message::decode(&mut Reader::new(Bytes::from(bytes.clone())), version);
                }
                bytes.truncate(sampler.number() as u64 as usize % bytes.len());
                let _ = $message::decode(&mut Reader::new(Bytes::from(bytes)), version);
            }
        }
    };
}

#[test]
fn damaged_messages_are_errors_and_not_panics() {
    for_each_message!(survives_damage);
}

#[test]
fn a_four_byte_body_with_a_count_of_two_billion_is_refused_for_every_request() {
    for api in ApiKey::ALL {
        for version in api.versions() {
            let mut writer = Writer::new();
            writer.i16(*api as i16);
            writer.i16(version);
            writer.i32(7);
            writer.i16(-1);
            if version >= api.flexible_from() {
                writer.uvarint(0);
            }
            writer.slice(&[0x7f, 0xff, 0xff, 0xff]);
            let answer = decode_request(writer.into_bytes());
            // These have an empty body, so that the count stands behind the request, where nothing reads it.
            let has_fields = !matches!((api, version), (ApiKey::ApiVersions | ApiKey::ListGroups, 0..=2));
            let refused = matches!(answer, Err(DecodeError::Malformed(_)));
            assert_eq!(refused, has_fields, "{api:?} version {version}: {answer:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn noise_is_never_a_panic(api in 0usize..ApiKey::ALL.len(), version in 0i16..18, noise: Vec<u8>) {
        let mut writer = Writer::new();
        writer.i16(ApiKey::ALL[api] as i16);
        writer.i16(version);
        writer.slice(&noise);
        let _ = decode_request(writer.into_bytes());
        let _ = decode_request(Bytes::from(noise.clone()));
        let _ = batch::validate(&Bytes::from(noise));
    }

    #[test]
    fn records_come_back_from_a_batch(fields: Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>, timestamp in 0i64..1 << 50) {
        prop_assume!(!fields.is_empty());
        let records: Vec<_> = fields.iter().map(|(key, value)| (key.as_deref(), value.as_deref())).collect();
        let bytes = record::write_batch(&records, timestamp, None);
        let batches = batch::validate(&bytes).unwrap();
        prop_assert_eq!(batches.len(), 1);
        let placed = Bytes::from(batch::place(&batches[0].1, 100, 3).concat());
        let read = record::read_records(&placed).unwrap().unwrap();
        prop_assert_eq!(read.len(), fields.len());
        for (index, (record, (key, value))) in read.iter().zip(&fields).enumerate() {
            prop_assert_eq!(record.offset, 100 + index as i64);
            prop_assert_eq!(record.timestamp, timestamp);
            prop_assert_eq!(record.key.as_deref(), key.as_deref());
            prop_assert_eq!(record.value.as_deref(), value.as_deref());
        }
    }
}

fn three_records() -> Vec<u8> {
    let records = [(None, Some(&b"one"[..])), (Some(&b"key"[..]), Some(&b"two"[..])), (None, None)];
    record::write_batch(&records, 1_000, Some(Producer { id: 5, epoch: 0, sequence: i32::MAX })).to_vec()
}

fn refused(bytes: Vec<u8>) -> BatchError {
    batch::validate(&Bytes::from(bytes)).unwrap_err()
}

#[test]
fn a_batch_written_here_is_read_there() {
    let mut bytes = Bytes::from(three_records());
    let set = kafka_protocol::records::RecordBatchDecoder::decode(&mut bytes).unwrap();
    assert_eq!(set.records.len(), 3);
    assert_eq!(set.records[1].key.as_deref(), Some(&b"key"[..]));
    assert_eq!(set.records[2].value, None);
}

#[test]
fn several_batches_in_a_row_are_taken_apart() {
    let mut bytes = three_records();
    bytes.extend(three_records());
    let batches = batch::validate(&Bytes::from(bytes)).unwrap();
    assert_eq!(batches.len(), 2);
    assert_eq!(batches[1].0.record_count, 3);
    assert_eq!(batches[1].0.last_sequence(), 1, "sequence numbers wrap around to 0");
}

#[test]
fn damage_is_named() {
    let mut flipped = three_records();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    assert!(matches!(refused(flipped), BatchError::Checksum { .. }));

    let mut old = three_records();
    old[16] = 1;
    assert_eq!(refused(old), BatchError::Magic(1));

    let mut cut = three_records();
    cut.truncate(HEADER_SIZE + 3);
    assert!(matches!(refused(cut), BatchError::Size { .. }));

    let mut negative = three_records();
    negative[8..12].copy_from_slice(&(-5i32).to_be_bytes());
    assert!(matches!(refused(negative), BatchError::Size { .. }));
}

#[test]
fn counts_that_contradict_offsets_are_refused() {
    let mut forged = three_records();
    forged[57..61].copy_from_slice(&i32::MAX.to_be_bytes());
    forged[23..27].copy_from_slice(&(i32::MAX - 1).to_be_bytes());
    assert_eq!(refused(forged), BatchError::Inconsistent("more records than the batch has room for"));

    let mut uneven = three_records();
    uneven[57..61].copy_from_slice(&2i32.to_be_bytes());
    assert!(matches!(refused(uneven), BatchError::Inconsistent(_)));
}

#[test]
fn log_append_time_changes_the_timestamp_and_the_checksum() {
    let placed = Bytes::from(batch::place_with_append_time(&three_records().into(), 10, 2, 9_999).concat());
    let batches = batch::validate(&placed).unwrap();
    assert_eq!((batches[0].0.max_timestamp, batches[0].0.base_offset, batches[0].0.leader_epoch), (9_999, 10, 2));
    assert!(record::read_records(&placed).unwrap().unwrap().iter().all(|record| record.timestamp == 9_999));
}
