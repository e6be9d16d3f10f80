//! MIGRATE to a server outside of the stack. The core says what is to be sent, and understands what comes back; the socket is
//! `server/mover.rs`'s.
//!
//! Redis does nothing else until its target has answered. Here everybody goes on but those who would write a key that is on
//! its way: they wait, so that what is deleted in the end is what has arrived.

use std::time::Duration;

use atoll_kernel::{Context, NodeId};

use super::admit::keys_of;
use super::{Cluster, find_command};
use crate::acl::DEFAULT;
use crate::clients::{BlockedOn, ConnId};
use crate::cluster::{InstanceId, Run};
use crate::ops::{Command, Flags};
use crate::rdb;
use crate::state::{Entry, NEVER};
use crate::wire::{OwnedRequest, Reply, Request, encode};

/// As much of a target's answer as Redis reads at once: what is longer counts as several.
const LINE_MAX: usize = 1023;

/// A connection to a target of MIGRATE that is to be made, and what is to be sent over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoveCall {
    /// Names the move.
    pub number: u64,
    /// The node that calls.
    pub node: NodeId,
    /// Where the target is.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether it is spoken to over TLS, as `tls-cluster` says of all targets.
    pub is_encrypted: bool,
    /// How long the target may be silent.
    pub patience: Duration,
    /// RESP.
    pub bytes: Vec<u8>,
}

/// What a target of MIGRATE is not reached in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveStage {
    /// There is no connection.
    Connecting,
    /// Not all was sent.
    Writing,
    /// Not all was answered.
    Reading,
}

impl MoveStage {
    fn line(self) -> &'static str {
        match self {
            MoveStage::Connecting => "IOERR error or timeout connecting to the client",
            MoveStage::Writing => "IOERR error or timeout writing to target instance",
            MoveStage::Reading => "IOERR error or timeout reading to target instance",
        }
    }
}

/// What MIGRATE was asked for.
#[derive(Debug)]
pub(crate) struct MoveWish<'a> {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) patience: Duration,
    /// A user and its password.
    pub(crate) credentials: Option<(&'a [u8], &'a [u8])>,
    /// The database at the target.
    pub(crate) database: i64,
    pub(crate) replaces: bool,
    pub(crate) copies: bool,
    pub(crate) keys: Vec<Vec<u8>>,
}

/// A key that is on its way.
#[derive(Debug)]
struct Sent {
    key: Vec<u8>,
    /// Of its value, and when it expires: whether they are still what was sent.
    checksum: [u8; 8],
    expire_at_ms: i64,
}

/// A MIGRATE that is under way.
#[derive(Debug)]
struct Move {
    number: u64,
    instance: InstanceId,
    client: ConnId,
    database: usize,
    copies: bool,
    keys: Vec<Sent>,
    /// How many answers come before the first of RESTORE.
    preludes: usize,
    input: Vec<u8>,
    answers: usize,
    /// An answer to AUTH or SELECT was this error: so no key counts as arrived.
    prelude_refusal: Option<Vec<u8>>,
    /// What the client is told of the target's first error.
    refusal: Option<Vec<u8>>,
    /// Which keys have arrived.
    arrived: Vec<usize>,
    may_retry: bool,
    /// What the client is answered, once that is known.
    reply: Vec<u8>,
}

impl Move {
    fn is_answered(&self) -> bool {
        self.answers == self.preludes + self.keys.len()
    }

    /// Takes in one line of the target's.
    fn answer(&mut self, line: &[u8]) {
        let error = line.strip_prefix(b"-");
        let index = self.answers;
        self.answers += 1;
        let Some(key) = index.checked_sub(self.preludes) else {
            if let Some(error) = error.filter(|_| self.prelude_refusal.is_none()) {
                self.prelude_refusal = Some(error.to_vec());
            }
            return;
        };
        match self.prelude_refusal.as_deref().or(error) {
            None => self.arrived.push(key),
            Some(error) if self.refusal.is_none() => self.refusal = Some(error.to_vec()),
            Some(_) => {}
        }
    }
}

/// All MIGRATEs that are under way.
#[derive(Debug, Default)]
pub(crate) struct Moving {
    list: Vec<Move>,
    calls: Vec<MoveCall>,
    begun: u64,
}

