//! The arithmetic of a rolling update, apart from objects.

use serde_json::Value;

/// How far a rolling update may go above and below the wanted number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pods above.
    pub max_surge: i64,
    /// Pods below.
    pub max_unavailable: i64,
}

impl Limits {
    /// The limits of a deployment; percentages of surge round up, of unavailability down, and both may not be 0.
    pub fn of(deployment: &Value, wanted: i64) -> Limits {
        let rolling = |part: &str| deployment.pointer(&format!("/spec/strategy/rollingUpdate/{part}"));
        if deployment.pointer("/spec/strategy/type").and_then(Value::as_str) == Some("Recreate") {
            return Limits { max_surge: 0, max_unavailable: 0 };
        }
        let max_surge = share(rolling("maxSurge"), wanted, true);
        let max_unavailable = share(rolling("maxUnavailable"), wanted, false).min(wanted);
        match (max_surge, max_unavailable) {
            (0, 0) => Limits { max_surge: 0, max_unavailable: 1 },
            _ => Limits { max_surge, max_unavailable },
        }
    }
}

fn share(value: Option<&Value>, wanted: i64, up: bool) -> i64 {
    match value {
        Some(Value::String(text)) => {
            let percent: i64 = text.strip_suffix('%').and_then(|digits| digits.parse().ok()).unwrap_or(0);
            let product = percent.saturating_mul(wanted);
            if up { (product + 99) / 100 } else { product / 100 }
        }
        Some(number) => number.as_i64().unwrap_or(0),
        None => 0,
    }
}

/// The next size of the new set: as large as the surge admits.
pub fn next_new_size(wanted: i64, limits: Limits, total: i64, present: i64) -> i64 {
    let room = wanted + limits.max_surge - total;
    if room <= 0 { present } else { present + room.min(wanted - present).max(0) }
}

/// The next sizes of the old sets, oldest first, given (size, available) of the new set and of each old one: unhealthy
/// pods go first, then as many as availability admits.
pub fn next_old_sizes(wanted: i64, limits: Limits, new: (i64, i64), old: &[(i64, i64)]) -> Vec<i64> {
    let mut sizes: Vec<i64> = old.iter().map(|(size, _)| *size).collect();
    let total = new.0 + sizes.iter().sum::<i64>();
    let minimum = wanted - limits.max_unavailable;
    let mut budget = total - minimum - (new.0 - new.1);
    if budget <= 0 {
        return sizes;
    }
    for (size, (_, available)) in sizes.iter_mut().zip(old) {
        let unhealthy = (*size - available).max(0).min(budget);
        *size -= unhealthy;
        budget -= unhealthy;
    }
    let available: i64 = new.1 + old.iter().map(|(_, available)| available).sum::<i64>();
    let mut surplus = (available - minimum).max(0);
    for size in &mut sizes {
        let step = (*size).min(surplus);
        *size -= step;
        surplus -= step;
    }
    sizes
}

/// New sizes in proportion to the present ones, with the given sum; what rounding leaves goes to the largest.
pub fn proportional(sizes: &[i64], sum: i64) -> Vec<i64> {
    let total: i64 = sizes.iter().sum();
    if total == 0 {
        return sizes.to_vec();
    }
    let mut shares: Vec<i64> = sizes.iter().map(|size| size * sum / total).collect();
    let left = sum - shares.iter().sum::<i64>();
    if let Some(largest) = (0..sizes.len()).max_by_key(|at| sizes[*at]) {
        shares[largest] += left;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn limits(surge: &str, unavailable: &str, wanted: i64) -> Limits {
        let deployment =
            json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}}});
        Limits::of(&deployment, wanted)
    }

    #[test]
    fn percentages_round_for_safety() {
        assert_eq!(limits("25%", "25%", 3), Limits { max_surge: 1, max_unavailable: 0 });
        assert_eq!(limits("0%", "25%", 3), Limits { max_surge: 0, max_unavailable: 1 });
    }

    /// Steps a rollout to its end, with every pod available a step later, and checks both limits all the way.
    #[test]
    fn a_rollout_ends_and_never_leaves_its_limits() {
        for wanted in 1..12 {
            for (surge, unavailable) in [("25%", "25%"), ("100%", "0%"), ("0%", "50%"), ("1%", "0%")] {
                let limits = limits(surge, unavailable, wanted);
                let (mut new, mut new_available, mut old) = (0, 0, wanted);
                for _ in 0..100 {
                    new = next_new_size(wanted, limits, new + old, new);
                    old = next_old_sizes(wanted, limits, (new, new_available), &[(old, old)])[0];
                    assert!(new + old <= wanted + limits.max_surge, "{wanted} {surge} {unavailable}");
                    assert!(new_available + old >= wanted - limits.max_unavailable, "{wanted} {surge} {unavailable}");
                    new_available = new;
                }
                assert_eq!((new, old), (wanted, 0), "{wanted} {surge} {unavailable}");
            }
        }
    }

    #[test]
    fn proportional_shares_add_up() {
        assert_eq!(proportional(&[5, 3, 2], 15), [8, 4, 3]);
        assert_eq!(proportional(&[1, 1], 0), [0, 0]);
    }
}
