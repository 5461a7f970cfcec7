//! What a run comes to: its numbers, and `summary.json`.

use serde_json::{Value, json};

use crate::engine::{Engine, Evaluation};
use crate::error::Result;
use crate::event::{Control, Ended, Epoch, Event, Observer};
use crate::explore::least_seconds;
use crate::number::{deviation, mean};
use crate::stop::{Metric, Stop, Watch};

/// The outcome of a run: what its epochs left.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// The last epoch; that of a resumed run that took no step has a number alone.
    pub last: Epoch,
    /// The epoch, counted from 0, with the highest mean test accuracy of the last weights, and that accuracy.
    pub highest: Option<(u64, f64)>,
    /// The best evaluation, where the rules of the run's end look at a metric.
    pub best: Option<Best>,
    /// The seconds of all steps.
    pub seconds: f64,
    /// The number of samples trained, all replicas together.
    pub samples: f64,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// The metric by which it is the best.
    pub metric: Metric,
    /// The value of the metric, the mean over the replicas.
    pub value: f64,
    /// The epoch in or after which it was, counted from 0.
    pub epoch: u64,
    /// The number of updates made before it.
    pub steps: u64,
    /// The epoch, counted from 0, from which on the best was looked for.
    pub from: u64,
}

impl Best {
    /// The best evaluation that `watch` knows, if the rules look at a metric.
    pub(super) fn of(stop: &Stop, watch: &Watch) -> Option<Self> {
        let (value, epoch) = watch.best.filter(|_| stop.watches())?;
        Some(Self { metric: stop.metric, value, epoch, steps: watch.steps, from: watch.from })
    }
}

impl Outcome {
    /// The outcome of the epochs before a resumed one, by their lines in `epochs.jsonl` and those of the evaluations within them.
    pub(super) fn so_far(epochs: &[Value], evaluations: &[Value]) -> Self {
        let mut outcome = Self::default();
        for line in evaluations {
            let accuracy = line["test_accuracy"]["mean"].as_f64();
            outcome.rise(accuracy.map(|accuracy| (line["epoch"].as_u64().unwrap_or(0), accuracy)));
        }
        for line in epochs {
            let seconds = line["seconds"].as_f64().unwrap_or(0.0);
            let per_second = line["samples_per_second"].as_f64().unwrap_or(0.0);
            outcome.add(
                line["epoch"].as_u64().unwrap_or(0),
                seconds,
                per_second,
                line["test_accuracy"]["mean"].as_f64().filter(|_| line["restored"].is_null()),
            );
        }
        outcome
    }

    /// Takes up an epoch.
    pub(super) fn take(&mut self, epoch: Epoch, is_classification: bool) {
        // Restored weights are those of an epoch before.
        let accuracy = test_accuracy(&epoch).filter(|_| is_classification && !epoch.is_restored);
        self.add(epoch.epoch, epoch.seconds, epoch.samples_per_second, accuracy);
        self.last = epoch;
    }

    fn add(&mut self, epoch: u64, seconds: f64, samples_per_second: f64, test_accuracy: Option<f64>) {
        self.seconds += seconds;
        self.samples += seconds * samples_per_second;
        self.rise(test_accuracy.map(|accuracy| (epoch, accuracy)));
    }

    /// Takes up an epoch's test accuracy, or one within it, if it is higher than all before.
    pub(super) fn rise(&mut self, found: Option<(u64, f64)>) {
        let is_higher = |&(epoch, accuracy): &(u64, f64)| {
            self.highest.is_none_or(|(first, highest)| accuracy > highest || accuracy == highest && epoch < first)
        };
        self.highest = found.filter(is_higher).or(self.highest);
    }

