//! A fitted reduction as a file of the safetensors form: its tensors, and as the metadata `tlc` a JSON object of what else it is.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use safetensors::{Dtype, SafeTensors, serialize, tensor::TensorView};

#[cfg(feature = "reduction")]
use super::vectors::Vectors;
use crate::artifact::Tensors;
use crate::error::{Error, Result};

/// The name of the file in the artifact.
pub(super) const FILE: &str = "reduction.safetensors";

/// The metadata that say what it is.
const FACTS: &str = "tlc";

/// The fact that says by which method it was fitted.
const METHOD: &str = "method";

/// What a reducer learnt: tensors of 32-bit floats by their names, and facts.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    facts: BTreeMap<String, String>,
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Model {
    /// A model of a method, without tensors.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self {
            facts: [(METHOD.to_owned(), method.to_owned())].into(),
            tensors: BTreeMap::new(),
        }
    }

    /// Says something of it, such as a setting.
    #[must_use]
    pub fn with_fact(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.facts.insert(name.to_owned(), value.to_string());
        self
    }

    /// Adds a tensor: its dimensions, and its numbers, those of the last dimension next to each other.
    #[must_use]
    pub fn with_tensor(mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        self.tensors
            .insert(name.to_owned(), (shape.to_vec(), values));
        self
    }

    /// The name of the reducer that fitted it.
    #[must_use]
    pub fn method(&self) -> &str {
        self.fact(METHOD).unwrap_or_default()
    }

    /// What is said of it under a name.
    #[must_use]
    pub fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// Everything that is said of it, by name.
    #[must_use]
    pub fn facts(&self) -> &BTreeMap<String, String> {
        &self.facts
    }

    /// A tensor of two dimensions: how many rows, and all numbers, row after row.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) if there is none of that name, or of other dimensions, or its numbers do not fill them.
    pub fn matrix(&self, name: &str) -> Result<(usize, &[f32])> {
        let wrong = |how: &str| Error::corrupt(format!("tensor {name:?} of the reduction {how}"));
        let Some((shape, values)) = self.tensors.get(name) else {
            return Err(wrong("is not there"));
        };
        let [n, width] = shape.as_slice() else {
            return Err(wrong("has not two dimensions"));
        };
        match n.checked_mul(*width) == Some(values.len()) {
            true => Ok((*n, values)),
            false => Err(wrong("has not as many numbers as its dimensions say")),
        }
    }

    /// The rows of a matrix as vectors. There is one at least, and all numbers are finite.
    ///
    /// # Errors
    /// As [`Self::matrix`]; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for numbers that are no such vectors.
    #[cfg(feature = "reduction")]
    pub(super) fn vectors(&self, name: &str) -> Result<Vectors> {
        let (n, values) = self.matrix(name)?;
        let width = values.len().checked_div(n).unwrap_or_default();
        Vectors::new(width, values.to_vec()).map_err(|err| {
            let message = format!("tensor {name:?} of the reduction cannot be used");
            Error::corrupt(message).with_source(err)
        })
    }

    /// The model as a file. The same model is the same bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a tensor whose numbers do not fill its dimensions.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes = self.tensors.iter().map(|(name, (shape, values))| {
            let bytes: Vec<u8> = bytes(values);
            (name, shape, bytes)
        });
        let bytes: Vec<_> = bytes.collect();
        let view = |(name, shape, bytes)| {
            let (name, shape): (&String, &Vec<usize>) = (name, shape);
            TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
        };
        let views = bytes
            .iter()
            .map(|(name, shape, bytes)| view((*name, *shape, bytes.as_slice())));
        let wrong = |err| Error::invalid("the reduction cannot be written").with_source(err);
        let views = views.collect::<std::result::Result<Vec<_>, _>>();
        let facts = serde_json::to_string(&self.facts)
            .map_err(|err| Error::invalid("the reduction cannot be written").with_source(err))?;
        let metadata = HashMap::from([(FACTS.to_owned(), facts)]);
        serialize(views.map_err(wrong)?, Some(metadata)).map_err(wrong)
    }

    /// A model from the bytes of its file.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if they are no such file.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (_, header) =
            SafeTensors::read_metadata(bytes).map_err(|err| wrong().with_source(err))?;
        let facts = header.metadata().as_ref().and_then(|all| all.get(FACTS));
        let facts = parse_facts(facts)?;
        let read = SafeTensors::deserialize(bytes).map_err(|err| wrong().with_source(err))?;
        let tensor = |(name, view): (&str, TensorView<'_>)| {
            if view.dtype() != Dtype::F32 {
                return Err(wrong());
            }
            let (numbers, _) = view.data().as_chunks::<4>();
            let values = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes));
            Ok((name.to_owned(), (view.shape().to_vec(), values.collect())))
        };
        Ok(Self {
            facts,
            tensors: read.iter().map(tensor).collect::<Result<_>>()?,
        })
    }
}

/// By which method a model was fitted, as the header of its file says.
///
/// # Errors
/// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is that of another file.
pub(super) fn method_of(header: &Tensors) -> Result<String> {
    let is_of_floats = header.tensors.iter().all(|tensor| tensor.dtype == "F32");
    let mut facts = parse_facts(header.metadata.get(FACTS))?;
    match facts.remove(METHOD) {
        Some(method) if is_of_floats => Ok(method),
        _ => Err(wrong()),
    }
}

fn parse_facts(text: Option<&String>) -> Result<BTreeMap<String, String>> {
    let text = text.ok_or_else(wrong)?;
    serde_json::from_str(text).map_err(|err| wrong().with_source(err))
}

fn wrong() -> Error {
    Error::invalid("this is no file of a reduction")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_model_is_read_back_and_is_the_same_bytes_each_time() {
        let model = Model::new("pca")
            .with_fact("seed", 7)
            .with_fact("column", "embedding")
            .with_tensor("mean", &[1, 2], vec![0.5, -1.0])
            .with_tensor("axes", &[2, 1], vec![f32::MIN_POSITIVE, 3.0]);
        let bytes = model.to_bytes().unwrap();
        assert_eq!(bytes, model.to_bytes().unwrap());
        let read = Model::from_bytes(&bytes).unwrap();
        assert_eq!(read, model);
        assert_eq!((read.method(), read.fact("seed")), ("pca", Some("7")));
        assert_eq!(read.matrix("mean").unwrap(), (1, [0.5, -1.0].as_slice()));
        assert_eq!(read.matrix("other").unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn what_is_no_model_is_refused() {
        let model = Model::new("pca").with_tensor("mean", &[1, 2], vec![0.5, -1.0]);
        let bytes = model.to_bytes().unwrap();
        for cut in 0..bytes.len() {
            let err = Model::from_bytes(&bytes[..cut]).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Invalid, "{cut}");
        }
        let other = serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
        assert!(Model::from_bytes(&other).is_err());
        let short = Model::new("pca").with_tensor("mean", &[1, 3], vec![0.5]);
        assert_eq!(short.to_bytes().unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(short.matrix("mean").unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
