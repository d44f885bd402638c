//! The log entries of a run: what it is, and what became of it.
//!
//! Entry 0 says that the run started; a run is what its entries say, in order. Numbers inside are
//! those of JSON, except that it has no NaN and no infinities: see [`Number`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) format: u32,
    /// Written by this writer alone, once: tells a lost answer from a lost race.
    pub(crate) stamp: String,
    /// RFC 3339 in UTC.
    pub(crate) time: String,
    pub(crate) event: Event,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// The run began. Always entry 0, and no other.
    Started {
        run: String,
        author: String,
        writer: String,
        rank: i32,
        process: Process,
        /// What the processes have in common that were started together.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launch: Option<String>,
        /// Where it goes on from, if not from nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fork: Option<Box<Fork>>,
    },
    /// Another process began to write metrics of the same attempt.
    Joined {
        writer: String,
        rank: i32,
        process: Process,
    },
    /// The run goes on after it had stopped: the next attempt began.
    Resumed {
        writer: String,
        rank: i32,
        process: Process,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        launch: Option<String>,
    },
    /// Parameters; a later value of a name takes the place of an earlier one.
    Params { values: BTreeMap<String, String> },
    /// The run read a table at a revision.
    Input { table: String, revision: u64 },
    /// The run wrote a revision of a table.
    Output { table: String, revision: u64 },
    /// The run is a reduction of another one.
    Reduced { run: String },
    /// What the run is made of, as a file of the project says; the newest counts.
    Captured {
        writer: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
        /// Whether files are not as the commit has them, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dirty: Option<bool>,
        /// The hash of the file, in hexadecimal digits.
        provenance: String,
    },
    /// The run read or made a version of an artifact.
    Artifact {
        artifact: String,
        version: u64,
        role: Role,
    },
    /// The columns of a stream: an IPC stream without batches, as base64, and what the first rows were of.
    Stream {
        name: String,
        schema: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        table: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        revision: Option<u64>,
    },
    /// A process that had joined has written all that it had.
    Left {
        writer: String,
        #[serde(default, skip_serializing_if = "Lost::is_none")]
        lost: Lost,
        last: BTreeMap<String, Last>,
    },
    /// The run has ended.
    Finished {
        writer: String,
        outcome: Outcome,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Lost::is_none")]
        lost: Lost,
        last: BTreeMap<String, Last>,
    },
}

/// What an artifact is to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    Input,
    Output,
}

/// What a run begins with that goes on from another one of its project, as that one was then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fork {
    pub(crate) run: String,
    /// That of the other run's entry 0: tells the run from a later one of its name.
    pub(crate) writer: String,
    /// The other run's newest attempt; what later ones log is none of the fork's.
    pub(crate) attempt: u32,
    /// Scalars of this step and later ones are none of the fork's.
    pub(crate) step: i64,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) inputs: Vec<Input>,
    pub(crate) last: BTreeMap<String, Last>,
}

/// A table at a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    pub(crate) table: String,
    pub(crate) revision: u64,
}

/// The beginning of a segment: what all its rows share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentHead {
    pub(crate) format: u32,
    pub(crate) run: String,
    pub(crate) writer: String,
    pub(crate) attempt: u32,
    pub(crate) rank: i32,
    /// Of sample metrics, with its epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<i64>,
    /// Of items, what kind of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) items: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Completed,
    Failed,
}

/// The process of a writer, as `Env` names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Process {
    pub(crate) machine: String,
    pub(crate) id: u32,
    pub(crate) started: u64,
}

/// What a writer had to drop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lost {
    pub(crate) scalars: u64,
    pub(crate) sample_rows: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) items: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes it so")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Lost {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// The value of a scalar at its largest step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Last {
    pub(crate) step: i64,
    pub(crate) value: Number,
}

/// A float that survives JSON bit for bit: as a number if reading gives the same number back, else
/// as text (`NaN`, `inf`, `-inf`, or its shortest decimal form).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "NumberText", into = "NumberText")]
pub(crate) struct Number(pub(crate) f64);

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum NumberText {
    Number(f64),
    Text(String),
}

