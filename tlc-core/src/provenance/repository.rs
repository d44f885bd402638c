//! A Git repository, read by `gix`: no program is started, and nothing is written.
//!
//! Every repository is read as if it belonged to another user: only what of its own configuration is harmless counts, and no filter,
//! hook or monitor that it names is run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use gix::bstr::{BString, ByteSlice as _};
use gix::discover::upwards;
use gix::object::tree::EntryKind;
use gix::state::InProgress;
use gix::status::tree_index::TrackRenames;
use gix::status::{Item, UntrackedFiles, index_worktree};
use gix::{Repository, ThreadSafeRepository, open, sec};

use super::changes::{self, FILE_BYTES_MAX, File, PATCH_BYTES_MAX, Sides, change, unwanted};
use crate::format::provenance::{Change, ChangeKind, Code, PatchFile};
use crate::redact::redacted;

/// How many changes are listed.
const CHANGES_MAX: usize = 1_000;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) code: Option<Code>,
    pub(super) patch: Option<String>,
    /// What could not be found out, in sentences.
    pub(super) missing: Vec<String>,
}

/// Looks at the repository of the first of `folders` that has one, for not much longer than `wait`.
pub(super) fn look_within(folders: &[PathBuf], wait: Duration) -> Looked {
    let stop = Arc::new(AtomicBool::new(false));
    // Dropped at the end, which ends the clock's thread.
    let _clock = clock(Arc::clone(&stop), wait);
    look_until(folders, &stop)
}

/// Looks at the repository of the first of `folders` that has one, until somebody says to stop.
fn look_until(folders: &[PathBuf], stop: &Arc<AtomicBool>) -> Looked {
    let mut missing = Vec::new();
    for folder in folders {
        match discover(folder) {
            Ok(repository) => {
                let mut looked = look(&repository, stop);
                if stop.load(Ordering::Relaxed) {
                    let why =
                        "not all changes of the code are known: looking for them took too long";
                    looked.missing.push(why.to_owned());
                }
                return looked;
            }
            Err(err) => missing.push(format!(
                "the code is not known: {}: {}",
                told(&folder.display()),
                told(&err)
            )),
        }
    }
    Looked {
        missing,
        ..Looked::default()
    }
}

/// Sets `stop` after `wait`, unless the sender is dropped before. Without a thread, there is no limit.
fn clock(stop: Arc<AtomicBool>, wait: Duration) -> SyncSender<()> {
    let (done, ended) = sync_channel::<()>(1);
    let work = move || {
        if ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let clock = thread::Builder::new().name("tlc-provenance-clock".to_owned());
    clock.spawn(work).map(drop).unwrap_or_default();
    done
}

fn told(err: &impl std::fmt::Display) -> String {
    redacted(&err.to_string()).into_owned()
}

fn discover(folder: &Path) -> Result<Repository, gix::Error> {
    let isolated = || open::Options::isolated();
    let trust = sec::trust::Mapping {
        full: isolated(),
        reduced: isolated(),
    };
    // As if it belonged to somebody else: so none of the programs that its configuration names is ever run.
    let options = upwards::Options {
        trust: upwards::TrustPolicy::Assume(sec::Trust::Reduced),
        ..upwards::Options::default()
    };
    let found = ThreadSafeRepository::discover_opts(folder, options, trust)?;
    Ok(found.to_thread_local())
}

fn look(repository: &Repository, stop: &Arc<AtomicBool>) -> Looked {
    let folder = repository.workdir().unwrap_or(repository.git_dir());
    let folder = fs::canonicalize(folder).unwrap_or_else(|_gone| folder.to_path_buf());
    let branch = branch(repository);
    let mut code = Code {
        folder: told(&folder.display()),
        commit: repository.head_id().ok().map(|id| id.to_string()),
        remote: remote(repository, branch.as_deref()),
        branch,
        state: repository.state().map(|state| going_on(&state).to_owned()),
        ..Code::default()
    };
    let (mut patch, mut missing) = (String::new(), Vec::new());
    match changed(repository, stop) {
        _ if repository.workdir().is_none() => {
            missing.push(
                "changes of the code are not known: the repository has no work tree".to_owned(),
            );
        }
        Ok(paths) => {
            let found;
            (found, code.n_more, patch) = changes(repository, paths, stop);
            code.changes = Some(found);
        }
        Err(err) => missing.push(format!("changes of the code are not known: {}", told(&err))),
    }
    code.patch = (!patch.is_empty()).then(|| PatchFile::of(&patch));
    Looked {
        code: Some(code),
        patch: (!patch.is_empty()).then_some(patch),
        missing,
    }
}

fn branch(repository: &Repository) -> Option<String> {
    let name = repository.head_name().ok()??;
    Some(told(&name.shorten()))
}

/// The URL of the branch's remote, or of the one that is there unless somebody names it.
fn remote(repository: &Repository, branch: Option<&str>) -> Option<String> {
    let config = repository.config_snapshot();
    let of_branch = branch.and_then(|branch| config.string(&format!("branch.{branch}.remote")));
    let name = of_branch.unwrap_or_else(|| "origin".into());
    let url = config.string(&format!("remote.{name}.url"))?;
    Some(told(&url))
}

fn going_on(state: &InProgress) -> &'static str {
    match state {
        InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => "am",
        InProgress::Bisect => "bisect",
        InProgress::CherryPick | InProgress::CherryPickSequence => "cherry-pick",
        InProgress::Merge => "merge",
        InProgress::Rebase | InProgress::RebaseInteractive => "rebase",
        InProgress::Revert | InProgress::RevertSequence => "revert",
    }
}

