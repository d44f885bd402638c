//! The log entry of a table: one revision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One revision: what changed, and who changed it when and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    pub(crate) format: u32,
    pub(crate) revision: u64,
    /// Written by this writer alone: tells a lost answer from a lost race.
    pub(crate) stamp: String,
    /// The branch that moves to this revision. Empty if the entry only names branches and tags:
    /// then it is no revision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) branch: String,
    pub(crate) parents: Vec<ParentRef>,
    pub(crate) author: String,
    pub(crate) time: String,
    pub(crate) message: String,
    pub(crate) tool: String,
    /// The id that the next appended row gets, on whatever branch.
    pub(crate) next_row_id: u64,
    /// The id that the next new column gets, on whatever branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_column_id: Option<i32>,
    /// The schema from here on, if it changed: an IPC stream without batches, as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) schema: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns_added: Vec<ColumnAdded>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rows_added: Vec<RowsAdded>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows_dropped: Option<RowIds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows_restored: Option<RowIds>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) cells_set: Vec<CellsSet>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compacted: Option<Compacted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refs: Vec<RefSet>,
}

impl Entry {
    /// Whether it is a revision, and not only names for some.
    pub(crate) fn is_revision(&self) -> bool {
        !self.branch.is_empty()
    }

    /// What is wrong with it as an entry of its version, if anything.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        let first = self.format == 1;
        let later = self.rows_restored.is_some()
            || self.compacted.is_some()
            || self.next_column_id.is_some()
            || !self.refs.is_empty();
        let changes = self.schema.is_some()
            || self.compacted.is_some()
            || self.rows_dropped.is_some()
            || self.rows_restored.is_some()
            || !(self.columns_added.is_empty()
                && self.rows_added.is_empty()
                && self.cells_set.is_empty()
                && self.parents.is_empty());
        match self.is_revision() {
            true if first && later => Some("has fields of a later format than it says"),
            false if first => Some("names no branch"),
            false if changes => Some("changes the table on no branch"),
            _ => None,
        }
    }
}

/// A revision by its number and the BLAKE3 hash of its entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParentRef {
    pub(crate) revision: u64,
    pub(crate) hash: String,
}

/// A column that older data files do not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ColumnAdded {
    pub(crate) column: i32,
    /// What rows written before hold: an IPC stream of one row, as base64.
    pub(crate) default: String,
}

/// One Parquet file of rows. Row `i` of the file has the id `first_row_id + i`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowsAdded {
    /// `data/<blake3>.parquet` below the table, or the URL of a file that stays where it is.
    pub(crate) file: String,
    #[serde(deserialize_with = "super::row_id")]
    pub(crate) first_row_id: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) rows: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) in_place: Option<InPlace>,
}

/// What is remembered of a file that is not ours, to see when it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InPlace {
    /// The tag that the store gave the file; none for a local one, whose tag no copy of it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) etag: Option<String>,
    /// The BLAKE3 hash of its Parquet footer and the eight bytes after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) footer: Option<String>,
    /// The file's own column names by our column ids.
    pub(crate) columns: BTreeMap<i32, String>,
}

/// Row ids as a roaring bitmap of 64 bits, in its portable form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RowIds {
    pub(crate) file: String,
    #[serde(deserialize_with = "super::count")]
    pub(crate) rows: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
}

/// New values for some cells of one column: a Parquet file of `_rowid` and `value`, sorted by id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CellsSet {
    pub(crate) column: i32,
    pub(crate) file: String,
    #[serde(deserialize_with = "super::count")]
    pub(crate) cells: u64,
    #[serde(deserialize_with = "super::count")]
    pub(crate) bytes: u64,
}

/// The rows of an earlier revision in new files, its edits in them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compacted {
    /// The revision whose rows, edits and dropped rows these replace.
    pub(crate) revision: u64,
    pub(crate) rows: Vec<RowsAdded>,
    /// Rows that were dropped by then. Their values are not in the new files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_behind: Option<RowIds>,
}

/// A name for a revision, given, moved or taken away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RefSet {
    pub(crate) kind: RefKind,
    pub(crate) name: String,
    /// What it names from here on; nothing if there is no such name any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<ParentRef>,
}

/// What kind of name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RefKind {
    /// Moves with each revision made on it.
    Branch,
    /// Stays.
    Tag,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::format::{decode, encode};

    #[test]
    fn what_is_written_is_read_back() {
        let entry = Entry {
            format: 1,
            revision: 3,
            stamp: "s".into(),
            branch: "main".into(),
            ..Entry::default()
        };
        let bytes = encode(&entry).unwrap();
        assert_eq!(decode::<Entry>("r3", &bytes).unwrap(), entry);
    }

    #[test]
    fn a_newer_format_is_refused_even_if_nothing_else_of_it_is_known() {
        let err = decode::<Entry>("revision 3", br#"{"format": 99, "novelty": []}"#).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(
            err.to_string().contains("revision 3") && err.to_string().contains("version 99"),
            "{err}"
        );
    }

    #[test]
    fn an_entry_is_a_revision_on_a_branch_or_sets_names() {
        let revision = |branch: &str| Entry {
            format: 2,
            branch: branch.into(),
            next_column_id: Some(3),
            ..Entry::default()
        };
        assert_eq!(revision("main").flaw(), None);
        assert_eq!(revision("").flaw(), None);
        let old = Entry {
            format: 1,
            ..revision("main")
        };
        assert!(old.flaw().is_some(), "a field of version 2 in version 1");
        let astray = Entry {
            schema: Some("x".into()),
            ..revision("")
        };
        assert!(astray.flaw().is_some(), "a change on no branch");
    }

    #[test]
    fn what_is_no_entry_is_corrupt() {
        let whole = encode(&Entry {
            format: 1,
            ..Entry::default()
        })
        .unwrap();
        let unknown = br#"{"format": 1, "novelty": []}"#;
        for bytes in [&whole[..whole.len() / 2], b"", b"[]", b"\xff", unknown] {
            assert_eq!(
                decode::<Entry>("r3", bytes).unwrap_err().kind(),
                ErrorKind::Corrupt
            );
        }
    }
}
