//! Streams: entries in the order of their identifiers, and the groups of consumers that read them.
//!
//! Entries stand in nodes of up to 100, as Redis's listpacks hold them: the fields of a node's first entry are written
//! once, and an entry that has the same fields writes only its values. Nodes are shared between copies of a stream until
//! one of them changes, so that what a lagging replica sees of it costs little.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use smallvec::SmallVec;

use super::listpack::{self, Element, Elements};
use super::memory::{allocated, outside, sum};
use super::stream_group::Group;
use super::value::{Blob, Thresholds};

/// The identifier of an entry: a time in milliseconds, and a number within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId {
    pub(crate) ms: u64,
    pub(crate) seq: u64,
}

impl StreamId {
    pub(crate) const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub(crate) const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    pub(crate) fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The next one; None after the last.
    pub(crate) fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The one before; None before the first.
    pub(crate) fn previous(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// As Redis prints it: `ms-seq`.
    pub(crate) fn text(self) -> SmallVec<[u8; 48]> {
        let mut text = SmallVec::from_slice(itoa::Buffer::new().format(self.ms).as_bytes());
        text.push(b'-');
        text.extend_from_slice(itoa::Buffer::new().format(self.seq).as_bytes());
        text
    }
}

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;
/// The most that one listpack may hold.
const NODE_BYTES_MAX: usize = 1 << 30;
/// What a listpack has besides its elements: its length, their number, an end.
const LISTPACK_FRAME: usize = 7;

/// Some entries that stand together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// What identifiers are counted from.
    pub(crate) base: StreamId,
    /// The last entry, deleted or not.
    last: StreamId,
    live: u32,
    deleted: u32,
    /// The elements of the listpack from the number of fields on: that number, the fields, 0, and then the entries.
    elements: Vec<u8>,
    entries_at: usize,
}

/// One entry where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamEntry<'n> {
    pub(crate) id: StreamId,
    is_deleted: bool,
    flags_at: usize,
    /// How many fields it has.
    pub(crate) fields: usize,
    /// The fields, if they stand with the node; otherwise they stand before their values.
    names: Option<Elements<'n>>,
    values: Elements<'n>,
}

impl<'n> StreamEntry<'n> {
    /// Fields and values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Element<'n>, Element<'n>)> {
        let (mut names, mut values) = (self.names, self.values);
        (0..self.fields).map_while(move |_| {
            let name = match &mut names {
                Some(names) => names.next()?,
                None => values.next()?,
            };
            Some((name, values.next()?))
        })
    }
}

