//! A small project with one of everything that the format has, written the same each time.
//!
//! The table `train` has a history of two branches: every kind of change, a merge with a conflict, a
//! revert, checkpoints, and a compaction. `outside` reads a file in place below an alias, `short` has
//! given up its first revision, the run `lenet` has two writers, `resumed` two attempts, `made` says what it is made of, and of `killed` segments are left.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parquet::arrow::ArrowWriter;
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, RecordBatch, RecordBatchIterator,
};
use tlc_core::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use tlc_core::arrow::json::ReaderBuilder;
use tlc_core::{
    ArtifactSource, Build, Change, ChangeKind, Code, CommitOptions, Env, GcOptions, Gpu, Keep,
    LockFile, Machine, Merged, Patch, Project, Provenance, PutOptions, ROWID, Resolution, Role,
    Root, RootOptions, Rows, Run, RunOptions, Snapshot, Table, Value, block_on, schema,
};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// What the alias `SOURCE` stands for while the files are written: a folder of the project.
pub(crate) const SOURCE: &str = "zoo/source";

/// Writes the project `zoo` into the folder of a root.
pub(crate) fn write(folder: &Path) -> Done {
    let folder = std::path::absolute(folder)?;
    let env = Env::manual();
    let source = folder.join(SOURCE);
    let options = RootOptions::new()
        .env(env.clone())
        .checkpoint_every(0)
        .alias("SOURCE", &source.to_string_lossy())?;
    let root = block_on(Root::open_with(&folder.to_string_lossy(), options))?;
    block_on(
        root.project("zoo")?
            .write_aliases_file("PHOTOS: s3://zoo/photos\nCATS: <PHOTOS>/cats\n"),
    )?;
    let project = root.project("zoo")?;
    let train = train(&project, env)?;
    outside(&project, &source)?;
    short(&project)?;
    run(&project, &train)?;
    resumed(&project)?;
    killed(&project, &folder.join("zoo/runs/killed"))?;
    without_process(&folder.join("zoo/runs"))
}

/// The columns of `train`: each role, and each kind of type.
fn fields() -> Schema {
    let pixels = schema::tensor("pixels", DataType::UInt8, &[2, 2]);
    let words = Field::new_list_field(DataType::Utf8, true);
    let place = vec![
        Field::new("x", DataType::Float64, true),
        Field::new("cage", DataType::Utf8, true),
    ];
    Schema::new(vec![
        schema::label("animal", ["cat", "dog", "cow"]),
        schema::weight("weight"),
        schema::image("picture", "image/png"),
        schema::image_url("photo"),
        schema::embedding("embedding", 3),
        schema::with_role(pixels, Role::Image),
        schema::boxes("boxes", ["ear", "tail"]),
        Field::new("words", DataType::List(Arc::new(words)), true),
        Field::new("place", DataType::Struct(place.into()), true),
    ])
}

const FOUR_ROWS: &str = r#"
{"animal": 0, "weight": 1.0, "picture": "6f6e65", "photo": "s3://zoo/photos/cats/1.jpg", "embedding": [0.5, 1.5, -2.0], "pixels": [0, 1, 2, 255], "boxes": [{"id": 1, "x_min": 0.0, "y_min": 1.0, "x_max": 2.0, "y_max": 3.0, "label": 0}], "words": ["soft", null], "place": {"x": 0.25, "cage": "A"}}
{"animal": 1, "weight": 0.0, "picture": "74776f", "photo": "/elsewhere/2.jpg", "embedding": [1.0, 0.0, 0.0], "pixels": [9, 9, 9, 9], "boxes": [], "words": [], "place": {"x": null, "cage": "B"}}
{"animal": null, "weight": 0.5, "picture": null, "photo": null, "embedding": null, "pixels": null, "boxes": null, "words": null, "place": null}
{"animal": 2, "weight": 1.0, "picture": "", "photo": "s3://zoo/photos/4.jpg", "embedding": [0.0, 0.0, 1.0], "pixels": [1, 2, 3, 4], "boxes": [{"id": 7, "x_min": 1.0, "y_min": 1.0, "x_max": 9.0, "y_max": 9.0, "label": null}], "words": ["moo"], "place": {"x": 1.0, "cage": null}}
"#;

