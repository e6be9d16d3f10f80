//! SAVE, BGSAVE and `save` points: snapshots leave the core in parts, and whoever writes them says when they are durable.

use atoll_kernel::{Context, Moment};

use super::Cluster;
use crate::clients::BlockedOn;
use crate::cluster::slots::slot_of;
use crate::cluster::{InstanceId, Run};
use crate::error::Refusal;
use crate::rdb::{Damage, Item, Options, Reader, Usage};
use crate::state::snapshot::{SLICE, next_slice};
use crate::state::{Dataset, LastUse, UsageClock};
use crate::wire::{OwnedRequest, Reply};

/// How much of a snapshot may be on its way to the disk, in bytes. The thread that writes it has some hundred microseconds' work with
/// that: where it shares the core, it is not in the way until the operating system's next tick.
const IN_FLIGHT_MAX: usize = 512 << 10;
/// After a failure the next attempt comes no sooner.
const RETRY_DELAY: std::time::Duration = std::time::Duration::from_secs(5);

/// A part of a shard's snapshot, on its way to a file.
#[derive(Debug)]
pub struct SavePart {
    /// Which shard.
    pub shard: usize,
    /// Whether a new file begins with it.
    pub is_first: bool,
    /// Whether the file ends with it. [`Cluster::save_ended`] is to be called once it is durable, or has failed.
    pub is_last: bool,
    /// What is to be appended.
    pub bytes: Vec<u8>,
}

/// A snapshot that is under way.
#[derive(Debug)]
pub(crate) struct Save {
    shard: usize,
    changes: u64,
    began: Moment,
    /// All of it has left the core.
    is_written: bool,
    has_begun: bool,
}

/// Snapshots that are under way, and what has left the core of them.
#[derive(Debug, Default)]
pub(crate) struct Saving {
    running: Vec<Save>,
    parts: Vec<SavePart>,
    in_flight: usize,
    /// When the next slice is due.
    next_slice: Moment,
    /// When each shard's last attempt began.
    attempted: std::collections::BTreeMap<usize, Moment>,
}

/// Why a snapshot cannot be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// The file is damaged.
    Damage(Damage),
    /// It has a database that this server does not have.
    NoSuchDatabase(u64),
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Damage(damage) => write!(f, "{damage}"),
            LoadError::NoSuchDatabase(index) => {
                write!(f, "it has a database {index}, and `databases` does not allow for it")
            }
        }
    }
}

impl std::error::Error for LoadError {}

impl From<Damage> for LoadError {
    fn from(damage: Damage) -> LoadError {
        LoadError::Damage(damage)
    }
}

impl Cluster {
    /// The dataset of an instance, by the number that its files bear.
    fn shard_of(&self, id: InstanceId) -> Result<usize, Refusal> {
        self.instances[id].dataset.ok_or(Refusal::text("LOADING Redis is loading the dataset in memory"))
    }

    /// Begins a snapshot of what an instance has.
    pub(crate) fn begin_save(&mut self, ctx: &Context<'_>, id: InstanceId) -> Result<(), Refusal> {
        let shard = self.shard_of(id)?;
        if self.is_saving(shard) {
            return Err(Refusal::text("ERR Background save already in progress"));
        }
        let (options, facts) = (self.rdb_options(), self.rdb_facts(ctx));
        let changes = self.datasets[shard].begin_snapshot(options, &facts);
        self.saving.next_slice = ctx.now();
        self.saving.attempted.insert(shard, ctx.now());
        let save = Save { shard, changes, began: ctx.now(), is_written: false, has_begun: false };
        self.saving.running.push(save);
        Ok(())
    }

    pub(crate) fn is_saving(&self, shard: usize) -> bool {
        self.saving.running.iter().any(|save| save.shard == shard) || self.replica_snapshot_began(shard).is_some()
    }

    /// When a snapshot of this shard that is under way began.
    pub(crate) fn save_began(&self, shard: usize) -> Option<Moment> {
        let to_file = self.saving.running.iter().find(|save| save.shard == shard).map(|save| save.began);
        to_file.or_else(|| self.replica_snapshot_began(shard))
    }

    pub(crate) fn rdb_options(&self) -> Options {
        let settings = &self.config.settings;
        Options {
            compresses: settings.dumps_compressed,
            has_checksum: settings.dumps_checked,
            version: crate::rdb::VERSION,
        }
    }

