//! Serves Redis alone, without the rest of Atoll: for conformance runs, benchmarks and debugging.
//!
//!     cargo run --release -p atoll-redis --example serve -- INSTANCE [OPTION VALUE]…
//!
//! INSTANCE k puts node n at 127.k.0.n. Options are those of redis.conf; `dir PATH` keeps data there instead of in memory.
//! A line on standard input is a fault: `kill 2`, `pause 3`, `resume 3`, `start 2`, `cut 1` (from the others), `heal`,
//! `status`, `ledger`; the end of input ends the program.

use std::io::BufRead;
use std::sync::Arc;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Fault, Kernel, NodeConfig, NodeId, Pattern, Rule, Seed, Verdict};
use atoll_net::Host;
use atoll_redis::{Config, Redis};
use atoll_storage::FileDisk;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let instance: u8 = arguments.next().unwrap_or_default().parse().unwrap_or(0);
    let mut config = Config::default();
    let mut disk: Arc<dyn Disk> = Arc::new(MemoryDisk::ephemeral());
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        if name == "dir" {
            disk = Arc::new(FileDisk::new(&value));
        } else {
            config.set(&name, &value)?;
        }
    }
    let nodes = (1..=3).map(|number| NodeConfig::numbered(instance, number)).collect();
    let kernel = Kernel::live(nodes, Seed(1));
    let redis = Redis::start(config, Host::new(kernel.clone(), disk, None), None)?;
    for (of, address) in redis.addresses() {
        println!("node {} {address}", of.node);
    }
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (word, node) = line.split_once(' ').unwrap_or((&line, "0"));
        let node = NodeId(node.parse().unwrap_or(0));
        match word {
            "kill" => kernel.inject(&Fault::Kill(node)),
            "start" => kernel.inject(&Fault::Start(node)),
            "pause" => kernel.inject(&Fault::Pause(node)),
            "resume" => kernel.inject(&Fault::Resume(node)),
            "heal" => kernel.inject(&Fault::Heal),
            "cut" => {
                let others: Vec<NodeId> = (1..=3).map(NodeId).filter(|other| *other != node).collect();
                kernel.add_rule(Rule::new(Pattern::node(node), Pattern::Nodes(others.clone()), Verdict::Drop));
                kernel.add_rule(Rule::new(Pattern::Nodes(others), Pattern::node(node), Verdict::Drop));
            }
            "status" => println!("{:#}", redis.status()),
            "ledger" => println!("{:#?}", kernel.ledger().entries()),
            other => eprintln!("unknown: {other}"),
        }
    }
    redis.shut_down();
    Ok(())
}
