//! `tlc reduce`: embeddings of a run as points of two or three dimensions.

use std::time::Duration;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tlc_core::{
    Error, ErrorKind, Fitted, Pca, Project, ReduceOptions, Reducer, RunName, RunRecord, StreamName,
    Umap, block_on,
};

use super::run::record;
use super::session::Session;
use super::spec::RunSpec;
use crate::error::{Failure, Result};
use crate::output::count_text;
use crate::view::ReducedView;

/// How often the spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// Reduce the embeddings of a run to points of two or three dimensions
///
/// The reduction is fitted on one epoch and applied to every epoch of every stream that has the column, so that a sample can be
/// followed from epoch to epoch. What comes of it is a run of its own, with the same streams, epochs and row ids and the column
/// COLUMN_METHOD, and beside it the fitted model as an artifact, which --model applies to other runs. The run that is
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
    /// The column of vectors
    #[arg(long, default_value = "embedding", value_name = "NAME")]
    column: String,
    /// How: pca is quick and linear, umap shows what is near what
    #[arg(long, value_enum, default_value_t = Method::Pca, conflicts_with = "model")]
    method: Method,
    /// How many dimensions there are to be
    #[arg(long, value_name = "2|3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3), conflicts_with = "model")]
    dims: u8,
    /// The epoch to fit on [default: the last of the first stream that has the column]
    #[arg(long, value_name = "STREAM[@EPOCH]", conflicts_with = "model")]
    fit: Option<String>,
    /// Decides what is left to chance
    #[arg(long, default_value_t = 0, conflicts_with = "model")]
    seed: u64,
    /// On how many rows to fit at most [default: 100000 for pca, 10000 for umap]
    #[arg(long, value_name = "N", conflicts_with = "model")]
    rows: Option<usize>,
    /// How many neighbours umap keeps near [default: 15]
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
        let fitted = self.fitted(project, source)?;
        let told = bar.clone();
        let options = ReduceOptions::new()
            .column(&self.column)
            .progress(move |done, of| told.set_message(format!("epoch {done} of {of}")));
        let streams = self.streams.iter().map(StreamName::as_str);
        let options = streams.fold(options, ReduceOptions::stream);
        let options = match &self.named {
            Some(name) => options.name(name.as_str()),
            None => options,
        };
        let reduced = project.reduce(self.run.run.as_str(), &fitted, options);
        let reduced = reduced.map_err(|err| {
            let is_taken = err.kind() == ErrorKind::Conflict;
            let failure = Failure::from(err);
            match is_taken {
                true => failure.hint("give what comes of it another name with --as"),
                false => failure,
            }
        })?;
        let name = self.run.project.as_str();
        Ok(ReducedView::new(name, &source.name, &fitted, &reduced))
    }

    fn fitted(&self, project: &Project, source: &RunRecord) -> Result<Fitted> {
        let n = usize::from(self.dims);
        if let Some(model) = &self.model {
            let known: [&dyn Reducer; 2] = [&Pca::new(n), &Umap::new(n)];
            let loaded = block_on(project.load_reduction(model, &known));
            return loaded.map_err(|err| {
                let hint = format!(
                    "`tlc artifact list {}` lists the artifacts",
                    self.run.project
                );
                Failure::from(err).hint(hint)
            });
        }
        let (stream, epoch) = block_on(self.fitted_on(project, source))?;
        let (pca, umap) = (Pca::new(n).seed(self.seed), Umap::new(n).seed(self.seed));
        let reducer: Box<dyn Reducer> = match (self.method, self.rows) {
            (Method::Pca, None) => Box::new(pca),
            (Method::Pca, Some(rows)) => Box::new(pca.rows_max(rows)),
            (Method::Umap, rows) => {
                let umap = rows.map_or(umap.clone(), |rows| umap.rows_max(rows));
                let neighbours = self.neighbours;
                Box::new(neighbours.map_or(umap.clone(), |n| umap.neighbours(n)))
            }
        };
        let on = (source.name.as_str(), stream.as_str(), epoch);
        let fitted = project.fit_reduction(on, &self.column, &*reducer);
        Ok(block_on(fitted)?)
    }

    /// The stream and the epoch that are asked for, or the last epoch of the first stream that has the column.
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
        let files = project.sample_files(&source.name).await?;
        let epochs = files.iter().filter(|file| file.stream == stream);
        let last = epochs.map(|file| file.epoch).max();
        let last = last.ok_or_else(|| {
            let run = &source.name;
            Error::not_found(format!("run {run} has no epoch of a stream {stream}"))
        });
        Ok((stream, last?))
    }

    fn first_stream(&self, source: &RunRecord) -> Result<StreamName> {
        let mut streams = source.streams.iter();
        let found = streams.find(|stream| stream.schema.index_of(&self.column).is_ok());
        found.map(|stream| stream.name.clone()).ok_or_else(|| {
            let (run, column) = (&source.name, &self.column);
            let err = Error::not_found(format!("no stream of run {run} has a column {column:?}"));
            Failure::from(err).hint(
                "log one with the collector `Embedding`, or name the column of vectors with --column",
            )
        })
    }
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
