//! Finding a learning rate by trying many.

use serde::Serialize;

use crate::data::Order;
use crate::engine::{Engine, Slot, Step};
use crate::error::{Error, Result};
use crate::schedule::Rate;

/// The range of learning rates that are tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The lowest rate.
    pub from: f64,
    /// The highest rate.
    pub to: f64,
    /// The number of updates, from 2 to 1,000,000.
    pub steps: usize,
    /// The order of the samples.
    pub order: Order,
}

/// One learning rate and the loss it led to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RatePoint {
    /// The learning rate.
    pub lr: f64,
    /// The loss of the step at this rate, measured before its update; with replicas, of the last step.
    pub loss: f64,
    /// The smoothed mean of the losses up to this one.
    pub smoothed: f64,
}

/// The result of a range test, or with replicas of short runs at fixed rates.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RateTest {
    /// The points, by rising rate; those at which the loss was lost are left out.
    pub points: Vec<RatePoint>,
    /// The first rate at which the smoothed loss was not finite or lost: four times the best before, or with replicas,
    /// the first.
    pub diverged_at: Option<f64>,
    /// The rate at which the smoothed loss falls fastest, by the logarithm of the rate; none with replicas.
    pub steepest: Option<f64>,
    /// The rate two thirds down the longest way down; none with replicas.
    pub valley: Option<f64>,
    /// With replicas, the rate of the lowest loss: that of the parabola through the lowest smoothed loss and its neighbours,
    /// by the logarithm of the rate. None if the lowest lies at an end of the range, beyond which there may be a lower one.
    pub lowest: Option<f64>,
    /// The rate to train with: `valley`; with replicas, half of `lowest`.
    pub suggested: Option<f64>,
}

/// The share of the losses before in a smoothed loss; with bias correction, as if there had been none before the first.
const SMOOTHING: f64 = 0.98;
/// The same share with replicas, where there are few steps a rate, so that what came first counts less.
const SMOOTHING_OF_REPLICA: f64 = 0.9;
/// A loss so many times the best one, or with replicas the first one, is lost.
const LOST: f64 = 4.0;
/// The share of the rate of the lowest loss that is suggested: after few steps the loss is lowest at a rate about twice as
/// high as a run of some epochs wants, and half of it is as good as the best there (784-256-128-10 on Fashion-MNIST, AdamW,
/// and SGD with momentum; `tests/program/rates.rs`).
const OF_LOWEST: f64 = 0.5;
/// The first part of the points, which suggests nothing, since the smoothed loss there is that of a few steps.
const SKIPPED: f64 = 0.1;

/// The most steps of the test, all of whose losses are kept.
const MOST_STEPS: usize = 1_000_000;

/// The learning-rate range test (Smith, 2015), from the weights that the engine holds, which it holds again afterwards.
///
/// With one replica the rate rises exponentially from step to step, `from · (to/from)^(i / (steps − 1))`, until the loss is
/// lost. With R replicas, each starts from the weights of the first and trains at a rate of its own, the R rates being
/// spread alike, all on the same batches; the loss of a rate is then the smoothed one after all steps. That is no range test
/// but a comparison of short runs: what counts is where the loss is lowest, not where it falls from one rate to the next.
///
/// `steepest` follows the test's author; `valley` is two thirds down the longest decreasing run of the smoothed losses.
///
/// # Errors
/// A range that is none; the device is lost.
pub fn lr_find(engine: &mut dyn Engine, range: Range) -> Result<RateTest> {
    let Range { from, to, steps, .. } = range;
    if !(from > 0.0 && from < to && (to / from).is_finite()) {
        let found = format!("expected rates 0 < from < to whose ratio is a number, found {from:?} and {to:?}");
        return Err(Error::config("from, to", found));
    }
    if !(2..=MOST_STEPS).contains(&steps) {
        return Err(Error::config("steps", format!("expected 2 to {MOST_STEPS}, found {steps}")));
    }
    let replicas = engine.setup().replicas;
    let slots: Vec<Slot> = engine.slots();
    let mut before = Vec::new();
    for &slot in &slots {
        for r in 0..replicas {
            before.push((slot, r, engine.download(slot, r)?));
        }
    }
    let scales = engine.loss_scales()?;
    let result = if replicas == 1 { sweep(engine, range) } else { compare(engine, range) };
    engine.wait()?;
    engine.set_loss_scales(&scales)?;
    before.iter().try_for_each(|(slot, r, values)| engine.upload(*slot, *r, values))?;
    result
}

/// The rate i of `n` between the ends of the range.
fn rate(range: Range, i: usize, n: usize) -> f64 {
    range.from * (range.to / range.from).powf(i as f64 / (n - 1) as f64)
}

