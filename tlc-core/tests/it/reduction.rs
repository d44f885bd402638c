//! Embeddings reduced: fitted once, applied to all epochs and streams of a run, and to other runs. With `TLC_QUALITY_OUT` vectors and places are also written,
//! for `.ci/reference.py`.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, FixedSizeListArray, Float32Array, Int64Array, ListArray,
    RecordBatch,
};
use tlc_core::arrow::datatypes::{Float32Type, Float64Type, UInt64Type};
use tlc_core::object_store::{ObjectStore as _, ObjectStoreExt as _};
use tlc_core::reduction::{Model, Vectors};
use tlc_core::run::SILENCE_MAX;
use tlc_core::testing::reducer_contract;
use tlc_core::{
    ArtifactSource, ErrorKind, Fitted, Pca, Project, ReduceOptions, Reducer, Reduction, Result,
    Rows, Run, RunStatus, Umap, block_on,
};

use crate::support::{project, project_on_disk, quiet, table};

/// How many numbers a vector has.
const WIDTH: usize = 8;

/// A small generator of numbers that look random.
struct Dice(u64);

impl Dice {
    /// From -0.5 up to 0.5.
    fn share(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        f32::from(u16::try_from(self.0 >> 48).unwrap()) / 65_536.0 - 0.5
    }
}

/// Vectors around three centres in turn, far from each other; of each number the spread is another.
fn around_centres(n: usize, seed: u64) -> Vectors {
    let mut dice = Dice(seed);
    let mut values = Vec::new();
    for row in 0..n {
        for at in 0..WIDTH {
            let centre = if at % 3 == row % 3 { 4.0 } else { 0.0 };
            let spread = 2.0 / (1.0 + f32::from(u8::try_from(at).unwrap()));
            values.push(centre + spread * dice.share());
        }
    }
    Vectors::new(WIDTH, values).unwrap()
}

/// The column `embedding` of some vectors; where there is none it is null.
fn column<'a>(vectors: impl IntoIterator<Item = Option<&'a [f32]>>) -> RecordBatch {
    let rows = vectors
        .into_iter()
        .map(|vector| vector.map(|vector| vector.iter().copied().map(Some)));
    let width = i32::try_from(WIDTH).unwrap();
    let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(rows, width);
    RecordBatch::try_from_iter([("embedding", Arc::new(lists) as ArrayRef)]).unwrap()
}

/// Logs vectors from the last to the first, in several files.
fn log(run: &Run, stream: &str, epoch: i64, vectors: &Vectors) {
    let rows: Vec<(u64, &[f32])> = (0..).zip(vectors).collect();
    for rows in rows.rchunks(40) {
        let ids: Vec<u64> = rows.iter().map(|(id, _)| *id).collect();
        let columns = column(rows.iter().map(|(_, vector)| Some(*vector)));
        let rows = Rows::new(stream, epoch, ids).unwrap();
        run.samples(&rows, &columns).unwrap();
        run.flush().unwrap();
    }
}

/// The places that a run has of an epoch, by row id.
fn places(project: &Project, run: &str, (stream, epoch): (&str, i64), made: &str) -> Vec<f32> {
    let read = block_on(project.embeddings(run, stream, epoch, made)).unwrap();
    let ids = read.column(0).as_primitive::<UInt64Type>().values();
    assert!(ids.is_sorted());
    let lists = read.column(1).as_fixed_size_list();
    assert_eq!(lists.null_count(), 0);
    lists
        .values()
        .as_primitive::<Float32Type>()
        .values()
        .to_vec()
}

fn reducers() -> [Box<dyn Reducer>; 3] {
    [
        Box::new(Pca::new(2)),
        Box::new(Pca::new(3)),
        Box::new(Umap::new(2).seed(7)),
    ]
}

#[test]
fn the_reducers_of_the_library_keep_the_contract() {
    for reducer in reducers() {
        reducer_contract(&*reducer, &around_centres(90, 1)).unwrap();
    }
    let one = Vectors::new(WIDTH, vec![1.5; 40 * WIDTH]).unwrap();
    for reducer in reducers() {
        reducer_contract(&*reducer, &one).unwrap();
    }
}

