//! The GPU engine: hands steps to the device, many to a submission, and reads their metrics a submission late.

use std::collections::VecDeque;

use wgpu::{Buffer, BufferUsages, CommandEncoder};

use super::adapter::Gpu;
use super::buffers::{self, Buffers, RING_ROWS, Records};
use super::builder::{Builder, PartBuffers, target_words};
use super::kernels::{PASS_BYTES, Pass, Scaling};
use super::profile;
use super::program::{EvalProgram, TrainProgram};
use super::readback::read_words;
use super::submission::Pending;
use super::tune::{Measuring, Tuner};
use crate::data::{Features, Part};
use crate::engine::{
    Aim, Allocation, Checked, Diagnose, Engine, Evaluation, Forms, Gradient, Limits, LossScale, Setup, Slot, Step,
    StepMetrics, Timed,
};
use crate::error::{Error, Result};
use crate::model::{Layout, Norm};

/// How the engine uses its device.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bytes of device memory that may be taken; the data set is streamed when it does not fit beside the rest.
    /// Default: what the device has.
    pub memory: Option<u64>,
    /// Bytes of the largest buffer of records, for tests. Default: the adapter's limit.
    pub record_buffer: Option<u64>,
    /// Forms of the matrix products to use, measured before or replayed. Default: none.
    pub forms: Forms,
    /// Measures the products that `forms` lacks, in a second or two, and is told of each. Default: they get the built-in form.
    pub measure: Option<Measuring>,
}

/// Submissions under way before the host waits for the oldest.
const IN_FLIGHT: usize = 2;
/// Operations in one submission, about: a slow GPU must answer before its driver loses patience.
const SUBMISSION_FLOPS: f64 = 2e10;
/// That of torch.amp.GradScaler.
const FIRST_LOSS_SCALE: f32 = 65536.0;
/// A gradient that is only looked at may overflow so often; each time the loss scale is halved.
const MOST_OVERFLOWS: usize = 40;

/// Trains on a GPU, in f32 or in mixed precision ([`Setup::mixed`]).
pub struct GpuEngine {
    pub(super) setup: Setup,
    layout: Layout,
    pub(super) buffers: Buffers,
    pub(super) records: [Records; 3],
    pub(super) stream: Option<Buffer>,
    pub(super) train: TrainProgram,
    eval: [Option<EvalProgram>; 3],
    /// The orders of the epoch, where records are streamed.
    pub(super) orders: Vec<Vec<u32>>,
    /// Of the random numbers of each replica.
    pub(super) seeds: Vec<u32>,
    pub(super) pending: VecDeque<Pending>,
    pub(super) spare: Vec<Buffer>,
    taken: Vec<Allocation>,
    forms: Forms,
    /// Whether the working copy of the weights is that of the live ones.
    pub(super) is_working_current: bool,
    pub(super) gpu: Gpu,
}

