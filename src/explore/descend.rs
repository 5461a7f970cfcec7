//! Gradient descent on a surface, step by step.

use serde::Serialize;

use super::Surface;
use crate::cpu;
use crate::data::Order;
use crate::error::{Error, Result};
use crate::number::{Purpose, Stream};
use crate::optimizer::{Optimizer, Rule};
use crate::schedule::{Memory, Schedule};

/// The most steps of a [`Descent`], all of which are kept.
pub const MAX_STEPS: u64 = 1_000_000;

/// The plan of a descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Descent {
    /// The number of updates, from 1 to [`MAX_STEPS`].
    pub steps: u64,
    /// The parameters `w` at the start.
    pub start: [f64; 2],
    /// The number of examples of a step, drawn without replacement until all have had their turn, as in training; none
    /// for all of them. Only for a surface that has [`examples`](Surface::examples).
    pub batch: Option<usize>,
    /// The standard deviation of a normal deviate that is added to each component of each gradient; 0 for none.
    pub noise: f64,
    /// The seed that draws the noise and the order of the examples.
    pub seed: u64,
}

/// One point of a trajectory, before the update `step`; the last one is where the descent ended.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Point {
    /// The number of updates so far.
    pub step: u64,
    /// The parameters `w`.
    pub w: [f64; 2],
    /// The value of the surface there, over all examples.
    pub value: f64,
    /// The learning rate of the update from here.
    pub lr: f64,
    /// The momentum of that update; β₁ for Adam and AdamW.
    pub momentum: f64,
    /// The length of the surface's own gradient: over all examples, and without noise.
    pub grad_norm: f64,
}

/// The trajectory of a descent, which leads down, or up.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// The points, one before each update and one after the last; at least one.
    pub points: Vec<Point>,
    /// Whether all steps were taken; otherwise the next point, its value or its gradient is not a finite number.
    pub finite: bool,
}

/// Descends on `surface` as training does: the same updates, in f64, and the same schedules; a plateau sees the surface's
/// value after every step. One plan gives one trajectory, bit for bit.
///
/// ```
/// use thalweg::explore::{Descent, Surface, descend};
/// use thalweg::optimizer::Optimizer;
/// use thalweg::schedule::Schedule;
/// # fn main() -> thalweg::Result<()> {
/// let sgd = Optimizer::sgd(0.5);
/// let plan = Descent { steps: 2, start: [4.0, -8.0], batch: None, noise: 0.0, seed: 0 };
/// let trajectory = descend(Surface::Bowl, &sgd, &Schedule::default(), &plan)?;
/// let w: Vec<[f64; 2]> = trajectory.points.iter().map(|point| point.w).collect();
/// assert_eq!(w, [[4.0, -8.0], [2.0, -4.0], [1.0, -2.0]]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Constants out of range, a batch of a surface without examples, or a start where the surface is not finite.
pub fn descend(surface: Surface, optimizer: &Optimizer, schedule: &Schedule, plan: &Descent) -> Result<Trajectory> {
    plan.check(surface)?;
    optimizer.check()?;
    schedule.check(plan.steps)?;
    if matches!(optimizer.rule(), Rule::Adam { .. }) {
        schedule.check_beta()?;
    }
    let base = optimizer.rate();
    let mut memory = Memory::default();
    let mut order = Vec::new();
    let mut state = [[0.0; 2]; 3];
    let mut w = plan.start;
    let mut points = Vec::new();
    for step in 0..=plan.steps {
        let rate = schedule.at(step, plan.steps, base, &memory);
        let [dx, dy] = surface.gradient(w);
        let (value, grad_norm) = (surface.value(w), dx.hypot(dy));
        if ![w[0], w[1], value, grad_norm].iter().all(|number| number.is_finite()) {
            return Ok(Trajectory { points, finite: false });
        }
        points.push(Point { step, w, value, lr: rate.lr, momentum: rate.momentum, grad_norm });
        if step < plan.steps {
            let g = plan.gradient(surface, step, w, &mut order);
            let constants = optimizer.coefficients(step + 1, rate).into();
            let mut vectors = state.each_mut().map(|vector| vector.as_mut_slice());
            let used = optimizer.state_vectors();
            cpu::update(optimizer.rule(), &constants, 1.0, &g, &mut w, &mut vectors[..used]);
            schedule.observe(step, plan.steps, base, |_| surface.value(w), &mut memory);
        }
    }
    Ok(Trajectory { points, finite: true })
}

impl Descent {
    /// The gradient that update `step` sees at `w`; `order` is the epoch's.
    fn gradient(&self, surface: Surface, step: u64, w: [f64; 2], order: &mut Vec<u32>) -> [f64; 2] {
        let mut g = match self.batch {
            None => surface.gradient(w),
            Some(batch) => {
                let n = surface.examples();
                let steps_per_epoch = n.div_ceil(batch) as u64;
                let (epoch, i) = (step / steps_per_epoch, step % steps_per_epoch);
                if i == 0 {
                    *order = Order::Shuffle.permutation(n, self.seed, epoch);
                }
                let first = i as usize * batch;
                let drawn = &order[first..n.min(first + batch)];
                let gradients = drawn.iter().map(|&i| surface.example_gradient(i as usize, w));
                gradients.fold([0.0; 2], |sum, g| [sum[0] + g[0], sum[1] + g[1]]).map(|sum| sum / drawn.len() as f64)
            }
        };
        if self.noise > 0.0 {
            let mut stream = Stream::new(self.seed, Purpose::Descent, step);
            g = g.map(|g| g + self.noise * stream.normal());
        }
        g
    }

    fn check(&self, surface: Surface) -> Result<()> {
        if !(1..=MAX_STEPS).contains(&self.steps) {
            return Err(Error::config("steps", format!("expected 1 to {MAX_STEPS}, found {}", self.steps)));
        }
        let [x, y] = self.start;
        if !(surface.value(self.start).is_finite() && surface.gradient(self.start).iter().all(|g| g.is_finite())) {
            let message = format!("expected a point at which {surface} is finite, found {x},{y}");
            return Err(Error::config("start", message));
        }
        if !(self.noise.is_finite() && self.noise >= 0.0) {
            return Err(Error::config("noise", format!("expected a number of at least 0, found {}", self.noise)));
        }
        match (self.batch, surface.examples()) {
            (None, _) => Ok(()),
            (Some(batch), 1) => {
                let message = format!("expected none, since {surface} is not a sum over examples, found {batch}");
                Err(Error::config("batch", message))
            }
            (Some(batch), n) if !(1..=n).contains(&batch) => {
                Err(Error::config("batch", format!("expected 1 to the {n} examples of {surface}, found {batch}")))
            }
            (Some(_), _) => Ok(()),
        }
    }
}
