//! MIGRATE to a server outside of the stack: the test is that server, byte by byte.

use super::harness::{Reply, Stage};
use crate::wire::OwnedRequest;
use crate::{Config, ConnId, MoveCall, MoveStage, Outcome};

fn alone() -> (Stage, ConnId) {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("an option");
    let mut stage = Stage::new(1, 1, &config);
    let conn = stage.connect(0);
    for line in ["SET k one", "SET other two PX 60000", "RPUSH list a b"] {
        words(&mut stage, conn, line);
    }
    (stage, conn)
}

fn words(stage: &mut Stage, conn: ConnId, line: &str) -> Option<Reply> {
    let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
    stage.call(conn, &words)
}

/// Sends a MIGRATE, which waits, and returns the call that the server is to make.
fn migrate(stage: &mut Stage, conn: ConnId, line: &str) -> MoveCall {
    let request = OwnedRequest::new(line.split(' ').map(|word| if word == "-" { b"" } else { word.as_bytes() }));
    let mut out = Vec::new();
    let outcome = stage.sim.call(|core, ctx| core.apply(ctx, conn, &request.as_request(), &mut out));
    assert_eq!((outcome, String::from_utf8_lossy(&out).as_ref()), (Outcome::Parked, ""));
    stage.sim.core.take_move_calls().pop().expect("a call")
}

fn answer(stage: &mut Stage, call: &MoveCall, bytes: &[u8]) -> bool {
    stage.sim.call(|core, ctx| core.move_answered(ctx, call.number, bytes))
}

fn end(stage: &mut Stage, call: &MoveCall) {
    stage.sim.call(|core, ctx| core.end_move(ctx, call.number));
    stage.collect();
}

fn fails(stage: &mut Stage, call: &MoveCall, at: MoveStage, timed_out: bool) -> bool {
    stage.sim.call(|core, ctx| core.move_failed(ctx, call.number, at, timed_out))
}

fn error(text: &str) -> Option<Reply> {
    Some(Reply::Error(text.to_owned()))
}

fn ok() -> Option<Reply> {
    Some(Reply::Simple("OK".to_owned()))
}

fn number(number: i64) -> Option<Reply> {
    Some(Reply::Integer(number))
}

#[test]
fn what_has_arrived_is_deleted_and_the_rest_stays() {
    let (mut stage, conn) = alone();
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 - 3 500 REPLACE AUTH2 anna secret KEYS k absent other");
    let sent = String::from_utf8_lossy(&call.bytes).replace("\r\n", " ");
    assert!(sent.starts_with("*3 $4 AUTH $4 anna $6 secret *2 $6 SELECT $1 3 *5 $7 RESTORE $1 k $1 0 $"), "{sent}");
    assert!(sent.contains("*5 $7 RESTORE $5 other $5 60000 $"), "{sent}");
    assert_eq!((call.host.as_str(), call.port, call.patience.as_millis()), ("10.0.0.1", 7000, 500));
    // Answers come in whatever pieces.
    assert!(!answer(&mut stage, &call, b"+OK\r\n+OK\r"));
    assert!(!answer(&mut stage, &call, b"\n+OK\r\n-BUSYKEY Target"));
    assert!(answer(&mut stage, &call, b" key name already exists.\r\n+OK\r\n"));
    assert_eq!(stage.take(conn), None, "not before the deletion is durable");
    end(&mut stage, &call);
    let busy = "ERR Target instance replied with error: BUSYKEY Target key name already exists.";
    assert_eq!(stage.take(conn), error(busy));
    assert_eq!(words(&mut stage, conn, "EXISTS k"), number(0));
    assert_eq!(words(&mut stage, conn, "EXISTS other"), number(1));
}

