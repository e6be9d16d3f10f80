//! ACL: <https://redis.io/docs/latest/commands/?name=acl>.

use super::{Answer, Session, Then, is};
use crate::acl::{Categories, Denial, Denied, Selector, User, catalog, has_spaces};
use crate::core::find_command;
use crate::error::Refusal;
use crate::state::parse_integer;
use crate::wire::{OwnedRequest, Reply};

/// The longest password that ACL GENPASS makes, in bits.
const PASSWORD_BITS_MAX: i64 = 4096;
/// How many entries ACL LOG shows if it is not told.
const LOG_SHOWN: i64 = 10;

/// The right number of arguments for the dispatch table, but not for Redis.
fn no_such_form(session: &Session<'_>) -> Refusal {
    let word = session.arg(1);
    let word = String::from_utf8_lossy(&word[..word.len().min(128)]);
    Refusal::text(format!("ERR unknown subcommand or wrong number of arguments for '{word}'. Try ACL HELP."))
}

pub(super) fn cat(session: &mut Session<'_>) -> Answer {
    match session.request.len() {
        2 => session.out.strings(&Categories::NAMES),
        3 => {
            let name = session.arg(2);
            let category = Categories::named(name).ok_or_else(|| {
                let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
                Refusal::text(format!("ERR Unknown category '{name}'"))
            })?;
            let entries = catalog().entries().iter().filter(|entry| entry.categories.has(category));
            let names: Vec<&str> = entries.map(|entry| entry.name).collect();
            session.out.array(names.len());
            for name in names {
                session.out.bulk(name.as_bytes());
            }
        }
        _ => return Err(no_such_form(session)),
    }
    Ok(Then::Done)
}

pub(super) fn deluser(session: &mut Session<'_>) -> Answer {
    if session.request.tail(2).any(|name| name == b"default") {
        return Err(Refusal::text("ERR The 'default' user cannot be removed"));
    }
    let (mut deleted, mut closes) = (0, false);
    for name in session.request.tail(2) {
        let (existed, was_own) = session.cluster.delete_user(session.id, name, session.client);
        deleted += usize::from(existed);
        closes |= was_own;
    }
    session.out.count(deleted);
    Ok(if closes { Then::Close } else { Then::Done })
}

pub(super) fn dryrun(session: &mut Session<'_>) -> Answer {
    let acl = &session.cluster.instances[session.id].acl;
    let Some(user) = acl.user(session.arg(2)).cloned() else {
        let name = String::from_utf8_lossy(session.arg(2));
        return Err(Refusal::text(format!("ERR User '{name}' not found")));
    };
    let request = OwnedRequest::new(session.request.tail(3));
    let request = request.as_request();
    let command = find_command(request).map_err(|_| {
        let name = String::from_utf8_lossy(session.arg(3));
        Refusal::text(format!("ERR Command '{name}' not found"))
    })?;
    if !command.accepts(request.len()) {
        return Err(Refusal::Arity(command.name.to_owned()));
    }
    let Err(denied) = user.check(command, request) else {
        session.out.ok();
        return Ok(Then::Done);
    };
    let mut text = format!("User {} has no permissions to ", user.display_name()).into_bytes();
    match denied {
        Denied::Command => text.extend_from_slice(format!("run the '{}' command", command.name).as_bytes()),
        Denied::Key(position) | Denied::Channel(position) => {
            let kind = if matches!(denied, Denied::Key(_)) { "key" } else { "channel" };
            text.extend_from_slice(b"access the '");
            text.extend_from_slice(request.arg(position));
            text.extend_from_slice(format!("' {kind}").as_bytes());
        }
    }
    session.out.bulk(&text);
    Ok(Then::Done)
}

pub(super) fn genpass(session: &mut Session<'_>) -> Answer {
    let bits = match session.request.len() {
        2 => 256,
        3 => session.integer(2)?,
        _ => return Err(no_such_form(session)),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(Refusal::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        )));
    }
    let digits = (bits + 3) / 4;
    let random = &mut session.cluster.random;
    let password: Vec<u8> =
        (0..digits).map(|_| b"0123456789abcdef"[usize::try_from(random.next_u64() & 15).unwrap_or(0)]).collect();
    session.out.bulk(&password);
    Ok(Then::Done)
}

fn describe_selector(out: &mut Reply<'_>, selector: &Selector) {
    let fields = [
        ("commands", selector.commands_text()),
        ("keys", selector.keys_text()),
        ("channels", selector.channels_text()),
    ];
    for (field, value) in fields {
        out.bulk(field.as_bytes());
        out.bulk(&value);
    }
}

fn describe_user(out: &mut Reply<'_>, user: &User) {
    out.map(6);
    out.bulk(b"flags");
    let flags = user.flags();
    out.set(flags.len());
    for flag in flags {
        out.bulk(flag.as_bytes());
    }
    out.bulk(b"passwords");
    out.array(user.passwords().len());
    for password in user.passwords() {
        out.bulk(password);
    }
    let (root, others) = user.selectors().split_at(1);
    for selector in root {
        describe_selector(out, selector);
    }
    out.bulk(b"selectors");
    out.array(others.len());
    for selector in others {
        out.map(3);
        describe_selector(out, selector);
    }
}

pub(super) fn getuser(session: &mut Session<'_>) -> Answer {
    match session.cluster.instances[session.id].acl.user(session.arg(2)) {
        Some(user) => describe_user(&mut session.out, user),
        None => session.out.null(),
    }
    Ok(Then::Done)
}

