//! A vector of each sample, kept for looking at and reducing later.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, FixedSizeListArray, Float32Array, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::Collector;
use crate::error::{Error, Result};
use crate::schema::{self, Role};

/// Keeps one output of the model as the column `embedding`, optionally averaged to one vector.
///
/// Needs a column of `FixedSizeList<Float32>`. A tensor of more than one dimension for each sample
/// says its shape as Arrow's `arrow.fixed_shape_tensor` does; without that it is one vector. The
/// column made is such a tensor too, with the role of an embedding.
#[derive(Clone, Debug)]
pub struct Embedding {
    input: String,
    pooled: bool,
}

impl Embedding {
    /// Keeps the values of the output column `input` as they are.
    #[must_use]
    pub fn new(input: &str) -> Self {
        Self {
            input: input.to_owned(),
            pooled: false,
        }
    }

    /// Averages over all dimensions but the last: tokens × width, or height × width × channels,
    /// become one vector of the width or of the channels.
    #[must_use]
    pub fn mean(mut self) -> Self {
        self.pooled = true;
        self
    }
}

impl Collector for Embedding {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let lists = floats(outputs, &self.input)?;
        let shape = shape(outputs, &self.input, lists.value_length())?;
        let width = usize::try_from(lists.value_length()).unwrap_or(0);
        let start = usize::try_from(lists.value_offset(0)).unwrap_or(0);
        let values = lists.values().slice(start, width * lists.len());
        let (values, shape) = match (self.pooled, shape.last()) {
            (true, Some(last)) if *last > 0 => (
                Arc::new(mean(values.as_primitive(), width, *last)) as _,
                vec![*last],
            ),
            _ => (values, shape),
        };
        let field = schema::with_role(
            schema::tensor("embedding", DataType::Float32, &shape),
            Role::Embedding,
        );
        let DataType::FixedSizeList(item, length) = field.data_type() else {
            return Err(Error::invalid(format!(
                "column {:?} cannot be kept as lists",
                self.input
            )));
        };
        // Lists of no length do not say how many there are.
        let (item, n_rows) = (Arc::clone(item), lists.len());
        let lists = FixedSizeListArray::try_new_with_length(item, *length, values, None, n_rows)?;
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(vec![field])),
            vec![Arc::new(lists)],
        )?)
    }
}

/// The column `name` as lists of floats, none of them null.
pub(super) fn floats<'a>(outputs: &'a RecordBatch, name: &str) -> Result<&'a FixedSizeListArray> {
    let column = outputs
        .column_by_name(name)
        .ok_or_else(|| Error::invalid(format!("the outputs have no column {name:?}")))?;
    let lists = column
        .as_fixed_size_list_opt()
        .filter(|lists| lists.value_type() == DataType::Float32);
    let Some(lists) = lists else {
        let found = column.data_type();
        return Err(Error::invalid(format!(
            "column {name:?} is {found}; it must be lists of Float32 of one length"
        )));
    };
    if let Some(sample) = (0..lists.len()).find(|sample| lists.is_null(*sample)) {
        return Err(Error::invalid(format!(
            "column {name:?} has no values for sample {sample} of the batch"
        )));
    }
    if lists.values().null_count() > 0 {
        return Err(Error::invalid(format!(
            "column {name:?} has nulls inside its lists; use NaN for no value"
        )));
    }
    Ok(lists)
}

/// The shape that the field's extension states, or the one dimension that there is.
fn shape(outputs: &RecordBatch, name: &str, length: i32) -> Result<Vec<usize>> {
    let outputs = outputs.schema();
    let field = outputs.field_with_name(name)?;
    match (schema::shape(field), field.extension_type_name()) {
        (Some(shape), _) => Ok(shape),
        (None, None) => Ok(vec![usize::try_from(length).unwrap_or(0)]),
        (None, Some(_)) => Err(Error::invalid(format!(
            "the extension of column {name:?} is not the shape of a tensor of {length} values"
        ))),
    }
}

