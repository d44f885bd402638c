//! Object stores: opened by URL, and durable where the disk is ours.
//!
//! Storage is [`object_store`]'s own trait and nothing is put around it, except that files on a
//! local disk are synced before they get their name ([`Disk`]): a revision that was acknowledged
//! survives a loss of power. A store that is not ours is asked once whether it keeps its word
//! ([`Gate`]), since some accept a conditional put and ignore the condition.

mod decoded;
mod disk;
mod examine;
mod gate;
mod probe;
mod remembered;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, ObjectStoreScheme};
use tokio::sync::OnceCell;
use url::Url;

use crate::alias::Aliases;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::format::aliases::{BYTES_MAX, decode};
use crate::redact::redacted_url;
use crate::runtime::Background;
pub(crate) use decoded::{DECODED_BYTES_MAX, Decoded};
use disk::Disk;
pub(crate) use disk::GrowingFile;
pub(crate) use examine::examine;
pub use examine::{StoreCheck, StoreReport, Writers};
pub(crate) use gate::Gate;
pub(crate) use remembered::Remembered;

/// A folder of a store, and all that is needed to work in it. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) path: Path,
    pub(crate) env: Env,
    /// What sources outside the root are opened with.
    pub(crate) options: Arc<[(String, String)]>,
    /// After how many entries a table's log is folded; 0 for never.
    pub(crate) checkpoint_every: u64,
    /// Work that nobody waits for.
    pub(crate) background: Background,
    pub(crate) aliases: Arc<ProjectAliases>,
    /// What the store must have shown before an entry is created in it.
    pub(crate) gate: Gate,
    /// Whether it is this machine's own disk, where files can grow.
    pub(crate) is_disk: bool,
    /// Where runs keep what is not in the store yet, if anywhere.
    pub(crate) spool: Option<Arc<SpoolFolder>>,
    /// What was decoded of files that never change, for all of the root.
    pub(crate) decoded: Decoded,
    /// What else is remembered of its folders.
    pub(crate) remembered: Remembered,
}

/// A folder of this machine's disk for what is not in a store yet.
#[derive(Clone, Debug)]
pub(crate) struct SpoolFolder {
    pub(crate) folder: PathBuf,
    /// The URL of the root it is for, without what that may hold of credentials.
    pub(crate) root: String,
}

/// The aliases that hold in a project: those the root was opened with, over those of the project's
/// own file, which is read when they are first asked for.
#[derive(Debug, Default)]
pub(crate) struct ProjectAliases {
    own: Aliases,
    /// `None` above the projects.
    file: Option<Path>,
    merged: OnceCell<Aliases>,
}

impl ProjectAliases {
    /// Those that a root is opened with.
    pub(crate) fn of_root(own: Aliases) -> Self {
        Self {
            own,
            ..Self::default()
        }
    }

    /// The same, over those in `file`.
    pub(crate) fn of_project(&self, file: Path) -> Self {
        Self {
            own: self.own.clone(),
            file: Some(file),
            merged: OnceCell::new(),
        }
    }
}

impl Place {
    /// The folder `name` below this one.
    pub(crate) fn child(&self, name: &str) -> Self {
        Self {
            path: self.path.clone().join(name),
            ..self.clone()
        }
    }

    /// The object of that path below this folder, with `/` between names.
    pub(crate) fn below(&self, path: &str) -> Path {
        path.split('/')
            .fold(self.path.clone(), |at, name| at.join(name))
    }

    /// The folder on this machine's disk; `None` in any other store.
    pub(crate) fn on_disk(&self) -> Option<PathBuf> {
        let path = || LocalFileSystem::new().path_to_filesystem(&self.path).ok();
        self.is_disk.then(path)?
    }

    /// The store, for a thread of its own that may wait for the disk itself.
    pub(crate) fn waiting_store(&self) -> Arc<dyn ObjectStore> {
        match self.is_disk {
            true => Arc::new(Disk::waiting()),
            false => Arc::clone(&self.store),
        }
    }

    /// The name of the folder; empty for the whole store.
    pub(crate) fn name(&self) -> String {
        decoded(self.path.filename().unwrap_or_default())
    }

    /// The aliases that hold here. The first call reads the project's file: one request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the file if it holds no aliases; those of the store.
    pub(crate) async fn aliases(&self) -> Result<Aliases> {
        let aliases = &self.aliases;
        let merged = aliases.merged.get_or_try_init(|| async {
            let Some(file) = &aliases.file else {
                return Ok(aliases.own.clone());
            };
            match read_aliases(&*self.store, file).await? {
                Some(text) => aliases.own.over(&decode(file.as_ref(), &text)?),
                None => Ok(aliases.own.clone()),
            }
        });
        merged.await.cloned()
    }

