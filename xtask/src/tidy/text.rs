//! Rules for every text file: no stray white space, no paths of one machine, no addresses of package registries, no link
//! that leads nowhere.

use super::{Finding, Repository, normalize};

pub fn hygiene(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repository.files {
        // A transcript shows what a program printed, white space included, and a fuzz seed is bytes that may look like text.
        if path.ends_with(".snap") || path.contains("/testdata/") || path.starts_with("fuzz/seeds/") {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if line.ends_with([' ', '\t', '\r']) {
                findings.push(Finding::new(path, index + 1, "white space at the end of the line"));
            }
        }
        if !text.is_empty() && !text.ends_with('\n') {
            findings.push(Finding::new(path, text.lines().count(), "no newline at the end of the file"));
        }
    }
    findings
}

/// Parts that a path or address of somebody's own machine has. Each stands in two pieces, or this file would break the rule.
const NOT_OURS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("registry.", "npmjs.org"),
    concat!("pypi.", "org"),
    concat!("static.crates", ".io"),
    concat!("index.crates", ".io"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("repo1.maven", ".org"),
    concat!("repo.maven.apache", ".org"),
];

pub fn machine_paths(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repository.files {
        for (index, line) in text.lines().enumerate() {
            for part in NOT_OURS.iter().filter(|part| line.contains(**part)) {
                findings.push(Finding::new(path, index + 1, format!("names a place of one machine: {part}")));
            }
        }
    }
    findings
}

/// Links between Markdown files lead to files and folders that are there.
pub fn links(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repository.files.iter().filter(|(path, _)| path.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (index, line) in text.lines().enumerate() {
            // What stands between backquotes is code, and code may look like a link.
            let prose: String = line.split('`').step_by(2).collect();
            for target in prose.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                let is_elsewhere = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
                let place = normalize(&format!("{folder}/{target}"));
                let below = format!("{place}/");
                let is_there = repository.files.contains_key(&place)
                    || repository.files.keys().any(|file| file.starts_with(&below));
                if !is_elsewhere && !is_there {
                    findings.push(Finding::new(path, index + 1, format!("a link to `{target}`, which is not there")));
                }
            }
        }
    }
    findings
}
