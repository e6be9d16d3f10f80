//! CLIENT TRACKING and its kin: <https://redis.io/docs/latest/commands/client-tracking/>.

use super::{Answer, Session, Then, is};
use crate::clients::ConnId;
use crate::error::Refusal;
use crate::tracking::Tracking;

/// What CLIENT TRACKING was given.
#[derive(Default)]
struct Wanted<'a> {
    tracking: Tracking,
    prefixes: Vec<&'a [u8]>,
}

fn options<'a>(session: &Session<'a>) -> Result<Wanted<'a>, Refusal> {
    let mut wanted = Wanted::default();
    let mut index = 3;
    while let Some(word) = session.request.get(index) {
        let argument = session.request.get(index + 1);
        match (word, argument) {
            (word, Some(_)) if is(word, "REDIRECT") => {
                if wanted.tracking.redirect.is_some() {
                    return Err(Refusal::text("ERR A client can only redirect to a single other client"));
                }
                let number = session.integer(index + 1)?;
                wanted.tracking.redirect = if number == 0 { None } else { Some(receiver(session, number)?) };
                index += 1;
            }
            (word, Some(prefix)) if is(word, "PREFIX") => {
                wanted.prefixes.push(prefix);
                index += 1;
            }
            (word, _) if is(word, "BCAST") => wanted.tracking.broadcasts = true,
            (word, _) if is(word, "OPTIN") => wanted.tracking.opt_in = true,
            (word, _) if is(word, "OPTOUT") => wanted.tracking.opt_out = true,
            (word, _) if is(word, "NOLOOP") => wanted.tracking.no_loop = true,
            _ => return Err(Refusal::Syntax),
        }
        index += 1;
    }
    Ok(wanted)
}

/// The client of this number, which has to exist now, though it may be gone later.
fn receiver(session: &Session<'_>, number: i64) -> Result<ConnId, Refusal> {
    let clients = &session.cluster.clients;
    let found = u64::try_from(number).ok().and_then(|number| {
        let place = clients.of(session.id).into_iter().find(|place| clients.list[*place].number == number)?;
        Some(ConnId { place, number })
    });
    found.ok_or(Refusal::text("ERR The client ID you want redirect to does not exist"))
}

/// Whether the options suit one another, and what the client does already.
fn check(session: &Session<'_>, wanted: &Wanted<'_>) -> Result<(), Refusal> {
    let Wanted { tracking: new, prefixes } = wanted;
    if !new.broadcasts && !prefixes.is_empty() {
        return Err(Refusal::text("ERR PREFIX option requires BCAST mode to be enabled"));
    }
    let old = session.cluster.clients.list[session.client].tracking.as_deref();
    if old.is_some_and(|old| old.broadcasts != new.broadcasts) {
        return Err(Refusal::text(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    if new.broadcasts && (new.opt_in || new.opt_out) {
        return Err(Refusal::text("ERR OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if new.opt_in && new.opt_out {
        return Err(Refusal::text("ERR You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if old.is_some_and(|old| (new.opt_in && old.opt_out) || (new.opt_out && old.opt_in)) {
        return Err(Refusal::text(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    check_prefixes(prefixes, old)
}

/// No key may be told of twice.
fn check_prefixes(prefixes: &[&[u8]], old: Option<&Tracking>) -> Result<(), Refusal> {
    let overlaps = |one: &[u8], other: &[u8]| one.starts_with(other) || other.starts_with(one);
    let text = String::from_utf8_lossy;
    for (index, prefix) in prefixes.iter().enumerate() {
        let mut existing = old.into_iter().flat_map(|old| &old.prefixes);
        if let Some(existing) = existing.find(|existing| overlaps(existing, prefix)) {
            return Err(Refusal::text(format!(
                "ERR Prefix '{}' overlaps with an existing prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                text(existing)
            )));
        }
        if let Some(other) = prefixes[index + 1..].iter().find(|other| overlaps(prefix, other)) {
            return Err(Refusal::text(format!(
                "ERR Prefix '{}' overlaps with another provided prefix '{}'. Prefixes for a single client must not overlap.",
                text(prefix),
                text(other)
            )));
        }
    }
    Ok(())
}

pub(super) fn tracking(session: &mut Session<'_>) -> Answer {
    let wanted = options(session)?;
    match session.arg(2) {
        word if is(word, "ON") => {
            check(session, &wanted)?;
            let Wanted { tracking, prefixes } = wanted;
            let mut prefixes: Vec<Vec<u8>> = prefixes.into_iter().map(<[u8]>::to_vec).collect();
            if tracking.broadcasts && prefixes.is_empty() {
                prefixes.push(Vec::new());
            }
            session.cluster.track(session.client, tracking, prefixes);
        }
        word if is(word, "OFF") => session.cluster.untrack(session.client),
        _ => return Err(Refusal::Syntax),
    }
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn caching(session: &mut Session<'_>) -> Answer {
    let argument = session.arg(2);
    let Some(tracking) = session.cluster.clients.list[session.client].tracking.as_mut() else {
        return Err(Refusal::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    match argument {
        word if is(word, "YES") && tracking.opt_in => tracking.caching = true,
        word if is(word, "YES") => {
            return Err(Refusal::text("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode."));
        }
        word if is(word, "NO") && tracking.opt_out => tracking.caching = true,
        word if is(word, "NO") => {
            return Err(Refusal::text("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."));
        }
        _ => return Err(Refusal::Syntax),
    }
    session.out.ok();
    Ok(Then::Done)
}

/// The number of the client to which a client redirects; 0: itself, -1: it does not track.
pub(super) fn redirection(tracking: Option<&Tracking>) -> i64 {
    tracking.map_or(-1, |tracking| {
        tracking.redirect.map_or(0, |redirect| i64::try_from(redirect.number).unwrap_or(i64::MAX))
    })
}

pub(super) fn getredir(session: &mut Session<'_>) -> Answer {
    let number = redirection(session.cluster.clients.list[session.client].tracking.as_deref());
    session.out.integer(number);
    Ok(Then::Done)
}

pub(super) fn trackinginfo(session: &mut Session<'_>) -> Answer {
    let tracking = session.cluster.clients.list[session.client].tracking.as_deref().cloned();
    let number = redirection(tracking.as_ref());
    let is_on = tracking.is_some();
    let tracking = tracking.unwrap_or_default();
    let flags = [
        (is_on, "on"),
        (!is_on, "off"),
        (tracking.broadcasts, "bcast"),
        (tracking.opt_in, "optin"),
        (tracking.opt_in && tracking.caching, "caching-yes"),
        (tracking.opt_out, "optout"),
        (tracking.opt_out && tracking.caching, "caching-no"),
        (tracking.no_loop, "noloop"),
        (tracking.is_broken, "broken_redirect"),
    ];
    let flags: Vec<&str> = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name).collect();
    session.out.map(3);
    session.out.bulk(b"flags");
    session.out.set(flags.len());
    flags.iter().for_each(|flag| session.out.bulk(flag.as_bytes()));
    session.out.bulk(b"redirect");
    session.out.integer(number);
    session.out.bulk(b"prefixes");
    session.out.array(tracking.prefixes.len());
    tracking.prefixes.iter().for_each(|prefix| session.out.bulk(prefix));
    Ok(Then::Done)
}
