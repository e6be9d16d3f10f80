//! Repository chores: `cargo xtask tidy` checks what the compiler does not. One module per subcommand, dispatched below.
#![allow(clippy::disallowed_methods)] // A tool for developers reads the work tree directly; nothing here runs inside Atoll.

use std::process::ExitCode;

mod bench;
mod kafka_codegen;
mod tidy;

const USAGE: &str = "usage: cargo xtask SUBCOMMAND

subcommands:
  tidy                            check sizes, banned calls, dependency direction, forgotten files and text hygiene
  kafka-codegen [--check] FOLDER  write the Kafka wire functions from Kafka's message definitions, or only compare them
  bench redis|kafka|idle          measure beside the real engines; see bench/README.md";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["tidy"] => tidy::main(),
        ["kafka-codegen", folder] => kafka_codegen::run(folder.as_ref(), false),
        ["kafka-codegen", "--check", folder] | ["kafka-codegen", folder, "--check"] => {
            kafka_codegen::run(folder.as_ref(), true)
        }
        ["bench", rest @ ..] => bench::run(rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
