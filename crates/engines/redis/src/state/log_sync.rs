//! How far the append-only file of a dataset really is on disk, as whoever writes it says. In a simulation nobody does, and
//! the images of disks say all.

use super::dataset::Dataset;
use super::overlay::Position;

/// A place in the history of a dataset, which can be taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogMark {
    position: Position,
    rewinds: u64,
}

/// What is known of the file.
#[derive(Debug, Default)]
pub(crate) struct LogSync {
    synced: Option<Position>,
    /// How often the history was taken back: what is said of a place before that means nothing after it.
    rewinds: u64,
}

impl Dataset {
    /// The place that the file is at when all that was executed has been appended.
    pub(crate) fn log_mark(&self) -> LogMark {
        LogMark { position: self.offset, rewinds: self.log_sync.rewinds }
    }

    /// The file is on disk up to this place.
    pub(crate) fn note_log_synced(&mut self, mark: LogMark) {
        if mark.rewinds == self.log_sync.rewinds {
            self.log_sync.synced = self.log_sync.synced.max(Some(mark.position));
        }
    }

    /// How far the file is on disk; None in a simulation.
    pub(crate) fn log_synced(&self) -> Option<Position> {
        self.log_sync.synced
    }

    /// The dataset stands at an earlier place, or on another branch.
    pub(super) fn rewind_log(&mut self) {
        self.log_sync.rewinds += 1;
        self.log_sync.synced = self.log_sync.synced.map(|synced| synced.min(self.offset));
    }
}
