//! Commands for one pod are performed in the order in which its kubelet gave them.
//!
//! A stop that overtook the start before it would find nothing to stop, and the pod would run for ever; a removal that
//! overtook it would leave processes that nobody knows. So starts and removals are performed one after the other, and a
//! stop begins when the starts before it are done. What takes its time without changing what runs (a stop's grace, a
//! probe) holds nobody up.

use std::collections::{BTreeMap, VecDeque};

use atoll_kubernetes::{Command, PodId};
use parking_lot::Mutex;

/// One thing to do for a pod.
pub(super) enum Step {
    /// What its kubelet decided.
    Perform(Command),
    /// Its node is dead: whatever was under way when it died dies as well.
    Kill,
}

/// What waits to be done, by the pod's uid. A pod has an entry for as long as somebody works through it.
#[derive(Default)]
pub(super) struct Order(Mutex<BTreeMap<String, Waiting>>);

struct Waiting {
    node: String,
    steps: VecDeque<Step>,
}

impl Order {
    /// Adds a command. True if nobody works for this pod yet: then the caller has to see to it.
    #[must_use]
    pub(super) fn add(&self, pod: &PodId, command: Command) -> bool {
        let mut pods = self.0.lock();
        let is_idle = !pods.contains_key(&pod.uid);
        let waiting =
            pods.entry(pod.uid.clone()).or_insert_with(|| Waiting { node: pod.node.clone(), steps: VecDeque::new() });
        waiting.steps.push_back(Step::Perform(command));
        is_idle
    }

    /// A node is dead: its kubelet's decisions are void, and what is just being started ends.
    pub(super) fn node_off(&self, node: &str) {
        for waiting in self.0.lock().values_mut().filter(|waiting| waiting.node == node) {
            waiting.steps.clear();
            waiting.steps.push_back(Step::Kill);
        }
    }

    /// What is next for a pod. None: nothing is left, and the next command finds nobody at work.
    pub(super) fn next(&self, uid: &str) -> Option<Step> {
        let mut pods = self.0.lock();
        let step = pods.get_mut(uid).and_then(|waiting| waiting.steps.pop_front());
        if step.is_none() {
            pods.remove(uid);
        }
        step
    }
}

/// The pod that a command is about; None: a whole node.
pub(super) fn pod_of(command: &Command) -> Option<&PodId> {
    match command {
        Command::StartPod(spec) => Some(&spec.id),
        Command::StartContainer(spec) => Some(&spec.id.pod),
        Command::StopContainer { id, .. } | Command::Probe { id, .. } => Some(&id.pod),
        Command::RemovePod { pod } | Command::UpdateVolumes { pod, .. } => Some(pod),
        Command::NodeOff { .. } => None,
    }
}

/// Whether the commands behind this one wait until it is done.
pub(super) fn holds_up(command: &Command) -> bool {
    matches!(command, Command::StartPod(_) | Command::StartContainer(_) | Command::RemovePod { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(uid: &str) -> PodId {
        PodId { node: "node-2".to_owned(), uid: uid.to_owned() }
    }

    fn remove(uid: &str) -> Command {
        Command::RemovePod { pod: pod(uid) }
    }

    #[test]
    fn one_worker_takes_all_steps_of_a_pod_and_then_is_needed_anew() {
        let order = Order::default();
        assert!(order.add(&pod("a"), remove("a")), "the first command needs a worker");
        assert!(!order.add(&pod("a"), remove("a")), "which takes the second one as well");
        assert!(order.add(&pod("b"), remove("b")), "another pod does not wait for it");
        assert!(order.next("a").is_some() && order.next("a").is_some() && order.next("a").is_none());
        assert!(order.add(&pod("a"), remove("a")));
    }

    #[test]
    fn a_dead_nodes_commands_are_void_and_what_was_under_way_is_killed() {
        let order = Order::default();
        let _ = (order.add(&pod("a"), remove("a")), order.add(&pod("a"), remove("a")));
        assert!(order.next("a").is_some());
        order.node_off("node-1");
        order.node_off("node-2");
        assert!(matches!(order.next("a"), Some(Step::Kill)));
        assert!(order.next("a").is_none());
    }
}
