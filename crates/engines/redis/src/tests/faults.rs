//! Random faults against a model: every acknowledged write is there at the end, or named in the ledger.

mod reshard;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atoll_kernel::{Fault, FaultMenu, Kind, NodeId, Stream};

use super::harness::{Reply, Stage};
use crate::{Config, ConnId};

const REGISTERS: u64 = 8;
const COUNTERS: u64 = 6;
const LISTS: u64 = 3;
const STEPS: u64 = 40;
const INSTANCES: usize = 6;

/// What clients were told.
struct Model {
    stage: Stage,
    connections: BTreeMap<usize, ConnId>,
    /// The last acknowledged value of each register.
    registers: BTreeMap<u64, String>,
    /// How many increments of each counter were acknowledged.
    counters: BTreeMap<u64, i64>,
    pushed: BTreeMap<u64, BTreeSet<String>>,
    popped: BTreeMap<u64, Vec<String>>,
    /// Consumers that wait.
    waiting: Vec<(u64, ConnId)>,
    values: u64,
    /// A clock was wrong: it takes longer until all agree again.
    is_skewed: bool,
    slots_moved: u64,
    /// Keys to which a write was sent whose outcome is not known.
    uncertain: BTreeSet<String>,
    /// Keys share slots, and an administrator moves them at any time.
    is_resharding: bool,
    admin: reshard::Admin,
    losses: Losses,
    /// The run that is wanted: what happens is printed.
    is_shown: bool,
}

/// Increments that were acknowledged and are not there, and those that the ledger names, by counter.
type Losses = BTreeMap<u64, (i64, i64)>;

impl Model {
    fn new(seed: u64, config: &Config) -> Model {
        Model {
            stage: Stage::new(seed, 3, config),
            connections: BTreeMap::new(),
            registers: BTreeMap::new(),
            counters: BTreeMap::new(),
            pushed: BTreeMap::new(),
            popped: BTreeMap::new(),
            waiting: Vec::new(),
            values: 0,
            is_skewed: false,
            slots_moved: 0,
            uncertain: BTreeSet::new(),
            is_resharding: false,
            admin: reshard::Admin::default(),
            losses: Losses::new(),
            is_shown: std::env::var("ATOLL_SEED").is_ok_and(|wanted| wanted == seed.to_string()),
        }
    }

    /// The name of a register, a counter or a list.
    fn name(&self, kind: char, number: u64) -> String {
        if self.is_resharding {
            format!("{{t{}}}{kind}{number}", number % reshard::TAGS)
        } else {
            format!("{kind}{number}")
        }
    }

    fn connection(&mut self, instance: usize) -> ConnId {
        match self.connections.get(&instance) {
            Some(conn) if self.stage.is_connected(*conn) => *conn,
            _ => {
                let conn = self.stage.connect(instance);
                self.connections.insert(instance, conn);
                conn
            }
        }
    }

    /// Sends a command to an instance, follows redirects, and gives the last reply. A dead instance does not answer.
    fn call(&mut self, mut instance: usize, arguments: &[&[u8]]) -> Option<Reply> {
        let mut is_asking = false;
        for _ in 0..5 {
            if self.stage.sim.core.instances[instance].run != crate::cluster::Run::Up {
                return None;
            }
            let conn = self.connection(instance);
            if std::mem::take(&mut is_asking) {
                self.stage.call(conn, &[b"ASKING"]);
            }
            let reply = self.stage.call(conn, arguments);
            if reply.is_none() && self.stage.is_connected(conn) {
                // It waits for a manual failover, and may yet be executed: nobody knows.
                self.connections.remove(&instance);
                self.uncertain.insert(String::from_utf8_lossy(arguments[1]).into_owned());
            }
            self.show(instance, arguments, reply.as_ref());
            match reply? {
                Reply::Error(line) if line.starts_with("MOVED ") || line.starts_with("ASK ") => {
                    is_asking = line.starts_with("ASK ");
                    let address = line.rsplit(' ').next()?;
                    let (ip, port) = address.rsplit_once(':')?;
                    let node: usize = ip.rsplit('.').next()?.parse().ok()?;
                    instance = if port == "6379" { node - 1 } else { 3 + (node + 1) % 3 };
                }
                reply => return Some(reply),
            }
        }
        None
    }

