//! Keyspace notifications: <https://redis.io/docs/latest/develop/use/keyspace-notifications/>.
//!
//! Commands do not announce what they do. They change keys through [`Db`](crate::state::Db), which notes every change here, and
//! a table says how Redis calls what a command does to a key.

use crate::cluster::InstanceId;
use crate::core::Cluster;
use crate::state::{Blob, NEVER};

/// Classes of events, by their letters. `A` stands for all of them but `m` and `n`.
const CLASSES: [(char, u32); 14] = [
    ('g', GENERIC),
    ('$', STRING),
    ('l', LIST),
    ('s', SET),
    ('h', HASH),
    ('z', SORTED_SET),
    ('x', EXPIRED),
    ('e', EVICTED),
    ('t', STREAM),
    ('d', 1 << 9),
    ('K', KEYSPACE),
    ('E', KEYEVENT),
    ('m', MISS),
    ('n', NEW),
];
const GENERIC: u32 = 1;
const STRING: u32 = 1 << 1;
const LIST: u32 = 1 << 2;
const SET: u32 = 1 << 3;
const HASH: u32 = 1 << 4;
const SORTED_SET: u32 = 1 << 5;
const EXPIRED: u32 = 1 << 6;
const EVICTED: u32 = 1 << 7;
const STREAM: u32 = 1 << 8;
const KEYSPACE: u32 = 1 << 10;
const KEYEVENT: u32 = 1 << 11;
const MISS: u32 = 1 << 12;
const NEW: u32 = 1 << 13;
/// What `A` stands for.
const ALL: u32 = (1 << 10) - 1;

/// The classes that `notify-keyspace-events` names; None if a letter is none.
pub(crate) fn parse_classes(letters: &str) -> Option<u32> {
    let class = |letter| match letter {
        'A' => Some(ALL),
        letter => CLASSES.iter().find(|(known, _)| *known == letter).map(|(_, class)| *class),
    };
    letters.chars().try_fold(0, |mask, letter| class(letter).map(|class| mask | class))
}

/// Classes in the order in which CONFIG GET shows them.
pub(crate) fn format_classes(mask: u32) -> String {
    let has_all = mask & ALL == ALL;
    let shown = CLASSES.iter().filter(|(_, class)| mask & class != 0 && !(has_all && class & ALL != 0));
    has_all.then_some('A').into_iter().chain(shown.map(|(letter, _)| *letter)).collect()
}

/// Something that happened to a key.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    class: u32,
    name: &'static str,
    database: usize,
    key: Blob,
}

/// What a command does to keys, noted while it runs.
#[derive(Debug)]
pub(crate) struct Notices {
    mask: u32,
    command: &'static str,
    /// The command's words, for those whose event depends on them.
    says_left: (bool, bool),
    increments: bool,
    /// A key is being removed because its time has come.
    pub(crate) expires: bool,
    pub(crate) events: Vec<Event>,
}

impl Notices {
    /// Nothing noted yet; None if nobody wants to know.
    pub(crate) fn new(mask: u32) -> Option<Box<Notices>> {
        let is_wanted = mask & (KEYSPACE | KEYEVENT) != 0;
        let notices = || Notices {
            mask,
            command: "",
            says_left: (true, true),
            increments: false,
            expires: false,
            events: Vec::new(),
        };
        is_wanted.then(|| Box::new(notices()))
    }

    /// This command runs now.
    pub(crate) fn begin(&mut self, command: &'static str, request: crate::wire::Request<'_>) {
        self.command = command;
        let is_left = |index: usize| request.get(index).is_none_or(|word| word.eq_ignore_ascii_case(b"LEFT"));
        let anywhere = |word: &[u8]| request.tail(1).any(|other| other.eq_ignore_ascii_case(word));
        self.says_left = match command {
            "lmove" | "blmove" => (is_left(3), is_left(4)),
            "lmpop" | "blmpop" => (anywhere(b"LEFT"), true),
            "zmpop" | "bzmpop" => (anywhere(b"MIN"), true),
            _ => (true, true),
        };
        self.increments = command == "zadd" && anywhere(b"INCR");
    }

