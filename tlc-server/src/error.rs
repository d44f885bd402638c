//! A failure as the command shows it: the library's error, and the next step.
//!
//! This is the only place that decides the exit code, and the only one that writes an error.

use std::error::Error as _;
use std::fmt::Write as _;

use serde::Serialize;
use tlc_core::{Error, ErrorKind};

/// The kind of an error in the arguments, beside those of [`ErrorKind`].
pub const USAGE: &str = "usage";

/// The result of a verb.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// What went wrong, and what to try next.
#[derive(Debug)]
pub struct Failure {
    error: Error,
    hint: Option<String>,
    is_usage: bool,
}

impl Failure {
    /// Arguments that do not go together.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            error: Error::invalid(message),
            hint: None,
            is_usage: true,
        }
    }

    /// An argument that is wrong in itself, where the error of the parser would repeat it.
    #[must_use]
    pub fn wrong_usage(error: Error) -> Self {
        Self {
            error,
            hint: None,
            is_usage: true,
        }
    }

    /// Adds the next step, unless one was given closer to the cause.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// What the library said.
    #[must_use]
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The exit code of the command: 2 wrong usage, 3 conflict, 4 not found, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.is_usage {
            return 2;
        }
        match self.error.kind() {
            ErrorKind::Conflict => 3,
            ErrorKind::NotFound => 4,
            ErrorKind::Invalid | ErrorKind::Unavailable | ErrorKind::Corrupt => 1,
        }
    }

    /// For people: the message, each cause on a line of its own, and the hint.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        for cause in self.causes() {
            // Writing to a string cannot fail.
            writeln!(text, "  because: {}", cause.replace('\n', "\n    ")).unwrap_or_default();
        }
        if let Some(hint) = self.hint_or_usual() {
            writeln!(text, "hint: {hint}").unwrap_or_default();
        }
        text
    }

    /// For programs: one JSON object `{kind, message, hint}` and the end of the line.
    #[must_use]
    pub fn to_json(&self) -> String {
        let message = std::iter::once(self.error.to_string())
            .chain(self.causes())
            .collect::<Vec<_>>()
            .join(": ");
        let kind = if self.is_usage {
            USAGE
        } else {
            self.error.kind().as_str()
        };
        error_json(kind, &message, self.hint_or_usual().as_deref())
    }

    /// What the sources say, without those that only repeat what stands before them.
    fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut source = self.error.source();
        while let Some(err) = source {
            let text = err.to_string();
            let said = causes.last().is_some_and(|last| last.contains(&text))
                || self.error.to_string().contains(&text);
            if !said {
                causes.push(text);
            }
            source = err.source();
        }
        causes
    }

    fn hint_or_usual(&self) -> Option<String> {
        let usual = match self.error.kind() {
            ErrorKind::Conflict => "look at what changed with `tlc table log`, then decide again",
            ErrorKind::Unavailable => {
                "check the disk, the network and the credentials, then try again"
            }
            ErrorKind::Corrupt => {
                "nothing was changed; restore the named file from a copy, or update tlc if a newer one wrote it"
            }
            ErrorKind::Invalid | ErrorKind::NotFound => return self.hint.clone(),
        };
        Some(self.hint.clone().unwrap_or_else(|| usual.to_owned()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            hint: None,
            is_usage: false,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(err: std::io::Error) -> Self {
        Error::new(ErrorKind::Unavailable, "the output cannot be written")
            .with_source(err)
            .into()
    }
}

/// An error as programs read it: `{kind, message, hint}` and the end of the line.
#[must_use]
pub fn error_json(kind: &str, message: &str, hint: Option<&str>) -> String {
    #[derive(Serialize)]
    struct ErrorView<'a> {
        kind: &'a str,
        message: &'a str,
        hint: Option<&'a str>,
    }
    // Strings always serialize.
    let json = serde_json::to_string(&ErrorView {
        kind,
        message,
        hint,
    })
    .unwrap_or_default();
    json + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_reads_each_cause_on_its_own_line() {
        let inner = Error::corrupt("entry 3 is cut off").with_source("unexpected end");
        let failure = Failure::from(inner.context("cannot open table train")).hint("restore it");
        assert_eq!(
            failure.to_text(),
            "error: cannot open table train\n  because: entry 3 is cut off\n  because: unexpected end\nhint: restore it\n"
        );
    }

    #[test]
    fn a_program_reads_kind_message_and_hint() {
        let failure =
            Failure::from(Error::not_found("no table \"x\"").with_source("nothing there"));
        assert_eq!(
            failure.to_json(),
            "{\"kind\":\"not found\",\"message\":\"no table \\\"x\\\": nothing there\",\"hint\":null}\n"
        );
    }

    #[test]
    fn a_cause_that_repeats_the_message_is_left_out() {
        let failure =
            Failure::from(Error::invalid("no column \"y\"").with_source("no column \"y\""));
        assert_eq!(failure.to_text(), "error: no column \"y\"\n");
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        let code = |kind| Failure::from(Error::new(kind, "x")).exit_code();
        let kinds = [
            ErrorKind::NotFound,
            ErrorKind::Conflict,
            ErrorKind::Invalid,
            ErrorKind::Unavailable,
            ErrorKind::Corrupt,
        ];
        assert_eq!(kinds.map(code), [4, 3, 1, 1, 1]);
    }
}
