//! Training until a test accuracy is reached, seed after seed.

use serde::Serialize;

use super::critical::StepsToTarget;
use crate::engine::{Engine, Setup};
use crate::error::{Error, Result};
use crate::event::Ended;
use crate::model::Init;
use crate::number::{deviation, mean};
use crate::plan::Plan;
use crate::schedule::Unit;
use crate::stop::{Metric, Stop};
use crate::train::Trainer;

/// The test accuracy to be reached, and how often it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Target {
    /// The accuracy of the last weights on the test part, a fraction of at most 1.
    pub accuracy: f64,
    /// The number of evaluations an epoch, as evenly spaced as its steps allow; at least 1, and at most one a step.
    pub evaluations: u64,
}

/// The cost of reaching a test accuracy, up to the first evaluation that found it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reached {
    /// The number of updates until then.
    pub steps: u64,
    /// The number of epochs until then, with the part of the last one.
    pub epochs: f64,
    /// The number of samples until then, of one replica.
    pub samples: u64,
    /// The seconds of the steps until then, without evaluation.
    pub seconds: f64,
}

/// One training towards a test accuracy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The seed of its first weights, orders, dropout and augmentation.
    pub seed: u64,
    /// The reason for which it ended: the target, the last epoch, or a loss that is not finite.
    pub ended: Ended,
    /// The cost of reaching the target; none where it was not reached.
    pub reached: Option<Reached>,
    /// The steps from one evaluation to the next: the target may have been reached so many steps earlier.
    pub resolution: u64,
}

/// The trainings at one batch size, a seed each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trials {
    /// The number of samples of a step.
    pub batch: usize,
    /// The trainings, in the order of their seeds.
    pub trials: Vec<Trial>,
}

/// The mean over seeds that reached the target, and their deviation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The arithmetic mean.
    pub mean: f64,
    /// The sample standard deviation; 0 of a single seed.
    pub deviation: f64,
}

impl Target {
    /// The steps from one evaluation to the next.
    fn resolution(&self, setup: &Setup, plan: &Plan) -> u64 {
        (plan.steps_per_epoch(setup) / self.evaluations.max(1)).max(1)
    }

    /// The plan that ends at the target, and nowhere else before its last epoch.
    ///
    /// # Errors
    /// No test part, no labels, an accuracy that none can be; what else [`Plan::check`] refuses.
    pub fn plan(&self, setup: &Setup, plan: Plan) -> Result<Plan> {
        let stop = Stop { metric: Metric::TestAccuracy, target: Some(self.accuracy), ..Stop::default() };
        let plan = Plan { stop, eval_every: self.resolution(setup, &plan), eval_unit: Unit::Step, ..plan };
        plan.check(setup)?;
        Ok(plan)
    }
}

/// Trains from first weights until the mean test accuracy of the replicas is at least `target`, for at most `plan.epochs`.
///
/// Its seconds are those of a training by itself. Seeds side by side as replicas would take the same steps to the bit, but share
/// every dispatch: what one of them took cannot be told from what all did. So seeds are trained one after the other, each on an
/// engine whose setup has the seed.
///
/// # Errors
/// No test part, no labels; the device is lost.
pub fn reach(engine: Box<dyn Engine>, init: Init, target: Target, plan: Plan) -> Result<Trial> {
    let plan = target.plan(engine.setup(), plan)?;
    let (seed, resolution) = (engine.setup().seed, plan.eval_every);
    let mut trainer = Trainer::new(engine, plan)?;
    trainer.init(init)?;
    let ended = match trainer.run() {
        Ok(()) => trainer.ended().unwrap_or(Ended::Epochs),
        Err(Error::Diverged { .. }) => Ended::Diverged,
        Err(error) => return Err(error),
    };
    let steps = trainer.steps_taken();
    let (per_epoch, within) = (trainer.steps_per_epoch(), trainer.progress().within.steps);
    let seconds = trainer.progress().seconds + trainer.progress().within.seconds;
    let setup = trainer.engine().setup();
    // The last step of an epoch may be short, or left out.
    let samples_of = |steps: u64| (steps * setup.batch as u64).min(setup.dataset.train.len() as u64);
    let samples = steps / per_epoch * samples_of(per_epoch) + samples_of(within);
    let reached = Reached { steps, epochs: steps as f64 / per_epoch as f64, samples, seconds };
    Ok(Trial { seed, ended, reached: (ended == Ended::Target).then_some(reached), resolution })
}

impl Trials {
    /// What it took the seeds that reached the target, in the order of seeds.
    pub fn reached(&self) -> impl Iterator<Item = &Reached> {
        self.trials.iter().filter_map(|trial| trial.reached.as_ref())
    }

    /// Whether every seed reached the target.
    pub fn all_reached(&self) -> bool {
        !self.trials.is_empty() && self.trials.iter().all(|trial| trial.reached.is_some())
    }

    /// The mean and deviation of a number over the seeds that reached the target; none if none did.
    pub fn spread(&self, of: impl Fn(&Reached) -> f64) -> Option<Spread> {
        let values: Vec<f64> = self.reached().map(of).collect();
        (!values.is_empty()).then(|| Spread { mean: mean(&values), deviation: deviation(&values) })
    }

    /// The steps to the target, as [`critical_batch`](super::critical_batch) takes them; none unless every seed reached it, since
    /// the mean of those that did is too low.
    pub fn steps_to_target(&self) -> Option<StepsToTarget> {
        let steps = self.reached().map(|reached| reached.steps as f64).collect();
        let resolution = self.trials.first()?.resolution as f64;
        self.all_reached().then_some(StepsToTarget { batch: self.batch, steps, resolution })
    }
}
