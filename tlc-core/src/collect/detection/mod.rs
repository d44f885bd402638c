//! Sample metrics of a model that puts boxes around objects.

mod boxes;
mod hits;
mod matching;

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float32Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, StructArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, FieldRef, Fields};

use self::boxes::CORNERS;
pub(crate) use self::boxes::{Boxes, OneBox};
use self::hits::Hits;
use self::matching::matching;
use super::columns::{count, metric, narrow, record};
use super::{Aggregate, Collector};
use crate::error::{Error, Result};
use crate::schema::{ELEMENT_ID, Role, with_role};

/// Which of the predicted boxes of each sample are on an object, and which objects were missed.
///
/// Needs the columns `prediction` and `target`: lists of structs as
/// [`schema::boxes`](crate::schema::boxes) has them, `x_min, y_min, x_max, y_max` and a class
/// `label`, those of the targets with their `id`, those of the predictions with a `score` and, if
/// they have one, an `id` (otherwise their position is their id). Targets may have a field `is_crowd`, true or 1 for a
/// region of many objects.
///
/// Boxes are matched as in COCO (Lin et al. 2014): in descending order of their scores, equals in
/// the order of the list and NaN last, each predicted box takes the true box of its class with the
/// largest IoU, the first among equals, of those that no other has taken and whose IoU is the
/// threshold or more. So each true box is found once at most. (PASCAL VOC, Everingham et al. 2010,
/// differs in one thing: there a box whose best true box is taken is false, even if another one
/// were free.) IoU is the area that two boxes share, of the area that they cover together; it is 0
/// for boxes without an area, such as those with a NaN or with swapped corners. It makes these
/// columns:
///
/// | column | type | value |
/// |---|---|---|
/// | `n_tp`, `n_fp`, `n_fn` | Int32 | the predicted boxes that were matched and those that were not, the true boxes that were not |
/// | `predicted_boxes` | list of structs, with the role of boxes | each predicted box with its `id`, corners, `label` and `score`, its `iou`, its `kind` (`tp`, `fp` or `ignored`), and the id of the matched true box, or of the crowd, as `target` |
/// | `true_boxes` | list of structs | of each true box its `id`, its `label`, whether it was `found`, and of the box that was matched the id as `predicted` and the `iou` |
///
/// The `iou` of a false predicted box is its largest with any true box of its class, taken or not:
/// a large one is a duplicate, a small one is badly placed. Columns of lists keep the order of the
/// outputs, and `label` the class names that its field has there.
///
/// A crowd is handled as in COCO: a predicted box that matches no true box, and of whose own area the threshold or more lies in
/// a crowd of its class, is `ignored` and counts as neither true nor false; any number may lie in one crowd, which is not missed either, and
/// whose `found` is null.
///
/// Over an epoch it gathers `precision` and `recall` of all boxes together, and of up to 32 classes the recall of each
/// (`recall/<class>`).
///
/// A true box without a label is left out: it is not matched, not missed, and its `found` is null.
/// A sample without a target (null, not an empty list) has null counts and `true_boxes`, and its
/// predicted boxes have null `iou`, `kind` and `target`. A sample costs the product of the numbers
/// of predicted and true boxes of each class.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column or a field is missing or of
/// another type, a sample has no list of predictions, or a box has a null other than a target's
/// label; the message names the column or the sample's position.
///
/// ```
/// use tlc_core::collect::Detection;
///
/// let collector = Detection::default(); // IoU of 0.5 or more
/// let strict = Detection::at(0.75)?;
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Detection {
    iou_min: f64,
}

impl Default for Detection {
    /// Matches boxes whose IoU is a half or more.
    fn default() -> Self {
        Self { iou_min: 0.5 }
    }
}

impl Detection {
    /// Matches boxes whose IoU is `iou_min` or more.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if it is not over 0 and up to 1.
    pub fn at(iou_min: f64) -> Result<Self> {
        match iou_min > 0.0 && iou_min <= 1.0 {
            true => Ok(Self { iou_min }),
            false => Err(Error::invalid(format!(
                "the least IoU of a match is over 0 and up to 1, not {iou_min}"
            ))),
        }
    }
}

impl Collector for Detection {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let predictions = Boxes::read(outputs, "prediction", true)?;
        let targets = Boxes::read(outputs, "target", false)?;
        let mut columns = Columns::default();
        for sample in 0..outputs.num_rows() {
            let Some(predicted) = predictions.of(sample)? else {
                return Err(Error::invalid(format!(
                    "column \"prediction\" has no list for sample {sample} of the batch"
                )));
            };
            columns.push(&predicted, targets.of(sample)?.as_deref(), self.iou_min);
        }
        columns.finish(&predictions.label_field, &targets.label_field)
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[("n_tp", "n_tp"), ("n_fp", "n_fp"), ("n_fn", "n_fn")]
    }

    fn aggregates(&self) -> Vec<Box<dyn Aggregate>> {
        vec![Box::<Hits>::default()]
    }
}

