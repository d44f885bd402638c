//! Sample metrics: 50,000 samples over epochs, each with a loss, a predicted class, a confidence and an
//! embedding of 64 floats. In each epoch they come in another order.

use std::sync::Arc;

use tlc_core::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, UInt64Array};
use tlc_core::arrow::datatypes::{DataType, Field};

use super::hash::{hash, unit};

pub(crate) const SAMPLES: u64 = 50_000;
pub(crate) const EPOCHS: u64 = 20;
const CLASSES: u64 = 10;
const WIDTH: u64 = 64;
const BATCH: usize = 256;

/// Some samples of an epoch, as a training loop has them: their ids, and what was computed.
pub(crate) struct Batch {
    pub(crate) ids: UInt64Array,
    pub(crate) columns: [(&'static str, ArrayRef); 4],
}

/// The batches of an epoch.
pub(crate) fn epoch(epoch: u64) -> Vec<Batch> {
    let order = (0..SAMPLES).map(|at| (at * 48_271 + epoch * 7) % SAMPLES);
    let order: Vec<u64> = order.collect();
    let batches = order.chunks(BATCH).map(|ids| batch(epoch, ids));
    batches.collect()
}

/// The class that a sample is of.
pub(crate) fn label(id: u64) -> i32 {
    i32::try_from(hash(3000, id) % CLASSES).unwrap()
}

fn batch(epoch: u64, ids: &[u64]) -> Batch {
    let cells = || ids.iter().map(|id| epoch * SAMPLES + id);
    let losses = ids.iter().map(|id| loss(epoch, *id));
    let classes = ids.iter().map(|id| predicted(epoch, *id));
    let confidences = cells().map(|cell| unit(3004, cell) as f32);
    let vectors = cells()
        .flat_map(|cell| cell * WIDTH..(cell + 1) * WIDTH)
        .map(|at| unit(3006, at) as f32 - 0.5);
    let item = Arc::new(Field::new_list_field(DataType::Float32, true));
    let width = i32::try_from(WIDTH).unwrap();
    let vectors = Arc::new(Float32Array::from_iter_values(vectors));
    let vectors = FixedSizeListArray::try_new(item, width, vectors, None).unwrap();
    Batch {
        ids: ids.to_vec().into(),
        columns: [
            ("loss", Arc::new(Float32Array::from_iter_values(losses))),
            ("predicted", Arc::new(Int32Array::from_iter_values(classes))),
            (
                "confidence",
                Arc::new(Float32Array::from_iter_values(confidences)),
            ),
            ("embedding", Arc::new(vectors)),
        ],
    }
}

/// It falls over the epochs, for some samples more than for others.
fn loss(epoch: u64, id: u64) -> f32 {
    let spread = 1.0 + 2.0 * unit(3005, id);
    let drawn = -(1.0 - unit(3001, epoch * SAMPLES + id)).ln();
    (drawn * spread * (-(epoch as f64) / 10.0).exp()) as f32
}

/// More often right in later epochs.
fn predicted(epoch: u64, id: u64) -> i32 {
    let cell = epoch * SAMPLES + id;
    match unit(3002, cell) < 0.3 + 0.6 * epoch as f64 / EPOCHS as f64 {
        true => label(id),
        false => i32::try_from(hash(3003, cell) % CLASSES).unwrap(),
    }
}
