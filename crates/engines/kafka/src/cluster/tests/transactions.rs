//! Transactions without sockets: what readers see, who is fenced, what outlives the coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, NodeId};
use bytes::Bytes;

use super::{World, quick_config};
use crate::config::{Config, TransactionConfig};
use crate::wire::batch::{BatchHeader, as_transactional};
use crate::wire::generated::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use crate::wire::generated::offset_fetch_request::OffsetFetchRequestTopic;
use crate::wire::generated::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::generated::txn_offset_commit_request::{TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic};
use crate::wire::generated::*;
use crate::wire::record::{Producer, read_records, write_batch};
use crate::wire::{Request, Response};

/// Kafka 3 clients announce partitions; Kafka 4 clients do not, and get another epoch with every end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    Announcing,
    Bumping,
}

/// A transactional producer as a client has it.
#[derive(Clone)]
pub(super) struct Transactional {
    pub client: Client,
    pub transactional_id: String,
    pub id: i64,
    pub epoch: i16,
    sequences: BTreeMap<(String, i32), i32>,
}

pub(super) fn config() -> Config {
    let transactions = TransactionConfig { state_log_num_partitions: 2, ..TransactionConfig::default() };
    Config { transactions, ..quick_config() }
}

pub(super) fn coordinator(world: &mut World, id: &str) -> Option<NodeId> {
    for node in 1..=3 {
        let request = FindCoordinatorRequest { key: id.to_owned(), key_type: 1, ..FindCoordinatorRequest::default() };
        if let Some(Response::FindCoordinator(answer)) =
            world.ask_in(NodeId(node), 3, Request::FindCoordinator(request)).1
            && answer.error_code == 0
        {
            return Some(NodeId(answer.node_id as u16));
        }
    }
    None
}

impl Transactional {
    /// Begins, retrying while another transaction ends.
    pub fn begin(world: &mut World, client: Client, id: &str) -> Transactional {
        let mut told = None;
        for _ in 0..20 {
            match Transactional::try_begin(world, client, id) {
                Some(Ok(begun)) => return begun,
                other => told = other.and_then(Result::err),
            }
            world.run_for(100);
        }
        panic!("{id} cannot begin: {told:?}")
    }

    pub fn try_begin(world: &mut World, client: Client, id: &str) -> Option<Result<Transactional, i16>> {
        let node = coordinator(world, id)?;
        let request = InitProducerIdRequest {
            transactional_id: Some(id.to_owned()),
            transaction_timeout_ms: 60_000,
            ..InitProducerIdRequest::default()
        };
        match world.ask_in(node, 5, Request::InitProducerId(request)).1? {
            Response::InitProducerId(answer) if answer.error_code == 0 => Some(Ok(Transactional {
                client,
                transactional_id: id.to_owned(),
                id: answer.producer_id,
                epoch: answer.producer_epoch,
                sequences: BTreeMap::new(),
            })),
            Response::InitProducerId(answer) => Some(Err(answer.error_code)),
            other => panic!("not an answer to InitProducerId: {other:?}"),
        }
    }

    pub fn announce(&self, world: &mut World, topic: &str, partition: i32) -> Option<i16> {
        let node = coordinator(world, &self.transactional_id)?;
        let request = AddPartitionsToTxnRequest {
            v3and_below_transactional_id: self.transactional_id.clone(),
            v3and_below_producer_id: self.id,
            v3and_below_producer_epoch: self.epoch,
            v3and_below_topics: vec![AddPartitionsToTxnTopic { name: topic.to_owned(), partitions: vec![partition] }],
            ..AddPartitionsToTxnRequest::default()
        };
        match world.ask_in(node, 3, Request::AddPartitionsToTxn(request)).1? {
            Response::AddPartitionsToTxn(answer) => {
                Some(answer.results_by_topic_v3and_below[0].results_by_partition[0].partition_error_code)
            }
            other => panic!("not an answer to AddPartitionsToTxn: {other:?}"),
        }
    }

