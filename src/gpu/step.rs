//! A training step on the GPU, from top to bottom: every dispatch in its order, with the tensors that it reads and writes.
//!
//! | tensor | shape | it is |
//! | --- | --- | --- |
//! | a\[0\] | (R, room, inputs) | x, the samples of the pass |
//! | a\[l + 1\], slope\[l\] | (R, room, outputs) | layer l's output, and the slope of its activation |
//! | xhat\[l\], inverse\[l\] | (R, room, outputs), (R, outputs or room) | a normalisation's x̂ and 1/√(variance + ε) |
//! | dz\[l\] | (R, room, outputs) | the gradient of layer l's z; the last lies in the place of the logits |
//! | da\[l\] | (R, room, inputs) | the gradient of a\[l\], where a residual connection needs it |
//! | w, grads | (R, P) | weights and their gradient; under mixed precision products read `working`, w in halves |
//! | state | (vectors, R, P) | the optimizer's, and behind it the EMA where there is no lookahead |
//! | ascended | (R, P) | the weights at the end of the ascent before an update, where there is one |
//! | scaling | (R) | the loss scale, and what clipping multiplies the gradient with |
//! | metrics | (RING_ROWS, R) | loss, right answers, gradient norm and loss scale of each step of a submission |
//!
//! How a dispatch is made of its kernel stands in `samples.rs`, `products.rs`, `layers.rs` and `updates.rs`; how steps become
//! submissions, in `submission.rs`.

use wgpu::Buffer;

use super::buffers::AscentBuffers;
use super::builder::Builder;
use super::dataset::Feed;
use super::program::Op;
use crate::average::Take;
use crate::engine::Slot;
use crate::error::Result;
use crate::model::Norm;

/// The dispatches of training steps.
pub(super) struct StepProgram {
    /// The dispatches of the forward pass, for every pass of a step: gather, layers and loss.
    pub forward: Vec<Op>,
    /// The dispatches of the backward pass, for every pass of a step: the gradient.
    pub backward: Vec<Op>,
    /// The dispatches of the update, once a step: clipping, where there is a largest norm, and the optimizer.
    pub update: Vec<Op>,
    /// The dispatches of the second gradient of each step; none without an ascent.
    pub ascent: Option<Ascent>,
    /// The dispatches of the backward pass with the update in it, for the only pass of a step, where nobody asks for
    /// the gradient itself.
    pub fused: Option<Vec<Op>>,
    /// The dispatch of lookahead; empty without lookahead.
    lookahead: Vec<Op>,
    /// The dispatch with which SWA takes the weights; empty without SWA.
    swa: Vec<Op>,
    /// The dispatch with which the EMA takes the weights; empty where the update does that, which it does without lookahead.
    ema: Vec<Op>,
    /// The dispatches of a forward pass without loss, for new statistics of batch normalisation.
    pub statistics: Vec<Op>,
}

/// The dispatches of an ascent, and of the gradient at its end.
pub(super) struct Ascent {
    /// The dispatches of the ascent, once a step, after its first gradient, which becomes 0.
    pub ascend: Vec<Op>,
    /// The dispatches of the passes at its end, whose gradients are added to that 0: gather, layers, loss and backward pass.
    pub pass: Vec<Op>,
    /// The dispatch that gives the products the live weights again, after the last of them; none where they read them
    /// themselves.
    pub descend: Option<Op>,
}

/// The dispatches of one pass of an evaluation.
pub(super) struct EvalProgram {
    forward: Vec<Op>,
    /// The dispatch that adds a member's prediction to the ensemble's; empty where no ensemble may be asked for.
    pub ensemble: Vec<Op>,
    loss: Vec<Op>,
}

/// A predictor, which passes the rows of a caller's array through the network.
pub(super) struct Predictor {
    /// Whether the rows are pixels, not numbers.
    pub is_bytes: bool,
    /// The buffer of the records of one pass.
    pub inputs: Buffer,
    /// The dispatches of one pass.
    pub program: EvalProgram,
}

/// What the first layer makes of a part with each of several vectors, and the dispatches of an evaluation of their sums.
pub(super) struct Projected {
    /// The number of samples of the part.
    pub samples: usize,
    /// The buffer of the multiples of the vectors: (R, 3).
    pub coefficients: Buffer,
    /// The dispatches of one pass.
    pub program: Vec<Op>,
}

