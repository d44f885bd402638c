//! One segment while it grows: on this machine's disk, where readers see it grow, or in memory, where it
//! waits to be folded.

use std::path::{Path as DiskPath, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use object_store::path::PathPart;

use super::buffer::{Group, Held, Lost, Scalars};
use super::segment::{self, SEGMENT, Stem};
use crate::error::{Error, ErrorKind, Result};
use crate::store::GrowingFile;

/// Memory for frames that is kept for the next ones.
const SPARE_BYTES_MAX: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Growing {
    pub(crate) stem: Stem,
    /// Where it grows; `None` for memory.
    path: Option<PathBuf>,
    /// Once something was written to it.
    file: Option<GrowingFile>,
    /// Frames that are in no file.
    frames: Vec<u8>,
    /// The rows in `frames`.
    held: Held,
    /// All its rows.
    total: Held,
    /// By their numbers, the names that are in it.
    has_name: Vec<bool>,
}

/// What a segment is after its last row.
#[derive(Debug)]
pub(crate) struct Closed {
    pub(crate) stem: Stem,
    pub(crate) content: Content,
    /// Its rows that are stored nowhere yet.
    pub(crate) held: Held,
    /// All its rows.
    pub(crate) total: Held,
}

/// Where the bytes of a closed segment are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Disk(PathBuf),
    Memory(Bytes),
}

