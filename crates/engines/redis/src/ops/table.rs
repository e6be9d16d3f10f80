//! The dispatch table: a line per command, in the order of their names.
//!
//! Name, arity, flags, where its keys stand, family, the release that brought it, and what runs.

use super::command::{Command, Flags, Group, KeySpec, Run};
use super::command::{
    OW, RM, RO, RO_ONLY, RW, RW_ACCESS, RW_ALL, RW_DELETE, RW_INSERT, RW_POP, RW_POP_INCOMPLETE, RW_UPDATE,
    RW_VARIABLE, after, after_last, at, counted, one, patterns, sort_target, streams as after_streams, up_to,
};
use super::{
    acl, bitmaps, blocking, client, client_tracking, cluster, cluster_admin, config, connection, debug, docs, dump,
    function_payload, functions, geo, hashes, hyperloglog, info, introspection, keys, latency, lcs, lists, memory,
    migrate, monitor, pubsub, replication, saving, scan, scripting, server, sets, slowlog, sort, sorted_sets,
    stream_claim, stream_groups, stream_info, stream_read, streams, strings, transactions, zrange, zset_algebra,
};
use Group::{
    Bitmap, Cluster, Connection, Generic, Geo, Hash, HyperLogLog, List, Pubsub, Scripting, Server as ServerGroup, Set,
    SortedSet, Stream, String, Transactions,
};
use Run::{Container, ContainerOr, Keys, Server};

const NONE: Flags = Flags::NONE;
const WRITE: Flags = Flags::WRITE;
const READONLY: Flags = Flags::READONLY;
const DENYOOM: Flags = Flags::DENYOOM;
const ADMIN: Flags = Flags::ADMIN;
const PUBSUB: Flags = Flags::PUBSUB;
const NOSCRIPT: Flags = Flags::NOSCRIPT;
const BLOCKING: Flags = Flags::BLOCKING;
const LOADING: Flags = Flags::LOADING;
const STALE: Flags = Flags::STALE;
const FAST: Flags = Flags::FAST;
const NO_AUTH: Flags = Flags::NO_AUTH;
const NO_MULTI: Flags = Flags::NO_MULTI;
const MOVABLE_KEYS: Flags = Flags::MOVABLE_KEYS;
const ALLOW_BUSY: Flags = Flags::ALLOW_BUSY;
const SHARDED_PUBSUB: Flags = Flags::SHARDED_PUBSUB;
const SKIP_MONITOR: Flags = Flags::SKIP_MONITOR;
const SKIP_SLOWLOG: Flags = Flags::SKIP_SLOWLOG;
const ASKING: Flags = Flags::ASKING;
const NO_MANDATORY_KEYS: Flags = Flags::NO_MANDATORY_KEYS;
const MAY_REPLICATE: Flags = Flags::MAY_REPLICATE;
const SCRIPT: Flags = Flags::SCRIPT;
const CONTROLS_MULTI: Flags = Flags::CONTROLS_MULTI;

/// A channel stands where a key would: it has a slot, but it is no key.
const NOT_A_KEY: &[&str] = &["not_key"];

const fn of(flags: &[Flags]) -> Flags {
    let mut all = Flags::NONE;
    let mut index = 0;
    while index < flags.len() {
        all = all.or(flags[index]);
        index += 1;
    }
    all
}

const fn line(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: &'static [KeySpec],
    group: Group,
    since: &'static str,
    run: Run,
) -> Command {
    Command { name, arity, flags, keys, group, since, run }
}