#[test]
fn who_would_write_what_is_on_its_way_waits_and_nobody_else() {
    let (mut stage, conn) = alone();
    let (writer, other) = (stage.connect(0), stage.connect(0));
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 k 0 500");
    assert_eq!(words(&mut stage, other, "GET k"), Some(Reply::Bulk(b"one".to_vec())));
    assert_eq!(words(&mut stage, other, "SET other 3"), ok());
    for line in ["MULTI", "APPEND k x"] {
        words(&mut stage, other, line);
    }
    assert_eq!(words(&mut stage, other, "EXEC"), None);
    assert_eq!(words(&mut stage, writer, "FLUSHDB"), None);
    assert!(answer(&mut stage, &call, b"+OK\r\n+OK\r\n"));
    end(&mut stage, &call);
    assert_eq!(stage.take(conn), ok());
    // They find the key gone.
    let seen = [stage.take(writer), stage.take(other)];
    assert_eq!(seen, [ok(), Some(Reply::Array(vec![Reply::Integer(1)]))]);
}

#[test]
fn what_a_script_wrote_meanwhile_stays() {
    let (mut stage, conn) = alone();
    let other = stage.connect(0);
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 - 0 500 KEYS k list");
    let script: [&[u8]; 3] = [b"EVAL", b"return redis.call('append', 'k', 'x')", b"0"];
    assert_eq!(stage.call(other, &script), number(4));
    assert!(answer(&mut stage, &call, b"+OK\r\n+OK\r\n+OK\r\n"));
    end(&mut stage, &call);
    assert_eq!(stage.take(conn), ok());
    assert_eq!(words(&mut stage, conn, "GET k"), Some(Reply::Bulk(b"onex".to_vec())));
    assert_eq!(words(&mut stage, conn, "EXISTS list"), number(0));
}

#[test]
fn a_target_that_fails_is_told_as_redis_tells_it() {
    let (mut stage, conn) = alone();
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 k 0 0");
    assert_eq!(call.patience.as_millis(), 1000);
    assert!(!fails(&mut stage, &call, MoveStage::Connecting, false));
    end(&mut stage, &call);
    assert_eq!(stage.take(conn), error("IOERR error or timeout connecting to the client"));

    // It is tried once more if it closes before the first answer, and not after a timeout.
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 k 0 500");
    assert!(!answer(&mut stage, &call, b"+OK\r\n"));
    assert!(fails(&mut stage, &call, MoveStage::Reading, false));
    assert!(!fails(&mut stage, &call, MoveStage::Writing, false));
    end(&mut stage, &call);
    assert_eq!(stage.take(conn), error("IOERR error or timeout writing to target instance"));
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 - 0 500 KEYS k list");
    assert!(!answer(&mut stage, &call, b"+OK\r\n+OK\r\n"));
    assert!(!fails(&mut stage, &call, MoveStage::Reading, false), "one key has arrived");
    end(&mut stage, &call);
    assert_eq!(stage.take(conn), error("IOERR error or timeout reading to target instance"));
    assert_eq!(words(&mut stage, conn, "EXISTS k"), number(0));
    assert_eq!(words(&mut stage, conn, "EXISTS list"), number(1));

    // An error to SELECT is that of every key.
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 list 99 500");
    assert!(answer(&mut stage, &call, b"-ERR DB index is out of range\r\n+OK\r\n"));
    end(&mut stage, &call);
    let refused = "ERR Target instance replied with error: ERR DB index is out of range";
    assert_eq!(stage.take(conn), error(refused));
    assert_eq!(words(&mut stage, conn, "EXISTS list"), number(1));
}

#[test]
fn a_client_that_leaves_changes_nothing() {
    let (mut stage, conn) = alone();
    let other = stage.connect(0);
    let call = migrate(&mut stage, conn, "MIGRATE 10.0.0.1 7000 k 0 500");
    stage.sim.call(|core, _| core.disconnect(conn));
    // Another takes its place.
    let third = stage.connect(0);
    // A line without end is as many lines as Redis reads.
    assert!(!answer(&mut stage, &call, &[b'x'; 1000]));
    assert!(answer(&mut stage, &call, &[b'x'; 2000]));
    end(&mut stage, &call);
    assert_eq!((stage.take(third), stage.take(other)), (None, None));
    assert_eq!(words(&mut stage, other, "EXISTS k"), number(0));
}
