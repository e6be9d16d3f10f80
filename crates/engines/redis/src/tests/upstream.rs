//! A single server that follows a master elsewhere: the test is that master, byte by byte.

use std::time::Duration;

use super::harness::{Reply, Stage};
use crate::{Config, ConnId, MasterCall};

const NAME: &str = "0123456789abcdef0123456789abcdef01234567";

fn alone(options: &[(&str, &str)]) -> Stage {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("an option");
    for (name, value) in options {
        config.set(name, value).expect("an option");
    }
    Stage::new(1, 1, &config)
}

fn words(stage: &mut Stage, conn: ConnId, line: &str) -> Option<Reply> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    stage.call(conn, &words)
}

fn bulk(text: &str) -> Option<Reply> {
    Some(Reply::Bulk(text.as_bytes().to_vec()))
}

/// The call that the server makes next.
fn call(stage: &mut Stage) -> MasterCall {
    for _ in 0..50 {
        if let Some(call) = stage.sim.core.take_master_calls().pop() {
            return call;
        }
        stage.run_for(Duration::from_millis(100));
    }
    panic!("it calls nobody");
}

/// What the server has sent to its master since the last time.
fn sent(stage: &mut Stage, master: ConnId) -> String {
    stage.collect();
    String::from_utf8_lossy(&stage.received.remove(&master).unwrap_or_default()).replace("\r\n", " ")
}

fn send(stage: &mut Stage, master: ConnId, bytes: &[u8]) -> bool {
    let goes_on = stage.sim.call(|core, ctx| core.master_sent(ctx, master, bytes));
    stage.collect();
    goes_on
}

/// Goes through the handshake, up to PSYNC, and returns what was asked for.
fn shake_hands(stage: &mut Stage) -> (ConnId, String) {
    let call = call(stage);
    let master = stage.sim.call(|core, ctx| core.master_connected(ctx, &call, None)).expect("it is wanted");
    assert_eq!(sent(stage, master), "*1 $4 PING ");
    assert!(send(stage, master, b"+PONG\r\n"));
    let introduction = sent(stage, master);
    assert!(introduction.starts_with("*3 $8 REPLCONF $14 listening-port $4 6379 "), "{introduction}");
    assert!(send(stage, master, b"+OK\r\n-ERR Unrecognized REPLCONF option: capa\r\n"));
    let asked = sent(stage, master);
    (master, asked)
}

/// A snapshot of a server that has `k` and, in database 3, `elsewhere`.
fn snapshot() -> Vec<u8> {
    let mut other = alone(&[]);
    let conn = other.connect(0);
    for line in ["SET k 1", "SELECT 3", "SET elsewhere 2"] {
        words(&mut other, conn, line);
    }
    other.sim.call(|core, ctx| core.snapshots(ctx)).remove(0).1
}

/// A server that has a snapshot at offset 100.
fn follower(options: &[(&str, &str)]) -> (Stage, ConnId, ConnId) {
    let mut stage = alone(options);
    let client = stage.connect(0);
    words(&mut stage, client, "SET old 1");
    assert_eq!(words(&mut stage, client, "REPLICAOF 10.0.0.1 7000"), Some(Reply::Simple("OK".to_owned())));
    let (master, asked) = shake_hands(&mut stage);
    assert_eq!(asked, "*3 $5 PSYNC $1 ? $2 -1 ");
    let file = snapshot();
    let mark = "f".repeat(40);
    assert!(send(&mut stage, master, format!("+FULLRESYNC {NAME} 100\r\n\n$EOF:{mark}\r\n").as_bytes()));
    // In two pieces, with the mark across them.
    let bytes = [file.as_slice(), mark.as_bytes()].concat();
    let cut = bytes.len() - 20;
    assert!(send(&mut stage, master, &bytes[..cut]));
    assert!(send(&mut stage, master, &bytes[cut..]));
    assert!(sent(&mut stage, master).contains("REPLCONF $3 ACK $3 100 "));
    (stage, client, master)
}

