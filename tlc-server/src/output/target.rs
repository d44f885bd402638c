//! Where bytes go: standard output, or a file that appears whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tlc_core::{Error, ErrorKind, Result};

/// Small writes are gathered to this size: a pipe's own.
const BUFFER_BYTES: usize = 64 * 1024;

/// The standard output of the command, which remembers whether its reader has left.
///
/// A reader that has seen enough (`tlc sql … | head`) closes the pipe. That is no failure: whoever
/// reports an error asks [`Out::is_closed`] first.
#[derive(Clone, Debug, Default)]
pub struct Out {
    closed: Arc<AtomicBool>,
}

impl Out {
    /// Whether the reader has closed the pipe.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether a person is reading.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Writes text at once.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the output cannot be written.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut stdout = Stdout {
            closed: Arc::clone(&self.closed),
        };
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|err| unwritable("the output", err))
    }

    /// Standard output as the target of rows.
    #[must_use]
    pub fn target(&self) -> Target {
        let stdout = Stdout {
            closed: Arc::clone(&self.closed),
        };
        Target {
            bytes: Some(BufWriter::with_capacity(BUFFER_BYTES, Sink::Stdout(stdout))),
            file: None,
        }
    }
}

/// Where the bytes of one result go.
#[derive(Debug)]
pub struct Target {
    /// Present until the target is finished or given up.
    bytes: Option<BufWriter<Sink>>,
    file: Option<Pending>,
}

/// A file that has not got its name yet.
#[derive(Debug)]
struct Pending {
    staging: PathBuf,
    path: PathBuf,
}

#[derive(Debug)]
enum Sink {
    Stdout(Stdout),
    File(File),
}

#[derive(Debug)]
struct Stdout {
    closed: Arc<AtomicBool>,
}

impl Target {
    /// A file, in place of one that is there.
    ///
    /// The rows are written beside it, and it gets its name at the end: a failure half way leaves
    /// what was there. Something that is not a regular file, such as a pipe, is written directly.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] naming the file if it cannot be made.
    pub fn file(path: &Path) -> Result<Self> {
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let (opened, file) = if is_special {
            (File::options().write(true).open(path), None)
        } else {
            let mut staging = path.as_os_str().to_owned();
            staging.push(format!(".{}.partial", std::process::id()));
            let staging = PathBuf::from(staging);
            (
                File::create(&staging),
                Some(Pending {
                    staging,
                    path: path.to_owned(),
                }),
            )
        };
        let opened = opened.map_err(|err| unwritable(&path.display().to_string(), err))?;
        Ok(Self {
            bytes: Some(BufWriter::with_capacity(BUFFER_BYTES, Sink::File(opened))),
            file,
        })
    }

    /// Whether it is standard output.
    pub(super) fn is_stdout(&self) -> bool {
        self.bytes
            .as_ref()
            .is_some_and(|bytes| matches!(bytes.get_ref(), Sink::Stdout(_)))
    }

    /// Passes on what is gathered, and gives the file its name.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the last bytes cannot be written.
    pub fn finish(mut self) -> Result<()> {
        let name = self.file.as_ref().map_or_else(
            || "the output".to_owned(),
            |file| file.path.display().to_string(),
        );
        if let Some(mut bytes) = self.bytes.take() {
            bytes.flush().map_err(|err| unwritable(&name, err))?;
        }
        if let Some(file) = &self.file {
            fs::rename(&file.staging, &file.path).map_err(|err| unwritable(&name, err))?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for Target {
    /// Without [`Self::finish`] nothing more is written, and a half-written file goes away.
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            drop(bytes.into_parts());
        }
        if let Some(file) = &self.file {
            fs::remove_file(&file.staging).unwrap_or_default();
        }
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.bytes {
            Some(target) => target.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Does nothing: only [`Target::finish`] has a reason to pass on half a buffer.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Stdout(stdout) => stdout.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(stdout) => stdout.flush(),
            Self::File(file) => file.flush(),
        }
    }
}

impl Stdout {
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if result
            .as_ref()
            .is_err_and(|err| err.kind() == io::ErrorKind::BrokenPipe)
        {
            self.closed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.noted(io::stdout().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.noted(io::stdout().flush())
    }
}

fn unwritable(name: &str, err: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{name} cannot be written")).with_source(err)
}
