//! Strings as arrays of bits, the highest bit of the first byte first: <https://redis.io/docs/latest/commands/?group=bitmap>.

use super::strings::{LENGTH_MAX, bytes, bytes_mut};
use super::{Answer, Call, Then, is};
use crate::error::Refusal;
use crate::state::{Blob, Value, parse_integer};

const BAD_OFFSET: &str = "ERR bit offset is not an integer or out of range";
const BAD_BIT: &str = "ERR bit is not an integer or out of range";
const BAD_TYPE: &str =
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";

/// The offset of a bit. With `#`, which only fields of `width` bits may have, it counts fields.
fn bit_offset(text: &[u8], width: Option<u32>) -> Result<usize, Refusal> {
    let invalid = || Refusal::text(BAD_OFFSET);
    let (text, unit) = match (text, width) {
        ([b'#', rest @ ..], Some(width)) => (rest, i64::from(width)),
        _ => (text, 1),
    };
    let offset = parse_integer(text).and_then(|number| number.checked_mul(unit)).ok_or_else(invalid)?;
    usize::try_from(offset).ok().filter(|offset| offset >> 3 < LENGTH_MAX).ok_or_else(invalid)
}

/// The string at a key, long enough to have this bit, and whether it was made or grew for that.
fn long_enough<'c>(call: &'c mut Call<'_>, key: &[u8], bit: usize) -> Result<(&'c mut Blob, bool), Refusal> {
    if let Some(value) = call.db.read(key) {
        bytes(value, &mut itoa::Buffer::new())?;
    }
    let bytes = bytes_mut(call, key)?.ok_or(Refusal::WrongType)?;
    let grows = bytes.len() <= bit >> 3;
    if grows {
        bytes.resize((bit >> 3) + 1, 0);
    }
    Ok((bytes, grows))
}

/// SETBIT key offset value, since 2.2.
pub(super) fn setbit(call: &mut Call<'_>) -> Answer {
    let offset = bit_offset(call.arg(2), None)?;
    let bit = call.integer(3).ok().and_then(|bit| u8::try_from(bit).ok()).filter(|bit| *bit <= 1);
    let bit = bit.ok_or(Refusal::text(BAD_BIT))?;
    let key = call.arg(1);
    let (bytes, grew) = long_enough(call, key, offset)?;
    let (byte, shift) = (&mut bytes[offset >> 3], 7 - (offset & 7));
    let before = *byte >> shift & 1;
    *byte = *byte & !(1 << shift) | bit << shift;
    if grew || before != bit {
        call.db.changed(key);
    }
    call.out.integer(i64::from(before));
    Ok(Then::Done)
}

/// GETBIT key offset, since 2.2.
pub(super) fn getbit(call: &mut Call<'_>) -> Answer {
    let offset = bit_offset(call.arg(2), None)?;
    let bit = match call.db.read(call.arg(1)) {
        None => 0,
        Some(value) => {
            let mut buffer = itoa::Buffer::new();
            bytes(value, &mut buffer)?.get(offset >> 3).map_or(0, |byte| byte >> (7 - (offset & 7)) & 1)
        }
    };
    call.out.integer(i64::from(bit));
    Ok(Then::Done)
}

/// A range of bits, from the arguments `start`, `end` and a unit; None if it is empty.
struct BitRange {
    start: i64,
    end: Option<i64>,
    is_bits: bool,
}

impl BitRange {
    /// The first bit and one past the last, of a string of `length` bytes.
    fn within(&self, length: usize) -> Option<(usize, usize)> {
        let unit = if self.is_bits { 1 } else { 8 };
        let total = i64::try_from(length).ok()? * 8 / unit;
        let from_end = |index: i64| if index < 0 { index.saturating_add(total).max(0) } else { index };
        let (first, last) = (from_end(self.start), self.end.map_or(total - 1, from_end).min(total - 1));
        if first > last {
            return None;
        }
        Some((usize::try_from(first * unit).ok()?, usize::try_from((last + 1) * unit).ok()?))
    }
}

