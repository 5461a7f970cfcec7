//! The dispatches of a step and of an evaluation, from top to bottom.

use bytemuck::Pod;
use wgpu::util::DeviceExt;
use wgpu::{BindGroup, Buffer, BufferUsages, ComputePass};

use super::adapter::Gpu;
use super::buffers::{Buffers, Records, record_bytes};
use super::kernels::{self, COLUMNS, DW_ROWS, Kernel, LANES, PARTS, Pipeline, ROWS};
use crate::data::{Features, Targets};
use crate::engine::Setup;
use crate::loss::Loss;
use crate::model::{Layer, Layout, stride};
use crate::optimizer::Rule;

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
struct Op {
    pipeline: wgpu::ComputePipeline,
    bindings: BindGroup,
    x: Extent,
    y: Extent,
    replicas: u32,
}

/// Dispatches `ops` for a pass of `rows` rows; `pass_at` is the offset of the pass in its uniform.
fn encode(ops: &[Op], pass: &mut ComputePass, step: &BindGroup, pass_at: u32, rows: u32) {
    for op in ops {
        pass.set_pipeline(&op.pipeline);
        pass.set_bind_group(0, &op.bindings, &[]);
        pass.set_bind_group(1, step, &[pass_at]);
        pass.dispatch_workgroups(op.x.groups(rows), op.y.groups(rows), op.replicas);
    }
}

/// The dispatches of the training steps.
pub(super) struct TrainProgram {
    step: BindGroup,
    /// Gather, forward, loss, backward: once for every pass of a step.
    pass: Vec<Op>,
    /// Clip, update: once a step.
    update: Vec<Op>,
    /// Once a step that the mean samples; none where the mean is not asked for.
    swa: Vec<Op>,
    ema: Vec<Op>,
}

impl TrainProgram {
    pub fn pass(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.pass, pass, &self.step, pass_at, rows);
    }

    pub fn update(&self, pass: &mut ComputePass, pass_at: u32, swa: bool, ema: bool) {
        encode(&self.update, pass, &self.step, pass_at, 0);
        for (ops, samples) in [(&self.swa, swa), (&self.ema, ema)] {
            if samples {
                encode(ops, pass, &self.step, pass_at, 0);
            }
        }
    }

    /// Dispatches of a step of one pass.
    pub fn dispatches(&self) -> usize {
        self.pass.len() + self.update.len()
    }
}

/// The dispatches of one pass of an evaluation.
pub(super) struct EvalProgram {
    step: BindGroup,
    pass: Vec<Op>,
}