#[test]
fn a_snapshot_takes_the_place_of_what_was_there_and_the_stream_goes_on() {
    let (mut stage, client, master) = follower(&[]);
    assert_eq!(words(&mut stage, client, "GET k"), bulk("1"));
    assert_eq!(words(&mut stage, client, "GET old"), Some(Reply::Null));
    let stream = b"*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*2\r\n$4\r\nINCR\r\n$9\r\nelsewhere\r\n";
    assert!(send(&mut stage, master, stream));
    words(&mut stage, client, "SELECT 3");
    assert_eq!(words(&mut stage, client, "GET elsewhere"), bulk("3"));
    // A transaction counts once it is complete.
    assert!(send(&mut stage, master, b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$9\r\nelsewhere\r\n"));
    assert_eq!(words(&mut stage, client, "GET elsewhere"), bulk("3"));
    assert!(send(&mut stage, master, b"*1\r\n$4\r\nEXEC\r\n"));
    assert_eq!(words(&mut stage, client, "GET elsewhere"), bulk("4"));
    let getack = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    let offset = 100 + stream.len() + 15 + 29 + 14;
    assert!(send(&mut stage, master, getack));
    assert_eq!(sent(&mut stage, master), format!("*3 $8 REPLCONF $3 ACK $3 {offset} "));
    let refused = "READONLY You can't write against a read only replica.";
    assert_eq!(words(&mut stage, client, "SET k 2"), Some(Reply::Error(refused.to_owned())));
    let Some(Reply::Array(role)) = words(&mut stage, client, "ROLE") else { panic!("no role") };
    assert_eq!(role[3], Reply::Bulk(b"connected".to_vec()));
    assert_eq!(role[4], Reply::Integer((offset + getack.len()) as i64));
}

#[test]
fn it_says_what_it_has_on_disk() {
    let (mut stage, _, master) = follower(&[("appendonly", "yes")]);
    let stream = b"*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n";
    let getack = b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n";
    assert!(send(&mut stage, master, stream));
    assert!(send(&mut stage, master, getack));
    let acknowledged = 100 + stream.len();
    // It has executed the command; nothing of that is synced, and neither is the snapshot.
    assert_eq!(sent(&mut stage, master), format!("*5 $8 REPLCONF $3 ACK $3 {acknowledged} $4 FACK $1 0 "));
    stage.run_for(Duration::from_secs(3));
    let end = acknowledged + getack.len();
    let told = sent(&mut stage, master);
    assert!(told.ends_with(&format!("REPLCONF $3 ACK $3 {end} $4 FACK $3 {end} ")), "{told}");
}

#[test]
fn after_a_lost_connection_it_asks_for_what_it_lacks() {
    let (mut stage, client, master) = follower(&[("replica-serve-stale-data", "no")]);
    stage.sim.call(|core, _| core.disconnect(master));
    let stale = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    assert_eq!(words(&mut stage, client, "GET k"), Some(Reply::Error(stale.to_owned())));
    let (master, asked) = shake_hands(&mut stage);
    assert_eq!(asked, format!("*3 $5 PSYNC $40 {NAME} $3 101 "));
    let other_name = NAME.replace('0', "f");
    assert!(send(&mut stage, master, format!("+CONTINUE {other_name}\r\n*1\r\n$4\r\nPING\r\n").as_bytes()));
    assert_eq!(words(&mut stage, client, "GET k"), bulk("1"));
    assert_eq!(stage.sim.core.replication_name(0), other_name);
    assert_eq!(stage.sim.core.previous_history(0), Some(&(NAME.to_owned(), 101)));
    assert_eq!(stage.sim.core.offset_of(0), 114);
}

#[test]
fn following_nobody_makes_it_a_master_with_the_data_under_another_name() {
    let (mut stage, client, master) = follower(&[]);
    words(&mut stage, client, "REPLICAOF NO ONE");
    assert!(!stage.is_connected(master));
    assert_eq!(words(&mut stage, client, "INCR k"), Some(Reply::Integer(2)));
    assert_ne!(stage.sim.core.replication_name(0), NAME);
    assert_eq!(stage.sim.core.previous_history(0), Some(&(NAME.to_owned(), 101)));
}

#[test]
fn a_damaged_snapshot_and_what_is_no_snapshot_end_the_connection() {
    for rubbish in ["$12\r\nREDIS0011abc", "$EOF:short\r\n", "$-1\r\n", "hello\r\n"] {
        let mut stage = alone(&[("replicaof", "10.0.0.1 7000")]);
        let (master, _) = shake_hands(&mut stage);
        let bytes = format!("+FULLRESYNC {NAME} 1\r\n{rubbish}");
        assert!(!send(&mut stage, master, bytes.as_bytes()), "{rubbish}");
        stage.sim.call(|core, _| core.disconnect(master));
        // It tries again.
        call(&mut stage);
    }
}

#[test]
fn a_failover_waits_for_the_replica_and_then_follows_it() {
    let mut stage = alone(&[("repl-diskless-sync-delay", "0")]);
    let (client, replica) = (stage.connect(0), stage.connect(0));
    let none = "ERR FAILOVER requires connected replicas.";
    assert_eq!(words(&mut stage, client, "FAILOVER"), Some(Reply::Error(none.to_owned())));
    words(&mut stage, replica, "REPLCONF listening-port 7001 ip-address 10.0.0.2 capa eof");
    words(&mut stage, replica, "PSYNC ? -1");
    stage.run_for(Duration::from_millis(100));
    words(&mut stage, replica, "REPLCONF ACK 0");
    words(&mut stage, client, "SET k 1");
    let offset = stage.sim.core.offset_of(0);
    assert_eq!(
        words(&mut stage, client, "FAILOVER TO 10.0.0.2 7001 TIMEOUT 5000"),
        Some(Reply::Simple("OK".to_owned()))
    );
    let writer = stage.connect(0);
    assert_eq!(words(&mut stage, writer, "SET k 2"), None, "writes wait");
    stage.run_for(Duration::from_millis(300));
    assert!(stage.sim.core.take_master_calls().is_empty(), "the replica lacks a write");
    words(&mut stage, replica, &format!("REPLCONF ACK {offset}"));
    let name = stage.sim.core.replication_name(0).to_owned();
    let (master, asked) = shake_hands(&mut stage);
    let next = (offset + 1).to_string();
    assert_eq!(asked, format!("*4 $5 PSYNC $40 {name} ${} {next} $8 FAILOVER ", next.len()));
    assert!(send(&mut stage, master, format!("+CONTINUE {NAME}\r\n").as_bytes()));
    let refused = Reply::Error("READONLY You can't write against a read only replica.".to_owned());
    assert_eq!(stage.take(writer), Some(refused));
    assert_eq!(stage.sim.core.replication_name(0), NAME);
}

#[test]
fn a_failover_in_vain_lets_the_writes_through() {
    let mut stage = alone(&[("repl-diskless-sync-delay", "0")]);
    let (client, replica) = (stage.connect(0), stage.connect(0));
    words(&mut stage, replica, "PSYNC ? -1");
    stage.run_for(Duration::from_millis(100));
    words(&mut stage, client, "SET k 1");
    assert_eq!(words(&mut stage, client, "FAILOVER TIMEOUT 1000"), Some(Reply::Simple("OK".to_owned())));
    let again = "ERR FAILOVER already in progress.";
    assert_eq!(words(&mut stage, client, "FAILOVER"), Some(Reply::Error(again.to_owned())));
    assert_eq!(words(&mut stage, client, "INCR k"), None);
    stage.run_for(Duration::from_millis(1200));
    assert_eq!(stage.take(client), Some(Reply::Integer(2)));
    let nothing = "ERR No failover in progress.";
    assert_eq!(words(&mut stage, client, "FAILOVER ABORT"), Some(Reply::Error(nothing.to_owned())));
}
