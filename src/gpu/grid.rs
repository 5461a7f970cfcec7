//! The workgroups of a product's form, and whether a device can run them.

use super::adapter::Gpu;
use super::forms::{Form, INVOCATIONS, Shape, Variant, WORKGROUP_BYTES};
use super::kernels::{MOST_GROUPS, Product};
use super::program::{Extent, Grid};
use crate::engine::stride;

/// The most rounds of an invocation's loops on a software adapter: Mesa's driver leaves them, without a word, after 65,535 of all
/// loops together.
pub(super) const MOST_ROUNDS: usize = 60_000;

impl Form {
    /// The workgroups that make a product of `shape` in this form.
    pub(super) fn grid(&self, product: Product, shape: Shape) -> Grid {
        let vec4s = |width: usize| (stride(width) / 4) as u32;
        let columns = if product == Product::LinearDx { shape.inputs } else { shape.outputs };
        let (x, z) = (vec4s(columns).div_ceil(self.width()), shape.replicas as u32 * self.parts);
        if product != Product::LinearDw {
            return (Extent::Fixed(x), Extent::Rows(self.rows), z);
        }
        let y = vec4s(shape.inputs).div_ceil(self.rows);
        // Rows of tiles beyond what one dimension holds lie side by side, which linear_dw_tile.wgsl alone knows of.
        let folds = if matches!(self.variant, Variant::Plain | Variant::Split) { y.div_ceil(MOST_GROUPS) } else { 1 };
        (Extent::Fixed(x * folds), Extent::Fixed(y.div_ceil(folds)), z)
    }

    /// Whether the device can run the form for products of `shape`.
    pub(super) fn fits(&self, gpu: &Gpu, product: Product, shape: Shape) -> bool {
        let (x, y, z) = self.grid(product, shape);
        let groups = [x.groups(shape.rows as u32), y.groups(shape.rows as u32), z];
        let terms = match product {
            Product::Linear => stride(shape.inputs) / 4,
            Product::LinearDx => stride(shape.outputs) / 4,
            Product::LinearDw => shape.rows,
        };
        let rounds = terms.div_ceil((self.slices * self.parts) as usize);
        self.fits_workgroups()
            && groups.iter().all(|&groups| groups <= MOST_GROUPS)
            && (gpu.description.hardware || rounds <= MOST_ROUNDS)
    }

    /// Whether any device has workgroups for the form.
    pub(super) fn fits_workgroups(&self) -> bool {
        let parts = self.lanes * self.rows * self.columns * (self.slices - 1);
        (16 * (parts + 1) <= WORKGROUP_BYTES || self.variant == Variant::Staged)
            && self.lanes * self.slices <= INVOCATIONS
    }
}
