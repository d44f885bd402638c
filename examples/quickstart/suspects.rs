//! Which labels are wrong: by confident learning over what was said of every digit by a network that had not seen it, and
//! by one query over what one network thought of every digit while it learnt them.

use std::collections::BTreeSet;

use tlc_core::arrow::array::{AsArray as _, RecordBatch};
use tlc_core::arrow::datatypes::UInt64Type;
use tlc_core::{LabelIssueOptions, Patch, Project, Root, RunName, Sql, block_on};

use crate::Result;
use crate::train::HELD_OUT;

/// The digits whose label is doubted by networks that were not trained on them.
pub(crate) fn doubted(project: &Project, run: &RunName) -> Result<BTreeSet<u64>> {
    let options = LabelIssueOptions::new();
    let issues = block_on(project.label_issues(run.as_str(), HELD_OUT, 0, options))?;
    Ok(row_ids(&issues)?.iter().copied().collect())
}

/// The digits whose label the network hardly ever believed: in more than four of five epochs it gave
/// another class more than the label. Each with the class it then gave most; the surest first.
///
/// This needs no idea of how many labels are wrong. It works because a network learns what most labels
/// agree on before it learns the exceptions by heart, which it begins to do in the last epochs.
pub(crate) fn query(run: &RunName) -> String {
    format!(
        "SELECT _rowid, avg(margin) AS mean_margin, first_value(predicted ORDER BY margin) AS label
FROM mnist.samples WHERE run = '{run}' AND stream = 'train'
GROUP BY _rowid HAVING count(*) FILTER (WHERE margin > 0) < 0.2 * count(*)
ORDER BY mean_margin"
    )
}

/// The answer to [`query`]: `_rowid`, `mean_margin`, `label`.
pub(crate) struct Suspects(Vec<RecordBatch>);

/// Asks the query.
pub(crate) fn find(root: &Root, run: &RunName) -> Result<Suspects> {
    let sql = query(run);
    Ok(Suspects(block_on(async {
        Sql::open(root).await?.collect(&sql).await
    })?))
}

impl Suspects {
    pub(crate) fn n_rows(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }

    /// Gives them, in `patch`, the labels that the network gave them.
    pub(crate) fn relabel(&self, patch: &mut Patch) -> Result<()> {
        for rows in &self.0 {
            patch.set_batch(&rows.project(&[0, 2])?)?;
        }
        Ok(())
    }

    /// How many of them are among `row_ids`.
    pub(crate) fn n_among(&self, row_ids: &BTreeSet<u64>) -> Result<usize> {
        let mut n_among = 0;
        for rows in &self.0 {
            let among = self::row_ids(rows)?
                .iter()
                .filter(|id| row_ids.contains(id));
            n_among += among.count();
        }
        Ok(n_among)
    }
}

fn row_ids(rows: &RecordBatch) -> Result<&[u64]> {
    let ids = rows.column(0).as_primitive_opt::<UInt64Type>();
    Ok(ids.ok_or("row ids are not UInt64")?.values())
}
