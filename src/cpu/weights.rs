//! One replica's weights, their gradient and the optimizer's state.

use std::ops::Range;

use super::product::{UPDATE_COST, Vectors, take};
use super::shared::{Shared, zeros};
use super::{Constants, Real};
use crate::engine::{Layout, Setup};
use crate::error::Result;
use crate::optimizer::Rule;
use crate::sam::Sam;

/// The vectors of one replica, of one length, in the layout of the parameters; an evaluation has the parameters alone.
pub(super) struct Weights<T> {
    /// The parameters.
    pub params: Vec<T>,
    /// Their gradient.
    pub grads: Vec<T>,
    /// The optimizer's state vectors.
    pub state: Vec<Vec<T>>,
    /// The parameters at the end of a step's ascent; empty without one.
    ascended: Vec<T>,
}

impl<T: Real> Weights<T> {
    /// Weights, gradient and state of zeros.
    ///
    /// # Errors
    /// Too little memory.
    pub fn new(setup: &Setup, layout: &Layout) -> Result<Self> {
        let vector = || zeros(layout.len, setup.replicas);
        let if_trained = |n: usize| if setup.evaluation_only { 0 } else { n };
        Ok(Self {
            params: vector()?,
            grads: zeros(if_trained(layout.len), setup.replicas)?,
            state: (0..if_trained(setup.optimizer.state_vectors())).map(|_| vector()).collect::<Result<_>>()?,
            ascended: zeros(if setup.sam.is_some() { if_trained(layout.len) } else { 0 }, setup.replicas)?,
        })
    }

    /// The names and vectors of all.
    pub fn vectors(&self) -> Vec<(String, &Vec<T>)> {
        let state = self.state.iter().enumerate().map(|(i, vector)| (format!("state {i}"), vector));
        let others = [("params", &self.params), ("grads", &self.grads), ("ascended", &self.ascended)];
        let others = others.into_iter().map(|(name, vector)| (name.to_string(), vector));
        others.chain(state).filter(|(_, vector)| !vector.is_empty()).collect()
    }

    /// Puts the end of the ascent in the parameters' place, until [`descend`](Self::descend) brings them back as they were; the
    /// gradient is 0 then.
    pub fn ascend(&mut self, sam: &Sam, trained: usize) {
        let (w, g) = (&self.params[..trained], &mut self.grads[..trained]);
        let factor = super::ascent(sam, w, g);
        super::ascend(sam, factor, w, g, &mut self.ascended[..trained]);
        std::mem::swap(&mut self.params, &mut self.ascended);
    }

    /// The opposite of [`ascend`](Self::ascend).
    pub fn descend(&mut self) {
        std::mem::swap(&mut self.params, &mut self.ascended);
    }

    /// One part of the gradient, and the same part of the weights and of each of their state vectors.
    pub fn part(&mut self, range: Range<usize>) -> (&mut [T], Vectors<'_, T>) {
        let all = std::iter::once(&mut self.params).chain(&mut self.state);
        let mut vectors = Vectors::default();
        for (part, vector) in vectors.iter_mut().zip(all) {
            *part = &mut vector[range.clone()];
        }
        (&mut self.grads[range], vectors)
    }

    /// Updates the parameters from `first` on, with the gradient times `scale`.
    pub fn update(&mut self, shared: &Shared<T>, all: &Constants<T>, scale: T, first: usize) {
        let (setup, layout) = (shared.setup, shared.layout);
        let without_decay = all.without_decay();
        let decayed = setup.decayed(layout);
        for (range, constants) in [(first..decayed, all), (decayed..layout.trained, &without_decay)] {
            let crew = shared.crew.worth(UPDATE_COST * range.len());
            let length = range.len().div_ceil(crew.threads()).max(1);
            let (g, mut vectors) = self.part(range);
            let parts = g.chunks(length).map(|g| (g, take(&mut vectors, g.len())));
            let rule = setup.optimizer.rule();
            crew.each(parts, |(g, vectors)| update(rule, constants, scale, g, vectors));
        }
    }
}

/// One update of a part of the weights and of their state.
pub(super) fn update<T: Real>(rule: Rule, constants: &Constants<T>, scale: T, g: &[T], vectors: Vectors<T>) {
    let [w, mut state @ ..] = vectors;
    let used = state.iter().take_while(|v| !v.is_empty()).count();
    super::update(rule, constants, scale, g, w, &mut state[..used]);
}
