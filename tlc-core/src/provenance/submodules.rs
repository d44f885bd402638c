//! Submodules that are not on the commit that the index says.

use std::path::Path;

use gix::Repository;
use gix::bstr::{BStr, ByteSlice as _};

use super::changes::listed;
use super::repository::{stranger, told};
use super::versions::is_behind_link;
use crate::format::provenance::{Change, ChangeKind};

/// Those, and what was not looked at, in sentences. Each is read as the repository is, as if it belonged to somebody else; its
/// files are not looked at.
pub(super) fn submodules(repository: &Repository, top: &Path) -> (Vec<Change>, Vec<String>) {
    let (mut changes, mut n_there, mut unknown) = (Vec::new(), 0, Vec::new());
    let Ok(index) = repository.index_or_empty() else {
        // Of an index that cannot be read, the search for tracked files says so.
        return (changes, unknown);
    };
    let entries = index.entries().iter();
    for entry in entries.filter(|entry| entry.mode.is_submodule()) {
        let path = entry.path(&index);
        // One that was never fetched is as the commit has it.
        if !is_there(top, path) {
            continue;
        }
        n_there += 1;
        match commit(&top.join(path.to_path_lossy())) {
            Ok(commit) if commit == entry.id => {}
            Ok(commit) => changes.push(moved(path, commit)),
            Err(err) => unknown.push(format!(
                "the commit of the submodule {} is not known: {}",
                told(&path),
                told(&err)
            )),
        }
    }
    if n_there > 0 {
        unknown.push("changes of files within submodules are not known".to_owned());
    }
    (changes, unknown)
}

fn is_there(top: &Path, path: &BStr) -> bool {
    let path = path.to_path_lossy();
    let folder = top.join(&path);
    !is_behind_link(top, &path) && !folder.is_symlink() && folder.join(".git").exists()
}

fn commit(folder: &Path) -> Result<gix::ObjectId, gix::Error> {
    let submodule = stranger().open(folder)?.to_thread_local();
    Ok(submodule.head_id()?.detach())
}

fn moved(path: &BStr, commit: gix::ObjectId) -> Change {
    Change {
        path: listed(&path.to_str_lossy()),
        kind: ChangeKind::Modified,
        left_out: Some(format!("it is a submodule, and on commit {commit}")),
    }
}
