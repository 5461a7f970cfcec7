//! What the averages add to a step of 3072-512-256-10 at batch 128, SGD with momentum.
//!
//! `cargo bench --bench averages`. Engines with and without averages take turns in one run, so that what else happens on
//! the machine befalls both; each line is the median of the ratios, with the quarters of them.

mod common;

use std::time::Instant;

use common::{RATE, SAMPLES};
use thalweg::average::{Average, Clock, Ema, Sampling};
use thalweg::cpu::CpuEngine;
use thalweg::data::Order;
use thalweg::engine::{Engine, Setup, Step};
use thalweg::gpu::adapter::{self, Gpu};
use thalweg::gpu::{GpuEngine, Options};
use thalweg::schedule::Unit;

const BATCH: usize = 128;
/// Steps of a turn: so many as the averages take to come round.
const STEPS: u64 = 32;
const ROUNDS: usize = 60;

fn setup(average: Average) -> Setup {
    Setup { average, ..common::setup(3072, &[512, 256], BATCH) }
}

/// Seconds of one turn.
fn turn(engine: &mut dyn Engine) -> f64 {
    let sampler = engine.setup().average.sampler(&Clock { steps: STEPS, per_epoch: STEPS, lr: None }).unwrap();
    let steps: Vec<Step> = (0..STEPS)
        .map(|index| {
            let rates = vec![RATE];
            let take = sampler.take(index);
            Step { index, first: index as usize * BATCH, rows: BATCH, rates, take, ..Step::default() }
        })
        .collect();
    let start = Instant::now();
    for steps in steps.chunks(engine.steps_at_once()) {
        engine.run(steps).unwrap();
    }
    engine.wait().unwrap();
    start.elapsed().as_secs_f64()
}

fn measure(device: &str, open: &dyn Fn(Setup) -> Box<dyn Engine>) {
    let ema =
        |every| Ema { decay: 0.999, start: 0, start_unit: Unit::Step, every, bias_correction: false, warm_up: false };
    let swa = Sampling::Every { start: 0, every: STEPS, unit: Unit::Step };
    let cases = [
        ("SWA every 32 steps, EMA every 8", Average { swa: Some(swa), ema: Some(ema(8)), ..Average::default() }),
        ("EMA every step", Average { ema: Some(ema(1)), ..Average::default() }),
    ];
    let mut plain = open(setup(Average::default()));
    for (name, average) in cases {
        let mut with = open(setup(average));
        for engine in [&mut plain, &mut with] {
            engine.set_order(&[Order::Sequential.permutation(SAMPLES, 0, 0)]).unwrap();
            turn(engine.as_mut());
        }
        let mut ratios: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                // Neither always goes first.
                if round % 2 == 0 {
                    let base = turn(plain.as_mut());
                    turn(with.as_mut()) / base
                } else {
                    let more = turn(with.as_mut());
                    more / turn(plain.as_mut())
                }
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        let percent = |at: usize| 100.0 * (ratios[at] - 1.0);
        println!(
            "{device}: {name}: {:+.1} % ({:+.1} to {:+.1})",
            percent(ROUNDS / 2),
            percent(ROUNDS / 4),
            percent(3 * ROUNDS / 4)
        );
    }
}

fn main() {
    measure("CPU engine", &|setup| Box::new(CpuEngine::<f32>::new(setup).unwrap()));
    if adapter::list().is_empty() {
        eprintln!("no adapter: the GPU is not measured");
        return;
    }
    measure("GPU engine", &|setup| Box::new(GpuEngine::new(Gpu::open(0).unwrap(), setup, Options::default()).unwrap()));
}
