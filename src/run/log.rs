//! The observer that writes a run's numbers, line by line.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::folder::{EPOCHS, EVALUATIONS, METRICS};
use super::lines;
use super::summary::{number, real, statistics};
use crate::engine::Evaluation;
use crate::error::{Error, Result};
use crate::event::{Control, Epoch, Event, Mean, Observer, StepReport};
use crate::number::mean;
use crate::progress::Progress;

/// The log of a run, which writes a line of JSON to `metrics.jsonl` for every so many steps, one to `epochs.jsonl` for every
/// epoch, and one to `evaluations.jsonl` for every evaluation within an epoch, if there are such.
pub struct Log {
    dir: PathBuf,
    every: u64,
    /// Whether targets are labels, so that accuracies mean something.
    is_classification: bool,
    metrics: BufWriter<File>,
    epochs: BufWriter<File>,
    evaluations: Option<BufWriter<File>>,
    /// The largest eigenvalues that were measured last, and the step before which that was.
    curvature: Option<(u64, Vec<f64>)>,
}

impl Log {
    /// Opens the log in `dir` to go on after so many steps with this progress; later lines are dropped, and damaged ones. `every` is the number
    /// of steps from one line to the next, 0 for none.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub fn open(dir: &Path, every: u64, is_classification: bool, steps: u64, progress: &Progress) -> Result<Self> {
        let metrics = lines::go_on(&dir.join(METRICS), "step", steps)?;
        let epochs = lines::go_on(&dir.join(EPOCHS), "epoch", progress.epoch)?;
        let path = dir.join(EVALUATIONS);
        // That after the last step may still be due.
        let end = steps + u64::from(progress.within.is_evaluated);
        let evaluations = path.exists().then(|| lines::go_on(&path, "steps", end)).transpose()?;
        Ok(Self { dir: dir.into(), every, is_classification, metrics, epochs, evaluations, curvature: None })
    }

    /// Whether a step has a line.
    fn is_logged(&self, step: u64) -> bool {
        let is_measured = self.curvature.as_ref().is_some_and(|(before, _)| *before == step);
        is_measured || self.every > 0 && step.is_multiple_of(self.every)
    }

    fn step(&mut self, step: &StepReport) -> Result<()> {
        let all = step.replicas;
        let losses: Vec<f64> = all.iter().map(|m| m.loss).collect();
        let accuracies: Vec<f64> = all.iter().map(|m| m.correct as f64 / step.rows as f64).collect();
        let mut line = json!({
            "step": step.step, "epoch": step.epoch, "lr": step.rate.lr, "momentum": step.rate.momentum,
            "loss": number(mean(&losses)),
        });
        if all.len() > 1 {
            line["losses"] = losses.iter().map(|&loss| number(loss)).collect();
        }
        if self.is_classification {
            line["accuracy"] = json!(mean(&accuracies));
            if all.len() > 1 {
                line["accuracies"] = json!(accuracies);
            }
        }
        let norms: Vec<f64> = all.iter().filter_map(|m| m.grad_norm).collect();
        if !norms.is_empty() {
            line["grad_norm"] = number(mean(&norms));
        }
        if all.iter().any(|m| m.loss_scale.is_some()) {
            line["loss_scales"] = all.iter().filter_map(|m| m.loss_scale).collect();
        }
        if let Some((_, largest)) = self.curvature.take_if(|(before, _)| *before == step.step) {
            line["curvature"] = number(mean(&largest));
            if all.len() > 1 {
                line["curvatures"] = largest.into_iter().map(number).collect();
            }
        }
        self.write(METRICS, &line, &[])
    }

    fn epoch(&mut self, name: &str, epoch: &Epoch) -> Result<()> {
        let mut line = json!({ "epoch": epoch.epoch, "steps": epoch.steps, "lr": epoch.lr });
        for (part, evaluations) in epoch.parts() {
            for (name, value) in statistics(&part, evaluations, self.is_classification) {
                line[name] = value;
            }
        }
        if epoch.is_restored {
            line["restored"] = json!(true);
        }
        let times = [("seconds", json!(epoch.seconds)), ("samples_per_second", json!(epoch.samples_per_second))];
        self.write(name, &line, &times)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        self.metrics.flush().map_err(Error::io(&self.dir.join(METRICS)))?;
        self.epochs.flush().map_err(Error::io(&self.dir.join(EPOCHS)))?;
        self.evaluations.iter_mut().try_for_each(|file| file.flush().map_err(Error::io(&self.dir.join(EVALUATIONS))))
    }

    fn write(&mut self, name: &str, line: &Value, times: &[(&str, Value)]) -> Result<()> {
        let path = self.dir.join(name);
        let file = match name {
            METRICS => &mut self.metrics,
            EPOCHS => &mut self.epochs,
            _ => match &mut self.evaluations {
                Some(file) => file,
                none => none.insert(BufWriter::new(File::create(&path).map_err(Error::io(&path))?)),
            },
        };
        lines::write(file, line, times).map_err(Error::io(&path))
    }
}

