//! Compaction as clients see it: transactions, producers, coordinators' own topics, other policies, restarts in the middle.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_kernel::NodeId;
use atoll_kernel::disk::{Disk, MemoryDisk};
use bytes::Bytes;

use super::transactions::{Client, Transactional, config as transactional_config, read_committed};
use super::{World, quick_config};
use crate::config::{CleanerConfig, Config, Ratio, TransactionConfig};
use crate::wire::batch::BatchHeader;
use crate::wire::record::{Producer, write_batch};

const COMPACT: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("segment.ms", "1000"), ("min.cleanable.dirty.ratio", "0.01")];

fn leader(world: &mut World, topic: &str) -> NodeId {
    NodeId(world.metadata(NodeId(1), topic, 0).expect("a topic").1 as u16)
}

fn put_as(world: &mut World, topic: &str, key: &str, value: &[u8], producer: Option<Producer>) -> (i16, i64) {
    let now_ms = world.simulation.kernel.wall().as_millis();
    let batch = write_batch(&[(Some(key.as_bytes()), Some(value))], now_ms, producer);
    let node = leader(world, topic);
    World::produced(&world.ask(node, World::produce_batch(topic, 0, -1, batch)).1.expect("healthy replicas"))
}

fn put(world: &mut World, topic: &str, key: &str, value: &str) -> i64 {
    let (error, offset) = put_as(world, topic, key, value.as_bytes(), None);
    assert_eq!(error, 0);
    offset
}

/// The batches of a log: first offset, next offset, and how many records are left.
fn batches(world: &mut World, topic: &str) -> Vec<(i64, i64, i32)> {
    let node = leader(world, topic);
    let answer = world.ask(node, World::fetch_request(topic, 0, 0, -1, 0)).1.expect("a leader");
    let crate::wire::Response::Fetch(response) = answer else { panic!("not an answer to Fetch") };
    let mut bytes: Bytes = response.responses[0].partitions[0].records.clone().unwrap_or_default();
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::read(&bytes).expect("a whole batch");
        let batch = bytes.split_to(header.size);
        header.check_sum(&batch).expect("a sum that is right");
        found.push((header.base_offset, header.next_offset(), header.record_count));
    }
    found
}

#[test]
fn a_producers_last_batch_stays_without_its_records_so_that_its_next_one_fits() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let mut world = World::on_disk(3, 1, quick_config(), Arc::clone(&disk) as Arc<dyn Disk>);
    world.create_topic("prices", 1, &COMPACT);
    let as_producer = |sequence| Some(Producer { id: 7, epoch: 0, sequence });
    assert_eq!(put_as(&mut world, "prices", "tea", b"1", as_producer(0)), (0, 0));
    assert_eq!(put_as(&mut world, "prices", "tea", b"2", as_producer(1)), (0, 1));
    put(&mut world, "prices", "tea", "3");
    put(&mut world, "prices", "milk", "1");
    world.run_for(2_000);
    put(&mut world, "prices", "sugar", "1");
    world.run_for(16_000);
    assert_eq!(batches(&mut world, "prices"), [(1, 2, 0), (2, 3, 1), (3, 4, 1), (4, 5, 1)]);
    drop(world);
    // What the batch says of its producer counts after a restart as well.
    let mut again = World::on_disk(3, 2, quick_config(), disk);
    assert_eq!(batches(&mut again, "prices"), [(1, 2, 0), (2, 3, 1), (3, 4, 1), (4, 5, 1)]);
    assert_eq!(put_as(&mut again, "prices", "tea", b"2", as_producer(1)), (0, 1), "it is known");
    assert_eq!(put_as(&mut again, "prices", "tea", b"9", as_producer(3)).0, 45, "one is missing");
    assert_eq!(put_as(&mut again, "prices", "tea", b"4", as_producer(2)), (0, 5));
}

