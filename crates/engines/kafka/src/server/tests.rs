//! What the ledger makes of answers that faults keep from clients: one broker on loopback, and clients that are plain sockets.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, Kernel, Kind, NodeConfig, NodeId, Pattern, Rule, Seed, Trigger, Verdict};
use atoll_net::Host;
use atoll_wire::{Reader, Writer};
use bytes::Bytes;

use super::{Handle, Kafka};
use crate::cluster::{ACKNOWLEDGED, PART};
use crate::config::Config;
use crate::wire::generated::api::ApiKey;
use crate::wire::generated::create_topics_request::CreatableTopic;
use crate::wire::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::generated::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::generated::{CreateTopicsRequest, ListOffsetsRequest, ProduceRequest};
use crate::wire::record::write_batch;
use crate::wire::{Request, Response};

const ONE: NodeId = NodeId(1);

/// A broker that runs, with a topic of one partition, whose log is in no file before its power fails.
struct Broker {
    kernel: Kernel,
    handle: Handle,
    address: SocketAddr,
}

impl Broker {
    fn start() -> Broker {
        // Instance 78 keeps clear of stacks that run on this machine.
        let kernel = Kernel::live(vec![NodeConfig::numbered(78, 1)], Seed(1));
        let host = Host::new(kernel.clone(), Arc::new(MemoryDisk::ephemeral()), None);
        let config = Config { port: 0, default_replication_factor: 1, ..Config::default() };
        let handle = Kafka::start(config, host, None).expect("a free port on loopback");
        let address = handle.addresses()[0].1;
        let broker = Broker { kernel, handle, address };
        let topic = CreatableTopic {
            name: "audit".to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only: false };
        let answer = broker.connect().ask(ApiKey::CreateTopics, 4, &Request::CreateTopics(request)).expect("a broker");
        let Response::CreateTopics(created) = answer else { panic!("not an answer to CreateTopics: {answer:?}") };
        assert_eq!(created.topics[0].error_code, 0);
        broker
    }

    fn connect(&self) -> Client {
        Client(TcpStream::connect(self.address).expect("a broker that listens"))
    }

    /// Has a fault happen when the next produce request is about to be answered.
    fn when_acknowledged(&self, fault: Fault) {
        self.kernel.when(Trigger { point: ACKNOWLEDGED.to_owned(), node: Some(ONE), nth: 1, fault });
    }

    /// Waits until the log has so many records.
    fn await_records(&self, count: i64) {
        let mut client = self.connect();
        while client.log_end() != count {}
    }

    /// How many acknowledged records the ledger names, after the power failed and took whatever was not synced.
    fn named_after_power_failure(&self) -> u64 {
        self.kernel.inject(&Fault::Power(ONE));
        // The core is told of faults before it is asked anything.
        self.handle.status();
        self.kernel.with_ledger(|ledger| ledger.count(PART, Kind::AckedLost))
    }
}

struct Client(TcpStream);

impl Client {
    fn send(&mut self, api: ApiKey, version: i16, request: &Request) -> io::Result<()> {
        let mut writer = Writer::new();
        writer.i16(api as i16);
        writer.i16(version);
        writer.i32(7);
        // No name.
        writer.i16(-1);
        request.encode(&mut writer, version);
        let bytes = writer.into_bytes();
        self.0.write_all(&(bytes.len() as i32).to_be_bytes())?;
        self.0.write_all(&bytes)
    }

