//! A small training in the library, and opening it on each engine.

use std::sync::Arc;

use thalweg::activation::Activation;
use thalweg::average::Ema;
use thalweg::cpu::CpuEngine;
use thalweg::data::{Dataset, Samples};
use thalweg::engine::{Engine, Setup};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Mlp;
use thalweg::optimizer::Optimizer;
use thalweg::schedule::Unit;

pub const N: usize = 96;
pub const WIDTHS: [usize; 3] = [5, 7, 3];

/// Three classes by the largest of the first three features.
pub fn dataset() -> Dataset {
    dataset_of(N)
}

/// The same with so many training samples.
pub fn dataset_of(samples: usize) -> Dataset {
    let part = |n: usize, salt: usize| {
        let x: Vec<f32> = (0..n * WIDTHS[0]).map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0).collect();
        let largest = |row: &[f32]| (0..3u32).max_by(|&i, &j| row[i as usize].total_cmp(&row[j as usize])).unwrap();
        let labels: Vec<u32> = x.chunks(WIDTHS[0]).map(largest).collect();
        Samples::labelled(x, labels)
    };
    Dataset::new("rows", [WIDTHS[0], 1, 1], part(samples, 0), Some(part(50, 7))).unwrap()
}

pub fn setup() -> Setup {
    let model = Mlp::new(WIDTHS[0], WIDTHS[2]).hidden([WIDTHS[1]]).activation(Activation::Tanh);
    let optimizer = Optimizer::sgd(0.3).momentum(0.9);
    Setup { optimizer, batch: 16, ..Setup::new(model, Arc::new(dataset())) }
}

/// An EMA of every step from the first on, without a warm-up.
pub fn ema(decay: f64) -> Ema {
    Ema { decay, start: 0, start_unit: Unit::Step, every: 1, bias_correction: false, warm_up: false }
}

/// Opens the setup on each engine.
pub fn on_each_engine(setup: &Setup, f: impl Fn(Box<dyn Engine>, f64)) {
    f(Box::new(CpuEngine::<f64>::new(setup.clone()).unwrap()), f64::EPSILON);
    f(Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()), f64::from(f32::EPSILON));
    let Some(gpu) = super::gpu() else { return };
    f(Box::new(GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap()), f64::from(f32::EPSILON));
}
