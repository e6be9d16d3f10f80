//! MEMORY, Redis 4.0: <https://redis.io/docs/latest/commands/?name=memory>; and the section of INFO about it.
//!
//! Numbers are estimates from the sizes of structures. The allocator is the system's, about which Redis knows as little
//! when it is built with that: what is resident counts as what it holds.

use std::fmt::Write;

use super::{Answer, Call, Session, Then, is};
use crate::error::Refusal;
use crate::state::{KEY_BYTES, Keyspace, SAMPLES, outside};

/// Below this there is nothing to be diagnosed.
const EMPTY_BYTES: u64 = 5 << 20;
/// A client that takes more than this on average is large.
const LARGE_CLIENT_BYTES: u64 = 200 << 10;
/// More scripts than this are many.
const MANY_SCRIPTS: usize = 1000;

/// What a key takes with its value, of whose elements so many are measured.
pub(super) fn usage(call: &mut Call<'_>) -> Answer {
    let mut samples = SAMPLES;
    let mut index = 3;
    while let Some(word) = call.request.get(index) {
        if !is(word, "SAMPLES") || index + 1 >= call.request.len() {
            return Err(Refusal::Syntax);
        }
        samples = match usize::try_from(call.integer(index + 1)?).map_err(|_| Refusal::Syntax)? {
            0 => usize::MAX,
            count => count,
        };
        index += 2;
    }
    let key = call.arg(2);
    match call.db.peek(key).map(|entry| entry.value.memory(samples)) {
        Some(value) => call.out.count(KEY_BYTES + outside(&crate::state::Blob::from_slice(key)) + value),
        None => call.out.null(),
    }
    Ok(Then::Done)
}

/// What an instance takes, and for what.
struct Overhead {
    used: u64,
    peak: u64,
    startup: u64,
    clients: u64,
    log: u64,
    scripts: u64,
    scripts_count: usize,
    resident: u64,
    system: u64,
    /// By database: its number, its keys, what its tables take, and what deadlines take.
    databases: Vec<(usize, usize, u64, u64)>,
}

impl Overhead {
    fn of(session: &Session<'_>) -> Overhead {
        let (id, cluster) = (session.id, &session.cluster);
        let used = cluster.used_memory(id);
        let peak = cluster.instances[id].stats.memory_peak.max(used);
        let usage = cluster.process_usage();
        let dataset = cluster.instances[id].dataset.and_then(|dataset| cluster.datasets.get(dataset));
        let describe = |(index, database): (usize, &Keyspace)| {
            (index, database.len(), (database.len() * KEY_BYTES) as u64, database.deadlines_memory())
        };
        let all = dataset.map_or(&[][..], |dataset| &dataset.databases);
        Overhead {
            used,
            peak,
            startup: cluster.startup_memory(),
            clients: cluster.clients_memory(id),
            log: dataset.and_then(|dataset| dataset.log.as_ref()).map_or(0, |log| log.capacity() as u64),
            scripts: cluster.scripts_memory(id),
            scripts_count: cluster.scripts.engine(id).map_or(0, |engine| engine.usage().0),
            resident: usage.resident_bytes,
            system: usage.system_memory_bytes,
            databases: all.iter().enumerate().filter(|(_, database)| database.len() > 0).map(describe).collect(),
        }
    }

    fn keys(&self) -> u64 {
        self.databases.iter().map(|(_, keys, ..)| *keys as u64).sum()
    }

    /// All that is not the values and names of keys.
    fn total(&self) -> u64 {
        let tables: u64 = self.databases.iter().map(|(_, _, table, deadlines)| table + deadlines).sum();
        self.startup + self.clients + self.scripts + tables
    }

    fn net(&self) -> u64 {
        self.used.saturating_sub(self.startup).max(1)
    }

    fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.total())
    }

    fn dataset_percent(&self) -> f64 {
        self.dataset() as f64 * 100.0 / self.net() as f64
    }

    fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak.max(1) as f64
    }

    /// What is resident beyond what is used: as a ratio, and in bytes.
    fn fragmentation(&self) -> (f64, i64) {
        (self.resident as f64 / self.used.max(1) as f64, self.resident as i64 - self.used as i64)
    }
}

