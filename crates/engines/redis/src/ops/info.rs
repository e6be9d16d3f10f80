//! INFO: <https://redis.io/docs/latest/commands/info/>.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Answer, Session, Then, info_stats, is, memory};
use crate::VERSION;
use crate::clients::BlockedOn;
use crate::state::Keyspace;

type Section = fn(&Session<'_>, &mut String) -> std::fmt::Result;

/// Sections in the order in which they are shown, and whether INFO shows them without being asked.
const SECTIONS: [(&str, bool, Section); 13] = [
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory::section),
    ("persistence", true, persistence),
    ("stats", true, info_stats::stats),
    ("replication", true, replication),
    ("cpu", true, info_stats::cpu),
    ("modules", true, |_, text| text.write_str("# Modules\r\n")),
    ("commandstats", false, info_stats::commands),
    ("errorstats", true, info_stats::errors),
    ("latencystats", false, info_stats::latencies),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
];

pub(super) fn info(session: &mut Session<'_>) -> Answer {
    let is_asked = |name: &str| session.request.tail(1).any(|word| is(word, name));
    let is_all = is_asked("all") || is_asked("everything");
    let is_default = session.request.len() == 1 || is_asked("default");
    session.cluster.note_memory(session.id);
    let mut text = String::new();
    for (name, is_shown, section) in SECTIONS {
        if is_all || is_default && is_shown || is_asked(name) || name == "modules" && is_asked("module_list") {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            // Writing into a string cannot fail.
            let _ = section(session, &mut text);
        }
    }
    session.out.verbatim(&text);
    Ok(Then::Done)
}

fn cluster(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    write!(text, "# Cluster\r\ncluster_enabled:{}\r\n", u8::from(session.cluster.config.settings.is_cluster))
}

fn server(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let cluster = &session.cluster;
    let instance = &cluster.instances[session.id];
    let uptime = session.ctx.now().since(instance.stats.started).as_secs();
    let mode = if cluster.config.settings.is_cluster { "cluster" } else { "standalone" };
    write!(
        text,
        "# Server\r\nredis_version:{VERSION}\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_mode:{mode}\r\n\
         os:{}\r\narch_bits:{}\r\nmonotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:epoll\r\nprocess_id:{}\r\n\
         process_supervised:no\r\nrun_id:{}\r\ntcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime}\r\n\
         uptime_in_days:{}\r\nhz:10\r\nconfigured_hz:{}\r\nlru_clock:{}\r\nexecutable:atoll\r\nconfig_file:\r\n\
         io_threads_active:0\r\n{}",
        cluster.process_usage().system,
        usize::BITS,
        std::process::id(),
        instance.name,
        if instance.port == 0 { instance.tls_port } else { instance.port },
        session.ctx.wall(instance.node).as_millis() * 1000,
        uptime / 86_400,
        cluster.config.get("hz").unwrap_or_default(),
        session.ctx.wall(instance.node).as_millis().div_euclid(1000) & 0xff_ffff,
        listeners(session),
    )
}

/// Redis numbers its kinds of listeners: plain ones, sockets of the file system, TLS.
fn listeners(session: &Session<'_>) -> String {
    let (cluster, instance) = (&session.cluster, &session.cluster.instances[session.id]);
    let (address, _) = cluster.advertised(session.ctx, session.id, cluster.clients.list[session.client].access());
    let kinds = [(0, "tcp", instance.port), (2, "tls", instance.tls_port)];
    let line = |(number, name, port)| format!("listener{number}:name={name},bind={address},port={port}\r\n");
    kinds.into_iter().filter(|(_, _, port)| *port != 0).map(line).collect()
}

