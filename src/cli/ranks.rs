//! A command as one of the processes that `mpirun` starts.

use std::process::ExitCode;

use thalweg::Error;
use thalweg::mpi::Session;
use thalweg::run::{Config, Place, Prepared, follow};

use super::{complain, error_status, measuring};

/// What opens a run.
type Open = Box<dyn FnOnce() -> thalweg::Result<Prepared>>;

/// Does `work` as one of the ranks that `mpirun` has started. What goes wrong on one of them ends all.
pub fn together(work: impl FnOnce(&Session) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let session = Session::open()?;
    let ranks = session.ranks();
    // Those that are bound to the same cores would wait for each other.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(ranks.threads()).build_global();
    match work(&session) {
        Err(error) if ranks.size > 1 && !is_over(&error) => {
            let status = error_status(&error);
            complain(&format!("rank {}: {error:#}", ranks.rank), status);
            session.abort(status)
        }
        result => {
            session.finish();
            result
        }
    }
}

/// Trains a run together with the other ranks: the first does all that one process does, which is to `train` what it opens, and the
/// others follow it.
pub fn run(
    config: Config,
    place: Place,
    train: impl FnOnce(Open) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    together(|session| {
        let ranks = session.ranks();
        if ranks.rank > 0 {
            ignore_signals();
            return Ok(follow(ranks, config, &place, measuring).map(|()| ExitCode::SUCCESS)?);
        }
        let result = train(Box::new(move || Prepared::open_on(ranks, config, place, measuring)));
        if result.as_ref().err().is_none_or(is_over) {
            session.dismiss()?;
        }
        result
    })
}

/// Whether a run with this error has come to its end, as far as the other ranks go.
fn is_over(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<Error>(), Some(Error::Diverged { .. }))
}

/// Leaves signals to rank 0, which ends the others when it has written its checkpoint.
pub fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: to ignore a signal calls no code.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
