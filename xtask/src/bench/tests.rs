//! The load generators' outputs are read as they print them, and medians are medians.

use super::kafka::clients::{parse_java_consumer, parse_java_producer, parse_librdkafka};
use super::kafka::latency::{batch, crc32c, fetched, leader, percentiles_ms};
use super::redis;
use super::report::{Row, Sample, median};
use super::saving;
use super::share::group_in;

#[test]
fn redis_benchmark_prints_csv() {
    let printed = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\"p99_latency_ms\",\"max_latency_ms\"\n\
                   \"MSET (10 keys)\",\"98039.22\",\"0.263\",\"0.088\",\"0.255\",\"0.351\",\"0.487\",\"1.079\"\n";
    assert_eq!(redis::parse(printed).unwrap(), (98039.22, 0.255, 0.487));
    assert!(redis::parse("Error from server: ERR unknown command\n").is_err());
}

#[test]
fn redis_benchmark_prints_a_distribution() {
    let printed = "GET: rps=0.0\rLatency by percentile distribution:\n0.000% <= 0.103 milliseconds (cumulative count 3)\n\
                   99.805% <= 0.975 milliseconds (cumulative count 199610)\n99.902% <= 1.207 milliseconds (cumulative count 199805)\n";
    assert_eq!(saving::percentile(printed, 99.9).unwrap(), 1.207);
    assert!(saving::percentile(printed, 99.99).is_err());
}

#[test]
fn the_producer_prints_percentiles() {
    let printed = "50000 records sent, 9998.0 records/sec (0.95 MB/sec), 1.2 ms avg latency, 9.0 ms max latency.\n\
                   1000000 records sent, 412371.134021 records/sec (39.33 MB/sec), 431.54 ms avg latency, 644.00 ms max latency, \
                   450 ms 50th, 601 ms 95th, 630 ms 99th, 641 ms 99.9th.\n";
    assert_eq!(parse_java_producer(printed).unwrap(), (412371.134021, 450.0, 630.0));
    assert!(parse_java_producer("nothing").is_err());
}

#[test]
fn the_consumer_prints_columns() {
    let printed = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
                   2026-01-01 10:00:00:000, 2026-01-01 10:00:05:000, 95.3, 19.0, 1000000, 200000.0, 3000, 2000, 47.6, 500000.0\n";
    assert_eq!(parse_java_consumer(printed).unwrap(), (500000.0, 0.0, 0.0));
}

#[test]
fn librdkafka_prints_a_rate_of_what_was_delivered() {
    let produced = "% Sending 1000 messages of size 100 bytes\n% 1000 messages produced (100000 bytes), 1000 delivered (offset 0, 0 failed) \
                    in 10ms: 100000 msgs/s and 10.00 MB/s, 0 produce failures, 0 in queue, no compression\n";
    assert_eq!(parse_librdkafka(produced).unwrap().0, 100000.0);
    let consumed = "% 10 messages (1000 bytes) consumed in 1ms: 10 msgs/s (1.00 MB/s)\n\
                    % 1000 messages (100000 bytes) consumed in 4ms: 250000 msgs/s (25.00 MB/s)\n% Average application fetch latency: 1us\n";
    assert_eq!(parse_librdkafka(consumed).unwrap().0, 250000.0);
    assert!(parse_librdkafka("% Sending 1000 messages of size 100 bytes\n").is_err());
}

#[test]
fn latencies_are_without_the_first_fifth() {
    let waits: String = (0..200).map(|us| format!("{}.0\n", if us < 40 { 90000 } else { (us - 39) * 10 })).collect();
    assert_eq!(percentiles_ms(&waits).unwrap(), (0.81, 1.59));
    assert!(percentiles_ms("").is_err());
}

/// The bytes are those of a broker with one topic; in the second case the topic has just been made.
#[test]
fn the_leader_is_found_among_the_brokers() {
    let brokers = b"\0\0\0\0\0\0\0\x02\0\0\0\x01\0\x01a\0\0\0\x09\xff\xff\0\0\0\x02\0\x01b\0\0\0\x08\xff\xff";
    let topic = b"\0\x02id\0\0\0\x01\0\0\0\x01\0\0\0\x01t\0\0\0\0\x01\0\0\0\0\0\0";
    let metadata = |leader: i32| [&brokers[..], topic, &leader.to_be_bytes()].concat();
    assert_eq!(leader(&metadata(2)).unwrap().as_deref(), Some("b:8"));
    assert_eq!(leader(&metadata(-1)).unwrap(), None);
    assert!(leader(&metadata(2)[..40]).is_err());
}

#[test]
fn a_batch_of_one_record_has_its_length_and_checksum() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    let batch = batch().unwrap();
    assert_eq!(batch.len(), 61 + 2 + 6 + 100 + 1);
    assert_eq!(batch[8..12], (batch.len() as u32 - 12).to_be_bytes());
    assert_eq!(batch[17..21], crc32c(&batch[21..]).to_be_bytes());
}

#[test]
fn a_fetch_has_records_has_none_or_is_refused() {
    let answer = |error: u16, bytes: u32| {
        let names = b"\0\0\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0";
        let none_aborted = [0xff; 4];
        let (high_watermark, last_stable) = (7_i64.to_be_bytes(), 7_i64.to_be_bytes());
        let head = [&names[..], &error.to_be_bytes(), &high_watermark, &last_stable].concat();
        [&head[..], &none_aborted, &bytes.to_be_bytes()].concat()
    };
    assert_eq!(fetched(&answer(0, 9)).unwrap(), (7, true));
    assert_eq!(fetched(&answer(0, 0)).unwrap(), (7, false));
    assert!(fetched(&answer(6, 0)).is_err());
}

#[test]
fn medians_do_not_follow_outliers() {
    assert_eq!(median(vec![3.0, 1.0, 100.0]), Some(3.0));
    assert_eq!(median(vec![4.0, 2.0]), Some(3.0));
    assert_eq!(median(Vec::new()), None);
}

#[test]
fn a_ratio_compares_medians_and_needs_both_sides() {
    let sample = |throughput| Sample { throughput, processor_us: 10.0 / throughput, p50_ms: 0.0, p99_ms: 0.0 };
    let mut row =
        Row { case: "x".into(), real: vec![sample(1.0), sample(2.0), sample(9.0)], ours: Vec::new(), trouble: None };
    assert!(row.compare().is_none());
    row.ours = vec![sample(4.0)];
    let both = row.compare().unwrap();
    assert_eq!((both.throughput_ratio, both.processor_ratio), (2.0, 0.5));
}

#[test]
fn the_group_that_shares_out_processor_time_is_found_in_either_version() {
    let first = "9:name=systemd:/\n4:memory:/services\n3:cpuset:/set\n2:cpu,cpuacct:/user\n0::/\n";
    assert_eq!(group_in(first, true), Some("/user"));
    assert_eq!(group_in("0::/user.slice/one:two\n", false), Some("/user.slice/one:two"));
    assert_eq!(group_in("3:cpuset:/set\n", true), None);
}
