//! What was logged and is not stored yet: bounded, pure, and cheap to push to.
//!
//! The training thread pushes, the writer takes. Scalars lie in column vectors whose memory goes
//! to and fro between the two, names are interned, and sample metrics are the caller's own Arrow
//! arrays, so a push copies a few words and, once warm, allocates nothing. Rows that the writer has
//! taken still count until they are stored: the bound is on everything that a dead store can pile up.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array as _, RecordBatch};

use super::items::{Item, What};
use super::rows::Rows;
use crate::id::StreamName;

/// Scalars after which the writer does not wait for its next round.
pub const SCALARS_FLUSH: usize = 64 << 10;

/// Scalars kept in memory at most, stored ones not counted: about 30 MB.
pub const SCALARS_MAX: usize = 1 << 20;

/// Bytes of sample metrics after which the writer does not wait for its next round.
pub const SAMPLE_BYTES_FLUSH: usize = 16 << 20;

/// Bytes of sample metrics kept in memory at most, stored ones not counted. No batch may be larger.
pub const SAMPLE_BYTES_MAX: usize = 256 << 20;

/// Bytes of texts, histograms and files after which the writer does not wait for its next round.
pub const ITEM_BYTES_FLUSH: usize = 4 << 20;

/// Bytes of texts, histograms and files kept in memory at most, stored ones not counted.
pub const ITEM_BYTES_MAX: usize = 64 << 20;

/// Names of scalars that are remembered at one time; beyond, all are forgotten and met anew.
const NAMES_MAX: usize = 64 << 10;

/// The longest name of a scalar, in bytes.
pub const NAME_BYTES_MAX: usize = 1 << 10;

/// What did not fit, or could not be stored, and is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Values of scalars.
    pub scalars: u64,
    /// Rows of sample metrics.
    pub sample_rows: u64,
    /// Texts, histograms and files.
    pub items: u64,
}

impl Lost {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.scalars += other.scalars;
        self.sample_rows += other.sample_rows;
        self.items += other.items;
    }
}

/// Rows, and what they count in the buffer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Held {
    pub(crate) rows: Lost,
    pub(crate) sample_bytes: usize,
    pub(crate) item_bytes: usize,
}

impl Held {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows.add(other.rows);
        self.sample_bytes += other.sample_bytes;
        self.item_bytes += other.item_bytes;
    }
}

/// Columns of scalars. Row `i` is the value of the scalar with the interned name `names[i]`.
#[derive(Debug, Default)]
pub(crate) struct Scalars {
    pub(crate) names: Vec<u32>,
    pub(crate) steps: Vec<i64>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
}

impl Scalars {
    pub(crate) fn with_capacity(n: usize) -> Self {
        Self {
            names: Vec::with_capacity(n),
            steps: Vec::with_capacity(n),
            times: Vec::with_capacity(n),
            values: Vec::with_capacity(n),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    pub(crate) fn push(&mut self, name: u32, step: i64, time: i64, value: f64) {
        self.names.push(name);
        self.steps.push(step);
        self.times.push(time);
        self.values.push(value);
    }

    /// Forgets the rows and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.names.clear();
        self.steps.clear();
        self.times.clear();
        self.values.clear();
    }
}

/// Rows of sample metrics of one epoch of one stream.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) stream: StreamName,
    pub(crate) epoch: i64,
    pub(crate) batches: Vec<(Rows, RecordBatch)>,
    pub(crate) bytes: usize,
    pub(crate) n_rows: usize,
}

