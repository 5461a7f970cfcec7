//! Makes the dispatches of steps and evaluations: compiles kernels and binds buffers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytemuck::Pod;
use wgpu::util::DeviceExt;
use wgpu::{BindGroup, Buffer, BufferUsages};

use super::adapter::Gpu;
use super::buffers::{Buffers, Records, record_bytes};
use crate::engine::Forms;
use super::kernels::{self, Kernel, LANES, NORM_COLUMNS, PARTS, Pipeline, Stored};
use super::program::{After, EvalProgram, Extent, Grid, Op, TrainProgram};
use super::tune::Tuner;
use crate::data::{Features, Targets};
use crate::engine::{Setup, Slot};
use crate::error::Result;
use crate::loss::Loss;
use crate::model::{Layer, Layout, Norm, stride};

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
    pub fn is_training(&self) -> bool {
        self.order_stride != 0
    }
}

/// Makes the dispatches: compiles kernels and binds buffers.
pub(super) struct Builder<'a> {
    pub(super) gpu: &'a Gpu,
    pub(super) setup: &'a Setup,
    pub(super) layout: &'a Layout,
    pub(super) buffers: &'a Buffers,
    pub(super) step_layout: wgpu::BindGroupLayout,
    /// A subgroup.
    pub(super) lanes: u32,
    pub(super) tuner: Tuner,
    /// What was compiled, by kernel and constants: layers share it.
    compiled: Mutex<HashMap<String, Pipeline>>,
    /// Whether the device's cooperative matrices were found to work; looked at where a product could use them.
    pub(super) cooperative_works: OnceLock<bool>,
}

impl<'a> Builder<'a> {
    pub fn new(gpu: &'a Gpu, setup: &'a Setup, layout: &'a Layout, buffers: &'a Buffers, tuner: Tuner) -> Self {
        Self {
            gpu,
            setup,
            layout,
            buffers,
            step_layout: kernels::step_layout(gpu),
            lanes: gpu.lanes(),
            tuner,
            compiled: Mutex::default(),
            cooperative_works: OnceLock::new(),
        }
    }

    /// # Errors
    /// The device is lost while it measures.
    pub fn train(&self, part: &PartBuffers) -> Result<TrainProgram> {
        self.choose_forms(part)?;
        let mut forward = self.gather(part);
        forward.extend(self.forward(&self.buffers.params, part, true)?);
        forward.push(self.loss(part));
        let mut statistics = Vec::new();
        if self.setup.model.norm == Norm::Batch {
            statistics = self.gather(part);
            statistics.extend(self.forward(&self.buffers.eval_params, part, false)?);
        }
        let backward = self.backward(false)?;
        let mut update = self.clip();
        update.push(self.update(0));
        let mut fused = None;
        if self.is_fused() {
            let mut ops = self.backward(true)?;
            if self.layout.biases < self.layout.trained {
                ops.push(self.update(self.layout.biases));
            }
            fused = Some(ops);
        }
        let mut after = Vec::new();
        for (slot, buffer) in &self.buffers.kept {
            match slot {
                Slot::Swa => after.push((After::Swa, self.average(buffer))),
                Slot::Slow => after.push((After::Lookahead, self.lookahead(buffer))),
                _ => {}
            }
        }
        let to_half = |params| self.to_half(params);
        let to_half = self.setup.is_mixed().then(|| [&self.buffers.params, &self.buffers.eval_params].map(to_half));
        Ok(TrainProgram { step: self.step(), forward, backward, update, fused, statistics, after, to_half })
    }

