//! What is put, and how it is put and got.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

/// How far a put or a get is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArtifactProgress {
    /// Bytes of the version that are done with.
    pub bytes: u64,
    /// All its bytes.
    pub bytes_total: u64,
    /// Bytes that had to be sent, of a put; that were fetched, of a get.
    pub bytes_moved: u64,
}

/// Somebody who is told how far it is.
#[derive(Clone, Default)]
pub(super) struct Told(Option<Arc<dyn Fn(ArtifactProgress) + Send + Sync>>);

impl Told {
    pub(super) fn tell(&self, progress: ArtifactProgress) {
        if let Some(told) = &self.0 {
            told(progress);
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// What becomes a version: a file or a folder of this machine, or bytes in memory.
#[derive(Clone, Debug)]
pub struct ArtifactSource(pub(super) Source);

#[derive(Clone, Debug)]
pub(super) enum Source {
    Disk(PathBuf),
    Memory { name: String, bytes: Bytes },
}

impl ArtifactSource {
    /// One file of that name, whose bytes are these.
    #[must_use]
    pub fn bytes(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self(Source::Memory {
            name: name.into(),
            bytes: bytes.into(),
        })
    }
}

impl From<PathBuf> for ArtifactSource {
    fn from(path: PathBuf) -> Self {
        Self(Source::Disk(path))
    }
}

impl From<&Path> for ArtifactSource {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}

impl From<&PathBuf> for ArtifactSource {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&str> for ArtifactSource {
    fn from(path: &str) -> Self {
        PathBuf::from(path).into()
    }
}

/// What is said of a version that is put. A message alone will do: `"after epoch 12"`.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    pub(super) message: String,
    pub(crate) run: Option<String>,
    pub(super) aliases: Vec<String>,
    pub(super) told: Told,
}

impl PutOptions {
    /// Says why.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    /// The run of the same project that made it.
    #[must_use]
    pub fn run(mut self, name: impl Into<String>) -> Self {
        self.run = Some(name.into());
        self
    }

    /// An alias that names the version from the moment that it is there; may be called for several. The same twice is once.
    ///
    /// An alias is a name as an artifact's that does not begin with a digit and is not `v` and digits.
    #[must_use]
    pub fn alias(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        if !self.aliases.contains(&name) {
            self.aliases.push(name);
        }
        self
    }

    /// Told after each chunk. Must not wait.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(ArtifactProgress) + Send + Sync + 'static) -> Self {
        self.told = Told(Some(Arc::new(told)));
        self
    }
}

impl From<&str> for PutOptions {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<String> for PutOptions {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

/// How a version is got. The default: nothing that is there is touched.
#[derive(Clone, Debug, Default)]
pub struct GetOptions {
    pub(super) replaces: bool,
    pub(super) told: Told,
}

impl GetOptions {
    /// Only where nothing is.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is at the target is deleted and replaced once the version is there whole: a folder with all that is in it, but never by a
    /// file. A file in one step; a folder in two, with a moment between them in which there is none.
    #[must_use]
    pub fn replace(mut self) -> Self {
        self.replaces = true;
        self
    }

    /// Told after each chunk. Must not wait.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(ArtifactProgress) + Send + Sync + 'static) -> Self {
        self.told = Told(Some(Arc::new(told)));
        self
    }
}
