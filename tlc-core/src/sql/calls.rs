//! Table functions, such as `diff('<project>/<table>', …)` and `flips('<project>/<run>', …)`: what they
//! are called with. What they give is in a module for each, for comparisons in one, for questions about sample metrics in one, and in one for what
//! is wrong with the data.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{Result as EngineResult, ScalarValue};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::project::Root;

use super::{blame, compare, diff, quality, questions};

/// The most runs that are compared with one.
const RUNS_MAX: usize = 1_000;

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    AreaUnderMargin,
    Blame,
    BoxIssues,
    Compare,
    CompareClasses,
    CompareSamples,
    Confusion,
    Diff,
    Embeddings,
    EpochMeans,
    Flips,
    Forgotten,
    LabelIssues,
    LabelNoise,
    LossTrend,
    NearDuplicates,
    Nearest,
    Outliers,
    TopSamples,
}

impl Function {
    pub(super) const ALL: [Self; 19] = [
        Self::AreaUnderMargin,
        Self::Blame,
        Self::BoxIssues,
        Self::Compare,
        Self::CompareClasses,
        Self::CompareSamples,
        Self::Confusion,
        Self::Diff,
        Self::Embeddings,
        Self::EpochMeans,
        Self::Flips,
        Self::Forgotten,
        Self::LabelIssues,
        Self::LabelNoise,
        Self::LossTrend,
        Self::NearDuplicates,
        Self::Nearest,
        Self::Outliers,
        Self::TopSamples,
    ];

