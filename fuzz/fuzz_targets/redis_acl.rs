//! Any bytes as rules of an ACL user: they are taken or refused as a whole, and what ACL LIST shows makes the same user again.
//!
//! The input is a list of rules, one a line. A user of them is asked about a few commands as well.

#![no_main]

use atoll_fuzz as _;
use atoll_kernel::{NodeId, Seed, Simulation};
use atoll_net::Peer;
use atoll_redis::wire::OwnedRequest;
use atoll_redis::{Cluster, Config, ConnId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("is an option");
    let mut server = Simulation::new(1, Seed(1), |ctx| Cluster::new(ctx, config, &[NodeId(1)]));
    let conn = server.call(|cluster, ctx| cluster.connect(ctx, 0, Peer::Host, None));
    let mut call = |arguments: &[&[u8]]| reply(&mut server, conn, arguments);
    let rules: Vec<&[u8]> = input.split(|byte| *byte == b'\n').take(64).collect();
    let before = listed(&call(&[b"ACL", b"LIST"]));
    let answer = call(&[&[b"ACL".as_slice(), b"SETUSER", b"first"], rules.as_slice()].concat());
    let after = listed(&call(&[b"ACL", b"LIST"]));
    if !answer.starts_with(b"+OK") {
        assert!(answer.starts_with(b"-ERR "), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(before, after, "a refused rule changed something");
        return;
    }
    let shown = after.iter().find_map(|line| line.strip_prefix(b"user first ")).expect("the user is listed");
    let words: Vec<&[u8]> = shown.split(|byte| *byte == b' ').collect();
    let answer = call(&[&[b"ACL".as_slice(), b"SETUSER", b"again", b"reset"], words.as_slice()].concat());
    assert!(answer.starts_with(b"+OK"), "{} of {}", String::from_utf8_lossy(&answer), String::from_utf8_lossy(shown));
    let lines = listed(&call(&[b"ACL", b"LIST"]));
    let again = lines.iter().find_map(|line| line.strip_prefix(b"user again ")).expect("the user is listed");
    assert_eq!(shown, again, "what is shown does not make the same user");
    for command in [
        &[b"GET".as_slice(), b"a"] as &[&[u8]],
        &[b"SELECT", b"0"],
        &[b"PUBLISH", b"a", b"b"],
        &[b"CONFIG", b"GET", b"*"],
    ] {
        let first = call(&[&[b"ACL".as_slice(), b"DRYRUN", b"first"], command].concat());
        let again = call(&[&[b"ACL".as_slice(), b"DRYRUN", b"again"], command].concat());
        assert_eq!(first.starts_with(b"+OK"), again.starts_with(b"+OK"));
    }
});

fn reply(server: &mut Simulation<Cluster>, conn: ConnId, arguments: &[&[u8]]) -> Vec<u8> {
    let request = OwnedRequest::new(arguments.iter().copied());
    let mut out = Vec::new();
    server.call(|cluster, ctx| cluster.apply(ctx, conn, &request.as_request(), &mut out));
    out
}

/// The elements of an array of bulk strings.
fn listed(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") {
        let (line, rest) = (&bytes[..end], &bytes[end + 2..]);
        bytes = rest;
        if let Some(length) = line.strip_prefix(b"$") {
            let length: usize = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()).expect("a length");
            found.push(rest[..length].to_vec());
            bytes = &rest[length + 2..];
        }
    }
    found
}
