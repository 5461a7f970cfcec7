//! How good predictions are: the figures of a classification and those of a regression, as scikit-learn defines them.

use serde::Serialize;

use crate::data::Targets;
use crate::loss::{Loss, softmax};

/// The number of bins of the calibration error.
const BINS: usize = 15;
/// The most classes of which a matrix of confusions is made.
const MOST_CONFUSED: usize = 1000;
/// The number of classes above which the five likeliest are looked at.
const TOP: usize = 5;

/// The scores of predictions.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Scores {
    /// Those of classes.
    Classes(ClassScores),
    /// Those of values.
    Values(ValueScores),
}

impl Scores {
    /// The scores of `outputs`, what [`predict`](crate::engine::Engine::predict) answers for samples with these targets:
    /// `(samples, outputs)` for each replica, whose answers are taken together. The targets are in the units of the outputs.
    pub fn of(targets: &Targets, outputs: &[Vec<f64>], loss: Loss) -> Self {
        match targets {
            Targets::Labels(labels) => Self::Classes(ClassScores::of(labels, outputs, loss)),
            Targets::Values { width, values } => Self::Values(ValueScores::of(values, *width, outputs)),
        }
    }
}

/// The scores of a classification.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScores {
    /// The number of samples of each class (row) that were taken for each class (column); empty above 1,000 classes.
    pub confusion: Vec<Vec<u64>>,
    /// The scores of each class.
    pub per_class: Vec<ClassScore>,
    /// The expected calibration error (Guo et al., 2017): over 15 bins of equal width of the likeliest class's probability, the
    /// mean distance of that probability from the share of right answers. None where the loss gives no probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_error: Option<f64>,
    /// The share of samples whose class is among the five likeliest; none with ten classes or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
}

/// The scores of one class.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassScore {
    /// The share of right answers among those that name the class; 0 if none does.
    pub precision: f64,
    /// The share of the class's samples that were recognised; 0 if there are none.
    pub recall: f64,
    /// The harmonic mean of both, `2 precision · recall / (precision + recall)`; 0 if both are.
    pub f1: f64,
    /// The number of samples of the class.
    pub support: u64,
}

impl ClassScores {
    fn of(labels: &[u32], outputs: &[Vec<f64>], loss: Loss) -> Self {
        let all: usize = outputs.iter().map(Vec::len).sum();
        let (answers, classes) = (labels.len() * outputs.len(), all / (labels.len() * outputs.len()));
        let size = if classes > MOST_CONFUSED { 0 } else { classes };
        let (mut confusion, mut counts) = (vec![vec![0; size]; size], vec![Count::default(); classes]);
        let (mut bins, mut in_top) = ([Bin::default(); BINS], 0);
        let has_probabilities = loss == Loss::CrossEntropy;
        for of_replica in outputs {
            for (&label, row) in labels.iter().zip(of_replica.chunks_exact(classes)) {
                let (label, answer) = (label as usize, largest(row));
                counts[label].support += 1;
                counts[answer].named += 1;
                counts[label].right += u64::from(answer == label);
                if let Some(row) = confusion.get_mut(label) {
                    row[answer] += 1;
                }
                in_top += u64::from(rank(row, label) < TOP);
                if has_probabilities {
                    let mut probabilities = row.to_vec();
                    softmax(&mut probabilities, classes);
                    Bin::add(&mut bins, probabilities[answer], answer == label);
                }
            }
        }
        Self {
            per_class: counts.into_iter().map(ClassScore::of).collect(),
            confusion,
            calibration_error: has_probabilities.then(|| bins.iter().map(Bin::gap).sum::<f64>() / answers as f64),
            top5_accuracy: (classes > 2 * TOP).then(|| in_top as f64 / answers as f64),
        }
    }
}

impl ClassScore {
    fn of(Count { support, named, right }: Count) -> Self {
        let right = right as f64;
        let share = |of: f64| if of > 0.0 { right / of } else { 0.0 };
        let f1 = if support + named > 0 { 2.0 * right / (support + named) as f64 } else { 0.0 };
        Self { precision: share(named as f64), recall: share(support as f64), f1, support }
    }
}

/// The samples of a class, those that were taken for it, and those that are both.
#[derive(Clone, Copy, Default)]
struct Count {
    support: u64,
    named: u64,
    right: u64,
}

/// The index of the first largest value.
pub fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The number of values that come before that of `class`: larger ones, and equal ones of classes before it.
fn rank(values: &[f64], class: usize) -> usize {
    let own = values[class];
    values.iter().enumerate().filter(|&(c, &value)| value > own || value == own && c < class).count()
}

/// The answers whose confidence lies in one bin.
#[derive(Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    right: f64,
}

impl Bin {
    /// Adds an answer to its bin, `(i / BINS, (i + 1) / BINS]`.
    fn add(bins: &mut [Self; BINS], confidence: f64, is_right: bool) {
        let i = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[i].confidence += confidence;
        bins[i].right += f64::from(is_right);
    }

    /// The distance of mean confidence and share of right answers, times the number of answers.
    fn gap(&self) -> f64 {
        (self.confidence - self.right).abs()
    }
}

/// The scores of a regression, in the units of the targets; of several targets the mean over them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueScores {
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The coefficient of determination R², `1 − Σ(y − ŷ)² / Σ(y − ȳ)²`; of targets that are all alike 1 if every answer is right,
    /// else 0; of a single sample NaN.
    pub r2: f64,
    /// The same of each target, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub per_target: Vec<ValueScores>,
}

impl ValueScores {
    fn of(values: &[f64], width: usize, outputs: &[Vec<f64>]) -> Self {
        let mut per_target: Vec<Self> = (0..width).map(|j| Self::of_target(values, width, outputs, j)).collect();
        if width == 1 {
            return per_target.remove(0);
        }
        let mean = |f: fn(&Self) -> f64| per_target.iter().map(f).sum::<f64>() / width as f64;
        Self { rmse: mean(|s| s.rmse), mae: mean(|s| s.mae), r2: mean(|s| s.r2), per_target }
    }

    fn of_target(values: &[f64], width: usize, outputs: &[Vec<f64>], j: usize) -> Self {
        let target = || values.iter().skip(j).step_by(width);
        let n = (values.len() / width) as f64;
        let mean = target().sum::<f64>() / n;
        let spread = target().map(|y| (y - mean) * (y - mean)).sum::<f64>() * outputs.len() as f64;
        let errors =
            || outputs.iter().flat_map(|of| of.iter().skip(j).step_by(width).zip(target()).map(|(z, y)| z - y));
        let squares: f64 = errors().map(|e| e * e).sum();
        let answers = n * outputs.len() as f64;
        let is_constant = target().all(|&y| y == values[j]);
        let r2 = match is_constant {
            _ if n < 2.0 => f64::NAN,
            true => f64::from(squares == 0.0),
            false => 1.0 - squares / spread,
        };
        let mae = errors().map(f64::abs).sum::<f64>() / answers;
        Self { rmse: (squares / answers).sqrt(), mae, r2, per_target: Vec::new() }
    }
}