impl Node {
    fn new<'a>(id: StreamId, items: impl ExactSizeIterator<Item = &'a [u8]>) -> Node {
        let mut elements = Vec::new();
        listpack::push_integer(&mut elements, (items.len() / 2) as i64);
        items.step_by(2).for_each(|field| listpack::push_bytes(&mut elements, field));
        listpack::push_integer(&mut elements, 0);
        let entries_at = elements.len();
        Node { base: id, last: id, live: 0, deleted: 0, elements, entries_at }
    }

    /// The size of the listpack that this is.
    fn size(&self) -> usize {
        let number = |number: u32| if number < 128 { 2 } else { 3 };
        LISTPACK_FRAME + number(self.live) + number(self.deleted) + self.elements.len()
    }

    /// The listpack itself, as Redis's files hold it.
    pub(crate) fn to_listpack(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.size());
        listpack::push_integer(&mut body, i64::from(self.live));
        listpack::push_integer(&mut body, i64::from(self.deleted));
        body.extend_from_slice(&self.elements);
        let number = Elements { rest: &body }.count();
        let length = (body.len() + LISTPACK_FRAME) as u32;
        let mut listpack = Vec::with_capacity(body.len() + LISTPACK_FRAME);
        listpack.extend_from_slice(&length.to_le_bytes());
        listpack.extend_from_slice(&u16::try_from(number).unwrap_or(u16::MAX).to_le_bytes());
        listpack.extend_from_slice(&body);
        listpack.push(0xff);
        listpack
    }

    /// The node that a listpack is; None if it is damaged.
    fn from_listpack(base: StreamId, listpack: &[u8]) -> Option<Node> {
        let (length, rest) = listpack.split_first_chunk::<4>()?;
        let body = rest.get(2..rest.len().checked_sub(1)?)?;
        if u32::from_le_bytes(*length) as usize != listpack.len() || rest.last() != Some(&0xff) {
            return None;
        }
        let mut walk = Elements { rest: body };
        let mut number = || u32::try_from(walk.next()?.integer()?).ok();
        let (live, deleted) = (number()?, number()?);
        let elements = walk.rest.to_vec();
        let fields = usize::try_from(walk.next()?.integer()?).ok()?;
        // The fields, and a zero behind them.
        if walk.by_ref().take(fields.checked_add(1)?).count() != fields + 1 {
            return None;
        }
        let entries_at = elements.len() - walk.rest.len();
        let mut node = Node { base, last: base, live, deleted, elements, entries_at };
        let (mut found, mut end, mut last) = ((0, 0), entries_at, None);
        for entry in node.entries() {
            let is_sound = node.elements[entry.flags_at] < 4 && entry.pairs().count() == entry.fields;
            if !is_sound || last.is_some_and(|last| entry.id <= last) {
                return None;
            }
            last = Some(entry.id);
            found = if entry.is_deleted { (found.0, found.1 + 1) } else { (found.0 + 1, found.1) };
            let elements = if entry.names.is_some() { entry.fields } else { entry.fields * 2 };
            let mut walk = entry.values;
            if walk.by_ref().take(elements + 1).count() != elements + 1 {
                return None;
            }
            end = node.elements.len() - walk.rest.len();
        }
        node.last = last?;
        (found == (live, deleted) && end == node.elements.len()).then_some(node)
    }

    fn names(&self) -> (usize, Elements<'_>) {
        let mut names = Elements { rest: &self.elements[..self.entries_at] };
        let count = names.next().and_then(Element::integer).and_then(|count| usize::try_from(count).ok());
        (count.unwrap_or(0), names)
    }

    fn has_same_fields<'a>(&self, items: impl ExactSizeIterator<Item = &'a [u8]>) -> bool {
        let (count, names) = self.names();
        let mut buffer = itoa::Buffer::new();
        items.len() == count * 2 && items.step_by(2).zip(names).all(|(field, name)| name.bytes(&mut buffer) == field)
    }

    fn push<'a>(&mut self, id: StreamId, items: impl ExactSizeIterator<Item = &'a [u8]> + Clone) {
        let is_same = self.has_same_fields(items.clone());
        let elements = &mut self.elements;
        listpack::push_integer(elements, if is_same { SAME_FIELDS } else { 0 });
        listpack::push_integer(elements, id.ms.wrapping_sub(self.base.ms).cast_signed());
        listpack::push_integer(elements, id.seq.wrapping_sub(self.base.seq).cast_signed());
        let fields = items.len() as i64 / 2;
        let count = if is_same {
            items.skip(1).step_by(2).for_each(|value| listpack::push_bytes(elements, value));
            fields + 3
        } else {
            listpack::push_integer(elements, fields);
            items.for_each(|item| listpack::push_bytes(elements, item));
            fields * 2 + 4
        };
        listpack::push_integer(elements, count);
        self.last = id;
        self.live += 1;
    }

    /// All entries, deleted ones included.
    fn entries(&self) -> impl Iterator<Item = StreamEntry<'_>> {
        let (own_fields, names) = self.names();
        let mut place = self.entries_at;
        std::iter::from_fn(move || {
            let mut walk = Elements { rest: self.elements.get(place..)? };
            let flags = walk.next()?.integer()?;
            let (ms, seq) = (walk.next()?.integer()?, walk.next()?.integer()?);
            let id = StreamId {
                ms: self.base.ms.wrapping_add(ms.cast_unsigned()),
                seq: self.base.seq.wrapping_add(seq.cast_unsigned()),
            };
            let is_same = flags & SAME_FIELDS != 0;
            let fields =
                if is_same { own_fields } else { usize::try_from(walk.next()?.integer()?).unwrap_or_default() };
            let entry = StreamEntry {
                id,
                is_deleted: flags & DELETED != 0,
                flags_at: place,
                fields,
                names: is_same.then_some(names),
                values: walk,
            };
            // Behind the values stands the number of elements.
            let elements = if is_same { fields } else { fields.saturating_mul(2) };
            let _ = walk.by_ref().take(elements.saturating_add(1)).count();
            place = self.elements.len() - walk.rest.len();
            Some(entry)
        })
    }

    /// Marks the entry whose flags stand here as deleted.
    fn mark_deleted(&mut self, flags_at: usize) {
        self.elements[flags_at] |= DELETED as u8;
        self.live -= 1;
        self.deleted += 1;
    }
}

