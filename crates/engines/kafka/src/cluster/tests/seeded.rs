//! Random fault runs from seeds, against a model: every acknowledged record is there in the end, or the ledger names it, or in
//! the compacted topic a later one of its key is there; what an idempotent producer repeats is there once; disks fail as well, and
//! answers come late or never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Fault, FaultMenu, Kind, NodeId};

use super::{World, disk_fault, quick_config, seeds};
use crate::cluster::{PART, Ticket};
use crate::config::{CleanerConfig, Config};
use crate::state::image::OFFSETS_TOPIC;
use crate::wire::Response;
use crate::wire::record::{Producer, write_batch};

/// What the client was promised, and what it still waits for.
#[derive(Default)]
struct Model {
    sent: u64,
    /// Acknowledged records, each with its offset. An offset can be given twice, if the first is lost.
    acknowledged: Vec<(Sent, i64)>,
    waiting: BTreeMap<Ticket, Sent>,
    /// Answers that have not arrived, and may never: each with its offset, or None if it is an error.
    held_back: BTreeMap<Ticket, (Sent, Option<i64>)>,
    idempotent: Idempotent,
    /// The key of each value that was sent to the compacted topic.
    keys: BTreeMap<String, String>,
    commits_waiting: BTreeMap<Ticket, i64>,
    /// The newest acknowledged commit, and the newest that was sent after it.
    committed: i64,
    commits_sent: i64,
}

/// A record as it was sent.
struct Sent {
    topic: &'static str,
    partition: i32,
    acks: i16,
    key: String,
    value: String,
}

/// A producer that repeats each batch until it is acknowledged, or until it is told that it cannot be.
#[derive(Default)]
struct Idempotent {
    /// Counts the ids that it has had.
    id: i64,
    sequence: i32,
    /// What is to be acknowledged next, and how it was asked for: ticket, with id and sequence then.
    value: Option<String>,
    tickets: BTreeMap<Ticket, (i64, i32)>,
}

const TOPICS: [&str; 3] = ["orders", "audit", COMPACTED];
const COMPACTED: &str = "prices";
const KEYS: u64 = 3;
const STEPS: usize = 50;

struct Run {
    hash: u64,
    acknowledged: usize,
    lost: usize,
    /// Whether the compacted topic was compacted.
    compacted: bool,
}

