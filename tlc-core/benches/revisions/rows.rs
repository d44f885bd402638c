//! The data: a million rows (or more) of twenty columns that follow from one hash, and edits of their
//! labels. Any program can make the same, so that others can be measured on it.

use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch,
    RecordBatchReader, StringBuilder, StructArray,
};
use tlc_core::arrow::buffer::OffsetBuffer;
use tlc_core::arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef};
use tlc_core::arrow::error::ArrowError;

use super::hash::{hash, unit};

/// Cells that a revision sets, less those it would set twice.
pub(crate) const EDITS: u64 = 1_000;

const CLASSES: u64 = 100;

/// The names of the columns, in order.
pub(crate) const COLUMNS: [&str; 20] = [
    "id", "label", "weight", "i0", "i1", "i2", "i3", "i4", "f0", "f1", "f2", "f3", "f4", "f5",
    "s0", "s1", "s2", "s3", "s4", "boxes",
];

/// Rows that a reader gives at a time.
const BATCH_ROWS: u64 = 65_536;

fn below(seed: u64, position: u64, end: u64) -> i32 {
    i32::try_from(hash(seed, position) % end).unwrap()
}

/// The label of a row before any edit.
pub(crate) fn first_label(id: u64) -> i32 {
    below(4000, id, CLASSES)
}

/// `i0` to `i4`: below 10, 100 and so on.
pub(crate) fn whole(column: u64, id: u64) -> i32 {
    below(
        4010 + column,
        id,
        10_u64.pow(u32::try_from(column).unwrap() + 1),
    )
}

/// `f0` to `f5`.
pub(crate) fn float(column: u64, id: u64) -> f32 {
    unit(4020 + column, id) as f32
}

fn n_boxes(id: u64) -> u64 {
    hash(4040, id) % 9
}

/// What revision `revision` sets of a table of `n_rows`: row ids, ascending, and their labels.
pub(crate) fn edits(revision: u64, n_rows: u64, n_edits: u64) -> (Vec<u64>, Vec<i32>) {
    let edit = |at| {
        let id = hash(4100 + revision, at) % n_rows;
        (id, at, below(4300 + revision, at, CLASSES))
    };
    let mut edits: Vec<_> = (0..n_edits).map(edit).collect();
    edits.sort_unstable();
    edits.dedup_by_key(|edit| edit.0);
    edits.into_iter().map(|(id, _, label)| (id, label)).unzip()
}

/// The ids of about a hundred rows, ascending.
pub(crate) fn hundred(n_rows: u64) -> Vec<u64> {
    let mut ids: Vec<u64> = (0..100).map(|at| hash(4500, at) % n_rows).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

static BOX: LazyLock<Fields> = LazyLock::new(|| {
    let corner = |name| Field::new(name, DataType::Float32, true);
    let mut fields: Vec<Field> = ["x", "y", "w", "h"].into_iter().map(corner).collect();
    fields.push(Field::new("cls", DataType::Int32, true));
    fields.into()
});

fn item() -> Arc<Field> {
    Arc::new(Field::new("item", DataType::Struct(BOX.clone()), true))
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &&str| {
        let data_type = match name.as_bytes() {
            b"id" => DataType::Int64,
            b"boxes" => DataType::List(item()),
            b"weight" | [b'f', _] => DataType::Float32,
            [b's', _] => DataType::Utf8,
            _ => DataType::Int32,
        };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(COLUMNS.iter().map(field).collect::<Vec<_>>()))
});

fn texts(ids: &[u64], mut write: impl FnMut(&mut StringBuilder, u64)) -> ArrayRef {
    let mut texts = StringBuilder::new();
    for id in ids {
        write(&mut texts, *id);
        texts.append_value("");
    }
    Arc::new(texts.finish())
}

fn floats(ids: &[u64], value: impl Fn(u64) -> f32) -> ArrayRef {
    Arc::new(Float32Array::from_iter_values(
        ids.iter().map(|id| value(*id)),
    ))
}

fn ints(ids: &[u64], value: impl Fn(u64) -> i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values(
        ids.iter().map(|id| value(*id)),
    ))
}

fn boxes(ids: &[u64], starts: &[u64]) -> ArrayRef {
    let boxes = ids.iter().zip(starts);
    let boxes: Vec<u64> = boxes
        .flat_map(|(id, start)| *start..start + n_boxes(*id))
        .collect();
    let mut columns: Vec<ArrayRef> = (0..4)
        .map(|at| floats(&boxes, |own| (unit(4041 + at, own) * 640.0) as f32))
        .collect();
    columns.push(ints(&boxes, |own| below(4046, own, 80)));
    let lengths = ids.iter().map(|id| usize::try_from(n_boxes(*id)).unwrap());
    Arc::new(ListArray::new(
        item(),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(StructArray::new(BOX.clone(), columns, None)),
        None,
    ))
}

