//! Records to a topic and from it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use atoll_kafka_wire::batch::BatchHeader;
use atoll_kafka_wire::generated::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use atoll_kafka_wire::generated::fetch_response::PartitionData;
use atoll_kafka_wire::generated::init_producer_id_request::InitProducerIdRequest;
use atoll_kafka_wire::generated::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use atoll_kafka_wire::record::{Fields, Producer, Record, read_records, write_batch};
use atoll_kafka_wire::{Request, Response};
use bytes::Bytes;

use super::client::{Client, Partition, check, unexpected};
use super::errors::refusal;
use super::partitioner::partition_of;
use crate::error::Result;

/// How long a leader has for the replicas to follow.
const PRODUCE_TIMEOUT: Duration = Duration::from_secs(5);
/// What a leader gives at once, in bytes; one batch that is larger comes whole.
const FETCH_BYTES_MAX: i32 = 1 << 20;
/// An error of the protocol: what was asked for is not there any more, or not yet.
const OFFSET_OUT_OF_RANGE: i16 = 1;

/// Keys and values that are sent together.
#[derive(Debug, Default)]
pub struct Batch {
    records: Vec<(Option<Vec<u8>>, Vec<u8>)>,
    size: usize,
}

/// Who sends, and how far it is: no record of it is there twice, however often it is sent.
#[derive(Debug)]
pub struct Identity {
    id: i64,
    epoch: i16,
    sequences: BTreeMap<i32, i32>,
    /// Records without a key go to one partition after the other, batch by batch.
    turn: usize,
}

/// Where consuming begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the first record that is there.
    Beginning,
    /// With what comes from now on.
    End,
}

/// The next offset of each partition.
#[derive(Clone, Debug)]
pub struct Position(BTreeMap<i32, i64>);

impl Batch {
    /// Adds a record.
    pub fn push(&mut self, key: Option<Vec<u8>>, value: Vec<u8>) {
        self.size += key.as_ref().map_or(0, Vec::len) + value.len();
        self.records.push((key, value));
    }

    /// True if it has none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.size
    }

    /// By partition: those with a key as every client has it, the others together.
    fn by_partition(&self, partitions: &[Partition], turn: usize) -> BTreeMap<i32, Vec<Fields<'_>>> {
        let mut parted: BTreeMap<i32, Vec<Fields<'_>>> = BTreeMap::new();
        for (key, value) in &self.records {
            let place = key.as_ref().map_or(turn % partitions.len().max(1), |key| partition_of(key, partitions.len()));
            let index = partitions.get(place).map_or(0, |partition| partition.index);
            parted.entry(index).or_default().push((key.as_deref(), Some(value)));
        }
        parted
    }
}

impl Client {
    /// What lets brokers drop what they have already.
    pub fn identity(&mut self, topic: &str) -> Result<Identity> {
        let nobody_yet = InitProducerIdRequest {
            transactional_id: None,
            transaction_timeout_ms: i32::MAX,
            producer_id: -1,
            producer_epoch: -1,
        };
        let request = Request::InitProducerId(nobody_yet);
        self.patiently(|client| {
            let partitions = client.partitions_now(topic, true)?;
            let leader = partitions.first().map_or(-1, |partition| partition.leader);
            let server = client.broker(leader, &format!("topic {topic}"))?;
            let answer = client.ask_at(&server, (&request, 4), Duration::ZERO)?;
            let Response::InitProducerId(answer) = answer else { return Err(unexpected()) };
            check("producer", answer.error_code, None)?;
            let (id, epoch) = (answer.producer_id, answer.producer_epoch);
            Ok(Identity { id, epoch, sequences: BTreeMap::new(), turn: 0 })
        })
    }

    /// Produces with `acks=all`. Returns the first offset of each partition's part, and how many records it has.
    pub fn produce(&mut self, topic: &str, identity: &mut Identity, batch: &Batch) -> Result<Vec<(i32, i64, usize)>> {
        let partitions = self.partitions(topic, true)?;
        let mut placed = Vec::new();
        for (index, records) in batch.by_partition(&partitions, identity.turn) {
            let sequence = identity.sequences.entry(index).or_default();
            let producer = Producer { id: identity.id, epoch: identity.epoch, sequence: *sequence };
            let bytes = write_batch(&records, now_ms(), Some(producer));
            let offset = self.patiently(|client| client.produce_now(topic, index, &bytes))?;
            *sequence = atoll_kafka_wire::batch::add_sequence(*sequence, records.len() as i32);
            placed.push((index, offset, records.len()));
        }
        identity.turn += 1;
        Ok(placed)
    }

