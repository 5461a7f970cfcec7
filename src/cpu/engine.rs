//! The CPU engine: all replicas behind the contract.

use std::any::Any;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::prelude::*;

use super::crew::Crew;
use super::panels;
use super::product;
use super::replica::Replica;
use super::shared::{Own, Projected, Shared, Whole};
use super::{Real, Weighting};
use crate::data::{Features, Part, Samples};
use crate::engine::{
    Across, Aim, Allocation, Capture, Checked, Curvature, Diagnose, Engine, Evaluation, Gradient, Layout, Limits,
    LossWeights, Precision, Setup, Slot, Step, StepMetrics, Timed,
};
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::model::Norm;

/// The engine that trains on the processor, in `f32` or `f64`. One replica spreads its products over all cores; several
/// replicas take a core each. Both give the same bits.
pub struct CpuEngine<T> {
    pub(super) setup: Setup,
    layout: Layout,
    replicas: Vec<Replica<T>>,
    /// The number of those that take part, the first ones.
    active: usize,
    /// The target values of the three parts, `(samples, outputs)`; empty under cross-entropy.
    targets: [Vec<T>; 3],
    /// How much training samples count, and the weights of samples and of classes in the engine's precision.
    loss_weights: Option<(LossWeights, [Vec<T>; 2])>,
    /// The samples of an evaluation's pass, the same of all replicas: `(rows, stride(inputs))`, once one was asked for.
    pub(super) x: Vec<T>,
    /// What the first layer makes of a part, where that was asked for.
    pub(super) projected: Option<Projected<T>>,
    /// The sum over all engines that share steps, where batch normalisation goes over them.
    across: Option<Arc<dyn Across>>,
    /// The samples of a step of which a share is under way.
    whole_rows: Option<usize>,
    /// What a thread said when it panicked amid the work on the replicas, which are half-done since.
    panicked: Option<String>,
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
        let own = setup.own.into_iter().map(|own| Setup { precision, ..own }).collect();
        let setup = Setup { precision, own, ..setup };
        let layout = Layout::new(&setup.model);
        let replicas =
            Own::all(&setup).into_iter().map(|own| Replica::new(&setup, &layout, own)).collect::<Result<_>>()?;
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
        Ok(Checked::new(Self {
            active: setup.replicas,
            setup,
            layout,
            replicas,
            targets,
            loss_weights,
            x: Vec::new(),
            projected: None,
            across: None,
            whole_rows: None,
            panicked: None,
        }))
    }

    /// Applies `f`, with passes of at most so many rows, to every replica, side by side where there are several.
    fn each<R: Send>(
        &mut self,
        part: Part,
        rows: usize,
        f: impl Fn(&mut Replica<T>, &Shared<T>, &Samples, usize) -> R + Sync,
    ) -> Result<Vec<R>> {
        self.all(part, |replicas, shared, samples| match replicas {
            [only] => {
                let most = shared.layout.layers.iter().map(|layer| product::work(layer, rows)).max();
                let own = only.own.clone();
                vec![Crew::gather(most.unwrap_or_default(), |crew| f(only, &shared.with(&own, crew), samples, 0))]
            }
            several => {
                let work = |(r, replica): (usize, &mut Replica<T>)| {
                    let own = replica.own.clone();
                    f(replica, &shared.with(&own, shared.crew), samples, r)
                };
                several.par_iter_mut().enumerate().map(work).collect()
            }
        })
    }

    /// Applies `f` to all that take part, with what they share, of which the crew is one thread.
    pub(super) fn all<R>(
        &mut self,
        part: Part,
        f: impl FnOnce(&mut [Replica<T>], &Shared<T>, &Samples) -> R,
    ) -> Result<R> {
        self.replicas()?;
        let samples = self.setup.dataset.part(part).ok_or_else(|| self.setup.dataset.missing(part))?;
        let shared = Shared {
            setup: &self.setup,
            layout: &self.layout,
            targets: &self.targets[part as usize],
            loss_weights: self.loss_weights.as_ref().map(|(weights, _)| weights),
            weighting: self.loss_weights.as_ref().map(|(_, [samples, classes])| Weighting { samples, classes }),
            quantiles: &[],
            crew: Crew::alone(),
            whole: self.across.as_deref().zip(self.whole_rows).map(|(across, rows)| Whole { across, rows }),
        };
        let work = || f(&mut self.replicas[..self.active], &shared, samples);
        // Whichever thread panics, this one hears of it when all are done.
        catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
            let message = message(panic.as_ref());
            let error = unusable(&message);
            self.panicked = Some(message);
            error
        })
    }

    /// The replicas, unless a panic has left them half-done.
    fn replicas(&mut self) -> Result<&mut [Replica<T>]> {
        match &self.panicked {
            Some(message) => Err(unusable(message)),
            None => Ok(&mut self.replicas),
        }
    }
}

