//! Random histories against a model. Whatever was synced is there after a power failure; of the rest a prefix is there, in
//! order and unchanged; nothing is invented, and nothing that was truncated or removed comes back.

use atoll_kernel::Seed;
use atoll_kernel::disk::{Keep, MemoryDisk, Operation};
use proptest::collection::vec;
use proptest::prelude::*;

use super::open;
use crate::log::{Log, LogConfig, SyncJob};

#[derive(Clone, Debug)]
enum Step {
    Append {
        bytes: usize,
    },
    Flush,
    Sync,
    FailedSync,
    BeginSync,
    FinishSync,
    Roll,
    /// Cut behind this many per cent of the records.
    Truncate {
        percent: usize,
    },
    /// Remove this many per cent of the records from the front.
    Remove {
        percent: usize,
    },
    Kill,
    PowerLoss {
        seed: u64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..150usize).prop_map(|bytes| Step::Append { bytes }),
        3 => Just(Step::Flush),
        2 => Just(Step::Sync),
        1 => Just(Step::FailedSync),
        2 => Just(Step::BeginSync),
        2 => Just(Step::FinishSync),
        1 => Just(Step::Roll),
        1 => (0..=100usize).prop_map(|percent| Step::Truncate { percent }),
        1 => (0..=100usize).prop_map(|percent| Step::Remove { percent }),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(|seed| Step::PowerLoss { seed }),
    ]
}

/// What the log should hold: the records, each with its position, and how many of them are sure to survive what.
struct Model {
    records: Vec<(u64, Vec<u8>)>,
    start: u64,
    /// A start that is not yet durable: after a power failure it may be the old one.
    durable_start: u64,
    appended: u64,
}

struct Run {
    disk: MemoryDisk,
    config: LogConfig,
    log: Log,
    job: Option<SyncJob>,
    /// A sync has failed and none has succeeded since.
    suspect: bool,
    model: Model,
}

impl Run {
    fn new(config: LogConfig) -> Run {
        let disk = MemoryDisk::simulated();
        let log = open(&disk, config.clone());
        let model = Model { records: Vec::new(), start: 0, durable_start: 0, appended: 0 };
        Run { disk, config, log, job: None, suspect: false, model }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Append { bytes } => {
                self.model.appended += 1;
                let payload: Vec<u8> = self.model.appended.to_le_bytes().into_iter().cycle().take(bytes).collect();
                let position = self.log.append(0, &[&payload]).expect("appends");
                self.model.records.push((position, payload));
            }
            Step::Flush => self.log.flush().expect("flushes"),
            Step::Sync => {
                assert_eq!(self.log.sync(), Ok(self.log.end()));
                self.suspect = false;
                self.model.durable_start = self.model.start;
            }
            Step::FailedSync => {
                self.disk.switch().fail(Operation::Sync, true);
                // It succeeds if nothing was left to do.
                match self.log.sync() {
                    Ok(synced) => assert_eq!(synced, self.log.end()),
                    Err(_) => self.suspect = true,
                }
                self.disk.switch().fail(Operation::Sync, false);
            }
            Step::BeginSync => {
                if let Some(job) = self.log.begin_sync().expect("flushes") {
                    self.job = Some(job);
                }
            }
            Step::FinishSync => {
                if let Some(job) = self.job.take() {
                    // A failure is legal here: a sync in place may have failed since the job was begun.
                    let _ = self.log.finish_sync(job.run());
                }
            }
            Step::Roll => self.log.roll().expect("rolls"),
            Step::Truncate { percent } => {
                let kept = self.model.records.len() * percent / 100;
                let position = self.model.records.get(kept).map_or(self.log.end(), |(position, _)| *position);
                self.log.truncate(position).expect("cuts");
                self.model.records.truncate(kept);
            }
            Step::Remove { percent } => {
                let removed = self.model.records.len() * percent / 100;
                let position = self.model.records.get(removed).map_or(self.log.end(), |(position, _)| *position);
                self.log.remove_before(position).expect("removes");
                self.model.records.drain(..removed);
                self.model.start = position;
            }
            // A new process cannot know that a sync has failed in the old one, and that the operating system will not write what
            // it shows. What is left of the log then is no better than after a power failure (COVERAGE.md).
            Step::Kill if !self.suspect => {
                let flushed = self.log.flushed();
                self.reopen(flushed);
                assert_eq!(self.log.end(), flushed.max(self.log.start()));
            }
            Step::Kill => self.power_loss(0),
            Step::PowerLoss { seed } => self.power_loss(seed),
        }
        self.agrees();
    }

    fn power_loss(&mut self, seed: u64) {
        let synced = self.log.synced();
        let mut stream = Seed(seed).stream("power", 0);
        let torn = stream.one_in(2);
        self.disk.power_loss(if torn { Keep::Torn(&mut stream) } else { Keep::Synced });
        self.reopen(synced);
        self.suspect = false;
    }

    /// Opens the log as a new process would. The records before `sure` must be there.
    fn reopen(&mut self, sure: u64) {
        self.job = None;
        self.log = open(&self.disk, self.config.clone());
        let (start, end) = (self.log.start(), self.log.end());
        assert!(end >= sure, "the log ends at {end}, though it was durable up to {sure}");
        assert!((self.model.durable_start..=self.model.start).contains(&start), "the log begins at {start}");
        self.model.durable_start = start;
        self.model.records.retain(|(position, _)| *position < end);
        // A removal that was not durable is undone. The model has forgotten what was removed, so it is removed again.
        self.log.remove_before(self.model.start.min(end)).expect("removes");
        self.model.start = self.log.start();
    }

    fn agrees(&self) {
        assert_eq!(self.log.start(), self.model.start);
        let found: Vec<(u64, Vec<u8>)> = self
            .log
            .records(self.log.start())
            .map(|record| record.expect("readable"))
            .map(|record| (record.position, record.payload.to_vec()))
            .collect();
        assert_eq!(found, self.model.records);
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_log_agrees_with_its_model(steps in vec(step(), 1..120), segment_bytes in 60..600u64, buffer_bytes in 1..400usize) {
        let mut run = Run::new(LogConfig { segment_bytes, record_bytes_max: 4096, buffer_bytes });
        for step in &steps {
            run.step(step);
        }
    }

    #[test]
    fn any_bytes_can_be_opened(bytes in vec(any::<u8>(), 0..400), keep_header in any::<bool>()) {
        use atoll_kernel::disk::{Disk, Open};
        let disk = MemoryDisk::ephemeral();
        let mut log = open(&disk, LogConfig::default());
        log.append(0, &[b"first"]).expect("appends");
        log.flush().expect("flushes");
        drop(log);
        let file = disk.open("log/00000000000000000000.log", Open::Existing).expect("opens");
        file.write_at(if keep_header { 36 } else { 0 }, &bytes).expect("writes");
        if let Ok(log) = super::try_open(&disk, LogConfig::default()) {
            prop_assert!(super::payloads(&log).len() <= 1, "only one record was ever written");
        }
    }
}