impl Builder<'_> {
    /// Makes the dispatches of training steps over the samples of `training`, and chooses the forms of their products.
    ///
    /// # Errors
    /// The device is lost while it measures the products' forms.
    pub fn step_program(&self, training: &Feed) -> Result<StepProgram> {
        let b = self.buffers;
        self.choose_forms(training)?;
        let slot = |wanted: Slot| b.kept.iter().filter(move |(slot, _)| *slot == wanted).map(|(_, buffer)| buffer);
        let has_statistics = self.setup.model.norm == Norm::Batch;
        let statistics = Feed { is_kept: false, ..*training };
        Ok(StepProgram {
            forward: self.forward_and_loss(&b.params, training)?,
            backward: self.backward(&b.params, false, false)?,
            ascent: self.ascent(training)?,
            update: self.clip_and_update(),
            fused: self.is_fused().then(|| self.fused()).transpose()?,
            // w, slow -> w, slow: (R, P)
            lookahead: slot(Slot::Slow).map(|slow| self.lookahead(&b.params, slow)).collect(),
            // w -> swa: (R, P)
            swa: slot(Slot::Swa).map(|mean| self.average(&b.params, mean, false)).collect(),
            // w -> ema: (R, P)
            ema: slot(Slot::Ema).map(|mean| self.average(&b.params, mean, true)).collect(),
            statistics: if has_statistics { self.forward(&b.eval_params, &statistics)? } else { Vec::new() },
        })
    }

    /// Makes the dispatches of an evaluation over the samples of `feed`.
    ///
    /// # Errors
    /// The device is lost while it measures the products' forms.
    pub fn eval_program(&self, feed: &Feed) -> Result<EvalProgram> {
        let b = self.buffers;
        let logits = &b.a[self.layout.layers.len()];
        Ok(EvalProgram {
            forward: self.forward(&b.eval_params, feed)?,
            // logits, mean -> mean: (R, samples, outputs); after the last member mean -> logits
            ensemble: self.ensembles(feed),
            loss: vec![self.loss(feed, logits, &b.metrics)],
        })
    }

    /// Makes the dispatch of an ensemble, where there is room for one.
    pub fn ensembles(&self, feed: &Feed) -> Vec<Op> {
        let logits = &self.buffers.a[self.layout.layers.len()];
        self.buffers.mean.iter().map(|mean| self.ensemble(feed, logits, mean)).collect()
    }

    /// Makes the dispatches of the forward pass with the weights `w`, and of the loss.
    ///
    /// # Errors
    /// The device is lost while it measures the products' forms.
    pub fn forward_and_loss(&self, w: &Buffer, feed: &Feed) -> Result<Vec<Op>> {
        let b = self.buffers;
        let mut ops = self.forward(w, feed)?;
        // logits, targets -> the last dz, in the logits' place; loss and right answers in metrics
        ops.push(self.loss(feed, &b.a[self.layout.layers.len()], &b.metrics));
        Ok(ops)
    }

    /// Makes the dispatches of the forward pass: `records -> a[0] -> a[1] -> ... -> logits`
    fn forward(&self, w: &Buffer, feed: &Feed) -> Result<Vec<Op>> {
        let b = self.buffers;
        // records, order -> a[0]; under mixup, who is mixed with whom -> mix
        let mut ops = self.gather(feed, &b.a[0], &b.mix);
        ops.extend(self.layers(0, w, feed)?);
        Ok(ops)
    }

    /// Makes the dispatches of the layers from `first` on: `a[first] -> ... -> logits`
    ///
    /// # Errors
    /// The device is lost while it measures the products' forms.
    pub fn layers(&self, first: usize, w: &Buffer, feed: &Feed) -> Result<Vec<Op>> {
        let b = self.buffers;
        let mut ops = Vec::new();
        for l in first..self.layout.layers.len() {
            let (a, y, none) = (&b.a[l], &b.a[l + 1], &b.unused[1]);
            let slope = if feed.is_kept { &b.slope[l] } else { none };
            match &b.norms[l] {
                // w, a[l] -> a[l + 1], slope[l]
                None => ops.push(self.linear(l, feed, w, a, y, slope)?),
                Some(norm) => {
                    // w, a[l] -> z, in xhat[l]
                    ops.push(self.linear(l, feed, w, a, &norm.xhat, none)?);
                    // w, z -> xhat[l], inverse[l], n in a[l + 1]; batch normalisation's running statistics in w
                    ops.push(self.norm(l, feed, w, &norm.xhat, y, &norm.inverse));
                    // n, a[l] -> a[l + 1], slope[l]
                    ops.push(self.activate(l, feed, a, y, slope));
                }
            }
        }
        Ok(ops)
    }

    /// Makes the dispatches of an ascent, where there is one.
    fn ascent(&self, training: &Feed) -> Result<Option<Ascent>> {
        let b = self.buffers;
        let (Some(sam), Some(AscentBuffers { ascended, metrics })) = (&self.setup.sam, &b.ascent) else {
            return Ok(None);
        };
        let to_half = |w| self.setup.is_mixed().then(|| self.to_half(w));
        // w, grads -> ascended, grads of 0; under mixed precision ascended -> working
        let mut ascend = self.ascend(sam, ascended);
        ascend.extend(to_half(ascended));
        // records, ascended -> grads, as those of a further pass
        let mut pass = self.forward(ascended, training)?;
        pass.push(self.loss(training, &b.a[self.layout.layers.len()], metrics));
        pass.extend(self.backward(ascended, false, false)?);
        // under mixed precision w -> working
        Ok(Some(Ascent { ascend, pass, descend: to_half(&b.params) }))
    }

    /// Makes the dispatches of the backward pass with the weights `w`: the last dz -> every dz, and from each dz -> dW and db.
    ///
    /// Running statistics of batch normalisation that are kept depend on no weights. In this order, since an update changes the
    /// weights that `linear_dx` reads, and under mixed precision needs to know whether anything overflowed.
    pub fn backward(&self, w: &Buffer, is_fused: bool, is_kept: bool) -> Result<Vec<Op>> {
        let b = self.buffers;
        let mut ops = Vec::new();
        let layers = (0..self.layout.layers.len()).rev();
        for l in layers.clone() {
            if let Some(norm) = &b.norms[l] {
                // xhat[l], dn in dz[l] -> dγ, dβ in grads
                ops.push(self.norm_dw(l, &norm.xhat, &b.dz[l], &b.grads));
                // w, grads, xhat[l], inverse[l], dn -> dz[l]
                ops.push(self.norm_dx(l, is_kept, w, &b.grads, norm, &b.dz[l]));
            }
            if l > 0 {
                // w, dz[l], slope[l - 1], da[l + 1] -> dz[l - 1], da[l]
                ops.push(self.linear_dx(l, w)?);
            }
        }
        // dz[0] -> whether anything overflowed, and the next loss scale, in scaling
        ops.extend(self.loss_scale(&b.dz[0]));
        for l in layers {
            // a[l], dz[l] -> dW, db in grads; or fused, used up: w, state -> w, state, working
            ops.push(self.linear_dw(l, is_fused)?);
        }
        Ok(ops)
    }

    /// Makes the dispatches of the backward pass with the update of every layer in its weight gradient.
    fn fused(&self) -> Result<Vec<Op>> {
        let mut ops = self.backward(&self.buffers.params, true, false)?;
        if self.layout.biases < self.layout.trained {
            // grads of the normalisations, w, state -> w, state
            ops.push(self.update(self.layout.biases));
        }
        Ok(ops)
    }

    fn clip_and_update(&self) -> Vec<Op> {
        // grads -> their norm in metrics, and what scales them in scaling
        let mut ops = self.clip();
        // grads, w, state -> w, state, working
        ops.push(self.update(0));
        ops
    }
}

