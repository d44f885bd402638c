//! Models as artifacts: the variables of a model as one file of the safetensors form, put and loaded by name.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::nn::VarStore;
use tch::{Device, Kind, TchError, Tensor};
use tlc_core::{
    ArtifactSource, ArtifactVersion, Error, Project, PutOptions, Result, Run, VersionRecord,
    block_on,
};

/// The name of the file in the version.
const FILE: &str = "model.safetensors";

/// The types that both libtorch and the form have.
const TYPES: [(Kind, Dtype); 10] = [
    (Kind::Bool, Dtype::BOOL),
    (Kind::Uint8, Dtype::U8),
    (Kind::Int8, Dtype::I8),
    (Kind::Int16, Dtype::I16),
    (Kind::Int, Dtype::I32),
    (Kind::Int64, Dtype::I64),
    (Kind::Half, Dtype::F16),
    (Kind::BFloat16, Dtype::BF16),
    (Kind::Float, Dtype::F32),
    (Kind::Double, Dtype::F64),
];

/// Saves and loads models by name: in a project; or in the project of a run, which then says that it made or read them.
///
/// A model is named as `model`, its newest version; as `model@3`, by its number; or as `model@best`, by an alias.
pub trait ModelExt {
    /// Puts the variables of a model as the next version of an artifact, in one file `model.safetensors`.
    ///
    /// Waits until it is stored. Holds the variables in memory twice. Chunks that an earlier version has are not stored again.
    ///
    /// ```
    /// # use tch::nn::{VarStore, linear};
    /// # use tch::Device;
    /// # use tlc_core::{Project, PutOptions, block_on};
    /// # use tlc_tch::ModelExt as _;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let run = project.start_run("first")?;
    /// let mut weights = VarStore::new(Device::Cpu);
    /// let model = linear(weights.root(), 4, 2, Default::default());
    /// let put = run.save_model("lenet", &weights, PutOptions::new("after epoch 7").alias("best"))?;
    /// assert_eq!(put.version, 1);
    /// project.load_model("lenet@best", &mut weights)?;
    /// # run.finish()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) naming a variable that cannot be copied from its device or is of a type that the
    /// form lacks; those of [`Project::put_artifact`]. A run goes on.
    fn save_model(
        &self,
        name: &str,
        weights: &VarStore,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord>;

    /// Sets the variables of a model to what a version has; it must have each of them, in the same shape. They stay on
    /// the devices that they are on.
    ///
    /// Holds the bytes of the file and a copy of its tensors at once, about twice the file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) if there is no such artifact or version;
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if the version has no file that ends in `.safetensors`, or several, or it has a tensor of a type
    /// that libtorch lacks, or naming a variable that the version lacks or has in another shape: then no variable is changed; those of
    /// [`ArtifactVersion::read`].
    fn load_model(&self, model: &str, weights: &mut VarStore) -> Result<ArtifactVersion>;

    /// The tensors of a version by their names, on a device: also of a model that somebody else put.
    ///
    /// Holds the bytes of the file and a copy of its tensors at once, about twice the file.
    ///
    /// ```
    /// # use tch::nn::{VarStore, linear};
    /// # use tch::Device;
    /// # use tlc_core::{Project, block_on};
    /// # use tlc_tch::ModelExt as _;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let weights = VarStore::new(Device::Cpu);
    /// # let model = linear(weights.root(), 4, 2, Default::default());
    /// # project.save_model("lenet", &weights, "first")?;
    /// let tensors = project.load_tensors("lenet", &Device::Cpu)?;
    /// assert_eq!(tensors["weight"].size(), [2, 4]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::load_model`], but for what is said of variables.
    fn load_tensors(&self, model: &str, device: &Device) -> Result<BTreeMap<String, Tensor>>;
}

impl ModelExt for Project {
    fn save_model(
        &self,
        name: &str,
        weights: &VarStore,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord> {
        let (source, options) = (source(weights)?, options.into());
        block_on(Box::pin(self.put_artifact(name, source, options)))
    }

    fn load_model(&self, model: &str, weights: &mut VarStore) -> Result<ArtifactVersion> {
        let version = block_on(self.artifact_version(model))?;
        set(weights, &version)?;
        Ok(version)
    }

    fn load_tensors(&self, model: &str, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        to_tensors(&block_on(self.artifact_version(model))?, device)
    }
}

impl ModelExt for Run {
    fn save_model(
        &self,
        name: &str,
        weights: &VarStore,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord> {
        self.put_artifact(name, source(weights)?, options)
    }

    fn load_model(&self, model: &str, weights: &mut VarStore) -> Result<ArtifactVersion> {
        let version = self.use_artifact(model)?;
        set(weights, &version)?;
        Ok(version)
    }

    fn load_tensors(&self, model: &str, device: &Device) -> Result<BTreeMap<String, Tensor>> {
        to_tensors(&self.use_artifact(model)?, device)
    }
}

/// The tensors of a version that is a file of the safetensors form, or that has one, by their names.
///
/// # Errors
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if the version has no such file or more than one, or it holds what libtorch has no
/// type for; those of [`ArtifactVersion::read_model`].
pub fn to_tensors(version: &ArtifactVersion, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let bytes = block_on(version.read_model())?;
    let wrong = || Error::invalid(format!("the tensors of {version} cannot be loaded"));
    let views = SafeTensors::deserialize(&bytes).map_err(|err| wrong().with_source(err))?;
    let tensor = |(name, view): (String, TensorView<'_>)| {
        let known = TYPES.iter().find(|(_, dtype)| *dtype == view.dtype());
        let (kind, _) = known.ok_or_else(|| {
            wrong().with_source(format!("libtorch has no type for {}", view.dtype()))
        })?;
        let size: Option<Vec<i64>> = view
            .shape()
            .iter()
            .map(|n| i64::try_from(*n).ok())
            .collect();
        let size = size.ok_or_else(wrong)?;
        let tensor = Tensor::f_from_data_size(view.data(), &size, *kind)
            .and_then(|tensor| tensor.f_to_device(*device));
        Ok((name, tensor.map_err(|err| wrong().with_source(err))?))
    };
    views.tensors().into_iter().map(tensor).collect()
}

/// A variable on its way into a file.
struct Copied {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// The variables as one file.
fn source(weights: &VarStore) -> Result<ArtifactSource> {
    let copied = |(name, variable): (String, Tensor)| {
        let wrong = || Error::invalid(format!("variable {name} cannot be saved"));
        let kind = variable.f_kind().map_err(|err| wrong().with_source(err))?;
        let known = TYPES.iter().find(|(known, _)| *known == kind);
        let (_, dtype) = known
            .ok_or_else(|| wrong().with_source(format!("the form has no type for {kind:?}")))?;
        let bytes = bytes_of(&variable, kind).map_err(|err| wrong().with_source(err))?;
        let shape: Option<Vec<usize>> = variable
            .size()
            .iter()
            .map(|n| usize::try_from(*n).ok())
            .collect();
        let copied = Copied {
            dtype: *dtype,
            shape: shape.ok_or_else(wrong)?,
            bytes,
        };
        Ok((name, copied))
    };
    let copied = weights.variables().into_iter().map(copied);
    let copied: BTreeMap<String, Copied> = copied.collect::<Result<_>>()?;
    let views = copied.iter().map(|(name, copied)| {
        let view = TensorView::new(copied.dtype, copied.shape.clone(), &copied.bytes);
        view.map(|view| (name, view))
    });
    let written = views
        .collect::<Result<Vec<_>, _>>()
        .and_then(|views| safetensors::serialize(views, None));
    let bytes = written.map_err(|err| {
        Error::invalid("the variables cannot be written as safetensors").with_source(err)
    })?;
    Ok(ArtifactSource::bytes(FILE, bytes))
}

/// The bytes of a tensor, from whatever device.
fn bytes_of(tensor: &Tensor, kind: Kind) -> Result<Vec<u8>, TchError> {
    let here = tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?;
    let mut bytes = vec![0; here.numel() * kind.elt_size_in_bytes()];
    here.f_copy_data_u8(&mut bytes, here.numel())?;
    Ok(bytes)
}

/// Sets all variables or none.
fn set(weights: &mut VarStore, version: &ArtifactVersion) -> Result<()> {
    let tensors = to_tensors(version, &Device::Cpu)?;
    let value = |(name, variable): (String, Tensor)| {
        let wrong = |why: String| Error::invalid(format!("variable {name}: {why}"));
        let value = tensors
            .get(&name)
            .ok_or_else(|| wrong(format!("{version} does not have it")))?;
        let (own, other) = (variable.size(), value.size());
        if own != other {
            return Err(wrong(format!(
                "it has the shape {own:?}, and in {version} {other:?}"
            )));
        }
        Ok((variable, value))
    };
    let values = weights.variables().into_iter().map(value);
    for (variable, value) in values.collect::<Result<Vec<_>>>()? {
        // What is detached has the same memory, and no gradient is in the way.
        let set = variable.f_detach().and_then(|mut own| own.f_copy_(value));
        set.map_err(|err| Error::invalid("a variable cannot be set").with_source(err))?;
    }
    Ok(())
}
