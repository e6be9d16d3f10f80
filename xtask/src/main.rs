//! Repository chores: `cargo xtask tidy` checks what the compiler does not. One module per subcommand, dispatched below.
#![allow(clippy::disallowed_methods)] // A tool for developers reads the work tree directly; nothing here runs inside Atoll.

use std::process::ExitCode;

mod tidy;

const USAGE: &str = "usage: cargo xtask SUBCOMMAND

subcommands:
  tidy    check sizes, banned calls, dependency direction, forgotten files and text hygiene";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("tidy") => tidy::main(),
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
