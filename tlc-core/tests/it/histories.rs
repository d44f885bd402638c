//! Random histories with branches, merges, reverts, checkpoints, compactions and collections, against
//! a table in plain memory: what every revision holds, and what diff, blame and filters say of it.
//!
//! Values, names and rows are all different, so that the naive table can say without doubt what every
//! merge must give. Where even that is open (a row that both sides have and their base has not), it
//! takes what it finds, and the next revisions are held to that.
//!
//! `PROPTEST_CASES=5000` runs 20,000 of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tlc_core::arrow::array::{Array as _, ArrayRef, AsArray as _, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field, Int32Type, Schema, UInt64Type};
use tlc_core::{
    BlameOptions, CommitOptions, GcOptions, Merged, Patch, Project, Resolution, Result, Revision,
    ScanOptions, Snapshot, Table, Take, Value, block_on,
};

use crate::support::{project, reader};

const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// One step of a history. Numbers choose among what there is, modulo how much there is.
#[derive(Clone, Debug)]
enum Step {
    Commit {
        branch: usize,
        changes: Vec<Change>,
    },
    Branch {
        at: usize,
    },
    Tag {
        at: usize,
    },
    Merge {
        from: usize,
        into: usize,
        take: Take,
    },
    Revert {
        revision: usize,
        branch: usize,
        take: Take,
    },
    Pick {
        revision: usize,
        branch: usize,
        take: Take,
    },
    Checkpoint,
    Compact {
        branch: usize,
    },
    Collect,
    Reopen,
}

#[derive(Clone, Debug)]
enum Change {
    Set {
        row: usize,
        column: usize,
        null: bool,
    },
    Append {
        rows: usize,
    },
    Drop {
        row: usize,
    },
    AddColumn {
        null: bool,
    },
    DropColumn {
        column: usize,
    },
    RenameColumn {
        column: usize,
    },
}

/// A table in plain memory: values by row id and column.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    /// Names by column, in any order.
    columns: BTreeMap<usize, String>,
    rows: BTreeMap<u64, BTreeMap<usize, Option<i32>>>,
}

impl Model {
    /// One of the columns, chosen by any number, and its name.
    fn nth_column(&self, at: usize) -> (&usize, &String) {
        let mut columns = self.columns.iter();
        columns.nth(at % self.columns.len()).unwrap()
    }
}

/// What each row holds in a column that is younger than the row.
type Defaults = BTreeMap<usize, Option<i32>>;

/// What files may hold where a table has no such column.
#[derive(Clone, Debug, Default)]
struct Hidden {
    /// Columns that were dropped somewhere.
    dropped: BTreeSet<usize>,
    /// Cells that came with their row, in a file of all the columns that there were then.
    given: BTreeSet<(u64, usize)>,
}

impl Hidden {
    fn give(&mut self, model: &Model) {
        for (id, row) in &model.rows {
            self.given.extend(row.keys().map(|column| (*id, *column)));
        }
    }
}

struct World {
    project: Project,
    table: Table,
    models: BTreeMap<u64, Model>,
    parents: BTreeMap<u64, Vec<u64>>,
    branches: Vec<(String, u64)>,
    tags: Vec<(String, u64)>,
    defaults: Defaults,
    next_value: i32,
    next_row_id: u64,
    n_columns: usize,
    hidden: Hidden,
    n_open: usize,
    is_compacted: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = any::<usize>;
    let take = prop_oneof![Just(Take::Ours), Just(Take::Theirs)];
    let change = prop_oneof![
        8 => (n(), n(), prop::bool::weighted(0.1)).prop_map(|(row, column, null)| Change::Set { row, column, null }),
        2 => (1..4_usize).prop_map(|rows| Change::Append { rows }),
        2 => n().prop_map(|row| Change::Drop { row }),
        1 => any::<bool>().prop_map(|null| Change::AddColumn { null }),
        1 => n().prop_map(|column| Change::DropColumn { column }),
        1 => n().prop_map(|column| Change::RenameColumn { column }),
    ];
    let changes = prop::collection::vec(change, 1..4);
    let step = prop_oneof![
        8 => (n(), changes).prop_map(|(branch, changes)| Step::Commit { branch, changes }),
        2 => n().prop_map(|at| Step::Branch { at }),
        1 => n().prop_map(|at| Step::Tag { at }),
        3 => (n(), n(), take.clone()).prop_map(|(from, into, take)| Step::Merge { from, into, take }),
        2 => (n(), n(), take.clone()).prop_map(|(revision, branch, take)| Step::Revert { revision, branch, take }),
        1 => (n(), n(), take).prop_map(|(revision, branch, take)| Step::Pick { revision, branch, take }),
        1 => Just(Step::Checkpoint),
        1 => n().prop_map(|branch| Step::Compact { branch }),
        1 => Just(Step::Collect),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..14)
}

