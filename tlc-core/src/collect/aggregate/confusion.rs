//! How often each class was taken for which.

use arrow::array::{Array as _, RecordBatch};
use arrow::datatypes::Int64Type;

use crate::collect::columns::{cast, column, share};
use crate::error::{Error, Result};

/// The most classes of a matrix, which then takes 2 GiB.
const N_CLASSES_MAX: usize = 16_384;

/// Counts of pairs of a true and a predicted class, and what follows from them.
///
/// Takes 8 bytes for each pair of classes. A pair is counted in constant time.
///
/// ```
/// use tlc_core::collect::ConfusionMatrix;
///
/// let mut epoch = ConfusionMatrix::new(2)?;
/// epoch.add(0, 0)?;
/// epoch.add(1, 0)?;
/// assert_eq!((epoch.accuracy(), epoch.iou(0), epoch.iou(1)), (Some(0.5), Some(0.5), Some(0.0)));
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfusionMatrix {
    n_classes: usize,
    /// A row of counts for each true class, with one for each predicted class.
    counts: Vec<u64>,
}

impl ConfusionMatrix {
    /// Nothing counted yet of the classes 0 to `n_classes - 1`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if there are none, or more than
    /// 16384.
    pub fn new(n_classes: usize) -> Result<Self> {
        check_classes(n_classes)?;
        Ok(Self {
            n_classes,
            counts: vec![0; n_classes * n_classes],
        })
    }

    /// Counts one sample.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if one of them is not a class.
    pub fn add(&mut self, class: usize, predicted: usize) -> Result<()> {
        let n_classes = self.n_classes;
        match [class, predicted].iter().find(|class| **class >= n_classes) {
            None => {
                self.tally(class, predicted);
                Ok(())
            }
            Some(other) => Err(Error::invalid(format!(
                "{other} is none of the {n_classes} classes of this confusion matrix"
            ))),
        }
    }

    /// Counts the samples of a batch from two of its columns, of any integer type. A sample is left
    /// out where one of them is null.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming a column that is missing or
    /// not of integers, or the sample of another class; then nothing of the batch is counted.
    pub fn add_columns(&mut self, batch: &RecordBatch, class: &str, predicted: &str) -> Result<()> {
        let read = |name: &str| {
            let column = column(batch, name)?;
            match column.data_type().is_integer() {
                true => cast::<Int64Type>(column, name),
                false => Err(Error::invalid(format!(
                    "column {name:?} is {}; it must be class indices",
                    column.data_type()
                ))),
            }
        };
        let (classes, predictions) = (read(class)?, read(predicted)?);
        let mut pairs = Vec::with_capacity(batch.num_rows());
        for (sample, pair) in classes.iter().zip(&predictions).enumerate() {
            let (Some(class), Some(predicted)) = pair else {
                continue;
            };
            let known = |class| {
                let class = usize::try_from(class).ok();
                class.filter(|class| *class < self.n_classes)
            };
            let (Some(class), Some(predicted)) = (known(class), known(predicted)) else {
                let n_classes = self.n_classes;
                return Err(Error::invalid(format!(
                    "sample {sample} of the batch has the class {class}, predicted as {predicted}, but \
                     there are {n_classes} classes, numbered from 0"
                )));
            };
            pairs.push((class, predicted));
        }
        for (class, predicted) in pairs {
            self.tally(class, predicted);
        }
        Ok(())
    }

    /// Counts a pair of classes; of a class that is none, nothing.
    pub(in crate::collect) fn tally(&mut self, class: usize, predicted: usize) {
        let position = self.position(class, predicted);
        if let Some(count) = position.and_then(|position| self.counts.get_mut(position)) {
            *count += 1;
        }
    }

