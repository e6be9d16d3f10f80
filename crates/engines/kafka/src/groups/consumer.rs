//! A group of the protocol of KIP-848: the coordinator assigns, and members go over to their assignments one by one, first
//! giving up what others are to have.
//!
//! <https://cwiki.apache.org/confluence/display/KAFKA/KIP-848%3A+The+Next+Generation+of+the+Consumer+Rebalance+Protocol>

use std::collections::{BTreeMap, BTreeSet};

use atoll_kernel::Moment;
use bytes::Bytes;
use regex::{Regex, RegexBuilder};
use uuid::Uuid;

use super::assignors::{self, ASSIGNORS, Assignment, Subscriber, Subscribers, pairs};
use crate::error::ErrorCode;
use crate::state::image::Image;

/// The epoch of a member that leaves.
pub(crate) const LEAVE: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
pub(crate) const LEAVE_FOR_NOW: i32 = -2;
/// The version of OffsetCommit since which members of this protocol tell their epochs.
pub(crate) const EPOCHS_SINCE: i16 = 9;
/// The largest compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// A group as the coordinator holds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConsumerGroup {
    /// Counts the changes of what is read by whom.
    pub epoch: i32,
    /// The group's epoch for which the target was reckoned.
    pub assignment_epoch: i32,
    pub members: BTreeMap<String, ConsumerMember>,
    /// Who is to have what, by member.
    pub target: BTreeMap<String, Assignment>,
    /// The topics that members read and that are there, with their partitions' number.
    pub topics: BTreeMap<String, (Uuid, i32)>,
    /// How much of the metadata `topics` was made from; None if it is to be made anew.
    pub seen: Option<u64>,
}

/// How far a member is with its assignment; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(i8)]
pub(crate) enum MemberState {
    /// It has what it is to have.
    #[default]
    Stable = 1,
    /// It is to give partitions up.
    UnrevokedPartitions = 2,
    /// It waits for partitions that others have.
    UnreleasedPartitions = 3,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsumerMember {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topic_names: BTreeSet<String>,
    /// A regular expression for more of them; empty is none.
    pub topic_regex: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub assignor: Option<String>,
    pub epoch: i32,
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Assignment,
    pub revoking: Assignment,
    /// What there is of it if it speaks the classic protocol.
    pub classic: Option<ClassicMember>,
    /// When its session ends, unless it is heard of.
    pub session_ends: Moment,
    /// Until when it is to have given up what it is to give up.
    pub revocation_ends: Option<Moment>,
    /// Until when a member of the classic protocol is to join again.
    pub join_ends: Option<Moment>,
    /// Until when such a member is to ask for its assignment.
    pub sync_ends: Option<Moment>,
}

/// What a group of KIP-848 knows of a member that speaks the classic protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassicMember {
    pub session_timeout_ms: i32,
    /// Its assignors with the subscription that it sent for each, the one that it likes best first.
    pub protocols: Vec<(String, Bytes)>,
}

impl Default for ConsumerMember {
    fn default() -> Self {
        ConsumerMember {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            topic_names: BTreeSet::new(),
            topic_regex: None,
            rebalance_timeout_ms: -1,
            assignor: None,
            epoch: 0,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Assignment::new(),
            revoking: Assignment::new(),
            classic: None,
            session_ends: Moment::ZERO,
            revocation_ends: None,
            join_ends: None,
            sync_ends: None,
        }
    }
}

/// A regular expression that whole names are held against. Unlike Java's it needs no time beyond the name's length.
pub(crate) fn compile(regex: &str) -> Result<Regex, String> {
    RegexBuilder::new(&format!("^(?:{regex})$")).size_limit(REGEX_BYTES_MAX).build().map_err(|error| error.to_string())
}

