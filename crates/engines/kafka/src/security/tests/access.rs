//! What callers may do, request by request.

use super::*;
use crate::config::TransactionConfig;
use crate::wire::generated::create_acls_request::AclCreation;
use crate::wire::generated::create_topics_request::CreatableTopic;
use crate::wire::generated::delete_acls_request::DeleteAclsFilter;
use crate::wire::generated::metadata_request::MetadataRequestTopic;
use crate::wire::generated::*;

const STANDARD: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

fn guarded() -> Config {
    let security = SecurityConfig {
        authorizer_class_name: STANDARD.to_owned(),
        super_users: "User:admin".to_owned(),
        ..SecurityConfig::default()
    };
    Config {
        security,
        auto_create_topics_enable: false,
        offsets_topic_num_partitions: 1,
        transactions: TransactionConfig { state_log_num_partitions: 1, ..TransactionConfig::default() },
        ..Config::default()
    }
}

/// A guarded broker that is asked in the name of anybody.
struct Guarded {
    scene: Scene,
}

impl Guarded {
    fn on_disk(disk: Arc<dyn Disk>) -> Guarded {
        Guarded { scene: Scene::with(guarded(), disk, ListenerOptions::plaintext(9092)) }
    }

    fn new() -> Guarded {
        Guarded::on_disk(Arc::new(MemoryDisk::ephemeral()))
    }

    fn ask(&mut self, user: &str, version: i16, request: Request) -> Response {
        let caller = Caller { principal: format!("User:{user}"), ..self.scene.caller(version) };
        match self.scene.simulation.call(|cluster, ctx| cluster.apply(ctx, &caller, request)) {
            Outcome::Reply(response) => *response,
            other => panic!("no answer: {other:?}"),
        }
    }

    fn create_topic(&mut self, user: &str, name: &str) -> i16 {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false };
        match self.ask(user, 7, Request::CreateTopics(request)) {
            Response::CreateTopics(response) => response.topics[0].error_code,
            other => panic!("another answer: {other:?}"),
        }
    }

    /// A rule for `User:bob`, by the numbers of kind, pattern, operation and permission.
    fn add_rule(&mut self, user: &str, name: &str, numbers: [i8; 4]) -> (i16, Option<String>) {
        let [resource_type, resource_pattern_type, operation, permission_type] = numbers;
        let creation = AclCreation {
            resource_type,
            resource_name: name.to_owned(),
            resource_pattern_type,
            principal: "User:bob".to_owned(),
            host: "*".to_owned(),
            operation,
            permission_type,
        };
        match self.ask(user, 3, Request::CreateAcls(CreateAclsRequest { creations: vec![creation] })) {
            Response::CreateAcls(response) => {
                let result = &response.results[0];
                (result.error_code, result.error_message.clone())
            }
            other => panic!("another answer: {other:?}"),
        }
    }

    /// The error of a topic that is asked for by name, and the names of all that are seen.
    fn metadata(&mut self, user: &str, name: Option<&str>) -> (i16, Vec<String>) {
        let topics = name
            .map(|name| vec![MetadataRequestTopic { name: Some(name.to_owned()), ..MetadataRequestTopic::default() }]);
        let request = MetadataRequest { topics, ..MetadataRequest::default() };
        match self.ask(user, 12, Request::Metadata(request)) {
            Response::Metadata(response) => {
                let error = response.topics.first().map_or(0, |topic| topic.error_code);
                (error, response.topics.into_iter().filter_map(|topic| topic.name).collect())
            }
            other => panic!("another answer: {other:?}"),
        }
    }
}

const TOPIC: i8 = 2;
const GROUP: i8 = 3;
const CLUSTER: i8 = 4;
const LITERAL: i8 = 3;
const READ: i8 = 3;
const WRITE: i8 = 4;
const DENY: i8 = 2;
const ALLOW: i8 = 3;

