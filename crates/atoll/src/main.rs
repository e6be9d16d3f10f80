//! The `atoll` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A pod's first process is this same program. It enters namespaces, which is only possible before any other thread
    // exists, so nothing may stand before this.
    if let Some(code) = atoll_runtime::pod_janitor_main() {
        return code;
    }
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "pod-init") {
        return atoll_runtime::pod_init_main();
    }
    atoll::cli::main(std::env::args_os())
}
