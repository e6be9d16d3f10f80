//! A connection's own state: <https://redis.io/docs/latest/commands/?group=connection>.

use super::{Answer, Session, Then, is};
use crate::VERSION;
use crate::acl::DEFAULT;
use crate::clients::Replies;
use crate::error::Refusal;
use crate::state::parse_integer;
use crate::wire::Reply;

pub(super) fn ping(session: &mut Session<'_>) -> Answer {
    if session.request.len() > 2 {
        return Err(Refusal::Arity("ping".to_owned()));
    }
    let message = session.request.get(1);
    let is_subscribed = session.cluster.clients.list[session.client].subscriptions() > 0;
    if is_subscribed && !session.out.is_resp3() {
        session.out.array(2);
        session.out.bulk(b"pong");
        session.out.bulk(message.unwrap_or_default());
        return Ok(Then::Done);
    }
    match message {
        Some(message) => session.out.bulk(message),
        None => session.out.raw(b"+PONG\r\n"),
    }
    Ok(Then::Done)
}

pub(super) fn echo(session: &mut Session<'_>) -> Answer {
    session.out.bulk(session.request.arg(1));
    Ok(Then::Done)
}

pub(super) fn auth(session: &mut Session<'_>) -> Answer {
    let attempted = session.arg(0);
    let credentials = match session.request.len() {
        2 if session.cluster.instances[session.id].acl.default_user().needs_no_password() => {
            return Err(Refusal::text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                 configuration is correct?",
            ));
        }
        2 => (DEFAULT, session.arg(1)),
        3 => (session.arg(1), session.arg(2)),
        _ => return Err(Refusal::Syntax),
    };
    session.cluster.log_in(session.ctx, session.client, credentials, attempted)?;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn hello(session: &mut Session<'_>) -> Answer {
    let mut version = None;
    if let Some(argument) = session.request.get(1) {
        let number = parse_integer(argument);
        let number = number.ok_or(Refusal::text("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&number) {
            return Err(Refusal::text("NOPROTO unsupported protocol version"));
        }
        version = Some(number);
    }
    let mut index = 2;
    let (mut name, mut credentials) = (None, None);
    while let Some(word) = session.request.get(index) {
        let left = session.request.len() - index - 1;
        if is(word, "AUTH") && left >= 2 {
            credentials = Some((session.arg(index + 1), session.arg(index + 2)));
            index += 3;
        } else if is(word, "SETNAME") && left >= 1 {
            name = Some(session.request.arg(index + 1).to_vec());
            check_name(session.request.arg(index + 1), NAME)?;
            index += 2;
        } else {
            let word = String::from_utf8_lossy(word);
            return Err(Refusal::text(format!("ERR Syntax error in HELLO option '{word}'")));
        }
    }
    if let Some(credentials) = credentials {
        let attempted = session.arg(0);
        session.cluster.log_in(session.ctx, session.client, credentials, attempted)?;
    }
    let client = &mut session.cluster.clients.list[session.client];
    if !client.is_authenticated {
        return Err(Refusal::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
        ));
    }
    client.name = name.unwrap_or_else(|| std::mem::take(&mut client.name));
    if let Some(version) = version {
        client.is_resp3 = version == 3;
    }
    greet(session)
}

fn greet(session: &mut Session<'_>) -> Answer {
    let client = &session.cluster.clients.list[session.client];
    let (number, is_resp3) = (client.number, client.is_resp3);
    let is_cluster = session.cluster.config.settings.is_cluster;
    let is_master = (!is_cluster || session.cluster.is_master(session.id)) && !session.cluster.follows(session.id);
    let mut greeting = Vec::new();
    let mut out = Reply::new(&mut greeting, is_resp3);
    out.map(7);
    let mode: &[u8] = if is_cluster { b"cluster" } else { b"standalone" };
    for (field, value) in [(b"server".as_slice(), b"redis".as_slice()), (b"version", VERSION.as_bytes())] {
        out.bulk(field);
        out.bulk(value);
    }
    out.bulk(b"proto");
    out.integer(if is_resp3 { 3 } else { 2 });
    out.bulk(b"id");
    out.integer(i64::try_from(number).unwrap_or(i64::MAX));
    out.bulk(b"mode");
    out.bulk(mode);
    out.bulk(b"role");
    out.bulk(if is_master { b"master" } else { b"replica" });
    out.bulk(b"modules");
    out.array(0);
    session.out.raw(&greeting);
    Ok(Then::Done)
}

pub(super) const NAME: &str = "ERR Client names cannot contain spaces, newlines or special characters.";

/// Names are printable and without spaces, so that CLIENT LIST can be read.
pub(super) fn check_name(name: &[u8], complaint: &'static str) -> Result<(), Refusal> {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) { Ok(()) } else { Err(Refusal::text(complaint)) }
}

pub(super) fn select(session: &mut Session<'_>) -> Answer {
    let number = session.integer(1)?;
    let settings = &session.cluster.config.settings;
    if settings.is_cluster && number != 0 {
        return Err(Refusal::text("ERR SELECT is not allowed in cluster mode"));
    }
    let number = usize::try_from(number).ok().filter(|number| *number < settings.databases);
    let number = number.ok_or(Refusal::text("ERR DB index is out of range"))?;
    session.cluster.clients.list[session.client].database = number;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn quit(session: &mut Session<'_>) -> Answer {
    session.out.ok();
    Ok(Then::Close)
}

/// Back to how the connection was when it was made.
pub(super) fn reset(session: &mut Session<'_>) -> Answer {
    session.cluster.unwatch(session.client);
    session.cluster.unsubscribe_all(session.client);
    session.cluster.untrack(session.client);
    session.cluster.stop_monitoring(session.client);
    session.cluster.log_out(session.client);
    let client = &mut session.cluster.clients.list[session.client];
    client.transaction = None;
    client.is_resp3 = false;
    client.database = 0;
    client.reads_replica = false;
    client.is_asking = false;
    client.no_evict = false;
    client.no_touch = false;
    client.replies = Replies::On;
    client.name.clear();
    session.out.raw(b"+RESET\r\n");
    Ok(Then::Done)
}

const NO_CLUSTER: &str = "ERR This instance has cluster support disabled";

fn cluster_only(session: &Session<'_>) -> Result<(), Refusal> {
    if session.cluster.config.settings.is_cluster { Ok(()) } else { Err(Refusal::text(NO_CLUSTER)) }
}

pub(super) fn readonly(session: &mut Session<'_>) -> Answer {
    cluster_only(session)?;
    session.cluster.clients.list[session.client].reads_replica = true;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn readwrite(session: &mut Session<'_>) -> Answer {
    cluster_only(session)?;
    session.cluster.clients.list[session.client].reads_replica = false;
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn asking(session: &mut Session<'_>) -> Answer {
    cluster_only(session)?;
    session.cluster.clients.list[session.client].is_asking = true;
    session.out.ok();
    Ok(Then::Done)
}
