//! Collecting garbage: chunks and manifests that no version names.
//!
//! They come from puts that were cut off. It may run beside puts, by the rules that tables have: what lies there is listed
//! first and the logs are read after, and a put does not rely on an old chunk that no version names (`stored.rs`).

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::{ObjectMeta, ObjectStoreExt as _};

use super::named::{add_chunks, manifests_of};
use super::paths::{CHUNKS, FOLDER, is_chunk, is_manifest};
use super::{Artifact, LOOKS_MAX, folders};
use crate::env::Micros;
use crate::error::{Error, Result};
use crate::id::ArtifactName;
use crate::log;
use crate::store::{self, Place};
use crate::table::{Garbage, GcOptions, delete_files, garbage_file};

/// Finds the chunks and manifests of a project that no version names, and deletes them if told so.
///
/// Lists both, then reads the logs and manifests of all artifacts. Each file is looked at once more right before it is deleted.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if files younger than a day were to be deleted;
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if a log or a manifest cannot be read: then nothing is
/// deleted; those of the store.
pub(crate) async fn gc(project: &Place, options: &GcOptions) -> Result<Garbage> {
    options.check(&project.env)?;
    // In this order: what a put names that lands in between is young, or was named before.
    let chunks = listed(project, CHUNKS).await?;
    let manifests = listed(project, FOLDER).await?;
    if chunks.is_empty() && manifests.is_empty() {
        return Ok(Garbage::default());
    }
    let mut named = BTreeSet::new();
    let mut named_manifests = BTreeSet::new();
    for name in folders(project).await? {
        let artifact = Artifact::new(project, name);
        let manifests = manifests_of(&artifact).await?;
        add_chunks(&artifact, &manifests, &mut named).await?;
        let inside = |manifest: &String| format!("{}/{manifest}", artifact.name());
        named_manifests.extend(manifests.iter().map(inside));
    }
    let mut garbage = Garbage {
        is_deleted: options.deletes(),
        ..Garbage::default()
    };
    let is_old = |file: &ObjectMeta| {
        let written = Micros(file.last_modified.timestamp_micros());
        project.env.now().since(written) >= options.age()
    };
    let mut collected = Vec::new();
    let manifests = manifests
        .iter()
        .map(|(name, file)| (kind_below(name), named_manifests.contains(name), file));
    let chunks = chunks.iter().map(|(name, file)| {
        let kind = if is_chunk(name) {
            Kind::Ours
        } else {
            Kind::Unknown
        };
        (kind, named.contains(name), file)
    });
    for (kind, is_named, file) in manifests.chain(chunks) {
        match kind {
            Kind::Entry => {}
            _ if is_named => {}
            Kind::Unknown => garbage.unknown.push(file.location.to_string()),
            Kind::Ours if is_old(file) => collected.push(file),
            Kind::Ours => garbage.n_young += 1,
        }
    }
    if options.deletes() {
        let n_collected = collected.len();
        collected = delete(project, collected).await?;
        garbage.n_young += (n_collected - collected.len()) as u64;
    }
    garbage.files = collected.iter().map(|file| garbage_file(file)).collect();
    Ok(garbage)
}

/// Deletes files, several at a time, begun in their order, so that a manifest goes before the chunks that it names. Gives those that are gone:
/// one that was written again since it was listed is young, and somebody may be about to name it.
async fn delete<'a>(project: &Place, files: Vec<&'a ObjectMeta>) -> Result<Vec<&'a ObjectMeta>> {
    let deletes = files.into_iter().map(|file| async move {
        match project.store.head(&file.location).await {
            Ok(found) if found.last_modified != file.last_modified => return Ok(None),
            Ok(_) => {}
            // Whatever comes there now is new.
            Err(object_store::Error::NotFound { .. }) => return Ok(Some(file)),
            Err(err) => {
                let message = format!("cannot look at {}", file.location);
                return Err(Error::from(err).context(message));
            }
        }
        delete_files(&*project.store, vec![file]).await?;
        Ok(Some(file))
    });
    let deletes: Vec<_> = deletes.collect();
    let deleted = stream::iter(deletes).buffered(LOOKS_MAX);
    deleted
        .try_filter_map(|file| async move { Ok(file) })
        .try_collect()
        .await
}

/// What a file is by its name.
enum Kind {
    Entry,
    Ours,
    Unknown,
}

/// What a file below the folder of artifacts is.
fn kind_below(name: &str) -> Kind {
    let Some((artifact, inside)) = name.split_once('/') else {
        return Kind::Unknown;
    };
    if artifact.parse::<ArtifactName>().is_err() {
        return Kind::Unknown;
    }
    let entry = inside.strip_prefix("log/").and_then(log::number);
    match entry {
        Some(_) => Kind::Entry,
        None if is_manifest(inside) => Kind::Ours,
        None => Kind::Unknown,
    }
}

/// The objects below a folder of the project, by their paths in it.
pub(super) async fn listed(project: &Place, folder: &str) -> Result<Vec<(String, ObjectMeta)>> {
    let place = project.child(folder);
    let mut listed = Vec::new();
    let mut objects = place.store.list(Some(&place.path));
    while let Some(object) = objects.try_next().await? {
        let path = object.location.as_ref().strip_prefix(place.path.as_ref());
        let path = path.map(|path| store::decoded(path.trim_start_matches('/')));
        listed.extend(path.map(|path| (path, object)));
    }
    listed.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(listed)
}
