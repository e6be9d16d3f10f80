//! Control records: how a transaction ended, as its coordinator writes it into every partition that took part.
//!
//! <https://kafka.apache.org/documentation/#controlbatch>

use atoll_wire::{Reader, Writer};
use bytes::{Bytes, BytesMut};

use crate::batch;
use crate::record::{Producer, Record, write_batch};

/// A transaction's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction.
    pub producer_id: i64,
    /// The producer's epoch as of the end.
    pub producer_epoch: i16,
    /// Whether its records count.
    pub commit: bool,
    /// The epoch of the coordinator.
    pub coordinator_epoch: i32,
}

/// Reads the end of a transaction from a control record; None for any other control record. Whose it is says the batch.
pub fn read(record: &Record) -> Option<Marker> {
    let mut key = Reader::new(record.key.clone()?);
    key.i16().ok()?;
    let commit = match key.i16().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let mut value = Reader::new(record.value.clone()?);
    value.i16().ok()?;
    Some(Marker { producer_id: -1, producer_epoch: -1, commit, coordinator_epoch: value.i32().ok()? })
}

/// A control batch at offset 0; the log gives it its place.
pub fn write(marker: &Marker, timestamp: i64) -> Bytes {
    let (mut key, mut value) = (Writer::new(), Writer::new());
    key.i16(0);
    key.i16(i16::from(marker.commit));
    value.i16(0);
    value.i32(marker.coordinator_epoch);
    let producer = Producer { id: marker.producer_id, epoch: marker.producer_epoch, sequence: -1 };
    let (key, value) = (key.into_bytes(), value.into_bytes());
    let mut bytes = BytesMut::from(&*write_batch(&[(Some(&key), Some(&value))], timestamp, Some(producer)));
    // Transactional, and control.
    bytes[22] |= 0x30;
    batch::seal(&mut bytes);
    bytes.freeze()
}
