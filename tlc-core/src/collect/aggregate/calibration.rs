//! Whether a model is right as often as it is sure.

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};

use crate::collect::columns::{cast, column, share};
use crate::error::{Error, Result};

/// The most bins.
const N_BINS_MAX: usize = 65_536;

/// Confidences in bins, each with how often the model was right: the expected calibration error.
///
/// The bins are of equal width, closed above: bin `i` of `m` holds the confidences over `i / m` and
/// up to `(i + 1) / m`, and the first holds 0 too. Takes 24 bytes a bin; a sample is added in
/// constant time.
///
/// ```
/// use tlc_core::collect::Calibration;
///
/// let mut epoch = Calibration::new(15)?;
/// epoch.add(0.9, true)?;
/// epoch.add(0.9, false)?;
/// assert!((epoch.expected_error().unwrap_or_default() - 0.4).abs() < 1e-12);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    bins: Vec<CalibrationBin>,
    n_nan: u64,
}

/// The samples whose confidence is in one range.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CalibrationBin {
    /// How many there are.
    pub n: u64,
    /// How many of them the model was right about.
    pub n_correct: u64,
    /// The sum of their confidences.
    pub confidence_sum: f64,
}

impl CalibrationBin {
    /// The part that the model was right about; `None` if the bin is empty.
    #[must_use]
    pub fn accuracy(&self) -> Option<f64> {
        (self.n > 0).then(|| share(self.n_correct, self.n))
    }

    /// The mean confidence; `None` if the bin is empty.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "the number of samples of an epoch is far below 2^53"
    )]
    pub fn confidence(&self) -> Option<f64> {
        (self.n > 0).then(|| self.confidence_sum / self.n as f64)
    }

    /// How far accuracy and confidence are apart; `None` if the bin is empty.
    #[must_use]
    pub fn gap(&self) -> Option<f64> {
        Some((self.accuracy()? - self.confidence()?).abs())
    }
}

impl Calibration {
    /// Nothing counted yet, in `n_bins` bins. 15 are usual.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if there are none, or more than
    /// 65536.
    pub fn new(n_bins: usize) -> Result<Self> {
        match (1..=N_BINS_MAX).contains(&n_bins) {
            true => Ok(Self {
                bins: vec![CalibrationBin::default(); n_bins],
                n_nan: 0,
            }),
            false => Err(Error::invalid(format!(
                "a calibration has 1 to {N_BINS_MAX} bins, not {n_bins}"
            ))),
        }
    }

    /// Adds one sample. A confidence of NaN is counted apart and is part of nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if the confidence is not in 0…1.
    pub fn add(&mut self, confidence: f64, is_correct: bool) -> Result<()> {
        check(confidence)?;
        self.tally(confidence, is_correct);
        Ok(())
    }

    /// Adds the samples of a batch from two of its columns, floats and Booleans, such as
    /// `confidence` and `correct` of [`Classification`](crate::collect::Classification). A sample
    /// is left out where one of them is null.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) naming a column that is missing or
    /// of another type, or the sample of a confidence not in 0…1; then nothing of the batch is
    /// added.
    pub fn add_columns(
        &mut self,
        batch: &RecordBatch,
        confidence: &str,
        correct: &str,
    ) -> Result<()> {
        let (confidences, corrects) = (column(batch, confidence)?, column(batch, correct)?);
        for (name, column, is_right) in [
            (
                confidence,
                confidences,
                confidences.data_type().is_floating(),
            ),
            (
                correct,
                corrects,
                *corrects.data_type() == DataType::Boolean,
            ),
        ] {
            if !is_right {
                return Err(Error::invalid(format!(
                    "column {name:?} is {}; a calibration needs confidences as floats, and Booleans",
                    column.data_type()
                )));
            }
        }
        let confidences = cast::<Float64Type>(confidences, confidence)?;
        let pairs = || confidences.iter().zip(corrects.as_boolean());
        for (sample, pair) in pairs().enumerate() {
            if let (Some(confidence), Some(_)) = pair {
                check(confidence).map_err(|err| err.context(format!(
                    "sample {sample} of the batch has the confidence {confidence}, which is not in 0…1"
                )))?;
            }
        }
        for pair in pairs() {
            if let (Some(confidence), Some(is_correct)) = pair {
                self.tally(confidence, is_correct);
            }
        }
        Ok(())
    }

