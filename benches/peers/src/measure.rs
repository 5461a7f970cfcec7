//! Turns of all peers of one device, round after round.

use crate::child::{Fault, Served};
use crate::peers::Group;
use crate::task::Network;

/// Seconds of a turn, about.
const TURN: f64 = 0.3;
/// Seconds from which a turn says how long a step takes.
const ENOUGH: f64 = 0.05;

/// One peer at one network and batch size.
pub struct Cell {
    /// The network.
    pub network: Network,
    /// Samples of a step.
    pub rows: usize,
    /// The kind of device.
    pub device: &'static str,
    /// The peer.
    pub peer: &'static str,
    /// Where and how it computed, if it came that far.
    pub description: String,
    /// Its times.
    pub times: Result<Times, Fault>,
}

/// What was measured of it.
pub struct Times {
    /// Steps of a turn.
    pub steps: usize,
    /// Milliseconds a step, one a round.
    pub rounds: Vec<f64>,
    /// The same over thalweg's of the same round, where thalweg was measured too.
    pub ratios: Vec<f64>,
}

/// The middle one of some values, or the mean of the middle two.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    Some(if values.len() % 2 == 1 {
        *values.get(middle)?
    } else {
        values.get(middle.wrapping_sub(1))?.midpoint(values[middle])
    })
}

/// Measures those peers of a group that were asked for, in turn, so that all meet the same moods of the machine.
pub fn measure(group: Group, peers: &[&'static str], network: Network, rows: usize, rounds: usize) -> Vec<Cell> {
    let mut running: Vec<(Cell, Option<Served>)> = peers
        .iter()
        .map(|&peer| {
            let cell = |description, times| Cell { network, rows, device: group.device, peer, description, times };
            match start(peer, network, rows) {
                Ok((served, steps)) => {
                    let times = Times { steps, rounds: Vec::new(), ratios: Vec::new() };
                    (cell(served.description.clone(), Ok(times)), Some(served))
                }
                Err(fault) => (cell(String::new(), Err(fault)), None),
            }
        })
        .collect();

    for _ in 0..rounds {
        let mut thalweg = None;
        for (cell, served) in &mut running {
            let (Ok(times), Some(process)) = (&mut cell.times, served.as_mut()) else { continue };
            match process.turn(times.steps) {
                Ok(seconds) => {
                    let ms = 1e3 * seconds / times.steps as f64;
                    if cell.peer == group.peers[0] {
                        thalweg = Some(ms);
                    }
                    times.rounds.push(ms);
                    times.ratios.extend(thalweg.map(|thalweg| ms / thalweg));
                }
                Err(fault) => {
                    cell.times = Err(fault);
                    *served = None;
                }
            }
        }
    }
    running.into_iter().map(|(cell, _)| cell).collect()
}

/// A warm peer, and how many steps make a turn.
fn start(peer: &str, network: Network, rows: usize) -> Result<(Served, usize), Fault> {
    let mut served = Served::start(peer, network, rows)?;
    let mut steps = 1;
    loop {
        let seconds = served.turn(steps)?;
        if seconds >= ENOUGH {
            return Ok((served, ((TURN * steps as f64 / seconds).round() as usize).max(1)));
        }
        steps *= 2;
    }
}