const TWO_MORE_ROWS: &str = r#"
{"animal": 1, "weight": 1.0, "picture": "66697665", "photo": "s3://zoo/photos/cats/5.jpg", "words": ["loud"]}
{"animal": 0, "weight": 2.0, "boxes": [{"id": 1, "x_min": 5.0, "y_min": 5.0, "x_max": 6.0, "y_max": 6.0, "label": 1}]}
"#;

/// New values for a cell of each column, and a second row of nulls.
const EDITS: &str = r#"
{"_rowid": 0, "animal": 2, "weight": null, "picture": "6e6577", "photo": "s3://zoo/photos/cats/0.jpg", "embedding": [9.0, 8.0, 7.0], "pixels": [5, 5, 5, 5], "words": ["edited", "twice"], "place": {"x": 3.5, "cage": "C"}}
{"_rowid": 1, "animal": null, "weight": 0.75, "picture": null, "photo": null, "embedding": null, "pixels": null, "words": null, "place": null}
"#;

/// A box, without its id.
const BOX: &str =
    r#"{"boxes": [{"id": 0, "x_min": 4.0, "y_min": 4.0, "x_max": 8.0, "y_max": 8.0, "label": 1}]}"#;

/// A table whose history is being written.
struct History {
    table: Table,
    env: Env,
}

impl History {
    /// A revision of a branch, a minute after the one before.
    fn commit(
        &self,
        branch: &str,
        why: &str,
        change: impl FnOnce(&Snapshot, &mut Patch) -> Done,
    ) -> Done {
        let options = self.options(branch, why);
        let snapshot = block_on(self.table.branch(branch))?;
        let mut patch = snapshot.patch();
        change(&snapshot, &mut patch)?;
        block_on(self.table.commit(&patch, options))?;
        Ok(())
    }

    fn options(&self, branch: &str, why: &str) -> CommitOptions {
        self.env.advance(Duration::from_secs(60));
        CommitOptions::new(why).branch(branch)
    }

    fn head(&self, branch: &str) -> Done<Snapshot> {
        Ok(block_on(self.table.branch(branch))?)
    }
}

/// The table with the long history, and its head.
fn train(project: &Project, env: Env) -> Done<Snapshot> {
    let history = History {
        table: create(project, "train", &fields(), FOUR_ROWS)?,
        env,
    };
    every_kind_of_change(&history)?;
    two_branches(&history)?;
    columns_and_classes(&history)?;
    dropped_and_restored(&history)?;
    block_on(history.table.checkpoint())?;
    names(&history)?;
    block_on(history.table.checkpoint())?;
    compacted(&history)?;
    history.head("main")
}

fn every_kind_of_change(history: &History) -> Done {
    history.commit("main", "a change of every kind", |snapshot, patch| {
        patch.set_batch(&rows(snapshot.schema(), EDITS)?)?;
        patch.set_element(1, "boxes", 2, one_box(snapshot)?)?;
        patch.drop_element(3, "boxes", 7)?;
        patch.append(&rows(snapshot.schema(), TWO_MORE_ROWS)?)?;
        patch.drop_rows(&[2]);
        patch.add_column(schema::text("note"), "as found")?;
        patch.set(0, "note", "first")?;
        Ok(())
    })
}

/// Both sides change other elements of one cell, and one cell to other values.
fn two_branches(history: &History) -> Done {
    let table = &history.table;
    block_on(table.create_branch("cleanup", 1, history.options("main", "to clean up")))?;
    history.commit("cleanup", "cleaned", |snapshot, patch| {
        patch.set(0, "animal", "dog")?;
        patch.set(1, "weight", 2.0)?;
        patch.set_element(0, "boxes", 2, one_box(snapshot)?)?;
        Ok(())
    })?;
    history.commit("main", "meanwhile", |snapshot, patch| {
        patch.set(0, "animal", "cat")?;
        patch.set(3, "animal", Value::null())?;
        patch.set_element(0, "boxes", 1, one_box(snapshot)?)?;
        patch.rename_column("words", "tags")?;
        Ok(())
    })?;
    let cleanup = history.head("cleanup")?.revision();
    let decided = Resolution::new().set(0, "animal", "cow")?;
    let options = history.options("main", "merge cleanup into main");
    done(block_on(table.merge(cleanup, &decided, options))?)?;
    let head = history.head("main")?.revision();
    block_on(table.create_tag("gold", head, history.options("main", "published")))?;
    Ok(())
}

