//! The lock of a run's folder: one process at a time writes it.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};

/// The name of the file that is locked; it stays, since a name that comes and goes can be locked twice.
pub(super) const FILE: &str = ".lock";

/// The lock of a run's folder, for as long as the value lives; the system gives back that of a process that has died.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Locks the folder, which must be there.
    ///
    /// # Errors
    /// Another process holds the lock, or the folder cannot be written.
    pub fn take(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::config(
                "--run",
                format!("expected a run that no other process trains now, found one in {}", dir.display()),
            )),
            // Some network file systems have no locks.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Self(file)),
        }
    }
}

impl Drop for Lock {
    /// Gives the lock back, which a process that was started meanwhile would else hold until it is another program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
