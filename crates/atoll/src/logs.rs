//! The lines that the parts of a stack log, merged in the order in which they came: a bounded window of the newest, and a
//! feed for those who follow.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// How many lines are kept. Older ones are gone.
const LINES_MAX: usize = 20_000;
/// How far a follower may fall behind before it loses lines, and is told so.
const BEHIND_MAX: usize = 4_096;
/// The longest line that is kept whole, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Milliseconds since the Unix epoch, true time.
    pub at_ms: i64,
    /// Who logged it: `atoll`, `faults`, `redis`, `pod/orders-5d9f/app` …
    pub source: String,
    /// The line, without its end.
    pub text: String,
}

/// The merged log. Clones share it; any thread may write.
#[derive(Clone, Debug)]
pub struct Logs {
    window: Arc<Mutex<VecDeque<Line>>>,
    feed: broadcast::Sender<Line>,
}

impl Default for Logs {
    fn default() -> Self {
        Logs { window: Arc::default(), feed: broadcast::channel(BEHIND_MAX).0 }
    }
}

impl Logs {
    /// Adds a line at its place.
    pub fn push(&self, at_ms: i64, source: &str, text: &str) {
        let mut end = text.len().min(LINE_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let line = Line { at_ms, source: source.to_owned(), text: text[..end].to_owned() };
        let mut window = self.window();
        if window.len() == LINES_MAX {
            window.pop_front();
        }
        window.push_back(line.clone());
        // Under the window's lock, so that a follower that joins sees every line exactly once.
        let _ = self.feed.send(line);
    }

    /// The newest `tail` lines of these sources (all, if none is named), and the feed of what follows.
    pub fn read(&self, sources: &[String], tail: usize) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let window = self.window();
        let mut lines: Vec<Line> =
            window.iter().rev().filter(|line| is_wanted(line, sources)).take(tail).cloned().collect();
        lines.reverse();
        (lines, self.feed.subscribe())
    }

    fn window(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if a line is of one of these sources. `pod/orders` stands for all that begins so; no sources stand for all.
pub fn is_wanted(line: &Line, sources: &[String]) -> bool {
    sources.is_empty() || sources.iter().any(|source| line.source.starts_with(source.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_keeps_the_newest_lines_and_cuts_long_ones() {
        let logs = Logs::default();
        for number in 0..LINES_MAX + 5 {
            logs.push(0, "redis", &number.to_string());
        }
        logs.push(0, "kafka", &"ü".repeat(LINE_BYTES_MAX));
        let (lines, _) = logs.read(&["redis".into()], usize::MAX);
        assert_eq!(lines.first().map(|line| line.text.as_str()), Some("6"));
        let (lines, _) = logs.read(&["kafka".into()], 1);
        assert_eq!(lines[0].text.len(), LINE_BYTES_MAX);
    }

    #[test]
    fn a_follower_gets_what_comes_after_the_tail() {
        let logs = Logs::default();
        logs.push(1, "a", "one");
        let (tail, mut feed) = logs.read(&[], 10);
        logs.push(2, "b", "two");
        assert_eq!(tail.len(), 1);
        assert_eq!(feed.try_recv().map(|line| line.text), Ok("two".to_owned()));
    }
}
