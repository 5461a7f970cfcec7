//! The matrix products of the layers, forward and backward, each in the form that suits the device.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytemuck::Pod;
use wgpu::Buffer;

use super::builder::Builder;
use super::dataset::Feed;
use super::forms::{Form, Shape, Variant};
use super::kernels::{self, Kernel, LANES, Product, Stored};
use super::program::{Extent, Grid, Op};
use super::trial::{Operand, Trial};
use super::tune::{self, Question};
use crate::engine::Layer;
use crate::error::{Error, Result};
use crate::optimizer::Rule;

/// A product to be made, in whatever form.
struct Task<'a, A> {
    product: Product,
    /// The rule that uses a weight gradient up; none where nothing does.
    rule: Option<Rule>,
    args: A,
    /// The constants of what becomes of the sums.
    finish: &'a [(&'static str, f64)],
    /// The buffers: the two factors first, which are all that the first pass of a split form reads.
    buffers: &'a [&'a Buffer],
    /// Whether the second pass of a split form reads the factors as well.
    read_twice: bool,
    /// The workgroups of the second pass of a split form.
    grid_of_sum: Grid,
}

/// The buffers of an input gradient: `w, dz, slope, above -> dx, da`, the fourth where a gradient is added, the last where the
/// gradient before the slope is kept.
pub(super) struct DxBuffers<'a> {
    pub w: &'a Buffer,
    pub dz: &'a Buffer,
    pub slope: &'a Buffer,
    pub above: Option<&'a Buffer>,
    pub dx: &'a Buffer,
    pub da: Option<&'a Buffer>,
}

