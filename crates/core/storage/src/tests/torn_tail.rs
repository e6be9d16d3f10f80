//! The tail of a log is cut, and changed, at every byte: the records before it survive, and nothing else appears.

use atoll_kernel::disk::{Disk, DiskFile, MemoryDisk, Open};
use std::sync::Arc;

use super::{append, open, payloads, small, try_open};
use crate::log::{LogConfig, LogError, RECORD_OVERHEAD, SEGMENT_HEADER};

const RECORDS: usize = 6;

fn payload(n: usize) -> Vec<u8> {
    (0..n * 7).map(|at| (at * n) as u8).collect()
}

/// One segment of records, its bytes, and the offset in the file at which each record begins.
fn segment() -> (Vec<u8>, Vec<u64>) {
    let disk = MemoryDisk::ephemeral();
    let mut log = open(&disk, LogConfig::default());
    let starts = (0..RECORDS).map(|n| append(&mut log, &payload(n)) + SEGMENT_HEADER).collect();
    log.flush().expect("flushes");
    let file = file(&disk);
    let mut bytes = vec![0; file.length().expect("has a length") as usize];
    file.read_at(0, &mut bytes).expect("reads");
    (bytes, starts)
}

fn file(disk: &MemoryDisk) -> Arc<dyn DiskFile> {
    disk.open("log/00000000000000000000.log", Open::Create).expect("opens")
}

fn disk_with(bytes: &[u8]) -> MemoryDisk {
    let disk = MemoryDisk::ephemeral();
    disk.create_directory("log").expect("creates");
    file(&disk).write_at(0, bytes).expect("writes");
    disk
}

/// The log goes on from where it was cut, and what is appended then is found again.
fn goes_on(disk: &MemoryDisk, expected: usize, what: &str) {
    let mut log = open(disk, LogConfig::default());
    let mut survivors: Vec<Vec<u8>> = (0..expected).map(payload).collect();
    assert_eq!(payloads(&log), survivors, "{what}");
    append(&mut log, b"after");
    log.flush().expect("flushes");
    drop(log);
    survivors.push(b"after".to_vec());
    let log = open(disk, LogConfig::default());
    assert_eq!(payloads(&log), survivors, "{what}, after an append");
    assert_eq!(log.recovery().cut_bytes, 0, "{what}: what was cut was cut for good");
}

#[test]
fn cut_at_every_byte() {
    let (bytes, starts) = segment();
    for length in 0..=bytes.len() {
        let ends = starts.iter().skip(1).copied().chain([bytes.len() as u64]);
        let whole = ends.filter(|end| *end <= length as u64).count();
        goes_on(&disk_with(&bytes[..length]), whole, &format!("cut at byte {length}"));
    }
}

#[test]
fn every_byte_changed() {
    let (bytes, starts) = segment();
    for at in 0..bytes.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] ^= change;
            let disk = disk_with(&damaged);
            if at < SEGMENT_HEADER as usize {
                // A damaged header is no torn tail: rather than to drop all that follows, the log is refused.
                assert!(matches!(try_open(&disk, LogConfig::default()), Err(LogError::Corrupt { .. })), "byte {at}");
            } else {
                let before = starts.iter().filter(|start| **start <= at as u64).count() - 1;
                goes_on(&disk, before, &format!("byte {at} changed by {change}"));
            }
        }
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let (mut bytes, _) = segment();
    bytes.extend_from_slice(&[0; 5000]);
    goes_on(&disk_with(&bytes), RECORDS, "zeros at the end");
    goes_on(&disk_with(&[0; 5000]), 0, "nothing but zeros");
}

/// A length of 4 GiB in the file's last bytes must cost no more than looking at it.
#[test]
fn a_claimed_length_sizes_nothing() {
    let (mut bytes, _) = segment();
    bytes.extend_from_slice(&[0xff; RECORD_OVERHEAD as usize + 3]);
    let config = LogConfig { record_bytes_max: u32::MAX, ..LogConfig::default() };
    let log = open(&disk_with(&bytes), config);
    assert_eq!(payloads(&log).len(), RECORDS);
    assert_eq!(log.recovery().cut_bytes, RECORD_OVERHEAD + 3);
}

/// Whole records of an old file, at other positions than where they were written, are not records.
#[test]
fn a_record_elsewhere_is_not_one() {
    let (bytes, starts) = segment();
    let mut shifted = bytes[..starts[2] as usize].to_vec();
    shifted.extend_from_slice(&bytes[starts[3] as usize..]);
    goes_on(&disk_with(&shifted), 2, "a record is missing in the middle");
}

#[test]
fn the_last_of_several_segments_is_cut_at_every_byte() {
    let build = || {
        let disk = MemoryDisk::ephemeral();
        let mut log = open(&disk, small());
        for n in 0..12 {
            append(&mut log, &[n; 40]);
        }
        log.flush().expect("flushes");
        assert_eq!(log.segment_count(), 6);
        let last = disk.list("log").expect("lists").pop().expect("has segments");
        let file = disk.open(&format!("log/{last}"), Open::Existing).expect("opens");
        (disk, file)
    };
    let length = build().1.length().expect("has a length");
    for cut in 0..=length {
        let (disk, file) = build();
        file.truncate(cut).expect("cuts");
        let log = open(&disk, small());
        let whole = 10 + cut.saturating_sub(SEGMENT_HEADER) / (RECORD_OVERHEAD + 40);
        assert_eq!(payloads(&log), (0..whole as u8).map(|n| vec![n; 40]).collect::<Vec<_>>(), "cut at byte {cut}");
    }
}
