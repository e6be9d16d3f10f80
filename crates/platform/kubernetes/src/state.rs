//! The store: objects by resource, namespace and name; one counter of versions; a bounded history of events.
//!
//! Plain data, without I/O and without policy: what a write means (defaults, validation, finalizers) is decided in
//! `registry.rs`. Every change becomes an [`Event`] for watches and controllers, and a [`Change`] for the disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::object::{items, name, namespace, text, uid};
use crate::persistence::Change;
use crate::resources::{RESOURCES, ResourceId};

/// Events that are kept for watches which resume; older ones answer 410.
pub const HISTORY_EVENTS_MAX: usize = 10_000;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its resource.
    pub resource: ResourceId,
    /// Its namespace, "" for cluster-scoped resources.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Key {
    /// The key of an object.
    pub fn of(resource: ResourceId, object: &Value) -> Key {
        Key { resource, namespace: namespace(object).to_owned(), name: name(object).to_owned() }
    }

    /// A key from its parts.
    pub fn new(resource: ResourceId, namespace: &str, name: &str) -> Key {
        Key { resource, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key under which the object is persisted: `group/plural/namespace/name`.
    pub fn path(&self) -> String {
        let row = self.resource.row();
        format!("{}/{}/{}/{}", row.group, row.plural, self.namespace, self.name)
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It has changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Event {
    /// The store's version after the change.
    pub version: u64,
    /// Of which resource.
    pub resource: ResourceId,
    /// What happened.
    pub kind: EventKind,
    /// The object after the change; for a deletion its last state, with the deletion's version.
    pub object: Arc<Value>,
    /// The object before the change.
    pub previous: Option<Arc<Value>>,
}

type Objects = BTreeMap<(String, String), Arc<Value>>;

/// All objects of the cluster.
#[derive(Debug)]
pub struct Store {
    objects: Vec<Objects>,
    version: u64,
    history: VecDeque<Event>,
    /// The version that the history begins after.
    floor: u64,
    by_uid: BTreeMap<String, Key>,
    dependents: BTreeMap<String, BTreeSet<Key>>,
    pods_by_node: BTreeMap<String, BTreeSet<Key>>,
    changes: Vec<Change>,
}

impl Default for Store {
    fn default() -> Store {
        Store {
            objects: RESOURCES.iter().map(|_| Objects::new()).collect(),
            version: 1,
            history: VecDeque::new(),
            floor: 1,
            by_uid: BTreeMap::new(),
            dependents: BTreeMap::new(),
            pods_by_node: BTreeMap::new(),
            changes: Vec::new(),
        }
    }
}

impl Store {
    /// Puts back what was persisted. Watches from before get 410, as after etcd's compaction.
    pub fn restore(&mut self, version: u64, objects: impl IntoIterator<Item = (ResourceId, Value)>) {
        self.version = self.version.max(version);
        for (resource, object) in objects {
            self.version = self.version.max(crate::object::version(&object));
            let key = Key::of(resource, &object);
            let object = Arc::new(object);
            self.index(&key, &object);
            self.objects[resource as usize].insert((key.namespace, key.name), object);
        }
        self.floor = self.version;
    }

    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// One object.
    pub fn get(&self, resource: ResourceId, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects[resource as usize].get(&(namespace.to_owned(), name.to_owned()))
    }

    /// One object by its key.
    pub fn at(&self, key: &Key) -> Option<&Arc<Value>> {
        self.get(key.resource, &key.namespace, &key.name)
    }

    /// Objects in order of namespace and name; all namespaces with `None`.
    pub fn list<'a, 'b>(
        &'a self,
        resource: ResourceId,
        namespace: Option<&'b str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a, 'b> {
        let start = (namespace.unwrap_or("").to_owned(), String::new());
        self.objects[resource as usize]
            .range(start..)
            .take_while(move |((space, _), _)| namespace.is_none_or(|wanted| wanted == space))
            .map(|(_, object)| object)
    }

    /// The objects of a resource as they were at a version; `None` when the history does not reach back.
    pub fn list_at(&self, resource: ResourceId, at: u64) -> Option<Vec<Arc<Value>>> {
        if at == self.version {
            return Some(self.objects[resource as usize].values().cloned().collect());
        }
        if at < self.floor {
            return None;
        }
        let mut objects = self.objects[resource as usize].clone();
        for event in self.history.iter().rev().take_while(|event| event.version > at) {
            if event.resource != resource {
                continue;
            }
            let key = (namespace(&event.object).to_owned(), name(&event.object).to_owned());
            match &event.previous {
                Some(previous) => objects.insert(key, previous.clone()),
                None => objects.remove(&key),
            };
        }
        Some(objects.into_values().collect())
    }

    /// The key of the object with this uid.
    pub fn by_uid(&self, uid: &str) -> Option<&Key> {
        self.by_uid.get(uid)
    }

    /// Keys of the objects that name this uid in their owner references.
    pub fn dependents<'a>(&'a self, uid: &str) -> impl Iterator<Item = &'a Key> + use<'a> {
        self.dependents.get(uid).into_iter().flatten()
    }

    /// The pods that are bound to a node.
    pub fn pods_on<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        self.pods_by_node.get(node).into_iter().flatten().filter_map(|key| self.at(key))
    }

    /// The objects of a resource that are controlled by the owner with this uid.
    pub fn controlled<'a, 'b>(
        &'a self,
        owner: &'b str,
        resource: ResourceId,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a, 'b> {
        self.dependents(owner)
            .filter(move |key| key.resource == resource)
            .filter_map(|key| self.at(key))
            .filter(move |object| crate::object::is_controlled_by(object, owner))
    }

    /// Adds an object that is not there yet; its resource version is set.
    pub fn insert(&mut self, resource: ResourceId, object: Value) -> Arc<Value> {
        self.put(resource, object, EventKind::Added)
    }

    /// Replaces an object; its resource version is set.
    pub fn replace(&mut self, resource: ResourceId, object: Value) -> Arc<Value> {
        self.put(resource, object, EventKind::Modified)
    }

    fn put(&mut self, resource: ResourceId, mut object: Value, kind: EventKind) -> Arc<Value> {
        self.version += 1;
        crate::object::set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
        let key = Key::of(resource, &object);
        let object = Arc::new(object);
        let place = (key.namespace.clone(), key.name.clone());
        let previous = self.objects[resource as usize].insert(place, object.clone());
        if let Some(previous) = &previous {
            self.unindex(&key, previous);
        }
        self.index(&key, &object);
        self.changes.push(Change { path: key.path(), value: Some(object.clone()) });
        self.append(Event { version: self.version, resource, kind, object: object.clone(), previous });
        object
    }

    /// Removes an object and answers its last state.
    pub fn remove(&mut self, key: &Key) -> Option<Arc<Value>> {
        let place = (key.namespace.clone(), key.name.clone());
        let previous = self.objects[key.resource as usize].remove(&place)?;
        self.version += 1;
        self.unindex(key, &previous);
        let mut last = previous.as_ref().clone();
        crate::object::set(&mut last, &["metadata", "resourceVersion"], self.version.to_string());
        let last = Arc::new(last);
        self.changes.push(Change { path: key.path(), value: None });
        self.append(Event {
            version: self.version,
            resource: key.resource,
            kind: EventKind::Deleted,
            object: last.clone(),
            previous: Some(previous),
        });
        Some(last)
    }

    /// The events after a version, oldest first; `None` when the history does not reach back that far.
    pub fn events_after(&self, after: u64) -> Option<impl Iterator<Item = &Event>> {
        if after < self.floor {
            return None;
        }
        let from = self.history.partition_point(|event| event.version <= after);
        Some(self.history.range(from..))
    }

    /// What has to be made durable since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    fn append(&mut self, event: Event) {
        self.history.push_back(event);
        if self.history.len() > HISTORY_EVENTS_MAX
            && let Some(oldest) = self.history.pop_front()
        {
            self.floor = oldest.version;
        }
    }

    fn index(&mut self, key: &Key, object: &Value) {
        self.by_uid.insert(uid(object).to_owned(), key.clone());
        for owner in items(object, "/metadata/ownerReferences") {
            self.dependents.entry(text(owner, "/uid").to_owned()).or_default().insert(key.clone());
        }
        if key.resource == ResourceId::Pods {
            let node = text(object, "/spec/nodeName").to_owned();
            self.pods_by_node.entry(node).or_default().insert(key.clone());
        }
    }

    fn unindex(&mut self, key: &Key, object: &Value) {
        self.by_uid.remove(uid(object));
        for owner in items(object, "/metadata/ownerReferences") {
            drop_from(&mut self.dependents, text(owner, "/uid"), key);
        }
        if key.resource == ResourceId::Pods {
            drop_from(&mut self.pods_by_node, text(object, "/spec/nodeName"), key);
        }
    }
}

fn drop_from(index: &mut BTreeMap<String, BTreeSet<Key>>, at: &str, key: &Key) {
    if let Some(keys) = index.get_mut(at) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(at);
        }
    }
}

/// The list object of a resource, as `PodList`.
pub fn list_object(resource: ResourceId, version: u64, items: Vec<Value>) -> Value {
    let row = resource.row();
    json!({
        "kind": format!("{}List", row.kind),
        "apiVersion": row.api_version(),
        "metadata": {"resourceVersion": version.to_string()},
        "items": items,
    })
}
