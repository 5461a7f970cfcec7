//! What a run has told so far, thinned to what can be looked at.

mod curve;
mod marks;

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

pub use curve::{Curve, Point};
pub use marks::{Mark, MarkKind};

use crate::engine::Evaluation;
use crate::error::Result;
use crate::event::{Control, Ended, Epoch, Event, Observer, Started, StepReport};
use crate::run::{Lines, Logged, each_line, logged_curves, read_summary, real};

/// The most entries that the axis keeps.
const MOST_TICKS: usize = 2048;

/// The history of a run: its curves, thinned without losing their extremes, and what happened on the way.
///
/// It is read from the folder of a run, or gathers as an observer of one, in some ten nanoseconds a step and curve; one that
/// was read goes on as an observer where that run is resumed.
///
/// As JSON ([`to_json`](Self::to_json)):
///
/// | key | holds |
/// | --- | --- |
/// | `axis` | `steps`, `epochs`, `samples` and `seconds` of training, the same moments in all four: between them they are linear |
/// | `curves` | each with `name`, `x` in steps, `mean`, and with several replicas `low` and `high`, mean ∓ deviation; null is not finite |
/// | `marks` | each with `kind` (`swa`, `snapshot`, `restart`, `best`, `recovered`, `end`), `step` and `text` |
/// | `steps`, `epochs` | those of the whole run, where they are known |
/// | `ended` | the reason why the run ended, in words, or null |
///
/// Curves of every step are `loss`, `accuracy`, `lr`, `momentum`, `grad_norm`, `curvature` and `loss_scale`; of every evaluation
/// `train_loss`, `test_accuracy`, `swa_test_loss` and so on; of every epoch `samples_per_second`.
#[derive(Clone, Debug, Default)]
pub struct History {
    curves: Vec<Curve>,
    marks: Vec<Mark>,
    ticks: Vec<Tick>,
    /// The steps and epochs of the whole run, and the samples of one epoch.
    steps: u64,
    epochs: u64,
    samples: f64,
    replicas: usize,
    is_regression: bool,
    ended: Option<String>,
    /// The step that was told last, and when this process began.
    last_step: u64,
    began: Option<Began>,
    restarts: marks::Restarts,
}

/// A moment of a run: the same one in each of the units that an axis may have.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tick {
    /// The number of updates.
    pub steps: f64,
    /// The number of epochs, those under way in part.
    pub epochs: f64,
    /// The number of samples that one replica has trained.
    pub samples: f64,
    /// The seconds that steps took, without evaluations.
    pub seconds: f64,
}

/// The moment at which the steps of this process began.
#[derive(Clone, Copy, Debug)]
struct Began {
    at: Instant,
    steps: u64,
}

