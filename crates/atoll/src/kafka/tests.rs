//! What needs no broker: hashes and refusals.

use super::errors::refusal;
use super::partitioner::{murmur2, partition_of};
use crate::error::Code;

#[test]
fn keys_have_the_partitions_that_every_client_gives_them() {
    // As in the tests of Kafka's own `Utils.murmur2`.
    let known: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in known {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
    }
    assert_eq!(partition_of(b"abc", 10), 7);
    assert_eq!(partition_of(b"21", 1), 0);
}

#[test]
fn refusals_have_kafkas_names_and_our_codes() {
    let missing = refusal("topic orders", 3, None);
    assert_eq!((missing.code, missing.message.as_str()), (Code::NotFound, "topic orders: UNKNOWN_TOPIC_OR_PARTITION"));
    let refused = refusal("topic orders", 36, Some("Topic 'orders' already exists."));
    assert_eq!(refused.code, Code::KafkaRefused);
    assert_eq!(refused.message, "topic orders: TOPIC_ALREADY_EXISTS: Topic 'orders' already exists");
    assert_eq!(refusal("partition orders-0", 6, None).code, Code::Timeout);
    assert_eq!(refusal("topic orders", 9999, None).message, "topic orders: error 9999");
}
