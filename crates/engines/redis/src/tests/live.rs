//! The server over real sockets: on loopback addresses that no instance uses by default.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use atoll_kernel::disk::{Disk, MemoryDisk};
use atoll_kernel::{Kernel, NodeConfig, Seed};
use atoll_net::Host;

use crate::{Config, Handle, Redis};

/// Nothing here takes as long, but what never comes is not waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(block: u8, disk: &Arc<dyn Disk>, options: &[(&str, &str)]) -> Handle {
    let mut config = Config::default();
    for (name, value) in options {
        config.set(name, value).expect("an option");
    }
    let nodes = (1..=3).map(|number| NodeConfig::numbered(block, number)).collect();
    let host = Host::new(Kernel::live(nodes, Seed(1)), Arc::clone(disk), None);
    Redis::start(config, host, None).expect("the addresses are free")
}

fn memory() -> Arc<dyn Disk> {
    Arc::new(MemoryDisk::ephemeral())
}

fn connect(redis: &Handle) -> TcpStream {
    let stream = TcpStream::connect(redis.addresses()[0].1).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("it can be limited");
    stream
}

/// Sends bytes and reads until as many have come as are expected.
fn exchange(stream: &mut TcpStream, bytes: &[u8], expected: &str) {
    stream.write_all(bytes).expect("written");
    let mut reply = vec![0; expected.len()];
    stream.read_exact(&mut reply).expect("a reply");
    assert_eq!(String::from_utf8_lossy(&reply), expected);
}

#[test]
fn a_pipeline_is_answered_in_order_and_a_key_is_waited_for() {
    let redis = start(231, &memory(), &[("cluster-enabled", "no")]);
    let mut one = connect(&redis);
    exchange(
        &mut one,
        b"SET a 1\r\nINCR a\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nNOPE\r\n",
        "+OK\r\n:2\r\n$1\r\n2\r\n-ERR unknown",
    );
    let mut waiting = connect(&redis);
    waiting.write_all(b"BLPOP q 0\r\nPING\r\n").expect("written");
    let mut two = connect(&redis);
    exchange(&mut two, b"RPUSH q x\r\n", ":1\r\n");
    exchange(&mut waiting, b"", "*2\r\n$1\r\nq\r\n$1\r\nx\r\n+PONG\r\n");
    assert_eq!(redis.status()[0]["role"], "master");
    redis.shut_down();
}

#[test]
fn a_key_that_nobody_asks_for_expires_when_its_time_has_come() {
    let options = [("cluster-enabled", "no"), ("notify-keyspace-events", "Ex"), ("save", "")];
    let redis = start(239, &memory(), &options);
    let mut told = connect(&redis);
    exchange(
        &mut told,
        b"SUBSCRIBE __keyevent@0__:expired\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$22\r\n__keyevent@0__:expired\r\n:1\r\n",
    );
    let mut one = connect(&redis);
    exchange(&mut one, b"SET a 1 PX 20\r\n", "+OK\r\n");
    exchange(&mut told, b"", "*3\r\n$7\r\nmessage\r\n$22\r\n__keyevent@0__:expired\r\n$1\r\na\r\n");
    exchange(&mut one, b"DBSIZE\r\n", ":0\r\n");
    redis.shut_down();
}

