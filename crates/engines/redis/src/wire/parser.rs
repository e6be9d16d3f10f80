//! The incremental parser: from a connection's read buffer to requests, with Redis's own limits and complaints.

use std::fmt;

use super::inline;
use super::request::{Request, Span};

/// The longest inline command, and the longest header line of a RESP element.
const LINE_MAX: usize = 64 * 1024;
/// How many arguments a client that has not logged in may send, and how long each may be.
const UNAUTHENTICATED_ARGUMENTS_MAX: i64 = 10;
const UNAUTHENTICATED_BULK_MAX: i64 = 16 * 1024;

/// What bounds a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `proto-max-bulk-len`: the longest argument.
    pub bulk_length_max: u64,
    /// True until the client has logged in, if it has to.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bulk_length_max: 512 * 1024 * 1024, unauthenticated: false }
    }
}

/// Why a connection's bytes are not RESP. Redis says so and closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// A line without RESP and without an end.
    InlineTooBig,
    /// A quote that is not closed.
    UnbalancedQuotes,
    /// The header of an array that does not end.
    CountTooBig,
    /// The header of an array that is no number, or too great a one.
    InvalidCount,
    /// More arguments than a client that has not logged in may send.
    UnauthenticatedCount,
    /// Something else where an argument should begin.
    ExpectedBulk(u8),
    /// The header of an argument that does not end.
    BulkTooBig,
    /// The length of an argument that is no number, negative, or too great.
    InvalidBulk,
    /// A longer argument than a client that has not logged in may send.
    UnauthenticatedBulk,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::InlineTooBig => f.write_str("too big inline request"),
            ProtocolError::UnbalancedQuotes => f.write_str("unbalanced quotes in request"),
            ProtocolError::CountTooBig => f.write_str("too big mbulk count string"),
            ProtocolError::InvalidCount => f.write_str("invalid multibulk length"),
            ProtocolError::UnauthenticatedCount => f.write_str("unauthenticated multibulk length"),
            ProtocolError::ExpectedBulk(byte) => write!(f, "expected '$', got '{}'", char::from(*byte)),
            ProtocolError::BulkTooBig => f.write_str("too big bulk count string"),
            ProtocolError::InvalidBulk => f.write_str("invalid bulk length"),
            ProtocolError::UnauthenticatedBulk => f.write_str("unauthenticated bulk length"),
        }
    }
}

/// Finds requests in a buffer that grows at its end.
///
/// Call [`Parser::parse`] with all that has arrived and is not yet consumed. It remembers how far it came, so a request
/// that arrives in many pieces is not walked over again; nothing is allocated by a length that a client claims.
#[derive(Debug, Default)]
pub struct Parser {
    spans: Vec<Span>,
    /// The words of an inline command; empty for RESP.
    arena: Vec<u8>,
    /// How many arguments of the present request are still to come.
    missing: usize,
    /// How far the present request has been read.
    position: usize,
    /// The length of the argument whose header has been read.
    bulk: Option<usize>,
    is_inside: bool,
}

