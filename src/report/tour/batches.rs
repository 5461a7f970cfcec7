//! What the size of a batch does to the way down, and to the machine.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::workshop::{Run, Workshop};
use crate::engine::Setup;
use crate::error::Result;
use crate::explore::{recommend, speed, with_batch};
use crate::report::history::{Tick, short};
use crate::run::{remember_limits, remembered_limits};

/// The network whose batch size changes.
const NETWORK: &str = "--hidden 32 --optimizer sgd";
/// The test loss that all batch sizes are to reach.
const TARGET: f64 = 0.6;

/// The length of a training: its epochs, and the steps from one evaluation to the next.
type Length = (u64, u64);

/// The trainings: the samples of a step, a rate that suits them, and the lengths for the whole tour and for the quick one.
const BATCHES: [(&str, f64, [Length; 2]); 4] = [
    ("1", 0.003, [(3, 500), (1, 250)]),
    ("10", 0.01, [(8, 100), (2, 25)]),
    ("100", 0.1, [(12, 20), (3, 5)]),
    ("full", 0.3, [(40, 1), (5, 1)]),
];

/// Training with one sample a step, with some, and with all; by steps, by epochs and by seconds.
pub(super) fn batches(shop: &mut Workshop) -> Result<Value> {
    let mut runs = Vec::new();
    for (batch, lr, [whole, quick]) in BATCHES {
        let (epochs, every) = shop.size(whole, quick);
        let fewer = shop.fewer();
        let flags = format!("{NETWORK} --batch {batch} --lr {lr} --epochs {epochs} --eval-every {every}steps{fewer}");
        let run = shop.train(&flags)?;
        let mut object = run.json(if batch == "full" { "all" } else { batch });
        object["lr"] = json!(lr);
        object["reached"] = reached(&run);
        runs.push(object);
    }
    let seconds = |run: &Value| run["reached"]["seconds"].as_f64();
    let first = runs
        .iter()
        .filter(|run| seconds(run).is_some())
        .min_by(|a, b| seconds(a).partial_cmp(&seconds(b)).unwrap_or(Ordering::Equal));
    let first = first.map(|run| json!({ "name": run["name"], "reached": run["reached"] }));
    Ok(json!({ "target": TARGET, "first": first, "runs": runs }))
}

/// When the run's test loss was first at the target or below: steps, epochs and seconds; null if never.
fn reached(run: &Run) -> Value {
    let losses = run.history.curve("test_loss").map(|curve| curve.points()).unwrap_or_default();
    let Some(first) = losses.iter().find(|point| point.mean <= TARGET) else { return Value::Null };
    let ticks = run.history.ticks();
    let steps = first.step as f64;
    let after = ticks.iter().position(|tick| tick.steps >= steps).unwrap_or(ticks.len() - 1).max(1);
    let (from, to) = (&ticks[after - 1], &ticks[after]);
    let share = (steps - from.steps) / (to.steps - from.steps);
    let at = |value: fn(&Tick) -> f64| value(from) + share * (value(to) - value(from));
    json!({ "steps": first.step, "epochs": short(at(|t| t.epochs)), "seconds": short(at(|t| t.seconds)) })
}

/// The samples a second and the seconds of a step of every batch size on this machine.
pub(super) fn speeds(shop: &mut Workshop) -> Result<Value> {
    let batches = shop.size("1,4,16,64,256,1024,4096", "1,32,512");
    let flags = format!("{NETWORK}{}", shop.fewer());
    let (config, setup) = shop.setup(&flags)?;
    let mut found = Vec::new();
    for batch in batches.split(',').filter_map(|batch| batch.parse().ok()) {
        let setup: Setup = with_batch(&setup, batch)?;
        let (mut engine, _) = config.engine(setup, shop.measuring())?;
        let limits = match remembered_limits(&engine.describe()) {
            Some(limits) => limits,
            None => {
                let limits = engine.measure_limits()?;
                remember_limits(&engine.describe(), limits);
                limits
            }
        };
        found.push(speed(engine.as_mut(), &limits)?);
    }
    let first = found[0].samples_per_second;
    let fastest = found.iter().max_by(|a, b| a.samples_per_second.total_cmp(&b.samples_per_second));
    let fastest = fastest.map(|s| json!({ "batch": s.batch, "factor": short(s.samples_per_second / first) }));
    let command = shop.on_device(&format!("thalweg bench batch {flags} --batches {batches}"));
    Ok(json!({
        "command": command,
        "batch": found.iter().map(|s| s.batch).collect::<Vec<_>>(),
        "samples_per_second": found.iter().map(|s| short(s.samples_per_second)).collect::<Vec<_>>(),
        "milliseconds": found.iter().map(|s| short(1e3 * s.seconds)).collect::<Vec<_>>(),
        "fastest": fastest,
        "enough": recommend(&found, &[], None).map(|r| r.batch),
    }))
}
