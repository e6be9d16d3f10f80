//! Who reads what, as the coordinator reckons it: `uniform`, which is the default, and `range` (KIP-848).

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

/// Partitions by topic.
pub(crate) type Assignment = BTreeMap<Uuid, BTreeSet<i32>>;

/// The names of the assignors, the default first.
pub(crate) const ASSIGNORS: &[&str] = &["uniform", "range"];

/// A member as assignors see it.
#[derive(Debug, Clone)]
pub(crate) struct Subscriber<'a> {
    pub instance_id: Option<&'a str>,
    /// The topics that it reads and that are there.
    pub topics: BTreeSet<Uuid>,
    /// What it was assigned before.
    pub before: Assignment,
}

/// Members by their ids.
pub(crate) type Subscribers<'a> = BTreeMap<&'a str, Subscriber<'a>>;

/// Shares the partitions of topics, of which `counts` says how many each has, among the members.
pub(crate) fn assign(
    assignor: &str,
    members: &Subscribers<'_>,
    counts: &BTreeMap<Uuid, i32>,
) -> BTreeMap<String, Assignment> {
    match assignor {
        "range" => range(members, counts),
        _ if is_homogeneous(members) => uniform(members, counts),
        _ => balanced(members, counts),
    }
}

fn is_homogeneous(members: &Subscribers<'_>) -> bool {
    let mut topics = members.values().map(|member| &member.topics);
    let first = topics.next();
    topics.all(|topics| Some(topics) == first)
}

