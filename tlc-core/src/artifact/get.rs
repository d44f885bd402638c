//! A version becomes a file or a folder of this machine, or bytes in memory; every chunk and every file is verified.

use std::ops::Range;
use std::path::Path;

use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};

use super::options::{ArtifactProgress, GetOptions};
use super::target::{Replaces, Target};
use super::{ArtifactVersion, root_on_disk};
use crate::error::{Error, Result};
use crate::format::artifact::{Chunk, File, Manifest};
use crate::runtime::{run_aside, run_blocking};

/// How many chunks are fetched at the same time.
const GETS_MAX: usize = 8;

impl ArtifactVersion {
    /// Writes the version to `target`: a file there if it is a file, else a folder. Folders above it are made.
    ///
    /// It is written under a hidden name beside the target and gets the target's when it is whole, verified and on the disk, so there is
    /// all of it or nothing, also after a loss of power. One request for each chunk, eight at a time; holds about 20 MB of memory, at most 100. Of what a file
    /// system knows of a file only its name, its bytes and whether it is a program are kept.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if something is at the target and is not to be
    /// [replaced](GetOptions::replace); [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the version and what is missing or damaged,
    /// or the path that leads out of the target; [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if two of its paths are one on
    /// this machine, if it is a file and the target a folder, or if the folder that it would replace has the current folder or the root in
    /// it, or is in the root; those of the store and of the disk.
    pub async fn get(&self, target: impl AsRef<Path> + Send, options: GetOptions) -> Result<()> {
        let target = target.as_ref().to_owned();
        let manifest = self.manifest().await?;
        let project = &self.artifact.project;
        let replaces = Replaces {
            any: options.replaces,
            root: root_on_disk(project),
        };
        let id = project.env.fresh_id();
        let bytes_total = self.record.bytes;
        let begin = move || Ok((Target::begin(&target, replaces, &manifest, &id)?, manifest));
        let (mut written, manifest) = run_blocking(begin).await?;
        let mut chunks = std::pin::pin!(self.fetched(manifest.chunks));
        let mut bytes = 0;
        while let Some(chunk) = chunks.try_next().await? {
            bytes += chunk.len() as u64;
            let write = move || written.write(&chunk).map(|()| written);
            written = run_blocking(write)
                .await
                .map_err(|err| self.unreadable(err))?;
            options.told.tell(ArtifactProgress {
                bytes,
                bytes_total,
                bytes_moved: bytes,
            });
        }
        let finish = run_blocking(move || written.finish()).await;
        finish.map_err(|err| self.unreadable(err))
    }

    /// The bytes of one file of the version, by its path; of a version that is one file also by `""`.
    ///
    /// Verified as by [`Self::get`]. Holds the file, and the chunks that it is in, in memory.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such file; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt)
    /// naming the version and what is missing or damaged; those of the store.
    pub async fn read(&self, path: &str) -> Result<Vec<u8>> {
        let manifest = self.manifest().await?;
        let file = self.file(&manifest, path)?.clone();
        let range = file.offset..file.offset.saturating_add(file.bytes);
        let bytes = self.range(&manifest, range).await?;
        let named = format!("{self}: {}", file.path);
        run_blocking(
            move || match blake3::hash(&bytes).to_hex().as_str() == file.blake3 {
                true => Ok(bytes),
                false => Err(Error::corrupt(format!(
                    "{named} is not what its hash says, though its chunks are"
                ))),
            },
        )
        .await
    }

    /// The bytes of the one file of the version that ends in `.safetensors`: a model as adapters put it.
    ///
    /// Costs what [`Self::read`] costs.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if there is no such file or more than one; those of [`Self::read`].
    pub async fn read_model(&self) -> Result<Vec<u8>> {
        let files = self.files().await?;
        let mut models = files
            .iter()
            .filter(|file| file.path.ends_with(".safetensors"));
        match (models.next(), models.next()) {
            (Some(file), None) => self.read(&file.path).await,
            _ => Err(Error::invalid(format!(
                "{self} is no model: it must have one file that ends in .safetensors"
            ))),
        }
    }

    /// The file of that path; of a version that is one file also by no path.
    pub(super) fn file<'a>(&self, manifest: &'a Manifest, path: &str) -> Result<&'a File> {
        let is_meant = |file: &&File| file.path == path || (manifest.is_file && path.is_empty());
        let found = manifest.files.iter().find(is_meant);
        found.ok_or_else(|| Error::not_found(format!("there is no file {path:?} in {self}")))
    }

    /// The bytes of a range of the stream, from the chunks that it is in.
    pub(super) async fn range(&self, manifest: &Manifest, range: Range<u64>) -> Result<Vec<u8>> {
        let (begin, chunks) = chunks_of(manifest, &range);
        let mut chunks = std::pin::pin!(self.fetched(chunks));
        let (mut at, mut bytes) = (begin, Vec::new());
        while let Some(chunk) = chunks.try_next().await? {
            let end = at + chunk.len() as u64;
            let inside = |position: u64| {
                usize::try_from(position.clamp(at, end) - at).unwrap_or(chunk.len())
            };
            let wanted = inside(range.start)..inside(range.end);
            bytes.extend_from_slice(chunk.get(wanted).unwrap_or_default());
            at = end;
        }
        Ok(bytes)
    }

    /// Chunks in their order, verified, several fetched at a time.
    fn fetched(&self, chunks: Vec<Chunk>) -> impl Stream<Item = Result<bytes::Bytes>> + Send {
        let version = self.clone();
        let fetches = chunks.into_iter().map(move |chunk| {
            let version = version.clone();
            run_aside(async move { version.chunk(chunk).await })
        });
        stream::iter(fetches).buffered(GETS_MAX)
    }

    fn unreadable(&self, err: Error) -> Error {
        err.context(format!("cannot get {self}"))
    }
}

/// The chunks that a range of the stream is in, and where the first of them begins.
fn chunks_of(manifest: &Manifest, range: &Range<u64>) -> (u64, Vec<Chunk>) {
    let mut end = 0;
    let mut found = (range.start, Vec::new());
    for chunk in &manifest.chunks {
        let begin = end;
        end += chunk.bytes;
        if begin < range.end && range.start < end && !range.is_empty() {
            if found.1.is_empty() {
                found.0 = begin;
            }
            found.1.push(chunk.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::artifact::Cut;

    #[test]
    fn a_range_is_in_the_chunks_that_it_touches() {
        let chunk = |name: &str, bytes| Chunk {
            blake3: name.to_owned(),
            bytes,
            id: None,
        };
        let manifest = Manifest {
            format: 1,
            is_file: true,
            cut: Cut {
                algorithm: String::new(),
                bytes_min: 1,
                bytes_average: 1,
                bytes_max: 1,
            },
            files: Vec::new(),
            empty_folders: Vec::new(),
            chunks: vec![chunk("a", 4), chunk("b", 6), chunk("c", 2)],
        };
        let check = |range: Range<u64>, expected: &str| {
            let (begin, chunks) = chunks_of(&manifest, &range);
            let names: String = chunks.iter().map(|chunk| chunk.blake3.as_str()).collect();
            assert_eq!(format!("{begin} {names}"), expected, "{range:?}");
        };
        check(0..4, "0 a");
        check(0..5, "0 ab");
        check(3..11, "0 abc");
        check(4..10, "4 b");
        check(5..6, "4 b");
        check(10..12, "10 c");
        check(12..12, "12 ");
        check(5..5, "5 ");
    }
}
