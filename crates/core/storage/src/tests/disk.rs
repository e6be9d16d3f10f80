//! The file disk keeps the same contract as the disk in memory.

use std::sync::Arc;

use atoll_kernel::disk::{Disk, DiskError, MemoryDisk, Open, read_file, replace_file};

use crate::{FileDisk, Log, LogConfig};

fn both(test: impl Fn(&dyn Disk)) {
    test(&MemoryDisk::ephemeral());
    test(&MemoryDisk::simulated());
    let directory = tempfile::tempdir().expect("makes a directory");
    test(&FileDisk::new(directory.path()));
}

#[test]
fn files_are_written_read_cut_renamed_and_removed() {
    both(|disk| {
        disk.create_directory("a/b").expect("creates");
        disk.create_directory("a/b").expect("is there already");
        let file = disk.open("a/b/file", Open::Create).expect("opens");
        file.write_at(3, b"defgh").expect("writes");
        file.write_at(0, b"abc").expect("writes");
        file.truncate(6).expect("cuts");
        file.sync().expect("syncs");
        assert_eq!(file.length(), Ok(6));
        let mut bytes = [0; 9];
        assert_eq!(file.read_at(1, &mut bytes), Ok(5));
        assert_eq!(&bytes[..5], b"bcdef");
        assert_eq!(file.read_at(100, &mut bytes), Ok(0));

        disk.rename("a/b/file", "a/b/other").expect("renames");
        disk.sync_directory("a/b").expect("syncs");
        assert_eq!(disk.list("a/b"), Ok(vec!["other".to_owned()]));
        assert_eq!(disk.list("a"), Ok(vec!["b".to_owned()]));
        file.write_at(0, b"X").expect("the handle still works");
        disk.remove("a/b/other").expect("removes");
        assert_eq!(file.length(), Ok(6));
        disk.remove_directory("a").expect("removes");
        disk.remove_directory("a").expect("is gone already");
    });
}

#[test]
fn what_is_not_there_is_not_found() {
    both(|disk| {
        let not_found = |path: &str| Err(DiskError::NotFound { path: path.to_owned() });
        assert_eq!(disk.open("file", Open::Existing).map(|_| ()), not_found("file"));
        assert_eq!(disk.open("no/file", Open::Create).map(|_| ()), not_found("no/file"));
        assert_eq!(disk.list("no"), not_found("no").map(|()| Vec::new()));
        assert_eq!(disk.remove("file"), not_found("file"));
        assert_eq!(disk.rename("file", "other"), not_found("file"));
        assert_eq!(read_file(disk, "file", 10), Ok(None));
        assert!(matches!(disk.rename("file", "no/other"), Err(DiskError::Other { .. })));
    });
}

#[test]
fn a_file_is_replaced_as_a_whole() {
    both(|disk| {
        replace_file(disk, "", "state", b"a longer first version").expect("writes");
        replace_file(disk, "", "state", b"second").expect("writes");
        assert_eq!(read_file(disk, "state", 100), Ok(Some(b"second".to_vec())));
        assert_eq!(disk.list(""), Ok(vec!["state".to_owned()]));
    });
}

#[test]
fn no_path_leads_out_of_a_file_disk() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let disk = FileDisk::new(directory.path());
    for path in ["../file", "/etc/passwd", "a/../../file"] {
        assert!(matches!(disk.open(path, Open::Existing), Err(DiskError::Other { .. })), "{path}");
    }
}

#[test]
fn a_log_on_a_file_disk_is_found_again() {
    let directory = tempfile::tempdir().expect("makes a directory");
    let disk: Arc<dyn Disk> = Arc::new(FileDisk::new(directory.path()));
    let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    let mut log = Log::open(Arc::clone(&disk), "kafka/orders-0", config.clone()).expect("opens");
    for n in 0..100u8 {
        log.append(0, &[&[n; 50]]).expect("appends");
    }
    let start = log.read_range(0, 2000).expect("readable").last().expect("has records").next;
    log.remove_before(start).expect("removes");
    log.sync().expect("syncs");
    let (end, segments) = (log.end(), log.segment_count());
    drop(log);
    let log = Log::open(disk, "kafka/orders-0", config).expect("opens");
    assert_eq!((log.start(), log.end(), log.segment_count()), (start, end, segments));
    assert_eq!(log.records(start).filter(Result::is_ok).count(), 70);
    log.delete().expect("removes");
    assert!(!directory.path().join("kafka/orders-0").exists());
}
