//! Forks, truncation, death and replay, each test a sentence; and a model that copies whole logs.

use std::collections::BTreeMap;

use atoll_kernel::{NodeId, Seed};

use super::{Acknowledged, Batch, Change, ForkTree, Kind};

const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// A tree with what storage would remember of it.
struct Kept {
    tree: ForkTree,
    stored: Vec<Stored>,
}

enum Stored {
    Batch(u32, Batch),
    Change(Change),
}

impl Kept {
    fn new() -> Kept {
        Kept { tree: ForkTree::new(&NODES), stored: Vec::new() }
    }

    fn keep_changes(&mut self) {
        let changes = self.tree.take_changes();
        self.stored.extend(changes.into_iter().map(Stored::Change));
    }

    fn append(&mut self, node: u16, epoch: i32, count: i64) -> Batch {
        let leader = NodeId(node);
        let base_offset = self.tree.end(leader);
        let branch = self.tree.branch_for_append(leader);
        self.keep_changes();
        let batch = Batch {
            base_offset,
            next_offset: base_offset + count,
            leader_epoch: epoch,
            max_timestamp: 0,
            size: 1,
            position: self.stored.len() as u64,
            producer: None,
            kind: Kind::Plain,
            acknowledged: None,
        };
        self.tree.append(leader, batch.clone());
        self.stored.push(Stored::Batch(branch, batch.clone()));
        batch
    }

    fn follow(&mut self, follower: u16, leader: u16) -> Vec<u64> {
        let upto = self.tree.end(NodeId(leader));
        let dead = self.tree.follow(NodeId(follower), NodeId(leader), upto);
        self.keep_changes();
        dead.into_iter().map(|batch| batch.position).collect()
    }

    fn truncate(&mut self, node: u16, end: i64) -> Vec<u64> {
        let dead = self.tree.truncate(NodeId(node), end);
        self.keep_changes();
        dead.into_iter().map(|batch| batch.position).collect()
    }

    fn log(&self, node: u16) -> Vec<u64> {
        self.tree.batches(NodeId(node), 0).map(|batch| batch.position).collect()
    }

    fn replayed(&self) -> ForkTree {
        let mut tree = ForkTree::new(&NODES);
        for stored in &self.stored {
            match stored {
                Stored::Batch(branch, batch) => tree.replay_batch(*branch, batch.clone()),
                Stored::Change(change) => tree.replay(*change),
            }
        }
        tree.replayed();
        tree
    }
}

#[test]
fn replicating_moves_a_number() {
    let mut kept = Kept::new();
    kept.append(1, 0, 3);
    assert!(kept.follow(2, 1).is_empty());
    assert_eq!((kept.tree.end(NODES[1]), kept.tree.end(NODES[2])), (3, 0));
    assert_eq!(kept.tree.branch_count(), 1);
    assert_eq!(kept.stored.len(), 1, "one write, and nothing else is stored");
}

#[test]
fn two_leaders_grow_two_branches_and_healing_leaves_one() {
    let mut kept = Kept::new();
    kept.append(1, 0, 1);
    kept.follow(2, 1);
    kept.follow(3, 1);
    let zombie = kept.append(1, 0, 2);
    let elected = kept.append(2, 1, 1);
    kept.follow(3, 2);
    assert_eq!(kept.tree.branch_count(), 2);
    assert_eq!(kept.tree.common_end(NODES[0], NODES[1]), 1);
    assert_eq!(kept.tree.epoch_end(NODES[1], 0), Some((0, 1)), "epoch 0 ended where epoch 1 began");
    assert!(kept.tree.acknowledge(0, zombie.base_offset, Acknowledged::Leader));
    assert_eq!(kept.follow(1, 2), [zombie.position]);
    assert!(!kept.tree.acknowledge(0, zombie.base_offset, Acknowledged::Leader), "another leader's is there");
    assert_eq!(kept.log(1), [0, elected.position]);
    assert_eq!(kept.tree.branch_count(), 1);
}

