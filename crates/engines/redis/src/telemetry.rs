//! What an instance knows of its own work: calls and their durations, errors, slow commands, latency, monitors.
//!
//! - `commands.rs`: INFO commandstats and latencystats; `histogram.rs`: how durations are counted.
//! - `slowlog.rs`: SLOWLOG; `latency.rs`: LATENCY; `monitor.rs`: MONITOR; `redact.rs`: what none of them may show.
//!
//! A command costs one reading of the kernel's clock: it begins where the one before it ended, or with its batch.
//! Everything else is behind comparisons that hold only while somebody asked for it. In a simulation time stands still
//! during a call, so that durations there are zero, always.

mod commands;
mod histogram;
mod latency;
mod monitor;
mod redact;
mod slowlog;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atoll_kernel::{Context, Moment};

pub(crate) use commands::CommandStats;
pub(crate) use histogram::Histogram;
pub(crate) use latency::LatencyMonitor;
pub(crate) use redact::redacted;
pub(crate) use slowlog::SlowLog;

use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::error::Refusal;
use crate::ops::{Answer, Command, Flags, Then, number_of};
use crate::wire::Request;

/// How many kinds of errors are told apart. Scripts can make up as many as they like.
const ERRORS_MAX: usize = 128;
/// An error's code is looked for in so many bytes, as Redis does.
const CODE_LENGTH_MAX: usize = 32;
/// How often rates are sampled, and how many samples are kept.
const RATE_PERIOD: Duration = Duration::from_millis(100);
const RATE_SAMPLES: usize = 16;

/// What one instance counts.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    pub(crate) commands: CommandStats,
    pub(crate) errors: Errors,
    pub(crate) slowlog: SlowLog,
    pub(crate) latency: LatencyMonitor,
    /// Clients that see every command, in the order in which they asked for it.
    pub(crate) monitors: Vec<usize>,
    pub(crate) rates: Rates,
}

/// Replies that were errors, by their codes.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) by_code: BTreeMap<Vec<u8>, u64>,
    pub(crate) total: u64,
}

impl Errors {
    /// Counts an error; `line` begins with its code.
    pub(crate) fn count(&mut self, line: &[u8]) {
        self.total += 1;
        let head = &line[..line.len().min(CODE_LENGTH_MAX)];
        let code = head.iter().position(|byte| *byte == b' ').map_or(b"ERR".as_slice(), |end| &head[..end]);
        if let Some(count) = self.by_code.get_mut(code) {
            *count += 1;
        } else if self.by_code.len() < ERRORS_MAX {
            self.by_code.insert(code.to_vec(), 1);
        }
    }
}

/// Commands and bytes of the last second and a half, for rates.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    samples: VecDeque<Sample>,
    next_at: Moment,
}

/// Counts as they stood at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) at: Moment,
    pub(crate) commands: u64,
    pub(crate) input_bytes: u64,
    pub(crate) output_bytes: u64,
}

impl Rates {
    #[inline]
    fn is_due(&self, now: Moment) -> bool {
        now >= self.next_at
    }

    fn take(&mut self, sample: Sample) {
        self.next_at = sample.at + RATE_PERIOD;
        if self.samples.len() == RATE_SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What was counted per second, up to `present`: commands, bytes in, bytes out. Samples are taken when something is
    /// executed, so an instance at rest costs nothing; what is older than all samples together would be is left out.
    pub(crate) fn per_second(&self, present: Sample) -> (f64, f64, f64) {
        let window = RATE_PERIOD * RATE_SAMPLES as u32;
        let oldest = self.samples.iter().find(|sample| present.at.since(sample.at) <= window);
        let Some(oldest) = oldest else { return (0.0, 0.0, 0.0) };
        let seconds = present.at.since(oldest.at).max(RATE_PERIOD).as_secs_f64();
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        (
            rate(present.commands, oldest.commands),
            rate(present.input_bytes, oldest.input_bytes),
            rate(present.output_bytes, oldest.output_bytes),
        )
    }
}

/// A command that was executed.
pub(crate) struct Executed<'a> {
    pub(crate) place: usize,
    pub(crate) id: InstanceId,
    pub(crate) command: &'static Command,
    pub(crate) request: Request<'a>,
    pub(crate) began: Moment,
    /// How many errors there were before it began.
    pub(crate) errors_before: u64,
    /// False where a command that would wait gives up at once.
    pub(crate) may_block: bool,
    /// It was executed before, and has waited.
    pub(crate) is_again: bool,
}

impl Cluster {
    /// When a command that is executed now begins.
    #[inline]
    pub(crate) fn command_begins(&self, ctx: &Context<'_>) -> Moment {
        self.measured_at.max(ctx.now())
    }

