//! Artifacts: files and folders with a history of versions, such as models.
//!
//! An artifact is its log. Each version is an entry that names a manifest, which says what files there are and which
//! chunks hold their bytes; chunks are cut by content, named by their hash, and shared by all artifacts of the project. So a
//! small change of a large file stores a small part of it, and what was sent before an interruption is not sent again.
//! Aliases name versions, and their moves stay in the log.
//!
//! Begin with `put.rs` and `get.rs`. What a stranger's manifest may say is decided in `paths.rs`.

mod aliases;
mod cut;
mod gc;
mod get;
mod history;
mod named;
mod options;
mod paths;
mod put;
mod record;
mod stored;
mod target;
mod tensors;
mod verify;
mod walk;

use std::fmt;
use std::path::{Path, PathBuf};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectStoreExt as _;

use crate::error::{Error, Result};
use crate::format::artifact::{Chunk, Manifest};
use crate::id::{ArtifactName, Revision};
use crate::store::Place;
pub use aliases::AliasOptions;
pub(crate) use gc::gc;
use history::History;
pub(crate) use named::{NamedChunks, is_at_hand, manifest_of, read_manifest_file};
pub use options::{ArtifactProgress, ArtifactSource, GetOptions, PutOptions};
pub(crate) use paths::{CHUNKS, FOLDER};
pub(crate) use put::put;
pub use record::{
    AliasMove, AliasRecord, ArtifactFile, ArtifactRecord, ArtifactRole, ArtifactUse, VersionRecord,
};
pub(crate) use stored::read as read_chunk;
pub use tensors::{TensorRecord, Tensors};
pub(crate) use verify::verify;

/// How many artifacts, manifests or chunks are looked at together.
const LOOKS_MAX: usize = 16;

/// An artifact of a project. Cheap to clone.
#[derive(Clone)]
pub struct Artifact {
    project: Place,
    name: ArtifactName,
}

/// One version of an artifact. Never changes.
#[derive(Clone)]
pub struct ArtifactVersion {
    artifact: Artifact,
    record: VersionRecord,
}

impl Artifact {
    /// The artifact of that name, whether or not it has a version.
    pub(crate) fn new(project: &Place, name: ArtifactName) -> Self {
        Self {
            project: project.clone(),
            name,
        }
    }

    /// The artifact's name.
    #[must_use]
    pub fn name(&self) -> &ArtifactName {
        &self.name
    }

    /// Its versions and aliases with all that is known of them. A listing of the log, and a read of each entry.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such artifact,
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming an entry that is damaged,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if a newer version wrote it; those of the store.
    pub async fn record(&self) -> Result<ArtifactRecord> {
        let record = self.history().await?.record;
        match record.versions.is_empty() {
            true => Err(Error::not_found(format!("there is no artifact {self}"))),
            false => Ok(record),
        }
    }

    /// The newest version. Costs what [`Self::record`] costs.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub async fn newest(&self) -> Result<ArtifactVersion> {
        let record = self.record().await?;
        let newest = record.versions.into_iter().next_back();
        newest
            .map(|record| self.version(record))
            .ok_or_else(|| Error::not_found(format!("{self} has no version")))
    }

    /// The version of a number, such as `3`, or the one that an alias names. Costs what [`Self::record`] costs.
    ///
    /// # Errors
    /// As [`Self::record`]; also [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such version or alias.
    pub async fn at(&self, which: &str) -> Result<ArtifactVersion> {
        let record = self.record().await?;
        let version = record
            .resolve(which)
            .map_err(|err| Error::not_found(format!("{self}: {err}")))?;
        Ok(self.version(version.clone()))
    }

    fn version(&self, record: VersionRecord) -> ArtifactVersion {
        ArtifactVersion {
            artifact: self.clone(),
            record,
        }
    }

    async fn history(&self) -> Result<History> {
        History::read(self).await
    }

    /// Its folder.
    fn place(&self) -> Place {
        self.project.child(FOLDER).child(self.name.as_str())
    }

    /// What a version holds. One request.
    async fn manifest(&self, record: &VersionRecord) -> Result<Manifest> {
        let read = named::read_manifest(&self.place(), &record.manifest).await;
        read.map_err(|err| err.context(format!("cannot read {self}@{}", record.version)))
    }
}

