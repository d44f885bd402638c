//! Sample metrics of a model that predicts numbers.

use arrow::array::{Array as _, Float32Builder, Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};

use super::columns::{Lists, column, is_number, metric, narrow, numbers, record, same_length};
use super::epoch::Spread;
use super::{Aggregate, Collector};
use crate::error::{Error, Result};

/// How far each prediction of a batch is from its target.
///
/// Needs the columns `prediction` and `target`, both numbers or both lists of numbers of any type;
/// the lists of a sample must be of one length. With `e` the prediction less the target, computed
/// in 64 bits, it makes these columns:
///
/// | column | type | of a number | of a list |
/// |---|---|---|---|
/// | `error` | Float32 | `e` | there is no such column |
/// | `absolute_error` | Float32 | `abs(e)` | the mean of `abs(e)` |
/// | `squared_error` | Float32 | `e²` | the mean of `e²` |
///
/// Their means over samples are the mean absolute error and the mean squared error, logged as `mae`
/// and `mse`. A sample without a target has nulls, as has one with empty lists. NaN gives NaN, as
/// does an infinity less the same infinity; what is too large for 32 bits is infinite.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column is missing or of another
/// type, a prediction is null, or lists are of different lengths or have nulls; the message names
/// the column or the sample's position.
#[derive(Clone, Copy, Debug, Default)]
pub struct Regression;

impl Collector for Regression {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        match is_number(column(outputs, "prediction")?.data_type()) {
            true => of_numbers(
                &numbers(outputs, "prediction")?,
                &numbers(outputs, "target")?,
            ),
            false => of_lists(outputs),
        }
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[("absolute_error", "mae"), ("squared_error", "mse")]
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        vec![Spread::of("absolute_error")]
    }
}

fn of_numbers(predictions: &Float64Array, targets: &Float64Array) -> Result<RecordBatch> {
    let mut errors = Float32Builder::new();
    let mut absolute = Float32Builder::new();
    let mut squared = Float32Builder::new();
    for (sample, (prediction, target)) in predictions.iter().zip(targets).enumerate() {
        let Some(prediction) = prediction else {
            return Err(Error::invalid(format!(
                "column \"prediction\" has no value for sample {sample} of the batch"
            )));
        };
        let error = target.map(|target| prediction - target);
        errors.append_option(error.map(narrow));
        absolute.append_option(error.map(|error| narrow(error.abs())));
        squared.append_option(error.map(|error| narrow(error * error)));
    }
    record(vec![
        metric("error", errors.finish()),
        metric("absolute_error", absolute.finish()),
        metric("squared_error", squared.finish()),
    ])
}

fn of_lists(outputs: &RecordBatch) -> Result<RecordBatch> {
    let read = |name| Lists::<Float64Type>::read(outputs, name, DataType::is_numeric, "numbers");
    let (predictions, targets) = (read("prediction")?, read("target")?);
    let mut absolute = Float32Builder::new();
    let mut squared = Float32Builder::new();
    for sample in 0..outputs.num_rows() {
        let prediction = predictions.required(sample)?;
        let Some(target) = targets.complete(sample)? else {
            absolute.append_null();
            squared.append_null();
            continue;
        };
        same_length(sample, prediction.len(), target.len())?;
        let errors = || prediction.iter().zip(target).map(|(p, t)| p - t);
        absolute.append_option(mean(errors().map(f64::abs)).map(narrow));
        squared.append_option(mean(errors().map(|error| error * error)).map(narrow));
    }
    record(vec![
        metric("absolute_error", absolute.finish()),
        metric("squared_error", squared.finish()),
    ])
}

