//! Faults by hand: what `node`, `link`, `partition`, `heal` and `ledger` do to the kernel, and say about it.

use std::time::Duration;

use atoll_kernel::{Fault, FaultEvent, Kernel, NodeId, NodeState, Pattern, Rule, RuleId, Trigger, Verdict};
use serde_json::{Value, json};

use crate::control::{LinkAction, NodeAction};
use crate::error::{Code, Failure, Result};

/// Does something to a node, and says how it is afterwards.
pub fn node(kernel: &Kernel, action: NodeAction, number: u16) -> Result<Value> {
    let id = known_node(kernel, number)?;
    let before = kernel.node_state(id);
    refuse_the_impossible(action, id, before)?;
    kernel.inject(&node_fault(action, id));
    let after = kernel.node_state(id);
    Ok(json!({ "node": number, "before": before, "state": after, "changed": before != after }))
}

/// A dead node cannot be paused and a paused one not be started; asking for it is a mistake worth naming.
fn refuse_the_impossible(action: NodeAction, id: NodeId, state: NodeState) -> Result<()> {
    let hint = match (action, state) {
        (NodeAction::Pause | NodeAction::Resume, NodeState::Killed | NodeState::Stopped) => {
            format!("atoll node start {id}")
        }
        (NodeAction::Start, NodeState::Paused) => format!("atoll node resume {id}"),
        _ => return Ok(()),
    };
    let state = json!(state);
    let message = format!("node {id} is {}", state.as_str().unwrap_or_default());
    Err(Failure::new(Code::Usage, message).hint(format!("first: `{hint}`")))
}

/// What is to happen to a link.
pub struct LinkWish {
    /// One end: a node's number or `client`.
    pub from: String,
    /// The other end.
    pub to: String,
    /// What happens.
    pub action: LinkAction,
    /// Whether only this direction is meant.
    pub one_way: bool,
    /// Only this part of the stack.
    pub part: Option<String>,
}

/// Cuts, slows or heals a link.
pub fn link(kernel: &Kernel, wish: &LinkWish) -> Result<Value> {
    let (from, to) = (endpoint(kernel, &wish.from)?, endpoint(kernel, &wish.to)?);
    if from == to {
        return Err(Failure::new(Code::Usage, "a link has two different ends"));
    }
    let mut directions = vec![(from.clone(), to.clone())];
    if !wish.one_way {
        directions.push((to, from));
    }
    let verdict = match wish.action {
        LinkAction::Cut => Verdict::Drop,
        LinkAction::Reset => Verdict::Reset,
        LinkAction::Slow { delay_ms } => Verdict::Delay(Duration::from_millis(delay_ms)),
        LinkAction::Heal => {
            let removed = remove(kernel, |rule| directions.iter().any(|(a, b)| rule.from == *a && rule.to == *b));
            return Ok(json!({ "removed": removed, "rules": rules(kernel) }));
        }
    };
    let mut added = 0;
    for (from, to) in directions {
        let rule = Rule { part: wish.part.clone(), ..Rule::new(from, to, verdict) };
        // Two equal rules would have to be healed twice.
        if !kernel.rules().iter().any(|(_, other)| *other == rule) {
            kernel.add_rule(rule);
            added += 1;
        }
    }
    Ok(json!({ "added": added, "rules": rules(kernel) }))
}

/// Cuts every link between the groups. Nodes that are in no group form one more.
pub fn partition(kernel: &Kernel, groups: &[Vec<u16>]) -> Result<Value> {
    let mut sides: Vec<Vec<NodeId>> = Vec::new();
    for group in groups {
        let mut side = Vec::new();
        for number in group {
            let id = known_node(kernel, *number)?;
            if side.contains(&id) || sides.iter().any(|side| side.contains(&id)) {
                return Err(Failure::new(Code::Usage, format!("node {id} stands twice")));
            }
            side.push(id);
        }
        sides.push(side);
    }
    let rest: Vec<NodeId> = kernel
        .nodes()
        .iter()
        .map(|node| node.config.id)
        .filter(|id| !sides.iter().any(|side| side.contains(id)))
        .collect();
    sides.push(rest);
    sides.retain(|side| !side.is_empty());
    if sides.len() < 2 {
        let hint = "write the groups with `|` between them: `atoll partition \"1|2,3\"`";
        return Err(Failure::new(Code::Usage, "all nodes are on one side").hint(hint));
    }
    for (index, from) in sides.iter().enumerate() {
        for (other_index, to) in sides.iter().enumerate() {
            if index != other_index {
                kernel.add_rule(Rule::new(Pattern::Nodes(from.clone()), Pattern::Nodes(to.clone()), Verdict::Drop));
            }
        }
    }
    Ok(json!({ "groups": sides, "rules": rules(kernel) }))
}

