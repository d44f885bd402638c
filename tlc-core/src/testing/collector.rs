//! What a collector must do for the library, and for other collectors beside it, to rely on it.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array,
    UInt64Array, new_null_array,
};
use arrow::compute::{concat, concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Schema};

use super::spoil::{empty_lists, floats_as};
use crate::collect::Collector;
use crate::error::{Error, ErrorKind, Result};
use crate::project::Project;
use crate::run::Rows;
use crate::runtime::block_on;

/// Checks that a collector keeps what others rely on, by what it makes of `cases`.
///
/// For the tests of anyone who brings a collector of their own. Each case is a batch of outputs that
/// the collector must take, and the more they differ, the more is checked. It must hold:
///
/// - one row comes out for each row that goes in, in the same order, and of none none, with the same
///   columns;
/// - a row's metrics depend on that row alone: a batch that is cut anywhere, or turned round, gives the
///   same rows, and so does the same batch once more after others;
/// - columns are found by their names; others may stand beside them;
/// - every scalar names a column of numbers or truth values, and no two have one name;
/// - a column that is missing or of text is refused, if it is used, and the message names it;
/// - a null, an empty list, NaN or an infinity in one row is refused or leaves the other rows as they were;
/// - what is refused is [`ErrorKind::Invalid`], and nothing panics;
/// - a run stores what is made.
///
/// Costs some fifty calls of the collector for a case of ten rows, and a run in memory.
///
/// # Errors
/// [`ErrorKind::Invalid`] saying what does not hold; also if no case has a row.
///
/// ```
/// # use std::sync::Arc;
/// # use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Int32Array, RecordBatch};
/// # use tlc_core::arrow::datatypes::Float32Type;
/// use tlc_core::collect::Classification;
/// use tlc_core::testing::collector_contract;
///
/// let logits = [[2.0, 1.0], [0.0, 3.0]].map(|row| Some(row.map(Some)));
/// let logits = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(logits, 2);
/// let label = Int32Array::from(vec![Some(0), None]);
/// let case = RecordBatch::try_from_iter([
///     ("logits", Arc::new(logits) as ArrayRef),
///     ("label", Arc::new(label)),
/// ])?;
/// collector_contract(&Classification, &[case])?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn collector_contract(collector: &dyn Collector, cases: &[RecordBatch]) -> Result<()> {
    let has_rows = cases.iter().any(|case| case.num_rows() > 0);
    expect(has_rows, || "nothing was checked: no case has a row".into())?;
    let mut wholes = Vec::with_capacity(cases.len());
    for case in cases {
        let whole = taken(collector, case, "a case")?;
        each_row_stands_alone(collector, case, &whole)?;
        columns_go_by_name(collector, case, &whole)?;
        scalars_are_columns(collector, &whole)?;
        bad_columns_are_refused(collector, case, &whole)?;
        bad_values_stay_in_their_row(collector, case, &whole)?;
        a_run_stores_it(collector, case)?;
        wholes.push(whole);
    }
    for (case, whole) in cases.iter().zip(&wholes) {
        let again = taken(collector, case, "a case once more")?;
        expect(again == *whole, || {
            "a batch gives other rows after other batches".into()
        })?;
    }
    Ok(())
}

fn each_row_stands_alone(
    collector: &dyn Collector,
    case: &RecordBatch,
    whole: &RecordBatch,
) -> Result<()> {
    let n_rows = case.num_rows();
    for cut in 0..=n_rows {
        let first = taken(collector, &case.slice(0, cut), "a part of a batch")?;
        let rest = case.slice(cut, n_rows - cut);
        let rest = taken(collector, &rest, "a part of a batch")?;
        let same = first.schema() == whole.schema() && rest.schema() == whole.schema();
        expect(same, || {
            format!("the columns change when {n_rows} rows are cut at {cut}")
        })?;
        let together = concat_batches(&whole.schema(), [&first, &rest])?;
        expect(together == *whole, || {
            format!("the rows change when {n_rows} of them are cut at {cut}")
        })?;
    }
    let found = taken(collector, &turned(case)?, "a batch turned round")?;
    expect(found == turned(whole)?, || {
        "the rows do not come out in the order in which they go in".into()
    })
}

