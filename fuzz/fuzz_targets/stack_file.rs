//! Any text as `atoll.yaml`: it is read, or refused with places that lie in it, and the refusal can be shown.
//!
//! The modules are taken from the binary's crate by their paths: to depend on it would instrument the whole of Atoll.

#![no_main]

use atoll_fuzz as _;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../crates/atoll/src/config/mod.rs"]
mod config;
#[allow(dead_code)]
#[path = "../../crates/atoll/src/error.rs"]
mod error;
#[allow(dead_code)]
#[path = "../../crates/atoll/src/text.rs"]
mod text;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match config::parse_stack(text) {
        Ok(stack) => assert!((1..=config::NODES_MAX).contains(&stack.nodes.len())),
        Err(problems) => {
            assert!(!problems.is_empty());
            // To YAML a carriage return alone ends a line.
            let lines = text.matches(['\n', '\r']).count() + 1;
            assert!(problems.iter().all(|problem| (1..=lines).contains(&problem.place.line)), "{problems:?}");
            let _ = config::failure("atoll.yaml", text, &problems, false);
        }
    }
});
