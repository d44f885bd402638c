//! A file or a folder becomes the next version.
//!
//! The chunks are stored first, then the manifest that names them, then the entry that names it; so what a reader
//! sees is there, and a put that is cut off has no effect but that the next one finds its chunks.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::cut::{Cutter, Piece, cut};
use super::history::History;
use super::named::read_manifest;
use super::options::{ArtifactProgress, ArtifactSource, PutOptions, Source};
use super::paths::{MANIFEST_BYTES_MAX, MANIFESTS, checked};
use super::record::{ArtifactRecord, VersionRecord, check_alias};
use super::stored::Stored;
use super::walk::{Walked, changed, walk};
use super::{Artifact, root_on_disk};

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
    let root = root_on_disk(project);
    let first = move || {
        refuse_root(&source, root.as_deref())?;
        Ok(source)
    };
    let (source, walked) = look(run_blocking(first).await?).await?;
    let mut history = artifact.history().await?;
    history.check_store().await?;
    let known = known(&artifact, &history).await?;
    let stored = Stored::new(project, known.chunks.clone());
    let sent = send(&stored, &walked, &options).await?;
    if let Source::Disk(path) = &source {
        let (_, again) = look(source.clone()).await?;
        if again != walked {
            return Err(changed(path));
        }
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
    let manifest = write_manifest(&artifact, &history, &known, manifest).await?;
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

/// Refuses a folder that the root is in, which changes while it is put. Waits for the disk.
fn refuse_root(source: &Source, root: Option<&Path>) -> Result<()> {
    let (Source::Disk(path), Some(root)) = (source, root) else {
        return Ok(());
    };
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    // The root may not be there yet.
    match (real(path), root.ancestors().find_map(real)) {
        (Some(folder), Some(root)) if root.starts_with(&folder) => Err(Error::invalid(format!(
            "{} cannot be put: the root lies in it; put a folder beside the root",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Looks at the source, on a thread that may wait for the disk.
async fn look(source: Source) -> Result<(Source, Walked)> {
    run_blocking(move || {
        let walked = walk(&source)?;
        Ok((source, walked))
    })
    .await
}

/// What is known before anything is looked for.
#[derive(Default)]
struct Known {
    /// The chunks of the newest version.
    chunks: BTreeSet<String>,
    /// Its manifest, if that is whole.
    manifest: Option<String>,
}

/// What the newest version names. A manifest that cannot be read is no reason to put nothing any more.
async fn known(artifact: &Artifact, history: &History) -> Result<Known> {
    let Some(newest) = history.record.versions.last() else {
        return Ok(Known::default());
    };
    match read_manifest(&artifact.place(), &newest.manifest).await {
        Ok(manifest) => Ok(Known {
            chunks: manifest.chunks.iter().map(Chunk::file).collect(),
            manifest: Some(newest.manifest.clone()),
        }),
        Err(err) if err.kind() == ErrorKind::Corrupt => Ok(Known::default()),
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

/// Stores a manifest and gives its path in the artifact's folder. One that a version names already is not stored again, unless it is
/// damaged: then it is written anew under its name.
async fn write_manifest(
    artifact: &Artifact,
    history: &History,
    known: &Known,
    manifest: Manifest,
) -> Result<String> {
    let place = artifact.place();
    let under_plain = match under_plain_names(&manifest, known) {
        Some(plain) => Some(encoded(artifact, plain).await?),
        None => None,
    };
    let bytes = encoded(artifact, manifest).await?;
    for bytes in under_plain.iter().chain([&bytes]) {
        if let Some(named) = named_already(history, bytes) {
            if known.manifest.as_ref() != Some(named) {
                mend_manifest(&place, named, bytes).await?;
            }
            return Ok(named.clone());
        }
    }
    let hash = blake3::hash(&bytes).to_hex();
    let plain = format!("{MANIFESTS}/{hash}.json");
    if blob::create(&place, &place.below(&plain), bytes.clone()).await? {
        return Ok(plain);
    }
    let found = mend_manifest(&place, &plain, &bytes).await?;
    if found.is_none_or(|found| blob::is_young_file(&place, &found)) {
        return Ok(plain);
    }
    // It may be collected at any moment.
    let anew = format!("{MANIFESTS}/{hash}.{}.json", place.env.fresh_id());
    blob::create(&place, &place.below(&anew), bytes).await?;
    Ok(anew)
}

/// The manifest as it was when its chunks had their plain names, if it is another one now: of damaged versions nobody can tell which chunks they name, so
/// chunks were stored once more. The plain ones are there too: they were looked for first, except those that are known.
fn under_plain_names(manifest: &Manifest, known: &Known) -> Option<Manifest> {
    let is_new = |chunk: &Chunk| chunk.id.is_some() && !known.chunks.contains(&chunk.file());
    if !manifest.chunks.iter().any(is_new) {
        return None;
    }
    let mut plain = manifest.clone();
    let renamed = plain.chunks.iter_mut().filter(|chunk| is_new(chunk));
    renamed.for_each(|chunk| chunk.id = None);
    Some(plain)
}

/// The manifest of these bytes that a version names, the newest first.
fn named_already<'a>(history: &'a History, manifest: &[u8]) -> Option<&'a String> {
    let hash = blake3::hash(manifest).to_hex();
    let versions = history.record.versions.iter().rev();
    let mut named = versions.map(|version| &version.manifest);
    named.find(|named| named.contains(hash.as_str()))
}

/// A manifest as it is stored, if it may be.
async fn encoded(artifact: &Artifact, manifest: Manifest) -> Result<Bytes> {
    let bytes = run_blocking(move || {
        let is_good = checked(manifest)
            .map_err(|err| Error::invalid("it cannot be a version").with_source(err))?;
        format::encode(&is_good)
    })
    .await?;
    match bytes.len() > MANIFEST_BYTES_MAX {
        true => Err(Error::invalid(format!(
            "{artifact}: so many files and bytes are no version; put them as several artifacts"
        ))),
        false => Ok(bytes),
    }
}

/// Writes a manifest again where it is missing or damaged. Gives what was there. One request where it is whole.
async fn mend_manifest(place: &Place, name: &str, bytes: &Bytes) -> Result<Option<ObjectMeta>> {
    let path = place.below(name);
    let found = match place.store.get(&path).await {
        Ok(found) => Some(found),
        Err(object_store::Error::NotFound { .. }) => None,
        Err(err) => return Err(Error::from(err).context(format!("cannot read {path}"))),
    };
    let meta = found.as_ref().map(|found| found.meta.clone());
    let is_whole = match found {
        Some(found) if found.meta.size == bytes.len() as u64 => found.bytes().await? == *bytes,
        _ => false,
    };
    if !is_whole {
        let put = place.store.put(&path, bytes.clone().into()).await;
        put.map_err(|err| Error::from(err).context(format!("cannot write {path}")))?;
    }
    Ok(meta)
}
