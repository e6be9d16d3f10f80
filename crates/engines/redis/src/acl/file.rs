//! The file of users, `aclfile`: a line `user NAME RULE…` for each.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::user::merge;
use super::{Defaults, RuleError, User, has_spaces};

/// Reads a file as a whole. The error is what ACL LOAD answers: everything that is wrong with it, in one line.
pub(super) fn parse(text: &[u8], name: &str, defaults: Defaults) -> Result<BTreeMap<Vec<u8>, User>, String> {
    let mut users = BTreeMap::new();
    let mut errors = String::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = trim(line, b" \t\r\n");
        if !line.is_empty() {
            let place = format!("{name}:{}", index + 1);
            parse_line(line, &place, index + 1, defaults, &mut users, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(users);
    }
    errors.push_str("WARNING: ACL errors detected, no change to the previously active ACL rules was performed");
    Err(errors)
}

fn parse_line(
    line: &[u8],
    place: &str,
    number: usize,
    defaults: Defaults,
    users: &mut BTreeMap<Vec<u8>, User>,
    errors: &mut String,
) {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [b"user", name, rules @ ..] = words.as_slice() else {
        errors.push_str(&format!("{place} should start with user keyword followed by the username. "));
        return;
    };
    let shown = String::from_utf8_lossy(name);
    if has_spaces(name) {
        errors.push_str(&format!("'{place}: username '{shown}' contains invalid characters. "));
        return;
    }
    if users.contains_key(*name) {
        errors.push_str(&format!("WARNING: Duplicate user '{shown}' found on line {number}. "));
        return;
    }
    let mut user = User::new(name, defaults);
    match merge(rules.iter().copied()) {
        Ok(rules) => apply(&mut user, &rules, place, defaults, errors),
        Err(_) => errors.push_str(&format!("{place}: Unmatched parenthesis in selector definition.")),
    }
    users.insert(name.to_vec(), user);
}

/// Unknown commands are all named, since there is nothing secret in them; of other errors the first.
fn apply(user: &mut User, rules: &[Vec<u8>], place: &str, defaults: Defaults, errors: &mut String) {
    let mut has_failed = false;
    for rule in rules {
        let rule = trim(rule, b"\t\r\n");
        match user.apply(rule, defaults) {
            Ok(()) => {}
            Err(error @ RuleError::UnknownCommand) => {
                let rule = String::from_utf8_lossy(rule);
                errors.push_str(&format!("{place}: Error in applying operation '{rule}': {error}. "));
            }
            Err(error) if !has_failed => {
                errors.push_str(&format!("{place}: {error}. "));
                has_failed = true;
            }
            Err(_) => {}
        }
    }
}

fn trim<'t>(mut text: &'t [u8], bytes: &[u8]) -> &'t [u8] {
    while let [first, rest @ ..] = text
        && bytes.contains(first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && bytes.contains(last)
    {
        text = rest;
    }
    text
}

/// The file that makes these users.
pub(super) fn write<'u>(users: impl Iterator<Item = &'u Rc<User>>) -> Vec<u8> {
    let mut text = Vec::new();
    for user in users {
        text.extend_from_slice(&user.describe());
        text.push(b'\n');
    }
    text
}
