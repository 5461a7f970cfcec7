//! What came of one member.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::member::Member;
use crate::error::{Error, Result};
use crate::event::Ended;
use crate::run::{number, real};
use crate::stop::Metric;

/// The word of a member that successive halving left behind.
pub const HALVED: &str = "halved";

/// What came of a member of a sweep: a line of `members.jsonl`.
///
/// As JSON a metric that is not finite stands as text, and one that is not there is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The number of the member.
    pub member: u64,
    /// The settings that its design decides, by their keys.
    pub settings: Map<String, Value>,
    /// The seed of the training.
    pub seed: u64,
    /// The number of epochs trained.
    pub epochs: u64,
    /// The number of updates made.
    pub steps: u64,
    /// The seconds of its steps; of members trained side by side those of all of them.
    #[serde(default)]
    pub seconds: f64,
    /// The accuracy on the test part, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metric")]
    pub test_accuracy: Option<f64>,
    /// The loss on the test part.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metric")]
    pub test_loss: Option<f64>,
    /// The accuracy on the validation part, in `[0, 1]`.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metric")]
    pub validation_accuracy: Option<f64>,
    /// The loss on the validation part.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metric")]
    pub validation_loss: Option<f64>,
    /// The loss of training, a running mean of the last epoch.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "metric")]
    pub train_loss: Option<f64>,
    /// The name of the reason why the training ended, as [`Ended::name`] gives it.
    pub ended: String,
}

/// The metrics of a row, the first of which that any row has is the one that settings are judged by: what the test part tells is no
/// test any more once settings are chosen by it.
pub(super) const METRICS: [Metric; 5] =
    [Metric::ValidationAccuracy, Metric::ValidationLoss, Metric::TestAccuracy, Metric::TestLoss, Metric::TrainLoss];

impl Row {
    /// The row of a member that has not been trained yet: no metrics, no end.
    ///
    /// # Errors
    /// A setting that JSON cannot hold.
    pub fn new(member: &Member) -> Result<Self> {
        let json =
            |key: &str, value| serde_json::to_value(value).map_err(|error| Error::config(key, error.to_string()));
        let settings = member.settings.iter().map(|(key, value)| Ok((key.clone(), json(key, value)?)));
        Ok(Self {
            member: member.number,
            settings: settings.collect::<Result<_>>()?,
            seed: member.seed,
            ..Self::default()
        })
    }

    /// A metric of the member; none where it is not there, or is none of a row.
    pub fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::TestAccuracy => self.test_accuracy,
            Metric::TestLoss => self.test_loss,
            Metric::ValidationAccuracy => self.validation_accuracy,
            Metric::ValidationLoss => self.validation_loss,
            Metric::TrainLoss => self.train_loss,
            _ => None,
        }
    }

    /// A metric by which the member can be judged: none where the training failed, or the metric is not finite or not there.
    pub fn score(&self, metric: Metric) -> Option<f64> {
        self.metric(metric).filter(|value| value.is_finite() && !self.has_failed())
    }

    /// Whether the training came to nothing: it diverged, or an error ended it.
    pub fn has_failed(&self) -> bool {
        [Ended::Diverged, Ended::Failed].iter().any(|ended| ended.name() == self.ended)
    }
}

/// The metric that settings are judged by: accuracy before loss, of the validation part if any row has it, else of the test part,
/// else the loss of training. The last where there are no rows.
pub fn judged_by(rows: &[Row]) -> Metric {
    let is_there = |metric: &Metric| rows.iter().any(|row| row.metric(*metric).is_some());
    METRICS.into_iter().find(is_there).unwrap_or(Metric::TrainLoss)
}

/// The metric on the test part beside one on the validation part; none beside another.
pub fn test_metric(metric: Metric) -> Option<Metric> {
    match metric {
        Metric::ValidationAccuracy => Some(Metric::TestAccuracy),
        Metric::ValidationLoss => Some(Metric::TestLoss),
        _ => None,
    }
}

/// Metrics as JSON.
mod metric {
    use serde::{Deserializer, Serializer};

    use super::*;

    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        value.map(number).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Option<f64>, D::Error> {
        Ok(Option::<Value>::deserialize(deserializer)?.map(|value| real(&value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::setting;

    #[test]
    fn a_row_reads_back() {
        let settings = ["model.hidden=[8, 4]", "optimizer.lr=0.1", "optimizer.name=sgd", "train.batch=16"];
        let settings = settings.iter().map(|text| setting(text).unwrap()).collect();
        let row = Row::new(&Member { number: 4, settings, seed: 9 }).unwrap();
        let row = Row { test_loss: Some(f64::INFINITY), test_accuracy: Some(0.5), ended: "epochs".into(), ..row };
        let text = serde_json::to_string(&row).unwrap();
        let settings = r#"{"model.hidden":[8,4],"optimizer.lr":0.1,"optimizer.name":"sgd","train.batch":16}"#;
        assert_eq!(
            text,
            format!(
                r#"{{"member":4,"settings":{settings},"seed":9,"epochs":0,"steps":0,"seconds":0.0,"test_accuracy":0.5,"test_loss":"inf","ended":"epochs"}}"#
            )
        );
        assert_eq!(serde_json::from_str::<Row>(&text).unwrap(), row);
        assert_eq!((row.metric(Metric::TestLoss), row.metric(Metric::TrainLoss)), (Some(f64::INFINITY), None));
    }

    #[test]
    fn settings_are_judged_by_validation_where_there_is_one() {
        let row = Row { test_accuracy: Some(0.5), test_loss: Some(1.0), train_loss: Some(1.0), ..Row::default() };
        assert_eq!(judged_by(std::slice::from_ref(&row)), Metric::TestAccuracy);
        let validated = Row { validation_loss: Some(1.0), ..row.clone() };
        assert_eq!(judged_by(&[row, validated]), Metric::ValidationLoss);
        assert_eq!(judged_by(&[]), Metric::TrainLoss);
    }

    #[test]
    fn a_training_that_came_to_nothing_has_failed() {
        let row = |ended: &str| Row { ended: ended.into(), test_loss: Some(0.5), ..Row::default() };
        let failed = |ended: &str| row(ended).has_failed();
        assert_eq!(["diverged", "failed", "epochs", "patience", ""].map(failed), [true, true, false, false, false]);
        let score = |row: Row| row.score(Metric::TestLoss);
        assert_eq!((score(row("epochs")), score(row("diverged"))), (Some(0.5), None));
        assert_eq!(score(Row { test_loss: Some(f64::NAN), ..row("epochs") }), None);
    }
}
