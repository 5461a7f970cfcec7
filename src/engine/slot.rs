//! The vectors that an engine holds.

use serde::{Deserialize, Serialize};

use crate::average::Sampled;
use crate::error::Error;

/// A vector as long as the parameters that an engine holds, one for each replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// The weights being trained.
    Live,
    /// The gradient that [`gradient`](super::Engine::gradient) leaves.
    Gradient,
    /// A copy to come back to, one of [`Slot::COPIES`].
    Copy(usize),
    /// The mean that [`Average::swa`](crate::average::Average::swa) asks for.
    Swa,
    /// The mean that [`Average::ema`](crate::average::Average::ema) asks for.
    Ema,
    /// The slow weights of [`Average::lookahead`](crate::average::Average::lookahead).
    Slow,
    /// One of the copies that [`Average::snapshots`](crate::average::Average::snapshots) asks for.
    Snapshot(usize),
    /// One of the optimizer's [`state_vectors`](crate::optimizer::Optimizer::state_vectors).
    State(usize),
    /// The best weights of a run, once they are [allocated](super::Engine::allocate).
    Best,
    /// A vector of the caller's own, once it is [allocated](super::Engine::allocate); any number names one.
    Scratch(usize),
}

impl Slot {
    /// The number of copies that [`Slot::Copy`] counts.
    pub const COPIES: usize = 2;

    /// The name of the slot in files: `live`, `state.0`, `snapshot.2`.
    pub fn name(self) -> String {
        match self {
            Self::Live => "live".into(),
            Self::Gradient => "gradient".into(),
            Self::Copy(i) => format!("copy.{i}"),
            Self::Swa => "swa".into(),
            Self::Ema => "ema".into(),
            Self::Slow => "slow".into(),
            Self::Snapshot(i) => format!("snapshot.{i}"),
            Self::State(i) => format!("state.{i}"),
            Self::Best => "best".into(),
            Self::Scratch(i) => format!("scratch.{i}"),
        }
    }

    /// Whether the slot is one that callers allocate and free.
    pub fn is_allocated(self) -> bool {
        matches!(self, Self::Best | Self::Scratch(_))
    }

    /// What can be evaluated beside the weights: the name of each mean, and the slots whose predictions are averaged.
    pub(crate) fn means(sampled: Sampled) -> Vec<(&'static str, Vec<Self>)> {
        let mut means = Vec::new();
        means.extend(sampled.swa.then(|| ("swa", vec![Self::Swa])));
        means.extend(sampled.ema.then(|| ("ema", vec![Self::Ema])));
        let snapshots: Vec<Self> = (0..sampled.snapshots).map(Self::Snapshot).collect();
        means.extend((sampled.snapshots > 0).then_some(("snapshots", snapshots)));
        means
    }

    /// The error that there is no such slot, since nobody asked for it.
    pub(crate) fn missing(self) -> Error {
        let how = if self.is_allocated() { "be allocated" } else { "be asked for by the setup" };
        Error::config("slot", format!("expected {} to {how}, found that it is not", self.name()))
    }
}