    fn note(&mut self, class: u32, name: &'static str, database: usize, key: &[u8]) {
        if self.mask & class != 0 {
            self.events.push(Event { class, name, database, key: Blob::from_slice(key) });
        }
    }

    /// A key was given a value, or its value was changed.
    pub(crate) fn changed(&mut self, database: usize, key: &[u8]) {
        let is_second = || self.events.iter().any(|event| event.class == LIST || event.class == SET);
        let (class, name) = match self.command {
            "lmove" | "blmove" | "rpoplpush" | "brpoplpush" => {
                let is_rpoplpush = self.command.ends_with("rpoplpush");
                let (pops_left, pushes_left) = if is_rpoplpush { (false, true) } else { self.says_left };
                match (is_second(), pops_left, pushes_left) {
                    (false, true, _) => (LIST, "lpop"),
                    (false, false, _) => (LIST, "rpop"),
                    (true, _, true) => (LIST, "lpush"),
                    (true, _, false) => (LIST, "rpush"),
                }
            }
            "lmpop" | "blmpop" => (LIST, if self.says_left.0 { "lpop" } else { "rpop" }),
            "zmpop" | "bzmpop" => (SORTED_SET, if self.says_left.0 { "zpopmin" } else { "zpopmax" }),
            "smove" => (SET, if is_second() { "sadd" } else { "srem" }),
            "zadd" if self.increments => (SORTED_SET, "zincr"),
            command => match event_of(command) {
                Some(event) => event,
                None => return,
            },
        };
        self.note(class, name, database, key);
    }

    /// A key is no more.
    pub(crate) fn removed(&mut self, database: usize, key: &[u8]) {
        let (class, name) = match self.command {
            _ if self.expires => (EXPIRED, "expired"),
            "rename" | "renamenx" => (GENERIC, "rename_from"),
            "move" => (GENERIC, "move_from"),
            "flushall" | "flushdb" => return,
            _ => (GENERIC, "del"),
        };
        self.note(class, name, database, key);
    }

    /// A key had to go because memory is short.
    pub(crate) fn evicted(&mut self, database: usize, key: &[u8]) {
        self.note(EVICTED, "evicted", database, key);
    }

    /// A key was given a deadline, or lost it.
    pub(crate) fn deadline(&mut self, database: usize, key: &[u8], deadline: i64) {
        self.note(GENERIC, if deadline == NEVER { "persist" } else { "expire" }, database, key);
    }

    /// A key was given a value with a deadline in one.
    pub(crate) fn set_with_deadline(&mut self, database: usize, key: &[u8]) {
        if matches!(self.command, "set" | "setex" | "psetex") {
            self.note(GENERIC, "expire", database, key);
        }
    }

    /// A consumer came into being with the first command that named it.
    pub(crate) fn consumer_created(&mut self, database: usize, key: &[u8]) {
        self.note(STREAM, "xgroup-createconsumer", database, key);
    }

    /// A key came into being.
    pub(crate) fn added(&mut self, database: usize, key: &[u8]) {
        self.note(NEW, "new", database, key);
    }

    /// A key was looked for that is not there.
    pub(crate) fn missed(&mut self, database: usize, key: &[u8]) {
        self.note(MISS, "keymiss", database, key);
    }

    /// What was noted, in Redis's order: a list's move announces the push before the pop.
    fn take(&mut self) -> Vec<Event> {
        let mut events = std::mem::take(&mut self.events);
        if self.command.ends_with("lmove") || self.command.ends_with("rpoplpush") {
            events.sort_by_key(|event| !event.name.ends_with("push"));
        }
        events
    }
}

