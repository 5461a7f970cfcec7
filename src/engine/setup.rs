//! What an engine is built for, and what of it does not go together.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Slot;
use crate::average::Average;
use crate::data::{Augment, Dataset};
use crate::engine::Layout;
use crate::error::{Error, Result};
use crate::loss::Loss;
use crate::model::{Mlp, Norm};
use crate::number::{Purpose, Stream};
use crate::optimizer::{Decay, Optimizer};
use crate::sam::Sam;

/// The setup of an engine: everything that it is built for. The defaults are those of [`new`](Self::new).
#[derive(Clone, Debug)]
pub struct Setup {
    /// The network.
    pub model: Mlp,
    /// The loss that is minimised. Default: cross-entropy for labels, the squared error for other targets.
    pub loss: Loss,
    /// The label smoothing ε of the cross-entropy, in `[0, 1)`. Default 0.
    pub label_smoothing: f64,
    /// The weight of each class in the loss of training, at least 0 and some above: the loss is the mean over a step's samples,
    /// each with the weight of its class (times its own, [`Samples::weights`](crate::data::Samples::weights)). Evaluations
    /// count all samples alike. Default: empty, and all classes count alike.
    pub class_weights: Vec<f64>,
    /// The augmentation: how training samples are changed at random. Default: not at all.
    pub augment: Augment,
    /// The optimizer: how a gradient becomes an update. Default AdamW.
    pub optimizer: Optimizer,
    /// The ascent before each update, for which a step makes two gradients. Default: none.
    pub sam: Option<Sam>,
    /// The parameters that the optimizer's weight decay acts on. Default: all.
    pub decay: Decay,
    /// The largest global norm of a gradient, above 0, to which larger ones are scaled:
    /// `g ← g · min(1, clip_norm / (‖g‖ + 1e-6))`. Default: none.
    pub clip_norm: Option<f64>,
    /// The averages and copies of the weights that are kept beside them. Default: none.
    pub average: Average,
    /// The seed that draws first weights, orders, dropout and augmentation; replica r uses seed + r. Default 0.
    pub seed: u64,
    /// The number of models trained side by side. Default 1.
    pub replicas: usize,
    /// The number of samples of the largest step. Default 128, or as many as there are.
    pub batch: usize,
    /// The precision of the engine's values. Default f32. A CPU engine computes in that of its type.
    pub precision: Precision,
    /// The number of samples that pass through the network at once in an evaluation, if those of a step are not more. Default:
    /// 512; on the GPU fewer, where a binding does not hold the rows of so many.
    pub eval_rows: Option<usize>,
    /// Whether the engine evaluates and predicts alone: without gradients, optimizer state and all else that a step
    /// needs. Default false.
    pub evaluation_only: bool,
    /// The setups of the replicas, where they differ in more than their seed: one a replica, each of one replica, and alike in all
    /// that decides a shape or a kernel ([`difference`](Self::difference)). Default: none, and replica r is as this setup says,
    /// with seed + r.
    pub own: Vec<Setup>,
    /// The data set, shared between engines.
    pub dataset: Arc<Dataset>,
}

/// The precision of an engine's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Double precision; only the CPU engine has it.
    F64,
    /// Mixed precision: activations, their gradients and a working copy of the weights in halves (f16), sums and the
    /// weights themselves in f32, and a dynamic loss scale (Micikevicius et al., 2018). Only the GPU engine has it. A step
    /// that is skipped since its gradients overflow counts as one: for the schedule, the averages and Adam's correction.
    Mixed,
}

/// The most samples that pass through the network at once; a larger batch is summed up from several passes, except
/// under batch normalisation, whose statistics are those of the whole step.
///
/// A constant, so that a run's bits depend neither on the memory at hand nor on the number of replicas.
pub const MAX_PASS: usize = 2048;

