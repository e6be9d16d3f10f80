//! COMMAND: what the dispatch table says, to clients that ask.

use super::command::{Begin, Find, Flags};
use super::{Answer, COMMANDS, Command, KeySpec, KeyUse, Session, Then, by_name, key_uses};
use crate::acl::Categories;
use crate::error::Refusal;
use crate::ops::glob::glob_matches_any_case;
use crate::ops::is;
use crate::wire::{OwnedRequest, Reply};

/// The first key, the last, and the step, as COMMAND INFO gave them before there were key specifications.
fn old_style_range(command: &Command) -> (i64, i64, i64) {
    let Some(spec) = command.keys.first() else { return (0, 0, 0) };
    let Begin::Index(begin) = spec.begin else { return (0, 0, 0) };
    let begin = begin as i64;
    match spec.find {
        Find::Range { step, .. } => {
            // A last key that counts from the end is later than any other.
            let last = command.keys.iter().map(last_of).max_by_key(|last| last.cast_unsigned()).unwrap_or(0);
            (begin, last, step as i64)
        }
        Find::Count { .. } | Find::Half | Find::Unknown => (0, 0, 0),
    }
}

fn absolute(begin: i64, last: i32) -> i64 {
    if last < 0 { i64::from(last) } else { begin + i64::from(last) }
}

fn last_of(spec: &KeySpec) -> i64 {
    match (spec.begin, spec.find) {
        (Begin::Index(begin), Find::Range { last, .. }) => absolute(begin as i64, last),
        _ => 0,
    }
}

fn status_set(out: &mut Reply<'_>, names: &[impl AsRef<str>]) {
    out.set(names.len());
    for name in names {
        out.simple(name.as_ref());
    }
}

fn describe(out: &mut Reply<'_>, command: &Command) {
    let (first, last, step) = old_style_range(command);
    out.array(10);
    out.bulk(command.name.as_bytes());
    out.integer(i64::from(command.arity));
    status_set(out, &command.flags.names());
    out.integer(first);
    out.integer(last);
    out.integer(step);
    let categories: Vec<String> = Categories::of(command).names().map(|name| format!("@{name}")).collect();
    status_set(out, &categories);
    let tips = super::docs::tips(command);
    out.set(tips.len());
    tips.iter().for_each(|tip| out.bulk(tip.as_bytes()));
    out.set(command.keys.len());
    for spec in command.keys {
        describe_keys(out, spec);
    }
    out.set(command.subcommands().len());
    for subcommand in command.subcommands() {
        describe(out, subcommand);
    }
}