    /// The names of the folders below this one, in order. One listing.
    ///
    /// # Errors
    /// As the store says.
    pub(crate) async fn folders(&self) -> Result<Vec<String>> {
        let listing = self.store.list_with_delimiter(Some(&self.path)).await?;
        let names = listing
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename());
        let mut names: Vec<String> = names.map(decoded).collect();
        names.sort();
        Ok(names)
    }
}

/// Reads a root or a source as a URL; a bare path means the local disk, from the current folder.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is neither.
pub(crate) fn parse_url(text: &str) -> Result<Url> {
    match Url::parse(text) {
        // A single letter before the colon is a drive, not a scheme.
        Ok(url) if url.scheme().len() > 1 => Ok(url),
        _ => {
            let path = std::path::absolute(text).map_err(|err| {
                Error::invalid(format!("{text:?} is neither a URL nor a path")).with_source(err)
            })?;
            let wrong = || Error::invalid(format!("{text:?} is neither a URL nor a path"));
            let url = Url::from_file_path(&path).map_err(|()| wrong())?;
            // Parsed, it has no `..` any more, which no store takes.
            Url::parse(url.as_str()).map_err(|err| wrong().with_source(err))
        }
    }
}

/// Opens the store that `url` names, and the path inside it.
///
/// `options` are [`object_store`]'s own keys, such as `aws_region`. Nothing is requested yet.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the scheme is unknown, its feature is not built in, or an option is wrong.
pub(crate) fn open(
    url: &Url,
    options: &[(String, String)],
) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let wrong = |err: object_store::Error| {
        Error::invalid(format!("{} cannot be opened as a store; known are file, memory, and with their features s3, gs, az", redacted_url(url)))
            .with_source(err)
    };
    let (scheme, path) = ObjectStoreScheme::parse(url).map_err(|err| wrong(err.into()))?;
    match scheme {
        ObjectStoreScheme::Local => Ok((Arc::new(Disk::new()), path)),
        ObjectStoreScheme::Memory => Ok((Arc::new(InMemory::new()), path)),
        _ => {
            let options = options
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()));
            let (store, path) = object_store::parse_url_opts(url, options).map_err(wrong)?;
            Ok((store.into(), path))
        }
    }
}

/// The names in a path of a store as they were given: what is not ASCII is percent-encoded there.
pub(crate) fn decoded(path: &str) -> String {
    Path::from_url_path(path).map_or_else(|_| path.to_owned(), |path| path.to_string())
}

/// Reads a whole object; `None` if it is not there.
///
/// # Errors
/// As the store says.
pub(crate) async fn read(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>> {
    match store.get(path).await {
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Reads a whole object of at most so many bytes; `None` if it is not there. A larger one is not read.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming it if it is larger; as the store says.
pub(crate) async fn read_at_most(
    store: &dyn ObjectStore,
    path: &Path,
    bytes_max: usize,
) -> Result<Option<Bytes>> {
    match store.get(path).await {
        Ok(found) if found.meta.size > bytes_max as u64 => Err(Error::corrupt(format!(
            "{path} has {} bytes, more than the {bytes_max} that it can have",
            found.meta.size
        ))),
        Ok(found) => Ok(Some(found.bytes().await?)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(err) => Err(err.into()),
    }
}

/// Reads a project's file of aliases; `None` if there is none.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the file if it is no text of such a file's size; those of the store.
pub(crate) async fn read_aliases(store: &dyn ObjectStore, file: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(store, file).await? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes.into())
        .ok()
        .filter(|text| text.len() <= BYTES_MAX);
    let wrong = || Error::invalid(format!("{file} is not a YAML map of aliases"));
    text.map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_bare_path_is_a_file_url() {
        assert_eq!(parse_url("/data/tlc").unwrap().as_str(), "file:///data/tlc");
        assert_eq!(
            parse_url("s3://bucket/x").unwrap().as_str(),
            "s3://bucket/x"
        );
        assert!(parse_url("data").unwrap().as_str().ends_with("/data"));
        assert_eq!(
            parse_url("/data/a/../tlc").unwrap().as_str(),
            "file:///data/tlc"
        );
        assert!(!parse_url("../data").unwrap().as_str().contains(".."));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("s3://key:secret@bucket/x?token=abc").unwrap();
        let shown = redacted_url(&url);
        assert!(
            !shown.contains("secret") && !shown.contains("abc") && !shown.contains("key"),
            "{shown}"
        );
    }

    #[test]
    fn an_unknown_scheme_is_invalid_and_named() {
        let err = open(&Url::parse("ftp://host/x").unwrap(), &[]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains("ftp://host/x"), "{err}");
    }
}
