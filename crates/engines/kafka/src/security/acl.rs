//! Access control lists, and what Kafka's `StandardAuthorizer` decides by them.
//!
//! A rule that denies counts before any that allows. What nothing is said of is denied, unless it is a resource without any
//! rule and `allow.everyone.if.no.acl.found` is set. Superusers may do everything.
//!
//! <https://kafka.apache.org/documentation/#security_authz>

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use serde::{Deserialize, Serialize};

/// The one name of the cluster as a resource.
pub(crate) const CLUSTER_NAME: &str = "kafka-cluster";
/// Any name, any host.
const WILDCARD: &str = "*";
/// Any user.
const ANY_USER: &str = "User:*";

/// What is done; the number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(i8)]
pub enum Operation {
    /// All of them.
    All = 2,
    /// Reading.
    Read = 3,
    /// Writing.
    Write = 4,
    /// Making.
    Create = 5,
    /// Deleting.
    Delete = 6,
    /// Changing.
    Alter = 7,
    /// Learning of it.
    Describe = 8,
    /// What brokers do among themselves.
    ClusterAction = 9,
    /// Reading its options.
    DescribeConfigs = 10,
    /// Changing its options.
    AlterConfigs = 11,
    /// Writing with a producer's id.
    IdempotentWrite = 12,
    /// Making delegation tokens.
    CreateTokens = 13,
    /// Seeing delegation tokens.
    DescribeTokens = 14,
}

/// What something is done to; the number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(i8)]
pub enum ResourceType {
    /// A topic.
    Topic = 2,
    /// A group.
    Group = 3,
    /// The cluster.
    Cluster = 4,
    /// A transactional id.
    TransactionalId = 5,
    /// A delegation token.
    DelegationToken = 6,
    /// A user.
    User = 7,
}

/// How a rule names resources; the number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(i8)]
pub enum PatternType {
    /// By their whole name.
    Literal = 3,
    /// By how their names begin.
    Prefixed = 4,
}

/// What a rule says; the number is the one on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(i8)]
pub enum Permission {
    /// No.
    Deny = 2,
    /// Yes.
    Allow = 3,
}

use Operation as Op;

impl Operation {
    const EVERY: [Op; 13] = [
        Op::All,
        Op::Read,
        Op::Write,
        Op::Create,
        Op::Delete,
        Op::Alter,
        Op::Describe,
        Op::ClusterAction,
        Op::DescribeConfigs,
        Op::AlterConfigs,
        Op::IdempotentWrite,
        Op::CreateTokens,
        Op::DescribeTokens,
    ];

    /// By the number on the wire.
    pub(crate) fn from_number(number: i8) -> Option<Operation> {
        Operation::EVERY.into_iter().find(|operation| *operation as i8 == number)
    }

    /// Whether a rule that allows `self` allows `asked`.
    fn implies(self, asked: Operation) -> bool {
        self == asked
            || self == Op::All
            || match asked {
                Op::Describe => matches!(self, Op::Read | Op::Write | Op::Delete | Op::Alter),
                Op::DescribeConfigs => self == Op::AlterConfigs,
                _ => false,
            }
    }
}

impl ResourceType {
    const EVERY: [ResourceType; 6] = [
        ResourceType::Topic,
        ResourceType::Group,
        ResourceType::Cluster,
        ResourceType::TransactionalId,
        ResourceType::DelegationToken,
        ResourceType::User,
    ];

    /// By the number on the wire.
    pub(crate) fn from_number(number: i8) -> Option<ResourceType> {
        ResourceType::EVERY.into_iter().find(|kind| *kind as i8 == number)
    }

