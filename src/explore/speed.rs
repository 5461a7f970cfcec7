//! How fast steps are, and which batch size to take.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::target::Trials;
use crate::data::Order;
use crate::engine::{Engine, Limits, Setup, Step, Timed, initialize};
use crate::error::{Error, Result};
use crate::model::Init;
use crate::schedule::Rate;

/// The least seconds of a turn; the time of a step is the median of several turns.
const LEAST_SECONDS: f64 = 0.1;
const TURNS: usize = 5;

/// The speed of an engine's steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// The number of samples of a step.
    pub batch: usize,
    /// The number of models side by side.
    pub replicas: usize,
    /// The seconds of a step: the median of five turns.
    pub seconds: f64,
    /// The number of samples trained a second, all replicas together.
    pub samples_per_second: f64,
    /// The number of floating-point operations a second, all replicas together.
    pub flops: f64,
    /// The share of the device's limit: the least time that the device could take, over the time that it takes; see
    /// [`Limits::floor`].
    pub of_limit: f64,
    /// The number of bytes of the engine's memory.
    pub bytes: u64,
}

/// Measures the speed of steps of the setup's batch from random weights. The device does what a training run does, many
/// steps to a submission.
///
/// # Errors
/// The device is lost.
pub fn speed(engine: &mut dyn Engine, limits: &Limits) -> Result<Speed> {
    let steps = prepare(engine)?;
    let turn = |engine: &mut dyn Engine, count: usize| -> Result<f64> {
        let start = Instant::now();
        for _ in 0..count {
            engine.run(&steps)?;
        }
        engine.wait()?;
        Ok(start.elapsed().as_secs_f64())
    };
    turn(engine, 1)?;
    let once = turn(engine, 1)?;
    let count = (LEAST_SECONDS / once).ceil().max(1.0) as usize;
    let mut seconds = Vec::new();
    for _ in 0..TURNS {
        seconds.push(turn(engine, count)? / (count * steps.len()) as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let (seconds, setup) = (seconds[TURNS / 2], engine.setup());
    let replicas = setup.replicas as f64;
    let flops = replicas * setup.step_flops(setup.batch);
    Ok(Speed {
        batch: setup.batch,
        replicas: setup.replicas,
        seconds,
        samples_per_second: replicas * setup.batch as f64 / seconds,
        flops: flops / seconds,
        of_limit: least_seconds(engine, limits) / seconds,
        bytes: engine.memory().iter().map(|a| a.bytes).sum(),
    })
}

/// The least seconds in which the engine's device could carry out a step of the setup's batch; see [`Limits::floor`].
pub fn least_seconds(engine: &dyn Engine, limits: &Limits) -> f64 {
    let setup = engine.setup();
    let flops = setup.replicas as f64 * setup.step_flops(setup.batch);
    let bytes = setup.step_bytes(setup.batch) * engine.value_bytes() as f64 / size_of::<f32>() as f64;
    limits.floor(setup.is_mixed(), flops, bytes, engine.dispatches())
}

/// Times each dispatch of a step from random weights by the device's clock; an empty list where it has none.
///
/// # Errors
/// The device is lost.
pub fn profile(engine: &mut dyn Engine) -> Result<Vec<Timed>> {
    let steps = prepare(engine)?;
    // The first time is that of compiling and of cold caches.
    engine.profile(&steps[0])?;
    engine.profile(&steps[0])
}

/// Gives the engine random weights and an order, and returns steps for one submission.
pub fn prepare(engine: &mut dyn Engine) -> Result<Vec<Step>> {
    // So small a rate that nothing diverges, however often it is taken.
    let rate = Rate { lr: 1e-6, ..engine.setup().optimizer.rate() };
    initialize(engine, Init::Kaiming)?;
    let setup = engine.setup();
    let (n, rows, replicas) = (setup.dataset.train.len(), setup.batch, setup.replicas);
    let orders = (0..replicas as u64).map(|r| Order::Shuffle.permutation(n, r, 0)).collect::<Vec<_>>();
    engine.set_order(&orders)?;
    let per_epoch = n / rows;
    let step = |i: usize| Step {
        index: i as u64,
        first: i % per_epoch * rows,
        rows,
        rates: vec![rate; replicas],
        ..Step::default()
    };
    Ok((0..engine.steps_at_once()).map(step).collect())
}

/// The rule by which the learning rate follows the batch size. Default `sqrt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrRule {
    /// The rate grows in proportion to the batch size (Goyal et al., 2017).
    Linear,
    /// The rate grows with the root of the batch size (Krizhevsky, 2014), which adaptive optimizers ask for.
    #[default]
    Sqrt,
    /// The rate stays as it is.
    None,
}

impl LrRule {
    /// The factor of the rate for `batch` samples, if the rate suits `base` samples.
    pub fn factor(self, batch: usize, base: usize) -> f64 {
        let ratio = batch as f64 / base as f64;
        match self {
            Self::Linear => ratio,
            Self::Sqrt => ratio.sqrt(),
            Self::None => 1.0,
        }
    }
}

/// The gradient noise scale `B_simple = tr Σ / |G|²` (McCandlish et al., 2018, appendix A.1) at the engine's weights: the
/// batch size from which on more samples make the gradient hardly better.
///
/// From `pairs` pairs of gradients, over small batches and over large ones that do not overlap:
/// `|G|² = (B |g_B|² − b |g_b|²) / (B − b)`, `tr Σ = (|g_b|² − |g_B|²) / (1/b − 1/B)`, each averaged over the pairs and
/// the replicas before one is divided by the other. Nothing if the averages are not positive, for want of pairs.
///
/// # Errors
/// Too few samples; the device is lost.
pub fn noise_scale(engine: &mut dyn Engine, small: usize, large: usize, pairs: usize) -> Result<Option<f64>> {
    let setup = engine.setup();
    let (n, replicas, seed) = (setup.dataset.train.len(), setup.replicas, setup.seed);
    if !(1 <= small && small < large && large <= setup.batch && small + large <= n) {
        let found = format!(
            "expected batches 1 <= small < large <= {} that {n} samples hold, found {small} and {large}",
            setup.batch
        );
        return Err(Error::config("noise scale", found));
    }
    let (mut gradient, mut noise) = (0.0, 0.0);
    for pair in 0..pairs {
        let order = Order::Shuffle.permutation(n, seed, pair as u64);
        engine.set_order(&vec![order; replicas])?;
        let mut squares = |first: usize, rows: usize| -> Result<f64> {
            let rates = vec![Rate::default(); replicas];
            let gradients = engine.gradients(&Step { first, rows, rates, ..Step::default() })?;
            Ok(gradients.iter().flat_map(|(_, g)| g).map(|g| g * g).sum::<f64>() / replicas as f64)
        };
        let (of_small, of_large) = (squares(0, small)?, squares(small, large)?);
        let (b, l) = (small as f64, large as f64);
        gradient += (l * of_large - b * of_small) / (l - b);
        noise += (of_small - of_large) / (1.0 / b - 1.0 / l);
    }
    Ok((gradient > 0.0 && noise > 0.0).then_some(noise / gradient))
}

/// The batch size to take, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The number of samples of a step.
    pub batch: usize,
    /// The reason, in words.
    pub reason: String,
}