/// Averages each `width` values to `last` ones. The sums are of 64 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "embeddings are Float32"
)]
fn mean(values: &Float32Array, width: usize, last: usize) -> Float32Array {
    let n_vectors = (width / last) as f64;
    let mut means = Vec::with_capacity(values.len() / width.max(1) * last);
    let mut sums = vec![0.0_f64; last];
    for sample in values.values().chunks_exact(width) {
        sums.fill(0.0);
        for vector in sample.chunks_exact(last) {
            for (sum, value) in sums.iter_mut().zip(vector) {
                *sum += f64::from(*value);
            }
        }
        means.extend(sums.iter().map(|sum| (sum / n_vectors) as f32));
    }
    Float32Array::from(means)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Float32Type};

    use super::*;

    /// Two samples of six values, 0…5 and 6…11.
    fn outputs(shape: Option<&str>) -> RecordBatch {
        let values = Float32Array::from_iter_values((0_u8..12).map(f32::from));
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let lists = FixedSizeListArray::new(item, 6, Arc::new(values), None);
        let metadata = shape.into_iter().flat_map(|shape| {
            let name = (
                "ARROW:extension:name".to_owned(),
                "arrow.fixed_shape_tensor".to_owned(),
            );
            [
                name,
                (
                    "ARROW:extension:metadata".to_owned(),
                    format!("{{\"shape\":{shape}}}"),
                ),
            ]
        });
        let field = Field::new("hidden", lists.data_type().clone(), false)
            .with_metadata(metadata.collect());
        RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(lists)]).unwrap()
    }

    fn values(batch: &RecordBatch) -> String {
        let lists = batch
            .column_by_name("embedding")
            .unwrap()
            .as_fixed_size_list();
        let rows = (0..lists.len()).map(|row| {
            let row = lists.value(row);
            row.as_primitive::<Float32Type>()
                .values()
                .iter()
                .map(f32::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        });
        rows.collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn values_are_kept_and_pooled_over_the_leading_dimensions() {
        for (shape, embedding, expected) in [
            (
                None,
                Embedding::new("hidden"),
                "0 1 2 3 4 5 | 6 7 8 9 10 11",
            ),
            (
                None,
                Embedding::new("hidden").mean(),
                "0 1 2 3 4 5 | 6 7 8 9 10 11",
            ),
            (Some("[3,2]"), Embedding::new("hidden").mean(), "2 3 | 8 9"),
            (
                Some("[1,2,3]"),
                Embedding::new("hidden").mean(),
                "1.5 2.5 3.5 | 7.5 8.5 9.5",
            ),
        ] {
            assert_eq!(
                values(&embedding.collect(&outputs(shape)).unwrap()),
                expected,
                "{shape:?}"
            );
        }
    }

    #[test]
    fn a_slice_is_read_at_its_own_offset_and_may_be_empty() {
        let pooled = Embedding::new("hidden").mean();
        assert_eq!(
            values(&pooled.collect(&outputs(Some("[3,2]")).slice(1, 1)).unwrap()),
            "8 9"
        );
        assert_eq!(
            values(&pooled.collect(&outputs(Some("[3,2]")).slice(0, 0)).unwrap()),
            ""
        );
    }

    #[test]
    fn the_column_made_says_its_shape() {
        let made = Embedding::new("hidden")
            .collect(&outputs(Some("[3,2]")))
            .unwrap();
        assert_eq!(schema::shape(made.schema().field(0)), Some(vec![3, 2]));
    }

    #[test]
    fn a_wrong_shape_and_a_missing_column_are_named() {
        let err = Embedding::new("hidden")
            .collect(&outputs(Some("[5,2]")))
            .unwrap_err()
            .to_string();
        assert!(
            err.contains("\"hidden\"") && err.contains("6 values"),
            "{err}"
        );
        let err = Embedding::new("other")
            .collect(&outputs(None))
            .unwrap_err()
            .to_string();
        assert!(err.contains("no column \"other\""), "{err}");
    }
}
