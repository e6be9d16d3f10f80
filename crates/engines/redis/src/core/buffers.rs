//! What clients take: requests that have not been read to their end, replies that have not been written, transactions;
//! and `maxmemory-clients`, which disconnects the largest of them.

use super::Cluster;
use crate::clients::{Client, ConnId};
use crate::cluster::InstanceId;
use crate::config::MemoryLimit;

impl Client {
    /// What it takes now.
    pub(crate) fn memory(&self) -> u64 {
        let queued = self.transaction.as_ref().map_or(0, |queued| queued.size);
        // What it has still to read is in the buffer for replies as far as it is being written, and on top of it otherwise.
        let output = self.output_bytes.max(self.output);
        (size_of::<Client>() + self.input_bytes + output + queued + self.name.len()) as u64
    }
}

impl Cluster {
    /// The sizes of a connection's buffers: of what was read, and of what is to be written.
    pub(crate) fn note_buffers(&mut self, conn: ConnId, input_bytes: usize, output_bytes: usize) {
        if let Some(client) = self.clients.get_mut(conn) {
            (client.input_bytes, client.output_bytes) = (input_bytes, output_bytes);
            self.recount(conn.place);
        }
    }

    /// Says how many bytes wait for a client to read them.
    pub(crate) fn note_output(&mut self, conn: ConnId, bytes: usize) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let most = std::mem::replace(&mut client.output, bytes).max(bytes);
        if most > client.output_bytes {
            self.recount(conn.place);
        }
    }

    /// A client is being disconnected because it does not read: it counts no more.
    pub(crate) fn give_up_on(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.is_closing = true;
        }
    }

    /// Counts a client as what it takes now.
    pub(super) fn recount(&mut self, place: usize) {
        let Some(client) = self.clients.list.get_mut(place).filter(|client| !client.is_closing) else { return };
        // What a replica has still to be sent must not make its master evict: each eviction would add to that.
        let memory = if client.replica.is_some() { 0 } else { client.memory() };
        let id = client.instance;
        let counted = std::mem::replace(&mut client.counted_bytes, memory);
        let instance = &mut self.instances[id];
        instance.clients_memory = instance.clients_memory - counted + memory;
        let limit = match self.config.settings.clients_memory_max {
            MemoryLimit::Bytes(bytes) => bytes,
            MemoryLimit::Percent(percent) => self.config.settings.memory_max / 100 * percent,
        };
        if limit > 0 && instance.clients_memory > limit {
            self.evict_clients(id, limit);
        }
    }

    /// A client is no more.
    pub(super) fn uncount(&mut self, place: usize) {
        if let Some(client) = self.clients.list.get_mut(place) {
            let counted = std::mem::take(&mut client.counted_bytes);
            self.instances[client.instance].clients_memory -= counted;
        }
    }

    /// Disconnects clients, the largest first, until the others take no more than they may.
    #[cold]
    fn evict_clients(&mut self, id: InstanceId, limit: u64) {
        while self.instances[id].clients_memory > limit {
            let may_go = |(_, client): &(usize, &Client)| {
                client.instance == id && !client.no_evict && !client.is_closing && client.replica.is_none()
            };
            let largest =
                self.clients.list.iter().filter(may_go).max_by_key(|(_, client)| (client.counted_bytes, client.number));
            let Some((place, _)) = largest else { return };
            self.uncount(place);
            self.leave_keys(place);
            self.deliver_to(place, Vec::new(), false, true);
            self.instances[id].stats.evicted_clients += 1;
        }
    }
}
