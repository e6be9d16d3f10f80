//! What a stack costs that nobody uses: time until every listener is ready, resident memory, share of a core.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::json;

use super::engine::Engine;
use super::report::median;
use super::{Options, repository};

/// Three nodes with all engines and no pods, as `atoll up` starts it in an empty folder.
const STACK: &str = "apiVersion: atoll.dev/v1alpha1\nkind: Stack\nnodes: 3\n";
const WATCHED: Duration = Duration::from_secs(30);
const START_MS_MAX: f64 = 100.0;
const RESIDENT_MIB_MAX: f64 = 40.0;
const CORE_PERCENT_MAX: f64 = 0.5;

/// Measures, and fails when a limit is passed.
pub fn run(options: &Options) -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..options.rounds {
        starts.push(Engine::atoll(options, STACK, true)?.start.as_secs_f64() * 1e3);
    }
    let stack = Engine::atoll(options, STACK, true)?;
    let (before, from) = (stack.processor_time()?, Instant::now());
    std::thread::sleep(WATCHED); // The measurement itself: how little happens in this time.
    let used = stack.processor_time()? - before;
    let start_ms = median(starts).unwrap_or(f64::NAN);
    let resident_mib = stack.resident()? as f64 / (1 << 20) as f64;
    let core_percent = 100.0 * used.as_secs_f64() / from.elapsed().as_secs_f64();

    let figures = [
        ("from exec to all listeners ready", start_ms, START_MS_MAX, "ms"),
        ("resident memory, idle", resident_mib, RESIDENT_MIB_MAX, "MiB"),
        ("processor, idle", core_percent, CORE_PERCENT_MAX, "% of a core"),
    ];
    for (name, value, limit, unit) in figures {
        let verdict = if value <= limit { "within" } else { "OVER" };
        println!("{name:<34} {value:>8.2} {unit:<12} {verdict} {limit}");
    }
    let folder = repository()?.join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let record = json!({ "start_ms": start_ms, "resident_mib": resident_mib, "core_percent": core_percent });
    std::fs::write(folder.join("idle.json"), serde_json::to_vec_pretty(&record)?)?;
    if figures.iter().any(|(_, value, limit, _)| value > limit) {
        bail!("an idle stack costs more than it may");
    }
    Ok(())
}
