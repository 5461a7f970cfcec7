//! The dispatches of a step and of an evaluation, from top to bottom.

use bytemuck::Pod;
use wgpu::util::DeviceExt;
use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

use super::adapter::Gpu;
use super::buffers::{Buffers, Records, record_bytes};
use super::kernels::{self, COLUMNS, DW_ROWS, Kernel, LANES, NORM_COLUMNS, PARTS, Pass, Pipeline, ROWS};
use crate::cpu::Dropout;
use crate::data::{Features, Targets};
use crate::engine::{Setup, Slot};
use crate::loss::Loss;
use crate::model::{Layer, Layout, Norm, stride};
use crate::noise;
use crate::optimizer::Rule;

/// Passes of fewer rows get workgroups of as many, and weight gradients in larger tiles, since their workgroups have little
/// to do: at batch 1 `linear 0` of 3072-512-256-10 takes 0.9 ms instead of 4.1 on the software driver.
const FEW_ROWS: u32 = 8;
const FEW_DW_ROWS: u32 = 16;

/// Workgroups along one dimension.
#[derive(Clone, Copy)]
enum Extent {
    Fixed(u32),
    /// One workgroup for so many rows of the pass.
    Rows(u32),
}

impl Extent {
    fn groups(self, rows: u32) -> u32 {
        match self {
            Self::Fixed(groups) => groups,
            Self::Rows(per_group) => rows.div_ceil(per_group),
        }
    }
}

/// One dispatch: everything about it but the pass.
pub(super) struct Op {
    pub kernel: &'static str,
    /// The layer, where it belongs to one.
    pub layer: Option<usize>,
    pipeline: wgpu::ComputePipeline,
    bindings: BindGroup,
    x: Extent,
    y: Extent,
    replicas: u32,
}

impl Op {
    fn of_layer(self, l: usize) -> Self {
        Self { layer: Some(l), ..self }
    }

    /// Dispatches it for a pass of `rows` rows; `pass_at` is the offset of the pass in its uniform.
    fn encode(&self, pass: &mut ComputePass, step: &BindGroup, pass_at: u32, rows: u32) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.set_bind_group(1, step, &[pass_at]);
        pass.dispatch_workgroups(self.x.groups(rows), self.y.groups(rows), self.replicas);
    }
}

fn encode(ops: &[Op], pass: &mut ComputePass, step: &BindGroup, pass_at: u32, rows: u32) {
    ops.iter().for_each(|op| op.encode(pass, step, pass_at, rows));
}

/// What follows the passes of a training step, once each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Clip and update.
    Update,
    Swa,
    Ema,
    Lookahead,
}

/// The dispatches of the training steps.
pub(super) struct TrainProgram {
    step: BindGroup,
    /// Gather, forward, loss, backward: for every pass of a step.
    pass: Vec<Op>,
    /// Gather and forward, with the weights that are evaluated: for new statistics of batch normalisation.
    statistics: Vec<Op>,
    after: Vec<(After, Vec<Op>)>,
}

impl TrainProgram {
    pub fn pass(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.pass, pass, &self.step, pass_at, rows);
    }

    pub fn statistics(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.statistics, pass, &self.step, pass_at, rows);
    }

    pub fn after(&self, what: After, pass: &mut ComputePass, pass_at: u32) {
        for (_, ops) in self.after.iter().filter(|(after, _)| *after == what) {
            encode(ops, pass, &self.step, pass_at, 0);
        }
    }

    /// The dispatches of a step of one pass, without averages.
    pub fn ops(&self) -> Vec<&Op> {
        let update = self.after.iter().filter(|(after, _)| *after == After::Update);
        self.pass.iter().chain(update.flat_map(|(_, ops)| ops)).collect()
    }

    /// One of them by itself.
    pub fn encode(&self, op: &Op, pass: &mut ComputePass, rows: u32) {
        op.encode(pass, &self.step, 0, rows);
    }
}

/// The dispatches of one pass of an evaluation.
pub(super) struct EvalProgram {
    step: BindGroup,
    forward: Vec<Op>,
    ensemble: Vec<Op>,
    loss: [Op; 2],
}

impl EvalProgram {
    /// Evaluates the pass, or adds the prediction of one member to its ensemble's and evaluates that after the last.
    pub fn pass(&self, compute: &mut ComputePass, pass_at: u32, pass: &Pass) {
        encode(&self.forward, compute, &self.step, pass_at, pass.rows);
        if pass.members > 1 {
            encode(&self.ensemble, compute, &self.step, pass_at, pass.rows);
        }
        if pass.member + 1 >= pass.members {
            encode(&self.loss, compute, &self.step, pass_at, pass.rows);
        }
    }
}

