//! What several tests need: roots, a small table, and its rows as text.

use std::sync::Arc;

use tlc_core::arrow::array::{
    Array as _, ArrayRef, AsArray as _, Float32Array, Int32Array, RecordBatch, RecordBatchIterator,
    RecordBatchReader, make_array,
};
use tlc_core::arrow::datatypes::{DataType, Int64Type, Schema};
use tlc_core::arrow::util::display::{ArrayFormatter, FormatOptions};
use tlc_core::object_store::ObjectStore;
use tlc_core::object_store::memory::InMemory;
use tlc_core::object_store::path::Path;
use tlc_core::{
    Env, Project, Root, RootOptions, Rows, Run, RunOptions, ScanOptions, Snapshot, Table, block_on,
    schema,
};

/// A place for one root, on a store of some kind, that no other test uses.
pub(crate) struct Ground {
    url: String,
    options: Vec<(&'static str, String)>,
    /// Memory that is opened anew would be empty.
    memory: Option<Arc<dyn ObjectStore>>,
    _folder: Option<tempfile::TempDir>,
    /// What is logged to a server is kept here until it is uploaded.
    spool: Option<tempfile::TempDir>,
}

impl Ground {
    pub(crate) fn memory() -> Self {
        Self {
            url: "memory:///".to_owned(),
            options: Vec::new(),
            memory: Some(Arc::new(InMemory::new())),
            _folder: None,
            spool: None,
        }
    }

    pub(crate) fn disk() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            url: folder.path().to_str().unwrap().to_owned(),
            options: Vec::new(),
            memory: None,
            _folder: Some(folder),
            spool: None,
        }
    }

    #[cfg(any(feature = "aws", feature = "azure"))]
    fn server(address: crate::servers::Address) -> Self {
        Self {
            url: address.url,
            options: address.options,
            memory: None,
            _folder: None,
            spool: Some(tempfile::tempdir().unwrap()),
        }
    }

    #[cfg(feature = "aws")]
    pub(crate) fn s3() -> Self {
        Self::server(crate::servers::s3())
    }

    /// S3 as a server speaks it that ignores the condition of a put.
    #[cfg(feature = "aws")]
    pub(crate) fn unconditional() -> Self {
        Self::server(crate::servers::unconditional())
    }

    #[cfg(feature = "azure")]
    pub(crate) fn azure() -> Self {
        Self::server(crate::servers::azure())
    }

    /// The store that `TLC_TEST_STORE` names, `s3` or `azure`; without it, the one of `otherwise`.
    pub(crate) fn chosen_or(otherwise: impl FnOnce() -> Self) -> Self {
        #[expect(clippy::disallowed_methods, reason = "what runs the tests says it so")]
        match std::env::var("TLC_TEST_STORE").as_deref() {
            Err(_) => otherwise(),
            #[cfg(feature = "aws")]
            Ok("s3") => Self::s3(),
            #[cfg(feature = "azure")]
            Ok("azure") => Self::azure(),
            Ok(other) => panic!("TLC_TEST_STORE={other:?} is no store that is built in"),
        }
    }

    fn options(&self) -> RootOptions {
        let mut options = RootOptions::new();
        if let Some(spool) = &self.spool {
            options = options.spool(spool.path());
        }
        let own = self.options.iter();
        own.fold(options, |options, (key, value)| options.option(*key, value))
    }

    /// The root through a handle of its own, as another process would open it.
    pub(crate) fn root_with(&self, change: impl Fn(RootOptions) -> RootOptions) -> Root {
        let options = change(self.options().author("ada"));
        match &self.memory {
            None => block_on(Root::open_with(&self.url, options)).unwrap(),
            Some(memory) => {
                let url = self.url.parse().unwrap();
                Root::in_store(Arc::clone(memory), Path::default(), url, options)
            }
        }
    }

    pub(crate) fn root(&self) -> Root {
        self.root_with(|options| options)
    }

    pub(crate) fn project(&self) -> Project {
        self.root().project("zoo").unwrap()
    }

    /// The root through `wrap` around its store.
    pub(crate) fn root_over(
        &self,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Root {
        let root = self.root();
        let (store, path) = (wrap(Arc::clone(root.store())), root.path().clone());
        Root::in_store(store, path, root.url().clone(), self.options())
    }
}

/// A project in memory, or where `TLC_TEST_STORE` says, with a clock and ids of its own.
pub(crate) fn project() -> Project {
    let ground = Ground::chosen_or(Ground::memory);
    let root = ground.root_with(|options| options.env(Env::manual()));
    root.project("zoo").unwrap()
}

