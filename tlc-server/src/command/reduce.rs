//! `tlc reduce`: embeddings of a run as points of two or three dimensions.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tlc_core::{
    Error, ErrorKind, Fitted, Pca, Project, ReduceOptions, Reducer, RunName, RunRecord, RunStatus,
    StreamName, Umap, block_on,
};

use super::run::record;
use super::session::Session;
use super::spec::RunSpec;
use crate::error::{Failure, Result};
use crate::output::count_text;
use crate::view::ReducedView;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// The column that a reduction is fitted on if none is named.
const COLUMN: &str = "embedding";

/// Reduce the embeddings of a run to points of two or three dimensions
///
/// The reduction is fitted on one epoch and applied to every epoch of every stream that has the column, so that a sample can be
/// followed from epoch to epoch. What comes of it is a run of its own, with the same streams, epochs and row ids and the points in the column
/// COLUMN_METHOD, and beside it the fitted map as an artifact, which --model applies to other runs. The run that is
/// reduced stays as it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tlc reduce mnist/after-1
  tlc reduce mnist/after-1 --method umap --dims 3 --fit test@6 --seed 7
  tlc reduce mnist/before-1 --model after-1-umap        the same axes for another run
  tlc sql \"SELECT p.embedding_pca[1] AS x, p.embedding_pca[2] AS y, s.loss
           FROM mnist.samples p JOIN mnist.samples s USING (stream, epoch, _rowid)
           WHERE p.run = 'after-1-pca' AND s.run = 'after-1' AND stream = 'test' AND epoch = 6\"")]
pub(super) struct Reduce {
    /// The run, as PROJECT/RUN
    run: RunSpec,
    /// The column of vectors [default: embedding; with --model the one that it was fitted on]
    #[arg(long, value_name = "NAME")]
    column: Option<String>,
    /// How: pca is quick and linear, umap shows what is near what
    #[arg(long, value_enum, default_value_t = Method::Pca, conflicts_with = "model")]
    method: Method,
    /// How many dimensions there are to be
    #[arg(long, value_name = "2|3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3), conflicts_with = "model")]
    dims: u8,
    /// The epoch to fit on [default: the last of the first --stream, or of the first stream that has the column; while the run goes on, the one before]
    #[arg(long, value_name = "STREAM[@EPOCH]", conflicts_with = "model")]
    fit: Option<String>,
    /// Decides what is left to chance
    #[arg(long, default_value_t = 0, conflicts_with = "model")]
    seed: u64,
    /// On how many rows to fit at most [default: 100000 for pca, 10000 for umap]
    #[arg(long, value_name = "N", conflicts_with = "model")]
    rows: Option<NonZeroUsize>,
    /// How many neighbours --method umap keeps near [default: 15]
    #[arg(long, value_name = "N", conflicts_with = "model")]
    neighbours: Option<usize>,
    /// Apply a reduction that was fitted before, as NAME, NAME@VERSION or NAME@ALIAS
    #[arg(long)]
    model: Option<String>,
    /// Reduce this stream only; may be given again for others
    #[arg(long = "stream", value_name = "STREAM")]
    streams: Vec<StreamName>,
    /// The run and the artifact that come of it [default: RUN-METHOD]
    #[arg(long = "as", value_name = "NAME")]
    named: Option<RunName>,
}

/// How to reduce.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Method {
    /// Principal components
    Pca,
    /// UMAP
    Umap,
}

impl Reduce {
    pub(super) fn run(&self, session: &Session) -> Result<()> {
        let project = block_on(session.project(&self.run.project))?;
        let source = block_on(record(&project, &self.run))?;
        let bar = bar(&self.run.to_string());
        let reduced = self.reduced(&project, &source, &bar);
        bar.finish_and_clear();
        let view = reduced?;
        session.answer(&view, || text(&view))
    }

    fn reduced(
        &self,
        project: &Project,
        source: &RunRecord,
        bar: &ProgressBar,
    ) -> Result<ReducedView> {
        let fitted = match &self.model {
            Some(model) => self.loaded(project, model)?,
            None => self.fitted(project, source)?,
        };
        let reduced = project.reduce(self.run.run.as_str(), &fitted, self.options(bar));
        let reduced = reduced.map_err(|err| match err.kind() {
            ErrorKind::Conflict => taken(err),
            ErrorKind::Invalid if self.streams.is_empty() && source.streams.len() > 1 => {
                Failure::from(err).hint("--stream reduces only the streams that it names")
            }
            _ => err.into(),
        })?;
        let name = self.run.project.as_str();
        Ok(ReducedView::new(name, &source.name, &fitted, &reduced))
    }

    fn options(&self, bar: &ProgressBar) -> ReduceOptions {
        let told = bar.clone();
        let options = ReduceOptions::new()
            .progress(move |done, of| told.set_message(format!("epoch {done} of {of}")));
        let column = self.column.iter().map(String::as_str);
        let options = column.fold(options, ReduceOptions::column);
        let streams = self.streams.iter().map(StreamName::as_str);
        let options = streams.fold(options, ReduceOptions::stream);
        let name = self.named.iter().map(RunName::as_str);
        name.fold(options, ReduceOptions::name)
    }

