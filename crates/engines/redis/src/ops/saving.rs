//! SAVE, BGSAVE, LASTSAVE: <https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/>.

use super::{Answer, Session, Then, is};
use crate::error::Refusal;

/// Answered when the snapshot is durable. Other clients need not wait for that, as they would with Redis.
pub(super) fn save(session: &mut Session<'_>) -> Answer {
    session.cluster.begin_save(session.ctx, session.id)?;
    let shard = session.cluster.instances[session.id].dataset.unwrap_or_default();
    Ok(Then::Save { shard })
}

pub(super) fn bgsave(session: &mut Session<'_>) -> Answer {
    let is_known = session.request.len() == 1 || (session.request.len() == 2 && is(session.arg(1), "SCHEDULE"));
    if !is_known {
        return Err(Refusal::Syntax);
    }
    session.cluster.begin_save(session.ctx, session.id)?;
    session.out.raw(b"+Background saving started\r\n");
    Ok(Then::Done)
}

pub(super) fn lastsave(session: &mut Session<'_>) -> Answer {
    let cluster = &session.cluster;
    let instance = &cluster.instances[session.id];
    let saved_at = instance.dataset.map_or(0, |dataset| cluster.datasets[dataset].saves.succeeded_at_s);
    session.out.integer(saved_at);
    Ok(Then::Done)
}
