//! When a run ends before its last epoch, and which weights are its best.

use serde::{Deserialize, Serialize};

use crate::engine::{Evaluation, Setup};
use crate::error::{Error, Result};
use crate::event::{Ended, Epoch};
use crate::schedule::Mode;

/// The rules that end a run before its last epoch, none by default, and that keep its best weights. The metric is the
/// mean over the replicas, which end together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// The metric that is watched. Default `validation_loss`.
    pub metric: Metric,
    /// The number of evaluations in a row without improvement (of epochs, where the metric is one of training) after
    /// which the run ends (Prechelt, 1998). At least 1; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// The threshold of improvement: a metric counts as better only by more than this. At least 0, default 0.
    pub min_delta: f64,
    /// The value of the metric that ends the run once it is reached or bettered. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// The learning rate that ends the run when that of the next step has fallen below it, as that of a plateau will; a
    /// warm-up that comes from below does not count. At least 0; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_lr: Option<f64>,
    /// The seconds of training, evaluations left out, after which the run ends, in the middle of an epoch too. At least
    /// 0; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Whether the weights of the best evaluation are kept beside the last. Default false.
    pub keep_best: bool,
    /// Whether the run ends with the weights of the best evaluation, which are kept for it. Default false.
    pub restore_best: bool,
}

/// A metric that an epoch ends with, by which the best epoch is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The loss of training: the mean over the epoch's samples, each measured before its step's update.
    TrainLoss,
    /// The accuracy of training: the mean over the epoch's samples, each measured before its step's update.
    TrainAccuracy,
    /// The loss on the validation part, held out of the training part.
    #[default]
    ValidationLoss,
    /// The accuracy on the validation part, held out of the training part.
    ValidationAccuracy,
    /// The loss on the data set's own test part, which then is no test any more.
    TestLoss,
    /// The accuracy on the data set's own test part, which then is no test any more.
    TestAccuracy,
}

impl Metric {
    /// The direction of the metric: less of a loss is better, and more of an accuracy.
    fn mode(self) -> Mode {
        if self.is_accuracy() { Mode::Max } else { Mode::Min }
    }

    fn is_accuracy(self) -> bool {
        matches!(self, Self::TrainAccuracy | Self::ValidationAccuracy | Self::TestAccuracy)
    }

    /// The mean of the metric over the replicas, where the epoch has it.
    fn of(self, epoch: &Epoch) -> Option<f64> {
        let evaluations = match self {
            Self::TrainLoss | Self::TrainAccuracy => Some(&epoch.train),
            Self::ValidationLoss | Self::ValidationAccuracy => epoch.validation.as_ref(),
            Self::TestLoss | Self::TestAccuracy => epoch.test.as_ref(),
        }?;
        let of = |e: &Evaluation| if self.is_accuracy() { e.accuracy } else { e.loss };
        Some(evaluations.iter().map(of).sum::<f64>() / evaluations.len() as f64)
    }
}

/// The history of the metric; a checkpoint holds it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// The best value of the metric and its epoch, counted from 0, once there is one.
    pub best: Option<(f64, u64)>,
    /// The number of evaluations since the best one.
    pub since: u64,
}

impl Stop {
    /// Whether the best weights are kept, to be saved or to be restored.
    pub fn keeps_best(&self) -> bool {
        self.keep_best || self.restore_best
    }

