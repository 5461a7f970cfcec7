//! A thread that writes files, so that no step waits for a disk.

use std::path::Path;
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};

/// The writer of one kind of file: one at a time, each by a thread of its own.
pub(super) struct Writer<T> {
    /// The name of the files, in the plural.
    what: &'static str,
    thread: Option<JoinHandle<Result<T>>>,
}

impl<T: Send + 'static> Writer<T> {
    /// A writer of `what`, that writes nothing yet.
    pub fn new(what: &'static str) -> Self {
        Self { what, thread: None }
    }

    /// Begins `write` for the file at `path`; the one before must have been waited for.
    ///
    /// # Errors
    /// There can be no further thread.
    pub fn begin(&mut self, path: &Path, write: impl FnOnce() -> Result<T> + Send + 'static) -> Result<()> {
        self.thread = Some(Builder::new().name(self.what.into()).spawn(write).map_err(Error::io(path))?);
        Ok(())
    }

    /// Whether a file is written by now that nobody has waited for.
    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Waits for the file that is being written, if one is, and returns what came of it.
    ///
    /// # Errors
    /// It could not be written.
    pub fn wait(&mut self) -> Result<Option<T>> {
        let Some(thread) = self.thread.take() else { return Ok(None) };
        let panicked = |_| Error::Device(format!("the thread that writes {} panicked", self.what));
        thread.join().map_err(panicked)?.map(Some)
    }
}

impl<T> Drop for Writer<T> {
    /// A run that fails leaves no thread behind that still writes to its folder.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
