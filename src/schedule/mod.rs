//! Learning-rate schedules: pure functions of the step, so that resuming a run needs the step alone.
//!
//! Names, arguments and defaults are those of `torch.optim.lr_scheduler`, in lower case. Step t (from 0) is the update
//! that uses the rate. Where a schedule ends, it holds its last value.

mod annealing;
mod build;
mod check;
mod cyclic;
mod plateau;

use serde::{Deserialize, Serialize};

pub use plateau::{Memory, Mode, ThresholdMode};

/// The unit in which a schedule or an average counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Steps: updates of the weights.
    #[default]
    Step,
    /// Epochs: passes over the training part.
    Epoch,
}

/// The learning rate and momentum that a schedule gives for one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// The learning rate.
    pub lr: f64,
    /// The momentum; β₁ for Adam and AdamW.
    pub momentum: f64,
}

/// The shape of the way from one value a to another, b, at the fraction p of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anneal {
    /// Half a cosine, `a + (b − a) (1 − cos πp) / 2`.
    #[default]
    Cos,
    /// A straight line, `a + (b − a) p`.
    Linear,
}

/// The rule by which the height of a cycle shrinks, c being the number of the cycle from 0 and t the step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CycleMode {
    /// A height that stays the same.
    #[default]
    Triangular,
    /// A height that is halved in each cycle: the factor `2⁻ᶜ`.
    Triangular2,
    /// A height that shrinks in every step: the factor `gammaᵗ`.
    ExpRange,
}

