//! Where a run stands now.

use std::time::Instant;

use serde_json::{Value, json};
use thalweg::event::{Control, Event, Observer, Started, StepReport};

use super::super::thousands;

/// An observer that keeps what a run is, and where it stands.
#[derive(Clone, Default)]
pub struct Now {
    /// What the run is, each line with its name; none before it has started.
    facts: Vec<(&'static str, String)>,
    is_classification: bool,
    /// The steps and epochs taken and to be taken.
    step: u64,
    steps: u64,
    epoch: u64,
    epochs: u64,
    first_step: u64,
    loss: f64,
    accuracy: f64,
    lr: f64,
    /// When the run started, and when the samples since then began to be counted.
    began: Option<Instant>,
    since: Option<Instant>,
    samples: usize,
    /// The steps of the checkpoint that was written last.
    checkpoint: Option<u64>,
}

impl Now {
    fn start(&mut self, started: &Started) {
        let Started { setup, device, epochs, steps, first_step } = *started;
        let widths: Vec<String> = setup.model.widths.iter().map(ToString::to_string).collect();
        let parameters = thousands(setup.model.parameters() as u64);
        self.facts = vec![
            ("device", device.into()),
            ("data", setup.dataset.name.clone()),
            ("model", format!("{}, {parameters} parameters", widths.join("-"))),
            ("run", format!("batch {}, {epochs} epochs, {} replica(s)", setup.batch, setup.replicas)),
        ];
        self.is_classification = setup.dataset.is_classification();
        (self.epochs, self.steps, self.first_step, self.step) = (epochs, steps, first_step, first_step);
        self.began = Some(Instant::now());
        self.restart();
    }

    fn restart(&mut self) {
        (self.since, self.samples) = (Some(Instant::now()), 0);
    }

    fn step(&mut self, step: &StepReport) {
        let replicas = step.replicas.len() as f64;
        self.loss = step.replicas.iter().map(|m| m.loss).sum::<f64>() / replicas;
        let correct = step.replicas.iter().map(|m| m.correct as f64).sum::<f64>();
        self.accuracy = correct / (replicas * step.rows as f64);
        (self.step, self.epoch, self.lr) = (step.step + 1, step.epoch, step.rate.lr);
        self.samples += step.rows * step.replicas.len();
    }

    /// The seconds that the rest will take if it goes as what was.
    fn seconds_left(&self) -> Option<f64> {
        let taken = self.step - self.first_step;
        let seconds = self.began?.elapsed().as_secs_f64();
        (taken > 0).then(|| seconds / taken as f64 * (self.steps - self.step.min(self.steps)) as f64)
    }

    /// As JSON; numbers that there are not yet, or that are not finite, are null.
    pub fn to_json(&self) -> Value {
        let seconds = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        let is_begun = self.step > self.first_step;
        let facts: Vec<[&str; 2]> = self.facts.iter().map(|(name, text)| [*name, text.as_str()]).collect();
        json!({
            "facts": facts,
            "step": self.step, "steps": self.steps, "epoch": self.epoch, "epochs": self.epochs,
            "loss": is_begun.then_some(self.loss),
            "accuracy": (is_begun && self.is_classification).then_some(self.accuracy),
            "lr": is_begun.then_some(self.lr),
            "samples_per_second": (self.samples > 0).then(|| self.samples as f64 / seconds.max(1e-9)),
            "seconds_left": self.seconds_left(),
            "checkpoint": self.checkpoint,
        })
    }
}

impl Observer for Now {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        match event {
            Event::Started(started) => self.start(started),
            Event::Step(step) => self.step(step),
            Event::Evaluated(_) | Event::Epoch(_) => self.restart(),
            Event::Checkpoint(written) => self.checkpoint = Some(written.steps),
            _ => {}
        }
        Ok(Control::Continue)
    }
}
