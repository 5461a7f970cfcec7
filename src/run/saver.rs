//! The thread that writes a run's checkpoints, so that no step waits for a disk.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::checkpoint::{self, Taken};
use super::log;
use crate::disk::sync_file;
use crate::error::{Error, Result};
use crate::event::{Control, Event, Observer, Written};

/// The writer of a run's checkpoints: one at a time, each by a thread of its own. It stands before the run's observers, and tells
/// them of a checkpoint once it is written.
pub(super) struct Saver<'a> {
    dir: PathBuf,
    /// The number of checkpoints that are kept.
    keep: usize,
    /// The number of steps of the newest one, if it is intact.
    newest: Option<u64>,
    under_way: Option<UnderWay>,
    observers: &'a mut dyn Observer,
}

struct UnderWay {
    epochs: u64,
    steps: u64,
    thread: JoinHandle<Result<bool>>,
}

impl<'a> Saver<'a> {
    /// A writer for a folder whose newest checkpoint, if one is intact, has so many steps.
    pub fn new(dir: &Path, keep: usize, newest: Option<u64>, observers: &'a mut dyn Observer) -> Self {
        Self { dir: dir.into(), keep, newest, under_way: None, observers }
    }

    /// Begins to write a checkpoint, once the one before is written.
    ///
    /// # Errors
    /// The one before could not be written; what an observer meets.
    pub fn save(&mut self, taken: Taken) -> Result<Control> {
        let answer = self.wait()?;
        let (dir, keep, newest) = (self.dir.clone(), self.keep, self.newest);
        let (epochs, steps) = (taken.progress.epoch, taken.steps);
        let write = move || {
            // The lines of the log that the checkpoint counts on.
            log::files(&dir).iter().try_for_each(|path| sync_file(path))?;
            taken.write(&dir, keep, newest)
        };
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(write);
        let thread = thread.map_err(Error::io(&self.dir.join(checkpoint::FILE)))?;
        self.under_way = Some(UnderWay { epochs, steps, thread });
        Ok(answer)
    }

    /// Waits for the checkpoint that is being written, if one is, and tells of it.
    ///
    /// # Errors
    /// It could not be written; what an observer meets.
    pub fn wait(&mut self) -> Result<Control> {
        let Some(UnderWay { epochs, steps, thread }) = self.under_way.take() else { return Ok(Control::Continue) };
        let panicked = |_| Error::Device("the thread that writes checkpoints panicked".into());
        if !thread.join().map_err(panicked)?? {
            return Ok(Control::Continue);
        }
        self.newest = Some(steps);
        let path = self.dir.join(checkpoint::FILE);
        self.observers.on(&Event::Checkpoint(&Written { path: &path, epochs, steps }))
    }
}

impl Observer for Saver<'_> {
    fn on(&mut self, event: &Event) -> Result<Control> {
        let answer = self.observers.on(event)?;
        let is_written = self.under_way.as_ref().is_some_and(|under_way| under_way.thread.is_finished());
        Ok(if is_written && matches!(event, Event::Step(_)) { answer.max(self.wait()?) } else { answer })
    }
}

impl Drop for Saver<'_> {
    /// A run that fails leaves no thread behind that still writes to its folder.
    fn drop(&mut self) {
        if let Some(UnderWay { thread, .. }) = self.under_way.take() {
            let _ = thread.join();
        }
    }
}
