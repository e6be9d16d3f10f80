//! Whether a user may execute a command: some selector of it must allow the command, all keys and all channels.

use super::catalog::catalog;
use super::{Selector, User};
use crate::ops::{Command, Flags, KeyUse, glob_matches, key_uses};
use crate::wire::Request;

/// What a command is denied for, the argument for keys and channels. In the order in which Redis prefers to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Denied {
    Command,
    Key(usize),
    Channel(usize),
}

impl User {
    /// Whether this user may execute a command; otherwise the reason that is farthest from being allowed.
    pub(crate) fn check(&self, command: &Command, request: Request<'_>) -> Result<(), Denied> {
        let mut keys = None;
        let mut reason = Denied::Command;
        for selector in self.selectors() {
            match selector.check(command, request, &mut keys) {
                Ok(()) => return Ok(()),
                Err(denied) => reason = reason.max(denied),
            }
        }
        Err(reason)
    }

    /// Whether it may execute a command and read any key at all: patterns of SORT name keys that no rule can foresee.
    pub(crate) fn may_read_all_keys(&self, command: &Command, request: Request<'_>) -> bool {
        let mut keys = None;
        let reads_all = |selector: &&Selector| {
            selector.all_keys || selector.keys.iter().any(|key| key.reads && key.pattern == b"*")
        };
        let mut able = self.selectors().iter().filter(reads_all);
        able.any(|selector| selector.check(command, request, &mut keys).is_ok())
    }

    /// True if its selectors allow every channel.
    pub(crate) fn has_all_channels(&self) -> bool {
        self.selectors().iter().any(|selector| selector.all_channels)
    }

    /// True if it may be subscribed to a channel, or to a pattern of channels.
    pub(crate) fn may_subscribe(&self, name: &[u8], is_pattern: bool) -> bool {
        self.selectors().iter().any(|selector| selector.allows_channel(name, is_pattern))
    }

    /// True if every channel pattern of another user is this one's as well.
    pub(crate) fn has_channels_of(&self, other: &User) -> bool {
        let has = |pattern: &Vec<u8>| self.selectors().iter().any(|selector| selector.channels.contains(pattern));
        self.has_all_channels()
            || !other.has_all_channels() && other.selectors().iter().all(|selector| selector.channels.iter().all(has))
    }
}

impl Selector {
    fn check(&self, command: &Command, request: Request<'_>, keys: &mut Option<Vec<KeyUse>>) -> Result<(), Denied> {
        if !self.all_commands && !command.flags.has(Flags::NO_AUTH) && !self.allows_command(command, request) {
            return Err(Denied::Command);
        }
        if !self.all_keys && !command.keys.is_empty() {
            let uses = keys.get_or_insert_with(|| key_uses(command, request));
            if let Some(denied) = uses.iter().find(|used| !self.allows_key(request.arg(used.position), used)) {
                return Err(Denied::Key(denied.position));
            }
        }
        if !self.all_channels
            && let Some((positions, is_pattern)) = channels(command.name, request.len())
        {
            for position in positions {
                if !self.allows_channel(request.arg(position), is_pattern) {
                    return Err(Denied::Channel(position));
                }
            }
        }
        Ok(())
    }

    fn allows_command(&self, command: &Command, request: Request<'_>) -> bool {
        let Some(number) = catalog().number(command) else { return false };
        let is_first = |allowed: &Vec<u8>| request.len() > 1 && request.arg(1).eq_ignore_ascii_case(allowed);
        self.allows(number) || self.first_arguments.get(&number).is_some_and(|list| list.iter().any(is_first))
    }

    fn allows_key(&self, key: &[u8], used: &KeyUse) -> bool {
        let (reads, writes) = (used.reads(), used.writes());
        let mut able = self.keys.iter().filter(|pattern| (pattern.reads || !reads) && (pattern.writes || !writes));
        able.any(|pattern| glob_matches(&pattern.pattern, key))
    }

    /// A pattern to subscribe to must be literally among the allowed ones.
    fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_channels
            || self.channels.iter().any(|known| if is_pattern { known == name } else { glob_matches(known, name) })
    }
}

/// Which arguments are channels that a user must be allowed, and whether they are patterns. One may always unsubscribe.
fn channels(name: &str, length: usize) -> Option<(std::ops::Range<usize>, bool)> {
    match name {
        "subscribe" | "ssubscribe" => Some((1..length, false)),
        "psubscribe" => Some((1..length, true)),
        "publish" | "spublish" => Some((1..2.min(length), false)),
        _ => None,
    }
}