    fn show(&self, instance: usize, arguments: &[&[u8]], reply: Option<&Reply>) {
        if self.is_shown {
            let words: Vec<_> = arguments.iter().map(|argument| String::from_utf8_lossy(argument)).collect();
            println!("{:?} at {instance}: {} -> {reply:?}", self.stage.now(), words.join(" "));
        }
    }

    fn work(&mut self, stream: &mut Stream) {
        let instance = stream.below(INSTANCES as u64) as usize;
        match stream.below(5) {
            0 | 1 => {
                let key = stream.below(REGISTERS);
                self.values += 1;
                let value = format!("v{}", self.values);
                let name = self.name('r', key);
                let reply = self.call(instance, &[b"SET", name.as_bytes(), value.as_bytes()]);
                if reply == Some(Reply::Simple("OK".to_owned())) {
                    self.registers.insert(key, value);
                }
            }
            2 => {
                let key = stream.below(COUNTERS);
                let name = self.name('c', key);
                if let Some(Reply::Integer(_)) = self.call(instance, &[b"INCR", name.as_bytes()]) {
                    *self.counters.entry(key).or_default() += 1;
                }
            }
            3 => {
                let key = stream.below(LISTS);
                self.values += 1;
                let item = format!("i{}", self.values);
                let name = self.name('l', key);
                let reply = self.call(instance, &[b"RPUSH", name.as_bytes(), item.as_bytes()]);
                if let Some(Reply::Integer(_)) = reply {
                    self.pushed.entry(key).or_default().insert(item);
                }
                self.receive();
            }
            _ => self.consume(stream.below(LISTS), instance),
        }
    }

    /// A consumer of its own connection, which may have to wait.
    fn consume(&mut self, key: u64, instance: usize) {
        if self.stage.sim.core.instances[instance].run != crate::cluster::Run::Up {
            return;
        }
        let conn = self.stage.connect(instance);
        let name = self.name('l', key);
        match self.stage.call(conn, &[b"BLPOP", name.as_bytes(), b"0"]) {
            None => self.waiting.push((key, conn)),
            Some(reply) => self.note_popped(key, &reply),
        }
    }

    fn note_popped(&mut self, key: u64, reply: &Reply) {
        if let Reply::Array(items) = reply
            && let [_, Reply::Bulk(item)] = items.as_slice()
        {
            self.popped.entry(key).or_default().push(String::from_utf8_lossy(item).into_owned());
        }
    }

    /// What waiting consumers have received.
    fn receive(&mut self) {
        for (key, conn) in std::mem::take(&mut self.waiting) {
            match self.stage.take(conn) {
                Some(reply) => self.note_popped(key, &reply),
                None if self.stage.is_connected(conn) => self.waiting.push((key, conn)),
                None => {}
            }
        }
    }

    /// What an operator does: asks a replica to take over, or moves the slot of a key while all is well.
    fn operate(&mut self, stream: &mut Stream) {
        let instance = stream.below(INSTANCES as u64) as usize;
        if stream.one_in(2) {
            let command: &[&[u8]] =
                if stream.one_in(4) { &[b"CLUSTER", b"FAILOVER", b"FORCE"] } else { &[b"CLUSTER", b"FAILOVER"] };
            self.call(instance, command);
            return;
        }
        let key = match stream.below(3) {
            0 => format!("r{}", stream.below(REGISTERS)),
            1 => format!("c{}", stream.below(COUNTERS)),
            _ => format!("l{}", stream.below(LISTS)),
        };
        // A move between parties that do not agree loses data in Redis, too.
        if self.stage.sim.core.bus.next_tick.is_none() && !self.is_resharding {
            self.move_slot(&key, instance);
        }
    }

