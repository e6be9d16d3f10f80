//! What the dispatch table says about a command.

use super::{Answer, Call, Session};
use crate::wire::Request;

/// One line of the dispatch table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Command {
    /// Its name in lower case; `container|subcommand` for a subcommand.
    pub(crate) name: &'static str,
    /// The number of arguments, its name included; negative: at least so many.
    pub(crate) arity: i32,
    pub(crate) flags: Flags,
    pub(crate) keys: &'static [KeySpec],
    pub(crate) group: Group,
    /// The release that brought it.
    pub(crate) since: &'static str,
    pub(crate) run: Run,
}

/// How a command is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run {
    /// On keys: it sees one database and nothing else, so that scripts and replicas can run it as well.
    Keys(fn(&mut Call<'_>) -> Answer),
    /// On the server: it sees the whole cluster and its own connection.
    Server(fn(&mut Session<'_>) -> Answer),
    /// A container of subcommands.
    Container(&'static [Command]),
    /// A container that is a command as well if no subcommand is named.
    ContainerOr(&'static [Command], fn(&mut Session<'_>) -> Answer),
}

/// A set of command flags, as COMMAND INFO names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(pub(crate) u32);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    pub(crate) const WRITE: Flags = Flags(1);
    pub(crate) const READONLY: Flags = Flags(1 << 1);
    pub(crate) const DENYOOM: Flags = Flags(1 << 2);
    pub(crate) const ADMIN: Flags = Flags(1 << 3);
    pub(crate) const PUBSUB: Flags = Flags(1 << 4);
    pub(crate) const NOSCRIPT: Flags = Flags(1 << 5);
    pub(crate) const BLOCKING: Flags = Flags(1 << 6);
    pub(crate) const LOADING: Flags = Flags(1 << 7);
    pub(crate) const STALE: Flags = Flags(1 << 8);
    pub(crate) const FAST: Flags = Flags(1 << 9);
    pub(crate) const NO_AUTH: Flags = Flags(1 << 10);
    pub(crate) const NO_MULTI: Flags = Flags(1 << 11);
    pub(crate) const MOVABLE_KEYS: Flags = Flags(1 << 12);
    pub(crate) const ALLOW_BUSY: Flags = Flags(1 << 13);
    pub(crate) const SKIP_MONITOR: Flags = Flags(1 << 14);
    pub(crate) const NO_MANDATORY_KEYS: Flags = Flags(1 << 15);
    pub(crate) const MAY_REPLICATE: Flags = Flags(1 << 16);
    pub(crate) const SKIP_SLOWLOG: Flags = Flags(1 << 17);
    pub(crate) const ASKING: Flags = Flags(1 << 18);
    /// Not named by COMMAND INFO: runs a script, whose first line says whether it writes.
    pub(crate) const SCRIPT: Flags = Flags(1 << 29);
    /// Not named by COMMAND INFO: sharded publishing, which has a rule of its own when the cluster is down.
    pub(crate) const SHARDED_PUBSUB: Flags = Flags(1 << 30);
    /// Not named by COMMAND INFO: executed at once inside MULTI.
    pub(crate) const CONTROLS_MULTI: Flags = Flags(1 << 31);

    const NAMES: &[(Flags, &str)] = &[
        (Flags::WRITE, "write"),
        (Flags::READONLY, "readonly"),
        (Flags::DENYOOM, "denyoom"),
        (Flags::ADMIN, "admin"),
        (Flags::PUBSUB, "pubsub"),
        (Flags::NOSCRIPT, "noscript"),
        (Flags::BLOCKING, "blocking"),
        (Flags::LOADING, "loading"),
        (Flags::STALE, "stale"),
        (Flags::SKIP_MONITOR, "skip_monitor"),
        (Flags::SKIP_SLOWLOG, "skip_slowlog"),
        (Flags::ASKING, "asking"),
        (Flags::FAST, "fast"),
        (Flags::NO_AUTH, "no_auth"),
        (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (Flags::NO_MULTI, "no_multi"),
        (Flags::MAY_REPLICATE, "may_replicate"),
        (Flags::MOVABLE_KEYS, "movablekeys"),
        (Flags::ALLOW_BUSY, "allow_busy"),
    ];

    pub(crate) const fn or(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Without these.
    pub(crate) const fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }

    #[inline]
    pub(crate) const fn has(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        Flags::NAMES.iter().filter(|(flag, _)| self.has(*flag)).map(|(_, name)| *name).collect()
    }
}

/// The family that a command belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    String,
    Hash,
    List,
    Set,
    SortedSet,
    Bitmap,
    HyperLogLog,
    Geo,
    Stream,
    Generic,
    Transactions,
    Scripting,
    Pubsub,
    Connection,
    Server,
    Cluster,
}

impl Group {
    /// As COMMAND DOCS names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Group::String => "string",
            Group::Hash => "hash",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Bitmap => "bitmap",
            Group::HyperLogLog => "hyperloglog",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Generic => "generic",
            Group::Transactions => "transactions",
            Group::Scripting => "scripting",
            Group::Pubsub => "pubsub",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Cluster => "cluster",
        }
    }
}