/// Paths that are not as the commit has them, tracked ones first, and how many more there are.
type Paths = (BTreeSet<(bool, BString)>, u64);

fn changed(repository: &Repository, stop: &Arc<AtomicBool>) -> Result<Paths, gix::Error> {
    let status = repository
        .status(gix::progress::Discard)?
        .untracked_files(UntrackedFiles::Files)
        .index_worktree_rewrites(None)
        .index_worktree_submodules(None)
        .tree_index_track_renames(TrackRenames::Disabled)
        .should_interrupt_owned(Arc::clone(stop));
    let (mut paths, mut n_more) = (BTreeSet::new(), 0);
    // From the top, wherever the program was started.
    for item in status.into_iter([BString::from(":/")])? {
        let path = match item? {
            Item::TreeIndex(change) => (false, change.location().to_owned()),
            Item::IndexWorktree(index_worktree::Item::DirectoryContents { entry, .. }) => {
                (true, entry.rela_path)
            }
            Item::IndexWorktree(item) => (false, item.rela_path().to_owned()),
        };
        paths.insert(path);
        // A folder of data may have millions.
        if paths.len() > CHANGES_MAX {
            paths.pop_last();
            n_more += 1;
        }
    }
    Ok((paths, n_more))
}

/// The changes of these paths, how many more there are than are listed, and the patch.
fn changes(
    repository: &Repository,
    (paths, mut n_more): Paths,
    stop: &AtomicBool,
) -> (Vec<Change>, u64, String) {
    let (mut found, mut patches) = (Vec::new(), String::new());
    for (is_untracked, path) in paths {
        if stop.load(Ordering::Relaxed) {
            n_more += 1;
            continue;
        }
        let Some((mut change, patch)) = change_of(repository, &path, is_untracked) else {
            continue;
        };
        match patches.len() + patch.len() <= PATCH_BYTES_MAX {
            true => patches += &patch,
            false => change.left_out = Some("the patch is too large already".to_owned()),
        }
        found.push(change);
    }
    (found, n_more, patches)
}

fn change_of(
    repository: &Repository,
    path: &BString,
    is_untracked: bool,
) -> Option<(Change, String)> {
    // Nothing is read of what is not kept.
    if let Some(why) = unwanted(&path.to_str_lossy(), is_untracked).filter(|_| is_untracked) {
        let change = Change {
            path: changes::listed(&path.to_str_lossy()),
            kind: ChangeKind::Untracked,
            left_out: Some(why.to_owned()),
        };
        return Some((change, String::new()));
    }
    let sides = Sides {
        old: match is_untracked {
            true => Ok(None),
            false => committed(repository, path),
        },
        new: on_disk(repository, path, is_untracked),
    };
    change(path, is_untracked, sides)
}