    fn move_slot(&mut self, key: &str, towards: usize) {
        let slot = crate::cluster::slots::slot_of(key.as_bytes());
        let view = &self.stage.sim.core.instances[0].view;
        let target = view.peers[towards].master.unwrap_or(towards);
        let Some(source) = view.owner(slot).filter(|source| *source != target) else { return };
        let name = |id: usize| self.stage.sim.core.instances[id].name.clone().into_bytes();
        let (source_name, target_name, slot) = (name(source), name(target), slot.to_string().into_bytes());
        let address = self.stage.sim.call(|core, ctx| core.advertised_on_bus(ctx, target, atoll_net::Peer::Host));
        let (ip, port) = (address.0.to_string(), address.1.to_string());
        let setslot: [&[u8]; 3] = [b"CLUSTER", b"SETSLOT", &slot];
        let ok = Some(Reply::Simple("OK".to_owned()));
        assert_eq!(self.call(target, &[&setslot[..], &[b"IMPORTING", &source_name]].concat()), ok);
        assert_eq!(self.call(source, &[&setslot[..], &[b"MIGRATING", &target_name]].concat()), ok);
        while let Some(Reply::Array(keys)) = self.call(source, &[b"CLUSTER", b"GETKEYSINSLOT", &slot, b"10"])
            && let Some(Reply::Bulk(key)) = keys.first().cloned()
        {
            let move_it: [&[u8]; 6] = [b"MIGRATE", ip.as_bytes(), port.as_bytes(), &key, b"0", b"1000"];
            assert_eq!(self.call(source, &move_it), ok);
        }
        for id in [target, source] {
            assert_eq!(self.call(id, &[&setslot[..], &[b"NODE", &target_name]].concat()), ok);
        }
        self.slots_moved += 1;
    }

    /// A node's clock jumps, or is set right again.
    fn skew(&mut self, stream: &mut Stream) {
        let node = NodeId(1 + stream.below(3) as u16);
        self.is_skewed = true;
        let offset_ms = [0, 5_000, 30_000, 90_000, -20_000][stream.below(5) as usize];
        self.stage.sim.inject(&Fault::Skew { node, offset_ms, drift_ms_per_s: 0.0 });
        self.stage.collect();
    }

    /// Mends everything and waits until the cluster has settled.
    fn heal(&mut self) {
        self.stage.sim.inject(&Fault::Heal);
        self.stage.run_for(Duration::from_secs(if self.is_skewed { 240 } else { 120 }));
        self.receive();
        // Those who still wait for items give up, or they would take what is counted below.
        for (_, conn) in std::mem::take(&mut self.waiting) {
            self.stage.sim.core.disconnect(conn);
        }
    }

    /// True if nobody can say what a key should be.
    fn is_excused(&self, name: &str) -> bool {
        self.uncertain.contains(name) || self.admin.given_up.contains(name)
    }

    fn lost(&self) -> BTreeMap<String, u64> {
        let mut lost = BTreeMap::new();
        for entry in self.stage.sim.kernel.ledger().entries() {
            if entry.kind == Kind::AckedLost {
                *lost.entry(entry.subject.clone()).or_default() += entry.count;
            }
        }
        lost
    }

    /// Compares what is there with what clients were told.
    fn check(&mut self, seed: u64) -> Losses {
        let lost = self.lost();
        for (key, value) in self.registers.clone() {
            let name = self.name('r', key);
            if self.is_excused(&name) {
                continue;
            }
            let there = self.call(0, &[b"GET", name.as_bytes()]);
            assert!(
                there == Some(Reply::Bulk(value.clone().into_bytes())) || lost.contains_key(&name),
                "seed {seed}: {name} is {there:?}, acknowledged was {value}, and the ledger does not know"
            );
        }
        let mut losses = Losses::new();
        for (key, acknowledged) in self.counters.clone() {
            let name = self.name('c', key);
            if self.is_excused(&name) {
                continue;
            }
            let there = match self.call(0, &[b"GET", name.as_bytes()]) {
                Some(Reply::Bulk(bytes)) => String::from_utf8_lossy(&bytes).parse::<i64>().expect("a number"),
                Some(Reply::Null) => 0,
                other => panic!("seed {seed}: {name} cannot be read: {other:?}"),
            };
            let is_named = lost.contains_key(&name) && self.is_resharding;
            assert!(
                there <= acknowledged || is_named,
                "seed {seed}: {name} is {there} after {acknowledged} increments"
            );
            let named = lost.get(&name).map_or(0, |count| i64::try_from(*count).unwrap());
            losses.insert(key, (acknowledged - there, named));
            assert!(there == acknowledged || named > 0, "seed {seed}: {name} lost increments unnamed");
        }
        for key in 0..LISTS {
            self.check_list(seed, key, &lost);
        }
        losses
    }