fn columns_and_classes(history: &History) -> Done {
    history.commit("main", "other classes", |_, patch| {
        patch.rename_class("animal", "cow", "ox")?;
        patch.add_class("animal", "bird")?;
        patch.merge_classes("animal", "dog", "cat")?;
        patch.set(4, "animal", "bird")?;
        Ok(())
    })?;
    history.commit("main", "a column less", |_, patch| {
        patch.drop_column("place")?;
        patch.set_role("note", None)?;
        Ok(())
    })
}

fn dropped_and_restored(history: &History) -> Done {
    history.commit("main", "two rows less", |_, patch| {
        patch.drop_rows(&[1, 3]);
        Ok(())
    })?;
    let dropped = history.head("main")?.revision();
    let options = history.options("main", "two rows again");
    let undecided = Resolution::new();
    let reverted = history.table.revert(dropped, dropped, &undecided, options);
    done(block_on(reverted)?)
}

/// Names that come, move and go; a fast-forward, and a revision done once more.
fn names(history: &History) -> Done {
    let table = &history.table;
    history.commit("main", "weights", |_, patch| {
        patch.set(0, "weight", 0.125)?;
        patch.set(4, "weight", Value::null())?;
        Ok(())
    })?;
    let weights = history.head("main")?.revision();
    block_on(table.create_branch("side", weights, history.options("main", "a branch")))?;
    history.commit("side", "a better note", |_, patch| {
        Ok(patch.set(0, "note", "better")?)
    })?;
    let side = history.head("side")?.revision();
    let options = history.options("main", "merge side into main");
    done(block_on(table.merge(side, &Resolution::new(), options))?)?;
    let options = history.options("cleanup", "the weights here too");
    done(block_on(table.cherry_pick(
        weights,
        &Resolution::new(),
        options,
    ))?)?;
    block_on(table.drop_branch("side", history.options("main", "done")))?;
    block_on(table.create_tag("draft", weights, history.options("main", "a tag")))?;
    block_on(table.drop_tag("draft", history.options("main", "no tag")))?;
    history.commit("main", "a row less", |_, patch| {
        patch.drop_rows(&[5]);
        Ok(())
    })
}

/// Rows written anew; upon them an edit and a row, a checkpoint, and one revision that it does not know.
fn compacted(history: &History) -> Done {
    block_on(history.table.compact(history.options("main", "compact")))?;
    history.commit("main", "after the compaction", |snapshot, patch| {
        patch.set(1, "animal", "ox")?;
        patch.append(&rows(
            snapshot.schema(),
            r#"{"animal": 3, "note": "last"}"#,
        )?)?;
        Ok(())
    })?;
    block_on(history.table.checkpoint())?;
    history.commit("main", "after the checkpoint", |_, patch| {
        Ok(patch.set(1, "weight", 4.0)?)
    })
}

/// A table that reads a file where it lies, with an edit over it.
fn outside(project: &Project, source: &Path) -> Done {
    fs::create_dir_all(source)?;
    let fields = Schema::new(vec![
        Field::new("animal", DataType::Int32, true),
        Field::new("name", DataType::Utf8, true),
    ]);
    let three =
        r#"{"animal": 1, "name": "Rex"} {"animal": 0, "name": null} {"animal": 2, "name": "Bo"}"#;
    let batch = rows(&fields, three)?;
    let file = fs::File::create(source.join("animals.parquet"))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
    writer.write(&batch)?;
    writer.close()?;
    let table = block_on(project.create_table_in_place(
        "outside",
        &["<SOURCE>/animals.parquet"],
        "in place",
    ))?;
    let mut patch = block_on(table.head())?.patch();
    patch.set(1, "name", "Tom")?;
    block_on(table.commit(&patch, "its name is Tom"))?;
    Ok(())
}

