//! Groups and committed offsets that are removed.

use std::collections::BTreeSet;

use atoll_kernel::{Context, NodeId};

use super::{GroupRecord, Phase, has_name, protocol};
use crate::cluster::{Caller, Cluster, Outcome, Then};
use crate::error::ErrorCode;
use crate::wire::Response;

impl Cluster {
    /// Removes a group without members, and its offsets.
    pub(crate) fn delete_group(&mut self, ctx: &Context<'_>, caller: &Caller, name: &str) -> Result<(), ErrorCode> {
        let key = self.coordinates(caller.node, name)?;
        let group = self.group(caller.node, name)?.ok_or(ErrorCode::GroupIdNotFound)?;
        if group.has_members() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut records: Vec<GroupRecord> = group
            .offsets
            .keys()
            .map(|(topic, partition)| GroupRecord::Offset {
                group: name.to_owned(),
                topic: topic.clone(),
                partition: *partition,
                committed: None,
            })
            .collect();
        if let Some(consumer) = &group.consumer {
            records.extend(consumer.end_records(name));
        } else {
            records.push(GroupRecord::Group { group: name.to_owned(), metadata: None });
        }
        let own = self.own_caller(caller.node);
        self.store_group_records(ctx, &own, key, &records, Then::Nothing)?;
        if let Some(loaded) = self.groups.loaded.get_mut(&(caller.node, key.1)) {
            loaded.groups.remove(name);
        }
        Ok(())
    }

    /// The topics whose offsets a group keeps because its members read them, or why no offset of it can be removed.
    pub(crate) fn check_offset_deletion(&self, node: NodeId, name: &str) -> Result<BTreeSet<String>, ErrorCode> {
        has_name(name)?;
        let group = self.group(node, name)?.ok_or(ErrorCode::GroupIdNotFound)?;
        if let Some(consumer) = &group.consumer {
            return Ok(consumer.members.values().flat_map(|member| consumer.read_by(member)).collect());
        }
        match group.phase {
            Phase::Empty => Ok(BTreeSet::new()),
            // Members of another kind do not say what they read.
            _ if group.protocol_type != protocol::CONSUMER => Err(ErrorCode::NonEmptyGroup),
            _ => Ok(group.subscribed_topics()),
        }
    }

    /// Removes offsets of a group. The answer follows when that is safe.
    pub(crate) fn delete_offsets(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        name: &str,
        doomed: &[(String, i32)],
        stored: Response,
        failed: fn(ErrorCode) -> Response,
    ) -> Outcome {
        let Ok(Some(group)) = self.group_mut(caller.node, name) else {
            return failed(ErrorCode::NotCoordinator).into();
        };
        let mut records = Vec::new();
        for (topic, partition) in doomed {
            if group.offsets.remove(&(topic.clone(), *partition)).is_some() {
                records.push(GroupRecord::Offset {
                    group: name.to_owned(),
                    topic: topic.clone(),
                    partition: *partition,
                    committed: None,
                });
            }
        }
        if records.is_empty() {
            return stored.into();
        }
        let then = Then::Respond(Box::new(stored), failed);
        let key = self.coordinates(caller.node, name);
        match key.and_then(|key| self.store_group_records(ctx, caller, key, &records, then)) {
            Ok(()) => Outcome::Parked,
            Err(error) => failed(error).into(),
        }
    }
}