/// The way of the learning rate over a run, constant by default; `lr` is the optimizer's, and t the step, from 0. Where
/// a run counts in epochs ([`Unit`]), t and every number of steps are epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The optimizer's rate, `lr`.
    Constant {},
    /// A decay after every so many steps: `lr · gamma^⌊t / step_size⌋`.
    Step {
        /// The number of steps between two decays, at least 1.
        step_size: u64,
        /// The factor of one decay, positive. Default 0.1.
        #[serde(default = "tenth")]
        gamma: f64,
    },
    /// A decay at each milestone: `lr · gamma^(number of milestones ≤ t)`.
    Multistep {
        /// The steps from which on the rate is decayed once more; increasing.
        milestones: Vec<u64>,
        /// The factor of one decay, positive. Default 0.1.
        #[serde(default = "tenth")]
        gamma: f64,
    },
    /// A decay in every step: `lr · gammaᵗ`.
    Exponential {
        /// The factor of one step, positive.
        gamma: f64,
    },
    /// A warm-up: `lr · (start_factor + (end_factor − start_factor) · min(t / total_iters, 1))`.
    Linear {
        /// The factor of the rate at first, positive. Default 1/3.
        #[serde(default = "third")]
        start_factor: f64,
        /// The factor of the rate at the end, at least 0. Default 1.
        #[serde(default = "one")]
        end_factor: f64,
        /// The number of steps until the end, at least 1. Default 5.
        #[serde(default = "five")]
        total_iters: u64,
    },
    /// A power of the steps left: `lr · (1 − min(t / total_iters, 1))^power`.
    Polynomial {
        /// The number of steps until the rate is 0, at least 1. Default 5.
        #[serde(default = "five")]
        total_iters: u64,
        /// The exponent, positive. Default 1.
        #[serde(default = "one")]
        power: f64,
    },
    /// Half a cosine: `eta_min + (lr − eta_min) (1 + cos(π t / t_max)) / 2`, and `eta_min` from `t_max` on, where
    /// PyTorch's climbs again (Loshchilov and Hutter, 2016, without restarts).
    Cosine {
        /// The number of steps until the minimum, at least 1. Default: all steps of the run, or of the part of a
        /// sequence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        t_max: Option<u64>,
        /// The lowest rate, at least 0. Default 0.
        #[serde(default)]
        eta_min: f64,
    },
    /// The cosine, begun anew: period i has `t_0 · t_multⁱ` steps (SGDR; Loshchilov and Hutter, 2016).
    CosineWarmRestarts {
        /// The number of steps of the first period, at least 1.
        t_0: u64,
        /// The factor from the length of one period to that of the next, at least 1. Default 1.
        #[serde(default = "one_step")]
        t_mult: u64,
        /// The lowest rate, to which each period falls, at least 0. Default 0.
        #[serde(default)]
        eta_min: f64,
    },
    /// A triangle, up from `base_lr` to `max_lr` and down again, momentum in the opposite sense (Smith, 2015).
    Cyclic {
        /// The lowest rate, at least 0. Default: the optimizer's rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        base_lr: Option<f64>,
        /// The highest rate, positive.
        max_lr: f64,
        /// The number of steps on the way up, at least 1. Default 2000.
        #[serde(default = "two_thousand")]
        step_size_up: u64,
        /// The number of steps on the way down, at least 1. Default: `step_size_up`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step_size_down: Option<u64>,
        /// The rule by which the height of the cycles shrinks. Default triangular.
        #[serde(default)]
        mode: CycleMode,
        /// The factor of one step in the mode `exp_range`, in `[0, 1]`. Default 1.
        #[serde(default = "one")]
        gamma: f64,
        /// Whether the momentum moves too. Default true; an optimizer without momentum should turn it off.
        #[serde(default = "yes")]
        cycle_momentum: bool,
        /// The lowest momentum, at the highest rate, in `[0, 1]`. Default 0.8.
        #[serde(default = "lowest_momentum")]
        base_momentum: f64,
        /// The highest momentum, at the lowest rate, in `[0, 1]`. Default 0.9.
        #[serde(default = "highest_momentum")]
        max_momentum: f64,
    },
    /// One cycle, up from `max_lr / div_factor` to `max_lr`, then down to `max_lr / div_factor / final_div_factor`;
    /// momentum in the opposite sense (Smith and Topin, 2017). With three phases the way down passes the first rate at
    /// twice `pct_start`.
    OneCycle {
        /// The highest rate, positive. Default: the optimizer's rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_lr: Option<f64>,
        /// The number of steps of the cycle. Default: all steps of the run, or of the part of a sequence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total_steps: Option<u64>,
        /// The fraction of the steps on the way up, in `[0, 1]` and with a step for each phase. Default 0.3.
        #[serde(default = "three_tenths")]
        pct_start: f64,
        /// The shape of the ways up and down. Default cos.
        #[serde(default)]
        anneal_strategy: Anneal,
        /// Whether the momentum moves too. Default true.
        #[serde(default = "yes")]
        cycle_momentum: bool,
        /// The momentum at the highest rate, in `[0, 1]`. Default 0.85.
        #[serde(default = "one_cycle_lowest_momentum")]
        base_momentum: f64,
        /// The momentum at the first and the last rate, in `[0, 1]`. Default 0.95.
        #[serde(default = "one_cycle_highest_momentum")]
        max_momentum: f64,
        /// The quotient of the highest rate and the first, positive. Default 25.
        #[serde(default = "twenty_five")]
        div_factor: f64,
        /// The quotient of the first rate and the last, positive. Default 10,000.
        #[serde(default = "ten_thousand")]
        final_div_factor: f64,
        /// Whether the way down has two phases, to the first rate and then to the last. Default false.
        #[serde(default)]
        three_phase: bool,
    },
    /// An annealing from `lr` to `swa_lr` in `anneal_epochs` steps, then constant: the rate while weights are averaged.
    Swalr {
        /// The last rate, positive.
        swa_lr: f64,
        /// The number of steps until the last rate. Default 10.
        #[serde(default = "ten")]
        anneal_epochs: u64,
        /// The shape of the way. Default cos.
        #[serde(default)]
        anneal_strategy: Anneal,
    },
    /// A fall in each cycle of c steps, linear from `alpha_1` to `alpha_2`: `(1 − p) alpha_1 + p alpha_2` with
    /// `p = (t mod c + 1) / c` (Izmailov et al., 2018, equation 1).
    SwaCyclic {
        /// The rate from which each cycle falls, positive; its first step is already below.
        alpha_1: f64,
        /// The lowest rate, that of the step after which weights are averaged; positive.
        alpha_2: f64,
        /// The number c of steps of a cycle, at least 1.
        cycle: u64,
    },
    /// A reduction of the rate by `factor` when the metric has not improved for more than `patience` evaluations; it
    /// has state, a [`Memory`] for each replica.
    Plateau {
        /// The metric that is watched, and whether less or more of it is better. Default min: the loss.
        #[serde(default)]
        mode: Mode,
        /// The factor of one reduction, in `[0, 1)`. Default 0.1.
        #[serde(default = "tenth")]
        factor: f64,
        /// The number of evaluations without improvement that are borne. Default 10: the eleventh reduces.
        #[serde(default = "ten")]
        patience: u64,
        /// The improvement up to which a better metric does not count, at least 0. Default 0.0001.
        #[serde(default = "threshold")]
        threshold: f64,
        /// The value that the threshold is relative to. Default rel: the best so far.
        #[serde(default)]
        threshold_mode: ThresholdMode,
        /// The number of evaluations after a reduction that do not count. Default 0.
        #[serde(default)]
        cooldown: u64,
        /// The rate below which none is reduced, at least 0. Default 0.
        #[serde(default)]
        min_lr: f64,
        /// The difference of rates up to which a reduction is left out, at least 0. Default 1e-8.
        #[serde(default = "smallest_reduction")]
        eps: f64,
    },
    /// A sequence: one schedule after the other, each of which counts its steps from 0.
    Sequential {
        /// The step at which each schedule but the first begins; increasing.
        milestones: Vec<u64>,
        /// The schedules, one more than there are milestones; none may be a sequence.
        parts: Vec<Schedule>,
    },
}

