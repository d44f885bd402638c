//! Models as artifacts: the variables of a model as one file of the safetensors form, put and loaded by name.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use candle_core::{Device, Tensor, Var, safetensors as candle_safetensors};
use candle_nn::VarMap;
use tlc_core::{
    ArtifactSource, ArtifactVersion, Error, Project, PutOptions, Result, Run, VersionRecord,
    block_on,
};

/// The name of the file in the version.
const FILE: &str = "model.safetensors";

/// Saves and loads models by name: in a project; or in the project of a run, which then says that it made or read them.
///
/// A model is named as `model`, its newest version; as `model@3`, by its number; or as `model@best`, by an alias.
pub trait ModelExt {
    /// Puts the variables of a model as the next version of an artifact, in one file `model.safetensors`.
    ///
    /// Waits until it is stored. Holds the file in memory once. Chunks that an earlier version has are not stored again.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # use candle_nn::{VarBuilder, VarMap, linear};
    /// # use tlc_candle::ModelExt as _;
    /// # use tlc_core::{Project, PutOptions, block_on};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let run = project.start_run("first")?;
    /// let mut weights = VarMap::new();
    /// let model = linear(4, 2, VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu))?;
    /// let put = run.save_model("lenet", &weights, PutOptions::new("after epoch 7").alias("best"))?;
    /// assert_eq!(put.version, 1);
    /// project.load_model("lenet@best", &mut weights)?;
    /// # run.finish()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if a variable cannot be copied from its device or is of a type that the form
    /// lacks; those of [`Project::put_artifact`]. A run goes on.
    fn save_model(
        &self,
        name: &str,
        weights: &VarMap,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord>;

    /// Sets the variables of a model to what a version has; it must have each of them, in the same shape. Those are on
    /// the devices that they were on.
    ///
    /// Holds the bytes of the file and a copy of its tensors at once, about twice the file.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](tlc_core::ErrorKind::NotFound) if there is no such artifact or version;
    /// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if the version has no file that ends in `.safetensors`, or several, or it has a tensor of a type
    /// that Candle lacks, or naming a variable that the version lacks or has in another shape: then no variable is changed; those of
    /// [`ArtifactVersion::read`].
    fn load_model(&self, model: &str, weights: &mut VarMap) -> Result<ArtifactVersion>;

    /// The tensors of a version by their names, on a device: also of a model that somebody else put.
    ///
    /// Holds the bytes of the file and a copy of its tensors at once, about twice the file.
    ///
    /// ```
    /// # use candle_core::{DType, Device};
    /// # use candle_nn::{VarBuilder, VarMap, linear};
    /// # use tlc_candle::ModelExt as _;
    /// # use tlc_core::{Project, block_on};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let project = block_on(Project::open("memory:///", "demo"))?;
    /// # let weights = VarMap::new();
    /// # let model = linear(4, 2, VarBuilder::from_varmap(&weights, DType::F32, &Device::Cpu))?;
    /// # project.save_model("lenet", &weights, "first")?;
    /// let tensors = project.load_tensors("lenet", &Device::Cpu)?;
    /// assert_eq!(tensors["weight"].dims(), [2, 4]);
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
        weights: &VarMap,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord> {
        block_on(Box::pin(self.put_artifact(
            name,
            source(weights)?,
            options.into(),
        )))
    }

    fn load_model(&self, model: &str, weights: &mut VarMap) -> Result<ArtifactVersion> {
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
        weights: &VarMap,
        options: impl Into<PutOptions>,
    ) -> Result<VersionRecord> {
        self.put_artifact(name, source(weights)?, options)
    }

    fn load_model(&self, model: &str, weights: &mut VarMap) -> Result<ArtifactVersion> {
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
/// [`ErrorKind::Invalid`](tlc_core::ErrorKind::Invalid) if the version has no such file or more than one, or it holds what Candle has no type for;
/// those of [`ArtifactVersion::read_model`].
pub fn to_tensors(version: &ArtifactVersion, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    let bytes = block_on(version.read_model())?;
    let loaded = candle_safetensors::load_buffer(&bytes, device);
    let loaded = loaded.map_err(|err| {
        let message = format!("the tensors of {version} cannot be loaded");
        Error::invalid(message).with_source(err)
    })?;
    Ok(loaded.into_iter().collect())
}

/// The variables as one file.
fn source(weights: &VarMap) -> Result<ArtifactSource> {
    let variables = weights
        .data()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let here = |(name, variable): (&String, &Var)| {
        // Copied before, since what the form makes of a tensor on a device cannot fail with an error.
        let tensor = variable.as_tensor().detach().to_device(&Device::Cpu);
        let tensor = tensor.and_then(|tensor| tensor.contiguous());
        let tensor = tensor.map_err(|err| {
            Error::invalid(format!("variable {name} cannot be copied")).with_source(err)
        })?;
        Ok((name.clone(), tensor))
    };
    let tensors: BTreeMap<String, Tensor> = variables.iter().map(here).collect::<Result<_>>()?;
    drop(variables);
    let bytes = safetensors::serialize(&tensors, None).map_err(|err| {
        Error::invalid("the variables cannot be written as safetensors").with_source(err)
    })?;
    Ok(ArtifactSource::bytes(FILE, bytes))
}

/// Sets all variables or none.
fn set(weights: &VarMap, version: &ArtifactVersion) -> Result<()> {
    let tensors = to_tensors(version, &Device::Cpu)?;
    let variables = weights
        .data()
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let value = |(name, variable): (&String, &Var)| {
        let wrong = |why: String| Error::invalid(format!("variable {name}: {why}"));
        let value = tensors
            .get(name)
            .ok_or_else(|| wrong(format!("{version} does not have it")))?;
        if value.shape() != variable.shape() {
            let (own, other) = (variable.dims(), value.dims());
            return Err(wrong(format!(
                "it has the shape {own:?}, and in {version} {other:?}"
            )));
        }
        let value = value
            .to_device(variable.device())
            .and_then(|value| value.to_dtype(variable.dtype()));
        let value =
            value.map_err(|err| wrong("its value cannot be copied".to_owned()).with_source(err))?;
        Ok((variable.clone(), value))
    };
    let values = variables.iter().map(value).collect::<Result<Vec<_>>>()?;
    for (variable, value) in values {
        variable
            .set(&value)
            .map_err(|err| Error::invalid("a variable cannot be set").with_source(err))?;
    }
    Ok(())
}
