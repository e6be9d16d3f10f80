//! The cluster's metadata: records, and the image that they add up to. Every broker has an image of its own, as far as it
//! has seen the records, and answers from nothing else.

use std::collections::BTreeMap;

use atoll_kernel::NodeId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{Config, TopicConfig};
use crate::quotas::{Bound, Entity, Quotas};
use crate::security::acl::{Acl, Acls};
use crate::security::scram::{Credential, Hash};

/// The topic that committed offsets are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The topic that transactions are kept in.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// Whether a topic is the brokers' own.
pub fn is_internal(topic: &str) -> bool {
    [OFFSETS_TOPIC, TRANSACTIONS_TOPIC].contains(&topic)
}

/// A partition by its topic's id and its index.
pub type PartitionKey = (Uuid, i32);

/// One change of the metadata, as the controller commits it and as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MetadataRecord {
    /// A broker started and made itself known; it is fenced until it has caught up.
    RegisterBroker {
        /// Its id.
        broker: u16,
        /// Which start of it this is.
        broker_epoch: u64,
    },
    /// A broker's session ended: it leads nothing and is in no in-sync set.
    FenceBroker {
        /// Its id.
        broker: u16,
    },
    /// A broker may serve.
    UnfenceBroker {
        /// Its id.
        broker: u16,
    },
    /// A topic was made. Its partitions follow.
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        id: Uuid,
        /// Its own options.
        options: BTreeMap<String, String>,
    },
    /// A topic is gone.
    RemoveTopic {
        /// Its name.
        name: String,
    },
    /// A topic's option was set, or given back to the default.
    TopicOption {
        /// The topic's name.
        topic: String,
        /// The option's name.
        name: String,
        /// Its value; None is the default.
        value: Option<String>,
    },
    /// A partition was made or changed.
    Partition {
        /// Its topic's id.
        topic: Uuid,
        /// Its index.
        partition: i32,
        /// What it is now.
        state: PartitionState,
    },
    /// Producer ids below this are given away.
    ProducerIds {
        /// The first free one.
        next: i64,
    },
    /// A broker's option was set, or given back to the stack file.
    BrokerOption {
        /// The broker's id, or the empty name for all of them.
        broker: String,
        /// The option's name.
        name: String,
        /// Its value; None is the stack file's.
        value: Option<String>,
    },
    /// A user was given a credential for SCRAM, or it was taken away.
    ScramCredential {
        /// Their name.
        user: String,
        /// The hash.
        hash: Hash,
        /// The credential; None if it is gone.
        credential: Option<Credential>,
    },
    /// A group's option was set, or given back to the brokers' default.
    GroupOption {
        /// The group's name.
        group: String,
        /// The option's name.
        name: String,
        /// Its value; None is the brokers'.
        value: Option<String>,
    },
    /// A rule of access was made.
    AddAcl {
        /// The rule.
        acl: Acl,
    },
    /// A rule of access is gone.
    RemoveAcl {
        /// The rule.
        acl: Acl,
    },
    /// A quota was set, or taken away.
    Quota {
        /// Whose.
        entity: Entity,
        /// Of what.
        key: String,
        /// How much; None is no limit.
        value: Option<Bound>,
    },
    /// A feature has another level.
    Feature {
        /// Its name.
        name: String,
        /// Its level.
        level: i16,
    },
}

/// Who holds and who leads a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// The brokers that hold it, the preferred leader first.
    pub replicas: Vec<u16>,
    /// Those of them that have all that is committed.
    pub isr: Vec<u16>,
    /// Who leads; None if nobody can.
    pub leader: Option<u16>,
    /// Counts the leaders.
    pub leader_epoch: i32,
    /// Counts the changes.
    pub partition_epoch: i32,
    /// Replicas that are being added: they become proper ones when all of the new set is in sync.
    #[serde(default)]
    pub adding: Vec<u16>,
    /// Replicas that go when that has happened.
    #[serde(default)]
    pub removing: Vec<u16>,
}

impl PartitionState {
    /// Whether a node leads.
    pub fn is_led_by(&self, node: NodeId) -> bool {
        self.leader == Some(node.0)
    }
}

