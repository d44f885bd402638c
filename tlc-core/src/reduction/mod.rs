//! Embeddings reduced to two or three dimensions, to be looked at: fitted once, applied to any epoch of any run, so that points can be followed.
//!
//! A [`Reducer`] learns from the vectors of one epoch what a [`Model`] holds, and a [`Reduction`] is that model at work. The library has
//! [`Pca`] and [`Umap`]; anybody may bring another, and [`reducer_contract`](crate::testing::reducer_contract) checks it.
//!
//! What is reduced is a run of its own: [`Project::reduce`](crate::Project::reduce) reads the epochs of a run and logs, for each row, under the same
//! stream, epoch and row id, the column `<column>_<method>`; beside it lies the model, as an artifact in the form of safetensors. So nothing that a
//! training logged is changed, several reductions can stand side by side, and everything that works on runs works on these: SQL joins
//! them to their source by `stream`, `epoch` and `_rowid`.
//!
//! Whoever reads the code begins with `pca`, `umap` and `nearest`, which know neither columns nor storage; `fit` reads, `plan` looks at what is asked for, `apply` writes.

mod apply;
mod fit;
mod model;
#[cfg(feature = "reduction")]
mod nearest;
#[cfg(feature = "reduction")]
mod pca;
mod plan;
#[cfg(feature = "reduction")]
mod umap;
mod vectors;

use std::fmt;

pub use self::apply::{ReduceOptions, Reduced};
pub use self::fit::Fitted;
pub use self::model::Model;
#[cfg(feature = "reduction")]
pub use self::pca::Pca;
#[cfg(feature = "reduction")]
pub use self::umap::Umap;
pub use self::vectors::Vectors;
use crate::error::Result;

/// Learns from vectors how to make few numbers of many.
pub trait Reducer: fmt::Debug + Send + Sync {
    /// One lower-case word, by which its models are known. It is a part of names of columns and runs.
    fn name(&self) -> &str;

    /// Decides which vectors are drawn if there are too many, and whatever else is left to chance.
    fn seed(&self) -> u64;

    /// On how many vectors it is fitted at most; one at least.
    fn rows_max(&self) -> usize;

    /// What it learns from vectors. The same vectors give the same model.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) saying why it cannot be fitted on these.
    fn fit(&self, vectors: &Vectors) -> Result<Model>;

    /// A model that it made, perhaps with other settings, at work.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) saying what the model lacks.
    fn reduction(&self, model: &Model) -> Result<Box<dyn Reduction>>;
}

/// Makes few numbers of many.
pub trait Reduction: fmt::Debug + Send + Sync {
    /// How many numbers a vector has.
    fn width(&self) -> usize;

    /// How many numbers are made of them.
    fn n_dimensions(&self) -> usize;

    /// The place of each vector, in their order. It depends on that vector alone.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for vectors of another width.
    fn apply(&self, vectors: &Vectors) -> Result<Vectors>;
}