impl EvalProgram {
    pub fn pass(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.pass, pass, &self.step, pass_at, rows);
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
        let mut update = self.clip();
        update.push(self.update());
        let swa = self.average(self.buffers.swa.as_ref(), false);
        let ema = self.average(self.buffers.ema.as_ref(), true);
        TrainProgram { step: self.step(), pass, update, swa, ema }
    }

    pub fn eval(&self, part: &PartBuffers) -> EvalProgram {
        let mut pass = self.gather(part);
        pass.extend(self.forward(&self.buffers.eval_params, part));
        pass.extend(self.loss(part));
        EvalProgram { step: self.step(), pass }
    }

    /// raw records -> x: (R or 1, room, width); one dispatch for each buffer of records
    fn gather(&self, part: &PartBuffers) -> Vec<Op> {
        let dataset = &self.setup.dataset;
        let streamed = [(part.stream.clone(), 0, 0)];
        let (pieces, is_streamed) = match part.records {
            Records::Resident(pieces) => (&pieces[..], false),
            Records::Streamed => (&streamed[..], true),
        };
        let bytes = matches!(dataset.train.features, Features::U8(_));
        let constants = [("BYTES", f64::from(bytes)), ("STREAMED", f64::from(is_streamed)), ("LANES", LANES.into())];
        let pipeline = self.compile(&kernels::gather, &constants);
        let columns = stride(dataset.width()) as u32 / 4;
        pieces
            .iter()
            .map(|(records, first, count)| {
                let args = kernels::GatherArgs {
                    width: dataset.width() as u32,
                    columns,
                    pixels: (dataset.shape[1] * dataset.shape[2]) as u32,
                    record_words: record_bytes(dataset) as u32 / 4,
                    first_record: *first as u32,
                    records: *count as u32,
                    order_stride: part.order_stride,
                    x_stride: self.rows_stride(dataset.width()),
                };
                let b = self.buffers;
                let replicas = if part.order_stride == 0 { 1 } else { self.setup.replicas as u32 };
                let grid = (Extent::Fixed(columns.div_ceil(LANES)), Extent::Rows(1), replicas);
                self.op(&pipeline, "gather", &args, &[records, part.order, &b.channels, &b.a[0]], grid)
            })
            .collect()
    }

    /// a[l] -> a[l + 1], slope[l]: (R, room, outputs)
    fn forward(&self, params: &Buffer, part: &PartBuffers) -> Vec<Op> {
        let layers = self.layout.layers.iter().enumerate();
        layers
            .map(|(l, layer)| {
                let code = self.setup.model.activation_after(l).code();
                let pipeline =
                    self.compile(&kernels::linear, &[("ACTIVATION", code.into()), ("LANES", self.lanes.into())]);
                let (inputs, outputs, params_stride) = self.dims(layer);
                let shared_x = l == 0 && part.order_stride == 0;
                let args = kernels::LinearArgs {
                    inputs,
                    outputs,
                    weight: layer.weight as u32 / 4,
                    bias: layer.bias as u32 / 4,
                    params_stride,
                    a_stride: if shared_x { 0 } else { self.rows_stride(layer.inputs) },
                    y_stride: self.rows_stride(layer.outputs),
                };
                let b = self.buffers;
                let grid = self.grid(Extent::Fixed(outputs.div_ceil(self.lanes * COLUMNS)), Extent::Rows(ROWS));
                self.op(&pipeline, "linear", &args, &[params, &b.a[l], &b.a[l + 1], &b.slope[l]], grid)
            })
            .collect()
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
        let buffers = [part.order, part.targets, &b.a[last + 1], &b.dz[last], &b.row_sums];
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        let loss = self.op(&self.compile(kernel, &[("LANES", LANES.into())]), kernel.name, &args, &buffers, grid);

        let args = kernels::MetricsArgs { room: self.setup.room() as u32 };
        let grid = self.grid(Extent::Fixed(1), Extent::Fixed(1));
        let metrics = self.compile(&kernels::metrics, &[]);
        [loss, self.op(&metrics, "metrics", &args, &[&b.row_sums, &b.metrics], grid)]
    }

    /// dz[l] -> dW, db of layer l in grads: (R, P); dz[l] -> dz[l - 1]: (R, room, inputs)
    fn backward(&self) -> Vec<Op> {
        let b = self.buffers;
        let lanes = [("LANES", f64::from(self.lanes))];
        let (dw, dx) = (self.compile(&kernels::linear_dw, &lanes), self.compile(&kernels::linear_dx, &lanes));
        let mut ops = Vec::new();
        for (l, layer) in self.layout.layers.iter().enumerate().rev() {
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
            let grid = self.grid(x, Extent::Fixed(inputs.div_ceil(DW_ROWS)));
            ops.push(self.op(&dw, "linear_dw", &args, &[&b.a[l], &b.dz[l], &b.grads], grid));
            if l > 0 {
                let args = kernels::LinearDxArgs {
                    inputs,
                    outputs,
                    weight: layer.weight as u32 / 4,
                    params_stride,
                    dz_stride,
                    dx_stride: self.rows_stride(layer.inputs),
                };
                let grid = self.grid(Extent::Fixed(inputs.div_ceil(self.lanes)), Extent::Rows(ROWS));
                let buffers = [&b.params, &b.dz[l], &b.slope[l - 1], &b.dz[l - 1]];
                ops.push(self.op(&dx, "linear_dx", &args, &buffers, grid));
            }
        }
        ops
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
        let args = kernels::UpdateArgs { params: self.layout.len as u32 / 4 };
        let mut buffers = vec![&b.clip, &b.grads, &b.params];
        buffers.extend(&b.state);
        buffers.resize(kernel.bindings.len() - 1, &b.unused);
        self.op(&pipeline, kernel.name, &args, &buffers, self.vector_grid())
    }

    /// params -> mean: (R, P); nothing if the mean is not kept
    fn average(&self, mean: Option<&Buffer>, ema: bool) -> Vec<Op> {
        let Some(mean) = mean else { return Vec::new() };
        let pipeline = self.compile(&kernels::average, &[("EMA", f64::from(ema)), ("LANES", LANES.into())]);
        let args = kernels::UpdateArgs { params: self.layout.len as u32 / 4 };
        vec![self.op(&pipeline, "average", &args, &[&self.buffers.params, mean], self.vector_grid())]
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

    fn compile(&self, kernel: &Kernel, constants: &[(&str, f64)]) -> Pipeline {
        kernel.compile(self.gpu, &self.step_layout, "main", constants)
    }

    fn op<T: Pod>(
        &self,
        pipeline: &Pipeline,
        name: &str,
        args: &T,
        buffers: &[&Buffer],
        (x, y, replicas): (Extent, Extent, u32),
    ) -> Op {
        let args = self.gpu.device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
            label: Some(name),
            contents: bytemuck::bytes_of(args),
            usage: BufferUsages::STORAGE,
        });
        let entries: Vec<_> = std::iter::once(&args)
            .chain(buffers.iter().copied())
            .enumerate()
            .map(|(i, b)| wgpu::BindGroupEntry { binding: i as u32, resource: b.as_entire_binding() })
            .collect();
        let descriptor = wgpu::BindGroupDescriptor { label: Some(name), layout: &pipeline.layout, entries: &entries };
        let bindings = self.gpu.device.create_bind_group(&descriptor);
        Op { pipeline: pipeline.pipeline.clone(), bindings, x, y, replicas }
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
