//! The critical batch size, fitted to the steps that a target took.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, FisherSnedecor, StudentsT};

use crate::error::{Error, Result};
use crate::number::{mean, squares};

/// The probability with which the interval holds the critical batch size.
const CONFIDENCE: f64 = 0.95;
/// The fewest batch sizes: two numbers are fitted, and a third tells how well.
const FEWEST: usize = 3;
/// The places at which the misfit is looked at, and how far they go beyond the batch sizes, in powers of e: so far beyond, the
/// curve is that of an infinite or of no critical batch size to five digits.
const PLACES: usize = 601;
const BEYOND: f64 = 12.0;
/// The halvings of a distance between two places: to a millionth of a millionth of the batch size.
const HALVINGS: usize = 40;
/// The share of what it could that a larger batch gains at the end of perfect scaling, and at the start of maximal parallelism.
const PERFECT: f64 = 0.9;

/// The steps that several seeds took to a target at one batch size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepsToTarget {
    /// The number of samples of a step; at least 1.
    pub batch: usize,
    /// The number of updates that each seed took; above 0.
    pub steps: Vec<f64>,
    /// The number of updates from one evaluation to the next, by which the target may have been reached earlier; 0 if after each.
    pub resolution: f64,
}

/// The curve `S(B) = S_min (1 + B_crit / B) = S_min + E_min / B` of the steps to a target by batch size, and how well the steps
/// of several seeds determine its critical batch size `B_crit`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CriticalBatch {
    /// The critical batch size that fits best, in samples: a training of that size takes twice the least steps and twice the least
    /// samples. None where the misfit falls on towards none or towards an infinite one.
    pub batch: Option<f64>,
    /// The lower end of the 95 % interval; none where the steps fit no critical batch size, however small, less well.
    pub low: Option<f64>,
    /// The upper end of the 95 % interval; none where the steps fit no critical batch size, however large, less well.
    pub high: Option<f64>,
    /// `S_min`, the steps that the largest batches take; 0 where they are not to be seen.
    pub least_steps: f64,
    /// `E_min`, the samples that the smallest batches take; 0 where they are not to be seen.
    pub least_samples: f64,
    /// The deviation of one seed's steps about the curve, relative to them: of their logarithms, from which the interval comes.
    pub deviation: f64,
    /// Whether the means are farther from the curve than the seeds' scatter explains (an F test at 5 %): steps do not follow it,
    /// or the rates do not suit the batch sizes. The interval then comes from the means' own distances.
    pub is_missed: bool,
}

/// Fits `S(B) = S_min (1 + B_crit / B)` to the steps that seeds took to a target (McCandlish et al., 2018, An Empirical Model of
/// Large-Batch Training): of steps `S` and samples `E = S B`, `(S / S_min − 1) (E / E_min − 1) = 1`, where `B_crit = E_min / S_min`.
///
/// The fit is by weighted least squares over the means of the logarithms, each with the weight of its number of seeds: steps scatter
/// in proportion to themselves, and the variance is one number for all sizes, since that of a few seeds is too poor a weight.
/// `σ²` is estimated from all that is left, of the seeds about their means and of these about the curve; it is no less than what
/// times known to one evaluation leave open.
///
/// The interval is that of the profile: all `B_crit` whose misfit, with the best `S_min` for each, exceeds the least by no more than
/// `t² σ²`, with `t` Student's at 95 %. The delta method would make a finite and symmetric one of any steps; this one is open
/// where a critical batch size beyond all that were tried would do as well.
///
/// ```
/// use thalweg::explore::{StepsToTarget, critical_batch};
///
/// // S_min = 500 steps and E_min = 100,000 samples, so B_crit = 200; two seeds, 2 % apart.
/// let at = |batch: usize| {
///     let steps = 500.0 + 1e5 / batch as f64;
///     StepsToTarget { batch, steps: vec![0.99 * steps, 1.01 * steps], resolution: 0.0 }
/// };
/// let fit = critical_batch(&[16, 64, 256, 1024, 4096].map(at))?;
/// assert!((fit.batch.unwrap() - 200.0).abs() < 1.0 && (fit.least_steps - 500.0).abs() < 1.0);
/// assert!(fit.low.unwrap() > 180.0 && fit.high.unwrap() < 220.0);
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// # Errors
/// Steps at fewer than three batch sizes, or a size or a number of steps that is not above 0.
pub fn critical_batch(measured: &[StepsToTarget]) -> Result<CriticalBatch> {
    check(measured)?;
    let points: Vec<Point> = measured.iter().map(Point::of).collect();
    let xs = || points.iter().map(|point| point.x);
    let (first, last) = (xs().fold(f64::INFINITY, f64::min) - BEYOND, xs().fold(f64::NEG_INFINITY, f64::max) + BEYOND);
    let place = |i: usize| first + (last - first) * i as f64 / (PLACES - 1) as f64;
    let misfits: Vec<f64> = (0..PLACES).map(|i| misfit(&points, place(i))).collect();
    let best = (0..PLACES).min_by(|&i, &j| misfits[i].total_cmp(&misfits[j])).unwrap_or_default();
    let u = if best == 0 || best == PLACES - 1 {
        place(best)
    } else {
        lowest(|u| misfit(&points, u), place(best - 1), place(best + 1))
    };

    let least = misfit(&points, u);
    let scatter = Scatter::of(&points, least);
    let t = StudentsT::new(0.0, 1.0, scatter.freedom).map_or(f64::INFINITY, |t| t.inverse_cdf(0.5 + 0.5 * CONFIDENCE));
    let most = least + t * t * scatter.variance;
    let is_out = |&i: &usize| misfits[i] > most;
    let end = |out: usize| crossing(|u| misfit(&points, u) > most, u, place(out)).exp();
    let low = (0..PLACES).rev().filter(|&i| place(i) < u).find(is_out);
    let high = (0..PLACES).filter(|&i| place(i) > u).find(is_out);
    let level = level(&points, u).exp();
    let (batch, least_steps, least_samples) = match best {
        0 => (None, level, 0.0),
        _ if best == PLACES - 1 => (None, 0.0, level * u.exp()),
        _ => (Some(u.exp()), level, level * u.exp()),
    };
    Ok(CriticalBatch {
        batch,
        low: low.map(end),
        high: high.map(end),
        least_steps,
        least_samples,
        deviation: scatter.variance.sqrt(),
        is_missed: scatter.is_missed,
    })
}

