//! What the page needs to descend on surfaces by itself.

use serde_json::{Map, Value, json};

use super::workshop::Workshop;
use crate::data::Order;
use crate::error::Result;
use crate::explore::{Descent, Surface, descend};
use crate::number::{Purpose, Stream};
use crate::optimizer::Optimizer;
use crate::schedule::Schedule;

/// The most steps of a descent on the page, and the number of seeds for which there is noise.
const STEPS: u64 = 400;
const SEEDS: u64 = 3;

/// Every surface: its formula, window, minima, saddles, start and rate.
pub(super) fn surfaces() -> Value {
    let describe = |surface: &Surface| {
        let object = json!({
            "formula": surface.formula(), "window": surface.window(), "minima": surface.minima(),
            "saddles": surface.saddles(), "start": surface.start(), "lr": surface.lr(), "lowest": surface.lowest(),
        });
        (surface.to_string(), object)
    };
    Value::Object(Surface::ALL.iter().map(describe).collect())
}

/// What [`descend`] draws: for every seed the noise of every step, the orders of the regression's examples by epoch for seed 0; and
/// these examples.
pub(super) fn draws(_: &mut Workshop) -> Result<Value> {
    let of_step = |seed, step| {
        let mut stream = Stream::new(seed, Purpose::Descent, step);
        [stream.normal(), stream.normal()]
    };
    let noise: Vec<Vec<[f64; 2]>> =
        (0..SEEDS).map(|seed| (0..STEPS).map(|step| of_step(seed, step)).collect()).collect();
    let n = Surface::Regression.examples();
    let orders: Vec<Vec<u32>> = (0..STEPS / 2).map(|epoch| Order::Shuffle.permutation(n, 0, epoch)).collect();
    let examples: Vec<[f64; 2]> = (0..n).map(Surface::example).collect();
    Ok(json!({ "noise": noise, "orders": orders, "examples": examples, "steps": STEPS }))
}

/// From every start of a grid, which minimum plain descent comes to.
pub(super) fn basins(shop: &mut Workshop) -> Result<Value> {
    let nodes = shop.size(120, 40);
    let mut all = Map::new();
    for surface in [Surface::Himmelblau, Surface::Rastrigin] {
        let [[left, right], [bottom, top]] = surface.window();
        // The middles of cells.
        let along = |low: f64, high: f64, i: usize| low + (high - low) * (i as f64 + 0.5) / nodes as f64;
        let starts = (0..nodes * nodes).map(|k| [along(left, right, k % nodes), along(bottom, top, k / nodes)]);
        let ends = starts.map(|start| ended(surface, start)).collect::<Result<Vec<i64>>>()?;
        all.insert(surface.to_string(), json!({ "nodes": nodes, "ends": ends }));
    }
    Ok(Value::Object(all))
}

/// Where the page's descent from `start` comes to: of Himmelblau's function the number of the minimum, of Rastrigin's the
/// square of its distance from the lowest in whole numbers; -1 if it has not come to one.
fn ended(surface: Surface, start: [f64; 2]) -> Result<i64> {
    let plan = Descent { steps: 100, start, batch: None, noise: 0.0, seed: 0 };
    let way = descend(surface, &Optimizer::sgd(surface.lr()), &Schedule::default(), &plan)?;
    let Some(last) = way.points.last().filter(|last| way.finite && last.grad_norm < 0.5) else { return Ok(-1) };
    if surface == Surface::Rastrigin {
        let whole = last.w.map(|w| w.round() as i64);
        return Ok(whole[0] * whole[0] + whole[1] * whole[1]);
    }
    let near = |m: &[f64; 2]| (last.w[0] - m[0]).hypot(last.w[1] - m[1]) < 0.1;
    Ok(surface.minima().iter().position(near).map_or(-1, |i| i as i64))
}
