//! Both ends of a pass: the samples that go in, and the loss or the prediction that comes out.

use wgpu::Buffer;

use super::builder::Builder;
use super::dataset::{Feed, Records, record_bytes};
use super::kernels::{self, LANES};
use super::program::{Extent, Op};
use crate::engine::stride;
use crate::loss::Loss;

impl Builder<'_> {
    /// The samples of a pass: records, order -> x: (R or 1, room, width); one dispatch for each buffer of records, and
    /// under mixup two, and mix: (R, room)
    pub fn gather(&self, feed: &Feed, x: &Buffer, mix: &Buffer) -> Vec<Op> {
        let (dataset, b) = (&self.setup.dataset, self.buffers);
        let streamed = [(feed.stream.clone(), 0, 0)];
        let (pieces, is_streamed) = match feed.records {
            Records::Resident(pieces) => (&pieces[..], false),
            Records::Streamed => (&streamed[..], true),
        };
        let augment = &self.setup.augment;
        let has_mixup = self.has_mixup(feed);
        let pixels = dataset.shape[1] * dataset.shape[2];
        let columns = stride(dataset.width()) as u32 / 4;
        let replicas = if feed.has_own_samples() { self.setup.replicas as u32 } else { 1 };
        let mut ops = Vec::new();
        for is_partner in [false, true].into_iter().take(1 + usize::from(has_mixup)) {
            let constants = [
                ("BYTES", f64::from(feed.is_bytes)),
                ("ALIGNED", f64::from(pixels.is_multiple_of(4))),
                ("STREAMED", f64::from(is_streamed)),
                ("AUGMENT", f64::from(feed.is_drawn && !augment.is_none())),
                ("MIXUP", f64::from(has_mixup)),
                ("PARTNER", f64::from(is_partner)),
                ("LANES", LANES.into()),
            ];
            for (records, first, count) in pieces {
                let args = kernels::GatherArgs {
                    width: dataset.width() as u32,
                    columns,
                    pixels: pixels as u32,
                    record_words: record_bytes(dataset.width(), feed.is_bytes) as u32 / 4,
                    first_record: *first as u32,
                    records: *count as u32,
                    order_stride: feed.order_stride,
                    x_stride: self.rows_stride(dataset.width()),
                    room: self.setup.room() as u32,
                    image_width: dataset.shape[2] as u32,
                    pad: augment.pad as u32,
                    flip: u32::from(augment.flip),
                    cutout: augment.cutout as u32,
                };
                let buffers = [records, feed.order, &b.channels, &b.quantiles, x, mix];
                let grid = (Extent::Fixed(columns.div_ceil(LANES)), Extent::Rows(1), replicas);
                ops.push(self.op(&kernels::gather, &constants, &args, &buffers, grid));
            }
        }
        ops
    }

    /// The loss of a pass: logits, targets -> dz of the last layer, in the logits' place: (R, room, outputs); sums in
    /// metrics: (RING_ROWS, R)
    pub fn loss(&self, feed: &Feed, logits: &Buffer, metrics: &Buffer) -> Op {
        let (b, outputs) = (self.buffers, self.setup.model.outputs());
        let args = kernels::LossArgs {
            outputs: outputs as u32,
            columns: stride(outputs) as u32 / 4,
            z_stride: self.rows_stride(outputs),
            order_stride: feed.order_stride,
            room: self.setup.room() as u32,
            samples: feed.samples as u32,
        };
        let kernel = match self.setup.loss {
            Loss::CrossEntropy => &kernels::softmax_cross_entropy,
            Loss::Mse => &kernels::mse,
        };
        let buffers = [feed.order, feed.targets, &b.mix, &b.scaling, logits, metrics];
        let rows = if feed.is_training() { self.setup.most_in_pass() } else { self.setup.room() };
        let lanes = kernels::loss_lanes(self.gpu, rows);
        let constants = [
            ("LANES", lanes.into()),
            ("MIXUP", f64::from(self.has_mixup(feed))),
            ("WEIGHTED", f64::from(feed.is_training() && self.setup.is_weighted())),
        ];
        self.op(kernel, &constants, &args, &buffers, self.grid(Extent::Fixed(1), Extent::Fixed(1)))
    }

    fn has_mixup(&self, feed: &Feed) -> bool {
        feed.is_drawn && self.setup.augment.mixup > 0.0
    }

    /// The prediction of an ensemble's member: logits -> mean: (R, samples, outputs) -> logits
    pub fn ensemble(&self, feed: &Feed, logits: &Buffer, mean: &Buffer) -> Op {
        let outputs = self.setup.model.outputs();
        let args = kernels::EnsembleArgs {
            outputs: outputs as u32,
            columns: stride(outputs) as u32 / 4,
            z_stride: self.rows_stride(outputs),
            mean_stride: (feed.samples * stride(outputs)) as u32 / 4,
        };
        let softmax = f64::from(self.setup.loss == Loss::CrossEntropy);
        let constants = [("SOFTMAX", softmax), ("LANES", LANES.into())];
        let grid = self.grid(Extent::Rows(LANES), Extent::Fixed(1));
        self.op(&kernels::ensemble, &constants, &args, &[logits, mean], grid)
    }
}