fn tenth() -> f64 {
    0.1
}
fn third() -> f64 {
    1.0 / 3.0
}
fn one() -> f64 {
    1.0
}
fn five() -> u64 {
    5
}
fn one_step() -> u64 {
    1
}
fn ten() -> u64 {
    10
}
fn two_thousand() -> u64 {
    2000
}
fn yes() -> bool {
    true
}
fn lowest_momentum() -> f64 {
    0.8
}
fn highest_momentum() -> f64 {
    0.9
}
fn three_tenths() -> f64 {
    0.3
}
fn one_cycle_lowest_momentum() -> f64 {
    0.85
}
fn one_cycle_highest_momentum() -> f64 {
    0.95
}
fn twenty_five() -> f64 {
    25.0
}
fn ten_thousand() -> f64 {
    1e4
}
fn threshold() -> f64 {
    1e-4
}
fn smallest_reduction() -> f64 {
    1e-8
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

impl Schedule {
    /// The learning rate and momentum of `step`, counted from 0, in a run of `steps` steps whose optimizer has the rate
    /// `base`. Only a plateau reads `memory`.
    ///
    /// ```
    /// use thalweg::schedule::{Memory, Rate, Schedule};
    /// let base = Rate { lr: 0.1, momentum: 0.9 };
    /// let cosine = Schedule::cosine();
    /// let lr: Vec<f64> = [0, 25, 50, 100].map(|t| cosine.at(t, 100, base, &Memory::default()).lr).to_vec();
    /// assert!((lr[1] - 0.085_355).abs() < 1e-6 && (lr[2] - 0.05).abs() < 1e-12);
    /// assert_eq!((lr[0], lr[3]), (0.1, 0.0));
    /// ```
    pub fn at(&self, step: u64, steps: u64, base: Rate, memory: &Memory) -> Rate {
        let scaled = |factor: f64| Rate { lr: base.lr * factor, ..base };
        if let Self::Sequential { .. } = self {
            let (part, first, length) = self.part(step, steps);
            // A plateau does not go on from where another one ended.
            let afresh = Memory::default();
            let memory = if memory.began == first { memory } else { &afresh };
            return part.at(step - first, length, base, memory);
        }
        // How much of `whole` steps is over, at most 1.
        let progress = |whole: u64| if step < whole { step as f64 / whole as f64 } else { 1.0 };
        match self {
            Self::Step { step_size, gamma } => scaled(gamma.powf((step / step_size) as f64)),
            Self::Multistep { milestones, gamma } => {
                scaled(gamma.powf(milestones.iter().filter(|&&m| m <= step).count() as f64))
            }
            Self::Exponential { gamma } => scaled(gamma.powf(step as f64)),
            Self::Linear { start_factor, end_factor, total_iters } => {
                scaled(start_factor + (end_factor - start_factor) * progress(*total_iters))
            }
            Self::Polynomial { total_iters, power } => scaled((1.0 - progress(*total_iters)).powf(*power)),
            Self::Cosine { t_max, eta_min } => {
                let lr = Anneal::Cos.between(base.lr, *eta_min, progress(t_max.unwrap_or(steps)));
                Rate { lr, ..base }
            }
            Self::CosineWarmRestarts { t_0, t_mult, eta_min } => {
                let p = annealing::restart_progress(step, *t_0, *t_mult);
                Rate { lr: Anneal::Cos.between(base.lr, *eta_min, p), ..base }
            }
            Self::Swalr { swa_lr, anneal_epochs, anneal_strategy } => {
                Rate { lr: anneal_strategy.between(base.lr, *swa_lr, progress(*anneal_epochs)), ..base }
            }
            Self::SwaCyclic { alpha_1, alpha_2, cycle } => {
                let p = (step % cycle + 1) as f64 / *cycle as f64;
                Rate { lr: (1.0 - p) * alpha_1 + p * alpha_2, ..base }
            }
            Self::Cyclic { .. } => self.cyclic_rate(step, base),
            Self::OneCycle { .. } => self.one_cycle_rate(step, steps, base),
            Self::Plateau { .. } => Rate { lr: memory.lr.unwrap_or(base.lr), ..base },
            Self::Constant {} | Self::Sequential { .. } => base,
        }
    }

    /// Whether a plateau is a part of the schedule, so that it depends on more than the step.
    pub fn has_memory(&self) -> bool {
        self.watches(Mode::Min) || self.watches(Mode::Max)
    }

    /// Whether a plateau of this mode is a part of the schedule.
    pub fn watches(&self, wanted: Mode) -> bool {
        match self {
            Self::Plateau { mode, .. } => *mode == wanted,
            Self::Sequential { parts, .. } => parts.iter().any(|part| part.watches(wanted)),
            _ => false,
        }
    }

    /// The part of a sequence that `step` belongs to, the step at which it begins, and its length.
    fn part(&self, step: u64, steps: u64) -> (&Self, u64, u64) {
        match self {
            Self::Sequential { milestones, parts } => {
                let i = milestones.iter().filter(|&&m| m <= step).count();
                let first = if i == 0 { 0 } else { milestones[i - 1] };
                let end = milestones.get(i).copied().unwrap_or(steps);
                (&parts[i], first, end.saturating_sub(first))
            }
            whole => (whole, 0, steps),
        }
    }
}
