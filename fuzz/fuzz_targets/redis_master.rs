//! Any bytes as what a Redis master sends to a replica: in whatever pieces they arrive, the same parts come of them, and what is
//! held is in proportion to what has come.

#![no_main]

use atoll_fuzz as _;
use atoll_redis::wire::Limits;
use atoll_redis::{BadSource, Part, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&[choices, cut], bytes)) = input.split_first_chunk() else { return };
    let whole = parts([bytes], choices);
    assert_eq!(parts(bytes.chunks(1), choices), whole, "byte by byte");
    let (front, back) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(parts([front, back], choices), whole, "cut at {cut}");
});

fn parts<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, choices: u8) -> (Vec<Vec<u8>>, Option<BadSource>) {
    let mut source = Source::new(Limits::default());
    let mut lines = choices & 3;
    if lines == 0 {
        source.expect_snapshot();
    }
    let mut found = Vec::new();
    for piece in pieces {
        source.receive(piece);
        loop {
            match source.next_part() {
                Ok(None) => break,
                Ok(Some(Part::Line(line))) => {
                    lines -= 1;
                    match (lines, choices & 4 != 0) {
                        (0, true) => source.expect_stream(),
                        (0, false) => source.expect_snapshot(),
                        _ => {}
                    }
                    found.push(line);
                }
                Ok(Some(Part::Snapshot(file))) => found.push(file),
                Ok(Some(Part::Command(_, bytes))) => found.push(bytes),
                Err(bad) => return (found, Some(bad)),
            }
        }
    }
    (found, None)
}