impl History {
    /// The history of the run in `dir`, as far as it has written it.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut history = Self::default();
        each_line(dir, Lines::Metrics, |line| history.metrics_line(line))?;
        each_line(dir, Lines::Evaluations, |line| history.evaluation_line(line))?;
        each_line(dir, Lines::Epochs, |line| history.epoch_line(line))?;
        history.curves.iter_mut().for_each(Curve::sort);
        let summary = read_summary(dir)?;
        marks::of_folder(&mut history, dir, summary.as_ref())?;
        Ok(history)
    }

    /// The curves, in the order in which they began.
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// The curve of this name, if it has a point.
    pub fn curve(&self, name: &str) -> Option<&Curve> {
        self.curves.iter().find(|curve| curve.name == name)
    }

    /// What happened on the way, in the order of steps.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// The moments at which time was taken: the start, the ends of epochs, and now.
    pub fn ticks(&self) -> Vec<Tick> {
        let mut ticks = vec![Tick::default()];
        ticks.extend(&self.ticks);
        ticks.extend(self.now());
        ticks
    }

    /// The number of steps of the whole run, 0 where nobody told.
    pub fn total_steps(&self) -> u64 {
        self.steps
    }

    /// The number of steps that were told.
    pub fn steps_told(&self) -> u64 {
        self.last_step
    }

    /// The reason why the run ended, in words, if it has.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// The history as JSON, as the table above says.
    pub fn to_json(&self) -> Value {
        let ticks = self.ticks();
        let axis = |value: fn(&Tick) -> f64| ticks.iter().map(|tick| short(value(tick))).collect::<Value>();
        json!({
            "axis": {
                "steps": axis(|t| t.steps), "epochs": axis(|t| t.epochs), "samples": axis(|t| t.samples),
                "seconds": axis(|t| t.seconds),
            },
            "curves": self.curves.iter().map(|curve| curve.to_json(self.replicas > 1)).collect::<Value>(),
            "marks": self.marks.iter().map(Mark::to_json).collect::<Value>(),
            "steps": self.steps,
            "epochs": self.epochs,
            "ended": self.ended,
        })
    }

    /// Adds what the replicas had at a step to the curve of this name.
    fn add(&mut self, name: &str, step: u64, values: impl Iterator<Item = f64> + Clone) {
        let found = self.curves.iter().position(|curve| curve.name == name);
        let i = found.unwrap_or_else(|| {
            self.curves.push(Curve::new(name));
            self.curves.len() - 1
        });
        self.curves[i].push(Point::of(step, values));
    }

    /// Adds the end of an epoch to the axis.
    fn tick(&mut self, steps: u64, epochs: f64, seconds: f64) {
        let before = self.ticks.last().map_or(0.0, |tick| tick.seconds);
        let samples = self.samples * epochs;
        self.ticks.push(Tick { steps: steps as f64, epochs, samples, seconds: before + seconds });
        if self.ticks.len() > MOST_TICKS {
            // The last one stays.
            let mut is_kept = self.ticks.len().is_multiple_of(2);
            self.ticks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
        }
    }

    /// The moment of the step that was told last, beyond the last epoch.
    fn now(&self) -> Option<Tick> {
        let (began, last) = (self.began?, self.ticks.last().copied().unwrap_or_default());
        let steps = self.last_step as f64;
        if steps <= last.steps || self.ended.is_some() {
            return None;
        }
        let per_epoch = self.steps as f64 / self.epochs.max(1) as f64;
        let epochs = steps / per_epoch.max(1.0);
        let since = began.at.elapsed().as_secs_f64() * (steps - last.steps) / (steps - began.steps as f64).max(1.0);
        Some(Tick { steps, epochs, samples: epochs * self.samples, seconds: last.seconds + since })
    }

    fn start(&mut self, started: &Started) {
        let setup = started.setup;
        (self.steps, self.epochs) = (started.steps, started.epochs);
        self.samples = (setup.dataset.train.len()) as f64;
        self.replicas = setup.replicas;
        self.is_regression = !setup.dataset.is_classification();
        self.began = Some(Began { at: Instant::now(), steps: started.first_step });
        (self.ended, self.last_step) = (None, started.first_step);
        self.restarts = marks::Restarts::default();
        // Steps that were taken and lost come again.
        let end = started.first_step;
        self.curves.iter_mut().for_each(|curve| curve.cut(end));
        self.curves.retain(|curve| !curve.is_empty());
        self.marks.retain(|mark| mark.step < end && mark.kind != MarkKind::End);
        self.ticks.retain(|tick| tick.steps <= end as f64);
    }

    fn step(&mut self, step: &StepReport) {
        let (at, all, rows) = (step.step, step.replicas, step.rows as f64);
        self.add("loss", at, all.iter().map(|m| m.loss));
        if !self.is_regression {
            self.add("accuracy", at, all.iter().map(move |m| m.correct as f64 / rows));
        }
        self.add("lr", at, std::iter::once(step.rate.lr));
        self.restarts.follow(&mut self.marks, at, step.rate.lr);
        self.add("momentum", at, std::iter::once(step.rate.momentum));
        if all.iter().any(|m| m.grad_norm.is_some()) {
            self.add("grad_norm", at, all.iter().filter_map(|m| m.grad_norm));
        }
        if all.iter().any(|m| m.loss_scale.is_some()) {
            self.add("loss_scale", at, all.iter().filter_map(|m| m.loss_scale));
        }
        self.last_step = at + 1;
    }

    fn evaluation(&mut self, epoch: &Epoch) {
        for (part, evaluations) in epoch.parts() {
            self.add(&format!("{part}_loss"), epoch.steps, evaluations.iter().map(|e: &Evaluation| e.loss));
            if !self.is_regression {
                self.add(&format!("{part}_accuracy"), epoch.steps, evaluations.iter().map(|e| e.accuracy));
            }
        }
        if epoch.is_best {
            self.marks.retain(|mark| mark.kind != MarkKind::Best);
            self.marks.push(Mark::new(MarkKind::Best, epoch.steps, "the best weights so far"));
        }
    }

    fn metrics_line(&mut self, line: &Value) {
        let Some(step) = line["step"].as_u64() else { return };
        for Logged { curve, values, .. } in logged_curves(Lines::Metrics, line) {
            self.add(curve, step, values.into_iter());
        }
        self.last_step = self.last_step.max(step + 1);
    }

    fn evaluation_line(&mut self, line: &Value) {
        let Some(steps) = line["steps"].as_u64() else { return };
        for Logged { curve, values, .. } in logged_curves(Lines::Evaluations, line) {
            self.replicas = values.len();
            self.add(curve, steps, values.into_iter());
        }
        self.last_step = self.last_step.max(steps);
    }

    fn epoch_line(&mut self, line: &Value) {
        let (Some(steps), Some(epoch)) = (line["steps"].as_u64(), line["epoch"].as_u64()) else { return };
        let (seconds, pace) = (real(&line["seconds"]), real(&line["samples_per_second"]));
        self.evaluation_line(line);
        self.add("samples_per_second", steps, std::iter::once(pace));
        if self.samples == 0.0 {
            self.samples = (seconds * pace / self.replicas.max(1) as f64).round();
        }
        self.tick(steps, (epoch + 1) as f64, if seconds.is_finite() { seconds } else { 0.0 });
    }
}

