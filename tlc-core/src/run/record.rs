//! What a run is, folded from its log entries alone.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::datatypes::SchemaRef;

use super::buffer::Lost;
use crate::artifact::{ArtifactRole, ArtifactUse};
use crate::env::{Micros, Process};
use crate::error::{Error, Result};
use crate::format::decode_schema;
use crate::format::run::{Entry, Event, Last, Number, Outcome, Role};
use crate::id::{Revision, RunName, StreamName, TableName};

/// A run that has not ended reads as interrupted when its last sign of life is older than this.
pub const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// It has not ended, and its process gives signs of life.
    Running,
    /// It was finished.
    Completed,
    /// It was said to have failed, panicked, or left without being finished.
    Failed,
    /// Its process is gone without a word.
    Interrupted,
}

impl RunStatus {
    /// The status in one lower-case word, as SQL and scripts see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A stream of sample metrics, as its first batch made it.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRecord {
    /// The stream's name.
    pub name: StreamName,
    /// Its own columns; files have those of [`sample_schema`](super::sample_schema).
    pub schema: SchemaRef,
    /// The table of its first rows, if they said so. Each row says its own.
    pub table: Option<TableName>,
    /// The revision of that table.
    pub revision: Option<Revision>,
}

/// Where a run begins that goes on from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The other run. It may be gone.
    pub run: RunName,
    /// What the other run logged before this step is part of the fork.
    pub step: i64,
}

/// The code that a run is of, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCode {
    /// The commit that was checked out.
    pub commit: Option<String>,
    /// The branch that it was on.
    pub branch: Option<String>,
    /// Whether files were not as the commit has them; `None` if that is not known.
    pub is_dirty: Option<bool>,
    /// The hash of the file that says the rest: [`Project::provenance`](crate::Project::provenance).
    pub(crate) provenance: String,
}

/// One execution of a training program.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// The run's name.
    pub name: RunName,
    /// What became of it.
    pub status: RunStatus,
    /// Why it failed.
    pub reason: Option<String>,
    /// Who started it.
    pub author: String,
    /// When it started.
    pub started: Micros,
    /// When it was finished or failed; nobody knows when an interrupted one ended.
    pub finished: Option<Micros>,
    /// The process that started its newest attempt.
    pub process: Process,
    /// How often it was begun: 1, and one more for each time it was resumed.
    pub attempts: u32,
    /// Where it begins, if it is the fork of another run.
    pub forked: Option<Fork>,
    /// The run whose embeddings it has as points, if it is a reduction. That one may be gone.
    pub reduced: Option<RunName>,
    /// Parameters by their dotted names; of a fork also those it began with.
    pub params: BTreeMap<String, String>,
    /// What it read, in the order it was told; of a fork first what the other run had read.
    pub inputs: Vec<(TableName, Revision)>,
    /// What it wrote, in the order it was told.
    pub outputs: Vec<(TableName, Revision)>,
    /// The code of its newest attempt; `None` if that is not known, or not yet.
    pub code: Option<RunCode>,
    /// The versions of artifacts that it read and made, in the order it was told; of a fork its own.
    pub artifacts: Vec<ArtifactUse>,
    /// The streams of sample metrics, in the order they began.
    pub streams: Vec<StreamRecord>,
    /// The value of each scalar at its largest step; of one that a fork did not log, the value it began with.
    pub last: BTreeMap<String, f64>,
    /// What its writers had to drop.
    pub lost: Lost,
}

impl RunRecord {
    /// What a user has to know about the completeness of the metrics; `None` if nothing was lost.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        (!self.lost.is_none()).then(|| format!("run {}: {}", self.name, lost_text(self.lost)))
    }
}

pub(crate) fn lost_text(lost: Lost) -> String {
    let Lost {
        scalars,
        sample_rows,
        items,
    } = lost;
    let items = match items {
        0 => String::new(),
        items => format!(" and {items} texts, histograms or files"),
    };
    format!(
        "{scalars} scalars and {sample_rows} rows of sample metrics{items} were lost, because storage did not keep up or failed"
    )
}

/// Of each scalar the newest attempt that has it, its largest step in it, and its value there. The later of
/// equal steps counts. What a fork began with is of attempt 0.
pub(crate) type Lasts = BTreeMap<String, (u32, i64, f64)>;

