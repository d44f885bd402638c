//! Loaders over tables in memory and on disk.

use std::io::Cursor;
use std::sync::Arc;

use image::{GrayImage, ImageFormat};
use tempfile::TempDir;
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, FixedSizeListArray, Float32Array, Int32Array, RecordBatch,
    RecordBatchIterator, StringArray,
};
use tlc_core::arrow::datatypes::{
    DataType, Field, Float32Type, Int32Type, Schema, UInt8Type, UInt64Type,
};
use tlc_core::loader::{Batch, Weighted};
use tlc_core::object_store::memory::InMemory;
use tlc_core::testing::{Faults, FaultyStore, When};
use tlc_core::{
    CommitOptions, ErrorKind, LabelIssueOptions, Loader, Project, Result, Snapshot, Table,
    block_on, schema,
};

use crate::support::{project, project_in, quiet};

/// A grey image whose pixels all depend on the row.
fn png(height: u32, width: u32, row: u32) -> Vec<u8> {
    let image = GrayImage::from_fn(width, height, |x, y| {
        image::Luma([(row * 7 + y * width + x) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Rows of an image of 3 x 2, a label and a weight.
fn rows(n: u32) -> RecordBatch {
    let images: Vec<Vec<u8>> = (0..n).map(|row| png(3, 2, row)).collect();
    with_images(n, images.iter().map(Vec::as_slice).collect())
}

fn with_images(n: u32, images: Vec<&[u8]>) -> RecordBatch {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BinaryArray::from_vec(images)),
        Arc::new(Int32Array::from_iter_values(
            (0..n).map(|row| (row % 3).cast_signed()),
        )),
        Arc::new(Float32Array::from(vec![1.0; n as usize])),
    ];
    batch(
        vec![
            schema::image("image", "image/png"),
            schema::label("label", ["a", "b", "c"]),
            schema::weight("weight"),
        ],
        columns,
    )
}

fn batch(fields: Vec<Field>, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn create(root: &str, rows: RecordBatch) -> Table {
    create_in(&block_on(Project::open(root, "zoo")).unwrap(), rows)
}

fn create_in(project: &Project, rows: RecordBatch) -> Table {
    let schema = rows.schema();
    let reader = RecordBatchIterator::new([Ok(rows)], schema);
    block_on(project.create_table("train", reader, CommitOptions::new("import"))).unwrap()
}

fn head(table: &Table) -> Snapshot {
    block_on(table.head()).unwrap()
}

/// A snapshot of `n` good rows, in memory.
fn good(n: u32) -> Snapshot {
    head(&create("memory:///", rows(n)))
}

fn batches(loader: &Loader, epoch: i64) -> Vec<Batch> {
    loader.epoch(epoch).collect::<Result<_>>().unwrap()
}

/// The row ids of an epoch in the order they came.
fn visited(loader: &Loader, epoch: i64) -> Vec<u64> {
    batches(loader, epoch)
        .iter()
        .flat_map(|batch| batch.rows.row_ids.values().to_vec())
        .collect()
}

/// The message of the error that ends an epoch; nothing comes after it.
#[track_caller]
fn error_of(loader: &Loader) -> String {
    let mut epoch = loader.epoch(0);
    let err = epoch.find_map(Result::err).expect("the epoch ends well");
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(epoch.next().is_none());
    format!("{err:#}")
}

#[test]
fn an_epoch_visits_every_row_once_in_memory_and_on_disk() {
    let dir = TempDir::new().unwrap();
    for root in ["memory:///", dir.path().to_str().unwrap()] {
        let snapshot = head(&create(root, rows(300)));
        for cache in [0, u64::MAX] {
            let loader = Loader::new(&snapshot).batch_size(64).cache_bytes_max(cache);
            assert_eq!(visited(&loader, 0), (0..300).collect::<Vec<_>>());
            let shuffled = loader.shuffle(7);
            let mut seen = visited(&shuffled, 3);
            assert_ne!(seen, visited(&shuffled, 4));
            seen.sort_unstable();
            assert_eq!(seen, (0..300).collect::<Vec<_>>());
        }
    }
}

#[test]
fn each_row_has_its_own_cells() {
    let loader = Loader::new(&good(100))
        .columns(["label", "image"])
        .unwrap()
        .batch_size(9)
        .shuffle(1);
    for epoch in 0..2 {
        for batch in batches(&loader, epoch) {
            let labels = batch.record.column(0).as_primitive::<Int32Type>();
            let images = batch.record.column(1).as_fixed_size_list();
            for (position, row_id) in batch.rows.row_ids.values().iter().enumerate() {
                assert_eq!(labels.value(position) as u64, row_id % 3);
                let pixels = images.value(position);
                let expected: Vec<u8> = (0..6).map(|pixel| (row_id * 7 + pixel) as u8).collect();
                assert_eq!(pixels.as_primitive::<UInt8Type>().values(), &expected[..]);
            }
        }
    }
}

#[test]
fn images_carry_their_shape_and_role() {
    let record = batches(&Loader::new(&good(3)), 0).remove(0).record;
    let found = record.schema();
    let field = found.field_with_name("image").unwrap();
    assert_eq!(schema::shape(field), Some(vec![3, 2, 1]));
    assert_eq!(schema::Role::of(field), Some(schema::Role::Image));
    let label = found.field_with_name("label").unwrap();
    assert_eq!(schema::classes(label).unwrap().len(), 3);
}

#[test]
fn what_is_kept_in_memory_changes_no_batch() {
    let snapshot = good(200);
    let loader = Loader::new(&snapshot).batch_size(33).shuffle(5);
    let bytes = block_on(snapshot.column_bytes(&["image", "label", "weight"])).unwrap();
    // Nothing; the rows but not the pixels; all of it.
    let bounds = [0, bytes + 200 * 6 - 1, u64::MAX];
    let loaders = bounds.map(|bound| loader.clone().cache_bytes_max(bound));
    for epoch in 0..3 {
        let [none, some, all] = loaders.each_ref().map(|loader| batches(loader, epoch));
        for ((none, some), all) in none.iter().zip(&some).zip(&all) {
            assert_eq!(none.rows, all.rows);
            assert_eq!(none.record, all.record);
            assert_eq!(some.record, all.record);
        }
        assert_eq!((none.len(), some.len()), (all.len(), 7));
    }
}

#[test]
fn two_epochs_at_once_share_what_is_kept() {
    let loader = Loader::new(&good(200)).batch_size(10).shuffle(5);
    let (first, second) = (loader.epoch(0), loader.epoch(0));
    for (first, second) in first.zip(second) {
        assert_eq!(first.unwrap().record, second.unwrap().record);
    }
}

#[test]
fn edited_cells_are_what_is_loaded() {
    let table = create("memory:///", rows(50));
    let mut patch = head(&table).patch();
    patch.set(7, "label", "c").unwrap();
    patch.drop_rows(&[9]);
    block_on(table.commit(&patch, "fix")).unwrap();
    for cache in [0, u64::MAX] {
        let loader = Loader::new(&head(&table))
            .columns(["label"])
            .unwrap()
            .batch_size(50)
            .cache_bytes_max(cache);
        let batch = batches(&loader, 0).remove(0);
        assert_eq!(batch.rows.row_ids.len(), 49);
        assert!(!batch.rows.row_ids.values().contains(&9));
        assert_eq!(
            batch.record.column(0).as_primitive::<Int32Type>().value(7),
            2
        );
    }
}

#[test]
fn a_weight_of_zero_leaves_a_row_out_of_every_order() {
    let table = create("memory:///", rows(20));
    let mut patch = head(&table).patch();
    for (row_id, weight) in [(0, 0.0_f32), (3, 0.0), (5, 1_000.0)] {
        patch.set(row_id, "weight", weight).unwrap();
    }
    patch.set(6, "weight", tlc_core::Value::null()).unwrap();
    block_on(table.commit(&patch, "weigh")).unwrap();
    let loader = Loader::new(&head(&table)).columns(["label"]).unwrap();
    assert_eq!(loader.n_samples().unwrap(), 18);
    for loader in [loader.clone(), loader.clone().shuffle(1)] {
        let mut seen = visited(&loader, 0);
        seen.sort_unstable();
        assert_eq!(
            seen,
            (0..20)
                .filter(|row| ![0, 3].contains(row))
                .collect::<Vec<_>>()
        );
    }
    let drawn = visited(&loader.weighted(1), 0);
    assert_eq!(drawn.len(), 18);
    assert!(
        drawn.iter().filter(|row| **row == 5).count() >= 16,
        "{drawn:?}"
    );
    assert!(!drawn.contains(&0) && !drawn.contains(&3));
}

#[test]
fn a_weight_that_is_none_names_its_row() {
    for bad in [-1.0, f32::NAN] {
        let table = create("memory:///", rows(20));
        let mut patch = head(&table).patch();
        patch.set(11, "weight", bad).unwrap();
        block_on(table.commit(&patch, "weigh")).unwrap();
        let loader = Loader::new(&head(&table));
        assert!(error_of(&loader).contains("row 11"));
        assert_eq!(loader.n_samples().unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn steps_count_on_from_epoch_to_epoch() {
    for (drop_last, expected) in [(false, vec![6, 7, 8]), (true, vec![4, 5])] {
        let loader = Loader::new(&good(10))
            .columns(["label"])
            .unwrap()
            .batch_size(4);
        let loader = if drop_last {
            loader.drop_last()
        } else {
            loader
        };
        let batches = batches(&loader, 2);
        assert_eq!(loader.n_batches().unwrap(), batches.len());
        let steps: Vec<i64> = batches.iter().map(|batch| batch.rows.step).collect();
        assert_eq!(steps, expected);
        assert!(batches.iter().all(|batch| batch.rows.epoch == 2));
    }
}

#[test]
fn a_batch_says_which_revision_it_is_of() {
    let snapshot = good(2);
    let batch = batches(&Loader::new(&snapshot), 0).remove(0);
    assert_eq!(
        batch.rows.source,
        Some((snapshot.table().name().clone(), snapshot.revision()))
    );
    assert_eq!(batch.rows.stream.as_str(), "train");
}

#[test]
fn a_run_knows_what_its_loader_reads() {
    let project = block_on(Project::open("memory:///", "zoo")).unwrap();
    let table = create_in(&project, rows(10));
    let run = project.start_run("r").unwrap();
    let loader = Loader::new(&head(&table)).run(&run, "val").unwrap();
    assert_eq!(batches(&loader, 0)[0].rows.stream.as_str(), "val");
    assert!(Loader::new(&head(&table)).run(&run, "a/b").is_err());
    let record = run.finish().unwrap();
    assert_eq!(
        record.inputs,
        [(table.name().clone(), head(&table).revision())]
    );
    assert!(record.params.is_empty(), "{:?}", record.params);
}

#[test]
fn a_run_knows_the_seeds_of_its_loaders() {
    let project = block_on(Project::open("memory:///", "zoo")).unwrap();
    let table = create_in(&project, rows(10));
    let run = project.start_run("r").unwrap();
    let loader = |stream: &str| Loader::new(&head(&table)).run(&run, stream).unwrap();
    let (train, val) = (loader("train").shuffle(7), loader("val").shuffle(8));
    // That of an order which is never used is none.
    let _unused = loader("test").shuffle(9);
    for epoch in 0..3 {
        batches(&train, epoch);
    }
    batches(&val.clone(), 0);
    let record = run.finish().unwrap();
    let params: Vec<_> = record
        .params
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(params, ["seed.train=7", "seed.val=8"]);
}

#[test]
fn leaving_an_epoch_early_is_no_trouble() {
    let loader = Loader::new(&good(300)).batch_size(2).shuffle(1);
    for epoch in 0..50 {
        let mut batches = loader.epoch(epoch);
        if epoch % 2 == 0 {
            assert!(batches.next().unwrap().is_ok());
        }
    }
    assert_eq!(visited(&loader, 0).len(), 300);
}

#[test]
fn a_broken_image_names_its_row_and_spares_the_batches_before_it() {
    let broken = png(3, 2, 5);
    let images: Vec<Vec<u8>> = (0..10)
        .map(|row| {
            if row == 5 {
                broken[..30].to_vec()
            } else {
                png(3, 2, row)
            }
        })
        .collect();
    let snapshot = head(&create(
        "memory:///",
        with_images(10, images.iter().map(Vec::as_slice).collect()),
    ));
    for cache in [0, u64::MAX] {
        let loader = Loader::new(&snapshot).batch_size(2).cache_bytes_max(cache);
        assert_eq!(loader.epoch(0).take_while(Result::is_ok).count(), 2);
        let message = error_of(&loader);
        assert!(
            message.contains("row 5") && message.contains("\"image\""),
            "{message}"
        );
    }
}

#[test]
fn images_of_two_sizes_name_both() {
    let images: Vec<Vec<u8>> = (0..6)
        .map(|row| png(3, if row == 4 { 9 } else { 2 }, row))
        .collect();
    let snapshot = head(&create(
        "memory:///",
        with_images(6, images.iter().map(Vec::as_slice).collect()),
    ));
    let message = error_of(&Loader::new(&snapshot).batch_size(3));
    assert!(
        message.contains("row 3 is 3 x 2 x 1, row 4 is 3 x 9 x 1"),
        "{message}"
    );
    assert_eq!(visited(&Loader::new(&snapshot).batch_size(1), 0).len(), 6);
}

#[test]
fn a_missing_image_names_its_row() {
    let table = create("memory:///", rows(4));
    let mut patch = head(&table).patch();
    patch.set(2, "image", tlc_core::Value::null()).unwrap();
    block_on(table.commit(&patch, "lose")).unwrap();
    assert!(error_of(&Loader::new(&head(&table))).contains("row 2 has no image"));
}

#[test]
fn what_a_loader_cannot_do_is_said_by_name() {
    let snapshot = good(3);
    let err = Loader::new(&snapshot).columns(["lable"]).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    assert_eq!(
        err.to_string(),
        "no column \"lable\"; the columns are image, label, weight"
    );
    assert!(error_of(&Loader::new(&snapshot).batch_size(0)).contains("batch size"));

    let urls = vec![
        schema::image_url("photo"),
        Field::new("x", DataType::Float32, true),
    ];
    let columns: [ArrayRef; 2] = [
        Arc::new(StringArray::from(vec!["a.png"])),
        Arc::new(Float32Array::from(vec![1.0])),
    ];
    let snapshot = head(&create("memory:///", batch(urls, columns.to_vec())));
    assert!(
        error_of(&Loader::new(&snapshot).columns(["x"]).unwrap().weighted(1)).contains("weight")
    );
}

#[test]
fn columns_come_in_the_order_they_were_asked_for() {
    let loader = Loader::new(&good(5))
        .columns(["weight", "label", "weight"])
        .unwrap();
    let record = batches(&loader, 0).remove(0).record;
    assert_eq!(
        record
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect::<Vec<_>>(),
        ["weight", "label"]
    );
    assert_eq!(
        record.column(0).as_primitive::<Float32Type>().values(),
        &[1.0; 5]
    );
    let nothing = Loader::new(&good(5)).columns::<&str>([]).unwrap();
    for cache in [0, u64::MAX] {
        let record = batches(&nothing.clone().cache_bytes_max(cache), 0)
            .remove(0)
            .record;
        assert_eq!((record.num_rows(), record.num_columns()), (5, 0));
    }
}

/// A snapshot of rows with these weights and a label.
fn weighted(weights: &[f32]) -> Snapshot {
    let labels = (0..weights.len()).map(|row| (row % 3) as i32);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(labels)),
        Arc::new(Float32Array::from(weights.to_vec())),
    ];
    let fields = vec![
        schema::label("label", ["a", "b", "c"]),
        schema::weight("weight"),
    ];
    head(&create("memory:///", batch(fields, columns)))
}

/// The loader in every order that there is.
fn in_every_order(loader: &Loader) -> Vec<Loader> {
    let seed = 11;
    let ways = [
        Weighted::from(seed),
        Weighted::WithReplacement {
            seed,
            size: Some(4),
        },
        Weighted::WithReplacement {
            seed,
            size: Some(50),
        },
        Weighted::WithoutReplacement { seed, size: None },
        Weighted::WithoutReplacement {
            seed,
            size: Some(7),
        },
        Weighted::Repeat { seed },
    ];
    let weighted = ways.map(|way| loader.clone().weighted(way));
    [loader.clone(), loader.clone().shuffle(seed)]
        .into_iter()
        .chain(weighted)
        .collect()
}

#[test]
fn an_epoch_begun_in_the_middle_gives_what_was_left_of_it_in_every_order() {
    let weights: Vec<f32> = (0_u8..20).map(|row| f32::from(row % 5) * 0.7).collect();
    let snapshot = weighted(&weights);
    for (size, drop_last) in [(3, false), (3, true), (1, false), (100, false)] {
        let loader = Loader::new(&snapshot).batch_size(size);
        let loader = if drop_last {
            loader.drop_last()
        } else {
            loader
        };
        for loader in in_every_order(&loader) {
            for epoch in [0, 5] {
                let whole = batches(&loader, epoch);
                assert_eq!(
                    loader.n_batches_in(epoch).unwrap(),
                    whole.len(),
                    "{loader:?}"
                );
                for n_done in 0..=whole.len() + 1 {
                    let rest: Vec<Batch> = loader
                        .epoch_from(epoch, n_done)
                        .collect::<Result<_>>()
                        .unwrap();
                    let expected = whole.iter().skip(n_done);
                    assert_eq!(rest.len(), expected.len(), "{loader:?} after {n_done}");
                    for (rest, expected) in rest.iter().zip(expected) {
                        assert_eq!(rest.rows, expected.rows, "{loader:?} after {n_done}");
                        assert_eq!(rest.record, expected.record, "{loader:?} after {n_done}");
                    }
                }
            }
            assert_eq!(loader.epoch_from(0, usize::MAX).count(), 0);
        }
    }
}

#[test]
fn what_was_done_before_is_not_decoded_again() {
    let good = png(3, 2, 1);
    let images = (0..10).map(|row| if row < 6 { &good[..30] } else { &good[..] });
    let snapshot = head(&create("memory:///", with_images(10, images.collect())));
    for cache in [0, u64::MAX] {
        let loader = Loader::new(&snapshot).batch_size(2).cache_bytes_max(cache);
        assert!(error_of(&loader).contains("row 0"));
        let rest: Vec<Batch> = loader.epoch_from(0, 3).collect::<Result<_>>().unwrap();
        let row_ids: Vec<u64> = rest
            .iter()
            .flat_map(|batch| batch.rows.row_ids.values().to_vec())
            .collect();
        assert_eq!(row_ids, [6, 7, 8, 9]);
        assert!(loader.epoch_from(0, 2).next().unwrap().is_err());
    }
}

#[test]
fn an_epoch_is_as_long_as_its_order_says() {
    let snapshot = weighted(&[1.0, 0.0, 2.5, 0.5, 4.0]);
    let check = |way: Weighted, n_samples, n_batches| {
        let loader = Loader::new(&snapshot).batch_size(2).weighted(way);
        assert_eq!(
            (loader.n_samples().unwrap(), loader.n_batches().unwrap()),
            (n_samples, n_batches),
            "{way:?}"
        );
        loader
    };
    let seed = 3;
    check(Weighted::from(seed), 4, 2);
    check(
        Weighted::WithReplacement {
            seed,
            size: Some(9),
        },
        9,
        5,
    );
    check(Weighted::WithoutReplacement { seed, size: None }, 4, 2);
    check(
        Weighted::WithoutReplacement {
            seed,
            size: Some(3),
        },
        3,
        2,
    );
    // One and four, two or three, and none or one.
    let repeated = check(Weighted::Repeat { seed }, 9, 5);
    let mut seen = [0; 10];
    let mut steps = Vec::new();
    for epoch in 0..40 {
        let batches = batches(&repeated, epoch);
        assert_eq!(repeated.n_batches_in(epoch).unwrap(), batches.len());
        seen[visited(&repeated, epoch).len()] += 1;
        steps.extend(batches.iter().map(|batch| batch.rows.step));
    }
    assert!(seen[7] > 0 && seen[8] > 0 && seen[9] > 0, "{seen:?}");
    assert_eq!(seen[..7], [0; 7]);
    assert!(
        steps.is_sorted_by(|before, after| before < after),
        "{steps:?}"
    );
    assert_eq!(steps.first(), Some(&0));
}

#[test]
fn a_size_that_the_samples_do_not_allow_is_said_before_and_in_the_epoch() {
    let loader = Loader::new(&weighted(&[1.0, 0.0, 2.0])).weighted(Weighted::WithoutReplacement {
        seed: 1,
        size: Some(3),
    });
    assert!(error_of(&loader).contains("3 samples cannot be drawn"));
    let counts = [
        loader.n_samples(),
        loader.n_batches(),
        loader.n_batches_in(0),
    ];
    for count in counts {
        assert_eq!(count.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn the_first_of_several_broken_images_is_named() {
    let good = png(3, 2, 1);
    let images = (0..64).map(|row| if row < 9 { &good[..] } else { &good[..30] });
    let snapshot = head(&create("memory:///", with_images(64, images.collect())));
    for _ in 0..20 {
        assert!(error_of(&Loader::new(&snapshot).batch_size(64)).contains("row 9 "));
    }
}

/// Pairs of loaders: of the others, and of what is held out.
fn folds(loader: &Loader, n: usize) -> Vec<(Loader, Loader)> {
    let folds = loader.folds(n, 7).unwrap();
    assert_eq!(folds.len(), n);
    folds.collect()
}

/// The rows of each fold, in the order they come.
fn held_out(loader: &Loader, n: usize) -> Vec<Vec<u64>> {
    let folds = folds(loader, n).into_iter();
    folds.map(|(_, held_out)| visited(&held_out, 0)).collect()
}

/// That the loader's epoch has these rows, in whatever order, each with its own label, in as many batches as it says.
#[track_caller]
fn check_part(loader: &Loader, epoch: i64, expected: &[u64]) {
    let batches = batches(loader, epoch);
    assert_eq!(loader.n_samples().unwrap(), expected.len());
    assert_eq!(loader.n_batches().unwrap(), batches.len());
    assert_eq!(loader.n_batches_in(epoch).unwrap(), batches.len());
    let mut seen = Vec::new();
    for batch in batches {
        let labels = batch.record.column(0).as_primitive::<Int32Type>();
        for (row_id, label) in batch.rows.row_ids.values().iter().zip(labels.values()) {
            assert_eq!((row_id % 3) as i32, *label);
            seen.push(*row_id);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

#[test]
fn folds_hold_out_every_row_once_and_train_on_the_others() {
    let loader = Loader::new(&good(400)).columns(["label"]).unwrap();
    let loader = loader.batch_size(7);
    let small = loader.clone().cache_bytes_max(0);
    for (loader, n) in [(loader.clone(), 2), (loader.shuffle(7), 3), (small, 5)] {
        let mut seen = Vec::new();
        for (train, held_out) in folds(&loader, n) {
            let rows = visited(&held_out, 0);
            assert!(rows.is_sorted(), "{rows:?}");
            assert!(rows.len().abs_diff(400 / n) < 60, "{} of {n}", rows.len());
            let others: Vec<u64> = (0..400).filter(|row| !rows.contains(row)).collect();
            for epoch in [0, 3] {
                check_part(&held_out, epoch, &rows);
                check_part(&train, epoch, &others);
            }
            seen.extend(rows);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..400).collect::<Vec<_>>());
        assert_eq!(held_out(&loader, n), held_out(&loader.clone(), n));
        let by_another_seed = loader.folds(n, 8).unwrap().next().unwrap().1;
        assert_ne!(visited(&by_another_seed, 0), held_out(&loader, n)[0]);
    }
}

#[test]
fn what_is_held_out_comes_once_and_whole_whatever_the_order_of_the_training() {
    let weights: Vec<f32> = (0_u8..60).map(|row| f32::from(row % 5) * 0.7).collect();
    let plain = Loader::new(&weighted(&weights)).batch_size(5).drop_last();
    let expected = held_out(&plain, 3);
    let all: Vec<u64> = (0..60).filter(|row| row % 5 > 0).collect();
    let mut seen = expected.concat();
    seen.sort_unstable();
    assert_eq!(seen, all, "no row of weight 0, and every other one");
    for loader in in_every_order(&plain) {
        assert_eq!(held_out(&loader, 3), expected, "{loader:?}");
        for ((train, _), held_out) in folds(&loader, 3).iter().zip(&expected) {
            let trained = visited(train, 2);
            assert!(
                trained
                    .iter()
                    .all(|row| all.contains(row) && !held_out.contains(row))
            );
            assert_eq!(trained.len() % 5, 0);
            let n_batches = train.n_batches_in(2).unwrap();
            assert_eq!(trained.len(), n_batches * 5, "{loader:?}");
            assert!(n_batches <= train.n_batches().unwrap());
            let rest = train.epoch_from(2, 1).collect::<Result<Vec<_>>>().unwrap();
            let whole = batches(train, 2);
            let rows = |batches: &[Batch]| {
                batches
                    .iter()
                    .map(|batch| batch.rows.clone())
                    .collect::<Vec<_>>()
            };
            assert_eq!(
                rows(&rest),
                rows(&whole)[1.min(whole.len())..],
                "{loader:?}"
            );
        }
    }
    // More than the other folds have.
    let size = Some(60);
    let greedy = plain.weighted(Weighted::WithoutReplacement { seed: 1, size });
    assert!(error_of(&folds(&greedy, 3)[0].0).contains("60 samples cannot be drawn"));
}

#[test]
fn a_row_stays_in_its_fold_whatever_is_edited_appended_or_dropped() {
    let table = create("memory:///", rows(200));
    let before = held_out(&Loader::new(&head(&table)), 4);
    let mut patch = head(&table).patch();
    for row_id in 0..50 {
        patch.set(row_id, "label", "c").unwrap();
    }
    patch.set(60, "weight", 0.0_f32).unwrap();
    patch.drop_rows(&[70]);
    patch.append(&rows(100)).unwrap();
    block_on(table.commit(&patch, "fix and grow")).unwrap();
    let after = held_out(&Loader::new(&head(&table)), 4);
    assert_eq!(after.concat().len(), 298);
    for (before, after) in before.iter().zip(&after) {
        let kept = before.iter().filter(|row| ![60, 70].contains(*row));
        assert!(kept.eq(after.iter().filter(|row| **row < 200)));
        assert!(after.last() > Some(&200));
    }
}

#[test]
fn steps_of_what_is_held_out_count_on_from_fold_to_fold() {
    let loader = Loader::new(&good(100)).columns(["label"]).unwrap();
    let folds = folds(&loader.batch_size(9).shuffle(1), 3);
    let steps = |loader: &Loader, epoch| -> Vec<i64> {
        let batches = batches(loader, epoch);
        batches.iter().map(|batch| batch.rows.step).collect()
    };
    let mut held_out = Vec::new();
    for epoch in 0..2 {
        for (train, fold) in &folds {
            held_out.extend(steps(fold, epoch));
            let n = i64::try_from(train.n_batches().unwrap()).unwrap();
            let expected: Vec<i64> = (epoch * n..(epoch + 1) * n).collect();
            assert_eq!(
                steps(train, epoch),
                expected,
                "each training is one of its own"
            );
        }
    }
    let n = i64::try_from(held_out.len()).unwrap();
    assert_eq!(held_out, (0..n).collect::<Vec<_>>());
    let first = folds[2].1.epoch_from(1, 1).next().unwrap().unwrap();
    assert_eq!(first.rows.step, steps(&folds[2].1, 1)[1]);
}

#[test]
fn what_makes_no_folds_is_said_before_anything_is_trained() {
    let loader = Loader::new(&weighted(&[1.0, 0.0, 2.0, 1.0]));
    for (n, expected) in [
        (0, "0 folds leave nothing to train on"),
        (1, "1 folds leave nothing"),
        (4, "4 folds are more than the 3 samples"),
    ] {
        let err = loader.folds(n, 7).err().unwrap();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains(expected), "{err}");
    }
    // Of some seeds all three are in one fold, and there would be nothing to train on.
    for seed in 0..50 {
        match loader.folds(2, seed) {
            Err(err) => assert!(err.to_string().contains("another seed"), "{err}"),
            Ok(folds) => {
                for (train, held_out) in folds {
                    assert!(train.n_samples().unwrap() > 0 && held_out.n_samples().unwrap() > 0);
                }
            }
        }
    }
    let bad = Loader::new(&weighted(&[1.0, -1.0, 2.0, 1.0]));
    let err = bad.folds(2, 7).err().unwrap();
    assert!(err.to_string().contains("row 1"), "{err}");
}

#[test]
fn a_table_is_read_once_for_all_folds() {
    let faults = Faults::at(0, When::Before);
    let store = FaultyStore::new(Arc::new(InMemory::new()), Arc::clone(&faults));
    let snapshot = head(&create_in(&project_in(Arc::new(store)), rows(200)));
    let folds = folds(&Loader::new(&snapshot).shuffle(7), 4);
    let before = faults.n_requests();
    visited(&folds[0].0, 0);
    let after_one = faults.n_requests();
    assert!(after_one > before, "{after_one} requests");
    for (train, held_out) in &folds {
        visited(train, 1);
        visited(held_out, 0);
    }
    assert_eq!(faults.n_requests(), after_one);
}

#[test]
fn predictions_of_all_folds_are_one_epoch_of_which_labels_are_judged() {
    let project = project();
    let table = create_in(&project, rows(240));
    let mut patch = head(&table).patch();
    // Right are the classes 0, 1, 2, 0, 1, …
    for row_id in (0..240).step_by(24) {
        patch.set(row_id, "label", 1_i64).unwrap();
    }
    block_on(table.commit(&patch, "plant")).unwrap();
    let run = project.start_run(quiet("r")).unwrap();
    let snapshot = head(&table);
    let loader = Loader::new(&snapshot).columns(["label"]).unwrap();
    for (train, held_out) in folds(&loader.batch_size(16).shuffle(5), 3) {
        let train = train.run(&run, "train").unwrap();
        let seen = visited(&train, 0);
        for batch in held_out.run(&run, "held_out").unwrap().epoch(0) {
            let rows = batch.unwrap().rows;
            assert!(rows.row_ids.values().iter().all(|row| !seen.contains(row)));
            let of = |row: &u64| {
                Some([0, 1, 2].map(|class| Some(if row % 3 == class { 0.9 } else { 0.05_f32 })))
            };
            let lists = rows.row_ids.values().iter().map(of);
            let lists: ArrayRef =
                Arc::new(FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(lists, 3));
            let columns = RecordBatch::try_from_iter([("probabilities", lists)]).unwrap();
            run.samples(&rows, &columns).unwrap();
        }
    }
    let record = run.finish().unwrap();
    assert_eq!(record.warning(), None);
    let params: Vec<_> = record.params.iter().collect();
    assert_eq!(params, [(&"seed.train".to_owned(), &"5".to_owned())]);
    assert_eq!(record.inputs, [(table.name().clone(), snapshot.revision())]);
    let issues =
        block_on(project.label_issues("r", "held_out", 0, LabelIssueOptions::new())).unwrap();
    assert_eq!(issues.schema().metadata()["rows"], "240");
    let mut found = issues
        .column(0)
        .as_primitive::<UInt64Type>()
        .values()
        .to_vec();
    found.sort_unstable();
    assert_eq!(found, (0..240).step_by(24).collect::<Vec<_>>());
}
