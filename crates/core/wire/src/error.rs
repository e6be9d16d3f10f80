//! What was wrong with the bytes, and where.

use thiserror::Error;

/// A message that cannot be read: the sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("byte {offset}: {kind}")]
pub struct WireError {
    /// Where in the input the faulty item begins, in bytes from the reader's start.
    pub offset: usize,
    /// What is wrong there.
    pub kind: WireErrorKind,
}

/// The ways in which bytes can fail to be a message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WireErrorKind {
    /// The input ends before the item does.
    #[error("{needed} bytes needed, {remaining} left")]
    TooShort {
        /// Bytes that the item needs.
        needed: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// A length that may not be negative is.
    #[error("length {0} is negative")]
    NegativeLength(i64),
    /// An item that may not be null is.
    #[error("null where a value is required")]
    UnexpectedNull,
    /// An array claims more elements than the remaining bytes can hold.
    #[error("{count} elements of at least {element_size_min} bytes cannot be in {remaining} bytes")]
    CountTooLarge {
        /// Elements claimed.
        count: usize,
        /// Fewest bytes that one element takes.
        element_size_min: usize,
        /// Bytes that are there.
        remaining: usize,
    },
    /// The arrays of this message have more elements than one message may have.
    #[error("more than {0} array elements in one message")]
    TooManyElements(usize),
    /// A variable-length integer goes on after its last possible byte.
    #[error("variable-length integer does not end")]
    EndlessVarint,
    /// A text is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// Bytes are left after the end of the message.
    #[error("{0} bytes after the end of the message")]
    TrailingBytes(usize),
    /// A value that the protocol does not know in this place.
    #[error("{what} cannot be {value}")]
    Invalid {
        /// The name of the item.
        what: &'static str,
        /// Its value.
        value: i64,
    },
}
