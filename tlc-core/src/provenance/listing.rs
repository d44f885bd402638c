//! The changes that are listed, and the patch of those that are kept.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::Repository;
use gix::bstr::{BString, ByteSlice as _};

use super::changes::{PATCH_BYTES_MAX, Sides, change, listed, unwanted};
use super::repository::CHANGES_MAX;
use super::versions::{committed, is_committed, on_disk, settle};
use crate::format::provenance::{Change, ChangeKind};

/// The first paths of many, in order.
#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) paths: BTreeSet<BString>,
    /// How many more there are.
    pub(super) n_more: u64,
    /// Why these may not be all, unless time was up; in sentences.
    pub(super) failed: Vec<String>,
}

impl Paths {
    /// Adds one, and keeps no more than `max`: a folder of data may have millions.
    pub(super) fn add(&mut self, path: BString, max: usize) {
        self.paths.insert(path);
        if self.paths.len() > max {
            self.paths.pop_last();
            self.n_more += 1;
        }
    }
}

/// What was found of a work tree so far.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) changes: Vec<Change>,
    pub(super) n_more: u64,
    pub(super) patch: String,
    /// Why this may not be all, unless time was up; in sentences.
    pub(super) failed: Vec<String>,
    /// What was not looked at, in sentences.
    pub(super) notes: Vec<String>,
}

impl Listing {
    /// How many more changes may be listed.
    pub(super) fn n_left(&self) -> usize {
        CHANGES_MAX.saturating_sub(self.changes.len())
    }

    pub(super) fn add_tracked(&mut self, repository: &Repository, found: Paths, stop: &AtomicBool) {
        self.add(found, stop, |path| tracked(repository, path));
    }

    pub(super) fn add_untracked(
        &mut self,
        repository: &Repository,
        found: Paths,
        stop: &AtomicBool,
    ) {
        // One that the commit has is tracked no more, and was listed before.
        self.add(found, stop, |path| match is_committed(repository, path) {
            true => None,
            false => untracked(repository, path),
        });
    }

    /// Adds submodules that are on another commit, each unless it is listed already.
    pub(super) fn add_submodules(&mut self, found: (Vec<Change>, Vec<String>)) {
        for change in found.0 {
            if self.changes.iter().any(|listed| listed.path == change.path) {
                continue;
            }
            match self.n_left() {
                0 => self.n_more += 1,
                _ => self.changes.push(change),
            }
        }
        self.notes.extend(found.1);
    }

    fn add(
        &mut self,
        found: Paths,
        stop: &AtomicBool,
        mut change: impl FnMut(&BString) -> Option<(Change, String)>,
    ) {
        self.n_more += found.n_more;
        self.failed.extend(found.failed);
        for path in found.paths {
            if stop.load(Ordering::Relaxed) {
                self.n_more += 1;
                continue;
            }
            let Some((mut change, patch)) = change(&path) else {
                continue;
            };
            match self.patch.len() + patch.len() <= PATCH_BYTES_MAX {
                true => self.patch += &patch,
                false => change.left_out = Some("the patch is too large already".to_owned()),
            }
            self.changes.push(change);
        }
    }
}

fn tracked(repository: &Repository, path: &BString) -> Option<(Change, String)> {
    let sides = Sides {
        old: committed(repository, path),
        new: on_disk(repository, path, false),
    };
    change(path, false, settle(repository, sides))
}

fn untracked(repository: &Repository, path: &BString) -> Option<(Change, String)> {
    // Nothing is read of what is not kept.
    if let Some(why) = unwanted(&path.to_str_lossy(), true) {
        let change = Change {
            path: listed(&path.to_str_lossy()),
            kind: ChangeKind::Untracked,
            left_out: Some(why.to_owned()),
        };
        return Some((change, String::new()));
    }
    let sides = Sides {
        old: Ok(None),
        new: on_disk(repository, path, true),
    };
    change(path, true, settle(repository, sides))
}
