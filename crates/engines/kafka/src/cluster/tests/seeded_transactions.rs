//! Random fault runs from seeds with a transactional producer: whatever happens, a transaction counts as a whole or not at
//! all, once, in order, and as its producer was told.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_kernel::{Fault, FaultMenu, NodeId};

use super::transactions::{Client, Transactional, config, coordinator, read_committed};
use super::{World, disk_fault, seeds};
use crate::config::{CleanerConfig, Config};

const PLACES: [(&str, i32); 2] = [("orders", 0), ("audit", 0)];
const STEPS: usize = 40;

/// What became of a transaction, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Committed,
    Aborted,
    /// The answer never came, or was an error: it may still count.
    Unknown,
    /// Nobody asked for a commit.
    NeverCommitted,
}

#[derive(Debug)]
struct Sent {
    told: Told,
    /// Acknowledged records: place, offset and value.
    records: Vec<(usize, i64, String)>,
}

struct Run {
    hash: u64,
    committed: usize,
    aborted: usize,
}

fn run(seed: u64, menu: &FaultMenu) -> Run {
    let cleaner = CleanerConfig { backoff_ms: 3_000, ..CleanerConfig::default() };
    let mut world = World::new(3, seed, Config { cleaner, ..config() });
    for (topic, _) in PLACES {
        let mut options = vec![("min.insync.replicas", "2")];
        if topic == "audit" {
            // Every record has a key of its own, so that compaction removes what was aborted and nothing else.
            options.extend([
                ("cleanup.policy", "compact"),
                ("segment.ms", "300"),
                ("min.cleanable.dirty.ratio", "0.01"),
            ]);
        }
        world.create_topic(topic, 1, &options);
    }
    let client = if seed.is_multiple_of(2) { Client::Bumping } else { Client::Announcing };
    let (mut producer, mut sent): (Option<Transactional>, Vec<Sent>) = (None, Vec::new());
    let mut number = 0;
    for _ in 0..STEPS {
        let milliseconds = world.simulation.stream().below(3_000);
        match world.simulation.stream().below(24) {
            0..=2 => drop(world.simulation.random_fault(menu)),
            3 => disk_fault(&mut world),
            4..=8 => world.run_for(milliseconds),
            _ => match &mut producer {
                None => producer = Transactional::try_begin(&mut world, client, "till").and_then(Result::ok),
                Some(begun) => {
                    let one = transact(&mut world, begun, &mut number);
                    if !matches!(one.told, Told::Committed | Told::Aborted) {
                        producer = None;
                    }
                    sent.push(one);
                }
            },
        }
        world.late.clear();
    }
    world.simulation.inject(&Fault::Heal);
    world.run_for(120_000);
    assert!(coordinator(&mut world, "till").is_some(), "seed {seed}: all brokers serve again");
    // The next producer ends what the last one left open.
    Transactional::begin(&mut world, client, "till");
    world.run_for(1_000);
    reckon(&mut world, &sent, seed)
}

/// One transaction of a few records; it is given up where anything fails.
fn transact(world: &mut World, producer: &mut Transactional, number: &mut u64) -> Sent {
    let mut one = Sent { told: Told::NeverCommitted, records: Vec::new() };
    let count = 1 + world.simulation.stream().below(4);
    for _ in 0..count {
        let place = world.simulation.stream().below(2) as usize;
        let (topic, partition) = PLACES[place];
        if producer.client == Client::Announcing && producer.announce(world, topic, partition) != Some(0) {
            return one;
        }
        *number += 1;
        let value = format!("record {number}");
        match producer.send(world, topic, partition, &value) {
            Some((0, offset)) => one.records.push((place, offset, value)),
            _ => return one,
        }
    }
    let commit = world.simulation.stream().below(3) > 0;
    one.told = match (producer.end(world, commit), commit) {
        (Some(0), true) => Told::Committed,
        (Some(0), false) => Told::Aborted,
        (_, true) => Told::Unknown,
        (_, false) => Told::NeverCommitted,
    };
    one
}

fn reckon(world: &mut World, sent: &[Sent], seed: u64) -> Run {
    let mut read: Vec<BTreeMap<i64, String>> = Vec::new();
    for (topic, partition) in PLACES {
        let leader = NodeId(world.metadata(NodeId(1), topic, partition).expect("a topic").1 as u16);
        let (values, stable) = read_committed(world, leader, topic, partition);
        let end = world.list_offset(leader, topic, partition, -1).expect("a leader").1;
        assert_eq!(stable, end, "seed {seed}: no transaction of {topic} is left open");
        let mut numbers: Vec<u64> =
            values.values().map(|value| value.trim_start_matches("record ").parse().unwrap()).collect();
        assert!(numbers.is_sorted(), "seed {seed}: {topic} is in order: {numbers:?}");
        numbers.dedup();
        assert_eq!(numbers.len(), values.len(), "seed {seed}: {topic} has everything once");
        read.push(values);
    }
    let (mut committed, mut aborted) = (0, 0);
    for one in sent {
        let there = |(place, offset, value): &(usize, i64, String)| read[*place].get(offset) == Some(value);
        let count = one.records.iter().filter(|record| there(record)).count();
        match one.told {
            Told::Committed => assert_eq!(count, one.records.len(), "seed {seed}: committed and lost: {one:?}"),
            Told::Aborted | Told::NeverCommitted => {
                assert_eq!(count, 0, "seed {seed}: not committed and read: {one:?}");
            }
            Told::Unknown => {
                assert!(count == 0 || count == one.records.len(), "seed {seed}: half of it counts: {one:?}");
            }
        }
        committed += usize::from(one.told == Told::Committed);
        aborted += usize::from(one.told == Told::Aborted);
    }
    Run { hash: world.simulation.kernel.trace_hash(), committed, aborted }
}

#[test]
fn a_transaction_counts_as_a_whole_or_not_at_all() {
    let menu = FaultMenu {
        kill: true,
        power: false,
        pause: true,
        cut: true,
        slow_max: Duration::from_millis(400),
        nodes_down_max: 1,
    };
    let (mut committed, mut aborted) = (0, 0);
    for seed in seeds(20_000, 120, 30) {
        let first = run(seed, &menu);
        if seed % 10 == 0 {
            assert_eq!(first.hash, run(seed, &menu).hash, "seed {seed}: the same seed, the same events");
        }
        committed += first.committed;
        aborted += first.aborted;
    }
    println!("{committed} committed, {aborted} aborted");
    assert!(committed > 120 && aborted > 24, "a run that commits nothing shows nothing: {committed}, {aborted}");
}
