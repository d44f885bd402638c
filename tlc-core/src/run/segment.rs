//! Segments: files of metrics that grow while their writer lives, and what the names of all files of metrics say.
//!
//! A writer appends [frames](super::frame) to a segment of scalars, and to one for each epoch of each
//! stream. A finished segment is folded: its rows are written as Parquet under the same name with another
//! ending, and the segment is deleted. Where both are there, the Parquet file counts. What is here is pure;
//! the files are written by [`Growing`](super::growing::Growing).

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;

use super::buffer::{Group, Scalars};
use super::columns::{self, Labels};
use super::frame::{self, End, Frames, Kind};
use super::item_columns;
use super::items::ItemKind;
use super::points;
use crate::error::{Error, Result};
use crate::format::run::SegmentHead;
use crate::format::{self, VERSION, ipc_reader};
use crate::id::StreamName;

/// The ending of the name of a segment.
pub(crate) const SEGMENT: &str = "seg";

/// The ending of the name of a folded one.
pub(crate) const PARQUET: &str = "parquet";

/// What all rows of a file are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    Scalars,
    /// Of one epoch of a stream.
    Samples(StreamName, i64),
    Items(ItemKind),
}

/// The name of a file of metrics in its run, without its ending.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stem {
    pub(crate) topic: Topic,
    pub(crate) attempt: u32,
    pub(crate) writer: String,
    pub(crate) number: u64,
}

impl Stem {
    /// The path in the run's folder, with an ending.
    pub(crate) fn path(&self, ending: &str) -> String {
        let Self {
            topic,
            attempt,
            writer,
            number,
        } = self;
        let name = format!("a{attempt}-{writer}-{number}.{ending}");
        match topic {
            Topic::Scalars => format!("scalars/{name}"),
            Topic::Samples(stream, epoch) => format!("samples/{stream}/e{epoch}-{name}"),
            Topic::Items(kind) => format!("{}/{name}", kind.name()),
        }
    }

    /// The name and its ending; `None` if no file of metrics is called that. `path` is below the run.
    /// Before version 3 of the format names said no attempt: there was one.
    pub(crate) fn parse(path: &str) -> Option<(Self, &str)> {
        let (stem, ending) = path.rsplit_once('.')?;
        let (folder, name) = stem.rsplit_once('/')?;
        let (rest, number) = name.rsplit_once('-')?;
        let (rest, writer) = rest.rsplit_once('-').unwrap_or(("", rest));
        let (topic, attempt) = match folder.split_once('/') {
            None if folder == "scalars" => (Topic::Scalars, rest),
            None => (Topic::Items(ItemKind::named(folder)?), rest),
            Some(("samples", stream)) => {
                let rest = rest.strip_prefix('e')?;
                // A negative epoch begins with the sign that separates the others.
                let (epoch, attempt) = match rest.rsplit_once("-a") {
                    Some((epoch, attempt)) => (epoch, rest.get(rest.len() - attempt.len() - 1..)?),
                    None => (rest, ""),
                };
                let topic = Topic::Samples(stream.parse().ok()?, epoch.parse().ok()?);
                (topic, attempt)
            }
            _ => return None,
        };
        let attempt = match attempt {
            "" => 1,
            attempt => attempt.strip_prefix('a')?.parse().ok()?,
        };
        let stem = Self {
            topic,
            attempt,
            writer: writer.to_owned(),
            number: number.parse().ok()?,
        };
        (!writer.is_empty()).then_some((stem, ending))
    }
}

/// Appends the beginning of a segment.
///
/// # Errors
/// None in practice.
pub(crate) fn begin(out: &mut Vec<u8>, run: &str, stem: &Stem, rank: i32) -> Result<()> {
    out.extend(frame::MAGIC);
    let (stream, epoch, items) = match &stem.topic {
        Topic::Scalars => (None, None, None),
        Topic::Samples(stream, epoch) => (Some(stream.to_string()), Some(*epoch), None),
        Topic::Items(kind) => (None, None, Some(kind.name().to_owned())),
    };
    let head = format::encode(&SegmentHead {
        format: VERSION,
        run: run.to_owned(),
        writer: stem.writer.clone(),
        attempt: stem.attempt,
        rank,
        stream,
        epoch,
        items,
    })?;
    frame::push(out, Kind::Head, |out| {
        out.extend(&head);
        Ok(())
    })
}