/// Where a command's keys stand, and what it does with them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    pub(crate) begin: Begin,
    pub(crate) find: Find,
    /// `RO`, `RW`, `OW` or `RM`, and what for.
    pub(crate) access: &'static [&'static str],
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Begin {
    /// At this argument.
    Index(usize),
    /// After this word, the first from argument `from` on; without it there are none.
    Keyword { word: &'static str, from: usize },
    /// After this word, the last one up to the `from_end`-th argument from the end: MIGRATE, whose own grammar finds them.
    LastKeyword { word: &'static str, from_end: usize },
    /// Not to be said: keys that patterns make of elements.
    Nowhere,
    /// SORT: its grammar has to be known to tell a STORE that is an option from one that is an argument.
    SortStore,
}

/// How keys follow one another from there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Find {
    /// Each `step`-th argument up to `last`: relative to the beginning, or to the end if negative.
    Range { last: i32, step: usize },
    /// So many as the argument `count` after the beginning says, from `first` after it on.
    Count { count: usize, first: usize, step: usize },
    /// The first half of the arguments that follow: as many others belong to them.
    Half,
    /// As its grammar says.
    Unknown,
}

impl KeySpec {
    /// The argument at which the keys begin; None if the request has none of this kind.
    #[inline]
    fn begin(&self, request: Request<'_>) -> Option<usize> {
        match self.begin {
            Begin::Index(begin) => Some(begin),
            Begin::Keyword { word, from } => {
                let place = (from..request.len()).find(|index| super::is(request.arg(*index), word))?;
                Some(place + 1)
            }
            Begin::SortStore => sort_store(request),
            Begin::Nowhere | Begin::LastKeyword { .. } => None,
        }
    }

    /// The positions of the keys in a request: first, one past the last, step.
    #[inline]
    pub(crate) fn positions(&self, request: Request<'_>) -> (usize, usize, usize) {
        let Some(begin) = self.begin(request) else { return (0, 0, 1) };
        match self.find {
            Find::Unknown => (begin, (begin + 1).min(request.len()), 1),
            Find::Half => (begin, begin + request.len().saturating_sub(begin) / 2, 1),
            Find::Range { last: 0, .. } => (begin, (begin + 1).min(request.len()), 1),
            Find::Range { last, step } if last < 0 => {
                let end = request.len().saturating_sub(usize::try_from(-last - 1).unwrap_or(0));
                (begin, end, step)
            }
            Find::Range { last, step } => {
                let end = begin + usize::try_from(last).unwrap_or(0) + 1;
                (begin, end.min(request.len()), step)
            }
            Find::Count { count, first, step } => {
                let number = crate::state::parse_integer(request.arg(begin + count)).unwrap_or(0);
                let first = begin + first;
                let number = usize::try_from(number).unwrap_or(0).min(request.len());
                (first, (first + number.saturating_mul(step)).min(request.len()), step)
            }
        }
    }
}

/// Where SORT's last STORE names its key.
pub(super) fn sort_store(request: Request<'_>) -> Option<usize> {
    let (mut index, mut found) = (2, None);
    while index < request.len() {
        let word = request.arg(index);
        if super::is(word, "STORE") {
            found = Some(index + 1);
        }
        index += match word {
            _ if super::is(word, "LIMIT") => 3,
            _ if ["GET", "BY", "STORE"].iter().any(|option| super::is(word, option)) => 2,
            _ => 1,
        };
    }
    found.filter(|index| *index < request.len())
}

impl Command {
    /// The positions of all keys in a request.
    #[inline]
    pub(crate) fn key_positions<'r>(&self, request: Request<'r>) -> impl Iterator<Item = usize> + use<'r> {
        self.keys.iter().flat_map(move |spec| {
            let (first, end, step) = spec.positions(request);
            (first..end).step_by(step)
        })
    }

    /// True if this is the command's name, in any case.
    #[inline]
    pub(crate) fn is_called(&self, name: &[u8]) -> bool {
        self.name.as_bytes().eq_ignore_ascii_case(name)
    }

    /// True if a request has the right number of arguments.
    #[inline]
    pub(crate) fn accepts(&self, arguments: usize) -> bool {
        let arguments = i32::try_from(arguments).unwrap_or(i32::MAX);
        if self.arity >= 0 { arguments == self.arity } else { arguments >= -self.arity }
    }

    /// The subcommands of a container.
    #[inline]
    pub(crate) fn subcommands(&self) -> &'static [Command] {
        match self.run {
            Run::Container(subcommands) | Run::ContainerOr(subcommands, _) => subcommands,
            _ => &[],
        }
    }
}

