//! The question of the area under the margin: from columns of a stream to [`Areas`].

use std::collections::BTreeSet;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int64Array, RecordBatch,
    UInt64Array,
};
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, Int64Type};
use futures::TryStreamExt as _;

use super::answer::{Found, issues};
use super::areas::{Area, Areas, Margin, below};
use super::options::{AreaOptions, Judges, LABEL};
use super::rated::{Rated, class_field};
use super::rows::{Counted, Given};
use crate::error::{Error, ErrorKind, Result};
use crate::project::Project;
use crate::questions::{Labels, best, classes, found, is_text, numbers};
use crate::run::Epochs;

/// What it is called that a sample's area is low.
pub(super) const ISSUE: &str = "margin";

/// The columns that are looked for, the first that is there.
const COLUMNS: [&str; 4] = ["logit_margin", "logits", PROBABILITIES, "margin"];

/// Lists of this name are probabilities; others are logits, unless the options say otherwise.
const PROBABILITIES: &str = "probabilities";

impl Project {
    /// The samples whose label is probably wrong by the area under the margin: the mean, over the epochs of a stream that
    /// the model is trained on, of how far the logit of the label is above the largest other one (Pleiss et al. 2020).
    /// `_rowid`, `issue` (text: `margin`), `score` (Float64: the area, in the units of the logits), `label` and `suggested`, both of the type of the
    /// label column; lowest area first, of equal ones the lowest row id.
    ///
    /// Issues are the samples below a threshold, which *threshold samples* give: see [`AreaOptions::threshold_class`].
    /// Without them there is no threshold, and the answer is all samples. `suggested` is the class with the largest
    /// other logit in the last epoch that has the sample, of margins without their lists the prediction of that epoch, null
    /// where that is the label or not known. Margins that were logged as such need no label: where there is none, or it is text, it is null, and
    /// nothing is suggested.
    ///
    /// The margins are, of these columns, those of the first that the stream has, unless the options name one:
    /// `logit_margin`, as [`Classification::wide`](crate::collect::WideClassification::logit_margin) logs it; lists `logits`; lists
    /// `probabilities`, whose logarithms differ as the logits did; and `margin`, which [`Classification`](crate::collect::Classification)
    /// logs always, and which is one of probabilities: it ranks otherwise than the paper, as what is learnt well counts at most 1 in
    /// each epoch. The schema's metadata says which (`column`), the `threshold`, if there is one, and how many rows counted (`rows`) and did not
    /// for want of a label (`rows_without_label`) or of a margin (`rows_without_margin`), and of which table the rows are (`table`), if they name one.
    ///
    /// Costs what [`Self::forgotten`] costs with a column of margins; of lists each is read once. Memory: about 120 bytes for
    /// each sample, and of lists what three files of an epoch take.
    ///
    /// # Errors
    /// As [`Self::label_issues`]; [`ErrorKind::NotFound`] also if there is no column of margins;
    /// [`ErrorKind::Invalid`] for a percentile that is not from 0 to 100, for rows of several tables, and if
    /// threshold samples were named and none of them has a margin.
    pub async fn area_under_margin(
        &self,
        run: &str,
        stream: &str,
        options: impl Into<AreaOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        if !(0.0..=100.0).contains(&options.percentile) {
            let percentile = options.percentile;
            return Err(Error::invalid(format!(
                "a percentile is from 0 to 100, not {percentile}"
            )));
        }
        let epochs = self.epochs(run, stream).await?;
        let column = margin_column(&epochs, &options).await?;
        let schema = epochs.schema().await?;
        let read = match schema.field_with_name(&column)?.data_type() {
            DataType::FixedSizeList(..) | DataType::List(_) | DataType::LargeList(_) => {
                of_lists(self, &epochs, &column, &options).await?
            }
            _ => of_numbers(self, &epochs, &column, &options).await?,
        };
        let (areas, threshold) = judged(read.areas.finish(), &options)?;
        let order = |a: &Area, b: &Area| a.area.total_cmp(&b.area).then(a.row_id.cmp(&b.row_id));
        let areas = best(areas, options.rows_max, order);
        let mut metadata = vec![
            ("column", column),
            ("rows", read.counted.rows.to_string()),
            ("rows_without_label", read.counted.without_label.to_string()),
            (
                "rows_without_margin",
                read.counted.without_values.to_string(),
            ),
        ];
        metadata.extend(threshold.map(|threshold| ("threshold", threshold.to_string())));
        metadata.extend(read.table.map(|table| ("table", table)));
        let rows: Vec<Found> = areas.iter().map(as_found).collect();
        issues(ISSUE, &rows, &read.field, metadata)
    }
}