pub(crate) fn keep_last(
    lasts: &mut Lasts,
    name: impl AsRef<str> + Into<String>,
    (attempt, step): (u32, i64),
    value: f64,
) {
    match lasts.get_mut(name.as_ref()) {
        Some(last) if (attempt, step) < (last.0, last.1) => {}
        Some(last) => *last = (attempt, step, value),
        None => {
            lasts.insert(name.into(), (attempt, step, value));
        }
    }
}

/// Scalars whose last values an entry says; of more, the files know.
const LASTS_MAX: usize = 16 << 10;

/// As [`keep_last`], but of as many scalars as an entry says.
pub(crate) fn keep_last_of_some(lasts: &mut Lasts, name: &str, at: (u32, i64), value: f64) {
    if lasts.len() < LASTS_MAX || lasts.contains_key(name) {
        keep_last(lasts, name, at, value);
    }
}

/// Last values as entries say them.
pub(crate) fn as_logged(lasts: Lasts) -> BTreeMap<String, Last> {
    let last = |(name, (_, step, value))| {
        let value = Number(value);
        (name, Last { step, value })
    };
    lasts.into_iter().map(last).collect()
}

/// A record, and what its entries do not settle.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) record: RunRecord,
    /// The last values of the writers that have said them.
    pub(crate) lasts: Lasts,
    /// By their ids, all that ever wrote.
    pub(crate) writers: BTreeMap<String, WriterRecord>,
    /// Which processes belong to the newest attempt, if they were started together.
    pub(crate) launch: Option<String>,
    /// The number of entries.
    pub(crate) n_entries: u64,
    is_finished: bool,
    /// When its newest attempt began.
    resumed: Micros,
}

/// One writer of a run.
#[derive(Debug)]
pub(crate) struct WriterRecord {
    pub(crate) attempt: u32,
    pub(crate) process: Process,
    /// It has not said that it ended: what it logged is known from its files alone.
    pub(crate) is_open: bool,
}

impl Folded {
    /// Decides whether a run that has not ended is running or interrupted.
    ///
    /// `heartbeat` is when one of its writers last said that it lives.
    pub(crate) fn judge(&mut self, now: Micros, heartbeat: Option<Micros>) {
        if self.record.status == RunStatus::Running {
            let seen = heartbeat
                .unwrap_or_default()
                .max(self.record.started)
                .max(self.resumed);
            let n_open = self.open_writers().count();
            let is_dead = n_open > 0 && self.open_writers().all(|writer| writer.process.is_dead());
            if is_dead || now.since(seen) > SILENCE_MAX {
                self.record.status = RunStatus::Interrupted;
            }
        }
    }

    /// Those of the newest attempt that have not ended.
    fn open_writers(&self) -> impl Iterator<Item = &WriterRecord> {
        let newest = self.record.attempts;
        let open = move |writer: &&WriterRecord| writer.is_open && writer.attempt == newest;
        self.writers.values().filter(open)
    }

    /// Whether the files know more than the log.
    pub(crate) fn has_open_writers(&self) -> bool {
        self.writers.values().any(|writer| writer.is_open)
    }

    /// Whether the log says all, as long as it does not grow: no file, no heartbeat and no clock matters.
    pub(crate) fn has_ended(&self) -> bool {
        self.record.finished.is_some() && !self.has_open_writers()
    }

    /// Gives the record these last values.
    pub(crate) fn set_last(&mut self, lasts: &Lasts) {
        let last = lasts
            .iter()
            .map(|(name, (_, _, value))| (name.clone(), *value));
        self.record.last = last.collect();
    }
}

/// Folds the entries of a run, from entry 0 on. A run has failed if one of its writers has.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the entry that cannot be.
pub(crate) fn fold(run: &RunName, entries: Vec<Entry>) -> Result<Folded> {
    let mut entries = entries.into_iter().enumerate();
    let mut folded = match entries.next() {
        Some((_, first)) => started(run, first)?,
        None => return Err(Error::corrupt(format!("run {run} has no entry"))),
    };
    for (number, entry) in entries {
        folded.n_entries += 1;
        folded
            .apply(entry)
            .map_err(|err| Error::corrupt(what(run, number)).with_source(err))?;
    }
    let lasts = std::mem::take(&mut folded.lasts);
    folded.set_last(&lasts);
    folded.lasts = lasts;
    Ok(folded)
}

/// How an entry is named in messages.
pub(crate) fn what(run: &RunName, number: usize) -> String {
    format!("entry {number} of run {run}")
}

