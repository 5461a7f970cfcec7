//! The observer that shows a run on the terminal: a bar while an epoch goes on, and a line when it is over.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use thalweg::engine::Evaluation;
use thalweg::event::{Control, Epoch, Event, Observer, Started, StepReport};
use thalweg::run::Pace;

use super::epochs::EpochTable;
use super::{say, thousands};

/// Ten times a second is often enough for the eye.
const REFRESH: Duration = Duration::from_millis(100);

pub struct Progress {
    bar: ProgressBar,
    pace: Pace,
    is_classification: bool,
    table: EpochTable,
    is_headed: bool,
    /// When the epoch began, samples since, and when the bar was last drawn.
    began: Instant,
    rows: usize,
    drawn: Instant,
}

impl Progress {
    pub fn new(pace: Pace) -> Self {
        let (bar, now) = (ProgressBar::hidden(), Instant::now());
        Self {
            bar,
            pace,
            is_classification: true,
            table: EpochTable::default(),
            is_headed: false,
            began: now,
            rows: 0,
            drawn: now,
        }
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn start(&mut self, started: &Started) {
        let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} steps  {msg}  {eta} left");
        self.bar = ProgressBar::new(started.steps).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.is_classification = started.setup.dataset.is_classification();
        self.table = EpochTable::new(started, self.pace);
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

    /// The line of an evaluation, under the heading where it is the first.
    fn line(&mut self, epoch: &Epoch) -> String {
        let heading = if std::mem::replace(&mut self.is_headed, true) { String::new() } else { self.table.heading() };
        let means = epoch.means.iter().map(|m| (m.name, m.test.as_ref().or(m.validation.as_ref())));
        let own =
            [("train", Some(&epoch.train)), ("validation", epoch.validation.as_ref()), ("test", epoch.test.as_ref())];
        let parts: Vec<(&str, &[Evaluation])> =
            own.into_iter().chain(means).filter_map(|(name, evaluations)| Some((name, &evaluations?[..]))).collect();
        heading + &self.table.line(epoch, &parts, self.pace)
    }
}

impl Observer for Progress {
    fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        match event {
            Event::Started(started) => self.start(started),
            Event::Step(step) => self.step(step),
            Event::Evaluated(epoch) => {
                let line = self.line(epoch);
                self.bar.suspend(|| say!("{line}"));
            }
            Event::Epoch(epoch) => {
                let line = self.line(epoch);
                self.bar.suspend(|| say!("{line}"));
                self.restart();
            }
            _ => {}
        }
        Ok(Control::Continue)
    }
}
