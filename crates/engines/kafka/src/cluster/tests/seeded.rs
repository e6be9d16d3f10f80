//! Random fault runs from seeds, against a model: every acknowledged record is there in the end, or the ledger names it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_kernel::{Fault, FaultMenu, Kind, NodeId};

use super::{World, quick_config};
use crate::cluster::{PART, Ticket};
use crate::state::image::OFFSETS_TOPIC;

/// What the client was promised, and what it still waits for.
#[derive(Default)]
struct Model {
    sent: u64,
    /// Acknowledged records: topic, partition, offset, value and `acks`. An offset can be given twice, if the first is lost.
    acknowledged: Vec<(String, i32, i64, String, i16)>,
    waiting: BTreeMap<Ticket, (String, i32, i16, String)>,
    commits_waiting: BTreeMap<Ticket, i64>,
    /// The newest acknowledged commit, and the newest that was sent after it.
    committed: i64,
    commits_sent: i64,
}

const TOPICS: [&str; 2] = ["orders", "audit"];
const STEPS: usize = 50;

struct Run {
    hash: u64,
    acknowledged: usize,
    lost: usize,
}

/// One run: a workload under faults, then healing, then the reckoning.
fn run(seed: u64, menu: &FaultMenu) -> Run {
    let mut world = World::new(3, seed, quick_config());
    let mut model = Model::default();
    world.create_topic("orders", 2, &[("min.insync.replicas", "2")]);
    world.create_topic(
        "audit",
        1,
        &[("unclean.leader.election.enable", if seed.is_multiple_of(2) { "true" } else { "false" })],
    );
    for _ in 0..STEPS {
        let milliseconds = world.simulation.stream().below(4_000);
        match world.simulation.stream().below(10) {
            0 | 1 => drop(world.simulation.random_fault(menu)),
            2 => commit(&mut world, &mut model),
            3 | 4 => world.run_for(milliseconds),
            _ => produce(&mut world, &mut model),
        }
        world.collect();
        settle_answers(&mut world, &mut model);
        check_in_sync_sets(&world, seed, menu);
    }
    world.simulation.inject(&Fault::Heal);
    world.run_for(120_000);
    settle_answers(&mut world, &mut model);
    reckon(&mut world, &model, seed, menu)
}

/// The client sends a record to whoever it believes to lead: it asks one broker, and may be told old news.
fn produce(world: &mut World, model: &mut Model) {
    let stream = world.simulation.stream();
    let (topic, asked) = (TOPICS[stream.below(2) as usize], NodeId(1 + stream.below(3) as u16));
    let partition = if topic == "orders" { stream.below(2) as i32 } else { 0 };
    let acks = if stream.below(2) == 0 { 1 } else { -1 };
    let Some((0, leader, _)) = world.metadata(asked, topic, partition) else { return };
    model.sent += 1;
    let value = format!("record {}", model.sent);
    let (ticket, answer) =
        world.ask(NodeId(leader as u16), World::produce_request(topic, partition, acks, &value, None));
    model.waiting.insert(ticket, (topic.to_owned(), partition, acks, value));
    if let Some(answer) = answer {
        world.late.insert(ticket, answer);
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
        if let Some((topic, partition, acks, value)) = model.waiting.remove(&ticket) {
            let (error, offset) = World::produced(&answer);
            if error == 0 {
                model.acknowledged.push((topic, partition, offset, value, acks));
            }
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
    let mut read = BTreeMap::new();
    for (topic, partition) in [("orders", 0), ("orders", 1), ("audit", 0)] {
        read.insert((topic.to_owned(), partition), world.read_all(topic, partition));
    }
    let mut named = BTreeSet::new();
    for (topic, partition, offset, value, acks) in &model.acknowledged {
        let there = read[&(topic.clone(), *partition)].get(offset) == Some(value);
        let subject = format!("{topic}-{partition}@{offset} key={value}");
        assert!(
            there != lost.contains_key(&subject),
            "seed {seed}: {subject} acks={acks} is {}readable and {}in the ledger",
            if there { "" } else { "not " },
            if there { "" } else { "not " },
        );
        // Two in-sync replicas, of which none loses its disk's cache, hold what the whole set acknowledged.
        assert!(there || *acks == 1 || topic == "audit" || menu.power, "seed {seed}: {subject} acks=all is lost");
        named.extend((!there).then_some(subject));
    }
    let offsets_lost = lost.keys().any(|subject| subject.starts_with(OFFSETS_TOPIC));
    let records_lost = lost.keys().filter(|subject| !subject.starts_with(OFFSETS_TOPIC)).count();
    assert_eq!(records_lost, named.len(), "seed {seed}: the ledger names only what was acknowledged: {lost:?}");
    check_commits(world, model, seed, offsets_lost);
    Run { hash: world.simulation.kernel.trace_hash(), acknowledged: model.acknowledged.len(), lost: named.len() }
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
    let (mut acknowledged, mut lost) = (0, 0);
    for seed in seeds {
        let first = run(seed, menu);
        assert_eq!(first.hash, run(seed, menu).hash, "seed {seed}: the same seed, the same events");
        acknowledged += first.acknowledged;
        lost += first.lost;
    }
    (acknowledged, lost)
}

#[test]
fn every_acknowledged_record_is_there_or_in_the_ledger() {
    let (acknowledged, lost) = runs(0..600, &FaultMenu { power: true, ..WITHOUT_POWER });
    println!("{acknowledged} acknowledged, {lost} lost and named");
    assert!(acknowledged > 600 && lost > 0, "a run that loses nothing shows nothing: {acknowledged}, {lost}");
}

#[test]
fn without_power_failures_only_acks_one_loses() {
    let (acknowledged, lost) = runs(10_000..10_400, &WITHOUT_POWER);
    println!("{acknowledged} acknowledged, {lost} lost and named");
    assert!(acknowledged > 400 && lost > 0);
}
