//! What lies on the device: planned first, so that its size is known, then allocated.

use wgpu::{Buffer, BufferUsages};

use super::adapter::{Description, Gpu};
use super::forms::{Shape, split_bytes};
use super::kernels::{self, PASS_BYTES, Stored};
use crate::data::{Part, QUANTILES, Samples};
use crate::engine::{Allocation, EVAL_ROWS, Layout, LossScale, Setup, Slot, stride};
use crate::error::{Error, Result};
use crate::model::Norm;

/// The most passes in one submission.
pub(super) const PASSES: usize = 64;
/// The number of rows of the ring of coefficients and metrics: steps in one submission, at most.
pub(super) const RING_ROWS: usize = 64;

/// The bytes of a buffer that only stands where one must be bound.
const UNUSED_BYTES: u64 = 16;

/// What helps against too little memory, in most cases.
const LESS: &str = "use a smaller batch, a smaller model or fewer replicas";

/// Every buffer but those of the data set's records.
pub(super) struct Buffers {
    /// The live weights: (R, P).
    pub params: Buffer,
    /// The weights being evaluated: (R, P).
    pub eval_params: Buffer,
    /// The copies to come back to, those of [`Slot::Copy`].
    pub copies: Vec<Buffer>,
    /// The vectors of averages, slow weights and snapshots that are asked for, and vectors that were allocated.
    pub kept: Vec<(Slot, Buffer)>,
    /// The working copy of the weights in halves, which the products read under mixed precision: (R, P).
    pub working: Buffer,
    /// The gradient: (R, P).
    pub grads: Buffer,
    /// The buffers of the ascent before an update, where there is one.
    pub ascent: Option<AscentBuffers>,
    /// The optimizer's state vectors, and behind them the EMA where the update takes it up: (vectors, R, P).
    pub state: Buffer,
    /// The number of vectors of `state` before the EMA.
    state_vectors: usize,
    has_ema_in_state: bool,
    /// The scaling of the loss and the gradients: (R).
    pub scaling: Buffer,
    /// The buffers that stand where a kernel's bindings are not used: one that is read, and one that is written.
    pub unused: [Buffer; 2],
    /// The epoch's order of the training samples: (R, samples).
    pub order: Buffer,
    /// The scale and shift of each channel.
    pub channels: Buffer,
    /// The quantile function of mixup's shares.
    pub quantiles: Buffer,
    /// The other sample of each row under mixup, and the share of its own: (R, room).
    pub mix: Buffer,
    /// The activations: `a[0]` is x; layer l reads `a[l]`, and makes `a[l + 1]` and `slope[l]`, by way of a
    /// normalisation where there is one; `da[l]` is the gradient of `a[l]`, where a residual connection needs it. The
    /// last `dz` takes the place of the last `a`, which nothing reads after the loss. An evaluation needs neither
    /// slopes nor gradients.
    pub a: Vec<Buffer>,
    pub slope: Vec<Buffer>,
    pub norms: Vec<Option<NormBuffers>>,
    pub dz: Vec<Buffer>,
    pub da: Vec<Option<Buffer>>,
    /// The predictions of an ensemble, where one may be asked for.
    pub mean: Option<Buffer>,
    /// The metrics of the steps of a submission: (RING_ROWS, R).
    pub metrics: Buffer,
    /// The parts of a sum over a vector: (R, PARTS).
    pub parts: Buffer,
    /// The factors of a vector operation: (R).
    pub alpha: Buffer,
    /// The parts of a product whose sums are split: (parts, R, height, width).
    pub split: Buffer,
    /// The uniforms of the passes of a submission, `PASS_BYTES` apart.
    pub passes: Buffer,
    /// The coefficients of the steps of a submission: (RING_ROWS, R).
    pub coefficients: Buffer,
}

/// The buffers in which a normalisation keeps what its backward pass needs.
pub(super) struct NormBuffers {
    /// The normalised rows x̂: (R, room, outputs).
    pub xhat: Buffer,
    /// The inverse deviations 1/√(variance + ε): (R, outputs or room).
    pub inverse: Buffer,
}

/// The buffers of an ascent.
pub(super) struct AscentBuffers {
    /// The weights at its end; what batch normalisation puts into their running statistics nobody reads: (R, P).
    pub ascended: Buffer,
    /// The metrics there, which nobody reads: (RING_ROWS, R).
    pub metrics: Buffer,
}

impl AscentBuffers {
    fn new(allocate: &mut impl FnMut(&str) -> Result<Buffer>) -> Result<Self> {
        Ok(Self { ascended: allocate("ascended")?, metrics: allocate("ascended metrics")? })
    }
}