fn turned(batch: &RecordBatch) -> Result<RecordBatch> {
    let n_rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
    let indices = UInt32Array::from_iter_values((0..n_rows).rev());
    Ok(take_record_batch(batch, &indices)?)
}

fn columns_go_by_name(
    collector: &dyn Collector,
    case: &RecordBatch,
    whole: &RecordBatch,
) -> Result<()> {
    let last_first: Vec<usize> = (0..case.num_columns()).rev().collect();
    let moved = taken(collector, &case.project(&last_first)?, "columns moved")?;
    expect(moved == *whole, || {
        "the order of the columns of outputs matters".into()
    })?;
    let mut columns = columns_of(case);
    let beside = StringArray::from_iter_values((0..case.num_rows()).map(|_| "beside"));
    columns.insert(
        0,
        (
            Field::new("beside", DataType::Utf8, true),
            Arc::new(beside) as ArrayRef,
        ),
    );
    let beside = taken(
        collector,
        &batch(columns, case.num_rows())?,
        "another column",
    )?;
    expect(beside == *whole, || {
        "a column of outputs that others use changes the rows".into()
    })
}

fn scalars_are_columns(collector: &dyn Collector, whole: &RecordBatch) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (column, scalar) in collector.scalars() {
        let found = whole.column_by_name(column).map(|found| found.data_type());
        let fits =
            found.is_some_and(|found| found.is_numeric() || matches!(found, DataType::Boolean));
        expect(fits, || {
            format!("the scalar {scalar:?} is of {column:?}, which is no column of numbers")
        })?;
        expect(seen.insert(*scalar), || {
            format!("two scalars have the name {scalar:?}")
        })?;
    }
    Ok(())
}

/// Without each column in turn, then with text in its place.
fn bad_columns_are_refused(
    collector: &dyn Collector,
    case: &RecordBatch,
    whole: &RecordBatch,
) -> Result<()> {
    for index in 0..case.num_columns() {
        let name = case.schema().field(index).name().clone();
        let mut missing = columns_of(case);
        missing.remove(index);
        let other: ArrayRef = match case.column(index).data_type() {
            DataType::Utf8 => Arc::new(BooleanArray::from(vec![true; case.num_rows()])),
            _ => Arc::new(StringArray::from(vec!["text"; case.num_rows()])),
        };
        let mistyped = replaced(case, index, other)?;
        for (what, outputs) in [
            ("is missing", batch(missing, case.num_rows())?),
            ("has another type", mistyped),
        ] {
            let what = format!("column {name:?} that {what}");
            match attempt(collector, &outputs, &what)? {
                // A column that is not used may be as it likes.
                Ok(made) => expect(made == *whole, || format!("{what} is not refused"))?,
                Err(err) => expect(format!("{err:#}").contains(&name), || {
                    format!("the message for {what} does not name it: {err:#}")
                })?,
            }
        }
    }
    Ok(())
}

