//! Elections that somebody asks for: the preferred leader, or any replica that is left.

use atoll_kernel::{Context, NodeId};

use super::Cluster;
use super::controller::Refusal;
use crate::error::ErrorCode;
use crate::state::image::{MetadataRecord, PartitionState};

/// Who is to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Election {
    /// The first replica, if it is in sync.
    Preferred,
    /// Anybody, where nobody leads: at the price of what the new leader lacks.
    Unclean,
}

impl Cluster {
    /// Gives a partition another leader.
    pub(crate) fn elect_leader(
        &mut self,
        ctx: &Context<'_>,
        topic: &str,
        partition: i32,
        election: Election,
    ) -> Result<(), Refusal> {
        let unknown = |reason: String| (ErrorCode::UnknownTopicOrPartition, reason);
        if !self.authority.topics.contains_key(topic) {
            return Err(unknown(format!("No such topic as {topic}")));
        }
        let Some((key, _, state)) = self.authority.partition(topic, partition) else {
            return Err(unknown(format!("No such partition as {topic}-{partition}")));
        };
        let is_active = |node: &u16| self.authority.is_active(NodeId(*node));
        let elected = elect(state, election, is_active).map_err(|error| (error, message(error).to_owned()))?;
        let records = vec![MetadataRecord::Partition { topic: key.0, partition: key.1, state: elected }];
        self.commit(ctx, records).map_err(|error| (error, "The controller has no majority.".to_owned()))
    }

    /// Every partition, by name and index, in order.
    pub(crate) fn all_partitions(&self) -> Vec<(String, i32)> {
        let topics = self.authority.topics.iter();
        topics
            .flat_map(|(name, topic)| (0..topic.partitions.len() as i32).map(move |index| (name.clone(), index)))
            .collect()
    }
}

fn message(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::ElectionNotNeeded => "Leader election not needed for topic partition.",
        ErrorCode::PreferredLeaderNotAvailable => "The preferred leader was not available.",
        _ => "Eligible topic partition leaders are not available.",
    }
}

fn elect(
    state: &PartitionState,
    election: Election,
    is_active: impl Fn(&u16) -> bool,
) -> Result<PartitionState, ErrorCode> {
    let in_sync = |node: &&u16| state.isr.contains(node) && is_active(node);
    let (leader, isr) = match election {
        Election::Preferred if state.leader.is_some() && state.leader.as_ref() == state.replicas.first() => {
            return Err(ErrorCode::ElectionNotNeeded);
        }
        Election::Unclean if state.leader.is_some() => return Err(ErrorCode::ElectionNotNeeded),
        Election::Preferred => {
            let leader = state.replicas.first().filter(in_sync).ok_or(ErrorCode::PreferredLeaderNotAvailable)?;
            (*leader, state.isr.clone())
        }
        Election::Unclean => match state.replicas.iter().find(in_sync) {
            Some(leader) => (*leader, state.isr.clone()),
            None => {
                let left = state.replicas.iter().find(|node| is_active(node));
                let leader = *left.ok_or(ErrorCode::EligibleLeadersNotAvailable)?;
                (leader, vec![leader])
            }
        },
    };
    Ok(PartitionState {
        leader: Some(leader),
        isr,
        leader_epoch: state.leader_epoch + 1,
        partition_epoch: state.partition_epoch + 1,
        ..state.clone()
    })
}
