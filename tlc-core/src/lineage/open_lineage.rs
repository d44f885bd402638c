//! Runs as `OpenLineage` events, for catalogues of lineage: [`Project::open_lineage`].
//!
//! [`events`] is the rule, a pure function of what is known of a run. Sent twice, an event says the same of the same: nothing in it
//! is made up when it is sent.
//!
//! | there | here |
//! |---|---|
//! | namespace of everything | the root's URL, without credentials |
//! | job | the project: `mnist` |
//! | run | a UUID of the root, the project, the run's name and when it started |
//! | dataset | a table, `mnist/tables/train`, or an artifact, `mnist/artifacts/digits`: the folder below the root |
//! | version of a dataset | the revision of the table, or the version of the artifact |
//! | `START`, `COMPLETE`, `FAIL`, `ABORT` | the run was started, was finished, failed, was interrupted |
//!
//! A job is what a catalogue draws between datasets, with its runs as a list below it. A job for each run would fill the picture with
//! boxes that were each executed once; the name of the program is not known of every run, and `python` is no job. So the job is the
//! project, which is one question that people train on, and the run's own name is a tag of the run.
//!
//! Left out on purpose: parameters, command line, environment and author, for which there are no facets that catalogues agree on and which
//! may hold what is not for everybody; the facet `parent`, for a fork is not started by the run that it goes on from.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use url::Url;

use crate::artifact::ArtifactRole;
use crate::env::Micros;
use crate::error::{ErrorKind, Result};
use crate::format::open_lineage::{
    Contents as _, Dataset, DatasetFacets, DatasetType, DatasetVersion, ErrorMessage, Facet, Field,
    Job, JobFacets, JobType, ProcessingEngine, Run, RunEvent, RunFacets, Schema as SchemaFacet,
    SourceCodeLocation, Tag, Tags,
};
use crate::id::{ProjectName, Revision, TableName};
use crate::project::Project;
use crate::provenance::Code;
use crate::redact::redacted;
use crate::run::{RunRecord, RunStatus, Runs, captured};
use crate::schema::Role;

/// Who is named as the source of tags, and as the integration.
const TOOL: &str = "TLC";

/// One event about a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLineageEvent {
    /// What happened.
    pub kind: OpenLineageKind,
    /// The event on one line: a `RunEvent` of the version 2-0-2 of the standard.
    pub json: String,
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenLineageKind {
    /// It was started.
    Start,
    /// It was finished.
    Complete,
    /// It failed.
    Fail,
    /// Its process is gone without a word.
    Abort,
}

impl OpenLineageKind {
    /// The kind as the standard spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "START",
            Self::Complete => "COMPLETE",
            Self::Fail => "FAIL",
            Self::Abort => "ABORT",
        }
    }
}

/// The schemas of tables at the revisions that are named.
type Schemas = BTreeMap<(TableName, Revision), SchemaRef>;

/// All that is known of a run.
struct Known<'a> {
    root: &'a Url,
    project: &'a ProjectName,
    record: &'a RunRecord,
    code: Option<&'a Code>,
    /// When it last said that it lives.
    seen: Micros,
    schemas: &'a Schemas,
}

impl Project {
    /// A run as events of [OpenLineage](https://openlineage.io): that it started, and that it ended, if it has.
    ///
    /// What it read and wrote is named with revisions, versions and the columns of tables. An interrupted run is said to have ended when it last
    /// gave a sign of life. No parameter and no part of a command line is in the events, and no credentials. Reads what
    /// [`Self::provenance`] reads, and the newest state of each table that the run read or wrote.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such run; [`ErrorKind::Corrupt`] naming a file; those of the
    /// store. A table, or a file about the code, that is gone is no error: the events say less.
    pub async fn open_lineage(&self, run: &str) -> Result<Vec<OpenLineageEvent>> {
        let record = self.run(run).await?;
        let made_of = match &record.code {
            Some(code) => there(captured::read(self.place(), code).await)?,
            None => None,
        };
        let seen = match record.status {
            RunStatus::Interrupted => {
                let runs = Runs::new(self.place().clone());
                runs.last_seen(&record).await?
            }
            _ => record.started,
        };
        let mut schemas = Schemas::new();
        for (table, revision) in record.inputs.iter().chain(&record.outputs) {
            if let Some(schema) = there(self.schema_at(table, *revision).await)? {
                schemas.insert((table.clone(), *revision), schema);
            }
        }
        events(&Known {
            root: self.root().url(),
            project: self.name(),
            record: &record,
            code: made_of.as_ref().and_then(|made_of| made_of.code.as_ref()),
            seen,
            schemas: &schemas,
        })
    }

    async fn schema_at(&self, table: &TableName, revision: Revision) -> Result<SchemaRef> {
        let table = self.table(table.as_str()).await?;
        Ok(SchemaRef::clone(table.at(revision).await?.schema()))
    }
}

