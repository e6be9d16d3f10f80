//! Categories of commands. Most follow from a command's flags, the others from its family.

use crate::ops::{Command, Flags, Group, Run};

/// A set of categories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Categories(u32);

impl Categories {
    const NONE: Categories = Categories(0);
    const KEYSPACE: Categories = Categories(1);
    const READ: Categories = Categories(1 << 1);
    const WRITE: Categories = Categories(1 << 2);
    const SET: Categories = Categories(1 << 3);
    const SORTEDSET: Categories = Categories(1 << 4);
    const LIST: Categories = Categories(1 << 5);
    const HASH: Categories = Categories(1 << 6);
    const STRING: Categories = Categories(1 << 7);
    const BITMAP: Categories = Categories(1 << 8);
    const HYPERLOGLOG: Categories = Categories(1 << 9);
    const GEO: Categories = Categories(1 << 10);
    const STREAM: Categories = Categories(1 << 11);
    const PUBSUB: Categories = Categories(1 << 12);
    const ADMIN: Categories = Categories(1 << 13);
    const FAST: Categories = Categories(1 << 14);
    const SLOW: Categories = Categories(1 << 15);
    const BLOCKING: Categories = Categories(1 << 16);
    const DANGEROUS: Categories = Categories(1 << 17);
    const CONNECTION: Categories = Categories(1 << 18);
    const TRANSACTION: Categories = Categories(1 << 19);
    const SCRIPTING: Categories = Categories(1 << 20);

    /// The names, in the order of the bits, which is the order of ACL CAT.
    pub(crate) const NAMES: [&str; 21] = [
        "keyspace",
        "read",
        "write",
        "set",
        "sortedset",
        "list",
        "hash",
        "string",
        "bitmap",
        "hyperloglog",
        "geo",
        "stream",
        "pubsub",
        "admin",
        "fast",
        "slow",
        "blocking",
        "dangerous",
        "connection",
        "transaction",
        "scripting",
    ];

    /// The category of this name, in any case.
    pub(crate) fn named(name: &[u8]) -> Option<Categories> {
        let place = Categories::NAMES.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        Some(Categories(1 << place))
    }

    /// True if they have one in common.
    pub(crate) fn has(self, other: Categories) -> bool {
        self.0 & other.0 != 0
    }

    fn or(self, other: Categories) -> Categories {
        Categories(self.0 | other.0)
    }

    /// Their names, in order.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let names = Categories::NAMES.iter().enumerate();
        names.filter(move |(place, _)| self.0 & 1 << place != 0).map(|(_, name)| *name)
    }

    /// The categories of a command.
    pub(crate) fn of(command: &Command) -> Categories {
        let mut all = of_family(command);
        if is_dangerous(command.name) {
            all = all.or(Categories::DANGEROUS);
        }
        if matches!(command.name, "lastsave" | "role") {
            all = all.or(Categories::ADMIN).or(Categories::DANGEROUS);
        }
        let by_flag = [
            (Flags::WRITE, Categories::WRITE),
            (Flags::ADMIN, Categories::ADMIN.or(Categories::DANGEROUS)),
            (Flags::PUBSUB, Categories::PUBSUB),
            (Flags::FAST, Categories::FAST),
            (Flags::BLOCKING, Categories::BLOCKING),
        ];
        for (_, categories) in by_flag.into_iter().filter(|(flag, _)| command.flags.has(*flag)) {
            all = all.or(categories);
        }
        // Scripts that only read are allowed as scripts, not as readers.
        if command.flags.has(Flags::READONLY) && !all.has(Categories::SCRIPTING) {
            all = all.or(Categories::READ);
        }
        if all.has(Categories::FAST) { all } else { all.or(Categories::SLOW) }
    }
}

/// What a command's family says. A container has no categories of its own, since nobody can execute it.
fn of_family(command: &Command) -> Categories {
    if matches!(command.run, Run::Container(_)) {
        return Categories::NONE;
    }
    match command.group {
        _ if matches!(command.name, "sort" | "sort_ro") => {
            Categories::SET.or(Categories::SORTEDSET).or(Categories::LIST)
        }
        _ if matches!(command.name, "wait" | "waitaof") => Categories::CONNECTION,
        Group::String => Categories::STRING,
        Group::Hash => Categories::HASH,
        Group::List => Categories::LIST,
        Group::Set => Categories::SET,
        Group::SortedSet => Categories::SORTEDSET,
        Group::Bitmap => Categories::BITMAP,
        Group::HyperLogLog => Categories::HYPERLOGLOG,
        Group::Geo => Categories::GEO,
        Group::Stream => Categories::STREAM,
        Group::Generic => Categories::KEYSPACE,
        Group::Transactions => Categories::TRANSACTION,
        Group::Scripting => Categories::SCRIPTING,
        Group::Connection => Categories::CONNECTION,
        Group::Pubsub => Categories::NONE,
        Group::Server | Group::Cluster => match command.name {
            "dbsize" | "flushall" | "flushdb" | "restore-asking" | "swapdb" => Categories::KEYSPACE,
            "asking" | "readonly" | "readwrite" | "command" => Categories::CONNECTION,
            name if name.starts_with("command|") => Categories::CONNECTION,
            _ => Categories::NONE,
        },
    }
}

/// Dangerous by nature, and not because they are for administrators.
fn is_dangerous(name: &str) -> bool {
    matches!(
        name,
        "flushall"
            | "flushdb"
            | "info"
            | "keys"
            | "migrate"
            | "restore"
            | "restore-asking"
            | "sort"
            | "sort_ro"
            | "swapdb"
    )
}
