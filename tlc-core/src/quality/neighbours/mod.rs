//! Which samples are near each other by the vectors that a run logged of them: the nearest ones of some, samples that are
//! almost the same, and samples that are like no others.
//!
//! The nearest ones of some samples are found by measuring every distance, in 64 bits and on all cores; so are those of all samples up to
//! 20,000 of them. Of more an index finds them, which misses a few; without the feature `neighbours` there is none. Either way the same vectors
//! have the same neighbours.
//!
//! Whoever reads the code begins with `graph`, which says what neighbours mean.

mod exact;
mod graph;
#[cfg(feature = "neighbours")]
mod index;
mod vectors;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};

use self::graph::{Duplicate, Outlier, duplicates, outliers};
use self::vectors::Vectors;
use super::answer::{named, rows};
use super::options::NeighbourOptions;
use crate::error::{Error, Result};
use crate::id::ROWID;
use crate::project::Project;
use crate::questions::best;
use crate::questions::{OneTable, vectors as is_vectors};
use crate::runtime::run_blocking;

/// Of more vectors than these the neighbours of all are looked up in an index.
#[cfg(feature = "neighbours")]
const EXACT_ROWS_MAX: usize = 20_000;

/// A neighbour by its position, and how far away it is.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Near {
    at: usize,
    distance: f64,
}

impl Near {
    /// The nearer one first, of equally near ones the first.
    fn order(&self, other: &Self) -> Ordering {
        let by_distance = self.distance.total_cmp(&other.distance);
        by_distance.then(self.at.cmp(&other.at))
    }
}