/// Every member gets a run of partitions of each topic, the first members one more where it does not come out even.
fn range(members: &Subscribers<'_>, counts: &BTreeMap<Uuid, i32>) -> BTreeMap<String, Assignment> {
    let mut order: Vec<(&str, &Subscriber<'_>)> = members.iter().map(|(id, member)| (*id, member)).collect();
    // Static members come first, so that they keep their runs while others come and go.
    order.sort_by_key(|(id, member)| (member.instance_id.is_none(), member.instance_id.unwrap_or(id).to_owned()));
    let mut assigned: BTreeMap<String, Assignment> =
        members.keys().map(|id| ((*id).to_owned(), Assignment::new())).collect();
    for (topic, count) in counts {
        let readers: Vec<&str> =
            order.iter().filter(|(_, member)| member.topics.contains(topic)).map(|(id, _)| *id).collect();
        let readers_count = readers.len() as i32;
        let mut next = 0;
        for (place, id) in readers.into_iter().enumerate() {
            let quota = count / readers_count + i32::from((place as i32) < count % readers_count);
            if quota > 0 {
                let partitions = (next..next + quota).collect();
                assigned.entry(id.to_owned()).or_default().insert(*topic, partitions);
            }
            next += quota;
        }
    }
    assigned
}

/// All members read the same: each gets as many as the others, give or take one, and keeps what it can.
fn uniform(members: &Subscribers<'_>, counts: &BTreeMap<Uuid, i32>) -> BTreeMap<String, Assignment> {
    let topics = members.values().next().map(|member| member.topics.clone()).unwrap_or_default();
    let exists = |topic: &Uuid, partition: i32| {
        topics.contains(topic) && counts.get(topic).is_some_and(|count| partition < *count)
    };
    let mut free: BTreeSet<(Uuid, i32)> = topics
        .iter()
        .flat_map(|topic| (0..counts.get(topic).copied().unwrap_or(0)).map(move |partition| (*topic, partition)))
        .collect();
    let (quota_min, mut extra) = (free.len() / members.len().max(1), free.len() % members.len().max(1));
    let mut assigned = BTreeMap::new();
    let mut unfilled: Vec<(&str, usize)> = Vec::new();
    for (id, member) in members {
        let mut quota = quota_min + usize::from(extra > 0);
        extra = extra.saturating_sub(1);
        let mut kept = Assignment::new();
        for (topic, partition) in pairs(&member.before) {
            if quota > 0 && exists(&topic, partition) && free.remove(&(topic, partition)) {
                kept.entry(topic).or_default().insert(partition);
                quota -= 1;
            }
        }
        if quota > 0 {
            unfilled.push((*id, quota));
        }
        assigned.insert((*id).to_owned(), kept);
    }
    let mut free = free.into_iter();
    for (id, quota) in unfilled {
        let member = assigned.entry(id.to_owned()).or_default();
        for (topic, partition) in free.by_ref().take(quota) {
            member.entry(topic).or_default().insert(partition);
        }
    }
    assigned
}

/// Members read different topics: each keeps what it has, what is free goes to whoever has least, and then one partition after
/// the other moves from those who have more to those who have less, as long as somebody has two more than another reader.
fn balanced(members: &Subscribers<'_>, counts: &BTreeMap<Uuid, i32>) -> BTreeMap<String, Assignment> {
    let mut owner: BTreeMap<(Uuid, i32), &str> = BTreeMap::new();
    let mut load: BTreeMap<&str, usize> = members.keys().map(|id| (*id, 0)).collect();
    for (id, member) in members {
        for (topic, partition) in pairs(&member.before) {
            let exists = counts.get(&topic).is_some_and(|count| partition < *count);
            if exists && member.topics.contains(&topic) && !owner.contains_key(&(topic, partition)) {
                owner.insert((topic, partition), id);
                *load.entry(id).or_default() += 1;
            }
        }
    }
    let readers = |topic: &Uuid| -> Vec<&str> {
        members.iter().filter(|(_, member)| member.topics.contains(topic)).map(|(id, _)| *id).collect()
    };
    for (topic, count) in counts {
        let readers = readers(topic);
        for partition in 0..*count {
            if owner.contains_key(&(*topic, partition)) {
                continue;
            }
            let Some(least) = readers.iter().copied().min_by_key(|id| load.get(id).copied()) else { continue };
            owner.insert((*topic, partition), least);
            *load.entry(least).or_default() += 1;
        }
    }
    // Each round moves what it can; a round that moves nothing ends it, and every move makes loads more even.
    loop {
        let mut moved = false;
        for (place, holder) in &mut owner {
            let readers = readers(&place.0);
            let Some(least) = readers.iter().copied().min_by_key(|id| load.get(id).copied()) else { continue };
            let (most_load, least_load) =
                (load.get(holder).copied().unwrap_or(0), load.get(least).copied().unwrap_or(0));
            if most_load > least_load + 1 {
                load.insert(holder, most_load - 1);
                load.insert(least, least_load + 1);
                *holder = least;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    let mut assigned: BTreeMap<String, Assignment> =
        members.keys().map(|id| ((*id).to_owned(), Assignment::new())).collect();
    for ((topic, partition), id) in owner {
        assigned.entry(id.to_owned()).or_default().entry(topic).or_default().insert(partition);
    }
    assigned
}

/// An assignment partition by partition.
pub(crate) fn pairs(assignment: &Assignment) -> impl Iterator<Item = (Uuid, i32)> + '_ {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (*topic, *partition)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn member(topics: &[u128], before: &[(u128, &[i32])]) -> Subscriber<'static> {
        let before = before.iter().map(|(name, partitions)| (topic(*name), partitions.iter().copied().collect()));
        Subscriber {
            instance_id: None,
            topics: topics.iter().map(|name| topic(*name)).collect(),
            before: before.collect(),
        }
    }

    fn sizes(assigned: &BTreeMap<String, Assignment>) -> Vec<usize> {
        assigned.values().map(|one| pairs(one).count()).collect()
    }

    #[test]
    fn range_gives_each_member_a_run_of_every_topic() {
        let members = BTreeMap::from([("a", member(&[1, 2], &[])), ("b", member(&[1, 2], &[]))]);
        let assigned = assign("range", &members, &BTreeMap::from([(topic(1), 3), (topic(2), 2)]));
        assert_eq!(assigned["a"], BTreeMap::from([(topic(1), [0, 1].into()), (topic(2), [0].into())]));
        assert_eq!(assigned["b"], BTreeMap::from([(topic(1), [2].into()), (topic(2), [1].into())]));
    }

    #[test]
    fn uniform_keeps_what_members_have_and_gives_newcomers_the_rest() {
        let members = BTreeMap::from([
            ("a", member(&[1], &[(1, &[0, 1, 2])])),
            ("b", member(&[1], &[(1, &[3, 4, 5])])),
            ("c", member(&[1], &[])),
        ]);
        let assigned = assign("uniform", &members, &BTreeMap::from([(topic(1), 6)]));
        assert_eq!(sizes(&assigned), [2, 2, 2]);
        assert_eq!(assigned["a"], BTreeMap::from([(topic(1), [0, 1].into())]));
        assert_eq!(assigned["b"], BTreeMap::from([(topic(1), [3, 4].into())]));
    }

    #[test]
    fn uniform_evens_out_members_that_read_different_topics() {
        let members = BTreeMap::from([
            ("a", member(&[1, 2], &[(1, &[0, 1, 2, 3])])),
            ("b", member(&[1], &[])),
            ("c", member(&[2], &[])),
        ]);
        let assigned = assign("uniform", &members, &BTreeMap::from([(topic(1), 4), (topic(2), 2)]));
        assert_eq!(sizes(&assigned), [2, 2, 2]);
        assert_eq!(assigned["c"], BTreeMap::from([(topic(2), [0, 1].into())]));
    }

    #[test]
    fn every_partition_has_one_owner_also_where_a_topic_is_gone() {
        let members =
            BTreeMap::from([("a", member(&[1], &[(1, &[0, 7]), (9, &[1])])), ("b", member(&[1], &[(1, &[0])]))]);
        for assignor in ASSIGNORS {
            let assigned = assign(assignor, &members, &BTreeMap::from([(topic(1), 3)]));
            let all: BTreeSet<_> = assigned.values().flat_map(pairs).collect();
            assert_eq!((all.len(), sizes(&assigned).iter().sum::<usize>()), (3, 3), "{assignor}");
        }
    }
}
