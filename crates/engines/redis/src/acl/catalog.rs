//! Every command and subcommand of the dispatch table, numbered: what rules about commands are made of.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use super::Categories;
use crate::ops::{COMMANDS, Command};

/// One command or subcommand.
pub(crate) struct Entry {
    /// Its name in lower case; `container|subcommand` for a subcommand.
    pub(crate) name: &'static str,
    pub(crate) number: usize,
    pub(crate) categories: Categories,
    /// The numbers of its subcommands.
    pub(crate) subcommands: Range<usize>,
    pub(crate) is_subcommand: bool,
}

/// All of them.
pub(crate) struct Catalog {
    entries: Vec<Entry>,
    by_name: BTreeMap<&'static str, usize>,
}

/// The catalog of the dispatch table.
pub(crate) fn catalog() -> &'static Catalog {
    static CATALOG: OnceLock<Catalog> = OnceLock::new();
    CATALOG.get_or_init(Catalog::new)
}

impl Catalog {
    fn new() -> Catalog {
        let mut catalog = Catalog { entries: Vec::new(), by_name: BTreeMap::new() };
        for command in COMMANDS {
            let number = catalog.add(command, false);
            for subcommand in command.subcommands() {
                catalog.add(subcommand, true);
            }
            catalog.entries[number].subcommands = number + 1..catalog.entries.len();
        }
        catalog
    }

    fn add(&mut self, command: &Command, is_subcommand: bool) -> usize {
        let number = self.entries.len();
        self.by_name.insert(command.name, number);
        let categories = Categories::of(command);
        self.entries.push(Entry { name: command.name, number, categories, subcommands: 0..0, is_subcommand });
        number
    }

    /// All entries, in the order of their numbers.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// A command by its name, a subcommand by `container|subcommand`, in any case.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Entry> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(name.as_str()).map(|number| &self.entries[*number])
    }

    /// The number of a command of the table.
    pub(crate) fn number(&self, command: &Command) -> Option<usize> {
        self.by_name.get(command.name).copied()
    }
}