/// What was read, if it is there.
fn there<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some),
    }
}

/// The events of a run.
fn events(known: &Known<'_>) -> Result<Vec<OpenLineageEvent>> {
    let record = known.record;
    let end = match record.status {
        RunStatus::Running => None,
        RunStatus::Completed => Some((OpenLineageKind::Complete, record.finished)),
        RunStatus::Failed => Some((OpenLineageKind::Fail, record.finished)),
        RunStatus::Interrupted => Some((OpenLineageKind::Abort, Some(known.seen))),
    };
    let start = (OpenLineageKind::Start, Some(record.started));
    let events = [Some(start), end].into_iter().flatten();
    let events = events.map(|(kind, time)| {
        let time = time.unwrap_or(record.started).to_rfc3339();
        let event = RunEvent::new(kind.as_str(), time, known.run(kind), known.job());
        let json = event.datasets(known.inputs(), known.outputs()).to_json()?;
        Ok(OpenLineageEvent { kind, json })
    });
    events.collect()
}

impl Known<'_> {
    fn namespace(&self) -> String {
        namespace(self.root)
    }

    fn run(&self, kind: OpenLineageKind) -> Run {
        let record = self.record;
        let name = format!("{}/{}", self.project, record.name);
        let id = uuid(&[&self.namespace(), &name, &record.started.0.to_string()]);
        let message = record
            .reason
            .as_deref()
            .filter(|_| kind == OpenLineageKind::Fail);
        let error = message.map(|message| ErrorMessage {
            message: redacted(message).into_owned(),
            // The program may be of any; the standard wants a word.
            programming_language: "unknown",
        });
        let tag = Tag {
            key: "run",
            value: name,
            source: TOOL,
        };
        let engine = ProcessingEngine {
            name: "tlc",
            version: env!("CARGO_PKG_VERSION"),
        };
        Run {
            run_id: id,
            facets: RunFacets {
                processing_engine: engine.facet(),
                tags: Tags { tags: vec![tag] }.facet(),
                error_message: error.map(ErrorMessage::facet),
            },
        }
    }

    fn job(&self) -> Job {
        let kind = JobType {
            processing_type: "BATCH",
            integration: TOOL,
            job_type: "TRAINING",
        };
        Job {
            namespace: self.namespace(),
            name: self.project.to_string(),
            facets: JobFacets {
                job_type: kind.facet(),
                source_code_location: self.code.and_then(location),
            },
        }
    }

    fn inputs(&self) -> Vec<Dataset> {
        self.datasets(&self.record.inputs, ArtifactRole::Input)
    }

    fn outputs(&self) -> Vec<Dataset> {
        self.datasets(&self.record.outputs, ArtifactRole::Output)
    }

    /// Tables, and artifacts of that role; each version once.
    fn datasets(&self, tables: &[(TableName, Revision)], role: ArtifactRole) -> Vec<Dataset> {
        let tables = tables.iter().map(|(table, revision)| {
            let schema = self.schemas.get(&(table.clone(), *revision));
            let schema = schema.map(|schema| schema_facet(schema));
            (format!("tables/{table}"), revision.0, "TABLE", schema)
        });
        let used = self.record.artifacts.iter();
        let used = used.filter(|used| used.role == role);
        let artifacts = used.map(|used| {
            (
                format!("artifacts/{}", used.artifact),
                used.version,
                "FILE",
                None,
            )
        });
        let mut told = BTreeSet::new();
        let all = tables.chain(artifacts);
        let new = all.filter(|(name, version, ..)| told.insert((name.clone(), *version)));
        let dataset = |(name, version, kind, schema): (String, u64, &'static str, _)| Dataset {
            namespace: self.namespace(),
            name: format!("{}/{name}", self.project),
            facets: DatasetFacets {
                version: DatasetVersion {
                    dataset_version: version.to_string(),
                }
                .facet(),
                dataset_type: DatasetType { dataset_type: kind }.facet(),
                schema,
            },
        };
        new.map(dataset).collect()
    }
}

/// The URL of a root without what it may hold of credentials, and without a slash at its end.
fn namespace(root: &Url) -> String {
    let mut url = root.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Both fail only where the URL can hold neither. In `abfss://container@account…` the user is a part of the address.
    let is_address = matches!(url.scheme(), "abfs" | "abfss");
    if url.set_password(None).is_ok() && !is_address {
        url.set_username("").unwrap_or_default();
    }
    let text = url.to_string();
    match text.strip_suffix('/') {
        Some(shorter) if !shorter.ends_with('/') => shorter.to_owned(),
        _ => text,
    }
}

