//! What a dashboard knows of a run before its first step.

use std::path::Path;

use thalweg::engine::{Allocation, Setup};
use thalweg::plan::Plan;
use thalweg::run::{Pace, Prepared};
use thalweg::schedule::{Memory, Rate};
use thalweg::stop::Metric;

use crate::cli::thousands;

/// The most steps at which a schedule is asked for its rate, and the most pieces of the curve that is drawn of it.
const MOST_RATES: u64 = 100_000;
const PIECES: usize = 400;

/// The facts of a run that do not change.
pub struct Facts {
    /// What is trained, on what and where, in a few words each.
    pub words: Vec<String>,
    /// The memory of the engine, and its largest buffer.
    pub memory: String,
    pub is_classification: bool,
    pub replicas: usize,
    /// Whether the run measures the norms of its gradients, and the Hessian's largest eigenvalue.
    pub has_gradients: bool,
    pub has_curvature: bool,
    /// Whether rules may end the run before its last epoch.
    pub may_end_early: bool,
    /// The metric by which the best weights are known, where anything depends on it.
    pub metric: Option<Metric>,
    pub pace: Pace,
    /// The learning rate and the momentum over the whole run, where they can be foreseen.
    pub course: Option<Course>,
}

/// Steps and values of the learning rate and of the momentum.
pub struct Course {
    pub lr: Vec<(f64, f64)>,
    pub momentum: Vec<(f64, f64)>,
}

impl Facts {
    /// The facts of a run that lies in `folder`, where that is known.
    pub fn of(prepared: &mut Prepared, folder: Option<&Path>) -> Self {
        let (pace, config) = (prepared.pace(), prepared.config().clone());
        let (plan, train) = (config.plan(), config.train);
        let engine = prepared.trainer().engine();
        let setup = engine.setup().clone();
        let widths: Vec<String> = setup.model.widths.iter().map(ToString::to_string).collect();
        let several = if setup.replicas > 1 { format!(", {} replicas", setup.replicas) } else { String::new() };
        let mut words: Vec<String> = folder.map(|folder| folder.display().to_string()).into_iter().collect();
        words.extend([
            setup.dataset.name.clone(),
            format!("{}, {} parameters", widths.join("-"), thousands(setup.model.parameters() as u64)),
            format!("batch {}{several}", setup.batch),
            engine.describe(),
        ]);
        let memory = memory(&engine.memory());
        let stop = &plan.stop;
        let has_target = stop.patience.is_some() || stop.target.is_some();
        Self {
            words,
            memory,
            is_classification: setup.dataset.is_classification(),
            replicas: setup.replicas,
            has_gradients: setup.clip_norm.is_some(),
            has_curvature: train.curvature_every.is_some(),
            may_end_early: has_target || stop.min_lr.is_some() || stop.seconds.is_some(),
            metric: stop.watches().then_some(stop.metric),
            pace,
            course: (!plan.schedule.has_memory()).then(|| Course::of(&plan, &setup)),
        }
    }
}

/// The memory that an engine takes, and its largest buffer.
fn memory(buffers: &[Allocation]) -> String {
    let mebibytes = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let all = buffers.iter().map(|buffer| buffer.bytes).sum();
    let largest = buffers.iter().max_by_key(|buffer| buffer.bytes);
    let largest = largest.map_or(String::new(), |most| format!(" (largest: {}, {})", most.name, mebibytes(most.bytes)));
    format!("memory {}{largest}", mebibytes(all))
}

impl Course {
    fn of(plan: &Plan, setup: &Setup) -> Self {
        let steps = plan.total_steps(setup);
        let apart = steps.div_ceil(MOST_RATES).max(1);
        let rates: Vec<(f64, Rate)> = (0..steps)
            .step_by(apart as usize)
            .map(|step| (step as f64, plan.rate(setup, step, &Memory::default())))
            .collect();
        let curve = |value: fn(&Rate) -> f64| thinned(rates.iter().map(|(step, rate)| (*step, value(rate))).collect());
        Self { lr: curve(|rate| rate.lr), momentum: curve(|rate| rate.momentum) }
    }
}

/// The lowest and the highest point of every piece of a curve, in the order of steps.
fn thinned(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= 2 * PIECES {
        return points;
    }
    let extremes = |piece: &[(f64, f64)]| {
        let (low, high) = piece.iter().fold((piece[0], piece[0]), |(low, high), &point| {
            (if point.1 < low.1 { point } else { low }, if point.1 > high.1 { point } else { high })
        });
        if low.0 <= high.0 { [low, high] } else { [high, low] }
    };
    points.chunks(points.len().div_ceil(PIECES)).flat_map(extremes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_course_keeps_its_extremes() {
        let points: Vec<(f64, f64)> =
            (0..50_000).map(|i| (f64::from(i), if i == 12_345 { 9.0 } else { 1.0 })).collect();
        let kept = thinned(points);
        assert!(kept.len() <= 2 * PIECES && kept.contains(&(12_345.0, 9.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 <= b.0));
    }
}