fn started(run: &RunName, entry: Entry) -> Result<Folded> {
    let started = time(&entry.time).map_err(|err| Error::corrupt(what(run, 0)).with_source(err))?;
    let Event::Started {
        author,
        writer,
        process,
        launch,
        fork,
        ..
    } = entry.event
    else {
        return Err(not_started(run));
    };
    let record = RunRecord {
        name: run.clone(),
        status: RunStatus::Running,
        reason: None,
        author,
        started,
        finished: None,
        process: from_entry(process.clone()),
        attempts: 1,
        forked: None,
        reduced: None,
        params: BTreeMap::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        code: None,
        artifacts: Vec::new(),
        streams: Vec::new(),
        last: BTreeMap::new(),
        lost: Lost::default(),
    };
    let mut folded = Folded {
        record,
        lasts: Lasts::new(),
        writers: BTreeMap::new(),
        launch,
        n_entries: 1,
        is_finished: false,
        resumed: Micros::default(),
    };
    folded.open(writer, process);
    if let Some(fork) = fork {
        folded
            .begin_with(*fork)
            .map_err(|err| Error::corrupt(what(run, 0)).with_source(err))?;
    }
    Ok(folded)
}

/// Entry 0 is another one than it must be.
pub(crate) fn not_started(run: &RunName) -> Error {
    let entry = what(run, 0);
    Error::corrupt(format!("{entry} does not say that the run started"))
}

/// Keeps a revision of a table, once.
fn note(revisions: &mut Vec<(TableName, Revision)>, table: &str, revision: u64) -> Result<()> {
    let noted = (table.parse()?, Revision(revision));
    if !revisions.contains(&noted) {
        revisions.push(noted);
    }
    Ok(())
}

fn from_entry(process: crate::format::run::Process) -> Process {
    Process {
        machine: process.machine,
        id: process.id,
        started: process.started,
    }
}