#[test]
fn principal_components_are_the_directions_of_most_variance() {
    // On a line through (1, 2, 3) in the direction (2, -6, 3) / 7, and a little across.
    let rows = (-10_i8..=10).map(|n| (f32::from(n), if n % 2 == 0 { 0.01 } else { -0.01 }));
    let rows = rows.flat_map(|(n, across)| {
        [
            1.0 + n * 2.0 + 3.0 * across,
            2.0 - n * 6.0,
            3.0 + n * 3.0 - 2.0 * across,
        ]
    });
    let vectors = Vectors::new(3, rows.collect()).unwrap();
    let pca = Pca::new(2);
    let model = pca.fit(&vectors).unwrap();
    let (_, components) = model.matrix("components").unwrap();
    let expected = [-2.0_f32, 6.0, -3.0].map(|value| value / 7.0);
    for (found, expected) in components.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-3, "{components:?}");
    }
    let places = Fitted::new(&pca, model).unwrap();
    let places = places.reduction().apply(&vectors).unwrap();
    for (n, place) in (-10_i8..=10).zip(&places) {
        assert!((place[0] + 7.0 * f32::from(n)).abs() < 0.01, "{place:?}");
        assert!(place[1].abs() < 0.05, "{place:?}");
    }
}

#[test]
fn places_of_what_is_near_are_near_and_a_seed_decides_them() {
    let vectors = around_centres(150, 3);
    let fit = |seed| {
        let umap = Umap::new(2).seed(seed);
        let fitted = Fitted::new(&umap, umap.fit(&vectors).unwrap()).unwrap();
        fitted.reduction().apply(&vectors).unwrap()
    };
    let places = fit(1);
    assert_eq!(places, fit(1));
    assert_ne!(places, fit(2));
    let far = |a: &[f32], b: &[f32]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
    for (row, place) in places.iter().enumerate() {
        let others = places.iter().enumerate().filter(|(other, _)| *other != row);
        let nearest = others.min_by(|a, b| far(a.1, place).total_cmp(&far(b.1, place)));
        assert_eq!(nearest.unwrap().0 % 3, row % 3, "{row}");
    }
}

#[test]
fn a_new_vector_is_put_among_those_that_it_is_like() {
    let (vectors, others) = (around_centres(150, 3), around_centres(60, 4));
    let umap = Umap::new(3).seed(5).neighbours(6);
    let fitted = Fitted::new(&umap, umap.fit(&vectors).unwrap()).unwrap();
    let reduction = fitted.reduction();
    let places = reduction.apply(&vectors).unwrap();
    let (_, fitted_places) = fitted.model().matrix("places").unwrap();
    assert_eq!(places.values(), fitted_places);
    let put = reduction.apply(&others).unwrap();
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
    for (row, place) in put.iter().enumerate() {
        let all = places.iter().enumerate();
        let nearest = all.min_by(|a, b| far(a.1, place).total_cmp(&far(b.1, place)));
        assert_eq!(nearest.unwrap().0 % 3, row % 3, "{row}");
    }
}

#[test]
fn what_cannot_be_fitted_is_refused_with_the_reason() {
    let vectors = |n: usize| Vectors::new(2, vec![1.0; 2 * n]).unwrap();
    let cases: [(Box<dyn Reducer>, usize, &str); 7] = [
        (Box::new(Pca::new(3)), 9, "vectors of 2 numbers have no 3"),
        (Box::new(Pca::new(0)), 9, "have no 0"),
        (Box::new(Pca::new(2)), 1, "two vectors at least"),
        (Box::new(Umap::new(2)), 3, "4 vectors at least, not 3"),
        (Box::new(Umap::new(5)), 9, "are not reduced to 5"),
        (Box::new(Umap::new(2).neighbours(1)), 9, "two neighbours"),
        (Box::new(Umap::new(2).distance_min(f32::NAN)), 9, "not NaN"),
    ];
    for (reducer, n, expected) in cases {
        let err = reducer.fit(&vectors(n)).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains(expected), "{err}");
    }
    for (width, values) in [(0, vec![]), (2, vec![1.0]), (1, vec![f32::NAN])] {
        assert!(Vectors::new(width, values).is_err());
    }
}

