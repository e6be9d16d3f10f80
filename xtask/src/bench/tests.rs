//! The load generators' outputs are read as they print them, and medians are medians.

use super::kafka::{parse_consumer, parse_producer};
use super::redis;
use super::report::{Row, Sample, median};
use super::saving;

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
    assert_eq!(parse_producer(printed).unwrap(), (412371.134021, 450.0, 630.0));
    assert!(parse_producer("nothing").is_err());
}

#[test]
fn the_consumer_prints_columns() {
    let printed = "start.time, end.time, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec\n\
                   2026-01-01 10:00:00:000, 2026-01-01 10:00:05:000, 95.3, 19.0, 1000000, 200000.0, 3000, 2000, 47.6, 500000.0\n";
    assert_eq!(parse_consumer(printed).unwrap(), (500000.0, 0.0, 0.0));
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