impl Moving {
    /// The process of an instance is gone, and with it what it was about to do.
    pub(super) fn forget(&mut self, id: InstanceId) {
        self.list.retain(|moving| moving.instance != id);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

impl Cluster {
    /// Begins to move keys that a client's instance has. What its request waits for.
    pub(crate) fn begin_move(&mut self, ctx: &Context<'_>, place: usize, wish: &MoveWish<'_>) -> u64 {
        let client = &self.clients.list[place];
        let (id, database) = (client.instance, client.database);
        let conn = ConnId { place, number: client.number };
        let mut bytes = Vec::new();
        if let Some((user, password)) = wish.credentials {
            // Older servers know no users.
            let words = [b"AUTH".as_slice(), user, password];
            let words = if user == DEFAULT { vec![words[0], password] } else { words.to_vec() };
            encode(&mut bytes, words.into_iter());
        }
        encode(&mut bytes, [b"SELECT".as_slice(), wish.database.to_string().as_bytes()].into_iter());
        let restore = if self.config.settings.is_cluster { "RESTORE-ASKING" } else { "RESTORE" };
        let now_ms = ctx.wall(self.instances[id].node).as_millis();
        let compresses = self.config.settings.dumps_compressed;
        let mut keys = Vec::new();
        if let Some(db) = self.db_at(ctx, id, database) {
            for key in &wish.keys {
                let Some(entry) = db.peek(key) else { continue };
                let payload = payload(entry, compresses);
                let left_ms = if entry.expire_at_ms == NEVER { 0 } else { (entry.expire_at_ms - now_ms).max(1) };
                let left_ms = left_ms.to_string();
                let words = [restore.as_bytes(), key, left_ms.as_bytes(), &payload, b"REPLACE"];
                encode(&mut bytes, words.into_iter().take(if wish.replaces { 5 } else { 4 }));
                let checksum = checksum_of(&payload);
                keys.push(Sent { key: key.clone(), checksum, expire_at_ms: entry.expire_at_ms });
            }
        }
        self.moving.begun += 1;
        let number = self.moving.begun;
        self.moving.list.push(Move {
            number,
            instance: id,
            client: conn,
            database,
            copies: wish.copies,
            keys,
            preludes: 1 + usize::from(wish.credentials.is_some()),
            input: Vec::new(),
            answers: 0,
            prelude_refusal: None,
            refusal: None,
            arrived: Vec::new(),
            may_retry: true,
            reply: Vec::new(),
        });
        let (node, host) = (self.instances[id].node, wish.host.clone());
        let (port, patience, is_encrypted) = (wish.port, wish.patience, self.config.settings.tls.is_for_cluster);
        self.moving.calls.push(MoveCall { number, node, host, port, is_encrypted, patience, bytes });
        number
    }

    /// Connections to targets of MIGRATE that are to be made now. Each ends with [`Cluster::end_move`].
    pub fn take_move_calls(&mut self) -> Vec<MoveCall> {
        std::mem::take(&mut self.moving.calls)
    }

    /// A target has sent this. True: nothing more is awaited of it. What was moved is deleted then, and the client is
    /// answered by [`Cluster::end_move`], which is called when that is durable.
    pub fn move_answered(&mut self, ctx: &Context<'_>, number: u64, bytes: &[u8]) -> bool {
        let Some(index) = self.move_index(number) else { return true };
        let moving = &mut self.moving.list[index];
        for byte in bytes {
            if *byte != b'\n' {
                moving.input.push(*byte);
                if moving.input.len() < LINE_MAX {
                    continue;
                }
            }
            let line = std::mem::take(&mut moving.input);
            moving.answer(line.strip_suffix(b"\r").unwrap_or(&line));
            if moving.is_answered() {
                self.settle_move(ctx, index, None);
                return true;
            }
        }
        false
    }

    /// A target was not reached, or is silent. True: it is tried once more, from the beginning.
    pub fn move_failed(&mut self, ctx: &Context<'_>, number: u64, stage: MoveStage, timed_out: bool) -> bool {
        let Some(index) = self.move_index(number) else { return false };
        let moving = &mut self.moving.list[index];
        let has_result = moving.answers > moving.preludes;
        if moving.may_retry && !timed_out && !has_result && stage != MoveStage::Connecting {
            moving.may_retry = false;
            (moving.answers, moving.prelude_refusal) = (0, None);
            moving.input.clear();
            return true;
        }
        self.settle_move(ctx, index, Some(stage));
        false
    }

    /// All is done that MIGRATE does: its client is answered, and whoever waited for its keys goes on.
    pub fn end_move(&mut self, ctx: &Context<'_>, number: u64) {
        let Some(index) = self.move_index(number) else { return };
        let moving = self.moving.list.remove(index);
        let ConnId { place, .. } = moving.client;
        let client = self.clients.get(moving.client).and_then(|client| client.blocked.as_ref());
        if client.is_some_and(|blocked| matches!(blocked.on, BlockedOn::Target)) {
            self.clients.unblock(place);
            self.wait_is_over(place, moving.reply.strip_prefix(b"-"));
            self.deliver_to(place, moving.reply, true, false);
        }
        self.release_postponed(ctx, moving.instance);
    }

    fn move_index(&self, number: u64) -> Option<usize> {
        self.moving.list.iter().position(|moving| moving.number == number)
    }

    /// Deletes what has arrived, and says what the client is to be told.
    fn settle_move(&mut self, ctx: &Context<'_>, index: usize, trouble: Option<MoveStage>) {
        let moving = &mut self.moving.list[index];
        let (id, database, copies) = (moving.instance, moving.database, moving.copies);
        let (keys, arrived) = (std::mem::take(&mut moving.keys), std::mem::take(&mut moving.arrived));
        let refusal = moving.refusal.take().map(|line| String::from_utf8_lossy(&line).into_owned());
        // A master that is none any more changes nothing: whoever is its master now has the keys still.
        let may_delete = self.instances[id].run == Run::Up && self.is_master(id) && !self.follows(id);
        if may_delete && !copies {
            let compresses = self.config.settings.dumps_compressed;
            let unchanged = |db: &crate::state::Db<'_>, sent: &Sent| {
                db.peek(&sent.key).is_some_and(|entry| {
                    entry.expire_at_ms == sent.expire_at_ms && checksum_of(&payload(entry, compresses)) == sent.checksum
                })
            };
            // A script may have written a key that it did not name: what it wrote is nowhere else, and stays.
            let moved: Vec<&[u8]> = match self.db_at(ctx, id, database) {
                Some(db) => {
                    let sent = arrived.iter().filter_map(|index| keys.get(*index));
                    sent.filter(|sent| unchanged(&db, sent)).map(|sent| sent.key.as_slice()).collect()
                }
                None => Vec::new(),
            };
            if !moved.is_empty() {
                self.delete_moved(ctx, id, database, &moved);
            }
        }
        let mut out = Vec::new();
        let mut reply = Reply::new(&mut out, false);
        match (refusal, trouble) {
            (Some(line), _) => reply.error(&format!("ERR Target instance replied with error: {line}")),
            (None, Some(stage)) => reply.error(stage.line()),
            (None, None) if !may_delete && !copies => reply.error(super::waiting::SENT_AWAY),
            (None, None) => reply.ok(),
        }
        self.moving.list[index].reply = out;
    }

    /// True for a request that would write a key which is on its way.
    #[cold]
    pub(super) fn writes_moving_key(&self, place: usize, command: &'static Command, request: Request<'_>) -> bool {
        let client = &self.clients.list[place];
        if command.name == "exec" {
            let queued = client.transaction.iter().flat_map(|transaction| &transaction.queue);
            return queued.into_iter().map(OwnedRequest::as_request).any(|request| {
                find_command(request).is_ok_and(|command| self.hits_moving_key(client, command, request))
            });
        }
        // What MULTI queues is judged when it is executed.
        client.transaction.is_none() && self.hits_moving_key(client, command, request)
    }

    fn hits_moving_key(
        &self,
        client: &crate::clients::Client,
        command: &'static Command,
        request: Request<'_>,
    ) -> bool {
        if !self.may_write(client.instance, command, request) {
            return false;
        }
        let mut moves = self.moving.list.iter().filter(|moving| moving.instance == client.instance);
        match command.name {
            "flushall" | "swapdb" => moves.next().is_some(),
            "flushdb" => moves.any(|moving| moving.database == client.database),
            _ if !command.flags.has(Flags::WRITE) && !command.flags.has(Flags::SCRIPT) => false,
            // COPY and MOVE may write into another database than their client's: the name alone decides.
            _ => {
                let keys = keys_of(command, request);
                moves.any(|moving| moving.keys.iter().any(|sent| keys.contains(&sent.key.as_slice())))
            }
        }
    }
}

/// A value as every server since Redis 7.0 reads it.
fn payload(entry: &Entry, compresses: bool) -> Vec<u8> {
    rdb::dump_payload_as(rdb::REPLICA_VERSION, &entry.value, compresses)
}

fn checksum_of(payload: &[u8]) -> [u8; 8] {
    payload.last_chunk().copied().unwrap_or_default()
}