/// Each column in turn with something odd in its first row.
fn bad_values_stay_in_their_row(
    collector: &dyn Collector,
    case: &RecordBatch,
    whole: &RecordBatch,
) -> Result<()> {
    if case.num_rows() == 0 {
        return Ok(());
    }
    for (index, column) in case.columns().iter().enumerate() {
        let first = column.slice(0, 1);
        let mut odd = vec![("a null", new_null_array(column.data_type(), 1))];
        for (what, value) in [
            ("NaN", f64::NAN),
            ("infinity", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
        ] {
            odd.push((what, floats_as(&first, value)?));
        }
        if let Some(empty) = empty_lists(&first)? {
            odd.push(("an empty list", empty));
        }
        for (what, first) in odd {
            let name = case.schema().field(index).name().clone();
            let what = format!("{what} in column {name:?}");
            let others = column.slice(1, column.len() - 1);
            let column = match first.data_type() == column.data_type() {
                true => concat(&[&first, &others])?,
                // Lists of one length are of no length all together.
                false => empty_lists(column)?.unwrap_or(first),
            };
            let is_whole = *column.data_type() != *case.column(index).data_type();
            let Ok(made) = attempt(collector, &replaced(case, index, column)?, &what)? else {
                continue;
            };
            let n_others = whole.num_rows() - 1;
            let same = is_whole || made.slice(1, n_others) == whole.slice(1, n_others);
            expect(same, || format!("{what} of one row changes other rows"))?;
        }
    }
    Ok(())
}

fn a_run_stores_it(collector: &dyn Collector, case: &RecordBatch) -> Result<()> {
    let project = block_on(Project::open("memory:///", "contract"))?;
    let run = project.start_run("collector")?;
    let n_rows = case.num_rows();
    let ids: UInt64Array = (0..).take(n_rows).map(Some).collect();
    for (epoch, part) in [(0, case.clone()), (1, case.slice(0, 0))] {
        let rows = Rows::new("val", epoch, ids.slice(0, part.num_rows()))?;
        run.collect(&rows, collector, &part)
            .map_err(|err| err.context("a run does not take what the collector makes"))?;
    }
    run.finish()?;
    let stored = block_on(project.samples(&"collector".parse()?, &"val".parse()?, 0))?;
    let n_stored: usize = stored.iter().map(RecordBatch::num_rows).sum();
    expect(n_stored == n_rows, || {
        format!("a run stores {n_stored} of {n_rows} rows")
    })
}

/// What the collector makes of outputs that it must take.
fn taken(collector: &dyn Collector, outputs: &RecordBatch, what: &str) -> Result<RecordBatch> {
    attempt(collector, outputs, what)?
        .map_err(|err| broken(&format!("{what} is refused")).with_source(err))
}

/// What the collector makes of outputs, or how it refuses them.
fn attempt(
    collector: &dyn Collector,
    outputs: &RecordBatch,
    what: &str,
) -> Result<std::result::Result<RecordBatch, Error>> {
    let made = catch_unwind(AssertUnwindSafe(|| collector.collect(outputs)))
        .map_err(|_panic| broken(&format!("it panics at {what}")))?;
    match &made {
        Ok(made) => expect(made.num_rows() == outputs.num_rows(), || {
            let (n_out, n_in) = (made.num_rows(), outputs.num_rows());
            format!("{what} of {n_in} rows gives {n_out} rows")
        })?,
        Err(err) => expect(err.kind() == ErrorKind::Invalid, || {
            format!(
                "{what} is refused as {:?} in place of Invalid: {err:#}",
                err.kind()
            )
        })?,
    }
    Ok(made)
}

fn columns_of(batch: &RecordBatch) -> Vec<(Field, ArrayRef)> {
    let schema = batch.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone());
    fields.zip(batch.columns().iter().map(Arc::clone)).collect()
}

fn batch(columns: Vec<(Field, ArrayRef)>, n_rows: usize) -> Result<RecordBatch> {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

/// The batch with other values in one column; the metadata stays.
fn replaced(case: &RecordBatch, index: usize, values: ArrayRef) -> Result<RecordBatch> {
    let mut columns = columns_of(case);
    if let Some((field, column)) = columns.get_mut(index) {
        *field = field
            .clone()
            .with_data_type(values.data_type().clone())
            .with_nullable(true);
        *column = values;
    }
    batch(columns, case.num_rows())
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(broken(&otherwise())),
    }
}

