//! Training on several processes and machines, over the system's MPI (with the feature `mpi`).
//!
//! The processes that `mpirun` starts are ranks, counted from 0. Rank 0 leads: it has the run, its folder and its observers, and an
//! engine, [`Distributed`], that hands every step to all ranks. The others [`follow()`]: each has an engine of its own on its own device, and
//! does what it is told. So whatever depends on time, on signals or on files is decided once, by rank 0.
//!
//! Where they share the samples of a step, each rank makes the gradient of its share; the parts are exchanged and summed in the
//! order of the ranks, so that the bits depend on the number of ranks and not on timing; then all make the same update.
//! [`Sharing`] has the other ways.

mod command;
mod distributed;
mod exchange;
mod follow;
mod measure;
mod ranks;
mod session;
mod sharing;
mod worker;

pub use distributed::Distributed;
pub use follow::follow;
pub use measure::seconds_of_sum;
pub use ranks::Ranks;
pub use session::Session;
pub use sharing::Sharing;
