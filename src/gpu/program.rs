//! A dispatch, ready to be encoded.

use wgpu::{BindGroup, ComputePass};

use super::kernels::Row;

/// Workgroups along one dimension.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    Fixed(u32),
    /// One workgroup for so many rows of the pass.
    Rows(u32),
}

/// Workgroups in the three directions, the third for the replicas.
pub(super) type Grid = (Extent, Extent, u32);

impl Extent {
    fn groups(self, rows: u32) -> u32 {
        match self {
            Self::Fixed(groups) => groups,
            Self::Rows(per_group) => rows.div_ceil(per_group),
        }
    }
}

/// A dispatch, and perhaps one that always follows it: everything about it but the pass.
pub(super) struct Op {
    pub kernel: &'static Row,
    /// The layer, where it belongs to one.
    pub layer: Option<usize>,
    /// Whether it is a weight gradient that updates the weights.
    pub updates: bool,
    pub pipeline: wgpu::ComputePipeline,
    pub bindings: BindGroup,
    pub x: Extent,
    pub y: Extent,
    pub replicas: u32,
    /// What always follows it.
    pub then: Option<Box<Op>>,
}

impl Op {
    pub fn of_layer(self, l: usize) -> Self {
        Self { layer: Some(l), ..self }
    }

    /// It and what always follows it.
    pub fn dispatches(&self) -> usize {
        1 + self.then.as_ref().map_or(0, |then| then.dispatches())
    }

    /// Dispatches it for a pass of `rows` rows; `group` is group 1, and `pass_at` the offset of the pass in its uniform.
    pub fn encode(&self, compute: &mut ComputePass, group: &BindGroup, pass_at: u32, rows: u32) {
        compute.set_pipeline(&self.pipeline);
        compute.set_bind_group(0, &self.bindings, &[]);
        compute.set_bind_group(1, group, &[pass_at]);
        compute.dispatch_workgroups(self.x.groups(rows), self.y.groups(rows), self.replicas);
        if let Some(then) = &self.then {
            then.encode(compute, group, pass_at, rows);
        }
    }
}

pub(super) fn encode(ops: &[Op], compute: &mut ComputePass, group: &BindGroup, pass_at: u32, rows: u32) {
    ops.iter().for_each(|op| op.encode(compute, group, pass_at, rows));
}
