//! MULTI, EXEC, DISCARD, WATCH: <https://redis.io/docs/latest/develop/interact/transactions/>.

use super::{Answer, Session, Then};
use crate::clients::Transaction;
use crate::core::find_command;
use crate::error::Refusal;
use crate::state::Blob;
use crate::wire::Reply;

pub(super) fn multi(session: &mut Session<'_>) -> Answer {
    let client = &mut session.cluster.clients.list[session.client];
    if client.transaction.is_some() {
        return Err(Refusal::text("ERR MULTI calls can not be nested"));
    }
    client.transaction = Some(Box::new(Transaction::default()));
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn discard(session: &mut Session<'_>) -> Answer {
    let client = &mut session.cluster.clients.list[session.client];
    if client.transaction.take().is_none() {
        return Err(Refusal::text("ERR DISCARD without MULTI"));
    }
    session.cluster.unwatch(session.client);
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn exec(session: &mut Session<'_>) -> Answer {
    let (place, ctx) = (session.client, session.ctx);
    let client = &mut session.cluster.clients.list[place];
    let Some(transaction) = client.transaction.take() else { return Err(Refusal::text("ERR EXEC without MULTI")) };
    if transaction.is_refused {
        session.cluster.unwatch(place);
        return Err(Refusal::text("EXECABORT Transaction discarded because of previous errors."));
    }
    let is_dirty = client.is_dirty || session.cluster.watched_key_expired(ctx, place);
    session.cluster.unwatch(place);
    if is_dirty {
        session.out.null_array();
        return Ok(Then::Done);
    }
    session.out.array(transaction.queue.len());
    let is_resp3 = session.out.is_resp3();
    for queued in &transaction.queue {
        let request = queued.as_request();
        let mut out = Vec::new();
        let answer = match find_command(request) {
            Ok(command) => session
                .cluster
                .permit_queued(ctx, place, (command, request))
                .and_then(|()| session.cluster.execute(ctx, place, command, request, &mut out, false)),
            Err(refusal) => Err(refusal),
        };
        match answer {
            Ok(Then::Sleep { .. }) => Reply::new(&mut out, is_resp3).ok(),
            Ok(_) => {}
            Err(refusal) => {
                out.clear();
                Reply::new(&mut out, is_resp3).error(&refusal.line());
            }
        }
        session.out.raw(&out);
    }
    // One of the commands may have deleted the user of this client.
    let closes = session.cluster.clients.list[place].is_closing;
    Ok(if closes { Then::Close } else { Then::Done })
}

pub(super) fn watch(session: &mut Session<'_>) -> Answer {
    let (place, id) = (session.client, session.id);
    let client = &mut session.cluster.clients.list[place];
    if client.transaction.is_some() {
        return Err(Refusal::text("ERR WATCH inside MULTI is not allowed"));
    }
    // A key whose time has come by now is deleted first: that it vanishes later changes nothing for the watcher.
    session.cluster.expire_watched(session.ctx, place, session.request.tail(1));
    let client = &mut session.cluster.clients.list[place];
    for key in session.request.tail(1) {
        let name = (client.database, Blob::from_slice(key));
        if !client.watched.contains(&name) {
            client.watched.push(name.clone());
            session.cluster.instances[id].interest.watched.entry(name).or_default().push(place);
        }
    }
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn unwatch(session: &mut Session<'_>) -> Answer {
    session.cluster.unwatch(session.client);
    session.out.ok();
    Ok(Then::Done)
}