/// What Redis calls it when this command changes a key.
fn event_of(command: &str) -> Option<(u32, &'static str)> {
    Some(match command {
        "set" | "setnx" | "getset" | "mset" | "msetnx" | "setex" | "psetex" | "bitop" => (STRING, "set"),
        "incr" | "decr" | "incrby" | "decrby" => (STRING, "incrby"),
        "incrbyfloat" => (STRING, "incrbyfloat"),
        "append" => (STRING, "append"),
        "setrange" => (STRING, "setrange"),
        "setbit" | "bitfield" => (STRING, "setbit"),
        "pfadd" | "pfmerge" => (STRING, "pfadd"),
        "lpush" | "lpushx" => (LIST, "lpush"),
        "rpush" | "rpushx" => (LIST, "rpush"),
        "lpop" | "blpop" => (LIST, "lpop"),
        "rpop" | "brpop" => (LIST, "rpop"),
        "linsert" => (LIST, "linsert"),
        "lset" => (LIST, "lset"),
        "lrem" => (LIST, "lrem"),
        "ltrim" => (LIST, "ltrim"),
        "sort" => (LIST, "sortstore"),
        "hset" | "hmset" | "hsetnx" => (HASH, "hset"),
        "hincrby" => (HASH, "hincrby"),
        "hincrbyfloat" => (HASH, "hincrbyfloat"),
        "hdel" => (HASH, "hdel"),
        "sadd" => (SET, "sadd"),
        "srem" => (SET, "srem"),
        "spop" => (SET, "spop"),
        "sinterstore" => (SET, "sinterstore"),
        "sunionstore" => (SET, "sunionstore"),
        "sdiffstore" => (SET, "sdiffstore"),
        "zadd" | "geoadd" => (SORTED_SET, "zadd"),
        "zincrby" => (SORTED_SET, "zincr"),
        "zrem" => (SORTED_SET, "zrem"),
        "zremrangebyscore" => (SORTED_SET, "zremrangebyscore"),
        "zremrangebyrank" => (SORTED_SET, "zremrangebyrank"),
        "zremrangebylex" => (SORTED_SET, "zremrangebylex"),
        "zpopmin" | "bzpopmin" => (SORTED_SET, "zpopmin"),
        "zpopmax" | "bzpopmax" => (SORTED_SET, "zpopmax"),
        "zunionstore" => (SORTED_SET, "zunionstore"),
        "zinterstore" => (SORTED_SET, "zinterstore"),
        "zdiffstore" => (SORTED_SET, "zdiffstore"),
        "zrangestore" => (SORTED_SET, "zrangestore"),
        "georadius" | "georadiusbymember" => (SORTED_SET, "georadiusstore"),
        "geosearchstore" => (SORTED_SET, "geosearchstore"),
        "xadd" => (STREAM, "xadd"),
        "xdel" => (STREAM, "xdel"),
        "xtrim" => (STREAM, "xtrim"),
        "xsetid" => (STREAM, "xsetid"),
        "xgroup|create" => (STREAM, "xgroup-create"),
        "xgroup|createconsumer" => (STREAM, "xgroup-createconsumer"),
        "xgroup|delconsumer" => (STREAM, "xgroup-delconsumer"),
        "xgroup|destroy" => (STREAM, "xgroup-destroy"),
        "xgroup|setid" => (STREAM, "xgroup-setid"),
        "rename" | "renamenx" => (GENERIC, "rename_to"),
        "move" => (GENERIC, "move_to"),
        "copy" => (GENERIC, "copy_to"),
        "restore" => (GENERIC, "restore"),
        _ => return None,
    })
}

impl Cluster {
    /// Tells the subscribers of one instance what has happened to keys there.
    pub(crate) fn announce(&mut self, id: InstanceId, notices: Option<Box<Notices>>) {
        let Some(mut notices) = notices else { return };
        for Event { name, database, key, .. } in notices.take() {
            if notices.mask & KEYSPACE != 0 {
                let channel = [format!("__keyspace@{database}__:").as_bytes(), &key].concat();
                self.deliver(id, &channel, name.as_bytes(), false);
            }
            if notices.mask & KEYEVENT != 0 {
                self.deliver(id, format!("__keyevent@{database}__:{name}").as_bytes(), &key, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_shown_as_redis_shows_them() {
        for (set, shown) in [("KEA", "AKE"), ("Kg$lshzxetd", "AK"), ("Kl", "lK"), ("KEAmn", "AKEmn"), ("", "")] {
            assert_eq!(parse_classes(set).map(format_classes).as_deref(), Some(shown));
        }
        assert_eq!(parse_classes("KEB"), None);
    }
}
