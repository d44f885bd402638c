//! The log entries of an artifact, and the manifests of its versions.
//!
//! An artifact is what its entries say, in order. What is in a version says its manifest, which its entry names;
//! what a manifest may say beyond its types is checked where it is read, in `artifact/paths.rs`.

use serde::{Deserialize, Serialize};

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
    use crate::format::{decode, encode};

    /// The written form of an event, which is also read back.
    #[track_caller]
    fn check(event: Event, expected: &str) {
        let entry = Entry {
            format: 1,
            stamp: "s".to_owned(),
            author: "ada".to_owned(),
            time: "t".to_owned(),
            event,
        };
        let written = encode(&entry).unwrap();
        let head = r#"{"format":1,"stamp":"s","author":"ada","time":"t","event":"#;
        let expected = format!("{head}{expected}}}");
        assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        assert_eq!(decode::<Entry>("entry 0", &written).unwrap(), entry);
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
            let err = decode::<Entry>("entry 4", text.as_bytes()).unwrap_err();
            assert_eq!(err.kind(), ErrorKind::Corrupt, "{text}");
            assert!(err.to_string().contains("entry 4"), "{err}");
        }
    }
}
