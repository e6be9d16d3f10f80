//! The stream of commands as replicas outside of the stack receive it: Redis's replication stream, byte by byte.
//!
//! Instances of the stack share one copy and need only numbers. A real server that follows one of them needs the bytes;
//! they are kept from the moment when the first of them comes, at most `repl-backlog-size` of those that all have received.
//! From then on offsets count every byte of the stream, SELECT, MULTI and pings included.

use std::collections::VecDeque;

use super::overlay::Position;
use crate::wire;

/// Commands of one database that are still to be put into the stream.
#[derive(Debug)]
struct Queued {
    database: usize,
    commands: usize,
    bytes: Vec<u8>,
}

/// The stream of one dataset, and the names of its history.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// `master_replid`: the name of the history that the owner writes.
    pub(crate) name: String,
    /// `master_replid2` and `second_repl_offset`: the history before that, and where it ended.
    pub(crate) previous: Option<(String, u64)>,
    /// How often the history has parted from what some instance had.
    pub(crate) forks: u64,
    backlog: Option<Backlog>,
    unit: Vec<Queued>,
    /// How many bytes they are.
    unit_length: u64,
    /// What replicas are told is a position less this, modulo 2^64: a single server counts from its first replica on.
    shift: u64,
    /// Where the history of a master elsewhere began here; what lies before is of another.
    pub(crate) adopted_at: Position,
    /// What a single server without a stream shows as its offset.
    idle_offset: u64,
    /// The stream is another server's, which this one follows: what is executed here does not enter it.
    pub(crate) is_relayed: bool,
    /// The commands that wait have nothing to do with each other: they will not be a transaction.
    pub(crate) is_loose: bool,
}

#[derive(Debug)]
struct Backlog {
    bytes: VecDeque<u8>,
    end: Position,
    /// The database that the stream has selected last.
    selected: Option<usize>,
}

impl Feed {
    /// True once there is a stream in bytes.
    #[inline]
    pub(crate) fn is_active(&self) -> bool {
        self.backlog.is_some()
    }

    /// Begins the stream at `position`. `counts_from_zero`: of a single server, which had no offsets before.
    pub(crate) fn activate(&mut self, position: Position, counts_from_zero: bool) {
        if self.backlog.is_some() {
            return;
        }
        self.shift = if counts_from_zero { position.wrapping_sub(self.idle_offset) } else { 0 };
        self.rewind(0);
        self.backlog = Some(Backlog { bytes: VecDeque::new(), end: position, selected: None });
    }

    /// Gives the stream up; a replica that comes back has to begin anew, under another name.
    pub(crate) fn deactivate(&mut self) {
        if let Some(backlog) = self.backlog.take() {
            self.idle_offset = backlog.end.wrapping_sub(self.shift);
            self.fork_name();
            self.previous = None;
        }
        self.rewind(0);
        self.is_relayed = false;
    }

    /// What a position is called towards replicas.
    pub(crate) fn offset(&self, position: Position, counts_from_zero: bool) -> u64 {
        if self.backlog.is_none() && counts_from_zero { self.idle_offset } else { position.wrapping_sub(self.shift) }
    }

    /// The position of an offset that a replica names.
    pub(crate) fn position(&self, offset: u64) -> Position {
        offset.wrapping_add(self.shift)
    }

    /// Another history goes on from this one at `position`; what lies beyond that is of neither.
    pub(crate) fn fork(&mut self, position: Position) {
        let end = self.offset(position, false).wrapping_add(1);
        let before = self.name.clone();
        self.fork_name();
        self.previous = Some((before, end));
        self.rewind(0);
        self.is_relayed = false;
        if let Some(backlog) = &mut self.backlog {
            let beyond = usize::try_from(backlog.end.saturating_sub(position)).unwrap_or(usize::MAX);
            backlog.bytes.truncate(backlog.bytes.len().saturating_sub(beyond));
            backlog.end = position;
            backlog.selected = None;
        }
    }

