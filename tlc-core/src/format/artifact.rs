//! The log entries of an artifact, and the manifests of its versions.
//!
//! An artifact is what its entries say, in order. What is in a version says its manifest, which its entry names;
//! what a manifest may say beyond its types is checked where it is read, in `artifact/paths.rs`.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{decode, encode};
use crate::error::{Error, Result};

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) format: u32,
    /// Written by this writer alone, once: tells a lost answer from a lost race.
    pub(crate) stamp: String,
    pub(crate) author: String,
    /// RFC 3339 in UTC.
    pub(crate) time: String,
    pub(crate) event: Event,
    /// The BLAKE3 hash of the entry's bytes before this field; none in entries that were written without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sum: Option<String>,
}

impl Entry {
    /// An entry of an artifact's log with its sum, which is its last field.
    ///
    /// # Errors
    /// As [`encode`].
    pub(crate) fn encoded(self) -> Result<Bytes> {
        let bytes = encode(&Self { sum: None, ..self })?;
        let summed = bytes.strip_suffix(b"}").unwrap_or(&bytes);
        let end = sum_at_end(&blake3::hash(summed).to_hex());
        Ok([summed, end.as_bytes()].concat().into())
    }

    /// Reads an entry, and compares it with its sum if it has one.
    ///
    /// # Errors
    /// As [`decode`]; [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) naming `what` if it is not what its sum says.
    pub(crate) fn decoded(what: &str, bytes: &[u8]) -> Result<Self> {
        let entry: Self = decode(what, bytes)?;
        let is_whole = entry.sum.as_ref().is_none_or(|sum| {
            let summed = bytes.strip_suffix(sum_at_end(sum).as_bytes());
            summed.is_some_and(|summed| blake3::hash(summed).to_hex().as_str() == sum)
        });
        match is_whole {
            true => Ok(entry),
            false => Err(Error::corrupt(format!(
                "{what} is damaged: its bytes are not those that its sum says; restore it from a copy of the root"
            ))),
        }
    }
}

/// How the bytes of an entry with this sum end.
fn sum_at_end(sum: &str) -> String {
    format!(r#","sum":"{sum}"}}"#)
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Event {
    /// The next version.
    Version {
        /// One more than the version before; the first is 1.
        version: u64,
        /// `manifests/<blake3>.json` below the artifact.
        manifest: String,
        #[serde(deserialize_with = "super::count")]
        files: u64,
        #[serde(deserialize_with = "super::count")]
        bytes: u64,
        /// Of chunks that were not there before.
        #[serde(deserialize_with = "super::count")]
        bytes_stored: u64,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        message: String,
        /// The run that made it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<String>,
        /// Aliases that name it from here on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        aliases: Vec<String>,
    },
    /// An alias was given, moved, or, without a version, taken away.
    Alias {
        alias: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
    },
}

/// What a version holds: its files one after the other, sorted by path, as one stream of bytes, and the chunks
/// that the stream was cut into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) format: u32,
    /// Whether it is a file by itself, and not a folder.
    pub(crate) is_file: bool,
    pub(crate) cut: Cut,
    pub(crate) files: Vec<File>,
    /// Folders that nothing is in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) empty_folders: Vec<String>,
    pub(crate) chunks: Vec<Chunk>,
}

/// How the stream was cut. Readers need none of it; a writer cuts in the same way, so as to find the same chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cut {
    pub(crate) algorithm: String,
    pub(crate) bytes_min: u32,
    pub(crate) bytes_average: u32,
    pub(crate) bytes_max: u32,
}

/// One file: a range of the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    /// Its names from the folder on, with `/` between them; of a file by itself its name.
    pub(crate) path: String,
    /// Where it begins in the stream.
    #[serde(deserialize_with = "super::count")]
    pub(crate) offset: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
    pub(crate) blake3: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) executable: bool,
}

/// One piece of the stream, stored as one object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Chunk {
    pub(crate) blake3: String,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
    /// Of a chunk that is stored as `<blake3>.<id>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

