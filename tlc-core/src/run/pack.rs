//! The pack: the log entries of the runs of a project that have ended, in one file.
//!
//! What a process that has read nothing yet would have to read from a thousand logs, it reads from here at once. Each
//! log is then asked whether it still is what it was. The file is a cache: it is replaced as a whole, and one that is
//! absent, damaged or of a newer version is passed over.
//!
//! ```text
//! magic     8 bytes
//! check     32 bytes   BLAKE3 of all that follows
//! n_looked  u64        how many folders of runs were looked into
//! length    u64        of the head
//! head      JSON       see `format/pack.rs`
//! entries              of all runs, in the order of the head
//! ```
//!
//! Numbers are little-endian.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::logs::{Mark, RunLog};
use crate::error::Result;
use crate::format::pack::{Head, PackedRun};
use crate::format::{self, VERSION};
use crate::id::RunName;

/// Where it lies below a project.
pub(crate) const PACK: [&str; 2] = ["cache", "runs.pack"];

/// The most bytes that the entries of a pack have together.
const BYTES_MAX: u64 = 256 << 20;

/// The most bytes of a log that is taken into a pack. Larger ones are few, and are read by themselves.
pub(crate) const LOG_BYTES_MAX: u64 = 1 << 20;

const MAGIC: [u8; 8] = *b"tlc-run\n";

/// Where the number of folders is.
const LOOKED_AT: usize = MAGIC.len() + blake3::OUT_LEN;

/// The bytes before the head.
pub(crate) const BEFORE_HEAD: usize = LOOKED_AT + 16;

/// Logs by the names of their runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pack {
    /// How many folders of runs there were, whether their runs had ended or not.
    pub(crate) n_looked: u64,
    pub(crate) logs: BTreeMap<RunName, RunLog>,
}

impl Pack {
    /// The file. Of logs that are too large together, those that come last by name are left out.
    ///
    /// # Errors
    /// None in practice.
    pub(crate) fn encode(&self) -> Result<Bytes> {
        self.encode_within(BYTES_MAX)
    }

    fn encode_within(&self, bytes_max: u64) -> Result<Bytes> {
        let (mut runs, mut bytes) = (Vec::new(), 0);
        let mut entries = Vec::new();
        for (run, log) in &self.logs {
            bytes += log.bytes();
            if bytes > bytes_max {
                break;
            }
            runs.push(PackedRun {
                run: run.to_string(),
                entries: log.entries.iter().map(|entry| entry.len() as u64).collect(),
                modified: log.mark.modified,
                e_tag: log.mark.e_tag.clone(),
            });
            entries.extend(&log.entries);
        }
        let format = VERSION;
        let head = format::encode(&Head { format, runs })?;
        let mut file = MAGIC.to_vec();
        file.extend([0; blake3::OUT_LEN]);
        file.extend(self.n_looked.to_le_bytes());
        file.extend((head.len() as u64).to_le_bytes());
        file.extend(&head);
        entries.into_iter().for_each(|entry| file.extend(entry));
        let check = blake3::hash(file.get(LOOKED_AT..).unwrap_or_default());
        if let Some(place) = file.get_mut(MAGIC.len()..LOOKED_AT) {
            place.copy_from_slice(check.as_bytes());
        }
        Ok(file.into())
    }

    /// Reads what [`Self::encode`] wrote, without copying entries; `None` if it is anything else, or of a newer version.
    pub(crate) fn decode(file: &Bytes) -> Option<Self> {
        let n_looked = n_looked(file)?;
        let check = file.get(MAGIC.len()..LOOKED_AT)?;
        if blake3::hash(file.get(LOOKED_AT..)?).as_bytes() != check {
            return None;
        }
        let length = usize::try_from(number(file, LOOKED_AT + 8)?).ok()?;
        let mut at = BEFORE_HEAD.checked_add(length)?;
        let head: Head = format::decode("a pack", file.get(BEFORE_HEAD..at)?).ok()?;
        let mut logs = BTreeMap::new();
        for packed in head.runs {
            let mut entries = Vec::new();
            for length in &packed.entries {
                let end = at.checked_add(usize::try_from(*length).ok()?)?;
                entries.push(file.slice_ref(file.get(at..end)?));
                at = end;
            }
            let mark = Mark {
                modified: packed.modified,
                bytes: *packed.entries.last()?,
                e_tag: packed.e_tag,
            };
            logs.insert(packed.run.parse().ok()?, RunLog { entries, mark });
        }
        (at == file.len()).then_some(Self { n_looked, logs })
    }
}

