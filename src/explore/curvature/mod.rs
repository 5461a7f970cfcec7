//! The curvature of the loss about weights: eigenvalues, trace and density of its second derivatives, and how far it rises nearby.

mod density;
mod neighbourhood;
mod rise;
mod top;

use serde::Serialize;

use crate::engine::{Curvature, Engine, Evaluation, Precision, Slot};
use crate::error::{Error, Result};
use crate::spectrum::{self, Found, Matrix, Parameters, Random, Ritz, Rule, Search};

pub use density::Density;
pub use rise::Rise;
pub use top::TopEigenvalue;

/// What is measured of the curvature, and how well.
#[derive(Clone, Debug, PartialEq)]
pub struct CurvaturePlan {
    /// The matrix: the Hessian, or its Gauss-Newton part. Default the Hessian.
    pub of: Curvature,
    /// The number of largest eigenvalues, at least 1 and at most that of the parameters. Default 5.
    pub top: usize,
    /// The most products with vectors in which eigenvalues are looked for, more than `top`; fewer are made where all are found
    /// earlier. Default: 100, or where there are at most 256 parameters as many as these, with which all is exact.
    pub steps: Option<usize>,
    /// The number of random vectors that estimate the trace where it is not exact, at least 2. Default 10.
    pub probes: usize,
    /// Whether biases and norm parameters stay where they are. Default false.
    pub weights_only: bool,
    /// The number of pairs of random points about the weights, at least 2. Default 5.
    pub pairs: usize,
    /// The number of steps up the slope, at least 1. Default 10.
    pub ascents: usize,
    /// The seed of all random vectors. Default 0.
    pub seed: u64,
}

impl Default for CurvaturePlan {
    fn default() -> Self {
        let of = Curvature::Hessian;
        Self { of, top: 5, steps: None, probes: 10, weights_only: false, pairs: 5, ascents: 10, seed: 0 }
    }
}

/// A mean over random vectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard error of the mean; 0 where it is exact but for rounding.
    pub error: f64,
}

impl Estimate {
    fn of((mean, error): (f64, f64)) -> Self {
        Self { mean, error }
    }
}

/// The shape of the loss about one set of weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LossShape {
    /// The mean loss.
    pub loss: f64,
    /// The share of samples whose largest output is that of their label; none of a regression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The Euclidean length of the loss's gradient.
    pub gradient_norm: f64,
    /// The number of parameters that take part.
    pub parameters: usize,
    /// The largest eigenvalues, largest first.
    pub eigenvalues: Vec<f64>,
    /// Of each of them the length of `H v - λ v`, which its distance from an eigenvalue of the matrix does not exceed, and what
    /// rounding may add.
    pub eigenvalue_errors: Vec<f64>,
    /// The smallest eigenvalue.
    pub smallest: f64,
    /// Its error, as those of the largest.
    pub smallest_error: f64,
    /// The trace, the sum of all eigenvalues.
    pub trace: Estimate,
    /// The spectral density, the distribution of the eigenvalues.
    pub density: Density,
    /// The rise of the loss in Keskar et al.'s box, and in the ball of SAM. It changes with the scale of the weights, even where
    /// the network's function does not (Dinh et al., 2017).
    pub sharpness: Rise,
    /// The rise of the loss as every filter moves by a share of its own length, which does not change with its scale.
    pub filter_sharpness: Rise,
}

/// The number of parameters up to which all eigenvalues are found, by as many products.
const FEW: usize = 256;
/// The most products in which eigenvalues are looked for, unless told otherwise.
const STEPS: usize = 100;
/// The bytes that the vectors of a basis may take.
const BASIS_BYTES: usize = 1 << 30;
/// What a product costs, and a gradient, in units of an evaluation.
const PRODUCT: u64 = 6;
const SLOPE: u64 = 3;

