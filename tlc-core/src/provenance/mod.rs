//! What a run is made of: the code, what the program was built with and called with, and the machine.
//!
//! It is found out once in a process, on a thread of its own, when the first run begins: the program that runs was
//! compiled before, so the files as they are then are nearest to what it does. No training waits for it, and the end of a run two seconds at most: commit, branch and
//! remote are known at once, then what differs from the commit, and the machine meanwhile. What cannot be found
//! out (no repository, one that is damaged, or so large that it takes longer than [`CODE_WAIT_MAX`]) is said in
//! [`Provenance::missing`], and disturbs nothing.
//!
//! Secrets are taken out here, before anything leaves this module.

#[cfg(feature = "code")]
mod changes;
#[cfg(feature = "code")]
mod excludes;
#[cfg(feature = "code")]
mod listing;
#[cfg(feature = "system")]
mod machine;
#[cfg(feature = "code")]
mod patch;
#[cfg(feature = "code")]
mod repository;
#[cfg(feature = "code")]
mod submodules;
#[cfg(feature = "code")]
mod tracked;
#[cfg(feature = "code")]
mod untracked;
#[cfg(feature = "code")]
mod versions;

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

/// How large the stack of the thread is, on which Git's folders are walked through to any depth.
const STACK_BYTES: usize = 16 << 20;

/// What is known so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captured {
    pub(crate) provenance: Provenance,
    /// What [`Code::patch`] names.
    pub(crate) patch: Option<String>,
    /// What is still being found out.
    pending: Vec<Part>,
}

/// What is found out in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Called,
    Code,
    #[cfg_attr(
        not(any(feature = "code", test)),
        expect(dead_code, reason = "only code changes")
    )]
    Changes,
    Lock,
    Machine,
}

impl Part {
    const fn unknown(self) -> &'static str {
        match self {
            Self::Called => "how the program was built and called is not known",
            Self::Code => "the code is not known",
            Self::Changes => "changes of the code are not known",
            Self::Lock => "the lock file is not known",
            Self::Machine => "the machine is not known",
        }
    }
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
            pending: Vec::new(),
        }
    }

    /// Takes these values out of any text that somebody else may have written, but the patch.
    fn remove(&mut self, secrets: &Secrets) {
        let remove = |text: &mut String| *text = secrets.removed_from(text).into_owned();
        let made_of = &mut self.provenance;
        made_of.command.iter_mut().for_each(remove);
        made_of.environment.values_mut().for_each(remove);
        made_of.missing.iter_mut().for_each(remove);
        remove(&mut made_of.folder);
        let locks = made_of.lock.iter_mut();
        locks.for_each(|lock| remove(&mut lock.path));
        if let Some(code) = &mut made_of.code {
            remove(&mut code.folder);
            code.branch.iter_mut().for_each(remove);
            code.remote.iter_mut().for_each(remove);
            let changes = code.changes.iter_mut().flatten();
            changes.for_each(|change| remove(&mut change.path));
        }
    }

    /// Nothing yet.
    fn begun() -> Self {
        Self {
            pending: vec![Part::Called, Part::Code, Part::Lock, Part::Machine],
            ..Self::default()
        }
    }

    /// Says that a part is as well known as it will be, except for what `missing` says.
    fn end(&mut self, part: Part, missing: impl IntoIterator<Item = String>) {
        self.pending.retain(|pending| *pending != part);
        let said = &mut self.provenance.missing;
        said.extend(missing);
        // Parts end in any order, and one content has one name.
        said.sort();
    }

    /// The same as what is found out later.
    pub(crate) fn known(&self) -> Receiver<Self> {
        channel(self.clone()).1
    }
}

static CAPTURED: OnceLock<Receiver<Captured>> = OnceLock::new();

/// What this process is made of. The first call begins to find out. What lies in the folders of `data` is no code.
pub(crate) fn captured(env: &Env, data: Vec<PathBuf>) -> Receiver<Captured> {
    let began = CAPTURED.get_or_init(|| begin(env, folders(env), data));
    began.clone()
}

/// The same, with the code that lies in a folder.
pub(crate) fn captured_in(env: &Env, folder: &Path, data: Vec<PathBuf>) -> Receiver<Captured> {
    // If it is gone, that is said where the code is looked for.
    let found = folder.canonicalize();
    let folder = found.unwrap_or_else(|_gone| folder.to_path_buf());
    begin(env, vec![folder], data)
}

fn begin(env: &Env, folders: Vec<PathBuf>, data: Vec<PathBuf>) -> Receiver<Captured> {
    let (sender, receiver) = channel(Captured::begun());
    let env = env.clone();
    let work = move || capture(&env, (&folders, data), &sender);
    let spawned = thread::Builder::new().name("tlc-provenance".to_owned());
    let spawned = spawned.stack_size(STACK_BYTES);
    // Without a thread the sender is gone, and so it is known that no more will be known.
    spawned.spawn(work).map(drop).unwrap_or_default();
    receiver
}

/// Waits until all is known, or nothing more will be.
pub(crate) async fn whole(mut captured: Receiver<Captured>) -> Captured {
    let whole = captured
        .wait_for(|captured| captured.pending.is_empty())
        .await;
    let whole = whole.map(|captured| captured.clone());
    whole.unwrap_or_else(|_gone| so_far(&captured, "finding out ended early"))
}

/// What is known now; `why` it is not all.
pub(crate) fn so_far(captured: &Receiver<Captured>, why: &str) -> Captured {
    let mut captured = captured.borrow().clone();
    for part in std::mem::take(&mut captured.pending) {
        captured.end(part, [format!("{}: {why}", part.unknown())]);
    }
    captured
}

