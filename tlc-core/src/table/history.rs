//! The entries of a log as far as they are known, and what follows from them alone: which names there
//! are, what came before what. Pure: no store, no clock.
//!
//! Entries are known from some number to the last, since reads begin at the end. What needs an older
//! one says so ([`Known::get`] gives nothing), and the caller reads further back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::decode;
use crate::format::table::{Entry, ParentRef, RefKind, RefSet};
use crate::id::Revision;

/// A log entry as it was read, with the hash that its children name it by.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) entry: Entry,
    pub(crate) hash: String,
    pub(crate) bytes: u64,
}

impl Loaded {
    /// Reads entry `number` of `table`.
    ///
    /// # Errors
    /// Naming the entry: [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is none,
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is of a newer format.
    pub(crate) fn read(table: &str, number: u64, bytes: &[u8]) -> Result<Self> {
        let what = format!("revision {number} of table {table}");
        let entry: Entry = decode(&what, bytes)?;
        if entry.revision != number {
            return Err(Error::corrupt(format!(
                "{what} says it is revision {}",
                entry.revision
            )));
        }
        if let Some(flaw) = entry.flaw() {
            return Err(Error::corrupt(format!("{what} {flaw}")));
        }
        let branch = std::iter::once(&entry.branch).filter(|_| entry.is_revision());
        for name in branch.chain(entry.refs.iter().map(|set| &set.name)) {
            check_ref_name(name).map_err(|err| {
                Error::corrupt(format!("{what} names no branch or tag")).with_source(err)
            })?;
        }
        if let Some(later) = entry
            .parents
            .iter()
            .find(|parent| parent.revision >= number)
        {
            return Err(Error::corrupt(format!(
                "{what} names a parent {} that is not before it",
                later.revision
            )));
        }
        if entry.is_revision() && entry.parents.is_empty() != (number == 0) {
            let wrong = if number == 0 { "a parent" } else { "no parent" };
            return Err(Error::corrupt(format!("{what} names {wrong}")));
        }
        Ok(Self {
            entry,
            hash: blake3::hash(bytes).to_hex().to_string(),
            bytes: bytes.len() as u64,
        })
    }

    /// The number of the entry.
    pub(crate) fn number(&self) -> u64 {
        self.entry.revision
    }

    /// How others name it.
    pub(crate) fn named(&self) -> ParentRef {
        ParentRef {
            revision: self.entry.revision,
            hash: self.hash.clone(),
        }
    }
}

/// The branches and tags of a table: what each names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Refs {
    pub(crate) branches: BTreeMap<String, ParentRef>,
    pub(crate) tags: BTreeMap<String, ParentRef>,
}

impl Refs {
    /// The names after one more entry.
    fn apply(&mut self, loaded: &Loaded) {
        let entry = &loaded.entry;
        if entry.is_revision() {
            self.branches.insert(entry.branch.clone(), loaded.named());
        }
        for RefSet { kind, name, target } in &entry.refs {
            let names = match kind {
                RefKind::Branch => &mut self.branches,
                RefKind::Tag => &mut self.tags,
            };
            match target {
                Some(target) => names.insert(name.clone(), target.clone()),
                None => names.remove(name),
            };
        }
    }

    /// The revision that a branch or a tag names.
    pub(crate) fn get(&self, name: &str) -> Option<&ParentRef> {
        self.branches.get(name).or_else(|| self.tags.get(name))
    }
}

/// The entries from [`Self::first`] to the last, and the names after the last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    first: u64,
    entries: Vec<Arc<Loaded>>,
    refs: Refs,
    next_row_id: u64,
    next_column_id: Option<i32>,
}

impl Known {
    /// What is known from a checkpoint alone: names and free ids after entry `next - 1`, and no entry.
    pub(crate) fn from_checkpoint(next: u64, refs: Refs, next_ids: (u64, Option<i32>)) -> Self {
        Self {
            first: next,
            entries: Vec::new(),
            refs,
            next_row_id: next_ids.0,
            next_column_id: next_ids.1,
        }
    }

    /// The ids that the next row and the next column get; entries of version 1 do not say the latter.
    pub(crate) fn next_ids(&self) -> (u64, Option<i32>) {
        (self.next_row_id, self.next_column_id)
    }

    /// The number of the first entry that is known.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The number after the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// The branches and tags.
    pub(crate) fn refs(&self) -> &Refs {
        &self.refs
    }