fn clients(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let own = session.cluster.clients.list.iter().filter(|(_, client)| client.instance == session.id);
    let (mut connected, mut blocked, mut timed, mut subscribed) = (0, 0, 0, 0);
    let mut awaited_without_key = BTreeSet::new();
    for (_, client) in own {
        if let Some(BlockedOn::Keys { keys, request }) = client.blocked.as_ref().map(|blocked| &blocked.on)
            && super::is(request.as_request().arg(0), "XREADGROUP")
        {
            awaited_without_key.extend(keys);
        }
        connected += 1;
        blocked += usize::from(client.blocked.is_some());
        timed += usize::from(client.blocked.as_ref().is_some_and(|blocked| blocked.deadline.is_some()));
        subscribed += usize::from(client.subscriptions() > 0);
    }
    write!(
        text,
        "# Clients\r\nconnected_clients:{connected}\r\ncluster_connections:{}\r\nmaxclients:{}\r\n\
         blocked_clients:{blocked}\r\ntracking_clients:{}\r\npubsub_clients:{subscribed}\r\n\
         clients_in_timeout_table:{}\r\ntotal_blocking_keys:{}\r\ntotal_blocking_keys_on_nokey:{}\r\n",
        (session.cluster.instances.len() - 1) * 2,
        session.cluster.config.settings.clients_max,
        session.cluster.instances[session.id].tracking.clients,
        timed,
        session.cluster.instances[session.id].interest.awaited.len(),
        awaited_without_key.len(),
    )
}

fn persistence(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let cluster = &session.cluster;
    let instance = &cluster.instances[session.id];
    let is_loading = instance.loading_until.is_some_and(|until| until > session.ctx.now());
    let began = instance.dataset.and_then(|dataset| cluster.save_began(dataset));
    write!(
        text,
        "# Persistence\r\nloading:{}\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\n\
         current_cow_size_age:0\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\nrdb_bgsave_in_progress:{}\r\n\
         rdb_current_bgsave_time_sec:{}\r\n",
        u8::from(is_loading),
        u8::from(began.is_some()),
        began.map_or(-1, |began| session.ctx.now().since(began).as_secs() as i64),
    )?;
    if let Some(saves) = instance.dataset.map(|dataset| &cluster.datasets[dataset].saves) {
        write!(
            text,
            "rdb_changes_since_last_save:{}\r\nrdb_last_save_time:{}\r\nrdb_last_bgsave_status:{}\r\n\
             rdb_last_bgsave_time_sec:{}\r\nrdb_saves:{}\r\nrdb_last_cow_size:0\r\n",
            saves.changes,
            saves.succeeded_at_s,
            if saves.has_failed { "err" } else { "ok" },
            saves.seconds.map_or(-1, |seconds| seconds as i64),
            saves.completed,
        )?;
    }
    write!(
        text,
        "aof_enabled:{}\r\naof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\naof_last_bgrewrite_status:ok\r\n\
         aof_last_write_status:{}\r\n",
        u8::from(cluster.config.settings.has_log),
        if cluster.log_failure.is_some() { "err" } else { "ok" },
    )
}

fn replication(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let (cluster, ctx) = (&session.cluster, session.ctx);
    let instance = &cluster.instances[session.id];
    let peer = cluster.clients.list[session.client].peer;
    let position = cluster.offset_of(session.id);
    write!(text, "# Replication\r\nrole:{}\r\n", if cluster.follows(session.id) { "slave" } else { "master" })?;
    if let Some(master) = instance.link.master {
        let (ip, port) = cluster.advertised_to_replicas(ctx, master, peer);
        let is_up = instance.link.is_up;
        write!(
            text,
            "master_host:{ip}\r\nmaster_port:{port}\r\nmaster_link_status:{}\r\nmaster_last_io_seconds_ago:{}\r\n\
             master_sync_in_progress:0\r\nslave_read_repl_offset:{position}\r\nslave_repl_offset:{position}\r\n",
            if is_up { "up" } else { "down" },
            if is_up { instance.link.silence(ctx.now()).as_secs() as i64 } else { -1 },
        )?;
        if let Some(down_for) = instance.link.down_for(ctx.now()) {
            write!(text, "master_link_down_since_seconds:{}\r\n", down_for.as_secs())?;
        }
        write!(text, "slave_priority:100\r\nslave_read_only:1\r\nreplica_announced:1\r\n")?;
    }
    if instance.upstream.is_some() {
        upstream(session, text)?;
    }
    let others = cluster.replica_clients(session.id).count();
    write!(text, "connected_slaves:{}\r\n", instance.attached.len() + others)?;
    for (number, (replica, attached)) in instance.attached.iter().enumerate() {
        let (ip, port) = cluster.advertised_to_replicas(ctx, *replica, peer);
        let is_lockstep = instance.dataset.is_some_and(|dataset| cluster.datasets[dataset].is_lockstep);
        let (offset, lag) = if is_lockstep {
            (position, 0)
        } else {
            (attached.acknowledged, ctx.now().since(attached.acknowledged_at).as_secs())
        };
        write!(text, "slave{number}:ip={ip},port={port},state=online,offset={offset},lag={lag}\r\n")?;
    }
    for (number, (place, replica)) in (instance.attached.len()..).zip(cluster.replica_clients(session.id)) {
        let lag = if replica.state() == "online" { ctx.now().since(replica.acknowledged_at).as_secs() } else { 0 };
        write!(
            text,
            "slave{number}:ip={},port={},state={},offset={},lag={lag}\r\n",
            cluster.replica_address(place),
            replica.listening_port,
            replica.state(),
            replica.acknowledged,
        )?;
    }
    backlog(session, text)
}

