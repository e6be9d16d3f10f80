//! Record batches of magic 2, seen from outside: sizes, offsets, counts, checksum and producer fields. The records stay
//! as the producer compressed them.
//!
//! <https://kafka.apache.org/documentation/#recordbatch>

use atoll_wire::Reader;
use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::compression::{self, Codec, UNPACKED_MAX};

/// The fixed fields in front of the records.
pub const HEADER_SIZE: usize = 61;
/// Base offset and length, which the length itself does not count.
const PREFIX_SIZE: usize = 12;
/// Where the checksum starts to count: everything before may be changed by the broker.
const CRC_START: usize = 21;

/// What the header of a batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record.
    pub base_offset: i64,
    /// The epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Compression, timestamp type, and whether it is transactional or a control batch.
    pub attributes: i16,
    /// The last record's offset less the base offset.
    pub last_offset_delta: i32,
    /// Milliseconds since the Unix epoch, of the first record.
    pub base_timestamp: i64,
    /// The greatest timestamp of all records.
    pub max_timestamp: i64,
    /// The idempotent producer, or −1.
    pub producer_id: i64,
    /// The producer's epoch, or −1.
    pub producer_epoch: i16,
    /// The sequence number of the first record, or −1.
    pub base_sequence: i32,
    /// How many records there are.
    pub record_count: i32,
    /// The whole batch in bytes.
    pub size: usize,
}

/// Why record data is refused. The producer is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The data ends inside of a batch, or a batch is too short to be one.
    #[error("a batch of {claimed} bytes in {present} bytes")]
    Size {
        /// Bytes that the batch claims.
        claimed: i64,
        /// Bytes that are there.
        present: usize,
    },
    /// A message format that Kafka 4 does not take any more.
    #[error("message format {0}")]
    Magic(i8),
    /// The bytes are not those that the producer summed up.
    #[error("checksum {found:08x} is not {stated:08x}")]
    Checksum {
        /// The sum in the header.
        stated: u32,
        /// The sum of the bytes.
        found: u32,
    },
    /// Fields that contradict each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

impl BatchHeader {
    /// Transactional batches wait for their transaction's end.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Control batches are written by brokers only.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub fn compression(&self) -> i16 {
        self.attributes & 0x07
    }

    /// The offset after the last record.
    pub fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }

    /// The sequence number of the last record, which wraps around.
    pub fn last_sequence(&self) -> i32 {
        add_sequence(self.base_sequence, self.last_offset_delta)
    }

    /// Reads the header at the front of `bytes` and checks that the batch is whole, without looking at its records.
    pub fn read(bytes: &Bytes) -> Result<Self, BatchError> {
        let present = bytes.len();
        let short = |claimed| BatchError::Size { claimed, present };
        let mut reader = Reader::new(bytes.clone());
        let mut parse = || {
            let base_offset = reader.i64()?;
            let length = reader.i32()?;
            let leader_epoch = reader.i32()?;
            let magic = reader.i8()?;
            if magic != 2 {
                return Ok(Err(BatchError::Magic(magic)));
            }
            reader.u32()?;
            let header = Self {
                base_offset,
                leader_epoch,
                attributes: reader.i16()?,
                last_offset_delta: reader.i32()?,
                base_timestamp: reader.i64()?,
                max_timestamp: reader.i64()?,
                producer_id: reader.i64()?,
                producer_epoch: reader.i16()?,
                base_sequence: reader.i32()?,
                record_count: reader.i32()?,
                size: usize::try_from(length).unwrap_or(0) + PREFIX_SIZE,
            };
            if header.size < HEADER_SIZE || header.size > present {
                return Ok(Err(short(i64::from(length) + PREFIX_SIZE as i64)));
            }
            Ok(Ok(header))
        };
        parse().unwrap_or_else(|_: atoll_wire::WireError| Err(short(HEADER_SIZE as i64)))
    }

    /// Checks a batch from a producer: that counts, offsets and producer fields agree.
    pub fn check_fields(&self) -> Result<(), BatchError> {
        if self.record_count < 1 || self.last_offset_delta != self.record_count - 1 {
            return Err(BatchError::Inconsistent("the number of records is not the number of offsets"));
        }
        // An uncompressed record takes at least seven bytes, so that a forged count cannot make offsets leap.
        if self.compression() == 0 && self.record_count as usize > (self.size - HEADER_SIZE) / 7 {
            return Err(BatchError::Inconsistent("more records than the batch has room for"));
        }
        if self.base_offset < 0 && self.base_offset != -1 {
            return Err(BatchError::Inconsistent("the base offset is negative"));
        }
        if self.base_offset.checked_add(i64::from(self.record_count)).is_none() {
            return Err(BatchError::Inconsistent("there are no such offsets"));
        }
        if self.compression() > 4 {
            return Err(BatchError::Inconsistent("unknown compression"));
        }
        if self.is_control() {
            return Err(BatchError::Inconsistent("clients may not write control batches"));
        }
        // Without a producer id, epoch and sequence mean nothing; kafkajs sends zeros there, and Kafka takes them.
        let idempotent = self.producer_id >= 0;
        if idempotent && (self.producer_epoch < 0 || self.base_sequence < 0) {
            return Err(BatchError::Inconsistent("producer id, epoch and sequence do not belong together"));
        }
        if self.is_transactional() && !idempotent {
            return Err(BatchError::Inconsistent("a transaction needs a producer id"));
        }
        Ok(())
    }

    /// Checks that the bytes of a whole batch are those that were summed up.
    pub fn check_sum(&self, bytes: &Bytes) -> Result<(), BatchError> {
        let stated =
            bytes.get(CRC_START - 4..CRC_START).and_then(|field| field.try_into().ok()).map(u32::from_be_bytes);
        let found = crc32c::crc32c(&bytes[CRC_START..self.size]);
        match stated {
            Some(stated) if stated == found => Ok(()),
            stated => Err(BatchError::Checksum { stated: stated.unwrap_or(0), found }),
        }
    }
}

