//! Sets.

use super::dense::Dense;
use super::number::parse_integer;
use super::value::{Blob, Thresholds};

/// A set in one of its encodings.
#[derive(Clone, Debug)]
pub(crate) enum Set {
    /// Sorted integers.
    Intset(Vec<i64>),
    Listpack(Vec<Blob>),
    Table(Dense<()>),
}

impl Default for Set {
    fn default() -> Set {
        Set::Intset(Vec::new())
    }
}

impl PartialEq for Set {
    fn eq(&self, other: &Set) -> bool {
        self.len() == other.len() && self.iter().all(|member| other.contains(&member))
    }
}

impl Set {
    pub(crate) fn len(&self) -> usize {
        match self {
            Set::Intset(numbers) => numbers.len(),
            Set::Listpack(members) => members.len(),
            Set::Table(table) => table.len(),
        }
    }

    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Set::Intset(_) => "intset",
            Set::Listpack(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    /// Says that these members are about to be looked up.
    pub(super) fn expect<'m>(&self, members: impl Iterator<Item = &'m [u8]>) {
        if let Set::Table(table) = self {
            table.expect(members);
        }
    }

    pub(crate) fn contains(&self, member: &[u8]) -> bool {
        match self {
            Set::Intset(numbers) => parse_integer(member).is_some_and(|number| numbers.binary_search(&number).is_ok()),
            Set::Listpack(members) => members.iter().any(|other| other.as_slice() == member),
            Set::Table(table) => table.contains(member),
        }
    }

    /// Adds a member. True if it is new.
    pub(crate) fn add(&mut self, member: &[u8], thresholds: &Thresholds) -> bool {
        if let Set::Intset(numbers) = self {
            match parse_integer(member) {
                Some(number) => {
                    let Err(place) = numbers.binary_search(&number) else { return false };
                    numbers.insert(place, number);
                    if numbers.len() > thresholds.set_ints_max {
                        self.convert(thresholds, 0);
                    }
                    return true;
                }
                None => self.convert(thresholds, member.len()),
            }
        }
        if let Set::Listpack(members) = self {
            if members.iter().any(|other| other.as_slice() == member) {
                return false;
            }
            if members.len() < thresholds.set_entries_max && member.len() <= thresholds.set_value_max {
                members.push(Blob::from_slice(member));
                return true;
            }
            *self = Set::Table(members.drain(..).map(|member| (member, ())).collect());
        }
        let Set::Table(table) = self else { return false };
        let is_new = !table.contains(member);
        if is_new {
            table.add(Blob::from_slice(member), ());
        }
        is_new
    }

    /// From integers to a listpack, or to a table if a listpack could not hold one more member of `length` bytes.
    fn convert(&mut self, thresholds: &Thresholds, length: usize) {
        let Set::Intset(numbers) = self else { return };
        let members = numbers.iter().map(|number| Blob::from_slice(itoa::Buffer::new().format(*number).as_bytes()));
        let fits = numbers.len() < thresholds.set_entries_max && length <= thresholds.set_value_max;
        *self = if fits {
            Set::Listpack(members.collect())
        } else {
            Set::Table(members.map(|member| (member, ())).collect())
        };
    }

    /// Removes a member; false if it was none.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Set::Intset(numbers) => {
                let place = parse_integer(member).and_then(|number| numbers.binary_search(&number).ok());
                place.map(|place| numbers.remove(place)).is_some()
            }
            Set::Listpack(members) => {
                let place = members.iter().position(|other| other.as_slice() == member);
                place.map(|place| members.remove(place)).is_some()
            }
            Set::Table(table) => table.remove(member).is_some(),
        }
    }

    /// The member at a position; positions are dense.
    pub(crate) fn at(&self, index: usize) -> Option<Blob> {
        match self {
            Set::Intset(numbers) => {
                numbers.get(index).map(|number| Blob::from_slice(itoa::Buffer::new().format(*number).as_bytes()))
            }
            Set::Listpack(members) => members.get(index).cloned(),
            Set::Table(table) => table.at(index).map(|(member, ())| member.clone()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Blob> + '_ {
        (0..self.len()).filter_map(|index| self.at(index))
    }

    /// True if a scan answers with everything at once.
    pub(crate) fn is_compact(&self) -> bool {
        !matches!(self, Set::Table(_))
    }
}