impl ArtifactVersion {
    /// The artifact that it is a version of.
    #[must_use]
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Its number: versions count from 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.record.version
    }

    /// What is known of it without reading what it holds.
    #[must_use]
    pub fn record(&self) -> &VersionRecord {
        &self.record
    }

    /// Its files, by path. One request.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming the version if its manifest is missing or damaged; those of the store.
    pub async fn files(&self) -> Result<Vec<ArtifactFile>> {
        let manifest = self.manifest().await?;
        let file = |file: crate::format::artifact::File| ArtifactFile {
            path: file.path,
            bytes: file.bytes,
            blake3: file.blake3,
            is_executable: file.executable,
        };
        Ok(manifest.files.into_iter().map(file).collect())
    }

    /// Whether it is one file, and not a folder. One request.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub async fn is_file(&self) -> Result<bool> {
        Ok(self.manifest().await?.is_file)
    }

    /// How many chunks it is cut into. One request.
    ///
    /// # Errors
    /// As [`Self::files`].
    pub async fn n_chunks(&self) -> Result<u64> {
        Ok(self.manifest().await?.chunks.len() as u64)
    }

    async fn manifest(&self) -> Result<Manifest> {
        self.artifact.manifest(&self.record).await
    }

    /// Reads a chunk and verifies it.
    async fn chunk(&self, chunk: Chunk) -> Result<bytes::Bytes> {
        let read = stored::read(&self.artifact.project, chunk).await;
        read.map_err(|err| err.context(format!("cannot read {self}")))
    }
}

/// The artifacts of a project, by name. One listing, and one request for each.
///
/// # Errors
/// Those of the store.
pub(crate) async fn list(project: &Place) -> Result<Vec<ArtifactName>> {
    let looked = stream::iter(folders(project).await?).map(|name| async {
        let artifact = Artifact::new(project, name);
        let first = format!("{}.json", Revision::FIRST.file_stem());
        let first = artifact.place().path.join("log").join(first);
        // A put that was cut off leaves a folder without an entry.
        match project.store.head(&first).await {
            Ok(_) => Ok(Some(artifact.name)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(err) => Err(err.into()),
        }
    });
    looked
        .buffered(LOOKS_MAX)
        .try_filter_map(|name| async { Ok(name) })
        .try_collect()
        .await
}

/// What is known of all artifacts of a project: a listing of each log, and a read of each entry.
///
/// # Errors
/// As [`Artifact::record`].
pub(crate) async fn records(project: &Place) -> Result<Vec<ArtifactRecord>> {
    let reads = folders(project).await?.into_iter().map(|name| {
        let artifact = Artifact::new(project, name);
        async move { Ok(artifact.history().await?.record) }
    });
    let reads: Vec<_> = reads.collect();
    stream::iter(reads).buffered(LOOKS_MAX).try_collect().await
}

/// The root's folder, if it is on this machine.
fn root_on_disk(project: &Place) -> Option<PathBuf> {
    project.on_disk()?.parent().map(Path::to_owned)
}

/// The folders of artifacts, also of such as have no version yet.
async fn folders(project: &Place) -> Result<Vec<ArtifactName>> {
    let folders = project.child(FOLDER).folders().await?;
    Ok(folders
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect())
}

/// `NAME@WHICH` in its two parts; without `@` only the name.
pub(crate) fn parts(text: &str) -> Result<(ArtifactName, Option<&str>)> {
    match text.split_once('@') {
        Some((_, "")) => Err(Error::invalid(format!(
            "{text:?} names no version; write NAME, or such as NAME@3 or NAME@best"
        ))),
        Some((name, which)) => Ok((name.parse()?, Some(which))),
        None => Ok((text.parse()?, None)),
    }
}

/// The version that `NAME@WHICH` names, or the newest of `NAME`.
///
/// # Errors
/// As [`Artifact::at`].
pub(crate) async fn find(project: &Place, text: &str) -> Result<ArtifactVersion> {
    let (name, which) = parts(text)?;
    let artifact = Artifact::new(project, name);
    match which {
        Some(which) => artifact.at(which).await,
        None => artifact.newest().await,
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project.name(), self.name)
    }
}

impl fmt::Debug for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Artifact({self})")
    }
}

impl fmt::Display for ArtifactVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.artifact, self.number())
    }
}

impl fmt::Debug for ArtifactVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArtifactVersion({self})")
    }
}