    /// As queries name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AreaUnderMargin => "area_under_margin",
            Self::Blame => "blame",
            Self::BoxIssues => "box_issues",
            Self::Compare => "compare",
            Self::CompareClasses => "compare_classes",
            Self::CompareSamples => "compare_samples",
            Self::Confusion => "confusion",
            Self::Diff => "diff",
            Self::Embeddings => "embeddings",
            Self::EpochMeans => "epoch_means",
            Self::Flips => "flips",
            Self::Forgotten => "forgotten",
            Self::LabelIssues => "label_issues",
            Self::LabelNoise => "label_noise",
            Self::LossTrend => "loss_trend",
            Self::NearDuplicates => "near_duplicates",
            Self::Nearest => "nearest",
            Self::Outliers => "outliers",
            Self::TopSamples => "top_samples",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    fn usage(self) -> &'static str {
        match self {
            Self::AreaUnderMargin => {
                "write area_under_margin('<project>/<run>', '<stream>'), and how many at most or 'all', then the class of the threshold samples or 'none', then the '<column>' of the margins, '<label>' and a revision of the table that has the labels, such as area_under_margin('mnist/lenet', 'train', 'all', 10)"
            }
            Self::Blame => {
                "write blame('<project>/<table>', '<column>') or blame('<project>/<table>', '<column>', <revision>), such as blame('mnist/train', 'label', 3)"
            }
            Self::BoxIssues => {
                "write box_issues('<project>/<run>', '<stream>', <epoch>), and how many at most or 'all', then '<true boxes>', '<predicted boxes>' and a revision of the table that has the true boxes, such as box_issues('coco/yolo', 'val', 6, 20)"
            }
            Self::Compare => {
                "write compare('<project>/<run>', '<run>'), and more runs that are to be compared with the first, such as compare('mnist/before', 'after')"
            }
            Self::CompareClasses => {
                "write compare_classes('<project>/<run>', '<run>', '<stream>'), such as compare_classes('mnist/before', 'after', 'val')"
            }
            Self::CompareSamples => {
                "write compare_samples('<project>/<run>', '<run>', '<stream>'), and how many at most or 'all', such as compare_samples('mnist/before', 'after', 'val', 20)"
            }
            Self::Confusion => {
                "write confusion('<project>/<run>', '<stream>', <epoch>), and if they are not called so '<label>', then '<predicted>', then a revision of the table that has the labels, such as confusion('mnist/lenet', 'test', 6, 'label', 'predicted', 'main')"
            }
            Self::Diff => {
                "write diff('<project>/<table>', <revision>, <revision>), such as diff('mnist/train', 0, 1) or diff('mnist/train', 'main', 'cleanup')"
            }
            Self::Embeddings => {
                "write embeddings('<project>/<run>', '<stream>', <epoch>) or embeddings('<project>/<run>', '<stream>', <epoch>, '<column>'), such as embeddings('mnist/lenet', 'test', 6)"
            }
            Self::EpochMeans => {
                "write epoch_means('<project>/<run>', '<stream>', '<column>'), such as epoch_means('mnist/lenet', 'train', 'loss')"
            }
            Self::Flips => {
                "write flips('<project>/<run>', '<stream>'), and how many at most or 'all', then '<predicted>' if that is not its name, such as flips('mnist/lenet', 'train', 20)"
            }
            Self::Forgotten => {
                "write forgotten('<project>/<run>', '<stream>'), and how many at most or 'all', then '<label>', '<predicted>' and a revision of the table that has the labels, such as forgotten('mnist/lenet', 'train', 20)"
            }
            Self::LabelIssues => {
                "write label_issues('<project>/<run>', '<stream>', <epoch>), and how many at most or 'all', then '<label>', '<probabilities>' and a revision of the table that has the labels or 'none', then 'by_noise_rate', 'by_class' or 'confident', and 'self_confidence' or 'margin', such as label_issues('mnist/lenet', 'val', 6, 20) or label_issues('mnist/lenet', 'val', 6, 'all', 'label', 'probabilities', 'none', 'by_class', 'margin')"
            }
            Self::LabelNoise => {
                "write label_noise('<project>/<run>', '<stream>', <epoch>), and if they are not called so '<label>', then '<probabilities>', then a revision of the table that has the labels, such as label_noise('mnist/lenet', 'val', 6)"
            }
            Self::LossTrend => {
                "write loss_trend('<project>/<run>', '<stream>'), and how many at most or 'all', then '<loss>' if that is not its name, such as loss_trend('mnist/lenet', 'train', 20)"
            }
            Self::NearDuplicates => {
                "write near_duplicates('<project>/<run>', '<stream>', <epoch>), and how many at most or 'all', then the '<column>' of the vectors, such as near_duplicates('mnist/lenet', 'test', 6)"
            }
            Self::Nearest => {
                "write nearest('<project>/<run>', '<stream>', <epoch>, '<row id>,<row id>'), and how many of each, then the '<column>' of the vectors, such as nearest('mnist/lenet', 'test', 6, '17,4211', 5)"
            }
            Self::Outliers => {
                "write outliers('<project>/<run>', '<stream>', <epoch>), and how many at most or 'all', then the '<column>' of the vectors, such as outliers('mnist/lenet', 'test', 6)"
            }
            Self::TopSamples => {
                "write top_samples('<project>/<run>', '<stream>', '<column>', <n>) or top_samples('<project>/<run>,<run>', '<stream>', '<column>', <n>, 'lowest'), such as top_samples('mnist/lenet', 'train', 'loss', 20); '<project>/*' means all runs"
            }
        }
    }

    /// How many arguments there are after the first.
    fn n_arguments(self) -> RangeInclusive<usize> {
        match self {
            Self::Blame => 1..=2,
            Self::Compare => 1..=RUNS_MAX,
            Self::CompareSamples => 2..=3,
            Self::CompareClasses | Self::Diff | Self::EpochMeans => 2..=2,
            Self::TopSamples => 3..=4,
            Self::Confusion | Self::LabelNoise => 2..=5,
            Self::Forgotten => 1..=5,
            Self::Flips | Self::LossTrend => 1..=3,
            Self::Embeddings => 2..=3,
            Self::AreaUnderMargin => 1..=6,
            Self::BoxIssues => 2..=6,
            Self::LabelIssues => 2..=8,
            Self::NearDuplicates | Self::Outliers => 2..=4,
            Self::Nearest => 3..=5,
        }
    }

    fn schema(self) -> &'static SchemaRef {
        match self {
            Self::Blame => &blame::SCHEMA,
            Self::Compare => &compare::COMPARE,
            Self::CompareClasses => &compare::COMPARE_CLASSES,
            Self::CompareSamples => &compare::COMPARE_SAMPLES,
            Self::Confusion => &questions::CONFUSION,
            Self::Diff => &diff::SCHEMA,
            Self::Embeddings => &questions::EMBEDDINGS,
            Self::EpochMeans => &questions::EPOCH_MEANS,
            Self::Flips => &questions::FLIPS,
            Self::Forgotten => &questions::FORGOTTEN,
            Self::AreaUnderMargin | Self::LabelIssues => &quality::ISSUES,
            Self::BoxIssues => &quality::BOX_ISSUES,
            Self::LabelNoise => &quality::LABEL_NOISE,
            Self::LossTrend => &quality::LOSS_TREND,
            Self::NearDuplicates => &quality::NEAR_DUPLICATES,
            Self::Nearest => &quality::NEAREST,
            Self::Outliers => &quality::OUTLIERS,
            Self::TopSamples => &questions::TOP_SAMPLES,
        }
    }
}

