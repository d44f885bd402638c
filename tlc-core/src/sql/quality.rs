//! What is wrong with the data as rows: [`crate::quality`] with arguments in text, and with columns whose types are known
//! before anything was read.
//!
//! So classes are the numbers that labels hold, in 64 bits. Of what the library says in the metadata of a schema only the table
//! that the rows are of is left: the last column.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::error::Result;
use crate::id::ROWID;
use crate::project::Project;
use crate::quality::{
    AreaOptions, BoxOptions, IssueRanking, IssueSelection, LabelIssueOptions, NeighbourOptions,
    TrendOptions,
};

use super::calls::Function;
use super::questions::table_field;

/// Of `label_issues` and `area_under_margin`.
pub(super) static ISSUES: LazyLock<SchemaRef> = LazyLock::new(|| {
    found(vec![
        Field::new("label", DataType::Int64, true),
        Field::new("suggested", DataType::Int64, true),
    ])
});

pub(super) static LABEL_NOISE: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("label", DataType::Int64, true),
        Field::new("suggested", DataType::Int64, true),
        Field::new("count", DataType::Int64, false),
        Field::new("rate", DataType::Float64, false),
    ]))
});

pub(super) static LOSS_TREND: LazyLock<SchemaRef> = LazyLock::new(|| {
    found(vec![
        Field::new("mean", DataType::Float64, false),
        Field::new("last", DataType::Float64, false),
    ])
});

pub(super) static NEAREST: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("of", DataType::UInt64, false),
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("distance", DataType::Float64, false),
    ]))
});

pub(super) static NEAR_DUPLICATES: LazyLock<SchemaRef> = LazyLock::new(|| {
    found(vec![
        Field::new("nearest", DataType::UInt64, false),
        Field::new("distance", DataType::Float64, false),
        Field::new("group", DataType::UInt64, false),
    ])
});

pub(super) static OUTLIERS: LazyLock<SchemaRef> =
    LazyLock::new(|| found(vec![Field::new("distance", DataType::Float64, false)]));

pub(super) static BOX_ISSUES: LazyLock<SchemaRef> = LazyLock::new(|| {
    found(vec![
        Field::new("box", DataType::Int64, false),
        Field::new("label", DataType::Int64, true),
        Field::new("suggested", DataType::Int64, true),
    ])
});

/// What all issues have, and more.
fn found(more: Vec<Field>) -> SchemaRef {
    let mut fields = vec![
        Field::new(ROWID, DataType::UInt64, false),
        Field::new("issue", DataType::Utf8, false),
        Field::new("score", DataType::Float64, false),
    ];
    fields.extend(more);
    fields.push(table_field());
    Arc::new(Schema::new(fields))
}

/// The rows of one call; `None` if the arguments are not those of the function.
///
/// # Errors
/// Those of the method of [`Project`] that has the function's name.
pub(super) async fn rows(
    project: &Project,
    run: &str,
    function: Function,
    arguments: &[String],
) -> Result<Option<RecordBatch>> {
    let texts: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [stream, more @ ..] = texts.as_slice() else {
        return Ok(None);
    };
    match function {
        Function::AreaUnderMargin => match area(more) {
            Some(options) => project
                .area_under_margin(run, stream, options)
                .await
                .map(Some),
            None => Ok(None),
        },
        Function::LossTrend => match trend(more) {
            Some(options) => project.loss_trend(run, stream, options).await.map(Some),
            None => Ok(None),
        },
        _ => of_epoch(project, (run, stream), function, more).await,
    }
}

/// The rows of a call that names an epoch.
async fn of_epoch(
    project: &Project,
    (run, stream): (&str, &str),
    function: Function,
    arguments: &[&str],
) -> Result<Option<RecordBatch>> {
    let Some((Ok(epoch), more)) = arguments
        .split_first()
        .map(|(epoch, more)| (epoch.parse(), more))
    else {
        return Ok(None);
    };
    let rows = match function {
        Function::BoxIssues => {
            let Some(options) = boxes(more) else {
                return Ok(None);
            };
            project.box_issues(run, stream, epoch, options).await?
        }
        Function::LabelIssues => {
            let Some((rows_max, more)) = limited(more) else {
                return Ok(None);
            };
            let Some(options) = judged(more) else {
                return Ok(None);
            };
            let options = limit(rows_max, options, LabelIssueOptions::rows_max);
            project.label_issues(run, stream, epoch, options).await?
        }
        Function::LabelNoise => {
            let options = labelled(more);
            project.label_noise(run, stream, epoch, options).await?
        }
        Function::NearDuplicates | Function::Outliers => {
            let Some(options) = neighbours(more) else {
                return Ok(None);
            };
            match function {
                Function::Outliers => project.outliers(run, stream, epoch, options).await?,
                _ => project.near_duplicates(run, stream, epoch, options).await?,
            }
        }
        Function::Nearest => {
            let Some((row_ids, options)) = nearest(more) else {
                return Ok(None);
            };
            project
                .nearest(run, stream, epoch, &row_ids, options)
                .await?
        }
        _ => return Ok(None),
    };
    Ok(Some(rows))
}

