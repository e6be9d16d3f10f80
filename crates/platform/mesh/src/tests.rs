//! Tests of the pure parts: names, routes, choices, messages. What needs pods is in `tests/it`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use atoll_kernel::{Moment, NodeId};
use proptest::prelude::*;

use crate::balance::Balancer;
use crate::dns::wire::{self, Answer, Code, Data, kind};
use crate::dns::zone;
use crate::route::{Route, route};
use crate::table::{Endpoint, Service, ServicePort, ServiceTable};
use crate::tunnel::Preface;

fn endpoint(last: u8, ready: bool) -> Endpoint {
    Endpoint {
        ip: Ipv4Addr::new(10, 244, 1, last),
        node: Some(NodeId(1)),
        ready,
        hostname: (last == 5).then(|| "db-0".to_owned()),
        ports: BTreeMap::from([("http".to_owned(), 8080)]),
    }
}

fn table() -> ServiceTable {
    let web = Service {
        namespace: "shop".into(),
        name: "web".into(),
        cluster_ip: Some(Ipv4Addr::new(10, 96, 0, 20)),
        ports: vec![ServicePort { name: "http".into(), port: 80, node_port: None }],
        endpoints: vec![endpoint(5, true), endpoint(6, false), endpoint(7, true)],
        ..Service::default()
    };
    let db = Service { name: "db".into(), cluster_ip: None, ..web.clone() };
    let outside = Service {
        namespace: "shop".into(),
        name: "outside".into(),
        external_name: Some("db.example.org".into()),
        ..Service::default()
    };
    ServiceTable::new([web, db, outside])
}

fn question(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&[0, 1]);
    message
}

fn ask(name: &str, kind: u16) -> Option<Answer> {
    zone::answer(&table(), &wire::decode(&question(name, kind)).expect("a question"), 0)
}

fn address(last: u8) -> Data {
    Data::Address(Ipv4Addr::new(10, 244, 1, last))
}

fn records(name: &str, kind: u16) -> Vec<Data> {
    let answer = ask(name, kind).expect("a name of the cluster");
    assert_eq!(answer.code, Code::NoError, "{name}");
    answer.records
}

#[test]
fn services_have_their_address_and_headless_ones_those_of_their_ready_endpoints() {
    assert_eq!(records("web.shop.svc.cluster.local", kind::A), [Data::Address(Ipv4Addr::new(10, 96, 0, 20))]);
    assert_eq!(records("WEB.Shop.svc.CLUSTER.local", kind::A), [Data::Address(Ipv4Addr::new(10, 96, 0, 20))]);
    assert_eq!(records("db.shop.svc.cluster.local", kind::A), [address(5), address(7)]);
    assert_eq!(records("db-0.db.shop.svc.cluster.local", kind::A), [address(5)]);
    assert_eq!(records("10-244-1-7.db.shop.svc.cluster.local", kind::A), [address(7)]);
    assert_eq!(records("10-244-1-9.shop.pod.cluster.local", kind::A), [address(9)]);
    let alias = Data::Name(kind::CNAME, "db.example.org".into());
    assert_eq!(records("outside.shop.svc.cluster.local", kind::A), [alias]);
}

#[test]
fn named_ports_have_service_records() {
    let one = Data::Service { port: 80, target: "web.shop.svc.cluster.local".into() };
    assert_eq!(records("_http._tcp.web.shop.svc.cluster.local", kind::SRV), [one]);
    let target = |name: &str| Data::Service { port: 8080, target: format!("{name}.db.shop.svc.cluster.local") };
    let both = [target("db-0"), target("10-244-1-7")];
    assert_eq!(records("_http._tcp.db.shop.svc.cluster.local", kind::SRV), both);
}

#[test]
fn what_does_not_exist_is_told_apart_from_what_has_no_such_record() {
    const AAAA: u16 = 28;
    for name in ["web.shop.svc.cluster.local", "shop.svc.cluster.local", "svc.cluster.local", "cluster.local"] {
        assert_eq!(records(name, AAAA), [], "{name} exists");
    }
    for name in [
        "nothing.shop.svc.cluster.local",
        "web.nowhere.svc.cluster.local",
        "x.web.shop.svc.cluster.local",
        "_other._tcp.web.shop.svc.cluster.local",
        "_http._udp.web.shop.svc.cluster.local",
        "1-2-3.shop.pod.cluster.local",
        "other.cluster.local",
    ] {
        assert_eq!(ask(name, kind::A).expect("of the cluster").code, Code::NameError, "{name}");
    }
    assert_eq!(ask("example.org", kind::A), None, "for others to answer");
    assert_eq!(ask("web.shop.svc.cluster.local.example.org", kind::A), None);
}

#[test]
fn addresses_have_names() {
    let web = Data::Name(kind::PTR, "web.shop.svc.cluster.local".into());
    assert_eq!(records("20.0.96.10.in-addr.arpa", kind::PTR), [web]);
    let db = Data::Name(kind::PTR, "db-0.db.shop.svc.cluster.local".into());
    assert_eq!(records("5.1.244.10.in-addr.arpa", kind::PTR), [db]);
    assert_eq!(ask("99.1.244.10.in-addr.arpa", kind::PTR).expect("ours").code, Code::NameError);
    assert_eq!(ask("1.1.1.1.in-addr.arpa", kind::PTR), None);
}