/// One call: of which function, for which table or run, and what else it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) function: Function,
    /// `<project>/<table>` or `<project>/<run>`, looked up when it is scanned.
    pub(super) of: String,
    pub(super) arguments: Vec<String>,
}

impl Call {
    /// A call with its arguments as they stand in the query.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), saying how it is called.
    fn read(function: Function, arguments: &[Expr]) -> Result<Self> {
        let usage = || Error::invalid(function.usage());
        let texts: Option<Vec<String>> = arguments.iter().map(literal).collect();
        let mut texts = texts.ok_or_else(usage)?.into_iter();
        let call = Self {
            function,
            of: texts.next().ok_or_else(usage)?,
            arguments: texts.collect(),
        };
        let fits = function.n_arguments().contains(&call.arguments.len());
        (fits && call.of.contains('/'))
            .then_some(call)
            .ok_or_else(usage)
    }

    async fn rows(&self, root: &Root) -> Result<RecordBatch> {
        let usage = || Error::invalid(self.function.usage());
        let (project, name) = self.of.split_once('/').ok_or_else(usage)?;
        let project = root.project(project)?;
        match (self.function, self.arguments.as_slice()) {
            (Function::Blame, [column]) => {
                blame::rows(&project.table(name).await?, column, None).await
            }
            (Function::Blame, [column, at]) => {
                blame::rows(&project.table(name).await?, column, Some(at)).await
            }
            (Function::Diff, [from, to]) => diff::rows(&project.table(name).await?, from, to).await,
            (
                Function::Compare | Function::CompareClasses | Function::CompareSamples,
                arguments,
            ) => {
                let rows = compare::rows(&project, name, self.function, arguments).await?;
                questions::told(&rows.ok_or_else(usage)?, self.function.schema())
            }
            (function, arguments) => {
                let rows = match questions::rows(&project, name, function, arguments).await? {
                    None => quality::rows(&project, name, function, arguments).await?,
                    rows => rows,
                };
                questions::told(&rows.ok_or_else(usage)?, function.schema())
            }
        }
    }
}

/// A number or a text that stands in the query itself.
fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(text)) | ScalarValue::Utf8View(Some(text)), _) => {
            Some(text.clone())
        }
        Expr::Literal(value, _) if value.data_type().is_integer() && !value.is_null() => {
            Some(value.to_string())
        }
        _ => None,
    }
}

/// A function as the engine calls it. Reading its arguments makes no request.
pub(super) struct Callable {
    root: Root,
    function: Function,
}

impl Callable {
    pub(super) fn new(root: &Root, function: Function) -> Self {
        let root = root.clone();
        Self { root, function }
    }
}

impl fmt::Debug for Callable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.function.name())
    }
}

impl TableFunctionImpl for Callable {
    fn call_with_args(&self, args: TableFunctionArgs) -> EngineResult<Arc<dyn TableProvider>> {
        let call = Call::read(self.function, args.exprs())?;
        Ok(Arc::new(CallTable::new(&self.root, call)))
    }
}

/// What a call gives; the work is done when it is scanned.
#[derive(Debug)]
pub(super) struct CallTable {
    root: Root,
    call: Call,
}

impl CallTable {
    pub(super) fn new(root: &Root, call: Call) -> Self {
        let root = root.clone();
        Self { root, call }
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }
}

#[async_trait]
impl TableProvider for CallTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.call.function.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> EngineResult<Arc<dyn ExecutionPlan>> {
        let rows = self.call.rows(&self.root).await?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            self.schema(),
            projection.cloned(),
        )?)
    }
}