/// One run: a workload under faults, then healing, then the reckoning.
fn run(seed: u64, menu: &FaultMenu) -> Run {
    let disk = Arc::new(MemoryDisk::ephemeral());
    let cleaner = CleanerConfig { backoff_ms: 5_000, io_buffer_size: 200, ..CleanerConfig::default() };
    let config = Config { cleaner, ..quick_config() };
    let mut world = World::on_disk(3, seed, config.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    let mut model = Model::default();
    world.create_topic("orders", 2, &[("min.insync.replicas", "2")]);
    world.create_topic(
        "audit",
        1,
        &[("unclean.leader.election.enable", if seed.is_multiple_of(2) { "true" } else { "false" })],
    );
    let compacted = [
        ("min.insync.replicas", "2"),
        ("cleanup.policy", "compact"),
        ("segment.ms", "500"),
        ("min.cleanable.dirty.ratio", "0.01"),
    ];
    world.create_topic(COMPACTED, 1, &compacted);
    for _ in 0..STEPS {
        let milliseconds = world.simulation.stream().below(4_000);
        match world.simulation.stream().below(24) {
            0..=3 => drop(world.simulation.random_fault(menu)),
            4 => disk_fault(&mut world),
            5 => commit(&mut world, &mut model),
            6 => settle_held_back(&mut world, &mut model),
            7..=11 => world.run_for(milliseconds),
            12..=14 => produce_idempotently(&mut world, &mut model),
            _ => produce(&mut world, &mut model),
        }
        world.collect();
        settle_answers(&mut world, &mut model);
        check_in_sync_sets(&world, seed, menu);
    }
    world.simulation.inject(&Fault::Heal);
    world.run_for(120_000);
    settle_answers(&mut world, &mut model);
    while !model.held_back.is_empty() {
        settle_held_back(&mut world, &mut model);
    }
    let run = reckon(&mut world, &model, seed, menu);
    if seed.is_multiple_of(8) {
        // Atoll itself was killed, and finds everything again.
        let left = read_everything(&mut world);
        drop(world);
        let mut again = World::on_disk(3, seed + 1, config, disk);
        again.run_for(15_000);
        assert_eq!(read_everything(&mut again), left, "seed {seed}: the same after a restart");
    }
    run
}

/// The client sends a record to whoever it believes to lead: it asks one broker, and may be told old news.
fn produce(world: &mut World, model: &mut Model) {
    let stream = world.simulation.stream();
    let (topic, asked) = (TOPICS[stream.below(3) as usize], NodeId(1 + stream.below(3) as u16));
    let partition = if topic == "orders" { stream.below(2) as i32 } else { 0 };
    let acks = if stream.below(2) == 0 { 1 } else { -1 };
    let key_number = stream.below(KEYS);
    let is_held_back = stream.one_in(6);
    let Some((0, leader, _)) = world.metadata(asked, topic, partition) else { return };
    model.sent += 1;
    let value = format!("record {}", model.sent);
    let key = if topic == COMPACTED { format!("key {key_number}") } else { value.clone() };
    let now_ms = world.simulation.kernel.wall().as_millis();
    let batch = write_batch(&[(Some(key.as_bytes()), Some(value.as_bytes()))], now_ms, None);
    let request = World::produce_batch(topic, partition, acks, batch);
    world.holds_back = is_held_back;
    let (ticket, answer) = world.ask(NodeId(leader as u16), request);
    world.holds_back = false;
    if topic == COMPACTED {
        model.keys.insert(value.clone(), key.clone());
    }
    let sent = Sent { topic, partition, acks, key, value };
    match answer {
        Some(answer) if is_held_back => {
            let (error, offset) = World::produced(&answer);
            model.held_back.insert(ticket, (sent, (error == 0).then_some(offset)));
        }
        Some(answer) => {
            model.waiting.insert(ticket, sent);
            world.late.insert(ticket, answer);
        }
        None => drop(model.waiting.insert(ticket, sent)),
    }
}

/// An answer that was held back arrives, or is lost: whatever has become of the record by now.
fn settle_held_back(world: &mut World, model: &mut Model) {
    let Some((ticket, (sent, offset))) = model.held_back.pop_first() else { return };
    if world.simulation.stream().one_in(2) {
        return world.is_lost(ticket);
    }
    world.arrives(ticket);
    model.acknowledged.extend(offset.map(|offset| (sent, offset)));
}

/// The idempotent producer sends its next record, or once more what is not acknowledged.
fn produce_idempotently(world: &mut World, model: &mut Model) {
    let asked = NodeId(1 + world.simulation.stream().below(3) as u16);
    let Some((0, leader, _)) = world.metadata(asked, "orders", 0) else { return };
    if model.idempotent.value.is_none() {
        model.sent += 1;
        model.idempotent.value = Some(format!("once {}", model.sent));
    }
    let Idempotent { id, sequence, value, .. } = &model.idempotent;
    let (id, sequence, value) = (4_000 + *id, *sequence, value.clone().unwrap_or_default());
    let now_ms = world.simulation.kernel.wall().as_millis();
    let producer = Producer { id, epoch: 0, sequence };
    let batch = write_batch(&[(Some(value.as_bytes()), Some(value.as_bytes()))], now_ms, Some(producer));
    let request = World::produce_batch("orders", 0, -1, batch);
    let (ticket, answer) = world.ask(NodeId(leader as u16), request);
    model.idempotent.tickets.insert(ticket, (id, sequence));
    if let Some(answer) = answer {
        world.late.insert(ticket, answer);
    }
}

/// What became of one of its requests.
fn settle_idempotent(model: &mut Model, (id, sequence): (i64, i32), answer: &Response) {
    let one = &mut model.idempotent;
    if (id, sequence) != (4_000 + one.id, one.sequence) {
        return;
    }
    match World::produced(answer) {
        (0, offset) => {
            let Some(value) = one.value.take() else { return };
            one.sequence += 1;
            let sent = Sent { topic: "orders", partition: 0, acks: -1, key: value.clone(), value };
            model.acknowledged.push((sent, offset));
        }
        // What it had written before is lost, and its order with it: it begins anew as somebody else.
        (45 | 47 | 59, _) => (one.id, one.sequence, one.value) = (one.id + 1, 0, None),
        _ => {}
    }
}

fn commit(world: &mut World, model: &mut Model) {
    let asked = NodeId(1 + world.simulation.stream().below(3) as u16);
    let Some((0, coordinator)) = world.find_coordinator(asked, "books") else { return };
    // One commit at a time, as a consumer sends them: two under way may be stored in either order.
    if !model.commits_waiting.is_empty() {
        return;
    }
    model.commits_sent += 1;
    let offset = model.commits_sent;
    let (ticket, answer) = world.ask(NodeId(coordinator as u16), World::commit_request("books", "orders", 0, offset));
    model.commits_waiting.insert(ticket, offset);
    match answer {
        Some(answer) => drop(world.late.insert(ticket, answer)),
        // A dead coordinator never answers; a client would give up.
        None if world.simulation.kernel.node_state(NodeId(coordinator as u16)) != atoll_kernel::NodeState::Running => {
            model.commits_waiting.clear();
        }
        None => {}
    }
}

fn settle_answers(world: &mut World, model: &mut Model) {
    for (ticket, answer) in std::mem::take(&mut world.late) {
        if let Some(sent) = model.waiting.remove(&ticket) {
            let (error, offset) = World::produced(&answer);
            if error == 0 {
                model.acknowledged.push((sent, offset));
            }
        } else if let Some(asked) = model.idempotent.tickets.remove(&ticket) {
            settle_idempotent(model, asked, &answer);
        } else if let Some(offset) = model.commits_waiting.remove(&ticket)
            && World::committed(&answer) == 0
        {
            model.committed = offset;
        }
    }
}

/// Whoever is in an in-sync set has all that its leader calls committed, unless a power failure took it.
fn check_in_sync_sets(world: &World, seed: u64, menu: &FaultMenu) {
    let cluster = &world.simulation.core;
    for (key, _, state) in cluster.authority.partitions() {
        let (Some(partition), Some(leader)) = (cluster.partitions.get(&key), state.leader.map(NodeId)) else {
            continue;
        };
        let leads = partition.leadership(leader).is_some_and(|led| led.epoch == state.leader_epoch);
        if menu.power || !leads {
            continue;
        }
        for node in state.isr.iter().map(|node| NodeId(*node)) {
            let (has, committed) = (partition.tree.common_end(node, leader), partition.high_watermark(leader));
            assert!(
                has >= committed,
                "seed {seed}: {node} is in sync with {leader} and has {has} of {committed} of {key:?}"
            );
        }
    }
}

/// Every acknowledged record is readable, or named by the ledger, and never both.
fn reckon(world: &mut World, model: &Model, seed: u64, menu: &FaultMenu) -> Run {
    let ledger = world.simulation.kernel.ledger();
    let lost_entries = ledger.entries().iter().filter(|entry| entry.kind == Kind::AckedLost && entry.part == PART);
    let mut lost: BTreeMap<String, usize> = BTreeMap::new();
    for entry in lost_entries {
        *lost.entry(entry.subject.clone()).or_default() += 1;
    }
    let read = read_everything(world);
    let mut named = BTreeSet::new();
    for (sent, offset) in &model.acknowledged {
        let Sent { topic, partition, acks, key, value } = sent;
        let log = &read[&(*topic, *partition)];
        let there = log.get(offset) == Some(value);
        let subject = format!("{topic}-{partition}@{offset} key={key}");
        let is_lost = lost.contains_key(&subject);
        // Compaction removes what a later record of the same key has replaced; another one may have got its offset.
        let replaced = *topic == COMPACTED
            && (there || log.range(offset + 1..).any(|(_, later)| model.keys.get(later) == Some(key)));
        assert!(
            there != is_lost || replaced,
            "seed {seed}: {subject} acks={acks} is {}readable and {}in the ledger",
            if there { "" } else { "not " },
            if is_lost { "" } else { "not " },
        );
        // Two in-sync replicas, of which none loses its disk's cache, hold what the whole set acknowledged.
        assert!(
            there || replaced || *acks == 1 || *topic == "audit" || menu.power,
            "seed {seed}: {subject} acks=all is lost"
        );
        named.extend((!there && is_lost).then_some(subject));
    }
    check_once(&read[&("orders", 0)], seed);
    let offsets_lost = lost.keys().any(|subject| subject.starts_with(OFFSETS_TOPIC));
    let records_lost = lost.keys().filter(|subject| !subject.starts_with(OFFSETS_TOPIC)).count();
    assert_eq!(records_lost, named.len(), "seed {seed}: the ledger names only what was acknowledged: {lost:?}");
    check_commits(world, model, seed, offsets_lost);
    let mut partitions = world.simulation.core.partitions.values();
    let compacted = partitions.any(|partition| partition.topic == COMPACTED && partition.tree.cleaned() > 0);
    let (hash, acknowledged) = (world.simulation.kernel.trace_hash(), model.acknowledged.len());
    Run { hash, acknowledged, lost: named.len(), compacted }
}

/// However often it was sent, a record of the idempotent producer is there once, and they are in order.
fn check_once(log: &BTreeMap<i64, String>, seed: u64) {
    let numbers: Vec<u64> = log.values().filter_map(|value| value.strip_prefix("once ")?.parse().ok()).collect();
    assert!(numbers.is_sorted_by(|one, other| one < other), "seed {seed}: twice or out of order: {numbers:?}");
}

fn read_everything(world: &mut World) -> BTreeMap<(&'static str, i32), BTreeMap<i64, String>> {
    let places = [("orders", 0), ("orders", 1), ("audit", 0), (COMPACTED, 0)];
    places.into_iter().map(|(topic, partition)| ((topic, partition), world.read_all(topic, partition))).collect()
}

fn check_commits(world: &mut World, model: &Model, seed: u64, offsets_lost: bool) {
    if model.committed == 0 || offsets_lost {
        return;
    }
    let (error, coordinator) = world.find_coordinator(NodeId(1), "books").expect("a broker that serves");
    assert_eq!(error, 0, "seed {seed}");
    let found = world.committed_offset(NodeId(coordinator as u16), "books", "orders", 0);
    let (error, offset) = found.expect("a coordinator that serves");
    assert_eq!(error, 0, "seed {seed}");
    assert!(offset >= model.committed, "seed {seed}: committed {} and found {offset}", model.committed);
}

const WITHOUT_POWER: FaultMenu = FaultMenu {
    kill: true,
    power: false,
    pause: true,
    cut: true,
    slow_max: Duration::from_millis(400),
    nodes_down_max: 2,
};

fn runs(seeds: std::ops::Range<u64>, menu: &FaultMenu) -> (usize, usize) {
    let (mut acknowledged, mut lost, mut compacted) = (0, 0, 0);
    for seed in seeds {
        let first = run(seed, menu);
        if seed.is_multiple_of(10) {
            assert_eq!(first.hash, run(seed, menu).hash, "seed {seed}: the same seed, the same events");
        }
        acknowledged += first.acknowledged;
        lost += first.lost;
        compacted += usize::from(first.compacted);
    }
    assert!(compacted > 0, "runs that compact nothing show nothing of compaction");
    (acknowledged, lost)
}

#[test]
fn every_acknowledged_record_is_there_or_in_the_ledger() {
    let (acknowledged, lost) = runs(seeds(0, 160, 40), &FaultMenu { power: true, ..WITHOUT_POWER });
    println!("{acknowledged} acknowledged, {lost} lost and named");
    assert!(acknowledged > 160 && lost > 0, "a run that loses nothing shows nothing: {acknowledged}, {lost}");
}

#[test]
fn without_power_failures_only_acks_one_loses() {
    let (acknowledged, lost) = runs(seeds(10_000, 120, 30), &WITHOUT_POWER);
    println!("{acknowledged} acknowledged, {lost} lost and named");
    assert!(acknowledged > 120 && lost > 0);
}
