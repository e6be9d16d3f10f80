//! SLOWLOG: <https://redis.io/docs/latest/commands/slowlog-get/>.

use std::collections::VecDeque;

use atoll_kernel::Context;

use super::redacted;
use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::ops::{Command, Flags};
use crate::wire::Request;

/// How much of a command is kept: so many arguments, and so much of each.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_LENGTH_MAX: usize = 128;

/// Commands that were slow, the newest first.
#[derive(Debug, Default)]
pub(crate) struct SlowLog {
    pub(crate) entries: VecDeque<SlowEntry>,
    next_number: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub(crate) struct SlowEntry {
    pub(crate) number: u64,
    /// In seconds since the Unix epoch, by the instance's clock.
    pub(crate) at_s: i64,
    pub(crate) microseconds: u64,
    pub(crate) arguments: Vec<Vec<u8>>,
    pub(crate) address: String,
    pub(crate) name: Vec<u8>,
}

impl SlowLog {
    /// Drops the oldest entries beyond `length`.
    pub(crate) fn trim(&mut self, length: usize) {
        self.entries.truncate(length);
    }
}

/// A request as far as it is kept.
fn trimmed(command: &Command, request: Request<'_>) -> Vec<Vec<u8>> {
    let hidden = redacted(command, request);
    let kept = request.len().min(ARGUMENTS_MAX);
    let is_cut = kept < request.len();
    let mut arguments = Vec::with_capacity(kept);
    for index in 0..kept {
        let argument = request.arg(index);
        arguments.push(match argument.len().checked_sub(ARGUMENT_LENGTH_MAX) {
            _ if is_cut && index + 1 == kept => {
                format!("... ({} more arguments)", request.len() - kept + 1).into_bytes()
            }
            _ if hidden.contains(&index) => b"(redacted)".to_vec(),
            Some(more @ 1..) => {
                [&argument[..ARGUMENT_LENGTH_MAX], format!("... ({more} more bytes)").as_bytes()].concat()
            }
            _ => argument.to_vec(),
        });
    }
    arguments
}

impl Cluster {
    /// Keeps a command that is over, if it was slow.
    pub(crate) fn log_slow(
        &mut self,
        ctx: &Context<'_>,
        id: InstanceId,
        place: usize,
        (command, request): (&'static Command, Request<'_>),
        nanoseconds: u64,
    ) {
        let settings = &self.config.settings;
        let is_slow = settings.slow_ns.is_some_and(|slow_ns| nanoseconds >= slow_ns);
        if !is_slow || settings.slowlog_length_max == 0 || command.flags.has(Flags::SKIP_SLOWLOG) {
            return;
        }
        let client = self.clients.list.get(place);
        let address = client.and_then(|client| client.addresses).map(|(peer, _)| peer.to_string()).unwrap_or_default();
        let name = client.map(|client| client.name.clone()).unwrap_or_default();
        let instance = &mut self.instances[id];
        let log = &mut instance.telemetry.slowlog;
        log.entries.push_front(SlowEntry {
            number: log.next_number,
            at_s: ctx.wall(instance.node).as_millis().div_euclid(1000),
            microseconds: nanoseconds / 1000,
            arguments: trimmed(command, request),
            address,
            name,
        });
        log.next_number += 1;
        log.trim(settings.slowlog_length_max);
    }
}
