//! Moving replicas to other brokers (KIP-455): the new ones are added beside the old, and when all of them are in sync, the
//! old ones go.

use atoll_kernel::{Context, NodeId};

use super::Cluster;
use super::controller::Refusal;
use crate::error::ErrorCode;
use crate::state::image::{MetadataRecord, PartitionState};

impl Cluster {
    /// Moves a partition to these brokers; None gives a movement up that is under way.
    pub(crate) fn reassign(
        &mut self,
        ctx: &Context<'_>,
        topic: &str,
        partition: i32,
        target: Option<&[i32]>,
    ) -> Result<(), Refusal> {
        let unknown = |reason: String| (ErrorCode::UnknownTopicOrPartition, reason);
        if !self.authority.topics.contains_key(topic) {
            return Err(unknown(format!("Unable to find a topic named {topic}.")));
        }
        let Some((key, found, state)) = self.authority.partition(topic, partition) else {
            return Err(unknown(format!("Unable to find partition {topic}:{partition}.")));
        };
        let mut changed = match target {
            Some(target) => moved(state, &self.check_target(target)?),
            None => given_up(topic, partition, state, found.config.unclean_leader_election_enable)?,
        };
        let is_active = |node| self.authority.is_active(NodeId(node));
        complete(&mut changed, is_active);
        keep_led(&mut changed, is_active);
        if changed == *state {
            return Ok(());
        }
        changed.partition_epoch += 1;
        let records = vec![MetadataRecord::Partition { topic: key.0, partition: key.1, state: changed }];
        self.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    fn check_target(&self, target: &[i32]) -> Result<Vec<u16>, Refusal> {
        let invalid = |reason: String| (ErrorCode::InvalidReplicaAssignment, reason);
        if target.is_empty() {
            return Err(invalid("The manual partition assignment includes an empty replica list.".to_owned()));
        }
        let mut sorted = target.to_vec();
        sorted.sort_unstable();
        for pair in sorted.windows(2) {
            if pair[0] == pair[1] {
                let reason = format!("The manual partition assignment includes the broker {} more than once.", pair[0]);
                return Err(invalid(reason));
            }
        }
        let known = |id: i32| u16::try_from(id).ok().filter(|id| self.authority.brokers.contains_key(&NodeId(*id)));
        let node = |id: &i32| {
            let reason =
                format!("The manual partition assignment includes broker {id}, but no such broker is registered.");
            known(*id).ok_or_else(|| invalid(reason))
        };
        target.iter().map(node).collect()
    }
}

/// The state in which the new replicas stand beside those that will go.
fn moved(state: &PartitionState, target: &[u16]) -> PartitionState {
    let mut removing: Vec<u16> = state.replicas.iter().copied().filter(|node| !target.contains(node)).collect();
    let mut adding: Vec<u16> = target.iter().copied().filter(|node| !state.replicas.contains(node)).collect();
    // Whom an earlier movement was adding is still being added.
    adding.extend(state.adding.iter().copied().filter(|node| target.contains(node)));
    removing.sort_unstable();
    adding.sort_unstable();
    adding.dedup();
    let replicas = target.iter().chain(&removing).copied().collect();
    PartitionState { replicas, adding, removing, ..state.clone() }
}

/// The state without what a movement was adding.
fn given_up(topic: &str, partition: i32, state: &PartitionState, unclean: bool) -> Result<PartitionState, Refusal> {
    if state.adding.is_empty() && state.removing.is_empty() {
        let reason = "No partition reassignment is in progress.".to_owned();
        return Err((ErrorCode::NoReassignmentInProgress, reason));
    }
    let stays = |node: &u16| !state.adding.contains(node);
    let replicas: Vec<u16> = state.replicas.iter().copied().filter(stays).collect();
    let mut isr: Vec<u16> = state.isr.iter().copied().filter(stays).collect();
    if isr.is_empty() {
        if !unclean {
            let reason = format!(
                "Unable to revert partition assignment for {topic}:{partition} because it would require an unclean leader \
                 election."
            );
            return Err((ErrorCode::InvalidReplicaAssignment, reason));
        }
        isr.extend(replicas.first());
    }
    Ok(PartitionState { replicas, isr, adding: Vec::new(), removing: Vec::new(), ..state.clone() })
}

/// Ends a movement whose new replicas are all in sync.
pub(super) fn complete(state: &mut PartitionState, is_active: impl Fn(u16) -> bool) {
    if state.adding.is_empty() && state.removing.is_empty() {
        return;
    }
    let stays = |node: &u16| !state.removing.contains(node);
    let replicas: Vec<u16> = state.replicas.iter().copied().filter(stays).collect();
    let isr: Vec<u16> = state.isr.iter().copied().filter(stays).collect();
    if replicas.is_empty() || isr.is_empty() || !replicas.iter().all(|node| isr.contains(node)) {
        return;
    }
    if replicas.len() < state.replicas.len() {
        // Those who have gone may not go on fetching in an epoch in which they were replicas.
        state.leader_epoch += 1;
    }
    (state.replicas, state.isr) = (replicas, isr);
    (state.adding, state.removing) = (Vec::new(), Vec::new());
    if state.leader.is_some_and(|leader| !state.isr.contains(&leader)) {
        state.leader = state.replicas.iter().copied().find(|node| state.isr.contains(node) && is_active(*node));
    }
}

/// A leader that is no replica any more hands over.
fn keep_led(state: &mut PartitionState, is_active: impl Fn(u16) -> bool) {
    if state.leader.is_some_and(|leader| !state.replicas.contains(&leader) || !state.isr.contains(&leader)) {
        state.leader = state.replicas.iter().copied().find(|node| state.isr.contains(node) && is_active(*node));
        state.leader_epoch += 1;
    }
}