/// WebGPU's core limit of workgroups in one dimension.
const MOST_ROWS: usize = 65_535;
/// The most workgroups that share one sum of a product.
pub(crate) const MOST_PARTS: u32 = 16;
/// The most replicas: the limit of workgroups, divided by the parts that sums may be split into.
const MOST_REPLICAS: usize = MOST_ROWS / MOST_PARTS as usize;

/// The fewest samples for which an engine makes room if it can, so that evaluation after a step of one sample is not slow.
pub(crate) const EVAL_ROWS: usize = 512;

impl Setup {
    /// The setup of one model trained by AdamW in batches of 128 (or as many samples as there are), with the loss that
    /// fits the targets and nothing else.
    pub fn new(model: Mlp, dataset: Arc<Dataset>) -> Self {
        Self {
            model,
            loss: if dataset.is_classification() { Loss::CrossEntropy } else { Loss::Mse },
            label_smoothing: 0.0,
            class_weights: Vec::new(),
            augment: Augment::default(),
            optimizer: Optimizer::default(),
            sam: None,
            decay: Decay::default(),
            clip_norm: None,
            average: Average::default(),
            seed: 0,
            replicas: 1,
            batch: dataset.train.len().min(128),
            precision: Precision::default(),
            eval_rows: None,
            evaluation_only: false,
            own: Vec::new(),
            dataset,
        }
    }

