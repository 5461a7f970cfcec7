//! The contract between the training loop and what carries out its steps.

mod checked;
mod diagnose;
mod forms;
mod layout;
mod loss_weights;
mod metrics;
mod setup;
mod slot;
mod step;

use std::ops::Range;
use std::sync::Arc;

use crate::data::{Features, Part};
use crate::error::{Error, Result};
use crate::model::Init;

pub use checked::Checked;
pub(crate) use diagnose::cached;
pub use diagnose::{Allocation, Diagnose, Limits, Timed};
pub use forms::{Choice, Forms};
pub(crate) use layout::stride;
pub use layout::{Layer, Layout, Tensor};
pub(crate) use loss_weights::LossWeights;
pub use metrics::{Evaluation, LossScale, StepMetrics};
pub(crate) use setup::{EVAL_ROWS, MOST_PARTS};
pub use setup::{MAX_PASS, Precision, Setup};
pub use slot::Slot;
pub(crate) use step::Aim;
pub use step::{Curvature, Gradient, Move, Step};

/// A capture of vectors: waits for their values, and returns their bytes, in the layout's order and the precision of the
/// engine's weights (f64, or else f32); slot after slot, and of each the replicas one after the other. Any thread may call it,
/// while the engine goes on.
pub type Capture = Box<dyn FnOnce() -> Result<Vec<Vec<u8>>> + Send>;

/// The sum over all engines that share a step.
pub trait Across: Send + Sync {
    /// Puts into `values`, of which every engine has as many, their sums over all engines; each calls it as often.
    fn sum(&self, values: &mut [f64]);
}

/// An engine carries out steps and evaluations for all replicas, and holds vectors as long as the parameters.
///
/// Flat vectors have the [`Layout`]'s order; the values of a single-precision engine are exact in `f64`. Every engine that
/// callers get is a [`Checked`] one, which refuses what does not fit before the device sees it. Every call may fail since
/// the device is lost.
pub trait Engine: Diagnose + Send {
    /// The setup that the engine was built for.
    fn setup(&self) -> &Setup;

    /// The layout of a flat vector: where each tensor lies in it.
    fn layout(&self) -> &Layout;

    /// Whether the engine holds the vector in `slot`.
    fn has(&self, slot: Slot) -> bool;

    /// The slots of the vectors that outlive a step: those of [`Setup::slots`], and of the best weights where they are
    /// kept. A checkpoint holds them.
    fn slots(&self) -> Vec<Slot> {
        let mut slots = self.setup().slots();
        slots.extend(self.has(Slot::Best).then_some(Slot::Best));
        slots
    }

    /// Makes room for a vector, [`Slot::Best`] or one of [`Slot::Scratch`], full of zeros. Any number of them may be there.
    ///
    /// # Errors
    /// A vector that is there, or that is not the caller's to make; too little memory.
    fn allocate(&mut self, slot: Slot) -> Result<()>;

    /// Gives the room of an allocated vector back.
    ///
    /// # Errors
    /// A vector that was not allocated.
    fn free(&mut self, slot: Slot) -> Result<()>;

    /// Replaces one replica's vector by `values`; what lies between the rows of the tensors becomes 0.
    ///
    /// # Errors
    /// No such slot or replica, or another number of values than the layout has.
    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()>;

    /// Returns one replica's vector, in the layout's order.
    ///
    /// # Errors
    /// No such slot or replica.
    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>>;

    /// Copies a vector to another slot, `to ← from`, on the device, for all replicas.
    ///
    /// # Errors
    /// No such slot.
    fn copy(&mut self, from: Slot, to: Slot) -> Result<()>;

    /// Copies one replica's vector to another slot of it, `to ← from`, on the device.
    ///
    /// # Errors
    /// No such slot or replica.
    fn copy_of(&mut self, replica: usize, from: Slot, to: Slot) -> Result<()>;

    /// Gives a replica the setup of another run, from the next step on; the vectors stay as they are. The number of replicas
    /// must be that of [`Setup::own`].
    ///
    /// # Errors
    /// No such replica, or a setup that does not go with those of the others ([`Setup::difference`]).
    fn set_own(&mut self, replica: usize, setup: Setup) -> Result<()>;

    /// Lets only the first `replicas` take part in the steps and evaluations that follow. The others stay as they are and cost
    /// nothing but their memory; what these calls return one a replica, they return for the first ones alone.
    ///
    /// # Errors
    /// None, or more than there are.
    fn set_active(&mut self, replicas: usize) -> Result<()>;

