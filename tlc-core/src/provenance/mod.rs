//! What a run is made of: the code, what the program was built with and called with, and the machine.
//!
//! It is found out once in a process, on a thread of its own, when the first run begins: the program that runs was
//! compiled before, so the files as they are then are nearest to what it does. No training waits for it, and the end of a run two seconds at most. What cannot be found
//! out (no repository, one that is damaged, or so large that it takes longer than [`CODE_WAIT_MAX`]) is said in
//! [`Provenance::missing`], and disturbs nothing.
//!
//! Secrets are taken out here, before anything leaves this module.

#[cfg(feature = "code")]
mod changes;
#[cfg(feature = "system")]
mod machine;
#[cfg(feature = "code")]
mod patch;
#[cfg(feature = "code")]
mod repository;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use tokio::sync::watch::{Receiver, Sender, channel};

use crate::env::Env;
pub use crate::format::provenance::{
    Build, Change, ChangeKind, Code, Gpu, LockFile, Machine, PatchFile, Provenance,
};
use crate::redact::{Secrets, redacted, redacted_arguments, redacted_environment};

/// How long reading the repository may take.
pub const CODE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The largest `Cargo.lock` that is read.
const LOCK_BYTES_MAX: u64 = 16 << 20;

/// How many folders above are looked into.
const FOLDERS_MAX: usize = 64;

/// What is known so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    pub(crate) provenance: Provenance,
    /// What [`Code::patch`] names.
    pub(crate) patch: Option<String>,
    /// Whether no more will be known.
    pub(crate) is_whole: bool,
}

impl Captured {
    /// What somebody says.
    pub(crate) fn of(mut provenance: Provenance, patch: Option<String>) -> Self {
        if let Some(code) = &mut provenance.code {
            code.patch = patch.as_deref().map(PatchFile::of);
        }
        Self {
            patch: patch.filter(|_| provenance.code.is_some()),
            provenance,
            is_whole: true,
        }
    }

    /// The same without these values in any text that somebody else may have written.
    fn without(mut self, secrets: &Secrets) -> Self {
        let remove = |text: &mut String| *text = secrets.removed_from(text).into_owned();
        let made_of = &mut self.provenance;
        made_of.command.iter_mut().for_each(remove);
        made_of.environment.values_mut().for_each(remove);
        made_of.missing.iter_mut().for_each(remove);
        remove(&mut made_of.folder);
        made_of
            .lock
            .iter_mut()
            .for_each(|lock| remove(&mut lock.path));
        self.patch.iter_mut().for_each(remove);
        if let Some(code) = &mut made_of.code {
            remove(&mut code.folder);
            code.branch.iter_mut().for_each(remove);
            code.remote.iter_mut().for_each(remove);
            let changes = code.changes.iter_mut().flatten();
            changes.for_each(|change| remove(&mut change.path));
            code.patch = self.patch.as_deref().map(PatchFile::of);
        }
        self
    }

    /// The same as what is found out later.
    pub(crate) fn known(&self) -> Receiver<Self> {
        channel(self.clone()).1
    }
}

static CAPTURED: OnceLock<Receiver<Captured>> = OnceLock::new();

/// What this process is made of. The first call begins to find out.
pub(crate) fn captured(env: &Env) -> Receiver<Captured> {
    CAPTURED.get_or_init(|| begin(env, folders(env))).clone()
}

/// The same, with the code that lies in a folder.
pub(crate) fn captured_in(env: &Env, folder: &Path) -> Receiver<Captured> {
    let folder = folder.canonicalize();
    begin(env, folder.into_iter().collect())
}

fn begin(env: &Env, folders: Vec<PathBuf>) -> Receiver<Captured> {
    let (sender, receiver) = channel(Captured::default());
    let env = env.clone();
    let work = move || capture(&env, &folders, &sender);
    let spawned = thread::Builder::new().name("tlc-provenance".to_owned());
    // Without a thread the sender is gone, and so it is known that no more will be known.
    spawned.spawn(work).map(drop).unwrap_or_default();
    receiver
}

/// Waits until all is known, or nothing more will be.
pub(crate) async fn whole(mut captured: Receiver<Captured>) -> Captured {
    let whole = captured.wait_for(|captured| captured.is_whole).await;
    let whole = whole.map(|captured| captured.clone());
    whole.unwrap_or_else(|_gone| so_far(&captured, "finding out ended early"))
}

/// What is known now; `why` it is not all.
pub(crate) fn so_far(captured: &Receiver<Captured>, why: &str) -> Captured {
    let mut captured = captured.borrow().clone();
    if !captured.is_whole {
        let missing = &mut captured.provenance.missing;
        missing.push(format!(
            "the code, and perhaps the machine, is not known: {why}"
        ));
    }
    captured
}

fn capture(env: &Env, folders: &[PathBuf], sender: &Sender<Captured>) {
    let secrets = secrets(env);
    let known = |provenance: &Provenance| {
        let so_far = Captured {
            provenance: provenance.clone(),
            ..Captured::default()
        };
        sender.send_replace(so_far.without(&secrets))
    };
    let mut provenance = called(env);
    known(&provenance);
    find_machine(&mut provenance);
    find_lock(&mut provenance, folders);
    known(&provenance);
    sender.send_replace(with_code(provenance, folders).without(&secrets));
}

/// What of the environment must be in nothing that is stored, under whatever name.
fn secrets(env: &Env) -> Secrets {
    let variables = env.variables();
    let variables = variables.iter();
    Secrets::of(variables.map(|(name, value)| (name.as_str(), value.as_str())))
}