impl GpuEngine {
    /// An engine whose weights are all 0.
    ///
    /// # Errors
    /// A setup whose loss, model and data set do not go together; [`Error::DeviceMemory`].
    #[allow(clippy::new_ret_no_self, reason = "nobody gets an engine that is not checked")]
    pub fn new(gpu: Gpu, setup: Setup, options: Options) -> Result<Checked<Self>> {
        setup.check(f64::from(f32::MAX))?;
        if setup.is_mixed() {
            setup.dataset.check_normalized(half::f16::MAX.to_f64())?;
        }
        let layout = Layout::new(&setup.model);
        let dataset = setup.dataset.clone();
        let parts = [Part::Train, Part::Validation, Part::Test];

        let planned: u64 = buffers::plan(&setup, &layout).iter().map(|a| a.bytes).sum();
        let budget = options.memory.unwrap_or(u64::MAX);
        if planned > budget {
            let (what, place) = ("the run".into(), "the memory budget".into());
            return Err(Error::DeviceMemory { what, needed: planned, offered: budget, place });
        }
        let mut taken = Vec::new();
        let buffers = Buffers::new(&gpu, &setup, &layout, &mut taken)?;

        let piece = gpu.description.binding_bytes.min(gpu.description.buffer_bytes);
        let piece = options.record_buffer.map_or(piece, |bytes| bytes.min(piece));
        let resident = || -> Result<[Records; 3]> {
            let mut records = [const { Records::Streamed }; 3];
            for part in parts {
                records[part as usize] = Records::Resident(buffers::upload(&gpu, &dataset, part, piece, &mut taken)?);
            }
            Ok(records)
        };
        let fits = planned + buffers::all_records(&dataset) <= budget;
        let records = match fits.then(resident) {
            Some(Ok(records)) => records,
            // What does not fit beside the model is streamed.
            Some(Err(Error::DeviceMemory { offered: 0, .. })) | None => {
                taken.retain(|a| !a.name.contains("records"));
                [const { Records::Streamed }; 3]
            }
            Some(Err(error)) => return Err(error),
        };
        let mut take = |name: &str, bytes: u64| {
            taken.push(Allocation { name: name.into(), bytes });
            buffers::allocate(&gpu, name, bytes, BufferUsages::STORAGE)
        };
        let stream = match records[0] {
            Records::Streamed => Some(take("stream", buffers::stream_bytes(&setup))?),
            Records::Resident(_) => None,
        };

        let scaling = vec![Scaling::new(if setup.is_mixed() { FIRST_LOSS_SCALE } else { 1.0 }); setup.replicas];
        gpu.queue.write_buffer(&buffers.scaling, 0, bytemuck::cast_slice(&scaling));
        let tuner = Tuner::new(&options.forms, &gpu.description.to_string(), options.measure)?;
        let builder = Builder::new(&gpu, &setup, &layout, &buffers, tuner);
        let mut train = None;
        let mut eval = [const { None }; 3];
        for part in parts {
            let Some(samples) = dataset.part(part) else { continue };
            let name = format!("{part:?}").to_lowercase();
            let targets = target_words(&setup, &samples.targets);
            let in_file: Vec<u32> = (0..samples.len() as u32).collect();
            let (targets, in_file) = (bytemuck::cast_slice(&targets), bytemuck::cast_slice(&in_file));
            let on_device = take(&format!("{name} targets"), targets.len() as u64)?;
            let order = take(&format!("{name} order"), in_file.len() as u64)?;
            gpu.queue.write_buffer(&on_device, 0, targets);
            gpu.queue.write_buffer(&order, 0, in_file);
            let part_buffers = PartBuffers {
                records: &records[part as usize],
                stream: stream.as_ref().unwrap_or(&buffers.unused[0]),
                targets: &on_device,
                order: &order,
                order_stride: 0,
                samples: samples.len(),
            };
            if part == Part::Train {
                let order_stride = samples.len() as u32;
                train = Some(builder.train(&PartBuffers { order: &buffers.order, order_stride, ..part_buffers })?);
            }
            eval[part as usize] = Some(builder.eval(&part_buffers)?);
        }
        let train = train.ok_or_else(|| dataset.missing(Part::Train))?;
        let forms = builder.into_forms();
        gpu.check()?;
        let seeds = (0..setup.replicas).map(|r| setup.device_seed(r)).collect();
        let (orders, pending, spare) = (Vec::new(), VecDeque::new(), Vec::new());
        Ok(Checked::new(Self {
            setup,
            layout,
            buffers,
            records,
            stream,
            train,
            eval,
            orders,
            seeds,
            pending,
            spare,
            taken,
            forms,
            is_working_current: false,
            gpu,
        }))
    }

    /// An engine with every form of its products measured, as after a user's first runs: each measures for a second or two, and
    /// the next one goes on. For measuring it beside others; `open` gives the adapter, once for each of these runs.
    ///
    /// # Errors
    /// What [`new`](Self::new) and `open` refuse.
    pub fn tuned(open: impl Fn() -> Result<Gpu>, setup: &Setup) -> Result<Checked<Self>> {
        let mut forms = Forms::default();
        loop {
            let options = Options { forms: forms.clone(), measure: Some(|_| ()), ..Options::default() };
            let engine = Self::new(open()?, setup.clone(), options)?;
            let known = forms.products.len();
            let measured = engine.forms().products.into_iter().filter(|(_, choice)| choice.microseconds.is_some());
            forms.products.extend(measured);
            if forms.products.len() == known {
                return Ok(engine);
            }
        }
    }

