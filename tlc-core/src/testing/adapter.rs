//! What an adapter of a framework must do so that tensors are what the rows say, and rows what the tensors say.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, FixedSizeListArray, Float32Array,
    Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Float32Type, UInt64Type};
use arrow::util::display::array_value_to_string;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ROWID;
use crate::project::Project;
use crate::run::{Rows, Run};
use crate::runtime::block_on;
use crate::schema;

/// A framework's adapter, as [`adapter_contract`] calls it. Only tests implement this: what a program calls
/// has the names and types that suit its framework.
pub trait Adapter {
    /// What the framework has for numbers with a shape.
    type Tensor;

    /// A column as a tensor: the first dimension is the rows, the others are the shape of the field.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the column that makes no tensor.
    fn to_tensor(&self, field: &Field, values: &ArrayRef) -> Result<Self::Tensor>;

    /// Tensors as the columns of one batch.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the tensor that is no column, or not of as many rows.
    fn to_record(&self, tensors: &[(&str, &Self::Tensor)]) -> Result<RecordBatch>;

    /// The tensor with its first two dimensions exchanged, without moving values if the framework can.
    ///
    /// # Errors
    /// Those of the framework.
    fn transposed(&self, tensor: &Self::Tensor) -> Result<Self::Tensor>;

    /// Logs tensors as the sample metrics of `rows`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the tensor that is not of these rows.
    fn log(&self, run: &Run, rows: &Rows, tensors: &[(&str, &Self::Tensor)]) -> Result<()>;
}

/// What models are fed with, which every adapter must take.
const NEEDED: [DataType; 3] = [DataType::Float32, DataType::Int64, DataType::UInt8];

/// What an adapter may refuse, but must not change.
const OTHERS: [DataType; 9] = [
    DataType::Float64,
    DataType::Float16,
    DataType::Boolean,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt16,
    DataType::UInt32,
    DataType::UInt64,
];

/// The shapes of a row.
const SHAPES: [&[usize]; 5] = [&[], &[3], &[1], &[2, 3], &[2, 1, 2]];

/// Checks that an adapter gives back what it was given.
///
/// For the tests of anyone who brings an adapter of their own. It must hold:
///
/// - a column of `Float32`, `Int64` or `UInt8` becomes a tensor and the same column again, with the same
///   shape and the same number of rows, 0 too; one of another numeric type or of truth values does so, or
///   is refused;
/// - NaN, infinities, -0, the largest and the smallest numbers are among what comes back the same;
/// - a slice of a column is read at its own offset, and a view of a tensor as it looks;
/// - nulls and text are refused, and the message names the column;
/// - tensors of different numbers of rows are not one batch, and not those of other rows; a run stores a
///   value beside the id of its row;
/// - what is refused is [`ErrorKind::Invalid`], and nothing panics.
///
/// # Errors
/// [`ErrorKind::Invalid`] saying what does not hold.
pub fn adapter_contract<A: Adapter>(adapter: &A) -> Result<()> {
    for data_type in NEEDED.iter().chain(&OTHERS) {
        let is_needed = NEEDED.contains(data_type);
        for shape in SHAPES {
            for n_rows in [0, 1, 4] {
                comes_back(adapter, data_type, shape, n_rows, is_needed)?;
            }
        }
        extremes_come_back(adapter, data_type)?;
    }
    slices_are_read_at_their_offset(adapter)?;
    views_are_read_as_they_look(adapter)?;
    what_is_no_tensor_is_refused(adapter)?;
    rows_are_kept(adapter)
}

fn comes_back<A: Adapter>(
    adapter: &A,
    data_type: &DataType,
    shape: &[usize],
    n_rows: usize,
    is_needed: bool,
) -> Result<()> {
    let n_values = n_rows * shape.iter().product::<usize>();
    let few = (0_i64..).map(|n| n % 2).take(n_values);
    let many = (0_i64..).map(|n| n % 100).take(n_values);
    let values: Int64Array = match data_type {
        DataType::Boolean => few.map(Some).collect(),
        _ => many.map(Some).collect(),
    };
    let (field, column) = column(cast(&values, data_type)?, shape, n_rows)?;
    let what = format!("{n_rows} rows of {data_type} of shape {shape:?}");
    returned(adapter, &field, &column, &what, is_needed)
}