/// A table whose first revisions were given up.
fn short(project: &Project) -> Done {
    let fields = Schema::new(vec![schema::weight("weight")]);
    let table = create(
        project,
        "short",
        &fields,
        r#"{"weight": 1.0} {"weight": 2.0}"#,
    )?;
    for weight in [3.0, 4.0] {
        let mut patch = block_on(table.head())?.patch();
        patch.set(0, "weight", weight)?;
        block_on(table.commit(&patch, "another weight"))?;
    }
    block_on(table.compact("compact"))?;
    let all_ages = GcOptions::new().older_than(Duration::ZERO);
    block_on(table.gc(all_ages.keep(Keep::Newest(1)).delete()))?;
    Ok(())
}

/// A run of two writers that completed, and one that failed.
fn run(project: &Project, snapshot: &Snapshot) -> Done {
    let run = project.start_run(RunOptions::new().name("lenet").seed(7))?;
    run.params(&BTreeMap::from([
        ("lr", "0.1"),
        ("photos", "s3://zoo/photos/cats"),
    ]))?;
    run.input(snapshot)?;
    run.log(1, &[("loss", 0.5), ("accuracy", f64::NAN)]);
    let of = Rows::new("train", 1, vec![0, 3])?
        .step(1)
        .source(snapshot.table().name().clone(), snapshot.revision());
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.25, f32::INFINITY]));
    run.samples(&of, &RecordBatch::try_from_iter([("loss", loss)])?)?;
    run.text(1, "note", "größer");
    run.text(None::<i64>, "stdout", "begun");
    run.histogram(1, "weights", &[0.0, 1.0, f32::NAN]);
    run.file(1, "sound", vec![1, 2, 3], "audio/wav")?;
    run.flush()?;
    let second = project.start_run(RunOptions::new().name("lenet").rank(1).join())?;
    second.log(2, &[("loss", 0.25)]);
    second.finish()?;
    run.finish()?;
    project.start_run("broken")?.fail("no memory left")?;
    let patch = "diff --git a/new.rs b/new.rs\nnew file mode 100644\n";
    let made = RunOptions::from("made").provenance(made_of(), Some(patch.to_owned()));
    let made = project.start_run(made)?;
    made.output(snapshot);
    let weights = ArtifactSource::bytes("weights", b"one".as_slice());
    made.put_artifact("model", weights, PutOptions::new("a start").alias("best"))?;
    made.use_artifact("model@best")?;
    made.finish()?;
    Ok(())
}

/// One of everything that is known of what a run is made of.
fn made_of() -> Provenance {
    let text = |text: &str| text.to_owned();
    let change = |path: &str, kind: ChangeKind, left_out: Option<&str>| Change {
        path: text(path),
        kind,
        left_out: left_out.map(text),
    };
    Provenance {
        code: Some(Code {
            folder: text("/zoo"),
            commit: Some(text("0123456789abcdef0123456789abcdef01234567")),
            branch: Some(text("main")),
            remote: Some(text("https://example.org/zoo.git")),
            state: Some(text("rebase")),
            changes: Some(vec![
                change("added.rs", ChangeKind::Added, None),
                change("gone.rs", ChangeKind::Deleted, None),
                change("new.rs", ChangeKind::Untracked, None),
                change("weights.bin", ChangeKind::Modified, Some("it is no text")),
            ]),
            n_more: 2,
            patch: None,
        }),
        lock: Some(LockFile {
            path: text("/zoo/Cargo.lock"),
            blake3: "0".repeat(64),
        }),
        build: Build {
            compiler: text("rustc 1.95.0"),
            target: text("x86_64-unknown-linux-gnu"),
            profile: text("release"),
            opt_level: text("3"),
            library: text("0.1.0"),
            features: vec![text("code")],
        },
        command: vec![text("train"), text("--rate=0.1")],
        folder: text("/zoo"),
        environment: BTreeMap::from([(text("RUST_LOG"), text("warn"))]),
        machine: Machine {
            host: Some(text("burrow")),
            system: Some(text("Linux")),
            kernel: Some(text("Linux 6.1")),
            processor: Some(text("a processor")),
            threads: Some(2),
            memory: Some(1 << 34),
            gpus: vec![Gpu {
                name: text("a GPU"),
                memory: 1 << 36,
                driver: text("570"),
            }],
        },
        missing: vec![text("not all changes are known")],
    }
}

