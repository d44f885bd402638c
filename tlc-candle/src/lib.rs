//! Tables as Candle tensors, and Candle tensors as metrics of single samples.
//!
//! Two things stand between `tlc_core`, which knows Arrow and never a tensor, and a training loop in
//! Candle. [`Loader`] gives batches of tensors with the ids of their rows. [`RunExt`] takes tensors
//! back: one line in the loop logs what the model thought of every sample, and the curves of loss
//! and accuracy with it. [`Taps`] bring out what single layers put out, as embeddings. [`ModelExt`] keeps
//! models as artifacts of a project, and loads them by name. [`to_arrow`] is
//! there for programs that want to do this by themselves.
//!
//! The lines marked below are what a plain Candle loop gains; the rest is the loop.
//!
//! ```
//! # use std::sync::Arc;
//! # use tlc_core::arrow::array::{Float32Array, Int32Array, RecordBatch, RecordBatchIterator};
//! # use tlc_core::arrow::datatypes::{DataType, Field, Schema};
//! use candle_core::{DType, Device};
//! use candle_nn::{Module as _, Optimizer as _, SGD, VarBuilder, VarMap, linear, loss::cross_entropy};
//! use tlc_candle::{Loader, RunExt as _};
//! use tlc_core::collect::Classification;
//! use tlc_core::{CommitOptions, Project, block_on, schema};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let project = block_on(Project::open("memory:///", "demo"))?;
//! # let x = Arc::new(Float32Array::from_iter_values((0..64).map(|n| n as f32 / 32.0 - 1.0)));
//! # let label = Arc::new(Int32Array::from_iter_values((0..64).map(|n| i32::from(n >= 32))));
//! # let columns = Schema::new(vec![Field::new("x", DataType::Float32, true), schema::label("side", ["left", "right"])]);
//! # let rows = RecordBatch::try_new(Arc::new(columns), vec![x, label])?;
//! # let columns = rows.schema();
//! # let rows = RecordBatchIterator::new([Ok(rows)], columns);
//! let table = block_on(project.create_table("train", rows, CommitOptions::new("import")))?;
//! let device = Device::Cpu;
//! let weights = VarMap::new();
//! let model = linear(1, 2, VarBuilder::from_varmap(&weights, DType::F32, &device))?;
//! let mut optimizer = SGD::new(weights.all_vars(), 0.5)?;
//!
//! let run = project.start_run("first")?; // 1
//! let loader = Loader::new(&block_on(table.head())?, &device).batch_size(16).shuffle(7).run(&run, "train")?;
//! for epoch in 0..12 {
//!     for batch in loader.epoch(epoch) {
//!         let batch = batch?;
//!         let (x, label) = (batch.tensor("x")?.unsqueeze(1)?, batch.tensor("side")?);
//!         let logits = model.forward(&x)?;
//!         optimizer.backward_step(&cross_entropy(&logits, &label)?)?;
//!         run.collect_tensors(&batch, &Classification, &[("logits", &logits), ("label", &label)])?; // 2
//!     }
//! }
//! let record = run.finish()?; // 3
//! assert!(record.last["train/accuracy"] > 0.5);
//! # Ok(())
//! # }
//! ```
//!
//! # Errors
//! Every call here fails with [`tlc_core::Error`], its source being Candle's where Candle failed. A
//! function that uses `?` on both returns `Box<dyn Error>`, as above, or what `anyhow` offers; one
//! that must return Candle's own maps ours by `.map_err(candle_core::Error::wrap)`.

mod collect;
mod loader;
mod model;
mod taps;

pub use candle_core;

pub use self::collect::{RunExt, to_arrow, to_record};
pub use self::loader::{Batch, Epoch, Loader, to_tensor};
pub use self::model::{ModelExt, to_tensors};
pub use self::taps::{Layer, Taps};

/// The code in the README, which compiles with the tests of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
