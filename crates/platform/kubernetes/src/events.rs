//! Writing Event objects: the same sentence about the same object is counted, not repeated.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::cluster::Cluster;
use crate::controllers::Note;
use crate::object::{int, set, text};
use crate::registry::WriteOptions;
use crate::resources::ResourceId;
use crate::time::rfc3339;

impl Cluster {
    /// Tells an event. Events about cluster-scoped objects live in `default`.
    pub(crate) fn record(&mut self, note: &Note) {
        let about = &note.about;
        let space = match text(about, "/namespace") {
            "" => "default",
            space => space,
        };
        let name = format!("{}.{}", text(about, "/name"), fingerprint(note));
        let now = rfc3339(self.wall());
        let options = WriteOptions::internal(note.component);
        if let Some(old) = self.store.get(ResourceId::Events, space, &name) {
            let mut again = old.as_ref().clone();
            set(&mut again, &["count"], int(old, "/count").unwrap_or(1) + 1);
            set(&mut again, &["lastTimestamp"], now);
            let _ = self.update(ResourceId::Events, "", again, &options);
            return;
        }
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
    for part in [text(&note.about, "/uid"), text(&note.about, "/fieldPath"), note.reason, &note.message, note.component, &note.host] {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
