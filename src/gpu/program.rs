//! A dispatch, ready to be encoded.

use wgpu::{BindGroup, ComputePass};

use super::kernels::Row;

/// The number of workgroups along one dimension.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// So many workgroups, whatever the pass.
    Fixed(u32),
    /// One workgroup for so many rows of the pass.
    Rows(u32),
}

/// The workgroups in the three directions, the third for the replicas.
pub(super) type Grid = (Extent, Extent, u32);

impl Extent {
    /// The number of workgroups for a pass of `rows` rows.
    pub fn groups(self, rows: u32) -> u32 {
        match self {
            Self::Fixed(groups) => groups,
            Self::Rows(per_group) => rows.div_ceil(per_group),
        }
    }
}

/// The share of the replicas that takes part.
#[derive(Clone, Copy)]
pub(super) struct Share {
    pub active: u32,
    pub replicas: u32,
}

impl Share {
    pub const ALL: Self = Self { active: 1, replicas: 1 };

    /// The workgroups of those that take part, out of `groups` in the third direction: as many for each replica, or one for all.
    fn of(self, groups: u32) -> u32 {
        (groups * self.active).div_ceil(self.replicas)
    }
}

/// A dispatch, and perhaps one that always follows it: all of it but the pass.
pub(super) struct Op {
    /// The row of its kernel.
    pub kernel: &'static Row,
    /// The layer that it belongs to, if it does to one.
    pub layer: Option<usize>,
    /// Whether it is a weight gradient that updates the weights.
    pub updates: bool,
    pub pipeline: wgpu::ComputePipeline,
    /// Its bind group 0: the arguments and buffers.
    pub bindings: BindGroup,
    pub x: Extent,
    pub y: Extent,
    /// The workgroups in the third direction: one for each replica, and for each part of a split sum.
    pub replicas: u32,
    /// The dispatch that always follows it: the second pass of a split product.
    pub then: Option<Box<Op>>,
}

impl Op {
    /// The same dispatch, as one of layer `l`.
    pub fn of_layer(self, l: usize) -> Self {
        Self { layer: Some(l), ..self }
    }

    /// The number of dispatches: it and those that always follow it.
    pub fn dispatches(&self) -> usize {
        1 + self.then.as_ref().map_or(0, |then| then.dispatches())
    }

    /// Dispatches it for a pass of `rows` rows; `group` is group 1, and `pass_at` the offset of the pass in its uniform. Of all
    /// replicas the first ones take part, such a share.
    pub fn encode(&self, compute: &mut ComputePass, group: &BindGroup, pass_at: u32, rows: u32, share: Share) {
        compute.set_pipeline(&self.pipeline);
        compute.set_bind_group(0, &self.bindings, &[]);
        compute.set_bind_group(1, group, &[pass_at]);
        compute.dispatch_workgroups(self.x.groups(rows), self.y.groups(rows), share.of(self.replicas));
        if let Some(then) = &self.then {
            then.encode(compute, group, pass_at, rows, share);
        }
    }
}
