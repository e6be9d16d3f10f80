//! The digests of texts that were evaluated of late. SHA-1 of a text takes longer than to run it, if it is as short as most.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::{Digest, digest};

/// How many texts are kept.
const SLOTS: usize = 256;
/// A longer one is not.
const LENGTH_MAX: usize = 16 << 10;

type Slot = Option<(Box<[u8]>, Digest)>;

/// Each text has one place, and takes it from the text that had it before.
#[derive(Debug)]
pub(super) struct Texts {
    slots: Box<[Slot]>,
}

impl Default for Texts {
    fn default() -> Texts {
        Texts { slots: vec![None; SLOTS].into_boxed_slice() }
    }
}

impl Texts {
    fn place(text: &[u8]) -> usize {
        FixedState::default().hash_one(text) as usize % SLOTS
    }

    /// The digest of a text.
    pub(super) fn digest(&self, text: &[u8]) -> Digest {
        match &self.slots[Texts::place(text)] {
            Some((known, digest)) if **known == *text => *digest,
            _ => digest(text),
        }
    }

    /// The digest of a text that will be asked for again.
    pub(super) fn keep(&mut self, text: &[u8]) -> Digest {
        let slot = &mut self.slots[Texts::place(text)];
        match slot {
            Some((known, digest)) if **known == *text => *digest,
            _ if text.len() > LENGTH_MAX => digest(text),
            _ => slot.insert((text.into(), digest(text))).1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_texts() {
        let mut texts = Texts::default();
        let long = vec![b' '; LENGTH_MAX + 1];
        let all: Vec<Vec<u8>> = (0..4 * SLOTS).map(|number| format!("return {number}").into_bytes()).collect();
        for _ in 0..2 {
            for text in all.iter().chain([&long]) {
                assert_eq!(texts.digest(text), digest(text));
                assert_eq!(texts.keep(text), digest(text));
                assert_eq!(texts.digest(text), digest(text));
            }
        }
        assert!(texts.slots.iter().flatten().all(|(text, _)| text.len() <= LENGTH_MAX));
    }
}
