//! What a run has told a dashboard, and what the dashboard asks of it.

use std::time::Instant;

use thalweg::event::{Control, Epoch, Event, Observer, Started};
use thalweg::report::History;

use crate::cli::thousands;

/// The most news that are kept.
const MOST_NEWS: usize = 50;

/// The state of a run. It is shared by the thread that trains and the one that draws.
pub struct State {
    pub history: History,
    /// What happened, the newest last.
    pub news: Vec<News>,
    /// What keys have asked for.
    pub asked: Control,
    /// The epoch under way, from 0, and their number.
    pub epoch: u64,
    pub epochs: u64,
    /// When the steps of this process began, and with which one.
    pub began: Instant,
    pub first_step: u64,
    /// The number of samples trained by this process, all replicas together.
    pub samples: u64,
}

/// Something that happened.
pub struct News {
    /// The number of steps before it.
    step: u64,
    /// The kind of it, which is the same when it happens again.
    kind: &'static str,
    text: String,
}

impl News {
    /// The step and the words.
    pub fn line(&self) -> String {
        format!("{} {}", thousands(self.step), self.text)
    }
}

impl State {
    /// The state of a run that goes on from `history`.
    pub fn new(history: History) -> Self {
        Self {
            history,
            news: Vec::new(),
            asked: Control::Continue,
            epoch: 0,
            epochs: 0,
            began: Instant::now(),
            first_step: 0,
            samples: 0,
        }
    }

    /// Keeps what happened now.
    pub fn tell(&mut self, kind: &'static str, text: String) {
        self.tell_of(self.history.steps_told(), kind, text);
    }

    /// Keeps what happened after so many steps; what happens again and again takes the place of the time before.
    fn tell_of(&mut self, step: u64, kind: &'static str, text: String) {
        if self.news.last().is_some_and(|last| last.kind == kind) {
            self.news.pop();
        }
        self.news.push(News { step, kind, text });
        if self.news.len() > MOST_NEWS {
            self.news.remove(0);
        }
    }

    fn start(&mut self, started: &Started) {
        (self.epochs, self.first_step) = (started.epochs, started.first_step);
        (self.began, self.samples) = (Instant::now(), 0);
        if started.first_step > 0 {
            self.tell("resumed", "resumed".into());
        }
    }

    fn evaluated(&mut self, epoch: &Epoch) {
        if epoch.is_best {
            self.tell_of(epoch.steps, "best", "best so far".into());
        }
    }

    /// Takes up an event; returns what is asked of the run.
    pub fn on(&mut self, event: &Event) -> thalweg::Result<Control> {
        self.history.on(event)?;
        match event {
            Event::Started(started) => self.start(started),
            Event::Step(step) => {
                self.epoch = step.epoch;
                self.samples += (step.rows * step.replicas.len()) as u64;
            }
            Event::Averaged(sample) => {
                if sample.take.swa > 0.0 {
                    self.tell_of(sample.step + 1, "swa", format!("SWA sample {:.0}", 1.0 / sample.take.swa));
                }
                if let Some(number) = sample.take.snapshot {
                    self.tell_of(sample.step + 1, "snapshot", format!("snapshot {number}"));
                }
            }
            Event::Evaluated(epoch) | Event::Epoch(epoch) => self.evaluated(epoch),
            Event::Checkpoint(written) => {
                self.tell_of(written.steps, "checkpoint", "checkpoint".into());
            }
            Event::Recovered(recovered) => {
                self.tell("recovered", format!("device lost; goes on on {}", recovered.device));
            }
            _ => {}
        }
        // A checkpoint is asked for once, and of a step, whose answer is heard.
        let asked = match self.asked {
            Control::Save if !matches!(event, Event::Step(_)) => Control::Continue,
            Control::Save => std::mem::take(&mut self.asked),
            asked => asked,
        };
        Ok(asked)
    }
}
