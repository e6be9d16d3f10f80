//! Eviction by taint: a pod leaves a node whose NoExecute taints it does not, or no longer, tolerate.

use super::node::endurance;
use super::{Action, Note, Work, path_of};
use crate::cluster::View;
use crate::object::{is_terminating, text};
use crate::resources::ResourceId;
use crate::state::Key;

pub(super) fn reconcile(view: &View<'_>, key: &Key) -> Vec<Action> {
    let Some(pod) = view.store.at(key) else { return Vec::new() };
    let Some(node) = view.store.get(ResourceId::Nodes, "", text(pod, "/spec/nodeName")) else { return Vec::new() };
    if is_terminating(pod) {
        return Vec::new();
    }
    match endurance(pod, node, |written| view.moment(written)) {
        None => Vec::new(),
        Some(until) if until > view.now => vec![Action::Wake { at: until, work: Work::Taints(key.clone()) }],
        Some(_) => {
            let message = format!("Marking for deletion Pod {}", path_of(pod));
            let note = Note::normal(pod, "TaintManagerEviction", message, "taint-eviction-controller");
            vec![Action::Record(note), Action::delete(ResourceId::Pods, pod)]
        }
    }
}
