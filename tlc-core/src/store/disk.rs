//! The local disk, with every put synced before it is seen.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path as DiskPath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
};
use url::Url;

use crate::error::{Error, ErrorKind};
use crate::runtime::run_blocking;

/// The local disk, with every put synced before it is seen.
///
/// A put writes a staging file, syncs it, gives it its name in one step (a hard link for
/// [`PutMode::Create`], a rename otherwise) and syncs the folder. A process killed in between leaves
/// a staging file, which no listing shows and no reader opens.
pub(crate) struct Disk {
    inner: LocalFileSystem,
    /// Whether a put works on the thread of its caller.
    is_waiting: bool,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            inner: LocalFileSystem::new(),
            is_waiting: false,
        }
    }

    /// For a thread of its own that has nothing to do but wait for its puts: they are done on that thread, which is sooner
    /// than handing them to another one.
    pub(crate) fn waiting() -> Self {
        Self {
            is_waiting: true,
            ..Self::new()
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
        if self.is_waiting {
            return put_synced(&target, &payload, &options.mode);
        }
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

/// A file on this machine's disk that grows at its end, and whose readers see it grow.
#[derive(Debug)]
pub(crate) struct GrowingFile {
    file: File,
    folder: PathBuf,
    /// Up to here it holds what was appended; what is behind is the rest of an append that failed.
    bytes: u64,
    is_torn: bool,
    /// Whether the name is known to outlive a loss of power.
    is_named: bool,
    is_synced: bool,
}

impl GrowingFile {
    /// Makes an empty file, and the folders above it.
    ///
    /// # Errors
    /// As the disk says, also if there is a file of that name.
    pub(crate) fn create(path: &DiskPath) -> std::io::Result<Self> {
        let folder = path.parent().unwrap_or(path).to_owned();
        create_folder(&folder)?;
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Self {
            file,
            folder,
            bytes: 0,
            is_torn: false,
            is_named: false,
            is_synced: true,
        })
    }

    /// Appends all of `bytes`, or nothing that a later append would be put behind.
    ///
    /// # Errors
    /// As the disk says; the same bytes may be tried again.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.bytes)?;
        }
        self.is_torn = true;
        self.is_synced = false;
        let written = self.file.write_all(bytes);
        match written {
            Ok(()) => self.bytes += bytes.len() as u64,
            // Where this fails too, the next append begins with it.
            Err(_) => self.file.set_len(self.bytes)?,
        }
        self.is_torn = false;
        written
    }

    /// Makes what was appended outlive a loss of power.
    ///
    /// # Errors
    /// As the disk says.
    pub(crate) fn sync(&mut self) -> std::io::Result<()> {
        if !self.is_synced {
            self.file.sync_data()?;
            self.is_synced = true;
        }
        if !self.is_named {
            File::open(&self.folder)?.sync_all()?;
            self.is_named = true;
        }
        Ok(())
    }

    /// The bytes that were appended.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Removes those of `folders` that lie on this disk and are empty, in their order.
pub(super) fn remove_empty_folders(url: &Url, folders: &[&Path]) {
    if url.scheme() != "file" {
        return;
    }
    for folder in folders {
        if let Ok(folder) = LocalFileSystem::new().path_to_filesystem(folder) {
            // Refused where something is in it.
            fs::remove_dir(folder).unwrap_or_default();
        }
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
