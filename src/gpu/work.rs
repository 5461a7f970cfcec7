//! What dispatches cost, and how many of them go into one submission.

use super::kernels::{Cost, Work};
use super::program::Op;
use crate::data::Features;
use crate::engine::{Layout, Setup, stride};

/// The number of operations in one submission, about, and of bytes that it reads and writes: half a second for a device of 40
/// GFLOP/s and 4 GB/s, as small boards have.
const SUBMISSION_FLOPS: f64 = 2e10;
const SUBMISSION_BYTES: f64 = 2e9;

/// What `op` does for `rows` samples of each replica.
pub(super) fn cost(setup: &Setup, layout: &Layout, op: &Op, rows: usize) -> Cost {
    let replicas = setup.replicas as f64;
    let layer = &layout.layers[op.layer.unwrap_or(layout.layers.len() - 1)];
    // Where updates are fused with the weight gradients, the optimizer has the rest.
    let first = if setup.is_fused(setup.batch) { layout.biases } else { 0 };
    let is_bytes = matches!(setup.dataset.train.features, Features::U8(_));
    let stored_bytes = if setup.is_mixed() { 2.0 } else { 4.0 };
    let work = Work {
        samples: rows as f64 * replicas,
        replicas,
        inputs: stride(layer.inputs) as f64,
        outputs: stride(layer.outputs) as f64,
        features: stride(setup.model.inputs()) as f64,
        feature_bytes: if is_bytes { 1.0 } else { 4.0 },
        lowest: stride(layout.layers[0].outputs) as f64,
        params: (layout.trained - first) as f64 * replicas,
        stored_bytes,
        update_bytes: 8.0 * (1 + setup.optimizer.state_vectors()) as f64
            + if setup.is_mixed() { stored_bytes } else { 0.0 },
        updates: op.updates,
    };
    (op.kernel.cost)(&work)
}

/// The share of a submission that so much fills.
pub(super) fn share(cost: Cost) -> f64 {
    (cost.flops / SUBMISSION_FLOPS).max(cost.bytes / SUBMISSION_BYTES)
}

/// How many of the next dispatches, each with its share, a submission takes that is filled so far; an empty one takes one at
/// least, since a dispatch cannot be cut.
pub(super) fn fitting(filled: f64, shares: &[f64]) -> usize {
    let mut sum = filled;
    let fits = |share: &&f64| {
        sum += **share;
        sum <= 1.0
    };
    let count = shares.iter().take_while(fits).count();
    if filled == 0.0 { count.max(1).min(shares.len()) } else { count }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sums of the shares of the submissions that dispatches are cut into.
    fn submissions(shares: &[f64]) -> Vec<f64> {
        let (mut done, mut sums) = (0, Vec::new());
        while done < shares.len() {
            let count = fitting(0.0, &shares[done..]);
            sums.push(shares[done..done + count].iter().sum());
            done += count;
        }
        sums
    }

    #[test]
    fn no_submission_holds_more_than_its_share_unless_one_dispatch_does() {
        assert_eq!(submissions(&[0.25; 10]), [1.0, 1.0, 0.5]);
        assert_eq!(submissions(&[0.75, 0.5, 3.0, 0.25, 0.25]), [0.75, 0.5, 3.0, 0.5]);
        assert!(submissions(&[]).is_empty());
        // What is begun takes as much as fits beside it, which may be nothing.
        assert_eq!(fitting(0.5, &[0.25, 0.25, 0.25]), 2);
        assert_eq!(fitting(0.5, &[0.75]), 0);
    }
}
