//! The sparse read: new values of some cells over the values of many.
//!
//! An [`Overlay`] is all that edits, however many revisions ago, mean for one column: row ids in
//! order and their values. Reading through it costs a search of the batch's first and last id, and a
//! copy of the column only where a cell of it is set; everything else passes through untouched.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, BooleanBufferBuilder, MutableArrayData,
    PrimitiveArray, UInt64Array, downcast_primitive_array, make_array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{concat, take};

use crate::error::{Error, Result};

/// New values for some rows of one column; later ones have replaced earlier ones.
#[derive(Clone, Debug)]
pub(crate) struct Overlay {
    /// Strictly increasing.
    row_ids: Vec<u64>,
    /// One for each row id.
    values: ArrayRef,
}

impl Overlay {
    /// Folds edits into one; of two values for a row the later chunk's wins, and within a chunk the
    /// later position's.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if ids and values of a chunk differ in
    /// number; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the values differ in type.
    pub(crate) fn fold(chunks: &[(Vec<u64>, ArrayRef)]) -> Result<Option<Self>> {
        if let Some((ids, values)) = chunks
            .iter()
            .find(|(ids, values)| ids.len() != values.len())
        {
            return Err(Error::corrupt(format!(
                "an edit has {} row ids and {} values",
                ids.len(),
                values.len()
            )));
        }
        let ids: Vec<u64> = chunks
            .iter()
            .flat_map(|(ids, _)| ids.iter().copied())
            .collect();
        if ids.is_empty() {
            return Ok(None);
        }
        let values: Vec<&dyn Array> = chunks.iter().map(|(_, values)| values.as_ref()).collect();
        let values = concat(&values)?;
        if ids.is_sorted_by(|a, b| a < b) {
            return Ok(Some(Self {
                row_ids: ids,
                values,
            }));
        }
        let mut order: Vec<u64> = (0..ids.len() as u64).collect();
        let id_at = |position: u64| {
            usize::try_from(position)
                .ok()
                .and_then(|position| ids.get(position))
                .copied()
        };
        // Stable, so among equal ids the last position is the latest value.
        order.sort_by_key(|position| id_at(*position));
        let mut latest: Vec<u64> = Vec::with_capacity(order.len());
        for position in order {
            match latest.last_mut() {
                Some(last) if id_at(*last) == id_at(position) => *last = position,
                _ => latest.push(position),
            }
        }
        let row_ids = latest
            .iter()
            .filter_map(|position| id_at(*position))
            .collect();
        Ok(Some(Self {
            row_ids,
            values: take(&values, &UInt64Array::from(latest), None)?,
        }))
    }

    /// These values with `newer` ones over them. Costs one copy of both.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the values differ in type.
    pub(crate) fn under(&self, newer: &Self) -> Result<Self> {
        let both = [self, newer]
            .map(|overlay| (overlay.row_ids.clone(), ArrayRef::clone(&overlay.values)));
        Ok(Self::fold(&both)?.unwrap_or_else(|| newer.clone()))
    }

    /// The values of the rows that `keep` says, if any are left.
    ///
    /// # Errors
    /// None in practice: positions are within the values.
    pub(crate) fn filtered(&self, mut keep: impl FnMut(u64) -> bool) -> Result<Option<Self>> {
        let kept = self
            .row_ids
            .iter()
            .enumerate()
            .filter(|(_, row_id)| keep(**row_id));
        let (positions, row_ids): (Vec<u64>, Vec<u64>) =
            kept.map(|(at, id)| (at as u64, *id)).unzip();
        if row_ids.is_empty() {
            return Ok(None);
        }
        if row_ids.len() == self.row_ids.len() {
            return Ok(Some(self.clone()));
        }
        Ok(Some(Self {
            values: take(&self.values, &UInt64Array::from(positions), None)?,
            row_ids,
        }))
    }

    /// Values in any order of rows, each row once.
    ///
    /// # Errors
    /// As [`Self::fold`].
    pub(crate) fn of(row_ids: Vec<u64>, values: ArrayRef) -> Result<Option<Self>> {
        Self::fold(&[(row_ids, values)])
    }