impl Buffers {
    /// Allocates all buffers of `setup`; `taken` grows by what each takes.
    pub fn new(gpu: &Gpu, setup: &Setup, layout: &Layout, taken: &mut Vec<Allocation>) -> Result<Self> {
        let plan = plan(setup, layout);
        let mut allocate = |name: &str| -> Result<Buffer> {
            let bytes = plan.iter().find(|a| a.name == name).map_or(0, |a| a.bytes);
            let usage = if name == "passes" { BufferUsages::UNIFORM } else { BufferUsages::STORAGE };
            allocate(gpu, name, bytes, usage).inspect(|_| taken.push(Allocation { name: name.to_string(), bytes }))
        };
        let layers = setup.model.layers();
        let is_planned = |name: &str| plan.iter().any(|a| a.name == name);
        let mut kept = Vec::new();
        for slot in in_own_buffer(setup) {
            kept.push((slot, allocate(&slot.name())?));
        }
        // One a layer, where the layer needs it.
        let mut some = |name: &str| -> Result<Vec<Option<Buffer>>> {
            let names = (0..layers).map(|l| format!("{name} {l}"));
            names.map(|name| is_planned(&name).then(|| allocate(&name)).transpose()).collect()
        };
        let (xhat, inverse, da) = (some("xhat")?, some("inverse")?, some("da")?);
        let norm =
            |(xhat, inverse): (Option<Buffer>, Option<Buffer>)| Some(NormBuffers { xhat: xhat?, inverse: inverse? });
        let norms = xhat.into_iter().zip(inverse).map(norm).collect();
        let if_trained = |n: usize| if setup.evaluation_only { 0 } else { n };
        let mut each = |name: &str, range: std::ops::Range<usize>| -> Result<Vec<Buffer>> {
            range.map(|i| allocate(&format!("{name} {i}"))).collect()
        };
        let a = each("a", 0..layers + 1)?;
        let mut dz = each("dz", 0..if_trained(layers - 1))?;
        dz.push(a[layers].clone());
        Ok(Self {
            kept,
            norms,
            da,
            copies: each("copy", 0..if_trained(Slot::COPIES))?,
            slope: each("slope", 0..if_trained(layers))?,
            a,
            dz,
            params: allocate("params")?,
            ascent: is_planned("ascended").then(|| AscentBuffers::new(&mut allocate)).transpose()?,
            working: allocate("working")?,
            state: allocate("state")?,
            scaling: allocate("scaling")?,
            eval_params: allocate("eval params")?,
            grads: allocate("grads")?,
            unused: [allocate("unused, read")?, allocate("unused, written")?],
            order: allocate("order")?,
            channels: allocate("channels")?,
            quantiles: allocate("quantiles")?,
            mix: allocate("mix")?,
            mean: is_planned("mean").then(|| allocate("mean")).transpose()?,
            metrics: allocate("metrics")?,
            parts: allocate("parts")?,
            alpha: allocate("alpha")?,
            state_vectors: if_trained(setup.optimizer.state_vectors()),
            has_ema_in_state: setup.updates_ema(),
            split: allocate("split")?,
            passes: allocate("passes")?,
            coefficients: allocate("coefficients")?,
        })
    }

    /// Fills the buffers that hold something before the first step: the scales and shifts of the channels,
    /// mixup's shares, and the first loss scales.
    pub fn fill(&self, gpu: &Gpu, setup: &Setup) {
        let write = |buffer: &Buffer, values: &[f32]| gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(values));
        let normalization = &setup.dataset.normalization;
        let channels = normalization.scale.iter().zip(&normalization.shift).flat_map(|(&a, &b)| [a as f32, b as f32]);
        write(&self.channels, &channels.collect::<Vec<_>>());
        if setup.own.is_empty() {
            // Computed once, since it takes a while.
            let quantiles: Vec<f32> = setup.augment.quantiles().into_iter().map(|q| q as f32).collect();
            write(&self.quantiles, &quantiles.repeat(setup.replicas));
        }
        setup.own.iter().enumerate().for_each(|(r, own)| self.fill_own(gpu, r, own));
        let scale = if setup.is_mixed() { LossScale::FIRST.next } else { 1.0 };
        let scaling = vec![kernels::Scaling::new(scale); setup.replicas];
        gpu.queue.write_buffer(&self.scaling, 0, bytemuck::cast_slice(&scaling));
    }

    /// Fills in mixup's shares of replica r, with `setup`.
    pub fn fill_own(&self, gpu: &Gpu, replica: usize, setup: &Setup) {
        let quantiles: Vec<f32> = setup.augment.quantiles().into_iter().map(|q| q as f32).collect();
        if !quantiles.is_empty() {
            let at = (replica * QUANTILES * 4) as u64;
            gpu.queue.write_buffer(&self.quantiles, at, bytemuck::cast_slice(&quantiles));
        }
    }

    /// The vectors in `slot`, all replicas one after the other: their buffer, and where in it they begin.
    ///
    /// # Errors
    /// A slot that is not asked for.
    pub fn slot(&self, slot: Slot) -> Result<(&Buffer, u64)> {
        let vectors = self.params.size();
        let of_state = |i: usize| {
            let at = i as u64 * vectors;
            (at + vectors <= self.state.size()).then_some((&self.state, at))
        };
        let found = match slot {
            Slot::Live => Some((&self.params, 0)),
            Slot::Gradient => Some((&self.grads, 0)).filter(|(grads, _)| grads.size() == vectors),
            Slot::Copy(i) => self.copies.get(i).map(|copy| (copy, 0)),
            Slot::State(i) if i < self.state_vectors => of_state(i),
            Slot::Ema if self.has_ema_in_state => of_state(self.state_vectors),
            _ => self.kept.iter().find(|(s, _)| *s == slot).map(|(_, b)| (b, 0)),
        };
        found.ok_or_else(|| slot.missing())
    }
}

