//! A process that is killed at any moment of whatever it does to a table, again and again: nothing is
//! damaged, and nothing is lost that it had said was done.
//!
//! `TLC_KILLS=200` kills 200 times.

#![expect(
    clippy::print_stdout,
    reason = "a child says on its standard output what is done"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tlc_core::{
    CommitOptions, Committed, ErrorKind, GcOptions, Merged, Patch, Project, Resolution, Root,
    RootOptions, Snapshot, Table, Take, VerifyOptions, block_on,
};

use crate::support::{animals, table, text};

/// In the folder of a child: says that it is one, and with which number it begins.
const BEGIN: &str = "works-until-killed";

/// What a child does, in turn, with numbers that no other turn has.
const VERBS: [fn(&Child, u64); 12] = [
    Child::commits,
    Child::branches,
    Child::commits_to_a_branch,
    Child::commits_another_cell,
    Child::merges,
    Child::tags,
    Child::compacts,
    Child::reverts,
    Child::cherry_picks,
    Child::writes_a_checkpoint,
    Child::collects_garbage,
    Child::drops_rows_and_a_branch,
];

/// The process that is killed. What it has done it tells its parent, once it is done.
struct Child {
    table: Table,
}

/// Not a test of its own: what the one below kills. Does nothing elsewhere.
#[test]
fn child_process() {
    let Ok(begin) = fs::read_to_string(BEGIN) else {
        return;
    };
    let begin: u64 = begin.parse().unwrap();
    let table = block_on(open(Path::new("root")).table("train")).unwrap();
    let child = Child { table };
    for n in begin.. {
        println!("working");
        VERBS[usize::try_from(n).unwrap() % VERBS.len()](&child, n);
    }
}

impl Child {
    fn commits(&self, n: u64) {
        self.commit("main", |patch| {
            set_both(patch, n);
            patch.append(&animals("0:1")).unwrap();
        });
    }

    fn branches(&self, n: u64) {
        let head = self.head().revision();
        let name = format!("b{n}");
        block_on(self.table.create_branch(&name, head, "a branch")).unwrap();
        println!("told branch {name} {head}");
    }

    fn commits_to_a_branch(&self, n: u64) {
        self.commit(&self.newest_branch(), |patch| set_both(patch, n));
    }

    /// So that the merge that follows is one.
    fn commits_another_cell(&self, n: u64) {
        let animal = i32::try_from(n % 3).unwrap();
        self.commit("main", |patch| patch.set(1, "animal", animal).unwrap());
    }

    fn merges(&self, _n: u64) {
        let from = block_on(self.table.resolve(&self.newest_branch())).unwrap();
        let theirs = Resolution::all(Take::Theirs);
        tell(&brought(block_on(self.table.merge(from, &theirs, "merge"))));
    }

    fn tags(&self, n: u64) {
        let head = self.head().revision();
        block_on(self.table.create_tag(&format!("t{n}"), head, "a tag")).unwrap();
        println!("told tag t{n} {head}");
    }

    fn compacts(&self, _n: u64) {
        tell(&block_on(self.table.compact("smaller")).unwrap());
    }

    fn reverts(&self, n: u64) {
        let done = self.commit("main", |patch| set_both(patch, n)).revision;
        let theirs = Resolution::all(Take::Theirs);
        let reverted = block_on(self.table.revert(done, done, &theirs, "revert"));
        tell(&brought(reverted));
    }

    fn cherry_picks(&self, n: u64) {
        let branch = self.newest_branch();
        let done = self.commit(&branch, |patch| set_both(patch, n)).revision;
        let theirs = Resolution::all(Take::Theirs);
        tell(&brought(block_on(
            self.table.cherry_pick(done, &theirs, "pick"),
        )));
    }

    fn writes_a_checkpoint(&self, _n: u64) {
        block_on(self.table.checkpoint()).unwrap();
    }

