//! Object stores: opened by URL, and durable where the disk is ours.
//!
//! Storage is [`object_store`]'s own trait and nothing is put around it, except that files on a
//! local disk are synced before they get their name ([`Disk`]): a revision that was acknowledged
//! survives a loss of power.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path as DiskPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, ObjectStoreScheme, PutMode, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions,
};
use tokio::sync::OnceCell;
use url::Url;

use crate::alias::Aliases;
use crate::env::Env;
use crate::error::{Error, ErrorKind, Result};
use crate::format::aliases::{BYTES_MAX, decode};
use crate::runtime::{Background, run_blocking};

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

    /// The aliases that hold here. The first call reads the project's file: one request.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] naming the file if it holds no aliases; those of the store.
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
        let mut names: Vec<String> = names.map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }
}

/// Reads a root or a source as a URL; a bare path means the local disk, from the current folder.
///
/// # Errors
/// [`ErrorKind::Invalid`] if it is neither.
pub(crate) fn parse_url(text: &str) -> Result<Url> {
    match Url::parse(text) {
        // A single letter before the colon is a drive, not a scheme.
        Ok(url) if url.scheme().len() > 1 => Ok(url),
        _ => {
            let path = std::path::absolute(text).map_err(|err| {
                Error::invalid(format!("{text:?} is neither a URL nor a path")).with_source(err)
            })?;
            Url::from_file_path(&path)
                .map_err(|()| Error::invalid(format!("{text:?} is neither a URL nor a path")))
        }
    }
}

/// Opens the store that `url` names, and the path inside it.
///
/// `options` are [`object_store`]'s own keys, such as `aws_region`. Nothing is requested yet.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the scheme is unknown, its feature is not built in, or an option is wrong.
pub(crate) fn open(
    url: &Url,
    options: &[(String, String)],
) -> Result<(Arc<dyn ObjectStore>, Path)> {
    let wrong = |err: object_store::Error| {
        Error::invalid(format!("{} cannot be opened as a store; known are file, memory, and with their features s3, gs, az", redacted(url)))
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

/// The URL without what it may hold of credentials.
pub(crate) fn redacted(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    // Both fail only where the URL can hold neither.
    if url.set_password(None).is_ok() && !url.username().is_empty() {
        url.set_username("…").unwrap_or_default();
    }
    url.to_string()
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

/// Reads a project's file of aliases; `None` if there is none.
///
/// # Errors
/// [`ErrorKind::Invalid`] naming the file if it is no text of such a file's size; those of the store.
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

/// The local disk, with every put synced before it is seen.
///
/// A put writes a staging file, syncs it, gives it its name in one step (a hard link for
/// [`PutMode::Create`], a rename otherwise) and syncs the folder. A process killed in between leaves
/// a staging file, which no listing shows and no reader opens.
pub(crate) struct Disk {
    inner: LocalFileSystem,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            inner: LocalFileSystem::new(),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Disk {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if matches!(options.mode, PutMode::Update(_)) || !options.attributes.is_empty() {
            return self.inner.put_opts(path, payload, options).await;
        }
        let target = self.inner.path_to_filesystem(path)?;
        let work = run_blocking(move || Ok(put_synced(&target, &payload, &options.mode)));
        match work.await {
            Ok(result) => result,
            Err(err) => Err(object_store::Error::Generic {
                store: "disk",
                source: Box::new(err),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(
        &self,
        path: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> object_store::Result<Vec<Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &Path,
        to: &Path,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(
        &self,
        from: &Path,
        to: &Path,
        options: RenameOptions,
    ) -> object_store::Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("disk")
    }
}

fn put_synced(
    target: &DiskPath,
    payload: &PutPayload,
    mode: &PutMode,
) -> object_store::Result<PutResult> {
    let failed = |source: std::io::Error| disk_error(target, source);
    let folder = target.parent().unwrap_or(target);
    create_folder(folder).map_err(failed)?;
    let staging = staging_path(target);
    let written = write_synced(&staging, payload).and_then(|()| match mode {
        PutMode::Create => fs::hard_link(&staging, target),
        _ => fs::rename(&staging, target),
    });
    // After a rename there is no staging file left; after a failure it is only in the way.
    fs::remove_file(&staging).unwrap_or_default();
    written.map_err(failed)?;
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)?;
    Ok(PutResult {
        e_tag: None,
        version: None,
    })
}

/// A name beside `target` that [`LocalFileSystem`] hides from listings: `#` and digits at the end.
fn staging_path(target: &DiskPath) -> PathBuf {
    let mut random = [0_u8; 8];
    getrandom::fill(&mut random).unwrap_or_default();
    let mut name = target.as_os_str().to_owned();
    name.push(format!(
        "#{}{}",
        std::process::id(),
        u64::from_le_bytes(random)
    ));
    name.into()
}

fn write_synced(path: &DiskPath, payload: &PutPayload) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    for part in payload {
        file.write_all(part)?;
    }
    file.sync_all()
}

/// Makes `folder` and those above it; each new name is synced into the folder that holds it.
fn create_folder(folder: &DiskPath) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        create_folder(parent)?;
        match fs::create_dir(folder) {
            Ok(()) => File::open(parent)?.sync_all()?,
            Err(_) if folder.is_dir() => {}
            // Never "exists already": that would be said of the file, which does not exist.
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(std::io::ErrorKind::NotADirectory.into());
            }
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn disk_error(target: &DiskPath, source: std::io::Error) -> object_store::Error {
    let path = target.display().to_string();
    match source.kind() {
        std::io::ErrorKind::AlreadyExists => object_store::Error::AlreadyExists {
            path,
            source: source.into(),
        },
        std::io::ErrorKind::PermissionDenied => object_store::Error::PermissionDenied {
            path,
            source: source.into(),
        },
        _ => {
            let err = Error::new(ErrorKind::Unavailable, format!("cannot write {path}"))
                .with_source(source);
            object_store::Error::Generic {
                store: "disk",
                source: Box::new(err),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_path_is_a_file_url() {
        assert_eq!(parse_url("/data/tlc").unwrap().as_str(), "file:///data/tlc");
        assert_eq!(
            parse_url("s3://bucket/x").unwrap().as_str(),
            "s3://bucket/x"
        );
        assert!(parse_url("data").unwrap().as_str().ends_with("/data"));
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = Url::parse("s3://key:secret@bucket/x?token=abc").unwrap();
        let shown = redacted(&url);
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
