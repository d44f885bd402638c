//! From columns to rows that count: labels as positions of classes, and a list of numbers for each row.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float64Array, Int64Array, OffsetSizeTrait, UInt64Array,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::confident::Row;
use crate::error::{Error, Result};
use crate::questions::classes;

/// The most classes there may be: what is counted for each pair of them takes 8 bytes.
const CLASSES_MAX: usize = 10_000;

/// Rows that do not count, and those that do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) rows: u64,
    pub(super) without_label: u64,
    pub(super) without_values: u64,
}

impl Counted {
    pub(super) fn add(&mut self, more: Self) {
        self.rows += more.rows;
        self.without_label += more.without_label;
        self.without_values += more.without_values;
    }
}

/// The class that each row of an epoch was given. 20 bytes for each row.
#[derive(Debug)]
pub(super) struct Given {
    /// Ascending.
    row_ids: UInt64Array,
    labels: Int64Array,
    /// How often each row id was met, at its first place.
    met: Vec<u32>,
}

impl Given {
    /// From row ids in ascending order and the labels of the rows.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column if its values are no positions.
    pub(super) fn new(column: &str, row_ids: UInt64Array, labels: &ArrayRef) -> Result<Self> {
        let labels = classes(column, labels)?;
        let data_type = labels.data_type();
        if !(data_type.is_integer() || *data_type == DataType::Boolean) {
            return Err(Error::invalid(format!(
                "labels {column:?} are {data_type}; they must be numbers, as what the model gave is in the order of its classes"
            )));
        }
        let exact = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let labels = cast_with_options(&labels, &DataType::Int64, &exact).map_err(|err| {
            Error::invalid(format!("labels {column:?} are too large")).with_source(err)
        })?;
        Ok(Self {
            met: vec![0; row_ids.len()],
            row_ids,
            labels: labels.as_primitive::<Int64Type>().clone(),
        })
    }

    /// The next pass begins: rows are met again from the first.
    pub(super) fn restart(&mut self) {
        self.met.fill(0);
    }

    /// Ascending.
    pub(super) fn row_ids(&self) -> &UInt64Array {
        &self.row_ids
    }

    /// The label of each row, in the order of row ids.
    pub(super) fn labels(&self) -> &Int64Array {
        &self.labels
    }

    /// The next row with that id: its place and its label, null if it has none. `None` if there is no such row, or no
    /// further one: what was logged since the labels were read does not count.
    fn next(&mut self, row_id: u64) -> Option<(usize, Option<i64>)> {
        let ids = self.row_ids.values();
        let first = ids.partition_point(|id| *id < row_id);
        let met = self.met.get_mut(first)?;
        let at = first + usize::try_from(*met).ok()?;
        *met = met.saturating_add(1);
        let is_there = ids.get(at) == Some(&row_id);
        is_there.then(|| (at, self.labels.is_valid(at).then(|| self.labels.value(at))))
    }
}

/// A list of numbers for each row, one for each class: probabilities or logits.
#[derive(Debug)]
pub(crate) struct Lists {
    /// Where each lies; `None` for a null.
    lists: Vec<Option<Range<usize>>>,
    values: Float64Array,
}

impl Lists {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column if it is no list of floats.
    pub(crate) fn new(column: &str, lists: &ArrayRef) -> Result<Self> {
        let rows = || (0..lists.len()).map(|row| lists.is_valid(row));
        let (ranges, values) = if let Some(lists) = lists.as_fixed_size_list_opt() {
            let n = usize::try_from(lists.value_length()).unwrap_or_default();
            let ranges = (0..lists.len()).map(|row| row * n..(row + 1) * n);
            (ranges.collect(), Arc::clone(lists.values()))
        } else if let Some(lists) = lists.as_list_opt::<i32>() {
            between(lists.value_offsets(), lists.values())
        } else if let Some(lists) = lists.as_list_opt::<i64>() {
            between(lists.value_offsets(), lists.values())
        } else {
            return Err(not_probabilities(column, lists.data_type()));
        };
        if !values.data_type().is_floating() {
            return Err(not_probabilities(column, lists.data_type()));
        }
        let values = cast(&values, &DataType::Float64)?;
        let ranges = ranges.into_iter().zip(rows());
        Ok(Self {
            lists: ranges.map(|(range, is)| is.then_some(range)).collect(),
            values: values.as_primitive::<Float64Type>().clone(),
        })
    }

