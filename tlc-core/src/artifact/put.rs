//! A file or a folder becomes the next version.
//!
//! The chunks are stored first, then the manifest that names them, then the entry that names it; so what a reader
//! sees is there, and a put that is cut off has no effect but that the next one finds its chunks.

use std::collections::{BTreeSet, HashMap};

use futures::{TryStreamExt as _, stream};

use super::cut::{Cutter, Piece, cut};
use super::history::History;
use super::options::{ArtifactProgress, ArtifactSource, PutOptions, Source};
use super::paths::{MANIFEST_BYTES_MAX, MANIFESTS, checked};
use super::record::{ArtifactRecord, VersionRecord, check_alias};
use super::stored::Stored;
use super::walk::{Walked, changed, walk};
use super::{Artifact, manifest_chunks};
use crate::blob;
use crate::error::{Error, ErrorKind, Result};
use crate::format::artifact::{Chunk, Event, File, Manifest};
use crate::format::{self, VERSION};
use crate::id::{ArtifactName, RunName};
use crate::runtime::run_blocking;
use crate::store::Place;

/// How many chunks are stored at the same time.
const PUTS_MAX: usize = 8;

/// Puts the next version of an artifact, or the first one.
///
/// # Errors
/// As [`Project::put_artifact`](crate::Project::put_artifact).
pub(crate) async fn put(
    project: &Place,
    name: ArtifactName,
    source: ArtifactSource,
    options: PutOptions,
) -> Result<VersionRecord> {
    for alias in &options.aliases {
        check_alias(alias)?;
    }
    let run: Option<RunName> = options.run.as_deref().map(str::parse).transpose()?;
    let artifact = Artifact::new(project, name);
    let ArtifactSource(source) = source;
    let (source, walked) = look(source).await?;
    let mut history = artifact.history().await?;
    history.check_store().await?;
    let stored = Stored::new(project, known(&artifact, &history).await?);
    let sent = send(&stored, &walked, &options).await?;
    let (_, again) = look(source.clone()).await?;
    if again != walked {
        return Err(match &source {
            Source::Disk(path) => changed(path),
            Source::Memory { name, .. } => changed(name.as_ref()),
        });
    }
    let manifest = Manifest {
        format: VERSION,
        is_file: walked.is_file,
        cut: cut(),
        files: sent.files,
        empty_folders: walked.empty_folders,
        chunks: sent.chunks,
    };
    let (n_files, bytes) = (manifest.files.len() as u64, sent.bytes);
    let manifest = write_manifest(&artifact, &history, manifest).await?;
    let event = |record: &ArtifactRecord| {
        Ok(Some(Event::Version {
            version: record.versions.len() as u64 + 1,
            manifest: manifest.clone(),
            files: n_files,
            bytes,
            bytes_stored: sent.bytes_sent,
            message: options.message.clone(),
            run: run.as_ref().map(ToString::to_string),
            aliases: options.aliases.clone(),
        }))
    };
    history.append(event).await?;
    let newest = history.record.versions.pop();
    newest.ok_or_else(|| Error::not_found(format!("{artifact} has no version")))
}

/// Looks at the source, on a thread that may wait for the disk.
async fn look(source: Source) -> Result<(Source, Walked)> {
    run_blocking(move || {
        let walked = walk(&source)?;
        Ok((source, walked))
    })
    .await
}

/// The chunks of the newest version, which are there as long as it is. A manifest that cannot be read is no reason to
/// put nothing any more: then each chunk is asked for.
async fn known(artifact: &Artifact, history: &History) -> Result<BTreeSet<String>> {
    let Some(newest) = history.record.versions.last() else {
        return Ok(BTreeSet::new());
    };
    match manifest_chunks(&artifact.place(), &newest.manifest).await {
        Ok(chunks) => Ok(chunks.iter().map(Chunk::file).collect()),
        Err(err) if err.kind() == ErrorKind::Corrupt => Ok(BTreeSet::new()),
        Err(err) => Err(err),
    }
}