/// What trimming leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trim {
    /// At most so many entries.
    Length(u64),
    /// Entries from this one on.
    From(StreamId),
}

/// A stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stream {
    /// Every node has an entry that is not deleted.
    nodes: VecDeque<Arc<Node>>,
    length: u64,
    first_id: StreamId,
    last_live_id: StreamId,
    /// The highest identifier that was ever used.
    pub(crate) last_id: StreamId,
    /// The highest one that was deleted.
    pub(crate) max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub(crate) entries_added: u64,
    groups: BTreeMap<Blob, Arc<Group>>,
}

impl Stream {
    /// What the entries and groups take, estimated by so many nodes and groups.
    pub(crate) fn memory(&self, samples: usize) -> usize {
        let node = |index| {
            let elements = self.nodes.get(index).map_or(0, |node| node.elements.capacity());
            allocated(size_of::<Node>() + 2 * size_of::<usize>()) + allocated(elements)
        };
        let places = allocated(self.nodes.capacity() * size_of::<Arc<Node>>());
        let groups = self.groups.iter().take(samples);
        let measured: usize = groups.map(|(name, group)| outside(name) + group.memory(samples)).sum();
        let groups = measured * self.groups.len() / self.groups.len().clamp(1, samples.max(1));
        places + sum(self.nodes.len(), samples, node) + groups
    }

    /// Nodes of entries, and what groups have pending, as the first of them stands for all.
    pub(crate) fn parts_count(&self) -> usize {
        let pending = self.groups.values().next().map_or(0, |group| group.pending().len() + 1);
        self.nodes.len() + self.groups.len() * pending
    }

    pub(crate) fn len(&self) -> u64 {
        self.length
    }

    /// The first entry that is there; 0-0 if none is.
    pub(crate) fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The last entry that is there; 0-0 if none is.
    pub(crate) fn last_live_id(&self) -> StreamId {
        self.last_live_id
    }

    /// The nodes in order.
    pub(crate) fn nodes(&self) -> impl ExactSizeIterator<Item = &Node> {
        self.nodes.iter().map(Arc::as_ref)
    }

    /// Adds a node as Redis's files hold it, behind those that are there; false if it is damaged.
    pub(crate) fn push_node(&mut self, base: StreamId, listpack: &[u8]) -> bool {
        let Some(node) = Node::from_listpack(base, listpack) else { return false };
        let first = node.entries().next().map(|entry| entry.id);
        if self.nodes.back().is_some_and(|before| first <= Some(before.last) || base <= before.last) {
            return false;
        }
        if node.live > 0 {
            self.length += u64::from(node.live);
            self.nodes.push_back(Arc::new(node));
            self.find_ends();
        }
        true
    }