/// The same in a given store.
pub(crate) fn project_in(store: Arc<dyn ObjectStore>) -> Project {
    at(store, Path::default())
}

/// A project as another process opens it, through `wrap` around its store.
pub(crate) fn project_over(
    project: &Project,
    wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
) -> Project {
    let root = project.root();
    at(wrap(Arc::clone(root.store())), root.path().clone())
}

fn at(store: Arc<dyn ObjectStore>, path: Path) -> Project {
    let options = RootOptions::new().env(Env::manual());
    let url = "memory:///".parse().unwrap();
    Root::in_store(store, path, url, options)
        .project("zoo")
        .unwrap()
}

/// A project on disk, and the folder that goes when the value does.
pub(crate) fn project_on_disk() -> (tempfile::TempDir, Project) {
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().to_str().unwrap();
    let root = block_on(Root::open_with(url, RootOptions::new().author("ada"))).unwrap();
    let project = root.project("zoo").unwrap();
    (folder, project)
}

/// Rows of a label and a weight, as `label:weight` each.
pub(crate) fn animals(text: &str) -> RecordBatch {
    let pairs = text
        .split_whitespace()
        .map(|pair| pair.split_once(':').unwrap());
    let (labels, weights): (Vec<i32>, Vec<f32>) = pairs
        .map(|(label, weight)| {
            (
                label.parse::<i32>().unwrap(),
                weight.parse::<f32>().unwrap(),
            )
        })
        .unzip();
    let fields = vec![
        schema::label("animal", ["cat", "dog", "cow"]),
        schema::weight("weight"),
    ];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from(labels)),
        Arc::new(Float32Array::from(weights)),
    ];
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A reader of one batch.
pub(crate) fn reader(batch: RecordBatch) -> impl RecordBatchReader + Send + 'static {
    let schema = batch.schema();
    RecordBatchIterator::new([Ok(batch)], schema)
}

/// A table `train` of the rows in `text`.
pub(crate) fn table(project: &Project, text: &str) -> Table {
    block_on(project.create_table("train", reader(animals(text)), "made for a test")).unwrap()
}

/// Times in UTC by its offset: zones by name are known with SQL only.
fn by_offset(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            let by_offset = DataType::Timestamp(*unit, Some("+00:00".into()));
            let data = column.to_data().into_builder().data_type(by_offset);
            make_array(data.build().unwrap())
        }
        _ => Arc::clone(column),
    }
}

/// Rows as `id:value:value …`, in order.
pub(crate) fn text(batch: &RecordBatch) -> String {
    let options = FormatOptions::new().with_null("-");
    let columns: Vec<ArrayRef> = batch.columns().iter().map(by_offset).collect();
    let columns: Vec<_> = columns
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    let row = |row: usize| {
        columns
            .iter()
            .map(|column| column.value(row).to_string())
            .collect::<Vec<_>>()
            .join(":")
    };
    (0..batch.num_rows()).map(row).collect::<Vec<_>>().join(" ")
}

/// A run of which nothing is stored but what is logged: whatever is found out beside comes at any moment.
pub(crate) fn quiet(name: &str) -> RunOptions {
    let options = RunOptions::from(name).without_provenance();
    #[cfg(feature = "system")]
    return options.without_system();
    #[cfg(not(feature = "system"))]
    options
}

/// The column `step` of scalars or sample metrics, in ascending order.
pub(crate) fn steps(batches: &[RecordBatch]) -> Vec<i64> {
    let steps = |batch: &RecordBatch| {
        let steps = batch.column_by_name("step").unwrap();
        steps.as_primitive::<Int64Type>().values().to_vec()
    };
    let mut steps: Vec<i64> = batches.iter().flat_map(steps).collect();
    steps.sort_unstable();
    steps
}

/// Logs a scalar `loss`, and a row of the stream `train` in epoch 0, at each step.
pub(crate) fn log(run: &Run, steps: std::ops::Range<i64>) {
    for step in steps {
        run.log(step, &[("loss", 0.5)]);
        let id = u64::try_from(step).unwrap();
        let loss: ArrayRef = Arc::new(Float32Array::from(vec![0.5]));
        let columns = RecordBatch::try_from_iter([("loss", loss)]).unwrap();
        let rows = Rows::new("train", 0, vec![id]).unwrap().step(step);
        run.samples(&rows, &columns).unwrap();
    }
}

/// All rows of a snapshot as text.
pub(crate) fn rows(snapshot: &Snapshot) -> String {
    text(&block_on(snapshot.read(ScanOptions::new())).unwrap())
}

/// All rows of the head as text.
pub(crate) fn head(table: &Table) -> String {
    rows(&block_on(table.head()).unwrap())
}
