//! What TensorBoard shows of a run while it goes on.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::config::Config;
use super::folder::replica_dir;
use super::writer::Writer;
use crate::engine::Layout;
use crate::error::Result;
use crate::event::{Control, Ended, Epoch, Event, Observer, StepReport};
use crate::export::safetensors;
use crate::export::tensorboard::{EventFile, Value, histogram, picture_of_rows, session_end, session_start};
use crate::number::mean;
use crate::train::Trainer;

/// The most moments of a run, but for the last, at which its weights are shown.
const MOST_MOMENTS: u64 = 200;

/// The event files of a run, where it asks for them (`train.tensorboard`): an observer of its numbers, which between steps looks at
/// its weights too.
///
/// The first file, in the run's folder, has the mean over the replicas; of several, each has one in a folder of its own.
pub(super) struct TensorBoard(RefCell<Board>);

struct Board {
    dir: PathBuf,
    /// No file where none was asked for.
    files: Vec<EventFile>,
    /// The steps from one that is shown to the next, 0 for none.
    log_every: u64,
    /// The epochs from one moment at which the weights are shown to the next.
    weights_every: u64,
    /// Whether targets are labels, so that accuracies mean something.
    is_classification: bool,
    /// The shape of a sample.
    shape: [usize; 3],
    /// The step before which the curvature was measured last.
    measured: Option<u64>,
    /// The number of steps before the weights that were taken last.
    newest: Option<u64>,
    /// What makes values of the weights after so many steps, one list a replica.
    writer: Writer<(u64, Vec<Vec<Value>>)>,
}

impl TensorBoard {
    /// The event files in `dir` of a run that goes on from where the trainer stands.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn open(dir: &Path, config: &Config, trainer: &mut Trainer) -> Result<Self> {
        let steps = trainer.steps_taken();
        let dataset = trainer.engine().setup().dataset.clone();
        let mut files = Vec::new();
        if config.train.tensorboard {
            let replicas = config.train.replicas;
            let of_replicas = (0..replicas).filter(|_| replicas > 1).map(|r| replica_dir(dir, r));
            let dirs = std::iter::once(dir.to_path_buf()).chain(of_replicas);
            files = dirs.map(|dir| EventFile::create(&dir, steps)).collect::<Result<Vec<_>>>()?;
            let mut settings = config.flat()?;
            settings.retain(|(key, value)| !value.is_null() && !key.starts_with("forms."));
            files[0].add(steps, vec![session_start(settings)])?;
        }
        Ok(Self(RefCell::new(Board {
            dir: dir.into(),
            files,
            log_every: config.train.log_every,
            weights_every: config.train.epochs.div_ceil(MOST_MOMENTS).max(1),
            is_classification: dataset.is_classification(),
            shape: dataset.shape,
            measured: None,
            newest: None,
            writer: Writer::new("events"),
        })))
    }

    /// Takes the weights before the next step if they are due. That comes after the checkpoint at this step, if there is one: a
    /// run that goes on from there takes them again.
    ///
    /// # Errors
    /// A file cannot be written; the device is lost.
    pub fn follow(&self, trainer: &mut Trainer) -> Result<()> {
        let mut board = self.0.borrow_mut();
        let every = board.weights_every * trainer.steps_per_epoch();
        if trainer.steps_taken().is_multiple_of(every) { board.take(trainer) } else { Ok(()) }
    }

    /// Takes the weights with which the run ends, unless it is left to go on.
    ///
    /// # Errors
    /// What [`follow`](Self::follow) meets.
    pub fn finish(&self, trainer: &mut Trainer) -> Result<()> {
        let mut board = self.0.borrow_mut();
        if trainer.ended() != Some(Ended::Interrupted) {
            board.take(trainer)?;
        }
        board.collect()?;
        board.flush()
    }
}

impl Board {
    /// Begins to make values of the last weights, unless that was done.
    fn take(&mut self, trainer: &mut Trainer) -> Result<()> {
        let steps = trainer.steps_taken();
        if self.files.is_empty() || self.newest == Some(steps) {
            return Ok(());
        }
        self.collect()?;
        self.newest = Some(steps);
        let last = trainer.last_weights();
        let engine = trainer.engine();
        let capture = engine.capture(&[last])?;
        let (layout, precision, shape) = (engine.layout().clone(), engine.setup().precision, self.shape);
        self.writer.begin(&self.dir, move || {
            let values = |bytes: &Vec<u8>| weights(&layout, &safetensors::decode(bytes, precision), shape);
            Ok((steps, capture()?.iter().map(values).collect()))
        })
    }