impl CriticalBatch {
    /// The steps to the target at a batch size, as fitted: `S_min + E_min / B`.
    pub fn steps(&self, batch: f64) -> f64 {
        self.least_steps + self.least_samples / batch
    }

    /// The ends of the three regimes (Shallue et al., 2019), in samples, by the fitted curve: up to the first, `B_crit / 9`,
    /// scaling is perfect, and steps fall by at least 0.9 of the factor by which a batch grows a little; from there on returns
    /// diminish; beyond the second, `9 B_crit`, they fall by less than 0.1 of it: the maximum of data parallelism. None where the
    /// best fit has no critical batch size.
    pub fn regimes(&self) -> Option<[f64; 2]> {
        let ratio = PERFECT / (1.0 - PERFECT);
        self.batch.map(|batch| [batch / ratio, batch * ratio])
    }
}

/// The seeds of a batch size.
struct Point {
    /// The logarithm of the batch size.
    x: f64,
    /// The mean of the logarithms of the steps.
    y: f64,
    /// The number of seeds, which is the weight.
    n: f64,
    /// The sum of squares of the logarithms about their mean.
    squares: f64,
    /// The mean square of the error of a time that is known to one evaluation, relative to it, if the error is uniform.
    coarse: f64,
}

impl Point {
    fn of(measured: &StepsToTarget) -> Self {
        let logs: Vec<f64> = measured.steps.iter().map(|steps| steps.ln()).collect();
        let y = mean(&logs);
        let coarse = (measured.resolution / y.exp()).powi(2) / 3.0;
        Self { x: (measured.batch as f64).ln(), y, n: logs.len() as f64, squares: squares(&logs), coarse }
    }

    /// What the curve of the critical batch size `e^u` adds to the logarithm of `S_min`: `ln(1 + B_crit / B)`.
    fn rise(&self, u: f64) -> f64 {
        (u - self.x).exp().ln_1p()
    }
}

/// The logarithm of the `S_min` that fits best where the critical batch size is `e^u`.
fn level(points: &[Point], u: f64) -> f64 {
    let weight: f64 = points.iter().map(|point| point.n).sum();
    points.iter().map(|point| point.n * (point.y - point.rise(u))).sum::<f64>() / weight
}

/// The weighted sum of squares of what the means differ by from the best curve of the critical batch size `e^u`.
fn misfit(points: &[Point], u: f64) -> f64 {
    let level = level(points, u);
    points.iter().map(|point| point.n * (point.y - point.rise(u) - level).powi(2)).sum()
}

/// The variance of one seed's logarithm.
struct Scatter {
    variance: f64,
    /// The degrees of freedom of its estimate.
    freedom: f64,
    is_missed: bool,
}