/// What the writer takes at a time.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) scalars: Scalars,
    /// Names met since the last take, in the order of their numbers.
    pub(crate) names: Vec<Arc<str>>,
    /// Numbers of names begin again with the next take.
    pub(crate) forgets_names: bool,
    /// In the order that they were begun.
    pub(crate) groups: Vec<Group>,
    /// Of all kinds, in the order that they were logged.
    pub(crate) items: Vec<Item>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Buffer {
    names: Names,
    names_taken: usize,
    scalars: Scalars,
    groups: Vec<Group>,
    sample_bytes: usize,
    items: Vec<Item>,
    item_bytes: usize,
    lines: Lines,
    /// Taken and not stored yet.
    scalars_unstored: usize,
    sample_bytes_unstored: usize,
    item_bytes_unstored: usize,
    lost: Lost,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self {
            names: Names::default(),
            names_taken: 0,
            scalars: Scalars::with_capacity(SCALARS_FLUSH),
            groups: Vec::new(),
            sample_bytes: 0,
            items: Vec::new(),
            item_bytes: 0,
            lines: Lines::default(),
            scalars_unstored: 0,
            sample_bytes_unstored: 0,
            item_bytes_unstored: 0,
            lost: Lost::default(),
        }
    }

    /// Whether `n` more scalars are within the bound.
    pub(crate) fn fits_scalars(&self, n: usize) -> bool {
        self.scalars.len() + self.scalars_unstored + n <= SCALARS_MAX
    }

    /// Whether `bytes` more of sample metrics are within the bound.
    pub(crate) fn fits_samples(&self, bytes: usize) -> bool {
        self.sample_bytes + self.sample_bytes_unstored + bytes <= SAMPLE_BYTES_MAX
    }

    /// Whether `bytes` more of items are within the bound.
    pub(crate) fn fits_items(&self, bytes: usize) -> bool {
        self.item_bytes + self.item_bytes_unstored + bytes <= ITEM_BYTES_MAX
    }

    /// Gives a text the next number of its name.
    pub(crate) fn number(&mut self, item: &mut Item) {
        if let What::Text { line, .. } = &mut item.what {
            *line = self.lines.next(&item.name);
        }
    }

    /// Appends an item of `bytes` bytes; `true` when they are now so many that the writer should come. One
    /// whose name is too long is lost.
    pub(crate) fn push_item(&mut self, item: Item, bytes: usize) -> bool {
        if item.name.len() > NAME_BYTES_MAX {
            self.lost.items += 1;
            return false;
        }
        let before = self.item_bytes;
        self.item_bytes += bytes;
        self.items.push(item);
        before < ITEM_BYTES_FLUSH && self.item_bytes >= ITEM_BYTES_FLUSH
    }

    /// Appends values; `true` when they are now so many that the writer should come. A name that is
    /// too long is lost with its value.
    pub(crate) fn push_scalars(&mut self, step: i64, time: i64, values: &[(&str, f64)]) -> bool {
        let before = self.scalars.len();
        for (name, value) in values {
            if name.len() > NAME_BYTES_MAX {
                self.lost.scalars += 1;
                continue;
            }
            self.scalars
                .push(self.names.intern(name), step, time, *value);
        }
        before < SCALARS_FLUSH && self.scalars.len() >= SCALARS_FLUSH
    }

    /// Appends rows of sample metrics of `bytes` bytes; `true` when they are now so many that the
    /// writer should come.
    pub(crate) fn push_samples(&mut self, rows: Rows, columns: RecordBatch, bytes: usize) -> bool {
        let (n_rows, before) = (columns.num_rows(), self.sample_bytes);
        self.sample_bytes += bytes;
        let is_enough = before < SAMPLE_BYTES_FLUSH && self.sample_bytes >= SAMPLE_BYTES_FLUSH;
        let of_stream = |group: &&mut Group| group.stream == rows.stream;
        let newest = self.groups.iter_mut().rev().find(of_stream);
        match newest.filter(|group| group.epoch == rows.epoch) {
            Some(group) => {
                group.batches.push((rows, columns));
                group.bytes += bytes;
                group.n_rows += n_rows;
            }
            None => self.groups.push(Group {
                stream: rows.stream.clone(),
                epoch: rows.epoch,
                batches: vec![(rows, columns)],
                bytes,
                n_rows,
            }),
        }
        is_enough
    }

    /// Gives all rows to the writer, and takes the memory of `spare` for the next ones.
    pub(crate) fn take(&mut self, spare: &mut Scalars) -> Taken {
        let groups = std::mem::take(&mut self.groups);
        self.sample_bytes_unstored += std::mem::take(&mut self.sample_bytes);
        let items = std::mem::take(&mut self.items);
        self.item_bytes_unstored += std::mem::take(&mut self.item_bytes);
        let scalars = std::mem::replace(&mut self.scalars, std::mem::take(spare));
        self.scalars_unstored += scalars.len();
        let names = self.names.since(self.names_taken);
        self.names_taken += names.len();
        let forgets_names = self.names_taken > NAMES_MAX;
        if forgets_names {
            (self.names, self.names_taken) = (Names::default(), 0);
        }
        Taken {
            scalars,
            names,
            forgets_names,
            groups,
            items,
        }
    }

    /// Rows that were taken are stored, or given up: there is room again.
    pub(crate) fn release(&mut self, held: &Held) {
        let scalars = usize::try_from(held.rows.scalars).unwrap_or(usize::MAX);
        self.scalars_unstored = self.scalars_unstored.saturating_sub(scalars);
        self.sample_bytes_unstored = self.sample_bytes_unstored.saturating_sub(held.sample_bytes);
        self.item_bytes_unstored = self.item_bytes_unstored.saturating_sub(held.item_bytes);
    }

    /// Counts what is gone.
    pub(crate) fn lose(&mut self, lost: Lost) {
        self.lost.add(lost);
    }

    pub(crate) fn lost(&self) -> Lost {
        self.lost
    }
}

