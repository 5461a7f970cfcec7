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
    /// The means over the classes that occur, as true or as said; the support is that of all.
    pub macro_mean: ClassScore,
    /// The means weighted by the support of each class.
    pub weighted_mean: ClassScore,
    /// The expected calibration error (Naeini et al., 2015; Guo et al., 2017): the mean over all answers of how far in their bin of
    /// [`calibration`](Self::calibration) confidence and accuracy are apart, `Σ count / n · |accuracy − confidence|`. None where the
    /// loss gives no probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration_error: Option<f64>,
    /// The answers by the probability of the likeliest class, in 15 bins of equal width `(i / 15, (i + 1) / 15]`; empty where the
    /// loss gives no probabilities.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub calibration: Vec<CalibrationBin>,
    /// The share of samples whose class is among the five likeliest; none with five classes or fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
}

/// The scores of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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

/// The answers whose confidence, the probability of the likeliest class, lies in one bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CalibrationBin {
    /// The mean confidence; NaN, `null` in JSON, without answers.
    pub confidence: f64,
    /// The share of right answers; NaN, `null` in JSON, without answers.
    pub accuracy: f64,
    /// The number of answers.
    pub count: u64,
}

impl ClassScores {
    /// The scores of `outputs`, `(samples, classes)` for each replica, for samples with these labels.
    pub fn of(labels: &[u32], outputs: &[Vec<f64>], loss: Loss) -> Self {
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
        let occur = |count: &&Count| count.support + count.named > 0;
        let occurring: Vec<(ClassScore, f64)> =
            counts.iter().filter(occur).map(|&c| (ClassScore::of(c), 1.0)).collect();
        let per_class: Vec<ClassScore> = counts.into_iter().map(ClassScore::of).collect();
        let weighted: Vec<(ClassScore, f64)> = per_class.iter().map(|&score| (score, score.support as f64)).collect();
        Self {
            macro_mean: ClassScore::mean(&occurring),
            weighted_mean: ClassScore::mean(&weighted),
            per_class,
            confusion,
            calibration_error: has_probabilities.then(|| bins.iter().map(Bin::gap).sum::<f64>() / answers as f64),
            calibration: if has_probabilities { bins.iter().map(Bin::means).collect() } else { Vec::new() },
            top5_accuracy: (classes > TOP).then(|| in_top as f64 / answers as f64),
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

    /// The weighted means of scores, of which some weight is above 0.
    fn mean(weighted: &[(Self, f64)]) -> Self {
        let total: f64 = weighted.iter().map(|(_, weight)| weight).sum();
        let mean = |f: fn(&Self) -> f64| weighted.iter().map(|(score, weight)| weight * f(score)).sum::<f64>() / total;
        let support = weighted.iter().map(|(score, _)| score.support).sum();
        Self { precision: mean(|s| s.precision), recall: mean(|s| s.recall), f1: mean(|s| s.f1), support }
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

/// The number of values that come before that of `class`: larger ones, equal ones of classes before it, and NaN; before NaN all.
fn rank(values: &[f64], class: usize) -> usize {
    let own = values[class];
    let is_after = |c: usize, value: f64| value < own || value == own && c >= class;
    values.iter().enumerate().filter(|&(c, &value)| !is_after(c, value)).count()
}

/// The sums of a [`CalibrationBin`].
#[derive(Clone, Copy, Default)]
struct Bin {
    confidence: f64,
    right: f64,
    count: u64,
}

impl Bin {
    /// Adds an answer to its bin.
    fn add(bins: &mut [Self; BINS], confidence: f64, is_right: bool) {
        let i = ((confidence * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
        bins[i].confidence += confidence;
        bins[i].right += f64::from(is_right);
        bins[i].count += 1;
    }

    /// The distance of mean confidence and share of right answers, times the number of answers.
    fn gap(&self) -> f64 {
        (self.confidence - self.right).abs()
    }

    fn means(&self) -> CalibrationBin {
        let count = self.count as f64;
        CalibrationBin { confidence: self.confidence / count, accuracy: self.right / count, count: self.count }
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
    /// The scores of `outputs`, `(samples, width)` for each replica, for samples with these targets, `width` values each.
    pub fn of(values: &[f64], width: usize, outputs: &[Vec<f64>]) -> Self {
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
