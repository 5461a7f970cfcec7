//! Rates that move, and runs that end in time.

use serde_json::{Value, json};

use super::workshop::{Run, Workshop};
use crate::error::Result;
use crate::report::history::short;

/// The network whose rate moves. Dropout keeps it from learning its samples by heart.
const NETWORK: &str = "--hidden 32 --dropout 0.2 --optimizer sgd --batch 25";

/// Trains the network with a rate and a schedule, evaluated four times an epoch.
fn scheduled(shop: &mut Workshop, epochs: u64, rate: &str) -> Result<Run> {
    let (every, fewer) = (shop.per_epoch() / 4, shop.fewer());
    shop.train(&format!("{NETWORK} --epochs {epochs} --eval-every {every}steps {rate}{fewer}"))
}

/// The run as the page knows it, with the line that shows its rate alone, and what came of it.
fn told(run: &Run, name: &str, rate: &str) -> Value {
    let mut object = run.json(name);
    object["schedule"] = format!("thalweg schedule {rate} --steps {}", run.trainer.total_steps()).into();
    object["ends"] = ends(run);
    object
}

/// The test loss at the end of a run, and its lowest.
fn ends(run: &Run) -> Value {
    let losses: Vec<f64> =
        run.history.curve("test_loss").map(|c| c.points()).unwrap_or_default().iter().map(|p| p.mean).collect();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    json!({ "last": losses.last().map(|&loss| short(loss)), "lowest": short(lowest) })
}

/// A constant rate, and three ways in which a rate falls.
pub(super) fn falling(shop: &mut Workshop) -> Result<Value> {
    let epochs: u64 = shop.size(8, 2);
    let steps = epochs * shop.per_epoch();
    let third = steps.div_ceil(3);
    // To a hundredth of the first rate at the end.
    let gamma = format!("{:.5}", 0.01f64.powf(1.0 / steps as f64));
    let kinds = [
        ("constant", "constant".to_string()),
        ("step", format!("step --set schedule.step_size={third}")),
        ("exponential", format!("exponential --set schedule.gamma={gamma}")),
        ("cosine", "cosine".to_string()),
    ];
    let mut runs = Vec::new();
    for (name, schedule) in kinds {
        let rate = format!("--lr 0.08 --schedule {schedule}");
        runs.push(told(&scheduled(shop, epochs, &rate)?, name, &rate));
    }
    let best = runs
        .iter()
        .min_by(|a, b| loss(a).total_cmp(&loss(b)))
        .map(|run| json!({ "name": run["name"], "ends": run["ends"] }));
    Ok(json!({ "runs": runs, "best": best, "third": third }))
}

fn loss(run: &Value) -> f64 {
    run["ends"]["last"].as_f64().unwrap_or(f64::INFINITY)
}

/// Triangles of one height, and of half the height each time.
pub(super) fn cyclic(shop: &mut Workshop) -> Result<Value> {
    let epochs = shop.size(6, 3);
    let up = epochs * shop.per_epoch() / 6;
    let mut runs = Vec::new();
    for mode in ["triangular", "triangular2"] {
        let schedule = format!(
            "--lr 0.005 --schedule cyclic --set schedule.max_lr=0.1 --set schedule.step_size_up={up} \
             --set schedule.mode={mode} --set schedule.cycle_momentum=false"
        );
        runs.push(told(&scheduled(shop, epochs, &schedule)?, mode, &schedule));
    }
    Ok(json!({ "runs": runs, "up": up }))
}

/// A cosine that begins anew, each time for twice as long.
pub(super) fn restarts(shop: &mut Workshop) -> Result<Value> {
    let epochs = shop.size(7, 7);
    let first = epochs * shop.per_epoch() / 7;
    let schedule =
        format!("--lr 0.1 --schedule cosine_warm_restarts --set schedule.t_0={first} --set schedule.t_mult=2");
    let mut object = told(&scheduled(shop, epochs, &schedule)?, "warm restarts", &schedule);
    object["first"] = json!(first);
    Ok(object)
}

/// A run that overfits, ended in time, and the same run without an end.
pub(super) fn early(shop: &mut Workshop) -> Result<Value> {
    let epochs = shop.size(30, 16);
    let flags = format!(
        "--validation {} --hidden 64 --batch 50 --optimizer adam --lr 0.001 --epochs {epochs}",
        shop.size(0.7, 0.9)
    );
    let whole = shop.train(&flags)?;
    let stopped = shop.train(&format!("{flags} --patience 5 --restore-best"))?;
    let per_epoch = stopped.trainer.steps_per_epoch();
    let losses = whole.history.curve("validation_loss").map(|curve| curve.points()).unwrap_or_default();
    let end = stopped.trainer.progress().epoch;
    let best = losses.iter().take(end as usize).min_by(|a, b| a.mean.total_cmp(&b.mean));
    Ok(json!({
        "whole": whole.json("to the end"),
        "stopped": stopped.json("ended early"),
        "per_epoch": per_epoch,
        "best": best.map(|point| json!({ "epoch": point.step / per_epoch, "loss": short(point.mean) })),
        "end": end,
        "epochs": epochs,
        "last": losses.last().map(|point| short(point.mean)),
        "train_last": whole.history.curve("train_loss").and_then(|c| c.last()).map(|point| short(point.mean)),
    }))
}

/// A rate that is reduced when the validation loss no longer falls.
pub(super) fn plateau(shop: &mut Workshop) -> Result<Value> {
    let (epochs, held_out) = shop.size((16, 0.2), (6, 0.9));
    let run = shop.train(&format!(
        "{NETWORK} --validation {held_out} --lr 0.05 --epochs {epochs} --schedule plateau --set schedule.factor=0.3 \
         --set schedule.patience=1"
    ))?;
    let rates: Vec<(u64, f64)> =
        run.history.curve("lr").map(|c| c.points()).unwrap_or_default().iter().map(|p| (p.step, p.mean)).collect();
    let falls: Vec<u64> = rates.windows(2).filter(|pair| pair[1].1 < pair[0].1).map(|pair| pair[1].0).collect();
    let mut object = run.json("plateau");
    object["falls"] = json!(falls);
    object["per_epoch"] = json!(run.trainer.steps_per_epoch());
    object["last_lr"] = json!(rates.last().map(|rate| rate.1));
    Ok(object)
}