impl Folded {
    /// Takes over what the other run had said of itself, and its last values before the step.
    fn begin_with(&mut self, fork: crate::format::run::Fork) -> Result<()> {
        let record = &mut self.record;
        record.forked = Some(Fork {
            run: fork.run.parse()?,
            step: fork.step,
        });
        record.params = fork.params;
        for input in fork.inputs {
            let input = (input.table.parse()?, Revision(input.revision));
            record.inputs.push(input);
        }
        for (name, last) in fork.last {
            keep_last(&mut self.lasts, name, (0, last.step), last.value.0);
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Result<()> {
        match entry.event {
            Event::Started { .. } => return Err(Error::corrupt("a run starts once")),
            Event::Joined {
                writer, process, ..
            } => self.open(writer, process),
            Event::Resumed {
                writer,
                process,
                launch,
                ..
            } => {
                self.resume(launch, time(&entry.time)?);
                self.record.process = from_entry(process.clone());
                self.open(writer, process);
            }
            Event::Params { values } => self.set_params(values),
            Event::Input { table, revision } => {
                note(&mut self.record.inputs, &table, revision)?;
            }
            Event::Output { table, revision } => {
                note(&mut self.record.outputs, &table, revision)?;
            }
            Event::Reduced { run } => self.record.reduced = Some(run.parse()?),
            Event::Captured {
                commit,
                branch,
                dirty: is_dirty,
                provenance,
                ..
            } => {
                let code = RunCode {
                    commit,
                    branch,
                    is_dirty,
                    provenance,
                };
                self.record.code = Some(code);
            }
            Event::Artifact {
                artifact,
                version,
                role,
            } => self.touch(&artifact, version, role)?,
            Event::Stream {
                name,
                schema,
                table,
                revision,
            } => {
                let source = (table.as_deref(), revision.map(Revision));
                self.begin_stream(&name, &schema, source)?;
            }
            Event::Left { writer, lost, last } => {
                self.leave(&writer, lost, last);
                self.settle(time(&entry.time)?);
            }
            Event::Finished {
                writer,
                outcome,
                reason,
                lost,
                last,
            } => {
                // What is left of an earlier attempt does not end this one.
                if self.leave(&writer, lost, last) {
                    self.finish(outcome, reason, time(&entry.time)?);
                }
            }
        }
        Ok(())
    }

    /// The next attempt begins.
    fn resume(&mut self, launch: Option<String>, time: Micros) {
        let record = &mut self.record;
        record.attempts += 1;
        (record.status, record.reason, record.finished) = (RunStatus::Running, None, None);
        record.code = None;
        (self.launch, self.is_finished, self.resumed) = (launch, false, time);
    }

    fn set_params(&mut self, values: BTreeMap<String, String>) {
        match self.record.params.is_empty() {
            true => self.record.params = values,
            false => self.record.params.extend(values),
        }
    }

    fn begin_stream(
        &mut self,
        name: &str,
        schema: &str,
        (table, revision): (Option<&str>, Option<Revision>),
    ) -> Result<()> {
        let name: StreamName = name.parse()?;
        if self.record.streams.iter().all(|stream| stream.name != name) {
            let table = table.map(str::parse).transpose()?;
            self.record.streams.push(StreamRecord {
                name,
                schema: decode_schema(schema)?,
                table,
                revision,
            });
        }
        Ok(())
    }

    /// The run read or made a version of an artifact.
    fn touch(&mut self, artifact: &str, version: u64, role: Role) -> Result<()> {
        let used = ArtifactUse {
            artifact: artifact.parse()?,
            version,
            role: match role {
                Role::Input => ArtifactRole::Input,
                Role::Output => ArtifactRole::Output,
            },
        };
        if !self.record.artifacts.contains(&used) {
            self.record.artifacts.push(used);
        }
        Ok(())
    }

    fn open(&mut self, writer: String, process: crate::format::run::Process) {
        let record = WriterRecord {
            attempt: self.record.attempts,
            process: from_entry(process),
            is_open: true,
        };
        self.writers.insert(writer, record);
    }

    /// A writer has ended; `true` if it is of the newest attempt.
    fn leave(
        &mut self,
        writer: &str,
        lost: crate::format::run::Lost,
        last: BTreeMap<String, Last>,
    ) -> bool {
        let newest = self.record.attempts;
        let attempt = match self.writers.get_mut(writer) {
            Some(writer) => {
                writer.is_open = false;
                writer.attempt
            }
            None => newest,
        };
        self.record.lost.add(Lost {
            scalars: lost.scalars,
            sample_rows: lost.sample_rows,
            items: lost.items,
        });
        for (name, last) in last {
            keep_last(&mut self.lasts, name, (attempt, last.step), last.value.0);
        }
        attempt == newest
    }

    /// A run is complete when it was said to be, and all its writers have ended.
    fn settle(&mut self, time: Micros) {
        let is_complete = self.is_finished && self.open_writers().next().is_none();
        if is_complete && self.record.status == RunStatus::Running {
            self.record.status = RunStatus::Completed;
            self.record.finished = Some(time);
        }
    }

    fn finish(&mut self, outcome: Outcome, reason: Option<String>, time: Micros) {
        match outcome {
            Outcome::Completed => self.is_finished = true,
            Outcome::Failed if self.record.status != RunStatus::Failed => {
                self.record.status = RunStatus::Failed;
                let none = || "no reason was given".to_owned();
                self.record.reason = Some(reason.unwrap_or_else(none));
            }
            Outcome::Failed => {}
        }
        if self.record.status == RunStatus::Failed {
            self.record.finished = Some(time);
        }
        self.settle(time);
    }
}

fn time(text: &str) -> Result<Micros> {
    Micros::from_rfc3339(text).ok_or_else(|| Error::corrupt(format!("{text:?} is not a time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// One entry a line: its time in seconds and its event as JSON without the braces.
    fn folded(lines: &str) -> Result<Folded> {
        let entries = lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (secs, event) = line.split_once(' ').unwrap();
                let time = Micros(secs.parse::<i64>().unwrap() * 1_000_000).to_rfc3339();
                let event = serde_json::from_str(&format!("{{{event}}}")).unwrap();
                Entry {
                    format: 1,
                    stamp: "s".to_owned(),
                    time,
                    event,
                }
            });
        fold(&"r".parse().unwrap(), entries.collect())
    }

    const STARTED: &str = r#"5 "kind":"started","run":"r","author":"ada","writer":"w","rank":0,"process":{"machine":"m","id":7,"started":9}"#;

    #[track_caller]
    fn check(rest: &str, expected: &str) {
        let text = match folded(&format!("{STARTED}\n{rest}")) {
            Ok(Folded {
                record: r, writers, ..
            }) => format!(
                "{} {:?} {:?} {:?} {:?} {:?} {} open={}",
                r.status.as_str(),
                r.reason,
                r.finished.map(|time| time.0 / 1_000_000),
                r.params,
                r.inputs
                    .iter()
                    .map(|(table, revision)| format!("{table}@{revision}"))
                    .collect::<Vec<_>>(),
                r.last,
                r.lost.scalars + r.lost.sample_rows,
                writers.values().filter(|writer| writer.is_open).count(),
            ),
            Err(err) => format!("{:?}", err.kind()),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_run_is_what_its_entries_say() {
        check("", "running None None {} [] {} 0 open=1");
        check(
            r#"6 "kind":"params","values":{"lr":"0.1","seed":"1"}
               6 "kind":"params","values":{"lr":"0.2"}
               6 "kind":"input","table":"t","revision":3
               6 "kind":"input","table":"u","revision":0
               7 "kind":"finished","writer":"w","outcome":"completed","last":{"loss":{"step":2,"value":"NaN"}}"#,
            r#"completed None Some(7) {"lr": "0.2", "seed": "1"} ["t@3", "u@0"] {"loss": NaN} 0 open=0"#,
        );
        check(
            r#"7 "kind":"finished","writer":"w","outcome":"failed","reason":"panicked","lost":{"scalars":2,"sample_rows":3},"last":{}"#,
            r#"failed Some("panicked") Some(7) {} [] {} 5 open=0"#,
        );
    }

    #[test]
    fn the_last_value_is_that_of_the_largest_step_of_all_writers() {
        check(
            r#"6 "kind":"joined","writer":"x","rank":1,"process":{"machine":"m","id":8,"started":9}
               6 "kind":"finished","writer":"w","outcome":"completed","last":{"a":{"step":5,"value":1},"b":{"step":5,"value":1}}
               7 "kind":"left","writer":"x","last":{"a":{"step":4,"value":2},"b":{"step":6,"value":2}}"#,
            r#"completed None Some(7) {} [] {"a": 1.0, "b": 2.0} 0 open=0"#,
        );
    }

    #[test]
    fn a_run_failed_if_one_of_its_writers_did() {
        let failed =
            r#"6 "kind":"finished","writer":"x","outcome":"failed","reason":"panicked","last":{}"#;
        let completed = r#"7 "kind":"finished","writer":"w","outcome":"completed","last":{}"#;
        check(
            &format!("{failed}\n{completed}"),
            r#"failed Some("panicked") Some(7) {} [] {} 0 open=0"#,
        );
        check(
            &format!("{completed}\n{failed}"),
            r#"failed Some("panicked") Some(6) {} [] {} 0 open=0"#,
        );
    }

    #[test]
    fn a_run_is_complete_when_all_of_its_writers_have_ended() {
        let joined = r#"6 "kind":"joined","writer":"x","rank":1,"process":{"machine":"m","id":8,"started":9}"#;
        let finished = r#"7 "kind":"finished","writer":"w","outcome":"completed","last":{}"#;
        let left = r#"8 "kind":"left","writer":"x","last":{}"#;
        check(
            &format!("{joined}\n{finished}"),
            "running None None {} [] {} 0 open=1",
        );
        check(
            &format!("{joined}\n{finished}\n{left}"),
            "completed None Some(8) {} [] {} 0 open=0",
        );
    }

    #[test]
    fn a_resumed_run_goes_on_and_its_newest_attempt_counts() {
        let resumed = r#"8 "kind":"resumed","writer":"y","rank":0,"process":{"machine":"m","id":9,"started":9}"#;
        let failed = r#"7 "kind":"finished","writer":"w","outcome":"failed","reason":"panicked","last":{"a":{"step":9,"value":1},"b":{"step":9,"value":1}}"#;
        let finished = r#"9 "kind":"finished","writer":"y","outcome":"completed","last":{"a":{"step":4,"value":2}}"#;
        check(
            &format!("{failed}\n{resumed}"),
            r#"running None None {} [] {"a": 1.0, "b": 1.0} 0 open=1"#,
        );
        check(
            &format!("{failed}\n{resumed}\n{finished}"),
            r#"completed None Some(9) {} [] {"a": 2.0, "b": 1.0} 0 open=0"#,
        );
        // The process of the first attempt was not dead, and ends later.
        check(
            &format!("{resumed}\n{failed}"),
            r#"running None None {} [] {"a": 1.0, "b": 1.0} 0 open=1"#,
        );
    }

    /// A run that was forked, of these entries after the first.
    fn forked(rest: &str) -> Folded {
        let fork = r#""fork":{"run":"q","writer":"v","attempt":2,"step":9,"params":{"lr":"0.1","seed":"1"},
            "inputs":[{"table":"t","revision":3}],"last":{"a":{"step":8,"value":1},"b":{"step":8,"value":1}}}"#;
        let fork = fork.replace('\n', "");
        folded(&format!("{STARTED},{fork}\n{rest}")).unwrap()
    }

    #[test]
    fn a_fork_begins_with_what_the_other_run_was_and_its_own_takes_the_place() {
        let check = |rest: &str, expected: &str| {
            let record = forked(rest).record;
            let inputs = record
                .inputs
                .iter()
                .map(|(table, revision)| format!("{table}@{revision}"));
            let inputs: Vec<_> = inputs.collect();
            let text = format!("{:?} {inputs:?} {:?}", record.params, record.last);
            assert_eq!(text, expected);
            let fork = record.forked.unwrap();
            assert_eq!((fork.run.as_str(), fork.step), ("q", 9));
        };
        check(
            "",
            r#"{"lr": "0.1", "seed": "1"} ["t@3"] {"a": 1.0, "b": 1.0}"#,
        );
        // A smaller step of its own counts too: as with attempts.
        check(
            r#"6 "kind":"params","values":{"lr":"0.2"}
               6 "kind":"input","table":"t","revision":3
               6 "kind":"input","table":"u","revision":0
               7 "kind":"finished","writer":"w","outcome":"completed","last":{"a":{"step":4,"value":2},"c":{"step":1,"value":3}}"#,
            r#"{"lr": "0.2", "seed": "1"} ["t@3", "u@0"] {"a": 2.0, "b": 1.0, "c": 3.0}"#,
        );
    }

    #[test]
    fn a_reduction_says_of_which_run() {
        let reduced = |rest: &str| {
            folded(&format!("{STARTED}\n{rest}"))
                .unwrap()
                .record
                .reduced
        };
        assert_eq!(reduced(""), None);
        let source = reduced(r#"6 "kind":"reduced","run":"q""#).unwrap();
        assert_eq!(source.as_str(), "q");
    }

    #[test]
    fn entries_that_cannot_be_are_corrupt() {
        check(STARTED, "Corrupt");
        let fork = r#""fork":{"run":"a/b","writer":"v","attempt":1,"step":9,"params":{},"inputs":[],"last":{}}"#;
        let err = folded(&format!("{STARTED},{fork}")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
        check(r#"6 "kind":"input","table":"a/b","revision":3"#, "Corrupt");
        check(r#"6 "kind":"reduced","run":"a/b""#, "Corrupt");
        check(
            r#"6 "kind":"stream","name":"s","schema":"not base64""#,
            "Corrupt",
        );
        let err = folded(r#"6 "kind":"params","values":{}"#).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn a_silent_or_dead_run_is_interrupted_and_an_ended_one_is_not() {
        for (now_secs, heartbeat_secs, dead, expected) in [
            (5 + 45, None, false, RunStatus::Running),
            (5 + 46, None, false, RunStatus::Interrupted),
            (5 + 46, Some(40), false, RunStatus::Running),
            (100, Some(40), false, RunStatus::Interrupted),
            (6, Some(6), true, RunStatus::Interrupted),
            (0, None, false, RunStatus::Running),
        ] {
            let mut open = folded(STARTED).unwrap();
            if dead {
                let this = crate::env::Env::manual().process();
                let other = Process {
                    started: this.started + 1,
                    ..this
                };
                open.writers.get_mut("w").unwrap().process = other;
            }
            let secs = |secs: i64| Micros(secs * 1_000_000);
            open.judge(secs(now_secs), heartbeat_secs.map(secs));
            assert_eq!(
                open.record.status, expected,
                "{now_secs} {heartbeat_secs:?} {dead}"
            );
        }
        let ended = r#"7 "kind":"finished","writer":"w","outcome":"completed","last":{}"#;
        let mut ended = folded(&format!("{STARTED}\n{ended}")).unwrap();
        ended.judge(Micros(i64::MAX), None);
        assert_eq!(ended.record.status, RunStatus::Completed);
    }
}