fn name(column: usize) -> String {
    format!("c{column}")
}

fn batch(columns: &[String], rows: &[Vec<i32>]) -> RecordBatch {
    let column = |at: usize| {
        Arc::new(Int32Array::from_iter_values(rows.iter().map(|row| row[at]))) as ArrayRef
    };
    let fields: Vec<_> = columns
        .iter()
        .map(|name| Field::new(name, DataType::Int32, true))
        .collect();
    RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        (0..columns.len()).map(column).collect(),
    )
    .unwrap()
}

/// The rows of a snapshot, with its columns as the model numbers them.
fn read(snapshot: &Snapshot, columns: &BTreeMap<usize, String>) -> Model {
    let names: Vec<&String> = columns.values().collect();
    let wanted =
        std::iter::once("_rowid".to_owned()).chain(names.iter().map(|name| (*name).clone()));
    let batch = block_on(snapshot.read(ScanOptions::new().columns(wanted))).unwrap();
    let ids = batch.column(0).as_primitive::<UInt64Type>();
    let cell = |at: usize, row: usize| {
        let values = batch.column(at + 1).as_primitive::<Int32Type>();
        values.is_valid(row).then(|| values.value(row))
    };
    let rows = (0..batch.num_rows()).map(|row| {
        let cells = columns
            .keys()
            .enumerate()
            .map(|(at, column)| (*column, cell(at, row)));
        (ids.value(row), cells.collect())
    });
    Model {
        columns: columns.clone(),
        rows: rows.collect(),
    }
}

impl World {
    fn new() -> Self {
        let project = project();
        // Files are old as soon as they are written: the clock of the store is the real one.
        project.root().env().advance(CENTURY);
        let names = [name(0), name(1)];
        let first = [vec![1, 2], vec![3, 4], vec![5, 6]];
        let table =
            block_on(project.create_table("t", reader(batch(&names, &first)), "start")).unwrap();
        let rows = first
            .iter()
            .map(|row| BTreeMap::from([(0, Some(row[0])), (1, Some(row[1]))]));
        let model = Model {
            columns: BTreeMap::from([(0, name(0)), (1, name(1))]),
            rows: (0..).zip(rows).collect(),
        };
        Self {
            project,
            table,
            models: BTreeMap::from([(0, model)]),
            parents: BTreeMap::from([(0, Vec::new())]),
            branches: vec![("main".to_owned(), 0)],
            tags: Vec::new(),
            defaults: Defaults::new(),
            next_value: 7,
            next_row_id: 3,
            n_columns: 2,
            hidden: Hidden::default(),
            n_open: 0,
            is_compacted: false,
        }
    }

    fn fresh(&mut self) -> i32 {
        self.next_value += 1;
        self.next_value
    }

