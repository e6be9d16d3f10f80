//! The core without sockets: a client that is a function call, faults, virtual time.

mod administration;
mod compaction;
mod consumer_groups;
mod expiry;
mod log;
mod membership;
mod promises;
mod scripts;
mod seeded;
mod seeded_transactions;
mod transactions;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Context, DiskHealth, Fault, NodeId, NodeState, Seed, Simulation};
use bytes::Bytes;

use crate::cluster::{ANONYMOUS, Caller, Cluster, Outcome, Side, Ticket};
use crate::config::Config;
use crate::wire::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::wire::generated::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::generated::metadata_request::MetadataRequestTopic;
use crate::wire::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use crate::wire::generated::offset_fetch_request::OffsetFetchRequestTopic;
use crate::wire::generated::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::generated::*;
use crate::wire::record::{Producer, Record, read_records, write_batch};
use crate::wire::{Request, Response};

/// A simulated cluster and its only client.
pub(super) struct World {
    pub simulation: Simulation<Cluster>,
    tickets: Ticket,
    /// Answers that came later, by ticket.
    pub late: BTreeMap<Ticket, Response>,
    /// The answer to what is asked now does not arrive before [`World::arrives`] says so, or never.
    pub holds_back: bool,
}

/// How many seeds a random test runs through: as many as `ATOLL_RUNS` asks for all of them, by this one's share in percent, or
/// the few that every test run can afford.
fn seeds(first: u64, usual: u64, share_percent: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("ATOLL_RUNS").ok().and_then(|runs| runs.parse::<u64>().ok());
    first..first + asked.map_or(usual, |runs| runs * share_percent / 100)
}

/// A disk becomes bad, or all of them well again.
fn disk_fault(world: &mut World) {
    let nodes = world.simulation.kernel.nodes();
    let bad: Vec<NodeId> = nodes.iter().filter(|node| node.disk != DiskHealth::Ok).map(|node| node.config.id).collect();
    let stream = world.simulation.stream();
    let fault = match bad.first() {
        Some(node) => Fault::Disk { node: *node, health: DiskHealth::Ok },
        None => {
            let node = NodeId(1 + stream.below(3) as u16);
            let health = if stream.one_in(2) { DiskHealth::Full } else { DiskHealth::Failing };
            Fault::Disk { node, health }
        }
    };
    world.simulation.inject(&fault);
}

pub(super) fn quick_config() -> Config {
    Config {
        port: 9092,
        default_replication_factor: 3,
        offsets_topic_num_partitions: 2,
        group_initial_rebalance_delay_ms: 0,
        ..Config::default()
    }
}

impl World {
    pub fn new(nodes: u8, seed: u64, config: Config) -> World {
        World::on_disk(nodes, seed, config, Arc::new(MemoryDisk::ephemeral()))
    }

    pub fn on_disk(nodes: u8, seed: u64, config: Config, disk: Arc<dyn Disk>) -> World {
        let open = |ctx: &Context<'_>| Cluster::open(ctx, config, disk).expect("an empty or sound disk");
        let simulation = Simulation::new(nodes, Seed(seed), open);
        World { simulation, tickets: 0, late: BTreeMap::new(), holds_back: false }
    }

    pub fn run_for(&mut self, milliseconds: u64) {
        self.simulation.run_for(Duration::from_millis(milliseconds));
        self.collect();
    }

    pub fn collect(&mut self) {
        for (ticket, outcome) in self.simulation.core.take_answers() {
            if let Outcome::Reply(response) = outcome {
                self.answered(ticket);
                self.late.insert(ticket, *response);
            }
        }
    }

    fn answered(&mut self, ticket: Ticket) {
        if !self.holds_back || ticket != self.tickets {
            self.arrives(ticket);
        }
    }

    /// The client has an answer.
    pub fn arrives(&mut self, ticket: Ticket) {
        self.simulation.core.delivered(&self.simulation.kernel, ticket);
    }

    /// The client will never have an answer.
    pub fn is_lost(&mut self, ticket: Ticket) {
        self.simulation.core.undelivered(ticket);
    }

