//! What tensors are in a file of the safetensors form, from its first bytes alone.

use std::collections::BTreeMap;

use safetensors::tensor::{Metadata, TensorInfo};

use super::ArtifactVersion;
use crate::error::{Error, Result};
use crate::runtime::run_blocking;

/// The largest header that is read: a hundred thousand tensors have less.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// How many bytes say how long the header is.
const LENGTH_BYTES: u64 = 8;

/// The tensors of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tensors {
    /// In the order in which they lie in the file.
    pub tensors: Vec<TensorRecord>,
    /// What else the file says of itself.
    pub metadata: BTreeMap<String, String>,
}

/// One tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRecord {
    /// Its name.
    pub name: String,
    /// The type of its elements, as the form names it: `F32`, `BF16`, …
    pub dtype: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its size in the file.
    pub bytes: u64,
}

impl ArtifactVersion {
    /// The tensors of a file of the safetensors form, by its path; of a version that is one file also by `""`.
    ///
    /// Fetches the chunks that its header is in, mostly one, and nothing of the tensors.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such file;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if it is not of this form, or its header is larger than 16 MiB; as [`Self::read`].
    pub async fn tensors(&self, path: &str) -> Result<Tensors> {
        let manifest = self.manifest().await?;
        let file = self.file(&manifest, path)?.clone();
        let wrong = |why: &str| {
            Error::invalid(format!(
                "{} in {self} is no safetensors file: {why}",
                file.path
            ))
        };
        let start = file.offset;
        let first = start..start + LENGTH_BYTES.min(file.bytes);
        let length = self.range(&manifest, first).await?;
        let length: [u8; 8] = length
            .try_into()
            .map_err(|_short| wrong("it is too short"))?;
        let length = u64::from_le_bytes(length);
        if length > HEADER_BYTES_MAX {
            return Err(wrong("its header would be larger than 16 MiB"));
        }
        if LENGTH_BYTES + length > file.bytes {
            return Err(wrong("it ends in its header"));
        }
        let start = start + LENGTH_BYTES;
        let header = self.range(&manifest, start..start + length).await?;
        let n_data = file.bytes - LENGTH_BYTES - length;
        let read = run_blocking(move || parse(&header, n_data)).await;
        read.map_err(|err| wrong("its header does not fit its bytes").with_source(err))
    }
}

/// Reads a header, and checks that it speaks of all the bytes after it.
fn parse(header: &[u8], n_data: u64) -> Result<Tensors> {
    let metadata: Metadata = serde_json::from_slice(header)
        .map_err(|err| Error::invalid("the header cannot be read").with_source(err))?;
    if metadata.data_len() as u64 != n_data {
        return Err(Error::invalid(format!(
            "it has {n_data} bytes of tensors, and says {}",
            metadata.data_len()
        )));
    }
    let tensor = |name: String| {
        let TensorInfo {
            dtype,
            shape,
            data_offsets: (begin, end),
        } = metadata.info(&name)?.clone();
        Some(TensorRecord {
            name,
            dtype: dtype.to_string(),
            shape,
            bytes: end.saturating_sub(begin) as u64,
        })
    };
    let tensors = metadata.offset_keys().into_iter().filter_map(tensor);
    let more = metadata.metadata().iter().flatten();
    Ok(Tensors {
        tensors: tensors.collect(),
        metadata: more
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_names_types_shapes_and_sizes() {
        let header = br#"{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"a":{"dtype":"BF16","shape":[],"data_offsets":[24,26]}}"#;
        let found = parse(header, 26).unwrap();
        let tensors: Vec<String> = found
            .tensors
            .iter()
            .map(|t| format!("{} {} {:?} {}", t.name, t.dtype, t.shape, t.bytes))
            .collect();
        assert_eq!(tensors, ["b F32 [2, 3] 24", "a BF16 [] 2"]);
        assert_eq!(found.metadata["format"], "pt");
        assert!(parse(header, 27).is_err());
        assert_eq!(parse(b"{}", 0).unwrap(), Tensors::default());
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        for header in [
            "",
            "[]",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
            r#"{"a":{"dtype":"X9","shape":[1],"data_offsets":[0,4]}}"#,
        ] {
            assert!(parse(header.as_bytes(), 4).is_err(), "{header}");
        }
    }
}
