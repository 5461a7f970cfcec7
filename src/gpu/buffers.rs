//! What lies on the device: planned first, so that its size is known, then allocated.

use wgpu::{Buffer, BufferUsages};

use super::adapter::Gpu;
use super::forms::{Shape, split_bytes};
use super::kernels::{self, PASS_BYTES, Stored};
use crate::data::{Dataset, Features, Part, QUANTILES, Samples};
use crate::engine::{Allocation, Setup, Slot};
use crate::error::{Error, Result};
use crate::model::{Layout, Norm, stride};

/// Passes in one submission, at most.
pub(super) const PASSES: usize = 64;
/// Rows of the ring of coefficients and metrics: steps in one submission, at most.
pub(super) const RING_ROWS: usize = 64;
/// Bytes of streamed records in one submission, unless one pass needs more.
const STREAM_BYTES: u64 = 16 << 20;
/// Bytes handed to the queue at once while the data set is uploaded.
const UPLOAD_BYTES: usize = 32 << 20;

/// Bytes of a buffer that only stands where one must be bound.
const UNUSED_BYTES: u64 = 16;

/// Every buffer but those of the data set's records.
pub(super) struct Buffers {
    pub params: Buffer,
    /// The weights being evaluated.
    pub eval_params: Buffer,
    pub copies: Vec<Buffer>,
    /// SWA, slow weights, snapshots and the best weights: those that are asked for.
    pub kept: Vec<(Slot, Buffer)>,
    /// What the products read of the weights under mixed precision.
    pub working: Buffer,
    pub grads: Buffer,
    /// (vectors, R, P): the optimizer's, and the EMA behind them.
    pub state: Buffer,
    /// (R): of the loss and the gradients.
    pub scaling: Buffer,
    /// Stand where a kernel's bindings are not used: one that is read, and one that is written.
    pub unused: [Buffer; 2],
    pub order: Buffer,
    pub channels: Buffer,
    /// Of mixup's shares.
    pub quantiles: Buffer,
    /// Of each row, under mixup: the other sample, and the share of its own.
    pub mix: Buffer,
    /// `a[0]` is x; layer l reads `a[l]`, and makes `a[l + 1]` and `slope[l]`, by way of `xhat[l]` where there is a
    /// normalisation; `da[l]` is the gradient of `a[l]`, where a residual connection needs it. The last `dz` takes the
    /// place of the last `a`, which nothing reads after the loss.
    pub a: Vec<Buffer>,
    pub slope: Vec<Buffer>,
    pub xhat: Vec<Option<Buffer>>,
    pub inverse: Vec<Option<Buffer>>,
    pub dz: Vec<Buffer>,
    pub da: Vec<Option<Buffer>>,
    /// The predictions of an ensemble.
    pub mean: Buffer,
    pub metrics: Buffer,
    /// (R, 64): sums of squares, for the gradient's norm.
    pub squares: Buffer,
    /// (parts, R, height, width): of a product whose sums are split.
    pub split: Buffer,
    pub passes: Buffer,
    pub coefficients: Buffer,
}

impl Buffers {
    /// Allocates all buffers of `setup`; `taken` grows by what each takes.
    pub fn new(gpu: &Gpu, setup: &Setup, layout: &Layout, taken: &mut Vec<Allocation>) -> Result<Self> {
        let plan = plan(setup, layout);
        let mut allocate = |name: &str| {
            let bytes = plan.iter().find(|a| a.name == name).map_or(0, |a| a.bytes);
            taken.push(Allocation { name: name.to_string(), bytes });
            let usage = if name == "passes" { BufferUsages::UNIFORM } else { BufferUsages::STORAGE };
            allocate(gpu, name, bytes, usage)
        };
        let layers = setup.model.layers();
        let is_planned = |name: &str| plan.iter().any(|a| a.name == name);
        let mut kept = Vec::new();
        for slot in setup.kept().into_iter().filter(|slot| *slot != Slot::Ema) {
            kept.push((slot, allocate(&slot.name())?));
        }
        // One a layer, where the layer needs it.
        let mut some = |name: &str| -> Result<Vec<Option<Buffer>>> {
            let names = (0..layers).map(|l| format!("{name} {l}"));
            names.map(|name| is_planned(&name).then(|| allocate(&name)).transpose()).collect()
        };
        let (xhat, inverse, da) = (some("xhat")?, some("inverse")?, some("da")?);
        let mut each = |name: &str, range: std::ops::Range<usize>| -> Result<Vec<Buffer>> {
            range.map(|i| allocate(&format!("{name} {i}"))).collect()
        };
        let a = each("a", 0..layers + 1)?;
        let mut dz = each("dz", 0..layers - 1)?;
        dz.push(a[layers].clone());
        let buffers = Self {
            kept,
            xhat,
            inverse,
            da,
            copies: each("copy", 0..Slot::COPIES)?,
            slope: each("slope", 0..layers)?,
            a,
            dz,
            params: allocate("params")?,
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
            mean: allocate("mean")?,
            metrics: allocate("metrics")?,
            squares: allocate("squares")?,
            split: allocate("split")?,
            passes: allocate("passes")?,
            coefficients: allocate("coefficients")?,
        };
        let write = |buffer: &Buffer, values: &[f32]| gpu.queue.write_buffer(buffer, 0, bytemuck::cast_slice(values));
        let normalization = &setup.dataset.normalization;
        let channels: Vec<f32> =
            normalization.scale.iter().zip(&normalization.shift).flat_map(|(&a, &b)| [a as f32, b as f32]).collect();
        write(&buffers.channels, &channels);
        write(&buffers.quantiles, &setup.augment.quantiles().into_iter().map(|q| q as f32).collect::<Vec<_>>());
        Ok(buffers)
    }

