//! Random directions in weight space.

use std::str::FromStr;

use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::number::{Purpose, Stream};

/// What is scaled to the length that the weights have there, in a random direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Normalized {
    /// Each filter, which is a row of a weight matrix: `d_i ← d_i ‖w_i‖ / ‖d_i‖` (Li et al., 2018). Plots of networks that
    /// compute the same by other weights, as rescaled ReLU layers do, are then alike. Biases and the parameters of
    /// normalisations are a filter a tensor.
    #[default]
    Filter,
    /// Each tensor as a whole: `d ← d ‖w‖ / ‖d‖`.
    Layer,
    /// Nothing: every value is a standard normal deviate.
    None,
}

impl Normalized {
    /// The name: `filter`, `layer` or `none`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Layer => "layer",
            Self::None => "none",
        }
    }
}

impl FromStr for Normalized {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Self::Filter, Self::Layer, Self::None];
        let found = || Error::config("norm", format!("expected filter, layer or none, found {text:?}"));
        all.into_iter().find(|normalized| normalized.name() == text).ok_or_else(found)
    }
}

/// The way in which two random directions are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Random {
    /// What is scaled to the length of the weights. Default each filter.
    pub normalized: Normalized,
    /// Whether the second direction is made orthogonal to the first, filter by filter (or tensor by tensor), so that both keep
    /// their lengths; in a filter of one value it is then 0. Default false.
    pub orthogonal: bool,
    /// Whether biases and the parameters of normalisations are moved too. Default false.
    pub include_biases: bool,
    /// The seed. Default 0.
    pub seed: u64,
}

/// The least share of its length that a direction keeps when what is parallel to another is taken out of it; what is less is
/// rounding.
const LEAST: f64 = 1e-12;

impl Random {
    /// Draws two directions about `center`, both in the layout's order; running statistics do not move.
    pub(super) fn draw(&self, layout: &Layout, center: &[f64]) -> [Vec<f64>; 2] {
        let tensors = layout.unpack(center);
        let mut drawn = [tensors.clone(), tensors.clone()];
        for (t, weights) in tensors.iter().enumerate() {
            // A tensor has a stream of its own, so that others have no say in what is drawn of it.
            for (axis, of_axis) in drawn.iter_mut().enumerate() {
                let index = (axis as u64 + 1) << 32 | t as u64;
                let mut stream = Stream::new(self.seed, Purpose::Exploration, index);
                let is_moved = weights.shape.len() == 2 || self.include_biases;
                let value = |_: &f64| if is_moved { stream.normal() } else { 0.0 };
                of_axis[t].values = weights.values.iter().map(value).collect();
            }
            let filter = match (self.normalized, &weights.shape[..]) {
                (Normalized::Filter, [_, inputs]) => *inputs,
                _ => weights.values.len(),
            };
            let [x, y] = &mut drawn;
            let filters = x[t].values.chunks_mut(filter.max(1)).zip(y[t].values.chunks_mut(filter.max(1)));
            for ((x, y), weights) in filters.zip(weights.values.chunks(filter.max(1))) {
                if self.orthogonal {
                    make_orthogonal(x, y);
                }
                if self.normalized != Normalized::None {
                    scale_to(norm(weights), x);
                    scale_to(norm(weights), y);
                }
            }
        }
        drawn.map(|tensors| {
            let mut flat = layout.pack(&tensors).unwrap_or_else(|_| vec![0.0; layout.len]);
            flat[layout.trained..].fill(0.0);
            flat
        })
    }
}

/// The inner product of two vectors.
pub(super) fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

/// The length of a vector.
pub(super) fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// Scales a vector to a length; one of zeros stays.
pub(super) fn scale_to(length: f64, x: &mut [f64]) {
    let factor = length / norm(x);
    if factor.is_finite() {
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

/// Takes out of `y` what is parallel to `x`: twice, since once leaves rounding. What is nothing but that becomes 0.
pub(super) fn make_orthogonal(x: &[f64], y: &mut [f64]) {
    let (square, before) = (dot(x, x), norm(y));
    for _ in 0..2 {
        let share = if square > 0.0 { dot(x, y) / square } else { 0.0 };
        y.iter_mut().zip(x).for_each(|(y, x)| *y -= share * x);
    }
    if norm(y) <= LEAST * before {
        y.fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Init, Mlp, Norm};

    fn drawn(random: Random) -> (Layout, Vec<f64>, [Vec<f64>; 2]) {
        let model = Mlp { norm: Norm::Batch, ..Mlp::new(5, 3).hidden([7]) };
        let layout = Layout::new(&model);
        let mut center = layout.init(&model, Init::Pytorch, 3);
        // A row of zeros, as pruning leaves them.
        let mut tensors = layout.unpack(&center);
        tensors[0].values[10..15].fill(0.0);
        center = layout.pack(&tensors).unwrap();
        let directions = random.draw(&layout, &center);
        (layout, center, directions)
    }

    /// Against the definition, in plain loops over the tensors of PyTorch's shapes.
    #[test]
    fn every_filter_has_the_length_of_its_weights() {
        for orthogonal in [false, true] {
            let (layout, center, directions) = drawn(Random { orthogonal, ..Random::default() });
            let raw = Random { normalized: Normalized::None, ..Random::default() }.draw(&layout, &center);
            for (direction, raw) in directions.iter().zip(&raw) {
                let tensors = layout.unpack(&center).into_iter().zip(layout.unpack(direction)).zip(layout.unpack(raw));
                for ((weights, found), raw) in tensors {
                    let [rows, inputs] = weights.shape[..] else {
                        assert!(found.values.iter().all(|&d| d == 0.0), "{}", found.name);
                        continue;
                    };
                    for i in 0..rows {
                        let row = i * inputs..(i + 1) * inputs;
                        let length = |values: &[f64]| values.iter().map(|x| x.powi(2)).sum::<f64>().sqrt();
                        let (want, got) = (length(&weights.values[row.clone()]), length(&found.values[row.clone()]));
                        assert!((want - got).abs() <= 1e-14 * want, "{} {i}: {got}, not {want}", found.name);
                        assert_eq!(want == 0.0, weights.name == "0.weight" && i == 2);
                        let factor = want / length(&raw.values[row.clone()]);
                        let is_drawn = |(d, raw): (&f64, &f64)| (d - raw * factor).abs() <= 1e-14 * want;
                        let as_drawn = found.values[row.clone()].iter().zip(&raw.values[row]).all(is_drawn);
                        assert!(as_drawn || orthogonal && direction == &directions[1]);
                    }
                }
            }
            let [x, y] = &directions;
            assert_eq!(dot(x, y).abs() <= 1e-14 * norm(x) * norm(y), orthogonal);
        }
    }

    #[test]
    fn layers_and_biases_are_normalised_on_request() {
        let (layout, center, [x, y]) =
            drawn(Random { normalized: Normalized::Layer, include_biases: true, seed: 9, ..Random::default() });
        assert_ne!(x, y);
        for (weights, direction) in layout.unpack(&center).into_iter().zip(layout.unpack(&x)) {
            let is_statistic = ["running", "num_batches"].iter().any(|word| weights.name.contains(word));
            let want = if is_statistic { 0.0 } else { norm(&weights.values) };
            assert!((norm(&direction.values) - want).abs() <= 1e-14 * want, "{}", weights.name);
        }
    }
}
