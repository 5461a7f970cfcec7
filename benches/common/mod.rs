//! What the benches measure: networks under SGD with momentum, on noise.
#![allow(dead_code, reason = "each bench uses a part of it")]

use std::sync::Arc;

use thalweg::data::{Dataset, Normalize, Order, Samples};
use thalweg::engine::{Checked, Engine, Setup, Slot, Step};
use thalweg::gpu::GpuEngine;
use thalweg::gpu::adapter::Gpu;
use thalweg::model::{Init, Mlp};
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Rate;

pub const SAMPLES: usize = 4096;
pub const RATE: Rate = Rate { lr: 1e-3, momentum: 0.9 };

/// inputs-hidden-10 for steps of `batch` samples.
pub fn setup(inputs: usize, hidden: &[usize], batch: usize) -> Setup {
    let pixels: Vec<u8> = (0..SAMPLES * inputs).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    let train = Samples::labelled(pixels, (0..SAMPLES as u32).map(|i| i % 10));
    let dataset = Dataset::new("noise", [1, 1, inputs], train, None).unwrap().normalize(Normalize::Channel);
    let model = Mlp::new(inputs, 10).hidden(hidden);
    let optimizer = Optimizer::sgd(RATE.lr).momentum(RATE.momentum);
    Setup { optimizer, batch, ..Setup::new(model, Arc::new(dataset)) }
}

/// The GPU engine on the first adapter, with every form of its products measured.
pub fn gpu(setup: &Setup) -> Checked<GpuEngine> {
    GpuEngine::tuned(|| Gpu::open(0), setup).unwrap()
}

/// Gives the engine weights and an order; returns the step of its first samples.
pub fn begin(engine: &mut dyn Engine) -> Step {
    let weights = engine.layout().init(&engine.setup().model.clone(), Init::Kaiming, 0);
    engine.upload(Slot::Live, 0, &weights).unwrap();
    engine.set_order(&[Order::Sequential.permutation(SAMPLES, 0, 0)]).unwrap();
    Step { rows: engine.setup().batch, rates: vec![RATE], ..Step::default() }
}