    /// Whether the records stay on the host and are copied over before each submission.
    pub(super) fn is_streamed(&self) -> bool {
        self.stream.is_some()
    }

    pub(super) fn encoder(&self) -> CommandEncoder {
        self.gpu.device.create_command_encoder(&Default::default())
    }

    fn read(&self, buffer: &Buffer, offset: u64, bytes: u64) -> Result<Vec<f32>> {
        Ok(read_words(&self.gpu, buffer, offset, bytes)?.into_iter().map(f32::from_bits).collect())
    }

    /// Copies the vectors of all replicas from one place to another.
    fn copy_vectors(&self, (from, from_at): (&Buffer, u64), (to, to_at): (&Buffer, u64)) {
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(from, from_at, to, to_at, Some(self.buffers.params.size()));
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Puts the live weights, or those that are evaluated, where the products read them.
    pub(super) fn to_half(&self, is_evaluated: bool) {
        if !self.setup.is_mixed() {
            return;
        }
        let mut encoder = self.encoder();
        self.train.to_half(is_evaluated, &mut encoder.begin_compute_pass(&Default::default()));
        self.gpu.queue.submit([encoder.finish()]);
    }

    /// Puts the weights in `slot` where evaluations read them.
    fn load(&mut self, slot: Slot) -> Result<()> {
        self.copy_vectors(self.buffers.slot(slot, &self.setup)?, (&self.buffers.eval_params, 0));
        self.to_half(true);
        self.is_working_current = false;
        Ok(())
    }

    /// Of each replica.
    fn scaling(&self) -> Result<Vec<Scaling>> {
        let words = read_words(&self.gpu, &self.buffers.scaling, 0, self.buffers.scaling.size())?;
        Ok(bytemuck::cast_slice(&words).to_vec())
    }

    fn set_scaling(&self, scaling: &[Scaling]) {
        self.gpu.queue.write_buffer(&self.buffers.scaling, 0, bytemuck::cast_slice(scaling));
    }

    /// Evaluates the weights in `eval_params`, one member of an ensemble of `members`.
    fn evaluate_member(&self, part: Part, samples: usize, member: usize, members: usize) -> Result<()> {
        let room = self.setup.room();
        let mut passes: Vec<Pass> = (0..samples)
            .step_by(room)
            .map(|first| Pass {
                first: first as u32,
                rows: room.min(samples - first) as u32,
                batch: 1,
                accumulate: u32::from(first > 0),
                replicas: self.setup.replicas as u32,
                member: member as u32,
                members: members as u32,
                ..Pass::default()
            })
            .collect();
        let forward_flops = self.setup.replicas as f64 * self.setup.model.step_flops(room) / 3.0;
        let at_once = self.passes_at_once(room, 1).min((SUBMISSION_FLOPS / forward_flops).max(1.0) as usize);
        for passes in passes.chunks_mut(at_once) {
            self.stage(part, passes, true);
            let mut encoder = self.encoder();
            {
                let mut compute = encoder.begin_compute_pass(&Default::default());
                if let Some(program) = &self.eval[part as usize] {
                    for (i, pass) in passes.iter().enumerate() {
                        program.pass(&mut compute, (i as u64 * PASS_BYTES) as u32, pass);
                    }
                }
            }
            self.gpu.queue.submit([encoder.finish()]);
        }
        self.gpu.check()
    }

    fn vector_bytes(&self) -> u64 {
        self.layout.len as u64 * 4
    }
}

impl Checked<GpuEngine> {
    /// Whether the records stay on the host and are copied over before each submission.
    pub fn is_streamed(&self) -> bool {
        self.inner().is_streamed()
    }
}

impl Engine for GpuEngine {
    fn setup(&self) -> &Setup {
        &self.setup
    }

    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn has(&self, slot: Slot) -> bool {
        self.buffers.slot(slot, &self.setup).is_ok()
    }

