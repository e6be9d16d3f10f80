//! The synchronous client on one node of the cluster: data types, pipelines, transactions, scripts, streams, pub/sub, users.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc;
use std::thread;

use redis::acl::Rule;
use redis::streams::{StreamPendingReply, StreamRangeReply, StreamReadOptions, StreamReadReply};
use redis::{
    Client, Commands, Connection, ExistenceCheck, PushInfo, PushKind, RedisResult, Script, SetExpiry, SetOptions, Value,
};

use super::{Checks, Outcome, PATIENCE, client_for, connect, equal, eventually, refused};

/// A check's name and its body.
type Check = (&'static str, fn(&mut Scene) -> Outcome);

const CHECKS: &[Check] = &[
    ("strings", strings),
    ("every byte comes back", bytes),
    ("hashes", hashes),
    ("lists", lists),
    ("sets and sorted sets", sets),
    ("expiry", expiry),
    ("SCAN through an iterator", scans),
    ("a pipeline answers in order", pipelines),
    ("an error in a pipeline hurts only its own command", pipeline_errors),
    ("an atomic pipeline", atomic),
    ("a transaction is tried again when its key has changed", transactions),
    ("EXECABORT after a command that cannot be queued", aborted),
    ("a script is loaded when it is not there", scripts),
    ("errors of scripts", script_errors),
    ("errors have their codes", errors),
    ("a stream is read and its range", streams),
    ("a consumer group", consumer_groups),
    ("BLPOP waits for a push", blocking),
    ("pub/sub by channel and by pattern", pubsub),
    ("users and what they may do", users),
];

/// What only RESP3 has.
const CHECKS_OF_RESP3: &[Check] = &[
    ("a subscription beside commands", pushes),
    ("CLIENT TRACKING tells of a change", tracking),
    ("types of RESP3", types),
];

struct Scene {
    client: Client,
    connection: Connection,
    tag: &'static str,
}

impl Scene {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.tag)
    }
}

pub(crate) fn run(checks: &mut Checks, nodes: &[String]) {
    let both = [("RESP2", redis::ProtocolVersion::RESP2, "{rs2}"), ("RESP3", redis::ProtocolVersion::RESP3, "{rs3}")];
    for (name, protocol, tag) in both {
        let set_up = || -> RedisResult<Scene> {
            let client = client_for(nodes, tag, protocol)?;
            let mut connection = connect(&client)?;
            redis::cmd("FLUSHALL").exec(&mut connection)?;
            Ok(Scene { client, connection, tag })
        };
        let mut scene = match set_up() {
            Ok(scene) => scene,
            Err(error) => {
                checks.report(&format!("{name}: connects"), Err(error.into()));
                continue;
            }
        };
        let more = if name == "RESP3" { CHECKS_OF_RESP3 } else { &[] };
        for (what, body) in CHECKS.iter().chain(more) {
            checks.report(&format!("{name}: {what}"), body(&mut scene));
        }
    }
}

fn strings(scene: &mut Scene) -> Outcome {
    let (key, other, absent) = (scene.key("s"), scene.key("s2"), scene.key("absent"));
    let con = &mut scene.connection;
    let () = con.set(&key, "abc")?;
    equal(con.append::<_, _, usize>(&key, "def")?, 6)?;
    equal(con.getrange::<_, String>(&key, 1, -2)?, "bcde")?;
    equal(con.setrange::<_, _, usize>(&key, 1, "XY")?, 6)?;
    equal(con.set_nx::<_, _, bool>(&key, "no")?, false)?;
    equal(con.incr::<_, _, i64>(&other, 41)?, 41)?;
    equal(con.decr::<_, _, i64>(&other, 1)?, 40)?;
    equal(con.incr::<_, _, f64>(&other, 0.5)?, 40.5)?;
    let all: (Option<String>, Option<f64>, Option<String>) = con.mget(&[&key, &other, &absent])?;
    equal(all, (Some("aXYdef".to_owned()), Some(40.5), None))?;
    let options = SetOptions::default().conditional_set(ExistenceCheck::NX).get(true);
    equal(con.set_options::<_, _, Option<String>>(&key, "new", options)?, Some("aXYdef".to_owned()))?;
    equal(con.get_del::<_, String>(&key)?, "aXYdef")?;
    equal(con.exists::<_, bool>(&key)?, false)
}

fn bytes(scene: &mut Scene) -> Outcome {
    let key = scene.key("bytes");
    let all: Vec<u8> = (0..=255).collect();
    let () = scene.connection.set(&key, &all)?;
    equal(scene.connection.get::<_, Vec<u8>>(&key)?, all)
}

