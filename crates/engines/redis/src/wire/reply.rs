//! Replies, written straight into a connection's buffer in the version of RESP that it asked for.

/// Writes one connection's replies.
#[derive(Debug)]
pub struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
    is_resp3: bool,
}

impl<'a> Reply<'a> {
    /// A writer into `buffer`, in RESP3 or RESP2.
    pub fn new(buffer: &'a mut Vec<u8>, is_resp3: bool) -> Reply<'a> {
        Reply { buffer, is_resp3 }
    }

    /// True if the connection asked for RESP3.
    pub fn is_resp3(&self) -> bool {
        self.is_resp3
    }

    /// Where the next byte goes; for [`Reply::rewind`].
    pub fn position(&self) -> usize {
        self.buffer.len()
    }

    /// Takes back all that was written since `position`.
    pub fn rewind(&mut self, position: usize) {
        self.buffer.truncate(position);
    }

    /// Bytes that are RESP already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string: no line breaks.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error: its code, a space, its text.
    pub fn error(&mut self, text: &str) {
        self.buffer.push(b'-');
        self.buffer.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.raw(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, number: i64) {
        match number {
            0 => self.raw(b":0\r\n"),
            1 => self.raw(b":1\r\n"),
            _ => self.line(b':', itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    /// The answer to WAITAOF: whether the instance's own file is synced, and how many of its replicas' are.
    pub(crate) fn syncs(&mut self, (is_local, replicas): (bool, usize)) {
        self.array(2);
        self.count(usize::from(is_local));
        self.count(replicas);
    }

    /// A length or count, as an integer.
    pub fn count(&mut self, number: usize) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// 1 or 0.
    pub fn flag(&mut self, flag: bool) {
        self.integer(i64::from(flag));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.buffer.reserve(bytes.len() + 16);
        self.header(b'$', bytes.len());
        self.buffer.extend_from_slice(bytes);
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// A number as a bulk string.
    pub fn bulk_integer(&mut self, number: i64) {
        self.bulk(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A bulk string or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Text that clients are to show as it is: a verbatim string in RESP3.
    pub fn verbatim(&mut self, text: &str) {
        if self.is_resp3 {
            self.header(b'=', text.len() + 4);
            self.raw(b"txt:");
            self.raw(text.as_bytes());
            self.raw(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }

    /// Nothing: the null bulk string of RESP2.
    pub fn null(&mut self) {
        self.raw(if self.is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing where an array was asked for: the null array of RESP2.
    pub fn null_array(&mut self) {
        self.raw(if self.is_resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The header of an array of `length` elements, which follow.
    pub fn array(&mut self, length: usize) {
        self.header(b'*', length);
    }

    /// The header of a map of `length` pairs: an array of twice as many in RESP2.
    pub fn map(&mut self, length: usize) {
        if self.is_resp3 { self.header(b'%', length) } else { self.header(b'*', length * 2) }
    }

    /// The header of a set.
    pub fn set(&mut self, length: usize) {
        self.header(if self.is_resp3 { b'~' } else { b'*' }, length);
    }

    /// The header of an out-of-band push: an array in RESP2.
    pub fn push(&mut self, length: usize) {
        self.header(if self.is_resp3 { b'>' } else { b'*' }, length);
    }

    /// A floating-point number: a bulk string in RESP2.
    pub fn double(&mut self, number: f64) {
        let text = format_double(number);
        if self.is_resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// All of `strings` as an array.
    pub fn strings(&mut self, strings: &[&str]) {
        self.array(strings.len());
        for string in strings {
            self.bulk(string.as_bytes());
        }
    }

    /// All of `lines` as an array of simple strings, as the HELP of a command has them.
    pub fn statuses(&mut self, lines: &[&str]) {
        self.array(lines.len());
        for line in lines {
            self.simple(line);
        }
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buffer.reserve(text.len() + 3);
        self.buffer.push(kind);
        self.buffer.extend_from_slice(text);
        self.buffer.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn header(&mut self, kind: u8, length: usize) {
        if length < 10 {
            self.buffer.extend_from_slice(&[kind, b'0' + length as u8, b'\r', b'\n']);
        } else {
            self.line(kind, itoa::Buffer::new().format(length).as_bytes());
        }
    }
}

/// A floating-point number as Redis prints it: the shortest digits that read back the same, with an exponent only where
/// they would otherwise be many.
pub(crate) fn format_double(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if number == 0.0 {
        return if number.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    if number.abs() < (1u64 << 52) as f64 && number.fract() == 0.0 {
        return (number as i64).to_string();
    }
    // The rules of the library that Redis 7.2 prints with: an exponent where plain digits would be mostly zeros.
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count() as i32;
    let last_place = exponent - (digits - 1);
    let is_plain = if last_place >= 0 { exponent < digits + 7 } else { last_place > -7 || exponent.abs() < 4 };
    if is_plain {
        return format!("{number}");
    }
    format!("{mantissa}e{}{}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