#[test]
fn all_epochs_and_streams_of_a_run_are_reduced_by_one_fit() {
    for project in [project(), project_on_disk().1] {
        let run = project.start_run(quiet("lenet")).unwrap();
        let vectors: Vec<Vectors> = (0..3).map(|epoch| around_centres(120, epoch)).collect();
        for (epoch, vectors) in (0..).zip(&vectors) {
            log(&run, "train", epoch, vectors);
        }
        log(&run, "val", 2, &around_centres(50, 9));
        run.log(0, &[("loss", 0.5)]);
        run.finish().unwrap();

        let pca = Pca::new(2);
        let fitted = project.fit_reduction(("lenet", "train", 2), "embedding", &pca);
        let fitted = block_on(fitted).unwrap();
        let reduced = project
            .reduce("lenet", &fitted, ReduceOptions::new())
            .unwrap();
        assert_eq!(reduced.run.status, RunStatus::Completed);
        assert_eq!(
            (
                reduced.rows,
                reduced.rows_without_vector,
                reduced.model.as_str()
            ),
            (410, 0, "lenet-pca@1")
        );
        let params = &reduced.run.params;
        assert_eq!(params["source"], "lenet");
        assert_eq!(params["fitted_on"], "lenet/train@2");
        let reduction = fitted.reduction();
        for (epoch, vectors) in (0..).zip(&vectors) {
            let found = places(&project, "lenet-pca", ("train", epoch), "embedding_pca");
            assert_eq!(found, reduction.apply(vectors).unwrap().values());
        }
        let found = places(&project, "lenet-pca", ("val", 2), "embedding_pca");
        assert_eq!(
            found,
            reduction.apply(&around_centres(50, 9)).unwrap().values()
        );
        // What was there is as it was.
        assert_eq!(block_on(project.run("lenet")).unwrap().streams.len(), 2);
    }
}

#[test]
fn a_stored_reduction_is_applied_to_another_run_and_both_runs_say_so() {
    let project = project();
    for (name, seed) in [("first", 1), ("second", 2)] {
        let run = project.start_run(quiet(name)).unwrap();
        log(&run, "val", 0, &around_centres(60, seed));
        run.finish().unwrap();
    }
    let umap = Umap::new(2).seed(3);
    let fitted = project.fit_reduction(("first", "val", 0), "embedding", &umap);
    let fitted = block_on(fitted).unwrap();
    let named = ReduceOptions::new().name("map").stream("val");
    let first = project.reduce("first", &fitted, named).unwrap();
    assert_eq!(
        (first.run.name.as_str(), first.model.as_str()),
        ("map", "map@1")
    );

    let known: [&dyn Reducer; 2] = [&Pca::new(2), &Umap::new(2)];
    let loaded = block_on(project.load_reduction("map", &known)).unwrap();
    assert_eq!(loaded.model(), fitted.model());
    let second = project
        .reduce("second", &loaded, ReduceOptions::new())
        .unwrap();
    assert_eq!(second.model, "map@1");
    let expected = fitted.reduction().apply(&around_centres(60, 2)).unwrap();
    let found = places(&project, "second-umap", ("val", 0), "embedding_umap");
    assert_eq!(found, expected.values());

    let edges = block_on(project.lineage()).unwrap();
    let has = |source: &str, target: &str| {
        let found = edges
            .iter()
            .any(|edge| edge.source == source && edge.target == target);
        assert!(found, "{source} -> {target}");
    };
    has("first", "map");
    has("second", "second-umap");
    let reduced = edges.iter().filter(|edge| edge.role.as_str() == "reduced");
    assert_eq!(reduced.count(), 2);
    has("map", "artifacts/map@1");
    has("artifacts/map@1", "second-umap");

    let err = block_on(project.load_reduction("map", &[&Pca::new(2)])).unwrap_err();
    assert!(format!("{err:#}").contains("fitted by \"umap\""), "{err:#}");
    let run = block_on(project.put_artifact("map", "Cargo.toml", "something else"));
    assert_eq!(run.unwrap().version, 2);
    let err = block_on(project.load_reduction("map", &known)).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err}");
}

#[test]
fn rows_without_a_vector_stay_and_have_no_place() {
    let project = project();
    let vectors = around_centres(6, 1);
    let infinite = [f32::INFINITY; WIDTH];
    let run = project.start_run(quiet("lenet")).unwrap();
    let rows = Rows::new("val", 0, vec![4, 2, 9, 2]).unwrap();
    let some = [
        Some(vectors.vector(0)),
        None,
        Some(infinite.as_slice()),
        Some(vectors.vector(1)),
    ];
    run.samples(&rows, &column(some)).unwrap();
    run.finish().unwrap();
    let pca = Pca::new(2);
    let fitted = block_on(project.fit_reduction(("lenet", "val", 0), "embedding", &pca));
    let reduced = project.reduce("lenet", &fitted.unwrap(), ReduceOptions::new());
    let reduced = reduced.unwrap();
    assert_eq!((reduced.rows, reduced.rows_without_vector), (2, 2));
    let read = block_on(project.embeddings("lenet-pca", "val", 0, "embedding_pca")).unwrap();
    let ids = read.column(0).as_primitive::<UInt64Type>().values();
    assert_eq!(ids, &[2, 2, 4, 9]);
    let is_null: Vec<bool> = (0..4).map(|row| read.column(1).is_null(row)).collect();
    assert_eq!(is_null, [true, false, false, true]);
}