fn hashes(scene: &mut Scene) -> Outcome {
    let key = scene.key("h");
    let con = &mut scene.connection;
    let () = con.hset_multiple(&key, &[("a", 1), ("b", 2)])?;
    equal(con.hincr::<_, _, _, i64>(&key, "a", 6)?, 7)?;
    equal(con.hincr::<_, _, _, f64>(&key, "b", 0.25)?, 2.25)?;
    equal(con.hset_nx::<_, _, _, bool>(&key, "a", 0)?, false)?;
    let all: HashMap<String, f64> = con.hgetall(&key)?;
    equal(all, HashMap::from([("a".to_owned(), 7.0), ("b".to_owned(), 2.25)]))?;
    equal(con.hget::<_, _, Option<String>>(&key, "c")?, None)?;
    equal(con.hmget::<_, _, (i64, Option<i64>)>(&key, &["a", "c"])?, (7, None))?;
    equal(con.hdel::<_, _, usize>(&key, &["a", "b", "c"])?, 2)?;
    equal(con.exists::<_, bool>(&key)?, false)
}

fn lists(scene: &mut Scene) -> Outcome {
    let (key, other) = (scene.key("l"), scene.key("l2"));
    let con = &mut scene.connection;
    equal(con.rpush::<_, _, usize>(&key, &["b", "c"])?, 2)?;
    equal(con.lpush::<_, _, usize>(&key, "a")?, 3)?;
    equal(con.linsert_before::<_, _, _, usize>(&key, "b", "ab")?, 4)?;
    equal(con.lrange::<_, Vec<String>>(&key, 0, -1)?, ["a", "ab", "b", "c"])?;
    equal(con.lmove::<_, _, String>(&key, &other, redis::Direction::Right, redis::Direction::Left)?, "c")?;
    equal(con.lrem::<_, _, usize>(&key, 0, "ab")?, 1)?;
    equal(con.lpop::<_, Vec<String>>(&key, std::num::NonZeroUsize::new(5))?, ["a", "b"])?;
    equal(con.llen::<_, usize>(&key)?, 0)?;
    refused(con.lset::<_, _, ()>(&other, 9, "x"), "ERR", "index out of range")
}

fn sets(scene: &mut Scene) -> Outcome {
    let (a, b, scores) = (scene.key("a"), scene.key("b"), scene.key("z"));
    let con = &mut scene.connection;
    equal(con.sadd::<_, _, usize>(&a, &[1, 2, 3])?, 3)?;
    equal(con.sadd::<_, _, usize>(&b, &[2, 3, 4])?, 3)?;
    equal(con.sinter::<_, BTreeSet<i64>>(&[&a, &b])?, BTreeSet::from([2, 3]))?;
    equal(con.smismember::<_, _, Vec<bool>>(&a, &[1, 9])?, [true, false])?;
    equal(con.zadd_multiple::<_, _, _, usize>(&scores, &[(1.5, "x"), (2.5, "y"), (f64::INFINITY, "z")])?, 3)?;
    let all: Vec<(String, f64)> = con.zrange_withscores(&scores, 0, -1)?;
    equal(all, [("x".to_owned(), 1.5), ("y".to_owned(), 2.5), ("z".to_owned(), f64::INFINITY)])?;
    equal(con.zincr::<_, _, _, f64>(&scores, "x", 2)?, 3.5)?;
    equal(con.zrank::<_, _, Option<usize>>(&scores, "x")?, Some(1))?;
    equal(con.zrangebyscore::<_, _, _, Vec<String>>(&scores, "(2.5", "+inf")?, ["x", "z"])?;
    equal(con.zpopmin::<_, Vec<(String, f64)>>(&scores, 1)?, [("y".to_owned(), 2.5)])?;
    equal(con.zscore::<_, _, Option<f64>>(&scores, "y")?, None)
}

fn expiry(scene: &mut Scene) -> Outcome {
    let key = scene.key("e");
    let con = &mut scene.connection;
    let options = SetOptions::default().with_expiration(SetExpiry::EX(100));
    let () = con.set_options(&key, "x", options)?;
    let left: i64 = con.ttl(&key)?;
    equal((90..=100).contains(&left), true)?;
    equal(con.persist::<_, bool>(&key)?, true)?;
    equal(con.ttl::<_, i64>(&key)?, -1)?;
    equal(con.pexpire::<_, bool>(&key, 30)?, true)?;
    eventually(|| con.get::<_, Option<String>>(&key).map(|value| value.is_none()))?;
    equal(con.ttl::<_, i64>(&key)?, -2)
}

