//! CONFIG: <https://redis.io/docs/latest/commands/?name=config>. One configuration holds for all instances.

use super::{Answer, Session, Then};
use crate::config::{ConfigError, aliases, option};
use crate::error::Refusal;
use crate::ops::glob::glob_matches_any_case;

pub(super) fn get(session: &mut Session<'_>) -> Answer {
    let patterns: Vec<&[u8]> = session.request.tail(2).collect();
    let mut found: Vec<(&'static str, String)> = Vec::new();
    for (name, value) in session.cluster.config.iter() {
        if patterns.iter().any(|pattern| glob_matches_any_case(pattern, name.as_bytes())) {
            found.push((name, value.to_owned()));
        }
    }
    for (alias, present) in aliases() {
        let is_meant = patterns.iter().any(|pattern| glob_matches_any_case(pattern, alias.as_bytes()));
        if is_meant && let Some(value) = session.cluster.config.get(present) {
            found.push((alias, value.to_owned()));
        }
    }
    session.out.map(found.len());
    for (name, value) in found {
        session.out.bulk(name.as_bytes());
        session.out.bulk(value.as_bytes());
    }
    Ok(Then::Done)
}

/// Sets all options or none.
pub(super) fn set(session: &mut Session<'_>) -> Answer {
    if session.request.len() < 4 || !session.request.len().is_multiple_of(2) {
        return Err(Refusal::Arity("config|set".to_owned()));
    }
    let mut config = session.cluster.config.clone();
    let mut seen = Vec::new();
    for index in (2..session.request.len()).step_by(2) {
        let name = String::from_utf8_lossy(session.arg(index)).into_owned();
        let value = String::from_utf8_lossy(session.arg(index + 1)).into_owned();
        let Some(known) = option(&name) else {
            return Err(Refusal::text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")));
        };
        let failed = |reason: &str| {
            Refusal::text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
        };
        if seen.contains(&known.name) {
            return Err(failed("duplicate parameter"));
        }
        seen.push(known.name);
        match config.set_live(&name, &value) {
            Ok(()) => {}
            Err(ConfigError::Immutable(_)) => return Err(failed("can't set immutable config")),
            Err(ConfigError::Invalid { reason, .. }) => return Err(failed(&reason)),
            Err(ConfigError::Unknown(_)) => return Err(failed("unknown option")),
        }
    }
    session.cluster.config = config;
    session.cluster.follow_sync_policy();
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn resetstat(session: &mut Session<'_>) -> Answer {
    let stats = &mut session.cluster.instances[session.id].stats;
    *stats = crate::cluster::Stats { started: stats.started, ..Default::default() };
    let telemetry = &mut session.cluster.instances[session.id].telemetry;
    telemetry.commands = Default::default();
    telemetry.errors = Default::default();
    telemetry.rates = Default::default();
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn rewrite(_session: &mut Session<'_>) -> Answer {
    Err(Refusal::text("ERR The server is running without a config file"))
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
