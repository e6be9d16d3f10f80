//! One user: whether it may log in, with which passwords, and what it may do then.

use sha2::{Digest, Sha256};

use super::{DEFAULT, RuleError, Selector};
use crate::wire::split_line;

/// What new users and selectors begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Defaults {
    /// `acl-pubsub-default allchannels`.
    pub(crate) all_channels: bool,
}

/// The hexadecimal digits of a password's SHA-256.
type Hash = [u8; 64];

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    name: Vec<u8>,
    is_enabled: bool,
    /// Any password will do.
    needs_no_password: bool,
    skips_sanitizing: bool,
    passwords: Vec<Hash>,
    /// The first is made of the rules outside of parentheses. There always is one.
    selectors: Vec<Selector>,
}

/// Why a list of rules is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SetError {
    /// The parenthesis that this rule opens is not closed.
    Unmatched(Vec<u8>),
    /// A rule, and what is wrong with it.
    Rule(Vec<u8>, RuleError),
}

impl SetError {
    /// As ACL SETUSER answers.
    pub(crate) fn line(&self) -> String {
        match self {
            SetError::Unmatched(rule) => {
                format!("ERR Unmatched parenthesis in acl selector starting at '{}'.", String::from_utf8_lossy(rule))
            }
            SetError::Rule(rule, error) => {
                format!("ERR Error in ACL SETUSER modifier '{}': {error}", String::from_utf8_lossy(rule))
            }
        }
    }
}

impl User {
    /// A user that is off and may do nothing.
    pub(crate) fn new(name: &[u8], defaults: Defaults) -> User {
        User {
            name: name.to_vec(),
            is_enabled: false,
            needs_no_password: false,
            skips_sanitizing: false,
            passwords: Vec::new(),
            selectors: vec![Selector::new(defaults)],
        }
    }