fn extremes_come_back<A: Adapter>(adapter: &A, data_type: &DataType) -> Result<()> {
    let floats = [
        0.1,
        -0.0,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from(f32::MAX),
        f64::from(f32::MIN_POSITIVE),
        f64::MIN_POSITIVE,
        1e300,
    ];
    let all: Vec<ArrayRef> = match data_type.is_floating() {
        true => floats
            .iter()
            .map(|float| Arc::new(Float64Array::from(vec![*float])) as ArrayRef)
            .collect(),
        false => [
            i64::MIN,
            i64::from(i32::MIN),
            -128,
            -1,
            127,
            255,
            65_535,
            i64::from(u32::MAX),
            i64::MAX,
        ]
        .iter()
        .map(|n| Arc::new(Int64Array::from(vec![*n])) as ArrayRef)
        .chain([Arc::new(UInt64Array::from(vec![u64::MAX])) as ArrayRef])
        .collect(),
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    for value in all {
        // Only what the column's own type can hold.
        let Ok(value) = cast_with_options(&value, data_type, &strict) else {
            continue;
        };
        let what = format!("{data_type} {}", numbers(&value)?.concat());
        let is_needed = NEEDED.contains(data_type);
        let (field, column) = column(value, &[], 1)?;
        returned(adapter, &field, &column, &what, is_needed)?;
    }
    Ok(())
}

fn slices_are_read_at_their_offset<A: Adapter>(adapter: &A) -> Result<()> {
    for shape in [&[][..], &[2]] {
        let n_values = 4 * shape.iter().product::<usize>();
        let values: Float32Array = (0_u8..).map(f32::from).map(Some).take(n_values).collect();
        let (field, column) = column(Arc::new(values), shape, 4)?;
        returned(adapter, &field, &column.slice(1, 2), "a slice", true)?;
    }
    Ok(())
}

fn views_are_read_as_they_look<A: Adapter>(adapter: &A) -> Result<()> {
    let values = Float32Array::from_iter_values((0_u8..12).map(f32::from));
    let (field, column) = column(Arc::new(values), &[3, 2], 2)?;
    let view = quiet("a view", || {
        adapter.transposed(&adapter.to_tensor(&field, &column)?)
    })??;
    let record = quiet("a view", || adapter.to_record(&[("x", &view)]))??;
    let found = numbers(flat(record.column(0)))?;
    let expected = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11].map(|n: i32| n.to_string());
    expect(found == expected, || {
        format!("a view is read as {found:?} and looks like {expected:?}")
    })?;
    let shape = schema::shape(record.schema().field(0));
    let fits = record.num_rows() == 3 && shape.as_deref() == Some(&[2, 2]);
    expect(fits, || {
        let n_rows = record.num_rows();
        format!("a view of 3 rows of shape [2, 2] gives {n_rows} of {shape:?}")
    })
}

fn what_is_no_tensor_is_refused<A: Adapter>(adapter: &A) -> Result<()> {
    let flat_null: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["text"]));
    let (list, inner_null) = column(Arc::clone(&flat_null), &[2], 1)?;
    let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [Some([Some(1.0), Some(2.0)]), None],
        2,
    );
    for (what, field, values) in [
        ("a null", field_of(&flat_null), flat_null),
        ("text", field_of(&text), text),
        ("a null in a list", list.clone(), inner_null),
        ("a list that is null", list, Arc::new(lists) as ArrayRef),
    ] {
        match quiet(what, || adapter.to_tensor(&field, &values))? {
            Ok(_) => return Err(broken(&format!("{what} becomes a tensor"))),
            Err(err) => clear(&err, what)?,
        }
    }
    Ok(())
}