/// Undoes every fault.
pub fn heal(kernel: &Kernel) -> Value {
    let before = kernel.version();
    let mut known = kernel.rules();
    kernel.inject(&Fault::Heal);
    let events = kernel.events_since(before);
    let healed: Vec<String> = events.iter().flat_map(|(_, event)| describe(kernel, event, &mut known)).collect();
    json!({ "healed": healed, "rules": rules(kernel) })
}

/// The fault events since so many, whether everything is well, and the kernel's time, for whoever keeps a timeline.
pub fn events(kernel: &Kernel, since: Option<u64>) -> Value {
    let version = kernel.version();
    let news = since.map(|since| kernel.events_since(since)).unwrap_or_default();
    let events: Vec<Value> = news
        .iter()
        .map(|(at, event)| {
            let is_recovery = matches!(event, FaultEvent::Resumed(_) | FaultEvent::Started(_));
            let is_about_links = matches!(event, FaultEvent::RulesChanged);
            let text = match event {
                FaultEvent::RulesChanged => "links changed".to_owned(),
                event => describe(kernel, event, &mut Vec::new()).join(", "),
            };
            json!({ "at": at.as_nanos(), "text": text, "isRecovery": is_recovery, "isAboutLinks": is_about_links })
        })
        .collect();
    json!({ "version": version, "now": kernel.now().as_nanos(), "healthy": kernel.is_healthy(), "events": events })
}

/// Sets a trigger.
pub fn when(
    kernel: &Kernel,
    point: String,
    on: Option<u16>,
    nth: u64,
    (action, number): (NodeAction, u16),
) -> Result<Value> {
    let id = known_node(kernel, number)?;
    let only = on.map(|on| known_node(kernel, on)).transpose()?;
    let answer = json!({ "point": point, "nth": nth, "node": number });
    kernel.when(Trigger { point, node: only, nth: nth.max(1), fault: node_fault(action, id) });
    Ok(answer)
}

fn node_fault(action: NodeAction, id: NodeId) -> Fault {
    match action {
        NodeAction::Kill => Fault::Kill(id),
        NodeAction::Power => Fault::Power(id),
        NodeAction::Pause => Fault::Pause(id),
        NodeAction::Resume => Fault::Resume(id),
        NodeAction::Start => Fault::Start(id),
        NodeAction::Stop => Fault::Stop(id),
    }
}

/// The newest entries of the ledger, and how many there were of each kind.
pub fn ledger(kernel: &Kernel, part: Option<&str>, limit: usize) -> Value {
    kernel.with_ledger(|ledger| {
        let is_wanted = |other: &str| part.is_none_or(|part| part == other);
        let newest = ledger.entries().iter().rev().filter(|entry| is_wanted(entry.part)).take(limit);
        let mut entries: Vec<Value> = newest.map(|entry| json!(entry)).collect();
        entries.reverse();
        let counts: Vec<Value> = ledger
            .counts()
            .iter()
            .filter(|((part, _), _)| is_wanted(part))
            .map(|((part, kind), count)| json!({ "part": part, "kind": kind, "count": count }))
            .collect();
        json!({ "entries": entries, "counts": counts })
    })
}

/// The rules in force, for `status` and for the answers above.
pub fn rules(kernel: &Kernel) -> Vec<Value> {
    kernel
        .rules()
        .iter()
        .map(|(id, rule)| {
            json!({
                "id": id,
                "from": shown(&rule.from),
                "to": shown(&rule.to),
                "part": rule.part,
                "plane": rule.plane,
                "verdict": outcome(rule.verdict),
            })
        })
        .collect()
}

/// A fault event in words. `known` are the rules that were described before, and become those of now.
pub fn describe(kernel: &Kernel, event: &FaultEvent, known: &mut Vec<(RuleId, Rule)>) -> Vec<String> {
    vec![match event {
        FaultEvent::Killed(node) => format!("node {node} killed"),
        FaultEvent::PowerLost(node) => format!("node {node} lost power"),
        FaultEvent::Paused(node) => format!("node {node} paused"),
        FaultEvent::Resumed(node) => format!("node {node} resumed"),
        FaultEvent::Started(node) => format!("node {node} started"),
        FaultEvent::Stopped(node) => format!("node {node} stopped"),
        FaultEvent::ClockChanged(node) => format!("clock of node {node} changed"),
        FaultEvent::DiskChanged(node, health) => format!("disk of node {node} is {health:?}").to_lowercase(),
        FaultEvent::RulesChanged => {
            let now = kernel.rules();
            let lines = changes_of_rules(known, &now);
            *known = now;
            return lines;
        }
    }]
}

