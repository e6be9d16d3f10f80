//! The distributed stack in one binary: command line, configuration and assembly.
//!
//! This is the only crate that names every part. Start here:
//! - `stack.rs`: what a stack consists of, in the order in which it starts and stops.
//! - `config/`: `atoll.yaml`, and how a mistake in it is reported.
//! - `cli.rs`: the command tree; one file per command beneath `cli/`.
//! - `serve.rs`: the life of the process that holds a stack: claim, start, serve the control socket, stop.
//! - `control.rs`: what commands ask of a running stack, and how.
//! - `registry.rs`: which stacks this user runs, and which block of addresses each has.
//! - `demo.rs`: the orders application with live traffic; `demo/chaos.rs`: experiments. `load.rs`: the traffic.
//! - `pods.rs`: pods and their network, put together.
//! - `error.rs`: every error code and its exit code.
//!
//! Invariants: data goes to standard output and everything else to standard error. What a command prints is a JSON value
//! first; tables are views of it. Nothing here speaks a protocol of an engine.

pub mod cli;
pub mod config;
mod control;
mod demo;
mod detach;
mod doctor;
mod environment;
pub mod error;
mod faults;
mod files;
mod home;
mod kafka;
mod load;
mod logs;
mod options;
mod output;
mod plan;
pub mod pods;
mod registry;
mod serve;
mod signals;
mod stack;
mod text;