    /// Each item is popped once, or still there, or the ledger names its list.
    fn check_list(&mut self, seed: u64, key: u64, lost: &BTreeMap<String, u64>) {
        let name = self.name('l', key);
        let there = match self.call(0, &[b"LRANGE", name.as_bytes(), b"0", b"-1"]) {
            Some(Reply::Array(items)) => items,
            other => panic!("seed {seed}: {name} cannot be read: {other:?}"),
        };
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let left = there.iter().filter_map(|item| match item {
            Reply::Bulk(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        });
        for item in self.popped.remove(&key).unwrap_or_default().into_iter().chain(left) {
            *seen.entry(item).or_default() += 1;
        }
        let is_exact = self.pushed.entry(key).or_default().iter().all(|item| seen.get(item) == Some(&1))
            && seen.values().all(|times| *times == 1);
        let is_excused = is_exact || self.is_excused(&name) || lost.contains_key(&name);
        assert!(is_excused, "seed {seed}: {name} lost or repeated items unnamed");
    }
}

/// One run: work and faults by chance, then everything is mended, and compared.
fn run(seed: u64, config: &Config, menu: &FaultMenu) -> (u64, Losses) {
    let model = play(seed, config, menu, false);
    (model.stage.sim.kernel.trace_hash(), model.losses)
}

fn play(seed: u64, config: &Config, menu: &FaultMenu, is_resharding: bool) -> Model {
    let mut model = Model::new(seed, config);
    model.is_resharding = is_resharding;
    if model.is_shown {
        model.stage.sim.kernel.keep_trace();
    }
    let mut stream = model.stage.sim.kernel.seed().stream("workload", 0);
    for _ in 0..STEPS {
        for _ in 0..stream.below(12) {
            model.work(&mut stream);
            if is_resharding && stream.one_in(4) {
                model.administer(&mut stream);
            }
        }
        if stream.one_in(4) {
            model.stage.sim.random_fault(menu);
            model.stage.collect();
        }
        if seed.is_multiple_of(6) && stream.one_in(8) {
            model.skew(&mut stream);
        }
        if seed % 3 == 1 && stream.one_in(5) {
            model.operate(&mut stream);
        }
        model.stage.run_for(Duration::from_millis(stream.below(2500)));
        model.receive();
    }
    model.heal();
    let complaint = if is_resharding { model.settle_slots(&mut stream) } else { None };
    if model.is_shown {
        println!("{}", model.stage.sim.kernel.trace_lines().join("\n"));
    }
    assert!(complaint.is_none(), "seed {seed}: {}", complaint.unwrap_or_default());
    model.losses = model.check(seed);
    model
}

fn config(options: &[(&str, &str)]) -> Config {
    let mut config = Config::default();
    for (name, value) in options {
        config.set(name, value).expect("an option");
    }
    config
}

fn menu(seed: u64) -> FaultMenu {
    FaultMenu {
        kill: !seed.is_multiple_of(3),
        power: seed % 4 == 2,
        pause: seed % 3 != 1,
        cut: !seed.is_multiple_of(5),
        slow_max: Duration::from_millis(if seed.is_multiple_of(2) { 400 } else { 0 }),
        nodes_down_max: 1 + usize::from(seed.is_multiple_of(7)),
    }
}

/// `ATOLL_RUNS` makes it more. `ATOLL_SEED` has the trace of one run printed.
fn runs(usual: u64) -> u64 {
    std::env::var("ATOLL_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(usual)
}

#[test]
fn acknowledged_writes_are_there_or_named_without_persistence() {
    let config = config(&[("cluster-node-timeout", "3000"), ("repl-diskless-sync-delay", "1")]);
    for seed in 0..runs(300) {
        run(seed, &config, &menu(seed));
    }
}

#[test]
fn with_an_append_only_file_every_lost_increment_is_counted() {
    let config = config(&[("cluster-node-timeout", "3000"), ("appendonly", "yes"), ("repl-diskless-sync-delay", "1")]);
    for seed in 10_000..10_000 + runs(300) {
        let (_, losses) = run(seed, &config, &menu(seed));
        for (key, (missing, named)) in losses {
            assert_eq!(missing, named, "seed {seed}: c{key} lacks {missing} increments, the ledger names {named}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let config = config(&[("cluster-node-timeout", "3000")]);
    for seed in 20_000..20_020 {
        assert_eq!(run(seed, &config, &menu(seed)).0, run(seed, &config, &menu(seed)).0, "seed {seed}");
    }
}
