//! What went wrong, in the form that every command reports it: a stable code, a message, a hint, an exit code.

use std::fmt;

use serde_json::{Value, json};

/// A stable error code. Each has a page `docs/reference/errors/CODE.md`, which a test checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The command line itself is wrong.
    Usage,
    /// The stack file cannot be read.
    StackFileUnreadable,
    /// The stack file has an unknown key, a wrong type or an impossible value.
    StackFileInvalid,
    /// No running stack fits.
    NotRunning,
    /// Several running stacks fit.
    AmbiguousStack,
    /// A stack already runs in this directory, or under this name.
    AlreadyRunning,
    /// Another process holds the data directory.
    DataDirectoryLocked,
    /// The data directory cannot be used.
    DataDirectoryUnusable,
    /// No instance block has all its addresses free.
    AddressInUse,
    /// An engine did not start.
    EngineFailed,
    /// There is no node of that number, or nothing of that name.
    NotFound,
    /// The stack did not understand, or broke off.
    ControlFailed,
    /// The detached process ended before the stack was ready.
    StartFailed,
    /// The command of `atoll run` cannot be started.
    CommandFailed,
    /// A manifest was refused.
    ManifestInvalid,
    /// An experiment file was refused.
    ExperimentInvalid,
    /// An experiment ended with a failed hypothesis.
    VerdictFailed,
    /// A check of `doctor` or `status --check` failed.
    CheckFailed,
    /// The engine is not part of this stack, or is an external one.
    EngineNotEmbedded,
    /// A broker of Kafka has refused something.
    KafkaRefused,
    /// It took longer than allowed.
    Timeout,
    /// A signal ended the command.
    Interrupted,
    /// Standard output, or a file of the user's, could not be written.
    OutputFailed,
}

impl Code {
    /// Every code, for the documentation and its test.
    pub const ALL: &'static [Code] = &[
        Code::Usage,
        Code::StackFileUnreadable,
        Code::StackFileInvalid,
        Code::NotRunning,
        Code::AmbiguousStack,
        Code::AlreadyRunning,
        Code::DataDirectoryLocked,
        Code::DataDirectoryUnusable,
        Code::AddressInUse,
        Code::EngineFailed,
        Code::NotFound,
        Code::ControlFailed,
        Code::StartFailed,
        Code::CommandFailed,
        Code::ManifestInvalid,
        Code::ExperimentInvalid,
        Code::VerdictFailed,
        Code::CheckFailed,
        Code::EngineNotEmbedded,
        Code::KafkaRefused,
        Code::Timeout,
        Code::Interrupted,
        Code::OutputFailed,
    ];

    /// The code as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Usage => "usage",
            Code::StackFileUnreadable => "stack-file-unreadable",
            Code::StackFileInvalid => "stack-file-invalid",
            Code::NotRunning => "not-running",
            Code::AmbiguousStack => "ambiguous-stack",
            Code::AlreadyRunning => "already-running",
            Code::DataDirectoryLocked => "data-directory-locked",
            Code::DataDirectoryUnusable => "data-directory-unusable",
            Code::AddressInUse => "address-in-use",
            Code::EngineFailed => "engine-failed",
            Code::NotFound => "not-found",
            Code::ControlFailed => "control-failed",
            Code::StartFailed => "start-failed",
            Code::CommandFailed => "command-failed",
            Code::ManifestInvalid => "manifest-invalid",
            Code::ExperimentInvalid => "experiment-invalid",
            Code::VerdictFailed => "verdict-failed",
            Code::CheckFailed => "check-failed",
            Code::EngineNotEmbedded => "engine-not-embedded",
            Code::KafkaRefused => "kafka-refused",
            Code::Timeout => "timeout",
            Code::Interrupted => "interrupted",
            Code::OutputFailed => "output-failed",
        }
    }

    /// The code of that name, for errors that come over the control socket.
    pub fn parse(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// The exit code of a command that ends with this error.
    pub fn exit_code(self) -> u8 {
        match self {
            Code::Usage | Code::StackFileInvalid | Code::AmbiguousStack => 2,
            Code::VerdictFailed | Code::CheckFailed => 3,
            Code::NotFound | Code::StackFileUnreadable => 4,
            Code::NotRunning => 5,
            Code::Timeout => 124,
            Code::Interrupted => 130,
            _ => 1,
        }
    }

    /// The page that explains the code, from the root of the repository.
    pub fn docs(self) -> String {
        format!("docs/reference/errors/{}.md", self.as_str())
    }
}

/// A place in a file of the user's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    /// The file, as the user named it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

/// An error on its way to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What kind.
    pub code: Code,
    /// What happened, in a sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where in a file.
    pub place: Option<FilePlace>,
    /// A longer picture for people: the lines of a file with marks. Not part of the JSON form.
    pub picture: Option<String>,
}

impl Failure {
    /// An error without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None, place: None, picture: None }
    }

    /// The same error with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// The JSON form: `{"error":{"code","message","hint","docs"}}`, with `file`, `line` and `column` where known.
    pub fn to_json(&self) -> Value {
        let mut error = json!({
            "code": self.code.as_str(),
            "message": self.message,
            "hint": self.hint,
            "docs": self.code.docs(),
        });
        if let Some(place) = &self.place {
            error["file"] = json!(place.file);
            error["line"] = json!(place.line);
            error["column"] = json!(place.column);
        }
        json!({ "error": error })
    }

    /// Reads the JSON form back. What has another shape becomes [`Code::ControlFailed`].
    pub fn from_json(value: &Value) -> Failure {
        let error = &value["error"];
        let text = |name: &str| error[name].as_str().map(str::to_owned);
        let number = |name: &str| error[name].as_u64().and_then(|number| usize::try_from(number).ok());
        Failure {
            code: error["code"].as_str().and_then(Code::parse).unwrap_or(Code::ControlFailed),
            message: text("message").unwrap_or_else(|| "the stack answered with an error of unknown shape".to_owned()),
            hint: text("hint"),
            place: match (text("file"), number("line"), number("column")) {
                (Some(file), Some(line), Some(column)) => Some(FilePlace { file, line, column }),
                _ => None,
            },
            picture: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(FilePlace { file, line, column }) = &self.place {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What nearly everything in this crate returns.
pub type Result<T, E = Failure> = std::result::Result<T, E>;