/// Every command.
#[rustfmt::skip]
pub(crate) static COMMANDS: &[Command] = &[
    line("acl", -2, NONE, &[], ServerGroup, "6.0.0", Container(ACL)),
    line("append", 3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], String, "2.0.0", Keys(strings::append)),
    line("asking", 1, of(&[FAST]), &[], Cluster, "3.0.0", Server(connection::asking)),
    line("auth", -2, of(&[NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY]), &[], Connection, "1.0.0", Server(connection::auth)),
    line("bgrewriteaof", 1, of(&[ADMIN, NOSCRIPT]), &[], ServerGroup, "1.0.0", Server(server::bgrewriteaof)),
    line("bgsave", -1, of(&[ADMIN, NOSCRIPT]), &[], ServerGroup, "1.0.0", Server(saving::bgsave)),
    line("bitcount", -2, of(&[READONLY]), &[one(RO)], Bitmap, "2.6.0", Keys(bitmaps::bitcount)),
    line("bitfield", -2, of(&[WRITE, DENYOOM]), &[one(RW_VARIABLE)], Bitmap, "3.2.0", Keys(bitmaps::bitfield)),
    line("bitfield_ro", -2, of(&[READONLY, FAST]), &[one(RO)], Bitmap, "6.0.0", Keys(bitmaps::bitfield_ro)),
    line("bitop", -4, of(&[WRITE, DENYOOM]), &[at(2, OW), up_to(3, -1, 1, RO)], Bitmap, "2.6.0", Keys(bitmaps::bitop)),
    line("bitpos", -3, of(&[READONLY]), &[one(RO)], Bitmap, "2.8.7", Keys(bitmaps::bitpos)),
    line("blmove", 6, of(&[WRITE, DENYOOM, BLOCKING]), &[at(1, RW_POP), at(2, RW_INSERT)], List, "6.2.0", Keys(blocking::blmove)),
    line("blmpop", -5, of(&[WRITE, BLOCKING, MOVABLE_KEYS]), &[counted(2, RW_POP)], List, "7.0.0", Keys(blocking::blmpop)),
    line("blpop", -3, of(&[WRITE, BLOCKING]), &[up_to(1, -2, 1, RW_POP)], List, "2.0.0", Keys(blocking::blpop)),
    line("brpop", -3, of(&[WRITE, BLOCKING]), &[up_to(1, -2, 1, RW_POP)], List, "2.0.0", Keys(blocking::brpop)),
    line("brpoplpush", 4, of(&[WRITE, DENYOOM, BLOCKING]), &[at(1, RW_POP), at(2, RW_INSERT)], List, "2.2.0", Keys(blocking::brpoplpush)),
    line("bzmpop", -5, of(&[WRITE, BLOCKING, MOVABLE_KEYS]), &[counted(2, RW_POP)], SortedSet, "7.0.0", Keys(blocking::bzmpop)),
    line("bzpopmax", -3, of(&[WRITE, BLOCKING, FAST]), &[up_to(1, -2, 1, RW_POP)], SortedSet, "5.0.0", Keys(blocking::bzpopmax)),
    line("bzpopmin", -3, of(&[WRITE, BLOCKING, FAST]), &[up_to(1, -2, 1, RW_POP)], SortedSet, "5.0.0", Keys(blocking::bzpopmin)),
    line("client", -2, NONE, &[], Connection, "2.4.0", Container(CLIENT)),
    line("cluster", -2, NONE, &[], Cluster, "3.0.0", Container(CLUSTER)),
    line("command", -1, of(&[LOADING, STALE]), &[], ServerGroup, "2.8.13", ContainerOr(COMMAND, introspection::command)),
    line("config", -2, NONE, &[], ServerGroup, "2.0.0", Container(CONFIG)),
    line("copy", -3, of(&[WRITE, DENYOOM]), &[at(1, RO), at(2, OW)], Generic, "6.2.0", Keys(keys::copy)),
    line("dbsize", 1, of(&[READONLY, FAST]), &[], ServerGroup, "1.0.0", Keys(keys::dbsize)),
    line("debug", -2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "1.0.0", Server(debug::debug)),
    line("decr", 2, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "1.0.0", Keys(strings::decr)),
    line("decrby", 3, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "1.0.0", Keys(strings::decrby)),
    line("del", -2, of(&[WRITE]), &[up_to(1, -1, 1, RM)], Generic, "1.0.0", Keys(keys::del)),
    line("discard", 1, of(&[NOSCRIPT, LOADING, STALE, FAST, CONTROLS_MULTI, ALLOW_BUSY]), &[], Transactions, "2.0.0", Server(transactions::discard)),
    line("dump", 2, of(&[READONLY]), &[one(RO)], Generic, "2.6.0", Keys(dump::dump)),
    line("echo", 2, of(&[LOADING, STALE, FAST]), &[], Connection, "1.0.0", Server(connection::echo)),
    line("eval", -3, of(&[NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT, MAY_REPLICATE]), &[counted(2, RW)], Scripting, "2.6.0", Server(scripting::eval)),
    line("eval_ro", -3, of(&[READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT]), &[counted(2, RO)], Scripting, "7.0.0", Server(scripting::eval)),
    line("evalsha", -3, of(&[NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT, MAY_REPLICATE]), &[counted(2, RW)], Scripting, "2.6.0", Server(scripting::evalsha)),
    line("evalsha_ro", -3, of(&[READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT]), &[counted(2, RO)], Scripting, "7.0.0", Server(scripting::evalsha)),
    line("exec", 1, of(&[NOSCRIPT, LOADING, STALE, SKIP_SLOWLOG, CONTROLS_MULTI]), &[], Transactions, "1.2.0", Server(transactions::exec)),
    line("exists", -2, of(&[READONLY, FAST]), &[up_to(1, -1, 1, RO_ONLY)], Generic, "1.0.0", Keys(keys::exists)),
    line("expire", -3, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Generic, "1.0.0", Keys(keys::expire)),
    line("expireat", -3, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Generic, "1.2.0", Keys(keys::expireat)),
    line("expiretime", 2, of(&[READONLY, FAST]), &[one(RO)], Generic, "7.0.0", Keys(keys::expiretime)),
    line("failover", -1, of(&[ADMIN, NOSCRIPT, STALE]), &[], ServerGroup, "6.2.0", Server(replication::failover)),
    line("fcall", -3, of(&[NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT, MAY_REPLICATE]), &[counted(2, RW)], Scripting, "7.0.0", Server(functions::fcall)),
    line("fcall_ro", -3, of(&[READONLY, NOSCRIPT, STALE, SKIP_MONITOR, NO_MANDATORY_KEYS, MOVABLE_KEYS, SCRIPT]), &[counted(2, RO)], Scripting, "7.0.0", Server(functions::fcall)),
    line("flushall", -1, of(&[WRITE]), &[], ServerGroup, "1.0.0", Keys(keys::flushall)),
    line("flushdb", -1, of(&[WRITE]), &[], ServerGroup, "1.0.0", Keys(keys::flushdb)),
    line("function", -2, NONE, &[], Scripting, "7.0.0", Container(FUNCTION)),
    line("geoadd", -5, of(&[WRITE, DENYOOM]), &[one(RW_UPDATE)], Geo, "3.2.0", Keys(geo::geoadd)),
    line("geodist", -4, of(&[READONLY]), &[one(RO)], Geo, "3.2.0", Keys(geo::geodist)),
    line("geohash", -2, of(&[READONLY]), &[one(RO)], Geo, "3.2.0", Keys(geo::geohash)),
    line("geopos", -2, of(&[READONLY]), &[one(RO)], Geo, "3.2.0", Keys(geo::geopos)),
    line("georadius", -6, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[one(RO), after("STORE", 6, OW), after("STOREDIST", 6, OW)], Geo, "3.2.0", Keys(geo::georadius)),
    line("georadius_ro", -6, of(&[READONLY]), &[one(RO)], Geo, "3.2.10", Keys(geo::georadius_ro)),
    line("georadiusbymember", -5, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[one(RO), after("STORE", 5, OW), after("STOREDIST", 5, OW)], Geo, "3.2.0", Keys(geo::georadiusbymember)),
    line("georadiusbymember_ro", -5, of(&[READONLY]), &[one(RO)], Geo, "3.2.10", Keys(geo::georadiusbymember_ro)),
    line("geosearch", -7, of(&[READONLY]), &[one(RO)], Geo, "6.2.0", Keys(geo::geosearch)),
    line("geosearchstore", -8, of(&[WRITE, DENYOOM]), &[at(1, OW), at(2, RO)], Geo, "6.2.0", Keys(geo::geosearchstore)),
    line("get", 2, of(&[READONLY, FAST]), &[one(RO)], String, "1.0.0", Keys(strings::get)),
    line("getbit", 3, of(&[READONLY, FAST]), &[one(RO)], Bitmap, "2.2.0", Keys(bitmaps::getbit)),
    line("getdel", 2, of(&[WRITE, FAST]), &[one(RW_POP)], String, "6.2.0", Keys(strings::getdel)),
    line("getex", -2, of(&[WRITE, FAST]), &[one(RW)], String, "6.2.0", Keys(strings::getex)),
    line("getrange", 4, of(&[READONLY]), &[one(RO)], String, "2.4.0", Keys(strings::getrange)),
    line("getset", 3, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "1.0.0", Keys(strings::getset)),
    line("hdel", -3, of(&[WRITE, FAST]), &[one(RW_DELETE)], Hash, "2.0.0", Keys(hashes::hdel)),
    line("hello", -1, of(&[NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, ALLOW_BUSY]), &[], Connection, "6.0.0", Server(connection::hello)),
    line("hexists", 3, of(&[READONLY, FAST]), &[one(RO_ONLY)], Hash, "2.0.0", Keys(hashes::hexists)),
    line("hget", 3, of(&[READONLY, FAST]), &[one(RO)], Hash, "2.0.0", Keys(hashes::hget)),
    line("hgetall", 2, of(&[READONLY]), &[one(RO)], Hash, "2.0.0", Keys(hashes::hgetall)),
    line("hincrby", 4, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], Hash, "2.0.0", Keys(hashes::hincrby)),
    line("hincrbyfloat", 4, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], Hash, "2.6.0", Keys(hashes::hincrbyfloat)),
    line("hkeys", 2, of(&[READONLY]), &[one(RO)], Hash, "2.0.0", Keys(hashes::hkeys)),
    line("hlen", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], Hash, "2.0.0", Keys(hashes::hlen)),
    line("hmget", -3, of(&[READONLY, FAST]), &[one(RO)], Hash, "2.0.0", Keys(hashes::hmget)),
    line("hmset", -4, of(&[WRITE, DENYOOM, FAST]), &[one(RW_UPDATE)], Hash, "2.0.0", Keys(hashes::hmset)),
    line("hrandfield", -2, of(&[READONLY]), &[one(RO)], Hash, "6.2.0", Keys(hashes::hrandfield)),
    line("hscan", -3, of(&[READONLY]), &[one(RO)], Hash, "2.8.0", Keys(scan::hscan)),
    line("hset", -4, of(&[WRITE, DENYOOM, FAST]), &[one(RW_UPDATE)], Hash, "2.0.0", Keys(hashes::hset)),
    line("hsetnx", 4, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], Hash, "2.0.0", Keys(hashes::hsetnx)),
    line("hstrlen", 3, of(&[READONLY, FAST]), &[one(RO_ONLY)], Hash, "3.2.0", Keys(hashes::hstrlen)),
    line("hvals", 2, of(&[READONLY]), &[one(RO)], Hash, "2.0.0", Keys(hashes::hvals)),
    line("incr", 2, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "1.0.0", Keys(strings::incr)),
    line("incrby", 3, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "1.0.0", Keys(strings::incrby)),
    line("incrbyfloat", 3, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], String, "2.6.0", Keys(strings::incrbyfloat)),
    line("info", -1, of(&[LOADING, STALE]), &[], ServerGroup, "1.0.0", Server(info::info)),
    line("keys", 2, of(&[READONLY]), &[], Generic, "1.0.0", Keys(keys::keys)),
    line("lastsave", 1, of(&[LOADING, STALE, FAST]), &[], ServerGroup, "1.0.0", Server(saving::lastsave)),
    line("latency", -2, NONE, &[], ServerGroup, "2.8.13", Container(LATENCY)),
    line("lcs", -3, of(&[READONLY]), &[up_to(1, 1, 1, RO)], String, "7.0.0", Keys(lcs::lcs)),
    line("lindex", 3, of(&[READONLY]), &[one(RO)], List, "1.0.0", Keys(lists::lindex)),
    line("linsert", 5, of(&[WRITE, DENYOOM]), &[one(RW_INSERT)], List, "2.2.0", Keys(lists::linsert)),
    line("llen", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], List, "1.0.0", Keys(lists::llen)),
    line("lmove", 5, of(&[WRITE, DENYOOM]), &[at(1, RW_POP), at(2, RW_INSERT)], List, "6.2.0", Keys(lists::lmove)),
    line("lmpop", -4, of(&[WRITE, MOVABLE_KEYS]), &[counted(1, RW_POP)], List, "7.0.0", Keys(lists::lmpop)),
    line("lolwut", -1, of(&[READONLY, FAST]), &[], ServerGroup, "5.0.0", Server(server::lolwut)),
    line("lpop", -2, of(&[WRITE, FAST]), &[one(RW_POP)], List, "1.0.0", Keys(lists::lpop)),
    line("lpos", -3, of(&[READONLY]), &[one(RO)], List, "6.0.6", Keys(lists::lpos)),
    line("lpush", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], List, "1.0.0", Keys(lists::lpush)),
    line("lpushx", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], List, "2.2.0", Keys(lists::lpushx)),
    line("lrange", 4, of(&[READONLY]), &[one(RO)], List, "1.0.0", Keys(lists::lrange)),
    line("lrem", 4, of(&[WRITE]), &[one(RW_DELETE)], List, "1.0.0", Keys(lists::lrem)),
    line("lset", 4, of(&[WRITE, DENYOOM]), &[one(RW_UPDATE)], List, "1.0.0", Keys(lists::lset)),
    line("ltrim", 4, of(&[WRITE]), &[one(RW_DELETE)], List, "1.0.0", Keys(lists::ltrim)),
    line("memory", -2, NONE, &[], ServerGroup, "4.0.0", Container(MEMORY)),
    line("mget", -2, of(&[READONLY, FAST]), &[up_to(1, -1, 1, RO)], String, "1.0.0", Keys(strings::mget)),
    line("migrate", -6, of(&[WRITE, MOVABLE_KEYS]), &[at(3, RW_POP), after_last("KEYS", 2, RW_POP_INCOMPLETE)], Generic, "2.6.0", Server(migrate::migrate)),
    line("monitor", 1, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "1.0.0", Server(monitor::monitor)),
    line("move", 3, of(&[WRITE, FAST]), &[one(RW_POP)], Generic, "1.0.0", Keys(keys::move_)),
    line("mset", -3, of(&[WRITE, DENYOOM]), &[up_to(1, -1, 2, OW)], String, "1.0.1", Keys(strings::mset)),
    line("msetnx", -3, of(&[WRITE, DENYOOM]), &[up_to(1, -1, 2, OW)], String, "1.0.1", Keys(strings::msetnx)),
    line("multi", 1, of(&[NOSCRIPT, LOADING, STALE, FAST, CONTROLS_MULTI, ALLOW_BUSY]), &[], Transactions, "1.2.0", Server(transactions::multi)),
    line("object", -2, NONE, &[], Generic, "2.2.3", Container(OBJECT)),
    line("persist", 2, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Generic, "2.2.0", Keys(keys::persist)),
    line("pexpire", -3, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Generic, "2.6.0", Keys(keys::pexpire)),
    line("pexpireat", -3, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Generic, "2.6.0", Keys(keys::pexpireat)),
    line("pexpiretime", 2, of(&[READONLY, FAST]), &[one(RO)], Generic, "7.0.0", Keys(keys::pexpiretime)),
    line("pfadd", -2, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], HyperLogLog, "2.8.9", Keys(hyperloglog::pfadd)),
    line("pfcount", -2, of(&[READONLY, MAY_REPLICATE]), &[up_to(1, -1, 1, RW_ACCESS)], HyperLogLog, "2.8.9", Keys(hyperloglog::pfcount)),
    line("pfdebug", 3, of(&[WRITE, DENYOOM, ADMIN]), &[at(2, RW_ACCESS)], HyperLogLog, "2.8.9", Keys(hyperloglog::pfdebug)),
    line("pfmerge", -2, of(&[WRITE, DENYOOM]), &[at(1, RW_ALL), up_to(2, -1, 1, RO)], HyperLogLog, "2.8.9", Keys(hyperloglog::pfmerge)),
    line("pfselftest", 1, of(&[ADMIN]), &[], HyperLogLog, "2.8.9", Keys(hyperloglog::pfselftest)),
    line("ping", -1, of(&[FAST]), &[], Connection, "1.0.0", Server(connection::ping)),
    line("psetex", 4, of(&[WRITE, DENYOOM]), &[one(OW)], String, "2.6.0", Keys(strings::psetex)),
    line("psubscribe", -2, of(&[PUBSUB, NOSCRIPT, LOADING, STALE]), &[], Pubsub, "2.0.0", Server(pubsub::psubscribe)),
    line("psync", -3, of(&[ADMIN, NOSCRIPT, NO_MULTI]), &[], ServerGroup, "2.8.0", Server(replication::psync)),
    line("pttl", 2, of(&[READONLY, FAST]), &[one(RO)], Generic, "2.6.0", Keys(keys::pttl)),
    line("publish", 3, of(&[PUBSUB, LOADING, STALE, FAST, MAY_REPLICATE]), &[], Pubsub, "2.0.0", Server(pubsub::publish)),
    line("pubsub", -2, NONE, &[], Pubsub, "2.8.0", Container(PUBSUB_COMMANDS)),
    line("punsubscribe", -1, of(&[PUBSUB, NOSCRIPT, LOADING, STALE]), &[], Pubsub, "2.0.0", Server(pubsub::punsubscribe)),
    line("quit", -1, of(&[NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, CONTROLS_MULTI, ALLOW_BUSY]), &[], Connection, "1.0.0", Server(connection::quit)),
    line("randomkey", 1, of(&[READONLY]), &[], Generic, "1.0.0", Keys(keys::randomkey)),
    line("readonly", 1, of(&[LOADING, STALE, FAST]), &[], Cluster, "3.0.0", Server(connection::readonly)),
    line("readwrite", 1, of(&[LOADING, STALE, FAST]), &[], Cluster, "3.0.0", Server(connection::readwrite)),
    line("rename", 3, of(&[WRITE]), &[at(1, RW_POP), at(2, OW)], Generic, "1.0.0", Keys(keys::rename)),
    line("renamenx", 3, of(&[WRITE, FAST]), &[at(1, RW_POP), at(2, RW_INSERT)], Generic, "1.0.0", Keys(keys::renamenx)),
    line("replconf", -1, of(&[ADMIN, NOSCRIPT, LOADING, STALE, ALLOW_BUSY]), &[], ServerGroup, "3.0.0", Server(replication::replconf)),
    line("replicaof", 3, of(&[ADMIN, NOSCRIPT, STALE]), &[], ServerGroup, "5.0.0", Server(replication::replicaof)),
    line("reset", 1, of(&[NOSCRIPT, LOADING, STALE, FAST, NO_AUTH, CONTROLS_MULTI, ALLOW_BUSY]), &[], Connection, "6.2.0", Server(connection::reset)),
    line("restore", -4, of(&[WRITE, DENYOOM]), &[one(OW)], Generic, "2.6.0", Keys(dump::restore)),
    line("restore-asking", -4, of(&[WRITE, DENYOOM, ASKING]), &[one(OW)], ServerGroup, "3.0.0", Keys(dump::restore)),
    line("role", 1, of(&[NOSCRIPT, LOADING, STALE, FAST]), &[], ServerGroup, "2.8.12", Server(server::role)),
    line("rpop", -2, of(&[WRITE, FAST]), &[one(RW_POP)], List, "1.0.0", Keys(lists::rpop)),
    line("rpoplpush", 3, of(&[WRITE, DENYOOM]), &[at(1, RW_POP), at(2, RW_INSERT)], List, "1.2.0", Keys(lists::rpoplpush)),
    line("rpush", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], List, "1.0.0", Keys(lists::rpush)),
    line("rpushx", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], List, "2.2.0", Keys(lists::rpushx)),
    line("sadd", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_INSERT)], Set, "1.0.0", Keys(sets::sadd)),
    line("save", 1, of(&[ADMIN, NOSCRIPT, NO_MULTI]), &[], ServerGroup, "1.0.0", Server(saving::save)),
    line("scan", -2, of(&[READONLY]), &[], Generic, "2.8.0", Keys(scan::scan)),
    line("scard", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], Set, "1.0.0", Keys(sets::scard)),
    line("script", -2, NONE, &[], Scripting, "2.6.0", Container(SCRIPT_COMMANDS)),
    line("sdiff", -2, of(&[READONLY]), &[up_to(1, -1, 1, RO)], Set, "1.0.0", Keys(sets::sdiff)),
    line("sdiffstore", -3, of(&[WRITE, DENYOOM]), &[at(1, OW), up_to(2, -1, 1, RO)], Set, "1.0.0", Keys(sets::sdiffstore)),
    line("select", 2, of(&[LOADING, STALE, FAST]), &[], Connection, "1.0.0", Server(connection::select)),
    line("set", -3, of(&[WRITE, DENYOOM]), &[one(RW_VARIABLE)], String, "1.0.0", Keys(strings::set)),
    line("setbit", 4, of(&[WRITE, DENYOOM]), &[one(RW)], Bitmap, "2.2.0", Keys(bitmaps::setbit)),
    line("setex", 4, of(&[WRITE, DENYOOM]), &[one(OW)], String, "2.0.0", Keys(strings::setex)),
    line("setnx", 3, of(&[WRITE, DENYOOM, FAST]), &[one(OW)], String, "1.0.0", Keys(strings::setnx)),
    line("setrange", 4, of(&[WRITE, DENYOOM]), &[one(RW_UPDATE)], String, "2.2.0", Keys(strings::setrange)),
    line("shutdown", -1, of(&[ADMIN, NOSCRIPT, LOADING, STALE, NO_MULTI, ALLOW_BUSY]), &[], ServerGroup, "1.0.0", Server(server::shutdown)),
    line("sinter", -2, of(&[READONLY]), &[up_to(1, -1, 1, RO)], Set, "1.0.0", Keys(sets::sinter)),
    line("sintercard", -3, of(&[READONLY, MOVABLE_KEYS]), &[counted(1, RO)], Set, "7.0.0", Keys(sets::sintercard)),
    line("sinterstore", -3, of(&[WRITE, DENYOOM]), &[at(1, OW), up_to(2, -1, 1, RO)], Set, "1.0.0", Keys(sets::sinterstore)),
    line("sismember", 3, of(&[READONLY, FAST]), &[one(RO_ONLY)], Set, "1.0.0", Keys(sets::sismember)),
    line("slaveof", 3, of(&[ADMIN, NOSCRIPT, STALE]), &[], ServerGroup, "1.0.0", Server(replication::replicaof)),
    line("slowlog", -2, NONE, &[], ServerGroup, "2.2.12", Container(SLOWLOG)),
    line("smembers", 2, of(&[READONLY]), &[one(RO)], Set, "1.0.0", Keys(sets::smembers)),
    line("smismember", -3, of(&[READONLY, FAST]), &[one(RO_ONLY)], Set, "6.2.0", Keys(sets::smismember)),
    line("smove", 4, of(&[WRITE, FAST]), &[at(1, RW_POP), at(2, RW_INSERT)], Set, "1.0.0", Keys(sets::smove)),
    line("sort", -2, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[one(RO), patterns(RO), sort_target(OW)], Generic, "1.0.0", Keys(sort::sort)),
    line("sort_ro", -2, of(&[READONLY, MOVABLE_KEYS]), &[one(RO), patterns(RO)], Generic, "7.0.0", Keys(sort::sort_ro)),
    line("spop", -2, of(&[WRITE, FAST]), &[one(RW_POP)], Set, "1.0.0", Keys(sets::spop)),
    line("spublish", 3, of(&[PUBSUB, LOADING, STALE, FAST, SHARDED_PUBSUB, MAY_REPLICATE]), &[one(NOT_A_KEY)], Pubsub, "7.0.0", Server(pubsub::spublish)),
    line("srandmember", -2, of(&[READONLY]), &[one(RO)], Set, "1.0.0", Keys(sets::srandmember)),
    line("srem", -3, of(&[WRITE, FAST]), &[one(RW_DELETE)], Set, "1.0.0", Keys(sets::srem)),
    line("sscan", -3, of(&[READONLY]), &[one(RO)], Set, "2.8.0", Keys(scan::sscan)),
    line("ssubscribe", -2, of(&[PUBSUB, NOSCRIPT, LOADING, STALE, SHARDED_PUBSUB]), &[up_to(1, -1, 1, NOT_A_KEY)], Pubsub, "7.0.0", Server(pubsub::ssubscribe)),
    line("strlen", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], String, "2.2.0", Keys(strings::strlen)),
    line("subscribe", -2, of(&[PUBSUB, NOSCRIPT, LOADING, STALE]), &[], Pubsub, "2.0.0", Server(pubsub::subscribe)),
    line("substr", 4, of(&[READONLY]), &[one(RO)], String, "1.0.0", Keys(strings::getrange)),
    line("sunion", -2, of(&[READONLY]), &[up_to(1, -1, 1, RO)], Set, "1.0.0", Keys(sets::sunion)),
    line("sunionstore", -3, of(&[WRITE, DENYOOM]), &[at(1, OW), up_to(2, -1, 1, RO)], Set, "1.0.0", Keys(sets::sunionstore)),
    line("sunsubscribe", -1, of(&[PUBSUB, NOSCRIPT, LOADING, STALE, SHARDED_PUBSUB]), &[up_to(1, -1, 1, NOT_A_KEY)], Pubsub, "7.0.0", Server(pubsub::sunsubscribe)),
    line("swapdb", 3, of(&[WRITE, FAST]), &[], ServerGroup, "4.0.0", Keys(keys::swapdb)),
    line("sync", 1, of(&[ADMIN, NOSCRIPT, NO_MULTI]), &[], ServerGroup, "1.0.0", Server(replication::sync)),
    line("time", 1, of(&[LOADING, STALE, FAST]), &[], ServerGroup, "2.6.0", Server(server::time)),
    line("touch", -2, of(&[READONLY, FAST]), &[up_to(1, -1, 1, RO_ONLY)], Generic, "3.2.1", Keys(keys::touch)),
    line("ttl", 2, of(&[READONLY, FAST]), &[one(RO)], Generic, "1.0.0", Keys(keys::ttl)),
    line("type", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], Generic, "1.0.0", Keys(keys::type_)),
    line("unlink", -2, of(&[WRITE, FAST]), &[up_to(1, -1, 1, RM)], Generic, "4.0.0", Keys(keys::unlink)),
    line("unsubscribe", -1, of(&[PUBSUB, NOSCRIPT, LOADING, STALE]), &[], Pubsub, "2.0.0", Server(pubsub::unsubscribe)),
    line("unwatch", 1, of(&[NOSCRIPT, LOADING, STALE, FAST, ALLOW_BUSY]), &[], Transactions, "2.2.0", Server(transactions::unwatch)),
    line("wait", 3, NONE, &[], Generic, "3.0.0", Server(server::wait)),
    line("waitaof", 4, of(&[NOSCRIPT]), &[], Generic, "7.2.0", Server(server::waitaof)),
    line("watch", -2, of(&[NOSCRIPT, LOADING, STALE, FAST, CONTROLS_MULTI, ALLOW_BUSY]), &[up_to(1, -1, 1, RO_ONLY)], Transactions, "2.2.0", Server(transactions::watch)),
    line("xack", -4, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Stream, "5.0.0", Keys(stream_claim::xack)),
    line("xadd", -5, of(&[WRITE, DENYOOM, FAST]), &[one(RW_UPDATE)], Stream, "5.0.0", Keys(streams::xadd)),
    line("xautoclaim", -6, of(&[WRITE, FAST]), &[one(RW_DELETE)], Stream, "6.2.0", Keys(stream_claim::xautoclaim)),
    line("xclaim", -6, of(&[WRITE, FAST]), &[one(RW_UPDATE)], Stream, "5.0.0", Keys(stream_claim::xclaim)),
    line("xdel", -3, of(&[WRITE, FAST]), &[one(RW_DELETE)], Stream, "5.0.0", Keys(streams::xdel)),
    line("xgroup", -2, NONE, &[], Stream, "5.0.0", Container(XGROUP)),
    line("xinfo", -2, NONE, &[], Stream, "5.0.0", Container(XINFO)),
    line("xlen", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], Stream, "5.0.0", Keys(streams::xlen)),
    line("xpending", -3, of(&[READONLY]), &[one(RO)], Stream, "5.0.0", Keys(stream_claim::xpending)),
    line("xrange", -4, of(&[READONLY]), &[one(RO)], Stream, "5.0.0", Keys(streams::xrange)),
    line("xread", -4, of(&[READONLY, BLOCKING, MOVABLE_KEYS]), &[after_streams(1, RO)], Stream, "5.0.0", Keys(stream_read::xread)),
    line("xreadgroup", -7, of(&[WRITE, BLOCKING, MOVABLE_KEYS]), &[after_streams(4, RO)], Stream, "5.0.0", Keys(stream_read::xreadgroup)),
    line("xrevrange", -4, of(&[READONLY]), &[one(RO)], Stream, "5.0.0", Keys(streams::xrevrange)),
    line("xsetid", -3, of(&[WRITE, DENYOOM, FAST]), &[one(RW_UPDATE)], Stream, "5.0.0", Keys(streams::xsetid)),
    line("xtrim", -4, of(&[WRITE]), &[one(RW_DELETE)], Stream, "5.0.0", Keys(streams::xtrim)),
    line("zadd", -4, of(&[WRITE, DENYOOM, FAST]), &[one(RW_UPDATE)], SortedSet, "1.2.0", Keys(sorted_sets::zadd)),
    line("zcard", 2, of(&[READONLY, FAST]), &[one(RO_ONLY)], SortedSet, "1.2.0", Keys(sorted_sets::zcard)),
    line("zcount", 4, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "2.0.0", Keys(zrange::zcount)),
    line("zdiff", -3, of(&[READONLY, MOVABLE_KEYS]), &[counted(1, RO)], SortedSet, "6.2.0", Keys(zset_algebra::zdiff)),
    line("zdiffstore", -4, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[at(1, OW), counted(2, RO)], SortedSet, "6.2.0", Keys(zset_algebra::zdiffstore)),
    line("zincrby", 4, of(&[WRITE, DENYOOM, FAST]), &[one(RW)], SortedSet, "1.2.0", Keys(sorted_sets::zincrby)),
    line("zinter", -3, of(&[READONLY, MOVABLE_KEYS]), &[counted(1, RO)], SortedSet, "6.2.0", Keys(zset_algebra::zinter)),
    line("zintercard", -3, of(&[READONLY, MOVABLE_KEYS]), &[counted(1, RO)], SortedSet, "7.0.0", Keys(zset_algebra::zintercard)),
    line("zinterstore", -4, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[at(1, OW), counted(2, RO)], SortedSet, "2.0.0", Keys(zset_algebra::zinterstore)),
    line("zlexcount", 4, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "2.8.9", Keys(zrange::zlexcount)),
    line("zmpop", -4, of(&[WRITE, MOVABLE_KEYS]), &[counted(1, RW_POP)], SortedSet, "7.0.0", Keys(sorted_sets::zmpop)),
    line("zmscore", -3, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "6.2.0", Keys(sorted_sets::zmscore)),
    line("zpopmax", -2, of(&[WRITE, FAST]), &[one(RW_POP)], SortedSet, "5.0.0", Keys(sorted_sets::zpopmax)),
    line("zpopmin", -2, of(&[WRITE, FAST]), &[one(RW_POP)], SortedSet, "5.0.0", Keys(sorted_sets::zpopmin)),
    line("zrandmember", -2, of(&[READONLY]), &[one(RO)], SortedSet, "6.2.0", Keys(sorted_sets::zrandmember)),
    line("zrange", -4, of(&[READONLY]), &[one(RO)], SortedSet, "1.2.0", Keys(zrange::zrange)),
    line("zrangebylex", -4, of(&[READONLY]), &[one(RO)], SortedSet, "2.8.9", Keys(zrange::zrangebylex)),
    line("zrangebyscore", -4, of(&[READONLY]), &[one(RO)], SortedSet, "1.0.5", Keys(zrange::zrangebyscore)),
    line("zrangestore", -5, of(&[WRITE, DENYOOM]), &[at(1, OW), at(2, RO)], SortedSet, "6.2.0", Keys(zrange::zrangestore)),
    line("zrank", -3, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "2.0.0", Keys(sorted_sets::zrank)),
    line("zrem", -3, of(&[WRITE, FAST]), &[one(RW_DELETE)], SortedSet, "1.2.0", Keys(sorted_sets::zrem)),
    line("zremrangebylex", 4, of(&[WRITE]), &[one(RW_DELETE)], SortedSet, "2.8.9", Keys(zrange::zremrangebylex)),
    line("zremrangebyrank", 4, of(&[WRITE]), &[one(RW_DELETE)], SortedSet, "2.0.0", Keys(zrange::zremrangebyrank)),
    line("zremrangebyscore", 4, of(&[WRITE]), &[one(RW_DELETE)], SortedSet, "1.2.0", Keys(zrange::zremrangebyscore)),
    line("zrevrange", -4, of(&[READONLY]), &[one(RO)], SortedSet, "1.2.0", Keys(zrange::zrevrange)),
    line("zrevrangebylex", -4, of(&[READONLY]), &[one(RO)], SortedSet, "2.8.9", Keys(zrange::zrevrangebylex)),
    line("zrevrangebyscore", -4, of(&[READONLY]), &[one(RO)], SortedSet, "2.2.0", Keys(zrange::zrevrangebyscore)),
    line("zrevrank", -3, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "2.0.0", Keys(sorted_sets::zrevrank)),
    line("zscan", -3, of(&[READONLY]), &[one(RO)], SortedSet, "2.8.0", Keys(scan::zscan)),
    line("zscore", 3, of(&[READONLY, FAST]), &[one(RO)], SortedSet, "1.2.0", Keys(sorted_sets::zscore)),
    line("zunion", -3, of(&[READONLY, MOVABLE_KEYS]), &[counted(1, RO)], SortedSet, "6.2.0", Keys(zset_algebra::zunion)),
    line("zunionstore", -4, of(&[WRITE, DENYOOM, MOVABLE_KEYS]), &[at(1, OW), counted(2, RO)], SortedSet, "2.0.0", Keys(zset_algebra::zunionstore)),
];