fn unit_is_bit(word: &[u8]) -> Result<bool, Refusal> {
    match word {
        _ if is(word, "BIT") => Ok(true),
        _ if is(word, "BYTE") => Ok(false),
        _ => Err(Refusal::Syntax),
    }
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    in_words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The ones among the bits `first..last`.
fn ones_between(bytes: &[u8], first: usize, last: usize) -> u64 {
    let (from, to) = (first / 8, last.div_ceil(8));
    let before = bytes[from] & !(0xff >> (first & 7));
    let after = if last & 7 == 0 { 0 } else { bytes[to - 1] & (0xff >> (last & 7)) };
    ones(&bytes[from..to]) - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// BITCOUNT key [start end [BYTE|BIT]], since 2.6.
pub(super) fn bitcount(call: &mut Call<'_>) -> Answer {
    let (request, mut buffer) = (call.request, itoa::Buffer::new());
    let integer = |index: usize| parse_integer(request.arg(index)).ok_or(Refusal::NotInteger);
    let count = match call.db.read(request.arg(1)) {
        None => 0,
        Some(value) => {
            let bytes = bytes(value, &mut buffer)?;
            let range = match request.len() {
                2 => Some(BitRange { start: 0, end: None, is_bits: false }),
                4 | 5 => {
                    let (start, end) = (integer(2)?, integer(3)?);
                    let is_backwards = start < 0 && end < 0 && start > end;
                    let is_bits = !is_backwards && request.get(4).map_or(Ok(false), unit_is_bit)?;
                    (!is_backwards).then_some(BitRange { start, end: Some(end), is_bits })
                }
                _ => return Err(Refusal::Syntax),
            };
            let bits = range.and_then(|range| range.within(bytes.len()));
            bits.map_or(0, |(first, last)| ones_between(bytes, first, last))
        }
    };
    call.out.integer(i64::try_from(count).unwrap_or(i64::MAX));
    Ok(Then::Done)
}

/// The first bit among `first..last` that is `wanted`.
fn find_bit(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    let boring = if wanted { 0x00 } else { 0xff };
    let mut position = first;
    while position < last {
        let byte = bytes[position >> 3];
        if position & 7 == 0 && byte == boring {
            let run = bytes[position >> 3..last.div_ceil(8)].iter().take_while(|byte| **byte == boring).count();
            position += run * 8;
            continue;
        }
        if (byte >> (7 - (position & 7)) & 1 == 1) == wanted {
            return Some(position);
        }
        position += 1;
    }
    None
}

/// BITPOS key bit [start [end [BYTE|BIT]]], since 2.8.7.
pub(super) fn bitpos(call: &mut Call<'_>) -> Answer {
    let wanted = match call.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::text("ERR The bit argument must be 1 or 0.")),
    };
    let (request, mut buffer) = (call.request, itoa::Buffer::new());
    let integer = |index: usize| parse_integer(request.arg(index)).ok_or(Refusal::NotInteger);
    let position = match call.db.read(request.arg(1)) {
        None if wanted => -1,
        None => 0,
        Some(value) => {
            let bytes = bytes(value, &mut buffer)?;
            let mut range = BitRange { start: 0, end: None, is_bits: false };
            match request.len() {
                3 => {}
                4..=6 => {
                    range.start = integer(3)?;
                    range.is_bits = request.get(5).map_or(Ok(false), unit_is_bit)?;
                    range.end = request.get(4).map(|_| integer(4)).transpose()?;
                }
                _ => return Err(Refusal::Syntax),
            }
            match range.within(bytes.len()) {
                None => -1,
                Some((first, last)) => match find_bit(bytes, wanted, first, last) {
                    Some(position) => position as i64,
                    // Without an explicit end, a string is followed by zeros.
                    None if !wanted && range.end.is_none() => last as i64,
                    None => -1,
                },
            }
        }
    };
    call.out.integer(position);
    Ok(Then::Done)
}

/// The operations of BITOP.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    /// Joins one more string to what there is; it counts as if zeros followed it.
    fn join(self, all: &mut [u8], other: &[u8]) {
        let (here, beyond) = all.split_at_mut(other.len().min(all.len()));
        match self {
            Operation::And => {
                here.iter_mut().zip(other).for_each(|(one, other)| *one &= other);
                beyond.fill(0);
            }
            Operation::Or => here.iter_mut().zip(other).for_each(|(one, other)| *one |= other),
            Operation::Xor => here.iter_mut().zip(other).for_each(|(one, other)| *one ^= other),
            Operation::Not => {}
        }
    }
}

