//! Why a command is refused, in Redis's own words.

use std::borrow::Cow;

/// A refusal. All of them are the client's to mend, but for those of the cluster, which it is to wait out or follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The key holds another type.
    WrongType,
    /// The arguments make no sense.
    Syntax,
    /// Not a 64-bit integer.
    NotInteger,
    /// Not a floating-point number.
    NotFloat,
    /// The key does not exist, and has to.
    NoSuchKey,
    /// An index past the end.
    IndexOutOfRange,
    /// A count or similar that must be positive.
    MustBePositive,
    /// A number of keys that is not.
    BadKeyCount,
    /// A cursor that SCAN never returned.
    BadCursor,
    /// A deadline that is none.
    BadExpire(&'static str),
    /// A blocking timeout that is no number.
    BadTimeout,
    /// A blocking timeout below zero.
    NegativeTimeout,
    /// Wrong number of arguments for this command.
    Arity(String),
    /// This subcommand of the command does not exist. Boxed, so that answers are small.
    UnknownSubcommand(Box<(String, String)>),
    /// Anything else, with its code.
    Text(Cow<'static, str>),
}

impl Refusal {
    /// A refusal with this text, which begins with its code.
    pub(crate) fn text(text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal::Text(text.into())
    }

    /// The error line without its leading `-`.
    pub(crate) fn line(&self) -> Cow<'static, str> {
        match self {
            Refusal::WrongType => "WRONGTYPE Operation against a key holding the wrong kind of value".into(),
            Refusal::Syntax => "ERR syntax error".into(),
            Refusal::NotInteger => "ERR value is not an integer or out of range".into(),
            Refusal::NotFloat => "ERR value is not a valid float".into(),
            Refusal::NoSuchKey => "ERR no such key".into(),
            Refusal::IndexOutOfRange => "ERR index out of range".into(),
            Refusal::MustBePositive => "ERR value is out of range, must be positive".into(),
            Refusal::BadKeyCount => "ERR numkeys should be greater than 0".into(),
            Refusal::BadCursor => "ERR invalid cursor".into(),
            Refusal::BadExpire(command) => format!("ERR invalid expire time in '{command}' command").into(),
            Refusal::BadTimeout => "ERR timeout is not a float or out of range".into(),
            Refusal::NegativeTimeout => "ERR timeout is negative".into(),
            Refusal::Arity(command) => format!("ERR wrong number of arguments for '{command}' command").into(),
            Refusal::UnknownSubcommand(named) => {
                let (name, command) = &**named;
                format!("ERR unknown subcommand '{name}'. Try {command} HELP.").into()
            }
            Refusal::Text(text) => text.clone(),
        }
    }
}
