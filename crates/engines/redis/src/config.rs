//! Options of redis.conf: their names, types, defaults, and which may be changed at run time.

mod accepted;
mod check;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _};

pub(crate) use accepted::{ACCEPTED, FIXED};
pub(crate) use check::{MemoryLimit, ORDINARY, OutputLimit, REPLICAS, SUBSCRIBERS, memory};
use check::{check, memory_limit, output_limits, save_points};
pub(crate) use tls::{ClientCertificates, REFUSED as TLS_REFUSED, TlsSettings};

use crate::acl::{Defaults, RuleError, User, has_spaces};
use crate::notify;
use crate::state::{Policy, Thresholds};
use crate::wire::split_line;

/// What an option's value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// `yes` or `no`.
    YesNo,
    /// A whole number between two bounds, both included.
    Integer(i64, i64),
    /// A number of bytes, with an optional unit such as `mb`.
    Memory,
    /// The same between two bounds, both included.
    MemoryBetween(u64, u64),
    /// A number of bytes, or a percentage up to the bound, which is negative as in Redis.
    MemoryOrPercent(i64),
    /// A whole number in octal digits.
    Octal(i64, i64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Some of these words; the first stands for none of the others.
    Words(&'static [&'static str]),
    /// Anything.
    Text,
}

/// One option of redis.conf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: OptionKind,
    /// Redis's default.
    pub default: &'static str,
    /// True if CONFIG SET may change it.
    pub is_mutable: bool,
    /// True if Redis can change it and Atoll cannot: CONFIG SET may set it to what it is.
    pub is_kept: bool,
    /// True if CONFIG SET may only where `enable-protected-configs` allows it.
    pub is_protected: bool,
    /// True if CONFIG GET shows it only to those who name it.
    pub is_hidden: bool,
}

use OptionKind::{Choice, Integer, Memory, MemoryBetween, MemoryOrPercent, Text, YesNo};

const fn fixed(name: &'static str, kind: OptionKind, default: &'static str) -> OptionInfo {
    OptionInfo { name, kind, default, is_mutable: false, is_kept: false, is_protected: false, is_hidden: false }
}

const fn kept(name: &'static str, kind: OptionKind, default: &'static str) -> OptionInfo {
    OptionInfo { is_kept: true, ..fixed(name, kind, default) }
}

const fn mutable(name: &'static str, kind: OptionKind, default: &'static str) -> OptionInfo {
    OptionInfo { is_mutable: true, ..fixed(name, kind, default) }
}

const fn protected(name: &'static str, kind: OptionKind, default: &'static str) -> OptionInfo {
    OptionInfo { is_protected: true, ..mutable(name, kind, default) }
}

const fn hidden(name: &'static str, kind: OptionKind, default: &'static str) -> OptionInfo {
    OptionInfo { is_hidden: true, ..mutable(name, kind, default) }
}

const INT: OptionKind = Integer(0, i32::MAX as i64);
const LONG: OptionKind = Integer(0, i64::MAX);
const LONG_MEMORY: OptionKind = MemoryBetween(0, i64::MAX as u64);
const POLICIES: OptionKind = Choice(&[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
]);

