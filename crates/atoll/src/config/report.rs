//! Shows problems of a stack file: as one [`Failure`], with a picture of the lines for people.

use std::fmt;

use miette::{Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};

use super::{Place, Problem};
use crate::error::{Code, Failure, FilePlace};

/// Turns the problems of `file` into one error. The first is the message; the picture shows them all.
pub fn failure(file: &str, text: &str, problems: &[Problem], color: bool) -> Failure {
    let Some(first) = problems.first() else {
        return Failure::new(Code::StackFileInvalid, format!("{file} was refused"));
    };
    let more = match problems.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    let Place { line, column, .. } = first.place;
    Failure {
        code: Code::StackFileInvalid,
        message: format!("{}{more}", first.message),
        hint: first.hint.clone(),
        place: Some(FilePlace { file: file.to_owned(), line, column }),
        picture: Some(problems.iter().map(|problem| picture(file, text, problem, color)).collect()),
    }
}

fn picture(file: &str, text: &str, problem: &Problem, color: bool) -> String {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let Place { line, column, .. } = problem.place;
    let diagnostic = Picture {
        message: format!("{file}:{line}:{column}: {}", problem.message),
        hint: problem.hint.clone(),
        place: problem.place,
        source: NamedSource::new(file, text.to_owned()),
    };
    let mut out = String::new();
    // Drawing fails only if writing to the string does, which it never does; the message alone is enough then.
    if GraphicalReportHandler::new_themed(theme).with_context_lines(1).render_report(&mut out, &diagnostic).is_err() {
        return format!("{}\n", diagnostic.message);
    }
    out
}

#[derive(Debug)]
struct Picture {
    message: String,
    hint: Option<String>,
    place: Place,
    source: NamedSource<String>,
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Picture {}

impl Diagnostic for Picture {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        // A place past the end of the text cannot be drawn; an empty one is drawn as a single mark.
        let length = self.source.inner().len();
        let offset = self.place.offset.min(length);
        let end = (offset + self.place.length).min(length);
        Some(Box::new(std::iter::once(LabeledSpan::underline((offset, end - offset)))))
    }
}
