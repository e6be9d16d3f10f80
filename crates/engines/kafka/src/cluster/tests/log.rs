//! The log as clients see it: fetch sessions, times inside of compressed batches, deleted records, nearer replicas.

use atoll_kernel::NodeId;
use bytes::Bytes;

use super::{World, quick_config};
use crate::config::Config;
use crate::wire::batch::{BatchHeader, recompressed};
use crate::wire::compression::Codec;
use crate::wire::generated::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use crate::wire::generated::produce_request::{PartitionProduceData, TopicProduceData};
use crate::wire::generated::{DeleteRecordsRequest, FetchRequest, FetchResponse, ProduceRequest};
use crate::wire::record::write_batch;
use crate::wire::{Request, Response};

const TIME: i64 = 1_767_225_600_000;

fn produce(world: &mut World, topic: &str, records: Bytes) -> (i16, i64) {
    let partition_data = vec![PartitionProduceData { index: 0, records: Some(records) }];
    let topic_data = vec![TopicProduceData { name: topic.to_owned(), partition_data }];
    let request = ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data };
    let leader = leader(world, topic);
    World::produced(&world.ask(leader, Request::Produce(request)).1.expect("healthy replicas"))
}

fn leader(world: &mut World, topic: &str) -> NodeId {
    NodeId(world.metadata(NodeId(1), topic, 0).expect("a topic").1 as u16)
}

fn fetch(world: &mut World, node: NodeId, request: Request) -> FetchResponse {
    match world.ask(node, request).1 {
        Some(Response::Fetch(response)) => response,
        other => panic!("not an answer to Fetch: {other:?}"),
    }
}

fn in_session(mut request: Request, id: i32, epoch: i32, whole: bool) -> Request {
    if let Request::Fetch(FetchRequest { session_id, session_epoch, topics, .. }) = &mut request {
        (*session_id, *session_epoch) = (id, epoch);
        topics.retain(|_| whole);
    }
    request
}

#[test]
fn a_session_is_told_what_changes_and_nothing_else() {
    let mut world = World::new(3, 1, quick_config());
    world.create_topic("orders", 1, &[]);
    let node = leader(&mut world, "orders");
    let ask = |offset| World::fetch_request("orders", 0, offset, -1, 0);
    let opened = fetch(&mut world, node, in_session(ask(0), 0, 0, true));
    assert!(opened.session_id != 0 && opened.responses.len() == 1);
    let id = opened.session_id;
    assert!(fetch(&mut world, node, in_session(ask(0), id, 1, false)).responses.is_empty(), "nothing has changed");
    produce(&mut world, "orders", write_batch(&[(None, Some(b"a"))], TIME, None));
    let told = fetch(&mut world, node, in_session(ask(0), id, 2, false));
    assert_eq!(told.responses[0].partitions[0].high_watermark, 1);
    assert!(!told.responses[0].partitions[0].records.clone().unwrap().is_empty());
    assert_eq!(fetch(&mut world, node, in_session(ask(1), id, 2, false)).error_code, 71, "that epoch is over");
    assert!(fetch(&mut world, node, in_session(ask(1), id, 3, true)).responses.is_empty(), "the offset has moved on");
    assert_eq!(fetch(&mut world, node, in_session(ask(1), id + 1, 1, false)).error_code, 70);
    let ended = fetch(&mut world, node, in_session(ask(0), id, -1, true));
    assert_eq!((ended.session_id, ended.responses.len()), (0, 1));
    assert_eq!(fetch(&mut world, node, in_session(ask(0), id, 4, false)).error_code, 70, "it is gone");
}

#[test]
fn times_are_found_inside_of_compressed_batches() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    for (number, codec) in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd].into_iter().enumerate() {
        let topic = format!("packed-{number}");
        world.create_topic(&topic, 1, &[]);
        produce(&mut world, &topic, write_batch(&[(None, Some(b"first"))], TIME - 10, None));
        let plain = write_batch(&[(Some(b"k"), Some(b"v")), (Some(b"l"), Some(b"w"))], TIME, None);
        let (_, packed) = recompressed(&BatchHeader::read(&plain).unwrap(), &plain, codec).unwrap();
        assert_eq!(produce(&mut world, &topic, packed.clone()), (0, 1), "{codec:?}");
        assert_eq!(world.list_offset(NodeId(1), &topic, 0, TIME - 5), Some((0, 1)));
        let broken = packed.slice(..packed.len() - 3);
        assert_eq!(produce(&mut world, &topic, broken).0, 87, "what is cut short is refused");
    }
}

#[test]
fn a_topic_compresses_as_it_says() {
    let mut world = World::new(1, 1, Config { default_replication_factor: 1, ..quick_config() });
    world.create_topic("orders", 1, &[("compression.type", "zstd")]);
    produce(&mut world, "orders", write_batch(&[(Some(b"k"), Some(&[b'x'; 500]))], TIME, None));
    let told = fetch(&mut world, NodeId(1), World::fetch_request("orders", 0, 0, -1, 0));
    let records = told.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(BatchHeader::read(&records).unwrap().compression(), 4);
    assert!(records.len() < 200);
    assert_eq!(world.read_all("orders", 0).len(), 1);
}