    /// Sends one record; an announcing client has to have announced the partition.
    pub fn send(&mut self, world: &mut World, topic: &str, partition: i32, value: &str) -> Option<(i16, i64)> {
        let leader = (1..=3).find_map(|node| match world.metadata(NodeId(node), topic, partition) {
            Some((0, leader, _)) => Some(NodeId(leader as u16)),
            _ => None,
        })?;
        let sequence = self.sequences.entry((topic.to_owned(), partition)).or_default();
        let producer = Producer { id: self.id, epoch: self.epoch, sequence: *sequence };
        let batch = write_batch(&[(Some(value.as_bytes()), Some(value.as_bytes()))], 1_767_225_600_000, Some(producer));
        let partition_data = vec![PartitionProduceData { index: partition, records: Some(as_transactional(&batch)) }];
        let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data }];
        let transactional_id = Some(self.transactional_id.clone());
        let request = ProduceRequest { transactional_id, acks: -1, timeout_ms: 30_000, topic_data };
        let version = if self.client == Client::Bumping { 12 } else { 11 };
        let answer = world.ask_in(leader, version, Request::Produce(request)).1?;
        let produced = World::produced(&answer);
        if produced.0 == 0 {
            *sequence += 1;
        }
        Some(produced)
    }

    pub fn end(&mut self, world: &mut World, commit: bool) -> Option<i16> {
        let node = coordinator(world, &self.transactional_id)?;
        let request = EndTxnRequest {
            transactional_id: self.transactional_id.clone(),
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed: commit,
        };
        let version = if self.client == Client::Bumping { 5 } else { 4 };
        match world.ask_in(node, version, Request::EndTxn(request)).1? {
            Response::EndTxn(answer) => {
                if answer.error_code == 0 && self.client == Client::Bumping {
                    (self.id, self.epoch) = (answer.producer_id, answer.producer_epoch);
                    self.sequences.clear();
                }
                Some(answer.error_code)
            }
            other => panic!("not an answer to EndTxn: {other:?}"),
        }
    }
}

/// What a reader with `read_committed` is given, asked of one broker, and where it stops.
pub(super) fn read_committed(
    world: &mut World,
    node: NodeId,
    topic: &str,
    partition: i32,
) -> (BTreeMap<i64, String>, i64) {
    let (mut values, mut offset) = (BTreeMap::new(), 0);
    let mut open: BTreeSet<i64> = BTreeSet::new();
    loop {
        let mut request = World::fetch_request(topic, partition, offset, -1, 0);
        if let Request::Fetch(request) = &mut request {
            request.isolation_level = 1;
        }
        let Some(Response::Fetch(response)) = world.ask(node, request).1 else { panic!("a broker that serves") };
        let part = &response.responses[0].partitions[0];
        assert_eq!(part.error_code, 0);
        let mut aborted: Vec<(i64, i64)> = part
            .aborted_transactions
            .clone()
            .unwrap_or_default()
            .iter()
            .map(|listed| (listed.first_offset, listed.producer_id))
            .collect();
        aborted.sort_unstable();
        let mut bytes: Bytes = part.records.clone().unwrap_or_default();
        if bytes.is_empty() {
            return (values, part.last_stable_offset);
        }
        while !bytes.is_empty() {
            let header = BatchHeader::read(&bytes).unwrap();
            let batch = bytes.split_to(header.size);
            open.extend(aborted.iter().filter(|(first, _)| *first < header.next_offset()).map(|(_, id)| *id));
            aborted.retain(|(first, _)| *first >= header.next_offset());
            offset = header.next_offset();
            if header.is_control() {
                open.remove(&header.producer_id);
            } else if !(header.is_transactional() && open.contains(&header.producer_id)) {
                for record in read_records(&batch).unwrap().unwrap() {
                    values.insert(record.offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap());
                }
            }
        }
    }
}

fn leader(world: &mut World, topic: &str) -> NodeId {
    NodeId(world.metadata(NodeId(1), topic, 0).unwrap().1 as u16)
}

fn values(world: &mut World, topic: &str) -> Vec<String> {
    let leader = leader(world, topic);
    read_committed(world, leader, topic, 0).0.into_values().collect()
}

