//! The largest eigenvalue along a training.

use crate::data::Part;
use crate::engine::{Curvature, Engine, Slot};
use crate::error::{Error, Result};
use crate::spectrum::{self, Basis, Parameters, Random, Ritz};

/// The largest eigenvalue of the Hessian of the loss, measured again and again as the weights move: each time the search begins
/// with the eigenvector that was found before, so that a few products are enough. Each replica has its own.
pub struct TopEigenvalue {
    /// The order of the samples, of which the first are looked at.
    order: Vec<u32>,
    samples: usize,
    parameters: Parameters,
    seed: u64,
    /// The eigenvector with which the last search began, and the one that it found.
    begun: Slot,
    found: Slot,
}

/// The products of one space with the eigenvector that is looked for, and with a random vector, which would see another eigenvector
/// that has become the largest.
const PRODUCTS: [usize; 2] = [3, 2];
/// The most spaces, one after the other; one is enough where the weights have hardly moved.
const SPACES: usize = 8;
/// The length of `H v - λ v` relative to λ with which an eigenvector v is found: the error of λ is about its square.
const TOLERANCE: f64 = 0.01;

impl TopEigenvalue {
    /// Draws `samples` of the training part with `seed` (all, if there are no more), over whose mean loss all is measured, and
    /// makes room for the eigenvector. The engine must be one that trains, in f32 or f64.
    ///
    /// # Errors
    /// No samples; mixed precision; too little memory.
    pub fn new(engine: &mut dyn Engine, samples: usize, seed: u64) -> Result<Self> {
        let mut order = engine.setup().dataset.draw(Part::Train, Some(samples), seed)?;
        if engine.setup().is_mixed() {
            let found = "expected f32 or f64, in which second derivatives are computed, found mixed";
            return Err(Error::config("train.precision", found));
        }
        let samples = order.len();
        order.resize(engine.setup().dataset.train.len(), order[0]);
        let parameters = Parameters::new(engine.layout(), false);
        let (begun, found) = (spectrum::scratch(engine)?, spectrum::scratch(engine)?);
        Ok(Self { order, samples, parameters, seed, begun, found })
    }

    /// The slot of the vector with which the last search began.
    pub fn begun(&self) -> Slot {
        self.begun
    }

    /// The slot of the eigenvector that was found last, with which the next search begins; where it is 0, as before the first, that
    /// begins with a random vector.
    pub fn found(&self) -> Slot {
        self.found
    }

    /// Measures the largest eigenvalue at the live weights, one a replica: to about 1e-4 of its size, but where the weights have
    /// moved far, when it may be less; NaN where second derivatives are not finite. The engine's order of samples is another one
    /// afterwards, and its gradient is lost.
    ///
    /// # Errors
    /// The device is lost, or has too little memory.
    pub fn measure(&mut self, engine: &mut dyn Engine) -> Result<Vec<f64>> {
        let replicas = engine.setup().replicas;
        engine.set_order(&vec![self.order.clone(); replicas])?;
        // The same every time, so that a run that goes on from a checkpoint finds what it would have found.
        let mut random = Random::new(self.parameters.clone(), self.seed);
        let samples = 0..self.samples;
        let mut matrix =
            |engine: &mut dyn Engine, x: Slot, into: Slot| engine.curve(Curvature::Hessian, samples.clone(), x, into);
        let everywhere: Vec<usize> = (0..replicas).collect();
        engine.copy(self.found, self.begun)?;
        let mut space = 0;
        loop {
            space += 1;
            let mut basis = Basis::begin_from(engine, self.found, &self.parameters)?;
            for products in PRODUCTS {
                for _ in 0..products.min(self.parameters.count() - basis.len()) {
                    basis.grow(engine, &mut matrix, &mut random)?;
                }
                if !basis.is_whole() {
                    basis.renew(engine, &mut random, &everywhere)?;
                }
            }
            let ritz: Vec<Ritz> = everywhere.iter().map(|&r| basis.ritz(r)).collect();
            let coordinates: Vec<&[f64]> = ritz.iter().map(|ritz| &ritz.vectors[0][..]).collect();
            basis.combine(engine, &coordinates, self.found)?;
            let is_rough = |r: &usize| ritz[*r].errors[0] > TOLERANCE * ritz[*r].values[0].abs() + basis.noise(*r);
            let is_done = space == SPACES || basis.is_whole() || !everywhere.iter().any(is_rough);
            basis.free(engine)?;
            if is_done {
                let values: Vec<f64> = ritz.iter().map(|ritz| ritz.values[0]).collect();
                let zeros = self.parameters.vector(|| 0.0);
                let lost = everywhere.iter().filter(|&&r| !values[r].is_finite());
                lost.into_iter().try_for_each(|&r| engine.upload(self.found, r, &zeros))?;
                return Ok(values);
            }
        }
    }
}