/// The shape of the loss about the live weights of every replica, over all samples of the engine's training part, which count
/// alike; replica by replica. The engine must be one that trains, in f32 or f64. `tell` hears how much of the work is done, and how
/// much there is at most.
///
/// The matrix is met by exact products with vectors alone ([`Engine::curve`]). Its largest eigenvalues and the smallest are found
/// by Lanczos's method with full reorthogonalisation; the trace is the exact one of the space that they were found in and the mean
/// of random products outside it (Hutch++; Meyer et al., 2021); the density comes by stochastic Lanczos quadrature (Ubaru, Chen and
/// Saad, 2017) out of the same products and, for small networks, of more. Errors of eigenvalues and of the trace are relative to
/// these samples' loss: other samples have other ones.
///
/// # Errors
/// A plan that does not fit the network; a loss or a derivative that is not finite; the device is lost, or has too little memory.
pub fn curvature(
    engine: &mut dyn Engine,
    plan: &CurvaturePlan,
    tell: &mut dyn FnMut(u64, u64),
) -> Result<Vec<LossShape>> {
    let parameters = Parameters::new(engine.layout(), plan.weights_only);
    plan.check(parameters.count())?;
    let (samples, replicas) = (engine.setup().dataset.train.len(), engine.setup().replicas);
    engine.set_order(&vec![(0..samples as u32).collect(); replicas])?;
    let mut meter = Meter { done: 0, all: plan.work(parameters.count()), tell };
    let evaluations = engine.slope(0..samples)?;
    check(&evaluations)?;
    let has_accuracy = engine.setup().dataset.is_classification();
    let mut shapes: Vec<LossShape> = evaluations.iter().map(|e| plan.begin(e, has_accuracy, &parameters)).collect();
    let mut matrix = plan.matrix(&parameters, samples);
    rise::measure(engine, &parameters, plan, &mut meter, &mut shapes)?;
    spectrum(engine, &mut matrix, parameters, plan, &mut meter, &mut shapes)?;
    meter.end();
    Ok(shapes)
}

/// An eigenvalue and its eigenvector.
#[derive(Clone, Debug, PartialEq)]
pub struct Eigenpair {
    /// The eigenvalue.
    pub value: f64,
    /// The eigenvector, of length 1, in the layout's order.
    pub vector: Vec<f64>,
}

/// The eigenvectors of the [`top`](CurvaturePlan::top) largest eigenvalues at the live weights, largest first, over all samples of
/// the engine's training part, replica by replica. The engine must be one that trains, in f32 or f64.
///
/// # Errors
/// What [`curvature`] refuses.
pub fn eigenvectors(engine: &mut dyn Engine, plan: &CurvaturePlan) -> Result<Vec<Vec<Eigenpair>>> {
    let parameters = Parameters::new(engine.layout(), plan.weights_only);
    plan.check(parameters.count())?;
    let (samples, replicas) = (engine.setup().dataset.train.len(), engine.setup().replicas);
    engine.set_order(&vec![(0..samples as u32).collect(); replicas])?;
    let mut random = Random::new(parameters.clone(), plan.seed);
    let search = plan.search(engine, parameters.count(), false);
    let mut matrix = plan.matrix(&parameters, samples);
    let Found { basis, .. } = spectrum::search(engine, &mut matrix, &mut random, search, &mut || ())?;
    let ritz: Vec<Ritz> = (0..replicas).map(|r| basis.ritz(r)).collect();
    let mut pairs = vec![Vec::with_capacity(plan.top); replicas];
    let into = spectrum::scratch(engine)?;
    for k in 0..plan.top {
        let coordinates: Vec<&[f64]> = ritz.iter().map(|ritz| &ritz.vectors[k][..]).collect();
        basis.combine(engine, &coordinates, into)?;
        for (r, pairs) in pairs.iter_mut().enumerate() {
            pairs.push(Eigenpair { value: ritz[r].values[k], vector: engine.download(into, r)? });
        }
    }
    engine.free(into)?;
    basis.free(engine)?;
    Ok(pairs)
}

impl CurvaturePlan {
    fn check(&self, parameters: usize) -> Result<()> {
        let least = |key: &str, found: usize, least: usize| match found < least {
            true => Err(Error::config(key, format!("expected at least {least}, found {found}"))),
            false => Ok(()),
        };
        if !(1..=parameters).contains(&self.top) {
            let found = format!("expected 1 to {parameters}, as many as parameters take part, found {}", self.top);
            return Err(Error::config("top", found));
        }
        least("steps", self.steps.unwrap_or(usize::MAX), parameters.min(self.top + 1))?;
        least("probes", self.probes, 2)?;
        least("pairs", self.pairs, 2)?;
        least("ascents", self.ascents, 1)
    }

    /// The matrix over the first `samples` of the engine's order.
    fn matrix(
        &self,
        parameters: &Parameters,
        samples: usize,
    ) -> impl FnMut(&mut dyn Engine, Slot, Slot) -> Result<()> + use<> {
        let (of, kept) = (self.of, self.weights_only.then(|| parameters.clone()));
        move |engine, x, into| {
            engine.curve(of, 0..samples, x, into)?;
            kept.as_ref().map_or(Ok(()), |kept| keep(engine, kept, into))
        }
    }

