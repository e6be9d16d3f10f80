//! What an instance's stream is called and where it stands, as replicas are told.

use atoll_kernel::Context;

use crate::cluster::InstanceId;
use crate::core::Cluster;

impl Cluster {
    /// Gives a name to the history of every dataset that has none.
    pub(crate) fn name_histories(&mut self) {
        for (_, dataset) in &mut self.datasets {
            if dataset.feed.name.is_empty() {
                self.replication.histories += 1;
                let text = format!("{} {}", self.replication.seed, self.replication.histories);
                dataset.feed.name = sha1_smol::Sha1::from(text).digest().to_string();
            }
        }
    }

    /// `master_replid`: the name of the history that an instance is on.
    pub(crate) fn replication_name(&self, id: InstanceId) -> &str {
        self.instances[id].dataset.map_or("", |dataset| &self.datasets[dataset].feed.name)
    }

    /// `master_replid2` and `second_repl_offset`.
    pub(crate) fn previous_history(&self, id: InstanceId) -> Option<&(String, u64)> {
        self.datasets.get(self.instances[id].dataset?)?.feed.previous.as_ref()
    }

    /// `master_repl_offset`.
    pub(crate) fn offset_of(&self, id: InstanceId) -> u64 {
        let is_alone = !self.config.settings.is_cluster;
        let Some(dataset) = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset)) else { return 0 };
        dataset.feed.offset(dataset.position(id), is_alone)
    }

    /// How much of that is in its append-only file and on disk; None without one.
    pub(crate) fn synced_offset_of(&self, id: InstanceId) -> Option<u64> {
        let dataset = self.datasets.get(self.instances[id].dataset?)?;
        let synced = self.synced_position(id)?;
        // Of the history that it follows now nothing is on disk until its beginning is.
        let is_of_it = synced >= dataset.feed.adopted_at;
        Some(if is_of_it { dataset.feed.offset(synced, !self.config.settings.is_cluster) } else { 0 })
    }

    /// What was executed for a client is complete: it goes to replicas outside of the stack.
    #[inline]
    pub(crate) fn end_unit(&mut self, id: InstanceId, place: Option<usize>) {
        let Some(index) = self.instances[id].dataset else { return };
        let Some(dataset) = self.datasets.get_mut(index) else { return };
        if !dataset.feed.is_active() {
            return;
        }
        // What expires under a command that goes through all keys goes its own way.
        let client = place.and_then(|place| self.clients.list.get(place));
        dataset.feed.is_loose = client.is_some_and(|client| matches!(client.last_command(), "scan" | "randomkey"));
        if dataset.owner != id || self.scripts.is_busy(id) || !dataset.end_unit() {
            return;
        }
        self.replication.is_dirty = true;
        let position = dataset.position(id);
        if let Some(client) = place.and_then(|place| self.clients.list.get_mut(place)) {
            client.write_position = position;
        }
    }

    /// How many commands wait for the end of what an instance executes.
    pub(crate) fn stream_mark(&self, id: InstanceId) -> usize {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get(dataset));
        dataset.filter(|dataset| dataset.owner == id).map_or(0, |dataset| dataset.feed.mark())
    }

    /// Takes back what came since then.
    pub(crate) fn rewind_stream(&mut self, id: InstanceId, mark: usize) {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get_mut(dataset));
        if let Some(dataset) = dataset.filter(|dataset| dataset.owner == id) {
            dataset.feed.rewind(mark);
        }
    }

    /// A command that changes no key goes to replicas: a published message.
    pub(crate) fn stream_command(&mut self, id: InstanceId, database: usize, request: crate::wire::Request<'_>) {
        let dataset = self.instances[id].dataset.and_then(|dataset| self.datasets.get_mut(dataset));
        if let Some(dataset) = dataset.filter(|dataset| dataset.owner == id && dataset.feed.is_active()) {
            dataset.feed.queue(database, request.tail(0));
        }
    }

    /// Bytes that are no command of a client enter the stream of a dataset: a ping, or a request for acknowledgements.
    pub(super) fn stream_bytes(&mut self, ctx: &Context<'_>, index: usize, bytes: &[u8]) {
        let Some(dataset) = self.datasets.get_mut(index) else { return };
        if !dataset.feed.is_active() || dataset.feed.is_relayed || dataset.feed.mark() > 0 {
            return;
        }
        dataset.stream_raw(bytes);
        self.replication.is_dirty = true;
        if !dataset.is_lockstep {
            self.owed.push(dataset.owner);
        }
        self.schedule_disk_sync(ctx, index);
    }
}