/// A UUID of version 8, from the hash of some texts.
fn uuid(texts: &[&str]) -> String {
    let hash = blake3::hash(texts.join("\0").as_bytes());
    let mut number = 0_u128;
    for byte in hash.as_bytes().iter().take(16) {
        number = (number << 8) | u128::from(*byte);
    }
    let number = (number & !(0xf << 76)) | (0x8 << 76);
    let number = (number & !(0x3 << 62)) | (0x2 << 62);
    let text = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts = parts.map(|part| text.get(part).unwrap_or_default().to_owned());
    parts.join("-")
}

/// Where the code is, if others can find it: of a repository without a remote there is no URL.
fn location(code: &Code) -> Option<Facet<SourceCodeLocation>> {
    let url = remote(code.remote.as_deref()?)?;
    let location = SourceCodeLocation {
        system: "git",
        repo_url: url.clone(),
        url,
        version: code.commit.clone()?,
        branch: code.branch.clone(),
    };
    Some(location.facet())
}

/// The URL of a remote without credentials; of `git@host:path` the one that means the same.
fn remote(text: &str) -> Option<String> {
    let url = match Url::parse(text) {
        Ok(url) if url.has_host() => url,
        _ => {
            let (host, path) = text.split_once(':')?;
            let host = host.rsplit('@').next()?;
            // A single letter before the colon is a drive.
            let is_host = host.len() > 1 && !host.contains(['/', '\\', ' ']);
            let is_host = is_host && !path.starts_with("//");
            is_host.then(|| Url::parse(&format!("ssh://{host}/{path}")).ok())??
        }
    };
    Some(namespace(&url))
}

/// The columns, with their types as Arrow names them and their roles.
fn schema_facet(schema: &Schema) -> Facet<SchemaFacet> {
    let fields = schema.fields().iter();
    let fields = fields.map(|field| column(field)).collect();
    SchemaFacet { fields }.facet()
}

