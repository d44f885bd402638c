//! A run as `OpenLineage` has it, version 2-0-2: the shapes of the JSON that catalogues of lineage take.
//!
//! Nothing of this lies in storage. Of the standard's facets here are those that we know the contents of; each says in `_schemaURL` which
//! version of its schema it follows.

use serde::Serialize;

use crate::error::{Error, Result};

/// Who says so. The project has no public address yet, and `.invalid` promises that there is nothing there.
const PRODUCER: &str = concat!("https://tlc.invalid/tlc/", env!("CARGO_PKG_VERSION"));

const EVENT_SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// A change of the state of a run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunEvent {
    event_type: &'static str,
    event_time: String,
    run: Run,
    job: Job,
    inputs: Vec<Dataset>,
    outputs: Vec<Dataset>,
    producer: &'static str,
    #[serde(rename = "schemaURL")]
    schema_url: &'static str,
}

impl RunEvent {
    pub(crate) fn new(event_type: &'static str, event_time: String, run: Run, job: Job) -> Self {
        Self {
            event_type,
            event_time,
            run,
            job,
            inputs: Vec::new(),
            outputs: Vec::new(),
            producer: PRODUCER,
            schema_url: EVENT_SCHEMA,
        }
    }

    pub(crate) fn datasets(mut self, inputs: Vec<Dataset>, outputs: Vec<Dataset>) -> Self {
        self.inputs = inputs;
        self.outputs = outputs;
        self
    }

    /// The event on one line.
    ///
    /// # Errors
    /// None in practice: every part of it has a text.
    pub(crate) fn to_json(&self) -> Result<String> {
        serde_json::to_string(self)
            .map_err(|err| Error::invalid("the event cannot be written as JSON").with_source(err))
    }
}

/// One execution.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Run {
    /// A UUID.
    pub(crate) run_id: String,
    pub(crate) facets: RunFacets,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunFacets {
    pub(crate) processing_engine: Facet<ProcessingEngine>,
    pub(crate) tags: Facet<Tags>,
    #[serde(rename = "errorMessage", skip_serializing_if = "Option::is_none")]
    pub(crate) error_message: Option<Facet<ErrorMessage>>,
}

/// What is executed, again and again.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Job {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) facets: JobFacets,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobFacets {
    pub(crate) job_type: Facet<JobType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_code_location: Option<Facet<SourceCodeLocation>>,
}

/// What is read or written.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Dataset {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) facets: DatasetFacets,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatasetFacets {
    pub(crate) version: Facet<DatasetVersion>,
    pub(crate) dataset_type: Facet<DatasetType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<Facet<Schema>>,
}

/// One aspect of something, with who says it and by which schema.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Facet<T> {
    #[serde(rename = "_producer")]
    producer: &'static str,
    #[serde(rename = "_schemaURL")]
    schema_url: String,
    #[serde(flatten)]
    value: T,
}

/// The contents of a facet.
pub(crate) trait Contents: Sized {
    /// The version of the schema, and its name.
    const SCHEMA: (&'static str, &'static str);

    fn facet(self) -> Facet<Self> {
        let (version, name) = Self::SCHEMA;
        Facet {
            producer: PRODUCER,
            schema_url: format!(
                "https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}"
            ),
            value: self,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct ProcessingEngine {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Contents for ProcessingEngine {
    const SCHEMA: (&'static str, &'static str) = ("1-1-1", "ProcessingEngineRunFacet");
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tags {
    pub(crate) tags: Vec<Tag>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Tag {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) source: &'static str,
}

impl Contents for Tags {
    const SCHEMA: (&'static str, &'static str) = ("1-0-0", "TagsRunFacet");
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorMessage {
    pub(crate) message: String,
    pub(crate) programming_language: &'static str,
}

impl Contents for ErrorMessage {
    const SCHEMA: (&'static str, &'static str) = ("1-0-1", "ErrorMessageRunFacet");
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobType {
    pub(crate) processing_type: &'static str,
    pub(crate) integration: &'static str,
    pub(crate) job_type: &'static str,
}

impl Contents for JobType {
    const SCHEMA: (&'static str, &'static str) = ("2-0-4", "JobTypeJobFacet");
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SourceCodeLocation {
    #[serde(rename = "type")]
    pub(crate) system: &'static str,
    pub(crate) url: String,
    pub(crate) repo_url: String,
    pub(crate) version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) branch: Option<String>,
}

impl Contents for SourceCodeLocation {
    const SCHEMA: (&'static str, &'static str) = ("1-1-0", "SourceCodeLocationJobFacet");
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatasetVersion {
    pub(crate) dataset_version: String,
}

impl Contents for DatasetVersion {
    const SCHEMA: (&'static str, &'static str) = ("1-0-1", "DatasetVersionDatasetFacet");
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DatasetType {
    pub(crate) dataset_type: &'static str,
}

impl Contents for DatasetType {
    const SCHEMA: (&'static str, &'static str) = ("1-0-1", "DatasetTypeDatasetFacet");
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Schema {
    pub(crate) fields: Vec<Field>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Field {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) data_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fields: Vec<Self>,
}

impl Contents for Schema {
    const SCHEMA: (&'static str, &'static str) = ("1-2-0", "SchemaDatasetFacet");
}
