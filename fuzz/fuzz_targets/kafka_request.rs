//! Any bytes as a Kafka request: every API in every version. What is understood can be written, and is then understood alike.
//! And as an answer, which `atoll kafka` may get from any broker.

#![no_main]

use atoll_fuzz as _;
use atoll_kafka::wire::{ApiKey, Request, Response, decode_request};
use atoll_wire::{Reader, Writer};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // As a client sends it, with a header that names the API.
    let _ = decode_request(Bytes::copy_from_slice(input));
    // And with the API and the version chosen by the first two bytes, so that each is as likely as the others.
    let Some((&[api, version], body)) = input.split_first_chunk() else { return };
    let api = ApiKey::ALL[usize::from(api) % ApiKey::ALL.len()];
    let versions = api.versions();
    let version = versions.start() + i16::from(version) % (versions.end() - versions.start() + 1);
    let _ = Response::decode(api, &mut Reader::new(Bytes::copy_from_slice(body)), version);
    let mut reader = Reader::new(Bytes::copy_from_slice(body));
    let Ok(request) = Request::decode(api, &mut reader, version) else { return };
    let mut writer = Writer::new();
    request.encode(&mut writer, version);
    let written = writer.into_bytes();
    let mut reader = Reader::new(written.clone());
    let again = Request::decode(api, &mut reader, version).expect("what was written can be read");
    reader.finish().expect("nothing more was written");
    // By their bytes, since a number that is none does not equal itself.
    let mut writer = Writer::new();
    again.encode(&mut writer, version);
    assert_eq!(writer.into_bytes(), written);
});
