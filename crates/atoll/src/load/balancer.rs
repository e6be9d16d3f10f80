//! A load balancer as it stands before a real cluster: health checks, failover, retries of what may be repeated.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use atoll_chaos::Outcome;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::client::Client;
use super::orders::Order;

/// How long an order is tried before it is given up.
const ORDER_PATIENCE: Duration = Duration::from_secs(30);
/// How long one attempt may take: longer than the gateway takes to answer that it has no answer. A balancer that is less
/// patient than what stands behind it turns a stall into a storm of retries.
const ATTEMPT_PATIENCE: Duration = Duration::from_secs(15);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
const CHECK_PATIENCE: Duration = Duration::from_secs(2);
/// So many failed checks in a row take an address out.
const CHECKS_FAILED_MAX: u32 = 2;

/// The gateway's addresses, and which of them answer.
pub struct Balancer {
    targets: Vec<Rc<Target>>,
    turn: Cell<usize>,
    checks: Vec<JoinHandle<()>>,
}

struct Target {
    client: Client,
    is_well: watch::Sender<bool>,
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.checks.iter().for_each(JoinHandle::abort);
    }
}

impl Balancer {
    /// Begins to check the addresses.
    pub fn new(addresses: &[SocketAddr]) -> Balancer {
        let target =
            |address: &SocketAddr| Rc::new(Target { client: Client::new(*address), is_well: watch::Sender::new(true) });
        let targets: Vec<Rc<Target>> = addresses.iter().map(target).collect();
        let check = |target: &Rc<Target>| tokio::task::spawn_local(check(Rc::clone(target)));
        let checks = targets.iter().map(check).collect();
        Balancer { targets, turn: Cell::new(0), checks }
    }

    /// Sends an order until it is answered for good, to another address after each attempt that failed.
    pub async fn place(&self, order: &Order) -> Outcome {
        let deadline = Instant::now() + ORDER_PATIENCE;
        let mut attempts = 0;
        let mut avoid = None;
        loop {
            let index = self.choose(avoid);
            let reason = match self.attempt(index, Method::POST, "/orders", Some(order.body.clone())).await {
                Ok((StatusCode::CREATED, _)) => return Outcome::Accepted,
                Ok((status, body)) if status.is_client_error() => return Outcome::Failed(refusal(status, &body)),
                Ok((status, body)) => refusal(status, &body),
                Err(reason) => reason,
            };
            avoid = Some(index);
            let pause = Duration::from_millis(50 << attempts.min(5));
            attempts += 1;
            if Instant::now() + pause >= deadline {
                return Outcome::Failed(reason);
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads a document, trying each address a few times.
    ///
    /// # Errors
    /// What the last attempt failed with.
    pub async fn read(&self, path: &str) -> Result<Value, String> {
        let mut avoid = None;
        let mut reason = "there is no address".to_owned();
        for _ in 0..2 * self.targets.len() {
            let index = self.choose(avoid);
            match self.attempt(index, Method::GET, path, None).await {
                Ok((StatusCode::OK, body)) => return serde_json::from_slice(&body).map_err(|error| error.to_string()),
                Ok((status, body)) => reason = refusal(status, &body),
                Err(error) => reason = error,
            }
            avoid = Some(index);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(reason)
    }

    /// The next address in turn that is well and was not the last one tried; any other if none is.
    fn choose(&self, avoid: Option<usize>) -> usize {
        let count = self.targets.len().max(1);
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let in_turn = || (0..count).map(|step| turn.wrapping_add(step) % count);
        let is_well = |index: &usize| self.targets.get(*index).is_some_and(|target| *target.is_well.borrow());
        in_turn()
            .find(|index| is_well(index) && Some(*index) != avoid)
            .or_else(|| in_turn().find(is_well))
            // All are ill, so illness says nothing.
            .unwrap_or(turn % count)
    }

    async fn attempt(
        &self,
        index: usize,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<(StatusCode, Bytes), String> {
        let target = self.targets.get(index).ok_or("there is no address")?;
        let address = target.client.address();
        let mut health = target.is_well.subscribe();
        health.mark_unchanged();
        let falls_ill = async {
            loop {
                if health.changed().await.is_err() {
                    return std::future::pending().await;
                }
                // If no other address is better, waiting here is as good as waiting there.
                let others = self.targets.iter().enumerate().filter(|(other, _)| *other != index);
                if !*health.borrow_and_update() && others.into_iter().any(|(_, other)| *other.is_well.borrow()) {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            answer = tokio::time::timeout(ATTEMPT_PATIENCE, target.client.exchange(method, path, body)) => match answer {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(reason)) => Err(format!("{address}: {reason}")),
                Err(_) => Err(format!("{address}: no answer within {} s", ATTEMPT_PATIENCE.as_secs())),
            },
            () = falls_ill => Err(format!("{address}: stopped answering")),
        }
    }
}

fn refusal(status: StatusCode, body: &Bytes) -> String {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = document["error"].as_str().unwrap_or("no reason given");
    // Bounded, since reasons are counted by their text.
    format!("{}: {}", status.as_u16(), said.chars().take(120).collect::<String>())
}

async fn check(target: Rc<Target>) {
    let mut failed = 0;
    loop {
        let answer = tokio::time::timeout(CHECK_PATIENCE, target.client.exchange(Method::GET, "/ready", None)).await;
        if matches!(answer, Ok(Ok((StatusCode::OK, _)))) {
            failed = 0;
            target.is_well.send_if_modified(|is_well| !std::mem::replace(is_well, true));
        } else {
            failed += 1;
            if failed >= CHECKS_FAILED_MAX {
                target.is_well.send_if_modified(|is_well| std::mem::replace(is_well, false));
            }
        }
        tokio::time::sleep(CHECK_INTERVAL).await;
    }
}