    /// The numbers of a row, if they are all finite, and there is one at least.
    pub(crate) fn of(&self, row: usize) -> Option<&[f64]> {
        let range = self.lists.get(row)?.clone()?;
        let nulls = self.values.nulls().filter(|nulls| nulls.null_count() > 0);
        if nulls.is_some_and(|nulls| range.clone().any(|at| nulls.is_null(at))) {
            return None;
        }
        let values = self.values.values().get(range)?;
        // Without a branch for each.
        let all_finite = values.iter().fold(true, |all, p| all & p.is_finite());
        all_finite
            .then_some(values)
            .filter(|values| !values.is_empty())
    }
}

/// What lies between offsets, and the values from the first offset to the last.
fn between<O: OffsetSizeTrait>(offsets: &[O], values: &ArrayRef) -> (Vec<Range<usize>>, ArrayRef) {
    let first = offsets.first().map_or(0, |first| first.as_usize());
    let last = offsets.last().map_or(first, |last| last.as_usize());
    let range = |pair: &[O]| {
        let [from, to] = pair else { return None };
        Some(from.as_usize() - first..to.as_usize() - first)
    };
    let ranges = offsets.windows(2).filter_map(range).collect();
    (ranges, values.slice(first, last - first))
}

/// The error of a column that holds something else.
pub(super) fn not_probabilities(column: &str, found: &DataType) -> Error {
    Error::invalid(format!(
        "column {column:?} is {found}, and no list of floats with one for each class"
    ))
}

