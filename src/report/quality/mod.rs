//! What a report says of the predictions of a run.
//!
//! [`quality`] makes one JSON object. Numbers that are not finite are `null`, and as `mean`, `deviation` and `replicas` text, as in
//! `summary.json`.
//!
//! | key | what it holds |
//! | --- | --- |
//! | `part`, `samples`, `replicas` | the part's name, the number of its samples, and that of the replicas, whose predictions count together |
//! | `kind`, `loss` | `classes` or `values`; `cross_entropy` or `mse` |
//! | `class_count`, `classes` | the number of classes; the name of each by its number; of more than 100 only those that are spoken of |
//! | `targets` | the names of the targets of a regression, of at most 8 |
//! | `columns` | the names of the columns of a table, of at most 20, and their number, `column_count`; none of pictures |
//! | `worst_samples` | the samples that some weights got most wrong: `index`, the place in the file; `label`, or the `targets`; of a table the `values` of its columns |
//! | `worst_pictures` | where the data are pictures: these samples' as a sheet |
//! | `weights` | for each set of weights that the run left, the last ones first, an object of the keys below |
//! | ⤷ `name` | `last`, `swa`, `ema`, `best`, or `snapshots` for the ensemble |
//! | ⤷ `loss`, `accuracy`, `top5_accuracy`, `calibration_error` | `mean`, `deviation` and each of the `replicas`; without those that the data do not have |
//! | ⤷ `rmse`, `mae`, `r2` | the same of a regression, in the units of the targets |
//! | ⤷ `not_finite` | the number of predictions that are no numbers |
//! | ⤷ `scores` | of a classification: what [`ClassScores`](crate::score::ClassScores) has, each of `per_class` with its number as `class`; above 100 classes no `confusion`, and of `per_class` the 50 of the lowest F1 |
//! | ⤷ `confused` | of a classification: the 10 most frequent confusions, `label`, `prediction`, `count` |
//! | ⤷ `per_target` | of a regression, for each target: `rmse`, `mae`, `r2`; `residuals`, prediction − target, as `edges` and `counts` of bins; `points` as lists `target` and `prediction`, of at most 2,000 predictions with all extremes among them |
//! | ⤷ `worst` | the predictions of the highest loss, at most 24: `sample`, the place in `worst_samples`; `loss`; of a classification `prediction`, its probability `confidence`, and `probability`, that of the label; of a regression `prediction`, a list |
//! | ⤷ `filters` | the rows of the first layer's weight, those of the largest norm in the last weights, at most 64: `units`, their `norms`, and a sheet of the rows as pictures, or, of at most 64 features, `features`, their names, and `weights`, a list a unit; `is_output`, whether these units are the network's outputs; of the first replica; none of an ensemble |
//!
//! A sheet is a PNG as `png`, a data URI, of pictures of `width` times `height` pixels, `columns` in a row, the later ones below. In one
//! of filters middle grey is 0, and black and white are ∓ the largest magnitude in a unit's row.

mod classes;
mod features;
mod filters;
mod number;
mod pictures;
mod values;
mod worst;

use serde_json::{Value, json};

use crate::data::Targets;
use crate::engine::Evaluation;
use crate::error::Result;
use crate::run::{Trained, Which, statistic};

/// The scripts of a [`Page`](super::page::Page) that draw the object: `thalweg.quality(object)` adds a section.
pub const SCRIPTS: [&str; 3] =
    [include_str!("../page/plot.js"), include_str!("../page/heatmap.js"), include_str!("../page/quality.js")];

/// How good the predictions of a run are over a part, the last that is there where none is named, under each set of weights that it
/// left: the object that the [module](self) describes.
///
/// # Errors
/// No such part, samples without targets; the device is lost.
pub fn quality(trained: &mut Trained, part: Option<&str>) -> Result<Value> {
    let (name, part) = trained.part(part)?;
    let targets = trained.known_targets(part)?;
    let sets: Vec<Which> = trained.weights().to_vec();
    let filters = filters::Filters::of(trained, sets.len())?;
    let (mut weights, mut worst) = (Vec::new(), Vec::new());
    for which in &sets {
        let evaluations = trained.evaluate(part, which)?;
        let outputs = trained.predict_part(part, which)?;
        let setup = trained.setup();
        let not_finite =
            outputs.iter().flat_map(|of| of.chunks_exact(setup.model.outputs())).filter(|row| has_hole(row));
        let mut object = json!({ "name": which.name, "not_finite": not_finite.count() });
        let by_replica = |f: fn(&Evaluation) -> f64| statistic(&evaluations.iter().map(f).collect::<Vec<_>>());
        object["loss"] = by_replica(|evaluation| evaluation.loss);
        match &targets {
            Targets::Labels(labels) => {
                object["accuracy"] = by_replica(|evaluation| evaluation.accuracy);
                classes::describe(&mut object, labels, &outputs, setup.loss);
            }
            Targets::Values { width, values } => values::describe(&mut object, values, *width, &outputs, sets.len()),
        }
        worst.push(worst::worst(&targets, &outputs, setup));
        object["filters"] = filters.under(trained, which)?;
        weights.push(object);
    }
    let setup = trained.setup();
    let dataset = &setup.dataset;
    let kind = if dataset.is_classification() { "classes" } else { "values" };
    let mut object = json!({
        "part": name, "samples": targets.len(), "replicas": setup.replicas, "kind": kind, "loss": setup.loss,
    });
    let shown = worst::share(&mut worst, pictures::most(dataset));
    worst::describe(&mut object, dataset, (part, trained.samples(part)?), &targets, &shown)?;
    for (of_weights, predictions) in weights.iter_mut().zip(worst) {
        of_weights["worst"] = predictions.into_iter().map(|prediction| prediction.json(&shown)).collect();
    }
    object["weights"] = weights.into();
    match targets {
        Targets::Labels(_) => classes::name(&mut object, dataset),
        Targets::Values { .. } => object["targets"] = json!(values::names(dataset)),
    }
    Ok(object)
}

/// Whether an prediction is no number.
fn has_hole(row: &[f64]) -> bool {
    row.iter().any(|z| !z.is_finite())
}
