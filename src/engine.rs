//! The contract between the training loop and what carries out its steps.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::average::{Average, Take};
use crate::data::{Augment, Dataset, Part};
use crate::error::{Error, Result};
use crate::gpu::forms::{Forms, MOST_PARTS};
use crate::loss::Loss;
use crate::model::{Layout, Mlp, NORM_MOMENTUM, Norm};
use crate::optimizer::{Decay, Optimizer};
use crate::rng::{Purpose, Stream};
use crate::schedule::Rate;

/// What an engine is built for.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network.
    pub model: Mlp,
    /// What is minimised.
    pub loss: Loss,
    /// ε of the cross-entropy, in `[0, 1)`.
    pub label_smoothing: f64,
    /// How training samples are changed at random.
    pub augment: Augment,
    /// How a gradient becomes an update.
    pub optimizer: Optimizer,
    /// What the optimizer's weight decay acts on.
    pub decay: Decay,
    /// Gradients of a larger global norm are scaled to it: `g ← g · min(1, clip_norm / (‖g‖ + 1e-6))`.
    pub clip_norm: Option<f64>,
    /// Which means of the weights are kept beside them.
    pub average: Average,
    /// Whether there is a slot for the best weights of the run.
    pub keep_best: bool,
    /// Draws first weights, orders, dropout and augmentation; replica r uses seed + r.
    pub seed: u64,
    /// Number of models trained side by side.
    pub replicas: usize,
    /// Samples of the largest step.
    pub batch: usize,
    /// Mixed precision: activations, their gradients and a working copy of the weights in halves (f16), sums and the
    /// weights themselves in f32, and a dynamic loss scale (Micikevicius et al., 2018). Only the GPU engine has it. A step
    /// that is skipped since its gradients overflow counts as one: for the schedule, the averages and Adam's correction.
    pub mixed: bool,
    /// The data, shared between engines.
    pub dataset: Arc<Dataset>,
}

/// The most samples that pass through the network at once; a larger batch is summed up from several passes, except
/// under batch normalisation, whose statistics are those of the whole step.
///
/// A constant, so that a run's bits depend neither on the memory at hand nor on the number of replicas.
pub const MAX_PASS: usize = 2048;

/// WebGPU's core limit of workgroups in one dimension.
const MOST_ROWS: usize = 65_535;
/// The same limit, for each of the parts that sums may be split into.
const MAX_REPLICAS: usize = MOST_ROWS / MOST_PARTS as usize;

/// The fewest samples for which an engine makes room, so that evaluation after a step of one sample is not slow.
const MIN_ROOM: usize = 512;

impl Setup {
    /// One model trained by AdamW in batches of 128 (or as many samples as there are), with the loss that fits the
    /// targets and nothing else.
    pub fn new(model: Mlp, dataset: Arc<Dataset>) -> Self {
        Self {
            model,
            loss: if dataset.is_classification() { Loss::CrossEntropy } else { Loss::Mse },
            label_smoothing: 0.0,
            augment: Augment::default(),
            optimizer: Optimizer::default(),
            decay: Decay::default(),
            clip_norm: None,
            average: Average::default(),
            keep_best: false,
            seed: 0,
            replicas: 1,
            batch: dataset.train.len().min(128),
            mixed: false,
            dataset,
        }
    }