fn scans(scene: &mut Scene) -> Outcome {
    let wanted: BTreeSet<String> = (0..500).map(|number| scene.key(&format!("scan:{number}"))).collect();
    let pattern = scene.key("scan:*");
    let con = &mut scene.connection;
    for key in &wanted {
        let () = con.set(key, 1)?;
    }
    let found: RedisResult<BTreeSet<String>> = con.scan_match::<_, String>(&pattern)?.collect();
    equal(found? == wanted, true)
}

fn pipelines(scene: &mut Scene) -> Outcome {
    let mut pipe = redis::pipe();
    for number in 0..1000_usize {
        pipe.set(scene.key(&format!("p{number}")), number).ignore().get(scene.key(&format!("p{number}")));
    }
    let answers: Vec<usize> = pipe.query(&mut scene.connection)?;
    equal(answers == (0..1000).collect::<Vec<_>>(), true)
}

fn pipeline_errors(scene: &mut Scene) -> Outcome {
    let key = scene.key("pe");
    let mut pipe = redis::pipe();
    pipe.set(&key, 7).lpush(&key, 1).get(&key);
    let answers: Vec<RedisResult<Value>> = pipe.ignore_errors().query(&mut scene.connection)?;
    let [set, pushed, got] = answers.as_slice() else { return Err(format!("saw {answers:?}").into()) };
    equal((set.is_ok(), got), (true, &Ok(Value::BulkString(b"7".to_vec()))))?;
    refused(pushed.clone(), "WRONGTYPE", "Operation against a key holding the wrong kind of value")
}

fn atomic(scene: &mut Scene) -> Outcome {
    let key = scene.key("tx");
    let mut pipe = redis::pipe();
    pipe.atomic().set(&key, 1).ignore().incr(&key, 1).get(&key);
    equal(pipe.query::<(i64, String)>(&mut scene.connection)?, (2, "2".to_owned()))
}

fn transactions(scene: &mut Scene) -> Outcome {
    let key = scene.key("watched");
    let mut other = connect(&scene.client)?;
    let () = scene.connection.set(&key, 10)?;
    let mut tries = 0;
    let (value,): (i64,) = redis::transaction(&mut scene.connection, &[&key], |con, pipe| {
        tries += 1;
        let value: i64 = con.get(&key)?;
        if tries == 1 {
            let () = other.set(&key, 20)?;
        }
        pipe.set(&key, value + 1).ignore().get(&key).query(con)
    })?;
    equal((tries, value), (2, 21))
}

fn aborted(scene: &mut Scene) -> Outcome {
    let con = &mut scene.connection;
    redis::cmd("MULTI").exec(con)?;
    refused(redis::cmd("GET").query::<Value>(con), "ERR", "wrong number of arguments for 'get' command")?;
    let answer = redis::cmd("EXEC").query::<Value>(con);
    refused(answer, "EXECABORT", "Transaction discarded because of previous errors")
}

fn scripts(scene: &mut Scene) -> Outcome {
    let key = scene.key("lua");
    let con = &mut scene.connection;
    redis::cmd("SCRIPT").arg("FLUSH").exec(con)?;
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return {redis.call('GET', KEYS[1]), 7, false}");
    for text in ["first", "second"] {
        let answer: (String, i64, Option<String>) = script.key(&key).arg(text).invoke(con)?;
        equal(answer, (text.to_owned(), 7, None))?;
    }
    equal(redis::cmd("SCRIPT").arg("EXISTS").arg(script.get_hash()).query::<Vec<bool>>(con)?, [true])
}

fn script_errors(scene: &mut Scene) -> Outcome {
    let con = &mut scene.connection;
    let hash = "0123456789012345678901234567890123456789";
    let answer = redis::cmd("EVALSHA").arg(hash).arg(0).query::<Value>(con);
    refused(answer, "NOSCRIPT", "No matching script. Please use EVAL.")?;
    let answer = Script::new("return redis.error_reply('MINE of my own')").invoke::<Value>(con);
    refused(answer, "MINE", "of my own")?;
    let answer = Script::new("return redis.call('NOSUCH')").invoke::<Value>(con);
    refused(answer, "ERR", "Unknown Redis command called from script")
}

