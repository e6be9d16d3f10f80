//! Stack files, right and wrong. Each wrong one is told apart by its place, its message and its hint.

use proptest::prelude::*;

use super::*;

const HEAD: &str = "apiVersion: atoll.dev/v1alpha1\nkind: Stack\n";

fn stack(rest: &str) -> StackFile {
    parse_stack(&format!("{HEAD}{rest}")).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// The problems of a file whose first two lines are right, as `line:column message | hint`.
fn refused(rest: &str) -> Vec<String> {
    let problems = parse_stack(&format!("{HEAD}{rest}")).expect_err("this file is wrong");
    let shown = |problem: &Problem| {
        let Problem { place, message, hint } = problem;
        format!("{}:{} {message} | {}", place.line, place.column, hint.as_deref().unwrap_or("-"))
    };
    problems.iter().map(shown).collect()
}

#[test]
fn a_whole_stack_file_is_read() {
    let stack = stack(
        r#"
metadata: {name: orders}
nodes:
  - {region: eu-west-1, zone: a}
  - region: eu-central-1
seed: 42
ephemeral: true
engines:
  redis:
    config:
      appendfsync: always
      cluster-node-timeout: 15000
      save: "3600 1 300 100"
  kafka:
    external: one.example:9092,two.example:9092
  kubernetes: {enabled: false}
images:
  payment:v1.2:
    command: [python3, payment.py, 8080]
    workdir: services
    env: {PYTHONUNBUFFERED: 1, MODE: "on"}
manifests: [manifests/, extra.yaml]
"#,
    );
    assert_eq!(stack.name.as_deref(), Some("orders"));
    assert_eq!(stack.nodes[0], NodeEntry { region: Some("eu-west-1".into()), zone: Some("a".into()) });
    assert_eq!((stack.nodes.len(), stack.seed, stack.ephemeral), (2, Some(42), true));
    let EngineEntry::Embedded { config } = &stack.engines[&Engine::Redis] else { panic!("redis is embedded") };
    let options: Vec<(&str, &str)> =
        config.iter().map(|option| (option.name.as_str(), option.value.as_str())).collect();
    assert_eq!(options, [("appendfsync", "always"), ("cluster-node-timeout", "15000"), ("save", "3600 1 300 100")]);
    let external = EngineEntry::External { address: "one.example:9092,two.example:9092".into() };
    assert_eq!(stack.engines[&Engine::Kafka], external);
    assert_eq!(stack.engines[&Engine::Kubernetes], EngineEntry::Disabled);
    let image = &stack.images["payment:v1.2"];
    assert_eq!(image.command, ["python3", "payment.py", "8080"]);
    assert_eq!(image.env["PYTHONUNBUFFERED"], "1");
    assert_eq!(stack.manifests, ["manifests/", "extra.yaml"]);
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(stack(""), StackFile::default());
    let stack = stack("engines:\n  redis:\n");
    assert_eq!(stack.engines.len(), 3, "naming one engine does not remove the others");
}

#[test]
fn option_values_stay_as_they_were_written() {
    let stack =
        stack("engines: {kafka: {config: {a: 0x10, b: 1e3, c: yes, d: 007, e: ~x, f: 99999999999999999999999}}}");
    let EngineEntry::Embedded { config } = &stack.engines[&Engine::Kafka] else { panic!("kafka is embedded") };
    let values: Vec<&str> = config.iter().map(|option| option.value.as_str()).collect();
    assert_eq!(values, ["0x10", "1e3", "yes", "007", "~x", "99999999999999999999999"]);
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    assert_eq!(refused("ndoes: 3\n"), ["3:1 unknown key `ndoes` in a stack file | did you mean `nodes`?"]);
    assert_eq!(refused("engines:\n  kafak: {}\n"), ["4:3 unknown key `kafak` in engines | did you mean `kafka`?"]);
    assert_eq!(
        refused("metadata: {name: a, labels: {}}\n"),
        ["3:21 unknown key `labels` in metadata | known here: name"]
    );
}

#[test]
fn a_wrong_type_names_both() {
    assert_eq!(refused("nodes: three\n"), ["3:8 `nodes` is text, not a whole number | -"]);
    assert_eq!(refused("nodes: 2.5\n"), ["3:8 `nodes` is a number, not a whole number | -"]);
    assert_eq!(refused("ephemeral: 1\n"), ["3:12 `ephemeral` is a whole number, not true or false | -"]);
    assert_eq!(refused("engines: [redis]\n"), ["3:10 engines is a list, not a mapping | -"]);
    assert_eq!(
        refused("metadata: {name: 12}\n"),
        ["3:18 `metadata.name` is a whole number, not text | put it in quotes: \"12\""]
    );
}

#[test]
fn an_impossible_value_says_what_is_possible() {
    assert_eq!(refused("nodes: 0\n"), ["3:8 `nodes` is 0; it can be 1 to 64 | -"]);
    assert_eq!(refused("nodes: []\n"), ["3:8 0 nodes: a stack has 1 to 64 | -"]);
    assert_eq!(refused("seed: -1\n"), ["3:7 `seed` is -1; it can be 0 to 18446744073709551615 | -"]);
    assert_eq!(
        refused("engines: {redis: {external: localhost}}\n"),
        ["3:29 `localhost` is not an address | write `host:port`, or several with commas between them"]
    );
    assert_eq!(
        refused("engines: {redis: {external: \"a:1\", config: {save: x}}}\n"),
        [
            "3:19 an engine is either configured here or external | an external engine is configured where it runs: remove `config` or `external`"
        ]
    );
    assert_eq!(
        refused("images: {app: {workdir: x}}\n"),
        ["3:10 image `app` has no command | add `command: [program, argument, …]`"]
    );
}

#[test]
fn all_problems_are_reported_in_order_of_their_places() {
    let places: Vec<String> = refused("ndoes: 3\nseed: x\nmetadata: 5\n");
    assert_eq!(places.iter().map(|line| &line[..3]).collect::<Vec<_>>(), ["3:1", "4:7", "5:1"]);
}

#[test]
fn version_and_kind_are_required() {
    let problems = parse_stack("nodes: 3\n").expect_err("no version");
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].hint.as_deref(), Some("add the line `apiVersion: atoll.dev/v1alpha1`"));
    assert!(parse_stack("apiVersion: v1\nkind: Stack\n").is_err());
}

