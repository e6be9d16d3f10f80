//! Tests of values.

use super::geohash::{Place, Shape};
use super::listpack::{Element, Elements, push_bytes, push_integer};
use super::{Blob, Stream, StreamId, Thresholds, Trim, geohash, hyperloglog};

#[test]
fn a_listpack_gives_back_what_was_put_in() {
    let numbers = [0, 1, 127, 128, -1, 4095, -4096, 4096, -4097, 32_767, -32_768, 32_768, 8_388_607, -8_388_609];
    let wide = [i64::from(i32::MAX), i64::from(i32::MIN), 1 << 40, i64::MAX, i64::MIN];
    let mut listpack = Vec::new();
    for number in numbers.into_iter().chain(wide) {
        push_integer(&mut listpack, number);
    }
    let found: Vec<_> = Elements { rest: &listpack }.filter_map(Element::integer).collect();
    assert_eq!(found, numbers.into_iter().chain(wide).collect::<Vec<_>>());
    let strings: Vec<Vec<u8>> = [0, 1, 63, 64, 127, 128, 4095, 4096, 20_000].map(|length| vec![b'x'; length]).to_vec();
    let mut listpack = Vec::new();
    strings.iter().for_each(|string| push_bytes(&mut listpack, string));
    let mut buffer = itoa::Buffer::new();
    let found: Vec<Vec<u8>> = Elements { rest: &listpack }.map(|element| element.bytes(&mut buffer).to_vec()).collect();
    assert_eq!(found, strings);
    for cut in 0..listpack.len().min(300) {
        // Cut anywhere, it ends early and nothing more.
        let _ = Elements { rest: &listpack[..cut] }.count();
    }
}

fn add(stream: &mut Stream, id: StreamId, items: &[&str]) {
    stream.append(id, items.iter().map(|item| item.as_bytes()), &Thresholds::default());
}

#[test]
fn a_node_of_a_stream_is_the_listpack_that_redis_writes() {
    let mut stream = Stream::default();
    add(&mut stream, StreamId::new(1, 1), &["a", "1"]);
    add(&mut stream, StreamId::new(1, 2), &["b", "xy"]);
    let node = stream.nodes().next().expect("a node").to_listpack();
    let master = [2, 1, 0, 1, 1, 1, 0x81, b'a', 2, 0, 1];
    let first = [2, 1, 0, 1, 0, 1, 1, 1, 4, 1];
    let second = [0, 1, 0, 1, 1, 1, 1, 1, 0x81, b'b', 2, 0x82, b'x', b'y', 3, 6, 1];
    let body: Vec<u8> = [master.as_slice(), &first, &second].concat();
    let expected = [&[45, 0, 0, 0, 17, 0], body.as_slice(), &[0xff]].concat();
    assert_eq!(node, expected);
}

#[test]
fn a_stream_holds_what_was_added_less_what_was_deleted_and_trimmed() {
    let (mut stream, mut model) = (Stream::default(), Vec::new());
    for number in 1..=1000u64 {
        let value = number.to_string();
        let items: &[&str] = if number % 7 == 0 { &["g", &value, "h", "z"] } else { &["f", &value] };
        add(&mut stream, StreamId::new(number, 0), items);
        model.push(number);
        if number % 5 == 0 {
            assert!(stream.delete(StreamId::new(number - 2, 0)));
            assert!(!stream.delete(StreamId::new(number - 2, 0)));
            model.retain(|other| *other != number - 2);
        }
        if number % 100 == 0 {
            let surplus = model.len() - 250.min(model.len());
            assert_eq!(stream.trim(Trim::Length(250), false, 0), surplus as u64);
            model.drain(..surplus);
        }
        let ids = |id: StreamId| id.ms;
        assert_eq!((stream.len(), ids(stream.first_id()), ids(stream.last_live_id())), {
            (model.len() as u64, model[0], model[model.len() - 1])
        });
    }
    let all: Vec<u64> = stream.range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.ms).collect();
    assert_eq!(all, model);
    let mut reversed: Vec<u64> = stream.range_reversed(StreamId::MIN, StreamId::MAX).map(|entry| entry.id.ms).collect();
    reversed.reverse();
    assert_eq!(reversed, model);
    stream.trim(Trim::From(StreamId::new(900, 0)), false, 0);
    assert_eq!(stream.first_id().ms, *model.iter().find(|number| **number >= 900).expect("one is left"));
}

#[test]
fn sparse_and_dense_hyperloglogs_count_alike() {
    let (mut sparse, mut dense): (Blob, Blob) = (hyperloglog::empty(), hyperloglog::empty());
    hyperloglog::make_dense(&mut dense).expect("an empty one is sound");
    for number in 0..3000u32 {
        let element = number.to_le_bytes();
        let one = hyperloglog::add(&mut sparse, &element, 3000);
        assert_eq!(one, hyperloglog::add(&mut dense, &element, 3000));
        if number % 250 == 0 {
            assert_eq!(hyperloglog::count(&sparse), hyperloglog::count(&dense));
        }
    }
    assert!(!hyperloglog::is_sparse(&sparse));
    let error = hyperloglog::count(&dense).expect("it is sound").abs_diff(3000);
    assert!(error < 100, "off by {error}");
}

#[test]
fn places_near_one_another_are_found_in_the_ranges_of_their_scores() {
    for step in 0..400 {
        let centre = Place { longitude: f64::from(step * 37 % 360 - 179), latitude: f64::from(step * 13 % 160 - 80) };
        let place = Place { longitude: centre.longitude + 0.3, latitude: centre.latitude - 0.2 };
        let score = geohash::encode(place);
        let shape = Shape::Circle { radius: 60_000.0 };
        let is_inside = shape.distance_within(centre, geohash::decode(score)).is_some();
        let is_covered = shape.score_ranges(centre).iter().any(|(low, high)| (*low..*high).contains(&score));
        assert!(is_covered || !is_inside, "{centre:?}");
    }
}
