//! Pictures and files of a run's curvature.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::curve::{Curve, Scale};
use super::overlay::Overlay;
use crate::disk::write_whole;
use crate::error::{Error, Result};
use crate::explore::curvature::LossShape;
use crate::optimizer::Optimizer;

/// The number of places at which densities are told.
const PLACES: usize = 1001;
/// The deviation of a point's bell as a share of the range, and by how many of them the range is wider than the points.
const DEVIATION: f64 = 0.005;
const MARGIN: f64 = 5.0;

/// Writes `curvature.json`, which holds `summary`, and the spectral densities of several sets of weights, each with its name, as
/// `density.csv` and `density.svg`: each point of a density spread out by 0.5 % of the range of them all. Returns their paths.
///
/// # Errors
/// A file cannot be written.
pub fn write_curvature(dir: &Path, summary: &Value, sets: &[(String, LossShape)]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let curves = densities(sets);
    let mut csv =
        std::iter::once("eigenvalue").chain(curves.iter().map(|curve| &curve.name[..])).collect::<Vec<_>>().join(",");
    for i in 0..PLACES {
        let values: Vec<String> = curves.iter().map(|curve| format!("{:e}", curve.points[i].1)).collect();
        csv += &format!("\n{:e},{}", curves[0].points[i].0, values.join(","));
    }
    let peak = curves.iter().flat_map(|curve| &curve.points).map(|point| point.1).fold(0.0, f64::max);
    // A tenth of what a single eigenvalue makes at its peak.
    let one = sets.iter().map(|(_, shape)| (shape.parameters as f64).recip()).fold(1.0, f64::min);
    let width = curves[0].points[PLACES - 1].0 - curves[0].points[0].0;
    let lowest = 0.1 * one / (DEVIATION * width * (2.0 * std::f64::consts::PI).sqrt());
    let picture = Overlay {
        title: "spectral density",
        by: "eigenvalue",
        value: "share of the eigenvalues per unit",
        scale: Scale::Log,
        shown: Some((lowest, 2.0 * peak)),
        curves,
    };
    let texts =
        [("curvature.json", format!("{summary:#}\n")), ("density.csv", csv + "\n"), ("density.svg", picture.svg()?)];
    let write = |(name, text): (&str, String)| {
        let path = dir.join(name);
        write_whole(&path, text.as_bytes()).map(|()| path)
    };
    texts.into_iter().map(write).collect()
}

/// The densities at equally spaced places over the range of them all.
fn densities(sets: &[(String, LossShape)]) -> Vec<Curve> {
    let nodes = || sets.iter().flat_map(|(_, shape)| shape.density.nodes.iter().copied());
    let (low, high) = (nodes().fold(f64::INFINITY, f64::min), nodes().fold(f64::NEG_INFINITY, f64::max));
    // A single point has a range as well.
    let range = (high - low).max(1e-3 * high.abs()).max(1e-9);
    let deviation = DEVIATION * range;
    let (first, width) = (low - MARGIN * deviation, range + 2.0 * MARGIN * deviation);
    let place = |i: usize| first + width * i as f64 / (PLACES - 1) as f64;
    let curve = |(name, shape): &(String, LossShape)| Curve {
        name: name.clone(),
        points: (0..PLACES).map(|i| (place(i), shape.density.at(place(i), deviation))).collect(),
        ..Curve::default()
    };
    sets.iter().map(curve).collect()
}

/// Draws the largest eigenvalue along a run out of the lines of its metrics, as `curvature.svg` in the run's folder, beside the
/// highest with which plain gradient descent by its `optimizer` does not run away from a minimum, where that is known: the edge
/// of stability (Cohen et al., 2021); an ascent before each step has another edge, and no `optimizer` here. Returns the file's
/// path; none where the eigenvalue was never measured.
///
/// # Errors
/// The file cannot be written.
pub fn write_edge(dir: &Path, metrics: &[Value], optimizer: Option<&Optimizer>) -> Result<Option<PathBuf>> {
    let measured = || metrics.iter().filter(|line| !line["curvature"].is_null());
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap_or(f64::NAN);
    let curve = |name: &str, value: &dyn Fn(&Value) -> f64| Curve {
        name: name.into(),
        points: measured().map(|line| (number(line, "step"), value(line))).collect(),
        ..Curve::default()
    };
    let mut curves = vec![curve("largest eigenvalue", &|line| number(line, "curvature"))];
    if curves[0].points.is_empty() {
        return Ok(None);
    }
    let edge = |line: &Value| edge(optimizer?, number(line, "lr"), number(line, "momentum"));
    if let Some(name) = measured().next().and_then(edge).map(|(name, _)| name) {
        curves.push(curve(name, &|line| edge(line).map_or(f64::NAN, |(_, value)| value)));
    }
    // A rate that falls to 0 has an edge without end.
    let highest = curves[0].points.iter().map(|point| point.1).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let lowest = curves[0].points.iter().map(|point| point.1).filter(|y| y.is_finite()).fold(0.0, f64::min);
    let most = curves.last().map_or(highest, |edge| edge.points.iter().map(|point| point.1).fold(highest, f64::max));
    let top = most.min(3.0 * highest).max(1e-9);
    let picture = Overlay {
        title: "largest eigenvalue of the Hessian along the run",
        by: "step",
        value: "eigenvalue",
        scale: Scale::Linear,
        shown: Some((lowest, 1.1 * top)),
        curves,
    };
    let path = dir.join("curvature.svg");
    write_whole(&path, picture.svg()?.as_bytes())?;
    Ok(Some(path))
}

/// The name and value of the eigenvalue from which on steps of this rate and momentum grow: 2 / lr, with momentum β
/// `(2 + 2 β) / lr`, and with Nesterov's `(2 + 2 β) / ((1 + 2 β) lr)` (Cohen et al., 2021, appendix B); weight decay adds to the
/// curvature. None for rules whose steps are not in proportion to the gradient.
fn edge(optimizer: &Optimizer, lr: f64, momentum: f64) -> Option<(&'static str, f64)> {
    let Optimizer::Sgd { nesterov, dampening, weight_decay, .. } = *optimizer else { return None };
    let (name, edge) = match (momentum > 0.0, nesterov) {
        (false, _) => ("2 / lr", 2.0),
        (true, false) => ("(2 + 2 momentum) / lr", (2.0 + 2.0 * momentum) / (1.0 - dampening)),
        (true, true) => ("(2 + 2 momentum) / (1 + 2 momentum) lr", (2.0 + 2.0 * momentum) / (1.0 + 2.0 * momentum)),
    };
    Some((name, edge / lr - weight_decay))
}