#[rustfmt::skip]
const ACL: &[Command] = &[
    line("acl|cat", -2, of(&[NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::cat)),
    line("acl|deluser", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::deluser)),
    line("acl|dryrun", -4, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "7.0.0", Server(acl::dryrun)),
    line("acl|genpass", -2, of(&[NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::genpass)),
    line("acl|getuser", 3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::getuser)),
    line("acl|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::help)),
    line("acl|list", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::list)),
    line("acl|load", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::load)),
    line("acl|log", -2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::log)),
    line("acl|save", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::save)),
    line("acl|setuser", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::setuser)),
    line("acl|users", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::users)),
    line("acl|whoami", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "6.0.0", Server(acl::whoami)),
];

#[rustfmt::skip]
const OBJECT: &[Command] = &[
    line("object|encoding", 3, of(&[READONLY]), &[at(2, RO_ONLY)], Generic, "2.2.3", Keys(keys::object_encoding)),
    line("object|freq", 3, of(&[READONLY]), &[at(2, RO_ONLY)], Generic, "4.0.0", Keys(keys::object_freq)),
    line("object|help", 2, of(&[LOADING, STALE]), &[], Generic, "6.2.0", Keys(keys::object_help)),
    line("object|idletime", 3, of(&[READONLY]), &[at(2, RO_ONLY)], Generic, "2.2.3", Keys(keys::object_idletime)),
    line("object|refcount", 3, of(&[READONLY]), &[at(2, RO_ONLY)], Generic, "2.2.3", Keys(keys::object_refcount)),
];

