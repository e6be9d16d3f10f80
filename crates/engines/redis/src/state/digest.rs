//! What DEBUG DIGEST answers: a fingerprint of values that does not depend on the order in which sets hold their elements.

use sha1_smol::Sha1;

use super::keyspace::{Entry, NEVER};
use super::stream::StreamId;
use super::value::Value;
use crate::wire::format_double;

/// A fingerprint in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 20]);

impl Fingerprint {
    /// Adds something whose place does not matter.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(Sha1::from(bytes).digest().bytes()) {
            *byte ^= other;
        }
    }

    /// Adds something that comes after what was added before.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.add(bytes);
        self.0 = Sha1::from(self.0).digest().bytes();
    }

    /// Adds a whole database, or a key with its value.
    pub(crate) fn merge(&mut self, other: Fingerprint) {
        self.add(&other.0);
    }

    pub(crate) fn text(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Appends a value and whether it has a deadline.
    pub(crate) fn append_entry(&mut self, entry: &Entry) {
        self.append(&type_number(&entry.value).to_be_bytes());
        self.append_value(&entry.value);
        if entry.expire_at_ms != NEVER {
            self.add(b"!!expire!!");
        }
    }

    fn append_value(&mut self, value: &Value) {
        match value {
            Value::Int(number) => self.append(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Str { bytes, .. } => self.append(bytes),
            Value::List(list) => list.iter().for_each(|item| self.append(item)),
            Value::Set(set) => set.iter().for_each(|member| self.add(&member)),
            Value::Hash(hash) => hash.iter().for_each(|(field, value)| self.merge(pair(field, value))),
            Value::SortedSet(set) => set
                .range(0, set.len())
                .for_each(|(member, score)| self.merge(pair(member, format_double(score).as_bytes()))),
            Value::Stream(stream) => {
                for entry in stream.range(StreamId::new(0, 0), StreamId::new(u64::MAX, u64::MAX)) {
                    self.append(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                    for (field, value) in entry.pairs() {
                        self.append(field.bytes(&mut itoa::Buffer::new()));
                        self.append(value.bytes(&mut itoa::Buffer::new()));
                    }
                }
            }
        }
    }
}

fn pair(one: &[u8], other: &[u8]) -> Fingerprint {
    let mut fingerprint = Fingerprint::default();
    fingerprint.append(one);
    fingerprint.append(other);
    fingerprint
}

/// Redis's numbers of types.
fn type_number(value: &Value) -> u32 {
    match value {
        Value::Int(_) | Value::Str { .. } => 0,
        Value::List(_) => 1,
        Value::Set(_) => 2,
        Value::SortedSet(_) => 3,
        Value::Hash(_) => 4,
        Value::Stream(_) => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Hash, List, Set, SortedSet, Thresholds};

    fn fingerprint(value: Value, expire_at_ms: i64) -> String {
        let mut fingerprint = Fingerprint::default();
        fingerprint.append_entry(&Entry { expire_at_ms, ..Entry::new(value) });
        fingerprint.text()
    }

    /// What a real server answers to DEBUG DIGEST-VALUE for the same values.
    #[test]
    fn fingerprints_are_those_of_redis() {
        let thresholds = Thresholds::default();
        let (mut list, mut set, mut hash, mut sorted) =
            (List::default(), Set::default(), Hash::default(), SortedSet::default());
        for item in [b"a", b"b", b"c"] {
            list.push(item, false, &thresholds);
        }
        for member in [b"1", b"2", b"x"] {
            set.add(member, &thresholds);
        }
        hash.set(b"f", b"1", &thresholds);
        hash.set(b"g", b"2", &thresholds);
        sorted.insert(b"a", 1.0, &thresholds);
        sorted.insert(b"b", 2.5, &thresholds);
        let found = [
            fingerprint(Value::string(b"text"), 1000),
            fingerprint(Value::string(b"12"), NEVER),
            fingerprint(Value::List(Box::new(list)), NEVER),
            fingerprint(Value::Set(Box::new(set)), NEVER),
            fingerprint(Value::Hash(Box::new(hash)), NEVER),
            fingerprint(Value::SortedSet(Box::new(sorted)), NEVER),
        ];
        let real = [
            "ca660b853c197c3a71571192028fed85fa7a6ce8",
            "655ac46b180ad2f61a3cee25f0b1780fa2ec879a",
            "8bf72d812571eea9b927f3c11beb0c4165a6ff89",
            "4c6eef6b7853d1b76391c849d71b0d35d3faf18f",
            "d9779aa9c616692decaba51e4c41766464124c52",
            "c45c5b051acd64070e5ed1a949939d5145f806c5",
        ];
        assert_eq!(found, real);
    }
}
