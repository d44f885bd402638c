//! Loaders over tables in memory and on disk.

use std::io::Cursor;
use std::sync::Arc;

use image::{GrayImage, ImageFormat};
use tempfile::TempDir;
use tlc_core::arrow::array::{
    ArrayRef, AsArray as _, BinaryArray, Float32Array, Int32Array, RecordBatch,
    RecordBatchIterator, StringArray,
};
use tlc_core::arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema, UInt8Type};
use tlc_core::loader::{Batch, Weighted};
use tlc_core::{
    CommitOptions, ErrorKind, Loader, Project, Result, Snapshot, Table, block_on, schema,
};

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
