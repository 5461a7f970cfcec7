//! The thread that writes a run's checkpoints, so that no step waits for a disk.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, Taken};
use super::log;
use super::writer::Writer;
use crate::disk::sync_file;
use crate::error::Result;
use crate::event::{Control, Event, Observer, Written};

/// The writer of a run's checkpoints: one at a time, each by a thread of its own. It stands before the run's observers, and tells
/// them of a checkpoint once it is written.
pub(super) struct Saver<'a> {
    dir: PathBuf,
    /// The number of checkpoints that are kept.
    keep: usize,
    /// The number of steps of the newest one, if it is intact.
    newest: Option<u64>,
    /// The writer, which returns the epochs and steps of a checkpoint that it has written.
    writer: Writer<Option<(u64, u64)>>,
    observers: &'a mut dyn Observer,
}

impl<'a> Saver<'a> {
    /// A writer for a folder whose newest checkpoint, if one is intact, has so many steps.
    pub fn new(dir: &Path, keep: usize, newest: Option<u64>, observers: &'a mut dyn Observer) -> Self {
        Self { dir: dir.into(), keep, newest, writer: Writer::new("checkpoints"), observers }
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
            Ok(taken.write(&dir, keep, newest)?.then_some((epochs, steps)))
        };
        self.writer.begin(&self.dir.join(checkpoint::FILE), write)?;
        Ok(answer)
    }

    /// Waits for the checkpoint that is being written, if one is, and tells of it.
    ///
    /// # Errors
    /// It could not be written; what an observer meets.
    pub fn wait(&mut self) -> Result<Control> {
        let Some((epochs, steps)) = self.writer.wait()?.flatten() else { return Ok(Control::Continue) };
        self.newest = Some(steps);
        let path = self.dir.join(checkpoint::FILE);
        self.observers.on(&Event::Checkpoint(&Written { path: &path, epochs, steps }))
    }
}

impl Observer for Saver<'_> {
    fn on(&mut self, event: &Event) -> Result<Control> {
        let answer = self.observers.on(event)?;
        let is_written = self.writer.is_done();
        Ok(if is_written && matches!(event, Event::Step(_)) { answer.max(self.wait()?) } else { answer })
    }
}