/// The intact lines of the metrics of the run in `dir`, in the order of steps; none where there are none.
///
/// # Errors
/// The file cannot be read.
pub fn read_metrics(dir: &Path) -> Result<Vec<Value>> {
    lines(dir, METRICS)
}

/// A file of the log of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// `metrics.jsonl`, of steps.
    Metrics,
    /// `epochs.jsonl`, of epochs.
    Epochs,
    /// `evaluations.jsonl`, of evaluations within epochs.
    Evaluations,
}

/// Hands over the intact lines of a file of the log of the run in `dir` one by one, however many there are; none where there is
/// no such file.
///
/// # Errors
/// The file cannot be read.
pub fn each_line(dir: &Path, lines: Lines, take: impl FnMut(&Value)) -> Result<()> {
    let name = match lines {
        Lines::Metrics => METRICS,
        Lines::Epochs => EPOCHS,
        Lines::Evaluations => EVALUATIONS,
    };
    lines::each(&dir.join(name), take)
}

/// What a line of the log says of one curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged<'a> {
    /// The name of the curve: `loss`, `test_accuracy`, `samples_per_second`, ...
    pub curve: &'a str,
    /// The value of each replica; the one of the whole run, where replicas do not differ or only their mean is kept.
    pub values: Vec<f64>,
    /// Whether there is a value for each replica.
    pub is_of_replicas: bool,
}

impl<'a> Logged<'a> {
    fn of_replicas(curve: &'a str, values: &[Value]) -> Self {
        Self { curve, values: values.iter().map(real).collect(), is_of_replicas: true }
    }
}

/// The curves of steps, and where the values of several replicas stand, if those of each are kept.
const OF_STEPS: [(&str, &str); 7] = [
    ("loss", "losses"),
    ("accuracy", "accuracies"),
    ("lr", ""),
    ("momentum", ""),
    ("grad_norm", ""),
    ("curvature", "curvatures"),
    ("loss_scale", "loss_scales"),
];

/// What a line of a file of the log says, curve by curve.
pub fn logged_curves<'a>(file: Lines, line: &'a Value) -> Vec<Logged<'a>> {
    match file {
        Lines::Metrics => {
            let curve = |(curve, each): (_, &str)| match (line[each].as_array(), &line[curve]) {
                (Some(values), _) => Some(Logged::of_replicas(curve, values)),
                (None, Value::Null) => None,
                (None, value) => Some(Logged { curve, values: vec![real(value)], is_of_replicas: !each.is_empty() }),
            };
            OF_STEPS.into_iter().filter_map(curve).collect()
        }
        Lines::Epochs | Lines::Evaluations => {
            let curve = |(name, value): (&'a String, &'a Value)| match value["replicas"].as_array() {
                Some(values) => Some(Logged::of_replicas(name, values)),
                // Those of an evaluation are of the time since the one before.
                None if file == Lines::Evaluations => None,
                None if !matches!(&name[..], "seconds" | "samples_per_second") => None,
                None => Some(Logged { curve: name, values: vec![real(value)], is_of_replicas: false }),
            };
            line.as_object().into_iter().flatten().filter_map(curve).collect()
        }
    }
}

