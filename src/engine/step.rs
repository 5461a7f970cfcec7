//! One update, and what its passes are for.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::average::Take;
use crate::model::NORM_MOMENTUM;
use crate::schedule::Rate;

/// One update of every replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The number of updates before this one.
    pub index: u64,
    /// The position of the first sample in the epoch's order.
    pub first: usize,
    /// The number of samples.
    pub rows: usize,
    /// The learning rate and momentum of each replica.
    pub rates: Vec<Rate>,
    /// The take of the averages: what they take of the weights after the update.
    pub take: Take,
    /// The positions of the samples that this engine takes in a [`gradient`](super::Engine::gradient), whose loss and gradient
    /// are sums over them, divided by what the whole step counts: those of shares that make up the step add up to the step's
    /// own. Default: all of the step.
    pub share: Option<Range<usize>>,
    /// The moves of the replicas, where each is in a run of its own, elsewhere in it than the others. Default: none, and every
    /// replica's is `index` and `take`.
    pub moves: Vec<Move>,
}

/// The move of one replica in a step: where in its own run it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// The number of updates before this one.
    pub index: u64,
    /// What the averages take of the weights after the update.
    pub take: Take,
}

impl Step {
    /// The move of replica r.
    pub fn of(&self, replica: usize) -> Move {
        self.moves.get(replica).copied().unwrap_or(Move { index: self.index, take: self.take })
    }

    /// The moves of `replicas` replicas.
    pub(crate) fn each(&self, replicas: usize) -> impl Iterator<Item = Move> + '_ {
        (0..replicas).map(|r| self.of(r))
    }

    /// The positions in the order of the samples that the engine takes.
    pub(crate) fn positions(&self) -> Range<usize> {
        self.share.clone().unwrap_or(self.first..self.first + self.rows)
    }

    /// The ranges of positions in the order that pass through the network one after the other, `most` at a time.
    pub(crate) fn passes(&self, most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let Range { start, end } = self.positions();
        (start..end).step_by(most).map(move |first| first..end.min(first + most))
    }
}

/// The kind of a gradient: what it is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gradient {
    /// The gradient that the step itself makes: with its dropout and augmentation, and batch normalisation's running
    /// statistics take up the batch; where there is an ascent ([`Setup::sam`](super::Setup::sam)), that at its end. An
    /// [`update`](super::Engine::update) then completes the step.
    #[default]
    OfStep,
    /// The same gradient without an ascent, only to be looked at: nothing else changes.
    Drawn,
    /// The gradient of the samples as they are, without dropout and augmentation; nothing else changes.
    Plain,
}

/// The matrix of second derivatives that [`curve`](super::Engine::curve) multiplies with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Curvature {
    /// The Hessian of the mean loss.
    #[default]
    Hessian,
    /// The Gauss-Newton matrix `Jᵀ H J`: J is the Jacobian of the network's outputs, H the Hessian of the loss by them. It is
    /// the Hessian without the curvature of the network itself, and has no negative eigenvalues (Schraudolph, 2002).
    GaussNewton,
}

/// The aim of a step's forward and backward passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// An update.
    Update,
    /// A gradient by itself.
    Gradient(Gradient),
    /// New running statistics: this step is the n-th, from 0.
    Statistics(usize),
}

impl Aim {
    /// The share of batch normalisation's running statistics that the step replaces. New ones are the mean over the
    /// steps, as those of `torch.optim.swa_utils.update_bn`.
    pub fn statistics(self) -> f64 {
        match self {
            _ if self.is_of_step() => NORM_MOMENTUM,
            Self::Statistics(n) => 1.0 / (n + 1) as f64,
            _ => 0.0,
        }
    }

    /// Whether the gradient is the one that a step moves the weights by, before which it may ascend.
    pub fn is_of_step(self) -> bool {
        matches!(self, Self::Update | Self::Gradient(Gradient::OfStep))
    }

    /// Whether samples are changed and outputs dropped at random.
    pub fn is_drawn(self) -> bool {
        self != Self::Gradient(Gradient::Plain)
    }
}
