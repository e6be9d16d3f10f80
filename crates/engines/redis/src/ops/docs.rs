//! COMMAND DOCS: <https://redis.io/docs/latest/commands/command-docs/>. Descriptions are Redis's own text and not here.

use super::docs_table::DOCS;
use super::{Answer, Command, Session, Then};
use crate::ops::COMMANDS;
use crate::wire::Reply;

/// What `docs_table.rs` says of a command.
struct Facts {
    cost: &'static str,
    deprecated_since: &'static str,
    tips: &'static str,
    arguments: &'static str,
}

fn facts(command: &Command) -> Option<Facts> {
    let index = DOCS.binary_search_by_key(&command.name, |line| line.0).ok()?;
    let (_, cost, deprecated_since, tips, arguments) = DOCS[index];
    Some(Facts { cost, deprecated_since, tips, arguments })
}

/// What COMMAND INFO hints at for proxies and clients.
pub(super) fn tips(command: &Command) -> Vec<&'static str> {
    facts(command).map_or_else(Vec::new, |facts| facts.tips.split_ascii_whitespace().collect())
}

/// One argument of a command, as the table writes it.
#[derive(Default)]
struct Argument<'t> {
    name: &'t str,
    kind: char,
    flags: Vec<&'static str>,
    key: Option<i64>,
    since: Option<&'t str>,
    deprecated_since: Option<&'t str>,
    display: Option<&'t str>,
    token: Option<&'t str>,
    inner: Option<&'t str>,
}

impl<'t> Argument<'t> {
    fn new(text: &'t str) -> Argument<'t> {
        let (name, rest) = text.split_once('/').unwrap_or((text, "s"));
        let mut argument = Argument { name, kind: rest.chars().next().unwrap_or('s'), ..Argument::default() };
        let mut rest = rest.get(1..).unwrap_or_default();
        while let Some(mark) = rest.chars().next() {
            rest = &rest[1..];
            match mark {
                '?' => argument.flags.push("optional"),
                '*' => argument.flags.push("multiple"),
                '+' => argument.flags.push("multiple_token"),
                '#' => argument.key = take_word(&mut rest).parse().ok(),
                '~' => argument.since = Some(take_word(&mut rest)),
                '!' => argument.deprecated_since = Some(take_word(&mut rest)),
                '=' => argument.display = Some(take_word(&mut rest)),
                '\'' => {
                    let (token, after) = rest.split_once('\'').unwrap_or((rest, ""));
                    argument.token = Some(token);
                    rest = after;
                }
                // What is inside ends with the argument.
                _ => {
                    argument.inner = Some(rest.strip_suffix(')').unwrap_or(rest));
                    rest = "";
                }
            }
        }
        argument
            .flags
            .sort_by_key(|flag| ["optional", "multiple", "multiple_token"].iter().position(|one| one == flag));
        argument
    }

    fn type_name(&self) -> &'static str {
        match self.kind {
            'k' => "key",
            'i' => "integer",
            'd' => "double",
            'P' => "pattern",
            't' => "unix-time",
            'p' => "pure-token",
            'o' => "oneof",
            'b' => "block",
            _ => "string",
        }
    }

    fn write(&self, out: &mut Reply<'_>) {
        let display = self.inner.is_none().then(|| self.display.unwrap_or(self.name));
        let texts = [
            ("name", Some(self.name)),
            ("type", Some(self.type_name())),
            ("display_text", display),
            ("token", self.token),
            ("since", self.since),
            ("deprecated_since", self.deprecated_since),
        ];
        let others = [self.key.is_some(), !self.flags.is_empty(), self.inner.is_some()];
        out.map(texts.iter().filter(|(_, text)| text.is_some()).count() + others.iter().filter(|has| **has).count());
        for (index, (field, text)) in texts.into_iter().enumerate() {
            if let Some(text) = text {
                out.bulk(field.as_bytes());
                out.bulk(text.as_bytes());
            }
            if let Some(key) = self.key.filter(|_| index == 2) {
                out.bulk(b"key_spec_index");
                out.integer(key);
            }
        }
        if !self.flags.is_empty() {
            out.bulk(b"flags");
            status_set(out, &self.flags);
        }
        if let Some(inner) = self.inner {
            out.bulk(b"arguments");
            write_arguments(out, inner);
        }
    }
}