impl From<Number> for NumberText {
    fn from(Number(value): Number) -> Self {
        let written = serde_json::to_string(&value).unwrap_or_default();
        let read = serde_json::from_str::<f64>(&written).ok();
        match read.is_some_and(|read| read.to_bits() == value.to_bits()) {
            true => Self::Number(value),
            false => Self::Text(value.to_string()),
        }
    }
}

impl TryFrom<NumberText> for Number {
    type Error = String;

    fn try_from(text: NumberText) -> Result<Self, String> {
        match text {
            NumberText::Number(value) => Ok(Self(value)),
            NumberText::Text(text) => text
                .parse()
                .map(Self)
                .map_err(|err| format!("{text:?} is not a number: {err}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::{decode, encode};

    fn entry(event: Event) -> Entry {
        Entry {
            format: 1,
            stamp: "s".to_owned(),
            time: "1970-01-01T00:00:00.000000Z".to_owned(),
            event,
        }
    }

    /// The written form of an event, which is also read back.
    #[track_caller]
    fn check(event: Event, expected: &str) {
        let entry = entry(event);
        let written = encode(&entry).unwrap();
        let head = r#"{"format":1,"stamp":"s","time":"1970-01-01T00:00:00.000000Z","event":"#;
        assert_eq!(
            std::str::from_utf8(&written).unwrap(),
            format!("{head}{expected}}}")
        );
        assert_eq!(decode::<Entry>("entry 0", &written).unwrap(), entry);
    }

    #[test]
    fn the_written_form_is_this() {
        let process = Process {
            machine: "m".to_owned(),
            id: 7,
            started: u64::MAX,
        };
        check(
            Event::Started {
                run: "r".into(),
                author: "ada".into(),
                writer: "w".into(),
                rank: 0,
                process: process.clone(),
                launch: None,
                fork: None,
            },
            r#"{"kind":"started","run":"r","author":"ada","writer":"w","rank":0,"process":{"machine":"m","id":7,"started":18446744073709551615}}"#,
        );
        check(
            Event::Joined {
                writer: "w".into(),
                rank: 1,
                process,
            },
            r#"{"kind":"joined","writer":"w","rank":1,"process":{"machine":"m","id":7,"started":18446744073709551615}}"#,
        );
        let process = Process {
            machine: "m".to_owned(),
            id: 7,
            started: u64::MAX,
        };
        check(
            Event::Resumed {
                writer: "w".into(),
                rank: 1,
                process,
                launch: Some("job 7".into()),
            },
            r#"{"kind":"resumed","writer":"w","rank":1,"process":{"machine":"m","id":7,"started":18446744073709551615},"launch":"job 7"}"#,
        );
        check(
            Event::Params {
                values: BTreeMap::from([("lr".to_owned(), "0.1".to_owned())]),
            },
            r#"{"kind":"params","values":{"lr":"0.1"}}"#,
        );
        check(
            Event::Input {
                table: "t".into(),
                revision: 3,
            },
            r#"{"kind":"input","table":"t","revision":3}"#,
        );
        check(
            Event::Artifact {
                artifact: "model".into(),
                version: 2,
                role: Role::Output,
            },
            r#"{"kind":"artifact","artifact":"model","version":2,"role":"output"}"#,
        );
        check(
            Event::Stream {
                name: "val".into(),
                schema: "AA==".into(),
                table: None,
                revision: Some(3),
            },
            r#"{"kind":"stream","name":"val","schema":"AA==","revision":3}"#,
        );
    }

    #[test]
    fn the_written_form_of_what_a_run_is_made_of_is_this() {
        check(
            Event::Output {
                table: "t".into(),
                revision: 4,
            },
            r#"{"kind":"output","table":"t","revision":4}"#,
        );
        check(
            Event::Captured {
                writer: "w".into(),
                commit: Some("c".into()),
                branch: None,
                dirty: Some(true),
                provenance: "h".into(),
            },
            r#"{"kind":"captured","writer":"w","commit":"c","dirty":true,"provenance":"h"}"#,
        );
    }

    #[test]
    fn the_written_form_of_a_reduction_is_this() {
        check(
            Event::Reduced { run: "r".into() },
            r#"{"kind":"reduced","run":"r"}"#,
        );
    }

    #[test]
    fn the_written_form_of_a_fork_is_this() {
        let fork = Fork {
            run: "r".into(),
            writer: "v".into(),
            attempt: 2,
            step: -5,
            params: BTreeMap::from([("lr".to_owned(), "0.1".to_owned())]),
            inputs: vec![Input {
                table: "t".into(),
                revision: 3,
            }],
            last: BTreeMap::from([(
                "loss".to_owned(),
                Last {
                    step: -6,
                    value: Number(f64::INFINITY),
                },
            )]),
        };
        check(
            Event::Started {
                run: "s".into(),
                author: "ada".into(),
                writer: "w".into(),
                rank: 0,
                process: Process {
                    machine: "m".to_owned(),
                    id: 7,
                    started: 9,
                },
                launch: None,
                fork: Some(Box::new(fork)),
            },
            r#"{"kind":"started","run":"s","author":"ada","writer":"w","rank":0,"process":{"machine":"m","id":7,"started":9},"fork":{"run":"r","writer":"v","attempt":2,"step":-5,"params":{"lr":"0.1"},"inputs":[{"table":"t","revision":3}],"last":{"loss":{"step":-6,"value":"inf"}}}}"#,
        );
    }

    #[test]
    fn the_written_form_of_an_end_is_this() {
        let last = BTreeMap::from([(
            "loss".to_owned(),
            Last {
                step: -1,
                value: Number(0.5),
            },
        )]);
        let lost = Lost {
            scalars: 1,
            sample_rows: 2,
            items: 0,
        };
        check(
            Event::Left {
                writer: "w".into(),
                lost,
                last: last.clone(),
            },
            r#"{"kind":"left","writer":"w","lost":{"scalars":1,"sample_rows":2},"last":{"loss":{"step":-1,"value":0.5}}}"#,
        );
        let (outcome, reason) = (Outcome::Failed, Some("panicked".to_owned()));
        check(
            Event::Finished {
                writer: "w".into(),
                outcome,
                reason,
                lost: Lost::default(),
                last,
            },
            r#"{"kind":"finished","writer":"w","outcome":"failed","reason":"panicked","last":{"loss":{"step":-1,"value":0.5}}}"#,
        );
    }

    #[test]
    fn every_float_survives() {
        for value in [
            0.0,
            -0.0,
            0.1,
            1.0 / 3.0,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
            let written = serde_json::to_string(&Number(value)).unwrap();
            let Number(read) = serde_json::from_str(&written).unwrap();
            assert_eq!(read.to_bits(), value.to_bits(), "{written}");
        }
        let Number(nan) =
            serde_json::from_str(&serde_json::to_string(&Number(f64::NAN)).unwrap()).unwrap();
        assert!(nan.is_nan());
    }

    #[test]
    fn foreign_and_newer_entries_are_refused() {
        let head = r#"{"format":1,"stamp":"s","time":"t","event":"#;
        for (text, kind, expected) in [
            (
                r#"{"format":99,"novelty":1}"#.to_owned(),
                ErrorKind::Invalid,
                "version 99",
            ),
            (
                format!(r#"{head}{{"kind":"renamed"}}}}"#),
                ErrorKind::Corrupt,
                "entry 4",
            ),
            (
                format!(r#"{head}{{"kind":"input","table":"t","revision":-1}}}}"#),
                ErrorKind::Corrupt,
                "entry 4",
            ),
            (
                format!(r#"{head}{{"kind":"input","table":"t","revision":1,"x":1}}}}"#),
                ErrorKind::Corrupt,
                "entry 4",
            ),
            (head.to_owned(), ErrorKind::Corrupt, "entry 4"),
        ] {
            let err = decode::<Entry>("entry 4", text.as_bytes()).unwrap_err();
            assert_eq!(err.kind(), kind, "{text}");
            assert!(err.to_string().contains(expected), "{err}");
        }
    }
}