/// Bytes that the columns of `batch` hold, without what they share with other slices.
pub(crate) fn bytes_of(batch: &RecordBatch) -> usize {
    let column = |column: &Arc<dyn arrow::array::Array>| {
        column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(column).sum()
}

/// Names of scalars and their numbers, in order of first use.
#[derive(Debug, Default)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    texts: Vec<Arc<str>>,
    /// The likely next name: a call logs the same names in the same order as the one before.
    next: usize,
}

impl Names {
    fn intern(&mut self, name: &str) -> u32 {
        let number = match self.texts.get(self.next) {
            Some(text) if **text == *name => self.next,
            _ => self.find(name),
        };
        self.next = number + 1;
        u32::try_from(number).unwrap_or(u32::MAX)
    }

    fn find(&mut self, name: &str) -> usize {
        if let Some(number) = self.numbers.get(name) {
            return *number as usize;
        }
        let (text, number) = (Arc::<str>::from(name), self.texts.len());
        self.numbers
            .insert(Arc::clone(&text), u32::try_from(number).unwrap_or(u32::MAX));
        self.texts.push(text);
        number
    }

    fn since(&self, first: usize) -> Vec<Arc<str>> {
        self.texts.get(first..).unwrap_or_default().to_vec()
    }
}

/// The numbers of the next texts, by name.
#[derive(Debug, Default)]
struct Lines {
    next: BTreeMap<Box<str>, u64>,
    /// Of names that are not in `next`: at least what they would have there.
    others: u64,
}

impl Lines {
    fn next(&mut self, name: &str) -> u64 {
        if let Some(next) = self.next.get_mut(name) {
            *next += 1;
            return *next - 1;
        }
        if self.next.len() >= NAMES_MAX {
            let most = std::mem::take(&mut self.next).into_values().max();
            self.others = self.others.max(most.unwrap_or_default());
        }
        self.next.insert(name.into(), self.others + 1);
        self.others
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float32Array, UInt64Array};

    use super::*;