fn errors(scene: &mut Scene) -> Outcome {
    let key = scene.key("text");
    let con = &mut scene.connection;
    let () = con.set(&key, "text")?;
    refused(con.incr::<_, _, i64>(&key, 1), "ERR", "value is not an integer or out of range")?;
    refused(con.lpush::<_, _, i64>(&key, 1), "WRONGTYPE", "wrong kind of value")?;
    refused(redis::cmd("NOSUCH").arg("a").query::<Value>(con), "ERR", "unknown command 'NOSUCH'")?;
    refused(con.mget::<_, Value>(&[&key, "elsewhere"]), "CROSSSLOT", "Keys in request don't hash to the same slot")?;
    refused(con.rename::<_, _, Value>(scene.tag, &key), "ERR", "no such key")
}

fn streams(scene: &mut Scene) -> Outcome {
    let key = scene.key("stream");
    let con = &mut scene.connection;
    for number in 1..=5 {
        let id: String = con.xadd(&key, format!("{number}-0"), &[("number", number)])?;
        equal(id, format!("{number}-0"))?;
    }
    let read: Option<StreamReadReply> = con.xread_options(&[&key], &["3"], &StreamReadOptions::default().count(1))?;
    let read = read.ok_or("nothing was read")?;
    equal((read.keys[0].key.as_str(), read.keys[0].ids[0].id.as_str()), (key.as_str(), "4-0"))?;
    equal(read.keys[0].ids[0].get::<i64>("number"), Some(4))?;
    let range: StreamRangeReply = con.xrange(&key, "2", "4")?;
    equal(range.ids.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["2-0", "3-0", "4-0"])?;
    equal(con.xlen::<_, usize>(&key)?, 5)?;
    equal(con.xinfo_stream::<_, redis::streams::StreamInfoStreamReply>(&key)?.last_generated_id, "5-0")?;
    refused(
        con.xadd::<_, _, _, _, Value>(&key, "1-0", &[("a", 1)]),
        "ERR",
        "equal or smaller than the target stream top item",
    )
}

fn consumer_groups(scene: &mut Scene) -> Outcome {
    let key = scene.key("grouped");
    let con = &mut scene.connection;
    let () = con.xgroup_create_mkstream(&key, "group", "0")?;
    refused(con.xgroup_create::<_, _, _, ()>(&key, "group", "0"), "BUSYGROUP", "Consumer Group name already exists")?;
    for number in 1..=3 {
        let _: Option<String> = con.xadd(&key, format!("{number}-0"), &[("n", number)])?;
    }
    let options = StreamReadOptions::default().group("group", "anna").count(2);
    let read: Option<StreamReadReply> = con.xread_options(&[&key], &[">"], &options)?;
    equal(read.ok_or("nothing was read")?.keys[0].ids.len(), 2)?;
    equal(con.xack::<_, _, _, usize>(&key, "group", &["1-0"])?, 1)?;
    let StreamPendingReply::Data(pending) = con.xpending(&key, "group")? else { return Err("nothing pending".into()) };
    equal((pending.count, pending.start_id.as_str(), pending.consumers[0].name.as_str()), (1, "2-0", "anna"))?;
    let options = redis::streams::StreamAutoClaimOptions::default();
    let claimed: redis::streams::StreamAutoClaimReply =
        con.xautoclaim_options(&key, "group", "bert", 0, "0", options)?;
    equal(claimed.claimed.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>(), ["2-0"])
}

fn blocking(scene: &mut Scene) -> Outcome {
    let (first, second) = (scene.key("q1"), scene.key("q2"));
    let mut waiting = connect(&scene.client)?;
    let keys = [first, second.clone()];
    let waiter = thread::spawn(move || waiting.blpop::<_, Option<(String, String)>>(&keys, 15.0));
    let con = &mut scene.connection;
    eventually(|| {
        let clients: redis::InfoDict = redis::cmd("INFO").arg("clients").query(con)?;
        Ok(clients.get::<usize>("blocked_clients") == Some(1))
    })?;
    let _: usize = con.rpush(&second, "item")?;
    let popped = waiter.join().map_err(|_| "the waiting thread has panicked")??;
    equal(popped, Some((second, "item".to_owned())))?;
    equal(con.blpop::<_, Option<(String, String)>>(scene.tag, 0.05)?, None)
}

fn pubsub(scene: &mut Scene) -> Outcome {
    let mut listening = connect(&scene.client)?;
    let mut listener = listening.as_pubsub();
    listener.subscribe("news")?;
    listener.psubscribe("ne?s")?;
    equal(scene.connection.publish::<_, _, usize>("news", "hello")?, 2)?;
    let (first, second) = (listener.get_message()?, listener.get_message()?);
    equal(
        (first.get_channel_name(), first.get_payload::<String>()?.as_str(), first.from_pattern()),
        ("news", "hello", false),
    )?;
    equal((second.get_pattern::<String>()?.as_str(), second.get_payload::<String>()?.as_str()), ("ne?s", "hello"))?;
    listener.unsubscribe("news")?;
    equal(scene.connection.publish::<_, _, usize>("news", "again")?, 1)?;
    equal(listener.get_message()?.from_pattern(), true)
}