/// The intact lines of a file of the log; none where there is no such file.
///
/// # Errors
/// The file cannot be read.
pub(super) fn lines(dir: &Path, name: &str) -> Result<Vec<Value>> {
    lines::read(&dir.join(name)).map(|(lines, _)| lines)
}

/// The files of the log of the run in `dir`, as far as they are there.
/// The epochs that the run in `dir` has logged.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn epochs(dir: &Path) -> Result<Vec<Epoch>> {
    Ok(lines(dir, EPOCHS)?.iter().map(logged).collect())
}

pub(super) fn files(dir: &Path) -> Vec<PathBuf> {
    [METRICS, EPOCHS, EVALUATIONS].map(|name| dir.join(name)).into_iter().filter(|path| path.exists()).collect()
}

/// A line for each file of the log in `dir` that a run of so many steps cannot go on with as it was.
///
/// # Errors
/// A file cannot be read.
pub(super) fn complaints(dir: &Path, steps: u64) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in files(dir) {
        let (_, damaged) = lines::read(&path)?;
        if damaged > 0 {
            complaints.push(format!("{}: {damaged} damaged line(s) are left out", path.display()));
        }
    }
    for name in [METRICS, EPOCHS] {
        if steps > 0 && !dir.join(name).exists() {
            complaints.push(format!(
                "{}: expected the lines of {steps} steps, found no file; they are lost",
                dir.join(name).display()
            ));
        }
    }
    Ok(complaints)
}

/// The epoch that a line of `epochs.jsonl` tells of.
pub(super) fn logged(line: &Value) -> Epoch {
    let values = |key: String| -> Vec<f64> {
        let replicas = line[key]["replicas"].as_array().into_iter().flatten();
        replicas.map(|value| value.as_f64().unwrap_or(f64::NAN)).collect()
    };
    let part = |name: &str| -> Option<Vec<Evaluation>> {
        let (losses, accuracies) = (values(format!("{name}_loss")), values(format!("{name}_accuracy")));
        let accuracy = |r: usize| accuracies.get(r).copied().unwrap_or_default();
        let all = losses.iter().enumerate().map(|(r, &loss)| Evaluation { loss, accuracy: accuracy(r) });
        (!losses.is_empty()).then(|| all.collect())
    };
    let mean = |name: &'static str| {
        let (validation, test) = (part(&format!("{name}_validation")), part(&format!("{name}_test")));
        (validation.is_some() || test.is_some()).then_some(Mean { name, validation, test })
    };
    Epoch {
        epoch: line["epoch"].as_u64().unwrap_or_default(),
        steps: line["steps"].as_u64().unwrap_or_default(),
        lr: line["lr"].as_f64().unwrap_or_default(),
        train: part("train").unwrap_or_default(),
        validation: part("validation"),
        test: part("test"),
        means: ["swa", "ema", "snapshots", "best"].into_iter().filter_map(mean).collect(),
        is_restored: line["restored"] == true,
        seconds: line["seconds"].as_f64().unwrap_or_default(),
        samples_per_second: line["samples_per_second"].as_f64().unwrap_or_default(),
        ..Epoch::default()
    }
}

impl Observer for Log {
    fn on(&mut self, event: &Event) -> Result<Control> {
        match event {
            Event::Curvature(found) => self.curvature = Some((found.step, found.largest.to_vec())),
            Event::Step(step) if self.is_logged(step.step) => self.step(step)?,
            Event::Epoch(epoch) => self.epoch(EPOCHS, epoch)?,
            Event::Evaluated(epoch) => self.epoch(EVALUATIONS, epoch)?,
            Event::Saving | Event::Ended(_) => self.flush()?,
            _ => {}
        }
        Ok(Control::Continue)
    }
}
