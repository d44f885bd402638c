//! Where names in a query lead: projects are schemas, and what they hold is looked up when named.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::Result as EngineResult;
use datafusion::common::utils::datafusion_strsim::normalized_levenshtein;
use datafusion::logical_expr::TableType;

use crate::error::{Error, ErrorKind, Result};
use crate::id::ProjectName;
use crate::project::{Project, Root};
use crate::table::{Snapshot, Table};

use super::provider::SnapshotTable;
use super::runs::{self, Records};

/// The one catalog of a session.
pub(super) const CATALOG: &str = "tlc";

/// The schema of names without a project, where the session has none: no project can have it.
pub(super) const NO_PROJECT: &str = "-";

/// How alike two names must be for one to be offered for the other.
const LIKENESS_MIN: f64 = 0.5;

/// The tables that a session has met: what was read of their logs is not read again.
#[derive(Clone, Default)]
pub(super) struct Opened(Arc<Mutex<BTreeMap<(String, String), Table>>>);

impl Opened {
    /// The table, opened now or before.
    async fn table(&self, project: &Project, name: &str) -> Result<Table> {
        let key = (project.name().to_string(), name.to_owned());
        let met = self.lock().get(&key).cloned();
        if let Some(met) = met
            && met.is_same().await?
        {
            return Ok(met);
        }
        let table = project.table(name).await?;
        self.lock().insert(key, table.clone());
        Ok(table)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(String, String), Table>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one query can name. Made anew for each, so that each sees the root as it is.
pub(super) struct Catalog {
    root: Root,
    project: Option<ProjectName>,
    opened: Opened,
    /// Snapshots that the query is about, whatever else happens to their tables.
    pinned: BTreeMap<(String, String), Arc<dyn TableProvider>>,
    /// Every name of every project; empty until [`Self::list`] is called.
    names: OnceLock<BTreeMap<String, Vec<String>>>,
    /// Names that led nowhere.
    missed: Mutex<Vec<(String, String)>>,
}

impl Catalog {
    pub(super) fn new(root: &Root, project: Option<ProjectName>, opened: &Opened) -> Self {
        Self {
            root: root.clone(),
            project,
            opened: opened.clone(),
            pinned: BTreeMap::new(),
            names: OnceLock::new(),
            missed: Mutex::default(),
        }
    }

    /// Makes `snapshot` what `<its project>."<name>"` means.
    pub(super) fn pin(mut self, name: String, snapshot: &Snapshot) -> Self {
        let project = snapshot.table().project().to_string();
        self.pinned
            .insert((project, name), Arc::new(SnapshotTable::new(snapshot)));
        self
    }

    /// Lists every name, for queries that ask for the names.
    pub(super) async fn list(&self) -> Result<()> {
        let mut names = BTreeMap::new();
        for name in self.root.projects().await? {
            let project = self.root.project(name.as_str())?;
            names.insert(name.to_string(), names_in(&project).await?);
        }
        self.names.get_or_init(|| names);
        Ok(())
    }

    /// What `<project>.<name>` is, if it is anything.
    async fn table(&self, project: &str, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(pinned) = self.pinned.get(&(project.to_owned(), name.to_owned())) {
            return Ok(Some(Arc::clone(pinned)));
        }
        let Ok(checked) = project.parse::<ProjectName>() else {
            return Ok(self.miss(project, name));
        };
        let opened = self.root.project(project)?;
        if let Some(kind) = Records::named(name) {
            let known = self.root.projects().await?.contains(&checked);
            return if known {
                runs::provider(opened, kind).await.map(Some)
            } else {
                Ok(self.miss(project, name))
            };
        }
        let (table, at) = name.split_once('@').unwrap_or((name, "main"));
        let table = match self.opened.table(&opened, table).await {
            Ok(table) => table,
            Err(err) if matches!(err.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                return Ok(self.miss(project, name));
            }
            Err(err) => return Err(err),
        };
        let snapshot = match at {
            "main" => table.head().await?,
            at => table.at(table.resolve(at).await?).await?,
        };
        Ok(Some(Arc::new(SnapshotTable::new(&snapshot))))
    }

    fn miss(&self, project: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        missed.push((project.to_owned(), name.to_owned()));
        None
    }

    /// An unknown name becomes an error that says which names there are; another error stays.
    pub(super) async fn explain(&self, err: Error) -> Error {
        let missed = self
            .missed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let text = err.to_string();
        let named = |(project, name): &&(String, String)| {
            text.contains(&format!("table '{CATALOG}.{project}.{name}' not found"))
        };
        match missed.iter().find(named) {
            Some((project, name)) => self
                .unknown(project, name)
                .await
                .unwrap_or_else(|failed| failed),
            None => err,
        }
    }

    /// The error of a name that leads to no table, saying which there are.
    pub(super) async fn unknown(&self, project: &str, name: &str) -> Result<Error> {
        if project == NO_PROJECT {
            let hint = list("the projects are", &self.projects().await?);
            return Ok(Error::not_found(format!(
                "no table {name:?} without a project; write <project>.{name}; {hint}"
            )));
        }
        let projects = self.projects().await?;
        if !projects.iter().any(|known| known == project) {
            let hint = nearest(project, &projects, quoted);
            return Ok(Error::not_found(format!("no project {project:?}; {hint}")));
        }
        let names = names_in(&self.root.project(project)?).await?;
        let hint = nearest(name, &names, |name| {
            format!("{}.{}", quoted(project), quoted(name))
        });
        Ok(Error::not_found(format!(
            "no table {name:?} in project {project:?}; {hint}"
        )))
    }

    async fn projects(&self) -> Result<Vec<String>> {
        Ok(self
            .root
            .projects()
            .await?
            .iter()
            .map(ToString::to_string)
            .collect())
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog")
            .field("root", &self.root)
            .field("project", &self.project)
            .finish_non_exhaustive()
    }
}

/// The names in a project: its tables, then what every project has.
async fn names_in(project: &Project) -> Result<Vec<String>> {
    let tables = project.tables().await?;
    let records = Records::ALL.iter().map(|kind| kind.name().to_owned());
    Ok(tables
        .iter()
        .map(ToString::to_string)
        .chain(records)
        .collect())
}

/// `mnist`, but `"My-Project"`: how SQL must spell a name to mean it.
fn quoted(name: &str) -> String {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let plain = plain && !name.starts_with(|c: char| c.is_ascii_digit());
    if plain {
        name.to_owned()
    } else {
        format!("\"{name}\"")
    }
}

/// Names alike to `name`, else all names, as SQL spells them.
fn nearest(name: &str, known: &[String], spell: impl Fn(&str) -> String) -> String {
    let wanted = name.to_lowercase();
    let likeness = |known: &String| normalized_levenshtein(&wanted, &known.to_lowercase());
    let best = known
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|best| likeness(best) >= LIKENESS_MIN) {
        Some(best) => format!("did you mean {}?", spell(best)),
        None => list(
            "there is",
            &known.iter().map(|name| spell(name)).collect::<Vec<_>>(),
        ),
    }
}

fn list(lead: &str, names: &[String]) -> String {
    match names {
        [] => "there is none yet".to_owned(),
        names => format!("{lead} {}", names.join(", ")),
    }
}

/// The catalog as the engine holds it.
#[derive(Debug)]
pub(super) struct Projects(pub(super) Arc<Catalog>);

impl CatalogProvider for Projects {
    fn schema_names(&self) -> Vec<String> {
        self.0
            .names
            .get()
            .map(|names| names.keys().cloned().collect())
            .unwrap_or_default()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        Some(Arc::new(Names {
            catalog: Arc::clone(&self.0),
            project: name.to_owned(),
        }))
    }
}

/// The names of one project.
#[derive(Debug)]
struct Names {
    catalog: Arc<Catalog>,
    project: String,
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        self.catalog
            .names
            .get()
            .and_then(|names| names.get(&self.project))
            .cloned()
            .unwrap_or_default()
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.catalog.table(&self.project, name).await?)
    }

    /// Known without opening the table, so that a list of names costs no more than listing.
    async fn table_type(&self, name: &str) -> EngineResult<Option<TableType>> {
        let kind = if Records::named(name).is_some() {
            TableType::View
        } else {
            TableType::Base
        };
        Ok(Some(kind))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.table_names().iter().any(|known| known == name)
    }
}
