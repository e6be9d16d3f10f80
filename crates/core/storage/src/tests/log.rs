use atoll_kernel::DiskHealth;
use atoll_kernel::disk::{Disk, DiskError, DiskSwitch, GuardedDisk, Keep, MemoryDisk, Operation};
use std::sync::Arc;

use super::{append, open, payloads, small, try_open};
use crate::log::{Log, LogConfig, LogError, RECORD_OVERHEAD, Retention};

#[test]
fn what_is_appended_is_read_back_from_the_buffer_and_from_files() {
    let disk = MemoryDisk::ephemeral();
    let mut log = open(&disk, LogConfig::default());
    let first = log.append(7, &[b"a batch ", b"in parts"]).expect("appends");
    let second = append(&mut log, b"");
    assert_eq!((first, second), (0, RECORD_OVERHEAD + 16));
    for _ in 0..2 {
        let record = log.read(first).expect("readable");
        assert_eq!((record.position, record.next, record.time_ms), (first, second, 7));
        assert_eq!(&record.payload[..], b"a batch in parts");
        assert_eq!(log.read(second).expect("readable").payload.len(), 0);
        log.flush().expect("flushes");
    }
    assert_eq!(log.read(log.end()), Err(LogError::OutOfRange { position: log.end(), start: 0, end: log.end() }));
}

#[test]
fn what_is_appended_through_is_in_files_with_all_before_it() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    for n in 0..20u8 {
        let buffered = append(&mut log, &[n; 30]);
        let (position, payload) = log.append_through(7, &[b"through ", &[n; 30]]).expect("appends");
        assert_eq!((position, log.flushed()), (buffered + RECORD_OVERHEAD + 30, log.end()));
        assert_eq!((&payload[..8], &payload[8..]), (&b"through "[..], &[n; 30][..]));
        assert_eq!(log.read(position).expect("readable").payload, payload);
    }
    assert!(log.segment_count() > 1);

    disk.switch().set(DiskHealth::Full);
    let (end, before) = (log.end(), payloads(&log));
    assert_eq!(log.append_through(7, &[b"refused"]), Err(LogError::Disk(DiskError::Full)));
    disk.switch().set(DiskHealth::Ok);
    assert_eq!((log.end(), payloads(&log)), (end, before.clone()));
    drop(log);
    assert_eq!(payloads(&open(&disk, small())), before);
}

#[test]
fn a_log_rolls_and_is_found_again() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let written: Vec<Vec<u8>> = (0..50u8).map(|n| vec![n; usize::from(n)]).collect();
    let positions: Vec<u64> = written.iter().map(|payload| append(&mut log, payload)).collect();
    log.flush().expect("flushes");
    assert!(log.segment_count() > 5);
    let end = log.end();
    drop(log);

    // Killed, not powered off: everything flushed is there, though nothing was synced.
    let log = open(&disk, small());
    assert_eq!(payloads(&log), written);
    assert_eq!((log.end(), log.synced(), log.recovery().cut_bytes), (end, 0, 0));
    for (position, payload) in positions.iter().zip(&written) {
        assert_eq!(log.read(*position).expect("readable").payload, payload);
    }
}

#[test]
fn a_range_ends_at_its_limit_but_holds_at_least_one_record() {
    let disk = MemoryDisk::ephemeral();
    let mut log = open(&disk, small());
    for n in 0..20u8 {
        append(&mut log, &[n; 34]);
    }
    // The last records are still in the buffer, the first in several segments: readers see no difference.
    assert!(log.flushed() < log.end() && log.segment_count() > 1);
    for (bytes_max, expected) in [(0, 1), (49, 1), (50, 1), (99, 1), (100, 2), (550, 11), (usize::MAX, 20)] {
        let range = log.read_range(0, bytes_max).expect("readable");
        assert_eq!(range.len(), expected, "with {bytes_max} bytes");
    }
    let last = log.read_range(19 * 50, 0).expect("readable");
    assert_eq!(last[0].payload, vec![19; 34]);
    assert!(log.read_range(log.end(), 100).expect("the end can be read from").is_empty());
    assert!(matches!(log.read_range(25, 100), Err(LogError::Corrupt { position: 25, .. })));
}

#[test]
fn a_payload_above_the_limit_is_refused() {
    let disk = MemoryDisk::ephemeral();
    let mut log = open(&disk, small());
    assert_eq!(log.append(0, &[&[0; 4097]]), Err(LogError::TooLarge { bytes: 4097, limit: 4096 }));
    append(&mut log, &[0; 4096]);
    append(&mut log, b"after it");
    assert_eq!(payloads(&log).len(), 2);
}

