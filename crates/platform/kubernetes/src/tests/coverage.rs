//! COVERAGE.md says exactly what the dispatch table offers.

use crate::RESOURCES;

#[test]
fn coverage_lists_every_resource_with_its_verbs_and_nothing_else() {
    let document = include_str!("../../COVERAGE.md");
    let expected: Vec<String> = RESOURCES
        .iter()
        .flat_map(|row| {
            let group = if row.group.is_empty() { "core" } else { row.group };
            let own = format!("| {group}/{} | {} | {} | {} |", row.version, row.plural, row.kind, row.verbs.join(" "));
            let below = row.subresources.iter().map(move |subresource| {
                let kind = subresource.kind.map_or(row.kind, |kind| kind.2);
                format!(
                    "| {group}/{} | {}/{} | {kind} | {} |",
                    row.version,
                    row.plural,
                    subresource.name,
                    subresource.verbs.join(" ")
                )
            });
            std::iter::once(own).chain(below)
        })
        .collect();
    let listed: Vec<&str> = document
        .lines()
        .filter(|line| line.matches('/').count() > 0 && line.starts_with("| "))
        .filter(|line| line.split('|').count() == 6)
        .collect();
    let missing: Vec<&String> = expected.iter().filter(|row| !listed.contains(&row.as_str())).collect();
    let surplus: Vec<&&str> = listed.iter().filter(|row| !expected.iter().any(|wanted| wanted == **row)).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "missing:\n{missing:#?}\nsurplus:\n{surplus:#?}");
}