    /// Adds the values of the weights that were taken last, once they are made.
    fn collect(&mut self) -> Result<()> {
        let Some((steps, replicas)) = self.writer.wait()? else { return Ok(()) };
        // Of several replicas, each has its own file behind the run's.
        let first = self.files.len() - replicas.len();
        self.files[first..].iter_mut().zip(replicas).try_for_each(|(file, values)| file.add(steps, values))
    }

    /// Adds curves at a step, each with a value a replica, or with one of them all.
    fn add(&mut self, step: u64, curves: &[(String, Vec<f64>)]) -> Result<()> {
        let (run, replicas) = self.files.split_at_mut(1);
        run[0].add(step, curves.iter().map(|(tag, values)| Value::scalar(tag, mean(values))).collect())?;
        let count = replicas.len();
        replicas.iter_mut().enumerate().try_for_each(|(r, file)| {
            let own = curves.iter().filter(|(_, values)| values.len() == count);
            file.add(step, own.map(|(tag, values)| Value::scalar(tag, values[r])).collect())
        })
    }

    fn step(&mut self, step: &StepReport) -> Result<()> {
        let is_logged = self.log_every > 0 && step.step.is_multiple_of(self.log_every);
        if !is_logged && self.measured != Some(step.step) {
            return Ok(());
        }
        let (all, rows) = (step.replicas, step.rows as f64);
        let accuracies = all.iter().filter(|_| self.is_classification).map(|m| m.correct as f64 / rows);
        let curves: [(&str, Vec<f64>); 6] = [
            ("loss", all.iter().map(|m| m.loss).collect()),
            ("accuracy", accuracies.collect()),
            ("lr", vec![step.rate.lr]),
            ("momentum", vec![step.rate.momentum]),
            ("grad_norm", all.iter().filter_map(|m| m.grad_norm).collect()),
            ("loss_scale", all.iter().filter_map(|m| m.loss_scale).collect()),
        ];
        let curves = curves.into_iter().filter(|(_, values)| !values.is_empty());
        let curves: Vec<_> = curves.map(|(name, values)| (format!("step/{name}"), values)).collect();
        self.add(step.step, &curves)
    }

    /// Adds an evaluation, at the last step before it: a run that goes on from a checkpoint after it takes that step no more.
    fn evaluation(&mut self, epoch: &Epoch) -> Result<()> {
        let mut curves = vec![("evaluation/samples_per_second".into(), vec![epoch.samples_per_second])];
        for (part, evaluations) in epoch.parts() {
            curves.push((format!("evaluation/{part}_loss"), evaluations.iter().map(|e| e.loss).collect()));
            if self.is_classification {
                let accuracies = evaluations.iter().map(|e| e.accuracy).collect();
                curves.push((format!("evaluation/{part}_accuracy"), accuracies));
            }
        }
        self.add(epoch.steps.saturating_sub(1), &curves)?;
        self.flush()
    }

    fn end(&mut self, ended: Ended) -> Result<()> {
        self.collect()?;
        if ended != Ended::Interrupted {
            let is_success = !matches!(ended, Ended::Diverged | Ended::Failed);
            self.files[0].add(0, vec![session_end(is_success)])?;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.files.iter_mut().try_for_each(EventFile::flush)
    }
}

/// The histograms of a network's tensors, and a picture of its first layer.
fn weights(layout: &Layout, flat: &[f64], shape: [usize; 3]) -> Vec<Value> {
    let tensors = layout.unpack(flat);
    let first = picture_of_rows("first_layer", &tensors[0].values, shape);
    // What has no shape is a count.
    let shaped = tensors.iter().filter(|tensor| !tensor.shape.is_empty());
    let histograms = shaped.filter_map(|tensor| histogram(&format!("weights/{}", tensor.name), &tensor.values));
    histograms.chain(first).collect()
}

impl Observer for &TensorBoard {
    fn on(&mut self, event: &Event) -> Result<Control> {
        let mut board = self.0.borrow_mut();
        if board.files.is_empty() {
            return Ok(Control::Continue);
        }
        match event {
            Event::Curvature(found) => {
                board.measured = Some(found.step);
                board.add(found.step, &[("step/curvature".into(), found.largest.to_vec())])?;
            }
            Event::Step(step) => {
                board.step(step)?;
                if board.writer.is_done() {
                    board.collect()?;
                }
                board.files.iter_mut().try_for_each(EventFile::flush_if_due)?;
            }
            Event::Evaluated(epoch) | Event::Epoch(epoch) => board.evaluation(epoch)?,
            Event::Saving => {
                board.collect()?;
                board.flush()?;
            }
            Event::Ended(ended) => board.end(*ended)?,
            _ => {}
        }
        Ok(Control::Continue)
    }
}
