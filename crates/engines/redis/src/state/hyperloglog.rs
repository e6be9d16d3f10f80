//! HyperLogLogs, in the format of the strings in which Redis keeps them: a client may GET one and SET it elsewhere.
//!
//! A header of 16 bytes (`HYLL`, the encoding, three zeros, the cached count) is followed by 16384 registers of 6 bits:
//! *dense*, packed from the lowest bits on; or *sparse*, as runs. `00nnnnnn`: n+1 zeros; `01nnnnnn nnnnnnnn`: n+1 zeros;
//! `1vvvvvnn`: n+1 registers of v+1. The estimate is Otmar Ertl's (arXiv:1702.01284).

use super::value::Blob;

pub(crate) const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
const HASH_BITS: usize = 64 - INDEX_BITS as usize;
const HEADER: usize = 16;
const DENSE_LENGTH: usize = HEADER + REGISTERS * 6 / 8;
const ENCODING: usize = 4;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// The highest value and the longest run that one sparse byte can say.
const RUN_VALUE_MAX: u8 = 32;
const RUN_LENGTH_MAX: usize = 4;
const ZEROS_SHORT_MAX: usize = 64;

/// A string that says it is a HyperLogLog but is damaged inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Corrupted;

/// The values of all registers.
pub(crate) type Registers = Vec<u8>;

/// A run of equal registers in the sparse encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// 0, or 1 to 32.
    pub(crate) value: u8,
    pub(crate) length: usize,
    /// How many bytes say so.
    pub(crate) size: usize,
}