/// The values of all samples, one after another, and how many each sample has.
#[derive(Default)]
struct Columns {
    counts: [Vec<Option<i32>>; 3],
    n_predicted: Vec<usize>,
    predicted: Vec<OneBox>,
    ious: Vec<Option<f32>>,
    kinds: Vec<Option<&'static str>>,
    targets: Vec<Option<i64>>,
    n_true: Vec<Option<usize>>,
    real: Vec<OneBox>,
    found: Vec<Option<bool>>,
    found_by: Vec<Option<i64>>,
    found_ious: Vec<Option<f32>>,
}

impl Columns {
    fn push(&mut self, predicted: &[OneBox], real: Option<&[OneBox]>, iou_min: f64) {
        self.n_predicted.push(predicted.len());
        self.predicted.extend(predicted);
        self.n_true.push(real.map(<[OneBox]>::len));
        let Some(real) = real else {
            self.counts.iter_mut().for_each(|counts| counts.push(None));
            self.ious.extend(predicted.iter().map(|_| None));
            self.kinds.extend(predicted.iter().map(|_| None));
            self.targets.extend(predicted.iter().map(|_| None));
            return;
        };
        let verdicts = matching(predicted, real, iou_min);
        let mut found_by = vec![None; real.len()];
        let mut n_fp = 0;
        for (one, verdict) in predicted.iter().zip(&verdicts) {
            if let Some(slot) = verdict.matched.and_then(|at| found_by.get_mut(at)) {
                *slot = Some((one.id, narrow(verdict.iou)));
            }
            let kind = match (verdict.matched, verdict.crowd) {
                (Some(_), _) => "tp",
                (None, Some(_)) => "ignored",
                (None, None) => "fp",
            };
            n_fp += usize::from(kind == "fp");
            let target = verdict.matched.or(verdict.crowd);
            self.ious.push(Some(narrow(verdict.iou)));
            self.kinds.push(Some(kind));
            self.targets
                .push(target.and_then(|at| real.get(at)).map(|one| one.id));
        }
        let counts_in = |one: &OneBox| one.label.is_some() && !one.is_crowd;
        let n_tp = found_by.iter().flatten().count();
        let n_true = real.iter().filter(|one| counts_in(one)).count();
        for (column, n) in self.counts.iter_mut().zip([n_tp, n_fp, n_true - n_tp]) {
            column.push(Some(count(n)));
        }
        for (one, by) in real.iter().zip(found_by) {
            self.found.push(counts_in(one).then_some(by.is_some()));
            self.found_by.push(by.map(|(id, _)| id));
            self.found_ious.push(by.map(|(_, iou)| iou));
        }
        self.real.extend(real);
    }

    fn finish(self, predicted_label: &FieldRef, true_label: &FieldRef) -> Result<RecordBatch> {
        let [n_tp, n_fp, n_fn] = self.counts.map(Int32Array::from);
        let ids = |boxes: &[OneBox]| Int64Array::from_iter_values(boxes.iter().map(|one| one.id));
        let labels = |boxes: &[OneBox]| boxes.iter().map(|one| one.label).collect::<Int32Array>();
        let floats = |of: &dyn Fn(&OneBox) -> f64| {
            Float32Array::from_iter_values(self.predicted.iter().map(|one| narrow(of(one))))
        };
        let mut predicted = vec![metric(ELEMENT_ID, ids(&self.predicted))];
        for (i, name) in CORNERS.into_iter().enumerate() {
            predicted.push(metric(name, floats(&|one| one.corners[i])));
        }
        predicted.push((
            predicted_label.as_ref().clone(),
            Arc::new(labels(&self.predicted)),
        ));
        predicted.push(metric("score", floats(&|one| one.score)));
        predicted.push(metric("iou", Float32Array::from(self.ious)));
        predicted.push(metric("kind", StringArray::from(self.kinds)));
        predicted.push(metric("target", Int64Array::from(self.targets)));
        let real = vec![
            metric(ELEMENT_ID, ids(&self.real)),
            (
                true_label.as_ref().clone(),
                Arc::new(labels(&self.real)) as ArrayRef,
            ),
            metric("found", BooleanArray::from(self.found)),
            metric("predicted", Int64Array::from(self.found_by)),
            metric("iou", Float32Array::from(self.found_ious)),
        ];
        let n_predicted: Vec<_> = self.n_predicted.into_iter().map(Some).collect();
        let (field, boxes) = metric("predicted_boxes", lists(&n_predicted, predicted)?);
        record(vec![
            metric("n_tp", n_tp),
            metric("n_fp", n_fp),
            metric("n_fn", n_fn),
            (with_role(field, Role::Boxes), boxes),
            metric("true_boxes", lists(&self.n_true, real)?),
        ])
    }
}

