//! What the cluster looks like to a client: brokers, topics, leaders, offsets, groups.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use atoll_kafka_wire::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use atoll_kafka_wire::generated::delete_topics_request::DeleteTopicsRequest;
use atoll_kafka_wire::generated::find_coordinator_request::FindCoordinatorRequest;
use atoll_kafka_wire::generated::list_groups_request::ListGroupsRequest;
use atoll_kafka_wire::generated::list_groups_response::ListedGroup;
use atoll_kafka_wire::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use atoll_kafka_wire::generated::metadata_request::{MetadataRequest, MetadataRequestTopic};
use atoll_kafka_wire::generated::metadata_response::{
    MetadataResponse, MetadataResponsePartition, MetadataResponseTopic,
};
use atoll_kafka_wire::generated::offset_fetch_request::{OffsetFetchRequest, OffsetFetchRequestGroup};
use atoll_kafka_wire::{Request, Response};

use super::connection::Connection;
use super::errors::refusal;
use crate::error::{Code, Failure, Result};

/// For how long something is tried again that may succeed later, and after what pause. A dead broker's partitions have another leader
/// once its session is over, which is nine seconds by default.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// How long brokers have to make or delete a topic.
const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// An error of the protocol: there is no leader at present.
const LEADER_NOT_AVAILABLE: i16 = 5;

/// A topic that is to be made; -1 is what the brokers have as their default.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas of each.
    pub replication_factor: i16,
    /// Options by Kafka's names, and their values.
    pub configs: Vec<(String, String)>,
}

/// A partition as the metadata have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The broker that leads it; -1 if none does.
    pub leader: i32,
    /// All brokers that have it.
    pub replicas: Vec<i32>,
    /// Those that are in sync.
    pub in_sync: Vec<i32>,
}

/// What a group has committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset of the record that is next.
    pub offset: i64,
}

/// A client with its connections.
#[derive(Debug)]
pub struct Client {
    servers: Vec<String>,
    open: HashMap<String, Connection>,
    brokers: BTreeMap<i32, String>,
    known: HashMap<String, Vec<Partition>>,
}

impl Client {
    /// A client of these servers: `HOST:PORT`, with commas between them.
    pub fn new(servers: &str) -> Client {
        let servers = servers.split(',').map(str::to_owned).collect();
        Client { servers, open: HashMap::new(), brokers: BTreeMap::new(), known: HashMap::new() }
    }

