//! CLIENT: <https://redis.io/docs/latest/commands/?name=client>.

use atoll_kernel::Context;

use super::client_tracking::redirection;
use super::connection::{NAME, check_name};
use super::server::milliseconds;
use super::{Answer, Session, Then, is};
use crate::clients::{BlockedOn, Client, Replies};
use crate::error::Refusal;
use crate::state::parse_integer;
use crate::wire::Request;

pub(super) fn id(session: &mut Session<'_>) -> Answer {
    let number = session.cluster.clients.list[session.client].number;
    session.out.integer(i64::try_from(number).unwrap_or(i64::MAX));
    Ok(Then::Done)
}

pub(super) fn getname(session: &mut Session<'_>) -> Answer {
    let name = &session.cluster.clients.list[session.client].name;
    session.out.bulk_or_null(Some(name.as_slice()).filter(|name| !name.is_empty()));
    Ok(Then::Done)
}

pub(super) fn setname(session: &mut Session<'_>) -> Answer {
    check_name(session.arg(2), NAME)?;
    session.cluster.clients.list[session.client].name = session.arg(2).to_vec();
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn setinfo(session: &mut Session<'_>) -> Answer {
    let (option, value) = (session.arg(2), session.arg(3));
    let client = &mut session.cluster.clients.list[session.client];
    if is(option, "LIB-NAME") {
        check_name(value, "ERR lib-name cannot contain spaces, newlines or special characters.")?;
        client.library = value.to_vec();
    } else if is(option, "LIB-VER") {
        check_name(value, "ERR lib-ver cannot contain spaces, newlines or special characters.")?;
        client.library_version = value.to_vec();
    } else {
        let option = String::from_utf8_lossy(option);
        return Err(Refusal::text(format!("ERR Unrecognized option '{option}'")));
    }
    session.out.ok();
    Ok(Then::Done)
}

/// One line of CLIENT LIST.
pub(crate) fn describe(ctx: &Context<'_>, client: &Client, request: Option<Request<'_>>) -> String {
    let now = ctx.now();
    let (address, local) = match client.addresses {
        Some((address, local)) => (address.to_string(), local.to_string()),
        None => (String::new(), String::new()),
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let qbuf = request.map_or(0, |request| request.encoded_length());
    let argv = match client.blocked.as_ref().map(|blocked| &blocked.on) {
        _ if request.is_some() => request.iter().flat_map(|request| request.tail(0)).map(<[u8]>::len).sum(),
        Some(BlockedOn::Keys { request, .. } | BlockedOn::Postponed { request }) => request.size(),
        _ => 0,
    };
    let multi = client.transaction.as_ref().map_or(0, |queued| queued.size);
    let total = client.memory() + qbuf + argv as u64;
    let free = (client.input_bytes as u64).saturating_sub(qbuf);
    let (written, waiting) = (client.output_bytes, client.output);
    format!(
        "id={} addr={address} laddr={local} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} \
         qbuf={qbuf} qbuf-free={free} argv-mem={argv} multi-mem={} rbs={written} rbp={written} obl=0 oll={} omem={waiting} tot-mem={total} events=r \
         cmd={} user={} redir={} resp={} lib-name={} lib-ver={}\n",
        client.number,
        client.number + 7,
        text(&client.name),
        now.since(client.connected_at).as_secs(),
        now.since(client.used_at).as_secs(),
        client.flags(),
        client.database,
        client.channels,
        client.patterns,
        client.shard_channels,
        client.transaction.as_ref().map_or(-1, |queued| queued.queue.len() as i64),
        multi,
        u8::from(waiting > 0),
        client.last_command(),
        client.user.display_name(),
        redirection(client.tracking.as_deref()),
        if client.is_resp3 { 3 } else { 2 },
        text(&client.library),
        text(&client.library_version),
    )
}

/// The line of a client that this request comes from, or of another. Nobody else's request is being read meanwhile.
fn line_of(session: &Session<'_>, client: &Client) -> String {
    let is_own = client.number == session.cluster.clients.list[session.client].number;
    describe(session.ctx, client, is_own.then_some(session.request))
}

pub(super) fn info(session: &mut Session<'_>) -> Answer {
    let line = line_of(session, &session.cluster.clients.list[session.client]);
    session.out.verbatim(&line);
    Ok(Then::Done)
}

/// What CLIENT LIST and CLIENT KILL select by.
#[derive(Default)]
struct Selection {
    numbers: Option<Vec<u64>>,
    address: Option<Vec<u8>>,
    local: Option<Vec<u8>>,
    kind: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    skips_self: bool,
}

const KINDS: [&str; 5] = ["normal", "master", "replica", "slave", "pubsub"];

fn check_kind(kind: &[u8]) -> Result<(), Refusal> {
    if KINDS.iter().any(|known| is(kind, known)) {
        return Ok(());
    }
    let kind = String::from_utf8_lossy(kind);
    Err(Refusal::text(format!("ERR Unknown client type '{kind}'")))
}

impl Selection {
    fn matches(&self, session: &Session<'_>, client: &Client) -> bool {
        let addresses = client.addresses.map(|(peer, local)| (peer.to_string(), local.to_string())).unwrap_or_default();
        let kind: &str = match client.subscriptions() {
            _ if client.is_master => "master",
            _ if client.is_replica() => "replica",
            0 => "normal",
            _ => "pubsub",
        };
        let own = session.cluster.clients.list[session.client].number;
        self.numbers.as_ref().is_none_or(|numbers| numbers.contains(&client.number))
            && self.address.as_ref().is_none_or(|address| address == addresses.0.as_bytes())
            && self.local.as_ref().is_none_or(|local| local == addresses.1.as_bytes())
            && self.kind.as_ref().is_none_or(|wanted| is(wanted, kind) || kind == "replica" && is(wanted, "slave"))
            && self.user.as_ref().is_none_or(|user| user == client.user.name())
            && !(self.skips_self && client.number == own)
    }
}

pub(super) fn list(session: &mut Session<'_>) -> Answer {
    let mut selection = Selection::default();
    match session.request.get(2) {
        None => {}
        Some(word) if is(word, "TYPE") && session.request.len() == 4 => {
            check_kind(session.arg(3))?;
            selection.kind = Some(session.arg(3).to_vec());
        }
        Some(word) if is(word, "ID") && session.request.len() > 3 => {
            let number = |text| parse_integer(text).and_then(|number| u64::try_from(number).ok());
            let numbers: Option<Vec<u64>> = session.request.tail(3).map(number).collect();
            selection.numbers = Some(numbers.ok_or(Refusal::text("ERR Invalid client ID"))?);
        }
        Some(_) => return Err(Refusal::Syntax),
    }
    let places = session.cluster.clients.of(session.id);
    let clients = places.into_iter().map(|place| &session.cluster.clients.list[place]);
    let clients = clients.filter(|client| !client.is_closing);
    let lines: String =
        clients.filter(|client| selection.matches(session, client)).map(|client| line_of(session, client)).collect();
    session.out.verbatim(&lines);
    Ok(Then::Done)
}

fn kill_selection(session: &Session<'_>) -> Result<Selection, Refusal> {
    let mut selection = Selection { skips_self: true, ..Selection::default() };
    let mut index = 2;
    while let Some(word) = session.request.get(index) {
        let Some(argument) = session.request.get(index + 1) else { return Err(Refusal::Syntax) };
        match word {
            _ if is(word, "ID") => {
                let number = parse_integer(argument).filter(|number| *number > 0);
                let number = number.ok_or(Refusal::text("ERR client-id should be greater than 0"))?;
                selection.numbers = Some(vec![number.unsigned_abs()]);
            }
            _ if is(word, "TYPE") => {
                check_kind(argument)?;
                selection.kind = Some(argument.to_vec());
            }
            _ if is(word, "ADDR") => selection.address = Some(argument.to_vec()),
            _ if is(word, "LADDR") => selection.local = Some(argument.to_vec()),
            _ if is(word, "USER") => {
                if session.cluster.instances[session.id].acl.user(argument).is_none() {
                    let user = String::from_utf8_lossy(argument);
                    return Err(Refusal::text(format!("ERR No such user '{user}'")));
                }
                selection.user = Some(argument.to_vec());
            }
            _ if is(word, "SKIPME") && is(argument, "YES") => selection.skips_self = true,
            _ if is(word, "SKIPME") && is(argument, "NO") => selection.skips_self = false,
            _ => return Err(Refusal::Syntax),
        }
        index += 2;
    }
    Ok(selection)
}

pub(super) fn kill(session: &mut Session<'_>) -> Answer {
    let is_old_style = session.request.len() == 3;
    let selection = if is_old_style {
        Selection { address: Some(session.arg(2).to_vec()), ..Selection::default() }
    } else {
        kill_selection(session)?
    };
    let all = session.cluster.clients.of(session.id);
    let is_doomed = |place: &usize| {
        let client = &session.cluster.clients.list[*place];
        !client.is_closing && selection.matches(session, client)
    };
    let doomed: Vec<usize> = all.into_iter().filter(is_doomed).collect();
    let mut closes_own = false;
    for place in &doomed {
        if *place == session.client {
            closes_own = true;
        } else {
            session.cluster.leave_keys(*place);
            session.cluster.deliver_to(*place, Vec::new(), false, true);
        }
    }
    match (is_old_style, doomed.len()) {
        (true, 0) => return Err(Refusal::text("ERR No such client")),
        (true, _) => session.out.ok(),
        (false, count) => session.out.count(count),
    }
    Ok(if closes_own { Then::Close } else { Then::Done })
}

fn switch(session: &Session<'_>) -> Result<bool, Refusal> {
    match session.arg(2) {
        word if is(word, "ON") => Ok(true),
        word if is(word, "OFF") => Ok(false),
        _ => Err(Refusal::Syntax),
    }
}

pub(super) fn no_evict(session: &mut Session<'_>) -> Answer {
    session.cluster.clients.list[session.client].no_evict = switch(session)?;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn no_touch(session: &mut Session<'_>) -> Answer {
    session.cluster.clients.list[session.client].no_touch = switch(session)?;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn reply(session: &mut Session<'_>) -> Answer {
    let replies = match session.arg(2) {
        word if is(word, "ON") => Replies::On,
        word if is(word, "OFF") => Replies::Off,
        word if is(word, "SKIP") => Replies::SkipNext,
        _ => return Err(Refusal::Syntax),
    };
    let client = &mut session.cluster.clients.list[session.client];
    if replies == Replies::SkipNext && client.replies == Replies::Off {
        return Ok(Then::Done);
    }
    client.replies = replies;
    if replies == Replies::On {
        session.out.ok();
    }
    Ok(Then::Done)
}

pub(super) fn unblock(session: &mut Session<'_>) -> Answer {
    let number = session.integer(2)?;
    let with_error = match session.request.get(3) {
        None => false,
        Some(word) if is(word, "TIMEOUT") => false,
        Some(word) if is(word, "ERROR") => true,
        Some(_) => return Err(Refusal::text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
    };
    let places = session.cluster.clients.of(session.id);
    let found = places.into_iter().find(|place| {
        let client = &session.cluster.clients.list[*place];
        i64::try_from(client.number) == Ok(number) && client.blocked.is_some()
    });
    if let Some(place) = found {
        session.cluster.end_wait(place, with_error);
    }
    session.out.flag(found.is_some());
    Ok(Then::Done)
}

/// CLIENT PAUSE: in milliseconds, for all or for those who would write.
pub(super) fn pause(session: &mut Session<'_>) -> Answer {
    let is_for_all = match session.request.get(3) {
        None => true,
        Some(_) if session.request.len() > 4 => {
            return Err(super::debug::unknown(session));
        }
        Some(word) if is(word, "WRITE") => false,
        Some(word) if is(word, "ALL") => true,
        Some(_) => return Err(Refusal::text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let time_ms = milliseconds(session.arg(2))?;
    if time_ms > 0 {
        let until = session.ctx.now() + std::time::Duration::from_millis(time_ms);
        session.cluster.pause_clients(session.id, until, is_for_all);
    }
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn unpause(session: &mut Session<'_>) -> Answer {
    session.cluster.unpause_clients(session.ctx, session.id);
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "NO-TOUCH (ON|OFF)",
        "    Will not touch LRU/LFU stats when this mode is on.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETINFO <option> <value>",
        "    Set client meta attr. Options are:",
        "    * LIB-NAME: the client lib name.",
        "    * LIB-VER: the client lib version.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}
