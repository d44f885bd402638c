//! Random histories with branches, merges, reverts and checkpoints, against a table in plain memory.
//!
//! Values, names and rows are all different, so that the naive table can say without doubt what every
//! merge must give. Where even that is open (a row that both sides have and their base has not), it
//! takes what it finds, and the next revisions are held to that.
//!
//! `TLC_CASES=20000` runs more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use tlc_core::arrow::array::{Array as _, ArrayRef, AsArray as _, Int32Array, RecordBatch};
use tlc_core::arrow::datatypes::{DataType, Field, Int32Type, Schema, UInt64Type};
use tlc_core::{
    CommitOptions, Merged, Project, Resolution, Revision, ScanOptions, Snapshot, Table, Take,
    Value, block_on,
};

use crate::support::{project, reader};

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

/// What each row holds in a column that is younger than the row.
type Defaults = BTreeMap<usize, Option<i32>>;

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
    /// Columns that were dropped somewhere: files may hold them where a table does not.
    dropped: BTreeSet<usize>,
    n_open: usize,
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
            dropped: BTreeSet::new(),
            n_open: 0,
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
            } => {
                let revision = self.revision(*revision);
                if let Some(before) = self.parents[&revision].first().copied() {
                    let branch = branch % self.branches.len();
                    let (resolution, options) = (Resolution::all(*take), self.on(branch));
                    let done =
                        block_on(self.table.revert(revision, revision, &resolution, options))
                            .unwrap();
                    self.brought(done, branch, revision, before, *take, None);
                }
            }
            Step::Pick {
                revision,
                branch,
                take,
            } => {
                let revision = self.revision(*revision);
                if let Some(before) = self.parents[&revision].first().copied() {
                    let branch = branch % self.branches.len();
                    let (resolution, options) = (Resolution::all(*take), self.on(branch));
                    let done =
                        block_on(self.table.cherry_pick(revision, &resolution, options)).unwrap();
                    self.brought(done, branch, before, revision, *take, None);
                }
            }
            Step::Checkpoint => block_on(self.table.checkpoint()).unwrap(),
            Step::Reopen => self.table = block_on(self.project.table("t")).unwrap(),
        }
    }

    fn on(&self, branch: usize) -> CommitOptions {
        CommitOptions::new("a step").branch(self.branches[branch].0.clone())
    }

    fn commit(&mut self, branch: usize, changes: &[Change]) {
        let head = self.branches[branch].1;
        let base = self.models[&head].clone();
        let mut model = base.clone();
        let mut patch = block_on(self.table.branch(&self.branches[branch].0.clone()))
            .unwrap()
            .patch();
        let (mut set, mut dropped, mut appended) = (BTreeSet::new(), BTreeSet::new(), 0);
        for change in changes {
            let columns: Vec<usize> = model.columns.keys().copied().collect();
            let row = |at: usize| base.rows.keys().nth(at % base.rows.len().max(1)).copied();
            match change {
                Change::Set {
                    row: at,
                    column,
                    null,
                } => {
                    let column = columns[column % columns.len()];
                    if let Some(row) = row(*at).filter(|row| !dropped.contains(row)) {
                        // No cell is set to what it holds: a merge could not tell.
                        let is_null = model.rows[&row][&column].is_none();
                        let value = (!null || is_null).then(|| self.fresh());
                        patch
                            .set(row, &model.columns[&column], Value::from(value))
                            .unwrap();
                        model.rows.get_mut(&row).unwrap().insert(column, value);
                        set.insert(row);
                    }
                }
                Change::Append { rows } => appended += rows,
                Change::Drop { row: at } => {
                    if let Some(row) = row(*at).filter(|row| !set.contains(row)) {
                        patch.drop_rows(&[row]);
                        model.rows.remove(&row);
                        dropped.insert(row);
                    }
                }
                Change::AddColumn { null } => {
                    let (column, default) = (self.n_columns, (!null).then(|| self.fresh()));
                    self.n_columns += 1;
                    let field = Field::new(name(column), DataType::Int32, true);
                    patch.add_column(field, Value::from(default)).unwrap();
                    model.columns.insert(column, name(column));
                    self.defaults.insert(column, default);
                    for row in model.rows.values_mut() {
                        row.insert(column, default);
                    }
                }
                Change::DropColumn { column } => {
                    let column = columns[column % columns.len()];
                    // The first stays, so that there always is one.
                    if column > 0 {
                        patch.drop_column(&model.columns[&column]).unwrap();
                        model.columns.remove(&column);
                        self.dropped.insert(column);
                        for row in model.rows.values_mut() {
                            row.remove(&column);
                        }
                    }
                }
                Change::RenameColumn { column } => {
                    let column = columns[column % columns.len()];
                    let new = format!("n{}", self.fresh());
                    patch.rename_column(&model.columns[&column], &new).unwrap();
                    model.columns.insert(column, new);
                }
            }
        }
        // A patch speaks of the columns of its base where it appends.
        let rows: Vec<Vec<i32>> = (0..appended)
            .map(|_| base.columns.iter().map(|_| self.fresh()).collect())
            .collect();
        if appended > 0 {
            let names: Vec<String> = base.columns.values().cloned().collect();
            patch.append(&batch(&names, &rows)).unwrap();
        }
        for row in &rows {
            let given: BTreeMap<usize, i32> = base
                .columns
                .keys()
                .copied()
                .zip(row.iter().copied())
                .collect();
            let cell = |column: &usize| {
                (
                    *column,
                    given
                        .get(column)
                        .copied()
                        .map_or(self.defaults.get(column).copied().flatten(), Some),
                )
            };
            model
                .rows
                .insert(self.next_row_id, model.columns.keys().map(cell).collect());
            self.next_row_id += 1;
        }
        let empty = patch.is_empty();
        let committed = block_on(self.table.commit(&patch, self.on(branch))).unwrap();
        assert_eq!(committed.revision == Revision(head), empty, "{patch:?}");
        if !empty {
            self.add(branch, committed.revision.0, vec![head], model);
        }
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
        let done = block_on(
            self.table
                .merge(from, &Resolution::all(take), self.on(into)),
        )
        .unwrap();
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
        let (expected, mut open) = joined([&b, &o, &t], take, &self.defaults, &self.dropped);
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

/// What both made of `base`, and whether that is open.
fn joined(
    [base, ours, theirs]: [&Model; 3],
    take: Take,
    defaults: &Defaults,
    dropped: &BTreeSet<usize>,
) -> (Model, bool) {
    let pick = |b: Option<&String>, o: Option<&String>, t: Option<&String>| {
        let chosen = match (o == t || b == t, b == o, take) {
            (true, _, _) | (false, false, Take::Ours) => o,
            _ => t,
        };
        chosen.cloned()
    };
    let all = |models: [&Model; 3]| {
        models
            .iter()
            .flat_map(|model| model.columns.keys().copied())
            .collect::<BTreeSet<_>>()
    };
    let mut columns = BTreeMap::new();
    let mut open = false;
    for column in all([base, ours, theirs]) {
        let [b, o, t] = [base, ours, theirs].map(|model| model.columns.get(&column));
        if let Some(name) = pick(b, o, t) {
            columns.insert(column, name);
        }
        // A column that comes back has the values that this line knows of it.
        open |= o.is_none() && t.is_some() && b != t;
        open |= b.is_none() && o.is_some() && t.is_some();
    }
    let ids: BTreeSet<u64> = [base, ours, theirs]
        .iter()
        .flat_map(|model| model.rows.keys().copied())
        .collect();
    let mut rows = BTreeMap::new();
    for id in ids {
        let [b, o, t] = [base, ours, theirs].map(|model| model.rows.get(&id));
        let changed = |own: Option<&BTreeMap<usize, Option<i32>>>| {
            let mut cells = own.into_iter().flatten();
            cells.any(|(column, value)| {
                let before = b.and_then(|b| b.get(column).copied());
                before.unwrap_or_else(|| defaults.get(column).copied().flatten()) != *value
            })
        };
        // A column that the base had dropped, and its branch has, says nothing about who set it.
        let unsaid = |own: &BTreeMap<usize, Option<i32>>| {
            let mut columns = own.keys();
            columns.any(|column| dropped.contains(column) && !base.columns.contains_key(column))
        };
        let half_gone = b.is_some() && o.is_some() != t.is_some();
        open |= half_gone && o.or(t).is_some_and(unsaid);
        let row = match (b, o, t) {
            (_, None, None) => None,
            (None, Some(o), None) => Some(o.clone()),
            (None, None, Some(t)) => {
                // Its file may hold a column that its own line does not have.
                open |= columns
                    .keys()
                    .any(|column| dropped.contains(column) && !t.contains_key(column));
                Some(t.clone())
            }
            (None, Some(o), Some(t)) => {
                open |= o != t;
                Some(o.clone())
            }
            (Some(_), Some(o), None) => (changed(Some(o)) && take == Take::Ours).then(|| o.clone()),
            (Some(_), None, Some(t)) => {
                let back = changed(Some(t)) && take == Take::Theirs;
                open |= changed(Some(t));
                back.then(|| t.clone())
            }
            (Some(b), Some(o), Some(t)) => Some(
                columns
                    .keys()
                    .map(|column| {
                        let [b, o, t] = [b, o, t].map(|row| row.get(column).copied());
                        let value = match (o, t) {
                            (None, t) => t,
                            (o, None) => o,
                            (Some(_), Some(_)) if o == t || b == t => o,
                            (Some(_), Some(_)) if b == o || take == Take::Theirs => t,
                            _ => o,
                        };
                        (*column, value.unwrap_or_default())
                    })
                    .collect(),
            ),
        };
        if let Some(row) = row {
            let cell = |column: &usize| {
                let value = row.get(column).copied();
                (
                    *column,
                    value.unwrap_or_else(|| defaults.get(column).copied().flatten()),
                )
            };
            rows.insert(id, columns.keys().map(cell).collect());
        }
    }
    (Model { columns, rows }, open)
}

fn n_cases() -> u32 {
    let cases = std::env::var("TLC_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    cases.unwrap_or(1_000)
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
        }
    }
}
