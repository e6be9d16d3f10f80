//! Writing Event objects: the same sentence about the same object is counted, not repeated.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::controllers::Note;
use crate::object::{int, set, text};
use crate::registry::WriteOptions;
use crate::resources::ResourceId;
use crate::time::rfc3339;

/// Sentences that are remembered for counting; beyond that a repeated one becomes a new event.
const TOLD_MAX: usize = 10_000;

impl Cluster {
    /// Tells an event. Events about cluster-scoped objects live in `default`.
    pub(crate) fn record(&mut self, note: &Note) {
        let about = &note.about;
        let space = match text(about, "/namespace") {
            "" => "default",
            space => space,
        };
        let now = rfc3339(self.wall());
        let options = WriteOptions::internal(note.component);
        let told = fingerprint(note);
        let before = self.told.get(&told).and_then(|name| self.store.get(ResourceId::Events, space, name));
        if let Some(old) = before {
            let mut again = old.as_ref().clone();
            set(&mut again, &["count"], int(old, "/count").unwrap_or(1) + 1);
            set(&mut again, &["lastTimestamp"], now);
            let _ = self.update(ResourceId::Events, "", again, &options);
            return;
        }
        // Names in the order of telling, as the real ones (which hold the time), keep a second's events in order.
        let name = format!("{}.{:016x}", text(about, "/name"), self.store.version());
        if self.told.len() >= TOLD_MAX {
            self.told.clear();
        }
        self.told.insert(told, name.clone());
        let mut source = json!({"component": note.component});
        if !note.host.is_empty() {
            source["host"] = json!(note.host);
        }
        let event = json!({
            "metadata": {"name": name, "namespace": space},
            "involvedObject": about,
            "reason": note.reason,
            "message": note.message,
            "source": source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": if note.warning { "Warning" } else { "Normal" },
            "eventTime": Value::Null,
            "reportingComponent": note.component,
            "reportingInstance": note.host,
        });
        // An event that cannot be written (its namespace is gone) is lost, as on the real cluster.
        let _ = self.create(ResourceId::Events, event, &options);
    }
}

fn fingerprint(note: &Note) -> String {
    let mut hasher = Sha256::new();
    for part in [
        text(&note.about, "/uid"),
        text(&note.about, "/fieldPath"),
        note.reason,
        &note.message,
        note.component,
        &note.host,
    ] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