/// What was read of a stream.
struct Read {
    areas: Areas,
    counted: Counted,
    /// The column of the labels.
    field: Field,
    table: Option<String>,
}

/// The column that the options name, or the first there is.
async fn margin_column(epochs: &Epochs, options: &AreaOptions) -> Result<String> {
    if let Some(column) = &options.column {
        found(epochs, column).await?;
        return Ok(column.clone());
    }
    for column in COLUMNS {
        if epochs.has(column).await? {
            return Ok(column.to_owned());
        }
    }
    let err = epochs.no_column("logit_margin", &*epochs.schema().await?);
    Err(Error::not_found(format!(
        "{err}; logits, probabilities and margin would do too"
    )))
}

/// Margins of lists of logits or probabilities.
async fn of_lists(
    project: &Project,
    epochs: &Epochs,
    column: &str,
    options: &AreaOptions,
) -> Result<Read> {
    let are_probabilities = options.are_probabilities || column == PROBABILITIES;
    let label = (options.label.as_str(), options.at.as_deref());
    let mut rated = Rated::new(project, epochs, column, label).await?;
    let (mut areas, mut counted) = (Areas::default(), Counted::default());
    for epoch in epochs.numbers() {
        let mut given = rated.given(epoch).await?;
        let mut rows: Vec<Option<Margin>> = vec![None; given.row_ids().len()];
        let mut n_single = 0;
        let add = |row: &super::confident::Row<'_>| {
            let margin = Margin::new(row, are_probabilities);
            n_single += u64::from(margin.is_none());
            if let Some(place) = rows.get_mut(row.at) {
                *place = margin;
            }
        };
        let mut passed = rated.pass(epoch, &mut given, add).await?;
        passed.rows -= n_single;
        passed.without_values += n_single;
        counted.add(passed);
        areas.add(given.row_ids(), &rows);
    }
    Ok(Read {
        areas,
        counted,
        field: rated.field(),
        table: rated.table().map(str::to_owned),
    })
}

/// Margins that were logged as such.
async fn of_numbers(
    project: &Project,
    epochs: &Epochs,
    column: &str,
    options: &AreaOptions,
) -> Result<Read> {
    let at = options.at.as_deref();
    let labels = Labels::new(project, epochs, &options.label, at).await?;
    let mut labels = labels.of_one_table();
    let mut columns = labels.columns(column);
    let schema = epochs.schema().await?;
    let predicted = schema.field_with_name("predicted");
    let is_predicted = predicted.is_ok_and(|field| field.data_type().is_integer());
    columns.extend(is_predicted.then_some("predicted"));
    let (mut areas, mut counted) = (Areas::default(), Counted::default());
    let mut field = Field::new(&options.label, DataType::Int64, true);
    let mut is_labelled = true;
    let mut all = epochs.all(&columns);
    while let Some((_, read)) = all.try_next().await? {
        let margins = numbers(column, read.column(0)?)?;
        let values = if is_labelled {
            may_be_missing(labels.of(&read).await, options)?
        } else {
            labels.check(&read)?;
            None
        };
        is_labelled = values.is_some();
        let given = given(&options.label, &read.row_ids, values.as_ref())?;
        if let (Some(values), Some(_)) = (&values, &given.numbers) {
            field = class_field(&labels, values);
        }
        let predicted = match is_predicted {
            true => Some(read.column(columns.len() - 1)?),
            false => None,
        };
        let rows = rows_of_numbers(margins.as_primitive(), &given, predicted, &mut counted)?;
        areas.add(&read.row_ids, &rows);
    }
    drop(all);
    Ok(Read {
        areas,
        counted,
        field,
        table: labels.table_name().map(str::to_owned),
    })
}