/// The adapters, products and forms that agreed with the plain ones in this process, each compared once.
static AGREED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn agreed() -> MutexGuard<'static, BTreeSet<String>> {
    AGREED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Builder<'_> {
    /// Chooses the forms of the products of a step, those of the largest layers first, in case the time runs out.
    ///
    /// # Errors
    /// The device is lost.
    pub fn choose_forms(&self, feed: &Feed) -> Result<()> {
        let b = self.buffers;
        let mut layers: Vec<usize> = (0..self.layout.layers.len()).collect();
        layers.sort_by_key(|&l| std::cmp::Reverse(self.layout.layers[l].weights().len()));
        for l in layers {
            let y = b.norms[l].as_ref().map_or(&b.a[l + 1], |norm| &norm.xhat);
            self.linear(l, feed, &b.params, &b.a[l], y, &b.slope[l])?;
            self.linear_dw(l, self.is_fused())?;
            if l > 0 {
                self.linear_dx(l, &b.params)?;
            }
        }
        Ok(())
    }

    /// The forward product of layer l: w, a -> y, slope: (R, room, outputs); before a normalisation, z in y alone
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear(&self, l: usize, feed: &Feed, w: &Buffer, a: &Buffer, y: &Buffer, slope: &Buffer) -> Result<Op> {
        if self.buffers.norms[l].is_some() {
            // `activate` finishes, slope and all.
            return self.linear_plain(l, feed, w, a, y);
        }
        self.linear_of(l, feed, &self.finish(l, feed), [w, a, y, slope])
    }

    /// The forward product of layer l and nothing else: w, a -> z: (R, room, outputs)
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear_plain(&self, l: usize, feed: &Feed, w: &Buffer, a: &Buffer, z: &Buffer) -> Result<Op> {
        let plain = [("ACTIVATION", 0.0), ("RESIDUAL", 0.0), ("DROPOUT", 0.0), ("SLOPE", 0.0), ("CLEARED", 0.0)];
        self.linear_of(l, feed, &plain, [w, a, z, &self.buffers.unused[1]])
    }

    fn linear_of(
        &self,
        l: usize,
        feed: &Feed,
        finish: &[(&'static str, f64)],
        [w, a, y, slope]: [&Buffer; 4],
    ) -> Result<Op> {
        let layer = &self.layout.layers[l];
        let (inputs, outputs, params_stride) = self.dims(layer);
        let kernels::ActivateArgs { a_stride, y_stride, purpose, width, .. } = self.activate_args(l, feed);
        let (weight, bias) = (layer.weight as u32 / 4, layer.bias as u32 / 4);
        let args =
            kernels::LinearArgs { inputs, outputs, weight, bias, params_stride, a_stride, y_stride, purpose, width };
        let task = Task {
            product: Product::Linear,
            rule: None,
            args,
            finish,
            buffers: &[self.factor(w), a, y, slope],
            read_twice: true,
            grid_of_sum: self.vec4s(outputs),
        };
        let linear = |form: Form, grid: Grid| self.product(&task, form, grid).of_layer(l);
        let rows = if feed.is_training() { self.setup.most_in_pass() } else { self.setup.room() };
        let stored = self.stored();
        let trial = Trial {
            inputs: vec![Operand::vector(self.factor(w), stored), Operand::rows(a, layer.inputs, stored)],
            result: Operand::rows(y, layer.outputs, stored),
            terms: layer.inputs,
        };
        self.fastest(Product::Linear, rows, layer, true, linear, &trial)
    }

    /// The buffer that the products read of the weights in `params`: under mixed precision the working copy.
    fn factor<'b>(&'b self, params: &'b Buffer) -> &'b Buffer {
        if self.setup.is_mixed() { &self.buffers.working } else { params }
    }

    /// The input gradient of layer l: `w, dz[l], slope[l - 1], da[l + 1] -> dz[l - 1], da[l]`: (R, room, inputs)
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear_dx(&self, l: usize, w: &Buffer) -> Result<Op> {
        let b = self.buffers;
        let above = b.da.get(l + 1).and_then(Option::as_ref).filter(|_| self.setup.model.is_residual(l));
        let (dz, slope, dx) = (&b.dz[l], &b.slope[l - 1], &b.dz[l - 1]);
        self.linear_dx_of(l, &DxBuffers { w, dz, slope, above, dx, da: b.da[l].as_ref() })
    }

    /// The input gradient of layer l, from and to any buffers.
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear_dx_of(&self, l: usize, of: &DxBuffers) -> Result<Op> {
        let (b, layer) = (self.buffers, &self.layout.layers[l]);
        let (inputs, outputs, params_stride) = self.dims(layer);
        let args = kernels::LinearDxArgs {
            inputs,
            outputs,
            weight: layer.weight as u32 / 4,
            params_stride,
            dz_stride: self.rows_stride(layer.outputs),
            dx_stride: self.rows_stride(layer.inputs),
        };
        let &DxBuffers { w, dz, slope, above, dx, da } = of;
        let has_above = above.is_some();
        let flags = [("RESIDUAL", f64::from(has_above)), ("KEEP", f64::from(da.is_some()))];
        let above = above.unwrap_or(&b.unused[0]);
        let da = da.unwrap_or(&b.unused[1]);
        let weights = self.factor(w);
        let task = Task {
            product: Product::LinearDx,
            rule: None,
            args,
            finish: &flags,
            buffers: &[weights, dz, slope, above, dx, da],
            read_twice: false,
            grid_of_sum: self.vec4s(inputs),
        };
        let linear_dx = |form: Form, grid: Grid| self.product(&task, form, grid).of_layer(l);
        let stored = self.stored();
        let mut inputs = vec![
            Operand::vector(weights, stored),
            Operand::rows(dz, layer.outputs, stored),
            Operand::rows(slope, layer.inputs, stored),
        ];
        if has_above {
            inputs.push(Operand::rows(above, layer.inputs, stored));
        }
        let trial = Trial { inputs, result: Operand::rows(dx, layer.inputs, stored), terms: layer.outputs };
        let rows = self.setup.most_in_pass();
        self.fastest(Product::LinearDx, rows, layer, true, linear_dx, &trial)
    }

    /// The weight gradient of layer l: `a[l], dz[l] -> dW, db` in grads: (R, P); or fused, used up:
    /// `w, state -> w, state, working`
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear_dw(&self, l: usize, is_fused: bool) -> Result<Op> {
        let b = self.buffers;
        let result = if is_fused { &b.params } else { &b.grads };
        self.linear_dw_into(l, is_fused, &b.a[l], &b.dz[l], result)
    }

    /// The weight gradient of layer l, from and to any buffers: a, dz -> dW, db in grads: (R, P)
    ///
    /// # Errors
    /// The device is lost.
    pub fn linear_dw_of(&self, l: usize, a: &Buffer, dz: &Buffer, grads: &Buffer) -> Result<Op> {
        self.linear_dw_into(l, false, a, dz, grads)
    }

    fn linear_dw_into(&self, l: usize, is_fused: bool, a: &Buffer, dz: &Buffer, result: &Buffer) -> Result<Op> {
        let (b, layer) = (self.buffers, &self.layout.layers[l]);
        let (inputs, outputs, params_stride) = self.dims(layer);
        let args = kernels::LinearDwArgs {
            inputs,
            outputs,
            weight: layer.weight as u32 / 4,
            bias: layer.bias as u32 / 4,
            params_stride,
            a_stride: self.rows_stride(layer.inputs),
            dz_stride: self.rows_stride(layer.outputs),
            decayed: self.setup.decayed(self.layout) as u32 / 4,
        };
        let kernels::Update { flag, .. } = kernels::update(self.setup.optimizer.rule());
        let finish = if is_fused { [&[flag][..], &self.keep()].concat() } else { Vec::new() };
        let task = Task {
            product: Product::LinearDw,
            rule: is_fused.then(|| self.setup.optimizer.rule()),
            args,
            finish: &finish,
            buffers: &[a, dz, &b.scaling, result, &b.state, &b.working],
            read_twice: false,
            grid_of_sum: self.grid(Extent::Fixed(outputs.div_ceil(LANES)), Extent::Fixed(4 * inputs + 1)),
        };
        let linear_dw =
            |form: Form, grid: Grid| Op { updates: is_fused, ..self.product(&task, form, grid).of_layer(l) };
        let stored = self.stored();
        let trial = Trial {
            inputs: vec![Operand::rows(a, layer.inputs, stored), Operand::rows(dz, layer.outputs, stored)],
            result: Operand::vector(result, Stored::F32),
            terms: self.setup.most_in_pass(),
        };
        let rows = self.setup.most_in_pass();
        self.fastest(Product::LinearDw, rows, layer, is_fused == self.is_fused(), linear_dw, &trial)
    }

    /// The dispatch of a product in a form, with its second pass where it is split.
    fn product<A: Pod>(&self, task: &Task<A>, form: Form, grid: Grid) -> Op {
        let Task { product, rule, args, finish, buffers, read_twice, grid_of_sum } = task;
        let with_rule = |kernel: Kernel| rule.map_or(kernel, |rule| kernel.with_update(rule));
        let (kernel, constants) = (form.kernel(*product), form.constants());
        if form.variant != Variant::Split {
            return self.op(&with_rule(kernel), &[*finish, &constants].concat(), args, buffers, grid);
        }
        let (factors, others) = buffers.split_at(2);
        let parts = [&self.buffers.split];
        let first = self.op(&kernel, &constants, args, &[factors, &parts].concat(), grid);
        let sum = with_rule(form.sum(*product));
        let constants = [*finish, &form.constants_of_sum()].concat();
        let read = if *read_twice { factors } else { &[] };
        let second = self.op(&sum, &constants, args, &[read, &parts, others].concat(), *grid_of_sum);
        Op { then: Some(Box::new(second)), ..first }
    }

    /// The product that `make` makes of a form and its workgroups, in the form known for its shape, or in the fastest of those
    /// that agree with the plain one in `trial`.
    ///
    /// Weight gradients by themselves have the form of those that are used up, where steps use them up; so both add up in one
    /// order. Those are not `of_steps`, and not measured.
    fn fastest(
        &self,
        product: Product,
        rows: usize,
        layer: &Layer,
        of_steps: bool,
        make: impl Fn(Form, Grid) -> Op + Sync,
        trial: &Trial,
    ) -> Result<Op> {
        let sizes = format!("{rows}x{}x{}", layer.inputs, layer.outputs);
        let is_used_up = product == Product::LinearDw && self.is_fused();
        let rule = if is_used_up { kernels::update(self.setup.optimizer.rule()).kernel.name } else { "" };
        let mixed = if self.setup.is_mixed() { "mixed" } else { "" };
        let key: Vec<&str> =
            [product.name(), &sizes, rule, mixed].into_iter().filter(|part| !part.is_empty()).collect();
        let (replicas, stored) = (self.setup.replicas, self.stored());
        let shape = Shape { replicas, rows, inputs: layer.inputs, outputs: layer.outputs, stored };
        let candidates = if of_steps { Form::candidates(self.gpu, product, shape, self.lanes) } else { Vec::new() };
        let plain = Form::reference(self.gpu, product, shape, self.lanes);
        let step = self.step();
        let rows = rows as u32;
        let built_in = Some(Form::built_in(self.gpu, product, rows, self.lanes))
            .filter(|form| form.fits(self.gpu, product, shape))
            .unwrap_or(plain);
        let question = Question { key: key.join(" "), product, plain, built_in, candidates };
        let make = |form: Form| make(form, form.grid(product, shape));
        self.tuner.choose(
            &question,
            |form| self.gpu.attempt(|| Ok(make(form))),
            |op, dispatches| {
                self.begin_pass(rows);
                self.gpu.attempt(|| tune::seconds(self.gpu, op, &step, rows, dispatches))
            },
            |op, form| {
                let known = format!("{} {} {form}", self.gpu.description, question.key);
                if form == plain || agreed().contains(&known) {
                    return Ok(());
                }
                if self.gpu.attempt(|| trial.agrees(self, op, &make(plain), rows))? {
                    agreed().insert(known);
                    return Ok(());
                }
                Err(Error::Device("its results differ from the plain form's".into()))
            },
        )
    }

    /// Whether the steps use the weight gradient up as they make it.
    pub fn is_fused(&self) -> bool {
        self.setup.is_fused(self.setup.batch)
    }

    /// Writes a pass of so many rows for what is measured or tried.
    pub(super) fn begin_pass(&self, rows: u32) {
        let replicas = self.setup.replicas as u32;
        let pass = kernels::Pass { rows, batch: rows, replicas, ..Default::default() };
        self.gpu.queue.write_buffer(&self.buffers.passes, 0, bytemuck::bytes_of(&pass));
    }
}
