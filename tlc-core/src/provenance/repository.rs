//! A Git repository, read by `gix`: no program is started, and nothing is written.
//!
//! Every repository is read as if it belonged to another user: only what of its own configuration is harmless counts, and no filter,
//! hook or monitor that it names is run. What is tracked comes first, and what is not tracked is looked for in the time that is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use gix::discover::upwards;
use gix::state::InProgress;
use gix::{Repository, ThreadSafeRepository, open, sec};

use super::listing::Listing;
use super::{submodules, tracked, untracked};
use crate::format::provenance::{Code, PatchFile};
use crate::redact::redacted;

/// How many changes are listed.
pub(super) const CHANGES_MAX: usize = 1_000;

/// Where code may lie, and which files are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// The first that lies in a repository counts.
    pub(super) folders: Vec<PathBuf>,
    /// Folders that this library writes to.
    pub(super) data: Vec<PathBuf>,
    /// The file with the patterns of what the user never tracks.
    pub(super) excludes: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) code: Option<Code>,
    pub(super) patch: Option<String>,
    /// What could not be found out, in sentences.
    pub(super) missing: Vec<String>,
}

/// Looks at the repository of the first folder that has one; for its changes not much longer than `wait`. `checked_out` is told
/// the commit, the branch and the remote as soon as they are known.
pub(super) fn look_within(
    places: &Places,
    wait: Duration,
    checked_out: &mut dyn FnMut(&Code),
) -> Looked {
    let stop = Arc::new(AtomicBool::new(false));
    // Dropped at the end, which ends the clock's thread.
    let _clock = clock(Arc::clone(&stop), wait);
    look_until(places, &stop, checked_out)
}

