//! Sample metrics of a model that gives each pixel a class.

use arrow::array::{Float32Builder, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};

use super::aggregate::{Area, check_classes, mean};
use super::columns::{Lists, metric, narrow, record, same_length, share};
use super::{Collector, ConfusionMatrix};
use crate::error::{Error, Result};

/// How well the predicted mask of each sample covers the true one.
///
/// Needs the columns `prediction` and `target`: lists of class indices of any integer type, one for
/// each pixel, in the same order. With `P` and `T` the pixels where a class was predicted and where
/// it is, it makes these columns:
///
/// | column | type | value |
/// |---|---|---|
/// | `pixel_accuracy` | Float32 | the pixels of the right class, of all |
/// | `mean_iou` | Float32 | the mean of `n(P ∩ T) / n(P ∪ T)` over the classes that the sample's prediction or target has (Jaccard 1912) |
/// | `dice` | Float32 | the mean of `2 n(P ∩ T) / (n(P) + n(T))` over the same classes (Dice 1945) |
///
/// Pixels whose target is null or the class to ignore are in neither set. A sample without a
/// target, or with nothing but pixels to ignore, has nulls.
///
/// Means of these are means over samples. The usual mean IoU of an epoch counts the pixels of all
/// samples together, as in Long, Shelhamer and Darrell, "Fully Convolutional Networks" (2015):
/// [`Self::confusion`] gives the counts of a batch, which can be merged.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if a column is missing or of another
/// type, a prediction is null, the masks of a sample are of different sizes, or a pixel's class is
/// none of the classes; the message names the column or the sample's position.
///
/// ```
/// use tlc_core::collect::Segmentation;
///
/// let collector = Segmentation::new(21)?.ignoring(255);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Segmentation {
    n_classes: usize,
    ignored: Option<i32>,
}

impl Segmentation {
    /// Masks of the classes 0 to `n_classes - 1`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if there are none, or more than
    /// 16384.
    pub fn new(n_classes: usize) -> Result<Self> {
        check_classes(n_classes)?;
        Ok(Self {
            n_classes,
            ignored: None,
        })
    }

    /// Leaves out the pixels whose target is `class`, whatever was predicted there.
    #[must_use]
    pub fn ignoring(mut self, class: i32) -> Self {
        self.ignored = Some(class);
        self
    }

    /// How often each class was predicted where another is, over all pixels of a batch of outputs.
    ///
    /// # Errors
    /// Those of the collector.
    pub fn confusion(&self, outputs: &RecordBatch) -> Result<ConfusionMatrix> {
        let mut confusion = ConfusionMatrix::new(self.n_classes)?;
        let masks = Masks::read(outputs)?;
        for sample in 0..outputs.num_rows() {
            masks.pixels(*self, sample, |predicted, class| {
                confusion.tally(class, predicted);
            })?;
        }
        Ok(confusion)
    }
}

impl Collector for Segmentation {
    fn collect(&self, outputs: &RecordBatch) -> Result<RecordBatch> {
        let masks = Masks::read(outputs)?;
        let mut accuracy = Float32Builder::new();
        let mut mean_iou = Float32Builder::new();
        let mut dice = Float32Builder::new();
        for sample in 0..outputs.num_rows() {
            let mut areas = vec![Area::default(); self.n_classes];
            masks.pixels(*self, sample, |predicted, class| {
                if let Some(area) = areas.get_mut(predicted) {
                    area.predicted += 1;
                    area.both += u64::from(predicted == class);
                }
                if let Some(area) = areas.get_mut(class) {
                    area.real += 1;
                }
            })?;
            let n_pixels = areas.iter().map(|area| area.real).sum::<u64>();
            let n_right = areas.iter().map(|area| area.both).sum::<u64>();
            accuracy.append_option((n_pixels > 0).then(|| narrow(share(n_right, n_pixels))));
            mean_iou.append_option(mean(&areas, Area::iou).map(narrow));
            dice.append_option(mean(&areas, Area::dice).map(narrow));
        }
        record(vec![
            metric("pixel_accuracy", accuracy.finish()),
            metric("mean_iou", mean_iou.finish()),
            metric("dice", dice.finish()),
        ])
    }

    fn scalars(&self) -> &[(&'static str, &'static str)] {
        &[
            ("pixel_accuracy", "pixel_accuracy"),
            ("mean_iou", "mean_iou"),
            ("dice", "dice"),
        ]
    }
}

