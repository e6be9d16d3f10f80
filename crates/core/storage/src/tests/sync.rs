use std::sync::mpsc;
use std::time::Duration;

use atoll_kernel::disk::{Disk, Keep, MemoryDisk, Operation};
use atoll_kernel::{DiskHealth, Moment};

use super::{append, open, payloads, small};
use crate::log::LogConfig;
use crate::sync::{SyncPolicy, SyncSchedule, Syncer};

#[test]
fn always_is_due_at_once_and_never_is_not() {
    let mut always = SyncSchedule::new(SyncPolicy::ALWAYS);
    let mut never = SyncSchedule::new(SyncPolicy::NEVER);
    assert!(!always.is_due(Moment::ZERO));
    always.appended(Moment::ZERO, 1);
    never.appended(Moment::ZERO, 1_000_000);
    assert!(always.is_due(Moment::ZERO));
    assert!(!never.is_due(Moment::from_millis(u64::MAX)));
    assert_eq!(never.next_wake(), None);
    always.begun();
    assert!(!always.is_due(Moment::ZERO));
}

#[test]
fn every_second_counts_from_the_oldest_record() {
    let mut schedule = SyncSchedule::new(SyncPolicy::EVERY_SECOND);
    assert_eq!(schedule.next_wake(), None);
    schedule.appended(Moment::from_millis(300), 1);
    schedule.appended(Moment::from_millis(900), 1);
    assert_eq!(schedule.next_wake(), Some(Moment::from_millis(1300)));
    assert!(!schedule.is_due(Moment::from_millis(1299)));
    assert!(schedule.is_due(Moment::from_millis(1300)));
    schedule.begun();
    assert_eq!(schedule.next_wake(), None);
}

#[test]
fn a_number_of_records_or_an_age_whichever_is_first() {
    let mut schedule = SyncSchedule::new(SyncPolicy { records: Some(3), interval: Some(Duration::from_millis(50)) });
    schedule.appended(Moment::ZERO, 2);
    assert!(!schedule.is_due(Moment::from_millis(49)));
    assert!(schedule.is_due(Moment::from_millis(50)));
    schedule.appended(Moment::ZERO, 1);
    assert!(schedule.is_due(Moment::ZERO));
}

#[test]
fn appendfsync_has_three_values() {
    assert!(SyncPolicy::from_appendfsync("always").is_some_and(SyncPolicy::is_always));
    assert_eq!(SyncPolicy::from_appendfsync("everysec"), Some(SyncPolicy::EVERY_SECOND));
    assert_eq!(SyncPolicy::from_appendfsync("no"), Some(SyncPolicy::NEVER));
    assert_eq!(SyncPolicy::from_appendfsync("sometimes"), None);
}

#[test]
fn a_syncer_makes_durable_what_was_appended_before_the_job() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let syncer = Syncer::start("sync").expect("starts");
    let (report, reports) = mpsc::channel();
    for n in 0..10 {
        append(&mut log, &[n; 40]);
    }
    let job = log.begin_sync().expect("flushes").expect("has work");
    let upto = log.end();
    append(&mut log, b"after the job was begun");
    assert!(log.begin_sync().expect("flushes").is_none(), "one job at a time");
    syncer.submit(job, move |outcome| report.send(outcome).expect("is awaited"));
    let outcome = reports.recv().expect("reports");
    assert_eq!((log.synced(), log.finish_sync(outcome)), (0, Ok(upto)));
    drop(syncer);
    disk.power_loss(Keep::Synced);
    // The last record may have been written in time to be synced with the others.
    assert!(payloads(&open(&disk, small())).len() >= 10);
}

/// The same position was synced, cut, and written anew while the job was under way: its outcome is about the old record.
#[test]
fn a_job_from_before_a_truncation_vouches_for_nothing() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    let position = append(&mut log, b"old");
    let job = log.begin_sync().expect("flushes").expect("has work");
    let outcome = job.run();
    log.truncate(position).expect("cuts");
    append(&mut log, b"new");
    log.flush().expect("flushes");
    assert_eq!(log.finish_sync(outcome), Ok(position));
    disk.power_loss(Keep::Synced);
    assert_eq!(payloads(&open(&disk, small())), Vec::<Vec<u8>>::new());
}

/// After a failed sync Linux takes the pages for clean, and the next sync succeeds without having written them.
#[test]
fn after_a_failed_sync_all_is_written_again() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    append(&mut log, b"durable");
    log.sync().expect("syncs");
    for n in 0..10 {
        append(&mut log, &[n; 40]);
    }
    disk.switch().fail(Operation::Sync, true);
    let job = log.begin_sync().expect("flushes").expect("has work");
    assert!(log.finish_sync(job.run()).is_err());
    assert!(log.sync().is_err());
    disk.switch().set(DiskHealth::Ok);
    assert_eq!(log.sync(), Ok(log.end()));
    disk.power_loss(Keep::Synced);
    assert_eq!(payloads(&open(&disk, small())).len(), 11);
}

/// A job fails while another, begun before, is still queued: what the second is to make durable may be forgotten by then.
#[test]
fn a_job_that_runs_after_another_has_failed_fails_too() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    append(&mut log, b"record");
    let queued = log.begin_sync().expect("flushes").expect("has work");
    disk.switch().fail(Operation::Sync, true);
    assert!(log.sync().is_err());
    disk.switch().set(DiskHealth::Ok);
    assert!(log.finish_sync(queued.run()).is_err());
    assert_eq!(log.synced(), 0);
    assert_eq!(log.sync(), Ok(log.end()));
}

#[test]
fn a_removal_that_failed_is_tried_again() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, small());
    for n in 0..10 {
        append(&mut log, &[n; 40]);
    }
    let end = log.end();
    log.remove_before(end).expect("removes");
    disk.switch().fail(Operation::Sync, true);
    assert!(log.sync().is_err());
    disk.switch().set(DiskHealth::Ok);
    log.sync().expect("syncs");
    assert_eq!(disk.list("log").expect("lists").len(), 2);
    disk.power_loss(Keep::Synced);
    let log = open(&disk, small());
    assert_eq!((log.start(), log.end()), (end, end));
}

#[test]
fn an_idle_log_wants_no_sync_after_a_restart() {
    let disk = MemoryDisk::simulated();
    let mut log = open(&disk, LogConfig { segment_bytes: 100, ..small() });
    for n in 0..10 {
        append(&mut log, &[n; 60]);
        log.sync().expect("syncs");
    }
    drop(log);
    let log = open(&disk, LogConfig { segment_bytes: 100, ..small() });
    assert!(!log.wants_sync());
}
