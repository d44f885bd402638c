//! Aggregates of an epoch, one value or one batch at a time, in memory that does not grow with it.
//!
//! Each can be merged with another of its kind, in any order and grouping: threads, and the ranks
//! of a training program on many machines, each keep their own and bring them together at the end.
//! What is counted is then the same to the last bit; sums of floats, and what is computed from
//! them, are the same but for rounding.

mod calibration;
mod confusion;
mod quantiles;
mod summary;

pub use self::calibration::{Calibration, CalibrationBin};
pub use self::confusion::ConfusionMatrix;
pub(super) use self::confusion::{Area, check_classes, mean};
pub use self::quantiles::Quantiles;
pub use self::summary::Summary;