    fn produce_now(&mut self, topic: &str, index: i32, records: &Bytes) -> Result<i64> {
        let what = format!("partition {topic}-{index}");
        let partitions = self.partitions_now(topic, false)?;
        let leader = partitions.iter().find(|partition| partition.index == index).map_or(-1, |found| found.leader);
        let server = self.broker(leader, &what)?;
        let partition_data = vec![PartitionProduceData { index, records: Some(records.clone()) }];
        let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data }];
        let timeout_ms = PRODUCE_TIMEOUT.as_millis() as i32;
        let request = Request::Produce(ProduceRequest { transactional_id: None, acks: -1, timeout_ms, topic_data });
        let Response::Produce(answer) = self.ask_at(&server, (&request, 9), PRODUCE_TIMEOUT)? else {
            return Err(unexpected());
        };
        let results = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
        let result = results.into_iter().next().ok_or_else(unexpected)?;
        check(&what, result.error_code, result.error_message.as_deref())?;
        Ok(result.base_offset)
    }

    /// Where a topic begins or ends.
    pub fn position(&mut self, topic: &str, start: Start) -> Result<Position> {
        let timestamp = if start == Start::Beginning { -2 } else { -1 };
        Ok(Position(self.offsets(topic, timestamp)?))
    }

    /// The next records of a topic, as soon as there are any; none after `wait`. The position moves behind them.
    pub fn consume(&mut self, topic: &str, position: &mut Position, wait: Duration) -> Result<Vec<(i32, Record)>> {
        self.patiently(|client| client.consume_now(topic, position, wait))
    }

    fn consume_now(&mut self, topic: &str, position: &mut Position, wait: Duration) -> Result<Vec<(i32, Record)>> {
        let mut led: BTreeMap<i32, Vec<FetchPartition>> = BTreeMap::new();
        for Partition { index, leader, .. } in self.partitions_now(topic, false)? {
            // One that was added is read from its beginning.
            let fetch_offset = *position.0.entry(index).or_default();
            let (partition_max_bytes, asked) = (FETCH_BYTES_MAX, FetchPartition::default());
            led.entry(leader).or_default().push(FetchPartition {
                partition: index,
                fetch_offset,
                partition_max_bytes,
                ..asked
            });
        }
        // Leaders are asked one after the other: together they take as long as was asked for.
        let wait = wait / u32::try_from(led.len().max(1)).unwrap_or(1);
        let mut records = Vec::new();
        for (leader, partitions) in led {
            let wait = if records.is_empty() { wait } else { Duration::ZERO };
            match self.fetch(topic, (leader, partitions), position, wait, &mut records) {
                // The position is behind what was taken already: that is handed on, and the trouble met again.
                Err(_) if !records.is_empty() => break,
                outcome => outcome?,
            }
        }
        Ok(records)
    }

    /// Asks one leader for the records of its partitions.
    fn fetch(
        &mut self,
        topic: &str,
        (leader, partitions): (i32, Vec<FetchPartition>),
        position: &mut Position,
        wait: Duration,
        records: &mut Vec<(i32, Record)>,
    ) -> Result<()> {
        let server = self.broker(leader, &format!("topic {topic}"))?;
        let request = Request::Fetch(FetchRequest {
            replica_id: -1,
            max_wait_ms: wait.as_millis() as i32,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            session_epoch: -1,
            topics: vec![FetchTopic { topic: topic.to_owned(), partitions, ..Default::default() }],
            ..Default::default()
        });
        let Response::Fetch(answer) = self.ask_at(&server, (&request, 12), wait)? else { return Err(unexpected()) };
        check(&format!("topic {topic}"), answer.error_code, None)?;
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
        partitions.into_iter().try_for_each(|partition| take(topic, partition, position, records))
    }
}

/// Takes the records of a partition out of an answer.
fn take(topic: &str, of: PartitionData, position: &mut Position, records: &mut Vec<(i32, Record)>) -> Result<()> {
    let index = of.partition_index;
    let next = position.0.entry(index).or_default();
    if of.error_code == OFFSET_OUT_OF_RANGE {
        // Retention has taken it, or the log was cut: on from what is there.
        *next = if *next < of.log_start_offset { of.log_start_offset } else { of.high_watermark.max(0) };
        return Ok(());
    }
    check(&format!("partition {topic}-{index}"), of.error_code, None)?;
    let mut rest = of.records.unwrap_or_default();
    // The last batch may be there in part.
    while let Ok(header) = BatchHeader::read(&rest) {
        let batch = rest.split_to(header.size);
        if !header.is_control() {
            let Some(Ok(read)) = read_records(&batch) else {
                return Err(refusal(&format!("partition {topic}-{index}"), 2, Some("a batch cannot be read")));
            };
            records.extend(read.into_iter().filter(|record| record.offset >= *next).map(|record| (index, record)));
        }
        *next = header.next_offset().max(*next);
    }
    Ok(())
}

#[allow(clippy::disallowed_methods)] // A client's own clock, as any client's.
fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
