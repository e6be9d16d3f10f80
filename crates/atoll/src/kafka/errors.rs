//! Kafka's error codes, by the names under which its documentation has them.
//!
//! <https://kafka.apache.org/protocol.html#protocol_error_codes>

use crate::error::{Code, Failure};

/// The errors that a command here can meet.
const NAMES: [(i16, &str); 24] = [
    (1, "OFFSET_OUT_OF_RANGE"),
    (2, "CORRUPT_MESSAGE"),
    (3, "UNKNOWN_TOPIC_OR_PARTITION"),
    (5, "LEADER_NOT_AVAILABLE"),
    (6, "NOT_LEADER_OR_FOLLOWER"),
    (7, "REQUEST_TIMED_OUT"),
    (10, "MESSAGE_TOO_LARGE"),
    (13, "NETWORK_EXCEPTION"),
    (14, "COORDINATOR_LOAD_IN_PROGRESS"),
    (15, "COORDINATOR_NOT_AVAILABLE"),
    (16, "NOT_COORDINATOR"),
    (17, "INVALID_TOPIC_EXCEPTION"),
    (19, "NOT_ENOUGH_REPLICAS"),
    (20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
    (29, "TOPIC_AUTHORIZATION_FAILED"),
    (31, "CLUSTER_AUTHORIZATION_FAILED"),
    (36, "TOPIC_ALREADY_EXISTS"),
    (37, "INVALID_PARTITIONS"),
    (38, "INVALID_REPLICATION_FACTOR"),
    (40, "INVALID_CONFIG"),
    (42, "INVALID_REQUEST"),
    (69, "GROUP_ID_NOT_FOUND"),
    (74, "FENCED_LEADER_EPOCH"),
    (87, "INVALID_RECORD"),
];
/// Those after which the same request may succeed, once a leader or coordinator is there again.
const PASSING: [i16; 11] = [5, 6, 7, 13, 14, 15, 16, 19, 20, 74, 9];

/// True if it is worth trying again.
pub fn is_passing(code: i16) -> bool {
    PASSING.contains(&code)
}

/// A broker's refusal of something, in the user's words; `said` is what the broker adds.
pub fn refusal(what: &str, code: i16, said: Option<&str>) -> Failure {
    let name = NAMES
        .iter()
        .find(|(known, _)| *known == code)
        .map_or_else(|| format!("error {code}"), |(_, name)| (*name).to_owned());
    let message = match said.filter(|said| !said.is_empty()) {
        Some(said) => format!("{what}: {name}: {}", said.trim_end_matches('.')),
        None => format!("{what}: {name}"),
    };
    match code {
        3 | 69 => Failure::new(Code::NotFound, message).hint("see `atoll kafka topics` and `atoll kafka groups`"),
        _ if is_passing(code) => {
            Failure::new(Code::Timeout, message).hint("see `atoll status`: a fault may be in force")
        }
        _ => Failure::new(Code::KafkaRefused, message),
    }
}
