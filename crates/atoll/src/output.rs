//! What commands print: data on standard output as a table, JSON or YAML; everything else on standard error.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use crate::error::{Code, Failure, Result};

/// The form of data on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// More columns for people.
    Wide,
    /// JSON; one value per line when following.
    Json,
    /// YAML; one document per value when following.
    Yaml,
}

/// When to color.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set or `TERM` is `dumb`.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    fn decide(self, is_terminal: bool) -> bool {
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => {
                let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
                is_terminal && !no_color && !is_dumb
            }
        }
    }
}

/// Where a command writes to.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    format: Format,
    colors_data: bool,
    colors_messages: bool,
}

impl Output {
    /// The output of a command with these options.
    pub fn new(format: Format, color: ColorChoice) -> Output {
        Output {
            format,
            colors_data: color.decide(io::stdout().is_terminal()),
            colors_messages: color.decide(io::stderr().is_terminal()),
        }
    }

    /// True if a program reads the output.
    pub fn is_structured(self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml)
    }

    /// True if tables have their additional columns.
    pub fn is_wide(self) -> bool {
        self.format == Format::Wide
    }

    /// True if messages are colored.
    pub fn colors_messages(self) -> bool {
        self.colors_messages
    }

    /// True if data is colored.
    pub fn colors_data(self) -> bool {
        self.colors_data
    }

    /// Prints the result of a command: `value` as it is, or for people what `view` makes of it.
    pub fn data(self, value: &Value, view: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            Format::Json => print(&format!("{value:#}\n")),
            Format::Yaml => print(&yaml(value)?),
            Format::Table | Format::Wide => print(&view()),
        }
    }

    /// Prints one of a sequence: a line of JSON, a document of YAML, or what `view` makes of it.
    pub fn item(self, value: &Value, view: impl FnOnce() -> String) -> Result<()> {
        match self.format {
            Format::Json => print(&format!("{value}\n")),
            Format::Yaml => print(&format!("---\n{}", yaml(value)?)),
            Format::Table | Format::Wide => print(&view()),
        }
    }

    /// Says something to people, on standard error. Programs are not spoken to.
    pub fn say(self, line: &str) {
        if !self.is_structured() {
            // Nobody listens any more: not a reason to fail.
            let _ = writeln!(io::stderr(), "{line}");
        }
    }

    /// Says that a step succeeded.
    pub fn step(self, line: &str) {
        self.say(&format!("{} {line}", self.paint(Paint::Green, "✓")));
    }

    /// Says something that should not be overlooked.
    pub fn warn(self, line: &str) {
        self.say(&format!("{} {line}", self.paint(Paint::Yellow, "!")));
    }

    /// Reports an error on standard error, as JSON if a program reads.
    pub fn failure(self, failure: &Failure) {
        let text = if self.is_structured() { format!("{}\n", failure.to_json()) } else { self.failure_text(failure) };
        let _ = io::stderr().write_all(text.as_bytes());
    }

    fn failure_text(self, failure: &Failure) -> String {
        let mut text = match &failure.picture {
            Some(picture) => picture.clone(),
            None => format!("{} {failure}\n", self.paint(Paint::Red, "error:")),
        };
        if let (Some(hint), None) = (&failure.hint, &failure.picture) {
            let _ = writeln!(text, "  {} {hint}", self.paint(Paint::Bold, "hint:"));
        }
        let _ = writeln!(text, "  {} {}", self.paint(Paint::Bold, "code:"), failure.code.as_str());
        text
    }

    fn paint(self, paint: Paint, text: &str) -> String {
        paint.apply(text, self.colors_messages)
    }
}

/// A line that tells how something fares while it lasts: written anew in place on a terminal, and nowhere else.
#[derive(Debug)]
pub struct LiveLine {
    is_on: bool,
    is_shown: bool,
}

impl LiveLine {
    /// A line of a command with this output.
    pub fn new(output: Output) -> LiveLine {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        LiveLine { is_on: io::stderr().is_terminal() && !is_dumb && !output.is_structured(), is_shown: false }
    }

    /// True where there is a terminal that shows it.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Shows this in place of what stood there.
    pub fn show(&mut self, text: &str) {
        if self.is_on {
            let _ = write!(io::stderr(), "\r\x1b[K{text}");
            self.is_shown = true;
        }
    }

    /// Takes the line away, so that another can be said.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    /// Leaves the line as it stands, and goes on below it.
    pub fn keep(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = writeln!(io::stderr());
        }
    }
}

/// A color with one meaning everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// All is well.
    Green,
    /// Look here.
    Yellow,
    /// Something is wrong.
    Red,
    /// Of little interest.
    Dim,
    /// A heading.
    Bold,
}

impl Paint {
    /// The text with the color's escape sequences around it, if `is_on`.
    pub fn apply(self, text: &str, is_on: bool) -> String {
        let code = match self {
            Paint::Green => "32",
            Paint::Yellow => "33",
            Paint::Red => "31",
            Paint::Dim => "2",
            Paint::Bold => "1",
        };
        if is_on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// The color of a state, by its name.
    pub fn of_state(state: &str) -> Option<Paint> {
        match state {
            "running" | "ready" | "ok" | "embedded" => Some(Paint::Green),
            "paused" | "warning" | "external" | "starting" => Some(Paint::Yellow),
            "killed" | "failed" | "failing" | "full" => Some(Paint::Red),
            "stopped" | "disabled" | "skipped" => Some(Paint::Dim),
            _ => None,
        }
    }
}

/// Columns for people: headings in capitals, as `kubectl` prints them.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| heading.to_uppercase()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The table as text. States are colored after the columns are aligned, so that escape sequences have no width.
    pub fn render(&self, is_colored: bool) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()) + 3);
                let shown = match Paint::of_state(cell) {
                    Some(paint) => paint.apply(cell, is_colored),
                    None => cell.clone(),
                };
                line.push_str(&shown);
                line.push_str(&padding);
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn yaml(value: &Value) -> Result<String> {
    let mut text = serde_saphyr::to_string(value)
        .map_err(|error| Failure::new(Code::OutputFailed, format!("cannot write YAML: {error}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Writes to standard output. A reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::OutputFailed, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
