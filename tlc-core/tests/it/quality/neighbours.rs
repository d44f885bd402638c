//! Neighbours by vectors: those of a plain search, whatever rows are odd; planted duplicates and outliers are found.

use tlc_core::arrow::array::Float64Array;
use tlc_core::{Distance, NeighbourOptions};

use super::*;

/// Row ids with vectors: clusters, and among them some that are the same as others, almost, or far away.
fn clusters(seed: u64, n: usize, n_dimensions: usize) -> Vec<(u64, Vec<f32>)> {
    let mut dice = Dice(seed);
    let centre = |dice: &mut Dice| -> Vec<f32> {
        (0..n_dimensions)
            .map(|_| 6.0 * dice.share() - 3.0)
            .collect()
    };
    let centres: Vec<Vec<f32>> = (0..4).map(|_| centre(&mut dice)).collect();
    let mut rows: Vec<(u64, Vec<f32>)> = Vec::new();
    for row in 0..n {
        let vector = match row {
            row if row % 23 == 17 => rows[row / 2].1.clone(),
            row if row % 29 == 19 => rows[row / 2].1.iter().map(|x| x * 1.0005 + 1e-4).collect(),
            row if row % 53 == 40 => centre(&mut dice).iter().map(|x| 5.0 * x).collect(),
            row => {
                let centre = centres[row % centres.len()].iter();
                centre
                    .map(|x| x + dice.share() + dice.share() - 1.0)
                    .collect()
            }
        };
        rows.push((3 * row as u64 + 1, vector));
    }
    rows
}

fn vector_column(rows: &[(u64, Option<Vec<f32>>)]) -> RecordBatch {
    let lists = rows.iter().map(|(_, vector)| {
        vector
            .as_ref()
            .map(|vector| vector.iter().copied().map(Some).collect::<Vec<_>>())
    });
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(lists);
    RecordBatch::try_from_iter([("embedding", Arc::new(lists) as ArrayRef)]).unwrap()
}

fn log_vectors(project: &Project, name: &str, rows: &[(u64, Option<Vec<f32>>)]) {
    let run = project.start_run(quiet(name)).unwrap();
    for (step, batch) in (0..).zip(rows.chunks(64)) {
        let ids: Vec<u64> = batch.iter().map(|(id, _)| *id).collect();
        let of = Rows::new("val", 3, ids).unwrap().step(step);
        run.samples(&of, &vector_column(batch)).unwrap();
    }
    run.finish().unwrap();
}

fn some(rows: &[(u64, Vec<f32>)]) -> Vec<(u64, Option<Vec<f32>>)> {
    rows.iter()
        .map(|(id, vector)| (*id, Some(vector.clone())))
        .collect()
}

/// The distance by its definition.
fn plain_distance(distance: Distance, a: &[f32], b: &[f32]) -> f64 {
    let sum = |of: fn(f64, f64) -> f64| {
        let pairs = a.iter().zip(b);
        pairs
            .map(|(a, b)| of(f64::from(*a), f64::from(*b)))
            .sum::<f64>()
    };
    match distance {
        Distance::Euclidean => sum(|a, b| (a - b) * (a - b)).sqrt(),
        Distance::Cosine => {
            let (aa, bb) = (sum(|a, _| a * a), sum(|_, b| b * b));
            1.0 - sum(|a, b| a * b) / (aa.sqrt() * bb.sqrt())
        }
    }
}

