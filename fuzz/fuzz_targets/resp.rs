//! Any bytes as RESP: in whatever pieces they arrive, one by one or many at once, the same requests come of them, or the
//! same complaint.

#![no_main]

use atoll_fuzz as _;
use atoll_redis::wire::{Limits, Parser, Pipeline, ProtocolError};
use libfuzzer_sys::fuzz_target;

type Requests = (Vec<Vec<Vec<u8>>>, Option<ProtocolError>);

fuzz_target!(|input: &[u8]| {
    let Some((&[choices, cut], bytes)) = input.split_first_chunk() else { return };
    let limits = Limits { unauthenticated: choices & 1 != 0, ..Limits::default() };
    let whole = requests([bytes], limits);
    assert_eq!(requests(bytes.chunks(1), limits), whole, "byte by byte");
    let (front, back) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(requests([front, back], limits), whole, "cut at {cut}");
    assert_eq!(pipelined([front, back], limits), whole, "many at once, cut at {cut}");
});

fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Requests {
    let mut parser = Parser::default();
    let (mut arrived, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match parser.parse(&arrived, limits) {
                Ok(None) => break,
                Ok(Some(length)) => {
                    let request = parser.request(&arrived);
                    found.push(request.tail(0).map(<[u8]>::to_vec).collect());
                    arrived.drain(..length);
                }
                Err(error) => return (found, Some(error)),
            }
            assert!(parser.size() < 1 << 20, "the parser holds {} bytes for {} of input", parser.size(), arrived.len());
        }
    }
    (found, None)
}

fn pipelined<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Requests {
    let (mut pipeline, mut parser) = (Pipeline::default(), Parser::default());
    let (mut arrived, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        arrived.extend_from_slice(piece);
        loop {
            match pipeline.read(&mut parser, &arrived, limits) {
                Ok(0) => break,
                Ok(length) => {
                    found.extend(
                        pipeline.requests(&arrived).map(|(request, _)| request.tail(0).map(<[u8]>::to_vec).collect()),
                    );
                    arrived.drain(..length);
                }
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}