impl Growing {
    /// A segment without rows. `folder` is the run's, if it lies on this machine's disk. Makes no file.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn new(folder: Option<&DiskPath>, run: &str, stem: Stem, rank: i32) -> Result<Self> {
        let mut frames = Vec::new();
        segment::begin(&mut frames, run, &stem, rank)?;
        Ok(Self {
            path: folder.map(|folder| path(folder, &stem)),
            stem,
            file: None,
            frames,
            held: Held::default(),
            total: Held::default(),
            has_name: Vec::new(),
        })
    }

    /// Appends scalars, and those of their names that are not in it.
    ///
    /// # Errors
    /// If they are too many for one frame; nothing of them is then in it.
    pub(crate) fn add_scalars(&mut self, scalars: &Scalars, names: &[Arc<str>]) -> Result<()> {
        let mut added: Vec<u32> = Vec::new();
        self.has_name
            .resize(names.len().max(self.has_name.len()), false);
        for number in &scalars.names {
            if let Some(has @ false) = self.has_name.get_mut(*number as usize) {
                *has = true;
                added.push(*number);
            }
        }
        let start = self.frames.len();
        let named = added
            .iter()
            .filter_map(|number| Some((*number, &**names.get(*number as usize)?)));
        let pushed = match added.is_empty() {
            true => Ok(()),
            false => segment::push_names(&mut self.frames, named),
        };
        let pushed = pushed.and_then(|()| segment::push_points(&mut self.frames, scalars));
        if pushed.is_err() {
            self.frames.truncate(start);
            for number in added {
                if let Some(has) = self.has_name.get_mut(number as usize) {
                    *has = false;
                }
            }
            return pushed;
        }
        self.add(Held {
            rows: Lost {
                scalars: scalars.len() as u64,
                ..Lost::default()
            },
            ..Held::default()
        });
        Ok(())
    }

    /// Appends sample metrics of its stream and epoch.
    ///
    /// # Errors
    /// As [`Self::add_scalars`].
    pub(crate) fn add_samples(&mut self, group: &Group) -> Result<()> {
        segment::push_rows(&mut self.frames, group)?;
        self.add(Held {
            rows: Lost {
                sample_rows: group.n_rows as u64,
                ..Lost::default()
            },
            sample_bytes: group.bytes,
            ..Held::default()
        });
        Ok(())
    }

    /// Appends items of its kind, which count as `held` says.
    ///
    /// # Errors
    /// As [`Self::add_scalars`].
    pub(crate) fn add_items(&mut self, items: &RecordBatch, held: Held) -> Result<()> {
        segment::push_items(&mut self.frames, items)?;
        self.add(held);
        Ok(())
    }

    fn add(&mut self, held: Held) {
        self.held.add(held);
        self.total.add(held);
    }

    /// Writes what is not written, and gives what is stored by it: nothing, for one in memory.
    ///
    /// # Errors
    /// As the disk says; what could not be written is kept for the next time.
    pub(crate) fn write(&mut self) -> Result<Held> {
        let Some(path) = &self.path else {
            return Ok(Held::default());
        };
        if self.held.rows.is_none() {
            return Ok(Held::default());
        }
        let mut write = || {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(GrowingFile::create(path)?),
            };
            file.append(&self.frames)
        };
        let failed = |err| unwritable(path, err);
        write().map_err(failed)?;
        self.frames.clear();
        self.frames.shrink_to(SPARE_BYTES_MAX);
        Ok(std::mem::take(&mut self.held))
    }

    /// Makes what was written outlive a loss of power.
    ///
    /// # Errors
    /// As the disk says.
    pub(crate) fn sync(&mut self) -> Result<()> {
        match (&mut self.file, &self.path) {
            (Some(file), Some(path)) => file.sync().map_err(|err| unwritable(path, err)),
            _ => Ok(()),
        }
    }

    /// Whether something of it was written.
    pub(crate) fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Ends it where the disk takes no more: what is in its file comes back to memory.
    ///
    /// # Errors
    /// If the file cannot be read; the segment is as before.
    pub(crate) fn recall(&mut self) -> Result<()> {
        if let (Some(file), Some(path)) = (&self.file, &self.path) {
            let mut bytes = std::fs::read(path).map_err(|err| {
                let message = format!("cannot read {}", path.display());
                Error::new(ErrorKind::Unavailable, message).with_source(err)
            })?;
            bytes.truncate(usize::try_from(file.bytes()).unwrap_or(usize::MAX));
            bytes.append(&mut self.frames);
            self.frames = bytes;
            std::fs::remove_file(path).unwrap_or_default();
        }
        (self.file, self.path) = (None, None);
        Ok(())
    }

    /// The bytes of all its frames.
    pub(crate) fn bytes(&self) -> u64 {
        let written = self.file.as_ref().map_or(0, GrowingFile::bytes);
        written + self.frames.len() as u64
    }

    /// Rows that are stored nowhere yet.
    pub(crate) fn held(&self) -> Held {
        self.held
    }

    /// Ends it; [`Self::write`] and [`Self::sync`] come before. One that was never written to stays in memory.
    pub(crate) fn close(self) -> Closed {
        let content = match (self.file, self.path) {
            (Some(_), Some(path)) => Content::Disk(path),
            _ => Content::Memory(self.frames.into()),
        };
        Closed {
            stem: self.stem,
            content,
            held: self.held,
            total: self.total,
        }
    }
}

/// Where a segment lies below the folder of its run: where a store on this disk finds it.
pub(crate) fn path(folder: &DiskPath, stem: &Stem) -> PathBuf {
    let path = stem.path(SEGMENT);
    path.split('/').fold(folder.to_owned(), |path, name| {
        path.join(PathPart::from(name).as_ref())
    })
}