/// What became of the list of rules. Empty if an earlier event of the same moment has told it already.
fn changes_of_rules(before: &[(RuleId, Rule)], after: &[(RuleId, Rule)]) -> Vec<String> {
    let gone = before.iter().filter(|rule| !after.contains(rule)).map(|(_, rule)| (rule, "healed".to_owned()));
    let new = after.iter().filter(|rule| !before.contains(rule)).map(|(_, rule)| (rule, outcome(rule.verdict)));
    gone.chain(new)
        .map(|(rule, outcome)| {
            let part = rule.part.as_ref().map(|part| format!(" for {part}")).unwrap_or_default();
            format!("link {} → {}{part}: {outcome}", shown(&rule.from), shown(&rule.to))
        })
        .collect()
}

fn outcome(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Delay(delay) => format!("slow {} ms", delay.as_millis()),
        Verdict::Drop => "cut".to_owned(),
        Verdict::Reset => "reset".to_owned(),
    }
}

fn remove(kernel: &Kernel, is_meant: impl Fn(&Rule) -> bool) -> usize {
    let ids: Vec<RuleId> = kernel.rules().iter().filter(|(_, rule)| is_meant(rule)).map(|(id, _)| *id).collect();
    for id in &ids {
        kernel.inject(&Fault::RemoveRule(*id));
    }
    ids.len()
}

fn shown(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Any => "any".to_owned(),
        Pattern::Client => "client".to_owned(),
        Pattern::Nodes(nodes) => nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    }
}

fn endpoint(kernel: &Kernel, text: &str) -> Result<Pattern> {
    if text == "client" {
        return Ok(Pattern::Client);
    }
    let number = text.parse().map_err(|_| {
        Failure::new(Code::Usage, format!("`{text}` is not the end of a link"))
            .hint("give a node's number, or `client`")
    })?;
    Ok(Pattern::node(known_node(kernel, number)?))
}

fn known_node(kernel: &Kernel, number: u16) -> Result<NodeId> {
    let id = NodeId(number);
    if kernel.node(id).is_some() {
        return Ok(id);
    }
    let last = kernel.nodes().len();
    Err(Failure::new(Code::NotFound, format!("there is no node {number}")).hint(format!("the nodes are 1 to {last}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_kernel::{NodeConfig, Seed};

    fn kernel() -> Kernel {
        Kernel::live((1..=3).map(|number| NodeConfig::numbered(0, number)).collect(), Seed(1))
    }

    fn cut(from: &str, to: &str, one_way: bool) -> LinkWish {
        LinkWish { from: from.into(), to: to.into(), action: LinkAction::Cut, one_way, part: None }
    }

    #[test]
    fn a_node_is_killed_and_started() {
        let kernel = kernel();
        assert_eq!(node(&kernel, NodeAction::Kill, 2).map(|answer| answer["state"].clone()), Ok(json!("killed")));
        assert_eq!(node(&kernel, NodeAction::Pause, 2).map_err(|failure| failure.code), Err(Code::Usage));
        assert_eq!(node(&kernel, NodeAction::Start, 2).map(|answer| answer["changed"].clone()), Ok(json!(true)));
        assert_eq!(node(&kernel, NodeAction::Kill, 9).map_err(|failure| failure.code), Err(Code::NotFound));
    }

    #[test]
    fn a_cut_goes_both_ways_once_and_heals() {
        let kernel = kernel();
        link(&kernel, &cut("1", "2", false)).expect("cut");
        link(&kernel, &cut("1", "2", false)).expect("cut again");
        assert_eq!(kernel.rules().len(), 2);
        link(&kernel, &cut("client", "3", true)).expect("cut from clients");
        assert_eq!(kernel.rules().len(), 3);
        link(&kernel, &LinkWish { action: LinkAction::Heal, ..cut("2", "1", false) }).expect("heal");
        assert_eq!(kernel.rules().len(), 1);
        heal(&kernel);
        assert!(kernel.is_healthy());
    }

    #[test]
    fn a_partition_takes_the_rest_as_a_group() {
        let kernel = kernel();
        let answer = partition(&kernel, &[vec![1]]).expect("one against the rest");
        assert_eq!(answer["groups"], json!([[1], [2, 3]]));
        assert_eq!(partition(&kernel, &[vec![1, 2, 3]]).map_err(|failure| failure.code), Err(Code::Usage));
        assert_eq!(partition(&kernel, &[vec![1], vec![1, 2]]).map_err(|failure| failure.code), Err(Code::Usage));
    }
}
