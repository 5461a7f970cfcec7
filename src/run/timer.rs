//! Checkpoints by the clock.

use std::time::{Duration, Instant};

use super::values::Interval;
use crate::error::Result;
use crate::event::{Control, Event, Observer};

/// The observer that asks for a checkpoint whenever so much time has passed.
pub(super) struct Timer {
    every: Option<Duration>,
    last: Instant,
}

impl Timer {
    /// A timer of a run that asks for checkpoints in this interval, where it counts seconds.
    pub fn new(interval: Interval) -> Self {
        let every = match interval {
            Interval::Seconds(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
            _ => None,
        };
        Self { every, last: Instant::now() }
    }
}

impl Observer for Timer {
    fn on(&mut self, event: &Event) -> Result<Control> {
        match (event, self.every) {
            (Event::Step(_), Some(every)) if self.last.elapsed() >= every => {
                self.last = Instant::now();
                Ok(Control::Save)
            }
            _ => Ok(Control::Continue),
        }
    }
}