#[test]
fn aborted_records_go_and_the_end_of_a_transaction_follows_when_nobody_needs_it() {
    let transactions = TransactionConfig { state_log_num_partitions: 1, ..TransactionConfig::default() };
    let mut world = World::new(3, 3, Config { transactions, ..transactional_config() });
    world.create_topic("prices", 1, &[COMPACT[0], COMPACT[1], COMPACT[2], ("delete.retention.ms", "30000")]);
    let mut producer = Transactional::begin(&mut world, Client::Bumping, "till");
    assert_eq!(producer.send(&mut world, "prices", 0, "tea"), Some((0, 0)));
    assert_eq!(producer.end(&mut world, true), Some(0));
    world.run_for(200);
    assert_eq!(producer.send(&mut world, "prices", 0, "milk"), Some((0, 2)));
    assert_eq!(producer.end(&mut world, false), Some(0));
    world.run_for(2_000);
    put(&mut world, "prices", "sugar", "1");
    world.run_for(16_000);
    assert_eq!(batches(&mut world, "prices"), [(0, 1, 1), (1, 2, 1), (3, 4, 1), (4, 5, 1)], "the markers are there");
    let node = leader(&mut world, "prices");
    let (values, stable) = read_committed(&mut world, node, "prices", 0);
    assert_eq!((values.into_values().collect::<Vec<_>>(), stable), (vec!["tea".to_owned(), "1".to_owned()], 5));
    // Nothing is left of the aborted one: its end may go, once it has had its time.
    for round in 0..4 {
        put(&mut world, "prices", "sugar", "2");
        world.run_for(20_000);
        let marker = batches(&mut world, "prices").into_iter().find(|(first, ..)| *first == 3);
        // Its producer's epoch is told by it, so that the batch stays.
        assert_eq!(marker, Some((3, 4, i32::from(round < 2))), "after {round} more rounds");
    }
    assert!(
        batches(&mut world, "prices").iter().any(|(first, ..)| *first == 1),
        "what was committed is there, and so is its end"
    );
    let (values, _) = read_committed(&mut world, node, "prices", 0);
    assert_eq!(values[&0], "tea");
}