#[test]
fn a_truncated_log_goes_on_where_it_was_cut() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let positions: Vec<u64> = (0..30u8).map(|n| append(&mut log, &[n; 20])).collect();
    log.sync().expect("syncs");
    let unflushed = append(&mut log, b"unflushed");
    log.truncate(unflushed).expect("cuts the buffer");
    assert_eq!(log.end(), unflushed);

    log.truncate(positions[10]).expect("cuts");
    assert_eq!((log.end(), log.synced()), (positions[10], positions[10]));
    append(&mut log, b"another branch");
    log.sync().expect("syncs");
    disk.power_loss(Keep::Synced);

    let log = open(&disk, small());
    let kept = payloads(&log);
    assert_eq!(kept.len(), 11);
    assert_eq!(kept[9], vec![9; 20]);
    assert_eq!(kept[10], b"another branch");
}

#[test]
fn a_truncation_outlives_a_power_failure() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let positions: Vec<u64> = (0..30u8).map(|n| append(&mut log, &[n; 20])).collect();
    log.sync().expect("syncs");
    log.truncate(positions[3]).expect("cuts");
    disk.power_loss(Keep::Synced);
    assert_eq!(payloads(&open(&disk, small())).len(), 3);
}

#[test]
fn retention_by_size_and_age_removes_whole_segments_up_to_a_limit() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    for n in 0..40u8 {
        log.append(i64::from(n) * 1000, &[&[n; 34]]).expect("appends");
    }
    log.flush().expect("flushes");
    let end = log.end();
    let segments = log.segment_count();

    assert_eq!(log.retain(Retention::default(), i64::MAX, end), 0);
    assert_eq!(log.retain(Retention { bytes: Some(500), age_ms: None }, 0, 0), 0, "nothing may go beyond the limit");

    let by_size = log.retain(Retention { bytes: Some(1000), age_ms: None }, 0, end);
    assert!((1000..1200).contains(&(end - by_size)), "{} bytes are left", end - by_size);
    assert!(matches!(log.read(0), Err(LogError::OutOfRange { .. })));

    let by_age = log.retain(Retention { bytes: None, age_ms: Some(5_000) }, 39_000, end);
    let oldest = log.read(by_age).expect("readable").time_ms;
    assert!((30_000..=34_000).contains(&oldest), "the oldest record is of {oldest} ms");
    log.retain(Retention { bytes: Some(0), age_ms: Some(0) }, i64::MAX, end);
    assert_eq!(log.segment_count(), 1, "the segment that is written to stays");

    // The files go once it is durable that they are not missed.
    assert_eq!(disk.list("log").expect("lists").len(), segments);
    assert!(log.wants_sync());
    log.sync().expect("syncs");
    assert_eq!(disk.list("log").expect("lists").len(), 2, "one segment and the start");
    assert!(!log.wants_sync());
}

#[test]
fn a_segments_age_is_known_after_a_restart() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    for n in 0..40u8 {
        log.append(i64::from(n) * 1000, &[&[n; 34]]).expect("appends");
    }
    log.sync().expect("syncs");
    append(&mut log, &[0; 150]);
    append(&mut log, &[0; 150]);
    log.sync().expect("syncs");
    drop(log);
    let mut log = open(&disk, small());
    assert!(log.recovery().verified_bytes < log.end(), "sealed segments are not read again");
    let end = log.end();
    let start = log.retain(Retention { bytes: None, age_ms: Some(5_000) }, 39_000, end);
    let oldest = log.read(start).expect("readable").time_ms;
    assert!((30_000..=34_000).contains(&oldest), "the oldest record is of {oldest} ms");
}

#[test]
fn a_start_within_a_segment_is_kept() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let positions: Vec<u64> = (0..9u8).map(|n| append(&mut log, &[n; 20])).collect();
    log.remove_before(positions[7]).expect("removes");
    log.remove_before(positions[2]).expect("does nothing");
    assert_eq!(log.start(), positions[7]);
    log.sync().expect("syncs");
    disk.power_loss(Keep::Synced);
    let mut log = open(&disk, small());
    assert_eq!(payloads(&log), vec![vec![7; 20], vec![8; 20]]);
    assert!(log.truncate(positions[6]).is_err());
    log.truncate(positions[7]).expect("cuts to nothing");
    assert_eq!(append(&mut log, b"anew"), positions[7]);
}

#[test]
fn a_roll_lets_a_rewrite_remove_all_before_it() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, LogConfig::default());
    append(&mut log, b"SET a 1");
    append(&mut log, b"SET a 2");
    log.roll().expect("rolls");
    log.roll().expect("rolls only once");
    let snapshot = append(&mut log, b"snapshot: a is 2");
    log.remove_before(snapshot).expect("removes");
    log.sync().expect("syncs");
    assert_eq!(log.segment_count(), 1);
    assert_eq!(disk.list("log").expect("lists"), vec!["00000000000000000046.log".to_owned(), "start".to_owned()]);
    disk.power_loss(Keep::Synced);
    assert_eq!(payloads(&open(&disk, LogConfig::default())), vec![b"snapshot: a is 2".to_vec()]);
}

