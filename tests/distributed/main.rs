//! Runs on several ranks, which `mpirun` starts here, against runs of one process. `tests/mpi.sh` installs what they need.

#[path = "../common/mod.rs"]
mod common;

mod alike;
mod apart;
mod faults;
mod ranks;
mod sweeps;