    /// Adds an entry of fields and values in turn. Its identifier has to be higher than [`Stream::last_id`].
    pub(crate) fn append<'a>(
        &mut self,
        id: StreamId,
        items: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        thresholds: &Thresholds,
    ) {
        self.load(id, items, thresholds);
        self.entries_added += 1;
        self.last_id = id;
    }

    /// Adds an entry as it was saved: the counters are set by themselves.
    pub(crate) fn load<'a>(
        &mut self,
        id: StreamId,
        items: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        thresholds: &Thresholds,
    ) {
        let bytes: usize = items.clone().map(<[u8]>::len).sum();
        let bytes_max = match thresholds.stream_node_bytes_max {
            0 => NODE_BYTES_MAX,
            bytes => bytes.min(NODE_BYTES_MAX),
        };
        let entries_max = thresholds.stream_node_entries_max;
        let is_full = self.nodes.back().is_none_or(|node| {
            node.size() + bytes >= bytes_max || entries_max > 0 && (node.live + node.deleted) as usize >= entries_max
        });
        if is_full {
            if let Some(node) = self.nodes.back_mut().and_then(Arc::get_mut) {
                node.elements.shrink_to_fit();
            }
            self.nodes.push_back(Arc::new(Node::new(id, items.clone())));
        }
        if let Some(node) = self.nodes.back_mut() {
            Arc::make_mut(node).push(id, items);
        }
        if self.length == 0 {
            self.first_id = id;
        }
        self.length += 1;
        self.last_live_id = id;
    }

    /// The entries from `start` to `end`, both included.
    pub(crate) fn range(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = StreamEntry<'_>> {
        let from = self.nodes.partition_point(|node| node.last < start);
        let nodes = self.nodes.range(from..).take_while(move |node| node.base <= end);
        nodes
            .flat_map(|node| node.entries())
            .skip_while(move |entry| entry.id < start)
            .take_while(move |entry| entry.id <= end)
            .filter(|entry| !entry.is_deleted)
    }

    /// The same entries, the last one first.
    pub(crate) fn range_reversed(&self, start: StreamId, end: StreamId) -> impl Iterator<Item = StreamEntry<'_>> {
        let to = self.nodes.partition_point(|node| node.base <= end);
        let nodes = self.nodes.range(..to).rev().take_while(move |node| node.last >= start);
        nodes.flat_map(move |node| {
            let mut entries: SmallVec<[StreamEntry<'_>; 8]> =
                node.entries().filter(|entry| !entry.is_deleted && (start..=end).contains(&entry.id)).collect();
            entries.reverse();
            entries
        })
    }

    pub(crate) fn entry(&self, id: StreamId) -> Option<StreamEntry<'_>> {
        self.range(id, id).next()
    }

    /// Deletes an entry, as XDEL does; false if there is none.
    pub(crate) fn delete(&mut self, id: StreamId) -> bool {
        let Some(flags_at) = self.entry(id).map(|entry| entry.flags_at) else { return false };
        let index = self.nodes.partition_point(|node| node.last < id);
        if self.nodes[index].live == 1 {
            self.nodes.remove(index);
        } else {
            Arc::make_mut(&mut self.nodes[index]).mark_deleted(flags_at);
        }
        self.length -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id || id == self.last_live_id {
            self.find_ends();
        }
        true
    }

    fn find_ends(&mut self) {
        let id = |entry: Option<StreamEntry<'_>>| entry.map_or(StreamId::MIN, |entry| entry.id);
        let first = id(self.range(StreamId::MIN, StreamId::MAX).next());
        let last = id(self.range_reversed(StreamId::MIN, StreamId::MAX).next());
        (self.first_id, self.last_live_id) = (first, last);
    }

    /// Removes entries at the beginning. `only_nodes`: whole nodes alone, as far as they can go. At most about `limit`
    /// entries, if it is not 0. Returns how many went.
    pub(crate) fn trim(&mut self, trim: Trim, only_nodes: bool, limit: u64) -> u64 {
        let before = self.length;
        while let Some(node) = self.nodes.front() {
            let live = u64::from(node.live);
            let is_done = matches!(trim, Trim::Length(length) if self.length <= length);
            if is_done || limit > 0 && before - self.length + live > limit {
                break;
            }
            let goes_whole = match trim {
                Trim::Length(length) => self.length - live >= length,
                Trim::From(id) => node.last < id,
            };
            if !goes_whole {
                if !only_nodes {
                    self.trim_first_node(trim);
                }
                break;
            }
            self.nodes.pop_front();
            self.length -= live;
        }
        if before != self.length {
            self.find_ends();
        }
        before - self.length
    }

    fn trim_first_node(&mut self, trim: Trim) {
        let Some(node) = self.nodes.front_mut() else { return };
        let surplus = match trim {
            Trim::Length(length) => self.length - length,
            Trim::From(_) => u64::MAX,
        };
        let goes = |entry: &StreamEntry<'_>| !matches!(trim, Trim::From(id) if entry.id >= id);
        let doomed: Vec<usize> = node
            .entries()
            .take_while(goes)
            .filter(|entry| !entry.is_deleted)
            .take(usize::try_from(surplus).unwrap_or(usize::MAX))
            .map(|entry| entry.flags_at)
            .collect();
        if doomed.is_empty() {
            return;
        }
        self.length -= doomed.len() as u64;
        let node = Arc::make_mut(node);
        for flags_at in doomed {
            node.mark_deleted(flags_at);
        }
        if node.live == 0 {
            self.nodes.pop_front();
        }
    }

    pub(crate) fn group(&self, name: &[u8]) -> Option<&Group> {
        self.groups.get(name).map(Arc::as_ref)
    }

    pub(crate) fn group_mut(&mut self, name: &[u8]) -> Option<&mut Group> {
        self.groups.get_mut(name).map(Arc::make_mut)
    }

    /// The groups in the order of their names.
    pub(crate) fn groups(&self) -> impl ExactSizeIterator<Item = (&Blob, &Group)> {
        self.groups.iter().map(|(name, group)| (name, group.as_ref()))
    }

    /// Adds a group; false if there is one of this name.
    pub(crate) fn add_group(&mut self, name: &[u8], group: Group) -> bool {
        let is_new = !self.groups.contains_key(name);
        if is_new {
            self.groups.insert(Blob::from_slice(name), Arc::new(group));
        }
        is_new
    }

    pub(crate) fn remove_group(&mut self, name: &[u8]) -> bool {
        self.groups.remove(name).is_some()
    }

    /// True if an entry from `start` on was deleted, as far as is known.
    fn has_tombstones(&self, start: StreamId) -> bool {
        self.length > 0
            && self.max_deleted_id != StreamId::MIN
            && self.first_id <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// How many entries were added up to this one, if that can be known.
    pub(crate) fn distance_from_first(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= self.last_id || id == self.last_id {
            return Some(self.entries_added);
        }
        if id > self.last_id {
            return None;
        }
        let is_whole = self.max_deleted_id == StreamId::MIN || self.max_deleted_id < self.first_id;
        match id.cmp(&self.first_id) {
            std::cmp::Ordering::Less if is_whole => Some(self.entries_added.wrapping_sub(self.length)),
            std::cmp::Ordering::Equal if is_whole => Some(self.entries_added.wrapping_sub(self.length).wrapping_add(1)),
            _ => None,
        }
    }

    /// What a group's counter of entries becomes when it has read up to `id`.
    pub(crate) fn entries_read_at(&self, entries_read: Option<u64>, id: StreamId) -> Option<u64> {
        match entries_read {
            Some(read) if !self.has_tombstones(id) => Some(read.wrapping_add(1)),
            _ if self.entries_added > 0 => self.distance_from_first(id),
            read => read,
        }
    }

    /// How many entries a group has not read yet, if that can be known.
    pub(crate) fn lag(&self, group: &Group) -> Option<i64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        let read = match group.entries_read {
            Some(read) if !self.has_tombstones(group.last_id) => Some(read),
            _ => self.distance_from_first(group.last_id),
        };
        read.map(|read| self.entries_added.wrapping_sub(read).cast_signed())
    }
}
