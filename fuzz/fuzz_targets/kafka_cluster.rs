//! Any requests at all to a Kafka cluster of three brokers, one of which may fail: every answer can be written.
//!
//! The input is a sequence of steps: a byte that chooses what happens, and what belongs to it.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use atoll_fuzz as _;
use atoll_kafka::wire::{ApiKey, Request, encode_response};
use atoll_kafka::{ANONYMOUS, Caller, Cluster, Config, Outcome, Side};
use atoll_kernel::disk::MemoryDisk;
use atoll_kernel::{Fault, NodeId, Seed, Simulation};
use atoll_wire::Reader;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let config = Config { default_replication_factor: 3, offsets_topic_num_partitions: 1, ..Config::default() };
    let disk = Arc::new(MemoryDisk::ephemeral());
    let open = |ctx: &atoll_kernel::Context<'_>| Cluster::open(ctx, config, disk).expect("an empty disk");
    let mut world = Simulation::new(3, Seed(1), open);
    world.run_for(Duration::from_secs(1));
    let mut steps = Reader::new(Bytes::copy_from_slice(input));
    for ticket in 0..64 {
        if step(&mut world, &mut steps, ticket).is_none() {
            break;
        }
    }
    world.run_for(Duration::from_secs(60));
    let _ = world.core.take_answers();
});

fn step(world: &mut Simulation<Cluster>, steps: &mut Reader, ticket: u64) -> Option<()> {
    let choice = steps.i8().ok()? as u8;
    let node = NodeId(u16::from(choice % 3) + 1);
    match choice / 3 {
        0 => world.run_for(Duration::from_secs(15)),
        1 => world.inject(&Fault::Kill(node)),
        2 => world.inject(&Fault::Start(node)),
        _ => ask(world, steps, node, ticket)?,
    }
    Some(())
}

fn ask(world: &mut Simulation<Cluster>, steps: &mut Reader, node: NodeId, ticket: u64) -> Option<()> {
    let api = ApiKey::ALL[steps.i8().ok()? as u8 as usize % ApiKey::ALL.len()];
    let version = (api.versions().start() + steps.i8().ok()?.rem_euclid(16) as i16).min(*api.versions().end());
    let request = Request::decode(api, steps, version).ok()?;
    let (host, client_id) = ("/127.0.0.1".to_owned(), "fuzz".to_owned());
    let principal = ANONYMOUS.to_owned();
    let (side, port, may_hold_tokens) = (Side::Host, 9092, false);
    let caller = Caller { node, side, host, client_id, version, ticket, principal, port, may_hold_tokens };
    let outcome = world.call(|cluster, ctx| cluster.apply(ctx, &caller, request));
    if let Outcome::Reply(response) = outcome {
        assert_eq!(response.api_key(), api);
        let _ = encode_response(&response, version, 0);
        match ticket % 2 {
            0 => world.core.delivered(&world.kernel, ticket),
            _ => world.core.undelivered(ticket),
        }
    }
    Some(())
}