/// How the program was built and called: what costs nothing to know.
fn called(env: &Env) -> Provenance {
    let (arguments, variables) = (env.arguments(), env.variables());
    let variables = variables.iter();
    let variables = variables.map(|(name, value)| (name.as_str(), value.as_str()));
    let folder = env.folder();
    Provenance {
        build: build(),
        command: redacted_arguments(arguments.iter().map(String::as_str)),
        folder: folder.map(|folder| shown(&folder)).unwrap_or_default(),
        environment: redacted_environment(variables),
        ..Provenance::default()
    }
}

#[cfg(feature = "system")]
fn find_machine(provenance: &mut Provenance) {
    provenance.machine = machine::machine();
}

#[cfg(not(feature = "system"))]
fn find_machine(provenance: &mut Provenance) {
    let why = "the machine is not known: the library was built without its feature `system`";
    provenance.missing.push(why.to_owned());
}

fn find_lock(provenance: &mut Provenance, folders: &[PathBuf]) {
    match lock_file(folders) {
        Ok(lock) => provenance.lock = lock,
        Err(why) => provenance.missing.push(why),
    }
}

/// Where the code may lie: where the program was started, and where its executable is.
fn folders(env: &Env) -> Vec<PathBuf> {
    let executable = env.executable();
    let executable = executable.as_deref().and_then(Path::parent);
    let executable = executable.map(Path::to_path_buf);
    env.folder().into_iter().chain(executable).collect()
}

#[cfg(feature = "code")]
fn with_code(mut provenance: Provenance, folders: &[PathBuf]) -> Captured {
    let looked = repository::look_within(folders, CODE_WAIT_MAX);
    provenance.missing.extend(looked.missing);
    provenance.code = looked.code;
    Captured {
        provenance,
        patch: looked.patch,
        is_whole: true,
    }
}

#[cfg(not(feature = "code"))]
fn with_code(mut provenance: Provenance, _folders: &[PathBuf]) -> Captured {
    let why = "the code is not known: the library was built without its feature `code`";
    provenance.missing.push(why.to_owned());
    Captured {
        provenance,
        patch: None,
        is_whole: true,
    }
}

fn build() -> Build {
    let features = env!("TLC_FEATURES").split(',');
    let features = features.filter(|feature| !feature.is_empty());
    Build {
        compiler: env!("TLC_COMPILER").to_owned(),
        target: env!("TLC_TARGET").to_owned(),
        profile: env!("TLC_PROFILE").to_owned(),
        opt_level: env!("TLC_OPT_LEVEL").to_owned(),
        library: env!("CARGO_PKG_VERSION").to_owned(),
        features: features.map(str::to_owned).collect(),
    }
}

/// The first `Cargo.lock` in these folders and those above them.
///
/// # Errors
/// Why it could not be read, as a sentence.
fn lock_file(folders: &[PathBuf]) -> Result<Option<LockFile>, String> {
    let above = folders
        .iter()
        .flat_map(|folder| folder.ancestors().take(FOLDERS_MAX));
    let mut files = above.map(|folder| folder.join("Cargo.lock"));
    let Some(path) = files.find(|path| path.is_file()) else {
        return Ok(None);
    };
    let size = path.metadata().map(|found| found.len());
    let read = match size {
        Ok(size) if size > LOCK_BYTES_MAX => Err(format!("it has {size} bytes")),
        _ => std::fs::read(&path).map_err(|err| err.to_string()),
    };
    let path = shown(&path);
    let bytes = read.map_err(|why| format!("{path} could not be read: {why}"))?;
    let blake3 = blake3::hash(&bytes).to_hex().to_string();
    Ok(Some(LockFile { path, blake3 }))
}

/// A path as it is stored.
fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match redacted(&text) {
        Cow::Borrowed(_) => text.into_owned(),
        Cow::Owned(redacted) => redacted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_lock_file_is_the_one() {
        let folder = tempfile::tempdir().unwrap();
        let (near, far) = (folder.path().join("a/b"), folder.path().join("c"));
        std::fs::create_dir_all(&near).unwrap();
        std::fs::create_dir_all(&far).unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), name).unwrap();
        let found = |folders: &[&PathBuf]| {
            let folders: Vec<PathBuf> = folders.iter().map(|&folder| folder.clone()).collect();
            let found = lock_file(&folders).unwrap();
            found.map(|found| (found.path, found.blake3))
        };
        let expected = |name: &str| {
            let path = folder.path().join(name).to_string_lossy().into_owned();
            Some((path, blake3::hash(name.as_bytes()).to_hex().to_string()))
        };
        write("c/Cargo.lock");
        assert_eq!(found(&[&near, &far]), expected("c/Cargo.lock"));
        write("a/Cargo.lock");
        assert_eq!(found(&[&near, &far]), expected("a/Cargo.lock"));
        assert_eq!(found(&[&far, &near]), expected("c/Cargo.lock"));
    }

    #[test]
    fn what_was_compiled_is_known() {
        let build = build();
        assert!(build.compiler.starts_with("rustc "), "{build:?}");
        assert!(build.target.contains(std::env::consts::ARCH), "{build:?}");
        assert!(["debug", "release"].contains(&build.profile.as_str()));
        assert_eq!(
            build.features.contains(&"system".to_owned()),
            cfg!(feature = "system")
        );
    }
}