/// Hands on the rows of a batch that count. `n_classes` is known from the first of them on.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the row id of a label that is the position of no
/// class, of a row that has not as many probabilities as others, or of one that has more than [`CLASSES_MAX`].
pub(super) fn each(
    row_ids: &[u64],
    lists: &Lists,
    given: &mut Given,
    n_classes: &mut Option<usize>,
    mut each: impl FnMut(&Row<'_>),
) -> Result<Counted> {
    let mut counted = Counted::default();
    for (row, row_id) in row_ids.iter().copied().enumerate() {
        let Some((place, label)) = given.next(row_id) else {
            continue;
        };
        let Some(label) = label else {
            counted.without_label += 1;
            continue;
        };
        let Some(probabilities) = lists.of(row) else {
            counted.without_values += 1;
            continue;
        };
        let n = *n_classes.get_or_insert(probabilities.len());
        if probabilities.len() != n {
            let found = probabilities.len();
            return Err(Error::invalid(format!(
                "row {row_id} has {found} values, and others have {n}"
            )));
        }
        if n > CLASSES_MAX {
            return Err(Error::invalid(format!(
                "row {row_id} has values of {n} classes; there may be {CLASSES_MAX}"
            )));
        }
        let class = usize::try_from(label).ok().filter(|class| *class < n);
        let given = class.ok_or_else(|| {
            Error::invalid(format!(
                "row {row_id} has label {label}, and there are values of {n} classes, from 0"
            ))
        })?;
        counted.rows += 1;
        each(&Row {
            row_id,
            at: place,
            given,
            probabilities,
        });
    }
    Ok(counted)
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        FixedSizeListArray, Int8Array, LargeListArray, ListArray, StringArray, UInt64Array,
    };
    use arrow::datatypes::{Float16Type, Float32Type, Int32Type};

    use super::*;

    /// Row ids, in which order they are met, and their labels; what is found.
    #[track_caller]
    fn check_given(ids: &[u64], met: &[u64], expected: &[Option<Option<i64>>]) {
        let labels = (0..ids.len()).map(|n| (n != 1).then(|| i8::try_from(n).unwrap()));
        let labels: ArrayRef = Arc::new(labels.collect::<Int8Array>());
        let mut given = Given::new("label", UInt64Array::from(ids.to_vec()), &labels).unwrap();
        for _ in 0..2 {
            let next = |id: &u64| given.next(*id).map(|(_, label)| label);
            let found: Vec<_> = met.iter().map(next).collect();
            assert_eq!(found, expected, "{met:?} of {ids:?}");
            given.restart();
        }
    }

    #[test]
    fn a_row_id_that_is_there_twice_has_its_labels_one_after_the_other() {
        let [zero, two, three] = [0, 2, 3].map(|label| Some(Some(label)));
        check_given(&[4, 7, 9], &[9, 4, 7, 5], &[two, zero, Some(None), None]);
        check_given(
            &[4, 7, 7, 7],
            &[7, 4, 7, 7],
            &[Some(None), zero, two, three],
        );
        check_given(&[4, 7, 7], &[7, 7, 7], &[Some(None), two, None]);
        check_given(&[4, 7, 9], &[9, 4, 9, 4], &[two, zero, None, None]);
        check_given(&[], &[0], &[None]);
    }

    #[test]
    fn labels_are_positions() {
        let ids = UInt64Array::from(vec![0]);
        let text: ArrayRef = Arc::new(StringArray::from(vec!["cat"]));
        let err = Given::new("animal", ids.clone(), &text).unwrap_err();
        assert!(err.to_string().contains("\"animal\" are Utf8"), "{err}");
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let err = Given::new("animal", ids, &large).unwrap_err();
        assert!(err.to_string().contains("too large"), "{err}");
    }

    /// The probabilities of each row, `-` where they do not count.
    fn text(lists: &ArrayRef) -> String {
        let n = lists.len();
        let lists = Lists::new("p", lists).unwrap();
        let row = |row| match lists.of(row) {
            None => "-".to_owned(),
            Some(p) => p.iter().map(f64::to_string).collect::<Vec<_>>().join(" "),
        };
        (0..n).map(row).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn rows_count_whose_probabilities_are_all_numbers_whatever_holds_them() {
        let rows = || {
            [
                Some(vec![Some(0.5), Some(0.25)]),
                None,
                Some(vec![Some(0.5), None]),
                Some(vec![Some(f32::NAN), Some(1.0)]),
                Some(vec![Some(f32::NEG_INFINITY), Some(1.0)]),
                Some(vec![Some(0.0), Some(2.0)]),
            ]
        };
        let fixed = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows(), 2);
        let list = ListArray::from_iter_primitive::<Float32Type, _, _>(rows());
        let large = LargeListArray::from_iter_primitive::<Float32Type, _, _>(rows());
        let expected = "0.5 0.25 | - | - | - | - | 0 2";
        let lists: [ArrayRef; 3] = [Arc::new(fixed), Arc::new(list), Arc::new(large)];
        for lists in lists {
            assert_eq!(text(&lists), expected);
            assert_eq!(text(&lists.slice(4, 2)), "- | 0 2");
            assert_eq!(text(&lists.slice(0, 0)), "");
            let wide = match lists.data_type() {
                DataType::FixedSizeList(..) => {
                    DataType::new_fixed_size_list(DataType::Float64, 2, true)
                }
                _ => DataType::new_list(DataType::Float64, true),
            };
            assert_eq!(text(&cast(&lists, &wide).unwrap()), expected);
        }
        let empty = ListArray::from_iter_primitive::<Float16Type, _, _>([Some(vec![])]);
        assert_eq!(text(&(Arc::new(empty) as ArrayRef)), "-");
        let ints = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1)])]);
        let err = Lists::new("p", &(Arc::new(ints) as ArrayRef)).unwrap_err();
        assert!(err.to_string().contains("no list of floats"), "{err}");
    }

    #[test]
    fn what_does_not_count_is_counted_and_what_is_wrong_names_its_row() {
        let lists = |rows: &[&[f32]]| -> ArrayRef {
            let rows = rows.iter().map(|row| Some(row.iter().copied().map(Some)));
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
        };
        let check = |rows: &[&[f32]], labels: &[Option<i64>]| {
            let ids: Vec<u64> = (40..).take(rows.len()).collect();
            let labels: ArrayRef = Arc::new(Int64Array::from(labels.to_vec()));
            let mut given = Given::new("label", UInt64Array::from(ids.clone()), &labels).unwrap();
            let lists = Lists::new("p", &lists(rows)).unwrap();
            let mut found = Vec::new();
            let counted = each(&ids, &lists, &mut given, &mut None, |row| {
                assert_eq!(row.at as u64 + 40, row.row_id);
                found.push(format!("{}:{}", row.row_id, row.given));
            });
            match counted {
                Err(err) => err.to_string(),
                Ok(counted) => {
                    let Counted {
                        rows,
                        without_label,
                        without_values,
                    } = counted;
                    format!(
                        "{} {rows}/{without_label}/{without_values}",
                        found.join(" ")
                    )
                }
            }
        };
        let (two, odd): (&[f32], &[f32]) = (&[0.5, 0.5], &[1.0]);
        let nan: &[f32] = &[0.0, f32::NAN];
        assert_eq!(
            check(&[two, two, nan, two], &[Some(1), None, Some(7), Some(0)]),
            "40:1 43:0 2/1/1"
        );
        let message = check(&[two, two], &[Some(0), Some(2)]);
        assert!(message.contains("row 41 has label 2"), "{message}");
        let message = check(&[two, two], &[Some(-1), Some(0)]);
        assert!(message.contains("row 40 has label -1"), "{message}");
        let message = check(&[&[0.0; CLASSES_MAX]], &[Some(0)]);
        assert_eq!(message, "40:0 1/0/0");
        let message = check(&[&[0.0; CLASSES_MAX + 1]], &[Some(0)]);
        assert!(
            message.contains("row 40 has values of 10001 classes"),
            "{message}"
        );
        let message = check(&[two, odd], &[Some(1), Some(0)]);
        assert!(
            message.contains("row 41 has 1 values, and others have 2"),
            "{message}"
        );
    }
}