/// The same, until somebody says to stop.
fn look_until(
    places: &Places,
    stop: &Arc<AtomicBool>,
    checked_out: &mut dyn FnMut(&Code),
) -> Looked {
    let mut missing = Vec::new();
    for folder in &places.folders {
        match discover(folder, places.excludes.as_deref()) {
            Ok(repository) => {
                let code = head(&repository);
                checked_out(&code);
                return changes(&repository, code, (places, stop));
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

/// A text without its secrets.
pub(super) fn told(text: &impl std::fmt::Display) -> String {
    redacted(&text.to_string()).into_owned()
}

/// As if it belonged to somebody else: so none of the programs that its configuration names is ever run.
pub(super) fn stranger() -> open::Options {
    open::Options::isolated().with(sec::Trust::Reduced)
}

fn discover(folder: &Path, excludes: Option<&Path>) -> Result<Repository, gix::Error> {
    let excludes = excludes.map(|file| format!("core.excludesFile={}", file.display()));
    let opened = || stranger().cli_overrides(excludes.clone());
    let trust = sec::trust::Mapping {
        full: opened(),
        reduced: opened(),
    };
    let options = upwards::Options {
        trust: upwards::TrustPolicy::Assume(sec::Trust::Reduced),
        ..upwards::Options::default()
    };
    let found = ThreadSafeRepository::discover_opts(folder, options, trust)?;
    Ok(found.to_thread_local())
}

/// What is checked out: what is known without looking at any file of it.
fn head(repository: &Repository) -> Code {
    let folder = repository.workdir().unwrap_or(repository.git_dir());
    let folder = fs::canonicalize(folder).unwrap_or_else(|_gone| folder.to_path_buf());
    let branch = branch(repository);
    Code {
        folder: told(&folder.display()),
        commit: repository.head_id().ok().map(|id| id.to_string()),
        remote: remote(repository, branch.as_deref()),
        branch: branch.as_ref().map(told),
        state: repository.state().map(|state| going_on(&state).to_owned()),
        ..Code::default()
    }
}

fn branch(repository: &Repository) -> Option<String> {
    let name = repository.head_name().ok()??;
    Some(name.shorten().to_string())
}

/// The URL of the branch's remote; else of `origin`; else of the only one that there is.
fn remote(repository: &Repository, branch: Option<&str>) -> Option<String> {
    let config = repository.config_snapshot();
    let of_branch = branch.and_then(|branch| config.string(&format!("branch.{branch}.remote")));
    let url = |name: &dyn std::fmt::Display| config.string(&format!("remote.{name}.url"));
    let only = || {
        let mut sections = config.plumbing().sections_by_name("remote")?;
        let first = sections.next()?.header().subsection_name()?;
        let is_only = sections.all(|other| other.header().subsection_name() == Some(first));
        is_only.then(|| url(&first))?
    };
    let found = of_branch.and_then(|name| url(&name));
    let found = found.or_else(|| url(&"origin")).or_else(only)?;
    Some(told(&found))
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

/// What of the work tree is not as the commit has it.
fn changes(
    repository: &Repository,
    mut code: Code,
    (places, stop): (&Places, &Arc<AtomicBool>),
) -> Looked {
    let mut listing = Listing::default();
    match repository.workdir() {
        Some(top) => {
            listing.add_tracked(repository, tracked::tracked(repository, stop), stop);
            listing.add_submodules(submodules::submodules(repository, top));
            let found = untracked::untracked((repository, top), &places.data, (&listing, stop));
            listing.add_untracked(repository, found, stop);
        }
        None => {
            let why = "changes of the code are not known: the repository has no work tree";
            listing.failed.push(why.to_owned());
        }
    }
    let mut missing = [&listing.failed[..], &listing.notes[..]].concat();
    if stop.load(Ordering::Relaxed) {
        let why = "not all changes of the code are known: looking for them took too long";
        missing.push(why.to_owned());
    }
    // Where not everything was looked at, having found nothing does not say that there is nothing.
    let is_whole = listing.failed.is_empty() && !stop.load(Ordering::Relaxed);
    code.changes = (is_whole || !listing.changes.is_empty()).then_some(listing.changes);
    code.n_more = listing.n_more;
    let patch = (!listing.patch.is_empty()).then_some(listing.patch);
    code.patch = patch.as_deref().map(PatchFile::of);
    Looked {
        code: Some(code),
        patch,
        missing,
    }
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

    fn places(folders: &[&Path]) -> Places {
        Places {
            folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
            ..Places::default()
        }
    }

    fn seen(folder: &Path) -> Looked {
        seen_in(&places(&[folder]))
    }

    fn seen_in(places: &Places) -> Looked {
        look_within(places, Duration::from_secs(60), &mut |_| ())
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

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_read_costs_nothing_else() {
        let folder = repository(&[("a.rs", "a\n")]);
        write(
            folder.path(),
            &[("a.rs", "b\n"), ("new.rs", "x\n"), ("z.rs", "x\n")],
        );
        // Deeper than the system can name, which nobody may read, an administrator neither.
        let chain = |top: &str| {
            let name = "d".repeat(200);
            let path = (0..12).fold(folder.path().join(top), |path, _| path.join(&name));
            fs::create_dir_all(&path).unwrap();
            path
        };
        let bottom = chain("m");
        chain("n");
        fs::rename(folder.path().join("n"), bottom.join("n")).unwrap();
        let looked = seen(folder.path());
        let code = looked.code.unwrap();
        assert_eq!(
            told_of(&code),
            "a.rs Modified: kept\nnew.rs Untracked: kept\nz.rs Untracked: kept"
        );
        assert!(looked.patch.unwrap().contains("+b\n"));
        let missing = looked.missing.concat();
        assert!(missing.starts_with("not all untracked files"), "{missing}");
        // What cannot be read may hold anything.
        git(folder.path(), "checkout -q a.rs");
        git(folder.path(), "add new.rs z.rs");
        git(folder.path(), "commit -q -m second");
        assert_eq!(seen(folder.path()).code.unwrap().is_dirty(), None);
    }

    #[test]
    fn what_is_checked_out_is_told_before_its_changes_are_known() {
        let folder = repository(&[("a.rs", "a\n")]);
        write(folder.path(), &[("a.rs", "b\n")]);
        let mut told = Vec::new();
        let mut tell = |code: &Code| told.push(code.clone());
        let looked = look_within(&places(&[folder.path()]), Duration::ZERO, &mut tell);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].branch.as_deref(), Some("main"));
        assert_eq!(told[0].commit, looked.code.unwrap().commit);
        assert_eq!((told[0].is_dirty(), told[0].commit.is_some()), (None, true));
    }

    #[test]
    fn a_file_that_is_tracked_no_more_is_in_the_patch_once() {
        let files = [("a.py", "a\n"), ("same.py", "s\n"), ("gone.py", "g\n")];
        let folder = repository(&files);
        git(folder.path(), "rm -q --cached a.py same.py gone.py");
        write(folder.path(), &[("a.py", "b\n")]);
        fs::remove_file(folder.path().join("gone.py")).unwrap();
        let looked = seen(folder.path());
        assert_eq!(
            told_of(&looked.code.unwrap()),
            "a.py Modified: kept\ngone.py Deleted: kept"
        );
        git(folder.path(), "reset -q --hard");
        let other = tempfile::tempdir().unwrap();
        let patch = other.path().join("patch");
        fs::write(&patch, looked.patch.unwrap()).unwrap();
        git(folder.path(), &format!("apply {}", patch.display()));
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();
        assert_eq!(read("a.py").as_deref(), Some("b\n"));
        assert_eq!(
            (read("same.py").as_deref(), read("gone.py")),
            (Some("s\n"), None)
        );
    }

    #[test]
    fn a_file_in_the_place_of_a_folder_is_in_the_patch() {
        let folder = repository(&[("a/b.py", "b\n")]);
        fs::remove_dir_all(folder.path().join("a")).unwrap();
        write(folder.path(), &[("a", "x\n")]);
        assert_eq!(
            told_of(&seen(folder.path()).code.unwrap()),
            "a/b.py Deleted: kept\na Untracked: it is no source"
        );
    }

    #[test]
    fn data_of_this_library_is_no_code() {
        let folder = repository(&[("a.rs", "a\n"), ("root/kept.json", "{}\n")]);
        let new = [("root/zoo/runs/1.json", "{}\n"), ("spool/x.json", "{}\n")];
        write(folder.path(), &new);
        write(folder.path(), &[("roots.json", "{}\n")]);
        let path = |name: &str| folder.path().join(name);
        let data = |data: &[&str]| {
            let places = Places {
                data: data.iter().map(|data| path(data)).collect(),
                ..places(&[folder.path()])
            };
            told_of(&seen_in(&places).code.unwrap())
        };
        // One that is not there yet is no trouble, and one that holds all of the code is none of data.
        assert_eq!(
            data(&["root", "later", ""]),
            "roots.json Untracked: kept\nspool/x.json Untracked: kept"
        );
        assert_eq!(data(&["root", "spool"]), "roots.json Untracked: kept");
        write(folder.path(), &[("root/kept.json", "[]\n")]);
        assert_eq!(
            data(&["root", "spool"]),
            "root/kept.json Modified: kept\nroots.json Untracked: kept"
        );
    }

    #[test]
    fn a_submodule_on_another_commit_is_a_change() {
        let inner = repository(&[("a.rs", "a\n")]);
        let folder = repository(&[("b.rs", "b\n")]);
        let url = inner.path().display();
        let allowed = "-c protocol.file.allow=always";
        git(
            folder.path(),
            &format!("{allowed} submodule --quiet add {url} sub"),
        );
        git(folder.path(), "commit -q -m second");
        let looked = seen(folder.path());
        let code = looked.code.unwrap();
        assert_eq!(
            (told_of(&code).as_str(), code.is_dirty()),
            ("", Some(false))
        );
        let missing = "changes of files within submodules are not known";
        assert_eq!(looked.missing, [missing]);
        let sub = folder.path().join("sub");
        git(&sub, "commit -q --allow-empty -m other");
        let commit = git(&sub, "rev-parse HEAD");
        let there = format!(
            "sub Modified: it is a submodule, and on commit {}",
            commit.trim()
        );
        let told = |folder: &Path| told_of(&seen(folder).code.unwrap());
        assert_eq!(told(folder.path()), there);
        git(folder.path(), "add sub");
        assert_eq!(told(folder.path()), "sub Modified: it was a submodule");
        // Where it was never fetched there is nothing to say.
        let clone = tempfile::tempdir().unwrap();
        git(
            clone.path(),
            &format!("clone -q {} c", folder.path().display()),
        );
        let looked = seen(&clone.path().join("c"));
        assert_eq!(
            (looked.code.unwrap().is_dirty(), looked.missing.len()),
            (Some(false), 0)
        );
    }

    #[test]
    fn content_in_git_lfs_is_not_in_the_patch() {
        let pointer = |n: usize| {
            let oid = "0".repeat(64);
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {n}\n")
        };
        let (one, two) = (pointer(1), pointer(2));
        let files = [
            ("a.csv", one.as_str()),
            ("b.csv", &one),
            ("c.csv", &one),
            ("d.csv", &one),
        ];
        let folder = repository(&files);
        write(folder.path(), &[("a.csv", "x,y\n"), ("b.csv", &two)]);
        fs::remove_file(folder.path().join("c.csv")).unwrap();
        let looked = seen(folder.path());
        assert_eq!(
            told_of(&looked.code.unwrap()),
            "a.csv Modified: its content is in Git LFS\nb.csv Modified: kept\nc.csv Deleted: its content is in Git LFS"
        );
        assert!(!looked.patch.unwrap().contains("x,y"));
    }

    #[test]
    fn what_the_user_never_tracks_is_passed_over() {
        let folder = repository(&[("a.rs", "a\n")]);
        write(folder.path(), &[("notes.md", "x\n"), ("b.rs", "x\n")]);
        let user = tempfile::tempdir().unwrap();
        write(user.path(), &[("ignore it", "*.md\n")]);
        let places = Places {
            excludes: Some(user.path().join("ignore it")),
            ..places(&[folder.path()])
        };
        let told = told_of(&seen_in(&places).code.unwrap());
        assert_eq!(told, "b.rs Untracked: kept");
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_no_change_where_the_repository_has_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = repository(&[("a.sh", "a\n"), ("b.sh", "b\n")]);
        git(folder.path(), "config core.fileMode false");
        write(folder.path(), &[("a.sh", "c\n")]);
        for name in ["a.sh", "b.sh"] {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder.path().join(name), mode).unwrap();
        }
        let looked = seen(folder.path());
        assert_eq!(told_of(&looked.code.unwrap()), "a.sh Modified: kept");
        let patch = looked.patch.unwrap();
        assert!(patch.contains("+c\n") && !patch.contains("mode"), "{patch}");
    }

    #[test]
    fn the_remote_is_that_of_the_branch_or_the_only_one() {
        let folder = repository(&[]);
        let remote = || seen(folder.path()).code.unwrap().remote;
        assert_eq!(remote(), None);
        git(folder.path(), "remote add hub file:///hub");
        git(folder.path(), "config remote.hub.prune true");
        assert_eq!(remote().as_deref(), Some("file:///hub"));
        git(folder.path(), "remote add fork file:///fork");
        assert_eq!(remote(), None);
        let branch = "ghp_0123456789abcdefghij";
        git(folder.path(), &format!("checkout -q -b {branch}"));
        git(
            folder.path(),
            &format!("config branch.{branch}.remote fork"),
        );
        let code = seen(folder.path()).code.unwrap();
        assert_eq!(code.branch.as_deref(), Some("[redacted]"));
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
        let gone = tempfile::tempdir().unwrap().path().join("gone");
        let folders = [&empty, &damaged, &headless, &objectless].map(TempDir::path);
        for folder in folders.into_iter().chain([gone.as_path()]) {
            let looked = seen(folder);
            assert!(!looked.missing.is_empty(), "{looked:?}");
            assert_eq!(looked.patch, None);
            // Not known is not clean.
            assert_ne!(looked.code.and_then(|code| code.is_dirty()), Some(false));
        }
        // The first folder that has one counts.
        let good = repository(&[]);
        let looked = seen_in(&places(&[empty.path(), good.path()]));
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
        let looked = look_until(&places(&[folder.path()]), &stop, &mut |_| ());
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
