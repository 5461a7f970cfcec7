//! Constructors of the schedules; each argument that is not given has PyTorch's default.

use super::*;

/// ```
/// use thalweg::schedule::{Memory, Rate, Schedule};
/// let schedule = Schedule::sequential([(0, Schedule::linear(0.1, 5)), (5, Schedule::cosine())]);
/// let base = Rate { lr: 1.0, momentum: 0.9 };
/// let lr = |step| schedule.at(step, 25, base, &Memory::default()).lr;
/// assert!((lr(0) - 0.1).abs() < 1e-12 && (lr(5) - 1.0).abs() < 1e-12 && (lr(15) - 0.5).abs() < 1e-12);
/// ```
impl Schedule {
    /// The constant schedule, [`Constant`](Self::Constant).
    pub fn constant() -> Self {
        Self::Constant {}
    }

    /// The decay to a tenth after every so many steps, [`Step`](Self::Step).
    pub fn step(step_size: u64) -> Self {
        Self::Step { step_size, gamma: tenth() }
    }

    /// The decay to a tenth from each of these steps on, [`Multistep`](Self::Multistep).
    pub fn multistep(milestones: impl IntoIterator<Item = u64>) -> Self {
        Self::Multistep { milestones: milestones.into_iter().collect(), gamma: tenth() }
    }

    /// The decay by `gamma` in every step, [`Exponential`](Self::Exponential).
    pub fn exponential(gamma: f64) -> Self {
        Self::Exponential { gamma }
    }

    /// The warm-up in `total_iters` steps from `start_factor` of the rate to all of it, [`Linear`](Self::Linear).
    pub fn linear(start_factor: f64, total_iters: u64) -> Self {
        Self::Linear { start_factor, end_factor: one(), total_iters }
    }

    /// The straight way to 0 in `total_iters` steps, [`Polynomial`](Self::Polynomial) with the power 1.
    pub fn polynomial(total_iters: u64) -> Self {
        Self::Polynomial { total_iters, power: one() }
    }

    /// The cosine over the whole run, to 0, [`Cosine`](Self::Cosine).
    pub fn cosine() -> Self {
        Self::Cosine { t_max: None, eta_min: 0.0 }
    }

    /// The cosine begun anew after every `t_0` steps, to 0, [`CosineWarmRestarts`](Self::CosineWarmRestarts).
    pub fn cosine_warm_restarts(t_0: u64) -> Self {
        Self::CosineWarmRestarts { t_0, t_mult: one_step(), eta_min: 0.0 }
    }

    /// The triangle between the optimizer's rate and `max_lr`, [`Cyclic`](Self::Cyclic), with the momentum cycled in
    /// the opposite sense.
    pub fn cyclic(max_lr: f64, step_size_up: u64) -> Self {
        Self::Cyclic {
            base_lr: None,
            max_lr,
            step_size_up,
            step_size_down: None,
            mode: CycleMode::default(),
            gamma: one(),
            cycle_momentum: yes(),
            base_momentum: lowest_momentum(),
            max_momentum: highest_momentum(),
        }
    }

    /// One cycle over the whole run, [`OneCycle`](Self::OneCycle), with the optimizer's rate as the highest.
    pub fn one_cycle() -> Self {
        Self::OneCycle {
            max_lr: None,
            total_steps: None,
            pct_start: three_tenths(),
            anneal_strategy: Anneal::default(),
            cycle_momentum: yes(),
            base_momentum: one_cycle_lowest_momentum(),
            max_momentum: one_cycle_highest_momentum(),
            div_factor: twenty_five(),
            final_div_factor: ten_thousand(),
            three_phase: false,
        }
    }

    /// The annealing to `swa_lr` in 10 steps, [`Swalr`](Self::Swalr).
    pub fn swalr(swa_lr: f64) -> Self {
        Self::Swalr { swa_lr, anneal_epochs: ten(), anneal_strategy: Anneal::default() }
    }

    /// The fall from `alpha_1` to `alpha_2` in each cycle of `cycle` steps, [`SwaCyclic`](Self::SwaCyclic).
    pub fn swa_cyclic(alpha_1: f64, alpha_2: f64, cycle: u64) -> Self {
        Self::SwaCyclic { alpha_1, alpha_2, cycle }
    }

    /// The reduction to a tenth on a plateau of the loss, [`Plateau`](Self::Plateau).
    pub fn plateau() -> Self {
        Self::Plateau {
            mode: Mode::default(),
            factor: tenth(),
            patience: ten(),
            threshold: threshold(),
            threshold_mode: ThresholdMode::default(),
            cooldown: 0,
            min_lr: 0.0,
            eps: smallest_reduction(),
        }
    }

    /// The sequence of these schedules, [`Sequential`](Self::Sequential): each with the step at which it begins, the
    /// first of them with 0.
    pub fn sequential(parts: impl IntoIterator<Item = (u64, Self)>) -> Self {
        let (milestones, parts): (Vec<u64>, Vec<Self>) = parts.into_iter().unzip();
        Self::Sequential { milestones: milestones.into_iter().skip(1).collect(), parts }
    }
}
