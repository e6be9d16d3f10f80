//! Rules for Rust files: sizes, doors with a reason, nothing unfinished, nothing forgotten.

use std::collections::BTreeSet;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::{Finding, Repository, is_generated, is_test, normalize};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Files up to 800 lines and functions up to 70, tests and generated code aside.
pub fn sizes(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repository.sources().filter(|(path, _)| !is_test(path)) {
        let file = match syn::parse_file(text) {
            Ok(file) => file,
            Err(error) => {
                findings.push(Finding::new(path, error.span().start().line, format!("does not parse: {error}")));
                continue;
            }
        };
        let mut measure = Measure { path, findings: &mut findings, test_lines: 0 };
        measure.visit_file(&file);
        let lines = text.lines().count() - measure.test_lines;
        if lines > FILE_LINES_MAX {
            findings.push(Finding::new(path, 1, format!("{lines} lines; a file has up to {FILE_LINES_MAX}")));
        }
    }
    findings
}

struct Measure<'a> {
    path: &'a str,
    findings: &'a mut Vec<Finding>,
    test_lines: usize,
}

impl Measure<'_> {
    fn function(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let (first, last) = (whole.start().line, whole.end().line);
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            let message = format!("`{name}` has {lines} lines; a function has up to {FUNCTION_LINES_MAX}");
            self.findings.push(Finding::new(self.path, first, message));
        }
    }
}

impl<'ast> Visit<'ast> for Measure<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if module.attrs.iter().any(is_cfg_test) {
            let span = module.span();
            self.test_lines += span.end().line - span.start().line + 1;
            return;
        }
        visit::visit_item_mod(self, module);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.function(&function.sig.ident, function.sig.span().join(function.block.span()).unwrap_or(function.span()));
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.function(&function.sig.ident, function.sig.span().join(function.block.span()).unwrap_or(function.span()));
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        self.function(&function.sig.ident, function.sig.span().join(function.span()).unwrap_or(function.span()));
        visit::visit_trait_item_fn(self, function);
    }
}

fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    attribute.path().is_ident("cfg")
        && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
}

/// A module that opens a door (clock, file, socket) says why in the same breath.
pub fn doors(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in repository.sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let opens = line.contains("allow(clippy::disallowed") && line.trim_start().starts_with("#");
            let has_reason = line.contains("//")
                || line.contains("reason =")
                || index.checked_sub(1).is_some_and(|above| lines[above].trim_start().starts_with("//"));
            if opens && !has_reason {
                findings.push(Finding::new(
                    path,
                    index + 1,
                    "a door needs a sentence that says why, on or above this line",
                ));
            }
        }
    }
    findings
}

/// Words that promise work instead of doing it. Each stands in two pieces, or this file would break the rule.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("to", "do!("),
    concat!("unimpl", "emented!("),
];

pub fn unfinished(repository: &Repository) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in &repository.files {
        let is_ours = [".rs", ".md", ".py", ".sh", ".toml", ".yaml"].iter().any(|end| path.ends_with(end));
        if !is_ours || is_generated(text) {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                findings.push(Finding::new(path, index + 1, format!("`{word}`: do it, or list it in COVERAGE.md")));
            }
        }
    }
    findings
}

/// Every Rust file is reached by `mod` from a target of its package; a file that is not is never compiled.
pub fn forgotten(repository: &Repository) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for root in repository.packages.iter().flat_map(|package| &package.targets) {
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        reach(repository, root, folder, &mut reached);
    }
    repository
        .files
        .keys()
        .filter(|path| path.ends_with(".rs") && !reached.contains(*path))
        .map(|path| Finding::new(path, 1, "no `mod` reaches this file, so it is never compiled"))
        .collect()
}

/// Marks `path` and everything below it. `folder` is where its child modules stand.
fn reach(repository: &Repository, path: &str, folder: &str, reached: &mut BTreeSet<String>) {
    let Some(text) = repository.files.get(path) else { return };
    if !reached.insert(path.to_owned()) {
        return;
    }
    let Ok(file) = syn::parse_file(text) else { return };
    reach_items(repository, path, folder, &file.items, reached);
}

fn reach_items(repository: &Repository, path: &str, folder: &str, items: &[syn::Item], reached: &mut BTreeSet<String>) {
    for item in items {
        match item {
            syn::Item::Mod(module) => {
                let name = module.ident.to_string();
                if let Some((_, items)) = &module.content {
                    reach_items(repository, path, &format!("{folder}/{name}"), items, reached);
                } else if let Some(named) = module.attrs.iter().find_map(path_attribute) {
                    let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    let target = normalize(&format!("{beside}/{named}"));
                    let below = target.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
                    reach(repository, &target, &below, reached);
                } else {
                    let below = format!("{folder}/{name}");
                    reach(repository, &format!("{below}.rs"), &below, reached);
                    reach(repository, &format!("{below}/mod.rs"), &below, reached);
                }
            }
            syn::Item::Macro(call) if call.mac.path.is_ident("include") => {
                if let Ok(named) = call.mac.parse_body::<syn::LitStr>() {
                    let beside = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    reached.insert(normalize(&format!("{beside}/{}", named.value())));
                }
            }
            _ => {}
        }
    }
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    let pair = attribute.meta.require_name_value().ok().filter(|pair| pair.path.is_ident("path"))?;
    match &pair.value {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
        _ => None,
    }
}