/// Appends the texts of names under their numbers.
///
/// # Errors
/// As [`frame::push`].
pub(crate) fn push_names<'a>(
    out: &mut Vec<u8>,
    names: impl Iterator<Item = (u32, &'a str)>,
) -> Result<()> {
    frame::push(out, Kind::Names, |out| {
        for (number, name) in names {
            points::put(out, u64::from(number));
            points::put(out, name.len() as u64);
            out.extend(name.bytes());
        }
        Ok(())
    })
}

/// Appends scalars, whose names were appended before.
///
/// # Errors
/// As [`frame::push`].
pub(crate) fn push_points(out: &mut Vec<u8>, scalars: &Scalars) -> Result<()> {
    frame::push(out, Kind::Points, |out| {
        points::encode(scalars, out);
        Ok(())
    })
}

/// Appends the sample metrics of a group: for each source of its rows an Arrow stream, whose metadata say the source.
///
/// # Errors
/// As [`frame::push`]; if Arrow refuses, which [`columns::check_samples`] has ruled out.
pub(crate) fn push_rows(out: &mut Vec<u8>, group: &Group) -> Result<()> {
    let start = out.len();
    for batches in group.batches.chunk_by(|a, b| a.0.source == b.0.source) {
        let written = frame::push(out, Kind::Rows, |out| {
            let Some((rows, first)) = batches.first() else {
                return Ok(());
            };
            let schema = columns::stream_schema(&first.schema(), rows.source.as_ref());
            let mut stream = StreamWriter::try_new(out, &schema)?;
            for (rows, columns) in batches {
                stream.write(&columns::stream_batch(&schema, rows, columns)?)?;
            }
            stream.finish()?;
            Ok(())
        });
        if written.is_err() {
            out.truncate(start);
            return written;
        }
    }
    Ok(())
}

/// Appends items of one kind, as [`item_columns::batch`] makes them.
///
/// # Errors
/// As [`frame::push`].
pub(crate) fn push_items(out: &mut Vec<u8>, items: &RecordBatch) -> Result<()> {
    frame::push(out, Kind::Rows, |out| {
        let mut stream = StreamWriter::try_new(out, &items.schema())?;
        stream.write(items)?;
        stream.finish()?;
        Ok(())
    })
}

/// What a segment holds, as far as it is whole.
#[derive(Debug)]
pub(crate) struct Content {
    head: Option<SegmentHead>,
    names: Vec<Arc<str>>,
    /// Its names are places in `names`.
    scalars: Scalars,
    rows: Vec<RecordBatch>,
    pub(crate) end: End,
}

/// Reads a segment up to where it ends or was cut off. `what` names it in messages.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is no segment, or a whole frame of it is not what it should be;
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a newer version wrote it.
pub(crate) fn read(what: &str, file: &Bytes) -> Result<Content> {
    // Damaged lengths make Arrow's decoder panic where an error would do.
    let read = AssertUnwindSafe(|| read_frames(what, file));
    let content = catch_unwind(read).unwrap_or_else(|_panic| Err(undecodable()));
    content.map_err(|err| err.context(format!("cannot read {what}")))
}

fn undecodable() -> Error {
    Error::corrupt("a frame of the segment is not what it should be")
}

