//! Any bytes as the records of a produce request: batches that are accepted are whole, and their records can be read or refused.

#![no_main]

use atoll_fuzz as _;
use atoll_kafka::wire::batch::{self, BatchHeader, HEADER_SIZE};
use atoll_kafka::wire::compression::{self, Codec};
use atoll_kafka::wire::record;
use atoll_kafka::wire::retained;
use atoll_kafka::wire::validation::{self, Rules};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// As much may be unpacked where records are kept, so that one allocation stays below what the fuzzer allows.
const UNPACKED_MAX: u64 = 6 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((&choices, records)) = input.split_first() else { return };
    let mut records = records.to_vec();
    // No fuzzer guesses checksums: they are made right, so that what they protect is hostile.
    if choices & 1 != 0 {
        mend(&mut records);
    }
    let records = Bytes::from(records);
    let _ = record::read_records_within(&records, UNPACKED_MAX);
    let Ok(batches) = batch::validate(&records) else { return };
    assert_eq!(batches.iter().map(|(header, _)| header.size).sum::<usize>(), records.len());
    for (header, bytes) in batches {
        assert!(header.record_count > 0 && header.next_offset() > header.base_offset);
        let placed = Bytes::from(batch::place(&bytes, 1000, 7).concat());
        let placed_header = BatchHeader::read(&placed).expect("a batch stays one when it gets its place");
        assert_eq!((placed_header.base_offset, placed_header.leader_epoch), (1000, 7));
        batch::validate(&placed).expect("its place is not part of its checksum");
        let stamped = Bytes::from(batch::place_with_append_time(&bytes, 0, 0, 123).concat());
        batch::validate(&stamped).expect("the checksum was summed up anew");
        // What a leader asks of a producer's records: bombs cost time up to a limit, and no memory.
        let rules = Rules { partition: ("t", 0), now_ms: Some(0), before_max_ms: 9, after_max_ms: 9, needs_keys: true };
        let _ = validation::check(&header, &bytes, &rules);
        for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
            let packed = bytes.slice(HEADER_SIZE..);
            let _ = compression::unpack(codec, packed, UNPACKED_MAX);
        }
        if let Some(Ok(read)) = record::read_records_within(&placed, UNPACKED_MAX) {
            assert_eq!(read.len(), usize::try_from(header.record_count).expect("is positive"));
            // What compaction leaves of it is a batch again, with these records.
            let left: Vec<_> = read.into_iter().step_by(2).collect();
            if let Ok(bytes) = retained::with_records(&placed_header, &left, (choices & 2 != 0).then_some(9)) {
                let again = record::read_records(&bytes).and_then(Result::ok).expect("what was written can be read");
                let kept = |records: &[record::Record]| records.iter().map(|one| one.key.clone()).collect::<Vec<_>>();
                assert_eq!(kept(&again), kept(&left));
            }
            BatchHeader::read(&retained::emptied(&placed_header)).expect("a batch without records is one");
        }
    }
});

/// Makes each batch one of the present format, with the right checksum, as far as the lengths lead.
fn mend(mut records: &mut [u8]) {
    while records.len() >= HEADER_SIZE {
        let length = u32::from_be_bytes(std::array::from_fn(|n| records[8 + n])) as usize;
        // Most lengths lead nowhere; then the batch takes all that is there.
        let size = if (HEADER_SIZE - 12..=records.len() - 12).contains(&length) { length + 12 } else { records.len() };
        let (batch, rest) = records.split_at_mut(size);
        batch[8..12].copy_from_slice(&(size as u32 - 12).to_be_bytes());
        batch[16] = 2;
        let checksum = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&checksum.to_be_bytes());
        records = rest;
    }
}