/// One part's samples on the device.
pub(super) struct PartBuffers<'a> {
    pub records: &'a Records,
    pub stream: &'a Buffer,
    /// Labels as u32, or target values as f32.
    pub targets: &'a Buffer,
    pub order: &'a Buffer,
    /// Entries of one replica's order; 0 if all replicas share one, and with it x.
    pub order_stride: u32,
    pub samples: usize,
}

impl PartBuffers<'_> {
    /// Whether each replica takes samples of its own.
    fn is_training(&self) -> bool {
        self.order_stride != 0
    }
}

/// Makes the dispatches: compiles kernels and binds buffers.
pub(super) struct Builder<'a> {
    gpu: &'a Gpu,
    setup: &'a Setup,
    layout: &'a Layout,
    buffers: &'a Buffers,
    step_layout: wgpu::BindGroupLayout,
    /// Lanes of the products' workgroups: a subgroup.
    lanes: u32,
}

impl<'a> Builder<'a> {
    pub fn new(gpu: &'a Gpu, setup: &'a Setup, layout: &'a Layout, buffers: &'a Buffers) -> Self {
        let lanes = gpu.description.subgroup[1].clamp(8, 64);
        Self { gpu, setup, layout, buffers, step_layout: kernels::step_layout(gpu), lanes }
    }

    pub fn train(&self, part: &PartBuffers) -> TrainProgram {
        let mut pass = self.gather(part);
        pass.extend(self.forward(&self.buffers.params, part));
        pass.extend(self.loss(part));
        pass.extend(self.backward());
        let mut statistics = Vec::new();
        if self.setup.model.norm == Norm::Batch {
            statistics = self.gather(part);
            statistics.extend(self.forward(&self.buffers.eval_params, part));
        }
        let mut update = self.clip();
        update.push(self.update());
        let mut after = vec![(After::Update, update)];
        for (slot, buffer) in &self.buffers.kept {
            match slot {
                Slot::Swa => after.push((After::Swa, vec![self.average(buffer, false)])),
                Slot::Ema => after.push((After::Ema, vec![self.average(buffer, true)])),
                Slot::Slow => after.push((After::Lookahead, vec![self.lookahead(buffer)])),
                _ => {}
            }
        }
        TrainProgram { step: self.step(), pass, statistics, after }
    }

    pub fn eval(&self, part: &PartBuffers) -> EvalProgram {
        let mut forward = self.gather(part);
        forward.extend(self.forward(&self.buffers.eval_params, part));
        let ensemble = if self.setup.average.snapshots.is_some() { vec![self.ensemble(part)] } else { Vec::new() };
        EvalProgram { step: self.step(), forward, ensemble, loss: self.loss(part) }
    }

    /// raw records -> x: (R or 1, room, width); one dispatch for each buffer of records, and under mixup two
    fn gather(&self, part: &PartBuffers) -> Vec<Op> {
        let (dataset, b) = (&self.setup.dataset, self.buffers);
        let streamed = [(part.stream.clone(), 0, 0)];
        let (pieces, is_streamed) = match part.records {
            Records::Resident(pieces) => (&pieces[..], false),
            Records::Streamed => (&streamed[..], true),
        };
        let augment = &self.setup.augment;
        let has_mixup = part.is_training() && augment.mixup > 0.0;
        let bytes = matches!(dataset.train.features, Features::U8(_));
        let pipeline = |is_partner: bool| {
            let constants = [
                ("BYTES", f64::from(bytes)),
                ("STREAMED", f64::from(is_streamed)),
                ("AUGMENT", f64::from(part.is_training() && !augment.is_none())),
                ("MIXUP", f64::from(has_mixup)),
                ("PARTNER", f64::from(is_partner)),
                ("LANES", LANES.into()),
            ];
            self.compile(&kernels::gather, &constants)
        };
        let mut pipelines = vec![pipeline(false)];
        if has_mixup {
            pipelines.push(pipeline(true));
        }
        let columns = stride(dataset.width()) as u32 / 4;
        let replicas = if part.is_training() { self.setup.replicas as u32 } else { 1 };
        let mut ops = Vec::new();
        for pipeline in pipelines {
            for (records, first, count) in pieces {
                let args = kernels::GatherArgs {
                    width: dataset.width() as u32,
                    columns,
                    pixels: (dataset.shape[1] * dataset.shape[2]) as u32,
                    record_words: record_bytes(dataset) as u32 / 4,
                    first_record: *first as u32,
                    records: *count as u32,
                    order_stride: part.order_stride,
                    x_stride: self.rows_stride(dataset.width()),
                    room: self.setup.room() as u32,
                    image_width: dataset.shape[2] as u32,
                    pad: augment.pad as u32,
                    flip: u32::from(augment.flip),
                    cutout: augment.cutout as u32,
                    noise: augment.noise as f32,
                };
                let buffers = [records, part.order, &b.channels, &b.quantiles, &b.a[0], &b.mix];
                let grid = (Extent::Fixed(columns.div_ceil(LANES)), Extent::Rows(1), replicas);
                ops.push(self.op(&pipeline, "gather", &args, &buffers, grid));
            }
        }
        ops
    }