/// The options that do something, in the order of their names. `config/accepted.rs` has the others.
pub const OPTIONS: &[OptionInfo] = &[
    mutable("acl-pubsub-default", Choice(&["allchannels", "resetchannels"]), "resetchannels"),
    fixed("aclfile", Text, ""),
    mutable("acllog-max-len", Integer(0, i64::MAX), "128"),
    mutable("appendfsync", Choice(&["everysec", "always", "no"]), "everysec"),
    kept("appendonly", YesNo, "no"),
    mutable("busy-reply-threshold", LONG, "5000"),
    mutable("client-query-buffer-limit", MemoryBetween(1 << 20, i64::MAX as u64), "1073741824"),
    mutable("client-output-buffer-limit", Text, "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
    mutable("cluster-allow-pubsubshard-when-down", YesNo, "yes"),
    mutable("cluster-allow-replica-migration", YesNo, "yes"),
    mutable("cluster-allow-reads-when-down", YesNo, "no"),
    fixed("cluster-enabled", YesNo, "yes"),
    mutable("cluster-node-timeout", Integer(0, i64::MAX), "15000"),
    mutable("cluster-replica-no-failover", YesNo, "no"),
    mutable("cluster-replica-validity-factor", INT, "10"),
    mutable("cluster-require-full-coverage", YesNo, "yes"),
    fixed("databases", Integer(1, 1024), "16"),
    protected("dbfilename", Text, "dump.rdb"),
    protected("dir", Text, ""),
    fixed("enable-debug-command", Choice(&["no", "yes", "local"]), "no"),
    fixed("enable-protected-configs", Choice(&["no", "yes", "local"]), "no"),
    mutable("hash-max-listpack-entries", LONG, "512"),
    mutable("hash-max-listpack-value", LONG_MEMORY, "64"),
    mutable("hll-sparse-max-bytes", LONG_MEMORY, "3000"),
    mutable("latency-monitor-threshold", LONG, "0"),
    mutable("latency-tracking", YesNo, "yes"),
    mutable("latency-tracking-info-percentiles", Text, "50 99 99.9"),
    mutable("lazyfree-lazy-eviction", YesNo, "no"),
    mutable("lfu-decay-time", INT, "1"),
    mutable("lfu-log-factor", INT, "10"),
    mutable("list-max-listpack-size", Integer(i32::MIN as i64, i32::MAX as i64), "-2"),
    mutable("masterauth", Text, ""),
    mutable("masteruser", Text, ""),
    mutable("maxclients", Integer(1, u32::MAX as i64), "10000"),
    mutable("maxmemory", Memory, "0"),
    mutable("maxmemory-policy", POLICIES, "noeviction"),
    mutable("maxmemory-clients", MemoryOrPercent(-100), "0"),
    mutable("maxmemory-eviction-tenacity", Integer(0, 100), "10"),
    mutable("maxmemory-samples", Integer(1, i32::MAX as i64), "5"),
    mutable("min-replicas-max-lag", INT, "10"),
    mutable("min-replicas-to-write", INT, "0"),
    mutable("notify-keyspace-events", Text, ""),
    kept("port", Integer(0, 65535), "6379"),
    mutable("proto-max-bulk-len", MemoryBetween(1 << 20, i64::MAX as u64), "536870912"),
    mutable("rdb-save-incremental-fsync", YesNo, "yes"),
    mutable("rdbchecksum", YesNo, "yes"),
    mutable("rdbcompression", YesNo, "yes"),
    mutable("repl-backlog-size", MemoryBetween(1, i64::MAX as u64), "1048576"),
    mutable("repl-backlog-ttl", LONG, "3600"),
    mutable("repl-diskless-sync", YesNo, "yes"),
    mutable("repl-diskless-sync-delay", INT, "5"),
    mutable("repl-ping-replica-period", Integer(1, i32::MAX as i64), "10"),
    mutable("repl-timeout", Integer(1, i32::MAX as i64), "60"),
    mutable("replica-announce-ip", Text, ""),
    mutable("replica-announce-port", Integer(0, 65535), "0"),
    mutable("replica-read-only", YesNo, "yes"),
    mutable("replica-serve-stale-data", YesNo, "yes"),
    fixed("replicaof", Text, ""),
    mutable("requirepass", Text, ""),
    mutable("save", Text, ""),
    mutable("set-max-intset-entries", LONG, "512"),
    mutable("set-max-listpack-entries", LONG, "128"),
    mutable("set-max-listpack-value", LONG, "64"),
    mutable("slowlog-log-slower-than", Integer(-1, i64::MAX), "10000"),
    mutable("slowlog-max-len", LONG, "128"),
    mutable("stop-writes-on-bgsave-error", YesNo, "yes"),
    mutable("stream-node-max-bytes", LONG_MEMORY, "4096"),
    mutable("stream-node-max-entries", LONG, "100"),
    mutable("tcp-keepalive", INT, "300"),
    mutable("timeout", INT, "0"),
    mutable("tls-auth-clients", Choice(&["no", "yes", "optional"]), "yes"),
    fixed("tls-ca-cert-dir", Text, ""),
    fixed("tls-ca-cert-file", Text, ""),
    fixed("tls-cert-file", Text, ""),
    mutable("tls-ciphersuites", Text, ""),
    fixed("tls-client-cert-file", Text, ""),
    fixed("tls-client-key-file", Text, ""),
    mutable("tls-cluster", YesNo, "no"),
    fixed("tls-key-file", Text, ""),
    kept("tls-port", Integer(0, 65535), "0"),
    mutable("tls-prefer-server-ciphers", YesNo, "no"),
    mutable("tls-protocols", Text, ""),
    mutable("tls-replication", YesNo, "no"),
    mutable("tls-session-caching", YesNo, "yes"),
    mutable("tracking-table-max-keys", Integer(0, i64::MAX), "1000000"),
    mutable("zset-max-listpack-entries", LONG, "128"),
    mutable("zset-max-listpack-value", LONG_MEMORY, "64"),
];

/// Names that older configuration files use.
const ALIASES: &[(&str, &str)] = &[
    ("cluster-slave-validity-factor", "cluster-replica-validity-factor"),
    ("cluster-slave-no-failover", "cluster-replica-no-failover"),
    ("hash-max-ziplist-entries", "hash-max-listpack-entries"),
    ("hash-max-ziplist-value", "hash-max-listpack-value"),
    ("lua-time-limit", "busy-reply-threshold"),
    ("list-max-ziplist-size", "list-max-listpack-size"),
    ("min-slaves-max-lag", "min-replicas-max-lag"),
    ("min-slaves-to-write", "min-replicas-to-write"),
    ("repl-ping-slave-period", "repl-ping-replica-period"),
    ("slave-announce-ip", "replica-announce-ip"),
    ("slave-announce-port", "replica-announce-port"),
    ("slave-ignore-maxmemory", "replica-ignore-maxmemory"),
    ("slave-lazy-flush", "replica-lazy-flush"),
    ("slave-priority", "replica-priority"),
    ("slave-read-only", "replica-read-only"),
    ("slave-serve-stale-data", "replica-serve-stale-data"),
    ("slaveof", "replicaof"),
    ("zset-max-ziplist-entries", "zset-max-listpack-entries"),
    ("zset-max-ziplist-value", "zset-max-listpack-value"),
];

/// Not an option that has one value: each adds a user.
const USER: &str = "user";

/// Why an option cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// There is no option of this name.
    Unknown(String),
    /// The value does not suit the option.
    Invalid {
        /// The option.
        name: &'static str,
        /// What Redis says about it.
        reason: String,
    },
    /// It can only be set before the start.
    Immutable(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unknown(name) => write!(f, "unknown option '{name}'"),
            ConfigError::Invalid { name, reason } => write!(f, "{name}: {reason}"),
            ConfigError::Immutable(name) => write!(f, "{name}: can't set immutable config"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// When the append-only file is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendFsync {
    /// Before a write is acknowledged.
    Always,
    /// Once a second.
    EverySecond,
    /// When the operating system likes.
    No,
}

/// A whole configuration. Every option has a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<&'static str, String>,
    pub(crate) settings: Settings,
}

/// A user of the configuration: its name and its rules.
pub(crate) type ConfiguredUser = (Vec<u8>, Vec<Vec<u8>>);

/// The options that the engine looks at, in their own types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) is_cluster: bool,
    pub(crate) has_log: bool,
    pub(crate) append_fsync: AppendFsync,
    pub(crate) databases: usize,
    pub(crate) node_timeout: Duration,
    pub(crate) validity_factor: u32,
    pub(crate) no_failover: bool,
    pub(crate) require_full_coverage: bool,
    pub(crate) reads_when_down: bool,
    pub(crate) pubsubshard_when_down: bool,
    pub(crate) replica_migration: bool,
    pub(crate) min_replicas: usize,
    pub(crate) min_replicas_lag: Duration,
    pub(crate) repl_timeout: Duration,
    pub(crate) repl_ping_period: Duration,
    pub(crate) repl_backlog: u64,
    pub(crate) repl_backlog_lifetime: Duration,
    pub(crate) full_sync_delay: Duration,
    pub(crate) syncs_diskless: bool,
    pub(crate) serves_stale: bool,
    pub(crate) password: Vec<u8>,
    pub(crate) bulk_length_max: u64,
    pub(crate) query_buffer_max: u64,
    pub(crate) clients_max: usize,
    pub(crate) tracked_keys_max: usize,
    pub(crate) idle_timeout: Option<Duration>,
    /// `tcp-keepalive`.
    pub(crate) keep_alive: Option<Duration>,
    /// Of ordinary clients, replicas and subscribers.
    pub(crate) output_limits: [OutputLimit; 3],
    pub(crate) thresholds: Thresholds,
    /// `rdbcompression` and `rdbchecksum`.
    pub(crate) dumps_compressed: bool,
    /// After how many milliseconds a script is slow; 0: never.
    pub(crate) script_limit_ms: u64,
    pub(crate) dumps_checked: bool,
    /// `save`: after so many seconds, if there were so many changes.
    pub(crate) save_points: Vec<(u64, u64)>,
    pub(crate) stops_on_save_error: bool,
    /// `notify-keyspace-events`.
    pub(crate) notified: u32,
    pub(crate) port: u16,
    pub(crate) tls: TlsSettings,
    /// `slowlog-log-slower-than` in nanoseconds; None: nothing is logged.
    pub(crate) slow_ns: Option<u64>,
    pub(crate) slowlog_length_max: usize,
    /// `latency-monitor-threshold`; 0: nothing is monitored.
    pub(crate) latency_threshold_ms: u64,
    /// A command that takes no longer than this interests neither the slow log nor the monitor of latency.
    pub(crate) notable_ns: u64,
    pub(crate) latency_tracking: bool,
    pub(crate) acl: AclSettings,
    /// `maxmemory` in bytes; 0: there is no limit.
    pub(crate) memory_max: u64,
    /// `maxmemory-clients`; 0: there is no limit.
    pub(crate) clients_memory_max: MemoryLimit,
    pub(crate) eviction: Policy,
    /// `maxmemory-samples`.
    pub(crate) eviction_samples: usize,
    /// How long a command may wait for evictions.
    pub(crate) eviction_time: Duration,
    /// `lazyfree-lazy-eviction`.
    pub(crate) evicts_lazily: bool,
    pub(crate) lfu_log_factor: u32,
    pub(crate) lfu_decay_minutes: i64,
}

