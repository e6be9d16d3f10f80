//! What replicas say to the instance that they follow:
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/replication/>.

use super::{Answer, Session, Then, is};
use crate::error::Refusal;
use crate::replication::{Continuation, FailoverOptions};
use crate::state::parse_integer;

/// The longest address that a replica may give.
const ADDRESS_MAX: usize = 255;

/// What a replica says of itself, in pairs of an option and a value.
pub(super) fn replconf(session: &mut Session<'_>) -> Answer {
    if session.request.len().is_multiple_of(2) {
        return Err(Refusal::Syntax);
    }
    let request = session.request;
    for index in (1..request.len()).step_by(2) {
        let (option, value) = (request.arg(index), request.arg(index + 1));
        if is(option, "ACK") {
            acknowledge(session, index);
            return Ok(Then::Done);
        }
        if is(option, "GETACK") {
            return Ok(Then::Done);
        }
        describe(session, option, value)?;
    }
    session.out.ok();
    Ok(Then::Done)
}

fn acknowledge(session: &mut Session<'_>, index: usize) {
    let request = session.request;
    let offset = |index: usize| parse_integer(request.arg(index)).and_then(|offset| u64::try_from(offset).ok());
    let synced = if is(request.arg(index + 2), "FACK") { offset(index + 3) } else { None };
    if let Some(acknowledged) = offset(index + 1) {
        session.cluster.replica_acknowledged(session.ctx, session.client, acknowledged, synced);
    }
}

fn describe(session: &mut Session<'_>, option: &[u8], value: &[u8]) -> Result<(), Refusal> {
    let replica = session.cluster.introduce_replica(session.ctx, session.client);
    if is(option, "LISTENING-PORT") {
        replica.listening_port = parse_integer(value).ok_or(Refusal::NotInteger)?;
    } else if is(option, "IP-ADDRESS") {
        if value.len() >= ADDRESS_MAX {
            let length = value.len();
            return Err(Refusal::text(format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {length} bytes"
            )));
        }
        replica.address = Some(value.to_vec());
    } else if is(option, "CAPA") {
        // What is not known is ignored.
        replica.takes_stream |= is(value, "EOF");
        replica.takes_names |= is(value, "PSYNC2");
    } else if is(option, "RDB-ONLY") {
        let number = parse_integer(value).ok_or(Refusal::NotInteger)?;
        if !(0..=1).contains(&number) {
            return Err(Refusal::text("ERR value is out of range, value must between 0 and 1"));
        }
        replica.wants_snapshot_only = number == 1;
    } else if is(option, "RDB-FILTER-ONLY") {
        (replica.without_data, replica.without_functions) = (true, true);
        for word in value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            if !is(word, "FUNCTIONS") {
                let word = String::from_utf8_lossy(word);
                return Err(Refusal::text(format!("ERR Unsupported rdb-filter-only option: {word}")));
            }
            replica.without_functions = false;
        }
    } else {
        let option = String::from_utf8_lossy(option);
        return Err(Refusal::text(format!("ERR Unrecognized REPLCONF option: {option}")));
    }
    Ok(())
}

/// PSYNC: go on from an offset of a history, or begin with a snapshot.
pub(super) fn psync(session: &mut Session<'_>) -> Answer {
    if session.cluster.replica(session.client).is_some() {
        return Ok(Then::Done);
    }
    let offset = session.integer(2)?;
    if is(session.request.arg(3), "FAILOVER") {
        take_over(session)?;
    }
    let wanted = Continuation { name: session.request.arg(1), offset };
    session.cluster.attach_replica(session.ctx, session.client, Some(wanted), &mut session.out)?;
    Ok(Then::Done)
}

/// SYNC, of replicas older than Redis 2.8: begin with a snapshot.
pub(super) fn sync(session: &mut Session<'_>) -> Answer {
    if session.cluster.replica(session.client).is_none() {
        session.cluster.attach_replica(session.ctx, session.client, None, &mut session.out)?;
    }
    Ok(Then::Done)
}

/// REPLICAOF and SLAVEOF: follow a real server, or nobody.
pub(super) fn replicaof(session: &mut Session<'_>) -> Answer {
    let (host, port, id) = (session.arg(1), session.arg(2), session.id);
    if session.cluster.config.settings.is_cluster {
        return Err(Refusal::text("ERR REPLICAOF not allowed in cluster mode."));
    }
    if session.cluster.fails_over() {
        return Err(Refusal::text("ERR REPLICAOF not allowed while failing over."));
    }
    if is(host, "NO") && is(port, "ONE") {
        session.cluster.follow_nobody(session.ctx, id);
        session.out.ok();
        return Ok(Then::Done);
    }
    if session.cluster.replica(session.client).is_some() {
        return Err(Refusal::text("ERR Command is not valid when client is a replica."));
    }
    let port = parse_integer(port).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Refusal::text("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(host).into_owned();
    let present = session.cluster.instances[id].upstream.as_deref();
    if present.is_some_and(|upstream| upstream.host.eq_ignore_ascii_case(&host) && upstream.port == port) {
        session.out.raw(b"+OK Already connected to specified master\r\n");
        return Ok(Then::Done);
    }
    session.cluster.follow_master(session.ctx, id, &host, port);
    session.out.ok();
    Ok(Then::Done)
}

/// PSYNC with FAILOVER: the master asks this replica of its to take its place.
fn take_over(session: &mut Session<'_>) -> Result<(), Refusal> {
    let id = session.id;
    if session.cluster.instances[id].upstream.is_none() {
        return Err(Refusal::text("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if !session.arg(1).eq_ignore_ascii_case(session.cluster.replication_name(id).as_bytes()) {
        return Err(Refusal::text("ERR PSYNC FAILOVER replid must match my replid."));
    }
    session.cluster.follow_nobody(session.ctx, id);
    Ok(())
}

/// FAILOVER: hand over to a replica, once it has everything.
pub(super) fn failover(session: &mut Session<'_>) -> Answer {
    if session.cluster.config.settings.is_cluster {
        return Err(Refusal::text("ERR FAILOVER not allowed in cluster mode."));
    }
    let request = session.request;
    if request.len() == 2 && is(request.arg(1), "ABORT") {
        session.cluster.abort_failover(session.ctx)?;
        session.out.ok();
        return Ok(Then::Done);
    }
    let mut options = FailoverOptions::default();
    let mut index = 1;
    while let Some(word) = request.get(index) {
        let left = request.len() - index - 1;
        if is(word, "TIMEOUT") && left >= 1 && options.timeout_ms.is_none() {
            let timeout_ms = u64::try_from(session.integer(index + 1)?).ok().filter(|timeout_ms| *timeout_ms > 0);
            options.timeout_ms = timeout_ms;
            if timeout_ms.is_none() {
                return Err(Refusal::text("ERR FAILOVER timeout must be greater than 0"));
            }
            index += 1;
        } else if is(word, "TO") && left >= 2 && options.target.is_none() {
            let host = String::from_utf8_lossy(request.arg(index + 1)).into_owned();
            options.target = Some((host, session.integer(index + 2)?));
            index += 2;
        } else if is(word, "FORCE") && !options.is_forced {
            options.is_forced = true;
        } else {
            return Err(Refusal::Syntax);
        }
        index += 1;
    }
    session.cluster.begin_failover(session.ctx, session.id, options)?;
    session.out.ok();
    Ok(Then::Done)
}
