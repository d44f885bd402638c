//! Tables as libtorch tensors, and libtorch tensors as metrics of single samples.
//!
//! Two things stand between `tlc_core`, which knows Arrow and never a tensor, and a training loop
//! with `tch`. [`Loader`] gives batches of tensors with the ids of their rows. [`RunExt`] takes tensors
//! back: one line in the loop logs what the model thought of every sample, and the curves of loss
//! and accuracy with it. [`Taps`] bring out what single layers put out, as embeddings. [`ModelExt`] keeps
//! models as artifacts of a project, and loads them by name. [`to_arrow`] is
//! there for programs that want to do this by themselves. The names are those of `tlc_candle`.
//!
//! The lines marked below are what a plain loop gains; the rest is the loop.
//!
//! ```
//! # use std::sync::Arc;
//! # use tlc_core::arrow::array::{Float32Array, Int32Array, RecordBatch, RecordBatchIterator};
//! # use tlc_core::arrow::datatypes::{DataType, Field, Schema};
//! use tch::Device;
//! use tch::nn::{Module as _, OptimizerConfig as _, Sgd, VarStore, linear};
//! use tlc_core::collect::Classification;
//! use tlc_core::{CommitOptions, Project, block_on, schema};
//! use tlc_tch::{Loader, RunExt as _};
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
//! let device = Device::cuda_if_available();
//! let weights = VarStore::new(device);
//! let model = linear(weights.root(), 1, 2, Default::default());
//! let mut optimizer = Sgd::default().build(&weights, 0.5)?;
//!
//! let run = project.start_run("first")?; // 1
//! let loader = Loader::new(&block_on(table.head())?, device).batch_size(16).shuffle(7).run(&run, "train")?;
//! for epoch in 0..12 {
//!     for batch in loader.epoch(epoch) {
//!         let batch = batch?;
//!         let (x, label) = (batch.tensor("x")?.unsqueeze(1), batch.tensor("side")?);
//!         let logits = model.forward(&x);
//!         optimizer.backward_step(&logits.cross_entropy_for_logits(&label));
//!         run.collect_tensors(&batch, &Classification, &[("logits", &logits), ("label", &label)])?; // 2
//!     }
//! }
//! let record = run.finish()?; // 3
//! assert!(record.last["train/accuracy"] > 0.5);
//! # Ok(())
//! # }
//! ```
//!
//! # libtorch
//! To build this crate, libtorch must be there: `LIBTORCH` names its folder, or is left to what
//! `torch-sys` finds. In this repository, `.ci/libtorch` makes one for CPUs. A program says in its own
//! `build.rs` where libtorch is when it starts, as the one of this crate does; or it is started with
//! `LD_LIBRARY_PATH`.
//!
//! # Errors
//! Every call here fails with [`tlc_core::Error`], its source being libtorch's where that failed. Nothing
//! here panics: libtorch is called by the functions of `tch` that give a result.

mod collect;
mod loader;
mod model;
mod taps;

pub use tch;

pub use self::collect::{RunExt, to_arrow, to_record};
pub use self::loader::{Batch, Epoch, Loader, to_tensor};
pub use self::model::{ModelExt, to_tensors};
pub use self::taps::{Layer, Taps};