pub(super) fn stats(session: &mut Session<'_>) -> Answer {
    let overhead = Overhead::of(session);
    let (ratio, bytes) = overhead.fragmentation();
    let out = &mut session.out;
    out.map(27 + overhead.databases.len());
    let mut number = |name: &str, value: u64| {
        out.bulk(name.as_bytes());
        out.integer(i64::try_from(value).unwrap_or(i64::MAX));
    };
    number("peak.allocated", overhead.peak);
    number("total.allocated", overhead.used);
    number("startup.allocated", overhead.startup);
    number("replication.backlog", 0);
    number("clients.slaves", 0);
    number("clients.normal", overhead.clients);
    number("cluster.links", 0);
    number("aof.buffer", overhead.log);
    number("lua.caches", overhead.scripts);
    number("functions.caches", 0);
    for (index, _, table, deadlines) in &overhead.databases {
        out.bulk(format!("db.{index}").as_bytes());
        out.map(3);
        for (name, value) in [("main", *table), ("expires", *deadlines), ("slot-to-keys", 0)] {
            out.bulk(format!("overhead.hashtable.{name}").as_bytes());
            out.integer(value as i64);
        }
    }
    let mut number = |name: &str, value: u64| {
        out.bulk(name.as_bytes());
        out.integer(i64::try_from(value).unwrap_or(i64::MAX));
    };
    number("overhead.total", overhead.total());
    number("keys.count", overhead.keys());
    number("keys.bytes-per-key", overhead.net().checked_div(overhead.keys()).unwrap_or(0));
    number("dataset.bytes", overhead.dataset());
    let mut fraction = |name: &str, value: f64| {
        out.bulk(name.as_bytes());
        out.double(value);
    };
    fraction("dataset.percentage", overhead.dataset_percent());
    fraction("peak.percentage", overhead.peak_percent());
    let resident = overhead.resident as i64;
    for (name, value) in [
        ("allocator.allocated", overhead.used as i64),
        ("allocator.active", resident),
        ("allocator.resident", resident),
    ] {
        out.bulk(name.as_bytes());
        out.integer(value);
    }
    for (name, ratio, bytes) in
        [("allocator-fragmentation", ratio, bytes), ("allocator-rss", 1.0, 0), ("rss-overhead", 1.0, 0)]
    {
        out.bulk(format!("{name}.ratio").as_bytes());
        out.double(ratio);
        out.bulk(format!("{name}.bytes").as_bytes());
        out.integer(bytes);
    }
    out.bulk(b"fragmentation");
    out.double(ratio);
    out.bulk(b"fragmentation.bytes");
    out.integer(bytes);
    Ok(Then::Done)
}

/// What the numbers say about problems.
pub(super) fn doctor(session: &mut Session<'_>) -> Answer {
    let overhead = Overhead::of(session);
    let clients = session.cluster.clients.of(session.id).len().max(1) as u64;
    let (ratio, bytes) = overhead.fragmentation();
    let mut issues = Vec::new();
    if overhead.peak as f64 / overhead.used.max(1) as f64 > 1.5 {
        issues.push("Peak memory: at some time this instance used more than 150% of the memory that it uses now.");
    }
    if ratio > 1.4 && bytes > 10 << 20 {
        issues.push(
            "High total RSS: the process has more than 1.4 times of this resident. All instances of a stack share one \
             process, and with it this number.",
        );
    }
    if overhead.clients / clients > LARGE_CLIENT_BYTES {
        issues.push("Big client buffers: clients take more than 200K each on average. CLIENT LIST shows which.");
    }
    if overhead.scripts_count > MANY_SCRIPTS {
        issues.push("Many scripts: more than 1000 are cached. Give them arguments instead of making new ones.");
    }
    let mut report = String::new();
    if overhead.used < EMPTY_BYTES {
        report.push_str(
            "Hi Sam, this instance is empty or is using very little memory, my issues detector can't be used in these \
             conditions. Please, leave for your mission on Earth and fill it with some data. The new Sam and I will be back \
             to our programming as soon as I finished rebooting.\n",
        );
    } else if issues.is_empty() {
        report.push_str(
            "Hi Sam, I can't find any memory issue in your instance. I can only account for what occurs on this base.\n",
        );
    } else {
        report.push_str("Sam, I detected a few issues in this Redis instance memory implants:\n\n");
        for issue in issues {
            // Writing into a string cannot fail.
            let _ = write!(report, " * {issue}\n\n");
        }
        report.push_str("I'm here to keep you safe, Sam. I want to help you.\n");
    }
    session.out.verbatim(&report);
    Ok(Then::Done)
}

