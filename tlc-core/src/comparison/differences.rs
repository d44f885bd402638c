//! Names and values of several runs: those that are not the same in all.

use std::collections::{BTreeMap, BTreeSet};

use crate::id::{Revision, TableName};
use crate::provenance::Provenance;

/// One name, and its value in each run.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference<T> {
    /// What it is the value of.
    pub name: String,
    /// One for each run, in their order; `None` if a run has none.
    pub values: Vec<Option<T>>,
}

/// What is not the same in all of `runs`, by name.
pub(super) fn differing<T: Clone>(
    runs: &[BTreeMap<String, T>],
    is_same: fn(&T, &T) -> bool,
) -> Vec<Difference<T>> {
    let names: BTreeSet<&String> = runs.iter().flat_map(BTreeMap::keys).collect();
    let differences = names.into_iter().map(|name| Difference {
        name: name.clone(),
        values: runs.iter().map(|run| run.get(name).cloned()).collect(),
    });
    let is_different = |difference: &Difference<T>| {
        let mut pairs = difference.values.windows(2);
        pairs.any(|pair| match pair {
            [Some(a), Some(b)] => !is_same(a, b),
            [None, None] => false,
            _ => true,
        })
    };
    differences.filter(is_different).collect()
}

/// What a run is made of beside its code, by name.
pub(super) fn facts(made_of: Option<&Provenance>) -> BTreeMap<String, String> {
    let Some(made_of) = made_of else {
        return BTreeMap::new();
    };
    let (build, machine) = (&made_of.build, &made_of.machine);
    let gpus: Vec<&str> = machine.gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    let lock = made_of.lock.as_ref().map(|lock| lock.blake3.clone());
    let known = [
        ("build/compiler", Some(build.compiler.clone())),
        ("build/features", Some(build.features.join(", "))),
        ("build/library", Some(build.library.clone())),
        ("build/opt_level", Some(build.opt_level.clone())),
        ("build/profile", Some(build.profile.clone())),
        ("build/target", Some(build.target.clone())),
        ("command", Some(made_of.command.join(" "))),
        ("folder", Some(made_of.folder.clone())),
        ("lock", lock),
        (
            "machine/gpus",
            Some(gpus.join(", ")).filter(|gpus| !gpus.is_empty()),
        ),
        ("machine/host", machine.host.clone()),
        ("machine/kernel", machine.kernel.clone()),
        (
            "machine/memory",
            machine.memory.map(|bytes| bytes.to_string()),
        ),
        ("machine/processor", machine.processor.clone()),
        ("machine/system", machine.system.clone()),
        (
            "machine/threads",
            machine.threads.map(|threads| threads.to_string()),
        ),
    ];
    let known = known
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let variables = made_of.environment.iter();
    let variables = variables.map(|(name, value)| (format!("variable/{name}"), value.clone()));
    known.chain(variables).collect()
}

/// What is not known of a run, of which the patch is at hand or not.
pub(super) fn not_known(made_of: Option<&Provenance>, has_patch: bool) -> Vec<String> {
    let Some(made_of) = made_of else {
        return vec!["what it is made of is not known".to_owned()];
    };
    let mut unknown = made_of.missing.clone();
    let Some(code) = &made_of.code else {
        return unknown;
    };
    if code.patch.is_some() && !has_patch {
        unknown.push("the file of its patch is gone".to_owned());
    }
    let changes = code.changes.iter().flatten();
    unknown.extend(changes.filter_map(|change| {
        let why = change.left_out.as_ref()?;
        Some(format!("how {} was changed: {why}", change.path))
    }));
    if code.n_more > 0 {
        unknown.push(format!("whether {} more files were changed", code.n_more));
    }
    unknown
}

type Input = (TableName, Revision);

/// What the first and the other run read of a table.
pub(super) type Read = (Option<Revision>, Option<Revision>);

