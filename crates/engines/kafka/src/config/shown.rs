//! Options of Kafka's brokers that cannot be set here, since there is nothing that they could act upon, and that tools read all
//! the same: each with Kafka 4.0's default and the number of its type. None is null.

/// Name, default, and type as DescribeConfigs numbers it.
pub type Shown = (&'static str, Option<&'static str>, i8);

const BOOLEAN: i8 = 1;
const STRING: i8 = 2;
const INT: i8 = 3;
const LONG: i8 = 5;
const DOUBLE: i8 = 6;
const LIST: i8 = 7;
const CLASS: i8 = 8;

/// These options, in order of their names.
pub const SHOWN_OPTIONS: &[Shown] = &[
    ("alter.config.policy.class.name", None, CLASS),
    ("alter.log.dirs.replication.quota.window.num", Some("11"), INT),
    ("alter.log.dirs.replication.quota.window.size.seconds", Some("1"), INT),
    ("background.threads", Some("10"), INT),
    ("compression.gzip.level", Some("-1"), INT),
    ("compression.lz4.level", Some("9"), INT),
    ("compression.zstd.level", Some("3"), INT),
    ("controlled.shutdown.enable", Some("true"), BOOLEAN),
    ("controller.quorum.append.linger.ms", Some("25"), INT),
    ("controller.quorum.election.backoff.max.ms", Some("1000"), INT),
    ("controller.quorum.request.timeout.ms", Some("2000"), INT),
    ("controller.quorum.retry.backoff.ms", Some("20"), INT),
    ("create.topic.policy.class.name", None, CLASS),
    ("delete.records.purgatory.purge.interval.requests", Some("1"), INT),
    ("fetch.purgatory.purge.interval.requests", Some("1000"), INT),
    ("initial.broker.registration.timeout.ms", Some("60000"), INT),
    ("leader.imbalance.per.broker.percentage", Some("10"), INT),
    ("log.cleaner.io.buffer.load.factor", Some("0.9"), DOUBLE),
    ("log.cleaner.io.max.bytes.per.second", Some("1.7976931348623157E308"), DOUBLE),
    ("log.flush.interval.ms", None, LONG),
    ("log.flush.offset.checkpoint.interval.ms", Some("60000"), INT),
    ("log.flush.scheduler.interval.ms", Some("9223372036854775807"), LONG),
    ("log.flush.start.offset.checkpoint.interval.ms", Some("60000"), INT),
    ("log.index.interval.bytes", Some("4096"), INT),
    ("log.index.size.max.bytes", Some("10485760"), INT),
    ("log.local.retention.bytes", Some("-2"), LONG),
    ("log.local.retention.ms", Some("-2"), LONG),
    ("log.preallocate", Some("false"), BOOLEAN),
    ("log.retention.hours", Some("168"), INT),
    ("log.retention.minutes", None, INT),
    ("log.roll.hours", Some("168"), INT),
    ("log.roll.jitter.hours", Some("0"), INT),
    ("log.roll.jitter.ms", None, LONG),
    ("log.segment.delete.delay.ms", Some("60000"), LONG),
    ("max.connection.creation.rate", Some("2147483647"), INT),
    ("max.connections.per.ip", Some("2147483647"), INT),
    ("max.connections.per.ip.overrides", Some(""), STRING),
    ("metadata.log.max.record.bytes.between.snapshots", Some("20971520"), LONG),
    ("metadata.log.max.snapshot.interval.ms", Some("3600000"), LONG),
    ("metadata.log.segment.bytes", Some("1073741824"), INT),
    ("metadata.log.segment.ms", Some("604800000"), LONG),
    ("metadata.max.idle.interval.ms", Some("500"), INT),
    ("metadata.max.retention.bytes", Some("104857600"), LONG),
    ("metadata.max.retention.ms", Some("604800000"), LONG),
    ("metric.reporters", Some("org.apache.kafka.common.metrics.JmxReporter"), LIST),
    ("metrics.num.samples", Some("2"), INT),
    ("metrics.recording.level", Some("INFO"), STRING),
    ("metrics.sample.window.ms", Some("30000"), LONG),
    ("num.io.threads", Some("8"), INT),
    ("num.network.threads", Some("3"), INT),
    ("num.recovery.threads.per.data.dir", Some("2"), INT),
    ("num.replica.alter.log.dirs.threads", None, INT),
    ("num.replica.fetchers", Some("1"), INT),
    ("offsets.load.buffer.size", Some("5242880"), INT),
    ("offsets.topic.compression.codec", Some("0"), INT),
    ("offsets.topic.segment.bytes", Some("104857600"), INT),
    ("producer.purgatory.purge.interval.requests", Some("1000"), INT),
    ("queued.max.request.bytes", Some("-1"), LONG),
    ("queued.max.requests", Some("500"), INT),
    ("replica.fetch.backoff.ms", Some("1000"), INT),
    ("replica.fetch.max.bytes", Some("1048576"), INT),
    ("replica.fetch.min.bytes", Some("1"), INT),
    ("replica.fetch.response.max.bytes", Some("10485760"), INT),
    ("replica.fetch.wait.max.ms", Some("500"), INT),
    ("replica.high.watermark.checkpoint.interval.ms", Some("5000"), LONG),
    ("replica.socket.receive.buffer.bytes", Some("65536"), INT),
    ("replica.socket.timeout.ms", Some("30000"), INT),
    ("replication.quota.window.num", Some("11"), INT),
    ("replication.quota.window.size.seconds", Some("1"), INT),
    ("request.timeout.ms", Some("30000"), INT),
    ("socket.connection.setup.timeout.max.ms", Some("30000"), LONG),
    ("socket.connection.setup.timeout.ms", Some("10000"), LONG),
    ("socket.listen.backlog.size", Some("50"), INT),
    ("socket.receive.buffer.bytes", Some("102400"), INT),
    ("socket.send.buffer.bytes", Some("102400"), INT),
    ("transaction.partition.verification.enable", Some("true"), BOOLEAN),
    ("transaction.state.log.load.buffer.size", Some("5242880"), INT),
    ("transaction.state.log.segment.bytes", Some("104857600"), INT),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_only_shown_is_in_order_and_cannot_be_set() {
        assert!(SHOWN_OPTIONS.is_sorted_by_key(|shown| shown.0));
        let set = Config::default().entries();
        assert!(SHOWN_OPTIONS.iter().all(|(name, ..)| !set.contains_key(*name)));
    }
}