    fn begin(&self, evaluation: &Evaluation, has_accuracy: bool, parameters: &Parameters) -> LossShape {
        let Evaluation { loss, accuracy } = *evaluation;
        let accuracy = has_accuracy.then_some(accuracy);
        LossShape { loss, accuracy, parameters: parameters.count(), ..LossShape::default() }
    }

    /// The most products in which eigenvalues are looked for.
    fn steps(&self, parameters: usize) -> usize {
        let steps = if parameters <= FEW { parameters } else { STEPS.max(3 * self.top) };
        self.steps.unwrap_or(steps).min(parameters)
    }

    fn search(&self, engine: &dyn Engine, parameters: usize, smallest: bool) -> Search {
        let setup = engine.setup();
        let tolerance = if setup.precision == Precision::F64 { 1e-8 } else { 1e-3 };
        let vector = setup.replicas * engine.layout().len * engine.value_bytes();
        Search {
            largest: self.top,
            smallest,
            tolerance: if parameters <= FEW { 0.0 } else { tolerance },
            products: self.steps(parameters),
            vectors: (BASIS_BYTES / vector).max(2 * self.top + 10),
        }
    }

    /// The work that there is at most.
    fn work(&self, parameters: usize) -> u64 {
        let steps = self.steps(parameters);
        let products = steps + self.probes + density::more(parameters, steps).iter().sum::<usize>();
        PRODUCT * products as u64 + 2 * (SLOPE * self.ascents as u64 + 2 * self.pairs as u64 + 1)
    }
}

/// The work that is done.
pub(super) struct Meter<'a> {
    done: u64,
    all: u64,
    tell: &'a mut dyn FnMut(u64, u64),
}

impl Meter<'_> {
    fn add(&mut self, work: u64) {
        self.done = (self.done + work).min(self.all);
        (self.tell)(self.done, self.all);
    }

    fn end(&mut self) {
        self.add(self.all);
    }
}

/// Eigenvalues, trace and density.
fn spectrum(
    engine: &mut dyn Engine,
    matrix: &mut Matrix,
    parameters: Parameters,
    plan: &CurvaturePlan,
    meter: &mut Meter,
    shapes: &mut [LossShape],
) -> Result<()> {
    let count = parameters.count();
    let mut random = Random::new(parameters, plan.seed);
    let search = plan.search(engine, count, true);
    let found = spectrum::search(engine, matrix, &mut random, search, &mut || meter.add(PRODUCT))?;
    let steps = found.rules.first().map_or(0, |rule| rule.nodes.len());
    let traces = spectrum::trace(engine, matrix, &mut random, &found.basis, plan.probes, &mut || meter.add(PRODUCT))?;
    let is_whole = found.basis.is_whole();
    let mut rules: Vec<Vec<Rule>> = Vec::new();
    for (r, (shape, trace)) in shapes.iter_mut().zip(traces).enumerate() {
        let Ritz { values, mut errors, .. } = found.basis.ritz(r);
        errors.iter_mut().for_each(|error| *error += found.basis.noise(r));
        let last = values.len() - 1;
        (shape.smallest, shape.smallest_error) = (values[last], errors[last]);
        (shape.eigenvalues, shape.eigenvalue_errors) = (values[..plan.top].to_vec(), errors[..plan.top].to_vec());
        shape.trace = Estimate::of(trace);
        let all = Rule { weights: vec![1.0 / values.len() as f64; values.len()], nodes: values };
        rules.push(vec![if is_whole { all } else { found.rules[r].clone() }]);
    }
    found.basis.free(engine)?;
    let more = if is_whole { Vec::new() } else { density::more(count, steps) };
    for steps in more {
        let one = density::rules(engine, matrix, &mut random, steps, &mut || meter.add(PRODUCT))?;
        rules.iter_mut().zip(one).for_each(|(rules, rule)| rules.push(rule));
    }
    shapes.iter_mut().zip(rules).for_each(|(shape, rules)| shape.density = Density::of(&rules));
    Ok(())
}

/// Puts 0 where no parameter takes part.
fn keep(engine: &mut dyn Engine, parameters: &Parameters, slot: Slot) -> Result<()> {
    for r in 0..engine.setup().replicas {
        let mut values = engine.download(slot, r)?;
        parameters.keep(&mut values);
        engine.upload(slot, r, &values)?;
    }
    Ok(())
}

/// Refuses a loss that is not finite.
fn check(evaluations: &[Evaluation]) -> Result<()> {
    match evaluations.iter().find(|evaluation| !evaluation.loss.is_finite()) {
        None => Ok(()),
        Some(found) => Err(Error::config("curvature", format!("expected a finite loss, found {}", found.loss))),
    }
}
