//! Quotas, from their setting to what they do to a client.

use super::*;
use crate::quotas::Usage;
use crate::wire::generated::alter_client_quotas_request::{EntityData, EntryData, OpData};
use crate::wire::generated::create_topics_request::CreatableTopic;
use crate::wire::generated::describe_client_quotas_request::ComponentData;
use crate::wire::generated::*;

fn scene() -> Scene {
    Scene::with(Config::default(), Arc::new(MemoryDisk::ephemeral()), ListenerOptions::plaintext(9092))
}

/// Sets one quota for the entity of these types and names; no name is the default.
fn set(scene: &mut Scene, entity: &[(&str, Option<&str>)], key: &str, value: Option<f64>) -> (i16, String) {
    let part = |(kind, name): &(&str, Option<&str>)| EntityData {
        entity_type: (*kind).to_owned(),
        entity_name: name.map(str::to_owned),
    };
    let change = OpData { key: key.to_owned(), value: value.unwrap_or_default(), remove: value.is_none() };
    let entry = EntryData { entity: entity.iter().map(part).collect(), ops: vec![change] };
    let request = AlterClientQuotasRequest { entries: vec![entry], validate_only: false };
    match scene.administer(Request::AlterClientQuotas(request)) {
        Response::AlterClientQuotas(response) => {
            let entry = &response.entries[0];
            (entry.error_code, entry.error_message.clone().unwrap_or_default())
        }
        other => panic!("another answer: {other:?}"),
    }
}

fn done() -> (i16, String) {
    (0, String::new())
}

/// For how long a client is muted after it was answered, and what it is told.
fn throttled(scene: &mut Scene, response: Response, usage: Usage) -> (Duration, i32) {
    let caller = Caller { principal: "User:bob".to_owned(), ..scene.caller(9) };
    let mut outcome = Outcome::from(response);
    let muted = scene.simulation.call(|cluster, ctx| cluster.throttle(ctx, &caller, &mut outcome, usage));
    let Outcome::Reply(mut response) = outcome else { panic!("the answer is lost") };
    (muted, *response.throttle_time_ms().expect("it has words for it"))
}

fn produced(scene: &mut Scene, request_bytes: usize) -> (Duration, i32) {
    let usage = Usage { request_bytes, busy: Duration::ZERO };
    throttled(scene, Response::Produce(ProduceResponse::default()), usage)
}

#[test]
fn a_producer_above_its_rate_is_muted_until_it_is_within() {
    let mut scene = scene();
    assert_eq!(produced(&mut scene, 1 << 20), (Duration::ZERO, 0));
    assert_eq!(set(&mut scene, &[("user", Some("bob"))], "producer_byte_rate", Some(1_000.0)), done());
    scene.simulation.run_for(Duration::from_secs(20));
    assert_eq!(produced(&mut scene, 10_000), (Duration::ZERO, 0));
    assert_eq!(produced(&mut scene, 5_000), (Duration::from_secs(5), 5_000));
    assert_eq!(set(&mut scene, &[("user", Some("bob"))], "producer_byte_rate", None), done());
    assert_eq!(produced(&mut scene, 5_000), (Duration::ZERO, 0));
}

#[test]
fn work_counts_as_a_share_of_time_and_mutes_for_a_second_at_most() {
    let mut scene = scene();
    assert_eq!(set(&mut scene, &[("client-id", None)], "request_percentage", Some(1.0)), done());
    let usage = Usage { request_bytes: 0, busy: Duration::from_secs(1) };
    let answer = Response::Heartbeat(HeartbeatResponse::default());
    assert_eq!(throttled(&mut scene, answer, usage), (Duration::from_secs(1), 1_000));
}

#[test]
fn changes_to_topics_are_refused_or_muted_by_the_age_of_the_client() {
    let mut scene = scene();
    assert_eq!(set(&mut scene, &[("user", None)], "controller_mutation_rate", Some(1.0)), done());
    let mut create = |version: i16, name: &str| {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions: 20,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false };
        let caller = scene.caller(version);
        let outcome = scene.simulation.call(|cluster, ctx| cluster.apply(ctx, &caller, Request::CreateTopics(request)));
        match outcome {
            Outcome::Reply(response) => match *response {
                Response::CreateTopics(response) => (response.topics[0].error_code, response.throttle_time_ms),
                other => panic!("another answer: {other:?}"),
            },
            other => panic!("no answer: {other:?}"),
        }
    };
    // A burst of eleven is there to begin with, and nine are owed, of which new clients hear when they are refused.
    assert_eq!(create(7, "one"), (0, 0));
    assert_eq!(create(7, "two"), (89, 9_000));
    assert_eq!(create(5, "three"), (0, 29_000));
}

