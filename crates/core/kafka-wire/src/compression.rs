//! The records of a compressed batch: gzip, snappy (with snappy-java's framing or raw), lz4 frames and zstd, opened as a
//! stream, so that a batch that claims to be huge costs time up to a limit and no memory.
//!
//! <https://kafka.apache.org/documentation/#recordbatch>

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes};

/// As much is unpacked of one batch at most. Kafka itself has no limit; a batch above this is refused as damaged.
pub const UNPACKED_MAX: u64 = 128 << 20;

/// The codecs by their numbers in a batch's attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not compressed.
    None,
    /// RFC 1952.
    Gzip,
    /// Blocks of snappy in snappy-java's framing, or one raw block.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// RFC 8878.
    Zstd,
}

impl Codec {
    /// The codec with a number; None if it is not known.
    pub fn from_number(number: i16) -> Option<Codec> {
        [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].get(usize::try_from(number).ok()?).copied()
    }

    /// Its number.
    pub fn number(self) -> i16 {
        self as i16
    }
}

/// Opens compressed bytes as a stream that ends after `limit` bytes with an error.
pub fn open(codec: Codec, packed: Bytes, limit: u64) -> io::Result<Box<dyn Read>> {
    let unpacked: Box<dyn Read> = match codec {
        Codec::None => Box::new(packed.reader()),
        Codec::Gzip => Box::new(flate2::read::MultiGzDecoder::new(packed.reader())),
        Codec::Snappy => Box::new(Snappy::new(packed)),
        Codec::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(packed.reader())),
        Codec::Zstd => Box::new(ruzstd::decoding::StreamingDecoder::new(packed.reader()).map_err(damaged)?),
    };
    Ok(Box::new(Limited { inner: unpacked, left: limit }))
}

/// Unpacks all, if it is no more than `limit` bytes.
pub fn unpack(codec: Codec, packed: Bytes, limit: u64) -> io::Result<Bytes> {
    if codec == Codec::None {
        return Ok(packed);
    }
    let mut unpacked = Vec::new();
    open(codec, packed, limit)?.read_to_end(&mut unpacked)?;
    Ok(unpacked.into())
}

/// Compresses, for topics whose `compression.type` is not `producer`.
pub fn pack(codec: Codec, bytes: &[u8]) -> io::Result<Vec<u8>> {
    match codec {
        Codec::None => Ok(bytes.to_vec()),
        Codec::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            writer.write_all(bytes)?;
            writer.finish()
        }
        Codec::Snappy => {
            let mut framed = SNAPPY_JAVA.to_vec();
            framed.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
            for block in bytes.chunks(SNAPPY_BLOCK) {
                let packed = snap::raw::Encoder::new().compress_vec(block).map_err(damaged)?;
                framed.extend_from_slice(&(packed.len() as u32).to_be_bytes());
                framed.extend_from_slice(&packed);
            }
            Ok(framed)
        }
        Codec::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(Vec::new());
            writer.write_all(bytes)?;
            writer.finish().map_err(damaged)
        }
        Codec::Zstd => Ok(ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)),
    }
}

fn damaged(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

/// A stream that fails where it has given as much as it may.
struct Limited {
    inner: Box<dyn Read>,
    left: u64,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| damaged("it unpacks to more than is allowed"))?;
        Ok(count)
    }
}

/// In front of snappy-java's blocks.
const SNAPPY_JAVA: &[u8] = b"\x82SNAPPY\0";
/// As much goes into one of them.
const SNAPPY_BLOCK: usize = 32 << 10;
/// The largest block that is opened: snappy has no way to open one bit by bit.
const SNAPPY_BLOCK_MAX: usize = 8 << 20;

/// Snappy block after block.
struct Snappy {
    packed: Bytes,
    framed: bool,
    block: Bytes,
}

impl Snappy {
    fn new(mut packed: Bytes) -> Snappy {
        let framed = packed.starts_with(SNAPPY_JAVA) && packed.len() >= SNAPPY_JAVA.len() + 8;
        if framed {
            packed.advance(SNAPPY_JAVA.len() + 8);
        }
        Snappy { packed, framed, block: Bytes::new() }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let length = match self.framed {
            false => self.packed.len(),
            true if self.packed.len() < 4 => return Err(io::ErrorKind::UnexpectedEof.into()),
            true => self.packed.get_u32() as usize,
        };
        if length > self.packed.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let packed = self.packed.split_to(length);
        let unpacked = snap::raw::decompress_len(&packed).map_err(damaged)?;
        // Snappy packs to a twentieth at best, so that what claims more is not snappy.
        if unpacked > SNAPPY_BLOCK_MAX.max(packed.len().saturating_mul(32)) || unpacked / 32 > packed.len() {
            return Err(damaged("a block claims more than it can hold"));
        }
        self.block = snap::raw::Decoder::new().decompress_vec(&packed).map_err(damaged)?.into();
        Ok(())
    }
}

impl Read for Snappy {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.block.is_empty() && !self.packed.is_empty() {
            self.next_block()?;
        }
        let count = buffer.len().min(self.block.len());
        buffer[..count].copy_from_slice(&self.block[..count]);
        self.block.advance(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_and_bombs_are_cut_off() {
        let text = b"the same words again and again, ".repeat(5_000);
        for number in 0..5 {
            let codec = Codec::from_number(number).unwrap();
            let packed = Bytes::from(pack(codec, &text).unwrap());
            assert!(codec == Codec::None || packed.len() * 4 < text.len(), "{codec:?} compresses");
            assert_eq!(unpack(codec, packed.clone(), UNPACKED_MAX).unwrap(), text, "{codec:?}");
            if codec != Codec::None {
                assert!(unpack(codec, packed.clone(), 1_000).is_err(), "{codec:?} has a limit");
                assert!(unpack(codec, packed.slice(..packed.len() / 2), UNPACKED_MAX).is_err(), "{codec:?} is whole");
            }
        }
        assert_eq!(Codec::from_number(5), None);
    }

    #[test]
    fn raw_snappy_is_read_as_librdkafka_writes_it() {
        let packed = snap::raw::Encoder::new().compress_vec(b"abcabcabcabc").unwrap();
        assert_eq!(unpack(Codec::Snappy, packed.into(), 100).unwrap(), &b"abcabcabcabc"[..]);
    }
}
