//! Patterns as KEYS, SCAN and PSUBSCRIBE take them: `*`, `?`, `[a-z]`, `[^x]`, `\` before a literal.

/// How many steps back a pattern may cause; beyond, it matches nothing, so that no pattern can hold the server up.
const STEPS_MAX: usize = 1 << 20;
/// A pattern with more `*` than these, one at its end left out, matches nothing, as in Redis.
const STARS_MAX: usize = 1000;

/// True if `text` as a whole matches `pattern`.
pub(crate) fn glob_matches(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, false)
}

/// As [`glob_matches`], in any case of letters.
pub(crate) fn glob_matches_any_case(pattern: &[u8], text: &[u8]) -> bool {
    matches(pattern, text, true)
}

/// Walks on; at a mismatch it goes back to the last `*` and lets that take one byte more. One place to go back to is
/// enough, so the work is bounded by the product of the lengths.
fn matches(pattern: &[u8], text: &[u8], any_case: bool) -> bool {
    if pattern.len() > STARS_MAX && stars(pattern) > STARS_MAX {
        return false;
    }
    let (mut at, mut read) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    for _ in 0..STEPS_MAX.max(text.len() * 4) {
        if pattern.get(at) == Some(&b'*') {
            back = Some((at + 1, read));
            at += 1;
            continue;
        }
        let step = match (pattern.get(at), text.get(read)) {
            (None, None) => return true,
            (Some(_), Some(byte)) => one(&pattern[at..], *byte, any_case),
            _ => None,
        };
        match (step, back) {
            (Some(length), _) => {
                at += length;
                read += 1;
            }
            (None, Some((after_star, taken))) if taken < text.len() => {
                back = Some((after_star, taken + 1));
                (at, read) = (after_star, taken + 1);
            }
            (None, _) => return false,
        }
    }
    false
}

/// How many runs of `*` there are, without one at the end.
fn stars(pattern: &[u8]) -> usize {
    let runs = pattern.windows(2).filter(|pair| pair[0] == b'*' && pair[1] != b'*').count();
    let escaped = pattern.windows(2).filter(|pair| *pair == b"\\*").count();
    runs.saturating_sub(escaped)
}

/// How many bytes of the pattern stand for this one byte; None if it does not match.
fn one(pattern: &[u8], byte: u8, any_case: bool) -> Option<usize> {
    let fold = |byte: u8| if any_case { byte.to_ascii_lowercase() } else { byte };
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (matches, length) = class_matches(class, fold(byte), fold);
            matches.then_some(length + 1)
        }
        [b'\\', literal, ..] => (fold(*literal) == fold(byte)).then_some(2),
        [literal, ..] => (fold(*literal) == fold(byte)).then_some(1),
        [] => None,
    }
}

/// Whether a class matches, and how long it is, its closing bracket included.
fn class_matches(class: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let is_negated = class.first() == Some(&b'^');
    let mut index = usize::from(is_negated);
    let mut is_in = false;
    loop {
        match &class[index.min(class.len())..] {
            [] => break,
            [b']', ..] => {
                index += 1;
                break;
            }
            [b'\\', literal, ..] => {
                is_in |= fold(*literal) == byte;
                index += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high) = (fold(*low).min(fold(*high)), fold(*low).max(fold(*high)));
                is_in |= (low..=high).contains(&byte);
                index += 3;
            }
            [literal, ..] => {
                is_in |= fold(*literal) == byte;
                index += 1;
            }
        }
    }
    (is_in != is_negated, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("h?llo", "hello", true),
            ("h*llo", "heeeello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-b]llo", "hbllo", true),
            (r"h\*llo", "h*llo", true),
            (r"h\*llo", "hello", false),
            ("*", "", true),
            ("", "x", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[", "[", false),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let pattern = "a*".repeat(1000) + "b";
        assert!(!glob_matches(pattern.as_bytes(), "a".repeat(100_000).as_bytes()));
    }
}
