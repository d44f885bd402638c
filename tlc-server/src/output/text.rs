//! Single values as text: what a person sees in a cell, and what JSON and CSV say of a time.

use tlc_core::arrow::array::{
    Array, ArrayRef, AsArray as _, FixedSizeListArray, GenericListArray, OffsetSizeTrait,
    PrimitiveArray,
};
use tlc_core::arrow::buffer::ScalarBuffer;
use tlc_core::arrow::compute::cast;
use tlc_core::arrow::datatypes::{
    DataType, Field, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use tlc_core::arrow::temporal_conversions::{timestamp_ns_to_datetime, timestamp_us_to_datetime};
use tlc_core::arrow::util::display::{ArrayFormatter, FormatOptions};
use tlc_core::{Micros, Result, schema};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// The widest cell of a table, in columns of a terminal.
const CELL_WIDTH_MAX: usize = 60;
/// How many values of a list a person sees.
const LIST_ITEMS_MAX: usize = 3;

/// The cells of one column of one batch, as people read them.
///
/// Labels are the names of their classes, bytes are their kind and size (`<png 284 B>`), long lists
/// their first values and their length; control characters are escaped and long text is cut.
pub struct Cells<'a> {
    array: &'a dyn Array,
    is_number: bool,
    show: Box<dyn Fn(usize) -> String + 'a>,
}

impl std::fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cells")
            .field("type", self.array.data_type())
            .finish_non_exhaustive()
    }
}

impl<'a> Cells<'a> {
    /// The cells of `array`, which `field` describes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) for a type that has no text.
    pub fn new(field: &Field, array: &'a dyn Array) -> Result<Self> {
        Ok(Self {
            array,
            is_number: array.data_type().is_numeric()
                && schema::classes(field).unwrap_or_default().is_empty(),
            show: show(field, array)?,
        })
    }

    /// Whether they are numbers, and not the names of classes that numbers stand for.
    #[must_use]
    pub fn is_number(&self) -> bool {
        self.is_number
    }

    /// The cell of a row.
    #[must_use]
    pub fn text(&self, row: usize) -> String {
        if self.array.is_null(row) {
            "null".to_owned()
        } else {
            shortened((self.show)(row))
        }
    }
}

type Show<'a> = Box<dyn Fn(usize) -> String + 'a>;

fn show<'a>(field: &Field, array: &'a dyn Array) -> Result<Show<'a>> {
    // Metadata that is no list of classes is no reason to hide the numbers.
    let classes = schema::classes(field).unwrap_or_default();
    if !classes.is_empty() && array.data_type().is_integer() {
        let numbers: PrimitiveArray<Int64Type> = cast(array, &DataType::Int64)?
            .as_primitive::<Int64Type>()
            .clone();
        return Ok(Box::new(move |row| {
            let number = numbers.value(row);
            let class = usize::try_from(number)
                .ok()
                .and_then(|position| classes.get(schema::current(&classes, position)));
            class.map_or_else(|| number.to_string(), |class| class.name.clone())
        }));
    }
    Ok(match array.data_type() {
        DataType::Binary => show_bytes(move |row| array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => show_bytes(move |row| array.as_binary::<i64>().value(row)),
        DataType::BinaryView => show_bytes(move |row| array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => {
            show_bytes(move |row| array.as_fixed_size_binary().value(row))
        }
        DataType::List(item) => show_list(item, array.as_list::<i32>().clone()),
        DataType::LargeList(item) => show_list(item, array.as_list::<i64>().clone()),
        DataType::FixedSizeList(item, _) => show_list(item, array.as_fixed_size_list().clone()),
        DataType::Timestamp(unit, _) => {
            let (unit, ticks) = (*unit, ticks(array));
            Box::new(move |row| {
                timestamp_text(unit, ticks[row]).unwrap_or_else(|| ticks[row].to_string())
            })
        }
        _ => {
            let formatter = ArrayFormatter::try_new(array, &FormatOptions::new())?;
            Box::new(move |row| formatter.value(row).to_string())
        }
    })
}

fn show_bytes<'a>(value: impl Fn(usize) -> &'a [u8] + 'a) -> Show<'a> {
    Box::new(move |row| {
        let bytes = value(row);
        let size = bytes_text(bytes.len() as u64);
        media(bytes).map_or_else(|| format!("<{size}>"), |media| format!("<{media} {size}>"))
    })
}

/// What kind of file the bytes are, by how they begin.
fn media(bytes: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 6] = [
        (b"\x89PNG\r\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        (b"GIF8", "gif"),
        (b"BM", "bmp"),
        (b"II*\0", "tiff"),
        (b"%PDF", "pdf"),
    ];
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("webp");
    }
    KNOWN
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, media)| *media)
}

