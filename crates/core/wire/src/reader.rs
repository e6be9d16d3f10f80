//! Reading what a stranger sent.

use bytes::Bytes;
use uuid::Uuid;

use crate::{WireError, WireErrorKind};

/// Array elements that one message may have in all its arrays together, unless the reader is told otherwise. An element
/// takes far more memory than its bytes on the wire, so that the size of the message alone is no sufficient limit.
const ELEMENTS_MAX: usize = 1_000_000;

/// Walks over one message. Every method takes its item off the front, or says why it cannot.
#[derive(Debug, Clone)]
pub struct Reader {
    bytes: Bytes,
    position: usize,
    elements_left: usize,
    elements_max: usize,
}

impl Reader {
    /// Begins at the first byte of `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes, position: 0, elements_left: ELEMENTS_MAX, elements_max: ELEMENTS_MAX }
    }

    /// The same, with another limit on the elements of all arrays together.
    pub fn with_elements_max(bytes: Bytes, elements_max: usize) -> Self {
        Self { bytes, position: 0, elements_left: elements_max, elements_max }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// Bytes already read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// An error of `kind` at the current position.
    pub fn error(&self, kind: WireErrorKind) -> WireError {
        WireError { offset: self.position, kind }
    }

    /// Succeeds only at the end of the input.
    pub fn finish(&self) -> Result<(), WireError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(self.error(WireErrorKind::TrailingBytes(left))),
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8], WireError> {
        let start = self.position;
        match start.checked_add(count).and_then(|end| self.bytes.get(start..end)) {
            Some(slice) => {
                self.position = start + count;
                Ok(slice)
            }
            None => Err(self.error(WireErrorKind::TooShort { needed: count, remaining: self.bytes.len() - start })),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// One unsigned byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    /// One signed byte.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    /// One byte, of which 0 is false and everything else true.
    pub fn bool(&mut self) -> Result<bool, WireError> {
        Ok(self.u8()? != 0)
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Two bytes, signed.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Four bytes, signed.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    /// Eight bytes, unsigned.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self) -> Result<f64, WireError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self) -> Result<Uuid, WireError> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// An unsigned variable-length integer of up to 32 bits (one to five bytes).
    pub fn uvarint(&mut self) -> Result<u32, WireError> {
        let start = self.position;
        let mut value = 0u32;
        for shift in (0..35).step_by(7) {
            let byte = self.u8()?;
            // The fifth byte has room for four bits; more would be lost without a trace.
            if shift == 28 && byte > 0x0f {
                break;
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError { offset: start, kind: WireErrorKind::EndlessVarint })
    }

    /// An unsigned variable-length integer of up to 64 bits (one to ten bytes).
    pub fn uvarlong(&mut self) -> Result<u64, WireError> {
        let start = self.position;
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 0x01 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError { offset: start, kind: WireErrorKind::EndlessVarint })
    }

    /// A signed variable-length integer of 32 bits in zigzag order.
    pub fn varint(&mut self) -> Result<i32, WireError> {
        let raw = self.uvarint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A signed variable-length integer of 64 bits in zigzag order.
    pub fn varlong(&mut self) -> Result<i64, WireError> {
        let raw = self.uvarlong()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// The next `count` bytes, as a slice of the input that is shared and not copied.
    pub fn bytes(&mut self, count: usize) -> Result<Bytes, WireError> {
        let start = self.position;
        self.take(count)?;
        Ok(self.bytes.slice(start..start + count))
    }

    /// The next `count` bytes as text.
    pub fn text(&mut self, count: usize) -> Result<String, WireError> {
        let start = self.position;
        match std::str::from_utf8(self.take(count)?) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError { offset: start, kind: WireErrorKind::NotUtf8 }),
        }
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), WireError> {
        self.take(count).map(|_| ())
    }

    /// Checks a claimed array length: `count` elements of at least `element_size_min` bytes each must fit into what
    /// remains, and into what one message may have. Only then may the count size an allocation.
    pub fn claim_elements(&mut self, count: usize, element_size_min: usize) -> Result<usize, WireError> {
        let remaining = self.remaining();
        if count.checked_mul(element_size_min.max(1)).is_none_or(|needed| needed > remaining) {
            return Err(self.error(WireErrorKind::CountTooLarge { count, element_size_min, remaining }));
        }
        match self.elements_left.checked_sub(count) {
            Some(left) => self.elements_left = left,
            None => return Err(self.error(WireErrorKind::TooManyElements(self.elements_max))),
        }
        Ok(count)
    }
}
