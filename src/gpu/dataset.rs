//! The data set on the device: where its records lie, and how they come there.

use wgpu::{Buffer, BufferUsages};

use super::adapter::Gpu;
use super::buffers::allocate;
use crate::data::{Dataset, Features, Part, Samples, Targets};
use crate::engine::{Allocation, LossWeights, Setup};
use crate::error::{Error, Result};
use crate::loss::Loss;

/// The most bytes of streamed records in one submission, unless one pass needs more.
const STREAM_BYTES: u64 = 16 << 20;
/// The bytes handed to the queue at once while the data set is uploaded.
const UPLOAD_BYTES: usize = 32 << 20;

/// One part of the data set on the device.
pub(super) struct PartData {
    /// The records, which hold the samples' features.
    pub records: Records,
    /// The targets: labels as u32, or values as f32.
    targets: Buffer,
    /// The order of the samples as they lie in the file.
    in_file: Buffer,
    /// The number of samples of the part.
    pub samples: usize,
}

impl PartData {
    /// The part as evaluations take it.
    pub fn feed<'a>(&'a self, setup: &Setup, stream: &'a Buffer) -> Feed<'a> {
        Feed {
            records: &self.records,
            stream,
            is_bytes: is_bytes(&setup.dataset.train.features),
            targets: &self.targets,
            order: &self.in_file,
            order_stride: 0,
            samples: self.samples,
            is_drawn: false,
            is_kept: false,
            is_evaluation: true,
        }
    }
}

/// The feed of a pass: where it takes its samples from, and what for.
#[derive(Clone, Copy)]
pub(super) struct Feed<'a> {
    /// The place where the records of the part lie.
    pub records: &'a Records,
    /// The buffer in which streamed records lie.
    pub stream: &'a Buffer,
    /// Whether features are pixels, not numbers.
    pub is_bytes: bool,
    /// The targets: labels as u32, or values as f32.
    pub targets: &'a Buffer,
    /// The order of the samples: (R, samples), or (samples) if all replicas share one.
    pub order: &'a Buffer,
    /// The number of entries of one replica's order; 0 if all replicas share one, and with it x.
    pub order_stride: u32,
    /// The number of samples of the part.
    pub samples: usize,
    /// Whether samples are changed and outputs dropped at random.
    pub is_drawn: bool,
    /// Whether slopes are kept for a backward pass.
    pub is_kept: bool,
    /// Whether the loss is that of an evaluation: all samples count alike, and batch normalisation has its running statistics.
    pub is_evaluation: bool,
}

impl<'a> Feed<'a> {
    /// Whether each replica takes samples of its own.
    pub fn has_own_samples(&self) -> bool {
        self.order_stride != 0
    }

    /// Whether samples count as the loss of training says, and batch normalisation takes the statistics of the pass.
    pub fn is_training(&self) -> bool {
        !self.is_evaluation
    }

    /// The same part as training steps take it, in the epoch's order.
    pub fn of_training(self, order: &'a Buffer, part: &PartData) -> Self {
        let order_stride = part.samples as u32;
        Self { order, order_stride, is_drawn: true, is_kept: true, is_evaluation: false, ..self }
    }

    /// The same part in the epoch's order, for derivatives of the loss that an evaluation has.
    pub fn of_evaluation(self, order: &'a Buffer, part: &PartData) -> Self {
        Self { order, order_stride: part.samples as u32, is_kept: true, ..self }
    }
}

/// Copies the data set to the device; records that do not fit into `room` bytes, or into what the device has, are streamed, by
/// way of a buffer that is returned.
pub(super) fn upload(
    gpu: &Gpu,
    setup: &Setup,
    room: u64,
    most_piece: Option<u64>,
    taken: &mut Vec<Allocation>,
) -> Result<([Option<PartData>; 3], Option<Buffer>)> {
    let dataset = &setup.dataset;
    let all = [Part::Train, Part::Validation, Part::Test];
    let piece = gpu.description.binding_bytes.min(gpu.description.buffer_bytes);
    let piece = most_piece.map_or(piece, |bytes| bytes.min(piece));
    let resident = stream_bytes(setup, room).is_none().then(|| -> Result<Vec<Records>> {
        all.iter().map(|&part| Ok(Records::Resident(upload_part(gpu, dataset, part, piece, taken)?))).collect()
    });
    let mut records = match resident {
        Some(Ok(records)) => records,
        // What does not fit beside the model is streamed.
        Some(Err(Error::DeviceMemory { offered: 0, .. })) | None => {
            taken.retain(|a| !a.name.contains("records"));
            vec![Records::Streamed, Records::Streamed, Records::Streamed]
        }
        Some(Err(error)) => return Err(error),
    };
    let mut take = |name: &str, bytes: u64| {
        taken.push(Allocation { name: name.into(), bytes });
        allocate(gpu, name, bytes, BufferUsages::STORAGE)
    };
    let is_streamed = matches!(records[0], Records::Streamed);
    let bytes = stream_bytes(setup, room).unwrap_or(STREAM_BYTES.max(pass_bytes(setup)));
    let stream = is_streamed.then(|| take("stream", bytes)).transpose()?;
    let mut parts = [const { None }; 3];
    for (part, records) in all.into_iter().zip(records.drain(..)) {
        let Some(samples) = dataset.part(part) else { continue };
        let name = format!("{part:?}").to_lowercase();
        let mut words = target_words(setup, &samples.targets)?;
        // The loss of training reads the weights behind the targets.
        if part == Part::Train
            && let Some(weights) = LossWeights::of(setup)
        {
            words.extend(weights.samples.iter().chain(&weights.classes).map(|&weight| (weight as f32).to_bits()));
        }
        let order: Vec<u32> = (0..samples.len() as u32).collect();
        let targets = take(&format!("{name} targets"), words.len() as u64 * 4)?;
        let in_file = take(&format!("{name} order"), order.len() as u64 * 4)?;
        gpu.queue.write_buffer(&targets, 0, bytemuck::cast_slice(&words));
        gpu.queue.write_buffer(&in_file, 0, bytemuck::cast_slice(&order));
        parts[part as usize] = Some(PartData { records, targets, in_file, samples: samples.len() });
    }
    Ok((parts, stream))
}