/// Up to the next mark.
fn take_word<'t>(rest: &mut &'t str) -> &'t str {
    let end = rest.find(['?', '*', '+', '#', '~', '!', '=', '\'', '(']).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}

/// Takes a list apart at the spaces that are neither in a token nor inside of an argument.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth, mut is_quoted) = (Vec::new(), 0, 0, false);
    for (index, letter) in text.char_indices() {
        match letter {
            '\'' => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth -= 1,
            ' ' if !is_quoted && depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

fn write_arguments(out: &mut Reply<'_>, text: &str) {
    let arguments = split(text);
    out.array(arguments.len());
    for argument in arguments {
        Argument::new(argument).write(out);
    }
}

fn status_set(out: &mut Reply<'_>, names: &[&str]) {
    out.set(names.len());
    names.iter().for_each(|name| out.simple(name));
}

fn document(out: &mut Reply<'_>, command: &Command) {
    let facts = facts(command);
    let text = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    let cost = facts.as_ref().and_then(|facts| text(facts.cost));
    let deprecated_since = facts.as_ref().and_then(|facts| text(facts.deprecated_since));
    let arguments = facts.as_ref().and_then(|facts| text(facts.arguments));
    let mut flags = Vec::new();
    if deprecated_since.is_some() {
        flags.push("deprecated");
    }
    if matches!(command.name, "debug" | "pfdebug" | "pfselftest" | "replconf" | "restore-asking") {
        flags.push("syscmd");
    }
    let subcommands = command.subcommands();
    let optional =
        [cost.is_some(), !flags.is_empty(), deprecated_since.is_some(), arguments.is_some(), !subcommands.is_empty()];
    out.bulk(command.name.as_bytes());
    out.map(2 + optional.into_iter().filter(|has| *has).count());
    for (field, text) in [("since", Some(command.since)), ("group", Some(command.group.name())), ("complexity", cost)] {
        if let Some(text) = text {
            out.bulk(field.as_bytes());
            out.bulk(text.as_bytes());
        }
    }
    if !flags.is_empty() {
        out.bulk(b"doc_flags");
        status_set(out, &flags);
    }
    if let Some(since) = deprecated_since {
        out.bulk(b"deprecated_since");
        out.bulk(since.as_bytes());
    }
    if let Some(arguments) = arguments {
        out.bulk(b"arguments");
        write_arguments(out, arguments);
    }
    if !subcommands.is_empty() {
        out.bulk(b"subcommands");
        out.map(subcommands.len());
        for subcommand in subcommands {
            document(out, subcommand);
        }
    }
}

pub(super) fn docs(session: &mut Session<'_>) -> Answer {
    let wanted: Vec<&'static Command> = if session.request.len() == 2 {
        COMMANDS.iter().collect()
    } else {
        session.request.tail(2).filter_map(super::by_name).collect()
    };
    session.out.map(wanted.len());
    for command in wanted {
        document(&mut session.out, command);
    }
    Ok(Then::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_documented() {
        assert!(DOCS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let all = COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
        let missing: Vec<&str> = all.filter(|command| facts(command).is_none()).map(|command| command.name).collect();
        assert!(missing.is_empty(), "not in docs_table.rs: {missing:?}");
    }

    #[test]
    fn arguments_are_taken_apart() {
        let parts = split("key/k#0 unit/o?~7.0.0'BY'(one/p'A B' two/p'=') last/s*=x:y'(' ");
        assert_eq!(parts, ["key/k#0", "unit/o?~7.0.0'BY'(one/p'A B' two/p'=')", "last/s*=x:y'('"]);
        let unit = Argument::new(parts[1]);
        assert_eq!((unit.since, unit.token, unit.inner), (Some("7.0.0"), Some("BY"), Some("one/p'A B' two/p'='")));
        let last = Argument::new(parts[2]);
        assert_eq!((last.display, last.token, last.flags.as_slice()), (Some("x:y"), Some("("), &["multiple"][..]));
    }
}
