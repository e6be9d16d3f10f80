//! SLOWLOG: <https://redis.io/docs/latest/commands/?name=slowlog>.

use super::{Answer, Session, Then};
use crate::error::Refusal;
use crate::state::parse_integer;

/// How many entries are shown if it is not said.
const COUNT: usize = 10;

/// Shows the newest entries; all of them with -1.
pub(super) fn get(session: &mut Session<'_>) -> Answer {
    if session.request.len() > 3 {
        return Err(Refusal::text("ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."));
    }
    let log = &session.cluster.instances[session.id].telemetry.slowlog;
    let count = match session.request.get(2) {
        None => COUNT,
        Some(word) => match parse_integer(word) {
            None => return Err(Refusal::NotInteger),
            Some(-1) => log.entries.len(),
            Some(number) => {
                usize::try_from(number).map_err(|_| Refusal::text("ERR count should be greater than or equal to -1"))?
            }
        },
    };
    let out = &mut session.out;
    out.array(count.min(log.entries.len()));
    for entry in log.entries.iter().take(count) {
        out.array(6);
        out.integer(entry.number as i64);
        out.integer(entry.at_s);
        out.integer(entry.microseconds as i64);
        out.array(entry.arguments.len());
        for argument in &entry.arguments {
            out.bulk(argument);
        }
        out.bulk(entry.address.as_bytes());
        out.bulk(&entry.name);
    }
    Ok(Then::Done)
}

pub(super) fn len(session: &mut Session<'_>) -> Answer {
    session.out.count(session.cluster.instances[session.id].telemetry.slowlog.entries.len());
    Ok(Then::Done)
}

pub(super) fn reset(session: &mut Session<'_>) -> Answer {
    session.cluster.instances[session.id].telemetry.slowlog.entries.clear();
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