    fn receive(&mut self, api: ApiKey, version: i16) -> io::Result<Response> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut bytes = vec![0; i32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut bytes)?;
        // What the request was called, 7, comes first.
        let mut reader = Reader::new(Bytes::from(bytes).slice(4..));
        Ok(Response::decode(api, &mut reader, version).expect("an answer"))
    }

    fn ask(&mut self, api: ApiKey, version: i16, request: &Request) -> io::Result<Response> {
        self.send(api, version, request)?;
        self.receive(api, version)
    }

    fn send_record(&mut self, acks: i16) {
        let batch = write_batch(&[(Some(b"key"), Some(b"value"))], 1_767_225_600_000, None);
        let partition_data = vec![PartitionProduceData { index: 0, records: Some(batch) }];
        let topic_data = vec![TopicProduceData { name: "audit".to_owned(), partition_data }];
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms: 30_000, topic_data };
        self.send(ApiKey::Produce, 7, &Request::Produce(request)).expect("a socket that is open");
    }

    /// The offset of the record that was sent, if the broker says that it has it.
    fn told(&mut self) -> io::Result<i64> {
        let answer = self.receive(ApiKey::Produce, 7)?;
        let Response::Produce(produced) = answer else { panic!("not an answer to Produce: {answer:?}") };
        let part = &produced.responses[0].partition_responses[0];
        assert_eq!(part.error_code, 0);
        Ok(part.base_offset)
    }

    fn log_end(&mut self) -> i64 {
        let latest = ListOffsetsPartition { timestamp: -1, ..ListOffsetsPartition::default() };
        let topics = vec![ListOffsetsTopic { name: "audit".to_owned(), partitions: vec![latest] }];
        let request = Request::ListOffsets(ListOffsetsRequest { topics, ..ListOffsetsRequest::default() });
        let answer = self.ask(ApiKey::ListOffsets, 2, &request).expect("a broker that serves");
        let Response::ListOffsets(offsets) = answer else { panic!("not an answer to ListOffsets: {answer:?}") };
        offsets.topics[0].partitions[0].offset
    }
}

#[test]
fn what_a_client_was_told_and_is_gone_is_named() {
    let broker = Broker::start();
    for acks in [1, -1] {
        let mut client = broker.connect();
        client.send_record(acks);
        client.told().expect("an answer");
    }
    assert_eq!(broker.named_after_power_failure(), 2);
}

/// The power fails in the moment in which the answer is made: it stays behind in the broker, and the client sees its connection
/// reset. The ledger named the record as acknowledged and lost.
#[test]
fn an_answer_that_died_with_its_broker_was_told_to_nobody() {
    for acks in [1, -1] {
        let broker = Broker::start();
        broker.when_acknowledged(Fault::Power(ONE));
        let mut client = broker.connect();
        client.send_record(acks);
        client.told().expect_err("the broker is dead");
        assert_eq!(broker.named_after_power_failure(), 0, "acks={acks}");
    }
}

/// The link is cut in the moment in which the answer is made: the answer waits for as long as the cut lasts, and its client may
/// hang up before. The ledger named the record although the client never learned of it.
#[test]
fn an_answer_that_a_cut_held_back_counts_if_its_client_still_waits() {
    for (acks, waits, named) in [(1, true, 1), (1, false, 0), (-1, true, 1), (-1, false, 0)] {
        let broker = Broker::start();
        broker.when_acknowledged(Fault::AddRule(Rule::new(Pattern::node(ONE), Pattern::Client, Verdict::Drop)));
        let mut client = broker.connect();
        client.send_record(acks);
        while broker.kernel.is_healthy() {}
        if waits {
            broker.kernel.inject(&Fault::Heal);
            client.told().expect("the answer, late");
        } else {
            drop(client);
            broker.kernel.inject(&Fault::Heal);
            broker.await_records(1);
        }
        assert_eq!(broker.named_after_power_failure(), named, "acks={acks}, the client waits: {waits}");
    }
}

/// The request waits in the socket while its link is cut, and its client hangs up. The broker takes it when the link heals, and
/// answers into a connection that nobody is at the other end of.
#[test]
fn an_answer_to_a_client_that_hung_up_was_told_to_nobody() {
    for acks in [1, -1] {
        let broker = Broker::start();
        let mut client = broker.connect();
        broker.kernel.inject(&Fault::AddRule(Rule::new(Pattern::Client, Pattern::node(ONE), Verdict::Drop)));
        client.send_record(acks);
        drop(client);
        broker.kernel.inject(&Fault::Heal);
        broker.await_records(1);
        assert_eq!(broker.named_after_power_failure(), 0, "acks={acks}");
    }
}
