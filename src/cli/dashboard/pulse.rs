//! How fast the run is just now.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time over which a speed is taken, and that between two points of its curve.
const WINDOW: Duration = Duration::from_secs(2);
const APART: Duration = Duration::from_secs(1);
/// The most points of the curve; of more every second goes.
const MOST: usize = 512;

/// The speed of a run by the clock, evaluations included, as the dashboard sees it.
#[derive(Default)]
pub struct Pulse {
    /// Moments of the last two seconds, each with the number of samples trained until then.
    moments: VecDeque<(Instant, u64)>,
    points: Vec<(f64, f64)>,
    last: Option<Instant>,
    /// How many points are left out for each that is kept.
    thinned: u32,
}

impl Pulse {
    /// Takes up how many samples were trained until now; fewer than before where the run began anew.
    pub fn beat(&mut self, now: Instant, step: u64, samples: u64) {
        if self.moments.back().is_some_and(|last| samples < last.1) {
            self.moments.clear();
            self.points.retain(|point| point.0 < step as f64);
        }
        self.moments.push_back((now, samples));
        while self.moments.len() > 2 && now - self.moments[1].0 >= WINDOW {
            self.moments.pop_front();
        }
        let apart = APART * 2u32.saturating_pow(self.thinned);
        let speed = self.samples_per_second();
        if speed > 0.0 && self.last.is_none_or(|last| now - last >= apart) {
            self.last = Some(now);
            self.points.push((step as f64, speed));
        }
        if self.points.len() > MOST {
            let mut is_kept = false;
            self.points.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.thinned += 1;
        }
    }

    /// The samples trained a second, all replicas together.
    pub fn samples_per_second(&self) -> f64 {
        match (self.moments.front(), self.moments.back()) {
            (Some(first), Some(last)) if first.0 < last.0 => {
                (last.1 - first.1) as f64 / (last.0 - first.0).as_secs_f64()
            }
            _ => 0.0,
        }
    }

    /// Steps and speeds.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_run_has_its_speed_however_long_it_is() {
        let (mut pulse, began) = (Pulse::default(), Instant::now());
        for tick in 0..20_000u64 {
            pulse.beat(began + Duration::from_millis(200 * tick), tick, 100 * tick);
        }
        assert_eq!(pulse.samples_per_second(), 500.0);
        assert!((200..=MOST).contains(&pulse.points().len()), "{}", pulse.points().len());
        assert!(pulse.points().iter().all(|point| (point.1 - 500.0).abs() < 1e-6));
        assert!(pulse.points().is_sorted_by(|a, b| a.0 < b.0));
        // A run that lost its device begins anew.
        pulse.beat(began + Duration::from_secs(5000), 7, 0);
        assert!(pulse.points().iter().all(|point| point.0 < 7.0) && pulse.samples_per_second() == 0.0);
    }
}