/// The name and size of every buffer that does not depend on where the records lie.
pub(super) fn plan(setup: &Setup, layout: &Layout) -> Vec<Allocation> {
    let (replicas, room) = (setup.replicas as u64, setup.room() as u64);
    let vector = replicas * layout.len as u64 * 4;
    let mut plan = Vec::new();
    let mut add = |name: String, bytes: u64| plan.push(Allocation { name, bytes });
    let trains = !setup.evaluation_only;
    let if_trained = |bytes: u64| if trains { bytes.max(UNUSED_BYTES) } else { UNUSED_BYTES };
    add("params".into(), vector);
    add("eval params".into(), vector);
    add("grads".into(), if_trained(vector));
    add("working".into(), if setup.is_mixed() { vector / 2 } else { UNUSED_BYTES });
    in_own_buffer(setup).for_each(|slot| add(slot.name(), vector));
    (0..if trains { Slot::COPIES } else { 0 }).for_each(|i| add(format!("copy {i}"), vector));
    if trains && setup.sam.is_some() {
        add("ascended".into(), vector);
        add("ascended metrics".into(), RING_ROWS as u64 * replicas * 16);
    }
    let vectors = usize::from(trains) * setup.optimizer.state_vectors() + usize::from(setup.updates_ema());
    add("state".into(), (vectors as u64 * vector).max(UNUSED_BYTES));
    plan_layers(setup, &mut add);
    let if_asked = |is_asked: bool, bytes: u64| if is_asked { bytes } else { UNUSED_BYTES };
    add("unused, read".into(), UNUSED_BYTES);
    add("unused, written".into(), UNUSED_BYTES);
    let has_mixup = setup.augment.mixup > 0.0;
    add("quantiles".into(), if_asked(has_mixup, replicas * QUANTILES as u64 * 4));
    add("mix".into(), if_asked(has_mixup && trains, replicas * room * 8));
    if setup.average.snapshots.is_some() {
        add("mean".into(), mean_bytes(setup));
    }
    add("order".into(), if_trained(replicas * setup.dataset.train.len() as u64 * 4));
    add("channels".into(), setup.dataset.shape[0] as u64 * 8);
    add("metrics".into(), RING_ROWS as u64 * replicas * 16);
    add("parts".into(), replicas * u64::from(kernels::PARTS) * 4);
    add("alpha".into(), (replicas * 4).max(UNUSED_BYTES));
    let products = kernels::Product::ALL;
    let split = shapes(setup).flat_map(|shape| products.map(|product| split_bytes(product, shape))).max().unwrap_or(0);
    add("split".into(), (replicas * split).max(UNUSED_BYTES));
    add("scaling".into(), replicas * size_of::<kernels::Scaling>() as u64);
    add("passes".into(), PASSES as u64 * PASS_BYTES);
    add("coefficients".into(), (RING_ROWS * size_of::<kernels::Coefficients>()) as u64 * replicas);
    plan
}

/// The averages that lie in buffers of their own.
fn in_own_buffer(setup: &Setup) -> impl Iterator<Item = Slot> {
    let updates_ema = setup.updates_ema();
    setup.kept().into_iter().filter(move |slot| !(updates_ema && *slot == Slot::Ema))
}

