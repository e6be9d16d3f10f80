//! What a master sends, taken apart: lines of the handshake, a snapshot, and then the stream of commands.
//!
//! Nothing is believed: a line ends within its limit or is an error, and a snapshot's length sizes nothing; what is held is
//! in proportion to the bytes that have come.

use crate::wire::{Limits, OwnedRequest, Parser};

/// The longest line of the handshake, and of what stands before a snapshot.
const LINE_MAX: usize = 1024;
/// How much of one command may be held before it is complete.
const COMMAND_MAX: usize = 1 << 30;
/// How many digits the mark at a snapshot's end has.
const MARK_LENGTH: usize = 40;

/// What comes next.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
enum Mode {
    #[default]
    Lines,
    /// `$LENGTH` or `$EOF:MARK`.
    Header,
    Measured {
        missing: u64,
    },
    Marked {
        mark: Vec<u8>,
    },
    Stream,
}

/// A part of what a master sends.
#[derive(Debug)]
pub enum Part {
    /// A line of the handshake, without its end.
    Line(Vec<u8>),
    /// A snapshot, complete: an RDB file.
    Snapshot(Vec<u8>),
    /// A command of the stream, and the bytes that it came in.
    Command(OwnedRequest, Vec<u8>),
}

/// What a master sent is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSource(pub &'static str);

/// Takes apart what a master sends, in whatever pieces it comes.
#[derive(Debug, Default)]
pub struct Source {
    input: Vec<u8>,
    mode: Mode,
    snapshot: Vec<u8>,
    parser: Parser,
    limits: Limits,
}

impl Source {
    /// One that begins with lines.
    pub fn new(limits: Limits) -> Source {
        Source { limits, ..Source::default() }
    }

    /// A snapshot comes next.
    pub fn expect_snapshot(&mut self) {
        self.mode = Mode::Header;
    }

    /// The stream comes next.
    pub fn expect_stream(&mut self) {
        self.mode = Mode::Stream;
    }

    /// How many bytes of a snapshot have come; None if none is under way.
    pub fn snapshot_progress(&self) -> Option<u64> {
        matches!(self.mode, Mode::Header | Mode::Measured { .. } | Mode::Marked { .. })
            .then_some(self.snapshot.len() as u64)
    }

    /// Takes bytes in.
    pub fn receive(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next part; None if it is not all there.
    pub fn next_part(&mut self) -> Result<Option<Part>, BadSource> {
        loop {
            match &self.mode {
                Mode::Lines => return Ok(self.line()?.map(Part::Line)),
                Mode::Header => match self.line()? {
                    Some(line) => self.mode = header(&line)?,
                    None => return Ok(None),
                },
                Mode::Measured { missing } => {
                    let length = usize::try_from(*missing).unwrap_or(usize::MAX).min(self.input.len());
                    let missing = missing - length as u64;
                    self.mode = Mode::Measured { missing };
                    self.snapshot.extend(self.input.drain(..length));
                    return Ok(if missing == 0 { Some(self.end_snapshot()) } else { None });
                }
                Mode::Marked { mark } => {
                    // The mark may have begun in what came before.
                    let from = self.snapshot.len().saturating_sub(MARK_LENGTH - 1);
                    let end = {
                        self.snapshot.append(&mut self.input);
                        memchr::memmem::find(&self.snapshot[from..], mark).map(|at| from + at)
                    };
                    let Some(end) = end else { return Ok(None) };
                    self.input = self.snapshot.split_off(end + MARK_LENGTH);
                    self.snapshot.truncate(end);
                    return Ok(Some(self.end_snapshot()));
                }
                Mode::Stream => return self.command(),
            }
        }
    }

    fn end_snapshot(&mut self) -> Part {
        self.mode = Mode::Stream;
        Part::Snapshot(std::mem::take(&mut self.snapshot))
    }

    /// A line that is not empty: empty ones only say that the master lives.
    fn line(&mut self) -> Result<Option<Vec<u8>>, BadSource> {
        loop {
            let Some(end) = memchr::memchr(b'\n', &self.input) else {
                let is_too_long = self.input.len() > LINE_MAX;
                return if is_too_long { Err(BadSource("a line that does not end")) } else { Ok(None) };
            };
            if end > LINE_MAX {
                return Err(BadSource("a line that does not end"));
            }
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let line = line.trim_ascii_end();
            if !line.is_empty() {
                return Ok(Some(line.to_vec()));
            }
        }
    }

    fn command(&mut self) -> Result<Option<Part>, BadSource> {
        match self.parser.parse(&self.input, self.limits) {
            Ok(Some(length)) => {
                let request = self.parser.request(&self.input).to_owned();
                let bytes = self.input.drain(..length).collect();
                Ok(Some(Part::Command(request, bytes)))
            }
            Ok(None) if self.input.len() + self.parser.size() > COMMAND_MAX => Err(BadSource("a command without end")),
            Ok(None) => Ok(None),
            Err(_) => Err(BadSource("what is no command")),
        }
    }
}

fn header(line: &[u8]) -> Result<Mode, BadSource> {
    const BAD: BadSource = BadSource("no snapshot");
    let rest = line.strip_prefix(b"$").ok_or(BAD)?;
    if let Some(mark) = rest.strip_prefix(b"EOF:") {
        return if mark.len() == MARK_LENGTH { Ok(Mode::Marked { mark: mark.to_vec() }) } else { Err(BAD) };
    }
    let missing = crate::state::parse_integer(rest).and_then(|length| u64::try_from(length).ok()).ok_or(BAD)?;
    Ok(Mode::Measured { missing })
}
