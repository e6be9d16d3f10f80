//! MONITOR: <https://redis.io/docs/latest/commands/monitor/>.

use std::io::Write;

use atoll_kernel::Context;

use super::redacted;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::ops::Command;
use crate::wire::Request;

/// A string as Redis quotes it.
pub(super) fn quote(line: &mut Vec<u8>, bytes: &[u8]) {
    line.push(b'"');
    for byte in bytes {
        match byte {
            b'\\' | b'"' => line.extend_from_slice(&[b'\\', *byte]),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0x07 => line.extend_from_slice(b"\\a"),
            0x08 => line.extend_from_slice(b"\\b"),
            b' '..=b'~' => line.push(*byte),
            // Writing into a vector cannot fail.
            _ => drop(write!(line, "\\x{byte:02x}")),
        }
    }
    line.push(b'"');
}

impl Cluster {
    /// A client sees no more commands.
    pub(crate) fn stop_monitoring(&mut self, place: usize) {
        let Some(client) = self.clients.list.get_mut(place).filter(|client| client.is_monitor) else { return };
        client.is_monitor = false;
        self.instances[client.instance].telemetry.monitors.retain(|other| *other != place);
    }

    /// Shows a command to those who watch an instance. Whoever does not read is disconnected when so much has piled up
    /// that no client may leave it unread.
    #[cold]
    pub(crate) fn feed_monitors(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        place: usize,
        command: &Command,
        request: Request<'_>,
    ) {
        let Some(client) = self.clients.list.get(place) else { return };
        let wall_ms = ctx.wall(self.instances[id].node).as_millis();
        let microseconds = wall_ms.rem_euclid(1000) * 1000 + (ctx.now().as_nanos() / 1000 % 1000) as i64;
        let from = match client.addresses {
            _ if client.in_script => "lua".to_owned(),
            Some((peer, _)) => peer.to_string(),
            None => "unix:".to_owned(),
        };
        let head = format!("+{}.{microseconds:06} [{} {from}]", wall_ms.div_euclid(1000), client.database);
        let mut line = head.into_bytes();
        let hidden = redacted(command, request);
        for (index, argument) in request.tail(0).enumerate() {
            line.push(b' ');
            quote(&mut line, if hidden.contains(&index) { b"(redacted)" } else { argument });
        }
        line.extend_from_slice(b"\r\n");
        for monitor in self.instances[id].telemetry.monitors.clone() {
            self.deliver_to(monitor, line.clone(), false, false);
        }
    }
}