#[test]
fn the_nearest_are_those_of_measuring_every_distance() {
    let project = project();
    for (n_dimensions, default) in [(2, Distance::Euclidean), (9, Distance::Cosine)] {
        let rows = clusters(3, 120, n_dimensions);
        let name = format!("of-{n_dimensions}");
        log_vectors(&project, &name, &some(&rows));
        for distance in [None, Some(Distance::Euclidean), Some(Distance::Cosine)] {
            let wanted = [rows[40].0, rows[7].0, rows[119].0];
            let mut options = NeighbourOptions::new().neighbours(5);
            if let Some(distance) = distance {
                options = options.distance(distance);
            }
            let found = block_on(project.nearest(&name, "val", 3, &wanted, options)).unwrap();
            assert_eq!(found.num_rows(), 15);
            let [of, near] = [0, 1].map(|at| found.column(at).as_primitive::<UInt64Type>());
            let measured: &Float64Array = found.column(2).as_primitive();
            for (at, own) in wanted.iter().enumerate() {
                let vector = |id: &u64| &rows.iter().find(|(other, _)| other == id).unwrap().1;
                let far =
                    |id: &u64| plain_distance(distance.unwrap_or(default), vector(own), vector(id));
                let others = rows.iter().filter(|(id, _)| id != own);
                let mut plain: Vec<f64> = others.map(|(id, _)| far(id)).collect();
                plain.sort_by(f64::total_cmp);
                for (place, plain) in plain.iter().take(5).enumerate() {
                    let row = 5 * at + place;
                    assert_eq!(of.value(row), *own);
                    assert_ne!(near.value(row), *own);
                    assert!((measured.value(row) - plain).abs() < 1e-12);
                    assert!((far(&near.value(row)) - plain).abs() < 1e-12);
                }
            }
        }
    }
}

#[test]
fn copies_are_near_duplicates_and_what_is_far_away_is_an_outlier() {
    let project = project();
    let rows = clusters(11, 260, 2);
    log_vectors(&project, "lenet", &some(&rows));
    let new = NeighbourOptions::new;
    let found = block_on(project.near_duplicates("lenet", "val", 3, new())).unwrap();
    let ids = found.column(0).as_primitive::<UInt64Type>();
    let scores = found.column(2).as_primitive::<Float64Type>();
    let groups = found.column(5).as_primitive::<UInt64Type>();
    let row_of = |id: u64| ids.iter().position(|other| other == Some(id));
    for (at, (id, vector)) in rows.iter().enumerate().filter(|(at, _)| at % 23 == 17) {
        let copied = &rows[at / 2];
        assert_eq!(&copied.1, vector);
        let [own, other] = [*id, copied.0].map(|id| row_of(id).unwrap());
        assert_eq!((scores.value(own), scores.value(other)), (0.0, 0.0));
        assert_eq!(groups.value(own), groups.value(other));
    }
    assert!(found.num_rows() < rows.len() / 2);
    let outliers = block_on(project.outliers("lenet", "val", 3, new())).unwrap();
    let scores = outliers.column(2).as_primitive::<Float64Type>().values();
    assert!(scores.is_sorted() && !scores.is_empty());
    assert!(outliers.num_rows() < rows.len() / 5);
    let far = |id: u64| {
        rows.iter()
            .find(|(other, _)| *other == id)
            .unwrap()
            .1
            .iter()
            .any(|x| x.abs() > 5.0)
    };
    let ids = outliers.column(0).as_primitive::<UInt64Type>().values();
    assert!(far(ids[0]), "row {}", ids[0]);
    for (answer, few) in [
        (
            &found,
            block_on(project.near_duplicates("lenet", "val", 3, 2)).unwrap(),
        ),
        (
            &outliers,
            block_on(project.outliers("lenet", "val", 3, 2)).unwrap(),
        ),
    ] {
        assert_eq!(few.columns(), answer.slice(0, 2).columns());
        assert_eq!(answer.schema().metadata()["rows"], "260");
    }
}

