//! Files as one stream of bytes, read once: cut into chunks where their content says so, and hashed.
//!
//! The cuts follow from the bytes before them alone (FastCDC, in the form of 2020), so bytes that moved are cut in the same
//! places, and a change touches the chunks it is in and perhaps the next one. All of this waits and computes: it belongs
//! on a thread that may.

use std::fs::File as DiskFile;
use std::io::Read as _;
use std::path::Path;

use bytes::Bytes;
use fastcdc::v2020::FastCDC;

use super::walk::{Content, Found, changed, unreadable};
use crate::error::Result;
use crate::format::artifact::{Cut, File};

/// A chunk has at least so many bytes, unless the stream ends.
const BYTES_MIN: u32 = 512 << 10;

/// A chunk has about so many.
const BYTES_AVERAGE: u32 = 2 << 20;

/// A chunk has at most so many.
const BYTES_MAX: u32 = 8 << 20;

/// How streams are cut, as manifests say it.
pub(super) fn cut() -> Cut {
    Cut {
        algorithm: "fastcdc-2020-level-1".to_owned(),
        bytes_min: BYTES_MIN,
        bytes_average: BYTES_AVERAGE,
        bytes_max: BYTES_MAX,
    }
}

/// One chunk of the stream.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) hash: blake3::Hash,
    pub(super) bytes: Bytes,
}

/// See the module.
pub(super) struct Cutter {
    waiting: std::vec::IntoIter<Found>,
    reading: Option<Reading>,
    read: Vec<File>,
    offset: u64,
    /// What was read and not cut yet; as large as the largest chunk.
    buffer: Vec<u8>,
    n_buffered: usize,
}

/// A file that is being read.
struct Reading {
    found: Found,
    source: Opened,
    hasher: blake3::Hasher,
    n_read: u64,
}

enum Opened {
    Disk(DiskFile),
    Memory(Bytes),
}

impl Cutter {
    pub(super) fn new(files: Vec<Found>) -> Self {
        Self {
            waiting: files.into_iter(),
            reading: None,
            read: Vec::new(),
            offset: 0,
            buffer: vec![0; BYTES_MAX as usize],
            n_buffered: 0,
        }
    }

    /// The next chunk; `None` at the end of the stream. Waits for the disk.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) naming a file that changed since it was found;
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) naming one that cannot be read.
    pub(super) fn next(&mut self) -> Result<Option<Piece>> {
        self.fill()?;
        let filled = self.buffer.get(..self.n_buffered).unwrap_or_default();
        if filled.is_empty() {
            return Ok(None);
        }
        let sizes = [BYTES_MIN, BYTES_AVERAGE, BYTES_MAX].map(|bytes| bytes as usize);
        let [min, average, max] = sizes;
        let (_, end) = FastCDC::new(filled, min, average, max).cut(0, filled.len());
        let chunk = filled.get(..end).unwrap_or(filled);
        let piece = Piece {
            hash: blake3::hash(chunk),
            bytes: Bytes::copy_from_slice(chunk),
        };
        self.buffer
            .copy_within(piece.bytes.len()..self.n_buffered, 0);
        self.n_buffered -= piece.bytes.len();
        Ok(Some(piece))
    }

    /// The files that were read to their ends, in order.
    pub(super) fn into_files(self) -> Vec<File> {
        self.read
    }

    /// Reads until the buffer is full or the stream ends.
    fn fill(&mut self) -> Result<()> {
        while let Some(room) = self.buffer.get_mut(self.n_buffered..)
            && !room.is_empty()
        {
            let Some(reading) = &mut self.reading else {
                match self.waiting.next() {
                    Some(found) => self.reading = Some(Reading::begin(found)?),
                    None => return Ok(()),
                }
                continue;
            };
            match reading.read(room)? {
                0 => {
                    let ended = self.reading.take();
                    self.read
                        .extend(ended.map(|reading| reading.end(self.offset)));
                    self.offset = self.read.last().map_or(0, |file| file.offset + file.bytes);
                }
                n => self.n_buffered += n,
            }
        }
        Ok(())
    }
}

impl Reading {
    fn begin(found: Found) -> Result<Self> {
        let source = match &found.content {
            Content::Memory(bytes) => Opened::Memory(bytes.clone()),
            Content::Disk { path, modified } => {
                let file = DiskFile::open(path).map_err(|err| gone(path, err))?;
                let metadata = file.metadata().map_err(|err| unreadable(path, err))?;
                if metadata.len() != found.bytes || metadata.modified().ok() != *modified {
                    return Err(changed(path));
                }
                Opened::Disk(file)
            }
        };
        Ok(Self {
            found,
            source,
            hasher: blake3::Hasher::new(),
            n_read: 0,
        })
    }

