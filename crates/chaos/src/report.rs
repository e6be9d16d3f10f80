//! A verdict as text for the terminal, as JSON, and as one HTML page.

mod chart;
mod html;
mod terminal;

pub use html::page;
pub use terminal::text;

use crate::verdict::Verdict;

/// The verdict as a JSON value.
pub fn json(verdict: &Verdict) -> serde_json::Value {
    // Strings, numbers and lists of them: there is nothing that JSON cannot hold.
    serde_json::to_value(verdict).unwrap_or_default()
}