    /// Adds a multiple of one vector to another, `y ← y + alpha x`, on the device, each value rounded once; `alpha` has
    /// one factor a replica.
    ///
    /// # Errors
    /// No such slot, one slot for both, or another number of factors.
    fn axpy(&mut self, alpha: &[f64], x: Slot, y: Slot) -> Result<()>;

    /// Captures what `slots` hold after all that the engine was given so far. The call waits for nothing; another thread may
    /// wait for the values while the engine takes further steps.
    ///
    /// # Errors
    /// No such slot.
    fn capture(&mut self, slots: &[Slot]) -> Result<Capture>;

    /// Multiplies a vector, `x ← alpha x`, on the device; `alpha` has one factor a replica.
    ///
    /// # Errors
    /// No such slot, or another number of factors.
    fn scale(&mut self, alpha: &[f64], x: Slot) -> Result<()>;

    /// The inner product of two vectors, `Σᵢ xᵢ yᵢ` over their whole length, one a replica, summed up in an order that
    /// depends on their length alone. Padding is 0 and adds nothing; the running statistics of batch normalisation are
    /// part of a vector of weights.
    ///
    /// # Errors
    /// No such slot.
    fn dot(&mut self, x: Slot, y: Slot) -> Result<Vec<f64>>;

    /// The Euclidean length of a vector, `√(x · x)`, one a replica.
    ///
    /// # Errors
    /// No such slot.
    fn norm(&mut self, x: Slot) -> Result<Vec<f64>> {
        Ok(self.dot(x, x)?.into_iter().map(f64::sqrt).collect())
    }

    /// Sets the order in which the next steps take the training samples, one list a replica: a permutation, or
    /// samples drawn with replacement.
    ///
    /// # Errors
    /// Another number of orders than of replicas, or of samples, or a sample that is not there.
    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()>;

    /// The number of steps that are worth handing over at once.
    fn steps_at_once(&self) -> usize;

    /// Carries out `steps`. Returns the metrics that have arrived, in the order of steps, then replicas: an engine may
    /// keep those of the last calls back until a later call or [`wait`](Self::wait).
    ///
    /// # Errors
    /// A step that does not fit the setup.
    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>>;

    /// Waits for all steps and returns the metrics that were still due.
    ///
    /// # Errors
    /// The device is lost.
    fn wait(&mut self) -> Result<Vec<StepMetrics>>;

    /// Leaves the gradient of the step's mean loss in [`Slot::Gradient`], and returns its metrics, one a replica. The weights
    /// stay as they are.
    ///
    /// # Errors
    /// A step that does not fit the setup; gradients that do not fit into half precision at any loss scale.
    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>>;

    /// Does to the weights what the step does once it has its gradient, that in [`Slot::Gradient`]: clips it, updates,
    /// and lets the averages take the new weights.
    ///
    /// # Errors
    /// A step that does not fit the setup.
    fn update(&mut self, step: &Step) -> Result<()>;

    /// Leaves in [`Slot::Gradient`] the gradient of the mean loss that an evaluation has, at the live weights: over the training
    /// samples at the positions `over` of the order, which all count alike, without dropout and augmentation, and with the
    /// running statistics of batch normalisation. Returns that loss and the accuracy, one a replica.
    ///
    /// # Errors
    /// No samples, or positions beyond the order's end; mixed precision.
    fn slope(&mut self, over: Range<usize>) -> Result<Vec<Evaluation>>;

    /// Multiplies a vector with the second derivatives of the loss of [`slope`](Self::slope), `into ← H x`: exactly, by passes
    /// forward and backward (Pearlmutter, 1994). What `x` holds for running statistics counts as 0. The gradient in
    /// [`Slot::Gradient`] is lost.
    ///
    /// # Errors
    /// No such slot, one slot for both, or for either the gradient or the live weights; what [`slope`](Self::slope) refuses.
    fn curve(&mut self, of: Curvature, over: Range<usize>, x: Slot, into: Slot) -> Result<()>;

    /// The mean loss of the step's samples and its gradient, on the host, one pair a replica, with the step's dropout
    /// and augmentation; but for the gradient nothing changes.
    ///
    /// # Errors
    /// What [`gradient`](Self::gradient) refuses.
    fn gradients(&mut self, step: &Step) -> Result<Vec<(f64, Vec<f64>)>> {
        let metrics = self.gradient(step, Gradient::Drawn)?;
        metrics.into_iter().map(|m| Ok((m.loss, self.download(Slot::Gradient, m.replica)?))).collect()
    }