    /// Reads some bytes; 0 at the end, which must be where it was.
    fn read(&mut self, room: &mut [u8]) -> Result<usize> {
        let n = match (&mut self.source, &self.found.content) {
            (Opened::Disk(file), Content::Disk { path, .. }) => {
                file.read(room).map_err(|err| unreadable(path, err))?
            }
            (Opened::Memory(rest), _) => {
                let n = rest.len().min(room.len());
                let some = rest.split_to(n);
                room.iter_mut()
                    .zip(&some)
                    .for_each(|(to, from)| *to = *from);
                n
            }
            // Opened as it was found.
            (Opened::Disk(_), Content::Memory(_)) => 0,
        };
        self.hasher.update(room.get(..n).unwrap_or_default());
        self.n_read += n as u64;
        let is_over = n == 0 && self.n_read != self.found.bytes;
        if is_over || self.n_read > self.found.bytes {
            return Err(changed(Path::new(&self.found.path)));
        }
        Ok(n)
    }

    fn end(self, offset: u64) -> File {
        File {
            path: self.found.path,
            offset,
            bytes: self.n_read,
            blake3: self.hasher.finalize().to_hex().to_string(),
            executable: self.found.is_executable,
        }
    }
}

/// A file that was found and cannot be opened.
fn gone(path: &Path, err: std::io::Error) -> crate::error::Error {
    match err.kind() {
        std::io::ErrorKind::NotFound => changed(path),
        _ => unreadable(path, err),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(path: &str, bytes: Vec<u8>) -> Found {
        Found {
            path: path.to_owned(),
            bytes: bytes.len() as u64,
            is_executable: false,
            content: Content::Memory(bytes.into()),
        }
    }

    /// Bytes that look like noise, always the same.
    fn noise(n: usize, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..n).map(|_| next()).collect()
    }

    fn all(files: Vec<Found>) -> (Vec<Piece>, Vec<File>) {
        let mut cutter = Cutter::new(files);
        let mut pieces = Vec::new();
        while let Some(piece) = cutter.next().unwrap() {
            pieces.push(piece);
        }
        (pieces, cutter.into_files())
    }

    #[test]
    fn the_chunks_are_the_files_one_after_the_other() {
        let files = [
            ("a", noise(3 << 20, 1)),
            ("b", Vec::new()),
            ("c", noise(17, 2)),
            ("d", noise(5 << 20, 3)),
            ("e", Vec::new()),
        ];
        let found = files
            .iter()
            .map(|(path, bytes)| memory(path, bytes.clone()));
        let (pieces, read) = all(found.collect());
        let stream: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| piece.bytes.to_vec())
            .collect();
        assert_eq!(
            stream,
            files
                .iter()
                .flat_map(|(_, bytes)| bytes.clone())
                .collect::<Vec<_>>()
        );
        for (file, (path, bytes)) in read.iter().zip(&files) {
            let range = usize::try_from(file.offset).unwrap()
                ..usize::try_from(file.offset + file.bytes).unwrap();
            assert_eq!((file.path.as_str(), &stream[range]), (*path, &bytes[..]));
            assert_eq!(file.blake3, blake3::hash(bytes).to_hex().to_string());
        }
        assert_eq!(read.len(), files.len());
        for piece in &pieces[..pieces.len() - 1] {
            assert!((512 << 10..=8 << 20).contains(&piece.bytes.len()));
            assert_eq!(piece.hash, blake3::hash(&piece.bytes));
        }
    }

    #[test]
    fn the_cuts_are_those_of_the_format() {
        // Whoever changes these finds no chunk again that was stored before.
        let (pieces, _) = all(vec![memory("a", noise(20_000_000, 7))]);
        let sizes: Vec<usize> = pieces.iter().map(|piece| piece.bytes.len()).collect();
        assert_eq!(sizes, CUTS);
        assert_eq!(all(Vec::new()).0.len(), 0);
    }

    const CUTS: &[usize] = &[
        2_435_694, 2_571_883, 1_213_025, 3_052_648, 6_973_053, 3_753_697,
    ];

    #[test]
    fn a_file_that_has_another_size_than_was_found_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "12345").unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().ok();
        let found = |bytes, modified| Found {
            path: "a".to_owned(),
            bytes,
            is_executable: false,
            content: Content::Disk {
                path: path.clone(),
                modified,
            },
        };
        for found in [found(4, modified), found(6, modified), found(5, None)] {
            let err = Cutter::new(vec![found]).next().unwrap_err();
            assert_eq!(err.kind(), crate::ErrorKind::Conflict);
            assert!(
                err.to_string().contains("changed while it was read"),
                "{err}"
            );
        }
        assert!(Cutter::new(vec![found(5, modified)]).next().is_ok());
        // It grows after it was opened.
        let mut reading = Reading::begin(found(5, modified)).unwrap();
        std::fs::write(&path, "123456").unwrap();
        assert!(reading.read(&mut [0; 100]).is_err());
    }
}