/// Where it is told what was found out, without the values of secrets.
struct Told<'a> {
    captured: &'a Sender<Captured>,
    secrets: Secrets,
}

impl Told<'_> {
    fn tell(&self, found: impl FnOnce(&mut Captured)) {
        self.captured.send_modify(|captured| {
            found(captured);
            captured.remove(&self.secrets);
        });
    }
}

/// Finds out each part, and tells it as soon as it is known: whoever asks early gets what there is.
fn capture(env: &Env, (folders, data): (&[PathBuf], Vec<PathBuf>), captured: &Sender<Captured>) {
    let secrets = secrets(env);
    let told = &Told { captured, secrets };
    find_called(env, told);
    thread::scope(|scope| {
        let machine = || find_machine(told);
        let beside = thread::Builder::new().name("tlc-provenance-machine".to_owned());
        let beside = beside.spawn_scoped(scope, machine);
        find_code(env, (folders, data), told);
        find_lock(folders, told);
        if beside.is_err() {
            find_machine(told);
        }
    });
}

/// What of the environment must be in nothing that is stored, under whatever name.
fn secrets(env: &Env) -> Secrets {
    let variables = env.variables();
    let variables = variables.iter();
    Secrets::of(variables.map(|(name, value)| (name.as_str(), value.as_str())))
}

fn find_called(env: &Env, told: &Told<'_>) {
    let (called, folder) = (called(env), env.folder());
    let gone = "the folder that the program works in is not known: it is gone, or not open to it";
    let missing = folder.is_none().then(|| gone.to_owned());
    told.tell(|captured| {
        captured.provenance = called;
        captured.end(Part::Called, missing);
    });
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
fn find_machine(told: &Told<'_>) {
    let (machine, missing) = machine::machine();
    told.tell(|captured| {
        captured.provenance.machine = machine;
        captured.end(Part::Machine, missing);
    });
}

#[cfg(not(feature = "system"))]
fn find_machine(told: &Told<'_>) {
    let why = "the machine is not known: the library was built without its feature `system`";
    told.tell(|captured| captured.end(Part::Machine, [why.to_owned()]));
}

fn find_lock(folders: &[PathBuf], told: &Told<'_>) {
    let (lock, missing) = match lock_file(folders) {
        Ok(lock) => (lock, None),
        Err(why) => (None, Some(why)),
    };
    told.tell(|captured| {
        captured.provenance.lock = lock;
        captured.end(Part::Lock, missing);
    });
}

/// Where the code may lie: where the program was started, and where its executable is.
fn folders(env: &Env) -> Vec<PathBuf> {
    let executable = env.executable();
    let executable = executable.as_deref().and_then(Path::parent);
    let executable = executable.map(Path::to_path_buf);
    env.folder().into_iter().chain(executable).collect()
}

#[cfg(feature = "code")]
fn find_code(env: &Env, (folders, data): (&[PathBuf], Vec<PathBuf>), told: &Told<'_>) {
    let config = env.config_folder();
    let home = env.home_folder();
    let places = repository::Places {
        folders: folders.to_vec(),
        data,
        excludes: home.and_then(|home| excludes::of_user(&home, config.as_deref())),
    };
    let mut checked_out = |code: &Code| {
        told.tell(|captured| {
            captured.provenance.code = Some(code.clone());
            captured.pending.push(Part::Changes);
            captured.end(Part::Code, None);
        });
    };
    let looked = repository::look_within(&places, CODE_WAIT_MAX, &mut checked_out);
    // Once, and not whenever something is told: it may have megabytes.
    let patch = looked.patch.as_deref();
    let patch = patch.map(|patch| told.secrets.removed_from(patch).into_owned());
    let code = looked.code.map(|code| Code {
        patch: patch.as_deref().map(PatchFile::of),
        ..code
    });
    told.tell(|captured| {
        captured.provenance.code = code;
        captured.patch = patch;
        captured.end(Part::Code, None);
        captured.end(Part::Changes, looked.missing);
    });
}

#[cfg(not(feature = "code"))]
fn find_code(_env: &Env, _places: (&[PathBuf], Vec<PathBuf>), told: &Told<'_>) {
    let why = "the code is not known: the library was built without its feature `code`";
    told.tell(|captured| captured.end(Part::Code, [why.to_owned()]));
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
    fn what_is_known_early_is_kept_and_the_rest_is_said() {
        let (sender, known) = channel(Captured::begun());
        sender.send_modify(|captured| {
            captured.provenance.code = Some(Code {
                commit: Some("c0ffee".to_owned()),
                ..Code::default()
            });
            captured.pending.push(Part::Changes);
            captured.end(Part::Code, None);
            captured.end(Part::Called, None);
            captured.end(Part::Machine, ["a GPU is not known".to_owned()]);
        });
        let found = so_far(&known, "time was up");
        assert_eq!(
            found.provenance.missing,
            [
                "a GPU is not known",
                "changes of the code are not known: time was up",
                "the lock file is not known: time was up",
            ]
        );
        let code = found.provenance.code.unwrap();
        assert_eq!((code.is_dirty(), code.commit.is_some()), (None, true));
        drop(sender);
        let found = crate::block_on(whole(known));
        assert_eq!(found.provenance.missing.len(), 3);
    }

    #[test]
    fn a_folder_that_is_gone_is_said() {
        let folder = tempfile::tempdir().unwrap().path().join("gone");
        let known = captured_in(&Env::system("ada"), &folder, Vec::new());
        let found = crate::block_on(whole(known)).provenance;
        let missing = found.missing.concat();
        assert!(missing.contains("the code is not known"), "{missing}");
        assert_eq!(found.build, build());
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
