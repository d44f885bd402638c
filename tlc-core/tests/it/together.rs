//! Two sides that change elements of the same cells, and classes of the same label: what comes
//! together by a merge, or by a commit from a snapshot that is not the newest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use tlc_core::arrow::array::{
    Array, ArrayRef, AsArray as _, Float32Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StructArray,
};
use tlc_core::arrow::buffer::OffsetBuffer;
use tlc_core::arrow::compute::concat;
use tlc_core::arrow::datatypes::{
    DataType, Field, Fields, Float32Type, Int32Type, Int64Type, Schema,
};
use tlc_core::{
    BlameOptions, CommitOptions, ErrorKind, Merged, Patch, Resolution, Revision, ScanOptions,
    Snapshot, Table, Take, Value, block_on, schema,
};

use crate::support::{animals, project, reader, rows, table};

const ROWS: u64 = 3;

/// What one side does to one element.
#[derive(Clone, Debug)]
struct Edit {
    row: u64,
    element: i64,
    drops: bool,
}

/// Elements by row and id.
type Boxes = BTreeMap<u64, BTreeMap<i64, i32>>;

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (0..ROWS, 0..5_i64, prop::bool::weighted(0.3));
    let edit = edit.prop_map(|(row, element, drops)| Edit {
        row,
        element,
        drops,
    });
    prop::collection::vec(edit, 1..5)
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("x", DataType::Float32, true),
    ])
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn structs(elements: &BTreeMap<i64, i32>) -> StructArray {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(elements.keys().copied()));
    let xs = elements.values().map(|x| *x as f32);
    let xs: ArrayRef = Arc::new(Float32Array::from_iter_values(xs));
    StructArray::new(fields(), vec![ids, xs], None)
}

/// A table of three rows with the elements 0, 1 and 2 in each.
fn boxes() -> (Table, Boxes) {
    let row = |row: i32| BTreeMap::from([0, 1, 2].map(|id| (i64::from(id), row * 10 + id)));
    let model: Boxes = (0..).zip([row(0), row(1), row(2)]).collect();
    let parts: Vec<StructArray> = model.values().map(structs).collect();
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part as _).collect();
    let items = concat(&parts).unwrap();
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields()), true));
    let offsets = OffsetBuffer::from_lengths([3, 3, 3]);
    let list: ArrayRef = Arc::new(ListArray::new(Arc::clone(&item), offsets, items, None));
    let schema = Schema::new(vec![Field::new("boxes", DataType::List(item), true)]);
    let batch = RecordBatch::try_new(Arc::new(schema), vec![list]).unwrap();
    let table = block_on(project().create_table("train", reader(batch), "boxes")).unwrap();
    (table, model)
}

fn read(snapshot: &Snapshot) -> Boxes {
    let batch = block_on(snapshot.read(ScanOptions::new().columns(["boxes"]))).unwrap();
    let list = batch.column(0).as_list::<i32>();
    let row = |row: usize| {
        let items = list.value(row);
        let ids = items.as_struct().column(0).as_primitive::<Int64Type>();
        let xs = items.as_struct().column(1).as_primitive::<Float32Type>();
        let pairs = ids.values().iter().zip(xs.values());
        #[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
        pairs.map(|(id, x)| (*id, *x as i32)).collect()
    };
    (0..).zip((0..list.len()).map(row)).collect()
}

/// A patch of the edits, and what it makes of the table. Values are new each time, from `value` on.
fn patch(snapshot: &Snapshot, before: &Boxes, edits: &[Edit], mut value: i32) -> (Patch, Boxes) {
    let (mut patch, mut after) = (snapshot.patch(), before.clone());
    for edit in edits {
        let row = after.get_mut(&edit.row).unwrap();
        if edit.drops {
            patch.drop_element(edit.row, "boxes", edit.element).unwrap();
            row.remove(&edit.element);
            continue;
        }
        value += 1;
        let element: ArrayRef = Arc::new(structs(&BTreeMap::from([(9, value)])));
        let element = Value::first_of(&element).unwrap();
        patch
            .set_element(edit.row, "boxes", edit.element, element)
            .unwrap();
        row.insert(edit.element, value);
    }
    (patch, after)
}