fn broken(how: &str) -> Error {
    Error::invalid(format!("the collector breaks its contract: {how}"))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use arrow::array::{AsArray as _, Float64Array};
    use arrow::datatypes::Float64Type;

    use super::*;

    /// Twice the column `x`, as it should be done.
    fn doubled(outputs: &RecordBatch) -> Result<Float64Array> {
        let x = outputs.column_by_name("x");
        let x = x.ok_or_else(|| Error::invalid("the outputs have no column \"x\""))?;
        let x = x.as_primitive_opt::<Float64Type>();
        let x = x.ok_or_else(|| Error::invalid("column \"x\" is no number"))?;
        Ok(x.unary(|x| 2.0 * x))
    }

    fn made(name: &str, values: Float64Array) -> Result<RecordBatch> {
        let n_rows = values.len();
        let field = Field::new(name, DataType::Float64, true);
        batch(vec![(field, Arc::new(values))], n_rows)
    }

    fn good(outputs: &RecordBatch) -> Result<RecordBatch> {
        made("y", doubled(outputs)?)
    }

    fn cases() -> [RecordBatch; 2] {
        let case = |x: Vec<Option<f64>>| {
            let side: ArrayRef = Arc::new(StringArray::from(vec!["a"; x.len()]));
            let x: ArrayRef = Arc::new(Float64Array::from(x));
            RecordBatch::try_from_iter([("x", x), ("side", side)]).unwrap()
        };
        [
            case(vec![Some(1.0), Some(2.0), Some(4.0), None]),
            case(vec![Some(8.0), Some(3.0)]),
        ]
    }

    /// A collector whose scalars are what one likes.
    struct Scalars(&'static [(&'static str, &'static str)]);

    impl Collector for Scalars {
        fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
            let mut columns = columns_of(&good(outputs)?);
            let text = StringArray::from(vec!["t"; outputs.num_rows()]);
            columns.push((
                Field::new("text", DataType::Utf8, true),
                Arc::new(text) as ArrayRef,
            ));
            batch(columns, outputs.num_rows())
        }

        fn scalars(&self) -> &[(&'static str, &'static str)] {
            self.0
        }
    }

    #[track_caller]
    fn refused(collector: &dyn Collector, expected: &str) {
        let err = collector_contract(collector, &cases()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        let err = format!("{err:#}");
        assert!(
            err.contains(expected),
            "expected {expected:?}, found {err:?}"
        );
    }

    #[test]
    fn a_collector_that_does_as_it_should_passes() {
        collector_contract(&good, &cases()).unwrap();
        collector_contract(&Scalars(&[("y", "y")]), &cases()).unwrap();
        let none = cases().map(|case| case.slice(0, 0));
        assert!(collector_contract(&good, &none).is_err());
        assert!(collector_contract(&good, &[]).is_err());
    }

    #[test]
    fn rows_that_are_lost_mixed_or_moved_are_found() {
        let short = |outputs: &RecordBatch| {
            let n_rows = outputs.num_rows().saturating_sub(1);
            Ok(good(outputs)?.slice(0, n_rows))
        };
        refused(&short, "of 4 rows gives 3 rows");
        let moved = |outputs: &RecordBatch| turned(&good(outputs)?);
        refused(&moved, "the rows change when 4 of them are cut at 1");
        let mean = |outputs: &RecordBatch| {
            let y = doubled(outputs)?;
            let sum: f64 = y.iter().flatten().sum();
            made("y", y.unary(|y| y - sum))
        };
        refused(&mean, "the rows change when 4 of them are cut at 1");
        let sorted = |outputs: &RecordBatch| {
            let y = arrow::compute::sort(&doubled(outputs)?, None)?;
            made("y", y.as_primitive::<Float64Type>().clone())
        };
        refused(&sorted, "cut at");
        // Rows that are in order already come out as they went in, however they are cut.
        let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0]));
        let in_order = RecordBatch::try_from_iter([("x", x)]).unwrap();
        let err = collector_contract(&sorted, &[in_order]).unwrap_err();
        assert!(
            err.to_string().contains("order in which they go in"),
            "{err}"
        );
        let of_none = |outputs: &RecordBatch| match outputs.num_rows() {
            0 => batch(Vec::new(), 0),
            _ => good(outputs),
        };
        refused(&of_none, "the columns change");
    }

    #[test]
    fn a_memory_is_found() {
        let n_calls = Cell::new(0.0);
        let counting = |outputs: &RecordBatch| {
            n_calls.set(n_calls.get() + 1.0);
            let y = doubled(outputs)?;
            made("y", y.unary(|y| y + n_calls.get()))
        };
        refused(&counting, "the rows change");
        // Only what it was given last but one shows: a part of a batch cannot tell.
        let largest = Cell::new(2.0);
        let running = |outputs: &RecordBatch| {
            let y = doubled(outputs)?;
            let more = y.iter().flatten().find(|y| *y == 16.0);
            largest.set(more.unwrap_or(largest.get()));
            made("y", y.unary(|y| y + largest.get()))
        };
        refused(&running, "after other batches");
    }

    #[test]
    fn a_collector_that_counts_on_places_is_found() {
        let by_place = |outputs: &RecordBatch| {
            let x = outputs.column(0).as_primitive_opt::<Float64Type>();
            let x = x.ok_or_else(|| Error::invalid("\"x\" is no number"))?;
            made("y", x.clone())
        };
        refused(&by_place, "columns moved is refused");
        let alone = |outputs: &RecordBatch| match outputs.num_columns() {
            3 => Err(Error::invalid("too many columns")),
            _ => good(outputs),
        };
        refused(&alone, "another column is refused");
    }

    #[test]
    fn scalars_of_nothing_are_found() {
        refused(&Scalars(&[("z", "z")]), "\"z\" is of \"z\"");
        refused(&Scalars(&[("text", "t")]), "which is no column of numbers");
        refused(&Scalars(&[("y", "y"), ("y", "y")]), "two scalars");
    }

    #[test]
    fn columns_that_are_taken_for_others_are_found() {
        let zeros = |outputs: &RecordBatch| match doubled(outputs) {
            Ok(y) => made("y", y),
            Err(_) => made("y", Float64Array::from(vec![0.0; outputs.num_rows()])),
        };
        refused(&zeros, "column \"x\" that is missing is not refused");
        let typeless = |outputs: &RecordBatch| match outputs.column_by_name("x") {
            Some(x) if *x.data_type() == DataType::Utf8 => zeros(outputs),
            _ => good(outputs),
        };
        refused(
            &typeless,
            "column \"x\" that has another type is not refused",
        );
        let nameless =
            |outputs: &RecordBatch| good(outputs).map_err(|_why| Error::invalid("bad outputs"));
        refused(&nameless, "does not name it");
        let other_kind =
            |outputs: &RecordBatch| good(outputs).map_err(|err| Error::not_found(err.to_string()));
        refused(&other_kind, "in place of Invalid");
        let unwrapping =
            |outputs: &RecordBatch| made("y", outputs["x"].as_primitive::<Float64Type>().clone());
        refused(&unwrapping, "it panics at column \"x\" that is missing");
    }

    #[test]
    fn values_that_panic_or_spread_are_found() {
        let strict = |outputs: &RecordBatch| {
            let y = doubled(outputs)?;
            assert!(!y.iter().flatten().any(f64::is_nan), "NaN");
            made("y", y)
        };
        refused(&strict, "it panics at NaN in column \"x\"");
        let spreading = |outputs: &RecordBatch| {
            let y = doubled(outputs)?;
            let bad = y.iter().flatten().any(f64::is_infinite);
            made("y", y.unary(|y| if bad { f64::NAN } else { y }))
        };
        refused(&spreading, "infinity in column \"x\" of one row changes");
    }

    #[test]
    fn columns_that_no_run_takes_are_found() {
        let kept = |outputs: &RecordBatch| made("epoch", doubled(outputs)?);
        refused(&kept, "a run does not take");
    }
}
