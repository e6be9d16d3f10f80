//! LATENCY: what has kept an instance busy for longer than it should.
//! <https://redis.io/docs/latest/operate/oss_and_stack/management/optimization/latency-monitor/>

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use atoll_kernel::Context;

use crate::cluster::InstanceId;
use crate::core::Cluster;

/// How many samples of an event are kept.
const SAMPLES_MAX: usize = 160;

/// Events by their names.
#[derive(Debug, Default)]
pub(crate) struct LatencyMonitor {
    pub(crate) events: BTreeMap<&'static str, Series>,
}

/// The samples of one event, the newest last: at most one for each second, the worst.
#[derive(Clone, Debug, Default)]
pub(crate) struct Series {
    /// Seconds since the Unix epoch, and milliseconds.
    pub(crate) samples: VecDeque<(i64, u64)>,
    pub(crate) worst_ms: u64,
}

/// What can be said about a series.
pub(crate) struct Analysis {
    pub(crate) average_ms: u64,
    /// The mean of the distances from the average.
    pub(crate) deviation_ms: u64,
    /// How long ago the oldest sample is, at least a second.
    pub(crate) period_s: i64,
}

impl Series {
    fn add(&mut self, at_s: i64, milliseconds: u64) {
        self.worst_ms = self.worst_ms.max(milliseconds);
        if let Some((last_s, last_ms)) = self.samples.back_mut().filter(|(last_s, _)| *last_s == at_s) {
            debug_assert_eq!(*last_s, at_s);
            *last_ms = milliseconds.max(*last_ms);
            return;
        }
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((at_s, milliseconds));
    }

    pub(crate) fn analyse(&self, now_s: i64) -> Analysis {
        let count = (self.samples.len() as u64).max(1);
        let average_ms = self.samples.iter().map(|(_, ms)| ms).sum::<u64>() / count;
        let deviation_ms = self.samples.iter().map(|(_, ms)| ms.abs_diff(average_ms)).sum::<u64>() / count;
        let oldest_s = self.samples.iter().map(|(at_s, _)| *at_s).min().unwrap_or(now_s);
        Analysis { average_ms, deviation_ms, period_s: (now_s - oldest_s).max(1) }
    }
}

impl Cluster {
    /// Keeps what an event took, if that is monitored and was long.
    pub(crate) fn note_latency(&mut self, ctx: &Context<'_>, id: InstanceId, event: &'static str, took: Duration) {
        let threshold_ms = self.config.settings.latency_threshold_ms;
        let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if threshold_ms == 0 || milliseconds < threshold_ms {
            return;
        }
        let instance = &mut self.instances[id];
        let at_s = ctx.wall(instance.node).as_millis().div_euclid(1000);
        instance.telemetry.latency.events.entry(event).or_default().add(at_s, milliseconds);
    }
}
