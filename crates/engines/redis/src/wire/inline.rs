//! Inline commands: a line of words with the quoting of `redis-cli`, for people with a terminal and `nc`.

use super::request::Span;

/// Splits a line into words, appending their bytes to `arena`. False if a quote is not closed or is followed by a word.
pub(super) fn split(line: &[u8], arena: &mut Vec<u8>, spans: &mut Vec<Span>) -> bool {
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_space(*first)
        {
            rest = tail;
        }
        if rest.is_empty() {
            return true;
        }
        let start = arena.len();
        match word(rest, arena) {
            Some(tail) => rest = tail,
            None => return false,
        }
        spans.push((start, arena.len() - start));
    }
}

/// The words of a line; None if a quote is not closed or is followed by a word.
pub(crate) fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (mut arena, mut spans) = (Vec::new(), Vec::new());
    let is_good = split(line, &mut arena, &mut spans);
    is_good.then(|| spans.iter().map(|(start, length)| arena[*start..start + length].to_vec()).collect())
}

/// Takes one word off the front.
fn word<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [b'"', tail @ ..] => return double_quoted(tail, arena).and_then(followed_by_space),
            [b'\'', tail @ ..] => return single_quoted(tail, arena).and_then(followed_by_space),
            [] => return Some(rest),
            [byte, ..] if is_space(*byte) || *byte == 0 => return Some(&rest[1..]),
            [byte, tail @ ..] => {
                arena.push(*byte);
                rest = tail;
            }
        }
    }
}

fn followed_by_space(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|byte| is_space(*byte)).then_some(rest)
}

fn double_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'"', tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, tail @ ..] if hex(*high).is_some() && hex(*low).is_some() => {
                arena.push(hex(*high)? << 4 | hex(*low)?);
                rest = tail;
            }
            [b'\\', escaped, tail @ ..] => {
                arena.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [byte, tail @ ..] => {
                arena.push(*byte);
                rest = tail;
            }
        }
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\'', tail @ ..] => return Some(tail),
            [b'\\', b'\'', tail @ ..] => {
                arena.push(b'\'');
                rest = tail;
            }
            [byte, tail @ ..] => {
                arena.push(*byte);
                rest = tail;
            }
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 11 | 12)
}
