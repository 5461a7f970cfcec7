//! The distribution of all eigenvalues of a matrix.

use serde::Serialize;

use crate::engine::Engine;
use crate::error::Result;
use crate::spectrum::{Basis, Matrix, Random, Rule};

/// A spectral density: which share of the eigenvalues lies where, as points with weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Density {
    /// The places, largest first: eigenvalues where their network is small, and else the nodes of quadrature rules.
    pub nodes: Vec<f64>,
    /// The share of the eigenvalues at each of them; their sum is 1.
    pub weights: Vec<f64>,
}

impl Density {
    /// The mean of several rules.
    pub(super) fn of(rules: &[Rule]) -> Self {
        let share = (rules.len() as f64).recip();
        let points = |rule: &Rule| rule.nodes.iter().copied().zip(rule.weights.clone()).collect::<Vec<_>>();
        let mut points: Vec<(f64, f64)> = rules.iter().flat_map(points).collect();
        points.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self {
            nodes: points.iter().map(|(node, _)| *node).collect(),
            weights: points.iter().map(|(_, weight)| share * weight).collect(),
        }
    }

    /// The density at `x`, a share per unit, each point spread out as a normal distribution with this deviation:
    /// `Σᵢ weightᵢ exp(-(x - nodeᵢ)² / 2 σ²) / (σ √(2 π))`.
    pub fn at(&self, x: f64, deviation: f64) -> f64 {
        let bell = |node: f64| (-0.5 * ((x - node) / deviation).powi(2)).exp();
        let sum: f64 = self.nodes.iter().zip(&self.weights).map(|(node, weight)| weight * bell(*node)).sum();
        sum / (deviation * (2.0 * std::f64::consts::PI).sqrt())
    }
}

/// The number of parameters, over all random vectors, whose rules make a density that hardly depends on which vectors they were:
/// of one vector the relative error of a share is about √(2 / parameters).
const PARAMETERS: usize = 100_000;
/// The most rules.
const RULES: usize = 10;
/// The products of a rule beside the first.
const STEPS: usize = 40;

/// The number of products of each rule beside the first, of `steps` products.
pub(super) fn more(parameters: usize, steps: usize) -> Vec<usize> {
    let rules = PARAMETERS.div_ceil(parameters).min(RULES);
    if steps >= parameters { Vec::new() } else { vec![steps.min(STEPS); rules - 1] }
}

/// The rule of another random vector, with so many products, one a replica.
pub(super) fn rules(
    engine: &mut dyn Engine,
    matrix: &mut Matrix,
    random: &mut Random,
    steps: usize,
    tell: &mut dyn FnMut(),
) -> Result<Vec<Rule>> {
    let mut basis = Basis::begin(engine, random)?;
    for _ in 0..steps {
        basis.grow(engine, matrix, random)?;
        basis.check()?;
        tell();
    }
    let rules = (0..engine.setup().replicas).map(|r| Rule::of(&basis.ritz(r))).collect();
    basis.free(engine)?;
    Ok(rules)
}
