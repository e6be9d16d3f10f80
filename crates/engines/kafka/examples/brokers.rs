//! Runs a Kafka cluster of three nodes by itself: `cargo run -p atoll-kafka --example brokers [DIRECTORY]`.
//!
//! Lines on standard input are faults: `kill 2`, `power 1`, `pause 3`, `resume 3`, `start 2`, `stop 2`, `cut 1`, `heal`, `ledger`.

#![allow(clippy::disallowed_methods, reason = "a small program of its own that makes the directory it is given")]

use std::sync::Arc;

use atoll_kafka::{Config, Kafka};
use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Pattern, Rule, Seed, Verdict};
use atoll_net::Host;
use atoll_storage::FileDisk;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).map(std::path::PathBuf::from);
    let nodes = (1..=3).map(|number| NodeConfig::numbered(0, number)).collect();
    let kernel = Kernel::live(nodes, Seed(1));
    let disk: Arc<dyn Disk> = match &directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            Arc::new(FileDisk::new(directory))
        }
        None => Arc::new(MemoryDisk::ephemeral()),
    };
    let host = Host::new(kernel.clone(), disk, directory);
    let config = Config { default_replication_factor: 3, group_initial_rebalance_delay_ms: 0, ..Config::default() };
    let handle = Kafka::start(config, host, None)?;
    println!("{}", handle.bootstrap_servers());
    for line in std::io::stdin().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (verb, node) = (words.next().unwrap_or(""), words.next().and_then(|word| word.parse().ok()).map(NodeId));
        for fault in faults(verb, node.unwrap_or(NodeId(1))) {
            kernel.inject(&fault);
        }
        if verb == "ledger" {
            kernel.ledger().entries().iter().for_each(|entry| println!("{entry:?}"));
        }
    }
    handle.shut_down();
    Ok(())
}

fn faults(verb: &str, node: NodeId) -> Vec<Fault> {
    match verb {
        "kill" => vec![Fault::Kill(node)],
        "power" => vec![Fault::Power(node)],
        "pause" => vec![Fault::Pause(node)],
        "resume" => vec![Fault::Resume(node)],
        "start" => vec![Fault::Start(node)],
        "stop" => vec![Fault::Stop(node)],
        "cut" => [
            (Pattern::node(node), Pattern::Nodes(vec![NodeId(1), NodeId(2), NodeId(3)])),
            (Pattern::Nodes(vec![NodeId(1), NodeId(2), NodeId(3)]), Pattern::node(node)),
        ]
        .map(|(from, to)| Fault::AddRule(Rule::new(from, to, Verdict::Drop)))
        .to_vec(),
        "heal" => vec![Fault::Heal],
        _ => Vec::new(),
    }
}
