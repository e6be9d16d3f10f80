//! MONITOR: <https://redis.io/docs/latest/commands/monitor/>.

use super::{Answer, Session, Then};
use crate::error::Refusal;

/// From now on the connection sees every command that the instance executes.
pub(super) fn monitor(session: &mut Session<'_>) -> Answer {
    let client = &mut session.cluster.clients.list[session.client];
    if client.last_command() == "exec" {
        return Err(Refusal::text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    if std::mem::replace(&mut client.is_monitor, true) {
        // Redis does not answer a second MONITOR.
        return Ok(Then::Done);
    }
    session.cluster.instances[session.id].telemetry.monitors.push(session.client);
    session.out.ok();
    Ok(Then::Done)
}
