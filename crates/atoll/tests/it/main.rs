//! The command as its users run it: the built binary, its output, its exit codes.

mod commands;
mod help;
mod kafka;
mod lifecycle;
mod pods;
mod stage;
