//! The code of two runs: their commits, and what was changed on top of them.

use std::collections::{BTreeMap, BTreeSet};

/// In what the code of two runs differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeComparison {
    /// The commit of the first run; `None` if it is not known.
    pub first: Option<String>,
    /// The commit of the other run.
    pub other: Option<String>,
    /// Files whose changes to the commit are not the same in both runs, by path.
    pub files: Vec<FileComparison>,
}

/// What two runs have changed of one file, on top of their commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileComparison {
    /// The file, from the top of the work tree.
    pub path: String,
    /// The patch of the first run; `None` if it has the file as the commit has it.
    pub first: Option<String>,
    /// The patch of the other run.
    pub other: Option<String>,
}

impl CodeComparison {
    /// Compares commits and patches.
    pub(super) fn new(first: (Option<String>, &str), other: (Option<String>, &str)) -> Self {
        let (first_files, other_files) = (by_path(first.1), by_path(other.1));
        let paths: BTreeSet<&str> = first_files
            .keys()
            .chain(other_files.keys())
            .copied()
            .collect();
        let files = paths.into_iter().map(|path| FileComparison {
            path: path.to_owned(),
            first: first_files.get(path).copied().map(str::to_owned),
            other: other_files.get(path).copied().map(str::to_owned),
        });
        Self {
            first: first.0,
            other: other.0,
            files: files.filter(|file| file.first != file.other).collect(),
        }
    }

    /// Whether nothing is known to differ.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.first == self.other && self.files.is_empty()
    }
}

/// The parts of a patch, by the file that each is of.
fn by_path(patch: &str) -> BTreeMap<&str, &str> {
    const HEAD: &str = "diff --git ";
    let starts = patch.match_indices(HEAD).map(|(at, _)| at);
    // In the lines of a file there is a sign before each.
    let starts = starts.filter(|at| *at == 0 || patch.get(at - 1..*at) == Some("\n"));
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([patch.len()]);
    let parts = starts.iter().zip(ends);
    let parts = parts.filter_map(|(start, end)| {
        let part = patch.get(*start..end)?;
        let names = part.lines().next()?.strip_prefix(HEAD)?;
        Some((path(names), part))
    });
    parts.collect()
}

/// The file of `a/PATH b/PATH`, which are of the same length.
fn path(names: &str) -> &str {
    let half = names.get(..names.len() / 2).unwrap_or(names);
    let bare = half.trim_matches('"');
    bare.strip_prefix("a/").unwrap_or(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "diff --git a/a b.rs b/a b.rs\n--- a/a b.rs\n+++ b/a b.rs\n@@ -1,1 +1,1 @@\n-x\n+diff --git a/y b/y\n";
    const B: &str = "diff --git a/b.rs b/b.rs\nnew file mode 100644\n";

    #[track_caller]
    fn check(first: &str, other: &str, expected: &str) {
        let found = CodeComparison::new((None, first), (None, other));
        let files = found.files.iter().map(|file| {
            let side =
                |side: &Option<String>| side.as_deref().map_or(0, |patch| patch.lines().count());
            format!("{} {} {}", file.path, side(&file.first), side(&file.other))
        });
        assert_eq!(files.collect::<Vec<_>>().join(", "), expected);
    }

    #[test]
    fn patches_are_compared_file_by_file() {
        check("", "", "");
        check(A, A, "");
        check("", A, "a b.rs 0 6");
        check(&format!("{A}{B}"), A, "b.rs 2 0");
        check(&format!("{A}{B}"), &format!("{A} z\n{B}"), "a b.rs 6 7");
    }

    #[test]
    fn another_commit_is_other_code() {
        let commit = |text: &str| Some(text.to_owned());
        assert!(CodeComparison::new((commit("c"), A), (commit("c"), A)).is_same());
        assert!(!CodeComparison::new((commit("c"), A), (commit("d"), A)).is_same());
        assert!(!CodeComparison::new((commit("c"), A), (commit("c"), B)).is_same());
    }
}
