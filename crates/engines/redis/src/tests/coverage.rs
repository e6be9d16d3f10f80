//! COVERAGE.md says what the dispatch table has.

use std::collections::BTreeSet;

use crate::ops::COMMANDS;

#[test]
fn coverage_names_exactly_the_commands_of_the_table() {
    let text = include_str!("../../COVERAGE.md");
    let section = text.split("## Commands").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let written: BTreeSet<String> =
        section.split('`').skip(1).step_by(2).map(|name| name.to_ascii_lowercase().replace(' ', "|")).collect();
    let all = COMMANDS.iter().flat_map(|command| std::iter::once(command).chain(command.subcommands()));
    let present: BTreeSet<String> = all.map(|command| command.name.to_owned()).collect();
    let missing: Vec<_> = present.difference(&written).collect();
    let invented: Vec<_> = written.difference(&present).collect();
    assert!(missing.is_empty() && invented.is_empty(), "not in COVERAGE.md: {missing:?}; only there: {invented:?}");
}

#[test]
fn commands_stand_in_order_and_are_found_in_any_case() {
    assert!(COMMANDS.windows(2).all(|pair| pair[0].name < pair[1].name));
    for command in COMMANDS {
        let upper = command.name.to_ascii_uppercase();
        assert_eq!(crate::ops::lookup(upper.as_bytes()).map(|found| found.name), Some(command.name));
    }
    assert!(crate::ops::lookup(b"nosuchcommand").is_none());
    assert!(crate::ops::lookup(b"").is_none());
}
