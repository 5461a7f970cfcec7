//! The linear layers forward and backward, each product in the form that suits the device.

use bytemuck::Pod;
use wgpu::Buffer;

use super::builder::{Builder, PartBuffers};
use super::forms::{Form, Shape, Variant};
use super::kernels::{self, Kernel, LANES, Product};
use super::program::{Extent, Grid, Op};
use super::tune;
use crate::cpu::Dropout;
use crate::error::Result;
use crate::model::Layer;
use crate::number::hash;
use crate::optimizer::Rule;
use crate::verify;

/// A product to be made, in whatever form.
struct Task<'a, A> {
    product: Product,
    /// The rule that uses a weight gradient up.
    rule: Option<Rule>,
    args: A,
    /// Constants of what becomes of the sums.
    finish: &'a [(&'static str, f64)],
    /// The two factors first, which are all that the first pass of a split form reads.
    buffers: &'a [&'a Buffer],
    /// Whether its second pass reads them as well.
    read_twice: bool,
    grid_of_sum: Grid,
}

impl Builder<'_> {
    /// Chooses the forms of the products of a step, those of the largest layers first, in case the time runs out.
    ///
    /// # Errors
    /// The device is lost.
    pub fn choose_forms(&self, part: &PartBuffers) -> Result<()> {
        let mut layers: Vec<usize> = (0..self.layout.layers.len()).collect();
        layers.sort_by_key(|&l| std::cmp::Reverse(self.layout.layers[l].weights().len()));
        for l in layers {
            self.linear(l, &self.buffers.params, part, true)?;
            self.linear_dw(l, self.is_fused())?;
            if l > 0 {
                self.linear_dx(l)?;
            }
        }
        Ok(())
    }

    /// a[l] -> a[l + 1], and where they are kept slope[l]: (R, room, outputs)
    ///
    /// # Errors
    /// The device is lost.
    pub fn forward(&self, params: &Buffer, part: &PartBuffers, keeps_slopes: bool) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        for l in 0..self.layout.layers.len() {
            ops.push(self.linear(l, params, part, keeps_slopes)?);
            if let (Some(xhat), Some(inverse)) = (&self.buffers.xhat[l], &self.buffers.inverse[l]) {
                ops.push(self.norm(l, params, part, xhat, inverse).of_layer(l));
                ops.push(self.activate(l, part, keeps_slopes));
            }
        }
        Ok(ops)
    }

    /// a[l] -> a[l + 1], slope[l], or xhat[l] where a normalisation follows: (R, room, outputs)
    fn linear(&self, l: usize, params: &Buffer, part: &PartBuffers, keeps_slope: bool) -> Result<Op> {
        let (b, layer) = (self.buffers, &self.layout.layers[l]);
        let (inputs, outputs, params_stride) = self.dims(layer);
        let kernels::ActivateArgs { a_stride, y_stride, purpose, dropped, kept, .. } = self.activate_args(l, part);
        let (weight, bias) = (layer.weight as u32 / 4, layer.bias as u32 / 4);
        let args = kernels::LinearArgs {
            inputs,
            outputs,
            weight,
            bias,
            params_stride,
            a_stride,
            y_stride,
            purpose,
            dropped,
            kept,
        };
        let finish = match b.xhat[l] {
            // `activate` finishes, slope and all.
            Some(_) => [("ACTIVATION", 0.0), ("RESIDUAL", 0.0), ("DROPOUT", 0.0), ("SLOPE", 0.0)],
            None => self.finish(l, part, keeps_slope),
        };
        let (weights, a, slope) = (self.weights(params), &b.a[l], &b.slope[l]);
        let y = b.xhat[l].as_ref().unwrap_or(&b.a[l + 1]);
        let task = Task {
            product: Product::Linear,
            rule: None,
            args,
            finish: &finish,
            buffers: &[weights, a, y, slope],
            read_twice: true,
            grid_of_sum: self.vec4s(outputs),
        };
        let linear = |form: Form| self.product(&task, form, self.tiles(form, outputs)).of_layer(l);
        let rows = if part.is_training() { self.setup.most_in_pass() } else { self.setup.room() };
        self.fastest(Product::Linear, rows, layer, "", linear)
    }

    /// What the products read of the weights in `params`.
    fn weights<'b>(&'b self, params: &'b Buffer) -> &'b Buffer {
        if self.setup.is_mixed() { &self.buffers.working } else { params }
    }

    /// n in a[l + 1] -> a[l + 1], slope[l]: (R, room, outputs)
    fn activate(&self, l: usize, part: &PartBuffers, keeps_slope: bool) -> Op {
        let b = self.buffers;
        let args = self.activate_args(l, part);
        let constants = [&self.finish(l, part, keeps_slope)[..], &[("LANES", LANES.into())]].concat();
        let pipeline = self.compile_rows(&kernels::activate, &constants);
        let a = if self.setup.model.is_residual(l) { &b.a[l] } else { &b.unused[0] };
        let buffers = [a, &b.a[l + 1], &b.slope[l]];
        self.op(&pipeline, &kernels::activate, &args, &buffers, self.vec4s(args.outputs)).of_layer(l)
    }

    fn activate_args(&self, l: usize, part: &PartBuffers) -> kernels::ActivateArgs {
        let layer = &self.layout.layers[l];
        let shared_x = l == 0 && !part.is_training();
        let dropout = self.dropout(l, part);
        kernels::ActivateArgs {
            outputs: self.dims(layer).1,
            a_stride: if shared_x { 0 } else { self.rows_stride(layer.inputs) },
            y_stride: self.rows_stride(layer.outputs),
            purpose: hash::DROPOUT + l as u32,
            dropped: Dropout::threshold(dropout),
            kept: Dropout::kept(dropout) as f32,
        }
    }

    /// The constants of what becomes of a layer's `z`.
    fn finish(&self, l: usize, part: &PartBuffers, keeps_slope: bool) -> [(&'static str, f64); 4] {
        let model = &self.setup.model;
        [
            ("ACTIVATION", f64::from(model.activation_after(l).code())),
            ("RESIDUAL", f64::from(model.is_residual(l))),
            ("DROPOUT", f64::from(self.dropout(l, part) > 0.0)),
            ("SLOPE", f64::from(keeps_slope)),
        ]
    }

    fn dropout(&self, l: usize, part: &PartBuffers) -> f64 {
        let model = &self.setup.model;
        if part.is_training() && model.is_hidden(l) { model.dropout } else { 0.0 }
    }

    /// dz[l] -> dz[l - 1]: (R, room, inputs), of every layer; then dz[l] -> dW, db of layer l in grads: (R, P), or used up in
    /// params and state. In this order, since an update changes the weights that the former read, and under mixed
    /// precision needs to know whether anything overflowed.
    ///
    /// # Errors
    /// The device is lost.
    pub fn backward(&self, is_fused: bool) -> Result<Vec<Op>> {
        let mut ops = Vec::new();
        let layers = (0..self.layout.layers.len()).rev();
        for l in layers.clone() {
            if let (Some(xhat), Some(inverse)) = (&self.buffers.xhat[l], &self.buffers.inverse[l]) {
                ops.extend(self.norm_backward(l, xhat, inverse).map(|op| op.of_layer(l)));
            }
            if l > 0 {
                ops.push(self.linear_dx(l)?);
            }
        }
        ops.extend(self.loss_scale());
        for l in layers {
            ops.push(self.linear_dw(l, is_fused)?);
        }
        Ok(ops)
    }

    fn linear_dx(&self, l: usize) -> Result<Op> {
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
        let above = b.da.get(l + 1).and_then(Option::as_ref).filter(|_| self.setup.model.is_residual(l));
        let flags = [("RESIDUAL", f64::from(above.is_some())), ("KEEP", f64::from(b.da[l].is_some()))];
        let above = above.unwrap_or(&b.unused[0]);
        let da = b.da[l].as_ref().unwrap_or(&b.unused[1]);
        let (slope, dx) = (&b.slope[l - 1], &b.dz[l - 1]);
        let task = Task {
            product: Product::LinearDx,
            rule: None,
            args,
            finish: &flags,
            buffers: &[self.weights(&b.params), &b.dz[l], slope, above, dx, da],
            read_twice: false,
            grid_of_sum: self.vec4s(inputs),
        };
        let linear_dx = |form: Form| self.product(&task, form, self.tiles(form, inputs)).of_layer(l);
        self.fastest(Product::LinearDx, self.setup.most_in_pass(), layer, "", linear_dx)
    }

    fn linear_dw(&self, l: usize, is_fused: bool) -> Result<Op> {
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
        let kernels::Update { kernel, flag } = kernels::update(self.setup.optimizer.rule());
        let (finish, name) =
            if is_fused { ([&[flag][..], &self.keep()].concat(), kernel.name) } else { (Vec::new(), "") };
        let params = if is_fused { &b.params } else { &b.grads };
        let task = Task {
            product: Product::LinearDw,
            rule: is_fused.then(|| self.setup.optimizer.rule()),
            args,
            finish: &finish,
            buffers: &[&b.a[l], &b.dz[l], &b.scaling, params, &b.state, &b.working],
            read_twice: false,
            grid_of_sum: self.grid(Extent::Fixed(outputs.div_ceil(LANES)), Extent::Fixed(4 * inputs + 1)),
        };
        let linear_dw = |form: Form| {
            let (x, _, z) = self.tiles(form, outputs);
            let grid = (x, Extent::Fixed(inputs.div_ceil(form.rows)), z);
            Op { updates: is_fused, ..self.product(&task, form, grid).of_layer(l) }
        };
        self.fastest(Product::LinearDw, self.setup.most_in_pass(), layer, name, linear_dw)
    }

    /// The product in a form, with its second pass where it is split.
    fn product<A: Pod>(&self, task: &Task<A>, form: Form, grid: Grid) -> Op {
        let Task { product, rule, args, finish, buffers, read_twice, grid_of_sum } = task;
        let with_rule = |kernel: Kernel| rule.map_or(kernel, |rule| kernel.with_update(rule));
        let (kernel, constants) = (form.kernel(*product), form.constants());
        if form.variant != Variant::Split {
            let kernel = with_rule(kernel);
            let pipeline = self.compile_rows(&kernel, &[*finish, &constants].concat());
            return self.op(&pipeline, &kernel, args, buffers, grid);
        }
        let pipeline = self.compile_rows(&kernel, &constants);
        let (factors, others) = buffers.split_at(2);
        let parts = [&self.buffers.split];
        let first = self.op(&pipeline, &kernel, args, &[factors, &parts].concat(), grid);
        let sum = with_rule(form.sum(*product));
        let pipeline = self.compile_rows(&sum, &[*finish, &form.constants_of_sum()].concat());
        let read = if *read_twice { factors } else { &[] };
        let second = self.op(&pipeline, &sum, args, &[read, &parts, others].concat(), *grid_of_sum);
        Op { then: Some(Box::new(second)), ..first }
    }

    /// The workgroups of a product whose result has rows of `columns` vec4s.
    fn tiles(&self, form: Form, columns: u32) -> Grid {
        let (x, y, replicas) = self.grid(Extent::Fixed(columns.div_ceil(form.width())), Extent::Rows(form.rows));
        (x, y, replicas * form.parts)
    }

    /// One invocation to each of `columns` vec4s of a row.
    fn vec4s(&self, columns: u32) -> Grid {
        self.grid(Extent::Fixed(columns.div_ceil(LANES)), Extent::Rows(1))
    }

    /// The product that `make` makes, in the form known for its shape, or in the one that is measured to be the fastest.
    fn fastest(
        &self,
        product: Product,
        rows: usize,
        layer: &Layer,
        more: &str,
        make: impl Fn(Form) -> Op + Sync,
    ) -> Result<Op> {
        let sizes = format!("{rows}x{}x{}", layer.inputs, layer.outputs);
        let mixed = if self.setup.is_mixed() { "mixed" } else { "" };
        let key: Vec<&str> =
            [product.name(), &sizes, more, mixed].into_iter().filter(|part| !part.is_empty()).collect();
        let (replicas, stored) = (self.setup.replicas, self.stored());
        let shape = Shape { replicas, rows, inputs: layer.inputs, outputs: layer.outputs, stored };
        let mut candidates = Form::candidates(self.gpu, product, shape, self.lanes);
        let key = key.join(" ");
        // Steps that use the weight gradients up never write them.
        let is_of_steps = product != Product::LinearDw || !more.is_empty() || !self.is_fused();
        let may_cooperate = is_of_steps
            && self.tuner.may_choose(&key, Form::is_cooperative)
            && candidates.iter().any(Form::is_cooperative);
        if !(may_cooperate && self.cooperative_works()) {
            candidates.retain(|form| !form.is_cooperative());
        }
        if !is_of_steps {
            candidates.truncate(1);
        }
        let rows = rows as u32;
        let pass = kernels::Pass { rows, batch: rows, replicas: replicas as u32, ..Default::default() };
        self.gpu.queue.write_buffer(&self.buffers.passes, 0, bytemuck::bytes_of(&pass));
        let step = self.step();
        self.tuner.choose(key, &candidates, make, |op, dispatches| tune::seconds(self.gpu, op, &step, rows, dispatches))
    }

    /// Whether the device's cooperative matrices do what they should; a driver may also refuse them.
    fn cooperative_works(&self) -> bool {
        *self.cooperative_works.get_or_init(|| verify::kernels::cooperative_works(self.gpu).unwrap_or(false))
    }

    /// Whether the steps use the weight gradient up as they make it: if nobody asks for its norm, or for a sum of several
    /// passes.
    pub fn is_fused(&self) -> bool {
        self.setup.clip_norm.is_none() && self.setup.batch <= self.setup.most_in_pass()
    }
}
