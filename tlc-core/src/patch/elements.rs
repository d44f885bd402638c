//! Elements of a list cell, told apart by their ids: setting one, and joining two changed lists.
//!
//! Storage knows whole cells only. An element is set by writing the cell anew, and two people who
//! change different elements of a cell are brought together when the second one commits.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, LargeListArray, ListArray, StructArray,
    new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};

use crate::error::{Error, Result};
use crate::schema::{self, ELEMENT_ID};

/// A new value for one element of one row's list, or none if it goes.
#[derive(Clone, Debug)]
pub(crate) struct ElementEdit {
    pub(crate) row_id: u64,
    pub(crate) element: i64,
    /// A struct array of one.
    pub(crate) value: Option<ArrayRef>,
}

/// The item of a column whose elements have ids, and the structs' fields.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the column is no such list.
pub(crate) fn check(field: &Field) -> Result<(&FieldRef, &Fields)> {
    if let DataType::List(item) | DataType::LargeList(item) = field.data_type()
        && let DataType::Struct(fields) = item.data_type()
        && fields
            .iter()
            .any(|field| field.name() == ELEMENT_ID && field.data_type().is_integer())
    {
        return Ok((item, fields));
    }
    Err(Error::invalid(format!(
        "the elements of column {:?} have no ids; only a list of structs with a whole-number field {ELEMENT_ID:?} is edited by element",
        field.name()
    )))
}

/// `value`, a struct, as an element of the column, under the id `element`.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the field that is missing or does not fit.
pub(crate) fn with_id(value: &ArrayRef, element: i64, field: &Field) -> Result<ArrayRef> {
    let (_, fields) = check(field)?;
    let given = value
        .as_struct_opt()
        .filter(|given| given.len() == 1 && given.is_valid(0));
    let given = given.ok_or_else(|| {
        Error::invalid(format!(
            "an element of column {:?} is given no struct",
            field.name()
        ))
    })?;
    if let Some(unknown) = given
        .fields()
        .iter()
        .find(|own| fields.find(own.name()).is_none())
    {
        return Err(Error::invalid(format!(
            "the elements of column {:?} have no field {:?}",
            field.name(),
            unknown.name()
        )));
    }
    let id: ArrayRef = Arc::new(Int64Array::from(vec![element]));
    let child = |own: &FieldRef| match given.column_by_name(own.name()) {
        _ if own.name() == ELEMENT_ID => schema::fit(&id, own),
        Some(values) => schema::fit(values, own),
        None if own.is_nullable() => Ok(new_null_array(own.data_type(), 1)),
        None => Err(Error::invalid(format!(
            "an element of column {:?} lacks its field {:?}",
            field.name(),
            own.name()
        ))),
    };
    let children = fields.iter().map(child).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(
        fields.clone(),
        children,
        None,
    )?))
}

/// A list cell, an array of one, after some edits of its elements.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if its elements have no distinct ids.
pub(crate) fn edited<'a>(
    cell: &ArrayRef,
    edits: impl Iterator<Item = &'a ElementEdit>,
    field: &Field,
) -> Result<ArrayRef> {
    let mut elements = Elements::of(cell)?.ok_or_else(|| {
        Error::invalid(format!(
            "the elements of a cell of column {:?} have no distinct ids",
            field.name()
        ))
    })?;
    for edit in edits {
        match &edit.value {
            Some(value) => elements.set(edit.element, (Arc::clone(value), 0)),
            None => elements.remove(edit.element),
        }
    }
    elements.into_cell(field)
}