#[test]
fn deleted_records_are_gone_everywhere_and_after_a_restart() {
    let disk = std::sync::Arc::new(atoll_kernel::disk::MemoryDisk::ephemeral());
    let mut world = World::on_disk(3, 1, quick_config(), disk.clone());
    world.create_topic("orders", 1, &[]);
    for _ in 0..5 {
        produce(&mut world, "orders", write_batch(&[(Some(b"k"), Some(b"v"))], TIME, None));
    }
    let node = leader(&mut world, "orders");
    let mut delete = |offset| {
        let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
        let topics = vec![DeleteRecordsTopic { name: "orders".to_owned(), partitions }];
        match world.ask_in(node, 2, Request::DeleteRecords(DeleteRecordsRequest { topics, timeout_ms: 1_000 })).1 {
            Some(Response::DeleteRecords(response)) => {
                let answer = &response.topics[0].partitions[0];
                (answer.error_code, answer.low_watermark)
            }
            other => panic!("not an answer to DeleteRecords: {other:?}"),
        }
    };
    assert_eq!(delete(3), (0, 3));
    assert_eq!(delete(9), (1, -1), "beyond the high watermark");
    for node in 1..=3 {
        let answer = fetch(&mut world, NodeId(node), World::fetch_request("orders", 0, 2, -1, 0));
        assert_eq!(answer.responses[0].partitions[0].error_code, 1);
    }
    assert_eq!(world.list_offset(node, "orders", 0, -2), Some((0, 3)));
    drop(world);
    let mut again = World::on_disk(3, 2, quick_config(), disk);
    let node = leader(&mut again, "orders");
    assert_eq!(again.list_offset(node, "orders", 0, -2), Some((0, 3)));
    assert_eq!(again.list_offset(node, "orders", 0, -1), Some((0, 5)));
}

#[test]
fn a_reader_is_sent_to_the_replica_in_its_rack() {
    let replica_selector_class = "org.apache.kafka.common.replica.RackAwareReplicaSelector".to_owned();
    let mut world = World::new(3, 1, Config { replica_selector_class, ..quick_config() });
    world.create_topic("orders", 1, &[]);
    produce(&mut world, "orders", write_batch(&[(None, Some(b"a"))], TIME, None));
    let node = leader(&mut world, "orders");
    let nodes = world.simulation.kernel.nodes();
    let zone = |id: NodeId| nodes.iter().find(|node| node.config.id == id).unwrap().config.zone.clone();
    let other = nodes.iter().map(|node| node.config.id).find(|id| zone(*id) != zone(node)).unwrap();
    let from = |rack: &str| {
        let mut request = World::fetch_request("orders", 0, 0, -1, 0);
        if let Request::Fetch(request) = &mut request {
            request.rack_id = rack.to_owned();
        }
        request
    };
    let told = fetch(&mut world, node, from(&zone(other)));
    assert_eq!(told.responses[0].partitions[0].preferred_read_replica, i32::from(other.0));
    let told = fetch(&mut world, other, from(&zone(other)));
    assert_eq!(told.responses[0].partitions[0].preferred_read_replica, -1);
    assert!(!told.responses[0].partitions[0].records.clone().unwrap().is_empty());
    assert_eq!(fetch(&mut world, node, from("no such rack")).responses[0].partitions[0].preferred_read_replica, -1);
}

#[test]
fn what_is_old_goes_and_its_space_is_given_back() {
    let disk = std::sync::Arc::new(atoll_kernel::disk::MemoryDisk::ephemeral());
    let small = Config { log_segment_bytes: 128 << 10, ..quick_config() };
    let mut world = World::on_disk(3, 1, small.clone(), disk.clone());
    world.create_topic("orders", 1, &[("retention.ms", "60000"), ("segment.bytes", "100000")]);
    let large = vec![b'x'; 10_000];
    let now = |world: &World| world.simulation.kernel.wall().as_millis();
    for number in 0..40 {
        let time = now(&world);
        assert_eq!(produce(&mut world, "orders", write_batch(&[(Some(b"k"), Some(&large))], time, None)), (0, number));
    }
    world.run_for(250_000);
    for number in 40..43 {
        let time = now(&world);
        assert_eq!(produce(&mut world, "orders", write_batch(&[(Some(b"k"), Some(&large))], time, None)), (0, number));
    }
    world.run_for(60_000);
    let node = leader(&mut world, "orders");
    let (error, first) = world.list_offset(node, "orders", 0, -2).unwrap();
    assert!(error == 0 && (30..=40).contains(&first), "whole segments have gone: {first}");
    let cluster = &world.simulation.core;
    let (key, partition) = cluster.partitions.iter().find(|(_, partition)| partition.topic == "orders").unwrap();
    assert!(partition.tree.first_position().unwrap() > 300_000);
    assert!(cluster.store.begins_at(*key) > 300_000, "the space is given back");
    drop(world);
    let mut again = World::on_disk(3, 2, small, disk);
    let node = leader(&mut again, "orders");
    assert_eq!(again.list_offset(node, "orders", 0, -2), Some((0, first)));
    assert_eq!(again.list_offset(node, "orders", 0, -1), Some((0, 43)));
    assert_eq!(produce(&mut again, "orders", write_batch(&[(None, Some(b"more"))], TIME, None)), (0, 43));
}
