//! What stays of one batch, as Kafka's `Cleaner` and `MemoryRecords.filterTo` decide it.

use bytes::Bytes;

use crate::wire::batch::BatchHeader;
use crate::wire::record::{self, Record};
use crate::wire::retained;

/// What is known of a batch before its records are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// It was aborted, or is the end of a transaction of which nothing is left.
    pub may_go: bool,
    /// It is the last of its producer, or of the round, and stays without records.
    pub stays_empty: bool,
    /// The round's time.
    pub now_ms: i64,
    /// `delete.retention.ms`
    pub delete_retention_ms: i64,
}

/// What stays of a batch; None if nothing does. An error is a batch that cannot be read or written.
pub(super) fn filter(
    bytes: &Bytes,
    standing: Standing,
    is_last_of_its_key: impl Fn(&Record) -> bool,
) -> std::io::Result<Option<Bytes>> {
    let damaged = || std::io::Error::from(std::io::ErrorKind::InvalidData);
    let header = BatchHeader::read(bytes).map_err(|_| damaged())?;
    let horizon = retained::delete_horizon(&header);
    let horizon_passed = horizon.is_some_and(|horizon| horizon <= standing.now_ms);
    let discarded = standing.may_go && (!header.is_control() || horizon_passed);
    let without = || standing.stays_empty.then(|| retained::emptied(&header));
    if discarded {
        return Ok(without());
    }
    let records = record::read_records(bytes).and_then(Result::ok).ok_or_else(damaged)?;
    let before = records.len();
    let stays = |record: &Record| {
        header.is_control()
            || record.key.is_some() && is_last_of_its_key(record) && (record.value.is_some() || !horizon_passed)
    };
    let records: Vec<Record> = records.into_iter().filter(stays).collect();
    if records.is_empty() {
        return Ok(without());
    }
    let deletes = records.iter().any(|record| record.value.is_none()) && !header.is_control();
    let gets_horizon = horizon.is_none() && (deletes || standing.may_go && header.is_control());
    if records.len() == before && !gets_horizon {
        return Ok(Some(bytes.clone()));
    }
    let horizon = match gets_horizon {
        true => Some(standing.now_ms.saturating_add(standing.delete_retention_ms)),
        false => horizon,
    };
    retained::with_records(&header, &records, horizon).map(Some)
}
