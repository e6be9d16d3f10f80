//! A directory of its own for each test, with its own registry, so that no test sees another's stacks.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub struct Stage {
    directory: tempfile::TempDir,
}

/// What a command left behind.
pub struct Ending {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Stage {
    pub fn new() -> Stage {
        let stage = Stage { directory: tempfile::tempdir().expect("a temporary directory") };
        std::fs::create_dir(stage.path().join("project")).expect("a project");
        std::fs::create_dir(stage.path().join("runtime")).expect("a runtime directory");
        stage
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn project(&self) -> PathBuf {
        self.path().join("project")
    }

    /// Writes a file of the project.
    #[allow(clippy::disallowed_methods)] // A test writes the files that a user would.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.project().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(&path, text).expect("a file");
        path
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atoll"));
        command
            .args(words)
            .current_dir(self.project())
            .env("XDG_RUNTIME_DIR", self.path().join("runtime"))
            .env_remove("ATOLL_NAME")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn run(&self, words: &[&str]) -> Ending {
        Ending::of(&self.command(words).output().expect("atoll runs"))
    }

    /// Runs a command that has to succeed, and reads its JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let ending = self.run(&[&["--json"][..], words].concat());
        assert_eq!(ending.code, Some(0), "atoll {words:?}: {}", ending.stderr);
        serde_json::from_str(&ending.stdout)
            .unwrap_or_else(|error| panic!("atoll {words:?}: {error}: {}", ending.stdout))
    }

    /// Runs a command that has to fail, and reads its error.
    pub fn error(&self, words: &[&str]) -> (Option<i32>, Value) {
        let ending = self.run(&[&["--json"][..], words].concat());
        let error: Value = serde_json::from_str(&ending.stderr)
            .unwrap_or_else(|error| panic!("atoll {words:?}: {error}: {}{}", ending.stdout, ending.stderr));
        (ending.code, error["error"].clone())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // A test that failed half-way leaves its stack running otherwise.
        let _ = self.command(&["down"]).output();
    }
}

impl Ending {
    pub fn of(output: &Output) -> Ending {
        Ending {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
