//! What is ordered, and when.

use std::time::Duration;

use atoll_kernel::Seed;
use bytes::Bytes;
use serde_json::{Value, json};

/// How many customers there are. A fifth of them place most of the orders.
const CUSTOMERS: u64 = 2000;
/// How many goods there are. A few of them sell best.
const GOODS: u64 = 400;
/// The longest line of a file of orders, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// One order.
#[derive(Clone, Debug)]
pub struct Order {
    /// Its id.
    pub id: String,
    /// The body of its request.
    pub body: Bytes,
}

/// Where orders come from.
#[derive(Clone, Debug)]
pub struct Source {
    run: String,
    seed: Seed,
    per_second: f64,
    written: Option<Vec<Value>>,
    number: u64,
    due: Duration,
}

impl Source {
    /// Orders without end, drawn from a seed. The ids begin with `run`, because an id that was used before means the same
    /// order to the application.
    pub fn drawn(seed: u64, per_second: u32, run: &str) -> Source {
        let per_second = f64::from(per_second.max(1));
        Source { run: run.to_owned(), seed: Seed(seed), per_second, written: None, number: 0, due: Duration::ZERO }
    }

    /// The orders of a file, one JSON object a line. What has no id gets one.
    ///
    /// # Errors
    /// The number of the first line that is no JSON object, and why.
    pub fn read(text: &str, seed: u64, per_second: u32, run: &str) -> Result<Source, (usize, String)> {
        let mut written = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            if line.len() > LINE_BYTES_MAX {
                return Err((index + 1, format!("longer than {LINE_BYTES_MAX} bytes")));
            }
            match serde_json::from_str::<Value>(line) {
                Ok(value) if value.is_object() => written.push(value),
                Ok(_) => return Err((index + 1, "not a JSON object".to_owned())),
                Err(error) => return Err((index + 1, error.to_string())),
            }
        }
        written.reverse();
        Ok(Source { written: Some(written), ..Source::drawn(seed, per_second, run) })
    }

    /// The next order and when it is due, counted from the beginning. Arrivals are independent of each other, as
    /// customers are: the gaps are exponentially distributed.
    pub fn next(&mut self) -> Option<(Duration, Order)> {
        let number = self.number;
        let body = match &mut self.written {
            Some(written) => written.pop()?,
            None => drawn(self.seed, number),
        };
        self.number += 1;
        let unit = fraction(self.seed.stream("load.arrival", number).next_u64());
        let gap = -(1.0 - unit).ln() / self.per_second;
        self.due += Duration::from_secs_f64(gap.clamp(0.0, 3600.0));
        Some((self.due, self.order(body, number)))
    }

    fn order(&self, mut body: Value, number: u64) -> Order {
        let own = body["id"].as_str().map(str::to_owned);
        let id = own.unwrap_or_else(|| format!("{}-{number}", self.run));
        body["id"] = json!(id);
        Order { id, body: Bytes::from(body.to_string()) }
    }
}

/// The order of that number: a frequent customer more often than a rare one, mostly one or two items, mostly one piece.
fn drawn(seed: Seed, number: u64) -> Value {
    let mut random = seed.stream("load.order", number);
    let customer = skewed(random.next_u64(), CUSTOMERS, 3.0);
    let mut count = 1;
    while count < 8 && random.below(100) < 45 {
        count += 1;
    }
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        let good = skewed(random.next_u64(), GOODS, 2.0);
        let quantity = if random.one_in(5) { random.between(2, 6) } else { 1 };
        items.push(json!({ "sku": format!("sku-{good:03}"), "quantity": quantity, "price_cents": price(seed, good) }));
    }
    let cents = |item: &Value| item["quantity"].as_u64().unwrap_or(0) * item["price_cents"].as_u64().unwrap_or(0);
    let total: u64 = items.iter().map(cents).sum();
    json!({ "id": null, "customer": format!("customer-{customer}"), "items": items, "total_cents": total })
}

/// Every good has its price: many cheap ones, few dear ones.
fn price(seed: Seed, good: u64) -> u64 {
    let unit = fraction(seed.stream("load.price", good).next_u64());
    // From 1.50 to about 600, half of them below 30.
    let cents = 150.0 * (6.0 * unit).exp();
    (cents as u64) / 10 * 10 + 9
}

/// A number below `bound`, small ones more often the larger `power` is.
fn skewed(random: u64, bound: u64, power: f64) -> u64 {
    ((fraction(random).powf(power) * bound as f64) as u64).min(bound - 1)
}

/// From 0 up to but not including 1.
fn fraction(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}
