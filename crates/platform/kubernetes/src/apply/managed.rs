//! The list `metadata.managedFields`: one entry per manager, operation and subresource.

use serde_json::{Value, json};

use super::Manager;
use super::fields::{Changes, FieldSet};
use crate::object::{items, text};

/// Update entries that are kept; the real server, too, folds older ones so that the list cannot grow without end.
const UPDATERS_MAX: usize = 10;

#[derive(Clone, Debug)]
struct Entry {
    manager: String,
    apply: bool,
    api_version: String,
    subresource: String,
    time: String,
    fields: FieldSet,
}

/// All entries of an object.
#[derive(Debug, Default)]
pub(super) struct Managers {
    entries: Vec<Entry>,
}

/// Another manager's fields that an apply would change.
#[derive(Debug)]
pub(super) struct Conflict {
    manager: String,
    api_version: String,
    subresource: String,
    apply: bool,
    pub fields: Vec<String>,
}

impl Conflict {
    /// `"name" with subresource "status" using apps/v1`, as the real server words it.
    pub fn sentence(&self) -> String {
        let mut sentence = format!("\"{}\"", self.manager);
        if !self.subresource.is_empty() {
            sentence.push_str(&format!(" with subresource \"{}\"", self.subresource));
        }
        // The real server names the version only for managers that did not apply.
        if !self.apply {
            sentence.push_str(&format!(" using {}", self.api_version));
        }
        sentence
    }
}

impl Managers {
    /// Reads the list of an object; entries that make no sense are dropped.
    pub fn of(object: &Value) -> Managers {
        let entries = items(object, "/metadata/managedFields").iter().filter_map(|entry| {
            let operation = text(entry, "/operation");
            matches!(operation, "Apply" | "Update").then(|| Entry {
                manager: text(entry, "/manager").to_owned(),
                apply: operation == "Apply",
                api_version: text(entry, "/apiVersion").to_owned(),
                subresource: text(entry, "/subresource").to_owned(),
                time: text(entry, "/time").to_owned(),
                fields: FieldSet::from_value(entry.get("fieldsV1").unwrap_or(&Value::Null)),
            })
        });
        Managers { entries: entries.collect() }
    }

    /// Writes the list.
    pub fn to_value(&self) -> Value {
        let entries = self.entries.iter().map(|entry| {
            let mut value = json!({
                "manager": entry.manager,
                "operation": if entry.apply { "Apply" } else { "Update" },
                "apiVersion": entry.api_version,
                "time": entry.time,
                "fieldsType": "FieldsV1",
                "fieldsV1": entry.fields.to_value(),
            });
            if !entry.subresource.is_empty() {
                value["subresource"] = json!(entry.subresource);
            }
            value
        });
        Value::Array(entries.collect())
    }

    fn position(&self, manager: &Manager, apply: bool) -> Option<usize> {
        self.entries.iter().position(|entry| entry.is(manager, apply))
    }

    /// What the manager applied last.
    pub fn applied(&self, manager: &Manager) -> FieldSet {
        self.position(manager, true).map(|at| self.entries[at].fields.clone()).unwrap_or_default()
    }

    /// The fields of everybody else.
    pub fn union_without(&self, manager: &Manager, apply: bool) -> FieldSet {
        let mut all = FieldSet::default();
        self.entries.iter().filter(|entry| !entry.is(manager, apply)).for_each(|entry| all.add(&entry.fields));
        all
    }

    /// Sets what the manager applies; the time moves only when the fields do.
    pub fn set_applied(&mut self, manager: &Manager, fields: FieldSet) {
        match self.position(manager, true) {
            Some(at) => {
                let entry = &mut self.entries[at];
                if entry.fields != fields {
                    entry.time = manager.time.clone();
                    entry.fields = fields;
                }
            }
            None => self.entries.push(Entry::new(manager, true, fields)),
        }
    }

    /// Whose fields the changes touch, apart from the manager's own.
    pub fn conflicts(&self, manager: &Manager, changed: &FieldSet) -> Vec<Conflict> {
        let others = self.entries.iter().filter(|entry| !entry.is(manager, true));
        let conflict = |entry: &Entry| Conflict {
            manager: entry.manager.clone(),
            api_version: entry.api_version.clone(),
            subresource: entry.subresource.clone(),
            apply: entry.apply,
            fields: entry.fields.intersection(changed).paths(),
        };
        others.map(conflict).filter(|conflict| !conflict.fields.is_empty()).collect()
    }

    /// Everybody else loses what changed, and everybody what is gone.
    pub fn take_away(&mut self, manager: &Manager, apply: bool, changed: &FieldSet, removed: &FieldSet) {
        for entry in &mut self.entries {
            if !entry.is(manager, apply) {
                entry.fields = entry.fields.difference(changed);
            }
            if !(apply && entry.is(manager, apply)) {
                entry.fields = entry.fields.difference(removed);
            }
        }
        self.entries.retain(|entry| entry.apply || !entry.fields.is_empty());
    }

    /// The manager owns what it changed, beside what it owned.
    pub fn add_updated(&mut self, manager: &Manager, changes: &Changes) {
        if changes.changed.is_empty() {
            return;
        }
        match self.position(manager, false) {
            Some(at) => {
                let entry = &mut self.entries[at];
                entry.fields.add(&changes.changed);
                entry.time = manager.time.clone();
            }
            None => self.entries.push(Entry::new(manager, false, changes.changed.clone())),
        }
        self.fold_oldest();
    }

    fn fold_oldest(&mut self) {
        let updaters = self.entries.iter().filter(|entry| !entry.apply).count();
        if updaters <= UPDATERS_MAX {
            return;
        }
        let mut ancient = FieldSet::default();
        for _ in UPDATERS_MAX..=updaters {
            let Some(at) = self.entries.iter().position(|entry| !entry.apply) else { break };
            ancient.add(&self.entries.remove(at).fields);
        }
        let first = self.entries.first().map(|entry| (entry.api_version.clone(), entry.time.clone()));
        let (api_version, time) = first.unwrap_or_default();
        let manager = "ancient-changes".to_owned();
        self.entries
            .insert(0, Entry { manager, apply: false, api_version, subresource: String::new(), time, fields: ancient });
    }
}

impl Entry {
    fn new(manager: &Manager, apply: bool, fields: FieldSet) -> Entry {
        Entry {
            manager: manager.name.clone(),
            apply,
            api_version: manager.api_version.clone(),
            subresource: manager.subresource.clone(),
            time: manager.time.clone(),
            fields,
        }
    }

    fn is(&self, manager: &Manager, apply: bool) -> bool {
        self.apply == apply
            && self.manager == manager.name
            && (apply || self.api_version == manager.api_version)
            && self.subresource == manager.subresource
    }
}