/// Some rows with these labels. `starts` says of each how many boxes the rows before it have.
fn rows(ids: &[u64], starts: &[u64], labels: Vec<i32>) -> RecordBatch {
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(
            ids.iter().map(|id| id.cast_signed()),
        )),
        Arc::new(Int32Array::from(labels)),
        floats(ids, |_| 1.0),
    ];
    columns.extend((0..5).map(|column| ints(ids, |id| whole(column, id))));
    columns.extend((0..6).map(|column| floats(ids, |id| float(column, id))));
    columns.push(texts(ids, |text, id| {
        write!(text, "/data/train/{id:08}.jpg").unwrap();
    }));
    columns.extend((1..5).map(|column| {
        let end = 10_u64.pow(column + 1);
        texts(ids, |text, id| {
            write!(text, "cat_{}", hash(4030 + u64::from(column), id) % end).unwrap();
        })
    }));
    columns.push(boxes(ids, starts));
    RecordBatch::try_new(Arc::clone(&SCHEMA), columns).unwrap()
}

/// All rows before any edit, made as they are read.
pub(crate) struct Base {
    n_rows: u64,
    next: u64,
    n_boxes: u64,
}

impl Base {
    pub(crate) fn new(n_rows: u64) -> Self {
        Self {
            n_rows,
            next: 0,
            n_boxes: 0,
        }
    }
}

impl Iterator for Base {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = (self.next + BATCH_ROWS).min(self.n_rows);
        let ids: Vec<u64> = (self.next..end).collect();
        self.next = end;
        let starts = box_starts(&ids, &mut self.n_boxes);
        let labels = ids.iter().map(|id| first_label(*id)).collect();
        (!ids.is_empty()).then(|| Ok(rows(&ids, &starts, labels)))
    }
}

impl RecordBatchReader for Base {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }
}

fn box_starts(ids: &[u64], before: &mut u64) -> Vec<u64> {
    let start = |id: &u64| {
        let start = *before;
        *before += n_boxes(*id);
        start
    };
    ids.iter().map(start).collect()
}

/// What a table must hold at some revision. Costs twelve bytes a row.
pub(crate) struct Truth {
    box_starts: Arc<Vec<u64>>,
    labels: Vec<i32>,
}

impl Truth {
    pub(crate) fn new(n_rows: u64) -> Self {
        let ids: Vec<u64> = (0..n_rows).collect();
        Self {
            box_starts: Arc::new(box_starts(&ids, &mut 0)),
            labels: ids.iter().map(|id| first_label(*id)).collect(),
        }
    }

    /// The same after some edits.
    pub(crate) fn edited(&self, revisions: impl Iterator<Item = (Vec<u64>, Vec<i32>)>) -> Self {
        let mut labels = self.labels.clone();
        for (ids, new) in revisions {
            for (id, label) in ids.into_iter().zip(new) {
                labels[usize::try_from(id).unwrap()] = label;
            }
        }
        Self {
            box_starts: Arc::clone(&self.box_starts),
            labels,
        }
    }

    pub(crate) fn labels(&self) -> &[i32] {
        &self.labels
    }

    /// Rows in any order, whole.
    pub(crate) fn rows(&self, ids: &[u64]) -> RecordBatch {
        let at = |id: &u64| usize::try_from(*id).unwrap();
        let starts: Vec<u64> = ids.iter().map(|id| self.box_starts[at(id)]).collect();
        rows(
            ids,
            &starts,
            ids.iter().map(|id| self.labels[at(id)]).collect(),
        )
    }

    /// Every cell of the batch, whose rows say by `id` which they are, is what it must be.
    #[track_caller]
    pub(crate) fn check(&self, batch: &RecordBatch) {
        let ids = batch.column_by_name("id").unwrap();
        let ids = ids.as_primitive::<Int64Type>().values().iter();
        let expected = self.rows(&ids.map(|id| id.cast_unsigned()).collect::<Vec<_>>());
        for field in batch.schema().fields() {
            let name = field.name();
            let (own, other) = (
                batch.column_by_name(name).unwrap(),
                expected.column_by_name(name).unwrap(),
            );
            assert!(is_same(own, other), "column {name} is not what it must be");
        }
    }
}

/// Whether two columns hold the same. Files may name the fields inside a list otherwise.
fn is_same(a: &ArrayRef, b: &ArrayRef) -> bool {
    let (Some(a), Some(b)) = (a.as_list_opt::<i32>(), b.as_list_opt::<i32>()) else {
        return a.to_data() == b.to_data();
    };
    let inside = |list: &ListArray| {
        let ends = list.offsets();
        let (first, last) = (ends[0] as usize, ends[ends.len() - 1] as usize);
        list.values().slice(first, last - first)
    };
    let (values, others) = (inside(a), inside(b));
    let (fields, others) = (values.as_struct().columns(), others.as_struct().columns());
    a.offsets().lengths().eq(b.offsets().lengths())
        && fields.iter().zip(others).all(|(a, b)| is_same(a, b))
}
