//! Hashes: fields and their values.

use super::dense::Dense;
use super::value::{Blob, Thresholds};

/// A hash in one of its encodings. The order of fields is that of insertion while it is compact.
#[derive(Clone, Debug)]
pub(crate) enum Hash {
    Listpack(Vec<(Blob, Blob)>),
    Table(Dense<Blob>),
}

impl Default for Hash {
    fn default() -> Hash {
        Hash::Listpack(Vec::new())
    }
}

impl PartialEq for Hash {
    fn eq(&self, other: &Hash) -> bool {
        self.len() == other.len() && self.iter().all(|(field, value)| other.get(field) == Some(value))
    }
}

impl Hash {
    pub(crate) fn len(&self) -> usize {
        match self {
            Hash::Listpack(pairs) => pairs.len(),
            Hash::Table(table) => table.len(),
        }
    }

    pub(crate) fn encoding(&self) -> &'static str {
        match self {
            Hash::Listpack(_) => "listpack",
            Hash::Table(_) => "hashtable",
        }
    }

    /// Says that these fields are about to be looked up.
    pub(super) fn expect<'f>(&self, fields: impl Iterator<Item = &'f [u8]>) {
        if let Hash::Table(table) = self {
            table.expect(fields);
        }
    }

    pub(crate) fn get(&self, field: &[u8]) -> Option<&Blob> {
        match self {
            Hash::Listpack(pairs) => pairs.iter().find(|(name, _)| name.as_slice() == field).map(|(_, value)| value),
            Hash::Table(table) => table.get(field),
        }
    }

    /// Sets a field. True if it is new.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8], thresholds: &Thresholds) -> bool {
        if let Hash::Listpack(pairs) = self {
            let is_large = field.len() > thresholds.hash_value_max || value.len() > thresholds.hash_value_max;
            if !is_large && let Some((_, place)) = pairs.iter_mut().find(|(name, _)| name.as_slice() == field) {
                *place = Blob::from_slice(value);
                return false;
            }
            if !is_large && pairs.len() < thresholds.hash_entries_max {
                pairs.push((Blob::from_slice(field), Blob::from_slice(value)));
                return true;
            }
            *self = Hash::Table(pairs.drain(..).collect());
        }
        let Hash::Table(table) = self else { return false };
        match table.get_mut(field) {
            Some(place) => {
                *place = Blob::from_slice(value);
                false
            }
            None => {
                table.add(Blob::from_slice(field), Blob::from_slice(value));
                true
            }
        }
    }

    /// Removes a field; None if there was none.
    pub(crate) fn remove(&mut self, field: &[u8]) -> Option<Blob> {
        match self {
            Hash::Listpack(pairs) => {
                let index = pairs.iter().position(|(name, _)| name.as_slice() == field)?;
                Some(pairs.remove(index).1)
            }
            Hash::Table(table) => table.remove(field),
        }
    }

    pub(crate) fn iter(&self) -> Box<dyn Iterator<Item = (&Blob, &Blob)> + '_> {
        match self {
            Hash::Listpack(pairs) => Box::new(pairs.iter().map(|(field, value)| (field, value))),
            Hash::Table(table) => Box::new(table.iter()),
        }
    }

    /// The pair at a position; positions are dense, and a removal changes only the last pair's.
    pub(crate) fn at(&self, index: usize) -> Option<(&Blob, &Blob)> {
        match self {
            Hash::Listpack(pairs) => pairs.get(index).map(|(field, value)| (field, value)),
            Hash::Table(table) => table.at(index),
        }
    }

    /// True if a scan answers with everything at once, as Redis does for compact encodings.
    pub(crate) fn is_compact(&self) -> bool {
        matches!(self, Hash::Listpack(_))
    }
}
