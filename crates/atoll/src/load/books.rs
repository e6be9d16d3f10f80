//! Reads the application's books and compares them with what was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use tokio::time::Instant;

use super::Balancer;

const PAGE: usize = 2000;
/// More orders than this are not held; the application keeps fewer.
const ORDERS_MAX: usize = 1_000_000;

/// What the books hold against one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Discrepancy {
    /// The order.
    pub order: String,
    /// True if the customer was told that it is accepted.
    pub accepted: bool,
    /// How often it was paid.
    pub paid: u64,
    /// How often its goods were reserved.
    pub reserved: u64,
    /// How often it was booked.
    pub booked: u64,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciliation {
    /// Orders accepted.
    pub accepted: u64,
    /// Accepted orders that were paid, reserved and booked once.
    pub balanced: u64,
    /// Everything else: accepted orders that were not, and orders that were half carried out.
    pub discrepancies: Vec<Discrepancy>,
}

impl Reconciliation {
    /// True if there is nothing to hold against any order.
    pub fn is_balanced(&self) -> bool {
        self.discrepancies.is_empty() && self.accepted == self.balanced
    }
}

impl Discrepancy {
    /// In words.
    pub fn text(&self) -> String {
        let told = if self.accepted { "accepted" } else { "not accepted" };
        let Discrepancy { order, paid, reserved, booked, .. } = self;
        format!("order {order} ({told}): paid {paid}, reserved {reserved}, booked {booked} times")
    }
}

/// One order's counts: paid, reserved, booked.
type Counts = (u64, u64, u64);

/// Compares once the pipeline has emptied itself: again and again until all is well, or patience is over.
///
/// `settled` are orders that were found balanced before and may have been folded into a sum since; those found now are
/// added.
///
/// # Errors
/// Why the books could not be read.
pub async fn reconcile(
    balancer: &Balancer,
    accepted: &BTreeSet<String>,
    run: &str,
    settled: &mut BTreeSet<String>,
    patience: Duration,
) -> Result<Reconciliation, String> {
    let deadline = Instant::now() + patience;
    loop {
        let outcome = read(balancer).await.map(|books| compare(&books, accepted, run, settled));
        let is_over = Instant::now() >= deadline;
        match outcome {
            Ok(found) if found.is_balanced() || is_over => return Ok(found),
            Err(error) if is_over => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}

/// How many orders are known and not balanced: what waits in the pipeline.
pub async fn waiting(balancer: &Balancer) -> Option<u64> {
    balancer.read("/books?limit=1").await.ok()?["totals"]["open"].as_u64()
}

async fn read(balancer: &Balancer) -> Result<BTreeMap<String, Counts>, String> {
    let mut books = BTreeMap::new();
    let mut offset = 0;
    while books.len() < ORDERS_MAX {
        let page = balancer.read(&format!("/books?offset={offset}&limit={PAGE}")).await?;
        for entry in page["orders"].as_array().into_iter().flatten() {
            let count = |name: &str| entry[name].as_u64().unwrap_or(0);
            let counts = (count("paid"), count("reserved"), count("booked"));
            books.insert(entry["order"].as_str().unwrap_or_default().to_owned(), counts);
        }
        match page["next"].as_u64() {
            Some(next) if next > offset => offset = next,
            _ => break,
        }
    }
    Ok(books)
}

fn compare(
    books: &BTreeMap<String, Counts>,
    accepted: &BTreeSet<String>,
    run: &str,
    settled: &mut BTreeSet<String>,
) -> Reconciliation {
    let mut found = Reconciliation { accepted: accepted.len() as u64, ..Reconciliation::default() };
    let discrepancy = |order: &str, (paid, reserved, booked): Counts| Discrepancy {
        order: order.to_owned(),
        accepted: accepted.contains(order),
        paid,
        reserved,
        booked,
    };
    for order in accepted {
        match books.get(order) {
            Some((1, 1, 1)) => {
                found.balanced += 1;
                settled.insert(order.clone());
            }
            None if settled.contains(order) => found.balanced += 1,
            counts => found.discrepancies.push(discrepancy(order, counts.copied().unwrap_or_default())),
        }
    }
    // An order that was not accepted may have been carried out all the same, but then wholly.
    let own = format!("{run}-");
    let others = books
        .iter()
        .filter(|(order, counts)| order.starts_with(&own) && !accepted.contains(*order) && **counts != (1, 1, 1));
    found.discrepancies.extend(others.map(|(order, counts)| discrepancy(order, *counts)));
    found
}

/// The counts in an entry of the books, for tests.
#[cfg(test)]
pub(super) fn compare_for_tests(entries: &serde_json::Value, accepted: &[&str], run: &str) -> Reconciliation {
    let entries = entries.as_object().into_iter().flatten();
    let books = entries
        .map(|(order, counts)| {
            let count = |index: usize| counts[index].as_u64().unwrap_or(0);
            (order.clone(), (count(0), count(1), count(2)))
        })
        .collect();
    let accepted = accepted.iter().map(|order| (*order).to_owned()).collect();
    compare(&books, &accepted, run, &mut BTreeSet::new())
}
