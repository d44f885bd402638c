//! What single layers of a model put out, kept until the training loop asks for it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::nn::Module;
use tch::{TchError, Tensor};
use tlc_core::{Error, Result};

/// Taps on the layers of a model: while they are open, the last output of each is kept.
///
/// This is how the inside of a model reaches a collector. [`Self::layer`] wraps a layer where the
/// model is built, and nothing else of the model changes; a model whose layers are no [`Module`]
/// calls [`Self::keep`] where it computes. Closed, as they are at first, taps cost a look at a flag;
/// open, a lock for each layer, and the memory of one output of each. Clones share all of it.
///
/// ```
/// use tch::nn::{Module as _, VarStore, func, linear, seq};
/// use tch::{Device, Kind, Tensor};
/// use tlc_core::collect::{Classification, CollectorExt as _, Embedding};
/// use tlc_tch::{RunExt as _, Taps};
/// # use tlc_core::{Project, Rows, block_on};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let run = block_on(Project::open("memory:///", "demo"))?.start_run("doc")?;
/// # let rows = Rows::new("val", 0, vec![17, 4])?;
/// # let (x, label) = (Tensor::zeros([2, 4], (Kind::Float, Device::Cpu)), Tensor::from_slice(&[0_i64, 2]));
/// let weights = VarStore::new(Device::Cpu);
/// let taps = Taps::default();
/// let model = seq()
///     .add(taps.layer("features", linear(weights.root() / "features", 4, 8, Default::default())))
///     .add(func(|x| x.relu()))
///     .add(linear(weights.root() / "classes", 8, 3, Default::default()));
///
/// taps.open();
/// let logits = model.forward(&x);
/// let outputs = [("logits", &logits), ("label", &label), ("features", &taps.output("features")?)];
/// run.collect_tensors(&rows, &Classification.and(Embedding::new("features")), &outputs)?;
/// taps.close();
/// # run.finish()?;
/// # Ok(())
/// # }
/// ```
///
/// The first batch of a stream fixes its columns. Embeddings of some epochs only belong to a stream
/// of their own.
#[derive(Clone, Default)]
pub struct Taps {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_open: AtomicBool,
    outputs: Mutex<BTreeMap<String, Result<Tensor, TchError>>>,
}

impl Taps {
    /// Wraps a layer, whose outputs are kept under `name` while the taps are open.
    ///
    /// Of two layers of one name, the one that ran last is kept. A closure is a layer by
    /// [`tch::nn::func`].
    pub fn layer<M>(&self, name: &str, module: M) -> Layer<M> {
        Layer {
            module,
            name: name.to_owned(),
            taps: self.clone(),
        }
    }

    /// Keeps an output under `name` if the taps are open: detached from the graph, on its device.
    ///
    /// It shares its memory: what changes the output in place before it is asked for is seen.
    pub fn keep(&self, name: &str, output: &Tensor) {
        if self.shared.is_open.load(Ordering::Relaxed) {
            self.outputs().insert(name.to_owned(), output.f_detach());
        }
    }

    /// Keeps outputs from now on, and none from before.
    pub fn open(&self) {
        self.outputs().clear();
        self.shared.is_open.store(true, Ordering::Relaxed);
    }

    /// Keeps nothing any more, and forgets what was kept.
    pub fn close(&self) {
        self.shared.is_open.store(false, Ordering::Relaxed);
        self.outputs().clear();
    }

    /// Hands over the last output that was kept under `name`, without its gradients.
    ///
    /// Once: one batch's output is never taken for another's.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) if there is none, naming those there
    /// are. [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if libtorch could not detach it.
    pub fn output(&self, name: &str) -> Result<Tensor> {
        let mut outputs = self.outputs();
        let Some(output) = outputs.remove(name) else {
            let kept: Vec<_> = outputs.keys().map(String::as_str).collect();
            return Err(Error::not_found(format!(
                "no output of a layer {name:?} is kept, only of [{}]; open the taps before the forward pass",
                kept.join(", ")
            )));
        };
        output.map_err(|err| {
            Error::invalid(format!("the output of layer {name:?} cannot be kept")).with_source(err)
        })
    }

    /// Each change is one call, so what a thread left that panicked is whole.
    fn outputs(&self) -> MutexGuard<'_, BTreeMap<String, Result<Tensor, TchError>>> {
        let outputs = self.shared.outputs.lock();
        outputs.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Taps")
            .field("is_open", &self.shared.is_open)
            .finish_non_exhaustive()
    }
}

/// A layer with a tap on it: computes what the layer computes. Made by [`Taps::layer`].
#[derive(Clone, Debug)]
pub struct Layer<M> {
    /// The layer itself.
    pub module: M,
    name: String,
    taps: Taps,
}

impl<M: Module> Module for Layer<M> {
    fn forward(&self, xs: &Tensor) -> Tensor {
        let output = self.module.forward(xs);
        self.taps.keep(&self.name, &output);
        output
    }
}