#[test]
fn connections_from_one_address_are_counted() {
    let mut scene = scene();
    let came =
        |scene: &mut Scene, ip: &str| scene.simulation.call(|cluster, ctx| cluster.connection_came(ctx, NodeId(1), ip));
    assert_eq!(came(&mut scene, "127.0.0.1"), None);
    assert_eq!(set(&mut scene, &[("ip", None)], "connection_creation_rate", Some(1.0)), done());
    for _ in 0..10 {
        assert_eq!(came(&mut scene, "127.0.0.1"), None);
    }
    assert!(came(&mut scene, "127.0.0.1").is_some());
    assert_eq!(came(&mut scene, "127.0.0.2"), None, "each address has its own");
}

#[test]
fn quotas_that_make_no_sense_are_refused_with_kafkas_words() {
    let mut scene = scene();
    let mut refused = |entity: &[(&str, Option<&str>)], key: &str, value: f64| {
        let (error, reason) = set(&mut scene, entity, key, Some(value));
        assert_eq!(error, 42);
        reason
    };
    let bob = &[("user", Some("bob"))];
    assert_eq!(refused(&[], "producer_byte_rate", 1.0), "Invalid empty client quota entity");
    assert_eq!(refused(&[("group", None)], "producer_byte_rate", 1.0), "Unhandled client quota entity type: group");
    assert_eq!(refused(&[("user", Some(""))], "producer_byte_rate", 1.0), "Empty user not supported");
    assert_eq!(refused(bob, "speed", 1.0), "Invalid configuration key speed");
    assert_eq!(refused(bob, "producer_byte_rate", 0.0), "Quota producer_byte_rate must be greater than 0");
    assert_eq!(refused(bob, "producer_byte_rate", 1.5), "producer_byte_rate cannot be a fractional value.");
    assert_eq!(refused(bob, "request_percentage", f64::NAN), "Quota request_percentage must be greater than 0");
    let ip = refused(&[("ip", Some("nowhere"))], "connection_creation_rate", 1.0);
    assert_eq!(ip, "nowhere is not a valid IP or resolvable host.");
}

#[test]
fn quotas_survive_a_restart_and_are_found_by_their_entities() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::ephemeral());
    let open =
        |disk: &Arc<dyn Disk>| Scene::with(Config::default(), Arc::clone(disk), ListenerOptions::plaintext(9092));
    let mut scene = open(&disk);
    set(&mut scene, &[("user", Some("bob")), ("client-id", None)], "consumer_byte_rate", Some(5.0));
    set(&mut scene, &[("user", Some("bob"))], "request_percentage", Some(0.5));
    set(&mut scene, &[("user", None)], "request_percentage", Some(1.5));
    drop(scene);
    let mut scene = open(&disk);
    let mut found = |components: &[(&str, i8, Option<&str>)], strict: bool| {
        let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| ComponentData {
            entity_type: (*kind).to_owned(),
            match_type: *match_type,
            r#match: name.map(str::to_owned),
        };
        let components = components.iter().map(component).collect();
        let request = DescribeClientQuotasRequest { components, strict };
        match scene.administer(Request::DescribeClientQuotas(request)) {
            Response::DescribeClientQuotas(response) => {
                let entries = response.entries.unwrap_or_default();
                entries.iter().map(|entry| entry.values[0].value).collect::<Vec<_>>()
            }
            other => panic!("another answer: {other:?}"),
        }
    };
    assert_eq!(found(&[], false), [1.5, 0.5, 5.0]);
    assert_eq!(found(&[("user", 0, Some("bob"))], false), [0.5, 5.0]);
    assert_eq!(found(&[("user", 0, Some("bob"))], true), [0.5]);
    assert_eq!(found(&[("user", 1, None)], true), [1.5]);
    assert_eq!(found(&[("client-id", 2, None)], false), [5.0]);
    assert_eq!(found(&[("ip", 2, None)], false), [0.0; 0]);
}