    /// Asks a broker in the newest version. None if it does not answer at once; then the ticket tells the late answer.
    pub fn ask(&mut self, node: NodeId, request: Request) -> (Ticket, Option<Response>) {
        let api = match &request {
            Request::Produce(_) => 11,
            Request::Fetch(_) => 12,
            Request::Metadata(_) => 12,
            Request::ListOffsets(_) => 7,
            Request::OffsetFetch(_) => 7,
            Request::JoinGroup(_) => 9,
            _ => 5,
        };
        self.ask_in(node, api, request)
    }

    pub fn ask_in(&mut self, node: NodeId, version: i16, request: Request) -> (Ticket, Option<Response>) {
        self.tickets += 1;
        let ticket = self.tickets;
        if self.simulation.kernel.node_state(node) != NodeState::Running {
            return (ticket, None);
        }
        let (host, client_id) = ("/127.0.0.1".to_owned(), "test".to_owned());
        let principal = ANONYMOUS.to_owned();
        let (side, port, may_hold_tokens) = (Side::Host, 9092, false);
        let caller = Caller { node, side, host, client_id, version, ticket, principal, port, may_hold_tokens };
        let outcome = self.simulation.call(|cluster, ctx| cluster.apply(ctx, &caller, request));
        self.collect();
        match outcome {
            Outcome::Reply(response) => {
                self.answered(ticket);
                (ticket, Some(*response))
            }
            Outcome::Parked => (ticket, self.late.remove(&ticket)),
            _ => (ticket, None),
        }
    }

    /// Options are the topic's own; `replicas` is the replication factor.
    pub fn create_topic(&mut self, name: &str, partitions: i32, options: &[(&str, &str)]) -> i16 {
        let replicas =
            options.iter().find(|(name, _)| *name == "replicas").map_or(-1, |(_, count)| count.parse().unwrap());
        let configs = options
            .iter()
            .filter(|(name, _)| *name != "replicas")
            .map(|(name, value)| CreatableTopicConfig { name: (*name).to_owned(), value: Some((*value).to_owned()) });
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: partitions,
            replication_factor: replicas,
            configs: configs.collect(),
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        match self.ask(NodeId(1), Request::CreateTopics(request)).1 {
            Some(Response::CreateTopics(response)) => response.topics[0].error_code,
            other => panic!("no answer to CreateTopics: {other:?}"),
        }
    }

    pub fn produce_request(topic: &str, partition: i32, acks: i16, value: &str, producer: Option<Producer>) -> Request {
        let batch = write_batch(&[(Some(value.as_bytes()), Some(value.as_bytes()))], 1_767_225_600_000, producer);
        World::produce_batch(topic, partition, acks, batch)
    }

