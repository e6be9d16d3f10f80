//! Snapshots are of one moment, however much changes while they are written.

use std::time::Duration;

use super::harness::{Reply, Stage};
use crate::{Config, ConnId};

fn alone() -> (Stage, ConnId) {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("is an option");
    let mut stage = Stage::new(1, 1, &config);
    let conn = stage.connect(0);
    (stage, conn)
}

/// What has left the core, as the thread that writes files would take it. True once it was the last.
fn collect(stage: &mut Stage, file: &mut Vec<u8>) -> bool {
    let mut is_last = false;
    for part in stage.sim.core.take_save_parts() {
        assert_eq!(part.is_first, file.is_empty());
        stage.sim.core.save_written(&part.bytes);
        file.extend(&part.bytes);
        is_last |= part.is_last;
    }
    is_last
}

/// Keeps saving until the file is whole, and calls `meanwhile` between its parts.
fn save(stage: &mut Stage, mut meanwhile: impl FnMut(&mut Stage, usize)) -> Vec<u8> {
    let (mut file, mut turn) = (Vec::new(), 0);
    while !collect(stage, &mut file) {
        meanwhile(stage, turn);
        turn += 1;
        stage.run_for(Duration::from_millis(2));
        assert!(turn < 1000, "a snapshot that never ends");
    }
    stage.sim.call(|core, ctx| core.save_ended(ctx, 0, true));
    stage.collect();
    file
}

#[test]
fn a_snapshot_is_of_the_moment_when_it_began() {
    let (mut stage, conn) = alone();
    stage.call(conn, &[b"CONFIG", b"SET", b"rdbcompression", b"no"]);
    let value = vec![b'x'; 700];
    for n in 0..3000 {
        let unlike: Vec<u8> = value.iter().enumerate().map(|(at, _)| (at * (n + 7) % 251) as u8).collect();
        stage.call(conn, &[b"SET", format!("k{n}").as_bytes(), &unlike]);
    }
    stage.call(conn, &[b"RPUSH", b"list", b"a"]);
    assert_eq!(stage.call(conn, &[b"BGSAVE"]), Some(Reply::Simple("Background saving started".to_owned())));
    let busy = Reply::Error("ERR Background save already in progress".to_owned());
    assert_eq!(stage.call(conn, &[b"SAVE"]), Some(busy));
    stage.call(conn, &[b"SET", b"k5", b"changed"]);
    stage.call(conn, &[b"RPUSH", b"list", b"b"]);
    stage.call(conn, &[b"DEL", b"k6"]);
    stage.call(conn, &[b"SET", b"new", b"1"]);
    let file = save(&mut stage, |stage, turn| match turn {
        1 => {
            for n in (0..3000).step_by(3) {
                stage.call(conn, &[b"DEL", format!("k{n}").as_bytes()]);
            }
        }
        2 => {
            stage.call(conn, &[b"RENAME", b"k1", b"other"]);
            stage.call(conn, &[b"PEXPIRE", b"k2", b"1"]);
        }
        3 => drop(stage.call(conn, &[b"FLUSHALL"])),
        _ => drop(stage.call(conn, &[b"SET", b"later", b"1"])),
    });
    assert!(file.len() > 1 << 20, "too small a file to have had parts: {}", file.len());

    let (mut other, conn) = alone();
    let loaded = other.sim.call(|core, ctx| core.load_snapshot(ctx, Some(0), &file)).expect("a whole file");
    assert_eq!(loaded, 3001);
    assert_eq!(other.call(conn, &[b"DBSIZE"]), Some(Reply::Integer(3001)));
    assert_eq!(other.call(conn, &[b"STRLEN", b"k5"]), Some(Reply::Integer(700)));
    assert_eq!(other.call(conn, &[b"LLEN", b"list"]), Some(Reply::Integer(1)));
    assert_eq!(other.call(conn, &[b"EXISTS", b"k6", b"k2", b"k1", b"new"]), Some(Reply::Integer(3)));
}

#[test]
fn save_is_answered_when_the_file_is_durable() {
    let (mut stage, conn) = alone();
    stage.call(conn, &[b"SET", b"k", b"v"]);
    assert_eq!(stage.call(conn, &[b"SAVE"]), None);
    let file = save(&mut stage, |_, _| {});
    assert!(file.starts_with(b"REDIS0011"));
    assert_eq!(stage.take(conn), Some(Reply::Simple("OK".to_owned())));
}

#[test]
fn save_points_are_kept() {
    let (mut stage, conn) = alone();
    stage.call(conn, &[b"CONFIG", b"SET", b"save", b"10 2"]);
    let mut file = Vec::new();
    stage.call(conn, &[b"SET", b"k", b"1"]);
    stage.run_for(Duration::from_secs(30));
    assert!(!collect(&mut stage, &mut file), "one change is too few");
    stage.call(conn, &[b"SET", b"k", b"2"]);
    stage.run_for(Duration::from_secs(30));
    assert!(collect(&mut stage, &mut file), "two changes are enough");
    stage.sim.call(|core, ctx| core.save_ended(ctx, 0, false));
    let refused = stage.call(conn, &[b"SET", b"k", b"3"]);
    assert!(matches!(refused, Some(Reply::Error(line)) if line.starts_with("MISCONF Redis is configured to save")));
}
