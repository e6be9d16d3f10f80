use super::*;
use crate::node::DiskHealth;
use crate::seed::Seed;

fn open(disk: &dyn Disk, path: &str) -> Arc<dyn DiskFile> {
    disk.open(path, Open::Create).expect("opens")
}

fn contents(disk: &dyn Disk, path: &str) -> Option<Vec<u8>> {
    read_file(disk, path, 1 << 20).expect("readable")
}

#[test]
fn what_is_written_is_read_back_across_chunks() {
    let disk = MemoryDisk::ephemeral();
    let file = open(&disk, "file");
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    file.write_at(0, &bytes).expect("writes");
    file.write_at(65_530, &[1; 20]).expect("overwrites");
    let mut expected = bytes;
    expected[65_530..65_550].fill(1);
    assert_eq!(contents(&disk, "file"), Some(expected.clone()));

    file.truncate(131_072).expect("cuts at the end of a chunk");
    file.write_at(131_080, b"after a gap").expect("writes");
    expected.truncate(131_072);
    expected.extend_from_slice(&[0; 8]);
    expected.extend_from_slice(b"after a gap");
    assert_eq!(contents(&disk, "file"), Some(expected));
    assert_eq!(disk.used(), 131_091);

    let mut beyond = [0; 4];
    assert_eq!(file.read_at(u64::MAX - 1, &mut beyond), Ok(0));
    disk.remove("file").expect("removes");
    drop(file);
    assert_eq!(disk.used(), 0);
}

#[test]
fn directories_list_what_is_directly_in_them() {
    let disk = MemoryDisk::ephemeral();
    disk.create_directory("kafka/orders-0").expect("creates");
    disk.create_directory("kafka-old").expect("creates");
    open(&disk, "kafka/orders-0/0.log");
    open(&disk, "kafka/meta");
    assert_eq!(disk.list("kafka"), Ok(vec!["meta".to_owned(), "orders-0".to_owned()]));
    assert_eq!(disk.list(""), Ok(vec!["kafka".to_owned(), "kafka-old".to_owned()]));
    assert_eq!(disk.list("redis"), Err(DiskError::NotFound { path: "redis".to_owned() }));
    assert!(matches!(disk.open("redis/file", Open::Create), Err(DiskError::NotFound { .. })));
    disk.remove_directory("kafka").expect("removes");
    assert_eq!(disk.list(""), Ok(vec!["kafka-old".to_owned()]));
}

#[test]
fn power_loss_takes_what_was_not_synced() {
    let disk = MemoryDisk::simulated();
    let file = open(&disk, "file");
    file.write_at(0, b"durable").expect("writes");
    file.sync().expect("syncs");
    disk.sync_directory("").expect("syncs");
    file.write_at(7, b", lost").expect("writes");
    open(&disk, "name that is lost").sync().expect("a file's sync does not make its name durable");
    disk.power_loss(Keep::Synced);
    assert_eq!(contents(&disk, "file"), Some(b"durable".to_vec()));
    assert_eq!(disk.list(""), Ok(vec!["file".to_owned()]));

    // A handle of before belongs to a dead process.
    file.write_at(0, b"ghost").expect("writes to nowhere");
    assert_eq!(contents(&disk, "file"), Some(b"durable".to_vec()));
}

#[test]
fn a_directory_survives_once_those_above_it_are_synced() {
    let disk = MemoryDisk::simulated();
    let fill = || {
        disk.create_directory("kafka/orders-0").expect("creates");
        open(&disk, "kafka/orders-0/file").sync().expect("syncs");
        disk.sync_directory("kafka/orders-0").expect("syncs");
        disk.sync_directory("kafka").expect("syncs");
    };
    fill();
    disk.power_loss(Keep::Synced);
    assert_eq!(disk.list(""), Ok(Vec::new()), "the name of `kafka` was not durable, so nothing below it is found");
    fill();
    disk.sync_directory("").expect("syncs");
    disk.power_loss(Keep::Synced);
    assert_eq!(disk.list("kafka/orders-0"), Ok(vec!["file".to_owned()]));
}

