//! The sections of INFO about what was done and how long it took: stats, cpu, commandstats, errorstats, latencystats.

use std::fmt::{Result, Write};
use std::time::Duration;

use super::Session;
use crate::acl::Log;
use crate::config::{format_percentile, percentiles};
use crate::telemetry::Telemetry;

pub(super) fn stats(session: &Session<'_>, text: &mut String) -> Result {
    let instance = &session.cluster.instances[session.id];
    let (stats, telemetry) = (&instance.stats, &instance.telemetry);
    let (commands, input, output) = telemetry.rates.per_second(instance.sample(session.ctx.now()));
    write!(
        text,
        "# Stats\r\ntotal_connections_received:{}\r\ntotal_commands_processed:{}\r\ninstantaneous_ops_per_sec:{}\r\n\
         total_net_input_bytes:{}\r\ntotal_net_output_bytes:{}\r\ntotal_net_repl_input_bytes:0\r\n\
         total_net_repl_output_bytes:0\r\ninstantaneous_input_kbps:{:.2}\r\ninstantaneous_output_kbps:{:.2}\r\n\
         instantaneous_input_repl_kbps:0.00\r\ninstantaneous_output_repl_kbps:0.00\r\nrejected_connections:{}\r\n\
         sync_full:{}\r\nsync_partial_ok:{}\r\nsync_partial_err:{}\r\nexpired_keys:{}\r\nevicted_keys:{}\r\n\
         evicted_clients:{}\r\n\
         keyspace_hits:{}\r\nkeyspace_misses:{}\r\npubsub_channels:{}\r\npubsub_patterns:{}\r\n\
         pubsubshard_channels:{}\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\nmigrate_cached_sockets:0\r\n\
         slave_expires_tracked_keys:0\r\nactive_defrag_hits:0\r\nactive_defrag_misses:0\r\nactive_defrag_key_hits:0\r\n\
         active_defrag_key_misses:0\r\ntotal_active_defrag_time:0\r\ncurrent_active_defrag_time:0\r\n\
         tracking_total_keys:{}\r\ntracking_total_items:{}\r\ntracking_total_prefixes:{}\r\n\
         unexpected_error_replies:0\r\ntotal_error_replies:{}\r\ntotal_reads_processed:{}\r\n\
         total_writes_processed:{}\r\nio_threaded_reads_processed:0\r\nio_threaded_writes_processed:0\r\n{}",
        stats.connections,
        stats.commands,
        commands.round(),
        stats.input_bytes,
        stats.output_bytes,
        input / 1024.0,
        output / 1024.0,
        stats.rejected,
        stats.full_syncs,
        stats.partial_syncs,
        stats.partial_refused,
        stats.expired,
        stats.evicted,
        stats.evicted_clients,
        stats.hits,
        stats.misses,
        instance.subscriptions.channels.len(),
        instance.subscriptions.patterns.len(),
        instance.subscriptions.shard_channels.len(),
        instance.tracking.keys_count(),
        instance.tracking.items,
        instance.tracking.prefixes_count(),
        telemetry.errors.total,
        stats.reads,
        stats.writes,
        denials(&instance.acl.log),
    )
}

fn denials(log: &Log) -> String {
    format!(
        "acl_access_denied_auth:{}\r\nacl_access_denied_cmd:{}\r\nacl_access_denied_key:{}\r\n\
         acl_access_denied_channel:{}\r\n",
        log.logins, log.commands, log.keys, log.channels
    )
}

pub(super) fn cpu(session: &Session<'_>, text: &mut String) -> Result {
    let usage = session.cluster.process_usage();
    write!(text, "# CPU\r\n")?;
    let mut line =
        |name: &str, time: Duration| write!(text, "{name}:{}.{:06}\r\n", time.as_secs(), time.subsec_micros());
    line("used_cpu_sys", usage.own[0])?;
    line("used_cpu_user", usage.own[1])?;
    line("used_cpu_sys_children", usage.children[0])?;
    line("used_cpu_user_children", usage.children[1])?;
    line("used_cpu_sys_main_thread", usage.thread[0])?;
    line("used_cpu_user_main_thread", usage.thread[1])
}

fn telemetry<'s>(session: &'s Session<'_>) -> &'s Telemetry {
    &session.cluster.instances[session.id].telemetry
}

pub(super) fn commands(session: &Session<'_>, text: &mut String) -> Result {
    write!(text, "# Commandstats\r\n")?;
    for (command, row) in telemetry(session).commands.iter() {
        let microseconds = row.nanoseconds / 1000;
        let each = if row.calls == 0 { 0.0 } else { row.nanoseconds as f64 / 1000.0 / row.calls as f64 };
        write!(
            text,
            "cmdstat_{}:calls={},usec={microseconds},usec_per_call={each:.2},rejected_calls={},failed_calls={}\r\n",
            command.name, row.calls, row.rejected, row.failed
        )?;
    }
    Ok(())
}

pub(super) fn errors(session: &Session<'_>, text: &mut String) -> Result {
    write!(text, "# Errorstats\r\n")?;
    for (code, count) in &telemetry(session).errors.by_code {
        // What would break the lines of INFO is replaced, as Redis does.
        let safe = |byte: &u8| if b"#:\n\r".contains(byte) { '_' } else { char::from(*byte) };
        write!(text, "errorstat_{}:count={count}\r\n", code.iter().map(safe).collect::<String>())?;
    }
    Ok(())
}

pub(super) fn latencies(session: &Session<'_>, text: &mut String) -> Result {
    write!(text, "# Latencystats\r\n")?;
    let config = &session.cluster.config;
    if !config.settings.latency_tracking {
        return Ok(());
    }
    let wanted = config.get("latency-tracking-info-percentiles").and_then(percentiles).unwrap_or_default();
    for (command, row) in telemetry(session).commands.iter() {
        let Some(histogram) = &row.histogram else { continue };
        write!(text, "latency_percentiles_usec_{}:", command.name)?;
        for (index, percent) in wanted.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let microseconds = histogram.percentile(*percent) as f64 / 1000.0;
            write!(text, "{separator}p{}={microseconds:.3}", format_percentile(*percent))?;
        }
        write!(text, "\r\n")?;
    }
    Ok(())
}