    /// What can be done to it.
    pub(crate) fn operations(self) -> &'static [Operation] {
        match self {
            ResourceType::Topic => &[
                Op::Read,
                Op::Write,
                Op::Create,
                Op::Describe,
                Op::Delete,
                Op::Alter,
                Op::DescribeConfigs,
                Op::AlterConfigs,
            ],
            ResourceType::Group => &[Op::Read, Op::Describe, Op::Delete, Op::DescribeConfigs, Op::AlterConfigs],
            ResourceType::Cluster => &[
                Op::Create,
                Op::ClusterAction,
                Op::DescribeConfigs,
                Op::AlterConfigs,
                Op::IdempotentWrite,
                Op::Alter,
                Op::Describe,
            ],
            ResourceType::TransactionalId => &[Op::Describe, Op::Write],
            ResourceType::DelegationToken => &[Op::Describe],
            ResourceType::User => &[Op::CreateTokens, Op::DescribeTokens],
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Acl {
    /// The kind of resource.
    pub resource_type: ResourceType,
    /// Its name, how that begins, or `*`.
    pub resource_name: String,
    /// Which of these.
    pub pattern_type: PatternType,
    /// For whom: `User:alice`, or `User:*`.
    pub principal: String,
    /// From which address, or `*`.
    pub host: String,
    /// What.
    pub operation: Operation,
    /// Whether it may be.
    pub permission: Permission,
}

/// Rules that are looked for. None is any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    pub resource_type: Option<ResourceType>,
    pub resource_name: Option<String>,
    pub pattern: FilterPattern,
    pub principal: Option<String>,
    pub host: Option<String>,
    pub operation: Option<Operation>,
    pub permission: Option<Permission>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum FilterPattern {
    /// Rules with just this name, of either kind.
    #[default]
    Any,
    /// Rules that hold for a resource of this name.
    Match,
    /// Rules of this kind with just this name.
    Just(PatternType),
}

impl Filter {
    pub fn matches(&self, acl: &Acl) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        let named = match (&self.resource_name, self.pattern) {
            (_, FilterPattern::Just(pattern)) if pattern != acl.pattern_type => false,
            (Some(name), FilterPattern::Match) => match acl.pattern_type {
                PatternType::Literal => acl.resource_name == *name || acl.resource_name == WILDCARD,
                PatternType::Prefixed => name.starts_with(&acl.resource_name),
            },
            (wanted, _) => is(wanted.as_ref(), &acl.resource_name),
        };
        named
            && is(self.resource_type.as_ref(), &acl.resource_type)
            && is(self.principal.as_ref(), &acl.principal)
            && is(self.host.as_ref(), &acl.host)
            && is(self.operation.as_ref(), &acl.operation)
            && is(self.permission.as_ref(), &acl.permission)
    }
}

/// Who asks, as far as rules look at it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who<'w> {
    /// `User:alice`.
    pub principal: &'w str,
    /// The client's address.
    pub host: &'w str,
}

impl Who<'_> {
    fn is_meant_by(&self, acl: &Acl) -> bool {
        (acl.principal == self.principal || acl.principal == ANY_USER)
            && (acl.host == WILDCARD || acl.host == self.host)
    }
}

/// All rules, in the order of their resources.
#[derive(Debug, Clone, Default)]
pub struct Acls {
    by_resource: BTreeMap<(ResourceType, PatternType, String), BTreeSet<Acl>>,
}

impl Acls {
    /// Adds a rule.
    pub fn add(&mut self, acl: Acl) {
        self.by_resource.entry(key(&acl)).or_default().insert(acl);
    }

    /// Takes a rule away.
    pub fn remove(&mut self, acl: &Acl) {
        let key = key(acl);
        if let Some(rules) = self.by_resource.get_mut(&key) {
            rules.remove(acl);
            if rules.is_empty() {
                self.by_resource.remove(&key);
            }
        }
    }

