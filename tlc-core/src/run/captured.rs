//! Where it lies what a run is made of: files named by their content, shared by all runs of a process, and an entry that names them.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{PutMode, PutOptions};

use super::record::RunCode;
use crate::error::{Error, ErrorKind, Result};
use crate::format::provenance::Record;
use crate::format::run::{Entry, Event};
use crate::format::{self, VERSION};
use crate::provenance::{Captured, PatchFile, Provenance};
use crate::store::{self, Place};

/// The folder of a project that they are in.
const FOLDER: &str = "provenance";

/// Stores what is known, and gives the entry that says so. At most two requests.
///
/// # Errors
/// Those of the store; it may be called again.
pub(crate) async fn store(project: &Place, writer: String, captured: Captured) -> Result<Event> {
    let Captured {
        provenance, patch, ..
    } = captured;
    if let Some(patch) = patch {
        put(project, "patch", patch.into()).await?;
    }
    let code = provenance.code.clone().unwrap_or_default();
    let record = format::encode(&Record {
        format: VERSION,
        provenance,
    })?;
    Ok(Event::Captured {
        writer,
        dirty: code.is_dirty(),
        commit: code.commit,
        branch: code.branch,
        provenance: put(project, "json", record).await?,
    })
}

/// Puts a file unless it is there, and gives the hash that it is named by.
async fn put(project: &Place, ending: &str, bytes: Bytes) -> Result<String> {
    let hash = blake3::hash(&bytes).to_hex().to_string();
    put_new(project, (&hash, ending), bytes).await?;
    Ok(hash)
}

/// Puts a file unless it is there; whether it was not.
async fn put_new(project: &Place, (hash, ending): (&str, &str), bytes: Bytes) -> Result<bool> {
    let path = path(project, hash, ending);
    let options = PutOptions::from(PutMode::Create);
    let store = project.waiting_store();
    match store.put_opts(&path, bytes.into(), options).await {
        Ok(_) => Ok(true),
        Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
        Err(err) => Err(Error::from(err).context(format!("cannot write {path}"))),
    }
}

/// Copies the files that an entry of a run's log names, for whoever copies the entry after; gives the bytes of each that was not there.
/// What is gone or damaged is left to [`flaw`].
///
/// # Errors
/// [`ErrorKind::Corrupt`] if it is no such entry; those of both stores.
pub(crate) async fn bring(from: &Place, to: &Place, entry: &[u8]) -> Result<Vec<u64>> {
    let entry: Entry = format::decode("an entry", entry)?;
    let Event::Captured { provenance, .. } = entry.event else {
        return Ok(Vec::new());
    };
    let mut copied = Vec::new();
    let Some(record) = sound(read_file(from, &provenance, "json").await)? else {
        return Ok(copied);
    };
    let patch = sound(decode(&record))?.and_then(|made_of| made_of.code?.patch);
    if let Some(PatchFile { blake3, .. }) = patch
        && let Some((_, bytes)) = sound(read_file(from, &blake3, "patch").await)?
    {
        let n = bytes.len() as u64;
        copied.extend(put_new(to, (&blake3, "patch"), bytes).await?.then_some(n));
    }
    let n = record.1.len() as u64;
    let is_new = put_new(to, (&provenance, "json"), record.1).await?;
    copied.extend(is_new.then_some(n));
    Ok(copied)
}

/// What was read, unless it is gone or damaged.
fn sound<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => Ok(None),
        read => read.map(Some),
    }
}

fn path(project: &Place, hash: &str, ending: &str) -> Path {
    let folder = project.path.clone().join(FOLDER);
    folder.join(format!("{hash}.{ending}"))
}

/// What a run is made of.
///
/// # Errors
/// [`ErrorKind::NotFound`] naming the file if it is gone, [`ErrorKind::Corrupt`] if it is not what its name says; those of the store.
pub(crate) async fn read(project: &Place, code: &RunCode) -> Result<Provenance> {
    decode(&read_file(project, &code.provenance, "json").await?)
}

fn decode((path, bytes): &(Path, Bytes)) -> Result<Provenance> {
    let record: Record = format::decode(path.as_ref(), bytes)?;
    Ok(record.provenance)
}

/// What is wrong with the files that say what a run is made of.
///
/// # Errors
/// Those of the store; [`ErrorKind::Invalid`] if a newer version wrote them.
pub(crate) async fn flaw(project: &Place, code: Option<&RunCode>) -> Result<Option<String>> {
    let Some(code) = code else {
        return Ok(None);
    };
    let patch = async {
        let made_of = read(project, code).await?;
        match made_of.code.and_then(|code| code.patch) {
            Some(patch) => read_patch(project, &patch.blake3).await.map(drop),
            None => Ok(()),
        }
    };
    match patch.await {
        Ok(()) => Ok(None),
        Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Corrupt) => {
            Ok(Some(format!("{err:#}")))
        }
        Err(err) => Err(err),
    }
}

/// The difference to the commit.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_patch(project: &Place, hash: &str) -> Result<String> {
    let (path, bytes) = read_file(project, hash, "patch").await?;
    String::from_utf8(bytes.into())
        .map_err(|err| Error::corrupt(format!("{path} is no text")).with_source(err))
}

async fn read_file(project: &Place, hash: &str, ending: &str) -> Result<(Path, Bytes)> {
    let path = path(project, hash, ending);
    let Some(bytes) = store::read(&*project.store, &path).await? else {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("{path} is gone, which says what the run is made of"),
        ));
    };
    match blake3::hash(&bytes).to_hex().as_str() == hash {
        true => Ok((path, bytes)),
        false => Err(Error::corrupt(format!(
            "{path} is damaged: its content is not what its name says"
        ))),
    }
}
