//! Full synchronisations: a snapshot is written while the data changes, and goes to all replicas that waited for it.

use std::time::Duration;

use atoll_kernel::{Context, Moment};

use super::replicas::Stage;
use crate::cluster::{InstanceId, Run};
use crate::core::Cluster;
use crate::rdb::{self, Options, Writer};
use crate::state::Dataset;
use crate::state::snapshot::{PAUSE, SLICE, next_slice};

/// How much of a snapshot a replica may be behind with reading it.
const UNREAD_MAX: u64 = 8 << 20;
/// A snapshot that cannot begin yet is tried again so much later.
const RETRY: Duration = Duration::from_millis(50);

/// A snapshot for replicas of one instance, awaited or under way.
#[derive(Debug)]
pub(crate) struct Sync {
    id: InstanceId,
    clients: Vec<usize>,
    due: Moment,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shard: usize,
    began: Moment,
    /// What ends the snapshot for those who are not told its length.
    mark: String,
    /// All of it so far, for those who are.
    whole: Option<Vec<u8>>,
}

impl Sync {
    /// A client is no more.
    pub(super) fn forget(&mut self, place: usize) {
        self.clients.retain(|other| *other != place);
    }
}

impl Cluster {
    /// A replica is to be sent a snapshot: with the next one, which begins a while later if it can take it as a stream, so
    /// that others may join.
    pub(super) fn await_snapshot(&mut self, ctx: &Context<'_>, place: usize) {
        let id = self.clients.list[place].instance;
        let is_streamed = self.config.settings.syncs_diskless;
        let delay = self.config.settings.full_sync_delay;
        let Some(replica) = self.clients.list[place].replica.as_deref_mut() else { return };
        replica.stage = Stage::Waiting;
        if replica.without_data {
            self.send_functions(ctx, place);
            return;
        }
        let waits = replica.takes_stream && is_streamed;
        let due = if waits { ctx.now() + delay } else { ctx.now() };
        let syncs = &mut self.replication.syncs;
        match syncs.iter_mut().find(|sync| sync.id == id && sync.running.is_none()) {
            Some(sync) => {
                sync.clients.push(place);
                sync.due = sync.due.min(due);
            }
            None => syncs.push(Sync { id, clients: vec![place], due, running: None }),
        }
    }

    /// Goes on with the snapshots that are under way, and begins those that are due.
    pub(crate) fn advance_snapshots(&mut self, ctx: &Context<'_>) {
        if self.replication.syncs.iter().all(|sync| sync.due > ctx.now()) {
            return;
        }
        for mut sync in std::mem::take(&mut self.replication.syncs) {
            sync.clients.retain(|place| {
                let replica = self.replica(*place);
                replica.is_some_and(|replica| matches!(replica.stage, Stage::Waiting | Stage::Loading))
                    && self.replication.attached.contains(place)
            });
            if sync.due <= ctx.now() {
                self.advance_snapshot(ctx, &mut sync);
            }
            let is_over = sync.clients.is_empty();
            if let Some(running) = sync.running.as_ref().filter(|_| is_over) {
                if let Some(dataset) = self.datasets.get_mut(running.shard) {
                    dataset.abandon_snapshot();
                }
            } else if !is_over {
                self.replication.syncs.push(sync);
            }
        }
    }

    fn advance_snapshot(&mut self, ctx: &Context<'_>, sync: &mut Sync) {
        let Some(mut running) = sync.running.take() else {
            sync.running = self.begin_snapshot(ctx, sync);
            sync.due = ctx.now() + if sync.running.is_some() { PAUSE } else { RETRY };
            return;
        };
        let is_behind = |place: &usize| self.replica(*place).is_some_and(|replica| replica.unwritten > UNREAD_MAX);
        if sync.clients.iter().any(is_behind) {
            sync.running = Some(running);
            sync.due = ctx.now() + PAUSE;
            return;
        }
        let Some(dataset) = self.datasets.get_mut(running.shard) else {
            sync.clients.drain(..).for_each(|place| self.drop_replica(place));
            return;
        };
        let (bytes, is_last) = dataset.continue_snapshot(SLICE);
        for place in &sync.clients {
            if self.takes_stream(*place) {
                self.deliver_to_replica(*place, bytes.clone());
            }
        }
        if let Some(whole) = &mut running.whole {
            whole.extend_from_slice(&bytes);
        }
        sync.due = next_slice(ctx);
        if is_last {
            let clients = std::mem::take(&mut sync.clients);
            clients.into_iter().for_each(|place| self.end_snapshot(place, &running));
        } else {
            sync.running = Some(running);
        }
    }

    fn takes_stream(&self, place: usize) -> bool {
        let is_streamed = self.config.settings.syncs_diskless;
        is_streamed && self.replica(place).is_some_and(|replica| replica.takes_stream)
    }