    /// Adds what another one of as many bins saw.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) if it is of another number of bins.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        if self.bins.len() != other.bins.len() {
            return Err(Error::invalid(format!(
                "calibrations of {} and of {} bins cannot be merged",
                self.bins.len(),
                other.bins.len()
            )));
        }
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.n += more.n;
            bin.n_correct += more.n_correct;
            bin.confidence_sum += more.confidence_sum;
        }
        self.n_nan += other.n_nan;
        Ok(())
    }

    /// How many samples were added, those without a confidence apart.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.bins.iter().map(|bin| bin.n).sum()
    }

    /// How many had a confidence of NaN.
    #[must_use]
    pub fn n_nan(&self) -> u64 {
        self.n_nan
    }

    /// The bins in order: a reliability diagram.
    #[must_use]
    pub fn bins(&self) -> &[CalibrationBin] {
        &self.bins
    }

    /// The expected calibration error: the mean of [`CalibrationBin::gap`] over the samples
    /// (Naeini, Cooper and Hauskrecht 2015; Guo et al., "On Calibration of Modern Neural Networks",
    /// 2017). `None` of nothing.
    #[must_use]
    pub fn expected_error(&self) -> Option<f64> {
        let n = self.n();
        let gaps = self.bins.iter();
        let gaps = gaps.filter_map(|bin| Some(bin.gap()? * share(bin.n, n)));
        (n > 0).then(|| gaps.sum())
    }

    /// The largest gap of a bin; `None` of nothing.
    #[must_use]
    pub fn max_error(&self) -> Option<f64> {
        self.bins
            .iter()
            .filter_map(CalibrationBin::gap)
            .reduce(f64::max)
    }

    fn tally(&mut self, confidence: f64, is_correct: bool) {
        if confidence.is_nan() {
            self.n_nan += 1;
            return;
        }
        let bin = bin(confidence, self.bins.len());
        if let Some(bin) = self.bins.get_mut(bin) {
            bin.n += 1;
            bin.n_correct += u64::from(is_correct);
            bin.confidence_sum += confidence;
        }
    }
}

fn check(confidence: f64) -> Result<()> {
    match confidence.is_nan() || (0.0..=1.0).contains(&confidence) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "a confidence is between 0 and 1, not {confidence}"
        ))),
    }
}