    /// Refuses what does not go together, and values above `largest`, that of the engine's precision.
    ///
    /// # Errors
    /// The first setting that does not fit the others.
    pub fn check(&self, largest: f64) -> Result<()> {
        let data = &self.dataset;
        let (inputs, outputs) = (self.model.inputs(), self.model.outputs());
        if (inputs, outputs) != (data.width(), data.outputs) {
            return Err(Error::config(
                "model",
                format!(
                    "expected {} inputs and {} outputs, as the data has, found {inputs} and {outputs}",
                    data.width(),
                    data.outputs
                ),
            ));
        }
        if self.loss == Loss::CrossEntropy && !data.is_classification() {
            return Err(Error::config("model.loss", "cross_entropy expects labels, found regression targets; use mse"));
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            let found = self.label_smoothing;
            return Err(Error::config("model.label_smoothing", format!("expected a number in [0, 1), found {found}")));
        }
        if self.loss == Loss::Mse && self.label_smoothing > 0.0 {
            let found = self.label_smoothing;
            return Err(Error::config(
                "model.label_smoothing",
                format!("expected 0, since the loss is mse, found {found}"),
            ));
        }
        if data.largest() > largest {
            let found = format!("expected values up to {largest:e} in this precision, found {:e}", data.largest());
            return Err(Error::data(&data.name, found));
        }
        if let Some(norm) = self.clip_norm
            && !(norm > 0.0 && norm.is_finite())
        {
            return Err(Error::config("train.clip_norm", format!("expected a positive number, found {norm}")));
        }
        if !(1..=MAX_REPLICAS).contains(&self.replicas) {
            let found = self.replicas;
            return Err(Error::config("train.replicas", format!("expected 1 to {MAX_REPLICAS}, found {found}")));
        }
        let samples = data.train.len();
        if self.batch == 0 || self.batch > samples {
            return Err(Error::config(
                "train.batch",
                format!("expected 1 to {samples} samples, as many as the training part has, found {}", self.batch),
            ));
        }
        if self.model.norm == Norm::Batch && !(2..=MOST_ROWS).contains(&self.batch) {
            let found = format!(
                "expected 2 to {MOST_ROWS} samples under batch normalisation (model.norm), found {}",
                self.batch
            );
            return Err(Error::config("train.batch", found));
        }
        self.model.check()?;
        self.augment.check(data)?;
        self.optimizer.check()
    }

    /// The most samples of a step that pass through the network at once.
    pub fn most_in_pass(&self) -> usize {
        if self.model.norm == Norm::Batch { self.batch } else { self.batch.min(MAX_PASS) }
    }

    /// Rows of the activation buffers: samples that pass through the network at once in an evaluation.
    pub fn room(&self) -> usize {
        self.most_in_pass().max(MIN_ROOM)
    }

    /// The bytes that a step of `rows` samples reads and writes at least, all replicas together: its samples, the
    /// activations of every layer forward and backward, and the parameters, read twice and with the optimizer's state
    /// read and written once more.
    pub fn step_bytes(&self, rows: usize) -> f64 {
        let widths = &self.model.widths;
        let activations: usize = widths[1..].iter().map(|w| 4 * w).sum::<usize>() + 2 * widths[0];
        let state = 2 * self.optimizer.state_vectors();
        // Bytes of an activation, and of all that is read and written of a parameter: in mixed precision the working
        // copy is read twice and written once.
        let (value, parameter) = if self.mixed { (2, 3 * 2 + 4 * (2 + state)) } else { (4, 4 * (4 + state)) };
        self.replicas as f64 * (rows * activations * value + parameter * self.model.parameters()) as f64
    }

    /// All vectors as long as the parameters that outlive a step: what a checkpoint holds.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = vec![Slot::Live];
        slots.extend((0..self.optimizer.state_vectors()).map(Slot::State));
        slots.extend(self.kept());
        slots
    }

    /// Those of them that averages ask for, and the best weights.
    pub(crate) fn kept(&self) -> Vec<Slot> {
        let mut slots = self.average.slots();
        slots.extend(self.keep_best.then_some(Slot::Best));
        slots
    }

    /// The end of the parameters that the weight decay acts on.
    pub(crate) fn decayed(&self, layout: &Layout) -> usize {
        match self.decay {
            Decay::All => layout.trained,
            Decay::Weights => layout.weights,
        }
    }

    /// Of all random numbers of `replica` that are drawn on the device.
    pub(crate) fn noise_seed(&self, replica: usize) -> u32 {
        Stream::new(self.seed.wrapping_add(replica as u64), Purpose::Noise, 0).below(1 << 32) as u32
    }
}

/// One update of every replica.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// Number of updates before this one.
    pub index: u64,
    /// Position of the first sample in the epoch's order.
    pub first: usize,
    /// Number of samples.
    pub rows: usize,
    /// Learning rate and momentum, one a replica.
    pub rates: Vec<Rate>,
    /// What the averages take of the weights afterwards.
    pub take: Take,
}

impl Step {
    /// The ranges of positions in the order that pass through the network one after the other, `most` at a time.
    pub(crate) fn passes(&self, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let end = self.first + self.rows;
        (self.first..end).step_by(most).map(move |first| first..end.min(first + most))
    }
}

/// What a step's forward and backward passes are for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Aim {
    /// An update.
    Update,
    /// A look at the gradient; nothing is to change.
    Gradient,
    /// New running statistics: this step is the n-th, from 0.
    Statistics(usize),
}