#[rustfmt::skip]
const XGROUP: &[Command] = &[
    line("xgroup|create", -5, of(&[WRITE, DENYOOM]), &[at(2, RW_INSERT)], Stream, "5.0.0", Keys(stream_groups::create)),
    line("xgroup|createconsumer", 5, of(&[WRITE, DENYOOM]), &[at(2, RW_INSERT)], Stream, "6.2.0", Keys(stream_groups::createconsumer)),
    line("xgroup|delconsumer", 5, of(&[WRITE]), &[at(2, RW_DELETE)], Stream, "5.0.0", Keys(stream_groups::delconsumer)),
    line("xgroup|destroy", 4, of(&[WRITE]), &[at(2, RW_DELETE)], Stream, "5.0.0", Keys(stream_groups::destroy)),
    line("xgroup|help", 2, of(&[LOADING, STALE]), &[], Stream, "5.0.0", Keys(stream_groups::help)),
    line("xgroup|setid", -5, of(&[WRITE]), &[at(2, RW_UPDATE)], Stream, "5.0.0", Keys(stream_groups::setid)),
];

#[rustfmt::skip]
const XINFO: &[Command] = &[
    line("xinfo|consumers", 4, of(&[READONLY]), &[at(2, RO)], Stream, "5.0.0", Keys(stream_info::consumers)),
    line("xinfo|groups", 3, of(&[READONLY]), &[at(2, RO)], Stream, "5.0.0", Keys(stream_info::groups)),
    line("xinfo|help", 2, of(&[LOADING, STALE]), &[], Stream, "5.0.0", Keys(stream_info::help)),
    line("xinfo|stream", -3, of(&[READONLY]), &[at(2, RO)], Stream, "5.0.0", Keys(stream_info::stream_info)),
];

