//! Tests.

use super::file::{Item, Options, Reader, Usage, Writer};
use super::{Damage, FOOTER, canonical, crc64, dump_payload, lzf, restore_payload};
use crate::state::{Entry, Group, Hash, List, NEVER, Set, SortedSet, Stream, StreamId, Thresholds, Value};

fn thresholds() -> Thresholds {
    Thresholds::default()
}

fn list(items: impl IntoIterator<Item = String>) -> Value {
    let mut list = List::default();
    items.into_iter().for_each(|item| list.push(item.as_bytes(), false, &thresholds()));
    Value::List(Box::new(list))
}

fn set(items: impl IntoIterator<Item = String>) -> Value {
    let mut set = Set::default();
    items.into_iter().for_each(|item| assert!(set.add(item.as_bytes(), &thresholds())));
    Value::Set(Box::new(set))
}

fn hash(count: usize, width: usize) -> Value {
    let mut hash = Hash::default();
    (0..count).for_each(|n| assert!(hash.set(format!("f{n}").as_bytes(), "v".repeat(width).as_bytes(), &thresholds())));
    Value::Hash(Box::new(hash))
}

fn sorted_set(scores: impl IntoIterator<Item = f64>) -> Value {
    let mut set = SortedSet::default();
    for (n, score) in scores.into_iter().enumerate() {
        set.insert(format!("m{n}").as_bytes(), score, &thresholds());
    }
    Value::SortedSet(Box::new(set))
}

/// A value in every encoding, with numbers and lengths at the edges of theirs.
fn values() -> Vec<Value> {
    let edges = [0, 63, 64, 127, 128, 4095, 4096, 8191, 8192, 32767, 32768, 1 << 23, (1 << 23) - 1, 1 << 31, i64::MAX];
    let numbers = || edges.into_iter().flat_map(|edge| [edge, -edge - 1]);
    let texts = || numbers().map(|number| number.to_string());
    let lengths = [0, 1, 20, 21, 63, 64, 127, 128, 4095, 4096, 16383, 16384, 40000];
    let strings = lengths.into_iter().map(|length| Value::string("ab".repeat(length).as_bytes()));
    let mut values: Vec<Value> = numbers().map(Value::Int).chain(strings).collect();
    values.extend([list(texts()), list((0..4000).map(|n| "x".repeat(n % 300))), set(texts())]);
    values.extend([set((0..600).map(|n| n.to_string())), set((0..400).map(|n| n.to_string()))]);
    values.extend([set(["a".to_owned(), "17".to_owned()]), hash(3, 2), hash(3, 65), hash(500, 1)]);
    values.push(sorted_set([1.0, -0.5, f64::INFINITY, f64::NEG_INFINITY, 1e300, 3.0e-9, 5e15]));
    values.push(sorted_set((0..1000).map(|n| f64::from(n % 7) / 3.0)));
    values
}

#[test]
fn a_value_comes_back_from_its_payload() {
    for value in values() {
        for compresses in [false, true] {
            let payload = dump_payload(&value, compresses);
            let back = restore_payload(&payload, &thresholds()).expect("it was just written");
            assert_eq!(back, value);
            assert_eq!(back.encoding().replace("raw", "embstr"), value.encoding().replace("raw", "embstr"));
        }
    }
}

#[test]
fn a_damaged_payload_is_refused() {
    let payload = dump_payload(&list(["one".to_owned(), "two".to_owned()]), true);
    for length in 0..payload.len() {
        assert!(restore_payload(&payload[..length], &thresholds()).is_err(), "cut to {length}");
    }
    for place in 0..payload.len() {
        let mut changed = payload.clone();
        changed[place] ^= 1;
        assert_eq!(
            restore_payload(&changed, &thresholds()).err(),
            Some(Damage::VersionOrChecksum),
            "changed at {place}"
        );
    }
}