impl Chunk {
    /// Its name in the folder of chunks.
    pub(crate) fn file(&self) -> String {
        match &self.id {
            None => self.blake3.clone(),
            Some(id) => format!("{}.{id}", self.blake3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    /// The written form of an event, which is also read back.
    #[track_caller]
    fn check(event: Event, expected: &str) {
        let entry = Entry {
            format: 1,
            stamp: "s".to_owned(),
            author: "ada".to_owned(),
            time: "t".to_owned(),
            event,
            sum: None,
        };
        let written = entry.clone().encoded().unwrap();
        let head = r#"{"format":1,"stamp":"s","author":"ada","time":"t","event":"#;
        let summed = format!("{head}{expected}");
        let sum = blake3::hash(summed.as_bytes()).to_hex().to_string();
        let expected = format!(r#"{summed},"sum":"{sum}"}}"#);
        assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        let read = Entry::decoded("entry 0", &written).unwrap();
        assert_eq!(read.sum, Some(sum));
        assert_eq!(Entry { sum: None, ..read }, entry);
        // As it was written before there were sums.
        let bare = format!("{summed}}}");
        assert_eq!(Entry::decoded("entry 0", bare.as_bytes()).unwrap(), entry);
    }

    #[test]
    fn the_written_form_is_this() {
        let version = |message: &str, run: Option<&str>, aliases: &[&str]| Event::Version {
            version: 1,
            manifest: "m".to_owned(),
            files: 2,
            bytes: 30,
            bytes_stored: 20,
            message: message.to_owned(),
            run: run.map(str::to_owned),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        };
        let head = r#"{"kind":"version","version":1,"manifest":"m","files":2,"bytes":30,"bytes_stored":20"#;
        check(version("", None, &[]), &format!("{head}}}"));
        check(
            version("better", Some("r"), &["best"]),
            &format!(r#"{head},"message":"better","run":"r","aliases":["best"]}}"#),
        );
        let alias = |version| Event::Alias {
            alias: "best".to_owned(),
            version,
        };
        check(
            alias(Some(3)),
            r#"{"kind":"alias","alias":"best","version":3}"#,
        );
        check(alias(None), r#"{"kind":"alias","alias":"best"}"#);
    }

    #[test]
    fn every_flipped_bit_of_an_entry_is_found() {
        let version = Event::Version {
            version: 1,
            manifest: format!("manifests/{}.json", "0".repeat(64)),
            files: 2,
            bytes: 30,
            bytes_stored: 20,
            message: "better".to_owned(),
            run: Some("first".to_owned()),
            aliases: vec!["best".to_owned()],
        };
        let alias = Event::Alias {
            alias: "best".to_owned(),
            version: Some(1),
        };
        for event in [version, alias] {
            let entry = Entry {
                format: crate::format::VERSION,
                stamp: "0123456789abcdef".to_owned(),
                author: "ada".to_owned(),
                time: "2026-11-01T12:00:00.000000Z".to_owned(),
                event,
                sum: None,
            };
            let whole = entry.encoded().unwrap();
            for (at, bit) in (0..whole.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut flipped = whole.to_vec();
                flipped[at] ^= 1 << bit;
                let read = Entry::decoded("entry 0 of artifact zoo/model", &flipped);
                let shown = String::from_utf8_lossy(&flipped);
                let err = read.expect_err(&shown);
                assert!(
                    err.to_string().contains("entry 0 of artifact zoo/model"),
                    "{err}: {shown}"
                );
            }
        }
    }

    #[test]
    fn the_written_form_of_a_manifest_is_this() {
        let manifest = Manifest {
            format: 1,
            is_file: false,
            cut: Cut {
                algorithm: "x".to_owned(),
                bytes_min: 1,
                bytes_average: 2,
                bytes_max: 3,
            },
            files: vec![File {
                path: "a/b".to_owned(),
                offset: 0,
                bytes: 5,
                blake3: "f".to_owned(),
                executable: true,
            }],
            empty_folders: vec!["c".to_owned()],
            chunks: vec![Chunk {
                blake3: "c".to_owned(),
                bytes: 5,
                id: Some("7".to_owned()),
            }],
        };
        let written = encode(&manifest).unwrap();
        assert_eq!(
            std::str::from_utf8(&written).unwrap(),
            r#"{"format":1,"is_file":false,"cut":{"algorithm":"x","bytes_min":1,"bytes_average":2,"bytes_max":3},"files":[{"path":"a/b","offset":0,"bytes":5,"blake3":"f","executable":true}],"empty_folders":["c"],"chunks":[{"blake3":"c","bytes":5,"id":"7"}]}"#
        );
        assert_eq!(decode::<Manifest>("m", &written).unwrap(), manifest);
        assert_eq!(manifest.chunks[0].file(), "c.7");
    }

    #[test]
    fn what_is_of_no_known_kind_is_corrupt() {
        for event in [
            r#"{"kind":"renamed"}"#,
            r#"{"kind":"alias","alias":"a","version":-1}"#,
            r#"{"kind":"alias","alias":"a","novelty":1}"#,
            r#"{"kind":"version","version":1,"manifest":"m","files":1,"bytes":4398046511105,"bytes_stored":0}"#,
        ] {
            let text =
                format!(r#"{{"format":1,"stamp":"s","author":"a","time":"t","event":{event}}}"#);
            let err = Entry::decoded("entry 4", text.as_bytes()).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Corrupt, "{text}");
            assert!(err.to_string().contains("entry 4"), "{err}");
        }
    }
}