    fn loaded(&self, project: &Project, model: &str) -> Result<Fitted> {
        let known: [&dyn Reducer; 2] = [&Pca::new(2), &Umap::new(2)];
        let loaded = block_on(project.load_reduction(model, &known));
        loaded.map_err(|err| {
            let project = &self.run.project;
            let hint = format!("`tlc artifact list {project}` lists the artifacts");
            Failure::from(err).hint(hint)
        })
    }

    fn fitted(&self, project: &Project, source: &RunRecord) -> Result<Fitted> {
        let reducer = self.reducer()?;
        block_on(self.expect_free(project, source, reducer.name()))?;
        let (stream, epoch) = block_on(self.fitted_on(project, source))?;
        let on = (source.name.as_str(), stream.as_str(), epoch);
        let fitted = project.fit_reduction(on, self.fit_column(), &*reducer);
        Ok(block_on(fitted)?)
    }

    fn fit_column(&self) -> &str {
        self.column.as_deref().unwrap_or(COLUMN)
    }

    fn reducer(&self) -> Result<Box<dyn Reducer>> {
        let (n, rows) = (usize::from(self.dims), self.rows.map(NonZeroUsize::get));
        let (pca, umap) = (Pca::new(n).seed(self.seed), Umap::new(n).seed(self.seed));
        Ok(match (self.method, self.neighbours) {
            (Method::Pca, Some(_)) => {
                let message = "--neighbours is for umap; leave it out, or write --method umap";
                return Err(Failure::usage(message));
            }
            (Method::Pca, None) => Box::new(rows.map_or(pca.clone(), |rows| pca.rows_max(rows))),
            (Method::Umap, neighbours) => {
                let umap = rows.map_or(umap.clone(), |rows| umap.rows_max(rows));
                Box::new(neighbours.map_or(umap.clone(), |n| umap.neighbours(n)))
            }
        })
    }

    /// Refuses a name that is taken before anything is fitted. Whether a run that was interrupted may go on is known only afterwards.
    async fn expect_free(&self, project: &Project, source: &RunRecord, method: &str) -> Result<()> {
        let name = match &self.named {
            Some(name) => name.to_string(),
            None => format!("{}-{method}", source.name),
        };
        let status = match project.run(&name).await {
            Ok(record) => record.status,
            Err(err) if err.kind() == ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err.into()),
        };
        if status == RunStatus::Interrupted {
            return Ok(());
        }
        let status = status.as_str();
        let message = format!("there is a run {name} already ({status}); choose another name");
        Err(taken(Error::new(ErrorKind::Conflict, message)))
    }

    /// The stream and the epoch that are asked for, or the newest epoch of the first stream that is.
    async fn fitted_on(&self, project: &Project, source: &RunRecord) -> Result<(StreamName, i64)> {
        let (stream, epoch) = match &self.fit {
            Some(fit) => match fit.rsplit_once('@') {
                Some((stream, epoch)) => (Some(stream), Some(epoch)),
                None => (Some(fit.as_str()), None),
            },
            None => (None, None),
        };
        let stream: StreamName = match stream {
            Some(stream) => stream.parse()?,
            None => self.first_stream(source)?,
        };
        if let Some(epoch) = epoch {
            let epoch = epoch.parse().map_err(|_err| {
                Failure::usage(format!("{epoch:?} is no epoch; write --fit {stream}@7"))
            })?;
            return Ok((stream, epoch));
        }
        let newest = project.newest_epoch(source.name.as_str(), stream.as_str());
        Ok((stream.clone(), newest.await?))
    }

    fn first_stream(&self, source: &RunRecord) -> Result<StreamName> {
        if let Some(first) = self.streams.first() {
            return Ok(first.clone());
        }
        let column = self.fit_column();
        let mut streams = source.streams.iter();
        let found = streams.find(|stream| stream.schema.index_of(column).is_ok());
        found.map(|stream| stream.name.clone()).ok_or_else(|| {
            let run = &source.name;
            let err = Error::not_found(format!("no stream of run {run} has a column {column:?}"));
            Failure::from(err).hint(
                "log one with the collector `Embedding`, or name the column of vectors with --column",
            )
        })
    }
}

fn taken(err: Error) -> Failure {
    Failure::from(err).hint("give what comes of it another name with --as")
}

/// What shows on a terminal that it goes on.
fn bar(what: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}: {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.set_message("fitting");
    bar.enable_steady_tick(TICK);
    bar
}

fn text(view: &ReducedView) -> String {
    let without = match view.rows_without_vector {
        0 => String::new(),
        n => format!("; {} without a vector", count_text(n, "row")),
    };
    format!(
        "{}: {} of {} as {}, by {}, fitted on {}{without}\n",
        view.run,
        count_text(view.rows, "row"),
        view.source,
        view.column,
        view.model,
        view.fitted_on,
    )
}
