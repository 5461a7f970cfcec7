//! The weights of the first layer, a row a unit.

use image::codecs::png::FilterType;
use serde_json::{Value, json};

use super::features;
use super::number::{rounded, shortened};
use super::pictures::{Form, are_pictures};
use crate::engine::stride;
use crate::error::Result;
use crate::run::{Trained, Which};

/// The most units, and the most features of a table.
const MOST_UNITS: usize = 64;
const MOST_FEATURES: usize = 64;
/// The most weights as pixels, and as numbers, of all sets of weights together.
const MOST_PIXELS: usize = 200_000;
const MOST_NUMBERS: usize = 10_000;
/// The levels of grey of a filter, an odd number, so that one of them is 0; few, since noise cannot be packed.
const LEVELS: f64 = 15.0;

/// The units of the first layer that are shown.
pub struct Filters(Vec<usize>);

impl Filters {
    /// The units of the largest norms in the last weights of the first replica, so many as there is room for under each of
    /// `sets` sets of weights; none of a table of many features.
    ///
    /// # Errors
    /// The device is lost.
    pub fn of(trained: &mut Trained, sets: usize) -> Result<Self> {
        let dataset = &trained.setup().dataset;
        let each = if are_pictures(dataset.shape) {
            MOST_PIXELS / sets / Form::of(dataset.shape).bytes()
        } else if dataset.width() <= MOST_FEATURES {
            MOST_NUMBERS / sets / dataset.width()
        } else {
            return Ok(Self(Vec::new()));
        };
        let rows = rows(trained, "last")?;
        let mut units: Vec<usize> = (0..rows.len()).collect();
        units.sort_by(|&i, &j| norm(&rows[j]).total_cmp(&norm(&rows[i])));
        units.truncate(each.clamp(1, MOST_UNITS));
        Ok(Self(units))
    }

    /// The rows of these units in one set of weights; nothing for an ensemble.
    ///
    /// # Errors
    /// The device is lost.
    pub fn under(&self, trained: &mut Trained, which: &Which) -> Result<Value> {
        if self.0.is_empty() || which.name == "snapshots" {
            return Ok(Value::Null);
        }
        let mut rows = rows(trained, &which.name)?;
        let rows: Vec<Vec<f64>> = self.0.iter().map(|&unit| std::mem::take(&mut rows[unit])).collect();
        let dataset = &trained.setup().dataset;
        let mut object = if are_pictures(dataset.shape) {
            let form = Form::of(dataset.shape);
            // A filter of PNG's own helps where neighbours are alike.
            form.sheet(&rows.iter().map(|row| picture(form, row)).collect::<Vec<_>>(), FilterType::NoFilter)?
        } else {
            let names: Vec<String> = features::names(dataset).iter().map(|name| shortened(name)).collect();
            let weights: Vec<Vec<Value>> = rows.iter().map(|row| row.iter().map(|&w| rounded(w)).collect()).collect();
            json!({ "features": names, "weights": weights })
        };
        object["units"] = json!(self.0);
        object["is_output"] = json!(trained.layout().layers.len() == 1);
        object["norms"] = rows.iter().map(|row| rounded(norm(row))).collect();
        Ok(object)
    }
}

/// The rows of the first layer's weight, a unit each.
fn rows(trained: &mut Trained, name: &str) -> Result<Vec<Vec<f64>>> {
    let values = trained.values(name, 0)?;
    let layer = trained.layout().layers[0];
    let row =
        |unit: usize| (0..layer.inputs).map(|i| values[layer.weight + i * stride(layer.outputs) + unit]).collect();
    Ok((0..layer.outputs).map(row).collect())
}

fn norm(row: &[f64]) -> f64 {
    row.iter().map(|w| w * w).sum::<f64>().sqrt()
}

/// A row as a picture, in which 0 is in the middle.
fn picture(form: Form, row: &[f64]) -> Vec<u8> {
    let largest = row.iter().fold(0.0f64, |largest, w| largest.max(w.abs()));
    let half = (LEVELS - 1.0) / 2.0;
    let byte = |w: f64| {
        let level = if largest > 0.0 { (w / largest * half).round() } else { 0.0 };
        ((level + half) * 255.0 / (LEVELS - 1.0)).round() as u8
    };
    form.pixels(|i| row[i], byte)
}