/// Lists of so many structs each, null where there is no number.
fn lists(lengths: &[Option<usize>], columns: Vec<(Field, ArrayRef)>) -> Result<ListArray> {
    let (fields, columns): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let structs = StructArray::try_new(Fields::from(fields), columns, None)?;
    let item = Arc::new(Field::new_list_field(structs.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().map(|n| n.unwrap_or(0)));
    let nulls = NullBuffer::from_iter(lengths.iter().map(Option::is_some));
    Ok(ListArray::try_new(
        item,
        offsets,
        Arc::new(structs),
        Some(nulls),
    )?)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::super::cases::{check, outputs, refused, rows};
    use super::*;
    use crate::schema;

    fn prediction(has_id: bool) -> Field {
        let score = Field::new("score", DataType::Float32, true);
        with_fields(
            "prediction",
            |field| has_id || field.name() != "id",
            Some(score),
        )
    }

    fn target() -> Field {
        schema::boxes("target", ["cat", "dog"])
    }

    /// The role's column with some of its fields and another one.
    fn with_fields(name: &str, keep: impl Fn(&FieldRef) -> bool, more: Option<Field>) -> Field {
        let field = schema::boxes(name, ["cat", "dog"]);
        let DataType::List(item) = field.data_type() else {
            unreachable!("boxes are a list")
        };
        let DataType::Struct(fields) = item.data_type() else {
            unreachable!("of structs")
        };
        let kept = fields.iter().filter(|field| keep(field)).cloned();
        let fields: Fields = kept.chain(more.map(Arc::new)).collect();
        let item = Field::new_list_field(DataType::Struct(fields), true);
        Field::new(name, DataType::List(Arc::new(item)), true)
    }

    /// A box between the heights 0 and 1.
    fn json(start: &str, x_min: u8, x_max: u8) -> String {
        format!("{{{start},\"x_min\":{x_min},\"x_max\":{x_max},\"y_min\":0,\"y_max\":1}}")
    }

    #[test]
    fn every_box_says_what_became_of_it() {
        let [a, b] = [
            json(r#""label":1,"score":0.5"#, 0, 4),
            json(r#""label":0,"score":0.75"#, 1, 3),
        ];
        let [t, u, v] = [
            json(r#""id":70,"label":1"#, 0, 3),
            json(r#""id":80,"label":0"#, 7, 9),
            json(r#""id":90"#, 7, 9),
        ];
        let lines = format!(
            r#"{{"prediction":[{a},{b}],"target":[{t},{u},{v}]}}
               {{"prediction":[],"target":[{t}]}}
               {{"prediction":[{a}],"target":[]}}
               {{"prediction":[{a}]}}
               {{"prediction":[],"target":[]}}"#
        );
        let outputs = outputs(&[prediction(false), target()], &lines);
        let a = "0,0.0000,0.0000,4.0000,1.0000,1,0.5000";
        let b = "1,1.0000,0.0000,3.0000,1.0000,0,0.7500";
        check(
            &Detection::default(),
            &outputs,
            &[
                &format!(
                    "n_tp=1 n_fp=1 n_fn=1 predicted_boxes=[({a},0.7500,tp,70) ({b},0.0000,fp,-)] \
                     true_boxes=[(70,1,true,0,0.7500) (80,0,false,-,-) (90,-,-,-,-)]"
                ),
                "n_tp=0 n_fp=0 n_fn=1 predicted_boxes=[] true_boxes=[(70,1,false,-,-)]",
                &format!("n_tp=0 n_fp=1 n_fn=0 predicted_boxes=[({a},0.0000,fp,-)] true_boxes=[]"),
                &format!("n_tp=- n_fp=- n_fn=- predicted_boxes=[({a},-,-,-)] true_boxes=-"),
                "n_tp=0 n_fp=0 n_fn=0 predicted_boxes=[] true_boxes=[]",
            ],
        );
        let made = Detection::default().collect(&outputs).unwrap();
        let mut hits = Hits::default();
        for _ in 0..2 {
            hits.add(&outputs, &made).unwrap();
        }
        let told: Vec<String> = hits
            .scalars()
            .iter()
            .map(|(name, value)| format!("{name}={value:.2}"))
            .collect();
        assert_eq!(
            told.join(" "),
            "precision=0.33 recall=0.33 recall/0=0.00 recall/1=0.50"
        );
        let strict = Detection::at(0.8).unwrap().collect(&outputs).unwrap();
        assert_eq!(
            rows(&strict.project(&[0, 1, 2]).unwrap())[0],
            "n_tp=0 n_fp=2 n_fn=2"
        );
    }

    #[test]
    fn what_lies_in_a_crowd_counts_as_neither_true_nor_false() {
        let score = r#""label":1,"score":0.5"#;
        let predicted = [(0, 2), (2, 4), (6, 8)].map(|(from, to)| json(score, from, to));
        let crowd = json(r#""id":70,"label":1,"is_crowd":1"#, 0, 4);
        let one = json(r#""id":71,"label":1,"is_crowd":0"#, 6, 8);
        let line = format!(
            r#"{{"prediction":[{}],"target":[{crowd},{one}]}}"#,
            predicted.join(",")
        );
        let crowds = Field::new("is_crowd", DataType::Int32, true);
        let target = with_fields("target", |_| true, Some(crowds));
        let outputs = outputs(&[prediction(false), target], &line);
        let made = Detection::default().collect(&outputs).unwrap();
        assert_eq!(
            rows(&made.project(&[0, 1, 2, 4]).unwrap()),
            ["n_tp=1 n_fp=0 n_fn=0 true_boxes=[(70,1,-,-,-) (71,1,true,2,1.0000)]"]
        );
        let boxes = rows(&made.project(&[3]).unwrap()).remove(0);
        for expected in ["ignored,70", "tp,71"] {
            assert!(boxes.contains(expected), "{boxes}");
        }
    }

    #[test]
    fn ids_of_predictions_are_kept_and_the_columns_keep_their_meaning() {
        let one = json(r#""id":5,"label":1,"score":0.5"#, 0, 4);
        let line = format!(r#"{{"prediction":[{one}],"target":[{one}]}}"#);
        let made = Detection::default()
            .collect(&outputs(&[prediction(true), target()], &line))
            .unwrap();
        let text = rows(&made.project(&[4]).unwrap());
        assert_eq!(text, ["true_boxes=[(5,1,true,5,1.0000)]"]);
        let made = made.schema();
        assert_eq!(Role::of(made.field(3)), Some(Role::Boxes));
        for column in [3, 4] {
            let DataType::List(item) = made.field(column).data_type() else {
                unreachable!("boxes are a list")
            };
            let DataType::Struct(fields) = item.data_type() else {
                unreachable!("of structs")
            };
            let (_, label) = fields.find("label").unwrap();
            assert_eq!(schema::classes(label).unwrap()[1].name, "dog");
        }
    }

    #[test]
    fn bad_outputs_are_named() {
        let predicted = json(r#""label":1,"score":0.5"#, 0, 4);
        let real = json(r#""id":1,"label":1"#, 0, 4);
        let unlabelled = json(r#""score":0.5"#, 0, 4);
        let unrated = json(r#""label":1"#, 0, 4);
        let good = format!(r#"{{"prediction":[{predicted}],"target":[{real}]}}"#);
        let fields = [prediction(false), target()];
        for (second, expected) in [
            (
                format!(r#"{{"target":[{real}]}}"#),
                "\"prediction\" has no list for sample 1",
            ),
            (
                format!(r#"{{"prediction":[{predicted},{unlabelled}]}}"#),
                "box 1 of sample 1 of the batch has a null in column \"prediction\"",
            ),
            (
                format!(r#"{{"prediction":[{unrated}]}}"#),
                "box 0 of sample 1 of the batch has a null",
            ),
            (
                r#"{"prediction":[],"target":[null]}"#.to_owned(),
                "box 0 of sample 1 of the batch has a null in column \"target\"",
            ),
        ] {
            refused(
                &Detection::default(),
                &outputs(&fields, &format!("{good}\n{second}")),
                expected,
            );
        }
    }

    #[test]
    fn fields_that_are_missing_or_of_another_type_are_named() {
        let all = |field: &FieldRef| field.name() != "y_max";
        for (fields, expected) in [
            (
                [with_fields("prediction", |_| true, None), target()],
                "\"prediction\" have no field \"score\"",
            ),
            (
                [
                    prediction(false),
                    with_fields(
                        "target",
                        |_| true,
                        Some(Field::new("is_crowd", DataType::Utf8, true)),
                    ),
                ],
                "\"is_crowd\" of the boxes in column \"target\" is Utf8",
            ),
            (
                [prediction(false), with_fields("target", all, None)],
                "\"target\" have no field \"y_max\"",
            ),
            (
                [
                    prediction(false),
                    Field::new("target", DataType::Int32, true),
                ],
                "\"target\" is Int32; it must be lists of structs",
            ),
            (
                [
                    prediction(false),
                    Field::new("other", DataType::Int32, true),
                ],
                "no column \"target\"",
            ),
        ] {
            refused(
                &Detection::default(),
                &outputs(&fields, r#"{"prediction":[]}"#),
                expected,
            );
        }
    }

    #[test]
    fn a_least_overlap_is_a_share() {
        for wrong in [0.0, -1.0, 1.1, f64::NAN] {
            assert!(Detection::at(wrong).is_err());
        }
    }
}
