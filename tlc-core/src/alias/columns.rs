//! Aliases in columns: the same values with their paths shortened or expanded.
//!
//! Paths are the text of fields with the role image, also inside lists and structs. A column without
//! such a field, or without a path that changes, comes back as the array that it was.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, GenericListArray, GenericStringArray,
    OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::datatypes::{DataType, Field, FieldRef};

use super::Aliases;
use crate::error::{Error, Result};
use crate::schema::Role;

/// Whether values of the field hold paths.
pub(crate) fn holds_paths(field: &Field) -> bool {
    match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => Role::of(field) == Some(Role::Image),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            holds_paths(item)
        }
        DataType::Struct(fields) => fields.iter().any(|field| holds_paths(field)),
        _ => false,
    }
}

impl Aliases {
    /// The values of a column as they are stored.
    ///
    /// # Errors
    /// If the text of one array becomes longer than such an array can be.
    pub(crate) fn shorten_array(&self, values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        if self.is_empty() {
            return Ok(Arc::clone(values));
        }
        mapped(values, field, &|text| self.shorten(text))
    }

    /// The values of a column as they are read.
    ///
    /// # Errors
    /// As [`Self::shorten_array`].
    pub(crate) fn expand_array(&self, values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        if self.is_empty() {
            return Ok(Arc::clone(values));
        }
        mapped(values, field, &|text| self.expand(text))
    }

    /// The rows as they are stored.
    ///
    /// # Errors
    /// As [`Self::shorten_array`].
    pub(crate) fn shorten_batch(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let schema = batch.schema();
        if self.is_empty() || !schema.fields().iter().any(|field| holds_paths(field)) {
            return Ok(batch.clone());
        }
        let fields = schema.fields().iter().zip(batch.columns());
        let columns = fields.map(|(field, values)| self.shorten_array(values, field));
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

type Map<'a> = &'a dyn for<'t> Fn(&'t str) -> Cow<'t, str>;

/// `values` with every path mapped; the same array if no path changes.
fn mapped(values: &ArrayRef, field: &Field, map: Map<'_>) -> Result<ArrayRef> {
    if !holds_paths(field) {
        return Ok(Arc::clone(values));
    }
    match field.data_type() {
        DataType::Utf8 => mapped_text::<i32>(values, map),
        DataType::LargeUtf8 => mapped_text::<i64>(values, map),
        DataType::List(item) => mapped_list::<i32>(values, item, map),
        DataType::LargeList(item) => mapped_list::<i64>(values, item, map),
        DataType::FixedSizeList(item, length) => {
            let Some(list) = values.as_fixed_size_list_opt() else {
                return Ok(Arc::clone(values));
            };
            let items = mapped(list.values(), item, map)?;
            if Arc::ptr_eq(&items, list.values()) {
                return Ok(Arc::clone(values));
            }
            let nulls = list.nulls().cloned();
            Ok(Arc::new(FixedSizeListArray::try_new(
                Arc::clone(item),
                *length,
                items,
                nulls,
            )?))
        }
        DataType::Struct(fields) => {
            let Some(row) = values.as_struct_opt() else {
                return Ok(Arc::clone(values));
            };
            let parts = fields.iter().zip(row.columns());
            let parts = parts.map(|(field, part)| mapped(part, field, map));
            let parts = parts.collect::<Result<Vec<_>>>()?;
            let same = |(new, old): (&ArrayRef, &ArrayRef)| Arc::ptr_eq(new, old);
            if parts.iter().zip(row.columns()).all(same) {
                return Ok(Arc::clone(values));
            }
            let nulls = row.nulls().cloned();
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                parts,
                nulls,
            )?))
        }
        _ => Ok(Arc::clone(values)),
    }
}

fn mapped_list<O: OffsetSizeTrait>(
    values: &ArrayRef,
    item: &FieldRef,
    map: Map<'_>,
) -> Result<ArrayRef> {
    let Some(list) = values.as_list_opt::<O>() else {
        return Ok(Arc::clone(values));
    };
    let items = mapped(list.values(), item, map)?;
    if Arc::ptr_eq(&items, list.values()) {
        return Ok(Arc::clone(values));
    }
    let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
    Ok(Arc::new(GenericListArray::<O>::try_new(
        Arc::clone(item),
        offsets,
        items,
        nulls,
    )?))
}