    /// Tries again for a while what may succeed later: no answer, no leader.
    #[allow(clippy::disallowed_methods)] // A command is outside of the kernel, and waits in real time.
    pub(super) fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut Client) -> Result<T>) -> Result<T> {
        let began = Instant::now();
        loop {
            match attempt(self) {
                Err(failure) if failure.code == Code::Timeout && began.elapsed() < PATIENCE => {
                    self.known.clear();
                    std::thread::sleep(PAUSE);
                }
                outcome => return outcome,
            }
        }
    }

    /// Asks one server, on the connection that is there or a new one.
    pub(super) fn ask_at(
        &mut self,
        server: &str,
        (request, version): (&Request, i16),
        wait: Duration,
    ) -> Result<Response> {
        let failed = |error: std::io::Error| {
            let reason = match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => " in time".to_owned(),
                _ => format!(": {error}"),
            };
            Failure::new(Code::Timeout, format!("the broker at {server} does not answer{reason}"))
                .hint("see `atoll status`: a fault may be in force")
        };
        let mut connection = match self.open.remove(server) {
            Some(connection) => connection,
            None => Connection::to(server).map_err(failed)?,
        };
        let response = connection.ask(request, version, wait).map_err(failed)?;
        self.open.insert(server.to_owned(), connection);
        Ok(response)
    }

    /// Asks any server that answers.
    fn ask_any(&mut self, request: &Request, version: i16, wait: Duration) -> Result<Response> {
        let mut outcome = Err(Failure::new(Code::Timeout, "no broker is known"));
        for server in self.servers.clone() {
            outcome = self.ask_at(&server, (request, version), wait);
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The address of a broker; an error of the passing kind if there is no such broker at present.
    pub(super) fn broker(&self, id: i32, what: &str) -> Result<String> {
        self.brokers.get(&id).cloned().ok_or_else(|| refusal(what, LEADER_NOT_AVAILABLE, None))
    }

    fn metadata(&mut self, topics: Option<&[&str]>, makes_topics: bool) -> Result<MetadataResponse> {
        let named = |name: &str| MetadataRequestTopic { name: Some(name.to_owned()), ..Default::default() };
        let request = Request::Metadata(MetadataRequest {
            topics: topics.map(|topics| topics.iter().map(|topic| named(topic)).collect()),
            allow_auto_topic_creation: makes_topics,
            ..Default::default()
        });
        let Response::Metadata(metadata) = self.ask_any(&request, 9, Duration::ZERO)? else { return Err(unexpected()) };
        let address = |broker: &atoll_kafka_wire::generated::metadata_response::MetadataResponseBroker| {
            (broker.node_id, format!("{}:{}", broker.host, broker.port))
        };
        self.brokers = metadata.brokers.iter().map(address).collect();
        Ok(metadata)
    }

    /// All topics.
    pub fn topics(&mut self) -> Result<Vec<MetadataResponseTopic>> {
        self.patiently(|client| Ok(client.metadata(None, false)?.topics))
    }

    /// The partitions of a topic, in order. One that does not exist is made if `makes_it` and the brokers do so.
    pub fn partitions(&mut self, topic: &str, makes_it: bool) -> Result<Vec<Partition>> {
        self.patiently(|client| client.partitions_now(topic, makes_it))
    }

    /// The same, asked once at most.
    pub(super) fn partitions_now(&mut self, topic: &str, makes_it: bool) -> Result<Vec<Partition>> {
        if let Some(partitions) = self.known.get(topic) {
            return Ok(partitions.clone());
        }
        let metadata = self.metadata(Some(&[topic]), makes_it)?;
        let found = metadata.topics.into_iter().next().ok_or_else(unexpected)?;
        if found.error_code != 0 {
            let failure = refusal(&format!("topic {topic}"), found.error_code, None);
            // One that is made because it was asked for is not there yet in the answer to that.
            let is_coming = makes_it && failure.code == Code::NotFound;
            return Err(if is_coming { Failure { code: Code::Timeout, ..failure } } else { failure });
        }
        let partition = |of: MetadataResponsePartition| Partition {
            index: of.partition_index,
            leader: of.leader_id,
            replicas: of.replica_nodes,
            in_sync: of.isr_nodes,
        };
        let mut partitions: Vec<Partition> = found.partitions.into_iter().map(partition).collect();
        partitions.sort_by_key(|partition| partition.index);
        self.known.insert(topic.to_owned(), partitions.clone());
        Ok(partitions)
    }

    /// The offset at each partition's beginning (`timestamp` -2) or end (-1). Partitions without a leader have none.
    pub fn offsets(&mut self, topic: &str, timestamp: i64) -> Result<BTreeMap<i32, i64>> {
        self.patiently(|client| client.offsets_now(topic, timestamp, false))
    }

    /// The same, as far as leaders tell it at once.
    pub fn offsets_told(&mut self, topic: &str, timestamp: i64) -> Result<BTreeMap<i32, i64>> {
        self.offsets_now(topic, timestamp, true)
    }

    fn offsets_now(&mut self, topic: &str, timestamp: i64, is_lenient: bool) -> Result<BTreeMap<i32, i64>> {
        let mut led: BTreeMap<i32, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for Partition { index, leader, .. } in self.partitions_now(topic, false)? {
            let asked = ListOffsetsPartition { partition_index: index, timestamp, ..Default::default() };
            led.entry(leader).or_default().push(asked);
        }
        led.remove(&-1);
        let mut offsets = BTreeMap::new();
        for (leader, partitions) in led {
            let what = format!("topic {topic}");
            let server = self.broker(leader, &what)?;
            let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
            let request = Request::ListOffsets(ListOffsetsRequest { replica_id: -1, topics, ..Default::default() });
            let answer = match self.ask_at(&server, (&request, 7), Duration::ZERO) {
                Err(_) if is_lenient => continue,
                answer => answer?,
            };
            let Response::ListOffsets(answer) = answer else { return Err(unexpected()) };
            for partition in answer.topics.into_iter().flat_map(|topic| topic.partitions) {
                if partition.error_code != 0 && is_lenient {
                    continue;
                }
                check(&what, partition.error_code, None)?;
                offsets.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(offsets)
    }

    /// Makes a topic.
    pub fn create(&mut self, topic: &NewTopic) -> Result<()> {
        let config =
            |(name, value): &(String, String)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) };
        let made = CreatableTopic {
            name: topic.name.clone(),
            num_partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            configs: topic.configs.iter().map(config).collect(),
            ..Default::default()
        };
        let timeout_ms = ADMIN_TIMEOUT.as_millis() as i32;
        let request =
            Request::CreateTopics(CreateTopicsRequest { topics: vec![made], timeout_ms, validate_only: false });
        let Response::CreateTopics(answer) = self.ask_any(&request, 7, ADMIN_TIMEOUT)? else {
            return Err(unexpected());
        };
        let result = answer.topics.into_iter().next().ok_or_else(unexpected)?;
        check(&format!("topic {}", topic.name), result.error_code, result.error_message.as_deref())
    }

    /// Deletes a topic.
    pub fn delete(&mut self, topic: &str) -> Result<()> {
        let (topic_names, timeout_ms) = (vec![topic.to_owned()], ADMIN_TIMEOUT.as_millis() as i32);
        let request = Request::DeleteTopics(DeleteTopicsRequest { topic_names, timeout_ms, ..Default::default() });
        let Response::DeleteTopics(answer) = self.ask_any(&request, 5, ADMIN_TIMEOUT)? else {
            return Err(unexpected());
        };
        let result = answer.responses.into_iter().next().ok_or_else(unexpected)?;
        check(&format!("topic {topic}"), result.error_code, result.error_message.as_deref())
    }

    /// The groups of all brokers, by name.
    pub fn groups(&mut self) -> Result<Vec<ListedGroup>> {
        self.patiently(|client| {
            client.metadata(Some(&[]), false)?;
            let mut groups = Vec::new();
            for server in client.brokers.clone().into_values() {
                let request = Request::ListGroups(ListGroupsRequest::default());
                let answer = client.ask_at(&server, (&request, 5), Duration::ZERO)?;
                let Response::ListGroups(answer) = answer else { return Err(unexpected()) };
                check("groups", answer.error_code, None)?;
                groups.extend(answer.groups);
            }
            groups.sort_by(|one, other| one.group_id.cmp(&other.group_id));
            Ok(groups)
        })
    }

    /// What a group has committed, in order.
    pub fn committed(&mut self, group: &str) -> Result<Vec<Committed>> {
        self.patiently(|client| {
            let what = format!("group {group}");
            let keys = vec![group.to_owned()];
            let find =
                Request::FindCoordinator(FindCoordinatorRequest { coordinator_keys: keys, ..Default::default() });
            let found = client.ask_any(&find, 4, Duration::ZERO)?;
            let Response::FindCoordinator(found) = found else { return Err(unexpected()) };
            let coordinator = found.coordinators.into_iter().next().ok_or_else(unexpected)?;
            check(&what, coordinator.error_code, coordinator.error_message.as_deref())?;
            let asked = OffsetFetchRequestGroup { group_id: group.to_owned(), topics: None, ..Default::default() };
            let request = Request::OffsetFetch(OffsetFetchRequest { groups: vec![asked], ..Default::default() });
            let server = format!("{}:{}", coordinator.host, coordinator.port);
            let answer = client.ask_at(&server, (&request, 8), Duration::ZERO)?;
            let Response::OffsetFetch(answer) = answer else { return Err(unexpected()) };
            let group = answer.groups.into_iter().next().ok_or_else(unexpected)?;
            check(&what, group.error_code, None)?;
            let mut committed = Vec::new();
            for topic in group.topics {
                committed.extend(topic.partitions.iter().map(|partition| Committed {
                    topic: topic.name.clone(),
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                }));
            }
            committed.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
            Ok(committed)
        })
    }
}

/// No error, or the refusal that it is.
pub(super) fn check(what: &str, code: i16, said: Option<&str>) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(refusal(what, code, said)) }
}

/// An answer to another question.
pub(super) fn unexpected() -> Failure {
    Failure::new(Code::KafkaRefused, "a broker's answer does not fit the question")
}