impl Aim {
    /// How much of batch normalisation's running statistics the step replaces. New ones are the mean over the steps, as
    /// those of `torch.optim.swa_utils.update_bn`.
    pub fn statistics(self) -> f64 {
        match self {
            Self::Update => NORM_MOMENTUM,
            Self::Gradient => 0.0,
            Self::Statistics(n) => 1.0 / (n + 1) as f64,
        }
    }
}

/// What a step tells about one replica, measured before its update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepMetrics {
    /// The step's index.
    pub step: u64,
    /// The replica.
    pub replica: usize,
    /// Mean loss over the batch.
    pub loss: f64,
    /// Samples whose largest logit is that of the target's largest value.
    pub correct: u64,
    /// Norm of the whole gradient before clipping; only when `clip_norm` is set, and not of a step that mixed precision skips.
    pub grad_norm: Option<f64>,
    /// What the loss was multiplied by on its way to the gradients; only in mixed precision.
    pub loss_scale: Option<f64>,
}

/// The dynamic loss scale of one replica, in mixed precision. It starts at 65536; a step whose gradients overflow is
/// skipped and halves it, 2000 others in a row double it, as `torch.amp.GradScaler` does.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// Of the next step.
    pub next: f32,
    /// Steps without an overflow since it changed.
    pub steps: u32,
}

/// What an evaluation tells about one replica.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Fraction of samples whose largest logit is that of the target's largest value.
    pub accuracy: f64,
}

/// A vector as long as the parameters that an engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The weights being trained.
    Live,
    /// A copy to come back to, one of [`Slot::COPIES`].
    Copy(usize),
    /// The mean that [`Average::swa`] asks for.
    Swa,
    /// The mean that [`Average::ema`] asks for.
    Ema,
    /// The slow weights of [`Average::lookahead`].
    Slow,
    /// One of the copies that [`Average::snapshots`] asks for.
    Snapshot(usize),
    /// The best weights, where [`Setup::keep_best`] asks for them.
    Best,
    /// One of the optimizer's [`state_vectors`](Optimizer::state_vectors).
    State(usize),
}

impl Slot {
    /// Number of copies.
    pub const COPIES: usize = 2;
    /// The most snapshots.
    pub const MOST_SNAPSHOTS: usize = 100;

    /// Its name in files: `live`, `state.0`, `snapshot.2`.
    pub fn name(self) -> String {
        match self {
            Self::Live => "live".into(),
            Self::Copy(i) => format!("copy.{i}"),
            Self::Swa => "swa".into(),
            Self::Ema => "ema".into(),
            Self::Slow => "slow".into(),
            Self::Snapshot(i) => format!("snapshot.{i}"),
            Self::Best => "best".into(),
            Self::State(i) => format!("state.{i}"),
        }
    }

    /// There is no such slot, since nobody asked for it.
    pub(crate) fn missing(self) -> Error {
        Error::config("average", format!("expected {} to be asked for, found that it is not", self.name()))
    }
}

/// One buffer of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// What it holds.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// What a device can do at most, as measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Floating-point operations a second in f32, or in the precision of a CPU engine, a multiply-add being two.
    pub flops: f64,
    /// The same in f16, where the device has it.
    pub flops_f16: Option<f64>,
    /// By cooperative matrices of halves, summed up in f32, where the device has them.
    pub flops_cooperative: Option<f64>,
    /// Bytes a second of a copy, those read and those written.
    pub bandwidth: f64,
    /// Seconds of a dispatch that waits for the one before it.
    pub dispatch: f64,
    /// Seconds of a submission that the host waits for.
    pub submission: f64,
}

impl Limits {
    /// The better of the two in every respect.
    pub fn best(&self, other: &Self) -> Self {
        let larger = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a.max(b)).or(a).or(b);
        Self {
            flops: self.flops.max(other.flops),
            flops_f16: larger(self.flops_f16, other.flops_f16),
            flops_cooperative: larger(self.flops_cooperative, other.flops_cooperative),
            bandwidth: self.bandwidth.max(other.bandwidth),
            dispatch: self.dispatch.min(other.dispatch),
            submission: self.submission.min(other.submission),
        }
    }

    /// The least seconds in which so much can be done: the larger of operations over peak and bytes over bandwidth, and
    /// the dispatches. The peak is that of f32, in which all sums are; in mixed precision that of cooperative matrices if it
    /// is higher.
    pub fn floor(&self, mixed: bool, flops: f64, bytes: f64, dispatches: usize) -> f64 {
        let cooperative = self.flops_cooperative.filter(|_| mixed).unwrap_or(0.0);
        (flops / self.flops.max(cooperative)).max(bytes / self.bandwidth) + dispatches as f64 * self.dispatch
    }
}