fn describe_keys(out: &mut Reply<'_>, spec: &KeySpec) {
    out.map(3);
    out.bulk(b"flags");
    status_set(out, spec.access);
    out.bulk(b"begin_search");
    match spec.begin {
        Begin::Index(begin) => {
            type_and_fields(out, "index", 1);
            out.bulk(b"index");
            out.count(begin);
        }
        Begin::Keyword { word, from } => {
            type_and_fields(out, "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.count(from);
        }
        Begin::LastKeyword { word, from_end } => {
            type_and_fields(out, "keyword", 2);
            out.bulk(b"keyword");
            out.bulk(word.as_bytes());
            out.bulk(b"startfrom");
            out.integer(-(from_end as i64));
        }
        Begin::SortStore | Begin::Nowhere => type_and_fields(out, "unknown", 0),
    }
    out.bulk(b"find_keys");
    let range =
        |last: i64, step: usize, limit| ("range", [("lastkey", last), ("keystep", step as i64), ("limit", limit)]);
    let (kind, fields) = match spec.find {
        Find::Range { last, step } => range(i64::from(last), step, 0),
        Find::Half => range(-1, 1, 2),
        Find::Count { count, first, step } => {
            ("keynum", [("keynumidx", count as i64), ("firstkey", first as i64), ("keystep", step as i64)])
        }
        Find::Unknown => return type_and_fields(out, "unknown", 0),
    };
    type_and_fields(out, kind, fields.len());
    for (field, value) in fields {
        out.bulk(field.as_bytes());
        out.integer(value);
    }
}

/// The head of one half of a key specification; its fields follow.
fn type_and_fields(out: &mut Reply<'_>, kind: &str, fields: usize) {
    out.map(2);
    out.bulk(b"type");
    out.bulk(kind.as_bytes());
    out.bulk(b"spec");
    out.map(fields);
}

pub(super) fn command(session: &mut Session<'_>) -> Answer {
    session.out.array(COMMANDS.len());
    for command in COMMANDS {
        describe(&mut session.out, command);
    }
    Ok(Then::Done)
}

pub(super) fn info(session: &mut Session<'_>) -> Answer {
    if session.request.len() == 2 {
        return command(session);
    }
    session.out.array(session.request.len() - 2);
    for name in session.request.tail(2) {
        match by_name(name) {
            Some(command) => describe(&mut session.out, command),
            None => session.out.null(),
        }
    }
    Ok(Then::Done)
}

pub(super) fn count(session: &mut Session<'_>) -> Answer {
    session.out.count(COMMANDS.len());
    Ok(Then::Done)
}

pub(super) fn list(session: &mut Session<'_>) -> Answer {
    let all = COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
    let names: Vec<&str> = match (session.request.len(), session.request.get(3)) {
        (2, _) => all.map(|command| command.name).collect(),
        (5, Some(kind)) if is(session.arg(2), "FILTERBY") => {
            let argument = session.arg(4);
            let matches: Box<dyn Fn(&&Command) -> bool> = match kind {
                _ if is(kind, "ACLCAT") => {
                    let category = Categories::named(argument);
                    Box::new(move |command| category.is_some_and(|category| Categories::of(command).has(category)))
                }
                _ if is(kind, "PATTERN") => {
                    Box::new(move |command| glob_matches_any_case(argument, command.name.as_bytes()))
                }
                _ if is(kind, "MODULE") => Box::new(|_| false),
                _ => return Err(Refusal::Syntax),
            };
            all.filter(|command| matches(command)).map(|command| command.name).collect()
        }
        _ => return Err(Refusal::Syntax),
    };
    session.out.array(names.len());
    for name in names {
        session.out.bulk(name.as_bytes());
    }
    Ok(Then::Done)
}

/// The command that `COMMAND GETKEYS` is asked about, with its own request.
fn subject(session: &Session<'_>) -> Result<(&'static Command, OwnedRequest), Refusal> {
    let request = OwnedRequest::new(session.request.tail(2));
    let invalid = || Refusal::text("ERR Invalid command specified");
    let command = crate::core::find_command(request.as_request()).map_err(|_| invalid())?;
    if command.keys.is_empty() {
        return Err(Refusal::text("ERR The command has no key arguments"));
    }
    if !command.accepts(request.as_request().len()) {
        return Err(Refusal::text("ERR Invalid number of arguments specified for command"));
    }
    Ok((command, request))
}

/// The keys of the request in question.
fn keys_asked_for(session: &Session<'_>) -> Result<(OwnedRequest, Vec<KeyUse>), Refusal> {
    let (command, request) = subject(session)?;
    let uses = key_uses(command, request.as_request());
    if uses.is_empty() && !command.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(Refusal::text("ERR Invalid arguments specified for command"));
    }
    Ok((request, uses))
}

pub(super) fn getkeys(session: &mut Session<'_>) -> Answer {
    let (request, uses) = keys_asked_for(session)?;
    session.out.array(uses.len());
    for used in uses {
        session.out.bulk(request.as_request().arg(used.position));
    }
    Ok(Then::Done)
}

pub(super) fn getkeysandflags(session: &mut Session<'_>) -> Answer {
    let (request, uses) = keys_asked_for(session)?;
    session.out.array(uses.len());
    for used in uses {
        session.out.array(2);
        session.out.bulk(request.as_request().arg(used.position));
        status_set(&mut session.out, used.access);
    }
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