#[test]
fn rows_say_the_table_that_they_are_of_and_the_new_run_that_it_read_it() {
    let project = project();
    let table = table(&project, "0:1 1:1 2:1 3:1 4:1 5:1");
    let snapshot = block_on(table.head()).unwrap();
    let run = project.start_run(quiet("lenet")).unwrap();
    run.input(&snapshot).unwrap();
    let vectors = around_centres(6, 1);
    for (ids, is_of_it) in [(vec![0, 1, 2, 3], true), (vec![4, 5], false)] {
        let picked = ids
            .iter()
            .map(|id| Some(vectors.vector(usize::try_from(*id).unwrap())));
        let columns = column(picked.collect::<Vec<_>>());
        let mut rows = Rows::new("val", 0, ids.clone()).unwrap();
        if is_of_it {
            rows = rows.source(table.name().clone(), snapshot.revision());
        }
        run.samples(&rows, &columns).unwrap();
    }
    run.finish().unwrap();
    let pca = Pca::new(2);
    let fitted = block_on(project.fit_reduction(("lenet", "val", 0), "embedding", &pca));
    let fitted = fitted.unwrap();
    let reduced = project.reduce("lenet", &fitted, ReduceOptions::new());
    let inputs = reduced.unwrap().run.inputs;
    assert_eq!(inputs, [(table.name().clone(), snapshot.revision())]);
    let name = "lenet-pca".parse().unwrap();
    let read = block_on(project.samples(&name, &"val".parse().unwrap(), 0)).unwrap();
    let n_of_it: usize = read
        .iter()
        .map(|rows| {
            let tables = rows.column_by_name("table").unwrap();
            rows.num_rows() - tables.null_count()
        })
        .sum();
    assert_eq!(n_of_it, 4);
    let found = places(&project, "lenet-pca", ("val", 0), "embedding_pca");
    assert_eq!(found, fitted.reduction().apply(&vectors).unwrap().values());
}

#[test]
fn of_many_rows_as_many_are_fitted_as_are_wanted() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, "val", 0, &around_centres(200, 1));
    run.finish().unwrap();
    let fit = |seed| {
        let umap = Umap::new(2).rows_max(50).seed(seed);
        let fitted = project.fit_reduction(("lenet", "val", 0), "embedding", &umap);
        block_on(fitted).unwrap().model().clone()
    };
    let model = fit(1);
    assert_eq!(
        (model.fact("rows"), model.matrix("places").unwrap().0),
        (Some("50"), 50)
    );
    assert_eq!(model, fit(1));
    assert_ne!(
        model.matrix("vectors").unwrap(),
        fit(2).matrix("vectors").unwrap()
    );
}

/// Gives up at the third call, or panics when it is asked how many numbers a place has.
#[derive(Clone, Debug)]
struct Fragile {
    panics: bool,
}

impl Reducer for Fragile {
    fn name(&self) -> &'static str {
        "fragile"
    }

    fn seed(&self) -> u64 {
        0
    }

    fn rows_max(&self) -> usize {
        usize::MAX
    }

    fn fit(&self, _vectors: &Vectors) -> Result<Model> {
        Ok(Model::new("fragile"))
    }

    fn reduction(&self, _model: &Model) -> Result<Box<dyn Reduction>> {
        Ok(Box::new(self.clone()))
    }
}

impl Reduction for Fragile {
    fn width(&self) -> usize {
        WIDTH
    }

    fn n_dimensions(&self) -> usize {
        assert!(!self.panics, "not today");
        1
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        match vectors.values().first() {
            Some(first) if *first > 50.0 => Err(tlc_core::Error::invalid("too far away")),
            _ => Vectors::new(1, vec![0.0; vectors.len()]),
        }
    }
}