    /// Adds what another matrix of the same classes counted.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if it is of another number of
    /// classes.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.n_classes != other.n_classes {
            return Err(Error::invalid(format!(
                "confusion matrices of {} and of {} classes cannot be merged",
                self.n_classes, other.n_classes
            )));
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        Ok(())
    }

    /// How many classes there are.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// How many pairs were counted.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How often the class was predicted as that; 0 for what is no class.
    #[must_use]
    pub fn count(&self, class: usize, predicted: usize) -> u64 {
        let position = self.position(class, predicted);
        let count = position.and_then(|position| self.counts.get(position));
        count.copied().unwrap_or(0)
    }

    /// The part that was predicted right; `None` if nothing was counted.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        let n_right = (0..self.n_classes).map(|class| self.count(class, class));
        part(n_right.sum(), self.n())
    }

    /// Of what was predicted as the class, the part that is; `None` if it never was.
    #[must_use]
    pub fn precision(&self, class: usize) -> Option<f64> {
        let area = self.area(class);
        part(area.both, area.predicted)
    }

    /// Of what is of the class, the part that was predicted so; `None` if nothing is.
    #[must_use]
    pub fn recall(&self, class: usize) -> Option<f64> {
        let area = self.area(class);
        part(area.both, area.real)
    }

    /// The intersection over union of a class (Jaccard 1912); `None` if it neither was nor was
    /// predicted.
    #[must_use]
    pub fn iou(&self, class: usize) -> Option<f64> {
        self.area(class).iou()
    }

    /// The coefficient of Dice (1945) of a class, which is its F1; `None` if it neither was nor was
    /// predicted.
    #[must_use]
    pub fn dice(&self, class: usize) -> Option<f64> {
        self.area(class).dice()
    }

    /// The mean of [`Self::iou`] over the classes that have one.
    #[must_use]
    pub fn mean_iou(&self) -> Option<f64> {
        mean(&self.areas(), Area::iou)
    }

    /// The mean of [`Self::dice`] over the classes that have one.
    #[must_use]
    pub fn mean_dice(&self) -> Option<f64> {
        mean(&self.areas(), Area::dice)
    }

    fn position(&self, class: usize, predicted: usize) -> Option<usize> {
        let are_known = class < self.n_classes && predicted < self.n_classes;
        are_known.then(|| class * self.n_classes + predicted)
    }

    fn areas(&self) -> Vec<Area> {
        (0..self.n_classes).map(|class| self.area(class)).collect()
    }

    fn area(&self, class: usize) -> Area {
        Area {
            predicted: (0..self.n_classes)
                .map(|other| self.count(other, class))
                .sum(),
            real: (0..self.n_classes)
                .map(|other| self.count(class, other))
                .sum(),
            both: self.count(class, class),
        }
    }
}

/// That a matrix of so many classes can be had.
pub(in crate::collect) fn check_classes(n_classes: usize) -> Result<()> {
    match (1..=N_CLASSES_MAX).contains(&n_classes) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "there must be 1 to {N_CLASSES_MAX} classes, not {n_classes}"
        ))),
    }
}

/// The numbers of pixels that a class was predicted for, that it has, and that are both.
#[derive(Clone, Copy, Default)]
pub(in crate::collect) struct Area {
    pub(in crate::collect) predicted: u64,
    pub(in crate::collect) real: u64,
    pub(in crate::collect) both: u64,
}

impl Area {
    /// The intersection as a part of the union; `None` if there is no such pixel.
    pub(in crate::collect) fn iou(&self) -> Option<f64> {
        let union = self.predicted + self.real - self.both;
        (union > 0).then(|| share(self.both, union))
    }

    /// Twice the intersection as a part of the sum; `None` if there is no such pixel.
    pub(in crate::collect) fn dice(&self) -> Option<f64> {
        let sum = self.predicted + self.real;
        (sum > 0).then(|| share(2 * self.both, sum))
    }
}

/// The mean over the classes that there are; `None` if there are none.
pub(in crate::collect) fn mean(areas: &[Area], of: fn(&Area) -> Option<f64>) -> Option<f64> {
    let values = areas.iter().filter_map(of);
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), value| (sum + value, n + 1.0));
    (n > 0.0).then(|| sum / n)
}