/// The steps of the test, in epochs of whole batches, all replicas in the order of the first; `each` sees the losses of a
/// step and says whether to go on.
fn run(
    engine: &mut dyn Engine,
    Range { steps, order, .. }: Range,
    lr: &dyn Fn(usize, usize) -> f64,
    each: &mut dyn FnMut(usize, &[f64]) -> bool,
) -> Result<()> {
    let setup = engine.setup();
    let (n, rows, seed, replicas) = (setup.dataset.train.len(), setup.batch, setup.seed, setup.replicas);
    let momentum = setup.optimizer.rate().momentum;
    let per_epoch = n / rows;
    for index in 0..steps {
        if index % per_epoch == 0 {
            let order = order.permutation(n, seed, (index / per_epoch) as u64);
            engine.set_order(&vec![order; replicas])?;
        }
        let rates = (0..replicas).map(|r| Rate { lr: lr(index, r), momentum }).collect();
        let first = index % per_epoch * rows;
        let mut metrics = engine.run(&[Step { index: index as u64, first, rows, rates, ..Step::default() }])?;
        metrics.extend(engine.wait()?);
        let losses: Vec<f64> = metrics.iter().map(|m| m.loss).collect();
        if !each(index, &losses) {
            break;
        }
    }
    Ok(())
}

/// A mean in which older values fade.
#[derive(Clone, Default)]
struct Smooth {
    sum: f64,
    weight: f64,
}

impl Smooth {
    fn add(&mut self, value: f64, smoothing: f64) -> f64 {
        self.sum = smoothing * self.sum + (1.0 - smoothing) * value;
        self.weight = smoothing * self.weight + 1.0 - smoothing;
        self.sum / self.weight
    }
}

fn sweep(engine: &mut dyn Engine, range: Range) -> Result<RateTest> {
    let (mut points, mut diverged_at) = (Vec::new(), None);
    let (mut smooth, mut best) = (Smooth::default(), f64::INFINITY);
    run(engine, range, &|i, _| rate(range, i, range.steps), &mut |i, losses| {
        let (lr, loss) = (rate(range, i, range.steps), losses[0]);
        let smoothed = smooth.add(loss, SMOOTHING);
        let is_lost = smoothed.is_nan() || smoothed > LOST * best;
        if is_lost {
            diverged_at = Some(lr);
            return false;
        }
        best = best.min(smoothed);
        points.push(RatePoint { lr, loss, smoothed });
        true
    })?;
    Ok(RateTest::of_range(points, diverged_at))
}

fn compare(engine: &mut dyn Engine, range: Range) -> Result<RateTest> {
    let replicas = engine.setup().replicas;
    let start = engine.download(Slot::Live, 0)?;
    (1..replicas).try_for_each(|r| engine.upload(Slot::Live, r, &start))?;
    let mut smooth = vec![Smooth::default(); replicas];
    let (mut first, mut last) = (f64::NAN, vec![(f64::NAN, f64::NAN); replicas]);
    run(engine, range, &|_, r| rate(range, r, replicas), &mut |step, losses| {
        if step == 0 {
            first = losses[0];
        }
        for ((smooth, last), &loss) in smooth.iter_mut().zip(&mut last).zip(losses) {
            *last = (loss, smooth.add(loss, SMOOTHING_OF_REPLICA));
        }
        true
    })?;
    let (mut points, mut diverged_at) = (Vec::new(), None);
    for (r, (loss, smoothed)) in last.into_iter().enumerate() {
        let lr = rate(range, r, replicas);
        if smoothed <= LOST * first {
            points.push(RatePoint { lr, loss, smoothed });
        } else {
            diverged_at = diverged_at.or(Some(lr));
        }
    }
    Ok(RateTest::of_runs(points, diverged_at, first))
}

impl RateTest {
    fn of_range(points: Vec<RatePoint>, diverged_at: Option<f64>) -> Self {
        let skipped = (points.len() as f64 * SKIPPED) as usize;
        let rest = &points[skipped..];
        let (steepest, valley) = (steepest(rest), valley(rest));
        Self { points, diverged_at, steepest, valley, lowest: None, suggested: valley }
    }

    /// The result of runs at fixed rates, which all began with the loss `first`.
    fn of_runs(points: Vec<RatePoint>, diverged_at: Option<f64>, first: f64) -> Self {
        let lowest = lowest(&points, diverged_at.is_some()).filter(|_| points.iter().any(|p| p.smoothed < first));
        let suggested = lowest.map(|lr| OF_LOWEST * lr);
        Self { points, diverged_at, steepest: None, valley: None, lowest, suggested }
    }
}