    fn revision(&self, at: usize) -> u64 {
        *self.models.keys().nth(at % self.models.len()).unwrap()
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Commit { branch, changes } => self.commit(branch % self.branches.len(), changes),
            Step::Branch { at } => {
                let (at, name) = (self.revision(*at), format!("b{}", self.branches.len()));
                block_on(self.table.create_branch(&name, at, "a branch")).unwrap();
                self.branches.push((name, at));
            }
            Step::Tag { at } => {
                let (at, name) = (self.revision(*at), format!("t{}", self.tags.len()));
                block_on(self.table.create_tag(&name, at, "a tag")).unwrap();
                self.tags.push((name, at));
            }
            Step::Merge { from, into, take } => {
                self.merge(self.revision(*from), into % self.branches.len(), *take)
            }
            Step::Revert {
                revision,
                branch,
                take,
            } => self.revert_or_pick(*revision, *branch, *take, true),
            Step::Pick {
                revision,
                branch,
                take,
            } => self.revert_or_pick(*revision, *branch, *take, false),
            Step::Checkpoint => block_on(self.table.checkpoint()).unwrap(),
            Step::Compact { branch } => self.compact(branch % self.branches.len()),
            Step::Collect => drop(block_on(self.project.gc(GcOptions::new().delete())).unwrap()),
            Step::Reopen => self.table = block_on(self.project.table("t")).unwrap(),
        }
    }

    fn revert_or_pick(&mut self, revision: usize, branch: usize, take: Take, reverts: bool) {
        let revision = self.revision(revision);
        let Some(before) = self.before(revision) else {
            return;
        };
        let branch = branch % self.branches.len();
        let (table, resolution, options) = (&self.table, Resolution::all(take), self.on(branch));
        let (done, [base, theirs]) = match reverts {
            true => (
                block_on(table.revert(revision, revision, &resolution, options)),
                [revision, before],
            ),
            false => (
                block_on(table.cherry_pick(revision, &resolution, options)),
                [before, revision],
            ),
        };
        if let Some(done) = self.unless_left(done) {
            self.brought(done, branch, base, theirs, take, None);
        }
    }

    /// What the branch was before a revision: for a fast-forward, its second parent.
    fn before(&self, revision: u64) -> Option<u64> {
        let parents = &self.parents[&revision];
        match parents[..] {
            [first, second] if self.ancestors(first).contains(&second) => Some(second),
            _ => parents.first().copied(),
        }
    }

    fn compact(&mut self, branch: usize) {
        let head = self.branches[branch].1;
        let done = block_on(self.table.compact(self.on(branch))).unwrap();
        if done.revision.0 != head {
            let model = self.models[&head].clone();
            self.hidden.give(&model);
            self.add(branch, done.revision.0, vec![head], model);
            self.is_compacted = true;
        }
    }

    /// What was done, unless it needs values that a compaction left behind.
    fn unless_left(&self, done: Result<Merged>) -> Option<Merged> {
        match done {
            Err(err) if self.is_compacted && err.to_string().contains("left it behind") => None,
            done => Some(done.unwrap()),
        }
    }

    fn on(&self, branch: usize) -> CommitOptions {
        CommitOptions::new("a step").branch(self.branches[branch].0.clone())
    }

    fn commit(&mut self, branch: usize, changes: &[Change]) {
        let head = self.branches[branch].1;
        let base = self.models[&head].clone();
        let name = self.branches[branch].0.clone();
        let mut building = Building {
            patch: block_on(self.table.branch(&name)).unwrap().patch(),
            model: base.clone(),
            base,
            set: BTreeSet::new(),
            dropped: BTreeSet::new(),
            appended: 0,
        };
        for change in changes {
            building.change_rows(self, change);
            building.change_columns(self, change);
        }
        building.append(self);
        let Building { patch, model, .. } = building;
        let empty = patch.is_empty();
        let committed = block_on(self.table.commit(&patch, self.on(branch))).unwrap();
        assert_eq!(committed.revision == Revision(head), empty, "{patch:?}");
        if !empty {
            self.add(branch, committed.revision.0, vec![head], model);
        }
    }

    fn default_of(&self, column: usize) -> Option<i32> {
        self.defaults.get(&column).copied().flatten()
    }

    fn add(&mut self, branch: usize, revision: u64, parents: Vec<u64>, model: Model) {
        self.models.insert(revision, model);
        self.parents.insert(revision, parents);
        self.branches[branch].1 = revision;
    }

    fn ancestors(&self, revision: u64) -> BTreeSet<u64> {
        let mut found = BTreeSet::from([revision]);
        let mut pending = vec![revision];
        while let Some(revision) = pending.pop() {
            pending.extend(
                self.parents[&revision]
                    .iter()
                    .filter(|parent| found.insert(**parent)),
            );
        }
        found
    }

    fn merge(&mut self, from: u64, into: usize, take: Take) {
        let head = self.branches[into].1;
        let common: BTreeSet<u64> = self
            .ancestors(from)
            .intersection(&self.ancestors(head))
            .copied()
            .collect();
        let base = *common.last().unwrap();
        let resolution = Resolution::all(take);
        let done = block_on(self.table.merge(from, &resolution, self.on(into)));
        let Some(done) = self.unless_left(done) else {
            return;
        };
        if base == head && base != from {
            let Merged::Committed(committed) = done else {
                panic!("{done:?}")
            };
            let model = self.models[&from].clone();
            self.add(into, committed.revision.0, vec![from, head], model);
        } else {
            self.brought(done, into, base, from, take, (base != from).then_some(from));
        }
    }

    /// What turned `base` into `theirs` happened to the head of a branch.
    fn brought(
        &mut self,
        done: Merged,
        branch: usize,
        base: u64,
        theirs: u64,
        take: Take,
        second: Option<u64>,
    ) {
        let Merged::Committed(committed) = done else {
            panic!("{done:?}")
        };
        let head = self.branches[branch].1;
        let [b, o, t] = [base, head, theirs].map(|revision| self.models[&revision].clone());
        let (expected, mut open) = joined([&b, &o, &t], take, &self.defaults, &self.hidden);
        // A row that comes back has the values that this line knows of it, if it ever had it.
        let knew_other = |id: &u64| {
            let line = self.ancestors(head);
            line.iter().any(|revision| {
                let known = self.models[revision].rows.get(id);
                known.is_some_and(|known| Some(known) != t.rows.get(id))
            })
        };
        let mut coming = t
            .rows
            .keys()
            .filter(|id| !b.rows.contains_key(id) && !o.rows.contains_key(id));
        open |= coming.any(knew_other);
        if committed.revision.0 == head {
            assert!(open || expected == o, "{expected:?} is not {o:?}");
            return;
        }
        let found = read(&committed.snapshot, &expected.columns);
        if open {
            self.n_open += 1;
        } else {
            assert_eq!(
                found, expected,
                "base r{base} {b:?} ours r{head} {o:?} theirs r{theirs} {t:?}"
            );
        }
        let parents = std::iter::once(head).chain(second).collect();
        self.add(branch, committed.revision.0, parents, found);
    }

    fn check(&self) {
        let fresh = block_on(self.project.table("t")).unwrap();
        for (revision, model) in &self.models {
            for table in [&self.table, &fresh] {
                let snapshot = block_on(table.at(*revision)).unwrap();
                assert_eq!(
                    &read(&snapshot, &model.columns),
                    model,
                    "revision {revision}"
                );
                assert_eq!(snapshot.n_rows(), model.rows.len() as u64);
                let names: BTreeSet<&String> = snapshot
                    .schema()
                    .fields()
                    .iter()
                    .map(|field| field.name())
                    .collect();
                assert_eq!(names, model.columns.values().collect());
            }
        }
        for (name, revision) in self.branches.iter().chain(&self.tags) {
            assert_eq!(
                block_on(fresh.resolve(name)).unwrap(),
                Revision(*revision),
                "{name}"
            );
        }
        let log = block_on(fresh.log()).unwrap();
        let logged: BTreeMap<u64, Vec<u64>> = log
            .iter()
            .map(|record| {
                (
                    record.revision.0,
                    record
                        .parents
                        .iter()
                        .map(|parent| parent.revision.0)
                        .collect(),
                )
            })
            .collect();
        assert_eq!(logged, self.parents);
    }

    /// What `diff` says of two revisions, of whatever branches.
    fn check_diff(&self, from: u64, to: u64) {
        let diff = block_on(self.table.diff(from, to)).unwrap();
        let (old, new) = (&self.models[&from], &self.models[&to]);
        let missing = |a: &Model, b: &Model| {
            a.rows
                .keys()
                .filter(|id| !b.rows.contains_key(id))
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!(diff.rows_added, missing(new, old), "r{from} to r{to}");
        assert_eq!(diff.rows_dropped, missing(old, new), "r{from} to r{to}");
        let mut expected = BTreeSet::new();
        for (id, cells) in &old.rows {
            let Some(others) = new.rows.get(id) else {
                continue;
            };
            for (column, name) in new
                .columns
                .iter()
                .filter(|(column, _)| old.columns.contains_key(column))
            {
                if cells[column] != others[column] {
                    expected.insert((name.clone(), *id, cells[column], others[column]));
                }
            }
        }
        let mut found = BTreeSet::new();
        for cells in &diff.cells {
            for (at, id) in cells.row_ids.iter().enumerate() {
                let value = |values: &ArrayRef| {
                    let values = values.as_primitive::<Int32Type>();
                    values.is_valid(at).then(|| values.value(at))
                };
                found.insert((
                    cells.column.to_string(),
                    *id,
                    value(&cells.old),
                    value(&cells.new),
                ));
            }
        }
        assert_eq!(found, expected, "r{from} to r{to}");
    }
}

