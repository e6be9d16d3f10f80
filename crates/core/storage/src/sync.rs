//! When to sync, and a thread that does it.

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use atoll_kernel::Moment;

use crate::log::{SyncJob, SyncOutcome};

/// When acknowledged records are made durable: after so many, after so long, or whenever the operating system likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPolicy {
    /// Sync when this many records are waiting (Kafka's `log.flush.interval.messages`). None: not for their number.
    pub records: Option<u64>,
    /// Sync when a record has waited this long (Kafka's `log.flush.interval.ms`). None: not for its age.
    pub interval: Option<Duration>,
}

impl SyncPolicy {
    /// Before anything is acknowledged (Redis's `appendfsync always`).
    pub const ALWAYS: SyncPolicy = SyncPolicy { records: Some(1), interval: None };
    /// Once a second (Redis's `appendfsync everysec`).
    pub const EVERY_SECOND: SyncPolicy = SyncPolicy { records: None, interval: Some(Duration::from_secs(1)) };
    /// When the operating system likes (Redis's `appendfsync no`, Kafka's default).
    pub const NEVER: SyncPolicy = SyncPolicy { records: None, interval: None };

    /// Whether an acknowledgement has to wait for the sync.
    pub fn is_always(self) -> bool {
        self.records.is_some_and(|records| records <= 1)
    }

    /// The policy that Redis calls `always`, `everysec` or `no`.
    pub fn from_appendfsync(name: &str) -> Option<SyncPolicy> {
        match name {
            "always" => Some(SyncPolicy::ALWAYS),
            "everysec" => Some(SyncPolicy::EVERY_SECOND),
            "no" => Some(SyncPolicy::NEVER),
            _ => None,
        }
    }
}

/// Says when a log's next sync is due. Plain data: the caller brings the time.
#[derive(Clone, Debug)]
pub struct SyncSchedule {
    policy: SyncPolicy,
    waiting: u64,
    oldest: Option<Moment>,
}

impl SyncSchedule {
    /// The schedule of a log with nothing to sync.
    pub fn new(policy: SyncPolicy) -> SyncSchedule {
        SyncSchedule { policy, waiting: 0, oldest: None }
    }

    /// Another policy from now on (`CONFIG SET appendfsync`).
    pub fn set_policy(&mut self, policy: SyncPolicy) {
        self.policy = policy;
    }

    /// The policy in force.
    pub fn policy(&self) -> SyncPolicy {
        self.policy
    }

    /// So many records were appended.
    pub fn appended(&mut self, now: Moment, records: u64) {
        if records > 0 {
            self.waiting += records;
            self.oldest.get_or_insert(now);
        }
    }

    /// A sync of all that was appended so far has begun. If it fails, say [`SyncSchedule::appended`] again.
    pub fn begun(&mut self) {
        self.waiting = 0;
        self.oldest = None;
    }

    /// Whether a sync should begin now.
    pub fn is_due(&self, now: Moment) -> bool {
        let enough = self.policy.records.is_some_and(|records| self.waiting >= records.max(1));
        enough || self.next_wake().is_some_and(|wake| wake <= now)
    }

    /// When a sync becomes due by age, if nothing more is appended.
    pub fn next_wake(&self) -> Option<Moment> {
        Some(self.oldest? + self.policy.interval?)
    }
}

/// A thread that runs sync jobs one after the other and reports each outcome. It takes at most one job of each log, since a log
/// gives no second one before the first is finished, so its queue needs no other limit.
///
/// Dropping it waits until all jobs are done and reported.
pub struct Syncer {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<thread::JoinHandle<()>>,
}

type Work = (SyncJob, Box<dyn FnOnce(SyncOutcome) + Send>);

impl Syncer {
    /// Starts the thread, which bears `name`. The error is the operating system's: it has no thread to give.
    pub fn start(name: &str) -> std::io::Result<Syncer> {
        let (work, jobs) = mpsc::channel::<Work>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            for (job, report) in jobs {
                report(job.run());
            }
        })?;
        Ok(Syncer { work: Some(work), thread: Some(thread) })
    }

    /// Has a job done, and then calls `report` on the syncer's thread: it sends the outcome to the loop that owns the log, which
    /// gives it to [`Log::finish_sync`](crate::Log::finish_sync).
    pub fn submit(&self, job: SyncJob, report: impl FnOnce(SyncOutcome) + Send + 'static) {
        let unsent = match &self.work {
            Some(work) => work.send((job, Box::new(report))).err(),
            None => None,
        };
        // The thread is gone only if a report panicked. Better to block here than to never sync again.
        if let Some(mpsc::SendError((job, report))) = unsent {
            report(job.run());
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Syncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Syncer").finish_non_exhaustive()
    }
}