    /// What a file says of its writer, as Redis does.
    pub(crate) fn rdb_facts(&self, ctx: &Context<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("redis-ver", crate::VERSION.to_owned()),
            ("redis-bits", usize::BITS.to_string()),
            ("ctime", (ctx.kernel().wall().as_millis() / 1000).to_string()),
            ("used-mem", "0".to_owned()),
            ("aof-base", "0".to_owned()),
        ]
    }

    /// SAVE: the client is answered when the snapshot is durable.
    pub(super) fn park_on_save(&mut self, place: usize, shard: usize) {
        self.clients.block(place, BlockedOn::Save { shard }, None);
    }

    /// Goes on with snapshots that are under way, and begins those that `save` points ask for.
    pub(super) fn save_some(&mut self, ctx: &Context<'_>) {
        if !self.config.settings.save_points.is_empty() {
            self.begin_due_saves(ctx);
        }
        if ctx.now() < self.saving.next_slice || self.saving.running.is_empty() {
            return;
        }
        for index in 0..self.saving.running.len() {
            let save = &mut self.saving.running[index];
            if save.is_written || self.saving.in_flight >= IN_FLIGHT_MAX {
                continue;
            }
            let Some(dataset) = self.datasets.get_mut(save.shard) else {
                save.is_written = true;
                continue;
            };
            let (bytes, is_last) = dataset.continue_snapshot(SLICE);
            let is_first = !std::mem::replace(&mut save.has_begun, true);
            save.is_written = is_last;
            self.saving.in_flight += bytes.len();
            self.saving.parts.push(SavePart { shard: save.shard, is_first, is_last, bytes });
        }
        self.saving.next_slice = next_slice(ctx);
    }

    /// Parts of snapshots, in order.
    pub fn take_save_parts(&mut self) -> Vec<SavePart> {
        std::mem::take(&mut self.saving.parts)
    }

    /// The bytes of a part have reached a file.
    pub fn save_written(&mut self, bytes: &[u8]) {
        self.saving.in_flight = self.saving.in_flight.saturating_sub(bytes.len());
    }

    /// A shard's snapshot is durable, or has failed.
    pub fn save_ended(&mut self, ctx: &Context<'_>, shard: usize, is_good: bool) {
        let Some(index) = self.saving.running.iter().position(|save| save.shard == shard) else { return };
        let save = self.saving.running.remove(index);
        if let Some(dataset) = self.datasets.get_mut(shard) {
            dataset.abandon_snapshot();
            let now_s = ctx.kernel().wall().as_millis() / 1000;
            dataset.saves.ended(save.changes, is_good, now_s, ctx.now().since(save.began).as_secs());
        }
        let waits = |place: &usize| {
            let blocked = self.clients.list[*place].blocked.as_ref();
            blocked.is_some_and(|blocked| matches!(blocked.on, BlockedOn::Save { shard: other } if other == shard))
        };
        let places: Vec<usize> = self.clients.list.iter().map(|(place, _)| place).filter(waits).collect();
        for place in places {
            self.clients.unblock(place);
            let mut out = Vec::new();
            let mut reply = Reply::new(&mut out, false);
            if is_good {
                reply.ok()
            } else {
                reply.error("ERR")
            }
            self.wait_is_over(place, out.strip_prefix(b"-"));
            self.deliver_to(place, out, true, false);
        }
    }

    fn begin_due_saves(&mut self, ctx: &Context<'_>) {
        for (shard, at) in self.save_times() {
            if at <= ctx.now() {
                let owner = self.datasets[shard].owner;
                // It can only be refused because one is under way, and then there is nothing to begin.
                let _ = self.begin_save(ctx, owner);
            }
        }
    }

    /// When `save` points ask for the next snapshot of each shard.
    fn save_times(&self) -> Vec<(usize, Moment)> {
        let time = |(shard, dataset): (usize, &Dataset)| {
            let is_idle = self.instances[dataset.owner].run == Run::Up && !self.is_saving(shard);
            let seconds =
                self.config.settings.save_points.iter().filter(|(_, changes)| dataset.saves.changes >= *changes);
            let seconds =
                seconds.map(|(seconds, _)| *seconds).min().filter(|_| is_idle && dataset.saves.changes > 0)?;
            let due_ms =
                (dataset.saves.succeeded_at_s.saturating_add(i64::try_from(seconds).ok()?)).saturating_mul(1000);
            let due_ms = due_ms.saturating_sub(self.wall_offset_ms);
            let due = Moment::from_millis(u64::try_from(due_ms).unwrap_or(0));
            let retry =
                self.saving.attempted.get(&shard).filter(|_| dataset.saves.has_failed).map(|at| *at + RETRY_DELAY);
            Some((shard, due.max(retry.unwrap_or(Moment::ZERO))))
        };
        self.datasets.iter().filter_map(time).collect()
    }

    /// When [`Cluster::save_some`] has something to do.
    pub(super) fn next_save(&self) -> Option<Moment> {
        let goes_on = self.saving.in_flight < IN_FLIGHT_MAX && self.saving.running.iter().any(|save| !save.is_written);
        let slice = goes_on.then_some(self.saving.next_slice);
        if self.config.settings.save_points.is_empty() {
            return slice;
        }
        self.save_times().into_iter().map(|(_, at)| at).chain(slice).min()
    }

    /// The whole of every shard at once, for the moment before the end: number and file.
    pub fn snapshots(&self, ctx: &Context<'_>) -> Vec<(usize, Vec<u8>)> {
        let (options, facts) = (self.rdb_options(), self.rdb_facts(ctx));
        self.datasets.iter().map(|(shard, dataset)| (shard, dataset.write_whole(options, &facts))).collect()
    }

    /// True if `save` points are set.
    pub fn has_save_points(&self) -> bool {
        !self.config.settings.save_points.is_empty()
    }

    /// Loads a file into a shard; without a number each key goes to the shard that has its slot. Returns how many keys
    /// there were. Keys that have expired are left out.
    pub fn load_snapshot(&mut self, ctx: &Context<'_>, shard: Option<usize>, file: &[u8]) -> Result<usize, LoadError> {
        let mut reader = Reader::new(file, self.config.settings.thresholds)?;
        let now_ms = ctx.kernel().wall().as_millis();
        let counts = self.config.settings.eviction.counts();
        let clock = UsageClock { now_ms, counts, ..UsageClock::default() };
        let (mut database, mut loaded) = (0, 0);
        while let Some(item) = reader.next_item()? {
            match item {
                Item::Fact(..) => {}
                Item::Function(code) => self.load_library(shard, &code),
                Item::Database(index) => {
                    database = usize::try_from(index).unwrap_or(usize::MAX);
                    if database >= self.config.settings.databases {
                        return Err(LoadError::NoSuchDatabase(index));
                    }
                }
                Item::Key(record) => {
                    if record.entry.is_expired(now_ms) {
                        continue;
                    }
                    let home = shard.or_else(|| self.home_of(&record.key));
                    let Some(dataset) = home.and_then(|shard| self.datasets.get_mut(shard)) else { continue };
                    let last_use = match record.usage {
                        Usage::Idle(seconds) if !clock.counts => {
                            LastUse::idle_for(&clock, i64::try_from(seconds).unwrap_or(i64::MAX))
                        }
                        Usage::Frequency(frequency) if clock.counts => LastUse::with_frequency(&clock, frequency),
                        Usage::Unknown | Usage::Idle(_) | Usage::Frequency(_) => LastUse::now(&clock),
                    };
                    let mut entry = record.entry;
                    entry.last_use = last_use;
                    dataset.databases[database].insert(&record.key, entry);
                    dataset.databases[database].account(&record.key);
                    loaded += 1;
                }
            }
        }
        for (_, dataset) in &mut self.datasets {
            dataset.saves.succeeded_at_s = now_ms / 1000;
        }
        Ok(loaded)
    }

    /// A library of functions; one that cannot be loaded is left out.
    fn load_library(&mut self, shard: Option<usize>, code: &[u8]) {
        let owners: Vec<InstanceId> = self
            .datasets
            .iter()
            .filter(|(index, _)| shard.is_none_or(|shard| shard == *index))
            .map(|(_, set)| set.owner)
            .collect();
        for owner in owners {
            let request = OwnedRequest::new([b"FUNCTION".as_slice(), b"LOAD", code]);
            crate::ops::restore_libraries(self, owner, request.as_request());
        }
    }

    /// The dataset that a key belongs to, as the cluster was laid out at the start.
    fn home_of(&self, key: &[u8]) -> Option<usize> {
        if !self.config.settings.is_cluster {
            return self.instances.first().and_then(|instance| instance.dataset);
        }
        let owner = self.instances.first()?.view.owner(slot_of(key))?;
        self.instances[owner].dataset
    }
}