#[test]
fn what_is_committed_is_read_and_what_is_aborted_is_not() {
    for client in [Client::Announcing, Client::Bumping] {
        let mut world = World::new(3, 1, config());
        world.create_topic("orders", 1, &[("min.insync.replicas", "2")]);
        let mut producer = Transactional::begin(&mut world, client, "till");
        let announces = client == Client::Announcing;
        if announces {
            assert_eq!(producer.send(&mut world, "orders", 0, "x"), Some((120, -1)), "it was not announced");
        }
        for (number, commit) in [(1, true), (2, false), (3, true)] {
            assert!(!announces || producer.announce(&mut world, "orders", 0) == Some(0));
            let sent = producer.send(&mut world, "orders", 0, &format!("order {number}"));
            assert_eq!(sent, Some((0, (number - 1) * 2)), "a marker follows each transaction");
            let leader = leader(&mut world, "orders");
            let stable = read_committed(&mut world, leader, "orders", 0).1;
            assert_eq!(stable, (number - 1) * 2, "readers stop before a transaction that is not over");
            assert_eq!(producer.end(&mut world, commit), Some(0));
        }
        assert_eq!(values(&mut world, "orders"), ["order 1", "order 3"]);
        // Ending it again: a client of Kafka 4 is at another epoch, and has nothing to commit.
        assert_eq!(producer.end(&mut world, true), Some(if announces { 0 } else { 48 }));
        assert_eq!(producer.end(&mut world, false), Some(if announces { 48 } else { 0 }));
        let epoch = if announces { 0 } else { 4 };
        assert_eq!(producer.epoch, epoch);
    }
}

#[test]
fn a_second_producer_fences_the_first_and_aborts_what_it_left() {
    let mut world = World::new(3, 1, config());
    world.create_topic("orders", 1, &[]);
    let mut first = Transactional::begin(&mut world, Client::Announcing, "till");
    assert_eq!(first.announce(&mut world, "orders", 0), Some(0));
    assert_eq!(first.send(&mut world, "orders", 0, "left open"), Some((0, 0)));
    let told = Transactional::try_begin(&mut world, Client::Announcing, "till").unwrap();
    assert_eq!(told.err(), Some(51), "it is told to try again");
    let mut second = Transactional::begin(&mut world, Client::Announcing, "till");
    assert!(second.id == first.id && second.epoch > first.epoch);
    assert_eq!(first.announce(&mut world, "orders", 0), Some(90));
    assert_eq!(first.send(&mut world, "orders", 0, "too late").unwrap().0, 47);
    assert_eq!(first.end(&mut world, true), Some(90));
    assert_eq!(second.announce(&mut world, "orders", 0), Some(0));
    assert_eq!(second.send(&mut world, "orders", 0, "counts").unwrap().0, 0);
    assert_eq!(second.end(&mut world, true), Some(0));
    assert_eq!(values(&mut world, "orders"), ["counts"]);
}

#[test]
fn a_transaction_that_lasts_too_long_is_aborted() {
    let mut world = World::new(3, 1, config());
    world.create_topic("orders", 1, &[]);
    let mut producer = Transactional::begin(&mut world, Client::Bumping, "till");
    assert_eq!(producer.send(&mut world, "orders", 0, "slow"), Some((0, 0)));
    world.run_for(59_000);
    let node = leader(&mut world, "orders");
    assert_eq!(read_committed(&mut world, node, "orders", 0).1, 0);
    world.run_for(12_000);
    assert_eq!(read_committed(&mut world, node, "orders", 0), (BTreeMap::new(), 2));
    assert_eq!(producer.end(&mut world, true), Some(90), "its epoch is over");
}