/// The file as the commit has it.
fn committed(repository: &Repository, path: &BString) -> Result<Option<File>, &'static str> {
    let unknown = "the commit could not be read";
    let Ok(tree) = repository.head_tree() else {
        return Ok(None);
    };
    let entry = tree.lookup_entry_by_path(path.to_path_lossy());
    let Some(entry) = entry.map_err(|_damaged| unknown)? else {
        return Ok(None);
    };
    match entry.mode().kind() {
        EntryKind::Blob | EntryKind::BlobExecutable => {}
        EntryKind::Link => return Err("it was a symbolic link"),
        EntryKind::Commit => return Err("it was a submodule"),
        EntryKind::Tree => return Err("it was a folder"),
    }
    let size = repository
        .find_header(entry.id())
        .map(|header| header.size());
    if size.map_err(|_damaged| unknown)? > FILE_BYTES_MAX {
        return Err("it was too large");
    }
    let blob = entry.object().map_err(|_damaged| unknown)?;
    Ok(Some(File {
        bytes: blob.data.clone(),
        is_executable: entry.mode().kind() == EntryKind::BlobExecutable,
    }))
}

/// The file as it is. Nothing but a plain file is opened: anything else might never answer.
fn on_disk(
    repository: &Repository,
    path: &BString,
    is_untracked: bool,
) -> Result<Option<File>, &'static str> {
    let Some(folder) = repository.workdir() else {
        return Ok(None);
    };
    let path = path.to_path_lossy();
    if path
        .ancestors()
        .skip(1)
        .any(|above| folder.join(above).is_symlink())
    {
        return Err("it lies behind a symbolic link");
    }
    let path = folder.join(path);
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(_) => return Err("it could not be read"),
    };
    let max = match is_untracked {
        true => changes::UNTRACKED_BYTES_MAX,
        false => FILE_BYTES_MAX,
    };
    match found.is_file() {
        true if found.len() > max => Err("it is too large"),
        true => Ok(Some(File {
            bytes: read(&path, max).map_err(|_io| "it could not be read")?,
            is_executable: is_executable(&found),
        })),
        false => Err("it is no plain file"),
    }
}

