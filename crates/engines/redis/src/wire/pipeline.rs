//! The requests that have arrived together on one connection.

use std::ops::Range;

use super::parser::{Limits, Parser, ProtocolError};
use super::request::Request;

/// How many requests are read before the first of them is executed.
const REQUESTS_MAX: usize = 16;
/// A parser that has grown beyond this is not kept for others.
const PARSER_KEPT: usize = 64 << 10;

/// Requests that stand one after the other in a buffer. Connections use one in turn, each for as long as it executes what it
/// has read.
#[derive(Debug, Default)]
pub struct Pipeline {
    parsers: [Parser; REQUESTS_MAX],
    /// Where in the buffer each request stands.
    ranges: [Range<usize>; REQUESTS_MAX],
    count: usize,
}

impl Pipeline {
    /// Reads on with a connection's parser: whole requests from the beginning of `input`. Returns how long they are, 0 if there
    /// is none. What is wrong is told only if nothing stands before it, since executing that may change what is right; the
    /// next call finds it again.
    #[inline]
    pub fn read(&mut self, parser: &mut Parser, input: &[u8], limits: Limits) -> Result<usize, ProtocolError> {
        let requests_max = if limits.unauthenticated { 1 } else { REQUESTS_MAX };
        let mut start = 0;
        self.count = 0;
        for (place, range) in self.parsers.iter_mut().zip(&mut self.ranges).take(requests_max) {
            match parser.parse(&input[start..], limits) {
                Ok(Some(length)) => {
                    *range = start..start + length;
                    start += length;
                }
                Ok(None) => break,
                Err(error) if self.count == 0 => return Err(error),
                Err(_) => {
                    parser.reset();
                    break;
                }
            }
            if place.size() > PARSER_KEPT {
                *place = Parser::default();
            }
            std::mem::swap(place, parser);
            self.count += 1;
        }
        Ok(start)
    }

    /// How many requests were read.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if none was.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The requests that were read, each with where in `input` it ends.
    #[inline]
    pub fn requests<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = (Request<'a>, usize)> + Clone {
        let all = self.parsers.iter().zip(&self.ranges).take(self.count);
        all.map(|(parser, range)| (parser.request(&input[range.start..]), range.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pipeline: &mut Pipeline, parser: &mut Parser, input: &[u8]) -> Result<(Vec<String>, usize), ProtocolError> {
        let length = pipeline.read(parser, input, Limits::default())?;
        let text = |request: Request<'_>| request.tail(0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
        assert_eq!(pipeline.requests(input).last().map_or(0, |(_, end)| end), length);
        Ok((pipeline.requests(input).map(|(request, _)| text(request)).collect(), length))
    }

    #[test]
    fn what_has_arrived_in_part_is_read_on_later() {
        let (mut pipeline, mut parser) = (Pipeline::default(), Parser::default());
        let input = b"PING one\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nDEL\r\n$1\r\nb\r\n";
        let (requests, end) = read(&mut pipeline, &mut parser, &input[..input.len() - 4]).expect("requests");
        assert_eq!((requests, end), (vec!["PING one".to_owned(), "GET a".to_owned()], 30));
        let (requests, _) = read(&mut pipeline, &mut parser, &input[end..]).expect("requests");
        assert_eq!(requests, ["DEL b"]);
    }

    #[test]
    fn as_many_as_there_is_room_for() {
        let (mut pipeline, mut parser) = (Pipeline::default(), Parser::default());
        let input = b"PING\r\n".repeat(2 * REQUESTS_MAX + 1);
        let mut start = 0;
        for expected in [REQUESTS_MAX, REQUESTS_MAX, 1, 0] {
            let (requests, end) = read(&mut pipeline, &mut parser, &input[start..]).expect("requests");
            assert_eq!(requests.len(), expected);
            start += end;
        }
    }

    #[test]
    fn what_stands_before_an_error_is_executed_first() {
        let (mut pipeline, mut parser) = (Pipeline::default(), Parser::default());
        let input = b"PING\r\n*1\r\n$-1\r\n";
        let (requests, end) = read(&mut pipeline, &mut parser, input).expect("requests");
        assert_eq!((requests, end), (vec!["PING".to_owned()], 6));
        assert_eq!(read(&mut pipeline, &mut parser, &input[end..]), Err(ProtocolError::InvalidBulk));
    }

    #[test]
    fn before_a_client_has_logged_in_each_request_is_its_own() {
        let (mut pipeline, mut parser) = (Pipeline::default(), Parser::default());
        let limits = Limits { unauthenticated: true, ..Limits::default() };
        assert_eq!(pipeline.read(&mut parser, b"AUTH secret\r\nPING\r\n", limits), Ok(13));
    }
}