impl Parser {
    /// Reads on. `Ok(Some(length))`: a whole request stands in the first `length` bytes of `input`, and
    /// [`Parser::request`] gives it; the next call is to begin after them. `Ok(None)`: more bytes are needed.
    #[inline]
    pub fn parse(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>, ProtocolError> {
        if !self.is_inside {
            self.spans.clear();
            self.arena.clear();
            self.position = 0;
            match input.first() {
                None => return Ok(None),
                Some(b'*') => {}
                Some(_) => return self.inline(input),
            }
            let Some((count, next)) = number_line(input, 1, ProtocolError::CountTooBig)? else { return Ok(None) };
            let count = count.filter(|count| *count <= i64::from(i32::MAX)).ok_or(ProtocolError::InvalidCount)?;
            if count > UNAUTHENTICATED_ARGUMENTS_MAX && limits.unauthenticated {
                return Err(ProtocolError::UnauthenticatedCount);
            }
            if count <= 0 {
                return Ok(Some(next));
            }
            self.missing = usize::try_from(count).map_err(|_| ProtocolError::InvalidCount)?;
            self.position = next;
            self.is_inside = true;
        }
        loop {
            self.short_arguments(input);
            if self.missing == 0 {
                break;
            }
            if !self.argument(input, limits)? {
                return Ok(None);
            }
        }
        self.is_inside = false;
        Ok(Some(self.position))
    }

    /// The request that the last call of [`Parser::parse`] found at the beginning of `input`.
    #[inline]
    pub fn request<'a>(&'a self, input: &'a [u8]) -> Request<'a> {
        if self.arena.is_empty() {
            Request { bytes: input, spans: &self.spans, wire_length: self.position }
        } else {
            Request { bytes: &self.arena, spans: &self.spans, wire_length: 0 }
        }
    }

    /// Forgets what was read of a request that is not whole: the next call of [`Parser::parse`] begins anew.
    pub(crate) fn reset(&mut self) {
        self.is_inside = false;
        self.bulk = None;
    }

    /// How many bytes the parser holds besides the input.
    pub fn size(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.arena.capacity()
    }

    /// Reads arguments as long as they are short and all there.
    #[inline]
    fn short_arguments(&mut self, input: &[u8]) {
        let (mut position, mut missing) = (self.position, self.missing);
        while missing > 0
            && self.bulk.is_none()
            && let Some((length, header)) = short_header(&input[position..])
            && input.len() - position >= header + length + 2
        {
            self.spans.push((position + header, length));
            position += header + length + 2;
            missing -= 1;
        }
        (self.position, self.missing) = (position, missing);
    }

    /// Reads one argument; false if it is not all there.
    fn argument(&mut self, input: &[u8], limits: Limits) -> Result<bool, ProtocolError> {
        let length = match self.bulk {
            Some(length) => length,
            None => match self.header(input, limits)? {
                Some(length) => length,
                None => return Ok(false),
            },
        };
        // The two bytes after an argument are skipped unread, as Redis does.
        if input.len() - self.position < length + 2 {
            self.bulk = Some(length);
            return Ok(false);
        }
        self.spans.push((self.position, length));
        self.position += length + 2;
        self.bulk = None;
        self.missing -= 1;
        Ok(true)
    }

    /// Reads the header of an argument: its length; None if it is not all there.
    fn header(&mut self, input: &[u8], limits: Limits) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(other) => return Err(ProtocolError::ExpectedBulk(*other)),
        }
        let line = number_line(input, self.position + 1, ProtocolError::BulkTooBig)?;
        let Some((length, next)) = line else { return Ok(None) };
        let length = length
            .filter(|length| *length >= 0 && length.unsigned_abs() <= limits.bulk_length_max)
            .ok_or(ProtocolError::InvalidBulk)?;
        if length > UNAUTHENTICATED_BULK_MAX && limits.unauthenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        self.position = next;
        usize::try_from(length).map(Some).map_err(|_| ProtocolError::InvalidBulk)
    }

    fn inline(&mut self, input: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            return if input.len() > LINE_MAX { Err(ProtocolError::InlineTooBig) } else { Ok(None) };
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        // Redis treats the line as a C string.
        let line = line.split(|byte| *byte == 0).next().unwrap_or_default();
        if !inline::split(line, &mut self.arena, &mut self.spans) {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        self.position = end + 1;
        Ok(Some(end + 1))
    }
}

/// Of nearly all arguments the length is one or two digits: what it is, and how long its header is. No limit is below it.
#[inline]
fn short_header(rest: &[u8]) -> Option<(usize, usize)> {
    match rest {
        [b'$', a @ b'0'..=b'9', b'\r', b'\n', ..] => Some((usize::from(a - b'0'), 4)),
        [b'$', a @ b'1'..=b'9', b @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Some((usize::from(a - b'0') * 10 + usize::from(b - b'0'), 5))
        }
        _ => None,
    }
}

/// The number between `start` and the next CR LF, and where the line after it begins; None if the line has not ended.
/// The number is None if it is none.
#[inline]
fn number_line(
    input: &[u8],
    start: usize,
    too_big: ProtocolError,
) -> Result<Option<(Option<i64>, usize)>, ProtocolError> {
    let rest = input.get(start..).unwrap_or_default();
    if let [digit @ b'0'..=b'9', b'\r', b'\n', ..] = rest {
        return Ok(Some((Some(i64::from(digit - b'0')), start + 3)));
    }
    let Some(end) = memchr::memchr(b'\r', rest) else {
        return if rest.len() > LINE_MAX { Err(too_big) } else { Ok(None) };
    };
    if end + 1 >= rest.len() {
        return Ok(None);
    }
    Ok(Some((crate::state::parse_integer(&rest[..end]), start + end + 2)))
}
