//! What happens in a run, and who watches it.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::average::Take;
use crate::engine::{Evaluation, Setup, StepMetrics};
use crate::error::Result;
use crate::schedule::Rate;

/// What happens in a run, in this order: [`Started`](Self::Started) once, then the steps of an epoch and the epoch, again and
/// again, and [`Ended`](Self::Ended) once. Steps are told when their metrics have come back, up to two submissions after the
/// device took them, so that watching costs the device nothing.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The first step is about to be taken.
    Started(&'a Started<'a>),
    /// A step's metrics have arrived.
    Step(&'a StepReport<'a>),
    /// SWA or an ensemble has taken the weights of a step; the EMA, which takes most, is not told.
    Averaged(&'a Sample),
    /// An epoch is over and evaluated.
    Epoch(&'a Epoch),
    /// A checkpoint has been written.
    Checkpoint(&'a Written<'a>),
    /// No further step is taken.
    Ended(Ended),
}

/// Who watches a run: a progress bar, a log, a page. Any observer may end it.
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
    /// Is told of an event, and answers whether the run goes on. It is called between two submissions; what takes long
    /// belongs into a thread of the observer's own.
    ///
    /// # Errors
    /// Whatever goes wrong; it ends the run, and the run's error is this one.
    fn on(&mut self, event: &Event) -> Result<Control>;
}

/// An observer's answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// The run goes on.
    #[default]
    Continue,
    /// The run ends after the steps that the device has, with an evaluation, as [`Ended::Asked`].
    Stop,
}

/// Nobody watches.
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
        let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(if answers.contains(&Control::Stop) { Control::Stop } else { Control::Continue })
    }
}

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub struct Started<'a> {
    /// What its engine was built for.
    pub setup: &'a Setup,
    /// Where it computes, in words.
    pub device: &'a str,
    /// Its epochs.
    pub epochs: u64,
    /// Its steps.
    pub steps: u64,
    /// The first step that is taken now, counted from 0; more than 0 in a run that is resumed.
    pub first_step: u64,
}

/// What one step did, measured before its update.
#[derive(Clone, Copy, Debug)]
pub struct StepReport<'a> {
    /// Counted from 0.
    pub step: u64,
    /// Counted from 0.
    pub epoch: u64,
    /// Samples of the step.
    pub rows: usize,
    /// Learning rate and momentum of the first replica.
    pub rate: Rate,
    /// One entry a replica.
    pub replicas: &'a [StepMetrics],
}

/// What averages and ensembles took of a step's weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// The step, counted from 0.
    pub step: u64,
    /// What they took.
    pub take: Take,
}

/// A checkpoint on disk.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The file.
    pub path: &'a Path,
    /// Epochs that it holds.
    pub epochs: u64,
}

/// What one epoch did; the vectors have one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Counted from 0.
    pub epoch: u64,
    /// Updates made since the start of the run.
    pub steps: u64,
    /// The rate of the epoch's last step.
    pub lr: f64,
    /// Mean over the epoch's steps, each measured before its update.
    pub train: Vec<Evaluation>,
    /// After the epoch, where there is a validation part; of the restored weights, if any were.
    pub validation: Option<Vec<Evaluation>>,
    /// After the epoch, where there is a test part.
    pub test: Option<Vec<Evaluation>>,
    /// The same of each mean that has samples, and after the run of the best weights, where they are kept.
    pub means: Vec<Mean>,
    /// Whether the metric of [`Stop`](crate::stop::Stop) was better than in any epoch before.
    pub is_best: bool,
    /// Seconds for the steps, without evaluation.
    pub seconds: f64,
    /// Samples trained per second, all replicas together.
    pub samples_per_second: f64,
}

/// The evaluations of a mean of the weights, one entry a replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mean {
    /// `swa`, `ema`, `snapshots` or `best`.
    pub name: &'static str,
    /// Where there is a validation part.
    pub validation: Option<Vec<Evaluation>>,
    /// Where there is a test part.
    pub test: Option<Vec<Evaluation>>,
}

impl Epoch {
    /// Everything that was evaluated, with its name: `train`, `test`, `swa_test`, ...
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

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It had all its epochs.
    Epochs,
    /// [`Stop::patience`](crate::stop::Stop::patience).
    Patience,
    /// [`Stop::target`](crate::stop::Stop::target).
    Target,
    /// [`Stop::min_lr`](crate::stop::Stop::min_lr).
    MinLr,
    /// [`Stop::seconds`](crate::stop::Stop::seconds).
    Seconds,
    /// An [`Observer`] asked for it.
    Asked,
    /// A loss stopped being finite.
    Diverged,
    /// An error ended it: an observer's, or the device's.
    Failed,
}

impl Ended {
    /// As it stands in a run's summary.
    pub fn name(self) -> &'static str {
        match self {
            Self::Epochs => "epochs",
            Self::Patience => "patience",
            Self::Target => "target",
            Self::MinLr => "min_lr",
            Self::Seconds => "seconds",
            Self::Asked => "asked",
            Self::Diverged => "diverged",
            Self::Failed => "failed",
        }
    }

    /// In words, to follow "ended".
    pub fn describe(self) -> &'static str {
        match self {
            Self::Epochs => "after the last epoch",
            Self::Patience => "early, since the metric has not improved (stop.patience)",
            Self::Target => "at the target (stop.target)",
            Self::MinLr => "since the learning rate fell below stop.min_lr",
            Self::Seconds => "with its time (stop.seconds)",
            Self::Asked => "since it was asked to",
            Self::Diverged => "since its loss is no longer finite",
            Self::Failed => "with an error",
        }
    }

    /// Whether a run that ended so has come to its end by its own plan, so that going on with the same plan would change
    /// nothing.
    pub(crate) fn is_final(self) -> bool {
        !matches!(self, Self::Epochs | Self::Seconds | Self::Asked | Self::Diverged | Self::Failed)
    }
}
