//! The last evaluations of all weights, side by side.

use thalweg::engine::Slot;
use thalweg::report::History;
use thalweg::report::history::{Curve, MarkKind, Point};

use super::facts::Facts;
use crate::cli::{EVALUATION_HEADER, table};

const LOSS: &str = "_loss";

/// The lines of a table: loss and accuracy of every part and average when it was evaluated last, and of the best weights.
pub fn lines(facts: &Facts, history: &History) -> Vec<String> {
    let mut rows = vec![EVALUATION_HEADER.map(String::from).to_vec()];
    let parts = history.curves().iter().filter_map(|curve| curve.name.strip_suffix(LOSS));
    rows.extend(parts.map(|part| row(facts, history, part, part, Curve::last)));
    rows.extend(best(facts, history));
    table(&rows).lines().map(String::from).collect()
}

/// A row for one part, of the points that `pick` takes of its curves.
fn row(
    facts: &Facts,
    history: &History,
    name: &str,
    part: &str,
    pick: impl Fn(&Curve) -> Option<Point>,
) -> Vec<String> {
    let mut row = vec![name.replace('_', " ")];
    for metric in ["loss", "accuracy"] {
        let point = history.curve(&format!("{part}_{metric}")).and_then(&pick);
        let several = facts.replicas > 1;
        row.push(point.map_or(String::new(), |point| format!("{:.4}", point.mean)));
        row.push(point.filter(|_| several).map_or(String::new(), |point| format!("± {:.4}", point.deviation)));
    }
    row
}

/// The rows of the best weights, as they were evaluated when they were found.
fn best(facts: &Facts, history: &History) -> Vec<Vec<String>> {
    let Some(metric) = facts.metric else { return Vec::new() };
    let mark = history.marks().iter().rfind(|mark| mark.kind == MarkKind::Best);
    let Some(step) = mark.map(|mark| mark.step) else { return Vec::new() };
    let average = if metric.slot() == Slot::Live { String::new() } else { format!("{}_", metric.slot().name()) };
    let at = |curve: &Curve| curve.points().into_iter().find(|point| point.step == step);
    let of = |part: &&str| history.curve(&format!("{average}{part}_loss")).is_some();
    let row = |part: &str| row(facts, history, &format!("best {part}"), &format!("{average}{part}"), at);
    ["validation", "test"].iter().filter(|part| of(part)).map(|part| row(part)).collect()
}
