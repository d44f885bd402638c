//! What two sides changed differently, and what somebody decides about it.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;

use super::commit::Committed;
use crate::error::Result;
use crate::id::{Cell, ColumnName};
use crate::patch::Value;
use crate::patch::columns::Side;

/// What became of a merge, a revert or a cherry-pick.
#[derive(Debug)]
pub enum Merged {
    /// A revision was made; or none, if there was nothing to do.
    Committed(Committed),
    /// Nothing was changed: somebody has to decide.
    Conflicts(Conflicts),
}

/// All that two sides changed differently.
#[derive(Clone, Debug, Default)]
pub struct Conflicts {
    /// By column.
    pub cells: Vec<CellConflicts>,
    /// Columns themselves, with the reason.
    pub columns: Vec<(String, String)>,
}

/// The cells of one column that two sides changed differently.
#[derive(Clone, Debug)]
pub struct CellConflicts {
    /// The column's name.
    pub column: ColumnName,
    /// The rows, ascending.
    pub row_ids: Vec<u64>,
    /// One value a row: what both came from. Null where the row was not there.
    pub base: ArrayRef,
    /// One value a row: the branch's own. Null where the row is not there.
    pub ours: ArrayRef,
    /// One value a row: what is to be brought in. Null where the row is not there.
    pub theirs: ArrayRef,
    /// The rows that the branch dropped.
    pub ours_dropped: Vec<u64>,
    /// The rows that are dropped by what is to be brought in.
    pub theirs_dropped: Vec<u64>,
}

impl Conflicts {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty() && self.columns.is_empty()
    }

    /// How many cells.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.cells.iter().map(|cells| cells.row_ids.len()).sum()
    }
}

/// Which side's change holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// The branch's own.
    Ours,
    /// What is brought in.
    Theirs,
}

/// What to do where both sides changed the same.
///
/// ```
/// use tlc_core::{Resolution, Take};
///
/// let by_hand = Resolution::new()
///     .take(17, "label", Take::Theirs)?
///     .set(18, "label", "dog")?;
/// let ours = Resolution::all(Take::Ours);
/// # Ok::<(), tlc_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Resolution {
    all: Option<Take>,
    cells: BTreeMap<Cell, Choice>,
}

#[derive(Clone, Debug)]
pub(super) enum Choice {
    Take(Take),
    Set(Value),
}

impl Resolution {
    /// Nothing is decided: any conflict stops.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One side's change holds wherever nothing else is said, for cells and for columns.
    #[must_use]
    pub fn all(take: Take) -> Self {
        Self {
            all: Some(take),
            cells: BTreeMap::new(),
        }
    }

    /// One side's value for a cell.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if no column can have that name.
    pub fn take(mut self, row_id: u64, column: &str, take: Take) -> Result<Self> {
        let column = column.parse()?;
        self.cells
            .insert(Cell { row_id, column }, Choice::Take(take));
        Ok(self)
    }

    /// A value of one's own for a cell.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn set(mut self, row_id: u64, column: &str, value: impl Into<Value>) -> Result<Self> {
        let column = column.parse()?;
        self.cells
            .insert(Cell { row_id, column }, Choice::Set(value.into()));
        Ok(self)
    }

    pub(super) fn choice(&self, row_id: u64, column: &ColumnName) -> Option<Choice> {
        let column = column.clone();
        let own = self.cells.get(&Cell { row_id, column }).cloned();
        own.or_else(|| self.all.map(Choice::Take))
    }

    pub(super) fn side(&self) -> Option<Side> {
        self.all.map(|take| match take {
            Take::Ours => Side::Ours,
            Take::Theirs => Side::Theirs,
        })
    }
}
