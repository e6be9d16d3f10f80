//! The engine as a whole: text scripts, random faults against a model, the gap ledger.

mod coverage;
mod faults;
mod functions;
mod harness;
mod live;
mod live_tls;
mod moving;
mod restart;
mod saving;
mod scripts;
mod upstream;
