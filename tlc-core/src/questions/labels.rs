//! The label of each row of an epoch: a column of the stream, or of the table that the row ids are of.

use std::collections::BTreeMap;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, Int64Array, PrimitiveArray, RecordBatch,
    StringArray, UInt64Array, new_null_array,
};
use arrow::compute::{concat, take};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, UInt64Type};

use super::classes::plain;
use super::samples::{find, is_same};
use super::tables::{OneTable, table_names};
use crate::error::{Error, Result};
use crate::id::{ROWID, Revision, TableName};
use crate::log::Log;
use crate::project::Project;
use crate::run::{EpochColumns, Epochs};
use crate::table::ScanOptions;

/// Where the labels of a stream are.
pub(crate) struct Labels<'a> {
    project: &'a Project,
    epochs: &'a Epochs,
    column: &'a str,
    at: Option<&'a str>,
    is_in_stream: bool,
    /// The column that they are from, once one was read.
    field: Option<Field>,
    /// What was read of tables: row ids and labels, by table and revision.
    tables: BTreeMap<Source, RecordBatch>,
    /// The table that all rows are of, if they must be of one.
    one: Option<OneTable>,
}

/// A table, and its revision unless that is the same for all.
type Source = (String, Option<i64>);

impl<'a> Labels<'a> {
    /// Looks whether the stream has the column. `at` says that the labels are those of the table at
    /// that revision.
    ///
    /// # Errors
    /// Those of [`Epochs::has`].
    pub(crate) async fn new(
        project: &'a Project,
        epochs: &'a Epochs,
        column: &'a str,
        at: Option<&'a str>,
    ) -> Result<Self> {
        Ok(Self {
            project,
            epochs,
            column,
            at,
            is_in_stream: at.is_none() && epochs.has(column).await?,
            field: None,
            tables: BTreeMap::new(),
            one: None,
        })
    }

    /// The same of rows that are all of one table: others are refused.
    pub(crate) fn of_one_table(mut self) -> Self {
        self.one = Some(OneTable::default());
        self
    }

