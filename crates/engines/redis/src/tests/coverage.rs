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

#[test]
fn options_stand_in_order_and_those_without_effect_in_the_coverage() {
    let text = include_str!("../../COVERAGE.md");
    let section = text.split("## Options").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a section");
    let written: BTreeSet<&str> = section.split('`').skip(1).step_by(2).collect();
    for table in [crate::config::ACCEPTED, crate::config::FIXED] {
        assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
        let missing: Vec<&str> =
            table.iter().map(|option| option.name).filter(|name| !written.contains(name)).collect();
        assert!(missing.is_empty(), "options that COVERAGE.md does not name: {missing:?}");
    }
    let mut names = BTreeSet::new();
    for option in crate::every_option() {
        assert!(names.insert(option.name), "{} stands in two tables", option.name);
        let mut config = crate::Config::default();
        assert_eq!(config.set(option.name, option.default), Ok(()), "{}", option.name);
        assert_eq!(
            config.get(option.name),
            Some(option.default),
            "{}'s default is not in its canonical form",
            option.name
        );
    }
}