/// The real master that a single server follows.
fn upstream(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let (cluster, ctx) = (&session.cluster, session.ctx);
    let Some(upstream) = cluster.instances[session.id].upstream.as_deref() else { return Ok(()) };
    let position = cluster.offset_of(session.id);
    let progress = upstream.source.snapshot_progress();
    let heard = ctx.now().since(upstream.heard_at).as_secs().cast_signed();
    write!(
        text,
        "master_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\nmaster_last_io_seconds_ago:{}\r\n\
         master_sync_in_progress:{}\r\nslave_read_repl_offset:{position}\r\nslave_repl_offset:{position}\r\n",
        upstream.host,
        upstream.port,
        if upstream.is_up() { "up" } else { "down" },
        if upstream.is_up() { heard } else { -1 },
        u8::from(progress.is_some()),
    )?;
    if let Some(bytes) = progress {
        write!(text, "master_sync_read_bytes:{bytes}\r\n")?;
    }
    if let Some(since) = upstream.down_since.filter(|_| !upstream.is_up()) {
        write!(text, "master_link_down_since_seconds:{}\r\n", ctx.now().since(since).as_secs())?;
    }
    let is_read_only = u8::from(cluster.config.get("replica-read-only") == Some("yes"));
    write!(text, "slave_priority:100\r\nslave_read_only:{is_read_only}\r\nreplica_announced:1\r\n")
}

/// The history and what is kept of it.
fn backlog(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    let cluster = &session.cluster;
    let position = cluster.offset_of(session.id);
    let nothing = ("0".repeat(40), -1);
    let previous = cluster.previous_history(session.id);
    let (name, end) = previous.map_or(nothing, |(name, end)| (name.clone(), end.cast_signed()));
    let feed = cluster.instances[session.id].dataset.map(|dataset| &cluster.datasets[dataset].feed);
    let kept = feed.map_or(0, |feed| feed.kept());
    let is_active = feed.is_some_and(|feed| feed.is_active()) || !cluster.instances[session.id].attached.is_empty();
    write!(
        text,
        "master_failover_state:{}\r\nmaster_replid:{}\r\n\
         master_replid2:{name}\r\nmaster_repl_offset:{position}\r\nsecond_repl_offset:{end}\r\n\
         repl_backlog_active:{}\r\nrepl_backlog_size:{}\r\nrepl_backlog_first_byte_offset:{}\r\n\
         repl_backlog_histlen:{kept}\r\n",
        cluster.failover_state(),
        cluster.replication_name(session.id),
        u8::from(is_active),
        cluster.config.settings.repl_backlog,
        if is_active { (position + 1).saturating_sub(kept) } else { 0 },
    )
}

fn keyspace(session: &Session<'_>, text: &mut String) -> std::fmt::Result {
    write!(text, "# Keyspace\r\n")?;
    let dataset = session.cluster.instances[session.id].dataset;
    let databases = dataset.map_or(&[][..], |dataset| &session.cluster.datasets[dataset].databases);
    for (index, database) in databases.iter().enumerate().filter(|(_, database)| database.len() > 0) {
        let expiring = Keyspace::expiring(database);
        write!(text, "db{index}:keys={},expires={expiring},avg_ttl=0\r\n", database.len())?;
    }
    Ok(())
}