    /// Entry `number`; `None` if it is older than what is known, or not there.
    pub(crate) fn get(&self, number: u64) -> Option<&Arc<Loaded>> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.entries.get(index)
    }

    /// The known entries, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Loaded>> {
        self.entries.iter()
    }

    /// Adds the entry after the last; one that is known already is passed over.
    pub(crate) fn push(&mut self, loaded: Arc<Loaded>) {
        if loaded.number() == self.next() {
            self.refs.apply(&loaded);
            self.next_row_id = loaded.entry.next_row_id;
            self.next_column_id = loaded.entry.next_column_id;
            self.entries.push(loaded);
        }
    }

    /// Adds the entries right before the first, oldest first.
    pub(crate) fn prepend(&mut self, older: Vec<Arc<Loaded>>) {
        let fits = older
            .last()
            .is_some_and(|last| last.number() + 1 == self.first);
        if let Some(first) = older.first().filter(|_| fits) {
            self.first = first.number();
            self.entries.splice(0..0, older);
        }
    }
}

/// The parent `which` of `child`: a known entry whose hash is the one that the child names it by.
///
/// # Errors
/// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if it is another, or no revision.
pub(crate) fn checked_parent<'a>(
    table: &str,
    child: u64,
    named: &ParentRef,
    found: &'a Arc<Loaded>,
) -> Result<&'a Arc<Loaded>> {
    if found.hash == named.hash && found.entry.is_revision() {
        return Ok(found);
    }
    Err(Error::corrupt(format!(
        "revision {child} of table {table} names a parent {} that is not the one in the log",
        named.revision
    )))
}

/// What is needed of an entry to know what came before what.
pub(crate) trait Ancestry {
    /// The parents of a revision, none for the first; `None` if the revision is not known.
    fn parents(&self, revision: u64) -> Option<Vec<u64>>;
}

impl Ancestry for Known {
    fn parents(&self, revision: u64) -> Option<Vec<u64>> {
        let parents = self.get(revision)?.entry.parents.iter();
        Some(parents.map(|parent| parent.revision).collect())
    }
}

/// All that led to `revision`, itself included. As those below, `None` if too little is known.
pub(crate) fn ancestors(history: &impl Ancestry, revision: u64) -> Option<BTreeSet<u64>> {
    let mut found = BTreeSet::from([revision]);
    let mut pending = vec![revision];
    while let Some(revision) = pending.pop() {
        let new = history.parents(revision)?.into_iter();
        pending.extend(new.filter(|parent| found.insert(*parent)));
    }
    Some(found)
}

/// The newest revision that led to both.
pub(crate) fn merge_base(history: &impl Ancestry, ours: u64, theirs: u64) -> Option<u64> {
    // Numbers only grow from parent to child, so the larger of two can never be an ancestor of the
    // other: replacing the largest by its parents meets every common ancestor, the newest first.
    let mut ours = BTreeSet::from([ours]);
    let mut theirs = BTreeSet::from([theirs]);
    loop {
        let (a, b) = (*ours.last()?, *theirs.last()?);
        if a == b {
            return Some(a);
        }
        let side = if a > b { &mut ours } else { &mut theirs };
        let newest = side.pop_last()?;
        side.extend(history.parents(newest)?);
    }
}

/// Where the lines of first parents of two revisions meet: what the states of both build on.
pub(crate) fn fork(history: &impl Ancestry, a: u64, b: u64) -> Option<u64> {
    let (mut a, mut b) = (a, b);
    while a != b {
        let newer = if a > b { &mut a } else { &mut b };
        *newer = *history.parents(*newer)?.first()?;
    }
    Some(a)
}

/// The revisions after `from` up to `to` along first parents, oldest first. `from` must be on the line.
pub(crate) fn line(history: &impl Ancestry, from: u64, to: u64) -> Option<Vec<u64>> {
    let mut revisions = Vec::new();
    let mut next = to;
    while next > from {
        revisions.push(next);
        next = *history.parents(next)?.first()?;
    }
    revisions.reverse();
    Some(revisions)
}

/// A branch's or tag's name is no number and no time, so that what stands behind `@` means one thing.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) saying why it cannot be a name.
pub(crate) fn check_ref_name(name: &str) -> Result<()> {
    name.parse::<crate::id::TableName>().map_err(|_table| {
        Error::invalid(format!(
            "{name:?} cannot name a branch or a tag: use letters, digits, '-', '_' and '.'"
        ))
    })?;
    let digits = name.strip_prefix('r').unwrap_or(name);
    if digits.parse::<u64>().is_ok() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::invalid(format!(
            "{name:?} cannot name a branch or a tag: it reads as a revision or a time"
        )));
    }
    Ok(())
}