/// As Redis answers that uses the system's allocator.
pub(super) fn malloc_stats(session: &mut Session<'_>) -> Answer {
    session.out.bulk(b"Stats not supported for the current allocator");
    Ok(Then::Done)
}

/// The system's allocator gives back what it can by itself.
pub(super) fn purge(session: &mut Session<'_>) -> Answer {
    session.out.ok();
    Ok(Then::Done)
}

pub(super) fn help(session: &mut Session<'_>) -> Answer {
    session.out.statuses(&[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        "HELP",
        "    Print this help.",
    ]);
    Ok(Then::Done)
}

/// A number of bytes as people read it.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// INFO memory.
pub(super) fn section(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let overhead = Overhead::of(session);
    let (ratio, bytes) = overhead.fragmentation();
    let Overhead { used, peak, startup, resident, system, scripts, .. } = overhead;
    let dataset = session.cluster.instances[session.id].dataset;
    let libraries = dataset.and_then(|dataset| session.cluster.datasets.get(dataset)).map(|dataset| &dataset.libraries);
    let (functions, libraries) =
        libraries.map_or((0, 0), |libraries| (libraries.functions_count(), libraries.list.len()));
    let config = &session.cluster.config;
    let memory_max = config.settings.memory_max;
    let policy = config.get("maxmemory-policy").unwrap_or_default();
    text.push_str("# Memory\r\n");
    let mut both = |name: &str, bytes: u64| write!(text, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes));
    both("used_memory", used)?;
    both("used_memory_rss", resident)?;
    both("used_memory_peak", peak)?;
    write!(
        text,
        "used_memory_peak_perc:{:.2}%\r\nused_memory_overhead:{}\r\nused_memory_startup:{startup}\r\n\
         used_memory_dataset:{}\r\nused_memory_dataset_perc:{:.2}%\r\nallocator_allocated:{used}\r\n\
         allocator_active:{resident}\r\nallocator_resident:{resident}\r\ntotal_system_memory:{system}\r\n\
         total_system_memory_human:{}\r\nused_memory_lua:{scripts}\r\nused_memory_vm_eval:{scripts}\r\n\
         used_memory_lua_human:{}\r\nused_memory_scripts_eval:0\r\nnumber_of_cached_scripts:{}\r\n\
         number_of_functions:{functions}\r\nnumber_of_libraries:{libraries}\r\nused_memory_vm_functions:0\r\n\
         used_memory_vm_total:{scripts}\r\nused_memory_vm_total_human:{}\r\nused_memory_functions:0\r\n\
         used_memory_scripts:0\r\nused_memory_scripts_human:0B\r\nmaxmemory:{memory_max}\r\nmaxmemory_human:{}\r\n\
         maxmemory_policy:{policy}\r\nallocator_frag_ratio:{ratio:.2}\r\nallocator_frag_bytes:{bytes}\r\n\
         allocator_rss_ratio:1.00\r\nallocator_rss_bytes:0\r\nrss_overhead_ratio:1.00\r\nrss_overhead_bytes:0\r\n\
         mem_fragmentation_ratio:{ratio:.2}\r\nmem_fragmentation_bytes:{bytes}\r\nmem_not_counted_for_evict:0\r\n\
         mem_replication_backlog:0\r\nmem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\n\
         mem_clients_normal:{}\r\nmem_cluster_links:0\r\nmem_aof_buffer:{}\r\nmem_allocator:libc\r\n\
         active_defrag_running:0\r\nlazyfree_pending_objects:0\r\nlazyfreed_objects:{}\r\n",
        overhead.peak_percent(),
        overhead.total(),
        overhead.dataset(),
        overhead.dataset_percent(),
        human(system),
        human(scripts),
        overhead.scripts_count,
        human(scripts),
        human(memory_max),
        overhead.clients,
        overhead.log,
        session.cluster.instances[session.id].stats.lazily_freed,
    )
}