    /// Other values, one for each row, for the same rows.
    pub(crate) fn with_values(self, values: ArrayRef) -> Self {
        Self { values, ..self }
    }

    /// The rows that have a new value, in order.
    pub(crate) fn row_ids(&self) -> &[u64] {
        &self.row_ids
    }

    /// The new values, in the order of the rows.
    pub(crate) fn values(&self) -> &ArrayRef {
        &self.values
    }

    /// The new value of a row, as an array of one.
    pub(crate) fn get(&self, row_id: u64) -> Option<ArrayRef> {
        self.row_ids
            .binary_search(&row_id)
            .ok()
            .map(|at| self.values.slice(at, 1))
    }

    /// The rows of `ids` that have a new value, in order.
    pub(crate) fn row_ids_in(&self, ids: &Range<u64>) -> &[u64] {
        let start = self.row_ids.partition_point(|id| *id < ids.start);
        let end = self.row_ids.partition_point(|id| *id < ids.end);
        self.row_ids.get(start..end).unwrap_or_default()
    }

    /// Whether the row has a new value.
    pub(crate) fn sets(&self, row_id: u64) -> bool {
        self.row_ids.binary_search(&row_id).is_ok()
    }

    /// How many of `row_ids`, which are strictly increasing, have a new value.
    pub(crate) fn n_set(&self, row_ids: &[u64]) -> u64 {
        let (Some(first), Some(last)) = (row_ids.first(), row_ids.last()) else {
            return 0;
        };
        let own = self.row_ids_in(&(*first..last.saturating_add(1)));
        if are_consecutive(row_ids) {
            return own.len() as u64;
        }
        let set = own
            .iter()
            .filter(|id| position(row_ids, *first, **id).is_some());
        set.count() as u64
    }

    /// Reads `base` as if the new values had been written into it.
    ///
    /// `row_ids` are the ids of `base`'s rows, strictly increasing. Rows of the overlay that are not
    /// among them are passed over. Costs two searches where no row is set, and no copy where all are; else one
    /// copy of `base`: at once where values have one width, in runs between the cells set where they have not.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the types differ.
    pub(crate) fn apply(&self, row_ids: &[u64], base: &ArrayRef) -> Result<ArrayRef> {
        let (Some(first), Some(last)) = (row_ids.first(), row_ids.last()) else {
            return Ok(ArrayRef::clone(base));
        };
        let start = self.row_ids.partition_point(|id| id < first);
        let end = self.row_ids.partition_point(|id| id <= last);
        if start == end {
            return Ok(ArrayRef::clone(base));
        }
        if base.data_type() != self.values.data_type() {
            let (have, set) = (base.data_type(), self.values.data_type());
            return Err(Error::invalid(format!(
                "cells of type {set} cannot be set in a column of type {have}"
            )));
        }
        let own = self.row_ids.get(start..end).unwrap_or_default();
        let set = self.values.slice(start, end - start);
        if own == row_ids {
            return Ok(set);
        }
        let places = places(row_ids, own);
        let (base, set) = (base.as_ref(), set.as_ref());
        downcast_primitive_array!(
            base => Ok(Arc::new(scattered(base, set.as_primitive(), &places)) as ArrayRef),
            _ => woven(base, set, &places)
        )
    }
}

/// Where the rows that both have are in `row_ids` and in `set_ids`, each ascending.
fn places(row_ids: &[u64], set_ids: &[u64]) -> Vec<(usize, usize)> {
    if let Some(first) = row_ids.first().filter(|_| are_consecutive(row_ids)) {
        let place =
            |(at, id): (usize, &u64)| Some((usize::try_from(id.checked_sub(*first)?).ok()?, at));
        return set_ids.iter().enumerate().filter_map(place).collect();
    }
    let mut places = vec![(0, 0); set_ids.len() + 1];
    let (mut row, mut at, mut n) = (0, 0, 0);
    // No branch depends on which id comes next: nobody could guess it.
    while let (Some(own), Some(set), Some(place)) =
        (row_ids.get(row), set_ids.get(at), places.get_mut(n))
    {
        *place = (row, at);
        n += usize::from(own == set);
        row += usize::from(own <= set);
        at += usize::from(set <= own);
    }
    places.truncate(n);
    places
}