#[test]
fn what_goes_wrong_on_the_way_is_told_and_the_new_run_has_failed() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, "val", 0, &around_centres(10, 1));
    let far = Vectors::new(WIDTH, vec![100.0; WIDTH]).unwrap();
    log(&run, "val", 1, &far);
    run.finish().unwrap();
    let fitted =
        project.fit_reduction(("lenet", "val", 0), "embedding", &Fragile { panics: false });
    let fitted = block_on(fitted).unwrap();
    let err = project
        .reduce("lenet", &fitted, ReduceOptions::new())
        .unwrap_err();
    let said = format!("{err:#}");
    assert_eq!(said, "cannot reduce epoch 1 of stream val: too far away");
    let failed = block_on(project.run("lenet-fragile")).unwrap();
    assert_eq!(failed.status, RunStatus::Failed);
    assert!(failed.reason.unwrap().contains("too far away"));
    // The name is taken.
    let err = project
        .reduce("lenet", &fitted, ReduceOptions::new())
        .unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict, "{err}");
}

#[test]
fn what_is_not_there_is_named() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, "val", 0, &around_centres(10, 1));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let numbers = RecordBatch::try_from_iter([("loss", numbers)]).unwrap();
    run.samples(&Rows::new("other", 0, vec![0, 1]).unwrap(), &numbers)
        .unwrap();
    let widths = [Some(vec![Some(1.0)]), Some(vec![Some(1.0), Some(2.0)])];
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(widths);
    let lists = RecordBatch::try_from_iter([("embedding", Arc::new(lists) as ArrayRef)]);
    run.samples(
        &Rows::new("ragged", 0, vec![0, 1]).unwrap(),
        &lists.unwrap(),
    )
    .unwrap();
    let nulls = column([None, None]);
    run.samples(&Rows::new("empty", 0, vec![0, 1]).unwrap(), &nulls)
        .unwrap();
    run.finish().unwrap();
    let pca = Pca::new(2);
    let fit = |run, stream, epoch, column| {
        let fitted = project.fit_reduction((run, stream, epoch), column, &pca);
        block_on(fitted).unwrap_err()
    };
    for (err, kind, expected) in [
        (
            fit("none", "val", 0, "embedding"),
            ErrorKind::NotFound,
            "none",
        ),
        (
            fit("lenet", "none", 0, "embedding"),
            ErrorKind::NotFound,
            "none",
        ),
        (
            fit("lenet", "val", 7, "embedding"),
            ErrorKind::NotFound,
            "epoch 7",
        ),
        (
            fit("lenet", "val", 0, "other"),
            ErrorKind::NotFound,
            "other",
        ),
        (fit("lenet", "other", 0, "loss"), ErrorKind::Invalid, "loss"),
        (
            fit("lenet", "ragged", 0, "embedding"),
            ErrorKind::Invalid,
            "row 1 has 2",
        ),
        (
            fit("lenet", "empty", 0, "embedding"),
            ErrorKind::Invalid,
            "no row",
        ),
    ] {
        assert_eq!(err.kind(), kind, "{err:#}");
        assert!(format!("{err:#}").contains(expected), "{err:#}");
    }
    let fitted = block_on(project.fit_reduction(("lenet", "val", 0), "embedding", &pca));
    let fitted = fitted.unwrap();
    let other = ReduceOptions::new().column("nothing");
    let err = project.reduce("lenet", &fitted, other).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound, "{err}");
    // No run was begun for it.
    assert_eq!(block_on(project.runs()).unwrap().len(), 1);
}

#[test]
fn vectors_and_places_are_written_for_the_comparison() {
    #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
    let out = std::env::var("TLC_QUALITY_OUT");
    let vectors = around_centres(if out.is_ok() { 600 } else { 60 }, 5);
    let mut written = vec![("embeddings".to_owned(), vectors.clone())];
    for reducer in reducers() {
        let fitted = Fitted::new(&*reducer, reducer.fit(&vectors).unwrap()).unwrap();
        let places = fitted.reduction().apply(&vectors).unwrap();
        assert_eq!(places.len(), vectors.len());
        let n = places.width();
        written.push((format!("{}-{n}", reducer.name()), places));
    }
    let Ok(out) = out else { return };
    let folder = std::path::Path::new(&out).join("reduction");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, vectors) in written {
        let line = |vector: &[f32]| vector.iter().map(f32::to_string).collect::<Vec<_>>();
        let lines: String = vectors.iter().map(|v| line(v).join(",") + "\n").collect();
        std::fs::write(folder.join(format!("{name}.csv")), lines).unwrap();
    }
}