impl Scatter {
    /// That of seeds whose means have this misfit.
    fn of(points: &[Point], misfit: f64) -> Self {
        let (sizes, seeds) = (points.len() as f64, points.iter().map(|point| point.n).sum::<f64>());
        let squares: f64 = points.iter().map(|point| point.squares).sum();
        let (of_means, of_seeds) = (sizes - 2.0, seeds - sizes);
        let limit = FisherSnedecor::new(of_means, of_seeds).map_or(f64::INFINITY, |f| f.inverse_cdf(CONFIDENCE));
        let is_missed = misfit / of_means > limit * squares / of_seeds;
        let (all, freedom) = if is_missed { (misfit, of_means) } else { (misfit + squares, of_means + of_seeds) };
        let coarse = points.iter().map(|point| point.n * point.coarse).sum::<f64>() / sizes;
        Self { variance: (all / freedom).max(coarse), freedom, is_missed }
    }
}

/// Where a function that has one minimum between two places is lowest (Kiefer's golden section, 1953).
fn lowest(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    for _ in 0..2 * HALVINGS {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if f(left) <= f(right) { high = right } else { low = left }
    }
    0.5 * (low + high)
}

/// Where something ceases that holds at `out` and not at `inside`.
fn crossing(holds: impl Fn(f64) -> bool, mut inside: f64, mut out: f64) -> f64 {
    for _ in 0..HALVINGS {
        let middle = 0.5 * (inside + out);
        if holds(middle) { out = middle } else { inside = middle }
    }
    0.5 * (inside + out)
}