    /// Refuses what does not go together, and values above `largest`, that of the engine's precision.
    ///
    /// # Errors
    /// The first setting that does not fit the others.
    pub fn check(&self, largest: f64) -> Result<()> {
        let data = &self.dataset;
        self.model.check_size()?;
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
        self.check_loss()?;
        if data.largest() > largest {
            let found = format!("expected values up to {largest:e} in this precision, found {:e}", data.largest());
            return Err(Error::data(&data.name, found));
        }
        if let Some(norm) = self.clip_norm
            && !(norm > 0.0 && norm.is_finite())
        {
            return Err(Error::config("train.clip_norm", format!("expected a positive number, found {norm}")));
        }
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            let found = self.replicas;
            return Err(Error::config("train.replicas", format!("expected 1 to {MOST_REPLICAS}, found {found}")));
        }
        self.check_own(largest)?;
        self.average.check()?;
        self.check_batch()?;
        self.model.check()?;
        self.augment.check(data)?;
        self.sam.map_or(Ok(()), |sam| sam.check())?;
        self.optimizer.check()
    }

    pub(crate) fn check_own(&self, largest: f64) -> Result<()> {
        if self.own.is_empty() {
            return Ok(());
        }
        if self.own.len() != self.replicas {
            let found = format!("expected {} setups, one a replica, found {}", self.replicas, self.own.len());
            return Err(Error::config("setup.own", found));
        }
        for own in &self.own {
            if own.replicas != 1 || !own.own.is_empty() {
                return Err(Error::config("setup.own", "expected setups of one replica each, found one of several"));
            }
            if let Some(key) = self.difference(own) {
                let found = "expected the same for all replicas of an engine, found several";
                return Err(Error::config(key, found));
            }
            own.check(largest)?;
        }
        Ok(())
    }

    /// The first setting in which another setup cannot share an engine with this one, by its name in a configuration: one that
    /// decides a shape or a kernel. Seed, label smoothing, the optimizer's constants, those of averages, and how much is dropped,
    /// mixed, clipped, ascended or added as noise may differ, if any of it is.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use thalweg::data::{Dataset, Samples};
    /// use thalweg::engine::Setup;
    /// use thalweg::model::Mlp;
    /// # let samples = Samples::labelled(vec![0.0, 1.0], vec![0, 1]);
    /// # let dataset = Arc::new(Dataset::new("two", [1, 1, 1], samples, None).unwrap());
    /// let one = Setup::new(Mlp::new(1, 2).hidden([8]), dataset);
    /// let smoothed = Setup { label_smoothing: 0.1, seed: 7, ..one.clone() };
    /// let wider = Setup { model: Mlp::new(1, 2).hidden([16]), ..one.clone() };
    /// assert_eq!((one.difference(&smoothed), one.difference(&wider)), (None, Some("model")));
    /// ```
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let pick = |s: &Self| {
            let Augment { pad, flip, cutout, mixup, noise: _ } = s.augment;
            (pad, flip, cutout, mixup > 0.0, s.augment.is_none())
        };
        let network = |s: &Self| Mlp { dropout: f64::from(s.model.dropout > 0.0), ..s.model.clone() };
        let averages = |s: &Self| (s.kept(), s.updates_ema());
        [
            ("data", !Arc::ptr_eq(&self.dataset, &other.dataset)),
            ("model", network(self) != network(other)),
            ("model.loss", self.loss != other.loss),
            ("model.class_weights", self.class_weights != other.class_weights),
            ("augment", pick(self) != pick(other)),
            ("optimizer.name", self.optimizer.rule() != other.optimizer.rule()),
            ("optimizer.sam", self.sam.map(|sam| sam.adaptive) != other.sam.map(|sam| sam.adaptive)),
            ("train.decay", self.decay != other.decay),
            ("train.clip_norm", self.clip_norm.is_some() != other.clip_norm.is_some()),
            ("average", averages(self) != averages(other)),
            ("train.batch", self.batch != other.batch),
            ("train.precision", self.precision != other.precision),
            ("eval_rows", self.eval_rows != other.eval_rows),
            ("evaluation_only", self.evaluation_only != other.evaluation_only),
        ]
        .into_iter()
        .find_map(|(key, is_other)| is_other.then_some(key))
    }

    /// The same setup with so many rows in an evaluation, for all replicas.
    pub(crate) fn fitted(&self, eval_rows: Option<usize>) -> Self {
        let own = self.own.iter().map(|own| own.fitted(eval_rows)).collect();
        Self { eval_rows, own, ..self.clone() }
    }

    /// The setup of replica r by itself: of the run that it is.
    pub fn of(&self, replica: usize) -> Self {
        let alone = || Self { seed: self.seed.wrapping_add(replica as u64), replicas: 1, ..self.clone() };
        self.own.get(replica).cloned().unwrap_or_else(alone)
    }

    /// The setups of all replicas, each by itself.
    pub(crate) fn alone(&self) -> impl Iterator<Item = Self> + '_ {
        (0..self.replicas).map(|r| self.of(r))
    }

    fn check_loss(&self) -> Result<()> {
        let data = &self.dataset;
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
        self.check_class_weights()
    }

    fn check_class_weights(&self) -> Result<()> {
        let (data, weights) = (&self.dataset, &self.class_weights);
        let bad = |found: String| Err(Error::config("model.class_weights", found));
        if weights.is_empty() {
            return Ok(());
        }
        if !data.is_classification() {
            return bad("expected none, since the targets are no labels, found some".into());
        }
        if weights.len() != data.outputs {
            return bad(format!("expected {}, one a class, found {}", data.outputs, weights.len()));
        }
        match weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            Some(found) => bad(format!("expected numbers of at least 0, found {found}")),
            None if weights.iter().all(|&w| w == 0.0) => bad("expected some above 0, found none".into()),
            None => Ok(()),
        }
    }

    fn check_batch(&self) -> Result<()> {
        let samples = self.dataset.train.len();
        if self.batch == 0 || self.batch > samples {
            return Err(Error::config(
                "train.batch",
                format!("expected 1 to {samples} samples, as many as the training part has, found {}", self.batch),
            ));
        }
        if !self.evaluation_only && self.model.norm == Norm::Batch && !(2..=MOST_ROWS).contains(&self.batch) {
            let found = format!(
                "expected 2 to {MOST_ROWS} samples under batch normalisation (model.norm), found {}",
                self.batch
            );
            return Err(Error::config("train.batch", found));
        }
        Ok(())
    }

    /// The most samples of a step that pass through the network at once.
    pub fn most_in_pass(&self) -> usize {
        if self.model.norm == Norm::Batch { self.batch } else { self.batch.min(MAX_PASS) }
    }

    /// The number of rows of the activation buffers: the samples that pass through the network at once in an evaluation.
    pub fn room(&self) -> usize {
        self.most_in_pass().max(self.eval_rows.unwrap_or(EVAL_ROWS))
    }

    /// The number of gradients that a step makes: two where there is an ascent.
    pub(crate) fn gradients(&self) -> usize {
        1 + usize::from(self.sam.is_some())
    }

    /// Whether a step of `rows` samples uses weight gradients up as it makes them: if nobody asks for their norm, for a sum of
    /// several passes, or for those of an ascent.
    pub(crate) fn is_fused(&self, rows: usize) -> bool {
        self.clip_norm.is_none() && self.sam.is_none() && rows <= self.most_in_pass()
    }

    /// The floating-point operations of the products in a step of `rows` samples, of one replica: those of
    /// [`Mlp::step_flops`], twice where there is an ascent.
    pub fn step_flops(&self, rows: usize) -> f64 {
        self.gradients() as f64 * self.model.step_flops(rows)
    }

    /// The bytes that a step of `rows` samples reads and writes at least, each value once and all replicas together: the
    /// activations of every layer, which go forward and come backward, and the parameters with the optimizer's state; where
    /// there is an ascent, also what it moves, and the activations there. The passes of a large step have one memory, which is
    /// counted once.
    pub fn step_bytes(&self, rows: usize) -> f64 {
        let activations = self.gradients() * self.model.widths.iter().sum::<usize>();
        let vectors = self.gradients() + self.optimizer.state_vectors();
        // Bytes of an activation and of a parameter: in mixed precision there is a working copy of halves.
        let (value, parameter) = if self.is_mixed() { (2, 2 + 4 * vectors) } else { (4, 4 * vectors) };
        let rows = rows.min(self.most_in_pass());
        2.0 * self.replicas as f64 * (rows * activations * value + parameter * self.model.parameters()) as f64
    }

    /// Whether some training samples count more than others in the loss.
    pub(crate) fn is_weighted(&self) -> bool {
        self.dataset.train.weights.is_some() || !self.class_weights.is_empty()
    }

    /// Whether the engine's precision is the mixed one.
    pub fn is_mixed(&self) -> bool {
        self.precision == Precision::Mixed
    }

    /// The slots of the vectors, as long as the parameters, that outlive a step: the weights, the optimizer's state,
    /// and what the averages ask for. A checkpoint holds them.
    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = vec![Slot::Live];
        if !self.evaluation_only {
            slots.extend((0..self.optimizer.state_vectors()).map(Slot::State));
        }
        slots.extend(self.kept());
        slots
    }

    /// The slots of the vectors that averages ask for.
    pub(crate) fn kept(&self) -> Vec<Slot> {
        let Average { swa, ema, snapshots, lookahead } = &self.average;
        let mut slots = Vec::new();
        slots.extend(swa.as_ref().map(|_| Slot::Swa));
        slots.extend(ema.map(|_| Slot::Ema));
        slots.extend(lookahead.map(|_| Slot::Slow));
        slots.extend((0..snapshots.as_ref().map_or(0, |s| s.max)).map(Slot::Snapshot));
        slots
    }

    /// Whether the EMA takes new weights where the update makes them: not if lookahead moves them afterwards.
    pub(crate) fn updates_ema(&self) -> bool {
        self.average.ema.is_some() && self.average.lookahead.is_none()
    }

    /// The end of the parameters that the weight decay acts on.
    pub(crate) fn decayed(&self, layout: &Layout) -> usize {
        match self.decay {
            Decay::All => layout.trained,
            Decay::Weights => layout.weights,
        }
    }

    /// The seed of all random numbers of the first replica that are drawn on the device.
    pub(crate) fn device_seed(&self) -> u32 {
        Stream::new(self.seed, Purpose::Noise, 0).below(1 << 32) as u32
    }
}