    /// The default user as it begins: nobody is asked for a password, and everything is allowed.
    pub(crate) fn default_user() -> User {
        let mut user = User::new(DEFAULT, Defaults::default());
        (user.is_enabled, user.needs_no_password) = (true, true);
        for rule in ["+@all", "~*", "&*"] {
            // These are rules.
            let _ = user.selectors[0].apply(rule.as_bytes());
        }
        user
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The name for messages.
    pub(crate) fn display_name(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }

    /// True if one need not log in to be this user.
    pub(crate) fn admits_anybody(&self) -> bool {
        self.is_enabled && self.needs_no_password
    }

    /// True if any password will do.
    pub(crate) fn needs_no_password(&self) -> bool {
        self.needs_no_password
    }

    /// True if this password lets one in.
    pub(crate) fn admits(&self, password: &[u8]) -> bool {
        if !self.is_enabled || self.needs_no_password {
            return self.is_enabled;
        }
        let given = hash(password);
        // Each is compared to its end, so that the time taken says nothing about where they differ.
        let equals = |known: &Hash| known.iter().zip(&given).fold(0, |all, (one, other)| all | (one ^ other)) == 0;
        self.passwords.iter().fold(false, |found, known| found | equals(known))
    }

    pub(crate) fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// True if there is nothing that it may not do.
    pub(crate) fn is_unrestricted(&self) -> bool {
        self.selectors.iter().any(Selector::is_unrestricted)
    }

    /// One password and no other; none at all if it is empty.
    pub(crate) fn set_only_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.needs_no_password = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(hash(password));
        }
    }

    /// Applies rules, of which those in parentheses may be spread over several arguments.
    pub(crate) fn apply_all<'r>(
        &mut self,
        rules: impl IntoIterator<Item = &'r [u8]>,
        defaults: Defaults,
    ) -> Result<(), SetError> {
        for rule in merge(rules).map_err(SetError::Unmatched)? {
            self.apply(&rule, defaults).map_err(|error| SetError::Rule(rule, error))?;
        }
        Ok(())
    }

    /// Applies one rule, or changes nothing.
    pub(crate) fn apply(&mut self, rule: &[u8], defaults: Defaults) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        match rule {
            [] => {}
            _ if is("on") => self.is_enabled = true,
            _ if is("off") => self.is_enabled = false,
            _ if is("skip-sanitize-payload") => self.skips_sanitizing = true,
            _ if is("sanitize-payload") => self.skips_sanitizing = false,
            _ if is("nopass") => {
                self.needs_no_password = true;
                self.passwords.clear();
            }
            _ if is("resetpass") => {
                self.needs_no_password = false;
                self.passwords.clear();
            }
            [b'>', password @ ..] => self.add_password(hash(password)),
            [b'#', digits @ ..] => self.add_password(read_hash(digits)?),
            [b'<', password @ ..] => return self.remove_password(&hash(password)),
            [b'!', digits @ ..] => return self.remove_password(&read_hash(digits)?),
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::new(defaults);
                // Redis takes what has an open quote as empty.
                for rule in split_line(inner).unwrap_or_default() {
                    selector.apply(&rule)?;
                }
                self.selectors.push(selector);
            }
            _ if is("clearselectors") => self.selectors.truncate(1),
            _ if is("reset") => *self = User::new(&self.name, defaults),
            _ => return self.selectors[0].apply(rule),
        }
        Ok(())
    }

    fn add_password(&mut self, hash: Hash) {
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
        self.needs_no_password = false;
    }

    fn remove_password(&mut self, hash: &Hash) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|known| known == hash).ok_or(RuleError::NoSuchPassword)?;
        self.passwords.remove(place);
        Ok(())
    }

    /// The words that are no rules about keys, channels and commands.
    pub(crate) fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.is_enabled { "on" } else { "off" }];
        if self.needs_no_password {
            flags.push("nopass");
        }
        flags.push(if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// The hashes of its passwords.
    pub(crate) fn passwords(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.passwords.iter().map(<[u8; 64]>::as_slice)
    }

    /// The line of a configuration that makes this user: `user NAME RULE…`.
    pub(crate) fn describe(&self) -> Vec<u8> {
        let mut text = [b"user ", self.name.as_slice()].concat();
        for flag in self.flags() {
            text.push(b' ');
            text.extend_from_slice(flag.as_bytes());
        }
        for password in self.passwords() {
            text.extend_from_slice(b" #");
            text.extend_from_slice(password);
        }
        for (place, selector) in self.selectors.iter().enumerate() {
            text.extend_from_slice(if place == 0 { b" " } else { b" (" });
            selector.describe(&mut text);
            if place > 0 {
                text.push(b')');
            }
        }
        text
    }
}

/// True if a text has white space or a null in it: it could not be told apart from others in a line.
pub(crate) fn has_spaces(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, b' ' | b'\t'..=b'\r' | 0))
}

/// Joins the rules of a selector that were sent as several arguments. The error is the first of them.
pub(super) fn merge<'r>(rules: impl IntoIterator<Item = &'r [u8]>) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut merged: Vec<Vec<u8>> = Vec::new();
    let mut open: Option<(Vec<u8>, &[u8])> = None;
    for rule in rules {
        let closes = rule.last() == Some(&b')');
        match &mut open {
            None if rule.first() == Some(&b'(') && !closes => open = Some((rule.to_vec(), rule)),
            None => merged.push(rule.to_vec()),
            Some((selector, _)) => {
                selector.push(b' ');
                selector.extend_from_slice(rule);
                if closes {
                    merged.push(std::mem::take(selector));
                    open = None;
                }
            }
        }
    }
    match open {
        None => Ok(merged),
        Some((_, first)) => Err(first.to_vec()),
    }
}

fn hash(password: &[u8]) -> Hash {
    let mut digits = [0; 64];
    let digit = |value: u8| b"0123456789abcdef"[usize::from(value & 15)];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(Sha256::digest(password)) {
        (pair[0], pair[1]) = (digit(byte >> 4), digit(byte));
    }
    digits
}

fn read_hash(digits: &[u8]) -> Result<Hash, RuleError> {
    let hash: Hash = digits.try_into().map_err(|_| RuleError::BadHash)?;
    let is_hash = hash.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some(hash).ok_or(RuleError::BadHash)
}
