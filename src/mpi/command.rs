//! What rank 0 tells the others to do.

use serde::{Deserialize, Serialize};

use super::ranks::Ranks;
use crate::engine::{LossScale, Slot, Step};
use crate::error::{Error, Result};

/// A command of rank 0, which all ranks carry out at once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Takes up one replica's vector, which follows.
    Vector { slot: Slot, replica: usize },
    /// Takes up the order of the samples, one list a replica, which follow.
    Order,
    /// Takes these steps.
    Run { steps: Vec<Step> },
    /// Updates the weights by the gradient, which was taken up before.
    Update { step: Step },
    /// Takes up the loss scale of each replica.
    LossScales { scales: Vec<LossScale> },
    /// Ends.
    End,
}

impl Command {
    /// Tells all ranks.
    ///
    /// # Errors
    /// What JSON cannot hold.
    pub fn send(&self, ranks: &Ranks) -> Result<()> {
        let mut bytes = serde_json::to_vec(self).map_err(|error| bad(&error))?;
        ranks.broadcast(&mut bytes);
        Ok(())
    }

    /// Waits for what rank 0 tells.
    ///
    /// # Errors
    /// What is no command.
    pub fn receive(ranks: &Ranks) -> Result<Self> {
        let mut bytes = Vec::new();
        ranks.broadcast(&mut bytes);
        serde_json::from_slice(&bytes).map_err(|error| bad(&error))
    }
}

fn bad(error: &serde_json::Error) -> Error {
    Error::config("distributed", format!("expected a command of rank 0, found {error}"))
}
