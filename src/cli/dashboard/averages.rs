//! The last evaluations of all weights, side by side.

use thalweg::engine::Slot;
use thalweg::report::History;
use thalweg::report::history::{Curve, MarkKind, Point};

use super::facts::Facts;
use crate::cli::epochs::in_six;
use crate::cli::table;

/// The weights that may be evaluated, each with the start of its curves' names.
const WEIGHTS: [(&str, &str); 4] = [("last", ""), ("swa", "swa_"), ("ema", "ema_"), ("snapshots", "snapshots_")];
const PARTS: [&str; 3] = ["train", "validation", "test"];

/// The lines of a table: a row for each of the weights, with loss and accuracy of every part when it was evaluated last, and one
/// for the best as they were when they were found. Deviations over replicas are left out where they would make it wider than
/// `most` characters.
pub fn lines(facts: &Facts, history: &History, most: usize) -> Vec<String> {
    let narrow = rows(facts, history, false);
    if facts.replicas == 1 {
        return narrow;
    }
    let wide = rows(facts, history, true);
    if wide.iter().all(|line| line.chars().count() <= most) { wide } else { narrow }
}

fn rows(facts: &Facts, history: &History, has_deviations: bool) -> Vec<String> {
    let has = |part: &str| WEIGHTS.iter().any(|(_, start)| history.curve(&format!("{start}{part}_loss")).is_some());
    let parts: Vec<&str> = PARTS.into_iter().filter(|part| has(part)).collect();
    let mut heading = vec![String::from(if facts.is_classification { "loss, accuracy" } else { "loss" })];
    for part in &parts {
        heading.push(part.to_string());
        heading.extend(has_deviations.then(String::new));
        heading.extend(facts.is_classification.then(String::new));
    }
    let row = |name: &str, start: &str, pick: &dyn Fn(&Curve) -> Option<Point>| {
        let mut row = vec![name.to_string()];
        for part in &parts {
            let point = |metric: &str| history.curve(&format!("{start}{part}_{metric}")).and_then(pick);
            let loss = point("loss");
            row.push(loss.map_or(String::new(), |loss| in_six(loss.mean)));
            let deviation = loss.map_or(String::new(), |loss| format!("± {}", in_six(loss.deviation)));
            row.extend(has_deviations.then_some(deviation));
            let accuracy = point("accuracy").map_or(String::new(), |accuracy| in_six(accuracy.mean));
            row.extend(facts.is_classification.then_some(accuracy));
        }
        row
    };
    let mut rows: Vec<Vec<String>> = WEIGHTS.iter().map(|(name, start)| row(name, start, &Curve::last)).collect();
    if let Some((start, step)) = best(facts, history) {
        rows.push(row("best", &start, &|curve| curve.points().into_iter().find(|point| point.step == step)));
    }
    rows.retain(|row| row.iter().skip(1).any(|cell| !cell.is_empty()));
    rows.insert(0, heading);
    table(&rows).lines().map(String::from).collect()
}

/// The weights whose metric is watched, by the start of their curves' names, and the step after which they were the best.
fn best(facts: &Facts, history: &History) -> Option<(String, u64)> {
    let slot = facts.metric?.slot();
    let mark = history.marks().iter().rfind(|mark| mark.kind == MarkKind::Best)?;
    let start = if slot == Slot::Live { String::new() } else { format!("{}_", slot.name()) };
    Some((start, mark.step))
}