/// `None` of nothing.
fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    (n > 0.0).then(|| sum / n)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;

    use super::super::cases::{check, list, lists_of, outputs, refused};
    use super::*;

    fn scalars(prediction: DataType, target: DataType, lines: &str) -> RecordBatch {
        let fields = [
            Field::new("prediction", prediction, true),
            Field::new("target", target, true),
        ];
        outputs(&fields, lines)
    }

    fn lists(lines: &str) -> RecordBatch {
        let fields = [
            lists_of("prediction", DataType::Float32, 2),
            list("target", DataType::Float64),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn numbers_have_signed_errors() {
        let batch = scalars(
            DataType::Float32,
            DataType::Float64,
            r#"{"prediction":3,"target":1}
               {"prediction":1,"target":3.5}
               {"prediction":-2,"target":-2}
               {"prediction":1}
               {"prediction":"NaN","target":1}
               {"prediction":"inf","target":1}
               {"prediction":"inf","target":"inf"}
               {"prediction":0,"target":1e30}"#,
        );
        check(
            &Regression,
            &batch,
            &[
                "error=2.0000 absolute_error=2.0000 squared_error=4.0000",
                "error=-2.5000 absolute_error=2.5000 squared_error=6.2500",
                "error=0.0000 absolute_error=0.0000 squared_error=0.0000",
                "error=- absolute_error=- squared_error=-",
                "error=NaN absolute_error=NaN squared_error=NaN",
                "error=inf absolute_error=inf squared_error=inf",
                "error=NaN absolute_error=NaN squared_error=NaN",
                &format!(
                    "error={:.4} absolute_error={:.4} squared_error=inf",
                    -1e30_f32, 1e30_f32
                ),
            ],
        );
    }

    #[test]
    fn targets_larger_than_32_bits_are_not_rounded_before_they_are_compared() {
        let line = r#"{"prediction":1700000001.5,"target":1700000000}"#;
        check(
            &Regression,
            &scalars(DataType::Float64, DataType::Int64, line),
            &["error=1.5000 absolute_error=1.5000 squared_error=2.2500"],
        );
    }

    #[test]
    fn lists_have_means() {
        let batch = lists(
            r#"{"prediction":[1,2],"target":[2,5]}
               {"prediction":[1,2],"target":[1,2]}
               {"prediction":[1,2]}
               {"prediction":["NaN",2],"target":[0,0]}"#,
        );
        check(
            &Regression,
            &batch,
            &[
                "absolute_error=2.0000 squared_error=5.0000",
                "absolute_error=0.0000 squared_error=0.0000",
                "absolute_error=- squared_error=-",
                "absolute_error=NaN squared_error=NaN",
            ],
        );
        let empty = [
            list("prediction", DataType::Int8),
            list("target", DataType::Int8),
        ];
        let empty = outputs(&empty, r#"{"prediction":[],"target":[]}"#);
        check(&Regression, &empty, &["absolute_error=- squared_error=-"]);
    }

    #[test]
    fn bad_outputs_are_named() {
        let number = |lines| scalars(DataType::Float32, DataType::Float32, lines);
        let text = scalars(
            DataType::Float32,
            DataType::Utf8,
            r#"{"prediction":1,"target":"a"}"#,
        );
        let one = r#"{"prediction":[1,2],"target":[2,5]}"#;
        let cases = [
            (
                number(r#"{"prediction":1,"target":1} {"target":1}"#),
                "no value for sample 1",
            ),
            (text, "column \"target\" is Utf8"),
            (
                lists(&format!(r#"{one} {{"prediction":[1,2],"target":[2]}}"#)),
                "sample 1 of the batch has 2",
            ),
            (
                lists(&format!(
                    r#"{one} {{"prediction":[1,null],"target":[2,1]}}"#
                )),
                "value at 1 in the list of sample 1",
            ),
            (
                lists(&format!(r#"{one} {{"target":[2,1]}}"#)),
                "\"prediction\" has no values for sample 1",
            ),
        ];
        for (outputs, expected) in cases {
            refused(&Regression, &outputs, expected);
        }
        let alone = outputs(
            &[Field::new("prediction", DataType::Float32, true)],
            r#"{"prediction":1}"#,
        );
        refused(&Regression, &alone, "no column \"target\"");
    }
}
