//! A snapshot by its name: at hand where a query was planned, opened when first read where a plan
//! came as bytes.

use std::fmt;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::error::{Error, Result};
use crate::id::{ProjectName, Revision, TableName};
use crate::project::Project;
use crate::table::Snapshot;

/// One revision of one table. Cheap to clone; clones open it once.
#[derive(Clone)]
pub(super) struct Pinned {
    pub(super) project: ProjectName,
    pub(super) table: TableName,
    pub(super) revision: Revision,
    /// Where to look, unless the snapshot is at hand.
    place: Option<Project>,
    snapshot: Arc<OnceCell<Snapshot>>,
}

impl Pinned {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            project: snapshot.table().project().clone(),
            table: snapshot.table().name().clone(),
            revision: snapshot.revision(),
            place: None,
            snapshot: Arc::new(OnceCell::new_with(Some(snapshot.clone()))),
        }
    }

    pub(super) fn named(place: Project, table: TableName, revision: Revision) -> Self {
        Self {
            project: place.name().clone(),
            table,
            revision,
            place: Some(place),
            snapshot: Arc::default(),
        }
    }

    /// The snapshot if it is open.
    pub(super) fn known(&self) -> Option<&Snapshot> {
        self.snapshot.get()
    }

    /// The snapshot. The first call reads the table's log if it is not at hand.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such table or revision.
    pub(super) async fn open(&self) -> Result<&Snapshot> {
        let open = || async {
            let place = self.place.as_ref();
            let place = place.ok_or_else(|| Error::not_found(format!("{self} is nowhere")))?;
            place
                .table(self.table.as_str())
                .await?
                .at(self.revision)
                .await
        };
        self.snapshot.get_or_try_init(open).await
    }
}

/// `mnist/train@7`.
impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.project, self.table, self.revision)
    }
}