fn users(scene: &mut Scene) -> Outcome {
    let key = scene.key("theirs");
    let con = &mut scene.connection;
    let rules = [
        Rule::Reset,
        Rule::On,
        Rule::AddPass("secret".to_owned()),
        Rule::AddCommand("get".to_owned()),
        Rule::AddCommand("set".to_owned()),
        Rule::AddCommand("hello".to_owned()),
        Rule::AddCommand("acl|whoami".to_owned()),
        Rule::Pattern(format!("{}t*", scene.tag)),
    ];
    let () = con.acl_setuser_rules("redis-rs", &rules)?;
    let info = scene.client.get_connection_info().clone();
    let login = |password: &str| {
        let settings = info.redis_settings().clone().set_username("redis-rs").set_password(password);
        Client::open(info.clone().set_redis_settings(settings)).and_then(|client| connect(&client))
    };
    // Who logs in with AUTH is told by the client, who does with HELLO by the server.
    let wrong =
        login("wrong").map(|_| "a connection").map_err(|error| (error.kind(), error.code() == Some("WRONGPASS")));
    let is_refused = matches!(wrong, Err((redis::ErrorKind::AuthenticationFailed, _) | (_, true)));
    equal(is_refused, true)?;
    let mut theirs = login("secret")?;
    equal(theirs.acl_whoami::<String>()?, "redis-rs")?;
    let () = theirs.set(&key, "x")?;
    refused(theirs.get::<_, Option<String>>(scene.tag), "NOPERM", "ermissions to access")?;
    let answer = redis::cmd("DEL").arg(&key).query::<i64>(&mut theirs);
    refused(answer, "NOPERM", "has no permissions to run the 'del' command")?;
    equal(scene.connection.acl_deluser::<_, usize>(&["redis-rs"])?, 1)
}

fn pushes(scene: &mut Scene) -> Outcome {
    let mut con = connect(&scene.client)?;
    let (sender, pushed) = mpsc::channel();
    con.set_push_sender(sender);
    con.subscribe_resp3("pushed")?;
    equal(scene.connection.publish::<_, _, usize>("pushed", "hello")?, 1)?;
    // Commands go on beside the subscription, and what was published comes before their answers.
    redis::cmd("PING").exec(&mut con)?;
    let first = pushed.recv_timeout(PATIENCE)?;
    equal(first.kind, PushKind::Subscribe)?;
    let second = pushed.recv_timeout(PATIENCE)?;
    let wanted = PushInfo {
        kind: PushKind::Message,
        data: vec![Value::BulkString(b"pushed".to_vec()), Value::BulkString(b"hello".to_vec())],
    };
    equal(second, wanted)
}

fn tracking(scene: &mut Scene) -> Outcome {
    let key = scene.key("tracked");
    let mut con = connect(&scene.client)?;
    let (sender, pushed) = mpsc::channel();
    con.set_push_sender(sender);
    redis::cmd("CLIENT").arg("TRACKING").arg("ON").exec(&mut con)?;
    equal(con.get::<_, Option<String>>(&key)?, None)?;
    let () = scene.connection.set(&key, "changed")?;
    equal(con.get::<_, Option<String>>(scene.tag)?, None)?;
    let push = pushed.recv_timeout(PATIENCE)?;
    equal(push.kind, PushKind::Invalidate)?;
    equal(push.data, [Value::Array(vec![Value::BulkString(key.into_bytes())])])
}

fn types(scene: &mut Scene) -> Outcome {
    let key = scene.key("typed");
    let con = &mut scene.connection;
    let _: usize = con.zadd(&key, "member", 1.5)?;
    equal(con.zscore::<_, _, Value>(&key, "member")?, Value::Double(1.5))?;
    equal(con.zscore::<_, _, Value>(&key, "absent")?, Value::Nil)?;
    let fields: Value = redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").query(con)?;
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    equal(fields, Value::Map(vec![(text("maxmemory-policy"), text("noeviction"))]))?;
    let script = Script::new("redis.setresp(3) return {double = 0.5}");
    equal(script.invoke::<Value>(con)?, Value::Double(0.5))?;
    let mode: HashMap<String, Value> = redis::cmd("HELLO").arg(3).query(con)?;
    equal((mode.get("proto"), mode.get("mode")), (Some(&Value::Int(3)), Some(&text("cluster"))))
}