impl World {
    /// What `blame` says of a column: a revision that led here, that gave each cell the value that
    /// it has, and where it had another before.
    fn check_blame(&self, revision: u64, column: usize) {
        let model = &self.models[&revision];
        let (column, name) = model.nth_column(column);
        let blame = block_on(self.table.blame(name, BlameOptions::new().at(revision))).unwrap();
        assert!(blame.row_ids.iter().eq(model.rows.keys()));
        let line = self.ancestors(revision);
        for (id, Revision(blamed)) in blame.row_ids.iter().zip(&blame.revisions) {
            let cell = |revision: &u64| self.models[revision].rows.get(id)?.get(column).copied();
            let told = format!("r{blamed} for row {id}, column {column} of r{revision}");
            assert!(line.contains(blamed), "{told}: did not lead there");
            if !self.models[blamed].rows.contains_key(id) {
                // The row came back after the column came, and has its default.
                let default = Some(self.default_of(*column));
                assert_eq!(cell(&revision), default, "{told}: no row");
                continue;
            }
            if cell(blamed).is_none() {
                // The column came back after the row came, with what the row's file holds.
                continue;
            }
            assert_eq!(cell(blamed), cell(&revision), "{told}: another value");
            if let Some(before) = self.parents[blamed].first() {
                assert_ne!(cell(before), cell(blamed), "{told}: had it already");
            }
        }
    }

