//! Client quotas: what a broker lets a user, a client or an address have, and for how long it mutes whoever had more.
//!
//! Each broker keeps its own account, and the controller that of changes to topics, over windows of a second by its monotonic
//! clock. Of the quotas that fit, the most specific counts.
//! The answer tells a client how long it is muted, and the server reads nothing from it for that long (KIP-219).
//!
//! <https://kafka.apache.org/documentation/#design_quotas>

mod rates;

use std::collections::BTreeMap;
use std::time::Duration;

use atoll_kernel::{Context, NodeId};
use serde::{Deserialize, Serialize};

use crate::cluster::{Caller, Cluster, Outcome, milliseconds};
use crate::error::ErrorCode;
use crate::wire::{Response, encode_response};
use rates::{Bucket, Rate};

/// Accounts that a broker keeps at most; idle ones go first.
const ACCOUNTS_MAX: usize = 10_000;

/// A user, client or address that a quota names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Name {
    /// All that have none of their own.
    Default,
    /// Just this one.
    Just(String),
}

/// Whom a quota is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// By user.
    pub user: Option<Name>,
    /// By the client's own name.
    pub client_id: Option<Name>,
    /// By address; then by nothing else.
    pub ip: Option<Name>,
}

/// A limit. It is never NaN, so that it equals itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bound(pub f64);

impl Eq for Bound {}

/// All quotas that were set.
pub type Quotas = BTreeMap<Entity, BTreeMap<String, Bound>>;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Produce,
    Fetch,
    Request,
    Mutation,
}

impl Kind {
    fn key(self) -> &'static str {
        match self {
            Kind::Produce => "producer_byte_rate",
            Kind::Fetch => "consumer_byte_rate",
            Kind::Request => "request_percentage",
            Kind::Mutation => "controller_mutation_rate",
        }
    }
}

/// The key of the quota by address.
pub(crate) const CONNECTION_RATE: &str = "connection_creation_rate";

/// Whose account it is: user and client, either of which may be empty.
type Account = (NodeId, Kind, String, String);

/// The accounts of all brokers.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    rates: BTreeMap<Account, Rate>,
    buckets: BTreeMap<Account, Bucket>,
    addresses: BTreeMap<(NodeId, String), Rate>,
}

/// What a request has cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// The size of the request.
    pub request_bytes: usize,
    /// For how long the broker worked on it.
    pub busy: Duration,
}

/// The limit for a user's client, and whose account it is on.
fn limit(quotas: &Quotas, kind: Kind, user: &str, client: &str) -> Option<(f64, String, String)> {
    let just = |name: &str| Some(Name::Just(name.to_owned()));
    let (user_named, client_named, default) = (just(user), just(client), Some(Name::Default));
    let both = || (user.to_owned(), client.to_owned());
    let of_user = || (user.to_owned(), String::new());
    let of_client = || (String::new(), client.to_owned());
    let levels = [
        (&user_named, &client_named, both()),
        (&user_named, &default, both()),
        (&user_named, &None, of_user()),
        (&default, &client_named, both()),
        (&default, &default, both()),
        (&default, &None, of_user()),
        (&None, &client_named, of_client()),
        (&None, &default, of_client()),
    ];
    levels.into_iter().find_map(|(user, client_id, account)| {
        let entity = Entity { user: user.clone(), client_id: client_id.clone(), ip: None };
        let bound = quotas.get(&entity)?.get(kind.key())?;
        Some((bound.0, account.0, account.1))
    })
}

impl Cluster {
    /// Whether any quota is set, as a broker sees it.
    pub fn has_quotas(&self, node: NodeId) -> bool {
        self.brokers.get(&node).is_some_and(|broker| !broker.image.quotas.is_empty())
    }

    fn quota(&self, caller: &Caller, kind: Kind) -> Option<(f64, Account)> {
        let quotas = &self.brokers.get(&caller.node)?.image.quotas;
        if quotas.is_empty() {
            return None;
        }
        let user = caller.principal.split_once(':').map_or("", |(_, name)| name);
        let (bound, user, client) = limit(quotas, kind, user, &caller.client_id)?;
        // Changes to topics are on the account that the controller keeps, whichever broker was asked.
        let keeper = if kind == Kind::Mutation { self.plane.leader() } else { None };
        Some((bound, (keeper.unwrap_or(caller.node), kind, user, client)))
    }

