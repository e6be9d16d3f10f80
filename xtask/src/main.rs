//! Code generation and repository checks: `cargo xtask`.
fn main() {}
