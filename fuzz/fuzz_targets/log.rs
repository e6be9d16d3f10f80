//! Any files at all in a log's directory: opening refuses them or finds whole records, and the log goes on from there.

#![no_main]

use std::sync::Arc;

use atoll_fuzz as _;
use atoll_kernel::disk::{Disk, MemoryDisk, Open};
use atoll_storage::log::{RECORD_OVERHEAD, SEGMENT_HEADER};
use atoll_storage::{Log, LogConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[choices, cut], files)) = input.split_first_chunk() else { return };
    let (first, second) = files.split_at(usize::from(cut).min(files.len()));
    let disk = MemoryDisk::ephemeral();
    disk.create_directory("log").expect("creates");
    let mut bases = vec![(0, first)];
    if choices & 1 != 0 {
        // The second segment begins where the first ends, or elsewhere.
        let end = (first.len() as u64).saturating_sub(SEGMENT_HEADER);
        bases.push((if choices & 2 != 0 { end } else { u64::from(choices) << 56 }, second));
    }
    for (base, bytes) in bases {
        let mut bytes = bytes.to_vec();
        // No fuzzer guesses checksums: they are made right, so that what they protect is hostile.
        if choices & 4 != 0 {
            mend(base, &mut bytes);
        }
        write(&disk, &format!("log/{base:020}.log"), &bytes);
    }
    if choices & 8 != 0 {
        write(&disk, "log/start", &second[..second.len().min(20)]);
    }
    check(&disk);
});

fn check(disk: &MemoryDisk) {
    let Ok(mut log) = open(disk) else { return };
    let (found, whole) = payloads(&log);
    let Ok(position) = log.append(0, &[b"appended"]) else { return };
    log.flush().expect("a disk without faults takes it");
    drop(log);
    let log = open(disk).expect("what was opened once can be opened again");
    assert_eq!(log.read(position).expect("readable").payload, &b"appended"[..]);
    let (again, _) = payloads(&log);
    if whole {
        assert_eq!(again.split_last().map(|(last, before)| (last.0, before)), Some((position, &found[..])));
    } else {
        assert_eq!(again, found);
    }
}

fn open(disk: &MemoryDisk) -> Result<Log, atoll_storage::LogError> {
    let config = LogConfig { segment_bytes: 4096, record_bytes_max: u32::MAX, buffer_bytes: 1024 };
    Log::open(Arc::new(disk.clone()), "log", config)
}

/// The records up to the end, or up to damage in a part that opening need not verify, and whether they are all.
fn payloads(log: &Log) -> (Vec<(u64, Vec<u8>)>, bool) {
    let records: Vec<_> = log.records(log.start()).map_while(Result::ok).collect();
    let whole = records.last().map_or(log.start(), |last| last.next) == log.end();
    (records.into_iter().map(|record| (record.position, record.payload.to_vec())).collect(), whole)
}

fn write(disk: &MemoryDisk, path: &str, bytes: &[u8]) {
    let file = disk.open(path, Open::Create).expect("opens");
    file.write_at(0, bytes).expect("writes");
}

/// Makes the header's and the records' checksums right, as far as the lengths lead.
fn mend(base: u64, bytes: &mut [u8]) {
    let header = SEGMENT_HEADER as usize;
    let overhead = RECORD_OVERHEAD as usize;
    if bytes.len() < header {
        return;
    }
    bytes[..8].copy_from_slice(b"ATOLLOG\x01");
    bytes[8..16].copy_from_slice(&base.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..32]);
    bytes[32..36].copy_from_slice(&checksum.to_le_bytes());
    let mut at = header;
    while let Some(framing) = bytes.get(at..at + overhead) {
        let length = u32::from_le_bytes(std::array::from_fn(|n| framing[4 + n])) as usize;
        let Some(payload) = bytes.get(at + overhead..at + overhead + length) else { break };
        let position = base.wrapping_add((at - header) as u64);
        let mut checksum = crc32c::crc32c(&position.to_le_bytes());
        checksum = crc32c::crc32c_append(checksum, &framing[4..]);
        checksum = crc32c::crc32c_append(checksum, payload);
        bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        at += overhead + length;
    }
}
