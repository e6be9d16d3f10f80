//! One set of permissions: commands, keys and channels.

use std::collections::BTreeMap;
use std::fmt;

use super::catalog::{Entry, catalog};
use super::{Categories, Defaults, has_spaces};

/// Why a rule is refused, in Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RuleError {
    UnknownCommand,
    Syntax,
    AfterAllKeys,
    AfterAllChannels,
    NoSuchPassword,
    BadHash,
    DuplicateUser,
    FirstArgumentOfSubcommand,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RuleError::UnknownCommand => "Unknown command or category name in ACL",
            RuleError::Syntax => "Syntax error",
            RuleError::AfterAllKeys => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            RuleError::AfterAllChannels => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            RuleError::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            RuleError::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            RuleError::DuplicateUser => {
                "Duplicate user found. A user can only be defined once in config files"
            }
            RuleError::FirstArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        })
    }
}

/// A pattern of keys, and whether they may be read, written, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) reads: bool,
    pub(super) writes: bool,
    pub(super) pattern: Vec<u8>,
}

impl KeyPattern {
    fn describe(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(match (self.reads, self.writes) {
            (true, false) => b"%R~",
            (false, true) => b"%W~",
            _ => b"~",
        });
        text.extend_from_slice(&self.pattern);
    }
}

/// A rule about a command or a category, as it is shown again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    allows: bool,
    /// In lower case.
    what: Vec<u8>,
}

/// What may be done with which keys and channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(super) all_keys: bool,
    pub(super) all_channels: bool,
    pub(super) all_commands: bool,
    /// It begins with `+@all`: commands of later releases would be allowed as well.
    begins_with_all: bool,
    /// By number, a bit for each.
    allowed: Box<[u64]>,
    /// First arguments with which commands are allowed that are not otherwise.
    pub(super) first_arguments: BTreeMap<usize, Vec<Vec<u8>>>,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) channels: Vec<Vec<u8>>,
    rules: Vec<Rule>,
}

impl Selector {
    /// Nothing is allowed, but perhaps all channels.
    pub(crate) fn new(defaults: Defaults) -> Selector {
        Selector {
            all_keys: false,
            all_channels: defaults.all_channels,
            all_commands: false,
            begins_with_all: false,
            allowed: vec![0; catalog().entries().len().div_ceil(64)].into_boxed_slice(),
            first_arguments: BTreeMap::new(),
            keys: Vec::new(),
            channels: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// True if it allows everything.
    pub(super) fn is_unrestricted(&self) -> bool {
        self.all_keys && self.all_channels && self.all_commands
    }

    /// True if the command of this number is allowed, whatever its arguments.
    pub(super) fn allows(&self, number: usize) -> bool {
        self.allowed.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Applies one rule, or changes nothing.
    pub(crate) fn apply(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            _ if is("allkeys") || is("~*") => self.set_all_keys(true),
            _ if is("resetkeys") => self.set_all_keys(false),
            _ if is("allchannels") || is("&*") => self.set_all_channels(true),
            _ if is("resetchannels") => self.set_all_channels(false),
            _ if is("allcommands") || is("+@all") => self.set_all_commands(true),
            _ if is("nocommands") || is("-@all") => self.set_all_commands(false),
            [b'~' | b'%', ..] => return self.add_keys(rule),
            [b'&', pattern @ ..] => return self.add_channels(pattern),
            [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                let category = Categories::named(name).ok_or(RuleError::UnknownCommand)?;
                self.change_category(category, *sign == b'+', &rule[1..]);
            }
            [b'+', name @ ..] if name.contains(&b'|') => return self.allow_part(name),
            [sign @ (b'+' | b'-'), name @ ..] => {
                let command = catalog().find(name).ok_or(RuleError::UnknownCommand)?;
                self.change(command, *sign == b'+');
                self.note(command.name.as_bytes(), *sign == b'+');
            }
            _ => return Err(RuleError::Syntax),
        }
        Ok(())
    }

    fn set_all_keys(&mut self, all: bool) {
        self.all_keys = all;
        self.keys.clear();
    }

    fn set_all_channels(&mut self, all: bool) {
        self.all_channels = all;
        self.channels.clear();
    }

    fn set_all_commands(&mut self, all: bool) {
        self.all_commands = all;
        self.begins_with_all = all;
        self.allowed.fill(if all { u64::MAX } else { 0 });
        self.rules.clear();
        self.first_arguments.clear();
    }

    fn add_keys(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::AfterAllKeys);
        }
        let added = key_pattern(rule)?;
        match self.keys.iter_mut().find(|known| known.pattern == added.pattern) {
            Some(known) => {
                known.reads |= added.reads;
                known.writes |= added.writes;
            }
            None => self.keys.push(added),
        }
        Ok(())
    }