/// Labels, or none: a margin says by itself how good a label is. One that was asked for must be there.
fn may_be_missing(labels: Result<ArrayRef>, options: &AreaOptions) -> Result<Option<ArrayRef>> {
    let is_of_class = matches!(options.judges, Some(Judges::Class(_)));
    let is_asked_for = options.label != LABEL || options.at.is_some() || is_of_class;
    match labels {
        Err(err) if err.kind() == ErrorKind::NotFound && !is_asked_for => Ok(None),
        labels => labels.map(Some),
    }
}

/// The labels of rows, as far as there are any.
struct Marks {
    /// Which rows have one; `None` if there are no labels, and margins are all that there is.
    known: Option<BooleanArray>,
    /// Unless they are texts.
    numbers: Option<Int64Array>,
}

fn given(column: &str, row_ids: &UInt64Array, values: Option<&ArrayRef>) -> Result<Marks> {
    let Some(values) = values else {
        let (known, numbers) = (None, None);
        return Ok(Marks { known, numbers });
    };
    let values = classes(column, values)?;
    let known = Some(is_not_null(&values)?);
    let numbers = match values.data_type() {
        text if is_text(text) => None,
        _ => Some(
            Given::new(column, row_ids.clone(), &values)?
                .labels()
                .clone(),
        ),
    };
    Ok(Marks { known, numbers })
}

/// The rows of an epoch that count.
fn rows_of_numbers(
    margins: &Float64Array,
    given: &Marks,
    predicted: Option<&ArrayRef>,
    counted: &mut Counted,
) -> Result<Vec<Option<Margin>>> {
    let predicted = match predicted {
        Some(predicted) => Some(cast(predicted, &DataType::Int64)?),
        None => None,
    };
    let predicted = predicted
        .as_ref()
        .map(|values| values.as_primitive::<Int64Type>());
    let row = |at: usize| {
        if given.known.as_ref().is_some_and(|known| !known.value(at)) {
            counted.without_label += 1;
            return None;
        }
        let label = given.numbers.as_ref().map(|labels| labels.value(at));
        let margin = margins.is_valid(at).then(|| margins.value(at));
        let Some(margin) = margin.filter(|margin| margin.is_finite()) else {
            counted.without_values += 1;
            return None;
        };
        counted.rows += 1;
        let predicted = predicted.filter(|predicted| predicted.is_valid(at));
        let other = predicted.map(|predicted| predicted.value(at));
        Some(Margin {
            label,
            margin,
            other: other
                .filter(|other| label.is_some_and(|label| label != *other))
                .and_then(|other| u32::try_from(other).ok()),
        })
    };
    Ok((0..margins.len()).map(row).collect())
}

/// The samples to answer with, and their threshold.
fn judged(areas: Vec<Area>, options: &AreaOptions) -> Result<(Vec<Area>, Option<f64>)> {
    let (found, threshold) = match &options.judges {
        None => return Ok((areas, None)),
        Some(Judges::Class(class)) => {
            below(areas, options.percentile, |area| area.label == Some(*class))
        }
        Some(Judges::Rows(ids)) => {
            let ids: BTreeSet<u64> = ids.iter().copied().collect();
            below(areas, options.percentile, |area| ids.contains(&area.row_id))
        }
    };
    match threshold {
        Some(_) => Ok((found, threshold)),
        None => Err(Error::invalid(
            "no threshold sample has a margin in this stream, so there is no threshold",
        )),
    }
}

fn as_found(area: &Area) -> Found {
    Found {
        row_id: area.row_id,
        score: area.area,
        label: area.label.and_then(|label| u64::try_from(label).ok()),
        suggested: area.other.map(u64::from),
    }
}
