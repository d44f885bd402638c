//! One value, of any type.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array,
    NullArray, StringArray, UInt64Array,
};
use arrow::datatypes::Field;

use crate::error::{Error, Result};
use crate::schema;

/// One value of a cell, of any type; it is cast to the column's where nothing is lost.
///
/// For a label a class's name will do: `"cat"` is stored as the integer of the class `cat`.
#[derive(Clone, Debug)]
pub struct Value(pub(super) ArrayRef);

impl Value {
    /// No value.
    #[must_use]
    pub fn null() -> Self {
        Self(Arc::new(NullArray::new(1)))
    }

    /// The value in the type of a column.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it does not fit.
    pub(crate) fn fit(&self, field: &Field) -> Result<ArrayRef> {
        schema::fit(&self.0, field)
    }

    /// The first row of an array, of any type.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the array is empty.
    pub fn first_of(values: &ArrayRef) -> Result<Self> {
        match values.len() {
            0 => Err(Error::invalid("an empty array has no value to set")),
            _ => Ok(Self(values.slice(0, 1))),
        }
    }
}

/// A value from a Rust type that has an Arrow array of its own.
macro_rules! value_from {
    ($($rust:ty => $array:ty),* $(,)?) => {$(
        impl From<$rust> for Value {
            fn from(value: $rust) -> Self {
                Self(Arc::new(<$array>::from(vec![value])))
            }
        }
    )*};
}

value_from! {
    i32 => Int32Array,
    i64 => Int64Array,
    u64 => UInt64Array,
    f32 => Float32Array,
    f64 => Float64Array,
    bool => BooleanArray,
    &str => StringArray,
    String => StringArray,
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or_else(Self::null, Into::into)
    }
}