fn unwritable(path: &DiskPath, err: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("cannot write {}", path.display()),
    )
    .with_source(err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::frame::End;

    fn stem() -> Stem {
        Stem {
            topic: segment::Topic::Scalars,
            attempt: 1,
            writer: "00ff".to_owned(),
            number: 0,
        }
    }

    fn points(steps: &[i64]) -> Scalars {
        let mut points = Scalars::default();
        for step in steps {
            points.push(u32::from(*step > 1), *step, 0, 1.0);
        }
        points
    }

    /// Names and steps of the rows in a segment.
    fn rows(bytes: Vec<u8>) -> (String, End) {
        let content = segment::read("it", &bytes.into()).unwrap();
        let batch = content.scalars().unwrap();
        let cell = |column: usize, row| {
            arrow::util::display::array_value_to_string(batch.column(column), row).unwrap()
        };
        let rows = (0..batch.num_rows()).map(|row| format!("{}{}", cell(0, row), cell(1, row)));
        (rows.collect::<Vec<_>>().join(" "), content.end)
    }

    #[test]
    fn readers_see_a_segment_grow() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a".into(), "b".into()];
        let mut growing = Growing::new(Some(folder.path()), "r", stem(), 0).unwrap();
        let path = folder.path().join("scalars/a1-00ff-0.seg");
        for (steps, expected) in [
            (&[1][..], "a1"),
            (&[2, 1], "a1 b2 a1"),
            (&[3], "a1 b2 a1 b3"),
        ] {
            growing.add_scalars(&points(steps), &names).unwrap();
            assert_eq!(growing.held().rows.scalars, steps.len() as u64);
            assert_eq!(growing.write().unwrap().rows.scalars, steps.len() as u64);
            growing.sync().unwrap();
            let file = std::fs::read(&path).unwrap();
            assert_eq!(file.len() as u64, growing.bytes());
            assert_eq!(rows(file), (expected.to_owned(), End::Whole));
        }
        let closed = growing.close();
        assert!(matches!(closed.content, Content::Disk(found) if found == path));
        assert_eq!(
            (closed.total.rows.scalars, closed.held.rows.scalars),
            (4, 0)
        );
    }

    #[test]
    fn one_in_memory_holds_its_rows_until_it_is_closed() {
        let names = ["a".into(), "b".into()];
        let mut growing = Growing::new(None, "r", stem(), 0).unwrap();
        growing.add_scalars(&points(&[1, 2]), &names).unwrap();
        assert_eq!(growing.write().unwrap().rows.scalars, 0);
        let closed = growing.close();
        assert_eq!(closed.held.rows.scalars, 2);
        let Content::Memory(bytes) = closed.content else {
            panic!("it has a file")
        };
        assert_eq!(rows(bytes.into()).0, "a1 b2");
    }

    #[test]
    fn what_cannot_be_written_is_kept_and_written_once_it_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a".into(), "b".into()];
        let mut growing = Growing::new(Some(folder.path()), "r", stem(), 0).unwrap();
        std::fs::write(folder.path().join("scalars"), "in the way").unwrap();
        for n in 1..4 {
            growing.add_scalars(&points(&[n]), &names).unwrap();
            assert_eq!(growing.write().unwrap_err().kind(), ErrorKind::Unavailable);
        }
        std::fs::remove_file(folder.path().join("scalars")).unwrap();
        assert_eq!(growing.write().unwrap().rows.scalars, 3);
        let file = std::fs::read(folder.path().join("scalars/a1-00ff-0.seg")).unwrap();
        assert_eq!(rows(file).0, "a1 b2 b3");
    }

    #[test]
    fn what_grew_on_a_disk_that_takes_no_more_comes_back_to_memory() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["a".into(), "b".into()];
        let mut growing = Growing::new(Some(folder.path()), "r", stem(), 0).unwrap();
        growing.add_scalars(&points(&[1]), &names).unwrap();
        growing.write().unwrap();
        growing.add_scalars(&points(&[2]), &names).unwrap();
        growing.recall().unwrap();
        assert_eq!(growing.write().unwrap().rows.scalars, 0, "it has no file");
        growing.add_scalars(&points(&[3]), &names).unwrap();
        let closed = growing.close();
        assert_eq!(
            (closed.total.rows.scalars, closed.held.rows.scalars),
            (3, 2)
        );
        let Content::Memory(bytes) = closed.content else {
            panic!("it has a file")
        };
        assert_eq!(rows(bytes.into()).0, "a1 b2 b3");
        assert!(!folder.path().join("scalars/a1-00ff-0.seg").exists());
    }
}