    fn add_channels(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::AfterAllChannels);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// `+container|subcommand`, or `+command|argument`: a command with this first argument only.
    fn allow_part(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        let bar = rule.iter().rposition(|byte| *byte == b'|').unwrap_or(rule.len());
        let (name, part) = (&rule[..bar], &rule[bar + 1..]);
        let command = catalog().find(name).ok_or(RuleError::UnknownCommand)?;
        if command.is_subcommand {
            return Err(RuleError::FirstArgumentOfSubcommand);
        }
        // What has spaces in it could not be read again when it is shown.
        if part.is_empty() || has_spaces(part) {
            return Err(RuleError::Syntax);
        }
        if command.subcommands.is_empty() {
            let arguments = self.first_arguments.entry(command.number).or_default();
            if !arguments.iter().any(|known| known.eq_ignore_ascii_case(part)) {
                arguments.push(part.to_vec());
            }
        } else {
            let subcommand = catalog().find(rule).ok_or(RuleError::UnknownCommand)?;
            self.change(subcommand, true);
        }
        self.note(rule, true);
        Ok(())
    }

    fn change_category(&mut self, category: Categories, allows: bool, name: &[u8]) {
        self.note(name, allows);
        for entry in catalog().entries().iter().filter(|entry| entry.categories.has(category)) {
            self.change(entry, allows);
        }
    }

    /// Allows or forbids a command with all its subcommands.
    fn change(&mut self, command: &Entry, allows: bool) {
        self.first_arguments.remove(&command.number);
        for number in std::iter::once(command.number).chain(command.subcommands.clone()) {
            let bit = 1 << (number % 64);
            if allows {
                self.allowed[number / 64] |= bit;
            } else {
                self.allowed[number / 64] &= !bit;
                self.all_commands = false;
            }
        }
    }

    /// Remembers a rule. It supersedes earlier ones about the same command, and about its subcommands.
    fn note(&mut self, what: &[u8], allows: bool) {
        let what = what.to_ascii_lowercase();
        self.rules.retain(|rule| match rule.what.strip_prefix(what.as_slice()) {
            Some([] | [b'|', ..]) => false,
            Some(_) | None => true,
        });
        self.rules.push(Rule { allows, what });
    }

    /// The rules about commands, as ACL LIST shows them.
    pub(crate) fn commands_text(&self) -> Vec<u8> {
        let mut text = if self.begins_with_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.what);
        }
        text
    }

    /// The patterns of keys.
    pub(crate) fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let mut text = Vec::new();
        for pattern in &self.keys {
            if !text.is_empty() {
                text.push(b' ');
            }
            pattern.describe(&mut text);
        }
        text
    }

    /// The patterns of channels.
    pub(crate) fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let patterns: Vec<Vec<u8>> = self.channels.iter().map(|pattern| [b"&", pattern.as_slice()].concat()).collect();
        patterns.join(&b' ')
    }

    /// All rules, as they make this selector again.
    pub(crate) fn describe(&self, text: &mut Vec<u8>) {
        let keys = self.keys_text();
        if !keys.is_empty() {
            text.extend_from_slice(&keys);
            text.push(b' ');
        }
        if !self.all_channels {
            text.extend_from_slice(b"resetchannels ");
        }
        let channels = self.channels_text();
        if !channels.is_empty() {
            text.extend_from_slice(&channels);
            text.push(b' ');
        }
        text.extend_from_slice(&self.commands_text());
    }
}

/// `~pattern`, `%R~pattern`, `%W~pattern`, `%RW~pattern`.
fn key_pattern(rule: &[u8]) -> Result<KeyPattern, RuleError> {
    let (mut reads, mut writes) = (false, false);
    let mut rest = rule;
    if let Some(letters) = rule.strip_prefix(b"%") {
        rest = letters;
        loop {
            (rest, reads, writes) = match rest {
                [b'R' | b'r', rest @ ..] if !reads => (rest, true, writes),
                [b'W' | b'w', rest @ ..] if !writes => (rest, reads, true),
                [] | [b'~', ..] if reads || writes => break,
                _ => return Err(RuleError::Syntax),
            };
        }
    } else {
        (reads, writes) = (true, true);
    }
    let pattern = rest.strip_prefix(b"~").unwrap_or(rest);
    if has_spaces(pattern) {
        return Err(RuleError::Syntax);
    }
    Ok(KeyPattern { reads, writes, pattern: pattern.to_vec() })
}