fn rows_are_kept<A: Adapter>(adapter: &A) -> Result<()> {
    let tensor = |values: &[f32]| {
        let values: ArrayRef = Arc::new(Float32Array::from(values.to_vec()));
        adapter.to_tensor(&field_of(&values), &values)
    };
    let (three, two) = (tensor(&[0.5, 1.5, 2.5])?, tensor(&[0.5, 1.5])?);
    let uneven = quiet("uneven tensors", || {
        adapter.to_record(&[("three", &three), ("x", &two)])
    })?;
    match uneven {
        Ok(_) => return Err(broken("3 and 2 rows become one batch")),
        Err(err) => kind(&err, "uneven tensors")?,
    }

    let project = block_on(Project::open("memory:///", "contract"))?;
    let run = project.start_run("adapter")?;
    let rows = Rows::new("val", 0, vec![7, 3, 5])?;
    let other = quiet("other rows", || adapter.log(&run, &rows, &[("x", &two)]))?;
    match other {
        Ok(()) => return Err(broken("2 values are logged for 3 rows")),
        Err(err) => clear(&err, "2 values for 3 rows")?,
    }
    quiet("rows", || adapter.log(&run, &rows, &[("x", &three)]))??;
    let none = Rows::new("val", 1, Vec::<u64>::new())?;
    let empty = tensor(&[])?;
    quiet("no rows", || adapter.log(&run, &none, &[("x", &empty)]))??;
    run.finish()?;

    let mut found = BTreeMap::new();
    for batch in block_on(project.samples(&"adapter".parse()?, &"val".parse()?, 0))? {
        let ids = batch
            .column_by_name(ROWID)
            .and_then(|ids| ids.as_primitive_opt::<UInt64Type>());
        let values = batch.column_by_name("x").map(numbers).transpose()?;
        let ids = ids.map(|ids| ids.values().to_vec()).unwrap_or_default();
        found.extend(ids.into_iter().zip(values.unwrap_or_default()));
    }
    let expected = BTreeMap::from([(7, "0.5"), (3, "1.5"), (5, "2.5")]);
    let same = found
        .iter()
        .map(|(id, text)| (*id, text.as_str()))
        .eq(expected.clone());
    expect(same, || {
        format!("a run holds {found:?} where {expected:?} was logged")
    })
}

/// Gives the adapter a column, and compares what it makes of the tensor.
fn returned<A: Adapter>(
    adapter: &A,
    field: &Field,
    column: &ArrayRef,
    what: &str,
    is_needed: bool,
) -> Result<()> {
    let tensor = match quiet(what, || adapter.to_tensor(field, column))? {
        Ok(tensor) => tensor,
        Err(err) if is_needed => {
            return Err(broken(&format!("{what} is refused")).with_source(err));
        }
        Err(err) => return clear(&err, what),
    };
    let record = quiet(what, || adapter.to_record(&[("x", &tensor)]))?;
    let record =
        record.map_err(|err| broken(&format!("{what} does not come back")).with_source(err))?;
    expect(record.num_rows() == column.len(), || {
        format!("{what} comes back as {} rows", record.num_rows())
    })?;
    let schema = record.schema();
    let (found, expected) = (schema::shape(schema.field(0)), schema::shape(field));
    expect(found == expected, || {
        format!("{what} comes back with the shape {found:?} of a row, not {expected:?}")
    })?;
    let (found, expected) = (numbers(flat(record.column(0)))?, numbers(flat(column))?);
    expect(found == expected, || {
        format!("{what} comes back as {found:?}, not {expected:?}")
    })
}

/// The column `x` of rows of a shape.
fn column(values: ArrayRef, shape: &[usize], n_rows: usize) -> Result<(Field, ArrayRef)> {
    if shape.is_empty() {
        return Ok((field_of(&values), values));
    }
    let field = schema::tensor("x", values.data_type().clone(), shape);
    let DataType::FixedSizeList(item, length) = field.data_type() else {
        return Err(Error::invalid("a tensor is a list of one length"));
    };
    let item = Arc::clone(item);
    let lists = FixedSizeListArray::try_new_with_length(item, *length, values, None, n_rows)?;
    Ok((field, Arc::new(lists)))
}