    /// The number of samples trained a second, all replicas together.
    pub fn samples_per_second(&self) -> f64 {
        self.samples / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The content of `summary.json`.
    pub(super) fn summary(&self, run: &Facts, ended: Ended, diverged: Option<String>) -> Value {
        let mut summary = json!({
            "stopped_by": ended.name(),
            "epochs": self.last.epoch + u64::from(self.last.steps > 0),
            "steps": self.last.steps,
            "replicas": run.replicas,
            "device": run.device,
            "machine": machine(),
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second(),
        });
        if let Some(share) = run.pace.of_limit(self.samples_per_second()) {
            summary["of_limit"] = share.into();
        }
        for (part, evaluations) in self.last.parts() {
            for (name, value) in statistics(&part, evaluations, run.is_classification) {
                summary[name] = value;
            }
        }
        if self.last.is_restored {
            summary["restored"] = true.into();
        }
        if let Some((epoch, accuracy)) = self.highest {
            summary["highest_test_accuracy"] = json!({ "epoch": epoch, "mean": accuracy });
        }
        if let Some(Best { metric, value, epoch, steps, from }) = self.best {
            summary["best"] = json!({ "metric": metric, "mean": number(value), "epoch": epoch, "steps": steps });
            if from > 0 {
                summary["best"]["from_epoch"] = from.into();
            }
        }
        if let Some(text) = diverged {
            summary["diverged"] = text.into();
        }
        summary
    }
}

/// The machine, and the program that trains on it, in words.
pub fn machine() -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let (os, arch, version) = (std::env::consts::OS, std::env::consts::ARCH, env!("CARGO_PKG_VERSION"));
    format!("{os} on {arch}, {processors} processors, thalweg {version}")
}

/// An observer of the evaluations within epochs, which keeps the highest test accuracy and its epoch.
#[derive(Default)]
pub(super) struct Highest(pub Option<(u64, f64)>);

impl Observer for Highest {
    fn on(&mut self, event: &Event) -> Result<Control> {
        if let Event::Evaluated(epoch) = event
            && let Some(accuracy) = test_accuracy(epoch)
            && self.0.is_none_or(|(_, highest)| accuracy > highest)
        {
            self.0 = Some((epoch.epoch, accuracy));
        }
        Ok(Control::Continue)
    }
}

/// The mean test accuracy of an evaluation.
fn test_accuracy(epoch: &Epoch) -> Option<f64> {
    let test = epoch.test.as_ref()?;
    Some(mean(&test.iter().map(|e| e.accuracy).collect::<Vec<_>>()))
}

/// The facts of a run that its summary tells.
pub(super) struct Facts {
    pub device: String,
    pub replicas: usize,
    pub is_classification: bool,
    pub pace: Pace,
}

/// The highest pace of a training, in samples a second, where its device has been measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pace(Option<f64>);

impl Pace {
    /// The highest pace of an engine, where the limits of its device are remembered.
    pub fn of(engine: &dyn Engine) -> Self {
        let setup = engine.setup();
        let samples = (setup.batch * setup.replicas) as f64;
        Self(super::remembered_limits(&engine.describe()).map(|limits| samples / least_seconds(engine, &limits)))
    }

    /// The share of the highest pace that `samples_per_second` are; none where the device was never measured.
    pub fn of_limit(&self, samples_per_second: f64) -> Option<f64> {
        self.0.map(|most| samples_per_second / most)
    }
}

/// The statistics of a part as JSON: `PART_loss` and, for a classification, `PART_accuracy`, each with mean, deviation
/// and every replica's.
pub fn statistics(part: &str, evaluations: &[Evaluation], is_classification: bool) -> Vec<(String, Value)> {
    let entry = |name: &str, values: Vec<f64>| (format!("{part}_{name}"), statistic(&values));
    let mut entries = vec![entry("loss", evaluations.iter().map(|e| e.loss).collect())];
    if is_classification {
        entries.push(entry("accuracy", evaluations.iter().map(|e| e.accuracy).collect()));
    }
    entries
}

/// The values of the replicas as JSON, with their mean and their deviation.
pub fn statistic(values: &[f64]) -> Value {
    let replicas: Vec<Value> = values.iter().map(|&v| number(v)).collect();
    json!({ "mean": number(mean(values)), "deviation": number(deviation(values)), "replicas": replicas })
}

/// A JSON number; one that is not finite becomes text, since JSON has no such number.
pub fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// The number that a value of a run's files stands for; one that is not finite stands as text. NaN where it stands for none.
pub fn real(value: &Value) -> f64 {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or_else(text).unwrap_or(f64::NAN)
}
