//! How much each training sample counts in the loss.

use super::Setup;
use crate::data::Targets;
use crate::loss::Loss;

/// The weights of a loss: those of samples and classes, of which a step's loss is the mean.
pub(crate) struct LossWeights {
    /// The weight of each training sample by itself, the largest being 1; under the squared error times that of its class.
    pub samples: Vec<f64>,
    /// The weight of each class, which label smoothing spreads as well; under the squared error empty.
    pub classes: Vec<f64>,
    /// What each training sample counts in the mean: its own weight times that of its class.
    whole: Vec<f64>,
}

impl LossWeights {
    /// The weights that the setup asks for; none where all samples count alike.
    pub fn of(setup: &Setup) -> Option<Self> {
        let (train, classes) = (&setup.dataset.train, &setup.class_weights);
        if !setup.is_weighted() {
            return None;
        }
        // In units of the largest, since only ratios count, and f32 holds no more.
        let of_largest = |weights: &[f64]| -> Vec<f64> {
            let largest = weights.iter().copied().fold(0.0, f64::max);
            weights.iter().map(|weight| weight / largest).collect()
        };
        let classes = of_largest(classes);
        let samples = train.weights.as_deref().map_or_else(|| vec![1.0; train.len()], of_largest);
        let whole: Vec<f64> = match &train.targets {
            Targets::Labels(labels) if !classes.is_empty() => {
                samples.iter().zip(labels).map(|(weight, &label)| weight * classes[label as usize]).collect()
            }
            _ => samples.clone(),
        };
        if setup.loss == Loss::Mse {
            return Some(Self { samples: whole.clone(), classes: Vec::new(), whole });
        }
        let classes = if classes.is_empty() { vec![1.0; setup.model.outputs()] } else { classes };
        Some(Self { samples, classes, whole })
    }

    /// What the loss of a step over the samples in `order` is divided by: their weight, and their number without weights. Where
    /// none of them counts it is 1, and loss and gradient are 0.
    pub fn total(weights: Option<&Self>, order: &[u32]) -> f64 {
        let Some(weights) = weights else { return order.len() as f64 };
        let total: f64 = order.iter().map(|&sample| weights.whole[sample as usize]).sum();
        if total > 0.0 { total } else { 1.0 }
    }
}
