//! Runs in virtual time: observations are written down, the verdict is read.

use std::time::Duration;

use proptest::prelude::*;

use crate::experiment::{Action, End, Hypothesis, LinkChange, NodeChange, When, Window, clock, percent, short};
use crate::runner::{Observation, Outcome, Runner, Sample};
use crate::verdict::{Books, EventKind, LedgerEntry, Verdict};
use crate::{Experiment, Histogram, parse_experiment, report};

const KILL: &str = "
apiVersion: atoll.dev/v1alpha1
kind: Experiment
metadata: {name: kill-broker, description: A broker <dies>.}
seed: 7
warm_up: 2s
duration: 60s
load: {orders_per_second: 10}
hypothesis:
  - success_rate: {min: 99 %}
  - success_rate: {min: 100 %, after: healed + 2s}
  - latency: {quantile: p99, below: 1s, after: healed}
  - no_acknowledged_loss: {topics: [orders]}
  - recovery: {within: 20s}
  - books_balance: {within: 30s}
timeline:
  - {at: 5s, node: {kill: 2}}
  - {at: 35s, node: {start: 2}}
";

fn experiment(text: &str) -> Experiment {
    parse_experiment(text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Ten orders per second for a minute; those due in the seconds `slow` take ten seconds, those in `failing` fail.
fn run(text: &str, slow: std::ops::Range<u64>, failing: std::ops::Range<u64>) -> Vec<(Duration, Observation)> {
    let mut seen: Vec<(Duration, Observation)> = Vec::new();
    for number in 0..600 {
        let second = number / 10;
        let latency = if slow.contains(&second) { ms(10_000) } else { ms(20 + number % 7) };
        let failed = failing.contains(&second);
        let outcome = if failed { Outcome::Failed("503: <Kafka> is silent".into()) } else { Outcome::Accepted };
        let due = ms(number * 100);
        seen.push((due + latency, Observation::Order(Sample { due, latency, outcome })));
    }
    let mut runner = Runner::new(experiment(text));
    for second in 0..=60 {
        for action in runner.due(ms(second * 1000)) {
            let is_end = matches!(action, Action::Heal | Action::Node { change: NodeChange::Start, .. });
            let text = action.to_string();
            let observation = match is_end {
                true => Observation::Healed { text, is_all: true },
                false => Observation::Fault(text),
            };
            seen.push((ms(second * 1000), observation));
        }
    }
    seen
}

fn books(balanced: u64) -> Observation {
    let discrepancies = (balanced..600).map(|number| format!("order {number}: paid 0 times")).collect();
    Observation::Books(Books { accepted: 600, balanced, discrepancies, after: ms(800) })
}

fn lost(topic: &str, count: u64) -> Vec<(Duration, Observation)> {
    let entry = |offset| LedgerEntry {
        part: "kafka".into(),
        kind: "acked_lost".into(),
        subject: format!("{topic}-3@{offset}"),
        count: 1,
        cause: format!("truncated to epoch 4 at offset {offset}"),
        allowed_by: "acks=1".into(),
    };
    (0..count).map(|offset| (ms(60_000), Observation::Ledger(entry(offset)))).collect()
}

fn judge(text: &str, observations: Vec<(Duration, Observation)>) -> Verdict {
    let mut runner = Runner::new(experiment(text));
    for (at, observation) in observations {
        runner.observe(at, observation);
    }
    runner.verdict("kill-broker.yaml")
}

fn held(verdict: &Verdict) -> Vec<bool> {
    verdict.hypotheses.iter().map(|finding| finding.passed).collect()
}

#[test]
fn a_file_says_what_it_says() {
    let experiment = experiment(KILL);
    assert_eq!((experiment.seed, experiment.warm_up, experiment.orders_per_second), (7, ms(2000), 10));
    assert_eq!(
        experiment.hypotheses[1],
        Hypothesis::SuccessRate { min_ppm: 1_000_000, window: Window::AfterHealing(ms(2000)) }
    );
    assert_eq!(experiment.timeline[0].when, When::At(ms(5000)));
    assert_eq!(experiment.timeline[0].action, Action::Node { change: NodeChange::Kill, node: 2 });
}

#[test]
fn links_partitions_and_points_are_understood() {
    let timeline = "
timeline:
  - {at: 1s, link: {cut: [1, 2]}}
  - {at: 2s, link: {slow: [client, 3], by: 200ms, one_way: true}}
  - {at: 3s, partition: [[1], [2, 3]]}
  - {when: {point: kafka.produce.acknowledged, nth: 40}, node: {power: 1}}
  - {at: 1m, heal: all}
";
    let text = format!("{}{timeline}", KILL.split("timeline").next().unwrap_or_default());
    let steps = experiment(&text).timeline;
    let slow = LinkChange::Slow(ms(200));
    let wanted = [
        Action::Link { change: LinkChange::Cut, from: End::Node(1), to: End::Node(2), one_way: false },
        Action::Link { change: slow, from: End::Client, to: End::Node(3), one_way: true },
        Action::Partition(vec![vec![1], vec![2, 3]]),
        Action::Node { change: NodeChange::Power, node: 1 },
        Action::Heal,
    ];
    assert_eq!(steps.iter().map(|step| step.action.clone()).collect::<Vec<_>>(), wanted);
    let runner = Runner::new(experiment(&text));
    assert_eq!(runner.triggers(), [("kafka.produce.acknowledged", None, 40, &wanted[3])]);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let wrong = [
        ("min: 99 %", "min: 99", "`99`", 10),
        ("quantile: p99", "quantile: 99", "quantile", 12),
        ("{within: 20s}", "{within: soon}", "soon", 14),
        ("{kill: 2}", "{kil: 2}", "kil", 17),
        ("{kill: 2}", "{kill: 0}", "from 1", 17),
        ("at: 5s", "at: 2m", "end of the run", 17),
        ("at: 5s, ", "", "either `at` or `when`", 17),
        ("node: {kill: 2}", "partition: [[1], [1]]", "different nodes", 17),
        ("node: {kill: 2}", "link: {cut: [1, 1]}", "different ends", 17),
        ("node: {kill: 2}", "link: {slow: [1, 2]}", "belong together", 17),
        ("after: healed}", "after: healed - 1s}", "healed - 1s", 12),
        ("kind: Experiment", "kind: Stack", "Stack", 3),
        ("seed: 7", "sed: 7", "sed", 5),
        ("orders_per_second: 10", "orders_per_second: 0", "0 orders", 8),
    ];
    for (old, new, message, line) in wrong {
        let text = KILL.replacen(old, new, 1);
        assert_ne!(text, KILL, "{old} is not in the file");
        let problems = parse_experiment(&text).expect_err(new);
        assert!(problems[0].message.contains(message), "{new}: {problems:?}");
        assert_eq!(problems[0].place.line, line, "{new}: {problems:?}");
    }
}

#[test]
fn the_nearest_name_is_proposed() {
    let problems = parse_experiment(&KILL.replace("{kill: 2}", "{kil: 2}")).expect_err("unknown");
    assert_eq!(problems[0].hint.as_deref(), Some("did you mean `kill`?"));
}

#[test]
fn actions_are_due_once_and_in_order() {
    let mut runner = Runner::new(experiment(KILL));
    assert_eq!(runner.next_wake(), ms(5000));
    assert!(runner.due(ms(4999)).is_empty());
    assert_eq!(runner.due(ms(40_000)).len(), 2);
    assert!(runner.due(ms(40_000)).is_empty());
    assert_eq!(runner.next_wake(), ms(60_000));
    assert!(!runner.is_over(ms(59_999)) && runner.is_over(ms(60_000)));
}

#[test]
fn a_good_run_passes() {
    let mut seen = run(KILL, 5..12, 0..0);
    seen.push((ms(61_000), books(600)));
    let verdict = judge(KILL, seen);
    assert_eq!(held(&verdict), [true; 6], "{:#?}", verdict.hypotheses);
    assert!(verdict.passed);
    assert_eq!(verdict.hypotheses[4].observed, "after 6.9 s");
    let kinds: Vec<EventKind> = verdict.timeline.iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [EventKind::Fault, EventKind::Trouble, EventKind::Recovered, EventKind::Healed]);
}

#[test]
fn failures_are_explained() {
    let mut seen = run(KILL, 0..0, 5..15);
    seen.push((ms(61_000), books(600)));
    let verdict = judge(KILL, seen);
    assert_eq!(held(&verdict), [false, true, true, true, true, true]);
    let finding = &verdict.hypotheses[0];
    assert_eq!(finding.observed, "83.33 % (500 of 600 orders)");
    assert_eq!(finding.cause.as_deref(), Some("100 of 100 failures: 503: <Kafka> is silent (sent 00:05.0 to 00:14.9)"));
}

#[test]
fn trouble_that_does_not_end_is_no_recovery() {
    let verdict = judge(KILL, run(KILL, 0..0, 5..60));
    assert_eq!(held(&verdict), [false, false, false, true, false, false]);
    assert_eq!(verdict.hypotheses[4].observed, "not before the end");
}

#[test]
fn a_fault_that_stays_has_no_time_after_healing() {
    let text = KILL.replace("  - {at: 35s, node: {start: 2}}\n", "");
    let verdict = judge(&text, run(&text, 0..0, 0..0));
    assert!(!held(&verdict)[1]);
    assert_eq!(verdict.fault_windows[0].until, ms(60_000));
}

#[test]
fn only_losses_of_the_named_topics_fail() {
    let mut seen = run(KILL, 0..0, 0..0);
    seen.extend(lost("order-audit", 12));
    let verdict = judge(KILL, seen.clone());
    assert!(held(&verdict)[3]);
    assert_eq!((verdict.losses.len(), verdict.losses[0].count), (1, 12));
    assert_eq!(verdict.losses[0].subject, "order-audit");
    seen.extend(lost("orders", 1));
    let verdict = judge(KILL, seen);
    assert!(!held(&verdict)[3]);
    assert_eq!(verdict.hypotheses[3].next.as_deref(), Some("change what allowed it: acks=1"));
}

#[test]
fn an_unpaid_order_fails_the_books() {
    let mut seen = run(KILL, 0..0, 0..0);
    seen.push((ms(61_000), books(599)));
    let verdict = judge(KILL, seen);
    assert_eq!(verdict.hypotheses[5].cause.as_deref(), Some("order 599: paid 0 times"));
    assert!(!verdict.passed);
}

#[test]
fn lag_is_reported_with_the_time_it_took() {
    let mut seen = run(KILL, 0..0, 0..0);
    seen.extend([(1, 3), (10, 400), (36, 412), (41, 2)].map(|(at, lag)| (ms(at * 1000), Observation::Lag(lag))));
    let verdict = judge(KILL, seen);
    let event = verdict.timeline.iter().find(|event| event.kind == EventKind::Lag).expect("lag");
    assert_eq!((event.at, event.text.as_str()), (ms(41_000), "lag 412 → 2 in 5 s"));
}

#[test]
fn the_terminal_shows_marks_causes_and_the_way_to_repeat() {
    let mut seen = run(KILL, 0..0, 5..15);
    seen.extend(lost("order-audit", 12));
    let text = report::text(&judge(KILL, seen), Some("kill-broker.html"), false);
    for line in [
        "00:05.0  fault     node 2 killed",
        "✗ success rate: 83.33 % (500 of 600 orders) (wanted at least 99 %)",
        "  cause  100 of 100 failures",
        "✗ FAIL  2 of 6 hypotheses did not hold",
        "  ledger   12 acked lost order-audit: truncated to epoch 4 at offset 0, allowed by acks=1",
        "  again    atoll chaos run kill-broker.yaml --seed 7",
    ] {
        assert!(text.contains(line), "{line}\nis missing in\n{text}");
    }
    assert!(!text.contains('\x1b'));
}

#[test]
fn the_page_is_whole_and_escapes_what_it_quotes() {
    let page = report::page(&judge(KILL, run(KILL, 0..0, 5..15)));
    assert!(page.contains("A broker &lt;dies&gt;.") && page.contains("503: &lt;Kafka&gt; is silent"));
    for foreign in ["http://", "https://", "<script", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

#[test]
fn the_same_observations_give_the_same_bytes_in_any_order() {
    let mut seen = run(KILL, 5..8, 8..12);
    seen.extend(lost("order-audit", 40));
    seen.push((ms(61_000), books(590)));
    let bytes = |seen| {
        let verdict = judge(KILL, seen);
        format!("{}{}{}", report::json(&verdict), report::text(&verdict, None, true), report::page(&verdict))
    };
    let forwards = bytes(seen.clone());
    seen.reverse();
    assert_eq!(forwards, bytes(seen));
}

#[test]
fn units_are_read_and_written() {
    assert_eq!(
        (short(ms(850)), short(ms(1250)), short(ms(38_400)), short(ms(125_000))),
        ("850 ms".into(), "1.2 s".into(), "38 s".into(), "2 min 5 s".into())
    );
    assert_eq!(
        (clock(ms(14_260)), percent(999_549), percent(1_000_000)),
        ("00:14.2".into(), "99.95 %".into(), "100 %".into())
    );
}

#[test]
fn an_empty_histogram_has_no_latency() {
    assert_eq!(Histogram::default().quantile(990_000), Duration::ZERO);
}

/// Writes a page to look at: `ATOLL_PAGE=/tmp/page.html cargo test -p atoll-chaos a_page_to_look_at -- --ignored`.
#[test]
#[ignore = "for the eyes"]
#[allow(clippy::disallowed_methods)] // a file for a person, not a node's
fn a_page_to_look_at() {
    let mut seen = run(KILL, 5..9, 9..14);
    seen.extend(lost("order-audit", 12));
    seen.push((ms(14_100), Observation::Leader("orders-0 moved from node 2 to node 3".into())));
    seen.push((ms(61_000), books(600)));
    let page = report::page(&judge(KILL, seen));
    std::fs::write(std::env::var("ATOLL_PAGE").expect("ATOLL_PAGE"), page).expect("written");
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = parse_experiment(&text);
    }

    #[test]
    fn no_damaged_file_panics(at in 0..KILL.len(), with in "[\\PC\n]{0,5}") {
        if let (Some(before), Some(after)) = (KILL.get(..at), KILL.get(at..))
            && let Ok(experiment) = parse_experiment(&format!("{before}{with}{after}"))
        {
            report::page(&Runner::new(experiment).verdict("file"));
        }
    }

    #[test]
    fn a_quantile_is_right_to_a_sixty_fourth(mut micros in proptest::collection::vec(0..100_000_000_u64, 1..200), ppm in 1..1_000_000_u32) {
        let mut histogram = Histogram::default();
        micros.iter().for_each(|micros| histogram.record(Duration::from_micros(*micros)));
        micros.sort_unstable();
        let rank = (micros.len() as u64 * u64::from(ppm)).div_ceil(1_000_000).max(1);
        let exact = micros[usize::try_from(rank - 1).expect("small")];
        let found = histogram.quantile(ppm).as_micros() as u64;
        prop_assert!(found >= exact && found <= exact + exact / 64 + 1, "{found} for {exact}");
    }
}