    /// The history of a master elsewhere is taken over: its name, and the offset at which it stands.
    pub(crate) fn adopt(&mut self, name: &str, position: Position, offset: u64) {
        self.forks += 1;
        self.name = name.to_owned();
        self.previous = None;
        self.rewind(0);
        self.shift = position.wrapping_sub(offset);
        self.adopted_at = position;
        self.backlog = Some(Backlog { bytes: VecDeque::new(), end: position, selected: None });
        self.is_relayed = true;
    }

    /// The master elsewhere calls its history by another name from here on.
    pub(crate) fn rename(&mut self, name: &str, position: Position) {
        let end = self.offset(position, false).wrapping_add(1);
        self.previous = Some((std::mem::replace(&mut self.name, name.to_owned()), end));
        self.forks += 1;
    }

    fn fork_name(&mut self) {
        self.forks += 1;
        self.name = sha1_smol::Sha1::from(format!("{} {}", self.name, self.forks)).digest().to_string();
    }

    /// The next command says which database it is for: somebody joins who has not heard.
    pub(crate) fn select_anew(&mut self) {
        if let Some(backlog) = self.backlog.as_mut().filter(|_| !self.is_relayed) {
            backlog.selected = None;
        }
    }

    /// The database that the stream has selected.
    pub(crate) fn selected(&self) -> Option<usize> {
        self.backlog.as_ref().and_then(|backlog| backlog.selected)
    }

    /// Says which database another server's stream has selected.
    pub(crate) fn set_selected(&mut self, database: usize) {
        if let Some(backlog) = &mut self.backlog {
            backlog.selected = Some(database);
        }
    }

    /// How many bytes wait for the end of what is being executed.
    pub(crate) fn queued(&self) -> u64 {
        self.unit_length
    }

    /// How many commands wait, to take those away again that come now.
    pub(crate) fn mark(&self) -> usize {
        self.unit.len()
    }

    /// Takes away what came since [`Feed::mark`].
    pub(crate) fn rewind(&mut self, mark: usize) {
        let taken: usize = self.unit.drain(mark.min(self.unit.len())..).map(|queued| queued.bytes.len()).sum();
        self.unit_length -= taken as u64;
    }