fn read_frames(what: &str, file: &Bytes) -> Result<Content> {
    let mut frames = Frames::new(file)?;
    let mut content = Content {
        head: None,
        names: Vec::new(),
        scalars: Scalars::default(),
        rows: Vec::new(),
        end: End::Whole,
    };
    // By the number of a name in the segment: its place among those that were met.
    let mut places = HashMap::new();
    for (kind, payload) in frames.by_ref() {
        match (kind, &content.head) {
            (Kind::Head, None) => content.head = Some(format::decode(what, &payload)?),
            (Kind::Head, Some(_)) | (_, None) => return Err(undecodable()),
            (Kind::Names, _) => {
                let mut rest = &*payload;
                while !rest.is_empty() {
                    let (number, name) = take_name(&mut rest).ok_or_else(undecodable)?;
                    places.insert(
                        number,
                        u32::try_from(content.names.len()).unwrap_or(u32::MAX),
                    );
                    content.names.push(name);
                }
            }
            (Kind::Points, _) => {
                let scalars = &mut content.scalars;
                let mut is_known = true;
                let decoded = points::decode(&payload, |name, step, time, value| {
                    match places.get(&name) {
                        Some(place) => scalars.push(*place, step, time, value),
                        None => is_known = false,
                    }
                });
                decoded.filter(|()| is_known).ok_or_else(undecodable)?;
            }
            (Kind::Rows, Some(head)) => {
                let (labels, kind) = (labels(head), item_kind(head)?);
                for batch in ipc_reader(&payload)? {
                    let batch = batch.map_err(|err| undecodable().with_source(err))?;
                    content.rows.push(match kind {
                        Some(kind) => item_columns::from_segment(kind, &batch, &labels)?,
                        None => columns::from_stream(&batch, &labels)?,
                    });
                }
            }
        }
    }
    content.end = frames.end();
    Ok(content)
}

fn labels(head: &SegmentHead) -> Labels {
    Labels {
        epoch: head.epoch.unwrap_or_default(),
        rank: head.rank,
        attempt: head.attempt,
    }
}

/// Of which kind its items are, if it holds items.
fn item_kind(head: &SegmentHead) -> Result<Option<ItemKind>> {
    let named = |name: &String| ItemKind::named(name).ok_or_else(undecodable);
    head.items.as_ref().map(named).transpose()
}

fn take_name(rest: &mut &[u8]) -> Option<(u32, Arc<str>)> {
    let number = u32::try_from(points::take(rest)?).ok()?;
    let length = usize::try_from(points::take(rest)?).ok()?;
    let (name, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some((number, std::str::from_utf8(name).ok()?.into()))
}

impl Content {
    /// The scalars, in the order they were logged.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn scalars(&self) -> Result<RecordBatch> {
        columns::scalar_batch(&self.scalars, &self.names, &self.labels())
    }

    /// All rows, of whatever topic, in the order they were logged.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn into_rows(self) -> Result<Vec<RecordBatch>> {
        let head = self.head.as_ref();
        match head.is_some_and(|head| head.stream.is_some() || head.items.is_some()) {
            true => Ok(self.rows),
            false => Ok(vec![self.scalars()?]),
        }
    }

    fn labels(&self) -> Labels {
        self.head.as_ref().map(labels).unwrap_or_default()
    }

    /// The rows as a Parquet file: scalars and items by name and step, sample metrics by row id, those that are equal
    /// in this in the order they were logged. `None` without rows.
    ///
    /// # Errors
    /// If Arrow or Parquet refuse, which they have no reason to.
    pub(crate) fn fold(mut self) -> Result<Option<Bytes>> {
        if self.scalars.len() > 0 {
            let labels = self.labels();
            let sorted = sorted_scalars(&mut self.scalars, &self.names);
            return columns::encode(&columns::scalar_batch(&sorted, &self.names, &labels)?)
                .map(Some);
        }
        let kind = self.head.as_ref().map(item_kind).transpose()?.flatten();
        let rows = std::mem::take(&mut self.rows);
        match rows.first() {
            Some(first) => {
                let all = concat_batches(&first.schema(), &rows)?;
                drop(rows);
                let sorted = match kind {
                    Some(_) => item_columns::by_name(&all)?,
                    None => columns::by_row_id(all)?,
                };
                columns::encode(&sorted).map(Some)
            }
            None => Ok(None),
        }
    }
}