/// A run with a stream `val` of epochs 0 and 1, and a stream `narrow` whose vectors have 3 numbers.
fn with_widths(project: &Project) {
    let run = project.start_run(quiet("lenet")).unwrap();
    log(&run, "val", 0, &around_centres(20, 1));
    log(&run, "val", 1, &around_centres(20, 2));
    let narrow = Some([1.0, 2.0, 3.0].map(Some));
    let narrow = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>([narrow], 3);
    let narrow = [("embedding", Arc::new(narrow) as ArrayRef)];
    let narrow = RecordBatch::try_from_iter(narrow).unwrap();
    let rows = Rows::new("narrow", 0, vec![0]).unwrap();
    run.samples(&rows, &narrow).unwrap();
    let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
    let loss = RecordBatch::try_from_iter([("loss", loss)]).unwrap();
    let rows = Rows::new("losses", 0, vec![0]).unwrap();
    run.samples(&rows, &loss).unwrap();
    run.finish().unwrap();
}

fn fitted(project: &Project) -> Fitted {
    let pca = Pca::new(2);
    block_on(project.fit_reduction(("lenet", "val", 1), "embedding", &pca)).unwrap()
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_made() {
    let project = project();
    with_widths(&project);
    let fitted = fitted(&project);
    let options = ReduceOptions::new;
    for (options, kind, expected) in [
        (
            options().stream("vol"),
            ErrorKind::NotFound,
            "no stream \"vol\"; there is val, narrow, losses",
        ),
        (
            options().stream("val").stream("losses"),
            ErrorKind::NotFound,
            "stream losses of run lenet has no column",
        ),
        (
            options().stream("losses").column("loss"),
            ErrorKind::Invalid,
            "no list of floats",
        ),
        (
            options().stream("narrow"),
            ErrorKind::Invalid,
            "fitted on vectors of 8 numbers, and column \"embedding\" of stream narrow of run lenet has 3",
        ),
        (
            options(),
            ErrorKind::Invalid,
            "name only the streams that fit",
        ),
        (
            options().stream("val").name("a/b"),
            ErrorKind::Invalid,
            "a/b",
        ),
    ] {
        let err = project.reduce("lenet", &fitted, options).unwrap_err();
        assert_eq!(err.kind(), kind, "{err:#}");
        assert!(format!("{err:#}").contains(expected), "{err:#}");
    }
    assert_eq!(block_on(project.runs()).unwrap().len(), 1);
    assert!(block_on(project.artifacts()).unwrap().is_empty());
    let twice = ReduceOptions::new().stream("val").stream("val");
    let reduced = project.reduce("lenet", &fitted, twice).unwrap();
    assert_eq!((reduced.rows, reduced.run.name.as_str()), (40, "lenet-pca"));
}

/// Takes the end of a run out of its log, as if its process had been killed, and lets time pass.
fn cut_off(project: &Project, run: &str) {
    let root = project.root();
    let log = root
        .path()
        .clone()
        .join("zoo")
        .join("runs")
        .join(run)
        .join("log");
    let entries = root.store().list(Some(&log)).try_collect::<Vec<_>>();
    let entries = block_on(entries).unwrap();
    let last = entries.iter().map(|entry| &entry.location).max().unwrap();
    block_on(root.store().delete(last)).unwrap();
}

#[test]
fn a_run_of_that_name_goes_on_only_if_it_is_the_same_reduction_and_was_interrupted() {
    let project = project();
    with_widths(&project);
    let fitted = fitted(&project);
    let val = || ReduceOptions::new().stream("val");
    let reduce = |options| project.reduce("lenet", &fitted, options);
    let refused = |options, expected: &str| {
        let err = reduce(options).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Conflict, "{err:#}");
        assert!(format!("{err:#}").contains(expected), "{err:#}");
    };
    reduce(val()).unwrap();
    refused(val(), "lenet-pca already (completed); choose another name");
    cut_off(&project, "lenet-pca");
    refused(val(), "lenet-pca already (running)");
    project
        .root()
        .env()
        .advance(SILENCE_MAX + Duration::from_secs(1));
    let other = Pca::new(2).seed(5);
    let other = project.fit_reduction(("lenet", "val", 1), "embedding", &other);
    let other = block_on(other).unwrap();
    let err = project.reduce("lenet", &other, val()).unwrap_err();
    assert!(format!("{err:#}").contains("not this reduction"), "{err:#}");

    let again = reduce(val()).unwrap();
    assert_eq!((again.run.attempts, again.rows), (2, 40));
    assert_eq!(again.run.reduced.unwrap().as_str(), "lenet");
    let found = places(&project, "lenet-pca", ("val", 0), "embedding_pca");
    let expected = fitted.reduction().apply(&around_centres(20, 1)).unwrap();
    assert_eq!(found, expected.values());

    // A training that was interrupted is not taken for one.
    drop(project.start_run(quiet("trained")).unwrap());
    cut_off(&project, "trained");
    project
        .root()
        .env()
        .advance(SILENCE_MAX + Duration::from_secs(1));
    refused(
        val().name("trained"),
        "trained already (interrupted), which is not this reduction",
    );
    assert_eq!(block_on(project.run("trained")).unwrap().attempts, 1);
}