/// A run of two attempts, each of a launch of its own.
fn resumed(project: &Project) -> Done {
    for (launch, steps) in [("first", 0..3), ("second", 2..4)] {
        let run = project.start_run(RunOptions::from("resumed").launch(launch))?;
        for step in steps {
            run.log(step, &[("loss", 0.5)]);
            log_sample(&run, 0, step)?;
        }
        run.finish()?;
    }
    Ok(())
}

/// A run as it is left when its process is killed.
fn killed(project: &Project, folder: &Path) -> Done {
    let run = project.start_run("killed")?;
    for step in 0..3 {
        run.log(step, &[("loss", 0.5), ("accuracy", f64::NEG_INFINITY)]);
        log_sample(&run, -1, step)?;
    }
    run.flush()?;
    let log = folder.join("log");
    let mut left: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for below in ["scalars", "samples/train", "log"] {
        for entry in fs::read_dir(folder.join(below))? {
            let path = entry?.path();
            left.push((path.clone(), fs::read(path)?));
        }
    }
    run.finish()?;
    for below in ["scalars", "samples", "log"] {
        fs::remove_dir_all(folder.join(below))?;
    }
    for (path, bytes) in left {
        fs::create_dir_all(path.parent().unwrap_or(&log))?;
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn log_sample(run: &Run, epoch: i64, step: i64) -> Done {
    let of = Rows::new("train", epoch, vec![u64::try_from(step)?])?.step(step);
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.25]));
    run.samples(&of, &RecordBatch::try_from_iter([("loss", loss)])?)?;
    Ok(())
}

fn create(project: &Project, name: &str, fields: &Schema, text: &str) -> Done<Table> {
    let batch = rows(fields, text)?;
    let schema = batch.schema();
    let reader = RecordBatchIterator::new([Ok(batch)], schema);
    Ok(block_on(project.create_table(
        name,
        reader,
        "made by hand",
    ))?)
}

/// Rows from JSON, with those of the columns that the text has, and `_rowid` if it has that.
fn rows(fields: &Schema, text: &str) -> Done<RecordBatch> {
    let row_id: FieldRef = Arc::new(Field::new(ROWID, DataType::UInt64, false));
    let all = std::iter::once(&row_id).chain(fields.fields());
    let is_row_id = |field: &FieldRef| field.name() == ROWID;
    let edits = text.contains(&format!("{ROWID:?}"));
    // Rows to append have all columns; edits have those that are spelled out.
    let chosen = all.filter(|field| match edits {
        true => text.contains(&format!("{:?}", field.name())),
        false => !is_row_id(field),
    });
    let schema = Arc::new(Schema::new(chosen.cloned().collect::<Vec<_>>()));
    let mut reader = ReaderBuilder::new(schema).build(text.as_bytes())?;
    Ok(reader.next().ok_or("no rows")??)
}

/// The struct of a box, of the type that the column has.
fn one_box(snapshot: &Snapshot) -> Done<Value> {
    let column = snapshot.schema().field_with_name("boxes")?.clone();
    let batch = rows(&Schema::new(vec![column]), BOX)?;
    let boxes: ArrayRef = batch.column(0).as_list::<i32>().value(0);
    assert_eq!(boxes.len(), 1);
    Ok(Value::first_of(&boxes)?)
}

fn done(merged: Merged) -> Done {
    match merged {
        Merged::Committed(_) => Ok(()),
        Merged::Conflicts(conflicts) => Err(format!("{conflicts:?}").into()),
    }
}

/// Takes out of the runs' logs which process wrote them: it is another each time.
fn without_process(runs: &Path) -> Done {
    for run in fs::read_dir(runs)? {
        for entry in fs::read_dir(run?.path().join("log"))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path)?;
            if let Some((before, rest)) = text.split_once(r#""process":{"#) {
                let (_, after) = rest.split_once('}').ok_or("a process without an end")?;
                let none = r#""process":{"machine":"","id":1,"started":0}"#;
                fs::write(&path, format!("{before}{none}{after}"))?;
            }
        }
    }
    Ok(())
}
