//! Long trainings of a tiny network: memory stays flat, and what is logged is what can be computed again.
//!
//! `cargo test --release --test soak -- --ignored long_` takes the million steps; without `--ignored` a few thousand stand for them.

mod common;

use common::small;
use thalweg::cpu::CpuEngine;
use thalweg::data::Order;
use thalweg::engine::{Engine, Gradient, Setup, Slot, Step, StepMetrics, initialize};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::model::Init;
use thalweg::schedule::Rate;

/// The steps that are handed over at once.
const AT_ONCE: u64 = 6;

/// The bytes of memory that this process holds.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).map_or(0, |pages| pages.parse::<u64>().unwrap() * 4096)
}

/// The bytes that wgpu holds on the engine's device.
fn allocated(engine: &dyn Engine) -> u64 {
    let report = engine.device().and_then(|device| device.generate_allocator_report());
    report.map_or(0, |report| report.total_allocated_bytes)
}

/// Carries out an epoch, and returns its steps with their metrics.
fn epoch(engine: &mut dyn Engine, number: u64) -> Vec<(Step, StepMetrics)> {
    let batch = engine.setup().batch;
    engine.set_order(&[Order::Shuffle.permutation(small::N, 5, number)]).unwrap();
    let step = |i: u64| Step {
        index: number * AT_ONCE + i,
        first: i as usize * batch,
        rows: batch,
        rates: vec![Rate { lr: 0.01, momentum: 0.9 }],
        ..Step::default()
    };
    let steps: Vec<Step> = (0..AT_ONCE).map(step).collect();
    let mut metrics = engine.run(&steps).unwrap();
    metrics.extend(engine.wait().unwrap());
    steps.into_iter().zip(metrics).collect()
}

/// The loss of the epoch's next step is what the CPU engine in f64 computes for the same weights, and what the engine tells of
/// it when it is carried out.
fn expect_no_drift(engine: &mut dyn Engine, number: u64, precise: &mut CpuReference) {
    let weights = engine.download(Slot::Live, 0).unwrap();
    let (first, told) = {
        let first = engine.setup().batch;
        engine.set_order(&[Order::Shuffle.permutation(small::N, 5, number)]).unwrap();
        let rates = vec![Rate { lr: 0.01, momentum: 0.9 }];
        let step = Step { index: number * AT_ONCE, first: 0, rows: first, rates, ..Step::default() };
        let told = engine.gradient(&step, Gradient::Plain).unwrap()[0].loss;
        (step, told)
    };
    precise.set_order(&[Order::Shuffle.permutation(small::N, 5, number)]).unwrap();
    precise.upload(Slot::Live, 0, &weights).unwrap();
    let want = precise.gradient(&first, Gradient::Plain).unwrap()[0].loss;
    // Logits are sums of a dozen products, each rounded, of weights below 10: off by 12 · 10 ε; the loss changes as much.
    let bound = 120.0 * f64::from(f32::EPSILON) * (1.0 + want);
    assert!((told - want).abs() <= bound, "epoch {number}: told {told}, computed {want}");
    let logged = epoch(engine, number)[0].1.loss;
    assert_eq!(logged, told, "epoch {number}: the loss of a step and that of its gradient alone");
}

type CpuReference = thalweg::engine::Checked<CpuEngine<f64>>;

/// Trains so many steps, and looks ten times at the memory and the loss.
fn soak(mut engine: Box<dyn Engine>, setup: &Setup, steps: u64) {
    let mut precise = CpuEngine::<f64>::new(setup.clone()).unwrap();
    initialize(engine.as_mut(), Init::Kaiming).unwrap();
    let epochs = steps / AT_ONCE;
    let mut seen = Vec::new();
    for number in 0..epochs {
        if number % (epochs / 10) == 0 {
            expect_no_drift(engine.as_mut(), number, &mut precise);
            seen.push((resident(), allocated(engine.as_ref())));
        } else {
            assert!(epoch(engine.as_mut(), number).iter().all(|(_, m)| m.loss.is_finite()));
        }
    }
    // What is allocated at first, and pooled, is there by the third look; no more comes than a pool's block of 8 MiB.
    let (host, device) = seen[2];
    for &(later_host, later_device) in &seen[3..] {
        assert!(later_host <= host + (8 << 20), "{} of memory: {seen:?}", engine.describe());
        assert!(later_device <= device + (1 << 20), "{} on the device: {seen:?}", engine.describe());
    }
}

fn on_the_gpu(steps: u64) {
    let Some(gpu) = common::gpu() else { return };
    let setup = small::setup();
    soak(Box::new(GpuEngine::new(gpu, setup.clone(), Options::default()).unwrap()), &setup, steps);
}

fn on_the_cpu(steps: u64) {
    let setup = small::setup();
    soak(Box::new(CpuEngine::<f32>::new(setup.clone()).unwrap()), &setup, steps);
}

/// One after the other, since both look at the memory of the process.
#[test]
fn some_thousand_steps_leave_memory_flat_and_losses_true() {
    on_the_gpu(3_000);
    on_the_cpu(6_000);
}

#[test]
#[ignore = "a million steps take minutes"]
fn long_a_million_steps_leave_memory_flat_and_losses_true() {
    on_the_gpu(1_000_000);
    on_the_cpu(1_000_000);
}