/// The place where the records of one part lie.
pub(super) enum Records {
    /// Records on the device, in pieces, each with its first sample and its number of samples.
    Resident(Vec<(Buffer, usize, usize)>),
    /// Records on the host; those of the passes of one submission are copied over before it.
    Streamed,
}

/// The bytes of one record on the device: a multiple of 4.
pub(super) fn record_bytes(width: usize, is_bytes: bool) -> usize {
    if is_bytes { width.next_multiple_of(4) } else { width * 4 }
}

/// The bytes of one of the data set's own records.
pub(super) fn own_record_bytes(dataset: &Dataset) -> usize {
    record_bytes(dataset.width(), is_bytes(&dataset.train.features))
}

/// Whether features lie on the device as bytes.
pub(super) fn is_bytes(features: &Features) -> bool {
    matches!(features, Features::U8(_))
}

/// The bytes of the records of all parts.
pub(super) fn all_records(dataset: &Dataset) -> u64 {
    let samples: usize = [Part::Train, Part::Validation, Part::Test]
        .iter()
        .filter_map(|&part| dataset.part(part))
        .map(Samples::len)
        .sum();
    (samples * own_record_bytes(dataset)) as u64
}

/// The bytes of the targets and of the order of every part, buffer by buffer.
pub(super) fn beside_records(setup: &Setup) -> Vec<u64> {
    let mut bytes = Vec::new();
    for part in [Part::Train, Part::Validation, Part::Test] {
        let Some(samples) = setup.dataset.part(part) else { continue };
        let is_label = setup.loss == Loss::CrossEntropy && matches!(samples.targets, Targets::Labels(_));
        let mut words = samples.len() * if is_label { 1 } else { setup.model.outputs() };
        if part == Part::Train && setup.is_weighted() {
            words += samples.len() + if setup.loss == Loss::Mse { 0 } else { setup.model.outputs() };
        }
        bytes.extend([words as u64 * 4, samples.len() as u64 * 4]);
    }
    bytes
}

/// The bytes of the records of one pass.
pub(super) fn pass_bytes(setup: &Setup) -> u64 {
    (setup.replicas * setup.room() * own_record_bytes(&setup.dataset)) as u64
}

/// The bytes of the buffer that records pass through which are streamed since `room` bytes do not hold them all; none where
/// they lie on the device, or would take no more there than those of one pass. It leaves half of the room to callers.
pub(super) fn stream_bytes(setup: &Setup, room: u64) -> Option<u64> {
    let (all, pass) = (all_records(&setup.dataset), pass_bytes(setup));
    (all > room.max(pass)).then(|| (room / 8 * 4).min(STREAM_BYTES).max(pass))
}

/// Copies the records of one part to the device, in as many buffers as its limits ask for.
fn upload_part(
    gpu: &Gpu,
    dataset: &Dataset,
    part: Part,
    piece_bytes: u64,
    taken: &mut Vec<Allocation>,
) -> Result<Vec<(Buffer, usize, usize)>> {
    let samples = dataset.part(part).map_or(0, Samples::len);
    let bytes = own_record_bytes(dataset);
    let piece = (piece_bytes / bytes as u64) as usize;
    if piece == 0 {
        return Err(Error::DeviceMemory {
            what: "one sample".into(),
            needed: bytes as u64,
            offered: piece_bytes,
            place: format!("one binding of {}", gpu.description.name),
            advice: "use smaller samples, or --device cpu".into(),
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
            pack_part(dataset, part, rows, &mut packed);
            gpu.queue.write_buffer(&buffer, (start * bytes) as u64, &packed);
            gpu.queue.submit([]);
        }
        pieces.push((buffer, first, count));
    }
    Ok(pieces)
}

/// Appends the records of `rows` of a part as they lie on the device.
pub(super) fn pack_part(dataset: &Dataset, part: Part, rows: impl Iterator<Item = u32>, packed: &mut Vec<u8>) {
    if let Some(samples) = dataset.part(part) {
        pack(dataset, &samples.features, rows, packed);
    }
}

/// Appends the records of `rows` as they lie on the device: pixels as bytes, numbers normalised.
pub(super) fn pack(dataset: &Dataset, features: &Features, rows: impl Iterator<Item = u32>, packed: &mut Vec<u8>) {
    let width = dataset.width();
    let mut x = vec![0.0f32; if is_bytes(features) { 0 } else { width }];
    for row in rows {
        match features {
            Features::U8(v) => {
                packed.extend_from_slice(&v[row as usize * width..][..width]);
                packed.resize(packed.len().next_multiple_of(4), 0);
            }
            Features::F32(_) | Features::F64(_) => {
                dataset.read_row(features, row as usize, &mut x);
                packed.extend_from_slice(bytemuck::cast_slice(&x));
            }
        }
    }
}

/// The targets of a part as its loss kernel reads them.
fn target_words(setup: &Setup, targets: &Targets) -> Result<Vec<u32>> {
    Ok(match (setup.loss, targets) {
        (Loss::CrossEntropy, Targets::Labels(labels)) => labels.clone(),
        _ => targets.to_values(setup.model.outputs())?.into_iter().map(|y| (y as f32).to_bits()).collect(),
    })
}
