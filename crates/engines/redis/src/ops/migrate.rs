//! MIGRATE: <https://redis.io/docs/latest/commands/migrate/>. Between instances of this cluster a key moves without ever being
//! serialised; what the target would answer to RESTORE is answered all the same.

use super::{Answer, Session, Then, is};
use crate::acl::DEFAULT;
use crate::cluster::{MoveError, MoveOptions};
use crate::error::Refusal;

/// The request, taken apart.
struct Arguments<'a> {
    keys: Vec<&'a [u8]>,
    database: i64,
    copies: bool,
    replaces: bool,
    /// A user and its password.
    credentials: Option<(&'a [u8], &'a [u8])>,
}

fn parse<'a>(session: &Session<'a>) -> Result<Arguments<'a>, Refusal> {
    let request = session.request;
    let mut arguments =
        Arguments { keys: vec![request.arg(3)], database: 0, copies: false, replaces: false, credentials: None };
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
    session.integer(5)?;
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
    let port = session.integer(2)?;
    let Some(target) = session.cluster.instance_at(session.ctx, session.arg(1), port) else {
        return Err(Refusal::text("IOERR error or timeout connecting to the client"));
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
        Err(MoveError::Unreachable) => Err(Refusal::text("IOERR error or timeout connecting to the client")),
        Err(MoveError::Refused(line)) => Err(replied(&line)),
    }
}
