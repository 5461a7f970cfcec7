//! The thread that writes a run's checkpoints, so that no step waits for a disk.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::checkpoint::{self, Taken};
use super::log;
use crate::disk::sync_file;
use crate::error::{Error, Result};
use crate::event::{Control, Event, Observer, Written};

/// The writer of a run's checkpoints: one at a time, each by a thread of its own.
pub(super) struct Saver {
    dir: PathBuf,
    /// The number of checkpoints that are kept.
    keep: usize,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    epochs: u64,
    steps: u64,
    thread: JoinHandle<Result<bool>>,
}

impl Saver {
    pub fn new(dir: &Path, keep: usize) -> Self {
        Self { dir: dir.into(), keep, under_way: None }
    }

    /// Begins to write a checkpoint, once the one before is written, of which the observer is told.
    ///
    /// # Errors
    /// The one before could not be written; what the observer meets.
    pub fn save(&mut self, taken: Taken, observer: &mut dyn Observer) -> Result<Control> {
        let answer = self.wait(observer)?;
        let (dir, keep) = (self.dir.clone(), self.keep);
        let (epochs, steps) = (taken.progress.epoch, taken.steps);
        let write = move || {
            // The lines of the log that the checkpoint counts on.
            log::files(&dir).iter().try_for_each(|path| sync_file(path))?;
            taken.write(&dir, keep)
        };
        let thread = std::thread::Builder::new().name("checkpoint".into()).spawn(write);
        let thread = thread.map_err(Error::io(&self.dir.join(checkpoint::FILE)))?;
        self.under_way = Some(UnderWay { epochs, steps, thread });
        Ok(answer)
    }

    /// Waits for the checkpoint that is being written, if one is, and tells the observer of it.
    ///
    /// # Errors
    /// It could not be written; what the observer meets.
    pub fn wait(&mut self, observer: &mut dyn Observer) -> Result<Control> {
        let Some(UnderWay { epochs, steps, thread }) = self.under_way.take() else { return Ok(Control::Continue) };
        let panicked = |_| Error::Device("the thread that writes checkpoints panicked".into());
        if !thread.join().map_err(panicked)?? {
            return Ok(Control::Continue);
        }
        let path = self.dir.join(checkpoint::FILE);
        observer.on(&Event::Checkpoint(&Written { path: &path, epochs, steps }))
    }
}

impl Drop for Saver {
    /// A run that fails leaves no thread behind that still writes to its folder.
    fn drop(&mut self) {
        if let Some(UnderWay { thread, .. }) = self.under_way.take() {
            let _ = thread.join();
        }
    }
}
