//! The nodes at which a section is evaluated, and what is read off the values along a line.

use crate::engine::{Evaluation, Precision};
use crate::error::{Error, Result};

/// The nodes of a grid: those along each axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// The coordinates along the first axis, increasing.
    pub x: Vec<f64>,
    /// The coordinates along the second axis, increasing; of a line the one 0.
    pub y: Vec<f64>,
}

/// The height of the barrier on a line between two weight vectors: how far the loss rises above the straight line between
/// the losses at its ends, at most (Frankle et al., 2020, with the straight line in the place of the ends' mean).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Barrier {
    /// The height, at least 0; infinite where the loss is not finite somewhere between the ends.
    pub height: f64,
    /// The place of the greatest height, from 0 to 1.
    pub at: f64,
}

/// The most nodes along an axis.
const MOST: usize = 1000;
/// The share of a line's nodes that lie beyond each end.
const BEYOND: f64 = 0.2;

impl Grid {
    /// The grid of so many nodes along each axis of `window`, `[[left, right], [bottom, top]]`, its borders included. Coordinates
    /// are those that an engine of `precision` computes with.
    ///
    /// # Errors
    /// A number of nodes outside 2 to 1000; a window that is empty, or not finite in that precision.
    pub fn over(window: [[f64; 2]; 2], nodes: [usize; 2], precision: Precision) -> Result<Self> {
        let axis = |axis: usize| -> Result<Vec<f64>> {
            let ([low, high], nodes) = (window[axis], nodes[axis]);
            check_nodes(nodes)?;
            // From the middle, so that what lies evenly about 0 meets it.
            let (middle, half, last) = (low / 2.0 + high / 2.0, high / 2.0 - low / 2.0, nodes - 1);
            let place = |i: usize| middle + half * (2.0 * i as f64 - last as f64) / last as f64;
            let places: Vec<f64> = (0..nodes).map(|i| rounded(place(i), precision)).collect();
            if !places.iter().all(|x| x.is_finite()) || !places.is_sorted_by(|a, b| a < b) {
                let found = format!("expected a window of {nodes} places apart, found {low:e} to {high:e}");
                return Err(Error::config("grid", found));
            }
            Ok(places)
        };
        Ok(Self { x: axis(0)?, y: axis(1)? })
    }

    /// The nodes of a line: `nodes` from 0 to 1, both included, and at the same distance a fifth as many beyond each end.
    ///
    /// # Errors
    /// A number of nodes outside 2 to 1000.
    pub fn along(nodes: usize, precision: Precision) -> Result<Self> {
        check_nodes(nodes)?;
        let (last, beyond) = (nodes as i64 - 1, (BEYOND * nodes as f64).ceil() as i64);
        let x = (-beyond..=last + beyond).map(|i| rounded(i as f64 / last as f64, precision)).collect();
        Ok(Self { x, y: vec![0.0] })
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.x.len() * self.y.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes, row after row.
    pub fn points(&self) -> impl Iterator<Item = [f64; 2]> {
        self.y.iter().flat_map(|&y| self.x.iter().map(move |&x| [x, y]))
    }

    /// The barrier on a line, of whose nodes these are the values; none without nodes at 0 and 1.
    pub fn barrier(&self, values: &[Evaluation]) -> Option<Barrier> {
        let end = |place: f64| self.x.iter().position(|&x| x == place).map(|i| values[i].loss);
        let (from, to) = (end(0.0)?, end(1.0)?);
        let between = self.x.iter().zip(values).filter(|(x, _)| (0.0..=1.0).contains(*x));
        let heights = between.map(|(&at, value)| {
            let height = value.loss - ((1.0 - at) * from + at * to);
            Barrier { height: if height.is_finite() { height.max(0.0) } else { f64::INFINITY }, at }
        });
        heights.reduce(|highest, next| if next.height > highest.height { next } else { highest })
    }
}

fn check_nodes(nodes: usize) -> Result<()> {
    if (2..=MOST).contains(&nodes) {
        return Ok(());
    }
    Err(Error::config("grid", format!("expected 2 to {MOST} points along an axis, found {nodes}")))
}

/// The coordinate as an engine of `precision` computes with it.
fn rounded(x: f64, precision: Precision) -> f64 {
    if precision == Precision::F64 { x } else { f64::from(x as f32) }
}
