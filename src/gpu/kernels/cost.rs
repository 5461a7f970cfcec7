//! What kernels cost: operations, and bytes of memory, each value read or written once.

/// The work that a dispatch is asked for. Rows are counted with their padding to vec4s.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// The number of samples, of all replicas together.
    pub samples: f64,
    /// The number of models side by side.
    pub replicas: f64,
    /// The number of inputs of the layer; for a kernel that belongs to none, of the last.
    pub inputs: f64,
    /// The number of outputs of that layer.
    pub outputs: f64,
    /// The number of features of a sample.
    pub features: f64,
    /// The bytes of a feature in the data set.
    pub feature_bytes: f64,
    /// The number of outputs of the lowest layer.
    pub lowest: f64,
    /// The number of parameters that an update of whole vectors takes, of all replicas together.
    pub params: f64,
    /// The bytes of a value of a row, and of a weight that the products read.
    pub stored_bytes: f64,
    /// The bytes of a parameter and its state that an optimizer's update reads and writes.
    pub update_bytes: f64,
    /// Whether a weight gradient is used up by an update.
    pub updates: bool,
}

/// The cost of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// The number of floating-point operations.
    pub flops: f64,
    /// The number of bytes read and written.
    pub bytes: f64,
}

/// The cost of so many operations and bytes for each output of each sample.
fn of_rows(work: &Work, flops: f64, bytes: f64) -> Cost {
    let values = work.samples * work.outputs;
    Cost { flops: flops * values, bytes: bytes * values }
}

/// The cost of so many operations and bytes for each parameter.
fn of_params(work: &Work, flops: f64, bytes: f64) -> Cost {
    Cost { flops: flops * work.params, bytes: bytes * work.params }
}

/// The cost of a product with as many weights as the layer has, in every form.
fn of_product(work: &Work, bytes: f64) -> Cost {
    Cost { flops: 2.0 * work.samples * work.inputs * work.outputs, bytes }
}

fn weights(work: &Work) -> f64 {
    work.replicas * work.inputs * work.outputs
}

pub(super) fn gather(work: &Work) -> Cost {
    let values = work.samples * work.features;
    Cost { flops: 2.0 * values, bytes: (work.stored_bytes + work.feature_bytes) * values }
}

/// W and a are read, y and its slope written.
pub(super) fn linear(work: &Work) -> Cost {
    let rows = work.samples * (work.inputs + 2.0 * work.outputs);
    of_product(work, work.stored_bytes * (weights(work) + rows))
}

/// W, dz and the slope are read, dx is written.
pub(super) fn linear_dx(work: &Work) -> Cost {
    let rows = work.samples * (work.outputs + 2.0 * work.inputs);
    of_product(work, work.stored_bytes * (weights(work) + rows))
}

/// a and dz are read, dW is written or used up.
pub(super) fn linear_dw(work: &Work) -> Cost {
    let (flops, bytes) = if work.updates { (6.0, work.update_bytes) } else { (0.0, 4.0) };
    let rows = work.stored_bytes * work.samples * (work.inputs + work.outputs);
    let product = of_product(work, bytes * weights(work) + rows);
    Cost { flops: product.flops + flops * weights(work), ..product }
}

/// A normalisation forward or back.
pub(super) fn norm(work: &Work) -> Cost {
    of_rows(work, 8.0, 3.0 * work.stored_bytes)
}

pub(super) fn norm_dw(work: &Work) -> Cost {
    of_rows(work, 3.0, 2.0 * work.stored_bytes)
}

pub(super) fn activate(work: &Work) -> Cost {
    of_rows(work, 1.0, 3.0 * work.stored_bytes)
}

/// How values move beside them.
pub(super) fn tangent(work: &Work) -> Cost {
    of_rows(work, 8.0, 5.0 * work.stored_bytes)
}

pub(super) fn loss(work: &Work) -> Cost {
    of_rows(work, 8.0, 2.0 * work.stored_bytes)
}

/// z is read, the mean read and written.
pub(super) fn ensemble(work: &Work) -> Cost {
    of_rows(work, 6.0, work.stored_bytes + 8.0)
}

pub(super) fn loss_scale(work: &Work) -> Cost {
    Cost { flops: 0.0, bytes: work.stored_bytes * work.samples * work.lowest }
}

pub(super) fn grad_norm(work: &Work) -> Cost {
    of_params(work, 2.0, 4.0)
}

/// Weights and gradient are read.
pub(super) fn ascent(work: &Work) -> Cost {
    of_params(work, 4.0, 8.0)
}

/// Two vectors are read and two written.
pub(super) fn ascend(work: &Work) -> Cost {
    of_params(work, 5.0, 16.0)
}

/// The gradient is read, weight and state are read and written.
pub(super) fn optimizer(work: &Work) -> Cost {
    of_params(work, 6.0, 4.0 + work.update_bytes)
}

/// Two vectors are read and one written.
pub(super) fn average(work: &Work) -> Cost {
    of_params(work, 3.0, 12.0)
}

/// Two vectors are read and written.
pub(super) fn lookahead(work: &Work) -> Cost {
    of_params(work, 3.0, 16.0)
}

pub(super) fn to_half(work: &Work) -> Cost {
    of_params(work, 0.0, 4.0 + work.stored_bytes)
}

/// Two vectors are read and one written.
pub(super) fn axpy(work: &Work) -> Cost {
    of_params(work, 2.0, 12.0)
}

/// One vector is read and written.
pub(super) fn scale(work: &Work) -> Cost {
    of_params(work, 1.0, 8.0)
}

/// Two vectors are read.
pub(super) fn dot(work: &Work) -> Cost {
    of_params(work, 2.0, 8.0)
}
