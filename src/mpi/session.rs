//! The beginning and the end of a process as a rank.

use mpi::Threading;
use mpi::environment::{Universe, initialize_with_threading};
use mpi::traits::Communicator;

use super::command::Command;
use super::ranks::Ranks;
use crate::error::{Error, Result};

/// The session of a rank with MPI. One that is dropped before it is [finished](Self::finish), as by a panic, ends all ranks.
pub struct Session {
    universe: Option<Universe>,
    ranks: Ranks,
}

impl Session {
    /// Joins the ranks that `mpirun` has started; a process by itself is the only rank.
    ///
    /// # Errors
    /// MPI was begun before in this process, or does not allow calls from more than one thread.
    pub fn open() -> Result<Self> {
        let device = |found: &str| Error::Device(format!("MPI: {found}"));
        let (universe, threading) = initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| device("expected a process that has not begun it, found one that has"))?;
        let ranks = Ranks::of(&universe.world());
        let session = Self { universe: Some(universe), ranks };
        if threading < Threading::Serialized {
            return Err(device(
                "expected one that several threads may call in turn (MPI_THREAD_SERIALIZED), found less",
            ));
        }
        Ok(session)
    }

    /// The ranks, and which of them this is.
    pub fn ranks(&self) -> Ranks {
        self.ranks
    }

    /// Lets the others go, which [`follow`](super::follow()) rank 0 until then.
    ///
    /// # Errors
    /// A command that cannot be written.
    pub fn dismiss(&self) -> Result<()> {
        if self.ranks.rank == 0 && self.ranks.size > 1 { Command::End.send(&self.ranks) } else { Ok(()) }
    }

    /// Ends the session in order, as all ranks do together.
    pub fn finish(mut self) {
        self.universe.take();
    }

    /// Ends all ranks at once, with this exit status.
    pub fn abort(&self, status: u8) -> ! {
        Ranks::world().abort(status.into())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Others may wait for this rank for ever.
        if self.universe.is_some() && self.ranks.size > 1 {
            self.abort(ABORTED);
        }
    }
}

/// The exit status of ranks that end since one did out of order.
const ABORTED: u8 = 1;
