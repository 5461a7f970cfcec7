//! What happens in a run, and who watches it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::average::Take;
use crate::engine::{Evaluation, Setup, StepMetrics};
use crate::error::Result;
use crate::schedule::Rate;

/// An event of a run. They come in this order: [`Started`](Self::Started) once, then the steps of an epoch, with the
/// evaluations among them, and the epoch, again and again, and [`Ended`](Self::Ended) once. Steps are told when their metrics have come back, up to two
/// submissions after the device took them, so that watching costs the device nothing.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The first step is about to be taken.
    Started(&'a Started<'a>),
    /// A step's metrics have arrived.
    Step(&'a StepReport<'a>),
    /// SWA or an ensemble has taken the weights of a step; the EMA, which takes most, is not told.
    Averaged(&'a Sample),
    /// The largest eigenvalue of the loss's Hessian was measured at the weights before a step, where a run asks for that
    /// (`train.curvature_every`).
    Curvature(&'a CurvatureReport<'a>),
    /// The weights were evaluated within an epoch, since evaluations are counted in steps: the report of the epoch so far,
    /// whose training metrics are those of the steps since the last evaluation. One with which an epoch or the run ends is
    /// told as [`Epoch`](Self::Epoch).
    Evaluated(&'a Epoch),
    /// An epoch is over, and evaluated if it is due.
    Epoch(&'a Epoch),
    /// A checkpoint is about to be taken: an observer that writes lines of its own puts on disk what it holds back, so that a
    /// run which goes on from there misses none.
    Saving,
    /// A checkpoint has been written, by another thread: it is told between two steps after it was taken, before the next one
    /// is taken, or when the run has ended.
    Checkpoint(&'a Written<'a>),
    /// The device was lost, and the run goes on on another one from its last checkpoint: [`Started`](Self::Started) and steps
    /// that were told before follow again.
    Recovered(&'a Recovered<'a>),
    /// No further step is taken.
    Ended(Ended),
}

/// A watcher of a run: a progress bar, a log, a page. Any observer may end it.
///
/// ```
/// use thalweg::event::{Control, Event, Observer};
///
/// /// Stops a run whose loss is low enough.
/// struct Enough(f64);
///
/// impl Observer for Enough {
///     fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
///         Ok(match event {
///             Event::Step(step) if step.replicas[0].loss < self.0 => Control::Stop,
///             _ => Control::Continue,
///         })
///     }
/// }
/// ```
pub trait Observer {
    /// Hears of an event, and answers whether the run goes on. It is called between two submissions; what takes long
    /// belongs into a thread of the observer's own.
    ///
    /// # Errors
    /// Whatever goes wrong in the observer; it ends the run, whose error it becomes.
    fn on(&mut self, event: &Event) -> Result<Control>;
}

/// The answer of an observer to an event; where several answer, the last of these counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Control {
    /// The run goes on.
    #[default]
    Continue,
    /// The run goes on after a checkpoint, which is written once the steps that the device has are done. Without a folder,
    /// where nothing is written, it merely goes on.
    Save,
    /// The run ends after the steps that the device has, with an evaluation, as [`Ended::Asked`].
    Stop,
    /// The run is left after the steps that the device has, as [`Ended::Interrupted`]: a checkpoint is written, from which it
    /// can go on as if nothing had been, and nothing else.
    Interrupt,
}

/// The observer that does nothing, for a run that nobody watches.
impl Observer for () {
    fn on(&mut self, _: &Event) -> Result<Control> {
        Ok(Control::Continue)
    }
}

impl<F: FnMut(&Event) -> Result<Control>> Observer for F {
    fn on(&mut self, event: &Event) -> Result<Control> {
        self(event)
    }
}

/// Several observers: all are told of every event, and any of them may end the run.
impl Observer for Vec<&mut (dyn Observer + '_)> {
    fn on(&mut self, event: &Event) -> Result<Control> {
        // All of them before the first error.
        let answers: Vec<Result<Control>> = self.iter_mut().map(|observer| observer.on(event)).collect();
        Ok(answers.into_iter().collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
    }
}

/// The run that begins.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// The setup that its engine was built for.
    pub setup: &'a Setup,
    /// The device on which it computes, in words.
    pub device: &'a str,
    /// The number of its epochs.
    pub epochs: u64,
    /// The number of its steps in all epochs.
    pub steps: u64,
    /// The first step that is taken now, counted from 0; more than 0 in a run that is resumed.
    pub first_step: u64,
}

/// The report of one step, measured before its update.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// The step, counted from 0.
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The number of samples of the step.
    pub rows: usize,
    /// The learning rate and momentum of the first replica.
    pub rate: Rate,
    /// The metrics of each replica, one entry a replica.
    pub replicas: &'a [StepMetrics],
}

/// The largest eigenvalue of the Hessian, as measured before a step.
#[derive(Clone, Copy, Debug)]
pub struct CurvatureReport<'a> {
    /// The step, counted from 0.
    pub step: u64,
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The largest eigenvalue, one entry a replica; NaN where second derivatives are not finite.
    pub largest: &'a [f64],
}

