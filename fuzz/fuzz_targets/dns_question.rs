//! Any bytes as a DNS question: read or refused, and what was read is no more than came.

#![no_main]

use atoll_fuzz as _;
use atoll_mesh::decode_dns_query;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let Ok(query) = decode_dns_query(message) else { return };
    assert!(query.question.len() <= message.len());
    let name: usize = query.labels.iter().map(|label| label.chars().count() + 1).sum();
    assert!(name <= 254, "a name of more than 255 bytes");
    assert_eq!(decode_dns_query(message).as_ref(), Ok(&query), "the same bytes are the same question");
});
