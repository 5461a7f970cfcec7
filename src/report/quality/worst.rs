//! The samples that a network got most wrong.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::features;
use super::number::{rounded, shortened};
use super::pictures;
use super::values::MOST_TARGETS;
use crate::data::{Dataset, Part, Samples, Targets};
use crate::engine::Setup;
use crate::error::Result;
use crate::loss::{Loss, softmax};
use crate::score::largest;

/// The most samples that are shown of one set of weights.
const MOST: usize = 24;
/// The most columns of a table.
const MOST_COLUMNS: usize = 20;

/// The prediction for a sample, and how wrong it is.
pub struct Prediction {
    /// The sample's place in its part.
    pub sample: usize,
    json: Value,
}

impl Prediction {
    /// The object, its sample being named by the place in `samples`, ascending.
    pub fn json(self, samples: &[usize]) -> Value {
        let mut object = self.json;
        object["sample"] = json!(samples.partition_point(|&sample| sample < self.sample));
        object
    }
}

/// The predictions of the highest loss, the mean over the replicas, the highest first; a loss that is no number is higher than any.
pub fn worst(targets: &Targets, outputs: &[Vec<f64>], setup: &Setup) -> Vec<Prediction> {
    let width = setup.model.outputs();
    let rows = |sample: usize| outputs.iter().map(move |of_replica| &of_replica[sample * width..][..width]);
    let mean = |sample: usize| {
        let sum: f64 = rows(sample).map(|row| loss(targets, sample, row, setup)).sum();
        sum / outputs.len() as f64
    };
    let mut losses: Vec<(f64, usize)> = (0..targets.len()).map(|sample| (mean(sample), sample)).collect();
    let height = |loss: f64| if loss.is_nan() { f64::INFINITY } else { loss };
    let order = |a: &(f64, usize), b: &(f64, usize)| height(b.0).total_cmp(&height(a.0)).then(a.1.cmp(&b.1));
    if losses.len() > MOST {
        losses.select_nth_unstable_by(MOST, order);
        losses.truncate(MOST);
    }
    losses.sort_by(order);
    let told = |(loss, sample): (f64, usize)| {
        let mut json = prediction(targets, sample, rows(sample), setup.loss);
        json["loss"] = rounded(loss);
        Prediction { sample, json }
    };
    losses.into_iter().map(told).collect()
}

/// The loss of one sample without label smoothing: `−ln softmax(z)` of its class, or the mean of `(z − y)²`, in the units in which the
/// network learns.
fn loss(targets: &Targets, sample: usize, row: &[f64], setup: &Setup) -> f64 {
    let mean = |sum: f64| sum / row.len() as f64;
    match targets {
        Targets::Labels(labels) if setup.loss == Loss::CrossEntropy => {
            let top = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.iter().map(|z| (z - top).exp()).sum();
            top + sum.ln() - row[labels[sample] as usize]
        }
        Targets::Labels(labels) => {
            let square = |(c, z): (usize, &f64)| (z - f64::from(c == labels[sample] as usize)).powi(2);
            mean(row.iter().enumerate().map(square).sum())
        }
        Targets::Values { width, values } => {
            let scaling = setup.dataset.target_scaling.as_ref();
            let unit = |j: usize| scaling.map_or(1.0, |scaling| scaling.deviation[j]);
            let square = |(j, z): (usize, &f64)| ((z - values[sample * width + j]) / unit(j)).powi(2);
            mean(row.iter().enumerate().map(square).sum())
        }
    }
}

/// The prediction for a sample, the mean over the replicas, with its probability and that of the label where there are any.
fn prediction<'a>(targets: &Targets, sample: usize, rows: impl Iterator<Item = &'a [f64]>, loss: Loss) -> Value {
    let has_probabilities = loss == Loss::CrossEntropy;
    let (mut sum, mut count) = (Vec::new(), 0.0);
    for row in rows {
        let mut row = row.to_vec();
        if has_probabilities {
            let width = row.len();
            softmax(&mut row, width);
        }
        sum.resize(row.len(), 0.0);
        sum.iter_mut().zip(row).for_each(|(sum, y)| *sum += y);
        count += 1.0;
    }
    let mean: Vec<f64> = sum.into_iter().map(|sum| sum / count).collect();
    let Targets::Labels(labels) = targets else {
        return json!({ "prediction": mean.into_iter().take(MOST_TARGETS).map(rounded).collect::<Vec<_>>() });
    };
    let class = largest(&mean);
    if !has_probabilities {
        return json!({ "prediction": class });
    }
    json!({ "prediction": class, "confidence": rounded(mean[class]), "probability": rounded(mean[labels[sample] as usize]) })
}

/// Shortens all lists alike until they name at most `most` different samples, and returns these, ascending.
pub fn share(lists: &mut [Vec<Prediction>], most: usize) -> Vec<usize> {
    let mut samples = BTreeSet::new();
    for count in (1..=MOST).rev() {
        samples = lists
            .iter()
            .flat_map(|predictions| predictions.iter().take(count))
            .map(|prediction| prediction.sample)
            .collect();
        if samples.len() <= most || count == 1 {
            lists.iter_mut().for_each(|predictions| predictions.truncate(count));
            break;
        }
    }
    samples.into_iter().collect()
}

/// Adds what is known of these samples.
///
/// # Errors
/// Too little memory.
pub fn describe(
    object: &mut Value,
    dataset: &Dataset,
    (part, samples): (Part, &Samples),
    targets: &Targets,
    worst: &[usize],
) -> Result<()> {
    let places = dataset.rows(part);
    let mut columns = Vec::new();
    if pictures::are_pictures(dataset.shape) {
        object["worst_pictures"] = pictures::of_samples(dataset, &samples.features, worst)?;
    } else {
        columns = features::columns(dataset);
        object["column_count"] = columns.len().into();
        columns.truncate(MOST_COLUMNS);
        object["columns"] = columns.iter().map(|column| shortened(&column.name)).collect();
    }
    let of_sample = |&sample: &usize| {
        let mut about = json!({ "index": places[sample] });
        match targets {
            Targets::Labels(labels) => about["label"] = labels[sample].into(),
            Targets::Values { width, values } => {
                about["targets"] =
                    values[sample * width..][..*width].iter().take(MOST_TARGETS).map(|&y| rounded(y)).collect();
            }
        }
        if !columns.is_empty() {
            about["values"] = features::values(&columns, &samples.features, sample * dataset.width()).into();
        }
        about
    };
    object["worst_samples"] = worst.iter().map(of_sample).collect();
    Ok(())
}
