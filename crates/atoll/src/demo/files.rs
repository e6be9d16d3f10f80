//! The orders application's files: beside the program or the working directory, or else unpacked from the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Code, Failure, Result};
use crate::files;
use crate::output::Output;

/// What a copy of the program alone needs to set the demo up.
const EMBEDDED: &[(&str, &str)] = &[
    ("atoll.yaml", include_str!("../../../../examples/orders/atoll.yaml")),
    ("requirements.txt", include_str!("../../../../examples/orders/requirements.txt")),
    ("README.md", include_str!("../../../../examples/orders/README.md")),
    ("common.py", include_str!("../../../../examples/orders/common.py")),
    ("streams.py", include_str!("../../../../examples/orders/streams.py")),
    ("shards.py", include_str!("../../../../examples/orders/shards.py")),
    ("gateway.py", include_str!("../../../../examples/orders/gateway.py")),
    ("orders.py", include_str!("../../../../examples/orders/orders.py")),
    ("payment.py", include_str!("../../../../examples/orders/payment.py")),
    ("inventory.py", include_str!("../../../../examples/orders/inventory.py")),
    ("books.py", include_str!("../../../../examples/orders/books.py")),
    ("tools/check_audit.py", include_str!("../../../../examples/orders/tools/check_audit.py")),
    ("manifests/settings.yaml", include_str!("../../../../examples/orders/manifests/settings.yaml")),
    ("manifests/gateway.yaml", include_str!("../../../../examples/orders/manifests/gateway.yaml")),
    ("manifests/orders.yaml", include_str!("../../../../examples/orders/manifests/orders.yaml")),
    ("manifests/payment.yaml", include_str!("../../../../examples/orders/manifests/payment.yaml")),
    ("manifests/inventory.yaml", include_str!("../../../../examples/orders/manifests/inventory.yaml")),
    ("manifests/books.yaml", include_str!("../../../../examples/orders/manifests/books.yaml")),
    ("experiments/kill-broker.yaml", include_str!("../../../../examples/orders/experiments/kill-broker.yaml")),
    ("experiments/isolate-node.yaml", include_str!("../../../../examples/orders/experiments/isolate-node.yaml")),
    ("experiments/pause-node.yaml", include_str!("../../../../examples/orders/experiments/pause-node.yaml")),
];

/// The directory of the orders application, unpacked into the working directory if there is none.
pub(super) fn find() -> Result<PathBuf> {
    let broken = |error: std::io::Error| Failure::new(Code::OutputFailed, format!("the demo's files: {error}"));
    let working = std::env::current_dir().map_err(broken)?;
    let program = std::env::current_exe().ok();
    let roots = working.ancestors().chain(program.iter().flat_map(|program| program.ancestors()));
    for root in roots {
        for place in ["examples/orders", "atoll-demo", "."] {
            let directory = root.join(place);
            if directory.join("atoll.yaml").is_file() && directory.join("gateway.py").is_file() {
                return directory.canonicalize().map_err(broken);
            }
        }
    }
    let directory = working.join("atoll-demo");
    for (name, text) in EMBEDDED {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&directory)).map_err(broken)?;
        files::write_text(&path, text).map_err(broken)?;
    }
    directory.canonicalize().map_err(broken)
}

/// The experiment of that file, or of that name in the application's directory.
pub(super) fn experiment(named: &Path, stack: &Path) -> Option<PathBuf> {
    let beside = |directory: PathBuf| directory.join("experiments").join(named).with_extension("yaml");
    let example = find_quietly().map(beside);
    [Some(named.to_owned()), Some(beside(stack.to_owned())), example].into_iter().flatten().find(|path| path.is_file())
}

fn find_quietly() -> Option<PathBuf> {
    let working = std::env::current_dir().ok()?;
    working.ancestors().map(|root| root.join("examples/orders")).find(|directory| directory.is_dir())
}

/// Python's environment with the services' libraries, made unless it is there and current.
pub(super) fn prepare_environment(directory: &Path, output: Output) -> Result<()> {
    let environment = directory.join(".venv");
    let wanted = directory.join("requirements.txt");
    let installed = environment.join("installed.txt");
    let text = |path: &Path| files::read_text(path, 64 * 1024).ok();
    if text(&wanted).is_some() && text(&wanted) == text(&installed) {
        return Ok(());
    }
    output.say("installing the client libraries of the orders application (once, about half a minute) …");
    let pip = environment.join("bin/pip");
    run(
        Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment),
        "install Python with its venv module",
    )?;
    let install = ["install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(pip).args(install).arg(&wanted), "the package index must be reachable once")?;
    files::write_text(&installed, &text(&wanted).unwrap_or_default())
        .map_err(|error| Failure::new(Code::OutputFailed, format!("{}: {error}", installed.display())))
}

fn run(command: &mut Command, hint: &str) -> Result<()> {
    let shown = format!("{command:?}");
    let failure = |said: String| Failure::new(Code::CommandFailed, format!("{shown}: {said}")).hint(hint);
    // What a tool prints is for the person who waits, so it goes to standard error with all other progress.
    match command.stdout(std::io::stderr()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failure(status.to_string())),
        Err(error) => Err(failure(error.to_string())),
    }
}