/// The lists of Arrow, as far as text needs them.
trait Lists {
    fn items(&self, row: usize) -> ArrayRef;
}

impl<O: OffsetSizeTrait> Lists for GenericListArray<O> {
    fn items(&self, row: usize) -> ArrayRef {
        self.value(row)
    }
}

impl Lists for FixedSizeListArray {
    fn items(&self, row: usize) -> ArrayRef {
        self.value(row)
    }
}

fn show_list<'a>(item: &Field, lists: impl Lists + 'a) -> Show<'a> {
    let item = item.clone();
    Box::new(move |row| {
        let items = lists.items(row);
        let n = items.len();
        let shown = if n > LIST_ITEMS_MAX + 1 {
            LIST_ITEMS_MAX
        } else {
            n
        };
        let Ok(cells) = Cells::new(&item, &items) else {
            return format!("<{n} values>");
        };
        let mut texts: Vec<String> = (0..shown).map(|position| cells.text(position)).collect();
        if shown < n {
            texts.push(format!("… {n} values"));
        }
        format!("[{}]", texts.join(", "))
    })
}

/// The ticks of a timestamp column, since 1970 in UTC whatever its time zone.
pub(super) fn ticks(array: &dyn Array) -> ScalarBuffer<i64> {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            array.as_primitive::<TimestampSecondType>().values().clone()
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => array
            .as_primitive::<TimestampMillisecondType>()
            .values()
            .clone(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array
            .as_primitive::<TimestampNanosecondType>()
            .values()
            .clone(),
        _ => array
            .as_primitive::<TimestampMicrosecondType>()
            .values()
            .clone(),
    }
}

/// A time as RFC 3339 in UTC, with microseconds, or nanoseconds where it has them.
///
/// `None` if it lies outside the years that can be written.
#[must_use]
pub fn timestamp_text(unit: TimeUnit, ticks: i64) -> Option<String> {
    let micros = match unit {
        TimeUnit::Second => ticks.checked_mul(1_000_000)?,
        TimeUnit::Millisecond => ticks.checked_mul(1_000)?,
        TimeUnit::Microsecond => ticks,
        TimeUnit::Nanosecond if ticks % 1_000 == 0 => ticks / 1_000,
        TimeUnit::Nanosecond => {
            return timestamp_ns_to_datetime(ticks).map(|time| format!("{time:?}Z"));
        }
    };
    timestamp_us_to_datetime(micros).map(|_| Micros(micros).to_rfc3339())
}

