//! The options of transactions, by their real names and with Kafka's defaults.

use serde::{Deserialize, Serialize};

/// A part of [`Config`](super::Config): transactions, and where they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransactionConfig {
    /// For how long a transactional id is kept that nobody uses.
    #[serde(rename = "transactional.id.expiration.ms")]
    pub transactional_id_expiration_ms: i64,
    /// How often coordinators look for those.
    #[serde(rename = "transaction.remove.expired.transaction.cleanup.interval.ms")]
    pub remove_expired_transaction_cleanup_interval_ms: u64,
    /// Partitions of the topic that transactions are kept in.
    #[serde(rename = "transaction.state.log.num.partitions")]
    pub state_log_num_partitions: i32,
    /// Replicas of it, or as many as there are brokers.
    #[serde(rename = "transaction.state.log.replication.factor")]
    pub state_log_replication_factor: i16,
    /// How many of these must be in sync, or as many as there are.
    #[serde(rename = "transaction.state.log.min.isr")]
    pub state_log_min_isr: i32,
    /// The longest time that a producer may ask for its transactions.
    #[serde(rename = "transaction.max.timeout.ms")]
    pub max_timeout_ms: i32,
    /// How often coordinators look for transactions that have lasted too long.
    #[serde(rename = "transaction.abort.timed.out.transaction.cleanup.interval.ms")]
    pub abort_timed_out_transaction_cleanup_interval_ms: u64,
}

impl Default for TransactionConfig {
    fn default() -> Self {
        Self {
            transactional_id_expiration_ms: 604_800_000,
            remove_expired_transaction_cleanup_interval_ms: 3_600_000,
            state_log_num_partitions: 50,
            state_log_replication_factor: 3,
            state_log_min_isr: 2,
            max_timeout_ms: 900_000,
            abort_timed_out_transaction_cleanup_interval_ms: 10_000,
        }
    }
}
