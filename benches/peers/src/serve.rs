//! The process of one peer: it checks and warms up the peer, then runs turns on request.
//!
//! A peer has a process of its own, since some abort where they fail, and since their thread pools would get in each
//! other's way. `peers serve NAME INPUTS BATCH` answers `> ready DESCRIPTION`, `> untrained WHY` or `> error WHY`; then
//! for each line with a number of steps on its input, the seconds that they took, as `> SECONDS`. Libraries print to
//! the same output, hence the mark.

use std::io::{BufRead, stdin};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::check;
use crate::peers::{self, Peer};
use crate::task::{LR, Network, Task};

/// Steps before the first turn: so many, or fewer where they take so long, but at least two. Fusion and tuning settle in
/// them.
const WARM_STEPS: usize = 20;
const WARM_TIME: Duration = Duration::from_secs(1);

/// Serves until the input ends.
pub fn serve(name: &str, network: Network, rows: usize) {
    if let Err(error) = turns(name, network, rows) {
        println!("> error {}", format!("{error:#}").replace('\n', " "));
    }
}

fn turns(name: &str, network: Network, rows: usize) -> Result<()> {
    let task = Task::new(network, rows)?;
    let mut peer = peers::open(name, &task)?;
    if let Some(why) = check::fault(peer.as_mut(), &task)? {
        println!("> untrained {why}");
        return Ok(());
    }
    let mut turn = Turn { peer, batches: task.batches.len(), next: 0 };
    let start = Instant::now();
    for step in 0..WARM_STEPS {
        if step >= 2 && start.elapsed() > WARM_TIME {
            break;
        }
        turn.run(1)?;
    }
    println!("> ready {}", turn.peer.describe());
    for line in stdin().lock().lines() {
        let line = line.context("the number of steps")?;
        let steps = line.trim().parse().with_context(|| format!("expected a number of steps, found {line:?}"))?;
        println!("> {}", turn.run(steps)?.as_secs_f64());
    }
    Ok(())
}

/// Goes round the batches, turn after turn.
struct Turn {
    peer: Box<dyn Peer>,
    batches: usize,
    next: usize,
}

impl Turn {
    fn run(&mut self, steps: usize) -> Result<Duration> {
        let batches: Vec<usize> = (self.next..self.next + steps).map(|i| i % self.batches).collect();
        self.next = (self.next + steps) % self.batches;
        let start = Instant::now();
        self.peer.run(&batches, LR)?;
        Ok(start.elapsed())
    }
}
