//! The first process of a pod, as a program of its own. Atoll's one binary has it as the hidden subcommand `pod-init`;
//! this one is for tests and for programs that embed the runtime.

fn main() -> std::process::ExitCode {
    atoll_runtime::pod_janitor_main().unwrap_or_else(atoll_runtime::pod_init_main)
}