    /// The vectors in `slot`, all replicas one after the other: their buffer, and where in it they begin.
    ///
    /// # Errors
    /// One that is not asked for.
    pub fn slot(&self, slot: Slot, setup: &Setup) -> Result<(&Buffer, u64)> {
        let vectors = self.params.size();
        let of_state = |i: usize| (&self.state, i as u64 * vectors);
        match slot {
            Slot::Live => Ok((&self.params, 0)),
            Slot::Copy(i) => self.copies.get(i).map(|copy| (copy, 0)).ok_or_else(|| slot.missing()),
            Slot::State(i) if i < setup.optimizer.state_vectors() => Ok(of_state(i)),
            Slot::Ema if setup.average.ema.is_some() => Ok(of_state(setup.optimizer.state_vectors())),
            Slot::Gradient => Ok((&self.grads, 0)),
            _ => self.kept.iter().find(|(s, _)| *s == slot).map(|(_, b)| (b, 0)).ok_or_else(|| slot.missing()),
        }
    }
}

/// Name and size of every buffer that does not depend on where the records lie.
pub(super) fn plan(setup: &Setup, layout: &Layout) -> Vec<Allocation> {
    let (replicas, room) = (setup.replicas as u64, setup.room() as u64);
    let vector = replicas * layout.len as u64 * 4;
    // In halves, where precision is mixed.
    let value = if setup.is_mixed() { 2 } else { 4 };
    let rows = |width: usize| replicas * room * stride(width) as u64 * value;
    let widths = &setup.model.widths;
    let mut plan = Vec::new();
    let mut add = |name: String, bytes: u64| plan.push(Allocation { name, bytes });
    for name in ["params", "eval params", "grads"] {
        add(name.into(), vector);
    }
    add("working".into(), if setup.is_mixed() { vector / 2 } else { UNUSED_BYTES });
    setup.kept().into_iter().filter(|slot| *slot != Slot::Ema).for_each(|slot| add(slot.name(), vector));
    (0..Slot::COPIES).for_each(|i| add(format!("copy {i}"), vector));
    let vectors = setup.optimizer.state_vectors() + usize::from(setup.average.ema.is_some());
    add("state".into(), vectors as u64 * vector);
    for (l, &width) in widths.iter().enumerate() {
        add(format!("a {l}"), rows(width));
        if l > 0 {
            add(format!("slope {}", l - 1), rows(width));
        }
        if l > 0 && l + 1 < widths.len() {
            add(format!("dz {}", l - 1), rows(width));
        }
    }
    let model = &setup.model;
    for l in 0..model.layers() {
        if model.norm_after(l) != Norm::None {
            add(format!("xhat {l}"), rows(widths[l + 1]));
            add(format!("inverse {l}"), replicas * room.max(stride(widths[l + 1]) as u64) * 4);
        }
        if model.keeps_da(l) {
            add(format!("da {l}"), rows(widths[l]));
        }
    }
    let if_asked = |is_asked: bool, bytes: u64| if is_asked { bytes } else { UNUSED_BYTES };
    add("unused, read".into(), UNUSED_BYTES);
    add("unused, written".into(), UNUSED_BYTES);
    let has_mixup = setup.augment.mixup > 0.0;
    add("quantiles".into(), if_asked(has_mixup, QUANTILES as u64 * 4));
    add("mix".into(), if_asked(has_mixup, replicas * room * 8));
    let samples = |part| setup.dataset.part(part).map_or(0, |samples: &Samples| samples.len() as u64);
    let longest = [Part::Train, Part::Validation, Part::Test].map(samples).into_iter().max().unwrap_or(0);
    let predictions = replicas * longest * stride(model.outputs()) as u64 * 4;
    add("mean".into(), if_asked(setup.average.snapshots.is_some(), predictions));
    add("order".into(), replicas * setup.dataset.train.len() as u64 * 4);
    add("channels".into(), setup.dataset.shape[0] as u64 * 8);
    add("metrics".into(), RING_ROWS as u64 * replicas * 16);
    add("squares".into(), replicas * u64::from(kernels::PARTS) * 4);
    let products = kernels::Product::ALL;
    let split = shapes(setup).flat_map(|shape| products.map(|product| split_bytes(product, shape))).max().unwrap_or(0);
    add("split".into(), (replicas * split).max(UNUSED_BYTES));
    add("scaling".into(), replicas * size_of::<kernels::Scaling>() as u64);
    add("passes".into(), PASSES as u64 * PASS_BYTES);
    add("coefficients".into(), (RING_ROWS * size_of::<kernels::Coefficients>()) as u64 * replicas);
    plan
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
    let too_large = |offered, place: String| Error::DeviceMemory {
        what: format!("buffer {name:?}"),
        needed: bytes,
        offered,
        place,
    };
    if bytes > offered {
        return Err(too_large(offered, format!("one {limit} of {}", description.name)));
    }
    let scope = gpu.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
    let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(name),
        size: bytes,
        usage: usage | BufferUsages::COPY_SRC | BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    match pollster::block_on(scope.pop()) {
        None => Ok(buffer),
        Some(_) => Err(too_large(0, format!("the free memory of {}", description.name))),
    }
}

