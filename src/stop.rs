//! When a run ends before its last epoch, and which weights are its best.

use serde::{Deserialize, Serialize};

use crate::data::Part;
use crate::engine::{Evaluation, Setup, Slot};
use crate::error::{Error, Result};
use crate::event::{Ended, Epoch};

/// The rules that end a run before its last epoch, none by default, and that keep its best weights. The metric is the
/// mean over the replicas, which end together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stop {
    /// The metric that is watched. Default `validation_loss`.
    pub metric: Metric,
    /// The number of evaluations in a row without improvement after which the run ends (Prechelt, 1998); of epochs, where the
    /// metric is one of training and evaluations are counted in epochs. At least 1; default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<u64>,
    /// The threshold of patience alone: an evaluation is an improvement if it is better by more than this than the last one
    /// that was; the best weights are the best by however little. At least 0, default 0.
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

/// A metric of an evaluation, by which the best weights are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The loss of training: the mean over the epoch's samples (over those since the last evaluation, where these are counted
    /// in steps), each measured before its step's update.
    TrainLoss,
    /// The accuracy of training, a mean as [`TrainLoss`](Self::TrainLoss).
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
    /// The loss of SWA on the validation part, once it has a sample.
    SwaValidationLoss,
    /// The accuracy of SWA on the validation part.
    SwaValidationAccuracy,
    /// The loss of SWA on the test part.
    SwaTestLoss,
    /// The accuracy of SWA on the test part.
    SwaTestAccuracy,
    /// The loss of the EMA on the validation part, once it has a sample.
    EmaValidationLoss,
    /// The accuracy of the EMA on the validation part.
    EmaValidationAccuracy,
    /// The loss of the EMA on the test part.
    EmaTestLoss,
    /// The accuracy of the EMA on the test part.
    EmaTestAccuracy,
}

impl Metric {
    /// The weights whose metric it is, and the part of the data on which they are measured.
    fn source(self) -> (Slot, Part) {
        match self {
            Self::TrainLoss | Self::TrainAccuracy => (Slot::Live, Part::Train),
            Self::ValidationLoss | Self::ValidationAccuracy => (Slot::Live, Part::Validation),
            Self::TestLoss | Self::TestAccuracy => (Slot::Live, Part::Test),
            Self::SwaValidationLoss | Self::SwaValidationAccuracy => (Slot::Swa, Part::Validation),
            Self::SwaTestLoss | Self::SwaTestAccuracy => (Slot::Swa, Part::Test),
            Self::EmaValidationLoss | Self::EmaValidationAccuracy => (Slot::Ema, Part::Validation),
            Self::EmaTestLoss | Self::EmaTestAccuracy => (Slot::Ema, Part::Test),
        }
    }

    /// The slot of the weights whose metric it is: the last weights, or those of an average.
    pub fn slot(self) -> Slot {
        self.source().0
    }

    /// Whether it is measured in training.
    pub(crate) fn is_training(self) -> bool {
        self.source().1 == Part::Train
    }

    /// Whether it is an accuracy, of which more is better, and not a loss, of which less is.
    pub fn is_accuracy(self) -> bool {
        use Metric::*;
        matches!(
            self,
            TrainAccuracy
                | ValidationAccuracy
                | TestAccuracy
                | SwaValidationAccuracy
                | SwaTestAccuracy
                | EmaValidationAccuracy
                | EmaTestAccuracy
        )
    }