    /// The rows that conditions on a column let through, by SQL.
    #[cfg(feature = "sql")]
    fn check_filters(&self, revision: u64, column: usize) {
        let model = &self.models[&revision];
        let (column, name) = model.nth_column(column);
        let cells = || model.rows.iter().map(|(id, row)| (*id, row[column]));
        let middle = cells().filter_map(|(_, value)| value).max().unwrap_or(0) / 2;
        let some = cells().find_map(|(_, value)| value).unwrap_or(0);
        let conditions: [(String, Passes<'_>); 3] = [
            (format!("{name} = {some}"), &|value| value == Some(some)),
            (format!("{name} > {middle}"), &|value| {
                value.is_some_and(|value| value > middle)
            }),
            (format!("{name} IS NULL"), &|value| value.is_none()),
        ];
        let sql = block_on(tlc_core::Sql::open(self.project.root())).unwrap();
        for (condition, passes) in conditions {
            let query =
                format!("SELECT _rowid FROM zoo.\"t@{revision}\" WHERE {condition} ORDER BY 1");
            let batches = block_on(async { sql.context().sql(&query).await?.collect().await });
            let batches = batches.unwrap();
            let found = batches.iter().flat_map(|batch| {
                batch
                    .column(0)
                    .as_primitive::<UInt64Type>()
                    .values()
                    .to_vec()
            });
            let expected = cells()
                .filter(|(_, value)| passes(*value))
                .map(|(id, _)| id);
            assert!(found.eq(expected), "{query}");
        }
    }
}

/// Whether a condition lets a value through.
#[cfg(feature = "sql")]
type Passes<'a> = &'a dyn Fn(Option<i32>) -> bool;

/// A patch, and what it means.
struct Building {
    patch: Patch,
    base: Model,
    model: Model,
    set: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
    appended: usize,
}

impl Building {
    fn row(&self, at: usize) -> Option<u64> {
        let rows = &self.base.rows;
        rows.keys().nth(at % rows.len().max(1)).copied()
    }

    fn column(&self, at: usize) -> usize {
        *self.model.nth_column(at).0
    }

