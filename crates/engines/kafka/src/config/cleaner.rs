//! The options of the log cleaner, by their real names and with Kafka's defaults.

use serde::{Deserialize, Serialize};

use super::Ratio;

/// A part of [`Config`](super::Config): how logs are compacted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CleanerConfig {
    /// Whether logs are compacted at all.
    #[serde(rename = "log.cleaner.enable")]
    pub enable: bool,
    /// How many logs are compacted at the same time.
    #[serde(rename = "log.cleaner.threads")]
    pub threads: usize,
    /// How many bytes all threads have for the keys that they have seen: 24 for each.
    #[serde(rename = "log.cleaner.dedupe.buffer.size")]
    pub dedupe_buffer_size: u64,
    /// How much all threads read at once.
    #[serde(rename = "log.cleaner.io.buffer.size")]
    pub io_buffer_size: u64,
    /// How long the cleaner sleeps where there is nothing to clean.
    #[serde(rename = "log.cleaner.backoff.ms")]
    pub backoff_ms: u64,
    /// For how long the deletion of a key stays to be read.
    #[serde(rename = "log.cleaner.delete.retention.ms")]
    pub delete_retention_ms: i64,
    /// How long a record stays as it is.
    #[serde(rename = "log.cleaner.min.compaction.lag.ms")]
    pub min_compaction_lag_ms: i64,
    /// After how long it is looked at in any case.
    #[serde(rename = "log.cleaner.max.compaction.lag.ms")]
    pub max_compaction_lag_ms: i64,
    /// How much of a log must be new for the cleaner to look at it.
    #[serde(rename = "log.cleaner.min.cleanable.ratio")]
    pub min_cleanable_ratio: Ratio,
}

impl Default for CleanerConfig {
    fn default() -> Self {
        Self {
            enable: true,
            threads: 1,
            dedupe_buffer_size: 134_217_728,
            io_buffer_size: 524_288,
            backoff_ms: 15_000,
            delete_retention_ms: 86_400_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_ratio: Ratio(500_000),
        }
    }
}
