//! Burn's own training loop, recorded through its extension points.
//!
//! Burn runs the loop by itself, so what is recorded goes in where Burn lets others in, and by the
//! public API of `tlc_core` alone. [`RunLogger`] is a metric logger: each metric of each batch and epoch
//! becomes a scalar. [`RunRenderer`] is a renderer: a line for each epoch, and how far the training is.
//! [`TableLoader`] is a data loader: a table's rows as batches that know which rows they are, so that
//! the training step can log what the model thought of each ([`Batch::record`]). [`to_data`] and
//! [`to_record`] are the adapter: columns as tensors' data, and back.
//!
//! Begin with [`train`], which puts them together.

mod loader;
mod logger;
mod model;
mod renderer;
mod tensors;
mod training;

pub use loader::{Batch, Recorder, TableLoader};
pub use logger::RunLogger;
pub use model::Network;
pub use renderer::RunRenderer;
pub use tensors::{collect, to_data, to_record};
pub use training::{Training, train};