/// How many folders of runs were looked into for the pack that begins with `file`.
pub(crate) fn n_looked(file: &[u8]) -> Option<u64> {
    file.starts_with(&MAGIC).then(|| number(file, LOOKED_AT))?
}

fn number(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*file.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs as `name=entry,entry`, each entry written at the time of its length.
    fn pack(text: &str) -> Pack {
        let log = |run: &str| {
            let (name, entries) = run.split_once('=').unwrap();
            let entries: Vec<Bytes> = entries
                .split(',')
                .map(|entry| Bytes::from(entry.to_owned()))
                .collect();
            let bytes = entries.last().unwrap().len() as u64;
            let mark = Mark {
                modified: bytes.cast_signed(),
                bytes,
                e_tag: (bytes > 3).then(|| "tag".to_owned()),
            };
            (name.parse().unwrap(), RunLog { entries, mark })
        };
        Pack {
            n_looked: 7,
            logs: text.split_whitespace().map(log).collect(),
        }
    }

    #[test]
    fn a_pack_is_read_back_as_it_was_written() {
        for text in ["", "a=one", "a=one,two,,three b=one,four c="] {
            let pack = pack(text);
            let file = pack.encode().unwrap();
            assert_eq!(n_looked(&file[..BEFORE_HEAD]), Some(7), "{text}");
            assert_eq!(Pack::decode(&file), Some(pack), "{text}");
        }
    }

    #[test]
    fn whatever_else_a_file_holds_is_no_pack() {
        let file = pack("a=one,two b=three").encode().unwrap();
        for n in 0..file.len() {
            assert_eq!(Pack::decode(&file.slice(..n)), None, "cut at {n}");
            let mut flipped = file.to_vec();
            flipped[n] ^= 1;
            assert_eq!(Pack::decode(&flipped.into()), None, "flipped at {n}");
        }
        let longer = [&file[..], b"x"].concat();
        assert_eq!(Pack::decode(&longer.into()), None);
    }

    /// The same file with another head, and a check that fits.
    fn with_head(file: &[u8], change: impl Fn(String) -> String) -> Bytes {
        let length = usize::try_from(number(file, LOOKED_AT + 8).unwrap()).unwrap();
        let (before, rest) = file[LOOKED_AT..].split_at(8);
        let (head, entries) = rest[8..].split_at(length);
        let head = change(String::from_utf8(head.to_vec()).unwrap());
        let length = (head.len() as u64).to_le_bytes();
        let rest = [before, &length, head.as_bytes(), entries].concat();
        let check = blake3::hash(&rest);
        [&MAGIC[..], check.as_bytes(), &rest].concat().into()
    }

    #[test]
    fn a_head_that_lies_or_is_newer_is_passed_over() {
        let file = pack("a=one,two").encode().unwrap();
        assert!(Pack::decode(&with_head(&file, |head| head)).is_some());
        let format = |version: u32| format!(r#""format":{version}"#);
        let (own, newer) = (format(VERSION), format(VERSION + 1));
        for (from, to) in [
            (own.as_str(), newer.as_str()),
            ("[3,3]", "[3,4]"),
            ("[3,3]", "[3,2]"),
            ("[3,3]", "[]"),
            ("[3,3]", "[18446744073709551615,3]"),
            (r#""a""#, r#""../a""#),
            (r#""modified""#, r#""novelty""#),
        ] {
            let changed = with_head(&file, |head| {
                assert!(head.contains(from), "{from} in {head}");
                head.replace(from, to)
            });
            assert_eq!(Pack::decode(&changed), None, "{to}");
        }
    }

    #[test]
    fn what_is_too_large_together_is_left_out_from_the_end() {
        let pack = pack("a=one b=two,three c=four");
        let read = Pack::decode(&pack.encode_within(14).unwrap()).unwrap();
        let names: Vec<&str> = read.logs.keys().map(RunName::as_str).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
