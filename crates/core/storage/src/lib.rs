//! The segmented log and the key-value store, over one disk abstraction.