    fn change_rows(&mut self, world: &mut World, change: &Change) {
        match change {
            Change::Set { row, column, null } => {
                let column = self.column(*column);
                let Some(row) = self.row(*row).filter(|row| !self.dropped.contains(row)) else {
                    return;
                };
                // No cell is set to what it holds: a merge could not tell.
                let held = self.base.rows[&row].get(&column).copied();
                let is_null = held.unwrap_or_else(|| world.default_of(column)).is_none();
                let value = (!null || is_null).then(|| world.fresh());
                let name = &self.model.columns[&column];
                self.patch.set(row, name, Value::from(value)).unwrap();
                self.model.rows.get_mut(&row).unwrap().insert(column, value);
                self.set.insert(row);
            }
            Change::Append { rows } => self.appended += rows,
            Change::Drop { row } => {
                if let Some(row) = self.row(*row).filter(|row| !self.set.contains(row)) {
                    self.patch.drop_rows(&[row]);
                    self.model.rows.remove(&row);
                    self.dropped.insert(row);
                }
            }
            _ => {}
        }
    }

    fn change_columns(&mut self, world: &mut World, change: &Change) {
        match change {
            Change::AddColumn { null } => {
                let (column, default) = (world.n_columns, (!null).then(|| world.fresh()));
                world.n_columns += 1;
                let field = Field::new(name(column), DataType::Int32, true);
                self.patch.add_column(field, Value::from(default)).unwrap();
                self.model.columns.insert(column, name(column));
                world.defaults.insert(column, default);
                for row in self.model.rows.values_mut() {
                    row.insert(column, default);
                }
            }
            Change::DropColumn { column } => {
                // The first stays, so that there always is one.
                let column = self.column(*column);
                if column > 0 {
                    let name = self.model.columns.remove(&column).unwrap();
                    self.patch.drop_column(&name).unwrap();
                    world.hidden.dropped.insert(column);
                    for row in self.model.rows.values_mut() {
                        row.remove(&column);
                    }
                }
            }
            Change::RenameColumn { column } => {
                let column = self.column(*column);
                let new = format!("n{}", world.fresh());
                let name = &self.model.columns[&column];
                self.patch.rename_column(name, &new).unwrap();
                self.model.columns.insert(column, new);
            }
            _ => {}
        }
    }

    /// A patch speaks of the columns of its base where it appends.
    fn append(&mut self, world: &mut World) {
        let mut rows: Vec<Vec<i32>> = Vec::new();
        for _ in 0..self.appended {
            rows.push(self.base.columns.iter().map(|_| world.fresh()).collect());
        }
        if !rows.is_empty() {
            let names: Vec<String> = self.base.columns.values().cloned().collect();
            self.patch.append(&batch(&names, &rows)).unwrap();
        }
        for row in rows {
            let given: BTreeMap<usize, i32> = self.base.columns.keys().copied().zip(row).collect();
            let cell = |column: &usize| {
                let given = given.get(column).copied();
                (*column, given.or_else(|| world.default_of(*column)))
            };
            let id = world.next_row_id;
            let row = self.model.columns.keys().map(cell).collect();
            self.model.rows.insert(id, row);
            let given = given.keys().map(|column| (id, *column));
            world.hidden.given.extend(given);
            world.next_row_id += 1;
        }
    }
}

/// Three tables that are brought together, side by side.
struct Joining<'a> {
    /// Base, ours, theirs.
    tables: [&'a Model; 3],
    take: Take,
    defaults: &'a Defaults,
    hidden: &'a Hidden,
    /// Whether the naive table cannot say what is right.
    open: bool,
}

type Row = BTreeMap<usize, Option<i32>>;

/// What both made of the base, and whether that is open.
fn joined(tables: [&Model; 3], take: Take, defaults: &Defaults, hidden: &Hidden) -> (Model, bool) {
    let mut joining = Joining {
        tables,
        take,
        defaults,
        hidden,
        open: false,
    };
    let columns = joining.columns();
    let ids: BTreeSet<u64> = tables
        .iter()
        .flat_map(|model| model.rows.keys().copied())
        .collect();
    let mut rows = BTreeMap::new();
    for id in ids {
        if let Some(row) = joining.row(id, &columns) {
            let cell = |column: &usize| {
                let value = row.get(column).copied();
                (
                    *column,
                    value.unwrap_or_else(|| joining.default_of(*column)),
                )
            };
            rows.insert(id, columns.keys().map(cell).collect());
        }
    }
    (Model { columns, rows }, joining.open)
}

impl Joining<'_> {
    fn default_of(&self, column: usize) -> Option<i32> {
        self.defaults.get(&column).copied().flatten()
    }