impl Observer for History {
    fn on(&mut self, event: &Event) -> Result<Control> {
        match event {
            Event::Started(started) => self.start(started),
            Event::Step(step) => self.step(step),
            Event::Curvature(found) => self.add("curvature", found.step, found.largest.iter().copied()),
            Event::Averaged(sample) => marks::sampled(&mut self.marks, sample.step, &sample.take),
            Event::Evaluated(epoch) => self.evaluation(epoch),
            Event::Epoch(epoch) => {
                self.evaluation(epoch);
                self.add("samples_per_second", epoch.steps, std::iter::once(epoch.samples_per_second));
                self.tick(epoch.steps, (epoch.epoch + 1) as f64, epoch.seconds);
            }
            Event::Recovered(recovered) => {
                let text = format!("the device was lost ({}); went on on {}", recovered.reason, recovered.device);
                self.marks.push(Mark::new(MarkKind::Recovered, recovered.steps, text));
            }
            Event::Ended(ended) => self.end(*ended),
            _ => {}
        }
        Ok(Control::Continue)
    }
}

impl History {
    fn end(&mut self, ended: Ended) {
        let text = format!("ended {}", ended.describe());
        self.marks.push(Mark::new(MarkKind::End, self.last_step, text.clone()));
        self.ended = Some(text);
    }
}

/// A number in the six digits that a picture shows; null where it is not finite.
pub(super) fn short(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        return json!(value as i64);
    }
    format!("{value:.5e}").parse::<f64>().map_or(Value::Null, |value| json!(value))
}