/// Plans the buffers that each layer needs for the samples of a step.
fn plan_layers(setup: &Setup, add: &mut impl FnMut(String, u64)) {
    let (replicas, room) = (setup.replicas as u64, setup.room() as u64);
    // The bytes of a value: two, since values are halves, where precision is mixed.
    let value = if setup.is_mixed() { 2 } else { 4 };
    let rows = |width: usize| replicas * room * stride(width) as u64 * value;
    let (model, trains) = (&setup.model, !setup.evaluation_only);
    let widths = &model.widths;
    for (l, &width) in widths.iter().enumerate() {
        add(format!("a {l}"), rows(width));
        if trains && l > 0 {
            add(format!("slope {}", l - 1), rows(width));
        }
        if trains && l > 0 && l + 1 < widths.len() {
            add(format!("dz {}", l - 1), rows(width));
        }
    }
    for l in 0..model.layers() {
        if model.norm_after(l) != Norm::None {
            add(format!("xhat {l}"), rows(widths[l + 1]));
            add(format!("inverse {l}"), replicas * room.max(stride(widths[l + 1]) as u64) * 4);
        }
        if trains && model.keeps_da(l) {
            add(format!("da {l}"), rows(widths[l]));
        }
    }
}

/// The number of replicas of which bindings hold all rows of an evaluation.
const SIDE_BY_SIDE: u64 = 8;

/// The number of samples of an evaluation's pass: fewer than usual where a binding does not hold the widest rows of so many.
///
/// The number of replicas has no say, so that a replica has the same bits among any; nor has the memory at hand.
pub(super) fn eval_rows(setup: &Setup, description: &Description) -> usize {
    let widest = setup.model.widths.iter().max().map_or(1, |&width| 4 * stride(width) as u64);
    let bytes = description.binding_bytes.min(description.buffer_bytes);
    let most = setup.eval_rows.unwrap_or(EVAL_ROWS).max(1);
    ((bytes / (SIDE_BY_SIDE * widest)) as usize).clamp(1, most)
}

/// Bytes of an ensemble's predictions for the longest part.
pub(super) fn mean_bytes(setup: &Setup) -> u64 {
    let samples = |part| setup.dataset.part(part).map_or(0, Samples::len);
    let longest = [Part::Train, Part::Validation, Part::Test].map(samples).into_iter().fold(setup.room(), usize::max);
    (setup.replicas * longest * stride(setup.model.outputs()) * 4) as u64
}

/// The shapes of the products of training and of evaluation.
fn shapes(setup: &Setup) -> impl Iterator<Item = Shape> {
    let widths = &setup.model.widths;
    let of = move |(l, rows)| Shape {
        replicas: setup.replicas,
        rows,
        inputs: widths[l],
        outputs: widths[l + 1],
        stored: Stored::F32,
    };
    (0..setup.model.layers()).flat_map(|l| [(l, setup.most_in_pass()), (l, setup.room())]).map(of)
}

/// A zeroed buffer that can be copied from and to.
pub(super) fn allocate(gpu: &Gpu, name: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer> {
    let description = &gpu.description;
    let (offered, limit) = if description.binding_bytes < description.buffer_bytes {
        (description.binding_bytes, "binding")
    } else {
        (description.buffer_bytes, "buffer")
    };
    if bytes > offered {
        return Err(too_large(name, bytes, offered, format!("one {limit} of {}", description.name)));
    }
    create(gpu, name, bytes, usage | BufferUsages::COPY_SRC | BufferUsages::COPY_DST)
}

/// A zeroed buffer of this use alone.
pub(super) fn create(gpu: &Gpu, name: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer> {
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let descriptor = wgpu::BufferDescriptor { label: Some(name), size: bytes, usage, mapped_at_creation: false };
    let buffer = gpu.device.create_buffer(&descriptor);
    match pollster::block_on(scope.pop()) {
        None => gpu.check().map(|()| buffer),
        Some(_) => Err(too_large(name, bytes, 0, format!("the free memory of {}", gpu.description.name))),
    }
}

fn too_large(name: &str, needed: u64, offered: u64, place: String) -> Error {
    Error::DeviceMemory { what: format!("buffer {name:?}"), needed, offered, place, advice: LESS.into() }
}

/// A buffer that holds `contents`, some words. Unlike wgpu's own function of this purpose it does not panic where the device
/// fails, which the next look at the device tells.
pub(super) fn filled(gpu: &Gpu, label: &str, contents: &[u8], usage: BufferUsages) -> Buffer {
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: contents.len() as u64,
        usage: usage | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    gpu.queue.write_buffer(&buffer, 0, contents);
    buffer
}