#[rustfmt::skip]
const SCRIPT_COMMANDS: &[Command] = &[
    line("script|debug", 3, of(&[NOSCRIPT]), &[], Scripting, "3.2.0", Server(scripting::script_debug)),
    line("script|exists", -3, of(&[NOSCRIPT]), &[], Scripting, "2.6.0", Server(scripting::script_exists)),
    line("script|flush", -2, of(&[NOSCRIPT]), &[], Scripting, "2.6.0", Server(scripting::script_flush)),
    line("script|help", 2, of(&[LOADING, STALE]), &[], Scripting, "5.0.0", Server(scripting::script_help)),
    line("script|kill", 2, of(&[NOSCRIPT, ALLOW_BUSY]), &[], Scripting, "2.6.0", Server(scripting::script_kill)),
    line("script|load", 3, of(&[NOSCRIPT, STALE]), &[], Scripting, "2.6.0", Server(scripting::script_load)),
];

#[rustfmt::skip]
const FUNCTION: &[Command] = &[
    line("function|delete", 3, of(&[WRITE, NOSCRIPT]), &[], Scripting, "7.0.0", Server(functions::delete)),
    line("function|dump", 2, of(&[NOSCRIPT]), &[], Scripting, "7.0.0", Server(function_payload::dump)),
    line("function|flush", -2, of(&[WRITE, NOSCRIPT]), &[], Scripting, "7.0.0", Server(functions::flush)),
    line("function|help", 2, of(&[LOADING, STALE]), &[], Scripting, "7.0.0", Server(functions::help)),
    line("function|kill", 2, of(&[NOSCRIPT, ALLOW_BUSY]), &[], Scripting, "7.0.0", Server(functions::kill)),
    line("function|list", -2, of(&[NOSCRIPT]), &[], Scripting, "7.0.0", Server(functions::list)),
    line("function|load", -3, of(&[WRITE, DENYOOM, NOSCRIPT]), &[], Scripting, "7.0.0", Server(functions::load)),
    line("function|restore", -3, of(&[WRITE, DENYOOM, NOSCRIPT]), &[], Scripting, "7.0.0", Server(function_payload::restore)),
    line("function|stats", 2, of(&[NOSCRIPT, ALLOW_BUSY]), &[], Scripting, "7.0.0", Server(functions::stats)),
];

