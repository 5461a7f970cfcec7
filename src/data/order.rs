//! The order in which an epoch takes the samples.

use serde::{Deserialize, Serialize};

use crate::number::{Purpose, Stream};

/// The order in which an epoch takes the training samples; each occurs once an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// A new permutation every epoch.
    #[default]
    Shuffle,
    /// The order in which they lie in the file.
    Sequential,
}

impl Order {
    /// The numbers of `n` samples in the order of `epoch`, a function of (`seed`, `epoch`); replica r of a run uses
    /// seed + r.
    pub fn permutation(self, n: usize, seed: u64, epoch: u64) -> Vec<u32> {
        let mut order: Vec<u32> = (0..n as u32).collect();
        if self == Self::Shuffle {
            Stream::new(seed, Purpose::Order, epoch).shuffle(&mut order);
        }
        order
    }
}