#[test]
fn what_two_hold_dies_with_the_second() {
    let mut kept = Kept::new();
    kept.append(1, 0, 1);
    let doomed = kept.append(1, 0, 1);
    kept.follow(2, 1);
    kept.append(3, 5, 1);
    assert_eq!(kept.follow(1, 3), [0u64; 0], "node 2 still has it, and could bring it back");
    let dead = kept.follow(2, 3);
    assert!(dead.contains(&doomed.position));
}

#[test]
fn a_power_failure_takes_whole_batches() {
    let mut kept = Kept::new();
    kept.append(1, 0, 3);
    let torn = kept.append(1, 0, 4);
    assert_eq!(kept.truncate(1, 5), [torn.position]);
    assert_eq!(kept.tree.end(NODES[0]), 3);
    kept.append(1, 1, 1);
    assert_eq!(kept.tree.epoch_end(NODES[0], 0), Some((0, 3)));
    assert_eq!(kept.tree.epoch_at(NODES[0], 3), Some(1));
}

/// Against plain copies: each node a list of batch numbers, replication a copy, truncation a cut.
#[test]
fn the_tree_is_what_copies_would_be() {
    for seed in 0..300 {
        let mut stream = Seed(seed).stream("tree", 0);
        let mut kept = Kept::new();
        let mut copies: BTreeMap<u16, Vec<Batch>> = NODES.iter().map(|node| (node.0, Vec::new())).collect();
        for step in 0..60 {
            let (one, other) = (1 + stream.below(3) as u16, 1 + stream.below(3) as u16);
            let held_before: Vec<u64> = copies.values().flatten().map(|batch| batch.position).collect();
            let dead = match stream.below(5) {
                0 | 1 => {
                    // Batch positions are unique, so that equal means the same batch.
                    let batch = kept.append(one, step, 1 + stream.below(3) as i64);
                    copies.get_mut(&one).unwrap().push(batch);
                    continue;
                }
                2 => {
                    let end = stream.below(kept.tree.end(NodeId(one)) as u64 + 1) as i64;
                    copies.get_mut(&one).unwrap().retain(|batch| batch.next_offset <= end);
                    kept.truncate(one, end)
                }
                _ if one == other => continue,
                _ => {
                    let copy = copies[&other].clone();
                    copies.insert(one, copy);
                    kept.follow(one, other)
                }
            };
            for (node, copy) in &copies {
                let expected: Vec<u64> = copy.iter().map(|batch| batch.position).collect();
                assert_eq!(kept.log(*node), expected, "seed {seed} step {step} node {node}");
                assert_eq!(kept.tree.end(NodeId(*node)), copy.last().map_or(0, |batch| batch.next_offset));
            }
            let held: Vec<u64> = copies.values().flatten().map(|batch| batch.position).collect();
            let mut gone: Vec<u64> = held_before.into_iter().filter(|position| !held.contains(position)).collect();
            gone.sort_unstable();
            gone.dedup();
            let mut dead = dead;
            dead.sort_unstable();
            assert_eq!(dead, gone, "seed {seed} step {step}: exactly what nobody holds is dead");
        }
        check_replay(&kept, &copies, seed);
    }
}

/// What storage remembers gives every replica what it had, or more of what its leader had: never what was declared dead.
fn check_replay(kept: &Kept, copies: &BTreeMap<u16, Vec<Batch>>, seed: u64) {
    let replayed = kept.replayed();
    let alive: Vec<u64> = copies.values().flatten().map(|batch| batch.position).collect();
    for (node, copy) in copies {
        let log: Vec<u64> = replayed.batches(NodeId(*node), 0).map(|batch| batch.position).collect();
        let expected: Vec<u64> = copy.iter().map(|batch| batch.position).collect();
        assert!(log.starts_with(&expected), "seed {seed} node {node}: {log:?} does not continue {expected:?}");
        assert!(log.iter().all(|position| alive.contains(position)), "seed {seed} node {node}: the dead are back");
    }
}