/// What `text` behind an `@` means: a number, a name, or a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Number(Revision),
    Name(String),
    Time(crate::env::Micros),
}

impl Address {
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) saying what can be written.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        if let Some(time) = crate::env::Micros::from_text(text) {
            return Ok(Self::Time(time));
        }
        check_ref_name(text).map_err(|_name| {
            Error::invalid(format!(
                "{text:?} is not a revision; write a number such as 7, a branch, a tag, or a time such as 2026-11-01T12:00Z"
            ))
        })?;
        Ok(Self::Name(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::encode;

    /// A history as `1:0 2:1 3:1 4:2,3`: each revision and its parents.
    struct Graph(BTreeMap<u64, Vec<u64>>);

    impl Graph {
        fn new(text: &str) -> Self {
            let node = |word: &str| {
                let (own, parents) = word.split_once(':').unwrap();
                let parents = parents.split(',').map(|parent| parent.parse().unwrap());
                (own.parse().unwrap(), parents.collect())
            };
            Self(text.split_whitespace().map(node).collect())
        }
    }

    impl Ancestry for Graph {
        fn parents(&self, revision: u64) -> Option<Vec<u64>> {
            match revision {
                0 => Some(Vec::new()),
                _ => self.0.get(&revision).cloned(),
            }
        }
    }

    #[test]
    fn the_newest_common_ancestor_is_the_base_of_a_merge() {
        let check = |graph: &str, ours, theirs, expected| {
            assert_eq!(merge_base(&Graph::new(graph), ours, theirs), Some(expected));
            assert_eq!(merge_base(&Graph::new(graph), theirs, ours), Some(expected));
        };
        check("1:0 2:1", 2, 2, 2);
        check("1:0 2:1", 2, 0, 0);
        check("1:0 2:0", 1, 2, 0);
        check("1:0 2:1 3:1 4:2 5:3", 4, 5, 1);
        // 4 merged 3 in: what came before is common.
        check("1:0 2:0 3:1 4:2,3 5:3", 4, 5, 3);
    }

    #[test]
    fn states_build_on_first_parents_alone() {
        let graph = Graph::new("1:0 2:0 3:1 4:2,3 5:3");
        assert_eq!(fork(&graph, 4, 5), Some(0));
        assert_eq!(line(&graph, 0, 4), Some(vec![2, 4]));
        assert_eq!(line(&graph, 1, 5), Some(vec![3, 5]));
        assert_eq!(line(&graph, 5, 5), Some(Vec::new()));
        assert_eq!(ancestors(&graph, 4), Some(BTreeSet::from([0, 1, 2, 3, 4])));
    }

    #[test]
    fn what_is_not_known_is_not_guessed() {
        let graph = Graph::new("4:2 5:3");
        assert_eq!(merge_base(&graph, 4, 5), None);
        assert_eq!(fork(&graph, 4, 5), None);
        assert_eq!(line(&graph, 0, 4), None);
        assert_eq!(ancestors(&graph, 4), None);
    }

    #[test]
    fn what_stands_behind_the_at_sign_means_one_thing() {
        let check = |text: &str, expected: &str| {
            let found = match Address::parse(text) {
                Ok(Address::Number(number)) => format!("number {number}"),
                Ok(Address::Name(name)) => format!("name {name}"),
                Ok(Address::Time(time)) => format!("time {}", time.to_rfc3339()),
                Err(err) => format!("{}: {err}", err.kind().as_str()),
            };
            assert!(found.starts_with(expected), "{text}: {found}");
        };
        check("7", "number 7");
        check("r7", "number 7");
        check("main", "name main");
        check("run-2", "name run-2");
        check("2026-11-01", "time 2026-11-01T00:00:00.000000Z");
        check("2026-11-01T12:00Z", "time 2026-11-01T12:00:00.000000Z");
        check(
            "2026-11-01T12:00:05.5+01:00",
            "time 2026-11-01T11:00:05.500000Z",
        );
        check("", "invalid: \"\" is not a revision; write a number");
        check("a/b", "invalid: \"a/b\" is not a revision; write a number");
        check("7th", "invalid: \"7th\" is not a revision");
    }

    #[test]
    fn names_follow_revisions_and_what_sets_them() {
        let mut known = Known::default();
        let mut push = |entry: Entry| {
            let entry = Entry {
                format: 2,
                revision: known.next(),
                parents: match (known.entries.last(), entry.branch.is_empty()) {
                    (Some(last), false) => vec![last.named()],
                    _ => Vec::new(),
                },
                ..entry
            };
            let bytes = encode(&entry).unwrap();
            known.push(Arc::new(Loaded::read("t", entry.revision, &bytes).unwrap()));
            known.clone()
        };
        let on = |branch: &str| Entry {
            branch: branch.into(),
            ..Entry::default()
        };
        let first = push(on("main"));
        let target = first.entries.last().map(|last| last.named());
        let named = |kind, name: &str, target: Option<ParentRef>| Entry {
            refs: vec![RefSet {
                kind,
                name: name.into(),
                target,
            }],
            ..Entry::default()
        };
        let names = |known: &Known| {
            let shown = |names: &BTreeMap<String, ParentRef>| {
                let shown = names
                    .iter()
                    .map(|(name, at)| format!("{name}={}", at.revision));
                shown.collect::<Vec<_>>().join(" ")
            };
            format!(
                "{} | {}",
                shown(&known.refs.branches),
                shown(&known.refs.tags)
            )
        };
        assert_eq!(
            names(&push(named(RefKind::Branch, "fix", target.clone()))),
            "fix=0 main=0 | "
        );
        assert_eq!(
            names(&push(named(RefKind::Tag, "v1", target))),
            "fix=0 main=0 | v1=0"
        );
        assert_eq!(
            names(&push(named(RefKind::Branch, "fix", None))),
            "main=0 | v1=0"
        );
    }

    #[test]
    fn an_entry_out_of_place_is_corrupt() {
        let read = |number: u64, entry: Entry| {
            let entry = Entry {
                format: 2,
                branch: "main".into(),
                ..entry
            };
            let read = Loaded::read("t", number, &encode(&entry).unwrap());
            read.map_err(|err| err.kind()).err()
        };
        let parent = |revision| {
            vec![ParentRef {
                revision,
                hash: String::new(),
            }]
        };
        let entry = |revision, parents| Entry {
            revision,
            parents,
            ..Entry::default()
        };
        assert_eq!(read(0, entry(0, Vec::new())), None);
        assert_eq!(read(3, entry(3, parent(2))), None);
        assert_eq!(read(3, entry(4, parent(2))), Some(ErrorKind::Corrupt));
        assert_eq!(read(3, entry(3, parent(3))), Some(ErrorKind::Corrupt));
        assert_eq!(read(3, entry(3, Vec::new())), Some(ErrorKind::Corrupt));
        assert_eq!(read(0, entry(0, parent(0))), Some(ErrorKind::Corrupt));
    }

    #[test]
    fn an_entry_with_a_name_that_is_none_is_corrupt() {
        let read = |branch: &str, refs: Vec<RefSet>| {
            let entry = Entry {
                format: 2,
                branch: branch.into(),
                refs,
                ..Entry::default()
            };
            let read = Loaded::read("t", 0, &encode(&entry).unwrap());
            read.map_err(|err| (err.kind(), format!("{err:#}"))).err()
        };
        let named = |kind, name: &str, target| RefSet {
            kind,
            name: name.into(),
            target,
        };
        let target = ParentRef {
            revision: 0,
            hash: String::new(),
        };
        for (name, ok) in [
            ("main", true),
            ("fix-2.b", true),
            ("Zürich", true),
            ("..", false),
            ("a/b", false),
            ("a b", false),
            ("\0", false),
            ("7", false),
            ("r7", false),
            ("2026-11", false),
            (&"x".repeat(129), false),
        ] {
            let found = [
                read(name, Vec::new()),
                read("", vec![named(RefKind::Branch, name, Some(target.clone()))]),
                read("", vec![named(RefKind::Tag, name, None)]),
                read(
                    "main",
                    vec![named(RefKind::Tag, name, Some(target.clone()))],
                ),
            ];
            for found in found {
                assert_eq!(found.is_none(), ok, "{name:?}: {found:?}");
                assert!(
                    found
                        .is_none_or(|(kind, text)| kind == ErrorKind::Corrupt
                            && text.contains("revision 0")),
                    "{name:?}"
                );
            }
        }
        let none = read("", vec![named(RefKind::Tag, "", None)]);
        assert!(none.is_some(), "a name without letters");
    }
}
