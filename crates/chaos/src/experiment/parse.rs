//! Reads an experiment file. The library checks names and types; the functions below check what they mean.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use serde_saphyr::{Location, Spanned};

use super::units::{duration, quantile, share};
use super::{
    API_VERSION, Action, DURATION_MAX, End, Experiment, FILE_BYTES_MAX, Hypothesis, LinkChange, NodeChange, Place,
    Problem, STEPS_MAX, Step, When, Window,
};

/// More problems than this help nobody.
const PROBLEMS_MAX: usize = 20;
/// More groups, topics or prefixes than this no experiment names.
const NAMES_MAX: usize = 1000;

/// Reads an experiment file. `text` may be anything.
///
/// # Errors
/// What is wrong, in the order of the file: one problem if the text is not understood at all, else every value that
/// is impossible, up to twenty.
pub fn parse_experiment(text: &str) -> Result<Experiment, Vec<Problem>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        let place = Place { line: 1, column: 1, ..Place::default() };
        return Err(vec![Problem { message, hint: None, place }]);
    }
    let mut options = serde_saphyr::Options::default();
    let budget = options.budget.get_or_insert_with(Default::default);
    budget.max_depth = 16;
    budget.max_nodes = 50_000;
    budget.max_documents = 1;
    options.with_snippet = false;
    let file: File =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| vec![not_understood(&error)])?;
    let mut reader = Reader::default();
    let experiment = reader.experiment(file);
    if reader.problems.is_empty() {
        return Ok(experiment);
    }
    reader.problems.sort_by_key(|problem| problem.place);
    reader.problems.truncate(PROBLEMS_MAX);
    Err(reader.problems)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: Spanned<String>,
    kind: Spanned<String>,
    metadata: Metadata,
    #[serde(default)]
    seed: u64,
    warm_up: Option<Spanned<String>>,
    duration: Spanned<String>,
    load: Option<Load>,
    hypothesis: Vec<Spanned<Expectation>>,
    timeline: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: Spanned<String>,
    description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Load {
    orders_per_second: Spanned<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expectation {
    SuccessRate(SuccessRate),
    Latency(Latency),
    NoAcknowledgedLoss(NoLoss),
    Recovery(Recovery),
    BooksBalance(Books),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SuccessRate {
    min: Spanned<String>,
    after: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    quantile: Spanned<String>,
    below: Spanned<String>,
    after: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoLoss {
    #[serde(default)]
    topics: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recovery {
    within: Spanned<String>,
    slower_than: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Books {
    within: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    at: Option<Spanned<String>>,
    when: Option<Spanned<Point>>,
    node: Option<NodeEntry>,
    link: Option<Spanned<LinkEntry>>,
    partition: Option<Spanned<Vec<Vec<u16>>>>,
    heal: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Point {
    point: String,
    node: Option<u16>,
    nth: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum NodeEntry {
    Kill(Spanned<u16>),
    Power(Spanned<u16>),
    Pause(Spanned<u16>),
    Resume(Spanned<u16>),
    Start(Spanned<u16>),
    Stop(Spanned<u16>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkEntry {
    cut: Option<Spanned<Vec<End>>>,
    reset: Option<Spanned<Vec<End>>>,
    slow: Option<Spanned<Vec<End>>>,
    heal: Option<Spanned<Vec<End>>>,
    by: Option<Spanned<String>>,
    #[serde(default)]
    one_way: bool,
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EndVisitor;
        impl Visitor<'_> for EndVisitor {
            type Value = End;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node's number or `client`")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<End, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Unsigned(value), &self);
                u16::try_from(value).map(End::Node).map_err(|_| wrong())
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<End, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Signed(value), &self);
                u16::try_from(value).map(End::Node).map_err(|_| wrong())
            }

            fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<End, E> {
                let wrong = || E::invalid_value(serde::de::Unexpected::Str(value), &self);
                if value == "client" { Ok(End::Client) } else { Err(wrong()) }
            }
        }
        deserializer.deserialize_any(EndVisitor)
    }
}

#[derive(Default)]
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn experiment(&mut self, file: File) -> Experiment {
        self.fixed(&file.api_version, "apiVersion", API_VERSION);
        self.fixed(&file.kind, "kind", "Experiment");
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let name = &file.metadata.name;
        if name.value.is_empty() || name.value.len() > 63 || !name.value.chars().all(is_name) {
            let hint = "use lower-case letters, digits and `-`, at most 63";
            self.problem(name, format!("`{}` cannot name an experiment", cut(&name.value)), Some(hint));
        }
        let run = self.duration(&file.duration, "duration");
        if run.is_zero() || run > DURATION_MAX {
            self.problem(&file.duration, "an experiment lasts more than nothing and at most 24 hours".into(), None);
        }
        if file.hypothesis.is_empty() || file.hypothesis.len() > NAMES_MAX || file.timeline.len() > STEPS_MAX {
            let message =
                format!("1 to {NAMES_MAX} hypotheses and at most {STEPS_MAX} entries in the timeline are needed");
            self.problem(&file.kind, message, Some("an experiment without a hypothesis cannot fail"));
        }
        Experiment {
            name: file.metadata.name.value,
            description: file.metadata.description,
            seed: file.seed,
            warm_up: file
                .warm_up
                .map_or(Duration::from_secs(3), |text| self.duration(&text, "warm_up").min(DURATION_MAX)),
            duration: run,
            orders_per_second: file.load.map_or(40, |load| self.rate(&load.orders_per_second)),
            hypotheses: file.hypothesis.into_iter().take(NAMES_MAX).map(|entry| self.hypothesis(entry.value)).collect(),
            timeline: file.timeline.into_iter().take(STEPS_MAX).filter_map(|entry| self.step(entry, run)).collect(),
        }
    }

    fn hypothesis(&mut self, expectation: Expectation) -> Hypothesis {
        match expectation {
            Expectation::SuccessRate(entry) => {
                let wanted = share(&entry.min.value);
                if wanted.is_none() {
                    self.problem(
                        &entry.min,
                        format!("`{}` is not a share", cut(&entry.min.value)),
                        Some("write it as in `99.9 %`"),
                    );
                }
                Hypothesis::SuccessRate { min_ppm: wanted.unwrap_or_default(), window: self.window(entry.after) }
            }
            Expectation::Latency(entry) => {
                let wanted = quantile(&entry.quantile.value);
                if wanted.is_none() {
                    let message = format!("`{}` is not a quantile", cut(&entry.quantile.value));
                    self.problem(&entry.quantile, message, Some("write it as in `p99` or `p99.9`"));
                }
                let below = self.duration(&entry.below, "below");
                Hypothesis::Latency {
                    quantile_ppm: wanted.unwrap_or_default(),
                    below,
                    window: self.window(entry.after),
                }
            }
            Expectation::NoAcknowledgedLoss(entry) => {
                Hypothesis::NoAcknowledgedLoss { topics: entry.topics, keys: entry.keys }
            }
            Expectation::Recovery(entry) => Hypothesis::Recovery {
                within: self.duration(&entry.within, "within"),
                slower_than: entry
                    .slower_than
                    .map_or(Duration::from_secs(1), |text| self.duration(&text, "slower_than")),
            },
            Expectation::BooksBalance(entry) => Hypothesis::BooksBalance {
                within: entry
                    .within
                    .map_or(Duration::from_secs(60), |text| self.duration(&text, "within").min(DURATION_MAX)),
            },
        }
    }

    fn window(&mut self, after: Option<Spanned<String>>) -> Window {
        let Some(after) = after else { return Window::Whole };
        match after.value.trim().strip_prefix("healed") {
            Some("") => Window::AfterHealing(Duration::ZERO),
            Some(rest) => match rest.trim().strip_prefix('+').and_then(duration) {
                Some(margin) => Window::AfterHealing(margin),
                None => {
                    let hint = "write `healed`, `healed + 5s`, or a time of the run such as `20s`";
                    self.problem(&after, format!("`{}` is not a time", cut(&after.value)), Some(hint));
                    Window::Whole
                }
            },
            None => Window::After(self.duration(&after, "after")),
        }
    }

    fn step(&mut self, entry: Spanned<Entry>, run: Duration) -> Option<Step> {
        let place = entry.referenced;
        let Entry { at, when, node, link, partition, heal } = entry.value;
        let when = match (at, when) {
            (Some(at), None) => {
                let time = self.duration(&at, "at");
                if time > run {
                    self.problem(&at, "this is after the end of the run".into(), Some("lengthen `duration`"));
                }
                When::At(time)
            }
            (None, Some(point)) => {
                if point.value.point.is_empty() || point.value.nth == Some(0) {
                    self.problem(&point, "a point with a name, and an occurrence from 1, is needed".into(), None);
                }
                When::Point { point: point.value.point, node: point.value.node, nth: point.value.nth.unwrap_or(1) }
            }
            _ => return self.at_place(&place, "an entry has either `at` or `when`", None),
        };
        let mut actions: Vec<Action> = Vec::new();
        actions.extend(node.map(|node| self.node(node)));
        let has_link = link.is_some();
        let link = link.and_then(|link| self.link(link));
        actions.extend(partition.map(|groups| self.partition(groups)));
        actions.extend(heal.map(|word| {
            self.fixed(&word, "heal", "all");
            Action::Heal
        }));
        if actions.len() + usize::from(has_link) != 1 {
            let hint = "give one of `node`, `link`, `partition` and `heal`; several entries may have the same time";
            return self.at_place(&place, "an entry does exactly one thing", Some(hint));
        }
        let action = actions.pop().or(link)?;
        Some(Step { when, action })
    }

    fn node(&mut self, entry: NodeEntry) -> Action {
        let (change, node) = match entry {
            NodeEntry::Kill(node) => (NodeChange::Kill, node),
            NodeEntry::Power(node) => (NodeChange::Power, node),
            NodeEntry::Pause(node) => (NodeChange::Pause, node),
            NodeEntry::Resume(node) => (NodeChange::Resume, node),
            NodeEntry::Start(node) => (NodeChange::Start, node),
            NodeEntry::Stop(node) => (NodeChange::Stop, node),
        };
        if node.value == 0 {
            self.problem(&node, "nodes are numbered from 1".into(), None);
        }
        Action::Node { change, node: node.value }
    }

    fn link(&mut self, entry: Spanned<LinkEntry>) -> Option<Action> {
        let place = entry.referenced;
        let LinkEntry { cut, reset, slow, heal, by, one_way } = entry.value;
        let delay = by.as_ref().map(|by| self.duration(by, "by"));
        let mut changes = Vec::new();
        changes.extend(cut.map(|ends| (LinkChange::Cut, ends)));
        changes.extend(reset.map(|ends| (LinkChange::Reset, ends)));
        let has_slow = slow.is_some();
        changes.extend(slow.map(|ends| (LinkChange::Slow(delay.unwrap_or_default()), ends)));
        changes.extend(heal.map(|ends| (LinkChange::Heal, ends)));
        if has_slow != delay.is_some() {
            return self.at_place(&place, "`slow` and `by` belong together", Some("as in `{slow: [1, 2], by: 200ms}`"));
        }
        let [(change, ends)] = changes.as_slice() else {
            let hint = "give one of `cut`, `reset`, `slow` and `heal`";
            return self.at_place(&place, "an entry does exactly one thing to a link", Some(hint));
        };
        match ends.value.as_slice() {
            [from, to] if from != to => Some(Action::Link { change: *change, from: *from, to: *to, one_way }),
            _ => self.at_place(
                &ends.referenced,
                "a link has two different ends",
                Some("as in `[1, 2]` or `[client, 3]`"),
            ),
        }
    }

    fn partition(&mut self, groups: Spanned<Vec<Vec<u16>>>) -> Action {
        let mut all: Vec<u16> = groups.value.iter().flatten().copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        if all.len() != count || all.is_empty() || all.first() == Some(&0) || groups.value.len() > NAMES_MAX {
            let hint = "as in `partition: [[1], [2, 3]]`; nodes that are not named form a group of their own";
            self.problem(&groups, "a partition is groups of different nodes, numbered from 1".into(), Some(hint));
        }
        Action::Partition(groups.value)
    }

    fn rate(&mut self, rate: &Spanned<u32>) -> u32 {
        if !(1..=100_000).contains(&rate.value) {
            self.problem(rate, format!("{} orders per second; it can be 1 to 100000", rate.value), None);
        }
        rate.value
    }

    fn duration(&mut self, text: &Spanned<String>, name: &str) -> Duration {
        duration(&text.value).unwrap_or_else(|| {
            let hint = "write a number and a unit, as in `500ms`, `5s`, `2m`";
            self.problem(text, format!("{name} `{}` is not a duration", cut(&text.value)), Some(hint));
            Duration::ZERO
        })
    }

    fn fixed(&mut self, text: &Spanned<String>, name: &str, wanted: &str) {
        if text.value != wanted {
            let hint = format!("this version of Atoll understands `{name}: {wanted}`");
            self.problem(text, format!("{name} `{}` is not known", cut(&text.value)), Some(&hint));
        }
    }

    fn problem<T>(&mut self, at: &Spanned<T>, message: String, hint: Option<&str>) {
        let place = place(&at.referenced);
        self.problems.push(Problem { message, hint: hint.map(str::to_owned), place });
    }

    fn at_place<T>(&mut self, location: &Location, message: &str, hint: Option<&str>) -> Option<T> {
        let problem = Problem { message: message.into(), hint: hint.map(str::to_owned), place: place(location) };
        self.problems.push(problem);
        None
    }
}

/// A value that is quoted back, short enough for a message.
fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The library puts the place into its message as well; it is cut off, since places are shown in one way everywhere.
fn not_understood(error: &serde_saphyr::Error) -> Problem {
    let location = error.location();
    let place = location.map_or(Place { line: 1, column: 1, ..Place::default() }, |location| place(&location));
    let whole = error.without_snippet().to_string();
    let suffix = location.map(|location| format!(" at line {}, column {}", location.line(), location.column()));
    let message = suffix.as_deref().and_then(|suffix| whole.strip_suffix(suffix)).unwrap_or(&whole);
    let message: String = message.lines().collect::<Vec<_>>().join(" ").chars().take(400).collect();
    Problem { hint: probably_meant(&message), message, place }
}

/// "unknown field `a`, expected one of b, c": which of them is nearest.
fn probably_meant(message: &str) -> Option<String> {
    let unknown = message.split('`').nth(1).filter(|_| message.starts_with("unknown"))?;
    let (_, known) = message.split_once("expected one of ")?;
    let known = known.split(", ").map(|name| name.trim_matches('`'));
    let distance = |name: &str| strsim::damerau_levenshtein(unknown, name);
    let nearest = known.min_by_key(|name| distance(name))?;
    (distance(nearest) <= unknown.chars().count() / 3 + 1).then(|| format!("did you mean `{nearest}`?"))
}

fn place(location: &Location) -> Place {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let span = location.span();
    Place {
        line: number(location.line()).max(1),
        column: number(location.column()).max(1),
        offset: span.byte_offset().map_or(0, number),
        length: span.byte_len().map_or(0, number),
    }
}
