//! Rates that rise and fall, with momentum that falls and rises.

use super::{CycleMode, Rate, Schedule};

impl Schedule {
    /// The rate of [`Schedule::Cyclic`] at `step`.
    pub(super) fn cyclic_rate(&self, step: u64, base: Rate) -> Rate {
        let &Self::Cyclic {
            base_lr,
            max_lr,
            step_size_up,
            step_size_down,
            mode,
            gamma,
            cycle_momentum,
            base_momentum,
            max_momentum,
        } = self
        else {
            return base;
        };
        let (up, down) = (step_size_up, step_size_down.unwrap_or(step_size_up));
        let (cycle, within) = (step / (up + down), step % (up + down));
        let height = if within <= up { within as f64 / up as f64 } else { (up + down - within) as f64 / down as f64 };
        let shrunk = match mode {
            CycleMode::Triangular => height,
            CycleMode::Triangular2 => height * 0.5f64.powf(cycle as f64),
            CycleMode::ExpRange => height * gamma.powf(step as f64),
        };
        let low = base_lr.unwrap_or(base.lr);
        let momentum =
            if cycle_momentum { max_momentum - (max_momentum - base_momentum) * shrunk } else { base.momentum };
        Rate { lr: low + (max_lr - low) * shrunk, momentum }
    }

    /// The rate of [`Schedule::OneCycle`] at `step`, in a run of `steps` steps.
    pub(super) fn one_cycle_rate(&self, step: u64, steps: u64, base: Rate) -> Rate {
        let &Self::OneCycle {
            max_lr,
            total_steps,
            pct_start,
            anneal_strategy,
            cycle_momentum,
            base_momentum,
            max_momentum,
            div_factor,
            final_div_factor,
            three_phase,
        } = self
        else {
            return base;
        };
        let high = max_lr.unwrap_or(base.lr);
        let first = high / div_factor;
        let total = total_steps.unwrap_or(steps) as f64;
        let top = Rate { lr: high, momentum: base_momentum };
        let start = Rate { lr: first, momentum: max_momentum };
        let end = Rate { lr: first / final_div_factor, momentum: max_momentum };
        // The step at which each phase ends, and the rate it ends with.
        let turn = pct_start * total - 1.0;
        let phases = if three_phase {
            vec![(turn, top), (2.0 * turn, start), (total - 1.0, end)]
        } else {
            vec![(turn, top), (total - 1.0, end)]
        };
        let step = step as f64;
        let (mut begins, mut from) = (0.0, start);
        for (ends, to) in phases {
            if step <= ends {
                let p = (step - begins) / (ends - begins);
                let momentum = anneal_strategy.between(from.momentum, to.momentum, p);
                let lr = anneal_strategy.between(from.lr, to.lr, p);
                return Rate { lr, momentum: if cycle_momentum { momentum } else { base.momentum } };
            }
            (begins, from) = (ends, to);
        }
        Rate { lr: end.lr, momentum: if cycle_momentum { end.momentum } else { base.momentum } }
    }
}
