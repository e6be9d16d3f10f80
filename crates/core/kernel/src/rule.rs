//! Links, and the ordered list of rules that judges all that passes over them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::node::NodeId;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// A virtual node, and every pod on it.
    Node(NodeId),
    /// Any program on this machine that is not in a pod.
    Client,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Node(node) => write!(f, "{node}"),
            Endpoint::Client => f.write_str("client"),
        }
    }
}

/// Who talks over a link: the members of one cluster among themselves, or a client with its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Plane {
    /// Replication, gossip, heartbeats, votes.
    Peer,
    /// Requests and replies.
    Client,
}

/// The part of the stack that a message belongs to: `redis`, `kafka`, `kubernetes`, `mesh` …
pub type Part = &'static str;

/// A *directed* pair of endpoints: each direction is judged on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The sender.
    pub from: Endpoint,
    /// The receiver.
    pub to: Endpoint,
    /// Who talks.
    pub plane: Plane,
    /// Which part of the stack.
    pub part: Part,
}

impl Link {
    /// The link between two members of one cluster.
    pub fn peers(part: Part, from: NodeId, to: NodeId) -> Link {
        Link { from: Endpoint::Node(from), to: Endpoint::Node(to), plane: Plane::Peer, part }
    }

    /// The same two ends, the other way round.
    pub fn reversed(self) -> Link {
        Link { from: self.to, to: self.from, ..self }
    }
}

/// What happens to a message, or to a byte stream, on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing.
    Pass,
    /// It arrives this much later.
    Delay(Duration),
    /// A message is lost. A byte stream is silent until the rule goes, as TCP retransmits.
    Drop,
    /// A message is lost, and a byte stream ends with RST.
    Reset,
}

/// Which endpoints a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Every node and every client.
    Any,
    /// These nodes.
    Nodes(Vec<NodeId>),
    /// Programs on this machine that are not in a pod.
    Client,
}

impl Pattern {
    /// One node.
    pub fn node(node: NodeId) -> Pattern {
        Pattern::Nodes(vec![node])
    }

    fn matches(&self, endpoint: Endpoint) -> bool {
        match (self, endpoint) {
            (Pattern::Any, _) | (Pattern::Client, Endpoint::Client) => true,
            (Pattern::Nodes(nodes), Endpoint::Node(node)) => nodes.contains(&node),
            _ => false,
        }
    }
}

/// One line of the list: what passes from here to there gets this verdict. A node's link to itself is never judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// The sender.
    pub from: Pattern,
    /// The receiver.
    pub to: Pattern,
    /// Only this part of the stack; None is every part.
    pub part: Option<String>,
    /// Only this plane; None is both.
    pub plane: Option<Plane>,
    /// What happens.
    pub verdict: Verdict,
}

impl Rule {
    /// A rule about every part and both planes.
    pub fn new(from: Pattern, to: Pattern, verdict: Verdict) -> Rule {
        Rule { from, to, part: None, plane: None, verdict }
    }

    /// The same rule, for one part of the stack only.
    pub fn for_part(self, part: &str) -> Rule {
        Rule { part: Some(part.to_owned()), ..self }
    }

    /// The same rule, for one plane only.
    pub fn on_plane(self, plane: Plane) -> Rule {
        Rule { plane: Some(plane), ..self }
    }

    fn matches(&self, link: &Link) -> bool {
        link.from != link.to
            && self.from.matches(link.from)
            && self.to.matches(link.to)
            && self.plane.is_none_or(|plane| plane == link.plane)
            && self.part.as_deref().is_none_or(|part| part == link.part)
    }
}

/// The ordered list. The first rule that matches decides.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    next_id: u64,
    list: Vec<(RuleId, Rule)>,
}

/// Names a rule in the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct RuleId(pub u64);

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) -> RuleId {
        let id = RuleId(self.next_id);
        self.next_id += 1;
        self.list.push((id, rule));
        id
    }

    pub(crate) fn remove(&mut self, id: RuleId) -> bool {
        let before = self.list.len();
        self.list.retain(|(other, _)| *other != id);
        self.list.len() != before
    }

    pub(crate) fn clear(&mut self) -> bool {
        let had_any = !self.list.is_empty();
        self.list.clear();
        had_any
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn list(&self) -> Vec<(RuleId, Rule)> {
        self.list.clone()
    }

    pub(crate) fn judge(&self, link: &Link) -> Verdict {
        self.list.iter().find(|(_, rule)| rule.matches(link)).map_or(Verdict::Pass, |(_, rule)| rule.verdict)
    }
}
