//! What holds for every command: its options, its documentation, the pages of its errors.

use std::path::Path;

use atoll::error::Code;

fn walk(command: &clap::Command, path: &str, visit: &mut impl FnMut(&clap::Command, &str)) {
    visit(command, path);
    for child in command.get_subcommands() {
        walk(child, &format!("{path} {}", child.get_name()), visit);
    }
}

#[test]
fn every_command_takes_the_output_options_and_says_what_it_does() {
    let mut tree = atoll::cli::tree();
    tree.build();
    let mut commands = 0;
    walk(&tree, "atoll", &mut |command, path| {
        if path.contains(" help") {
            return;
        }
        commands += 1;
        assert!(command.get_about().is_some(), "`{path}` does not say what it does");
        for option in ["output", "json", "color", "name", "stack_file"] {
            let found = command.get_arguments().find(|argument| argument.get_id() == option);
            assert!(found.is_some(), "`{path}` has no --{option}");
        }
    });
    assert!(commands > 15, "the walk has seen {commands} commands");
}

#[test]
fn every_error_code_has_its_page() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for code in Code::ALL {
        let page = root.join(code.docs());
        let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        assert!(text.starts_with(&format!("# {}\n", code.as_str())), "{} begins with its code", page.display());
        assert!(text.contains(&format!("Exit code: {}", code.exit_code())), "{} names the exit code", page.display());
    }
    let pages = std::fs::read_dir(root.join("docs/reference/errors")).expect("the pages").flatten();
    let known: Vec<String> = Code::ALL.iter().map(|code| format!("{}.md", code.as_str())).collect();
    for page in pages {
        let name = page.file_name().to_string_lossy().into_owned();
        assert!(known.contains(&name) || name == "README.md", "{name} explains a code that does not exist");
    }
}

#[test]
fn every_command_is_in_the_reference() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let reference = std::fs::read_to_string(root.join("docs/reference/commands.md")).expect("the reference");
    let mut tree = atoll::cli::tree();
    tree.build();
    walk(&tree, "atoll", &mut |command, path| {
        let is_a_leaf = command.get_subcommands().next().is_none();
        if is_a_leaf && !command.is_hide_set() && !path.contains(" help") {
            assert!(reference.contains(&format!("`{path}")), "docs/reference/commands.md does not have `{path}`");
        }
    });
}