    /// Leaves files that no revision names, and deletes those that earlier children left.
    fn collects_garbage(&self, n: u64) {
        let mut late = self.head().patch();
        set_both(&mut late, n);
        late.drop_rows(&[1]);
        self.commit("main", |patch| set_both(patch, n + 1));
        let err = block_on(self.table.commit(&late, "too late")).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict);
        block_on(self.table.gc(GcOptions::new().delete())).unwrap();
    }

    fn drops_rows_and_a_branch(&self, _n: u64) {
        let newest = block_on(self.head().row_ids()).unwrap();
        let newest = newest.into_iter().rfind(|row| *row > 2);
        let newest: Vec<u64> = newest.into_iter().collect();
        self.commit("main", |patch| patch.drop_rows(&newest));
        let branch = self.newest_branch();
        if branch != "main" {
            println!("told dropping {branch}");
            block_on(self.table.drop_branch(&branch, "done with it")).unwrap();
            println!("told dropped {branch}");
        }
    }

    fn head(&self) -> Snapshot {
        block_on(self.table.head()).unwrap()
    }

    /// The branch with the largest number; without any, `main`.
    fn newest_branch(&self) -> String {
        let branches = block_on(self.table.branches()).unwrap();
        let number = |name: &str| name.strip_prefix('b')?.parse::<u64>().ok();
        let numbers = branches.iter().filter_map(|branch| number(&branch.name));
        numbers
            .max()
            .map_or_else(|| "main".to_owned(), |n| format!("b{n}"))
    }

    fn commit(&self, branch: &str, change: impl FnOnce(&mut Patch)) -> Committed {
        let mut patch = block_on(self.table.branch(branch)).unwrap().patch();
        change(&mut patch);
        let options = CommitOptions::new("a change").branch(branch);
        let committed = block_on(self.table.commit(&patch, options)).unwrap();
        tell(&committed);
        committed
    }
}

/// Each revision has one weight in both rows. Half a revision would not.
fn set_both(patch: &mut Patch, n: u64) {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let weight = n as f32;
    patch.set(0, "weight", weight).unwrap();
    patch.set(2, "weight", weight).unwrap();
}

fn brought(done: tlc_core::Result<Merged>) -> Committed {
    match done.unwrap() {
        Merged::Committed(committed) => committed,
        Merged::Conflicts(conflicts) => panic!("{conflicts:?}"),
    }
}

fn tell(committed: &Committed) {
    let (revision, seen) = (committed.revision, seen(&committed.snapshot));
    println!("told revision {revision} {seen}");
}

/// The weights of rows 0 and 2, and how many rows there are.
fn seen(snapshot: &Snapshot) -> String {
    let taken = block_on(snapshot.take(&[0, 2], &["weight"])).unwrap();
    format!("{} of {} rows", text(&taken), snapshot.n_rows())
}

fn open(folder: &Path) -> Project {
    let options = RootOptions::new().author("ada").checkpoint_every(8);
    let root = block_on(Root::open_with(folder.to_str().unwrap(), options)).unwrap();
    root.project("zoo").unwrap()
}

/// What children said was done.
#[derive(Default)]
struct Told {
    /// What was seen, by revision.
    revisions: BTreeMap<u64, String>,
    /// Of those, what the newest child told.
    news: BTreeSet<u64>,
    tags: BTreeMap<String, u64>,
    /// Where branches began.
    branches: BTreeMap<String, u64>,
    dropped: BTreeSet<String>,
}

impl Told {
    fn hear(&mut self, line: &str) {
        let Some((_, told)) = line.split_once("told ") else {
            return;
        };
        let mut words = told.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (what, name, rest) = (word(), word(), word());
        let number = |text: &str| text.trim_start_matches('r').parse::<u64>().unwrap();
        match what.as_str() {
            "revision" => {
                self.news.insert(number(&name));
                self.revisions.insert(number(&name), rest);
            }
            "tag" => drop(self.tags.insert(name, number(&rest))),
            "branch" => drop(self.branches.insert(name, number(&rest))),
            "dropping" => drop(self.branches.remove(&name)),
            "dropped" => drop(self.dropped.insert(name)),
            other => panic!("a child told {other:?}"),
        }
    }

