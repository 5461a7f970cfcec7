//! The CPU engine: all replicas behind the contract.

use rayon::prelude::*;

use super::crew::Crew;
use super::panels;
use super::product;
use super::replica::Replica;
use super::shared::Shared;
use super::{Real, Weighting};
use crate::data::{Features, Part, Samples};
use crate::engine::{
    Aim, Allocation, Checked, Diagnose, Engine, Evaluation, Gradient, Layout, Limits, LossWeights, Precision, Setup,
    Slot, Step, StepMetrics, Timed,
};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::model::Norm;

/// The engine that trains on the processor, in `f32` or `f64`. One replica spreads its products over all cores; several
/// replicas take a core each. Both give the same bits.
pub struct CpuEngine<T> {
    setup: Setup,
    layout: Layout,
    replicas: Vec<Replica<T>>,
    /// The target values of the three parts, `(samples, outputs)`; empty under cross-entropy.
    targets: [Vec<T>; 3],
    /// How much training samples count, and the weights of samples and of classes in the engine's precision.
    loss_weights: Option<(LossWeights, [Vec<T>; 2])>,
    /// The quantile function of mixup's shares.
    quantiles: Vec<T>,
}

impl<T: Real> CpuEngine<T> {
    /// An engine whose weights are all 0.
    ///
    /// # Errors
    /// A setup whose loss, model and data set do not go together, or in mixed precision; too little memory.
    #[allow(clippy::new_ret_no_self, reason = "nobody gets an engine that is not checked")]
    pub fn new(setup: Setup) -> Result<Checked<Self>> {
        setup.check(T::LARGEST)?;
        if setup.is_mixed() {
            let found = "mixed needs a GPU: expected one, or --device gpu for a software adapter, found the CPU engine";
            return Err(Error::config("train.precision", found));
        }
        let precision = if size_of::<T>() == size_of::<f64>() { Precision::F64 } else { Precision::F32 };
        let setup = Setup { precision, ..setup };
        let layout = Layout::new(&setup.model);
        let replicas = (0..setup.replicas).map(|r| Replica::new(&setup, &layout, r)).collect::<Result<_>>()?;
        let targets_of = |part| match setup.dataset.part(part) {
            Some(samples) if setup.loss == Loss::Mse => {
                Ok(samples.targets.to_values(setup.model.outputs())?.into_iter().map(T::of).collect())
            }
            _ => Ok(Vec::new()),
        };
        let targets = [targets_of(Part::Train)?, targets_of(Part::Validation)?, targets_of(Part::Test)?];
        let cast = |values: &[f64]| values.iter().map(|&value| T::of(value)).collect();
        let loss_weights = LossWeights::of(&setup).map(|weights| {
            let casts = [cast(&weights.samples), cast(&weights.classes)];
            (weights, casts)
        });
        let quantiles = setup.augment.quantiles().into_iter().map(T::of).collect();
        Ok(Checked::new(Self { setup, layout, replicas, targets, loss_weights, quantiles }))
    }

    /// Applies `f`, with passes of at most so many rows, to every replica, side by side where there are several.
    fn each<R: Send>(
        &mut self,
        part: Part,
        rows: usize,
        f: impl Fn(&mut Replica<T>, &Shared<T>, &Samples, usize) -> R + Sync,
    ) -> Result<Vec<R>> {
        let samples = self.setup.dataset.part(part).ok_or_else(|| self.setup.dataset.missing(part))?;
        let shared = Shared {
            setup: &self.setup,
            layout: &self.layout,
            targets: &self.targets[part as usize],
            loss_weights: self.loss_weights.as_ref().map(|(weights, _)| weights),
            weighting: self.loss_weights.as_ref().map(|(_, [samples, classes])| Weighting { samples, classes }),
            quantiles: &self.quantiles,
            crew: Crew::alone(),
        };
        Ok(match &mut self.replicas[..] {
            [only] => {
                let works = self.layout.layers.iter().map(|layer| product::work(layer, rows));
                let most = works.max().unwrap_or_default();
                vec![Crew::gather(most, |crew| f(only, &Shared { crew, ..shared }, samples, 0))]
            }
            several => several.par_iter_mut().enumerate().map(|(r, replica)| f(replica, &shared, samples, r)).collect(),
        })
    }
}

/// A vector whose weights lie in panels, in the layout's order, as others know it.
fn flat<T: Real>(layout: &Layout, mut vector: Vec<T>) -> Vec<f64> {
    layout.layers.iter().for_each(|layer| panels::join(layer, &mut vector));
    vector.into_iter().map(T::to_f64).collect()
}

