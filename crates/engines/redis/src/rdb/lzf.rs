//! LZF: literal runs and references of up to 264 bytes, at most 8 KiB back.

use super::Damage;

/// How far back a reference reaches, and how long it can be.
const DISTANCE_MAX: usize = 1 << 13;
const MATCH_MAX: usize = 264;
const MATCH_MIN: usize = 3;
const LITERAL_MAX: usize = 32;
/// The table of what was seen has as many places as there are bytes, up to this many.
const HASH_BITS: u32 = 14;

/// The bytes in compressed form; None unless that saves at least four of them.
pub(super) fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(4)?;
    let mut out = Vec::with_capacity(limit);
    // Where three bytes with this hash were last seen, plus one.
    let bits = input.len().ilog2().clamp(6, HASH_BITS);
    let mut seen = vec![0u32; 1 << bits];
    let (mut at, mut literal) = (0, 0);
    while at + MATCH_MIN <= input.len() {
        let here = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let place = (here.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize;
        let before = (seen[place] as usize).checked_sub(1);
        seen[place] = u32::try_from(at + 1).ok()?;
        let start = before.filter(|start| at - start <= DISTANCE_MAX);
        let Some(start) = start.filter(|start| input[*start..start + MATCH_MIN] == input[at..at + MATCH_MIN]) else {
            at += 1;
            continue;
        };
        let longest = (input.len() - at).min(MATCH_MAX);
        let length = (MATCH_MIN..longest).find(|more| input[start + more] != input[at + more]).unwrap_or(longest);
        literals(&mut out, &input[literal..at]);
        reference(&mut out, at - start - 1, length - 2);
        at += length;
        literal = at;
        if out.len() > limit {
            return None;
        }
    }
    literals(&mut out, &input[literal..]);
    (out.len() <= limit).then_some(out)
}

fn literals(out: &mut Vec<u8>, bytes: &[u8]) {
    for run in bytes.chunks(LITERAL_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn reference(out: &mut Vec<u8>, offset: usize, length: usize) {
    let high = (offset >> 8) as u8;
    if length < 7 {
        out.push((length as u8) << 5 | high);
    } else {
        out.push(7 << 5 | high);
        out.push((length - 7) as u8);
    }
    out.push(offset as u8);
}

/// The `length` bytes that these are the compressed form of. The output grows with the input, whatever `length` says.
pub(super) fn decompress(input: &[u8], length: usize) -> Result<Vec<u8>, Damage> {
    const BROKEN: Damage = Damage::Malformed("a compressed string");
    let mut out = Vec::new();
    let mut bytes = input.iter().copied();
    while let Some(control) = bytes.next() {
        if usize::from(control) < LITERAL_MAX {
            for _ in 0..=control {
                out.push(bytes.next().ok_or(BROKEN)?);
            }
        } else {
            let mut run = usize::from(control >> 5) + 2;
            if run == 9 {
                run += usize::from(bytes.next().ok_or(BROKEN)?);
            }
            let back = usize::from(control & 0x1f) << 8 | usize::from(bytes.next().ok_or(BROKEN)?);
            let start = out.len().checked_sub(back + 1).ok_or(BROKEN)?;
            for from in start..start + run {
                out.push(out[from]);
            }
        }
        if out.len() > length {
            return Err(BROKEN);
        }
    }
    if out.len() == length { Ok(out) } else { Err(BROKEN) }
}