    fn allocate(&mut self, slot: Slot) -> Result<()> {
        let bytes = self.buffers.params.size();
        let buffer = buffers::allocate(&self.gpu, &slot.name(), bytes, BufferUsages::STORAGE)?;
        self.taken.push(Allocation { name: slot.name(), bytes });
        self.buffers.kept.push((slot, buffer));
        Ok(())
    }

    fn free(&mut self, slot: Slot) -> Result<()> {
        self.taken.retain(|allocation| allocation.name != slot.name());
        self.buffers.kept.retain(|(kept, _)| *kept != slot);
        Ok(())
    }

    fn upload(&mut self, slot: Slot, replica: usize, values: &[f64]) -> Result<()> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        let (buffer, at) = self.buffers.slot(slot, &self.setup)?;
        self.gpu.queue.write_buffer(buffer, at + replica as u64 * self.vector_bytes(), bytemuck::cast_slice(&values));
        self.is_working_current &= slot != Slot::Live;
        Ok(())
    }

    fn download(&mut self, slot: Slot, replica: usize) -> Result<Vec<f64>> {
        let bytes = self.vector_bytes();
        let (buffer, at) = self.buffers.slot(slot, &self.setup)?;
        let values = self.read(buffer, at + replica as u64 * bytes, bytes)?;
        Ok(values.into_iter().map(f64::from).collect())
    }

    fn copy(&mut self, from: Slot, to: Slot) -> Result<()> {
        self.copy_vectors(self.buffers.slot(from, &self.setup)?, self.buffers.slot(to, &self.setup)?);
        self.is_working_current &= to != Slot::Live;
        Ok(())
    }

    fn axpy(&mut self, _alpha: &[f64], _x: Slot, _y: Slot) -> Result<()> {
        unimplemented!()
    }

    fn scale(&mut self, _alpha: &[f64], _x: Slot) -> Result<()> {
        unimplemented!()
    }

    fn dot(&mut self, _x: Slot, _y: Slot) -> Result<Vec<f64>> {
        unimplemented!()
    }

    fn update(&mut self, _step: &Step) -> Result<()> {
        unimplemented!()
    }

    fn predict(&mut self, _inputs: &Features, _slots: &[Slot]) -> Result<Vec<Vec<f64>>> {
        unimplemented!()
    }

    fn set_order(&mut self, orders: &[Vec<u32>]) -> Result<()> {
        let mut offset = 0;
        for order in orders {
            let bytes: &[u8] = bytemuck::cast_slice(order);
            self.gpu.queue.write_buffer(&self.buffers.order, offset, bytes);
            offset += bytes.len() as u64;
        }
        if self.is_streamed() {
            self.orders = orders.to_vec();
        }
        Ok(())
    }

    fn steps_at_once(&self) -> usize {
        let replicas = self.setup.replicas as f64;
        let steps = SUBMISSION_FLOPS / (replicas * self.setup.model.step_flops(self.setup.batch));
        steps.clamp(1.0, RING_ROWS as f64) as usize
    }

    fn run(&mut self, steps: &[Step]) -> Result<Vec<StepMetrics>> {
        let mut arrived = Vec::new();
        for steps in steps.chunks(RING_ROWS) {
            self.submit(steps, Aim::Update)?;
            self.read_metrics_later(steps)?;
            while self.pending.len() > IN_FLIGHT {
                arrived.extend(self.oldest()?);
            }
        }
        Ok(arrived)
    }

    fn wait(&mut self) -> Result<Vec<StepMetrics>> {
        let mut arrived = Vec::new();
        while !self.pending.is_empty() {
            arrived.extend(self.oldest()?);
        }
        Ok(arrived)
    }

