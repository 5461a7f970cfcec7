//! Whether a peer trains at all, and the same network as thalweg.

use anyhow::Result;

use crate::peers::{Peer, Thalweg};
use crate::task::Task;

/// Steps on one batch, large ones so that their losses differ by more than the tolerance.
const STEPS: usize = 5;
const LR: f64 = 1e-2;
/// Of a loss, relative to the first.
const TOLERANCE: f64 = 1e-3;

/// What is wrong with the losses of `peer` over a few steps on one batch, if anything: they must fall, and be those of
/// thalweg's CPU engine from the same weights.
pub fn fault(peer: &mut dyn Peer, task: &Task) -> Result<Option<String>> {
    let found = losses(peer)?;
    let expected = losses(&mut Thalweg::cpu_with(task, peer.momentum())?)?;
    // Written so that NaN is a fault.
    let close = |(found, want): (&f64, &f64)| (found - want).abs() <= TOLERANCE * expected[0];
    if !found.iter().zip(&expected).all(close) {
        return Ok(Some(format!("expected the losses {expected:.4?}, found {found:.4?}")));
    }
    let falls = found[STEPS - 1] < (1.0 - 10.0 * TOLERANCE) * found[0];
    Ok((!falls).then(|| format!("expected losses that fall, found {found:.4?}")))
}

/// The losses on the first batch before the first step on it, before the second, and so on.
fn losses(peer: &mut dyn Peer) -> Result<Vec<f64>> {
    (0..STEPS)
        .map(|_| {
            let loss = peer.loss(0)?;
            peer.run(&[0], LR)?;
            Ok(loss)
        })
        .collect()
}
