//! A small convolutional network for images of 28 × 28, in plain Candle.

use candle_core::{DType, Device, Result, Tensor, Var};

use crate::random::Random;

/// Two convolutions and two dense layers: 124,000 weights, started from a seed.
///
/// A convolution here gathers the pixels of each window into a row and multiplies: on the CPU that
/// is many times as fast as Candle's own, whose backward pass is written for other devices.
pub(crate) struct Network {
    layers: [Layer; 4],
    windows: [Tensor; 2],
}

struct Layer {
    weight: Var,
    bias: Var,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let random = &mut Random::new(seed);
        let mut layer = |n_in, n_out| Layer::new(n_in, n_out, random);
        Ok(Self {
            layers: [
                layer(5 * 5, 16)?,
                layer(4 * 4 * 16, 32)?,
                layer(5 * 5 * 32, 128)?,
                layer(128, 10)?,
            ],
            windows: [windows(28, 5)?, windows(12, 4)?],
        })
    }

    /// What an optimizer changes.
    pub(crate) fn vars(&self) -> Vec<Var> {
        self.layers
            .iter()
            .flat_map(|layer| [layer.weight.clone(), layer.bias.clone()])
            .collect()
    }

    /// Images, n × 1 × 28 × 28, to what the last layer sees of them, n × 128, and to logits, n × 10.
    pub(crate) fn forward(&self, images: &Tensor) -> Result<(Tensor, Tensor)> {
        let [first, second, third, last] = &self.layers;
        let [windows_28, windows_12] = &self.windows;
        let n = images.dim(0)?;
        let pixels = images
            .reshape((n, 28 * 28, 1))?
            .index_select(windows_28, 1)?;
        let hidden = first
            .forward(&pixels.reshape((n * 12 * 12, 5 * 5))?)?
            .relu()?;
        let hidden = hidden
            .reshape((n, 12 * 12, 16))?
            .index_select(windows_12, 1)?;
        let hidden = second
            .forward(&hidden.reshape((n * 5 * 5, 4 * 4 * 16))?)?
            .relu()?;
        let hidden = third.forward(&hidden.reshape((n, 5 * 5 * 32))?)?.relu()?;
        let logits = last.forward(&hidden)?;
        Ok((hidden, logits))
    }
}

impl Layer {
    /// Weights as He and others propose for layers that end in a ReLU.
    fn new(n_in: usize, n_out: usize, random: &mut Random) -> Result<Self> {
        let bound = (6.0 / n_in as f32).sqrt();
        let weight: Vec<_> = (0..n_in * n_out)
            .map(|_| random.symmetric() * bound)
            .collect();
        Ok(Self {
            weight: Var::from_vec(weight, (n_in, n_out), &Device::Cpu)?,
            bias: Var::zeros(n_out, DType::F32, &Device::Cpu)?,
        })
    }

    fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        rows.matmul(&self.weight)?.broadcast_add(&self.bias)
    }
}

/// The positions of the pixels that each window of `size` × `size` covers, two pixels from window to
/// window, in an image of `side` × `side`.
fn windows(side: usize, size: usize) -> Result<Tensor> {
    let mut positions = Vec::new();
    for top in (0..=side - size).step_by(2) {
        for left in (0..=side - size).step_by(2) {
            for y in top..top + size {
                positions
                    .extend((left..left + size).map(|x| u32::try_from(y * side + x).unwrap_or(0)));
            }
        }
    }
    Tensor::new(positions, &Device::Cpu)
}