/// The share of the highest throughput from which on more samples a step are not worth their noise's loss.
const ENOUGH: f64 = 0.9;

/// The batch size to take: that which reached the target soonest, in the mean, of those at which the most seeds did; else the
/// smallest that comes within a tenth of the highest throughput, but none beyond the gradient noise scale, if that is known. Speeds
/// and trials may have any order.
pub fn recommend(speeds: &[Speed], trials: &[Trials], noise_scale: Option<f64>) -> Option<Recommendation> {
    let most = trials.iter().map(|trials| trials.reached().count()).max();
    let soonest = trials
        .iter()
        .filter(|trials| Some(trials.reached().count()) == most)
        .filter_map(|trials| Some((trials, trials.spread(|r| r.seconds)?.mean, trials.spread(|r| r.epochs)?.mean)))
        .min_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((Trials { batch, trials }, seconds, epochs)) = soonest {
        let of = if trials.len() > 1 { ", in the mean of its seeds" } else { "" };
        let reason = format!("it reached the target soonest: in {seconds:.1} s, {epochs:.1} epochs{of}");
        return Some(Recommendation { batch: *batch, reason });
    }
    let most = speeds.iter().map(|s| s.samples_per_second).fold(0.0, f64::max);
    let enough = speeds.iter().filter(|s| s.samples_per_second >= ENOUGH * most).min_by_key(|s| s.batch)?;
    let share = 100.0 * enough.samples_per_second / most;
    // The largest batch within the noise scale; the smallest of all if none is.
    let within = |scale: f64| {
        let batches = speeds.iter().map(|s| s.batch);
        batches.clone().filter(|&batch| batch as f64 <= scale).max().or(batches.min())
    };
    let limited = noise_scale.and_then(|scale| Some((scale, within(scale)?)));
    Some(match limited {
        Some((scale, batch)) if batch < enough.batch => Recommendation {
            batch,
            reason: format!(
                "the gradient noise scale is {scale:.0}: a larger step is quicker by the sample, but its gradient is hardly better"
            ),
        },
        _ => Recommendation {
            batch: enough.batch,
            reason: format!("it is the smallest with at least 90 % of the highest throughput ({share:.0} %)"),
        },
    })
}