    /// The mean of the metric over the replicas, where the epoch has it.
    fn of(self, epoch: &Epoch) -> Option<f64> {
        let (slot, part) = self.source();
        let mean = || epoch.means.iter().find(|mean| mean.name == slot.name());
        let evaluations = match (slot, part) {
            (Slot::Live, Part::Train) => Some(&epoch.train),
            (Slot::Live, Part::Validation) => epoch.validation.as_ref(),
            (Slot::Live, Part::Test) => epoch.test.as_ref(),
            (_, Part::Validation) => mean()?.validation.as_ref(),
            _ => mean()?.test.as_ref(),
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
    /// The number of updates made before the best evaluation.
    #[serde(default)]
    pub steps: u64,
    /// The value that patience waits to be bettered by more than `min_delta`, once there is one.
    #[serde(default)]
    pub reference: Option<f64>,
    /// The number of evaluations since the one that set the reference.
    pub since: u64,
    /// The epoch, counted from 0, from which on the best is looked for: 0, or where a run went on with another metric or
    /// began to keep its best weights.
    #[serde(default)]
    pub from: u64,
    /// The metric, once it was seen.
    #[serde(default)]
    pub metric: Option<Metric>,
}

impl Watch {
    /// The history of a run that goes on in the epoch `from` without the weights that were its best; patience waits on.
    #[must_use]
    pub fn without_best(&self, from: u64) -> Self {
        Self { reference: self.reference, since: self.since, from, metric: self.metric, ..Self::default() }
    }
}

impl Stop {
    /// Whether the best weights are kept, to be saved or to be restored.
    pub fn keeps_best(&self) -> bool {
        self.keep_best || self.restore_best
    }

    /// Whether anything depends on the metric.
    pub fn watches(&self) -> bool {
        self.patience.is_some() || self.target.is_some() || self.keeps_best()
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
            let (data, average) = (&setup.dataset, &setup.average);
            let missing = match self.metric.source() {
                (Slot::Swa, _) if average.swa.is_none() => Some("an average to watch (average.swa)"),
                (Slot::Ema, _) if average.ema.is_none() => Some("an average to watch (average.ema)"),
                (_, Part::Validation) if data.validation.is_none() => Some("validation data (data.validation above 0)"),
                (_, Part::Test) if data.test.is_none() => Some("a data set with a test part"),
                _ if self.metric.is_accuracy() && !data.is_classification() => Some("labels, or a loss as stop.metric"),
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

    /// Takes up an epoch's metric, which patience counts or does not. Returns whether it is the best so far, and why the run
    /// ends, if it does.
    pub(crate) fn watch(&self, epoch: &Epoch, is_counted: bool, watch: &mut Watch) -> (bool, Option<Ended>) {
        let Some(metric) = self.metric.of(epoch) else { return (false, None) };
        let is_better = |than: f64, by: f64| {
            if self.metric.is_accuracy() { metric > than + by } else { metric < than - by }
        };
        watch.metric = Some(self.metric);
        if is_counted {
            if watch.reference.is_none_or(|reference| is_better(reference, self.min_delta)) {
                (watch.reference, watch.since) = (Some(metric), 0);
            } else {
                watch.since += 1;
            }
        }
        let is_best = watch.best.is_none_or(|(best, _)| is_better(best, 0.0));
        if is_best {
            (watch.best, watch.steps) = (Some((metric, epoch.epoch)), epoch.steps);
        }
        let has_target = self.target.is_some_and(|target| metric == target || is_better(target, 0.0));
        let has_waited = is_counted && self.patience.is_some_and(|patience| watch.since >= patience);
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
            stop.watch(&Epoch { epoch, validation, ..Epoch::default() }, true, &mut watch)
        };
        assert_eq!(see(0, Some(1.0)), (true, None));
        assert_eq!(see(1, Some(0.95)), (true, None));
        assert_eq!(see(2, None), (false, None));
        assert_eq!(see(3, Some(0.8)), (true, None));
        assert_eq!(see(4, Some(0.75)), (true, None));
        assert_eq!(see(5, Some(0.76)), (false, Some(Ended::Patience)));
        // Patience waited for less than 0.7; the best is the best.
        assert_eq!((watch.best, watch.reference), (Some((0.75, 4)), Some(0.8)));
    }

    /// Improvements that are small one by one are one together: patience compares with the last that was large enough.
    #[test]
    fn small_improvements_add_up() {
        let stop = Stop { patience: Some(3), min_delta: 0.1, ..Stop::default() };
        let mut watch = Watch::default();
        for (epoch, loss) in [1.0, 0.96, 0.92, 0.88, 0.84, 0.80].into_iter().enumerate() {
            let validation = Some(vec![Evaluation { loss, accuracy: 0.0 }]);
            let seen = stop.watch(&Epoch { epoch: epoch as u64, validation, ..Epoch::default() }, true, &mut watch);
            assert_eq!(seen, (true, None), "{loss}");
        }
    }

    #[test]
    fn a_target_may_be_met_exactly() {
        let stop = Stop { metric: Metric::TestAccuracy, target: Some(0.5), ..Stop::default() };
        let see = |accuracy| {
            let test = Some(vec![Evaluation { loss: 0.0, accuracy }]);
            stop.watch(&Epoch { test, ..Epoch::default() }, true, &mut Watch::default()).1
        };
        assert_eq!((see(0.49), see(0.5), see(0.6)), (None, Some(Ended::Target), Some(Ended::Target)));
    }
}
