//! What was denied: the entries of ACL LOG, and the counts of INFO.

use std::collections::VecDeque;

use super::Denied;

/// Similar denials within this time are one entry, in milliseconds.
const GROUPED_MS: i64 = 60_000;
/// How many of the latest entries are looked at for a similar one.
const SEARCHED: usize = 10;

/// Why something was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Login,
    Command,
    Key,
    Channel,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Login => "auth",
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
        }
    }
}

impl From<Denied> for Reason {
    fn from(denied: Denied) -> Reason {
        match denied {
            Denied::Command => Reason::Command,
            Denied::Key(_) => Reason::Key,
            Denied::Channel(_) => Reason::Channel,
        }
    }
}

/// Where a command came from that was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    TopLevel,
    Transaction,
    Script,
}

impl Occasion {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Occasion::TopLevel => "toplevel",
            Occasion::Transaction => "multi",
            Occasion::Script => "lua",
        }
    }
}

/// One entry: denials that are alike.
#[derive(Clone, Debug)]
pub(crate) struct Denial {
    pub(crate) count: u64,
    pub(crate) reason: Reason,
    pub(crate) occasion: Occasion,
    /// The command, the key or the channel.
    pub(crate) object: Vec<u8>,
    pub(crate) user: Vec<u8>,
    /// The client as CLIENT LIST shows it.
    pub(crate) client: String,
    pub(crate) number: u64,
    /// When the first and the last of them were, by the instance's clock.
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
}

/// The latest denials, the last one first, and how many there were of each kind.
#[derive(Debug, Default)]
pub(crate) struct Log {
    entries: VecDeque<Denial>,
    created: u64,
    pub(crate) logins: u64,
    pub(crate) commands: u64,
    pub(crate) keys: u64,
    pub(crate) channels: u64,
}

impl Log {
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &Denial> {
        self.entries.iter()
    }

    /// Forgets the entries, but not the counts.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Adds a denial. `acllog-max-len` bounds the entries.
    pub(crate) fn add(&mut self, mut denial: Denial, length_max: usize) {
        match denial.reason {
            Reason::Login => self.logins += 1,
            Reason::Command => self.commands += 1,
            Reason::Key => self.keys += 1,
            Reason::Channel => self.channels += 1,
        }
        let is_alike = |known: &Denial| {
            known.reason == denial.reason
                && known.occasion == denial.occasion
                && known.updated_ms.abs_diff(denial.updated_ms) <= GROUPED_MS.unsigned_abs()
                && known.object == denial.object
                && known.user == denial.user
        };
        let alike = self.entries.iter().take(SEARCHED).position(is_alike);
        if let Some(known) = alike.and_then(|place| self.entries.remove(place)) {
            denial.count = known.count + 1;
            denial.number = known.number;
            denial.created_ms = known.created_ms;
            self.entries.push_front(denial);
            return;
        }
        denial.number = self.created;
        self.created += 1;
        self.entries.push_front(denial);
        self.entries.truncate(length_max);
    }
}