#[rustfmt::skip]
const PUBSUB_COMMANDS: &[Command] = &[
    line("pubsub|channels", -2, of(&[PUBSUB, LOADING, STALE]), &[], Pubsub, "2.8.0", Server(pubsub::pubsub_channels)),
    line("pubsub|help", 2, of(&[LOADING, STALE]), &[], Pubsub, "6.2.0", Server(pubsub::pubsub_help)),
    line("pubsub|numpat", 2, of(&[PUBSUB, LOADING, STALE]), &[], Pubsub, "2.8.0", Server(pubsub::pubsub_numpat)),
    line("pubsub|numsub", -2, of(&[PUBSUB, LOADING, STALE]), &[], Pubsub, "2.8.0", Server(pubsub::pubsub_numsub)),
    line("pubsub|shardchannels", -2, of(&[PUBSUB, LOADING, STALE]), &[], Pubsub, "7.0.0", Server(pubsub::pubsub_shardchannels)),
    line("pubsub|shardnumsub", -2, of(&[PUBSUB, LOADING, STALE]), &[], Pubsub, "7.0.0", Server(pubsub::pubsub_shardnumsub)),
];

#[rustfmt::skip]
const CLIENT: &[Command] = &[
    line("client|caching", 3, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "6.0.0", Server(client_tracking::caching)),
    line("client|getname", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "2.6.9", Server(client::getname)),
    line("client|getredir", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "6.0.0", Server(client_tracking::getredir)),
    line("client|help", 2, of(&[LOADING, STALE]), &[], Connection, "5.0.0", Server(client::help)),
    line("client|id", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "5.0.0", Server(client::id)),
    line("client|info", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "6.2.0", Server(client::info)),
    line("client|kill", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "2.4.0", Server(client::kill)),
    line("client|list", -2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "2.4.0", Server(client::list)),
    line("client|no-evict", 3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "7.0.0", Server(client::no_evict)),
    line("client|no-touch", 3, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "7.2.0", Server(client::no_touch)),
    line("client|pause", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "3.0.0", Server(client::pause)),
    line("client|reply", 3, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "3.2.0", Server(client::reply)),
    line("client|setinfo", 4, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "7.2.0", Server(client::setinfo)),
    line("client|setname", 3, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "2.6.9", Server(client::setname)),
    line("client|tracking", -3, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "6.0.0", Server(client_tracking::tracking)),
    line("client|trackinginfo", 2, of(&[NOSCRIPT, LOADING, STALE]), &[], Connection, "6.2.0", Server(client_tracking::trackinginfo)),
    line("client|unblock", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "5.0.0", Server(client::unblock)),
    line("client|unpause", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], Connection, "6.2.0", Server(client::unpause)),
];