#[test]
fn an_artifact_that_somebody_else_made_gets_no_version() {
    let project = project();
    with_widths(&project);
    let source = ArtifactSource::bytes("notes.txt", b"mine".to_vec());
    block_on(project.put_artifact("lenet-pca", source, "by hand")).unwrap();
    let val = ReduceOptions::new().stream("val");
    let err = project.reduce("lenet", &fitted(&project), val).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Conflict, "{err:#}");
    assert!(err.to_string().contains("zoo/lenet-pca@1"), "{err:#}");
    assert_eq!(block_on(project.runs()).unwrap().len(), 1);
    let artifact = block_on(project.artifact("lenet-pca")).unwrap();
    assert_eq!(block_on(artifact.record()).unwrap().versions.len(), 1);
}

#[test]
fn the_newest_epoch_is_one_that_is_whole_and_counts() {
    let project = project();
    let newest = || block_on(project.newest_epoch("lenet", "val"));
    let err = newest().unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound, "{err:#}");
    let run = project.start_run(quiet("lenet")).unwrap();
    let vectors = around_centres(5, 1);
    for (epoch, expected) in [(0, 0), (1, 0), (4, 1)] {
        log(&run, "val", epoch, &vectors);
        assert_eq!(newest().unwrap(), expected, "{epoch}");
    }
    run.finish().unwrap();
    assert_eq!(newest().unwrap(), 4);
    // What is logged again takes the place of all that came later.
    let run = project.start_run(quiet("lenet").resume()).unwrap();
    log(&run, "val", 1, &vectors);
    run.finish().unwrap();
    assert_eq!(newest().unwrap(), 1);
    let err = block_on(project.newest_epoch("lenet", "train")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound, "{err:#}");
}

#[test]
fn a_fit_on_no_row_is_refused() {
    let project = project();
    with_widths(&project);
    let none = Pca::new(2).rows_max(0);
    let err = block_on(project.fit_reduction(("lenet", "val", 0), "embedding", &none));
    let err = err.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("no row"), "{err}");
}

/// Tensors as `NAME ROWS WIDTH`, whose numbers are all 1; no more than a handful of them.
fn model(method: &str, neighbours: &str, tensors: &str) -> Model {
    let model = Model::new(method).with_fact("neighbours", neighbours);
    tensors.split(", ").fold(model, |model, tensor| {
        let words: Vec<&str> = tensor.split(' ').collect();
        let shape = [words[1].parse().unwrap(), words[2].parse().unwrap()];
        let n = shape[0] * shape[1];
        model.with_tensor(words[0], &shape, vec![1.0; n])
    })
}