    fn gradient(&mut self, step: &Step, of: Gradient) -> Result<Vec<StepMetrics>> {
        let before = self.scaling()?;
        let (mut losses, mut overflows) = (Vec::new(), true);
        for _ in 0..MOST_OVERFLOWS {
            self.submit(std::slice::from_ref(step), Aim::Gradient(of))?;
            self.read_metrics_later(std::slice::from_ref(step))?;
            while let Some(metrics) = Some(self.oldest()?).filter(|m| !m.is_empty()) {
                losses = metrics;
            }
            overflows = self.scaling()?.iter().any(|s| s.factor == 0.0);
            if !overflows {
                break;
            }
        }
        self.set_scaling(&before);
        if overflows {
            return Err(Error::Device(
                "the gradients do not fit into half precision at any loss scale; use f32".into(),
            ));
        }
        Ok(losses)
    }

    fn evaluate(&mut self, part: Part, slots: &[Slot]) -> Result<Vec<Evaluation>> {
        let samples = match self.setup.dataset.part(part) {
            Some(samples) => samples.len(),
            None => return Err(self.setup.dataset.missing(part)),
        };
        for (member, &slot) in slots.iter().enumerate() {
            self.load(slot)?;
            self.evaluate_member(part, samples, member, slots.len())?;
        }
        let sums = self.read(&self.buffers.metrics, 0, self.setup.replicas as u64 * 16)?;
        let n = samples as f64;
        let evaluation = |row: &[f32]| Evaluation { loss: f64::from(row[0]) / n, accuracy: f64::from(row[1]) / n };
        Ok(sums.chunks_exact(4).map(evaluation).collect())
    }

    fn renew_statistics(&mut self, slot: Slot, steps: &[Step]) -> Result<()> {
        if self.setup.model.norm != Norm::Batch {
            return Ok(());
        }
        self.load(slot)?;
        let mut first = 0;
        for steps in steps.chunks(RING_ROWS) {
            self.submit(steps, Aim::Statistics(first))?;
            first += steps.len();
        }
        self.copy_vectors((&self.buffers.eval_params, 0), self.buffers.slot(slot, &self.setup)?);
        Ok(())
    }

    fn loss_scales(&mut self) -> Result<Vec<LossScale>> {
        if !self.setup.is_mixed() {
            return Ok(Vec::new());
        }
        Ok(self.scaling()?.iter().map(|s| LossScale { next: s.next, steps: s.steps }).collect())
    }

    fn set_loss_scales(&mut self, scales: &[LossScale]) -> Result<()> {
        if !self.setup.is_mixed() {
            return Ok(());
        }
        let scaling = |s: &LossScale| Scaling { steps: s.steps, ..Scaling::new(s.next) };
        self.set_scaling(&scales.iter().map(scaling).collect::<Vec<_>>());
        Ok(())
    }

    fn forms(&self) -> Forms {
        self.forms.clone()
    }
}

impl Diagnose for GpuEngine {
    fn describe(&self) -> String {
        self.gpu.description.to_string()
    }

    fn value_bytes(&self) -> usize {
        size_of::<f32>()
    }

    fn memory(&self) -> Vec<Allocation> {
        self.taken.clone()
    }

    fn measure_limits(&mut self) -> Result<Limits> {
        super::limits(&self.gpu)
    }

    fn dispatches(&self) -> usize {
        self.train.ops().into_iter().map(|op| op.dispatches()).sum()
    }

    fn profile(&mut self, step: &Step) -> Result<Vec<Timed>> {
        if !profile::has_clock(&self.gpu) {
            return Ok(Vec::new());
        }
        self.to_half(false);
        self.is_working_current = true;
        // The first pass stands for all, if the step has several.
        let rows = step.rows.min(self.setup.most_in_pass());
        self.write_coefficients(std::slice::from_ref(step), Aim::Update);
        let (first, batch, replicas) = (step.first as u32, step.rows as u32, self.setup.replicas as u32);
        let mut pass = [Pass { first, rows: rows as u32, batch, replicas, ..Pass::default() }];
        self.stage(Part::Train, &mut pass, false);
        let ops = self.train.ops();
        let seconds =
            profile::seconds(&self.gpu, ops.len(), |i, compute| self.train.encode(ops[i], compute, rows as u32))?;
        let timed = ops.iter().zip(seconds);
        Ok(timed.map(|(op, seconds)| profile::timed(&self.setup, &self.layout, op, rows, seconds)).collect())
    }
}