/// A broker as the metadata knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker {
    /// Which start of it this is.
    pub broker_epoch: u64,
    /// Whether it is kept out of everything.
    pub fenced: bool,
}

/// A topic as the metadata knows it.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its id.
    pub id: Uuid,
    /// Its own options.
    pub options: BTreeMap<String, String>,
    /// What these come to.
    pub config: TopicConfig,
    /// Its partitions by index.
    pub partitions: Vec<PartitionState>,
}

/// All records up to some offset, added up.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// Brokers by node.
    pub brokers: BTreeMap<NodeId, Broker>,
    /// Topics by name.
    pub topics: BTreeMap<String, Topic>,
    /// Names by id.
    pub names: BTreeMap<Uuid, String>,
    /// The first producer id that is not given away.
    pub next_producer_id: i64,
    /// Options that were set while brokers ran, by broker; the empty name is all of them.
    pub broker_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Credentials for SCRAM by user and hash.
    pub scram: BTreeMap<(String, Hash), Credential>,
    /// Options of groups, by group.
    pub group_options: BTreeMap<String, BTreeMap<String, String>>,
    /// Rules of access.
    pub acls: Acls,
    /// Client quotas.
    pub quotas: Quotas,
    /// Levels of features that the cluster agreed on since it was made.
    pub features: BTreeMap<String, i16>,
}

/// What applying a record changed for partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// Nothing about partitions.
    Nothing,
    /// One partition.
    Partition(PartitionKey),
    /// A topic with so many partitions is gone.
    TopicRemoved(Uuid, i32),
}

impl Image {
    /// Adds one record.
    pub fn apply(&mut self, record: &MetadataRecord, config: &Config) -> Changed {
        if let MetadataRecord::BrokerOption { broker, name, value } = record {
            self.set_broker_option(broker, name, value.as_deref(), config);
            return Changed::Nothing;
        }
        let overlaid = self.overlaid(config);
        let config = overlaid.as_ref().unwrap_or(config);
        match record {
            MetadataRecord::RegisterBroker { broker, broker_epoch } => {
                self.brokers.insert(NodeId(*broker), Broker { broker_epoch: *broker_epoch, fenced: true });
            }
            MetadataRecord::FenceBroker { broker } => self.set_fenced(*broker, true),
            MetadataRecord::UnfenceBroker { broker } => self.set_fenced(*broker, false),
            MetadataRecord::Topic { name, id, options } => {
                let resolved = TopicConfig::resolve(config, options);
                // Options were checked before they were committed; those of a newer version count as not there.
                let Ok(resolved) = resolved.or_else(|_| TopicConfig::resolve(config, &BTreeMap::new())) else {
                    return Changed::Nothing;
                };
                let topic = Topic { id: *id, options: options.clone(), config: resolved, partitions: Vec::new() };
                self.topics.insert(name.clone(), topic);
                self.names.insert(*id, name.clone());
            }
            MetadataRecord::RemoveTopic { name } => {
                let Some(topic) = self.topics.remove(name) else { return Changed::Nothing };
                self.names.remove(&topic.id);
                return Changed::TopicRemoved(topic.id, topic.partitions.len() as i32);
            }
            MetadataRecord::TopicOption { topic, name, value } => {
                self.set_option(topic, name, value.as_deref(), config)
            }
            MetadataRecord::Partition { topic, partition, state } => {
                return self.set_partition(*topic, *partition, state);
            }
            MetadataRecord::ProducerIds { next } => self.next_producer_id = *next,
            // Done before anything was laid over the configuration.
            MetadataRecord::BrokerOption { .. } => {}
            MetadataRecord::ScramCredential { user, hash, credential } => {
                let key = (user.clone(), *hash);
                match credential {
                    Some(credential) => drop(self.scram.insert(key, credential.clone())),
                    None => drop(self.scram.remove(&key)),
                }
            }
            MetadataRecord::GroupOption { group, name, value } => {
                let options = self.group_options.entry(group.clone()).or_default();
                match value {
                    Some(value) => drop(options.insert(name.clone(), value.clone())),
                    None => drop(options.remove(name)),
                }
                self.group_options.retain(|_, options| !options.is_empty());
            }
            MetadataRecord::AddAcl { acl } => self.acls.add(acl.clone()),
            MetadataRecord::RemoveAcl { acl } => self.acls.remove(acl),
            MetadataRecord::Quota { entity, key, value } => self.set_quota(entity, key, *value),
            MetadataRecord::Feature { name, level } => drop(self.features.insert(name.clone(), *level)),
        }
        Changed::Nothing
    }

