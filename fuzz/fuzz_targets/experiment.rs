//! Any text as an experiment file: it is read, or refused with reasons.

#![no_main]

use atoll_fuzz as _;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Err(problems) = atoll_chaos::parse_experiment(text) {
        assert!(!problems.is_empty());
    }
});