    /// # Errors
    /// The device is lost while it measures.
    pub fn eval(&self, part: &PartBuffers) -> Result<EvalProgram> {
        let mut forward = self.gather(part);
        forward.extend(self.forward(&self.buffers.eval_params, part, false)?);
        let ensemble = if self.setup.average.snapshots.is_some() { vec![self.ensemble(part)] } else { Vec::new() };
        Ok(EvalProgram { step: self.step(), forward, ensemble, loss: self.loss(part) })
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
                ("ALIGNED", f64::from((dataset.shape[1] * dataset.shape[2]).is_multiple_of(4))),
                ("STREAMED", f64::from(is_streamed)),
                ("AUGMENT", f64::from(part.is_training() && !augment.is_none())),
                ("MIXUP", f64::from(has_mixup)),
                ("PARTNER", f64::from(is_partner)),
                ("LANES", LANES.into()),
            ];
            self.compile_rows(&kernels::gather, &constants)
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
                ops.push(self.op(&pipeline, &kernels::gather, &args, &buffers, grid));
            }
        }
        ops
    }

    /// z in xhat -> xhat, n in a[l + 1]: (R, room, outputs); inverse
    pub(super) fn norm(&self, l: usize, params: &Buffer, part: &PartBuffers, xhat: &Buffer, inverse: &Buffer) -> Op {
        let layer = &self.layout.layers[l];
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        let z_stride = self.rows_stride(layer.outputs);
        let buffers = [params, xhat, &self.buffers.a[l + 1], inverse];
        if self.setup.model.norm == Norm::Batch {
            let statistics = layer.statistics as u32 / 4;
            let args = kernels::BatchNormArgs { outputs, params_stride, gamma, beta, statistics, z_stride };
            let pipeline = self.compile_rows(&kernels::batch_norm, &[("TRAINING", f64::from(part.is_training()))]);
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
            return self.op(&pipeline, &kernels::batch_norm, &args, &buffers, grid);
        }
        let (width, room) = (layer.outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormArgs { outputs, width, params_stride, gamma, beta, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        self.op(&self.compile_rows(&kernels::layer_norm, &[]), &kernels::layer_norm, &args, &buffers, grid)
    }

    /// logits -> dz of the last layer: (R, room, outputs), both in its a; sums -> metrics: (RING_ROWS, R)
    fn loss(&self, part: &PartBuffers) -> Op {
        let (b, outputs) = (self.buffers, self.setup.model.outputs());
        let off = self.setup.label_smoothing / outputs as f64;
        let args = kernels::LossArgs {
            outputs: outputs as u32,
            columns: stride(outputs) as u32 / 4,
            z_stride: self.rows_stride(outputs),
            order_stride: part.order_stride,
            room: self.setup.room() as u32,
            on: (1.0 - self.setup.label_smoothing + off) as f32,
            off: off as f32,
        };
        let kernel = match self.setup.loss {
            Loss::CrossEntropy => &kernels::softmax_cross_entropy,
            Loss::Mse => &kernels::mse,
        };
        let buffers = [part.order, part.targets, &b.mix, &b.scaling, &b.a[self.setup.model.layers()], &b.metrics];
        let has_mixup = part.is_training() && self.setup.augment.mixup > 0.0;
        let rows = if part.is_training() { self.setup.most_in_pass() } else { self.setup.room() };
        let constants = [("LANES", kernels::loss_lanes(self.gpu, rows).into()), ("MIXUP", f64::from(has_mixup))];
        let grid = self.grid(Extent::Fixed(1), Extent::Fixed(1));
        self.op(&self.compile_rows(kernel, &constants), kernel, &args, &buffers, grid)
    }

    /// logits -> mean: (R, samples, outputs) -> logits
    fn ensemble(&self, part: &PartBuffers) -> Op {
        let (b, outputs) = (self.buffers, self.setup.model.outputs());
        let args = kernels::EnsembleArgs {
            outputs: outputs as u32,
            columns: stride(outputs) as u32 / 4,
            z_stride: self.rows_stride(outputs),
            mean_stride: (part.samples * stride(outputs)) as u32 / 4,
        };
        let softmax = f64::from(self.setup.loss == Loss::CrossEntropy);
        let pipeline = self.compile_rows(&kernels::ensemble, &[("SOFTMAX", softmax), ("LANES", LANES.into())]);
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        self.op(&pipeline, &kernels::ensemble, &args, &[&b.a[self.setup.model.layers()], &b.mean], grid)
    }

    /// dn in dz[l] -> dγ, dβ in grads: (R, P); dn -> dz[l]: (R, room, outputs)
    pub(super) fn norm_backward(&self, l: usize, xhat: &Buffer, inverse: &Buffer) -> [Op; 2] {
        let (b, layer) = (self.buffers, &self.layout.layers[l]);
        let (_, outputs, params_stride) = self.dims(layer);
        let (gamma, beta) = (layer.gamma as u32 / 4, layer.beta as u32 / 4);
        let z_stride = self.rows_stride(layer.outputs);
        let args = kernels::NormArgs { outputs, params_stride, gamma, beta, z_stride };
        let grid = self.grid(Extent::Fixed(outputs.div_ceil(NORM_COLUMNS)), Extent::Fixed(1));
        let pipeline = self.compile_rows(&kernels::norm_dw, &[]);
        let dw = self.op(&pipeline, &kernels::norm_dw, &args, &[xhat, &b.dz[l], &b.scaling, &b.grads], grid);
        if self.setup.model.norm == Norm::Batch {
            let pipeline = self.compile_rows(&kernels::batch_norm_dx, &[("LANES", LANES.into())]);
            let grid = self.grid(Extent::Fixed(outputs.div_ceil(LANES)), Extent::Rows(1));
            let buffers = [&b.params, &b.grads, xhat, inverse, &b.scaling, &b.dz[l]];
            return [dw, self.op(&pipeline, &kernels::batch_norm_dx, &args, &buffers, grid)];
        }
        let (width, room) = (layer.outputs as u32, self.setup.room() as u32);
        let args = kernels::LayerNormDxArgs { outputs, width, params_stride, gamma, z_stride, room };
        let grid = self.grid(Extent::Rows(1), Extent::Fixed(1));
        let pipeline = self.compile_rows(&kernels::layer_norm_dx, &[]);
        [dw, self.op(&pipeline, &kernels::layer_norm_dx, &args, &[&b.params, xhat, inverse, &b.dz[l]], grid)]
    }

    /// grads -> norm in metrics, clip in scaling: (R); nothing without a largest norm
    fn clip(&self) -> Vec<Op> {
        let Some(max_norm) = self.setup.clip_norm else { return Vec::new() };
        let b = self.buffers;
        let args = kernels::GradNormArgs { params: self.layout.len as u32 / 4, max_norm: max_norm as f32 };
        [("square", PARTS), ("root", 1)]
            .map(|(entry_point, groups)| {
                let pipeline = kernels::grad_norm.compile(self.gpu, &self.step_layout, entry_point, &[]);
                let grid = self.grid(Extent::Fixed(groups), Extent::Fixed(1));
                self.op(&pipeline, &kernels::grad_norm, &args, &[&b.grads, &b.squares, &b.scaling, &b.metrics], grid)
            })
            .into()
    }

    /// grads, params, state -> params, state: (R, P), from `first` on
    fn update(&self, first: usize) -> Op {
        let b = self.buffers;
        let kernels::Update { kernel, flag, .. } = kernels::update(self.setup.optimizer.rule());
        let constants = [&[flag, ("LANES", LANES.into())][..], &self.keep()].concat();
        let pipeline = self.compile_rows(&kernel, &constants);
        let buffers = [&b.scaling, &b.grads, &b.params, &b.state, &b.working];
        self.op(&pipeline, &kernel, &self.update_args(first), &buffers, self.vector_grid(first))
    }

    /// The constants of what follows new weights: where in state the EMA lies, and whether there is a working copy.
    pub(super) fn keep(&self) -> [(&'static str, f64); 2] {
        let ema = if self.setup.average.ema.is_some() { self.setup.optimizer.state_vectors() } else { 0 };
        [("EMA", ema as f64), ("MIXED", f64::from(self.setup.is_mixed()))]
    }

    /// dz of the lowest layer, scaling -> scaling: (R); nothing in full precision
    pub(super) fn loss_scale(&self) -> Option<Op> {
        let (b, width) = (self.buffers, self.layout.layers[0].outputs);
        let args = kernels::LossScaleArgs { columns: stride(width) as u32 / 4, dz_stride: self.rows_stride(width) };
        let grid = self.grid(Extent::Fixed(1), Extent::Rows(kernels::LOSS_SCALE_ROWS));
        let op = || {
            let pipeline = self.compile_rows(&kernels::loss_scale, &[]);
            self.op(&pipeline, &kernels::loss_scale, &args, &[&b.dz[0], &b.scaling], grid)
        };
        self.setup.is_mixed().then(op)
    }

    /// params -> working: (R, P)
    fn to_half(&self, params: &Buffer) -> Op {
        let pipeline = self.compile_rows(&kernels::to_half, &[("LANES", LANES.into())]);
        self.op(
            &pipeline,
            &kernels::to_half,
            &self.update_args(0),
            &[params, &self.buffers.working],
            self.vector_grid(0),
        )
    }

    /// params -> mean: (R, P)
    fn average(&self, mean: &Buffer) -> Op {
        let pipeline = self.compile(&kernels::average, &[("LANES", LANES.into())]);
        self.op(&pipeline, &kernels::average, &self.update_args(0), &[&self.buffers.params, mean], self.vector_grid(0))
    }

    /// params, slow -> params, slow: (R, P)
    fn lookahead(&self, slow: &Buffer) -> Op {
        let pipeline = self.compile(&kernels::lookahead, &[("LANES", LANES.into())]);
        self.op(
            &pipeline,
            &kernels::lookahead,
            &self.update_args(0),
            &[&self.buffers.params, slow],
            self.vector_grid(0),
        )
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
    fn vector_grid(&self, first: usize) -> Grid {
        let groups = ((self.layout.trained - first) as u32 / 4).div_ceil(LANES);
        let rows = groups.div_ceil(wgpu::Limits::default().max_compute_workgroups_per_dimension);
        self.grid(Extent::Fixed(groups.div_ceil(rows)), Extent::Fixed(rows))
    }

    /// Group 1.
    pub(super) fn step(&self) -> BindGroup {
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

    /// The forms of the products, once all programs are built. What measuring left in params and state is gone.
    pub fn into_forms(self) -> Forms {
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let b = self.buffers;
        [&b.params, &b.grads, &b.state, &b.working].iter().for_each(|buffer| encoder.clear_buffer(buffer, 0, None));
        self.gpu.queue.submit([encoder.finish()]);
        self.tuner.used()
    }

    pub(super) fn compile(&self, kernel: &Kernel, constants: &[(&str, f64)]) -> Pipeline {
        let Kernel { row, tile, side, samples, stored, update } = kernel;
        let update = update.map(|row| row.name);
        let key = format!("{} {tile:?} {side} {samples} {stored:?} {update:?} {constants:?}", row.name);
        let known = self.compiled().get(&key).cloned();
        known.unwrap_or_else(|| {
            // Other threads compile others meanwhile.
            let pipeline = kernel.compile(self.gpu, &self.step_layout, "main", constants);
            self.compiled().entry(key).or_insert(pipeline).clone()
        })
    }

    fn compiled(&self) -> MutexGuard<'_, HashMap<String, Pipeline>> {
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same of a kernel that reads or writes rows or the working copy of the weights.
    pub(super) fn compile_rows(&self, kernel: &Kernel, constants: &[(&str, f64)]) -> Pipeline {
        self.compile(&kernel.with_stored(self.stored()), constants)
    }

    /// How rows lie in memory.
    pub(super) fn stored(&self) -> Stored {
        if self.setup.is_mixed() { Stored::half(self.gpu) } else { Stored::F32 }
    }

    pub(super) fn op<T: Pod>(
        &self,
        pipeline: &Pipeline,
        kernel: &Kernel,
        args: &T,
        buffers: &[&Buffer],
        (x, y, replicas): Grid,
    ) -> Op {
        let args = self.gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some(kernel.name),
            contents: bytemuck::bytes_of(args),
            usage: BufferUsages::STORAGE,
        });
        let entries: Vec<_> = std::iter::once(&args)
            .chain(buffers.iter().copied())
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let descriptor =
            wgpu::BindGroupDescriptor { label: Some(kernel.name), layout: &pipeline.layout, entries: &entries };
        let bindings = self.gpu.device.create_bind_group(&descriptor);
        Op {
            kernel: kernel.row,
            layer: None,
            updates: false,
            pipeline: pipeline.pipeline.clone(),
            bindings,
            x,
            y,
            replicas,
            then: None,
        }
    }

    pub(super) fn grid(&self, x: Extent, y: Extent) -> Grid {
        (x, y, self.setup.replicas as u32)
    }

    /// vec4s of an input row, of an output row, and of one replica's parameters.
    pub(super) fn dims(&self, layer: &Layer) -> (u32, u32, u32) {
        (stride(layer.inputs) as u32 / 4, stride(layer.outputs) as u32 / 4, self.layout.len as u32 / 4)
    }

    /// vec4s of one replica's rows of `width`.
    pub(super) fn rows_stride(&self, width: usize) -> u32 {
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
