//! The observer that shows a run on the terminal: a bar while an epoch goes on, and a line when it is over.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use thalweg::engine::Evaluation;
use thalweg::event::{Control, Epoch, Event, Observer, Started, StepReport};
use thalweg::run::{self, Pace};

use super::{say, speed, thousands};

/// Ten times a second is often enough for the eye.
const REFRESH: Duration = Duration::from_millis(100);

pub struct Progress {
    bar: ProgressBar,
    pace: Pace,
    epochs: u64,
    steps: u64,
    is_classification: bool,
    /// When the epoch began, samples since, and when the bar was last drawn.
    began: Instant,
    rows: usize,
    drawn: Instant,
}

impl Progress {
    pub fn new(pace: Pace) -> Self {
        let (bar, now) = (ProgressBar::hidden(), Instant::now());
        Self { bar, pace, epochs: 0, steps: 0, is_classification: true, began: now, rows: 0, drawn: now }
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, started: &Started) {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps  {msg}  {eta} left");
        self.bar = ProgressBar::new(started.steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        (self.epochs, self.steps) = (started.epochs, started.steps);
        self.is_classification = started.setup.dataset.is_classification();
        self.restart();
    }

    fn restart(&mut self) {
        (self.began, self.rows) = (Instant::now(), 0);
    }

    fn step(&mut self, step: &StepReport) {
        let replicas = step.replicas.len();
        self.rows += step.rows * replicas;
        if self.drawn.elapsed() < REFRESH {
            return;
        }
        self.drawn = Instant::now();
        let loss = step.replicas.iter().map(|m| m.loss).sum::<f64>() / replicas as f64;
        let correct = step.replicas.iter().map(|m| m.correct as f64).sum::<f64>() / (replicas * step.rows) as f64;
        let accuracy = if self.is_classification { format!("  accuracy {correct:.3}") } else { String::new() };
        let per_second = thousands((self.rows as f64 / self.began.elapsed().as_secs_f64()) as u64);
        self.bar.set_position(step.step + 1);
        self.bar.set_message(format!("loss {loss:.4}{accuracy}  {per_second} samples/s"));
    }

    /// What an evaluation says, after its heading.
    fn line(&self, heading: &str, epoch: &Epoch) -> String {
        let part = |name: &str, evaluations: Option<&Vec<Evaluation>>| {
            let Some(evaluations) = evaluations else { return String::new() };
            let of = |f: fn(&Evaluation) -> f64| run::mean(&evaluations.iter().map(f).collect::<Vec<_>>());
            let accuracy = if self.is_classification { format!(" {:.4}", of(|e| e.accuracy)) } else { String::new() };
            format!("  {name} {:.4}{accuracy}", of(|e| e.loss))
        };
        let means = epoch.means.iter().map(|m| part(m.name, m.test.as_ref().or(m.validation.as_ref())));
        let restored = if epoch.is_restored { "  restored:" } else { "" };
        format!(
            "{heading}  lr {:<9.3e}{}{restored}{}{}{}  {}",
            epoch.lr,
            part("train", Some(&epoch.train)),
            part("validation", epoch.validation.as_ref()),
            part("test", epoch.test.as_ref()),
            means.collect::<String>(),
            speed(self.pace, epoch.samples_per_second),
        )
    }
}

/// The number of digits of `n`.
fn digits(n: u64) -> usize {
    n.to_string().len()
}

impl Observer for Progress {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        match event {
            Event::Started(started) => self.start(started),
            Event::Step(step) => self.step(step),
            Event::Evaluated(epoch) => {
                let heading = format!("step {:>width$}/{}", epoch.steps, self.steps, width = digits(self.steps));
                self.bar.suspend(|| say!("{}", self.line(&heading, epoch)));
            }
            Event::Epoch(epoch) => {
                let width = digits(self.epochs);
                let heading = format!("epoch {:>width$}/{}", epoch.epoch + 1, self.epochs);
                self.bar.suspend(|| say!("{}", self.line(&heading, epoch)));
                self.restart();
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}