fn mapped_text<O: OffsetSizeTrait>(values: &ArrayRef, map: Map<'_>) -> Result<ArrayRef> {
    let Some(texts) = values.as_string_opt::<O>() else {
        return Ok(Arc::clone(values));
    };
    let found: Vec<Option<Cow<'_, str>>> = texts.iter().map(|text| text.map(map)).collect();
    if !found
        .iter()
        .flatten()
        .any(|text| matches!(text, Cow::Owned(_)))
    {
        return Ok(Arc::clone(values));
    }
    let bytes: usize = found.iter().flatten().map(|text| text.len()).sum();
    if O::from_usize(bytes).is_none() {
        return Err(Error::invalid(
            "the paths of one batch are too long with their aliases expanded; read fewer rows at a time",
        ));
    }
    Ok(Arc::new(
        found.into_iter().collect::<GenericStringArray<O>>(),
    ))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, ListArray, StringArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use arrow::datatypes::Fields;

    use super::*;
    use crate::schema::{image_url, text};

    fn aliases() -> Aliases {
        Aliases::new().with("DISK", "/data").unwrap()
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn both_ways(long: &ArrayRef, short: &ArrayRef, field: &Field) {
        let stored = aliases().shorten_array(long, field).unwrap();
        assert_eq!(&stored, short);
        assert_eq!(&aliases().expand_array(&stored, field).unwrap(), long);
    }

    #[test]
    fn only_columns_of_images_hold_paths() {
        let long = texts(&[Some("/data/1"), None, Some("/other/1"), Some("")]);
        let short = texts(&[Some("<DISK>/1"), None, Some("/other/1"), Some("")]);
        both_ways(&long, &short, &image_url("photo"));
        both_ways(&long, &long, &text("note"));
        both_ways(&long, &long, &Field::new("note", DataType::Utf8, true));
        let large = |values| arrow::compute::cast(values, &DataType::LargeUtf8).unwrap();
        let field = image_url("photo").with_data_type(DataType::LargeUtf8);
        both_ways(&large(&long), &large(&short), &field);
    }

    #[test]
    fn a_column_in_which_no_path_changes_is_the_same_array() {
        let values = texts(&[Some("/other/1"), None]);
        let field = image_url("photo");
        let stored = aliases().shorten_array(&values, &field).unwrap();
        assert!(Arc::ptr_eq(&stored, &values));
        assert!(Arc::ptr_eq(
            &aliases().expand_array(&values, &field).unwrap(),
            &values
        ));
    }

    #[test]
    fn paths_in_lists_and_structs_are_found() {
        let fields = Fields::from(vec![
            image_url("file"),
            Field::new("n", DataType::Int32, true),
        ]);
        let item: FieldRef = Arc::new(Field::new("item", DataType::Struct(fields.clone()), true));
        let values = |files: &[Option<&str>]| -> ArrayRef {
            let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7; files.len()]));
            let nulls = NullBuffer::from(vec![true, false, true]);
            let parts = vec![texts(files), numbers];
            let rows = StructArray::try_new(fields.clone(), parts, Some(nulls)).unwrap();
            let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
            let nulls = NullBuffer::from(vec![true, false, true]);
            let list = ListArray::try_new(Arc::clone(&item), offsets, Arc::new(rows), Some(nulls));
            Arc::new(list.unwrap())
        };
        let long = values(&[Some("/data/1"), None, Some("/data/3")]);
        let short = values(&[Some("<DISK>/1"), None, Some("<DISK>/3")]);
        let field = Field::new("frames", long.data_type().clone(), true);
        both_ways(&long, &short, &field);
        let tail = aliases().shorten_array(&long.slice(2, 1), &field).unwrap();
        assert_eq!(tail.to_data(), short.slice(2, 1).to_data());
        let pair = Field::new(
            "pair",
            DataType::FixedSizeList(Arc::new(image_url("item")), 2),
            true,
        );
        let pairs = |text: &str| -> ArrayRef {
            let item = Arc::new(image_url("item"));
            let texts = texts(&[Some(text), None]);
            Arc::new(FixedSizeListArray::try_new(item, 2, texts, None).unwrap())
        };
        both_ways(&pairs("/data/1"), &pairs("<DISK>/1"), &pair);
    }
}
