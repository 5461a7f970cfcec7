//! Regression targets with a mean of 0 and a deviation of 1.

use serde::{Deserialize, Serialize};

use super::{Dataset, Targets};
use crate::error::{Error, Result};

/// The scaling of regression targets: the network learns `(y − mean) / deviation`, one pair a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetScaling {
    /// The mean of each target over the training part.
    pub mean: Vec<f64>,
    /// The (population) deviation of each target over the training part; 1 for a constant one.
    pub deviation: Vec<f64>,
}

impl TargetScaling {
    /// The scaling of targets of `width` values a sample.
    fn of(values: &[f64], width: usize) -> Self {
        let mean_of = |j: usize, f: &dyn Fn(f64) -> f64| {
            let sum: f64 = values.iter().skip(j).step_by(width).map(|&y| f(y)).sum();
            sum / (values.len() / width) as f64
        };
        let mean: Vec<f64> = (0..width).map(|j| mean_of(j, &|y| y)).collect();
        let deviation = |j: usize| {
            let first = values[j];
            let is_constant = values.iter().skip(j).step_by(width).all(|&y| y == first);
            if is_constant { 1.0 } else { mean_of(j, &|y| (y - mean[j]) * (y - mean[j])).sqrt() }
        };
        let deviation = (0..width).map(deviation).collect();
        Self { mean, deviation }
    }

    /// Makes targets of their own units what the network learns.
    fn apply(&self, targets: &mut Targets) {
        if let Targets::Values { width, values } = targets {
            for row in values.chunks_exact_mut(*width) {
                for (y, (mean, deviation)) in row.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
                    *y = (*y - mean) / deviation;
                }
            }
        }
    }

    /// Makes what the network says values in the units of the targets, `y · deviation + mean`: rows of as many values as
    /// there are targets.
    pub fn restore(&self, outputs: &mut [f64]) {
        for row in outputs.chunks_exact_mut(self.mean.len()) {
            for (y, (mean, deviation)) in row.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
                *y = *y * deviation + mean;
            }
        }
    }

    /// Makes targets that were scaled what they were before.
    pub fn restore_targets(&self, targets: &mut Targets) {
        if let Targets::Values { values, .. } = targets {
            self.restore(values);
        }
    }
}

impl Dataset {
    /// Gives the regression targets of the training part a mean of 0 and a deviation of 1, and scales those of the other parts
    /// alike. Losses are those of the scaled targets; [`predict`](crate::engine::Engine::predict) answers in their own units.
    ///
    /// # Errors
    /// Labels.
    pub fn standardize_targets(self) -> Result<Self> {
        let scaling = match &self.train.targets {
            Targets::Labels(_) => return Err(Self::no_values()),
            Targets::Values { width, values } => TargetScaling::of(values, *width),
        };
        self.scale_targets(scaling)
    }

    /// Scales the regression targets of all parts as those of another data set were.
    ///
    /// # Errors
    /// Labels, or another number of targets.
    pub fn scale_targets(mut self, scaling: TargetScaling) -> Result<Self> {
        if self.is_classification() {
            return Err(Self::no_values());
        }
        if scaling.mean.len() != self.outputs || scaling.deviation.len() != self.outputs {
            let found = format!("expected {} targets a sample, found {}", scaling.mean.len(), self.outputs);
            return Err(Error::data(&self.name, found));
        }
        let parts = [Some(&mut self.train), self.validation.as_mut(), self.test.as_mut()];
        parts.into_iter().flatten().for_each(|samples| scaling.apply(&mut samples.targets));
        self.target_scaling = Some(scaling);
        Ok(self)
    }

    fn no_values() -> Error {
        let found = "expected regression targets, found labels; --loss mse takes numbers for targets, and whole ones that \
                     look like labels (0, 1, 2 and so on) if they are floats";
        Error::config("data.standardize_targets", found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;

    #[test]
    fn targets_come_back_in_their_own_units() {
        let values = vec![1e5, 7.0, 3e5, 7.0, 5e5, 7.0];
        let train = Samples::valued(vec![0f32, 1.0, 2.0], values.clone(), 2);
        let test = Samples::valued(vec![3f32], vec![7e5, 8.0], 2);
        let data = Dataset::new("prices", [1, 1, 1], train, Some(test)).unwrap().standardize_targets().unwrap();
        let Targets::Values { values: scaled, .. } = &data.train.targets else { panic!() };
        assert_eq!(scaled.iter().step_by(2).sum::<f64>(), 0.0);
        let variance = scaled.iter().step_by(2).map(|y| y * y).sum::<f64>() / 3.0;
        assert!((variance - 1.0).abs() < 1e-15, "{variance}");
        assert_eq!([scaled[1], scaled[3]], [0.0, 0.0], "a constant target");
        let Some(Targets::Values { values: test, .. }) = data.test.as_ref().map(|test| &test.targets) else { panic!() };
        assert_eq!(test[1], 1.0);
        let mut back = scaled.clone();
        data.target_scaling.as_ref().unwrap().restore(&mut back);
        // Divided, multiplied and added to: three roundings of numbers below 5e5.
        assert!(
            back.iter().zip(&values).all(|(back, value)| (back - value).abs() < 3.0 * 5e5 * f64::EPSILON),
            "{back:?}"
        );
    }

    #[test]
    fn labels_have_no_scale() {
        let data = Dataset::new("labels", [1, 1, 1], Samples::labelled(vec![0f32, 1.0], [0, 1]), None).unwrap();
        let error = data.standardize_targets().unwrap_err().to_string();
        assert!(
            error.starts_with("data.standardize_targets: expected regression targets, found labels; --loss mse"),
            "{error}"
        );
    }
}