#[test]
fn of_odd_rows_the_last_vector_counts_and_those_without_one_are_left_out() {
    let project = project();
    let odd: Vec<(u64, Option<Vec<f32>>)> = vec![
        (7, Some(vec![0.0, 0.0])),
        (5, None),
        (1, Some(vec![90.0, 90.0])),
        (9, Some(vec![3.0, f32::NAN])),
        (1, Some(vec![3.0, 4.0])),
        (2, Some(vec![f32::INFINITY, 4.0])),
        (4, Some(vec![0.0, 6.0])),
        (3, Some(vec![])),
    ];
    log_vectors(&project, "lenet", &odd);
    let new = NeighbourOptions::new;
    let nearest = |ids: &[u64], options| block_on(project.nearest("lenet", "val", 3, ids, options));
    let all = nearest(&[7, 1, 7], new()).unwrap();
    assert_eq!(
        text(&all),
        "7:1:5.0 7:4:6.0 1:4:3.605551275463989 1:7:5.0 7:1:5.0 7:4:6.0"
    );
    let few = nearest(&[7, 1], new().neighbours(1).rows_max(1)).unwrap();
    assert_eq!(text(&few), "7:1:5.0");
    assert_eq!(nearest(&[], new()).unwrap().num_rows(), 0);
    let cosine = nearest(&[7, 4], new().distance(Distance::Cosine)).unwrap();
    let cosine = text(&cosine);
    assert!(
        cosine.starts_with("7:1:1.0 7:4:1.0 4:1:0.19999999999999"),
        "{cosine}"
    );
    let zeros = [(1, Some(vec![0.0; 4])), (2, Some(vec![0.0; 4]))];
    log_vectors(&project, "zeros", &zeros);
    let zeros = block_on(project.nearest("zeros", "val", 3, &[1], new())).unwrap();
    assert_eq!(text(&zeros), "1:2:0.0");
    for id in [5, 9, 2, 3, 8] {
        let err = nearest(&[7, id], new()).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::NotFound);
        assert!(
            err.to_string()
                .contains(&format!("row {id} has no \"embedding\"")),
            "{err}"
        );
    }
    let found = block_on(project.outliers("lenet", "val", 3, new())).unwrap();
    assert_eq!(found.schema().metadata()["rows"], "4");
    assert_eq!(found.schema().metadata()["rows_without_vector"], "4");
    log_vectors(
        &project,
        "uneven",
        &[(1, Some(vec![1.0])), (4, Some(vec![1.0, 2.0]))],
    );
    let err = block_on(project.outliers("uneven", "val", 3, new())).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(
        err.to_string()
            .contains("row 4 has 2 values, and others have 1"),
        "{err}"
    );
    let err = nearest(&[1], new().column("vector")).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::NotFound);
    log_vectors(&project, "none", &[(1, None), (2, None)]);
    for found in [
        block_on(project.outliers("none", "val", 3, new())),
        block_on(project.near_duplicates("none", "val", 3, new())),
    ] {
        assert_eq!(found.unwrap().num_rows(), 0);
    }
}

/// Writes vectors and answers for the comparison.
#[test]
fn answers_about_neighbours_stand_beside_their_vectors() {
    let seeds = if out().is_some() { 8 } else { 1 };
    for (seed, n_dimensions) in (0..seeds).flat_map(|seed| [2, 3, 5, 24].map(|n| (seed, n))) {
        let project = project();
        let n = 90 + 40 * usize::try_from(seed).unwrap();
        let rows = clusters(seed, n, n_dimensions);
        log_vectors(&project, "lenet", &some(&rows));
        let ids: Vec<u64> = rows.iter().map(|(id, _)| *id).collect();
        let new = NeighbourOptions::new;
        let nearest = block_on(project.nearest("lenet", "val", 3, &ids, new())).unwrap();
        assert_eq!(nearest.num_rows(), 10 * n);
        let duplicates = block_on(project.near_duplicates("lenet", "val", 3, new())).unwrap();
        let outliers = block_on(project.outliers("lenet", "val", 3, new())).unwrap();
        let Some(out) = out() else { continue };
        let folder = out.join(format!("vectors-{seed}-{n_dimensions}"));
        let line = |(id, vector): &(u64, Vec<f32>)| {
            let mut cells = vec![id.to_string()];
            cells.extend(vector.iter().map(|x| f64::from(*x).to_string()));
            cells
        };
        write_lines(&folder, "vectors.csv", rows.iter().map(line));
        write_answer(&folder, "nearest.csv", &nearest, &[0, 1, 2]);
        write_answer(
            &folder,
            "near_duplicates.csv",
            &duplicates,
            &[0, 2, 3, 4, 5],
        );
        write_answer(&folder, "outliers.csv", &outliers, &[0, 2, 3]);
    }
}