impl<T: Real> Engine for CpuEngine<T> {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn has(&self, slot: Slot) -> bool {
        self.replicas[0].has(slot)
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        let replicas = self.replicas.len();
        let result = self.replicas.iter_mut().try_for_each(|replica| replica.allocate(slot, replicas));
        if result.is_err() {
            self.free(slot)?;
        }
        result
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        self.replicas.iter_mut().for_each(|replica| replica.free(slot));
        Ok(())
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        let mut values: Vec<T> = values.iter().map(|&value| T::of(value)).collect();
        self.layout.layers.iter().for_each(|layer| panels::cut(layer, &mut values));
        *self.replicas[replica].slot(slot)? = values;
        Ok(())
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        let values = self.replicas[replica].slot(slot)?.clone();
        Ok(flat(&self.layout, values))
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.replicas.iter_mut().try_for_each(|replica| {
            replica.both(from, to, |from, to| {
                to.clear();
                to.extend_from_slice(from);
            })
        })
    }

    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        let mut each = self.replicas.iter_mut().zip(alpha);
        each.try_for_each(|(replica, &alpha)| replica.both(x, y, |x, y| super::axpy(T::of(alpha), x, y)))
    }

    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        let mut each = self.replicas.iter_mut().zip(alpha);
        each.try_for_each(|(replica, &alpha)| replica.slot(x).map(|x| super::scale(T::of(alpha), x)))
    }

    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        let dot = |replica: &mut Replica<T>| {
            if x == y {
                return replica.slot(x).map(|x| super::dot(x, x));
            }
            replica.both(x, y, |x, y| super::dot(x, y))
        };
        self.replicas.iter_mut().map(dot).collect()
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        for (replica, order) in self.replicas.iter_mut().zip(orders) {
            replica.order.clone_from(order);
        }
        Ok(())
    }

    fn steps_at_once(&self) -> usize {
        // A step is done when the call returns; a few at a time let the replicas run apart.
        (1e9 / self.setup.model.step_flops(self.setup.batch)).clamp(1.0, 64.0) as usize
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let metrics = self.each(Part::Train, self.setup.most_in_pass(), |replica, shared, _, r| {
            steps.iter().map(|step| replica.step(shared, step, r)).collect::<Vec<_>>()
        })?;
        Ok((0..steps.len()).flat_map(|step| metrics.iter().map(move |of_replica| of_replica[step])).collect())
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        Ok(Vec::new())
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        self.each(Part::Train, self.setup.most_in_pass(), |replica, shared, _, r| {
            let (loss, correct) = replica.gradient(shared, step, Aim::Gradient(of), None);
            StepMetrics { step: step.index, replica: r, loss, correct, ..StepMetrics::default() }
        })
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        let optimizer = self.setup.optimizer;
        self.each(Part::Train, self.setup.most_in_pass(), |replica, shared, _, r| {
            let constants = optimizer.coefficients(step.index + 1, step.rates[r]).into();
            replica.use_gradient(shared, step, &constants);
        })?;
        Ok(())
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        let evaluations =
            self.each(part, self.setup.room(), |replica, shared, samples, _| replica.evaluate(shared, samples, slots))?;
        evaluations.into_iter().collect()
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        let predictions =
            self.each(Part::Train, self.setup.room(), |replica, shared, _, _| replica.predict(shared, inputs, slots))?;
        predictions.into_iter().collect()
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        if self.setup.model.norm != Norm::Batch {
            return Ok(());
        }
        let rows = self.setup.most_in_pass();
        self.each(Part::Train, rows, |replica, shared, _, _| replica.renew_statistics(shared, slot, steps))?
            .into_iter()
            .collect()
    }
}

impl<T: Real> Diagnose for CpuEngine<T> {
    fn describe(&self) -> String {
        super::limits::describe::<T>()
    }

    fn memory(&self) -> Vec<Allocation> {
        let all = |(name, bytes)| Allocation { name, bytes: (bytes * self.replicas.len()) as u64 };
        self.replicas[0].memory().into_iter().map(all).collect()
    }

    fn value_bytes(&self) -> usize {
        size_of::<T>()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        Ok(super::limits::measure_limits::<T>())
    }

    fn dispatches(&self) -> usize {
        0
    }

    fn profile(&mut self, _: &Step) -> Result<Vec<Timed>> {
        Ok(Vec::new())
    }
}