/// Empties `scalars` into columns that are sorted by the text of the name and by step.
fn sorted_scalars(scalars: &mut Scalars, names: &[Arc<str>]) -> Scalars {
    let mut by_text: Vec<usize> = (0..names.len()).collect();
    by_text.sort_unstable_by_key(|place| names.get(*place));
    let mut ranks = vec![0_u32; names.len()];
    for (place, rank) in by_text.into_iter().zip(0..) {
        if let Some(slot) = ranks.get_mut(place) {
            *slot = rank;
        }
    }
    let scalars = std::mem::take(scalars);
    let mut order: Vec<(u32, i64, usize)> = scalars
        .names
        .iter()
        .zip(&scalars.steps)
        .enumerate()
        .map(|(at, (name, step))| {
            (
                ranks.get(*name as usize).copied().unwrap_or(u32::MAX),
                *step,
                at,
            )
        })
        .collect();
    order.sort_unstable();
    let mut sorted = Scalars::with_capacity(order.len());
    for (_, _, at) in order {
        if let (Some(name), Some(step), Some(time), Some(value)) = (
            scalars.names.get(at),
            scalars.steps.get(at),
            scalars.times.get(at),
            scalars.values.get(at),
        ) {
            sorted.push(*name, *step, *time, *value);
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float32Array};
    use arrow::util::display::array_value_to_string;

    use super::*;
    use crate::error::ErrorKind;
    use crate::run::rows::Rows;

    fn scalars(writer: &str) -> Stem {
        Stem {
            topic: Topic::Scalars,
            attempt: 2,
            writer: writer.to_owned(),
            number: 3,
        }
    }

    fn samples(epoch: i64) -> Stem {
        Stem {
            topic: Topic::Samples("val-a2".parse().unwrap(), epoch),
            ..scalars("00ff")
        }
    }

    #[test]
    fn names_of_files_are_read_back() {
        let epochs = [0, 7, -1, i64::MIN, i64::MAX].map(samples);
        let items = ItemKind::ALL.map(|kind| Stem {
            topic: Topic::Items(kind),
            ..scalars("00ff")
        });
        let scalars = [scalars("a17"), scalars("00ff")];
        for stem in epochs.into_iter().chain(scalars).chain(items) {
            let path = stem.path(SEGMENT);
            assert_eq!(Stem::parse(&path), Some((stem, SEGMENT)), "{path}");
        }
    }

    #[test]
    fn names_of_earlier_versions_are_of_the_first_attempt() {
        let epoch = |epoch| Topic::Samples("val".parse().unwrap(), epoch);
        for (path, topic, writer) in [
            ("scalars/a1b2-7.parquet", Topic::Scalars, "a1b2"),
            ("samples/val/e-3-00ff-7.parquet", epoch(-3), "00ff"),
            ("samples/val/e3-a0ff-7.parquet", epoch(3), "a0ff"),
        ] {
            let (stem, ending) = Stem::parse(path).unwrap();
            assert_eq!(stem.topic, topic, "{path}");
            assert_eq!(
                (stem.attempt, stem.writer.as_str(), stem.number, ending),
                (1, writer, 7, PARQUET)
            );
        }
        for other in [
            "samples/val/e7.parquet",
            "samples/val/x7-00ff-3.parquet",
            "samples/val/e7--3.parquet",
            "samples/val/ex-00ff-3.parquet",
            "scalars/x1-00ff-3.parquet",
            "scalars/3.parquet",
            "log/a1-00ff-3.parquet",
        ] {
            assert_eq!(Stem::parse(other), None, "{other}");
        }
    }

    fn group(row_ids: &[u64], source: bool) -> Group {
        let mut rows = Rows::new("val-a2", 7, row_ids.to_vec()).unwrap().step(5);
        if source {
            rows = rows.source("t".parse().unwrap(), 4.into());
        }
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let loss = Float32Array::from_iter_values(row_ids.iter().map(|id| *id as f32 / 2.0));
        let columns = RecordBatch::try_from_iter([("loss", Arc::new(loss) as ArrayRef)]).unwrap();
        Group {
            stream: rows.stream.clone(),
            epoch: 7,
            n_rows: row_ids.len(),
            batches: vec![(rows, columns)],
            bytes: 0,
        }
    }

    fn rows(batches: &[RecordBatch]) -> Vec<String> {
        let row = |batch: &RecordBatch, row| {
            let cells = batch.columns().iter();
            let cells = cells.map(|cells| array_value_to_string(cells, row).unwrap());
            cells.collect::<Vec<_>>().join(" ")
        };
        let rows = batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |at| row(batch, at)));
        rows.collect()
    }

    fn folded(file: &[u8]) -> Vec<String> {
        let content = read("it", &file.to_vec().into()).unwrap();
        rows(&columns::decode(content.fold().unwrap().unwrap()).unwrap())
    }

    #[test]
    fn sample_metrics_are_folded_by_row_id() {
        let mut file = Vec::new();
        begin(&mut file, "r", &samples(7), 1).unwrap();
        push_rows(&mut file, &group(&[4, 2], true)).unwrap();
        push_rows(&mut file, &group(&[3, 2], false)).unwrap();
        let content = read("it", &file.clone().into()).unwrap();
        let logged = [
            "7 5 4 t 4 1 2 2.0",
            "7 5 2 t 4 1 2 1.0",
            "7 5 3   1 2 1.5",
            "7 5 2   1 2 1.0",
        ];
        assert_eq!(rows(&content.into_rows().unwrap()), logged);
        assert_eq!(folded(&file), [1, 3, 2, 0].map(|at| logged[at]));
    }

    #[test]
    fn scalars_are_folded_by_name_and_step() {
        let mut file = Vec::new();
        begin(&mut file, "r", &scalars("00ff"), 1).unwrap();
        let names = [(5, "b"), (9, "a")];
        push_names(&mut file, names.into_iter()).unwrap();
        let mut points = Scalars::default();
        for (name, step, value) in [(5, 2, 0.5), (9, 1, 1.5), (5, -1, f64::NAN), (5, 2, 2.5)] {
            points.push(name, step, 0, value);
        }
        push_points(&mut file, &points).unwrap();
        let file = read("it", &file.into()).unwrap().fold().unwrap().unwrap();
        let without_time = columns::decode(file).unwrap();
        let without_time = without_time
            .iter()
            .map(|batch| batch.project(&[0, 1, 3, 4, 5]).unwrap());
        assert_eq!(
            rows(&without_time.collect::<Vec<_>>()),
            ["a 1 1.5 1 2", "b -1 NaN 1 2", "b 2 0.5 1 2", "b 2 2.5 1 2"]
        );
    }

    #[test]
    fn a_segment_without_rows_folds_to_nothing() {
        let mut file = Vec::new();
        begin(&mut file, "r", &scalars("00ff"), 0).unwrap();
        assert!(read("it", &file.into()).unwrap().fold().unwrap().is_none());
        assert!(read("it", &Bytes::new()).unwrap().fold().unwrap().is_none());
    }

    #[test]
    fn whole_frames_that_are_not_what_they_should_be_are_corrupt() {
        let frames = |frames: &[(Kind, &[u8])]| {
            let mut file = Vec::new();
            begin(&mut file, "r", &scalars("00ff"), 0).unwrap();
            for (kind, payload) in frames {
                frame::push(&mut file, *kind, |out| {
                    out.extend(*payload);
                    Ok(())
                })
                .unwrap();
            }
            file
        };
        let head = frames(&[]).split_off(frame::MAGIC.len() + 16);
        let mut headless = frame::MAGIC.to_vec();
        push_names(&mut headless, [(0, "a")].into_iter()).unwrap();
        for file in [
            frames(&[(Kind::Head, &head)]),
            frames(&[(Kind::Names, &[0, 9, b'a'])]),
            frames(&[(Kind::Names, &[0, 1, 0xff])]),
            frames(&[(Kind::Points, &[1, 1, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]),
            frames(&[(Kind::Points, b"what is this")]),
            frames(&[(Kind::Rows, b"not an arrow stream")]),
            headless,
            b"PAR1".to_vec(),
        ] {
            let err = read("it", &file.into()).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Corrupt, "{err:#}");
            assert!(err.to_string().contains("it"), "{err}");
        }
    }

    #[test]
    fn a_newer_segment_is_refused() {
        let mut file = frame::MAGIC.to_vec();
        frame::push(&mut file, Kind::Head, |out| {
            out.extend(br#"{"format": 99, "novelty": 1}"#);
            Ok(())
        })
        .unwrap();
        let err = read("it", &file.into()).unwrap_err();
        assert!(
            err.kind() == ErrorKind::Invalid && format!("{err:#}").contains("99"),
            "{err:#}"
        );
    }
}