/// A size for people: `284 B`, `3.1 KB`, `2.0 GB` (powers of 1,000).
#[must_use]
pub fn bytes_text(bytes: u64) -> String {
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64;
    let mut unit = "B";
    for next in ["KB", "MB", "GB", "TB", "PB", "EB"] {
        if size < 999.95 {
            break;
        }
        size /= 1_000.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

/// A number for people: six digits after the point, and an exponent where these say nothing.
#[must_use]
pub fn number_text(value: f64) -> String {
    match needs_exponent(value) {
        true => format!("{value:.6e}"),
        false => format!("{value:.6}"),
    }
}

/// All digits of a number.
#[must_use]
pub fn exact_text(value: f64) -> String {
    match needs_exponent(value) {
        true => format!("{value:e}"),
        false => value.to_string(),
    }
}

fn needs_exponent(value: f64) -> bool {
    value != 0.0 && value.is_finite() && !(1e-4..1e15).contains(&value.abs())
}

/// A number with its thing, for people: `1 row`, `60,000 rows`.
#[must_use]
pub fn count_text(n: u64, thing: &str) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    let plural = if n == 1 { "" } else { "s" };
    format!("{text} {thing}{plural}")
}

/// The line below a list that leaves out `n` things; nothing if it leaves out none.
#[must_use]
pub fn more_text(n: u64, thing: &str) -> String {
    match n {
        0 => String::new(),
        n => format!("(and {})\n", count_text(n, thing)),
    }
}

/// One line, free of control characters, as wide as a cell of a table may be.
#[must_use]
pub fn shortened(text: String) -> String {
    let text = if text.contains(char::is_control) {
        escaped(&text)
    } else {
        text
    };
    if text.width() <= CELL_WIDTH_MAX {
        return text;
    }
    let mut width = 0;
    let kept = text.chars().take_while(|c| {
        width += c.width().unwrap_or(0);
        width < CELL_WIDTH_MAX
    });
    kept.chain(['…']).collect()
}

/// The same text, with control characters as Rust writes them.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tlc_core::arrow::array::{
        BinaryArray, Float32Array, Int32Array, StringArray, TimestampMicrosecondArray,
    };

    use super::*;

    #[track_caller]
    fn check(field: &Field, array: &dyn Array, expected: &str) {
        let cells = Cells::new(field, array).unwrap();
        let found: Vec<_> = (0..array.len()).map(|row| cells.text(row)).collect();
        assert_eq!(found.join(" | "), expected);
    }

    #[test]
    fn a_label_is_the_name_of_its_class() {
        let label = schema::label("digit", ["zero", "one"]);
        check(
            &label,
            &Int32Array::from(vec![Some(1), Some(0), None, Some(7), Some(-1)]),
            "one | zero | null | 7 | -1",
        );
    }

    #[test]
    fn an_image_is_its_kind_and_size() {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        png.resize(1284, 0);
        let images = BinaryArray::from(vec![Some(png.as_slice()), Some(b"abc"), None]);
        check(
            &schema::image("image", "image/png"),
            &images,
            "<png 1.3 KB> | <3 B> | null",
        );
    }

    #[test]
    fn an_embedding_shows_its_first_values_and_its_length() {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let embedding = |n: i32| {
            let values = (0..n).map(|i| i as f32 / 2.0).collect::<Vec<_>>();
            FixedSizeListArray::new(
                Arc::clone(&item),
                n,
                Arc::new(Float32Array::from(values)),
                None,
            )
        };
        check(
            &schema::embedding("e", 64),
            &embedding(64),
            "[0.0, 0.5, 1.0, … 64 values]",
        );
        check(
            &schema::embedding("e", 4),
            &embedding(4),
            "[0.0, 0.5, 1.0, 1.5]",
        );
    }

    #[test]
    fn long_text_is_cut_and_control_characters_are_escaped() {
        let texts = StringArray::from(vec!["a\tb\nc".to_owned(), "x".repeat(61), "犬".repeat(31)]);
        let expected = format!("a\\tb\\nc | {}… | {}…", "x".repeat(59), "犬".repeat(29));
        check(&schema::text("t"), &texts, &expected);
    }

    #[test]
    fn a_time_is_rfc_3339_in_utc() {
        let times = TimestampMicrosecondArray::from(vec![1_500_000]).with_timezone("+02:00");
        check(
            &Field::new("t", times.data_type().clone(), true),
            &times,
            "1970-01-01T00:00:01.500000Z",
        );
        assert_eq!(
            timestamp_text(TimeUnit::Nanosecond, 1).unwrap(),
            "1970-01-01T00:00:00.000000001Z"
        );
        assert_eq!(
            timestamp_text(TimeUnit::Nanosecond, -1_000).unwrap(),
            "1969-12-31T23:59:59.999999Z"
        );
        assert_eq!(timestamp_text(TimeUnit::Second, i64::MAX), None);
        assert_eq!(timestamp_text(TimeUnit::Microsecond, i64::MAX), None);
    }

    #[test]
    fn numbers_say_something_however_small_or_large() {
        let numbers = [0.0, -0.25, 3e-7, -1e300, f64::NAN, f64::INFINITY];
        assert_eq!(
            numbers.map(number_text).join(" "),
            "0.000000 -0.250000 3.000000e-7 -1.000000e300 NaN inf"
        );
        assert_eq!(
            numbers.map(exact_text).join(" "),
            "0 -0.25 3e-7 -1e300 NaN inf"
        );
    }

    #[test]
    fn sizes_and_counts_are_short() {
        let sizes = [0, 999, 1_000, 999_949, 999_950, 13_500_000_000].map(bytes_text);
        assert_eq!(sizes.join(" "), "0 B 999 B 1.0 KB 999.9 KB 1.0 MB 13.5 GB");
        let counts = [0, 1, 999, 1_000, 1_234_567].map(|n| count_text(n, "row"));
        assert_eq!(
            counts.join(", "),
            "0 rows, 1 row, 999 rows, 1,000 rows, 1,234,567 rows"
        );
    }
}