    /// Puts what a request has cost on its account. The answer is told for how long its client is muted, which is returned; a
    /// throttled fetch brings nothing.
    pub fn throttle(&mut self, ctx: &Context<'_>, caller: &Caller, outcome: &mut Outcome, usage: Usage) -> Duration {
        let busy = usage.busy.as_secs_f64() * 100.0;
        let for_time = self.charge(ctx, caller, Kind::Request, busy).min(Duration::from_secs(1));
        let for_bytes = match &*outcome {
            Outcome::Silent => self.charge(ctx, caller, Kind::Produce, usage.request_bytes as f64),
            Outcome::Reply(response) => match &**response {
                Response::Produce(_) => self.charge(ctx, caller, Kind::Produce, usage.request_bytes as f64),
                Response::Fetch(_) => self.charge_fetch(ctx, caller, response, for_time),
                _ => Duration::ZERO,
            },
            _ => return Duration::ZERO,
        };
        let Outcome::Reply(response) = outcome else { return for_time.max(for_bytes) };
        let longest = for_time.max(for_bytes);
        if let (Response::Fetch(fetched), false) = (&mut **response, longest.is_zero()) {
            fetched.responses.clear();
        }
        let Some(told) = response.throttle_time_ms() else { return longest };
        let longest_ms = i32::try_from(longest.as_millis()).unwrap_or(i32::MAX).max(*told);
        *told = longest_ms;
        milliseconds(longest_ms)
    }

    /// What a fetch brings counts, unless it is thrown away.
    fn charge_fetch(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        response: &Response,
        for_time: Duration,
    ) -> Duration {
        let Some((bound, account)) = self.quota(caller, Kind::Fetch) else { return Duration::ZERO };
        let size: usize = encode_response(response, caller.version, 0).iter().map(bytes::Bytes::len).sum();
        let rate = self.accounts.rate(account, ctx.now().as_millis());
        rate.record(ctx.now().as_millis(), size as f64);
        let throttled = rate.excess(ctx.now().as_millis(), bound);
        if !throttled.is_zero() || !for_time.is_zero() {
            rate.record(ctx.now().as_millis(), -(size as f64));
        }
        throttled
    }

    fn charge(&mut self, ctx: &Context<'_>, caller: &Caller, kind: Kind, amount: f64) -> Duration {
        let Some((bound, account)) = self.quota(caller, kind) else { return Duration::ZERO };
        let now_ms = ctx.now().as_millis();
        let rate = self.accounts.rate(account, now_ms);
        rate.record(now_ms, amount);
        rate.excess(now_ms, bound)
    }

    /// The most that one fetch may bring without being thrown away for certain.
    pub(crate) fn fetch_bytes_max(&self, caller: &Caller) -> usize {
        let bound = self.quota(caller, Kind::Fetch).map_or(f64::MAX, |(bound, _)| bound);
        // Larger than any number of bytes saturates.
        (bound * rates::WINDOW_SECONDS) as usize
    }

    /// Changes to topics are about to be made: whether too many have been made before. Since `strict` a client is refused, before it
    /// muted afterwards.
    pub(crate) fn check_mutations(&mut self, ctx: &Context<'_>, caller: &Caller, strict: i16) -> Result<(), ErrorCode> {
        let Some((bound, account)) = self.quota(caller, Kind::Mutation) else { return Ok(()) };
        let bucket = self.accounts.bucket(account, ctx.now().as_millis());
        let exceeded = !bucket.debt(ctx.now().as_millis(), bound).is_zero();
        if exceeded && caller.version >= strict { Err(ErrorCode::ThrottlingQuotaExceeded) } else { Ok(()) }
    }

    /// So many partitions were made or deleted.
    pub(crate) fn record_mutations(&mut self, ctx: &Context<'_>, caller: &Caller, partitions: usize) {
        let Some((bound, account)) = self.quota(caller, Kind::Mutation) else { return };
        self.accounts.bucket(account, ctx.now().as_millis()).take(ctx.now().as_millis(), bound, partitions as f64);
    }