/// Checks the records of a produce request and takes them apart into batches.
pub fn validate(records: &Bytes) -> Result<Vec<(BatchHeader, Bytes)>, BatchError> {
    let mut rest = records.clone();
    let mut batches = Vec::with_capacity(1);
    while !rest.is_empty() {
        let header = BatchHeader::read(&rest)?;
        let batch = rest.split_to(header.size);
        header.check_fields()?;
        header.check_sum(&batch)?;
        batches.push((header, batch));
    }
    Ok(batches)
}

/// The batch as the log keeps it: its header, with offset and leader epoch, and its records as they are. The checksum covers
/// neither field.
pub fn place(batch: &Bytes, base_offset: i64, leader_epoch: i32) -> [Bytes; 2] {
    let mut records = batch.clone();
    let mut header = BytesMut::from(&*records.split_to(HEADER_SIZE.min(batch.len())));
    if header.len() == HEADER_SIZE {
        header[0..8].copy_from_slice(&base_offset.to_be_bytes());
        header[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    }
    [header.freeze(), records]
}

/// The same for topics with `message.timestamp.type=LogAppendTime`: every record gets the broker's time, and the checksum,
/// which covers it, is summed up anew.
pub fn place_with_append_time(batch: &Bytes, base_offset: i64, leader_epoch: i32, append_time_ms: i64) -> [Bytes; 2] {
    let [header, records] = place(batch, base_offset, leader_epoch);
    let mut header = BytesMut::from(header);
    if header.len() == HEADER_SIZE {
        header[22] |= 0x08;
        header[35..43].copy_from_slice(&append_time_ms.to_be_bytes());
        let sum = crc32c::crc32c_append(crc32c::crc32c(&header[CRC_START..]), &records);
        header[CRC_START - 4..CRC_START].copy_from_slice(&sum.to_be_bytes());
    }
    [header.freeze(), records]
}

/// The batch as part of its producer's transaction.
pub fn as_transactional(batch: &Bytes) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    if changed.len() >= HEADER_SIZE {
        changed[22] |= 0x10;
        seal(&mut changed);
    }
    changed.freeze()
}

/// The batch with another greatest timestamp.
pub fn with_max_timestamp(header: &BatchHeader, batch: &Bytes, max_timestamp: i64) -> (BatchHeader, Bytes) {
    let mut changed = BytesMut::from(&batch[..header.size]);
    changed[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    seal(&mut changed);
    (BatchHeader { max_timestamp, ..*header }, changed.freeze())
}

/// The batch with its records compressed in another way.
pub fn recompressed(header: &BatchHeader, batch: &Bytes, codec: Codec) -> std::io::Result<(BatchHeader, Bytes)> {
    let from = Codec::from_number(header.compression()).ok_or(std::io::ErrorKind::InvalidData)?;
    let records = compression::unpack(from, batch.slice(HEADER_SIZE..header.size), UNPACKED_MAX)?;
    let mut changed = BytesMut::from(&batch[..HEADER_SIZE]);
    changed.extend_from_slice(&compression::pack(codec, &records)?);
    let attributes = header.attributes & !0x07 | codec.number();
    changed[21..23].copy_from_slice(&attributes.to_be_bytes());
    seal(&mut changed);
    Ok((BatchHeader { attributes, size: changed.len(), ..*header }, changed.freeze()))
}

/// Sets length and checksum of a complete batch.
pub(super) fn seal(batch: &mut BytesMut) {
    let length = (batch.len() - PREFIX_SIZE) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let sum = crc32c::crc32c(&batch[CRC_START..]);
    batch[CRC_START - 4..CRC_START].copy_from_slice(&sum.to_be_bytes());
}

/// Sequence numbers go from 0 to 2³¹−1 and around.
pub fn add_sequence(sequence: i32, delta: i32) -> i32 {
    ((i64::from(sequence) + i64::from(delta)) & i64::from(i32::MAX)) as i32
}
