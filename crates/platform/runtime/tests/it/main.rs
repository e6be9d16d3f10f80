//! Pods as they really are: every test here starts some. They need a Linux that lets this user make user namespaces;
//! where it does not, they say so and pass, for nothing can be learned there.
#![allow(clippy::disallowed_methods)] // These tests look at the machine from outside: /proc, clocks, processes.

mod fixture;
mod isolation;
mod lifecycle;
mod network;
mod survival;