    /// All that was told is there, and nothing is damaged.
    fn check(&mut self, project: &Project) {
        let report = block_on(project.verify(VerifyOptions::new())).unwrap();
        assert!(!report.is_damaged(), "{:#?}", report.findings);
        let table = block_on(project.table("train")).unwrap();
        let log = block_on(table.log()).unwrap();
        let logged: BTreeSet<u64> = log.iter().map(|record| record.revision.0).collect();
        for revision in self.revisions.keys() {
            assert!(
                logged.contains(revision),
                "r{revision} was told, and is gone"
            );
        }
        for revision in std::mem::take(&mut self.news) {
            self.check_rows(&table, revision);
        }
        for (name, at) in &self.tags {
            assert_eq!(block_on(table.resolve(name)).unwrap().0, *at, "{name}");
        }
        for (name, at) in &self.branches {
            assert!(block_on(table.resolve(name)).unwrap().0 >= *at, "{name}");
        }
        for name in &self.dropped {
            assert!(block_on(table.resolve(name)).is_err(), "{name} was dropped");
        }
        let head = seen(&block_on(table.head()).unwrap());
        let (first, second) = two_weights(&head);
        assert_eq!(first, second, "half a revision: {head}");
    }

    fn check_rows(&self, table: &Table, revision: u64) {
        let found = seen(&block_on(table.at(revision)).unwrap());
        assert_eq!(found, self.revisions[&revision], "r{revision}");
        let (first, second) = two_weights(&found);
        assert_eq!(first, second, "half a revision: {found}");
    }
}

fn two_weights(seen: &str) -> (&str, &str) {
    let mut words = seen.split(' ');
    (words.next().unwrap(), words.next().unwrap())
}

/// Starts a child, hears what it tells, and kills it in the middle of what it does after `n_done` other things.
fn run_and_kill(folder: &Path, n_done: usize, moment: u64, told: &mut Told) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::child_process", "--nocapture"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let mut n_begun = 0;
    for line in lines.by_ref() {
        told.hear(&line);
        n_begun += usize::from(line.ends_with("working"));
        if n_begun > n_done {
            break;
        }
    }
    assert_eq!(n_begun, n_done + 1, "the child ended by itself");
    for _ in 0..moment {
        std::hint::black_box(blake3::hash(&[0; 1024]));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    lines.for_each(|line| told.hear(&line));
}

/// Makes all files of the table but its log eight days older, so that garbage is old enough to be collected.
fn age(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if !path.ends_with("log") {
                age(&path);
            }
            continue;
        }
        let file = File::options().append(true).open(&path).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        let earlier = written - Duration::from_secs(8 * 86_400);
        file.set_modified(earlier).unwrap();
    }
}

pub(crate) fn n_kills(otherwise: u64) -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "for whoever runs the test by hand"
    )]
    let asked = std::env::var("TLC_KILLS");
    asked.ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn a_process_killed_while_it_works_damages_nothing_and_loses_nothing_it_had_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    table(&open(&root), "0:1 1:1 2:1");
    let mut told = Told::default();
    for round in 0..n_kills(12) {
        // 1,001 and the number of verbs have no factor in common, so that each child begins with another.
        fs::write(folder.path().join(BEGIN), (round * 1_001).to_string()).unwrap();
        let n_done = usize::try_from(1 + round % 5).unwrap();
        run_and_kill(folder.path(), n_done, 1_000 * (round * 7 % 20), &mut told);
        told.check(&open(&root));
        age(&root.join("zoo/tables/train"));
    }
    let project = open(&root);
    let table = block_on(project.table("train")).unwrap();
    block_on(table.gc(GcOptions::new().delete())).unwrap();
    told.check(&project);
    for revision in told.revisions.keys() {
        told.check_rows(&table, *revision);
    }
    assert!(told.revisions.len() > 15, "{:?}", told.revisions);
    assert!(!told.tags.is_empty() && !told.dropped.is_empty());
    println!(
        "{} revisions, {} tags",
        told.revisions.len(),
        told.tags.len()
    );
}