impl StepProgram {
    /// The dispatches of a step of one pass, without averages: forward, backward, update.
    pub fn whole(&self) -> Vec<&Op> {
        if let Some(fused) = &self.fused {
            return self.forward.iter().chain(fused).collect();
        }
        let mut ops = self.gradient(&self.forward);
        if let Some(Ascent { ascend, pass, descend }) = &self.ascent {
            ops.extend(ascend.iter().chain(pass).chain(descend));
        }
        ops.extend(&self.update);
        ops
    }

    /// The number of dispatches in [`whole`](Self::whole) before the second gradient; all where there is none.
    pub fn before_second(&self) -> usize {
        match &self.ascent {
            Some(_) => self.forward.len() + self.backward.len(),
            None => self.whole().len(),
        }
    }

    /// The dispatches of a pass that adds its gradient to the step's; `forward` is the program's own, or one without chance.
    pub fn gradient<'a>(&'a self, forward: &'a [Op]) -> Vec<&'a Op> {
        forward.iter().chain(&self.backward).collect()
    }

    /// The dispatches of what follows the update: lookahead, which is the last part of it, then the averages of the weights that
    /// it leaves.
    pub fn averages(&self, takes: &[Take]) -> Vec<&Op> {
        let is_any = |k: fn(&Take) -> f64| takes.iter().any(|take| k(take) > 0.0);
        let parts = [
            (is_any(|take| take.lookahead), &self.lookahead),
            (is_any(|take| take.swa), &self.swa),
            (is_any(|take| take.ema), &self.ema),
        ];
        parts.into_iter().filter(|(is_any, _)| *is_any).flat_map(|(_, ops)| ops).collect()
    }
}

impl EvalProgram {
    /// The dispatches of a pass forward, and of adding the prediction of one of several members to the ensemble's.
    pub fn predict(&self, members: u32) -> Vec<&Op> {
        let ensemble = if members > 1 { &self.ensemble[..] } else { &[] };
        self.forward.iter().chain(ensemble).collect()
    }

    /// The dispatch of the loss of the prediction, once that is complete, which is added to the evaluation's.
    pub fn loss(&self) -> &[Op] {
        &self.loss
    }
}