#[test]
fn a_rename_survives_once_its_directory_is_synced() {
    let disk = MemoryDisk::simulated();
    replace_file(&disk, "", "state", b"old").expect("writes");
    let new = open(&disk, "state.new");
    new.write_at(0, b"new").expect("writes");
    new.sync().expect("syncs");
    disk.rename("state.new", "state").expect("renames");
    assert_eq!(contents(&disk, "state"), Some(b"new".to_vec()));
    disk.power_loss(Keep::Synced);
    assert_eq!(contents(&disk, "state"), Some(b"old".to_vec()));
    assert!(matches!(disk.rename("state", "elsewhere/state"), Err(DiskError::Other { .. })));
}

#[test]
fn torn_writes_are_the_same_for_the_same_seed_and_differ_otherwise() {
    let survivors = |seed: u64| {
        let disk = MemoryDisk::simulated();
        let file = open(&disk, "file");
        disk.sync_directory("").expect("syncs");
        for n in 0..8 {
            file.write_at(n * 1000, &[n as u8 + 1; 1000]).expect("writes");
        }
        disk.power_loss(Keep::Torn(&mut Seed(seed).stream("power", 0)));
        contents(&disk, "file").expect("its name was synced")
    };
    assert_eq!(survivors(1), survivors(1));
    let different: std::collections::BTreeSet<Vec<u8>> = (0..20).map(survivors).collect();
    assert!(different.len() > 15, "only {} outcomes in 20 power failures", different.len());
    for bytes in different {
        for (at, byte) in bytes.iter().enumerate() {
            assert!(*byte == 0 || usize::from(*byte) == at / 1000 + 1, "byte {at} was invented");
        }
    }
}

#[test]
fn after_a_failed_sync_only_a_rewrite_helps() {
    let disk = MemoryDisk::simulated();
    let file = open(&disk, "file");
    disk.sync_directory("").expect("syncs");
    file.write_at(0, b"lost").expect("writes");
    disk.switch().fail(Operation::Sync, true);
    assert_eq!(file.sync(), Err(DiskError::Failing(Operation::Sync)));
    disk.switch().set(DiskHealth::Ok);
    file.sync().expect("succeeds, and does nothing");
    file.write_at(4, b"kept").expect("writes");
    file.sync().expect("syncs");
    disk.power_loss(Keep::Synced);
    assert_eq!(contents(&disk, "file"), Some(b"\0\0\0\0kept".to_vec()));
}

#[test]
fn a_full_disk_writes_what_fits_and_reads_on() {
    let disk = MemoryDisk::simulated_with_capacity(10);
    let file = open(&disk, "file");
    assert_eq!(file.write_at(0, b"twelve bytes"), Err(DiskError::Full));
    assert_eq!(contents(&disk, "file"), Some(b"twelve byt".to_vec()));
    file.write_at(0, b"over").expect("what is there can be overwritten");
    assert_eq!(file.truncate(11), Err(DiskError::Full));
    file.truncate(4).expect("cuts");
    file.write_at(4, b"writ").expect("there is space again");
    assert_eq!(disk.used(), 8);
}

#[test]
fn a_guarded_disk_fails_as_its_switch_says() {
    let switch = Arc::new(DiskSwitch::default());
    let disk = GuardedDisk::new(Arc::new(MemoryDisk::ephemeral()), Arc::clone(&switch));
    let file = open(&disk, "file");
    file.write_at(0, b"before").expect("writes");

    switch.set(DiskHealth::Full);
    assert_eq!(file.write_at(0, b"after"), Err(DiskError::Full));
    assert_eq!(contents(&disk, "file"), Some(b"before".to_vec()));

    switch.set(DiskHealth::Failing);
    assert_eq!(file.write_at(0, b"after"), Err(DiskError::Failing(Operation::Write)));
    assert_eq!(file.read_at(0, &mut [0; 4]), Err(DiskError::Failing(Operation::Read)));
    assert_eq!(file.sync(), Err(DiskError::Failing(Operation::Sync)));

    switch.set(DiskHealth::Slow(Duration::from_millis(50)));
    assert_eq!(disk.latency(), Duration::from_millis(50));
    file.write_at(0, b"after").expect("writes");

    switch.set(DiskHealth::Ok);
    assert_eq!(disk.latency(), Duration::ZERO);
}

#[test]
fn a_longer_file_than_expected_is_refused() {
    let disk = MemoryDisk::ephemeral();
    open(&disk, "file").write_at(0, b"12345").expect("writes");
    assert!(matches!(read_file(&disk, "file", 4), Err(DiskError::Other { .. })));
    assert_eq!(read_file(&disk, "missing", 4), Ok(None));
}