    fn samples(stream: &str, epoch: i64, n: u64) -> (Rows, RecordBatch) {
        let rows = Rows::new(stream, epoch, UInt64Array::from_iter_values(0..n)).unwrap();
        let loss = Float32Array::from_iter_values((0..n).map(|_| 0.5));
        (
            rows,
            RecordBatch::try_from_iter([("loss", Arc::new(loss) as _)]).unwrap(),
        )
    }

    fn push(buffer: &mut Buffer, stream: &str, epoch: i64, n: u64) -> bool {
        let (rows, columns) = samples(stream, epoch, n);
        let bytes = bytes_of(&columns);
        buffer.push_samples(rows, columns, bytes)
    }

    fn groups(taken: &Taken) -> String {
        let groups = taken
            .groups
            .iter()
            .map(|g| format!("{}/{}:{}x{}", g.stream, g.epoch, g.batches.len(), g.n_rows));
        groups.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_keep_their_numbers_whatever_the_order_of_calls() {
        let mut names = Names::default();
        let calls = ["a", "b", "a", "b", "b", "c", "a", "c"];
        assert_eq!(
            calls.map(|name| names.intern(name)),
            [0, 1, 0, 1, 1, 2, 0, 2]
        );
        assert_eq!(
            names
                .since(1)
                .iter()
                .map(|name| &**name)
                .collect::<Vec<_>>(),
            ["b", "c"]
        );
    }

    #[test]
    fn memory_goes_to_and_fro() {
        let mut buffer = Buffer::new();
        let mut spare = Scalars::with_capacity(SCALARS_FLUSH);
        let memory = spare.values.as_ptr();
        buffer.push_scalars(1, 0, &[("a", 1.0)]);
        let mut taken = buffer.take(&mut spare);
        assert_eq!(taken.scalars.values, [1.0]);
        taken.scalars.clear();
        buffer.push_scalars(2, 0, &[("a", 2.0), ("b", 3.0)]);
        let taken = buffer.take(&mut taken.scalars);
        assert_eq!(taken.scalars.values.as_ptr(), memory);
        assert_eq!(
            taken.names.iter().map(|name| &**name).collect::<Vec<_>>(),
            ["b"]
        );
    }

    #[test]
    fn the_writer_is_called_once_when_there_is_enough() {
        let mut buffer = Buffer::new();
        let calls: Vec<usize> = (0..SCALARS_FLUSH + 10)
            .filter(|step| buffer.push_scalars(*step as i64, 0, &[("a", 0.0)]))
            .collect();
        assert_eq!(calls, [SCALARS_FLUSH - 1]);
        let taken = buffer.take(&mut Scalars::default());
        assert_eq!(taken.scalars.len(), SCALARS_FLUSH + 10);
        let (rows, columns) = samples("train", 0, 1);
        assert!(!buffer.push_samples(rows.clone(), columns.clone(), SAMPLE_BYTES_FLUSH - 1));
        assert!(buffer.push_samples(rows.clone(), columns.clone(), 1));
        assert!(!buffer.push_samples(rows, columns, 1));
    }

    #[test]
    fn a_group_never_spans_epochs_and_keeps_the_order() {
        let mut buffer = Buffer::new();
        for (stream, epoch, n) in [
            ("train", 0, 2),
            ("train", 0, 3),
            ("val", 0, 1),
            ("train", 1, 4),
            ("val", 0, 2),
            ("train", 0, 1),
        ] {
            push(&mut buffer, stream, epoch, n);
        }
        assert_eq!(
            groups(&buffer.take(&mut Scalars::default())),
            "train/0:2x5 val/0:2x3 train/1:1x4 train/0:1x1"
        );
    }

    #[test]
    fn many_names_are_forgotten_and_met_anew() {
        let mut buffer = Buffer::new();
        let names: Vec<String> = (0..=NAMES_MAX).map(|n| n.to_string()).collect();
        let values: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        buffer.push_scalars(0, 0, &values);
        let mut taken = buffer.take(&mut Scalars::default());
        assert!(taken.forgets_names && taken.names.len() == names.len());
        taken.scalars.clear();
        buffer.push_scalars(1, 0, &[("7", 1.0)]);
        let taken = buffer.take(&mut taken.scalars);
        assert_eq!((&*taken.names[0], taken.scalars.names), ("7", vec![0]));
        assert!(!taken.forgets_names);
    }

    #[test]
    fn a_name_that_is_too_long_is_lost_with_its_value() {
        let mut buffer = Buffer::new();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        buffer.push_scalars(0, 0, &[(&long, 1.0), (&long[1..], 2.0)]);
        assert_eq!(buffer.take(&mut Scalars::default()).scalars.values, [2.0]);
        assert_eq!(buffer.lost().scalars, 1);
    }

    #[test]
    fn what_is_taken_counts_until_it_is_stored() {
        let mut buffer = Buffer::new();
        let many: Vec<(&str, f64)> = vec![("a", 0.0); SCALARS_MAX];
        buffer.push_scalars(0, 0, &many);
        assert!(!buffer.fits_scalars(1));
        let taken = buffer.take(&mut Scalars::default());
        assert!(!buffer.fits_scalars(1));
        buffer.release(&Held {
            rows: Lost {
                scalars: taken.scalars.len() as u64,
                ..Lost::default()
            },
            ..Held::default()
        });
        assert!(buffer.fits_scalars(1));
    }

    #[test]
    fn sample_bytes_are_bounded() {
        let mut buffer = Buffer::new();
        assert!(!buffer.fits_samples(SAMPLE_BYTES_MAX + 1));
        let (rows, columns) = samples("train", 0, 1);
        assert!(buffer.push_samples(rows, columns, SAMPLE_BYTES_MAX));
        assert!(!buffer.fits_samples(1));
        let taken = buffer.take(&mut Scalars::default());
        assert!(!buffer.fits_samples(1));
        buffer.release(&Held {
            sample_bytes: taken.groups[0].bytes,
            ..Held::default()
        });
        assert!(buffer.fits_samples(1));
    }

    fn line(name: &str) -> Item {
        Item {
            name: name.into(),
            step: None,
            time: 0,
            what: What::Text {
                line: 0,
                text: "text".to_owned(),
            },
        }
    }

    #[test]
    fn item_bytes_are_bounded_until_they_are_stored() {
        let mut buffer = Buffer::new();
        assert!(!buffer.fits_items(ITEM_BYTES_MAX + 1));
        assert!(!buffer.push_item(line("a"), ITEM_BYTES_FLUSH - 1));
        assert!(buffer.push_item(line("a"), ITEM_BYTES_MAX - ITEM_BYTES_FLUSH + 1));
        let item_bytes = ITEM_BYTES_MAX;
        assert!(!buffer.fits_items(1));
        assert_eq!(buffer.take(&mut Scalars::default()).items.len(), 2);
        assert!(!buffer.fits_items(1));
        buffer.release(&Held {
            item_bytes,
            ..Held::default()
        });
        assert!(buffer.fits_items(ITEM_BYTES_MAX));
        buffer.push_item(line(&"x".repeat(NAME_BYTES_MAX + 1)), 1);
        assert_eq!(buffer.lost().items, 1);
    }

    #[test]
    fn lines_count_up_within_their_name_however_many_names_there_are() {
        let mut lines = Lines::default();
        let counted = ["a", "b", "a", "a", "b"].map(|name| lines.next(name));
        assert_eq!(counted, [0, 0, 1, 2, 1]);
        for name in 0..NAMES_MAX {
            lines.next(&name.to_string());
        }
        assert!(lines.next.len() <= NAMES_MAX);
        assert!(lines.next("a") >= 3 && lines.next("b") >= 2);
    }

    #[test]
    fn a_slice_weighs_what_it_shows() {
        let (_, columns) = samples("train", 0, 1_000);
        assert_eq!(bytes_of(&columns.slice(0, 10)), 40);
    }
}