#[rustfmt::skip]
const COMMAND: &[Command] = &[
    line("command|count", 2, of(&[LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(introspection::count)),
    line("command|docs", -2, of(&[LOADING, STALE]), &[], ServerGroup, "7.0.0", Server(docs::docs)),
    line("command|getkeys", -3, of(&[LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(introspection::getkeys)),
    line("command|getkeysandflags", -3, of(&[LOADING, STALE]), &[], ServerGroup, "7.0.0", Server(introspection::getkeysandflags)),
    line("command|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "5.0.0", Server(introspection::help)),
    line("command|info", -2, of(&[LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(introspection::info)),
    line("command|list", -2, of(&[LOADING, STALE]), &[], ServerGroup, "7.0.0", Server(introspection::list)),
];

#[rustfmt::skip]
const CONFIG: &[Command] = &[
    line("config|get", -3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.0.0", Server(config::get)),
    line("config|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "5.0.0", Server(config::help)),
    line("config|resetstat", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.0.0", Server(config::resetstat)),
    line("config|rewrite", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.0", Server(config::rewrite)),
    line("config|set", -4, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.0.0", Server(config::set)),
];

#[rustfmt::skip]
const LATENCY: &[Command] = &[
    line("latency|doctor", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::doctor)),
    line("latency|graph", 3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::graph)),
    line("latency|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::help)),
    line("latency|histogram", -2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "7.0.0", Server(latency::histogram)),
    line("latency|history", 3, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::history)),
    line("latency|latest", 2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::latest)),
    line("latency|reset", -2, of(&[ADMIN, NOSCRIPT, LOADING, STALE]), &[], ServerGroup, "2.8.13", Server(latency::reset)),
];

#[rustfmt::skip]
const MEMORY: &[Command] = &[
    line("memory|doctor", 2, NONE, &[], ServerGroup, "4.0.0", Server(memory::doctor)),
    line("memory|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "4.0.0", Server(memory::help)),
    line("memory|malloc-stats", 2, NONE, &[], ServerGroup, "4.0.0", Server(memory::malloc_stats)),
    line("memory|purge", 2, NONE, &[], ServerGroup, "4.0.0", Server(memory::purge)),
    line("memory|stats", 2, NONE, &[], ServerGroup, "4.0.0", Server(memory::stats)),
    line("memory|usage", -3, of(&[READONLY]), &[at(2, RO_ONLY)], ServerGroup, "4.0.0", Keys(memory::usage)),
];

#[rustfmt::skip]
const SLOWLOG: &[Command] = &[
    line("slowlog|get", -2, of(&[ADMIN, LOADING, STALE]), &[], ServerGroup, "2.2.12", Server(slowlog::get)),
    line("slowlog|help", 2, of(&[LOADING, STALE]), &[], ServerGroup, "6.2.0", Server(slowlog::help)),
    line("slowlog|len", 2, of(&[ADMIN, LOADING, STALE]), &[], ServerGroup, "2.2.12", Server(slowlog::len)),
    line("slowlog|reset", 2, of(&[ADMIN, LOADING, STALE]), &[], ServerGroup, "2.2.12", Server(slowlog::reset)),
];

#[rustfmt::skip]
const CLUSTER: &[Command] = &[
    line("cluster|addslots", -3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::addslots)),
    line("cluster|addslotsrange", -4, of(&[ADMIN, STALE]), &[], Cluster, "7.0.0", Server(cluster_admin::addslotsrange)),
    line("cluster|bumpepoch", 2, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::bumpepoch)),
    line("cluster|count-failure-reports", 3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster::count_failure_reports)),
    line("cluster|countkeysinslot", 3, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::countkeysinslot)),
    line("cluster|delslots", -3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::delslots)),
    line("cluster|delslotsrange", -4, of(&[ADMIN, STALE]), &[], Cluster, "7.0.0", Server(cluster_admin::delslotsrange)),
    line("cluster|failover", -2, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::failover)),
    line("cluster|flushslots", 2, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::flushslots)),
    line("cluster|forget", 3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::forget)),
    line("cluster|getkeysinslot", 4, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::getkeysinslot)),
    line("cluster|help", 2, of(&[LOADING, STALE]), &[], Cluster, "5.0.0", Server(cluster::help)),
    line("cluster|info", 2, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::info)),
    line("cluster|keyslot", 3, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::keyslot)),
    line("cluster|links", 2, of(&[STALE]), &[], Cluster, "7.0.0", Server(cluster::links)),
    line("cluster|meet", -4, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::meet)),
    line("cluster|myid", 2, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::myid)),
    line("cluster|myshardid", 2, of(&[STALE]), &[], Cluster, "7.2.0", Server(cluster::myshardid)),
    line("cluster|nodes", 2, of(&[STALE]), &[], Cluster, "3.0.0", Server(cluster::nodes)),
    line("cluster|replicas", 3, of(&[ADMIN, STALE]), &[], Cluster, "5.0.0", Server(cluster::replicas)),
    line("cluster|replicate", 3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::replicate)),
    line("cluster|reset", -2, of(&[ADMIN, NOSCRIPT, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::reset)),
    line("cluster|saveconfig", 2, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::saveconfig)),
    line("cluster|set-config-epoch", 3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::set_config_epoch)),
    line("cluster|setslot", -4, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster_admin::setslot)),
    line("cluster|shards", 2, of(&[LOADING, STALE]), &[], Cluster, "7.0.0", Server(cluster::shards)),
    line("cluster|slaves", 3, of(&[ADMIN, STALE]), &[], Cluster, "3.0.0", Server(cluster::replicas)),
    line("cluster|slots", 2, of(&[LOADING, STALE]), &[], Cluster, "3.0.0", Server(cluster::slots)),
];
