//! Columns of classes: whole numbers, texts, true and false.

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::error::{Error, Result};

/// The values of a column of classes, without a dictionary.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the column and its type if that is none of
/// classes.
pub(crate) fn classes(column: &str, values: &ArrayRef) -> Result<ArrayRef> {
    let data_type = plain(values.data_type());
    if !(data_type.is_integer() || is_text(data_type) || *data_type == DataType::Boolean) {
        return Err(Error::invalid(format!(
            "column {column:?} is {data_type}, and no class: whole numbers, texts and true or false are"
        )));
    }
    match values.data_type() == data_type {
        true => Ok(Arc::clone(values)),
        false => Ok(cast(values, data_type)?),
    }
}

/// The type that is left without a dictionary.
pub(crate) fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

pub(crate) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether these are numbers, of which false is 0 and true is 1.
fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || *data_type == DataType::Boolean
}

/// Numbers, also of false and true.
fn numbered(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Boolean => Ok(cast(values, &DataType::Int8)?),
        _ => Ok(Arc::clone(values)),
    }
}

/// Two columns of classes as one type, in which equal classes are equal; beside numbers false is 0 and true is 1.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming both types if no class of one can be one of
/// the other.
pub(super) fn comparable(a: &ArrayRef, b: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    let (left, right) = (a.data_type(), b.data_type());
    if left == right {
        return Ok((Arc::clone(a), Arc::clone(b)));
    }
    let common = if is_text(left) && is_text(right) {
        DataType::LargeUtf8
    } else if !(is_number(left) && is_number(right)) {
        return Err(Error::invalid(format!(
            "labels are {left} and predictions {right}, which are never equal"
        )));
    } else if [left, right].contains(&&DataType::Boolean) {
        return comparable(&numbered(a)?, &numbered(b)?);
    } else if [left, right].contains(&&DataType::UInt64) {
        // Holds every number of 64 bits, with a sign or without.
        DataType::Decimal128(20, 0)
    } else {
        DataType::Int64
    };
    Ok((cast(a, &common)?, cast(b, &common)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        BooleanArray, DictionaryArray, Float32Array, Int8Array, Int32Array, Int64Array,
        StringArray, StringViewArray, UInt64Array,
    };
    use arrow::compute::kernels::cmp;
    use arrow::datatypes::Int32Type;

    use super::*;

    /// Which of the rows are equal, or why none can be.
    fn equal(a: &ArrayRef, b: &ArrayRef) -> String {
        match comparable(a, b) {
            Ok((a, b)) => cmp::eq(&a, &b)
                .unwrap()
                .iter()
                .map(|is| is.map_or('-', |is| if is { '=' } else { '!' }))
                .collect(),
            Err(err) => err.to_string(),
        }
    }

    #[test]
    fn classes_are_equal_whatever_type_holds_them() {
        let small: ArrayRef = Arc::new(Int8Array::from(vec![Some(1), Some(-1), None]));
        let wide: ArrayRef = Arc::new(Int64Array::from(vec![1, i64::MAX, 1]));
        let unsigned: ArrayRef = Arc::new(UInt64Array::from(vec![1, u64::MAX, 1]));
        assert_eq!(equal(&small, &wide), "=!-");
        assert_eq!(equal(&small, &unsigned), "=!-");
        let is_so: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
        assert_eq!(equal(&is_so, &small), "=!-");
        assert_eq!(equal(&unsigned, &is_so), "=!=");
        assert_eq!(equal(&is_so, &is_so), "===");
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let view: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "x", "c"]));
        assert_eq!(equal(&text, &view), "=!=");
        assert_eq!(
            equal(&small, &text),
            "labels are Int8 and predictions Utf8, which are never equal"
        );
    }

    #[test]
    fn a_dictionary_is_what_it_stands_for_and_floats_are_no_classes() {
        let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
        let found = classes("x", &(Arc::new(dictionary) as ArrayRef)).unwrap();
        assert_eq!(found.data_type(), &DataType::Utf8);
        let kept: [ArrayRef; 2] = [
            Arc::new(Int32Array::from(vec![1])),
            Arc::new(BooleanArray::from(vec![true])),
        ];
        for kept in kept {
            assert_eq!(&classes("x", &kept).unwrap(), &kept);
        }
        let floats: ArrayRef = Arc::new(Float32Array::from(vec![1.0]));
        let err = classes("score", &floats).unwrap_err();
        assert!(err.to_string().contains("\"score\" is Float32"), "{err}");
    }
}