#[test]
fn without_an_authorizer_there_are_no_rules() {
    let mut scene = Scene::with(Config::default(), Arc::new(MemoryDisk::ephemeral()), ListenerOptions::plaintext(9092));
    let creation = AclCreation {
        resource_type: TOPIC,
        resource_name: "t".to_owned(),
        resource_pattern_type: LITERAL,
        principal: "User:bob".to_owned(),
        host: "*".to_owned(),
        operation: READ,
        permission_type: ALLOW,
    };
    let request = Request::CreateAcls(CreateAclsRequest { creations: vec![creation] });
    let Response::CreateAcls(response) = scene.administer(request) else { panic!("another answer") };
    let refused = (response.results[0].error_code, response.results[0].error_message.as_deref());
    assert_eq!(refused, (54, Some("No Authorizer is configured.")));
}

#[test]
fn a_topic_is_seen_by_whoever_may_and_by_nobody_else() {
    let mut broker = Guarded::new();
    assert_eq!(broker.create_topic("bob", "orders"), 29);
    assert_eq!(broker.create_topic("admin", "orders"), 0);
    assert_eq!(broker.create_topic("admin", "secret"), 0);
    assert_eq!(broker.metadata("bob", Some("orders")), (29, vec!["orders".to_owned()]));
    assert_eq!(broker.metadata("bob", Some("nothing")).0, 29, "whether it is there is not told");
    assert_eq!(broker.metadata("bob", None), (0, vec![]));
    assert_eq!(broker.add_rule("bob", "orders", [TOPIC, LITERAL, READ, ALLOW]).0, 31);
    assert_eq!(broker.add_rule("admin", "orders", [TOPIC, LITERAL, READ, ALLOW]), (0, Some(String::new())));
    assert_eq!(broker.metadata("bob", None), (0, vec!["orders".to_owned()]));
    assert_eq!(broker.metadata("eve", None), (0, vec![]));
}

#[test]
fn rules_survive_a_restart_and_can_be_deleted() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::ephemeral());
    let mut broker = Guarded::on_disk(Arc::clone(&disk));
    broker.create_topic("admin", "orders");
    broker.add_rule("admin", "orders", [TOPIC, LITERAL, WRITE, ALLOW]);
    broker.add_rule("admin", "orders", [TOPIC, LITERAL, READ, DENY]);
    drop(broker);
    let mut broker = Guarded::on_disk(disk);
    assert_eq!(broker.metadata("bob", Some("orders")).0, 0);
    let any = DeleteAclsFilter {
        resource_type_filter: TOPIC,
        pattern_type_filter: 2,
        resource_name_filter: Some("orders".to_owned()),
        principal_filter: None,
        host_filter: None,
        operation: 1,
        permission_type: 1,
    };
    let delete = |filter: &DeleteAclsFilter| Request::DeleteAcls(DeleteAclsRequest { filters: vec![filter.clone()] });
    let Response::DeleteAcls(response) = broker.ask("admin", 3, delete(&any)) else { panic!("another answer") };
    assert_eq!(response.filter_results[0].matching_acls.len(), 2);
    let Response::DeleteAcls(response) = broker.ask("bob", 3, delete(&any)) else { panic!("another answer") };
    assert_eq!(response.filter_results[0].error_code, 31);
    assert_eq!(broker.metadata("bob", Some("orders")).0, 29);
}

#[test]
fn rules_that_make_no_sense_are_refused_with_kafkas_words() {
    let mut broker = Guarded::new();
    let mut refused = |name: &str, numbers| {
        let (error, reason) = broker.add_rule("admin", name, numbers);
        assert_eq!(error, 42);
        reason.unwrap_or_default()
    };
    let cluster = refused("other", [CLUSTER, LITERAL, 7, ALLOW]);
    assert_eq!(cluster, "The only valid name for the CLUSTER resource is kafka-cluster");
    assert_eq!(refused("", [TOPIC, LITERAL, READ, ALLOW]), "Invalid empty resource name");
    assert_eq!(refused("t", [99, LITERAL, READ, ALLOW]), "Invalid resourceType UNKNOWN");
    assert_eq!(refused("t", [TOPIC, 9, READ, ALLOW]), "Invalid patternType UNKNOWN");
    assert_eq!(refused("t", [TOPIC, LITERAL, -1, ALLOW]), "Invalid operation UNKNOWN");
    assert_eq!(refused("t", [TOPIC, LITERAL, READ, 99]), "Invalid permissionType UNKNOWN");
    // What only filters have is no rule that could be wrong.
    for numbers in [[1, LITERAL, READ, ALLOW], [TOPIC, 2, READ, ALLOW], [TOPIC, LITERAL, 1, ALLOW]] {
        assert_eq!(broker.add_rule("admin", "t", numbers), (-1, None));
    }
}

