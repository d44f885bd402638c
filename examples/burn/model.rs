//! The network of the quickstart, in Burn.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::prelude::{Device, Tensor};
use burn::tensor::activation::{log_softmax, relu};
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use crate::loader::Batch;

/// Two convolutions and two dense layers, 124,000 weights.
#[derive(Module, Debug)]
pub struct Network {
    first: Conv2d,
    second: Conv2d,
    third: Linear,
    last: Linear,
}

impl Network {
    /// A network with weights by chance, which the device's seed decides.
    #[must_use]
    pub fn new(device: &Device) -> Self {
        let every_second = |channels, kernel| {
            let layer = Conv2dConfig::new(channels, [kernel, kernel]).with_stride([2, 2]);
            layer.init(device)
        };
        Self {
            first: every_second([1, 16], 5),
            second: every_second([16, 32], 4),
            third: LinearConfig::new(5 * 5 * 32, 128).init(device),
            last: LinearConfig::new(128, 10).init(device),
        }
    }

    /// Images of n × 1 × 28 × 28 to logits of n × 10.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let hidden = relu(self.first.forward(images));
        let hidden = relu(self.second.forward(hidden)).flatten::<2>(1, 3);
        self.last.forward(relu(self.third.forward(hidden)))
    }

    /// The losses and the logits of a batch, which each of its samples is recorded by.
    ///
    /// The cross entropy of each sample and not their mean: by the number of losses Burn's metric knows how
    /// much a batch counts in the mean of an epoch, whose last batch may be smaller.
    fn judged(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.forward(batch.images.clone());
        batch.record(&logits);
        let labels = batch.labels.clone().unsqueeze_dim(1);
        let surprise = log_softmax(logits.clone(), 1).gather(1, labels).neg();
        ClassificationOutput::new(surprise.flatten(0, 1), logits, batch.labels)
    }
}

impl TrainStep for Network {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = self.judged(batch);
        let gradients = output.loss.clone().mean().backward();
        TrainOutput::new(self, gradients, output)
    }
}

impl InferenceStep for Network {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        self.judged(batch)
    }
}