#[test]
fn transactions_outlive_their_coordinator_and_the_partitions_leader() {
    let mut world = World::new(3, 1, config());
    world.create_topic("orders", 1, &[("min.insync.replicas", "2")]);
    let mut producer = Transactional::begin(&mut world, Client::Bumping, "till");
    assert_eq!(producer.send(&mut world, "orders", 0, "before"), Some((0, 0)));
    let died = coordinator(&mut world, "till").unwrap();
    world.simulation.inject(&Fault::Kill(died));
    world.run_for(12_000);
    assert_ne!(coordinator(&mut world, "till"), Some(died));
    assert_eq!(producer.send(&mut world, "orders", 0, "after"), Some((0, 1)), "its sequence went on");
    world.simulation.inject(&Fault::Start(died));
    world.run_for(12_000);
    let leads = leader(&mut world, "orders");
    world.simulation.inject(&Fault::Kill(leads));
    // The end is decided although a partition cannot be told; it is when it has a leader again.
    let ended = producer.end(&mut world, true);
    world.run_for(15_000);
    if ended != Some(0) {
        producer.end(&mut world, true);
        world.run_for(1_000);
    }
    let now = (1..=3).map(NodeId).find(|node| *node != leads).unwrap();
    let leader = NodeId(world.metadata(now, "orders", 0).unwrap().1 as u16);
    let read: Vec<String> = read_committed(&mut world, leader, "orders", 0).0.into_values().collect();
    assert_eq!(read, ["before", "after"]);
}

#[test]
fn everything_of_transactions_is_there_after_a_restart() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let mut world = World::on_disk(3, 1, config(), disk.clone());
    world.create_topic("orders", 1, &[]);
    let mut producer = Transactional::begin(&mut world, Client::Bumping, "till");
    producer.send(&mut world, "orders", 0, "aborted").unwrap();
    assert_eq!(producer.end(&mut world, false), Some(0));
    producer.send(&mut world, "orders", 0, "open").unwrap();
    drop(world);
    let mut again = World::on_disk(3, 2, config(), disk);
    again.run_for(1_000);
    let node = leader(&mut again, "orders");
    assert_eq!(read_committed(&mut again, node, "orders", 0), (BTreeMap::new(), 2));
    assert_eq!(producer.send(&mut again, "orders", 0, "more").unwrap().0, 0);
    assert_eq!(producer.end(&mut again, true), Some(0));
    assert_eq!(values(&mut again, "orders"), ["open", "more"]);
}

#[test]
fn offsets_count_with_their_transaction() {
    let mut world = World::new(3, 1, config());
    world.create_topic("orders", 1, &[]);
    let mut producer = Transactional::begin(&mut world, Client::Bumping, "till");
    while world.find_coordinator(NodeId(1), "books").unwrap().0 != 0 {}
    let groups = NodeId(world.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
    let commit = |world: &mut World, producer: &Transactional, offset: i64| {
        let partitions = vec![TxnOffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            ..TxnOffsetCommitRequestPartition::default()
        }];
        let request = TxnOffsetCommitRequest {
            transactional_id: producer.transactional_id.clone(),
            group_id: "books".to_owned(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            topics: vec![TxnOffsetCommitRequestTopic { name: "orders".to_owned(), partitions }],
            ..TxnOffsetCommitRequest::default()
        };
        match world.ask_in(groups, 5, Request::TxnOffsetCommit(request)).1 {
            Some(Response::TxnOffsetCommit(answer)) => answer.topics[0].partitions[0].error_code,
            other => panic!("not an answer to TxnOffsetCommit: {other:?}"),
        }
    };
    let stable = |world: &mut World| {
        let topics = vec![OffsetFetchRequestTopic { name: "orders".to_owned(), partition_indexes: vec![0] }];
        let request = OffsetFetchRequest {
            group_id: "books".to_owned(),
            topics: Some(topics),
            require_stable: true,
            ..OffsetFetchRequest::default()
        };
        match world.ask_in(groups, 7, Request::OffsetFetch(request)).1 {
            Some(Response::OffsetFetch(answer)) => {
                let part = &answer.topics[0].partitions[0];
                (part.error_code, part.committed_offset)
            }
            other => panic!("not an answer to OffsetFetch: {other:?}"),
        }
    };
    assert_eq!(commit(&mut world, &producer, 5), 0);
    assert_eq!(stable(&mut world), (88, -1), "it may change at any moment");
    assert_eq!(world.committed_offset(groups, "books", "orders", 0), Some((0, -1)));
    assert_eq!(producer.end(&mut world, true), Some(0));
    assert_eq!(stable(&mut world), (0, 5));
    assert_eq!(commit(&mut world, &producer, 9), 0);
    assert_eq!(producer.end(&mut world, false), Some(0));
    assert_eq!(stable(&mut world), (0, 5), "what is aborted is forgotten");
}