    /// A command has been executed, or has begun to wait.
    #[inline]
    pub(crate) fn executed(&mut self, ctx: &Context<'_>, executed: &Executed<'_>, answer: &Answer, reply: &[u8]) {
        let Executed { place, id, command, .. } = *executed;
        self.measured_at = ctx.kernel().now();
        // DEBUG SLEEP takes as long as it says, though other instances go on meanwhile.
        let asleep = if let Ok(Then::Sleep { time }) = answer { *time } else { Duration::ZERO };
        let took = self.measured_at.since(executed.began) + asleep;
        let mut nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        match answer {
            Err(refusal) => self.count_error(id, refusal),
            Ok(_) if command.flags.has(Flags::SCRIPT) && reply.starts_with(b"-") => {
                self.count_script_error(executed, reply);
            }
            Ok(_) => {}
        }
        let has_failed = self.instances[id].telemetry.errors.total != executed.errors_before;
        let is_parked = executed.may_block && matches!(answer, Ok(then) if waits(then));
        if is_parked {
            if let Some(client) = self.clients.list.get_mut(place) {
                client.spent_ns += nanoseconds;
            }
        } else {
            if let Some(client) = self.clients.list.get_mut(place).filter(|_| executed.may_block) {
                nanoseconds += std::mem::take(&mut client.spent_ns);
            }
            self.count_call(id, command, nanoseconds, has_failed && answer_failed(answer, reply, command));
        }
        if nanoseconds >= self.config.settings.notable_ns {
            self.note_duration(ctx, executed, took, (!is_parked || !asleep.is_zero()).then_some(nanoseconds));
        }
        if !self.instances[id].telemetry.monitors.is_empty() && !executed.is_again {
            let is_shown = !command.flags.has(Flags::SKIP_MONITOR.or(Flags::ADMIN));
            if is_shown {
                self.feed_monitors(ctx, id, place, command, executed.request);
            }
        }
    }

    /// Counts a call that is over.
    #[inline]
    pub(crate) fn count_call(&mut self, id: InstanceId, command: &'static Command, nanoseconds: u64, has_failed: bool) {
        let now = self.measured_at;
        let instance = &mut self.instances[id];
        instance.stats.commands += 1;
        let row = instance.telemetry.commands.row(number_of(command));
        row.calls += 1;
        row.nanoseconds += nanoseconds;
        row.failed += u64::from(has_failed);
        if self.config.settings.latency_tracking {
            row.histogram.get_or_insert_default().record(nanoseconds);
        }
        if instance.telemetry.rates.is_due(now) {
            let sample = instance.sample(now);
            instance.telemetry.rates.take(sample);
        }
    }

    /// A command took long enough for somebody to want to know: `whole_ns` in all, unless it goes on.
    #[cold]
    fn note_duration(&mut self, ctx: &Context<'_>, executed: &Executed<'_>, took: Duration, whole_ns: Option<u64>) {
        let event = if executed.command.flags.has(Flags::FAST) { "fast-command" } else { "command" };
        self.note_latency(ctx, executed.id, event, took);
        if let Some(whole_ns) = whole_ns {
            self.log_slow(ctx, executed.id, executed.place, (executed.command, executed.request), whole_ns);
        }
    }

    /// Counts a refusal that a client is told.
    #[cold]
    pub(crate) fn count_error(&mut self, id: InstanceId, refusal: &Refusal) {
        self.instances[id].telemetry.errors.count(refusal.line().as_bytes());
    }

    /// A script's reply is an error: one that a command in it has made is counted already.
    #[cold]
    fn count_script_error(&mut self, executed: &Executed<'_>, reply: &[u8]) {
        let errors = &mut self.instances[executed.id].telemetry.errors;
        if errors.total == executed.errors_before {
            errors.count(&reply[1..]);
        }
    }

    /// A command was refused before it was executed.
    #[cold]
    pub(crate) fn count_rejected(&mut self, id: InstanceId, request: Request<'_>, refusal: &Refusal) {
        self.count_error(id, refusal);
        let named = crate::core::find_command(request).ok();
        if let Some(command) = named.or_else(|| crate::ops::lookup(request.arg(0))) {
            self.instances[id].telemetry.commands.row(number_of(command)).rejected += 1;
        }
    }

    /// A client's wait is over without its command having been executed again: counts the call. Which command it was,
    /// and how long it has been executed in all.
    pub(crate) fn wait_is_over(&mut self, place: usize, error: Option<&[u8]>) -> Option<(&'static Command, u64)> {
        let client = self.clients.list.get_mut(place)?;
        let (id, nanoseconds) = (client.instance, std::mem::take(&mut client.spent_ns));
        let command = client.last?;
        if let Some(line) = error {
            self.instances[id].telemetry.errors.count(line);
        }
        self.count_call(id, command, nanoseconds, error.is_some());
        Some((command, nanoseconds))
    }
}

/// True if a command goes on later.
fn waits(then: &Then) -> bool {
    match then {
        Then::Block(_)
        | Then::Wait { .. }
        | Then::WaitForSync { .. }
        | Then::Postpone
        | Then::Script
        | Then::Save { .. }
        | Then::Sleep { .. }
        | Then::UserFile { .. }
        | Then::Target => true,
        Then::Done | Then::Close => false,
    }
}

/// True if it is the command itself that has failed, and not another that it has executed.
fn answer_failed(answer: &Answer, reply: &[u8], command: &Command) -> bool {
    answer.is_err() || command.flags.has(Flags::SCRIPT) && reply.starts_with(b"-")
}
