//! The dispatches of a step and of an evaluation, in their order.

use wgpu::{BindGroup, ComputePass};

use super::kernels::{Pass, Row};

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

    /// Dispatches it for a pass of `rows` rows; `pass_at` is the offset of the pass in its uniform.
    pub fn encode(&self, pass: &mut ComputePass, step: &BindGroup, pass_at: u32, rows: u32) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        pass.set_bind_group(1, step, &[pass_at]);
        pass.dispatch_workgroups(self.x.groups(rows), self.y.groups(rows), self.replicas);
        if let Some(then) = &self.then {
            then.encode(pass, step, pass_at, rows);
        }
    }
}

fn encode(ops: &[Op], pass: &mut ComputePass, step: &BindGroup, pass_at: u32, rows: u32) {
    ops.iter().for_each(|op| op.encode(pass, step, pass_at, rows));
}

/// What may follow the update of a training step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Swa,
    Lookahead,
}

/// The dispatches of the training steps.
pub(super) struct TrainProgram {
    pub step: BindGroup,
    /// Gather, forward and loss, for every pass of a step.
    pub forward: Vec<Op>,
    /// The gradient, for every pass of a step.
    pub backward: Vec<Op>,
    /// Clip and update, once a step.
    pub update: Vec<Op>,
    /// The gradient of the only pass and the update in one, where nobody asks for the gradient itself.
    pub fused: Option<Vec<Op>>,
    /// Gather and forward, with the weights that are evaluated: for new statistics of batch normalisation.
    pub statistics: Vec<Op>,
    pub after: Vec<(After, Op)>,
    /// Live weights, and those that are evaluated, into what the products read, under mixed precision.
    pub to_half: Option<[Op; 2]>,
}

impl TrainProgram {
    /// A whole step of one pass, without SWA and lookahead.
    pub fn full_step(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        self.ops().into_iter().for_each(|op| op.encode(pass, &self.step, pass_at, rows));
    }

    /// Adds the gradient of a pass to the step's.
    pub fn gradient(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.forward, pass, &self.step, pass_at, rows);
        encode(&self.backward, pass, &self.step, pass_at, rows);
    }

    pub fn update(&self, pass: &mut ComputePass, pass_at: u32) {
        encode(&self.update, pass, &self.step, pass_at, 0);
    }

    /// Puts the live weights, or those that are evaluated, where the products read them.
    pub fn to_half(&self, is_evaluated: bool, pass: &mut ComputePass) {
        if let Some(ops) = &self.to_half {
            ops[usize::from(is_evaluated)].encode(pass, &self.step, 0, 0);
        }
    }

    pub fn statistics(&self, pass: &mut ComputePass, pass_at: u32, rows: u32) {
        encode(&self.statistics, pass, &self.step, pass_at, rows);
    }

    pub fn after(&self, what: After, pass: &mut ComputePass, pass_at: u32) {
        let ops = self.after.iter().filter(|(after, _)| *after == what);
        ops.for_each(|(_, op)| op.encode(pass, &self.step, pass_at, 0));
    }

    /// The dispatches of a step of one pass, without SWA and lookahead.
    pub fn ops(&self) -> Vec<&Op> {
        match &self.fused {
            Some(fused) => self.forward.iter().chain(fused).collect(),
            None => self.forward.iter().chain(&self.backward).chain(&self.update).collect(),
        }
    }

    /// One of them by itself.
    pub fn encode(&self, op: &Op, pass: &mut ComputePass, rows: u32) {
        op.encode(pass, &self.step, 0, rows);
    }
}

/// The dispatches of one pass of an evaluation.
pub(super) struct EvalProgram {
    pub step: BindGroup,
    pub forward: Vec<Op>,
    pub ensemble: Vec<Op>,
    pub loss: Op,
}

impl EvalProgram {
    /// Evaluates the pass, or adds the prediction of one member to its ensemble's and evaluates that after the last.
    pub fn pass(&self, compute: &mut ComputePass, pass_at: u32, pass: &Pass) {
        encode(&self.forward, compute, &self.step, pass_at, pass.rows);
        if pass.members > 1 {
            encode(&self.ensemble, compute, &self.step, pass_at, pass.rows);
        }
        if pass.member + 1 >= pass.members {
            self.loss.encode(compute, &self.step, pass_at, pass.rows);
        }
    }
}
