//! The errors of a regression.

use std::collections::BTreeSet;
use std::slice;

use serde_json::{Value, json};

use super::number::{rounded, shortened};
use crate::data::Dataset;
use crate::run::statistic;
use crate::score::ValueScores;

/// The most targets of which residuals are told.
pub const MOST_TARGETS: usize = 8;
/// The most pairs that are told of one target, and of all targets and weights together.
const MOST_POINTS: usize = 2_000;
const MOST_IN_ALL: usize = 16_000;
/// The least and most bins of residuals.
const BINS: std::ops::RangeInclusive<usize> = 5..=60;

/// The names of the targets of which residuals are told.
pub fn names(dataset: &Dataset) -> Vec<String> {
    match &dataset.encoding.target {
        Some(name) if dataset.outputs == 1 => vec![shortened(name)],
        _ if dataset.outputs == 1 => vec!["target".into()],
        _ => (0..dataset.outputs.min(MOST_TARGETS)).map(|j| format!("target {j}")).collect(),
    }
}

/// Adds the scores of predictions for samples with these targets, `width` values each, of one of so many sets of weights: those of
/// each replica, and of all replicas together those of each target, with the residuals.
pub fn describe(object: &mut Value, values: &[f64], width: usize, outputs: &[Vec<f64>], sets: usize) {
    let each: Vec<ValueScores> =
        outputs.iter().map(|of_replica| ValueScores::of(values, width, slice::from_ref(of_replica))).collect();
    let by_replica = |of: fn(&ValueScores) -> f64| statistic(&each.iter().map(of).collect::<Vec<_>>());
    object["rmse"] = by_replica(|scores| scores.rmse);
    object["mae"] = by_replica(|scores| scores.mae);
    object["r2"] = by_replica(|scores| scores.r2);
    let mut all = ValueScores::of(values, width, outputs);
    let scores = if width == 1 { vec![all] } else { std::mem::take(&mut all.per_target) };
    let targets = width.min(MOST_TARGETS);
    let most = (MOST_IN_ALL / sets / targets).min(MOST_POINTS);
    let of_target = |(j, score): (usize, ValueScores)| {
        let column = |rows: &[f64]| rows.iter().skip(j).step_by(width).copied().collect::<Vec<f64>>();
        let truth = column(values);
        let predicted = outputs.iter().flat_map(|of_replica| column(of_replica));
        let pairs: Vec<(f64, f64)> = truth.iter().copied().cycle().zip(predicted).collect();
        let mut object = json!(score);
        object["residuals"] = histogram(&pairs);
        object["points"] = points(pairs, most);
        object
    };
    object["per_target"] = scores.into_iter().take(targets).enumerate().map(of_target).collect();
}

/// How often residuals, predicted − true, fall into bins of equal width, by the rule of Freedman and Diaconis (1981): a width of
/// `2 · IQR / ∛n`. What is no number falls into none.
fn histogram(pairs: &[(f64, f64)]) -> Value {
    let mut residuals: Vec<f64> = pairs.iter().map(|(y, predicted)| predicted - y).filter(|r| r.is_finite()).collect();
    if residuals.is_empty() {
        return json!({ "edges": [], "counts": [] });
    }
    residuals.sort_by(f64::total_cmp);
    let n = residuals.len();
    let (low, high) = (residuals[0], residuals[n - 1]);
    if low == high {
        return json!({ "edges": [low, high], "counts": [n] });
    }
    let width = 2.0 * (residuals[3 * n / 4] - residuals[n / 4]) / (n as f64).cbrt();
    let bins = ((high - low) / width).ceil().clamp(*BINS.start() as f64, *BINS.end() as f64) as usize;
    let edge = |i: usize| low + (high - low) * i as f64 / bins as f64;
    let mut counts = vec![0u64; bins];
    for residual in residuals {
        let bin = ((residual - low) / (high - low) * bins as f64) as usize;
        counts[bin.min(bins - 1)] += 1;
    }
    json!({ "edges": (0..=bins).map(|i| rounded(edge(i))).collect::<Vec<_>>(), "counts": counts })
}

/// At most `most` pairs of target and prediction: those of the least and largest target, prediction and residual, and the others evenly by their residuals.
fn points(mut pairs: Vec<(f64, f64)>, most: usize) -> Value {
    pairs.retain(|(y, predicted)| (predicted - y).is_finite());
    pairs.sort_by(|a, b| (a.1 - a.0).total_cmp(&(b.1 - b.0)));
    let n = pairs.len();
    let kept: BTreeSet<usize> = if n <= most {
        (0..n).collect()
    } else {
        let by = |of: fn(&(f64, f64)) -> f64| {
            let order = |&i: &usize, &j: &usize| of(&pairs[i]).total_cmp(&of(&pairs[j]));
            [(0..n).min_by(order), (0..n).max_by(order)]
        };
        let extremes = [by(|pair| pair.0), by(|pair| pair.1)].into_iter().flatten().flatten();
        let others = most - 4;
        (0..others).map(|i| i * (n - 1) / (others - 1)).chain(extremes).collect()
    };
    let list = |of: fn(&(f64, f64)) -> f64| kept.iter().map(|&i| rounded(of(&pairs[i]))).collect::<Vec<_>>();
    json!({ "target": list(|pair| pair.0), "prediction": list(|pair| pair.1) })
}
