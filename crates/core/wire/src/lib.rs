//! Bounded readers and writers for wire protocols.
