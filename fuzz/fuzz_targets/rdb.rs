//! Any bytes as a value, as a whole file and as libraries of functions in Redis's binary format: what is read can be written, and
//! reads the same again.

#![no_main]

use atoll_fuzz as _;
use atoll_redis::rdb;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(written) = rdb::canonical(input) {
        let again = rdb::canonical(&written).expect("what was written can be read");
        assert_eq!(again.len(), written.len());
    }
    if let Ok(written) = rdb::rewrite(input) {
        assert!(rdb::rewrite(&written).is_ok());
    }
    // A payload without a version and without a checksum, which nobody guesses.
    if let Ok(written) = rdb::rewrite_functions(&[input, &[0; 10]].concat()) {
        assert_eq!(rdb::rewrite_functions(&written), Ok(written));
    }
});