/// The options about users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AclSettings {
    /// `acl-pubsub-default`: what new users begin with.
    pub(crate) defaults: Defaults,
    pub(crate) file: String,
    pub(crate) log_length_max: usize,
    /// `user`.
    pub(crate) users: Vec<ConfiguredUser>,
}

impl Default for Config {
    fn default() -> Config {
        let values: BTreeMap<&'static str, String> =
            every_option().map(|option| (option.name, option.default.to_owned())).collect();
        Config { settings: settings(&values), values }
    }
}

impl Config {
    /// Sets an option before the start.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        if name.eq_ignore_ascii_case(USER) {
            return self.add_user(value);
        }
        let option = option(name).ok_or_else(|| ConfigError::Unknown(name.to_owned()))?;
        let present = self.values.get(option.name).map(String::as_str).unwrap_or_default();
        let value = check(option, value, present)?;
        let before = self.values.insert(option.name, value);
        if option.name.starts_with("tls-")
            && let Err(reason) = tls::check(&self.values)
        {
            self.values.extend(before.map(|before| (option.name, before)));
            return Err(ConfigError::Invalid { name: option.name, reason });
        }
        let users = std::mem::take(&mut self.settings.acl.users);
        self.settings = settings(&self.values);
        self.settings.acl.users = users;
        Ok(())
    }

    /// `user NAME RULE…`.
    fn add_user(&mut self, value: &str) -> Result<(), ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { name: USER, reason };
        let words = split_line(value.as_bytes()).ok_or_else(|| invalid("unbalanced quotes".to_owned()))?;
        let Some((name, rules)) = words.split_first() else {
            return Err(invalid("wrong number of arguments".to_owned()));
        };
        let declared = |word: &[u8], error: RuleError| {
            invalid(format!("Error in user declaration '{}': {error}", String::from_utf8_lossy(word)))
        };
        if self.settings.acl.users.iter().any(|(known, _)| known == name) {
            return Err(declared(name, RuleError::DuplicateUser));
        }
        if has_spaces(name) {
            return Err(invalid("Spaces not allowed in ACL usernames".to_owned()));
        }
        self.settings.acl.users.push((name.clone(), rules.to_vec()));
        Ok(())
    }

    /// What is wrong with the users that are configured, if anything is. Their rules depend on other options.
    pub(crate) fn check_users(&self) -> Result<(), ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { name: USER, reason };
        let settings = &self.settings.acl;
        if !settings.file.is_empty() && !settings.users.is_empty() {
            return Err(invalid(
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is invalid."
                    .to_owned(),
            ));
        }
        for (name, rules) in &settings.users {
            let mut user = User::new(name, settings.defaults);
            user.apply_all(rules.iter().map(Vec::as_slice), settings.defaults)
                .map_err(|error| invalid(format!("{}: {}", user.display_name(), error.line())))?;
        }
        Ok(())
    }

    /// Sets an option at run time, as CONFIG SET does.
    pub fn set_live(&mut self, name: &str, value: &str) -> Result<(), ConfigError> {
        match option(name) {
            Some(option) if !option.is_mutable => Err(ConfigError::Immutable(option.name)),
            // Files stay where they are.
            Some(option) if option.name == "dir" && self.get("dir") != Some(value) => {
                Err(ConfigError::Immutable(option.name))
            }
            None => Err(ConfigError::Unknown(name.to_owned())),
            Some(_) => self.set(name, value),
        }
    }

    /// Says in which directory files are, which is not for clients to choose.
    pub(crate) fn set_directory(&mut self, path: String) {
        self.values.insert("dir", path);
    }

    /// True if there is TLS on some listener or link, so that a certificate is needed.
    pub fn uses_tls(&self) -> bool {
        self.settings.tls.is_used()
    }

    /// What no single option is to blame for: ports that are in each other's way.
    pub fn trouble(&self) -> Option<String> {
        tls::port_trouble(&self.settings)
    }

    /// The value of an option; None if there is no such option.
    pub fn get(&self, name: &str) -> Option<&str> {
        option(name).and_then(|option| self.values.get(option.name)).map(String::as_str)
    }

    /// All options with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }
}

