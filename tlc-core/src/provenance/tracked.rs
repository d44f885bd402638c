//! Tracked files that are not as the commit has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::Repository;
use gix::bstr::BString;
use gix::status::UntrackedFiles;
use gix::status::tree_index::TrackRenames;

use super::listing::Paths;
use super::repository::{CHANGES_MAX, told};

/// Their paths. What was found before something failed counts.
pub(super) fn tracked(repository: &Repository, stop: &Arc<AtomicBool>) -> Paths {
    let mut found = Paths::default();
    let ended = look(repository, stop, &mut found);
    if let Err(err) = ended
        && !stop.load(Ordering::Relaxed)
    {
        let why = format!("changes of the code are not known: {}", told(&err));
        found.failed.push(why);
    }
    found
}

fn look(
    repository: &Repository,
    stop: &Arc<AtomicBool>,
    found: &mut Paths,
) -> Result<(), gix::Error> {
    let status = repository
        .status(gix::progress::Discard)?
        .untracked_files(UntrackedFiles::None)
        .index_worktree_rewrites(None)
        .index_worktree_submodules(None)
        .tree_index_track_renames(TrackRenames::Disabled)
        .should_interrupt_owned(Arc::clone(stop));
    // From the top, wherever the program was started.
    for item in status.into_iter([BString::from(":/")])? {
        found.add(item?.location().to_owned(), CHANGES_MAX);
    }
    Ok(())
}