/// The same setup with another batch size.
///
/// # Errors
/// A batch that the training part does not hold.
pub fn with_batch(setup: &Setup, batch: usize) -> Result<Setup> {
    let samples = setup.dataset.train.len();
    if batch == 0 || batch > samples {
        return Err(Error::config("--batches", format!("expected 1 to {samples} samples, found {batch}")));
    }
    Ok(Setup { batch, ..setup.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::target::{Reached, Trial};
    use super::*;
    use crate::event::Ended;

    fn speed(batch: usize, samples_per_second: f64) -> Speed {
        let seconds = batch as f64 / samples_per_second;
        Speed { batch, replicas: 1, seconds, samples_per_second, flops: 0.0, of_limit: 0.0, bytes: 0 }
    }

    #[test]
    fn the_recommendation_follows_what_is_known() {
        let speeds = [speed(1, 10.0), speed(8, 60.0), speed(64, 95.0), speed(512, 100.0)];
        let batch = |trials: &[Trials], noise| recommend(&speeds, trials, noise).unwrap().batch;
        assert_eq!(batch(&[], None), 64);
        assert_eq!(batch(&[], Some(1000.0)), 64);
        assert_eq!(batch(&[], Some(20.0)), 8);
        assert_eq!(batch(&[], Some(0.5)), 1);
        let trial = |seconds: &f64| {
            let reached = Reached { steps: 1, epochs: 1.0, samples: 1, seconds: *seconds };
            let reached = (*seconds > 0.0).then_some(reached);
            Trial { seed: 0, ended: Ended::Target, reached, resolution: 1 }
        };
        let trials = |batch, seconds: &[f64]| Trials { batch, trials: seconds.iter().map(trial).collect() };
        let one = [trials(1, &[0.0]), trials(8, &[3.0]), trials(64, &[5.0]), trials(512, &[0.0])];
        assert_eq!(batch(&one, Some(20.0)), 8);
        // A size at which a seed failed is no rival of one at which none did; the mean counts.
        let several = [trials(8, &[3.0, 0.0]), trials(64, &[5.0, 9.0]), trials(512, &[6.0, 6.0])];
        assert_eq!(batch(&several, None), 512);
        assert_eq!(batch(&several[..1], None), 8);
        assert_eq!(batch(&[trials(8, &[0.0])], None), 64);
        assert!(recommend(&[], &[], None).is_none());
        // In whatever order they were measured.
        let speeds = [speed(512, 100.0), speed(1, 10.0), speed(64, 95.0), speed(8, 60.0)];
        let batch = |noise| recommend(&speeds, &[], noise).unwrap().batch;
        assert_eq!([None, Some(1000.0), Some(20.0), Some(0.5)].map(batch), [64, 64, 8, 1]);
    }

    #[test]
    fn rates_follow_the_batch_by_their_rule() {
        let factors = [LrRule::Linear, LrRule::Sqrt, LrRule::None].map(|rule| rule.factor(512, 128));
        assert_eq!(factors, [4.0, 2.0, 1.0]);
    }
}