/// BITOP AND|OR|XOR|NOT destination key..., since 2.6.
pub(super) fn bitop(call: &mut Call<'_>) -> Answer {
    let operation = match call.arg(1) {
        word if is(word, "AND") => Operation::And,
        word if is(word, "OR") => Operation::Or,
        word if is(word, "XOR") => Operation::Xor,
        word if is(word, "NOT") => Operation::Not,
        _ => return Err(Refusal::Syntax),
    };
    if operation == Operation::Not && call.request.len() != 4 {
        return Err(Refusal::text("ERR BITOP NOT must be called with a single source key."));
    }
    let mut length = 0;
    for key in call.request.tail(3) {
        if let Some(value) = call.db.read(key) {
            length = length.max(bytes(value, &mut itoa::Buffer::new())?.len());
        }
    }
    let mut all = Blob::new();
    for (number, key) in call.request.tail(3).enumerate() {
        let mut buffer = itoa::Buffer::new();
        let source = match call.db.peek(key) {
            Some(entry) => bytes(&entry.value, &mut buffer)?,
            None => &[],
        };
        if number == 0 {
            all.reserve_exact(length);
            all.extend_from_slice(source);
            all.resize(length, 0);
        } else {
            operation.join(&mut all, source);
        }
    }
    if operation == Operation::Not {
        all.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let target = call.arg(2);
    if length == 0 {
        call.db.delete(target);
    } else {
        call.db.set(target, Value::raw(all));
    }
    call.out.count(length);
    Ok(Then::Done)
}

/// What becomes of a number that does not fit its field.
#[derive(Clone, Copy, PartialEq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, PartialEq)]
enum FieldAction {
    Get,
    Set(i64),
    Increment(i64),
}

/// A field: an integer of up to 64 bits at any bit.
#[derive(Clone, Copy)]
struct Field {
    is_signed: bool,
    width: u32,
    offset: usize,
}

impl Field {
    fn read(self, bytes: &[u8]) -> i128 {
        let mut number: u64 = 0;
        for index in self.offset..self.offset + self.width as usize {
            let bit = bytes.get(index >> 3).map_or(0, |byte| byte >> (7 - (index & 7)) & 1);
            number = number << 1 | u64::from(bit);
        }
        self.interpret(number)
    }

    /// The lowest bits of a number as this field shows them.
    fn interpret(self, bits: u64) -> i128 {
        let unused = 64 - self.width;
        if self.is_signed {
            i128::from((bits << unused).cast_signed() >> unused)
        } else {
            i128::from(bits << unused >> unused)
        }
    }

    /// Writes the lowest bits of a number; the string must be long enough.
    fn write(self, bytes: &mut [u8], number: i128) {
        for place in 0..self.width as usize {
            let index = self.offset + place;
            let bit = (number >> (self.width as usize - 1 - place) & 1) as u8;
            let shift = 7 - (index & 7);
            if let Some(byte) = bytes.get_mut(index >> 3) {
                *byte = *byte & !(1 << shift) | bit << shift;
            }
        }
    }

    /// What a number becomes here; None if it does not fit and must not be changed.
    fn fit(self, number: i128, overflow: Overflow) -> Option<i128> {
        let (lowest, highest) = if self.is_signed {
            (-(1i128 << (self.width - 1)), (1i128 << (self.width - 1)) - 1)
        } else {
            (0, (1i128 << self.width) - 1)
        };
        match overflow {
            _ if (lowest..=highest).contains(&number) => Some(number),
            Overflow::Wrap => Some(self.interpret(number as u64)),
            Overflow::Saturate => Some(number.clamp(lowest, highest)),
            Overflow::Fail => None,
        }
    }
}

/// One step of BITFIELD.
struct FieldStep {
    field: Field,
    action: FieldAction,
    overflow: Overflow,
}

fn field(kind: &[u8], offset: &[u8]) -> Result<Field, Refusal> {
    let invalid = || Refusal::text(BAD_TYPE);
    let (is_signed, digits) = match kind {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => return Err(invalid()),
    };
    let width = parse_integer(digits).and_then(|width| u32::try_from(width).ok());
    let most = if is_signed { 64 } else { 63 };
    let width = width.filter(|width| (1..=most).contains(width)).ok_or_else(invalid)?;
    Ok(Field { is_signed, width, offset: bit_offset(offset, Some(width))? })
}

fn field_steps(call: &Call<'_>) -> Result<Vec<FieldStep>, Refusal> {
    let (mut steps, mut overflow, mut index) = (Vec::new(), Overflow::Wrap, 2);
    while let Some(word) = call.request.get(index) {
        let remaining = call.request.len() - index - 1;
        if is(word, "OVERFLOW") && remaining >= 1 {
            overflow = match call.arg(index + 1) {
                word if is(word, "WRAP") => Overflow::Wrap,
                word if is(word, "SAT") => Overflow::Saturate,
                word if is(word, "FAIL") => Overflow::Fail,
                _ => return Err(Refusal::text("ERR Invalid OVERFLOW type specified")),
            };
            index += 2;
            continue;
        }
        let needs = if is(word, "GET") { 2 } else { 3 };
        if remaining < needs || !(is(word, "GET") || is(word, "SET") || is(word, "INCRBY")) {
            return Err(Refusal::Syntax);
        }
        let field = field(call.arg(index + 1), call.arg(index + 2))?;
        let action = match word {
            _ if is(word, "GET") => FieldAction::Get,
            _ if is(word, "SET") => FieldAction::Set(call.integer(index + 3)?),
            _ => FieldAction::Increment(call.integer(index + 3)?),
        };
        steps.push(FieldStep { field, action, overflow });
        index += needs + 1;
    }
    Ok(steps)
}

impl FieldStep {
    /// Executes the step. What it answers, and whether it changed the field.
    fn run(&self, bytes: &mut [u8]) -> (Option<i128>, bool) {
        let before = self.field.read(bytes);
        let wanted = match self.action {
            FieldAction::Get => return (Some(before), false),
            FieldAction::Set(number) if self.field.is_signed => i128::from(number),
            FieldAction::Set(number) => i128::from(number.cast_unsigned()),
            FieldAction::Increment(by) => before + i128::from(by),
        };
        let Some(after) = self.field.fit(wanted, self.overflow) else { return (None, false) };
        self.field.write(bytes, after);
        let answer = if matches!(self.action, FieldAction::Set(_)) { before } else { after };
        (Some(answer), after != before)
    }
}

fn reply_field(call: &mut Call<'_>, number: Option<i128>) {
    match number.and_then(|number| i64::try_from(number).ok()) {
        Some(number) => call.out.integer(number),
        None => call.out.null(),
    }
}

fn read_fields(call: &mut Call<'_>, steps: &[FieldStep]) -> Answer {
    let mut buffer = itoa::Buffer::new();
    let bytes = match call.db.read(call.request.arg(1)) {
        Some(value) => bytes(value, &mut buffer)?,
        None => &[],
    };
    let numbers: Vec<i128> = steps.iter().map(|step| step.field.read(bytes)).collect();
    call.out.array(numbers.len());
    for number in numbers {
        reply_field(call, Some(number));
    }
    Ok(Then::Done)
}

/// BITFIELD key [GET type offset | [OVERFLOW WRAP|SAT|FAIL] SET|INCRBY type offset value]..., since 3.2.
pub(super) fn bitfield(call: &mut Call<'_>) -> Answer {
    let steps = field_steps(call)?;
    let last_bit = |step: &FieldStep| step.field.offset + step.field.width as usize - 1;
    let writes = steps.iter().filter(|step| step.action != FieldAction::Get);
    let Some(highest) = writes.map(last_bit).max() else { return read_fields(call, &steps) };
    let key = call.arg(1);
    let (bytes, grew) = long_enough(call, key, highest)?;
    let answers: Vec<_> = steps.iter().map(|step| step.run(bytes)).collect();
    let is_changed = answers.iter().any(|(_, is_changed)| *is_changed);
    let wrote =
        |(step, (answer, _)): (&FieldStep, &(Option<i128>, bool))| step.action != FieldAction::Get && answer.is_some();
    if is_changed || grew && steps.iter().zip(&answers).any(wrote) {
        call.db.changed(key);
    }
    call.out.array(answers.len());
    for (answer, _) in answers {
        reply_field(call, answer);
    }
    Ok(Then::Done)
}

/// BITFIELD_RO key [GET type offset]..., since 6.0.
pub(super) fn bitfield_ro(call: &mut Call<'_>) -> Answer {
    let steps = field_steps(call)?;
    if steps.iter().any(|step| step.action != FieldAction::Get) {
        return Err(Refusal::text("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read_fields(call, &steps)
}
