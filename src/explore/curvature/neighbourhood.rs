//! Sets of weights about others.

use crate::engine::{Layout, stride};
use crate::spectrum::{Parameters, Random};

/// The perturbations that lead to the neighbours of weights.
pub(super) enum Neighbourhood {
    /// A box: the perturbation of each parameter is at most this.
    Box(Vec<f64>),
    /// Filters, as places in the flat vector, and the length of each one's perturbation at most; all else stays where it is.
    Filters(Vec<(Vec<usize>, f64)>),
}

impl Neighbourhood {
    /// The box of Keskar et al. (2017) about `weights`: `|zᵢ| ≤ ε (|wᵢ| + 1)`.
    pub fn of_box(weights: &[f64], epsilon: f64, parameters: &Parameters) -> Self {
        let mut widths: Vec<f64> = weights.iter().map(|w| epsilon * (w.abs() + 1.0)).collect();
        parameters.keep(&mut widths);
        Self::Box(widths)
    }

    /// The filters of `weights`, each moved by at most `share` of its own length.
    pub fn of_filters(weights: &[f64], share: f64, layout: &Layout) -> Self {
        let length = |filter: &[usize]| filter.iter().map(|&i| weights[i].powi(2)).sum::<f64>().sqrt();
        let all = filters(layout).map(|filter| {
            let length = share * length(&filter);
            (filter, length)
        });
        Self::Filters(all.collect())
    }

    /// The perturbation that leads furthest along a slope.
    pub fn furthest(&self, slope: &[f64]) -> Vec<f64> {
        match self {
            Self::Box(widths) => {
                slope.iter().zip(widths).map(|(g, width)| if *g == 0.0 { 0.0 } else { width * g.signum() }).collect()
            }
            Self::Filters(filters) => {
                let mut z = vec![0.0; slope.len()];
                for (filter, length) in filters {
                    let norm = filter.iter().map(|&i| slope[i].powi(2)).sum::<f64>().sqrt();
                    let factor = if norm > 0.0 { length / norm } else { 0.0 };
                    filter.iter().for_each(|&i| z[i] = factor * slope[i]);
                }
                z
            }
        }
    }

    /// The random numbers that make a random perturbation.
    pub fn deviates(&self, random: &mut Random) -> Vec<f64> {
        match self {
            Self::Box(_) => random.uniform(),
            Self::Filters(_) => random.normal(),
        }
    }

    /// The perturbation that they make: anywhere in the box, or of filters in any direction, by their whole lengths.
    pub fn at(&self, deviates: &[f64]) -> Vec<f64> {
        match self {
            Self::Box(widths) => deviates.iter().zip(widths).map(|(u, width)| u * width).collect(),
            Self::Filters(_) => self.furthest(deviates),
        }
    }

    /// The perturbation of one step up the slope in the ball that has the shape of this set: `ρ T² g / |T g|`, where T is 1, or
    /// each filter's length for the share 1 (Foret et al., 2021; Kwon et al., 2021). Parameters that stay where they are must
    /// have a slope of 0.
    pub fn ascent(&self, slope: &[f64], share: f64, rho: f64) -> Vec<f64> {
        let mut scale = vec![1.0; slope.len()];
        if let Self::Filters(filters) = self {
            scale.fill(0.0);
            filters.iter().for_each(|(filter, length)| filter.iter().for_each(|&i| scale[i] = length / share));
        }
        let norm = slope.iter().zip(&scale).map(|(g, t)| (t * g).powi(2)).sum::<f64>().sqrt();
        let factor = if norm > 0.0 { rho / norm } else { 0.0 };
        slope.iter().zip(&scale).map(|(g, t)| factor * t * t * g).collect()
    }
}

/// The filters of a perceptron, the rows of its weight matrices, as places in the flat vector.
fn filters(layout: &Layout) -> impl Iterator<Item = Vec<usize>> {
    layout.layers.iter().flat_map(|layer| {
        let row = move |o: usize| (0..layer.inputs).map(|i| layer.weight + i * stride(layer.outputs) + o).collect();
        (0..layer.outputs).map(row)
    })
}