/// The position of the bin.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "there are few bins, and a confidence is in 0…1"
)]
fn bin(confidence: f64, n_bins: usize) -> usize {
    let end = (confidence * n_bins as f64).ceil() as usize;
    end.saturating_sub(1).min(n_bins - 1)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::Field;
    use proptest::prelude::*;

    use super::*;
    use crate::collect::cases::outputs;

    fn of(n_bins: usize, samples: &[(f64, bool)]) -> Calibration {
        let mut calibration = Calibration::new(n_bins).unwrap();
        for (confidence, is_correct) in samples {
            calibration.add(*confidence, *is_correct).unwrap();
        }
        calibration
    }

    #[test]
    fn the_errors_are_those_of_the_definitions() {
        for (n_bins, samples, expected) in [
            (4, &[][..], None),
            (4, &[(1.0, true), (1.0, true)], Some((0.0, 0.0))),
            (4, &[(1.0, false)], Some((1.0, 1.0))),
            (4, &[(0.0, false), (0.0, true)], Some((0.5, 0.5))),
            // Gaps of 0.4 for two samples, and of 0.25 for one.
            (
                2,
                &[(0.9, true), (0.9, false), (0.25, false)],
                Some((1.05 / 3.0, 0.4)),
            ),
            // One bin: accuracy 1/3, mean confidence 2.05/3.
            (
                1,
                &[(0.9, true), (0.9, false), (0.25, false)],
                Some((0.35, 0.35)),
            ),
            (2, &[(f64::NAN, true), (0.75, true)], Some((0.25, 0.25))),
        ] {
            let calibration = of(n_bins, samples);
            let found = calibration.expected_error().zip(calibration.max_error());
            let is_near = match (found, expected) {
                (Some(a), Some(b)) => (a.0 - b.0).abs() < 1e-12 && (a.1 - b.1).abs() < 1e-12,
                _ => found == expected,
            };
            assert!(is_near, "{samples:?}: {found:?}");
        }
    }

    #[test]
    fn a_bin_holds_its_upper_bound() {
        for (confidence, expected) in [
            (0.0, 0),
            (0.2, 0),
            (0.25, 0),
            (0.26, 1),
            (0.5, 1),
            (0.75, 2),
            (0.76, 3),
            (1.0, 3),
        ] {
            assert_eq!(bin(confidence, 4), expected, "{confidence}");
        }
    }

    #[test]
    fn columns_are_added_whole_or_not_at_all() {
        let fields = [
            Field::new("confidence", DataType::Float32, true),
            Field::new("correct", DataType::Boolean, true),
        ];
        let good = outputs(
            &fields,
            r#"{"confidence":0.5,"correct":true} {"correct":true} {"confidence":0.5}
               {"confidence":"NaN","correct":false}"#,
        );
        let mut calibration = Calibration::new(3).unwrap();
        calibration
            .add_columns(&good, "confidence", "correct")
            .unwrap();
        assert_eq!((calibration.n(), calibration.n_nan()), (1, 1));
        let bad = outputs(
            &fields,
            r#"{"confidence":0.5,"correct":true} {"confidence":1.5,"correct":true}"#,
        );
        for (batch, names, expected) in [
            (
                &bad,
                ["confidence", "correct"],
                "sample 1 of the batch has the confidence 1.5",
            ),
            (&good, ["confidence", "right"], "\"right\""),
            (&good, ["correct", "correct"], "\"correct\" is Boolean"),
            (
                &good,
                ["confidence", "confidence"],
                "\"confidence\" is Float32",
            ),
        ] {
            let err = calibration
                .add_columns(batch, names[0], names[1])
                .unwrap_err();
            assert!(err.to_string().contains(expected), "{err}");
            assert_eq!(calibration.n(), 1);
        }
    }

    #[test]
    fn what_is_no_probability_and_other_bins_are_refused() {
        let mut calibration = Calibration::new(2).unwrap();
        for wrong in [-0.1, 1.1, f64::INFINITY] {
            assert!(calibration.add(wrong, true).is_err());
        }
        assert!(calibration.merge(&Calibration::new(3).unwrap()).is_err());
        assert!(Calibration::new(0).is_err() && Calibration::new(N_BINS_MAX + 1).is_err());
    }

    proptest! {
        #[test]
        fn parts_merged_are_the_whole_and_the_error_is_the_plain_definition(
            samples in prop::collection::vec((0.0..=1.0_f64, any::<bool>()), 1..60),
            cut in 0_usize..60,
        ) {
            let whole = of(7, &samples);
            let (a, b) = samples.split_at(cut.min(samples.len()));
            for (first, second) in [(a, b), (b, a)] {
                let mut parts = of(7, first);
                parts.merge(&of(7, second)).unwrap();
                for (bin, other) in parts.bins().iter().zip(whole.bins()) {
                    prop_assert_eq!((bin.n, bin.n_correct), (other.n, other.n_correct));
                    prop_assert!((bin.confidence_sum - other.confidence_sum).abs() < 1e-9);
                }
            }
            let mut error = 0.0;
            for i in 0..7_u8 {
                let (low, high) = (f64::from(i) / 7.0, f64::from(i + 1) / 7.0);
                let inside = samples.iter().filter(|(p, _)| *p <= high && (*p > low || i == 0));
                error += inside.map(|(p, is)| f64::from(u8::from(*is)) - p).sum::<f64>().abs();
            }
            let error = error / f64::from(u8::try_from(samples.len()).unwrap());
            prop_assert!((whole.expected_error().unwrap() - error).abs() < 1e-9);
        }
    }
}