/// What a panic says, in one line.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it said nothing").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unusable(message: &str) -> Error {
    Error::Device(format!("a thread of the CPU engine panicked, so that its weights are of no use: {message}"))
}

/// The bytes of a vector whose weights lie in panels, in the layout's order.
fn bytes<T: Real>(layout: &Layout, vector: Vec<T>) -> Vec<u8> {
    let (cut, size): (&[u8], usize) = (bytemuck::cast_slice(&vector), size_of::<T>());
    let mut bytes = cut.to_vec();
    for layer in &layout.layers {
        let first = layer.weights().start;
        let range = |place: Range<usize>| (first + place.start) * size..(first + place.end) * size;
        panels::rows(layer).for_each(|(row, place)| bytes[range(row)].copy_from_slice(&cut[range(place)]));
    }
    bytes
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
        let replicas = self.replicas()?;
        let count = replicas.len();
        let result = replicas.iter_mut().try_for_each(|replica| replica.allocate(slot, count));
        if result.is_err() {
            self.free(slot)?;
        }
        result
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        self.replicas()?.iter_mut().for_each(|replica| replica.free(slot));
        Ok(())
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        let mut values: Vec<T> = values.iter().map(|&value| T::of(value)).collect();
        self.layout.layers.iter().for_each(|layer| panels::cut(layer, &mut values));
        *self.replicas()?[replica].slot(slot)? = values;
        Ok(())
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        let values = self.replicas()?[replica].slot(slot)?.clone();
        Ok(flat(&self.layout, values))
    }

    fn capture(&mut self, slots: &[Slot]) -> Result<Capture> {
        let mut vectors = Vec::with_capacity(slots.len() * self.replicas.len());
        for &slot in slots {
            for replica in self.replicas()? {
                vectors.push(replica.slot(slot)?.clone());
            }
        }
        let layout = self.layout.clone();
        Ok(Box::new(move || Ok(vectors.into_iter().map(|vector| bytes(&layout, vector)).collect())))
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.replicas()?.iter_mut().try_for_each(|replica| replica.both(from, to, |from, to| to.copy_from_slice(from)))
    }

    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()> {
        self.replicas()?[replica].both(from, to, |from, to| to.copy_from_slice(from))
    }

    fn set_own(&mut self, replica: usize, setup: Setup) -> Result<()> {
        self.replicas()?[replica].own = Arc::new(Own::new(setup.clone()));
        self.setup.own[replica] = setup;
        Ok(())
    }

    fn set_active(&mut self, replicas: usize) -> Result<()> {
        self.active = replicas;
        Ok(())
    }

    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()> {
        let mut each = self.replicas()?.iter_mut().zip(alpha);
        each.try_for_each(|(replica, &alpha)| replica.both(x, y, |x, y| super::axpy(T::of(alpha), x, y)))
    }

    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()> {
        let mut each = self.replicas()?.iter_mut().zip(alpha);
        each.try_for_each(|(replica, &alpha)| replica.slot(x).map(|x| super::scale(T::of(alpha), x)))
    }

    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>> {
        let dot = |replica: &mut Replica<T>| {
            if x == y {
                return replica.slot(x).map(|x| super::dot(x, x));
            }
            replica.both(x, y, |x, y| super::dot(x, y))
        };
        self.replicas()?.iter_mut().map(dot).collect()
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        for (replica, order) in self.replicas()?.iter_mut().zip(orders) {
            replica.order.clone_from(order);
        }
        Ok(())
    }

    fn steps_at_once(&self) -> usize {
        // A step is done when the call returns; a few at a time let the replicas run apart.
        (1e9 / self.setup.step_flops(self.setup.batch)).clamp(1.0, 64.0) as usize
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

    fn normalize_across(&mut self, across: Arc<dyn Across>) -> bool {
        // Several replicas would sum in any order.
        let is_one = self.replicas.len() == 1;
        self.across = is_one.then_some(across);
        is_one
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        self.whole_rows = step.share.as_ref().map(|_| step.rows);
        let metrics = self.each(Part::Train, self.setup.most_in_pass(), |replica, shared, _, r| {
            let (loss, correct) = replica.gradient(shared, step, r, Some(Aim::Gradient(of)), None);
            StepMetrics { step: step.of(r).index, replica: r, loss, correct, ..StepMetrics::default() }
        });
        self.whole_rows = None;
        metrics
    }

    fn update(&mut self, step: &Step) -> Result<()> {
        self.each(Part::Train, self.setup.most_in_pass(), |replica, shared, _, r| {
            let own = step.of(r);
            let constants = shared.setup.optimizer.coefficients(own.index + 1, step.rates[r]).into();
            replica.use_gradient(shared, &own.take, &constants);
        })?;
        Ok(())
    }

    fn slope(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>> {
        self.each(Part::Train, self.setup.room(), |replica, shared, _, _| replica.slope(shared, over.clone()))
    }

    fn curve(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()> {
        let work = |replica: &mut Replica<T>, shared: &Shared<T>, _: &Samples, _| {
            replica.curve(shared, of, over.clone(), x, into)
        };
        self.each(Part::Train, self.setup.room(), work)?.into_iter().collect()
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        self.evaluate_all(part, slots)
    }

    fn project(&mut self, part: Part, slots: &[Slot]) -> Result<bool> {
        self.project_part(part, slots)
    }

    fn evaluate_projected(&mut self, coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        self.evaluate_sums(coefficients)
    }

    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        self.predict_all(inputs, slots)
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        if self.setup.model.norm != Norm::Batch {
            return Ok(());
        }
        let rows = self.setup.most_in_pass();
        self.each(Part::Train, rows, |replica, shared, _, r| replica.renew_statistics(shared, slot, steps, r))?
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use super::*;
    use crate::data::Dataset;
    use crate::model::Mlp;

    /// An engine of a layer that is worth as many threads as there are.
    fn engine(replicas: usize) -> Checked<CpuEngine<f32>> {
        let dataset =
            Dataset::new("rows", [512, 1, 1], Samples::labelled(vec![0.5; 512 * 8], vec![0; 8]), None).unwrap();
        let setup = Setup { replicas, batch: 8, ..Setup::new(Mlp::new(512, 1).hidden([512]), Arc::new(dataset)) };
        CpuEngine::new(setup).unwrap()
    }

    /// Fails unless the panic is told in one line, and told again by what reads or changes the engine's vectors.
    fn is_told(found: Result<Vec<()>>, engine: &mut Checked<CpuEngine<f32>>) {
        let said = "device: a thread of the CPU engine panicked, so that its weights are of no use: item 3 is bad";
        assert_eq!(found.unwrap_err().to_string(), said);
        let again = [
            engine.evaluate(Part::Train, &[Slot::Live]).map(drop),
            engine.download(Slot::Live, 0).map(drop),
            engine.capture(&[Slot::Live]).map(drop),
            engine.copy(Slot::Live, Slot::Copy(0)),
            engine.dot(Slot::Live, Slot::Live).map(drop),
        ];
        again.into_iter().for_each(|found| assert_eq!(found.unwrap_err().to_string(), said));
    }

    /// In a helper of the crew, while the calling thread waits for it, and in the calling thread.
    #[test]
    fn a_panic_in_a_crew_is_an_error() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for in_helper in [true, false] {
            let mut engine = engine(1);
            let found = pool.install(|| {
                let begun = AtomicBool::new(false);
                engine.inner_mut().each(Part::Train, 8, |_, shared, _, _| {
                    let caller = thread::current().id();
                    assert_eq!(shared.crew.threads(), 3);
                    shared.crew.each(0..8, |_| {
                        if (thread::current().id() != caller) == in_helper {
                            begun.store(true, Ordering::Relaxed);
                            panic!("item {} is\nbad", 3);
                        }
                        while !begun.load(Ordering::Relaxed) {
                            thread::yield_now();
                        }
                    });
                })
            });
            is_told(found, &mut engine);
        }
    }

    #[test]
    fn a_panic_of_one_among_several_replicas_is_an_error() {
        let mut engine = engine(4);
        let found = engine.inner_mut().each(Part::Train, 8, |_, _, _, r| assert!(r != 3, "item 3 is bad"));
        is_told(found, &mut engine);
    }
}
