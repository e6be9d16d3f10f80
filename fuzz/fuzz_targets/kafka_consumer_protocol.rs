//! Any bytes as what consumers tell each other through their group's coordinator: subscriptions and assignments. What is
//! understood of an assignment can be written, in every version, and is then understood alike.

#![no_main]

use atoll_fuzz as _;
use atoll_kafka::wire::consumer_protocol::{self, Subscription};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    let version = consumer_protocol::version(&bytes);
    if let Ok(subscription) = consumer_protocol::read_subscription(bytes.clone()) {
        check_subscription(&bytes, subscription, version.clone().expect("it was read by it"));
    }
    if let Ok((assigned, _)) = consumer_protocol::read_assignment(bytes.clone()) {
        let version = version.expect("it was read by it");
        let written = consumer_protocol::write_assignment(version, &assigned);
        assert_eq!(consumer_protocol::version(&written), Ok(version));
        // What an assignor of the members' own added is not written again.
        assert_eq!(consumer_protocol::read_assignment(written.clone()), Ok((assigned, false)));
        assert!(written.len() <= bytes.len(), "it takes no more than it took");
        // A coordinator that cuts it short sends what no member takes.
        for length in 0..written.len().min(64) {
            assert!(consumer_protocol::read_assignment(written.slice(..length)).is_err());
        }
    }
});

/// It is the same whether all of it is read or its topics alone, and holds nothing that its version does not have.
fn check_subscription(bytes: &Bytes, subscription: Subscription, version: i16) {
    assert_eq!(consumer_protocol::read_topics(bytes.clone()), Ok(subscription.topics));
    assert!(version >= 1 || subscription.owned.is_empty());
    assert!(version >= 3 || subscription.rack_id.is_none());
    assert_ne!(subscription.rack_id.as_deref(), Some(""));
    let held: usize = subscription.owned.iter().map(|(name, partitions)| 6 + name.len() + 4 * partitions.len()).sum();
    assert!(held <= bytes.len(), "nothing is read that was not sent");
}
