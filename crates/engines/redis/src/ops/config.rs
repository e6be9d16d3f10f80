//! CONFIG: <https://redis.io/docs/latest/commands/?name=config>. One configuration holds for all instances.

use super::{Answer, Session, Then};
use crate::config::{ConfigError, aliases, option};
use crate::error::Refusal;
use crate::ops::glob::glob_matches_any_case;

/// The value that an option has on this instance.
fn value_of(session: &Session<'_>, name: &str) -> String {
    let instance = &session.cluster.instances[session.id];
    match name {
        "port" => instance.port.to_string(),
        "tls-port" => instance.tls_port.to_string(),
        "bind" => {
            session.ctx.kernel().node(instance.node).map_or_else(String::new, |node| node.config.address.to_string())
        }
        _ => session.cluster.config.get(name).unwrap_or_default().to_owned(),
    }
}

/// Names without wildcards are answered as they were written; hidden options are found by them only.
pub(super) fn get(session: &mut Session<'_>) -> Answer {
    let mut found: Vec<(String, String)> = Vec::new();
    for pattern in session.request.tail(2) {
        let mut add = |name: &str, value: String| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_owned(), value));
            }
        };
        let text = String::from_utf8_lossy(pattern);
        if !text.contains(['[', '*', '?']) {
            if option(&text).is_some() {
                add(&text, value_of(session, &text.to_ascii_lowercase()));
            }
            continue;
        }
        let names = session.cluster.config.iter().map(|(name, _)| name);
        for name in names.chain(aliases().iter().map(|(alias, _)| *alias)) {
            let is_shown = option(name).is_some_and(|option| !option.is_hidden);
            if is_shown && glob_matches_any_case(pattern, name.as_bytes()) {
                add(name, value_of(session, name));
            }
        }
    }
    session.out.map(found.len());
    for (name, value) in found {
        session.out.bulk(name.as_bytes());
        session.out.bulk(value.as_bytes());
    }
    Ok(Then::Done)
}

/// Sets all options or none. The first error is told; errors of values come after those of names.
pub(super) fn set(session: &mut Session<'_>) -> Answer {
    if !session.request.len().is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    let text = |index: usize| String::from_utf8_lossy(session.arg(index)).into_owned();
    let failed = |name: &str, reason: &str| {
        Refusal::text(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"))
    };
    let mut changes = Vec::new();
    for index in (2..session.request.len()).step_by(2) {
        let name = text(index);
        let Some(known) = option(&name) else {
            return Err(Refusal::text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")));
        };
        if known.is_kept && value_of(session, known.name) == text(index + 1) {
            continue;
        }
        if !known.is_mutable {
            return Err(failed(&name, "can't set immutable config"));
        }
        if known.is_protected && !session.allows("enable-protected-configs") {
            return Err(failed(&name, "can't set protected config"));
        }
        if changes.iter().any(|(other, _, _)| *other == known.name) {
            return Err(failed(&name, "duplicate parameter"));
        }
        changes.push((known.name, name, text(index + 1)));
    }
    let sets_password = changes.iter().any(|(known, _, _)| *known == "requirepass");
    let mut config = session.cluster.config.clone();
    for (known, name, value) in changes {
        match config.set_live(&name, &value) {
            Ok(()) => {}
            Err(ConfigError::Immutable(_)) => return Err(failed(&name, "can't set immutable config")),
            Err(ConfigError::Invalid { reason, .. }) => return Err(failed(&name.to_ascii_lowercase(), &reason)),
            Err(ConfigError::Unknown(_)) => return Err(failed(&name, "unknown option")),
        }
        // Certificates are read at the start, if there is anything that needs them.
        if known.starts_with("tls-") && config.uses_tls() && !session.cluster.has_certificate {
            return Err(failed(&name, crate::config::TLS_REFUSED));
        }
    }
    session.cluster.keep_synced();
    session.cluster.config = config;
    session.cluster.config_changed = true;
    session.cluster.follow_sync_policy();
    session.cluster.follow_tracking_limit();
    if sets_password {
        session.cluster.follow_password();
    }
    if session.cluster.config.settings.memory_max > 0 {
        session.cluster.evicting_from = Some(session.ctx.now());
    }
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