impl Project {
    /// The nearest neighbours of some samples among those of an epoch, by their vectors: `of` (a row id that was asked for), `_rowid` (of a
    /// neighbour) and `distance` (Float64); by `of` in the order in which they were asked for, nearest first, of equally near ones the lowest
    /// row id. A sample is no neighbour of itself. Of several vectors of a row id the last counts; rows whose vector is null or not finite have none.
    ///
    /// Reads the column as [`Self::embeddings`] does. Measures each distance: the product of the samples asked for, the samples there are and the
    /// length of a vector, on all cores. Memory: 8 bytes for each value of the epoch's vectors, beside what was read.
    ///
    /// # Errors
    /// As [`Self::embeddings`]; [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) for a row id without a vector;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) naming the row id for vectors of different lengths, and for rows of several tables.
    pub async fn nearest(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        row_ids: &[u64],
        options: impl Into<NeighbourOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let (vectors, _) = self.vectors(run, stream, epoch, &options).await?;
        let at = |row_id: &u64| {
            let at = vectors.row_ids.binary_search(row_id);
            at.map_err(|_missing| {
                let column = &options.column;
                Error::not_found(format!("row {row_id} has no {column:?} in epoch {epoch}"))
            })
        };
        let wanted = row_ids.iter().map(at).collect::<Result<Vec<usize>>>()?;
        let (vectors, found) = searched(vectors, wanted, options.n).await?;
        let pairs = row_ids.iter().zip(&found);
        let pairs = pairs.flat_map(|(of, near)| near.iter().map(move |near| (*of, near)));
        let pairs = pairs.take(options.rows_max.unwrap_or(usize::MAX));
        let (of, near): (Vec<u64>, Vec<&Near>) = pairs.unzip();
        let fields = vec![
            Field::new("of", DataType::UInt64, false),
            Field::new(ROWID, DataType::UInt64, false),
            Field::new("distance", DataType::Float64, false),
        ];
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from(of)),
            Arc::new(UInt64Array::from(ids(
                &vectors,
                near.iter().map(|near| near.at),
            ))),
            numbers(near.iter().map(|near| near.distance)),
        ];
        Ok(RecordBatch::try_new(
            Arc::new(Schema::new(fields)),
            columns,
        )?)
    }

    /// The samples of an epoch that are almost the same as others, by their vectors: `_rowid`, `issue` (text: `near_duplicate`), `score` (Float64: 0
    /// for an exact duplicate), `nearest` (the row id of the nearest other sample), `distance` (Float64: to that) and `group` (the lowest row id of
    /// the samples that near-duplicates lead to, from one to the next); by group and row id.
    ///
    /// As in cleanlab, two samples are near-duplicates if their distance is less than 0.13 of the median distance of all samples to their nearest
    /// one, and one is among the neighbours of the other; the score is `1 - exp(-distance / median)`. The schema's metadata says how many rows counted (`rows`), and how many
    /// did not for want of a vector (`rows_without_vector`), and of which table the rows are (`table`), if they name one.
    ///
    /// Costs what [`Self::nearest`] costs of all samples: the square of their number, times the length of a vector. Of more than 20,000 samples, with the feature `neighbours`,
    /// neighbours are found by an index that is built on one thread, so that the answer is the same each time: it misses a few, and takes time in proportion to the samples.
    /// Memory also for 16 bytes of each neighbour, and of an index for 4 bytes of each value and some 300 of each sample.
    ///
    /// # Errors
    /// As [`Self::nearest`].
    pub async fn near_duplicates(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<NeighbourOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let (vectors, metadata) = self.vectors(run, stream, epoch, &options).await?;
        let (vectors, neighbours) = searched_all(vectors, options.n).await?;
        let mut found = duplicates(&neighbours);
        found.truncate(options.rows_max.unwrap_or(usize::MAX));
        let of = |of: fn(&Duplicate) -> usize| -> ArrayRef {
            Arc::new(UInt64Array::from(ids(&vectors, found.iter().map(of))))
        };
        let more = vec![
            (
                Field::new("nearest", DataType::UInt64, false),
                of(|one| one.nearest.at),
            ),
            (
                Field::new("distance", DataType::Float64, false),
                numbers(found.iter().map(|one| one.nearest.distance)),
            ),
            (
                Field::new("group", DataType::UInt64, false),
                of(|one| one.group),
            ),
        ];
        let row_ids = ids(&vectors, found.iter().map(|one| one.at));
        let scores: Vec<f64> = found.iter().map(|one| one.score).collect();
        rows(
            named("near_duplicate", row_ids.len()),
            &row_ids,
            &scores,
            more,
            metadata,
        )
    }

    /// The samples of an epoch that are like no others, by their vectors: `_rowid`, `issue` (text: `outlier`), `score` (Float64: towards 0 the farther away) and
    /// `distance` (Float64: the mean distance to the nearest ones); lowest score first, of equal ones the lowest row id.
    ///
    /// As in cleanlab, the score is `exp(-distance / median)` with the median of these distances, and an outlier is whose distance is above the
    /// upper quartile by more than 1.7 of the range between the quartiles (its threshold of 0.37037). The schema's metadata is as for [`Self::near_duplicates`].
    ///
    /// Costs what [`Self::near_duplicates`] costs.
    ///
    /// # Errors
    /// As [`Self::nearest`].
    pub async fn outliers(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: impl Into<NeighbourOptions> + Send,
    ) -> Result<RecordBatch> {
        let options = options.into();
        let (vectors, metadata) = self.vectors(run, stream, epoch, &options).await?;
        let distance = vectors.distance;
        let (vectors, neighbours) = searched_all(vectors, options.n).await?;
        let order = |a: &Outlier, b: &Outlier| a.score.total_cmp(&b.score).then(a.at.cmp(&b.at));
        let found = best(outliers(&neighbours, distance), options.rows_max, order);
        let field = Field::new("distance", DataType::Float64, false);
        let more = vec![(field, numbers(found.iter().map(|one| one.distance)))];
        let row_ids = ids(&vectors, found.iter().map(|one| one.at));
        let scores: Vec<f64> = found.iter().map(|one| one.score).collect();
        rows(
            named("outlier", row_ids.len()),
            &row_ids,
            &scores,
            more,
            metadata,
        )
    }

    /// The vectors of an epoch, and how many rows have one and how many have none.
    async fn vectors(
        &self,
        run: &str,
        stream: &str,
        epoch: i64,
        options: &NeighbourOptions,
    ) -> Result<(Vectors, Vec<(&'static str, String)>)> {
        let column = options.column.as_str();
        let epochs = self.epochs(run, stream).await?;
        let read = epochs.columns(epoch, &[column, "table"]).await?;
        let (values, mut table) = (read.column(0)?, OneTable::default());
        table.add(read.column(1)?)?;
        is_vectors(column, values)?;
        let (vectors, n_without) = Vectors::new(column, &read.row_ids, values, options.distance)?;
        let n_rows = read.row_ids.len() as u64 - n_without;
        let mut metadata = vec![
            ("rows", n_rows.to_string()),
            ("rows_without_vector", n_without.to_string()),
        ];
        metadata.extend(table.name().map(|table| ("table", table.to_owned())));
        Ok((vectors, metadata))
    }
}

/// The neighbours of all vectors.
async fn searched_all(vectors: Vectors, n: usize) -> Result<(Vectors, Vec<Vec<Near>>)> {
    #[cfg(feature = "neighbours")]
    if vectors.len() > EXACT_ROWS_MAX {
        return run_blocking(move || {
            let found = index::search_all(&vectors, n)?;
            Ok((vectors, found))
        })
        .await;
    }
    let wanted = (0..vectors.len()).collect();
    searched(vectors, wanted, n).await
}

/// The neighbours of the vectors at `wanted`, found off the threads that wait for storage.
async fn searched(
    vectors: Vectors,
    wanted: Vec<usize>,
    n: usize,
) -> Result<(Vectors, Vec<Vec<Near>>)> {
    run_blocking(move || {
        let found = exact::search(&vectors, &wanted, n);
        Ok((vectors, found))
    })
    .await
}

fn ids(vectors: &Vectors, at: impl Iterator<Item = usize>) -> Vec<u64> {
    at.filter_map(|at| vectors.row_ids.get(at).copied())
        .collect()
}

fn numbers(values: impl Iterator<Item = f64>) -> ArrayRef {
    Arc::new(Float64Array::from_iter_values(values))
}