/// Where the records of one part lie.
pub(super) enum Records {
    /// On the device: pieces, each with its first sample and its number of samples.
    Resident(Vec<(Buffer, usize, usize)>),
    /// On the host; the records of the passes of one submission are copied over before it.
    Streamed,
}

/// Bytes of one record on the device: a multiple of 4.
pub(super) fn record_bytes(dataset: &Dataset) -> usize {
    match dataset.train.features {
        Features::U8(_) => dataset.width().next_multiple_of(4),
        Features::F32(_) | Features::F64(_) => dataset.width() * 4,
    }
}

/// Bytes of the records of all parts.
pub(super) fn all_records(dataset: &Dataset) -> u64 {
    let samples: usize = [Part::Train, Part::Validation, Part::Test]
        .iter()
        .filter_map(|&part| dataset.part(part))
        .map(Samples::len)
        .sum();
    (samples * record_bytes(dataset)) as u64
}

/// Bytes of the buffer that streamed records pass through.
pub(super) fn stream_bytes(setup: &Setup) -> u64 {
    let pass = setup.replicas * setup.room() * record_bytes(&setup.dataset);
    (pass as u64).max(STREAM_BYTES)
}

/// Copies the records of one part to the device, in as many buffers as its limits ask for.
pub(super) fn upload(
    gpu: &Gpu,
    dataset: &Dataset,
    part: Part,
    piece_bytes: u64,
    taken: &mut Vec<Allocation>,
) -> Result<Vec<(Buffer, usize, usize)>> {
    let samples = dataset.part(part).map_or(0, Samples::len);
    let bytes = record_bytes(dataset);
    let piece = (piece_bytes / bytes as u64) as usize;
    if piece == 0 {
        return Err(Error::DeviceMemory {
            what: "one sample".into(),
            needed: bytes as u64,
            offered: piece_bytes,
            place: format!("one binding of {}", gpu.description.name),
        });
    }
    let mut pieces = Vec::new();
    for first in (0..samples).step_by(piece) {
        let count = piece.min(samples - first);
        let name = format!("{part:?} records {}", pieces.len()).to_lowercase();
        let buffer = allocate(gpu, &name, (count * bytes) as u64, BufferUsages::STORAGE)?;
        taken.push(Allocation { name, bytes: (count * bytes) as u64 });
        let step = (UPLOAD_BYTES / bytes).max(1);
        for start in (0..count).step_by(step) {
            let rows = (start..count.min(start + step)).map(|row| (first + row) as u32);
            let mut packed = Vec::new();
            pack(dataset, part, rows, &mut packed);
            gpu.queue.write_buffer(&buffer, (start * bytes) as u64, &packed);
            gpu.queue.submit([]);
        }
        pieces.push((buffer, first, count));
    }
    Ok(pieces)
}

/// Appends the records of `rows` as they lie on the device.
pub(super) fn pack(dataset: &Dataset, part: Part, rows: impl Iterator<Item = u32>, packed: &mut Vec<u8>) {
    let Some(samples) = dataset.part(part) else { return };
    let width = dataset.width();
    for row in rows {
        let range = row as usize * width..(row as usize + 1) * width;
        match &samples.features {
            Features::U8(v) => {
                packed.extend_from_slice(&v[range]);
                packed.resize(packed.len().next_multiple_of(4), 0);
            }
            Features::F32(v) => packed.extend_from_slice(bytemuck::cast_slice(&v[range])),
            Features::F64(v) => v[range].iter().for_each(|&x| packed.extend_from_slice(&(x as f32).to_ne_bytes())),
        }
    }
}
