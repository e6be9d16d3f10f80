//! Segments of a log, reckoned from its batches as every replica of Kafka would have rolled them, so that nothing has to be
//! kept. The last one is being written: it is *active*.

use crate::config::TopicConfig;
use crate::state::tree::Batch;

/// A run of batches that goes, or is cleaned, as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// The offset of its first batch.
    pub start: i64,
    /// The offset after its last batch.
    pub end: i64,
    pub bytes: u64,
    pub first_timestamp: i64,
    pub newest_timestamp: i64,
}

/// The batches as Kafka would have laid them into segments. What the cleaner has been through before `cleaned` is laid out
/// apart from the rest: there it began a segment of its own.
pub(super) fn segments<'b>(
    batches: impl Iterator<Item = &'b Batch>,
    config: &TopicConfig,
    cleaned: i64,
) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let lasts_ms = match config.is_compacted {
        true => config.segment_ms.min(config.max_compaction_lag_ms),
        false => config.segment_ms,
    };
    for batch in batches {
        let bytes = u64::from(batch.size);
        let fits = |segment: &&mut Segment| {
            let lasted = batch.max_timestamp.saturating_sub(segment.first_timestamp);
            let is_apart = segment.start < cleaned && batch.base_offset >= cleaned;
            segment.bytes + bytes <= config.segment_bytes && lasted <= lasts_ms && !is_apart
        };
        match segments.last_mut().filter(fits) {
            Some(segment) => {
                segment.end = batch.next_offset;
                segment.bytes += bytes;
                segment.newest_timestamp = segment.newest_timestamp.max(batch.max_timestamp);
            }
            None => segments.push(Segment {
                start: batch.base_offset,
                end: batch.next_offset,
                bytes,
                first_timestamp: batch.max_timestamp,
                newest_timestamp: batch.max_timestamp,
            }),
        }
    }
    segments
}