    fn columns(&mut self) -> BTreeMap<usize, String> {
        let all = self
            .tables
            .iter()
            .flat_map(|model| model.columns.keys().copied());
        let mut columns = BTreeMap::new();
        for column in all.collect::<BTreeSet<_>>() {
            let [b, o, t] = self.tables.map(|model| model.columns.get(&column));
            let chosen = match (o == t || b == t, b == o, self.take) {
                (true, _, _) | (false, false, Take::Ours) => o,
                _ => t,
            };
            columns.extend(chosen.map(|name| (column, name.clone())));
            // A column that comes back has the values that this line knows of it.
            self.open |= o.is_none() && t.is_some() && b != t;
            self.open |= b.is_none() && o.is_some() && t.is_some();
        }
        columns
    }

    fn row(&mut self, id: u64, columns: &BTreeMap<usize, String>) -> Option<Row> {
        let [b, o, t] = self.tables.map(|model| model.rows.get(&id));
        let changed = |own: &Row| {
            own.iter().any(|(column, value)| {
                let before = b.and_then(|b| b.get(column).copied());
                before.unwrap_or_else(|| self.default_of(*column)) != *value
            })
        };
        // A column that the base has not, and its branch has, says nothing about who set it.
        let half_gone = b.is_some() && o.is_some() != t.is_some();
        let unsaid = half_gone
            && o.or(t)
                .is_some_and(|own| self.may_hold(id, own.keys(), self.tables[0]));
        let (row, open) = match (b, o, t) {
            (_, None, None) => (None, false),
            (None, Some(o), None) => (Some(o.clone()), false),
            // Its file may hold a column that its own line does not have.
            (None, None, Some(t)) => (
                Some(t.clone()),
                self.may_hold(id, columns.keys(), self.tables[2]),
            ),
            (None, Some(o), Some(t)) => (Some(o.clone()), o != t),
            (Some(_), Some(o), None) => (
                (changed(o) && self.take == Take::Ours).then(|| o.clone()),
                false,
            ),
            (Some(_), None, Some(t)) => {
                let back = changed(t) && self.take == Take::Theirs;
                (back.then(|| t.clone()), changed(t))
            }
            (Some(b), Some(o), Some(t)) => {
                let cell = |column: &usize| {
                    (
                        *column,
                        self.cell([b, o, t].map(|row| row.get(column).copied())),
                    )
                };
                (Some(columns.keys().map(cell).collect()), false)
            }
        };
        self.open |= open || unsaid;
        row
    }

    /// Whether the file of a row may hold one of `columns` that `model` has not.
    fn may_hold<'a>(
        &self,
        id: u64,
        mut columns: impl Iterator<Item = &'a usize>,
        model: &Model,
    ) -> bool {
        let Hidden { dropped, given } = self.hidden;
        columns.any(|column| {
            let is_hidden = dropped.contains(column) || given.contains(&(id, *column));
            is_hidden && !model.columns.contains_key(column)
        })
    }

    fn cell(&self, [b, o, t]: [Option<Option<i32>>; 3]) -> Option<i32> {
        let value = match (o, t) {
            (None, t) => t,
            (o, None) => o,
            (Some(_), Some(_)) if o == t || b == t => o,
            (Some(_), Some(_)) if b == o || self.take == Take::Theirs => t,
            _ => o,
        };
        value.unwrap_or_default()
    }
}

/// Four times as many as other properties have: `PROPTEST_CASES=5000` runs 20,000.
fn n_cases() -> u32 {
    ProptestConfig::default().cases.saturating_mul(4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: n_cases(), failure_persistence: None, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn every_revision_of_every_branch_reads_as_the_model(history in steps(), pairs in prop::collection::vec((any::<usize>(), any::<usize>()), 3)) {
        let mut world = World::new();
        for step in &history {
            world.take(step);
        }
        world.check();
        for (from, to) in pairs {
            world.check_diff(world.revision(from), world.revision(to));
            world.check_blame(world.revision(from), to);
            #[cfg(feature = "sql")]
            world.check_filters(world.revision(from), to);
        }
    }
}
