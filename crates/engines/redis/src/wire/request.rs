//! A request: a command's name and arguments, as slices of the buffer in which they arrived.

/// Where an argument stands: offset and length, relative to the request's own buffer.
pub(crate) type Span = (usize, usize);

/// One request. Copying it copies two references.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) spans: &'a [Span],
    /// The length of the request as RESP; 0 if it came as an inline command.
    pub(super) wire_length: usize,
}

impl<'a> Request<'a> {
    /// The number of arguments, the command's name included; 0 for an empty line.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// True for an empty line, which Redis ignores.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Argument `index`, 0 being the command's name; empty if there is none.
    #[inline]
    pub fn arg(&self, index: usize) -> &'a [u8] {
        match self.spans.get(index) {
            Some((start, length)) => self.bytes.get(*start..start + length).unwrap_or_default(),
            None => &[],
        }
    }

    /// Argument `index`, or None if there is none.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.spans.len()).then(|| self.arg(index))
    }

    /// The arguments from `start` on.
    pub fn tail(self, start: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + Clone {
        (start.min(self.len())..self.len()).map(move |index| self.arg(index))
    }

    /// How many bytes the request takes as a RESP array of bulk strings: what it counts for in replication offsets.
    pub fn encoded_length(&self) -> u64 {
        if self.wire_length > 0 {
            return self.wire_length as u64;
        }
        encoded_length(self.tail(0))
    }

    /// A copy that owns its bytes, for requests that wait: queued by MULTI, or blocked.
    pub fn to_owned(&self) -> OwnedRequest {
        let mut owned = OwnedRequest { wire_length: self.wire_length, ..OwnedRequest::default() };
        for argument in self.tail(0) {
            owned.push(argument);
        }
        owned
    }
}

/// A request with its own copy of its arguments.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    wire_length: usize,
}

impl OwnedRequest {
    /// A request of these arguments, the command's name first.
    pub fn new<'a>(arguments: impl IntoIterator<Item = &'a [u8]>) -> OwnedRequest {
        let arguments = arguments.into_iter();
        let spans = Vec::with_capacity(arguments.size_hint().0.clamp(8, 64));
        let mut owned = OwnedRequest { bytes: Vec::with_capacity(128), spans, wire_length: 0 };
        // Chains are walked through faster from within.
        arguments.for_each(|argument| owned.push(argument));
        owned
    }

    /// Adds an argument.
    pub fn push(&mut self, argument: &[u8]) {
        self.spans.push((self.bytes.len(), argument.len()));
        self.bytes.extend_from_slice(argument);
    }

    /// Takes all arguments away, and keeps the room that they took.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.wire_length = 0;
    }

    /// The request as commands take it.
    pub fn as_request(&self) -> Request<'_> {
        Request { bytes: &self.bytes, spans: &self.spans, wire_length: self.wire_length }
    }

    /// As RESP.
    pub(crate) fn encoded(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, self.as_request().tail(0));
        bytes
    }

    /// How many bytes it holds.
    pub fn size(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }
}

/// The length of arguments as a RESP array of bulk strings.
pub(crate) fn encoded_length<'a>(arguments: impl ExactSizeIterator<Item = &'a [u8]>) -> u64 {
    let header = 3 + digits(arguments.len());
    header + arguments.map(|argument| 5 + digits(argument.len()) + argument.len() as u64).sum::<u64>()
}

/// Appends arguments as a RESP array of bulk strings.
pub(crate) fn encode<'a>(buffer: &mut Vec<u8>, arguments: impl ExactSizeIterator<Item = &'a [u8]>) {
    let mut number = itoa::Buffer::new();
    buffer.push(b'*');
    buffer.extend_from_slice(number.format(arguments.len()).as_bytes());
    buffer.extend_from_slice(b"\r\n");
    for argument in arguments {
        buffer.push(b'$');
        buffer.extend_from_slice(number.format(argument.len()).as_bytes());
        buffer.extend_from_slice(b"\r\n");
        buffer.extend_from_slice(argument);
        buffer.extend_from_slice(b"\r\n");
    }
}

#[inline]
fn digits(number: usize) -> u64 {
    match number {
        0..10 => 1,
        10..100 => 2,
        _ => u64::from(number.ilog10()) + 1,
    }
}