/// The sample that averages and ensembles took of a step's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The step, counted from 0.
    pub step: u64,
    /// The shares of the weights that they took.
    pub take: Take,
}

/// A checkpoint that has been written to disk.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The path of the file.
    pub path: &'a Path,
    /// The number of whole epochs that the checkpoint holds.
    pub epochs: u64,
    /// The number of steps that it holds, those of an epoch under way too.
    pub steps: u64,
}

/// The recovery of a run from the loss of its device.
#[derive(Clone, Copy, Debug)]
pub struct Recovered<'a> {
    /// The reason that was given for the loss.
    pub reason: &'a str,
    /// The device on which the run goes on, in words.
    pub device: &'a str,
    /// The number of steps of the checkpoint from which it goes on; 0 where there was none, and it begins anew.
    pub steps: u64,
}

/// The report of one epoch; its vectors have one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The number of updates made since the start of the run.
    pub steps: u64,
    /// The learning rate of the epoch's last step, of the first replica.
    pub lr: f64,
    /// The loss and accuracy of training: the running mean over the epoch's samples, each measured before its step's update,
    /// and so by weights that were still learning; `thalweg eval` measures those of the last weights.
    pub train: Vec<Evaluation>,
    /// The evaluation of the validation part after the epoch, where there is one and the epoch is evaluated; of the
    /// restored weights, if any were restored.
    pub validation: Option<Vec<Evaluation>>,
    /// The evaluation of the test part after the epoch, where there is one and the epoch is evaluated; of the restored
    /// weights, if any were restored.
    pub test: Option<Vec<Evaluation>>,
    /// The evaluations of each mean of the weights that has samples, and after the run of the best weights, where they
    /// are kept.
    pub means: Vec<Mean>,
    /// Whether the metric of [`Stop`](crate::stop::Stop) was better than ever before.
    pub is_best: bool,
    /// Whether the weights are no longer those of the last step but the best ones, to which the run went back at its end.
    pub is_restored: bool,
    /// The seconds that the steps took, without evaluation.
    pub seconds: f64,
    /// The samples trained per second, all replicas together.
    pub samples_per_second: f64,
}

/// The evaluations of a mean of the weights, one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mean {
    /// The name of the mean: `swa`, `ema`, `snapshots` or `best`.
    pub name: &'static str,
    /// The evaluation of the validation part, where there is one.
    pub validation: Option<Vec<Evaluation>>,
    /// The evaluation of the test part, where there is one.
    pub test: Option<Vec<Evaluation>>,
}

impl Epoch {
    /// The evaluations of the epoch, each with its name: `train`, `test`, `swa_test`, ...
    pub fn parts(&self) -> Vec<(String, &[Evaluation])> {
        let mut parts = vec![
            ("train".to_string(), Some(&self.train)),
            ("validation".to_string(), self.validation.as_ref()),
            ("test".to_string(), self.test.as_ref()),
        ];
        for Mean { name, validation, test } in &self.means {
            parts.push((format!("{name}_validation"), validation.as_ref()));
            parts.push((format!("{name}_test"), test.as_ref()));
        }
        parts.into_iter().filter_map(|(name, e)| Some((name, &e.filter(|e| !e.is_empty())?[..]))).collect()
    }
}

/// The reason for which a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The last epoch is over.
    Epochs,
    /// The metric has not improved for [`Stop::patience`](crate::stop::Stop::patience) evaluations.
    Patience,
    /// The metric has reached [`Stop::target`](crate::stop::Stop::target).
    Target,
    /// The learning rate has fallen below [`Stop::min_lr`](crate::stop::Stop::min_lr).
    MinLr,
    /// The time of [`Stop::seconds`](crate::stop::Stop::seconds) is over.
    Seconds,
    /// An [`Observer`] asked for it.
    Asked,
    /// An [`Observer`] asked for the run to be left where it is, so that it can go on another time.
    Interrupted,
    /// A loss or a weight is no longer finite.
    Diverged,
    /// An error ended it: an observer's, or the device's.
    Failed,
}

impl Ended {
    /// The name of the reason, as it stands in a run's summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Patience => "patience",
            Self::Target => "target",
            Self::MinLr => "min_lr",
            Self::Seconds => "seconds",
            Self::Asked => "asked",
            Self::Interrupted => "interrupted",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }

    /// The reason in words, to follow "ended".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Epochs => "after the last epoch",
            Self::Patience => "early, since the metric has not improved (stop.patience)",
            Self::Target => "at the target (stop.target)",
            Self::MinLr => "since the learning rate fell below stop.min_lr",
            Self::Seconds => "with its time (stop.seconds)",
            Self::Asked => "since it was asked to",
            Self::Interrupted => "since it was interrupted",
            Self::Diverged => "since its loss is no longer finite",
            Self::Failed => "with an error",
        }
    }

    /// Whether a run that ended so has come to its end by its own plan, so that going on with the same plan would change
    /// nothing.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Epochs | Self::Seconds | Self::Asked | Self::Interrupted | Self::Diverged | Self::Failed)
    }
}
