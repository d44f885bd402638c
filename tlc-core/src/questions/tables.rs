//! Which table the rows of a stream are of.

use arrow::array::{Array as _, ArrayRef, AsArray as _, PrimitiveArray, StringArray};
use arrow::datatypes::Int32Type;

use crate::error::{Error, Result};

/// The column `table` of rows: for each row the place of its name among the names.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is of another type.
pub(crate) fn table_names(tables: &ArrayRef) -> Result<(&PrimitiveArray<Int32Type>, &StringArray)> {
    let wrong = || Error::corrupt("the table of the rows is of another type");
    let names = tables.as_dictionary_opt::<Int32Type>().ok_or_else(wrong)?;
    let texts = names.values().as_string_opt::<i32>().ok_or_else(wrong)?;
    Ok((names.keys(), texts))
}

/// The one table that rows are of, as far as they name any. What is said of row ids is said of the rows of a table, so where that
/// is to be acted upon, rows of several tables are refused.
#[derive(Debug, Default)]
pub(crate) struct OneTable(Option<String>);

impl OneTable {
    /// Takes in rows, by their column `table`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming two tables, if there are rows of both.
    pub(crate) fn add(&mut self, names: &ArrayRef) -> Result<()> {
        let (keys, texts) = table_names(names)?;
        let mut is_met = vec![false; texts.len()];
        for key in keys.iter().flatten() {
            let met = usize::try_from(key)
                .ok()
                .and_then(|key| is_met.get_mut(key));
            met.into_iter().for_each(|met| *met = true);
        }
        let met = texts.iter().zip(is_met).filter(|(_, is_met)| *is_met);
        met.filter_map(|(name, _)| name)
            .try_for_each(|name| self.meet(name))
    }

    fn meet(&mut self, name: &str) -> Result<()> {
        match &self.0 {
            Some(other) if other != name => Err(Error::invalid(format!(
                "some rows are of table {other} and some of table {name}, so a row id is no one sample; log each table into a stream of its own"
            ))),
            Some(_) => Ok(()),
            None => {
                self.0 = Some(name.to_owned());
                Ok(())
            }
        }
    }

    /// The table, if any row names one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::DictionaryArray;

    use super::*;

    /// Epochs of the tables of rows, `-` where there is none; the one table, or what is wrong.
    fn one(epochs: &[&str]) -> String {
        let mut one = OneTable::default();
        for epoch in epochs {
            let names = epoch.split_whitespace();
            let names = names.map(|name| Some(name).filter(|name| *name != "-"));
            let names: DictionaryArray<Int32Type> = names.collect();
            if let Err(err) = one.add(&(Arc::new(names) as ArrayRef)) {
                return err.to_string();
            }
        }
        one.name().unwrap_or("-").to_owned()
    }

    #[test]
    fn rows_are_of_one_table_or_of_none() {
        assert_eq!(one(&[]), "-");
        assert_eq!(one(&["- -", ""]), "-");
        assert_eq!(one(&["a a -", "- a"]), "a");
        for epochs in [&["a b"][..], &["a -", "- b"], &["-", "a", "b"]] {
            let err = one(epochs);
            assert!(err.contains("of table a and some of table b"), "{err}");
        }
    }

    #[test]
    fn a_name_that_no_row_has_does_not_count() {
        let names: DictionaryArray<Int32Type> = ["a", "b", "b"].into_iter().collect();
        let mut one = OneTable::default();
        one.add(&(Arc::new(names.slice(1, 2)) as ArrayRef)).unwrap();
        assert_eq!(one.name(), Some("b"));
    }
}