    /// Refuses a metric that the data does not have, and constants out of range.
    ///
    /// # Errors
    /// [`Error::Config`] names the first setting that does not fit.
    pub fn check(&self, setup: &Setup) -> Result<()> {
        let uses = [
            ("patience", self.patience.is_some()),
            ("target", self.target.is_some()),
            ("keep_best", self.keep_best),
            ("restore_best", self.restore_best),
        ];
        if let Some((key, _)) = uses.iter().find(|(_, is_used)| *is_used) {
            let data = &setup.dataset;
            let missing = match self.metric {
                Metric::ValidationLoss | Metric::ValidationAccuracy if data.validation.is_none() => {
                    Some("validation data (data.validation above 0)")
                }
                Metric::TestLoss | Metric::TestAccuracy if data.test.is_none() => Some("a data set with a test part"),
                metric if metric.is_accuracy() && !data.is_classification() => Some("labels, or a loss as stop.metric"),
                _ => None,
            };
            if let Some(missing) = missing {
                return Err(Error::config(format!("stop.{key}"), format!("expected {missing}, found none")));
            }
        }
        if let Some(target) = self.target
            && !(target.is_finite() && (!self.metric.is_accuracy() || target <= 1.0))
        {
            let most = if self.metric.is_accuracy() { "a fraction of at most 1" } else { "a number" };
            return Err(Error::config("stop.target", format!("expected {most}, found {target}")));
        }
        if self.patience == Some(0) {
            return Err(Error::config("stop.patience", "expected at least 1, found 0"));
        }
        for (key, value) in [("min_delta", Some(self.min_delta)), ("min_lr", self.min_lr), ("seconds", self.seconds)] {
            if value.is_some_and(|v| !(v.is_finite() && v >= 0.0)) {
                let found = format!("expected a number of at least 0, found {}", value.unwrap_or_default());
                return Err(Error::config(format!("stop.{key}"), found));
            }
        }
        Ok(())
    }

    /// Whether the epoch has the metric.
    pub(crate) fn is_seen(&self, epoch: &Epoch) -> bool {
        self.metric.of(epoch).is_some()
    }

    /// Takes up an epoch's metric. Returns whether it is the best so far, and why the run ends, if it does.
    pub(crate) fn watch(&self, epoch: &Epoch, watch: &mut Watch) -> (bool, Option<Ended>) {
        let Some(metric) = self.metric.of(epoch) else { return (false, None) };
        let mode = self.metric.mode();
        let is_better = |than: f64, by: f64| match mode {
            Mode::Min => metric < than - by,
            Mode::Max => metric > than + by,
        };
        let is_best = watch.best.is_none_or(|(best, _)| is_better(best, self.min_delta));
        if is_best {
            *watch = Watch { best: Some((metric, epoch.epoch)), since: 0 };
        } else {
            watch.since += 1;
        }
        let has_target = self.target.is_some_and(|target| metric == target || is_better(target, 0.0));
        let has_waited = self.patience.is_some_and(|patience| watch.since >= patience);
        let ended = if has_target {
            Some(Ended::Target)
        } else if has_waited {
            Some(Ended::Patience)
        } else {
            None
        };
        (is_best, ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_counts_evaluations_without_improvement() {
        let stop = Stop { patience: Some(2), min_delta: 0.1, ..Stop::default() };
        let mut watch = Watch::default();
        let mut see = |epoch, loss: Option<f64>| {
            let validation = loss.map(|loss| vec![Evaluation { loss, accuracy: 0.0 }]);
            stop.watch(&Epoch { epoch, validation, ..Epoch::default() }, &mut watch)
        };
        assert_eq!(see(0, Some(1.0)), (true, None));
        assert_eq!(see(1, Some(0.95)), (false, None));
        assert_eq!(see(2, None), (false, None));
        assert_eq!(see(3, Some(0.8)), (true, None));
        assert_eq!(see(4, Some(0.75)), (false, None));
        assert_eq!(see(5, Some(0.72)), (false, Some(Ended::Patience)));
        assert_eq!(watch.best, Some((0.8, 3)));
    }

    #[test]
    fn a_target_may_be_met_exactly() {
        let stop = Stop { metric: Metric::TestAccuracy, target: Some(0.5), ..Stop::default() };
        let see = |accuracy| {
            let test = Some(vec![Evaluation { loss: 0.0, accuracy }]);
            stop.watch(&Epoch { test, ..Epoch::default() }, &mut Watch::default()).1
        };
        assert_eq!((see(0.49), see(0.5), see(0.6)), (None, Some(Ended::Target), Some(Ended::Target)));
    }
}