/// The tables of which the runs did not read the same revisions, by name: of each run the last revision that the other one did not read, or if there is
/// none, the last that it read.
pub(super) fn tables(first: &[Input], other: &[Input]) -> Vec<(TableName, Read)> {
    let names: BTreeSet<&TableName> = first.iter().chain(other).map(|(table, _)| table).collect();
    let of = |inputs: &[Input], table: &TableName| -> Vec<Revision> {
        let own = inputs.iter().filter(|(own, _)| own == table);
        own.map(|(_, revision)| *revision).collect()
    };
    let own = |own: &[Revision], others: &[Revision]| {
        let only = own.iter().rev().find(|revision| !others.contains(revision));
        only.or(own.last()).copied()
    };
    let read = |table: &TableName| {
        let (first, other) = (of(first, table), of(other, table));
        let is_same = first.iter().all(|revision| other.contains(revision))
            && other.iter().all(|revision| first.contains(revision));
        (!is_same).then(|| (table.clone(), (own(&first, &other), own(&other, &first))))
    };
    names.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provenance::{Change, ChangeKind, Code, PatchFile};

    #[test]
    fn what_is_the_same_in_all_runs_is_left_out() {
        let check = |runs: &[&str], expected: &str| {
            let values = |text: &str| {
                let pairs = text
                    .split_whitespace()
                    .map(|pair| pair.split_once('=').unwrap());
                pairs
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect()
            };
            let runs: Vec<_> = runs.iter().map(|run| values(run)).collect();
            let found = differing::<String>(&runs, PartialEq::eq);
            let found = found.iter().map(|found| {
                let values = found
                    .values
                    .iter()
                    .map(|value| value.as_deref().unwrap_or("-"));
                format!("{}:{}", found.name, values.collect::<Vec<_>>().join(","))
            });
            assert_eq!(found.collect::<Vec<_>>().join(" "), expected);
        };
        check(&["a=1 b=2", "a=1 b=2"], "");
        check(&["a=1 b=2 c=3", "a=1 b=3 d=4"], "b:2,3 c:3,- d:-,4");
        check(&["a=1", "a=1", "a=2"], "a:1,1,2");
        check(&["a=1", "", "a=1"], "a:1,-,1");
    }

    #[test]
    fn what_was_not_captured_is_not_known() {
        let check = |made_of: Option<Provenance>, has_patch: bool, expected: &str| {
            assert_eq!(not_known(made_of.as_ref(), has_patch).join("; "), expected);
        };
        let change = |path: &str, left_out: Option<&str>| Change {
            path: path.to_owned(),
            kind: ChangeKind::Modified,
            left_out: left_out.map(str::to_owned),
        };
        let code = Code {
            changes: Some(vec![
                change("a.rs", None),
                change("b.bin", Some("it is no text")),
            ]),
            n_more: 3,
            patch: Some(PatchFile::of("diff")),
            ..Code::default()
        };
        let whole = Provenance::default();
        let part = Provenance {
            code: Some(code),
            missing: vec!["the lock file is not known".to_owned()],
            ..Provenance::default()
        };
        let known = "the lock file is not known; how b.bin was changed: it is no text; whether 3 more files were changed";
        check(None, false, "what it is made of is not known");
        check(Some(whole), false, "");
        check(Some(part.clone()), true, known);
        let gone = known.replace("known; how", "known; the file of its patch is gone; how");
        check(Some(part), false, &gone);
    }

    #[test]
    fn revisions_that_only_one_run_read_are_compared() {
        let inputs = |text: &str| -> Vec<Input> {
            let pairs = text
                .split_whitespace()
                .map(|pair| pair.split_once('@').unwrap());
            pairs
                .map(|(table, revision)| {
                    (table.parse().unwrap(), Revision(revision.parse().unwrap()))
                })
                .collect()
        };
        let check = |first: &str, other: &str, expected: &str| {
            let shown = |revision: Option<Revision>| {
                revision.map_or("-".to_owned(), |found| found.to_string())
            };
            let found = tables(&inputs(first), &inputs(other));
            let found = found.iter().map(|(table, (first, other))| {
                format!("{table} {} {}", shown(*first), shown(*other))
            });
            assert_eq!(found.collect::<Vec<_>>().join(", "), expected);
        };
        check("train@1 test@0", "test@0 train@1", "");
        check("train@0 train@2", "train@2 train@0", "");
        check("train@0 train@2", "train@2", "train 0 2");
        check("train@0 train@2", "train@1 train@2", "train 0 1");
        check("train@0 train@1", "train@1 train@4", "train 0 4");
        check("train@0 test@0", "train@3", "test 0 -, train 0 3");
    }
}