impl<'de> Deserialize<'de> for Config {
    /// From a map of option names to strings, numbers or booleans. Unknown options are an error.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Config, D::Error> {
        let map = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let mut config = Config::default();
        let several = |value: serde_json::Value| match value {
            serde_json::Value::Array(values) => values,
            value => vec![value],
        };
        for (name, value) in
            map.into_iter().flat_map(|(name, value)| several(value).into_iter().map(move |value| (name.clone(), value)))
        {
            let value = match value {
                serde_json::Value::String(text) => text,
                serde_json::Value::Bool(true) => "yes".to_owned(),
                serde_json::Value::Bool(false) => "no".to_owned(),
                other => other.to_string(),
            };
            config.set(&name, &value).map_err(D::Error::custom)?;
        }
        config.check_users().map_err(D::Error::custom)?;
        config.trouble().map_or(Ok(config), |reason| Err(D::Error::custom(reason)))
    }
}

/// The option of this name, in any case, or of which this is an older name.
pub fn option(name: &str) -> Option<&'static OptionInfo> {
    let name = name.to_ascii_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, present)| present);
    every_option().find(|option| option.name == name)
}

/// Every option, with an effect or without.
pub fn every_option() -> impl Iterator<Item = &'static OptionInfo> {
    OPTIONS.iter().chain(ACCEPTED).chain(FIXED)
}

