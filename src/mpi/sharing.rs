//! What the ranks share of a run.

use super::ranks::Ranks;
use crate::average::Average;
use crate::data::Order;
use crate::engine::{Setup, Slot};
use crate::error::{Error, Result};
use crate::model::Norm;

/// What the ranks share of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// The samples of every step: all update the same weights by the sum of their gradients.
    #[default]
    Data,
    /// The samples of every step, but from one step on each rank updates weights of its own by its share alone: local SGD, or
    /// post-local SGD where steps come before (Lin et al., 2020). The mean over the ranks, of weights and of the optimizer's state
    /// (Yu et al., 2019), takes their place again and again.
    Local {
        /// The number of steps before, in which the ranks share the samples alone.
        from: u64,
        /// The most steps from one mean to the next, of which the last of a submission is one. At least 1.
        every: u64,
    },
    /// Nothing but the first weights: each rank takes whole steps, with the order and the random numbers of seed + rank, and SWA's
    /// mean is that over the ranks too, as in the second phase of SWAP (Gupta et al., 2020). Metrics are those of rank 0.
    Alone {
        /// The order in which an epoch takes the samples.
        order: Order,
        /// The number of steps of an epoch.
        per_epoch: u64,
    },
}

impl Sharing {
    /// Refuses a setup that the ranks cannot share so.
    ///
    /// # Errors
    /// The first setting that does not fit, as one that needs more of a step than a share.
    pub fn check(&self, setup: &Setup, ranks: &Ranks) -> Result<()> {
        match self {
            Self::Data | Self::Local { every: 1.., .. } | Self::Alone { .. } => {}
            Self::Local { .. } => return Err(Error::config("distributed.every", "expected at least 1, found 0")),
        }
        let (Average { swa, ema, snapshots, lookahead }, is_batch_norm) =
            (&setup.average, setup.model.norm == Norm::Batch);
        let shares_steps = self.shares_steps();
        let (is_local, is_alone) = (matches!(self, Self::Local { .. }), matches!(self, Self::Alone { .. }));
        let fewest = [setup.batch, setup.dataset.train.len() % setup.batch].into_iter().filter(|&rows| rows > 0).min();
        let shares_fewer = |samples: usize| fewest.is_some_and(|rows| rows / ranks.size < samples);
        let others = ema.is_some() || snapshots.is_some() || lookahead.is_some();
        let refused = [
            (
                shares_steps && is_batch_norm && shares_fewer(1),
                "train.batch",
                "a sample for every rank in each step, the last of an epoch too, under batch normalisation",
            ),
            (
                shares_steps && setup.sam.is_some(),
                "optimizer.sam",
                "none, since an ascent takes the gradient of a whole step",
            ),
            (
                shares_steps && setup.augment.mixup > 0.0,
                "augment.mixup",
                "0, since samples are mixed with any of a step",
            ),
            (
                is_local && is_batch_norm && shares_fewer(2),
                "train.batch",
                "two samples a rank and step under batch normalisation",
            ),
            (
                is_local && setup.is_mixed(),
                "train.precision",
                "f32 or f64, since each rank has a loss scale of its own",
            ),
            (is_local && (others || swa.is_some()), "average", "none, since each rank has weights of its own"),
            (!setup.own.is_empty(), "setup.own", "none, since a population has its runs on one rank"),
            (is_alone && others, "average", "swa alone, since each rank has weights of its own"),
            (is_alone && swa.is_none(), "average.swa", "the steps whose weights are averaged over the ranks"),
        ];
        match refused.into_iter().find(|(is_there, ..)| *is_there) {
            Some((_, key, expected)) => Err(Error::config(key, format!("expected {expected}, on several ranks"))),
            None => Ok(()),
        }
    }

    /// Whether there are steps whose gradient is the sum of those of the ranks.
    pub(super) fn shares_steps(&self) -> bool {
        !matches!(self, Self::Alone { .. } | Self::Local { from: 0, .. })
    }

    /// The setup of a rank that follows: it trains, and has none of the averages that rank 0 evaluates alone.
    pub fn of_follower(&self, setup: Setup, ranks: &Ranks) -> Setup {
        let Average { swa, lookahead, .. } = setup.average.clone();
        match self {
            Self::Data | Self::Local { .. } => Setup { average: Average { lookahead, ..Average::default() }, ..setup },
            Self::Alone { .. } => {
                let seed = setup.seed.wrapping_add(ranks.rank as u64);
                Setup { seed, average: Average { swa, ..Average::default() }, ..setup }
            }
        }
    }
}

/// Whether all ranks take up what rank 0 puts into `slot`: what a step moves.
pub(super) fn is_everywhere(slot: Slot) -> bool {
    matches!(slot, Slot::Live | Slot::Slow | Slot::State(_))
}