#[test]
fn hostile_input_gets_its_error_and_the_others_are_unharmed() {
    let redis = start(232, &memory(), &[]);
    let mut good = connect(&redis);
    for (bytes, expected) in [
        ("*1\r\n$2147483647\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        ("*2147483648\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        ("*1\r\n!", "-ERR Protocol error: expected '$', got '!'\r\n"),
        ("SET \"x\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut bad = connect(&redis);
        exchange(&mut bad, bytes.as_bytes(), expected);
        assert_eq!(bad.read(&mut [0; 1]).expect("an end"), 0, "closed after {expected}");
    }
    let mut silent = connect(&redis);
    silent.write_all(b"*2147483647\r\n$3\r\nGET\r\n").expect("written");
    exchange(&mut good, b"PING\r\n", "+PONG\r\n");
    redis.shut_down();
}

#[test]
fn what_was_acknowledged_with_appendfsync_always_is_there_after_a_restart() {
    let disk = memory();
    let options = [("appendonly", "yes"), ("appendfsync", "always"), ("cluster-enabled", "no")];
    let redis = start(233, &disk, &options);
    let mut one = connect(&redis);
    exchange(
        &mut one,
        b"SET a 1\r\nRPUSH l x y\r\nSPOP nothing\r\nHSET h f v\r\nZADD z 1.5 m\r\n",
        "+OK\r\n:2\r\n$-1\r\n:1\r\n:1\r\n",
    );
    exchange(
        &mut one,
        b"SELECT 3\r\nSET b 2 EX 1000\r\nBGREWRITEAOF\r\nINCR b\r\n",
        "+OK\r\n+OK\r\n+Background append only",
    );
    redis.shut_down();
    let redis = start(233, &disk, &options);
    let mut one = connect(&redis);
    let expected = "$1\r\n1\r\n*2\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\nv\r\n$3\r\n1.5\r\n+OK\r\n$1\r\n3\r\n";
    exchange(&mut one, b"GET a\r\nLRANGE l 0 -1\r\nHGET h f\r\nZSCORE z m\r\nSELECT 3\r\nGET b\r\n", expected);
    redis.shut_down();
}

#[test]
fn roles_after_a_failover_and_moved_slots_outlive_a_restart() {
    let disk = memory();
    let options = [("appendonly", "yes"), ("appendfsync", "always")];
    let redis = start(234, &disk, &options);
    let at = |redis: &Handle, instance: usize| TcpStream::connect(redis.addresses()[instance].1).expect("it listens");
    exchange(&mut at(&redis, 0), b"SET b 1\r\n", "+OK\r\n");
    exchange(&mut at(&redis, 3), b"CLUSTER FAILOVER TAKEOVER\r\nSET b 2\r\n", "+OK\r\n+OK\r\n");
    exchange(&mut at(&redis, 1), b"CLUSTER DELSLOTS 5500\r\n", "+OK\r\n");
    let names = |redis: &Handle| redis.status().as_array().map(|all| all.iter().map(|one| one["id"].clone()).collect());
    let before: Option<Vec<serde_json::Value>> = names(&redis);
    redis.shut_down();
    let redis = start(234, &disk, &options);
    assert_eq!(names(&redis), before);
    exchange(&mut at(&redis, 3), b"ROLE\r\n", "*3\r\n$6\r\nmaster\r\n");
    exchange(&mut at(&redis, 3), b"CLUSTER COUNTKEYSINSLOT 3300\r\n", ":1\r\n");
    exchange(&mut at(&redis, 0), b"ROLE\r\n", "*5\r\n$5\r\nslave\r\n");
    // Slot 5500 is nobody's, as the instance that gave it up remembers.
    exchange(&mut at(&redis, 1), b"CLUSTER ADDSLOTS 5500\r\nCLUSTER INFO\r\n", "+OK\r\n$");
    redis.shut_down();
}

#[test]
fn waitaof_is_answered_when_the_file_is_synced() {
    let disk = memory();
    let redis = start(228, &disk, &[("appendonly", "yes"), ("appendfsync", "no"), ("cluster-enabled", "no")]);
    let mut one = connect(&redis);
    // Nobody syncs it, and in the end nobody has; then the file is rewritten, and what is rewritten is synced.
    exchange(&mut one, b"SET a 1\r\nWAITAOF 1 0 1\r\n", "+OK\r\n*2\r\n:0\r\n:0\r\n");
    exchange(&mut one, b"BGREWRITEAOF\r\nSET b 1\r\n", "+Background append only file rewriting started\r\n+OK\r\n");
    exchange(&mut one, b"WAITAOF 1 0 0\r\n", "*2\r\n:1\r\n:0\r\n");
    exchange(&mut one, b"CONFIG SET appendfsync everysec\r\nSET a 2\r\n", "+OK\r\n+OK\r\n");
    exchange(&mut one, b"WAITAOF 1 0 0\r\n", "*2\r\n:1\r\n:0\r\n");
    exchange(
        &mut one,
        b"CONFIG SET appendfsync always\r\nSET a 3\r\nWAITAOF 1 0 0\r\n",
        "+OK\r\n+OK\r\n*2\r\n:1\r\n:0\r\n",
    );
    redis.shut_down();
}