    /// How long a client is muted for its changes to topics: what an answer tells. Since `strict` only whoever was refused hears of it.
    pub(crate) fn mutation_throttle_ms(
        &mut self,
        ctx: &Context<'_>,
        caller: &Caller,
        strict: i16,
        refused: bool,
    ) -> i32 {
        if caller.version >= strict && !refused {
            return 0;
        }
        let Some((bound, account)) = self.quota(caller, Kind::Mutation) else { return 0 };
        let debt = self.accounts.bucket(account, ctx.now().as_millis()).debt(ctx.now().as_millis(), bound);
        i32::try_from(debt.as_millis()).unwrap_or(i32::MAX)
    }

    /// A connection has come from an address: for how long it is to be kept waiting before it is closed, if too many have.
    pub fn connection_came(&mut self, ctx: &Context<'_>, node: NodeId, ip: &str) -> Option<Duration> {
        let quotas = &self.brokers.get(&node)?.image.quotas;
        let find = |name: Name| {
            let entity = Entity { ip: Some(name), ..Entity::default() };
            quotas.get(&entity).and_then(|values| values.get(CONNECTION_RATE)).map(|bound| bound.0)
        };
        let bound = find(Name::Just(ip.to_owned())).or_else(|| find(Name::Default))?;
        let now_ms = ctx.now().as_millis();
        make_room(&mut self.accounts.addresses, |rate| rate.is_idle(now_ms));
        let rate = self.accounts.addresses.entry((node, ip.to_owned())).or_default();
        rate.record(now_ms, 1.0);
        let excess = rate.excess(now_ms, bound);
        if excess.is_zero() {
            return None;
        }
        rate.record(now_ms, -1.0);
        Some(excess.min(Duration::from_secs(1)))
    }
}

impl Accounts {
    fn rate(&mut self, account: Account, now_ms: u64) -> &mut Rate {
        make_room(&mut self.rates, |rate| rate.is_idle(now_ms));
        self.rates.entry(account).or_default()
    }

    fn bucket(&mut self, account: Account, now_ms: u64) -> &mut Bucket {
        make_room(&mut self.buckets, |bucket| bucket.is_idle(now_ms));
        self.buckets.entry(account).or_default()
    }
}

/// Makes room where there are too many accounts: those that are idle go, or else any one.
fn make_room<K: Ord + Clone, V>(accounts: &mut BTreeMap<K, V>, is_idle: impl Fn(&V) -> bool) {
    if accounts.len() >= ACCOUNTS_MAX {
        accounts.retain(|_, account| !is_idle(account));
        if accounts.len() >= ACCOUNTS_MAX {
            accounts.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(set: &[(Option<&str>, Option<&str>, f64)]) -> Quotas {
        let name = |text: &str| if text == "*" { Name::Default } else { Name::Just(text.to_owned()) };
        let entity = |(user, client, bound): &(Option<&str>, Option<&str>, f64)| {
            let entity = Entity { user: user.map(name), client_id: client.map(name), ip: None };
            (entity, BTreeMap::from([("producer_byte_rate".to_owned(), Bound(*bound))]))
        };
        set.iter().map(entity).collect()
    }

    /// Kafka's order, from the most specific to the least.
    #[test]
    fn the_most_specific_quota_counts() {
        let levels = [
            (Some("u"), Some("c"), 1.0),
            (Some("u"), Some("*"), 2.0),
            (Some("u"), None, 3.0),
            (Some("*"), Some("c"), 4.0),
            (Some("*"), Some("*"), 5.0),
            (Some("*"), None, 6.0),
            (None, Some("c"), 7.0),
            (None, Some("*"), 8.0),
        ];
        for first in 0..levels.len() {
            let (bound, ..) = limit(&quotas(&levels[first..]), Kind::Produce, "u", "c").unwrap();
            assert_eq!(bound, levels[first].2);
        }
        assert_eq!(limit(&quotas(&levels), Kind::Fetch, "u", "c"), None, "another kind");
        let shared = limit(&quotas(&levels[2..3]), Kind::Produce, "u", "c").unwrap();
        assert_eq!(shared, (3.0, "u".to_owned(), String::new()), "all clients of a user share");
    }
}