/// Older names of options, each with the present one.
pub(crate) fn aliases() -> &'static [(&'static str, &'static str)] {
    ALIASES
}

/// Percentiles, as many as there are words.
pub(crate) fn percentiles(text: &str) -> Option<Vec<f64>> {
    text.split_ascii_whitespace().map(|word| word.parse().ok().filter(|number: &f64| !number.is_nan())).collect()
}

/// Up to six decimals, without the zeros at the end.
pub(crate) fn format_percentile(number: f64) -> String {
    let text = format!("{number:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn acl_settings(values: &BTreeMap<&'static str, String>) -> AclSettings {
    let text = |name: &str| values.get(name).map(String::as_str).unwrap_or_default();
    AclSettings {
        defaults: Defaults { all_channels: text("acl-pubsub-default") == "allchannels" },
        file: text("aclfile").to_owned(),
        log_length_max: text("acllog-max-len").parse().unwrap_or_default(),
        users: Vec::new(),
    }
}

/// Reads the typed settings out of values that have been checked.
fn settings(values: &BTreeMap<&'static str, String>) -> Settings {
    let text = |name: &str| values.get(name).map(String::as_str).unwrap_or_default();
    let yes = |name| text(name) == "yes";
    let number = |name| text(name).parse::<i64>().unwrap_or_default();
    let size = |name| usize::try_from(number(name)).unwrap_or_default();
    let bytes = |name| text(name).parse::<u64>().unwrap_or_default();
    let millis = |name| Duration::from_millis(bytes(name));
    let seconds = |name| Duration::from_secs(bytes(name));
    let slow_ns = u64::try_from(number("slowlog-log-slower-than")).ok().map(|micros| micros.saturating_mul(1000));
    let latency_threshold_ms = bytes("latency-monitor-threshold");
    let monitored_ns = (latency_threshold_ms > 0).then(|| latency_threshold_ms.saturating_mul(1_000_000));
    Settings {
        is_cluster: yes("cluster-enabled"),
        has_log: yes("appendonly"),
        append_fsync: match text("appendfsync") {
            "always" => AppendFsync::Always,
            "no" => AppendFsync::No,
            _ => AppendFsync::EverySecond,
        },
        databases: if yes("cluster-enabled") { 1 } else { size("databases") },
        node_timeout: millis("cluster-node-timeout"),
        validity_factor: u32::try_from(number("cluster-replica-validity-factor")).unwrap_or_default(),
        no_failover: yes("cluster-replica-no-failover"),
        require_full_coverage: yes("cluster-require-full-coverage"),
        reads_when_down: yes("cluster-allow-reads-when-down"),
        replica_migration: yes("cluster-allow-replica-migration"),
        pubsubshard_when_down: yes("cluster-allow-pubsubshard-when-down"),
        min_replicas: size("min-replicas-to-write"),
        min_replicas_lag: seconds("min-replicas-max-lag"),
        repl_timeout: seconds("repl-timeout"),
        repl_ping_period: seconds("repl-ping-replica-period"),
        repl_backlog: bytes("repl-backlog-size"),
        repl_backlog_lifetime: seconds("repl-backlog-ttl"),
        syncs_diskless: yes("repl-diskless-sync"),
        full_sync_delay: seconds("repl-diskless-sync-delay"),
        serves_stale: yes("replica-serve-stale-data"),
        password: text("requirepass").as_bytes().to_vec(),
        bulk_length_max: bytes("proto-max-bulk-len"),
        query_buffer_max: bytes("client-query-buffer-limit"),
        clients_max: size("maxclients"),
        tracked_keys_max: size("tracking-table-max-keys"),
        idle_timeout: Some(seconds("timeout")).filter(|timeout| !timeout.is_zero()),
        keep_alive: Some(seconds("tcp-keepalive")).filter(|period| !period.is_zero()),
        output_limits: output_limits(text("client-output-buffer-limit")),
        thresholds: thresholds(values),
        dumps_compressed: yes("rdbcompression"),
        script_limit_ms: bytes("busy-reply-threshold"),
        dumps_checked: yes("rdbchecksum"),
        save_points: save_points(text("save")).unwrap_or_default(),
        stops_on_save_error: yes("stop-writes-on-bgsave-error"),
        notified: notify::parse_classes(text("notify-keyspace-events")).unwrap_or_default(),
        port: u16::try_from(number("port")).unwrap_or(6379),
        tls: TlsSettings::of(values),
        slow_ns,
        slowlog_length_max: size("slowlog-max-len"),
        latency_threshold_ms,
        notable_ns: slow_ns.into_iter().chain(monitored_ns).min().unwrap_or(u64::MAX),
        latency_tracking: yes("latency-tracking"),
        acl: acl_settings(values),
        memory_max: bytes("maxmemory"),
        clients_memory_max: memory_limit(text("maxmemory-clients")).unwrap_or(MemoryLimit::Bytes(0)),
        eviction: Policy::named(text("maxmemory-policy")),
        eviction_samples: size("maxmemory-samples"),
        eviction_time: crate::core::eviction_time_limit(number("maxmemory-eviction-tenacity")),
        evicts_lazily: yes("lazyfree-lazy-eviction"),
        lfu_log_factor: u32::try_from(number("lfu-log-factor")).unwrap_or_default(),
        lfu_decay_minutes: number("lfu-decay-time"),
    }
}

/// Where encodings change.
fn thresholds(values: &BTreeMap<&'static str, String>) -> Thresholds {
    let number = |name: &str| values.get(name).and_then(|text| text.parse::<i64>().ok()).unwrap_or_default();
    let size = |name| usize::try_from(number(name)).unwrap_or_default();
    Thresholds {
        hash_entries_max: size("hash-max-listpack-entries"),
        hash_value_max: size("hash-max-listpack-value"),
        set_ints_max: size("set-max-intset-entries"),
        set_entries_max: size("set-max-listpack-entries"),
        set_value_max: size("set-max-listpack-value"),
        zset_entries_max: size("zset-max-listpack-entries"),
        zset_value_max: size("zset-max-listpack-value"),
        hll_sparse_bytes_max: size("hll-sparse-max-bytes"),
        stream_node_bytes_max: size("stream-node-max-bytes"),
        stream_node_entries_max: size("stream-node-max-entries"),
        list_size_max: number("list-max-listpack-size"),
    }
}