/// At most one byte more than `max`, whatever the file has become meanwhile.
fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(path)?;
    file.take(max + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn is_executable(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    found.permissions().mode() & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_found: &fs::Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    /// Runs Git itself, as nobody in particular.
    #[track_caller]
    fn git(folder: &Path, line: &str) -> String {
        let done = Command::new("git")
            .args(line.split_whitespace())
            .current_dir(folder)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "ada")))
            .envs(
                ["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "ada@example.org")),
            )
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "git {line}: {told}");
        String::from_utf8(done.stdout).unwrap()
    }

    /// A repository with one commit of these files.
    fn repository(files: &[(&str, &str)]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), "init -q -b main");
        write(folder.path(), files);
        git(folder.path(), "add .");
        git(folder.path(), "commit -q --allow-empty -m first");
        folder
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    fn seen(folder: &Path) -> Looked {
        look_within(&[folder.to_path_buf()], Duration::from_secs(60))
    }

    fn told_of(code: &Code) -> String {
        let told = code.changes.iter().flatten().map(|change| {
            let left_out = change.left_out.as_deref().unwrap_or("kept");
            format!("{} {:?}: {left_out}", change.path, change.kind)
        });
        told.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn the_patch_brings_the_commit_to_what_was_there() {
        let folder = repository(&[
            ("src/main.rs", "fn main() {\n    old();\n}\n"),
            ("src/gone.rs", "gone\n"),
            ("same.rs", "same\n"),
            ("no end", "a\nb"),
            (".gitignore", "target\n"),
        ]);
        write(
            folder.path(),
            &[
                ("src/main.rs", "fn main() {\n    new();\n}\n"),
                ("no end", "a\nc"),
                ("staged.py", "import os\n"),
                ("new/däta\t\"1\".toml", "lr = 0.1\n"),
                ("empty.rs", ""),
                ("target/ignored.rs", "x\n"),
                ("weights.bin", "x\n"),
            ],
        );
        fs::remove_file(folder.path().join("src/gone.rs")).unwrap();
        git(folder.path(), "add staged.py");
        // From a folder below, all of it is seen.
        let looked = seen(&folder.path().join("src"));
        let code = looked.code.unwrap();
        assert_eq!(
            told_of(&code),
            "no end Modified: kept\nsrc/gone.rs Deleted: kept\nsrc/main.rs Modified: kept\nstaged.py Added: kept\n\
             empty.rs Untracked: kept\nnew/däta\t\"1\".toml Untracked: kept\nweights.bin Untracked: it is no source"
        );
        assert_eq!(
            code.commit.unwrap(),
            git(folder.path(), "rev-parse HEAD").trim()
        );
        assert_eq!(
            (code.branch.as_deref(), code.state, looked.missing.len()),
            (Some("main"), None, 0)
        );
        let other = tempfile::tempdir().unwrap();
        let clone = other.path().join("clone");
        git(
            other.path(),
            &format!("clone -q {} {}", folder.path().display(), clone.display()),
        );
        let patch = looked.patch.unwrap();
        assert_eq!(code.patch.unwrap().bytes, patch.len() as u64);
        fs::write(other.path().join("patch"), patch).unwrap();
        git(&clone, "apply ../patch");
        for name in [
            "src/main.rs",
            "no end",
            "same.rs",
            "staged.py",
            "new/däta\t\"1\".toml",
            "empty.rs",
        ] {
            let read = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(read(&clone), read(folder.path()), "{name}");
        }
        assert!(!clone.join("src/gone.rs").exists());
    }

    #[cfg(unix)]
    #[test]
    fn modes_links_and_pipes_are_no_trouble() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = repository(&[
            ("run.sh", "echo\n"),
            ("link.rs", "x\n"),
            ("pipe.rs", "x\n"),
            ("folder/inner.rs", "x\n"),
        ]);
        let path = |name: &str| folder.path().join(name);
        fs::set_permissions(path("run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["link.rs", "pipe.rs"] {
            fs::remove_file(path(name)).unwrap();
        }
        symlink("/etc/passwd", path("link.rs")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        write(outside.path(), &[("inner.rs", "outside\n")]);
        fs::remove_dir_all(path("folder")).unwrap();
        symlink(outside.path(), path("folder")).unwrap();
        let made = Command::new("mkfifo")
            .arg(path("pipe.rs"))
            .status()
            .unwrap();
        assert!(made.success());
        let looked = seen(folder.path());
        let code = looked.code.unwrap();
        assert_eq!(
            told_of(&code),
            "folder/inner.rs Modified: it lies behind a symbolic link\nlink.rs Modified: it is no plain file\npipe.rs Modified: it is no plain file\nrun.sh Modified: kept\nfolder Untracked: it is no source"
        );
        assert!(looked.patch.unwrap().contains("new mode 100755"));
    }

    #[test]
    fn a_clean_repository_is_not_dirty_and_credentials_are_not_told() {
        let folder = repository(&[("a.rs", "a\n")]);
        git(
            folder.path(),
            "remote add origin https://ada:hunter2@example.org/team/x.git?token=abc",
        );
        git(folder.path(), "remote add fork file:///fork");
        let code = seen(folder.path()).code.unwrap();
        assert_eq!((code.is_dirty(), code.patch), (Some(false), None));
        assert_eq!(
            code.remote.as_deref(),
            Some("https://[redacted]@example.org/team/x.git?token=[redacted]")
        );
        git(folder.path(), "config branch.main.remote fork");
        let code = seen(folder.path()).code.unwrap();
        assert_eq!(code.remote.as_deref(), Some("file:///fork"));
    }

    #[test]
    fn where_there_is_none_or_it_is_damaged_that_is_said() {
        let empty = tempfile::tempdir().unwrap();
        let damaged = repository(&[("a.rs", "a\n")]);
        fs::write(damaged.path().join(".git/index"), "damaged").unwrap();
        let headless = repository(&[("a.rs", "a\n")]);
        fs::write(headless.path().join(".git/HEAD"), "\0\0").unwrap();
        let objectless = repository(&[("a.rs", "a\n")]);
        fs::remove_dir_all(objectless.path().join(".git/objects")).unwrap();
        for folder in [&empty, &damaged, &headless, &objectless] {
            let looked = seen(folder.path());
            assert!(!looked.missing.is_empty(), "{looked:?}");
            assert_eq!(looked.patch, None);
            // Not known is not clean.
            assert_ne!(looked.code.and_then(|code| code.is_dirty()), Some(false));
        }
        // The first folder that has one counts.
        let good = repository(&[]);
        let folders = [empty.path().to_path_buf(), good.path().to_path_buf()];
        let looked = look_within(&folders, Duration::from_secs(60));
        assert!(looked.code.is_some_and(|code| code.commit.is_some()));
    }

    #[test]
    fn bare_unborn_shallow_and_detached_repositories_are_told_apart() {
        let origin = repository(&[("a.rs", "a\n")]);
        git(origin.path(), "commit -q --allow-empty -m second");
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}", origin.path().display());
        git(folder.path(), &format!("clone -q --bare {url} bare"));
        git(folder.path(), &format!("clone -q --depth 1 {url} shallow"));
        git(folder.path(), "init -q -b trunk unborn");
        write(
            folder.path(),
            &[("unborn/a.rs", "a\n"), ("shallow/a.rs", "b\n")],
        );
        let commit = git(origin.path(), "rev-parse HEAD").trim().to_owned();
        let seen = |name: &str| {
            let looked = seen(&folder.path().join(name));
            let code = looked.code.unwrap();
            let is_ours = code.commit.as_ref() == Some(&commit);
            let branch = code.branch.clone().unwrap_or_default();
            format!(
                "{is_ours} {branch} {} {}",
                code.changes.iter().flatten().count(),
                looked.missing.join("; ")
            )
        };
        assert_eq!(
            seen("bare"),
            "true main 0 changes of the code are not known: the repository has no work tree"
        );
        assert_eq!(seen("shallow"), "true main 1 ");
        assert_eq!(seen("unborn"), "false trunk 1 ");
        git(&folder.path().join("shallow"), "checkout -q --detach");
        assert_eq!(seen("shallow"), "true  1 ");
    }

    #[test]
    fn a_rebase_that_has_stopped_is_said() {
        let folder = repository(&[("a.rs", "a\n")]);
        let commit = |text: &str| {
            write(folder.path(), &[("a.rs", text)]);
            git(folder.path(), &format!("commit -q -a -m {}", text.trim()));
        };
        git(folder.path(), "checkout -q -b other");
        commit("b\n");
        git(folder.path(), "checkout -q main");
        commit("c\n");
        let rebase = Command::new("git")
            .args(["rebase", "other"])
            .current_dir(folder.path())
            .envs([
                ("GIT_COMMITTER_NAME", "ada"),
                ("GIT_COMMITTER_EMAIL", "a@example.org"),
            ])
            .output()
            .unwrap();
        assert!(!rebase.status.success());
        let looked = seen(folder.path());
        let code = looked.code.unwrap();
        assert_eq!(code.state.as_deref(), Some("rebase"));
        assert_eq!(
            (code.branch.clone(), told_of(&code).as_str()),
            (None, "a.rs Modified: kept")
        );
        assert!(looked.patch.unwrap().contains("+<<<<<<< "));
    }

    #[cfg(unix)]
    #[test]
    fn whoever_owns_it_none_of_its_programs_is_run() {
        let folder = repository(&[("a.rs", "a\n"), (".gitattributes", "*.rs filter=spy\n")]);
        let mark = folder.path().join("ran");
        git(
            folder.path(),
            &format!("config filter.spy.clean touch${{IFS}}{}", mark.display()),
        );
        git(
            folder.path(),
            &format!("config core.fsmonitor {}", mark.display()),
        );
        git(folder.path(), "remote add origin https://example.org/x.git");
        write(folder.path(), &[("a.rs", "b\n")]);
        let check = || {
            let code = seen(folder.path()).code.unwrap();
            assert_eq!(told_of(&code), "a.rs Modified: kept");
            assert_eq!(code.remote.as_deref(), Some("https://example.org/x.git"));
            assert!(!mark.exists(), "a program of the repository was run");
        };
        check();
        // Only an administrator can give a file away.
        let give =
            |path: &str| std::os::unix::fs::chown(folder.path().join(path), Some(12_345), None);
        if give("").is_ok() {
            for path in [".git", ".git/config", "a.rs"] {
                give(path).unwrap();
            }
            check();
        }
    }

    #[test]
    fn too_much_is_cut_and_said() {
        let folder = repository(&[]);
        for n in 0..CHANGES_MAX + 5 {
            fs::write(folder.path().join(format!("{n:04}.rs")), "x\n").unwrap();
        }
        let code = seen(folder.path()).code.unwrap();
        assert_eq!(
            (code.changes.iter().flatten().count(), code.n_more),
            (CHANGES_MAX, 5)
        );
        let stop = Arc::new(AtomicBool::new(true));
        let looked = look_until(&[folder.path().to_path_buf()], &stop);
        let code = looked.code.unwrap();
        assert!(code.commit.is_some());
        // What was not looked into is not clean.
        assert_eq!(code.is_dirty(), None);
        assert!(looked.missing.concat().contains("took too long"));
        let stop = Arc::new(AtomicBool::new(false));
        let _clock = clock(Arc::clone(&stop), Duration::from_millis(1));
        while !stop.load(Ordering::Relaxed) {
            thread::yield_now();
        }
    }
}
