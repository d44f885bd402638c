//! Boxes as numbers: read from a column, and how much two of them overlap.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Float64Array, Int32Array, Int64Array,
    PrimitiveArray, RecordBatch, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Float64Type, Int32Type, Int64Type,
};

use crate::collect::columns::{cast, column, spans};
use crate::error::{Error, Result};
use crate::schema::ELEMENT_ID;

pub(super) const CORNERS: [&str; 4] = ["x_min", "y_min", "x_max", "y_max"];

/// The field of true boxes that are regions of many objects.
const CROWD: &str = "is_crowd";

/// One box. `score` is 0 for a true one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OneBox {
    pub(crate) id: i64,
    pub(crate) corners: [f64; 4],
    pub(crate) label: Option<i32>,
    pub(crate) score: f64,
    /// Whether it stands for many objects that nobody drew one by one.
    pub(crate) is_crowd: bool,
}

impl OneBox {
    /// 0 if the corners are swapped, or one is NaN.
    fn area(&self) -> f64 {
        let [x_min, y_min, x_max, y_max] = self.corners;
        match x_max > x_min && y_max > y_min {
            true => (x_max - x_min) * (y_max - y_min),
            false => 0.0,
        }
    }

    /// The area that both share, of the area that they cover together.
    pub(super) fn iou(&self, other: &Self) -> f64 {
        let shared = self.shared(other);
        or_nothing(shared / (self.area() + other.area() - shared))
    }

    /// The area that both share, of this one's.
    pub(super) fn inside(&self, other: &Self) -> f64 {
        or_nothing(self.shared(other) / self.area())
    }

    fn shared(&self, other: &Self) -> f64 {
        let [a, b] = [self.corners, other.corners];
        let (low, high) = (
            |i: usize| f64::max(a[i], b[i]),
            |i: usize| f64::min(a[i], b[i]),
        );
        let both = Self {
            corners: [low(0), low(1), high(2), high(3)],
            ..*self
        };
        match self.area() > 0.0 && other.area() > 0.0 {
            true => both.area(),
            false => 0.0,
        }
    }
}

fn or_nothing(ratio: f64) -> f64 {
    match ratio.is_finite() {
        true => ratio,
        false => 0.0,
    }
}

/// A column of boxes.
pub(crate) struct Boxes {
    name: String,
    spans: Vec<Option<Range<usize>>>,
    nulls: Option<NullBuffer>,
    ids: Option<Int64Array>,
    corners: [Float64Array; 4],
    labels: Int32Array,
    scores: Option<Float64Array>,
    crowds: Option<BooleanArray>,
    /// The label as metrics keep it, with the names of its classes.
    pub(crate) label_field: FieldRef,
}

impl Boxes {
    /// Predicted boxes have scores and need no ids; true ones have ids, and may say whether they are crowds.
    pub(crate) fn read(outputs: &RecordBatch, name: &str, are_predicted: bool) -> Result<Self> {
        let column = column(outputs, name)?;
        let read = spans(column).filter(|(_, values)| values.as_struct_opt().is_some());
        let Some((spans, values)) = read else {
            let found = column.data_type();
            return Err(Error::invalid(format!(
                "column {name:?} is {found}; it must be lists of structs, as boxes are"
            )));
        };
        let boxes = values.as_struct();
        let corners = [0, 1, 2, 3]
            .map(|i| field::<Float64Type>(boxes, name, CORNERS[i], DataType::is_numeric));
        let [x_min, y_min, x_max, y_max] = corners;
        let ids = match are_predicted && boxes.column_by_name(ELEMENT_ID).is_none() {
            true => None,
            false => Some(field::<Int64Type>(
                boxes,
                name,
                ELEMENT_ID,
                DataType::is_integer,
            )?),
        };
        let scores = match are_predicted {
            true => Some(field::<Float64Type>(
                boxes,
                name,
                "score",
                DataType::is_floating,
            )?),
            false => None,
        };
        let crowds = match boxes.column_by_name(CROWD).filter(|_| !are_predicted) {
            Some(crowds) => Some(truths(crowds, name)?),
            None => None,
        };
        let labels = field::<Int32Type>(boxes, name, "label", DataType::is_integer)?;
        let label_field = boxes.fields().iter().find(|field| field.name() == "label");
        let metadata = label_field
            .map(|field| field.metadata().clone())
            .unwrap_or_default();
        Ok(Self {
            name: name.to_owned(),
            spans,
            nulls: boxes.nulls().cloned(),
            ids,
            corners: [x_min?, y_min?, x_max?, y_max?],
            labels,
            scores,
            crowds,
            label_field: Arc::new(
                Field::new("label", DataType::Int32, true).with_metadata(metadata),
            ),
        })
    }

    /// The boxes of a sample; `None` if it has no list.
    pub(crate) fn of(&self, sample: usize) -> Result<Option<Vec<OneBox>>> {
        let Some(span) = self.spans.get(sample).cloned().flatten() else {
            return Ok(None);
        };
        let start = span.start;
        let boxes = span.map(|at| {
            self.one(at, at - start).ok_or_else(|| {
                let (name, position) = (&self.name, at - start);
                Error::invalid(format!(
                    "box {position} of sample {sample} of the batch has a null in column {name:?}"
                ))
            })
        });
        boxes.collect::<Result<_>>().map(Some)
    }

    /// `None` if there is a null where none may be.
    fn one(&self, at: usize, position: usize) -> Option<OneBox> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(at)) {
            return None;
        }
        let [x_min, y_min, x_max, y_max] = &self.corners;
        let label = value(&self.labels, at);
        let score = match &self.scores {
            Some(scores) => {
                label?;
                value(scores, at)?
            }
            None => 0.0,
        };
        Some(OneBox {
            id: match &self.ids {
                Some(ids) => value(ids, at)?,
                None => i64::try_from(position).ok()?,
            },
            corners: [
                value(x_min, at)?,
                value(y_min, at)?,
                value(x_max, at)?,
                value(y_max, at)?,
            ],
            label,
            score,
            is_crowd: self
                .crowds
                .as_ref()
                .is_some_and(|crowds| crowds.is_valid(at) && crowds.value(at)),
        })
    }
}

/// Booleans, or the 0 and 1 of files in the form of COCO.
fn truths(values: &ArrayRef, column: &str) -> Result<BooleanArray> {
    let found = values.data_type();
    match found.is_integer() || *found == DataType::Boolean {
        true => Ok(arrow::compute::cast(values, &DataType::Boolean)?
            .as_boolean()
            .clone()),
        false => Err(Error::invalid(format!(
            "field {CROWD:?} of the boxes in column {column:?} is {found}; it must be true or false"
        ))),
    }
}

fn value<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>, at: usize) -> Option<T::Native> {
    values.is_valid(at).then(|| values.value(at))
}

fn field<T: ArrowPrimitiveType>(
    boxes: &StructArray,
    column: &str,
    name: &str,
    fits: fn(&DataType) -> bool,
) -> Result<PrimitiveArray<T>> {
    match boxes.column_by_name(name) {
        Some(values) if fits(values.data_type()) => cast::<T>(values, column),
        Some(values) => {
            let found = values.data_type();
            Err(Error::invalid(format!(
                "field {name:?} of the boxes in column {column:?} cannot be {found}"
            )))
        }
        None => Err(Error::invalid(format!(
            "the boxes in column {column:?} have no field {name:?}"
        ))),
    }
}