    /// Adds a command. False if it is not to be counted here, because the stream counts it, or somebody else's does.
    pub(crate) fn queue<'a>(&mut self, database: usize, arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> bool {
        if self.backlog.is_none() {
            return true;
        }
        if !self.is_relayed {
            let mut bytes = Vec::new();
            wire::encode(&mut bytes, arguments);
            self.unit_length += bytes.len() as u64;
            self.unit.push(Queued { database, commands: 1, bytes });
        }
        false
    }

    /// Adds commands that are RESP already.
    pub(crate) fn queue_bytes(&mut self, database: usize, commands: &[u8]) -> bool {
        if self.backlog.is_none() {
            return true;
        }
        if !self.is_relayed {
            let queued = Queued { database, commands: count_commands(commands), bytes: commands.to_vec() };
            self.unit_length += queued.bytes.len() as u64;
            self.unit.push(queued);
        }
        false
    }

    /// What was executed is complete: it enters the stream, as a transaction if it is more than one command. Returns by how
    /// much the stream has grown.
    pub(crate) fn end_unit(&mut self) -> u64 {
        let Some(backlog) = self.backlog.as_mut().filter(|_| !self.unit.is_empty()) else { return 0 };
        let is_loose = std::mem::take(&mut self.is_loose);
        let is_transaction = !is_loose && self.unit.iter().map(|queued| queued.commands).sum::<usize>() > 1;
        let mut bytes = Vec::new();
        if is_transaction {
            wire::encode(&mut bytes, [b"MULTI".as_slice()].into_iter());
        }
        self.unit_length = 0;
        for queued in self.unit.drain(..) {
            if backlog.selected.replace(queued.database) != Some(queued.database) {
                let database = queued.database.to_string();
                wire::encode(&mut bytes, [b"SELECT".as_slice(), database.as_bytes()].into_iter());
            }
            bytes.extend_from_slice(&queued.bytes);
        }
        if is_transaction {
            wire::encode(&mut bytes, [b"EXEC".as_slice()].into_iter());
        }
        backlog.push(&bytes);
        bytes.len() as u64
    }

    /// Adds bytes as they are: a ping, or what another server's stream has brought.
    pub(crate) fn push_raw(&mut self, bytes: &[u8]) -> u64 {
        let Some(backlog) = &mut self.backlog else { return 0 };
        backlog.push(bytes);
        bytes.len() as u64
    }

    /// The stream from one position to another; None if it is no longer there.
    pub(crate) fn range(&self, from: Position, to: Position) -> Option<Vec<u8>> {
        let backlog = self.backlog.as_ref()?;
        let begin = backlog.end - backlog.bytes.len() as u64;
        if from < begin || from > to || to > backlog.end {
            return None;
        }
        let (start, length) = ((from - begin) as usize, (to - from) as usize);
        Some(backlog.bytes.range(start..start + length).copied().collect())
    }

    /// The first position from which the stream is there.
    pub(crate) fn begin(&self) -> Position {
        self.backlog.as_ref().map_or(0, |backlog| backlog.end - backlog.bytes.len() as u64)
    }

    /// How many bytes are kept.
    pub(crate) fn kept(&self) -> u64 {
        self.backlog.as_ref().map_or(0, |backlog| backlog.bytes.len() as u64)
    }

    /// Forgets all but the last `size` bytes, and nothing from `needed` on.
    pub(crate) fn trim(&mut self, size: u64, needed: Position) {
        let Some(backlog) = &mut self.backlog else { return };
        let begin = backlog.end - backlog.bytes.len() as u64;
        let spare = (backlog.bytes.len() as u64).saturating_sub(size).min(needed.saturating_sub(begin));
        backlog.bytes.drain(..spare as usize);
        if backlog.bytes.capacity() as u64 > 4 * size.max(backlog.bytes.len() as u64) {
            backlog.bytes.shrink_to_fit();
        }
    }
}

impl Backlog {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.end += bytes.len() as u64;
    }
}

fn count_commands(mut rest: &[u8]) -> usize {
    let mut parser = wire::Parser::default();
    let mut count = 0;
    while let Ok(Some(length)) = parser.parse(rest, wire::Limits::default()) {
        rest = &rest[length..];
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::Feed;

    fn queue(feed: &mut Feed, database: usize, words: &str) {
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        feed.queue(database, words.into_iter());
    }

    #[test]
    fn a_unit_of_several_commands_is_a_transaction_and_databases_are_selected() {
        let mut feed = Feed { name: "one".to_owned(), ..Feed::default() };
        feed.activate(100, true);
        queue(&mut feed, 9, "SET a 1");
        let first = feed.end_unit();
        queue(&mut feed, 9, "DEL a");
        queue(&mut feed, 9, "DEL b");
        let second = feed.end_unit();
        let bytes = feed.range(100, 100 + first + second).expect("kept");
        let text = String::from_utf8(bytes).expect("text").replace("\r\n", " ");
        assert_eq!(text, "*2 $6 SELECT $1 9 *3 $3 SET $1 a $1 1 *1 $5 MULTI *2 $3 DEL $1 a *2 $3 DEL $1 b *1 $4 EXEC ");
        assert_eq!(feed.offset(100, true), 0);
    }

    #[test]
    fn what_all_have_is_forgotten_and_a_fork_cuts_what_lies_beyond() {
        let mut feed = Feed { name: "one".to_owned(), ..Feed::default() };
        feed.activate(0, false);
        feed.push_raw(&[b'x'; 1000]);
        feed.trim(100, 950);
        assert_eq!(feed.begin(), 900);
        feed.trim(10, 950);
        assert_eq!((feed.begin(), feed.kept()), (950, 50));
        feed.fork(960);
        assert_eq!(feed.range(950, 960).map(|bytes| bytes.len()), Some(10));
        assert_eq!(feed.range(950, 961), None);
        assert_eq!(feed.previous, Some(("one".to_owned(), 961)));
    }
}