    /// What to read of each epoch: the predictions first, then what [`Self::of`] needs.
    pub(crate) fn columns<'b>(&self, predicted: &'b str) -> Vec<&'b str>
    where
        'a: 'b,
    {
        match (self.is_in_stream, &self.one) {
            (true, None) => vec![predicted, self.column],
            (true, Some(_)) => vec![predicted, self.column, "table"],
            (false, _) => vec![predicted, "table", "revision"],
        }
    }

    /// Looks of which table rows are, if they must be of one.
    ///
    /// # Errors
    /// Those of [`OneTable::add`].
    pub(crate) fn check(&mut self, read: &EpochColumns) -> Result<()> {
        let Some(one) = &mut self.one else {
            return Ok(());
        };
        one.add(read.column(if self.is_in_stream { 2 } else { 1 })?)
    }

    /// The labels of the rows of an epoch, null where there is none.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if neither the stream nor the table has the
    /// column, or the rows name no table; those of [`Self::check`] and of reading the table.
    pub(crate) async fn of(&mut self, read: &EpochColumns) -> Result<ArrayRef> {
        self.check(read)?;
        if self.is_in_stream {
            self.field = Some(read.columns.schema().field(1).clone());
            return Ok(ArrayRef::clone(read.column(1)?));
        }
        let (names, texts) = table_names(read.column(1)?)?;
        let wrong = || Error::corrupt("the revision of the rows is of another type");
        let revisions = read.column(2)?.as_primitive_opt::<Int64Type>();
        let revisions = match self.at {
            Some(_) => &Int64Array::new_null(names.len()),
            None => revisions.ok_or_else(wrong)?,
        };
        let groups = groups(names, texts, revisions);
        let mut parts = Vec::with_capacity(groups.len());
        for (source, rows) in groups {
            let table = match source {
                Some(source) => Some(self.table(source).await?),
                None => None,
            };
            parts.push((table, rows));
        }
        let Some(field) = &self.field else {
            let schema = self.epochs.schema().await?;
            let err = self.epochs.no_column(self.column, &schema);
            let column = self.column;
            return Err(Error::not_found(format!(
                "{err}; and its rows name no table to look for {column:?} in"
            )));
        };
        assemble(&read.row_ids, &parts, field.data_type())
    }

    /// The table that all rows read so far are of, if they must be of one and any of them names it.
    pub(crate) fn table_name(&self) -> Option<&str> {
        self.one.as_ref()?.name()
    }

    /// The column that the labels read last were from, as far as its type is this one.
    pub(crate) fn field(&self, data_type: &DataType) -> Field {
        let field = self.field.clone();
        field.unwrap_or_else(|| Field::new(self.column, plain(data_type).clone(), true))
    }

    /// Row ids and labels of a table.
    async fn table(&mut self, source: Source) -> Result<RecordBatch> {
        let read = match self.tables.get(&source) {
            Some(read) => read.clone(),
            None => self.read(&source).await?,
        };
        let field = read.schema().field(1).clone();
        if let Some(other) = &self.field
            && other.data_type() != field.data_type()
        {
            return Err(Error::invalid(format!(
                "labels {:?} are {} at one revision and {} at another; say which to take them from",
                self.column,
                other.data_type(),
                field.data_type()
            )));
        }
        self.field = Some(field);
        self.tables.insert(source, read.clone());
        Ok(read)
    }

    /// Reads them, or finds them kept from before: a revision of a table never changes, and its first
    /// entry tells it from another table of that name.
    async fn read(&self, (name, revision): &Source) -> Result<RecordBatch> {
        let table: TableName = name.parse()?;
        let revision = match (revision, self.at) {
            (_, Some(at)) => self.project.table(name).await?.resolve(at).await?,
            (Some(number), None) => Revision(u64::try_from(*number).map_err(|err| {
                Error::corrupt(format!("no revision of table {name} is {number}")).with_source(err)
            })?),
            (None, None) => self.project.table(name).await?.head().await?.revision(),
        };
        let place = self.project.place();
        let folder = place.child("tables").child(table.as_str());
        let first = Log::of(&folder).read(Revision::FIRST).await?;
        let hash = blake3::hash(&first.unwrap_or_default()).to_hex();
        let key = format!("{}@{revision}#{hash}", folder.path);
        if let Some(kept) = place.decoded.get(&key, self.column) {
            return Ok(kept);
        }
        let snapshot = self.project.table(name).await?.at(revision).await?;
        let read = snapshot.read(ScanOptions::new().columns([ROWID, self.column]));
        let read = read.await.map_err(|err| {
            err.context(format!("cannot take labels from table {name}@{revision}"))
        })?;
        place.decoded.put(&key, self.column, &read);
        Ok(read)
    }
}

/// Rows by the table and revision that they name; all rows are `None` where there is but one group.
/// Rows that name no table, or no revision where one is needed, have no source.
fn groups(
    names: &PrimitiveArray<Int32Type>,
    texts: &StringArray,
    revisions: &Int64Array,
) -> Vec<(Option<Source>, Option<UInt64Array>)> {
    let is_by_number = revisions.null_count() < revisions.len();
    let source = |name: Option<i32>, revision: Option<i64>| {
        let name = texts.value(usize::try_from(name?).ok().filter(|at| *at < texts.len())?);
        (revision.is_some() || !is_by_number).then_some((name, revision))
    };
    if is_one(names) && is_one(revisions) {
        let (name, revision) = (names.iter().next(), revisions.iter().next());
        let one = source(name.flatten(), revision.flatten());
        return vec![(one.map(owned), None)];
    }
    let mut groups: BTreeMap<Option<(&str, Option<i64>)>, Vec<u64>> = BTreeMap::new();
    for (row, (name, revision)) in (0..).zip(names.iter().zip(revisions)) {
        groups.entry(source(name, revision)).or_default().push(row);
    }
    let groups = groups.into_iter();
    groups
        .map(|(source, rows)| (source.map(owned), Some(UInt64Array::from(rows))))
        .collect()
}

fn owned((name, revision): (&str, Option<i64>)) -> Source {
    (name.to_owned(), revision)
}

/// Whether all values are the same, or all null.
fn is_one<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> bool {
    let first = values.values().first();
    match values.null_count() {
        0 => values.values().iter().all(|value| Some(value) == first),
        n => n == values.len(),
    }
}