    pub fn produce_batch(topic: &str, partition: i32, acks: i16, batch: Bytes) -> Request {
        let partition_data = vec![PartitionProduceData { index: partition, records: Some(batch) }];
        let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data }];
        Request::Produce(ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data })
    }

    /// Error code and offset.
    pub fn produced(response: &Response) -> (i16, i64) {
        match response {
            Response::Produce(response) => {
                let part = &response.responses[0].partition_responses[0];
                (part.error_code, part.base_offset)
            }
            other => panic!("not an answer to Produce: {other:?}"),
        }
    }

    /// What a broker believes of a partition: error, leader and epoch.
    pub fn metadata(&mut self, node: NodeId, topic: &str, partition: i32) -> Option<(i16, i32, i32)> {
        let topics = vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..MetadataRequestTopic::default() }];
        let request = MetadataRequest { topics: Some(topics), allow_auto_topic_creation: false, ..Default::default() };
        match self.ask(node, Request::Metadata(request)).1? {
            Response::Metadata(response) => {
                let part = response.topics[0].partitions.get(partition as usize)?;
                Some((part.error_code, part.leader_id, part.leader_epoch))
            }
            other => panic!("not an answer to Metadata: {other:?}"),
        }
    }

    pub fn fetch_request(topic: &str, partition: i32, offset: i64, epoch: i32, max_wait_ms: i32) -> Request {
        let partitions = vec![FetchPartition {
            partition,
            current_leader_epoch: epoch,
            fetch_offset: offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        }];
        let topics = vec![FetchTopic { topic: topic.to_owned(), partitions, ..FetchTopic::default() }];
        Request::Fetch(FetchRequest {
            max_wait_ms,
            min_bytes: 1,
            max_bytes: 1 << 24,
            session_epoch: -1,
            topics,
            ..Default::default()
        })
    }

    /// Error code, high watermark and records.
    pub fn fetched(response: &Response) -> (i16, i64, Vec<Record>) {
        match response {
            Response::Fetch(response) => {
                let part = &response.responses[0].partitions[0];
                (part.error_code, part.high_watermark, records_of(part.records.clone().unwrap_or_default()))
            }
            other => panic!("not an answer to Fetch: {other:?}"),
        }
    }

    /// The offset after the last batch; None without any.
    pub fn fetched_upto(response: &Response) -> Option<i64> {
        let Response::Fetch(response) = response else { panic!("not an answer to Fetch: {response:?}") };
        let mut bytes = response.responses[0].partitions[0].records.clone().unwrap_or_default();
        let mut upto = None;
        while !bytes.is_empty() {
            let header = crate::wire::batch::BatchHeader::read(&bytes).expect("a whole batch");
            upto = Some(header.next_offset());
            let _ = bytes.split_to(header.size);
        }
        upto
    }

    /// All committed records of a partition, asked of its leader.
    pub fn read_all(&mut self, topic: &str, partition: i32) -> BTreeMap<i64, String> {
        let nodes: Vec<NodeId> = self.simulation.kernel.nodes().iter().map(|node| node.config.id).collect();
        let leader = nodes.into_iter().find_map(|node| match self.metadata(node, topic, partition) {
            Some((0, leader, _)) => Some(NodeId(leader as u16)),
            _ => None,
        });
        let leader = leader.unwrap_or_else(|| panic!("{topic}-{partition} has no leader"));
        let (mut all, mut offset) = (BTreeMap::new(), 0);
        loop {
            let answer = self.ask(leader, World::fetch_request(topic, partition, offset, -1, 0)).1;
            let answer = answer.expect("a leader that serves");
            let (error, high_watermark, records) = World::fetched(&answer);
            assert_eq!(error, 0);
            // Compaction leaves holes, and batches without records.
            let Some(next) = World::fetched_upto(&answer) else {
                assert_eq!(offset, high_watermark, "everything below the high watermark can be read");
                return all;
            };
            offset = next;
            for record in records {
                all.insert(record.offset, String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned());
            }
        }
    }

    pub fn list_offset(&mut self, node: NodeId, topic: &str, partition: i32, timestamp: i64) -> Option<(i16, i64)> {
        let partitions =
            vec![ListOffsetsPartition { partition_index: partition, timestamp, ..ListOffsetsPartition::default() }];
        let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
        match self.ask(node, Request::ListOffsets(ListOffsetsRequest { topics, ..Default::default() })).1? {
            Response::ListOffsets(response) => {
                let part = &response.topics[0].partitions[0];
                Some((part.error_code, part.offset))
            }
            other => panic!("not an answer to ListOffsets: {other:?}"),
        }
    }

    pub fn find_coordinator(&mut self, node: NodeId, group: &str) -> Option<(i16, i32)> {
        let request = FindCoordinatorRequest { key: group.to_owned(), ..FindCoordinatorRequest::default() };
        match self.ask_in(node, 3, Request::FindCoordinator(request)).1? {
            Response::FindCoordinator(response) => Some((response.error_code, response.node_id)),
            other => panic!("not an answer to FindCoordinator: {other:?}"),
        }
    }

    pub fn commit_request(group: &str, topic: &str, partition: i32, offset: i64) -> Request {
        let partitions = vec![OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..OffsetCommitRequestPartition::default()
        }];
        let topics = vec![OffsetCommitRequestTopic { name: topic.to_owned(), partitions }];
        let generation_id_or_member_epoch = -1;
        let group_id = group.to_owned();
        Request::OffsetCommit(OffsetCommitRequest {
            group_id,
            generation_id_or_member_epoch,
            topics,
            ..Default::default()
        })
    }

    pub fn committed(response: &Response) -> i16 {
        match response {
            Response::OffsetCommit(response) => response.topics[0].partitions[0].error_code,
            other => panic!("not an answer to OffsetCommit: {other:?}"),
        }
    }

    /// Error code and offset.
    pub fn committed_offset(&mut self, node: NodeId, group: &str, topic: &str, partition: i32) -> Option<(i16, i64)> {
        let topics = vec![OffsetFetchRequestTopic { name: topic.to_owned(), partition_indexes: vec![partition] }];
        let request = OffsetFetchRequest { group_id: group.to_owned(), topics: Some(topics), ..Default::default() };
        match self.ask(node, Request::OffsetFetch(request)).1? {
            Response::OffsetFetch(response) => {
                // An error of the whole group comes without topics.
                let committed = response.topics.first().map_or(-1, |topic| topic.partitions[0].committed_offset);
                Some((response.error_code, committed))
            }
            other => panic!("not an answer to OffsetFetch: {other:?}"),
        }
    }
}

