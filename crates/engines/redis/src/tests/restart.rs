//! What is there after a restart: the append-only file, as it was written and as it is rewritten, brings back the same.

use super::harness::{Reply, Stage};
use crate::Config;

/// Commands whose effects are passed on in another form than they were sent.
const COMMANDS: &[&str] = &[
    "XADD s * a 1 b 2",
    "XADD s 99999999999999-1 a 3 b 4",
    "XADD s 99999999999999-* c 5",
    "XADD s MAXLEN ~ 2 99999999999999-7 a 6 b 7",
    "XADD t MAXLEN = 1 1-1 x y",
    "XADD t MINID ~ 5 5-1 x y",
    "XDEL t 5-1",
    "XADD u 1-1 a 1",
    "XTRIM u MAXLEN 0",
    "XGROUP CREATE s g 0",
    "XGROUP CREATE s lone $ ENTRIESREAD 3",
    "XREADGROUP GROUP g al COUNT 2 STREAMS s >",
    "XREADGROUP GROUP g bo NOACK COUNT 1 STREAMS s >",
    "XREADGROUP GROUP g cy STREAMS s >",
    "XACK s g 99999999999999-7",
    "XCLAIM s g dd 0 99999999999999-1 RETRYCOUNT 5",
    "XAUTOCLAIM s g ee 0 - COUNT 1",
    "XGROUP CREATECONSUMER s g idle",
    "XSETID t 9-9 ENTRIESADDED 12 MAXDELETEDID 6-6",
    "SETBIT bits 9 1",
    "BITFIELD bits SET i8 32 -5",
    "PFADD hll a b c",
    "PFMERGE hll2 hll",
    "ZADD z 1 a 2 b 3 c",
    "ZMPOP 1 z MIN COUNT 1",
    "ZUNIONSTORE z2 2 z z WEIGHTS 1 2",
    "ZRANGESTORE z3 z2 0 0",
    "GEOADD geo 13.361389 38.115556 Palermo",
    "RPUSH l 3 1 2",
    "SORT l STORE sorted",
];

/// What shows whether two servers hold the same.
const QUESTIONS: &[&str] = &[
    "KEYS *",
    "XRANGE s - +",
    "XINFO STREAM s",
    "XINFO GROUPS s",
    "XPENDING s g",
    "XPENDING s g - + 100",
    "XPENDING s g - + 100 dd",
    "XINFO STREAM t",
    "XINFO STREAM u",
    "GET bits",
    "GET hll",
    "GET hll2",
    "ZRANGE z 0 -1 WITHSCORES",
    "ZRANGE z2 0 -1 WITHSCORES",
    "ZRANGE z3 0 -1 WITHSCORES",
    "GEOPOS geo Palermo",
    "LRANGE sorted 0 -1",
];

fn stage() -> Stage {
    let mut config = Config::default();
    config.set("cluster-enabled", "no").expect("an option");
    config.set("appendonly", "yes").expect("an option");
    Stage::new(1, 1, &config)
}

fn ask(stage: &mut Stage, commands: &[&str]) -> Vec<Option<Reply>> {
    let conn = stage.connect(0);
    let mut call = |line: &str| stage.call(conn, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    commands.iter().map(|line| call(line)).collect()
}

fn restored(records: &[Vec<u8>]) -> Stage {
    let mut stage = stage();
    for record in records {
        assert!(stage.sim.call(|core, ctx| core.restore(ctx, 0, record)), "a record is read");
    }
    stage
}

#[test]
fn the_append_only_file_brings_back_the_same() {
    let mut stage = stage();
    for (command, reply) in COMMANDS.iter().zip(ask(&mut stage, COMMANDS)) {
        assert!(!matches!(reply, None | Some(Reply::Error(_))), "{command}: {reply:?}");
    }
    let answers = ask(&mut stage, QUESTIONS);
    let written = stage.sim.core.log_bytes().next().map(|(_, bytes)| bytes.clone()).expect("a log");
    let rewritten = stage.sim.core.dump(0, 1 << 20);
    for (what, records) in [("as written", vec![written]), ("rewritten", rewritten)] {
        let found = ask(&mut restored(&records), QUESTIONS);
        for ((question, expected), found) in QUESTIONS.iter().zip(&answers).zip(&found) {
            assert_eq!(expected, found, "{question}, {what}");
        }
    }
}
