//! FUNCTION DUMP and FUNCTION RESTORE.

use super::harness::{Reply, Stage};
use crate::{Config, ConnId};

const FIRST: &str = "#!lua name=first\nredis.register_function('f', function() return 1 end)";
const SECOND: &str = "#!lua name=second\nredis.register_function('g', function() return 2 end)";
const COLLIDES: &str = "#!lua name=third\nredis.register_function('g', function() return 3 end)";

fn server(sources: &[&str]) -> (Stage, ConnId) {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("an option");
    let mut stage = Stage::new(1, 1, &config);
    let conn = stage.connect(0);
    for source in sources {
        let name = stage.call(conn, &[b"FUNCTION", b"LOAD", source.as_bytes()]);
        assert!(matches!(name, Some(Reply::Bulk(_))), "{name:?}");
    }
    (stage, conn)
}

fn dump(sources: &[&str]) -> Vec<u8> {
    let (mut stage, conn) = server(sources);
    match stage.call(conn, &[b"FUNCTION", b"DUMP"]) {
        Some(Reply::Bulk(payload)) => payload,
        other => panic!("no payload: {other:?}"),
    }
}

fn names(stage: &mut Stage, conn: ConnId) -> Vec<String> {
    let Some(Reply::Array(libraries)) = stage.call(conn, &[b"FUNCTION", b"LIST"]) else { panic!("no list") };
    let name = |library: Reply| match library {
        Reply::Array(fields) => match &fields[1] {
            Reply::Bulk(name) => String::from_utf8_lossy(name).into_owned(),
            other => panic!("no name: {other:?}"),
        },
        other => panic!("no library: {other:?}"),
    };
    libraries.into_iter().map(name).collect()
}

fn restore(stage: &mut Stage, conn: ConnId, payload: &[u8], policy: &str) -> String {
    let words: [&[u8]; 4] = [b"FUNCTION", b"RESTORE", payload, policy.as_bytes()];
    match stage.call(conn, &words[..if policy.is_empty() { 3 } else { 4 }]) {
        Some(Reply::Simple(text) | Reply::Error(text)) => text,
        other => panic!("neither good nor bad: {other:?}"),
    }
}

#[test]
fn policies_say_what_becomes_of_libraries_that_are_there() {
    let (first, both, collides) = (dump(&[FIRST]), dump(&[FIRST, SECOND]), dump(&[COLLIDES]));
    let (mut stage, conn) = server(&[]);
    assert_eq!(restore(&mut stage, conn, &first, ""), "OK");
    assert_eq!(stage.call(conn, &[b"FCALL", b"f", b"0"]), Some(Reply::Integer(1)));
    assert_eq!(restore(&mut stage, conn, &both, "append"), "ERR Library first already exists");
    assert_eq!(names(&mut stage, conn), ["first"], "nothing of a payload that is refused is there");
    assert_eq!(restore(&mut stage, conn, &both, "REPLACE"), "OK");
    assert_eq!(restore(&mut stage, conn, &collides, "REPLACE"), "ERR Function g already exists");
    assert_eq!(names(&mut stage, conn), ["first", "second"]);
    assert_eq!(restore(&mut stage, conn, &collides, "FLUSH"), "OK");
    assert_eq!(names(&mut stage, conn), ["third"]);
    assert_eq!(stage.call(conn, &[b"FCALL", b"g", b"0"]), Some(Reply::Integer(3)));
    let wrong = "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.";
    assert_eq!(restore(&mut stage, conn, &first, "MERGE"), wrong);
    assert_eq!(restore(&mut stage, conn, &dump(&[]), "FLUSH"), "OK");
    assert_eq!(names(&mut stage, conn), Vec::<String>::new());
}

#[test]
fn a_damaged_payload_is_refused_wherever_it_is_damaged() {
    let payload = dump(&[FIRST, SECOND]);
    let (mut stage, conn) = server(&[]);
    let whole = "ERR DUMP payload version or checksum are wrong";
    for length in 0..payload.len() {
        assert_eq!(restore(&mut stage, conn, &payload[..length], ""), whole);
    }
    // Without its checksum it is refused, unless nobody looks at that; then it says what is wrong.
    let unsigned = |body: &[u8]| [body, &[10, 0], &[0; 8]].concat();
    assert_eq!(restore(&mut stage, conn, &unsigned(&payload[..payload.len() - 10]), ""), whole);
    stage.sim.core.switches.skips_checksums = true;
    let body = &payload[..payload.len() - 10];
    assert_eq!(restore(&mut stage, conn, &unsigned(body), ""), "OK");
    let short = restore(&mut stage, conn, &unsigned(&body[..body.len() - 1]), "FLUSH");
    assert_eq!(short, "ERR Failed loading library payload");
    assert_eq!(restore(&mut stage, conn, &unsigned(b"\x00\x01x"), ""), "ERR given type is not a function");
    assert_eq!(restore(&mut stage, conn, &unsigned(b"\xf6"), ""), "ERR Pre-GA function format not supported");
    assert_eq!(restore(&mut stage, conn, &unsigned(b"\xf5\x03abc"), ""), "ERR Missing library metadata");
    assert_eq!(names(&mut stage, conn), ["first", "second"]);
}

#[test]
fn libraries_that_were_restored_are_in_the_append_only_file_and_in_snapshots() {
    let payload = dump(&[FIRST, SECOND]);
    let (mut stage, conn) = server(&[COLLIDES]);
    assert_eq!(restore(&mut stage, conn, &payload, "FLUSH"), "OK");
    let (_, file) = stage.sim.call(|core, ctx| core.snapshots(ctx)).remove(0);
    let (mut other, conn) = server(&[]);
    other.sim.call(|core, ctx| core.load_snapshot(ctx, Some(0), &file)).expect("it can be read");
    assert_eq!(names(&mut other, conn), ["first", "second"]);

    let command = crate::wire::OwnedRequest::new([b"FUNCTION".as_slice(), b"RESTORE", &payload, b"FLUSH"]).encoded();
    let (mut third, conn) = server(&[COLLIDES]);
    assert!(third.sim.call(|core, ctx| core.restore(ctx, 0, &command)));
    assert_eq!(names(&mut third, conn), ["first", "second"]);
}
