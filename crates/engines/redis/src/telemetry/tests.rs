//! Histograms against the numbers that Redis shows for the same durations, and what is hidden from logs.

use super::histogram::{bounds, bucket_of};
use super::monitor::quote;
use super::{Errors, Histogram, Rates, Sample, redacted};
use crate::ops::by_name;
use crate::wire::OwnedRequest;
use atoll_kernel::Moment;

#[test]
fn percentiles_are_the_ends_of_buckets() {
    let mut histogram = Histogram::default();
    for _ in 0..99 {
        histogram.record(1000);
    }
    histogram.record(50_000_000);
    assert_eq!(histogram.percentile(50.0), 1003);
    assert_eq!(histogram.percentile(99.0), 1003);
    assert_eq!(histogram.percentile(100.0), 50_069_503);
    assert_eq!(histogram.percentile(0.0), 1000);
    assert_eq!(histogram.total(), 100);
}

#[test]
fn the_distribution_grows_at_powers_of_two() {
    let mut histogram = Histogram::default();
    for nanoseconds in [0, 1000, 2000, 30_000, 100_000, 5_000_000_000] {
        histogram.record(nanoseconds);
    }
    assert_eq!(histogram.cumulative(), [(1, 2), (2, 3), (33, 4), (132, 5), (1_082_130, 6)]);
}

#[test]
fn every_value_is_in_the_bucket_that_bounds_it() {
    for value in (0..200_000).chain([1 << 29, 999_999_999, 1_000_000_000]) {
        let (low, high) = bounds(bucket_of(value));
        assert!(low <= value && value <= high, "{value} is not in {low}..={high}");
    }
}

#[test]
fn errors_are_told_apart_by_their_codes_and_no_more_than_so_many() {
    let mut errors = Errors::default();
    errors.count(b"WRONGTYPE Operation");
    errors.count(b"nospace");
    for number in 0..1000 {
        errors.count(format!("E{number} made up by a script").as_bytes());
    }
    assert_eq!(errors.by_code.get(b"WRONGTYPE".as_slice()), Some(&1));
    assert_eq!(errors.by_code.get(b"ERR".as_slice()), Some(&1));
    assert_eq!((errors.total, errors.by_code.len()), (1002, super::ERRORS_MAX));
}

#[test]
fn rates_are_of_the_last_second_and_a_half() {
    let mut rates = Rates::default();
    let sample = |ms, commands| Sample { at: Moment::from_millis(ms), commands, ..Sample::default() };
    for number in 0..40 {
        rates.take(sample(number * 100, number * 10));
    }
    assert_eq!(rates.per_second(sample(4000, 400)).0, 100.0);
    assert_eq!(rates.per_second(sample(60_000, 400)).0, 0.0);
}

fn hidden(words: &str) -> Vec<usize> {
    let request = OwnedRequest::new(words.split(' ').map(str::as_bytes));
    let first = words.split(' ').next().unwrap_or_default();
    let command = crate::core::find_command(request.as_request()).ok().or_else(|| by_name(first.as_bytes()));
    redacted(command.expect("a command"), request.as_request())
}

#[test]
fn passwords_are_hidden() {
    assert_eq!(hidden("AUTH secret"), [1]);
    assert_eq!(hidden("AUTH user secret"), [1, 2]);
    assert_eq!(hidden("HELLO 3 AUTH user secret SETNAME x"), [3, 4]);
    assert_eq!(hidden("CONFIG SET maxmemory 1 requirepass secret"), [5]);
    assert_eq!(hidden("MIGRATE h 1 k 0 5 COPY AUTH2 user secret KEYS a"), [8, 9]);
    assert!(hidden("GET auth").is_empty());
}

#[test]
fn monitors_read_quoted_strings() {
    let mut line = Vec::new();
    quote(&mut line, b"a\"\\\n\x00\xff ");
    assert_eq!(line, br#""a\"\\\n\x00\xff ""#);
}
