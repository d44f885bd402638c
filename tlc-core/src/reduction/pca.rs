//! Principal components: the directions in which vectors vary most (Pearson 1901; Hotelling 1933).

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par, Side};

use super::model::Model;
use super::vectors::Vectors;
use super::{Reducer, Reduction};
use crate::error::{Error, Result};

/// Up to which width vectors are taken: the covariance takes 8 bytes for each pair of numbers.
const WIDTH_MAX: usize = 8_192;

/// How many vectors are added to the covariance at once.
const BLOCK: usize = 1_024;

/// Principal components: each vector's place along the directions in which those that it was fitted on vary most, the first one most.
///
/// As in scikit-learn the mean is taken off and nothing is scaled, and of each direction the number farthest from 0 is positive. In 64 bits,
/// results are of 32. It is linear, so distances mean the same everywhere.
#[derive(Clone, Debug)]
pub struct Pca {
    n_dimensions: usize,
    seed: u64,
    rows_max: usize,
}

impl Pca {
    /// The first components, as many as are asked for: two or three to be looked at. Of more than 100,000 vectors as many are drawn, by seed 0.
    #[must_use]
    pub fn new(n_dimensions: usize) -> Self {
        Self {
            n_dimensions,
            seed: 0,
            rows_max: 100_000,
        }
    }

    /// Decides which vectors are drawn.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// On how many vectors it is fitted at most; one at least.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }
}

impl Reducer for Pca {
    fn name(&self) -> &'static str {
        "pca"
    }

    fn seed(&self) -> u64 {
        self.seed
    }

    fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for vectors of fewer numbers than there are to be dimensions, or of more than 8,192; for fewer
    /// than two of them.
    fn fit(&self, vectors: &Vectors) -> Result<Model> {
        let (n, width) = (self.n_dimensions, vectors.width());
        if n == 0 || n > width || width > WIDTH_MAX {
            return Err(Error::invalid(format!(
                "vectors of {width} numbers have no {n} principal components here; ask for 1 to {width}, of at most {WIDTH_MAX} numbers"
            )));
        }
        if vectors.len() < 2 {
            return Err(Error::invalid(
                "principal components need two vectors at least",
            ));
        }
        let mean = mean(vectors);
        let (axes, variances) = axes(&covariance(vectors, &mean), n)?;
        Ok(Model::new(self.name())
            .with_fact("seed", self.seed)
            .with_fact("dimensions", n)
            .with_fact("rows_max", self.rows_max)
            .with_tensor("mean", &[1, width], narrow(&mean))
            .with_tensor("components", &[n, width], narrow(&axes))
            .with_tensor("variances", &[1, n], narrow(&variances)))
    }

    fn reduction(&self, model: &Model) -> Result<Box<dyn Reduction>> {
        let (mean, components) = (model.vectors("mean")?, model.vectors("components")?);
        let (n, width) = (components.len(), mean.width());
        if mean.len() != 1 || components.width() != width || !(1..=width).contains(&n) {
            return Err(Error::corrupt("the components do not fit the mean"));
        }
        let wide = |vectors: &Vectors| vectors.values().iter().copied().map(f64::from).collect();
        Ok(Box::new(Projection {
            n_dimensions: n,
            mean: wide(&mean),
            components: wide(&components),
        }))
    }
}

/// Vectors less the mean, along the components.
#[derive(Debug)]
struct Projection {
    n_dimensions: usize,
    mean: Vec<f64>,
    /// One after the other.
    components: Vec<f64>,
}

impl Reduction for Projection {
    fn width(&self) -> usize {
        self.mean.len()
    }

    fn n_dimensions(&self) -> usize {
        self.n_dimensions
    }

    fn apply(&self, vectors: &Vectors) -> Result<Vectors> {
        vectors.expect_width(self.width())?;
        let along = |component: &[f64], vector: &[f32]| {
            let centred = vector.iter().zip(&self.mean);
            let centred = centred.map(|(value, mean)| f64::from(*value) - mean);
            centred.zip(component).map(|(a, b)| a * b).sum::<f64>()
        };
        let mut places = Vec::with_capacity(vectors.len() * self.n_dimensions);
        for vector in vectors {
            let components = self.components.chunks_exact(self.width());
            places.extend(components.map(|component| along(component, vector)));
        }
        Vectors::new(self.n_dimensions, narrow(&places))
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 vectors"
)]
fn mean(vectors: &Vectors) -> Vec<f64> {
    let mut mean = vec![0.0; vectors.width()];
    for vector in vectors {
        for (sum, value) in mean.iter_mut().zip(vector) {
            *sum += f64::from(*value);
        }
    }
    let n = vectors.len() as f64;
    mean.iter_mut().for_each(|sum| *sum /= n);
    mean
}

#[expect(
    clippy::cast_precision_loss,
    reason = "there are less than 2^53 vectors"
)]
fn covariance(vectors: &Vectors, mean: &[f64]) -> Mat<f64> {
    let width = mean.len();
    let mut sums = Mat::zeros(width, width);
    for block in vectors.values().chunks(BLOCK * width) {
        let means = mean.iter().cycle();
        let centred = block.iter().zip(means).map(|(v, m)| f64::from(*v) - m);
        let centred: Vec<f64> = centred.collect();
        let block = MatRef::from_row_major_slice(&centred, block.len() / width, width);
        let par = Par::rayon(0);
        matmul(
            sums.as_mut(),
            Accum::Add,
            block.transpose(),
            block,
            1.0,
            par,
        );
    }
    let n = (vectors.len() - 1) as f64;
    sums / faer::Scale(n)
}

/// The directions of most variance one after the other, and the variances along them.
fn axes(covariance: &Mat<f64>, n: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let found = covariance.self_adjoint_eigen(Side::Lower);
    let found = found.map_err(|err| {
        let message = format!("the principal components were not found: {err:?}");
        Error::invalid(message)
    })?;
    let width = covariance.nrows();
    let (mut axes, mut variances) = (Vec::with_capacity(n * width), Vec::with_capacity(n));
    // Variances ascend.
    for at in (0..width).rev().take(n) {
        let axis: Vec<f64> = found.U().col(at).iter().copied().collect();
        let farthest = axis.iter().fold(0.0_f64, |farthest, value| {
            if value.abs() > farthest.abs() {
                *value
            } else {
                farthest
            }
        });
        axes.extend(axis.iter().map(|value| value * farthest.signum()));
        variances.push(found.S().column_vector()[at].max(0.0));
    }
    Ok((axes, variances))
}

#[expect(clippy::cast_possible_truncation, reason = "results are of 32 bits")]
fn narrow(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