/// A copy of `base` with the values of `set` put where its rows are.
fn scattered<T: ArrowPrimitiveType>(
    base: &PrimitiveArray<T>,
    set: &PrimitiveArray<T>,
    places: &[(usize, usize)],
) -> PrimitiveArray<T> {
    let mut values = base.values().to_vec();
    for (place, at) in places {
        if let (Some(value), Some(new)) = (values.get_mut(*place), set.values().get(*at)) {
            *value = *new;
        }
    }
    let mut nulls = None;
    if base.null_count() + set.null_count() > 0 {
        let mut valid = BooleanBufferBuilder::new(base.len());
        match base.nulls() {
            Some(nulls) => valid.append_buffer(nulls.inner()),
            None => valid.append_n(base.len(), true),
        }
        for (place, at) in places {
            valid.set_bit(*place, set.is_valid(*at));
        }
        nulls = Some(NullBuffer::new(valid.finish()));
    }
    PrimitiveArray::new(values.into(), nulls).with_data_type(base.data_type().clone())
}

/// The same for values of any type: runs of `base`, and between them one cell of `set` each.
fn woven(base: &dyn Array, set: &dyn Array, places: &[(usize, usize)]) -> Result<ArrayRef> {
    let (base_data, set_data) = (base.to_data(), set.to_data());
    let mut out = MutableArrayData::new(vec![&base_data, &set_data], false, base.len());
    let mut copied = 0;
    for (place, at) in places {
        out.try_extend(0, copied, *place)?;
        out.try_extend(1, *at, at + 1)?;
        copied = place + 1;
    }
    out.try_extend(0, copied, base.len())?;
    Ok(make_array(out.freeze()))
}

/// Whether none is left out between the first and the last of `row_ids`, strictly increasing.
fn are_consecutive(row_ids: &[u64]) -> bool {
    match (row_ids.first(), row_ids.last()) {
        (Some(first), Some(last)) => last - first == row_ids.len() as u64 - 1,
        _ => true,
    }
}