    /// a[l] -> a[l + 1], slope[l]: (R, room, outputs)
    fn forward(&self, params: &Buffer, part: &PartBuffers) -> Vec<Op> {
        let mut ops = Vec::new();
        for (l, layer) in self.layout.layers.iter().enumerate() {
            let (b, model) = (self.buffers, &self.setup.model);
            let (inputs, outputs, params_stride) = self.dims(layer);
            let shared_x = l == 0 && !part.is_training();
            let a_stride = if shared_x { 0 } else { self.rows_stride(layer.inputs) };
            let y_stride = self.rows_stride(layer.outputs);
            let dropout = if part.is_training() && model.is_hidden(l) { model.dropout } else { 0.0 };
            let (purpose, dropped) = (noise::DROPOUT + l as u32, Dropout::threshold(dropout));
            let kept = Dropout::kept(dropout) as f32;
            let finish = [
                ("ACTIVATION", f64::from(model.activation_after(l).code())),
                ("RESIDUAL", f64::from(model.is_residual(l))),
                ("DROPOUT", f64::from(dropout > 0.0)),
            ];
            let plain = [("ACTIVATION", 0.0), ("RESIDUAL", 0.0), ("DROPOUT", 0.0)];
            let xhat = &b.xhat[l];
            let finish_of_linear = if xhat.is_some() { plain } else { finish };
            let (kernel, tile_rows) = self.product(kernels::linear, part.is_training());
            let pipeline = self.compile(&kernel, &[&finish_of_linear[..], &[("LANES", self.lanes.into())]].concat());
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
            let buffers = [params, &b.a[l], xhat.as_ref().unwrap_or(&b.a[l + 1]), &b.slope[l]];
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(self.lanes * COLUMNS)), Extent::Rows(tile_rows));
            ops.push(self.op(&pipeline, "linear", &args, &buffers, grid).of_layer(l));
            if let (Some(xhat), Some(inverse)) = (xhat, &b.inverse[l]) {
                ops.push(self.norm(l, params, part, xhat, inverse).of_layer(l));
                let args = kernels::ActivateArgs { outputs, a_stride, y_stride, purpose, dropped, kept };
                let pipeline = self.compile(&kernels::activate, &[&finish[..], &[("LANES", LANES.into())]].concat());
                let a = if model.is_residual(l) { &b.a[l] } else { &b.unused[0] };
                let grid = self.grid(Extent::Fixed(outputs.div_ceil(LANES)), Extent::Rows(1));
                ops.push(self.op(&pipeline, "activate", &args, &[a, &b.a[l + 1], &b.slope[l]], grid).of_layer(l));
            }
        }
        ops
    }

    /// z in xhat -> xhat, n in a[l + 1]: (R, room, outputs); inverse
    fn norm(&self, l: usize, params: &Buffer, part: &PartBuffers, xhat: &Buffer, inverse: &Buffer) -> Op {
        let layer = &self.layout.layers[l];
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        let z_stride = self.rows_stride(layer.outputs);
        let buffers = [params, xhat, &self.buffers.a[l + 1], inverse];
        if self.setup.model.norm == Norm::Batch {
            let statistics = layer.statistics as u32 / 4;
            let args = kernels::BatchNormArgs { outputs, params_stride, gamma, beta, statistics, z_stride };
            let pipeline = self.compile(&kernels::batch_norm, &[("TRAINING", f64::from(part.is_training()))]);
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
            return self.op(&pipeline, "batch_norm", &args, &buffers, grid);
        }
        let (width, room) = (layer.outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormArgs { outputs, width, params_stride, gamma, beta, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        self.op(&self.compile(&kernels::layer_norm, &[]), "layer_norm", &args, &buffers, grid)
    }

    /// logits -> dz of the last layer: (R, room, outputs), a row of sums each; sums -> metrics: (slots, R)
    fn loss(&self, part: &PartBuffers) -> [Op; 2] {
        let (b, outputs) = (self.buffers, self.setup.model.outputs());
        let off = self.setup.label_smoothing / outputs as f64;
        let args = kernels::LossArgs {
            outputs: outputs as u32,
            row_stride: stride(outputs) as u32,
            z_stride: 4 * self.rows_stride(outputs),
            order_stride: part.order_stride,
            room: self.setup.room() as u32,
            on: (1.0 - self.setup.label_smoothing + off) as f32,
            off: off as f32,
        };
        let kernel = match self.setup.loss {
            Loss::CrossEntropy => &kernels::softmax_cross_entropy,
            Loss::Mse => &kernels::mse,
        };
        let last = b.dz.len() - 1;
        let buffers = [part.order, part.targets, &b.a[last + 1], &b.mix, &b.dz[last], &b.row_sums];
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        let has_mixup = part.is_training() && self.setup.augment.mixup > 0.0;
        let pipeline = self.compile(kernel, &[("LANES", LANES.into()), ("MIXUP", f64::from(has_mixup))]);
        let loss = self.op(&pipeline, kernel.name, &args, &buffers, grid);

        let args = kernels::MetricsArgs { room: self.setup.room() as u32 };
        let grid = self.grid(Extent::Fixed(1), Extent::Fixed(1));
        let metrics = self.compile(&kernels::metrics, &[]);
        [loss, self.op(&metrics, "metrics", &args, &[&b.row_sums, &b.metrics], grid)]
    }

    /// logits -> mean: (R, samples, outputs) -> logits
    fn ensemble(&self, part: &PartBuffers) -> Op {
        let (b, outputs) = (self.buffers, self.setup.model.outputs());
        let args = kernels::EnsembleArgs {
            outputs: outputs as u32,
            row_stride: stride(outputs) as u32,
            z_stride: 4 * self.rows_stride(outputs),
            mean_stride: (part.samples * stride(outputs)) as u32,
        };
        let softmax = f64::from(self.setup.loss == Loss::CrossEntropy);
        let pipeline = self.compile(&kernels::ensemble, &[("SOFTMAX", softmax), ("LANES", LANES.into())]);
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        self.op(&pipeline, "ensemble", &args, &[&b.a[self.setup.model.layers()], &b.mean], grid)
    }

    /// dz[l] -> dW, db of layer l in grads: (R, P); dz[l] -> dz[l - 1]: (R, room, inputs)
    fn backward(&self) -> Vec<Op> {
        let (b, model) = (self.buffers, &self.setup.model);
        let lanes = ("LANES", f64::from(self.lanes));
        let (kernel, dw_rows) = if self.setup.most_in_pass() < FEW_ROWS as usize {
            (kernels::linear_dw.with_rows(FEW_DW_ROWS), FEW_DW_ROWS)
        } else {
            (kernels::linear_dw.variant_for(self.gpu), DW_ROWS)
        };
        let dw = self.compile(&kernel, &[lanes]);
        let mut ops = Vec::new();
        for (l, layer) in self.layout.layers.iter().enumerate().rev() {
            if let (Some(xhat), Some(inverse)) = (&b.xhat[l], &b.inverse[l]) {
                ops.extend(self.norm_backward(l, xhat, inverse).map(|op| op.of_layer(l)));
            }
            let (inputs, outputs, params_stride) = self.dims(layer);
            let dz_stride = self.rows_stride(layer.outputs);
            let args = kernels::LinearDwArgs {
                inputs,
                outputs,
                weight: layer.weight as u32 / 4,
                bias: layer.bias as u32 / 4,
                params_stride,
                a_stride: self.rows_stride(layer.inputs),
                dz_stride,
            };
            let x = Extent::Fixed(outputs.div_ceil(self.lanes * COLUMNS));
            let grid = self.grid(x, Extent::Fixed(inputs.div_ceil(dw_rows)));
            ops.push(self.op(&dw, "linear_dw", &args, &[&b.a[l], &b.dz[l], &b.grads], grid).of_layer(l));
            if l > 0 {
                let args = kernels::LinearDxArgs {
                    inputs,
                    outputs,
                    weight: layer.weight as u32 / 4,
                    params_stride,
                    dz_stride,
                    dx_stride: self.rows_stride(layer.inputs),
                };
                let above = b.da.get(l + 1).and_then(Option::as_ref).filter(|_| model.is_residual(l));
                let constants =
                    [("RESIDUAL", f64::from(above.is_some())), ("KEEP", f64::from(b.da[l].is_some())), lanes];
                let (kernel, tile_rows) = self.product(kernels::linear_dx, true);
                let dx = self.compile(&kernel, &constants);
                let grid = self.grid(Extent::Fixed(inputs.div_ceil(self.lanes)), Extent::Rows(tile_rows));
                let above = above.unwrap_or(&b.unused[0]);
                let da = b.da[l].as_ref().unwrap_or(&b.unused[1]);
                let buffers = [&b.params, &b.dz[l], &b.slope[l - 1], above, &b.dz[l - 1], da];
                ops.push(self.op(&dx, "linear_dx", &args, &buffers, grid).of_layer(l));
            }
        }
        ops
    }

    /// dn in dz[l] -> dγ, dβ in grads: (R, P); dn -> dz[l]: (R, room, outputs)
    fn norm_backward(&self, l: usize, xhat: &Buffer, inverse: &Buffer) -> [Op; 2] {
        let (b, layer) = (self.buffers, &self.layout.layers[l]);
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        let z_stride = self.rows_stride(layer.outputs);
        let args = kernels::NormArgs { outputs, params_stride, gamma, beta, z_stride };
        let grid = self.grid(Extent::Fixed(outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
        let pipeline = self.compile(&kernels::norm_dw, &[]);
        let dw = self.op(&pipeline, "norm_dw", &args, &[xhat, &b.dz[l], &b.grads], grid);
        if self.setup.model.norm == Norm::Batch {
            let pipeline = self.compile(&kernels::batch_norm_dx, &[("LANES", LANES.into())]);
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(LANES)), Extent::Rows(1));
            let buffers = [&b.params, &b.grads, xhat, inverse, &b.dz[l]];
            return [dw, self.op(&pipeline, "batch_norm_dx", &args, &buffers, grid)];
        }
        let (width, room) = (layer.outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormDxArgs { outputs, width, params_stride, gamma, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        let pipeline = self.compile(&kernels::layer_norm_dx, &[]);
        [dw, self.op(&pipeline, "layer_norm_dx", &args, &[&b.params, xhat, inverse, &b.dz[l]], grid)]
    }

    /// grads -> clip: (R); nothing without a largest norm
    fn clip(&self) -> Vec<Op> {
        let Some(max_norm) = self.setup.clip_norm else { return Vec::new() };
        let b = self.buffers;
        let args = kernels::GradNormArgs { params: self.layout.len as u32 / 4, max_norm: max_norm as f32 };
        [("square", PARTS), ("root", 1)]
            .map(|(entry_point, groups)| {
                let pipeline = kernels::grad_norm.compile(self.gpu, &self.step_layout, entry_point, &[]);
                let grid = self.grid(Extent::Fixed(groups), Extent::Fixed(1));
                self.op(&pipeline, "grad_norm", &args, &[&b.grads, &b.parts, &b.clip, &b.metrics], grid)
            })
            .into()
    }

    /// grads, params, state -> params, state: (R, P)
    fn update(&self) -> Op {
        let b = self.buffers;
        let (kernel, flag, value) = match self.setup.optimizer.rule() {
            Rule::Sgd { nesterov } => (&kernels::sgd, "NESTEROV", nesterov),
            Rule::Adam { amsgrad } => (&kernels::adam, "AMSGRAD", amsgrad),
            Rule::Rmsprop { centered } => (&kernels::rmsprop, "CENTERED", centered),
        };
        let pipeline = self.compile(kernel, &[(flag, f64::from(value)), ("LANES", LANES.into())]);
        let args = self.update_args();
        let mut buffers = vec![&b.clip, &b.grads, &b.params];
        buffers.extend(&b.state);
        buffers.resize(kernel.bindings.len() - 1, &b.unused[1]);
        self.op(&pipeline, kernel.name, &args, &buffers, self.vector_grid())
    }

    /// params -> mean: (R, P)
    fn average(&self, mean: &Buffer, ema: bool) -> Op {
        let pipeline = self.compile(&kernels::average, &[("EMA", f64::from(ema)), ("LANES", LANES.into())]);
        self.op(&pipeline, "average", &self.update_args(), &[&self.buffers.params, mean], self.vector_grid())
    }

    /// params, slow -> params, slow: (R, P)
    fn lookahead(&self, slow: &Buffer) -> Op {
        let pipeline = self.compile(&kernels::lookahead, &[("LANES", LANES.into())]);
        self.op(&pipeline, "lookahead", &self.update_args(), &[&self.buffers.params, slow], self.vector_grid())
    }

    fn update_args(&self) -> kernels::UpdateArgs {
        kernels::UpdateArgs {
            params: self.layout.len as u32 / 4,
            trained: self.layout.trained as u32 / 4,
            decayed: self.setup.decayed(self.layout) as u32 / 4,
        }
    }

    /// One invocation for each vec4 of a parameter vector; workgroups beyond what one dimension may hold go into the
    /// second.
    fn vector_grid(&self) -> (Extent, Extent, u32) {
        let groups = (self.layout.len as u32 / 4).div_ceil(LANES);
        let rows = groups.div_ceil(wgpu::Limits::default().max_compute_workgroups_per_dimension);
        self.grid(Extent::Fixed(groups.div_ceil(rows)), Extent::Fixed(rows))
    }

    /// Group 1.
    fn step(&self) -> BindGroup {
        self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("step"),
            layout: &self.step_layout,
            entries: &[
                wgpu::BindGroupEntry {
                    binding: 0,
                    resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                        buffer: &self.buffers.passes,
                        offset: 0,
                        size: wgpu::BufferSize::new(size_of::<kernels::Pass>() as u64),
                    }),
                },
                wgpu::BindGroupEntry { binding: 1, resource: self.buffers.coefficients.as_entire_binding() },
            ],
        })
    }

    /// The variant of `linear` or `linear_dx` for the rows that a pass has at most, and the rows of its workgroups. The sums
    /// have the same order in all.
    fn product(&self, kernel: Kernel, is_training: bool) -> (Kernel, u32) {
        let rows = if is_training { self.setup.most_in_pass() } else { self.setup.room() } as u32;
        if rows < FEW_ROWS { (kernel.with_rows(rows), rows) } else { (kernel.variant_for(self.gpu), ROWS) }
    }

    fn compile(&self, kernel: &Kernel, constants: &[(&str, f64)]) -> Pipeline {
        kernel.compile(self.gpu, &self.step_layout, "main", constants)
    }

    fn op<T: Pod>(
        &self,
        pipeline: &Pipeline,
        kernel: &'static str,
        args: &T,
        buffers: &[&Buffer],
        (x, y, replicas): (Extent, Extent, u32),
    ) -> Op {
        let args = self.gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some(kernel),
            contents: bytemuck::bytes_of(args),
            usage: BufferUsages::STORAGE,
        });
        let entries: Vec<_> = std::iter::once(&args)
            .chain(buffers.iter().copied())
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some(kernel), layout: &pipeline.layout, entries: &entries };
        let bindings = self.gpu.device.create_bind_group(&descriptor);
        Op { kernel, layer: None, pipeline: pipeline.pipeline.clone(), bindings, x, y, replicas }
    }

    fn grid(&self, x: Extent, y: Extent) -> (Extent, Extent, u32) {
        (x, y, self.setup.replicas as u32)
    }

    /// vec4s of an input row, of an output row, and of one replica's parameters.
    fn dims(&self, layer: &Layer) -> (u32, u32, u32) {
        (stride(layer.inputs) as u32 / 4, stride(layer.outputs) as u32 / 4, self.layout.len as u32 / 4)
    }

    /// vec4s of one replica's rows of `width`.
    fn rows_stride(&self, width: usize) -> u32 {
        (self.setup.room() * stride(width) / 4) as u32
    }
}

/// The targets of a part as its loss kernel reads them.
pub(super) fn target_words(setup: &Setup, targets: &Targets) -> Vec<u32> {
    match (setup.loss, targets) {
        (Loss::CrossEntropy, Targets::Labels(labels)) => labels.clone(),
        _ => targets.to_values(setup.model.outputs()).into_iter().map(|y| (y as f32).to_bits()).collect(),
    }
}
