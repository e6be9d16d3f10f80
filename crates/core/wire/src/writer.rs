//! Writing replies.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

/// Payloads from this size on are passed on as they are; copying a smaller one is cheaper than another buffer.
const SHARED_SIZE_MIN: usize = 4096;

/// Collects one message. Large payloads are not copied, so the result is a list of chunks for a vectored write.
#[derive(Debug, Default)]
pub struct Writer {
    done: Vec<Bytes>,
    done_size: usize,
    head: BytesMut,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes written so far.
    pub fn size(&self) -> usize {
        self.done_size + self.head.len()
    }

    /// One byte, unsigned.
    pub fn u8(&mut self, value: u8) {
        self.head.put_u8(value);
    }

    /// One byte, signed.
    pub fn i8(&mut self, value: i8) {
        self.head.put_i8(value);
    }

    /// One byte, 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.head.put_u8(u8::from(value));
    }

    /// Two bytes, unsigned.
    pub fn u16(&mut self, value: u16) {
        self.head.put_u16(value);
    }

    /// Two bytes, signed.
    pub fn i16(&mut self, value: i16) {
        self.head.put_i16(value);
    }

    /// Four bytes, unsigned.
    pub fn u32(&mut self, value: u32) {
        self.head.put_u32(value);
    }

    /// Four bytes, signed.
    pub fn i32(&mut self, value: i32) {
        self.head.put_i32(value);
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) {
        self.head.put_i64(value);
    }

    /// Eight bytes, unsigned.
    pub fn u64(&mut self, value: u64) {
        self.head.put_u64(value);
    }

    /// Eight bytes, IEEE 754.
    pub fn f64(&mut self, value: f64) {
        self.head.put_f64(value);
    }

    /// Sixteen bytes.
    pub fn uuid(&mut self, value: Uuid) {
        self.head.put_slice(value.as_bytes());
    }

    /// An unsigned variable-length integer of 32 bits.
    pub fn uvarint(&mut self, value: u32) {
        self.uvarlong(u64::from(value));
    }

    /// An unsigned variable-length integer of 64 bits.
    pub fn uvarlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.head.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.head.put_u8(value as u8);
    }

    /// A signed variable-length integer of 32 bits in zigzag order.
    pub fn varint(&mut self, value: i32) {
        self.uvarint(((value << 1) ^ (value >> 31)) as u32);
    }

    /// A signed variable-length integer of 64 bits in zigzag order.
    pub fn varlong(&mut self, value: i64) {
        self.uvarlong(((value << 1) ^ (value >> 63)) as u64);
    }

    /// The bytes themselves, without a length.
    pub fn slice(&mut self, bytes: &[u8]) {
        self.head.put_slice(bytes);
    }

    /// The bytes themselves, without a length and, if there are many, without a copy.
    pub fn shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_SIZE_MIN {
            return self.slice(bytes);
        }
        if !self.head.is_empty() {
            let head = self.head.split().freeze();
            self.done_size += head.len();
            self.done.push(head);
        }
        self.done_size += bytes.len();
        self.done.push(bytes.clone());
    }

    /// The message as chunks in order.
    pub fn into_chunks(mut self) -> Vec<Bytes> {
        if !self.head.is_empty() {
            self.done.push(self.head.freeze());
        }
        self.done
    }

    /// The message in one piece.
    pub fn into_bytes(self) -> Bytes {
        if self.done.is_empty() {
            return self.head.freeze();
        }
        let mut out = BytesMut::with_capacity(self.size());
        for chunk in self.into_chunks() {
            out.put_slice(&chunk);
        }
        out.freeze()
    }
}

/// Bytes that [`Writer::uvarint`] takes for `value`.
pub fn uvarint_size(value: u32) -> usize {
    (38 - (value | 1).leading_zeros() as usize) / 7
}

/// Bytes that [`Writer::varlong`] takes for `value`.
pub fn varlong_size(value: i64) -> usize {
    let raw = ((value << 1) ^ (value >> 63)) as u64;
    (70 - (raw | 1).leading_zeros() as usize) / 7
}