/// Where `row_id` is in `row_ids`: at once if they are consecutive, else by search.
fn position(row_ids: &[u64], first: u64, row_id: u64) -> Option<usize> {
    let guess = usize::try_from(row_id - first).ok()?;
    if row_ids.get(guess) == Some(&row_id) {
        return Some(guess);
    }
    row_ids.binary_search(&row_id).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{AsArray as _, Int32Array, StringArray};
    use arrow::datatypes::Int32Type;
    use proptest::prelude::*;

    use super::*;

    fn ints(values: &[i32]) -> ArrayRef {
        Arc::new(Int32Array::from(values.to_vec()))
    }

    /// `edits` as `id=value …`, one string a chunk; `rows` as ids, each row's base value being -id.
    #[track_caller]
    fn check(edits: &[&str], rows: &[u64], expected: &[i32]) {
        let chunk = |text: &&str| {
            let pairs = text
                .split_whitespace()
                .map(|pair| pair.split_once('=').unwrap());
            let (ids, values): (Vec<u64>, Vec<i32>) = pairs
                .map(|(id, value)| (id.parse::<u64>().unwrap(), value.parse::<i32>().unwrap()))
                .unzip();
            (ids, ints(&values))
        };
        let chunks: Vec<_> = edits.iter().map(chunk).collect();
        let base = ints(
            &rows
                .iter()
                .map(|id| -i32::try_from(*id).unwrap())
                .collect::<Vec<_>>(),
        );
        let read = match Overlay::fold(&chunks).unwrap() {
            Some(overlay) => overlay.apply(rows, &base).unwrap(),
            None => base,
        };
        assert_eq!(read.as_primitive::<Int32Type>().values().to_vec(), expected);
    }

    #[test]
    fn no_edit_changes_nothing() {
        check(&[], &[1, 2], &[-1, -2]);
        check(&["9=1 0=1"], &[1, 2], &[-1, -2]);
        check(&["2=5"], &[], &[]);
    }

    #[test]
    fn set_cells_are_read_and_others_stay() {
        check(&["2=20"], &[1, 2, 3], &[-1, 20, -3]);
        check(&["1=10 3=30"], &[1, 2, 3], &[10, -2, 30]);
        check(&["5=50 6=60"], &[1, 5, 9], &[-1, 50, -9]);
    }

    #[test]
    fn the_later_edit_of_a_cell_wins() {
        check(&["1=10", "1=11"], &[1], &[11]);
        check(&["1=10 1=12"], &[1], &[12]);
        check(&["7=70 1=10", "1=11 3=30"], &[1, 3, 7], &[11, 30, 70]);
    }

    #[test]
    fn a_batch_without_a_set_cell_keeps_its_buffers() {
        let overlay = Overlay::fold(&[(vec![100], ints(&[1]))]).unwrap().unwrap();
        let base = ints(&[1, 2, 3]);
        let read = overlay.apply(&[1, 2, 3], &base).unwrap();
        assert!(Arc::ptr_eq(&read, &base));
    }

    #[test]
    fn nulls_and_text_can_be_set() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![Some("new"), None]));
        let overlay = Overlay::fold(&[(vec![1, 2], values)]).unwrap().unwrap();
        let base: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
        let read = overlay.apply(&[1, 2, 3], &base).unwrap();
        assert_eq!(
            read.as_string::<i32>(),
            &StringArray::from(vec![Some("new"), None, Some("c")])
        );
    }

    #[test]
    fn numbers_become_null_and_nulls_become_numbers() {
        let values: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(20), Some(90)]));
        let overlay = Overlay::fold(&[(vec![1, 2, 9], values)]).unwrap().unwrap();
        let base: ArrayRef = Arc::new(Int32Array::from(vec![Some(-7), Some(-1), None, None]));
        let read = |rows: &[u64], base: &ArrayRef| {
            let read = overlay.apply(rows, base).unwrap();
            read.as_primitive::<Int32Type>().iter().collect::<Vec<_>>()
        };
        assert_eq!(read(&[0, 1, 2, 3], &base), [Some(-7), None, Some(20), None]);
        // The row 2 is not among these, and the first row of the slice has a bit of its own.
        assert_eq!(read(&[1, 3, 9], &base.slice(1, 3)), [None, None, Some(90)]);
        assert_eq!(read(&[2, 3], &ints(&[1, 2])), [Some(20), Some(2)]);
    }

    #[test]
    fn a_number_keeps_its_type() {
        let at = |at: i64| -> ArrayRef {
            Arc::new(arrow::array::TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC"))
        };
        let overlay = Overlay::fold(&[(vec![5], at(2))]).unwrap().unwrap();
        assert_eq!(&overlay.apply(&[5], &at(1)).unwrap(), &at(2));
    }

    proptest! {
        #[test]
        fn folding_all_edits_reads_as_applying_them_in_turn(
            chunks in prop::collection::vec(prop::collection::vec((0_u64..40, any::<i32>()), 1..8), 1..6),
            rows in prop::collection::btree_set(0_u64..40, 0..40),
        ) {
            let rows: Vec<u64> = rows.into_iter().collect();
            let base = ints(&vec![7; rows.len()]);
            let chunks: Vec<(Vec<u64>, ArrayRef)> = chunks
                .into_iter()
                .map(|chunk| { let (ids, values): (Vec<_>, Vec<_>) = chunk.into_iter().unzip(); (ids, ints(&values)) })
                .collect();
            let folded = Overlay::fold(&chunks).unwrap().unwrap().apply(&rows, &base).unwrap();
            let mut in_turn = base;
            for chunk in chunks {
                in_turn = Overlay::fold(&[chunk]).unwrap().unwrap().apply(&rows, &in_turn).unwrap();
            }
            prop_assert_eq!(&folded, &in_turn);
        }
    }
}