    fn set_quota(&mut self, entity: &Entity, key: &str, value: Option<Bound>) {
        let values = self.quotas.entry(entity.clone()).or_default();
        match value {
            Some(value) => drop(values.insert(key.to_owned(), value)),
            None => drop(values.remove(key)),
        }
        if values.is_empty() {
            self.quotas.remove(entity);
        }
    }

    fn set_fenced(&mut self, broker: u16, fenced: bool) {
        if let Some(broker) = self.brokers.get_mut(&NodeId(broker)) {
            broker.fenced = fenced;
        }
    }

    /// The configuration with what was set for all brokers; None if nothing was.
    pub fn overlaid(&self, config: &Config) -> Option<Config> {
        let options = self.broker_options.get("")?;
        crate::dynamic::overlay(config, options).ok()
    }

    fn set_broker_option(&mut self, broker: &str, name: &str, value: Option<&str>, config: &Config) {
        let options = self.broker_options.entry(broker.to_owned()).or_default();
        match value {
            Some(value) => options.insert(name.to_owned(), value.to_owned()),
            None => options.remove(name),
        };
        if options.is_empty() {
            self.broker_options.remove(broker);
        }
        let overlaid = self.overlaid(config);
        let config = overlaid.as_ref().unwrap_or(config);
        for topic in self.topics.values_mut() {
            if let Ok(resolved) = TopicConfig::resolve(config, &topic.options) {
                topic.config = resolved;
            }
        }
    }

    fn set_option(&mut self, topic: &str, name: &str, value: Option<&str>, config: &Config) {
        let Some(topic) = self.topics.get_mut(topic) else { return };
        match value {
            Some(value) => topic.options.insert(name.to_owned(), value.to_owned()),
            None => topic.options.remove(name),
        };
        if let Ok(resolved) = TopicConfig::resolve(config, &topic.options) {
            topic.config = resolved;
        }
    }

    fn set_partition(&mut self, topic: Uuid, partition: i32, state: &PartitionState) -> Changed {
        let Some(topic_state) = self.names.get(&topic).and_then(|name| self.topics.get_mut(name)) else {
            return Changed::Nothing;
        };
        let index = usize::try_from(partition).unwrap_or(usize::MAX);
        let count = topic_state.partitions.len();
        match topic_state.partitions.get_mut(index) {
            Some(slot) => *slot = state.clone(),
            None if index == count => topic_state.partitions.push(state.clone()),
            None => return Changed::Nothing,
        }
        Changed::Partition((topic, partition))
    }

    /// A partition by topic name.
    pub fn partition(&self, topic: &str, partition: i32) -> Option<(PartitionKey, &Topic, &PartitionState)> {
        let topic = self.topics.get(topic)?;
        let state = topic.partitions.get(usize::try_from(partition).ok()?)?;
        Some(((topic.id, partition), topic, state))
    }

    /// A partition by its key, with its topic's name.
    pub fn partition_by_key(&self, key: PartitionKey) -> Option<(&str, &Topic, &PartitionState)> {
        let name = self.names.get(&key.0)?;
        let (_, topic, state) = self.partition(name, key.1)?;
        Some((name, topic, state))
    }

    /// Whether a broker may serve.
    pub fn is_active(&self, node: NodeId) -> bool {
        self.brokers.get(&node).is_some_and(|broker| !broker.fenced)
    }

    /// The brokers that may serve, in order.
    pub fn active_brokers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.brokers.iter().filter(|(_, broker)| !broker.fenced).map(|(node, _)| *node)
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionKey, &Topic, &PartitionState)> {
        self.topics.values().flat_map(|topic| {
            topic.partitions.iter().enumerate().map(move |(index, state)| ((topic.id, index as i32), topic, state))
        })
    }
}