fn column(field: &arrow::datatypes::Field) -> Field {
    let (data_type, fields) = match field.data_type() {
        DataType::Struct(fields) => (
            "Struct".to_owned(),
            fields.iter().map(|field| column(field)).collect(),
        ),
        other => (other.to_string(), Vec::new()),
    };
    Field {
        name: field.name().clone(),
        data_type,
        description: Role::of(field).map(|role| role.as_str().to_owned()),
        fields,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Fields;
    use serde_json::Value;

    use super::*;
    use crate::artifact::ArtifactUse;
    use crate::env::Process;
    use crate::run::{Lost, RunCode};
    use crate::schema;

    /// A run that read two states of a table and a model, and wrote a table and a model.
    fn record(status: RunStatus) -> RunRecord {
        let used = |artifact: &str, version, role| ArtifactUse {
            artifact: artifact.parse().unwrap(),
            version,
            role,
        };
        let has_ended = matches!(status, RunStatus::Completed | RunStatus::Failed);
        RunRecord {
            name: "first".parse().unwrap(),
            status,
            reason: (status == RunStatus::Failed)
                .then(|| "no https://ada:planted@host/x".to_owned()),
            author: "planted-author".to_owned(),
            started: Micros(1_000_000),
            finished: has_ended.then_some(Micros(61_500_000)),
            process: Process {
                machine: String::new(),
                id: 7,
                started: 0,
            },
            attempts: 2,
            forked: None,
            reduced: None,
            params: BTreeMap::from([("token".to_owned(), "planted-parameter".to_owned())]),
            inputs: vec![
                ("train".parse().unwrap(), Revision(3)),
                ("gone".parse().unwrap(), Revision(1)),
                ("train".parse().unwrap(), Revision(3)),
            ],
            outputs: vec![("hard".parse().unwrap(), Revision(0))],
            code: None::<RunCode>,
            artifacts: vec![
                used("digits", 1, ArtifactRole::Input),
                used("digits", 2, ArtifactRole::Output),
            ],
            streams: Vec::new(),
            last: BTreeMap::new(),
            lost: Lost::default(),
        }
    }

    fn told(root: &str, record: &RunRecord, remote: Option<&str>) -> Vec<OpenLineageEvent> {
        let corners = Fields::from(vec![
            arrow::datatypes::Field::new("x", DataType::Float32, false),
            arrow::datatypes::Field::new("y", DataType::Float32, false),
        ]);
        let schema: SchemaRef = Arc::new(Schema::new(vec![
            schema::label("label", ["cat", "dog"]),
            arrow::datatypes::Field::new("corner", DataType::Struct(corners), true),
        ]));
        let code = Code {
            commit: Some("c0ffee".to_owned()),
            branch: Some("main".to_owned()),
            remote: remote.map(str::to_owned),
            ..Code::default()
        };
        events(&Known {
            root: &Url::parse(root).unwrap(),
            project: &"mnist".parse().unwrap(),
            record,
            code: Some(&code),
            seen: Micros(31_000_000),
            schemas: &Schemas::from([(("train".parse().unwrap(), Revision(3)), schema)]),
        })
        .unwrap()
    }

    fn json(event: &OpenLineageEvent) -> Value {
        serde_json::from_str(&event.json).unwrap()
    }

    #[test]
    fn a_run_is_told_as_the_standard_has_it() {
        let root = "s3://ada:planted-root@bucket/data/?sig=planted-query";
        let remote = Some("git@example.org:ada/mnist.git");
        let events = told(root, &record(RunStatus::Completed), remote);
        let lines: Vec<Value> = events.iter().map(json).collect();
        let version = env!("CARGO_PKG_VERSION");
        let golden = include_str!("open_lineage.json").replace("VERSION", version);
        let golden: Value = serde_json::from_str(&golden).unwrap();
        let told = serde_json::to_string_pretty(&lines).unwrap();
        assert_eq!(Value::from(lines), golden, "{told}");
    }

    #[test]
    fn the_end_is_told_as_it_was() {
        let check = |status, expected: &[&str]| {
            let told = told("file:///data", &record(status), None);
            let told = told.iter().map(|event| {
                let json = json(event);
                assert_eq!(json["eventType"], event.kind.as_str());
                let error = &json["run"]["facets"]["errorMessage"]["message"];
                format!(
                    "{} {} {}",
                    event.kind.as_str(),
                    json["eventTime"].as_str().unwrap(),
                    error.as_str().unwrap_or("-")
                )
            });
            assert_eq!(told.collect::<Vec<_>>(), expected);
        };
        let start = "START 1970-01-01T00:00:01.000000Z -";
        check(RunStatus::Running, &[start]);
        check(
            RunStatus::Completed,
            &[start, "COMPLETE 1970-01-01T00:01:01.500000Z -"],
        );
        check(
            RunStatus::Failed,
            &[
                start,
                "FAIL 1970-01-01T00:01:01.500000Z no https://[redacted]@host/x",
            ],
        );
        check(
            RunStatus::Interrupted,
            &[start, "ABORT 1970-01-01T00:00:31.000000Z -"],
        );
    }

    #[test]
    fn nothing_secret_is_told() {
        for status in [RunStatus::Failed, RunStatus::Completed] {
            let root = "https://ada:planted-root@host/data?token=planted-query#planted";
            let remote = Some("https://planted-user:planted@example.org/x.git?key=planted");
            for event in told(root, &record(status), remote) {
                assert!(!event.json.contains("planted"), "{}", event.json);
            }
        }
    }

    #[test]
    fn the_same_run_has_the_same_id() {
        let id = |root: &str, record: &RunRecord| {
            let ids: BTreeSet<String> = told(root, record, None)
                .iter()
                .map(|event| json(event)["run"]["runId"].to_string())
                .collect();
            assert_eq!(ids.len(), 1);
            ids.into_iter().next().unwrap()
        };
        let (running, done) = (record(RunStatus::Running), record(RunStatus::Completed));
        let own = id("s3://bucket/data", &running);
        assert_eq!(own, id("s3://bucket/data/", &done));
        assert_eq!(own, id("s3://key:secret@bucket/data", &done));
        let (mut other, mut later) = (done.clone(), done.clone());
        other.name = "second".parse().unwrap();
        later.started = Micros(2_000_000);
        let all = [
            own,
            id("s3://bucket/other", &done),
            id("s3://bucket/data", &other),
            id("s3://bucket/data", &later),
        ];
        assert_eq!(BTreeSet::from(all).len(), 4);
    }

    #[test]
    fn places_have_one_spelling() {
        let check = |root: &str, expected: &str| {
            assert_eq!(namespace(&Url::parse(root).unwrap()), expected);
        };
        check("file:///data/tlc", "file:///data/tlc");
        check("file:///", "file:///");
        check("memory:///", "memory:///");
        check("s3://bucket/", "s3://bucket");
        check("gs://bucket/a/", "gs://bucket/a");
        check(
            "abfss://container:key@account.dfs.core.windows.net/a",
            "abfss://container@account.dfs.core.windows.net/a",
        );
    }

    #[test]
    fn a_remote_is_a_url_or_nothing() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(remote(text).as_deref(), expected, "{text}");
        };
        check(
            "https://ada:pw@example.org/a/b.git",
            Some("https://example.org/a/b.git"),
        );
        check("git@example.org:a/b.git", Some("ssh://example.org/a/b.git"));
        check("example.org:a/b.git", Some("ssh://example.org/a/b.git"));
        check(
            "ssh://git@example.org:2222/a.git",
            Some("ssh://example.org:2222/a.git"),
        );
        for text in ["/srv/git/a.git", "../a", "C:\\a", "file:///srv/a.git", ""] {
            check(text, None);
        }
    }
}