#[test]
fn a_model_whose_numbers_do_not_fit_is_refused() {
    const MANY: &str = "18446744073709551615";
    let check = |method: &str, neighbours: &str, tensors: &str, is_good: bool| {
        let bytes = model(method, neighbours, tensors).to_bytes().unwrap();
        let model = Model::from_bytes(&bytes).unwrap();
        let reducer: &dyn Reducer = match method {
            "pca" => &Pca::new(2),
            _ => &Umap::new(2),
        };
        match Fitted::new(reducer, model) {
            Ok(_) => assert!(is_good, "{tensors} {neighbours}"),
            Err(err) => {
                assert!(!is_good, "{tensors} {neighbours}: {err:#}");
                assert_eq!(err.kind(), ErrorKind::Corrupt, "{err:#}");
            }
        }
    };
    for (tensors, is_good) in [
        ("mean 1 3, components 2 3", true),
        ("mean 1 3, components 3 3", true),
        ("mean 1 3, components 4 3", false),
        ("mean 1 3, components 0 3", false),
        ("mean 1 3, components 3 2", false),
        ("mean 3 1, components 2 3", false),
        ("mean 1 0, components 2 0", false),
        ("mean 1 3, components 18446744073709551615 0", false),
        ("mean 0 18446744073709551615, components 2 3", false),
    ] {
        check("pca", "1", tensors, is_good);
    }
    let good = "vectors 5 3, places 5 2";
    for (neighbours, tensors, is_good) in [
        ("5", good, true),
        ("1", good, true),
        ("0", good, false),
        ("6", good, false),
        (MANY, good, false),
        ("-1", good, false),
        ("many", good, false),
        ("1", "vectors 5 3, places 4 2", false),
        ("1", "vectors 5 3, places 5 4", false),
        ("1", "vectors 5 3, places 5 0", false),
        ("1", "vectors 0 3, places 0 2", false),
        ("0", "vectors 0 0, places 0 0", false),
        (
            "1",
            "vectors 18446744073709551615 0, places 18446744073709551615 0",
            false,
        ),
    ] {
        check("umap", neighbours, tensors, is_good);
    }
    let nan = Model::new("pca")
        .with_tensor("mean", &[1, 1], vec![f32::NAN])
        .with_tensor("components", &[1, 1], vec![1.0]);
    assert!(Fitted::new(&Pca::new(1), nan).is_err());
    // A header that speaks of more than there is.
    let header = br#"{"__metadata__":{"tlc":"{\"method\":\"pca\"}"},"mean":{"dtype":"F32","shape":[1,4611686018427387904],"data_offsets":[0,18446744073709551615]}}"#;
    let length = u64::try_from(header.len()).unwrap().to_le_bytes();
    let err = Model::from_bytes(&[&length, &header[..]].concat()).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid, "{err:#}");
}

#[test]
fn what_is_no_reduction_is_refused_before_it_is_read() {
    let project = project();
    let model = model("pca", "1", "mean 1 3, components 2 3");
    let bytes = model.to_bytes().unwrap();
    for (name, file) in [
        ("good", "reduction.safetensors"),
        ("weights", "model.safetensors"),
    ] {
        let source = ArtifactSource::bytes(file, bytes.clone());
        block_on(project.put_artifact(name, source, "put")).unwrap();
    }
    let known: [&dyn Reducer; 1] = [&Pca::new(2)];
    let load = |name| block_on(project.load_reduction(name, &known));
    assert_eq!(load("good").unwrap().model(), &model);
    // Nothing is left of the files but their names.
    let root = project.root();
    let chunks = root.path().clone().join("zoo").join("chunks");
    let chunks = root.store().list(Some(&chunks)).try_collect::<Vec<_>>();
    let chunks = block_on(chunks).unwrap();
    assert!(!chunks.is_empty());
    for chunk in chunks {
        block_on(root.store().delete(&chunk.location)).unwrap();
    }
    assert_eq!(load("good").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(load("weights").unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn a_reducer_that_panics_anywhere_does_not_keep_the_contract() {
    let err = reducer_contract(&Fragile { panics: true }, &around_centres(5, 1)).unwrap_err();
    assert_eq!(err.to_string(), "it panics");
}

/// That a place for each number is there, whatever the type of the column.
#[test]
fn lists_of_64_bits_are_reduced_as_well() {
    let project = project();
    let run = project.start_run(quiet("lenet")).unwrap();
    let values = Float32Array::from_iter_values((0_u8..40).map(f32::from));
    let lists = values.values().chunks_exact(4);
    let lists = lists.map(|list| Some(list.iter().map(|value| Some(f64::from(*value)))));
    let lists = ListArray::from_iter_primitive::<Float64Type, _, _>(lists);
    let lists = RecordBatch::try_from_iter([("hidden", Arc::new(lists) as ArrayRef)]).unwrap();
    let ids: Vec<u64> = (0..10).collect();
    run.samples(&Rows::new("val", -1, ids).unwrap(), &lists)
        .unwrap();
    run.finish().unwrap();
    let pca = Pca::new(2);
    let fitted = block_on(project.fit_reduction(("lenet", "val", -1), "hidden", &pca));
    let reduced = project.reduce("lenet", &fitted.unwrap(), ReduceOptions::new());
    assert_eq!(reduced.unwrap().column, "hidden_pca");
    let found = places(&project, "lenet-pca", ("val", -1), "hidden_pca");
    assert_eq!(found.len(), 20);
}
