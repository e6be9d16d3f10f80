//! Committed offsets that are old, or whose topic is gone, go; and so do groups that nothing is left of.
//!
//! `offsets.retention.minutes` counts from when a group became empty; of groups that were never joined, and of topics that a
//! group's members do not read any more, from the commit (KIP-211). An offset whose client said when it expires does so then.

use std::collections::BTreeSet;

use atoll_kernel::{Context, NodeId};

use super::{Group, GroupRecord, Phase, protocol};
use crate::cluster::{Cluster, Then};

type Place = (String, i32);

impl Group {
    /// The offsets that have expired, and whether those are all.
    fn expired(&self, now_ms: i64, retention_ms: i64) -> (Vec<Place>, bool) {
        let Some((since_ms, read)) = self.expires() else { return (Vec::new(), false) };
        let is_over = |(place, committed): &(&Place, &super::Committed)| {
            let age_ms = now_ms.saturating_sub(since_ms.unwrap_or(committed.committed_ms));
            let is_old = committed.expires_ms.map_or(age_ms >= retention_ms, |expires_ms| now_ms >= expires_ms);
            is_old && !read.contains(&place.0) && !self.is_unstable(&place.0, place.1)
        };
        let places: Vec<Place> = self.offsets.iter().filter(is_over).map(|(place, _)| place.clone()).collect();
        let all = places.len() == self.offsets.len();
        (places, all)
    }

    /// From when on its offsets age, if not each from its commit, and the topics whose offsets do not; None if none of them does.
    fn expires(&self) -> Option<(Option<i64>, BTreeSet<String>)> {
        if let Some(consumer) = &self.consumer {
            let read = consumer.members.values().flat_map(|member| consumer.read_by(member)).collect();
            return Some((None, read));
        }
        match self.phase {
            Phase::Empty if self.protocol_type.is_empty() => Some((None, BTreeSet::new())),
            Phase::Empty => Some((self.changed_ms, BTreeSet::new())),
            Phase::Stable if self.protocol_type == protocol::CONSUMER => Some((None, self.subscribed_topics())),
            _ => None,
        }
    }
}

impl Cluster {
    /// Coordinators look for offsets and groups that have expired.
    pub(crate) fn expire_offsets(&mut self, ctx: &Context<'_>) {
        let retention_ms = i64::from(self.config.offsets_retention_minutes).saturating_mul(60_000);
        let (mut partly, mut wholly) = (Vec::new(), Vec::new());
        for ((node, _), loaded) in &self.groups.loaded {
            if !self.is_up(ctx, *node) {
                continue;
            }
            let now_ms = ctx.wall(*node).as_millis();
            for (name, group) in &loaded.groups {
                let (places, all) = group.expired(now_ms, retention_ms);
                let is_over = all && group.pending.is_empty() && group.open_transactions.is_empty();
                if is_over && group.phase == Phase::Empty && !group.has_members() {
                    wholly.push((*node, name.clone()));
                } else if !places.is_empty() {
                    partly.push((*node, name.clone(), places));
                }
            }
        }
        for (node, name) in wholly {
            ctx.trace(|| format!("group {name} expires on {node}"));
            let own = self.own_caller(node);
            // What cannot be stored now is looked at again.
            let _ = self.delete_group(ctx, &own, &name);
        }
        for (node, name, places) in partly {
            self.remove_offsets(ctx, node, &name, &places);
        }
    }

    /// A coordinator has seen that a topic is gone: nobody's offsets in it count.
    pub(crate) fn forget_offsets_of(&mut self, ctx: &Context<'_>, node: NodeId, topic: &str) {
        let mut found = Vec::new();
        for (name, group) in self.groups.of(node) {
            let places: Vec<Place> = group.offsets.keys().filter(|place| place.0 == topic).cloned().collect();
            if !places.is_empty() {
                found.push((name.clone(), places));
            }
        }
        for (name, places) in found {
            self.remove_offsets(ctx, node, &name, &places);
        }
    }

    fn remove_offsets(&mut self, ctx: &Context<'_>, node: NodeId, name: &str, places: &[Place]) {
        let Ok(key) = self.coordinates(node, name) else { return };
        let record = |(topic, partition): &Place| GroupRecord::Offset {
            group: name.to_owned(),
            topic: topic.clone(),
            partition: *partition,
            committed: None,
        };
        let records: Vec<GroupRecord> = places.iter().map(record).collect();
        let own = self.own_caller(node);
        if self.store_group_records(ctx, &own, key, &records, Then::Nothing).is_err() {
            return;
        }
        if let Ok(Some(group)) = self.group_mut(node, name) {
            group.offsets.retain(|place, _| !places.contains(place));
        }
    }
}
