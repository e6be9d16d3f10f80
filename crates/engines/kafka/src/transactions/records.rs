//! What a transaction coordinator writes down, in the format of Kafka's own `__transaction_state`: a key of version 0 with
//! the transactional id, and a value of version 1, whose newer fields are tagged. A key without a value is forgotten.

use std::collections::BTreeMap;

use atoll_wire::{Reader, WireError, Writer};
use bytes::Bytes;

use super::{State, Transaction};
use crate::wire::primitive::{self, TaggedFields};
use crate::wire::record::Record;

/// The key of a transaction's record.
pub(super) fn key(id: &str) -> Bytes {
    let mut key = Writer::new();
    key.i16(0);
    primitive::put_string(&mut key, false, id);
    key.into_bytes()
}

/// The value of a transaction's record.
pub(super) fn value(transaction: &Transaction) -> Bytes {
    let mut value = Writer::new();
    value.i16(1);
    value.i64(transaction.producer_id);
    value.i16(transaction.epoch);
    value.i32(transaction.timeout_ms);
    value.i8(transaction.state as i8);
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in &transaction.partitions {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let topics: Option<Vec<(&str, Vec<i32>)>> =
        (transaction.state != State::Empty).then(|| by_topic.into_iter().collect());
    primitive::put_nullable_array(&mut value, true, true, topics.as_deref(), |value, (topic, partitions)| {
        primitive::put_string(value, true, topic);
        primitive::put_array(value, true, partitions, |value, partition| value.i32(*partition));
        TaggedFields::default().write(value);
    });
    value.i64(transaction.updated_ms);
    value.i64(transaction.started_ms);
    let mut tagged = TaggedFields::default();
    for (tag, id) in [(0, transaction.previous_producer_id), (1, transaction.next_producer_id)] {
        if id != -1 {
            tagged.add(tag, |value| value.i64(id));
        }
    }
    if transaction.client_version != 0 {
        tagged.add(2, |value| value.i16(transaction.client_version));
    }
    tagged.write(&mut value);
    value.into_bytes()
}

/// Reads a record: the transactional id, and the transaction unless it is forgotten. None for what is not known.
pub(super) fn read(record: &Record) -> Result<Option<(String, Option<Transaction>)>, WireError> {
    let mut key = Reader::new(record.key.clone().unwrap_or_default());
    if key.i16()? != 0 {
        return Ok(None);
    }
    let id = primitive::string(&mut key, false)?;
    let Some(value) = record.value.clone() else { return Ok(Some((id, None))) };
    let mut value = Reader::new(value);
    let flexible = value.i16()? >= 1;
    let mut transaction = Transaction::new(value.i64()?, 0);
    transaction.epoch = value.i16()?;
    transaction.timeout_ms = value.i32()?;
    let Some(state) = State::from_number(value.i8()?) else { return Ok(None) };
    transaction.state = state;
    let topics = primitive::nullable_array(&mut value, flexible, 3, |value| {
        let topic = primitive::string(value, flexible)?;
        let partitions = primitive::array(value, flexible, 4, Reader::i32)?;
        if flexible {
            primitive::skip_tagged_fields(value)?;
        }
        Ok((topic, partitions))
    })?;
    for (topic, partitions) in topics.unwrap_or_default() {
        transaction.partitions.extend(partitions.into_iter().map(|partition| (topic.clone(), partition)));
    }
    transaction.updated_ms = value.i64()?;
    transaction.started_ms = value.i64()?;
    if flexible {
        primitive::tagged_fields(&mut value, |tag, value| {
            match tag {
                0 => transaction.previous_producer_id = value.i64()?,
                1 => transaction.next_producer_id = value.i64()?,
                2 => transaction.client_version = value.i16()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
    }
    Ok(Some((id, Some(transaction))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut transaction = Transaction::new(7, 60_000);
        transaction.state = State::Ongoing;
        transaction.epoch = 3;
        transaction.partitions.extend([("a".to_owned(), 1), ("a".to_owned(), 0), ("b".to_owned(), 2)]);
        transaction.client_version = 2;
        transaction.previous_producer_id = 5;
        (transaction.updated_ms, transaction.started_ms) = (11, 12);
        let record = Record {
            offset: 0,
            timestamp: 0,
            key: Some(key("id")),
            value: Some(value(&transaction)),
            headers: Bytes::new(),
        };
        assert_eq!(read(&record).unwrap(), Some(("id".to_owned(), Some(transaction))));
    }
}