/// Refuses what cannot be fitted.
fn check(measured: &[StepsToTarget]) -> Result<()> {
    const PLACE: &str = "critical batch size";
    let is_bad = |steps: &f64| !(steps.is_finite() && *steps > 0.0);
    for StepsToTarget { batch, steps, resolution } in measured {
        if *batch == 0
            || steps.is_empty()
            || steps.iter().any(is_bad)
            || !(resolution.is_finite() && *resolution >= 0.0)
        {
            let found = format!("found {steps:?} at {batch}, looked at every {resolution}");
            return Err(Error::data(PLACE, format!("expected sizes and steps above 0, {found}")));
        }
    }
    let mut sizes: Vec<usize> = measured.iter().map(|measured| measured.batch).collect();
    sizes.sort_unstable();
    sizes.dedup();
    if sizes.len() < FEWEST {
        let found = format!("expected at least {FEWEST} at which every seed reached the target, found {}", sizes.len());
        return Err(Error::data(PLACE, format!("{found}; take other --batches, or more --epochs")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{Purpose, Stream};

    /// Steps of `S_min (1 + B_crit / B)` with a lognormal scatter, `seeds` at each size.
    fn steps(sizes: &[usize], critical: f64, scatter: f64, seeds: usize, stream: &mut Stream) -> Vec<StepsToTarget> {
        let at = |&batch: &usize| {
            let exact = 300.0 * (1.0 + critical / batch as f64);
            let steps = (0..seeds).map(|_| exact * (scatter * stream.normal()).exp()).collect();
            StepsToTarget { batch, steps, resolution: 0.0 }
        };
        sizes.iter().map(at).collect()
    }

    fn stream(index: u64) -> Stream {
        Stream::new(1, Purpose::Exploration, index)
    }

    const SIZES: [usize; 7] = [16, 32, 64, 128, 256, 512, 1024];

    #[test]
    fn exact_steps_give_their_critical_batch_size() {
        for critical in [3.0, 100.0, 5000.0] {
            let fit = critical_batch(&steps(&SIZES, critical, 0.0, 1, &mut stream(0))).unwrap();
            let near = |found: f64, want: f64| assert!((found / want - 1.0).abs() < 1e-5, "{critical}: {fit:?}");
            near(fit.batch.unwrap(), critical);
            near(fit.low.unwrap(), critical);
            near(fit.high.unwrap(), critical);
            near(fit.least_steps, 300.0);
            near(fit.least_samples, 300.0 * critical);
            near(fit.steps(77.0), 300.0 * (1.0 + critical / 77.0));
            near(fit.regimes().unwrap()[0], critical / 9.0);
            near(fit.regimes().unwrap()[1], critical * 9.0);
            assert!(!fit.is_missed);
        }
    }

    /// Of 1000 draws the interval misses 50 in the mean, with a deviation of 7; widening it where an F test at 5 % says that the curve
    /// is missed saves some of them.
    #[test]
    fn the_interval_holds_the_truth_in_95_of_100_draws() {
        for (seeds, scatter, sizes) in
            [(1, 0.1, &SIZES[..]), (4, 0.1, &SIZES[..]), (4, 0.3, &SIZES[..]), (8, 0.05, &SIZES[2..5])]
        {
            let mut stream = stream(seeds as u64);
            let holds = |_: &i32| {
                let fit = critical_batch(&steps(sizes, 150.0, scatter, seeds, &mut stream)).unwrap();
                fit.low.is_none_or(|low| low <= 150.0) && fit.high.is_none_or(|high| 150.0 <= high)
            };
            let held = (0..1000).filter(holds).count();
            assert!((929..=985).contains(&held), "{seeds} seeds, scatter {scatter}: {held} of 1000");
        }
    }

    #[test]
    fn an_interval_is_open_where_the_steps_leave_it_so() {
        // All far below the critical batch size: steps fall in proportion.
        let below = critical_batch(&steps(&[8, 16, 32, 64], 1e5, 0.05, 3, &mut stream(1))).unwrap();
        assert!(below.high.is_none() && below.low.unwrap() > 64.0, "{below:?}");
        // All far above it: steps stay.
        let above = critical_batch(&steps(&[1024, 2048, 4096, 8192], 1.0, 0.05, 3, &mut stream(2))).unwrap();
        assert!(above.low.is_none() && above.high.unwrap() < 1024.0, "{above:?}");
        // So much scatter that nothing is to be seen.
        let noise = critical_batch(&steps(&[64, 128, 256], 128.0, 2.0, 1, &mut stream(3))).unwrap();
        assert!(noise.low.is_none() && noise.high.is_none(), "{noise:?}");
        // In exact proportion the best fit has no end either.
        let proportional =
            [16, 32, 64].map(|batch| StepsToTarget { batch, steps: vec![6400.0 / batch as f64], resolution: 0.0 });
        let fit = critical_batch(&proportional).unwrap();
        assert!(fit.batch.is_none() && fit.high.is_none() && fit.regimes().is_none(), "{fit:?}");
        assert!(fit.least_steps == 0.0 && (fit.least_samples / 6400.0 - 1.0).abs() < 1e-4, "{fit:?}");
    }

    #[test]
    fn coarse_evaluations_widen_the_interval() {
        let mut exact = steps(&SIZES, 150.0, 0.0, 2, &mut stream(0));
        let width = |measured: &[StepsToTarget]| {
            let fit = critical_batch(measured).unwrap();
            fit.high.unwrap_or(f64::INFINITY) / fit.low.unwrap_or(0.0)
        };
        let before = width(&exact);
        exact.iter_mut().for_each(|measured| measured.resolution = 0.1 * measured.steps[0]);
        assert!(before < 1.0001 && width(&exact) > 1.2, "{before}, {}", width(&exact));
    }

    /// Steps that fall, stay and fall again follow no such curve: the seeds agree, and the means tell how little that says.
    #[test]
    fn a_missed_curve_is_told() {
        let at = |(batch, steps): (usize, f64)| {
            let steps = vec![0.999 * steps, steps, 1.001 * steps];
            StepsToTarget { batch, steps, resolution: 0.0 }
        };
        let fit = critical_batch(&[(16, 4000.0), (64, 1000.0), (256, 1000.0), (1024, 250.0)].map(at)).unwrap();
        assert!(fit.is_missed && fit.deviation > 0.3, "{fit:?}");
    }

    #[test]
    fn what_cannot_be_fitted_is_refused() {
        let at = |batch, steps: &[f64]| StepsToTarget { batch, steps: steps.to_vec(), resolution: 1.0 };
        let refused = |measured: &[StepsToTarget]| critical_batch(measured).unwrap_err().to_string();
        let two = [at(8, &[90.0]), at(16, &[50.0]), at(16, &[51.0])];
        assert!(refused(&two).contains("expected at least 3 at which every seed reached the target, found 2"));
        for bad in [at(0, &[9.0]), at(9, &[]), at(9, &[0.0]), at(9, &[f64::NAN]), at(9, &[f64::INFINITY])] {
            assert!(refused(&[at(8, &[90.0]), at(16, &[50.0]), bad]).contains("above 0, found"));
        }
    }

    /// From tables of the distributions.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        let f = |a: f64, b: f64| FisherSnedecor::new(a, b).unwrap().inverse_cdf(0.95);
        let t = |freedom: f64| StudentsT::new(0.0, 1.0, freedom).unwrap().inverse_cdf(0.975);
        let pairs =
            [(f(1.0, 1.0), 161.448), (f(5.0, 14.0), 2.958), (t(1.0), 12.706), (t(5.0), 2.571), (t(100.0), 1.984)];
        pairs.into_iter().for_each(|(found, want)| assert!((found - want).abs() < 1e-3 * want, "{found}, {want}"));
    }
}