fn records_of(mut bytes: Bytes) -> Vec<Record> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let header = crate::wire::batch::BatchHeader::read(&bytes).expect("a whole batch");
        let batch = bytes.split_to(header.size);
        records.extend(read_records(&batch).expect("an uncompressed batch").expect("sound records"));
    }
    records
}

#[test]
fn what_is_produced_is_read_and_survives_the_process() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let mut world = World::on_disk(3, 1, quick_config(), Arc::clone(&disk) as Arc<dyn Disk>);
    assert_eq!(world.create_topic("orders", 2, &[]), 0);
    for number in 0..10 {
        let value = format!("order {number}");
        let leader = world.metadata(NodeId(2), "orders", 1).unwrap().1 as u16;
        let answer = world.ask(NodeId(leader), World::produce_request("orders", 1, -1, &value, None)).1;
        assert_eq!(World::produced(&answer.unwrap()), (0, number));
    }
    while world.find_coordinator(NodeId(1), "books").unwrap().0 != 0 {}
    let coordinator = NodeId(world.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
    let answer = world.ask(coordinator, World::commit_request("books", "orders", 1, 7)).1;
    assert_eq!(World::committed(&answer.unwrap()), 0);
    drop(world);

    let mut again = World::on_disk(3, 2, quick_config(), disk);
    let read = again.read_all("orders", 1);
    assert_eq!(read.len(), 10);
    assert_eq!(read[&9], "order 9");
    let coordinator = NodeId(again.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
    assert_eq!(again.committed_offset(coordinator, "books", "orders", 1), Some((0, 7)));
    let leader = again.metadata(NodeId(2), "orders", 1).unwrap().1 as u16;
    let answer = again.ask(NodeId(leader), World::produce_request("orders", 1, -1, "order 10", None)).1;
    assert_eq!(World::produced(&answer.unwrap()), (0, 10));
}

#[test]
fn a_producer_that_repeats_itself_is_heard_once() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    world.create_topic("orders", 1, &[]);
    let mut send = |sequence: i32, epoch: i16| {
        let producer = Producer { id: 7, epoch, sequence };
        let answer = world.ask(NodeId(1), World::produce_request("orders", 0, -1, "x", Some(producer))).1;
        World::produced(&answer.unwrap())
    };
    assert_eq!(send(0, 0), (0, 0));
    assert_eq!(send(1, 0), (0, 1));
    assert_eq!(send(1, 0), (0, 1), "the same batch again has its old offset");
    assert_eq!(send(3, 0).0, 45, "one is missing");
    assert_eq!(send(0, 1), (0, 2), "a new epoch begins at 0");
    assert_eq!(send(2, 0).0, 47, "the old epoch is fenced");
}