/// An empty HyperLogLog.
pub(crate) fn empty() -> Blob {
    let mut bytes = Blob::from_slice(b"HYLL");
    bytes.extend_from_slice(&[SPARSE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    push_zeros(&mut bytes, REGISTERS);
    bytes
}

/// True if a string has the header of a HyperLogLog, and the right length if it is dense.
pub(crate) fn is_valid(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && bytes.starts_with(b"HYLL")
        && (bytes[ENCODING] == SPARSE || bytes[ENCODING] == DENSE && bytes.len() == DENSE_LENGTH)
}

pub(crate) fn is_sparse(bytes: &[u8]) -> bool {
    bytes[ENCODING] == SPARSE
}

/// The cached count, if it is up to date.
pub(crate) fn cached(bytes: &[u8]) -> Option<u64> {
    let cache = u64::from_le_bytes(*bytes[8..].first_chunk()?);
    (cache >> 63 == 0).then_some(cache)
}

pub(crate) fn set_cached(bytes: &mut [u8], count: u64) {
    bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
}

pub(crate) fn invalidate(bytes: &mut [u8]) {
    bytes[15] |= 0x80;
}

/// The runs of a sparse HyperLogLog, as far as they can be read.
pub(crate) fn runs(bytes: &[u8]) -> impl Iterator<Item = Run> + '_ {
    let mut rest = &bytes[HEADER.min(bytes.len())..];
    std::iter::from_fn(move || {
        let run = read_run(rest)?;
        rest = &rest[run.size..];
        Some(run)
    })
}

fn read_run(bytes: &[u8]) -> Option<Run> {
    let first = *bytes.first()?;
    Some(match first >> 6 {
        0 => Run { value: 0, length: usize::from(first & 0x3f) + 1, size: 1 },
        1 => {
            let second = *bytes.get(1)?;
            Run { value: 0, length: (usize::from(first & 0x3f) << 8 | usize::from(second)) + 1, size: 2 }
        }
        _ => Run { value: (first >> 2 & 0x1f) + 1, length: usize::from(first & 3) + 1, size: 1 },
    })
}

fn push_zeros(bytes: &mut impl Extend<u8>, length: usize) {
    match length {
        0 => {}
        1..=ZEROS_SHORT_MAX => bytes.extend([(length - 1) as u8]),
        _ => bytes.extend([0x40 | ((length - 1) >> 8) as u8, (length - 1) as u8]),
    }
}

fn value_byte(value: u8, length: usize) -> u8 {
    0x80 | (value - 1) << 2 | (length - 1) as u8
}

fn push_run(bytes: &mut Vec<u8>, value: u8, length: usize) {
    match (value, length) {
        (_, 0) => {}
        (0, _) => push_zeros(bytes, length),
        _ => bytes.push(value_byte(value, length)),
    }
}

/// A register of a dense HyperLogLog.
fn dense_register(bytes: &[u8], index: usize) -> u8 {
    let (byte, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let low = u16::from(bytes[byte]);
    let high = u16::from(bytes.get(byte + 1).copied().unwrap_or(0));
    ((low | high << 8) >> shift & 0x3f) as u8
}

fn set_dense_register(bytes: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let (mask, value) = (0x3fu16 << shift, u16::from(value) << shift);
    bytes[byte] = bytes[byte] & !(mask as u8) | value as u8;
    if let Some(next) = bytes.get_mut(byte + 1) {
        *next = *next & !((mask >> 8) as u8) | (value >> 8) as u8;
    }
}

/// Raises `registers` to those of a HyperLogLog where they are higher.
pub(crate) fn merge_into(registers: &mut Registers, bytes: &[u8]) -> Result<(), Corrupted> {
    if !is_sparse(bytes) {
        for (index, register) in registers.iter_mut().enumerate() {
            *register = (*register).max(dense_register(bytes, index));
        }
        return Ok(());
    }
    let mut index = 0;
    for run in runs(bytes) {
        let covered = registers.get_mut(index..index + run.length).ok_or(Corrupted)?;
        covered.iter_mut().for_each(|register| *register = (*register).max(run.value));
        index += run.length;
    }
    if index == REGISTERS { Ok(()) } else { Err(Corrupted) }
}

/// No register is set.
pub(crate) fn no_registers() -> Registers {
    vec![0; REGISTERS]
}

/// Makes a HyperLogLog dense, if it is not.
pub(crate) fn make_dense(bytes: &mut Blob) -> Result<(), Corrupted> {
    if !is_sparse(bytes) {
        return Ok(());
    }
    let mut registers = no_registers();
    merge_into(&mut registers, bytes)?;
    bytes.truncate(HEADER);
    bytes[ENCODING] = DENSE;
    bytes.resize(DENSE_LENGTH, 0);
    for (index, value) in registers.into_iter().enumerate().filter(|(_, value)| *value > 0) {
        set_dense_register(bytes, index, value);
    }
    Ok(())
}

/// Raises one register to `value`. True if it was lower. A sparse HyperLogLog that would need more than `sparse_max`
/// bytes becomes dense.
pub(crate) fn raise(bytes: &mut Blob, index: usize, value: u8, sparse_max: usize) -> Result<bool, Corrupted> {
    if is_sparse(bytes) {
        if value <= RUN_VALUE_MAX
            && let Some(is_raised) = raise_sparse(bytes, index, value, sparse_max)?
        {
            return Ok(is_raised);
        }
        make_dense(bytes)?;
    }
    let is_raised = dense_register(bytes, index) < value;
    if is_raised {
        set_dense_register(bytes, index, value);
        invalidate(bytes);
    }
    Ok(is_raised)
}

/// Raises a register of a sparse HyperLogLog. None if it does not fit in `sparse_max` bytes.
fn raise_sparse(bytes: &mut Blob, index: usize, value: u8, sparse_max: usize) -> Result<Option<bool>, Corrupted> {
    let (mut place, mut previous, mut first) = (HEADER, None, 0);
    let run = loop {
        let run = read_run(&bytes[place..]).ok_or(Corrupted)?;
        if index < first + run.length {
            break run;
        }
        previous = Some(place);
        place += run.size;
        first += run.length;
    };
    if run.value >= value {
        return Ok(Some(false));
    }
    let mut replacement = Vec::with_capacity(5);
    push_run(&mut replacement, run.value, index - first);
    replacement.push(value_byte(value, 1));
    push_run(&mut replacement, run.value, first + run.length - index - 1);
    if replacement.len() > run.size && bytes.len() + replacement.len() - run.size > sparse_max {
        return Ok(None);
    }
    let tail = Blob::from_slice(&bytes[place + run.size..]);
    bytes.truncate(place);
    bytes.extend_from_slice(&replacement);
    bytes.extend_from_slice(&tail);
    join_runs(bytes, previous.unwrap_or(HEADER));
    invalidate(bytes);
    Ok(Some(true))
}

/// Joins equal runs that follow one another, in the few bytes where a change can have made them so.
fn join_runs(bytes: &mut Blob, mut place: usize) {
    for _ in 0..5 {
        let Some(run) = read_run(&bytes[place.min(bytes.len())..]) else { return };
        if run.value == 0 {
            place += run.size;
            continue;
        }
        let next = read_run(&bytes[place + 1..]).filter(|next| next.value == run.value);
        match next.map(|next| run.length + next.length).filter(|length| *length <= RUN_LENGTH_MAX) {
            Some(length) => {
                bytes.remove(place);
                bytes[place] = value_byte(run.value, length);
            }
            None => place += 1,
        }
    }
}

/// Adds an element. True if a register was raised.
pub(crate) fn add(bytes: &mut Blob, element: &[u8], sparse_max: usize) -> Result<bool, Corrupted> {
    let hash = murmur(element);
    let index = (hash & (REGISTERS as u64 - 1)) as usize;
    let pattern = (hash >> INDEX_BITS) | 1 << HASH_BITS;
    raise(bytes, index, pattern.trailing_zeros() as u8 + 1, sparse_max)
}

/// The estimate of how many different elements were added.
pub(crate) fn count(bytes: &[u8]) -> Result<u64, Corrupted> {
    let mut registers = no_registers();
    merge_into(&mut registers, bytes)?;
    Ok(estimate(&registers))
}

/// The estimate from registers.
pub(crate) fn estimate(registers: &Registers) -> u64 {
    let mut histogram = [0u32; 64];
    for register in registers {
        histogram[usize::from(register & 0x3f)] += 1;
    }
    let all = REGISTERS as f64;
    let mut z = all * tau((all - f64::from(histogram[HASH_BITS + 1])) / all);
    for count in histogram[1..=HASH_BITS].iter().rev() {
        z = (z + f64::from(*count)) * 0.5;
    }
    z += all * sigma(f64::from(histogram[0]) / all);
    (0.5 / std::f64::consts::LN_2 * all * all / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// MurmurHash2 in its 64-bit form, with the seed that Redis uses.
fn murmur(data: &[u8]) -> u64 {
    const MULTIPLIER: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut hash = SEED ^ (data.len() as u64).wrapping_mul(MULTIPLIER);
    let (words, rest) = data.as_chunks::<8>();
    for word in words {
        let mut word = u64::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        word ^= word >> 47;
        hash = (hash ^ word.wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
    }
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ hash >> 47
}