/// How many rows, if it is said, and what follows.
fn limited<'a, 'b>(arguments: &'a [&'b str]) -> Option<(Option<usize>, &'a [&'b str])> {
    match arguments {
        [] => Some((None, &[])),
        ["all", rest @ ..] => Some((None, rest)),
        [n, rest @ ..] => Some((Some(n.parse().ok()?), rest)),
    }
}

fn limit<T>(rows_max: Option<usize>, options: T, set: fn(T, usize) -> T) -> T {
    match rows_max {
        Some(rows_max) => set(options, rows_max),
        None => options,
    }
}

/// Label, probabilities and revision, as far as they are said; `none` is the revision that the rows name.
fn labelled(arguments: &[&str]) -> LabelIssueOptions {
    let mut options = LabelIssueOptions::new();
    let setters = [LabelIssueOptions::label, LabelIssueOptions::probabilities];
    for (argument, set) in arguments.iter().zip(setters) {
        options = set(options, argument);
    }
    match arguments.get(2) {
        None | Some(&"none") => options,
        Some(at) => options.at(at),
    }
}

/// The same, which rows are taken for wrong, and what their score is.
fn judged(arguments: &[&str]) -> Option<LabelIssueOptions> {
    let mut options = labelled(arguments);
    if let Some(selection) = arguments.get(3) {
        options = options.selection(match *selection {
            "by_noise_rate" => IssueSelection::ByNoiseRate,
            "by_class" => IssueSelection::ByClass,
            "confident" => IssueSelection::Confident,
            _ => return None,
        });
    }
    if let Some(ranking) = arguments.get(4) {
        options = options.ranking(match *ranking {
            "self_confidence" => IssueRanking::SelfConfidence,
            "margin" => IssueRanking::Margin,
            _ => return None,
        });
    }
    Some(options)
}

/// How many, the class of the threshold samples, the column, the label and the revision.
fn area(arguments: &[&str]) -> Option<AreaOptions> {
    let (rows_max, more) = limited(arguments)?;
    let options = limit(rows_max, AreaOptions::new(), AreaOptions::rows_max);
    let (mut options, more) = match more {
        [] => (options, more),
        ["none", rest @ ..] => (options, rest),
        [class, rest @ ..] => (options.threshold_class(class.parse().ok()?), rest),
    };
    let setters = [AreaOptions::column, AreaOptions::label, AreaOptions::at];
    for (argument, set) in more.iter().zip(setters) {
        options = set(options, argument);
    }
    Some(options)
}

/// How many, the columns of true and of predicted boxes, and the revision.
fn boxes(arguments: &[&str]) -> Option<BoxOptions> {
    let (rows_max, more) = limited(arguments)?;
    let mut options = limit(rows_max, BoxOptions::new(), BoxOptions::rows_max);
    let setters = [BoxOptions::label, BoxOptions::predicted, BoxOptions::at];
    for (argument, set) in more.iter().zip(setters) {
        options = set(options, argument);
    }
    Some(options)
}

fn trend(arguments: &[&str]) -> Option<TrendOptions> {
    let (rows_max, more) = limited(arguments)?;
    let options = limit(rows_max, TrendOptions::new(), TrendOptions::rows_max);
    Some(match more {
        [column, ..] => options.column(column),
        [] => options,
    })
}

fn neighbours(arguments: &[&str]) -> Option<NeighbourOptions> {
    let (rows_max, more) = limited(arguments)?;
    let options = limit(
        rows_max,
        NeighbourOptions::new(),
        NeighbourOptions::rows_max,
    );
    Some(match more {
        [column, ..] => options.column(column),
        [] => options,
    })
}

/// Row ids such as `17,4211`, how many neighbours, and the column.
fn nearest(arguments: &[&str]) -> Option<(Vec<u64>, NeighbourOptions)> {
    let [row_ids, more @ ..] = arguments else {
        return None;
    };
    let row_ids = row_ids.split(',').map(|id| id.trim().parse().ok());
    let row_ids = row_ids.collect::<Option<Vec<u64>>>()?;
    let mut options = NeighbourOptions::new();
    let [n, more @ ..] = more else {
        return Some((row_ids, options));
    };
    options = options.neighbours(n.parse().ok()?);
    Some(match more {
        [column, ..] => (row_ids, options.column(column)),
        [] => (row_ids, options),
    })
}