/// What three tables make together, and the rows in which both changed one element differently.
fn joined(base: &Boxes, ours: &Boxes, theirs: &Boxes) -> (Boxes, BTreeSet<u64>) {
    let (mut together, mut torn) = (Boxes::new(), BTreeSet::new());
    for row in 0..ROWS {
        let [b, o, t] = [base, ours, theirs].map(|boxes| &boxes[&row]);
        let ids: BTreeSet<i64> = [b, o, t]
            .iter()
            .flat_map(|row| row.keys().copied())
            .collect();
        let mut cell = BTreeMap::new();
        for id in ids {
            let [b, o, t] = [b, o, t].map(|row| row.get(&id).copied());
            if o != t && b != o && b != t {
                torn.insert(row);
            }
            cell.extend(if b == t { o } else { t }.map(|x| (id, x)));
        }
        together.insert(row, cell);
    }
    (together, torn)
}

fn merge(table: &Table, resolution: &Resolution) -> Merged {
    let theirs = block_on(table.branch("theirs")).unwrap().revision();
    block_on(table.merge(theirs, resolution, "both")).unwrap()
}

/// The two sides merged, first undecided, then with each side taken where both changed an element.
fn check_merge(ours: &[Edit], theirs: &[Edit]) {
    for take in [Take::Ours, Take::Theirs] {
        let (table, base) = boxes();
        block_on(table.create_branch("theirs", 0, "a branch")).unwrap();
        let first = block_on(table.at(0)).unwrap();
        let (own, o) = patch(&first, &base, ours, 100);
        let (other, t) = patch(&first, &base, theirs, 200);
        block_on(table.commit(&own, "ours")).unwrap();
        let on = CommitOptions::new("theirs").branch("theirs");
        block_on(table.commit(&other, on)).unwrap();
        let (mut expected, torn) = joined(&base, &o, &t);
        if let Merged::Conflicts(conflicts) = merge(&table, &Resolution::new()) {
            let rows = conflicts
                .cells
                .iter()
                .flat_map(|cells| cells.row_ids.clone());
            assert_eq!(rows.collect::<BTreeSet<_>>(), torn);
        } else {
            assert_eq!(torn, BTreeSet::new());
        }
        for row in &torn {
            let side = if take == Take::Ours { &o } else { &t };
            expected.insert(*row, side[row].clone());
        }
        merge(&table, &Resolution::all(take));
        assert_eq!(read(&block_on(table.head()).unwrap()), expected, "{take:?}");
    }
}

