//! Orders and books without a network, and the load against a gateway of a few lines.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

use super::books::compare_for_tests;
use super::orders::Source;

fn bodies(seed: u64, count: usize) -> Vec<Value> {
    let mut source = Source::drawn(seed, 40, "run");
    (0..count).filter_map(|_| serde_json::from_slice(&source.next()?.1.body).ok()).collect()
}

#[test]
fn the_same_seed_draws_the_same_orders() {
    assert_eq!(bodies(7, 50), bodies(7, 50));
    assert_ne!(bodies(7, 50), bodies(8, 50));
}

#[test]
fn orders_are_valid_and_varied() {
    let orders = bodies(7, 500);
    let mut customers = std::collections::BTreeSet::new();
    for order in &orders {
        let items = order["items"].as_array().expect("items");
        assert!((1..=8).contains(&items.len()));
        let total: u64 = items
            .iter()
            .map(|item| item["quantity"].as_u64().unwrap_or(0) * item["price_cents"].as_u64().unwrap_or(0))
            .sum();
        assert_eq!(order["total_cents"], json!(total));
        customers.insert(order["customer"].to_string());
    }
    assert!((100..490).contains(&customers.len()), "{} customers", customers.len());
}

#[test]
fn orders_arrive_at_their_rate_and_not_in_step() {
    let mut source = Source::drawn(7, 40, "run");
    let dues: Vec<Duration> = (0..4000).filter_map(|_| Some(source.next()?.0)).collect();
    let seconds = dues.last().expect("an order").as_secs_f64();
    assert!((90.0..110.0).contains(&seconds), "4000 orders in {seconds} s");
    let gaps: std::collections::BTreeSet<Duration> = dues.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() > 3900);
}

#[test]
fn a_file_of_orders_is_sent_once_and_in_order() {
    let text = "{\"id\":\"a\",\"customer\":\"ada\"}\n\n{\"customer\":\"bob\"}\n";
    let mut source = Source::read(text, 1, 40, "run").expect("read");
    assert_eq!(source.next().map(|(_, order)| order.id).as_deref(), Some("a"));
    assert_eq!(source.next().map(|(_, order)| order.id).as_deref(), Some("run-1"));
    assert!(source.next().is_none());
}

#[test]
fn a_line_that_is_no_order_is_named() {
    assert_eq!(Source::read("{}\n[]\n", 1, 40, "run").map(|_| ()), Err((2, "not a JSON object".to_owned())));
    assert_eq!(Source::read("{\n", 1, 40, "run").map_err(|(line, _)| line).map(|_| ()), Err(1));
}

#[test]
fn books_that_balance_have_nothing_to_say() {
    let found = compare_for_tests(&json!({"run-1": [1, 1, 1], "other-1": [2, 0, 0]}), &["run-1"], "run");
    assert!(found.is_balanced(), "{found:?}");
}

#[test]
fn every_way_to_be_wrong_is_found() {
    let books = json!({"run-1": [2, 1, 1], "run-2": [1, 0, 0], "run-4": [1, 0, 0], "run-5": [1, 1, 1]});
    let found = compare_for_tests(&books, &["run-1", "run-2", "run-3"], "run");
    let orders: Vec<&str> = found.discrepancies.iter().map(|one| one.order.as_str()).collect();
    // Paid twice; not reserved; not there at all; half carried out though not accepted. The fifth is a whole order.
    assert_eq!(orders, ["run-1", "run-2", "run-3", "run-4"]);
    assert_eq!(found.discrepancies[3].text(), "order run-4 (not accepted): paid 1, reserved 0, booked 0 times");
}

/// A gateway that refuses each order's first attempt and accepts the second.
async fn gateway(orders: Rc<Cell<u64>>) -> std::net::SocketAddr {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    #[allow(clippy::disallowed_methods)] // The test stands outside of every stack.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let orders = Rc::clone(&orders);
            tokio::task::spawn_local(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                let (mut is_order, mut length) = (false, 0);
                while matches!(stream.read_line(&mut line).await, Ok(1..)) {
                    is_order |= line.starts_with("POST /orders");
                    if let Some(value) = line.strip_prefix("content-length: ") {
                        length = value.trim().parse().unwrap_or(0);
                    }
                    if line == "\r\n" {
                        let mut body = vec![0; length];
                        if stream.read_exact(&mut body).await.is_err() {
                            return;
                        }
                        orders.set(orders.get() + u64::from(is_order));
                        let status = match (is_order, orders.get() % 2) {
                            (true, 1) => "503 Unavailable",
                            (true, _) => "201 Created",
                            (false, _) => "200 OK",
                        };
                        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}");
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        (is_order, length) = (false, 0);
                    }
                    line.clear();
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_order_is_sent_again_until_it_is_accepted() {
    let local = tokio::task::LocalSet::new();
    let work = async {
        let attempts = Rc::new(Cell::new(0));
        let address = gateway(Rc::clone(&attempts)).await;
        let source = Source::read("{\"id\":\"a\"}\n{\"id\":\"b\"}\n", 1, 1000, "run").expect("read");
        let load = super::Load::start(&[address], source);
        load.all_answered().await;
        assert_eq!(load.accepted().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((load.under_way(), load.take_answers().len()), (0, 2));
        assert!(attempts.get() >= 3, "{} attempts", attempts.get());
    };
    tokio::time::timeout(Duration::from_secs(20), local.run_until(work)).await.expect("in time");
}
