//! Any requests at all to the Kubernetes API, with controllers at work between them: each is answered or refused.
//!
//! The input is requests, split at the byte 0xfe. Each is a byte that chooses method and type, a line with path and query, and a body.

#![no_main]

use std::time::Duration;

use atoll_fuzz as _;
use atoll_kubernetes::{Cluster, NodeSettings, Request, Saved, Settings, User};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

const METHODS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];
const TYPES: [&str; 6] = [
    "application/json",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "application/vnd.kubernetes.protobuf",
];

fuzz_target!(|input: &[u8]| {
    let settings = Settings::new(vec![NodeSettings::numbered(1, 4000, 8 << 30)]);
    let start = Duration::from_secs(1_767_225_600);
    let mut cluster = Cluster::new(settings, Saved::default(), Duration::ZERO, start);
    for (second, bytes) in input.split(|byte| *byte == 0xfe).enumerate().take(16) {
        if let Some(request) = request(bytes) {
            let _ = cluster.handle(&request);
        }
        cluster.settle();
        cluster.advance(Duration::from_secs(second as u64));
        let _ = (cluster.take_changes(), cluster.take_commands());
    }
    cluster.advance(Duration::from_secs(600));
});

fn request(bytes: &[u8]) -> Option<Request> {
    let (choice, rest) = bytes.split_first()?;
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let line = std::str::from_utf8(&rest[..end]).ok()?;
    let (path, query) = line.split_once('?').unwrap_or((line, ""));
    let query = query.split('&').filter_map(|pair| pair.split_once('='));
    let choice = usize::from(*choice);
    Some(Request {
        method: METHODS[choice % METHODS.len()].to_owned(),
        path: path.to_owned(),
        query: query.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        accept: if choice & 0x80 == 0 { "application/json" } else { "application/json;as=Table;v=v1;g=meta.k8s.io" }
            .to_owned(),
        content_type: TYPES[choice / METHODS.len() % TYPES.len()].to_owned(),
        user_agent: "fuzz".to_owned(),
        body: Bytes::copy_from_slice(rest.get(end + 1..).unwrap_or_default()),
        user: User::master(),
    })
}