fn part(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| share(part, whole))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field};
    use proptest::prelude::*;

    use super::*;
    use crate::collect::cases::outputs;

    fn of(n_classes: usize, pairs: &[(usize, usize)]) -> ConfusionMatrix {
        let mut matrix = ConfusionMatrix::new(n_classes).unwrap();
        for (class, predicted) in pairs {
            matrix.add(*class, *predicted).unwrap();
        }
        matrix
    }

    #[test]
    fn the_values_are_those_of_the_definitions() {
        let matrix = of(4, &[(0, 0), (0, 0), (0, 1), (1, 1), (2, 1), (2, 0)]);
        assert_eq!((matrix.n_classes(), matrix.n()), (4, 6));
        assert_eq!(matrix.accuracy(), Some(0.5));
        let of_classes = |of: fn(&ConfusionMatrix, usize) -> Option<f64>| {
            [0, 1, 2, 3, 9].map(|class| of(&matrix, class))
        };
        let third = 1.0 / 3.0;
        assert_eq!(
            of_classes(ConfusionMatrix::precision),
            [Some(2.0 * third), Some(third), None, None, None]
        );
        assert_eq!(
            of_classes(ConfusionMatrix::recall),
            [Some(2.0 * third), Some(1.0), Some(0.0), None, None]
        );
        assert_eq!(
            of_classes(ConfusionMatrix::iou),
            [Some(0.5), Some(third), Some(0.0), None, None]
        );
        assert_eq!(
            of_classes(ConfusionMatrix::dice),
            [Some(2.0 * third), Some(0.5), Some(0.0), None, None]
        );
        assert!((matrix.mean_iou().unwrap() - 5.0 / 18.0).abs() < 1e-12);
        assert!((matrix.mean_dice().unwrap() - 7.0 / 18.0).abs() < 1e-12);
        assert_eq!(
            (matrix.count(2, 1), matrix.count(0, 4), matrix.count(9, 0)),
            (1, 0, 0)
        );
    }

    #[test]
    fn nothing_counted_has_no_values() {
        let empty = ConfusionMatrix::new(2).unwrap();
        assert_eq!(
            [
                empty.accuracy(),
                empty.iou(0),
                empty.mean_iou(),
                empty.mean_dice()
            ],
            [None; 4]
        );
    }

    #[test]
    fn columns_are_counted_whole_or_not_at_all() {
        let fields = ["label", "predicted"].map(|name| Field::new(name, DataType::Int16, true));
        let good = outputs(
            &fields,
            r#"{"label":1,"predicted":0} {"label":1} {"predicted":1} {"label":0,"predicted":0}"#,
        );
        let mut matrix = ConfusionMatrix::new(2).unwrap();
        matrix.add_columns(&good, "label", "predicted").unwrap();
        assert_eq!(matrix, of(2, &[(1, 0), (0, 0)]));
        for (lines, expected) in [
            (
                r#"{"label":1,"predicted":1} {"label":1,"predicted":2}"#,
                "sample 1 of the batch has the class 1, predicted as 2",
            ),
            (
                r#"{"label":-1,"predicted":1}"#,
                "sample 0 of the batch has the class -1",
            ),
        ] {
            let err = matrix
                .add_columns(&outputs(&fields, lines), "label", "predicted")
                .unwrap_err();
            assert!(err.to_string().contains(expected), "{err}");
            assert_eq!(matrix.n(), 2);
        }
        let err = matrix.add_columns(&good, "label", "guess").unwrap_err();
        assert!(err.to_string().contains("\"guess\""), "{err}");
        let float = outputs(
            &[Field::new("label", DataType::Float32, true)],
            r#"{"label":1}"#,
        );
        let err = matrix.add_columns(&float, "label", "label").unwrap_err();
        assert!(err.to_string().contains("\"label\" is Float32"), "{err}");
    }

    #[test]
    fn other_classes_are_refused() {
        assert!(
            ConfusionMatrix::new(0).is_err() && ConfusionMatrix::new(N_CLASSES_MAX + 1).is_err()
        );
        let mut two = ConfusionMatrix::new(2).unwrap();
        assert!(two.add(2, 0).is_err() && two.add(0, 2).is_err());
        assert!(two.merge(&ConfusionMatrix::new(3).unwrap()).is_err());
        assert_eq!(two.n(), 0);
    }

    proptest! {
        #[test]
        fn parts_merged_are_the_whole(
            pairs in prop::collection::vec((0_usize..3, 0_usize..3), 0..60),
            cuts in (0_usize..60, 0_usize..60),
        ) {
            let (low, high) = (cuts.0.min(cuts.1).min(pairs.len()), cuts.0.max(cuts.1).min(pairs.len()));
            let [a, b, c] = [&pairs[..low], &pairs[low..high], &pairs[high..]].map(|part| of(3, part));
            let merged = |mut first: ConfusionMatrix, second: &ConfusionMatrix| {
                first.merge(second).unwrap();
                first
            };
            let whole = of(3, &pairs);
            prop_assert_eq!(&merged(merged(a.clone(), &b), &c), &whole);
            prop_assert_eq!(&merged(c.clone(), &merged(b, &a)), &whole);
        }
    }
}