#[test]
fn groups_transactions_and_the_cluster_are_guarded() {
    let mut broker = Guarded::new();
    let group_id = || "g".to_owned();
    let heartbeat = || Request::Heartbeat(HeartbeatRequest { group_id: group_id(), ..HeartbeatRequest::default() });
    let error = |response: Response| match response {
        Response::Heartbeat(response) => response.error_code,
        Response::JoinGroup(response) => response.error_code,
        Response::InitProducerId(response) => response.error_code,
        Response::EndTxn(response) => response.error_code,
        Response::DescribeQuorum(response) => response.error_code,
        Response::ElectLeaders(response) => response.error_code,
        Response::DescribeGroups(response) => response.groups[0].error_code,
        Response::FindCoordinator(response) => response.error_code,
        other => panic!("another answer: {other:?}"),
    };
    assert_eq!(error(broker.ask("bob", 4, heartbeat())), 30);
    let join = Request::JoinGroup(JoinGroupRequest { group_id: group_id(), ..JoinGroupRequest::default() });
    assert_eq!(error(broker.ask("bob", 9, join)), 30);
    let find = || FindCoordinatorRequest { key: group_id(), ..FindCoordinatorRequest::default() };
    assert_eq!(error(broker.ask("bob", 3, Request::FindCoordinator(find()))), 30);
    let find = FindCoordinatorRequest { key_type: 1, ..find() };
    assert_eq!(error(broker.ask("bob", 3, Request::FindCoordinator(find))), 53);
    let groups = DescribeGroupsRequest { groups: vec![group_id()], ..DescribeGroupsRequest::default() };
    assert_eq!(error(broker.ask("bob", 5, Request::DescribeGroups(groups))), 30);
    let with_id = |id: Option<&str>| {
        let transactional_id = id.map(str::to_owned);
        Request::InitProducerId(InitProducerIdRequest { transactional_id, ..InitProducerIdRequest::default() })
    };
    assert_eq!(error(broker.ask("bob", 4, with_id(Some("id")))), 53);
    assert_eq!(error(broker.ask("bob", 4, with_id(None))), 31);
    let end = EndTxnRequest { transactional_id: "id".to_owned(), ..EndTxnRequest::default() };
    assert_eq!(error(broker.ask("bob", 3, Request::EndTxn(end))), 53);
    assert_eq!(error(broker.ask("bob", 0, Request::DescribeQuorum(DescribeQuorumRequest::default()))), 31);
    assert_eq!(error(broker.ask("bob", 2, Request::ElectLeaders(ElectLeadersRequest::default()))), 31);
    // With a topic that may be written to comes the right to a producer's id.
    broker.add_rule("admin", "orders", [TOPIC, LITERAL, WRITE, ALLOW]);
    assert_eq!(error(broker.ask("bob", 4, with_id(None))), 0);
    broker.add_rule("admin", "g", [GROUP, LITERAL, READ, ALLOW]);
    assert_ne!(error(broker.ask("bob", 4, heartbeat())), 30);
}

#[test]
fn operations_that_are_allowed_are_told_as_bits() {
    let mut broker = Guarded::new();
    broker.create_topic("admin", "orders");
    broker.add_rule("admin", "orders", [TOPIC, LITERAL, WRITE, ALLOW]);
    let request = || {
        Request::Metadata(MetadataRequest {
            topics: None,
            include_topic_authorized_operations: true,
            include_cluster_authorized_operations: true,
            ..MetadataRequest::default()
        })
    };
    let mut told = |user| match broker.ask(user, 10, request()) {
        Response::Metadata(response) => {
            (response.topics[0].topic_authorized_operations, response.cluster_authorized_operations)
        }
        other => panic!("another answer: {other:?}"),
    };
    assert_eq!(told("bob"), (1 << WRITE | 1 << 8, 0));
    assert_eq!(told("admin"), (0b1101_1111_1000, 0b1_1111_1010_0000));
}
