//! What the entries of a log say, each for itself and line by line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files::Bad;
use super::{Flaw, Severity};
use crate::format::table::{Entry, ParentRef};
use crate::table::history::Loaded;
use crate::table::named::{Named, of_entry, of_state};
use crate::table::state::State;

/// The entries of a log, as far as they can be read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) entries: BTreeMap<u64, Arc<Loaded>>,
    pub(super) n_entries: u64,
}

impl Read {
    pub(super) fn next_row_id(&self) -> u64 {
        let next = self.entries.values().map(|loaded| loaded.entry.next_row_id);
        next.max().unwrap_or(0)
    }

    /// Entries that are not those that later ones name.
    pub(super) fn flaws(&self) -> Vec<Flaw> {
        let mut flaws: BTreeMap<u64, Flaw> = BTreeMap::new();
        for loaded in self.entries.values() {
            for named in named_entries(&loaded.entry) {
                let Some(found) = self.entries.get(&named.revision) else {
                    // Told already, unless it was never there.
                    continue;
                };
                if found.hash != named.hash || !found.entry.is_revision() {
                    let child = loaded.number();
                    let what = format!("is not the entry that entry {child} builds on");
                    let flaw = Flaw::of_entry(named.revision, what, self.n_entries);
                    flaws.entry(named.revision).or_insert(flaw);
                }
            }
        }
        flaws.into_values().collect()
    }

    /// Every file that entries name, with all that they say of it.
    pub(super) fn named(&self) -> BTreeMap<String, Vec<Named>> {
        let mut files = BTreeMap::new();
        for loaded in self.entries.values() {
            add_named(&mut files, of_entry(&loaded.entry));
        }
        files
    }

    /// The entries up to each revision that no other builds on first, oldest first.
    fn lines(&self) -> Vec<Vec<&Arc<Loaded>>> {
        let first_parent =
            |loaded: &Loaded| loaded.entry.parents.first().map(|named| named.revision);
        let entries = self
            .entries
            .values()
            .filter(|loaded| loaded.entry.is_revision());
        let inner: BTreeSet<u64> = entries
            .clone()
            .filter_map(|loaded| first_parent(loaded))
            .collect();
        let leaves = entries.filter(|loaded| !inner.contains(&loaded.number()));
        let line = |leaf| {
            let before = |loaded: &&Arc<Loaded>| self.entries.get(&first_parent(loaded)?);
            let mut line: Vec<_> = std::iter::successors(Some(leaf), before).collect();
            line.reverse();
            line
        };
        leaves.map(line).collect()
    }

    /// Follows every line: which revisions do not follow, and which read one of the `bad` files.
    pub(super) fn fold(&self, bad: &BTreeMap<String, Bad>) -> Lines {
        let mut lines = Lines::default();
        for line in self.lines() {
            let mut state = State::default();
            let mut read: BTreeSet<String> = BTreeSet::new();
            for (at, loaded) in line.iter().enumerate() {
                if let Err(err) = state.apply(&loaded.entry) {
                    let later = line.iter().skip(at).map(|loaded| loaded.number());
                    let (_, broken) = lines
                        .broken
                        .entry(loaded.number())
                        .or_insert_with(|| (format!("{err:#}"), BTreeSet::new()));
                    broken.extend(later);
                    break;
                }
                let named = match loaded.entry.compacted {
                    Some(_) => {
                        read.clear();
                        of_state(&state)
                    }
                    None => of_entry(&loaded.entry),
                };
                let files = named.iter().map(|named| named.file().to_owned());
                read.extend(files.filter(|file| bad.contains_key(file)));
                for file in &read {
                    let readers = lines.readers.entry(file.clone()).or_default();
                    readers.insert(loaded.number());
                }
            }
        }
        lines
    }

    /// The rows and columns at some revisions, without edits and drops, as far as they can be told. Each
    /// begins with what is known of one before it, so many states cost about one walk of the log.
    pub(super) fn states(&self, revisions: &BTreeSet<u64>) -> BTreeMap<u64, State> {
        let mut known = BTreeMap::new();
        for revision in revisions {
            if let Some(state) = self.state(*revision, &known) {
                known.insert(*revision, state);
            }
        }
        known
    }

    fn state(&self, revision: u64, known: &BTreeMap<u64, State>) -> Option<State> {
        let mut line = Vec::new();
        let mut next = Some(revision);
        let mut state = loop {
            let Some(at) = next else {
                break State::default();
            };
            if let Some(state) = known.get(&at) {
                break state.clone();
            }
            let loaded = self.entries.get(&at)?;
            line.push(loaded);
            next = loaded.entry.parents.first().map(|parent| parent.revision);
        };
        for loaded in line.iter().rev() {
            state.apply(&loaded.entry).ok()?;
            state.edits.clear();
            state.dropped.clear();
        }
        Some(state)
    }
}

pub(super) fn add_named(files: &mut BTreeMap<String, Vec<Named>>, named: Vec<Named>) {
    for named in named {
        let said = files.entry(named.file().to_owned()).or_default();
        if !said.contains(&named) {
            said.push(named);
        }
    }
}

fn named_entries(entry: &Entry) -> impl Iterator<Item = &ParentRef> {
    let targets = entry.refs.iter().filter_map(|name| name.target.as_ref());
    entry.parents.iter().chain(targets)
}

#[derive(Debug, Default)]
pub(super) struct Lines {
    /// By the first revision that does not follow: why, and all that build on it.
    broken: BTreeMap<u64, (String, BTreeSet<u64>)>,
    /// By bad file.
    readers: BTreeMap<String, BTreeSet<u64>>,
}

impl Lines {
    pub(super) fn flaws(self, bad: BTreeMap<String, Bad>, given_up: &BTreeSet<u64>) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (number, (what, unreadable)) in self.broken {
            flaws.push(Flaw {
                unreadable,
                ..Flaw::of_entry(number, what, 0)
            });
        }
        let mut readers = self.readers;
        for (file, bad) in bad {
            let unreadable = readers.remove(&file).unwrap_or_default();
            let is_collected = bad.is_missing && unreadable.is_subset(given_up);
            let (severity, what) = match is_collected {
                true => {
                    let what = "was collected, for the revisions that read it were given up";
                    (Severity::Harmless, what.to_owned())
                }
                false if bad.severity == Severity::Damage => {
                    let what = format!("{}; restore it from a copy", bad.what);
                    (bad.severity, what)
                }
                false => (bad.severity, bad.what),
            };
            flaws.push(Flaw {
                severity,
                file,
                what,
                unreadable,
            });
        }
        flaws
    }
}
