//! `node`, `link`, `partition`, `heal` and `ledger`.

use serde_json::Value;

use super::query::rules_table;
use super::{Common, LinkCommand, LinkEnds, target};
use crate::control::{LinkAction, NodeAction, Request};
use crate::error::{Code, Failure, Result};
use crate::output::{Output, Table};

/// Does something to a node.
pub fn node(common: &Common, action: NodeAction, node: u16, output: Output) -> Result<u8> {
    let answer = target::ask(common, &Request::Node { action, node })?;
    let state = answer["state"].as_str().unwrap_or_default();
    let already = if answer["changed"] == true { "" } else { "already " };
    output.data(&answer, || format!("node {node} is {already}{state}\n"))?;
    Ok(0)
}

/// Cuts, slows or heals a link.
pub fn link(common: &Common, command: LinkCommand, output: Output) -> Result<u8> {
    let (ends, action) = match command {
        LinkCommand::Cut { ends, reset } => (ends, if reset { LinkAction::Reset } else { LinkAction::Cut }),
        LinkCommand::Slow { ends, delay_ms } => (ends, LinkAction::Slow { delay_ms }),
        LinkCommand::Heal { ends } => (ends, LinkAction::Heal),
    };
    let LinkEnds { from, to, one_way, part } = ends;
    let answer = target::ask(common, &Request::Link { from, to, action, one_way, part })?;
    output.data(&answer, || rules_view(&answer, output))?;
    Ok(0)
}

/// Cuts the links between groups.
pub fn partition(common: &Common, groups: &str, output: Output) -> Result<u8> {
    let groups = groups.split('|').map(group).collect::<Result<Vec<_>>>()?;
    let answer = target::ask(common, &Request::Partition { groups })?;
    output.data(&answer, || rules_view(&answer, output))?;
    Ok(0)
}

fn group(text: &str) -> Result<Vec<u16>> {
    let numbers = text.split(',').map(|number| number.trim().parse());
    numbers.collect::<Result<Vec<_>, _>>().map_err(|_| {
        Failure::new(Code::Usage, format!("`{text}` is not a group of nodes"))
            .hint("write numbers with commas, groups with `|` between them: `atoll partition \"1|2,3\"`")
    })
}

/// Undoes every fault.
pub fn heal(common: &Common, output: Output) -> Result<u8> {
    let answer = target::ask(common, &Request::Heal)?;
    output.data(&answer, || {
        let events: Vec<&str> = answer["healed"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if events.is_empty() { "nothing was wrong\n".to_owned() } else { events.join("\n") + "\n" }
    })?;
    Ok(0)
}

/// Shows the ledger.
pub fn ledger(common: &Common, part: Option<String>, limit: usize, check: bool, output: Output) -> Result<u8> {
    let answer = target::ask(common, &Request::Ledger { part, limit })?;
    output.data(&answer, || ledger_view(&answer, output))?;
    let count = answer["counts"].as_array().map_or(0, Vec::len);
    if check && count > 0 {
        return Err(Failure::new(Code::CheckFailed, "the ledger is not empty"));
    }
    Ok(0)
}

fn ledger_view(answer: &Value, output: Output) -> String {
    let entries = answer["entries"].as_array().map(Vec::as_slice).unwrap_or_default();
    if entries.is_empty() {
        return "the ledger is empty: nothing was lost, read stale or delivered twice\n".to_owned();
    }
    let mut headings = vec!["at", "part", "kind", "subject", "count", "cause"];
    if output.is_wide() {
        headings.extend(["node", "allowed by"]);
    }
    let mut table = Table::new(&headings);
    for entry in entries {
        let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let at_ms = entry["at"].as_u64().unwrap_or(0) / 1_000_000;
        let mut cells = vec![format!("{}.{:03}s", at_ms / 1000, at_ms % 1000), text("part"), text("kind")];
        cells.extend([text("subject"), entry["count"].to_string(), text("cause")]);
        if output.is_wide() {
            cells.extend([entry["node"].to_string(), text("allowed_by")]);
        }
        table.row(cells);
    }
    table.render(output.colors_data())
}

fn rules_view(answer: &Value, output: Output) -> String {
    if answer["rules"].as_array().is_none_or(Vec::is_empty) {
        return "no link is cut or slowed\n".to_owned();
    }
    rules_table(&answer["rules"]).render(output.colors_data())
}