pub(super) fn list(session: &mut Session<'_>) -> Answer {
    let users = session.cluster.instances[session.id].acl.users();
    session.out.array(users.len());
    for user in users {
        session.out.bulk(&user.describe());
    }
    Ok(Then::Done)
}

pub(super) fn users(session: &mut Session<'_>) -> Answer {
    let users = session.cluster.instances[session.id].acl.users();
    session.out.array(users.len());
    for user in users {
        session.out.bulk(user.name());
    }
    Ok(Then::Done)
}

pub(super) fn whoami(session: &mut Session<'_>) -> Answer {
    session.out.bulk(session.cluster.clients.list[session.client].user.name());
    Ok(Then::Done)
}

/// The file of users can be read or written now.
fn check_file(session: &Session<'_>) -> Result<(), Refusal> {
    if session.cluster.config.settings.acl.file.is_empty() {
        return Err(Refusal::text(
            "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
             SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to \
             store users in the Redis configuration.",
        ));
    }
    if session.cluster.clients.list[session.client].last_command() == "exec" {
        // The answer waits for the disk, and the other answers of a transaction do not wait for it.
        return Err(Refusal::text("ERR ACL LOAD and ACL SAVE are not allowed inside a transaction"));
    }
    Ok(())
}

pub(super) fn load(session: &mut Session<'_>) -> Answer {
    check_file(session)?;
    Ok(Then::UserFile { writes: false })
}

pub(super) fn save(session: &mut Session<'_>) -> Answer {
    check_file(session)?;
    Ok(Then::UserFile { writes: true })
}

fn describe_denial(out: &mut Reply<'_>, denial: &Denial, now_ms: i64) {
    out.map(10);
    out.bulk(b"count");
    out.integer(i64::try_from(denial.count).unwrap_or(i64::MAX));
    let fields: [(&str, &[u8]); 4] = [
        ("reason", denial.reason.name().as_bytes()),
        ("context", denial.occasion.name().as_bytes()),
        ("object", &denial.object),
        ("username", &denial.user),
    ];
    for (field, value) in fields {
        out.bulk(field.as_bytes());
        out.bulk(value);
    }
    out.bulk(b"age-seconds");
    out.double((now_ms - denial.updated_ms) as f64 / 1000.0);
    out.bulk(b"client-info");
    out.bulk(denial.client.as_bytes());
    let fields = [
        ("entry-id", i64::try_from(denial.number).unwrap_or(i64::MAX)),
        ("timestamp-created", denial.created_ms),
        ("timestamp-last-updated", denial.updated_ms),
    ];
    for (field, value) in fields {
        out.bulk(field.as_bytes());
        out.integer(value);
    }
}

pub(super) fn log(session: &mut Session<'_>) -> Answer {
    let count = match session.request.get(2) {
        _ if session.request.len() > 3 => return Err(no_such_form(session)),
        None => LOG_SHOWN,
        Some(word) if is(word, "RESET") => {
            session.cluster.instances[session.id].acl.log.clear();
            session.out.ok();
            return Ok(Then::Done);
        }
        Some(number) => parse_integer(number).ok_or(Refusal::NotInteger)?,
    };
    let instance = &session.cluster.instances[session.id];
    let now_ms = session.ctx.wall(instance.node).as_millis();
    let entries = instance.acl.log.entries();
    let count = usize::try_from(count).unwrap_or(0).min(entries.len());
    session.out.array(count);
    for denial in entries.take(count) {
        describe_denial(&mut session.out, denial, now_ms);
    }
    Ok(Then::Done)
}

/// Changes a user or makes a new one: all of the rules are applied, or none.
pub(super) fn setuser(session: &mut Session<'_>) -> Answer {
    let name = session.arg(2);
    if has_spaces(name) {
        return Err(Refusal::text("ERR Usernames can't contain spaces or null characters"));
    }
    let defaults = session.cluster.config.settings.acl.defaults;
    let known = session.cluster.instances[session.id].acl.user(name);
    let mut user = known.map_or_else(|| User::new(name, defaults), |user| User::clone(user));
    user.apply_all(session.request.tail(3), defaults).map_err(|error| Refusal::text(error.line()))?;
    let closes = session.cluster.put_user(session.id, user, session.client);
    session.out.ok();
    Ok(if closes { Then::Close } else { Then::Done })
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "ACL <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CAT [<category>]",
        "    List all commands that belong to <category>, or all command categories",
        "    when no category is specified.",
        "DELUSER <username> [<username> ...]",
        "    Delete a list of users.",
        "DRYRUN <username> <command> [<arg> ...]",
        "    Returns whether the user can execute the given command without executing the command.",
        "GETUSER <username>",
        "    Get the user's details.",
        "GENPASS [<bits>]",
        "    Generate a secure 256-bit user password. The optional `bits` argument can",
        "    be used to specify a different size.",
        "LIST",
        "    Show users details in config file format.",
        "LOAD",
        "    Reload users from the ACL file.",
        "LOG [<count> | RESET]",
        "    Show the ACL log entries.",
        "SAVE",
        "    Save the current config to the ACL file.",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "    Create or modify a user with the specified attributes.",
        "USERS",
        "    List all the registered usernames.",
        "WHOAMI",
        "    Return the current connection username.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