    /// The mean loss and accuracy over a part of the data set, one a replica: of the weights in one slot, or of the
    /// ensemble of several, whose prediction is the mean of their softmax outputs (of their outputs, under the squared
    /// error).
    ///
    /// # Errors
    /// No such part or slot.
    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>>;

    /// Keeps what the first layer makes of a part's samples with the vectors in `slots`, up to three, each one and the same in
    /// all replicas, for [`evaluate_projected`](Self::evaluate_projected), and gives back what was kept before; no slots keep
    /// nothing. Returns whether it is kept: not by an engine that cannot, for want of memory, or where a residual connection adds
    /// the samples to what the first layer makes.
    ///
    /// # Errors
    /// No such part or slot; too little memory.
    fn project(&mut self, _part: Part, _slots: &[Slot]) -> Result<bool> {
        Ok(false)
    }

    /// [`evaluate`](Self::evaluate)s the live weights over the part of [`project`](Self::project), where they are the sum of its
    /// vectors times `coefficients`, one list a replica. The first layer's product, most of the work of many networks, is linear in
    /// the weights: it becomes the sum of what is kept, which is a rounding away from the product with the sum.
    ///
    /// # Errors
    /// Nothing is kept, or another number of coefficients.
    fn evaluate_projected(&mut self, _coefficients: &[Vec<f64>]) -> Result<Vec<Evaluation>> {
        Err(Error::config("project", "expected vectors that are projected, found none"))
    }

    /// The logits (regression: the outputs, in the units of the targets) for samples that are in no data set, `(rows, outputs)` for each replica, of the
    /// weights in one slot or of the ensemble of several. `inputs` holds raw values, sample after sample, which are
    /// normalised as the data set's are; they may have any of the types of [`Features`]. [`softmax`](crate::loss::softmax)
    /// makes probabilities of logits; those of an ensemble are the logarithms of its mean probabilities.
    ///
    /// A row's result depends neither on which rows stand beside it nor on how many.
    ///
    /// # Errors
    /// No such slot, or values that are no whole number of samples.
    fn predict(&mut self, inputs: &Features, slots: &[Slot]) -> Result<Vec<Vec<f64>>>;

    /// Replaces the running statistics of batch normalisation in `slot` by the mean of those of `steps`, carried out
    /// forward alone with the slot's weights; without batch normalisation it does nothing.
    ///
    /// # Errors
    /// No such slot, or a step that does not fit the setup.
    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()>;

    /// The loss scale of each replica; an empty list but in mixed precision.
    ///
    /// # Errors
    /// The device is lost.
    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        Ok(Vec::new())
    }

    /// Sets the loss scale of each replica, with which the next step goes on; a full precision ignores them.
    ///
    /// # Errors
    /// Another number of scales than of replicas.
    fn set_loss_scales(&mut self, _scales: &[LossScale]) -> Result<()> {
        Ok(())
    }

    /// Has batch normalisation take mean and variance of a step of which the engine has a [share](Step::share) over all engines
    /// that have one, none of which may be empty. Returns whether the engine can: the CPU engine of one replica.
    fn normalize_across(&mut self, _across: Arc<dyn Across>) -> bool {
        false
    }

    /// Has the next [`update`](Self::update) leave the weights of some replicas as they are, as that of a step whose gradients
    /// overflowed, since those of another engine did that has a share of the step; a full precision ignores it. What is put
    /// into the gradient's slot afterwards is taken again.
    ///
    /// # Errors
    /// Another number of entries than of replicas.
    fn skip_updates(&mut self, _skipped: &[bool]) -> Result<()> {
        Ok(())
    }

    /// The forms of the engine's matrix products, with which they repeat their bits; none where there is no choice.
    fn forms(&self) -> Forms {
        Forms::default()
    }
}

/// Draws first weights for every replica, with the setup's seed.
///
/// # Errors
/// The device is lost.
pub fn initialize(engine: &mut dyn Engine, init: Init) -> Result<()> {
    let (model, seed) = (engine.setup().model.clone(), engine.setup().seed);
    for r in 0..engine.setup().replicas {
        let weights = engine.layout().init(&model, init, seed.wrapping_add(r as u64));
        engine.upload(Slot::Live, r, &weights)?;
    }
    Ok(())
}