/// The labels of rows in the order of the rows, from those of their tables.
fn assemble(
    row_ids: &UInt64Array,
    parts: &[(Option<RecordBatch>, Option<UInt64Array>)],
    data_type: &DataType,
) -> Result<ArrayRef> {
    let mut arrays = Vec::with_capacity(parts.len());
    let mut order: Vec<(u64, u64)> = Vec::new();
    for (table, rows) in parts {
        let Some(rows) = rows else {
            return labels(row_ids, table.as_ref(), data_type);
        };
        let ids = take(row_ids, rows, None)?;
        let ids = ids.as_primitive::<UInt64Type>();
        arrays.push(labels(ids, table.as_ref(), data_type)?);
        order.extend(rows.values().iter().copied().zip(order.len() as u64..));
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
    if arrays.is_empty() {
        return Ok(new_null_array(data_type, row_ids.len()));
    }
    order.sort_unstable();
    let order = UInt64Array::from_iter_values(order.into_iter().map(|(_, at)| at));
    Ok(take(&concat(&arrays)?, &order, None)?)
}

/// The labels of some rows, with ascending ids, from one table.
fn labels(
    row_ids: &UInt64Array,
    table: Option<&RecordBatch>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let Some(table) = table else {
        return Ok(new_null_array(data_type, row_ids.len()));
    };
    let known = table.column(0).as_primitive_opt::<UInt64Type>();
    let known = known.ok_or_else(|| Error::corrupt("the row ids of a table are no numbers"))?;
    let values = table.column(1);
    match is_same(known, row_ids) {
        true => Ok(ArrayRef::clone(values)),
        false => Ok(take(values, &find(row_ids.values(), known.values()), None)?),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int32Array, StringDictionaryBuilder};

    use super::*;

    /// Rows such as `3:a@1`, `3:a@-` or `3:-`, whose labels in table `a` at revision `r` are ten times `r`
    /// plus the row id, and which has the rows 1 to 4; the labels.
    #[track_caller]
    fn check(rows: &str, expected: &str) {
        let (mut ids, mut revisions) = (Vec::new(), Vec::new());
        let mut names = StringDictionaryBuilder::<Int32Type>::new();
        for row in rows.split_whitespace() {
            let (id, source) = row.split_once(':').unwrap();
            let (name, revision) = source.split_once('@').unwrap_or((source, "-"));
            ids.push(id.parse::<u64>().unwrap());
            names.append_option(Some(name).filter(|name| *name != "-"));
            revisions.push(revision.parse::<i64>().ok());
        }
        let names = names.finish();
        let texts = names.values().as_string::<i32>();
        let found = groups(names.keys(), texts, &Int64Array::from(revisions));
        let table = |(_, revision): Source| {
            let base = i32::try_from(revision.unwrap_or(0)).unwrap() * 10;
            let ids: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2, 3, 4]));
            let labels: ArrayRef =
                Arc::new(Int32Array::from_iter_values((1..5).map(|id| base + id)));
            RecordBatch::try_from_iter([(ROWID, ids), ("label", labels)]).unwrap()
        };
        let parts = found.into_iter();
        let parts: Vec<_> = parts
            .map(|(source, rows)| (source.map(table), rows))
            .collect();
        let labels = assemble(&UInt64Array::from(ids), &parts, &DataType::Int32).unwrap();
        let labels = labels.as_primitive::<Int32Type>().iter();
        let labels: Vec<String> = labels
            .map(|label| label.map_or("-".to_owned(), |label| label.to_string()))
            .collect();
        assert_eq!(labels.join(" "), expected, "{rows}");
    }

    #[test]
    fn each_row_gets_the_label_that_its_own_revision_has() {
        check("1:a@3 2:a@3 3:a@3 4:a@3", "31 32 33 34");
        check("0:a@3 2:a@3 2:a@3 9:a@3", "- 32 32 -");
        check("1:a@0 2:a@3 3:a@0 3:a@1", "1 32 3 13");
        check("1:- 2:a@3 3:- 4:a@3", "- 32 - 34");
        check("1:a 2:a", "1 2");
        check("1:a 2:a@3", "- 32");
        check("1:- 2:-", "- -");
        check("", "");
    }
}