/// The checksum's name in the catalogues is CRC-64/REDIS, and this its check value.
#[test]
fn the_checksum_is_the_catalogued_one() {
    assert_eq!(crc64::checksum(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    assert_eq!(crc64::update(crc64::checksum(b"1234"), b"56789"), 0xe9c6_d914_c4b8_d9ca);
}

#[test]
fn what_repeats_becomes_shorter_and_comes_back() {
    for text in
        ["a".repeat(1000), (0..3000).map(|n| (n % 10).to_string()).collect(), "ab".repeat(30) + &"c".repeat(9000)]
    {
        let compressed = lzf::compress(text.as_bytes()).expect("it repeats");
        assert!(compressed.len() < text.len() / 8, "{} of {}", compressed.len(), text.len());
        assert_eq!(lzf::decompress(&compressed, text.len()).expect("it was just written"), text.as_bytes());
        assert!(lzf::decompress(&compressed, text.len() - 1).is_err());
    }
    let noise: Vec<u8> = (0..255u8).collect();
    assert_eq!(lzf::compress(&noise), None);
}

/// A length that nothing stands behind must not cost memory: each of these claims gigabytes.
#[test]
fn lengths_are_not_believed() {
    for kind in [0, 1, 2, 4, 5, 14, 18] {
        let mut bytes = vec![kind];
        bytes.extend_from_slice(&[0x81, 0x0f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        assert!(canonical(&bytes).is_err());
    }
    assert!(canonical(&[0, 0xc3, 5, 0x80, 0xff, 0xff, 0xff, 0xff, 0, 65, 0xe0, 0xff, 0]).is_err());
}

/// What older releases wrote, byte by byte as their formats say.
#[test]
fn older_encodings_are_read() {
    let read = |bytes: &[u8]| {
        let mut payload = bytes.to_vec();
        payload.extend_from_slice(&[6, 0]);
        payload.extend_from_slice(&crc64::checksum(&payload).to_le_bytes());
        restore_payload(&payload, &thresholds())
    };
    let zipmap = b"\x09\x0d\x02\x01a\x01\x000\x02bc\x02\x01xy!\xff";
    let mut expected = Hash::default();
    expected.set(b"a", b"0", &thresholds());
    expected.set(b"bc", b"xy", &thresholds());
    let mut zipmap = zipmap.to_vec();
    zipmap[1] = (zipmap.len() - 2) as u8;
    assert_eq!(read(&zipmap), Ok(Value::Hash(Box::new(expected))));
    // A ziplist of "hi", 5, -3 and 1000.
    let ziplist = b"\x16\0\0\0\x11\0\0\0\x04\0\0\x02hi\x04\xf6\x02\xfe\xfd\x03\xc0\xe8\x03\xff";
    let bytes = [&[10, ziplist.len() as u8], ziplist.as_slice()].concat();
    let mut bytes = bytes;
    bytes[2] = ziplist.len() as u8;
    assert_eq!(read(&bytes), Ok(list(["hi", "5", "-3", "1000"].map(str::to_owned))));
    // Scores as text, and the special lengths for infinities.
    assert_eq!(
        read(b"\x03\x03\x02m0\x031.5\x02m1\xfe\x02m2\xff"),
        Ok(sorted_set([1.5, f64::INFINITY, f64::NEG_INFINITY]))
    );
    assert_eq!(read(b"\x01\x02\x01a\x01b"), Ok(list(["a", "b"].map(str::to_owned))));
}

#[test]
fn a_file_comes_back() {
    let options = Options { compresses: true, has_checksum: true, version: super::VERSION };
    let mut writer = Writer::new(options, &[("redis-ver", "7.2.4".to_owned())]);
    writer.function(b"#!lua name=x\n");
    writer.database(3, 2, 1);
    writer.key(b"k", &Entry::new(Value::Int(5)), Usage::Frequency(7));
    writer.key(b"e", &Entry { expire_at_ms: 17, ..Entry::new(list(["x".to_owned()])) }, Usage::Idle(70));
    let mut file = writer.take();
    file.extend(writer.finish());
    let mut reader = Reader::new(&file, thresholds()).expect("a file");
    let mut seen = Vec::new();
    while let Some(item) = reader.next_item().expect("whole") {
        seen.push(match item {
            Item::Fact(name, fact) => format!("{}={}", String::from_utf8_lossy(&name), String::from_utf8_lossy(&fact)),
            Item::Function(code) => format!("function of {} bytes", code.len()),
            Item::Database(index) => format!("database {index}"),
            Item::Key(record) => {
                let (key, kind) = (String::from_utf8_lossy(&record.key), record.entry.value.type_name());
                format!("{key} {kind} {} {:?}", record.entry.expire_at_ms != NEVER, record.usage)
            }
        });
    }
    assert_eq!(
        seen,
        [
            "redis-ver=7.2.4",
            "function of 13 bytes",
            "database 3",
            "k string false Frequency(7)",
            "e list true Idle(70)"
        ]
    );
    let again = super::rewrite(&file).expect("whole");
    assert_eq!(super::rewrite(&again), Ok(again.clone()));
    let last = file.len() - 1;
    file[last] ^= 1;
    assert_eq!(super::rewrite(&file), Err(Damage::VersionOrChecksum));
    assert_eq!(super::rewrite(&file[..last]), Err(Damage::Truncated));
    assert_eq!(super::rewrite(b"REDIS0099"), Err(Damage::FutureVersion(99)));
}

/// A stream with two nodes, deleted entries, and a group in which something is pending.
fn stream() -> Stream {
    let (mut stream, thresholds) = (Stream::default(), Thresholds::default());
    for number in 1..=150u64 {
        let value = number.to_string();
        let items: [&[u8]; 2] = [b"field", value.as_bytes()];
        stream.append(StreamId::new(number, 1), items.into_iter(), &thresholds);
    }
    assert!(stream.delete(StreamId::new(3, 1)) && stream.delete(StreamId::new(150, 1)));
    let mut group = Group::new(StreamId::new(20, 1), Some(19));
    group.add_consumer(b"al", 1000);
    group.add_consumer(b"idle", 2000);
    group.assign(StreamId::new(7, 1), b"al", 3000, 2);
    stream.add_group(b"g", group);
    stream.add_group(b"unknown", Group::new(StreamId::new(9, 9), None));
    stream
}

#[test]
fn a_stream_is_read_as_it_was_written_and_damage_is_found() {
    let value = Value::Stream(Box::new(stream()));
    let payload = dump_payload(&value, false);
    assert_eq!(restore_payload(&payload, &Thresholds::default()), Ok(value));
    let body = &payload[..payload.len() - FOOTER];
    for place in 0..body.len() {
        // Nothing that one wrong byte can say makes it panic; what is accepted can be written again.
        let mut damaged = body.to_vec();
        damaged[place] ^= 0x55;
        let _ = canonical(&damaged);
        let _ = canonical(&body[..place]);
    }
}
