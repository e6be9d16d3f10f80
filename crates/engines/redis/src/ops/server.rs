//! The server itself: <https://redis.io/docs/latest/commands/?group=server>.

use super::{Answer, Session, Then};
use crate::clients::SyncWish;
use crate::error::Refusal;
use crate::state::parse_integer;

pub(super) fn time(session: &mut Session<'_>) -> Answer {
    let wall = session.ctx.wall(session.cluster.instances[session.id].node).as_millis();
    let micros = i64::try_from(session.ctx.now().as_nanos() / 1000 % 1000).unwrap_or(0);
    session.out.array(2);
    session.out.bulk_integer(wall / 1000);
    session.out.bulk_integer(wall % 1000 * 1000 + micros);
    Ok(Then::Done)
}

pub(super) fn milliseconds(argument: &[u8]) -> Result<u64, Refusal> {
    let number = parse_integer(argument).ok_or(Refusal::text("ERR timeout is not an integer or out of range"))?;
    u64::try_from(number).map_err(|_| Refusal::NegativeTimeout)
}

pub(super) fn wait(session: &mut Session<'_>) -> Answer {
    if session.cluster.follows(session.id)
        || session.cluster.config.settings.is_cluster && !session.cluster.is_master(session.id)
    {
        return Err(Refusal::text(
            "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is \
             configured to be writable (which is not the default) writes to replicas are just local and are not propagated.",
        ));
    }
    let wanted = session.integer(1)?;
    let timeout_ms = milliseconds(session.arg(2))?;
    let position = session.cluster.clients.list[session.client].write_position;
    let count = session.cluster.replicas_at(session.id, position);
    let is_in_transaction = session.cluster.clients.list[session.client].last_command() == "exec";
    let wanted = usize::try_from(wanted).map_err(|_| Refusal::text("ERR value is out of range, must be positive"))?;
    if count >= wanted || is_in_transaction {
        session.out.count(count);
        return Ok(Then::Done);
    }
    Ok(Then::Wait { replicas: wanted, position, timeout_ms })
}

/// WAITAOF: <https://redis.io/docs/latest/commands/waitaof/>. Since 7.2.
pub(super) fn waitaof(session: &mut Session<'_>) -> Answer {
    let wanted_here = session.integer(1)?;
    if !(0..=1).contains(&wanted_here) {
        return Err(Refusal::text("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = parse_integer(session.arg(2)).and_then(|number| usize::try_from(number).ok());
    let replicas = replicas.ok_or(Refusal::MustBePositive)?;
    let timeout_ms = milliseconds(session.arg(3))?;
    if session.cluster.follows(session.id)
        || session.cluster.config.settings.is_cluster && !session.cluster.is_master(session.id)
    {
        return Err(Refusal::text(
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
             and are not propagated.",
        ));
    }
    let is_local = wanted_here == 1;
    if is_local && !session.cluster.config.settings.has_log {
        return Err(Refusal::text("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."));
    }
    let client = &session.cluster.clients.list[session.client];
    let wanted = SyncWish { is_local, replicas, position: client.write_position };
    let is_in_transaction = client.last_command() == "exec";
    let syncs = session.cluster.syncs_at(session.id, wanted.position);
    if wanted.is_met_by(syncs) || is_in_transaction {
        session.out.syncs(syncs);
        return Ok(Then::Done);
    }
    Ok(Then::WaitForSync { wanted, timeout_ms })
}

pub(super) fn role(session: &mut Session<'_>) -> Answer {
    let cluster = &session.cluster;
    let peer = cluster.clients.list[session.client].peer;
    let instance = &cluster.instances[session.id];
    let position = i64::try_from(cluster.offset_of(session.id)).unwrap_or(i64::MAX);
    if let Some(master) = instance.link.master {
        let (ip, port) = cluster.advertised_to_replicas(session.ctx, master, peer);
        session.out.array(5);
        session.out.bulk(b"slave");
        session.out.bulk(ip.to_string().as_bytes());
        session.out.integer(i64::from(port));
        session.out.bulk(if instance.link.is_up { b"connected" } else { b"connect" });
        session.out.integer(position);
        return Ok(Then::Done);
    }
    if let Some(upstream) = &instance.upstream {
        session.out.array(5);
        session.out.bulk(b"slave");
        session.out.bulk(upstream.host.as_bytes());
        session.out.integer(i64::from(upstream.port));
        session.out.bulk(upstream.state().as_bytes());
        session.out.integer(if upstream.is_up() { position } else { -1 });
        return Ok(Then::Done);
    }
    let replicas: Vec<usize> = instance.attached.keys().copied().collect();
    let mut described: Vec<(String, i64, u64)> = replicas
        .into_iter()
        .map(|replica| {
            let (ip, port) = cluster.advertised_to_replicas(session.ctx, replica, peer);
            (ip.to_string(), i64::from(port), cluster.position_of(replica))
        })
        .collect();
    let others = cluster.replica_clients(session.id).filter(|(_, replica)| replica.state() == "online");
    described.extend(
        others.map(|(place, replica)| (cluster.replica_address(place), replica.listening_port, replica.acknowledged)),
    );
    session.out.array(3);
    session.out.bulk(b"master");
    session.out.integer(position);
    session.out.array(described.len());
    for (ip, port, offset) in described {
        session.out.array(3);
        session.out.bulk(ip.as_bytes());
        session.out.bulk(port.to_string().as_bytes());
        session.out.bulk(offset.to_string().as_bytes());
    }
    Ok(Then::Done)
}

pub(super) fn bgrewriteaof(session: &mut Session<'_>) -> Answer {
    if !session.cluster.config.settings.has_log {
        return Err(Refusal::text("ERR Append only file is disabled: set appendonly yes"));
    }
    session.cluster.rewrite_wanted = true;
    session.out.raw(b"+Background append only file rewriting started\r\n");
    Ok(Then::Done)
}

pub(super) fn shutdown(_session: &mut Session<'_>) -> Answer {
    Err(Refusal::text("ERR Errors trying to SHUTDOWN. Check logs."))
}

pub(super) fn lolwut(session: &mut Session<'_>) -> Answer {
    session.out.verbatim(&format!("Redis ver. {}\n", crate::VERSION));
    Ok(Then::Done)
}
