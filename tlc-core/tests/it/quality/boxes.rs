//! Boxes that are missing, of the wrong class or badly placed: planted ones are found by the predicted boxes, with the true boxes
//! of a table.

use std::fmt::Write as _;
use std::io::Cursor;

use tlc_core::arrow::json::ReaderBuilder;
use tlc_core::collect::Detection;
use tlc_core::{BoxOptions, Collector as _};

use super::*;

const CLASSES: [&str; 3] = ["cat", "dog", "cow"];

/// A box: its class, corners, and of predicted ones the score.
type Placed = (usize, [f32; 4], f32);

/// An image: what is on it, and what was drawn and predicted.
#[derive(Default)]
pub(super) struct Photo {
    drawn: Vec<(i64, Placed)>,
    predicted: Vec<Placed>,
    /// The ids of the wrong boxes: of the predicted one that is not drawn, of the ones of another class or place.
    wrong: Vec<(&'static str, i64)>,
}

pub(super) fn photos(seed: u64, n: usize) -> Vec<Photo> {
    let mut dice = Dice(seed);
    let mut photo = || {
        let mut photo = Photo::default();
        for at in 0..dice.below(4) {
            // Each in a field of its own.
            let left = 200.0 * f32::from(u16::try_from(at).unwrap());
            let corner = |dice: &mut Dice, from: f32| from + 20.0 * dice.share();
            let x = [corner(&mut dice, left), corner(&mut dice, left + 60.0)];
            let y = [corner(&mut dice, 10.0), corner(&mut dice, 70.0)];
            let class = dice.below(CLASSES.len());
            let sure = 0.955 + dice.share() / 25.0;
            let id = i64::try_from(at).unwrap() * 10 + 3;
            let place = [x[0], y[0], x[1], y[1]];
            let near = place.map(|corner| corner + 2.0 * dice.share());
            let position = i64::try_from(photo.predicted.len()).unwrap();
            let score = if dice.below(4) == 0 {
                0.5 * dice.share()
            } else {
                sure
            };
            photo.predicted.push((class, near, score));
            let drawn = match (dice.below(7), score > 0.95) {
                (0, true) => {
                    photo.wrong.push(("overlooked", position));
                    continue;
                }
                (1, true) => {
                    photo.wrong.push(("swapped", id));
                    ((class + 1) % CLASSES.len(), place, 0.0)
                }
                (2, true) => {
                    photo.wrong.push(("badly_located", id));
                    let [x_min, y_min, x_max, _] = place;
                    (class, [x_min, y_min, x_max, y_min + 15.0], 0.0)
                }
                _ => (class, place, 0.0),
            };
            photo.drawn.push((id, drawn));
        }
        photo
    };
    (0..n).map(|_| photo()).collect()
}

/// A box as JSON.
fn json(id: Option<i64>, (class, corners, score): &Placed, is_predicted: bool) -> String {
    let [x_min, y_min, x_max, y_max] = corners.map(f64::from);
    let mut text = format!(
        r#"{{"label":{class},"x_min":{x_min},"y_min":{y_min},"x_max":{x_max},"y_max":{y_max}"#
    );
    if let Some(id) = id {
        write!(text, r#","id":{id}"#).unwrap();
    }
    if is_predicted {
        write!(text, r#","score":{}"#, f64::from(*score)).unwrap();
    }
    text + "}"
}

/// Rows with a column of boxes, or none for a photo without a list.
fn column(name: &str, photos: &[Photo], is_predicted: bool) -> RecordBatch {
    let boxes = schema::boxes(name, CLASSES);
    let field = match is_predicted {
        false => boxes,
        true => {
            let DataType::List(item) = boxes.data_type() else {
                panic!("boxes are a list");
            };
            let DataType::Struct(fields) = item.data_type() else {
                panic!("of structs");
            };
            let kept = fields.iter().filter(|field| field.name() != "id").cloned();
            let score = Arc::new(Field::new("score", DataType::Float32, true));
            let fields = kept.chain([score]).collect();
            let item = Field::new_list_field(DataType::Struct(fields), true);
            Field::new(name, DataType::List(Arc::new(item)), true)
        }
    };
    let line = |photo: &Photo| {
        let boxes: Vec<String> = match is_predicted {
            true => photo
                .predicted
                .iter()
                .map(|one| json(None, one, true))
                .collect(),
            false => photo
                .drawn
                .iter()
                .map(|(id, one)| json(Some(*id), one, false))
                .collect(),
        };
        format!("{{\"{name}\":[{}]}}\n", boxes.join(","))
    };
    let lines: String = photos.iter().map(line).collect();
    let schema = Arc::new(Schema::new(vec![field]));
    let mut reader = ReaderBuilder::new(schema)
        .build(Cursor::new(lines))
        .unwrap();
    reader.next().unwrap().unwrap()
}

/// A table with the drawn boxes, and a run that predicted some.
pub(super) fn log_boxes(project: &Project, photos: &[Photo]) {
    let drawn = column("boxes", photos, false);
    block_on(project.create_table("photos", reader(drawn.clone()), "drawn")).unwrap();
    let run = project.start_run(quiet("yolo")).unwrap();
    let predicted = column("prediction", photos, true);
    let [a, b] = [&predicted, &drawn].map(|rows| Arc::clone(rows.column(0)));
    let fields = vec![
        predicted.schema().field(0).clone(),
        drawn.schema().field(0).clone().with_name("target"),
    ];
    let outputs = RecordBatch::try_new(Arc::new(Schema::new(fields)), vec![a, b]).unwrap();
    let made = Detection::default().collect(&outputs).unwrap();
    let ids: Vec<u64> = (0..photos.len() as u64).collect();
    let rows = Rows::new("val", 3, ids).unwrap();
    let rows = rows.source("photos".parse().unwrap(), 0.into());
    run.samples(&rows, &made).unwrap();
    run.finish().unwrap();
}

/// Row id, issue and box of each row.
fn named(issues: &RecordBatch) -> Vec<(u64, String, i64)> {
    let cell = |at, row| array_value_to_string(issues.column(at), row).unwrap();
    let row = |row| {
        let id = cell(0, row).parse().unwrap();
        (id, cell(1, row), cell(3, row).parse().unwrap())
    };
    (0..issues.num_rows()).map(row).collect()
}

#[test]
fn planted_wrong_boxes_are_found_and_come_first() {
    let project = project();
    let photos = photos(4, 120);
    log_boxes(&project, &photos);
    let issues = block_on(project.box_issues("yolo", "val", 3, BoxOptions::new())).unwrap();
    let scores = issues.column(2).as_primitive::<Float64Type>().values();
    assert!(scores.is_sorted() && scores.iter().all(|score| (0.0..1.0).contains(score)));
    assert_eq!(issues.schema().metadata()["rows"], "120");
    assert_eq!(issues.schema().metadata()["table"], "photos");
    let found = named(&issues);
    let wrong = (0..).zip(&photos).flat_map(|(row, photo)| {
        photo
            .wrong
            .iter()
            .map(move |(issue, id)| (row, (*issue).to_owned(), *id))
    });
    let wrong: Vec<(u64, String, i64)> = wrong.collect();
    for kind in ["overlooked", "swapped", "badly_located"] {
        let of_kind = |rows: &[(u64, String, i64)]| -> Vec<_> {
            rows.iter().filter(|row| row.1 == kind).cloned().collect()
        };
        let (mut wrong, found) = (of_kind(&wrong), of_kind(&found));
        assert!(wrong.len() > 3, "{kind}");
        let mut first: Vec<_> = found.into_iter().take(wrong.len()).collect();
        first.sort();
        wrong.sort();
        assert_eq!(first, wrong);
    }
    let few = block_on(project.box_issues("yolo", "val", 3, 4)).unwrap();
    assert_eq!(few.columns(), issues.slice(0, 4).columns());
}

#[test]
fn columns_that_hold_no_boxes_are_named() {
    let project = project();
    log_boxes(&project, &photos(4, 10));
    let check = |options: BoxOptions, kind, message: &str| {
        let err = block_on(project.box_issues("yolo", "val", 3, options)).unwrap_err();
        assert_eq!(err.kind(), kind, "{err:?}");
        assert!(err.to_string().contains(message), "{err}");
    };
    let new = BoxOptions::new;
    check(new().predicted("p"), ErrorKind::NotFound, "no column \"p\"");
    check(
        new().predicted("n_tp"),
        ErrorKind::Invalid,
        "\"n_tp\" is Int32",
    );
    check(new().label("frames"), ErrorKind::NotFound, "photos@0");
    check(
        new().label("true_boxes"),
        ErrorKind::Invalid,
        "no field \"x_min\"",
    );
}

/// Writes boxes and answers for the comparison.
#[test]
fn answers_about_boxes_stand_beside_them() {
    let seeds = if out().is_some() { 12 } else { 1 };
    for seed in 0..seeds {
        let project = project();
        let photos = photos(seed, 60);
        log_boxes(&project, &photos);
        let issues = block_on(project.box_issues("yolo", "val", 3, BoxOptions::new())).unwrap();
        assert!(issues.num_rows() > 0);
        let Some(out) = out() else { continue };
        let folder = out.join(format!("boxes-{seed}"));
        let cells = |row: usize, id: i64, (class, corners, score): &Placed| {
            let mut cells = vec![row.to_string(), id.to_string(), class.to_string()];
            cells.extend(corners.map(|corner| f64::from(corner).to_string()));
            cells.push(f64::from(*score).to_string());
            cells
        };
        let drawn = photos.iter().enumerate().flat_map(|(row, photo)| {
            photo
                .drawn
                .iter()
                .map(move |(id, one)| cells(row, *id, one))
        });
        let predicted = photos.iter().enumerate().flat_map(|(row, photo)| {
            (0..)
                .zip(&photo.predicted)
                .map(move |(id, one)| cells(row, id, one))
        });
        write_lines(&folder, "drawn.csv", drawn);
        write_lines(&folder, "predicted.csv", predicted);
        write_lines(&folder, "photos.csv", [vec![photos.len().to_string()]]);
        write_answer(&folder, "box_issues.csv", &issues, &[0, 1, 2, 3]);
    }
}