    pub(crate) fn contains(&self, acl: &Acl) -> bool {
        self.by_resource.get(&key(acl)).is_some_and(|rules| rules.contains(acl))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Acl> {
        self.by_resource.values().flatten()
    }

    /// Whether the rules allow something; None where no rule is about the resource at all.
    pub(crate) fn decide(&self, who: Who<'_>, asked: Operation, kind: ResourceType, name: &str) -> Option<bool> {
        let (mut is_named, mut allowed) = (false, false);
        for acl in self.about(kind, name) {
            is_named = true;
            if !who.is_meant_by(acl) {
                continue;
            }
            match acl.permission {
                Permission::Deny if acl.operation == asked || acl.operation == Op::All => return Some(false),
                Permission::Allow if acl.operation.implies(asked) => allowed = true,
                _ => {}
            }
        }
        is_named.then_some(allowed)
    }

    /// Rules about a resource of this name: of just this name, of the beginnings of it, and of all.
    fn about<'a>(&'a self, kind: ResourceType, name: &'a str) -> impl Iterator<Item = &'a Acl> {
        let literal = [name, WILDCARD].into_iter().map(move |name| (kind, PatternType::Literal, name.to_owned()));
        let whole = literal.filter_map(|key| self.by_resource.get(&key)).flatten();
        // The beginnings of a name lie between its first character and itself.
        let first = name.chars().next().map(String::from).unwrap_or_default();
        let from = Bound::Included((kind, PatternType::Prefixed, first));
        let to = Bound::Included((kind, PatternType::Prefixed, name.to_owned()));
        let prefixed = self.by_resource.range((from, to));
        let prefixed = prefixed.filter(move |((_, _, prefix), _)| name.starts_with(prefix.as_str()));
        whole.chain(prefixed.flat_map(|(_, rules)| rules))
    }

    /// Whether there can be any resource of a kind to which `who` may do this.
    pub(crate) fn allow_somewhere(&self, who: Who<'_>, asked: Operation, kind: ResourceType) -> bool {
        let meant: Vec<&Acl> = self
            .iter()
            .filter(|acl| acl.resource_type == kind && who.is_meant_by(acl))
            .filter(|acl| acl.operation == asked || acl.operation == Op::All)
            .collect();
        let denied = |pattern: PatternType, name: &str| {
            meant.iter().any(|acl| {
                acl.permission == Permission::Deny && acl.pattern_type == pattern && acl.resource_name == name
            })
        };
        if denied(PatternType::Literal, WILDCARD) {
            return false;
        }
        meant.iter().filter(|acl| acl.permission == Permission::Allow).any(|acl| {
            let name = acl.resource_name.as_str();
            if acl.pattern_type == PatternType::Literal && name == WILDCARD {
                return true;
            }
            let is_denied = acl.pattern_type == PatternType::Literal && denied(PatternType::Literal, name);
            let mut beginnings = name.char_indices().map(|(at, character)| &name[..at + character.len_utf8()]);
            !is_denied && !beginnings.any(|beginning| denied(PatternType::Prefixed, beginning))
        })
    }
}

fn key(acl: &Acl) -> (ResourceType, PatternType, String) {
    (acl.resource_type, acl.pattern_type, acl.resource_name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Who<'static> = Who { principal: "User:alice", host: "127.0.0.1" };
    const BOB: Who<'static> = Who { principal: "User:bob", host: "127.0.0.1" };

    fn acl(permission: Permission, principal: &str, operation: Operation, name: &str) -> Acl {
        let (resource_name, pattern_type) = match name.strip_suffix("…") {
            Some(prefix) => (prefix, PatternType::Prefixed),
            None => (name, PatternType::Literal),
        };
        Acl {
            resource_type: ResourceType::Topic,
            resource_name: resource_name.to_owned(),
            pattern_type,
            principal: principal.to_owned(),
            host: "*".to_owned(),
            operation,
            permission,
        }
    }

    fn acls(rules: impl IntoIterator<Item = Acl>) -> Acls {
        let mut acls = Acls::default();
        rules.into_iter().for_each(|rule| acls.add(rule));
        acls
    }

    fn decide(acls: &Acls, who: Who<'_>, operation: Operation, topic: &str) -> Option<bool> {
        acls.decide(who, operation, ResourceType::Topic, topic)
    }

    use Permission::{Allow, Deny};

    #[test]
    fn what_is_denied_counts_before_what_is_allowed() {
        let acls = acls([
            acl(Allow, "User:*", Op::Read, "orders…"),
            acl(Deny, "User:bob", Op::Read, "orders-secret"),
            acl(Allow, "User:bob", Op::All, "*"),
        ]);
        assert_eq!(decide(&acls, ALICE, Op::Read, "orders-secret"), Some(true));
        assert_eq!(decide(&acls, BOB, Op::Read, "orders-secret"), Some(false));
        assert_eq!(decide(&acls, BOB, Op::Write, "orders-secret"), Some(true), "reading alone is denied");
        assert_eq!(decide(&acls, ALICE, Op::Write, "orders"), Some(false));
        assert_eq!(decide(&Acls::default(), ALICE, Op::Read, "orders"), None);
    }

    #[test]
    fn reading_implies_describing_but_a_denial_implies_nothing() {
        let allowed = acls([acl(Allow, "User:alice", Op::Read, "t"), acl(Allow, "User:alice", Op::AlterConfigs, "t")]);
        assert_eq!(decide(&allowed, ALICE, Op::Describe, "t"), Some(true));
        assert_eq!(decide(&allowed, ALICE, Op::DescribeConfigs, "t"), Some(true));
        assert_eq!(decide(&allowed, ALICE, Op::Write, "t"), Some(false));
        let denied = acls([acl(Deny, "User:alice", Op::Read, "t"), acl(Allow, "User:alice", Op::Write, "t")]);
        assert_eq!(decide(&denied, ALICE, Op::Describe, "t"), Some(true));
    }

    #[test]
    fn hosts_and_prefixes_are_looked_at() {
        let mut elsewhere = acl(Allow, "User:alice", Op::Read, "o…");
        elsewhere.host = "10.0.0.1".to_owned();
        let rules =
            acls([elsewhere, acl(Allow, "User:alice", Op::Write, "or…"), acl(Allow, "User:bob", Op::Read, "p…")]);
        assert_eq!(decide(&rules, ALICE, Op::Read, "orders"), Some(false));
        let there = Who { host: "10.0.0.1", ..ALICE };
        assert_eq!(decide(&rules, there, Op::Read, "orders"), Some(true));
        assert_eq!(decide(&rules, ALICE, Op::Write, "or"), Some(true));
        assert_eq!(decide(&rules, ALICE, Op::Write, "o"), Some(false));
        assert_eq!(decide(&rules, ALICE, Op::Read, "x"), None);
    }

    #[test]
    fn some_resource_may_be_allowed_although_others_are_denied() {
        let somewhere = |rules: &[Acl]| acls(rules.to_vec()).allow_somewhere(ALICE, Op::Write, ResourceType::Topic);
        let literal = acl(Allow, "User:alice", Op::Write, "orders");
        assert!(somewhere(std::slice::from_ref(&literal)));
        assert!(!somewhere(&[literal.clone(), acl(Deny, "User:*", Op::All, "orders")]));
        assert!(!somewhere(&[literal.clone(), acl(Deny, "User:*", Op::Write, "ord…")]));
        assert!(!somewhere(&[literal.clone(), acl(Deny, "User:alice", Op::Write, "*")]));
        assert!(somewhere(&[literal, acl(Deny, "User:alice", Op::Read, "*")]));
        assert!(somewhere(&[acl(Allow, "User:*", Op::All, "*"), acl(Deny, "User:alice", Op::Write, "a…")]));
        assert!(!somewhere(&[acl(Allow, "User:bob", Op::Write, "*")]));
    }

    #[test]
    fn filters_find_rules_by_name_or_by_what_they_hold_for() {
        let rules = acls([
            acl(Allow, "User:a", Op::Read, "orders"),
            acl(Allow, "User:a", Op::Read, "ord…"),
            acl(Allow, "User:a", Op::Read, "*"),
        ]);
        let count = |name: Option<&str>, pattern| {
            let filter = Filter { resource_name: name.map(str::to_owned), pattern, ..Filter::default() };
            rules.iter().filter(|acl| filter.matches(acl)).count()
        };
        assert_eq!(count(None, FilterPattern::Any), 3);
        assert_eq!(count(Some("orders"), FilterPattern::Any), 1);
        assert_eq!(count(Some("orders"), FilterPattern::Match), 3);
        assert_eq!(count(None, FilterPattern::Just(PatternType::Prefixed)), 1);
        assert_eq!(count(Some("ord"), FilterPattern::Just(PatternType::Literal)), 0);
    }
}
