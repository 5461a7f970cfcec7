//! The processes of a sweep as the ranks of MPI.

use super::deal::{Dealt, First, Others};
use crate::error::{Error, Result};
use crate::mpi::Ranks;

/// What a rank says that waits.
const TRAINED: i32 = 1;
/// What it is given.
const DEALT: i32 = 2;
/// What ends all.
const STOP: i32 = 3;

impl Others for Ranks {
    fn count(&self) -> usize {
        self.size - 1
    }

    fn waiting(&mut self) -> Result<Option<(usize, Vec<u64>)>> {
        let Some((rank, bytes)) = self.try_receive(TRAINED) else { return Ok(None) };
        Ok(Some((rank, serde_json::from_slice(&bytes).map_err(bad)?)))
    }

    fn give(&mut self, process: usize, dealt: Option<Dealt>) -> Result<()> {
        self.send(process, DEALT, &serde_json::to_vec(&dealt).map_err(bad)?);
        Ok(())
    }

    fn stop(&mut self) {
        (1..self.size).for_each(|rank| self.send(rank, STOP, &[]));
    }
}

impl First for Ranks {
    fn next(&mut self, trained: &[u64]) -> Result<Option<Dealt>> {
        self.send(0, TRAINED, &serde_json::to_vec(trained).map_err(bad)?);
        serde_json::from_slice(&self.receive(0, DEALT)).map_err(bad)
    }

    fn is_stopped(&mut self) -> bool {
        self.try_receive(STOP).is_some()
    }
}

fn bad(error: serde_json::Error) -> Error {
    Error::config("--ranks", format!("expected ranks of one version, found others: {error}"))
}
