//! Arrays with something odd in them, of the same type as those they are made of.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, Float64Array, GenericListArray,
    OffsetSizeTrait, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};

use crate::error::Result;

/// The array with every float in it, at any depth, as `value`. What is null stays null.
pub(super) fn floats_as(values: &ArrayRef, value: f64) -> Result<ArrayRef> {
    Ok(match values.data_type() {
        float if float.is_floating() => {
            let floats: Float64Array = (0..values.len())
                .map(|row| values.is_valid(row).then_some(value))
                .collect();
            cast(&floats, float)?
        }
        DataType::FixedSizeList(item, length) => {
            let lists = values.as_fixed_size_list();
            let items = floats_as(lists.values(), value)?;
            let nulls = lists.nulls().cloned();
            let item = Arc::clone(item);
            Arc::new(FixedSizeListArray::try_new_with_length(
                item,
                *length,
                items,
                nulls,
                lists.len(),
            )?)
        }
        DataType::List(item) => lists_of::<i32>(values, item, value)?,
        DataType::LargeList(item) => lists_of::<i64>(values, item, value)?,
        DataType::Struct(fields) => {
            let structs = values.as_struct();
            let columns = structs.columns().iter();
            let columns = columns.map(|column| floats_as(column, value));
            let columns = columns.collect::<Result<_>>()?;
            Arc::new(StructArray::try_new_with_length(
                fields.clone(),
                columns,
                structs.nulls().cloned(),
                structs.len(),
            )?)
        }
        _ => Arc::clone(values),
    })
}

fn lists_of<O: OffsetSizeTrait>(
    values: &ArrayRef,
    item: &FieldRef,
    value: f64,
) -> Result<ArrayRef> {
    let lists = values.as_list::<O>();
    Ok(Arc::new(GenericListArray::<O>::try_new(
        Arc::clone(item),
        lists.offsets().clone(),
        floats_as(lists.values(), value)?,
        lists.nulls().cloned(),
    )?))
}

/// As many lists as there are, all empty; `None` if these are no lists.
pub(super) fn empty_lists(values: &ArrayRef) -> Result<Option<ArrayRef>> {
    let n_rows = values.len();
    Ok(Some(match values.data_type() {
        DataType::FixedSizeList(item, _) => {
            let none = values.as_fixed_size_list().values().slice(0, 0);
            let item = Arc::clone(item);
            Arc::new(FixedSizeListArray::try_new_with_length(
                item, 0, none, None, n_rows,
            )?)
        }
        DataType::List(item) => Arc::new(GenericListArray::<i32>::try_new(
            Arc::clone(item),
            OffsetBuffer::from_lengths(vec![0; n_rows]),
            values.as_list::<i32>().values().slice(0, 0),
            None,
        )?),
        DataType::LargeList(item) => Arc::new(GenericListArray::<i64>::try_new(
            Arc::clone(item),
            OffsetBuffer::from_lengths(vec![0; n_rows]),
            values.as_list::<i64>().values().slice(0, 0),
            None,
        )?),
        _ => return Ok(None),
    }))
}