fn field_of(values: &ArrayRef) -> Field {
    Field::new("x", values.data_type().clone(), true)
}

/// The values of a column, without the lists around them.
fn flat(column: &ArrayRef) -> &ArrayRef {
    match column.as_fixed_size_list_opt() {
        Some(lists) => lists.values(),
        None => column,
    }
}

/// Each number as it is exactly, whatever type it has: 1 of an integer, a float and `true` are the same.
fn numbers(values: &ArrayRef) -> Result<Vec<String>> {
    let text = |row| match values.data_type() {
        DataType::Boolean => {
            let truths: Option<&BooleanArray> = values.as_boolean_opt();
            Ok(truths
                .map_or(0, |truths| u8::from(truths.value(row)))
                .to_string())
        }
        float if float.is_floating() => {
            let one = cast(&values.slice(row, 1), &DataType::Float64)?;
            let one: Option<&Float64Array> = one.as_primitive_opt();
            Ok(one.map_or(f64::NAN, |one| one.value(0)).to_string())
        }
        _ => Ok(array_value_to_string(values, row)?),
    };
    (0..values.len()).map(text).collect()
}

/// That an error is of the right kind, and names the column.
fn clear(err: &Error, what: &str) -> Result<()> {
    kind(err, what)?;
    let message = format!("{err:#}");
    expect(message.contains("\"x\""), || {
        format!("the message for {what} does not name \"x\": {message}")
    })
}

fn kind(err: &Error, what: &str) -> Result<()> {
    expect(err.kind() == ErrorKind::Invalid, || {
        format!(
            "{what} is refused as {:?} in place of Invalid: {err:#}",
            err.kind()
        )
    })
}

/// Calls the adapter; that it panics is a breach.
fn quiet<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<Result<T>> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|_panic| broken(&format!("it panics at {what}")))
}

fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(broken(&otherwise())),
    }
}

fn broken(how: &str) -> Error {
    Error::invalid(format!("the adapter breaks its contract: {how}"))
}

#[cfg(test)]
mod tests {
    use arrow::array::UInt32Array;
    use arrow::compute::take;

    use super::*;

    /// A tensor that Arrow alone makes: values, row-major, and their shape.
    struct Plain {
        values: ArrayRef,
        shape: Vec<usize>,
    }

