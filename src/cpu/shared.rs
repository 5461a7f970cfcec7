//! What all replicas have in common.

use std::sync::Arc;

use super::crew::Crew;
use super::{Real, Weighting};
use crate::data::Part;
use crate::engine::{Across, Layout, LossWeights, Setup};
use crate::error::{Error, Result};

/// The setup of one replica, and what of it the engine keeps in its own precision.
pub(super) struct Own<T> {
    pub setup: Setup,
    /// The seed of its random numbers.
    pub seed: u32,
    /// The quantile function of mixup's shares; empty without mixup.
    pub quantiles: Arc<[T]>,
}

impl<T: Real> Own<T> {
    pub fn new(setup: Setup) -> Self {
        let quantiles = setup.augment.quantiles().into_iter().map(T::of).collect();
        Self::with(setup, quantiles)
    }

    fn with(setup: Setup, quantiles: Arc<[T]>) -> Self {
        Self { seed: setup.device_seed(), quantiles, setup }
    }

    /// Those of all replicas of an engine.
    pub fn all(setup: &Setup) -> Vec<Arc<Self>> {
        let mut all: Vec<Arc<Self>> = Vec::with_capacity(setup.replicas);
        for own in setup.alone() {
            // The function takes a while to compute, and most have one mixup.
            let known = all.last().filter(|last| last.setup.augment.mixup == own.augment.mixup);
            all.push(Arc::new(match known {
                Some(last) => Self::with(own, last.quantiles.clone()),
                None => Self::new(own),
            }));
        }
        all
    }
}

/// The shared data of all replicas, which every one reads and none writes.
pub(super) struct Shared<'a, T> {
    /// The setup of the engine, or that of the replica at work.
    pub setup: &'a Setup,
    pub layout: &'a Layout,
    /// The targets under the squared error, values or one-hot labels: `(samples, outputs)`; else empty.
    pub targets: &'a [T],
    /// How much the training samples count; none where all count alike.
    pub loss_weights: Option<&'a LossWeights>,
    /// The same in the engine's precision.
    pub weighting: Option<Weighting<'a, T>>,
    /// The quantile function of the shares of the replica at work; empty without mixup.
    pub quantiles: &'a [T],
    /// All threads, or one if several replicas train side by side.
    pub crew: Crew<'a>,
    /// The step that other engines have shares of, where batch normalisation goes over all of them.
    pub whole: Option<Whole<'a>>,
}

/// A step that several engines share.
#[derive(Clone, Copy)]
pub struct Whole<'a> {
    pub across: &'a dyn Across,
    /// The number of its samples.
    pub rows: usize,
}

impl Whole<'_> {
    /// Sums values over all engines.
    pub fn sum<T: Real>(&self, values: &mut [T]) {
        let mut sums: Vec<f64> = values.iter().map(|value| value.to_f64()).collect();
        self.across.sum(&mut sums);
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = T::of(sum));
    }
}

impl<'a, T: Real> Shared<'a, T> {
    /// The same for the work of one replica, by a crew.
    pub fn with(&self, own: &'a Own<T>, crew: Crew<'a>) -> Self {
        Self { setup: &own.setup, quantiles: &own.quantiles, crew, ..*self }
    }
}

/// What the first layer makes of all samples of a part with each of several vectors, biases included.
pub(super) struct Projected<T> {
    pub part: Part,
    /// `(samples, stride(outputs))` for each vector.
    pub z: Vec<Vec<T>>,
}

/// A vector of zeros for one of `replicas`.
pub(super) fn zeros<T: Real>(n: usize, replicas: usize) -> Result<Vec<T>> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(n).map_err(|_| Error::DeviceMemory {
        what: format!("one buffer of each of {replicas} replica(s)"),
        needed: (n * size_of::<T>()) as u64,
        offered: 0,
        place: "the memory".into(),
        advice: "use a smaller batch, a smaller model or fewer replicas".into(),
    })?;
    vector.resize(n, T::default());
    Ok(vector)
}
