//! The `atoll` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    atoll::cli::main(std::env::args_os())
}
