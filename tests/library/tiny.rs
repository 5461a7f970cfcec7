//! A tiny training of everything at once, on every engine, with replicas that differ.

use crate::common;

use std::sync::Arc;
use thalweg::average::{Average, Lookahead, Sampling, Snapshots};
use thalweg::cpu::CpuEngine;
use thalweg::data::{Augment, Dataset, Features, Normalize, Samples};
use thalweg::engine::initialize;
use thalweg::engine::{Engine, Precision, Setup, Slot, Step};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::{Init, Norm};
use thalweg::schedule::Rate;
use thalweg::{Activation, Mlp, Optimizer};

pub const N: usize = 600;
pub const BATCH: usize = 50;
pub const REPLICAS: usize = 2;

/// Images of 1x4x5 in three classes, so that everything that changes samples has something to do.
pub fn dataset(kind: fn(Vec<u8>) -> Features) -> Arc<Dataset> {
    let part = |n: usize, salt: usize| {
        let pixels: Vec<u8> = (0..n * 20).map(|i| ((i * 7919 + salt) % 251) as u8).collect();
        let labels: Vec<u32> = pixels.chunks(20).map(|p| u32::from(p[0]) * 3 / 251).collect();
        Samples::labelled(kind(pixels), labels)
    };
    let data = Dataset::new("images", [1, 4, 5], part(N, 0), Some(part(70, 13))).unwrap();
    Arc::new(data.normalize(Normalize::Channel))
}

pub fn plain() -> Setup {
    let model = Mlp::new(20, 3).hidden([13, 13]).activation(Activation::Silu);
    let optimizer = Optimizer::sgd(0.05).momentum(0.9).weight_decay(1e-3).nesterov();
    Setup { optimizer, batch: BATCH, replicas: REPLICAS, seed: 3, ..Setup::new(model, dataset(Features::U8)) }
}

/// Everything that may stand in a step.
pub fn rich(norm: Norm) -> Setup {
    let snapshots = Snapshots { max: 2, when: Sampling::Listed { after_updates: vec![1, 2, 4] } };
    let ema = common::small::ema(0.5);
    Setup {
        model: plain().model.norm(norm).residual().dropout(0.3),
        augment: Augment { pad: 1, flip: true, cutout: 2, mixup: 0.5, noise: 0.1 },
        average: Average {
            swa: Some(Sampling::Listed { after_updates: vec![2, 4] }),
            ema: Some(ema),
            lookahead: Some(Lookahead { every: 3, alpha: 0.5 }),
            snapshots: Some(snapshots),
        },
        ..plain()
    }
}

/// The setup on every engine that can have it, with the distance of 1 to the next value of its precision.
pub fn engines(setup: &Setup) -> Vec<(Box<dyn Engine>, f64)> {
    let single = f64::from(f32::EPSILON);
    let mut engines: Vec<(Box<dyn Engine>, f64)> = vec![
        (Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()), f64::EPSILON),
        (Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()), single),
    ];
    if let Some(gpu) = common::gpu() {
        engines.push((Box::new(GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap()), single));
    }
    engines
}

pub fn mixed(setup: &Setup) -> Option<Box<dyn Engine>> {
    let setup = Setup { precision: Precision::Mixed, ..setup.clone() };
    Some(Box::new(GpuEngine::new(common::gpu()?, setup, Options::default()).unwrap()))
}

/// First weights, which differ from replica to replica, and an order.
pub fn begin(engine: &mut dyn Engine) {
    initialize(engine, Init::Kaiming).unwrap();
    let order = |r: usize| (0..N as u32).map(|i| (i * 7 + r as u32) % N as u32).collect();
    engine.set_order(&(0..REPLICAS).map(order).collect::<Vec<_>>()).unwrap();
    if engine.has(Slot::Slow) {
        engine.copy(Slot::Live, Slot::Slow).unwrap();
    }
}

pub fn steps(setup: &Setup, n: u64) -> Vec<Step> {
    let clock = thalweg::average::Clock { steps: n, per_epoch: n, lr: None };
    let sampler = setup.average.sampler(&clock).unwrap();
    let rates = vec![Rate { lr: 0.05, momentum: 0.9 }, Rate { lr: 0.02, momentum: 0.8 }];
    let step = |index| Step {
        index,
        first: BATCH * index as usize,
        rows: BATCH,
        rates: rates.clone(),
        take: sampler.take(index),
        ..Step::default()
    };
    (0..n).map(step).collect()
}

pub fn everything(engine: &mut dyn Engine) -> Vec<Vec<f64>> {
    let slots = engine.slots();
    slots.into_iter().flat_map(|slot| [0, 1].map(|r| (slot, r))).map(|(s, r)| engine.download(s, r).unwrap()).collect()
}