struct Masks {
    predictions: Lists<Int32Type>,
    targets: Lists<Int32Type>,
}

impl Masks {
    fn read(outputs: &RecordBatch) -> Result<Self> {
        let read = |name| Lists::read(outputs, name, DataType::is_integer, "class indices");
        Ok(Self {
            predictions: read("prediction")?,
            targets: read("target")?,
        })
    }

    /// Gives the predicted and the true class of each pixel of a sample that is not ignored.
    fn pixels(
        &self,
        masks: Segmentation,
        sample: usize,
        mut pixel: impl FnMut(usize, usize),
    ) -> Result<()> {
        let prediction = self.predictions.required(sample)?;
        let Some(target) = self.targets.get(sample) else {
            return Ok(());
        };
        same_length(sample, prediction.len(), target.len())?;
        for (position, (predicted, class)) in prediction.iter().zip(target).enumerate() {
            if Some(*class) == masks.ignored || self.targets.is_null(sample, position) {
                continue;
            }
            let known = |class: i32| {
                usize::try_from(class)
                    .ok()
                    .filter(|class| *class < masks.n_classes)
            };
            let (Some(predicted), Some(class)) = (known(*predicted), known(*class)) else {
                let n_classes = masks.n_classes;
                return Err(Error::invalid(format!(
                    "pixel {position} of sample {sample} of the batch has the class {class}, predicted as \
                     {predicted}, but there are {n_classes} classes, numbered from 0"
                )));
            };
            pixel(predicted, class);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::cases::{check, list, lists_of, outputs, refused, rows};
    use super::*;

    fn batch(lines: &str) -> RecordBatch {
        let fields = [
            lists_of("prediction", DataType::UInt8, 4),
            list("target", DataType::Int64),
        ];
        outputs(&fields, lines)
    }

    #[test]
    fn the_values_are_those_of_the_definitions() {
        // Of the third: class 0 has 1 of 2 and 2/3, class 1 has 2 of 3 and 4/5.
        let batch = batch(
            r#"{"prediction":[0,1,2,0],"target":[0,1,2,0]}
               {"prediction":[1,1,1,1],"target":[0,0,0,0]}
               {"prediction":[0,1,1,1],"target":[0,0,1,1]}
               {"prediction":[1,1,1,1],"target":[1,1,1,1]}
               {"prediction":[0,2,1,1],"target":[0,9,1,1]}
               {"prediction":[0,2,1,1],"target":[0,null,1,1]}
               {"prediction":[7,7,7,7],"target":[9,9,9,9]}
               {"prediction":[0,0,0,0]}"#,
        );
        check(
            &Segmentation::new(3).unwrap().ignoring(9),
            &batch,
            &[
                "pixel_accuracy=1.0000 mean_iou=1.0000 dice=1.0000",
                "pixel_accuracy=0.0000 mean_iou=0.0000 dice=0.0000",
                "pixel_accuracy=0.7500 mean_iou=0.5833 dice=0.7333",
                "pixel_accuracy=1.0000 mean_iou=1.0000 dice=1.0000",
                "pixel_accuracy=1.0000 mean_iou=1.0000 dice=1.0000",
                "pixel_accuracy=1.0000 mean_iou=1.0000 dice=1.0000",
                "pixel_accuracy=- mean_iou=- dice=-",
                "pixel_accuracy=- mean_iou=- dice=-",
            ],
        );
    }

    #[test]
    fn masks_without_pixels_have_no_metrics() {
        let fields = [
            list("prediction", DataType::Int32),
            list("target", DataType::Int32),
        ];
        let empty = outputs(&fields, r#"{"prediction":[],"target":[]}"#);
        check(
            &Segmentation::new(1).unwrap(),
            &empty,
            &["pixel_accuracy=- mean_iou=- dice=-"],
        );
    }

    #[test]
    fn a_mask_of_two_dimensions_may_be_lists_in_lists() {
        let row = lists_of("item", DataType::UInt8, 2);
        let fields = ["prediction", "target"].map(|name| list(name, row.data_type().clone()));
        let lines = r#"{"prediction":[[0,1],[1,1]],"target":[[0,0],[1,1]]}
                       {"prediction":[[1,1]],"target":[[1,1]]}"#;
        check(
            &Segmentation::new(2).unwrap(),
            &outputs(&fields, lines),
            &[
                "pixel_accuracy=0.7500 mean_iou=0.5833 dice=0.7333",
                "pixel_accuracy=1.0000 mean_iou=1.0000 dice=1.0000",
            ],
        );
    }

    #[test]
    fn bad_outputs_are_named() {
        let one = r#"{"prediction":[0,0,0,0],"target":[0,0,0,0]}"#;
        for (second, expected) in [
            (
                r#"{"prediction":[0,0,0,0],"target":[0,0,0]}"#,
                "sample 1 of the batch has 4 predicted values, but 3",
            ),
            (
                r#"{"prediction":[0,0,3,0],"target":[0,0,1,0]}"#,
                "pixel 2 of sample 1 of the batch has the class 1, predicted as 3",
            ),
            (
                r#"{"prediction":[0,0,0,0],"target":[0,-1,1,0]}"#,
                "pixel 1 of sample 1 of the batch has the class -1",
            ),
            (
                r#"{"prediction":[0,0,0,0],"target":[0,9999999999,1,0]}"#,
                "column \"target\" holds a value that is no Int32",
            ),
            (
                r#"{"prediction":[0,null,0,0],"target":[0,1,1,0]}"#,
                "\"prediction\" has no value at 1 in the list of sample 1",
            ),
            (
                r#"{"target":[0,1,1,0]}"#,
                "\"prediction\" has no values for sample 1",
            ),
        ] {
            refused(
                &Segmentation::new(3).unwrap(),
                &batch(&format!("{one}\n{second}")),
                expected,
            );
        }
        let flat = outputs(
            &[list("prediction", DataType::Float32)],
            r#"{"prediction":[1.5]}"#,
        );
        refused(
            &Segmentation::new(3).unwrap(),
            &flat,
            "it must be lists of class indices",
        );
    }

    #[test]
    fn the_confusion_of_a_batch_counts_the_pixels_of_all_samples() {
        let batch = batch(
            r#"{"prediction":[0,1,1,1],"target":[0,0,1,1]}
               {"prediction":[1,1,1,1],"target":[1,1,9,9]}
               {"prediction":[1,1,1,1]}"#,
        );
        let confusion = Segmentation::new(3)
            .unwrap()
            .ignoring(9)
            .confusion(&batch)
            .unwrap();
        let counts = [(0, 0, 1), (0, 1, 1), (1, 0, 0), (1, 1, 4)];
        for (class, predicted, n) in counts {
            assert_eq!(
                confusion.count(class, predicted),
                n,
                "{class} as {predicted}"
            );
        }
        assert_eq!(confusion.n(), 6);
        assert_eq!(
            [confusion.iou(0), confusion.iou(1), confusion.iou(2)],
            [Some(0.5), Some(0.8), None]
        );
        assert!((confusion.mean_iou().unwrap() - 0.65).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn iou_and_dice_are_those_of_the_sets_of_pixels(
            pixels in prop::collection::vec((0_i32..4, 0_i32..4), 1..40),
        ) {
            let (mut ious, mut dices) = (Vec::new(), Vec::new());
            let set = |of: &dyn Fn(&(i32, i32)) -> bool| -> BTreeSet<usize> {
                (0..pixels.len()).filter(|at| of(&pixels[*at])).collect()
            };
            let size = |set: &BTreeSet<usize>| f64::from(u8::try_from(set.len()).unwrap());
            for class in 0..4 {
                let (p, t) = (set(&|pixel| pixel.0 == class), set(&|pixel| pixel.1 == class));
                if !p.is_empty() || !t.is_empty() {
                    ious.push(size(&(&p & &t)) / size(&(&p | &t)));
                    dices.push(2.0 * size(&(&p & &t)) / (size(&p) + size(&t)));
                }
            }
            let mean = |values: &[f64]| values.iter().sum::<f64>() / f64::from(u8::try_from(values.len()).unwrap());
            let (prediction, target): (Vec<i32>, Vec<i32>) = pixels.iter().copied().unzip();
            let fields = ["prediction", "target"].map(|name| list(name, DataType::Int32));
            let line = format!(r#"{{"prediction":{prediction:?},"target":{target:?}}}"#);
            let made = Segmentation::new(4).unwrap().collect(&outputs(&fields, &line)).unwrap();
            let expected = format!("mean_iou={:.4} dice={:.4}", narrow(mean(&ious)), narrow(mean(&dices)));
            prop_assert_eq!(&rows(&made.project(&[1, 2]).unwrap())[0], &expected);
        }
    }
}