#[test]
fn broken_yaml_has_a_place() {
    assert_eq!(refused("nodes: 3\n  seed: 1\n"), ["4:7 mapping values are not allowed in this context | -"]);
    assert_eq!(refused("seed: 1\nseed: 2\n"), ["4:1 duplicate mapping key: seed | -"]);
    let [problem] = &refused("---\na: 1\n")[..] else { panic!("one problem") };
    assert!(problem.contains("a stack file is one YAML document, this has several"), "{problem}");
}

#[test]
fn hostile_files_are_refused_quickly() {
    assert!(parse_stack(&"[".repeat(1_000_000)).is_err());
    assert!(parse_stack(&format!("a: {}", "[".repeat(1_000_000))).is_err());
    assert!(parse_stack(&"x".repeat(FILE_BYTES_MAX + 1)).is_err());
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(parse_stack(&laughs).is_err());
    let many: String = (0..20_000).map(|number| format!("k{number}: 1\n")).collect();
    assert_eq!(parse_stack(&many).map_err(|problems| problems.len()), Err(Problem::MANY));
}

#[test]
fn a_report_shows_the_line_and_marks_the_place() {
    let text = format!("{HEAD}ndoes: 3\n");
    let problems = parse_stack(&text).expect_err("wrong");
    let failure = failure("atoll.yaml", &text, &problems, false);
    assert_eq!(failure.to_string(), "atoll.yaml:3:1: unknown key `ndoes` in a stack file");
    let picture = failure.picture.expect("a picture");
    assert!(picture.contains("ndoes: 3") && picture.contains("did you mean `nodes`?"), "{picture}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let problems = parse_stack(&text).expect_err("random text is no stack file");
        let _ = failure("atoll.yaml", &text, &problems, true);
    }

    #[test]
    fn no_yaml_makes_the_reader_panic(lines in prop::collection::vec(
        prop::sample::select(vec![
            "nodes:", "  - {region: a}", "- x", "engines:", "  redis:", "    config: {a: [b]}", "    external: x:1",
            "images: &i", "  a: *i", "  <<: *i", "metadata: {name: é}", "seed: 0x7fffffffffffffffffff", "? [a]", ": b",
            "manifests: !!binary aGk=", "ephemeral: |", "  text", "nodes: !!int \"3\"", "'", "\t", "---", "...", "# c",
        ]), 0..12)) {
        let text = format!("{HEAD}{}\n", lines.join("\n"));
        if let Err(problems) = parse_stack(&text) {
            let _ = failure("atoll.yaml", &text, &problems, false);
        }
    }
}
