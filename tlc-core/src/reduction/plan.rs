//! What is reduced and what that is called, all of it looked at before anything is made: a mistake costs no name.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;

use super::apply::ReduceOptions;
use super::fit::Fitted;
use crate::artifact::Artifact;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ArtifactName, RunName, StreamName};
use crate::project::Project;
use crate::run::{MODEL, Reduces, RunRecord, StreamRecord};

/// A reduction that can begin.
pub(super) struct Plan {
    pub(super) column: String,
    pub(super) streams: Vec<StreamName>,
    /// The run that comes of it, and the artifact of a model that is not stored yet.
    pub(super) name: RunName,
    pub(super) reduces: Reduces,
}

impl Plan {
    /// Reads the log of the source, and those of the run and the artifact that are to be made, if they are there.
    ///
    /// # Errors
    /// As [`Project::reduce`].
    pub(super) async fn new(
        project: &Project,
        run: &str,
        fitted: &Fitted,
        options: &ReduceOptions,
    ) -> Result<Self> {
        let source = project.run(run).await?;
        let column = options.column.as_deref().or(fitted.column());
        let column = column.ok_or_else(|| {
            Error::invalid("the reduction does not say which column it is for; name one")
        })?;
        let width = fitted.reduction.width();
        let streams = streams(&source, column, &options.streams)?;
        for stream in &streams {
            expect_vectors(&source.name, stream, column, width)?;
        }
        let streams: Vec<StreamName> = streams.iter().map(|found| found.name.clone()).collect();
        let name = match &options.name {
            Some(name) => name.parse()?,
            None => format!("{run}-{}", fitted.model.method()).parse()?,
        };
        let reduces = Reduces {
            params: params(&source.name, column, &streams, fitted),
            source: source.name,
        };
        let plan = Self {
            column: column.to_owned(),
            streams,
            name,
            reduces,
        };
        plan.expect_free(project, fitted).await?;
        Ok(plan)
    }

    async fn expect_free(&self, project: &Project, fitted: &Fitted) -> Result<()> {
        match project.run_files().judged(&self.name).await {
            Ok(folded) => self.reduces.expect_same(&folded.record)?,
            Err(err) if err.kind() == ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
        match fitted.version {
            Some(_) => Ok(()),
            None => expect_own(project, &self.name).await,
        }
    }
}

/// Refuses the artifact of a run's name if somebody else made its newest version.
async fn expect_own(project: &Project, name: &RunName) -> Result<()> {
    let artifact: ArtifactName = name.as_str().parse()?;
    let newest = match Artifact::new(project.place(), artifact).newest().await {
        Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
        newest => newest?,
    };
    if newest.record().run.as_ref() == Some(name) {
        return Ok(());
    }
    let message = format!("{newest} was not made by a run {name}; choose another name");
    Err(Error::new(ErrorKind::Conflict, message))
}

/// What decides what comes of a reduction, as parameters of its run.
fn params(
    source: &RunName,
    column: &str,
    streams: &[StreamName],
    fitted: &Fitted,
) -> BTreeMap<String, String> {
    let mut params = fitted.model.facts().clone();
    let streams: Vec<&str> = streams.iter().map(StreamName::as_str).collect();
    let more = [
        ("source", source.to_string()),
        ("column", column.to_owned()),
        ("streams", streams.join(", ")),
    ];
    let model = fitted.stored_as().map(|model| (MODEL, model));
    let more = more.into_iter().chain(model);
    params.extend(more.map(|(name, value)| (name.to_owned(), value)));
    params
}

/// The streams that are reduced: those that are named, or all that have the column.
fn streams<'a>(
    source: &'a RunRecord,
    column: &str,
    named: &[String],
) -> Result<Vec<&'a StreamRecord>> {
    let run = &source.name;
    let mut found: Vec<&StreamRecord> = Vec::new();
    for name in named {
        let stream = source.streams.iter().find(|s| s.name.as_str() == name);
        let stream = stream.ok_or_else(|| {
            let known: Vec<&str> = source.streams.iter().map(|s| s.name.as_str()).collect();
            let known = known.join(", ");
            Error::not_found(format!(
                "run {run} has no stream {name:?}; there is {known}"
            ))
        })?;
        if !found.contains(&stream) {
            found.push(stream);
        }
    }
    if named.is_empty() {
        let all = source.streams.iter();
        found.extend(all.filter(|stream| stream.schema.index_of(column).is_ok()));
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::not_found(format!(
            "no stream of run {run} has a column {column:?}"
        ))),
    }
}

/// Refuses a stream without the column, or one that can be seen to hold no vectors of that width.
fn expect_vectors(run: &RunName, stream: &StreamRecord, column: &str, width: usize) -> Result<()> {
    let name = &stream.name;
    let Ok(field) = stream.schema.field_with_name(column) else {
        return Err(Error::not_found(format!(
            "stream {name} of run {run} has no column {column:?}"
        )));
    };
    let of = format!("column {column:?} of stream {name} of run {run}");
    let item = match field.data_type() {
        DataType::FixedSizeList(item, _) | DataType::List(item) | DataType::LargeList(item) => item,
        found => return Err(no_vectors(&of, found)),
    };
    if !item.data_type().is_floating() {
        return Err(no_vectors(&of, field.data_type()));
    }
    match field.data_type() {
        DataType::FixedSizeList(_, found) if usize::try_from(*found) != Ok(width) => {
            Err(Error::invalid(format!(
                "the reduction was fitted on vectors of {width} numbers, and {of} has {found}; name only the streams that fit it"
            )))
        }
        _ => Ok(()),
    }
}

fn no_vectors(of: &str, found: &DataType) -> Error {
    Error::invalid(format!("{of} is {found}, and no list of floats"))
}