/// The second of two patches from one snapshot, on one branch.
fn check_commit(ours: &[Edit], theirs: &[Edit]) {
    let (table, base) = boxes();
    let first = block_on(table.at(0)).unwrap();
    let (own, o) = patch(&first, &base, ours, 100);
    let (other, t) = patch(&first, &base, theirs, 200);
    block_on(table.commit(&own, "first")).unwrap();
    let (expected, torn) = joined(&base, &o, &t);
    match block_on(table.commit(&other, "second")) {
        Ok(done) => {
            assert_eq!(torn, BTreeSet::new());
            assert_eq!(read(&done.snapshot), expected);
        }
        Err(err) => {
            assert_eq!(err.kind(), ErrorKind::Conflict, "{err}");
            assert_ne!(torn, BTreeSet::new(), "{err}");
            assert_eq!(read(&block_on(table.head()).unwrap()), o);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn elements_come_together_one_by_one(ours in edits(), theirs in edits()) {
        check_merge(&ours, &theirs);
        check_commit(&ours, &theirs);
    }
}

/// The classes of `animal`, a merged one as `kitten>0`, and its cells.
fn shown(snapshot: &Snapshot) -> String {
    let field = snapshot.schema().field(0);
    let classes = schema::classes(field).unwrap();
    let class = |class: &schema::Class| match class.merged_into {
        None => class.name.clone(),
        Some(into) => format!("{}>{into}", class.name),
    };
    let classes: Vec<String> = classes.iter().map(class).collect();
    let batch = block_on(snapshot.read(ScanOptions::new().columns(["animal"]))).unwrap();
    let cells = batch
        .column(0)
        .as_primitive::<Int32Type>()
        .values()
        .to_vec();
    format!("{} {cells:?}", classes.join(" "))
}

type Change = fn(&mut Patch);

/// Merges two sides that changed the classes cat, dog and cow of the cells 0, 1, 2; what they have in
/// common then, or why they have not.
#[track_caller]
fn check_classes(ours: Change, theirs: Change, expected: &str) {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1");
    block_on(table.create_branch("theirs", 0, "a branch")).unwrap();
    for (branch, change) in [("main", ours), ("theirs", theirs)] {
        let mut patch = block_on(table.at(0)).unwrap().patch();
        change(&mut patch);
        block_on(table.commit(&patch, CommitOptions::new(branch).branch(branch))).unwrap();
    }
    let found = match merge(&table, &Resolution::new()) {
        Merged::Committed(done) => shown(&done.snapshot),
        Merged::Conflicts(conflicts) => {
            let columns = conflicts
                .columns
                .iter()
                .map(|(name, why)| format!("{name} {why}"));
            let cells = conflicts
                .cells
                .iter()
                .map(|cells| format!("{:?}", cells.row_ids));
            columns.chain(cells).collect::<Vec<_>>().join(", ")
        }
    };
    assert_eq!(found, expected);
}

#[test]
fn changes_of_classes_come_together() {
    check_classes(
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        |patch| patch.set(0, "animal", "dog").unwrap(),
        "cat wolf cow [1, 1, 2]",
    );
    check_classes(
        |patch| patch.merge_classes("animal", "dog", "cat").unwrap(),
        |patch| patch.set(2, "animal", "dog").unwrap(),
        "cat dog>0 cow [0, 0, 1]",
    );
    check_classes(
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        "cat wolf cow [0, 1, 2]",
    );
    check_classes(
        |patch| patch.add_class("animal", "pig").unwrap(),
        |patch| patch.set(0, "animal", "cow").unwrap(),
        "cat dog cow pig [2, 1, 2]",
    );
    check_classes(
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        |patch| patch.add_class("animal", "pig").unwrap(),
        "cat wolf cow pig [0, 1, 2]",
    );
    check_classes(
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        |patch| patch.rename_class("animal", "dog", "fox").unwrap(),
        "animal given other classes by both",
    );
    check_classes(
        |patch| patch.merge_classes("animal", "dog", "cat").unwrap(),
        |patch| patch.rename_class("animal", "dog", "wolf").unwrap(),
        "animal given other classes by both",
    );
}

#[test]
fn a_class_that_became_part_of_another_is_set_under_its_old_name_too() {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1");
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.merge_classes("animal", "dog", "cat").unwrap();
    let head = block_on(table.commit(&patch, "dogs are cats"))
        .unwrap()
        .snapshot;
    let mut patch = head.patch();
    patch.set(2, "animal", "dog").unwrap();
    let head = block_on(table.commit(&patch, "a dog")).unwrap().snapshot;
    assert_eq!(shown(&head), "cat dog>0 cow [0, 0, 0]");
}

#[test]
fn a_fast_forward_is_undone_as_a_whole() {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1");
    block_on(table.create_branch("theirs", 0, "a branch")).unwrap();
    for (row, class) in [(0, "cow"), (1, "cat")] {
        let mut patch = block_on(table.branch("theirs")).unwrap().patch();
        patch.set(row, "animal", class).unwrap();
        let on = CommitOptions::new("theirs").branch("theirs");
        block_on(table.commit(&patch, on)).unwrap();
    }
    let Merged::Committed(forward) = merge(&table, &Resolution::new()) else {
        panic!("nothing to decide")
    };
    let cells = "cat dog cow [2, 0, 2]";
    assert_eq!(shown(&forward.snapshot), cells);
    let (at, undecided) = (forward.revision, Resolution::new());
    block_on(table.revert(at, at, &undecided, "back")).unwrap();
    assert_eq!(
        shown(&block_on(table.head()).unwrap()),
        "cat dog cow [0, 1, 2]"
    );
    block_on(table.create_branch("other", 0, "a branch")).unwrap();
    let on = CommitOptions::new("all of it").branch("other");
    block_on(table.cherry_pick(at, &undecided, on)).unwrap();
    assert_eq!(shown(&block_on(table.branch("other")).unwrap()), cells);
}

/// A table of which the branch `behind` has one row only, while `main` has three more, of which one was
/// edited, and the revision of that edit.
fn ahead() -> (Table, u64) {
    let table = table(&project(), "0:1");
    block_on(table.create_branch("behind", 0, "a branch")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.append(&animals("1:1 1:1 1:1")).unwrap();
    block_on(table.commit(&patch, "more")).unwrap();
    let mut patch = block_on(table.head()).unwrap().patch();
    patch.set(2, "animal", "cow").unwrap();
    let edit = block_on(table.commit(&patch, "a cow")).unwrap();
    (table, edit.revision.0)
}

fn behind() -> CommitOptions {
    CommitOptions::new("on the branch").branch("behind")
}

#[test]
fn a_row_comes_with_its_edits_to_a_branch_that_never_had_it() {
    let (table, edit) = ahead();
    let dropped = {
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.drop_rows(&[2]);
        block_on(table.commit(&patch, "no cow")).unwrap().revision
    };
    assert_eq!(dropped.0, edit + 1);
    let undecided = Resolution::new();
    let Merged::Committed(_) =
        block_on(table.revert(dropped, dropped, &undecided, "back")).unwrap()
    else {
        panic!("nothing to decide")
    };
    let back = block_on(table.head()).unwrap().revision();
    block_on(table.cherry_pick(back, &undecided, behind())).unwrap();
    assert_eq!(
        rows(&block_on(table.branch("behind")).unwrap()),
        "0:0:1.0 2:2:1.0"
    );
}

#[test]
fn what_came_with_a_row_is_no_edit_of_it_where_a_branch_has_not_the_column() {
    let table = table(&project(), "0:1");
    block_on(table.create_branch("behind", 0, "a branch")).unwrap();
    let commit = |change: &dyn Fn(&mut Patch)| {
        let mut patch = block_on(table.head()).unwrap().patch();
        change(&mut patch);
        block_on(table.commit(&patch, "more")).unwrap().revision
    };
    commit(&|patch| {
        let field = Field::new("size", DataType::Int32, true);
        patch.add_column(field, Value::from(10)).unwrap();
    });
    let sized = {
        let batch = animals("1:1");
        let sizes: ArrayRef = Arc::new(Int32Array::from(vec![14]));
        let size = Arc::new(Field::new("size", DataType::Int32, true));
        let fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
        let schema = Arc::new(Schema::new([fields, vec![size]].concat()));
        RecordBatch::try_new(schema, [batch.columns(), &[sizes]].concat()).unwrap()
    };
    let appended = commit(&|patch| patch.append(&sized).unwrap());
    let undecided = Resolution::new();
    let picked = block_on(table.cherry_pick(appended, &undecided, behind())).unwrap();
    let Merged::Committed(picked) = picked else {
        panic!("nothing to decide")
    };
    assert_eq!(rows(&picked.snapshot), "0:0:1.0 1:1:1.0");
    // The row is undone where it came from, too: nobody has set anything in it.
    let undone = block_on(table.revert(picked.revision, picked.revision, &undecided, "back"));
    let Merged::Committed(undone) = undone.unwrap() else {
        panic!("nothing to decide")
    };
    assert_eq!(rows(&undone.snapshot), "0:0:1.0:10");
    // An edit is one, also of a cell in that column.
    let back = block_on(table.revert(undone.revision, undone.revision, &undecided, "again"));
    drop(back.unwrap());
    commit(&|patch| patch.set(1, "size", 15).unwrap());
    let asked = block_on(table.revert(picked.revision, picked.revision, &undecided, "back"));
    assert!(matches!(asked.unwrap(), Merged::Conflicts(_)));
}

#[test]
fn rows_that_a_cherry_pick_left_out_are_blamed_on_those_who_added_them() {
    let (table, edit) = ahead();
    let theirs = Resolution::all(Take::Theirs);
    let Merged::Committed(picked) = block_on(table.cherry_pick(edit, &theirs, behind())).unwrap()
    else {
        panic!("decided")
    };
    assert_eq!(rows(&picked.snapshot), "0:0:1.0 2:2:1.0");
    block_on(table.merge(edit, &theirs, behind())).unwrap();
    let head = block_on(table.branch("behind")).unwrap();
    assert_eq!(rows(&head), "0:0:1.0 1:1:1.0 2:2:1.0 3:1:1.0");
    let blame = block_on(table.blame("animal", BlameOptions::new().at(head.revision()))).unwrap();
    let added = Revision(edit - 1);
    assert_eq!(
        blame.revisions,
        [Revision(0), added, picked.revision, added]
    );
}

#[test]
fn rows_that_a_compaction_put_together_are_blamed_on_those_who_added_them() {
    let project = project();
    let table = table(&project, "0:1");
    block_on(table.create_branch("behind", 0, "a branch")).unwrap();
    for row in ["1:1", "2:1"] {
        let mut patch = block_on(table.head()).unwrap().patch();
        patch.append(&animals(row)).unwrap();
        block_on(table.commit(&patch, "one more")).unwrap();
    }
    let theirs = block_on(table.compact("smaller")).unwrap().revision;
    // Something of its own, so that the merge is no fast-forward.
    let mut patch = block_on(table.branch("behind")).unwrap().patch();
    patch.set(0, "animal", "cow").unwrap();
    let on = || CommitOptions::new("on the branch").branch("behind");
    let set = block_on(table.commit(&patch, on())).unwrap().revision;
    block_on(table.merge(theirs, &Resolution::new(), on())).unwrap();
    let head = block_on(table.branch("behind")).unwrap().revision();
    let blame = block_on(table.blame("animal", BlameOptions::new().at(head))).unwrap();
    assert_eq!(blame.revisions, [set, Revision(2), Revision(3)]);
}

#[test]
fn many_threads_that_commit_through_one_handle_lose_nothing() {
    const THREADS: u64 = 16;
    const COMMITS: u64 = 8;
    let project = project();
    let rows: Vec<String> = (0..THREADS * COMMITS).map(|_| "0:0".to_owned()).collect();
    let table = table(&project, &rows.join(" "));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let table = &table;
            scope.spawn(move || {
                for commit in 0..COMMITS {
                    let mut patch = block_on(table.head()).unwrap().patch();
                    patch.set(thread * COMMITS + commit, "animal", 2).unwrap();
                    block_on(table.commit(&patch, "one of many")).unwrap();
                }
            });
        }
    });
    let check = |table: &Table| {
        let head = block_on(table.head()).unwrap();
        assert_eq!(head.revision(), Revision(THREADS * COMMITS));
        let batch = block_on(head.read(ScanOptions::new().columns(["animal"]))).unwrap();
        let cells = batch.column(0).as_primitive::<Int32Type>();
        assert!(cells.values().iter().all(|cell| *cell == 2));
    };
    check(&table);
    check(&block_on(project.table("train")).unwrap());
}