/// What was stored of a version.
struct Sent {
    files: Vec<File>,
    chunks: Vec<Chunk>,
    bytes: u64,
    bytes_sent: u64,
}

/// Cuts the files and stores the chunks, several at a time, each chunk once.
async fn send(stored: &Stored, walked: &Walked, options: &PutOptions) -> Result<Sent> {
    let cutter = Cutter::new(walked.files.clone());
    let mut met: BTreeSet<[u8; 32]> = BTreeSet::new();
    let pieces = stream::try_unfold(Cutting::Going(Box::new(cutter)), Cutting::next);
    let stores = pieces.map_ok(|step| {
        let store = match &step {
            Step::Piece(piece) if met.insert(*piece.hash.as_bytes()) => Some(piece.clone()),
            _ => None,
        };
        async move {
            let stored = match store {
                Some(piece) => Some(stored.store(piece).await?),
                None => None,
            };
            Ok((step.noted(), stored))
        }
    });
    let mut stores = std::pin::pin!(stores.try_buffered(PUTS_MAX));
    let mut sent = Sent {
        files: Vec::new(),
        chunks: Vec::new(),
        bytes: 0,
        bytes_sent: 0,
    };
    let bytes_total = walked.bytes();
    let mut ids: HashMap<String, Option<String>> = HashMap::new();
    while let Some((noted, stored)) = stores.try_next().await? {
        match noted {
            Noted::Files(files) => sent.files = files,
            Noted::Piece(hash, bytes) => {
                let blake3 = hash.to_hex().to_string();
                if let Some((chunk, bytes_sent)) = stored {
                    ids.insert(chunk.blake3, chunk.id);
                    sent.bytes_sent += bytes_sent;
                }
                // The first of its bytes came before it.
                let id = ids.get(&blake3).cloned().flatten();
                sent.chunks.push(Chunk { blake3, bytes, id });
                sent.bytes += bytes;
                options.told.tell(ArtifactProgress {
                    bytes: sent.bytes,
                    bytes_total,
                    bytes_moved: sent.bytes_sent,
                });
            }
        }
    }
    Ok(sent)
}

/// Files on their way through the cutter.
enum Cutting {
    Going(Box<Cutter>),
    Over,
}

/// What the cutter gives: chunks, and at the end what it read.
enum Step {
    Piece(Piece),
    Files(Vec<File>),
}

/// What is kept of a step once its bytes are gone.
enum Noted {
    Piece(blake3::Hash, u64),
    Files(Vec<File>),
}

impl Step {
    fn noted(self) -> Noted {
        match self {
            Self::Piece(piece) => Noted::Piece(piece.hash, piece.bytes.len() as u64),
            Self::Files(files) => Noted::Files(files),
        }
    }
}

impl Cutting {
    async fn next(self) -> Result<Option<(Step, Self)>> {
        let Self::Going(mut cutter) = self else {
            return Ok(None);
        };
        run_blocking(move || {
            Ok(Some(match cutter.next()? {
                Some(piece) => (Step::Piece(piece), Self::Going(cutter)),
                None => (Step::Files(cutter.into_files()), Self::Over),
            }))
        })
        .await
    }
}

/// Stores a manifest and gives its path in the artifact's folder. That of the newest version is not stored again.
async fn write_manifest(
    artifact: &Artifact,
    history: &History,
    manifest: Manifest,
) -> Result<String> {
    let bytes = run_blocking(move || {
        let is_good = checked(manifest)
            .map_err(|err| Error::invalid("it cannot be a version").with_source(err))?;
        format::encode(&is_good)
    })
    .await?;
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{artifact}: so many files and bytes are no version; put them as several artifacts"
        )));
    }
    let hash = blake3::hash(&bytes).to_hex();
    if let Some(newest) = history.record.versions.last()
        && newest.manifest.contains(hash.as_str())
    {
        return Ok(newest.manifest.clone());
    }
    let place = artifact.place();
    let folder = place.path.clone().join(MANIFESTS);
    let name = blob::put(&place, &folder, "json", bytes).await?;
    Ok(format!("{MANIFESTS}/{name}"))
}
