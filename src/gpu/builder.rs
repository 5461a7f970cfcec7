//! Makes the dispatches of steps and evaluations: compiles kernels and binds buffers.

use bytemuck::Pod;
use wgpu::util::DeviceExt;
use wgpu::{BindGroup, Buffer, BufferUsages};

use super::adapter::Gpu;
use super::buffers::{Buffers, Records, record_bytes};
use super::kernels::{self, COLUMNS, DW_ROWS, Kernel, LANES, NORM_COLUMNS, PARTS, Pipeline, ROWS};
use super::program::{After, EvalProgram, Extent, Op, TrainProgram};
use crate::cpu::Dropout;
use crate::data::{Features, Targets};
use crate::engine::{Setup, Slot};
use crate::loss::Loss;
use crate::model::{Layer, Layout, Norm, stride};
use crate::noise;

/// Passes of fewer rows get workgroups of as many, and weight gradients in larger tiles, since their workgroups have little
/// to do: at batch 1 `linear 0` of 3072-512-256-10 takes 0.9 ms instead of 4.1 on the software driver.
const FEW_ROWS: u32 = 8;
const FEW_DW_ROWS: u32 = 16;

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
        let mut forward = self.gather(part);
        forward.extend(self.forward(&self.buffers.params, part));
        forward.extend(self.loss(part));
        let mut statistics = Vec::new();
        if self.setup.model.norm == Norm::Batch {
            statistics = self.gather(part);
            statistics.extend(self.forward(&self.buffers.eval_params, part));
        }
        let backward = self.backward(false);
        let mut update = self.clip();
        update.push(self.update(0));
        let fused = self.setup.clip_norm.is_none().then(|| {
            let mut fused = self.backward(true);
            if self.layout.biases < self.layout.trained {
                fused.push(self.update(self.layout.biases));
            }
            fused
        });
        let mut after = Vec::new();
        for (slot, buffer) in &self.buffers.kept {
            match slot {
                Slot::Swa => after.push((After::Swa, self.average(buffer, false))),
                Slot::Ema => after.push((After::Ema, self.average(buffer, true))),
                Slot::Slow => after.push((After::Lookahead, self.lookahead(buffer))),
                _ => {}
            }
        }
        TrainProgram { step: self.step(), forward, backward, update, fused, statistics, after }
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

    /// dz[l] -> dz[l - 1]: (R, room, inputs); dz[l] -> dW, db of layer l in grads: (R, P), or used up in params and state
    fn backward(&self, is_fused: bool) -> Vec<Op> {
        let (b, model) = (self.buffers, &self.setup.model);
        let lanes = ("LANES", f64::from(self.lanes));
        let (kernel, dw_rows) = if self.setup.most_in_pass() < FEW_ROWS as usize {
            (kernels::linear_dw.with_rows(FEW_DW_ROWS), FEW_DW_ROWS)
        } else {
            (kernels::linear_dw.variant_for(self.gpu), DW_ROWS)
        };
        let rule = kernels::update(self.setup.optimizer.rule());
        let dw_constants = if is_fused { vec![lanes, ("UPDATE", rule.code), rule.flag] } else { vec![lanes] };
        let dw = self.compile(&kernel, &dw_constants);
        let mut dw_buffers = if is_fused { vec![&b.params] } else { vec![&b.grads] };
        dw_buffers.extend(b.state.iter().filter(|_| is_fused));
        dw_buffers.resize(kernel.bindings.len() - 3, &b.unused[1]);
        let mut ops = Vec::new();
        for (l, layer) in self.layout.layers.iter().enumerate().rev() {
            if let (Some(xhat), Some(inverse)) = (&b.xhat[l], &b.inverse[l]) {
                ops.extend(self.norm_backward(l, xhat, inverse).map(|op| op.of_layer(l)));
            }
            let (inputs, outputs, params_stride) = self.dims(layer);
            let dz_stride = self.rows_stride(layer.outputs);
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
            let args = kernels::LinearDwArgs {
                inputs,
                outputs,
                weight: layer.weight as u32 / 4,
                bias: layer.bias as u32 / 4,
                params_stride,
                a_stride: self.rows_stride(layer.inputs),
                dz_stride,
                decayed: self.setup.decayed(self.layout) as u32 / 4,
            };
            let x = Extent::Fixed(outputs.div_ceil(self.lanes * COLUMNS));
            let grid = self.grid(x, Extent::Fixed(inputs.div_ceil(dw_rows)));
            let buffers = [&[&b.a[l], &b.dz[l]], &dw_buffers[..]].concat();
            let op = self.op(&dw, "linear_dw", &args, &buffers, grid);
            ops.push(Op { updates: is_fused, ..op.of_layer(l) });
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

    /// grads, params, state -> params, state: (R, P), from `first` on
    fn update(&self, first: usize) -> Op {
        let b = self.buffers;
        let kernels::Update { kernel, flag, .. } = kernels::update(self.setup.optimizer.rule());
        let pipeline = self.compile(&kernel, &[flag, ("LANES", LANES.into())]);
        let mut buffers = vec![&b.clip, &b.grads, &b.params];
        buffers.extend(&b.state);
        buffers.resize(kernel.bindings.len() - 1, &b.unused[1]);
        self.op(&pipeline, kernel.name, &self.update_args(first), &buffers, self.vector_grid(first))
    }

    /// params -> mean: (R, P)
    fn average(&self, mean: &Buffer, ema: bool) -> Op {
        let pipeline = self.compile(&kernels::average, &[("EMA", f64::from(ema)), ("LANES", LANES.into())]);
        self.op(&pipeline, "average", &self.update_args(0), &[&self.buffers.params, mean], self.vector_grid(0))
    }

    /// params, slow -> params, slow: (R, P)
    fn lookahead(&self, slow: &Buffer) -> Op {
        let pipeline = self.compile(&kernels::lookahead, &[("LANES", LANES.into())]);
        self.op(&pipeline, "lookahead", &self.update_args(0), &[&self.buffers.params, slow], self.vector_grid(0))
    }

    fn update_args(&self, first: usize) -> kernels::UpdateArgs {
        kernels::UpdateArgs {
            first: first as u32 / 4,
            params: self.layout.len as u32 / 4,
            trained: self.layout.trained as u32 / 4,
            decayed: self.setup.decayed(self.layout) as u32 / 4,
        }
    }

    /// One invocation for each trained vec4 of a parameter vector from `first` on; workgroups beyond what one dimension may
    /// hold go into the second.
    fn vector_grid(&self, first: usize) -> (Extent, Extent, u32) {
        let groups = ((self.layout.trained - first) as u32 / 4).div_ceil(LANES);
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
        Op { kernel, layer: None, updates: false, pipeline: pipeline.pipeline.clone(), bindings, x, y, replicas }
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