#[test]
fn an_answer_on_the_wire_is_as_the_standard_says() {
    let query = wire::decode(&question("Web.shop.svc.cluster.local", kind::A)).expect("a question");
    let answer = zone::answer(&table(), &query, 0).expect("ours");
    let message = wire::encode(&query, &answer);
    let mut expected = question("Web.shop.svc.cluster.local", kind::A);
    // An authoritative answer, recursion desired and available, no error; one record.
    expected[2..8].copy_from_slice(&[0x85, 0x80, 0, 1, 0, 1]);
    expected.extend_from_slice(&[0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 30, 0, 4, 10, 96, 0, 20]);
    assert_eq!(message, expected);
}

#[test]
fn a_long_answer_is_cut_for_datagrams_and_says_so() {
    let query = wire::decode(&question("db.shop.svc.cluster.local", kind::A)).expect("a question");
    let records = (0..100).map(address).collect();
    let message = wire::encode(&query, &Answer { records, ttl: 30, ..Answer::default() });
    let cut = wire::truncated(message.clone(), &query);
    assert_eq!(cut.len(), 12 + query.question.len());
    assert_eq!((cut[2] & 0x02, &cut[6..12]), (0x02, &[0; 6][..]));
    let mut short = question("db.shop.svc.cluster.local", kind::A);
    short[11] = 1;
    short.extend_from_slice(&[0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(wire::decode(&short).expect("a question").edns_bytes_max, Some(4096));
}

#[test]
fn what_is_not_a_question_is_refused() {
    let good = question("web.shop.svc.cluster.local", kind::A);
    for length in 0..good.len() {
        assert_eq!(wire::decode(&good[..length]), Err(wire::Malformed), "cut after {length} bytes");
    }
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert_eq!(
        (wire::decode(&answer), wire::refuse(&answer)),
        (Err(wire::Malformed), None),
        "an answer is not answered"
    );
    let mut two = good.clone();
    two[5] = 2;
    assert_eq!(wire::decode(&two), Err(wire::Malformed));
    assert_eq!(wire::refuse(&two).expect("FORMERR")[..4], [0x12, 0x34, 0x80, 1]);
    let mut pointer = good.clone();
    pointer[12] = 0xC0;
    assert_eq!(wire::decode(&pointer), Err(wire::Malformed));
    let long = question(&vec!["x".repeat(60); 5].join("."), kind::A);
    assert_eq!(wire::decode(&long), Err(wire::Malformed), "a name of more than 255 bytes");
}

proptest! {
    #[test]
    fn any_bytes_are_a_question_or_not(message in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(query) = wire::decode(&message) {
            let answer = zone::answer(&table(), &query, 3).unwrap_or_default();
            prop_assert!(wire::truncated(wire::encode(&query, &answer), &query).len() <= wire::DATAGRAM_BYTES_MAX);
        }
    }

    #[test]
    fn any_preface_is_read_back(from: u32, to: u32, port: u16, other: [u8; 16]) {
        let preface = Preface { from: from.into(), to: SocketAddrV4::new(to.into(), port) };
        prop_assert_eq!(Preface::decode(&preface.encode()), Some(preface));
        if let Some(read) = Preface::decode(&other) {
            prop_assert_eq!(read.encode(), other);
        }
    }
}

#[test]
fn addresses_lead_where_the_cluster_says() {
    let table = table();
    let to = |text: &str| route(&table, text.parse().expect("an address"));
    assert!(matches!(to("10.96.0.20:80"), Route::Service(service, _) if service.name == "web"));
    assert_eq!(to("10.96.0.20:81"), Route::Nowhere);
    assert_eq!(to("10.96.0.99:80"), Route::Nowhere);
    assert_eq!(to("10.96.0.1:443"), Route::Engine(NodeId(1), 6443));
    assert_eq!(to("10.240.0.2:9092"), Route::Engine(NodeId(2), 9092));
    assert_eq!(to("10.240.255.254:5000"), Route::Host(5000));
    assert_eq!(to("10.240.7.7:1"), Route::Nowhere);
    assert!(matches!(to("10.244.3.9:8080"), Route::Pod(_)));
    assert!(matches!(to("93.184.216.34:443"), Route::Outside(_)));
    assert_eq!(to("127.0.0.1:15001"), Route::Nowhere);
}

#[test]
fn connections_spread_and_failures_are_passed_over_for_a_while() {
    let places: Vec<SocketAddrV4> =
        (1..=3).map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, last), 80)).collect();
    let mut balancer = Balancer::default();
    let now = Moment::default();
    let later = |seconds: u64| now + Duration::from_secs(seconds);
    let round: Vec<_> = (0..3).filter_map(|_| balancer.pick(&places, now)).collect();
    assert_eq!(round, places, "one each");
    balancer.closed(places[1]);
    assert_eq!(balancer.pick(&places, now), Some(places[1]), "the one with the fewest");
    places.iter().for_each(|place| balancer.closed(*place));
    balancer.failed(places[0], now);
    let picked: Vec<_> = (0..4).filter_map(|_| balancer.pick(&places, now)).collect();
    assert!(!picked.contains(&places[0]), "{picked:?}");
    picked.iter().for_each(|place| balancer.closed(*place));
    assert_eq!(balancer.pick(&places, later(1)), Some(places[0]), "after a second it is tried again");
    balancer.failed(places[0], later(1));
    balancer.closed(places[0]);
    assert_ne!(balancer.pick(&places, later(2)), Some(places[0]), "the second failure costs two");
    assert_eq!(balancer.pick(&places[..1], later(2)), Some(places[0]), "better than nothing");
    balancer.succeeded(places[0]);
    assert_eq!(balancer.pick(&[], now), None);
}
