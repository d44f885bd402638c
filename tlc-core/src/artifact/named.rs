//! Manifests, and all that the versions of a project name.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::ObjectMeta;
use tokio::sync::OnceCell;

use super::paths::{MANIFEST_BYTES_MAX, checked, is_manifest};
use super::{Artifact, LOOKS_MAX, folders};
use crate::blob::{check_name, is_young_file};
use crate::error::{Error, ErrorKind, Result};
use crate::format;
use crate::format::artifact::{Chunk, Entry, Event, Manifest};
use crate::runtime::run_blocking;
use crate::store::{self, Place};

/// Reads a manifest of the artifact in `place`, verifies and checks it. One request.
///
/// # Errors
/// [`ErrorKind::Corrupt`] naming the file if it is missing, damaged, or says what none may;
/// [`ErrorKind::Invalid`] if a newer version wrote it; those of the store.
pub(super) async fn read_manifest(place: &Place, name: &str) -> Result<Manifest> {
    Ok(read_manifest_file(place, name).await?.1)
}

/// The same with its bytes, for somebody who copies it.
///
/// # Errors
/// As [`read_manifest`].
pub(crate) async fn read_manifest_file(place: &Place, name: &str) -> Result<(Bytes, Manifest)> {
    let path = place.below(name);
    let bytes = store::read_at_most(&*place.store, &path, MANIFEST_BYTES_MAX).await?;
    let bytes = bytes.ok_or_else(|| Error::corrupt(format!("{name} is missing")))?;
    let name = name.to_owned();
    run_blocking(move || {
        check_name(&name, &bytes)?;
        let manifest = format::decode(&name, &bytes)?;
        let manifest = checked(manifest).map_err(|err| Error::corrupt(name).with_source(err))?;
        Ok((bytes, manifest))
    })
    .await
}

/// The manifest that an entry of an artifact's log names, if it is of a version.
///
/// # Errors
/// [`ErrorKind::Corrupt`] naming `what` if it is no such entry, or is damaged.
pub(crate) fn manifest_of(what: &str, entry: &[u8]) -> Result<Option<String>> {
    match Entry::decoded(what, entry)?.event {
        Event::Version { manifest, .. } if is_manifest(&manifest) => Ok(Some(manifest)),
        Event::Version { manifest, .. } => Err(Error::corrupt(format!(
            "{what} names {manifest:?}, which is no manifest"
        ))),
        Event::Alias { .. } => Ok(None),
    }
}

/// The names of all chunks that versions of a project name, once they have been read; `None` if an artifact is damaged, and
/// nobody can say.
pub(crate) type NamedChunks = OnceCell<Option<BTreeSet<String>>>;

/// Whether a chunk that is there stays: because it is young, or because a version names it. Where an artifact is damaged, an
/// old one is said not to stay.
///
/// # Errors
/// Those of the store.
pub(crate) async fn is_at_hand(
    project: &Place,
    found: &ObjectMeta,
    named: &NamedChunks,
) -> Result<bool> {
    if is_young_file(project, found) {
        return Ok(true);
    }
    let name = found.location.filename().unwrap_or_default();
    let named = named_at_hand(project, named).await?;
    Ok(named.is_some_and(|named| named.contains(name)))
}

/// What [`named_chunks`] gives, read once, also where an artifact is damaged.
///
/// # Errors
/// Those of the store.
pub(super) async fn named_at_hand<'a>(
    project: &Place,
    named: &'a NamedChunks,
) -> Result<Option<&'a BTreeSet<String>>> {
    let read = || async {
        match named_chunks(project).await {
            Ok(named) => Ok(Some(named)),
            Err(err) if err.kind() == ErrorKind::Corrupt => Ok(None),
            Err(err) => Err(err),
        }
    };
    Ok(named.get_or_try_init(read).await?.as_ref())
}

/// The names of all chunks that a version of an artifact of the project names. Reads all logs, and all manifests.
///
/// # Errors
/// [`ErrorKind::Corrupt`] naming an entry or a manifest that is damaged; those of the store.
async fn named_chunks(project: &Place) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for name in folders(project).await? {
        let artifact = Artifact::new(project, name);
        let manifests = manifests_of(&artifact).await?;
        add_chunks(&artifact, &manifests, &mut named).await?;
    }
    Ok(named)
}

/// The manifests that the versions of an artifact name.
pub(super) async fn manifests_of(artifact: &Artifact) -> Result<BTreeSet<String>> {
    let versions = artifact.history().await?.record.versions.into_iter();
    Ok(versions.map(|version| version.manifest).collect())
}

/// Adds the names of the chunks that manifests name.
pub(super) async fn add_chunks(
    artifact: &Artifact,
    manifests: &BTreeSet<String>,
    named: &mut BTreeSet<String>,
) -> Result<()> {
    let place = artifact.place();
    let reads = manifests.iter().map(|name| {
        let place = place.clone();
        async move {
            let read = read_manifest(&place, name).await;
            read.map_err(|err| err.context(format!("cannot read artifact {artifact}")))
        }
    });
    let reads: Vec<_> = reads.collect();
    let mut reads = stream::iter(reads).buffer_unordered(LOOKS_MAX);
    while let Some(manifest) = reads.try_next().await? {
        named.extend(manifest.chunks.iter().map(Chunk::file));
    }
    Ok(())
}