    /// Begins a snapshot, if the instance stands where its data does and no other is being written.
    fn begin_snapshot(&mut self, ctx: &Context<'_>, sync: &Sync) -> Option<Running> {
        let id = sync.id;
        let shard = self.instances[id].dataset?;
        let dataset = self.datasets.get(shard)?;
        let is_level = dataset.position(id) == dataset.offset && self.instances[id].run == Run::Up;
        if !is_level || self.is_saving(shard) || self.scripts.is_busy(dataset.owner) {
            return None;
        }
        self.replication.syncs_begun += 1;
        let mark = crate::cluster::hex_name(ctx, "redis.snapshot", self.replication.syncs_begun);
        let (options, mut facts) = (self.replica_options(), self.rdb_facts(ctx));
        let counts_from_zero = !self.config.settings.is_cluster;
        let dataset = self.datasets.get_mut(shard)?;
        dataset.feed.activate(dataset.offset, counts_from_zero);
        let offset = dataset.feed.offset(dataset.offset, counts_from_zero);
        facts.push(("repl-stream-db", dataset.feed.selected().unwrap_or(0).to_string()));
        facts.push(("repl-id", dataset.feed.name.clone()));
        facts.push(("repl-offset", offset.to_string()));
        dataset.feed.select_anew();
        dataset.begin_snapshot(options, &facts);
        let (position, forks, name) = (dataset.offset, dataset.feed.forks, dataset.feed.name.clone());
        let mut whole = None;
        for place in sync.clients.clone() {
            let is_streamed = self.takes_stream(place);
            let Some(replica) = self.replica_mut(place) else { continue };
            replica.stage = Stage::Loading;
            (replica.sent, replica.dataset, replica.forks) = (position, shard, forks);
            let mut line = if replica.is_old { String::new() } else { format!("+FULLRESYNC {name} {offset}\r\n") };
            if is_streamed {
                line.push_str(&format!("$EOF:{mark}\r\n"));
            } else {
                whole = Some(Vec::new());
            }
            self.deliver_to_replica(place, line.into_bytes());
        }
        Some(Running { shard, began: ctx.now(), mark, whole })
    }

    /// A replica has been sent all of a snapshot, but for what frames it.
    fn end_snapshot(&mut self, place: usize, running: &Running) {
        let is_streamed = self.takes_stream(place);
        let Some(replica) = self.replica_mut(place) else { return };
        // What follows a snapshot of unknown length must not come in one piece with its end.
        replica.stage = if is_streamed { Stage::Loaded } else { Stage::Online };
        let closes = replica.wants_snapshot_only;
        let bytes = match &running.whole {
            Some(whole) if !is_streamed => [format!("${}\r\n", whole.len()).as_bytes(), whole].concat(),
            _ => running.mark.clone().into_bytes(),
        };
        self.replication.is_dirty = true;
        if closes {
            self.dismiss_replica(place, bytes);
        } else {
            self.deliver_to_replica(place, bytes);
        }
    }

    /// The last bytes for a replica that wants no more.
    fn dismiss_replica(&mut self, place: usize, bytes: Vec<u8>) {
        self.replication.attached.retain(|other| *other != place);
        self.deliver_to(place, bytes, false, true);
    }

    /// A snapshot without keys, at once.
    fn send_functions(&mut self, ctx: &Context<'_>, place: usize) {
        let id = self.clients.list[place].instance;
        let Some(shard) = self.instances[id].dataset else { return };
        self.replication.syncs_begun += 1;
        let mark = crate::cluster::hex_name(ctx, "redis.snapshot", self.replication.syncs_begun);
        let mut writer = Writer::new(self.replica_options(), &self.rdb_facts(ctx));
        let counts_from_zero = !self.config.settings.is_cluster;
        let is_empty = self.replica(place).is_some_and(|replica| replica.without_functions);
        let dataset: &mut Dataset = &mut self.datasets[shard];
        for library in dataset.libraries.list.values().filter(|_| !is_empty) {
            writer.function(&library.code);
        }
        let position = dataset.position(id);
        dataset.feed.activate(dataset.offset, counts_from_zero);
        dataset.feed.select_anew();
        let (name, offset) = (dataset.feed.name.clone(), dataset.feed.offset(position, counts_from_zero));
        let Some(replica) = self.replica_mut(place) else { return };
        (replica.stage, replica.sent) = (Stage::Loaded, position);
        let (is_old, is_enough) = (replica.is_old, replica.wants_snapshot_only);
        let line = if is_old { String::new() } else { format!("+FULLRESYNC {name} {offset}\r\n") };
        let mut bytes = format!("{line}$EOF:{mark}\r\n").into_bytes();
        bytes.extend_from_slice(&writer.finish());
        bytes.extend_from_slice(mark.as_bytes());
        if is_enough {
            self.dismiss_replica(place, bytes);
        } else {
            self.deliver_to_replica(place, bytes);
        }
    }

    /// How a snapshot for replicas is written: so that Redis 7.0 can read it as well.
    fn replica_options(&self) -> Options {
        Options { version: rdb::REPLICA_VERSION, ..self.rdb_options() }
    }

    /// When a snapshot of a shard for replicas that is under way began.
    pub(crate) fn replica_snapshot_began(&self, shard: usize) -> Option<Moment> {
        let running = self.replication.syncs.iter().filter_map(|sync| sync.running.as_ref());
        running.filter(|running| running.shard == shard).map(|running| running.began).next()
    }

    /// When replicas need something.
    pub(crate) fn next_replica_wake(&self) -> Option<Moment> {
        let syncs = self.replication.syncs.iter().map(|sync| sync.due);
        syncs.chain(self.replication.next_tick).min()
    }
}