    /// An adapter that does as it should, but for one thing.
    struct Wrong(&'static str);

    impl Wrong {
        fn is(&self, fault: &str) -> bool {
            self.0 == fault
        }
    }

    impl Adapter for Wrong {
        type Tensor = Plain;

        fn to_tensor(&self, field: &Field, values: &ArrayRef) -> Result<Plain> {
            let inner = flat(values);
            let n_nulls = values.null_count() + inner.null_count();
            let number = inner.data_type().is_numeric() || *inner.data_type() == DataType::Boolean;
            let is_null = n_nulls > 0 && !self.is("takes nulls");
            if is_null || !number || (self.is("takes nothing") && inner.data_type().is_floating()) {
                return Err(match self.is("names nothing") {
                    true => Error::invalid("no tensor"),
                    false if self.is("other kind") => Error::not_found("\"x\""),
                    false => Error::invalid(format!("column {:?} makes no tensor", field.name())),
                });
            }
            assert!(!self.is("panics at none") || !values.is_empty());
            let shape = [vec![values.len()], schema::shape(field).unwrap_or_default()].concat();
            let narrow = |to: &DataType| -> Result<ArrayRef> {
                Ok(cast(&cast(inner, to)?, inner.data_type())?)
            };
            let values = match inner.data_type() {
                DataType::Float64 if self.is("narrows floats") => narrow(&DataType::Float32)?,
                DataType::Int64 if self.is("narrows integers") => narrow(&DataType::Float64)?,
                DataType::Float32 if self.is("no NaN") => {
                    let floats: &Float32Array = inner.as_primitive();
                    Arc::new(floats.unary::<_, Float32Type>(|x| if x.is_nan() { 0.0 } else { x }))
                }
                _ => Arc::clone(inner),
            };
            // Arrow's own slices hide their offset; the one of the contract begins with a 1.
            let floats: Option<&Float32Array> = values.as_primitive_opt();
            let is_slice = floats.is_some_and(|floats| floats.values()[..] == [1.0, 2.0]);
            let values = match self.is("forgets offsets") && is_slice {
                true => Arc::new(Float32Array::from(vec![0.0, 1.0])) as ArrayRef,
                false => values,
            };
            Ok(Plain { values, shape })
        }

        fn to_record(&self, tensors: &[(&str, &Plain)]) -> Result<RecordBatch> {
            let columns = tensors.iter().map(|(name, tensor)| {
                let (n_rows, inner) = tensor.shape.split_first().unwrap();
                let shape = match self.is("drops shapes") && inner.len() > 1 {
                    true => vec![inner.iter().product()],
                    false => inner.to_vec(),
                };
                let (field, column) = column(Arc::clone(&tensor.values), &shape, *n_rows)?;
                Ok((field.with_name(*name), column))
            });
            let (fields, mut columns): (Vec<_>, Vec<_>) =
                columns.collect::<Result<Vec<_>>>()?.into_iter().unzip();
            if self.is("cuts rows") {
                let n_rows = columns.iter().map(|column| column.len()).min().unwrap();
                columns
                    .iter_mut()
                    .for_each(|column| *column = column.slice(0, n_rows));
            }
            let schema = Arc::new(arrow::datatypes::Schema::new(fields));
            Ok(RecordBatch::try_new(schema, columns)?)
        }

        fn transposed(&self, tensor: &Plain) -> Result<Plain> {
            let [a, b, rest @ ..] = tensor.shape.as_slice() else {
                return Err(Error::invalid("too few dimensions"));
            };
            let n_each: usize = rest.iter().product();
            let mut at = Vec::new();
            for j in 0..*b {
                for i in 0..*a {
                    at.extend((0..n_each).map(|k| ((i * b + j) * n_each + k) as u32));
                }
            }
            let values = match self.is("reads memory") {
                true => Arc::clone(&tensor.values),
                false => take(&tensor.values, &UInt32Array::from(at), None)?,
            };
            let shape = [&[*b, *a][..], rest].concat();
            Ok(Plain { values, shape })
        }

        fn log(&self, run: &Run, rows: &Rows, tensors: &[(&str, &Plain)]) -> Result<()> {
            let record = self.to_record(tensors)?;
            let n_rows = record.num_rows();
            let mut rows = rows.clone();
            if self.is("logs what there is") || (self.is("loses ids") && n_rows == 3) {
                rows.row_ids = (0..n_rows as u64).map(Some).collect();
            }
            match rows.row_ids.len() == n_rows {
                true => run.samples(&rows, &record),
                false => Err(Error::invalid("tensor \"x\" is of other rows")),
            }
        }
    }

    #[test]
    fn an_adapter_that_does_as_it_should_passes() {
        adapter_contract(&Wrong("nothing")).unwrap();
    }

    #[test]
    fn each_breach_is_found() {
        for (fault, expected) in [
            ("takes nothing", "0 rows of Float32 of shape [] is refused"),
            ("takes nulls", "a null becomes a tensor"),
            ("names nothing", "does not name"),
            ("other kind", "in place of Invalid"),
            ("panics at none", "it panics at 0 rows"),
            ("narrows floats", "comes back as"),
            ("narrows integers", "9223372036854775807"),
            ("no NaN", "Float32 NaN comes back as [\"0\"]"),
            ("forgets offsets", "a slice comes back as"),
            ("drops shapes", "with the shape Some([6]) of a row"),
            ("reads memory", "a view is read as"),
            ("cuts rows", "3 and 2 rows become one batch"),
            ("logs what there is", "2 values are logged for 3 rows"),
            ("loses ids", "a run holds {0: \"0.5\""),
        ] {
            let err = adapter_contract(&Wrong(fault)).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Invalid, "{fault}");
            let err = format!("{err:#}");
            assert!(err.contains(expected), "{fault}: {err}");
        }
    }
}