/// What two changes of one list make together; `None` if both changed an element differently.
///
/// Takes our order, without what they took out, and what they added at the end.
///
/// # Errors
/// If the values cannot be put together.
pub(crate) fn joined(
    base: &ArrayRef,
    ours: &ArrayRef,
    theirs: &ArrayRef,
    field: &Field,
) -> Result<Option<ArrayRef>> {
    if check(field).is_err() || ours.is_null(0) || theirs.is_null(0) {
        return Ok(None);
    }
    let (Some(base), Some(mut ours), Some(theirs)) = (
        Elements::of(base)?,
        Elements::of(ours)?,
        Elements::of(theirs)?,
    ) else {
        return Ok(None);
    };
    for id in theirs.order.iter().chain(&base.order) {
        let (before, mine, other) = (base.value(*id), ours.value(*id), theirs.value(*id));
        if same(&before, &other) || same(&mine, &other) {
            continue;
        }
        if !same(&before, &mine) {
            return Ok(None);
        }
        match theirs.at.get(id) {
            Some(at) => ours.set(*id, at.clone()),
            None => ours.remove(*id),
        }
    }
    Ok(Some(ours.into_cell(field)?))
}

fn same(a: &Option<ArrayRef>, b: &Option<ArrayRef>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.to_data() == b.to_data(),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// The elements of a cell in order, and where the value of each lies.
#[derive(Default)]
struct Elements {
    order: Vec<i64>,
    at: BTreeMap<i64, (ArrayRef, usize)>,
}

impl Elements {
    /// The elements of a list cell; `None` if their ids are not distinct. A null has no elements.
    fn of(cell: &ArrayRef) -> Result<Option<Self>> {
        let items = match cell.data_type() {
            _ if cell.is_null(0) => return Ok(Some(Self::default())),
            DataType::LargeList(_) => cell.as_list::<i64>().value(0),
            DataType::List(_) => cell.as_list::<i32>().value(0),
            _ => return Ok(None),
        };
        let ids = items
            .as_struct_opt()
            .and_then(|items| items.column_by_name(ELEMENT_ID));
        let Some(ids) = ids else { return Ok(None) };
        let ids = arrow::compute::cast(ids, &DataType::Int64)?;
        let ids = ids.as_primitive::<Int64Type>();
        let mut elements = Self::default();
        for at in 0..items.len() {
            if ids.is_null(at) || items.is_null(at) {
                return Ok(None);
            }
            let id = ids.value(at);
            elements.order.push(id);
            elements.at.insert(id, (Arc::clone(&items), at));
        }
        Ok((elements.at.len() == elements.order.len()).then_some(elements))
    }

    fn value(&self, id: i64) -> Option<ArrayRef> {
        let (array, at) = self.at.get(&id)?;
        Some(array.slice(*at, 1))
    }

    fn set(&mut self, id: i64, value: (ArrayRef, usize)) {
        if self.at.insert(id, value).is_none() {
            self.order.push(id);
        }
    }

    fn remove(&mut self, id: i64) {
        if self.at.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
        }
    }

    fn into_cell(self, field: &Field) -> Result<ArrayRef> {
        let (item, _) = check(field)?;
        let values: Vec<&(ArrayRef, usize)> =
            self.order.iter().filter_map(|id| self.at.get(id)).collect();
        let arrays: Vec<&dyn Array> = values.iter().map(|(array, _)| array.as_ref()).collect();
        let indices: Vec<(usize, usize)> = values
            .iter()
            .enumerate()
            .map(|(n, (_, at))| (n, *at))
            .collect();
        let items = match arrays.is_empty() {
            true => new_empty_array(item.data_type()),
            false => interleave(&arrays, &indices)?,
        };
        let item = Arc::clone(item);
        Ok(match field.data_type() {
            DataType::LargeList(_) => {
                let offsets = OffsetBuffer::from_lengths([items.len()]);
                Arc::new(LargeListArray::try_new(item, offsets, items, None)?)
            }
            _ => {
                let offsets = OffsetBuffer::from_lengths([items.len()]);
                Arc::new(ListArray::try_new(item, offsets, items, None)?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Float32Array;

    use super::*;

    fn field() -> Field {
        let one = Fields::from(vec![
            Field::new(ELEMENT_ID, DataType::Int64, false),
            Field::new("x", DataType::Float32, true),
        ]);
        let item = Arc::new(Field::new_list_field(DataType::Struct(one), true));
        Field::new("boxes", DataType::List(item), true)
    }

    /// A struct as `id=x`.
    fn structs(text: &str) -> ArrayRef {
        let field = field();
        let (_, fields) = check(&field).unwrap();
        let pairs = text
            .split_whitespace()
            .map(|pair| pair.split_once('=').unwrap());
        let (ids, xs): (Vec<i64>, Vec<f32>) = pairs
            .map(|(id, x)| (id.parse::<i64>().unwrap(), x.parse::<f32>().unwrap()))
            .unzip();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Float32Array::from(xs)),
        ];
        Arc::new(StructArray::new(fields.clone(), columns, None))
    }

    /// A cell as `id=x …`; `-` is null.
    fn cell(text: &str) -> ArrayRef {
        if text == "-" {
            return new_null_array(field().data_type(), 1);
        }
        let (items, field) = (structs(text), field());
        let (item, _) = check(&field).unwrap();
        let offsets = OffsetBuffer::from_lengths([items.len()]);
        Arc::new(ListArray::new(Arc::clone(item), offsets, items, None))
    }

    fn shown(cell: &ArrayRef) -> String {
        let items = cell.as_list::<i32>().value(0);
        let (ids, xs) = (items.as_struct().column(0), items.as_struct().column(1));
        let ids = ids.as_primitive::<Int64Type>().values();
        let xs = xs.as_primitive::<arrow::datatypes::Float32Type>().values();
        let shown = ids.iter().zip(xs).map(|(id, x)| format!("{id}={x}"));
        shown.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_element_is_set_added_or_taken_out() {
        let check = |before: &str, element: i64, value: Option<&str>, after: &str| {
            let value = value.map(|text| with_id(&structs(text), element, &field()).unwrap());
            let edit = ElementEdit {
                row_id: 1,
                element,
                value,
            };
            let found = edited(&cell(before), std::iter::once(&edit), &field()).unwrap();
            assert_eq!(shown(&found), after);
        };
        check("1=1 2=2", 2, Some("0=9"), "1=1 2=9");
        check("1=1", 7, Some("0=9"), "1=1 7=9");
        check("-", 7, Some("0=9"), "7=9");
        check("1=1 2=2", 1, None, "2=2");
        check("1=1", 1, None, "");
        check("1=1", 5, None, "1=1");
    }

    #[test]
    fn changes_of_different_elements_come_together() {
        let check = |base: &str, ours: &str, theirs: &str, expected: Option<&str>| {
            let found = joined(&cell(base), &cell(ours), &cell(theirs), &field()).unwrap();
            assert_eq!(
                found.as_ref().map(shown).as_deref(),
                expected,
                "{base} | {ours} | {theirs}"
            );
        };
        check("1=1 2=2", "1=5 2=2", "1=1 2=6", Some("1=5 2=6"));
        check("1=1 2=2", "2=2", "1=1 2=6", Some("2=6"));
        check("1=1", "1=1 2=2", "1=1 3=3", Some("1=1 2=2 3=3"));
        check("-", "2=2", "3=3", Some("2=2 3=3"));
        check("1=1 2=2", "1=1", "2=2", Some(""));
        check("1=1", "1=5", "1=5", Some("1=5"));
        check("1=1", "1=5", "1=6", None);
        check("1=1", "", "1=6", None);
        check("1=1", "1=1 2=2", "1=1 2=3", None);
        check("1=1", "-", "1=2", None);
        check("1=1 1=2", "1=5 1=2", "1=1 1=6", None);
    }

    #[test]
    fn elements_need_ids() {
        let floats = Field::new(
            "v",
            DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true))),
            true,
        );
        assert!(
            with_id(&structs("0=1"), 1, &floats)
                .unwrap_err()
                .to_string()
                .contains("\"v\"")
        );
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        assert!(with_id(&ids, 1, &field()).is_err(), "no struct");
    }
}
