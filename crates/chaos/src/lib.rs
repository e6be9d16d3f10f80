//! Experiments: what is done to a running stack, what is expected of it, and what came of it.
//!
//! Start here:
//! - `experiment.rs`: the experiment file and its parts; [`parse_experiment`] reads one.
//! - `runner.rs`: [`Runner`] says which fault is due, takes in what is observed, and ends in a [`Verdict`].
//! - `verdict.rs`: what a verdict holds; `judge.rs`: how each hypothesis is judged.
//! - `report.rs`: the verdict for the terminal, as JSON, and as one HTML page.
//! - `histogram.rs`: latencies, for whoever measures them.
//!
//! Invariants: nothing here reads a clock, opens a socket or touches a file. Time comes in as the duration since the run
//! began. The same experiment and the same observations give the same bytes, in whatever order samples arrive.

pub mod experiment;
pub mod histogram;
mod judge;
pub mod report;
pub mod runner;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use experiment::{Experiment, Problem, parse_experiment};
pub use histogram::Histogram;
pub use runner::{Observation, Outcome, Runner, Sample};
pub use verdict::Verdict;
