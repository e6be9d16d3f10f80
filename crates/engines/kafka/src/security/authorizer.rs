//! What callers may do, as the broker that they ask sees the rules (`authorizer.class.name`). Without an authorizer that is
//! everything, as in Kafka.

use std::collections::BTreeSet;

use super::acl::{CLUSTER_NAME, Operation, ResourceType, Who};
use crate::cluster::{Caller, Cluster};
use crate::config::Config;

/// The one authorizer that there is.
const STANDARD: &str = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";

/// The authorizer's options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authorizer {
    superusers: BTreeSet<String>,
    /// Whether resources without any rule are everybody's.
    everyone: bool,
}

impl Authorizer {
    /// None where there is none. The error is a sentence for people.
    pub fn of(config: &Config) -> Result<Option<Authorizer>, String> {
        match config.security.authorizer_class_name.as_str() {
            "" => return Ok(None),
            STANDARD => {}
            other => return Err(format!("authorizer.class.name is {STANDARD} or empty, not {other}")),
        }
        let names = config.security.super_users.split(';').map(str::trim).filter(|name| !name.is_empty());
        let superusers: BTreeSet<String> = names.map(str::to_owned).collect();
        if let Some(name) = superusers.iter().find(|name| !name.contains(':')) {
            return Err(format!("expected a string in format principalType:principalName but got {name}"));
        }
        Ok(Some(Authorizer { superusers, everyone: config.security.allow_everyone_if_no_acl_found }))
    }
}

impl Cluster {
    /// Whether a caller may do something.
    pub(crate) fn may(&self, caller: &Caller, asked: Operation, kind: ResourceType, name: &str) -> bool {
        let Some(authorizer) = &self.authorizer else { return true };
        if authorizer.superusers.contains(&caller.principal) {
            return true;
        }
        let Some(broker) = self.brokers.get(&caller.node) else { return false };
        broker.image.acls.decide(who(caller), asked, kind, name).unwrap_or(authorizer.everyone)
    }

    /// Whether a caller may do something to a topic.
    pub(crate) fn may_topic(&self, caller: &Caller, asked: Operation, topic: &str) -> bool {
        self.may(caller, asked, ResourceType::Topic, topic)
    }

    /// Whether a caller may do something to a group.
    pub(crate) fn may_group(&self, caller: &Caller, asked: Operation, group: &str) -> bool {
        self.may(caller, asked, ResourceType::Group, group)
    }

    /// Whether a caller may do something with a transactional id.
    pub(crate) fn may_transact(&self, caller: &Caller, asked: Operation, id: &str) -> bool {
        self.may(caller, asked, ResourceType::TransactionalId, id)
    }

    /// Whether a caller may do something to the cluster.
    pub(crate) fn may_cluster(&self, caller: &Caller, asked: Operation) -> bool {
        self.may(caller, asked, ResourceType::Cluster, CLUSTER_NAME)
    }

    /// Whether a caller may do something to any topic at all.
    pub(crate) fn may_some_topic(&self, caller: &Caller, asked: Operation) -> bool {
        // A name that is nobody's finds superusers, and everybody where nothing forbids it.
        let Some(broker) = self.brokers.get(&caller.node) else { return false };
        self.may_topic(caller, asked, "hardcode")
            || broker.image.acls.allow_somewhere(who(caller), asked, ResourceType::Topic)
    }

    /// The bits of all that a caller may do to a resource.
    pub(crate) fn authorized_operations(&self, caller: &Caller, kind: ResourceType, name: &str) -> i32 {
        let allowed = kind.operations().iter().filter(|operation| self.may(caller, **operation, kind, name));
        allowed.fold(0, |bits, operation| bits | 1 << (*operation as i8))
    }

    /// The same of the cluster, which is told to nobody who may not describe it.
    pub(crate) fn authorized_cluster_operations(&self, caller: &Caller) -> i32 {
        match self.may_cluster(caller, Operation::Describe) {
            true => self.authorized_operations(caller, ResourceType::Cluster, CLUSTER_NAME),
            false => 0,
        }
    }
}

fn who(caller: &Caller) -> Who<'_> {
    Who { principal: &caller.principal, host: caller.host.trim_start_matches('/') }
}
