//! MIGRATE: <https://redis.io/docs/latest/commands/migrate/>. Between instances of this cluster a key moves without ever being
//! serialised; what the target would answer to RESTORE is answered all the same. To any other server a connection is made
//! (`core/moving.rs`), and the client waits.

use std::borrow::Cow;
use std::time::Duration;

use super::{Answer, Session, Then, is};
use crate::acl::DEFAULT;
use crate::cluster::{MoveError, MoveOptions};
use crate::core::MoveWish;
use crate::error::Refusal;
use crate::state::parse_integer;

/// Without a timeout a target has a second.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(1);
/// Nobody waits longer: a year.
const PATIENCE_MS_MAX: u64 = 365 * 24 * 3600 * 1000;
const UNREACHABLE: Refusal = Refusal::Text(Cow::Borrowed("IOERR error or timeout connecting to the client"));

/// The request, taken apart.
struct Arguments<'a> {
    keys: Vec<&'a [u8]>,
    database: i64,
    /// How long the target may be silent.
    patience: Duration,
    copies: bool,
    replaces: bool,
    /// A user and its password.
    credentials: Option<(&'a [u8], &'a [u8])>,
}

fn parse<'a>(session: &Session<'a>) -> Result<Arguments<'a>, Refusal> {
    let request = session.request;
    let mut arguments = Arguments {
        keys: vec![request.arg(3)],
        database: 0,
        patience: DEFAULT_PATIENCE,
        copies: false,
        replaces: false,
        credentials: None,
    };
    let mut index = 6;
    while index < request.len() {
        let left = request.len() - index - 1;
        match request.arg(index) {
            word if is(word, "COPY") => arguments.copies = true,
            word if is(word, "REPLACE") => arguments.replaces = true,
            word if is(word, "AUTH") && left >= 1 => {
                index += 1;
                arguments.credentials = Some((DEFAULT, request.arg(index)));
            }
            word if is(word, "AUTH2") && left >= 2 => {
                index += 2;
                arguments.credentials = Some((request.arg(index - 1), request.arg(index)));
            }
            word if is(word, "KEYS") => {
                if !request.arg(3).is_empty() {
                    return Err(Refusal::text(
                        "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                    ));
                }
                arguments.keys = request.tail(index + 1).collect();
                break;
            }
            _ => return Err(Refusal::Syntax),
        }
        index += 1;
    }
    arguments.database = session.integer(4)?;
    let timeout_ms = session.integer(5)?;
    if let Some(timeout_ms) = u64::try_from(timeout_ms).ok().filter(|timeout_ms| *timeout_ms > 0) {
        arguments.patience = Duration::from_millis(timeout_ms.min(PATIENCE_MS_MAX));
    }
    Ok(arguments)
}

pub(super) fn migrate(session: &mut Session<'_>) -> Answer {
    let arguments = parse(session)?;
    let (id, database) = (session.id, session.cluster.clients.list[session.client].database);
    let existing: Vec<Vec<u8>> = match session.cluster.db_at(session.ctx, id, database) {
        Some(db) => arguments.keys.iter().filter(|key| db.peek(key).is_some()).map(|key| key.to_vec()).collect(),
        None => Vec::new(),
    };
    if existing.is_empty() {
        session.out.raw(b"+NOKEY\r\n");
        return Ok(Then::Done);
    }
    let port = parse_integer(session.arg(2)).unwrap_or_default();
    let Some(target) = session.cluster.instance_at(session.ctx, session.arg(1), port) else {
        return outside(session, arguments, port, existing);
    };
    let replied = |line: &str| Refusal::text(format!("ERR Target instance replied with error: {line}"));
    let acl = &session.cluster.instances[target].acl;
    match arguments.credentials {
        None if acl.requires_login() => return Err(replied("NOAUTH Authentication required.")),
        Some((name, password)) if !acl.user(name).is_some_and(|user| user.admits(password)) => {
            return Err(replied("WRONGPASS invalid username-password pair or user is disabled."));
        }
        _ => {}
    }
    let databases = session.cluster.config.settings.databases;
    let Some(target_database) = usize::try_from(arguments.database).ok().filter(|number| *number < databases) else {
        return Err(replied("ERR DB index is out of range"));
    };
    let options = MoveOptions { database: target_database, replaces: arguments.replaces, copies: arguments.copies };
    match session.cluster.move_keys(session.ctx, (id, database), target, &existing, options) {
        Ok(()) => {
            session.out.ok();
            Ok(Then::Done)
        }
        Err(MoveError::Unreachable) => Err(UNREACHABLE),
        Err(MoveError::Refused(line)) => Err(replied(&line)),
    }
}

/// Moves keys to a server that is not of the stack. Inside MULTI and in scripts there is nobody who could wait for it.
fn outside(session: &mut Session<'_>, arguments: Arguments<'_>, port: i64, keys: Vec<Vec<u8>>) -> Answer {
    let Some(port) = u16::try_from(port).ok().filter(|_| session.may_block) else { return Err(UNREACHABLE) };
    let Arguments { database, patience, copies, replaces, credentials, .. } = arguments;
    let host = String::from_utf8_lossy(session.arg(1)).into_owned();
    let wish = MoveWish { host, port, patience, credentials, database, replaces, copies, keys };
    session.cluster.begin_move(session.ctx, session.client, &wish);
    Ok(Then::Target)
}