pub(crate) const RO: &[&str] = &["RO", "access"];
pub(crate) const RO_ONLY: &[&str] = &["RO"];
pub(crate) const RW: &[&str] = &["RW", "access", "update"];
pub(crate) const RW_VARIABLE: &[&str] = &["RW", "access", "update", "variable_flags"];
pub(crate) const RW_UPDATE: &[&str] = &["RW", "update"];
pub(crate) const RW_INSERT: &[&str] = &["RW", "insert"];
pub(crate) const RW_ACCESS: &[&str] = &["RW", "access"];
pub(crate) const RW_ALL: &[&str] = &["RW", "access", "insert"];
pub(crate) const RW_DELETE: &[&str] = &["RW", "delete"];
pub(crate) const RW_POP: &[&str] = &["RW", "access", "delete"];
pub(crate) const RW_POP_INCOMPLETE: &[&str] = &["RW", "access", "delete", "incomplete"];
pub(crate) const OW: &[&str] = &["OW", "update"];
pub(crate) const RM: &[&str] = &["RM", "delete"];

/// One key, at argument 1.
pub(crate) const fn one(access: &'static [&'static str]) -> KeySpec {
    at(1, access)
}

/// One key at this argument.
pub(crate) const fn at(index: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Index(index), find: Find::Range { last: 0, step: 1 }, access }
}

/// Keys from an argument up to the `last` one from the end, each `step`-th.
pub(crate) const fn up_to(first: usize, last: i32, step: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Index(first), find: Find::Range { last, step }, access }
}

/// A number of keys at this argument, then the keys.
pub(crate) const fn counted(index: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Index(index), find: Find::Count { count: 0, first: 1, step: 1 }, access }
}

/// The key after STORE or its like in GEORADIUS.
pub(crate) const fn after(word: &'static str, from: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Keyword { word, from }, find: Find::Range { last: 0, step: 1 }, access }
}

/// All that follow the last such word.
pub(crate) const fn after_last(word: &'static str, from_end: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::LastKeyword { word, from_end }, find: Find::Range { last: -1, step: 1 }, access }
}

/// The keys after STREAMS in XREAD and XREADGROUP: as many identifiers follow them.
pub(crate) const fn streams(from: usize, access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Keyword { word: "STREAMS", from }, find: Find::Half, access }
}

/// The keys that SORT's patterns name, which only SORT itself can find.
pub(crate) const fn patterns(access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::Nowhere, find: Find::Unknown, access }
}

/// The key after STORE in SORT.
pub(crate) const fn sort_target(access: &'static [&'static str]) -> KeySpec {
    KeySpec { begin: Begin::SortStore, find: Find::Unknown, access }
}