impl ConsumerGroup {
    /// As Kafka calls the group's state.
    pub fn state_name(&self) -> &'static str {
        let settled =
            |member: &ConsumerMember| member.state == MemberState::Stable && member.epoch == self.assignment_epoch;
        match () {
            () if self.members.is_empty() => "Empty",
            () if self.epoch > self.assignment_epoch => "Assigning",
            () if !self.members.values().all(settled) => "Reconciling",
            () => "Stable",
        }
    }

    /// The member that uses an instance id.
    pub fn static_member(&self, instance: &str) -> Option<(&String, &ConsumerMember)> {
        self.members.iter().find(|(_, member)| member.instance_id.as_deref() == Some(instance))
    }

    /// A static member that comes back under another id has the target of its former self, whose place it takes.
    pub fn give_place(&mut self, held: &str, id: &str) {
        self.members.remove(held);
        if let Some(target) = self.target.remove(held) {
            self.target.insert(id.to_owned(), target);
        }
    }

    /// Whether there is no place for a member that is new.
    pub fn is_full(&self, id: &str, size_max: usize) -> bool {
        self.members.len() >= size_max && !self.members.contains_key(id)
    }

    /// The assignor that most members like best.
    pub fn assignor(&self) -> &str {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.members.values().filter_map(|member| member.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        let best = votes.into_iter().max_by_key(|(_, count)| *count);
        best.map_or(ASSIGNORS[0], |(name, _)| name)
    }

    /// The topics that a member reads, as far as they are known to the group.
    pub fn read_by(&self, member: &ConsumerMember) -> BTreeSet<String> {
        let regex =
            member.topic_regex.as_deref().filter(|regex| !regex.is_empty()).and_then(|regex| compile(regex).ok());
        let reads = |name: &&String| {
            member.topic_names.contains(*name) || regex.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        self.topics.keys().filter(reads).cloned().collect()
    }

    /// Looks at the metadata anew, unless it is what was seen before. Whether other topics, or more partitions, are read now.
    pub fn refresh_topics(&mut self, image: &Image, applied: u64) -> bool {
        if self.seen == Some(applied) {
            return false;
        }
        self.seen = Some(applied);
        let names: BTreeSet<&String> = self.members.values().flat_map(|member| &member.topic_names).collect();
        let expressions: BTreeSet<&String> = self
            .members
            .values()
            .filter_map(|member| member.topic_regex.as_ref())
            .filter(|one| !one.is_empty())
            .collect();
        let expressions: Vec<Regex> = expressions.into_iter().filter_map(|regex| compile(regex).ok()).collect();
        let read = |name: &String| names.contains(name) || expressions.iter().any(|regex| regex.is_match(name));
        let topics: BTreeMap<String, (Uuid, i32)> = image
            .topics
            .iter()
            .filter(|(name, _)| read(name))
            .map(|(name, topic)| (name.clone(), (topic.id, topic.partitions.len() as i32)))
            .collect();
        let changed = topics != self.topics;
        self.topics = topics;
        changed
    }

    /// Reckons who is to have what in the group's present epoch.
    pub fn retarget(&mut self) {
        let ids = |names: BTreeSet<String>| {
            names.iter().filter_map(|name| self.topics.get(name).map(|found| found.0)).collect()
        };
        let members: Subscribers<'_> = self
            .members
            .iter()
            .map(|(id, member)| {
                let subscriber = Subscriber {
                    instance_id: member.instance_id.as_deref(),
                    topics: ids(self.read_by(member)),
                    before: self.target.get(id).cloned().unwrap_or_default(),
                };
                (id.as_str(), subscriber)
            })
            .collect();
        let counts = self.topics.values().copied().collect();
        self.target = assignors::assign(self.assignor(), &members, &counts);
        self.assignment_epoch = self.epoch;
    }

    /// Whether a member waits for partitions that others still have.
    pub fn waits_for_others(&self, id: &str) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        let has = |topic: &Uuid, partition: i32| {
            member.assigned.get(topic).is_some_and(|assigned| assigned.contains(&partition))
        };
        let target = self.target.get(id);
        target.is_some_and(|target| {
            pairs(target).any(|(topic, part)| !has(&topic, part) && self.is_held("", topic, part))
        })
    }

    /// Whether a partition is with some member other than this one, or being given up by it.
    fn is_held(&self, except: &str, topic: Uuid, partition: i32) -> bool {
        let has = |assignment: &Assignment| assignment.get(&topic).is_some_and(|held| held.contains(&partition));
        self.members.iter().any(|(id, member)| (id != except && has(&member.assigned)) || has(&member.revoking))
    }

    /// Takes a member one step on towards its target, given what it says that it owns.
    pub fn reconcile(&mut self, id: &str, owned: Option<&Assignment>) {
        let Some(member) = self.members.get(id) else { return };
        if member.state == MemberState::Stable && member.epoch == self.assignment_epoch {
            return;
        }
        let owns_any = |revoked: &Assignment| match owned {
            None => !revoked.is_empty(),
            Some(owned) => pairs(revoked).any(|(topic, part)| owned.get(&topic).is_some_and(|all| all.contains(&part))),
        };
        let epoch = match member.state {
            MemberState::UnrevokedPartitions if owns_any(&member.revoking) => return,
            MemberState::UnrevokedPartitions => member.epoch + 1,
            MemberState::Stable | MemberState::UnreleasedPartitions => member.epoch,
        };
        let (mut kept, mut revoking, mut pending) = (Assignment::new(), Assignment::new(), Assignment::new());
        let target = self.target.get(id).cloned().unwrap_or_default();
        let mut waits = false;
        for (topic, partition) in pairs(&member.assigned) {
            let stays = target.get(&topic).is_some_and(|wanted| wanted.contains(&partition));
            let place = if stays { &mut kept } else { &mut revoking };
            place.entry(topic).or_default().insert(partition);
        }
        let had = member.assigned.clone();
        // What this member has given up by now is free, so that it is not held against anybody.
        if let Some(member) = self.members.get_mut(id) {
            member.revoking = Assignment::new();
        }
        for (topic, partition) in pairs(&target) {
            if had.get(&topic).is_some_and(|held| held.contains(&partition)) {
                continue;
            }
            match self.is_held(id, topic, partition) {
                true => waits = true,
                false => drop(pending.entry(topic).or_default().insert(partition)),
            }
        }
        let assignment_epoch = self.assignment_epoch;
        let Some(member) = self.members.get_mut(id) else { return };
        if !revoking.is_empty() && owns_any(&revoking) {
            member.state = MemberState::UnrevokedPartitions;
            member.move_to(epoch);
            (member.assigned, member.revoking) = (kept, revoking);
            return;
        }
        for (topic, partitions) in pending {
            kept.entry(topic).or_default().extend(partitions);
        }
        member.state = if waits { MemberState::UnreleasedPartitions } else { MemberState::Stable };
        member.move_to(assignment_epoch);
        member.assigned = kept;
    }

    /// Whether a commit of offsets by this member counts. A group without members takes those of whoever has no epoch.
    pub fn check_commit(&self, id: &str, epoch: i32) -> Result<(), ErrorCode> {
        if epoch < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?.check_epoch(epoch)
    }

    /// Whether a fetch of offsets by this member counts; whoever is no member may fetch as well.
    pub fn check_fetch(&self, id: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        match id {
            None if epoch < 0 => Ok(()),
            id => match id.and_then(|id| self.members.get(id)) {
                None => Err(ErrorCode::UnknownMemberId),
                Some(member) => member.check_epoch(epoch),
            },
        }
    }

    /// When something happens to the group by itself.
    pub fn next_wake(&self) -> Option<Moment> {
        self.members.values().map(ConsumerMember::ends).min()
    }
}

impl ConsumerMember {
    /// When it loses its place, unless something is heard of it, or done by it.
    pub fn ends(&self) -> Moment {
        let times = [self.revocation_ends, self.join_ends, self.sync_ends];
        times.into_iter().flatten().fold(self.session_ends, Moment::min)
    }

    /// Whether it is in this epoch; to members of the classic protocol, that is their generation.
    fn check_epoch(&self, epoch: i32) -> Result<(), ErrorCode> {
        match &self.classic {
            _ if epoch == self.epoch => Ok(()),
            Some(_) => Err(ErrorCode::IllegalGeneration),
            None => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    fn move_to(&mut self, epoch: i32) {
        if self.epoch != epoch {
            self.previous_epoch = self.epoch;
            self.epoch = epoch;
        }
    }
}