/// The time of one dispatch of a step, and what it did at least.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timed {
    /// The kernel, and its layer if it has one.
    pub name: String,
    /// By the device's clock.
    pub seconds: f64,
    /// Dispatches: one, or two where sums are split.
    pub dispatches: usize,
    /// Floating-point operations.
    pub flops: f64,
    /// Bytes read and written, each value once.
    pub bytes: f64,
}

/// Carries out steps and evaluations for all replicas.
///
/// Flat vectors have the [`Layout`]'s order; the values of a single-precision engine are exact in `f64`.
pub trait Engine {
    /// Where this engine computes, in words.
    fn describe(&self) -> String;

    /// What it was built for.
    fn setup(&self) -> &Setup;

    /// Where each tensor lies in a flat vector.
    fn layout(&self) -> &Layout;

    /// Replaces one replica's vector in a slot.
    ///
    /// # Errors
    /// The device is lost.
    fn set_weights(&mut self, slot: Slot, replica: usize, weights: &[f64]) -> Result<()>;

    /// One replica's vector in a slot.
    ///
    /// # Errors
    /// The device is lost.
    fn weights(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>>;

    /// Copies a slot of all replicas, without a way over the host.
    ///
    /// # Errors
    /// The device is lost.
    fn copy_weights(&mut self, from: Slot, to: Slot) -> Result<()>;

    /// Sets the order in which the next steps take the training samples, one permutation a replica.
    ///
    /// # Errors
    /// The device is lost.
    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()>;

    /// Number of steps worth handing over at once.
    fn steps_at_once(&self) -> usize;

    /// Carries out `steps`. Returns the metrics that have arrived, in the order of steps, then replicas: an engine may
    /// keep those of the last calls back until a later call or [`finish`](Self::finish).
    ///
    /// # Errors
    /// The device is lost.
    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>>;

    /// Waits for all steps and returns the metrics that were still due.
    ///
    /// # Errors
    /// The device is lost.
    fn finish(&mut self) -> Result<Vec<StepMetrics>>;

    /// Mean loss and its gradient over the step's samples, one a replica, without an update.
    ///
    /// # Errors
    /// The device is lost.
    fn gradients(&mut self, step: &Step) -> Result<Vec<(f64, Vec<f64>)>>;

    /// Mean loss and accuracy over a part of the data set, one a replica: of the weights in one slot, or of the ensemble
    /// of several, whose prediction is the mean of their softmax outputs (of their outputs, under the squared error).
    ///
    /// # Errors
    /// The part is missing, or the device is lost.
    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>>;

    /// Replaces the running statistics of batch normalisation in `slot` by the mean of those of `steps`, carried out
    /// forward alone with the slot's weights; without batch normalisation it does nothing.
    ///
    /// # Errors
    /// The device is lost.
    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()>;

    /// The loss scale of each replica; none but in mixed precision.
    ///
    /// # Errors
    /// The device is lost.
    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        Ok(Vec::new())
    }

    /// Goes on with these; a full precision ignores them.
    ///
    /// # Errors
    /// The device is lost.
    fn set_loss_scales(&mut self, _scales: &[LossScale]) -> Result<()> {
        Ok(())
    }

    /// Bytes of a weight, and of whatever else it computes with; in mixed precision, of the weights that the optimizer sees.
    fn value_bytes(&self) -> usize {
        size_of::<f32>()
    }

    /// Its buffers on the device; of the CPU engine, the vectors of its replicas, without what is small and without the
    /// data set.
    fn memory(&self) -> Vec<Allocation>;

    /// Measures what its device can do at most; takes about a second.
    ///
    /// # Errors
    /// The device is lost.
    fn limits(&mut self) -> Result<Limits>;

    /// The forms of its matrix products, which [`Options::forms`](crate::gpu::Options) replays bit for bit; none where there
    /// is no choice.
    fn forms(&self) -> Forms {
        Forms::new()
    }

    /// Dispatches of one step, clipping included and averages not; 0 where there is no such thing.
    fn dispatches(&self) -> usize;

    /// Carries out `step` with its dispatches one by one, and times each by the device's clock; empty where the device
    /// has none.
    ///
    /// # Errors
    /// The device is lost.
    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>>;
}
