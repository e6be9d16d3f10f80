use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use crate::{Reader, WireErrorKind, Writer, uvarint_size, varlong_size};

fn read(bytes: &'static [u8]) -> Reader {
    Reader::new(Bytes::from_static(bytes))
}

#[test]
fn an_item_that_is_cut_off_is_named_with_its_place() {
    let mut reader = read(&[0, 1, 2]);
    reader.u8().unwrap();
    let error = reader.i32().unwrap_err();
    assert_eq!(error.to_string(), "byte 1: 4 bytes needed, 2 left");
    assert_eq!(reader.u16().unwrap(), 0x0102, "a failed read takes nothing");
}

#[test]
fn a_count_of_two_billion_in_a_four_byte_body_is_refused() {
    let mut reader = read(&[0x7f, 0xff, 0xff, 0xff]);
    let count = reader.i32().unwrap() as usize;
    assert!(matches!(reader.claim_elements(count, 1).unwrap_err().kind, WireErrorKind::CountTooLarge { .. }));
    assert!(matches!(reader.claim_elements(usize::MAX, 8).unwrap_err().kind, WireErrorKind::CountTooLarge { .. }));
}

#[test]
fn all_arrays_of_a_message_share_one_limit() {
    let mut reader = Reader::with_elements_max(Bytes::from_static(&[0; 16]), 10);
    assert_eq!(reader.claim_elements(6, 1).unwrap(), 6);
    assert_eq!(reader.claim_elements(6, 1).unwrap_err().kind, WireErrorKind::TooManyElements(10));
}

#[test]
fn a_variable_length_integer_must_end_in_time_and_not_lose_bits() {
    assert_eq!(read(&[0xff; 10]).uvarint().unwrap_err().kind, WireErrorKind::EndlessVarint);
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x10]).uvarint().unwrap_err().kind, WireErrorKind::EndlessVarint);
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]).uvarint().unwrap(), u32::MAX);
    assert_eq!(read(&[0xff; 11]).uvarlong().unwrap_err().kind, WireErrorKind::EndlessVarint);
}

#[test]
fn text_must_be_utf8_and_the_end_must_be_the_end() {
    assert_eq!(read(&[0xc3]).text(1).unwrap_err().kind, WireErrorKind::NotUtf8);
    assert_eq!(read(&[1, 2]).finish().unwrap_err().kind, WireErrorKind::TrailingBytes(2));
}

#[test]
fn large_payloads_are_shared_and_small_ones_copied() {
    let large = Bytes::from(vec![7; 10_000]);
    let mut writer = Writer::new();
    writer.i32(1);
    writer.shared(&large);
    writer.shared(&Bytes::from_static(b"small"));
    assert_eq!(writer.size(), 10_009);
    let chunks = writer.into_chunks();
    assert_eq!(chunks.len(), 3);
    assert_eq!(chunks[1].as_ptr(), large.as_ptr());
}

proptest! {
    #[test]
    fn what_is_written_is_read(a: i8, b: i16, c: i32, d: i64, e: u32, f: u64, g: u16, h: bool, i: f64, id: u128, text: String) {
        let mut writer = Writer::new();
        writer.i8(a); writer.i16(b); writer.i32(c); writer.i64(d);
        writer.varint(c); writer.varlong(d); writer.uvarint(e); writer.uvarlong(f);
        writer.u16(g); writer.u32(e); writer.u64(f); writer.bool(h); writer.f64(i);
        writer.uuid(Uuid::from_u128(id)); writer.slice(text.as_bytes());
        let mut reader = Reader::new(writer.into_bytes());
        prop_assert_eq!(reader.i8().unwrap(), a);
        prop_assert_eq!(reader.i16().unwrap(), b);
        prop_assert_eq!(reader.i32().unwrap(), c);
        prop_assert_eq!(reader.i64().unwrap(), d);
        prop_assert_eq!(reader.varint().unwrap(), c);
        prop_assert_eq!(reader.varlong().unwrap(), d);
        prop_assert_eq!(reader.uvarint().unwrap(), e);
        prop_assert_eq!(reader.uvarlong().unwrap(), f);
        prop_assert_eq!(reader.u16().unwrap(), g);
        prop_assert_eq!(reader.u32().unwrap(), e);
        prop_assert_eq!(reader.u64().unwrap(), f);
        prop_assert_eq!(reader.bool().unwrap(), h);
        prop_assert_eq!(reader.f64().unwrap().to_bits(), i.to_bits());
        prop_assert_eq!(reader.uuid().unwrap(), Uuid::from_u128(id));
        prop_assert_eq!(reader.text(text.len()).unwrap(), text);
        reader.finish().unwrap();
    }

    #[test]
    fn sizes_are_foretold(unsigned: u32, signed: i64) {
        let mut writer = Writer::new();
        writer.uvarint(unsigned);
        prop_assert_eq!(writer.size(), uvarint_size(unsigned));
        writer = Writer::new();
        writer.varlong(signed);
        prop_assert_eq!(writer.size(), varlong_size(signed));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>, steps: Vec<(u8, usize)>) {
        let mut reader = Reader::new(Bytes::from(bytes));
        for (step, count) in steps {
            let before = reader.remaining();
            let _ = match step % 8 {
                0 => reader.uvarint().map(|_| ()),
                1 => reader.varlong().map(|_| ()),
                2 => reader.bytes(count).map(|_| ()),
                3 => reader.text(count % 16).map(|_| ()),
                4 => reader.claim_elements(count, step as usize).map(|_| ()),
                5 => reader.uuid().map(|_| ()),
                6 => reader.skip(count % 8),
                _ => reader.i64().map(|_| ()),
            };
            prop_assert!(reader.remaining() <= before);
        }
    }
}
