//! The peers, all behind one small trait.
//!
//! Each is given what its users would do in a training loop at its best: the batches are normalised beforehand and lie
//! on the device as tensors, and the host waits for the device only at the end of a turn. That favours them: thalweg
//! gathers `u8` records by an order and normalises them within its step, and keeps every step's loss and accuracy.

mod burn;
mod candle;
mod meganeura;
mod thalweg;

use anyhow::{Result, bail};

use self::burn::Burn;
use self::candle::Candle;
use self::meganeura::Meganeura;
pub use self::thalweg::Thalweg;
use crate::task::{MOMENTUM, Task};

/// Trains one network on one batch size.
pub trait Peer {
    /// Where and how it computes, in a few words.
    fn describe(&self) -> String;

    /// The momentum of its SGD.
    fn momentum(&self) -> f64 {
        MOMENTUM
    }

    /// The mean loss over a batch, without an update.
    fn loss(&mut self, batch: usize) -> Result<f64>;

    /// One update on each of `batches`; returns when the device is done.
    fn run(&mut self, batches: &[usize], lr: f64) -> Result<()>;
}

/// A kind of device, whose peers are compared with one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub device: &'static str,
    /// Its peers; the first is thalweg.
    pub peers: &'static [&'static str],
}

/// All of them.
pub const GROUPS: [Group; 2] = [
    Group { device: "gpu", peers: &["thalweg-gpu", "thalweg-mixed", "burn-wgpu", "meganeura"] },
    Group { device: "cpu", peers: &["thalweg-cpu", "burn-flex", "candle-cpu"] },
];

/// Builds a peer.
pub fn open(name: &str, task: &Task) -> Result<Box<dyn Peer>> {
    Ok(match name {
        "thalweg-gpu" => Box::new(Thalweg::gpu(task, false)?),
        "thalweg-mixed" => Box::new(Thalweg::gpu(task, true)?),
        "thalweg-cpu" => Box::new(Thalweg::cpu(task)?),
        "burn-wgpu" => Box::new(Burn::wgpu(task)),
        "burn-flex" => Box::new(Burn::flex(task)),
        "candle-cpu" => Box::new(Candle::cpu(task)?),
        "meganeura" => Box::new(Meganeura::new(task)),
        _ => bail!("expected a peer, found {name:?}"),
    })
}