#[test]
fn a_full_disk_refuses_and_the_log_goes_on_when_there_is_space() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    append(&mut log, b"before");
    log.flush().expect("flushes");
    disk.switch().set(DiskHealth::Full);
    let rejected = append(&mut log, b"refused");
    assert_eq!(log.flush(), Err(LogError::Disk(DiskError::Full)));
    log.truncate(rejected).expect("gives it up");
    append(&mut log, b"kept waiting");
    assert_eq!(log.flush(), Err(LogError::Disk(DiskError::Full)));
    disk.switch().set(DiskHealth::Ok);
    log.sync().expect("syncs");
    assert_eq!(payloads(&log), vec![b"before".to_vec(), b"kept waiting".to_vec()]);
    disk.power_loss(Keep::Synced);
    assert_eq!(payloads(&open(&disk, small())).len(), 2);
}

/// A write that failed midway had put a whole record into the file before the error came. The caller gave it up, and a
/// shorter record took its place: the rest of the first must not be read as a record after it.
#[test]
fn what_a_failed_write_left_behind_is_no_record() {
    for capacity in 0..200 {
        let disk = MemoryDisk::simulated_with_capacity(capacity);
        let Ok(mut log) = try_open(&disk, small()) else { continue };
        let mut accepted = Vec::new();
        for n in 0..10u8 {
            let Ok(position) = log.append(0, &[&[n; 3]]) else { break };
            let written = match n % 2 {
                0 => log.append(0, &[&[n; 30]]).and_then(|_| log.flush()),
                _ => log.append_through(0, &[&[n; 30]]).map(|_| ()),
            };
            if written.is_ok() {
                accepted.extend([vec![n; 3], vec![n; 30]]);
            } else {
                log.truncate(position).expect("gives both up");
            }
        }
        drop(log);
        let log = open(&disk, small());
        assert_eq!(payloads(&log), accepted, "on a disk of {capacity} bytes");
    }
}

#[test]
fn a_failing_disk_fails_calls_and_corrupts_nothing() {
    let switch = Arc::new(DiskSwitch::default());
    let disk = GuardedDisk::new(Arc::new(MemoryDisk::simulated()), Arc::clone(&switch));
    let mut log = Log::open(Arc::new(disk), "log", small()).expect("opens");
    let first = append(&mut log, b"first");
    log.flush().expect("flushes");
    switch.set(DiskHealth::Failing);
    assert_eq!(log.read(first), Err(LogError::Disk(DiskError::Failing(Operation::Read))));
    append(&mut log, b"second");
    assert_eq!(log.sync(), Err(LogError::Disk(DiskError::Failing(Operation::Write))));
    switch.set(DiskHealth::Ok);
    assert_eq!(log.sync(), Ok(log.end()));
    assert_eq!(payloads(&log).len(), 2);
}

#[test]
fn a_missing_or_damaged_durable_segment_is_refused_not_skipped() {
    let build = || {
        let disk = MemoryDisk::simulated();
        let mut log = open(&disk, small());
        for n in 0..30u8 {
            append(&mut log, &[n; 34]);
            log.sync().expect("syncs");
        }
        disk
    };
    let disk = build();
    let second = disk.list("log").expect("lists")[1].clone();
    disk.remove(&format!("log/{second}")).expect("removes");
    assert!(matches!(try_open(&disk, small()), Err(LogError::Corrupt { .. })));

    let disk = build();
    let file = disk.open(&format!("log/{second}"), atoll_kernel::disk::Open::Existing).expect("opens");
    file.write_at(3, b"?").expect("writes");
    assert!(matches!(try_open(&disk, small()), Err(LogError::Corrupt { .. })));

    // Damage within a segment that recovery does not read is found by whoever reads it.
    let disk = build();
    let file = disk.open(&format!("log/{second}"), atoll_kernel::disk::Open::Existing).expect("opens");
    file.write_at(60, b"?").expect("writes");
    let log = open(&disk, small());
    let results: Vec<bool> = log.records(0).map(|record| record.is_ok()).collect();
    assert_eq!(results.iter().filter(|ok| !**ok).count(), 1);
    assert_eq!(results.last(), Some(&false));

    let disk = build();
    atoll_kernel::disk::replace_file(&disk, "log", "start", b"nonsense").expect("writes");
    assert!(matches!(try_open(&disk, small()), Err(LogError::Corrupt { .. })));
}

#[test]
fn a_thousand_idle_logs_cost_a_directory_each() {
    let disk = MemoryDisk::ephemeral();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let logs: Vec<Log> = (0..1000)
        .map(|n| Log::open(Arc::clone(&shared), &format!("kafka/orders-{n}"), LogConfig::default()).expect("opens"))
        .collect();
    assert_eq!(disk.used(), 0);
    let bytes: usize = logs.iter().map(size_of_val).sum();
    assert!(bytes < 400_000, "{bytes} bytes");
}
