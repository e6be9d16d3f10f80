//! `doctor` and `completions`.

use serde_json::json;

use crate::doctor::{self, Grade};
use crate::error::{Code, Failure, Result};
use crate::output::{Output, Paint};

/// Checks the machine.
pub fn doctor(output: Output) -> Result<u8> {
    let checks = doctor::examine();
    let value = json!({ "checks": checks });
    output.data(&value, || {
        let is_colored = output.colors_data();
        let mut view = String::new();
        let mut group = "";
        for check in &checks {
            if check.group != group {
                group = check.group;
                view.push_str(&format!("{}\n", Paint::Bold.apply(group, is_colored)));
            }
            let (mark, paint) = match check.grade {
                Grade::Ok => ("✓", Paint::Green),
                Grade::Warning => ("!", Paint::Yellow),
                Grade::Failed => ("✗", Paint::Red),
            };
            view.push_str(&format!("  {} {:<22}{}\n", paint.apply(mark, is_colored), check.name, check.finding));
            if let (Some(hint), Grade::Warning | Grade::Failed) = (&check.hint, check.grade) {
                view.push_str(&format!("      {hint}\n"));
            }
        }
        view
    })?;
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.grade == Grade::Failed).map(|check| check.name).collect();
    if failed.is_empty() {
        return Ok(0);
    }
    Err(Failure::new(Code::CheckFailed, format!("failed: {}", failed.join(", ")))
        .hint("each failed check has its hint above"))
}

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell, output: Output) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::tree(), "atoll", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    output.data(&json!({ "shell": shell.to_string(), "script": script }), || script.clone())?;
    Ok(0)
}
