//! Refusing constants outside the range in which the formulas make sense.

use super::Schedule;
use crate::error::{Error, Result};

fn at_least_zero(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::config(format!("schedule.{key}"), format!("expected a number of at least 0, found {value}")))
}

fn positive(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::config(format!("schedule.{key}"), format!("expected a positive number, found {value}")))
}

fn fraction(key: &str, value: f64) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("schedule.{key}"), format!("expected a number in [0, 1], found {value}")))
}

fn below_one(key: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("schedule.{key}"), format!("expected a number in [0, 1), found {value}")))
}

fn some_steps(key: &str, value: u64) -> Result<()> {
    if value > 0 {
        return Ok(());
    }
    Err(Error::config(format!("schedule.{key}"), "expected at least 1, found 0"))
}

fn increasing(milestones: &[u64]) -> Result<()> {
    if milestones.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(Error::config("schedule.milestones", format!("expected increasing steps, found {milestones:?}")))
}

impl Schedule {
    /// Refuses constants outside the range in which the formulas make sense, for a run of `steps` steps.
    ///
    /// # Errors
    /// [`Error::Config`] names the first constant out of range.
    pub fn check(&self, steps: u64) -> Result<()> {
        match self {
            Self::Constant {} => Ok(()),
            Self::Step { step_size, gamma } => some_steps("step_size", *step_size).and(positive("gamma", *gamma)),
            Self::Multistep { milestones, gamma } => increasing(milestones).and(positive("gamma", *gamma)),
            Self::Exponential { gamma } => positive("gamma", *gamma),
            Self::Linear { start_factor, end_factor, total_iters } => positive("start_factor", *start_factor)
                .and(at_least_zero("end_factor", *end_factor))
                .and(some_steps("total_iters", *total_iters)),
            Self::Polynomial { total_iters, power } => {
                some_steps("total_iters", *total_iters).and(positive("power", *power))
            }
            Self::Cosine { t_max, eta_min } => {
                some_steps("t_max", t_max.unwrap_or(1)).and(at_least_zero("eta_min", *eta_min))
            }
            Self::CosineWarmRestarts { t_0, t_mult, eta_min } => {
                some_steps("t_0", *t_0).and(some_steps("t_mult", *t_mult)).and(at_least_zero("eta_min", *eta_min))
            }
            Self::Swalr { swa_lr, .. } => positive("swa_lr", *swa_lr),
            Self::SwaCyclic { alpha_1, alpha_2, cycle } => {
                positive("alpha_1", *alpha_1).and(positive("alpha_2", *alpha_2)).and(some_steps("cycle", *cycle))
            }
            Self::Cyclic {
                base_lr, max_lr, step_size_up, step_size_down, gamma, base_momentum, max_momentum, ..
            } => {
                at_least_zero("base_lr", base_lr.unwrap_or(0.0))?;
                positive("max_lr", *max_lr)?;
                some_steps("step_size_up", *step_size_up)?;
                some_steps("step_size_down", step_size_down.unwrap_or(1))?;
                fraction("gamma", *gamma)?;
                fraction("base_momentum", *base_momentum).and(fraction("max_momentum", *max_momentum))
            }
            Self::OneCycle { .. } => self.check_one_cycle(steps),
            Self::Plateau { factor, threshold, min_lr, eps, .. } => {
                below_one("factor", *factor)?;
                at_least_zero("threshold", *threshold)?;
                at_least_zero("min_lr", *min_lr).and(at_least_zero("eps", *eps))
            }
            Self::Sequential { milestones, parts } => check_parts(milestones, parts, steps),
        }
    }

    /// Refuses a momentum that comes to 1, for an optimizer whose momentum is Adam's β₁: its correction `1 − β₁ᵗ` would be 0.
    ///
    /// # Errors
    /// [`Error::Config`] names the momentum.
    pub fn check_beta(&self) -> Result<()> {
        match *self {
            Self::Cyclic { cycle_momentum: true, base_momentum, max_momentum, .. }
            | Self::OneCycle { cycle_momentum: true, base_momentum, max_momentum, .. } => {
                let found = |key: &str, found: f64| {
                    let found = format!("expected a number in [0, 1), since it is Adam's beta 1, found {found}");
                    Err(Error::config(format!("schedule.{key}"), found))
                };
                if max_momentum >= 1.0 {
                    return found("max_momentum", max_momentum);
                }
                if base_momentum >= 1.0 { found("base_momentum", base_momentum) } else { Ok(()) }
            }
            Self::Sequential { ref parts, .. } => parts
                .iter()
                .enumerate()
                .try_for_each(|(i, part)| part.check_beta().map_err(|error| within_part(i, error))),
            _ => Ok(()),
        }
    }

    fn check_one_cycle(&self, steps: u64) -> Result<()> {
        let &Self::OneCycle {
            max_lr,
            total_steps,
            pct_start,
            base_momentum,
            max_momentum,
            div_factor,
            final_div_factor,
            three_phase,
            ..
        } = self
        else {
            return Ok(());
        };
        positive("max_lr", max_lr.unwrap_or(1.0))?;
        positive("div_factor", div_factor).and(positive("final_div_factor", final_div_factor))?;
        fraction("base_momentum", base_momentum).and(fraction("max_momentum", max_momentum))?;
        fraction("pct_start", pct_start)?;
        let (total, key) = match total_steps {
            Some(total) => (total, "schedule.total_steps"),
            None => (steps, "the run's steps"),
        };
        // Each phase needs a step at least.
        let up = pct_start * total as f64;
        let rest = total as f64 - if three_phase { 2.0 * up - 1.0 } else { up };
        if up <= 1.0 || rest < 1.0 {
            return Err(Error::config(
                "schedule.pct_start",
                format!("expected a way up and a way down of at least 2 and 1 of {key} ({total}), found {pct_start}"),
            ));
        }
        Ok(())
    }
}

/// Refuses what is out of range in one of a sequence's parts, for a run of `steps` steps.
fn check_parts(milestones: &[u64], parts: &[Schedule], steps: u64) -> Result<()> {
    increasing(milestones)?;
    if parts.len() != milestones.len() + 1 {
        return Err(Error::config(
            "schedule.parts",
            format!("expected one more than the {} milestones, found {}", milestones.len(), parts.len()),
        ));
    }
    let ends = milestones.iter().copied().chain([steps]);
    let begins = [0].into_iter().chain(milestones.iter().copied());
    for (i, ((part, begin), end)) in parts.iter().zip(begins).zip(ends).enumerate() {
        if matches!(part, Schedule::Sequential { .. }) {
            return Err(Error::config("schedule.parts", "expected schedules, found a sequence in a sequence"));
        }
        part.check(end.saturating_sub(begin)).map_err(|error| within_part(i, error))?;
    }
    Ok(())
}

/// The error of a sequence's part, which names that part.
fn within_part(i: usize, error: Error) -> Error {
    match error {
        Error::Config { key, message } => {
            let key = key.strip_prefix("schedule.").unwrap_or(&key);
            Error::config(format!("schedule.parts[{i}].{key}"), message)
        }
        other => other,
    }
}