#[test]
fn what_the_coordinators_keep_is_compacted_and_known_after_a_restart() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let small = Config {
        log_roll_ms: 1_000,
        cleaner: CleanerConfig { min_cleanable_ratio: Ratio(10_000), ..CleanerConfig::default() },
        ..transactional_config()
    };
    let mut world = World::on_disk(3, 5, small.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    world.create_topic("prices", 1, &[]);
    while world.find_coordinator(NodeId(1), "books").unwrap().0 != 0 {}
    let mut till = Transactional::begin(&mut world, Client::Bumping, "till");
    for offset in 0..40 {
        let coordinator = NodeId(world.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
        let answer = world.ask(coordinator, World::commit_request("books", "prices", 0, offset)).1;
        assert_eq!(World::committed(&answer.unwrap()), 0);
        till.send(&mut world, "prices", 0, "x").expect("an answer");
        assert_eq!(till.end(&mut world, true), Some(0));
        world.run_for(700);
    }
    world.run_for(20_000);
    let sizes: BTreeMap<String, usize> = world
        .simulation
        .core
        .partitions
        .values()
        .map(|partition| (partition.topic.clone(), partition.tree.batches(NodeId(1), 0).count()))
        .filter(|(topic, count)| topic.starts_with("__") && *count > 0)
        .collect();
    assert!(sizes.len() == 2 && sizes.values().all(|count| *count < 60), "of more than a hundred steps: {sizes:?}");
    drop(world);
    let mut again = World::on_disk(3, 6, small, disk);
    again.run_for(1_000);
    let coordinator = NodeId(again.find_coordinator(NodeId(1), "books").unwrap().1 as u16);
    assert_eq!(again.committed_offset(coordinator, "books", "prices", 0), Some((0, 39)));
    let before = till.epoch;
    assert!(Transactional::begin(&mut again, Client::Bumping, "till").epoch > before, "the old one is fenced");
}

#[test]
fn segments_are_given_back_and_a_round_that_was_cut_off_counts_for_nothing() {
    let disk = Arc::new(MemoryDisk::ephemeral());
    // A thread reads so little at once that a round takes many steps.
    let cleaner = CleanerConfig { io_buffer_size: 1_000, ..CleanerConfig::default() };
    let slow = Config { cleaner, log_segment_bytes: 64 << 10, ..quick_config() };
    let mut world = World::on_disk(3, 7, slow.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    world.create_topic("prices", 1, &[COMPACT[0], ("segment.bytes", "50000"), COMPACT[2]]);
    let mut newest = BTreeMap::new();
    let mut fill = |world: &mut World, count: usize| {
        for number in 0..count {
            let key = format!("key {}", number % 7);
            let value = format!("{number} {}", "x".repeat(1_000));
            newest.insert(key.clone(), (put(world, "prices", &key, &value), value));
        }
        newest.clone()
    };
    let expected = fill(&mut world, 300);
    world.run_for(15_050);
    let cluster = &world.simulation.core;
    let (key, partition) = cluster.partitions.iter().find(|(_, partition)| partition.topic == "prices").unwrap();
    let key = *key;
    assert!(cluster.cleaner.is_at(key) && partition.tree.cleaned() == 0, "it is in the middle");
    drop(world);
    let mut again = World::on_disk(3, 8, slow.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    assert_eq!(again.read_all("prices", 0).len(), 300);
    for restart in 0..3 {
        again.run_for(30_000);
        let read = again.read_all("prices", 0);
        assert!(read.len() < 100, "{restart}: {}", read.len());
        assert!(expected.values().all(|(offset, value)| read.get(offset) == Some(value)), "{restart}");
        assert!(again.simulation.core.store.begins_at(key) > 200_000, "{restart}: the space is given back");
        again = World::on_disk(3, 9 + restart, slow.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    }
    let expected = fill(&mut again, 300);
    again.run_for(30_000);
    let read = again.read_all("prices", 0);
    assert!(read.len() < 100 && expected.values().all(|(offset, value)| read.get(offset) == Some(value)));
}

#[test]
fn a_log_that_is_compacted_and_deleted_loses_what_is_old_as_well() {
    let mut world = World::new(3, 1, quick_config());
    world.create_topic(
        "prices",
        1,
        &[("cleanup.policy", "compact,delete"), COMPACT[1], COMPACT[2], ("retention.ms", "400000")],
    );
    put(&mut world, "prices", "tea", "1");
    put(&mut world, "prices", "tea", "2");
    put(&mut world, "prices", "milk", "1");
    world.run_for(2_000);
    put(&mut world, "prices", "sugar", "1");
    world.run_for(16_000);
    assert_eq!(world.read_all("prices", 0).into_keys().collect::<Vec<_>>(), [1, 2, 3]);
    world.run_for(200_000);
    put(&mut world, "prices", "sugar", "2");
    world.run_for(400_000);
    let node = leader(&mut world, "prices");
    assert_eq!(world.list_offset(node, "prices", 0, -2), Some((0, 4)));
}

#[test]
fn without_a_cleaner_or_before_its_time_everything_stays() {
    for (options, config) in [
        (vec![("min.compaction.lag.ms", "3600000")], quick_config()),
        (vec![], Config { cleaner: CleanerConfig { enable: false, ..CleanerConfig::default() }, ..quick_config() }),
        (vec![("min.cleanable.dirty.ratio", "1.0")], quick_config()),
    ] {
        let mut world = World::new(3, 1, config);
        let all: Vec<_> = COMPACT.into_iter().filter(|(name, _)| options.iter().all(|(own, _)| own != name)).collect();
        world.create_topic("prices", 1, &[all, options.clone()].concat());
        put(&mut world, "prices", "tea", "1");
        put(&mut world, "prices", "tea", "2");
        world.run_for(2_000);
        put(&mut world, "prices", "sugar", "1");
        world.run_for(40_000);
        assert_eq!(world.read_all("prices", 0).len(), 3, "{options:?}");
    }
    // Whatever the ratio, max.compaction.lag.ms is kept, which rolls segments as well.
    let mut world = World::new(3, 1, quick_config());
    let options = [COMPACT[0], ("min.cleanable.dirty.ratio", "1.0"), ("max.compaction.lag.ms", "10000")];
    world.create_topic("prices", 1, &options);
    put(&mut world, "prices", "tea", "1");
    put(&mut world, "prices", "tea", "2");
    world.run_for(12_000);
    put(&mut world, "prices", "sugar", "1");
    world.run_for(16_000);
    assert_eq!(world.read_all("prices", 0).into_keys().collect::<Vec<_>>(), [1, 2]);
}