/// The rate where the parabola through the lowest loss and its neighbours has its vertex, or that of the lowest loss itself
/// where the runs at the next rates are lost, if any `is_lost`.
fn lowest(points: &[RatePoint], is_lost: bool) -> Option<f64> {
    let i = (0..points.len()).min_by(|&i, &j| points[i].smoothed.total_cmp(&points[j].smoothed))?;
    let left = points[i.checked_sub(1)?];
    let Some(right) = points.get(i + 1) else { return is_lost.then_some(points[i].lr) };
    let (before, least, after) = (left.smoothed, points[i].smoothed, right.smoothed);
    let curvature = before - 2.0 * least + after;
    // In steps from one rate to the next; at most a half, since the middle is the lowest.
    let offset = if curvature > 0.0 { (before - after) / (2.0 * curvature) } else { 0.0 };
    Some(points[i].lr * (right.lr / points[i].lr).powf(offset))
}

/// The rate where the difference over two neighbours is most negative.
fn steepest(points: &[RatePoint]) -> Option<f64> {
    let slope = |p: &[RatePoint]| (p[2].smoothed - p[0].smoothed) / (p[2].lr / p[0].lr).ln();
    let falling = points.windows(3).map(|p| (p[1].lr, slope(p))).filter(|(_, slope)| *slope < 0.0);
    falling.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(lr, _)| lr)
}

/// The rate two thirds down the longest run of falling losses, bumps in it left out.
fn valley(points: &[RatePoint]) -> Option<f64> {
    // For each point, the longest falling subsequence that ends there, and where it begins.
    let mut runs: Vec<(usize, usize)> = Vec::with_capacity(points.len());
    for (i, point) in points.iter().enumerate() {
        let before = (0..i).filter(|&j| points[j].smoothed > point.smoothed).max_by_key(|&j| runs[j].0);
        runs.push(before.map_or((1, i), |j| (runs[j].0 + 1, runs[j].1)));
    }
    let end = (0..runs.len()).max_by_key(|&i| runs[i].0)?;
    let (length, begin) = runs[end];
    (length > 1).then(|| points[begin + (end - begin) * 2 / 3].lr)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loss that falls from 1e-3 on, fastest at 1e-2, and is lowest at 1e-1.
    #[test]
    fn suggestions_lie_on_the_way_down() {
        let loss = |lr: f64| {
            let x = lr.log10();
            if x < -1.0 { 2.0 - 1.5 / (1.0 + (-(x + 2.0) * 6.0).exp()) } else { 0.5 + 5.0 * (x + 1.0) }
        };
        let points: Vec<RatePoint> = (0..=60)
            .map(|i| {
                let lr = 10f64.powf(-5.0 + f64::from(i) * 0.1);
                RatePoint { lr, loss: loss(lr), smoothed: loss(lr) }
            })
            .collect();
        let test = RateTest::of_range(points, None);
        let near = |got: Option<f64>, low: f64, high: f64| {
            let got = got.unwrap();
            assert!((low..=high).contains(&got), "{got} is not in {low} to {high}");
        };
        near(test.steepest, 0.8e-2, 1.3e-2);
        near(test.valley, 1e-3, 1e-1);
        assert_eq!(test.suggested, test.valley);
        assert_eq!(RateTest::of_range(Vec::new(), Some(1.0)).suggested, None);
    }

    /// Losses after short runs at eleven rates, lowest at 3e-3 between two of them.
    #[test]
    fn runs_at_fixed_rates_suggest_half_the_rate_of_the_lowest_loss() {
        let bowl = |lr: f64| 0.5 + (lr / 3e-3).log10().powi(2);
        let points = |rates: std::ops::Range<i32>| -> Vec<RatePoint> {
            let point = |i| {
                let lr = 1e-6 * 10f64.powf(f64::from(i) * 0.6);
                RatePoint { lr, loss: bowl(lr), smoothed: bowl(lr) }
            };
            rates.map(point).collect()
        };
        let test = RateTest::of_runs(points(0..11), Some(10.0), 20.0);
        assert!((test.lowest.unwrap() / 3e-3 - 1.0).abs() < 1e-9, "{test:?}");
        assert_eq!(test.suggested, test.lowest.map(|lr| lr / 2.0));
        assert_eq!((test.valley, test.steepest), (None, None));
        // Where the next rate is lost, the last one counts; where it was not tried, nobody knows.
        let falling = points(0..5);
        assert_eq!(RateTest::of_runs(falling.clone(), Some(1.0), 20.0).lowest, Some(falling[4].lr));
        assert_eq!(RateTest::of_runs(falling, None, 20.0).suggested, None);
        assert_eq!(RateTest::of_runs(points(7..11), Some(10.0), 20.0).suggested, None);
        assert_eq!(RateTest::of_runs(points(0..11), None, 0.1).suggested, None);
    }
}
